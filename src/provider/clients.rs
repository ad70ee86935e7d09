//! What resources work with, built when it is first needed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::OnceCell;

// Its diagnostics are about the provider's arguments and come out of a
// resource's calls, so they have no path: that would be read as the resource's.

use super::{
    config::{Config, Effective, Variable},
    diagnose,
    once::{Failure, Once},
    policy::Place,
    registry_token::IdentityTokens,
};
use crate::{
    credentials::{self, Environment, Network},
    framework::{Context, Diagnostic, Diagnostics, Result},
    image, oci,
    region::Region,
    registry,
    transport::{self, RetryPolicy},
};

/// The clients of one provider configuration: shared by all its resources, so
/// that they share connections, tokens, and the bound on uploads.
pub struct Clients {
    effective: Effective,
    environment: Environment,
    retry: RetryPolicy,
    unknown_argument: Option<&'static str>,
    control_plane: Once<oci::Client>,
    registry: Once<Registry>,
    /// The registry as those see it who push to one repository, where Docker's
    /// configuration has the logins.
    repositories: Mutex<HashMap<String, Arc<Once<Registry>>>>,
    docker: registry::DockerConfig,
    sources: Sources,
    namespace: Once<String>,
    loader: Arc<image::Loader>,
    taken_over: Mutex<BTreeMap<String, String>>,
    deleted_tokens: Mutex<BTreeSet<String>>,
    kept_tokens: Mutex<BTreeSet<String>>,
    /// How sources are read when a resource does not say.
    load_options: image::LoadOptions,
    /// Tells this process, and this configuration, from every other.
    run: u64,
}

/// The registry that images are pushed to.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) client: registry::Client,
    /// Whether it is Oracle's, which has an API for single tags beside it.
    pub(crate) is_ocir: bool,
    /// Whether a user name and a password are configured for it.
    pub(crate) has_login: bool,
    /// Whether the login is one of Docker's or podman's configuration.
    pub(crate) is_dockers: bool,
    /// The control plane whose identity signs in, if it does.
    pub(crate) oci: Option<oci::Client>,
    /// Who signs in otherwise.
    login: Arc<str>,
    /// And with what.
    credentials: registry::Credentials,
}

impl Registry {
    /// Who signs in, for messages. Some learn only from their first token who they are.
    pub(crate) fn identity(&self) -> String {
        match &self.oci {
            Some(oci) => oci.credentials().describe(),
            None => self.login.to_string(),
        }
    }
}

/// Oracle's registry, for its token endpoint.
pub(crate) struct Ocir {
    /// Host, and port when it is not the usual one.
    pub(crate) host: String,
    /// The control plane whose identity signs in.
    pub(crate) oci: oci::Client,
    http: reqwest::Client,
    scheme: String,
}

impl Ocir {
    /// Scheme and authority.
    fn base(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// A token for the provider's own identity.
    pub(crate) async fn token(&self) -> std::result::Result<oci::RegistryToken, oci::Error> {
        self.oci.get_registry_token(&self.base()).await
    }

    /// Whether a user name and an auth token are accepted.
    pub(crate) async fn accepts(
        &self,
        username: &str,
        token: &str,
    ) -> std::result::Result<bool, oci::Error> {
        oci::registry_login(&self.http, &self.base(), username, token).await
    }
}

impl Clients {
    pub(super) fn new(
        config: Config,
        environment: Environment,
        retry: RetryPolicy,
    ) -> Result<Self> {
        let unknown_argument = config.unknown_argument();
        let effective = config.with_environment(&environment)?;
        let load_options = image::LoadOptions {
            // It verifies every blob, and when it refuses one, we look ourselves.
            trust_registry: true,
            ..image::LoadOptions::from_environment(|name| {
                environment.variables.get(name).map(Into::into)
            })
        };
        Ok(Self {
            retry: effective.retries.apply(retry),
            effective,
            load_options,
            run: rand::random(),
            docker: registry::DockerConfig::from_environment(
                &environment.variables,
                environment.home.as_deref(),
            ),
            sources: Sources::default(),
            environment,
            unknown_argument,
            control_plane: Once::new("Nobody was signed in"),
            registry: Once::new("Nobody was signed in"),
            repositories: Mutex::default(),
            namespace: Once::new("The namespace of the tenancy was not read"),
            loader: Arc::default(),
            taken_over: Mutex::default(),
            deleted_tokens: Mutex::default(),
            kept_tokens: Mutex::default(),
        })
    }

