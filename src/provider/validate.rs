//! Checks of single arguments; each error is the end of a sentence that begins
//! with the argument's name.

use std::ops::RangeInclusive;

use crate::{
    cty::{Number, Value},
    region::Region,
    registry,
};

/// How many uploads at once are sensible.
pub(crate) const UPLOADS: RangeInclusive<i64> = 1..=64;

/// An OCID. Which kind is left to the service: OCIDs are opaque.
pub(crate) fn ocid(value: &Value) -> Result<(), String> {
    let text = text(value);
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if text.starts_with("ocid1.") && plain {
        return Ok(());
    }
    Err(format!(
        "must be an OCID, which begins with \"ocid1.\"; \"{text}\" is none"
    ))
}

/// The name of a repository, without namespace.
pub(crate) fn repository_name(value: &Value) -> Result<(), String> {
    registry::validate_repository(text(value))
}

/// A region of the table.
pub(crate) fn region(value: &Value) -> Result<(), String> {
    match Region::parse(text(value)) {
        // Empty is unset, as for all arguments that choose a credential.
        Err(error) if !text(value).is_empty() => Err(format!("names an {error}")),
        _ => Ok(()),
    }
}

/// A base address.
pub(crate) fn endpoint(value: &Value) -> Result<(), String> {
    let text = text(value);
    let filled = text.replace("{service}", "s").replace("{region}", "r");
    match url::Url::parse(&filled) {
        Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => Ok(()),
        // The text is not repeated: an address may hold a password.
        _ => Err("must be an address that begins with \"https://\" or \"http://\"".into()),
    }
}

/// A namespace: the first part of a repository's path.
pub(crate) fn namespace(value: &Value) -> Result<(), String> {
    if text(value).contains('/') {
        return Err("must be one part of a path, without a slash".into());
    }
    registry::validate_repository(text(value))
}

/// A tag.
pub(crate) fn tag(value: &Value) -> Result<(), String> {
    registry::validate_tag(text(value))
}

/// A registry's host, with an optional port.
pub(crate) fn host(value: &Value) -> Result<(), String> {
    let text = text(value);
    if text.contains("://")
        || text.contains('/')
        || text.contains('@')
        || text.is_empty()
        || text.contains(char::is_whitespace)
    {
        return Err(format!(
            "must be a host with an optional port, such as \"gru.ocir.io\" or \"localhost:5000\", without a scheme or a path; \"{text}\" is none"
        ));
    }
    Ok(())
}

/// Uploads at once.
pub(crate) fn uploads(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(Number::Int(uploads)) if UPLOADS.contains(uploads) => Ok(()),
        _ => Err("must be a whole number from 1 to 64".into()),
    }
}

/// Format of a readme.
pub(crate) fn readme_format(value: &Value) -> Result<(), String> {
    one_of(value, &["TEXT_MARKDOWN", "TEXT_PLAIN"])
}

/// What becomes of a tag that is given up.
pub(crate) fn on_destroy(value: &Value) -> Result<(), String> {
    one_of(value, &["keep", "untag", "delete"])
}

/// Keys of defined tags: `Namespace.Key`.
pub(crate) fn defined_tags(value: &Value) -> Result<(), String> {
    let Value::Map(tags) = value else {
        return Ok(());
    };
    let mut seen = std::collections::BTreeSet::new();
    for key in tags.keys() {
        if key
            .split_once('.')
            .is_none_or(|(namespace, key)| namespace.is_empty() || key.is_empty())
        {
            return Err(format!(
                "must have keys of the form \"Namespace.Key\"; \"{key}\" is none"
            ));
        }
        if !seen.insert(key.to_lowercase()) {
            return Err(format!(
                "must name each key once, and case does not count; \"{key}\" is named twice"
            ));
        }
    }
    Ok(())
}

fn one_of(value: &Value, allowed: &[&str]) -> Result<(), String> {
    let text = text(value);
    if allowed.contains(&text) {
        return Ok(());
    }
    Err(format!(
        "must be one of {}; \"{text}\" is none of them",
        quoted(allowed)
    ))
}

fn quoted(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The text of a value; validators of text are called with text only.
fn text(value: &Value) -> &str {
    match value {
        Value::String(text) => text,
        _ => "",
    }
}
