//! Images for tests, made on the spot.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Blob, Digest, Error, Image, LoadOptions, Loader, Source};

pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image layout in a temporary directory, valid as long as nobody spoils it.
pub(super) struct Layout {
    pub(super) directory: tempfile::TempDir,
    images: Vec<Value>,
}

impl Layout {
    pub(super) fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::create_dir_all(directory.path().join("blobs/sha256"))?;
        let layout = Self {
            directory,
            images: Vec::new(),
        };
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        layout.write("index.json", br#"{"schemaVersion":2,"manifests":[]}"#)?;
        Ok(layout)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.path().join("blobs/sha256").join(hex)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(std::fs::write(self.path().join(name), bytes)?)
    }

    /// Stores a blob and gives its descriptor.
    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> anyhow::Result<Value> {
        let digest = Digest::of(bytes);
        std::fs::write(self.blob_path(digest.as_str()), bytes)?;
        Ok(descriptor(media_type, bytes))
    }

    /// Stores a document and gives its descriptor.
    pub(super) fn document(&self, media_type: &str, value: &Value) -> anyhow::Result<Value> {
        // Not as we would write it, so that a rewritten manifest shows.
        self.blob(media_type, format!("{value:#}\n").as_bytes())
    }

    /// Stores an image with layers that are there already.
    pub(super) fn image(&self, layers: &[Value]) -> anyhow::Result<Value> {
        let config = self.blob(OCI_CONFIG, br#"{"os":"linux"}"#)?;
        self.document(super::manifest::OCI_MANIFEST, &image_json(&config, layers))
    }

    pub(super) fn index(&self, children: &[Value]) -> anyhow::Result<Value> {
        self.document(super::manifest::OCI_INDEX, &index_json(children))
    }

    /// Names an image in `index.json`.
    pub(super) fn add(&mut self, mut image: Value, tag: Option<&str>) -> anyhow::Result<()> {
        if let Some(tag) = tag {
            image["annotations"]["org.opencontainers.image.ref.name"] = tag.into();
        }
        self.images.push(image);
        let index = json!({"schemaVersion": 2, "manifests": self.images});
        self.write("index.json", index.to_string().as_bytes())
    }

    pub(super) fn load(&self, tag: Option<&str>) -> Result<Image, Error> {
        let source = Source::Layout {
            directory: self.path().to_owned(),
            tag: tag.map(str::to_owned),
        };
        Loader::default().load(&source, &CancellationToken::new())
    }

    pub(super) fn load_with(&self, options: &LoadOptions) -> Result<Image, Error> {
        let source = Source::Layout {
            directory: self.path().to_owned(),
            tag: None,
        };
        Loader::default().load_with(&source, options, &CancellationToken::new())
    }

    /// The text of the error that loading with options gives.
    #[track_caller]
    pub(super) fn error_with(&self, options: &LoadOptions) -> String {
        let error = self
            .load_with(options)
            .expect_err("this layout cannot be read so");
        chain(&error, self.path())
    }

    /// The same layout in an archive.
    pub(super) fn archive(&self) -> anyhow::Result<Tar> {
        let mut tar = Tar::new()
            .file(
                "oci-layout",
                &std::fs::read(self.path().join("oci-layout"))?,
            )
            .file(
                "index.json",
                &std::fs::read(self.path().join("index.json"))?,
            );
        let mut blobs: Vec<_> =
            std::fs::read_dir(self.path().join("blobs/sha256"))?.collect::<Result<_, _>>()?;
        blobs.sort_by_key(std::fs::DirEntry::file_name);
        for blob in blobs {
            let name = format!("blobs/sha256/{}", blob.file_name().display());
            tar = tar.file(&name, &std::fs::read(blob.path())?);
        }
        Ok(tar)
    }

    /// The text of the error that loading gives.
    #[track_caller]
    pub(super) fn error(&self, tag: Option<&str>) -> String {
        let error = self.load(tag).expect_err("this layout cannot be read");
        chain(&error, self.path())
    }
}

/// An archive in a temporary directory.
pub(super) struct ArchiveFile {
    pub(super) directory: tempfile::TempDir,
    pub(super) path: PathBuf,
}

impl ArchiveFile {
    pub(super) fn new(bytes: &[u8]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("image.tar");
        std::fs::write(&path, bytes)?;
        Ok(Self { directory, path })
    }

    pub(super) fn load(&self, reference: Option<&str>) -> Result<Image, Error> {
        let source = Source::DockerArchive {
            file: self.path.clone(),
            reference: reference.map(str::to_owned),
        };
        Loader::default().load(&source, &CancellationToken::new())
    }

    /// Whatever the file is.
    pub(super) fn load_with(&self, options: &LoadOptions) -> Result<Image, Error> {
        let source = Source::Path {
            path: self.path.clone(),
            reference: None,
        };
        Loader::default().load_with(&source, options, &CancellationToken::new())
    }

