//! Defined tags: nested at the service, flat in the configuration, and not all of
//! them are ours.
//!
//! `Oracle-Tags` is Oracle's, tag defaults of the compartment add others to what
//! we create, and `ignore_defined_tags` names those that somebody else manages.
//! What a configuration sets itself is ours, whoever else would claim it; which
//! keys those are is remembered beside the state, because a refresh does not see
//! the configuration.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    framework::{Attr, Private},
    oci,
};

/// Tags as the configuration writes them.
pub(super) type Tags = BTreeMap<String, String>;

/// Which tags are not ours.
pub(super) struct Others<'a> {
    ignored: &'a BTreeSet<String>,
    added: BTreeSet<String>,
    configured: BTreeSet<String>,
}

impl<'a> Others<'a> {
    /// As the last apply left it.
    pub(super) fn remembered(ignored: &'a BTreeSet<String>, private: &Private) -> Self {
        Self {
            ignored,
            added: keys(private, ADDED),
            configured: keys(private, CONFIGURED),
        }
    }

    /// When this is what the configuration sets.
    pub(super) fn beside(self, configured: &Attr<Tags>) -> Self {
        Self {
            configured: folded(configured),
            ..self
        }
    }

    fn manage(&self, folded: &str) -> bool {
        !self.configured.contains(folded)
            && (is_oracles(folded) || self.ignored.contains(folded) || self.added.contains(folded))
    }

    /// The service's tags as the configuration writes them, with the spelling of
    /// the keys that is known, without those that are not ours.
    pub(super) fn leave(&self, tags: &oci::DefinedTags, known: &Attr<Tags>) -> Tags {
        let known = known.known().into_iter().flatten();
        let spelling: BTreeMap<String, &String> =
            known.map(|(key, _)| (key.to_lowercase(), key)).collect();
        let mut flat = Tags::new();
        for (key, value) in flattened(tags) {
            let folded = key.to_lowercase();
            if self.manage(&folded) {
                continue;
            }
            let value = match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            flat.insert(
                spelling
                    .get(&folded)
                    .map_or(key, |spelled| (*spelled).clone()),
                value,
            );
        }
        flat
    }

    /// What to send so that `ours` is there, and what others manage stays: the
    /// member replaces all tags.
    pub(super) fn with(&self, current: &oci::DefinedTags, ours: &Tags) -> oci::DefinedTags {
        let mut all = oci::DefinedTags::new();
        for (namespace, keys) in current {
            for (key, value) in keys {
                if self.manage(&format!("{namespace}.{key}").to_lowercase()) {
                    all.entry(namespace.clone())
                        .or_default()
                        .insert(key.clone(), value.clone());
                }
            }
        }
        for (key, value) in ours {
            insert(&mut all, key, value);
        }
        all
    }
}

/// Remembers which tags a repository has, at the moment when we got it, that
/// nobody asked for. They are left alone from then on.
pub(super) fn remember_added(
    private: &mut Private,
    tags: &oci::DefinedTags,
    configured: &Attr<Tags>,
) {
    let asked = folded(configured);
    let added: Vec<String> = flattened(tags)
        .map(|(key, _)| key.to_lowercase())
        .filter(|key| !asked.contains(key) && !is_oracles(key))
        .collect();
    remember(private, ADDED, added);
}

/// Remembers which tags the configuration sets, also that it sets none: from then on
/// what else there is came from somebody else.
pub(super) fn remember_configured(private: &mut Private, configured: &Attr<Tags>) {
    private.set(CONFIGURED, joined(folded(configured)));
}

/// The keys that a plan removes from a repository that an import or a move brought
/// here, and that no configuration has been applied to. Whether they were written by a
/// tag default or by the one who made the repository, nobody can tell.
pub(super) fn unexplained(
    private: &Private,
    prior: &Attr<Tags>,
    planned: &Attr<Tags>,
) -> Vec<String> {
    if private.get(CONFIGURED).is_some() || planned.is_unknown() {
        return Vec::new();
    }
    let kept = folded(planned);
    let prior = prior.known().into_iter().flatten();
    prior
        .map(|(key, _)| key.clone())
        .filter(|key| !kept.contains(&key.to_lowercase()))
        .collect()
}

/// The tags of the configuration as the service wants them.
pub(super) fn nested(tags: &Tags) -> oci::DefinedTags {
    let mut nested = oci::DefinedTags::new();
    for (key, value) in tags {
        insert(&mut nested, key, value);
    }
    nested
}

/// Whether two sets of tags differ in the spelling of their keys at most.
pub(super) fn same_but_for_case(one: &Tags, other: &Tags) -> bool {
    let folded = |tags: &Tags| -> Tags {
        let tags = tags.iter();
        tags.map(|(key, value)| (key.to_lowercase(), value.clone()))
            .collect()
    };
    folded(one) == folded(other)
}

/// No tags is null, or an empty map where that is what was there before.
pub(super) fn as_configured(tags: Tags, known: &Attr<Tags>) -> Attr<Tags> {
    let is_empty = tags.is_empty() && !known.known().is_some_and(BTreeMap::is_empty);
    if is_empty {
        Attr::Null
    } else {
        Attr::Known(tags)
    }
}

/// The new tags, when they change. To the service null and an empty map are the same.
pub(super) fn changed(prior: &Attr<Tags>, planned: &Attr<Tags>) -> Option<Tags> {
    let planned = planned.clone().known_or_default();
    (prior.clone().known_or_default() != planned).then_some(planned)
}

