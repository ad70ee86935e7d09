//! The distribution API of the Open Container Initiative: pushing images.
//!
//! Specification: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.
//! Knows neither Terraform nor Oracle: OCIR is a registry with a host, a
//! namespace in its paths and a [`TokenSource`].

mod auth;
mod blob;
mod body;
mod client;
mod error;
mod location;
mod manifest;
mod push;
mod reference;
mod retry;
mod scrub;

pub use auth::{Credentials, Token, TokenSource};
pub use client::{Client, Config};
pub use error::Error;
pub use manifest::{ManifestContent, ManifestDescriptor};
pub use push::{Push, Pushed};
pub use reference::{Reference, validate_repository, validate_tag};
