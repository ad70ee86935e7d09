//! The client: endpoint, sign, send, retry, pages, etag.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use url::{Position, Url};

use super::{
    Error,
    error::{code, code_and_message, request_id},
};
use crate::{
    credentials::CredentialSource,
    region::{Region, Service},
    signing::{self, Coverage, Parts},
    transport::{self, Again, RetryPolicy},
};

/// What a client is made of.
pub struct Config {
    /// HTTP.
    pub http: reqwest::Client,
    /// Where the services are.
    pub region: Region,
    /// Base address instead of the services' own hosts: the emulator, a gateway.
    /// May contain `{service}` and `{region}`.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: Arc<dyn CredentialSource>,
    /// When to ask again.
    pub retry: RetryPolicy,
}

/// A client of the control plane; cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) config: Arc<Config>,
    pub(super) stop: CancellationToken,
    clock: fn() -> SystemTime,
}

impl Client {
    /// A client. Contacts nobody; an `endpoint` that is no address is an error.
    pub fn new(config: Config) -> Result<Self, Error> {
        let client = Self {
            config: Arc::new(config),
            stop: CancellationToken::new(),
            clock: SystemTime::now,
        };
        // What is accepted here is an address for every service.
        client.address(Service::Artifacts)?;
        Ok(client)
    }

    /// The same client, whose waits end when `stop` is cancelled.
    pub fn with_stop(&self, stop: CancellationToken) -> Self {
        Self {
            stop,
            ..self.clone()
        }
    }

    /// The same client with another clock to date its signatures by.
    pub fn with_clock(&self, clock: fn() -> SystemTime) -> Self {
        Self {
            clock,
            ..self.clone()
        }
    }

    /// Who asks.
    pub fn credentials(&self) -> &dyn CredentialSource {
        &*self.config.credentials
    }

    /// Where.
    pub fn region(&self) -> &Region {
        &self.config.region
    }

    /// The address that a service's paths are appended to; no slash at its end.
    pub fn address(&self, service: Service) -> Result<Url, Error> {
        let Some(endpoint) = &self.config.endpoint else {
            return parse_address(&format!("https://{}", self.config.region.host(service)));
        };
        let address = endpoint
            .replace("{service}", service.name())
            .replace("{region}", &self.config.region.identifier);
        parse_address(&address)
    }

