//! Where a signing key comes from.
//!
//! [`resolve`] looks at the provider's arguments, the environment and the
//! configuration file, in this order, value by value; everything it looks at
//! is handed in. What comes out is a [`CredentialSource`]: asked before each
//! request, so that one that ends is renewed in time.
//!
//! When nothing says how to sign in, it is found out, but never guessed: who
//! configured half of something is told what the other half is, instead of being
//! signed in as somebody else.

mod api_key;
mod certificate;
mod config_file;
mod decrypt;
mod exchange;
mod instance;
mod jwt;
mod lookup;
mod metadata;
mod private_key;
mod renew;
mod resource_principal;
mod session;
mod token_exchange;
mod token_pair;
mod values;
mod workload;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;

pub use exchange::ExchangeError;
pub(crate) use jwt::Claims;
pub use lookup::{MissingValue, Tried};
pub use private_key::KeyProblem;

use crate::{
    region::{Directory, Region},
    signing::SigningKey,
    transport::{self, RetryPolicy},
};

/// An identity that can sign. Its `Debug` shows no key and no token.
#[derive(Clone)]
pub struct Credential {
    /// What goes into the signature as `keyId`.
    pub key_id: String,
    /// The key.
    pub key: Arc<SigningKey>,
    /// The token of the user on whose behalf an instance acts; sent and signed
    /// as `opc-obo-token`. A secret.
    pub delegation_token: Option<String>,
}

/// Gives a credential, now; the source renews it when it must.
pub trait CredentialSource: Send + Sync {
    /// The credential to sign the next request with. Many callers cause one
    /// exchange, whose failure all of them are told.
    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Arc<Error>>>;
    /// A service did not accept the signature of this credential (401). Says
    /// whether another one may be had, and if so gives that the next time.
    fn refused(&self, credential: &Arc<Credential>) -> bool {
        let _ = credential;
        false
    }
    /// Who this is, for messages: kind and name, no secret, for example
    /// "user ocid1.user.oc1..a (API key 12:34…, profile DEFAULT)".
    fn describe(&self) -> String;
    /// The tenancy, when the source knows it. Some learn it with the first
    /// credential.
    fn tenancy_id(&self) -> Option<String>;
    /// The user, when the principal is one.
    fn user_id(&self) -> Option<String>;
    /// Whom a policy would have to allow something.
    fn grantee(&self) -> Grantee;
}

/// Whom a policy statement names, by kind of principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// `Allow group GROUP to …`
    Group,
    /// `Allow dynamic-group DYNAMIC_GROUP to …`: instances, functions, pipelines.
    DynamicGroup,
    /// `Allow any-user to … where all {…}`: a workload in a cluster; the
    /// condition, as far as the token tells what stands in it.
    AnyUserWhere(String),
}

/// How the network is reached from here, for those who sign in over it.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Certificates to trust.
    pub http: transport::Options,
    /// When to ask again.
    pub retry: RetryPolicy,
    /// Base address instead of the services' own hosts; may contain `{service}`
    /// and `{region}`.
    pub endpoint: Option<String>,
}

/// The provider's arguments that choose a credential; `None` and empty are unset.
#[derive(Clone, Default)]
pub struct Settings {
    /// `auth`
    pub auth: Option<String>,
    /// `tenancy_ocid`
    pub tenancy_ocid: Option<String>,
    /// `user_ocid`
    pub user_ocid: Option<String>,
    /// `fingerprint`
    pub fingerprint: Option<String>,
    /// `private_key`: PEM text. A secret.
    pub private_key: Option<String>,
    /// `private_key_path`
    pub private_key_path: Option<String>,
    /// `private_key_password`. A secret.
    pub private_key_password: Option<String>,
    /// `config_file`
    pub config_file: Option<String>,
    /// `config_file_profile`
    pub config_file_profile: Option<String>,
    /// `region`
    pub region: Option<String>,
    /// The arguments of a token exchange.
    pub token_exchange: TokenExchange,
}

/// The provider's arguments for `auth = "WorkloadIdentityFederation"`, with the
/// names of Oracle's provider; `None` and empty are unset.
#[derive(Clone, Default)]
pub struct TokenExchange {
    /// `workload_identity_token_path`: the file with the CI's token.
    pub workload_identity_token_path: Option<String>,
    /// `token_exchange_domain_url`: the identity domain.
    pub domain_url: Option<String>,
    /// `token_exchange_auth`: `OAuthClientCredentials` or `InstancePrincipal`.
    pub auth: Option<String>,
    /// `token_exchange_client_id`
    pub client_id: Option<String>,
    /// `token_exchange_client_secret`. A secret.
    pub client_secret: Option<String>,
    /// `token_exchange_requested_token_type`
    pub requested_token_type: Option<String>,
    /// `token_exchange_subject_token_type`
    pub subject_token_type: Option<String>,
    /// `token_exchange_resource_type`
    pub resource_type: Option<String>,
    /// `token_exchange_rpst_exp`
    pub rpst_expiration: Option<String>,
}

