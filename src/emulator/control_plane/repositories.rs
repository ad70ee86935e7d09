//! Container repositories.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{
        clock::Moment,
        refusal::Refusal,
        seed::unique,
        state::{
            AVAILABLE, DELETED, DELETING, DefinedTags, FreeformTags, Readme, Repository, State,
            new_etag,
        },
    },
    Input, Output,
    input::Members,
    page::{Row, page},
};

pub(super) const LIST_QUERY: &[&str] = &[
    "compartmentId",
    "compartmentIdInSubtree",
    "repositoryId",
    "displayName",
    "isPublic",
    "lifecycleState",
    "limit",
    "page",
    "sortBy",
    "sortOrder",
];

/// What a new repository is made from.
pub(in super::super) struct New {
    pub compartment_id: String,
    pub display_name: String,
    pub is_immutable: bool,
    pub is_public: bool,
    pub readme: Option<Readme>,
    pub freeform_tags: FreeformTags,
    pub defined_tags: DefinedTags,
}

pub(super) fn create(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let mut members = Members::parse(input.body)?;
    let compartment_id = members.required("compartmentId")?;
    let display_name = members.required("displayName")?;
    let new = New {
        is_immutable: members.flag("isImmutable")?.unwrap_or(false),
        is_public: members.flag("isPublic")?.unwrap_or(false),
        readme: members.readme()?,
        freeform_tags: members.freeform_tags()?.unwrap_or_default(),
        defined_tags: members.defined_tags()?.unwrap_or_default(),
        compartment_id,
        display_name,
    };
    members.finish()?;
    check_name(&new.display_name)?;
    check_immutable(input, new.is_immutable)?;
    input.compartment(&new.compartment_id)?;
    // One that is being deleted has its name until the end.
    let is_taken = state.repositories.values().any(|repository| {
        repository.region == input.region.identifier
            && repository.display_name == new.display_name
            && repository.lifecycle_state != DELETED
            && !repository.is_gone(input.now)
    });
    if is_taken {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "NAMESPACE_CONFLICT",
            "Repository already exists",
        ));
    }
    let id = add(state, input, new);
    output(state, &id)
}

