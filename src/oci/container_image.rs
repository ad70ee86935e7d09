//! Container images as the control plane sees them. Its word `version` for an
//! image's tag stays in this module's wire names.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/registry/latest/ContainerImage>

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Client, Error, call::Call, null_is_default};
use crate::region::Service;

/// An image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct ContainerImage {
    pub id: String,
    pub compartment_id: String,
    pub repository_id: String,
    pub digest: String,
    pub display_name: String,
    pub lifecycle_state: String,
    #[serde(default, deserialize_with = "null_is_default")]
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

impl ContainerImageSummary {
    /// Whether it is listed only because it could still be restored.
    pub fn is_deleted(&self) -> bool {
        matches!(&*self.lifecycle_state, "DELETING" | "DELETED")
    }
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
        query: &ListContainerImages,
    ) -> Result<Vec<ContainerImageSummary>, Error> {
        let call = Call::new(self, "ListContainerImages", Service::Artifacts, Method::GET)?
            .path("container/images")
            .query("compartmentId", Some(&query.compartment_id))
            .query(
                "compartmentIdInSubtree",
                query.compartment_id_in_subtree.then_some("true"),
            )
            .query("repositoryId", query.repository_id.as_deref())
            .query("repositoryName", query.repository_name.as_deref())
            .query("version", query.version.as_deref())
            .query("imageDigest", query.image_digest.as_deref())
            .query("sortBy", Some("TIMECREATED"))
            .query("sortOrder", Some("DESC"));
        self.pages(call, |page: Collection| page.items).await
    }

    /// GetContainerImage.
    pub async fn get_container_image(&self, id: &str) -> Result<ContainerImage, Error> {
        let call = Call::new(self, "GetContainerImage", Service::Artifacts, Method::GET)?
            .path("container/images")
            .value(id)
            .question();
        self.json(&call).await
    }

    /// DeleteContainerImage: the manifest with every tag on it. A retry that
    /// meets 404 succeeded.
    pub async fn delete_container_image(&self, id: &str) -> Result<(), Error> {
        let call = Call::new(
            self,
            "DeleteContainerImage",
            Service::Artifacts,
            Method::DELETE,
        )?
        .path("container/images")
        .value(id)
        .removing();
        self.done(&call).await
    }

    /// RemoveContainerVersion: takes one tag off an image. Carries a retry token.
    pub async fn remove_container_version(
        &self,
        id: &str,
        tag: &str,
    ) -> Result<ContainerImage, Error> {
        let call = Call::new(
            self,
            "RemoveContainerVersion",
            Service::Artifacts,
            Method::POST,
        )?
        .path("container/images")
        .value(id)
        .path("actions/removeVersion")
        .body(&RemoveVersion { version: tag })?
        .with_retry_token()
        .removing();
        self.json(&call).await
    }

    /// LookupContainerImageByUri: `namespace/repository:tag` or `…@sha256:…`.
    /// A POST without a retry token that changes nothing, so it may be retried.
    pub async fn lookup_container_image_by_uri(&self, uri: &str) -> Result<ContainerImage, Error> {
        let call = Call::new(
            self,
            "LookupContainerImageByUri",
            Service::Artifacts,
            Method::POST,
        )?
        .path("container/images/actions/lookupImageByUri")
        .body(&LookupByUri { image_uri: uri })?
        .harmless()
        .question();
        self.json(&call).await
    }
}

/// A page of images.
#[derive(Deserialize)]
struct Collection {
    #[serde(default, deserialize_with = "null_is_default")]
    items: Vec<ContainerImageSummary>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LookupByUri<'a> {
    image_uri: &'a str,
}

#[derive(Serialize)]
struct RemoveVersion<'a> {
    version: &'a str,
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// An image with two tags, with every member that the API reference has.
    #[test]
    fn decodes_an_image() -> anyhow::Result<()> {
        let image: ContainerImage = serde_json::from_str(include_str!(
            "../../tests/fixtures/oci/container-image.json"
        ))?;
        expect![[r#"
            ContainerImage {
                id: "ocid1.containerimage.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestimage",
                compartment_id: "ocid1.compartment.oc1..aaaaaaaatestcompartment",
                repository_id: "ocid1.containerrepo.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestrepo",
                digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                display_name: "team/app:1.0.1",
                lifecycle_state: "AVAILABLE",
                versions: [
                    ContainerImageVersion {
                        version: "1.0.1",
                    },
                    ContainerImageVersion {
                        version: "1.0",
                    },
                ],
            }
        "#]]
        .assert_debug_eq(&image);
        Ok(())
    }

    /// A list with an image that no tag points to.
    #[test]
    fn decodes_a_list() -> anyhow::Result<()> {
        let page: Collection = serde_json::from_str(include_str!(
            "../../tests/fixtures/oci/container-image-list.json"
        ))?;
        expect![[r#"
            [
                ContainerImageSummary {
                    id: "ocid1.containerimage.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestimage",
                    digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    display_name: "team/app:1.0.1",
                    lifecycle_state: "AVAILABLE",
                    repository_id: "ocid1.containerrepo.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestrepo",
                    version: Some(
                        "1.0.1",
                    ),
                    time_created: Some(
                        "2026-01-02T03:04:05.678Z",
                    ),
                },
                ContainerImageSummary {
                    id: "ocid1.containerimage.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestimage2",
                    digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    display_name: "unknown@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    lifecycle_state: "AVAILABLE",
                    repository_id: "ocid1.containerrepo.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestrepo",
                    version: None,
                    time_created: Some(
                        "2026-01-02T03:04:05.678Z",
                    ),
                },
            ]
        "#]].assert_debug_eq(&page.items);
        Ok(())
    }
}
