//! The limit of two tokens per user.

use std::time::{Duration, SystemTime};

use super::age;
use crate::{framework::Diagnostic, oci, provider::absence};

/// Tokens that a user may have.
const MOST: usize = 2;

/// What a user holds.
pub(super) struct Held<'a> {
    pub(super) user_id: &'a str,
    /// Those that count.
    pub(super) tokens: Vec<oci::AuthToken>,
    /// OCIDs of those that may be left over.
    pub(super) left_over: Vec<String>,
}

impl Held<'_> {
    /// Whether there is no room for another one.
    pub(super) fn is_full(&self) -> bool {
        self.tokens.len() >= MOST
    }

    /// What is said of it while planning. Whether another resource of the same run
    /// frees a place, a plan cannot know.
    pub(super) fn warning(&self) -> Diagnostic {
        Diagnostic::warning(FULL, self.full())
    }

    /// What is said while there is room, or while that is the question of another one.
    pub(super) fn warning_of_left_over(&self) -> Diagnostic {
        let left_over: Vec<_> = self
            .tokens
            .iter()
            .filter(|token| self.left_over.contains(&token.id))
            .cloned()
            .collect();
        let detail = format!(
            "User {} holds an auth token that has the description of the one that is to be created:{}\n\n{}\n\n\
             Should it be the one that this run replaces, nothing is left over: it is deleted at the end of the run.",
            self.user_id,
            lines(&left_over, SystemTime::now()),
            self.delete_left_over(),
        );
        Diagnostic::warning("Auth token may be left over", detail)
    }

    /// The same, when there is no room, before a third token is asked for.
    pub(super) fn error(&self) -> Diagnostic {
        Diagnostic::error(FULL, self.full())
    }

    /// What to do when the service found out that there is no room.
    pub(super) fn refused(&self) -> String {
        let held = match self.tokens.is_empty() {
            true => String::new(),
            false => format!(" They are:{}", lines(&self.tokens, SystemTime::now())),
        };
        format!(
            "A user may hold two auth tokens, and this one does already.{held}\n\n{}",
            self.way_out()
        )
    }

    fn full(&self) -> String {
        format!(
            "A user may hold two auth tokens, and user {} holds them already:{}\n\n\
             Another one can be created only after one of them is deleted. A token that is replaced frees its own place, unless \
             create_before_destroy keeps it until the new one exists.\n\n{}",
            self.user_id,
            lines(&self.tokens, SystemTime::now()),
            self.way_out(),
        )
    }

    fn way_out(&self) -> String {
        let any = format!(
            "Delete one that is not used any more:{}\nor import it to manage it here.",
            self.delete("TOKEN_OCID")
        );
        match self.left_over.is_empty() {
            true => any,
            false => format!("{any}\n\n{}", self.delete_left_over()),
        }
    }

    /// Nobody can tell a token that was left over from one that somebody uses, except
    /// a person.
    fn delete_left_over(&self) -> String {
        let said: Vec<_> = self
            .left_over
            .iter()
            .map(|id| {
                format!(
                    "Token {id} has the description of the new one. A provider that is killed while it makes a token cannot tell of it: the \
                     token is in no state then, and nobody knows its value. Look whether a state has this one:\n    \
                     terraform state list -id={id}\n\
                     If none has it, and nobody uses it, delete it:{}",
                    self.delete(id)
                )
            })
            .collect();
        said.join("\n\n")
    }

    fn delete(&self, id: &str) -> String {
        format!(
            "\n    oci iam auth-token delete --user-id {} --auth-token-id {id}",
            self.user_id
        )
    }
}

/// Those of a user's tokens that count.
pub(super) fn counted(
    tokens: Vec<oci::AuthToken>,
    deleted: impl Fn(&str) -> bool,
) -> Vec<oci::AuthToken> {
    tokens
        .into_iter()
        .filter(|token| !absence::is_deleted(&token.lifecycle_state) && !deleted(&token.id))
        .collect()
}

/// OCIDs of the tokens that a run may have left over that was to make one with this
/// description, and ended in the middle.
pub(super) fn left_over(
    tokens: &[oci::AuthToken],
    description: Option<&str>,
    may_be: impl Fn(&oci::AuthToken) -> bool,
) -> Vec<String> {
    let Some(description) = description else {
        return Vec::new();
    };
    let is_left_over = |token: &&oci::AuthToken| {
        token.description.as_deref().unwrap_or_default() == description && may_be(token)
    };
    tokens
        .iter()
        .filter(is_left_over)
        .map(|token| token.id.clone())
        .collect()
}

/// Whether a token was made so lately that it may be of the run before.
pub(super) fn is_young(token: &oci::AuthToken, now: SystemTime) -> bool {
    age::of(token.time_created.as_deref(), now).is_some_and(|age| age < YOUTH)
}

/// The tokens, one a line and indented as a command is.
fn lines(held: &[oci::AuthToken], now: SystemTime) -> String {
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

const FULL: &str = "No free auth token";

/// For how long a token is one of the run before, as far as anybody can guess.
const YOUTH: Duration = Duration::from_secs(60 * 60);

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
        let tokens = counted(tokens, |id| id == "d");
        let ids: Vec<_> = tokens.iter().map(|token| token.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        let mut held = Held {
            user_id: "u",
            tokens,
            left_over: Vec::new(),
        };
        assert!(held.is_full());
        held.tokens.pop();
        assert!(!held.is_full());
        Ok(())
    }

    /// What may be left over has the description, and is young or known not to be the
    /// one that is replaced.
    #[test]
    fn what_may_be_left_over() -> anyhow::Result<()> {
        let made = "2026-01-02T03:04:05Z";
        let tokens = ["CI", "CI", "else"]
            .into_iter()
            .zip(["a", "b", "c"])
            .map(|(description, id)| {
                token(serde_json::json!({
                    "id": id, "userId": "u", "lifecycleState": "ACTIVE",
                    "description": description, "timeCreated": made,
                }))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let found = |description| left_over(&tokens, description, |token| token.id != "b");
        assert_eq!(found(Some("CI")), ["a"]);
        assert_eq!(found(Some("else")), ["c"]);
        assert!(found(Some("")).is_empty() && found(None).is_empty());
        let now =
            |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + seconds);
        assert!(is_young(&tokens[0], now(3_599)));
        assert!(!is_young(&tokens[0], now(3_600)));
        Ok(())
    }

    /// Each token is told by its description and its age.
    #[test]
    fn tokens_by_line() -> anyhow::Result<()> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
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
