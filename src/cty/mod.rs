//! Terraform's values: types, values, paths, and their two encodings.
//!
//! A host sends values as msgpack (and, for stored state, as JSON); both are
//! decoded by the type the schema gives, never by the shape of the bytes.
//! Nothing here knows gRPC or an asynchronous runtime.

#[cfg(test)]
pub(crate) mod arbitrary;
mod json;
mod msgpack;
mod number;
mod path;
mod ty;
mod value;

pub use json::{decode_json, encode_json, value_from_json, value_to_json};
pub use msgpack::{decode_msgpack, encode_msgpack};
pub use number::Number;
pub use path::{Path, Step};
pub use ty::Type;
pub use value::{Refinements, Value};

/// Why a value could not be decoded; says where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}{message}", if path.0.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct Error {
    /// Where in the value.
    pub path: Path,
    /// What is wrong, lower case, without a final period.
    pub message: String,
}

impl Error {
    /// An error about the value itself.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            path: Path::root(),
            message: message.into(),
        }
    }
    /// The same error, seen from one step above.
    pub fn below(mut self, step: Step) -> Self {
        self.path.0.insert(0, step);
        self
    }
}
