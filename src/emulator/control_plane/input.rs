//! JSON bodies, read strictly: every member is known, and of its type.

use serde_json::{Map, Value};

use http::StatusCode;

use super::{
    super::{
        refusal::Refusal,
        state::{DefinedTags, FreeformTags, Readme},
    },
    missing,
};

/// The members of a body that nobody has asked for yet.
pub(super) struct Members {
    members: Map<String, Value>,
}

impl Members {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let cannot =
            |message: String| Refusal::new(StatusCode::BAD_REQUEST, "CannotParseRequest", message);
        match serde_json::from_slice(body) {
            Ok(Value::Object(mut members)) => {
                // For the service, null is absent.
                members.retain(|_, value| !value.is_null());
                Ok(Self { members })
            }
            Ok(_) => Err(cannot("The request's body must be a JSON object".into())),
            Err(error) => Err(cannot(format!("Incorrectly formatted request: {error}"))),
        }
    }

    pub(super) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.string(name)?.ok_or_else(|| missing(name))
    }

    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::invalid(format!("{name} must be a string"))),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.members.remove(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Refusal::invalid(format!("{name} must be true or false"))),
        }
    }

    pub(super) fn readme(&mut self) -> Result<Option<Readme>, Refusal> {
        let Some(value) = self.members.remove("readme") else {
            return Ok(None);
        };
        let Value::Object(members) = value else {
            return Err(Refusal::invalid("readme must be an object"));
        };
        let mut inner = Self { members };
        let readme = Readme {
            content: inner.required("content")?,
            format: inner.required("format")?,
        };
        inner.finish()?;
        if !matches!(readme.format.as_str(), "TEXT_MARKDOWN" | "TEXT_PLAIN") {
            return Err(Refusal::invalid(format!(
                "Unknown readme format: {}",
                readme.format
            )));
        }
        Ok(Some(readme))
    }

    pub(super) fn freeform_tags(&mut self) -> Result<Option<FreeformTags>, Refusal> {
        let Some(value) = self.members.remove("freeformTags") else {
            return Ok(None);
        };
        let tags: FreeformTags = serde_json::from_value(value)
            .map_err(|_| Refusal::invalid("freeformTags must be a map of strings"))?;
        if tags.len() > 10 {
            return Err(Refusal::invalid("More than 10 freeform tags"));
        }
        for (key, value) in &tags {
            check_tag_key(key)?;
            check_tag_value(value)?;
        }
        Ok(Some(tags))
    }

    pub(super) fn defined_tags(&mut self) -> Result<Option<DefinedTags>, Refusal> {
        let Some(value) = self.members.remove("definedTags") else {
            return Ok(None);
        };
        let tags: DefinedTags = serde_json::from_value(value)
            .map_err(|_| Refusal::invalid("definedTags must be a map of maps"))?;
        if tags
            .values()
            .map(std::collections::BTreeMap::len)
            .sum::<usize>()
            > 64
        {
            return Err(Refusal::invalid("More than 64 defined tags"));
        }
        for (namespace, keys) in &tags {
            check_tag_key(namespace)?;
            for (key, value) in keys {
                check_tag_key(key)?;
                match value {
                    Value::String(text) => check_tag_value(text)?,
                    Value::Bool(_) | Value::Number(_) => {}
                    _ => {
                        return Err(Refusal::invalid(format!(
                            "Defined tag {namespace}.{key} must be a scalar"
                        )));
                    }
                }
            }
        }
        Ok(Some(tags))
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::invalid(format!("Unknown member: {name}"))),
        }
    }
}

fn check_tag_key(key: &str) -> Result<(), Refusal> {
    let known = !key.is_empty()
        && key.len() <= 100
        && key
            .chars()
            .all(|character| !character.is_control() && character != ' ' && character != '.');
    if known {
        Ok(())
    } else {
        Err(Refusal::invalid(format!("Invalid tag key: '{key}'")))
    }
}

fn check_tag_value(value: &str) -> Result<(), Refusal> {
    if value.chars().count() <= 256 {
        Ok(())
    } else {
        Err(Refusal::invalid(
            "A tag value is longer than 256 characters",
        ))
    }
}
