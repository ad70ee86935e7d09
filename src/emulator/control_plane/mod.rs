//! Oracle's control plane: a table of operations, and what all of them check.

mod auth_tokens;
mod configuration;
mod identity;
mod images;
mod input;
mod namespace;
mod page;
mod repositories;

use std::collections::BTreeSet;

use http::{HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    Permission,
    clock::Moment,
    principal::{Principal, authenticate},
    refusal::Refusal,
    regions::Region,
    seed::Tenancy,
    server::{Answer, Call, Settings, Shared, empty, json_answer},
    signature::Signed,
    state::{Remembered, State},
};

/// One operation of Oracle's API: a row of the table.
pub(super) struct Operation {
    pub name: &'static str,
    /// What a policy has to allow.
    permission: Option<Permission>,
    method: Method,
    /// Path with `{}` for a parameter.
    path: &'static str,
    /// Query parameters it knows.
    query: &'static [&'static str],
    handler: Handler,
}

#[derive(Clone, Copy)]
enum Handler {
    Read(fn(&State, &Input<'_>) -> Result<Output, Refusal>),
    Write(fn(&mut State, &Input<'_>) -> Result<Output, Refusal>),
    /// A write that may carry `opc-retry-token`.
    Retryable(fn(&mut State, &Input<'_>) -> Result<Output, Refusal>),
}

use Handler::{Read, Retryable, Write};
use Permission::{
    CompartmentInspect, CredentialManage, NamespaceRead, RepositoryCreate, RepositoryInspect,
    RepositoryManage, RepositoryRead, RepositoryUpdate, TenancyInspect, UserInspect,
};

pub(super) use auth_tokens::sorted as auth_tokens;
pub(super) use repositories::is_name;

const fn row(
    name: &'static str,
    permission: Option<Permission>,
    method: Method,
    path: &'static str,
    query: &'static [&'static str],
    handler: Handler,
) -> Operation {
    Operation {
        name,
        permission,
        method,
        path,
        query,
        handler,
    }
}

#[rustfmt::skip]
static OPERATIONS: &[Operation] = &[
    row("ListContainerRepositories", Some(RepositoryInspect), Method::GET, "/20160918/container/repositories", repositories::LIST_QUERY, Read(repositories::list)),
    row("CreateContainerRepository", Some(RepositoryCreate), Method::POST, "/20160918/container/repositories", &[], Retryable(repositories::create)),
    row("GetContainerRepository", Some(RepositoryRead), Method::GET, "/20160918/container/repositories/{}", &[], Read(repositories::get)),
    row("UpdateContainerRepository", Some(RepositoryUpdate), Method::PUT, "/20160918/container/repositories/{}", &[], Write(repositories::update)),
    row("DeleteContainerRepository", Some(RepositoryManage), Method::DELETE, "/20160918/container/repositories/{}", &[], Write(repositories::delete)),
    row("ChangeContainerRepositoryCompartment", Some(RepositoryManage), Method::POST, "/20160918/container/repositories/{}/actions/changeCompartment", &[], Retryable(repositories::change_compartment)),

    row("ListContainerImages", Some(RepositoryInspect), Method::GET, "/20160918/container/images", images::LIST_QUERY, Read(images::list)),
    row("GetContainerImage", Some(RepositoryRead), Method::GET, "/20160918/container/images/{}", &[], Read(images::get)),
    row("UpdateContainerImage", Some(RepositoryUpdate), Method::PUT, "/20160918/container/images/{}", &[], Write(images::update)),
    row("DeleteContainerImage", Some(RepositoryManage), Method::DELETE, "/20160918/container/images/{}", &[], Write(images::delete)),
    row("RemoveContainerVersion", Some(RepositoryUpdate), Method::POST, "/20160918/container/images/{}/actions/removeVersion", &[], Retryable(images::remove_version)),
    row("RestoreContainerImage", Some(RepositoryUpdate), Method::POST, "/20160918/container/images/{}/actions/restore", &[], Retryable(images::restore)),
    row("LookupContainerImageByUri", Some(RepositoryRead), Method::POST, "/20160918/container/images/actions/lookupImageByUri", &[], Write(images::look_up)),

    row("GetContainerConfiguration", Some(RepositoryInspect), Method::GET, "/20160918/container/configuration", &["compartmentId"], Read(configuration::get)),
    row("UpdateContainerConfiguration", Some(RepositoryManage), Method::PUT, "/20160918/container/configuration", &["compartmentId"], Write(configuration::update)),

    row("ListApiKeys", Some(CredentialManage), Method::GET, "/20160918/users/{}/apiKeys", &[], Read(identity::list_api_keys)),
    row("ListAuthTokens", Some(CredentialManage), Method::GET, "/20160918/users/{}/authTokens", &[], Read(auth_tokens::list)),
    row("CreateAuthToken", Some(CredentialManage), Method::POST, "/20160918/users/{}/authTokens", &[], Retryable(auth_tokens::create)),
    row("UpdateAuthToken", Some(CredentialManage), Method::PUT, "/20160918/users/{}/authTokens/{}", &[], Write(auth_tokens::update)),
    row("DeleteAuthToken", Some(CredentialManage), Method::DELETE, "/20160918/users/{}/authTokens/{}", &[], Write(auth_tokens::delete)),

    row("GetUser", Some(UserInspect), Method::GET, "/20160918/users/{}", &[], Read(identity::get_user)),
    row("ListUsers", Some(UserInspect), Method::GET, "/20160918/users", identity::USERS_QUERY, Read(identity::list_users)),
    row("GetTenancy", Some(TenancyInspect), Method::GET, "/20160918/tenancies/{}", &[], Read(identity::get_tenancy)),
    row("ListRegionSubscriptions", Some(TenancyInspect), Method::GET, "/20160918/tenancies/{}/regionSubscriptions", &[], Read(identity::list_region_subscriptions)),
    row("ListRegions", None, Method::GET, "/20160918/regions", &[], Read(identity::list_regions)),
    row("ListCompartments", Some(CompartmentInspect), Method::GET, "/20160918/compartments", identity::COMPARTMENTS_QUERY, Read(identity::list_compartments)),
    row("GetCompartment", Some(CompartmentInspect), Method::GET, "/20160918/compartments/{}", &[], Read(identity::get_compartment)),

    row("GetNamespace", Some(NamespaceRead), Method::GET, "/n", &["compartmentId"], Read(namespace::get)),
    row("GetNamespaceMetadata", Some(NamespaceRead), Method::GET, "/n/{}", &["compartmentId"], Read(namespace::get_metadata)),
];

/// Names of all operations of the control plane.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|operation| operation.name)
}

/// An operation and the parameters in its path.
pub(super) struct Route {
    pub operation: &'static Operation,
    parameters: Vec<String>,
}

/// What a handler is given.
pub(super) struct Input<'a> {
    pub parameters: &'a [String],
    pub query: &'a [(String, String)],
    pub if_match: Option<&'a str>,
    pub body: &'a [u8],
    pub region: &'static Region,
    pub tenancy: &'a Tenancy,
    pub settings: &'a Settings,
    pub caller: &'a Principal,
    pub now: Moment,
}

/// What a handler answers.
#[derive(Default)]
pub(super) struct Output {
    status: StatusCode,
    body: Option<Value>,
    etag: Option<String>,
    next_page: Option<String>,
    /// The object that was worked on, for retry tokens.
    object: String,
}

impl Output {
    fn ok(body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::default()
        }
    }

    fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            ..Self::default()
        }
    }

