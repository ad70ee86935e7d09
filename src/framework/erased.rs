//! Resources and data sources with their types erased, for tables and the server.

use std::{
    any::{Any, TypeId},
    marker::PhantomData,
    sync::Arc,
};

use futures_util::future::BoxFuture;

use super::{
    ApplyRequest, ApplyResponse, Attribute, Block, Context, DataSource, Diagnostic, Diagnostics,
    Failed, Mode, Model, Plan, PlanRequest, Provider, Resource, Result, Schema, SourceState, plan,
};
use crate::cty::{Path, Step, Value};

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
        R::move_from(source).map(|state| Ok(without_unknown(state?.encode())))
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
            Ok(found.map_or(Value::Null, |state| {
                plan::without_write_only(&self.schema.block, &without_unknown(state.encode()))
            }))
        })
    }

    fn plan<'a>(
        &'a self,
        clients: AnyClients,
        cx: &'a mut Context,
        request: &'a PlanRequest,
    ) -> BoxFuture<'a, Result<PlannedChange>> {
        Box::pin(async move {
            let plan::Planned { state, mut replace } = plan::plan(
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
                replace: Vec::new(),
            };
            R::new(typed(clients)).plan(cx, &mut in_the_making).await?;
            let after = in_the_making.planned.encode();
            replace.extend(in_the_making.replace);
            Ok(PlannedChange {
                planned: changes_only(state, &before, after),
                replace,
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
                Ok(state) => self.finished(request, state.encode()),
                Err(Failed {
                    diagnostics,
                    partial: None,
                }) => (prior.clone(), diagnostics),
                Err(Failed {
                    diagnostics,
                    partial: Some(partial),
                }) => {
                    let state = without_unknown(partial.encode());
                    (
                        plan::without_write_only(&self.schema.block, &state),
                        diagnostics,
                    )
                }
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
            Ok(plan::without_write_only(
                &self.schema.block,
                &without_unknown(state.encode()),
            ))
        })
    }
}

impl<R: Resource> Typed<R> {
    /// What a host checks after an apply, made true: the object is never lost
    /// over it.
    fn finished(&self, request: &ApplyRequest, state: Value) -> (Value, Diagnostics) {
        let mut diagnostics = Diagnostics::default();
        if let Some(path) = unknown_in(&state, &Path::root()) {
            diagnostics.push(
                Diagnostic::error(
                    "Value is not known after apply",
                    format!(
                        "The object exists, and its attribute \"{path}\" was not filled in. It is null in the state.\n\n\
                         This is a bug in the ocir provider."
                    ),
                )
                .at(path),
            );
        }
        let state = without_unknown(state);
        let state = plan::without_write_only(&self.schema.block, &state);
        (
            as_configured(&self.schema.block, &request.config, &request.planned, state),
            diagnostics,
        )
    }
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
            let state = D::new(typed(clients))
                .read(cx, D::State::decode(config)?)
                .await?;
            let state = without_unknown(state.encode());
            Ok(as_configured(&self.schema.block, config, config, state))
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

/// `state` with the attributes that a hook changed, and no others: what it left
/// alone keeps what a model does not carry, such as the refinements of an
/// unknown value.
fn changes_only(state: Value, before: &Value, after: Value) -> Value {
    let (Value::Map(mut state), Value::Map(before), Value::Map(after)) = (state, before, after)
    else {
        return Value::Null;
    };
    for (name, value) in after {
        if before.get(&name) != Some(&value) {
            state.insert(name, value);
        }
    }
    Value::Map(state)
}

/// What the user configured comes back as it was configured, or the host calls
/// the whole apply inconsistent. A service that changed a value (trimmed a
/// text, say) is seen at the next refresh, as drift.
fn as_configured(block: &Block, config: &Value, planned: &Value, state: Value) -> Value {
    let Value::Map(mut members) = state else {
        return state;
    };
    let configurable =
        |attribute: &&Attribute| attribute.mode != Mode::Computed && !attribute.write_only;
    let names = block
        .attributes
        .iter()
        .filter(configurable)
        .map(|attribute| &attribute.name);
    for name in names.chain(block.blocks.iter().map(|block| &block.name)) {
        let configured = config.get(name).is_some_and(|value| !value.is_null());
        let Some(planned) = planned.get(name) else {
            continue;
        };
        if configured && planned.is_wholly_known() && members.get(name) != Some(planned) {
            tracing::warn!(
                attribute = name,
                "the service changed a configured value; the next refresh will show it"
            );
            members.insert(name.clone(), planned.clone());
        }
    }
    Value::Map(members)
}

/// `value` with null for what is unknown: nothing may be unknown in a state.
pub(super) fn without_unknown(value: Value) -> Value {
    match value {
        Value::Unknown(_) => Value::Null,
        Value::Seq(elements) => Value::Seq(elements.into_iter().map(without_unknown).collect()),
        Value::Map(members) => Value::Map(
            members
                .into_iter()
                .map(|(name, member)| (name, without_unknown(member)))
                .collect(),
        ),
        Value::Dynamic(inner) => {
            let (ty, value) = *inner;
            Value::Dynamic(Box::new((ty, without_unknown(value))))
        }
        known => known,
    }
}

fn unknown_in(value: &Value, at: &Path) -> Option<Path> {
    match value {
        Value::Unknown(_) => Some(at.clone()),
        Value::Seq(elements) => (0..)
            .zip(elements)
            .find_map(|(index, element)| unknown_in(element, &at.then(Step::Index(index)))),
        Value::Map(members) => members
            .iter()
            .find_map(|(name, member)| unknown_in(member, &at.then(Step::Attribute(name.clone())))),
        Value::Dynamic(inner) => unknown_in(&inner.1, at),
        _ => None,
    }
}
