//! The one integration test binary.

mod client;
mod emulator;
