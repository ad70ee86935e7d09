//! The token of a CI for one of Oracle's, at an identity domain (RFC 8693).
//!
//! <https://docs.oracle.com/en-us/iaas/Content/Identity/api-getstarted/json_web_token_exchange.htm>

use std::sync::Arc;

use super::{CredentialSource, Error, Network, TokenExchange};

/// The workload outside Oracle's cloud. Contacts nobody yet. `settings` are
/// complete: the environment had its say. `instance` signs the exchange when
/// `auth` says so.
pub(super) fn source(
    _settings: &TokenExchange,
    _instance: Option<Arc<dyn CredentialSource>>,
    _network: &Network,
) -> Result<Arc<dyn CredentialSource>, Error> {
    todo!()
}
