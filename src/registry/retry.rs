//! The attempts of one call, or of all the calls that bring one blob there; and what
//! all of them know of hosts that are gone.

use std::{
    collections::HashMap,
    sync::{Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Client, Error, client::lock};
use crate::transport::CONNECT_TIMEOUT;

/// Counts attempts and waits between them, as the policy says. The loops are
/// the callers' own: what a new attempt has to do first differs.
pub(super) struct Attempts<'a> {
    client: &'a Client,
    made: u32,
    since: Instant,
    /// When the last wait was over.
    began: Instant,
    /// The wait that the registry asked for, when it was too long.
    too_late: Option<Duration>,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self {
            client,
            made: 1,
            since: Instant::now(),
            began: Instant::now(),
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
        let left = match error.unreached_host() {
            Some(host) => self.left_for(host),
            None => Duration::MAX,
        };
        if left.is_zero() {
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
        // A host that comes back has until the last moment.
        let delay = if policy.wait {
            delay.min(left)
        } else {
            Duration::ZERO
        };
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
        self.began = Instant::now();
        true
    }
    /// For how long yet a host is tried that there was no connection with.
    fn left_for(&self, host: &str) -> Duration {
        let inner = &self.client.inner;
        // Who said how long to try means also a network that comes back late.
        if inner.retry.is_by_time() {
            return Duration::MAX;
        }
        let now = Instant::now();
        // What came before was another call's: connecting takes no longer.
        let began = match now.checked_sub(CONNECT_TIMEOUT) {
            Some(earliest) => self.began.max(earliest),
            None => self.began,
        };
        inner
            .silences
            .unreached(host, began, now, inner.patience.unreachable)
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

/// Since when hosts give no sign of life. What one call found out, all know: each blob
/// of each push would wait for the same network otherwise.
#[derive(Default)]
pub(super) struct Silences(Mutex<HashMap<String, Host>>);

#[derive(Default)]
struct Host {
    /// The last sign of life.
    heard: Option<Instant>,
    /// When a wait for the next one began that was in vain.
    silent: Option<Instant>,
    /// When a connection was tried for the first time since, and there was none.
    unreached: Option<Instant>,
    /// The last failure.
    failed: Option<Instant>,
}

impl Silences {
    /// The host answers, or takes what is sent to it.
    pub(super) fn heard(&self, host: &str, now: Instant) {
        let mut hosts = lock(&self.0);
        let heard = Host {
            heard: Some(now),
            ..Host::default()
        };
        match hosts.get_mut(host) {
            Some(known) => *known = heard,
            None => {
                if hosts.len() >= MOST_HOSTS {
                    hosts.retain(|_, host| host.silent.is_some());
                }
                hosts.insert(host.to_owned(), heard);
            }
        }
    }
    /// It was waited for since then, and gave no sign of life.
    pub(super) fn silent(&self, host: &str, since: Instant, now: Instant) {
        lock(&self.0)
            .entry(host.to_owned())
            .or_default()
            .fail(since, now);
    }
    /// An attempt to connect that began then came to nothing. For how long yet it is
    /// worth trying, when a silence of `patience` is enough.
    pub(super) fn unreached(
        &self,
        host: &str,
        began: Instant,
        now: Instant,
        patience: Duration,
    ) -> Duration {
        let mut hosts = lock(&self.0);
        let host = hosts.entry(host.to_owned()).or_default();
        let silent = host.fail(began, now);
        let unreached = *host.unreached.get_or_insert(began);
        let since = |then: Instant| now.saturating_duration_since(then);
        let left = patience.saturating_sub(since(silent));
        // After a long silence, too, it is tried more than once: a server that lost
        // everybody's connections is starting again.
        left.max((patience / 10).saturating_sub(since(unreached)))
    }
}

impl Host {
    /// Takes down a failure; says since when the host is silent.
    fn fail(&mut self, since: Instant, now: Instant) -> Instant {
        let forgotten = self
            .failed
            .is_some_and(|failed| now.saturating_duration_since(failed) > REMEMBERED);
        if forgotten {
            // Nobody asked meanwhile.
            (self.silent, self.unreached) = (None, None);
        }
        self.failed = Some(now);
        let since = self.heard.map_or(since, |heard| heard.max(since));
        let silent = self.silent.map_or(since, |silent| silent.min(since));
        self.silent = Some(silent);
        silent
    }
}

/// How long a failure says something of a host that nobody has asked since.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Hosts that are remembered: the registry, and where it sends those who upload.
const MOST_HOSTS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A host that cannot be reached is tried until half a minute after its last sign
    /// of life, whoever asks. One that gave none for longer before anybody saw that it
    /// cannot be reached is tried for some seconds.
    #[test]
    fn a_host_that_is_gone_is_given_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let silences = Silences::default();
        let left = |began, now| {
            let left = silences.unreached("a", at(began), at(now), PATIENCE);
            left.as_secs()
        };
        silences.heard("a", at(5));
        // The attempt began before somebody else was answered.
        assert_eq!(left(0, 10), 25);
        assert_eq!(left(34, 34), 1);
        assert_eq!(left(35, 35), 0);
        assert_eq!(left(36, 36), 0, "who comes later is told at once");
        let other = silences.unreached("b", at(36), at(36), PATIENCE);
        assert_eq!(other, PATIENCE, "it is about one host");
        silences.heard("a", at(37));
        assert_eq!(left(40, 40), 30, "it was back");
        assert_eq!(left(200, 200), 30, "nobody asked meanwhile");

        // A connection that took nothing, at a host that was heard in between.
        silences.heard("a", at(300));
        silences.silent("a", at(290), at(350));
        assert_eq!(left(351, 351), 3);
        assert_eq!(left(354, 354), 0);
        silences.heard("a", at(360));
        silences.silent("a", at(350), at(370));
        assert_eq!(left(371, 371), 19);
    }

    /// What is known of hosts does not grow without end.
    #[test]
    fn hosts_are_forgotten() {
        let silences = Silences::default();
        let now = Instant::now();
        silences.silent("gone", now, now);
        for number in 0..3 * MOST_HOSTS {
            silences.heard(&number.to_string(), now);
        }
        assert!(lock(&silences.0).len() <= MOST_HOSTS);
        assert!(lock(&silences.0).contains_key("gone"));
    }
}
