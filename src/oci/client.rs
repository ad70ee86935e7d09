//! The client: endpoint, sign, send, retry, pages, etag.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
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
    region::{Directory, Region, Service},
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
    /// Base addresses of single services, which go before `endpoint`, by the
    /// service's [`Service::name`].
    pub host_overrides: BTreeMap<&'static str, String>,
    /// All regions that are known, to find the home region in.
    pub regions: Directory,
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

impl Config {
    /// What has to be said; everything else as it usually is.
    pub fn new(
        http: reqwest::Client,
        region: Region,
        credentials: Arc<dyn CredentialSource>,
    ) -> Self {
        Self {
            http,
            region,
            endpoint: None,
            host_overrides: BTreeMap::new(),
            regions: Directory::default(),
            credentials,
            retry: RetryPolicy::default(),
        }
    }
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

    /// The address that a service's paths are appended to.
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
            .then(|| format!("{:032x}", rand::random::<u128>()))
            .map(|token| call.retry_token.clone().unwrap_or(token));
        let request = Request {
            call,
            url: &url,
            host: &host,
            client_request_id: &client_request_id,
            retry_token: retry_token.as_deref(),
        };
        let request = &request;
        let made = AtomicU32::new(0);
        let result = transport::retry(
            &self.config.retry,
            call.operation,
            &self.stop,
            |attempt| {
                made.store(attempt, Ordering::Relaxed);
                self.attempt(request, attempt)
            },
            |failure| self.worth_repeating(call, failure),
        )
        .await;
        result.map_err(|failure| failure.error.after(made.load(Ordering::Relaxed)))
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
            delegation_token: credential.delegation_token.as_deref(),
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
            attempts: 1,
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
        tracing::debug!(
            operation = call.operation,
            host = *host,
            status = status.as_u16(),
            opc_request_id = request_id(&answer.headers),
            "The service answered"
        );
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
                attempts: 1,
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
                if source.is_builder() || transport::is_certificate_error(source) {
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
    /// The retry token of an earlier call that this one repeats.
    retry_token: Option<String>,
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
            Service::Auth => "/v1",
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
            retry_token: None,
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

    /// Carries this retry token: the service answers an earlier call that carried
    /// it once more, instead of doing the same a second time.
    pub(super) fn repeating(mut self, retry_token: &str) -> Self {
        self.retry_token = Some(retry_token.to_owned());
        self.with_retry_token()
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
            // What stands before an `@` or in a query may be a secret.
            text.split(['?', '#'])
                .next()
                .and_then(|text| text.rsplit('@').next())
                .unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use expect_test::expect;
    use futures_util::future::{BoxFuture, FutureExt, ready};
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        credentials::{self, Credential},
        oci::{CreateContainerRepository, ListContainerRepositories, UpdateContainerRepository},
        signing::SigningKey,
        transport::{Options, http_client},
    };

    /// The vectors' key and user.
    struct Source(Arc<Credential>);

    impl Source {
        fn new() -> anyhow::Result<Self> {
            let vectors: Value =
                serde_json::from_str(include_str!("../../tests/fixtures/signing-vectors.json"))?;
            let pem = vectors["key"]["pkcs8_pem"].as_str().unwrap_or_default();
            let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
            let der = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                body.as_bytes(),
            )?;
            Ok(Self(Arc::new(Credential {
                key_id: "tenancy/user/fingerprint".to_owned(),
                key: Arc::new(SigningKey::from_pkcs8_der(&der)?),
                delegation_token: None,
            })))
        }
    }

    impl CredentialSource for Source {
        fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Arc<credentials::Error>>> {
            ready(Ok(self.0.clone())).boxed()
        }
        fn describe(&self) -> String {
            "user user".to_owned()
        }
        fn tenancy_id(&self) -> Option<String> {
            None
        }
        fn user_id(&self) -> Option<String> {
            None
        }
        fn grantee(&self) -> credentials::Grantee {
            credentials::Grantee::Group
        }
    }

