//! The token endpoint: a registry token for a signature, a password, or nobody.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::json;

use super::{
    super::{
        clock::Moment,
        identity::{self, Caller},
        principal::{Principal, authenticate},
        refusal::Refusal,
        server::{Answer, Call, Shared, json_answer},
        signature::Signed,
        state::AuthToken,
    },
    unknown_tenant,
};

pub(super) fn answer(shared: &Shared, call: &mut Call) -> Result<Answer, Refusal> {
    let scopes: Vec<&str> = call
        .query
        .iter()
        .filter(|(name, _)| name == "scope")
        .flat_map(|(_, value)| value.split(' '))
        .filter(|scope| !scope.is_empty())
        .collect();
    for scope in &scopes {
        check_scope(scope)?;
    }
    let scope = scopes.join(" ");
    let (caller, printed) = caller(shared, call)?;
    call.caller = printed;
    let tenancy_id = &shared.tenancy.seed.tenancy_id;
    let now = shared.clock.now();
    let lifetime = shared.settings.registry_token_lifetime;
    let token = shared
        .store
        .read(|state| identity::mint(state, &caller, tenancy_id, &scope, now, lifetime));
    Ok(json_answer(
        StatusCode::OK,
        &json!({
            "token": token,
            "access_token": token,
            "scope": scope,
            "expires_in": lifetime.as_secs(),
        }),
    ))
}

/// `repository:name:action,action`: what is in it does not matter, except for what is refused.
fn check_scope(scope: &str) -> Result<(), Refusal> {
    let refused = |message: String| {
        Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "UNSUPPORTED",
            message,
        ))
    };
    let (kind, rest) = scope.split_once(':').unwrap_or((scope, ""));
    let actions = rest.rsplit_once(':').map_or("", |(_, actions)| actions);
    if kind != "repository" {
        return refused(format!("Unsupported scope: {scope}"));
    }
    if actions.split(',').any(|action| action == "delete") {
        return refused(format!("Unsupported action in scope: {scope}"));
    }
    Ok(())
}

/// Who asks, and how the log has it.
fn caller(shared: &Shared, call: &Call) -> Result<(Caller, Option<String>), Refusal> {
    let Some((scheme, value)) = call
        .header("authorization")
        .and_then(|value| value.split_once(' '))
    else {
        return Ok((Caller::Anonymous, None));
    };
    if scheme.eq_ignore_ascii_case("basic") {
        return log_in(shared, value.trim());
    }
    let signed = Signed {
        method: &call.method,
        target: &call.target,
        headers: &call.headers,
        body: &[],
    };
    // Here, and only here, a signature that fails makes an anonymous caller.
    Ok(match authenticate(shared, &signed) {
        Ok(caller) => {
            let printed = caller.print();
            (Caller::Principal(caller.principal), Some(printed))
        }
        Err(_) => (Caller::Anonymous, None),
    })
}

/// `namespace/user` with an auth token, or `BEARER_TOKEN` with a registry token.
fn log_in(shared: &Shared, encoded: &str) -> Result<(Caller, Option<String>), Refusal> {
    let unauthorized = || Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Unauthorized");
    let decoded = STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(unauthorized)?;
    let (username, password) = decoded.split_once(':').ok_or_else(unauthorized)?;
    if username == "BEARER_TOKEN" {
        let caller = shared.bearer(password).ok_or_else(unauthorized)?;
        let printed = caller.print();
        return Ok((caller, printed));
    }
    let seed = &shared.tenancy.seed;
    let (namespace, user) = username.split_once('/').ok_or_else(unauthorized)?;
    if namespace != seed.namespace {
        return Err(unknown_tenant(StatusCode::UNAUTHORIZED, namespace));
    }
    let now = shared.clock.now();
    let delay = i64::try_from(shared.settings.token_delay.as_millis()).unwrap_or(i64::MAX);
    let accepted = shared.store.read(|state| {
        state
            .auth_tokens
            .values()
            .any(|token| token.token == password && is_usable(token, now, delay))
    });
    let known_as = match &shared.settings.federation {
        Some(federation) => format!("{federation}/{}", seed.user_name),
        None => seed.user_name.clone(),
    };
    if user == known_as && accepted {
        let user = Principal::user(&shared.tenancy);
        let printed = format!("auth_token {}", user.id);
        Ok((Caller::Principal(user), Some(printed)))
    } else {
        Err(unauthorized())
    }
}

/// A token that is active, has not expired, and has reached the registry.
fn is_usable(token: &AuthToken, now: Moment, delay: i64) -> bool {
    let after = |time: &str, delay: i64| {
        Moment::from_rfc3339(time).is_some_and(|time| now.0 >= time.0.saturating_add(delay))
    };
    token.lifecycle_state == "ACTIVE"
        && after(&token.time_created, delay)
        && !token
            .time_expires
            .as_deref()
            .is_some_and(|time| after(time, 0))
}
