//! The client: address, authorization, retry, redirects.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, WARNING},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Credentials, Error,
    auth::{Access, Auth, Renewals},
    error::{About, excerpt, is_temporary_status},
    location::{location, next_link, resolve, same_origin},
    push,
    retry::{Attempts, Silences},
};
use crate::{
    image::{validate_host, validate_repository},
    transport::{self, READ_TIMEOUT, RetryPolicy, Secrets},
};

/// What a client is made of.
pub struct Config {
    /// HTTP, which follows no redirects by itself and has no read time-out:
    /// reqwest's covers the sending of a request too, and would cut every
    /// upload that takes longer. This client watches over progress itself.
    pub http: reqwest::Client,
    /// Host and, when it is not the default one, port.
    pub host: String,
    /// HTTP instead of HTTPS.
    pub plain_http: bool,
    /// How to sign in.
    pub credentials: Credentials,
    /// Blobs uploaded at once, over all pushes of this client.
    pub max_concurrent_uploads: usize,
    /// When to try again.
    pub retry: RetryPolicy,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.host)
            .field("plain_http", &self.plain_http)
            .field("credentials", &self.credentials)
            .field("max_concurrent_uploads", &self.max_concurrent_uploads)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// A client of one registry; cheap to clone, and every clone shares tokens,
/// uploads and the bound on them.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    pub(super) stop: CancellationToken,
}

/// What clones share.
pub(super) struct Inner {
    pub(super) http: reqwest::Client,
    host: String,
    /// `None` when the host is none: the first call says so.
    base: Option<Url>,
    pub(super) retry: RetryPolicy,
    pub(super) auth: Auth,
    pub(super) uploads: Arc<push::Uploads>,
    /// Whether the registry has ever answered. A host that has not may be
    /// misspelt, and is not tried for long.
    pub(super) reached: Arc<AtomicBool>,
    pub(super) silences: Arc<Silences>,
    pub(super) patience: Patience,
    plain_http: bool,
}

/// How long an upload may stand still.
#[derive(Clone)]
pub(super) struct Patience {
    /// The connection takes nothing.
    pub(super) peer: Duration,
    /// The source gives nothing: a file server that is down, for instance.
    pub(super) source: Duration,
    /// Everything is sent, and there is no answer: big layers are moved and
    /// hashed first, and 30 seconds have broken other clients.
    pub(super) commit: Duration,
    /// There are no connections any more, since the last sign of life. Others may be
    /// waited for: a host that is busy is there.
    pub(super) unreachable: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            peer: READ_TIMEOUT,
            // Longer than a tape or a disk that has to spin up needs.
            source: Duration::from_secs(300),
            commit: COMMIT_PATIENCE,
            // Long enough for a server that is started again.
            unreachable: Duration::from_secs(30),
        }
    }
}

/// How long a registry may take to answer when it has a lot to do first.
pub(super) const COMMIT_PATIENCE: Duration = Duration::from_secs(600);

impl Client {
    /// A client. Contacts nobody.
    pub fn new(config: Config) -> Self {
        let scheme = if config.plain_http { "http" } else { "https" };
        let base = match validate_host(&config.host) {
            Ok(()) => Url::parse(&format!("{scheme}://{}/", config.host)).ok(),
            Err(_) => None,
        };
        Self {
            inner: Arc::new(Inner {
                auth: Auth::new(
                    config.http.clone(),
                    config.host.clone(),
                    config.plain_http,
                    config.credentials,
                ),
                uploads: Arc::new(push::Uploads::new(config.max_concurrent_uploads)),
                http: config.http,
                host: config.host,
                base,
                retry: config.retry,
                reached: Arc::default(),
                silences: Arc::default(),
                patience: Patience::default(),
                plain_http: config.plain_http,
            }),
            stop: CancellationToken::new(),
        }
    }
    /// The same client, whose waits and uploads end when `stop` is cancelled.
    pub fn with_stop(&self, stop: CancellationToken) -> Self {
        Self {
            inner: self.inner.clone(),
            stop,
        }
    }
    /// The same registry for somebody else, who may push to other repositories:
    /// tokens are their own, uploads and the bound on them are shared.
    pub fn signed_in_with(&self, credentials: Credentials) -> Self {
        let inner = &self.inner;
        Self {
            inner: Arc::new(Inner {
                auth: Auth::new(
                    inner.http.clone(),
                    inner.host.clone(),
                    inner.plain_http,
                    credentials,
                ),
                uploads: inner.uploads.clone(),
                http: inner.http.clone(),
                host: inner.host.clone(),
                base: inner.base.clone(),
                retry: inner.retry.clone(),
                reached: inner.reached.clone(),
                silences: inner.silences.clone(),
                patience: inner.patience.clone(),
                plain_http: inner.plain_http,
            }),
            stop: self.stop.clone(),
        }
    }
    /// Host and port.
    pub fn host(&self) -> &str {
        &self.inner.host
    }
    /// The tags of a repository, all pages; `None` when the registry says that
    /// it does not know the repository (`NAME_UNKNOWN`).
    pub async fn tags(&self, repository: &str) -> Result<Option<Vec<String>>, Error> {
        self.until_stopped(self.all_tags(repository)).await
    }

