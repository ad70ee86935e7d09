//! Resources and data sources with their types erased, for tables and the server.

use std::{
    any::{Any, TypeId},
    marker::PhantomData,
    sync::Arc,
};

use futures_util::future::BoxFuture;

use super::{
    ApplyRequest, Block, Context, DataSource, Diagnostic, Diagnostics, Failed, Model, Plan,
    PlanRequest, Provider, Resource, Result, Schema, SourceState, enforce, plan,
};
use crate::cty::{Path, Value};

/// Clients of whatever type the provider has. The tables are typed by it, so
/// every row gets what it expects.
pub(super) type AnyClients = Arc<dyn Any + Send + Sync>;

/// What a resource's `plan` gives.
pub(super) struct PlannedChange {
    pub(super) planned: Value,
    pub(super) replace: Vec<Path>,
}

pub(super) trait ErasedResource: Send + Sync {
    fn schema(&self) -> &Schema;
    /// The same for every name of one resource.
    fn identity(&self) -> TypeId;
    fn validate(&self, config: &Value) -> Diagnostics;
    fn upgrade(&self, version: i64, state: serde_json::Value) -> Result<serde_json::Value>;
    fn move_from(&self, source: &SourceState) -> Option<Result<Value>>;
    fn read<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        state: &'a Value,
    ) -> BoxFuture<'a, Result<Value>>;
    fn plan<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        request: &'a PlanRequest,
    ) -> BoxFuture<'a, Result<PlannedChange>>;
    fn apply<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        request: &'a ApplyRequest,
    ) -> BoxFuture<'a, (Value, Diagnostics)>;
    fn import<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Value>>;
}

pub(super) trait ErasedDataSource: Send + Sync {
    fn schema(&self) -> &Schema;
    fn validate(&self, config: &Value) -> Diagnostics;
    fn read<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<Value>>;
}

pub(super) trait ErasedProvider: Send + Sync {
    fn validate(&self, config: &Value) -> Diagnostics;
    fn configure<'a>(
        &'a self,
        cx: &'a mut Context,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<AnyClients>>;
}

/// A resource or a data source, and its schema.
pub(super) struct Typed<T> {
    schema: Schema,
    of: PhantomData<fn() -> T>,
}

impl<R: Resource> Typed<R> {
    pub(super) fn resource() -> Self {
        Self {
            schema: Schema {
                version: R::VERSION,
                block: R::State::block(),
            },
            of: PhantomData,
        }
    }
}

impl<D: DataSource> Typed<D> {
    pub(super) fn data_source() -> Self {
        Self {
            schema: Schema {
                version: 0,
                block: D::State::block(),
            },
            of: PhantomData,
        }
    }
}

fn typed<C: Send + Sync + 'static>(clients: AnyClients) -> Arc<C> {
    clients
        .downcast()
        .expect("the tables are typed by the provider's clients")
}

impl<P: Provider> ErasedProvider for P {
    fn validate(&self, config: &Value) -> Diagnostics {
        validate(&P::Config::block(), config, P::validate)
    }

    fn configure<'a>(
        &'a self,
        cx: &'a mut Context,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<AnyClients>> {
        Box::pin(async move {
            let config = P::Config::decode(config)?;
            let clients = Provider::configure(self, cx, config).await?;
            Ok(Arc::new(clients) as AnyClients)
        })
    }
}

