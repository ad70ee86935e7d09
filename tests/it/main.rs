//! The one integration test binary.

#[cfg(unix)]
mod protocol;
mod support;
