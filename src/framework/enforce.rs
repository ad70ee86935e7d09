//! What a host checks, made true whatever a resource does.
//!
//! A host refuses a plan or an apply in which a configured value changed, and
//! taints an object over it. A resource that gets a detail wrong must not cost
//! the user an object, so its answers are put right here; what was put right
//! is logged by name, never with its value.

use super::{Attribute, Block, Kind, Mode, Nesting};
use crate::cty::{Path, Step, Type, Value};

/// `planned` with what a hook changed (the difference between `before` and
/// `after`), and nothing else: what it left alone keeps what a model does not
/// carry, such as the refinements of an unknown value.
pub(super) fn with_changes(planned: Value, before: &Value, after: Value) -> Value {
    if *before == after {
        return planned;
    }
    match (planned, before, after) {
        (Value::Map(planned), Value::Map(before), Value::Map(after))
            if planned.len() == after.len()
                && after
                    .keys()
                    .all(|name| planned.contains_key(name) && before.contains_key(name)) =>
        {
            let members = planned.into_iter().zip(after);
            Value::Map(
                members
                    .map(|((name, planned), (_, after))| {
                        let member = match before.get(&name) {
                            Some(before) => with_changes(planned, before, after),
                            None => after,
                        };
                        (name, member)
                    })
                    .collect(),
            )
        }
        (Value::Seq(planned), Value::Seq(before), Value::Seq(after))
            if planned.len() == after.len() && before.len() == after.len() =>
        {
            let elements = planned.into_iter().zip(before).zip(after);
            Value::Seq(
                elements
                    .map(|((planned, before), after)| with_changes(planned, before, after))
                    .collect(),
            )
        }
        (_, _, after) => after,
    }
}

/// A plan that a host accepts, out of one that a hook changed. Configured
/// values are planned as configured, or as they were before; what is neither
/// configured nor computed is null; write-only values are null. Where
/// `changed` breaks that, `by_schema` (the plan before the hook) stands.
pub(super) fn legal_plan(
    schema: &Block,
    config: &Value,
    prior: &Value,
    by_schema: &Value,
    changed: Value,
) -> Value {
    let Value::Map(changed) = changed else {
        return by_schema.clone();
    };
    let null = &Value::Null;
    let members = changed.into_iter().map(|(name, changed)| {
        let [config, prior, by_schema] =
            [config, prior, by_schema].map(|value| value.get(&name).unwrap_or(null));
        let attribute = schema
            .attributes
            .iter()
            .find(|attribute| attribute.name == name);
        let block = || schema.blocks.iter().find(|block| block.name == name);
        let legal = match (attribute, block()) {
            (Some(attribute), _) => {
                legal_attribute(attribute, config, prior, by_schema, changed.clone())
            }
            (None, Some(block)) => legal_elements(
                block.nesting,
                &block.block,
                config,
                prior,
                by_schema,
                changed.clone(),
            ),
            (None, None) => changed.clone(),
        };
        if legal != changed {
            tracing::warn!(
                attribute = name,
                "a plan changed what was configured; this is a bug in the provider"
            );
        }
        (name, legal)
    });
    Value::Map(members.collect())
}

fn legal_attribute(
    attribute: &Attribute,
    config: &Value,
    prior: &Value,
    by_schema: &Value,
    changed: Value,
) -> Value {
    let computed = matches!(attribute.mode, Mode::Computed | Mode::OptionalComputed);
    if attribute.write_only {
        return Value::Null;
    }
    if config.is_null() {
        return if computed { changed } else { Value::Null };
    }
    // Taking the prior value is how a hook says that a difference means nothing.
    if changed == *by_schema || (changed == *prior && !prior.is_null()) {
        return changed;
    }
    match &attribute.kind {
        Kind::Plain(_) => by_schema.clone(),
        Kind::Nested(nesting, attributes) => {
            let inner = Block {
                attributes: attributes.clone(),
                ..Block::default()
            };
            legal_elements(*nesting, &inner, config, prior, by_schema, changed)
        }
    }
}

