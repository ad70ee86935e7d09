//! Clients on loopback, and what they are made of.

mod credentials;
mod oci;
mod registry;
mod registry_login;
