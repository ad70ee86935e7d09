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
