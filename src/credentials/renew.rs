//! A credential that ends: one exchange for all who wait, ahead of time.
//!
//! The exchange runs in a task of its own, so that a caller that goes away does
//! not take it along. A failure is remembered for a moment: when two hundred
//! resources ask one after the other, the first waits through all attempts, and
//! the others are told.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, FutureExt, Shared};
use tokio::sync::oneshot;

use super::{Credential, CredentialSource, Error, ExchangeError, Grantee, exchange};

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

impl Principal {
    /// Whether this is somebody else, as far as both say who they are.
    fn is_another(&self, other: &Self) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        differ(&self.tenancy_id, &other.tenancy_id) || differ(&self.user_id, &other.user_id)
    }
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
    renewal: Arc<Renewal<E>>,
}

impl<E: Exchange> Renewing<E> {
    pub(super) fn new(exchange: E) -> Self {
        Self::with_clock(exchange, Box::new(Instant::now))
    }

    fn with_clock(exchange: E, clock: Clock) -> Self {
        Self {
            renewal: Arc::new(Renewal {
                exchange,
                clock,
                state: Mutex::default(),
            }),
        }
    }

    async fn current(&self) -> Outcome {
        match self.renewal.look() {
            Look::Serves(credential) => Ok(credential),
            Look::Failed(error) => Err(error),
            Look::Wait { flight, fallback } => match (flight.await, fallback) {
                // It was only to be replaced, and serves on.
                (Err(_), Some(session)) if self.renewal.now() < session.expires_at => {
                    Ok(session.credential)
                }
                (outcome, _) => outcome,
            },
        }
    }
}

impl<E: Exchange> CredentialSource for Renewing<E> {
    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Arc<Error>>> {
        self.current().boxed()
    }

    fn refused(&self, credential: &Arc<Credential>) -> bool {
        let now = self.renewal.now();
        let mut state = self.renewal.state();
        let is_current = state
            .session
            .as_ref()
            .is_some_and(|session| Arc::ptr_eq(&session.credential, credential));
        if !is_current {
            // Somebody else was refused first, or it had come to its end.
            return true;
        }
        // A service that accepts nothing would have us exchange for ever.
        state
            .forced
            .retain(|at| now.saturating_duration_since(*at) < FORCED_WITHIN);
        if state.forced.len() >= FORCED_AT_MOST {
            return false;
        }
        tracing::info!(
            principal = self.renewal.describe(&state),
            "A credential was refused and is not used again"
        );
        state.forced.push(now);
        state.session = None;
        true
    }

    fn describe(&self) -> String {
        let state = self.renewal.state();
        self.renewal.describe(&state)
    }

    fn tenancy_id(&self) -> Option<String> {
        self.principal().tenancy_id
    }

    fn user_id(&self) -> Option<String> {
        self.principal().user_id
    }

    fn grantee(&self) -> Grantee {
        self.principal().grantee
    }
}

impl<E: Exchange> Renewing<E> {
    fn principal(&self) -> Principal {
        let known = self.renewal.state().principal.clone();
        known.unwrap_or_else(|| self.renewal.exchange.unnamed())
    }
}

/// What the callers and the running exchange share.
struct Renewal<E> {
    exchange: E,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// Who the last session said this is; stays when the session is forgotten.
    principal: Option<Principal>,
    /// The exchange that is on its way.
    flight: Option<Flight>,
    /// The last failure, as long as nothing succeeded after it.
    failure: Option<(Instant, Arc<Error>)>,
    /// When services made us give up a credential, lately.
    forced: Vec<Instant>,
}

/// What there is for a caller.
enum Look {
    /// A credential, now.
    Serves(Arc<Credential>),
    /// A failure that is remembered.
    Failed(Arc<Error>),
    /// An exchange to wait for, and what serves when it fails.
    Wait {
        flight: Flight,
        fallback: Option<Box<Session>>,
    },
}

