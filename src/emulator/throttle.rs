//! So many requests a second, and no more.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Remembers what was let through within the last second.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    limit: Option<u32>,
    accepted: VecDeque<Instant>,
}

impl Throttle {
    pub(super) fn set(&mut self, limit: Option<u32>) {
        self.limit = limit;
        self.accepted.clear();
    }

    /// Whether a request of this moment may pass. One that may not does not count, so
    /// that a storm of repetitions ends.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let Some(limit) = self.limit else {
            return true;
        };
        while self
            .accepted
            .front()
            .is_some_and(|earlier| now.duration_since(*earlier) >= Duration::from_secs(1))
        {
            self.accepted.pop_front();
        }
        let admitted = self.accepted.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        if admitted {
            self.accepted.push_back(now);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pass within any second, refused ones do not count, and without a limit everything passes.
    #[test]
    fn window() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut throttle = Throttle::default();
        assert!((0..100).all(|_| throttle.admits(start)));

        throttle.set(Some(2));
        let admitted: Vec<bool> = [0, 600, 900, 999, 1000, 1001, 1600]
            .map(|at| throttle.admits(after(at)))
            .into();
        assert_eq!(admitted, [true, true, false, false, true, false, true]);
    }
}
