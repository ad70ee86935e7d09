//! The life-cycle rules that a host checks, as they are published in
//! <https://github.com/hashicorp/terraform/blob/main/docs/resource-instance-change-lifecycle.md>.

use std::collections::BTreeMap;

use ocir::{
    cty::{Number, Path, Refinements, Step, Value},
    framework::{Attribute, Block, Kind, Mode, NestedBlock, Nesting},
};

/// The host's merge of configuration and prior state: computed attributes that
/// are not configured keep what they have, everything else is as configured.
pub fn proposed_new(block: &Block, prior: &Value, config: &Value) -> Value {
    if config.is_null() && prior.is_null() {
        return Value::Null;
    }
    let empty;
    let prior = if prior.is_null() {
        empty = empty_block(block);
        &empty
    } else {
        prior
    };
    if config.is_null() || config.is_unknown() {
        return prior.clone();
    }
    let mut members = proposed_attributes(&block.attributes, prior, config);
    for nested in &block.blocks {
        let proposed = proposed_block(
            nested,
            member(prior, &nested.name),
            member(config, &nested.name),
        );
        members.insert(nested.name.clone(), proposed);
    }
    Value::Map(members)
}

/// What a host knows of something that it cannot ask for yet: what is
/// configured, and that the rest is unknown.
pub fn planned_data(block: &Block, config: &Value) -> Value {
    let attributes = block.attributes.iter().map(|attribute| {
        let configured = member(config, &attribute.name);
        let value = match configured {
            Value::Null if computed(attribute) => Value::UNKNOWN,
            configured => configured.clone(),
        };
        (attribute.name.clone(), value)
    });
    let blocks = block.blocks.iter();
    let blocks = blocks.map(|nested| (nested.name.clone(), member(config, &nested.name).clone()));
    Value::Map(attributes.chain(blocks).collect())
}

/// What is wrong with a plan. Computed attributes without configuration are
/// the provider's; the rest is as configured, or as before.
pub fn plan_problems(block: &Block, prior: &Value, config: &Value, planned: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check_planned_block(
        block,
        [prior, config, planned],
        &Path::root(),
        &mut problems,
    );
    problems
}

/// What is wrong with a result: what was planned as known has to come true.
pub fn apply_problems(block: &Block, planned: &Value, actual: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check_compatible_block(block, planned, actual, &Path::root(), &mut problems);
    problems
}

/// Paths of write-only attributes that have a value.
pub fn write_only_values(block: &Block, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    find_write_only(
        &block.attributes,
        &block.blocks,
        value,
        &Path::root(),
        &mut found,
    );
    found
}

/// Compares as a host does: what is known about an unknown value does not count.
pub fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Unknown(_), Value::Unknown(_)) => true,
        (Value::Seq(left), Value::Seq(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(left, right))
        }
        (Value::Map(left), Value::Map(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

/// The value of a path, as far as it exists.
pub fn at<'a>(value: &'a Value, path: &Path) -> &'a Value {
    path.0.iter().fold(value, |value, step| match step {
        Step::Attribute(name) | Step::Key(name) => member(value, name),
        Step::Index(index) => element(value, usize::try_from(*index).unwrap_or(usize::MAX)),
        Step::Element(_) => value,
    })
}

fn empty_block(block: &Block) -> Value {
    let attributes = block
        .attributes
        .iter()
        .map(|attribute| (attribute.name.clone(), Value::Null));
    let blocks = block.blocks.iter().map(|nested| {
        let empty = match nested.nesting {
            Nesting::Single => Value::Null,
            Nesting::List | Nesting::Set => Value::Seq(Vec::new()),
            Nesting::Map => Value::Map(BTreeMap::new()),
        };
        (nested.name.clone(), empty)
    });
    Value::Map(attributes.chain(blocks).collect())
}

fn proposed_block(nested: &NestedBlock, prior: &Value, config: &Value) -> Value {
    let merge = |prior: &Value, config: &Value| proposed_new(&nested.block, prior, config);
    match (nested.nesting, config) {
        (_, Value::Unknown(_) | Value::Null) => config.clone(),
        (Nesting::Single, _) => merge(prior, config),
        (nesting, _) => {
            let from =
                |prior: &Value, config: &Value| block_from_prior(&nested.block, prior, config);
            merge_elements(nesting, prior, config, merge, from)
        }
    }
}

