//! The arguments of the provider block, and where unset ones come from.

use super::validate;
use crate::{
    credentials::{Environment, Settings},
    cty::{Path, Value},
    framework::{Attr, Diagnostic, Diagnostics, Model, Secret},
};

/// Manages private container repositories on Oracle Cloud (OCIR), the auth
/// tokens to reach them, and the images in them.
///
/// Nothing is contacted before a resource needs it. An argument that is left
/// out is taken from `TF_VAR_<name>`, then `OCI_<NAME>`, then the variables of
/// Oracle's CLI (`OCI_CLI_*`), then the profile of the configuration file, then
/// its `DEFAULT` profile.
#[derive(Clone, Debug, Model)]
pub struct Config {
    /// How to sign in. This version knows `ApiKey`, which is also the default.
    #[tf(optional)]
    auth: Attr<String>,
    /// OCID of the tenancy.
    #[tf(optional, validate = validate::ocid)]
    tenancy_ocid: Attr<String>,
    /// OCID of the user whose API key signs the requests.
    #[tf(optional, validate = validate::ocid)]
    user_ocid: Attr<String>,
    /// Fingerprint of the API key, as the console shows it.
    #[tf(optional)]
    fingerprint: Attr<String>,
    /// The API key itself, as PEM text. Literal `\n` pairs count as line breaks.
    #[tf(optional)]
    private_key: Attr<Secret<String>>,
    /// Path of the PEM file with the API key. `~` is the home directory.
    #[tf(optional)]
    private_key_path: Attr<String>,
    /// Passphrase of the API key. Encrypted keys cannot be read by this version;
    /// a passphrase for a key that is not encrypted is ignored.
    #[tf(optional)]
    private_key_password: Attr<Secret<String>>,
    /// Configuration file of Oracle's CLI; `~/.oci/config` by default. Unlike in
    /// Oracle's SDKs, the variable `OCI_CONFIG_FILE` wins over that default.
    #[tf(optional)]
    config_file: Attr<String>,
    /// Profile of the configuration file; `DEFAULT` by default.
    #[tf(optional)]
    config_file_profile: Attr<String>,
    /// Region, as an identifier (`sa-saopaulo-1`) or a key (`GRU`), in any case.
    #[tf(optional, validate = validate::region)]
    region: Attr<String>,
    /// Base address to use for every service and the registry instead of the
    /// region's own: an emulator, a gateway. May contain `{service}` and `{region}`.
    #[tf(optional, validate = validate::endpoint)]
    endpoint: Attr<String>,
    /// Overrides for the registry that images are pushed to. The members that are
    /// left out are taken from `OCI_REGISTRY_HOST`, `OCI_REGISTRY_USERNAME` and so on.
    #[tf(optional, nested)]
    registry: Attr<RegistryConfig>,
}

/// The registry that images are pushed to.
#[derive(Clone, Debug, Default, Model)]
pub struct RegistryConfig {
    /// Host, with a port when it is not the default one, instead of the region's
    /// own. Outside Oracle Cloud the provider's identity means nothing, so nobody
    /// signs in unless `username` and `password` are set.
    #[tf(optional, validate = validate::host)]
    host: Attr<String>,
    /// User name to sign in with, instead of the provider's own identity.
    #[tf(optional)]
    username: Attr<String>,
    /// Password that belongs to `username`.
    #[tf(optional)]
    password: Attr<Secret<String>>,
    /// Whether to speak HTTP instead of HTTPS. By default HTTPS, and HTTP when
    /// `endpoint` says so.
    #[tf(optional)]
    plain_http: Attr<bool>,
    /// Certificates (PEM) to trust beside the system's.
    #[tf(optional)]
    ca_certificate: Attr<String>,
    /// Blobs uploaded at once, over all resources; 4 by default.
    #[tf(optional, validate = validate::uploads)]
    max_concurrent_uploads: Attr<i64>,
}

/// The arguments after the environment had its say; the profile has not yet.
pub(crate) struct Effective {
    pub(crate) settings: Settings,
    pub(crate) endpoint: Option<String>,
    pub(crate) registry: Registry,
}

/// The registry's part of [`Effective`].
#[derive(Clone, Default)]
pub(crate) struct Registry {
    pub(crate) host: Option<String>,
    pub(crate) login: Option<(String, Secret<String>)>,
    pub(crate) plain_http: Option<bool>,
    pub(crate) ca_certificate: Option<String>,
    pub(crate) max_concurrent_uploads: Option<usize>,
}

impl Config {
    /// Checks that need more than one argument.
    pub(crate) fn validate(&self) -> Diagnostics {
        let mut diagnostics = Diagnostics::default();
        if !self.private_key.is_null() && !self.private_key_path.is_null() {
            diagnostics.push(
                Diagnostic::error(
                    "Conflicting arguments",
                    "Arguments \"private_key\" and \"private_key_path\" both name the API key. Keep one of them.",
                )
                .at(Path::attribute("private_key")),
            );
        }
        diagnostics
    }

