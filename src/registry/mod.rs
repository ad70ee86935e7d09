//! The distribution API of the Open Container Initiative: pushing images.
//!
//! Specification: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.
//! Knows neither Terraform nor Oracle: OCIR is a registry with a host, a
//! namespace in its paths and a [`TokenSource`].

mod auth;
mod blob;
mod body;
mod client;
mod docker_config;
mod error;
mod location;
mod manifest;
mod pull;
mod push;
mod reference;
mod retry;
mod slots;

pub use auth::{Credentials, Token, TokenSource};
pub use client::{Client, Config};
pub use docker_config::{DockerConfig, Error as DockerConfigError, Login};
pub use error::{Cause, Error};
pub use manifest::{ManifestContent, ManifestDescriptor};
pub use pull::{Pull, api_host, speaks_plain_http};
pub use push::{Push, Pushed};
pub use reference::Reference;

pub use crate::image::{validate_repository, validate_tag};
