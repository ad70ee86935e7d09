//! Values as msgpack, the encoding of the plugin protocol.

use super::{Error, Type, Value};

/// Decodes `bytes` as a value of type `ty`.
pub fn decode_msgpack(_bytes: &[u8], _ty: &Type) -> Result<Value, Error> {
    todo!()
}

/// Encodes `value`, which has type `ty`.
pub fn encode_msgpack(_value: &Value, _ty: &Type) -> Vec<u8> {
    todo!()
}
