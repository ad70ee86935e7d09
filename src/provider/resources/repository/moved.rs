//! From `oci_artifacts_container_repository` of Oracle's provider: its state
//! becomes ours, without an import and without a change.
//!
//! That provider keeps counters as text and the readme as a list of one, and has
//! all tags, `Oracle-Tags` included. What is not an argument comes from the
//! service at the refresh that follows.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Readme, State};
use crate::framework::{Attr, Diagnostic, Result, SourceState};

/// The state for a repository that Oracle's provider managed; `None` for
/// anything else.
pub(super) fn from(source: &SourceState) -> Option<Result<State>> {
    let is_theirs = source.is_of(&["oracle/oci", "hashicorp/oci"])
        && source.type_name == "oci_artifacts_container_repository";
    is_theirs.then(|| convert(source))
}

fn convert(source: &SourceState) -> Result<State> {
    let json = &source.json;
    let text = |name: &str| Attr::from(json[name].as_str().map(str::to_owned));
    let id = text("id");
    if !id.as_str().is_some_and(|id| id.starts_with("ocid1.")) {
        return Err(Diagnostic::error(
            "Cannot move state",
            format!(
                "The state of this {} (version {} of its schema) has no \"id\" that is an OCID, so the repository cannot be \
                 recognised. Remove it from the state with a \"removed\" block, and import the repository under its new name.",
                source.type_name, source.schema_version
            ),
        )
        .into());
    }
    Ok(State {
        id,
        compartment_id: text("compartment_id"),
        display_name: text("display_name"),
        is_public: flag(&json["is_public"]),
        is_immutable: flag(&json["is_immutable"]),
        freeform_tags: tags(&json["freeform_tags"], |_| true),
        defined_tags: tags(&json["defined_tags"], |key| {
            !key.to_lowercase().starts_with("oracle-tags.")
        }),
        readme: readme(&json["readme"]),
        namespace: text("namespace"),
        state: text("state"),
        created_by: text("created_by"),
        time_created: text("time_created").map(|time| rfc3339(&time)),
        // Of these that provider has nothing.
        repository_url: Attr::Null,
        force_delete: Attr::Known(false),
        adopt_existing: Attr::Known(false),
        timeouts: Attr::Null,
    })
}

/// Absent is what the service makes of it: false.
fn flag(json: &Json) -> Attr<bool> {
    Attr::Known(json.as_bool().unwrap_or(json.as_str() == Some("true")))
}

/// There every map of tags is filled in; none and an empty one look the same.
fn tags(json: &Json, is_ours: impl Fn(&str) -> bool) -> Attr<BTreeMap<String, String>> {
    let tags = json.as_object().into_iter().flatten();
    let tags: BTreeMap<String, String> = tags
        .filter(|(key, _)| is_ours(key))
        .map(|(key, value)| {
            let text = value.as_str().map(str::to_owned);
            (key.clone(), text.unwrap_or_else(|| value.to_string()))
        })
        .collect();
    match tags.is_empty() {
        true => Attr::Null,
        false => Attr::Known(tags),
    }
}

fn readme(json: &Json) -> Attr<Readme> {
    let readme = json.get(0).unwrap_or(json);
    let content = readme["content"].as_str().unwrap_or_default();
    if content.is_empty() {
        return Attr::Null;
    }
    let format = readme["format"].as_str().unwrap_or("TEXT_MARKDOWN");
    Attr::Known(Readme {
        content: content.into(),
        format: format.into(),
    })
}

/// A time as Go prints it, `2026-01-02 03:04:05.678 +0000 UTC`, as the service does.
fn rfc3339(time: &str) -> String {
    let utc = time.strip_suffix(" +0000 UTC");
    utc.map_or(time.to_owned(), |utc| {
        format!("{}Z", utc.replacen(' ', "T", 1))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(provider_address: &str, type_name: &str, json: Json) -> SourceState {
        SourceState {
            provider_address: provider_address.to_owned(),
            type_name: type_name.to_owned(),
            schema_version: 0,
            json,
        }
    }

    /// Only repositories, and only those of Oracle's provider.
    #[test]
    fn nothing_else_is_taken() {
        let state = json!({ "id": "ocid1.containerrepo.oc1..a" });
        for (address, kind, expected) in [
            (
                "registry.terraform.io/oracle/oci",
                "oci_artifacts_container_repository",
                true,
            ),
            (
                "registry.opentofu.org/hashicorp/oci",
                "oci_artifacts_container_repository",
                true,
            ),
            (
                "registry.terraform.io/acme/oci",
                "oci_artifacts_container_repository",
                false,
            ),
            (
                "registry.terraform.io/oracle/oci",
                "oci_identity_auth_token",
                false,
            ),
        ] {
            let taken = from(&source(address, kind, state.clone()));
            assert_eq!(taken.is_some(), expected, "{address} {kind}");
        }
    }

    /// Whatever is missing or odd is left to the refresh; only the OCID must be there.
    #[test]
    fn odd_states() -> anyhow::Result<()> {
        let convert = |json| {
            convert(&source(
                "oracle/oci",
                "oci_artifacts_container_repository",
                json,
            ))
        };
        let bare = convert(
            json!({ "id": "ocid1.containerrepo.oc1..a", "readme": null, "is_public": "true" }),
        );
        let bare = bare.map_err(|problem| anyhow::anyhow!("{problem:?}"))?;
        assert_eq!(bare.is_public, Attr::Known(true));
        assert_eq!(bare.is_immutable, Attr::Known(false));
        assert_eq!(bare.readme, Attr::Null);
        assert_eq!(bare.freeform_tags, Attr::Null);
        assert_eq!(rfc3339("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05Z");
        for json in [
            json!(null),
            json!([]),
            json!({ "id": 5 }),
            json!({ "id": "" }),
        ] {
            assert!(convert(json).is_err());
        }
        Ok(())
    }

    proptest::proptest! {
        /// Whatever stands in a state of Oracle's provider: a repository that can be found again,
        /// with none of Oracle's own tags, or an error.
        #[test]
        fn any_state(
            json in crate::spoilt::json([json!({
                "id": "ocid1.containerrepo.oc1..a", "compartment_id": "ocid1.compartment.oc1..a", "display_name": "web",
                "is_public": "true", "is_immutable": false, "freeform_tags": {"a": "b"},
                "defined_tags": {"Oracle-Tags.CreatedBy": "x", "team.cost": "1"},
                "readme": [{"content": "# web", "format": "TEXT_PLAIN"}], "time_created": "2026-01-02 03:04:05 +0000 UTC",
            })]),
            time in crate::spoilt::text(&["2026-01-02 03:04:05.678 +0000 UTC", " +0000 UTC"]),
        ) {
            let source = source("oracle/oci", "oci_artifacts_container_repository", json);
            match convert(&source) {
                Ok(state) => {
                    let is_named = state.id.as_str().is_some_and(|id| id.starts_with("ocid1."));
                    proptest::prop_assert!(is_named);
                    if let Attr::Known(tags) = &state.defined_tags {
                        let is_ours = |key: &String| !key.to_lowercase().starts_with("oracle-tags.");
                        proptest::prop_assert!(!tags.is_empty() && tags.keys().all(is_ours));
                    }
                }
                Err(problem) => {
                    let has_id = source.json["id"].as_str().is_some_and(|id| id.starts_with("ocid1."));
                    proptest::prop_assert!(!has_id, "{:?}", problem);
                }
            }
            proptest::prop_assert!(rfc3339(&time).len() <= time.len());
        }
    }
}
