//! The types of Terraform's values.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Error;

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

/// Types deeper than this are refused; real schemas stay below ten.
pub(super) const MAX_DEPTH: usize = 64;

impl Type {
    /// The type as the protocol writes it in schemas: `"string"`,
    /// `["list","string"]`, `["object",{"name":"string"}]`.
    pub fn to_json(&self) -> Json {
        let pair = |kind: &str, inner: Json| Json::Array(vec![kind.into(), inner]);
        match self {
            Type::String => "string".into(),
            Type::Number => "number".into(),
            Type::Bool => "bool".into(),
            Type::Dynamic => "dynamic".into(),
            Type::List(ty) => pair("list", ty.to_json()),
            Type::Set(ty) => pair("set", ty.to_json()),
            Type::Map(ty) => pair("map", ty.to_json()),
            Type::Tuple(types) => pair(
                "tuple",
                Json::Array(types.iter().map(Type::to_json).collect()),
            ),
            Type::Object(types) => {
                let types = types.iter().map(|(name, ty)| (name.clone(), ty.to_json()));
                pair("object", Json::Object(types.collect()))
            }
        }
    }

    /// Reads what [`to_json`](Self::to_json) writes. The list of optional
    /// attributes that an object may carry as a third element is accepted and
    /// dropped: in values all attributes are present.
    pub fn from_json(json: &Json) -> Result<Self, Error> {
        Self::read(json, MAX_DEPTH)
    }

    fn read(json: &Json, depth: usize) -> Result<Self, Error> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Error::new("type is nested too deeply"));
        };
        let invalid = || Error::new("type description is not valid");
        match json {
            Json::String(kind) => match kind.as_str() {
                "string" => Ok(Type::String),
                "number" => Ok(Type::Number),
                "bool" => Ok(Type::Bool),
                "dynamic" => Ok(Type::Dynamic),
                _ => Err(invalid()),
            },
            Json::Array(parts) => match (parts.as_slice(), parts.first().and_then(Json::as_str)) {
                ([_, ty], Some("list")) => Ok(Type::List(Box::new(Self::read(ty, depth)?))),
                ([_, ty], Some("set")) => Ok(Type::Set(Box::new(Self::read(ty, depth)?))),
                ([_, ty], Some("map")) => Ok(Type::Map(Box::new(Self::read(ty, depth)?))),
                ([_, Json::Array(types)], Some("tuple")) => types
                    .iter()
                    .map(|ty| Self::read(ty, depth))
                    .collect::<Result<_, _>>()
                    .map(Type::Tuple),
                (
                    [_, Json::Object(types)] | [_, Json::Object(types), Json::Array(_)],
                    Some("object"),
                ) => types
                    .iter()
                    .map(|(name, ty)| Ok((name.clone(), Self::read(ty, depth)?)))
                    .collect::<Result<_, _>>()
                    .map(Type::Object),
                _ => Err(invalid()),
            },
            _ => Err(invalid()),
        }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every kind of type is written as the hosts read it, and read back.
    #[test]
    fn json() {
        let cases = [
            (Type::String, json!("string")),
            (Type::Number, json!("number")),
            (Type::Bool, json!("bool")),
            (Type::Dynamic, json!("dynamic")),
            (
                Type::List(Box::new(Type::String)),
                json!(["list", "string"]),
            ),
            (Type::Set(Box::new(Type::Bool)), json!(["set", "bool"])),
            (
                Type::Map(Box::new(Type::List(Box::new(Type::Number)))),
                json!(["map", ["list", "number"]]),
            ),
            (
                Type::Tuple(vec![Type::String, Type::Dynamic]),
                json!(["tuple", ["string", "dynamic"]]),
            ),
            (
                Type::Object(BTreeMap::from([("a".to_owned(), Type::Bool)])),
                json!(["object", {"a": "bool"}]),
            ),
        ];
        for (ty, json) in cases {
            assert_eq!(ty.to_json(), json);
            assert_eq!(Type::from_json(&json), Ok(ty));
        }
        assert_eq!(
            Type::from_json(&json!(["object", {"a": "bool"}, ["a"]])),
            Ok(Type::Object(BTreeMap::from([("a".to_owned(), Type::Bool)])))
        );
    }

    /// What is no type is an error, also when it is absurdly deep.
    #[test]
    fn refusals() {
        for json in [
            json!(null),
            json!("text"),
            json!([]),
            json!(["list"]),
            json!(["list", "string", "string"]),
            json!(["tuple", "string"]),
            json!(["object", []]),
            json!(["object", {"a": 1}]),
            json!([["list"], "string"]),
        ] {
            assert!(Type::from_json(&json).is_err(), "{json}");
        }
        let mut json = json!("string");
        for _ in 0..100 {
            json = json!(["list", json]);
        }
        assert_eq!(
            Type::from_json(&json),
            Err(Error::new("type is nested too deeply"))
        );
    }
}
