//! Between the messages and the framework: pure functions.

use std::time::SystemTime;

use crate::{
    cty::{Path, Step, Type, Value, decode_json, decode_msgpack, encode_msgpack},
    framework::{
        Attribute, Block, Deferred, Diagnostic, Diagnostics, Kind, Mode, NestedBlock, Nesting,
        RawState, Schema, Severity,
    },
    protocol::wire,
};

/// A schema, as hosts read it.
pub(super) fn schema(schema: &Schema) -> wire::Schema {
    wire::Schema {
        version: schema.version,
        block: Some(wire::Block {
            version: schema.version,
            ..block(&schema.block)
        }),
    }
}

/// Messages to the user.
pub(super) fn diagnostics(diagnostics: Diagnostics) -> Vec<wire::Diagnostic> {
    diagnostics.into_iter().map(diagnostic).collect()
}

/// A path, as far as the protocol can say it: an element of a set has no name
/// there, so the path ends before it.
pub(super) fn path(path: &Path) -> wire::AttributePath {
    let steps = path.0.iter().map_while(|step| {
        let selector = match step {
            Step::Attribute(name) => wire::Selector::AttributeName(name.clone()),
            Step::Key(key) => wire::Selector::ElementKeyString(key.clone()),
            Step::Index(index) => wire::Selector::ElementKeyInt(*index),
            Step::Element(_) => return None,
        };
        Some(wire::Step {
            selector: Some(selector),
        })
    });
    wire::AttributePath {
        steps: steps.collect(),
    }
}

/// A value that a host sent; absent means null.
pub(super) fn value(sent: Option<&wire::DynamicValue>, ty: &Type) -> Result<Value, Diagnostics> {
    let decoded = match sent {
        Some(sent) if !sent.msgpack.is_empty() => decode_msgpack(&sent.msgpack, ty),
        Some(sent) if !sent.json.is_empty() => decode_json(&sent.json, ty),
        _ => Ok(Value::Null),
    };
    decoded.map_err(|error| {
        let detail = format!(
            "The host sent a value that does not fit the schema: {error}.\n\nThis is a bug in the \
             ocir provider, or in the program that started it."
        );
        Diagnostic::error("Cannot decode value", detail)
            .at(error.path)
            .into()
    })
}

/// A value for the host.
pub(super) fn dynamic(value: &Value, ty: &Type) -> wire::DynamicValue {
    wire::DynamicValue {
        msgpack: encode_msgpack(value, ty).into(),
        ..Default::default()
    }
}

/// The schema of an identity, as hosts read it.
pub(super) fn identity_schema(schema: &Schema) -> wire::IdentitySchema {
    let attributes = schema.block.attributes.iter();
    let attributes = attributes.map(|attribute| wire::IdentityAttribute {
        name: attribute.name.clone(),
        r#type: attribute.ty().to_json().to_string().into_bytes(),
        required_for_import: attribute.mode == Mode::Required,
        optional_for_import: attribute.mode != Mode::Required,
        description: attribute.description.clone(),
    });
    wire::IdentitySchema {
        version: schema.version,
        attributes: attributes.collect(),
    }
}

/// An identity that a host sent; null when there is none, or no schema of one.
pub(super) fn identity(
    sent: Option<&wire::ResourceIdentity>,
    ty: Option<&Type>,
) -> Result<Value, Diagnostics> {
    match (sent, ty) {
        (Some(sent), Some(ty)) => value(sent.identity.as_ref(), ty),
        _ => Ok(Value::Null),
    }
}

/// An identity for the host; none when it is null.
pub(super) fn sent_identity(identity: &Value, ty: Option<&Type>) -> Option<wire::ResourceIdentity> {
    let ty = ty.filter(|_| !identity.is_null())?;
    Some(wire::ResourceIdentity {
        identity: Some(dynamic(identity, ty)),
    })
}

/// A point in time; what was before 1970 is as good as now.
pub(super) fn timestamp(time: SystemTime) -> wire::Timestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    wire::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

