//! The gRPC service: a table of calls, and a short function for each.

use std::{convert::Infallible, future::Future, sync::Arc};

use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Context, Poll, Service, http},
    server::{Grpc, UnaryService},
};
use tonic_prost::ProstCodec;
use tracing::Instrument;

use super::{
    convert::{self, dynamic, value},
    wire,
};
use crate::{
    cty::{Type, Value},
    framework::{
        ApplyRequest, Diagnostic, Diagnostics, Kept, MoveRequest, OpenRequest, PlanRequest,
        Private, ReadRequest, Server,
    },
    goplugin::{self, MAX_MESSAGE_SIZE, Panic},
};

/// The provider service of protocol 6.
#[derive(Clone)]
pub struct ProviderService {
    server: Arc<Server>,
}

impl ProviderService {
    /// Serves what `server` does.
    pub fn new(server: Arc<Server>) -> Self {
        Self { server }
    }
}

impl Service<http::Request<Body>> for ProviderService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = self.server.clone();
        let path = request.uri().path();
        match path.strip_prefix("/tfplugin6.Provider/").unwrap_or(path) {
            "GetMetadata" => call(server, request, get_metadata),
            "GetProviderSchema" => call(server, request, get_provider_schema),
            "ValidateProviderConfig" => call(server, request, validate_provider_config),
            "ConfigureProvider" => call(server, request, configure_provider),
            "StopProvider" => call(server, request, stop_provider),

            "ValidateResourceConfig" => call(server, request, validate_resource_config),
            "UpgradeResourceState" => call(server, request, upgrade_resource_state),
            "ReadResource" => call(server, request, read_resource),
            "PlanResourceChange" => call(server, request, plan_resource_change),
            "ApplyResourceChange" => call(server, request, apply_resource_change),
            "ImportResourceState" => call(server, request, import_resource_state),
            "MoveResourceState" => call(server, request, move_resource_state),
            "GetResourceIdentitySchemas" => call(server, request, get_resource_identity_schemas),
            "UpgradeResourceIdentity" => call(server, request, upgrade_resource_identity),

            "ValidateDataResourceConfig" => call(server, request, validate_data_resource_config),
            "ReadDataSource" => call(server, request, read_data_source),

            "ValidateEphemeralResourceConfig" => call(server, request, validate_ephemeral_resource),
            "OpenEphemeralResource" => call(server, request, open_ephemeral_resource),
            "RenewEphemeralResource" => call(server, request, renew_ephemeral_resource),
            "CloseEphemeralResource" => call(server, request, close_ephemeral_resource),

            "GetFunctions" => call(server, request, get_functions),
            "CallFunction" => call(server, request, call_function),

            // A host calls these only for what a schema or a capability offers,
            // and nothing offers them: GenerateResourceConfig, the calls for
            // lists, actions and state stores, and what later versions add.
            _ => Box::pin(async { Ok(Status::unimplemented("not offered").into_http()) }),
        }
    }
}

type Answer<T> = Result<T, Diagnostics>;

async fn get_metadata(
    server: Arc<Server>,
    _: wire::GetMetadataRequest,
) -> Answer<wire::GetMetadataResponse> {
    let names = |schemas: Vec<(&'static str, &_)>| {
        let names = schemas.into_iter().map(|(name, _)| wire::TypeName {
            type_name: name.to_owned(),
        });
        names.collect()
    };
    Ok(wire::GetMetadataResponse {
        server_capabilities: Some(CAPABILITIES),
        diagnostics: Vec::new(),
        data_sources: names(server.data_source_schemas()),
        resources: names(server.resource_schemas()),
        ephemeral_resources: names(server.ephemeral_schemas()),
    })
}

async fn get_provider_schema(
    server: Arc<Server>,
    _: wire::GetProviderSchemaRequest,
) -> Answer<wire::GetProviderSchemaResponse> {
    let table = |schemas: Vec<(&'static str, &_)>| {
        let rows = schemas.into_iter();
        rows.map(|(name, schema)| (name.to_owned(), convert::schema(schema)))
            .collect()
    };
    Ok(wire::GetProviderSchemaResponse {
        provider: Some(convert::schema(server.provider_schema())),
        resource_schemas: table(server.resource_schemas()),
        data_source_schemas: table(server.data_source_schemas()),
        ephemeral_resource_schemas: table(server.ephemeral_schemas()),
        diagnostics: Vec::new(),
        server_capabilities: Some(CAPABILITIES),
    })
}

