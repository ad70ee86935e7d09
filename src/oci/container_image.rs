//! Container images as the control plane sees them. Its word `version` for an
//! image's tag stays in this module's wire names.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/registry/latest/ContainerImage>

use serde::Deserialize;

use super::{Client, Error};

/// An image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct ContainerImage {
    pub id: String,
    pub digest: String,
    pub display_name: String,
    pub lifecycle_state: String,
    #[serde(default)]
    pub versions: Vec<ContainerImageVersion>,
}

/// A tag of an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerImageVersion {
    /// The tag.
    pub version: String,
}

/// An image in a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct ContainerImageSummary {
    pub id: String,
    pub digest: String,
    pub display_name: String,
    pub lifecycle_state: String,
    pub repository_id: String,
    /// The latest tag, when there is one.
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub time_created: Option<String>,
}

/// Which images to list.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct ListContainerImages {
    pub compartment_id: String,
    /// Only when the compartment is the tenancy.
    pub compartment_id_in_subtree: bool,
    pub repository_id: Option<String>,
    pub repository_name: Option<String>,
    pub version: Option<String>,
    pub image_digest: Option<String>,
}

impl Client {
    /// ListContainerImages, all pages, newest first.
    pub async fn list_container_images(
        &self,
        _query: &ListContainerImages,
    ) -> Result<Vec<ContainerImageSummary>, Error> {
        todo!()
    }
    /// GetContainerImage.
    pub async fn get_container_image(&self, _id: &str) -> Result<ContainerImage, Error> {
        todo!()
    }
    /// DeleteContainerImage: the manifest with every tag on it. A retry that
    /// meets 404 succeeded.
    pub async fn delete_container_image(&self, _id: &str) -> Result<(), Error> {
        todo!()
    }
    /// RemoveContainerVersion: takes one tag off an image.
    pub async fn remove_container_version(
        &self,
        _id: &str,
        _tag: &str,
    ) -> Result<ContainerImage, Error> {
        todo!()
    }
    /// LookupContainerImageByUri: `namespace/repository:tag` or `…@sha256:…`.
    pub async fn lookup_container_image_by_uri(&self, _uri: &str) -> Result<ContainerImage, Error> {
        todo!()
    }
}