    /// Sends a call and reads its answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let answer = self.send(call).await?;
        answer.json(call.operation)
    }

    /// Sends a call whose answer does not matter.
    pub(super) async fn done(&self, call: &Call) -> Result<(), Error> {
        self.send(call).await.map(drop)
    }

    /// Sends a call for a list until there are no more pages. `items` takes the
    /// entries out of a page.
    pub(super) async fn pages<P: DeserializeOwned, T>(
        &self,
        mut call: Call,
        items: impl Fn(P) -> Vec<T>,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        loop {
            let answer = self.send(&call).await?;
            // A page may be empty and still have a next one.
            all.extend(items(answer.json(call.operation)?));
            let Some(next) = answer.next_page() else {
                return Ok(all);
            };
            if seen.contains(&next) {
                return Err(answer.unreadable(
                    call.operation,
                    "the list does not end: it names a page as the next one for the second time",
                ));
            }
            call.page = Some(next.clone());
            seen.push(next);
        }
    }

    /// Sends a call, again when that is worth it and safe.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let url = call.url()?;
        let host = host_header(&url);
        // Both stay the same for all attempts of one call: with the token the
        // service recognises a repetition.
        let client_request_id = format!("{:032X}", rand::random::<u128>());
        let retry_token = matches!(call.repeat, Repeat::WithToken)
            .then(|| format!("{:032x}", rand::random::<u128>()));
        let request = Request {
            call,
            url: &url,
            host: &host,
            client_request_id: &client_request_id,
            retry_token: retry_token.as_deref(),
        };
        let request = &request;
        let result = transport::retry(
            &self.config.retry,
            call.operation,
            &self.stop,
            |attempt| self.attempt(request, attempt),
            |failure| self.worth_repeating(call, failure),
        )
        .await;
        result.map_err(|failure| failure.error)
    }

    /// One attempt. A request that only reads is dropped when the run is
    /// stopped; one that writes is finished, so that we know what it did.
    async fn attempt(&self, request: &Request<'_>, attempt: u32) -> Result<Answer, Failure> {
        let answer = if request.call.method == Method::GET {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(Failure::from(Error::Stopped)),
                answer = self.once(request) => answer,
            }
        } else {
            self.once(request).await
        };
        match answer {
            // The attempt before may have worked, with its answer lost on the way.
            Err(failure)
                if attempt > 1
                    && request.call.method == Method::DELETE
                    && failure.error.is_not_found() =>
            {
                Ok(Answer::default())
            }
            answer => answer,
        }
    }

    async fn once(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let Request {
            call, url, host, ..
        } = request;
        let credential = self
            .config
            .credentials
            .credential()
            .await
            .map_err(Error::Credentials)?;
        let now = (self.clock)();
        let parts = Parts {
            method: call.method.as_str(),
            path_and_query: &url[Position::BeforePath..Position::AfterQuery],
            host,
            body: call.body.as_deref(),
            delegation_token: None,
            coverage: Coverage::Full,
        };
        let signed =
            signing::sign(&parts, &credential.key_id, &credential.key, now).map_err(|error| {
                Error::Configuration(format!(
                    "cannot sign a request as {}: {error}",
                    self.config.credentials.describe()
                ))
            })?;
        let mut http = self
            .config
            .http
            .request(call.method.clone(), (*url).clone())
            .headers(signed)
            .headers(request.headers())
            // An attempt is a small exchange, so that this is a bound for the
            // silence of the service as well.
            .timeout(transport::CONNECT_TIMEOUT + transport::READ_TIMEOUT);
        if let Some(body) = &call.body {
            http = http.body(body.clone());
        }
        let no_answer = |source: reqwest::Error| Error::Transport {
            operation: call.operation,
            host: (*host).to_owned(),
            source: source.without_url(),
        };
        let mut response = http.send().await.map_err(no_answer)?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(unreadable(
                    call.operation,
                    request_id(&headers),
                    "it is larger than 16 MiB",
                )
                .into());
            }
            body.extend_from_slice(&chunk);
        }
        let answer = Answer {
            clock_skew: clock_skew(&headers, now),
            headers,
            body: body.freeze(),
        };
        if status.is_success() {
            return Ok(answer);
        }
        Err(self.refusal(request, status, &answer))
    }

    fn refusal(&self, request: &Request<'_>, status: StatusCode, answer: &Answer) -> Failure {
        let (code, message) = code_and_message(&answer.body);
        Failure {
            after: transport::retry_after(&answer.headers, (self.clock)()),
            error: Error::Service {
                operation: request.call.operation,
                service: request.call.service,
                host: request.host.to_owned(),
                status: status.as_u16(),
                code,
                message,
                opc_request_id: request_id(&answer.headers),
                clock_skew: (status == StatusCode::UNAUTHORIZED)
                    .then_some(answer.clock_skew)
                    .flatten(),
            },
        }
    }

    /// Whether a call is sent again after a failure: it has to be one that
    /// passes, and a call of which a second one does no harm.
    fn worth_repeating(&self, call: &Call, failure: &Failure) -> Option<Again> {
        if matches!(call.repeat, Repeat::Never) {
            return None;
        }
        let reason = match &failure.error {
            Error::Service { status, code, .. } => {
                let passes = transport::is_transient_status(*status)
                    || (*status == 409
                        && [code::INCORRECT_STATE, code::LOCK_CONFLICT].contains(&code.as_str()));
                if !passes {
                    return None;
                }
                if code.is_empty() {
                    format!("status {status}")
                } else {
                    format!("status {status}, code {code}")
                }
            }
            Error::Transport { source, .. } => {
                if source.is_builder() {
                    return None;
                } else if source.is_timeout() {
                    "time-out".to_owned()
                } else if source.is_connect() {
                    "no connection".to_owned()
                } else {
                    "connection lost".to_owned()
                }
            }
            _ => return None,
        };
        Some(Again {
            reason,
            after: failure.after,
        })
    }
}

/// One call of an operation, as the operations describe it.
pub(super) struct Call {
    operation: &'static str,
    service: &'static str,
    method: Method,
    address: Url,
    path: String,
    query: Vec<(&'static str, String)>,
    page: Option<String>,
    body: Option<Bytes>,
    repeat: Repeat,
    /// A path value that would change the path.
    refused: Option<String>,
}

/// Whether a call may be sent a second time.
enum Repeat {
    /// It changes nothing, or the second one finds done what it would do.
    Harmless,
    /// The service recognises the second one by `opc-retry-token`.
    WithToken,
    /// Nobody promises anything.
    Never,
}

impl Call {
    /// A call to a service, with its version path.
    pub(super) fn new(
        client: &Client,
        operation: &'static str,
        service: Service,
        method: Method,
    ) -> Result<Self, Error> {
        let address = client.address(service)?;
        let mut call = Self::at(operation, service, method, address);
        call.path.push_str(match service {
            Service::Artifacts | Service::Identity => "/20160918",
            Service::ContainerRegistry => "/20180419",
            Service::ObjectStorage => "",
        });
        Ok(call)
    }

    /// A call to an address of the caller's.
    pub(super) fn at(
        operation: &'static str,
        service: Service,
        method: Method,
        address: Url,
    ) -> Self {
        Self {
            operation,
            service: service.name(),
            repeat: if method == Method::POST {
                Repeat::Never
            } else {
                Repeat::Harmless
            },
            method,
            address,
            path: String::new(),
            query: Vec::new(),
            page: None,
            body: None,
            refused: None,
        }
    }

    /// A part of the path that is written here, without slashes around it.
    pub(super) fn path(mut self, literal: &'static str) -> Self {
        self.path.push('/');
        self.path.push_str(literal);
        self
    }

