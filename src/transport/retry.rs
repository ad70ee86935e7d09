//! When a failed request is sent again, and how long before.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, header};
use tokio_util::sync::CancellationToken;

/// When a failed request is sent again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// No new attempt begins after this long.
    pub max_elapsed: Duration,
    /// Upper bound of one wait, unless the server asks for a longer one.
    pub max_delay: Duration,
    /// Whether to wait at all; tests do not.
    pub wait: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            max_elapsed: Duration::from_secs(600),
            max_delay: Duration::from_secs(30),
            wait: true,
        }
    }
}

impl RetryPolicy {
    /// One attempt and no second one, for those who switched retries off. What
    /// is not a retry goes on: a credential that was refused is renewed once,
    /// and a change of IAM is sent on to the home region.
    pub fn none() -> Self {
        Self {
            max_attempts: 1,
            max_elapsed: Duration::ZERO,
            ..Self::default()
        }
    }

    /// As many attempts as fit into a time, for those who say how long. The
    /// waits grow as usual, so that an hour is some 120 attempts. More than a
    /// day is a day: nothing is tried for ever.
    pub fn lasting(time: Duration) -> Self {
        Self {
            max_attempts: u32::MAX,
            max_elapsed: time.min(Duration::from_secs(24 * 60 * 60)),
            ..Self::default()
        }
    }

    /// The same decisions without the waits, for tests.
    pub fn without_waiting() -> Self {
        Self {
            wait: false,
            ..Self::default()
        }
    }

    /// Whether a failed request is ever sent again.
    pub fn is_none(&self) -> bool {
        self.max_attempts <= 1
    }

    /// Whether a host that nobody has ever reached was tried often enough. It may
    /// be misspelt. Who said how long to try means also a network that comes up
    /// slowly.
    pub fn gives_up_on_unreached(&self, attempts: u32) -> bool {
        !self.is_by_time() && attempts >= ATTEMPTS_TO_REACH
    }

    /// Whether somebody said how long to try; see [`RetryPolicy::lasting`].
    pub fn is_by_time(&self) -> bool {
        self.max_attempts == u32::MAX
    }

    /// How long to wait after a failed attempt, counted from one: twice as
    /// long each time, with up to a second of chance so that clients that
    /// failed together do not come back together.
    ///
    /// `chance` is between 0 and 1. What the server asked for goes before
    /// everything else; the chance comes on top of it, for it tells the same
    /// number to all whom it turns away.
    pub fn delay(&self, attempt: u32, chance: f64, asked: Option<Duration>) -> Duration {
        let chance = Duration::from_secs_f64(chance.clamp(0.0, 1.0));
        if let Some(asked) = asked {
            return asked.saturating_add(chance);
        }
        let doubled = 2_u64.saturating_pow(attempt.saturating_sub(1));
        Duration::from_secs(doubled)
            .saturating_add(chance)
            .min(self.max_delay)
    }

    /// Whether there is another attempt after a failed one, and how long to
    /// wait before it. `None` when it would be one too many or come too late,
    /// which a server can bring about with a long `Retry-After`.
    pub fn next(
        &self,
        attempt: u32,
        elapsed: Duration,
        chance: f64,
        asked: Option<Duration>,
    ) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let left = self.max_elapsed.checked_sub(elapsed)?;
        let delay = self.delay(attempt, chance, asked);
        match asked {
            // The chance on top is ours and makes nothing too late.
            Some(asked) if asked <= left => Some(delay.min(left)),
            _ => (delay <= left).then_some(delay),
        }
    }
}

/// How often a host is tried that nobody has reached yet.
const ATTEMPTS_TO_REACH: u32 = 3;

/// The judgement that a failure is worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// Why, for the log. No secret, no URL with its query.
    pub reason: String,
    /// How long the server asked to wait.
    pub after: Option<Duration>,
}

/// The run was stopped, so there is nothing to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Stopped;

/// What becomes of a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No repetition helps.
    Final,
    /// There is another attempt.
    Again {
        /// Why, for the log. No secret, no URL with its query.
        reason: String,
        /// How long to wait before it.
        delay: Duration,
    },
    /// Another attempt would be worth it, and there were enough, or it would
    /// come too late.
    GiveUp {
        /// Why it would be worth it, for the log.
        reason: String,
    },
}

/// How far the attempts have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Attempts so far, the failed one included.
    pub attempts: u32,
    /// Time since the first one began. Waits that were left out, as tests
    /// leave them out, count as if they had been waited.
    pub elapsed: Duration,
    /// Of that, the waits that were left out.
    pub skipped: Duration,
}

