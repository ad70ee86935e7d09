//! How a Terraform or OpenTofu process starts a plugin and talks to it: the
//! cookie, the handshake line, mutual TLS pinned to one certificate, the
//! controller, standard streams and health services, signals, and the end.
//!
//! Contract: <https://github.com/hashicorp/go-plugin/blob/main/docs/internals.md>.
//! Knows no Terraform: which services are served is the caller's.
//!
//! What comes in: a [`Config`], the environment, and a gRPC service. What goes
//! out: one line on standard output, logs on standard error, and an exit code.
//! A person who starts the process with `--debug` gets a server that a host is
//! attached to by hand ([`Mode::Debug`]).

mod handshake;
mod life;
mod listener;
pub mod log;
mod panic;
mod serve;
mod services;
mod tls;

pub use handshake::{Config, Error};
pub use panic::{Panic, catch};
pub use serve::{Mode, Reattach, serve};

/// The largest message that is received or sent, as Go plugins have it.
pub const MAX_MESSAGE_SIZE: usize = 256 << 20;

/// The environment: a name in, its value out. Handed in by `main` or a test.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;
