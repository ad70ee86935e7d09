//! Attributes as a resource sees them, and secrets.

use std::collections::{BTreeMap, BTreeSet};

use crate::cty::{Error, Number, Step, Type, Value};

/// An attribute of a model: absent, known after apply, or here.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Attr<T> {
    /// Absent.
    #[default]
    Null,
    /// Known after apply.
    Unknown,
    /// Here.
    Known(T),
}

impl<T> Attr<T> {
    /// The value, when it is here.
    pub fn known(&self) -> Option<&T> {
        match self {
            Attr::Known(value) => Some(value),
            _ => None,
        }
    }
    /// The value, when it is here.
    pub fn into_known(self) -> Option<T> {
        match self {
            Attr::Known(value) => Some(value),
            _ => None,
        }
    }
    /// The value, or `other` when it is absent or not known yet.
    pub fn known_or(self, other: T) -> T {
        self.into_known().unwrap_or(other)
    }
    /// The value, or the type's default when it is absent or not known yet.
    pub fn known_or_default(self) -> T
    where
        T: Default,
    {
        self.into_known().unwrap_or_default()
    }
    /// Whether this is [`Attr::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Attr::Null)
    }
    /// Whether this is [`Attr::Unknown`].
    pub fn is_unknown(&self) -> bool {
        matches!(self, Attr::Unknown)
    }
    /// Whether this is [`Attr::Known`].
    pub fn is_known(&self) -> bool {
        matches!(self, Attr::Known(_))
    }
    /// The same attribute, borrowed.
    pub fn as_ref(&self) -> Attr<&T> {
        match self {
            Attr::Null => Attr::Null,
            Attr::Unknown => Attr::Unknown,
            Attr::Known(value) => Attr::Known(value),
        }
    }
    /// The value behind what is here: `&str` of a `String`, a slice of a `Vec`.
    pub fn as_deref(&self) -> Option<&T::Target>
    where
        T: std::ops::Deref,
    {
        self.known().map(std::ops::Deref::deref)
    }
    /// The same attribute with its value changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Attr<U> {
        match self {
            Attr::Null => Attr::Null,
            Attr::Unknown => Attr::Unknown,
            Attr::Known(value) => Attr::Known(change(value)),
        }
    }
    /// Like [`map`](Self::map), where the change may give no value.
    pub fn and_then<U>(self, change: impl FnOnce(T) -> Attr<U>) -> Attr<U> {
        match self {
            Attr::Null => Attr::Null,
            Attr::Unknown => Attr::Unknown,
            Attr::Known(value) => change(value),
        }
    }
    /// This attribute, or `other` when it is absent.
    pub fn or(self, other: Attr<T>) -> Attr<T> {
        match self {
            Attr::Null => other,
            _ => self,
        }
    }
    /// Puts `value` in unless one is here already: what `create` does with
    /// what was known after apply only.
    pub fn fill(&mut self, value: impl Into<Attr<T>>) {
        if !self.is_known() {
            *self = value.into();
        }
    }
}

impl Attr<String> {
    /// The text, when it is here.
    pub fn as_str(&self) -> Option<&str> {
        self.as_deref()
    }
}

impl<T> Attr<Secret<T>> {
    /// The secret, when it is here, for the one place that needs it.
    pub fn expose(&self) -> Option<&T> {
        self.known().map(Secret::expose)
    }
}

impl<T> From<Option<T>> for Attr<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Attr::Null, Attr::Known)
    }
}

impl<T> From<T> for Attr<T> {
    fn from(value: T) -> Self {
        Attr::Known(value)
    }
}

impl From<&str> for Attr<String> {
    fn from(value: &str) -> Self {
        Attr::Known(value.to_owned())
    }
}

/// What an [`Attr`] can hold: `String`, `bool`, `i64`, `f64`, `Secret<T>`,
/// `Vec<T>`, `BTreeSet<T>`, `BTreeMap<String, T>` and models.
pub trait AttrValue: Sized {
    /// Whether the attribute is sensitive by itself.
    const SENSITIVE: bool = false;

