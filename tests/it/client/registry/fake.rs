//! A registry in memory that does what it is told: the answers that no
//! well-behaved registry gives.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use ocir::image::Digest;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Act {
    /// This answer instead of the usual one.
    Answer(u16, &'static str),
    /// The same with a header.
    AnswerWith(u16, &'static str, String, &'static str),
    /// The usual thing happens, and then nobody answers.
    CutAnswer,
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// This answer before the body is read; the connection is closed then.
    Early(u16, &'static str),
    /// The body is not read, and nothing is answered.
    Stall,
    /// The call is read and never answered.
    Hang,
    /// The usual answer with another header; without it when the value is empty.
    Header(&'static str, String),
    /// The tokens given so far end, and the call is refused for that.
    EndTokens,
    /// The same, a while after the call was read.
    After(Duration, Box<Act>),
    /// The usual answer a while after the call was read.
    Slow(Duration),
    /// The usual answer, whose connection is cut after so many bytes of the body.
    CutBody(usize),
    /// The usual answer, of whose body nothing more comes after so many bytes.
    HangBody(usize),
}

/// How one signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignIn {
    /// Nobody asks.
    #[default]
    Open,
    /// `user` and `password` with every call.
    Basic,
    /// The same in exchange for a token.
    Bearer,
    /// A token from elsewhere; see [`Fake::accept`].
    Token,
}

/// A call and its answer.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub status: u16,
    pub authorization: Option<String>,
    pub range: Option<String>,
    pub body_bytes: usize,
}