/// The surroundings, handed in from `main` or from a test. Its `Debug` shows
/// the names of the variables only.
#[derive(Clone, Default)]
pub struct Environment {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

/// What was found.
pub struct Resolved {
    /// The credential.
    pub source: Arc<dyn CredentialSource>,
    /// The region; `None` when nothing names one.
    pub region: Option<Region>,
    /// All regions that are known here.
    pub regions: Directory,
}

/// Why there is no credential. Every variant's text names what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What a credential is made from belongs to somebody else now.
    #[error(
        "what is signed in with now belongs to {now}, and the run began as {before}; nothing is done as somebody else \
         in the middle of a run. Run again to go on as {now}"
    )]
    OtherIdentity {
        /// Who it was.
        before: String,
        /// Who it is.
        now: String,
    },
    /// A credential that is exchanged over the network could not be had.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// Regions that the environment or a file describes.
    #[error(transparent)]
    Regions(#[from] crate::region::InvalidDescription),
    /// A region that is nowhere described.
    #[error("{unknown}")]
    UnknownRegion {
        /// What names it.
        named_by: String,
        /// The region, and what may have been meant.
        unknown: crate::region::UnknownRegion,
    },
    /// The configuration file, where it was named, and the system's answer.
    #[error("cannot read the configuration file {path}{}", lookup::named_text(.named_by))]
    ConfigFile {
        /// The file.
        path: String,
        /// What names it; empty for the default file.
        named_by: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A line that nobody can read. It is not quoted, for it may hold a secret.
    #[error("cannot read the configuration file {path}: line {line}: {problem}")]
    ConfigFileSyntax {
        /// The file.
        path: String,
        /// Its line, from one.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The configured fingerprint is another key's.
    #[error(
        "the fingerprint and the private key do not belong together: {fingerprint_from} says {configured}, \
         and the key in {key_from} has {computed}; set that, or leave the fingerprint out"
    )]
    FingerprintMismatch {
        /// As configured.
        configured: String,
        /// Where it is configured.
        fingerprint_from: String,
        /// As the key has it.
        computed: String,
        /// Where the key is.
        key_from: String,
    },
    /// The key itself, where its file belongs. It is not shown.
    #[error(
        "{named_by} holds something that looks like the key itself, and takes the path of its file; \
         a key belongs into private_key or OCI_CLI_KEY_CONTENT"
    )]
    KeyAsPath {
        /// What is configured.
        named_by: String,
    },
    /// `key_content` is for the environment only.
    #[error(
        "profile {profile} in {path} has `key_content`, which neither Oracle's tools nor this provider read from a file; \
         write the key to a file of its own and name it with `key_file`"
    )]
    KeyContent {
        /// The profile.
        profile: String,
        /// The file.
        path: String,
    },
    /// The file with the key.
    #[error("cannot read the private key file {path}, which {named_by} names")]
    KeyFile {
        /// The file.
        path: String,
        /// What names it.
        named_by: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Values that are nowhere.
    #[error("{}", lookup::missing_text(*.how, .values, .note))]
    Missing {
        /// How somebody would have been signed in with them, for example "with a
        /// session token"; `None` for an API key.
        how: Option<&'static str>,
        /// Which, and where they were looked for.
        values: Vec<MissingValue>,
        /// What is to be said about the configuration file.
        note: String,
    },
    /// A profile that was asked for by name, and no file to have it.
    #[error(
        "{named_by} names the profile [{profile}], and there is no configuration file: {looked_at}"
    )]
    NoConfigFile {
        /// The profile.
        profile: String,
        /// What names it.
        named_by: String,
        /// Where the file was looked for.
        looked_at: String,
    },
    /// Nothing says how to sign in, and nothing was found.
    #[error("{}", lookup::nobody_text(.tried))]
    Nobody {
        /// What was tried, in this order.
        tried: Vec<Tried>,
    },
    /// A path under `~` without a home.
    #[error(
        "{named_by} names {path}, and there is no home directory to begin `~` with; write the path in full"
    )]
    NoHome {
        /// As configured.
        path: String,
        /// What names it.
        named_by: String,
    },
    /// A key with a passphrase, which is nowhere.
    #[error("the key in {key_from} is encrypted, and its passphrase is missing; set {places}")]
    NoPassphrase {
        /// Where the key is.
        key_from: String,
        /// Where the passphrase may stand.
        places: String,
    },
    /// A profile that was asked for by name.
    #[error(
        "{named_by} names the profile [{profile}], which is not in {path}; {}",
        lookup::profiles_text(.profiles)
    )]
    NoProfile {
        /// The profile.
        profile: String,
        /// What names it.
        named_by: String,
        /// The file.
        path: String,
        /// The profiles that are there.
        profiles: Vec<String>,
    },
    /// A key that cannot sign.
    #[error("the key in {key_from} {problem}")]
    PrivateKey {
        /// Where it is.
        key_from: String,
        /// What is wrong, and what to do.
        problem: KeyProblem,
    },
    /// A program that was promised to be a resource.
    #[error(
        "auth is \"ResourcePrincipal\", and {reason}; functions, pipelines and other resources of Oracle Cloud \
         have these variables, an instance signs in with auth = \"InstancePrincipal\""
    )]
    NoResourcePrincipal {
        /// What is missing.
        reason: String,
    },
    /// A file that should hold a security token.
    #[error("{place} does not hold {what}, or only a part of it; {remedy}")]
    NoToken {
        /// For example "the session token".
        what: &'static str,
        /// Where it should be.
        place: String,
        /// What to do.
        remedy: String,
    },
    /// Another protocol than the one that is spoken here.
    #[error(
        "OCI_RESOURCE_PRINCIPAL_VERSION is \"{version}\", and this provider can be a resource principal of version 2.2 only; \
         set the argument auth to another way to sign in"
    )]
    ResourcePrincipalVersion {
        /// As the environment has it.
        version: String,
    },
    /// The token itself, where its file belongs. It is not shown.
    #[error(
        "{named_by} holds something that looks like the token itself, and takes the path of a file with it"
    )]
    TokenAsPath {
        /// What is configured.
        named_by: String,
    },
    /// A token that is of no use any more.
    #[error("{what} in {place} ended at {ended}; {remedy}")]
    TokenEnded {
        /// For example "the session token".
        what: &'static str,
        /// Where it is.
        place: String,
        /// Since when.
        ended: String,
        /// What to do.
        remedy: String,
    },
    /// A file of a token or its key.
    #[error("cannot read {what} in {path}, which {named_by} names")]
    TokenFile {
        /// For example "the session token".
        what: &'static str,
        /// The file.
        path: String,
        /// What names it.
        named_by: String,
        /// Why not.
        source: std::io::Error,
    },
    /// `auth` is none of ours.
    #[error(
        "{named_by} is \"{value}\", which is no way to sign in here; there are ApiKey, SecurityToken, InstancePrincipal, \
         ResourcePrincipal, OKEWorkloadIdentity, WorkloadIdentityFederation and CloudShell, and left out, it is found out"
    )]
    UnknownAuth {
        /// As configured.
        value: String,
        /// What is configured.
        named_by: String,
    },
    /// `token_exchange_auth` is none of ours.
    #[error(
        "{named_by} is \"{value}\"; there are OAuthClientCredentials, with a client id and a client secret, and InstancePrincipal"
    )]
    UnknownTokenExchangeAuth {
        /// As configured.
        value: String,
        /// What is configured.
        named_by: String,
    },
    /// A key with another passphrase.
    #[error("the key in {key_from} cannot be decrypted with the passphrase in {passphrase_from}")]
    WrongPassphrase {
        /// Where the key is.
        key_from: String,
        /// Where the passphrase is.
        passphrase_from: String,
    },
}