    /// Defined tags that others manage, in lower case.
    pub(crate) fn ignored_tags(&self) -> &BTreeSet<String> {
        &self.effective.ignored_tags
    }

    /// Remembers, for this run, that an object that existed was taken over, and
    /// the mark that its new owner has.
    pub(crate) fn take_over(&self, id: &str, mark: &str) {
        let mut taken_over = self
            .taken_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        taken_over.insert(id.to_owned(), mark.to_owned());
    }

    /// The mark of who took an object over in this run.
    pub(crate) fn owner(&self, id: &str) -> Option<String> {
        let taken_over = self
            .taken_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        taken_over.get(id).cloned()
    }

    /// Whether every argument of the provider is known. While planning one may
    /// come from a resource that does not exist yet; then nobody can be asked.
    pub(crate) fn is_known(&self) -> bool {
        self.unknown_argument.is_none()
    }

    /// The control plane; its waits end when the call is stopped.
    pub(crate) async fn oci(&self, cx: &Context) -> Result<oci::Client> {
        match self.control_plane(cx).await {
            Ok(client) => Ok(client.with_stop(cx.stop.clone())),
            Err(failure) => Err(failure.diagnostics),
        }
    }

    /// The registry; its waits and uploads end when the call is stopped.
    pub(crate) async fn registry(&self, cx: &Context) -> Result<Registry> {
        let registry = self
            .registry
            .get(&cx.stop, || self.build_registry(cx))
            .await
            .map_err(|failure| failure.diagnostics)?;
        Ok(Registry {
            client: registry.client.with_stop(cx.stop.clone()),
            ..registry
        })
    }

    /// The registry for one of its repositories (with namespace): Docker's and podman's
    /// configurations may have a login of its own for it.
    pub(crate) async fn registry_for(&self, cx: &Context, path: &str) -> Result<Registry> {
        let registry = self.registry(cx).await?;
        if registry.oci.is_some() || registry.has_login {
            return Ok(registry);
        }
        let repository = {
            // A map is whole after every change.
            let known = self.repositories.lock();
            let mut known = known.unwrap_or_else(PoisonError::into_inner);
            let make = || Arc::new(Once::new("Nobody was signed in"));
            known.entry(path.to_owned()).or_insert_with(make).clone()
        };
        let look = || async {
            let login = self.docker.login(registry.client.host(), path, &cx.stop);
            Ok(match login.await {
                Ok(Some(login)) if !login.is(&registry.credentials) => Registry {
                    client: registry.client.signed_in_with(login.credentials.clone()),
                    is_dockers: true,
                    credentials: login.credentials,
                    login: login.identity.into(),
                    ..registry.clone()
                },
                Ok(_) => registry.clone(),
                Err(error) => return Err(diagnose::docker_config(&error)),
            })
        };
        let found = repository.get(&cx.stop, look).await;
        let found = found.map_err(|failure| failure.diagnostics)?;
        Ok(Registry {
            client: found.client.with_stop(cx.stop.clone()),
            ..found
        })
    }

    /// Host (and port) of the registry. Asks nobody, but an instance where it is.
    pub(crate) async fn registry_host(&self, cx: &Context) -> Result<String> {
        if let (None, Some(host)) = (self.unknown_argument, &self.effective.registry.host) {
            return Ok(host.clone());
        }
        let oci = self.oci(cx).await?;
        match &self.effective.endpoint {
            Some(endpoint) => Ok(endpoint_authority(endpoint, oci.region())?.1),
            None => Ok(oci.region().registry_host()),
        }
    }

    /// All names under which the registry answers, the preferred one first.
    pub(crate) async fn registry_hosts(&self, cx: &Context) -> Result<Vec<String>> {
        let host = self.registry_host(cx).await?;
        let region_hosts = self.oci(cx).await?.region().registry_hosts();
        if region_hosts.contains(&host) {
            Ok(region_hosts)
        } else {
            Ok(vec![host])
        }
    }

