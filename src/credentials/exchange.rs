//! One identity for another, over the network: requests of those who sign in,
//! and what can go wrong with them.
//!
//! What is sent here is secret: tokens, keys, passwords. So no error and no log
//! line holds a body of ours, and an answer that repeats what it was sent is
//! shown without it.

use std::{
    error::Error as _,
    time::{Duration, Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Network, jwt::Claims, values::read_file};
use crate::{
    signing::{self, SigningKey},
    transport::{self, Again, RetryPolicy, Secrets, Stopped},
};

/// Why an exchange gave no credential. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Whoever waited was left without an answer.
    #[error("the exchange for a credential was broken off; run the command again")]
    Abandoned,
    /// The certificate of an instance.
    #[error("the certificate that the metadata service gave for this instance {problem}")]
    Certificate {
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// A token that has ended, or that never was one.
    #[error("the {what} from {origin} {problem}")]
    Evidence {
        /// For example "delegation token".
        what: &'static str,
        /// Where it comes from.
        origin: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A file that the exchange needs.
    #[error("cannot read {what} in {path}, which {named_by} names")]
    File {
        /// For example "the service account's token".
        what: &'static str,
        /// The file.
        path: String,
        /// What names it.
        named_by: String,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no client to ask with.
    #[error("cannot prepare to ask for {wanted}")]
    Http {
        /// What was wanted.
        wanted: &'static str,
        /// Why not.
        source: transport::Error,
    },
    /// The instance's private key.
    #[error(
        "the private key that the metadata service gave for this instance {0}; \
         if this happens again, restart the instance, which gives it a new one"
    )]
    Key(signing::KeyError),
    /// No answer: connection, TLS, time-out.
    #[error("cannot get {wanted}: no answer from {host} ({reason}){}", clause(.advice))]
    NoAnswer {
        /// What was wanted.
        wanted: &'static str,
        /// Who did not answer.
        host: String,
        /// Why: the innermost of the library's causes, which stands here and
        /// not in `source`, for it has to come before what to do.
        reason: String,
        /// What to do; may be empty.
        advice: &'static str,
    },
    /// The service said no.
    #[error(
        "cannot get {wanted}: {host} answered {status}{}{}{}{}",
        said(.code, .message),
        traced(.opc_request_id),
        skewed(*.clock_skew),
        // A clock that is off is the reason, whatever else could be.
        if .clock_skew.is_some() { String::new() } else { clause(.advice) }
    )]
    Refused {
        /// What was wanted.
        wanted: &'static str,
        /// Who was asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// Code of the service, or OAuth's error; may be empty.
        code: String,
        /// The service's words, in one line; may be empty.
        message: String,
        /// `opc-request-id`; may be empty.
        opc_request_id: String,
        /// By how many seconds our clock is ahead of the service's, when that
        /// may be the reason.
        clock_skew: Option<i64>,
        /// What to do; may be empty.
        advice: &'static str,
    },
    /// The key for a session.
    #[error("cannot make a key for a session; run the command again")]
    SessionKey(#[source] signing::KeyError),
    /// A setting that no request can be made from.
    #[error("{0}")]
    Setting(String),
    /// The request could not be signed.
    #[error("cannot sign the request for {wanted}")]
    Sign {
        /// What was wanted.
        wanted: &'static str,
        /// Why not.
        source: signing::Error,
    },
    /// The credential that was to sign the request.
    #[error("cannot sign the request for {wanted}")]
    Signer {
        /// What was wanted.
        wanted: &'static str,
        /// Why not.
        source: std::sync::Arc<super::Error>,
    },
    /// An answer that makes no sense.
    #[error("cannot get {wanted}: the answer of {host} {problem}{}", traced(.opc_request_id))]
    Unreadable {
        /// What was wanted.
        wanted: &'static str,
        /// Who was asked.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
        /// `opc-request-id`; may be empty.
        opc_request_id: String,
    },
}

impl ExchangeError {
    /// Whether the next try may end otherwise, with nothing set otherwise.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Setting(_) | Self::Http { .. })
    }

    /// Status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            ExchangeError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// `opc-request-id`, when there is one.
    pub fn opc_request_id(&self) -> Option<&str> {
        match self {
            ExchangeError::Refused { opc_request_id, .. }
            | ExchangeError::Unreadable { opc_request_id, .. }
                if !opc_request_id.is_empty() =>
            {
                Some(opc_request_id)
            }
            _ => None,
        }
    }
}

/// What an exchange speaks HTTP with; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    http: reqwest::Client,
    retry: RetryPolicy,
    clock: fn() -> SystemTime,
}

