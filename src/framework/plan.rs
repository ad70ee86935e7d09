//! Planning, as a pure function.

use std::collections::BTreeMap;

use super::{Attribute, Block, Kind, Mode, NestedBlock, Nesting, timeouts};
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
    } else if wished == *prior || timeouts::only_difference(prior, &wished) {
        // A change of how long something may take changes nothing else.
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

/// `value` with its default wherever an attribute that has one is null: a state
/// from before there was such an argument, or from somebody who has none. A
/// plan would put it there anyway, and show a change that is none.
pub(super) fn with_missing_defaults(schema: &Block, value: &Value) -> Value {
    each_member(schema, value, &mut |member, value| match member {
        Member::Attribute(Attribute {
            default: Some(default),
            ..
        }) if value.is_null() => default.clone(),
        Member::Attribute(Attribute {
            kind: Kind::Nested(nesting, attributes),
            ..
        }) => {
            let inner = as_block(attributes);
            each_element(*nesting, value, &mut |_, element| {
                with_missing_defaults(&inner, element)
            })
        }
        Member::Attribute(_) => value.clone(),
        Member::Block(block) => each_element(block.nesting, value, &mut |_, element| {
            with_missing_defaults(&block.block, element)
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
pub(super) fn with_defaults(schema: &Block, config: &Value, proposed: &Value) -> Value {
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
        (Nesting::List, Value::Seq(before), Value::Seq(after)) if before.len() == after.len() => {
            for (index, (before, after)) in (0..).zip(before.iter().zip(after)) {
                find_replaced(inner, before, after, &at.then(Step::Index(index)), replace);
            }
        }
        (Nesting::Map, Value::Map(before), Value::Map(after)) if before.keys().eq(after.keys()) => {
            for ((key, before), after) in before.iter().zip(after.values()) {
                let here = at.then(Step::Key(key.clone()));
                find_replaced(inner, before, after, &here, replace);
            }
        }
        // Something appears or vanishes, or is unknown, or is an element of a set: the whole is to
        // blame when an attribute inside requires replacement at all.
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
        // Changed elements may sort differently, or have become equal.
        (Nesting::Set, Value::Seq(elements)) => Value::set(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cty::{Refinements, arbitrary::Random},
        framework::{Attr, Model, model::object},
    };

    /// A layer.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Layer {
        /// Its name.
        #[tf(required)]
        name: Attr<String>,
        /// Its algorithm.
        #[tf(default = "gzip", replace)]
        algorithm: Attr<String>,
        /// Its digest.
        #[tf(computed)]
        digest: Attr<String>,
        /// Its id.
        #[tf(computed, keep)]
        id: Attr<String>,
    }

    /// A thing.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Thing {
        /// Its id.
        #[tf(computed, keep)]
        id: Attr<String>,
        /// When it changed.
        #[tf(computed)]
        changed: Attr<String>,
        /// Its name.
        #[tf(required, replace)]
        name: Attr<String>,
        /// Its title.
        #[tf(optional)]
        title: Attr<String>,
        /// Whether it is public.
        #[tf(default = false)]
        public: Attr<bool>,
        /// Its owner.
        #[tf(optional, computed, keep, replace)]
        owner: Attr<String>,
        /// Its size.
        #[tf(optional, computed)]
        size: Attr<i64>,
        /// Its password.
        #[tf(optional, write_only)]
        password: Attr<String>,
        /// Its layers.
        #[tf(optional, nested)]
        layers: Attr<Vec<Layer>>,
        /// Its top.
        #[tf(block)]
        top: Attr<Layer>,
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

    fn layer(name: &str, [algorithm, digest, id]: [Value; 3]) -> Value {
        object([
            ("name", name.into()),
            ("algorithm", algorithm),
            ("digest", digest),
            ("id", id),
        ])
    }

    fn configured_layer(name: &str) -> Value {
        layer(name, [Value::Null, Value::Null, Value::Null])
    }

    fn stored_layer(name: &str) -> Value {
        layer(name, ["gzip".into(), "sha256:1".into(), "7".into()])
    }

    /// Only the name is configured.
    fn config() -> Value {
        with(
            &Model::encode(&Thing {
                id: Attr::Null,
                changed: Attr::Null,
                name: "web".into(),
                title: Attr::Null,
                public: Attr::Null,
                owner: Attr::Null,
                size: Attr::Null,
                password: Attr::Null,
                layers: Attr::Null,
                top: Attr::Null,
            }),
            &[],
        )
    }

    /// As it is after a create with that configuration.
    fn stored() -> Value {
        with(
            &config(),
            &[
                ("id", "1".into()),
                ("changed", "today".into()),
                ("public", false.into()),
                ("owner", "me".into()),
                ("size", 5.into()),
            ],
        )
    }

    /// As Terraform merges: what is not configured and computed keeps its prior
    /// value, also in elements that have a counterpart.
    fn proposed(schema: &Block, config: &Value, prior: &Value) -> Value {
        each_member(schema, config, &mut |member, config| match member {
            Member::Attribute(attribute) => {
                let before = member_of(prior, &attribute.name);
                let computed = matches!(attribute.mode, Mode::Computed | Mode::OptionalComputed);
                match &attribute.kind {
                    _ if config.is_null() && computed => before.clone(),
                    Kind::Nested(nesting, attributes) => {
                        let inner = as_block(attributes);
                        each_element(*nesting, config, &mut |key, element| {
                            proposed(&inner, element, &element_of(before, key, &Value::Null))
                        })
                    }
                    Kind::Plain(_) => config.clone(),
                }
            }
            Member::Block(block) => {
                let before = member_of(prior, &block.name);
                each_element(block.nesting, config, &mut |key, element| {
                    proposed(
                        &block.block,
                        element,
                        &element_of(before, key, &Value::Null),
                    )
                })
            }
        })
    }

    fn planned(config: &Value, prior: &Value) -> Planned {
        let schema = Thing::block();
        assert_eq!(config.conforms(&schema.ty()), Ok(()));
        assert_eq!(prior.conforms(&schema.ty()), Ok(()));
        let proposed = proposed(&schema, config, prior);
        let planned = plan(&schema, config, prior, &proposed);
        assert_eq!(planned.state.conforms(&schema.ty()), Ok(()));
        planned
    }

    /// What differs between two objects, one line for each member.
    fn difference(before: &Value, after: &Value) -> String {
        let (Value::Map(before), Value::Map(after)) = (before, after) else {
            panic!("objects are maps");
        };
        let lines = after
            .iter()
            .filter(|(name, value)| before[*name] != **value);
        lines
            .map(|(name, value)| format!("{name} = {value:?}\n"))
            .collect()
    }

    fn paths(planned: &Planned) -> Vec<String> {
        planned.replace.iter().map(ToString::to_string).collect()
    }

    /// A create: defaults are filled in, what is computed is unknown, kept or not.
    #[test]
    fn create() {
        let planned = planned(&config(), &Value::Null);
        assert_eq!(planned.replace, []);
        expect_test::expect![[r#"
            changed = Unknown(None)
            id = Unknown(None)
            owner = Unknown(None)
            public = Bool(false)
            size = Unknown(None)
        "#]]
        .assert_eq(&difference(&config(), &planned.state));
    }

    /// A delete plans nothing.
    #[test]
    fn delete() {
        let planned = plan(&Thing::block(), &Value::Null, &stored(), &Value::Null);
        assert_eq!(planned.state, Value::Null);
        assert_eq!(planned.replace, []);
    }

    /// Nothing changed, so everything computed stays, kept or not.
    #[test]
    fn unchanged() {
        let planned = planned(&config(), &stored());
        assert_eq!(planned.state, stored());
        assert_eq!(planned.replace, []);
    }

    /// An update: what is computed is unknown, unless it is kept.
    #[test]
    fn update() {
        let config = with(&config(), &[("title", "Web".into())]);
        let planned = planned(&config, &stored());
        assert_eq!(planned.replace, []);
        expect_test::expect![[r#"
            changed = Unknown(None)
            size = Unknown(None)
            title = String("Web")
        "#]]
        .assert_eq(&difference(&stored(), &planned.state));
    }

    /// What is kept is kept when it is null, too: a token after an import.
    #[test]
    fn kept_null() {
        let config = with(&config(), &[("title", "Web".into())]);
        let prior = with(&stored(), &[("id", Value::Null)]);
        let planned = planned(&config, &prior);
        assert_eq!(planned.state.get("id"), Some(&Value::Null));
    }

    /// Somebody made it public behind our back, and the configuration says
    /// nothing: the default is planned again.
    #[test]
    fn drift_from_a_default() {
        let prior = with(&stored(), &[("public", true.into())]);
        let planned = planned(&config(), &prior);
        expect_test::expect![[r#"
            changed = Unknown(None)
            public = Bool(false)
            size = Unknown(None)
        "#]]
        .assert_eq(&difference(&prior, &planned.state));
    }

    /// A change that requires replacement: the object is made anew, so what is
    /// kept otherwise is unknown.
    #[test]
    fn replacement() {
        let config = with(&config(), &[("name", "api".into())]);
        let planned = planned(&config, &stored());
        assert_eq!(paths(&planned), ["name"]);
        expect_test::expect![[r#"
            changed = Unknown(None)
            id = Unknown(None)
            name = String("api")
            owner = Unknown(None)
            size = Unknown(None)
        "#]]
        .assert_eq(&difference(&stored(), &planned.state));
    }

    /// A value that is not known yet may turn out to be another one.
    #[test]
    fn replacement_by_an_unknown_value() {
        let config = with(&config(), &[("name", Value::UNKNOWN)]);
        assert_eq!(paths(&planned(&config, &stored())), ["name"]);
    }

    /// An argument that is left out and kept does not replace; a configured one
    /// that differs does.
    #[test]
    fn replacement_by_an_optional_argument() {
        let changed = with(&config(), &[("title", "Web".into())]);
        assert_eq!(planned(&changed, &stored()).replace, []);
        let owned = with(&config(), &[("owner", "you".into())]);
        assert_eq!(paths(&planned(&owned, &stored())), ["owner"]);
        let same = with(&config(), &[("owner", "me".into())]);
        assert_eq!(planned(&same, &stored()).state, stored());
    }

    /// A state without an argument that has a default now gets it, however deep;
    /// what it has stays, and so does what has no default.
    #[test]
    fn missing_defaults() {
        let bare = layer("a", [Value::Null, Value::Null, "7".into()]);
        let stored = with(
            &stored(),
            &[
                ("public", Value::Null),
                ("layers", Value::Seq(vec![bare.clone(), stored_layer("b")])),
                ("top", bare),
            ],
        );
        let completed = with_missing_defaults(&Thing::block(), &stored);
        let whole = layer("a", ["gzip".into(), Value::Null, "7".into()]);
        let expected = [
            ("public", false.into()),
            ("layers", Value::Seq(vec![whole.clone(), stored_layer("b")])),
            ("top", whole),
        ];
        assert_eq!(completed, with(&stored, &expected));
        let public = with(&stored, &[("public", true.into())]);
        let completed = with_missing_defaults(&Thing::block(), &public);
        assert_eq!(completed.get("public"), Some(&true.into()));
    }

    /// What the user configured is planned exactly, with what is known about it
    /// already.
    #[test]
    fn configured_values_stay() {
        let refined = Value::Unknown(Some(Box::new(Refinements {
            not_null: true,
            prefix: Some("ocid1.".to_owned()),
            ..Refinements::default()
        })));
        let config = with(
            &config(),
            &[
                ("title", refined.clone()),
                ("public", Value::UNKNOWN),
                ("size", 9.into()),
            ],
        );
        for prior in [Value::Null, stored()] {
            let planned = planned(&config, &prior);
            assert_eq!(planned.state.get("title"), Some(&refined));
            assert_eq!(planned.state.get("public"), Some(&Value::UNKNOWN));
            assert_eq!(planned.state.get("size"), Some(&9.into()));
        }
    }

    /// A write-only value is never planned, and no change by itself.
    #[test]
    fn write_only() {
        let config = with(&config(), &[("password", "hunter2".into())]);
        assert_eq!(
            planned(&config, &Value::Null).state.get("password"),
            Some(&Value::Null)
        );
        assert_eq!(planned(&config, &stored()).state, stored());
    }

    /// Elements of a nested attribute are planned one by one: an old one keeps,
    /// a new one computes.
    #[test]
    fn nested() {
        let layers = |layers: &[Value]| ("layers", Value::Seq(layers.to_vec()));
        let one = with(&config(), &[layers(&[configured_layer("a")])]);
        let new = planned(&one, &Value::Null);
        let computed = ["gzip".into(), Value::UNKNOWN, Value::UNKNOWN];
        assert_eq!(
            new.state.get("layers"),
            Some(&Value::Seq(vec![layer("a", computed.clone())]))
        );

        let prior = with(&stored(), &[layers(&[stored_layer("a")])]);
        assert_eq!(planned(&one, &prior).state, prior);

        let renamed = with(&config(), &[layers(&[configured_layer("b")])]);
        let planned_rename = planned(&renamed, &prior);
        assert_eq!(
            planned_rename.state.get("layers"),
            Some(&Value::Seq(vec![layer(
                "b",
                ["gzip".into(), Value::UNKNOWN, "7".into()]
            )]))
        );
        assert_eq!(planned_rename.replace, []);
    }

    /// What requires replacement inside something nested names the place; what
    /// appears or vanishes is named as a whole.
    #[test]
    fn nested_replacement() {
        let layers = |layers: &[Value]| ("layers", Value::Seq(layers.to_vec()));
        let prior = with(
            &stored(),
            &[
                layers(&[stored_layer("a"), stored_layer("b")]),
                ("top", stored_layer("t")),
            ],
        );
        let zstd = layer("b", ["zstd".into(), Value::Null, Value::Null]);
        let replaced = |changes: &[(&str, Value)]| {
            let both = [
                layers(&[configured_layer("a"), configured_layer("b")]),
                ("top", configured_layer("t")),
            ];
            paths(&planned(&with(&with(&config(), &both), changes), &prior))
        };
        assert_eq!(replaced(&[]), [""; 0]);
        assert_eq!(
            replaced(&[layers(&[configured_layer("a"), zstd.clone()])]),
            ["layers[1].algorithm"]
        );
        assert_eq!(replaced(&[layers(&[configured_layer("a")])]), ["layers"]);
        assert_eq!(replaced(&[("layers", Value::Null)]), ["layers"]);
        assert_eq!(replaced(&[("layers", Value::UNKNOWN)]), ["layers"]);
        assert_eq!(replaced(&[("top", zstd)]), ["top.algorithm"]);
        assert_eq!(replaced(&[("top", Value::Null)]), ["top"]);
    }

    /// Blocks are planned like nested attributes.
    #[test]
    fn blocks() {
        let config = with(&config(), &[("top", configured_layer("t"))]);
        let new = planned(&config, &Value::Null);
        assert_eq!(
            new.state.get("top"),
            Some(&layer("t", ["gzip".into(), Value::UNKNOWN, Value::UNKNOWN]))
        );
        let prior = with(&stored(), &[("top", stored_layer("t"))]);
        assert_eq!(planned(&config, &prior).state, prior);
    }

    /// Maps and sets of nested objects: elements belong together by key, or by
    /// being equal.
    #[test]
    fn nested_maps_and_sets() {
        // Otherwise a new element would replace the whole object.
        let mut attributes = Layer::block().attributes;
        attributes[1].replace = false;
        let nested = |nesting| Block {
            attributes: vec![Attribute {
                kind: Kind::Nested(nesting, attributes.clone()),
                ..crate::framework::model::attribute::<String>("layers", "Layers.", Mode::Optional)
            }],
            ..Block::default()
        };
        let run = |nesting, config: Value, prior: Value| {
            let schema = nested(nesting);
            let [config, prior] = [config, prior].map(|layers| object([("layers", layers)]));
            assert_eq!(config.conforms(&schema.ty()), Ok(()));
            let proposed = match nesting {
                // Terraform finds the element of a set that fits.
                Nesting::Set => object([(
                    "layers",
                    Value::set(vec![stored_layer("a"), configured_layer("b")]),
                )]),
                _ => proposed(&schema, &config, &prior),
            };
            let planned = plan(&schema, &config, &prior, &proposed);
            planned.state.get("layers").cloned().unwrap_or(Value::Null)
        };
        let new = || layer("b", ["gzip".into(), Value::UNKNOWN, Value::UNKNOWN]);
        let old = || layer("a", ["gzip".into(), Value::UNKNOWN, "7".into()]);
        assert_eq!(
            run(
                Nesting::Map,
                object([("x", configured_layer("b")), ("y", configured_layer("a"))]),
                object([("y", stored_layer("a"))]),
            ),
            object([("x", new()), ("y", old())])
        );
        assert_eq!(
            run(
                Nesting::Set,
                Value::set(vec![configured_layer("b"), configured_layer("a")]),
                Value::set(vec![stored_layer("a")]),
            ),
            Value::set(vec![new(), stored_layer("a")])
        );
    }

    /// What hosts check of a plan, as they document it.
    fn check_legal(schema: &Block, config: &Value, prior: &Value, planned: &Value, at: &str) {
        let (Value::Map(_), Value::Map(_)) = (config, planned) else {
            assert_eq!(config, planned, "{at}");
            return;
        };
        for attribute in &schema.attributes {
            let at = format!("{at}.{}", attribute.name);
            let [config, prior, planned] =
                [config, prior, planned].map(|value| member_of(value, &attribute.name));
            let computed = matches!(attribute.mode, Mode::Computed | Mode::OptionalComputed);
            match &attribute.kind {
                _ if attribute.write_only => assert_eq!(planned, &Value::Null, "{at}"),
                _ if config.is_null() && computed => {}
                Kind::Plain(_) => assert_eq!(config, planned, "{at}"),
                Kind::Nested(nesting, attributes) => {
                    check_elements(
                        *nesting,
                        &as_block(attributes),
                        [config, prior, planned],
                        &at,
                    );
                }
            }
        }
        for block in &schema.blocks {
            let at = format!("{at}.{}", block.name);
            let values = [config, prior, planned].map(|value| member_of(value, &block.name));
            check_elements(block.nesting, &block.block, values, &at);
        }
    }

    fn check_elements(
        nesting: Nesting,
        schema: &Block,
        [config, prior, planned]: [&Value; 3],
        at: &str,
    ) {
        match (nesting, config, planned) {
            (Nesting::Single, config, planned) => check_legal(schema, config, prior, planned, at),
            (Nesting::List, Value::Seq(config), Value::Seq(planned)) => {
                assert_eq!(config.len(), planned.len(), "{at}");
                for (index, (config, planned)) in config.iter().zip(planned).enumerate() {
                    let prior = element_of(prior, Key::Index(index), &Value::Null);
                    check_legal(schema, config, &prior, planned, &format!("{at}[{index}]"));
                }
            }
            _ => assert_eq!(config, planned, "{at}"),
        }
    }

    /// Whatever is configured over whatever was there, the plan is legal, and
    /// planning what was planned and applied again is no change.
    #[test]
    fn every_plan_is_legal() {
        let schema = Thing::block();
        let ty = schema.ty();
        let (mut replaced, mut unchanged) = (0, 0);
        for seed in 0..3000 {
            let mut random = Random::new(seed);
            let mut config = as_configuration(&schema, &random.value(&ty, true));
            while config.get("name").is_none() {
                config = as_configuration(&schema, &random.value(&ty, true));
            }
            let prior = match random.value(&ty, false) {
                _ if random.below(4) == 0 => Value::Null,
                prior => without_write_only(&schema, &prior),
            };
            let before = planned(&config, &prior);
            check_legal(
                &schema,
                &config,
                &prior,
                &before.state,
                &format!("seed {seed}: "),
            );
            assert!(!prior.is_null() || before.replace.is_empty());
            replaced += usize::from(!before.replace.is_empty());

            // The configuration is known before an apply, which fills in the rest.
            let config = known(&config);
            let applied = known(&planned(&config, &prior).state);
            let again = planned(&config, &applied);
            assert_eq!(again.state, applied, "seed {seed}");
            assert_eq!(again.replace, [], "seed {seed}");
            unchanged += 1;
        }
        // Otherwise the seeds do not reach what they are for.
        assert!(
            replaced > 300 && unchanged > 1000,
            "{replaced}, {unchanged}"
        );
    }

    /// Only what a user may set.
    fn as_configuration(schema: &Block, value: &Value) -> Value {
        each_member(schema, value, &mut |member, value| match member {
            Member::Attribute(attribute) if attribute.mode == Mode::Computed => Value::Null,
            Member::Attribute(Attribute {
                kind: Kind::Nested(nesting, attributes),
                ..
            }) => each_element(*nesting, value, &mut |_, element| {
                as_configuration(&as_block(attributes), element)
            }),
            Member::Attribute(_) => value.clone(),
            Member::Block(block) => each_element(block.nesting, value, &mut |_, element| {
                as_configuration(&block.block, element)
            }),
        })
    }

    /// Unknown values filled in: `null` is as good an answer as any.
    fn known(value: &Value) -> Value {
        match value {
            Value::Unknown(_) => Value::Null,
            Value::Seq(elements) => Value::Seq(elements.iter().map(known).collect()),
            Value::Map(members) => Value::Map(
                members
                    .iter()
                    .map(|(name, member)| (name.clone(), known(member)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// An unknown object has no members to plan.
    #[test]
    fn unknown_objects() {
        let config = with(&config(), &[("top", Value::UNKNOWN)]);
        let planned = planned(&config, &Value::Null);
        assert_eq!(planned.state.get("top"), Some(&Value::UNKNOWN));
    }
}
