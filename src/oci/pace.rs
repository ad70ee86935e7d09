//! How fast a client may ask a service that has said "too many requests".
//!
//! Terraform changes many things at once. When the service throttles, each
//! call for itself would wait and come back, and most would be turned away
//! again, until the last of them have used up their attempts. So the clones of
//! a client share this: after a 429 nobody asks before the time that the service
//! named, and from then on they queue, with a gap between two requests that is
//! doubled when it was too short and melts with every success.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The pace for one service.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Whoever has it is the next to ask. It is handed on in order.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

impl Pace {
    /// Waits until a request may be sent. May be dropped at any time.
    pub(super) async fn admit(&self) {
        if !self.with(|state| state.is_slowed(Instant::now())) {
            return;
        }
        let _turn = self.turn.lock().await;
        while let Some(wait) = self.with(|state| state.take(Instant::now())) {
            tokio::time::sleep(wait).await;
        }
    }

    /// A request that was sent at a moment was turned away.
    pub(super) fn throttled(&self, sent: Instant, asked: Option<Duration>) {
        self.with(|state| state.throttled(sent, asked, Instant::now()));
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.with(State::answered);
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // Numbers that a panic cannot leave half changed.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Default)]
struct State {
    /// Nobody asks before this.
    hold_until: Option<Instant>,
    /// Between two requests.
    gap: Duration,
    /// When the gap was last made longer.
    raised: Option<Instant>,
    /// When the last request was let through.
    last: Option<Instant>,
}

impl State {
    /// Whether requests have to queue.
    fn is_slowed(&mut self, now: Instant) -> bool {
        let calm = self
            .raised
            .is_none_or(|raised| now.saturating_duration_since(raised) > MEMORY);
        if calm {
            self.gap = Duration::ZERO;
        }
        !self.gap.is_zero() || self.hold_until.is_some_and(|until| until > now)
    }

    /// Lets a request through, or says how long it has to wait.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        let next = self.last.map(|last| last + self.gap);
        let wait = [self.hold_until, next]
            .into_iter()
            .flatten()
            .max()
            .map(|at| at.saturating_duration_since(now))
            .filter(|wait| !wait.is_zero());
        if wait.is_none() {
            self.last = Some(now);
        }
        wait
    }

    fn throttled(&mut self, sent: Instant, asked: Option<Duration>, now: Instant) {
        if let Some(asked) = asked {
            // Who is asked to wait for longer gives up or waits by itself.
            let until = now + asked.min(MAX_HOLD);
            self.hold_until = self.hold_until.max(Some(until));
        }
        // Those that were on their way when the gap was made longer say
        // nothing about the new one.
        if self.raised.is_none_or(|raised| sent >= raised) {
            self.gap = (self.gap * 2).clamp(MIN_GAP, MAX_GAP);
            self.raised = Some(now);
        }
    }

    fn answered(&mut self) {
        self.gap -= self.gap / 64;
        if self.gap < MIN_GAP / 4 {
            self.gap = Duration::ZERO;
        }
    }
}

/// The first gap: 50 requests a second.
const MIN_GAP: Duration = Duration::from_millis(20);
/// The longest gap: two hundred requests take less than two minutes.
const MAX_GAP: Duration = Duration::from_millis(500);
/// For how long one answer may stop all others.
const MAX_HOLD: Duration = Duration::from_secs(60);
/// For how long a gap is kept when nobody is turned away any more.
const MEMORY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// Nobody waits for a service that does not throttle.
    #[test]
    fn full_speed_at_first() {
        let now = Instant::now();
        let mut state = State::default();
        assert!(!state.is_slowed(now));
        assert_eq!(state.take(now), None);
        assert_eq!(state.take(now), None);
        state.answered();
        assert!(!state.is_slowed(now));
    }

    /// All hold for as long as the service says, and go one after the other then.
    #[test]
    fn holds_and_queues() {
        let now = Instant::now();
        let mut state = State::default();
        state.throttled(now, Some(Duration::from_secs(2)), now);
        assert!(state.is_slowed(now));
        assert_eq!(state.take(now), Some(Duration::from_secs(2)));
        let later = now + Duration::from_secs(2);
        assert_eq!(state.take(later), None);
        assert_eq!(state.take(later), Some(MIN_GAP));
        assert_eq!(state.take(later + MIN_GAP), None);
        // A shorter wish does not shorten the wait that began.
        state.throttled(later, Some(Duration::from_secs(9)), later);
        state.throttled(later, Some(Duration::from_secs(1)), later);
        assert_eq!(state.take(later), Some(Duration::from_secs(9)));
    }

    /// One storm of refusals is one reason to go slower, not a hundred.
    #[test]
    fn one_storm_is_one_step() {
        let now = Instant::now();
        let mut state = State::default();
        for _ in 0..100 {
            state.throttled(now, None, now + milliseconds(5));
        }
        assert_eq!(state.gap, MIN_GAP);
        // What was sent at the new pace and is turned away says something new.
        state.throttled(now + milliseconds(30), None, now + milliseconds(40));
        assert_eq!(state.gap, MIN_GAP * 2);
        for step in 1..20 {
            let at = now + Duration::from_secs(step);
            state.throttled(at, None, at);
        }
        assert_eq!(state.gap, MAX_GAP);
    }

    /// The gap melts with success, and is forgotten after a minute.
    #[test]
    fn speed_comes_back() {
        let now = Instant::now();
        let mut state = State::default();
        state.throttled(now, None, now);
        let mut answers = 0;
        while state.is_slowed(now) {
            state.answered();
            answers += 1;
        }
        assert!((50..150).contains(&answers), "{answers}");

        state.throttled(now + milliseconds(1), None, now + milliseconds(1));
        assert!(state.is_slowed(now + Duration::from_secs(59)));
        assert!(!state.is_slowed(now + Duration::from_secs(62)));
    }

    /// No answer stops a client for longer than a minute, whatever it says.
    #[test]
    fn holds_are_bounded() {
        let now = Instant::now();
        let mut state = State::default();
        state.throttled(now, Some(Duration::MAX), now);
        assert_eq!(state.take(now), Some(MAX_HOLD));
    }

    /// Who leaves the queue does not hold it up.
    #[tokio::test]
    async fn waiting_may_be_given_up() {
        let pace = Pace::default();
        pace.throttled(Instant::now(), Some(milliseconds(100)));
        let start = Instant::now();
        let given_up = tokio::time::timeout(milliseconds(10), pace.admit()).await;
        assert!(given_up.is_err());
        pace.admit().await;
        assert!(start.elapsed() >= milliseconds(80), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