    /// The type in the schema.
    fn ty() -> Type;
    /// Decodes a value that is neither null nor unknown. `Ok(None)`: something
    /// inside is unknown, so the whole is [`Attr::Unknown`]. The message of an
    /// error begins after the argument's name: "must be a whole number".
    fn from_value(value: &Value) -> Result<Option<Self>, Error>;
    /// Encodes.
    fn to_value(&self) -> Value;
}

impl AttrValue for String {
    fn ty() -> Type {
        Type::String
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        match value {
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(error("must be a string")),
        }
    }
    fn to_value(&self) -> Value {
        Value::String(self.clone())
    }
}

impl AttrValue for bool {
    fn ty() -> Type {
        Type::Bool
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        match value {
            Value::Bool(value) => Ok(Some(*value)),
            _ => Err(error("must be true or false")),
        }
    }
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
}

impl AttrValue for i64 {
    fn ty() -> Type {
        Type::Number
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        match value {
            Value::Number(number) => number
                .to_i64()
                .map(Some)
                .ok_or_else(|| error("must be a whole number that fits 64 bits")),
            _ => Err(error("must be a number")),
        }
    }
    fn to_value(&self) -> Value {
        Value::Number(Number::from(*self))
    }
}

impl AttrValue for f64 {
    fn ty() -> Type {
        Type::Number
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        match value {
            Value::Number(number) => Ok(Some(number.to_f64())),
            _ => Err(error("must be a number")),
        }
    }
    fn to_value(&self) -> Value {
        Value::Number(Number::from(*self))
    }
}

impl<T: AttrValue> AttrValue for Secret<T> {
    const SENSITIVE: bool = true;

    fn ty() -> Type {
        T::ty()
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        Ok(T::from_value(value)?.map(Secret))
    }
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
}

impl<T: AttrValue> AttrValue for Vec<T> {
    const SENSITIVE: bool = T::SENSITIVE;

    fn ty() -> Type {
        Type::List(Box::new(T::ty()))
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        let Value::Seq(elements) = value else {
            return Err(error("must be a list"));
        };
        let elements = elements.iter().zip(0..);
        known_elements(elements.map(|(value, index)| element(value, || Step::Index(index))))
    }
    fn to_value(&self) -> Value {
        Value::Seq(self.iter().map(T::to_value).collect())
    }
}

impl<T: AttrValue + Ord> AttrValue for BTreeSet<T> {
    const SENSITIVE: bool = T::SENSITIVE;

    fn ty() -> Type {
        Type::Set(Box::new(T::ty()))
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        let Value::Seq(elements) = value else {
            return Err(error("must be a set"));
        };
        known_elements(
            elements
                .iter()
                .map(|value| element(value, || Step::Element(Box::new(value.clone())))),
        )
    }
    fn to_value(&self) -> Value {
        Value::set(self.iter().map(T::to_value).collect())
    }
}

impl<T: AttrValue> AttrValue for BTreeMap<String, T> {
    const SENSITIVE: bool = T::SENSITIVE;

    fn ty() -> Type {
        Type::Map(Box::new(T::ty()))
    }
    fn from_value(value: &Value) -> Result<Option<Self>, Error> {
        let Value::Map(elements) = value else {
            return Err(error("must be a map"));
        };
        known_elements(elements.iter().map(|(key, value)| {
            let value = element(value, || Step::Key(key.clone()))?;
            Ok(value.map(|value| (key.clone(), value)))
        }))
    }
    fn to_value(&self) -> Value {
        let elements = self.iter();
        Value::Map(
            elements
                .map(|(key, value)| (key.clone(), value.to_value()))
                .collect(),
        )
    }
}

