//! Planning, as a pure function.

use std::collections::BTreeMap;

use super::{Attribute, Block, Kind, Mode, NestedBlock, Nesting};
use crate::cty::{Path, Step, Value};

/// What planning by the schema alone gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The planned new state.
    pub state: Value,
    /// Changed attributes that require replacement.
    pub replace: Vec<Path>,
}

/// Plans by the schema: defaults, unknown or kept computed values, write-only
/// nulling, and the attributes that require replacement. `prior` is null for a
/// create; `proposed` is what the host merged from the configuration and the
/// prior state, null for a delete.
///
/// What the user configured is passed on as it came, refinements of unknown
/// values included.
pub fn plan(schema: &Block, config: &Value, prior: &Value, proposed: &Value) -> Planned {
    if proposed.is_null() {
        return Planned {
            state: Value::Null,
            replace: Vec::new(),
        };
    }
    let wished = with_defaults(schema, config, proposed);
    if prior.is_null() {
        return Planned {
            state: with_computed(schema, config, Fill::New, &wished),
            replace: Vec::new(),
        };
    }
    let mut replace = Vec::new();
    find_replaced(schema, prior, &wished, &Path::root(), &mut replace);
    let fill = if !replace.is_empty() {
        // The object is made anew, and so is everything it computes.
        Fill::New
    } else if wished == *prior {
        return Planned {
            state: wished,
            replace,
        };
    } else {
        Fill::Changed(prior)
    };
    Planned {
        state: with_computed(schema, config, fill, &wished),
        replace,
    }
}

/// `value` with every write-only attribute null: such a value is used once and
/// never stored, planned or returned.
pub fn without_write_only(schema: &Block, value: &Value) -> Value {
    each_member(schema, value, &mut |member, value| match member {
        Member::Attribute(attribute) if attribute.write_only => Value::Null,
        Member::Attribute(Attribute {
            kind: Kind::Nested(nesting, attributes),
            ..
        }) => {
            let inner = as_block(attributes);
            each_element(*nesting, value, &mut |_, element| {
                without_write_only(&inner, element)
            })
        }
        Member::Attribute(_) => value.clone(),
        Member::Block(block) => each_element(block.nesting, value, &mut |_, element| {
            without_write_only(&block.block, element)
        }),
    })
}

/// Where computed values come from.
#[derive(Clone, Copy)]
enum Fill<'a> {
    /// Nowhere: the object is new.
    New,
    /// From this prior state where they are kept; the object changes.
    Changed(&'a Value),
}

