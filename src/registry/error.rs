//! What can go wrong, and the questions callers ask about it.

use std::{error::Error as StdError, ops::Deref, sync::Arc, time::Duration};

use reqwest::{StatusCode, header::HeaderMap};
use serde::Deserialize;

use crate::{
    image::{self, Digest},
    transport::{self, Secrets},
};

/// A registry call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image's source could not be read while a blob was sent.
    #[error("cannot read blob {digest} from the image's source")]
    Blob {
        /// Which blob.
        digest: Digest,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The image's source gives other bytes than it did when the image was read.
    #[error("blob {digest} is not what it was when the image was read: {message}")]
    BlobChanged {
        /// Which blob.
        digest: Digest,
        /// What is different.
        message: String,
    },
    /// The registry confirmed or sent something else than what was meant.
    #[error("{operation} at {host} answered with digest {actual} instead of {expected}")]
    Digest {
        /// What was tried.
        operation: String,
        /// Who answered.
        host: String,
        /// What it should have been.
        expected: Digest,
        /// What it was; text, since a registry may send anything.
        actual: String,
    },
    /// The connection was cut in the middle of a blob, in every attempt.
    #[error(
        "the connection to {host} was cut during {operation}, after {sent} of {size} bytes in the last of {attempts} attempts"
    )]
    Interrupted {
        /// What was tried.
        operation: String,
        /// With whom.
        host: String,
        /// Bytes handed to the connection in the last attempt.
        sent: u64,
        /// Bytes in all.
        size: u64,
        /// Attempts made.
        attempts: u32,
        /// How it ended.
        source: reqwest::Error,
    },
    /// A name that no registry accepts.
    #[error("{kind} {name:?} {problem}")]
    Name {
        /// What it should have been: `host`, `repository`, `tag`, `reference`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Why it is none: "must …".
        problem: String,
    },
    /// An answer that is not what the specification says.
    #[error("{operation} at {host} got an answer that is not a registry's: {message}")]
    Protocol {
        /// What was tried.
        operation: String,
        /// Who answered.
        host: String,
        /// What is wrong with the answer.
        message: String,
    },
    /// The registry wants the credentials sent to a place that must not see them.
    #[error("{host} asks to sign in at {realm}, where credentials are not sent: {problem}")]
    Realm {
        /// Who asked.
        host: String,
        /// Where, without query.
        realm: String,
        /// Why not.
        problem: &'static str,
    },
    /// A redirect that leads nowhere, or where we do not follow.
    #[error("{operation} at {host} was redirected {message}")]
    Redirect {
        /// What was tried.
        operation: String,
        /// Who answered.
        host: String,
        /// Where to and why that is wrong; begins with "to …" or "without …".
        message: String,
    },
    /// The registry said no.
    #[error("{}", registry_text(operation, host, *status, code, message))]
    Registry {
        /// What was tried, for example "upload of blob sha256:…".
        operation: String,
        /// Who answered.
        host: String,
        /// Path of the repository; empty when the call was about none.
        repository: String,
        /// HTTP status.
        status: u16,
        /// Code of the first error of the body, for example `DENIED`; empty when there is none.
        code: String,
        /// Its message, or an excerpt of the body when it is not the envelope.
        message: String,
        /// Its detail as JSON, shortened; empty when there is none.
        detail: String,
        /// `opc-request-id` or `x-request-id`; empty when there was none.
        request_id: String,
        /// How often it was asked.
        attempts: u32,
        /// How long the registry asks to wait before the next attempt.
        retry_after: Option<Duration>,
    },
    /// There is no token to sign in with.
    #[error("cannot get a token to sign in to {host}")]
    SignIn {
        /// Where to.
        host: String,
        /// Why.
        source: Cause,
    },
    /// The user interrupted the run.
    #[error("interrupted")]
    Stopped,
    /// A tag points to another image, and must not be moved away from it.
    #[error(
        "tag {tag:?} of repository {repository:?} at {host} points to {there}, and is not to be moved to {wanted}"
    )]
    TagElsewhere {
        /// Who has it.
        host: String,
        /// Path of the repository.
        repository: String,
        /// The tag.
        tag: String,
        /// Where it points.
        there: Digest,
        /// Where it was to point.
        wanted: Digest,
    },
    /// Nothing moved for too long.
    #[error("{operation} at {host} got no further: {problem}")]
    TimedOut {
        /// What was tried.
        operation: String,
        /// With whom.
        host: String,
        /// What did not happen, and for how long.
        problem: String,
    },
    /// There was no answer.
    #[error("{operation} got no answer from {host}")]
    Transport {
        /// What was tried.
        operation: String,
        /// Whom.
        host: String,
        /// How often it was asked.
        attempts: u32,
        /// Why; its text names no URL.
        source: reqwest::Error,
    },
}

