//! A small Terraform core: it drives a provider over gRPC as a host does, and
//! checks after each call what a host checks.
//!
//! A story writes configurations as JSON ([`unknown`] for what is not known
//! yet), and reads states as JSON. Problems come back as the text that a user
//! would read:
//!
//! ```text
//! let host = Host::start(server).await?;
//! host.configure(json!({})).await?;
//! let mut web = host.resource("ocir_repository");
//! let state = web.apply(json!({ "display_name": "web" })).await?;
//! web.destroy().await?;
//! ```

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use ocir::{
    cty::{Path, Step, Type, Value, decode_msgpack, encode_json, encode_msgpack},
    framework::{Attribute, Block, Kind, Mode, NestedBlock, Nesting, Server},
    goplugin::MAX_MESSAGE_SIZE,
    protocol::{self, wire},
};
use serde_json::Value as Json;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::{json, rules};

/// A value that is known after apply, in a configuration.
pub fn unknown() -> Json {
    json::UNKNOWN.into()
}

/// What a user would read after a failure.
#[derive(Clone, PartialEq)]
pub struct Problems(String);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problems {}

type Result<T, E = Problems> = std::result::Result<T, E>;

/// A host with one provider.
#[derive(Clone, Debug)]
pub struct Host {
    channel: Channel,
    provider: Block,
    resources: Arc<BTreeMap<String, Schema>>,
    data_sources: Arc<BTreeMap<String, Schema>>,
    ephemeral_resources: Arc<BTreeMap<String, Schema>>,
    /// Empty for a host that knows no identities.
    identities: Arc<BTreeMap<String, Schema>>,
}

#[derive(Clone, Debug)]
struct Schema {
    version: i64,
    block: Block,
}

impl Host {
    /// Starts `server` behind a pipe and asks for its schemas.
    pub async fn start(server: Server) -> Result<Self> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let connection = tokio_stream::once(Ok::<_, std::io::Error>(theirs));
        tokio::spawn(
            tonic::transport::Server::builder()
                .serve_with_incoming(protocol::service(Arc::new(server)), connection),
        );
        let mut ours = Some(ours);
        let connect = tower::service_fn(move |_| {
            let pipe = ours.take().map(TokioIo::new);
            std::future::ready(pipe.ok_or_else(|| std::io::Error::other("the pipe was cut")))
        });
        let channel = Endpoint::from_static("http://pipe")
            .connect_with_connector(connect)
            .await
            .map_err(|error| bug("Cannot connect", &error.to_string()))?;
        let schemas: wire::GetProviderSchemaResponse = call(
            &channel,
            "GetProviderSchema",
            wire::GetProviderSchemaRequest {},
        )
        .await?;
        diagnose(&schemas.diagnostics)?;
        let identities: wire::GetResourceIdentitySchemasResponse = call(
            &channel,
            "GetResourceIdentitySchemas",
            wire::GetResourceIdentitySchemasRequest {},
        )
        .await?;
        diagnose(&identities.diagnostics)?;
        let identities = identities.identity_schemas.into_iter();
        let identities = identities.map(|(name, sent)| (name, identity_schema(sent)));
        let table = |schemas: BTreeMap<String, wire::Schema>| {
            let rows = schemas.into_iter();
            Arc::new(rows.map(|(name, sent)| (name, schema(sent))).collect())
        };
        Ok(Self {
            channel,
            provider: schema(schemas.provider.unwrap_or_default()).block,
            resources: table(schemas.resource_schemas),
            data_sources: table(schemas.data_source_schemas),
            ephemeral_resources: table(schemas.ephemeral_resource_schemas),
            identities: Arc::new(identities.collect()),
        })
    }

    /// The same provider, as a host from before identities sees it.
    pub fn without_identities(&self) -> Self {
        Self {
            identities: Arc::default(),
            ..self.clone()
        }
    }

    /// Validates and configures the provider; gives its warnings.
    pub async fn configure(&self, config: Json) -> Result<Vec<String>> {
        let config = configuration(&self.provider, &config)?;
        let ty = self.provider.ty();
        let request = wire::ValidateProviderConfigRequest {
            config: Some(encode(&config, &ty)),
        };
        let valid: wire::ValidateProviderConfigResponse =
            self.call("ValidateProviderConfig", request).await?;
        let mut warnings = diagnose(&valid.diagnostics)?;
        let request = wire::ConfigureProviderRequest {
            terraform_version: "1.15.5".to_owned(),
            config: Some(encode(&config, &ty)),
            client_capabilities: Some(CAPABILITIES),
        };
        let ready: wire::ConfigureProviderResponse =
            self.call("ConfigureProvider", request).await?;
        warnings.extend(diagnose(&ready.diagnostics)?);
        Ok(warnings)
    }

    /// An instance of a managed resource that is in no state yet.
    pub fn resource(&self, type_name: &str) -> Resource {
        let schema = self.resources.get(type_name);
        let schema = schema
            .unwrap_or_else(|| panic!("there is no resource {type_name}"))
            .clone();
        Resource {
            host: self.clone(),
            type_name: type_name.to_owned(),
            ty: schema.block.ty(),
            identity_ty: self.identities.get(type_name).map(|found| found.block.ty()),
            schema,
            object: Value::Null,
            identity: Value::Null,
            private: Bytes::new(),
            tainted: false,
            warnings: Vec::new(),
        }
    }

    /// Reads a data source.
    pub async fn data_source(&self, type_name: &str, config: Json) -> Result<Json> {
        let schema = self.data_sources.get(type_name);
        let block = &schema
            .unwrap_or_else(|| panic!("there is no data source {type_name}"))
            .block;
        let ty = block.ty();
        let config = configuration(block, &config)?;
        let request = wire::ValidateDataResourceConfigRequest {
            type_name: type_name.to_owned(),
            config: Some(encode(&config, &ty)),
        };
        let valid: wire::ValidateDataResourceConfigResponse =
            self.call("ValidateDataResourceConfig", request).await?;
        diagnose(&valid.diagnostics)?;
        let request = wire::ReadDataSourceRequest {
            type_name: type_name.to_owned(),
            config: Some(encode(&config, &ty)),
        };
        let read: wire::ReadDataSourceResponse = self.call("ReadDataSource", request).await?;
        diagnose(&read.diagnostics)?;
        let state = decode(read.state.as_ref(), &ty)?;
        let mut problems = rules::plan_problems(block, &Value::Null, &config, &state);
        if !state.is_wholly_known() {
            problems.push("something is unknown".to_owned());
        }
        broken("Provider produced invalid object", problems)?;
        Ok(json::to_json(&state, &ty))
    }

    /// Opens an ephemeral resource, as every plan and every apply does.
    pub async fn open(&self, type_name: &str, config: Json) -> Result<Ephemeral> {
        let schema = self.ephemeral_resources.get(type_name);
        let block = &schema
            .unwrap_or_else(|| panic!("there is no ephemeral resource {type_name}"))
            .block;
        let ty = block.ty();
        let config = configuration(block, &config)?;
        let request = wire::ValidateEphemeralResourceConfigRequest {
            type_name: type_name.to_owned(),
            config: Some(encode(&config, &ty)),
        };
        let valid: wire::ValidateEphemeralResourceConfigResponse = self
            .call("ValidateEphemeralResourceConfig", request)
            .await?;
        let mut warnings = diagnose(&valid.diagnostics)?;
        let mut opened = Ephemeral {
            host: self.clone(),
            type_name: type_name.to_owned(),
            result: Json::Null,
            renew_at: None,
            warnings: Vec::new(),
            opened: Bytes::new(),
            renewal: Bytes::new(),
        };
        if !config.is_wholly_known() {
            // A host does not even ask: the results are unknown.
            let planned = rules::planned_data(block, &config);
            opened.result = json::to_json(&planned, &ty);
            return Ok(opened);
        }
        let request = wire::OpenEphemeralResourceRequest {
            type_name: type_name.to_owned(),
            config: Some(encode(&config, &ty)),
            client_capabilities: Some(CAPABILITIES),
        };
        let answer: wire::OpenEphemeralResourceResponse =
            self.call("OpenEphemeralResource", request).await?;
        warnings.extend(diagnose(&answer.diagnostics)?);
        if answer.deferred.is_some() {
            return Err(bug("Provider deferred what may not be deferred", type_name));
        }
        let result = decode(answer.result.as_ref(), &ty)?;
        let problems = rules::plan_problems(block, &Value::Null, &config, &result);
        broken(
            "Provider produced invalid ephemeral resource instance",
            problems,
        )?;
        opened.result = json::to_json(&result, &ty);
        opened.renew_at = answer.renew_at;
        opened.warnings = warnings;
        opened.opened = answer.private.unwrap_or_default();
        opened.renewal = opened.opened.clone();
        Ok(opened)
    }

    /// Interrupts what runs, as Ctrl-C does.
    pub async fn stop(&self) -> Result<()> {
        let stopped: wire::StopProviderResponse = self
            .call("StopProvider", wire::StopProviderRequest {})
            .await?;
        match stopped.error.as_str() {
            "" => Ok(()),
            error => Err(bug("Cannot stop the provider", error)),
        }
    }

    /// One call, for what a story has to say itself.
    pub async fn call<Q, A>(&self, name: &str, request: Q) -> Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        call(&self.channel, name, request).await
    }
}

