//! Values.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{Error, Number, Step, Type};

/// A value of a [`Type`]; which one, the schema says.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Absent.
    #[default]
    Null,
    /// Known after apply, perhaps with something known about it already.
    Unknown(Option<Box<Refinements>>),
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// Elements of a list, a tuple, or a set (then in canonical order).
    Seq(Vec<Value>),
    /// Elements of a map, or attributes of an object.
    Map(BTreeMap<String, Value>),
    /// A value of a dynamic attribute with its own type.
    Dynamic(Box<(Type, Value)>),
}

/// What is known about an unknown value. Kept verbatim: what a host said about
/// a configured value is given back unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refinements {
    /// The value will not be null.
    pub not_null: bool,
    /// The text will begin with this.
    pub prefix: Option<String>,
    /// Lower bound of a number, and whether the bound itself is allowed.
    pub number_min: Option<(Number, bool)>,
    /// Upper bound of a number, and whether the bound itself is allowed.
    pub number_max: Option<(Number, bool)>,
    /// Lower bound of a collection's length.
    pub length_min: Option<i64>,
    /// Upper bound of a collection's length.
    pub length_max: Option<i64>,
}

impl Value {
    /// An unknown value about which nothing is known.
    pub const UNKNOWN: Value = Value::Unknown(None);

    /// A set of these elements: in canonical order, and equal ones once.
    ///
    /// Elements that are not wholly known may still turn out different, so two
    /// of them stay two.
    pub fn set(mut elements: Vec<Value>) -> Self {
        elements.sort_by(Value::order);
        elements.dedup_by(|a, b| a == b && a.is_wholly_known());
        Value::Seq(elements)
    }

    /// Whether this is [`Value::Null`], or a dynamic value that is null.
    pub fn is_null(&self) -> bool {
        match self {
            Value::Dynamic(inner) => inner.1.is_null(),
            _ => matches!(self, Value::Null),
        }
    }
    /// Whether this is [`Value::Unknown`], or a dynamic value that is unknown.
    pub fn is_unknown(&self) -> bool {
        match self {
            Value::Dynamic(inner) => inner.1.is_unknown(),
            _ => matches!(self, Value::Unknown(_)),
        }
    }
    /// Whether nothing in this value, however deep, is unknown.
    pub fn is_wholly_known(&self) -> bool {
        match self {
            Value::Unknown(_) => false,
            Value::Seq(elements) => elements.iter().all(Value::is_wholly_known),
            Value::Map(members) => members.values().all(Value::is_wholly_known),
            Value::Dynamic(inner) => inner.1.is_wholly_known(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    /// An attribute of an object, or an element of a map.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(members) => members.get(name),
            _ => None,
        }
    }
    /// Whether this is a value of type `ty`; the error says where it is not.
    pub fn conforms(&self, ty: &Type) -> Result<(), Error> {
        let mismatch = || Err(Error::new(format!("{ty} expected, found {}", self.shape())));
        match (ty, self) {
            (_, Value::Null | Value::Unknown(_))
            | (Type::String, Value::String(_))
            | (Type::Number, Value::Number(_))
            | (Type::Bool, Value::Bool(_)) => Ok(()),
            (Type::Dynamic, Value::Dynamic(inner)) => inner.1.conforms(&inner.0),
            (Type::List(ty), Value::Seq(elements)) => (0..)
                .zip(elements)
                .try_for_each(|(index, value)| below(value.conforms(ty), || Step::Index(index))),
            (Type::Set(ty), Value::Seq(elements)) => elements.iter().try_for_each(|value| {
                below(value.conforms(ty), || {
                    Step::Element(Box::new(value.clone()))
                })
            }),
            (Type::Map(ty), Value::Map(members)) => members
                .iter()
                .try_for_each(|(key, value)| below(value.conforms(ty), || Step::Key(key.clone()))),
            (Type::Tuple(types), Value::Seq(elements)) => {
                if types.len() != elements.len() {
                    return mismatch();
                }
                (0..)
                    .zip(types.iter().zip(elements))
                    .try_for_each(|(index, (ty, value))| {
                        below(value.conforms(ty), || Step::Index(index))
                    })
            }
            (Type::Object(types), Value::Map(members)) => {
                if let Some(name) = members.keys().find(|name| !types.contains_key(*name)) {
                    return Err(
                        Error::new("no such attribute").below(Step::Attribute(name.clone()))
                    );
                }
                types.iter().try_for_each(|(name, ty)| {
                    let result = match members.get(name) {
                        Some(value) => value.conforms(ty),
                        None => Err(Error::new("attribute is missing")),
                    };
                    below(result, || Step::Attribute(name.clone()))
                })
            }
            _ => mismatch(),
        }
    }

    /// The type that a value shows without a schema: what a dynamic value has
    /// that was made without one.
    pub(super) fn implied_type(&self) -> Type {
        match self {
            Value::Null | Value::Unknown(_) | Value::Dynamic(_) => Type::Dynamic,
            Value::Bool(_) => Type::Bool,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::Seq(elements) => Type::Tuple(elements.iter().map(Value::implied_type).collect()),
            Value::Map(members) => Type::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), value.implied_type()))
                    .collect(),
            ),
        }
    }

    /// What to call a value of this shape. Never the value itself: it may be a
    /// secret.
    fn shape(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Unknown(_) => "an unknown value",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Seq(_) => "a sequence",
            Value::Map(_) => "a map",
            Value::Dynamic(_) => "a dynamic value",
        }
    }

    /// A total order with no meaning but being one: that of elements of a set.
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.order(b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Seq(a), Value::Seq(b)) => order_all(a.iter(), b.iter()),
            (Value::Map(a), Value::Map(b)) => a
                .keys()
                .cmp(b.keys())
                .then_with(|| order_all(a.values(), b.values())),
            (Value::Dynamic(a), Value::Dynamic(b)) => {
                a.1.order(&b.1)
                    .then_with(|| a.0.to_json().to_string().cmp(&b.0.to_json().to_string()))
            }
            // Refinements decide as text: there are few, and any order will do.
            (Value::Unknown(a), Value::Unknown(b)) if a != b => {
                format!("{a:?}").cmp(&format!("{b:?}"))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::Seq(_) => 4,
            Value::Map(_) => 5,
            Value::Dynamic(_) => 6,
            Value::Unknown(_) => 7,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Number(number.into())
    }
}

