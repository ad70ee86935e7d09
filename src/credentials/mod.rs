//! Where a signing key comes from.
//!
//! [`resolve`] looks at the provider's arguments, the environment and the
//! configuration file, in this order, value by value; everything it looks at
//! is handed in. What comes out is a [`CredentialSource`]: asked before each
//! request, so that one that renews itself fits in later.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;

use crate::signing::SigningKey;

/// An identity that can sign. Its `Debug` shows no key and no token.
#[derive(Clone)]
pub struct Credential {
    /// What goes into the signature as `keyId`.
    pub key_id: String,
    /// The key.
    pub key: Arc<SigningKey>,
}

/// Gives a credential, now; the source renews it when it must.
pub trait CredentialSource: Send + Sync {
    /// The credential to sign the next request with.
    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Error>>;
    /// Who this is, for messages: kind and name, no secret, for example
    /// "user ocid1.user.oc1..a (API key 12:34…, profile DEFAULT)".
    fn describe(&self) -> String;
    /// The tenancy, when the source knows it.
    fn tenancy_id(&self) -> Option<&str>;
    /// The user, when the principal is one.
    fn user_id(&self) -> Option<&str>;
}

/// The provider's arguments that choose a credential; `None` is unset.
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
}

/// The surroundings, handed in from `main` or from a test.
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
    /// The region as configured, identifier or key, not checked; `None` when nothing names one.
    pub region: Option<String>,
}

/// Why there is no credential. Every variant's text names what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Placeholder until the variants are here.
    #[error("no credential")]
    Missing,
}

/// Finds the credential. Reads files; contacts nobody.
pub fn resolve(_settings: &Settings, _environment: &Environment) -> Result<Resolved, Error> {
    todo!()
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
