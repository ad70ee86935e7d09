//! Oracle's control plane and registry on loopback.
//!
//! A second reading of the same documents: shares no code with the clients,
//! and is strict where the cloud is strict. One state: a push shows in
//! `imageCount`, a deleted repository takes its images along.

mod fault;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use fault::Fault;

/// How an emulator is started.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    listen: Option<SocketAddr>,
    data: Option<PathBuf>,
    config: Option<PathBuf>,
    namespace: Option<String>,
    region: Option<String>,
    accept_immutable: bool,
    tls: Option<(PathBuf, PathBuf)>,
    token_delay: Option<Duration>,
    page_size: Option<usize>,
}

/// A running emulator; stops when dropped, and then panics if one of its
/// handlers did.
pub struct Emulator {}

/// What the emulator is seeded with, and how to sign in to it.
#[derive(Clone)]
#[expect(missing_docs, reason = "named as in Oracle's configuration file")]
pub struct Seed {
    pub tenancy_id: String,
    pub user_id: String,
    pub user_name: String,
    pub fingerprint: String,
    pub private_key_pem: String,
    pub region: String,
    pub namespace: String,
    /// Compartments `apps` and `ops`.
    pub apps_compartment_id: String,
    pub ops_compartment_id: String,
}

/// A request the emulator answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// API operation, for example `CreateContainerRepository`, `PutBlobUpload`, `HeadManifest`.
    pub operation: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the request's body.
    pub body_bytes: u64,
    /// `opc-retry-token`, when sent.
    pub retry_token: Option<String>,
}

impl Emulator {
    /// An emulator on a free port, in memory, when nothing else is said.
    pub fn builder() -> Builder {
        Builder::default()
    }
    /// `http://127.0.0.1:PORT`, or `https://`.
    pub fn url(&self) -> String {
        todo!()
    }
    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        todo!()
    }
    /// What it is seeded with.
    pub fn seed(&self) -> &Seed {
        todo!()
    }
    /// The next call of an operation fails. Several add up, in order.
    pub fn fail_next(&self, _operation: &str, _fault: Fault) {
        todo!()
    }
    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        todo!()
    }
    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        todo!()
    }
    /// Repositories, as JSON of the control plane.
    pub fn repositories(&self) -> Vec<serde_json::Value> {
        todo!()
    }
    /// Auth tokens of the seeded user, as JSON, without the tokens themselves.
    pub fn auth_tokens(&self) -> Vec<serde_json::Value> {
        todo!()
    }
    /// Tags of a repository (without namespace) and the digests they point to.
    pub fn tags(&self, _repository: &str) -> std::collections::BTreeMap<String, String> {
        todo!()
    }
    /// Changes a repository behind everybody's back: members of the JSON are merged in.
    pub fn edit_repository(&self, _display_name: &str, _members: serde_json::Value) {
        todo!()
    }
    /// Removes a repository and its images behind everybody's back.
    pub fn remove_repository(&self, _display_name: &str) {
        todo!()
    }
    /// Removes a tag behind everybody's back.
    pub fn remove_tag(&self, _repository: &str, _tag: &str) {
        todo!()
    }
    /// Points a tag to another manifest of the repository behind everybody's back.
    pub fn move_tag(&self, _repository: &str, _tag: &str, _digest: &str) {
        todo!()
    }
    /// Changes an auth token of the seeded user behind everybody's back.
    pub fn edit_auth_token(&self, _id: &str, _members: serde_json::Value) {
        todo!()
    }
    /// Removes an auth token behind everybody's back.
    pub fn remove_auth_token(&self, _id: &str) {
        todo!()
    }
    /// Stops, with data saved.
    pub async fn stop(self) {
        todo!()
    }
}

impl Builder {
    /// Where to listen.
    pub fn listen(self, address: SocketAddr) -> Self {
        Self {
            listen: Some(address),
            ..self
        }
    }
    /// Keeps everything in a folder.
    pub fn data(self, directory: impl Into<PathBuf>) -> Self {
        Self {
            data: Some(directory.into()),
            ..self
        }
    }
    /// Fills a folder with `config`, `key.pem` and `env.sh`.
    pub fn config(self, directory: impl Into<PathBuf>) -> Self {
        Self {
            config: Some(directory.into()),
            ..self
        }
    }
    /// The tenancy's namespace.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self {
            namespace: Some(namespace.into()),
            ..self
        }
    }
    /// The home region.
    pub fn region(self, region: impl Into<String>) -> Self {
        Self {
            region: Some(region.into()),
            ..self
        }
    }
    /// Accepts `isImmutable: true`, which the live service refuses.
    pub fn accept_immutable(self) -> Self {
        Self {
            accept_immutable: true,
            ..self
        }
    }
    /// Speaks TLS with these PEM files.
    pub fn tls(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            tls: Some((certificate.into(), key.into())),
            ..self
        }
    }
    /// A new auth token is refused by the registry for this long.
    pub fn token_delay(self, delay: Duration) -> Self {
        Self {
            token_delay: Some(delay),
            ..self
        }
    }
    /// Entries of a page when the client names no limit.
    pub fn page_size(self, entries: usize) -> Self {
        Self {
            page_size: Some(entries),
            ..self
        }
    }
    /// Binds and serves.
    pub async fn start(self) -> std::io::Result<Emulator> {
        todo!()
    }
}