    /// The registry of Oracle's that the provider's identity belongs to. That is
    /// not the one of the argument `registry.host` when that one is somebody
    /// else's: no login of Oracle's goes there.
    pub(crate) async fn ocir(&self, cx: &Context) -> Result<Ocir> {
        let (scheme, host) = self.ocir_address(cx).await?;
        let of_registry = self.effective.registry.ca_certificate.as_deref();
        let options = self.transport(of_registry).await?;
        Ok(Ocir {
            http: self.http(&options, of_registry.is_some())?,
            host,
            scheme,
            oci: self.oci(cx).await?,
        })
    }

    /// Host (and port) of [`ocir`](Self::ocir). Asks nobody, but an instance where it is.
    pub(crate) async fn ocir_host(&self, cx: &Context) -> Result<String> {
        Ok(self.ocir_address(cx).await?.1)
    }

    async fn ocir_address(&self, cx: &Context) -> Result<(String, String)> {
        let oci = self.oci(cx).await?;
        let settings = &self.effective.registry;
        let (scheme, own) = match &self.effective.endpoint {
            Some(endpoint) => endpoint_authority(endpoint, oci.region())?,
            None => ("https".to_owned(), oci.region().registry_host()),
        };
        let hosts = oci.region().registry_hosts();
        let configured = settings.host.clone();
        let Some(host) = configured.filter(|host| *host == own || hosts.contains(host)) else {
            return Ok((scheme, own));
        };
        let scheme = match settings.plain_http {
            Some(true) => "http".to_owned(),
            None if host == own => scheme,
            _ => "https".to_owned(),
        };
        Ok((scheme, host))
    }

    /// Remembers an auth token that was deleted: a list may still have it for a while.
    pub(crate) fn note_deleted_token(&self, id: &str) {
        let deleted = self.deleted_tokens.lock();
        deleted
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned());
    }

    /// Whether this process deleted an auth token.
    pub(crate) fn is_deleted_token(&self, id: &str) -> bool {
        let deleted = self.deleted_tokens.lock();
        deleted.unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Remembers an auth token that is in a state: nobody has left it over. Says
    /// whether that is news.
    pub(crate) fn note_kept_token(&self, id: &str) -> bool {
        let kept = self.kept_tokens.lock();
        kept.unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned())
    }

    /// Whether this process knows an auth token from a state.
    pub(crate) fn is_kept_token(&self, id: &str) -> bool {
        let kept = self.kept_tokens.lock();
        kept.unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// How long to wait between two questions about something that takes time;
    /// nearly nothing where nobody is to wait.
    pub(crate) fn pause(&self, pause: Duration) -> Duration {
        match self.retry.wait {
            true => pause,
            false => pause.min(Duration::from_millis(20)),
        }
    }

    /// The tenancy's namespace, which never changes: asked once per process.
    pub(crate) async fn namespace(&self, cx: &Context) -> Result<String> {
        let oci = self.oci(cx).await?;
        let namespace = self.namespace.get(&cx.stop, || async {
            oci.get_namespace(None).await.map_err(|error| Failure {
                diagnostics: diagnose::oci(
                    "Cannot read namespace",
                    "The namespace of the tenancy could not be read",
                    Place::Tenancy,
                    &error,
                    &oci,
                ),
                passes: true,
            })
        });
        namespace.await.map_err(|failure| failure.diagnostics)
    }

    /// How sources are read in this environment: where the cache is, and Docker.
    pub(crate) fn load_options(&self) -> image::LoadOptions {
        self.load_options.clone()
    }

    /// What tells this process, and this configuration, from every other.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Reads an image's source, which may take a while, off the runtime's threads.
    pub(crate) async fn load(
        &self,
        cx: &Context,
        source: image::Source,
        mut options: image::LoadOptions,
    ) -> std::result::Result<image::Image, image::Error> {
        if let image::Source::Registry { reference } = &source {
            options.remote = Some(Arc::new(self.remote(cx, reference).await?));
        }
        let (loader, stop) = (self.loader.clone(), cx.stop.clone());
        let load = move || loader.load_with(&source, &options, &stop);
        match tokio::task::spawn_blocking(load).await {
            Ok(loaded) => loaded,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(image::Error::Stopped),
            },
        }
    }

