//! Registry tokens: JSON Web Tokens as OCIR's token endpoint mints them.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::clock::Moment;

/// Who a registry token was given to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Caller {
    /// The seeded user, by OCID.
    User(String),
    Anonymous,
}

/// Seconds a registry token lives.
pub(super) const LIFETIME: i64 = 3600;

/// A token for a caller. The scope is in it, as the service does it, but is not enforced.
pub(super) fn mint(
    secret: &str,
    caller: &Caller,
    tenancy_id: &str,
    scope: &str,
    now: Moment,
) -> String {
    let user_id = match caller {
        Caller::User(id) => id.clone(),
        Caller::Anonymous => format!("anon-{:032x}", rand::random::<u128>()),
    };
    // The subject is a JSON document inside a string.
    let subject = json!({ "userId": user_id, "tenantId": tenancy_id, "claims": [] }).to_string();
    let payload = json!({
        "sub": subject,
        "aud": "ocir",
        "scope": scope,
        "iat": now.seconds(),
        "exp": now.seconds() + LIFETIME,
        "jti": format!("{:032x}", rand::random::<u128>()),
    });
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let signed = format!("{}.{}", encode(&header), encode(&payload));
    let signature = hmac::sign(&key(secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Who presents a token, when it is ours and has not expired.
pub(super) fn verify(secret: &str, token: &str, now: Moment) -> Option<Caller> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    hmac::verify(&key(secret), signed.as_bytes(), &signature).ok()?;
    let (_, payload) = signed.split_once('.')?;
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    if payload["exp"].as_i64()? <= now.seconds() {
        return None;
    }
    let subject: Value = serde_json::from_str(payload["sub"].as_str()?).ok()?;
    let user_id = subject["userId"].as_str()?;
    Some(if user_id.starts_with("anon-") {
        Caller::Anonymous
    } else {
        Caller::User(user_id.into())
    })
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token names its owner for an hour; another emulator's or a changed one names nobody.
    #[test]
    fn lifetime() {
        let user = Caller::User("ocid1.user.oc1..a".into());
        let now = Moment(1_767_323_045_678);
        let token = mint("secret", &user, "tenancy", "", now);
        assert_eq!(verify("secret", &token, now), Some(user));
        assert_eq!(
            verify("secret", &token, Moment(now.0 + LIFETIME * 1000)),
            None
        );
        assert_eq!(verify("other", &token, now), None);
        assert_eq!(verify("secret", &token[1..], now), None);

        let token = mint("secret", &Caller::Anonymous, "tenancy", "", now);
        assert_eq!(verify("secret", &token, now), Some(Caller::Anonymous));
    }
}
