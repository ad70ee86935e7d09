//! Values as JSON, the encoding of stored state.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{Error, Number, Step, Type, Value, ty::MAX_DEPTH};

/// Decodes `bytes` as a value of type `ty`. Attributes that the type does not
/// have are dropped (they were removed from the schema), missing ones are null.
pub fn decode_json(bytes: &[u8], ty: &Type) -> Result<Value, Error> {
    let json = serde_json::from_slice(bytes)
        .map_err(|error| Error::new(format!("not valid JSON: {error}")))?;
    value_from_json(&json, ty)
}

/// Encodes `value`, which has type `ty`.
///
/// What stored state cannot say is null: unknown values, and infinities.
pub fn encode_json(value: &Value, ty: &Type) -> Vec<u8> {
    value_to_json(value, ty).to_string().into_bytes()
}

/// Like [`decode_json`], of JSON that is parsed already.
pub fn value_from_json(json: &Json, ty: &Type) -> Result<Value, Error> {
    read(json, ty, MAX_DEPTH)
}

/// Like [`encode_json`], as a tree.
pub fn value_to_json(value: &Value, ty: &Type) -> Json {
    match (ty, value) {
        (_, Value::Null | Value::Unknown(_)) => Json::Null,
        (_, Value::Dynamic(inner)) => dynamic(&inner.0, &inner.1),
        (Type::Dynamic, value) => dynamic(&value.implied_type(), value),
        (_, Value::Bool(value)) => Json::Bool(*value),
        (_, Value::Number(number)) => number_to_json(number),
        (_, Value::String(text)) => Json::String(text.clone()),
        (Type::Object(types), Value::Map(members)) => Json::Object(
            types
                .iter()
                .map(|(name, ty)| {
                    let value = members.get(name).unwrap_or(&Value::Null);
                    (name.clone(), value_to_json(value, ty))
                })
                .collect(),
        ),
        (ty, Value::Map(members)) => {
            let ty = match ty {
                Type::Map(ty) => ty,
                _ => &Type::Dynamic,
            };
            Json::Object(
                members
                    .iter()
                    .map(|(key, value)| (key.clone(), value_to_json(value, ty)))
                    .collect(),
            )
        }
        (ty, Value::Seq(elements)) => {
            let element = |(index, value)| {
                let ty = match ty {
                    Type::List(ty) | Type::Set(ty) => ty,
                    Type::Tuple(types) => types.get(index).unwrap_or(&Type::Dynamic),
                    _ => &Type::Dynamic,
                };
                value_to_json(value, ty)
            };
            Json::Array(elements.iter().enumerate().map(element).collect())
        }
    }
}

fn dynamic(ty: &Type, value: &Value) -> Json {
    Json::Object(Map::from_iter([
        ("type".to_owned(), ty.to_json()),
        ("value".to_owned(), value_to_json(value, ty)),
    ]))
}

fn number_to_json(number: &Number) -> Json {
    match number.canonical() {
        Number::Float(number) if !number.is_finite() => Json::Null,
        // Kept digit by digit: serde_json has arbitrary precision here.
        number => number
            .to_string()
            .parse::<serde_json::Number>()
            .map_or(Json::Null, Json::Number),
    }
}

