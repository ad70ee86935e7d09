//! IAM users.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/identity/latest/User/GetUser>

use serde::Deserialize;

use super::{Client, Error};

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
    pub async fn get_user(&self, _id: &str) -> Result<User, Error> {
        todo!()
    }
}
