//! The provider's own identity as a login to the registry.

use std::time::Instant;

use futures_util::future::BoxFuture;

use crate::{oci, registry};

/// Exchanges a signature for a registry token, which lives an hour. Nothing is
/// stored, and no auth token of a user is needed.
pub(super) struct IdentityTokens {
    oci: oci::Client,
    base: String,
}

impl IdentityTokens {
    /// Tokens from the registry at `base` (scheme and authority).
    pub(super) fn new(oci: oci::Client, base: String) -> Self {
        Self { oci, base }
    }
}

impl registry::TokenSource for IdentityTokens {
    fn token(
        &self,
    ) -> BoxFuture<'_, Result<registry::Token, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async {
            let asked = Instant::now();
            let token = self.oci.get_registry_token(&self.base).await?;
            Ok(registry::Token {
                token: token.token,
                expires_at: asked + token.expires_in,
            })
        })
    }
}