fn order_all<'a>(
    mut a: impl Iterator<Item = &'a Value>,
    mut b: impl Iterator<Item = &'a Value>,
) -> Ordering {
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match a.order(b) {
                Ordering::Equal => {}
                other => return other,
            },
        }
    }
}

fn below(result: Result<(), Error>, step: impl FnOnce() -> Step) -> Result<(), Error> {
    result.map_err(|error| error.below(step()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set is the same whatever order it came in, and holds nothing twice.
    #[test]
    fn sets_are_canonical() {
        let a = Value::set(vec!["b".into(), "a".into(), "b".into()]);
        let b = Value::set(vec!["a".into(), "b".into()]);
        assert_eq!(a, b);
        let nested = |first: &str, second: &str| {
            Value::set(vec![
                Value::Seq(vec![first.into()]),
                Value::Seq(vec![second.into(), 1.into()]),
            ])
        };
        assert_eq!(
            nested("x", "y"),
            Value::set(vec![
                Value::Seq(vec!["y".into(), 1.into()]),
                Value::Seq(vec!["x".into()]),
            ])
        );
    }

    /// Two unknown elements may become two different ones.
    #[test]
    fn unknown_elements_stay() {
        let set = Value::set(vec![Value::UNKNOWN, "a".into(), Value::UNKNOWN]);
        assert_eq!(
            set,
            Value::Seq(vec!["a".into(), Value::UNKNOWN, Value::UNKNOWN])
        );
        assert!(!set.is_wholly_known());
    }

    /// A value of another type is found wherever it is, and never shown.
    #[test]
    fn conformance_names_the_place() {
        let ty = Type::Object(BTreeMap::from([
            ("tags".to_owned(), Type::Map(Box::new(Type::String))),
            (
                "pair".to_owned(),
                Type::Tuple(vec![Type::Bool, Type::Dynamic]),
            ),
        ]));
        let object = |tag: Value, pair: Vec<Value>| {
            Value::Map(BTreeMap::from([
                (
                    "tags".to_owned(),
                    Value::Map(BTreeMap::from([("a".to_owned(), tag)])),
                ),
                ("pair".to_owned(), Value::Seq(pair)),
            ]))
        };
        let pair = || vec![Value::Null, Value::UNKNOWN];
        assert_eq!(object("x".into(), pair()).conforms(&ty), Ok(()));
        let error = |value: Value| value.conforms(&ty).expect_err("does not fit").to_string();
        assert_eq!(
            error(object(7.into(), pair())),
            "tags[\"a\"]: string expected, found a number"
        );
        assert_eq!(
            error(object(Value::Null, vec!["secret".into(), Value::Null])),
            "pair[0]: bool expected, found a string"
        );
        assert_eq!(
            error(object(Value::Null, vec![])),
            "pair: tuple expected, found a sequence"
        );
        assert_eq!(
            error(Value::Map(BTreeMap::new())),
            "pair: attribute is missing"
        );
    }
}
