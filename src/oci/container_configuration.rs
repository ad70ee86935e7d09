//! What a tenancy's registry does in one region.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/registry/latest/ContainerConfiguration>

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Client, Error, call::Call};
use crate::region::Service;

/// The registry's configuration, one per tenancy and region.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct ContainerConfiguration {
    /// Whether a push to an unknown path makes a private repository in the
    /// root compartment.
    pub is_repository_created_on_first_push: bool,
    #[serde(default)]
    pub namespace: Option<String>,
}

impl Client {
    /// GetContainerConfiguration. The compartment is the tenancy.
    pub async fn get_container_configuration(
        &self,
        compartment_id: &str,
    ) -> Result<ContainerConfiguration, Error> {
        let operation = "GetContainerConfiguration";
        let call = call(self, operation, Method::GET, compartment_id)?;
        self.json(&call).await
    }

    /// UpdateContainerConfiguration.
    pub async fn update_container_configuration(
        &self,
        compartment_id: &str,
        is_repository_created_on_first_push: bool,
    ) -> Result<ContainerConfiguration, Error> {
        let operation = "UpdateContainerConfiguration";
        let call = call(self, operation, Method::PUT, compartment_id)?.body(&Update {
            is_repository_created_on_first_push,
        })?;
        self.json(&call).await
    }
}

fn call(
    client: &Client,
    operation: &'static str,
    method: Method,
    compartment_id: &str,
) -> Result<Call, Error> {
    Ok(Call::new(client, operation, Service::Artifacts, method)?
        .path("container/configuration")
        .query("compartmentId", Some(compartment_id)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    is_repository_created_on_first_push: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to both calls.
    #[test]
    fn decodes_a_configuration() -> anyhow::Result<()> {
        let configuration: ContainerConfiguration = serde_json::from_str(
            r#"{"isRepositoryCreatedOnFirstPush": true, "namespace": "examplens"}"#,
        )?;
        assert!(configuration.is_repository_created_on_first_push);
        assert_eq!(configuration.namespace.as_deref(), Some("examplens"));
        Ok(())
    }
}