#[derive(Default)]
struct State {
    sign_in: SignIn,
    /// Tokens, and when they end.
    tokens: HashMap<String, Option<Instant>>,
    tokens_made: usize,
    mounts: bool,
    ranges: bool,
    delete_needs_scope: bool,
    sessions: usize,
    upload_host: Option<String>,
    /// Most bytes of a request.
    most: Option<usize>,
    /// Fewest bytes of a chunk, as a session says it.
    chunk_min: Option<usize>,
    /// What has come in chunks, by session.
    chunks: HashMap<String, Vec<u8>>,
    blobs: HashMap<(String, String), Bytes>,
    manifests: BTreeMap<(String, String), (String, Bytes)>,
    faults: Vec<(&'static str, String, Act)>,
    seen: Vec<Seen>,
    /// Calls that were read and are to be answered later.
    waiting: Vec<(String, String)>,
}

/// A running registry; ends when dropped.
pub struct Fake {
    pub host: String,
    state: Arc<Mutex<State>>,
    _end: DropGuard,
}

type Answer = Response<Full<Bytes>>;

impl Fake {
    pub async fn start(sign_in: SignIn) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let state = Arc::new(Mutex::new(State {
            sign_in,
            mounts: true,
            ranges: true,
            ..State::default()
        }));
        let end = CancellationToken::new();
        let (shared, ended, name) = (state.clone(), end.clone(), host.clone());
        tokio::spawn(ended.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, name, ended) = (shared.clone(), name.clone(), ended.clone());
                tokio::spawn(async move {
                    let cut = ended.child_token();
                    let service = service_fn(|request| {
                        handle(state.clone(), name.clone(), cut.clone(), request)
                    });
                    let serve = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        () = cut.cancelled() => {}
                        _ = serve => {}
                    }
                });
            }
        }));
        Ok(Self {
            host,
            state,
            _end: end.drop_guard(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
    /// The next call of this method whose path has this in it goes wrong.
    pub fn fault(&self, method: &'static str, path: &str, act: Act) {
        self.state().faults.push((method, path.into(), act));
    }
    /// Every call like this goes wrong.
    pub fn faults(&self, method: &'static str, path: &str, act: Act) {
        for _ in 0..100 {
            self.fault(method, path, act.clone());
        }
    }
    /// Nothing goes wrong from here on.
    pub fn heal(&self) {
        self.state().faults.clear();
    }
    pub fn accept(&self, token: &str) {
        self.state().tokens.insert(token.into(), None);
    }
    /// What makes tokens known to the registry, for as long as they live.
    pub fn acceptance(&self) -> impl Fn(&str, Duration) + Send + Sync + 'static {
        let state = self.state.clone();
        move |token, life| {
            let end = Instant::now().checked_add(life);
            state.lock().unwrap().tokens.insert(token.into(), end);
        }
    }
    pub fn without_mounts(&self) {
        self.state().mounts = false;
    }
    /// Every answer has the whole blob.
    pub fn without_ranges(&self) {
        self.state().ranges = false;
    }
    pub fn put_blob(&self, repository: &str, digest: &str, bytes: Vec<u8>) {
        let key = (repository.to_owned(), digest.to_owned());
        self.state().blobs.insert(key, bytes.into());
    }
    pub fn delete_needs_scope(&self) {
        self.state().delete_needs_scope = true;
    }
    /// Requests with more bytes are too large.
    pub fn takes_at_most(&self, bytes: usize) {
        self.state().most = Some(bytes);
    }
    /// Chunks have to have so many bytes.
    pub fn wants_chunks_of(&self, bytes: usize) {
        self.state().chunk_min = Some(bytes);
    }
    /// Uploads go to another host.
    pub fn upload_to(&self, host: &str) {
        self.state().upload_host = Some(host.into());
    }
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        let key = (repository.to_owned(), digest.to_owned());
        self.state().blobs.get(&key).cloned()
    }
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Bytes)> {
        let key = (repository.to_owned(), reference.to_owned());
        self.state().manifests.get(&key).cloned()
    }
    pub fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &'static [u8],
    ) {
        let key = (repository.to_owned(), reference.to_owned());
        self.state()
            .manifests
            .insert(key, (media_type.into(), Bytes::from_static(bytes)));
    }
    pub fn lose_blobs(&self) {
        self.state().blobs.clear();
    }
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }
    pub fn clear(&self) {
        self.state().seen.clear();
    }
    /// Calls of a method whose path has this in it.
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.state()
            .seen
            .iter()
            .filter(|seen| seen.method == method && seen.path.contains(path))
            .count()
    }
    /// Calls of a method whose path has this in it, that were read and had, or
    /// have, to wait for their answer.
    pub fn waited(&self, method: &str, path: &str) -> usize {
        let state = self.state();
        let like = |(wanted, there): &&(String, String)| wanted == method && there.contains(path);
        state.waiting.iter().filter(like).count()
    }
    /// Calls as lines, digests and sessions shortened.
    pub fn story(&self) -> String {
        let lines: Vec<String> = self
            .state()
            .seen
            .iter()
            .map(|seen| {
                let mut path = String::new();
                let mut rest = seen.path.as_str();
                while let Some((before, after)) = rest.split_once("sha256") {
                    path.push_str(before);
                    path.push_str("DIGEST");
                    rest = after
                        .trim_start_matches("%3A")
                        .trim_start_matches(':')
                        .trim_start_matches(|c: char| c.is_ascii_hexdigit());
                }
                path.push_str(rest);
                format!("{} {path} {}", seen.method, seen.status)
            })
            .collect();
        lines.join("\n")
    }
}

