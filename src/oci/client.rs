//! The client: endpoint, sign, send, retry, pages, etag.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use url::{Position, Url};

use super::{
    Error,
    call::{Call, Marks, Repeat, Request},
    consistency::{self, Window},
    error::{code, code_and_message, request_id},
    hosts::parse_address,
    pace::Pace,
};
use crate::{
    credentials::{Credential, CredentialSource},
    region::{Directory, Region, Service},
    signing::{self, Coverage, Parts},
    transport::{self, Progress, RetryPolicy, Secrets, Verdict},
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
    pub(super) shared: Arc<Shared>,
    clock: fn() -> SystemTime,
    /// How long a change that is on its way has left after the stop.
    last_word: Duration,
    /// Bound of one attempt.
    timeout: Duration,
}

/// What all clones of a client know together.
#[derive(Default)]
pub(super) struct Shared {
    /// Where IAM is changed, as soon as that is known.
    pub(super) home: tokio::sync::Mutex<Option<Region>>,
    window: Window,
    paces: Mutex<HashMap<&'static str, Arc<Pace>>>,
    /// Whether any service has ever answered. A host that has not may be
    /// misspelt, and is not tried for long.
    reached: AtomicBool,
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
    /// A client. Contacts nobody; an `endpoint` that is no address is an error,
    /// and so is one among the `host_overrides`.
    pub fn new(config: Config) -> Result<Self, Error> {
        let client = Self {
            config: Arc::new(config),
            stop: CancellationToken::new(),
            shared: Arc::default(),
            clock: SystemTime::now,
            last_word: LAST_WORD,
            // An attempt is a small exchange, so that this is a bound for the
            // silence of the service as well.
            timeout: transport::CONNECT_TIMEOUT + transport::READ_TIMEOUT,
        };
        // An `endpoint` that is accepted for one service is for every service.
        client.address(Service::Auth)?;
        for address in client.config.host_overrides.values() {
            client.fill_in(address, Service::Auth, client.region())?;
        }
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
        self.address_in(service, self.region())
    }

    /// The same in another region.
    pub(super) fn address_in(&self, service: Service, region: &Region) -> Result<Url, Error> {
        match self.configured_address(service) {
            Some(address) => self.fill_in(address, service, region),
            None => parse_address(&format!("https://{}", region.host(service))),
        }
    }

    /// Whether a service has another address in another region. Behind one
    /// address for all of them, there is no home to go to.
    pub(super) fn is_regional(&self, service: Service) -> bool {
        self.configured_address(service)
            .is_none_or(|address| address.contains("{region}"))
    }

    fn configured_address(&self, service: Service) -> Option<&String> {
        let own = self.config.host_overrides.get(service.name());
        own.or(self.config.endpoint.as_ref())
    }

    fn fill_in(&self, address: &str, service: Service, region: &Region) -> Result<Url, Error> {
        let address = address
            .replace("{service}", service.name())
            .replace("{region}", &region.identifier);
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

    /// Sends a call that reads in the configured region, and reads its answer
    /// as JSON. The way for those who look for the home region.
    pub(super) async fn json_here<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let answer = self.send_to(call, &Marks::new(call), self.region()).await?;
        answer.json(call.operation)
    }

    /// Sends a call for a list until there are no more pages. `items` takes the
    /// entries out of a page.
    pub(super) async fn pages<P: DeserializeOwned, T>(
        &self,
        mut call: Call,
        items: impl Fn(P) -> Vec<T>,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        let mut empty = 0;
        let mut bytes = 0;
        loop {
            let answer = self.send(&call).await?;
            bytes += answer.body.len();
            // A page may be empty and still have a next one.
            let page = items(answer.json(call.operation)?);
            empty = if page.is_empty() { empty + 1 } else { 0 };
            all.extend(page);
            let Some(next) = answer.next_page() else {
                return Ok(all);
            };
            let endless = if seen.contains(&next) {
                "it names a page as the next one for the second time".to_owned()
            } else if empty >= MAX_EMPTY_PAGES {
                format!("{empty} pages one after the other were empty")
            } else if seen.len() >= MAX_PAGES || all.len() >= MAX_ENTRIES || bytes >= MAX_LIST {
                format!("{} pages had {} entries", seen.len() + 1, all.len())
            } else {
                call.page = Some(next.clone());
                seen.insert(next);
                continue;
            };
            return Err(
                answer.unreadable(call.operation, &format!("the list does not end: {endless}"))
            );
        }
    }