/// Finds the credential. Reads files; contacts nobody, except when nothing
/// says how to sign in and the last thing left is to look whether this is an
/// instance, or when the instance is asked for its region.
pub async fn resolve(
    settings: &Settings,
    environment: &Environment,
    network: &Network,
) -> Result<Resolved, Error> {
    lookup::resolve(settings, environment, network).await
}

impl Environment {
    /// An environment variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key id of a session is the session's token.
        let key_id = if self.key_id.starts_with("ST$") {
            "ST$[redacted]"
        } else {
            &self.key_id
        };
        f.debug_struct("Credential")
            .field("key_id", &key_id)
            .field("key", &self.key)
            .field(
                "delegation_token",
                &self.delegation_token.as_ref().map(|_| "[redacted]"),
            )
            .finish()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redacted = |secret: &Option<String>| secret.as_ref().map(|_| "[redacted]");
        f.debug_struct("Settings")
            .field("auth", &self.auth)
            .field("tenancy_ocid", &self.tenancy_ocid)
            .field("user_ocid", &self.user_ocid)
            .field("fingerprint", &self.fingerprint)
            .field("private_key", &redacted(&self.private_key))
            .field("private_key_path", &self.private_key_path)
            .field(
                "private_key_password",
                &redacted(&self.private_key_password),
            )
            .field("config_file", &self.config_file)
            .field("config_file_profile", &self.config_file_profile)
            .field("region", &self.region)
            .field("token_exchange", &self.token_exchange)
            .finish()
    }
}

