//! Terraform's values: types, values, paths, and their two encodings.
//!
//! A host sends values as msgpack (and, for stored state, as JSON); both are
//! decoded by the type the schema gives, never by the shape of the bytes.
//! Nothing here knows gRPC or an asynchronous runtime.

mod json;
mod msgpack;
mod number;
mod path;
mod ty;
mod value;

pub use json::{decode_json, encode_json};
pub use msgpack::{decode_msgpack, encode_msgpack};
pub use number::Number;
pub use path::{Path, Step};
pub use ty::Type;
pub use value::{Refinements, Value};

/// Why a value could not be decoded; says where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Error {
    /// Where in the value.
    pub path: Path,
    /// What is wrong, lower case, without a final period.
    pub message: String,
}
