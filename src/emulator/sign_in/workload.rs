//! The service of an OKE cluster that gives tokens to its pods.

use std::sync::atomic::Ordering;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{
        key::PublicKey,
        principal::{self, Kind, Principal, SignIn, security_token},
        refusal::Refusal,
        server::{Answer, Call, Shared, json_answer},
    },
    credentials, members, only, text,
};

pub(super) async fn answer(shared: &Shared, call: &mut Call) -> Result<Answer, Refusal> {
    let members = members(call).await?;
    let known = credentials(call, "bearer")
        .is_some_and(|token| principal::is_service_account(shared, token));
    if !known {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "NotAuthenticated",
            "The service account token is missing, not this cluster's, or has expired.",
        ));
    }
    if !shared.enhanced_cluster.load(Ordering::Relaxed) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "NotAuthorized",
            "Workload identity is available in enhanced clusters only.",
        ));
    }
    only(&members, &["podKey"])?;
    let key = PublicKey::from_text(text(&members, "podKey")?)
        .ok_or_else(|| Refusal::invalid("podKey is not an RSA key of at least 2048 bits"))?;

    let workload = Principal {
        kind: Kind::Workload,
        id: shared.tenancy.seed.workload_id.clone(),
    };
    call.caller = Some(format!("workload {}", workload.id));
    let token = security_token(shared, SignIn::Workload, &workload, &key, None);
    let inner = json!({ "token": format!("ST${token}") }).to_string();
    // A JSON string that holds base64 that holds JSON.
    Ok(json_answer(
        StatusCode::OK,
        &Value::String(STANDARD.encode(inner)),
    ))
}