    /// Another registry's image, to be read with the login that Docker or podman has
    /// for it, or one of the registry that is pushed to.
    async fn remote(
        &self,
        cx: &Context,
        name: &image::ImageName,
    ) -> std::result::Result<registry::Pull, image::Error> {
        let source = self.sources.of(name);
        let make = || async {
            Ok(match self.own(cx, name).await {
                Some(own) => {
                    let identity = own.identity();
                    Ok(registry::Pull::new(own.client, name.clone(), identity))
                }
                None => match self.elsewhere(cx, name).await {
                    Err(None) => return Err(image::Error::Stopped),
                    Err(Some(unusable)) => Err(unusable),
                    Ok(pull) => Ok(pull),
                },
            })
        };
        let found = tokio::select! {
            biased;
            () = cx.stop.cancelled() => return Err(image::Error::Stopped),
            found = source.get_or_try_init(make) => found?,
        };
        match found {
            Ok(pull) => Ok(pull.of(name.clone()).with_stop(cx.stop.clone())),
            Err(Unusable { identity, problem }) => Err(image::Error::Remote {
                image: format!("docker://{name}"),
                identity: identity.clone(),
                is_missing: false,
                source: problem.as_str().into(),
            }),
        }
    }

    /// The registry that is pushed to, if the image is there, under whichever of its hosts.
    async fn own(&self, cx: &Context, name: &image::ImageName) -> Option<Registry> {
        if !self.is_known() {
            return None;
        }
        // Why there is none, the push will say.
        let own = self.registry(cx).await.ok()?;
        let host = registry::api_host(name);
        let is_own = own.client.host() == host
            || self.oci(cx).await.is_ok_and(|oci| {
                let hosts = oci.region().registry_hosts();
                hosts.contains(&own.client.host().to_owned()) && hosts.contains(&host.to_owned())
            });
        match is_own {
            true => self.registry_for(cx, name.repository()).await.ok(),
            false => None,
        }
    }

    /// `None` is a stop.
    async fn elsewhere(
        &self,
        cx: &Context,
        name: &image::ImageName,
    ) -> std::result::Result<registry::Pull, Option<Unusable>> {
        let host = registry::api_host(name).to_owned();
        let oracles = self.oracles(cx, &host).await;
        let login = async {
            match &oracles {
                Some(_) => Ok(None),
                None => {
                    let (host, repository) = (name.host(), name.repository());
                    self.docker.login(host, repository, &cx.stop).await
                }
            }
        };
        let login = login.await.map_err(|error| match error {
            registry::DockerConfigError::Stopped => None,
            error => Some(Unusable {
                identity: "nobody".to_owned(),
                problem: diagnose::chain(&error),
            }),
        })?;
        let (credentials, identity) = match (&oracles, login) {
            (Some((oci, base)), _) => {
                let identity = oci.credentials().describe();
                let tokens = IdentityTokens::new(oci.clone(), base.clone());
                (registry::Credentials::Token(Arc::new(tokens)), identity)
            }
            (None, Some(login)) => (login.credentials, login.identity),
            (None, None) => (
                registry::Credentials::Anonymous,
                format!(
                    "nobody: no configuration of Docker or podman has a login for {}",
                    name.host()
                ),
            ),
        };
        let http = match self.transport(None).await {
            Ok(options) => self.http(&options, false),
            Err(diagnostics) => Err(diagnostics),
        };
        let http = http.map_err(|diagnostics| {
            let texts: Vec<String> = diagnostics.into_iter().map(|one| one.detail).collect();
            Some(Unusable {
                identity: identity.clone(),
                problem: texts.join(" "),
            })
        })?;
        let plain_http = match &oracles {
            Some((_, base)) => base.starts_with("http://"),
            None => registry::speaks_plain_http(&http, &host).await,
        };
        let client = registry::Client::new(registry::Config {
            plain_http,
            http,
            host,
            credentials,
            max_concurrent_uploads: 1,
            retry: self.retry.clone(),
        });
        Ok(registry::Pull::new(client, name.clone(), identity))
    }

