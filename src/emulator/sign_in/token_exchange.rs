//! An identity domain that exchanges the token of a CI service (RFC 8693).

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{StatusCode, header};

use super::{
    super::{
        key::PublicKey,
        principal::{self, Kind, Principal, SignIn, authenticate, security_token},
        refusal::Refusal,
        server::{Answer, Call, Shared},
        signature::Signed,
    },
    LARGEST, credentials, token,
};

/// The one confidential application of the domain.
pub(in super::super) const CLIENT_ID: &str = "2f5e0b6d7c8e4a53b1d0c9a7e6f41234";

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const UPST: &str = "urn:oci:token-type:oci-upst";
const RPST: &str = "urn:oci:token-type:oci-rpst";
const PARAMETERS: &[&str] = &[
    "grant_type",
    "public_key",
    "requested_token_type",
    "res_type",
    "rpst_exp",
    "subject_token",
    "subject_token_type",
];

pub(super) async fn answer(shared: &Shared, call: &mut Call) -> Result<Answer, Refusal> {
    let body = call.body.collect(LARGEST).await?;
    check_client(shared, call, &body)?;
    let form = form(call, &body)?;
    let given = |name: &str| {
        form.get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    };
    let required =
        |name: &str| given(name).ok_or_else(|| invalid(format!("Missing parameter: {name}")));

    if required("grant_type")? != GRANT {
        return Err(bad_request(
            "unsupported_grant_type",
            "The grant type is not supported.",
        ));
    }
    if required("subject_token_type")? != "jwt" {
        return Err(invalid("subject_token_type must be jwt".into()));
    }
    if !principal::is_job(shared, required("subject_token")?) {
        return Err(bad_request(
            "invalid_grant",
            "The subject token is not trusted or has expired.",
        ));
    }
    let key = PublicKey::from_text(required("public_key")?)
        .ok_or_else(|| invalid("public_key is not base64 of an RSA key's DER".into()))?;
    let seed = &shared.tenancy.seed;
    let (principal, at_most) = match required("requested_token_type")? {
        // The domain's trust lets the job act as the seeded user.
        UPST => {
            if given("res_type").or(given("rpst_exp")).is_some() {
                return Err(invalid(format!("res_type and rpst_exp need {RPST}")));
            }
            (Principal::user(&shared.tenancy), None)
        }
        RPST => {
            required("res_type")?;
            let at_most = given("rpst_exp").map(|text| {
                text.parse()
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs)
                    .ok_or_else(|| invalid("rpst_exp must be a number of seconds".into()))
            });
            let workload = Principal {
                kind: Kind::Workload,
                id: seed.workload_id.clone(),
            };
            (workload, at_most.transpose()?)
        }
        other => return Err(invalid(format!("Unknown requested_token_type: {other}"))),
    };
    call.caller = Some(format!("token_exchange {}", principal.id));
    Ok(token(&security_token(
        shared,
        SignIn::Exchange,
        &principal,
        &key,
        at_most,
    )))
}

/// The application's id and secret, or an instance's signature.
fn check_client(shared: &Shared, call: &Call, body: &[u8]) -> Result<(), Refusal> {
    let known = match credentials(call, "basic") {
        Some(encoded) => STANDARD
            .decode(encoded)
            .is_ok_and(|given| given == format!("{CLIENT_ID}:{}", shared.client_secret).as_bytes()),
        None => {
            let request = Signed {
                method: &call.method,
                target: &call.target,
                headers: &call.headers,
                body,
            };
            authenticate(shared, &request)
                .is_ok_and(|caller| caller.principal.kind == Kind::Instance)
        }
    };
    if known {
        Ok(())
    } else {
        Err(usual_refusal(StatusCode::UNAUTHORIZED))
    }
}

fn form(call: &Call, body: &[u8]) -> Result<BTreeMap<String, String>, Refusal> {
    let media_type = call.header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(invalid(format!("Unknown content type: {media_type}")));
    }
    let mut form = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body).into_owned() {
        if !PARAMETERS.contains(&name.as_str()) {
            return Err(invalid(format!("Unknown parameter: {name}")));
        }
        if form.insert(name.clone(), value).is_some() {
            return Err(invalid(format!("Parameter given twice: {name}")));
        }
    }
    Ok(form)
}

fn invalid(description: String) -> Refusal {
    bad_request("invalid_request", &description)
}

fn bad_request(error: &'static str, description: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error, description)
}

/// As OAuth names things.
pub(in super::super) fn usual_refusal(status: StatusCode) -> Refusal {
    let (error, description) = match status.as_u16() {
        401 => {
            return Refusal::new(status, "invalid_client", "Client authentication failed.")
                .with(header::WWW_AUTHENTICATE, r#"Basic realm="identity domain""#);
        }
        403 => ("unauthorized_client", "The client may not do this."),
        404 => ("not_found", "Not found."),
        405 => ("invalid_request", "The method is not allowed."),
        429 => ("too_many_requests", "Too many requests."),
        503 => (
            "temporarily_unavailable",
            "The service is currently unavailable.",
        ),
        500.. => ("server_error", "An internal error occurred."),
        _ => ("invalid_request", "The request is invalid."),
    };
    Refusal::new(status, error, description)
}
