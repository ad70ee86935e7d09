//! Where an image comes from: a layout directory or an archive.
//!
//! [`Source`] is what the user wrote; [`Loader::load`] reads it and gives an
//! [`Image`]: manifests as the bytes that will be pushed, and blobs that can
//! be opened as often as needed. Its digest is a function of the source's
//! bytes and the algorithm's version, and of nothing else. Blocking code: it
//! is called from threads that may block.
//!
//! Sources are read in place where that is possible: nothing is unpacked, and nothing that
//! is compressed already is copied to disk. Archives that are compressed as a whole are read
//! in one pass, as is what Docker's socket sends. Layers that come uncompressed are compressed once,
//! into the [`Cache`] if there is one. All of it stays below 24 MiB of memory.
//! Other registries are read through a [`Remote`], which the caller gives: what is spoken
//! there is not known here.

mod archive;
mod aside;
mod blob;
mod cache;
mod compress;
mod convert;
mod daemon;
mod decode;
mod digest;
mod docker;
mod error;
mod file;
mod layer;
mod layout;
mod manifest;
mod memo;
mod name;
mod options;
mod part;
#[cfg(test)]
mod properties;
mod remote;
mod source;
mod stream;
#[cfg(test)]
mod testing;
mod walk;
mod work;

use std::sync::Arc;

use bytes::Bytes;
pub use cache::Cache;
pub use compress::{ALGORITHM, ZSTD_ALGORITHM};
pub use daemon::Daemon;
pub use digest::Digest;
pub use error::Error;
pub use manifest::{DOCKER_INDEX, OCI_INDEX};
pub use name::{ImageName, validate_host, validate_repository, validate_tag};
pub use options::{Compression, KnownLayer, Layer, LoadOptions, ManifestFormat, Platform};
pub use remote::{Origin, Remote, RemoteManifest};
pub use source::{BlobReader, BlobSource, Loader, Source, Waits};

/// An image, or an index of images, ready to be pushed.
#[derive(Clone, Debug)]
pub struct Image {
    /// Manifests, children before the index that names them; the last is the root.
    pub manifests: Vec<Manifest>,
    /// Distinct blobs of all manifests.
    pub blobs: Vec<Blob>,
    /// Distinct layers of all manifests, and how their descriptors came about.
    pub layers: Vec<Layer>,
}

/// A manifest or an index, as bytes that are pushed unchanged.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What a registry is told.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Bytes,
    /// The configuration blob; `None` for an index.
    pub config: Option<Descriptor>,
    /// The layers, base first; empty for an index.
    pub layers: Vec<Descriptor>,
}

/// What a manifest says about a blob.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Digest.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// A blob and how to read it.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Digest of what reading gives.
    pub digest: Digest,
    /// Size in bytes of what reading gives.
    pub size: u64,
    /// How to read it.
    pub source: Arc<dyn BlobSource>,
}

impl Image {
    /// The manifest that the tag will name.
    pub fn root(&self) -> &Manifest {
        self.manifests
            .last()
            .expect("an image has at least one manifest")
    }

    /// Whether the tag will name an index of several images.
    pub fn is_index(&self) -> bool {
        self.root().config.is_none()
    }

    /// Digest of the configuration, which is what Docker calls the image's id;
    /// `None` for an index.
    pub fn image_id(&self) -> Option<&Digest> {
        self.root().config.as_ref().map(|config| &config.digest)
    }

    /// Bytes of all distinct blobs, as they are sent.
    pub fn total_size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }
}