/// Why something is left for later.
pub(super) fn deferred(why: Deferred) -> wire::Deferred {
    let reason = match why {
        Deferred::ProviderConfigUnknown => wire::Reason::ProviderConfigUnknown,
        Deferred::ResourceConfigUnknown => wire::Reason::ResourceConfigUnknown,
    };
    wire::Deferred {
        reason: reason.into(),
    }
}

/// State as the host stored it.
pub(super) fn raw_state(sent: Option<wire::RawState>) -> RawState {
    let sent = sent.unwrap_or_default();
    if sent.json.is_empty() && !sent.flatmap.is_empty() {
        RawState::Flatmap
    } else {
        RawState::Json(sent.json.to_vec())
    }
}

fn diagnostic(diagnostic: Diagnostic) -> wire::Diagnostic {
    let severity = match diagnostic.severity {
        Severity::Error => wire::Severity::Error,
        Severity::Warning => wire::Severity::Warning,
    };
    let attribute = path(&diagnostic.path);
    wire::Diagnostic {
        severity: severity.into(),
        summary: diagnostic.summary,
        detail: diagnostic.detail,
        attribute: (!attribute.steps.is_empty()).then_some(attribute),
    }
}

fn block(block: &Block) -> wire::Block {
    wire::Block {
        version: 0,
        attributes: block.attributes.iter().map(attribute).collect(),
        block_types: block.blocks.iter().map(nested_block).collect(),
        description: block.description.clone(),
        description_kind: wire::StringKind::Markdown.into(),
        deprecated: block.deprecated.is_some(),
        deprecation_message: block.deprecated.clone().unwrap_or_default(),
    }
}

fn nested_block(nested: &NestedBlock) -> wire::NestedBlock {
    wire::NestedBlock {
        type_name: nested.name.clone(),
        block: Some(block(&nested.block)),
        nesting: nesting(nested.nesting).into(),
        min_items: 0,
        max_items: 0,
    }
}

fn attribute(attribute: &Attribute) -> wire::Attribute {
    // A host refuses an attribute with both.
    let (ty, nested_type) = match &attribute.kind {
        Kind::Plain(ty) => (ty.to_json().to_string().into_bytes(), None),
        Kind::Nested(mode, attributes) => (
            Vec::new(),
            Some(wire::Object {
                attributes: attributes.iter().map(self::attribute).collect(),
                nesting: nesting(*mode).into(),
            }),
        ),
    };
    wire::Attribute {
        name: attribute.name.clone(),
        r#type: ty,
        nested_type,
        description: attribute.description.clone(),
        description_kind: wire::StringKind::Markdown.into(),
        required: attribute.mode == Mode::Required,
        optional: matches!(attribute.mode, Mode::Optional | Mode::OptionalComputed),
        computed: matches!(attribute.mode, Mode::Computed | Mode::OptionalComputed),
        sensitive: attribute.sensitive,
        write_only: attribute.write_only,
        deprecated: attribute.deprecated.is_some(),
        deprecation_message: attribute.deprecated.clone().unwrap_or_default(),
    }
}