async fn handle(
    state: Arc<Mutex<State>>,
    host: String,
    cut: CancellationToken,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, std::io::Error>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let method = head.method.to_string();
    let path = head
        .uri
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let authorization = head
        .headers
        .get(header::AUTHORIZATION)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let range = head
        .headers
        .get(header::RANGE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let act = {
        let mut state = state.lock().unwrap();
        let at = state
            .faults
            .iter()
            .position(|(wanted, part, _)| *wanted == method && path.contains(part.as_str()));
        at.map(|at| state.faults.remove(at).2)
    };
    let (pause, act) = match act {
        Some(Act::After(pause, act)) => (pause, Some(*act)),
        Some(Act::Slow(pause)) => (pause, None),
        act => (Duration::ZERO, act),
    };
    let limit = match act {
        Some(Act::Cut(after)) => after,
        Some(Act::Early(..) | Act::Stall) => 0,
        _ => usize::MAX,
    };
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    if !pause.is_zero() {
        state
            .lock()
            .unwrap()
            .waiting
            .push((method.clone(), path.clone()));
        tokio::time::sleep(pause).await;
    }
    let body_bytes = bytes.len();
    let note = |status: u16| {
        state.lock().unwrap().seen.push(Seen {
            method: method.clone(),
            path: path.clone(),
            status,
            authorization: authorization.clone(),
            range: range.clone(),
            body_bytes,
        });
    };
    let usual = || {
        let url = Url::parse(&format!("http://{host}{path}")).unwrap();
        let media_type = head
            .headers
            .get(header::CONTENT_TYPE)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default();
        let mut state = state.lock().unwrap();
        state.answer(
            &host,
            &method,
            &url,
            authorization.as_deref(),
            &media_type,
            Bytes::from(bytes.clone()),
        )
    };
    let mut cut_body = None;
    let mut answer = match act {
        None => usual(),
        Some(Act::CutBody(after)) => {
            cut_body = Some((after, Duration::from_millis(50)));
            usual()
        }
        Some(Act::HangBody(after)) => {
            cut_body = Some((after, Duration::from_secs(1_000)));
            usual()
        }
        Some(Act::Answer(status, text) | Act::Early(status, text)) => plain(status, text),
        Some(Act::AnswerWith(status, name, value, text)) => with(plain(status, text), name, &value),
        Some(Act::Header(name, value)) => with(usual(), name, &value),
        Some(Act::EndTokens) => {
            state.lock().unwrap().tokens.clear();
            usual()
        }
        Some(Act::Hang | Act::Stall) => {
            note(0);
            std::future::pending().await
        }
        Some(Act::After(..) | Act::Slow(_)) => unreachable!("taken apart above"),
        Some(act @ (Act::Cut(_) | Act::CutAnswer)) => {
            if matches!(act, Act::CutAnswer) {
                usual();
            }
            note(0);
            cut.cancel();
            std::future::pending().await
        }
    };
    if method == "HEAD" {
        *answer.body_mut() = Full::default();
    }
    if let Some(start) = range.as_deref().and_then(|range| {
        let start = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        start.parse::<usize>().ok()
    }) && answer.status() == StatusCode::OK
        && state.lock().unwrap().ranges
    {
        let Ok(whole) = answer.body_mut().collect().await;
        let whole = whole.to_bytes();
        let part = whole.slice(start..);
        answer = sized(Response::new(Full::new(part.clone())), part.len());
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let content = format!("bytes {start}-{}/{}", whole.len() - 1, whole.len());
        answer = with(answer, "content-range", &content);
    }
    note(answer.status().as_u16());
    let Some((after, pause)) = cut_body else {
        return Ok(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()));
    };
    let (head, body) = answer.into_parts();
    let Ok(body) = body.collect().await;
    let start = Frame::data(body.to_bytes().slice(..after));
    // What was sent has to have left before the connection is cut.
    let cut = async move {
        tokio::time::sleep(pause).await;
        Err(std::io::Error::other("cut"))
    };
    let frames = futures_util::stream::iter([Ok(start)]).chain(futures_util::stream::once(cut));
    Ok(Response::from_parts(
        head,
        StreamBody::new(frames).boxed_unsync(),
    ))
}

