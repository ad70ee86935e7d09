//! Values as msgpack, the encoding of the plugin protocol.
//!
//! What the bytes mean is decided by the schema's type. Lengths that the bytes
//! claim are never believed: memory is asked for as elements really arrive.

use std::collections::BTreeMap;

use rmp::{Marker, encode};

use super::{Error, Number, Path, Refinements, Step, Type, Value, ty::MAX_DEPTH};

/// Decodes `bytes` as a value of type `ty`.
pub fn decode_msgpack(bytes: &[u8], ty: &Type) -> Result<Value, Error> {
    let mut reader = Reader {
        rest: bytes,
        path: Vec::new(),
        depth: 0,
    };
    match reader.value(ty) {
        Ok(value) if reader.rest.is_empty() => Ok(value),
        Ok(_) => Err(Error::new("there is more after the value")),
        Err(message) => Err(Error {
            path: Path(reader.path),
            message,
        }),
    }
}

/// Encodes `value`, which has type `ty`.
///
/// A value of another type is encoded as what it is, for the host to refuse,
/// except that an object always has exactly the attributes of its type.
pub fn encode_msgpack(value: &Value, ty: &Type) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, value, ty);
    bytes
}

/// Extension code of an unknown value about which something is known.
const REFINED: i8 = 12;
/// Longer descriptions are refused by the hosts.
const MAX_REFINEMENT: usize = 1024;

const NULLNESS: i64 = 1;
const PREFIX: i64 = 2;
const NUMBER_MIN: i64 = 3;
const NUMBER_MAX: i64 = 4;
const LENGTH_MIN: i64 = 5;
const LENGTH_MAX: i64 = 6;

struct Reader<'a> {
    rest: &'a [u8],
    /// Where the reader is; after an error, where the error is.
    path: Vec<Step>,
    depth: usize,
}

/// Errors are messages while reading; the place is in the reader.
type Read<T> = Result<T, String>;

