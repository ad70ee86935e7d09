//! Oracle's control plane: one file per kind of object, one method per API
//! operation, over one [`Client`] that signs, sends, retries and pages.

mod auth_token;
mod call;
mod client;
mod consistency;
mod container_configuration;
mod container_image;
mod container_repository;
mod error;
mod home_region;
mod hosts;
mod namespace;
mod pace;
mod registry_login;
mod registry_token;
mod tenancy;
#[cfg(test)]
mod testing;
mod user;

use serde::{Deserialize, Deserializer};

pub use auth_token::AuthToken;
pub use client::{Client, Config};
pub use container_configuration::ContainerConfiguration;
pub use container_image::{
    ContainerImage, ContainerImageSummary, ContainerImageVersion, ListContainerImages,
};
pub use container_repository::{
    ContainerRepository, ContainerRepositorySummary, CreateContainerRepository, DefinedTags,
    FreeformTags, ListContainerRepositories, Readme, UpdateContainerRepository, new_retry_token,
};
pub use error::Error;
pub use hosts::{misspelt_host_overrides, parse_host_overrides};
pub use registry_login::registry_login;
pub use registry_token::RegistryToken;
pub use tenancy::{RegionSubscription, Tenancy};
pub use user::User;

/// Reads a member that may be absent or null, which both mean "not set".
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
