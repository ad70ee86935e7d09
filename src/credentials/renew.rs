//! A credential that ends: one exchange for all who wait, ahead of time.

use std::{sync::Arc, time::Instant};

use futures_util::future::BoxFuture;

use super::{Credential, CredentialSource, Error, Grantee};

/// A credential for a while, and who it is.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) credential: Arc<Credential>,
    /// From when on a new one is asked for, while this one still serves.
    pub(super) renew_at: Instant,
    /// From when on this one is of no use.
    pub(super) expires_at: Instant,
    pub(super) principal: Principal,
}

/// Who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    /// For a message: "instance ocid1.instance.oc1..a (instance principal)".
    pub(super) description: String,
    pub(super) tenancy_id: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) grantee: Grantee,
}

/// A way to get a session.
pub(super) trait Exchange: Send + Sync + 'static {
    /// A new session. Called by one at a time.
    fn obtain(&self) -> BoxFuture<'_, Result<Session, Error>>;
    /// Who this is as long as no session says it: "an instance (instance principal)".
    fn unnamed(&self) -> Principal;
    /// Whether what a session was made from has changed since, on disk for
    /// instance. Cheap: asked before every request.
    fn is_outdated(&self, session: &Session) -> bool {
        let _ = session;
        false
    }
}

/// A source that renews itself.
pub(super) struct Renewing<E> {
    exchange: E,
}

impl<E: Exchange> Renewing<E> {
    pub(super) fn new(exchange: E) -> Self {
        Self { exchange }
    }
}

impl<E: Exchange> CredentialSource for Renewing<E> {
    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Arc<Error>>> {
        todo!()
    }

    fn refused(&self, _credential: &Arc<Credential>) -> bool {
        todo!()
    }

    fn describe(&self) -> String {
        self.exchange.unnamed().description
    }

    fn tenancy_id(&self) -> Option<String> {
        todo!()
    }

    fn user_id(&self) -> Option<String> {
        todo!()
    }

    fn grantee(&self) -> Grantee {
        todo!()
    }
}