fn legal_elements(
    nesting: Nesting,
    inner: &Block,
    config: &Value,
    prior: &Value,
    by_schema: &Value,
    changed: Value,
) -> Value {
    match (nesting, config, by_schema, changed) {
        (Nesting::Single, Value::Map(_), Value::Map(_), changed @ Value::Map(_)) => {
            legal_plan(inner, config, prior, by_schema, changed)
        }
        (Nesting::List, Value::Seq(config), Value::Seq(by_schema), Value::Seq(changed))
            if config.len() == changed.len() && by_schema.len() == changed.len() =>
        {
            let elements = changed.into_iter().zip(config.iter().zip(by_schema));
            Value::Seq(
                elements
                    .enumerate()
                    .map(|(index, (changed, (config, by_schema)))| {
                        let prior = match prior {
                            Value::Seq(prior) => prior.get(index).unwrap_or(&Value::Null),
                            _ => &Value::Null,
                        };
                        legal_plan(inner, config, prior, by_schema, changed)
                    })
                    .collect(),
            )
        }
        (Nesting::Map, Value::Map(config), Value::Map(by_schema), Value::Map(changed))
            if config.keys().eq(changed.keys()) && by_schema.keys().eq(changed.keys()) =>
        {
            let elements = changed
                .into_iter()
                .zip(config.values().zip(by_schema.values()));
            Value::Map(
                elements
                    .map(|((key, changed), (config, by_schema))| {
                        let prior = prior.get(&key).unwrap_or(&Value::Null);
                        let legal = legal_plan(inner, config, prior, by_schema, changed);
                        (key, legal)
                    })
                    .collect(),
            )
        }
        // Elements of a set cannot be told apart, so a hook keeps off them.
        (_, _, by_schema, _) => by_schema.clone(),
    }
}

/// A result that a host accepts after an apply that went well: everything that
/// was planned as known is as it was planned. A service that made something
/// else of a value (trimmed a text, say) is seen at the next refresh, as
/// drift; a host that saw it now would call the whole apply inconsistent and
/// taint a new object.
pub(super) fn as_planned(ty: &Type, planned: &Value, state: Value) -> Value {
    let (Type::Object(types), Value::Map(planned), Value::Map(mut state)) = (ty, planned, state)
    else {
        return without_unknown(planned.clone());
    };
    let members = types.iter().map(|(name, ty)| {
        let answered = state.remove(name).unwrap_or(Value::Null);
        let planned = planned.get(name).unwrap_or(&Value::Null);
        let settled = settle(ty, planned, answered.clone());
        // An unknown value has a message of its own.
        if settled != answered && answered.is_wholly_known() {
            tracing::warn!(
                attribute = name,
                "the answer differs from the plan; the next refresh will show it"
            );
        }
        (name.clone(), settled)
    });
    Value::Map(members.collect())
}

