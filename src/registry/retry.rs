//! The attempts of one call.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Error, client::Inner};

/// Counts attempts and waits between them, as the policy says. The loops are
/// the callers' own: what a new attempt has to do first differs.
pub(super) struct Attempts<'a> {
    inner: &'a Inner,
    made: u32,
    since: Instant,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            made: 1,
            since: Instant::now(),
        }
    }
    /// Attempts made, the current one included.
    pub(super) fn made(&self) -> u32 {
        self.made
    }
    /// Counts the time from here: the policy's bound is meant for waiting, and
    /// an upload that moves may take longer.
    pub(super) fn restart_clock(&mut self) {
        self.since = Instant::now();
    }
    /// Waits for the next attempt; `false` when there is none.
    pub(super) async fn again(&mut self, error: &Error) -> bool {
        if error.is_unreachable()
            && self.made >= ATTEMPTS_TO_REACH
            && !self.inner.reached.load(Ordering::Relaxed)
        {
            return false;
        }
        let policy = &self.inner.retry;
        let elapsed = self.since.elapsed();
        let asked = error.retry_after();
        let Some(delay) = policy.next(self.made, elapsed, rand::random(), asked) else {
            return false;
        };
        let delay = if policy.wait { delay } else { Duration::ZERO };
        tracing::info!(
            attempt = self.made,
            wait_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            reason = %error,
            "Sending a request to the registry again"
        );
        self.made += 1;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        true
    }
}

/// A host that never answered is given up after this many attempts: its name
/// may be misspelt, which no time heals.
const ATTEMPTS_TO_REACH: u32 = 3;
