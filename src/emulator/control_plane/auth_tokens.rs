//! Auth tokens: the registry passwords of a user.

use http::StatusCode;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use super::{
    super::{
        refusal::Refusal,
        seed::unique,
        state::{AuthToken, State, new_etag},
    },
    Input, Output,
    input::Members,
};

/// Tokens a user may have.
const MOST: usize = 2;

pub(super) fn list(state: &State, input: &Input<'_>) -> Result<Output, Refusal> {
    check_user(input)?;
    Ok(Output::ok(Value::Array(
        sorted(state).into_iter().map(AuthToken::json).collect(),
    )))
}

/// Tokens in the order in which they were made.
pub(in super::super) fn sorted(state: &State) -> Vec<&AuthToken> {
    let mut tokens: Vec<&AuthToken> = state.auth_tokens.values().collect();
    tokens.sort_by_key(|token| token.sequence);
    tokens
}

pub(super) fn create(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    check_user(input)?;
    input.only_at_home()?;
    let mut members = Members::parse(input.body)?;
    let description = members.required("description")?;
    members.finish()?;
    check_description(&description)?;
    if state.auth_tokens.len() >= MOST {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "UserCapacityExceeded",
            format!("The user already has the maximum number of {MOST} auth tokens"),
        ));
    }
    let token = AuthToken {
        id: format!("ocid1.credential.{}..{}", input.region.realm, unique()),
        user_id: input.parameter(0).into(),
        description,
        lifecycle_state: "ACTIVE".into(),
        inactive_status: None,
        time_created: input.now.rfc3339(),
        time_expires: None,
        sequence: state.next_sequence(),
        etag: new_etag(),
        token: password(),
    };
    let mut body = token.json();
    body["token"] = json!(token.token);
    let output = Output::ok(body).etag(&token.etag).about(&token.id);
    state.auth_tokens.insert(token.id.clone(), token);
    Ok(output)
}

pub(super) fn update(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    let mut token = find(state, input)?.clone();
    let mut members = Members::parse(input.body)?;
    if let Some(description) = members.string("description")? {
        check_description(&description)?;
        token.description = description;
    }
    members.finish()?;
    token.etag = new_etag();
    let output = Output::ok(token.json()).etag(&token.etag);
    state.auth_tokens.insert(token.id.clone(), token);
    Ok(output)
}

pub(super) fn delete(state: &mut State, input: &Input<'_>) -> Result<Output, Refusal> {
    find(state, input)?;
    state.auth_tokens.remove(input.parameter(1));
    Ok(Output::no_content())
}

/// A token that is about to be changed.
fn find<'a>(state: &'a State, input: &Input<'_>) -> Result<&'a AuthToken, Refusal> {
    check_user(input)?;
    input.only_at_home()?;
    let token = state
        .auth_tokens
        .get(input.parameter(1))
        .ok_or_else(Refusal::not_found)?;
    input.check_etag(&token.etag)?;
    Ok(token)
}

fn check_user(input: &Input<'_>) -> Result<(), Refusal> {
    if input.parameter(0) == input.tenancy.seed.user_id {
        Ok(())
    } else {
        Err(Refusal::not_found())
    }
}

fn check_description(description: &str) -> Result<(), Refusal> {
    if description.chars().count() <= 400 {
        Ok(())
    } else {
        Err(Refusal::invalid(
            "description is longer than 400 characters",
        ))
    }
}

/// Twenty characters. Real tokens hold characters that shells and URLs trip
/// over, so that every one of these does.
fn password() -> String {
    const AWKWARD: &[u8] = b"();<>&";
    const ANY: &[u8] =
        b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789();<>&[]{}.+-_#$!";
    let mut rng = rand::rng();
    let mut pick = |from: &[u8]| from.choose(&mut rng).copied().map_or('(', char::from);
    (0..20)
        .map(|index| pick(if index % 7 == 3 { AWKWARD } else { ANY }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every password is awkward, and no two are equal.
    #[test]
    fn passwords() {
        let (first, second) = (password(), password());
        assert_ne!(first, second);
        for password in [first, second] {
            assert_eq!(password.len(), 20);
            assert!(
                password.contains(['(', ')', ';', '<', '>', '&']),
                "{password}"
            );
        }
    }
}
