//! A provider with its types erased: values in, values out.
//!
//! The protocol layer calls this and does nothing but encode. Everything a
//! host checks is guaranteed here, whatever a resource does: write-only values
//! are null, configured values come back unchanged, nothing is unknown after
//! apply, an object that exists is never lost. A panic in a resource is the
//! protocol layer's to catch.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio_util::sync::CancellationToken;

use super::{
    Context, Diagnostic, Diagnostics, Kept, Model, Private, Provider, Result, Schema, SourceState,
    erased::{
        AnyClients, ErasedDataSource, ErasedEphemeral, ErasedProvider, ErasedResource,
        PlannedChange,
    },
    identity,
};
use crate::cty::{Path, Value, decode_json};

/// A provider that serves calls by type name.
pub struct Server {
    provider: Box<dyn ErasedProvider>,
    schema: Schema,
    resources: BTreeMap<&'static str, Arc<dyn ErasedResource>>,
    data_sources: BTreeMap<&'static str, Arc<dyn ErasedDataSource>>,
    ephemeral_resources: BTreeMap<&'static str, Arc<dyn ErasedEphemeral>>,
    clients: RwLock<Option<AnyClients>>,
    /// Whether an argument of the provider is unknown, as it may be while planning.
    arguments_unknown: AtomicBool,
    stop: Mutex<Stops>,
}

/// What ends the calls that run.
#[derive(Default)]
struct Stops {
    /// Of calls that may change something.
    acting: CancellationToken,
    /// Of calls that only look. Stays cancelled after an interrupt.
    looking: CancellationToken,
    interrupted: bool,
}

/// Stored state as the host hands it over.
#[derive(Clone, Debug)]
pub enum RawState {
    /// JSON, the usual form.
    Json(Vec<u8>),
    /// The form of Terraform before 0.12; refused with a clear message.
    Flatmap,
}

/// ReadResource. An identity is null when there is none: an old host, or a
/// state that one wrote.
#[derive(Debug, Default)]
pub struct ReadRequest {
    /// The state as known.
    pub current: Value,
    /// The identity as known.
    pub identity: Value,
    /// Private state.
    pub private: Private,
}
/// Answer to [`ReadRequest`].
#[derive(Debug)]
pub struct ReadResponse {
    /// The state as it is; null when the object is gone.
    pub state: Value,
    /// The identity.
    pub identity: Value,
    /// Private state.
    pub private: Private,
    /// Messages.
    pub diagnostics: Diagnostics,
}
/// PlanResourceChange.
#[derive(Debug, Default)]
pub struct PlanRequest {
    /// Configuration.
    pub config: Value,
    /// State before; null for a create.
    pub prior: Value,
    /// The host's merge; null for a delete.
    pub proposed: Value,
    /// Identity before.
    pub identity: Value,
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
    /// Planned identity; null while that of a new object is not known.
    pub identity: Value,
    /// Planned private state.
    pub private: Private,
    /// Messages.
    pub diagnostics: Diagnostics,
}
/// ApplyResourceChange.
#[derive(Debug, Default)]
pub struct ApplyRequest {
    /// Configuration, with write-only values.
    pub config: Value,
    /// State before; null for a create.
    pub prior: Value,
    /// Planned state; null for a delete.
    pub planned: Value,
    /// Planned identity.
    pub identity: Value,
    /// Planned private state.
    pub private: Private,
    /// Where what exists is recorded: for [`Server::after_panic`].
    pub kept: Kept,
}
/// Answer to [`ApplyRequest`].
#[derive(Debug)]
pub struct ApplyResponse {
    /// New state; null after a delete.
    pub state: Value,
    /// New identity.
    pub identity: Value,
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
    /// Its identity, as far as it is known before the object is read.
    pub identity: Value,
    /// Private state.
    pub private: Private,
    /// Messages.
    pub diagnostics: Diagnostics,
}
/// OpenEphemeralResource. Not to be printed: arguments may be secret.
#[derive(Default)]
pub struct OpenRequest {
    /// Configuration.
    pub config: Value,
    /// Whether the host takes "later" for an answer.
    pub deferral_allowed: bool,
}
/// Answer to [`OpenRequest`].
pub struct OpenResponse {
    /// Arguments and results.
    pub result: Value,
    /// When to renew it.
    pub renew_at: Option<SystemTime>,
    /// What renewing and closing need.
    pub private: Private,
    /// Why it is opened later.
    pub deferred: Option<Deferred>,
    /// Messages.
    pub diagnostics: Diagnostics,
}
/// Why something is left for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferred {
    /// Something in the provider's arguments is unknown.
    ProviderConfigUnknown,
    /// Something in its own arguments is unknown.
    ResourceConfigUnknown,
}
/// Answer to a renewal.
pub struct RenewResponse {
    /// When to renew it again.
    pub renew_at: Option<SystemTime>,
    /// What later calls need.
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
        let ephemeral_resources = provider
            .ephemeral_resources()
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
            ephemeral_resources,
            clients: RwLock::default(),
            arguments_unknown: AtomicBool::default(),
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

    /// Ephemeral resources by name, sorted.
    pub fn ephemeral_schemas(&self) -> Vec<(&'static str, &Schema)> {
        self.ephemeral_resources
            .iter()
            .map(|(name, resource)| (*name, resource.schema()))
            .collect()
    }

    /// Identities of managed resources that have one, by name, sorted.
    pub fn identity_schemas(&self) -> Vec<(&'static str, &Schema)> {
        let rows = self.resources.iter();
        rows.filter_map(|(name, resource)| Some((*name, &resource.identities()?.schema)))
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

    /// Schema of one ephemeral resource.
    pub fn ephemeral_schema(&self, name: &str) -> Option<&Schema> {
        let resource = self.ephemeral_resources.get(name);
        resource.map(|resource| resource.schema())
    }

    /// Schema of the identity of one managed resource, if it has one.
    pub fn identity_schema(&self, name: &str) -> Option<&Schema> {
        let identities = self.resources.get(name)?.identities()?;
        Some(&identities.schema)
    }

    /// The signal of StopProvider: cancels what runs now; later calls run.
    pub fn stop(&self) {
        let mut stops = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut stops.acting).cancel();
        stops.looking.cancel();
        if !stops.interrupted {
            stops.looking = CancellationToken::new();
        }
    }

    /// The person pressed Ctrl-C, and the signal reached this process too: ends
    /// the calls that only look, now and from now on. What may have changed
    /// something is left to the host, which says [`stop`](Self::stop).
    ///
    /// A host does not say that while it plans as the first half of an apply,
    /// and would wait for a service that does not answer. It starts a process for
    /// each walk through the configuration, and the walk is over.
    pub fn interrupt(&self) {
        let mut stops = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        stops.interrupted = true;
        stops.looking.cancel();
    }

    /// The token of the calls that start now and may change something.
    pub fn stop_token(&self) -> CancellationToken {
        let stops = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        stops.acting.clone()
    }

