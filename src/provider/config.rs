//! The arguments of the provider block, and where unset ones come from.

use std::{collections::BTreeSet, time::Duration};

use super::validate;
use crate::{
    credentials::{Environment, Settings, TokenExchange},
    cty::{Path, Value},
    framework::{Attr, Diagnostic, Diagnostics, Model, Secret},
    transport::RetryPolicy,
};

/// Manages private container repositories on Oracle Cloud (OCIR), the auth
/// tokens to reach them, and the images in them.
///
/// Nothing is contacted before a resource needs it. An argument that is left
/// out is taken from `TF_VAR_<name>`, then `OCI_<NAME>`, then the variables of
/// Oracle's CLI (`OCI_CLI_*`), then the profile of the configuration file, then
/// its `DEFAULT` profile.
#[derive(Clone, Debug, Default, Model)]
pub struct Config {
    /// How to sign in, in any case: `ApiKey`; `SecurityToken`, a session that `oci
    /// session authenticate` began; `InstancePrincipal`, a compute instance;
    /// `ResourcePrincipal`, a function, a DevOps pipeline or another resource;
    /// `OKEWorkloadIdentity`, a pod of an OKE cluster; `WorkloadIdentityFederation`,
    /// the token of a CI outside of Oracle Cloud; `CloudShell`. When it is left out
    /// it is found out: an API key, a session token or a token exchange that
    /// arguments and environment variables name come first, then the profile of the
    /// configuration file, then Cloud Shell, a resource principal, a pod of OKE, and
    /// an instance. `TF_LOG=DEBUG` shows what was tried, and why it was passed over.
    #[tf(optional, validate = validate::auth)]
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
    /// Passphrase of the API key. One for a key that is not encrypted is ignored.
    #[tf(optional)]
    private_key_password: Attr<Secret<String>>,
    /// Configuration file of Oracle's CLI; `~/.oci/config` by default. Unlike in
    /// Oracle's SDKs, the variable `OCI_CONFIG_FILE` wins over that default.
    #[tf(optional)]
    config_file: Attr<String>,
    /// Profile of the configuration file; `DEFAULT` by default.
    #[tf(optional)]
    config_file_profile: Attr<String>,
    /// Region, as an identifier (`sa-saopaulo-1`) or a key (`GRU`), in any case. One
    /// that is newer than the provider is described by `~/.oci/regions-config.json`
    /// or `OCI_REGION_METADATA`, as for Oracle's own tools.
    #[tf(optional, validate = validate::region)]
    region: Attr<String>,
    /// For `WorkloadIdentityFederation`: file with the token that the CI gives its
    /// job. It is read again for each exchange.
    #[tf(optional)]
    workload_identity_token_path: Attr<String>,
    /// For `WorkloadIdentityFederation`: address of the identity domain that trusts
    /// the CI, such as `https://idcs-….identity.oraclecloud.com`.
    #[tf(optional, validate = validate::address)]
    token_exchange_domain_url: Attr<String>,
    /// For `WorkloadIdentityFederation`: who asks for the exchange,
    /// `OAuthClientCredentials`, an application of the identity domain, which is the
    /// default, or `InstancePrincipal`.
    #[tf(optional, validate = validate::token_exchange_auth)]
    token_exchange_auth: Attr<String>,
    /// Client id of the identity domain's application.
    #[tf(optional)]
    token_exchange_client_id: Attr<String>,
    /// Client secret of the identity domain's application.
    #[tf(optional)]
    token_exchange_client_secret: Attr<Secret<String>>,
    /// For `WorkloadIdentityFederation`: what to ask for,
    /// `urn:oci:token-type:oci-upst`, a user's token, which is the default, or
    /// `urn:oci:token-type:oci-rpst`, a resource's.
    #[tf(optional)]
    token_exchange_requested_token_type: Attr<String>,
    /// For `WorkloadIdentityFederation`: what the CI's token is; `jwt` by default.
    #[tf(optional)]
    token_exchange_subject_token_type: Attr<String>,
    /// For a resource's token: the type of the resource.
    #[tf(optional)]
    token_exchange_resource_type: Attr<String>,
    /// For a resource's token: how long it shall live, as the identity domain
    /// understands it.
    #[tf(optional)]
    token_exchange_rpst_exp: Attr<String>,
    /// Seconds for which a request that failed is sent again, the waits included;
    /// by default up to 8 attempts within 600 seconds. `0` sends each once, and more
    /// than a day counts as a day. Oracle's provider takes a negative number for "for
    /// ever", which is refused here.
    #[tf(optional, validate = validate::retry_duration)]
    retry_duration_seconds: Attr<i64>,
    /// Whether no request is sent again by itself. `retry_duration_seconds` then
    /// means nothing.
    #[tf(optional)]
    disable_auto_retries: Attr<bool>,
    /// Defined tags that others manage, as `Namespace.Key`, whose case does not
    /// count: they are neither shown nor removed, unless a resource sets one itself.
    /// Those of the namespace `Oracle-Tags` are left alone in any case. At most 100.
    /// In an environment variable they are separated by commas.
    #[tf(optional, validate = validate::ignored_tags)]
    ignore_defined_tags: Attr<Vec<String>>,
    /// Base address to use for every service and the registry instead of the
    /// region's own: an emulator, a gateway. May contain `{service}` and `{region}`.
    /// A path in it is put before the paths of the services; a registry has none, so
    /// for it only the scheme, the host and the port count.
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
    /// own. Outside Oracle Cloud the provider's identity means nothing: the login is
    /// `username` and `password`, or else the one that the configuration of Docker or
    /// podman has, credential helpers included: for the repository, for a folder
    /// around it (`HOST/TEAM`), or for the host.
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
    /// Certificates (PEM) to trust beside the system's and those of the file that
    /// `custom_cert_location` or `OCI_CLI_CERT_BUNDLE` in the environment names.
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
    pub(crate) retries: Retries,
    /// Defined tags that are nobody's business, in lower case.
    pub(crate) ignored_tags: BTreeSet<String>,
    /// The file with certificates to trust for all HTTPS.
    pub(crate) ca_bundle: Option<Variable>,
    /// Addresses of single services.
    pub(crate) host_overrides: Option<Variable>,
}