/// One request, as often as it has to be sent.
pub(super) struct Ask<'a> {
    /// For the log, for example `FederateInstance`.
    pub(super) operation: &'static str,
    /// For messages: "cannot get …".
    pub(super) wanted: &'static str,
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) body: Option<Bytes>,
    /// The headers of an attempt, which may hold its date and signature.
    pub(super) headers: &'a Headers<'a>,
    /// What must not be shown if the answer repeats it.
    pub(super) secrets: &'a [&'a str],
    /// What to do about a status and a code; may be empty. Status 0 is no answer.
    pub(super) advice: fn(u16, &str) -> &'static str,
    /// Bound of one attempt.
    pub(super) timeout: Duration,
}

pub(super) type Headers<'a> =
    dyn Fn(SystemTime) -> Result<HeaderMap, ExchangeError> + Send + Sync + 'a;

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Bytes,
    wanted: &'static str,
    host: String,
    opc_request_id: String,
}

/// An attempt that failed.
pub(super) struct Failure {
    pub(super) error: ExchangeError,
    /// Whether another attempt may help.
    pub(super) again: Option<Again>,
    /// Whether there was no connection.
    pub(super) unreachable: bool,
}

impl Channel {
    pub(super) fn new(
        options: &transport::Options,
        retry: &RetryPolicy,
    ) -> Result<Self, transport::Error> {
        Ok(Self {
            http: transport::http_client(options)?,
            retry: retry.clone(),
            clock: SystemTime::now,
        })
    }

    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Sends a request, again when that is worth it.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Answer, ExchangeError> {
        self.repeat(ask.operation, |_| self.once(ask)).await
    }

    /// The same for attempts that are more than one request.
    pub(super) async fn repeat<T, Attempt, Running>(
        &self,
        operation: &'static str,
        attempt: Attempt,
    ) -> Result<T, ExchangeError>
    where
        Attempt: FnMut(u32) -> Running,
        Running: Future<Output = Result<T, Failure>>,
    {
        // Nobody cancels this one: whoever is interrupted stops waiting.
        let stop = CancellationToken::new();
        transport::retry(
            &self.retry,
            operation,
            &stop,
            attempt,
            |failure: &Failure| failure.again.clone(),
        )
        .await
        .map_err(|failure| failure.error)
    }

    /// One attempt.
    pub(super) async fn once(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let now = self.now();
        let host = transport::authority(ask.url);
        let no_answer = |source: reqwest::Error| {
            let source = source.without_url();
            let again = why_again(&source).map(|reason| Again {
                reason: reason.to_owned(),
                after: None,
            });
            Failure {
                unreachable: source.is_connect(),
                error: ExchangeError::NoAnswer {
                    wanted: ask.wanted,
                    host: host.clone(),
                    reason: root(&source),
                    advice: (ask.advice)(0, ""),
                },
                again,
            }
        };
        let mut request = self
            .http
            .request(ask.method.clone(), ask.url.clone())
            .headers((ask.headers)(now)?)
            .timeout(ask.timeout);
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let mut answer = Answer {
            body: Bytes::new(),
            wanted: ask.wanted,
            host: host.clone(),
            opc_request_id: text_of(&headers, "opc-request-id"),
        };
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(answer.unreadable("is larger than 1 MiB").into());
            }
            body.extend_from_slice(&chunk);
        }
        answer.body = body.freeze();
        tracing::debug!(
            operation = ask.operation,
            host,
            status = status.as_u16(),
            opc_request_id = answer.opc_request_id,
            "The service answered"
        );
        if status == StatusCode::OK || status == StatusCode::CREATED {
            return Ok(answer);
        }
        let (code, message) = words(&answer.body, ask.secrets);
        let again = transport::is_transient_status(status.as_u16()).then(|| Again {
            reason: format!("status {}", status.as_u16()),
            after: transport::retry_after(&headers, now),
        });
        Err(Failure {
            error: ExchangeError::Refused {
                wanted: ask.wanted,
                advice: (ask.advice)(status.as_u16(), &code),
                host,
                status: status.as_u16(),
                code,
                message,
                opc_request_id: answer.opc_request_id,
                clock_skew: clock_skew(&headers, now),
            },
            again,
            unreachable: false,
        })
    }
}

impl Answer {
    /// The answer makes no sense, which is "is no JSON" for example.
    pub(super) fn unreadable(&self, problem: &'static str) -> ExchangeError {
        ExchangeError::Unreadable {
            wanted: self.wanted,
            host: self.host.clone(),
            problem,
            opc_request_id: self.opc_request_id.clone(),
        }
    }

    /// The token of `{"token": "…"}` and what it says about itself.
    pub(super) fn token(&self) -> Result<Token, ExchangeError> {
        let members = serde_json::from_slice(&self.body)
            .map_err(|_| self.unreadable("is not the JSON that was expected"))?;
        self.token_in(&members)
    }