fn settle(ty: &Type, planned: &Value, state: Value) -> Value {
    if planned.is_unknown() {
        return state;
    }
    if planned.is_wholly_known() {
        return planned.clone();
    }
    match (ty, planned, state) {
        (Type::Object(types), Value::Map(planned), Value::Map(mut state)) => {
            let members = types.iter().map(|(name, ty)| {
                let state = state.remove(name).unwrap_or(Value::Null);
                let planned = planned.get(name).unwrap_or(&Value::Null);
                (name.clone(), settle(ty, planned, state))
            });
            Value::Map(members.collect())
        }
        (Type::Map(ty), Value::Map(planned), Value::Map(mut state)) => {
            let members = planned.iter().map(|(key, planned)| {
                let state = state.remove(key).unwrap_or(Value::Null);
                (key.clone(), settle(ty, planned, state))
            });
            Value::Map(members.collect())
        }
        (Type::List(ty), Value::Seq(planned), Value::Seq(state)) => {
            let mut state = state.into_iter();
            let elements = planned
                .iter()
                .map(|planned| settle(ty, planned, state.next().unwrap_or(Value::Null)));
            Value::Seq(elements.collect())
        }
        // Elements of a set that were not wholly known cannot be told apart.
        (Type::Set(_) | Type::Tuple(_) | Type::Dynamic, _, state) => state,
        (_, planned, _) => without_unknown(planned.clone()),
    }
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

/// Where a value is unknown.
pub(super) fn unknown_in(ty: &Type, value: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    find_unknown(ty, value, &Path::root(), &mut found);
    found
}

fn find_unknown(ty: &Type, value: &Value, at: &Path, found: &mut Vec<Path>) {
    if value.is_wholly_known() {
        return;
    }
    match (ty, value) {
        (Type::List(ty), Value::Seq(elements)) => {
            for (index, element) in (0..).zip(elements) {
                find_unknown(ty, element, &at.then(Step::Index(index)), found);
            }
        }
        (Type::Map(ty), Value::Map(members)) => {
            for (key, member) in members {
                find_unknown(ty, member, &at.then(Step::Key(key.clone())), found);
            }
        }
        (Type::Object(types), Value::Map(members)) => {
            for (name, member) in members {
                let ty = types.get(name).unwrap_or(&Type::Dynamic);
                find_unknown(ty, member, &at.then(Step::Attribute(name.clone())), found);
            }
        }
        // A path cannot lead into anything else.
        _ => found.push(at.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::framework::{
        Attr, Model,
        model::{nested, object},
    };

    /// A part.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Part {
        /// Its name.
        #[tf(required)]
        name: Attr<String>,
        /// Its id.
        #[tf(computed)]
        id: Attr<String>,
    }

    /// Parts in a list, a map, one, and a block.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Whole {
        /// In a list.
        #[tf(optional, nested)]
        list: Attr<Vec<Part>>,
        /// In a map.
        #[tf(optional, nested)]
        map: Attr<BTreeMap<String, Part>>,
        /// Alone.
        #[tf(optional, nested)]
        one: Attr<Part>,
        /// In a block.
        #[tf(block)]
        block: Attr<Part>,
    }

    fn part(name: &str, id: Value) -> Value {
        object([("name", name.into()), ("id", id)])
    }

    /// The same part in every place.
    fn whole(part: &Value) -> Value {
        object([
            ("list", Value::Seq(vec![part.clone()])),
            ("map", object([("k", part.clone())])),
            ("one", part.clone()),
            ("block", part.clone()),
        ])
    }

    /// A hook fills in a computed member and changes a configured one beside
    /// it: the one is planned, the other is put right, wherever they are.
    #[test]
    fn overstepping_deep_inside() {
        let config = whole(&part("a", Value::Null));
        let by_schema = whole(&part("a", Value::UNKNOWN));
        let changed = whole(&part("b", "7".into()));
        let legal = legal_plan(&Whole::block(), &config, &Value::Null, &by_schema, changed);
        assert_eq!(legal, whole(&part("a", "7".into())));
    }

    /// Elements that a hook adds or takes away come from nobody's configuration.
    #[test]
    fn other_elements() {
        let config = whole(&part("a", Value::Null));
        let by_schema = whole(&part("a", Value::UNKNOWN));
        let extra = part("b", "7".into());
        let changed = object([
            ("list", Value::Seq(vec![])),
            ("map", object([("k", extra.clone()), ("l", extra.clone())])),
            ("one", Value::Null),
            ("block", Value::Null),
        ]);
        let legal = legal_plan(&Whole::block(), &config, &Value::Null, &by_schema, changed);
        assert_eq!(legal, by_schema);
    }

    /// Elements of a set that a hook changes, which cannot be told apart.
    #[test]
    fn sets() {
        let mut list = nested::<Vec<Part>>("set", "Parts.", Mode::Optional);
        if let Kind::Nested(nesting, _) = &mut list.kind {
            *nesting = Nesting::Set;
        }
        let schema = Block {
            attributes: vec![list],
            ..Block::default()
        };
        let set = |id: Value| object([("set", Value::set(vec![part("a", id)]))]);
        let by_schema = set(Value::UNKNOWN);
        let changed = set("7".into());
        let legal = legal_plan(
            &schema,
            &set(Value::Null),
            &Value::Null,
            &by_schema,
            changed,
        );
        assert_eq!(legal, by_schema);
    }

    /// After an apply, unknown members are the answer's, known ones the plan's,
    /// wherever they are; what the answer lacks is unknown no longer.
    #[test]
    fn results_deep_inside() {
        let ty = Whole::block().ty();
        let planned = whole(&part("a", Value::UNKNOWN));
        let answered = whole(&part("changed by the service", "7".into()));
        assert_eq!(
            as_planned(&ty, &planned, answered),
            whole(&part("a", "7".into()))
        );
        let lacking = object([
            ("list", Value::Seq(vec![])),
            ("map", object([])),
            ("one", Value::Null),
            ("block", Value::Null),
        ]);
        assert_eq!(
            as_planned(&ty, &planned, lacking),
            whole(&part("a", Value::Null))
        );
        assert_eq!(
            as_planned(&ty, &planned, Value::Null),
            whole(&part("a", Value::Null))
        );
    }

    /// Every unknown place is named as the configuration writes it; inside a
    /// set there is no place to name.
    #[test]
    fn places_of_the_unknown() {
        let places = |ty: &Type, value: &Value| -> Vec<String> {
            unknown_in(ty, value).iter().map(Path::to_string).collect()
        };
        let value = whole(&part("a", Value::UNKNOWN));
        assert_eq!(
            places(&Whole::block().ty(), &value),
            ["block.id", "list[0].id", "map[\"k\"].id", "one.id"]
        );
        let set = Type::Set(Box::new(Type::String));
        assert_eq!(places(&set, &Value::Seq(vec![Value::UNKNOWN])), [""]);
        assert_eq!(places(&set, &Value::Seq(vec!["a".into()])), [""; 0]);
    }
}
