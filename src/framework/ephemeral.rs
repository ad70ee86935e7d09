//! Ephemeral resources: values that are opened for one run, and in no state.

use std::{future::Future, marker::PhantomData, sync::Arc, time::SystemTime};

use super::{
    Context, Diagnostics, Model, Result,
    erased::{ErasedEphemeral, Typed},
};

/// An ephemeral resource: something that is opened in each plan and each apply
/// that needs it, renewed while they last, and closed.
///
/// What [`Context::private`] holds at the end of [`open`](EphemeralResource::open) is there in `renew` and
/// `close`. The host keeps it in memory only, so it may hold a secret.
pub trait EphemeralResource: Send + Sync + Sized + 'static {
    /// What it works with; the provider makes it once.
    type Clients: Send + Sync + 'static;
    /// Its arguments and its results.
    type State: Model;

    /// An ephemeral resource that works with `clients`.
    fn new(clients: Arc<Self::Clients>) -> Self;

    /// Checks that need more than one attribute; values may be unknown.
    fn validate(_config: &Self::State) -> Diagnostics {
        Diagnostics::default()
    }

    /// Opens it. Everything in `config` is known: with unknown arguments, it
    /// is opened later, and its results are unknown until then.
    ///
    /// Results may be left unknown in one case: an argument of the provider
    /// that is needed is unknown while planning.
    fn open(
        &self,
        cx: &mut Context,
        config: Self::State,
    ) -> impl Future<Output = Result<Opened<Self::State>>> + Send;

    /// Keeps it open. Says when to come again.
    fn renew(&self, _cx: &mut Context) -> impl Future<Output = Result<Option<SystemTime>>> + Send {
        async { Ok(None) }
    }

    /// Closes it. The host says so once, also when the run failed.
    fn close(&self, _cx: &mut Context) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// What was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened<S> {
    /// Arguments and results.
    pub state: S,
    /// When the host is to renew it, if at all.
    pub renew_at: Option<SystemTime>,
}

impl<S> From<S> for Opened<S> {
    /// Nothing to renew.
    fn from(state: S) -> Self {
        Self {
            state,
            renew_at: None,
        }
    }
}

/// A row of the provider's table: a name and an ephemeral resource.
pub struct EphemeralResourceType<C> {
    pub(super) name: &'static str,
    pub(super) erased: Arc<dyn ErasedEphemeral>,
    clients: PhantomData<fn(C)>,
}

impl<C: Send + Sync + 'static> EphemeralResourceType<C> {
    /// An ephemeral resource under a name; one may have several.
    pub fn new<E: EphemeralResource<Clients = C>>(name: &'static str) -> Self {
        Self {
            name,
            erased: Arc::new(Typed::<E>::ephemeral()),
            clients: PhantomData,
        }
    }
}
