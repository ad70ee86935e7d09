//! What a security token says about itself. Nothing is verified here: whoever
//! is asked with it does that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// The claims of a JSON Web Token.
#[derive(Clone)]
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// Reads the claims; `None` when this is no JSON Web Token.
    pub(crate) fn of(token: &str) -> Option<Self> {
        let mut parts = token.trim().split('.');
        let (_, payload) = (parts.next()?, parts.next()?);
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        match serde_json::from_slice(&payload) {
            Ok(Value::Object(claims)) => Some(Self(claims)),
            _ => None,
        }
    }

    /// A claim of any kind.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim that is text and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A claim that says who or what something is. Messages show it and policies have it in
    /// quotes, so one that would do something there is none.
    pub(super) fn name(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| is_name(text))
    }

    /// When the token ends.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.seconds("exp")
            .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
    }

    /// How long it lives in all, by the clock of whoever made it.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let (from, to) = (self.seconds("iat")?, self.seconds("exp")?);
        Some(Duration::from_secs(to.checked_sub(from)?))
    }

    fn seconds(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        // Some write these as floating-point numbers.
        value
            .as_u64()
            .or_else(|| value.as_f64().map(|seconds| seconds.max(0.0) as u64))
    }
}

/// Whether a text can be shown as what somebody is called.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |letter: char| {
        letter.is_alphanumeric()
            || letter == ' '
            || (letter.is_ascii_graphic() && !"'\"`\\".contains(letter))
    };
    text.chars().count() <= LONGEST_NAME && text.chars().all(plain)
}

/// OCIDs have at most as many characters.
const LONGEST_NAME: usize = 255;

/// A token with these claims, and no signature worth the name.
#[cfg(test)]
pub(super) fn token(claims: &Value) -> String {
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("e30.{payload}.c2ln")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whole and broken numbers, other shapes, and what is no token at all.
    #[test]
    fn reads_claims() {
        let claims = Claims::of(&token(
            &json!({"iat": 100, "exp": 160.9, "sub": "a", "n": ""}),
        ));
        let claims = claims.expect("it is a token");
        assert_eq!(claims.lifetime(), Some(Duration::from_secs(60)));
        assert_eq!(
            claims.expires(),
            UNIX_EPOCH.checked_add(Duration::from_secs(160))
        );
        assert_eq!(claims.text("sub"), Some("a"));
        assert_eq!(claims.text("n"), None);
        for odd in [
            json!({"exp": -1}),
            json!({"exp": u64::MAX}),
            json!({"iat": 9, "exp": 3}),
        ] {
            let claims = Claims::of(&token(&odd)).expect("it is a token");
            assert_eq!(claims.lifetime(), None);
        }
        for none in ["", "opaque", "a.b", "a.e30x.c", &token(&json!([]))] {
            assert!(Claims::of(none).is_none(), "{none}");
        }
    }

    proptest::proptest! {
        /// Whatever a token says, reading it ends with claims or with none.
        #[test]
        fn any_token(
            claims in crate::spoilt::json([
                json!({"iat": 1_767_322_000, "exp": 1_767_325_600, "sub": "ocid1.user.oc1..aaaa"}),
                json!({"exp": 1.5e18, "iat": 0}),
            ]),
            text in crate::spoilt::text(&["e30.eyJleHAiOjF9.c2ln", "a..b", "..."]),
        ) {
            for token in [token(&claims), text] {
                let Some(claims) = Claims::of(&token) else { continue };
                let _ = (claims.expires(), claims.value("sub"));
                if let Some(name) = claims.name("sub") {
                    proptest::prop_assert!(claims.text("sub") == Some(name) && name.len() <= 4 * LONGEST_NAME);
                    proptest::prop_assert!(!name.contains(['\'', '"']) && !name.contains(char::is_control));
                }
                if let Some(lifetime) = claims.lifetime() {
                    proptest::prop_assert!(claims.seconds("exp") >= Some(lifetime.as_secs()));
                }
            }
        }
    }
}
