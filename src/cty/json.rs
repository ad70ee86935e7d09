//! Values as JSON, the encoding of stored state.

use super::{Error, Type, Value};

/// Decodes `bytes` as a value of type `ty`. Attributes that the type does not
/// have are dropped (they were removed from the schema), missing ones are null.
pub fn decode_json(_bytes: &[u8], _ty: &Type) -> Result<Value, Error> {
    todo!()
}

/// Encodes `value`, which has type `ty`.
pub fn encode_json(_value: &Value, _ty: &Type) -> Vec<u8> {
    todo!()
}