/// An environment variable that is set, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// What the configuration says about sending requests again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retries {
    disabled: bool,
    duration: Option<Duration>,
}

impl Retries {
    /// The policy that the configuration asks for instead of `policy`, whose waits
    /// stay what they are.
    pub(crate) fn apply(self, policy: RetryPolicy) -> RetryPolicy {
        match self {
            Retries { disabled: true, .. } => RetryPolicy {
                wait: policy.wait,
                ..RetryPolicy::none()
            },
            Retries {
                duration: Some(duration),
                ..
            } if policy.wait => RetryPolicy::lasting(duration),
            // Time is the only bound, and where nobody waits it does not pass:
            // the number of attempts stays what it is.
            Retries {
                duration: Some(duration),
                ..
            } => RetryPolicy {
                max_elapsed: RetryPolicy::lasting(duration).max_elapsed,
                ..policy
            },
            Retries { duration: None, .. } => policy,
        }
    }
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
        let exchanges = [
            (
                !self.workload_identity_token_path.is_null(),
                "workload_identity_token_path",
            ),
            (
                !self.token_exchange_domain_url.is_null(),
                "token_exchange_domain_url",
            ),
            (!self.token_exchange_auth.is_null(), "token_exchange_auth"),
            (
                !self.token_exchange_client_id.is_null(),
                "token_exchange_client_id",
            ),
            (
                !self.token_exchange_client_secret.is_null(),
                "token_exchange_client_secret",
            ),
        ];
        if let (Some(auth), Some((_, argument))) = (
            self.auth.as_str().filter(|auth| !auth.is_empty()),
            exchanges.iter().find(|(set, _)| *set),
        ) && validate::way(auth) != validate::FEDERATION
        {
            diagnostics.push(
                Diagnostic::warning(
                    "Argument without effect",
                    format!("Argument \"{argument}\" is for auth = \"WorkloadIdentityFederation\", and \"auth\" is \"{auth}\"."),
                )
                .at(Path::attribute(*argument)),
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
            (
                self.workload_identity_token_path.is_unknown(),
                "workload_identity_token_path",
            ),
            (
                self.token_exchange_domain_url.is_unknown(),
                "token_exchange_domain_url",
            ),
            (self.token_exchange_auth.is_unknown(), "token_exchange_auth"),
            (
                self.token_exchange_client_id.is_unknown(),
                "token_exchange_client_id",
            ),
            (
                self.token_exchange_client_secret.is_unknown(),
                "token_exchange_client_secret",
            ),
            (
                self.token_exchange_requested_token_type.is_unknown(),
                "token_exchange_requested_token_type",
            ),
            (
                self.token_exchange_subject_token_type.is_unknown(),
                "token_exchange_subject_token_type",
            ),
            (
                self.token_exchange_resource_type.is_unknown(),
                "token_exchange_resource_type",
            ),
            (
                self.token_exchange_rpst_exp.is_unknown(),
                "token_exchange_rpst_exp",
            ),
            (
                self.retry_duration_seconds.is_unknown(),
                "retry_duration_seconds",
            ),
            (
                self.disable_auto_retries.is_unknown(),
                "disable_auto_retries",
            ),
            (self.ignore_defined_tags.is_unknown(), "ignore_defined_tags"),
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
                .or_else(|| variable(environment, "endpoint").map(|found| found.value)),
            registry: registry.with_environment(environment)?,
            ignored_tags: or_variable(
                self.ignore_defined_tags.into_known(),
                environment,
                "ignore_defined_tags",
                tag_list,
            )?
            .unwrap_or_default()
            .iter()
            .map(|key| key.trim().to_lowercase())
            .collect(),
            retries: Retries {
                disabled: or_variable(
                    self.disable_auto_retries.into_known(),
                    environment,
                    "disable_auto_retries",
                    boolean,
                )?
                .unwrap_or(false),
                duration: or_variable(
                    self.retry_duration_seconds
                        .into_known()
                        .map(|seconds| Duration::from_secs(seconds.unsigned_abs())),
                    environment,
                    "retry_duration_seconds",
                    |text| {
                        let seconds = text.trim().parse().map_err(|_| WHOLE_SECONDS.to_owned());
                        validate::seconds(seconds?).map(Duration::from_secs)
                    },
                )?,
            },
            ca_bundle: setting(environment, "custom_cert_location")
                .or_else(|| first_of(environment, ["OCI_CLI_CERT_BUNDLE".to_owned()])),
            host_overrides: setting(environment, "CLIENT_HOST_OVERRIDES"),
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
                token_exchange: TokenExchange {
                    workload_identity_token_path: self.workload_identity_token_path.into_known(),
                    domain_url: self.token_exchange_domain_url.into_known(),
                    auth: self.token_exchange_auth.into_known(),
                    client_id: self.token_exchange_client_id.into_known(),
                    client_secret: self
                        .token_exchange_client_secret
                        .into_known()
                        .map(|secret| secret.expose().clone()),
                    requested_token_type: self.token_exchange_requested_token_type.into_known(),
                    subject_token_type: self.token_exchange_subject_token_type.into_known(),
                    resource_type: self.token_exchange_resource_type.into_known(),
                    rpst_expiration: self.token_exchange_rpst_exp.into_known(),
                },
            },
        })
    }
}

