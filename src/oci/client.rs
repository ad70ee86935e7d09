//! The client: endpoint, sign, send, retry, pages, etag.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Error;
use crate::{credentials::CredentialSource, region::Region, transport::RetryPolicy};

/// What a client is made of.
pub struct Config {
    /// HTTP.
    pub http: reqwest::Client,
    /// Where the services are.
    pub region: Region,
    /// Base address instead of the services' own hosts: the emulator, a gateway.
    /// May contain `{service}` and `{region}`.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: Arc<dyn CredentialSource>,
    /// When to ask again.
    pub retry: RetryPolicy,
}

/// A client of the control plane; cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) config: Arc<Config>,
    pub(super) stop: CancellationToken,
}

impl Client {
    /// A client. Contacts nobody; an `endpoint` that is no address is an error.
    pub fn new(_config: Config) -> Result<Self, Error> {
        todo!()
    }
    /// The same client, whose waits end when `stop` is cancelled.
    pub fn with_stop(&self, stop: CancellationToken) -> Self {
        Self {
            config: self.config.clone(),
            stop,
        }
    }
    /// Who asks.
    pub fn credentials(&self) -> &dyn CredentialSource {
        &*self.config.credentials
    }
    /// Where.
    pub fn region(&self) -> &Region {
        &self.config.region
    }
}