    /// The same for JSON that was wrapped in something.
    pub(super) fn token_in(&self, members: &Value) -> Result<Token, ExchangeError> {
        let token = members
            .get("token")
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|token| !token.is_empty())
            .ok_or_else(|| self.unreadable("holds no token"))?;
        // Some services put the prefix of the key id before it.
        let token = token.strip_prefix("ST$").unwrap_or(token);
        // What cannot stand in a header cannot be signed with.
        let claims = Claims::of(token)
            .filter(|_| token.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| self.unreadable("holds a token that is no JSON Web Token"))?;
        Ok(Token {
            key_id: format!("ST${token}"),
            claims,
        })
    }

    /// How long a token lives from the moment on when it was asked for. Its own
    /// two times are compared with each other, so that a clock of ours that is
    /// wrong does no harm.
    pub(super) fn lifetime(
        &self,
        token: &Token,
        now: SystemTime,
    ) -> Result<Duration, ExchangeError> {
        token
            .claims
            .lifetime()
            .or_else(|| {
                let end = token.claims.expires()?;
                Some(end.duration_since(now).unwrap_or_default())
            })
            .ok_or_else(|| self.unreadable("holds a token that does not say when it ends"))
    }
}

/// A security token.
pub(super) struct Token {
    /// `ST$` and the token. A secret.
    pub(super) key_id: String,
    pub(super) claims: Claims,
}

/// When a session that was asked for at a moment is renewed, and when it ends.
pub(super) fn times(asked: Instant, lifetime: Duration) -> (Instant, Instant) {
    let ahead = if lifetime < AHEAD * 2 {
        lifetime / 2
    } else {
        AHEAD
    };
    // Tokens count whole seconds, and may have begun before we asked.
    let lifetime = lifetime.min(LONGEST).saturating_sub(Duration::from_secs(1));
    let ahead = ahead.min(lifetime);
    (asked + (lifetime - ahead), asked + lifetime)
}

/// A new key, made off the runtime's threads.
pub(super) async fn session_key(
    generate: fn() -> Result<SigningKey, signing::KeyError>,
) -> Result<SigningKey, ExchangeError> {
    match tokio::task::spawn_blocking(generate).await {
        Ok(key) => key.map_err(ExchangeError::SessionKey),
        Err(_) => Err(ExchangeError::Abandoned),
    }
}

/// A token that is shown to get another one: without what surrounds it, and not
/// one that has ended. `remedy` goes on after "ended 5 minutes ago".
pub(super) fn evidence(
    what: &'static str,
    origin: &str,
    text: &str,
    now: SystemTime,
    remedy: &str,
) -> Result<String, ExchangeError> {
    let problem = |problem: String| ExchangeError::Evidence {
        what,
        origin: origin.to_owned(),
        problem,
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(problem(format!("is empty{remedy}")));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(problem(
            "is no token: it has spaces or other characters that no token has".to_owned(),
        ));
    }
    let end = Claims::of(token).and_then(|claims| claims.expires());
    if let Some(ago) = end.and_then(|end| now.duration_since(end).ok()) {
        return Err(problem(format!("ended {} ago{remedy}", spell(ago))));
    }
    Ok(token.to_owned())
}

/// Reads a small text file.
pub(super) async fn read(
    what: &'static str,
    path: &std::path::Path,
    named_by: &str,
) -> Result<String, ExchangeError> {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_file(&file)).await;
    let text = read
        .unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
        .and_then(|bytes| {
            let no_text = |_| std::io::Error::from(std::io::ErrorKind::InvalidData);
            String::from_utf8(bytes).map_err(no_text)
        });
    text.map_err(|source| ExchangeError::File {
        what,
        path: path.display().to_string(),
        named_by: named_by.to_owned(),
        source,
    })
}

/// How the network of `network` is reached for what is wanted.
pub(super) fn channel(network: &Network, wanted: &'static str) -> Result<Channel, ExchangeError> {
    Channel::new(&network.http, &network.retry)
        .map_err(|source| ExchangeError::Http { wanted, source })
}

/// An error and what caused it, in one line, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors say what their cause says.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Bound of an attempt, as for all calls.
pub(super) const TIMEOUT: Duration =
    transport::CONNECT_TIMEOUT.saturating_add(transport::READ_TIMEOUT);

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        Self {
            error,
            again: None,
            unreachable: false,
        }
    }
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        ExchangeError::Abandoned.into()
    }
}

/// Why a request without an answer is sent again; `None` when that does not help.
fn why_again(error: &reqwest::Error) -> Option<&'static str> {
    if error.is_builder() || transport::is_certificate_error(error) {
        None
    } else if error.is_timeout() {
        Some("time-out")
    } else if error.is_connect() {
        Some("no connection")
    } else {
        Some("connection lost")
    }
}

