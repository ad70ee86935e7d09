//! A provider with its types erased: values in, values out.
//!
//! The protocol layer calls this and does nothing but encode. Everything a
//! host checks is guaranteed here, whatever a resource does: write-only values
//! are null, configured values come back unchanged, nothing is unknown after
//! apply, an object that exists is never lost. A panic in a resource is the
//! protocol layer's to catch.

use tokio_util::sync::CancellationToken;

use super::{Diagnostics, Private, Provider, Schema, SourceState};
use crate::cty::{Path, Value};

/// A provider that serves calls by type name.
pub struct Server {
    // The erased provider: schemas by name, clients once configured.
}

/// Stored state as the host hands it over.
#[derive(Clone, Debug)]
pub enum RawState {
    /// JSON, the usual form.
    Json(Vec<u8>),
    /// The form of Terraform before 0.12; refused with a clear message.
    Flatmap,
}

/// ReadResource.
#[derive(Debug)]
pub struct ReadRequest {
    /// The state as known.
    pub current: Value,
    /// Private state.
    pub private: Private,
}
/// Answer to [`ReadRequest`].
#[derive(Debug)]
pub struct ReadResponse {
    /// The state as it is; null when the object is gone.
    pub state: Value,
    /// Private state.
    pub private: Private,
    /// Messages.
    pub diagnostics: Diagnostics,
}
/// PlanResourceChange.
#[derive(Debug)]
pub struct PlanRequest {
    /// Configuration.
    pub config: Value,
    /// State before; null for a create.
    pub prior: Value,
    /// The host's merge; null for a delete.
    pub proposed: Value,
    /// Private state before.
    pub private: Private,
}
/// Answer to [`PlanRequest`].
#[derive(Debug)]
pub struct PlanResponse {
    /// Planned state.
    pub planned: Value,
    /// Attributes that require replacement.
    pub replace: Vec<Path>,
    /// Planned private state.
    pub private: Private,
    /// Messages.
    pub diagnostics: Diagnostics,
}
/// ApplyResourceChange.
#[derive(Debug)]
pub struct ApplyRequest {
    /// Configuration, with write-only values.
    pub config: Value,
    /// State before; null for a create.
    pub prior: Value,
    /// Planned state; null for a delete.
    pub planned: Value,
    /// Planned private state.
    pub private: Private,
}
/// Answer to [`ApplyRequest`].
#[derive(Debug)]
pub struct ApplyResponse {
    /// New state; null after a delete.
    pub state: Value,
    /// Private state.
    pub private: Private,
    /// Messages.
    pub diagnostics: Diagnostics,
}
/// Answer to an import.
#[derive(Debug)]
pub struct ImportResponse {
    /// What was found; `None` when nothing was.
    pub state: Option<Value>,
    /// Private state.
    pub private: Private,
    /// Messages.
    pub diagnostics: Diagnostics,
}
/// MoveResourceState.
pub type MoveRequest = SourceState;

impl Server {
    /// Serves `provider`.
    pub fn new<P: Provider>(_provider: P) -> Self {
        todo!()
    }
    /// Schema of the provider block.
    pub fn provider_schema(&self) -> &Schema {
        todo!()
    }
    /// Managed resources by name, sorted.
    pub fn resource_schemas(&self) -> Vec<(&'static str, &Schema)> {
        todo!()
    }
    /// Data sources by name, sorted.
    pub fn data_source_schemas(&self) -> Vec<(&'static str, &Schema)> {
        todo!()
    }
    /// Schema of one managed resource.
    pub fn resource_schema(&self, _name: &str) -> Option<&Schema> {
        todo!()
    }
    /// Schema of one data source.
    pub fn data_source_schema(&self, _name: &str) -> Option<&Schema> {
        todo!()
    }
    /// The signal of StopProvider: cancels what runs now; later calls run.
    pub fn stop(&self) {
        todo!()
    }
    /// The token of the calls that start now.
    pub fn stop_token(&self) -> CancellationToken {
        todo!()
    }
    /// ValidateProviderConfig.
    pub fn validate_provider(&self, _config: &Value) -> Diagnostics {
        todo!()
    }
    /// ConfigureProvider.
    pub async fn configure(&self, _config: Value) -> Diagnostics {
        todo!()
    }
    /// ValidateResourceConfig.
    pub fn validate_resource(&self, _name: &str, _config: &Value) -> Diagnostics {
        todo!()
    }
    /// UpgradeResourceState.
    pub fn upgrade_resource(
        &self,
        _name: &str,
        _version: i64,
        _state: RawState,
    ) -> Result<Value, Diagnostics> {
        todo!()
    }
    /// ReadResource.
    pub async fn read_resource(&self, _name: &str, _request: ReadRequest) -> ReadResponse {
        todo!()
    }
    /// PlanResourceChange.
    pub async fn plan_resource(&self, _name: &str, _request: PlanRequest) -> PlanResponse {
        todo!()
    }
    /// ApplyResourceChange.
    pub async fn apply_resource(&self, _name: &str, _request: ApplyRequest) -> ApplyResponse {
        todo!()
    }
    /// ImportResourceState.
    pub async fn import_resource(&self, _name: &str, _id: &str) -> ImportResponse {
        todo!()
    }
    /// MoveResourceState.
    pub fn move_resource(
        &self,
        _target: &str,
        _request: MoveRequest,
    ) -> Result<Value, Diagnostics> {
        todo!()
    }
    /// ValidateDataResourceConfig.
    pub fn validate_data_source(&self, _name: &str, _config: &Value) -> Diagnostics {
        todo!()
    }
    /// ReadDataSource.
    pub async fn read_data_source(
        &self,
        _name: &str,
        _config: Value,
    ) -> Result<Value, Diagnostics> {
        todo!()
    }
}

pub(super) trait ErasedResource<C>: Send + Sync {}
pub(super) trait ErasedDataSource<C>: Send + Sync {}
