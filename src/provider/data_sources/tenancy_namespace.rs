//! `tenancy_namespace`, `ocir_tenancy_namespace`: the first part of every image path.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/objectstorage/latest/Namespace/GetNamespace>

use std::sync::Arc;

use crate::{
    framework::{Attr, Context, DataSource, Model, Result},
    provider::{clients::Clients, diagnose, policy::Place, validate},
};

pub(crate) struct TenancyNamespace {
    clients: Arc<Clients>,
}

/// Tells the tenancy's namespace and the region's registry hosts: what is
/// needed to write an image's full name.
#[derive(Clone, Debug, Model)]
pub(crate) struct State {
    /// OCID of a compartment, to ask for the namespace of the tenancy it belongs
    /// to. By default the tenancy of the provider's own identity.
    #[tf(optional, validate = validate::ocid)]
    compartment_id: Attr<String>,
    /// The namespace. It never changes, and it is the same in all regions.
    #[tf(computed)]
    namespace: Attr<String>,
    /// Identifier of the provider's region, for example `sa-saopaulo-1`.
    #[tf(computed)]
    region: Attr<String>,
    /// Key of the provider's region in lower case, for example `gru`.
    #[tf(computed)]
    region_key: Attr<String>,
    /// Host of the region's registry, for example `gru.ocir.io`.
    #[tf(computed)]
    registry_host: Attr<String>,
    /// All names under which the region's registry answers, the preferred one first.
    #[tf(computed)]
    registry_hosts: Attr<Vec<String>>,
}

impl DataSource for TenancyNamespace {
    type Clients = Clients;
    type State = State;

    fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    async fn read(&self, cx: &mut Context, config: State) -> Result<State> {
        let oci = self.clients.oci(cx).await?;
        let namespace =
            match config.compartment_id.known() {
                None => self.clients.namespace(cx).await?,
                Some(compartment_id) => oci.get_namespace(Some(compartment_id)).await.map_err(
                    |error| {
                        diagnose::oci(
                            "Cannot read namespace",
                            &format!(
                                "The namespace of compartment {compartment_id} could not be read"
                            ),
                            Place::Tenancy,
                            &error,
                            &oci,
                        )
                    },
                )?,
            };
        let region = oci.region();
        Ok(State {
            compartment_id: config.compartment_id,
            namespace: Attr::Known(namespace),
            region: Attr::Known(region.identifier.clone()),
            region_key: Attr::Known(region.key.clone()),
            registry_host: Attr::Known(self.clients.registry_host(cx).await?),
            registry_hosts: Attr::Known(self.clients.registry_hosts(cx).await?),
        })
    }
}
