//! From a socket to a handler and back: routes, faults, panics, the log.
//!
//! Hyper is used without a framework above it, because some faults need what a
//! framework does not let through: ending a connection without an answer.

use std::{
    any::Any,
    collections::BTreeMap,
    collections::BTreeSet,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Permission, Request,
    clock::Clock,
    control_plane,
    fault::{Fault, Faults, Kind},
    identity::{self, Caller},
    refusal::Refusal,
    regions::{self, Region},
    registry::{self, Uploads},
    seed::Tenancy,
    sign_in::{self, Machine},
    state::{DefinedTags, Store},
    throttle::Throttle,
};

/// What answers consist of.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(super) type Answer = Response<Body>;

/// What all handlers share.
pub(super) struct Shared {
    pub settings: Settings,
    pub tenancy: Tenancy,
    pub store: Store,
    pub uploads: Uploads,
    pub clock: Clock,
    pub faults: Mutex<Faults>,
    pub log: Mutex<Vec<Request>>,
    /// How often each operation was asked for, answered or not.
    pub begun: Mutex<BTreeMap<&'static str, usize>>,
    pub panics: Mutex<Vec<String>>,
    pub throttle: Mutex<Throttle>,
    pub withdrawn: Mutex<BTreeSet<Permission>>,
    pub machine: Mutex<Machine>,
    /// Whether pods of the cluster may have an identity.
    pub enhanced_cluster: AtomicBool,
    /// Of the identity domain's application.
    pub client_secret: String,
}

pub(super) struct Settings {
    pub scheme: &'static str,
    pub accept_immutable: bool,
    pub oracle_tags: bool,
    /// What the compartments' tag defaults add.
    pub tag_defaults: DefinedTags,
    /// How long a deleted repository stays.
    pub deletion_delay: Option<Duration>,
    pub token_delay: Duration,
    /// What stands in front of the user's name at a login.
    pub federation: Option<String>,
    pub page_size: usize,
    /// How long security tokens live, where that is not what they usually do.
    pub session_lifetime: Option<Duration>,
    pub registry_token_lifetime: Duration,
}

/// A request on its way through the emulator.
pub(super) struct Call {
    pub operation: &'static str,
    pub method: Method,
    /// Path and query as on the wire: what was signed, and what is logged.
    pub target: String,
    /// `/~<region>` when the request came through another region's door.
    pub prefix: String,
    pub region: &'static Region,
    /// Path without the prefix, still encoded.
    pub path: String,
    /// Decoded query.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Upload,
    /// Who sent it, once that is known: credential and OCID.
    pub caller: Option<String>,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Host and port as the client calls this emulator.
    pub(super) fn host(&self) -> &str {
        self.header("host").unwrap_or_default()
    }
}

/// A request's body, counted as it comes in.
pub(super) struct Upload {
    incoming: Incoming,
    received: Arc<AtomicU64>,
}

impl Upload {
    /// The next piece, `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let Some(frame) = self.incoming.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| {
                // Whoever sent it is gone; this is for the log.
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "CannotParseRequest",
                    error.to_string(),
                )
            })?;
            if let Ok(data) = frame.into_data() {
                self.received
                    .fetch_add(data.len() as u64, Ordering::Relaxed);
                return Ok(Some(data));
            }
        }
    }

    /// All of a small body.
    pub(super) async fn collect(&mut self, limit: usize) -> Result<Vec<u8>, Refusal> {
        let mut content = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if content.len() + chunk.len() > limit {
                return Err(Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "PayloadTooLarge",
                    format!("The request's body is larger than {limit} bytes"),
                ));
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    /// Reads at most so many bytes and forgets them.
    async fn discard(&mut self, bytes: u64) {
        let enough = self.received.load(Ordering::Relaxed).saturating_add(bytes);
        while self.received.load(Ordering::Relaxed) < enough {
            let Ok(Some(_)) = self.chunk().await else {
                return;
            };
        }
    }
}

/// The end of a connection without an answer.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("connection cut by a fault")
    }
}

impl std::error::Error for Cut {}

impl Shared {
    /// Who a registry token belongs to.
    pub(super) fn bearer(&self, token: &str) -> Option<Caller> {
        let now = self.clock.now();
        self.store.read(|state| identity::verify(state, token, now))
    }

    /// Whether the policies have what an operation needs.
    pub(super) fn allows(&self, permission: Permission) -> bool {
        !self.locked(&self.withdrawn).contains(&permission)
    }