    async fn all_tags(&self, repository: &str) -> Result<Option<Vec<String>>, Error> {
        let operation = "list of tags";
        let about = self.about(operation, repository);
        let access = Access::pull(repository);
        let mut url = self.url(repository, "tags/list?n=1000")?;
        let mut tags = Vec::new();
        let mut bytes = 0;
        for _ in 0..MAX_PAGES {
            let call = Call::new(operation, Method::GET, url.clone(), &access);
            let response = self.send(&call).await?;
            let next = next_link(response.headers());
            let response = match self.expect(&about, response, &[StatusCode::OK]).await {
                Err(error) if error.is_name_unknown() => return Ok(None),
                other => other?,
            };
            let body = read_body(&about, response, MAX_PAGE).await?;
            bytes += body.len();
            let page: TagPage = serde_json::from_slice(&body)
                .map_err(|_| about.protocol("it is not the JSON of a list of tags"))?;
            let before = tags.len();
            tags.extend(page.tags.unwrap_or_default());
            let Some(next) = next else {
                return Ok(Some(tags));
            };
            let next = resolve(&url, &next).map_err(|problem| about.redirect(problem))?;
            // The next page is part of this registry, and has something new.
            if !same_origin(&next, &url) || next == url || tags.len() == before {
                return Err(about.protocol("its next page leads nowhere"));
            }
            // They are held in memory.
            if bytes > MAX_TAGS {
                break;
            }
            url = next;
        }
        Err(about.protocol("its pages do not end"))
    }

