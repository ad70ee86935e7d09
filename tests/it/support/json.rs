//! Values of stories: plain JSON, by the types of a schema.

use ocir::cty::{Type, Value, value_from_json, value_to_json};
use serde_json::{Map, Value as Json};

/// How an unknown value reads and is written in a story.
pub const UNKNOWN: &str = "(known after apply)";

/// A value of type `ty`; what is missing is null. The error says where.
pub fn from_json(json: &Json, ty: &Type) -> Result<Value, String> {
    if json.is_null() {
        return Ok(Value::Null);
    }
    if json == UNKNOWN {
        return Ok(Value::UNKNOWN);
    }
    let element = |at: String, json: &Json, ty: &Type| {
        from_json(json, ty).map_err(|error| format!("{at}{error}"))
    };
    match (ty, json) {
        (Type::List(inner) | Type::Set(inner), Json::Array(elements)) => {
            let elements = elements.iter().enumerate();
            let elements = elements.map(|(index, json)| element(format!("[{index}]"), json, inner));
            let elements = elements.collect::<Result<_, _>>()?;
            Ok(match ty {
                Type::Set(_) => Value::set(elements),
                _ => Value::Seq(elements),
            })
        }
        (Type::Map(ty), Json::Object(elements)) => {
            let elements = elements.iter();
            let elements = elements
                .map(|(key, json)| Ok((key.clone(), element(format!("[{key:?}]"), json, ty)?)));
            elements.collect::<Result<_, _>>().map(Value::Map)
        }
        (Type::Object(types), Json::Object(members)) => {
            if let Some(name) = members.keys().find(|name| !types.contains_key(*name)) {
                return Err(format!(".{name}: is not an argument"));
            }
            let members = types.iter().map(|(name, ty)| {
                let json = members.get(name).unwrap_or(&Json::Null);
                Ok((name.clone(), element(format!(".{name}"), json, ty)?))
            });
            members.collect::<Result<_, _>>().map(Value::Map)
        }
        _ => value_from_json(json, ty).map_err(|error| format!(": {error}")),
    }
}

/// The value as a story reads it.
pub fn to_json(value: &Value, ty: &Type) -> Json {
    match (ty, value) {
        (_, Value::Unknown(_)) => UNKNOWN.into(),
        (Type::List(ty) | Type::Set(ty), Value::Seq(elements)) => {
            elements.iter().map(|value| to_json(value, ty)).collect()
        }
        (Type::Map(ty), Value::Map(elements)) => elements
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value, ty)))
            .collect::<Map<_, _>>()
            .into(),
        (Type::Object(types), Value::Map(members)) => types
            .iter()
            .map(|(name, ty)| {
                let value = members.get(name).unwrap_or(&Value::Null);
                (name.clone(), to_json(value, ty))
            })
            .collect::<Map<_, _>>()
            .into(),
        _ => value_to_json(value, ty),
    }
}
