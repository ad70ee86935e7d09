//! Terraform and OpenTofu provider for Oracle Cloud's container registry.
//!
//! The layers, from the host's side to the network's; dependencies point one
//! way, and `tests/it/layers.rs` holds the table.
//!
//! | layer | what it is |
//! |---|---|
//! | [`goplugin`] | how a CLI starts a plugin and talks to it; knows no Terraform |
//! | [`protocol`] | the plugin protocol: messages in, messages out |
//! | [`framework`] | what a resource is, and how one is planned |
//! | [`cty`] | Terraform's values and their two encodings |
//! | [`provider`] | where Terraform meets Oracle: schemas, resources, diagnostics |
//! | [`oci`] | Oracle's control plane |
//! | [`registry`] | the distribution API: pushing images |
//! | [`image`] | where an image comes from: layouts and archives |
//! | [`credentials`] | where a signing key comes from |
//! | [`signing`] | Oracle's request signature, as a pure function |
//! | [`transport`] | HTTP construction and the retry policy |
//! | [`region`] | regions, keys, realms and their hosts |
//! | [`emulator`] | the other side, on loopback; shares no code with the clients |

// The derive macro writes `::ocir::…`, inside this crate as well as outside.
extern crate self as ocir;

pub mod credentials;
pub mod cty;
pub mod emulator;
pub mod framework;
pub mod goplugin;
pub mod image;
pub mod oci;
pub mod protocol;
pub mod provider;
pub mod region;
pub mod registry;
pub mod signing;
#[cfg(test)]
mod spoilt;
pub mod transport;
