//! Container repositories.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/registry/latest/ContainerRepository>

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Client, Error, call::Call, null_is_default};
use crate::region::Service;

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
    #[serde(default, deserialize_with = "null_is_default")]
    pub freeform_tags: FreeformTags,
    #[serde(default, deserialize_with = "null_is_default")]
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
    /// Of an answer to a get: what a change can be tied to.
    #[serde(skip)]
    pub etag: Option<String>,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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

/// A value for `opc-retry-token` that nobody used before.
pub fn new_retry_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Client {
    /// CreateContainerRepository. Carries a retry token, so it may be retried.
    pub async fn create_container_repository(
        &self,
        body: &CreateContainerRepository,
    ) -> Result<ContainerRepository, Error> {
        self.create_container_repository_as(body, &new_retry_token())
            .await
    }

    /// CreateContainerRepository with a retry token of the caller's, who can
    /// repeat the call later: what it made the first time is then the answer.
    pub async fn create_container_repository_as(
        &self,
        body: &CreateContainerRepository,
        retry_token: &str,
    ) -> Result<ContainerRepository, Error> {
        let call = call(self, "CreateContainerRepository", Method::POST)?
            .body(body)?
            .repeating(retry_token);
        self.json(&call).await
    }

    /// GetContainerRepository.
    pub async fn get_container_repository(&self, id: &str) -> Result<ContainerRepository, Error> {
        let call = call(self, "GetContainerRepository", Method::GET)?
            .value(id)
            .question();
        let answer = self.send(&call).await?;
        let repository: ContainerRepository = answer.json(call.operation)?;
        Ok(ContainerRepository {
            etag: answer.etag(),
            ..repository
        })
    }

    /// ListContainerRepositories, all pages.
    pub async fn list_container_repositories(
        &self,
        query: &ListContainerRepositories,
    ) -> Result<Vec<ContainerRepositorySummary>, Error> {
        let call = call(self, "ListContainerRepositories", Method::GET)?
            .query("compartmentId", Some(&query.compartment_id))
            .query(
                "compartmentIdInSubtree",
                query.compartment_id_in_subtree.then_some("true"),
            )
            .query("displayName", query.display_name.as_deref());
        self.pages(call, |page: Collection| page.items).await
    }

    /// UpdateContainerRepository; with an `etag` only of the repository that had it.
    pub async fn update_container_repository(
        &self,
        id: &str,
        body: &UpdateContainerRepository,
        etag: Option<&str>,
    ) -> Result<ContainerRepository, Error> {
        let call = call(self, "UpdateContainerRepository", Method::PUT)?
            .value(id)
            .if_match(etag)
            .body(body)?;
        self.json(&call).await
    }

    /// DeleteContainerRepository; with an `etag` only of the repository that had it. A
    /// retry that meets 404 succeeded.
    pub async fn delete_container_repository(
        &self,
        id: &str,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        let call = call(self, "DeleteContainerRepository", Method::DELETE)?
            .value(id)
            .if_match(etag);
        self.done(&call).await
    }

    /// ChangeContainerRepositoryCompartment: the move action. Carries a retry token.
    pub async fn change_container_repository_compartment(
        &self,
        id: &str,
        compartment_id: &str,
    ) -> Result<(), Error> {
        let call = call(self, "ChangeContainerRepositoryCompartment", Method::POST)?
            .value(id)
            .path("actions/changeCompartment")
            .body(&ChangeCompartment { compartment_id })?
            .with_retry_token();
        self.done(&call).await
    }
}

