//! Object Storage, as far as it knows the tenancy's namespace.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{refusal::Refusal, state::State},
    Input, Output,
};

/// The answer is a bare JSON string.
pub(super) fn get(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    if let Some(id) = input.query("compartmentId") {
        input.compartment(id)?;
    }
    Ok(Output::ok(Value::String(
        input.tenancy.seed.namespace.clone(),
    )))
}

pub(super) fn get_metadata(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    let seed = &input.tenancy.seed;
    if input.parameter(0) != seed.namespace {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "NamespaceNotFound",
            format!(
                "You do not have authorization to perform this request, or the requested resource could not be found: {}",
                input.parameter(0)
            ),
        ));
    }
    Ok(Output::ok(json!({
        "namespace": seed.namespace,
        "defaultS3CompartmentId": seed.tenancy_id,
        "defaultSwiftCompartmentId": seed.tenancy_id,
    })))
}
