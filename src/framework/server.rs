//! A provider with its types erased: values in, values out.
//!
//! The protocol layer calls this and does nothing but encode. Everything a
//! host checks is guaranteed here, whatever a resource does: write-only values
//! are null, configured values come back unchanged, nothing is unknown after
//! apply, an object that exists is never lost. A panic in a resource is the
//! protocol layer's to catch.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tokio_util::sync::CancellationToken;

use super::{
    Context, Diagnostic, Diagnostics, Model, Private, Provider, Result, Schema, SourceState,
    erased::{AnyClients, ErasedDataSource, ErasedProvider, ErasedResource, PlannedChange},
};
use crate::cty::{Path, Value, decode_json};

/// A provider that serves calls by type name.
pub struct Server {
    provider: Box<dyn ErasedProvider>,
    schema: Schema,
    resources: BTreeMap<&'static str, Arc<dyn ErasedResource>>,
    data_sources: BTreeMap<&'static str, Arc<dyn ErasedDataSource>>,
    clients: RwLock<Option<AnyClients>>,
    stop: Mutex<CancellationToken>,
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
    pub fn new<P: Provider>(provider: P) -> Self {
        let resources = provider
            .resources()
            .into_iter()
            .map(|row| (row.name, row.erased))
            .collect();
        let data_sources = provider
            .data_sources()
            .into_iter()
            .map(|row| (row.name, row.erased))
            .collect();
        Self {
            schema: Schema {
                version: 0,
                block: P::Config::block(),
            },
            provider: Box::new(provider),
            resources,
            data_sources,
            clients: RwLock::default(),
            stop: Mutex::default(),
        }
    }

    /// Schema of the provider block.
    pub fn provider_schema(&self) -> &Schema {
        &self.schema
    }

    /// Managed resources by name, sorted.
    pub fn resource_schemas(&self) -> Vec<(&'static str, &Schema)> {
        self.resources
            .iter()
            .map(|(name, resource)| (*name, resource.schema()))
            .collect()
    }

    /// Data sources by name, sorted.
    pub fn data_source_schemas(&self) -> Vec<(&'static str, &Schema)> {
        self.data_sources
            .iter()
            .map(|(name, data_source)| (*name, data_source.schema()))
            .collect()
    }

    /// Schema of one managed resource.
    pub fn resource_schema(&self, name: &str) -> Option<&Schema> {
        self.resources.get(name).map(|resource| resource.schema())
    }

    /// Schema of one data source.
    pub fn data_source_schema(&self, name: &str) -> Option<&Schema> {
        self.data_sources
            .get(name)
            .map(|data_source| data_source.schema())
    }

