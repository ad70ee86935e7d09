//! The limit of two tokens per user.

use std::time::SystemTime;

use super::age;
use crate::{framework::Diagnostic, oci, provider::absence};

/// Tokens that a user may have.
const MOST: usize = 2;

/// Those of a user's tokens that count.
pub(super) fn held(
    tokens: Vec<oci::AuthToken>,
    deleted: impl Fn(&str) -> bool,
) -> Vec<oci::AuthToken> {
    tokens
        .into_iter()
        .filter(|token| !absence::is_deleted(&token.lifecycle_state) && !deleted(&token.id))
        .collect()
}

/// Whether there is no room for another one.
pub(super) fn is_reached(held: &[oci::AuthToken]) -> bool {
    held.len() >= MOST
}

/// What is said of it while planning. Whether another resource of the same run
/// frees a place, a plan cannot know.
pub(super) fn warning(user_id: &str, held: &[oci::AuthToken]) -> Diagnostic {
    Diagnostic::warning(SUMMARY, detail(user_id, held))
}

/// The same before a third token is asked for.
pub(super) fn error(user_id: &str, held: &[oci::AuthToken]) -> Diagnostic {
    Diagnostic::error(SUMMARY, detail(user_id, held))
}

/// The tokens, one a line and indented as a command is.
pub(super) fn lines(held: &[oci::AuthToken], now: SystemTime) -> String {
    held.iter()
        .map(|token| {
            let description = token.description.as_deref().unwrap_or_default();
            let inactive = match token.lifecycle_state.as_str() {
                "INACTIVE" => ", inactive",
                _ => "",
            };
            let made = token.time_created.as_deref();
            let age = match (made, age::of(made, now)) {
                (Some(made), Some(age)) => format!("{} (created {made})", age::words(age)),
                _ => "of unknown age".to_owned(),
            };
            format!("\n    {} \"{description}\", {age}{inactive}", token.id)
        })
        .collect()
}

fn detail(user_id: &str, held: &[oci::AuthToken]) -> String {
    format!(
        "A user may hold two auth tokens, and user {user_id} holds them already:{}\n\n\
         Another one can be created only after one of them is deleted. Delete one that is not used any more, or import it to manage it \
         here. A token that is replaced frees its own place, unless create_before_destroy keeps it until the new one exists.",
        lines(held, SystemTime::now())
    )
}

const SUMMARY: &str = "No free auth token";

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn token(json: serde_json::Value) -> anyhow::Result<oci::AuthToken> {
        Ok(serde_json::from_value(json)?)
    }

    /// What is on its way out does not count, nor does what this run deleted, though
    /// a list may have it for a moment longer; an inactive token does.
    #[test]
    fn what_counts() -> anyhow::Result<()> {
        let tokens = [
            ("a", "ACTIVE"),
            ("b", "INACTIVE"),
            ("c", "DELETED"),
            ("d", "ACTIVE"),
        ]
        .into_iter()
        .map(|(id, state)| {
            token(serde_json::json!({ "id": id, "userId": "u", "lifecycleState": state }))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
        let held = held(tokens, |id| id == "d");
        let ids: Vec<_> = held.iter().map(|token| token.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(is_reached(&held));
        assert!(!is_reached(&held[..1]));
        Ok(())
    }

    /// Each token is told by its description and its age.
    #[test]
    fn tokens_by_line() -> anyhow::Result<()> {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_767_323_045);
        let held = [
            token(serde_json::json!({
                "id": "ocid1.credential.oc1..a", "userId": "u", "lifecycleState": "ACTIVE",
                "description": "Used by Docker", "timeCreated": "2025-10-01T03:04:05Z",
            }))?,
            token(serde_json::json!({
                "id": "ocid1.credential.oc1..b", "userId": "u", "lifecycleState": "INACTIVE",
            }))?,
        ];
        expect![[r#"

                ocid1.credential.oc1..a "Used by Docker", 93 days old (created 2025-10-01T03:04:05Z)
                ocid1.credential.oc1..b "", of unknown age, inactive"#]]
        .assert_eq(&lines(&held, now).replace("\n    ", "\n"));
        Ok(())
    }
}