/// An ephemeral resource that is open.
#[derive(Debug)]
pub struct Ephemeral {
    host: Host,
    type_name: String,
    /// Arguments and results; [`unknown`] where they are opened later.
    pub result: Json,
    /// When it is to be renewed.
    pub renew_at: Option<wire::Timestamp>,
    /// Warnings, as a user reads them.
    pub warnings: Vec<String>,
    opened: Bytes,
    renewal: Bytes,
}

impl Ephemeral {
    /// Renews it once.
    pub async fn renew(&mut self) -> Result<()> {
        let request = wire::RenewEphemeralResourceRequest {
            type_name: self.type_name.clone(),
            private: Some(self.renewal.clone()),
        };
        let renewed: wire::RenewEphemeralResourceResponse =
            self.host.call("RenewEphemeralResource", request).await?;
        self.warnings.extend(diagnose(&renewed.diagnostics)?);
        self.renew_at = renewed.renew_at;
        self.renewal = renewed.private.unwrap_or_default();
        Ok(())
    }

    /// Closes it, with what opening it gave: a host forgets what renewals said.
    pub async fn close(self) -> Result<Vec<String>> {
        let request = wire::CloseEphemeralResourceRequest {
            type_name: self.type_name.clone(),
            private: Some(self.opened),
        };
        let closed: wire::CloseEphemeralResourceResponse =
            self.host.call("CloseEphemeralResource", request).await?;
        diagnose(&closed.diagnostics)
    }
}

/// An instance of a managed resource, with its state.
pub struct Resource {
    host: Host,
    type_name: String,
    schema: Schema,
    ty: Type,
    identity_ty: Option<Type>,
    object: Value,
    identity: Value,
    private: Bytes,
    tainted: bool,
    warnings: Vec<String>,
}

/// What a plan does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Delete,
    Noop,
    Replace,
    Update,
}

/// A plan, ready to be shown or applied.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedChange {
    pub action: Action,
    /// The state before; null for a create.
    pub before: Json,
    /// The planned state; [`unknown`] where it is known after apply.
    pub after: Json,
    /// Attributes that require replacement.
    pub replace: Vec<String>,
    /// Warnings, as a user reads them.
    pub warnings: Vec<String>,
    config: Value,
    planned: Value,
    identity: Value,
    private: Bytes,
}

impl Resource {
    /// The whole story of a change: plan, apply, then refresh and plan again,
    /// which must change nothing. Gives the new state.
    pub async fn apply(&mut self, config: Json) -> Result<Json> {
        let change = self.plan(config.clone()).await?;
        self.apply_planned(&change).await?;
        let applied = self.object.clone();
        if self.identity_ty.is_some() && self.identity.is_null() {
            return Err(bug("Identity is missing after apply", &self.type_name));
        }
        self.refresh().await?;
        if !rules::same(&applied, &self.object) {
            let text = format!(
                "{:#}\n\nbecame\n\n{:#}",
                json::to_json(&applied, &self.ty),
                self.json()
            );
            return Err(bug("State changed by a refresh", &text));
        }
        self.expect_noop(config).await?;
        Ok(self.json())
    }

    /// Fails unless the configuration is what is there.
    pub async fn expect_noop(&mut self, config: Json) -> Result<()> {
        let again = self.plan(config).await?;
        if again.action != Action::Noop {
            let text = format!(
                "{:?}\n\n{:#}\n\nto\n\n{:#}",
                again.action, again.before, again.after
            );
            return Err(bug("Plan is not empty", &text));
        }
        Ok(())
    }

    /// Validates, refreshes and plans; plans a second time, which must give
    /// the same. Drift is in [`PlannedChange::before`].
    pub async fn plan(&mut self, config: Json) -> Result<PlannedChange> {
        let config = configuration(&self.schema.block, &config)?;
        let warnings = self.validate(&config).await?;
        self.refresh().await?;
        let first = self.plan_once(&config).await?;
        let second = self.plan_once(&config).await?;
        if first != second {
            let text = format!("{:#}\n\nthen\n\n{:#}", first.after, second.after);
            return Err(bug("Two plans differ", &text));
        }
        Ok(PlannedChange {
            warnings: warnings.into_iter().chain(first.warnings).collect(),
            ..first
        })
    }

    /// Plans without a refresh, as `-refresh=false` does.
    pub async fn plan_unrefreshed(&self, config: Json) -> Result<PlannedChange> {
        let config = configuration(&self.schema.block, &config)?;
        self.plan_once(&config).await
    }

    /// Validates and plans, as `-refresh=false` does.
    pub async fn plan_without_refresh(&mut self, config: Json) -> Result<PlannedChange> {
        let config = configuration(&self.schema.block, &config)?;
        self.validate(&config).await?;
        self.plan_once(&config).await
    }

    /// Plans the destruction, which is up to the host.
    pub fn plan_destroy(&self) -> PlannedChange {
        PlannedChange {
            action: if self.object.is_null() {
                Action::Noop
            } else {
                Action::Delete
            },
            before: self.json(),
            after: Json::Null,
            replace: Vec::new(),
            warnings: Vec::new(),
            config: Value::Null,
            planned: Value::Null,
            identity: Value::Null,
            private: self.private.clone(),
        }
    }

    /// Applies a plan. After an error the state holds what exists.
    pub async fn apply_planned(&mut self, change: &PlannedChange) -> Result<()> {
        match change.action {
            Action::Noop => Ok(()),
            Action::Replace => {
                self.delete().await?;
                self.change(change).await
            }
            Action::Delete => self.delete().await,
            Action::Create | Action::Update => self.change(change).await,
        }
    }

    /// Refreshes, then destroys.
    pub async fn destroy(&mut self) -> Result<()> {
        self.refresh().await?;
        let change = self.plan_destroy();
        self.apply_planned(&change).await
    }

