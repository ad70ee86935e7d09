//! A user's API key: the same credential every time.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{Credential, CredentialSource, Error, Grantee};
use crate::signing::SigningKey;

pub(super) struct ApiKey {
    tenancy_id: String,
    user_id: String,
    origin: String,
    credential: Arc<Credential>,
}

impl ApiKey {
    pub(super) fn new(tenancy_id: &str, user_id: &str, key: SigningKey, origin: &str) -> Self {
        Self {
            tenancy_id: tenancy_id.to_owned(),
            user_id: user_id.to_owned(),
            origin: origin.to_owned(),
            credential: Arc::new(Credential {
                key_id: format!("{tenancy_id}/{user_id}/{}", key.fingerprint()),
                key: Arc::new(key),
                delegation_token: None,
            }),
        }
    }
}

impl CredentialSource for ApiKey {
    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Arc<Error>>> {
        ready(Ok(self.credential.clone())).boxed()
    }

    fn describe(&self) -> String {
        format!(
            "user {} (API key {}, {})",
            self.user_id,
            self.credential.key.fingerprint(),
            self.origin
        )
    }

    fn tenancy_id(&self) -> Option<String> {
        Some(self.tenancy_id.clone())
    }

    fn user_id(&self) -> Option<String> {
        Some(self.user_id.clone())
    }

    fn grantee(&self) -> Grantee {
        Grantee::Group
    }
}
