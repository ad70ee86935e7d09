//! Resources and data sources with their types erased, for tables and the server.

use std::{
    any::{Any, TypeId},
    marker::PhantomData,
    sync::Arc,
    time::SystemTime,
};

use futures_util::future::BoxFuture;

use super::{
    ApplyRequest, Block, Context, DataSource, Diagnostic, Diagnostics, EphemeralResource, Model,
    Operation, Plan, PlanRequest, Provider, Resource, Result, Schema, SourceState,
    context::{Clock, KeptObject},
    enforce,
    identity::Identities,
    model, plan, timeouts,
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
    fn kind(&self) -> TypeId;
    fn identities(&self) -> Option<&Identities>;
    /// A stored state of this schema, with what was added to the schema since.
    fn completed(&self, state: Value) -> Value;
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
    /// What an apply that did not come to its end leaves.
    fn unfinished(
        &self,
        change: [&Value; 2],
        partial: Option<Value>,
        kept: Option<KeptObject>,
        diagnostics: Diagnostics,
    ) -> (Value, Diagnostics);
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

pub(super) trait ErasedEphemeral: Send + Sync {
    fn schema(&self) -> &Schema;
    fn validate(&self, config: &Value) -> Diagnostics;
    /// What is known of it before it is opened.
    fn planned(&self, config: &Value) -> Value;
    /// Results may be unknown; the second member says where they are.
    fn open<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<OpenedEphemeral>>;
    fn renew<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
    ) -> BoxFuture<'a, Result<Option<SystemTime>>>;
    fn close<'a>(&'a self, clients: AnyClients, cx: &'a mut Context) -> BoxFuture<'a, Result<()>>;
}

/// What an ephemeral resource's `open` gives.
pub(super) struct OpenedEphemeral {
    pub(super) result: Value,
    pub(super) renew_at: Option<SystemTime>,
    /// Errors about results that are not known.
    pub(super) unknown: Diagnostics,
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
    identities: Option<Identities>,
    of: PhantomData<fn() -> T>,
}

impl<R: Resource> Typed<R> {
    pub(super) fn resource(identities: Option<Identities>) -> Self {
        let mut block = R::State::block();
        R::TIMEOUTS.describe(&mut block);
        Self {
            schema: Schema {
                version: R::VERSION,
                block,
            },
            identities,
            of: PhantomData,
        }
    }

    /// The clock of an operation on an object with this state or plan.
    fn clock(&self, cx: &mut Context, operation: Operation, object: &Value) -> Clock {
        match timeouts::is_in(&self.schema.block) {
            true => cx.start(R::TIMEOUTS.limit(operation, object)),
            false => cx.clock(),
        }
    }
}

