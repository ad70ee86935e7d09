//! The one integration test binary.

mod cli;
mod client;
mod docs;
mod emulator;
mod layers;
#[cfg(unix)]
mod protocol;
mod resources;
mod support;
mod table;