    /// The control plane, and the registry's address, when the host is that of the
    /// region's registry: the provider's own identity means something there, also when
    /// images are pushed elsewhere.
    async fn oracles(&self, cx: &Context, host: &str) -> Option<(oci::Client, String)> {
        if !self.is_known() {
            return None;
        }
        let oci = self.control_plane(cx).await.ok()?;
        if let Some(endpoint) = &self.effective.endpoint {
            let (scheme, authority) = endpoint_authority(endpoint, oci.region()).ok()?;
            return (authority == host).then(|| (oci, format!("{scheme}://{host}")));
        }
        let hosts = oci.region().registry_hosts();
        let is_own = hosts.iter().any(|own| own == host);
        is_own.then(|| (oci, format!("https://{host}")))
    }

    async fn control_plane(&self, cx: &Context) -> Result<oci::Client, Failure> {
        self.control_plane
            .get(&cx.stop, || self.build_control_plane())
            .await
    }

    async fn build_control_plane(&self) -> Result<oci::Client, Failure> {
        if let Some(argument) = self.unknown_argument {
            return Err(unknown_argument(argument).into());
        }
        let options = self.transport(None).await?;
        let network = Network {
            http: options.clone(),
            retry: self.retry.clone(),
            endpoint: self.effective.endpoint.clone(),
        };
        let resolved = credentials::resolve(&self.effective.settings, &self.environment, &network)
            .await
            .map_err(|error| Failure {
                diagnostics: diagnose::credentials(&error),
                // What was asked over the network may answer the next time. All
                // others are about arguments, variables and files.
                passes: matches!(&error, credentials::Error::Exchange(error) if error.may_pass()),
            })?;
        let Some(region) = resolved.region else {
            return Err(Diagnostic::error(
                "No region",
                "No region is set. Set the argument \"region\" of the provider, the environment variable OCI_REGION, \
                 or \"region\" in the profile of the configuration file, for example to \"sa-saopaulo-1\".",
            )
            .into());
        };
        tracing::debug!(
            identity = resolved.source.describe(),
            region = region.identifier,
            realm = region.realm,
            "Signing in to Oracle Cloud"
        );
        let client = oci::Client::new(oci::Config {
            endpoint: self.effective.endpoint.clone(),
            host_overrides: self.host_overrides()?,
            regions: resolved.regions,
            retry: self.retry.clone(),
            ..oci::Config::new(self.http(&options, false)?, region, resolved.source)
        });
        client.map_err(|error| {
            Diagnostic::error("Invalid endpoint", diagnose::sentence(&error)).into()
        })
    }

    async fn build_registry(&self, cx: &Context) -> Result<Registry, Failure> {
        if let Some(argument) = self.unknown_argument {
            return Err(unknown_argument(argument).into());
        }
        let settings = &self.effective.registry;
        // A registry elsewhere needs nothing of Oracle's, so nothing of Oracle's has to be configured.
        let control_plane = match self.control_plane(cx).await {
            // Whether the registry is Oracle's, and who signs in, is then not known;
            // what is built now is kept for the whole process.
            Err(failure) if failure.passes => return Err(failure),
            control_plane => control_plane,
        };
        let (own_host, own_scheme) = match (&control_plane, &self.effective.endpoint) {
            (Ok(oci), Some(endpoint)) => {
                let (scheme, authority) = endpoint_authority(endpoint, oci.region())?;
                (Some(authority), scheme)
            }
            (Ok(oci), None) => (Some(oci.region().registry_host()), "https".to_owned()),
            (Err(_), _) => (None, "https".to_owned()),
        };
        let host = match (&settings.host, own_host.clone()) {
            (Some(host), _) => host.clone(),
            (None, Some(host)) => host,
            (None, None) => {
                let nothing = || Diagnostics::default().into();
                return Err(control_plane.err().unwrap_or_else(nothing));
            }
        };
        let is_ocir = own_host.as_deref() == Some(&host)
            || control_plane
                .as_ref()
                .is_ok_and(|oci| oci.region().registry_hosts().contains(&host));
        let plain_http = settings
            .plain_http
            .unwrap_or(own_host.as_deref() == Some(&host) && own_scheme == "http");
        let mut own = None;
        let mut is_dockers = false;
        let (credentials, login) = match (&settings.login, control_plane) {
            (Some((username, password)), _) => (
                registry::Credentials::Basic {
                    username: username.clone(),
                    password: password.expose().clone(),
                },
                format!("user \"{username}\" of the registry"),
            ),
            (None, Ok(oci)) if is_ocir => {
                let scheme = if plain_http { "http" } else { "https" };
                own = Some(oci.clone());
                let tokens = IdentityTokens::new(oci, format!("{scheme}://{host}"));
                (
                    registry::Credentials::Token(Arc::new(tokens)),
                    String::new(),
                )
            }
            // At Oracle's own registry nobody is made anonymous because something is
            // wrong with who was to sign in.
            (None, Err(failure)) if self.is_oracles_by_name(&host) => return Err(failure),
            _ => match self.docker.login(&host, "", &cx.stop).await {
                Ok(Some(login)) => {
                    is_dockers = true;
                    (login.credentials, login.identity)
                }
                Ok(None) => (registry::Credentials::Anonymous, NOBODY.to_owned()),
                Err(error) => return Err(diagnose::docker_config(&error)),
            },
        };
        Ok(Registry {
            client: registry::Client::new(registry::Config {
                http: {
                    let own = settings.ca_certificate.as_deref();
                    self.http(&self.transport(own).await?, own.is_some())?
                },
                host,
                plain_http,
                credentials: credentials.clone(),
                max_concurrent_uploads: settings.max_concurrent_uploads.unwrap_or(4),
                retry: self.retry.clone(),
            }),
            is_ocir,
            has_login: settings.login.is_some(),
            is_dockers,
            oci: own,
            login: login.into(),
            credentials,
        })
    }

