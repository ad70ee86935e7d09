//! Auth tokens of IAM users.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/identity/latest/AuthToken>

use serde::Deserialize;

use super::{Client, Error};

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
    /// CreateAuthToken. Carries a retry token.
    pub async fn create_auth_token(
        &self,
        _user_id: &str,
        _description: &str,
    ) -> Result<AuthToken, Error> {
        todo!()
    }
    /// ListAuthTokens. There is no call for one.
    pub async fn list_auth_tokens(&self, _user_id: &str) -> Result<Vec<AuthToken>, Error> {
        todo!()
    }
    /// UpdateAuthToken.
    pub async fn update_auth_token(
        &self,
        _user_id: &str,
        _id: &str,
        _description: &str,
    ) -> Result<AuthToken, Error> {
        todo!()
    }
    /// DeleteAuthToken. A retry that meets 404 succeeded.
    pub async fn delete_auth_token(&self, _user_id: &str, _id: &str) -> Result<(), Error> {
        todo!()
    }
}
