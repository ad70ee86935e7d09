//! What skopeo pulled, compared with what somebody else had made. Reads both
//! without any code of ours.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    images::{Made, Origin},
    programs::Workshop,
};

/// A folder as skopeo's `dir:` writes it, which keeps every byte.
pub struct Pulled {
    folder: PathBuf,
}

impl Pulled {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The manifest or index that the tag named.
    pub fn root(&self) -> anyhow::Result<Vec<u8>> {
        read(&self.folder.join("manifest.json"))
    }

    /// Digests of all blobs.
    pub fn blobs(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut blobs = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.len() == 64 {
                blobs.insert(format!("sha256:{name}"));
            }
        }
        Ok(blobs)
    }

    fn manifest(&self, digest: &str) -> anyhow::Result<Vec<u8>> {
        let root = self.root()?;
        if sha256(&root) == digest {
            return Ok(root);
        }
        let bytes = read(&self.folder.join(format!("{}.manifest.json", hex(digest)?)))?;
        ensure!(
            sha256(&bytes) == digest,
            "pulled manifest {digest} is {}",
            sha256(&bytes)
        );
        Ok(bytes)
    }

    fn blob(&self, descriptor: &Value) -> anyhow::Result<Vec<u8>> {
        let digest = text(&descriptor["digest"])?;
        let bytes = read(&self.folder.join(hex(digest)?))?;
        ensure!(
            sha256(&bytes) == digest,
            "pulled blob {digest} is {}",
            sha256(&bytes)
        );
        ensure!(
            descriptor["size"] == bytes.len(),
            "pulled blob {digest} has another size"
        );
        Ok(bytes)
    }

    /// Compares this with what it was made from: every byte is the same, except
    /// that layers which came uncompressed unpack to what they were.
    pub fn compare(&self, made: &Made, workshop: &Workshop) -> anyhow::Result<()> {
        let root = self.root()?;
        match made.origin {
            Origin::Archive(file) => self.compare_archive(&workshop.path().join(file), &root),
            Origin::Layout(folder, tag) => {
                let layout = workshop.path().join(folder);
                let index: Value = serde_json::from_slice(&read(&layout.join("index.json"))?)?;
                let image = list(&index["manifests"])?
                    .iter()
                    .find(|image| {
                        tag.is_none_or(|tag| {
                            image["annotations"]["org.opencontainers.image.ref.name"] == tag
                        })
                    })
                    .context("the layout has no such image")?;
                self.compare_layout(&layout, image, &sha256(&root))
            }
        }
    }

    fn compare_layout(&self, layout: &Path, original: &Value, digest: &str) -> anyhow::Result<()> {
        let blob = |descriptor: &Value| {
            let digest = text(&descriptor["digest"])?;
            read(&layout.join("blobs/sha256").join(hex(digest)?))
        };
        let (old_bytes, new_bytes) = (blob(original)?, self.manifest(digest)?);
        let old: Value = serde_json::from_slice(&old_bytes)?;
        let new: Value = serde_json::from_slice(&new_bytes)?;
        // What may differ is looked at; the rest must not.
        let mut expected = old.clone();
        if old["manifests"].is_array() {
            let (old, new) = (list(&old["manifests"])?, list(&new["manifests"])?);
            ensure!(
                old.len() == new.len(),
                "the index names another number of images"
            );
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                let digest = text(&new["digest"])?;
                self.compare_layout(layout, old, digest)?;
                ensure!(new["size"] == self.manifest(digest)?.len());
                expected["manifests"][at]["digest"] = new["digest"].clone();
                expected["manifests"][at]["size"] = new["size"].clone();
            }
        } else {
            let config = self.blob(&new["config"])?;
            ensure!(config == blob(&old["config"])?, "the configuration changed");
            let config: Value = serde_json::from_slice(&config)?;
            let (old, new) = (list(&old["layers"])?, list(&new["layers"])?);
            ensure!(
                old.len() == new.len(),
                "the image has another number of layers"
            );
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                let (original, pulled) = (blob(old)?, self.blob(new)?);
                if is_tar(&original) {
                    self.compare_packed(&original, &pulled, &config["rootfs"]["diff_ids"][at])?;
                    let plain = text(&old["mediaType"])?;
                    expected["layers"][at]["mediaType"] = format!("{plain}+gzip").into();
                    expected["layers"][at]["digest"] = new["digest"].clone();
                    expected["layers"][at]["size"] = new["size"].clone();
                } else {
                    ensure!(original == pulled, "layer {at} changed");
                }
            }
        }
        ensure!(
            new == expected,
            "the manifest should be {expected}, and is {new}"
        );
        // Nothing had to change, so nothing did, spaces and the order of members included.
        if expected == old {
            ensure!(old_bytes == new_bytes, "the manifest was written anew");
            ensure!(original["digest"] == digest);
        }
        Ok(())
    }

    fn compare_archive(&self, file: &Path, root: &[u8]) -> anyhow::Result<()> {
        let items: Value = serde_json::from_slice(&entry(file, "manifest.json")?)?;
        let [item] = list(&items)?.as_slice() else {
            bail!("the archive holds several images");
        };
        let new: Value = serde_json::from_slice(root)?;
        ensure!(new["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json");
        let config = self.blob(&new["config"])?;
        ensure!(
            config == entry(file, text(&item["Config"])?)?,
            "the configuration changed"
        );
        let config: Value = serde_json::from_slice(&config)?;
        let (old, new) = (list(&item["Layers"])?, list(&new["layers"])?);
        ensure!(
            old.len() == new.len(),
            "the image has another number of layers"
        );
        for (at, (old, new)) in old.iter().zip(new).enumerate() {
            let original = entry(file, text(old)?)?;
            ensure!(is_tar(&original), "layer {at} of the archive is compressed");
            self.compare_packed(
                &original,
                &self.blob(new)?,
                &config["rootfs"]["diff_ids"][at],
            )?;
            ensure!(new["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip");
        }
        Ok(())
    }

    fn compare_packed(
        &self,
        original: &[u8],
        pulled: &[u8],
        diff_id: &Value,
    ) -> anyhow::Result<()> {
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(pulled).read_to_end(&mut unpacked)?;
        ensure!(unpacked == original, "a layer unpacks to something else");
        ensure!(
            *diff_id == sha256(&unpacked),
            "a layer is not what the configuration says"
        );
        Ok(())
    }
}

/// Digest of some bytes.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        })
}

fn is_tar(bytes: &[u8]) -> bool {
    !bytes.starts_with(&[0x1f, 0x8b]) && !bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

fn entry(file: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Archive::new(fs::File::open(file)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.to_str() == Some(name) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    bail!("{} has no entry {name}", file.display())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

fn hex(digest: &str) -> anyhow::Result<&str> {
    digest
        .strip_prefix("sha256:")
        .with_context(|| format!("{digest:?} is no digest"))
}

fn text(value: &Value) -> anyhow::Result<&str> {
    value
        .as_str()
        .with_context(|| format!("{value} is no text"))
}

fn list(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("{value} is no list"))
}
