//! The registry's configuration: one per tenancy and region.

use serde_json::json;

use super::{
    super::{
        refusal::Refusal,
        state::{State, new_etag},
    },
    Input, Output,
    input::Members,
    missing,
};

pub(super) fn get(state: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    input.compartment(input.required("compartmentId")?)?;
    Ok(output(state, input))
}

pub(super) fn update(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    input.compartment(input.required("compartmentId")?)?;
    input.check_etag(etag(state, input))?;
    let mut members = Members::parse(input.body)?;
    let created = members
        .flag("isRepositoryCreatedOnFirstPush")?
        .ok_or_else(|| missing("isRepositoryCreatedOnFirstPush"))?;
    members.finish()?;
    let region = input.region.identifier.to_owned();
    state.configuration_etag.insert(region.clone(), new_etag());
    if created {
        state.created_on_first_push.insert(region);
    } else {
        state.created_on_first_push.remove(&region);
    }
    Ok(output(state, input))
}

fn output(state: &State, input: &Input<'_>) -> Output {
    Output::ok(json!({
        "isRepositoryCreatedOnFirstPush": state.created_on_first_push.contains(input.region.identifier),
        "namespace": input.tenancy.seed.namespace,
    }))
    .etag(etag(state, input))
}

fn etag<'a>(state: &'a State, input: &Input<'_>) -> &'a str {
    state
        .configuration_etag
        .get(input.region.identifier)
        .map_or("initial", String::as_str)
}