    /// Whether a host is the region's registry as far as its name tells, which is all
    /// there is to go by when nobody can sign in.
    fn is_oracles_by_name(&self, host: &str) -> bool {
        let is_endpoint = self.effective.endpoint.as_deref().is_some_and(|endpoint| {
            let address = endpoint.replace(['{', '}'], "");
            url::Url::parse(&address).is_ok_and(|url| url.authority() == host)
        });
        is_endpoint || is_oracles_registry(host)
    }

    /// What is configured and has no effect.
    pub(super) fn warnings(&self) -> Vec<Diagnostic> {
        let Some(Variable { name, value }) = &self.effective.host_overrides else {
            return Vec::new();
        };
        let misspelt = oci::misspelt_host_overrides(value).into_iter();
        misspelt
            .map(|(written, meant)| {
                let detail = format!(
                    "The environment variable {name} names the client \"{written}\", which is not used here, so its address is not either, and \
                     requests go where they would go without it. If \"{meant}\" is meant, write it like that."
                );
                Diagnostic::warning("Unknown client", detail)
            })
            .collect()
    }

    /// Base addresses of single services, from `CLIENT_HOST_OVERRIDES`.
    fn host_overrides(&self) -> Result<BTreeMap<&'static str, String>> {
        let Some(Variable { name, value }) = &self.effective.host_overrides else {
            return Ok(BTreeMap::new());
        };
        oci::parse_host_overrides(value).map_err(|error| {
            let detail = format!(
                "The environment variable {name} cannot be used: {}.",
                diagnose::chain(&error)
            );
            Diagnostic::error("Invalid environment variable", detail).into()
        })
    }

    /// How HTTPS is spoken: with the certificates of the environment, and those
    /// of the registry.
    async fn transport(&self, of_registry: Option<&str>) -> Result<transport::Options> {
        let mut pem = Vec::new();
        if let Some(bundle) = &self.effective.ca_bundle {
            pem.extend(read_bundle(bundle).await?);
            pem.push(b'\n');
        }
        pem.extend(of_registry.unwrap_or_default().as_bytes());
        let any = self.effective.ca_bundle.is_some() || of_registry.is_some();
        Ok(transport::Options {
            ca_certificates: any.then_some(pem),
            ..transport::Options::default()
        })
    }

    fn http(&self, options: &transport::Options, of_registry: bool) -> Result<reqwest::Client> {
        transport::http_client(options).map_err(|error| {
            let mut blamed: Vec<String> = Vec::new();
            if let Some(Variable { name, value }) = &self.effective.ca_bundle {
                blamed.push(format!(
                    "{value}, which the environment variable {name} names"
                ));
            }
            if of_registry {
                blamed.push("\"registry.ca_certificate\"".to_owned());
            }
            let with = match blamed.is_empty() {
                true => String::new(),
                false => format!(" with the certificates of {}", blamed.join(", and of ")),
            };
            let detail = format!(
                "The HTTP client could not be set up{with}: {}.",
                diagnose::chain(&error)
            );
            Diagnostic::error("Cannot set up HTTPS", detail).into()
        })
    }
}