impl<'a> Reader<'a> {
    fn value(&mut self, ty: &Type) -> Read<Value> {
        let marker = self.peek()?;
        match marker {
            Marker::Null => {
                self.rest = &self.rest[1..];
                return Ok(Value::Null);
            }
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => return self.unknown(ty),
            _ => {}
        }
        if self.depth == MAX_DEPTH {
            return Err("value is nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = match ty {
            Type::String => Value::String(self.text()?),
            Type::Number => Value::Number(self.number()?),
            Type::Bool => Value::Bool(self.boolean()?),
            Type::Dynamic => self.dynamic()?,
            Type::List(ty) => Value::Seq(self.list(ty)?),
            Type::Set(ty) => Value::set(self.set(ty)?),
            Type::Map(ty) => self.map(ty)?,
            Type::Tuple(types) => self.tuple(types)?,
            Type::Object(types) => self.object(types)?,
        };
        self.depth -= 1;
        Ok(value)
    }

    /// Reads what `read` reads, one step further down. The step stays in the
    /// path when it fails.
    fn step<T>(&mut self, step: Step, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.path.push(step);
        let value = read(self)?;
        self.path.pop();
        Ok(value)
    }

    fn list(&mut self, ty: &Type) -> Read<Vec<Value>> {
        let length = self.array("a list")?;
        let mut elements = Vec::new();
        for index in 0..length {
            elements.push(self.step(Step::Index(index.into()), |reader| reader.value(ty))?);
        }
        Ok(elements)
    }

    /// Elements of a set have no place of their own to name in an error.
    fn set(&mut self, ty: &Type) -> Read<Vec<Value>> {
        let length = self.array("a set")?;
        let mut elements = Vec::new();
        for _ in 0..length {
            elements.push(self.value(ty)?);
        }
        Ok(elements)
    }

    fn tuple(&mut self, types: &[Type]) -> Read<Value> {
        let length = self.array("a tuple")?;
        if usize::try_from(length) != Ok(types.len()) {
            return Err(format!("{} elements expected, found {length}", types.len()));
        }
        let mut elements = Vec::new();
        for (index, ty) in (0..).zip(types) {
            elements.push(self.step(Step::Index(index), |reader| reader.value(ty))?);
        }
        Ok(Value::Seq(elements))
    }

    fn map(&mut self, ty: &Type) -> Read<Value> {
        let length = self.members("a map")?;
        let mut members = BTreeMap::new();
        for _ in 0..length {
            let key = self.text()?;
            let value = self.step(Step::Key(key.clone()), |reader| reader.value(ty))?;
            if members.insert(key, value).is_some() {
                return Err("a key is there twice".to_owned());
            }
        }
        Ok(Value::Map(members))
    }

    fn object(&mut self, types: &BTreeMap<String, Type>) -> Read<Value> {
        let length = self.members("an object")?;
        if usize::try_from(length) != Ok(types.len()) {
            return Err(format!(
                "{} attributes expected, found {length}",
                types.len()
            ));
        }
        let mut members = BTreeMap::new();
        for _ in 0..length {
            let name = self.text()?;
            let Some(ty) = types.get(&name) else {
                return Err("there is an attribute that the schema does not have".to_owned());
            };
            let value = self.step(Step::Attribute(name.clone()), |reader| reader.value(ty))?;
            // The count is right, so twice means that another one is missing.
            if members.insert(name, value).is_some() {
                return Err("an attribute is there twice".to_owned());
            }
        }
        Ok(Value::Map(members))
    }

    fn dynamic(&mut self) -> Read<Value> {
        if self.array("a type and a value")? != 2 {
            return Err("a type and a value expected".to_owned());
        }
        let description = self.binary()?;
        let ty = serde_json::from_slice(description)
            .map_err(|_| "type description is not JSON".to_owned())
            .and_then(|json| Type::from_json(&json).map_err(|error| error.message))?;
        let value = self.value(&ty)?;
        Ok(match value {
            // The value says itself what it is, or that there is nothing to say.
            value if ty == Type::Dynamic => value,
            value => Value::Dynamic(Box::new((ty, value))),
        })
    }

    fn unknown(&mut self, ty: &Type) -> Read<Value> {
        let (code, payload) = self.extension()?;
        if code != REFINED || payload.len() <= 1 || *ty == Type::Dynamic {
            return Ok(Value::UNKNOWN);
        }
        if payload.len() > MAX_REFINEMENT {
            return Err("what is known about an unknown value is too long".to_owned());
        }
        let mut reader = Reader {
            rest: payload,
            path: Vec::new(),
            depth: self.depth,
        };
        reader.refinements()
    }

    fn refinements(&mut self) -> Read<Value> {
        let mut refinements = Refinements::default();
        for _ in 0..self.members("a map of refinements")? {
            match self.integer()? {
                // "Is it null?" "No." A yes would be a null, not an unknown.
                NULLNESS => match self.boolean()? {
                    true => return Ok(Value::Null),
                    false => refinements.not_null = true,
                },
                PREFIX => refinements.prefix = Some(self.text()?),
                NUMBER_MIN => refinements.number_min = Some(self.bound()?),
                NUMBER_MAX => refinements.number_max = Some(self.bound()?),
                LENGTH_MIN => refinements.length_min = Some(self.integer()?),
                LENGTH_MAX => refinements.length_max = Some(self.integer()?),
                // Later versions may know more.
                _ => self.skip()?,
            }
        }
        Ok(Value::Unknown(
            (refinements != Refinements::default()).then(|| Box::new(refinements)),
        ))
    }

    fn bound(&mut self) -> Read<(Number, bool)> {
        if self.array("a bound")? != 2 {
            return Err("a bound has two parts".to_owned());
        }
        Ok((self.number()?, self.boolean()?))
    }

    fn number(&mut self) -> Read<Number> {
        let before = self.rest;
        Ok(match self.marker()? {
            Marker::F32 => float(f32::from_be_bytes(self.array_of()?).into())?,
            Marker::F64 => float(f64::from_be_bytes(self.array_of()?))?,
            Marker::U64 => Number::from(u64::from_be_bytes(self.array_of()?)),
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                self.rest = before;
                let text = self.str()?;
                match text {
                    "inf" | "Inf" | "+Inf" => Number::Float(f64::INFINITY),
                    "-Inf" | "-inf" => Number::Float(f64::NEG_INFINITY),
                    text => Number::parse(text)
                        .ok_or_else(|| "text that is not a usable number".to_owned())?,
                }
            }
            _ => {
                self.rest = before;
                Number::Int(self.integer()?)
            }
        })
    }