fn call(client: &Client, operation: &'static str, method: Method) -> Result<Call, Error> {
    Ok(Call::new(client, operation, Service::Artifacts, method)?.path("container/repositories"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeCompartment<'a> {
    compartment_id: &'a str,
}

/// A page of repositories.
#[derive(Deserialize)]
struct Collection {
    #[serde(default, deserialize_with = "null_is_default")]
    items: Vec<ContainerRepositorySummary>,
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// What the service answers to a create, to a get and to an update.
    #[test]
    fn decodes_a_repository() -> anyhow::Result<()> {
        let repository: ContainerRepository = serde_json::from_str(include_str!(
            "../../tests/fixtures/oci/container-repository.json"
        ))?;
        expect![[r##"
            ContainerRepository {
                id: "ocid1.containerrepo.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestrepo",
                compartment_id: "ocid1.compartment.oc1..aaaaaaaatestcompartment",
                display_name: "team/app",
                is_immutable: Some(
                    false,
                ),
                is_public: Some(
                    true,
                ),
                readme: Some(
                    Readme {
                        content: "# hi",
                        format: "TEXT_MARKDOWN",
                    },
                ),
                freeform_tags: {
                    "Department": "Finance",
                },
                defined_tags: {
                    "Ops": {
                        "CostCenter": String("42"),
                    },
                },
                created_by: Some(
                    "ocid1.user.oc1..aaaaaaaatestuser",
                ),
                namespace: Some(
                    "testnamespace",
                ),
                image_count: Some(
                    0,
                ),
                layers_size_in_bytes: Some(
                    0,
                ),
                lifecycle_state: "AVAILABLE",
                time_created: Some(
                    "2026-01-02T03:04:05.678Z",
                ),
                etag: None,
            }
        "##]]
        .assert_debug_eq(&repository);
        Ok(())
    }

    /// Members that are null, absent or newer than this client; a state that
    /// nobody has heard of.
    #[test]
    fn decodes_what_is_unusual() -> anyhow::Result<()> {
        let repository: ContainerRepository = serde_json::from_str(
            r#"{"id": "a", "compartmentId": "b", "displayName": "c", "lifecycleState": "RESTING",
                "readme": null, "freeformTags": null, "definedTags": {"n": {"k": 5}}, "aura": 1}"#,
        )?;
        assert_eq!(repository.lifecycle_state, "RESTING");
        assert!(repository.freeform_tags.is_empty());
        assert_eq!(repository.defined_tags["n"]["k"], 5);
        assert_eq!(repository.readme, None);
        Ok(())
    }

    /// The items of a list have what a summary has.
    #[test]
    fn decodes_a_list() -> anyhow::Result<()> {
        let page: Collection = serde_json::from_str(include_str!(
            "../../tests/fixtures/oci/container-repository-list.json"
        ))?;
        expect![[r#"
            [
                ContainerRepositorySummary {
                    id: "ocid1.containerrepo.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestrepo",
                    compartment_id: "ocid1.compartment.oc1..aaaaaaaatestcompartment",
                    display_name: "team/app",
                    lifecycle_state: "AVAILABLE",
                },
            ]
        "#]]
        .assert_debug_eq(&page.items);
        Ok(())
    }

    /// Bodies hold what was given and nothing else.
    #[test]
    fn bodies_hold_what_is_set() -> anyhow::Result<()> {
        let create = CreateContainerRepository {
            compartment_id: "ocid1.compartment.oc1..a".into(),
            display_name: "team/app".into(),
            ..CreateContainerRepository::default()
        };
        expect![[r#"{"compartmentId":"ocid1.compartment.oc1..a","displayName":"team/app"}"#]]
            .assert_eq(&serde_json::to_string(&create)?);
        let update = UpdateContainerRepository {
            readme: Some(Readme {
                content: String::new(),
                format: "TEXT_PLAIN".into(),
            }),
            freeform_tags: Some(FreeformTags::new()),
            defined_tags: Some(
                [("Ops".into(), [("CostCenter".into(), "42".into())].into())].into(),
            ),
            ..UpdateContainerRepository::default()
        };
        expect![[r#"{"readme":{"content":"","format":"TEXT_PLAIN"},"freeformTags":{},"definedTags":{"Ops":{"CostCenter":"42"}}}"#]].assert_eq(&serde_json::to_string(&update)?);
        assert_eq!(
            serde_json::to_string(&UpdateContainerRepository::default())?,
            "{}"
        );
        Ok(())
    }
}