    /// Looks at the object, as it is before each plan. Gives the state, null
    /// when the object is gone.
    pub async fn refresh(&mut self) -> Result<Json> {
        if self.object.is_null() {
            return Ok(Json::Null);
        }
        // State is JSON between two runs, and may be of an older schema.
        let stored = encode_json(&self.object, &self.ty);
        self.object = self.upgraded(self.schema.version, stored).await?;
        let request = wire::ReadResourceRequest {
            type_name: self.type_name.clone(),
            current_state: Some(encode(&self.object, &self.ty)),
            private: self.private.clone(),
            current_identity: self.sent_identity(&self.identity),
        };
        let read: wire::ReadResourceResponse = self.host.call("ReadResource", request).await?;
        self.warnings.extend(diagnose(&read.diagnostics)?);
        let state = decode(read.new_state.as_ref(), &self.ty)?;
        self.check_state("Provider produced invalid object", &state)?;
        let identity = self.identity_of(read.new_identity.as_ref())?;
        if !state.is_null() {
            self.check_same_identity(&identity)?;
        }
        self.tainted &= !state.is_null();
        self.object = state;
        self.identity = identity;
        self.private = read.private;
        Ok(self.json())
    }

    /// Imports an object, and looks at it.
    pub async fn import(&mut self, id: &str) -> Result<Json> {
        self.import_by(id, &Value::Null).await
    }

    /// Imports an object by its identity, and looks at it.
    pub async fn import_by_identity(&mut self, identity: Json) -> Result<Json> {
        let schema = self.host.identities.get(&self.type_name);
        let schema = schema.unwrap_or_else(|| panic!("{} has no identity", self.type_name));
        let identity = configuration(&schema.block, &identity)?;
        let read = self.import_by("", &identity).await?;
        Ok(read)
    }

    async fn import_by(&mut self, id: &str, identity: &Value) -> Result<Json> {
        let request = wire::ImportResourceStateRequest {
            type_name: self.type_name.clone(),
            id: id.to_owned(),
            client_capabilities: Some(CAPABILITIES),
            identity: self.sent_identity(identity),
        };
        let answer: wire::ImportResourceStateResponse =
            self.host.call("ImportResourceState", request).await?;
        self.warnings.extend(diagnose(&answer.diagnostics)?);
        let [imported] = answer.imported_resources.as_slice() else {
            return Err(bug("Import gave no object", &format!("{id:?}")));
        };
        if imported.type_name != self.type_name {
            return Err(bug("Import gave another type", &imported.type_name));
        }
        let state = decode(imported.state.as_ref(), &self.ty)?;
        self.check_state("Import returned an invalid object", &state)?;
        self.identity = self.identity_of(imported.identity.as_ref())?;
        if !identity.is_null() && self.identity.is_null() {
            return Err(bug("Import did not return an identity", &self.type_name));
        }
        self.object = state;
        self.private = imported.private.clone();
        let read = self.refresh().await?;
        if read.is_null() {
            return Err(bug(
                "Cannot import non-existent remote object",
                &format!("{id:?} does not exist."),
            ));
        }
        Ok(read)
    }

    /// Takes over the state of another resource, as a `moved` block does.
    pub async fn move_from(
        &mut self,
        provider: &str,
        type_name: &str,
        version: i64,
        state: &Json,
    ) -> Result<Json> {
        let request = wire::MoveResourceStateRequest {
            source_provider_address: provider.to_owned(),
            source_type_name: type_name.to_owned(),
            source_schema_version: version,
            source_state: Some(raw(state.to_string().into())),
            target_type_name: self.type_name.clone(),
            source_private: Bytes::from_static(b"what the source remembered"),
        };
        let moved: wire::MoveResourceStateResponse =
            self.host.call("MoveResourceState", request).await?;
        self.warnings.extend(diagnose(&moved.diagnostics)?);
        let state = decode(moved.target_state.as_ref(), &self.ty)?;
        self.check_state("Provider returned invalid value", &state)?;
        self.identity = self.identity_of(moved.target_identity.as_ref())?;
        self.object = state;
        self.private = moved.target_private;
        Ok(self.json())
    }

    /// Puts a stored state in place, which an earlier release may have written.
    pub async fn set_state(&mut self, version: i64, state: &Json) -> Result<Json> {
        self.object = self
            .upgraded(version, state.to_string().into_bytes())
            .await?;
        Ok(self.json())
    }

    /// Puts a stored identity in place, which an earlier release may have written.
    pub async fn set_identity(&mut self, version: i64, identity: &Json) -> Result<Json> {
        let request = wire::UpgradeResourceIdentityRequest {
            type_name: self.type_name.clone(),
            version,
            raw_identity: Some(raw(identity.to_string().into_bytes())),
        };
        let upgraded: wire::UpgradeResourceIdentityResponse =
            self.host.call("UpgradeResourceIdentity", request).await?;
        diagnose(&upgraded.diagnostics)?;
        self.identity = self.identity_of(upgraded.upgraded_identity.as_ref())?;
        Ok(self.identity())
    }

    /// The identity; null when there is none.
    pub fn identity(&self) -> Json {
        let ty = self.identity_ty.as_ref();
        ty.map_or(Json::Null, |ty| json::to_json(&self.identity, ty))
    }

    /// The state; null when there is none.
    pub fn state(&self) -> Json {
        self.json()
    }

    /// The private state, as it was given to the host.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    /// Changes the values of the private state, as somebody else may have written it.
    pub fn edit_private(&mut self, edit: impl FnOnce(&mut Json)) -> serde_json::Result<()> {
        let mut stored: Json = serde_json::from_slice(&self.private)?;
        edit(&mut stored["values"]);
        self.private = stored.to_string().into();
        Ok(())
    }

    /// Takes over what another process left: state and private state.
    pub fn take_over(&mut self, other: &Self) {
        self.object = other.object.clone();
        self.identity = other.identity.clone();
        self.private = other.private.clone();
    }

    /// Whether a host hides an attribute.
    #[track_caller]
    pub fn is_sensitive(&self, attribute: &str) -> bool {
        let mut attributes = self.schema.block.attributes.iter();
        let found = attributes.find(|found| found.name == attribute);
        found.expect("there is such an attribute").sensitive
    }

    /// Whether a create failed half way: the next plan replaces the object.
    pub fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// Marks the object to be replaced, as `terraform taint` does.
    pub fn taint(&mut self) {
        self.tainted = true;
    }

