//! The one integration test binary.

mod cli;
mod client;
mod docs;
mod emulator;
mod layers;
mod protocol;
mod resources;
mod support;
mod table;
