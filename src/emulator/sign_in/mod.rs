//! Where those get a token to sign with who have no API key: on an instance, in a
//! pod, in somebody else's CI service.

mod federation;
mod metadata;
mod token_exchange;
mod workload;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};

pub(super) use metadata::Machine;
pub(super) use token_exchange::{CLIENT_ID, usual_refusal as usual_domain_refusal};

use super::{
    control_plane,
    refusal::Refusal,
    server::{Answer, Call, Shared, full, json_answer},
};

/// What a request is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Route {
    ExchangeToken,
    FederateInstance,
    GetInstance,
    GetInstanceCertificate,
    GetInstanceIntermediate,
    GetInstanceKey,
    GetInstanceRegion,
    GetInstanceRegionInfo,
    GetWorkloadToken,
}

use Route::*;

/// Every route: its name, its method and its path.
#[rustfmt::skip]
const ROUTES: &[(Route, &str, Method, &str)] = &[
    (ExchangeToken, "ExchangeToken", Method::POST, "/oauth2/v1/token"),
    (FederateInstance, "FederateInstance", Method::POST, "/v1/x509"),
    (GetInstance, "GetInstance", Method::GET, "/opc/v2/instance/"),
    (GetInstanceCertificate, "GetInstanceCertificate", Method::GET, "/opc/v2/identity/cert.pem"),
    (GetInstanceIntermediate, "GetInstanceIntermediate", Method::GET, "/opc/v2/identity/intermediate.pem"),
    (GetInstanceKey, "GetInstanceKey", Method::GET, "/opc/v2/identity/key.pem"),
    (GetInstanceRegion, "GetInstanceRegion", Method::GET, "/opc/v2/instance/region"),
    (GetInstanceRegionInfo, "GetInstanceRegionInfo", Method::GET, "/opc/v2/instance/regionInfo"),
    (GetWorkloadToken, "GetWorkloadToken", Method::POST, "/resourcePrincipalSessionTokens"),
];

/// Names of all operations.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|(_, name, _, _)| *name)
}

impl Route {
    pub(super) fn operation(self) -> &'static str {
        ROUTES
            .iter()
            .find(|(route, _, _, _)| *route == self)
            .map_or("Unknown", |(_, name, _, _)| name)
    }
}

/// Finds what a method and a path mean.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    // The metadata service knows the instance with and without a slash.
    let path = match path {
        "/opc/v2/instance" => "/opc/v2/instance/",
        path => path,
    };
    let mut known_path = false;
    for (route, _, known, template) in ROUTES {
        if *template == path {
            if known == method {
                return Ok(*route);
            }
            known_path = true;
        }
    }
    Err(if known_path {
        control_plane::usual_refusal(StatusCode::METHOD_NOT_ALLOWED)
    } else {
        Refusal::new(StatusCode::NOT_FOUND, "NotFound", "Not Found")
    })
}

/// Checks who asks, and answers.
pub(super) async fn answer(
    shared: &Shared,
    call: &mut Call,
    route: Route,
) -> Result<Answer, Refusal> {
    match route {
        ExchangeToken => token_exchange::answer(shared, call).await,
        FederateInstance => federation::answer(shared, call).await,
        GetWorkloadToken => workload::answer(shared, call).await,
        GetInstance
        | GetInstanceCertificate
        | GetInstanceIntermediate
        | GetInstanceKey
        | GetInstanceRegion
        | GetInstanceRegionInfo => metadata::answer(shared, call, route),
    }
}

/// The members of a small JSON body.
async fn members(call: &mut Call) -> Result<Map<String, Value>, Refusal> {
    parse(&call.body.collect(LARGEST).await?)
}

/// More than any chain of certificates needs.
const LARGEST: usize = 256 * 1024;

fn parse(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "CannotParseRequest",
            format!("Incorrectly formatted request: {error}"),
        )
    })
}

/// A member that has to be there and has to be text.
fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    match members.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Refusal::invalid(format!("{name} must be a string"))),
        None => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "MissingParameter",
            format!("Missing required parameter: {name}"),
        )),
    }
}

/// Refuses members that nobody knows.
fn only(members: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Refusal::invalid(format!("Unknown member: {name}"))),
    }
}

/// What follows a scheme in `Authorization`.
fn credentials<'a>(call: &'a Call, scheme: &str) -> Option<&'a str> {
    let (given, value) = call.header("authorization")?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| value.trim())
}

fn plain(text: impl Into<bytes::Bytes>) -> Answer {
    let mut answer = Answer::new(full(text));
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn token(token: &str) -> Answer {
    json_answer(StatusCode::OK, &serde_json::json!({ "token": token }))
}

/// DER of a certificate as the federation is sent it: PEM without its first and last line.
fn der(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths find their operation, and a wrong method is told from a wrong path.
    #[test]
    fn routes() {
        let find = |method, path| match route(&method, path) {
            Ok(route) => route.operation().to_owned(),
            Err(refusal) => format!("{} {}", refusal.status.as_u16(), refusal.code),
        };
        expect_test::expect!["GetInstance"].assert_eq(&find(Method::GET, "/opc/v2/instance"));
        expect_test::expect!["FederateInstance"].assert_eq(&find(Method::POST, "/v1/x509"));
        expect_test::expect!["405 MethodNotAllowed"].assert_eq(&find(Method::GET, "/v1/x509"));
        expect_test::expect!["404 NotFound"].assert_eq(&find(Method::GET, "/opc/v1/instance/"));
    }
}