    /// Warnings of calls other than planning, taken out.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn json(&self) -> Json {
        json::to_json(&self.object, &self.ty)
    }

    async fn validate(&self, config: &Value) -> Result<Vec<String>> {
        let request = wire::ValidateResourceConfigRequest {
            type_name: self.type_name.clone(),
            config: Some(encode(config, &self.ty)),
            client_capabilities: Some(CAPABILITIES),
        };
        let valid: wire::ValidateResourceConfigResponse =
            self.host.call("ValidateResourceConfig", request).await?;
        diagnose(&valid.diagnostics)
    }

    async fn upgraded(&self, version: i64, state: Vec<u8>) -> Result<Value> {
        let request = wire::UpgradeResourceStateRequest {
            type_name: self.type_name.clone(),
            version,
            raw_state: Some(raw(state)),
        };
        let upgraded: wire::UpgradeResourceStateResponse =
            self.host.call("UpgradeResourceState", request).await?;
        diagnose(&upgraded.diagnostics)?;
        decode(upgraded.upgraded_state.as_ref(), &self.ty)
    }

    async fn plan_once(&self, config: &Value) -> Result<PlannedChange> {
        let exists = !self.object.is_null();
        let fresh = exists && self.tainted;
        let prior = if fresh { &Value::Null } else { &self.object };
        let private = match prior.is_null() {
            true => Bytes::new(),
            false => self.private.clone(),
        };
        let mut answer = self.ask_for_plan(prior, &private, config).await?;
        let mut warnings = diagnose(&answer.diagnostics)?;
        let mut planned = self.check_plan(&answer, prior, config)?;
        let mut identity = self.identity_of(answer.planned_identity.as_ref())?;

        // An attribute that does not change does not replace anything.
        let paths = answer.requires_replace.iter().map(path);
        let mut replace: Vec<String> = paths
            .filter(|path| {
                let (before, after) = (rules::at(prior, path), rules::at(&planned, path));
                after.is_unknown() || !rules::same(before, after)
            })
            .map(|path| path.to_string())
            .collect();
        replace.sort();
        replace.dedup();

        let action = match exists {
            false => Action::Create,
            true if fresh => Action::Replace,
            true if !replace.is_empty() => {
                // The new object is planned as a create, with what the first plan remembered.
                let private = answer.planned_private.clone();
                answer = self.ask_for_plan(&Value::Null, &private, config).await?;
                warnings.extend(diagnose(&answer.diagnostics)?);
                planned = self.check_plan(&answer, &Value::Null, config)?;
                identity = self.identity_of(answer.planned_identity.as_ref())?;
                Action::Replace
            }
            true if rules::same(prior, &planned) => Action::Noop,
            true => Action::Update,
        };
        if action != Action::Replace {
            replace.clear();
        }
        if matches!(action, Action::Update | Action::Noop) {
            self.check_same_identity(&identity)?;
        }
        warnings.dedup();
        Ok(PlannedChange {
            action,
            before: self.json(),
            after: json::to_json(&planned, &self.ty),
            replace,
            warnings,
            config: config.clone(),
            planned,
            identity,
            private: answer.planned_private,
        })
    }

    async fn ask_for_plan(
        &self,
        prior: &Value,
        private: &Bytes,
        config: &Value,
    ) -> Result<wire::PlanResourceChangeResponse> {
        let proposed = rules::proposed_new(&self.schema.block, prior, config);
        let request = wire::PlanResourceChangeRequest {
            type_name: self.type_name.clone(),
            prior_state: Some(encode(prior, &self.ty)),
            proposed_new_state: Some(encode(&proposed, &self.ty)),
            config: Some(encode(config, &self.ty)),
            prior_private: private.clone(),
            client_capabilities: Some(CAPABILITIES),
            prior_identity: self.sent_identity(&self.identity),
        };
        self.host.call("PlanResourceChange", request).await
    }

    /// An identity from an answer. One in a plan may be unknown by the protocol,
    /// but then Terraform 1.12 to 1.15 cannot show the plan.
    fn identity_of(&self, sent: Option<&wire::ResourceIdentity>) -> Result<Value> {
        let (ty, sent) = match (&self.identity_ty, sent) {
            (Some(ty), Some(sent)) => (ty, sent),
            _ => return Ok(Value::Null),
        };
        let identity = decode(sent.identity.as_ref(), ty)?;
        match identity.is_wholly_known() {
            true => Ok(identity),
            false => Err(bug("Provider produced invalid identity", &self.type_name)),
        }
    }

    fn sent_identity(&self, identity: &Value) -> Option<wire::ResourceIdentity> {
        let ty = self.identity_ty.as_ref().filter(|_| !identity.is_null())?;
        Some(wire::ResourceIdentity {
            identity: Some(encode(identity, ty)),
        })
    }

    /// While an object lives, its identity stays; what an import left out may come.
    fn check_same_identity(&self, now: &Value) -> Result<()> {
        let Value::Map(before) = &self.identity else {
            return Ok(());
        };
        let mut members = before.iter();
        let changed =
            members.find(|(name, before)| !before.is_null() && now.get(name) != Some(before));
        match changed {
            None => Ok(()),
            Some((name, before)) => {
                let detail = format!("{name} was {before:?}, and is {:?}", now.get(name));
                Err(bug("Provider changed an identity", &detail))
            }
        }
    }

    fn check_plan(
        &self,
        answer: &wire::PlanResourceChangeResponse,
        prior: &Value,
        config: &Value,
    ) -> Result<Value> {
        let planned = decode(answer.planned_state.as_ref(), &self.ty)?;
        let problems = rules::plan_problems(&self.schema.block, prior, config, &planned);
        broken("Provider produced invalid plan", problems)?;
        Ok(planned)
    }

    /// Creates or updates.
    async fn change(&mut self, change: &PlannedChange) -> Result<()> {
        let creates = self.object.is_null();
        let answer = self
            .ask_to_apply(
                &change.config,
                &change.planned,
                &change.private,
                &change.identity,
            )
            .await?;
        let outcome = diagnose(&answer.diagnostics);
        let state = decode(answer.new_state.as_ref(), &self.ty)?;
        self.check_state(
            "Provider returned invalid result object after apply",
            &state,
        )?;
        let identity = self.identity_of(answer.new_identity.as_ref())?;
        if !creates && !state.is_null() {
            self.check_same_identity(&identity)?;
        }
        if !state.is_null() || outcome.is_ok() {
            self.object = state;
            self.identity = identity;
            self.private = answer.private;
        }
        self.tainted = creates && outcome.is_err() && !self.object.is_null();
        self.warnings.extend(outcome?);
        let problems = rules::apply_problems(&self.schema.block, &change.planned, &self.object);
        broken(
            "Provider produced inconsistent result after apply",
            problems,
        )
    }

    async fn delete(&mut self) -> Result<()> {
        let private = self.private.clone();
        let answer = self
            .ask_to_apply(&Value::Null, &Value::Null, &private, &Value::Null)
            .await?;
        let outcome = diagnose(&answer.diagnostics);
        let state = decode(answer.new_state.as_ref(), &self.ty)?;
        self.check_state(
            "Provider returned invalid result object after apply",
            &state,
        )?;
        self.object = state;
        self.identity = self.identity_of(answer.new_identity.as_ref())?;
        self.private = answer.private;
        self.warnings.extend(outcome?);
        if !self.object.is_null() {
            return Err(bug(
                "Object still exists after a delete",
                &self.json().to_string(),
            ));
        }
        self.tainted = false;
        self.private = Bytes::new();
        Ok(())
    }

    async fn ask_to_apply(
        &self,
        config: &Value,
        planned: &Value,
        private: &Bytes,
        identity: &Value,
    ) -> Result<wire::ApplyResourceChangeResponse> {
        let request = wire::ApplyResourceChangeRequest {
            type_name: self.type_name.clone(),
            prior_state: Some(encode(&self.object, &self.ty)),
            planned_state: Some(encode(planned, &self.ty)),
            config: Some(encode(config, &self.ty)),
            planned_private: private.clone(),
            planned_identity: self.sent_identity(identity),
        };
        self.host.call("ApplyResourceChange", request).await
    }

    /// What goes into a state is known, and not write-only.
    fn check_state(&self, summary: &str, state: &Value) -> Result<()> {
        let mut problems = rules::write_only_values(&self.schema.block, state);
        problems
            .iter_mut()
            .for_each(|path| path.push_str(": write-only attribute is not null"));
        if !state.is_wholly_known() {
            let state = json::to_json(state, &self.ty);
            problems.push(format!("something is unknown: {state}"));
        }
        broken(summary, problems)
    }
}

