//! The client: address, authorization, retry, redirects.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Credentials, Error};
use crate::transport::RetryPolicy;

/// What a client is made of.
pub struct Config {
    /// HTTP, which follows no redirects by itself.
    pub http: reqwest::Client,
    /// Host and, when it is not the default one, port.
    pub host: String,
    /// HTTP instead of HTTPS.
    pub plain_http: bool,
    /// How to sign in.
    pub credentials: Credentials,
    /// Blobs uploaded at once, over all pushes of this client.
    pub max_concurrent_uploads: usize,
    /// When to try again.
    pub retry: RetryPolicy,
}

/// A client of one registry; cheap to clone, and every clone shares tokens,
/// uploads and the bound on them.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Config>,
    pub(super) stop: CancellationToken,
}

impl Client {
    /// A client. Contacts nobody.
    pub fn new(_config: Config) -> Self {
        todo!()
    }
    /// The same client, whose waits and uploads end when `stop` is cancelled.
    pub fn with_stop(&self, _stop: CancellationToken) -> Self {
        todo!()
    }
    /// Host and port.
    pub fn host(&self) -> &str {
        &self.inner.host
    }
    /// The tags of a repository, all pages; `None` when the registry says that
    /// it does not know the repository (`NAME_UNKNOWN`).
    pub async fn tags(&self, _repository: &str) -> Result<Option<Vec<String>>, Error> {
        todo!()
    }
}