/// Repositories that images are read from: resources that push from the same one
/// share its tokens, and what was read of it.
#[derive(Default)]
struct Sources(Mutex<HashMap<String, Source>>);

/// A failure is everybody's too: a helper that hangs is not to be waited for by each.
type Source = Arc<OnceCell<std::result::Result<registry::Pull, Unusable>>>;

/// Why nothing can be read from a registry.
#[derive(Clone)]
struct Unusable {
    identity: String,
    problem: String,
}

impl Sources {
    fn of(&self, name: &image::ImageName) -> Source {
        // A map is whole after every change.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let repository = format!("{}/{}", name.host(), name.repository());
        known.entry(repository).or_default().clone()
    }
}

const NOBODY: &str = "nobody: neither \"registry.username\" nor an identity of this registry's own is configured, and no configuration of Docker \
                      or podman has a login for it";

/// The certificates that a variable names.
async fn read_bundle(bundle: &Variable) -> Result<Vec<u8>> {
    let path = bundle.value.clone();
    // A named pipe can hang, and must not hang everybody.
    let read = tokio::task::spawn_blocking(move || {
        let mut pem = Vec::new();
        std::fs::File::open(path)?
            .take(MOST_OF_A_BUNDLE)
            .read_to_end(&mut pem)?;
        std::io::Result::Ok(pem)
    });
    let read = match read.await {
        Ok(read) => read,
        Err(failed) => Err(std::io::Error::other(failed)),
    };
    read.map_err(|error| {
        let Variable { name, value } = bundle;
        Diagnostic::error(
            "Cannot read certificates",
            format!("The environment variable {name} names the certificates in {value}, which cannot be read: {error}."),
        )
        .into()
    })
}

/// No bundle of certificates comes near.
const MOST_OF_A_BUNDLE: u64 = 16 << 20;

/// Whether a host is one of Oracle's registries, whichever region's.
fn is_oracles_registry(host: &str) -> bool {
    host.ends_with(".ocir.io") || (host.starts_with("ocir.") && host.contains(".oci."))
}

/// Scheme and authority of an endpoint, with its placeholders filled in.
fn endpoint_authority(endpoint: &str, region: &Region) -> Result<(String, String)> {
    let filled = endpoint
        .replace("{service}", "ocir")
        .replace("{region}", &region.identifier);
    let parsed = url::Url::parse(&filled).ok().filter(|url| url.has_host());
    let Some(url) = parsed else {
        return Err(Diagnostic::error(
            "Invalid endpoint",
            "Argument \"endpoint\" of the provider must be an address such as \"http://127.0.0.1:8080\".",
        )
        .into());
    };
    // Without a user and a password: it is shown, and kept in states.
    Ok((url.scheme().to_owned(), transport::authority(&url)))
}

fn unknown_argument(argument: &str) -> Diagnostics {
    Diagnostic::error(
        "Provider configuration is not known yet",
        format!(
            "Argument \"{argument}\" of the provider comes from something that does not exist yet, so an existing object \
             cannot be read. Create what it comes from first:\n    terraform apply -target=ADDRESS\n\
             or give the argument a value that is known while planning."
        ),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever the argument is: what is taken from it is scheme and host, and nothing that
        /// somebody signs in with.
        #[test]
        fn any_endpoint(endpoint in crate::spoilt::text(&[
            "http://127.0.0.1:8080/x?y", "https://{service}.{region}.example", "https://user:hunter2@example",
        ])) {
            let region = Region::parse("gru").expect("it is in the table");
            if let Ok((scheme, authority)) = endpoint_authority(&endpoint, &region) {
                let url = url::Url::parse(&format!("{scheme}://{authority}/"));
                let is_whole = url.is_ok_and(|url| url.has_host() && url.path() == "/" && url.query().is_none());
                proptest::prop_assert!(is_whole, "{} {}", scheme, authority);
                proptest::prop_assert!(!authority.contains("hunter2"), "{}", authority);
            }
        }
    }
}
