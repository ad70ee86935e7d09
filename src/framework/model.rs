//! What `#[derive(Model)]` calls: the generated code is a table, the work is
//! here. Not for use by hand.

use std::collections::BTreeMap;

use super::{
    Attr, AttrValue, Attribute, Block, Diagnostic, Diagnostics, Kind, Mode, Model, NestedBlock,
    Nesting,
};
use crate::cty::{Error, Path, Step, Type, Value};

/// Every model can be the value of an attribute.
impl<M: Model> AttrValue for M {
    fn ty() -> Type {
        M::block().ty()
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        M::from_object(value).map(Some)
    }
    fn to_value(&self) -> Value {
        self.encode()
    }
}

/// What a `nested` member can hold.
pub trait Nested: AttrValue {
    /// How often the model occurs.
    const NESTING: Nesting;
    /// The attributes of the model.
    fn attributes() -> Vec<Attribute>;
}

impl<M: Model> Nested for M {
    const NESTING: Nesting = Nesting::Single;
    fn attributes() -> Vec<Attribute> {
        attributes_of::<M>()
    }
}

impl<M: Model> Nested for Vec<M> {
    const NESTING: Nesting = Nesting::List;
    fn attributes() -> Vec<Attribute> {
        attributes_of::<M>()
    }
}

impl<M: Model> Nested for BTreeMap<String, M> {
    const NESTING: Nesting = Nesting::Map;
    fn attributes() -> Vec<Attribute> {
        attributes_of::<M>()
    }
}

/// A nested attribute cannot hold blocks; the first test that asks for the
/// schema finds out.
fn attributes_of<M: Model>() -> Vec<Attribute> {
    let block = M::block();
    debug_assert!(
        block.blocks.is_empty(),
        "the model of a nested attribute has a block: {}",
        block.description
    );
    block.attributes
}

/// The row of an attribute; options are set on top of it.
pub fn attribute<T: AttrValue>(name: &str, description: &str, mode: Mode) -> Attribute {
    row(name, description, mode, Kind::Plain(T::ty()), T::SENSITIVE)
}

/// The row of a nested attribute.
pub fn nested<T: Nested>(name: &str, description: &str, mode: Mode) -> Attribute {
    let kind = Kind::Nested(T::NESTING, T::attributes());
    row(name, description, mode, kind, T::SENSITIVE)
}

/// The row of a block.
pub fn block<M: Model>(name: &str, description: &str, deprecated: Option<String>) -> NestedBlock {
    let block = M::block();
    NestedBlock {
        name: name.to_owned(),
        nesting: Nesting::Single,
        block: Block {
            description: description.to_owned(),
            deprecated: deprecated.or(block.deprecated.clone()),
            ..block
        },
    }
}

/// A default as a value.
pub fn default<T: AttrValue>(value: T) -> Value {
    value.to_value()
}

/// Decodes one member.
pub fn member<T: AttrValue>(object: &Value, name: &str) -> Result<Attr<T>, Error> {
    let result = match object.get(name) {
        None => Err(Error::new("is missing")),
        Some(Value::Null) => Ok(Attr::Null),
        Some(Value::Unknown(_)) => Ok(Attr::Unknown),
        Some(value) => T::from_value(value).map(|value| value.map_or(Attr::Unknown, Attr::Known)),
    };
    result.map_err(|error| error.below(Step::Attribute(name.to_owned())))
}

/// Encodes one member.
pub fn encode<T: AttrValue>(attr: &Attr<T>) -> Value {
    match attr {
        Attr::Null => Value::Null,
        Attr::Unknown => Value::UNKNOWN,
        Attr::Known(value) => value.to_value(),
    }
}