fn proposed_attributes(
    attributes: &[Attribute],
    prior: &Value,
    config: &Value,
) -> BTreeMap<String, Value> {
    let proposed = attributes.iter().map(|attribute| {
        let prior = member(prior, &attribute.name);
        let config = member(config, &attribute.name);
        let proposed = match &attribute.kind {
            _ if computed(attribute) && config.is_null() => prior.clone(),
            Kind::Nested(nesting, attributes) if !config.is_null() && !config.is_unknown() => {
                let merge = |prior: &Value, config: &Value| match config {
                    Value::Map(_) => Value::Map(proposed_attributes(attributes, prior, config)),
                    _ => config.clone(),
                };
                let from = |prior: &Value, config: &Value| {
                    attributes_from_prior(attributes, prior, config)
                };
                match nesting {
                    Nesting::Single => merge(prior, config),
                    nesting => merge_elements(*nesting, prior, config, merge, from),
                }
            }
            _ => config.clone(),
        };
        (attribute.name.clone(), proposed)
    });
    proposed.collect()
}

/// Elements belong together by index, by key, or, in sets, when the prior one
/// could have come from the configured one.
fn merge_elements(
    nesting: Nesting,
    prior: &Value,
    config: &Value,
    merge: impl Fn(&Value, &Value) -> Value,
    from_prior: impl Fn(&Value, &Value) -> bool,
) -> Value {
    match config {
        Value::Map(elements) => {
            let merged = elements.iter().map(|(key, config)| {
                let merged = match prior.get(key) {
                    Some(prior) => merge(prior, config),
                    None => config.clone(),
                };
                (key.clone(), merged)
            });
            Value::Map(merged.collect())
        }
        Value::Seq(elements) if nesting == Nesting::Set => {
            let mut left: Vec<&Value> = items(prior).iter().collect();
            let merged = elements.iter().map(|config| {
                match left.iter().position(|prior| from_prior(prior, config)) {
                    Some(index) => merge(left.remove(index), config),
                    None => config.clone(),
                }
            });
            Value::set(merged.collect())
        }
        Value::Seq(elements) => {
            let merged =
                elements
                    .iter()
                    .enumerate()
                    .map(|(index, config)| match items(prior).get(index) {
                        Some(prior) => merge(prior, config),
                        None => config.clone(),
                    });
            Value::Seq(merged.collect())
        }
        _ => config.clone(),
    }
}

/// Whether `prior` is what `config` gives once computed attributes are filled.
fn attributes_from_prior(attributes: &[Attribute], prior: &Value, config: &Value) -> bool {
    attributes.iter().all(|attribute| {
        let prior = member(prior, &attribute.name);
        let config = member(config, &attribute.name);
        if same(prior, config) || (computed(attribute) && config.is_null()) {
            return true;
        }
        match &attribute.kind {
            Kind::Nested(_, attributes) => elementwise(prior, config, |prior, config| {
                attributes_from_prior(attributes, prior, config)
            }),
            Kind::Plain(_) => false,
        }
    })
}

fn block_from_prior(block: &Block, prior: &Value, config: &Value) -> bool {
    attributes_from_prior(&block.attributes, prior, config)
        && block.blocks.iter().all(|nested| {
            let prior = member(prior, &nested.name);
            let config = member(config, &nested.name);
            elementwise(prior, config, |prior, config| {
                block_from_prior(&nested.block, prior, config)
            })
        })
}

/// Holds for two collections of one shape, for each pair of elements.
fn elementwise(left: &Value, right: &Value, holds: impl Fn(&Value, &Value) -> bool) -> bool {
    match (left, right) {
        (Value::Seq(left), Value::Seq(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| holds(left, right))
        }
        (Value::Map(_), Value::Map(_)) => holds(left, right),
        _ => same(left, right),
    }
}