    /// A service that says what it is told to say, one answer per connection;
    /// an empty answer is a cut connection. Keeps what it was asked.
    struct Service {
        url: String,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Service {
        async fn start(answers: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
            let answers: Vec<String> = answers.into_iter().collect();
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let url = format!("http://{}", listener.local_addr()?);
            let requests = Arc::new(Mutex::new(Vec::new()));
            let kept = requests.clone();
            tokio::spawn(async move {
                for answer in answers {
                    let Ok((mut stream, _)) = listener.accept().await else {
                        return;
                    };
                    let request = read_request(&mut stream).await.unwrap_or_default();
                    if let Ok(mut kept) = kept.lock() {
                        kept.push(request);
                    }
                    // Whoever hung up does not want the answer.
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            Ok(Self { url, requests })
        }

        fn client(&self) -> anyhow::Result<Client> {
            Ok(Client::new(config(Some(&self.url))?)?)
        }

        /// The requests so far, each the head and the body.
        fn requests(&self) -> Vec<String> {
            self.requests
                .lock()
                .map(|kept| kept.clone())
                .unwrap_or_default()
        }

        /// The first lines of the requests so far.
        fn lines(&self) -> String {
            let requests = self.requests();
            let lines: Vec<&str> = requests
                .iter()
                .map(|request| request.lines().next().unwrap_or_default())
                .collect();
            lines.join("\n")
        }

        /// The values of a header in the requests so far.
        fn header(&self, name: &str) -> Vec<String> {
            let of_one = |request: &String| {
                request
                    .lines()
                    .find_map(|line| line.strip_prefix(&format!("{name}: ")))
                    .map(str::to_owned)
            };
            self.requests().iter().filter_map(of_one).collect()
        }
    }

    async fn read_request(stream: &mut TcpStream) -> anyhow::Result<String> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(request)?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(Ok(0), str::parse)?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(head + &String::from_utf8(body)?)
    }

    fn config(endpoint: Option<&str>) -> anyhow::Result<Config> {
        Ok(Config {
            endpoint: endpoint.map(str::to_owned),
            retry: RetryPolicy::without_waiting(),
            ..Config::new(
                http_client(&Options::default())?,
                Region::parse("gru")?,
                Arc::new(Source::new()?),
            )
        })
    }

    fn answer(status: u16, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\nopc-request-id: THEIRS/{status}\r\n\
             content-length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    }

    fn refusal(status: u16, code: &str) -> String {
        let body = json!({"code": code, "message": "a message"}).to_string();
        answer(status, "", &body)
    }

    fn repository() -> String {
        let body = include_str!("../../tests/fixtures/oci/container-repository.json");
        answer(200, "", body)
    }

    fn cut() -> String {
        String::new()
    }

    fn web() -> CreateContainerRepository {
        CreateContainerRepository {
            compartment_id: "ocid1.compartment.oc1..a".into(),
            display_name: "team/app".into(),
            ..CreateContainerRepository::default()
        }
    }

    /// Addresses of all services, by region, by endpoint and by template.
    #[test]
    fn addresses() -> anyhow::Result<()> {
        use crate::region::Service;
        let addresses = |endpoint: Option<&str>| -> anyhow::Result<String> {
            let client = Client::new(config(endpoint)?)?;
            let addresses = [
                Service::Artifacts,
                Service::Identity,
                Service::ContainerRegistry,
                Service::ObjectStorage,
            ]
            .map(|service| client.address(service).map(String::from));
            Ok(addresses
                .into_iter()
                .collect::<Result<Vec<_>, _>>()?
                .join("\n"))
        };
        expect![[r#"
            https://artifacts.sa-saopaulo-1.oci.oraclecloud.com/
            https://identity.sa-saopaulo-1.oci.oraclecloud.com/
            https://ocir.sa-saopaulo-1.oci.oraclecloud.com/
            https://objectstorage.sa-saopaulo-1.oraclecloud.com/"#]]
        .assert_eq(&addresses(None)?);
        expect![[r#"
            https://artifacts.sa-saopaulo-1.gateway.example:8443/oci/
            https://identity.sa-saopaulo-1.gateway.example:8443/oci/
            https://ocir.sa-saopaulo-1.gateway.example:8443/oci/
            https://objectstorage.sa-saopaulo-1.gateway.example:8443/oci/"#]]
        .assert_eq(&addresses(Some(
            "https://{service}.{region}.gateway.example:8443/oci/",
        ))?);
        assert!(addresses(Some("http://[::1]:8080"))?.starts_with("http://[::1]:8080/"));
        Ok(())
    }

    /// An endpoint that nothing can be sent to is refused before anything is.
    #[test]
    fn wrong_endpoints() -> anyhow::Result<()> {
        let mut messages = Vec::new();
        for endpoint in [
            "127.0.0.1:8080",
            "localhost",
            "ftp://127.0.0.1",
            "unix:/run/emulator",
            "http://",
            "http://user:password@gateway.example",
            "http://gateway.example/?key=secret",
            "https://{serivce}.gateway.example",
            "https://gateway.example/{tenancy}",
            "https://gateway.example:port",
            "",
        ] {
            match Client::new(config(Some(endpoint))?) {
                Err(error) => messages.push(error.to_string()),
                Ok(_) => messages.push(format!("{endpoint} is accepted")),
            }
        }
        expect![[r#"
            "127.0.0.1:8080" is no address of a service: it has to begin with https:// or http://
            "localhost" is no address of a service: it has to begin with https:// or http://
            "ftp://127.0.0.1" is no address of a service: it has to begin with https:// or http://
            "unix:/run/emulator" is no address of a service: it has to begin with https:// or http://
            "http://" is no address of a service: empty host
            "gateway.example" is no address of a service: it must not have a user name or a password
            "http://gateway.example/" is no address of a service: it must not have a query or a fragment
            "https://{serivce}.gateway.example" is no address of a service: only {service} and {region} are filled in
            "https://gateway.example/{tenancy}" is no address of a service: only {service} and {region} are filled in
            "https://gateway.example:port" is no address of a service: invalid port number
            "" is no address of a service: it has to begin with https:// or http://"#]].assert_eq(&messages.join("\n"));
        Ok(())
    }

    /// A create that is throttled, meets a broken service and loses its
    /// connection is sent four times, as one call to the service: one retry
    /// token, one request id, the same body.
    #[tokio::test]
    async fn create_is_repeated_with_one_token() -> anyhow::Result<()> {
        let service = Service::start([
            refusal(429, "TooManyRequests"),
            refusal(500, "InternalServerError"),
            cut(),
            repository(),
        ])
        .await?;
        let created = service
            .client()?
            .create_container_repository(&web())
            .await?;
        assert_eq!(created.display_name, "team/app");
        let requests = service.requests();
        assert_eq!(requests.len(), 4);
        for name in ["opc-retry-token", "opc-request-id"] {
            let mut values = service.header(name);
            assert_eq!(values.len(), 4, "{name}");
            values.dedup();
            assert_eq!(values.len(), 1, "{name}");
        }
        let id = &service.header("opc-request-id")[0];
        assert!(
            id.len() == 32 && id.chars().all(|c| "0123456789ABCDEF".contains(c)),
            "{id}"
        );
        for request in &requests {
            assert!(
                request.ends_with(
                    r#"{"compartmentId":"ocid1.compartment.oc1..a","displayName":"team/app"}"#
                ),
                "{request}"
            );
        }
        Ok(())
    }

    /// Everything that is sent, for a call with a body, as it stands on the wire.
    #[tokio::test]
    async fn what_stands_on_the_wire() -> anyhow::Result<()> {
        let service = Service::start([repository()]).await?;
        let client = service
            .client()?
            .with_clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045));
        client
            .update_container_repository(
                "ocid1.containerrepo.oc1..a",
                &UpdateContainerRepository {
                    is_public: Some(true),
                    ..UpdateContainerRepository::default()
                },
            )
            .await?;
        let host = service.url.trim_start_matches("http://").to_owned();
        let mut lines: Vec<String> = service.requests()[0]
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                let line = line.replace(&host, "HOST");
                match line.split_once(": ") {
                    Some(("opc-request-id", _)) => "opc-request-id: ID".to_owned(),
                    Some(("authorization", value)) => {
                        let kept = value.split(",signature=").next().unwrap_or_default();
                        format!("authorization: {kept},signature=…")
                    }
                    _ => line,
                }
            })
            .collect();
        lines[1..].sort();
        expect![[r#"
            PUT /20160918/container/repositories/ocid1.containerrepo.oc1..a HTTP/1.1
            accept: application/json
            authorization: Signature version="1",headers="date (request-target) host content-length content-type x-content-sha256",keyId="tenancy/user/fingerprint",algorithm="rsa-sha256",signature=…
            content-length: 17
            content-type: application/json
            date: Fri, 02 Jan 2026 03:04:05 GMT
            host: HOST
            opc-client-retries: true
            opc-request-id: ID
            user-agent: terraform-provider-ocir/0.1.0
            x-content-sha256: +ZeUbC/cLjmhaP9inQXOl4/5L2X2BPnrT4cD2Ixga7w=
            {"isPublic":true}"#]].assert_eq(&lines.join("\n"));
        Ok(())
    }

    /// What no time heals is final: one request each, and the error keeps all
    /// that the service said.
    #[tokio::test]
    async fn final_refusals_are_not_repeated() -> anyhow::Result<()> {
        for (status, code) in [
            (400, "InvalidParameter"),
            (401, "NotAuthenticated"),
            (403, "NotAllowed"),
            (404, "NotAuthorizedOrNotFound"),
            (409, "NAMESPACE_CONFLICT"),
            (409, "Conflict"),
            (409, "InvalidatedRetryToken"),
            (412, "NoEtagMatch"),
            (501, "MethodNotImplemented"),
        ] {
            let service = Service::start(vec![refusal(status, code); 3]).await?;
            let error = service
                .client()?
                .create_container_repository(&web())
                .await
                .err();
            let error = error
                .map(|error| format!("{error} ({})", error.opc_request_id().unwrap_or_default()));
            assert_eq!(
                error,
                Some(format!(
                    "CreateContainerRepository answered {status} {code}: a message (THEIRS/{status})"
                ))
            );
            assert_eq!(service.requests().len(), 1, "{code}");
        }
        Ok(())
    }

    /// Conflicts that pass are waited for, up to the eighth attempt.
    #[tokio::test]
    async fn passing_conflicts_are_repeated() -> anyhow::Result<()> {
        for code in ["IncorrectState", "LockConflict"] {
            let service = Service::start(vec![refusal(409, code); 10]).await?;
            let error = service.client()?.get_container_repository("a").await.err();
            assert!(error.is_some_and(|error| error.is_conflict()));
            assert_eq!(service.requests().len(), 8, "{code}");
        }
        Ok(())
    }

    /// A delete whose answer was lost has worked when the next one finds
    /// nothing; the first one that finds nothing has not.
    #[tokio::test]
    async fn repeated_delete_meets_404() -> anyhow::Result<()> {
        let gone = || refusal(404, "NotAuthorizedOrNotFound");
        let service = Service::start([cut(), gone()]).await?;
        service.client()?.delete_container_repository("a").await?;
        assert_eq!(service.requests().len(), 2);

        let service = Service::start([gone()]).await?;
        let error = service
            .client()?
            .delete_container_repository("a")
            .await
            .err();
        assert!(error.is_some_and(|error| error.is_not_found()));
        Ok(())
    }

    /// A POST without a promise is not sent twice, whatever happens to it.
    #[tokio::test]
    async fn post_without_a_token_is_sent_once() -> anyhow::Result<()> {
        let service = Service::start([refusal(503, ""), repository()]).await?;
        let client = service.client()?;
        let address = client.address(crate::region::Service::Artifacts)?;
        let call = Call::at(
            "Test",
            crate::region::Service::Artifacts,
            Method::POST,
            address,
        )
        .path("test");
        assert!(client.done(&call).await.is_err());
        assert_eq!(service.requests().len(), 1);
        assert_eq!(service.header("content-length"), ["0"]);
        assert!(service.header("opc-retry-token").is_empty());
        Ok(())
    }

    /// Resources run on any thread, so calls have to be able to move.
    #[tokio::test]
    async fn calls_can_move_between_threads() -> anyhow::Result<()> {
        let service = Service::start([repository()]).await?;
        let client = service.client()?;
        let created =
            tokio::spawn(async move { client.create_container_repository(&web()).await }).await??;
        assert_eq!(created.display_name, "team/app");
        Ok(())
    }

    /// Nobody listens: the error names the host and the cause, and no query.
    #[tokio::test]
    async fn nobody_answers() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        drop(listener);
        let client = Client::new(config(Some(&format!("http://{host}")))?)?;
        let error = client
            .get_namespace(Some("ocid1.compartment.oc1..a"))
            .await
            .err();
        let text = error.map(|error| format!("{:#}", anyhow::Error::new(error)));
        let text = text.unwrap_or_default().replace(&host, "HOST");
        assert!(
            text.starts_with("GetNamespace: no answer from HOST: "),
            "{text}"
        );
        assert!(text.contains("Connection refused"), "{text}");
        assert!(!text.contains("compartment"), "{text}");
        Ok(())
    }

    /// A certificate that is not trusted today is not trusted in a minute.
    #[tokio::test]
    async fn strange_certificate_is_final() -> anyhow::Result<()> {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())
            .map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)?;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let handshakes = Arc::new(Mutex::new(0));
        let counted = handshakes.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut counted) = counted.lock() {
                    *counted += 1;
                }
                // The client hangs up, which is what is tested.
                let _ = acceptor.accept(stream).await;
            }
        });
        let client = Client::new(config(Some(&url))?)?;
        let error = client.get_namespace(None).await.err();
        let text = error.map(|error| format!("{:#}", anyhow::Error::new(error)));
        let text = text.unwrap_or_default();
        assert!(text.contains("invalid peer certificate"), "{text}");
        assert_eq!(handshakes.lock().map(|count| *count).ok(), Some(1));
        Ok(())
    }

