//! Registry tokens: JSON Web Tokens as OCIR's token endpoint mints them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    clock::Moment,
    jwt,
    principal::{Kind, Principal},
    state::State,
};

/// Who a registry token was given to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Caller {
    Anonymous,
    Principal(Principal),
}

impl Caller {
    /// For the log: whom a registry token names.
    pub(super) fn print(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Principal(principal) => Some(format!("registry_token {}", principal.id)),
        }
    }
}

/// How long a registry token lives when nothing else is said.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

const AUDIENCE: &str = "ocir";

/// A token for a caller. The scope is in it, as the service does it, but is not enforced.
pub(super) fn mint(
    state: &State,
    caller: &Caller,
    tenancy_id: &str,
    scope: &str,
    now: Moment,
    lifetime: Duration,
) -> String {
    let (user_id, claims) = match caller {
        Caller::Principal(principal) => (
            principal.id.clone(),
            json!([{ "key": "ptype", "value": principal.kind.name(), "issuer": null }]),
        ),
        Caller::Anonymous => (format!("anon-{:032x}", rand::random::<u128>()), json!([])),
    };
    // The subject is a JSON document inside a string.
    let subject = json!({ "userId": user_id, "tenantId": tenancy_id, "claims": claims });
    let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 2);
    jwt::sign(
        &state.token_secret,
        &json!({
            "sub": subject.to_string(),
            "aud": AUDIENCE,
            "scope": scope,
            "iat": now.seconds(),
            "exp": now.seconds() + lifetime,
            "jti": state.token_id(),
        }),
    )
}

/// Who presents a token, when it is ours and has not expired.
pub(super) fn verify(state: &State, token: &str, now: Moment) -> Option<Caller> {
    let claims = jwt::claims(&state.token_secret, token)?;
    if claims["aud"] != AUDIENCE
        || claims["exp"].as_i64()? <= now.seconds()
        || state.is_void(claims["jti"].as_str()?)
    {
        return None;
    }
    let subject: Value = serde_json::from_str(claims["sub"].as_str()?).ok()?;
    let id = subject["userId"].as_str()?;
    if id.starts_with("anon-") {
        return Some(Caller::Anonymous);
    }
    Some(Caller::Principal(Principal {
        kind: Kind::named(subject["claims"][0]["value"].as_str()?)?,
        id: id.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token names its owner for an hour, or until all tokens expire; another emulator's or
    /// a changed one names nobody.
    #[test]
    fn lifetime() {
        let mut state = State {
            token_secret: "secret".into(),
            ..State::default()
        };
        let instance = Caller::Principal(Principal {
            kind: Kind::Instance,
            id: "ocid1.instance.oc1..a".into(),
        });
        let now = Moment(1_767_323_045_678);
        let later = |seconds: i64| Moment(now.0 + seconds * 1000);
        let token = mint(&state, &instance, "tenancy", "", now, LIFETIME);
        assert_eq!(verify(&state, &token, later(3599)), Some(instance));
        assert_eq!(verify(&state, &token, later(3600)), None);
        assert_eq!(verify(&state, &token[1..], now), None);

        let anonymous = mint(&state, &Caller::Anonymous, "tenancy", "", now, LIFETIME);
        assert_eq!(verify(&state, &anonymous, now), Some(Caller::Anonymous));

        state.token_generation += 1;
        assert_eq!(verify(&state, &token, now), None);
        state.token_generation = 0;
        state.token_secret = "other".into();
        assert_eq!(verify(&state, &token, now), None);
    }
}
