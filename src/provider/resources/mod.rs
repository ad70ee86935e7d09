//! The table of managed resources.

mod auth_token;
mod image_push;
mod repository;

use super::Clients;
use crate::framework::ResourceType;

/// Every managed resource, by name. `oci_auth_token` was asked for by this
/// name; the other one needs no `provider = ocir`. Both are permanent.
pub(super) fn all() -> Vec<ResourceType<Clients>> {
    vec![
        ResourceType::identified::<auth_token::AuthToken>("oci_auth_token"),
        ResourceType::identified::<auth_token::AuthToken>("ocir_auth_token"),
        ResourceType::new::<image_push::ImagePush>("ocir_image_push"),
        ResourceType::identified::<repository::Repository>("ocir_repository"),
    ]
}
