//! IAM tells its other halves late: for some minutes after a change, a
//! service may not know yet what another one has just said.
//!
//! Oracle's SDK opens a window of four minutes after every successful change
//! of IAM, and within it repeats refusals that are final at any other time. So
//! do we, for all clones of a client. Outside the window a 404 is an answer, and
//! calls that ask whether something is there (`Call::question`) have it
//! at any time: looking for what is gone must not take four minutes. Whoever
//! switched retries off, or bounded them in time, has that here as well.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::error::{Error, code};

/// The window, shared by the clones of a client.
#[derive(Debug, Default)]
pub(super) struct Window {
    opened: Mutex<Option<SystemTime>>,
}

impl Window {
    /// IAM was changed now.
    pub(super) fn open(&self, now: SystemTime) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// How long to wait after a failed attempt, counted from one, that the
    /// window heals: a growing time, which is four minutes in all. `None` when
    /// the window is closed, the attempts are used up, or the next one would
    /// come after its end. `chance` is between 0 and 1.
    pub(super) fn next(&self, now: SystemTime, attempts: u32, chance: f64) -> Option<Duration> {
        let opened = (*self.opened.lock().unwrap_or_else(PoisonError::into_inner))?;
        // A clock that was set back meanwhile tells nothing any more.
        let left = LENGTH.checked_sub(now.duration_since(opened).ok()?)?;
        if attempts >= MAX_ATTEMPTS {
            return None;
        }
        let grown = GROWTH.powi(i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX));
        let delay = (grown + chance.clamp(0.0, 1.0)).min(MAX_DELAY.as_secs_f64());
        let delay = Duration::from_secs_f64(delay);
        (delay <= left).then_some(delay)
    }
}

/// Whether a refusal is one that passes when IAM has caught up.
pub(super) fn may_pass(error: &Error) -> bool {
    let (Some(status), Some(code)) = (error.status(), error.code()) else {
        return false;
    };
    PASSING.contains(&(status, code))
}

/// The refusals that Oracle's SDK repeats in the window.
const PASSING: &[(u16, &str)] = &[
    (400, code::INSUFFICIENT_SERVICE_PERMISSIONS),
    (400, code::RELATED_RESOURCE_NOT_AUTHORIZED_OR_NOT_FOUND),
    (400, code::RESOURCE_DISABLED),
    (404, code::NOT_AUTHORIZED_OR_NOT_FOUND),
    (409, code::NOT_AUTHORIZED_OR_RESOURCE_ALREADY_EXISTS),
    (409, code::RESOURCE_ALREADY_EXISTS),
];

const LENGTH: Duration = Duration::from_secs(240);
const MAX_ATTEMPTS: u32 = 9;
const MAX_DELAY: Duration = Duration::from_secs(45);
/// Nine attempts fill the window with this: 1, 3.4, 12, 39, and four times 45
/// seconds.
const GROWTH: f64 = 3.4;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + seconds)
    }

    /// Nobody changed IAM, or too long ago, or the clock was set back.
    #[test]
    fn closed() {
        let window = Window::default();
        assert_eq!(window.next(at(0), 1, 0.0), None);
        window.open(at(1000));
        assert_eq!(window.next(at(999), 1, 0.0), None);
        assert!(window.next(at(1000), 1, 0.0).is_some());
        assert!(window.next(at(1239), 1, 0.0).is_some());
        assert_eq!(window.next(at(1240), 1, 0.0), None);
        assert_eq!(window.next(at(1241), 1, 0.0), None);
        // Another change opens it again.
        window.open(at(1241));
        assert!(window.next(at(1242), 1, 0.0).is_some());
    }

    /// Nine attempts, at most 45 seconds apart, and none after the end.
    #[test]
    fn waits_fill_the_window() {
        let window = Window::default();
        for (chance, expected) in [
            (0.0, [1, 3, 11, 39, 45, 45, 45, 45]),
            (1.0, [2, 4, 12, 40, 45, 45, 45, 45]),
        ] {
            window.open(at(0));
            let mut passed = Duration::ZERO;
            let mut waits = Vec::new();
            for attempts in 1.. {
                let Some(wait) = window.next(at(0) + passed, attempts, chance) else {
                    break;
                };
                passed += wait;
                waits.push(wait.as_secs());
            }
            assert_eq!(waits, expected);
            assert!(passed <= LENGTH, "{passed:?}");
        }
        window.open(at(0));
        assert_eq!(window.next(at(0), 9, 0.0), None);
        assert_eq!(window.next(at(0), u32::MAX, 0.0), None);
        assert_eq!(
            window.next(at(200), 5, 0.0),
            None,
            "the next would be too late"
        );
    }
}
