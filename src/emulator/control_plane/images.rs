//! Container images: what was pushed, seen from the control plane.

use serde_json::json;

use super::{
    super::{
        refusal::Refusal,
        state::{AVAILABLE, Image, State, Version, new_etag},
    },
    Input, Output,
    input::Members,
    page::{Row, page},
    repositories::compartments,
};

pub(super) const LIST_QUERY: &[&str] = &[
    "compartmentId",
    "compartmentIdInSubtree",
    "displayName",
    "imageId",
    "isVersioned",
    "repositoryId",
    "repositoryName",
    "version",
    "lifecycleState",
    "imageDigest",
    "limit",
    "page",
    "sortBy",
    "sortOrder",
];

pub(super) fn list(state: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    let compartment = compartments(input)?;
    let is_versioned = input.flag("isVersioned")?;
    let lifecycle_state = input.query("lifecycleState").unwrap_or(AVAILABLE);
    let equal =
        |filter: &str, value: &str| input.query(filter).is_none_or(|wanted| wanted == value);
    // `foo*` finds everything that begins with it.
    let like = |filter: &str, value: &str| {
        input
            .query(filter)
            .is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(beginning) => value.starts_with(beginning),
                None => wanted == value,
            })
    };
    let rows = state
        .images
        .values()
        .filter_map(|image| {
            let repository = state.repositories.get(&image.repository_id)?;
            let display_name = image.display_name(&repository.display_name);
            let versioned = image
                .versions
                .iter()
                .any(|version| like("version", &version.version));
            let found = repository.region == input.region.identifier
                && compartment.is_none_or(|id| id == repository.compartment_id)
                && image.lifecycle_state == lifecycle_state
                && equal("displayName", &display_name)
                && equal("imageId", &image.id)
                && equal("repositoryId", &image.repository_id)
                && like("repositoryName", &repository.display_name)
                && equal("imageDigest", &image.digest)
                && (input.query("version").is_none() || versioned)
                && is_versioned.is_none_or(|wanted| wanted != image.versions.is_empty());
            found.then(|| Row {
                time_created: image.time_created.clone(),
                display_name,
                sequence: image.sequence,
                json: state.image_item_json(image),
            })
        })
        .collect();
    let page = page(input, "DISPLAYNAME", rows)?;
    Ok(Output {
        next_page: page.next,
        ..Output::ok(json!({
            "items": page.items,
            "remainingItemsCount": page.remaining,
        }))
    })
}

pub(super) fn get(state: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    output(state, find(state, input)?)
}

pub(super) fn update(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let mut image = available(state, input)?.clone();
    let mut members = Members::parse(input.body)?;
    if let Some(tags) = members.freeform_tags()? {
        image.freeform_tags = tags;
    }
    if let Some(tags) = members.defined_tags()? {
        image.defined_tags = tags;
    }
    members.finish()?;
    image.etag = new_etag();
    put(state, image)
}

/// The manifest goes with every tag that points to it.
pub(super) fn delete(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let mut image = available(state, input)?.clone();
    image.delete();
    state.images.insert(image.id.clone(), image);
    Ok(Output::no_content())
}

pub(super) fn remove_version(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let mut image = available(state, input)?.clone();
    let mut members = Members::parse(input.body)?;
    let version = members.required("version")?;
    members.finish()?;
    if !image.has(&version) {
        return Err(Refusal::not_found());
    }
    image.untag(&version);
    put(state, image)
}

pub(super) fn restore(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    const RESTORABLE: &str = "Only a deleted image can be restored";
    let mut image = find(state, input)?.clone();
    input.check_etag(&image.etag)?;
    let mut members = Members::parse(input.body)?;
    let version = members.string("version")?;
    members.finish()?;
    // Pushed again in the meantime: the same digest cannot be there twice.
    if image.lifecycle_state == AVAILABLE
        || state.image(&image.repository_id, &image.digest).is_some()
    {
        return Err(Refusal::new(
            http::StatusCode::CONFLICT,
            "Conflict",
            RESTORABLE,
        ));
    }
    image.lifecycle_state = AVAILABLE.into();
    image.etag = new_etag();
    let id = image.id.clone();
    state.images.insert(id.clone(), image);
    if let Some(version) = version {
        let version = Version {
            version,
            created_by: input.caller.id.clone(),
            time_created: input.now.rfc3339(),
        };
        state.tag(&id, version);
    }
    output(state, find(state, input)?)
}

/// `namespace/repository:version` or `namespace/repository@digest`, without a host.
pub(super) fn look_up(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let mut members = Members::parse(input.body)?;
    let uri = members.required("imageUri")?;
    members.finish()?;
    let (name, reference) = uri
        .split_once('@')
        .or_else(|| uri.rsplit_once(':'))
        .ok_or_else(|| Refusal::invalid(format!("Invalid imageUri: '{uri}'")))?;
    let image = name
        .split_once('/')
        .filter(|(namespace, _)| *namespace == input.tenancy.seed.namespace)
        .and_then(|(_, name)| state.repository_named(input.region.identifier, name))
        .and_then(|repository| state.image(&repository.id, reference))
        .ok_or_else(Refusal::not_found)?;
    output(state, image)
}

fn find<'a>(state: &'a State, input: &Input<'_>) -> Result<&'a Image, Refusal> {
    state
        .images
        .get(input.parameter(0))
        .filter(|image| {
            state
                .repositories
                .get(&image.repository_id)
                .is_some_and(|repository| repository.region == input.region.identifier)
        })
        .ok_or_else(Refusal::not_found)
}

/// An image that can be changed: a deleted one can only be looked at and restored.
fn available<'a>(state: &'a State, input: &Input<'_>) -> Result<&'a Image, Refusal> {
    let image = find(state, input)?;
    input.check_etag(&image.etag)?;
    if image.lifecycle_state == AVAILABLE {
        Ok(image)
    } else {
        Err(Refusal::not_found())
    }
}

fn put(state: &mut State, image: Image) -> Result<Output, Refusal> {
    let output = output(state, &image)?;
    state.images.insert(image.id.clone(), image);
    Ok(output)
}

fn output(state: &State, image: &Image) -> Result<Output, Refusal> {
    Ok(Output::ok(state.image_json(image))
        .etag(&image.etag)
        .about(&image.id))
}