/// Why several calls failed at once; stands for the error that it holds.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn StdError + Send + Sync>);

// It is no error itself: in a chain of causes it would say everything twice.
impl Deref for Cause {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl From<Box<dyn StdError + Send + Sync>> for Cause {
    fn from(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self(error.into())
    }
}

impl Error {
    /// The registry's code, for example `NAME_UNKNOWN`; empty when there is none.
    pub fn code(&self) -> &str {
        match self {
            Self::Registry { code, .. } => code,
            _ => "",
        }
    }
    /// The status of the registry's answer, when it is the answer that is at fault.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Registry { status, .. } => Some(*status),
            _ => None,
        }
    }
    /// What the registry calls the request, for its operators' logs.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Registry { request_id, .. } if !request_id.is_empty() => Some(request_id),
            _ => None,
        }
    }
    /// Whether the registry took the call for one of an anonymous user although
    /// it came with credentials. OCIR gives an anonymous token for a request
    /// whose signature is wrong, and says so only when the token is used.
    pub fn is_anonymous_denial(&self) -> bool {
        matches!(self, Self::Registry { message, .. } if message.contains("Anonymous users"))
    }
    /// Whether the registry knows who we are and refuses (403).
    pub fn is_denied(&self) -> bool {
        self.status() == Some(403)
    }
    /// Whether a tag was not moved since nobody may move it. No registry has the same
    /// code for that, and many have none.
    pub fn is_immutable(&self) -> bool {
        matches!(self, Self::Registry { operation, code, message, .. }
            if operation.contains("of manifest ")
                && format!("{code} {message}").to_lowercase().contains("immutable"))
    }
    /// Whether the registry says that it does not know the repository.
    pub fn is_name_unknown(&self) -> bool {
        self.code() == code::NAME_UNKNOWN
    }
    /// Whether the answer was 404.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
    /// Whether the registry asks for fewer calls (429).
    pub fn is_throttled(&self) -> bool {
        self.status() == Some(429)
    }
    /// Whether the registry does not accept the credentials (401).
    pub fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }

    /// The same after so many attempts.
    pub(super) fn after(mut self, made: u32) -> Self {
        if let Self::Registry { attempts, .. } | Self::Transport { attempts, .. } = &mut self {
            *attempts = made;
        }
        self
    }
    /// The same, given up because the registry asks for a wait of `asked`, and
    /// no attempt begins after `limit`.
    pub(super) fn too_late(mut self, asked: Duration, limit: Duration) -> Self {
        if let Self::Registry { message, .. } = &mut self {
            let reason = format!(
                "asks for a wait of {} s before the next attempt, and attempts end after {} s",
                asked.as_secs(),
                limit.as_secs()
            );
            *message = match message.as_str() {
                "" => reason,
                text => format!("{text} ({reason})"),
            };
        }
        self
    }
    /// Whether the same call may succeed a little later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Interrupted { .. } | Self::TimedOut { .. } => true,
            // A request that could not be built and a certificate that is not
            // trusted stay what they are.
            Self::Transport { source, .. } => {
                !source.is_builder() && !transport::is_certificate_error(source)
            }
            Self::Registry { status, .. } => is_temporary_status(*status),
            _ => false,
        }
    }
    /// Whether there was not even a connection.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreached_host().is_some()
    }
    /// Whom there was not even a connection with.
    pub(super) fn unreached_host(&self) -> Option<&str> {
        match self {
            Self::Transport { host, source, .. } if source.is_connect() => Some(host),
            _ => None,
        }
    }
    /// How long the registry asked to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Registry { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Codes of the specification that decide what happens next. Others are shown
/// as they come.
pub(super) mod code {
    pub(crate) const BLOB_UNKNOWN: &str = "BLOB_UNKNOWN";
    pub(crate) const BLOB_UPLOAD_INVALID: &str = "BLOB_UPLOAD_INVALID";
    pub(crate) const BLOB_UPLOAD_UNKNOWN: &str = "BLOB_UPLOAD_UNKNOWN";
    pub(crate) const DIGEST_INVALID: &str = "DIGEST_INVALID";
    pub(crate) const MANIFEST_BLOB_UNKNOWN: &str = "MANIFEST_BLOB_UNKNOWN";
    pub(crate) const MANIFEST_UNKNOWN: &str = "MANIFEST_UNKNOWN";
    pub(crate) const NAME_UNKNOWN: &str = "NAME_UNKNOWN";
}