    /// Runs until the end or until `stop`, whichever is first. Dropping the
    /// work closes its connections.
    pub(super) async fn until_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::Stopped),
            result = work => result,
        }
    }

    pub(super) fn about<'a>(&'a self, operation: &'a str, repository: &'a str) -> About<'a> {
        About {
            operation,
            host: self.host(),
            repository,
            secrets: self.inner.auth.secrets(),
        }
    }

    /// The URL of something in a repository.
    pub(super) fn url(&self, repository: &str, rest: &str) -> Result<Url, Error> {
        let wrong = |kind, name: &str, problem| Error::Name {
            kind,
            name: name.into(),
            problem,
        };
        validate_repository(repository)
            .map_err(|problem| wrong("repository", repository, problem))?;
        self.inner
            .base
            .as_ref()
            .and_then(|base| base.join(&format!("/v2/{repository}/{rest}")).ok())
            .ok_or_else(|| {
                let problem = validate_host(self.host())
                    .err()
                    .unwrap_or_else(|| "must be a host".into());
                wrong("host", self.host(), problem)
            })
    }

    /// Whether our credentials may be sent there.
    pub(super) fn is_ours(&self, url: &Url) -> bool {
        self.inner
            .base
            .as_ref()
            .is_some_and(|base| same_origin(base, url))
    }

    /// Sends a call until it is answered with something that a later attempt
    /// would not change.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response, Error> {
        self.send_counted(call, &mut Attempts::new(self)).await
    }

    /// The same as one of several calls that share their attempts.
    pub(super) async fn send_counted(
        &self,
        call: &Call<'_>,
        attempts: &mut Attempts<'_>,
    ) -> Result<Response, Error> {
        loop {
            let error = match self.send_signed(call).await {
                Ok(response) if !is_temporary_status(response.status().as_u16()) => {
                    return Ok(response);
                }
                Ok(response) => self.failure(&self.about_call(call), response).await,
                Err(error) => error,
            };
            if call.once || !error.is_temporary() || !attempts.again(&error).await {
                return Err(attempts.give_up(error));
            }
        }
    }

    fn about_call<'a>(&'a self, call: &'a Call<'_>) -> About<'a> {
        self.about(call.operation, call.access.repository())
    }

    /// Sends with authorization, and once more with a new one when refused.
    async fn send_signed(&self, call: &Call<'_>) -> Result<Response, Error> {
        let auth = &self.inner.auth;
        let mut access = call.access;
        let mut renewals = Renewals::default();
        loop {
            let pass = auth.pass(access, Duration::ZERO).await?;
            let response = self
                .send_following(call, pass.as_ref().map(|pass| pass.header()))
                .await?;
            let refused = match response.status() {
                StatusCode::UNAUTHORIZED => true,
                // A policy that is younger than the token is not in it.
                StatusCode::FORBIDDEN => pass.as_ref().is_some_and(|pass| pass.is_old()),
                _ => false,
            };
            if !refused
                || !self.is_ours(response.url())
                || self.stop.is_cancelled()
                || !renewals.allow(pass.as_ref())
            {
                return Ok(response);
            }
            let refusal = auth
                .refused(access, pass.as_ref(), response.headers())
                .await;
            if refusal.wants_delete
                && let Some(delete) = call.delete_access
            {
                access = delete;
            } else if !refusal.again {
                return Ok(response);
            }
            tracing::debug!(
                host = self.host(),
                operation = call.operation,
                status = response.status().as_u16(),
                "Signing in anew"
            );
        }
    }

    /// Sends once and follows redirects. Authorization goes to our registry only.
    async fn send_following(
        &self,
        call: &Call<'_>,
        authorization: Option<&reqwest::header::HeaderValue>,
    ) -> Result<Response, Error> {
        let about = self.about_call(call);
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self
                .inner
                .http
                .request(call.method.clone(), url.clone())
                .headers(call.headers.clone())
                .body(call.body.clone());
            if let Some(authorization) = authorization
                && self.is_ours(&url)
            {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let flight = call.in_flight.map(Flight::begin);
            let began = Instant::now();
            let response = send_within(&about, request, call.patience).await;
            self.note(&transport::authority(&url), began, &response);
            let response = response?;
            if let Some(flight) = flight
                && response.status().is_success()
            {
                flight.arrived();
            }
            self.inner.reached.store(true, Ordering::Relaxed);
            if let Some(warnings) = call.warnings {
                collect_warnings(response.headers(), warnings, about.secrets);
            }
            if !is_redirect(&call.method, response.status()) {
                return Ok(response);
            }
            url = location(&url, response.headers()).map_err(|problem| about.redirect(problem))?;
        }
        Err(about.redirect("to one place after another without end"))
    }

    /// Takes down what the outcome of a request says of whom it was sent to.
    fn note(&self, host: &str, began: Instant, outcome: &Result<Response, Error>) {
        let silences = &self.inner.silences;
        match outcome {
            Ok(_) => silences.heard(host, Instant::now()),
            Err(Error::TimedOut { .. }) => silences.silent(host, began, Instant::now()),
            // Whether there is another attempt, who makes them decides.
            Err(_) => {}
        }
    }

    /// The answer, if its status is one of these; otherwise the error it is.
    pub(super) async fn expect(
        &self,
        about: &About<'_>,
        response: Response,
        expected: &[StatusCode],
    ) -> Result<Response, Error> {
        let status = response.status();
        if expected.contains(&status) {
            return Ok(response);
        }
        if status.is_client_error() || status.is_server_error() {
            return Err(self.failure(about, response).await);
        }
        if status.is_redirection() {
            return Err(
                about.redirect(match location(response.url(), response.headers()) {
                    Ok(url) => format!(
                        "to {}://{}{}, which is not followed here",
                        url.scheme(),
                        transport::authority(&url),
                        url.path()
                    ),
                    Err(problem) => problem,
                }),
            );
        }
        // A sign-in page answers 200 to everything.
        let expected = expected[0];
        Err(about.protocol(format!("{} instead of {}", status, expected)))
    }

    /// The error that an answer is.
    pub(super) async fn failure(&self, about: &About<'_>, response: Response) -> Error {
        let status = response.status();
        let headers = response.headers().clone();
        // What is left out of a body that is too long or cut does not matter here.
        let body = read_start(response, MAX_ERROR).await;
        about.answer(status, &headers, &body)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.inner.host)
            .finish_non_exhaustive()
    }
}

/// A call whose body, if any, is in memory.
pub(super) struct Call<'a> {
    pub(super) operation: &'a str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) access: &'a Access,
    /// What to ask for when the registry insists on `delete`.
    pub(super) delete_access: Option<&'a Access>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How long the answer may take to begin.
    pub(super) patience: Duration,
    /// Whether there is something else to do when it fails, so that it is not
    /// sent again.
    pub(super) once: bool,
    /// Where the registry's warnings go.
    pub(super) warnings: Option<&'a Mutex<Vec<String>>>,
    /// True while the request may have reached the registry, and ever after it
    /// has been accepted.
    pub(super) in_flight: Option<&'a AtomicBool>,
}

