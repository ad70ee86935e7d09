//! The one integration test binary.

mod answers;
mod bad_input;
mod cli;
mod client;
mod developer;
mod docs;
mod emulator;
mod hostile;
mod image;
mod layers;
mod network;
mod parsers;
mod peers;
mod protocol;
mod release;
mod resources;
mod schema;
mod sign_in;
mod support;
mod table;