    /// The signal of StopProvider: cancels what runs now; later calls run.
    pub fn stop(&self) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *stop).cancel();
    }

    /// The token of the calls that start now.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// ValidateProviderConfig.
    pub fn validate_provider(&self, config: &Value) -> Diagnostics {
        self.provider.validate(config)
    }

    /// ConfigureProvider.
    pub async fn configure(&self, config: Value) -> Diagnostics {
        let mut cx = Context::new(self.stop_token());
        match self.provider.configure(&mut cx, &config).await {
            Ok(clients) => {
                *self.clients.write().unwrap_or_else(PoisonError::into_inner) = Some(clients);
                cx.take_warnings()
            }
            Err(diagnostics) => with_warnings(&mut cx, diagnostics),
        }
    }

    /// ValidateResourceConfig.
    pub fn validate_resource(&self, name: &str, config: &Value) -> Diagnostics {
        match self.resource(name) {
            Ok(resource) => resource.validate(config),
            Err(diagnostics) => diagnostics,
        }
    }

    /// UpgradeResourceState. Also called when the version is the current one;
    /// attributes that the schema no longer has are dropped.
    pub fn upgrade_resource(
        &self,
        name: &str,
        version: i64,
        state: RawState,
    ) -> Result<Value, Diagnostics> {
        let resource = self.resource(name)?;
        let RawState::Json(json) = state else {
            return Err(Diagnostic::error(
                "Cannot read state",
                format!("The state of this {name} was written by a Terraform before 0.12. Upgrade it with Terraform 0.12 first."),
            )
            .into());
        };
        let current = resource.schema().version;
        if version > current {
            return Err(Diagnostic::error(
                "Cannot read state",
                format!(
                    "The state of this {name} was written by a newer release of the ocir provider (version {version} of its \
                     schema; this release knows {current}). Use that release, or a newer one."
                ),
            )
            .into());
        }
        if version == current {
            return decode_state(resource.schema(), &json);
        }
        let old =
            serde_json::from_slice(&json).map_err(|error| unreadable_state(&error.to_string()))?;
        let new = resource.upgrade(version, old)?;
        decode_state(resource.schema(), new.to_string().as_bytes())
    }

    /// ReadResource. After an error the state is as it was.
    pub async fn read_resource(&self, name: &str, request: ReadRequest) -> ReadResponse {
        let mut cx = self.context(request.private);
        let result = match self.ready_resource(name) {
            Ok((resource, clients)) if !request.current.is_null() => {
                resource.read(clients, &mut cx, &request.current).await
            }
            Ok(_) => Ok(Value::Null),
            Err(diagnostics) => Err(diagnostics),
        };
        let (state, diagnostics) = match result {
            Ok(state) => (state, Diagnostics::default()),
            Err(diagnostics) => (request.current, diagnostics),
        };
        let diagnostics = with_warnings(&mut cx, diagnostics);
        ReadResponse {
            state,
            private: cx.private,
            diagnostics,
        }
    }

    /// PlanResourceChange.
    pub async fn plan_resource(&self, name: &str, request: PlanRequest) -> PlanResponse {
        let mut cx = self.context(request.private.clone());
        let result = match self.ready_resource(name) {
            Ok((resource, clients)) => resource.plan(clients, &mut cx, &request).await,
            Err(diagnostics) => Err(diagnostics),
        };
        let (change, diagnostics) = match result {
            Ok(change) => (change, Diagnostics::default()),
            Err(diagnostics) => (
                PlannedChange {
                    planned: request.prior,
                    replace: Vec::new(),
                },
                diagnostics,
            ),
        };
        let diagnostics = with_warnings(&mut cx, diagnostics);
        PlanResponse {
            planned: change.planned,
            replace: change.replace,
            private: cx.private,
            diagnostics,
        }
    }

    /// ApplyResourceChange. What exists is in the answer, also after an error.
    pub async fn apply_resource(&self, name: &str, request: ApplyRequest) -> ApplyResponse {
        let mut cx = self.context(request.private.clone());
        let (state, diagnostics) = match self.ready_resource(name) {
            Ok((resource, clients)) => resource.apply(clients, &mut cx, &request).await,
            Err(diagnostics) => (request.prior.clone(), diagnostics),
        };
        let diagnostics = with_warnings(&mut cx, diagnostics);
        ApplyResponse {
            state,
            private: cx.private,
            diagnostics,
        }
    }

    /// ImportResourceState. The host reads the object afterwards.
    pub async fn import_resource(&self, name: &str, id: &str) -> ImportResponse {
        let mut cx = self.context(Private::default());
        let result = match self.ready_resource(name) {
            Ok((resource, clients)) => resource.import(clients, &mut cx, id).await,
            Err(diagnostics) => Err(diagnostics),
        };
        let (state, diagnostics) = match result {
            Ok(state) => (Some(state), Diagnostics::default()),
            Err(diagnostics) => (None, diagnostics),
        };
        let diagnostics = with_warnings(&mut cx, diagnostics);
        ImportResponse {
            state,
            private: cx.private,
            diagnostics,
        }
    }

    /// MoveResourceState. Between two names of one resource the state is taken
    /// over as it is; from another provider the resource decides.
    pub fn move_resource(&self, target: &str, request: MoveRequest) -> Result<Value, Diagnostics> {
        let resource = self.resource(target)?;
        let ours = request.provider_address.rsplit('/').next() == Some("ocir");
        if ours
            && let Some(source) = self.resources.get(request.type_name.as_str())
            && source.identity() == resource.identity()
        {
            let json = request.json.to_string().into_bytes();
            return self.upgrade_resource(target, request.schema_version, RawState::Json(json));
        }
        resource.move_from(&request).unwrap_or_else(|| {
            Err(Diagnostic::error(
                "Cannot move state",
                format!(
                    "A {} of provider {} cannot become a {target}. Remove it from the state with a \"removed\" block, and import \
                     the object under the new name.",
                    request.type_name, request.provider_address
                ),
            )
            .into())
        })
    }

    /// ValidateDataResourceConfig.
    pub fn validate_data_source(&self, name: &str, config: &Value) -> Diagnostics {
        match self.data_source(name) {
            Ok(data_source) => data_source.validate(config),
            Err(diagnostics) => diagnostics,
        }
    }

    /// ReadDataSource. The second member holds warnings, or errors when the first is null.
    pub async fn read_data_source(&self, name: &str, config: Value) -> (Value, Diagnostics) {
        let mut cx = Context::new(self.stop_token());
        let ready = self
            .data_source(name)
            .and_then(|data_source| Ok((data_source, self.ready_clients()?)));
        let result = match ready {
            Ok((data_source, clients)) => data_source.read(clients, &mut cx, &config).await,
            Err(diagnostics) => Err(diagnostics),
        };
        match result {
            Ok(state) => (state, cx.take_warnings()),
            Err(diagnostics) => (Value::Null, with_warnings(&mut cx, diagnostics)),
        }
    }

    fn context(&self, private: Private) -> Context {
        let mut cx = Context::new(self.stop_token());
        cx.private = private;
        cx
    }

    fn resource(&self, name: &str) -> Result<&dyn ErasedResource, Diagnostics> {
        self.resources
            .get(name)
            .map(|resource| &**resource)
            .ok_or_else(|| unsupported("resource", name))
    }

    fn data_source(&self, name: &str) -> Result<&dyn ErasedDataSource, Diagnostics> {
        self.data_sources
            .get(name)
            .map(|data_source| &**data_source)
            .ok_or_else(|| unsupported("data source", name))
    }

    fn ready_resource(&self, name: &str) -> Result<(&dyn ErasedResource, AnyClients), Diagnostics> {
        Ok((self.resource(name)?, self.ready_clients()?))
    }

    fn ready_clients(&self) -> Result<AnyClients, Diagnostics> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.clone().ok_or_else(|| {
            Diagnostic::error(
                "Provider is not configured",
                "The host asked about an object before it configured the provider. This is a bug in the host, or in the ocir provider.",
            )
            .into()
        })
    }
}

fn with_warnings(cx: &mut Context, errors: Diagnostics) -> Diagnostics {
    let mut all = cx.take_warnings();
    all.append(errors);
    all
}

fn decode_state(schema: &Schema, json: &[u8]) -> Result<Value, Diagnostics> {
    decode_json(json, &schema.block.ty()).map_err(|error| unreadable_state(&error.to_string()))
}

fn unreadable_state(cause: &str) -> Diagnostics {
    Diagnostic::error(
        "Cannot read state",
        format!("The stored state of the resource is not what its schema says: {cause}. Restore the state from a backup, or remove the resource from it and import the object."),
    )
    .into()
}

fn unsupported(kind: &str, name: &str) -> Diagnostics {
    Diagnostic::error(
        format!("Unsupported {kind} type"),
        format!(
            "This release of the ocir provider has no {kind} \"{name}\". A newer one may have it."
        ),
    )
    .into()
}