fn check_planned_block(
    block: &Block,
    values: [&Value; 3],
    path: &Path,
    problems: &mut Vec<String>,
) {
    let [prior, config, planned] = values;
    match (config.is_null(), planned.is_null()) {
        (false, true) => {
            return problems.push(tell(path, "planned for absence but config wants existence"));
        }
        (true, false) => {
            return problems.push(tell(path, "planned for existence but config wants absence"));
        }
        (true, true) => return,
        (false, false) => {}
    }
    check_planned_attributes(&block.attributes, values, path, problems);
    for nested in &block.blocks {
        let path = path.then(Step::Attribute(nested.name.clone()));
        let [prior, config, planned] =
            [prior, config, planned].map(|value| member(value, &nested.name));
        if nested.nesting != Nesting::Single && planned.is_null() {
            problems.push(tell(&path, "blocks must be empty, not null"));
        } else if planned == config {
        } else if config.is_unknown() {
            problems.push(tell(&path, "planned a value for an unknown dynamic block"));
        } else if planned.is_unknown() {
            problems.push(tell(&path, "planned unknown value for a block"));
        } else if nested.nesting == Nesting::Single {
            check_planned_block(&nested.block, [prior, config, planned], &path, problems);
        } else if nested.nesting != Nesting::Set {
            // Elements of sets have no names to compare them by.
            each_planned(
                [prior, config, planned],
                &path,
                problems,
                |values, path, problems| {
                    check_planned_block(&nested.block, values, path, problems);
                },
            );
        }
    }
}

fn check_planned_attributes(
    attributes: &[Attribute],
    values: [&Value; 3],
    path: &Path,
    problems: &mut Vec<String>,
) {
    for attribute in attributes {
        let path = path.then(Step::Attribute(attribute.name.clone()));
        let values @ [prior, config, planned] = values.map(|value| member(value, &attribute.name));
        let unchanged = same(planned, prior) && !prior.is_null() && !config.is_null();
        if attribute.write_only {
            if !planned.is_null() {
                problems.push(tell(
                    &path,
                    "planned value for write-only attribute is not null",
                ));
            }
        } else if same(planned, config)
            || unchanged
            || attribute.mode == Mode::Computed
            || (config.is_null() && computed(attribute))
        {
        } else if config.is_null() {
            problems.push(tell(
                &path,
                &format!("planned {planned:?} for a non-computed attribute"),
            ));
        } else if let Kind::Nested(nesting, attributes) = &attribute.kind {
            if planned.is_null() {
                problems.push(tell(
                    &path,
                    "planned for absence but config wants existence",
                ));
            } else if planned.is_unknown() {
                problems.push(tell(&path, "planned unknown for configured value"));
            } else if *nesting == Nesting::Single {
                check_planned_attributes(attributes, values, &path, problems);
            } else if *nesting == Nesting::Set {
                if items(planned).len() != items(config).len() {
                    problems.push(tell(&path, "count in plan disagrees with count in config"));
                }
            } else {
                each_planned(values, &path, problems, |values, path, problems| {
                    check_planned_attributes(attributes, values, path, problems);
                });
            }
        } else {
            let expected = if prior.is_null() {
                format!("{config:?}")
            } else {
                format!("{config:?} nor prior value {prior:?}")
            };
            problems.push(tell(
                &path,
                &format!("planned value {planned:?} does not match config value {expected}"),
            ));
        }
    }
}

fn each_planned(
    [prior, config, planned]: [&Value; 3],
    path: &Path,
    problems: &mut Vec<String>,
    check: impl Fn([&Value; 3], &Path, &mut Vec<String>),
) {
    let (steps, wanted) = (steps(planned), self::steps(config));
    if steps != wanted {
        return problems.push(tell(
            path,
            "elements in plan disagree with elements in config",
        ));
    }
    for step in steps {
        let within = Path(vec![step.clone()]);
        check(
            [prior, config, planned].map(|value| at(value, &within)),
            &path.then(step),
            problems,
        );
    }
}