/// A configuration by its schema, as far as the host itself checks it.
fn configuration(block: &Block, config: &Json) -> Result<Value> {
    let mut value = json::from_json(config, &block.ty())
        .map_err(|error| bug("Unsupported argument", error.trim_start_matches('.')))?;
    let mut problems = Vec::new();
    normalise(block, &mut value, Some(config), &mut problems);
    match problems.is_empty() {
        true => Ok(value),
        false => Err(Problems(problems.join("\n\n"))),
    }
}

/// Absent blocks are empty collections; arguments are set by whom they are for. `given`
/// tells those that are null from those that are not there, at the top.
fn normalise(block: &Block, value: &mut Value, given: Option<&Json>, problems: &mut Vec<String>) {
    let Value::Map(members) = value else { return };
    check_arguments(&block.attributes, members, given, problems);
    for nested in &block.blocks {
        let Some(value) = members.get_mut(&nested.name) else {
            continue;
        };
        match value {
            Value::Null if matches!(nested.nesting, Nesting::List | Nesting::Set) => {
                *value = Value::Seq(Vec::new())
            }
            Value::Null if nested.nesting == Nesting::Map => *value = Value::Map(BTreeMap::new()),
            Value::Seq(elements) => {
                elements
                    .iter_mut()
                    .for_each(|element| normalise(&nested.block, element, None, problems));
            }
            Value::Map(elements) if nested.nesting == Nesting::Map => {
                elements
                    .values_mut()
                    .for_each(|element| normalise(&nested.block, element, None, problems));
            }
            value => normalise(&nested.block, value, None, problems),
        }
    }
}

fn check_arguments(
    attributes: &[Attribute],
    members: &BTreeMap<String, Value>,
    given: Option<&Json>,
    problems: &mut Vec<String>,
) {
    for attribute in attributes {
        let value = members.get(&attribute.name).unwrap_or(&Value::Null);
        let name = &attribute.name;
        let is_missing = match given {
            Some(given) => given.get(name).is_none(),
            None => value.is_null(),
        };
        if attribute.mode == Mode::Required && is_missing {
            problems.push(format!(
                "Error: Missing required argument\n\nThe argument \"{name}\" is required, but no definition was found."
            ));
        }
        if attribute.mode == Mode::Computed && !value.is_null() {
            problems.push(format!(
                "Error: Value for unconfigurable attribute\n\nCan't configure a value for \"{name}\": its value will be decided automatically."
            ));
        }
        let Kind::Nested(nesting, attributes) = &attribute.kind else {
            continue;
        };
        match value {
            Value::Map(members) if *nesting == Nesting::Single => {
                check_arguments(attributes, members, None, problems)
            }
            Value::Map(elements) => elements.values().for_each(|element| {
                if let Value::Map(members) = element {
                    check_arguments(attributes, members, None, problems);
                }
            }),
            Value::Seq(elements) => elements.iter().for_each(|element| {
                if let Value::Map(members) = element {
                    check_arguments(attributes, members, None, problems);
                }
            }),
            _ => {}
        }
    }
}

async fn call<Q, A>(channel: &Channel, name: &str, request: Q) -> Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let broke =
        |error: &dyn fmt::Display| bug("Plugin did not respond", &format!("{name}: {error}"));
    let mut client = tonic::client::Grpc::new(channel.clone())
        .max_decoding_message_size(MAX_MESSAGE_SIZE)
        .max_encoding_message_size(MAX_MESSAGE_SIZE);
    client.ready().await.map_err(|error| broke(&error))?;
    let path = http::uri::PathAndQuery::try_from(format!("/tfplugin6.Provider/{name}"))
        .map_err(|error| broke(&error))?;
    let answer = client
        .unary(
            tonic::Request::new(request),
            path,
            ProstCodec::<Q, A>::default(),
        )
        .await;
    Ok(answer.map_err(|error| broke(&error))?.into_inner())
}

fn encode(value: &Value, ty: &Type) -> wire::DynamicValue {
    wire::DynamicValue {
        msgpack: encode_msgpack(value, ty).into(),
        json: Bytes::new(),
    }
}

fn decode(sent: Option<&wire::DynamicValue>, ty: &Type) -> Result<Value> {
    let Some(sent) = sent.filter(|sent| !sent.msgpack.is_empty()) else {
        return Ok(Value::Null);
    };
    decode_msgpack(&sent.msgpack, ty).map_err(|error| {
        bug(
            "Provider sent a value that does not fit its schema",
            &error.to_string(),
        )
    })
}

fn raw(json: Vec<u8>) -> wire::RawState {
    wire::RawState {
        json: json.into(),
        flatmap: BTreeMap::new(),
    }
}

/// Warnings, or the errors with everything else.
fn diagnose(diagnostics: &[wire::Diagnostic]) -> Result<Vec<String>> {
    let texts: Vec<_> = diagnostics.iter().map(render).collect();
    let failed = diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity() != wire::Severity::Warning);
    match failed {
        true => Err(Problems(texts.join("\n\n"))),
        false => Ok(texts),
    }
}

fn render(diagnostic: &wire::Diagnostic) -> String {
    let severity = match diagnostic.severity() {
        wire::Severity::Warning => "Warning",
        wire::Severity::Error | wire::Severity::Invalid => "Error",
    };
    let mut text = format!(
        "{severity}: {}\n\n{}",
        diagnostic.summary, diagnostic.detail
    );
    if let Some(at) = &diagnostic.attribute {
        text.push_str(&format!("\n  with {}", path(at)));
    }
    text
}

/// A mistake of the provider, or of the story, that a host finds itself.
fn bug(summary: &str, detail: &str) -> Problems {
    Problems(format!("Error: {summary}\n\n{detail}"))
}

fn broken(summary: &str, problems: Vec<String>) -> Result<()> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(bug(summary, &problems.join("\n"))),
    }
}

fn path(sent: &wire::AttributePath) -> Path {
    let steps = sent.steps.iter().filter_map(|step| {
        Some(match step.selector.clone()? {
            wire::Selector::AttributeName(name) => Step::Attribute(name),
            wire::Selector::ElementKeyString(key) => Step::Key(key),
            wire::Selector::ElementKeyInt(index) => Step::Index(index),
        })
    });
    Path(steps.collect())
}

/// A schema as a host knows it: nothing that is not on the wire.
fn schema(sent: wire::Schema) -> Schema {
    Schema {
        version: sent.version,
        block: block(sent.block.unwrap_or_default()),
    }
}

/// The schema of an identity, as a host knows it.
fn identity_schema(sent: wire::IdentitySchema) -> Schema {
    let attributes = sent.attributes.into_iter().map(|sent| {
        attribute(wire::Attribute {
            name: sent.name,
            r#type: sent.r#type,
            description: sent.description,
            required: sent.required_for_import,
            optional: sent.optional_for_import,
            ..Default::default()
        })
    });
    Schema {
        version: sent.version,
        block: Block {
            attributes: attributes.collect(),
            ..Default::default()
        },
    }
}

fn block(sent: wire::Block) -> Block {
    Block {
        attributes: sent.attributes.into_iter().map(attribute).collect(),
        blocks: sent.block_types.into_iter().map(nested_block).collect(),
        description: sent.description,
        deprecated: sent.deprecated.then_some(sent.deprecation_message),
    }
}

fn nested_block(sent: wire::NestedBlock) -> NestedBlock {
    NestedBlock {
        nesting: nesting(sent.nesting()),
        name: sent.type_name,
        block: block(sent.block.unwrap_or_default()),
    }
}

