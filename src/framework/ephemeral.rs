//! Ephemeral resources: values that are opened for one run, and in no state.

use std::{future::Future, marker::PhantomData, sync::Arc, time::SystemTime};

use super::{
    Context, Diagnostics, Model, Result,
    erased::{ErasedEphemeral, Typed},
};

/// An ephemeral resource: something that is opened in each plan and each apply
/// that needs it, renewed while they last, and closed.
///
/// What [`Context::private`] holds at the end of
/// [`open`](EphemeralResource::open) is there in `renew` and `close`. The host
/// keeps it in memory only, so it may hold a secret. What a renewal changes in
/// it reaches the next one; at the end Terraform gives what opening left, and
/// OpenTofu what the last renewal did.
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

#[cfg(test)]
mod tests {
    use crate::{
        cty::Value,
        framework::{Deferred, OpenRequest, OpenResponse, Server, model::object, sample},
    };

    fn config(audience: Value) -> Value {
        object([
            ("audience", audience),
            ("username", Value::Null),
            ("password", Value::Null),
        ])
    }

    async fn open(server: &Server, audience: Value, deferral_allowed: bool) -> OpenResponse {
        let request = OpenRequest {
            config: config(audience),
            deferral_allowed,
        };
        server.open_ephemeral("ocir_login", request).await
    }

    /// Opened, it has its defaults, and its arguments as they were configured
    /// whatever it answers; closed, it knows what opening it gave.
    #[tokio::test]
    async fn life() {
        let (server, events) = sample::server("here".into()).await;
        let opened = open(&server, "us".into(), false).await;
        let expected = object([
            ("audience", "us".into()),
            ("username", "token".into()),
            ("password", "hunter2".into()),
        ]);
        assert_eq!(opened.result, expected);
        assert_eq!((opened.renew_at, opened.deferred), (None, None));
        assert_eq!(
            sample::lines(&opened.diagnostics),
            "Warning: Short: It lasts an hour."
        );
        let renewed = server.renew_ephemeral("ocir_login", opened.private).await;
        assert!(renewed.diagnostics.is_empty() && renewed.renew_at.is_none());
        let closed = server.close_ephemeral("ocir_login", renewed.private).await;
        assert!(closed.is_empty());
        assert_eq!(events.take(), ["open", "close"]);
    }

    /// With unknown arguments nothing is opened, nor closed: results are
    /// unknown, and a host that takes it hears why.
    #[tokio::test]
    async fn unknown_arguments() {
        let (server, events) = sample::server("here".into()).await;
        for (allowed, why) in [(false, None), (true, Some(Deferred::ResourceConfigUnknown))] {
            let later = open(&server, Value::UNKNOWN, allowed).await;
            assert_eq!(later.result.get("password"), Some(&Value::UNKNOWN));
            assert_eq!(later.result.get("username"), Some(&"token".into()));
            assert_eq!(later.deferred, why);
            let closed = server.close_ephemeral("ocir_login", later.private).await;
            assert!(closed.is_empty());
        }
        assert_eq!(events.take(), [""; 0]);
    }

    /// Results may be unknown while the provider's arguments are, and then there
    /// is nothing to close; otherwise it is a mistake.
    #[tokio::test]
    async fn unknown_results() {
        let (server, events) = sample::server(Value::UNKNOWN).await;
        for (allowed, why) in [(false, None), (true, Some(Deferred::ProviderConfigUnknown))] {
            let later = open(&server, "us".into(), allowed).await;
            assert!(!later.diagnostics.has_errors());
            let text = sample::lines(&later.diagnostics);
            assert_eq!(
                text.contains("Warning: Cannot open yet: "),
                !allowed,
                "{text}"
            );
            assert_eq!(later.result.get("password"), Some(&Value::UNKNOWN));
            assert_eq!(later.deferred, why);
            let closed = server.close_ephemeral("ocir_login", later.private).await;
            assert!(closed.is_empty());
        }
        assert_eq!(events.take(), ["open", "open"]);

        let (server, _) = sample::server("here".into()).await;
        let forgotten = open(&server, "forget".into(), false).await;
        assert_eq!(forgotten.result, Value::Null);
        expect_test::expect![[r#"
            Warning: Short: It lasts an hour.
            Error: Value is still unknown: Attribute "password" was not filled in. It cannot be used.

            This is a bug in the ocir provider."#]]
        .assert_eq(&sample::lines(&forgotten.diagnostics));
    }

    /// What fails is explained: before opening, in it, and after it.
    #[tokio::test]
    async fn failures() {
        let (server, _) = sample::server("here".into()).await;
        let long = server.validate_ephemeral("ocir_login", &config("a long audience".into()));
        let failed = open(&server, "nobody".into(), false).await;
        let closed = server
            .close_ephemeral("ocir_login", Default::default())
            .await;
        let unknown = server.validate_ephemeral("ocir_nothing", &Value::Null);
        let early = Server::new(sample::Sample(sample::Events::default()));
        let early = open(&early, "us".into(), false).await;
        let all = [long, failed.diagnostics, closed, unknown, early.diagnostics];
        expect_test::expect![[r#"
            Error: Invalid value: Argument "audience" must be short.
            Warning: Short: It lasts an hour.
            Error: Cannot log in: Nobody.
            Error: Cannot log out: Nobody is logged in.
            Error: Unsupported ephemeral resource type: This release of the ocir provider has no ephemeral resource "ocir_nothing". A newer one may have it.
            Error: Provider is not configured: The host asked about an object before it configured the provider. This is a bug in the host, or in the ocir provider."#]]
        .assert_eq(&all.each_ref().map(sample::lines).join("\n"));
    }
}