/// Adds a repository that was checked, and says its OCID.
pub(in super::super) fn add(state: &mut State, input: &Input<'_>, new: New) -> String {
    let seed = &input.tenancy.seed;
    let region = input.region;
    let id = format!(
        "ocid1.containerrepo.{}.{}.0.{}.{}",
        region.realm,
        region.identifier,
        seed.namespace,
        unique()
    );
    let mut defined_tags = new.defined_tags;
    for (namespace, keys) in &input.settings.tag_defaults {
        let there = defined_tags.entry(namespace.clone()).or_default();
        for (key, value) in keys {
            there.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    if input.settings.oracle_tags {
        let automatic = BTreeMap::from([
            (
                "CreatedBy".to_owned(),
                json!(input.caller.tag(input.tenancy)),
            ),
            ("CreatedOn".to_owned(), json!(input.now.rfc3339())),
        ]);
        defined_tags.insert("Oracle-Tags".into(), automatic);
    }
    let repository = Repository {
        id: id.clone(),
        compartment_id: new.compartment_id,
        display_name: new.display_name,
        is_immutable: new.is_immutable,
        is_public: new.is_public,
        readme: new.readme,
        freeform_tags: new.freeform_tags,
        defined_tags,
        system_tags: BTreeMap::new(),
        created_by: input.caller.id.clone(),
        namespace: seed.namespace.clone(),
        lifecycle_state: AVAILABLE.into(),
        time_created: input.now.rfc3339(),
        time_last_pushed: None,
        region: region.identifier.into(),
        sequence: state.next_sequence(),
        etag: new_etag(),
        blobs: BTreeMap::new(),
        gone_at: None,
    };
    state.repositories.insert(id.clone(), repository);
    id
}

pub(super) fn get(state: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    find(state, input)?;
    output(state, input.parameter(0))
}

pub(super) fn update(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let mut repository = available(state, input)?.clone();
    input.check_etag(&repository.etag)?;
    let mut members = Members::parse(input.body)?;
    if let Some(is_immutable) = members.flag("isImmutable")? {
        check_immutable(input, is_immutable)?;
        repository.is_immutable = is_immutable;
    }
    if let Some(is_public) = members.flag("isPublic")? {
        repository.is_public = is_public;
    }
    if let Some(readme) = members.readme()? {
        repository.readme = Some(readme);
    }
    if let Some(tags) = members.freeform_tags()? {
        repository.freeform_tags = tags;
    }
    if let Some(tags) = members.defined_tags()? {
        repository.defined_tags = tags;
    }
    members.finish()?;
    put(state, repository);
    output(state, input.parameter(0))
}

pub(super) fn delete(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let repository = available(state, input)?;
    input.check_etag(&repository.etag)?;
    match input.settings.deletion_delay {
        None => state.remove_repository(input.parameter(0)),
        Some(delay) => {
            let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
            let gone_at = Moment(input.now.0.saturating_add(delay));
            state.start_deletion(input.parameter(0), gone_at);
        }
    }
    Ok(Output::no_content())
}

pub(super) fn change_compartment(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let mut repository = available(state, input)?.clone();
    input.check_etag(&repository.etag)?;
    let mut members = Members::parse(input.body)?;
    let compartment_id = members.required("compartmentId")?;
    members.finish()?;
    input.compartment(&compartment_id)?;
    repository.compartment_id = compartment_id;
    put(state, repository);
    Ok(Output::no_content().about(input.parameter(0)))
}

pub(super) fn list(state: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    let compartment = compartments(input)?;
    let is_public = input.flag("isPublic")?;
    let equal =
        |filter: &str, value: &str| input.query(filter).is_none_or(|wanted| wanted == value);
    let found: Vec<&Repository> = state
        .repositories
        .values()
        .filter(|repository| {
            repository.region == input.region.identifier
                && !repository.is_gone(input.now)
                && compartment.is_none_or(|id| id == repository.compartment_id)
                && equal("repositoryId", &repository.id)
                && equal("displayName", &repository.display_name)
                && equal("lifecycleState", &repository.lifecycle_state)
                && is_public.is_none_or(|wanted| wanted == repository.is_public)
        })
        .collect();
    let (mut images, mut layers, mut bytes) = (0, 0, 0);
    for repository in &found {
        let totals = state.totals(&repository.id);
        images += totals.images;
        layers += totals.layers;
        bytes += totals.bytes;
    }
    let count = found.len();
    let rows = found
        .into_iter()
        .map(|repository| Row {
            time_created: repository.time_created.clone(),
            display_name: repository.display_name.clone(),
            sequence: repository.sequence,
            json: state.repository_item_json(repository),
        })
        .collect();
    let page = page(input, "DISPLAYNAME", rows)?;
    Ok(Output {
        next_page: page.next,
        ..Output::ok(json!({
            "items": page.items,
            "repositoryCount": count,
            "imageCount": images,
            "layerCount": layers,
            "layersSizeInBytes": bytes,
            "remainingItemsCount": page.remaining,
        }))
    })
}

/// The compartment a list is about, or none for all of the tenancy.
pub(super) fn compartments<'a>(input: &'a Input<'_>) -> Result<Option<&'a str>, Refusal> {
    let id = input.compartment(input.required("compartmentId")?)?;
    match input.flag("compartmentIdInSubtree")? {
        Some(true) if id == input.tenancy.seed.tenancy_id => Ok(None),
        Some(true) => Err(Refusal::invalid(
            "compartmentIdInSubtree may be true only when compartmentId is the tenancy",
        )),
        _ => Ok(Some(id)),
    }
}

fn find<'a>(state: &'a State, input: &Input<'_>) -> Result<&'a Repository, Refusal> {
    state
        .repositories
        .get(input.parameter(0))
        .filter(|repository| {
            repository.region == input.region.identifier && !repository.is_gone(input.now)
        })
        .ok_or_else(Refusal::not_found)
}

/// A repository that can be changed: not one that is being deleted.
fn available<'a>(state: &'a State, input: &Input<'_>) -> Result<&'a Repository, Refusal> {
    let repository = find(state, input)?;
    match repository.lifecycle_state == DELETING {
        true => Err(Refusal::not_found()),
        false => Ok(repository),
    }
}

fn put(state: &mut State, mut repository: Repository) {
    repository.etag = new_etag();
    state.repositories.insert(repository.id.clone(), repository);
}

fn output(state: &State, id: &str) -> Result<Output, Refusal> {
    let repository = state.repositories.get(id).ok_or_else(Refusal::not_found)?;
    let body: Value = state.repository_json(repository);
    Ok(Output::ok(body).etag(&repository.etag).about(id))
}

/// The live service has the member, and refuses it.
fn check_immutable(input: &Input<'_>, is_immutable: bool) -> Result<(), Refusal> {
    if is_immutable && !input.settings.accept_immutable {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "BAD_REQUEST",
            "Setting isImmutable is not currently supported",
        ));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if is_name(name) {
        Ok(())
    } else {
        Err(Refusal::invalid(format!(
            "Invalid repository name: '{name}'"
        )))
    }
}

/// A name as the distribution specification has it: path components of
/// letters and digits with separators between them.
pub(in super::super) fn is_name(name: &str) -> bool {
    let component = |component: &str| {
        let letter = |byte: Option<u8>| {
            byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        letter(component.bytes().next())
            && letter(component.bytes().last())
            && component
                .bytes()
                .all(|byte| letter(Some(byte)) || matches!(byte, b'.' | b'_' | b'-'))
            && !component.contains("..")
            && !component.contains("___")
    };
    name.len() <= 255 && name.split('/').all(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names with slashes are ordinary; capitals, empty components and separators at an end are not names.
    #[test]
    fn names() {
        for name in ["a", "team/web", "a__b", "a-b.c_d/0"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "", "A", "/a", "a/", "a//b", "-a", "a.", "a..b", "a___b", "a:b", "ä",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
