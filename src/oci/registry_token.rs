//! The registry's token endpoint, with a signature instead of a password.
//!
//! API: `GET /20180419/docker/token` on the registry's own host.

use std::{fmt, time::Duration};

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Client, Error, call::Call, client, hosts::parse_address};
use crate::{credentials::Claims, region::Service};

/// A registry token. Its `Debug` does not show it.
#[derive(Clone)]
pub struct RegistryToken {
    /// The bearer token. A secret.
    pub token: String,
    /// How long it is good for, from now.
    pub expires_in: Duration,
}

impl Client {
    /// Exchanges the caller's identity for a registry token at `base`
    /// (scheme and authority of the registry). An anonymous token, which is
    /// what the endpoint gives to a signature it does not accept, is
    /// [`Error::Anonymous`].
    ///
    /// Asks for no scope: such a token is good for everything that the
    /// identity may do in the registry.
    pub async fn get_registry_token(&self, base: &str) -> Result<RegistryToken, Error> {
        self.get_scoped_registry_token(base, None, None).await
    }

    /// The same for a registry's host (`service`) and one thing there, for example
    /// `repository:NAMESPACE/team/web:pull`.
    pub async fn get_scoped_registry_token(
        &self,
        base: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<RegistryToken, Error> {
        let base = parse_address(base)?;
        let host = crate::transport::authority(&base);
        let call = Call::at(OPERATION, Service::ContainerRegistry, Method::GET, base)
            .path("20180419/docker/token")
            .query("service", service)
            .query("scope", scope)
            .checked(|answer, host| token(answer, host).map(drop));
        let answer = self.send(&call).await?;
        // Looked at before, where another credential is asked for if need be.
        token(&answer, &host)
    }
}

/// The token in an answer.
fn token(answer: &client::Answer, host: &str) -> Result<RegistryToken, Error> {
    let body: Answer = answer.json(OPERATION)?;
    let token = [body.token, body.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())
        .ok_or_else(|| answer.unreadable(OPERATION, "there is no token in it"))?;
    if is_anonymous(&token) {
        return Err(Error::Anonymous {
            host: host.to_owned(),
            clock_skew: answer.clock_skew(),
        });
    }
    Ok(RegistryToken {
        token,
        expires_in: lifetime(body.expires_in),
    })
}

/// How long to rely on a token. A server may say any number; nobody's token
/// lives longer than a day here, and a moment far in the future cannot be
/// reckoned with.
fn lifetime(seconds: Option<u64>) -> Duration {
    seconds.map_or(DEFAULT_LIFETIME, |seconds| {
        Duration::from_secs(seconds.min(24 * 60 * 60))
    })
}

/// The answer; both names stand for the same token.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Whether a token says that its bearer is nobody. A token of a shape that is
/// not known here is accepted: the registry knows better.
pub(super) fn is_anonymous(token: &str) -> bool {
    user_id(token).is_some_and(|user_id| user_id.starts_with("anon-"))
}

/// The user in the JWT: its `sub` is a JSON document written as a string.
fn user_id(token: &str) -> Option<String> {
    let claims = Claims::of(token)?;
    let subject = match claims.value("sub")? {
        Value::String(document) => serde_json::from_str(document).ok()?,
        other => other.clone(),
    };
    subject["userId"].as_str().map(str::to_owned)
}

impl fmt::Debug for RegistryToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryToken")
            .field("token", &"[redacted]")
            .field("expires_in", &self.expires_in)
            .finish()
    }
}

const OPERATION: &str = "GetRegistryToken";

/// What the distribution specification says of an answer without `expires_in`.
/// <https://distribution.github.io/distribution/spec/auth/token/>
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    /// A lifetime that no clock can reckon with is cut to a day.
    #[test]
    fn endless_lifetime() {
        assert_eq!(lifetime(Some(u64::MAX)), Duration::from_secs(86_400));
        assert_eq!(lifetime(Some(3600)), Duration::from_secs(3600));
        assert_eq!(lifetime(None), DEFAULT_LIFETIME);
    }

    fn token(payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.c2lnbmF0dXJl",
            part(&json!({"alg": "RS256"})),
            part(payload)
        )
    }

    /// Who is in a token: a user, nobody, or something new, which is let through.
    #[test]
    fn recognises_anonymous_tokens() {
        let nobody = json!({"userId": "anon-5f2c", "tenantId": null}).to_string();
        assert!(is_anonymous(&token(&json!({"sub": nobody}))));
        assert!(is_anonymous(&token(
            &json!({"sub": {"userId": "anon-5f2c"}})
        )));
        let padded = token(&json!({"sub": nobody})).replacen(".c2", "=.c2", 1);
        assert!(is_anonymous(&padded));

        let somebody = json!({"userId": "ocid1.user.oc1..a", "tenantId": "t"}).to_string();
        assert!(!is_anonymous(&token(&json!({"sub": somebody}))));
        for unknown in [
            token(&json!({"sub": "anon-5f2c"})),
            token(&json!({"sub": 5})),
            token(&json!([])),
            "eyJ.fake.jwt".to_owned(),
            "opaque".to_owned(),
            String::new(),
        ] {
            assert!(!is_anonymous(&unknown), "{unknown}");
        }
    }

    /// The body as the service sends it; the lifetime is in seconds.
    #[test]
    fn decodes_an_answer() -> anyhow::Result<()> {
        let answer: Answer =
            serde_json::from_str(include_str!("../../tests/fixtures/oci/registry-token.json"))?;
        assert_eq!(answer.token.as_deref(), Some("eyJ.fake.jwt"));
        assert_eq!(answer.access_token, answer.token);
        assert_eq!(answer.expires_in, Some(3600));
        Ok(())
    }

    /// A token is not printed.
    #[test]
    fn debug_shows_no_secret() {
        let token = RegistryToken {
            token: "eyJTOKEN".to_owned(),
            expires_in: Duration::from_secs(3600),
        };
        expect![[r#"RegistryToken { token: "[redacted]", expires_in: 3600s }"#]]
            .assert_eq(&format!("{token:?}"));
    }

    proptest::proptest! {
        /// Whatever a token says of its bearer, it is nobody or somebody.
        #[test]
        fn any_subject(
            subject in crate::spoilt::json([json!({"userId": "anon-1", "tenantId": "x", "claims": {}})]),
            payload in crate::spoilt::json([json!({"sub": "{\"userId\":\"anon-1\"}", "exp": 1}), json!({"sub": {"userId": "a"}})]),
        ) {
            let _ = is_anonymous(&token(&payload));
            let written = json!({"sub": subject.to_string()});
            // One that nests too deeply is of no known shape.
            let is_read = serde_json::from_str::<Value>(&subject.to_string()).is_ok();
            let is_nobody = is_read && subject["userId"].as_str().is_some_and(|id| id.starts_with("anon-"));
            proptest::prop_assert_eq!(is_anonymous(&token(&written)), is_nobody);
        }
    }
}
