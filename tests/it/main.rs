//! The one integration test binary.

mod bad_input;
mod cli;
mod client;
mod docs;
mod layers;
mod resources;
mod support;
mod table;