/// Carries out an operation, and again when it fails and `judge` says that it
/// is worth it.
///
/// `attempt` is given the number of the attempt, from one, and makes a request
/// of its own each time (another date, another signature). Waits end at once
/// when `stop` is cancelled; no attempt begins after that. A running attempt is
/// left to finish: whether it may be dropped only the caller knows.
pub async fn retry<T, E, Attempt, Running>(
    policy: &RetryPolicy,
    operation: &str,
    stop: &CancellationToken,
    attempt: Attempt,
    judge: impl Fn(&E) -> Option<Again>,
) -> Result<T, E>
where
    E: From<Stopped>,
    Attempt: FnMut(u32) -> Running,
    Running: Future<Output = Result<T, E>>,
{
    repeat(policy.wait, operation, stop, attempt, |error, progress| {
        let Some(Again { reason, after }) = judge(error) else {
            return Verdict::Final;
        };
        match policy.next(progress.attempts, progress.elapsed, rand::random(), after) {
            Some(delay) => Verdict::Again { reason, delay },
            None => Verdict::GiveUp { reason },
        }
    })
    .await
}

/// The same for a caller that has more than one policy: `decide` is told how
/// far it is and says what comes next. With `wait` false nothing is waited for.
pub async fn repeat<T, E, Attempt, Running>(
    wait: bool,
    operation: &str,
    stop: &CancellationToken,
    mut attempt: Attempt,
    decide: impl Fn(&mut E, Progress) -> Verdict,
) -> Result<T, E>
where
    E: From<Stopped>,
    Attempt: FnMut(u32) -> Running,
    Running: Future<Output = Result<T, E>>,
{
    let start = Instant::now();
    let mut attempts = 1;
    let mut skipped = Duration::ZERO;
    loop {
        if stop.is_cancelled() {
            return Err(Stopped.into());
        }
        let mut error = match attempt(attempts).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let progress = Progress {
            attempts,
            elapsed: start.elapsed().saturating_add(skipped),
            skipped,
        };
        let (reason, delay) = match decide(&mut error, progress) {
            Verdict::Final => return Err(error),
            Verdict::GiveUp { reason } => {
                tracing::warn!(
                    operation,
                    attempt = attempts,
                    reason,
                    "Giving up on a request"
                );
                return Err(error);
            }
            Verdict::Again { reason, delay } => (reason, delay),
        };
        let waited = if wait { delay } else { Duration::ZERO };
        skipped = skipped.saturating_add(delay - waited);
        tracing::info!(
            operation,
            attempt = attempts,
            wait_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            reason,
            "Sending a request again"
        );
        if !waited.is_zero() {
            tokio::select! {
                () = stop.cancelled() => return Err(Stopped.into()),
                () = tokio::time::sleep(waited) => {}
            }
        }
        attempts = attempts.saturating_add(1);
    }
}

/// Whether a status says that the same request may succeed later: every 429,
/// and every 5xx but 501, which no time heals.
pub fn is_transient_status(status: u16) -> bool {
    status == 429 || ((500..600).contains(&status) && status != 501)
}

