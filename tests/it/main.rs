//! The one integration test binary.

mod protocol;
mod support;