    /// The token of the calls that start now and only look.
    fn looking_token(&self) -> CancellationToken {
        let stops = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        stops.looking.clone()
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
                let unknown = !config.is_wholly_known();
                self.arguments_unknown.store(unknown, Ordering::Relaxed);
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
            let state = decode_state(resource.schema(), &json)?;
            return Ok(resource.completed(state));
        }
        let old = object(&json).map_err(|error| unreadable_state(&error))?;
        let new = resource.upgrade(version, old)?;
        let state = decode_state(resource.schema(), new.to_string().as_bytes())?;
        Ok(resource.completed(state))
    }

    /// UpgradeResourceIdentity. Null for an object that had no identity yet.
    pub fn upgrade_identity(
        &self,
        name: &str,
        version: i64,
        json: &[u8],
    ) -> Result<Value, Diagnostics> {
        let Some(identities) = self.resource(name)?.identities() else {
            let detail = format!("Resources of type {name} have no identity.");
            return Err(Diagnostic::error("Resource has no identity", detail).into());
        };
        if json.is_empty() {
            return Ok(Value::Null);
        }
        let unreadable = |cause: &dyn std::fmt::Display| {
            let detail = format!(
                "The stored identity of this {name} is not what its schema says: {cause}. Remove the resource from \
                 the state, and import the object."
            );
            Diagnostics::from(Diagnostic::error("Cannot read identity", detail))
        };
        let current = identities.schema.version;
        if version > current {
            let detail = format!(
                "The identity of this {name} was written by a newer release of the ocir provider (version {version}; this \
                 release knows {current}). Use that release, or a newer one."
            );
            return Err(Diagnostic::error("Cannot read identity", detail).into());
        }
        let ty = identities.ty();
        if version == current {
            return decode_json(json, &ty).map_err(|error| unreadable(&error));
        }
        let old = object(json).map_err(|error| unreadable(&error))?;
        let new = (identities.upgrade)(version, old)?;
        decode_json(new.to_string().as_bytes(), &ty).map_err(|error| unreadable(&error))
    }

    /// The identity of the object with this state; null when there is none, or
    /// when the state does not say all of it.
    pub fn identity(&self, name: &str, state: &Value) -> Value {
        let identities = self
            .resources
            .get(name)
            .and_then(|found| found.identities());
        identities.map_or(Value::Null, |identities| identities.whole(state))
    }

    /// ReadResource. After an error the state is as it was.
    pub async fn read_resource(&self, name: &str, request: ReadRequest) -> ReadResponse {
        let mut cx = self.looking_context(request.private);
        let result = match self.ready_resource(name) {
            Ok((resource, clients)) if !request.current.is_null() => {
                resource.read(clients, &mut cx, &request.current).await
            }
            Ok(_) => Ok(Value::Null),
            Err(diagnostics) => Err(diagnostics),
        };
        let result = result.and_then(|state| {
            let identity = self.identity(name, &state);
            match identity::contradicts(&request.identity, &identity) {
                true => Err(changed_identity("The state stays as it was.")),
                false if identity.is_null() && !state.is_null() => {
                    Ok((state, request.identity.clone()))
                }
                false => Ok((state, identity)),
            }
        });
        let (state, identity, diagnostics) = match result {
            Ok((state, identity)) => (state, identity, Diagnostics::default()),
            Err(diagnostics) => (request.current, request.identity, diagnostics),
        };
        let diagnostics = with_warnings(&mut cx, diagnostics);
        ReadResponse {
            state,
            identity,
            private: cx.private,
            diagnostics,
        }
    }

    /// PlanResourceChange.
    pub async fn plan_resource(&self, name: &str, request: PlanRequest) -> PlanResponse {
        let mut cx = self.looking_context(request.private.clone());
        let result = match self.ready_resource(name) {
            Ok((resource, clients)) => resource.plan(clients, &mut cx, &request).await,
            Err(diagnostics) => Err(diagnostics),
        };
        // A host that plans a replacement asks a second time, without a prior state. The protocol lets
        // a new identity be unknown, but Terraform up to 1.15 then cannot show the plan ("Failed to
        // marshal plan to json").
        let identity = match &result {
            Ok(change) if change.planned.is_null() => Value::Null,
            Ok(change) if request.prior.is_null() => self.identity(name, &change.planned),
            _ if request.identity.is_null() => self.identity(name, &request.prior),
            _ => request.identity,
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
            identity,
            private: cx.private,
            diagnostics,
        }
    }

    /// ApplyResourceChange. What exists is in the answer, also after an error.
    pub async fn apply_resource(&self, name: &str, request: &ApplyRequest) -> ApplyResponse {
        let mut cx = self.context(request.private.clone());
        cx.kept = request.kept.clone();
        let (state, diagnostics) = match self.ready_resource(name) {
            Ok((resource, clients)) => resource.apply(clients, &mut cx, request).await,
            Err(diagnostics) => (request.prior.clone(), diagnostics),
        };
        let diagnostics = with_warnings(&mut cx, diagnostics);
        self.applied(name, request, state, cx.private, diagnostics)
    }

    /// The answer to an apply that panicked: what had been recorded of the
    /// object by then ([`Context::keep`]), or what was there before.
    pub fn after_panic(
        &self,
        name: &str,
        request: &ApplyRequest,
        diagnostics: Diagnostics,
    ) -> ApplyResponse {
        let kept = request.kept.take();
        let private = match &kept {
            Some(kept) => kept.private.clone(),
            None => request.private.clone(),
        };
        let change = [&request.prior, &request.planned];
        let (state, diagnostics) = match self.resource(name) {
            Ok(resource) => resource.unfinished(change, None, kept, diagnostics),
            Err(_) => (request.prior.clone(), diagnostics),
        };
        self.applied(name, request, state, private, diagnostics)
    }

    fn applied(
        &self,
        name: &str,
        request: &ApplyRequest,
        state: Value,
        private: Private,
        mut diagnostics: Diagnostics,
    ) -> ApplyResponse {
        let mut identity = self.identity(name, &state);
        // That of a new object need not be planned, and a delete has none.
        if !request.prior.is_null() && !state.is_null() {
            if identity::contradicts(&request.identity, &identity) {
                diagnostics.append(changed_identity("The identity stays as it was."));
                identity = request.identity.clone();
            } else if identity.is_null() {
                identity = request.identity.clone();
            }
        }
        let has_one = self.identity_schema(name).is_some();
        if has_one && identity.is_null() && !state.is_null() && !diagnostics.has_errors() {
            tracing::error!(
                resource = name,
                "the object has no whole identity; this is a bug in the provider"
            );
        }
        ApplyResponse {
            state,
            identity,
            private,
            diagnostics,
        }
    }

    /// ImportResourceState by identity. What the user left out is null.
    pub async fn import_by_identity(&self, name: &str, identity: Value) -> ImportResponse {
        let id = self.resource(name).and_then(|resource| {
            let identities = resource.identities().ok_or_else(|| {
                let detail = format!("Resources of type {name} have no identity. Import by id.");
                Diagnostics::from(Diagnostic::error("Resource has no identity", detail))
            })?;
            (identities.import_id)(&identity)
        });
        match id {
            Ok(id) => {
                let response = self.import_resource(name, &id).await;
                if response.state.is_none() {
                    return response;
                }
                let mut diagnostics = response.diagnostics;
                if identity::contradicts(&identity, &response.identity) {
                    diagnostics.append(changed_identity("It is not imported."));
                }
                ImportResponse {
                    // The object says all of it once it is read.
                    identity: match response.identity {
                        Value::Null => identity,
                        whole => whole,
                    },
                    diagnostics,
                    ..response
                }
            }
            Err(diagnostics) => ImportResponse {
                state: None,
                identity: Value::Null,
                private: Private::default(),
                diagnostics,
            },
        }
    }

    /// ImportResourceState. The host reads the object afterwards.
    pub async fn import_resource(&self, name: &str, id: &str) -> ImportResponse {
        let mut cx = self.looking_context(Private::default());
        let result = match self.ready_resource(name) {
            Ok((resource, clients)) => resource.import(clients, &mut cx, id).await,
            Err(diagnostics) => Err(diagnostics),
        };
        let (state, diagnostics) = match result {
            Ok(state) => (Some(state), Diagnostics::default()),
            Err(diagnostics) => (None, diagnostics),
        };
        let diagnostics = with_warnings(&mut cx, diagnostics);
        let identity = state.as_ref().map(|state| self.identity(name, state));
        ImportResponse {
            state,
            identity: identity.unwrap_or_default(),
            private: cx.private,
            diagnostics,
        }
    }

    /// MoveResourceState. Between two names of one resource the state is taken
    /// over as it is; from another provider the resource decides.
    pub fn move_resource(&self, target: &str, request: MoveRequest) -> Result<Value, Diagnostics> {
        let resource = self.resource(target)?;
        if self.is_renamed(target, &request) {
            let json = request.json.to_string().into_bytes();
            return self.upgrade_resource(target, request.schema_version, RawState::Json(json));
        }
        resource.move_from(&request).unwrap_or_else(|| {
            Err(Diagnostic::error(
                "Cannot move state",
                format!(
                    "An object of type {} of provider {} cannot become one of type {target}. Remove it from the state with a \"removed\" block, and import \
                     the object under the new name.",
                    request.type_name, request.provider_address
                ),
            )
            .into())
        })
    }

    /// Whether a move is between two names of one resource of ours: then what
    /// we remembered beside the state comes along. What another provider
    /// remembered means nothing to us.
    pub fn is_renamed(&self, target: &str, source: &MoveRequest) -> bool {
        let kind = |name| self.resources.get(name).map(|resource| resource.kind());
        let ours = source.provider_address.rsplit('/').next() == Some("ocir");
        ours && kind(target).is_some() && kind(source.type_name.as_str()) == kind(target)
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
        let mut cx = Context::new(self.looking_token());
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

    /// ValidateEphemeralResourceConfig.
    pub fn validate_ephemeral(&self, name: &str, config: &Value) -> Diagnostics {
        match self.ephemeral(name) {
            Ok(resource) => resource.validate(config),
            Err(diagnostics) => diagnostics,
        }
    }

    /// OpenEphemeralResource. What is not known yet is opened later; until then
    /// its results are unknown.
    pub async fn open_ephemeral(&self, name: &str, request: OpenRequest) -> OpenResponse {
        let mut cx = Context::new(self.looking_token());
        let later = |why| request.deferral_allowed.then_some(why);
        let resource = match self.ephemeral(name) {
            Ok(resource) => resource,
            Err(diagnostics) => return OpenResponse::failed(diagnostics),
        };
        if !request.config.is_wholly_known() {
            return OpenResponse {
                result: resource.planned(&request.config),
                private: not_open(),
                deferred: later(Deferred::ResourceConfigUnknown),
                ..OpenResponse::failed(Diagnostics::default())
            };
        }
        let result = match self.ready_clients() {
            Ok(clients) => resource.open(clients, &mut cx, &request.config).await,
            Err(diagnostics) => Err(diagnostics),
        };
        let opened = match result {
            Ok(opened) => opened,
            Err(diagnostics) => return OpenResponse::failed(with_warnings(&mut cx, diagnostics)),
        };
        if !opened.unknown.is_empty() {
            if !self.arguments_unknown.load(Ordering::Relaxed) {
                return OpenResponse::failed(with_warnings(&mut cx, opened.unknown));
            }
            let deferred = later(Deferred::ProviderConfigUnknown);
            if deferred.is_none() {
                cx.warn(not_yet(name));
            }
            return OpenResponse {
                result: opened.result,
                private: not_open(),
                deferred,
                ..OpenResponse::failed(cx.take_warnings())
            };
        }
        OpenResponse {
            result: opened.result,
            renew_at: opened.renew_at,
            diagnostics: cx.take_warnings(),
            private: cx.private,
            deferred: None,
        }
    }

    /// RenewEphemeralResource.
    pub async fn renew_ephemeral(&self, name: &str, private: Private) -> RenewResponse {
        let mut cx = self.context(private);
        let result = match self.ready_ephemeral(name) {
            Ok((resource, clients)) => resource.renew(clients, &mut cx).await,
            Err(diagnostics) => Err(diagnostics),
        };
        let (renew_at, diagnostics) = match result {
            Ok(renew_at) => (renew_at, Diagnostics::default()),
            Err(diagnostics) => (None, diagnostics),
        };
        let diagnostics = with_warnings(&mut cx, diagnostics);
        RenewResponse {
            renew_at,
            private: cx.private,
            diagnostics,
        }
    }

    /// CloseEphemeralResource.
    pub async fn close_ephemeral(&self, name: &str, private: Private) -> Diagnostics {
        if private == not_open() {
            return Diagnostics::default();
        }
        let mut cx = self.context(private);
        let result = match self.ready_ephemeral(name) {
            Ok((resource, clients)) => resource.close(clients, &mut cx).await,
            Err(diagnostics) => Err(diagnostics),
        };
        with_warnings(&mut cx, result.err().unwrap_or_default())
    }

    fn ephemeral(&self, name: &str) -> Result<&dyn ErasedEphemeral, Diagnostics> {
        self.ephemeral_resources
            .get(name)
            .map(|resource| &**resource)
            .ok_or_else(|| unsupported("ephemeral resource", name))
    }

    fn ready_ephemeral(
        &self,
        name: &str,
    ) -> Result<(&dyn ErasedEphemeral, AnyClients), Diagnostics> {
        Ok((self.ephemeral(name)?, self.ready_clients()?))
    }

    fn context(&self, private: Private) -> Context {
        let mut cx = Context::new(self.stop_token());
        cx.private = private;
        cx
    }

    /// Of a call that changes nothing.
    fn looking_context(&self, private: Private) -> Context {
        let mut cx = Context::new(self.looking_token());
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

impl OpenResponse {
    /// Nothing was opened.
    fn failed(diagnostics: Diagnostics) -> Self {
        Self {
            result: Value::Null,
            renew_at: None,
            private: Private::default(),
            deferred: None,
            diagnostics,
        }
    }
}

/// What a host gets to remember of something that will be opened later: it
/// closes also what had unknown results.
fn not_open() -> Private {
    let mut private = Private::default();
    private.set("", "not open");
    private
}

/// Terraform goes on with unknown results. OpenTofu does not, and calls them a
/// bug; nothing in the protocol tells the two apart.
fn not_yet(name: &str) -> Diagnostic {
    Diagnostic::warning(
        "Cannot open yet",
        format!(
            "An argument of the provider is known after apply only, so the results of {name} are unknown until then. \
             OpenTofu cannot plan with that: there, apply first what the argument depends on, with -target."
        ),
    )
}

/// An object became another one while it lived, which no object does. A host
/// that imports by identity takes for the earlier one what the user wrote.
fn changed_identity(consequence: &str) -> Diagnostics {
    Diagnostic::error(
        "Identity changed",
        format!(
            "The object is another one than before, though nothing replaced it. {consequence}\n\n\
             If it is being imported by its identity, the import asks for something that the object is not. \
             Otherwise this is a bug in the ocir provider."
        ),
    )
    .into()
}

fn with_warnings(cx: &mut Context, errors: Diagnostics) -> Diagnostics {
    let mut all = cx.take_warnings();
    all.append(errors);
    all
}

/// What is upgraded: an object, as every state is one, so that whoever does it need not look.
fn object(json: &[u8]) -> Result<serde_json::Value, String> {
    match serde_json::from_slice(json) {
        Ok(object @ serde_json::Value::Object(_)) => Ok(object),
        Ok(_) => Err("an object is expected".to_owned()),
        Err(error) => Err(error.to_string()),
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::{
        cty::{Number, Refinements, Type, encode_json},
        framework::{
            Attr, DataSource, DataSourceType, Failed, Plan, Resource, ResourceType, Secret,
            model::object,
        },
    };

    /// Arguments of the provider.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Config {
        /// Where it is.
        #[tf(optional, validate = lower)]
        region: Attr<String>,
    }

    /// A setting.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Setting {
        /// Its key.
        #[tf(required, validate = lower)]
        key: Attr<String>,
        /// Its value.
        #[tf(computed)]
        value: Attr<String>,
    }

    /// A probe, told by its title what to do.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct State {
        /// Its id.
        #[tf(computed, keep)]
        id: Attr<String>,
        /// Its name.
        #[tf(required, replace, validate = lower)]
        name: Attr<String>,
        /// What it does.
        #[tf(optional)]
        title: Attr<String>,
        /// How many.
        #[tf(default = 3)]
        count: Attr<i64>,
        /// Its digest.
        #[tf(computed)]
        digest: Attr<String>,
        /// Its password.
        #[tf(optional, write_only)]
        password: Attr<Secret<String>>,
        /// Its setting.
        #[tf(optional, nested)]
        setting: Attr<Setting>,
        /// Its names.
        #[tf(optional)]
        names: Attr<Vec<String>>,
    }

    fn lower(value: &Value) -> std::result::Result<(), String> {
        match value {
            Value::String(text) if text.to_lowercase() != *text => {
                Err("must be lower case".to_owned())
            }
            _ => Ok(()),
        }
    }

    struct Clients {
        region: String,
    }

    struct Probe(Arc<Clients>);

    fn problem(summary: &str) -> Diagnostic {
        Diagnostic::error(summary, "It is told to fail.")
    }

    impl Probe {
        fn finish(&self, mut state: State) -> State {
            state.id.fill(format!("{}-1", self.0.region));
            state.digest.fill("sha256:1".to_owned());
            if let Attr::Known(setting) = &mut state.setting {
                setting.value.fill("made".to_owned());
            }
            state
        }
    }

    impl Resource for Probe {
        type Clients = Clients;
        type State = State;
        const VERSION: i64 = 2;

        fn new(clients: Arc<Clients>) -> Self {
            Self(clients)
        }

        fn validate(config: &State) -> Diagnostics {
            match (config.title.as_str(), config.count.known()) {
                (Some("many"), Some(1)) => Diagnostic::error("Invalid combination", "Not many.")
                    .at(Path::attribute("count"))
                    .into(),
                _ => Diagnostics::default(),
            }
        }

        async fn plan(&self, cx: &mut Context, plan: &mut Plan<'_, State>) -> Result<()> {
            cx.private.set("planned", "yes");
            match plan.config.title.as_str() {
                Some("digest") => plan.planned.digest = "sha256:2".into(),
                Some("rotate") if plan.is_update() => {
                    plan.planned.id = Attr::Unknown;
                    plan.require_replacement("id");
                    plan.require_replacement("id");
                }
                Some("rotate") => plan.require_replacement("id"),
                Some("overstep") => {
                    plan.planned.name = "other".into();
                    plan.planned.password = Secret::from("leak").into();
                    plan.planned.names = vec!["unasked".to_owned()].into();
                    plan.planned.count = 4.into();
                }
                Some("ignore case") => {
                    if let Some(prior) = plan.prior {
                        plan.planned.names = prior.names.clone();
                    }
                }
                Some("setting") => {
                    if let Attr::Known(setting) = &mut plan.planned.setting {
                        setting.value = "planned".into();
                    }
                }
                Some("fail plan") => return Err(problem("Cannot plan probe").into()),
                _ => {}
            }
            if plan.changes(|state| &state.count) {
                cx.warn(Diagnostic::warning("Count changes", "It does."));
            }
            Ok(())
        }

        async fn create(
            &self,
            cx: &mut Context,
            config: &State,
            planned: State,
        ) -> Result<State, Failed<State>> {
            cx.private.set("created", "yes");
            cx.warn(Diagnostic::warning("Slow", "It took long."));
            match config.title.as_str() {
                Some("half") => {
                    return Err(Failed {
                        diagnostics: problem("Cannot finish probe").into(),
                        partial: Some(State {
                            id: "half-1".into(),
                            password: config.password.clone(),
                            ..planned
                        }),
                    });
                }
                Some("fail") => return Err(problem("Cannot create probe").into()),
                Some("forget") => return Ok(planned),
                Some("trim") => {
                    return Ok(State {
                        name: "trimmed".into(),
                        count: 99.into(),
                        password: config.password.clone(),
                        ..self.finish(planned)
                    });
                }
                Some("wait") => cx.stop.cancelled().await,
                _ => {}
            }
            Ok(self.finish(planned))
        }

        async fn read(&self, cx: &mut Context, state: State) -> Result<Option<State>> {
            match state.title.as_str() {
                Some("gone") => Ok(None),
                Some("fail") => Err(problem("Cannot read probe").into()),
                Some("forget") => Ok(Some(State {
                    digest: Attr::Unknown,
                    ..state
                })),
                _ => {
                    cx.private.set("seen", "yes");
                    Ok(Some(State {
                        count: 7.into(),
                        password: Secret::from("leak").into(),
                        ..state
                    }))
                }
            }
        }

        async fn update(
            &self,
            cx: &mut Context,
            config: &State,
            prior: &State,
            planned: State,
        ) -> Result<State, Failed<State>> {
            cx.private.remove("planned");
            match config.title.as_str() {
                Some("half") => Err(Failed {
                    diagnostics: problem("Cannot finish probe").into(),
                    partial: Some(State {
                        count: 50.into(),
                        ..prior.clone()
                    }),
                }),
                Some("fail") => Err(problem("Cannot update probe").into()),
                _ => Ok(self.finish(planned)),
            }
        }

        async fn delete(&self, _: &mut Context, state: State) -> Result<()> {
            match state.title.as_str() {
                Some("fail") => Err(problem("Cannot delete probe").into()),
                _ => Ok(()),
            }
        }

        async fn import(&self, cx: &mut Context, id: &str) -> Result<State> {
            if id == "none" {
                return Err(problem("Cannot import probe").into());
            }
            cx.private.set("imported", "yes");
            Ok(State {
                id: id.into(),
                name: Attr::Unknown,
                title: Attr::Null,
                count: Attr::Null,
                digest: Attr::Null,
                password: Attr::Null,
                setting: Attr::Null,
                names: Attr::Null,
            })
        }

        fn upgrade(version: i64, mut state: serde_json::Value) -> Result<serde_json::Value> {
            if version != 1 {
                return Err(problem("Cannot upgrade state").into());
            }
            state["name"] = state["old_name"].take();
            Ok(state)
        }

        fn move_from(source: &SourceState) -> Option<Result<State>> {
            (source.type_name == "their_probe").then(|| {
                Ok(State {
                    id: Attr::Unknown,
                    name: source.json["display_name"].as_str().unwrap_or("").into(),
                    title: Attr::Null,
                    count: 3.into(),
                    digest: Attr::Null,
                    password: Secret::from("leak").into(),
                    setting: Attr::Null,
                    names: Attr::Null,
                })
            })
        }
    }

    /// Another kind of object with the same attributes.
    struct Other;

    impl Resource for Other {
        type Clients = Clients;
        type State = Setting;

        fn new(_: Arc<Clients>) -> Self {
            Self
        }
        async fn create(
            &self,
            _: &mut Context,
            _: &Setting,
            planned: Setting,
        ) -> Result<Setting, Failed<Setting>> {
            Ok(planned)
        }
        async fn read(&self, _: &mut Context, state: Setting) -> Result<Option<Setting>> {
            Ok(Some(state))
        }
        async fn update(
            &self,
            _: &mut Context,
            _: &Setting,
            _: &Setting,
            planned: Setting,
        ) -> Result<Setting, Failed<Setting>> {
            Ok(planned)
        }
        async fn delete(&self, _: &mut Context, _: Setting) -> Result<()> {
            Ok(())
        }
    }

    /// What is looked up.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Found {
        /// What to look for.
        #[tf(optional)]
        key: Attr<String>,
        /// How to look.
        #[tf(default = "fast")]
        mode: Attr<String>,
        /// What is found.
        #[tf(computed)]
        value: Attr<String>,
    }

    struct LookUp(Arc<Clients>);

    impl DataSource for LookUp {
        type Clients = Clients;
        type State = Found;

        fn new(clients: Arc<Clients>) -> Self {
            Self(clients)
        }
        async fn read(&self, cx: &mut Context, config: Found) -> Result<Found> {
            cx.warn(Diagnostic::warning("Slow", "It took long."));
            let mode = config.mode.as_str().unwrap_or("none").to_owned();
            match config.key.as_str() {
                Some("fail") => Err(problem("Cannot look up").into()),
                Some("forget") => Ok(config),
                _ => Ok(Found {
                    key: "normalised".into(),
                    value: format!("{mode} in {}", self.0.region).into(),
                    ..config
                }),
            }
        }
    }

    struct Provide;

    impl Provider for Provide {
        type Clients = Clients;
        type Config = Config;

        async fn configure(&self, cx: &mut Context, config: Config) -> Result<Clients> {
            let region = config.region.known_or("nowhere".to_owned());
            match region.as_str() {
                "fail" => Err(problem("Cannot configure").into()),
                "slow" => {
                    cx.stop.cancelled().await;
                    Ok(Clients { region })
                }
                _ => Ok(Clients { region }),
            }
        }
        fn resources(&self) -> Vec<ResourceType<Clients>> {
            vec![
                ResourceType::new::<Probe>("ocir_probe"),
                ResourceType::new::<Probe>("oci_probe"),
                ResourceType::new::<Other>("ocir_other"),
            ]
        }
        fn data_sources(&self) -> Vec<DataSourceType<Clients>> {
            vec![DataSourceType::new::<LookUp>("ocir_found")]
        }
    }

    async fn server() -> Server {
        let server = Server::new(Provide);
        let diagnostics = server.configure(object([("region", "gru".into())])).await;
        assert_eq!(diagnostics, Diagnostics::default());
        server
    }

    fn with(value: &Value, changes: &[(&str, Value)]) -> Value {
        let Value::Map(mut members) = value.clone() else {
            panic!("an object is a map");
        };
        for (name, value) in changes {
            assert!(members.insert((*name).to_owned(), value.clone()).is_some());
        }
        Value::Map(members)
    }

    fn config(title: &str) -> Value {
        object([
            ("id", Value::Null),
            ("name", "web".into()),
            ("title", title.into()),
            ("count", Value::Null),
            ("digest", Value::Null),
            ("password", Value::Null),
            ("setting", Value::Null),
            ("names", Value::Null),
        ])
    }

    fn stored(title: &str) -> Value {
        with(
            &config(title),
            &[
                ("id", "gru-1".into()),
                ("count", 3.into()),
                ("digest", "sha256:1".into()),
            ],
        )
    }

    /// As Terraform merges, for what these tests configure.
    fn proposed(config: &Value, prior: &Value) -> Value {
        let kept = ["id", "count", "digest"].map(|name| {
            let configured = config.get(name).filter(|value| !value.is_null());
            let value = configured.or(prior.get(name)).unwrap_or(&Value::Null);
            (name, value.clone())
        });
        with(config, &kept)
    }

    async fn plan(server: &Server, config: &Value, prior: &Value) -> PlanResponse {
        let request = PlanRequest {
            config: config.clone(),
            prior: prior.clone(),
            proposed: proposed(config, prior),
            private: Private::default(),
            ..Default::default()
        };
        server.plan_resource("ocir_probe", request).await
    }

    async fn apply(server: &Server, config: &Value, prior: &Value) -> ApplyResponse {
        let planned = plan(server, config, prior).await;
        assert!(!planned.diagnostics.has_errors(), "{planned:?}");
        let request = ApplyRequest {
            config: config.clone(),
            prior: prior.clone(),
            planned: planned.planned,
            private: planned.private,
            ..Default::default()
        };
        server.apply_resource("ocir_probe", &request).await
    }

    async fn read(server: &Server, current: &Value) -> ReadResponse {
        let request = ReadRequest {
            current: current.clone(),
            private: Private::default(),
            ..Default::default()
        };
        server.read_resource("ocir_probe", request).await
    }

    fn text(diagnostics: &Diagnostics) -> String {
        let mut text = String::new();
        for diagnostic in diagnostics.iter() {
            text.push_str(&format!("{:?}", diagnostic.severity));
            if diagnostic.path != Path::root() {
                text.push_str(&format!(" at {}", diagnostic.path));
            }
            text.push_str(&format!(
                ": {}\n{}\n",
                diagnostic.summary, diagnostic.detail
            ));
        }
        text
    }

    #[track_caller]
    fn check(diagnostics: &Diagnostics, expected: Expect) {
        expected.assert_eq(&text(diagnostics));
    }

    /// The host may call from several threads at once.
    #[test]
    fn server_is_shared() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Server>();
    }

    /// The tables are sorted by name, and two names of one resource have one schema.
    #[test]
    fn tables() {
        let server = Server::new(Provide);
        let names: Vec<_> = server
            .resource_schemas()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["oci_probe", "ocir_other", "ocir_probe"]);
        assert_eq!(
            server.resource_schema("oci_probe"),
            server.resource_schema("ocir_probe")
        );
        assert_eq!(
            server
                .resource_schema("ocir_probe")
                .map(|schema| schema.version),
            Some(2)
        );
        assert_eq!(server.data_source_schemas().len(), 1);
        assert!(server.data_source_schema("ocir_probe").is_none());
        assert_eq!(server.provider_schema().block.attributes[0].name, "region");
    }

    /// Validation needs no configuration, goes everywhere, and lets unknown
    /// values pass.
    #[test]
    fn validation() {
        let server = Server::new(Provide);
        let setting = object([("key", "UP".into()), ("value", Value::Null)]);
        let wrong = with(
            &config("many"),
            &[
                ("name", "Web".into()),
                ("count", 1.into()),
                ("setting", setting),
            ],
        );
        check(
            &server.validate_resource("ocir_probe", &wrong),
            expect![[r#"
                Error at name: Invalid value
                Argument "name" must be lower case.
                Error at setting.key: Invalid value
                Argument "setting.key" must be lower case.
                Error at count: Invalid combination
                Not many.
            "#]],
        );
        let fraction = with(
            &config("x"),
            &[
                ("count", Value::Number(Number::Float(1.5))),
                ("names", Value::Seq(vec![Value::Null])),
            ],
        );
        check(
            &server.validate_resource("ocir_probe", &fraction),
            expect![[r#"
                Error at count: Invalid value
                Argument "count" must be a whole number that fits 64 bits.
                Error at names[0]: Invalid value
                Argument "names[0]" must not be null.
            "#]],
        );
        let unknown = with(
            &config("many"),
            &[
                ("name", Value::UNKNOWN),
                ("count", Value::UNKNOWN),
                ("setting", Value::UNKNOWN),
            ],
        );
        check(
            &server.validate_resource("ocir_probe", &unknown),
            expect![[r#""#]],
        );
        check(
            &server.validate_provider(&object([("region", "GRU".into())])),
            expect![[r#"
                Error at region: Invalid value
                Argument "region" must be lower case.
            "#]],
        );
        check(
            &server.validate_resource("ocir_nothing", &Value::Null),
            expect![[r#"
                Error: Unsupported resource type
                This release of the ocir provider has no resource "ocir_nothing". A newer one may have it.
            "#]],
        );
        check(
            &server.validate_data_source("ocir_probe", &Value::Null),
            expect![[r#"
                Error: Unsupported data source type
                This release of the ocir provider has no data source "ocir_probe". A newer one may have it.
            "#]],
        );
    }

    /// Work before the provider is configured, or after that failed.
    #[tokio::test]
    async fn not_configured() {
        let server = Server::new(Provide);
        let response = plan(&server, &config("x"), &Value::Null).await;
        check(
            &response.diagnostics,
            expect![[r#"
                Error: Provider is not configured
                The host asked about an object before it configured the provider. This is a bug in the host, or in the ocir provider.
            "#]],
        );
        let failed = server.configure(object([("region", "fail".into())])).await;
        check(
            &failed,
            expect![[r#"
                Error: Cannot configure
                It is told to fail.
            "#]],
        );
        let response = read(&server, &stored("x")).await;
        assert_eq!(response.state, stored("x"));
        assert!(response.diagnostics.has_errors());
        let (state, diagnostics) = server.read_data_source("ocir_found", Value::Null).await;
        assert_eq!(state, Value::Null);
        assert!(diagnostics.has_errors());
    }

    /// A life without incidents: create, nothing to do, update, delete.
    #[tokio::test]
    async fn life() {
        let server = server().await;
        let setting = object([("key", "k".into()), ("value", Value::Null)]);
        let config = with(
            &config("x"),
            &[("setting", setting), ("password", "hunter2".into())],
        );
        let created = apply(&server, &config, &Value::Null).await;
        check(
            &created.diagnostics,
            expect![[r#"
                Warning: Slow
                It took long.
            "#]],
        );
        assert_eq!(
            created.state,
            with(
                &stored("x"),
                &[(
                    "setting",
                    object([("key", "k".into()), ("value", "made".into())])
                )]
            )
        );
        assert_eq!(created.private.get("created"), Some(&b"yes"[..]));
        assert_eq!(created.private.get("planned"), Some(&b"yes"[..]));

        let config = with(&super::tests::config("x"), &[]);
        let plain = stored("x");
        let nothing = plan(&server, &config, &plain).await;
        assert_eq!(nothing.planned, plain);
        assert_eq!(nothing.replace, []);
        check(&nothing.diagnostics, expect![[r#""#]]);

        let changed = with(&config, &[("count", 4.into())]);
        let updated = apply(&server, &changed, &plain).await;
        assert_eq!(updated.state, with(&plain, &[("count", 4.into())]));
        assert_eq!(updated.private.get("planned"), None);

        let request = ApplyRequest {
            config: Value::Null,
            prior: updated.state,
            planned: Value::Null,
            private: updated.private,
            ..Default::default()
        };
        let deleted = server.apply_resource("ocir_probe", &request).await;
        assert_eq!(deleted.state, Value::Null);
        assert_eq!(deleted.diagnostics, Diagnostics::default());
    }

    /// A warning of the plan reaches the user, whatever else happens.
    #[tokio::test]
    async fn warnings() {
        let server = server().await;
        let changed = with(&config("x"), &[("count", 4.into())]);
        let response = plan(&server, &changed, &stored("x")).await;
        check(
            &response.diagnostics,
            expect![[r#"
                Warning: Count changes
                It does.
            "#]],
        );
    }

    /// What a hook changes is planned; refinements of what it leaves alone stay.
    #[tokio::test]
    async fn hook() {
        let server = server().await;
        let refined = Value::Unknown(Some(Box::new(Refinements {
            not_null: true,
            ..Refinements::default()
        })));
        let config = with(&config("digest"), &[("name", refined.clone())]);
        let response = plan(&server, &config, &Value::Null).await;
        assert_eq!(response.planned.get("digest"), Some(&"sha256:2".into()));
        assert_eq!(response.planned.get("name"), Some(&refined));
        assert_eq!(response.planned.get("id"), Some(&Value::UNKNOWN));

        // An otherwise unchanged object has a change now.
        let response = plan(&server, &super::tests::config("digest"), &stored("digest")).await;
        assert_eq!(
            response.planned,
            with(&stored("digest"), &[("digest", "sha256:2".into())])
        );

        // Neighbours of what changed inside a nested attribute keep theirs, too.
        let setting = |value| object([("key", refined.clone()), ("value", value)]);
        let config = with(
            &super::tests::config("setting"),
            &[("setting", setting(Value::Null))],
        );
        let response = plan(&server, &config, &Value::Null).await;
        assert_eq!(
            response.planned.get("setting"),
            Some(&setting("planned".into()))
        );
    }

    /// A hook can require replacement, once, and not of what does not exist.
    #[tokio::test]
    async fn hook_replaces() {
        let server = server().await;
        let response = plan(&server, &config("rotate"), &stored("rotate")).await;
        assert_eq!(response.replace, [Path::attribute("id")]);
        assert_eq!(response.planned.get("id"), Some(&Value::UNKNOWN));
        let response = plan(&server, &config("rotate"), &Value::Null).await;
        assert_eq!(response.replace, []);

        let renamed = with(&config("rotate"), &[("name", "api".into())]);
        let response = plan(&server, &renamed, &stored("rotate")).await;
        assert_eq!(
            response.replace,
            [Path::attribute("name"), Path::attribute("id")]
        );
    }

    /// A hook that oversteps does not make an illegal plan; what is computed it
    /// may plan, and taking the prior value is its right.
    #[tokio::test]
    async fn hook_oversteps() {
        let server = server().await;
        let response = plan(&server, &config("overstep"), &Value::Null).await;
        assert_eq!(
            response.planned,
            with(
                &config("overstep"),
                &[
                    ("id", Value::UNKNOWN),
                    ("digest", Value::UNKNOWN),
                    ("count", 4.into()),
                ]
            )
        );

        let names = |name: &str| ("names", Value::Seq(vec![name.into()]));
        let config = with(&config("ignore case"), &[names("a")]);
        let prior = with(&stored("ignore case"), &[names("A")]);
        let response = plan(&server, &config, &prior).await;
        assert_eq!(response.planned.get("names"), prior.get("names"));
    }

    /// A failed plan changes nothing.
    #[tokio::test]
    async fn plan_fails() {
        let server = server().await;
        let response = plan(&server, &config("fail plan"), &stored("x")).await;
        assert_eq!(response.planned, stored("x"));
        check(
            &response.diagnostics,
            expect![[r#"
                Error: Cannot plan probe
                It is told to fail.
            "#]],
        );
    }

    /// A null element that was unknown during validation stops the plan.
    #[tokio::test]
    async fn plan_of_null_elements() {
        let server = server().await;
        let config = with(&config("x"), &[("names", Value::Seq(vec![Value::Null]))]);
        let response = plan(&server, &config, &Value::Null).await;
        check(
            &response.diagnostics,
            expect![[r#"
                Error at names[0]: Invalid value
                Argument "names[0]" must not be null.
            "#]],
        );
    }

    /// A delete needs no plan, and no decoding.
    #[tokio::test]
    async fn plan_of_a_delete() {
        let server = server().await;
        let request = PlanRequest {
            config: Value::Null,
            prior: stored("fail plan"),
            proposed: Value::Null,
            private: Private::default(),
            ..Default::default()
        };
        let response = server.plan_resource("ocir_probe", request).await;
        assert_eq!(response.planned, Value::Null);
        assert_eq!(response.diagnostics, Diagnostics::default());
    }

    /// A create that failed half-way leaves the object in the state, without
    /// its write-only password and without unknown values.
    #[tokio::test]
    async fn create_fails() {
        let server = server().await;
        let config_half = with(&config("half"), &[("password", "hunter2".into())]);
        let half = apply(&server, &config_half, &Value::Null).await;
        assert_eq!(
            half.state,
            with(
                &stored("half"),
                &[("id", "half-1".into()), ("digest", Value::Null)]
            )
        );
        check(
            &half.diagnostics,
            expect![[r#"
                Warning: Slow
                It took long.
                Error: Cannot finish probe
                It is told to fail.
            "#]],
        );
        assert_eq!(half.private.get("created"), Some(&b"yes"[..]));

        let nothing = apply(&server, &config("fail"), &Value::Null).await;
        assert_eq!(nothing.state, Value::Null);
        assert!(nothing.diagnostics.has_errors());
    }

    /// An update that failed leaves what the object looks like now, or before.
    #[tokio::test]
    async fn update_fails() {
        let server = server().await;
        let change = |title| with(&config(title), &[("count", 4.into())]);
        let half = apply(&server, &change("half"), &stored("half")).await;
        assert_eq!(half.state, with(&stored("half"), &[("count", 50.into())]));
        assert!(half.diagnostics.has_errors());

        let nothing = apply(&server, &change("fail"), &stored("fail")).await;
        assert_eq!(nothing.state, stored("fail"));
        check(
            &nothing.diagnostics,
            expect![[r#"
                Error: Cannot update probe
                It is told to fail.
            "#]],
        );
    }

    /// A delete that failed keeps the object.
    #[tokio::test]
    async fn delete_fails() {
        let server = server().await;
        let request = ApplyRequest {
            config: Value::Null,
            prior: stored("fail"),
            planned: Value::Null,
            private: Private::default(),
            ..Default::default()
        };
        let response = server.apply_resource("ocir_probe", &request).await;
        assert_eq!(response.state, stored("fail"));
        assert!(response.diagnostics.has_errors());
    }

    /// A resource that leaves values unknown has a bug; the object is kept.
    #[tokio::test]
    async fn unknown_after_apply() {
        let server = server().await;
        let response = apply(&server, &config("forget"), &Value::Null).await;
        assert_eq!(
            response.state,
            with(
                &stored("forget"),
                &[("id", Value::Null), ("digest", Value::Null)]
            )
        );
        check(
            &response.diagnostics,
            expect![[r#"
                Warning: Slow
                It took long.
                Error at digest: Value is still unknown
                Attribute "digest" was not filled in. It is null in the state.

                This is a bug in the ocir provider.
                Error at id: Value is still unknown
                Attribute "id" was not filled in. It is null in the state.

                This is a bug in the ocir provider.
            "#]],
        );
    }

    /// A service that makes something else of configured values does not make
    /// the host taint the object: it shows as drift.
    #[tokio::test]
    async fn different_after_apply() {
        let server = server().await;
        let config = with(&config("trim"), &[("password", "hunter2".into())]);
        let response = apply(&server, &config, &Value::Null).await;
        assert_eq!(response.state, stored("trim"));
        assert!(!response.diagnostics.has_errors());
    }

    /// Refreshing shows drift, forgets what is gone, and keeps what cannot be read.
    #[tokio::test]
    async fn reading() {
        let server = server().await;
        let drifted = read(&server, &stored("x")).await;
        assert_eq!(drifted.state, with(&stored("x"), &[("count", 7.into())]));
        assert_eq!(drifted.private.get("seen"), Some(&b"yes"[..]));
        assert_eq!(read(&server, &stored("gone")).await.state, Value::Null);
        assert_eq!(read(&server, &Value::Null).await.state, Value::Null);

        let failed = read(&server, &stored("fail")).await;
        assert_eq!(failed.state, stored("fail"));
        check(
            &failed.diagnostics,
            expect![[r#"
                Error: Cannot read probe
                It is told to fail.
            "#]],
        );
        let forgotten = read(&server, &stored("forget")).await;
        assert_eq!(forgotten.state, stored("forget"));
        check(
            &forgotten.diagnostics,
            expect![[r#"
                Error at digest: Value is still unknown
                Attribute "digest" was not filled in. The state stays as it was.

                This is a bug in the ocir provider.
            "#]],
        );
    }

    /// An import gives what is known; the host reads the rest.
    #[tokio::test]
    async fn importing() {
        let server = server().await;
        let response = server.import_resource("ocir_probe", "gru-9").await;
        let Some(state) = response.state else {
            panic!("it is found");
        };
        assert_eq!(state.get("id"), Some(&"gru-9".into()));
        assert_eq!(state.get("name"), Some(&Value::Null));
        assert!(state.is_wholly_known());
        assert_eq!(response.private.get("imported"), Some(&b"yes"[..]));

        let response = server.import_resource("ocir_probe", "none").await;
        assert!(response.state.is_none());
        assert!(response.diagnostics.has_errors());
        let response = server.import_resource("ocir_other", "1").await;
        check(
            &response.diagnostics,
            expect![[r#"
                Error: Import is not supported
                This resource cannot be imported.
            "#]],
        );
        let response = server.import_resource("ocir_nothing", "1").await;
        check(
            &response.diagnostics,
            expect![[r#"
                Error: Unsupported resource type
                This release of the ocir provider has no resource "ocir_nothing". A newer one may have it.
            "#]],
        );
    }

    /// State of this version, of an older, of a newer, of an ancient one, and
    /// none at all.
    #[test]
    fn upgrading() {
        let server = Server::new(Provide);
        let upgrade = |version, json: &str| {
            let state = RawState::Json(json.as_bytes().to_vec());
            server.upgrade_resource("ocir_probe", version, state)
        };
        let state = upgrade(2, r#"{"name":"web","removed":[1]}"#).expect("it is readable");
        assert_eq!(state.get("name"), Some(&"web".into()));
        assert_eq!(state.get("removed"), None);
        assert_eq!(state.get("count"), Some(&3.into()));
        let state = upgrade(1, r#"{"old_name":"web"}"#).expect("it is upgradable");
        assert_eq!(state.get("name"), Some(&"web".into()));

        let error = |result: Result<Value>| text(&result.expect_err("it is refused"));
        expect![[r#"
            Error: Cannot upgrade state
            It is told to fail.
        "#]]
        .assert_eq(&error(upgrade(0, "{}")));
        expect![[r#"
            Error: Cannot read state
            The state of this ocir_probe was written by a newer release of the ocir provider (version 3 of its schema; this release knows 2). Use that release, or a newer one.
        "#]].assert_eq(&error(upgrade(3, "{}")));
        expect![[r#"
            Error: Cannot read state
            The stored state of the resource is not what its schema says: not valid JSON: EOF while parsing an object at line 1 column 1. Restore the state from a backup, or remove the resource from it and import the object.
        "#]].assert_eq(&error(upgrade(2, "{")));
        expect![[r#"
            Error: Cannot read state
            The stored state of the resource is not what its schema says: EOF while parsing an object at line 1 column 1. Restore the state from a backup, or remove the resource from it and import the object.
        "#]].assert_eq(&error(upgrade(1, "{")));
        expect![[r#"
            Error: Cannot read state
            The stored state of the resource is not what its schema says: count: number expected, found an array. Restore the state from a backup, or remove the resource from it and import the object.
        "#]].assert_eq(&error(upgrade(2, r#"{"count":["secret"]}"#)));
        expect![[r#"
            Error: Cannot read state
            The state of this ocir_probe was written by a Terraform before 0.12. Upgrade it with Terraform 0.12 first.
        "#]].assert_eq(&error(server.upgrade_resource(
            "ocir_probe",
            0,
            RawState::Flatmap,
        )));
        expect![[r#"
            Error: Cannot upgrade state
            State of version -1 was never written by a release of this provider.
        "#]]
        .assert_eq(&error(server.upgrade_resource(
            "ocir_other",
            -1,
            RawState::Json(b"{}".to_vec()),
        )));
    }

    proptest::proptest! {
        /// Whatever stands in a state, of whatever version: it is a state that can be stored
        /// and read again, or an error that repeats no value.
        #[test]
        fn any_state(
            state in crate::spoilt::json([
                serde_json::json!({"id": "1", "name": "web", "title": "hunter2", "count": 3, "removed": [1]}),
                serde_json::json!({"old_name": "web"}),
            ]),
            text in crate::spoilt::text(&["{\"name\":\"web\"}", "{\"count\":1e999}", "[]"]),
            version in -1..4_i64,
        ) {
            let server = Server::new(Provide);
            let ty = server.resource_schema("ocir_probe").map(|schema| schema.block.ty());
            let ty = ty.unwrap_or(Type::Dynamic);
            for json in [state.to_string(), text] {
                match server.upgrade_resource("ocir_probe", version, RawState::Json(json.into_bytes())) {
                    Ok(state) => {
                        let again = RawState::Json(encode_json(&state, &ty));
                        proptest::prop_assert_eq!(server.upgrade_resource("ocir_probe", 2, again), Ok(state));
                    }
                    Err(diagnostics) => {
                        let said = format!("{diagnostics:?}");
                        proptest::prop_assert!(said.len() < 2000 && !said.contains("hunter2"), "{}", said);
                    }
                }
            }
        }
    }

    /// Objects move between the names of one resource, both ways, from wherever
    /// the provider was installed, and from other providers that it knows.
    #[test]
    fn moving() {
        let server = Server::new(Provide);
        let ty = server
            .resource_schema("ocir_probe")
            .map(|schema| schema.block.ty());
        let ty = ty.unwrap_or(Type::Dynamic);
        let json = serde_json::from_slice(&encode_json(&stored("x"), &ty)).expect("it is JSON");
        let request = |address: &str, type_name: &str, version| SourceState {
            provider_address: address.to_owned(),
            type_name: type_name.to_owned(),
            schema_version: version,
            json: serde_json::Value::clone(&json),
        };
        for address in [
            "registry.terraform.io/motando/ocir",
            "example.com/fork/ocir",
        ] {
            for (source, target) in [("oci_probe", "ocir_probe"), ("ocir_probe", "oci_probe")] {
                let moved = server.move_resource(target, request(address, source, 2));
                assert_eq!(moved, Ok(stored("x")));
            }
        }
        // What is remembered comes along within the provider, and from nowhere else.
        let oracle = "registry.terraform.io/oracle/oci";
        for (address, source, expected) in [
            ("registry.opentofu.org/motando/ocir", "oci_probe", true),
            ("registry.opentofu.org/motando/ocir", "ocir_other", false),
            (oracle, "oci_probe", false),
        ] {
            let renamed = server.is_renamed("ocir_probe", &request(address, source, 2));
            assert_eq!(renamed, expected, "{address} {source}");
        }
        for (address, expected) in [
            (oracle, true),
            ("registry.opentofu.org/hashicorp/oci", true),
            ("oracle/oci", true),
            ("registry.terraform.io/other/oci", false),
            ("oci", false),
            ("", false),
        ] {
            let of = request(address, "x", 0).is_of(&["oracle/oci", "hashicorp/oci"]);
            assert_eq!(of, expected, "{address}");
        }
        let theirs = SourceState {
            json: serde_json::json!({"display_name": "theirs"}),
            ..request("registry.terraform.io/oracle/oci", "their_probe", 0)
        };
        let moved = server
            .move_resource("ocir_probe", theirs)
            .expect("it is known");
        assert_eq!(moved.get("name"), Some(&"theirs".into()));
        assert_eq!(moved.get("password"), Some(&Value::Null));
        assert!(moved.is_wholly_known());

        let error = |target, request| {
            text(
                &server
                    .move_resource(target, request)
                    .expect_err("it is refused"),
            )
        };
        let ours = "registry.terraform.io/motando/ocir";
        expect![[r#"
            Error: Cannot move state
            An object of type ocir_other of provider registry.terraform.io/motando/ocir cannot become one of type ocir_probe. Remove it from the state with a "removed" block, and import the object under the new name.
        "#]].assert_eq(&error("ocir_probe", request(ours, "ocir_other", 0)));
        expect![[r#"
            Error: Cannot move state
            An object of type oci_probe of provider registry.terraform.io/oracle/oci cannot become one of type ocir_probe. Remove it from the state with a "removed" block, and import the object under the new name.
        "#]].assert_eq(&error(
            "ocir_probe",
            request("registry.terraform.io/oracle/oci", "oci_probe", 2),
        ));
        expect![[r#"
            Error: Unsupported resource type
            This release of the ocir provider has no resource "ocir_nothing". A newer one may have it.
        "#]].assert_eq(&error("ocir_nothing", request(ours, "ocir_probe", 2)));
    }

    /// A data source answers, with its default and its configuration intact.
    #[tokio::test]
    async fn data_source() {
        let server = server().await;
        let config = |key: &str| {
            object([
                ("key", key.into()),
                ("mode", Value::Null),
                ("value", Value::Null),
            ])
        };
        let (state, diagnostics) = server.read_data_source("ocir_found", config("k")).await;
        assert_eq!(
            state,
            object([
                ("key", "k".into()),
                ("mode", "fast".into()),
                ("value", "fast in gru".into()),
            ])
        );
        check(
            &diagnostics,
            expect![[r#"
                Warning: Slow
                It took long.
            "#]],
        );
        let (_, diagnostics) = server.read_data_source("ocir_found", config("fail")).await;
        check(
            &diagnostics,
            expect![[r#"
                Warning: Slow
                It took long.
                Error: Cannot look up
                It is told to fail.
            "#]],
        );
        let (state, _) = server
            .read_data_source("ocir_found", config("forget"))
            .await;
        assert_eq!(state.get("value"), Some(&Value::Null));
    }

    /// An interrupt ends what looks, then and later; what acts goes on until the
    /// host says stop, and what acts after that runs.
    #[tokio::test]
    async fn an_interrupt_ends_what_looks() {
        let server = server().await;
        let (acting, looking) = (server.stop_token(), server.looking_token());
        server.interrupt();
        assert!(looking.is_cancelled() && server.looking_token().is_cancelled());
        assert!(!acting.is_cancelled());
        server.stop();
        assert!(acting.is_cancelled() && server.looking_token().is_cancelled());
        assert!(!server.stop_token().is_cancelled());
    }

    /// A stop ends what runs now, and later calls run; while a call waits,
    /// others are answered.
    #[tokio::test]
    async fn stopping() -> anyhow::Result<()> {
        let server = Arc::new(server().await);
        let waiting = tokio::spawn({
            let server = server.clone();
            async move { apply(&server, &config("wait"), &Value::Null).await }
        });
        let configuring = tokio::spawn({
            let server = server.clone();
            async move { server.configure(object([("region", "slow".into())])).await }
        });
        // One thread: both run until they wait.
        tokio::task::yield_now().await;
        let other = apply(&server, &config("x"), &Value::Null).await;
        assert_eq!(other.state, stored("x"));
        assert!(!waiting.is_finished() && !configuring.is_finished());

        server.stop();
        let limit = Duration::from_secs(20);
        let stopped = tokio::time::timeout(limit, waiting).await??;
        assert_eq!(stopped.state, stored("wait"));
        tokio::time::timeout(limit, configuring).await??;
        assert!(!server.stop_token().is_cancelled());
        Ok(())
    }
}
