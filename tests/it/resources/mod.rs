//! Stories of resources and data sources: the provider over gRPC, and an emulator.

mod auth_token;
mod image_copy;
mod image_push;
mod registry_login;
mod repository;
mod tenancy_namespace;
