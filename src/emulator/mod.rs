//! Oracle's control plane and registry on loopback.
//!
//! A second reading of the same documents: shares no code with the clients,
//! and is strict where the cloud is strict. One state: a push shows in
//! `imageCount`, a deleted repository takes its images along.

pub mod call;
mod certificate;
mod clock;
mod config;
mod control_plane;
mod der;
mod fault;
mod identity;
mod jwt;
mod key;
mod machine;
mod permission;
mod principal;
mod refusal;
mod regions;
mod registry;
mod seed;
mod server;
mod sign_in;
mod signature;
mod state;
mod throttle;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Handle};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use fault::Fault;
pub use machine::Environment;
pub use permission::Permission;

use self::{
    clock::Clock,
    key::RsaKey,
    machine::Machines,
    seed::Tenancy,
    server::{Settings, Shared},
    state::{Folder, State, Store, Version, about, new_etag},
};

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
    federation: Option<String>,
    page_size: Option<usize>,
    oracle_tags: bool,
    tag_defaults: BTreeMap<String, BTreeMap<String, Value>>,
    deletion_delay: Option<Duration>,
    create_on_first_push: bool,
    clock_skew: i64,
    session_lifetime: Option<Duration>,
    registry_token_lifetime: Option<Duration>,
}

/// A running emulator; stops when dropped, and then panics if one of its
/// handlers did.
pub struct Emulator {
    shared: Arc<Shared>,
    url: String,
    authority: String,
    stop: CancellationToken,
    connections: TaskTracker,
    machines: Mutex<Machines>,
    runtime: Handle,
}

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
    /// Who has no user: an instance, a function, and the pods of a cluster.
    pub instance_id: String,
    pub function_id: String,
    pub workload_id: String,
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
    /// Who sent it, once that was found out: by which credential, and an OCID. For example
    /// `api_key ocid1.user.oc1..a`; the credentials are `api_key`, `session`, `instance`, `delegation`,
    /// `resource`, `workload` and `token_exchange`, and `auth_token` and `registry_token` at the registry.
    pub caller: Option<String>,
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Emulator")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Seed")
            .field("tenancy_id", &self.tenancy_id)
            .field("user_id", &self.user_id)
            .field("region", &self.region)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Emulator {
    /// An emulator on a free port, in memory, when nothing else is said.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `http://127.0.0.1:PORT`, or `https://`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.authority.clone()
    }

    /// What it is seeded with.
    pub fn seed(&self) -> &Seed {
        &self.shared.tenancy.seed
    }

    /// The next call of an operation fails, or of any operation for `*`. Several add up, in order.
    ///
    /// # Panics
    ///
    /// When there is no such operation, since the fault would never be met.
    #[track_caller]
    pub fn fail_next(&self, operation: &str, fault: Fault) {
        check_operation(operation);
        self.shared
            .locked(&self.shared.faults)
            .push(operation, fault);
    }

    /// Every call of an operation fails, or every call for `*`, after those of
    /// [`Emulator::fail_next`], until [`Emulator::clear_faults`].
    ///
    /// # Panics
    ///
    /// When there is no such operation.
    #[track_caller]
    pub fn fail_always(&self, operation: &str, fault: Fault) {
        check_operation(operation);
        self.shared
            .locked(&self.shared.faults)
            .set(operation, fault);
    }

    /// Nothing fails any more.
    pub fn clear_faults(&self) {
        self.shared.locked(&self.shared.faults).clear();
    }

    /// From now on the control plane answers no more than so many requests within any second; the
    /// others get 429 `TooManyRequests` with `retry-after: 1`.
    pub fn throttle(&self, requests_per_second: Option<u32>) {
        self.shared
            .locked(&self.shared.throttle)
            .set(requests_per_second);
    }

    /// Takes a permission from everybody, as an administrator does who changes a policy.
    pub fn withdraw(&self, permission: Permission) {
        self.shared
            .locked(&self.shared.withdrawn)
            .insert(permission);
    }

    /// Gives back what [`Emulator::withdraw`] took.
    pub fn grant(&self, permission: Permission) {
        self.shared
            .locked(&self.shared.withdrawn)
            .remove(&permission);
    }

    /// Every security token (`ST$…`) and every registry token given out so far is expired from
    /// now on, also what sessions and resource principals have on disk, whatever the
    /// tokens say themselves.
    pub fn expire_tokens(&self) {
        self.edit(|state| {
            state.token_generation += 1;
            Some(())
        });
    }

    /// The instance gets another certificate and another key; the old certificate is refused.
    pub fn rotate_instance_certificate(&self) {
        self.shared.locked(&self.shared.machine).rotate();
    }

    /// Whether the cluster of [`Emulator::workload`] is an enhanced one, as it is at first.
    /// The pods of others get 403.
    pub fn enhanced_cluster(&self, enhanced: bool) {
        self.shared
            .enhanced_cluster
            .store(enhanced, Ordering::Relaxed);
    }

    /// Puts the emulator's clock ahead by so many seconds, or behind: its
    /// `date` header, its idea of expired tokens and of stale signatures.
    pub fn skew_clock(&self, seconds: i64) {
        self.shared.clock.skew(seconds);
    }

    /// Every request so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.locked(&self.shared.log).clone()
    }

    /// How often an operation was asked for since the requests were last
    /// forgotten, those that have no answer yet included.
    ///
    /// # Panics
    ///
    /// When there is no such operation.
    #[track_caller]
    pub fn begun(&self, operation: &str) -> usize {
        check_operation(operation);
        let begun = self.shared.locked(&self.shared.begun);
        begun.get(operation).copied().unwrap_or_default()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared.locked(&self.shared.begun).clear();
        self.shared.locked(&self.shared.log).clear();
    }

    /// Repositories, as JSON of the control plane, in order of creation.
    pub fn repositories(&self) -> Vec<Value> {
        let now = self.shared.clock.now();
        self.shared.store.read(|state| {
            let mut repositories: Vec<_> = state
                .repositories
                .values()
                .filter(|repository| !repository.is_gone(now))
                .collect();
            repositories.sort_by_key(|repository| repository.sequence);
            repositories
                .into_iter()
                .map(|repository| state.repository_json(repository))
                .collect()
        })
    }

    /// Images that can be pulled, as JSON of the control plane, in order of creation.
    pub fn images(&self) -> Vec<Value> {
        self.shared.store.read(|state| {
            let mut images: Vec<_> = state
                .images
                .values()
                .filter(|image| image.lifecycle_state == state::AVAILABLE)
                .collect();
            images.sort_by_key(|image| image.sequence);
            images
                .into_iter()
                .map(|image| state.image_json(image))
                .collect()
        })
    }

    /// Auth tokens of the seeded user, as JSON, without the tokens themselves.
    pub fn auth_tokens(&self) -> Vec<Value> {
        self.shared.store.read(|state| {
            control_plane::auth_tokens(state)
                .into_iter()
                .map(state::AuthToken::json)
                .collect()
        })
    }

    /// Tags of a repository (without namespace) and the digests they point to.
    pub fn tags(&self, repository: &str) -> BTreeMap<String, String> {
        self.shared.store.read(|state| {
            repository_id(state, repository)
                .map(|id| state.tags(&id))
                .unwrap_or_default()
        })
    }

    /// Changes a repository behind everybody's back: members of the JSON are merged in.
    ///
    /// # Panics
    ///
    /// When there is no such repository, or no such member.
    #[track_caller]
    pub fn edit_repository(&self, display_name: &str, members: Value) {
        self.edit(|state| {
            let id = repository_id(state, display_name)?;
            let repository = state.repositories.get_mut(&id)?;
            merge(repository, &members);
            repository.etag = new_etag();
            Some(())
        });
    }

    /// Removes a repository and its images behind everybody's back.
    ///
    /// # Panics
    ///
    /// When there is no such repository.
    #[track_caller]
    pub fn remove_repository(&self, display_name: &str) {
        self.edit(|state| {
            let id = repository_id(state, display_name)?;
            state.remove_repository(&id);
            Some(())
        });
        self.shared.store.collect();
    }

    /// Removes a tag behind everybody's back.
    ///
    /// # Panics
    ///
    /// When there is no such repository or tag.
    #[track_caller]
    pub fn remove_tag(&self, repository: &str, tag: &str) {
        self.edit(|state| {
            let id = repository_id(state, repository)?;
            let image = state.image(&id, tag)?.id.clone();
            state.images.get_mut(&image)?.untag(tag);
            Some(())
        });
    }

    /// Points a tag to another manifest of the repository behind everybody's back.
    ///
    /// # Panics
    ///
    /// When there is no such repository or manifest.
    #[track_caller]
    pub fn move_tag(&self, repository: &str, tag: &str, digest: &str) {
        let version = Version {
            version: tag.into(),
            created_by: self.seed().user_id.clone(),
            time_created: self.shared.clock.now().rfc3339(),
        };
        self.edit(|state| {
            let id = repository_id(state, repository)?;
            let image = state.image(&id, digest)?.id.clone();
            state.tag(&image, version);
            Some(())
        });
    }

    /// Changes an auth token of the seeded user behind everybody's back.
    ///
    /// # Panics
    ///
    /// When there is no such token, or no such member.
    #[track_caller]
    pub fn edit_auth_token(&self, id: &str, members: Value) {
        self.edit(|state| {
            let token = state.auth_tokens.get_mut(id)?;
            merge(token, &members);
            token.etag = new_etag();
            Some(())
        });
    }

    /// Removes an auth token behind everybody's back.
    ///
    /// # Panics
    ///
    /// When there is no such token.
    #[track_caller]
    pub fn remove_auth_token(&self, id: &str) {
        self.edit(|state| state.auth_tokens.remove(id).map(|_| ()));
    }

    /// Stops, with data saved.
    pub async fn stop(self) {
        self.stop.cancel();
        self.connections.wait().await;
    }

    /// A change of a test, which knows what is there.
    #[track_caller]
    fn edit(&self, edit: impl FnOnce(&mut State) -> Option<()>) {
        let edited = self
            .shared
            .store
            .change(|state| edit(state).ok_or_else(refusal::Refusal::not_found));
        if let Err(refusal) = edited {
            panic!("cannot edit the emulator's state: {}", refusal.message);
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Err(error) = self.shared.store.flush() {
            tracing::error!(%error, "cannot save the emulator's state");
        }
        let panics = self.shared.locked(&self.shared.panics);
        if !panics.is_empty() && !std::thread::panicking() {
            panic!("a handler of the emulator panicked: {}", panics.join("; "));
        }
    }
}