fn check_compatible_block(
    block: &Block,
    planned: &Value,
    actual: &Value,
    path: &Path,
    problems: &mut Vec<String>,
) {
    match (planned.is_null(), actual.is_null()) {
        (true, false) => return problems.push(tell(path, "was absent, but now present")),
        (false, true) => return problems.push(tell(path, "was present, but now absent")),
        (true, true) => return,
        (false, false) => {}
    }
    for attribute in &block.attributes {
        let path = path.then(Step::Attribute(attribute.name.clone()));
        let set = match &attribute.kind {
            Kind::Plain(ty) => matches!(ty, ocir::cty::Type::Set(_)),
            Kind::Nested(nesting, _) => *nesting == Nesting::Set,
        };
        let [planned, actual] = [planned, actual].map(|value| member(value, &attribute.name));
        check_compatible(planned, actual, set, &path, problems);
    }
    for nested in &block.blocks {
        let path = path.then(Step::Attribute(nested.name.clone()));
        let [planned, actual] = [planned, actual].map(|value| member(value, &nested.name));
        match nested.nesting {
            _ if planned.is_unknown() => {}
            Nesting::Single => {
                check_compatible_block(&nested.block, planned, actual, &path, problems)
            }
            Nesting::Set => check_compatible(planned, actual, true, &path, problems),
            Nesting::List | Nesting::Map => {
                if steps(planned) != steps(actual) {
                    problems.push(tell(&path, "block count changed"));
                    continue;
                }
                for step in steps(planned) {
                    let within = Path(vec![step.clone()]);
                    let [planned, actual] = [planned, actual].map(|value| at(value, &within));
                    check_compatible_block(
                        &nested.block,
                        planned,
                        actual,
                        &path.then(step),
                        problems,
                    );
                }
            }
        }
    }
}

fn check_compatible(
    planned: &Value,
    actual: &Value,
    set: bool,
    path: &Path,
    problems: &mut Vec<String>,
) {
    match (planned, actual) {
        (Value::Unknown(known), actual) => {
            if !known.as_ref().is_none_or(|known| fits(known, actual)) {
                problems.push(tell(
                    path,
                    &format!("final value {actual:?} does not conform to {planned:?}"),
                ));
            }
        }
        (Value::Seq(planned), Value::Seq(actual)) if set => {
            // An element that becomes known is another element.
            let fits = |planned: &Value, actual: &Value| {
                let mut problems = Vec::new();
                check_compatible(planned, actual, false, path, &mut problems);
                problems.is_empty()
            };
            let lost = planned
                .iter()
                .any(|planned| !actual.iter().any(|actual| fits(planned, actual)));
            let new = actual
                .iter()
                .any(|actual| !planned.iter().any(|planned| fits(planned, actual)));
            if lost || new || planned.len() < actual.len() {
                problems.push(tell(path, &format!("was {planned:?}, but now {actual:?}")));
            }
        }
        (Value::Seq(_), Value::Seq(_)) | (Value::Map(_), Value::Map(_)) => {
            if steps(planned) != steps(actual) {
                return problems.push(tell(path, "elements have vanished or appeared"));
            }
            for step in steps(planned) {
                let within = Path(vec![step.clone()]);
                let [planned, actual] = [planned, actual].map(|value| at(value, &within));
                check_compatible(planned, actual, false, &path.then(step), problems);
            }
        }
        _ if planned == actual => {}
        _ => problems.push(tell(path, &format!("was {planned:?}, but now {actual:?}"))),
    }
}

/// Whether a value is one of those that a plan promised.
fn fits(promise: &Refinements, actual: &Value) -> bool {
    let number = |number: &Number| number.to_f64();
    match actual {
        Value::Null => !promise.not_null,
        Value::String(text) => promise
            .prefix
            .as_ref()
            .is_none_or(|prefix| text.starts_with(prefix.as_str())),
        Value::Number(actual) => {
            let actual = number(actual);
            let above = |(limit, included): &(Number, bool)| {
                actual > number(limit) || (*included && actual == number(limit))
            };
            let below = |(limit, included): &(Number, bool)| {
                actual < number(limit) || (*included && actual == number(limit))
            };
            promise.number_min.as_ref().is_none_or(above)
                && promise.number_max.as_ref().is_none_or(below)
        }
        Value::Seq(_) | Value::Map(_) => {
            let length = i64::try_from(steps(actual).len()).unwrap_or(i64::MAX);
            promise.length_min.is_none_or(|limit| length >= limit)
                && promise.length_max.is_none_or(|limit| length <= limit)
        }
        _ => true,
    }
}

