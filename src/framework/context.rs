//! What a call knows beside its values.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio_util::sync::CancellationToken;

use super::{Diagnostic, Diagnostics, Model, Severity, timeouts::Limit};
use crate::cty::Value;

/// The surroundings of one call: the stop signal, private state, warnings.
#[derive(Debug, Default)]
pub struct Context {
    /// Cancelled when the user interrupts the run, or when the operation has
    /// had its time. Waits and long transfers end then; a request that may
    /// have created something is completed.
    pub stop: CancellationToken,
    /// When the operation has had its time; none without a `timeouts` block.
    pub deadline: Option<Instant>,
    /// What the provider remembers about an object beside its state.
    pub private: Private,
    pub(super) kept: Kept,
    interrupt: CancellationToken,
    expired: CancellationToken,
    limit: Option<Limit>,
    warnings: Diagnostics,
}

/// Why work is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The user interrupted the run.
    Interrupted,
    /// The operation has had the time that it has.
    TimedOut,
}

/// Private state: small values under our own keys, invisible to users, stored
/// with the object. Never a place for secrets; that of an ephemeral resource
/// is stored nowhere, and may hold one.
#[derive(Clone, Default, PartialEq)]
pub struct Private(BTreeMap<String, Vec<u8>>);

/// What a call recorded of an object before it ended. It outlives the call:
/// whoever asked reads it also when the call panicked.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Mutex<Option<KeptObject>>>);

#[derive(Clone)]
pub(super) struct KeptObject {
    pub(super) state: Value,
    pub(super) private: Private,
    pub(super) usable: bool,
}

impl Context {
    /// A context that is cancelled by `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop: stop.child_token(),
            interrupt: stop,
            ..Self::default()
        }
    }

    /// Records what exists now, before the next step that may fail. An error, a
    /// panic, or the end of the operation's time after this does not lose the
    /// object: without another answer this is what goes into the state, with
    /// what is in [`private`](Self::private) now.
    ///
    /// An error after it taints a new object: the next apply makes it anew. For
    /// one that is of use already there is [`keep_usable`](Self::keep_usable).
    pub fn keep(&mut self, state: &impl Model) {
        self.record(state.encode(), false);
    }

    /// Like [`keep`](Self::keep), for an object that is of use as it is. What
    /// goes wrong in its create after this is a warning, whatever it was: the
    /// next plan shows what is left to do, and nobody loses the object over it.
    pub fn keep_usable(&mut self, state: &impl Model) {
        self.record(state.encode(), true);
    }

    /// Takes back what was recorded: the object was removed again.
    pub fn forget(&mut self) {
        self.kept.take();
    }

    /// Why work is to stop, if it is.
    pub fn stopped(&self) -> Option<Stop> {
        if self.expired.is_cancelled() {
            Some(Stop::TimedOut)
        } else if self.stop.is_cancelled() {
            Some(Stop::Interrupted)
        } else {
            None
        }
    }

    /// What a person does about an operation that had too little time, when it
    /// had: sentences that name the argument. They are added to errors by
    /// themselves; a warning takes them from here.
    pub fn advice(&self) -> Option<String> {
        let limit = self.limit.filter(|_| self.expired.is_cancelled());
        limit.map(|limit| limit.advice())
    }

    /// Adds a warning to the answer.
    pub fn warn(&mut self, warning: Diagnostic) {
        self.warnings.push(warning);
    }
    /// Takes the warnings out.
    pub fn take_warnings(&mut self) -> Diagnostics {
        std::mem::take(&mut self.warnings)
    }

    /// Starts the clock of an operation.
    pub(super) fn start(&mut self, limit: Limit) -> Clock {
        self.deadline = Instant::now().checked_add(limit.duration);
        self.limit = Some(limit);
        self.clock()
    }

    /// What ends the call in time.
    pub(super) fn clock(&self) -> Clock {
        Clock {
            deadline: self.deadline,
            stop: self.stop.clone(),
            interrupt: self.interrupt.clone(),
            expired: self.expired.clone(),
        }
    }

    /// Errors with what a person does about the time, if that was the reason.
    pub(super) fn with_advice(&self, diagnostics: Diagnostics) -> Diagnostics {
        let Some(advice) = self.advice() else {
            return diagnostics;
        };
        let mut diagnostics: Vec<_> = diagnostics.into_iter().collect();
        let is_error = |diagnostic: &&mut Diagnostic| diagnostic.severity == Severity::Error;
        if let Some(last) = diagnostics.iter_mut().rfind(is_error) {
            last.detail = format!("{}\n\n{advice}", last.detail.trim_end());
        }
        diagnostics.into_iter().collect()
    }

    /// The error about a call that did not end by itself when it had to.
    pub(super) fn timed_out(&self) -> Diagnostics {
        let name = self
            .limit
            .map_or("operation", |limit| limit.operation.name());
        let detail = format!("The {name} did not end when its time was over, and was given up.");
        Diagnostic::error("Operation timed out", detail).into()
    }

    fn record(&mut self, state: Value, usable: bool) {
        let private = self.private.clone();
        let mut kept = self.kept.lock();
        // What is of use once stays so.
        let usable = usable || kept.as_ref().is_some_and(|kept| kept.usable);
        *kept = Some(KeptObject {
            state,
            private,
            usable,
        });
    }
}

