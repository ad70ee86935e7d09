//! Values.

use std::collections::BTreeMap;

use super::{Number, Type};

/// A value of a [`Type`]; which one, the schema says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Absent.
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

    /// Whether this is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
    /// Whether this is [`Value::Unknown`].
    pub fn is_unknown(&self) -> bool {
        matches!(self, Value::Unknown(_))
    }
    /// Whether nothing in this value, however deep, is unknown.
    pub fn is_wholly_known(&self) -> bool {
        todo!()
    }
    /// An attribute of an object, or an element of a map.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(members) => members.get(name),
            _ => None,
        }
    }
}