impl<E: EphemeralResource> Typed<E> {
    pub(super) fn ephemeral() -> Self {
        Self {
            schema: Schema {
                version: 0,
                block: E::State::block(),
            },
            identities: None,
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
            identities: None,
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

    fn kind(&self) -> TypeId {
        TypeId::of::<R>()
    }

    fn identities(&self) -> Option<&Identities> {
        self.identities.as_ref()
    }

    fn completed(&self, state: Value) -> Value {
        plan::with_missing_defaults(&self.schema.block, &state)
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        validate(&self.schema.block, config, R::validate)
    }

    fn upgrade(&self, version: i64, state: serde_json::Value) -> Result<serde_json::Value> {
        R::upgrade(version, state)
    }

    fn move_from(&self, source: &SourceState) -> Option<Result<Value>> {
        R::move_from(source).map(|state| {
            let state = self.completed(self.for_state(state?.encode()));
            // The time that somebody gave an operation comes along.
            match (
                state.get(timeouts::BLOCK),
                timeouts::from_json(&source.json),
            ) {
                (Some(Value::Null), Some(theirs)) => {
                    let theirs = model::object([(timeouts::BLOCK, theirs)]);
                    Ok(timeouts::carried(&theirs, state))
                }
                _ => Ok(state),
            }
        })
    }

    fn read<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        state: &'a Value,
    ) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let current = R::State::decode(state)?;
            let resource = R::new(typed(clients));
            let clock = self.clock(cx, Operation::Read, state);
            let found = clock.run(resource.read(cx, current), || true).await;
            let found = found.unwrap_or_else(|| Err(cx.timed_out()));
            let Some(found) = found.map_err(|problem| cx.with_advice(problem))? else {
                return Ok(Value::Null);
            };
            let state = timeouts::carried(state, found.encode());
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
                    Ok(state) => {
                        let clock = self.clock(cx, Operation::Delete, prior);
                        let result = clock.run(resource.delete(cx, state), || true).await;
                        result.unwrap_or_else(|| Err(cx.timed_out()))
                    }
                    Err(diagnostics) => Err(diagnostics),
                };
                return match result {
                    Ok(()) => (Value::Null, Diagnostics::default()),
                    Err(diagnostics) => (prior.clone(), cx.with_advice(diagnostics)),
                };
            }
            if timeouts::only_difference(prior, planned) {
                // There is nothing to send: only the state remembers it.
                return (self.for_state(planned.clone()), Diagnostics::default());
            }
            let decoded = decode_change::<R>(config, prior, planned);
            let (config, before, after) = match decoded {
                Ok(decoded) => decoded,
                Err(diagnostics) => return (prior.clone(), diagnostics),
            };
            let kept = cx.kept.clone();
            let result = match &before {
                None => {
                    let clock = self.clock(cx, Operation::Create, planned);
                    // Given up earlier, an object could exist that nobody knows of.
                    let work = resource.create(cx, &config, after);
                    clock.run(work, || !kept.is_empty()).await
                }
                Some(before) => {
                    let clock = self.clock(cx, Operation::Update, planned);
                    let work = resource.update(cx, &config, before, after);
                    clock.run(work, || true).await
                }
            };
            let failed = match result {
                Some(Ok(state)) => return self.finished(planned, state.encode()),
                Some(Err(failed)) => failed,
                None => cx.timed_out().into(),
            };
            let partial = failed.partial.map(|partial| partial.encode());
            let diagnostics = cx.with_advice(failed.diagnostics);
            self.unfinished([prior, planned], partial, kept.take(), diagnostics)
        })
    }

    fn unfinished(
        &self,
        [prior, planned]: [&Value; 2],
        partial: Option<Value>,
        kept: Option<KeptObject>,
        diagnostics: Diagnostics,
    ) -> (Value, Diagnostics) {
        let usable = prior.is_null() && kept.as_ref().is_some_and(|kept| kept.usable);
        let Some(state) = partial.or(kept.map(|kept| kept.state)) else {
            return (prior.clone(), diagnostics);
        };
        let state = timeouts::carried(planned, state);
        if usable {
            // An error would taint it. Without one, a host insists on what was
            // planned; the next refresh tells what is missing.
            let ty = self.schema.block.ty();
            let state = self.for_state(enforce::as_planned(&ty, planned, state));
            return (state, diagnostics.into_warnings());
        }
        (self.for_state(state), diagnostics)
    }

    fn import<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let resource = R::new(typed(clients));
            let clock = self.clock(cx, Operation::Read, &Value::Null);
            let found = clock.run(resource.import(cx, id), || true).await;
            let found = found.unwrap_or_else(|| Err(cx.timed_out()));
            let state = found.map_err(|problem| cx.with_advice(problem))?;
            Ok(self.completed(self.for_state(state.encode())))
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

impl<E: EphemeralResource> ErasedEphemeral for Typed<E> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        validate(&self.schema.block, config, E::validate)
    }

    fn planned(&self, config: &Value) -> Value {
        plan::plan(&self.schema.block, config, &Value::Null, config).state
    }

    fn open<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        config: &'a Value,
    ) -> BoxFuture<'a, Result<OpenedEphemeral>> {
        Box::pin(async move {
            let block = &self.schema.block;
            let wished = E::State::decode(&plan::with_defaults(block, config, config))?;
            let opened = E::new(typed(clients)).open(cx, wished).await?;
            let result =
                enforce::as_planned(&block.ty(), &self.planned(config), opened.state.encode());
            Ok(OpenedEphemeral {
                unknown: self.not_known(&result, "It cannot be used."),
                result: plan::without_write_only(block, &result),
                renew_at: opened.renew_at,
            })
        })
    }

    fn renew<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
    ) -> BoxFuture<'a, Result<Option<SystemTime>>> {
        Box::pin(async move { E::new(typed(clients)).renew(cx).await })
    }

    fn close<'a>(&'a self, clients: AnyClients, cx: &'a mut Context) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { E::new(typed(clients)).close(cx).await })
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