enum Member<'a> {
    Attribute(&'a Attribute),
    Block(&'a NestedBlock),
}

/// First pass: what is configured, or else the default, or else what the host
/// proposed, which is the prior value of what is computed.
fn with_defaults(schema: &Block, config: &Value, proposed: &Value) -> Value {
    each_member(schema, proposed, &mut |member, proposed| match member {
        Member::Attribute(attribute) => {
            let configured = member_of(config, &attribute.name);
            match (&attribute.kind, &attribute.default) {
                _ if attribute.write_only => Value::Null,
                (_, Some(default)) if configured.is_null() => default.clone(),
                (Kind::Nested(nesting, attributes), _) if !configured.is_null() => {
                    let inner = as_block(attributes);
                    each_element(*nesting, proposed, &mut |key, element| {
                        with_defaults(&inner, &element_of(configured, key, element), element)
                    })
                }
                (Kind::Plain(_), _) if !configured.is_null() => configured.clone(),
                _ => proposed.clone(),
            }
        }
        Member::Block(block) => {
            let configured = member_of(config, &block.name);
            each_element(block.nesting, proposed, &mut |key, element| {
                with_defaults(&block.block, &element_of(configured, key, element), element)
            })
        }
    })
}

/// Second pass: what the provider computes is unknown, unless it is kept.
fn with_computed(schema: &Block, config: &Value, fill: Fill<'_>, wished: &Value) -> Value {
    each_member(schema, wished, &mut |member, wished| match member {
        Member::Attribute(attribute) => {
            let configured = member_of(config, &attribute.name);
            let computed = matches!(attribute.mode, Mode::Computed | Mode::OptionalComputed);
            if computed && attribute.default.is_none() && configured.is_null() {
                return match fill {
                    Fill::Changed(prior) if attribute.keep && !prior.is_null() => {
                        member_of(prior, &attribute.name).clone()
                    }
                    _ => Value::UNKNOWN,
                };
            }
            match &attribute.kind {
                Kind::Nested(nesting, attributes) if !configured.is_null() => {
                    let inner = as_block(attributes);
                    computed_elements(*nesting, &inner, configured, fill, &attribute.name, wished)
                }
                _ => wished.clone(),
            }
        }
        Member::Block(block) => {
            let configured = member_of(config, &block.name);
            computed_elements(
                block.nesting,
                &block.block,
                configured,
                fill,
                &block.name,
                wished,
            )
        }
    })
}

fn computed_elements(
    nesting: Nesting,
    inner: &Block,
    configured: &Value,
    fill: Fill<'_>,
    name: &str,
    wished: &Value,
) -> Value {
    each_element(nesting, wished, &mut |key, element| {
        let config = element_of(configured, key, element);
        let prior = match fill {
            Fill::New => None,
            // Elements of a set are told apart by what is in them; only an equal one is the same.
            Fill::Changed(prior) if matches!(key, Key::Any) => match member_of(prior, name) {
                Value::Seq(elements) => elements.iter().find(|prior| *prior == element).cloned(),
                _ => None,
            },
            Fill::Changed(prior) => Some(element_of(member_of(prior, name), key, &Value::Null)),
        };
        match prior {
            Some(prior) if !prior.is_null() => {
                with_computed(inner, &config, Fill::Changed(&prior), element)
            }
            _ => with_computed(inner, &config, Fill::New, element),
        }
    })
}

fn find_replaced(
    schema: &Block,
    prior: &Value,
    wished: &Value,
    at: &Path,
    replace: &mut Vec<Path>,
) {
    for attribute in &schema.attributes {
        let (before, after) = (
            member_of(prior, &attribute.name),
            member_of(wished, &attribute.name),
        );
        if before == after {
            continue;
        }
        let here = at.then(Step::Attribute(attribute.name.clone()));
        if attribute.replace {
            replace.push(here);
        } else if let Kind::Nested(nesting, attributes) = &attribute.kind {
            find_replaced_elements(
                *nesting,
                &as_block(attributes),
                before,
                after,
                &here,
                replace,
            );
        }
    }
    for block in &schema.blocks {
        let (before, after) = (
            member_of(prior, &block.name),
            member_of(wished, &block.name),
        );
        let here = at.then(Step::Attribute(block.name.clone()));
        find_replaced_elements(block.nesting, &block.block, before, after, &here, replace);
    }
}

fn find_replaced_elements(
    nesting: Nesting,
    inner: &Block,
    before: &Value,
    after: &Value,
    at: &Path,
    replace: &mut Vec<Path>,
) {
    match (nesting, before, after) {
        (Nesting::Single, Value::Map(_), Value::Map(_)) => {
            find_replaced(inner, before, after, at, replace);
        }
        (Nesting::List, Value::Seq(before), Value::Seq(after)) => {
            for (index, (before, after)) in (0..).zip(before.iter().zip(after)) {
                find_replaced(inner, before, after, &at.then(Step::Index(index)), replace);
            }
        }
        (Nesting::Map, Value::Map(before), Value::Map(after)) => {
            for (key, after) in after {
                if let Some(before) = before.get(key) {
                    find_replaced(
                        inner,
                        before,
                        after,
                        &at.then(Step::Key(key.clone())),
                        replace,
                    );
                }
            }
        }
        // What appears, vanishes, or is an element of a set: the whole is to blame when an
        // attribute inside requires replacement at all.
        _ if before != after && replaces_anywhere(inner) => replace.push(at.clone()),
        _ => {}
    }
}

fn replaces_anywhere(block: &Block) -> bool {
    let nested = |attribute: &Attribute| match &attribute.kind {
        Kind::Nested(_, attributes) => replaces_anywhere(&as_block(attributes)),
        Kind::Plain(_) => false,
    };
    block
        .attributes
        .iter()
        .any(|attribute| attribute.replace || nested(attribute))
        || block
            .blocks
            .iter()
            .any(|inner| replaces_anywhere(&inner.block))
}

fn each_member(
    schema: &Block,
    value: &Value,
    change: &mut dyn FnMut(Member<'_>, &Value) -> Value,
) -> Value {
    let Value::Map(_) = value else {
        return value.clone();
    };
    let mut members = BTreeMap::new();
    for attribute in &schema.attributes {
        let changed = change(
            Member::Attribute(attribute),
            member_of(value, &attribute.name),
        );
        members.insert(attribute.name.clone(), changed);
    }
    for block in &schema.blocks {
        let changed = change(Member::Block(block), member_of(value, &block.name));
        members.insert(block.name.clone(), changed);
    }
    Value::Map(members)
}

/// Which element of something nested.
#[derive(Clone, Copy)]
enum Key<'a> {
    Only,
    Index(usize),
    Name(&'a str),
    /// An element of a set, which has no name.
    Any,
}

fn each_element(
    nesting: Nesting,
    value: &Value,
    change: &mut dyn FnMut(Key<'_>, &Value) -> Value,
) -> Value {
    match (nesting, value) {
        (Nesting::Single, Value::Map(_)) => change(Key::Only, value),
        (Nesting::List, Value::Seq(elements)) => Value::Seq(
            elements
                .iter()
                .enumerate()
                .map(|(index, element)| change(Key::Index(index), element))
                .collect(),
        ),
        (Nesting::Set, Value::Seq(elements)) => Value::Seq(
            elements
                .iter()
                .map(|element| change(Key::Any, element))
                .collect(),
        ),
        (Nesting::Map, Value::Map(elements)) => Value::Map(
            elements
                .iter()
                .map(|(name, element)| (name.clone(), change(Key::Name(name), element)))
                .collect(),
        ),
        _ => value.clone(),
    }
}

/// The element of `whole` that belongs to `key`. An element of a set is its own
/// counterpart.
fn element_of(whole: &Value, key: Key<'_>, itself: &Value) -> Value {
    match (key, whole) {
        (Key::Only, whole) => whole.clone(),
        (Key::Index(index), Value::Seq(elements)) => {
            elements.get(index).cloned().unwrap_or(Value::Null)
        }
        (Key::Name(name), Value::Map(elements)) => {
            elements.get(name).cloned().unwrap_or(Value::Null)
        }
        (Key::Any, _) => itself.clone(),
        _ => Value::Null,
    }
}

fn member_of<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn as_block(attributes: &[Attribute]) -> Block {
    Block {
        attributes: attributes.to_vec(),
        ..Block::default()
    }
}