impl State {
    fn answer(
        &mut self,
        host: &str,
        method: &str,
        url: &Url,
        authorization: Option<&str>,
        media_type: &str,
        body: Bytes,
    ) -> Answer {
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let basic = format!("Basic {}", STANDARD.encode("user:password"));
        if url.path() == "/token" {
            let form: HashMap<String, String> =
                url::form_urlencoded::parse(&body).into_owned().collect();
            let is_refresh = method == "POST"
                && form.get("grant_type").map(String::as_str) == Some("refresh_token")
                && form.get("refresh_token").map(String::as_str) == Some("identity-token")
                && form.contains_key("scope");
            if is_refresh {
                self.tokens_made += 1;
                let token = format!("refreshed-{}", self.tokens_made);
                self.tokens.insert(token.clone(), None);
                return plain(
                    200,
                    &format!(r#"{{"access_token":"{token}","expires_in":3600}}"#),
                );
            }
            if authorization != Some(basic.as_str()) {
                return error(401, "UNAUTHORIZED", "incorrect username or password");
            }
            self.tokens_made += 1;
            let scope = url
                .query_pairs()
                .filter(|(key, _)| key == "scope")
                .map(|(_, value)| value.into_owned())
                .collect::<Vec<_>>()
                .join(" ");
            let token = format!("{}-{}", self.tokens_made, STANDARD.encode(scope));
            self.tokens.insert(token.clone(), None);
            return plain(200, &format!(r#"{{"token":"{token}","expires_in":3600}}"#));
        }
        let allowed = match self.sign_in {
            SignIn::Open => true,
            SignIn::Basic => authorization == Some(basic.as_str()),
            SignIn::Bearer | SignIn::Token => authorization
                .and_then(|text| text.strip_prefix("Bearer "))
                .is_some_and(|token| {
                    self.tokens
                        .get(token)
                        .is_some_and(|end| end.is_none_or(|end| Instant::now() < end))
                        && (method != "DELETE"
                            || !self.delete_needs_scope
                            || token
                                .split_once('-')
                                .and_then(|(_, scope)| STANDARD.decode(scope).ok())
                                .is_some_and(|scope| {
                                    String::from_utf8_lossy(&scope).contains("delete")
                                }))
                }),
        };
        let parts: Vec<&str> = url.path().trim_start_matches("/v2/").split('/').collect();
        if !allowed {
            let scope = match method {
                "DELETE" => "repository:x:delete",
                _ => "",
            };
            let challenge = match self.sign_in {
                SignIn::Basic => "Basic realm=\"here, really\"".to_owned(),
                _ => format!(
                    "Bearer realm=\"http://{host}/token\",service=\"{host}\",scope=\"{scope}\""
                ),
            };
            return with(
                error(401, "UNAUTHORIZED", "authentication required"),
                "www-authenticate",
                &challenge,
            );
        }
        let at = parts
            .iter()
            .position(|part| ["blobs", "manifests", "tags"].contains(part))
            .unwrap_or(0);
        let repository = parts[..at].join("/");
        if self.most.is_some_and(|most| body.len() > most) {
            return plain(413, "<html>too large</html>");
        }
        match (method, &parts[at..]) {
            ("POST", ["blobs", "uploads", ""]) => {
                if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
                    && self.mounts
                    && let Some(bytes) = self.blobs.get(&(from.clone(), digest.clone())).cloned()
                {
                    self.blobs.insert((repository, digest.clone()), bytes);
                    return with(plain(201, ""), "docker-content-digest", digest);
                }
                self.sessions += 1;
                let chunk_min = self.chunk_min;
                let upload_host = match &self.upload_host {
                    Some(other) => format!("http://{other}"),
                    None => String::new(),
                };
                let answer = with(
                    plain(202, ""),
                    "location",
                    &format!(
                        "{upload_host}/v2/{repository}/blobs/uploads/{}?state=a%2Bb",
                        self.sessions
                    ),
                );
                match chunk_min {
                    Some(least) => with(answer, "oci-chunk-min-length", &least.to_string()),
                    None => answer,
                }
            }
            ("PATCH", ["blobs", "uploads", session]) => {
                let chunks = self.chunks.entry((*session).to_owned()).or_default();
                chunks.extend_from_slice(&body);
                let range = format!("0-{}", chunks.len() - 1);
                let location = format!("/v2/{repository}/blobs/uploads/{session}?state=a%2Bb");
                with(with(plain(202, ""), "location", &location), "range", &range)
            }
            ("PUT", ["blobs", "uploads", session]) => {
                let mut chunks = self.chunks.remove(*session).unwrap_or_default();
                chunks.extend_from_slice(&body);
                let body = Bytes::from(chunks);
                let Some(digest) = query.get("digest") else {
                    return error(400, "DIGEST_INVALID", "there is none");
                };
                if query.get("state").map(String::as_str) != Some("a+b") {
                    return error(404, "BLOB_UPLOAD_UNKNOWN", "state is lost");
                }
                if Digest::of(&body).as_str() != digest {
                    return error(400, "DIGEST_INVALID", "provided digest did not match");
                }
                self.blobs.insert((repository, digest.clone()), body);
                with(plain(201, ""), "docker-content-digest", digest)
            }
            ("HEAD" | "GET", ["blobs", digest]) => {
                match self.blobs.get(&(repository, (*digest).to_owned())) {
                    None => error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
                    Some(bytes) => sized(Response::new(Full::new(bytes.clone())), bytes.len()),
                }
            }
            ("HEAD" | "GET", ["manifests", reference]) => {
                let Some((media_type, bytes)) =
                    self.manifests.get(&(repository, (*reference).to_owned()))
                else {
                    return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
                };
                let digest = Digest::of(bytes);
                let answer = sized(Response::new(Full::new(bytes.clone())), bytes.len());
                with(
                    with(
                        answer,
                        "content-type",
                        &format!("{media_type}; charset=utf-8"),
                    ),
                    "docker-content-digest",
                    digest.as_str(),
                )
            }
            ("PUT", ["manifests", reference]) => {
                let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(&body) else {
                    return error(400, "MANIFEST_INVALID", "not JSON");
                };
                let mut named: Vec<&serde_json::Value> = vec![];
                named.extend(manifest.get("config"));
                named.extend(manifest["layers"].as_array().into_iter().flatten());
                for descriptor in named {
                    let digest = descriptor["digest"].as_str().unwrap_or_default();
                    let key = (repository.clone(), digest.to_owned());
                    if !self.blobs.contains_key(&key) {
                        let mut answer =
                            error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
                        *answer.body_mut() = Full::from(format!(
                            r#"{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":{{"Digest":"{digest}"}}}}]}}"#
                        ));
                        return answer;
                    }
                }
                let digest = Digest::of(&body);
                for key in [digest.as_str(), reference] {
                    self.manifests.insert(
                        (repository.clone(), key.to_owned()),
                        (media_type.to_owned(), body.clone()),
                    );
                }
                with(plain(201, ""), "docker-content-digest", digest.as_str())
            }
            ("DELETE", ["manifests", reference]) => {
                match self
                    .manifests
                    .remove(&(repository, (*reference).to_owned()))
                {
                    Some(_) => plain(202, ""),
                    None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
                }
            }
            ("GET", ["tags", "list"]) => {
                let tags: Vec<&String> = self
                    .manifests
                    .keys()
                    .filter(|(name, reference)| *name == repository && !reference.contains(':'))
                    .map(|(_, reference)| reference)
                    .collect();
                if tags.is_empty() {
                    return error(404, "NAME_UNKNOWN", "repository name not known to registry");
                }
                // Two at a time, whatever was asked for.
                let start = match query.get("last") {
                    None => 0,
                    Some(last) => tags.iter().position(|tag| *tag == last).unwrap_or(0) + 1,
                };
                let page = &tags[start..tags.len().min(start + 2)];
                let answer = plain(
                    200,
                    &serde_json::json!({"name": repository, "tags": page}).to_string(),
                );
                match page.last() {
                    Some(last) if start + 2 < tags.len() => with(
                        answer,
                        "link",
                        &format!("</v2/{repository}/tags/list?last={last}&n=2>; rel=\"next\""),
                    ),
                    _ => answer,
                }
            }
            _ => error(404, "UNSUPPORTED", "no such thing"),
        }
    }
}

fn plain(status: u16, text: &str) -> Answer {
    let mut answer = Response::new(Full::from(text.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    plain(
        status,
        &serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string(),
    )
}

fn with(mut answer: Answer, name: &str, value: &str) -> Answer {
    let name: HeaderName = name.parse().unwrap();
    if value.is_empty() {
        answer.headers_mut().remove(&name);
    } else {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).unwrap());
    }
    answer
}

fn sized(answer: Answer, size: usize) -> Answer {
    with(answer, "content-length", &size.to_string())
}
