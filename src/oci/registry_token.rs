//! The registry's token endpoint, with a signature instead of a password.
//!
//! API: `GET /20180419/docker/token` on the registry's own host.

use super::{Client, Error};

/// A registry token. Its `Debug` does not show it.
#[derive(Clone)]
pub struct RegistryToken {
    /// The bearer token. A secret.
    pub token: String,
    /// How long it is good for, from now.
    pub expires_in: std::time::Duration,
}

impl Client {
    /// Exchanges the caller's identity for a registry token at `base`
    /// (scheme and authority of the registry). An anonymous token, which is
    /// what the endpoint gives to a signature it does not accept, is
    /// [`Error::Anonymous`].
    pub async fn get_registry_token(&self, _base: &str) -> Result<RegistryToken, Error> {
        todo!()
    }
}