    fn etag(mut self, etag: &str) -> Self {
        self.etag = Some(etag.into());
        self
    }

    fn about(mut self, object: &str) -> Self {
        self.object = object.into();
        self
    }
}

impl Input<'_> {
    fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.query(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| missing(name))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.query(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refusal::invalid(format!(
                "{name} must be true or false, not '{other}'"
            ))),
        }
    }

    /// A compartment that exists, for one that is named in the request.
    fn compartment<'a>(&self, id: &'a str) -> Result<&'a str, Refusal> {
        if self.tenancy.has_compartment(id) {
            Ok(id)
        } else {
            Err(Refusal::not_found())
        }
    }

    /// Refuses a stale `if-match`.
    fn check_etag(&self, etag: &str) -> Result<(), Refusal> {
        match self.if_match {
            Some(expected) if expected != "*" && expected.trim_matches('"') != etag => {
                Err(Refusal::new(
                    StatusCode::PRECONDITION_FAILED,
                    "NoEtagMatch",
                    "The provided If-Match did not match the current etag of the resource.",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to change what IAM keeps, except at home.
    fn only_at_home(&self) -> Result<(), Refusal> {
        let home = self.tenancy.home;
        if self.region == home {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "NotAllowed",
            format!(
                "Please go to your home region {} to execute CREATE, UPDATE and DELETE operations.",
                home.key
            ),
        ))
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "MissingParameter",
        format!("Missing required parameter: {name}"),
    )
}

/// Finds the operation of a method and a path.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    // The documented spelling of one path has a slash at its end.
    let path = if path == "/n/" { "/n" } else { path };
    let mut known_path = false;
    for operation in OPERATIONS {
        let Some(parameters) = matching(operation.path, path) else {
            continue;
        };
        if operation.method == *method {
            return Ok(Route {
                operation,
                parameters,
            });
        }
        known_path = true;
    }
    Err(if known_path {
        Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            format!("{method} is not allowed for {path}"),
        )
    } else {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("No such operation: {method} {path}"),
        )
    })
}