    /// Sends a call, again when that is worth it and safe. One that changes
    /// IAM goes to the home region.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        if !call.changes_iam() {
            return self.send_to(call, &Marks::new(call), self.region()).await;
        }
        let answer = self.send_home(call).await?;
        self.shared.window.open((self.clock)());
        Ok(answer)
    }

    /// Sends a call to its service in a region.
    pub(super) async fn send_to(
        &self,
        call: &Call,
        marks: &Marks,
        region: &Region,
    ) -> Result<Answer, Error> {
        let base = match &call.address {
            Some(address) => address.clone(),
            None => self.address_in(call.service, region)?,
        };
        let url = call.url(base)?;
        let request = &Request {
            call,
            marks,
            region,
            url: &url,
            host: &transport::authority(&url),
        };
        let result = transport::repeat(
            self.config.retry.wait,
            call.operation,
            &self.stop,
            |_| self.attempt(request),
            |failure, progress| self.decide(call, failure, progress),
        )
        .await;
        result.map_err(|failure| match failure.error {
            Error::Stopped if !call.reads && marks.unheard.load(Ordering::Relaxed) => {
                Error::StoppedUnheard
            }
            error => error.after(
                marks.sent.load(Ordering::Relaxed),
                !call.reads && marks.unheard.load(Ordering::Relaxed),
            ),
        })
    }

    /// What is waited for before something is sent, or while something is only
    /// read, is not worth waiting for when the run is stopped.
    pub(super) async fn unless_stopped<T>(
        &self,
        waiting: impl Future<Output = T>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::Stopped),
            done = waiting => Ok(done),
        }
    }

    /// The credential to sign with.
    pub(super) async fn credential(&self) -> Result<Arc<Credential>, Error> {
        let credential = self.unless_stopped(self.config.credentials.credential());
        credential.await?.map_err(Error::Credentials)
    }

    /// One attempt. A request that only reads is dropped when the run is
    /// stopped; one that writes has a while left to say what it did.
    async fn attempt(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let answer = if request.call.reads {
            self.unless_stopped(self.signed_in(request)).await?
        } else {
            let last_word = match request.call.only_removes {
                true => self.last_word.min(LAST_ANSWER),
                false => self.last_word,
            };
            let patience = async {
                self.stop.cancelled().await;
                tokio::time::sleep(last_word).await;
            };
            tokio::select! {
                biased;
                answer = self.signed_in(request) => answer,
                () = patience => {
                    request.marks.unheard.store(true, Ordering::Relaxed);
                    Err(Error::Stopped.into())
                }
            }
        };
        match answer {
            // An attempt before may have worked, with its answer lost on the way.
            // One that was turned away did nothing, and after it a 404 may be a
            // right that was lost.
            Err(failure)
                if request.marks.unheard.load(Ordering::Relaxed)
                    && request.call.method == http::Method::DELETE
                    && failure.error.is_not_found() =>
            {
                Ok(Answer::default())
            }
            Err(failure) => {
                if failure.error.is_ambiguous() {
                    request.marks.unheard.store(true, Ordering::Relaxed);
                }
                Err(failure)
            }
            answer => answer,
        }
    }

    /// Sends a request, and once more when the service does not accept the
    /// credential and another one may be had. That is no retry: a call that was refused
    /// like this did nothing, and the repetition does not wait.
    async fn signed_in(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let failure = match self.once(request).await {
            Err(failure) if failure.is_of_credential() => failure,
            answer => return answer,
        };
        let Some(credential) = &failure.credential else {
            return Err(failure);
        };
        // Once per call, however often the call itself is repeated.
        if request.marks.renewed.swap(true, Ordering::Relaxed)
            || !self.config.credentials.refused(credential)
        {
            return Err(failure);
        }
        tracing::info!(
            operation = request.call.operation,
            "The credential was refused; asking with another one"
        );
        self.once(request).await
    }

    async fn once(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let Request {
            call, url, host, ..
        } = request;
        let pace = self.pace(call.service);
        if let Some(pace) = &pace {
            self.unless_stopped(pace.admit()).await?;
        }
        let credential = self.credential().await?;
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
        let authorization = signed.get(header::AUTHORIZATION).cloned();
        let mut http = self
            .config
            .http
            .request(call.method.clone(), (*url).clone())
            .headers(signed)
            .headers(request.headers(!self.config.retry.is_none()))
            .timeout(self.timeout);
        if let Some(body) = &call.body {
            http = http.body(body.clone());
        }
        let no_answer = |source: reqwest::Error| Error::Transport {
            operation: call.operation,
            host: (*host).to_owned(),
            attempts: 1,
            unheard: false,
            source: source.without_url(),
        };
        request.marks.sent.fetch_add(1, Ordering::Relaxed);
        let sent = Instant::now();
        let mut response = http.send().await.map_err(no_answer)?;
        self.shared.reached.store(true, Ordering::Relaxed);
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
        // A date in it is one of the service's clock.
        let theirs = date(&answer.headers).unwrap_or(now);
        let after = transport::retry_after(&answer.headers, theirs);
        if let Some(pace) = &pace {
            match status {
                StatusCode::TOO_MANY_REQUESTS => pace.throttled(sent, after),
                _ => pace.answered(),
            }
        }
        let error = if status.is_success() {
            match call.check.map(|check| check(&answer, host)) {
                None | Some(Ok(())) => return Ok(answer),
                Some(Err(error)) => error,
            }
        } else {
            let authorization = authorization.as_ref().and_then(|value| value.to_str().ok());
            let secrets = secrets(&credential, authorization.unwrap_or_default());
            refusal(request, status, &answer, &secrets)
        };
        Err(Failure {
            error,
            after,
            credential: Some(credential),
        })
    }

    /// The pace for a service, which those do not keep who wait for nothing.
    fn pace(&self, service: Service) -> Option<Arc<Pace>> {
        let policy = &self.config.retry;
        if policy.is_none() || !policy.wait {
            return None;
        }
        let mut paces = self
            .shared
            .paces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(paces.entry(service.name()).or_default().clone())
    }

    /// What becomes of a call after a failure: to be sent again it has to be one
    /// that passes, and a call of which a second one does no harm.
    fn decide(&self, call: &Call, failure: &mut Failure, progress: Progress) -> Verdict {
        let policy = &self.config.retry;
        if policy.is_none() {
            return Verdict::Final;
        }
        let Progress {
            attempts, elapsed, ..
        } = progress;
        let unreachable = matches!(&failure.error, Error::Transport { source, .. } if source.is_connect())
            && !self.shared.reached.load(Ordering::Relaxed);
        if unreachable && policy.gives_up_on_unreached(attempts) {
            return Verdict::Final;
        }
        if let Some(reason) = passing(call, &failure.error) {
            return match policy.next(attempts, elapsed, rand::random(), failure.after) {
                Some(delay) => Verdict::Again { reason, delay },
                None => {
                    // With attempts left, what the service asked for is too long.
                    if attempts < policy.max_attempts {
                        failure.error.keep_retry_after(failure.after);
                    }
                    Verdict::GiveUp { reason }
                }
            };
        }
        if !consistency::may_pass(&failure.error)
            || call.repeat == Repeat::Unheard
            || (call.is_question && failure.error.status() == Some(404))
        {
            return Verdict::Final;
        }
        let now = (self.clock)() + progress.skipped;
        let delay = self.shared.window.next(now, attempts, rand::random());
        match delay.filter(|delay| elapsed.saturating_add(*delay) <= policy.max_elapsed) {
            Some(delay) => Verdict::Again {
                reason: format!(
                    "{}, shortly after a change of IAM",
                    answered(&failure.error)
                ),
                delay,
            },
            None => Verdict::Final,
        }
    }
}