    pub(super) fn locked<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts connections until it is told to stop.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: give connections time to end.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Small answers must not wait for the acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
        let (shared, stop, tls) = (shared.clone(), stop.clone(), tls.clone());
        connections.spawn(async move {
            let serving = async {
                match tls {
                    None => serve(shared, stream).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(shared, stream).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = serving => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn serve(shared: Arc<Shared>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request| answer(shared.clone(), request));
    // An error here is a client that went away or a cut that was asked for.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(512 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// An entry of the log that is written whatever becomes of the request.
struct Entry {
    shared: Arc<Shared>,
    request: Option<Request>,
    received: Arc<AtomicU64>,
}

impl Entry {
    fn name_caller(&mut self, caller: Option<String>) {
        if let Some(request) = &mut self.request {
            request.caller = caller;
        }
    }

    fn finish(&mut self, status: u16) {
        if let Some(mut request) = self.request.take() {
            request.status = status;
            request.body_bytes = self.received.load(Ordering::Relaxed);
            self.shared.locked(&self.shared.log).push(request);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.finish(0);
    }
}

async fn answer(shared: Arc<Shared>, request: http::Request<Incoming>) -> Result<Answer, Cut> {
    let (parts, incoming) = request.into_parts();
    let received = Arc::new(AtomicU64::new(0));
    let target = parts
        .uri
        .path_and_query()
        .map_or_else(|| "/".to_owned(), ToString::to_string);
    let door = door(&target, shared.tenancy.home);
    let path = parts.uri.path()[door.prefix.len()..].to_owned();
    let surface = Surface::of(&path);
    let route = surface.route(&parts.method, &path);

    let mut call = Call {
        operation: route.as_ref().map_or("Unknown", |route| route.operation()),
        method: parts.method,
        prefix: door.prefix,
        region: door.region,
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        path,
        target,
        headers: parts.headers,
        body: Upload {
            incoming,
            received: received.clone(),
        },
        caller: None,
    };
    *shared
        .locked(&shared.begun)
        .entry(call.operation)
        .or_default() += 1;
    let mut entry = Entry {
        shared: shared.clone(),
        request: Some(Request {
            operation: call.operation.into(),
            method: call.method.to_string(),
            path: call.target.clone(),
            status: 0,
            body_bytes: 0,
            retry_token: call.header("opc-retry-token").map(Into::into),
            caller: None,
        }),
        received,
    };

    let throttled =
        surface == Surface::ControlPlane && !shared.locked(&shared.throttle).admits(Instant::now());
    // A request that is turned away at the door meets no fault behind it.
    let fault = if throttled {
        Some(Fault::status(429).retry_after(1))
    } else {
        shared.locked(&shared.faults).take(call.operation)
    };
    let work = async {
        let mut cut_answer = false;
        let mut answer = None;
        match fault.map(|Fault { kind }| kind) {
            None => {}
            Some(Kind::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Kind::CutAnswer) => cut_answer = true,
            #[cfg(test)]
            Some(Kind::Panic) => panic!("a bug"),
            Some(Kind::Cut { after_bytes }) => {
                call.body.discard(after_bytes).await;
                return Err(Cut);
            }
            Some(Kind::Body { status, text }) => answer = Some(text_answer(status, text)),
            Some(Kind::Status {
                status,
                code,
                message,
                retry_after,
            }) => {
                let mut refusal = surface.refusal(&shared, &call, status_of(status));
                if let Some(code) = code {
                    refusal.code = code.into();
                }
                if let Some(message) = message {
                    refusal.message = message;
                }
                if let Some(seconds) = retry_after {
                    refusal = refusal.with(header::RETRY_AFTER, seconds.to_string());
                }
                answer = Some(surface.refuse(&call, refusal));
            }
        }
        let answer = match (answer, route) {
            (Some(answer), _) => answer,
            (None, Err(refusal)) => surface.refuse(&call, refusal),
            (None, Ok(Route::ControlPlane(route))) => {
                match control_plane::answer(&shared, &mut call, route).await {
                    Ok(answer) => answer,
                    Err(refusal) => surface.refuse(&call, refusal),
                }
            }
            (None, Ok(Route::Registry(route))) => {
                match registry::answer(&shared, &mut call, route).await {
                    Ok(answer) => answer,
                    Err(refusal) => surface.refuse(&call, refusal),
                }
            }
            (None, Ok(Route::SignIn(route))) => {
                match sign_in::answer(&shared, &mut call, route).await {
                    Ok(answer) => answer,
                    Err(refusal) => surface.refuse(&call, refusal),
                }
            }
        };
        // A client that is still sending would otherwise lose the answer to a
        // connection reset.
        call.body.discard(u64::MAX).await;
        if cut_answer { Err(Cut) } else { Ok(answer) }
    };
    let outcome = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = format!("{}: {}", call.operation, panic_text(panic.as_ref()));
            shared.locked(&shared.panics).push(text.clone());
            Ok(surface.refuse(&call, Refusal::internal(&text)))
        }
    };
    let outcome = outcome.map(|mut answer| {
        finish(&mut answer, &call, &shared);
        answer
    });
    entry.name_caller(call.caller.take());
    entry.finish(
        outcome
            .as_ref()
            .map_or(0, |answer| answer.status().as_u16()),
    );
    outcome
}

/// Headers that every answer has, and no body for HEAD.
fn finish(answer: &mut Answer, call: &Call, shared: &Shared) {
    let set = |headers: &mut HeaderMap, name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    let headers = answer.headers_mut();
    set(headers, "date", shared.clock.now().http());
    let random = || format!("{:032X}", rand::random::<u128>());
    let own = call
        .header("opc-request-id")
        .map_or_else(random, ToOwned::to_owned);
    set(
        headers,
        "opc-request-id",
        format!("{own}/{}/{}", random(), random()),
    );
    if let Some(id) = call.header("opc-client-request-id") {
        set(headers, "opc-client-request-id", id.to_owned());
    }
    if call.method == Method::HEAD {
        *answer.body_mut() = empty();
    }
}

struct Door {
    prefix: String,
    region: &'static Region,
}

/// Which region's door a path goes through.
fn door(target: &str, home: &'static Region) -> Door {
    let path = target.split('?').next().unwrap_or_default();
    let named = path.strip_prefix("/~").and_then(|rest| {
        let name = rest.split('/').next()?;
        let region = regions::find(name).filter(|region| region.realm == home.realm)?;
        Some(Door {
            prefix: path[..2 + name.len()].to_owned(),
            region,
        })
    });
    named.unwrap_or(Door {
        prefix: String::new(),
        region: home,
    })
}

/// The ways in which Oracle's services talk.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Surface {
    ControlPlane,
    /// OAuth.
    IdentityDomain,
    Registry,
    /// What gives tokens to machines. It talks as the control plane does.
    SignIn,
}

pub(super) enum Route {
    ControlPlane(control_plane::Route),
    Registry(registry::Route),
    SignIn(sign_in::Route),
}

impl Route {
    fn operation(&self) -> &'static str {
        match self {
            Self::ControlPlane(route) => route.operation.name,
            Self::Registry(route) => route.operation(),
            Self::SignIn(route) => route.operation(),
        }
    }
}

impl Surface {
    fn of(path: &str) -> Self {
        match path {
            "/v2" => Self::Registry,
            registry::TOKEN_PATH => Self::Registry,
            "/v1/x509" | "/resourcePrincipalSessionTokens" => Self::SignIn,
            path if path.starts_with("/v2/") => Self::Registry,
            path if path.starts_with("/opc/") => Self::SignIn,
            path if path.starts_with("/oauth2/") => Self::IdentityDomain,
            _ => Self::ControlPlane,
        }
    }

    fn route(self, method: &Method, path: &str) -> Result<Route, Refusal> {
        match self {
            Self::ControlPlane => control_plane::route(method, path).map(Route::ControlPlane),
            Self::Registry => registry::route(method, path).map(Route::Registry),
            Self::IdentityDomain | Self::SignIn => sign_in::route(method, path).map(Route::SignIn),
        }
    }

    /// What the service usually says with a status.
    fn refusal(self, shared: &Shared, call: &Call, status: StatusCode) -> Refusal {
        match self {
            Self::ControlPlane | Self::SignIn => control_plane::usual_refusal(status),
            Self::IdentityDomain => sign_in::usual_domain_refusal(status),
            Self::Registry => registry::usual_refusal(shared, call, status),
        }
    }

    fn refuse(self, call: &Call, refusal: Refusal) -> Answer {
        let body = match self {
            Self::ControlPlane | Self::SignIn => {
                serde_json::json!({ "code": refusal.code, "message": refusal.message })
            }
            Self::IdentityDomain => {
                let error = match refusal.code.as_ref() {
                    "InternalServerError" => "server_error",
                    "PayloadTooLarge" | "CannotParseRequest" | "MethodNotAllowed" => {
                        "invalid_request"
                    }
                    "NotFound" => "not_found",
                    error => error,
                };
                serde_json::json!({ "error": error, "error_description": refusal.message })
            }
            Self::Registry => {
                // The codes of both surfaces meet where a check is shared.
                let code = match refusal.code.as_ref() {
                    "InternalServerError" => "UNKNOWN",
                    "PayloadTooLarge" => "SIZE_INVALID",
                    "CannotParseRequest" => "UNSUPPORTED",
                    code => code,
                };
                serde_json::json!({ "errors": [{ "code": code, "message": refusal.message }] })
            }
        };
        let mut answer = json_answer(refusal.status, &body);
        for (name, value) in refusal.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                answer.headers_mut().insert(name, value);
            }
        }
        if call.method == Method::HEAD {
            answer.headers_mut().remove(header::CONTENT_TYPE);
        }
        answer
    }
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn json_answer(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut answer = Response::new(full(body.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    answer
}

fn text_answer(status: u16, text: String) -> Answer {
    let mut answer = Response::new(full(text));
    *answer.status_mut() = status_of(status);
    answer
}

pub(super) fn empty() -> Body {
    full(Bytes::new())
}

pub(super) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}