impl<E: Exchange> Renewal<E> {
    fn look(self: &Arc<Self>) -> Look {
        let session = self.state().session.clone();
        // Not under the lock, for it may look at a file.
        let outdated = session
            .as_ref()
            .is_some_and(|session| self.exchange.is_outdated(session));
        let now = self.now();
        let state = self.state();
        let failed_within = |state: &State, pause: Duration| {
            let (at, error) = state.failure.as_ref()?;
            (now.saturating_duration_since(*at) < pause).then(|| error.clone())
        };
        // Another one than was looked at is newer, and not outdated.
        let outdated = outdated
            && matches!((&state.session, &session), (Some(ours), Some(looked_at))
                if Arc::ptr_eq(&ours.credential, &looked_at.credential));
        let valid = state
            .session
            .clone()
            .filter(|session| now < session.expires_at);
        let Some(session) = valid else {
            if let Some(flight) = &state.flight {
                return Look::Wait {
                    flight: flight.clone(),
                    fallback: None,
                };
            }
            if let Some(error) = failed_within(&state, FAILURE_MEMORY) {
                return Look::Failed(error);
            }
            return Look::Wait {
                flight: self.take_off(state),
                fallback: None,
            };
        };
        if outdated && failed_within(&state, FAILURE_MEMORY).is_none() {
            let flight = match &state.flight {
                Some(flight) => flight.clone(),
                None => self.take_off(state),
            };
            return Look::Wait {
                flight,
                fallback: Some(Box::new(session)),
            };
        }
        if now >= session.renew_at
            && state.flight.is_none()
            && failed_within(&state, EARLY_PAUSE).is_none()
        {
            drop(self.take_off(state));
        }
        Look::Serves(session.credential)
    }

