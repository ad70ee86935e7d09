//! The attempts of one call, or of all the calls that bring one blob there.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Client, Error};

/// Counts attempts and waits between them, as the policy says. The loops are
/// the callers' own: what a new attempt has to do first differs.
pub(super) struct Attempts<'a> {
    client: &'a Client,
    made: u32,
    since: Instant,
    /// The wait that the registry asked for, when it was too long.
    too_late: Option<Duration>,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self {
            client,
            made: 1,
            since: Instant::now(),
            too_late: None,
        }
    }
    /// The same after so many attempts that came to nothing.
    pub(super) fn after(client: &'a Client, made: u32) -> Self {
        Self {
            made,
            ..Self::new(client)
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
        let inner = &self.client.inner;
        if error.is_unreachable()
            && inner.retry.gives_up_on_unreached(self.made)
            && !inner.reached.load(Ordering::Relaxed)
        {
            return false;
        }
        // Who still works after a stop finishes what is in flight.
        if self.client.stop.is_cancelled() {
            return false;
        }
        let policy = &inner.retry;
        let elapsed = self.since.elapsed();
        let asked = error.retry_after();
        let Some(delay) = policy.next(self.made, elapsed, rand::random(), asked) else {
            let left = policy.max_elapsed.saturating_sub(elapsed);
            self.too_late = asked.filter(|asked| self.made < policy.max_attempts && *asked > left);
            return false;
        };
        let delay = if policy.wait { delay } else { Duration::ZERO };
        tracing::info!(
            host = self.client.host(),
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
    /// The error of the last attempt, with what is to be said about them all.
    pub(super) fn give_up(&self, error: Error) -> Error {
        let error = error.after(self.made);
        match self.too_late {
            Some(asked) => error.too_late(asked, self.client.inner.retry.max_elapsed),
            None => error,
        }
    }
}
