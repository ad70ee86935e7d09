//! Clients on loopback, and what they are made of.

mod captures;
mod credentials;
mod oci;
mod principals;
pub mod registry;
mod registry_login;
