//! Users and their API keys, the tenancy, its regions and compartments: for reading only.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{
        refusal::Refusal,
        regions,
        seed::{Compartment, SEEDED_AT, TENANCY_NAME},
        state::State,
    },
    Input, Output,
    page::{Row, page},
};

pub(super) const USERS_QUERY: &[&str] = &[
    "compartmentId",
    "name",
    "identityProviderId",
    "externalIdentifier",
    "lifecycleState",
    "limit",
    "page",
    "sortBy",
    "sortOrder",
];

pub(super) const COMPARTMENTS_QUERY: &[&str] = &[
    "compartmentId",
    "accessLevel",
    "compartmentIdInSubtree",
    "name",
    "lifecycleState",
    "limit",
    "page",
    "sortBy",
    "sortOrder",
];

pub(super) fn get_user(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    if input.parameter(0) == input.tenancy.seed.user_id {
        Ok(Output::ok(user(input)).etag("user-1"))
    } else {
        Err(Refusal::not_found())
    }
}

/// The key that came with the user; more cannot be uploaded.
pub(super) fn list_api_keys(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    let seed = &input.tenancy.seed;
    if input.parameter(0) != seed.user_id {
        return Err(Refusal::not_found());
    }
    Ok(Output::ok(json!([{
        "keyId": input.tenancy.key_id(),
        "keyValue": input.tenancy.public_key_pem,
        "fingerprint": seed.fingerprint,
        "userId": seed.user_id,
        "timeCreated": SEEDED_AT,
        "lifecycleState": "ACTIVE",
        "inactiveStatus": null,
    }])))
}

pub(super) fn list_users(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    check_tenancy(input, input.required("compartmentId")?)?;
    let seed = &input.tenancy.seed;
    let found = input
        .query("name")
        .is_none_or(|name| name == seed.user_name)
        && input
            .query("lifecycleState")
            .is_none_or(|state| state == "ACTIVE")
        && input.query("identityProviderId").is_none()
        && input.query("externalIdentifier").is_none();
    let rows = found.then(|| row(&seed.user_name, 1, user(input)));
    array(input, rows.into_iter().collect())
}

pub(super) fn get_tenancy(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    check_tenancy(input, input.parameter(0))?;
    Ok(Output::ok(json!({
        "id": input.tenancy.seed.tenancy_id,
        "name": TENANCY_NAME,
        "description": "The emulator's tenancy",
        "homeRegionKey": input.tenancy.home.key,
        "freeformTags": {},
        "definedTags": {},
    })))
}

/// The tenancy is subscribed to every region of its realm.
pub(super) fn list_region_subscriptions(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    check_tenancy(input, input.parameter(0))?;
    let home = input.tenancy.home;
    let subscriptions = regions::of_realm(home.realm).map(|region| {
        json!({
            "regionKey": region.key,
            "regionName": region.identifier,
            "status": "READY",
            "isHomeRegion": region == home,
        })
    });
    Ok(Output::ok(subscriptions.collect()))
}

pub(super) fn list_regions(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    let regions = regions::of_realm(input.tenancy.home.realm)
        .map(|region| json!({ "key": region.key, "name": region.identifier }));
    Ok(Output::ok(regions.collect()))
}

pub(super) fn list_compartments(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    let parent = input.compartment(input.required("compartmentId")?)?;
    input.flag("compartmentIdInSubtree")?;
    let rows = input
        .tenancy
        .compartments
        .iter()
        .zip(0..)
        .filter(|(known, _)| {
            // All of them lie directly in the root compartment.
            parent == input.tenancy.seed.tenancy_id
                && known.id != parent
                && input.query("name").is_none_or(|name| name == known.name)
                && input
                    .query("lifecycleState")
                    .is_none_or(|state| state == "ACTIVE")
        })
        .map(|(known, sequence)| row(known.name, sequence, compartment(input, known)))
        .collect();
    array(input, rows)
}

pub(super) fn get_compartment(_: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    input
        .tenancy
        .compartments
        .iter()
        .find(|known| known.id == input.parameter(0))
        .map(|known| Output::ok(compartment(input, known)).etag("compartment-1"))
        .ok_or_else(Refusal::not_found)
}

fn row(name: &str, sequence: u64, json: Value) -> Row {
    Row {
        time_created: SEEDED_AT.into(),
        display_name: name.into(),
        sequence,
        json,
    }
}

/// Identity's lists are bare arrays.
fn array(input: &Input<'_>, rows: Vec<Row>) -> Result<Output, Refusal> {
    let page = page(input, "NAME", rows)?;
    Ok(Output {
        next_page: page.next,
        ..Output::ok(Value::Array(page.items))
    })
}

fn check_tenancy(input: &Input<'_>, id: &str) -> Result<(), Refusal> {
    if id == input.tenancy.seed.tenancy_id {
        Ok(())
    } else {
        Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "NotAuthorizedOrNotFound",
            "Authorization failed or requested resource not found",
        ))
    }
}

fn user(input: &Input<'_>) -> Value {
    let seed = &input.tenancy.seed;
    json!({
        "id": seed.user_id,
        "compartmentId": seed.tenancy_id,
        "name": seed.user_name,
        "description": "Pushes images",
        "email": seed.user_name,
        "emailVerified": true,
        "identityProviderId": null,
        "externalIdentifier": null,
        "lifecycleState": "ACTIVE",
        "inactiveStatus": null,
        "isMfaActivated": false,
        "capabilities": {
            "canUseConsolePassword": true,
            "canUseApiKeys": true,
            "canUseAuthTokens": true,
            "canUseSmtpCredentials": true,
            "canUseDbCredentials": true,
            "canUseCustomerSecretKeys": true,
            "canUseOAuth2ClientCredentials": true,
        },
        "freeformTags": {},
        "definedTags": {},
        "timeCreated": SEEDED_AT,
    })
}

fn compartment(input: &Input<'_>, known: &Compartment) -> Value {
    let root = &input.tenancy.seed.tenancy_id;
    json!({
        "id": known.id,
        "compartmentId": if known.id == *root { None } else { Some(root) },
        "name": known.name,
        "description": known.description,
        "lifecycleState": "ACTIVE",
        "inactiveStatus": null,
        "isAccessible": true,
        "freeformTags": {},
        "definedTags": {},
        "timeCreated": SEEDED_AT,
    })
}
