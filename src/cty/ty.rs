//! The types of Terraform's values.

use std::collections::BTreeMap;

/// A type constraint, as a schema declares it.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Unicode text.
    String,
    /// A number of any size and precision.
    Number,
    /// True or false.
    Bool,
    /// Any value; the value carries its own type.
    Dynamic,
    /// Ordered elements of one type.
    List(Box<Type>),
    /// Distinct elements of one type, without order.
    Set(Box<Type>),
    /// Text keys, values of one type.
    Map(Box<Type>),
    /// A fixed number of elements, each with its own type.
    Tuple(Vec<Type>),
    /// Named attributes, all of them present in every value.
    Object(BTreeMap<String, Type>),
}

impl std::fmt::Display for Type {
    /// The kind of type, without what is inside.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Type::String => "string",
            Type::Number => "number",
            Type::Bool => "bool",
            Type::Dynamic => "dynamic value",
            Type::List(_) => "list",
            Type::Set(_) => "set",
            Type::Map(_) => "map",
            Type::Tuple(_) => "tuple",
            Type::Object(_) => "object",
        })
    }
}