/// The repository of a name: the home region's, which sorts no differently from others. One
/// that is being deleted is only meant when there is no other.
fn repository_id(state: &State, display_name: &str) -> Option<String> {
    state
        .repositories
        .values()
        .filter(|repository| repository.display_name == display_name)
        .min_by_key(|repository| {
            let leaves = repository.lifecycle_state != state::AVAILABLE;
            (leaves, repository.sequence)
        })
        .map(|repository| repository.id.clone())
}

/// Replaces members of something by those of a JSON object.
#[track_caller]
fn merge<T: serde::Serialize + serde::de::DeserializeOwned>(target: &mut T, members: &Value) {
    let mut value = serde_json::to_value(&*target).expect("the state consists of JSON");
    for (name, member) in members.as_object().expect("members are an object") {
        let slot = value.get_mut(name);
        *slot.unwrap_or_else(|| panic!("no member {name} to edit")) = member.clone();
    }
    *target = serde_json::from_value(value)
        .unwrap_or_else(|error| panic!("members of a wrong type: {error}"));
}

#[track_caller]
fn check_operation(operation: &str) {
    let known: Vec<&str> = control_plane::names()
        .chain(registry::NAMES.iter().copied())
        .chain(sign_in::names())
        .collect();
    assert!(
        operation == fault::ANY || known.contains(&operation),
        "no operation {operation}; there are {}",
        known.join(", ")
    );
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
    /// Fills a folder with `config` (profiles `DEFAULT` and `SESSION`), `key.pem`, `env.sh`, and
    /// with scripts and files to be an instance, a function, Cloud Shell or a CI job.
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
    /// The seeded user came from another identity provider: the registry knows the user
    /// only with this in front of the name, which the control plane does not say.
    pub fn federation(self, name: impl Into<String>) -> Self {
        Self {
            federation: Some(name.into()),
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
    /// Adds the defined tags `Oracle-Tags.CreatedBy` and `CreatedOn` to what is created,
    /// as tenancies with tag defaults do.
    pub fn oracle_tags(self) -> Self {
        Self {
            oracle_tags: true,
            ..self
        }
    }

    /// Adds a defined tag (`Namespace`, `Key`) to every repository that is made without it,
    /// as a tag default of its compartment does.
    pub fn tag_default(mut self, namespace: &str, key: &str, value: &str) -> Self {
        self.tag_defaults
            .entry(namespace.into())
            .or_default()
            .insert(key.into(), value.into());
        self
    }

    /// A repository that is deleted stays, `DELETING`, for so long, and keeps its name.
    pub fn deletion_delay(self, delay: Duration) -> Self {
        Self {
            deletion_delay: Some(delay),
            ..self
        }
    }

    /// A first push creates its repository in the root compartment, in the home region.
    ///
    /// Off unless it is asked for here or through the configuration's API, so
    /// that a push that misses its repository is noticed.
    pub fn create_on_first_push(self) -> Self {
        Self {
            create_on_first_push: true,
            ..self
        }
    }

    /// Starts with a clock that is ahead by so many seconds, or behind.
    pub fn skew_clock(self, seconds: i64) -> Self {
        Self {
            clock_skew: seconds,
            ..self
        }
    }

    /// How long security tokens (`ST$…`) live: by default 20 minutes for instances, an hour for all
    /// others.
    pub fn session_lifetime(self, lifetime: Duration) -> Self {
        Self {
            session_lifetime: Some(lifetime),
            ..self
        }
    }

    /// How long registry tokens live, by default an hour.
    pub fn registry_token_lifetime(self, lifetime: Duration) -> Self {
        Self {
            registry_token_lifetime: Some(lifetime),
            ..self
        }
    }

    /// Binds and serves, on the runtime of the caller.
    pub async fn start(self) -> io::Result<Emulator> {
        let kept: Vec<&Path> = [&self.config, &self.data]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        let key = RsaKey::kept_in(&kept)?;
        let tenancy = Tenancy::new(self.namespace.as_deref(), self.region.as_deref(), &key)?;
        let tls = match &self.tls {
            Some((certificate, key)) => Some(acceptor(certificate, key)?),
            None => None,
        };
        let store = Store::open(Folder::open(self.data.as_deref())?)?;
        if self.create_on_first_push {
            store
                .change(|state| {
                    state
                        .created_on_first_push
                        .insert(tenancy.home.identifier.into());
                    Ok(())
                })
                .map_err(|refusal| io::Error::other(refusal.message))?;
        }
        for folder in &kept {
            key.keep_in(folder)?;
        }

        let address = self
            .listen
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let authority = listener.local_addr()?.to_string();
        let url = format!("{scheme}://{authority}");
        let clock = Clock::default();
        clock.skew(self.clock_skew);
        let shared = Arc::new(Shared {
            settings: Settings {
                scheme,
                accept_immutable: self.accept_immutable,
                oracle_tags: self.oracle_tags,
                tag_defaults: self.tag_defaults,
                deletion_delay: self.deletion_delay,
                token_delay: self.token_delay.unwrap_or_default(),
                federation: self.federation,
                page_size: self.page_size.unwrap_or(DEFAULT_PAGE).max(1),
                session_lifetime: self.session_lifetime,
                registry_token_lifetime: self.registry_token_lifetime.unwrap_or(identity::LIFETIME),
            },
            tenancy,
            store,
            uploads: Mutex::default(),
            clock,
            faults: Mutex::default(),
            log: Mutex::default(),
            begun: Mutex::default(),
            panics: Mutex::default(),
            throttle: Mutex::default(),
            withdrawn: Mutex::default(),
            machine: Mutex::default(),
            enhanced_cluster: AtomicBool::new(true),
            client_secret: format!("idcscs-{:032x}", rand::random::<u128>()),
        });
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        connections.spawn(server::accept(
            shared.clone(),
            listener,
            tls,
            stop.clone(),
            connections.clone(),
        ));
        connections.close();
        let emulator = Emulator {
            shared,
            url,
            authority,
            stop,
            connections,
            machines: Mutex::default(),
            runtime: Handle::current(),
        };
        if let Some(folder) = &self.config {
            emulator.write_config(folder)?;
        }
        Ok(emulator)
    }
}

/// Small, so that clients that forget to page are noticed.
const DEFAULT_PAGE: usize = 10;

fn acceptor(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| about(certificate, &error))?;
    if certificates.is_empty() {
        return Err(about(certificate, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| about(key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| about(certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handler that panics answers 500, and fails the test that owns the emulator.
    #[tokio::test]
    #[should_panic(expected = "a handler of the emulator panicked: Ping: a bug")]
    async fn panicking_handler() {
        let emulator = Emulator::builder().start().await.expect("it starts");
        let kind = fault::Kind::Panic;
        emulator.fail_next("Ping", Fault { kind });
        let answer = reqwest::get(format!("{}/v2/", emulator.url())).await;
        assert_eq!(
            answer.map(|answer| answer.status().as_u16()).ok(),
            Some(500)
        );
    }

    /// Neither the key nor anything derived from it is printed for debugging.
    #[tokio::test]
    async fn printing_a_seed() -> anyhow::Result<()> {
        let emulator = Emulator::builder().start().await?;
        let printed = format!("{:?} {emulator:?}", emulator.seed());
        assert!(!printed.contains("PRIVATE"), "{printed}");
        assert!(printed.contains(&emulator.seed().user_id), "{printed}");
        Ok(())
    }

    /// A fault for an operation that does not exist would never be met, so it is refused.
    #[tokio::test]
    #[should_panic(expected = "no operation PutBlub; there are ")]
    async fn unknown_operation() {
        let emulator = Emulator::builder().start().await.expect("it starts");
        emulator.fail_next("PutBlub", Fault::status(500));
    }
}