async fn validate_provider_config(
    server: Arc<Server>,
    request: wire::ValidateProviderConfigRequest,
) -> Answer<wire::ValidateProviderConfigResponse> {
    let config = value(
        request.config.as_ref(),
        &server.provider_schema().block.ty(),
    )?;
    Ok(wire::ValidateProviderConfigResponse {
        diagnostics: convert::diagnostics(server.validate_provider(&config)),
    })
}

async fn configure_provider(
    server: Arc<Server>,
    request: wire::ConfigureProviderRequest,
) -> Answer<wire::ConfigureProviderResponse> {
    let can = request.client_capabilities.unwrap_or_default();
    tracing::debug!(
        host_version = request.terraform_version,
        deferral_allowed = can.deferral_allowed,
        write_only_attributes_allowed = can.write_only_attributes_allowed,
        "configuring the provider"
    );
    let config = value(
        request.config.as_ref(),
        &server.provider_schema().block.ty(),
    )?;
    Ok(wire::ConfigureProviderResponse {
        diagnostics: convert::diagnostics(server.configure(config).await),
    })
}

/// Ends what runs. The server goes on: the host wants to hear what became of it.
async fn stop_provider(
    server: Arc<Server>,
    _: wire::StopProviderRequest,
) -> Answer<wire::StopProviderResponse> {
    tracing::info!("the host asked to stop");
    server.stop();
    Ok(wire::StopProviderResponse::default())
}

async fn validate_resource_config(
    server: Arc<Server>,
    request: wire::ValidateResourceConfigRequest,
) -> Answer<wire::ValidateResourceConfigResponse> {
    let ty = resource_type(&server, &request.type_name)?;
    let config = value(request.config.as_ref(), &ty)?;
    Ok(wire::ValidateResourceConfigResponse {
        diagnostics: convert::diagnostics(server.validate_resource(&request.type_name, &config)),
    })
}

async fn upgrade_resource_state(
    server: Arc<Server>,
    request: wire::UpgradeResourceStateRequest,
) -> Answer<wire::UpgradeResourceStateResponse> {
    let ty = resource_type(&server, &request.type_name)?;
    let state = convert::raw_state(request.raw_state);
    let state = server.upgrade_resource(&request.type_name, request.version, state)?;
    Ok(wire::UpgradeResourceStateResponse {
        upgraded_state: Some(dynamic(&state, &ty)),
        diagnostics: Vec::new(),
    })
}

async fn read_resource(
    server: Arc<Server>,
    request: wire::ReadResourceRequest,
) -> Answer<wire::ReadResourceResponse> {
    let ty = resource_type(&server, &request.type_name)?;
    let identity = identity_type(&server, &request.type_name);
    let call = ReadRequest {
        current: value(request.current_state.as_ref(), &ty)?,
        identity: convert::identity(request.current_identity.as_ref(), identity.as_ref())?,
        private: Private::decode(&request.private),
    };
    let answer = server.read_resource(&request.type_name, call).await;
    Ok(wire::ReadResourceResponse {
        new_state: Some(dynamic(&answer.state, &ty)),
        diagnostics: convert::diagnostics(answer.diagnostics),
        private: answer.private.encode().into(),
        new_identity: convert::sent_identity(&answer.identity, identity.as_ref()),
    })
}

async fn plan_resource_change(
    server: Arc<Server>,
    request: wire::PlanResourceChangeRequest,
) -> Answer<wire::PlanResourceChangeResponse> {
    let ty = resource_type(&server, &request.type_name)?;
    let identity = identity_type(&server, &request.type_name);
    let call = PlanRequest {
        config: value(request.config.as_ref(), &ty)?,
        prior: value(request.prior_state.as_ref(), &ty)?,
        proposed: value(request.proposed_new_state.as_ref(), &ty)?,
        identity: convert::identity(request.prior_identity.as_ref(), identity.as_ref())?,
        private: Private::decode(&request.prior_private),
    };
    let answer = server.plan_resource(&request.type_name, call).await;
    Ok(wire::PlanResourceChangeResponse {
        planned_state: Some(dynamic(&answer.planned, &ty)),
        requires_replace: answer.replace.iter().map(convert::path).collect(),
        planned_private: answer.private.encode().into(),
        planned_identity: convert::sent_identity(&answer.identity, identity.as_ref()),
        diagnostics: convert::diagnostics(answer.diagnostics),
    })
}