    /// Begins an exchange, and says so in the state that is handed in.
    fn take_off(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Flight {
        let (sender, receiver) = oneshot::channel();
        let flight = async move {
            receiver
                .await
                .unwrap_or_else(|_| Err(Arc::new(ExchangeError::Abandoned.into())))
        }
        .boxed()
        .shared();
        state.flight = Some(flight.clone());
        // A runtime that is ending drops the task right here, whose guard wants
        // the lock.
        drop(state);
        let landing = Landing(self.clone());
        tokio::spawn(async move {
            let outcome = landing.0.exchange.obtain().await;
            let outcome = landing.0.settle(outcome);
            drop(landing);
            // Nobody may be waiting any more.
            let _ = sender.send(outcome);
        });
        flight
    }

    /// Takes over what an exchange brought.
    fn settle(&self, outcome: Result<Session, Error>) -> Outcome {
        let now = self.now();
        let mut state = self.state();
        // Somebody may sign in as another user in the next window.
        let outcome = outcome.and_then(|session| match &state.principal {
            Some(before) if before.is_another(&session.principal) => Err(Error::OtherIdentity {
                before: before.description.clone(),
                now: session.principal.description,
            }),
            _ => Ok(session),
        });
        match outcome {
            Ok(mut session) => {
                // However short its life: not one exchange for each request.
                session.renew_at = session.renew_at.max(now + FAILURE_MEMORY);
                let what = match state.principal {
                    Some(_) => "Renewed the session",
                    None => "Signed in",
                };
                tracing::info!(
                    principal = session.principal.description,
                    lifetime_s = session.expires_at.saturating_duration_since(now).as_secs(),
                    renewal_in_s = session.renew_at.saturating_duration_since(now).as_secs(),
                    "{what}"
                );
                let credential = session.credential.clone();
                state.principal = Some(session.principal.clone());
                state.session = Some(session);
                state.failure = None;
                Ok(credential)
            }
            Err(error) => {
                match &state.session {
                    Some(session) if now < session.expires_at => tracing::warn!(
                        principal = self.describe(&state),
                        valid_s = session.expires_at.saturating_duration_since(now).as_secs(),
                        error = exchange::chain(&error),
                        "Cannot sign in anew yet, and go on with the credential at hand"
                    ),
                    _ => tracing::debug!(
                        principal = self.describe(&state),
                        error = exchange::chain(&error),
                        "Cannot sign in"
                    ),
                }
                let error = Arc::new(error);
                state.failure = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    fn describe(&self, state: &State) -> String {
        match &state.principal {
            Some(principal) => principal.description.clone(),
            None => self.exchange.unnamed().description,
        }
    }

    fn now(&self) -> Instant {
        (self.clock)()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is half done when somebody panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight, also when the exchange panics or its runtime ends.
struct Landing<E: Exchange>(Arc<Renewal<E>>);

impl<E: Exchange> Drop for Landing<E> {
    fn drop(&mut self) {
        self.0.state().flight = None;
    }
}

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

type Outcome = Result<Arc<Credential>, Arc<Error>>;

/// An exchange that many can wait for.
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// How long a failure is the answer for those who come after it.
const FAILURE_MEMORY: Duration = Duration::from_secs(5);

/// How long after a failure the next attempt to renew ahead of time.
const EARLY_PAUSE: Duration = Duration::from_secs(30);

/// How often within how long a refused credential is given up for another one.
const FORCED_AT_MOST: usize = 3;
const FORCED_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
impl Principal {
    /// Whether messages, logs and policies can have it: for tests of those who read it in a token.
    pub(super) fn can_be_shown(&self) -> bool {
        let plain = |text: &String| text.len() < 4000 && !text.contains(char::is_control);
        let is_policy = match &self.grantee {
            // Each of its values is in quotes, and ends where they end.
            Grantee::AnyUserWhere(condition) => condition.split(", ").all(|part| {
                part.starts_with("request.principal.")
                    && part.ends_with('\'')
                    && part.matches('\'').count() == 2
            }),
            Grantee::Group | Grantee::DynamicGroup => true,
        };
        let ids = [&self.tenancy_id, &self.user_id];
        is_policy && plain(&self.description) && ids.into_iter().flatten().all(plain)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            OnceLock,
            atomic::{AtomicBool, AtomicUsize, Ordering},
        },
    };

    use expect_test::expect;
    use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::signing::SigningKey;

    /// A failure that can be had without a network.
    fn failure(text: &str) -> Error {
        Error::NoHome {
            path: "~".to_owned(),
            named_by: text.to_owned(),
        }
    }

    fn key() -> Arc<SigningKey> {
        static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
        KEY.get_or_init(|| {
            let pem = include_bytes!("../../tests/fixtures/keys/other-rsa-2048.pem");
            let der = PrivatePkcs8KeyDer::from_pem_slice(pem).expect("it is PEM");
            Arc::new(SigningKey::from_pkcs8_der(der.secret_pkcs8_der()).expect("it is a key"))
        })
        .clone()
    }

    /// An exchange that gives sessions of a hundred seconds, numbered, or the
    /// failures it was told to give, when it is let.
    struct Fake {
        now: Arc<Mutex<Instant>>,
        asked: AtomicUsize,
        script: Mutex<VecDeque<Script>>,
        gate: Semaphore,
        outdated: AtomicBool,
        lifetime: Duration,
    }

    #[derive(Clone, Copy)]
    enum Script {
        Fail,
        /// Somebody else's session.
        Other,
        Panic,
    }

    /// A source, its exchange and its clock.
    struct Stage {
        source: Arc<Renewing<Arc<Fake>>>,
        fake: Arc<Fake>,
        now: Arc<Mutex<Instant>>,
    }

    impl Exchange for Arc<Fake> {
        fn obtain(&self) -> BoxFuture<'_, Result<Session, Error>> {
            async {
                let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                let permit = self.gate.acquire().await;
                permit.expect("nobody closes it").forget();
                let step = self.script.lock().expect("no panic inside").pop_front();
                match step {
                    Some(Script::Fail) => return Err(failure(&format!("attempt {number}"))),
                    Some(Script::Panic) => panic!("told to"),
                    Some(Script::Other) | None => {}
                }
                let user = match step {
                    Some(Script::Other) => "ocid1.user.oc1..b",
                    _ => "ocid1.user.oc1..a",
                };
                self.outdated.store(false, Ordering::SeqCst);
                let now = *self.now.lock().expect("no panic inside");
                Ok(Session {
                    credential: Arc::new(Credential {
                        key_id: format!("ST${number}"),
                        key: key(),
                        delegation_token: None,
                    }),
                    renew_at: now + self.lifetime * 4 / 5,
                    expires_at: now + self.lifetime,
                    principal: Principal {
                        description: format!("fake {number}"),
                        tenancy_id: Some("ocid1.tenancy.oc1..a".to_owned()),
                        user_id: Some(user.to_owned()),
                        grantee: Grantee::DynamicGroup,
                    },
                })
            }
            .boxed()
        }

        fn unnamed(&self) -> Principal {
            Principal {
                description: "a fake".to_owned(),
                tenancy_id: None,
                user_id: None,
                grantee: Grantee::Group,
            }
        }

        fn is_outdated(&self, _: &Session) -> bool {
            self.outdated.load(Ordering::SeqCst)
        }
    }

    impl Stage {
        fn new() -> Self {
            Self::with_lifetime(Duration::from_secs(100))
        }

        fn with_lifetime(lifetime: Duration) -> Self {
            let now = Arc::new(Mutex::new(Instant::now()));
            let fake = Arc::new(Fake {
                now: now.clone(),
                asked: AtomicUsize::new(0),
                script: Mutex::default(),
                gate: Semaphore::new(1000),
                outdated: AtomicBool::new(false),
                lifetime,
            });
            let clock = now.clone();
            let source = Renewing::with_clock(
                fake.clone(),
                Box::new(move || *clock.lock().expect("no panic inside")),
            );
            Self {
                source: Arc::new(source),
                fake,
                now,
            }
        }

        fn next(&self, script: impl IntoIterator<Item = Script>) {
            self.fake
                .script
                .lock()
                .expect("no panic inside")
                .extend(script);
        }

        fn pass(&self, seconds: u64) {
            *self.now.lock().expect("no panic inside") += Duration::from_secs(seconds);
        }

        /// From now on exchanges hang until they are let.
        fn shut(&self) {
            self.fake.gate.forget_permits(1000);
        }

        fn open(&self) {
            self.fake.gate.add_permits(1000);
        }

        fn asked(&self) -> usize {
            self.fake.asked.load(Ordering::SeqCst)
        }

        /// The credential's key id, or the failure's text.
        async fn ask(&self) -> String {
            text(self.source.credential().await)
        }

        /// Waits until the exchange that is on its way has ended.
        async fn landed(&self) {
            while self.source.renewal.state().flight.is_some() {
                tokio::task::yield_now().await;
            }
        }

        /// Waits until so many exchanges have begun.
        async fn begun(&self, count: usize) {
            while self.asked() < count {
                tokio::task::yield_now().await;
            }
        }
    }

    fn text(outcome: Outcome) -> String {
        match outcome {
            Ok(credential) => credential.key_id.clone(),
            Err(error) => error.to_string(),
        }
    }

    /// Many callers cause one exchange, and all get its result.
    #[tokio::test]
    async fn one_exchange_for_all() {
        let stage = Stage::new();
        stage.shut();
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let source = stage.source.clone();
                tokio::spawn(async move { text(source.credential().await) })
            })
            .collect();
        stage.begun(1).await;
        tokio::task::yield_now().await;
        stage.open();
        for caller in callers {
            assert_eq!(caller.await.expect("no panic"), "ST$1");
        }
        assert_eq!(stage.asked(), 1);
        assert_eq!(stage.ask().await, "ST$1", "it is kept");
        assert_eq!(stage.asked(), 1);
    }

    /// The caller that began the exchange goes away; the others get its result,
    /// and so does one that comes when all have gone.
    #[tokio::test]
    async fn dropped_callers_lose_nothing() {
        let stage = Stage::new();
        stage.shut();
        let spawn = || {
            let source = stage.source.clone();
            tokio::spawn(async move { text(source.credential().await) })
        };
        let first = spawn();
        stage.begun(1).await;
        let second = spawn();
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        stage.open();
        assert_eq!(second.await.expect("no panic"), "ST$1");

        stage.pass(1000);
        stage.shut();
        let alone = spawn();
        stage.begun(2).await;
        alone.abort();
        let _ = alone.await;
        stage.open();
        stage.landed().await;
        assert_eq!(stage.ask().await, "ST$2");
        assert_eq!(stage.asked(), 2);
    }

    /// All who waited are told one failure, those who come in the next seconds
    /// too, and who comes then has it tried again.
    #[tokio::test]
    async fn failure_is_told_to_all_and_remembered_shortly() {
        let stage = Stage::new();
        stage.next([Script::Fail, Script::Fail]);
        stage.shut();
        let waiting = async {
            let (a, b) = tokio::join!(stage.source.credential(), stage.source.credential());
            (a.expect_err("it fails"), b.expect_err("it fails"))
        };
        let ((a, b), ()) = tokio::join!(waiting, async {
            stage.begun(1).await;
            stage.open();
        });
        assert!(Arc::ptr_eq(&a, &b));
        expect![
            "attempt 1 names ~, and there is no home directory to begin `~` with; write the path in full"
        ]
        .assert_eq(&a.to_string());
        stage.pass(4);
        assert!(stage.ask().await.starts_with("attempt 1"));
        assert_eq!(stage.asked(), 1);
        stage.pass(1);
        assert!(stage.ask().await.starts_with("attempt 2"));
        stage.pass(5);
        assert_eq!(stage.ask().await, "ST$3");
    }

    /// What is on disk is another user's all at once: the old one serves as long as
    /// it is good, and then the run ends instead of going on as somebody else.
    #[tokio::test]
    async fn nobody_becomes_somebody_else() {
        let stage = Stage::with_lifetime(Duration::from_secs(100));
        assert_eq!(stage.ask().await, "ST$1");
        stage.next([Script::Other, Script::Other]);
        stage.fake.outdated.store(true, Ordering::SeqCst);
        assert_eq!(stage.ask().await, "ST$1");
        stage.pass(100);
        expect!["what is signed in with now belongs to fake 3, and the run began as fake 1; nothing is done as somebody else in the middle of a run. Run again to go on as fake 3"].assert_eq(&stage.ask().await);
    }

    /// From `renew_at` on a new one is fetched while the old one serves.
    #[tokio::test]
    async fn renews_ahead_of_time() {
        let stage = Stage::new();
        assert_eq!(stage.ask().await, "ST$1");
        stage.pass(79);
        assert_eq!(stage.ask().await, "ST$1");
        assert_eq!(stage.asked(), 1, "not yet");
        stage.pass(1);
        stage.shut();
        for _ in 0..10 {
            assert_eq!(stage.ask().await, "ST$1", "nobody waits");
        }
        stage.begun(2).await;
        stage.open();
        stage.landed().await;
        assert_eq!(stage.ask().await, "ST$2");
        assert_eq!(stage.asked(), 2);
    }

    /// A renewal that fails ahead of time disturbs nobody and is tried again
    /// later; at the end of the old one it is an error.
    #[tokio::test]
    async fn early_failure_is_no_error() {
        let stage = Stage::with_lifetime(Duration::from_secs(1000));
        assert_eq!(stage.ask().await, "ST$1");
        stage.next([Script::Fail, Script::Fail]);
        stage.pass(800);
        assert_eq!(stage.ask().await, "ST$1");
        stage.landed().await;
        stage.pass(29);
        assert_eq!(stage.ask().await, "ST$1");
        stage.landed().await;
        assert_eq!(stage.asked(), 2, "not so soon");
        stage.pass(171);
        assert!(stage.ask().await.starts_with("attempt 3"), "it has ended");
        stage.pass(5);
        assert_eq!(stage.ask().await, "ST$4");
    }

    /// Early attempts that failed are repeated as long as the old one serves.
    #[tokio::test]
    async fn early_renewal_is_tried_again() {
        let stage = Stage::with_lifetime(Duration::from_secs(1000));
        assert_eq!(stage.ask().await, "ST$1");
        stage.next([Script::Fail]);
        stage.pass(800);
        assert_eq!(stage.ask().await, "ST$1");
        stage.landed().await;
        stage.pass(30);
        assert_eq!(stage.ask().await, "ST$1");
        stage.landed().await;
        assert_eq!(stage.ask().await, "ST$3");
    }

    /// What has ended is not used, and its replacement is waited for, also when
    /// it is already on its way.
    #[tokio::test]
    async fn ended_session_is_waited_for() {
        let stage = Stage::new();
        assert_eq!(stage.ask().await, "ST$1");
        stage.pass(90);
        stage.shut();
        assert_eq!(stage.ask().await, "ST$1");
        stage.begun(2).await;
        stage.pass(10);
        let (asked, ()) = tokio::join!(stage.ask(), async {
            tokio::task::yield_now().await;
            stage.open();
        });
        assert_eq!(asked, "ST$2");
        assert_eq!(stage.asked(), 2);
    }

    /// A file that changed is read before the next request; when that fails, the
    /// old one serves as long as it is valid.
    #[tokio::test]
    async fn outdated_session_is_replaced_at_once() {
        let stage = Stage::new();
        assert_eq!(stage.ask().await, "ST$1");
        stage.fake.outdated.store(true, Ordering::SeqCst);
        assert_eq!(stage.ask().await, "ST$2");
        assert_eq!(stage.ask().await, "ST$2");
        stage.next([Script::Fail, Script::Fail]);
        stage.fake.outdated.store(true, Ordering::SeqCst);
        assert_eq!(stage.ask().await, "ST$2", "the old one is better than none");
        assert_eq!(stage.ask().await, "ST$2");
        assert_eq!(stage.asked(), 3, "not with each request");
        stage.pass(5);
        assert_eq!(stage.ask().await, "ST$2");
        assert_eq!(stage.asked(), 4);
        stage.pass(5);
        assert_eq!(stage.ask().await, "ST$5");
    }

    /// A refused credential is replaced, once for all who hold it; a service
    /// that accepts nothing causes no endless exchange.
    #[tokio::test]
    async fn refused_credential_is_replaced_once() {
        let stage = Stage::new();
        let first = stage.source.credential().await.expect("it works");
        assert!(stage.source.refused(&first));
        assert!(stage.source.refused(&first), "it is forgotten");
        let second = stage.source.credential().await.expect("it works");
        assert_eq!(second.key_id, "ST$2");
        assert!(stage.source.refused(&first), "it has been replaced");
        assert_eq!(stage.ask().await, "ST$2");
        let mut last = second;
        for expected in ["ST$3", "ST$4"] {
            assert!(stage.source.refused(&last));
            last = stage.source.credential().await.expect("it works");
            assert_eq!(last.key_id, expected);
        }
        assert!(!stage.source.refused(&last), "too often");
        assert_eq!(stage.ask().await, "ST$4", "it is kept");
        stage.pass(30);
        assert!(stage.source.refused(&last));
        assert_eq!(stage.ask().await, "ST$5");
    }

    /// Who it is: unnamed, then as the session says, also after that was refused.
    #[tokio::test]
    async fn principal_of_the_last_session() {
        let stage = Stage::new();
        let source = &stage.source;
        let seen = || {
            format!(
                "{}, {:?}, {:?}, {:?}",
                source.describe(),
                source.tenancy_id(),
                source.user_id(),
                source.grantee()
            )
        };
        expect!["a fake, None, None, Group"].assert_eq(&seen());
        let credential = source.credential().await.expect("it works");
        expect![[
            r#"fake 1, Some("ocid1.tenancy.oc1..a"), Some("ocid1.user.oc1..a"), DynamicGroup"#
        ]]
        .assert_eq(&seen());
        assert!(source.refused(&credential));
        expect![[
            r#"fake 1, Some("ocid1.tenancy.oc1..a"), Some("ocid1.user.oc1..a"), DynamicGroup"#
        ]]
        .assert_eq(&seen());
    }

    /// A session that is over before it arrives, or that wants to be renewed at
    /// once, serves those who waited and does not make a circle.
    #[tokio::test]
    async fn short_lives_make_no_circle() {
        let stage = Stage::with_lifetime(Duration::ZERO);
        assert_eq!(stage.ask().await, "ST$1");
        let stage = Stage::with_lifetime(Duration::from_secs(6));
        assert_eq!(stage.ask().await, "ST$1");
        stage.pass(4);
        assert_eq!(stage.ask().await, "ST$1");
        stage.landed().await;
        assert_eq!(stage.asked(), 1);
    }

    /// An exchange that panics is an error for those who waited, and the next
    /// caller has another one.
    #[tokio::test]
    async fn panic_is_an_error() {
        let stage = Stage::new();
        stage.next([Script::Panic]);
        expect!["the exchange for a credential was broken off; run the command again"]
            .assert_eq(&stage.ask().await);
        assert_eq!(stage.ask().await, "ST$2");
    }
}
