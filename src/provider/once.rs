//! What is made when it is first needed, once for all who wait for it.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::diagnose;
use crate::framework::{Diagnostic, Diagnostics, Result};

/// A value that is made once. A failure is remembered too, so that two hundred
/// resources do not sign in two hundred times: for good when nothing but another
/// configuration changes it, and for a moment when it may pass by itself.
pub(super) struct Once<T> {
    /// What is said when the run is stopped before it is there.
    interrupted: &'static str,
    state: Mutex<State<T>>,
}

enum State<T> {
    Empty,
    Made(T),
    Failed {
        failure: Failure,
        /// When it is tried again; `None` is never.
        until: Option<Instant>,
    },
}

/// Why something could not be made.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) diagnostics: Diagnostics,
    /// Whether it may pass by itself, as a failure of the network may.
    pub(super) passes: bool,
}

impl<T: Clone> Once<T> {
    /// `interrupted` says what was not done when the run is stopped: a sentence
    /// without its period.
    pub(super) fn new(interrupted: &'static str) -> Self {
        Self {
            interrupted,
            state: Mutex::new(State::Empty),
        }
    }

    /// The value; `make` makes it when it is not there. Whoever waits for another
    /// one's `make` is told what came of it. When the run is stopped nobody waits
    /// any longer, and what was being made is dropped.
    pub(super) async fn get<Making>(
        &self,
        stop: &CancellationToken,
        make: impl FnOnce() -> Making,
    ) -> Result<T, Failure>
    where
        Making: Future<Output = Result<T, Failure>>,
    {
        tokio::select! {
            biased;
            // What is there is given out also after the stop: the calls that are
            // made with it say what was interrupted.
            result = self.get_or_make(make) => result,
            () = stop.cancelled() => Err(Failure {
                diagnostics: diagnose::stopped(self.interrupted),
                passes: true,
            }),
        }
    }

    async fn get_or_make<Making>(&self, make: impl FnOnce() -> Making) -> Result<T, Failure>
    where
        Making: Future<Output = Result<T, Failure>>,
    {
        let mut state = self.state.lock().await;
        match &*state {
            State::Made(value) => return Ok(value.clone()),
            State::Failed { failure, until }
                if until.is_none_or(|until| Instant::now() < until) =>
            {
                return Err(failure.clone());
            }
            State::Empty | State::Failed { .. } => {}
        }
        let asked = Instant::now();
        match make().await {
            Ok(value) => {
                *state = State::Made(value.clone());
                Ok(value)
            }
            Err(failure) => {
                *state = State::Failed {
                    until: failure
                        .passes
                        .then(|| Instant::now() + REMEMBERED.max(asked.elapsed())),
                    failure: failure.clone(),
                };
                Err(failure)
            }
        }
    }
}

/// How long a failure that may pass is everybody's, and longer when finding out
/// took longer: those who waited for the same attempt are told its outcome, and
/// the next resource tries anew.
const REMEMBERED: Duration = Duration::from_secs(3);

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self {
            diagnostics,
            passes: false,
        }
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics::from(diagnostic).into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn failure(passes: bool) -> Failure {
        Failure {
            diagnostics: Diagnostic::error("Summary", "Detail.").into(),
            passes,
        }
    }

    /// Two hundred who ask at the same time cause one attempt, and all have its outcome.
    #[tokio::test]
    async fn one_attempt_for_all() {
        for passes in [None, Some(true), Some(false)] {
            let (once, made) = (Once::new("Nobody was signed in"), AtomicUsize::new(0));
            let stop = CancellationToken::new();
            let ask = || {
                once.get(&stop, async || {
                    made.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    passes.map_or(Ok(7), |passes| Err(failure(passes)))
                })
            };
            let all = futures_util::future::join_all((0..200).map(|_| ask())).await;
            assert!(all.iter().all(|one| one.is_ok() == passes.is_none()));
            assert_eq!(made.load(Ordering::Relaxed), 1, "{passes:?}");
        }
    }

    /// A failure that may pass is tried again after a moment; one of the
    /// configuration never is.
    #[tokio::test]
    async fn what_passes_is_tried_again() {
        let stop = CancellationToken::new();
        for (passes, expected) in [(true, Some(7)), (false, None)] {
            let once = Once::new("Nobody was signed in");
            let first = once.get(&stop, async || Err(failure(passes))).await;
            assert!(first.is_err());
            if let State::Failed {
                until: Some(until), ..
            } = &mut *once.state.lock().await
            {
                *until = Instant::now();
            }
            let second = once.get(&stop, async || Ok(7)).await;
            assert_eq!(second.ok(), expected);
        }
    }

    /// A stop ends the wait of the one who makes it and of those who wait for
    /// that, and it is no failure for the next.
    #[tokio::test]
    async fn a_stop_ends_every_wait() {
        let (once, stop) = (
            Once::<u8>::new("Nobody was signed in"),
            CancellationToken::new(),
        );
        let maker = once.get(&stop, std::future::pending);
        let waiter = once.get(&stop, std::future::pending);
        let stopping = async { stop.cancel() };
        let (maker, waiter, ()) = tokio::join!(maker, waiter, stopping);
        for stopped in [maker, waiter] {
            assert!(stopped.is_err_and(|failure| failure.passes));
        }
        let later = CancellationToken::new();
        assert_eq!(once.get(&later, async || Ok(3)).await.ok(), Some(3));
        // What is there is given out after a stop as well.
        assert_eq!(once.get(&stop, async || Ok(4)).await.ok(), Some(3));
    }
}