impl RegistryConfig {
    fn with_environment(self, environment: &Environment) -> Result<Registry, Diagnostics> {
        let text = |name: &str| variable(environment, &format!("registry_{name}"));
        let host = or_variable(
            self.host.into_known(),
            environment,
            "registry_host",
            |text| validate::host(&Value::String(text.to_owned())).map(|()| text.to_owned()),
        )?;
        let plain_http = or_variable(
            self.plain_http.into_known(),
            environment,
            "registry_plain_http",
            boolean,
        )?;
        let uploads = or_variable(
            self.max_concurrent_uploads.into_known(),
            environment,
            "registry_max_concurrent_uploads",
            |text| {
                let uploads = text.parse().ok();
                uploads
                    .filter(|uploads| validate::UPLOADS.contains(uploads))
                    .ok_or_else(|| "must be a whole number from 1 to 64".to_owned())
            },
        )?;
        let username = self
            .username
            .into_known()
            .or_else(|| text("username").map(|found| found.value));
        let password = self
            .password
            .into_known()
            .or_else(|| text("password").map(|found| Secret::new(found.value)));
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
                .or_else(|| text("ca_certificate").map(|found| found.value)),
            max_concurrent_uploads: uploads.and_then(|uploads| usize::try_from(uploads).ok()),
        })
    }
}