    #[track_caller]
    pub(super) fn error_with(&self, options: &LoadOptions) -> String {
        let error = self
            .load_with(options)
            .expect_err("this archive cannot be read so");
        chain(&error, self.directory.path())
    }

    #[track_caller]
    pub(super) fn error(&self, reference: Option<&str>) -> String {
        let error = self
            .load(reference)
            .expect_err("this archive cannot be read");
        chain(&error, self.directory.path())
    }
}

/// Puts archives together.
pub(super) struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    pub(super) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub(super) fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let mut header = header(tar::EntryType::Regular, bytes.len());
        self.0
            .append_data(&mut header, name, bytes)
            .expect("memory takes everything");
        self
    }

    pub(super) fn json(self, name: &str, value: &Value) -> Self {
        self.file(name, value.to_string().as_bytes())
    }

    pub(super) fn link(mut self, kind: tar::EntryType, name: &str, target: &str) -> Self {
        let mut header = header(kind, 0);
        self.0
            .append_link(&mut header, name, target)
            .expect("memory takes everything");
        self
    }

    /// An entry whose name is written into the header as it is.
    pub(super) fn raw(mut self, kind: tar::EntryType, name: &str, bytes: &[u8]) -> Self {
        let mut header = header(kind, bytes.len());
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.0
            .append(&header, bytes)
            .expect("memory takes everything");
        self
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("memory takes everything")
    }

    pub(super) fn save(self) -> anyhow::Result<ArchiveFile> {
        ArchiveFile::new(&self.bytes())
    }
}

fn header(kind: tar::EntryType, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// What Docker from 25 on writes for an image of these layers, uncompressed or
/// not: a layout around a `manifest.json`.
pub(super) fn docker_archive(layers: &[&[u8]], diff_ids: &[&[u8]]) -> Tar {
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let diff_ids: Vec<String> = diff_ids
        .iter()
        .map(|it| Digest::of(it).to_string())
        .collect();
    let config = json!({
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let mut tar = Tar::new();
    for layer in layers {
        tar = tar.file(&blob(layer), layer);
    }
    tar.file(&blob(config.as_bytes()), config.as_bytes()).json(
        "manifest.json",
        &json!([{
            "Config": blob(config.as_bytes()),
            "RepoTags": ["team/web:1.0"],
            "Layers": layers.iter().map(|it| blob(it)).collect::<Vec<_>>(),
        }]),
    )
}

/// A layer with one file.
pub(super) fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    Tar::new().file(name, content).bytes()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::new(6));
    let mut compressed = Vec::new();
    encoder
        .read_to_end(&mut compressed)
        .expect("memory gives everything");
    compressed
}

pub(super) fn gunzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": Digest::of(bytes).as_str(),
        "size": bytes.len(),
    })
}

pub(super) fn image_json(config: &Value, layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": super::manifest::OCI_MANIFEST,
        "config": config,
        "layers": layers,
    })
}

pub(super) fn index_json(children: &[Value]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": super::manifest::OCI_INDEX,
        "manifests": children,
    })
}

/// Reads a blob to its end and checks that it has the size and digest it says.
pub(super) fn read(blob: &Blob) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    blob.source.open()?.read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 == blob.size, "size of {}", blob.digest);
    anyhow::ensure!(
        Digest::of(&bytes) == blob.digest,
        "bytes of {}",
        blob.digest
    );
    Ok(bytes)
}

/// Checks what every image keeps: all blobs can be read, all manifests have
/// their digests, and every blob that a manifest names is there.
pub(super) fn check(image: &Image) -> anyhow::Result<()> {
    for blob in &image.blobs {
        read(blob)?;
    }
    let blobs: Vec<&Digest> = image.blobs.iter().map(|blob| &blob.digest).collect();
    for manifest in &image.manifests {
        assert_eq!(Digest::of(&manifest.bytes), manifest.digest);
        for named in manifest.config.iter().chain(&manifest.layers) {
            assert!(
                blobs.contains(&&named.digest),
                "{} is missing",
                named.digest
            );
        }
        let value: Value = serde_json::from_slice(&manifest.bytes)?;
        assert_eq!(value["schemaVersion"], 2);
    }
    Ok(())
}

/// An error with everything below it, as a user reads it, the directory left out.
pub(super) fn chain(error: &Error, directory: &Path) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.replace(&directory.display().to_string(), "DIR")
}

/// A long list without its middle.
pub(super) fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (start, end) = (&lines[..4], &lines[lines.len() - 2..]);
    let left_out = format!("    … {} more lines", lines.len() - 6);
    [start, &[left_out.as_str()], end].concat().join("\n")
}