fn nesting(nesting: Nesting) -> wire::Nesting {
    match nesting {
        Nesting::Single => wire::Nesting::Single,
        Nesting::List => wire::Nesting::List,
        Nesting::Map => wire::Nesting::Map,
        Nesting::Set => wire::Nesting::Set,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;
    use prost::Message;

    use super::*;

    fn example() -> Attribute {
        Attribute {
            name: "size".to_owned(),
            kind: Kind::Plain(Type::List(Box::new(Type::Number))),
            mode: Mode::OptionalComputed,
            sensitive: true,
            write_only: false,
            description: "Its *size*.".to_owned(),
            deprecated: Some("Use `weight`.".to_owned()),
            replace: true,
            keep: true,
            default: None,
            validate: Vec::new(),
        }
    }

    /// An attribute says who sets it, what it is, and how it is described.
    #[test]
    fn attributes_are_described() {
        let plain = attribute(&example());
        expect![[r#"["list","number"]"#]]
            .assert_eq(&String::from_utf8(plain.r#type.clone()).unwrap());
        assert!(plain.optional && plain.computed && !plain.required);
        assert!(plain.sensitive && plain.deprecated && !plain.write_only);
        assert_eq!(plain.deprecation_message, "Use `weight`.");
        assert_eq!(plain.description_kind(), wire::StringKind::Markdown);

        for (mode, expected) in [
            (Mode::Required, (true, false, false)),
            (Mode::Optional, (false, true, false)),
            (Mode::Computed, (false, false, true)),
        ] {
            let plain = attribute(&Attribute { mode, ..example() });
            assert_eq!((plain.required, plain.optional, plain.computed), expected);
        }
    }

    /// A nested attribute has no type beside its nested type.
    #[test]
    fn nested_attributes_have_no_type() {
        let nested = attribute(&Attribute {
            kind: Kind::Nested(Nesting::Map, vec![example()]),
            ..example()
        });
        assert!(nested.r#type.is_empty());
        let object = nested.nested_type.unwrap();
        assert_eq!(object.nesting(), wire::Nesting::Map);
        assert_eq!(object.attributes[0].name, "size");
    }

    /// The version is on the schema and on its block; blocks nest.
    #[test]
    fn schemas_keep_version_and_blocks() {
        let nested = NestedBlock {
            name: "timeouts".to_owned(),
            nesting: Nesting::Single,
            block: Block {
                attributes: vec![example()],
                deprecated: Some("No.".to_owned()),
                ..Default::default()
            },
        };
        let sent = schema(&Schema {
            version: 3,
            block: Block {
                blocks: vec![nested],
                ..Default::default()
            },
        });
        // Through the encoding, because a tag that is used twice shows there.
        let sent = wire::Schema::decode(sent.encode_to_vec().as_slice()).unwrap();
        let block = sent.block.unwrap();
        assert_eq!((sent.version, block.version), (3, 3));
        assert_eq!(block.block_types[0].type_name, "timeouts");
        assert_eq!(block.block_types[0].nesting(), wire::Nesting::Single);
        let inner = block.block_types[0].block.clone().unwrap();
        assert!(inner.deprecated);
        assert_eq!(inner.attributes[0], attribute(&example()));
    }

    /// A path ends before an element of a set, and the root is no path.
    #[test]
    fn paths_end_before_sets() {
        let steps = Path::attribute("rules")
            .then(Step::Index(2))
            .then(Step::Key("a".to_owned()))
            .then(Step::Element(Box::new(Value::Bool(true))))
            .then(Step::Attribute("hidden".to_owned()));
        let sent = diagnostics(Diagnostic::warning("S", "D").at(steps).into());
        let selectors: Vec<_> = sent[0]
            .attribute
            .iter()
            .flat_map(|path| &path.steps)
            .flat_map(|step| step.selector.clone())
            .collect();
        assert_eq!(
            selectors,
            [
                wire::Selector::AttributeName("rules".to_owned()),
                wire::Selector::ElementKeyInt(2),
                wire::Selector::ElementKeyString("a".to_owned()),
            ]
        );
        assert_eq!(sent[0].severity(), wire::Severity::Warning);

        let element = Path::root().then(Step::Element(Box::new(Value::Null)));
        let sent = diagnostics(Diagnostic::error("S", "D").at(element).into());
        assert_eq!(sent[0].attribute, None);
        assert_eq!(sent[0].severity(), wire::Severity::Error);
    }

    /// Values come back as they went, also as JSON, and nothing is null.
    #[test]
    fn values_make_the_round_trip() {
        let ty = Type::Object(BTreeMap::from([
            ("name".to_owned(), Type::String),
            ("size".to_owned(), Type::Number),
        ]));
        let object = Value::Map(BTreeMap::from([
            ("name".to_owned(), Value::String("x".to_owned())),
            ("size".to_owned(), Value::UNKNOWN),
        ]));
        let sent = dynamic(&object, &ty);
        assert_eq!(value(Some(&sent), &ty).unwrap(), object);

        let json = wire::DynamicValue {
            json: r#"{"name":"x","size":null}"#.into(),
            ..Default::default()
        };
        let decoded = value(Some(&json), &ty).unwrap();
        assert_eq!(decoded.get("size"), Some(&Value::Null));
        assert_eq!(value(None, &ty).unwrap(), Value::Null);
        assert_eq!(value(Some(&Default::default()), &ty).unwrap(), Value::Null);
    }

    /// What is not a value of the schema's type is an error that says where.
    #[test]
    fn a_broken_value_is_explained() {
        let ty = Type::List(Box::new(Type::Bool));
        let sent = dynamic(
            &Value::Seq(vec![Value::String("x".to_owned())]),
            &Type::List(Box::new(Type::String)),
        );
        let problems = diagnostics(value(Some(&sent), &ty).unwrap_err());
        assert_eq!(problems[0].summary, "Cannot decode value");
        assert!(problems[0].attribute.is_some());
        for cut in 0..sent.msgpack.len() {
            let sent = wire::DynamicValue {
                msgpack: sent.msgpack.slice(..cut),
                ..Default::default()
            };
            let _ = value(Some(&sent), &ty);
        }
    }

    /// Only a state without JSON is one from before Terraform 0.12.
    #[test]
    fn old_states_are_recognised() {
        let old = wire::RawState {
            flatmap: BTreeMap::from([("id".to_owned(), "x".to_owned())]),
            ..Default::default()
        };
        assert!(matches!(raw_state(Some(old)), RawState::Flatmap));
        assert!(matches!(raw_state(None), RawState::Json(json) if json.is_empty()));
    }

    /// An identity goes to hosts that know its schema, and comes back.
    #[test]
    fn identities_make_the_round_trip() {
        let schema = Schema {
            version: 2,
            block: Block {
                attributes: vec![
                    Attribute {
                        mode: Mode::Required,
                        ..example()
                    },
                    Attribute {
                        mode: Mode::Optional,
                        name: "place".to_owned(),
                        ..example()
                    },
                ],
                ..Default::default()
            },
        };
        let sent = identity_schema(&schema).encode_to_vec();
        let sent = wire::IdentitySchema::decode(sent.as_slice()).unwrap();
        let flags = |index: usize| {
            let attribute = &sent.attributes[index];
            (attribute.required_for_import, attribute.optional_for_import)
        };
        assert_eq!(
            (sent.version, flags(0), flags(1)),
            (2, (true, false), (false, true))
        );
        assert_eq!(sent.attributes[0].r#type, br#"["list","number"]"#);

        let ty = schema.block.ty();
        let whole = Value::Map(BTreeMap::from([
            ("size".to_owned(), Value::Seq(Vec::new())),
            ("place".to_owned(), Value::Null),
        ]));
        let sent = sent_identity(&whole, Some(&ty));
        assert_eq!(identity(sent.as_ref(), Some(&ty)).unwrap(), whole);
        assert_eq!(identity(sent.as_ref(), None).unwrap(), Value::Null);
        assert_eq!(identity(None, Some(&ty)).unwrap(), Value::Null);
        assert_eq!(sent_identity(&Value::Null, Some(&ty)), None);
        assert_eq!(sent_identity(&whole, None), None);
    }

    /// Points in time keep their fractions, and go no further back than 1970.
    #[test]
    fn times_are_sent() {
        let at = |nanos: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
        let sent = timestamp(at(1_700_000_000_250_000_000));
        assert_eq!((sent.seconds, sent.nanos), (1_700_000_000, 250_000_000));
        let before = SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1);
        assert_eq!(timestamp(before), wire::Timestamp::default());
    }
}