fn find_write_only(
    attributes: &[Attribute],
    blocks: &[NestedBlock],
    value: &Value,
    path: &Path,
    found: &mut Vec<String>,
) {
    let each = |value: &Value, single: bool, path: &Path| -> Vec<(Path, Value)> {
        if single {
            return vec![(path.clone(), value.clone())];
        }
        let steps = steps(value).into_iter();
        steps
            .map(|step| {
                (
                    path.then(step.clone()),
                    at(value, &Path(vec![step])).clone(),
                )
            })
            .collect()
    };
    for attribute in attributes {
        let path = path.then(Step::Attribute(attribute.name.clone()));
        let value = member(value, &attribute.name);
        if attribute.write_only && !value.is_null() {
            found.push(path.to_string());
        }
        if let Kind::Nested(nesting, attributes) = &attribute.kind {
            for (path, value) in each(value, *nesting == Nesting::Single, &path) {
                find_write_only(attributes, &[], &value, &path, found);
            }
        }
    }
    for nested in blocks {
        let path = path.then(Step::Attribute(nested.name.clone()));
        let value = member(value, &nested.name);
        for (path, value) in each(value, nested.nesting == Nesting::Single, &path) {
            find_write_only(
                &nested.block.attributes,
                &nested.block.blocks,
                &value,
                &path,
                found,
            );
        }
    }
}

fn computed(attribute: &Attribute) -> bool {
    matches!(attribute.mode, Mode::Computed | Mode::OptionalComputed)
}

fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn element(value: &Value, index: usize) -> &Value {
    items(value).get(index).unwrap_or(&Value::Null)
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Seq(elements) => elements,
        _ => &[],
    }
}

fn steps(value: &Value) -> Vec<Step> {
    match value {
        Value::Seq(elements) => (0..)
            .zip(elements)
            .map(|(index, _)| Step::Index(index))
            .collect(),
        Value::Map(elements) => elements.keys().cloned().map(Step::Key).collect(),
        _ => Vec::new(),
    }
}

