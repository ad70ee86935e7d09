//! Manifests: HEAD, GET, PUT, DELETE.

use bytes::Bytes;

use super::{Client, Error};
use crate::image::Digest;

/// What a registry says about a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the specification")]
pub struct ManifestDescriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
}

/// A manifest as a registry gives it, its digest verified.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named as in the specification")]
pub struct ManifestContent {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
}

impl Client {
    /// What `reference` (a tag or a digest) of `repository` (with namespace)
    /// points to; `None` for 404. Other failures are asked again as GET, since
    /// a HEAD has no body to explain them.
    pub async fn head_manifest(
        &self,
        _repository: &str,
        _reference: &str,
    ) -> Result<Option<ManifestDescriptor>, Error> {
        todo!()
    }
    /// The manifest itself; `None` for 404.
    pub async fn get_manifest(
        &self,
        _repository: &str,
        _reference: &str,
    ) -> Result<Option<ManifestContent>, Error> {
        todo!()
    }
    /// Deletes the manifest with this digest, and every tag on it. 404 is success.
    pub async fn delete_manifest(&self, _repository: &str, _digest: &Digest) -> Result<(), Error> {
        todo!()
    }
}