impl Kept {
    /// Whether something was recorded.
    pub fn is_empty(&self) -> bool {
        self.lock().is_none()
    }

    pub(super) fn take(&self) -> Option<KeptObject> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<KeptObject>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeptObject {
    /// A state may hold secrets that its model would hide.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptObject")
            .field("usable", &self.usable)
            .finish_non_exhaustive()
    }
}

/// Ends a call when its time is over.
pub(super) struct Clock {
    deadline: Option<Instant>,
    stop: CancellationToken,
    interrupt: CancellationToken,
    expired: CancellationToken,
}

impl Clock {
    /// Runs `work`; when its time is over, says so to it by the stop token.
    /// Work that does not listen is given up a moment later, as soon as
    /// `may_be_given_up` agrees: `None`.
    pub(super) async fn run<F: Future>(
        self,
        work: F,
        may_be_given_up: impl Fn() -> bool,
    ) -> Option<F::Output> {
        let mut work = pin!(work);
        let Some(deadline) = self.deadline else {
            return Some(work.await);
        };
        tokio::select! {
            biased;
            output = &mut work => return Some(output),
            () = tokio::time::sleep_until(deadline.into()) => {}
        }
        // An interrupt that came first is the reason, though work went on.
        if !self.interrupt.is_cancelled() {
            self.expired.cancel();
            self.stop.cancel();
        }
        loop {
            tokio::select! {
                biased;
                output = &mut work => return Some(output),
                () = tokio::time::sleep(GRACE) => {}
            }
            if self.expired.is_cancelled() && may_be_given_up() {
                tracing::warn!("the operation did not end in time, and is given up");
                return None;
            }
        }
    }
}

/// How long work may take to end after it was told to: an answer that is on its
/// way should arrive.
const GRACE: Duration = Duration::from_secs(1);

impl fmt::Debug for Private {
    /// The keys: what is under them is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Private {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }
    /// Sets the value of a key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.insert(key.into(), value.into());
    }
    /// Forgets a key.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The bytes that the host stores; none when there is nothing to remember.
    pub fn encode(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let values = self.0.iter();
        let values = values.map(|(key, value)| (key.clone(), STANDARD.encode(value).into()));
        let values: serde_json::Map<String, serde_json::Value> = values.collect();
        serde_json::json!({ "version": VERSION, "values": values })
            .to_string()
            .into_bytes()
    }
    /// What [`encode`](Self::encode) gave. Anything else, such as the private
    /// state of another provider that an object came from, is nothing to
    /// remember: private state may be lost at any time.
    pub fn decode(bytes: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else {
            return Self::default();
        };
        if json["version"] != VERSION {
            return Self::default();
        }
        let values = json["values"].as_object().into_iter().flatten();
        Self(
            values
                .filter_map(|(key, value)| {
                    Some((key.clone(), STANDARD.decode(value.as_str()?).ok()?))
                })
                .collect(),
        )
    }
}