impl fmt::Debug for TokenExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenExchange")
            .field(
                "workload_identity_token_path",
                &self.workload_identity_token_path,
            )
            .field("domain_url", &self.domain_url)
            .field("auth", &self.auth)
            .field("client_id", &self.client_id)
            .field(
                "client_secret",
                &self.client_secret.as_ref().map(|_| "[redacted]"),
            )
            .field("requested_token_type", &self.requested_token_type)
            .field("subject_token_type", &self.subject_token_type)
            .field("resource_type", &self.resource_type)
            .field("rpst_expiration", &self.rpst_expiration)
            .finish()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("home", &self.home)
            .finish()
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("source", &self.source.describe())
            .field("region", &self.region)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Nothing that holds a secret prints it.
    #[test]
    fn debug_shows_no_secret() -> anyhow::Result<()> {
        let settings = Settings {
            user_ocid: Some("ocid1.user.oc1..a".into()),
            private_key: Some("PRIVATE".into()),
            private_key_password: Some("PASSWORD".into()),
            ..Settings::default()
        };
        expect![[r#"Settings { auth: None, tenancy_ocid: None, user_ocid: Some("ocid1.user.oc1..a"), fingerprint: None, private_key: Some("[redacted]"), private_key_path: None, private_key_password: Some("[redacted]"), config_file: None, config_file_profile: None, region: None, token_exchange: TokenExchange { workload_identity_token_path: None, domain_url: None, auth: None, client_id: None, client_secret: None, requested_token_type: None, subject_token_type: None, resource_type: None, rpst_expiration: None } }"#]].assert_eq(&format!("{settings:?}"));

        let environment = Environment {
            variables: [("OCI_CLI_KEY_CONTENT".into(), "PRIVATE".into())].into(),
            home: Some("/home/docker".into()),
        };
        expect![[
            r#"Environment { variables: ["OCI_CLI_KEY_CONTENT"], home: Some("/home/docker") }"#
        ]]
        .assert_eq(&format!("{environment:?}"));

        let pem = include_str!("../../tests/fixtures/signing-vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(pem)?;
        let pem = vectors["key"]["pkcs8_pem"].as_str().unwrap_or_default();
        let key = private_key::read(pem, None).map_err(anyhow::Error::new)?;
        let mut credential = Credential {
            key_id: "ocid1.tenancy.oc1..a/ocid1.user.oc1..a/56:5c".into(),
            key: Arc::new(key),
            delegation_token: None,
        };
        expect![[r#"Credential { key_id: "ocid1.tenancy.oc1..a/ocid1.user.oc1..a/56:5c", key: SigningKey { fingerprint: "56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b", .. }, delegation_token: None }"#]].assert_eq(&format!("{credential:?}"));
        credential.key_id = "ST$eyJTOKEN".into();
        expect![[r#"Credential { key_id: "ST$[redacted]", key: SigningKey { fingerprint: "56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b", .. }, delegation_token: None }"#]].assert_eq(&format!("{credential:?}"));

        let resolved = Resolved {
            source: Arc::new(api_key::ApiKey::new(
                "ocid1.tenancy.oc1..a",
                "ocid1.user.oc1..a",
                private_key::read(pem, None).map_err(anyhow::Error::new)?,
                "profile DEFAULT",
            )),
            region: Region::parse("gru").ok(),
            regions: Directory::default(),
        };
        expect![[r#"Resolved { source: "user ocid1.user.oc1..a (API key 56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b, profile DEFAULT)", region: Some(Region { identifier: "sa-saopaulo-1", key: "gru", realm: "oc1", second_level_domain: "oraclecloud.com" }) }"#]].assert_eq(&format!("{resolved:?}"));
        Ok(())
    }
}
