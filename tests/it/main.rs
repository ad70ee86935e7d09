//! The one integration test binary.

mod cli;
mod client;
mod docs;
mod layers;
mod resources;
mod support;
mod table;
