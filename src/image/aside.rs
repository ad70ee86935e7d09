//! Reading that nobody has to wait for.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::Error;

/// Does the work on a thread of its own, and waits for it until `stop`.
///
/// Work looks at `stop` between two reads, but a read from a file server that is
/// down does not come back, and cannot be called off. Such a thread is left
/// behind: it holds no lock while it reads, and ends with the process or when
/// the file server is back, whichever is first.
pub(super) fn aside<T: Send + 'static>(
    stop: &CancellationToken,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if stop.is_cancelled() {
        return Err(Error::Stopped);
    }
    let (sender, result) = sync_channel::<Result<Result<T, Error>, Box<dyn Any + Send>>>(1);
    thread::Builder::new()
        .name("image".to_owned())
        .spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            // Nobody listens after a stop.
            let _ = sender.send(done);
        })
        .map_err(|cause| Error::Read {
            place: "the image (no thread could be started)".to_owned(),
            cause,
        })?;
    loop {
        match result.recv_timeout(LOOK_EVERY) {
            Ok(Ok(done)) => return done,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(RecvTimeoutError::Timeout) if stop.is_cancelled() => return Err(Error::Stopped),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Read {
                    place: "the image".to_owned(),
                    cause: io::Error::other("its thread ended early"),
                });
            }
        }
    }
}

/// How often a stop is looked for. Results do not wait for it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;

    /// Results come back as they are, panics as well.
    #[test]
    fn results_come_back() -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        assert_eq!(aside(&stop, || Ok(5))?, 5);
        let failed: Result<(), _> = aside(&stop, || {
            Err(Error::Read {
                place: "x".to_owned(),
                cause: io::ErrorKind::NotFound.into(),
            })
        });
        assert!(failed.is_err_and(|error| error.is_missing()));
        let panic = catch_unwind(|| aside::<()>(&CancellationToken::new(), || panic!("a bug")));
        let panic = panic.err().and_then(|panic| panic.downcast::<&str>().ok());
        assert_eq!(panic.as_deref(), Some(&"a bug"));
        Ok(())
    }

    /// A read that hangs does not keep a stop waiting, and nothing begins after one.
    #[test]
    fn a_stop_leaves_it_behind() {
        // Nothing is ever sent here, as from a file server that is down.
        let (server, file) = mpsc::channel::<()>();
        let stop = CancellationToken::new();
        let (start, stopper) = (Instant::now(), stop.clone());
        let stopping = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            stopper.cancel();
        });
        let read = aside(&stop, move || {
            let _ = file.recv();
            Ok(())
        });
        assert!(matches!(read, Err(Error::Stopped)));
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(100), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
        assert!(stopping.join().is_ok());
        drop(server);
        assert!(matches!(
            aside::<()>(&stop, || panic!("this should not begin")),
            Err(Error::Stopped)
        ));
    }
}
