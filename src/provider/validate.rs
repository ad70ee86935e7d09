//! Checks of single arguments; each error is the end of a sentence that begins
//! with the argument's name.

use std::ops::RangeInclusive;

use crate::{
    cty::{Number, Value},
    image, registry,
};

/// How many uploads at once are sensible.
pub(crate) const UPLOADS: RangeInclusive<i64> = 1..=64;

/// An OCID, of whatever kind.
pub(crate) fn ocid(value: &Value) -> Result<(), String> {
    let text = text(value);
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_'));
    // Old tenancies have OCIDs of the form before, "ocidv1:tenancy:oc1:phx:…".
    let known = text.starts_with("ocid1.") || text.starts_with("ocidv1:");
    if known && plain {
        return Ok(());
    }
    Err(format!(
        "must be an OCID, which begins with \"ocid1.\"; \"{text}\" is none"
    ))
}

/// The OCID of a compartment, or of the tenancy, which is the root one. Another
/// kind is a slip that the service answers as it answers a missing right.
pub(crate) fn compartment(value: &Value) -> Result<(), String> {
    ocid(value)?;
    let text = text(value);
    match text.split(['.', ':']).nth(1) {
        Some("compartment" | "tenancy") => Ok(()),
        _ => Err(format!(
            "must be the OCID of a compartment or of the tenancy; \"{text}\" is one of something else"
        )),
    }
}

/// The name of a repository, without namespace.
pub(crate) fn repository_name(value: &Value) -> Result<(), String> {
    registry::validate_repository(text(value))
}

/// What may be a region. Which regions there are, files and the environment say
/// too, so that is found out when one is needed.
pub(crate) fn region(value: &Value) -> Result<(), String> {
    let text = text(value).trim();
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    // Empty is unset, as for all arguments that choose a credential.
    if plain {
        return Ok(());
    }
    Err(format!(
        "must be a region's identifier, such as \"sa-saopaulo-1\", or its key, such as \"gru\"; \"{text}\" is neither"
    ))
}

/// A way to sign in, as Oracle's provider or its CLI calls it.
pub(crate) fn auth(value: &Value) -> Result<(), String> {
    let text = text(value);
    if text.is_empty() || WAYS.iter().any(|(way, _)| *way == self::way(text)) {
        return Ok(());
    }
    let names: Vec<&str> = WAYS.iter().filter_map(|(_, name)| *name).collect();
    one_of(value, &names)
}

/// A way to sign in as it is compared: without case, and without the underscores
/// of the CLI's names.
pub(crate) fn way(text: &str) -> String {
    text.trim().replace('_', "").to_ascii_lowercase()
}

/// The [`way`] that a token exchange is.
pub(crate) const FEDERATION: &str = "workloadidentityfederation";

/// Each way, and its name where it is not the CLI's alone.
const WAYS: &[(&str, Option<&str>)] = &[
    ("apikey", Some("ApiKey")),
    ("securitytoken", Some("SecurityToken")),
    ("instanceprincipal", Some("InstancePrincipal")),
    ("resourceprincipal", Some("ResourcePrincipal")),
    ("okeworkloadidentity", Some("OKEWorkloadIdentity")),
    (FEDERATION, Some("WorkloadIdentityFederation")),
    ("cloudshell", Some("CloudShell")),
    ("instanceobouser", None),
];

/// Who asks for a token exchange.
pub(crate) fn token_exchange_auth(value: &Value) -> Result<(), String> {
    let known = ["OAuthClientCredentials", "InstancePrincipal"];
    let text = text(value);
    if text.is_empty() || known.iter().any(|known| known.eq_ignore_ascii_case(text)) {
        return Ok(());
    }
    one_of(value, &known)
}

/// For how many seconds a request is sent again.
pub(crate) fn retry_duration(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) => match number.to_i64() {
            Some(number) => seconds(number).map(drop),
            None => Err("must be a whole number of seconds".into()),
        },
        _ => Ok(()),
    }
}

/// Seconds, none or more.
pub(crate) fn seconds(number: i64) -> Result<u64, String> {
    u64::try_from(number).map_err(|_| {
        format!(
            "must be 0 or more; {number}, with which Oracle's provider tries for ever, is not supported, and the longest is a day (86400)"
        )
    })
}

/// An address, of which the scheme may be left out; empty is unset.
pub(crate) fn address(value: &Value) -> Result<(), String> {
    match text(value).trim() {
        "" => Ok(()),
        text if text.contains("://") => is_address(text),
        text => is_address(&format!("https://{text}")),
    }
}

/// A base address.
pub(crate) fn endpoint(value: &Value) -> Result<(), String> {
    let text = text(value);
    is_address(&text.replace("{service}", "s").replace("{region}", "r"))
}

