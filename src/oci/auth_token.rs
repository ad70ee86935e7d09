//! Auth tokens of IAM users.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/identity/latest/AuthToken>

use std::fmt;

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Client, Error, call::Call, new_retry_token};
use crate::region::Service;

/// An auth token. Its `Debug` does not show the token itself.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct AuthToken {
    pub id: String,
    pub user_id: String,
    #[serde(default)]
    pub description: Option<String>,
    /// Only in the answer to a create. A secret.
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default)]
    pub time_created: Option<String>,
    #[serde(default)]
    pub time_expires: Option<String>,
    pub lifecycle_state: String,
    #[serde(default)]
    pub inactive_status: Option<i64>,
}

impl Client {
    /// CreateAuthToken, at home like all changes here. Carries a retry token.
    pub async fn create_auth_token(
        &self,
        user_id: &str,
        description: &str,
    ) -> Result<AuthToken, Error> {
        self.create_auth_token_as(user_id, description, &new_retry_token())
            .await
    }

    /// CreateAuthToken with a retry token of the caller's, who can repeat the call
    /// later: the token that it made the first time is then the answer, value and all.
    pub async fn create_auth_token_as(
        &self,
        user_id: &str,
        description: &str,
        retry_token: &str,
    ) -> Result<AuthToken, Error> {
        let call = Call::new(self, "CreateAuthToken", Service::Identity, Method::POST)?
            .path("users")
            .value(user_id)
            .path("authTokens")
            .body(&Description { description })?
            .repeating(retry_token);
        self.json(&call).await
    }

    /// ListAuthTokens. There is no call for one.
    pub async fn list_auth_tokens(&self, user_id: &str) -> Result<Vec<AuthToken>, Error> {
        // Not documented as paged, and costs nothing if it should be. That the
        // list is refused is an answer too: it is asked to tell whether a token
        // is there.
        let call = Call::new(self, "ListAuthTokens", Service::Identity, Method::GET)?
            .path("users")
            .value(user_id)
            .path("authTokens")
            .question();
        self.pages(call, |page: Vec<AuthToken>| page).await
    }

    /// UpdateAuthToken.
    pub async fn update_auth_token(
        &self,
        user_id: &str,
        id: &str,
        description: &str,
    ) -> Result<AuthToken, Error> {
        let call = Call::new(self, "UpdateAuthToken", Service::Identity, Method::PUT)?
            .path("users")
            .value(user_id)
            .path("authTokens")
            .value(id)
            .body(&Description { description })?;
        self.json(&call).await
    }

    /// DeleteAuthToken. A retry that meets 404 succeeded.
    pub async fn delete_auth_token(&self, user_id: &str, id: &str) -> Result<(), Error> {
        let call = Call::new(self, "DeleteAuthToken", Service::Identity, Method::DELETE)?
            .path("users")
            .value(user_id)
            .path("authTokens")
            .value(id)
            .removing();
        self.done(&call).await
    }
}

/// Body of a create and of an update.
#[derive(Serialize)]
struct Description<'a> {
    description: &'a str,
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthToken")
            .field("id", &self.id)
            .field("user_id", &self.user_id)
            .field("description", &self.description)
            .field("token", &self.token.as_ref().map(|_| "[redacted]"))
            .field("time_created", &self.time_created)
            .field("time_expires", &self.time_expires)
            .field("lifecycle_state", &self.lifecycle_state)
            .field("inactive_status", &self.inactive_status)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The answer to a create holds the token, which is not printed.
    #[test]
    fn decodes_a_created_token_and_hides_it() -> anyhow::Result<()> {
        let token: AuthToken = serde_json::from_str(include_str!(
            "../../tests/fixtures/oci/auth-token-create.json"
        ))?;
        assert_eq!(token.token.as_deref(), Some("FAKE(token)VALUE"));
        expect![[r#"AuthToken { id: "ocid1.credential.oc1..aaaaaaaatesttoken", user_id: "ocid1.user.oc1..aaaaaaaatestuser", description: Some("ci token"), token: Some("[redacted]"), time_created: Some("2026-01-02T03:04:05.678Z"), time_expires: None, lifecycle_state: "ACTIVE", inactive_status: None }"#]].assert_eq(&format!("{token:?}"));
        Ok(())
    }

    /// A list is a bare array, without the tokens.
    #[test]
    fn decodes_a_list() -> anyhow::Result<()> {
        let tokens: Vec<AuthToken> = serde_json::from_str(include_str!(
            "../../tests/fixtures/oci/auth-token-list.json"
        ))?;
        expect![[r#"[AuthToken { id: "ocid1.credential.oc1..aaaaaaaatesttoken", user_id: "ocid1.user.oc1..aaaaaaaatestuser", description: Some("d"), token: None, time_created: Some("2026-01-02T03:04:05.678Z"), time_expires: None, lifecycle_state: "ACTIVE", inactive_status: None }]"#]].assert_eq(&format!("{tokens:?}"));
        Ok(())
    }

    /// A state that is newer than this client is kept as it is.
    #[test]
    fn unknown_state_is_kept() -> anyhow::Result<()> {
        let token: AuthToken = serde_json::from_str(
            r#"{"id": "a", "userId": "b", "lifecycleState": "SLEEPING", "new": [1]}"#,
        )?;
        assert_eq!(token.lifecycle_state, "SLEEPING");
        Ok(())
    }
}