fn read(json: &Json, ty: &Type, depth: usize) -> Result<Value, Error> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Error::new("value is nested too deeply"));
    };
    let element = |index: usize, json: &Json, ty: &Type| {
        read(json, ty, depth)
            .map_err(|error| error.below(Step::Index(i64::try_from(index).unwrap_or(i64::MAX))))
    };
    match (ty, json) {
        (_, Json::Null) => Ok(Value::Null),
        (Type::String, Json::String(text)) => Ok(Value::String(text.clone())),
        // Old state may hold what the language converts by itself.
        (Type::String, Json::Bool(value)) => Ok(Value::String(value.to_string())),
        (Type::String, Json::Number(number)) => Number::parse(number.as_str())
            .map(|number| Value::String(number.to_string()))
            .ok_or_else(|| Error::new("number is not usable")),
        (Type::Number, Json::Number(number)) => Number::parse(number.as_str())
            .map(Value::Number)
            .ok_or_else(|| Error::new("number is not usable")),
        (Type::Number, Json::String(text)) => Number::parse(text)
            .map(Value::Number)
            .ok_or_else(|| Error::new("text that is not a usable number")),
        (Type::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (Type::Bool, Json::String(text)) => match text.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(mismatch(ty, json)),
        },
        (Type::List(ty), Json::Array(elements)) => elements
            .iter()
            .enumerate()
            .map(|(index, json)| element(index, json, ty))
            .collect::<Result<_, _>>()
            .map(Value::Seq),
        (Type::Set(ty), Json::Array(elements)) => elements
            .iter()
            .map(|json| read(json, ty, depth))
            .collect::<Result<_, _>>()
            .map(Value::set),
        (Type::Tuple(types), Json::Array(elements)) if types.len() == elements.len() => types
            .iter()
            .zip(elements)
            .enumerate()
            .map(|(index, (ty, json))| element(index, json, ty))
            .collect::<Result<_, _>>()
            .map(Value::Seq),
        (Type::Map(ty), Json::Object(members)) => members
            .iter()
            .map(|(key, json)| {
                let value =
                    read(json, ty, depth).map_err(|error| error.below(Step::Key(key.clone())))?;
                Ok((key.clone(), value))
            })
            .collect::<Result<_, _>>()
            .map(Value::Map),
        (Type::Object(types), Json::Object(members)) => {
            let mut object = BTreeMap::new();
            for (name, ty) in types {
                let value = read(members.get(name).unwrap_or(&Json::Null), ty, depth)
                    .map_err(|error| error.below(Step::Attribute(name.clone())))?;
                object.insert(name.clone(), value);
            }
            Ok(Value::Map(object))
        }
        (Type::Dynamic, Json::Object(members)) => {
            let (Some(ty), Some(value)) = (members.get("type"), members.get("value")) else {
                return Err(Error::new("a type and a value expected"));
            };
            let ty = Type::from_json(ty)?;
            let value = read(value, &ty, depth)?;
            Ok(match value {
                // The value says itself what it is, or that there is nothing to say.
                value if ty == Type::Dynamic => value,
                value => Value::Dynamic(Box::new((ty, value))),
            })
        }
        _ => Err(mismatch(ty, json)),
    }
}