fn attribute(sent: wire::Attribute) -> Attribute {
    let mode = match (sent.required, sent.optional, sent.computed) {
        (true, false, false) => Mode::Required,
        (false, true, false) => Mode::Optional,
        (false, true, true) => Mode::OptionalComputed,
        (false, false, true) => Mode::Computed,
        _ => panic!("{}: nobody, or too many, can set it", sent.name),
    };
    let kind = match (sent.nested_type, sent.r#type.as_slice()) {
        (Some(object), []) => {
            let nesting = nesting(object.nesting());
            Kind::Nested(
                nesting,
                object.attributes.into_iter().map(attribute).collect(),
            )
        }
        (None, json) => {
            let json = serde_json::from_slice(json).expect("a type is JSON");
            Kind::Plain(Type::from_json(&json).expect("a type is one of the language"))
        }
        (Some(_), _) => panic!("{}: type and nested type", sent.name),
    };
    Attribute {
        name: sent.name,
        kind,
        mode,
        sensitive: sent.sensitive,
        write_only: sent.write_only,
        description: sent.description,
        deprecated: sent.deprecated.then_some(sent.deprecation_message),
        replace: false,
        keep: false,
        default: None,
        validate: Vec::new(),
    }
}

fn nesting(sent: wire::Nesting) -> Nesting {
    match sent {
        wire::Nesting::Single => Nesting::Single,
        wire::Nesting::List => Nesting::List,
        wire::Nesting::Set => Nesting::Set,
        wire::Nesting::Map => Nesting::Map,
        wire::Nesting::Group | wire::Nesting::Invalid => panic!("not a nesting that is used here"),
    }
}

