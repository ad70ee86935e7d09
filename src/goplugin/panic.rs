//! Panics: caught where a call can be answered, announced where not.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    future::Future,
    io::Write as _,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::pin,
    task::Poll,
};

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq)]
pub struct Panic {
    /// What the panic said.
    pub message: String,
    /// File, line and column.
    pub location: String,
}

/// Runs `future` to its end or its panic.
///
/// Panics of tasks and threads that it starts are theirs.
pub async fn catch<F: Future>(future: F) -> Result<F::Output, Panic> {
    let mut future = pin!(future);
    std::future::poll_fn(move |cx| {
        let _catching = Catching::here();
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => Poll::Ready(Err(CAUGHT.take().unwrap_or_else(|| Panic {
                // The hook is not installed.
                message: text(&*payload),
                location: String::new(),
            }))),
        }
    })
    .await
}

/// Makes panics that nobody catches visible in the host's own manner: what
/// follows a line that begins with `panic: ` is shown to the user as the
/// plugin's crash.
pub(super) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let panic = Panic {
            message: text(info.payload()),
            location: info.location().map(|at| at.to_string()).unwrap_or_default(),
        };
        if CATCHING.get() > 0 {
            CAUGHT.set(Some(panic));
        } else {
            // Nothing can be done about an error on standard error.
            let _ = std::io::stderr().write_all(announce(&panic, info).as_bytes());
        }
    }));
}

thread_local! {
    /// How many [`catch`] are on the stack of this thread.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// What the hook saw, on its way to [`catch`].
    static CAUGHT: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

struct Catching;

impl Catching {
    fn here() -> Self {
        CATCHING.set(CATCHING.get() + 1);
        Self
    }
}

impl Drop for Catching {
    fn drop(&mut self) {
        CATCHING.set(CATCHING.get() - 1);
    }
}

fn announce(panic: &Panic, _: &PanicHookInfo) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let mut text = format!(
        "panic: {}\n\nthread '{name}' at {}\n",
        panic.message, panic.location
    );
    let backtrace = std::backtrace::Backtrace::capture();
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{backtrace}");
    }
    text
}

fn text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "not a text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic after an await is caught as well, and the thread goes on.
    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        let panic = catch(async {
            tokio::task::yield_now().await;
            panic!("number {}", 7);
        })
        .await;
        let message = panic.unwrap_err().message;
        assert_eq!(message, "number 7");
        assert_eq!(catch(async { 1 }).await.unwrap(), 1);
        assert_eq!(CATCHING.get(), 0);
    }
}