/// All of them, or none when one is unknown. Errors come first: that a
/// neighbour is unknown does not excuse a null.
fn known_elements<E, C: FromIterator<E>>(
    elements: impl Iterator<Item = Result<Option<E>, Error>>,
) -> Result<Option<C>, Error> {
    let elements = elements.collect::<Result<Vec<_>, _>>()?;
    Ok(elements.into_iter().collect())
}

fn element<T: AttrValue>(value: &Value, step: impl Fn() -> Step) -> Result<Option<T>, Error> {
    let result = match value {
        Value::Unknown(_) => Ok(None),
        Value::Null => Err(error("must not be null")),
        value => T::from_value(value),
    };
    result.map_err(|error| error.below(step()))
}

fn error(message: &str) -> Error {
    Error::new(message)
}

/// Something that must not be seen: prints as `[redacted]`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub fn new(secret: T) -> Self {
        Self(secret)
    }
    /// The secret itself, for the one place that needs it.
    pub fn into_inner(self) -> T {
        self.0
    }
    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(secret: T) -> Self {
        Self(secret)
    }
}

impl From<&str> for Secret<String> {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The helpers treat absent and unknown alike only where they say so.
    #[test]
    fn helpers() {
        let known: Attr<String> = "a".into();
        assert_eq!(known.as_str(), Some("a"));
        assert_eq!(Attr::<String>::Unknown.as_str(), None);
        assert_eq!(known.clone().map(|text| text.len()), Attr::Known(1));
        assert_eq!(
            Attr::<String>::Unknown.map(|text| text.len()),
            Attr::Unknown
        );
        assert_eq!(Attr::Known(1).and_then(|_| Attr::<i64>::Null), Attr::Null);
        assert_eq!(Attr::Unknown.known_or(7), 7);
        assert_eq!(Attr::<i64>::Null.known_or_default(), 0);
        assert_eq!(Attr::Null.or(Attr::Known(1)), Attr::Known(1));
        assert_eq!(Attr::Unknown.or(Attr::Known(1)), Attr::Unknown);
        assert_eq!(Attr::<i64>::from(None), Attr::Null);
        assert_eq!(Attr::<i64>::from(Some(1)), Attr::Known(1));
        let mut attr = Attr::Unknown;
        attr.fill(1);
        attr.fill(2);
        assert_eq!(attr, Attr::Known(1));
        assert_eq!(known.as_ref(), Attr::Known(&"a".to_owned()));
    }

    /// Elements of a set come in any order and go out in the canonical one.
    #[test]
    fn sets() {
        let set = BTreeSet::from([10i64, 9, -1]);
        let value = set.to_value();
        assert_eq!(value, Value::set(vec![9.into(), (-1).into(), 10.into()]));
        assert_eq!(BTreeSet::<i64>::from_value(&value), Ok(Some(set)));
    }

    /// Numbers as Rust has them: what does not fit is refused, not rounded.
    #[test]
    fn numbers() {
        let number = |text| Value::Number(Number::parse(text).unwrap_or(Number::Int(0)));
        assert_eq!(i64::from_value(&number("1e3")), Ok(Some(1000)));
        assert!(i64::from_value(&number("0.5")).is_err());
        assert!(i64::from_value(&number("9223372036854775808")).is_err());
        assert_eq!(f64::from_value(&number("0.1")), Ok(Some(0.1)));
        assert_eq!(0.1.to_value(), number("0.1"));
    }

    /// A secret is sensitive wherever it is inside, and never seen.
    #[test]
    fn secrets() {
        const {
            assert!(Vec::<Secret<String>>::SENSITIVE);
            assert!(BTreeMap::<String, Secret<String>>::SENSITIVE);
            assert!(!Vec::<String>::SENSITIVE);
        }
        let secret: Attr<Secret<String>> = Secret::from("hunter2").into();
        assert_eq!(format!("{secret:?}"), "Known([redacted])");
        assert_eq!(secret.expose().map(String::as_str), Some("hunter2"));
    }
}