/// The secrets of one request: the session token, the delegation token, and the
/// signature itself, which is good for five minutes.
fn secrets(credential: &Credential, authorization: &str) -> Secrets {
    let session = credential.key_id.strip_prefix("ST$");
    let signature = authorization
        .split_once("signature=\"")
        .map(|(_, signature)| signature.trim_end_matches('"'));
    let known = [session, credential.delegation_token.as_deref(), signature];
    Secrets::new(known.into_iter().flatten())
}

fn refusal(request: &Request<'_>, status: StatusCode, answer: &Answer, secrets: &Secrets) -> Error {
    let (code, message) = code_and_message(&answer.body, |text| secrets.scrub(text));
    Error::Service {
        operation: request.call.operation,
        service: request.call.service.name(),
        region: request.region.identifier.clone(),
        host: request.host.to_owned(),
        status: status.as_u16(),
        code,
        message,
        opc_request_id: secrets.scrub(&request_id(&answer.headers)),
        attempts: 1,
        unheard: false,
        retry_after: None,
        clock_skew: (status == StatusCode::UNAUTHORIZED)
            .then_some(answer.clock_skew)
            .flatten(),
    }
}

/// Why a failure passes with time, for a call that may be sent again then.
fn passing(call: &Call, error: &Error) -> Option<String> {
    // What was turned away at the door, or found none, did nothing.
    let (reason, unheard) = match error {
        Error::Service { status, code, .. } => {
            let passes = transport::is_transient_status(*status)
                || (*status == 409 && code::IN_BETWEEN.contains(&code.as_str()));
            if !passes {
                return None;
            }
            (answered(error), *status == 429)
        }
        Error::Transport { source, .. } => {
            if source.is_builder() || transport::is_certificate_error(source) {
                return None;
            } else if source.is_connect() {
                ("no connection".to_owned(), true)
            } else if source.is_timeout() {
                ("time-out".to_owned(), false)
            } else {
                ("connection lost".to_owned(), false)
            }
        }
        _ => return None,
    };
    (call.repeat != Repeat::Unheard || unheard).then_some(reason)
}

/// A refusal, for the log.
fn answered(error: &Error) -> String {
    let status = error.status().unwrap_or_default();
    match error.code() {
        Some(code) => format!("status {status}, code {code}"),
        None => format!("status {status}"),
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

    /// What the object's next change can be tied to.
    pub(super) fn etag(&self) -> Option<String> {
        let etag = self.headers.get(header::ETAG)?.to_str().ok()?;
        (!etag.is_empty()).then(|| etag.to_owned())
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

/// An error, what the answer said about when to come back, and who was refused.
struct Failure {
    error: Error,
    after: Option<Duration>,
    credential: Option<Arc<Credential>>,
}

impl Failure {
    /// Whether another credential may make a difference.
    fn is_of_credential(&self) -> bool {
        self.error.is_unauthenticated() || matches!(self.error, Error::Anonymous { .. })
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            after: None,
            credential: None,
        }
    }
}

fn unreadable(operation: &'static str, opc_request_id: String, why: &str) -> Error {
    Error::Decode {
        operation,
        opc_request_id,
        source: serde::de::Error::custom(why),
    }
}

/// When an answer was made.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()
}

fn clock_skew(headers: &HeaderMap, ours: SystemTime) -> Option<i64> {
    let theirs = date(headers)?;
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).ok();
    match ours.duration_since(theirs) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => seconds(behind.duration()).map(|seconds| -seconds),
    }
}

/// How long a change that is on its way when the run is stopped has left to say
/// what it did. What it made would otherwise be in no state; a service that is
/// silent for longer is not worth waiting for.
const LAST_WORD: Duration = Duration::from_secs(10);

/// The same of a change that leaves nothing behind.
const LAST_ANSWER: Duration = Duration::from_millis(800);

/// No answer of the control plane comes near.
const MAX_BODY: usize = 16 << 20;

