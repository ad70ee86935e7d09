//! The provider: logs to standard error, then serves.

use std::process::ExitCode;

use ocir::{framework::Server, protocol, provider::Ocir};

fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    // Dropped at the end: what was logged last is written then.
    let _logs = protocol::log(&env);
    let server = Server::new(Ocir::from_process());
    protocol::serve(std::env::args(), &env, server)
}