/// Statuses that a later attempt may change.
pub(super) fn is_temporary_status(status: u16) -> bool {
    // 408: a connection that was kept idle for too long, on the server's side.
    status == 408 || transport::is_transient_status(status)
}

/// What an error is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) operation: &'a str,
    pub(super) host: &'a str,
    pub(super) repository: &'a str,
    /// What a server may repeat, and we may not.
    pub(super) secrets: &'a Secrets,
}

impl About<'_> {
    pub(super) fn protocol(&self, message: impl Into<String>) -> Error {
        Error::Protocol {
            operation: self.operation.into(),
            host: self.host.into(),
            message: message.into(),
        }
    }
    pub(super) fn redirect(&self, message: impl AsRef<str>) -> Error {
        Error::Redirect {
            operation: self.operation.into(),
            host: self.host.into(),
            message: self.secrets.scrub(message.as_ref()),
        }
    }
    pub(super) fn timed_out(&self, problem: impl Into<String>) -> Error {
        Error::TimedOut {
            operation: self.operation.into(),
            host: self.host.into(),
            problem: problem.into(),
        }
    }
    pub(super) fn transport(&self, source: reqwest::Error) -> Error {
        Error::Transport {
            operation: self.operation.into(),
            // A registry may have sent us on to another one.
            host: match source.url() {
                Some(url) => transport::authority(url),
                None => self.host.into(),
            },
            attempts: 1,
            // Queries hold upload state and, on storage hosts, signatures.
            source: source.without_url(),
        }
    }
    pub(super) fn digest(&self, expected: &Digest, actual: &str) -> Error {
        Error::Digest {
            operation: self.operation.into(),
            host: self.host.into(),
            expected: expected.clone(),
            actual: excerpt(&self.secrets.scrub(actual)),
        }
    }
    /// The error that an answer with a failure status is.
    pub(super) fn answer(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let first = serde_json::from_slice::<Envelope>(body)
            .ok()
            .and_then(|envelope| envelope.errors.into_iter().next());
        // Before it is shortened: half a secret is not recognised.
        let excerpt = |text: &str| excerpt(&self.secrets.scrub(text));
        let (code, message, detail) = match first {
            Some(error) => (
                excerpt(&error.code),
                excerpt(&error.message),
                match error.detail {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => excerpt(&text),
                    other => excerpt(&other.to_string()),
                },
            ),
            None => (
                String::new(),
                excerpt(&transport::words(body)),
                String::new(),
            ),
        };
        let request_id = ["opc-request-id", "x-request-id"]
            .iter()
            .find_map(|name| headers.get(*name)?.to_str().ok())
            .map(excerpt)
            .unwrap_or_default();
        Error::Registry {
            operation: self.operation.into(),
            host: self.host.into(),
            repository: self.repository.into(),
            status: status.as_u16(),
            code,
            message,
            detail,
            request_id,
            attempts: 1,
            retry_after: transport::retry_after(headers, std::time::SystemTime::now()),
        }
    }
}

impl From<(Digest, image::Error)> for Error {
    fn from((digest, source): (Digest, image::Error)) -> Self {
        match source {
            image::Error::Stopped => Self::Stopped,
            source => Self::Blob {
                digest,
                source: source.into(),
            },
        }
    }
}

/// The body of a failure, as the specification has it. OCIR and others send
/// codes of their own, so the code is text.
#[derive(Deserialize)]
struct Envelope {
    errors: Vec<EnvelopeError>,
}

#[derive(Deserialize)]
struct EnvelopeError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

fn registry_text(operation: &str, host: &str, status: u16, code: &str, message: &str) -> String {
    let mut text = format!("{operation} at {host} answered {status}");
    if !code.is_empty() {
        text.push(' ');
        text.push_str(code);
    } else if let Some(reason) = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
    {
        text.push(' ');
        text.push_str(reason);
    }
    if !message.is_empty() {
        text.push_str(": ");
        text.push_str(message);
    }
    text
}

/// At most this many characters of what a server says are shown.
const EXCERPT: usize = 300;