fn matching(template: &str, path: &str) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let (mut expected, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some("{}"), Some(value)) if !value.is_empty() => {
                parameters.push(percent_decode_str(value).decode_utf8().ok()?.into_owned());
            }
            (Some(expected), Some(given)) if expected == given => {}
            _ => return None,
        }
    }
}

/// Checks what every operation checks, then lets it work.
pub(super) async fn answer(
    shared: &Shared,
    call: &mut Call,
    route: Route,
) -> Result<Answer, Refusal> {
    let body = call.body.collect(1 << 20).await?;
    let now = shared.clock.now();
    let signed = Signed {
        method: &call.method,
        target: &call.target,
        headers: &call.headers,
        body: &body,
    };
    let caller = authenticate(shared, &signed)?;
    call.caller = Some(caller.print());
    // Also for a list: that there is nothing to be seen would be an answer.
    if let Some(permission) = route.operation.permission
        && !shared.allows(permission)
    {
        return Err(Refusal::not_found());
    }
    check_query(route.operation, &call.query)?;

    let input = Input {
        parameters: &route.parameters,
        query: &call.query,
        if_match: call.header("if-match"),
        body: &body,
        region: call.region,
        tenancy: &shared.tenancy,
        settings: &shared.settings,
        caller: &caller.principal,
        now,
    };
    let output = match route.operation.handler {
        Read(handler) => shared.store.read(|state| handler(state, &input)),
        Write(handler) => shared.store.change(|state| handler(state, &input)),
        Retryable(handler) => shared
            .store
            .change(|state| match call.header("opc-retry-token") {
                None => handler(state, &input),
                Some(token) => {
                    let key = format!(
                        "{}/{}/{token}",
                        call.region.identifier, route.operation.name
                    );
                    once(state, &input, &key, &call.path, handler)
                }
            }),
    }?;
    if route.operation.method == Method::DELETE {
        shared.store.collect();
    }

    let mut answer = match &output.body {
        Some(body) => json_answer(output.status, body),
        None => {
            let mut answer = Answer::new(empty());
            *answer.status_mut() = output.status;
            answer
        }
    };
    for (name, value) in [("etag", output.etag), ("opc-next-page", output.next_page)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
}

fn check_query(operation: &Operation, query: &[(String, String)]) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for (name, _) in query {
        if !operation.query.contains(&name.as_str()) {
            return Err(Refusal::invalid(format!("Unknown query parameter: {name}")));
        }
        if !seen.insert(name) {
            return Err(Refusal::invalid(format!(
                "Query parameter given twice: {name}"
            )));
        }
    }
    Ok(())
}