/// The value of an argument, or else of its variable, which `read` makes of the
/// text; its error is the end of a sentence that begins with the variable's name.
fn or_variable<T>(
    argument: Option<T>,
    environment: &Environment,
    name: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Diagnostics> {
    let (None, Some(Variable { name, value })) = (&argument, variable(environment, name)) else {
        return Ok(argument);
    };
    match read(&value) {
        Ok(value) => Ok(Some(value)),
        Err(rule) => Err(invalid_variable(&name, &rule)),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    let text = text.trim().to_ascii_lowercase();
    text.parse()
        .map_err(|_| "must be \"true\" or \"false\"".to_owned())
}

/// Keys of defined tags: separated by commas, or a list as Terraform writes it.
fn tag_list(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let keys: Vec<String> = match text.starts_with('[') {
        true => serde_json::from_str(text).map_err(|_| TAG_LIST.to_owned())?,
        false => text
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    validate::tag_keys(keys.iter().map(String::as_str))?;
    Ok(keys)
}

/// The variable that stands for an argument: `TF_VAR_<name>` before `OCI_<NAME>`.
fn variable(environment: &Environment, argument: &str) -> Option<Variable> {
    let names = [
        format!("TF_VAR_{argument}"),
        format!("OCI_{}", argument.to_uppercase()),
    ];
    first_of(environment, names)
}

/// A setting of Oracle's provider that has no argument, by the names under which
/// it is read there.
fn setting(environment: &Environment, name: &str) -> Option<Variable> {
    let names = [
        format!("TF_VAR_{name}"),
        format!("OCI_{name}"),
        name.to_owned(),
    ];
    first_of(environment, names)
}

fn first_of<const N: usize>(environment: &Environment, names: [String; N]) -> Option<Variable> {
    names.into_iter().find_map(|name| {
        let value = environment.get(&name)?.to_owned();
        Some(Variable { name, value })
    })
}

const TAG_LIST: &str = "must be a list of tags, such as \"Namespace.One,Namespace.Two\"";
const WHOLE_SECONDS: &str = "must be a whole number of seconds";

fn invalid_variable(name: &str, rule: &str) -> Diagnostics {
    Diagnostic::error(
        "Invalid environment variable",
        format!("Environment variable {name} {rule}."),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter();
        Environment {
            variables: variables
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            home: None,
        }
    }

    fn effective(config: Config, variables: &[(&str, &str)]) -> anyhow::Result<Effective> {
        config
            .with_environment(&environment(variables))
            .map_err(|diagnostics| {
                anyhow::anyhow!(
                    diagnostics
                        .iter()
                        .map(|one| one.detail.clone())
                        .collect::<String>()
                )
            })
    }

    /// Whether and for how long requests are sent again: the argument, then
    /// `TF_VAR_`, then `OCI_`, and off is off.
    #[test]
    fn retries() -> anyhow::Result<()> {
        let policy = |config: &Config, variables: &[(&str, &str)]| -> anyhow::Result<_> {
            let retries = effective(config.clone(), variables)?.retries;
            let policy = retries.apply(RetryPolicy::default());
            Ok((policy.max_attempts, policy.max_elapsed.as_secs()))
        };
        let unset = Config::default();
        assert_eq!(policy(&unset, &[])?, (8, 600));
        let both = [
            ("TF_VAR_retry_duration_seconds", "30"),
            ("OCI_RETRY_DURATION_SECONDS", "40"),
        ];
        assert_eq!(policy(&unset, &both)?, (u32::MAX, 30));
        assert_eq!(policy(&unset, &both[1..])?, (u32::MAX, 40));
        let minute = Config {
            retry_duration_seconds: Attr::Known(60),
            ..Config::default()
        };
        assert_eq!(policy(&minute, &both)?, (u32::MAX, 60));
        let off = [("OCI_DISABLE_AUTO_RETRIES", "True"), both[1]];
        assert_eq!(policy(&minute, &off)?.0, 1);
        let on = Config {
            disable_auto_retries: Attr::Known(false),
            ..Config::default()
        };
        assert_eq!(policy(&on, &off)?, (u32::MAX, 40));
        Ok(())
    }

    /// A policy that does not wait still does not, and it does not run wild.
    #[test]
    fn retries_of_the_impatient() {
        let lasting = Retries {
            disabled: false,
            duration: Some(Duration::from_secs(60)),
        };
        let policy = lasting.apply(RetryPolicy::without_waiting());
        assert!(!policy.wait);
        assert_eq!(
            policy.max_attempts,
            RetryPolicy::without_waiting().max_attempts
        );
        assert!(
            !Retries {
                disabled: true,
                duration: None
            }
            .apply(policy)
            .wait
        );
    }

    /// A variable that cannot be read is named, and for ever is refused.
    #[test]
    fn variables_that_are_wrong() {
        let said = |name: &str, value: &str| match effective(Config::default(), &[(name, value)]) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        expect!["Environment variable OCI_RETRY_DURATION_SECONDS must be 0 or more; -1, with which Oracle's provider tries for ever, is not supported, and the longest is a day (86400)."].assert_eq(&said("OCI_RETRY_DURATION_SECONDS", "-1"));
        expect![
            "Environment variable TF_VAR_retry_duration_seconds must be a whole number of seconds."
        ]
        .assert_eq(&said("TF_VAR_retry_duration_seconds", "1.5"));
        expect![[r#"Environment variable OCI_DISABLE_AUTO_RETRIES must be "true" or "false"."#]]
            .assert_eq(&said("OCI_DISABLE_AUTO_RETRIES", "sometimes"));
        expect!["Environment variable OCI_REGISTRY_MAX_CONCURRENT_UPLOADS must be a whole number from 1 to 64."].assert_eq(&said("OCI_REGISTRY_MAX_CONCURRENT_UPLOADS", "0"));
    }

    /// The file with certificates goes by several names; the first that is set wins.
    #[test]
    fn names_of_the_bundle() -> anyhow::Result<()> {
        let names = [
            ("TF_VAR_custom_cert_location", "a"),
            ("OCI_custom_cert_location", "b"),
            ("custom_cert_location", "c"),
            ("OCI_CLI_CERT_BUNDLE", "d"),
        ];
        for (index, (name, value)) in names.iter().enumerate() {
            let found = effective(Config::default(), &names[index..])?.ca_bundle;
            let found = found.ok_or_else(|| anyhow::anyhow!("{name} is not read"))?;
            assert_eq!((found.name.as_str(), found.value.as_str()), (*name, *value));
        }
        assert!(effective(Config::default(), &[])?.ca_bundle.is_none());
        Ok(())
    }

    /// What is for one way to sign in and cannot have an effect is said.
    #[test]
    fn argument_of_another_way() {
        let config = Config {
            auth: "api_key".into(),
            token_exchange_client_id: "id".into(),
            ..Config::default()
        };
        let said: Vec<String> = config
            .validate()
            .iter()
            .map(|one| one.detail.clone())
            .collect();
        expect![[r#"Argument "token_exchange_client_id" is for auth = "WorkloadIdentityFederation", and "auth" is "api_key"."#]].assert_eq(&said.join("\n"));
        let federated = Config {
            auth: "workloadIdentityFederation".into(),
            ..config
        };
        assert!(federated.validate().is_empty());
    }

    /// Every argument that is not known yet is noticed, also those of the registry.
    #[test]
    fn unknown_arguments() -> anyhow::Result<()> {
        let one_unknown = |block: &crate::framework::Block, name: &str| {
            let members = block.attributes.iter().map(|attribute| {
                let value = match attribute.name == name {
                    true => Value::UNKNOWN,
                    false => Value::Null,
                };
                (attribute.name.clone(), value)
            });
            Value::Map(members.collect())
        };
        let failed = |diagnostics: Diagnostics| anyhow::anyhow!("{diagnostics:?}");
        for attribute in &Config::block().attributes {
            let value = one_unknown(&Config::block(), &attribute.name);
            let config = Config::decode(&value).map_err(failed)?;
            assert_eq!(config.unknown_argument(), Some(attribute.name.as_str()));
        }
        for attribute in &RegistryConfig::block().attributes {
            let value = one_unknown(&RegistryConfig::block(), &attribute.name);
            let config = Config {
                registry: Attr::Known(RegistryConfig::decode(&value).map_err(failed)?),
                ..Config::default()
            };
            let name = format!("registry.{}", attribute.name);
            assert_eq!(config.unknown_argument(), Some(name.as_str()));
        }
        assert_eq!(Config::default().unknown_argument(), None);
        Ok(())
    }

    /// Whoever prints a configuration sees no secret.
    #[test]
    fn debug_shows_no_secret() {
        let secret = || Attr::Known(Secret::new("s3cr3t".to_owned()));
        let config = Config {
            private_key: secret(),
            private_key_password: secret(),
            token_exchange_client_secret: secret(),
            ..Config::default()
        };
        assert!(!format!("{config:?}").contains("s3cr3t"));
    }

    proptest::proptest! {
        /// Whatever the variables say: what is taken from them keeps the rules of the arguments,
        /// or an error names the variable and shows no password.
        #[test]
        fn any_variables(
            flag in crate::spoilt::text(&["true", " False "]),
            seconds in crate::spoilt::text(&["30", "86400"]),
            uploads in crate::spoilt::text(&["4", "64"]),
            tags in crate::spoilt::text(&["Oracle-Tags.CreatedBy, a.b", "[\"a.b\"]"]),
            host in crate::spoilt::text(&["gru.ocir.io", "127.0.0.1:5000"]),
        ) {
            let set = [
                ("OCI_DISABLE_AUTO_RETRIES", &flag),
                ("TF_VAR_retry_duration_seconds", &seconds),
                ("OCI_REGISTRY_MAX_CONCURRENT_UPLOADS", &uploads),
                ("OCI_IGNORE_DEFINED_TAGS", &tags),
                ("OCI_REGISTRY_HOST", &host),
            ];
            for (name, value) in set {
                let password = ("OCI_REGISTRY_PASSWORD", "hunter2");
                let variables = [(name, value.as_str()), password, ("OCI_REGISTRY_USERNAME", "user")];
                match effective(Config::default(), &variables) {
                    Ok(effective) => {
                        let lasting = effective.retries.apply(RetryPolicy::default()).max_elapsed;
                        proptest::prop_assert!(lasting <= Duration::from_secs(24 * 60 * 60));
                        let registry = effective.registry;
                        proptest::prop_assert!(registry.max_concurrent_uploads.is_none_or(|most| (1..=64).contains(&most)));
                        proptest::prop_assert!(registry.host.is_none_or(|host| crate::image::validate_host(&host).is_ok()));
                    }
                    Err(error) => {
                        let error = error.to_string();
                        proptest::prop_assert!(error.contains(name) && !error.contains("hunter2"), "{}", error);
                    }
                }
            }
        }
    }
}