    fn integer(&mut self) -> Read<i64> {
        Ok(match self.marker()? {
            Marker::FixPos(number) => number.into(),
            Marker::FixNeg(number) => number.into(),
            Marker::U8 => u8::from_be_bytes(self.array_of()?).into(),
            Marker::U16 => u16::from_be_bytes(self.array_of()?).into(),
            Marker::U32 => u32::from_be_bytes(self.array_of()?).into(),
            Marker::U64 => i64::try_from(u64::from_be_bytes(self.array_of()?))
                .map_err(|_| "number is too large".to_owned())?,
            Marker::I8 => i8::from_be_bytes(self.array_of()?).into(),
            Marker::I16 => i16::from_be_bytes(self.array_of()?).into(),
            Marker::I32 => i32::from_be_bytes(self.array_of()?).into(),
            Marker::I64 => i64::from_be_bytes(self.array_of()?),
            other => return Err(unexpected("a number", other)),
        })
    }

    fn boolean(&mut self) -> Read<bool> {
        match self.marker()? {
            Marker::True => Ok(true),
            Marker::False => Ok(false),
            other => Err(unexpected("true or false", other)),
        }
    }

    fn text(&mut self) -> Read<String> {
        self.str().map(str::to_owned)
    }

    fn str(&mut self) -> Read<&'a str> {
        let length = match self.marker()? {
            Marker::FixStr(length) => length.into(),
            Marker::Str8 => u8::from_be_bytes(self.array_of()?).into(),
            Marker::Str16 => u16::from_be_bytes(self.array_of()?).into(),
            Marker::Str32 => u32::from_be_bytes(self.array_of()?),
            other => return Err(unexpected("a string", other)),
        };
        std::str::from_utf8(self.take(length)?).map_err(|_| "text is not UTF-8".to_owned())
    }

    /// Type descriptions are binary on the wire; text is understood too.
    fn binary(&mut self) -> Read<&'a [u8]> {
        let before = self.rest;
        let length = match self.marker()? {
            Marker::Bin8 => u8::from_be_bytes(self.array_of()?).into(),
            Marker::Bin16 => u16::from_be_bytes(self.array_of()?).into(),
            Marker::Bin32 => u32::from_be_bytes(self.array_of()?),
            _ => {
                self.rest = before;
                return self.str().map(str::as_bytes);
            }
        };
        self.take(length)
    }

    fn array(&mut self, expected: &str) -> Read<u32> {
        match self.marker()? {
            Marker::FixArray(length) => Ok(length.into()),
            Marker::Array16 => Ok(u16::from_be_bytes(self.array_of()?).into()),
            Marker::Array32 => Ok(u32::from_be_bytes(self.array_of()?)),
            other => Err(unexpected(expected, other)),
        }
    }

    fn members(&mut self, expected: &str) -> Read<u32> {
        match self.marker()? {
            Marker::FixMap(length) => Ok(length.into()),
            Marker::Map16 => Ok(u16::from_be_bytes(self.array_of()?).into()),
            Marker::Map32 => Ok(u32::from_be_bytes(self.array_of()?)),
            other => Err(unexpected(expected, other)),
        }
    }

    fn extension(&mut self) -> Read<(i8, &'a [u8])> {
        let length = match self.marker()? {
            Marker::FixExt1 => 1,
            Marker::FixExt2 => 2,
            Marker::FixExt4 => 4,
            Marker::FixExt8 => 8,
            Marker::FixExt16 => 16,
            Marker::Ext8 => u8::from_be_bytes(self.array_of()?).into(),
            Marker::Ext16 => u16::from_be_bytes(self.array_of()?).into(),
            Marker::Ext32 => u32::from_be_bytes(self.array_of()?),
            other => return Err(unexpected("an extension", other)),
        };
        let code = i8::from_be_bytes(self.array_of()?);
        Ok((code, self.take(length)?))
    }

    /// Passes over one value of any shape, without recursion.
    fn skip(&mut self) -> Read<()> {
        let mut pending = 1u64;
        while pending > 0 {
            pending -= 1;
            let before = self.rest;
            match self.marker()? {
                Marker::Null | Marker::True | Marker::False => {}
                Marker::FixPos(_) | Marker::FixNeg(_) => {}
                Marker::U8 | Marker::I8 => drop(self.take(1)?),
                Marker::U16 | Marker::I16 => drop(self.take(2)?),
                Marker::U32 | Marker::I32 | Marker::F32 => drop(self.take(4)?),
                Marker::U64 | Marker::I64 | Marker::F64 => drop(self.take(8)?),
                marker => {
                    self.rest = before;
                    match marker {
                        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                            pending += u64::from(self.array("a list")?);
                        }
                        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                            pending += 2 * u64::from(self.members("a map")?);
                        }
                        Marker::FixStr(_)
                        | Marker::Str8
                        | Marker::Str16
                        | Marker::Str32
                        | Marker::Bin8
                        | Marker::Bin16
                        | Marker::Bin32 => drop(self.binary()?),
                        _ => drop(self.extension()?),
                    }
                }
            }
        }
        Ok(())
    }

    fn peek(&self) -> Read<Marker> {
        match self.rest.first() {
            Some(byte) => Ok(Marker::from_u8(*byte)),
            None => Err("the bytes end too early".to_owned()),
        }
    }

    fn marker(&mut self) -> Read<Marker> {
        let marker = self.peek()?;
        self.rest = &self.rest[1..];
        Ok(marker)
    }

    fn take(&mut self, length: u32) -> Read<&'a [u8]> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err("the bytes end too early".to_owned()),
        }
    }

    fn array_of<const N: usize>(&mut self) -> Read<[u8; N]> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err("the bytes end too early".to_owned()),
        }
    }
}