async fn apply_resource_change(
    server: Arc<Server>,
    request: wire::ApplyResourceChangeRequest,
) -> Answer<wire::ApplyResourceChangeResponse> {
    let ty = resource_type(&server, &request.type_name)?;
    let identity = identity_type(&server, &request.type_name);
    let call = ApplyRequest {
        config: value(request.config.as_ref(), &ty)?,
        prior: value(request.prior_state.as_ref(), &ty)?,
        planned: value(request.planned_state.as_ref(), &ty)?,
        identity: convert::identity(request.planned_identity.as_ref(), identity.as_ref())?,
        private: Private::decode(&request.planned_private),
        kept: Kept::default(),
    };
    // An object that was made before a panic is not lost over it.
    let applied = goplugin::catch(server.apply_resource(&request.type_name, &call)).await;
    let answer = applied.unwrap_or_else(|panic| {
        let lost = call.prior.is_null() && call.kept.is_empty();
        server.after_panic(&request.type_name, &call, panicked(panic, lost))
    });
    Ok(wire::ApplyResourceChangeResponse {
        new_state: Some(dynamic(&answer.state, &ty)),
        new_identity: convert::sent_identity(&answer.identity, identity.as_ref()),
        private: answer.private.encode().into(),
        diagnostics: convert::diagnostics(answer.diagnostics),
    })
}

async fn import_resource_state(
    server: Arc<Server>,
    request: wire::ImportResourceStateRequest,
) -> Answer<wire::ImportResourceStateResponse> {
    let ty = resource_type(&server, &request.type_name)?;
    let name = &request.type_name;
    let identity = identity_type(&server, name);
    let answer = match convert::identity(request.identity.as_ref(), identity.as_ref())? {
        Value::Null => server.import_resource(name, &request.id).await,
        by => server.import_by_identity(name, by).await,
    };
    let imported = answer.state.map(|state| wire::ImportedResource {
        type_name: request.type_name,
        state: Some(dynamic(&state, &ty)),
        private: answer.private.encode().into(),
        identity: convert::sent_identity(&answer.identity, identity.as_ref()),
    });
    Ok(wire::ImportResourceStateResponse {
        imported_resources: imported.into_iter().collect(),
        diagnostics: convert::diagnostics(answer.diagnostics),
    })
}

async fn move_resource_state(
    server: Arc<Server>,
    request: wire::MoveResourceStateRequest,
) -> Answer<wire::MoveResourceStateResponse> {
    let ty = resource_type(&server, &request.target_type_name)?;
    let state = request.source_state.unwrap_or_default();
    let json = serde_json::from_slice(&state.json).map_err(|error| {
        Diagnostic::error(
            "Cannot move state",
            format!("The state of the source is not JSON: {error}."),
        )
    })?;
    let source = MoveRequest {
        provider_address: request.source_provider_address,
        type_name: request.source_type_name,
        schema_version: request.source_schema_version,
        json,
    };
    let name = &request.target_type_name;
    let private = match server.is_renamed(name, &source) {
        true => Private::decode(&request.source_private),
        false => Private::default(),
    };
    let state = server.move_resource(name, source)?;
    let identity = server.identity(name, &state);
    Ok(wire::MoveResourceStateResponse {
        target_state: Some(dynamic(&state, &ty)),
        target_identity: convert::sent_identity(&identity, identity_type(&server, name).as_ref()),
        diagnostics: Vec::new(),
        target_private: private.encode().into(),
    })
}

async fn get_resource_identity_schemas(
    server: Arc<Server>,
    _: wire::GetResourceIdentitySchemasRequest,
) -> Answer<wire::GetResourceIdentitySchemasResponse> {
    let rows = server.identity_schemas().into_iter();
    Ok(wire::GetResourceIdentitySchemasResponse {
        identity_schemas: rows
            .map(|(name, schema)| (name.to_owned(), convert::identity_schema(schema)))
            .collect(),
        diagnostics: Vec::new(),
    })
}