const CAPABILITIES: wire::ClientCapabilities = wire::ClientCapabilities {
    deferral_allowed: false,
    write_only_attributes_allowed: true,
};

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use expect_test::expect;
    use ocir::framework::{
        Attr, Context, DataSource, DataSourceType, Diagnostic, EphemeralResource,
        EphemeralResourceType, Failed, Identified, Model, Opened, Plan, Provider, ResourceType,
        Secret, SourceState,
    };
    use serde_json::json;

    use super::*;

    type Shelf = Arc<Mutex<BTreeMap<String, Box_>>>;

    /// Boxes on a shelf.
    struct Warehouse(Shelf);

    /// Nothing to configure but a greeting.
    #[derive(Clone, Debug, Model)]
    struct Config {
        /// A greeting.
        #[tf(optional)]
        greeting: Attr<String>,
    }

    /// A label.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Label {
        /// Its text.
        #[tf(required)]
        text: Attr<String>,
        /// Its code.
        #[tf(computed, keep)]
        code: Attr<String>,
    }

    /// A box.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Box_ {
        /// Its identifier.
        #[tf(computed, keep)]
        id: Attr<String>,
        /// Its name.
        #[tf(required, replace)]
        name: Attr<String>,
        /// How full it may be.
        #[tf(default = 10)]
        limit: Attr<i64>,
        /// What is in it.
        #[tf(optional)]
        content: Attr<Vec<String>>,
        /// Its labels.
        #[tf(optional, nested)]
        labels: Attr<Vec<Label>>,
        /// How it is opened.
        #[tf(optional, write_only)]
        secret: Attr<Secret<String>>,
        /// How often it was looked at.
        #[tf(computed)]
        revision: Attr<i64>,
    }

    struct Boxes(Arc<Shelf>);

    impl Boxes {
        fn shelf(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Box_>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
        fn put(&self, mut made: Box_, revision: i64) -> Box_ {
            let name = made.name.as_str().unwrap_or_default().to_owned();
            made.id = format!("box-{name}").into();
            made.revision = revision.into();
            if let Attr::Known(labels) = &mut made.labels {
                for label in labels {
                    let code = label.text.as_str().unwrap_or_default().to_uppercase();
                    label.code = code.into();
                }
            }
            self.shelf().insert(name, made.clone());
            made
        }
    }

    impl ocir::framework::Resource for Boxes {
        type Clients = Shelf;
        type State = Box_;

        fn new(shelf: Arc<Shelf>) -> Self {
            Self(shelf)
        }
        async fn plan(
            &self,
            cx: &mut Context,
            plan: &mut Plan<'_, Box_>,
        ) -> ocir::framework::Result<()> {
            cx.private.set("seen", "yes");
            if plan.planned.limit.known() == Some(&0) {
                cx.warn(
                    Diagnostic::warning("Nothing fits", "The limit is 0.")
                        .at(Path::attribute("limit")),
                );
            }
            Ok(())
        }
        async fn create(
            &self,
            _: &mut Context,
            config: &Box_,
            planned: Box_,
        ) -> Result<Box_, Failed<Box_>> {
            let secret = config.secret.expose().map(|secret| secret == "open");
            let made = self.put(planned, 1);
            match secret {
                None | Some(true) => Ok(made),
                Some(false) => Err(Failed {
                    diagnostics: Diagnostic::error("Cannot lock box", "The key is wrong.")
                        .at(Path::attribute("secret"))
                        .into(),
                    partial: Some(made),
                }),
            }
        }
        async fn read(
            &self,
            _: &mut Context,
            state: Box_,
        ) -> ocir::framework::Result<Option<Box_>> {
            let name = state.name.as_str().unwrap_or_default();
            Ok(self.shelf().get(name).cloned())
        }
        async fn update(
            &self,
            _: &mut Context,
            _: &Box_,
            prior: &Box_,
            planned: Box_,
        ) -> Result<Box_, Failed<Box_>> {
            let revision = prior.revision.known().copied().unwrap_or_default();
            Ok(self.put(planned, revision + 1))
        }
        async fn delete(&self, cx: &mut Context, state: Box_) -> ocir::framework::Result<()> {
            if !state.content.is_null() {
                cx.warn(Diagnostic::warning(
                    "Content is lost",
                    "The box was not empty.",
                ));
            }
            self.shelf().remove(state.name.as_str().unwrap_or_default());
            Ok(())
        }
        async fn import(&self, _: &mut Context, id: &str) -> ocir::framework::Result<Box_> {
            match id.strip_prefix("box-") {
                Some(name) => Ok(Box_ {
                    id: id.into(),
                    name: name.into(),
                    limit: Attr::Null,
                    content: Attr::Null,
                    labels: Attr::Null,
                    secret: Attr::Null,
                    revision: Attr::Null,
                }),
                None => Err(Diagnostic::error(
                    "Invalid import identifier",
                    "It begins with \"box-\".",
                )
                .into()),
            }
        }
        fn move_from(source: &SourceState) -> Option<ocir::framework::Result<Box_>> {
            (source.type_name == "old_box").then(|| {
                let name = source.json["title"].as_str().unwrap_or_default();
                Ok(Box_ {
                    id: format!("box-{name}").into(),
                    name: name.into(),
                    limit: 10.into(),
                    content: Attr::Null,
                    labels: Attr::Null,
                    secret: Attr::Null,
                    revision: Attr::Null,
                })
            })
        }
    }

    /// What tells boxes apart.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct BoxIdentity {
        /// Its identifier.
        #[tf(required)]
        id: Attr<String>,
        /// Its revision when it was first seen; a mistake, because it changes.
        #[tf(optional)]
        revision: Attr<i64>,
    }

    impl Identified for Boxes {
        type Identity = BoxIdentity;
        const IDENTITY_VERSION: i64 = 1;
        fn identity(state: &Box_) -> BoxIdentity {
            BoxIdentity {
                id: state.id.clone(),
                revision: match state.name.as_str() {
                    Some("restless") => state.revision.clone(),
                    _ => Attr::Null,
                },
            }
        }
        fn import_id(identity: &BoxIdentity) -> ocir::framework::Result<String> {
            Ok(identity.id.as_str().unwrap_or_default().to_owned())
        }
        fn upgrade_identity(_: i64, identity: Json) -> ocir::framework::Result<Json> {
            let name = identity["name"].as_str().unwrap_or_default();
            Ok(json!({ "id": format!("box-{name}") }))
        }
    }

    /// Opens boxes.
    struct Keys;

    /// A key.
    #[derive(Clone, Debug, Model)]
    struct Key {
        /// The box.
        #[tf(required)]
        name: Attr<String>,
        /// What opens it.
        #[tf(computed)]
        code: Attr<Secret<String>>,
    }

    impl EphemeralResource for Keys {
        type Clients = Shelf;
        type State = Key;
        fn new(_: Arc<Shelf>) -> Self {
            Self
        }
        async fn open(
            &self,
            cx: &mut Context,
            config: Key,
        ) -> ocir::framework::Result<Opened<Key>> {
            cx.private.set("opened", "1");
            Ok(Opened {
                state: Key {
                    code: Secret::from("open").into(),
                    ..config
                },
                renew_at: Some(std::time::UNIX_EPOCH + std::time::Duration::from_millis(1500)),
            })
        }
        async fn renew(
            &self,
            cx: &mut Context,
        ) -> ocir::framework::Result<Option<std::time::SystemTime>> {
            let times = cx.private.get("opened").map(<[u8]>::len);
            match times {
                Some(1) => {
                    cx.private.set("opened", "12");
                    Ok(Some(std::time::UNIX_EPOCH))
                }
                _ => Ok(None),
            }
        }
        async fn close(&self, cx: &mut Context) -> ocir::framework::Result<()> {
            match cx.private.get("opened") {
                Some(b"1") => Ok(()),
                other => Err(Diagnostic::error("Cannot close", format!("{other:?}")).into()),
            }
        }
    }

    /// Counts boxes.
    struct Count(Arc<Shelf>);

    /// How many boxes there are.
    #[derive(Clone, Debug, Model)]
    struct Counted {
        /// Names begin with this.
        #[tf(optional)]
        prefix: Attr<String>,
        /// How many.
        #[tf(computed)]
        count: Attr<i64>,
    }

    impl DataSource for Count {
        type Clients = Shelf;
        type State = Counted;
        fn new(shelf: Arc<Shelf>) -> Self {
            Self(shelf)
        }
        async fn read(&self, _: &mut Context, config: Counted) -> ocir::framework::Result<Counted> {
            let prefix = config.prefix.as_str().unwrap_or_default();
            let shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = shelf.keys().filter(|name| name.starts_with(prefix)).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX).into();
            Ok(Counted { count, ..config })
        }
    }

    impl Provider for Warehouse {
        type Clients = Shelf;
        type Config = Config;
        async fn configure(&self, _: &mut Context, _: Config) -> ocir::framework::Result<Shelf> {
            Ok(self.0.clone())
        }
        fn resources(&self) -> Vec<ResourceType<Shelf>> {
            vec![ResourceType::identified::<Boxes>("box")]
        }
        fn ephemeral_resources(&self) -> Vec<EphemeralResourceType<Shelf>> {
            vec![EphemeralResourceType::new::<Keys>("key")]
        }
        fn data_sources(&self) -> Vec<DataSourceType<Shelf>> {
            vec![DataSourceType::new::<Count>("boxes")]
        }
    }

    async fn host() -> Result<(Host, Shelf)> {
        let shelf = Shelf::default();
        let host = Host::start(Server::new(Warehouse(shelf.clone()))).await?;
        host.configure(json!({ "greeting": "hello" })).await?;
        Ok((host, shelf))
    }

    /// A whole life: create, change, replace, destroy, each followed by an
    /// empty plan.
    #[tokio::test]
    async fn a_life_is_a_few_lines() -> anyhow::Result<()> {
        let (host, shelf) = host().await?;
        let mut one = host.resource("box");
        let config = json!({ "name": "a", "content": ["x"], "labels": [{ "text": "red" }] });
        let planned = one.plan(config.clone()).await?;
        assert_eq!(planned.action, Action::Create);
        assert_eq!(planned.after["id"], unknown());
        assert_eq!(
            planned.after["labels"],
            json!([{ "text": "red", "code": unknown() }])
        );

        let state = one.apply(config).await?;
        expect![[r#"{"content":["x"],"id":"box-a","labels":[{"code":"RED","text":"red"}],"limit":10,"name":"a","revision":1,"secret":null}"#]]
            .assert_eq(&state.to_string());
        assert!(!one.private().is_empty());

        let config =
            json!({ "name": "a", "limit": 3, "labels": [{ "text": "red" }, { "text": "blue" }] });
        let planned = one.plan(config.clone()).await?;
        assert_eq!(planned.action, Action::Update);
        assert_eq!(planned.after["labels"][0]["code"], "RED");
        assert_eq!(one.apply(config).await?["revision"], 2);

        let planned = one.plan(json!({ "name": "b" })).await?;
        assert_eq!(
            (planned.action, planned.replace),
            (Action::Replace, vec!["name".to_owned()])
        );
        one.apply(json!({ "name": "b" })).await?;
        assert_eq!(shelf.lock().unwrap().keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(
            host.data_source("boxes", json!({ "prefix": "b" })).await?["count"],
            1
        );

        one.destroy().await?;
        assert_eq!(one.state(), Json::Null);
        assert!(shelf.lock().unwrap().is_empty());
        Ok(())
    }

    /// What changed behind the host's back is in the next plan.
    #[tokio::test]
    async fn drift_is_planned_away() -> anyhow::Result<()> {
        let (host, shelf) = host().await?;
        let mut one = host.resource("box");
        one.apply(json!({ "name": "a" })).await?;
        shelf.lock().unwrap().get_mut("a").unwrap().limit = 99.into();
        let planned = one.plan(json!({ "name": "a" })).await?;
        assert_eq!(planned.action, Action::Update);
        assert_eq!(
            (&planned.before["limit"], &planned.after["limit"]),
            (&json!(99), &json!(10))
        );
        one.apply_planned(&planned).await?;
        one.expect_noop(json!({ "name": "a" })).await?;

        shelf.lock().unwrap().clear();
        assert_eq!(
            one.plan(json!({ "name": "a" })).await?.action,
            Action::Create
        );
        Ok(())
    }

    /// A create that fails half way leaves a tainted object, which the next
    /// plan replaces.
    #[tokio::test]
    async fn half_a_create_is_tainted() -> anyhow::Result<()> {
        let (host, _) = host().await?;
        let mut one = host.resource("box");
        let problems = one
            .apply(json!({ "name": "a", "secret": "wrong" }))
            .await
            .unwrap_err();
        expect![[r#"
            Error: Cannot lock box

            The key is wrong.
              with secret"#]]
        .assert_eq(&problems.to_string());
        assert!(one.is_tainted());
        assert_eq!(one.state()["id"], "box-a");
        let planned = one.plan(json!({ "name": "a", "secret": "open" })).await?;
        assert_eq!((planned.action, planned.replace), (Action::Replace, vec![]));
        let state = one.apply(json!({ "name": "a", "secret": "open" })).await?;
        assert_eq!(state["secret"], Json::Null);
        assert!(!one.is_tainted());
        Ok(())
    }

    /// Imports and moves end in a state that the next plan agrees with.
    #[tokio::test]
    async fn objects_are_taken_over() -> anyhow::Result<()> {
        let (host, _) = host().await?;
        host.resource("box").apply(json!({ "name": "a" })).await?;
        let mut imported = host.resource("box");
        assert_eq!(imported.import("box-a").await?["revision"], 1);
        imported.expect_noop(json!({ "name": "a" })).await?;

        let mut moved = host.resource("box");
        let from = "registry.terraform.io/example/old";
        let state = moved
            .move_from(from, "old_box", 0, &json!({ "title": "a" }))
            .await?;
        assert_eq!(state["name"], "a");
        moved.expect_noop(json!({ "name": "a" })).await?;

        let mut gone = host.resource("box");
        let problems = gone.import("box-z").await.unwrap_err().to_string();
        expect![[r#"
            Error: Cannot import non-existent remote object

            "box-z" does not exist."#]]
        .assert_eq(&problems);
        let problems = gone.import("z").await.unwrap_err().to_string();
        expect![[r#"
            Error: Invalid import identifier

            It begins with "box-"."#]]
        .assert_eq(&problems);
        Ok(())
    }

    /// Stored state may hold attributes that are gone, and lack new ones.
    #[tokio::test]
    async fn old_state_is_read() -> anyhow::Result<()> {
        let (host, _) = host().await?;
        let mut one = host.resource("box");
        let state = one
            .set_state(0, &json!({ "name": "a", "colour": "red" }))
            .await?;
        // A new argument with a default is no change by itself.
        assert_eq!((&state["name"], &state["limit"]), (&json!("a"), &json!(10)));
        Ok(())
    }

    /// A user may ask for a replacement, and hears what it cost.
    #[tokio::test]
    async fn a_tainted_object_is_replaced() -> anyhow::Result<()> {
        let (host, _) = host().await?;
        let mut one = host.resource("box");
        let config = json!({ "name": "a", "content": ["x"] });
        one.apply(config.clone()).await?;
        one.taint();
        assert_eq!(one.plan(config.clone()).await?.action, Action::Replace);
        assert_eq!(one.take_warnings(), [""; 0]);
        one.apply(config).await?;
        expect![[r#"
            Warning: Content is lost

            The box was not empty."#]]
        .assert_eq(&one.take_warnings().join("\n"));
        // A stop ends what runs; what comes later runs.
        host.stop().await?;
        one.destroy().await?;
        Ok(())
    }

    /// What the host itself refuses, and a warning of the provider.
    #[tokio::test]
    async fn configurations_are_checked() -> anyhow::Result<()> {
        let (host, _) = host().await?;
        let mut one = host.resource("box");
        let mut problems = String::new();
        for config in [
            json!({}),
            json!({ "name": "a", "id": "b" }),
            json!({ "name": "a", "colour": "red" }),
        ] {
            problems += &format!("{}\n\n", one.plan(config).await.unwrap_err());
        }
        expect![[r#"
            Error: Missing required argument

            The argument "name" is required, but no definition was found.

            Error: Value for unconfigurable attribute

            Can't configure a value for "id": its value will be decided automatically.

            Error: Unsupported argument

            colour: is not an argument

        "#]]
        .assert_eq(&problems);
        let planned = one.plan(json!({ "name": unknown(), "limit": 0 })).await?;
        assert_eq!(planned.after["name"], unknown());
        expect![[r#"
            Warning: Nothing fits

            The limit is 0.
              with limit"#]]
        .assert_eq(&planned.warnings.join("\n"));
        Ok(())
    }

    /// An identity is whole after an apply, is filled in by a read where an old
    /// host left none, leads to the object, and is nothing to an old host.
    #[tokio::test]
    async fn identities_tell_objects_apart() -> anyhow::Result<()> {
        let (host, _) = host().await?;
        let mut one = host.resource("box");
        let planned = one.plan(json!({ "name": "a" })).await?;
        assert!(planned.identity.is_null());
        one.apply(json!({ "name": "a" })).await?;
        let identity = json!({ "id": "box-a", "revision": null });
        assert_eq!(one.identity(), identity);
        one.apply(json!({ "name": "a", "limit": 3 })).await?;
        assert_eq!(one.identity(), identity);
        one.apply(json!({ "name": "b" })).await?;
        assert_eq!(one.identity()["id"], "box-b");

        let mut old = host.without_identities().resource("box");
        old.import("box-b").await?;
        old.expect_noop(json!({ "name": "b" })).await?;
        assert_eq!(old.identity(), Json::Null);
        let mut again = host.resource("box");
        again.set_state(0, &old.state()).await?;
        again.plan(json!({ "name": "b" })).await?;
        assert_eq!(again.identity()["id"], "box-b");

        let mut imported = host.resource("box");
        imported
            .import_by_identity(json!({ "id": "box-b" }))
            .await?;
        imported.expect_noop(json!({ "name": "b" })).await?;
        assert_eq!(imported.identity()["id"], "box-b");
        let wrong = json!({ "id": "box-b", "revision": 7 });
        let problems = host
            .resource("box")
            .import_by_identity(wrong)
            .await
            .unwrap_err();
        assert!(
            problems
                .to_string()
                .contains("the import asks for something"),
            "{problems}"
        );
        imported.destroy().await?;
        assert_eq!(imported.identity(), Json::Null);

        // What earlier and later releases stored.
        let identity = imported.set_identity(0, &json!({ "name": "a" })).await?;
        assert_eq!(identity, json!({ "id": "box-a", "revision": null }));
        let problems = imported.set_identity(2, &json!({})).await.unwrap_err();
        expect![[r#"
            Error: Cannot read identity

            The identity of this box was written by a newer release of the ocir provider (version 2; this release knows 1). Use that release, or a newer one."#]]
        .assert_eq(&problems.to_string());
        Ok(())
    }

    /// An object that is another one after an update, or at a look, is a bug
    /// that a person hears of, and the state stays.
    #[tokio::test]
    async fn an_identity_that_changes_is_found() -> anyhow::Result<()> {
        let (host, shelf) = host().await?;
        let mut one = host.resource("box");
        one.apply(json!({ "name": "restless" })).await?;
        let problems = one.apply(json!({ "name": "restless", "limit": 3 })).await;
        expect![[r#"
            Error: Identity changed

            The object is another one than before, though nothing replaced it. The identity stays as it was.

            If it is being imported by its identity, the import asks for something that the object is not. Otherwise this is a bug in the ocir provider."#]]
        .assert_eq(&problems.unwrap_err().to_string());
        assert_eq!(one.identity()["revision"], 1);
        assert_eq!(one.state()["limit"], 3);
        shelf.lock().unwrap().get_mut("restless").unwrap().limit = 4.into();
        let problems = one.refresh().await.unwrap_err();
        assert!(problems.to_string().contains("The state stays as it was."));
        assert_eq!(one.state()["limit"], 3);
        Ok(())
    }

    /// Something ephemeral is opened, renewed and closed, and in no state.
    #[tokio::test]
    async fn ephemeral_resources_are_opened() -> anyhow::Result<()> {
        let (host, _) = host().await?;
        let mut key = host.open("key", json!({ "name": "a" })).await?;
        assert_eq!(key.result, json!({ "name": "a", "code": "open" }));
        let at = wire::Timestamp {
            seconds: 1,
            nanos: 500_000_000,
        };
        assert_eq!(key.renew_at, Some(at));
        key.renew().await?;
        assert_eq!(key.renew_at, Some(wire::Timestamp::default()));
        key.renew().await?;
        assert_eq!(key.renew_at, None);
        key.close().await?;

        let later = host.open("key", json!({ "name": unknown() })).await?;
        assert_eq!(later.result["code"], unknown());
        let problems = host.open("key", json!({})).await.unwrap_err().to_string();
        assert!(problems.contains("Missing required argument"), "{problems}");
        Ok(())
    }
}
