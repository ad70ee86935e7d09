//! Signing in: challenges, tokens, and one exchange at a time.

use std::sync::Arc;

use futures_util::future::BoxFuture;

/// How a client signs in. Its `Debug` shows no secret.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    Anonymous,
    /// With a user name and a password, directly or for a token at the realm
    /// that the registry's challenge names.
    Basic {
        /// User name.
        username: String,
        /// Password. A secret.
        password: String,
    },
    /// With a bearer token from somewhere else.
    Token(Arc<dyn TokenSource>),
}

/// A bearer token. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Token {
    /// The token. A secret.
    pub token: String,
    /// When it ends.
    pub expires_at: std::time::Instant,
}

/// Gives bearer tokens. The client caches what it gets, asks for a new one
/// some time before the old one ends, and asks once for many waiters.
pub trait TokenSource: Send + Sync {
    /// A fresh token.
    fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>>;
}