async fn upgrade_resource_identity(
    server: Arc<Server>,
    request: wire::UpgradeResourceIdentityRequest,
) -> Answer<wire::UpgradeResourceIdentityResponse> {
    let json = request.raw_identity.unwrap_or_default().json;
    let identity = server.upgrade_identity(&request.type_name, request.version, &json)?;
    let ty = identity_type(&server, &request.type_name);
    Ok(wire::UpgradeResourceIdentityResponse {
        upgraded_identity: convert::sent_identity(&identity, ty.as_ref()),
        diagnostics: Vec::new(),
    })
}

async fn validate_data_resource_config(
    server: Arc<Server>,
    request: wire::ValidateDataResourceConfigRequest,
) -> Answer<wire::ValidateDataResourceConfigResponse> {
    let ty = data_source_type(&server, &request.type_name)?;
    let config = value(request.config.as_ref(), &ty)?;
    let problems = server.validate_data_source(&request.type_name, &config);
    Ok(wire::ValidateDataResourceConfigResponse {
        diagnostics: convert::diagnostics(problems),
    })
}

async fn read_data_source(
    server: Arc<Server>,
    request: wire::ReadDataSourceRequest,
) -> Answer<wire::ReadDataSourceResponse> {
    let ty = data_source_type(&server, &request.type_name)?;
    let config = value(request.config.as_ref(), &ty)?;
    let (state, problems) = server.read_data_source(&request.type_name, config).await;
    Ok(wire::ReadDataSourceResponse {
        state: Some(dynamic(&state, &ty)),
        diagnostics: convert::diagnostics(problems),
    })
}

async fn validate_ephemeral_resource(
    server: Arc<Server>,
    request: wire::ValidateEphemeralResourceConfigRequest,
) -> Answer<wire::ValidateEphemeralResourceConfigResponse> {
    let ty = ephemeral_type(&server, &request.type_name)?;
    let config = value(request.config.as_ref(), &ty)?;
    let problems = server.validate_ephemeral(&request.type_name, &config);
    Ok(wire::ValidateEphemeralResourceConfigResponse {
        diagnostics: convert::diagnostics(problems),
    })
}

async fn open_ephemeral_resource(
    server: Arc<Server>,
    request: wire::OpenEphemeralResourceRequest,
) -> Answer<wire::OpenEphemeralResourceResponse> {
    let ty = ephemeral_type(&server, &request.type_name)?;
    let can = request.client_capabilities.unwrap_or_default();
    let call = OpenRequest {
        config: value(request.config.as_ref(), &ty)?,
        deferral_allowed: can.deferral_allowed,
    };
    let answer = server.open_ephemeral(&request.type_name, call).await;
    Ok(wire::OpenEphemeralResourceResponse {
        result: Some(dynamic(&answer.result, &ty)),
        renew_at: answer.renew_at.map(convert::timestamp),
        private: Some(answer.private.encode().into()),
        deferred: answer.deferred.map(convert::deferred),
        diagnostics: convert::diagnostics(answer.diagnostics),
    })
}

async fn renew_ephemeral_resource(
    server: Arc<Server>,
    request: wire::RenewEphemeralResourceRequest,
) -> Answer<wire::RenewEphemeralResourceResponse> {
    let private = Private::decode(&request.private.unwrap_or_default());
    let answer = server.renew_ephemeral(&request.type_name, private).await;
    Ok(wire::RenewEphemeralResourceResponse {
        renew_at: answer.renew_at.map(convert::timestamp),
        private: Some(answer.private.encode().into()),
        diagnostics: convert::diagnostics(answer.diagnostics),
    })
}

async fn close_ephemeral_resource(
    server: Arc<Server>,
    request: wire::CloseEphemeralResourceRequest,
) -> Answer<wire::CloseEphemeralResourceResponse> {
    let private = Private::decode(&request.private.unwrap_or_default());
    let problems = server.close_ephemeral(&request.type_name, private).await;
    Ok(wire::CloseEphemeralResourceResponse {
        diagnostics: convert::diagnostics(problems),
    })
}

async fn get_functions(
    _: Arc<Server>,
    _: wire::GetFunctionsRequest,
) -> Answer<wire::GetFunctionsResponse> {
    Ok(Default::default())
}