/// How long an answer asks to wait: seconds, or a date.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    // A date that has passed means now.
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        collections::VecDeque,
        sync::{Arc, Mutex},
    };

    use expect_test::expect;
    use http::HeaderValue;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The waits are doubled, have a second of chance, and are bounded.
    #[test]
    fn delays_double_up_to_the_bound() {
        let policy = RetryPolicy::default();
        let delays = |chance: f64| -> Vec<f64> {
            (1..=7)
                .map(|attempt| policy.delay(attempt, chance, None).as_secs_f64())
                .collect()
        };
        assert_eq!(delays(0.0), [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(delays(0.5), [1.5, 2.5, 4.5, 8.5, 16.5, 30.0, 30.0]);
        assert_eq!(
            policy.delay(u32::MAX, 1.0, None),
            Duration::from_secs(30),
            "no overflow"
        );
        assert_eq!(policy.delay(0, 0.0, None), Duration::from_secs(1));
    }

    /// What the server asks for is obeyed, shorter or longer than our own wait,
    /// and those whom it asks together do not come back together.
    #[test]
    fn the_server_says_how_long() {
        let policy = RetryPolicy::default();
        let asked = |seconds, chance| policy.delay(1, chance, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(0, 0.0), Duration::ZERO);
        assert_eq!(asked(45, 0.0), Duration::from_secs(45));
        assert_eq!(asked(45, 0.5), Duration::from_millis(45_500));
        assert_eq!(asked(45, 7.0), Duration::from_secs(46), "never much more");
    }

    /// There is an end: in number, and in time.
    #[test]
    fn attempts_end() {
        let policy = RetryPolicy::default();
        let seconds = Duration::from_secs;
        assert_eq!(policy.next(7, seconds(0), 0.0, None), Some(seconds(30)));
        assert_eq!(policy.next(8, seconds(0), 0.0, None), None);
        assert_eq!(policy.next(1, seconds(599), 0.0, None), Some(seconds(1)));
        assert_eq!(policy.next(1, seconds(599), 0.5, None), None);
        assert_eq!(policy.next(1, seconds(0), 0.0, Some(seconds(601))), None);
        assert_eq!(
            policy.next(1, seconds(0), 0.0, Some(seconds(u64::MAX))),
            None
        );
        assert_eq!(
            policy.next(1, seconds(590), 0.5, Some(seconds(10))),
            Some(seconds(10)),
            "the chance makes nothing too late"
        );
        assert_eq!(policy.next(1, seconds(601), 0.0, Some(seconds(0))), None);
    }

    /// Retries that are switched off: one attempt. Retries for a time: as many
    /// as fit into it, and none that comes later.
    #[tokio::test]
    async fn attempts_by_time() {
        let none = RetryPolicy::none();
        assert!(none.is_none() && !RetryPolicy::default().is_none());
        assert_eq!(none.next(1, Duration::ZERO, 0.0, None), None);
        assert_eq!(
            none.next(1, Duration::ZERO, 0.0, Some(Duration::ZERO)),
            None
        );

        let seconds = Duration::from_secs;
        let minute = RetryPolicy::lasting(seconds(60));
        assert_eq!(minute.next(1, seconds(0), 0.0, None), Some(seconds(1)));
        assert_eq!(minute.next(1000, seconds(30), 0.0, None), Some(seconds(30)));
        assert_eq!(minute.next(2, seconds(59), 0.0, None), None);
        assert_eq!(minute.next(1, seconds(0), 0.0, Some(seconds(61))), None);
        assert!(
            RetryPolicy::lasting(Duration::ZERO)
                .next(1, Duration::ZERO, 0.0, None)
                .is_none()
        );

        assert_eq!(
            RetryPolicy::lasting(Duration::MAX).max_elapsed,
            seconds(86_400)
        );

        // Without waiting the time passes all the same: 1, 2, 4, 8 and 16
        // seconds fit into a minute, with a second of chance each, 30 do not.
        let policy = RetryPolicy {
            wait: false,
            ..minute
        };
        let outcomes = vec![Err(Failure::Transient(None)); 20];
        let ran = run(&policy, &CancellationToken::new(), outcomes).await;
        assert_eq!(ran, (Err(Failure::Transient(None)), 6));
    }

    /// Statuses that are sent again, and those that are not.
    #[test]
    fn transient_statuses() {
        let transient: Vec<u16> = (100..=599)
            .filter(|status| is_transient_status(*status))
            .collect();
        assert!(
            [429, 500, 502, 503, 504]
                .iter()
                .all(|s| transient.contains(s))
        );
        assert!(
            [200, 302, 400, 401, 403, 404, 408, 409, 412, 501]
                .iter()
                .all(|s| !transient.contains(s))
        );
    }

    /// `Retry-After` comes as seconds or as a date; anything else is ignored.
    #[test]
    fn retry_after_in_both_forms() -> anyhow::Result<()> {
        let now = httpdate::parse_http_date("Fri, 02 Jan 2026 03:04:05 GMT")?;
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read(" 0 "), Some(Duration::ZERO));
        assert_eq!(
            read("Fri, 02 Jan 2026 03:05:05 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(read("Fri, 02 Jan 2026 03:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("-1"), None);
        assert_eq!(read("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
        Ok(())
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Failure {
        Transient(Option<u64>),
        Permanent,
        Stopped,
    }

    impl From<Stopped> for Failure {
        fn from(_: Stopped) -> Self {
            Failure::Stopped
        }
    }

    fn judge(failure: &Failure) -> Option<Again> {
        match failure {
            Failure::Transient(after) => Some(Again {
                reason: "a test".to_owned(),
                after: after.map(Duration::from_secs),
            }),
            _ => None,
        }
    }

    /// Runs through a list of outcomes; gives the result and the attempts made.
    async fn run(
        policy: &RetryPolicy,
        stop: &CancellationToken,
        outcomes: impl IntoIterator<Item = Result<&'static str, Failure>>,
    ) -> (Result<&'static str, Failure>, u32) {
        let outcomes = Cell::new(outcomes.into_iter().collect::<VecDeque<_>>());
        let attempts = Cell::new(0);
        let result = retry(
            policy,
            "Test",
            stop,
            |number| {
                attempts.set(number);
                let mut left = outcomes.take();
                let outcome = left.pop_front().unwrap_or(Err(Failure::Permanent));
                outcomes.set(left);
                async move { outcome }
            },
            judge,
        )
        .await;
        (result, attempts.get())
    }

    /// Two failures that pass and a success: three attempts, with the policy's
    /// waits between them.
    #[tokio::test]
    async fn waits_between_attempts() {
        let start = Instant::now();
        let policy = RetryPolicy {
            max_delay: Duration::from_millis(50),
            ..RetryPolicy::default()
        };
        let outcomes = [
            Err(Failure::Transient(None)),
            Err(Failure::Transient(None)),
            Ok("done"),
        ];
        let ran = run(&policy, &CancellationToken::new(), outcomes).await;
        assert_eq!(ran, (Ok("done"), 3));
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    /// A failure that no repetition heals is returned at once.
    #[tokio::test]
    async fn permanent_failure_is_final() {
        let outcomes = [Err(Failure::Permanent), Ok("too late")];
        let ran = run(&RetryPolicy::default(), &CancellationToken::new(), outcomes).await;
        assert_eq!(ran, (Err(Failure::Permanent), 1));
    }

    /// After eight attempts the last failure is the answer.
    #[tokio::test]
    async fn gives_up_after_the_last_attempt() {
        let outcomes = vec![Err(Failure::Transient(None)); 20];
        let policy = RetryPolicy::without_waiting();
        let ran = run(&policy, &CancellationToken::new(), outcomes).await;
        assert_eq!(ran, (Err(Failure::Transient(None)), 8));
    }

    /// The log says what is sent again, how often, when and why.
    #[tokio::test]
    async fn attempts_are_logged() -> anyhow::Result<()> {
        let log = Log::default();
        let guard = tracing::subscriber::set_default(
            tracing_subscriber::registry::Registry::default().with(log.clone()),
        );
        let policy = RetryPolicy {
            max_attempts: 2,
            ..RetryPolicy::without_waiting()
        };
        let outcomes = vec![Err(Failure::Transient(Some(7))); 2];
        let ran = run(&policy, &CancellationToken::new(), outcomes).await;
        drop(guard);
        assert_eq!(ran.1, 2);
        let lines = log.0.lock().map(|lines| lines.join("\n"));
        expect![[r#"
            INFO message=Sending a request again operation="Test" attempt=1 wait_ms=0 reason="a test"
            WARN message=Giving up on a request operation="Test" attempt=2 reason="a test""#]].assert_eq(&lines.unwrap_or_default());
        Ok(())
    }

    /// The events of a test, one line each.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Log {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            struct Line(String);
            impl tracing::field::Visit for Line {
                fn record_debug(
                    &mut self,
                    field: &tracing::field::Field,
                    value: &dyn std::fmt::Debug,
                ) {
                    self.0.push_str(&format!(" {field}={value:?}"));
                }
            }
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            if let Ok(mut lines) = self.0.lock() {
                lines.push(line.0);
            }
        }
    }

    /// A stop ends a wait of half a minute at once.
    #[tokio::test]
    async fn stop_ends_a_wait() {
        let stop = CancellationToken::new();
        let start = Instant::now();
        let policy = RetryPolicy::default();
        let outcomes = [Err(Failure::Transient(Some(30))), Ok("too late")];
        let (ran, ()) = tokio::join!(run(&policy, &stop, outcomes), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.cancel();
        });
        assert_eq!(ran, (Err(Failure::Stopped), 1));
        assert!(start.elapsed() < Duration::from_secs(10));
        let ran = run(&policy, &stop, [Ok("never asked")]).await;
        assert_eq!(ran, (Err(Failure::Stopped), 0), "nothing begins after it");
    }

    proptest::proptest! {
        /// However long an answer asks to wait, the wait is reckoned with and bounded.
        #[test]
        fn any_retry_after(
            text in crate::spoilt::text(&[
                "120", "18446744073709551615", "Fri, 02 Jan 2026 03:04:05 GMT",
                "Friday, 31-Dec-99 23:59:59 GMT", "Fri Dec 31 23:59:60 9999",
            ]),
            attempt in 0_u32..200,
        ) {
            let Ok(value) = HeaderValue::from_str(&text) else {
                return Ok(());
            };
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
            let policy = RetryPolicy::default();
            let asked = retry_after(&headers, SystemTime::now());
            if let Some(wait) = policy.next(attempt, Duration::ZERO, 1.0, asked) {
                proptest::prop_assert!(wait <= policy.max_elapsed);
            }
        }
    }
}