    /// The first argument whose value is not known yet.
    pub(crate) fn unknown_argument(&self) -> Option<&'static str> {
        let nested = self.registry.known();
        let inner = |pick: fn(&RegistryConfig) -> bool| nested.is_some_and(pick);
        [
            (self.auth.is_unknown(), "auth"),
            (self.tenancy_ocid.is_unknown(), "tenancy_ocid"),
            (self.user_ocid.is_unknown(), "user_ocid"),
            (self.fingerprint.is_unknown(), "fingerprint"),
            (self.private_key.is_unknown(), "private_key"),
            (self.private_key_path.is_unknown(), "private_key_path"),
            (
                self.private_key_password.is_unknown(),
                "private_key_password",
            ),
            (self.config_file.is_unknown(), "config_file"),
            (self.config_file_profile.is_unknown(), "config_file_profile"),
            (self.region.is_unknown(), "region"),
            (self.endpoint.is_unknown(), "endpoint"),
            (self.registry.is_unknown(), "registry"),
            (
                inner(|registry| registry.host.is_unknown()),
                "registry.host",
            ),
            (
                inner(|registry| registry.username.is_unknown()),
                "registry.username",
            ),
            (
                inner(|registry| registry.password.is_unknown()),
                "registry.password",
            ),
            (
                inner(|registry| registry.plain_http.is_unknown()),
                "registry.plain_http",
            ),
            (
                inner(|registry| registry.ca_certificate.is_unknown()),
                "registry.ca_certificate",
            ),
            (
                inner(|registry| registry.max_concurrent_uploads.is_unknown()),
                "registry.max_concurrent_uploads",
            ),
        ]
        .into_iter()
        .find_map(|(unknown, name)| unknown.then_some(name))
    }

    /// Fills in what only this provider reads from the environment. What chooses
    /// a credential is left to [`crate::credentials::resolve`].
    pub(crate) fn with_environment(
        self,
        environment: &Environment,
    ) -> Result<Effective, Diagnostics> {
        let registry = self.registry.into_known().unwrap_or_default();
        Ok(Effective {
            endpoint: self
                .endpoint
                .into_known()
                .or_else(|| variable(environment, "endpoint").map(|(_, value)| value)),
            registry: registry.with_environment(environment)?,
            settings: Settings {
                auth: self.auth.into_known(),
                tenancy_ocid: self.tenancy_ocid.into_known(),
                user_ocid: self.user_ocid.into_known(),
                fingerprint: self.fingerprint.into_known(),
                private_key: self
                    .private_key
                    .into_known()
                    .map(|secret| secret.expose().clone()),
                private_key_path: self.private_key_path.into_known(),
                private_key_password: self
                    .private_key_password
                    .into_known()
                    .map(|secret| secret.expose().clone()),
                config_file: self.config_file.into_known(),
                config_file_profile: self.config_file_profile.into_known(),
                region: self.region.into_known(),
                token_exchange: Default::default(),
            },
        })
    }
}

impl RegistryConfig {
    fn with_environment(self, environment: &Environment) -> Result<Registry, Diagnostics> {
        let text = |name: &str| variable(environment, &format!("registry_{name}"));
        let host = match (self.host.into_known(), text("host")) {
            (Some(host), _) => Some(host),
            (None, Some((name, host))) => {
                let host = Value::String(host);
                validate::host(&host).map_err(|rule| invalid_variable(&name, &rule))?;
                match host {
                    Value::String(host) => Some(host),
                    _ => None,
                }
            }
            (None, None) => None,
        };
        let plain_http = match (self.plain_http.into_known(), text("plain_http")) {
            (Some(value), _) => Some(value),
            (None, Some((name, value))) => Some(
                value
                    .parse()
                    .map_err(|_| invalid_variable(&name, "must be \"true\" or \"false\""))?,
            ),
            (None, None) => None,
        };
        let uploads = match (
            self.max_concurrent_uploads.into_known(),
            text("max_concurrent_uploads"),
        ) {
            (Some(value), _) => usize::try_from(value).ok(),
            (None, Some((name, value))) => Some(
                value
                    .parse()
                    .ok()
                    .filter(|uploads| validate::UPLOADS.contains(uploads))
                    .ok_or_else(|| {
                        invalid_variable(&name, "must be a whole number from 1 to 64")
                    })?,
            )
            .map(|uploads: i64| uploads.unsigned_abs() as usize),
            (None, None) => None,
        };
        let username = self
            .username
            .into_known()
            .or_else(|| text("username").map(|(_, value)| value));
        let password = self
            .password
            .into_known()
            .or_else(|| text("password").map(|(_, value)| Secret::new(value)));
        let login = match (username, password) {
            (Some(username), Some(password)) => Some((username, password)),
            (None, None) => None,
            (username, _) => {
                let (given, missing) = if username.is_some() {
                    ("username", "password")
                } else {
                    ("password", "username")
                };
                return Err(Diagnostic::error(
                    "Incomplete registry login",
                    format!(
                        "The registry's {given} is set and its {missing} is not. Set both \
                         (\"registry.{given}\" or OCI_REGISTRY_{}; \"registry.{missing}\" or OCI_REGISTRY_{}), or neither \
                         to sign in with the provider's own identity.",
                        given.to_uppercase(),
                        missing.to_uppercase(),
                    ),
                )
                .at(Path::attribute("registry"))
                .into());
            }
        };
        Ok(Registry {
            host,
            login,
            plain_http,
            ca_certificate: self
                .ca_certificate
                .into_known()
                .or_else(|| text("ca_certificate").map(|(_, value)| value)),
            max_concurrent_uploads: uploads,
        })
    }
}

/// The value of an argument in the environment, and the variable that holds it:
/// `TF_VAR_<name>` before `OCI_<NAME>`.
fn variable(environment: &Environment, argument: &str) -> Option<(String, String)> {
    [
        format!("TF_VAR_{argument}"),
        format!("OCI_{}", argument.to_uppercase()),
    ]
    .into_iter()
    .find_map(|name| {
        environment
            .get(&name)
            .map(|value| (name.clone(), value.to_owned()))
    })
}

fn invalid_variable(name: &str, rule: &str) -> Diagnostics {
    Diagnostic::error(
        "Invalid environment variable",
        format!("Environment variable {name} {rule}."),
    )
    .into()
}