/// Marks a request as sent, until it is answered with a failure.
struct Flight<'a>(&'a AtomicBool);

impl<'a> Flight<'a> {
    fn begin(mark: &'a AtomicBool) -> Self {
        mark.store(true, Ordering::Relaxed);
        Self(mark)
    }
    fn arrived(self) {
        std::mem::forget(self);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(operation: &'a str, method: Method, url: Url, access: &'a Access) -> Self {
        Self {
            operation,
            method,
            url,
            access,
            delete_access: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            patience: ANSWER_TIMEOUT,
            once: false,
            warnings: None,
            in_flight: None,
        }
    }
}

/// An answer to a call without a big body begins within this time, and its
/// body comes on within it.
pub(super) const ANSWER_TIMEOUT: Duration = READ_TIMEOUT;

const MAX_ERROR: usize = 64 << 10;
const MAX_PAGE: usize = 16 << 20;
const MAX_PAGES: usize = 10_000;
/// Bytes of all pages: more than half a million tags.
const MAX_TAGS: usize = 64 << 20;
const MAX_REDIRECTS: usize = 5;

#[derive(serde::Deserialize)]
struct TagPage {
    /// `null` for a repository without tags.
    tags: Option<Vec<String>>,
}

/// Locks; what a panicking thread left behind is still a map or a list.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a status is a redirect that this method may follow: one that
/// changes a POST into a GET is none.
pub(super) fn is_redirect(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        301..=303 => matches!(*method, Method::GET | Method::HEAD),
        _ => false,
    }
}

/// Sends and waits for the head of the answer.
pub(super) async fn send_within(
    about: &About<'_>,
    request: reqwest::RequestBuilder,
    patience: Duration,
) -> Result<Response, Error> {
    let answer = tokio::time::timeout(patience, request.send());
    match say_waiting(about.host, about.operation, answer).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(about.transport(error)),
        Err(_) => Err(about.timed_out(format!("no answer within {} s", patience.as_secs()))),
    }
}

/// Does the work, and says in the log now and then that it is waited for.
pub(super) async fn say_waiting<T>(
    host: &str,
    operation: &str,
    work: impl Future<Output = T>,
) -> T {
    let start = Instant::now();
    let mut work = std::pin::pin!(work);
    loop {
        if let Ok(done) = tokio::time::timeout(SAY_WAITING_EVERY, &mut work).await {
            return done;
        }
        tracing::info!(
            host,
            operation,
            waited_s = start.elapsed().as_secs(),
            "Waiting for the registry's answer"
        );
    }
}

/// Nobody watches a program that is silent for longer without wondering.
pub(super) const SAY_WAITING_EVERY: Duration = Duration::from_secs(5);

/// The whole body, if it is not longer than `limit`.
pub(super) async fn read_body(
    about: &About<'_>,
    mut response: Response,
    limit: usize,
) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    loop {
        let chunk = match tokio::time::timeout(ANSWER_TIMEOUT, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| about.transport(error))?,
            Err(_) => {
                return Err(about.timed_out(format!(
                    "its answer stopped for {} s",
                    ANSWER_TIMEOUT.as_secs()
                )));
            }
        };
        let Some(chunk) = chunk else {
            return Ok(body.freeze());
        };
        if body.len() + chunk.len() > limit {
            return Err(about.protocol(format!("it is longer than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
}

/// As much of the body as there is, up to `limit`.
async fn read_start(mut response: Response, limit: usize) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < limit
        && let Ok(Ok(Some(chunk))) =
            tokio::time::timeout(Duration::from_secs(5), response.chunk()).await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
    }
    body.freeze()
}

/// Remembers `Warning: 299 - "text"`, each text once.
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#warnings>
pub(super) fn collect_warnings(
    headers: &HeaderMap,
    warnings: &Mutex<Vec<String>>,
    secrets: &Secrets,
) {
    for value in headers.get_all(WARNING) {
        let Some(quoted) = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().strip_prefix("299 - \""))
        else {
            continue;
        };
        let mut text = String::new();
        let mut characters = quoted.chars();
        while let Some(c) = characters.next() {
            match c {
                '"' => break,
                '\\' => text.extend(characters.next()),
                c => text.push(c),
            }
        }
        let text = excerpt(&secrets.scrub(&text));
        let mut warnings = lock(warnings);
        // A registry that never repeats itself must not fill the memory.
        if !text.is_empty() && !warnings.contains(&text) && warnings.len() < 20 {
            warnings.push(text);
        }
    }
}