fn float(number: f64) -> Read<Number> {
    if number.is_nan() {
        return Err("not a number".to_owned());
    }
    Ok(Number::exactly(number))
}

/// Says what was found instead, never its content: it may be a secret.
fn unexpected(expected: &str, found: Marker) -> String {
    let found = match found {
        Marker::Null => "null",
        Marker::True | Marker::False => "a boolean",
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => "a string",
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => "binary data",
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => "a list",
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => "a map",
        Marker::FixExt1
        | Marker::FixExt2
        | Marker::FixExt4
        | Marker::FixExt8
        | Marker::FixExt16
        | Marker::Ext8
        | Marker::Ext16
        | Marker::Ext32 => "an unknown value",
        Marker::Reserved => "a reserved byte",
        _ => "a number",
    };
    format!("{expected} expected, found {found}")
}

fn write(bytes: &mut Vec<u8>, value: &Value, ty: &Type) {
    match (ty, value) {
        (_, Value::Null) => nothing_fails(encode::write_nil(bytes)),
        (Type::Dynamic, Value::Unknown(_)) => write_unknown(bytes, None),
        (_, Value::Unknown(refinements)) => write_unknown(bytes, refinements.as_deref()),
        (_, Value::Dynamic(inner)) => write_dynamic(bytes, &inner.0, &inner.1),
        (Type::Dynamic, value) => write_dynamic(bytes, &value.implied_type(), value),
        (_, Value::Bool(value)) => nothing_fails(encode::write_bool(bytes, *value)),
        (_, Value::Number(number)) => write_number(bytes, number),
        (_, Value::String(text)) => write_text(bytes, text),
        (Type::Object(types), Value::Map(members)) => {
            write_length(encode::write_map_len, bytes, types.len());
            for (name, ty) in types {
                write_text(bytes, name);
                write(bytes, members.get(name).unwrap_or(&Value::Null), ty);
            }
        }
        (ty, Value::Map(members)) => {
            let ty = match ty {
                Type::Map(ty) => ty,
                _ => &Type::Dynamic,
            };
            write_length(encode::write_map_len, bytes, members.len());
            for (key, value) in members {
                write_text(bytes, key);
                write(bytes, value, ty);
            }
        }
        (ty, Value::Seq(elements)) => {
            write_length(encode::write_array_len, bytes, elements.len());
            for (index, value) in elements.iter().enumerate() {
                let ty = match ty {
                    Type::List(ty) | Type::Set(ty) => ty,
                    Type::Tuple(types) => types.get(index).unwrap_or(&Type::Dynamic),
                    _ => &Type::Dynamic,
                };
                write(bytes, value, ty);
            }
        }
    }
}