/// An object of encoded members.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Map(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// The messages about an object that could not be decoded.
///
/// The host sends what the schema says, so another type is our own mistake.
/// What fits the type and still is not wanted is the user's: a null element,
/// a fraction where a whole number is asked for.
pub(super) fn explain(ty: &Type, value: &Value, error: &Error) -> Diagnostics {
    if let Err(mismatch) = value.conforms(ty) {
        return Diagnostic::error(
            "Unexpected value",
            format!(
                "A value does not have the type that the schema gives it: {mismatch}. This is a \
                 bug in the ocir provider."
            ),
        )
        .at(mismatch.path)
        .into();
    }
    let mut nulls = Vec::new();
    null_elements(ty, value, &Path::root(), &mut nulls);
    let mut diagnostics = Diagnostics::default();
    if !nulls.contains(&error.path) {
        diagnostics.push(invalid(error.path.clone(), &error.message));
    }
    for path in nulls {
        diagnostics.push(invalid(path, "must not be null"));
    }
    diagnostics
}

/// "Invalid value", with a sentence that begins after the argument's name.
pub(super) fn invalid(path: Path, sentence: &str) -> Diagnostic {
    let sentence = sentence.trim_end_matches('.');
    let name = path.to_string();
    let detail = if name.contains('"') {
        format!("Argument {name} {sentence}.")
    } else {
        format!("Argument \"{name}\" {sentence}.")
    };
    Diagnostic::error("Invalid value", detail).at(path)
}

fn row(name: &str, description: &str, mode: Mode, kind: Kind, sensitive: bool) -> Attribute {
    Attribute {
        name: name.to_owned(),
        kind,
        mode,
        sensitive,
        write_only: false,
        description: description.to_owned(),
        deprecated: None,
        replace: false,
        keep: false,
        default: None,
        validate: Vec::new(),
    }
}