fn tell(path: &Path, problem: &str) -> String {
    format!("{path}: {problem}")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use ocir::cty::Type;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::support::json::{UNKNOWN, from_json, to_json};

    fn attribute(name: &str, mode: Mode, kind: Kind) -> Attribute {
        Attribute {
            name: name.to_owned(),
            kind,
            mode,
            sensitive: false,
            write_only: name == "secret",
            description: String::new(),
            deprecated: None,
            replace: false,
            keep: false,
            default: None,
            validate: Vec::new(),
        }
    }

    fn block() -> Block {
        let text = || Kind::Plain(Type::String);
        let inner = || {
            vec![
                attribute("name", Mode::Required, text()),
                attribute("id", Mode::Computed, text()),
                attribute("size", Mode::OptionalComputed, text()),
            ]
        };
        let nested =
            |name: &str, nesting| attribute(name, Mode::Optional, Kind::Nested(nesting, inner()));
        let blocks = [
            ("one", Nesting::Single),
            ("many", Nesting::List),
            ("keyed", Nesting::Map),
            ("loose", Nesting::Set),
        ];
        Block {
            attributes: vec![
                attribute("id", Mode::Computed, text()),
                attribute("name", Mode::Optional, text()),
                attribute("secret", Mode::Optional, text()),
                attribute(
                    "tags",
                    Mode::Optional,
                    Kind::Plain(Type::Set(Box::new(Type::String))),
                ),
                nested("single", Nesting::Single),
                nested("list", Nesting::List),
                nested("map", Nesting::Map),
                nested("set", Nesting::Set),
            ],
            blocks: blocks
                .map(|(name, nesting)| NestedBlock {
                    name: name.to_owned(),
                    nesting,
                    block: Block {
                        attributes: inner(),
                        ..Default::default()
                    },
                })
                .into(),
            ..Default::default()
        }
    }

    /// A whole object; blocks that are not mentioned are empty.
    fn object(json: Json) -> Value {
        let mut value = from_json(&json, &block().ty()).unwrap();
        if let Value::Map(members) = &mut value {
            for (name, empty) in [
                ("many", Value::Seq(Vec::new())),
                ("keyed", Value::Map(BTreeMap::new())),
                ("loose", Value::Seq(Vec::new())),
            ] {
                let member = members.get_mut(name).unwrap();
                if member.is_null() {
                    *member = empty;
                }
            }
        }
        value
    }

    fn proposed(prior: &Value, config: Json) -> Json {
        let ty = block().ty();
        let mut json = to_json(&proposed_new(&block(), prior, &object(config)), &ty);
        if let Json::Object(members) = &mut json {
            members
                .retain(|_, value| !value.is_null() && value != &json!([]) && value != &json!({}));
        }
        json
    }

    /// Computed attributes keep what they have, at every depth, and everything
    /// else is as configured.
    #[test]
    fn computed_attributes_are_kept() {
        let element = |name: &str| json!({ "name": name, "id": format!("id-{name}"), "size": "s" });
        let prior = object(json!({
            "id": "1", "name": "old",
            "single": element("a"), "list": [element("a"), element("b")],
            "map": { "k": element("a") }, "set": [element("a"), element("b")],
            "one": element("a"), "many": [element("a")], "keyed": { "k": element("a") },
            "loose": [element("a"), element("b")],
        }));
        let plain = |name: &str| json!({ "name": name });
        let new = |name: &str| json!({ "name": name, "id": null, "size": null });

        let config = json!({
            "name": "new", "single": plain("z"), "list": [plain("a"), plain("z"), plain("c")],
            "map": { "k": plain("z"), "l": plain("a") }, "set": [plain("b"), plain("c")],
            "one": plain("a"), "many": [plain("a"), plain("b")], "keyed": { "l": plain("a") },
            "loose": [plain("b"), plain("c")],
        });
        let merged = proposed(&prior, config);
        assert_eq!(merged["id"], "1");
        assert_eq!(merged["name"], "new");
        assert_eq!(
            merged["single"],
            json!({ "name": "z", "id": "id-a", "size": "s" })
        );
        assert_eq!(merged["list"][0], element("a"));
        assert_eq!(
            merged["list"][1],
            json!({ "name": "z", "id": "id-b", "size": "s" })
        );
        assert_eq!(merged["list"][2], new("c"));
        assert_eq!(
            merged["map"]["k"],
            json!({ "name": "z", "id": "id-a", "size": "s" })
        );
        assert_eq!(merged["map"]["l"], new("a"));
        assert_eq!(merged["one"], element("a"));
        assert_eq!(merged["many"], json!([element("a"), new("b")]));
        assert_eq!(merged["keyed"], json!({ "l": new("a") }));
        for name in ["set", "loose"] {
            let elements = merged[name].as_array().unwrap();
            assert_eq!(elements.len(), 2);
            assert!(
                elements.contains(&element("b")) && elements.contains(&new("c")),
                "{name}: {merged}"
            );
        }
    }

    /// A create has nothing to keep; a delete proposes nothing; what is unknown
    /// stays unknown.
    #[test]
    fn the_ends_of_a_life_are_merged_too() {
        let config = json!({ "name": "a", "list": UNKNOWN });
        assert_eq!(
            proposed(&Value::Null, config),
            json!({ "name": "a", "list": UNKNOWN })
        );
        assert_eq!(
            proposed_new(&block(), &Value::Null, &Value::Null),
            Value::Null
        );
    }

    #[track_caller]
    fn plan(prior: Json, config: Json, planned: Json, expected: Expect) {
        let prior = if prior.is_null() {
            Value::Null
        } else {
            object(prior)
        };
        let problems = plan_problems(&block(), &prior, &object(config), &object(planned));
        expected.assert_eq(&problems.join("\n"));
    }

    /// A provider may fill computed attributes, and keep what was.
    #[test]
    fn allowed_plans_pass() {
        let config = json!({ "name": "a", "single": { "name": "x" }, "many": [{ "name": "x" }] });
        let filled = json!({ "name": "x", "id": UNKNOWN, "size": "7" });
        let planned = json!({ "id": UNKNOWN, "name": "a", "single": filled, "many": [filled] });
        plan(Json::Null, config, planned, expect![""]);
        plan(
            json!({ "name": "A" }),
            json!({ "name": "a" }),
            json!({ "name": "A" }),
            expect![""],
        );
        plan(Json::Null, json!({ "secret": "s" }), json!({}), expect![""]);
    }

    /// A provider may not change what is configured, nor store what is not to
    /// be stored.
    #[test]
    fn forbidden_plans_are_found() {
        plan(
            Json::Null,
            json!({ "name": "a" }),
            json!({ "name": "b" }),
            expect![[r#"name: planned value String("b") does not match config value String("a")"#]],
        );
        plan(
            Json::Null,
            json!({}),
            json!({ "name": "b" }),
            expect![[r#"name: planned String("b") for a non-computed attribute"#]],
        );
        plan(
            Json::Null,
            json!({ "secret": "s" }),
            json!({ "secret": "s" }),
            expect!["secret: planned value for write-only attribute is not null"],
        );
        plan(
            Json::Null,
            json!({ "list": [{ "name": "x" }] }),
            json!({ "list": [{ "name": "y" }] }),
            expect![[
                r#"list[0].name: planned value String("y") does not match config value String("x")"#
            ]],
        );
        plan(
            Json::Null,
            json!({ "map": { "k": { "name": "x" } } }),
            json!({ "map": {} }),
            expect!["map: elements in plan disagree with elements in config"],
        );
        plan(
            Json::Null,
            json!({ "one": { "name": "x" } }),
            json!({}),
            expect!["one: planned for absence but config wants existence"],
        );
        plan(
            Json::Null,
            json!({ "many": [{ "name": "x" }] }),
            json!({ "many": [] }),
            expect!["many: elements in plan disagree with elements in config"],
        );
    }

    #[track_caller]
    fn applied(planned: Json, actual: Json, expected: Expect) {
        let problems = apply_problems(&block(), &object(planned), &object(actual));
        expected.assert_eq(&problems.join("\n"));
    }

    /// What was unknown may become anything, what was known stays.
    #[test]
    fn results_are_held_against_the_plan() {
        applied(
            json!({ "id": UNKNOWN, "name": "a" }),
            json!({ "id": "1", "name": "a" }),
            expect![""],
        );
        applied(
            json!({ "tags": ["a", UNKNOWN] }),
            json!({ "tags": ["b", "a"] }),
            expect![""],
        );
        applied(
            json!({ "name": "a" }),
            json!({ "name": "b" }),
            expect![[r#"name: was String("a"), but now String("b")"#]],
        );
        applied(
            json!({ "name": "a" }),
            json!({}),
            expect![[r#"name: was String("a"), but now Null"#]],
        );
        applied(
            json!({ "tags": ["a"] }),
            json!({ "tags": ["a", "b"] }),
            expect![[r#"tags: was [String("a")], but now [String("a"), String("b")]"#]],
        );
        applied(
            json!({ "list": [{ "name": "a", "id": UNKNOWN }] }),
            json!({ "list": [{ "name": "b", "id": "1" }] }),
            expect![[r#"list[0]["name"]: was String("a"), but now String("b")"#]],
        );
        applied(
            json!({ "many": [] }),
            json!({ "many": [{ "name": "a" }] }),
            expect!["many: block count changed"],
        );
        let gone = apply_problems(&block(), &object(json!({})), &Value::Null);
        assert_eq!(gone.len(), 1);
    }

    /// What a plan says about an unknown value has to come true.
    #[test]
    fn promises_are_kept() {
        let promise = Refinements {
            not_null: true,
            prefix: Some("ocid1.".to_owned()),
            ..Default::default()
        };
        let mut planned = object(json!({}));
        if let Value::Map(members) = &mut planned {
            members.insert("id".to_owned(), Value::Unknown(Some(Box::new(promise))));
        }
        let problems =
            |id: Json| apply_problems(&block(), &planned, &object(json!({ "id": id }))).len();
        assert_eq!(
            (
                problems(json!("ocid1.x")),
                problems(json!("x")),
                problems(Json::Null)
            ),
            (0, 1, 1)
        );
    }
}