fn is_address(text: &str) -> Result<(), String> {
    match url::Url::parse(text) {
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
    // With the same eyes as whoever connects to it.
    if image::validate_host(text).is_err() {
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

/// Keys of defined tags that others manage.
pub(crate) fn ignored_tags(value: &Value) -> Result<(), String> {
    let Value::Seq(keys) = value else {
        return Ok(());
    };
    // One that is not known yet is looked at when it is.
    tag_keys(keys.iter().filter_map(|key| match key {
        Value::String(key) => Some(key.as_str()),
        _ => None,
    }))
}

/// At most a hundred keys of defined tags, as Oracle's provider takes them.
pub(crate) fn tag_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut count = 0;
    for key in keys {
        count += 1;
        if !is_tag_key(key.trim()) {
            return Err(format!(
                "must have keys of the form \"Namespace.Key\"; \"{key}\" is none"
            ));
        }
    }
    match count > MOST_IGNORED {
        true => Err(format!(
            "must have at most {MOST_IGNORED} keys, not {count}"
        )),
        false => Ok(()),
    }
}

const MOST_IGNORED: usize = 100;

fn is_tag_key(key: &str) -> bool {
    key.split_once('.')
        .is_some_and(|(namespace, key)| !namespace.is_empty() && !key.is_empty())
}

/// After how many days something is replaced.
pub(crate) fn days(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.to_i64().is_some_and(|days| days < 1) => {
            Err("must be a whole number of days, 1 or more".into())
        }
        // That a number is whole, its type asks for.
        _ => Ok(()),
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

/// Tags, each of which may be unknown.
pub(crate) fn tags(value: &Value) -> Result<(), String> {
    each(value, "tags", &|text| {
        registry::validate_tag(text).map_err(|problem| format!("\"{text}\" {problem}"))
    })
}

/// Platforms.
pub(crate) fn platforms(value: &Value) -> Result<(), String> {
    each(
        value,
        "platforms",
        &|text| match text.parse::<image::Platform>() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
    )
}

/// Media types of what is pushed.
pub(crate) fn format(value: &Value) -> Result<(), String> {
    one_of(value, &["source", "oci", "docker"])
}

/// What becomes of layers that come uncompressed.
pub(crate) fn compression(value: &Value) -> Result<(), String> {
    one_of(value, &["gzip", "zstd", "none"])
}

/// What becomes of a tag that points to another image.
pub(crate) fn if_exists(value: &Value) -> Result<(), String> {
    one_of(value, &["overwrite", "error", "adopt"])
}

/// Checks the known texts of a collection.
fn each(
    value: &Value,
    what: &str,
    check: &dyn Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let Value::Seq(elements) = value else {
        return Ok(());
    };
    let texts = elements.iter().filter_map(|element| match element {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    });
    for text in texts {
        check(text).map_err(|problem| format!("must hold {what}: {problem}"))?;
    }
    Ok(())
}

/// Keys of defined tags: `Namespace.Key`.
pub(crate) fn defined_tags(value: &Value) -> Result<(), String> {
    let Value::Map(tags) = value else {
        return Ok(());
    };
    let mut seen = std::collections::BTreeSet::new();
    for key in tags.keys() {
        if !is_tag_key(key) {
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

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&Value) -> Result<(), String>;

    /// Every rule for a text, or for a list of texts.
    const RULES: &[Rule] = &[
        ocid,
        compartment,
        repository_name,
        region,
        auth,
        token_exchange_auth,
        address,
        endpoint,
        namespace,
        tag,
        host,
        readme_format,
        on_destroy,
        format,
        compression,
        if_exists,
        ignored_tags,
        tags,
        platforms,
    ];

    proptest::proptest! {
        /// Whatever text an argument is, each rule takes it or says what it must be; what is
        /// taken as an address is one.
        #[test]
        fn any_argument(argument in crate::spoilt::text(&[
            "ocid1.compartment.oc1..a", "team/web", "sa-saopaulo-1", "http://127.0.0.1:8080/{region}", "idcs.example.com",
            "gru.ocir.io:443", "linux/arm64/v8", "ftp://example.com", "Oracle-Tags.CreatedBy", "v1.0", "TEXT_MARKDOWN", "[::1]:5000",
        ])) {
            let text = Value::String(argument.clone());
            let list = Value::Seq(vec![text.clone(), text.clone()]);
            for rule in RULES {
                for value in [&text, &list] {
                    if let Err(problem) = rule(value) {
                        proptest::prop_assert!(problem.starts_with("must "), "{}", problem);
                        proptest::prop_assert!(problem.len() < 4 * argument.len() + 1000, "{}", problem);
                    }
                }
            }
            if is_address(&argument).is_ok() {
                let url = url::Url::parse(&argument);
                let is_web = |url: url::Url| url.has_host() && ["http", "https"].contains(&url.scheme());
                proptest::prop_assert!(url.is_ok_and(is_web));
            }
            let key = std::collections::BTreeMap::from([(argument.clone(), text.clone())]);
            if defined_tags(&Value::Map(key)).is_ok() {
                proptest::prop_assert!(argument.contains('.'));
            }
        }
    }
}