fn write_dynamic(bytes: &mut Vec<u8>, ty: &Type, value: &Value) {
    write_length(encode::write_array_len, bytes, 2);
    let description = ty.to_json().to_string();
    write_length(encode::write_bin_len, bytes, description.len());
    bytes.extend_from_slice(description.as_bytes());
    write(bytes, value, ty);
}

fn write_number(bytes: &mut Vec<u8>, number: &Number) {
    match number.canonical() {
        Number::Int(number) => nothing_fails(encode::write_sint(bytes, number)),
        Number::Float(number) => nothing_fails(encode::write_f64(bytes, number)),
        Number::Big(text) => write_text(bytes, &text),
    }
}

fn write_unknown(bytes: &mut Vec<u8>, refinements: Option<&Refinements>) {
    let payload = refinements.map(refinement_payload).unwrap_or_default();
    match u32::try_from(payload.len()) {
        // Saying less is always allowed.
        Ok(length @ 2..) if payload.len() <= MAX_REFINEMENT => {
            nothing_fails(encode::write_ext_meta(bytes, length, REFINED));
            bytes.extend_from_slice(&payload);
        }
        _ => bytes.extend_from_slice(&[0xd4, 0, 0]),
    }
}

fn refinement_payload(refinements: &Refinements) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut count = 0;
    let mut key = |payload: &mut Vec<u8>, key: i64| {
        count += 1;
        nothing_fails(encode::write_sint(payload, key));
    };
    if refinements.not_null {
        key(&mut payload, NULLNESS);
        nothing_fails(encode::write_bool(&mut payload, false));
    }
    if let Some(prefix) = &refinements.prefix {
        key(&mut payload, PREFIX);
        write_text(&mut payload, prefix);
    }
    for (code, bound) in [
        (NUMBER_MIN, &refinements.number_min),
        (NUMBER_MAX, &refinements.number_max),
    ] {
        if let Some((number, inclusive)) = bound {
            key(&mut payload, code);
            write_length(encode::write_array_len, &mut payload, 2);
            write_number(&mut payload, number);
            nothing_fails(encode::write_bool(&mut payload, *inclusive));
        }
    }
    for (code, length) in [
        (LENGTH_MIN, refinements.length_min),
        (LENGTH_MAX, refinements.length_max),
    ] {
        if let Some(length) = length {
            key(&mut payload, code);
            nothing_fails(encode::write_sint(&mut payload, length));
        }
    }
    if count == 0 {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    write_length(encode::write_map_len, &mut bytes, count);
    bytes.append(&mut payload);
    bytes
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    write_length(encode::write_str_len, bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

/// Lengths beyond 32 bits cannot be written; messages end at 256 MiB.
fn write_length<T>(
    write: impl FnOnce(&mut Vec<u8>, u32) -> Result<T, encode::ValueWriteError>,
    bytes: &mut Vec<u8>,
    length: usize,
) {
    nothing_fails(write(bytes, u32::try_from(length).unwrap_or(u32::MAX)));
}

/// Writing into memory has no way to fail.
fn nothing_fails<T, E>(_: Result<T, E>) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cty::arbitrary::Random;

    fn number(text: &str) -> Value {
        Value::Number(Number::parse(text).expect("it is a number"))
    }

    fn object(members: &[(&str, Value)]) -> Value {
        let members = members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        Value::Map(members.collect())
    }

    fn object_type(types: &[(&str, Type)]) -> Type {
        let types = types
            .iter()
            .map(|(name, ty)| ((*name).to_owned(), ty.clone()));
        Type::Object(types.collect())
    }

    /// The encodings byte by byte, as the hosts write and read them.
    #[test]
    fn known_bytes() {
        let list = |ty| Type::List(Box::new(ty));
        let refined = |refinements| Value::Unknown(Some(Box::new(refinements)));
        let cases: Vec<(Type, Value, &[u8])> = vec![
            (Type::String, Value::Null, b"\xc0"),
            (Type::String, Value::UNKNOWN, b"\xd4\x00\x00"),
            (Type::Dynamic, Value::UNKNOWN, b"\xd4\x00\x00"),
            (Type::String, "hi".into(), b"\xa2hi"),
            (Type::Bool, true.into(), b"\xc3"),
            (Type::Number, 1.into(), b"\x01"),
            (Type::Number, (-1).into(), b"\xff"),
            (Type::Number, 200.into(), b"\xcc\xc8"),
            (Type::Number, number("1.5"), b"\xcb\x3f\xf8\0\0\0\0\0\0"),
            (Type::Number, number("0.1"), b"\xa30.1"),
            (
                Type::Number,
                number("9223372036854775808"),
                b"\xb39223372036854775808",
            ),
            (
                Type::Number,
                Value::Number(Number::Float(f64::INFINITY)),
                b"\xcb\x7f\xf0\0\0\0\0\0\0",
            ),
            (
                list(Type::String),
                Value::Seq(vec!["a".into(), Value::Null]),
                b"\x92\xa1a\xc0",
            ),
            (
                Type::Map(Box::new(Type::Bool)),
                object(&[("k", false.into())]),
                b"\x81\xa1k\xc2",
            ),
            (
                Type::Tuple(vec![Type::String, Type::Bool]),
                Value::Seq(vec!["a".into(), true.into()]),
                b"\x92\xa1a\xc3",
            ),
            (
                object_type(&[("a", Type::String), ("b", Type::Bool)]),
                object(&[("a", "x".into()), ("b", Value::Null)]),
                b"\x82\xa1a\xa1x\xa1b\xc0",
            ),
            (
                Type::Dynamic,
                Value::Dynamic(Box::new((Type::String, "x".into()))),
                b"\x92\xc4\x08\"string\"\xa1x",
            ),
            (
                Type::String,
                refined(Refinements {
                    not_null: true,
                    prefix: Some("ocid1.".to_owned()),
                    ..Refinements::default()
                }),
                b"\xc7\x0b\x0c\x82\x01\xc2\x02\xa6ocid1.",
            ),
            (
                Type::Number,
                refined(Refinements {
                    number_min: Some((Number::Int(1), true)),
                    number_max: Some((Number::Int(9), false)),
                    ..Refinements::default()
                }),
                b"\xc7\x09\x0c\x82\x03\x92\x01\xc3\x04\x92\x09\xc2",
            ),
            (
                list(Type::String),
                refined(Refinements {
                    length_min: Some(1),
                    length_max: Some(2),
                    ..Refinements::default()
                }),
                b"\xc7\x05\x0c\x82\x05\x01\x06\x02",
            ),
        ];
        for (ty, value, bytes) in cases {
            assert_eq!(encode_msgpack(&value, &ty), bytes, "{value:?}");
            assert_eq!(decode_msgpack(bytes, &ty), Ok(value));
        }
    }

    /// What hosts may also write: other widths, numbers as text, other codes of
    /// unknown values, and refinements of the future.
    #[test]
    fn other_spellings() {
        let refined = Value::Unknown(Some(Box::new(Refinements {
            not_null: true,
            ..Refinements::default()
        })));
        let cases: &[(Type, &[u8], Value)] = &[
            (Type::Number, b"\xd3\0\0\0\0\0\0\0\x01", 1.into()),
            (Type::Number, b"\xcf\0\0\0\0\0\0\0\x01", 1.into()),
            (Type::Number, b"\xca\x3f\x80\0\0", 1.into()),
            (Type::Number, b"\xcb\x3f\xf0\0\0\0\0\0\0", 1.into()),
            (Type::Number, b"\xa31e3", 1000.into()),
            (Type::Number, b"\xa31.0", 1.into()),
            (
                Type::Number,
                b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                number("18446744073709551615"),
            ),
            (Type::String, b"\xd9\x02hi", "hi".into()),
            (Type::String, b"\xc7\x00\x00", Value::UNKNOWN),
            (Type::String, b"\xd4\x0c\x00", Value::UNKNOWN),
            (Type::String, b"\xd6\x63abcd", Value::UNKNOWN),
            (Type::Dynamic, b"\xc7\x03\x0c\x81\x01\xc2", Value::UNKNOWN),
            (Type::String, b"\xc7\x03\x0c\x81\x01\xc2", refined.clone()),
            (Type::String, b"\xc7\x03\x0c\x81\x01\xc3", Value::Null),
            // Key 99 holds a map of a list.
            (
                Type::String,
                b"\xc7\x0a\x0c\x82\x63\x81\xa1x\x92\xc0\x01\x01\xc2",
                refined,
            ),
            // A set in any order, with a duplicate.
            (
                Type::Set(Box::new(Type::String)),
                b"\x93\xa1b\xa1a\xa1b",
                Value::Seq(vec!["a".into(), "b".into()]),
            ),
            (Type::Dynamic, b"\x92\xc4\x09\"dynamic\"\xc0", Value::Null),
            (
                Type::Dynamic,
                b"\x92\xc4\x08\"string\"\xc0",
                Value::Dynamic(Box::new((Type::String, Value::Null))),
            ),
        ];
        for (ty, bytes, value) in cases {
            assert_eq!(decode_msgpack(bytes, ty).as_ref(), Ok(value), "{bytes:x?}");
        }
    }

    /// An error says where and what, and shows no content.
    #[test]
    fn errors_name_the_place() {
        let ty = object_type(&[
            ("layers", Type::List(Box::new(Type::Number))),
            ("tags", Type::Map(Box::new(Type::String))),
        ]);
        let check = |bytes: &[u8], expected: &str| {
            let error = decode_msgpack(bytes, &ty).expect_err("it does not fit");
            assert_eq!(error.to_string(), expected);
        };
        check(b"", "the bytes end too early");
        check(b"\x80", "2 attributes expected, found 0");
        check(
            b"\x82\xa1x\xc0\xa4tags\xc0",
            "there is an attribute that the schema does not have",
        );
        check(
            b"\x82\xa4tags\xc0\xa4tags\xc0",
            "an attribute is there twice",
        );
        check(
            b"\x82\xa4tags\xc0\xa6layers\xc0\xc0",
            "there is more after the value",
        );
        check(
            b"\x82\xa4tags\x81\xa1a\xc3\xa6layers\xc0",
            "tags[\"a\"]: a string expected, found a boolean",
        );
        check(
            b"\x82\xa4tags\xc0\xa6layers\x92\x01\xa6secret",
            "layers[1]: text that is not a usable number",
        );
        check(
            b"\x82\xa4tags\xc0\xa6layers\x91\xcb\x7f\xf8\0\0\0\0\0\0",
            "layers[0]: not a number",
        );
        check(
            b"\x82\xa4tags\x81\xa1a\xa2\xff\xfe\xa6layers\xc0",
            "tags[\"a\"]: text is not UTF-8",
        );
        check(
            b"\x82\xa4tags\x82\xa1a\xc0\xa1a\xc0\xa6layers\xc0",
            "tags: a key is there twice",
        );
    }

    /// What is known about an unknown value is left out when it is too long for
    /// the hosts.
    #[test]
    fn long_refinements() {
        let refined = |length| {
            Value::Unknown(Some(Box::new(Refinements {
                prefix: Some("x".repeat(length)),
                ..Refinements::default()
            })))
        };
        let value = refined(1019);
        let bytes = encode_msgpack(&value, &Type::String);
        assert_eq!(decode_msgpack(&bytes, &Type::String), Ok(value));
        assert_eq!(encode_msgpack(&refined(1020), &Type::String), [0xd4, 0, 0]);
    }

    /// Values that were put together by hand are encoded as what they mean.
    #[test]
    fn lenient_encoding() {
        let cases: &[(Type, Value, &[u8])] = &[
            (Type::Number, Value::Number(Number::Float(2.0)), b"\x02"),
            (
                Type::Number,
                Value::Number(Number::Big("2.0".into())),
                b"\x02",
            ),
            (
                object_type(&[("a", Type::Bool)]),
                object(&[]),
                b"\x81\xa1a\xc0",
            ),
            (
                object_type(&[("a", Type::Bool)]),
                object(&[("b", true.into())]),
                b"\x81\xa1a\xc0",
            ),
            (Type::Dynamic, true.into(), b"\x92\xc4\x06\"bool\"\xc3"),
            (Type::Number, "x".into(), b"\xa1x"),
        ];
        for (ty, value, bytes) in cases {
            assert_eq!(encode_msgpack(value, ty), *bytes, "{value:?}");
        }
    }

    /// Whatever value of whatever type comes back as it went.
    #[test]
    fn round_trip() {
        for seed in 0..3000 {
            let mut random = Random::new(seed);
            let ty = random.ty(3);
            let value = random.value(&ty, true);
            assert_eq!(value.conforms(&ty), Ok(()), "seed {seed}");
            let bytes = encode_msgpack(&value, &ty);
            assert_eq!(decode_msgpack(&bytes, &ty), Ok(value), "seed {seed}");
        }
    }

    /// Damaged and random bytes are an error or another value, never a panic,
    /// and what is accepted can be written again.
    #[test]
    fn damaged_bytes() {
        let mut accepted = 0;
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let ty = random.ty(3);
            let mut bytes = match seed % 4 {
                0 => (0..random.below(60)).map(|_| random.next() as u8).collect(),
                _ => encode_msgpack(&random.value(&ty, true), &ty),
            };
            for _ in 0..=random.below(3) {
                if bytes.is_empty() {
                    break;
                }
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes.truncate(at),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
            if let Ok(value) = decode_msgpack(&bytes, &ty) {
                accepted += 1;
                let again = encode_msgpack(&value, &ty);
                assert_eq!(decode_msgpack(&again, &ty), Ok(value), "seed {seed}");
            }
        }
        // Damage often hits text; if nothing got through, the test tests nothing.
        assert!(accepted > 500, "{accepted}");
    }

    /// A length that is only claimed reserves nothing: this would be 128 GiB.
    #[test]
    fn claimed_lengths() {
        let list = Type::List(Box::new(Type::String));
        let map = Type::Map(Box::new(Type::String));
        let early = Err(Error::new("the bytes end too early"));
        for (bytes, ty) in [
            (&b"\xdd\xff\xff\xff\xff"[..], &list),
            (b"\xdf\xff\xff\xff\xff", &map),
            (b"\xdb\xff\xff\xff\xff", &Type::String),
            (b"\xc9\xff\xff\xff\xff\x0c", &Type::String),
            (b"\x92\xc6\xff\xff\xff\xff", &Type::Dynamic),
        ] {
            let result = decode_msgpack(bytes, ty).map_err(|error| Error::new(error.message));
            assert_eq!(result, early, "{bytes:x?}");
        }
        // The same inside a refinement that is to be skipped.
        let skipped = b"\xc7\x07\x0c\x81\x63\xdd\xff\xff\xff\xff";
        assert_eq!(decode_msgpack(skipped, &Type::String), early);
    }

    /// Depth cannot be driven by the bytes: a dynamic value in a dynamic value
    /// in a dynamic value ends at a limit, not in a stack overflow.
    #[test]
    fn bottomless() {
        let bytes = b"\x92\xc4\x09\"dynamic\"".repeat(100_000);
        let error = decode_msgpack(&bytes, &Type::Dynamic).expect_err("it has no end");
        assert_eq!(error.message, "value is nested too deeply");
    }
}
