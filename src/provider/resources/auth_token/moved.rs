//! `oci_identity_auth_token` of Oracle's provider, taken over with its value.

use serde_json::Value as Json;
use time::{PrimitiveDateTime, macros::format_description};

use super::State;
use crate::framework::{Attr, Diagnostic, Result, Secret, SourceState};

/// The provider under its two names.
const PROVIDERS: &[&str] = &["oracle/oci", "hashicorp/oci"];
const TYPE: &str = "oci_identity_auth_token";

/// `None`: something else. What Oracle's provider does not know, the refresh after
/// the move finds out.
pub(super) fn from(source: &SourceState) -> Option<Result<State>> {
    (source.is_of(PROVIDERS) && source.type_name == TYPE).then(|| state(&source.json))
}

fn state(json: &Json) -> Result<State> {
    // Where there is nothing, that provider writes an empty text now and then.
    let text = |name: &str| -> Attr<String> {
        let text = json[name].as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned).into()
    };
    let (user_id, id) = (text("user_id"), text("id"));
    if user_id.is_null() || id.is_null() {
        return Err(Diagnostic::error(
            "Cannot move state",
            format!(
                "The state of the {TYPE} has no \"id\" or no \"user_id\", so the token cannot be found. Remove it from the state with a \
                 \"removed\" block, and import the token:\n    terraform import ADDRESS users/USER_OCID/authTokens/TOKEN_OCID"
            ),
        )
        .into());
    }
    let token = json["token"].as_str().filter(|token| !token.is_empty());
    Ok(State {
        user_id,
        id,
        // A description may be empty; the service asks for one, though.
        description: json["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
            .into(),
        token: token.map(|token| Secret::new(token.to_owned())).into(),
        state: text("state"),
        inactive_state: text("inactive_state"),
        time_created: text("time_created").map(time),
        time_expires: text("time_expires").map(time),
        ..State::default()
    })
}

/// A time as the service writes it. Oracle's provider keeps what Go prints,
/// `2026-01-02 03:04:05.678 +0000 UTC`.
fn time(text: String) -> String {
    let printed = format_description!(
        version = 2,
        "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]] +0000 UTC"
    );
    // As long as the service writes it, which Go shortens.
    let written =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    PrimitiveDateTime::parse(&text, printed)
        .ok()
        .and_then(|time| time.format(written).ok())
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go's way to print a time, and others, which are left alone.
    #[test]
    fn times() {
        for (text, expected) in [
            (
                "2026-01-02 03:04:05.678 +0000 UTC",
                "2026-01-02T03:04:05.678Z",
            ),
            ("2026-01-02 03:04:05 +0000 UTC", "2026-01-02T03:04:05.000Z"),
            ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"),
            (
                "2026-01-02 03:04:05 +0100 CET",
                "2026-01-02 03:04:05 +0100 CET",
            ),
        ] {
            assert_eq!(time(text.to_owned()), expected);
        }
    }

    proptest::proptest! {
        /// Whatever stands in a state of Oracle's provider: a token that can be found again, or
        /// an error that does not show its value.
        #[test]
        fn any_state(
            json in crate::spoilt::json([serde_json::json!({
                "id": "ocid1.credential.oc1..b", "user_id": "ocid1.user.oc1..a", "description": "ci", "token": "hunter2",
                "state": "ACTIVE", "inactive_state": "", "time_created": "2026-01-02 03:04:05.678 +0000 UTC",
            })]),
            created in crate::spoilt::text(&["2026-01-02 03:04:05.678 +0000 UTC", "-9999-12-31 23:59:60 +0000 UTC"]),
        ) {
            let shown = match state(&json) {
                Ok(state) => {
                    let is_named = |id: &Attr<String>| id.as_str().is_some_and(|id| !id.is_empty());
                    proptest::prop_assert!(is_named(&state.id) && is_named(&state.user_id));
                    format!("{state:?}")
                }
                Err(problem) => format!("{problem:?}"),
            };
            proptest::prop_assert!(!shown.contains("hunter2"), "{}", shown);
            let read = time(created.clone());
            // Read once, it is as the service writes it.
            proptest::prop_assert_eq!(time(read.clone()), read.clone());
            proptest::prop_assert!(read == created || read.ends_with('Z'), "{}", read);
        }
    }
}