/// The innermost cause, which is what the system or the TLS library says. None
/// of them knows the address's path or query.
fn root(error: &reqwest::Error) -> String {
    // There are several words for it below.
    if error.is_timeout() {
        return "time-out".to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    let mut next = error.source();
    while let Some(cause) = next {
        innermost = cause;
        next = cause.source();
    }
    line(&innermost.to_string(), &[])
}

/// Code and message of a refusal, as Oracle's services, OAuth and gateways
/// write them.
fn words(body: &[u8], secrets: &[&str]) -> (String, String) {
    let members = match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => members,
        _ => return (String::new(), line(&transport::words(body), secrets)),
    };
    let text = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| members.get(*name).and_then(Value::as_str))
            .map(|text| line(text, secrets))
    };
    (
        text(&["code", "error"]).unwrap_or_default(),
        text(&["message", "error_description", "detail"])
            .unwrap_or_else(|| line(&String::from_utf8_lossy(body), secrets)),
    )
}

/// The beginning of a text, in one line, without secrets.
fn line(text: &str, secrets: &[&str]) -> String {
    // First of all, for of a cut secret too little may be left to find it by.
    let text = Secrets::new(secrets.iter().copied()).scrub(text);
    let mut line = text
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST_LINE) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn text_of(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(|text| line(text, &[]))
        .unwrap_or_default()
}

/// By how many seconds our clock is ahead, when it is so far off that services
/// take no signature of ours.
fn clock_skew(headers: &HeaderMap, ours: SystemTime) -> Option<i64> {
    let theirs = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = httpdate::parse_http_date(theirs).ok()?;
    let skew = match ours.duration_since(theirs) {
        Ok(ahead) => i64::try_from(ahead.as_secs()).ok()?,
        Err(behind) => -i64::try_from(behind.duration().as_secs()).ok()?,
    };
    (skew.abs() >= 300).then_some(skew)
}

// The parts of messages.

fn said(code: &str, message: &str) -> String {
    // More may follow.
    let message = message.trim_end_matches('.');
    let code = if code.is_empty() {
        String::new()
    } else {
        format!(" {code}")
    };
    if message.is_empty() {
        code
    } else {
        format!("{code}: {message}")
    }
}

fn traced(opc_request_id: &str) -> String {
    if opc_request_id.is_empty() {
        String::new()
    } else {
        format!(" (opc-request-id {opc_request_id})")
    }
}

fn skewed(seconds: Option<i64>) -> String {
    let Some(seconds) = seconds else {
        return String::new();
    };
    let (by, direction) = (
        spell(Duration::from_secs(seconds.unsigned_abs())),
        if seconds > 0 { "ahead of" } else { "behind" },
    );
    format!(
        "; the clock of this machine is {by} {direction} the service's, which accepts five minutes: set it"
    )
}

fn clause(advice: &str) -> String {
    if advice.is_empty() {
        String::new()
    } else {
        format!("; {advice}")
    }
}

