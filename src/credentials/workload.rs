//! A workload in an OKE cluster: its service account for a security token.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/ContEng/Tasks/contenggrantingworkloadaccesstoresources.htm>

use std::sync::Arc;

use super::{CredentialSource, Environment, Error, Network};

/// Whether this is a pod of a cluster that may know us, cheaply: variables,
/// files, and whether somebody listens. `Err` holds why not.
pub(super) async fn probe(_environment: &Environment) -> Result<(), String> {
    todo!()
}

/// The workload. Contacts nobody yet.
pub(super) fn source(
    _environment: &Environment,
    _network: &Network,
) -> Result<Arc<dyn CredentialSource>, Error> {
    todo!()
}