/// Works once for a retry token, and repeats the first answer after that.
fn once(
    state: &mut State,
    input: &Input<'_>,
    key: &str,
    path: &str,
    handler: fn(&mut State, &Input<'_>) -> Result<Output, Refusal>,
) -> Result<Output, Refusal> {
    const VALID_SECONDS: i64 = 24 * 60 * 60;
    let now = input.now.seconds();
    state
        .retries
        .retain(|_, remembered| now - remembered.at < VALID_SECONDS);

    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update([0]);
    hash.update(input.body);
    let request = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();

    if let Some(remembered) = state.retries.get(key) {
        let invalidated = |message: &str| {
            Err(Refusal::new(
                StatusCode::CONFLICT,
                "InvalidatedRetryToken",
                message,
            ))
        };
        if remembered.request != request {
            return invalidated(
                "The provided retry token was used in an earlier request that was not the same.",
            );
        }
        let exists = state.repositories.contains_key(&remembered.object)
            || state.images.contains_key(&remembered.object)
            || state.auth_tokens.contains_key(&remembered.object);
        if !exists {
            return invalidated(
                "The provided retry token was used in an earlier request that resulted in a system update, \
                 but a subsequent operation invalidated the token.",
            );
        }
        return Ok(Output {
            status: StatusCode::from_u16(remembered.status).unwrap_or_default(),
            body: remembered.body.clone(),
            etag: remembered.etag.clone(),
            ..Output::default()
        });
    }
    let output = handler(state, input)?;
    let remembered = Remembered {
        at: now,
        request,
        status: output.status.as_u16(),
        body: output.body.clone(),
        etag: output.etag.clone(),
        object: output.object.clone(),
    };
    state.retries.insert(key.into(), remembered);
    Ok(output)
}

/// A repository that a push makes: private, and in the root compartment.
pub(super) fn create_on_first_push(
    state: &mut State,
    shared: &Shared,
    caller: &Principal,
    region: &'static Region,
    display_name: &str,
) -> String {
    let input = Input {
        parameters: &[],
        query: &[],
        if_match: None,
        body: &[],
        region,
        tenancy: &shared.tenancy,
        settings: &shared.settings,
        caller,
        now: shared.clock.now(),
    };
    let new = repositories::New {
        compartment_id: shared.tenancy.seed.tenancy_id.clone(),
        display_name: display_name.into(),
        is_immutable: false,
        is_public: false,
        readme: None,
        freeform_tags: Default::default(),
        defined_tags: Default::default(),
    };
    repositories::add(state, &input, new)
}

/// What the service says with a status when nothing else is known.
pub(super) fn usual_refusal(status: StatusCode) -> Refusal {
    let (code, message) = match status.as_u16() {
        400 => ("InvalidParameter", "The request is invalid."),
        401 => (
            "NotAuthenticated",
            "The required information to complete authentication was not provided or was incorrect.",
        ),
        403 => ("NotAuthorized", "Authorization failed."),
        404 => return Refusal::not_found(),
        405 => ("MethodNotAllowed", "The method is not allowed."),
        409 => ("IncorrectState", "The resource is in another state."),
        412 => (
            "NoEtagMatch",
            "The provided If-Match did not match the current etag of the resource.",
        ),
        429 => ("TooManyRequests", "Too many requests for the user."),
        501 => ("MethodNotImplemented", "The method is not implemented."),
        503 => (
            "ServiceUnavailable",
            "The service is currently unavailable.",
        ),
        _ => (
            "InternalServerError",
            "Out of host capacity or an internal error occurred.",
        ),
    };
    Refusal::new(status, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path finds its operation, parameters are decoded, and a wrong method is told from a wrong path.
    #[test]
    fn routes() {
        let find = |method, path| match route(&method, path) {
            Ok(route) => format!("{} {:?}", route.operation.name, route.parameters),
            Err(refusal) => format!("{} {}", refusal.status.as_u16(), refusal.code),
        };
        expect_test::expect![[r#"UpdateAuthToken ["a/b", "c"]"#]]
            .assert_eq(&find(Method::PUT, "/20160918/users/a%2Fb/authTokens/c"));
        expect_test::expect!["LookupContainerImageByUri []"].assert_eq(&find(
            Method::POST,
            "/20160918/container/images/actions/lookupImageByUri",
        ));
        expect_test::expect!["GetNamespace []"].assert_eq(&find(Method::GET, "/n/"));
        expect_test::expect!["405 MethodNotAllowed"].assert_eq(&find(Method::PATCH, "/n"));
        expect_test::expect!["404 NotFound"]
            .assert_eq(&find(Method::GET, "/20160918/container/repositories/"));
    }

    /// Operations have different names, since faults are asked for by name.
    #[test]
    fn names_are_unique() {
        assert_eq!(names().collect::<BTreeSet<_>>().len(), names().count());
    }
}
