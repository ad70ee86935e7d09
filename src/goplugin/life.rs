//! How long the process lives.

use std::future::Future;

use super::{Error, listener::Address};

/// Keeps signals from ending the process.
///
/// Ctrl-C, and the SIGTERM that `timeout` or a CI system sends, reach the whole
/// process group. The host stops us when it is ready; until then an object that
/// is being created must not be lost. Should the host die, [`follow_host`] ends
/// the process. `on_signal` is told, for what can be given up already.
pub(super) fn outlive_signals(on_signal: impl Fn() + Send + 'static) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        loop {
            let signal = signals.next().await;
            tracing::debug!(signal, "left a signal to the host");
            on_signal();
        }
    });
    Ok(())
}

/// Waits for the first signal that asks for an end.
pub(super) fn first_signal() -> Result<impl Future<Output = ()>, Error> {
    let mut signals = Signals::new()?;
    Ok(async move {
        signals.next().await;
    })
}

/// Ends the process soon after its host has died without saying so.
///
/// A thread of its own notices also when the runtime is busy.
#[cfg(unix)]
pub(super) fn follow_host(address: Address) -> Result<(), Error> {
    use std::{os::unix::process::parent_id, time::Duration};

    let host = parent_id();
    std::thread::Builder::new()
        .name("host".to_owned())
        .spawn(move || {
            while parent_id() == host {
                std::thread::sleep(Duration::from_millis(500));
            }
            address.remove();
            std::process::exit(1);
        })
        .map_err(|source| Error::System {
            what: "start a thread",
            source,
        })?;
    Ok(())
}

/// Other systems have no parent to ask for.
#[cfg(not(unix))]
pub(super) fn follow_host(_: Address) -> Result<(), Error> {
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};

        let failed = |source| Error::System {
            what: "handle signals",
            source,
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self, Error> {
        Ok(Self)
    }
    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