/// Raised when the form changes; older forms are then read here.
const VERSION: i64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{ApplyResponse, sample};

    /// What was remembered is there again, and nothing is stored for nothing.
    #[test]
    fn private_round_trip() {
        let mut private = Private::default();
        assert!(private.encode().is_empty());
        private.set("tags", &b"\x00\xff"[..]);
        private.set("other", "text");
        assert_eq!(Private::decode(&private.encode()), private);
        assert_eq!(private.get("tags"), Some(&b"\x00\xff"[..]));
        private.remove("tags");
        private.remove("other");
        assert!(private.is_empty());
        expect_test::expect![[r#"{"values":{"a":"Yg=="},"version":1}"#]].assert_eq(
            &String::from_utf8_lossy(&{
                private.set("a", "b");
                private.encode()
            }),
        );
    }

    /// Private state of others, or of a later version, is nothing.
    #[test]
    fn private_of_others() {
        for bytes in [
            &b""[..],
            b"\xff",
            b"null",
            b"[]",
            b"{}",
            br#"{"version":1}"#,
            br#"{"version":1,"values":[]}"#,
            br#"{"version":2,"values":{"a":"Yg=="}}"#,
            br#"{"version":1,"values":{"a":1,"b":"%%"}}"#,
            br#"{"schema_version":"1"}"#,
        ] {
            assert!(Private::decode(bytes).is_empty(), "{bytes:?}");
        }
    }

    /// Somebody who logs a context learns no secret.
    #[test]
    fn contexts_print_no_secrets() {
        let mut cx = Context::default();
        cx.private.set("token", "hunter2");
        cx.kept = Kept(Arc::new(Mutex::new(Some(KeptObject {
            state: "hunter2".into(),
            private: cx.private.clone(),
            usable: true,
        }))));
        let text = format!("{cx:?}");
        assert!(text.contains("token") && text.contains("usable"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("104"), "{text}");
    }

    async fn created(act: &str) -> ApplyResponse {
        let (server, _) = sample::server("here".into()).await;
        sample::apply(
            &server,
            &sample::config(act, &[("read", "1m")]),
            &Value::Null,
        )
        .await
    }

    /// An error after something was recorded does not lose it: it is in the
    /// answer, with its identity and what was remembered, and nothing unknown.
    #[tokio::test]
    async fn what_was_kept_is_in_the_answer() {
        let response = created("keep remember fail").await;
        let kept = sample::stored("keep remember fail", &[("read", "1m")]);
        let kept = sample::changed(kept, &[("revision", Value::Null)]);
        assert_eq!(response.state, kept);
        assert_eq!(response.private.get("step"), Some(&b"later"[..]));
        assert_eq!(response.identity.get("id"), Some(&"object-1".into()));
        assert_eq!(
            sample::lines(&response.diagnostics),
            "Error: Cannot go on: It failed."
        );
        assert_eq!(created("fail").await.state, Value::Null);
        assert_eq!(created("keep forget fail").await.state, Value::Null);
    }

    /// An object that is of use is not tainted: what went wrong is a warning.
    #[tokio::test]
    async fn what_is_usable_is_not_tainted() {
        for act in ["usable fail", "usable keep fail"] {
            let response = created(act).await;
            assert_eq!(response.state.get("id"), Some(&"object-1".into()));
            assert_eq!(
                sample::lines(&response.diagnostics),
                "Warning: Cannot go on: It failed."
            );
        }
        // An update taints nothing, so its error is one.
        let (server, _) = sample::server("here".into()).await;
        let config = sample::config("usable fail", &[]);
        let response = sample::apply(&server, &config, &sample::stored("", &[])).await;
        assert!(response.diagnostics.has_errors());
        assert_eq!(response.state.get("act"), Some(&"usable fail".into()));
    }

    /// A panic is answered with what was recorded before it.
    #[tokio::test]
    async fn a_panic_loses_nothing() {
        let (server, _) = sample::server("here".into()).await;
        for (act, exists, errors) in [
            ("panic", false, true),
            ("keep remember panic", true, true),
            ("usable panic", true, false),
        ] {
            let config = sample::config(act, &[]);
            let request = sample::change(&server, &config, &Value::Null).await;
            let work = std::panic::AssertUnwindSafe(server.apply_resource("ocir_object", &request));
            assert!(futures_util::FutureExt::catch_unwind(work).await.is_err());
            let told = Diagnostic::error("The provider panicked", "There.").into();
            let response = server.after_panic("ocir_object", &request, told);
            assert_eq!(!response.state.is_null(), exists, "{act}");
            assert_eq!(!response.identity.is_null(), exists, "{act}");
            assert_eq!(response.diagnostics.has_errors(), errors, "{act}");
            // As it was when the object was recorded.
            let step = exists.then_some(&b"made"[..]);
            assert_eq!(response.private.get("step"), step, "{act}");
        }
    }

    proptest::proptest! {
        /// Whatever a host gives back as private state, it is what was kept or nothing.
        #[test]
        fn any_private_state(
            kept in proptest::collection::btree_map("[a-z]{1,8}", proptest::collection::vec(proptest::prelude::any::<u8>(), 0..30), 0..4),
            other in crate::spoilt::json([serde_json::json!({"version": 1, "values": {"push": "e30="}, "schema_version": "0"})]),
            text in crate::spoilt::text(&["{\"version\":1,\"values\":{\"push\":\"e30=\"}}"]),
        ) {
            let private = Private(kept);
            proptest::prop_assert_eq!(&Private::decode(&private.encode()).0, &private.0);
            for bytes in [other.to_string(), text] {
                let read = Private::decode(bytes.as_bytes());
                proptest::prop_assert_eq!(&Private::decode(&read.encode()).0, &read.0);
            }
        }
    }
}