    /// A part of the path that comes from outside.
    pub(super) fn value(mut self, value: &str) -> Self {
        // URLs know these, also with percent signs, as steps and not as names.
        if value.is_empty() || value == "." || value == ".." {
            self.refused = Some(value.to_owned());
        }
        self.path.push('/');
        self.path.extend(utf8_percent_encode(value, ENCODED));
        self
    }

    /// A query parameter; `None` is not sent.
    pub(super) fn query(mut self, name: &'static str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.query.push((name, value.to_owned()));
        }
        self
    }

    /// A JSON body.
    pub(super) fn body(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Error::Configuration(format!(
                "{}: cannot write the body: {error}",
                self.operation
            ))
        })?;
        self.body = Some(body.into());
        Ok(self)
    }

    /// Carries a retry token, so it may be sent again.
    pub(super) fn with_retry_token(mut self) -> Self {
        self.repeat = Repeat::WithToken;
        self
    }

    /// A POST that only looks something up may be sent again.
    pub(super) fn harmless(mut self) -> Self {
        self.repeat = Repeat::Harmless;
        self
    }

    fn url(&self) -> Result<Url, Error> {
        if let Some(value) = &self.refused {
            return Err(Error::Configuration(format!(
                "{}: \"{value}\" is no identifier",
                self.operation
            )));
        }
        let mut url = self.address.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}{}", self.path));
        let page = self.page.iter().map(|page| ("page", page));
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| (*name, value))
            .chain(page)
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)))
            .collect();
        if !query.is_empty() {
            url.set_query(Some(&query.join("&")));
        }
        Ok(url)
    }
}

/// A call on its way.
struct Request<'a> {
    call: &'a Call,
    url: &'a Url,
    host: &'a str,
    client_request_id: &'a str,
    retry_token: Option<&'a str>,
}

impl Request<'_> {
    /// The headers that are not signed.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static(signing::CONTENT_TYPE),
        );
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(signing::CONTENT_TYPE),
        );
        let id = HeaderValue::from_str(self.client_request_id)
            .expect("hexadecimal digits can stand in a header");
        if self.call.service == Service::ObjectStorage.name() {
            headers.insert("opc-client-request-id", id.clone());
        }
        headers.insert("opc-request-id", id);
        if let Some(token) = self.retry_token {
            let token =
                HeaderValue::from_str(token).expect("hexadecimal digits can stand in a header");
            headers.insert("opc-retry-token", token);
        }
        if !matches!(self.call.repeat, Repeat::Never) {
            headers.insert("opc-client-retries", HeaderValue::from_static("true"));
        }
        headers
    }
}

/// A successful answer.
#[derive(Default)]
pub(super) struct Answer {
    headers: HeaderMap,
    body: Bytes,
    clock_skew: Option<i64>,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self, operation: &'static str) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Decode {
            operation,
            opc_request_id: request_id(&self.headers),
            source,
        })
    }

    /// An answer that is readable and makes no sense.
    pub(super) fn unreadable(&self, operation: &'static str, why: &str) -> Error {
        unreadable(operation, request_id(&self.headers), why)
    }

    /// By how many seconds our clock is ahead of the service's.
    pub(super) fn clock_skew(&self) -> Option<i64> {
        self.clock_skew
    }

    fn next_page(&self) -> Option<String> {
        let page = self.headers.get("opc-next-page")?.to_str().ok()?;
        (!page.is_empty()).then(|| page.to_owned())
    }
}

/// An error and what the answer said about when to come back.
struct Failure {
    error: Error,
    after: Option<Duration>,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            after: None,
        }
    }
}

/// Reads an address that paths can be appended to.
pub(super) fn parse_address(text: &str) -> Result<Url, Error> {
    let refused = |why: &str| {
        Error::Configuration(format!(
            "\"{}\" is no address of a service: {why}",
            // Whatever stands before an `@` is a password.
            text.rsplit('@').next().unwrap_or_default()
        ))
    };
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            refused("it has to begin with https:// or http://")
        }
        error => refused(&error.to_string()),
    })?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(refused("it has to begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it must not have a user name or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it must not have a query or a fragment"));
    }
    if url.host_str().is_none_or(|host| host.contains(['{', '}']))
        || url.path().contains("%7B")
        || text.contains(['{', '}'])
    {
        return Err(refused("only {service} and {region} are filled in"));
    }
    Ok(url)
}

/// The Host header: with a port when it is not the default one.
pub(super) fn host_header(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn unreadable(operation: &'static str, opc_request_id: String, why: &str) -> Error {
    Error::Decode {
        operation,
        opc_request_id,
        source: serde::de::Error::custom(why),
    }
}

fn clock_skew(headers: &HeaderMap, ours: SystemTime) -> Option<i64> {
    let theirs = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = httpdate::parse_http_date(theirs).ok()?;
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).ok();
    match ours.duration_since(theirs) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => seconds(behind.duration()).map(|seconds| -seconds),
    }
}

/// Everything but the characters that never need it, as the SDKs do it, and
/// `/` as well: a value is one part of the path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// No answer of the control plane comes near.
const MAX_BODY: usize = 16 << 20;