/// A server's text on one line, without control characters, shortened.
pub(super) fn excerpt(text: &str) -> String {
    transport::excerpt(text, EXCERPT)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use reqwest::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    fn answer(status: u16, body: &str) -> Error {
        let mut headers = HeaderMap::new();
        headers.insert("opc-request-id", HeaderValue::from_static("4F2C"));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let about = About {
            operation: "start of an upload",
            host: "gru.ocir.io",
            repository: "ns/web",
            secrets: &Secrets::new(["hunter2"]),
        };
        about.answer(
            StatusCode::from_u16(status).unwrap(),
            &headers,
            body.as_bytes(),
        )
    }

    /// The envelope of the specification gives code, message and detail.
    #[test]
    fn reads_the_envelope() {
        let error = answer(
            403,
            r#"{"errors":[{"code":"DENIED","message":"Anonymous users are only allowed read access on public repos","detail":{"a":1}}]}"#,
        );
        expect!["start of an upload at gru.ocir.io answered 403 DENIED: Anonymous users are only allowed read access on public repos"]
            .assert_eq(&error.to_string());
        assert!(error.is_denied() && error.is_anonymous_denial() && !error.is_unauthorized());
        let Error::Registry {
            detail,
            request_id,
            repository,
            ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(
            (detail.as_str(), request_id.as_str(), repository.as_str()),
            (r#"{"a":1}"#, "4F2C", "ns/web")
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    }

    /// What a server repeats of a sign-in is not shown, wherever it stands.
    #[test]
    fn hides_repeated_secrets() {
        let padding = "x".repeat(EXCERPT - 40);
        for body in [
            r#"{"errors":[{"code":"hunter2","message":"you sent hunter2","detail":["hunter2"]}]}"#,
            &format!("{padding} <b>hunter2</b> Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"),
        ] {
            let error = answer(400, body);
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("hunter") && !shown.contains("eyJ"),
                "{shown}"
            );
        }
    }

    /// A wait that is longer than what is left is named.
    #[test]
    fn long_waits_are_named() {
        let seconds = Duration::from_secs;
        let error = answer(429, "slow down").too_late(seconds(9000), seconds(600));
        expect!["start of an upload at gru.ocir.io answered 429 Too Many Requests: slow down (asks for a wait of 9000 s before the next attempt, and attempts end after 600 s)"].assert_eq(&error.to_string());
        let error = answer(503, "").too_late(seconds(9000), seconds(600));
        expect!["start of an upload at gru.ocir.io answered 503 Service Unavailable: asks for a wait of 9000 s before the next attempt, and attempts end after 600 s"].assert_eq(&error.to_string());
    }

    /// A proxy's page becomes a line of its words.
    #[test]
    fn shows_an_excerpt_of_other_bodies() {
        let page = format!(
            "<html><head><title>502\u{7}</title></head>\n<body>bad   gateway{}</body></html>",
            " x".repeat(1000)
        );
        let text = answer(502, &page).to_string();
        assert!(text.starts_with(
            "start of an upload at gru.ocir.io answered 502 Bad Gateway: 502 bad gateway x x"
        ));
        assert!(text.chars().count() < 400, "{text}");
        expect!["start of an upload at gru.ocir.io answered 503 Service Unavailable"]
            .assert_eq(&answer(503, "").to_string());
        expect![[
            r#"start of an upload at gru.ocir.io answered 500 Internal Server Error: {"errors":[]}"#
        ]]
        .assert_eq(&answer(500, r#"{"errors":[]}"#).to_string());
        expect!["start of an upload at gru.ocir.io answered 418 I'm a teapot: [1"]
            .assert_eq(&answer(418, "[1").to_string());
    }

    proptest::proptest! {
        /// Whatever a registry says when it refuses something, what is shown of it is short, in
        /// one line, and without the password that it repeats.
        #[test]
        fn any_refusal(
            status in 400_u16..600,
            envelope in crate::spoilt::json([serde_json::json!({"errors": [{
                "code": "DENIED", "message": "no hunter2 here", "detail": {"hunter2": ["hunter2", 1.5]},
            }]})]),
            text in crate::spoilt::text(&["<html><h1>hunter2</h1>", "{\"errors\":[]}", "not found: hunter2"]),
        ) {
            for body in [envelope.to_string(), text] {
                let shown = answer(status, &body).to_string();
                let secret = "hunter2";
                proptest::prop_assert!(!shown.contains(secret), "{}", shown);
                proptest::prop_assert!(shown.chars().count() < 2000 && !shown.contains('\n'), "{}", shown);
            }
        }
    }
}