async fn call_function(
    _: Arc<Server>,
    request: wire::CallFunctionRequest,
) -> Answer<wire::CallFunctionResponse> {
    Err(unknown("function", &request.name))
}

fn resource_type(server: &Server, name: &str) -> Result<Type, Diagnostics> {
    let schema = server.resource_schema(name);
    schema
        .map(|schema| schema.block.ty())
        .ok_or_else(|| unknown("resource", name))
}

fn data_source_type(server: &Server, name: &str) -> Result<Type, Diagnostics> {
    let schema = server.data_source_schema(name);
    schema
        .map(|schema| schema.block.ty())
        .ok_or_else(|| unknown("data source", name))
}

fn ephemeral_type(server: &Server, name: &str) -> Result<Type, Diagnostics> {
    let schema = server.ephemeral_schema(name);
    schema
        .map(|schema| schema.block.ty())
        .ok_or_else(|| unknown("ephemeral resource", name))
}

/// None for resources without an identity.
fn identity_type(server: &Server, name: &str) -> Option<Type> {
    server.identity_schema(name).map(|schema| schema.block.ty())
}

fn unknown(kind: &str, name: &str) -> Diagnostics {
    Diagnostic::error(
        format!("Unknown {kind}"),
        format!("The ocir provider has no {kind} \"{name}\"."),
    )
    .into()
}

/// What a call answers when it failed: errors are answers too, because a host
/// forgets whatever happened when a call breaks.
trait Fail: Clone {
    type Response;
    /// The answer that leaves things as they were.
    fn fail(self, diagnostics: Vec<wire::Diagnostic>) -> Self::Response;
}

macro_rules! fail_with_diagnostics {
    ($($request:ident => $response:ident),* $(,)?) => {$(
        impl Fail for wire::$request {
            type Response = wire::$response;
            #[allow(clippy::needless_update, reason = "some answers have nothing else")]
            fn fail(self, diagnostics: Vec<wire::Diagnostic>) -> wire::$response {
                wire::$response { diagnostics, ..Default::default() }
            }
        }
    )*};
}

fail_with_diagnostics! {
    GetMetadataRequest => GetMetadataResponse,
    GetProviderSchemaRequest => GetProviderSchemaResponse,
    ValidateProviderConfigRequest => ValidateProviderConfigResponse,
    ConfigureProviderRequest => ConfigureProviderResponse,
    ValidateResourceConfigRequest => ValidateResourceConfigResponse,
    UpgradeResourceStateRequest => UpgradeResourceStateResponse,
    PlanResourceChangeRequest => PlanResourceChangeResponse,
    ImportResourceStateRequest => ImportResourceStateResponse,
    MoveResourceStateRequest => MoveResourceStateResponse,
    GetResourceIdentitySchemasRequest => GetResourceIdentitySchemasResponse,
    UpgradeResourceIdentityRequest => UpgradeResourceIdentityResponse,
    ValidateDataResourceConfigRequest => ValidateDataResourceConfigResponse,
    ReadDataSourceRequest => ReadDataSourceResponse,
    ValidateEphemeralResourceConfigRequest => ValidateEphemeralResourceConfigResponse,
    OpenEphemeralResourceRequest => OpenEphemeralResourceResponse,
    CloseEphemeralResourceRequest => CloseEphemeralResourceResponse,
    GetFunctionsRequest => GetFunctionsResponse,
}

impl Fail for wire::ReadResourceRequest {
    type Response = wire::ReadResourceResponse;
    fn fail(self, diagnostics: Vec<wire::Diagnostic>) -> wire::ReadResourceResponse {
        wire::ReadResourceResponse {
            new_state: self.current_state,
            diagnostics,
            private: self.private,
            new_identity: self.current_identity,
        }
    }
}

impl Fail for wire::RenewEphemeralResourceRequest {
    type Response = wire::RenewEphemeralResourceResponse;
    fn fail(self, diagnostics: Vec<wire::Diagnostic>) -> wire::RenewEphemeralResourceResponse {
        wire::RenewEphemeralResourceResponse {
            renew_at: None,
            private: self.private,
            diagnostics,
        }
    }
}

