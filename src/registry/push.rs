//! Pushing an image: order, deduplication, mounts and progress over the whole
//! process.

use super::{Client, Error};
use crate::image::{Digest, Image};

/// What to push, and where.
#[derive(Debug)]
pub struct Push<'a> {
    /// Path of the repository, with namespace.
    pub repository: &'a str,
    /// Tag of the root manifest; the last thing that is written.
    pub tag: &'a str,
    /// The image.
    pub image: &'a Image,
}

/// What a push did.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Digest of the root manifest, as the registry confirmed it.
    pub digest: Digest,
    /// Blobs and bytes sent.
    pub uploaded: (usize, u64),
    /// Blobs and bytes taken over from another repository of the registry.
    pub mounted: (usize, u64),
    /// Blobs and bytes that were there already.
    pub existing: (usize, u64),
    /// Time from start to confirmation.
    pub elapsed: std::time::Duration,
}

impl Client {
    /// Pushes an image. Sends nothing when the tag points to it already.
    pub async fn push(&self, _push: &Push<'_>) -> Result<Pushed, Error> {
        todo!()
    }
}