/// More than a tenancy has: 100,000 repositories in pages of ten are half of it.
const MAX_PAGES: usize = 20_000;
const MAX_ENTRIES: usize = 1_000_000;
const MAX_EMPTY_PAGES: usize = 1_000;
/// Bytes of all pages; their entries are held in memory.
const MAX_LIST: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use http::Method;
    use serde_json::{Value, json};
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;
    use crate::oci::{
        ListContainerRepositories, UpdateContainerRepository,
        testing::{
            FakeService, Source, answer, config, cut, read_request, refusal, repository, web,
        },
    };

    /// Addresses of all services, by region, by endpoint and by template.
    #[test]
    fn addresses() -> anyhow::Result<()> {
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
        let service = FakeService::start([
            refusal(429, "TooManyRequests"),
            refusal(500, "InternalServerError"),
            cut(),
            repository(),
        ])
        .await?;
        fn ticking() -> SystemTime {
            static SECONDS: std::sync::atomic::AtomicU64 =
                std::sync::atomic::AtomicU64::new(1_767_323_045);
            let seconds = SECONDS.fetch_add(1, Ordering::Relaxed);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        }
        let created = service
            .client()?
            .with_clock(ticking)
            .create_container_repository(&web())
            .await?;
        assert_eq!(created.display_name, "team/app");
        let requests = service.requests();
        assert_eq!(requests.len(), 4);
        for (name, distinct) in [
            ("opc-retry-token", 1),
            ("opc-request-id", 1),
            // Each attempt has a date of its own and is signed anew.
            ("date", 4),
            ("authorization", 4),
        ] {
            let mut values = service.header(name);
            assert_eq!(values.len(), 4, "{name}");
            values.sort();
            values.dedup();
            assert_eq!(values.len(), distinct, "{name}");
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
        let service = FakeService::start([repository()]).await?;
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
                None,
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
            let service = FakeService::start(vec![refusal(status, code); 3]).await?;
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
            let service = FakeService::start(vec![refusal(409, code); 10]).await?;
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
        let service = FakeService::start([cut(), gone()]).await?;
        service
            .client()?
            .delete_container_repository("a", None)
            .await?;
        assert_eq!(service.requests().len(), 2);

        // Nor is it success after an attempt that was turned away.
        for answers in [vec![gone()], vec![refusal(429, "TooManyRequests"), gone()]] {
            let service = FakeService::start(answers).await?;
            let error = service
                .client()?
                .delete_container_repository("a", None)
                .await
                .err();
            assert!(error.is_some_and(|error| error.is_not_found()));
        }
        Ok(())
    }

    /// A POST without a promise is not sent twice, whatever happens to it.
    #[tokio::test]
    async fn post_without_a_token_is_sent_once() -> anyhow::Result<()> {
        let service = FakeService::start([refusal(503, ""), repository()]).await?;
        let client = service.client()?;
        let address = client.address(Service::Artifacts)?;
        let call = Call::at("Test", Service::Artifacts, Method::POST, address).path("test");
        assert!(client.done(&call).await.is_err());
        assert_eq!(service.requests().len(), 1);
        assert_eq!(service.header("content-length"), ["0"]);
        assert!(service.header("opc-retry-token").is_empty());
        Ok(())
    }

    /// Resources run on any thread, so calls have to be able to move.
    #[tokio::test]
    async fn calls_can_move_between_threads() -> anyhow::Result<()> {
        let service = FakeService::start([repository()]).await?;
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
        let service = FakeService::start([
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
            FakeService::start([page(&["a"], "x"), page(&["b"], "y"), page(&["a"], "x")]).await?;
        let error = service
            .client()?
            .list_container_repositories(&query())
            .await
            .err();
        let text = error.map(|error| format!("{:#}", anyhow::Error::new(error)));
        expect!["ListContainerRepositories: unreadable answer: the list does not end: it names a page as the next one for the second time"].assert_eq(&text.unwrap_or_default());
        Ok(())
    }

    /// A tenancy with a hundred thousand repositories is listed whole.
    #[tokio::test]
    async fn long_lists() -> anyhow::Result<()> {
        let pages = (1..=100).map(|number| match number {
            100 => page(&[], ""),
            _ => page(&[], &format!("p{number}")),
        });
        let service = FakeService::start(pages).await?;
        let client = service.client()?;
        let call = Call::new(&client, "Test", Service::Artifacts, Method::GET)?.path("test");
        let all = client.pages(call, |_: Value| vec![(); 1000]).await?;
        assert_eq!(all.len(), 100_000);
        Ok(())
    }

    /// A wait until a date is reckoned by the clock of the one who names it:
    /// ours may be wrong.
    #[tokio::test]
    async fn retry_after_a_date_with_a_wrong_clock() -> anyhow::Result<()> {
        let busy = answer(
            503,
            "date: Fri, 02 Jan 2026 03:04:05 GMT\r\nretry-after: Fri, 02 Jan 2026 04:04:05 GMT\r\n",
            "",
        );
        let service = FakeService::start([busy]).await?;
        let fast = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + 6000);
        let client = service.client()?.with_clock(fast);
        let error = client.get_namespace(None).await.err();
        assert_eq!(
            error.and_then(|error| error.retry_after()),
            Some(Duration::from_secs(3600))
        );
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
        let service = FakeService::start([refused(401), refused(401), refused(403)]).await?;
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
        let service = FakeService::start([
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
        let service = FakeService::start([answer(200, "", &huge)]).await?;
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
        let service = FakeService::start([whole[..whole.len() - 4].to_owned(), whole]).await?;
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
        let service = FakeService::start([repository()]).await?;
        let client = service.client()?;
        client.get_container_repository("a/../b?c#d é%2e").await?;
        expect!["GET /20160918/container/repositories/a%2F..%2Fb%3Fc%23d%20%C3%A9%252e HTTP/1.1"]
            .assert_eq(&service.lines());
        for id in ["", ".", ".."] {
            let error = client.delete_container_repository(id, None).await.err();
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

    /// A service that takes a request and falls silent is waited for so long, and
    /// asked again like one that broke off.
    #[tokio::test]
    async fn silence_has_an_end() -> anyhow::Result<()> {
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", silent.local_addr()?);
        let mut client = Client::new(config(Some(&url))?)?;
        assert_eq!(client.timeout, Duration::from_secs(70));
        client.timeout = Duration::from_millis(50);
        let error = client.get_namespace(None).await.err();
        assert!(
            matches!(&error, Some(Error::Transport { source, attempts: 8, .. }) if source.is_timeout()),
            "{error:?}"
        );
        Ok(())
    }

    /// Who takes something away has less than a second: the next run sees what became
    /// of it.
    #[tokio::test]
    async fn a_removal_is_not_waited_for() -> anyhow::Result<()> {
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", silent.local_addr()?);
        for what in ["tag", "image"] {
            let stop = CancellationToken::new();
            let client = Client::new(config(Some(&url))?)?.with_stop(stop.clone());
            let removing = async {
                match what {
                    "tag" => client.remove_container_version("a", "1").await.map(drop),
                    _ => client.delete_container_image("a").await,
                }
            };
            let (removed, stopped) = tokio::join!(removing, async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stop.cancel();
                Instant::now()
            });
            assert!(
                removed.as_ref().is_err_and(Error::is_stopped),
                "{removed:?}"
            );
            assert!(stopped.elapsed() < Duration::from_secs(5), "{what}");
        }
        Ok(())
    }

    /// The answer to a create is lost, and then nobody can be reached any more, or only
    /// somebody who turns callers away. That is no proof that the first attempt did
    /// nothing; a refusal of the create itself is one.
    #[tokio::test]
    async fn a_lost_answer_stays_lost() -> anyhow::Result<()> {
        let after = async |answers: Vec<String>| {
            let service = FakeService::start(answers).await?;
            let error = service.client()?.create_auth_token("a", "b").await.err();
            anyhow::Ok(error.is_some_and(|error| error.is_ambiguous()))
        };
        let busy = || vec![refusal(429, "TooManyRequests"); 8];
        let with_lost = |rest: Vec<String>| [vec![cut()], rest].concat();
        assert!(after(with_lost(vec![])).await?);
        assert!(after(with_lost(busy())).await?);
        assert!(after(with_lost(vec![refusal(409, "IncorrectState"); 8])).await?);
        assert!(after(with_lost(vec![refusal(401, "NotAuthenticated"); 2])).await?);
        assert!(!after(vec![]).await?);
        assert!(!after(busy()).await?);
        assert!(!after(with_lost(vec![refusal(400, "InvalidParameter")])).await?);
        Ok(())
    }

    /// A change that is on its way when the run is stopped has a while left to say
    /// what it did; after that nobody knows, and the error says so.
    #[tokio::test]
    async fn a_change_has_a_last_word() -> anyhow::Result<()> {
        assert_eq!(LAST_WORD, Duration::from_secs(10), "as the guides say");
        // Accepts, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", silent.local_addr()?);
        let stop = CancellationToken::new();
        let mut client = Client::new(config(Some(&url))?)?.with_stop(stop.clone());
        client.last_word = Duration::from_millis(300);
        let web = web();
        let (created, stopped) = tokio::join!(client.create_container_repository(&web), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
            Instant::now()
        });
        assert!(
            created.as_ref().is_err_and(Error::is_ambiguous)
                && created.as_ref().is_err_and(Error::is_stopped),
            "{created:?}"
        );
        let took = stopped.elapsed();
        assert!(
            (Duration::from_millis(300)..Duration::from_secs(5)).contains(&took),
            "{took:?}"
        );
        Ok(())
    }

    /// A stop ends a wait for the next attempt, and a read that is under way.
    #[tokio::test]
    async fn stop_ends_waits_and_reads() -> anyhow::Result<()> {
        let throttled = answer(429, "retry-after: 300\r\n", "{}");
        let service = FakeService::start([throttled]).await?;
        let mut configured = config(Some(&service.url))?;
        configured.retry = RetryPolicy::default();
        let stop = CancellationToken::new();
        let client = Client::new(configured)?.with_stop(stop.clone());
        let (error, stopped) = tokio::join!(client.get_namespace(None), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
            Instant::now()
        });
        assert!(matches!(error, Err(Error::Stopped)), "{error:?}");
        assert!(stopped.elapsed() < Duration::from_millis(500));
        assert!(matches!(
            client.get_namespace(None).await,
            Err(Error::Stopped)
        ));
        assert_eq!(service.requests().len(), 1);

        // Accepts, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", silent.local_addr()?);
        let stop = CancellationToken::new();
        let client = Client::new(config(Some(&url))?)?.with_stop(stop.clone());
        let (error, stopped) = tokio::join!(client.get_namespace(None), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
            Instant::now()
        });
        assert!(matches!(error, Err(Error::Stopped)), "{error:?}");
        assert!(stopped.elapsed() < Duration::from_millis(500));
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
        let service = FakeService::start([
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

    /// A refused credential is renewed once, at once, and the call goes on: the
    /// same retry token and request id, another signature. That is no retry, so
    /// it happens to those as well who switched retries off.
    #[tokio::test]
    async fn refused_credential_is_renewed_once() -> anyhow::Result<()> {
        for retry in [RetryPolicy::without_waiting(), RetryPolicy::none()] {
            let service =
                FakeService::start([refusal(401, "NotAuthenticated"), repository()]).await?;
            let source = Arc::new(Source::with_key_ids(&["ST$first", "ST$second"])?);
            let client = Client::new(Config {
                retry,
                credentials: source.clone(),
                ..config(Some(&service.url))?
            })?;
            client.create_container_repository(&web()).await?;
            for name in ["opc-retry-token", "opc-request-id"] {
                let mut values = service.header(name);
                values.dedup();
                assert_eq!(values.len(), 1, "{name}");
            }
            let signed = service.header("authorization");
            assert!(signed[0].contains("ST$first"), "{}", signed[0]);
            assert!(signed[1].contains("ST$second"), "{}", signed[1]);
        }
        Ok(())
    }

    /// Refused again, or with nothing to renew: the error, after two requests
    /// and after one, however many credentials there would be.
    #[tokio::test]
    async fn refused_credential_is_not_renewed_twice() -> anyhow::Result<()> {
        let no = || refusal(401, "NotAuthenticated");
        let service = FakeService::start([no(), no(), no()]).await?;
        let source = Arc::new(Source::with_key_ids(&[
            "ST$first",
            "ST$second",
            "ST$third",
        ])?);
        let error = service.client_of(&source)?.get_namespace(None).await.err();
        assert!(
            matches!(
                error,
                Some(Error::Service {
                    status: 401,
                    attempts: 2,
                    ..
                })
            ),
            "{error:?}"
        );
        assert_eq!(service.requests().len(), 2);

        let service = FakeService::start([no(), no()]).await?;
        assert!(service.client()?.get_namespace(None).await.is_err());
        assert_eq!(service.requests().len(), 1);
        Ok(())
    }

    /// The renewal is beside the retries and does not use them up.
    #[tokio::test]
    async fn renewal_is_beside_the_retries() -> anyhow::Result<()> {
        let mut answers = vec![refusal(503, ""); 4];
        answers.push(refusal(401, "NotAuthenticated"));
        answers.extend(vec![refusal(503, ""); 3]);
        answers.push(answer(200, "", "\"examplens\""));
        let service = FakeService::start(answers).await?;
        let source = Arc::new(Source::with_key_ids(&["ST$first", "ST$second"])?);
        let namespace = service.client_of(&source)?.get_namespace(None).await?;
        assert_eq!(namespace, "examplens");
        assert_eq!(service.requests().len(), 9);
        Ok(())
    }

    /// A token that is nobody's is another form of 401.
    #[tokio::test]
    async fn anonymous_token_is_asked_for_again() -> anyhow::Result<()> {
        let payload = json!({"sub": json!({"userId": "anon-1"}).to_string()}).to_string();
        let payload =
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
        let anonymous = json!({"token": format!("e30.{payload}.x")}).to_string();
        let real = include_str!("../../tests/fixtures/oci/registry-token.json");
        let service =
            FakeService::start([answer(200, "", &anonymous), answer(200, "", real)]).await?;
        let source = Arc::new(Source::with_key_ids(&["ST$first", "ST$second"])?);
        let client = service.client_of(&source)?;
        assert_eq!(
            client.get_registry_token(&service.url).await?.token,
            "eyJ.fake.jwt"
        );
        assert!(service.header("authorization")[1].contains("ST$second"));
        Ok(())
    }

    /// A wait that is longer than what is left is not begun, and the error
    /// says how long it would have been.
    #[tokio::test]
    async fn too_long_a_wait_is_told() -> anyhow::Result<()> {
        let later = || {
            answer(
                429,
                "retry-after: 3600\r\n",
                r#"{"code": "TooManyRequests"}"#,
            )
        };
        let service = FakeService::start([later(), later()]).await?;
        let error = service.client()?.get_namespace(None).await.err();
        let error = error.ok_or_else(|| anyhow::anyhow!("accepted"))?;
        expect![[r#"GetNamespace answered 429 TooManyRequests: {"code": "TooManyRequests"}; it asks to wait for 3600 seconds, which is too long"#]]
            .assert_eq(&error.to_string());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
        assert_eq!(service.requests().len(), 1);

        // Used up attempts are no matter of time.
        let later = answer(503, "retry-after: 1\r\n", "");
        let service = FakeService::start(vec![later; 9]).await?;
        let error = service.client()?.get_namespace(None).await.err();
        assert_eq!(error.and_then(|error| error.retry_after()), None);
        assert_eq!(service.requests().len(), 8);
        Ok(())
    }

    /// Retries that are switched off: one request, which does not promise more.
    #[tokio::test]
    async fn retries_switched_off() -> anyhow::Result<()> {
        let service = FakeService::start([refusal(503, ""), repository()]).await?;
        let client = Client::new(Config {
            retry: RetryPolicy::none(),
            ..config(Some(&service.url))?
        })?;
        assert!(client.get_container_repository("a").await.is_err());
        assert_eq!(service.requests().len(), 1);
        assert!(service.header("opc-client-retries").is_empty());
        Ok(())
    }

    /// A POST without a promise is sent again when it was turned away at the
    /// door, and not when its answer was lost.
    #[tokio::test]
    async fn unheard_posts() -> anyhow::Result<()> {
        for (first, requests) in [(refusal(429, "TooManyRequests"), 2), (cut(), 1)] {
            let service = FakeService::start([first, repository()]).await?;
            let client = service.client()?;
            let call = Call::new(&client, "Test", Service::Artifacts, Method::POST)?.path("test");
            assert_eq!(client.done(&call).await.is_ok(), requests == 2);
            assert_eq!(service.requests().len(), requests);
        }
        Ok(())
    }

    fn auth_token() -> String {
        let body = include_str!("../../tests/fixtures/oci/auth-token-create.json");
        answer(200, "", body)
    }

    /// For four minutes after a change of IAM, refusals that are final
    /// otherwise are waited out, by all clones of the client.
    #[tokio::test]
    async fn iam_is_waited_for() -> anyhow::Result<()> {
        let code = "RelatedResourceNotAuthorizedOrNotFound";
        let service = FakeService::start([
            auth_token(),
            refusal(404, "NotAuthorizedOrNotFound"),
            refusal(400, code),
            answer(200, "", "\"examplens\""),
            refusal(400, code),
        ])
        .await?;
        let client = service.client()?;
        let clone = client.clone();
        client.create_auth_token("ocid1.user.oc1..a", "").await?;
        assert_eq!(clone.get_namespace(None).await?, "examplens");

        let late = clone.with_clock(|| SystemTime::now() + Duration::from_secs(241));
        assert!(late.get_namespace(None).await.is_err());
        assert_eq!(service.requests().len(), 5);
        Ok(())
    }

    /// Every code that the window is for, nine times, and no other.
    #[tokio::test]
    async fn what_iam_is_waited_for() -> anyhow::Result<()> {
        for (status, code, requests) in [
            (404, "NotAuthorizedOrNotFound", 9),
            (400, "RelatedResourceNotAuthorizedOrNotFound", 9),
            (409, "NotAuthorizedOrResourceAlreadyExists", 9),
            (409, "ResourceAlreadyExists", 9),
            (400, "InsufficientServicePermissions", 9),
            (400, "ResourceDisabled", 9),
            (404, "NotFound", 1),
            (400, "NotAuthorizedOrNotFound", 1),
            (409, "NAMESPACE_CONFLICT", 1),
            (403, "NotAuthorized", 1),
        ] {
            let service = FakeService::start(vec![refusal(status, code); 12]).await?;
            let client = service.client()?;
            client.shared.window.open(SystemTime::now());
            let error = client.create_container_repository(&web()).await.err();
            assert_eq!(error.and_then(|error| error.status()), Some(status));
            assert_eq!(service.requests().len(), requests, "{status} {code}");
        }
        Ok(())
    }

    /// A call whose answer is a 404 has it at once, also just after a change of
    /// IAM, and whoever switched retries off has every answer at once.
    #[tokio::test]
    async fn questions_are_answered_at_once() -> anyhow::Result<()> {
        let gone = || refusal(404, "NotAuthorizedOrNotFound");
        let service = FakeService::start(vec![gone(); 6]).await?;
        let client = service.client()?;
        client.shared.window.open(SystemTime::now());
        let errors = [
            client.get_container_repository("a").await.err(),
            client.get_container_image("a").await.err(),
            client.lookup_container_image_by_uri("a").await.err(),
            client.delete_container_repository("a", None).await.err(),
            client.delete_auth_token("a", "b").await.err(),
        ];
        for error in errors {
            assert!(error.is_some_and(|error| error.is_not_found()));
        }
        assert_eq!(service.requests().len(), 5);

        let client = Client::new(Config {
            retry: RetryPolicy::none(),
            ..config(Some(&service.url))?
        })?;
        client.shared.window.open(SystemTime::now());
        assert!(client.get_namespace(None).await.is_err());
        assert_eq!(service.requests().len(), 6);
        Ok(())
    }

    /// A refused change of IAM opens no window.
    #[tokio::test]
    async fn failed_change_opens_no_window() -> anyhow::Result<()> {
        let service = FakeService::start([
            refusal(409, "UserCapacityExceeded"),
            refusal(404, "NotAuthorizedOrNotFound"),
        ])
        .await?;
        let client = service.client()?;
        assert!(client.create_auth_token("a", "").await.is_err());
        assert!(client.get_namespace(None).await.is_err());
        assert_eq!(service.requests().len(), 2);
        Ok(())
    }

    /// Single services elsewhere, before `endpoint`; one that is no address is
    /// refused at once.
    #[test]
    fn host_overrides() -> anyhow::Result<()> {
        let mut configured = config(Some("https://gateway.example"))?;
        configured.host_overrides = [
            ("identity", "https://identity.{region}.example".to_owned()),
            ("artifacts", "https://artifacts.example/a".to_owned()),
        ]
        .into();
        let client = Client::new(configured)?;
        let address = |service| client.address(service).map(String::from);
        assert_eq!(
            address(Service::Identity)?,
            "https://identity.sa-saopaulo-1.example/"
        );
        assert_eq!(address(Service::Artifacts)?, "https://artifacts.example/a");
        assert_eq!(address(Service::ObjectStorage)?, "https://gateway.example/");
        assert!(client.is_regional(Service::Identity));
        assert!(!client.is_regional(Service::Artifacts));

        let mut configured = config(None)?;
        configured.host_overrides = [("identity", "identity.example".to_owned())].into();
        let error = Client::new(configured).err().map(|error| error.to_string());
        expect![[r#""identity.example" is no address of a service: it has to begin with https:// or http://"#]]
            .assert_eq(&error.unwrap_or_default());
        Ok(())
    }

    /// A list that always goes on is an error in the end, whether its pages are
    /// empty or not, and however often it invents another name for the next.
    #[tokio::test]
    async fn endless_lists() -> anyhow::Result<()> {
        let empty = (0..=MAX_EMPTY_PAGES).map(|number| page(&[], &format!("p{number}")));
        let service = FakeService::start(empty).await?;
        let error = service
            .client()?
            .list_container_repositories(&query())
            .await
            .err();
        let text = error.map(|error| format!("{:#}", anyhow::Error::new(error)));
        expect!["ListContainerRepositories: unreadable answer: the list does not end: 1000 pages one after the other were empty"].assert_eq(&text.unwrap_or_default());

        let full = (0..12).map(|number| page(&[], &format!("p{number}")));
        let service = FakeService::start(full).await?;
        let client = service.client()?;
        let call = Call::new(&client, "Test", Service::Artifacts, Method::GET)?.path("test");
        let many = |_: Value| vec![(); MAX_ENTRIES / 10];
        let error = client.pages(call, many).await.err();
        let text = error.map(|error| format!("{:#}", anyhow::Error::new(error)));
        expect!["Test: unreadable answer: the list does not end: 10 pages had 1000000 entries"]
            .assert_eq(&text.unwrap_or_default());

        // Few entries, each of which is as large as an answer may be.
        let filled = |number: usize| {
            let body = format!("\"{}\"", "x".repeat(MAX_BODY - 2));
            answer(200, &format!("opc-next-page: p{number}\r\n"), &body)
        };
        let service = FakeService::start((0..=MAX_LIST / MAX_BODY).map(filled)).await?;
        let client = service.client()?;
        let call = Call::new(&client, "Test", Service::Artifacts, Method::GET)?.path("test");
        let error = client
            .pages(call, |_: serde::de::IgnoredAny| vec![()])
            .await;
        let text = error
            .err()
            .map(|error| format!("{:#}", anyhow::Error::new(error)));
        expect!["Test: unreadable answer: the list does not end: 16 pages had 16 entries"]
            .assert_eq(&text.unwrap_or_default());
        Ok(())
    }

    /// A gateway that repeats the request in its complaint does not put the
    /// session token, the delegation token or the signature into the error.
    #[tokio::test]
    async fn echoed_secrets_are_left_out() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let source =
            Source::with_key_ids(&["ST$opaque-session-token"])?.with_delegation("canary-delegated");
        let client = Client::new(Config {
            credentials: Arc::new(source),
            ..config(Some(&url))?
        })?;
        for form in ["json", "page"] {
            let (error, served) = tokio::join!(client.get_namespace(None), async {
                let (mut stream, _) = listener.accept().await?;
                let request = read_request(&mut stream).await?;
                let body = match form {
                    "json" => json!({"code": "InvalidParameter", "message": request}).to_string(),
                    _ => format!("<html>{request}</html>"),
                };
                stream.write_all(answer(400, "", &body).as_bytes()).await?;
                anyhow::Ok(request)
            });
            let request = served?;
            let signature = request
                .split("signature=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .unwrap_or_default();
            let shown = format!("{error:?}");
            assert!(
                shown.contains("InvalidParameter") || shown.contains("GET /n"),
                "{shown}"
            );
            assert!(request.contains("canary-delegated") && signature.len() > 300);
            for secret in ["opaque-session", "canary", &signature[..16]] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        Ok(())
    }

    /// Getting a credential ends with the run, before a write as well: nothing
    /// has been sent yet.
    #[tokio::test]
    async fn stop_ends_getting_a_credential() -> anyhow::Result<()> {
        let service = FakeService::start([repository()]).await?;
        let mut source = Source::new()?;
        source.takes = Duration::from_secs(60);
        let stop = CancellationToken::new();
        let client = service
            .client_of(&Arc::new(source))?
            .with_stop(stop.clone());
        let web = web();
        let (created, stopped) = tokio::join!(client.create_container_repository(&web), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.cancel();
            Instant::now()
        });
        assert!(matches!(created, Err(Error::Stopped)), "{created:?}");
        assert!(stopped.elapsed() < Duration::from_millis(500));
        assert!(service.requests().is_empty());
        Ok(())
    }

    /// So does a queue behind others at a service that throttles.
    #[tokio::test]
    async fn stop_ends_a_queue() -> anyhow::Result<()> {
        let service = FakeService::start([repository()]).await?;
        let mut configured = config(Some(&service.url))?;
        configured.retry = RetryPolicy::default();
        let stop = CancellationToken::new();
        let client = Client::new(configured)?.with_stop(stop.clone());
        if let Some(pace) = client.pace(Service::Artifacts) {
            pace.throttled(Instant::now(), Some(Duration::from_secs(30)));
        }
        let web = web();
        let (created, stopped) = tokio::join!(client.create_container_repository(&web), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.cancel();
            Instant::now()
        });
        assert!(matches!(created, Err(Error::Stopped)), "{created:?}");
        assert!(stopped.elapsed() < Duration::from_millis(500));
        assert!(service.requests().is_empty());
        Ok(())
    }
}