    fn query() -> ListContainerRepositories {
        ListContainerRepositories {
            compartment_id: "ocid1.compartment.oc1..a".into(),
            compartment_id_in_subtree: true,
            display_name: Some("team/app & co:1".into()),
        }
    }

    fn page(names: &[&str], next: &str) -> String {
        let items: Vec<Value> = names
            .iter()
            .map(|name| {
                json!({"id": name, "compartmentId": "c", "displayName": name, "lifecycleState": "AVAILABLE"})
            })
            .collect();
        answer(
            200,
            &format!("opc-next-page: {next}\r\n"),
            &json!({"items": items}).to_string(),
        )
    }

    /// Pages are followed to the end, empty ones too, with everything but the
    /// page unchanged and encoded.
    #[tokio::test]
    async fn pages_are_followed() -> anyhow::Result<()> {
        let service = Service::start([
            page(&["a"], "p/2=="),
            page(&[], "p3"),
            page(&["b", "c"], ""),
        ])
        .await?;
        let all = service
            .client()?
            .list_container_repositories(&query())
            .await?;
        let names: Vec<&str> = all.iter().map(|item| item.display_name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        expect![[r#"
            GET /20160918/container/repositories?compartmentId=ocid1.compartment.oc1..a&compartmentIdInSubtree=true&displayName=team%2Fapp%20%26%20co%3A1 HTTP/1.1
            GET /20160918/container/repositories?compartmentId=ocid1.compartment.oc1..a&compartmentIdInSubtree=true&displayName=team%2Fapp%20%26%20co%3A1&page=p%2F2%3D%3D HTTP/1.1
            GET /20160918/container/repositories?compartmentId=ocid1.compartment.oc1..a&compartmentIdInSubtree=true&displayName=team%2Fapp%20%26%20co%3A1&page=p3 HTTP/1.1"#]].assert_eq(&service.lines());
        Ok(())
    }

    /// A service that goes round in circles is an error, not a loop.
    #[tokio::test]
    async fn pages_that_repeat_are_refused() -> anyhow::Result<()> {
        let service =
            Service::start([page(&["a"], "x"), page(&["b"], "y"), page(&["a"], "x")]).await?;
        let error = service
            .client()?
            .list_container_repositories(&query())
            .await
            .err();
        let text = error.map(|error| format!("{:#}", anyhow::Error::new(error)));
        expect!["ListContainerRepositories: unreadable answer: the list does not end: it names a page as the next one for the second time"].assert_eq(&text.unwrap_or_default());
        Ok(())
    }

    /// A clock that is ten minutes fast is told by the answer's date.
    #[tokio::test]
    async fn clock_skew_is_measured() -> anyhow::Result<()> {
        let refused = |status: u16| {
            answer(
                status,
                "date: Fri, 02 Jan 2026 03:04:05 GMT\r\n",
                r#"{"code": "NotAuthenticated", "message": "m"}"#,
            )
        };
        let service = Service::start([refused(401), refused(401), refused(403)]).await?;
        let at = |clock| -> anyhow::Result<Client> { Ok(service.client()?.with_clock(clock)) };
        let fast = at(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + 600))?;
        let slow = at(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 - 90))?;
        for (client, skew) in [(&fast, Some(600)), (&slow, Some(-90)), (&fast, None)] {
            let error = client.get_namespace(None).await.err();
            assert_eq!(error.and_then(|error| error.clock_skew()), skew);
        }
        Ok(())
    }

    /// Half an answer, a proxy's page and an endless one: errors, and not the
    /// end of the process.
    #[tokio::test]
    async fn unreadable_answers() -> anyhow::Result<()> {
        let text = |error: Option<Error>| {
            error.map_or_else(String::new, |error| {
                format!("{:#}", anyhow::Error::new(error))
            })
        };
        let service = Service::start([
            answer(200, "", "\"examplens"),
            answer(407, "", "<html>\n<h1>Who are you?</h1>\n</html>"),
            answer(200, "", ""),
        ])
        .await?;
        let client = service.client()?;
        let mut messages = Vec::new();
        for _ in 0..3 {
            messages.push(text(client.get_namespace(None).await.err()));
        }
        expect![[r#"
            GetNamespace: unreadable answer: EOF while parsing a string at line 1 column 10
            GetNamespace answered 407: Who are you?
            GetNamespace: unreadable answer: EOF while parsing a value at line 1 column 0"#]]
        .assert_eq(&messages.join("\n"));

        let huge = "x".repeat(MAX_BODY + 1);
        let service = Service::start([answer(200, "", &huge)]).await?;
        let error = service.client()?.get_namespace(None).await.err();
        expect!["GetNamespace: unreadable answer: it is larger than 16 MiB"]
            .assert_eq(&text(error));
        Ok(())
    }

    /// An answer that ends before its length says so is a lost connection, and
    /// is asked for again.
    #[tokio::test]
    async fn truncated_answer_is_asked_for_again() -> anyhow::Result<()> {
        let whole = answer(200, "", "\"examplens\"");
        let service = Service::start([whole[..whole.len() - 4].to_owned(), whole]).await?;
        assert_eq!(service.client()?.get_namespace(None).await?, "examplens");
        expect![[r#"
            GET /n HTTP/1.1
            GET /n HTTP/1.1"#]]
        .assert_eq(&service.lines());
        Ok(())
    }

    /// Identifiers from outside stay one part of the path.
    #[tokio::test]
    async fn identifiers_cannot_leave_their_place() -> anyhow::Result<()> {
        let service = Service::start([repository()]).await?;
        let client = service.client()?;
        client.get_container_repository("a/../b?c#d é%2e").await?;
        expect!["GET /20160918/container/repositories/a%2F..%2Fb%3Fc%23d%20%C3%A9%252e HTTP/1.1"]
            .assert_eq(&service.lines());
        for id in ["", ".", ".."] {
            let error = client.delete_container_repository(id).await.err();
            assert_eq!(
                error.map(|error| error.to_string()),
                Some(format!(
                    "DeleteContainerRepository: \"{id}\" is no identifier"
                ))
            );
        }
        assert_eq!(service.requests().len(), 1);
        Ok(())
    }

    /// A stop ends a wait for the next attempt, and a read that is under way.
    #[tokio::test]
    async fn stop_ends_waits_and_reads() -> anyhow::Result<()> {
        let throttled = answer(429, "retry-after: 300\r\n", "{}");
        let service = Service::start([throttled]).await?;
        let mut config = config(Some(&service.url))?;
        config.retry = RetryPolicy::default();
        let stop = CancellationToken::new();
        let client = Client::new(config)?.with_stop(stop.clone());
        let start = std::time::Instant::now();
        let (error, ()) = tokio::join!(client.get_namespace(None), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
        });
        assert!(matches!(error, Err(Error::Stopped)), "{error:?}");
        assert!(matches!(
            client.get_namespace(None).await,
            Err(Error::Stopped)
        ));
        assert_eq!(service.requests().len(), 1);

        // Accepts, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", silent.local_addr()?);
        let stop = CancellationToken::new();
        let client = Client::new(super::tests::config(Some(&url))?)?.with_stop(stop.clone());
        let (error, ()) = tokio::join!(client.get_namespace(None), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
        });
        assert!(matches!(error, Err(Error::Stopped)), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(30));
        Ok(())
    }

    /// A write that is under way is finished when the run is stopped, so that
    /// what it made is known.
    #[tokio::test]
    async fn stop_does_not_cut_a_write() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let client = Client::new(config(Some(&url))?)?.with_stop(stop.clone());
        let web = web();
        let (created, served) = tokio::join!(client.create_container_repository(&web), async {
            let (mut stream, _) = listener.accept().await?;
            read_request(&mut stream).await?;
            stop.cancel();
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(repository().as_bytes()).await?;
            anyhow::Ok(())
        });
        served?;
        assert_eq!(created?.display_name, "team/app");
        Ok(())
    }

    /// The registry's endpoint: no scope, no query; an anonymous token is no token.
    #[tokio::test]
    async fn registry_token() -> anyhow::Result<()> {
        let anonymous = json!({"sub": json!({"userId": "anon-1"}).to_string()}).to_string();
        let anonymous =
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, anonymous);
        let anonymous = json!({"token": format!("e30.{anonymous}.x"), "expires_in": 3600});
        let service = Service::start([
            answer(
                200,
                "",
                include_str!("../../tests/fixtures/oci/registry-token.json"),
            ),
            answer(
                200,
                "date: Fri, 02 Jan 2026 03:04:05 GMT\r\n",
                &anonymous.to_string(),
            ),
            answer(200, "", r#"{"token": ""}"#),
        ])
        .await?;
        let client = service
            .client()?
            .with_clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + 600));
        let token = client.get_registry_token(&service.url).await?;
        assert_eq!(token.token, "eyJ.fake.jwt");
        assert_eq!(token.expires_in, Duration::from_secs(3600));

        let error = client.get_registry_token(&service.url).await.err();
        assert!(
            matches!(&error, Some(Error::Anonymous { host, clock_skew: Some(600) })
                if service.url.ends_with(host)),
            "{error:?}"
        );
        let error = client.get_registry_token(&service.url).await.err();
        let text = error.map(|error| format!("{:#}", anyhow::Error::new(error)));
        expect!["GetRegistryToken: unreadable answer: there is no token in it"]
            .assert_eq(&text.unwrap_or_default());
        expect![[r#"
            GET /20180419/docker/token HTTP/1.1
            GET /20180419/docker/token HTTP/1.1
            GET /20180419/docker/token HTTP/1.1"#]]
        .assert_eq(&service.lines());
        Ok(())
    }
}