/// A time as people say it.
fn spell(time: Duration) -> String {
    let (count, unit) = match time.as_secs() {
        seconds @ 0..120 => (seconds, "second"),
        seconds @ 120..7200 => (seconds / 60, "minute"),
        seconds @ 7200..172_800 => (seconds / 3600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// How long before its end a session is renewed, as Oracle's Go SDK does it.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// No session lives longer; a number that is larger is nonsense, and would be
/// too much for a clock.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// No answer comes near.
const MAX_BODY: usize = 1 << 20;

/// As much of a message as can be read.
const LONGEST_LINE: usize = 300;

/// The other side, for the tests of those who exchange.
#[cfg(test)]
pub(super) mod testing {
    use std::{
        collections::{BTreeMap, VecDeque},
        sync::{Arc, Mutex},
    };

    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        credentials::{CredentialSource, Environment},
        emulator::Emulator,
        oci,
        region::Region,
    };

    /// What a server does with one request.
    #[derive(Clone)]
    pub(in crate::credentials) enum Turn {
        /// Answers, with these headers beside the length.
        Answer(u16, &'static str, String),
        /// Begins an answer and hangs up.
        Cut,
        /// Says nothing.
        Hang,
    }

    /// A server that answers one request after the other, the last turn again
    /// and again, and keeps what it was sent.
    pub(in crate::credentials) struct Server {
        pub(in crate::credentials) url: String,
        pub(in crate::credentials) host: String,
        requests: Arc<Mutex<Vec<String>>>,
        accepting: tokio::task::JoinHandle<()>,
    }

    impl Server {
        pub(in crate::credentials) async fn start(
            turns: impl IntoIterator<Item = Turn>,
        ) -> anyhow::Result<Self> {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let host = listener.local_addr()?.to_string();
            let requests: Arc<Mutex<Vec<String>>> = Arc::default();
            let turns: Arc<Mutex<VecDeque<Turn>>> =
                Arc::new(Mutex::new(turns.into_iter().collect()));
            let kept = requests.clone();
            let accepting = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, turns.clone(), kept.clone()));
                }
            });
            Ok(Self {
                url: format!("http://{host}"),
                host,
                requests,
                accepting,
            })
        }

        pub(in crate::credentials) fn requests(&self) -> Vec<String> {
            self.requests.lock().expect("no panic inside").clone()
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.accepting.abort();
        }
    }

    async fn serve(
        mut stream: TcpStream,
        turns: Arc<Mutex<VecDeque<Turn>>>,
        kept: Arc<Mutex<Vec<String>>>,
    ) {
        loop {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|length| length.parse().ok())
                .unwrap_or(0);
            let mut body = vec![0; length];
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
            request.extend(body);
            kept.lock()
                .expect("no panic inside")
                .push(String::from_utf8_lossy(&request).into_owned());
            let turn = {
                let mut turns = turns.lock().expect("no panic inside");
                if turns.len() > 1 {
                    turns.pop_front()
                } else {
                    turns.front().cloned()
                }
            };
            let answer = match turn {
                Some(Turn::Answer(status, headers, body)) => format!(
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}",
                    body.len()
                ),
                Some(Turn::Cut) => {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"tok")
                        .await;
                    return;
                }
                Some(Turn::Hang) | None => return std::future::pending().await,
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// An answer with a status and a body.
    pub(in crate::credentials) fn answer(status: u16, body: &str) -> Turn {
        Turn::Answer(status, "", body.to_owned())
    }

    /// A token that says this, signed by nobody.
    pub(in crate::credentials) fn jwt(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// A service's answer with this body.
    pub(in crate::credentials) fn answered(body: impl AsRef<[u8]>) -> Answer {
        Answer {
            body: Bytes::copy_from_slice(body.as_ref()),
            wanted: "a token",
            host: "HOST".to_owned(),
            opc_request_id: "4F2C".to_owned(),
        }
    }

    /// Seconds since 1970, from now on.
    pub(in crate::credentials) fn seconds_from_now(seconds: i64) -> i64 {
        let now = SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("it is later than 1970").as_secs();
        i64::try_from(now).expect("it is before the end of time") + seconds
    }

    /// A network without waits.
    pub(in crate::credentials) fn network(endpoint: Option<&str>) -> Network {
        Network {
            retry: RetryPolicy::without_waiting(),
            endpoint: endpoint.map(str::to_owned),
            ..Network::default()
        }
    }

    pub(in crate::credentials) fn environment(variables: BTreeMap<String, String>) -> Environment {
        Environment {
            variables,
            home: None,
        }
    }

    /// An error with its causes, with the words that change replaced.
    pub(in crate::credentials) fn text(
        error: &(dyn std::error::Error + 'static),
        replace: &[(&str, &str)],
    ) -> String {
        let mut text = chain(error);
        for (from, to) in replace {
            text = text.replace(from, to);
        }
        // Request ids differ from one to the next.
        while let Some(at) = text.find("opc-request-id ") {
            let end = text[at..].find(')').map_or(text.len(), |end| at + end);
            text.replace_range(at..end, "opc-request-id: ID");
        }
        text
    }

    /// What a credential is for: a client that asks the control plane and gets
    /// a registry token.
    pub(in crate::credentials) async fn works(
        source: Arc<dyn CredentialSource>,
        emulator: &Emulator,
    ) -> anyhow::Result<()> {
        let region = Region::parse(&emulator.seed().region)?;
        let client = oci::Client::new(oci::Config {
            endpoint: Some(emulator.url()),
            retry: RetryPolicy::without_waiting(),
            ..oci::Config::new(
                transport::http_client(&transport::Options::default())?,
                region,
                source,
            )
        })?;
        let namespace = client.get_namespace(None).await?;
        anyhow::ensure!(namespace == emulator.seed().namespace);
        client.get_registry_token(&emulator.url()).await?;
        Ok(())
    }

    /// Who signed the requests that were answered well, each of them once.
    pub(in crate::credentials) fn callers(emulator: &Emulator, operation: &str) -> Vec<String> {
        let mut callers: Vec<String> = emulator
            .requests()
            .into_iter()
            .filter(|request| request.operation == operation && request.status == 200)
            .filter_map(|request| request.caller)
            .collect();
        callers.dedup();
        callers
    }

    /// How often an operation was asked for.
    pub(in crate::credentials) fn count(emulator: &Emulator, operation: &str) -> usize {
        let requests = emulator.requests();
        let asked = requests
            .iter()
            .filter(|request| request.operation == operation);
        asked.count()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::{
        testing::{Server, Turn, answer, answered, jwt, network, seconds_from_now, text},
        *,
    };

    fn advice(status: u16, _: &str) -> &'static str {
        match status {
            0 => "is the cable in?",
            401 => "say it louder",
            _ => "",
        }
    }

    /// A request with a secret in it, as often as the policy has it.
    async fn ask(server: &Server, timeout: Duration) -> Result<Answer, ExchangeError> {
        let url =
            Url::parse(&format!("{}/v1/token?key=hidden", server.url)).expect("it is an address");
        let channel = channel(&network(None), "a token")?;
        channel
            .send(&Ask {
                operation: "Test",
                wanted: "a token",
                method: Method::POST,
                url: &url,
                body: Some("a body with SECRET".into()),
                headers: &|_| Ok(HeaderMap::new()),
                secrets: &["SECRET", ""],
                advice,
                timeout,
            })
            .await
    }

    async fn refusal(turn: Turn) -> anyhow::Result<String> {
        let server = Server::start([turn]).await?;
        let Err(error) = ask(&server, TIMEOUT).await else {
            anyhow::bail!("it was no refusal");
        };
        let debug = format!("{error:?}");
        anyhow::ensure!(
            !debug.contains("SECRET") && !debug.contains("hidden"),
            "{debug}"
        );
        let host = error.to_string().contains(&server.host);
        anyhow::ensure!(host, "{error}");
        Ok(text(&error, &[(&server.host, "HOST")]))
    }

    /// Refusals of services, of identity domains and of gateways, with what
    /// they were sent left out.
    #[tokio::test]
    async fn refusals_say_what_was_said() -> anyhow::Result<()> {
        expect!["cannot get a token: HOST answered 401 NotAuthenticated: The token [redacted] is wrong (opc-request-id: ID); say it louder"]
            .assert_eq(&refusal(Turn::Answer(
                401,
                "opc-request-id: 4F2C\r\n",
                r#"{"code": "NotAuthenticated", "message": "The token SECRET is\nwrong."}"#.into(),
            )).await?);
        expect!["cannot get a token: HOST answered 400 invalid_grant: not trusted"].assert_eq(
            &refusal(answer(
                400,
                r#"{"error": "invalid_grant", "error_description": "not trusted"}"#,
            ))
            .await?,
        );
        expect!["cannot get a token: HOST answered 403: Access to [redacted] denied"]
            .assert_eq(&refusal(answer(403, "<html><b>Access to SECRET denied</b></html>")).await?);
        expect!["cannot get a token: HOST answered 302"]
            .assert_eq(&refusal(answer(302, "")).await?);
        expect![[r#"cannot get a token: HOST answered 400: {"status":17}"#]]
            .assert_eq(&refusal(answer(400, r#"{"status":17}"#)).await?);
        let long = refusal(answer(400, &format!("{} SECRET", "word ".repeat(100)))).await?;
        assert!(long.len() < 400 && !long.contains("SEC"), "{long}");
        Ok(())
    }

    /// A clock that is off may be the reason, and is named when it is.
    #[tokio::test]
    async fn wrong_clocks_are_named() -> anyhow::Result<()> {
        let seconds = |seconds: i64| -> anyhow::Result<String> {
            let ours = SystemTime::now();
            let theirs = if seconds > 0 {
                ours - Duration::from_secs(seconds.unsigned_abs())
            } else {
                ours + Duration::from_secs(seconds.unsigned_abs())
            };
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, httpdate::fmt_http_date(theirs).parse()?);
            Ok(skewed(clock_skew(&headers, ours)))
        };
        expect![""].assert_eq(&seconds(298)?);
        expect!["; the clock of this machine is 11 minutes ahead of the service's, which accepts five minutes: set it"]
            .assert_eq(&seconds(700)?);
        expect!["; the clock of this machine is 3 days behind the service's, which accepts five minutes: set it"]
            .assert_eq(&seconds(-300_000)?);
        assert_eq!(clock_skew(&HeaderMap::new(), SystemTime::now()), None);
        expect!["cannot get a token: HOST answered 401; the clock of this machine is N days ahead of the service's, which accepts five minutes: set it"]
            .assert_eq(
                &refusal(Turn::Answer(
                    401,
                    "date: Tue, 06 Jan 2026 10:00:00 GMT\r\n",
                    String::new(),
                ))
                .await?
                .split(' ')
                .map(|word| if word.parse::<u64>().is_ok_and(|days| days != 401) { "N" } else { word })
                .collect::<Vec<_>>()
                .join(" "),
            );
        Ok(())
    }

    /// What passes is tried again, up to eight times in all; what does not is not.
    #[tokio::test]
    async fn what_passes_is_tried_again() -> anyhow::Result<()> {
        let good = answer(200, "{}");
        let turns = [answer(503, ""), answer(429, ""), Turn::Cut, good.clone()];
        let server = Server::start(turns).await?;
        assert_eq!(ask(&server, TIMEOUT).await?.body, "{}");
        assert_eq!(server.requests().len(), 4);

        for (status, attempts) in [(500, 8), (501, 1), (400, 1), (404, 1), (409, 1)] {
            let server = Server::start([answer(status, "")]).await?;
            assert!(ask(&server, TIMEOUT).await.is_err());
            assert_eq!(server.requests().len(), attempts, "{status}");
        }
        Ok(())
    }

    /// A server that says nothing, hangs up, or does not stop talking.
    #[tokio::test]
    async fn odd_answers_end() -> anyhow::Result<()> {
        let hanging = Server::start([Turn::Hang]).await?;
        let error = ask(&hanging, Duration::from_millis(30)).await;
        let error = error.err().ok_or_else(|| anyhow::anyhow!("it answered"))?;
        expect!["cannot get a token: no answer from HOST (time-out); is the cable in?"]
            .assert_eq(&text(&error, &[(&hanging.host, "HOST")]));
        assert_eq!(hanging.requests().len(), 8);

        let cutting = Server::start([Turn::Cut]).await?;
        let error = ask(&cutting, TIMEOUT).await;
        let error = error.err().ok_or_else(|| anyhow::anyhow!("it answered"))?;
        expect!["cannot get a token: no answer from HOST (end of file before message length reached); is the cable in?"]
            .assert_eq(&text(&error, &[(&cutting.host, "HOST")]));

        let talking = Server::start([answer(200, &"x".repeat(MAX_BODY + 1))]).await?;
        let error = ask(&talking, TIMEOUT).await;
        let error = error.err().ok_or_else(|| anyhow::anyhow!("it was read"))?;
        expect!["cannot get a token: the answer of HOST is larger than 1 MiB"]
            .assert_eq(&text(&error, &[(&talking.host, "HOST")]));
        assert_eq!(talking.requests().len(), 1);
        Ok(())
    }

    /// Tokens with and without prefix; and what is none.
    #[test]
    fn tokens_in_answers() -> anyhow::Result<()> {
        let token = jwt(&json!({"iat": 1000, "exp": 1600, "sub": "a"}));
        for prefix in ["", "ST$"] {
            let answer = answered(json!({ "token": format!("{prefix}{token}\n") }).to_string());
            let token_read = answer.token()?;
            assert_eq!(token_read.key_id, format!("ST${token}"));
            let lifetime = answer.lifetime(&token_read, SystemTime::now())?;
            assert_eq!(lifetime, Duration::from_secs(600), "by its own clock");
        }
        let message = |body: &str| match answered(body).token() {
            Ok(_) => "a token".to_owned(),
            Err(error) => error.to_string(),
        };
        expect!["cannot get a token: the answer of HOST is not the JSON that was expected (opc-request-id 4F2C)"].assert_eq(&message("<html>"));
        expect!["cannot get a token: the answer of HOST holds no token (opc-request-id 4F2C)"]
            .assert_eq(&message(r#"{"access_token": "x"}"#));
        expect!["cannot get a token: the answer of HOST holds no token (opc-request-id 4F2C)"]
            .assert_eq(&message(r#"{"token": " "}"#));
        expect!["cannot get a token: the answer of HOST holds a token that is no JSON Web Token (opc-request-id 4F2C)"].assert_eq(&message(r#"{"token": "opaque"}"#));
        assert!(message(r#"{"token": "e30.e30.a\nb"}"#).contains("no JSON Web Token"));
        Ok(())
    }

    /// A token without a beginning is measured with our clock, and one without
    /// an end is refused.
    #[test]
    fn lifetimes_of_odd_tokens() -> anyhow::Result<()> {
        let lifetime = |claims: &Value| {
            let answer = answered(json!({ "token": jwt(claims) }).to_string());
            let token = answer.token()?;
            answer.lifetime(&token, SystemTime::now())
        };
        let seconds = lifetime(&json!({ "exp": seconds_from_now(100) }))?.as_secs();
        assert!((98..=100).contains(&seconds), "{seconds}");
        assert_eq!(lifetime(&json!({ "exp": 100 }))?, Duration::ZERO);
        let error = lifetime(&json!({})).err().map(|error| error.to_string());
        expect!["cannot get a token: the answer of HOST holds a token that does not say when it ends (opc-request-id 4F2C)"].assert_eq(&error.unwrap_or_default());
        Ok(())
    }

    /// Five minutes ahead, or at half of a short life; no number is too large.
    #[test]
    fn times_of_a_session() {
        let now = Instant::now();
        let seconds = |lifetime: u64| {
            let (renew_at, expires_at) = times(now, Duration::from_secs(lifetime));
            ((renew_at - now).as_secs(), (expires_at - now).as_secs())
        };
        assert_eq!(seconds(1200), (899, 1199));
        assert_eq!(seconds(600), (299, 599));
        assert_eq!(seconds(100), (49, 99));
        assert_eq!(seconds(1), (0, 0));
        assert_eq!(seconds(0), (0, 0));
        assert_eq!(seconds(u64::MAX), (604_499, 604_799));
    }

    /// Tokens that are shown are trimmed, and looked at before they are sent.
    #[test]
    fn evidence_is_looked_at() -> anyhow::Result<()> {
        let now = SystemTime::now();
        let of = |text: &str| evidence("pass", "/pass", text, now, "; get another one");
        let good = jwt(&json!({ "exp": seconds_from_now(60) }));
        assert_eq!(of(&format!("\n{good}\r\n"))?, good);
        assert_eq!(of("opaque")?, "opaque");
        let message = |text: &str| match of(text) {
            Ok(_) => "good".to_owned(),
            Err(error) => error.to_string(),
        };
        expect!["the pass from /pass is empty; get another one"].assert_eq(&message(" \n"));
        expect![
            "the pass from /pass is no token: it has spaces or other characters that no token has"
        ]
        .assert_eq(&message("two words"));
        let ended = jwt(&json!({ "exp": seconds_from_now(-3 * 3600) }));
        expect!["the pass from /pass ended 3 hours ago; get another one"]
            .assert_eq(&message(&ended));
        Ok(())
    }

    proptest::proptest! {
        /// Whatever a service answers when it is asked for a token: there is one that can stand
        /// in a header and has a lifetime, or an error that repeats nothing of it.
        #[test]
        fn any_answer(
            members in crate::spoilt::json([
                json!({"token": jwt(&json!({"iat": 1000, "exp": 1600, "sub": "a"}))}),
                json!({"token": format!("ST${}", jwt(&json!({"exp": u64::MAX})))}),
                json!({"code": "NotAuthenticated", "message": "password=hunter2hunter2", "detail": [1]}),
            ]),
            text in crate::spoilt::text(&["{\"token\":\"e30.e30.c2ln\"}", "<html><title>502</title>"]),
            date in crate::spoilt::text(&["Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 31 Dec 9999 23:59:60 GMT"]),
        ) {
            for body in [members.to_string(), text] {
                let answer = answered(&body);
                match answer.token() {
                    Ok(token) => {
                        proptest::prop_assert!(token.key_id.bytes().all(|byte| byte.is_ascii_graphic()));
                        if let Ok(lifetime) = answer.lifetime(&token, SystemTime::now()) {
                            let (renew, end) = times(Instant::now(), lifetime);
                            proptest::prop_assert!(renew <= end);
                        }
                    }
                    Err(error) => proptest::prop_assert!(error.to_string().len() < 300, "{}", error),
                }
                let (code, message) = words(body.as_bytes(), &["hunter2hunter2"]);
                for said in [code, message] {
                    proptest::prop_assert!(!said.contains("hunter2hunter2"), "{}", said);
                    proptest::prop_assert!(said.chars().count() <= LONGEST_LINE + 1);
                    proptest::prop_assert!(!said.contains(char::is_control));
                }
            }
            if let Ok(date) = http::HeaderValue::from_str(&date) {
                let _ = clock_skew(&HeaderMap::from_iter([(header::DATE, date)]), SystemTime::now());
            }
        }

        /// Whatever stands in the file of a token that is shown to get another one: it can stand
        /// in a header, or an error says why not and repeats nothing of it.
        #[test]
        fn any_evidence(
            claims in crate::spoilt::json([json!({"exp": 1000}), json!({"exp": 1e12, "sub": "hunter2"})]),
            text in crate::spoilt::text(&["hunter2\n", "\u{feff}e30.eyJleHAiOjF9.hunter2", "e30.eyJleHAiOi0xfQ.hunter2"]),
            now in 0..2000_u64,
        ) {
            let now = std::time::UNIX_EPOCH + Duration::from_secs(now);
            for text in [jwt(&claims), text] {
                match evidence("pass", "/pass", &text, now, "; get another one") {
                    Ok(token) => {
                        proptest::prop_assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
                        let end = Claims::of(&token).and_then(|claims| claims.expires());
                        proptest::prop_assert!(end.is_none_or(|end| end > now));
                    }
                    Err(error) => {
                        let error = error.to_string();
                        proptest::prop_assert!(error.len() < 200 && !error.contains("hunter2"), "{}", error);
                    }
                }
            }
        }
    }
}
