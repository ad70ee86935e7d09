//! Container repositories.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/registry/latest/ContainerRepository>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Client, Error};

/// Labels of the user's own.
pub type FreeformTags = BTreeMap<String, String>;
/// Labels by tag namespace, then key; values are usually text.
pub type DefinedTags = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// A container repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct ContainerRepository {
    pub id: String,
    pub compartment_id: String,
    pub display_name: String,
    #[serde(default)]
    pub is_immutable: Option<bool>,
    #[serde(default)]
    pub is_public: Option<bool>,
    #[serde(default)]
    pub readme: Option<Readme>,
    #[serde(default)]
    pub freeform_tags: FreeformTags,
    #[serde(default)]
    pub defined_tags: DefinedTags,
    #[serde(default)]
    pub created_by: Option<String>,
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub image_count: Option<i64>,
    #[serde(default)]
    pub layers_size_in_bytes: Option<i64>,
    pub lifecycle_state: String,
    #[serde(default)]
    pub time_created: Option<String>,
}

/// What a person reads about a repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct Readme {
    pub content: String,
    /// `TEXT_MARKDOWN` or `TEXT_PLAIN`.
    pub format: String,
}

/// A repository in a list: without immutability, readme and creator.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct ContainerRepositorySummary {
    pub id: String,
    pub compartment_id: String,
    pub display_name: String,
    pub lifecycle_state: String,
}

/// Body of CreateContainerRepository; `None` is not sent.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct CreateContainerRepository {
    pub compartment_id: String,
    pub display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_immutable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readme: Option<Readme>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeform_tags: Option<FreeformTags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defined_tags: Option<DefinedTags>,
}

/// Body of UpdateContainerRepository; `None` is not sent, and means "unchanged".
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct UpdateContainerRepository {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_immutable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readme: Option<Readme>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeform_tags: Option<FreeformTags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defined_tags: Option<DefinedTags>,
}

/// Which repositories to list.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct ListContainerRepositories {
    pub compartment_id: String,
    /// Only when the compartment is the tenancy.
    pub compartment_id_in_subtree: bool,
    /// Exact.
    pub display_name: Option<String>,
}

impl Client {
    /// CreateContainerRepository. Carries a retry token, so it may be retried.
    pub async fn create_container_repository(
        &self,
        _body: &CreateContainerRepository,
    ) -> Result<ContainerRepository, Error> {
        todo!()
    }
    /// GetContainerRepository.
    pub async fn get_container_repository(&self, _id: &str) -> Result<ContainerRepository, Error> {
        todo!()
    }
    /// ListContainerRepositories, all pages.
    pub async fn list_container_repositories(
        &self,
        _query: &ListContainerRepositories,
    ) -> Result<Vec<ContainerRepositorySummary>, Error> {
        todo!()
    }
    /// UpdateContainerRepository.
    pub async fn update_container_repository(
        &self,
        _id: &str,
        _body: &UpdateContainerRepository,
    ) -> Result<ContainerRepository, Error> {
        todo!()
    }
    /// DeleteContainerRepository. A retry that meets 404 succeeded.
    pub async fn delete_container_repository(&self, _id: &str) -> Result<(), Error> {
        todo!()
    }
    /// ChangeContainerRepositoryCompartment: the move action.
    pub async fn change_container_repository_compartment(
        &self,
        _id: &str,
        _compartment_id: &str,
    ) -> Result<(), Error> {
        todo!()
    }
}