impl<R: Resource> ErasedResource for Typed<R> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn identity(&self) -> TypeId {
        TypeId::of::<R>()
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        validate(&self.schema.block, config, R::validate)
    }

    fn upgrade(&self, version: i64, state: serde_json::Value) -> Result<serde_json::Value> {
        R::upgrade(version, state)
    }

    fn move_from(&self, source: &SourceState) -> Option<Result<Value>> {
        R::move_from(source).map(|state| Ok(self.for_state(state?.encode())))
    }

    fn read<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        state: &'a Value,
    ) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let state = R::State::decode(state)?;
            let found = R::new(typed(clients)).read(cx, state).await?;
            let Some(state) = found else {
                return Ok(Value::Null);
            };
            let state = state.encode();
            let unknown = self.not_known(&state, "The state stays as it was.");
            if unknown.is_empty() {
                Ok(self.for_state(state))
            } else {
                Err(unknown)
            }
        })
    }

    fn plan<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        request: &'a PlanRequest,
    ) -> BoxFuture<'a, Result<PlannedChange>> {
        Box::pin(async move {
            let plan::Planned { state, replace } = plan::plan(
                &self.schema.block,
                &request.config,
                &request.prior,
                &request.proposed,
            );
            if state.is_null() {
                return Ok(PlannedChange {
                    planned: state,
                    replace,
                });
            }
            let config = R::State::decode(&request.config)?;
            let prior = if request.prior.is_null() {
                None
            } else {
                Some(R::State::decode(&request.prior)?)
            };
            let planned = R::State::decode(&state)?;
            let before = planned.encode();
            let mut in_the_making = Plan {
                config: &config,
                prior: prior.as_ref(),
                planned,
                replace,
            };
            R::new(typed(clients)).plan(cx, &mut in_the_making).await?;
            let changed =
                enforce::with_changes(state.clone(), &before, in_the_making.planned.encode());
            Ok(PlannedChange {
                planned: enforce::legal_plan(
                    &self.schema.block,
                    &request.config,
                    &request.prior,
                    &state,
                    changed,
                ),
                // An object that does not exist cannot be replaced.
                replace: match request.prior.is_null() {
                    true => Vec::new(),
                    false => distinct(in_the_making.replace),
                },
            })
        })
    }

    fn apply<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        request: &'a ApplyRequest,
    ) -> BoxFuture<'a, (Value, Diagnostics)> {
        Box::pin(async move {
            let ApplyRequest {
                config,
                prior,
                planned,
                ..
            } = request;
            let resource = R::new(typed(clients));
            if planned.is_null() {
                let result = match R::State::decode(prior) {
                    Ok(state) => resource.delete(cx, state).await,
                    Err(diagnostics) => Err(diagnostics),
                };
                return match result {
                    Ok(()) => (Value::Null, Diagnostics::default()),
                    Err(diagnostics) => (prior.clone(), diagnostics),
                };
            }
            let decoded = decode_change::<R>(config, prior, planned);
            let (config, before, after) = match decoded {
                Ok(decoded) => decoded,
                Err(diagnostics) => return (prior.clone(), diagnostics),
            };
            let result = match &before {
                None => resource.create(cx, &config, after).await,
                Some(before) => resource.update(cx, &config, before, after).await,
            };
            match result {
                Ok(state) => self.finished(planned, state.encode()),
                Err(Failed {
                    diagnostics,
                    partial: None,
                }) => (prior.clone(), diagnostics),
                Err(Failed {
                    diagnostics,
                    partial: Some(partial),
                }) => (self.for_state(partial.encode()), diagnostics),
            }
        })
    }

    fn import<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let state = R::new(typed(clients)).import(cx, id).await?;
            Ok(self.for_state(state.encode()))
        })
    }
}

impl<T> Typed<T> {
    /// What a host checks after an apply, made true: the object is never lost
    /// over it.
    fn finished(&self, planned: &Value, state: Value) -> (Value, Diagnostics) {
        let ty = self.schema.block.ty();
        let state = enforce::as_planned(&ty, planned, state);
        let unknown = self.not_known(&state, "It is null in the state.");
        (self.for_state(state), unknown)
    }

    /// What may be stored: nothing unknown, nothing write-only.
    fn for_state(&self, state: Value) -> Value {
        plan::without_write_only(&self.schema.block, &enforce::without_unknown(state))
    }

    /// Whatever is done, everything is known; else it is our own mistake.
    fn not_known(&self, state: &Value, consequence: &str) -> Diagnostics {
        let mut diagnostics = Diagnostics::default();
        for path in enforce::unknown_in(&self.schema.block.ty(), state) {
            diagnostics.push(
                Diagnostic::error(
                    "Value is still unknown",
                    format!(
                        "Attribute \"{path}\" was not filled in. {consequence}\n\n\
                         This is a bug in the ocir provider."
                    ),
                )
                .at(path),
            );
        }
        diagnostics
    }
}

/// Each path once, in order.
fn distinct(paths: Vec<Path>) -> Vec<Path> {
    let mut distinct: Vec<Path> = Vec::with_capacity(paths.len());
    for path in paths {
        if !distinct.contains(&path) {
            distinct.push(path);
        }
    }
    distinct
}

type Change<S> = (S, Option<S>, S);

fn decode_change<R: Resource>(
    config: &Value,
    prior: &Value,
    planned: &Value,
) -> Result<Change<R::State>> {
    let prior = if prior.is_null() {
        None
    } else {
        Some(R::State::decode(prior)?)
    };
    Ok((R::State::decode(config)?, prior, R::State::decode(planned)?))
}

impl<D: DataSource> ErasedDataSource for Typed<D> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        validate(&self.schema.block, config, D::validate)
    }

    fn read<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let block = &self.schema.block;
            let wished = plan::with_defaults(block, config, config);
            let state = D::new(typed(clients))
                .read(cx, D::State::decode(&wished)?)
                .await?;
            let planned = plan::plan(block, config, &Value::Null, config).state;
            match self.finished(&planned, state.encode()) {
                (state, unknown) if unknown.is_empty() => Ok(state),
                (_, unknown) => Err(unknown),
            }
        })
    }
}

fn validate<M: Model>(block: &Block, config: &Value, check: fn(&M) -> Diagnostics) -> Diagnostics {
    let mut diagnostics = block.validate(config);
    match M::decode(config) {
        Ok(config) => diagnostics.append(check(&config)),
        Err(errors) => diagnostics.append(errors),
    }
    diagnostics
}