fn null_elements(ty: &Type, value: &Value, path: &Path, found: &mut Vec<Path>) {
    let mut element = |ty: &Type, value: &Value, step: Step| {
        let path = path.then(step);
        match value {
            Value::Null => found.push(path),
            value => null_elements(ty, value, &path, found),
        }
    };
    match (ty, value) {
        (Type::List(ty), Value::Seq(elements)) => {
            for (index, value) in (0..).zip(elements) {
                element(ty, value, Step::Index(index));
            }
        }
        (Type::Set(ty), Value::Seq(elements)) => {
            for value in elements {
                element(ty, value, Step::Element(Box::new(value.clone())));
            }
        }
        (Type::Map(ty), Value::Map(elements)) => {
            for (key, value) in elements {
                element(ty, value, Step::Key(key.clone()));
            }
        }
        (Type::Object(types), value) => {
            for (name, ty) in types {
                if let Some(value) = value.get(name) {
                    null_elements(ty, value, &path.then(Step::Attribute(name.clone())), found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::framework::{Schema, Secret};

    /// Where it lies.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Readme {
        /// What it says.
        #[tf(required)]
        content: Attr<String>,
        /// Its format.
        #[tf(default = "PLAIN")]
        format: Attr<String>,
    }

    /// A thing with everything
    /// on two lines.
    ///
    /// And more.
    #[derive(Clone, Debug, PartialEq, Model)]
    struct Everything {
        /// Its id.
        #[tf(computed, keep)]
        id: Attr<String>,
        /// Its type.
        #[tf(required, replace, validate = lower, validate = short)]
        r#type: Attr<String>,
        /// How many.
        #[tf(default = 30, name = "number")]
        count: Attr<i64>,
        /// How negative.
        #[tf(optional, default = -1.5)]
        ratio: Attr<f64>,
        /// Whether.
        #[tf(optional, computed, default = true)]
        flag: Attr<bool>,
        /// Names.
        #[tf(optional, default = vec!["a".to_owned()])]
        names: Attr<Vec<String>>,
        /// Labels.
        #[tf(optional, deprecated = "Use `names`.")]
        labels: Attr<BTreeMap<String, String>>,
        /// Different ones.
        #[tf(optional)]
        distinct: Attr<BTreeSet<String>>,
        /// A password.
        #[tf(optional, write_only)]
        password: Attr<Secret<String>>,
        /// A hidden word.
        #[tf(optional, sensitive)]
        hidden: Attr<String>,
        /// One readme.
        #[tf(optional, nested)]
        one: Attr<Readme>,
        /// Many readmes.
        #[tf(computed, nested)]
        many: Attr<Vec<Readme>>,
        /// Named readmes.
        #[tf(optional, nested)]
        named: Attr<BTreeMap<String, Readme>>,
        /// A readme in a block.
        #[tf(block)]
        readme: Attr<Readme>,
    }

    fn lower(value: &Value) -> Result<(), String> {
        match value {
            Value::String(text) if text.chars().any(char::is_uppercase) => {
                Err("must be lower case".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn short(value: &Value) -> Result<(), String> {
        match value {
            Value::String(text) if text.len() > 3 => {
                Err("must have at most 3 characters.".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn readme(content: &str) -> Readme {
        Readme {
            content: content.into(),
            format: Attr::Unknown,
        }
    }

    fn everything() -> Everything {
        Everything {
            id: Attr::Unknown,
            r#type: "abc".into(),
            count: 7.into(),
            ratio: 0.1.into(),
            flag: false.into(),
            names: vec!["b".to_owned(), "a".to_owned()].into(),
            labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]).into(),
            distinct: BTreeSet::from(["y".to_owned(), "x".to_owned()]).into(),
            password: Secret::from("hunter2").into(),
            hidden: Attr::Null,
            one: readme("1").into(),
            many: vec![readme("2")].into(),
            named: BTreeMap::from([("n".to_owned(), readme("3"))]).into(),
            readme: readme("4").into(),
        }
    }

    fn with(name: &str, value: Value) -> Value {
        let Value::Map(mut members) = everything().encode() else {
            panic!("an object is a map");
        };
        members.insert(name.to_owned(), value);
        Value::Map(members)
    }

    /// A model encodes to a value of its own type and decodes from it.
    #[test]
    fn round_trip() {
        let value = everything().encode();
        assert_eq!(value.conforms(&Everything::block().ty()), Ok(()));
        assert_eq!(Everything::decode(&value), Ok(everything()));
    }

    /// The schema says what the options and the doc comments say.
    #[test]
    fn schema() {
        let block = Everything::block();
        assert_eq!(
            block.description,
            "A thing with everything on two lines.\n\nAnd more."
        );
        let rows: Vec<String> = block
            .attributes
            .iter()
            .map(|attribute| {
                let mut row = format!("{} {:?} {}", attribute.name, attribute.mode, attribute.ty());
                if let Kind::Nested(nesting, attributes) = &attribute.kind {
                    row.push_str(&format!(" {nesting:?} of {}", attributes.len()));
                }
                for (flag, name) in [
                    (attribute.sensitive, "sensitive"),
                    (attribute.write_only, "write_only"),
                    (attribute.replace, "replace"),
                    (attribute.keep, "keep"),
                ] {
                    if flag {
                        row.push_str(&format!(" {name}"));
                    }
                }
                if let Some(default) = &attribute.default {
                    row.push_str(&format!(" {default:?}"));
                }
                if let Some(deprecated) = &attribute.deprecated {
                    row.push_str(&format!(" {deprecated}"));
                }
                row.push_str(&format!(" | {}", attribute.description));
                row
            })
            .collect();
        expect_test::expect![[r#"
            id Computed string keep | Its id.
            type Required string replace | Its type.
            number OptionalComputed number Number(Int(30)) | How many.
            ratio OptionalComputed number Number(Float(-1.5)) | How negative.
            flag OptionalComputed bool Bool(true) | Whether.
            names OptionalComputed list Seq([String("a")]) | Names.
            labels Optional map Use `names`. | Labels.
            distinct Optional set | Different ones.
            password Optional string sensitive write_only | A password.
            hidden Optional string sensitive | A hidden word.
            one Optional object Single of 2 | One readme.
            many Computed list List of 2 | Many readmes.
            named Optional map Map of 2 | Named readmes."#]]
        .assert_eq(&rows.join("\n"));
        assert_eq!(block.attributes[1].validate.len(), 2);
        assert_eq!(block.blocks.len(), 1);
        assert_eq!(block.blocks[0].name, "readme");
        assert_eq!(block.blocks[0].nesting, Nesting::Single);
        assert_eq!(block.blocks[0].block.description, "A readme in a block.");
        let schema = Schema { version: 0, block };
        assert_eq!(schema.clone(), schema);
    }

    /// An element that is not known yet makes the whole attribute unknown.
    #[test]
    fn unknown_elements() {
        let value = with("names", Value::Seq(vec!["a".into(), Value::UNKNOWN]));
        let model = Everything::decode(&value).expect("nothing is wrong");
        assert_eq!(model.names, Attr::Unknown);
    }

    #[track_caller]
    fn check(value: &Value, expected: expect_test::Expect) {
        let diagnostics = Everything::decode(value).expect_err("something is wrong");
        let lines: Vec<String> = diagnostics
            .iter()
            .map(|diagnostic| format!("{}: {}", diagnostic.summary, diagnostic.detail))
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    /// Null elements are the user's mistake, and all of them are named.
    #[test]
    fn null_elements_are_refused() {
        let labels = BTreeMap::from([
            ("a".to_owned(), Value::Null),
            ("b".to_owned(), "x".into()),
            ("c".to_owned(), Value::Null),
        ]);
        check(
            &with("labels", Value::Map(labels)),
            expect_test::expect![[r#"
            Invalid value: Argument labels["a"] must not be null.
            Invalid value: Argument labels["c"] must not be null."#]],
        );
        check(
            &with("names", Value::Seq(vec![Value::UNKNOWN, Value::Null])),
            expect_test::expect![[r#"Invalid value: Argument "names[1]" must not be null."#]],
        );
    }

    /// A fraction fits the type and is still no whole number.
    #[test]
    fn fractions() {
        check(
            &with("number", Value::Number(crate::cty::Number::Float(1.5))),
            expect_test::expect![[
                r#"Invalid value: Argument "number" must be a whole number that fits 64 bits."#
            ]],
        );
    }

    /// Another type than the schema's cannot come from a user.
    #[test]
    fn mismatch_is_a_bug() {
        check(
            &with("one", with("x", Value::Null)),
            expect_test::expect![
                "Unexpected value: A value does not have the type that the schema gives it: one.distinct: no such attribute. This is a bug in the ocir provider."
            ],
        );
        check(
            &with("hidden", true.into()),
            expect_test::expect![
                "Unexpected value: A value does not have the type that the schema gives it: hidden: string expected, found a boolean. This is a bug in the ocir provider."
            ],
        );
        check(
            &Value::Seq(vec![]),
            expect_test::expect![
                "Unexpected value: A value does not have the type that the schema gives it: object expected, found a sequence. This is a bug in the ocir provider."
            ],
        );
    }

    /// Validators run on what is known, however deep, and all of them; what is
    /// required is not null.
    #[test]
    fn validators() {
        let block = Everything::block();
        let messages = |value: &Value| {
            let diagnostics = block.validate(value);
            let messages = diagnostics
                .iter()
                .map(|diagnostic| format!("{}: {}", diagnostic.path, diagnostic.detail));
            messages.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(messages(&with("type", Value::UNKNOWN)), "");
        assert_eq!(
            messages(&with("type", Value::Null)),
            "type: Argument \"type\" must have a value, but what it is set to is null."
        );
        expect_test::expect![[r#"
            type: Argument "type" must be lower case.
            type: Argument "type" must have at most 3 characters."#]]
        .assert_eq(&messages(&with("type", "ABCD".into())));
    }

    /// A secret is not seen, in a model neither.
    #[test]
    fn secrets_print_redacted() {
        let text = format!("{:?}", everything());
        assert!(text.contains("password: Known([redacted])"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