/// Says what was found instead, never its content: it may be a secret.
fn mismatch(ty: &Type, json: &Json) -> Error {
    let found = match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    Error::new(format!("{ty} expected, found {found}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cty::arbitrary::Random;

    fn ty() -> Type {
        Type::Object(BTreeMap::from([
            ("name".to_owned(), Type::String),
            ("size".to_owned(), Type::Number),
            ("public".to_owned(), Type::Bool),
            ("tags".to_owned(), Type::Set(Box::new(Type::String))),
            ("extra".to_owned(), Type::Dynamic),
        ]))
    }

    /// State as an older version of the provider left it: a removed attribute
    /// is dropped, one that did not exist yet is null.
    #[test]
    fn older_state() -> anyhow::Result<()> {
        let json = json!({
            "name": "web",
            "size": 12345678901234567890123u128,
            "public": false,
            "tags": ["b", "a", "b"],
            "gone": {"deep": true},
        });
        let value = decode_json(json.to_string().as_bytes(), &ty())?;
        assert_eq!(
            value,
            Value::Map(BTreeMap::from([
                ("name".to_owned(), "web".into()),
                (
                    "size".to_owned(),
                    Value::Number(Number::Big("12345678901234567890123".into()))
                ),
                ("public".to_owned(), false.into()),
                ("tags".to_owned(), Value::Seq(vec!["a".into(), "b".into()])),
                ("extra".to_owned(), Value::Null),
            ]))
        );
        Ok(())
    }

    /// Numbers keep every digit, dynamic values their type.
    #[test]
    fn text() {
        let dynamic = |ty, value| Value::Dynamic(Box::new((ty, value)));
        let cases = [
            (Type::Number, Value::Number(Number::from(0.1)), "0.1"),
            (
                Type::Number,
                Value::Number(Number::from(u64::MAX)),
                "18446744073709551615",
            ),
            (
                Type::Dynamic,
                dynamic(
                    Type::List(Box::new(Type::Bool)),
                    Value::Seq(vec![true.into()]),
                ),
                r#"{"type":["list","bool"],"value":[true]}"#,
            ),
            (Type::Dynamic, Value::Null, "null"),
            (Type::String, Value::UNKNOWN, "null"),
        ];
        for (ty, value, json) in cases {
            assert_eq!(
                String::from_utf8_lossy(&encode_json(&value, &ty)),
                json,
                "{value:?}"
            );
            if value.is_wholly_known() {
                assert_eq!(decode_json(json.as_bytes(), &ty), Ok(value));
            }
        }
    }

    /// State of other providers spells numbers and booleans as text.
    #[test]
    fn conversions() {
        let cases = [
            (Type::Number, json!("1e3"), 1000.into()),
            (Type::Bool, json!("true"), true.into()),
            (Type::String, json!(12.50), "12.5".into()),
            (Type::String, json!(true), "true".into()),
        ];
        for (ty, json, value) in cases {
            assert_eq!(value_from_json(&json, &ty), Ok(value));
        }
    }

    /// An error says where and what, and shows no content.
    #[test]
    fn errors_name_the_place() {
        let check = |json: &str, expected: &str| {
            let error = decode_json(json.as_bytes(), &ty()).expect_err("it does not fit");
            assert_eq!(error.to_string(), expected);
        };
        check(
            "{",
            "not valid JSON: EOF while parsing an object at line 1 column 1",
        );
        check("[]", "object expected, found an array");
        check(
            r#"{"name":["secret"]}"#,
            "name: string expected, found an array",
        );
        check(
            r#"{"size":"secret"}"#,
            "size: text that is not a usable number",
        );
        check(
            r#"{"tags":["a",[]]}"#,
            "tags: string expected, found an array",
        );
        check(r#"{"size":1e999999999}"#, "size: number is not usable");
        check(
            r#"{"extra":{"type":"string"}}"#,
            "extra: a type and a value expected",
        );
    }

    /// Whatever wholly known value of whatever type comes back as it went.
    #[test]
    fn round_trip() {
        for seed in 0..3000 {
            let mut random = Random::new(seed);
            let ty = random.ty(3);
            let value = random.value(&ty, false);
            let json = encode_json(&value, &ty);
            assert_eq!(decode_json(&json, &ty), Ok(value), "seed {seed}");
        }
    }

    /// Damaged text is an error or another value, never a panic.
    #[test]
    fn damaged_text() {
        for seed in 0..10_000 {
            let mut random = Random::new(seed);
            let ty = random.ty(3);
            let mut json = encode_json(&random.value(&ty, false), &ty);
            let at = random.below(json.len());
            match random.below(3) {
                0 => json[at] = random.next() as u8,
                1 => json.truncate(at),
                _ => json.insert(at, b"[]{}\",:0e-"[random.below(10)]),
            }
            if let Ok(value) = decode_json(&json, &ty) {
                let again = encode_json(&value, &ty);
                assert_eq!(decode_json(&again, &ty), Ok(value), "seed {seed}");
            }
        }
    }

    /// Depth cannot be driven by the text.
    #[test]
    fn bottomless() {
        let text = r#"{"type":"dynamic","value":"#.repeat(100_000);
        assert!(decode_json(text.as_bytes(), &Type::Dynamic).is_err());
    }
}