/// Puts a tag in its namespace, which is there once, however it is spelled.
fn insert(nested: &mut oci::DefinedTags, key: &str, value: &str) {
    let Some((namespace, key)) = key.split_once('.') else {
        return;
    };
    let there = nested
        .keys()
        .find(|there| there.eq_ignore_ascii_case(namespace));
    let namespace = there.map_or(namespace, String::as_str).to_owned();
    nested
        .entry(namespace)
        .or_default()
        .insert(key.to_owned(), value.into());
}

fn remember(private: &mut Private, name: &str, keys: impl IntoIterator<Item = String>) {
    let keys = joined(keys);
    match keys.is_empty() {
        true => private.remove(name),
        false => private.set(name, keys),
    }
}

fn joined(keys: impl IntoIterator<Item = String>) -> String {
    let keys: Vec<String> = keys.into_iter().collect();
    keys.join("\n")
}

fn keys(private: &Private, name: &str) -> BTreeSet<String> {
    let text = private
        .get(name)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn folded(tags: &Attr<Tags>) -> BTreeSet<String> {
    let tags = tags.known().into_iter().flatten();
    tags.map(|(key, _)| key.to_lowercase()).collect()
}

fn flattened(tags: &oci::DefinedTags) -> impl Iterator<Item = (String, &serde_json::Value)> {
    tags.iter().flat_map(|(namespace, keys)| {
        keys.iter()
            .map(move |(key, value)| (format!("{namespace}.{key}"), value))
    })
}

fn is_oracles(key: &str) -> bool {
    key.get(..ORACLES.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(ORACLES))
}

/// The namespace that Oracle reserves for itself.
const ORACLES: &str = "oracle-tags.";
/// Where keys are remembered.
const ADDED: &str = "added_defined_tags";
const CONFIGURED: &str = "configured_defined_tags";

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn set(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    /// A key keeps the spelling that is known, whatever the service's is.
    #[test]
    fn case_of_a_tag_key_is_the_configurations() {
        let (ignored, private) = (BTreeSet::new(), Private::default());
        let service = nested(&tags(&[("Operations.CostCenter", "42")]));
        let known = Attr::Known(tags(&[("operations.costcenter", "42")]));
        let others = Others::remembered(&ignored, &private);
        assert_eq!(
            others.leave(&service, &known),
            tags(&[("operations.costcenter", "42")])
        );
        assert!(same_but_for_case(
            &tags(&[("A.b", "1")]),
            &tags(&[("a.B", "1")])
        ));
        assert!(!same_but_for_case(
            &tags(&[("A.b", "1")]),
            &tags(&[("a.B", "2")])
        ));
    }

    /// What Oracle adds, what a tag default added and what is ignored is neither
    /// shown nor removed, unless the configuration sets it.
    #[test]
    fn tags_of_others() {
        let service = nested(&tags(&[
            ("Oracle-Tags.CreatedBy", "ana"),
            ("Ops.Added", "by default"),
            ("Ops.Ignored", "by a robot"),
            ("Ops.Owner", "platform"),
        ]));
        let (ignored, mut private) = (set(&["ops.ignored"]), Private::default());
        let added = nested(&tags(&[("Ops.Added", ""), ("Ops.Owner", "")]));
        remember_added(
            &mut private,
            &added,
            &Attr::Known(tags(&[("ops.owner", "")])),
        );

        let others = Others::remembered(&ignored, &private);
        let left = others.leave(&service, &Attr::Null);
        assert_eq!(left, tags(&[("Ops.Owner", "platform")]));
        let sent = others.with(&service, &Tags::new());
        let kept: Vec<_> = flattened(&sent).map(|(key, _)| key).collect();
        assert_eq!(kept, ["Ops.Added", "Ops.Ignored", "Oracle-Tags.CreatedBy"]);

        let own = Attr::Known(tags(&[("ops.ignored", "by us"), ("ops.added", "by us")]));
        remember_configured(&mut private, &own);
        let others = Others::remembered(&ignored, &private);
        let left: Vec<_> = others.leave(&service, &own).into_keys().collect();
        assert_eq!(left, ["Ops.Owner", "ops.added", "ops.ignored"]);

        let others = others.beside(&Attr::Null);
        let left: Vec<_> = others.leave(&service, &own).into_keys().collect();
        assert_eq!(left, ["Ops.Owner"], "given up, they are the others' again");
    }

    /// A namespace is sent once, though it is spelled in two ways.
    #[test]
    fn one_namespace() {
        let ignored = BTreeSet::new();
        let others = Others::remembered(&ignored, &Private::default());
        let current = nested(&tags(&[("Oracle-Tags.CreatedBy", "ana")]));
        let sent = others.with(
            &current,
            &tags(&[
                ("OPS.a", "1"),
                ("ops.b", "2"),
                ("oracle-tags.CreatedOn", "3"),
            ]),
        );
        assert_eq!(
            serde_json::json!(sent),
            serde_json::json!({
                "OPS": { "a": "1", "b": "2" },
                "Oracle-Tags": { "CreatedBy": "ana", "CreatedOn": "3" },
            })
        );
    }

    /// No tags at the service is whatever the configuration calls no tags.
    #[test]
    fn no_tags_stay_as_configured() {
        assert_eq!(as_configured(Tags::new(), &Attr::Null), Attr::Null);
        let empty = Attr::Known(Tags::new());
        assert_eq!(as_configured(Tags::new(), &empty), empty);
    }
}