impl Fail for wire::ApplyResourceChangeRequest {
    type Response = wire::ApplyResourceChangeResponse;
    fn fail(self, diagnostics: Vec<wire::Diagnostic>) -> wire::ApplyResourceChangeResponse {
        wire::ApplyResourceChangeResponse {
            new_state: self.prior_state,
            private: self.planned_private,
            diagnostics,
            // That of an object that is not there yet may be unknown.
            new_identity: None,
        }
    }
}

impl Fail for wire::StopProviderRequest {
    type Response = wire::StopProviderResponse;
    fn fail(self, diagnostics: Vec<wire::Diagnostic>) -> wire::StopProviderResponse {
        wire::StopProviderResponse {
            error: sentences(&diagnostics),
        }
    }
}

impl Fail for wire::CallFunctionRequest {
    type Response = wire::CallFunctionResponse;
    fn fail(self, diagnostics: Vec<wire::Diagnostic>) -> wire::CallFunctionResponse {
        wire::CallFunctionResponse {
            result: None,
            error: Some(wire::FunctionError {
                text: sentences(&diagnostics),
                function_argument: None,
            }),
        }
    }
}

/// Messages where only a text fits.
fn sentences(diagnostics: &[wire::Diagnostic]) -> String {
    let sentences = diagnostics
        .iter()
        .map(|diagnostic| format!("{}: {}", diagnostic.summary, diagnostic.detail));
    sentences.collect::<Vec<_>>().join("\n\n")
}

/// Answers one call.
fn call<Q, F>(
    server: Arc<Server>,
    request: http::Request<Body>,
    function: fn(Arc<Server>, Q) -> F,
) -> BoxFuture<http::Response<Body>, Infallible>
where
    Q: Fail + prost::Message + Default + Send + 'static,
    Q::Response: prost::Message + Send + 'static,
    F: Future<Output = Answer<Q::Response>> + Send + 'static,
{
    // At every level, so that a warning says during which call it happened.
    let rpc = request.uri().path().rsplit('/').next().unwrap_or_default();
    let span = tracing::error_span!("call", tf_rpc = rpc);
    let answer = async move {
        let limit = Some(MAX_MESSAGE_SIZE);
        let mut grpc = Grpc::new(ProstCodec::<Q::Response, Q>::default())
            .apply_max_message_size_config(limit, limit);
        Ok(grpc.unary(Unary(server, function), request).await)
    };
    Box::pin(answer.instrument(span))
}

struct Unary<Q, F>(Arc<Server>, fn(Arc<Server>, Q) -> F);

impl<Q, F> UnaryService<Q> for Unary<Q, F>
where
    Q: Fail + Send + 'static,
    Q::Response: Send + 'static,
    F: Future<Output = Answer<Q::Response>> + Send + 'static,
{
    type Response = Q::Response;
    type Future = BoxFuture<Response<Q::Response>, Status>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let Self(server, function) = self;
        let (server, function) = (server.clone(), *function);
        Box::pin(async move {
            let request = request.into_inner();
            let saved = request.clone();
            let started = std::time::Instant::now();
            tracing::trace!("call began");
            // Where panics of a call are caught; an apply catches its own.
            let answer = goplugin::catch(async { function(server, request).await }).await;
            tracing::debug!(
                duration_ms = started.elapsed().as_millis() as u64,
                "call ended"
            );
            let answer = match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(diagnostics)) => saved.fail(convert::diagnostics(diagnostics)),
                Err(panic) => saved.fail(convert::diagnostics(panicked(panic, false))),
            };
            Ok(Response::new(answer))
        })
    }
}

fn panicked(panic: Panic, may_be_lost: bool) -> Diagnostics {
    let Panic { message, location } = panic;
    tracing::error!(
        message_of_panic = message,
        location,
        "the provider panicked"
    );
    let lost = match may_be_lost {
        true => "An object that was being created may exist without being in the state.\n\n",
        false => "",
    };
    Diagnostic::error(
        "The provider panicked",
        format!(
            "It stopped in the middle of a call, at {location}: {message}\n\n{lost}This is a bug \
             in the ocir provider."
        ),
    )
    .into()
}

const CAPABILITIES: wire::ServerCapabilities = wire::ServerCapabilities {
    plan_destroy: false,
    get_provider_schema_optional: true,
    move_resource_state: true,
    generate_resource_config: false,
};
