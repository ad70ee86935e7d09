//! The table of ephemeral resources.

mod registry_login;

use super::Clients;
use crate::framework::EphemeralResourceType;

/// Every ephemeral resource, by name.
pub(super) fn all() -> Vec<EphemeralResourceType<Clients>> {
    vec![EphemeralResourceType::new::<registry_login::RegistryLogin>(
        "ocir_registry_login",
    )]
}
