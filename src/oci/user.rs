//! IAM users.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/identity/latest/User/GetUser>

use http::Method;
use serde::Deserialize;

use super::{Client, Error, call::Call};
use crate::region::Service;

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct User {
    pub id: String,
    /// The login name, with the federation's prefix when there is one.
    pub name: String,
}

impl Client {
    /// GetUser.
    pub async fn get_user(&self, id: &str) -> Result<User, Error> {
        let call = Call::new(self, "GetUser", Service::Identity, Method::GET)?
            .path("users")
            .value(id)
            // Only a name is wanted, which is not worth minutes.
            .question();
        self.json(&call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A federated user's name has the federation in front.
    #[test]
    fn decodes_a_user() -> anyhow::Result<()> {
        let user: User = serde_json::from_str(include_str!("../../tests/fixtures/oci/user.json"))?;
        assert_eq!(user.id, "ocid1.user.oc1..aaaaaaaaexampleuser");
        assert_eq!(user.name, "oracleidentitycloudservice/docker@example.com");
        Ok(())
    }
}
