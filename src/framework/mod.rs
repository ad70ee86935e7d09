//! What a provider is made of, without gRPC and without Oracle.
//!
//! A resource is one struct that derives [`Model`], which is its schema, its
//! decoder and its encoder, and one `impl` [`Resource`]. Planning is a pure
//! function of the schema and three values ([`plan`]); a resource adds code of
//! its own only for what a schema cannot say. [`Server`] erases the types: it
//! takes and gives [`cty::Value`](crate::cty::Value)s, so that the protocol
//! layer is nothing but encoding.

mod attr;
mod context;
mod data_source;
mod diagnostic;
mod enforce;
mod ephemeral;
mod erased;
mod identity;
#[doc(hidden)]
pub mod model;
pub mod plan;
mod provider;
mod resource;
#[cfg(test)]
mod sample;
mod schema;
mod server;
mod timeouts;

pub use attr::{Attr, AttrValue, Secret};
pub use context::{Context, Kept, Private, Stop};
pub use data_source::{DataSource, DataSourceType};
pub use diagnostic::{Diagnostic, Diagnostics, Result, Severity};
pub use ephemeral::{EphemeralResource, EphemeralResourceType, Opened};
pub use identity::Identified;
pub use provider::Provider;
pub use resource::{Failed, Plan, Resource, ResourceType, SourceState};
pub use schema::{Attribute, Block, Kind, Mode, Model, NestedBlock, Nesting, Schema, Validator};
pub use server::{
    ApplyRequest, ApplyResponse, Deferred, ImportResponse, MoveRequest, OpenRequest, OpenResponse,
    PlanRequest, PlanResponse, RawState, ReadRequest, ReadResponse, RenewResponse, Server,
};
pub use terraform_provider_ocir_derive::Model;
pub use timeouts::{Limits, Operation, Timeouts};
