//! One identity for another, over the network: requests of those who sign in,
//! and what can go wrong with them.
//!
//! What is sent here is secret: tokens, keys, passwords. So no error and no log
//! line holds a body of ours, and an answer that repeats what it was sent is
//! shown without it.

use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{KeyProblem, Network, jwt::Claims};
use crate::{
    signing::{self, SigningKey},
    transport::{self, Again, RetryPolicy, Stopped},
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
    #[error("the private key that the metadata service gave for this instance {0}")]
    Key(KeyProblem),
    /// No answer: connection, TLS, time-out.
    #[error("cannot get {wanted}: no answer from {host}{}", clause(.advice))]
    NoAnswer {
        /// What was wanted.
        wanted: &'static str,
        /// Who did not answer.
        host: String,
        /// What to do; may be empty.
        advice: &'static str,
        /// Why, without the address.
        source: reqwest::Error,
    },
    /// The service said no.
    #[error(
        "cannot get {wanted}: {host} answered {status}{}{}{}{}",
        said(.code, .message),
        traced(.opc_request_id),
        skewed(*.clock_skew),
        clause(.advice)
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
        let host = authority(ask.url);
        let no_answer = |source: reqwest::Error| {
            let again = why_again(&source).map(|reason| Again {
                reason: reason.to_owned(),
                after: None,
            });
            Failure {
                error: ExchangeError::NoAnswer {
                    wanted: ask.wanted,
                    host: host.clone(),
                    advice: (ask.advice)(0, ""),
                    source: source.without_url(),
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
    let lifetime = lifetime.min(LONGEST);
    (asked + lifetime.saturating_sub(ahead), asked + lifetime)
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
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| ExchangeError::File {
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

/// The Host header of an address: no port where it is the usual one.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
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
        Self { error, again: None }
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
    let mut text = text.to_owned();
    // First of all, for a cut secret would not be found.
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[redacted]");
    }
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
