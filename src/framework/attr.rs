//! Attributes as a resource sees them, and secrets.

use crate::cty::{Error, Type, Value};

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
    /// Whether this is [`Attr::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Attr::Null)
    }
    /// Whether this is [`Attr::Unknown`].
    pub fn is_unknown(&self) -> bool {
        matches!(self, Attr::Unknown)
    }
}

impl<T> From<Option<T>> for Attr<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Attr::Null, Attr::Known)
    }
}

impl From<&str> for Attr<String> {
    fn from(value: &str) -> Self {
        Attr::Known(value.to_owned())
    }
}

/// What an [`Attr`] can hold: `String`, `bool`, `i64`, `Secret<String>`,
/// `Vec<T>`, `BTreeMap<String, T>` and nested models.
pub trait AttrValue: Sized {
    /// The type in the schema.
    fn ty() -> Type;
    /// Decodes a value that is neither null nor unknown. `Ok(None)`: something
    /// inside is unknown, so the whole is [`Attr::Unknown`].
    fn from_value(value: &Value) -> Result<Option<Self>, Error>;
    /// Encodes.
    fn to_value(&self) -> Value;
}

/// Something that must not be seen: prints as `[redacted]`.
#[derive(Clone, Default, PartialEq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub fn new(secret: T) -> Self {
        Self(secret)
    }
    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}
