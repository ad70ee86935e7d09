//! Images of stories, made on the spot.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use serde_json::{Value as Json, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image layout directory whose images share their first layer.
pub struct Layout {
    directory: tempfile::TempDir,
}

impl Layout {
    /// A layout that names no image yet.
    pub fn new() -> anyhow::Result<Self> {
        let layout = Self {
            directory: tempfile::tempdir()?,
        };
        fs::create_dir_all(layout.path().join("blobs/sha256"))?;
        fs::write(
            layout.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        Ok(layout)
    }

    /// A layout with one image of two layers; `content` makes it another one.
    pub fn of(content: &str) -> anyhow::Result<Self> {
        let layout = Self::new()?;
        layout.show(&layout.image(content)?)?;
        Ok(layout)
    }

    /// Stores an image and gives its descriptor.
    pub fn image(&self, content: &str) -> anyhow::Result<Json> {
        self.image_of(&[b"shared", content.as_bytes()])
    }

    /// Stores an image of these layers and gives its descriptor.
    pub fn image_of(&self, layers: &[&[u8]]) -> anyhow::Result<Json> {
        let layers = layers.iter().map(|layer| self.blob(LAYER, layer));
        let layers: Vec<Json> = layers.collect::<Result<_, _>>()?;
        let config = json!({ "architecture": "amd64", "os": "linux" }).to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(CONFIG, config.as_bytes())?,
            "layers": layers,
        });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Stores an index of images and gives its descriptor.
    pub fn index(&self, images: &[&Json]) -> anyhow::Result<Json> {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": images });
        self.blob(INDEX, index.to_string().as_bytes())
    }

    /// Makes this the image that the layout is about.
    pub fn show(&self, image: &Json) -> anyhow::Result<()> {
        let index = json!({ "schemaVersion": 2, "manifests": [image] });
        Ok(fs::write(
            self.path().join("index.json"),
            index.to_string(),
        )?)
    }

    /// The source that names the layout.
    pub fn source(&self) -> String {
        format!("oci:{}", self.path().display())
    }

    /// The directory.
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Stores a blob and gives its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> anyhow::Result<Json> {
        let digest = ocir::image::Digest::of(bytes).to_string();
        let hex = digest.trim_start_matches("sha256:");
        fs::write(self.path().join("blobs/sha256").join(hex), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }
}

/// An archive as `docker save` writes it: of today, or as Docker before 25 did.
pub fn docker_archive(old: bool) -> anyhow::Result<(tempfile::TempDir, String)> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new("python3");
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tools/images.py", "--only", "motando-webapp"])
        .arg(directory.path());
    if old {
        command.arg("--old");
    }
    let made = command.output().context("python3 cannot be started")?;
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let file = directory.path().join("motando-webapp.tar");
    let source = format!("docker-archive:{}", file.display());
    Ok((directory, source))
}
