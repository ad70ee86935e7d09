//! What can go wrong, and the questions callers ask about it.

use std::{fmt, time::Duration};

use http::HeaderMap;
use serde_json::Value;

use crate::transport;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service said no.
    #[error("{operation} answered {status}{}{}", Said { code, message }, Asked(*retry_after))]
    Service {
        /// Name of the API operation, for example `CreateContainerRepository`.
        operation: &'static str,
        /// The service, as its host names begin, for example `artifacts`.
        service: &'static str,
        /// The region that was asked, for example `sa-saopaulo-1`: the
        /// configured one, or for a change of IAM the home region.
        region: String,
        /// Who answered: host, and port when it is not the default one.
        host: String,
        /// HTTP status.
        status: u16,
        /// Oracle's error code; empty when the body had none.
        code: String,
        /// Oracle's message, or an excerpt of the body when it is not JSON.
        message: String,
        /// `opc-request-id`; empty when there was none.
        opc_request_id: String,
        /// How often it was asked.
        attempts: u32,
        /// Whether an attempt before ended without a word about what it did.
        unheard: bool,
        /// How long the service asked to wait, when that is longer than we
        /// wait, and why it was not asked again.
        retry_after: Option<Duration>,
        /// After a 401 whose answer has a date: by how many seconds our clock is
        /// ahead of the service's. Oracle refuses signatures that are off by
        /// more than five minutes.
        clock_skew: Option<i64>,
    },
    /// No answer: connection, TLS, time-out.
    #[error("{operation}: no answer from {host}")]
    Transport {
        /// Name of the API operation.
        operation: &'static str,
        /// Who did not answer.
        host: String,
        /// How often it was asked.
        attempts: u32,
        /// Whether an attempt before ended without a word about what it did.
        unheard: bool,
        /// Why, without the address's query.
        source: reqwest::Error,
    },
    /// An answer that could not be read.
    #[error("{operation}: unreadable answer")]
    Decode {
        /// Name of the API operation.
        operation: &'static str,
        /// `opc-request-id`.
        opc_request_id: String,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no credential to sign with.
    #[error("cannot sign in")]
    Credentials(#[from] std::sync::Arc<crate::credentials::Error>),
    /// The token endpoint took us for nobody: it answers a signature it does
    /// not accept with an anonymous token instead of an error.
    #[error("{host} took the request for an anonymous one")]
    Anonymous {
        /// The registry.
        host: String,
        /// By how many seconds our clock is ahead of the registry's, when its
        /// answer has a date.
        clock_skew: Option<i64>,
    },
    /// A setting that no request can be made from.
    #[error("{0}")]
    Configuration(String),
    /// The user interrupted the run.
    #[error("interrupted")]
    Stopped,
    /// The same, after an attempt whose answer was not heard: the service may
    /// have done what was asked for.
    #[error("interrupted")]
    StoppedUnheard,
}

impl Error {
    /// 404 with a code of Oracle's: missing, or not permitted. A 404 without one
    /// is a gateway's or a proxy's, and says nothing about the object.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404) && self.code().is_some_and(|code| !code.is_empty())
    }

    /// The name is taken.
    pub fn is_name_conflict(&self) -> bool {
        self.status() == Some(409) && self.code() == Some(code::NAMESPACE_CONFLICT)
    }

    /// The object is not what it was when it had the `etag` that was sent.
    pub fn is_stale(&self) -> bool {
        self.status() == Some(412)
    }

    /// 409, whatever the code.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Too many requests.
    pub fn is_throttled(&self) -> bool {
        self.status() == Some(429)
    }

    /// The signature was not accepted: key, fingerprint, clock, or a key that
    /// is not known everywhere yet.
    pub fn is_unauthenticated(&self) -> bool {
        self.status() == Some(401)
    }

    /// A change of IAM outside of the tenancy's home region.
    pub fn is_wrong_region(&self) -> bool {
        matches!(
            self,
            Error::Service { status: 403, code, message, .. }
                if code == code::NOT_ALLOWED
                    && message.to_ascii_lowercase().contains(HOME_REGION)
        )
    }

    /// The home region's key, as the message of such a refusal names it, for
    /// example `FRA`.
    pub fn home_region_key(&self) -> Option<&str> {
        let Error::Service { message, .. } = self else {
            return None;
        };
        if !self.is_wrong_region() {
            return None;
        }
        // Lowering ASCII letters moves none of them.
        let at = message.to_ascii_lowercase().find(HOME_REGION)? + HOME_REGION.len();
        let word = message[at..].split_whitespace().next()?;
        let word = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
        (word.len() == 3 && word.chars().all(|letter| letter.is_ascii_alphabetic())).then_some(word)
    }

    /// The user has all the auth tokens that one may have, or another limit of
    /// the service is reached.
    pub fn is_token_limit(&self) -> bool {
        matches!(
            self.code(),
            Some(code::USER_CAPACITY_EXCEEDED | code::LIMIT_EXCEEDED)
        )
    }

    /// Whether the run was stopped before there was an answer.
    pub fn is_stopped(&self) -> bool {
        matches!(self, Error::Stopped | Error::StoppedUnheard)
    }

    /// Whether the service may have done what was asked for, although it did not
    /// say so: it was silent, could not be understood, or failed half way. Who was
    /// turned away at the door was told nothing of the attempts before.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Error::Transport {
                source, unheard, ..
            } => *unheard || (!source.is_builder() && !source.is_connect()),
            Error::Service {
                status: 401 | 429,
                unheard,
                ..
            } => *unheard,
            Error::Service {
                status: 409,
                code,
                unheard,
                ..
            } => *unheard && code::IN_BETWEEN.contains(&code.as_str()),
            Error::Service { status, .. } => *status >= 500 && *status != 501,
            Error::Decode { .. } | Error::StoppedUnheard => true,
            _ => false,
        }
    }

    /// By how many seconds our clock is ahead of the service's, when a failed
    /// sign-in may be due to it.
    pub fn clock_skew(&self) -> Option<i64> {
        match self {
            Error::Service { clock_skew, .. } | Error::Anonymous { clock_skew, .. } => *clock_skew,
            _ => None,
        }
    }

    /// `opc-request-id`, when there is one.
    pub fn opc_request_id(&self) -> Option<&str> {
        match self {
            Error::Service { opc_request_id, .. } | Error::Decode { opc_request_id, .. }
                if !opc_request_id.is_empty() =>
            {
                Some(opc_request_id)
            }
            _ => None,
        }
    }

    /// The region that was asked, when somebody there answered.
    pub fn region(&self) -> Option<&str> {
        match self {
            Error::Service { region, .. } => Some(region),
            _ => None,
        }
    }

    /// How long the service asked to wait, when it was not asked again because
    /// of that.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Service { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Given up because of what the service asked for.
    pub(super) fn keep_retry_after(&mut self, asked: Option<Duration>) {
        if let Error::Service { retry_after, .. } = self {
            *retry_after = asked;
        }
    }

    /// The same after so many attempts, one of which may have been `lost`.
    pub(super) fn after(mut self, made: u32, lost: bool) -> Self {
        if let Error::Service {
            attempts, unheard, ..
        }
        | Error::Transport {
            attempts, unheard, ..
        } = &mut self
        {
            *attempts = made;
            *unheard = lost;
        }
        self
    }

    /// HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Service { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Oracle's code of a refusal, when there is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Service { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }
}

impl From<crate::transport::Stopped> for Error {
    fn from(_: crate::transport::Stopped) -> Self {
        Error::Stopped
    }
}

/// Codes that something depends on. All others are shown as they come.
pub(super) mod code {
    pub(crate) const INCORRECT_STATE: &str = "IncorrectState";
    pub(crate) const INSUFFICIENT_SERVICE_PERMISSIONS: &str = "InsufficientServicePermissions";
    pub(crate) const LIMIT_EXCEEDED: &str = "LimitExceeded";
    pub(crate) const LOCK_CONFLICT: &str = "LockConflict";
    pub(crate) const NAMESPACE_CONFLICT: &str = "NAMESPACE_CONFLICT";
    pub(crate) const NOT_ALLOWED: &str = "NotAllowed";
    pub(crate) const NOT_AUTHORIZED_OR_NOT_FOUND: &str = "NotAuthorizedOrNotFound";
    pub(crate) const NOT_AUTHORIZED_OR_RESOURCE_ALREADY_EXISTS: &str =
        "NotAuthorizedOrResourceAlreadyExists";
    pub(crate) const RELATED_RESOURCE_NOT_AUTHORIZED_OR_NOT_FOUND: &str =
        "RelatedResourceNotAuthorizedOrNotFound";
    pub(crate) const RESOURCE_ALREADY_EXISTS: &str = "ResourceAlreadyExists";
    pub(crate) const RESOURCE_DISABLED: &str = "ResourceDisabled";
    pub(crate) const USER_CAPACITY_EXCEEDED: &str = "UserCapacityExceeded";

    /// Those of a 409 that passes: something else is going on at the same time, which
    /// may be an earlier attempt of the same call.
    pub(crate) const IN_BETWEEN: [&str; 2] = [INCORRECT_STATE, LOCK_CONFLICT];
}

/// Code and message out of the body of a refusal. Gateways and identity
/// domains have bodies of their own. `scrub` takes secrets out of a text that
/// the service may have from the request.
pub(super) fn code_and_message(body: &[u8], scrub: impl Fn(&str) -> String) -> (String, String) {
    // What is cut off afterwards might else be half of a secret.
    let excerpt = || transport::excerpt(&scrub(&transport::words(body)), EXCERPT);
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
        return (String::new(), excerpt());
    };
    // The registry's way, in which its token endpoint answers, too.
    if let Some(Value::Array(errors)) = members.get_mut("errors")
        && !errors.is_empty()
        && let Value::Object(first) = errors.swap_remove(0)
    {
        members = first;
    }
    let text = |name: &str| match members.get(name) {
        Some(Value::String(text)) => Some(scrub(text)),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let code = text("code").unwrap_or_default();
    let message = ["message", "detail", "error_description"]
        .into_iter()
        .find_map(text);
    match message {
        Some(message) => (code, message),
        None => (code, excerpt()),
    }
}

/// `opc-request-id` of an answer.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get("opc-request-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// At most this many characters of a body that is not Oracle's are shown.
const EXCERPT: usize = 200;

const HOME_REGION: &str = "home region";

/// What the service said, as far as it said something.
struct Said<'a> {
    code: &'a str,
    message: &'a str,
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// What the service asked for, when it was too much.
struct Asked(Option<Duration>);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(asked) => write!(
                f,
                "; it asks to wait for {} seconds, which is too long",
                asked.as_secs()
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn refusal(status: u16, body: &str) -> Error {
        let (code, message) = code_and_message(body.as_bytes(), str::to_owned);
        Error::Service {
            operation: "CreateAuthToken",
            service: "identity",
            region: "sa-saopaulo-1".to_owned(),
            host: "identity.sa-saopaulo-1.oci.oraclecloud.com".to_owned(),
            status,
            code,
            message,
            opc_request_id: "ABC/DEF".to_owned(),
            attempts: 1,
            unheard: false,
            retry_after: None,
            clock_skew: None,
        }
    }

    /// Bodies as services, gateways and nobody write them.
    #[test]
    fn text_of_refusals() {
        let text = |status, body: &str| refusal(status, body).to_string();
        expect!["CreateAuthToken answered 409 NAMESPACE_CONFLICT: Repository already exists"]
            .assert_eq(&text(
                409,
                r#"{"code": "NAMESPACE_CONFLICT", "message": "Repository already exists"}"#,
            ));
        expect!["CreateAuthToken answered 503"].assert_eq(&text(503, ""));
        expect!["CreateAuthToken answered 502: 502 Bad Gateway"].assert_eq(&text(
            502,
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>",
        ));
        expect!["CreateAuthToken answered 400: Too bad"]
            .assert_eq(&text(400, r#"{"detail": "Too bad", "status": "400"}"#));
        expect![[r#"CreateAuthToken answered 400 17: {"code": 17}"#]]
            .assert_eq(&text(400, r#"{"code": 17}"#));
        expect![[r#"CreateAuthToken answered 400: ["code"]"#]].assert_eq(&text(400, r#"["code"]"#));
        let long = text(500, &"word ".repeat(1000));
        assert_eq!(
            long.chars().count(),
            "CreateAuthToken answered 500: ".len() + 201
        );
        expect!["CreateAuthToken answered 400: a b"].assert_eq(&text(400, "a\u{1b}b\n"));
    }

    /// The questions, each with the answer that makes it true.
    #[test]
    fn questions() {
        let body = |code: &str| format!(r#"{{"code": "{code}", "message": "m"}}"#);
        assert!(!refusal(404, "<html>no such page</html>").is_not_found());
        assert!(refusal(404, &body("NotAuthorizedOrNotFound")).is_not_found());
        assert!(refusal(409, &body("NAMESPACE_CONFLICT")).is_name_conflict());
        assert!(refusal(409, &body("NAMESPACE_CONFLICT")).is_conflict());
        assert!(!refusal(409, &body("Conflict")).is_name_conflict());
        assert!(refusal(412, &body("NoEtagMatch")).is_stale());
        assert!(refusal(429, &body("TooManyRequests")).is_throttled());
        assert!(refusal(401, &body("NotAuthenticated")).is_unauthenticated());
        for status in [400, 409] {
            assert!(refusal(status, &body("UserCapacityExceeded")).is_token_limit());
            assert!(refusal(status, &body("LimitExceeded")).is_token_limit());
        }
        assert!(!refusal(400, &body("QuotaExceeded")).is_token_limit());
        assert_eq!(refusal(400, &body("x")).opc_request_id(), Some("ABC/DEF"));
        assert!(!Error::Stopped.is_not_found());
    }

    /// IAM tells where to go, in its message only.
    #[test]
    fn home_region() {
        let key = |code: &str, message: &str| {
            let body = serde_json::json!({"code": code, "message": message}).to_string();
            let error = refusal(403, &body);
            (
                error.is_wrong_region(),
                error.home_region_key().map(str::to_owned),
            )
        };
        assert_eq!(
            key(
                "NotAllowed",
                "Please go to your home region FRA to execute CREATE, UPDATE and DELETE operations."
            ),
            (true, Some("FRA".to_owned()))
        );
        assert_eq!(
            key("NotAllowed", "Go to your HOME REGION <GRU>."),
            (true, Some("GRU".to_owned()))
        );
        assert_eq!(key("NotAllowed", "Only in the home region"), (true, None));
        assert_eq!(
            key("NotAllowed", "The home region is elsewhere."),
            (true, None)
        );
        assert_eq!(key("NotAllowed", "No."), (false, None));
        assert_eq!(key("NotAuthorized", "home region FRA"), (false, None));
    }

    proptest::proptest! {
        /// Whatever a service says when it refuses something, what is shown is short and in one line
        /// unless it is the message of Oracle's own form, and is scrubbed.
        #[test]
        fn any_refusal(
            members in crate::spoilt::json([
                serde_json::json!({"code": "NotAuthorizedOrNotFound", "message": "no hunter2 here"}),
                serde_json::json!({"schemas": ["x"], "detail": "hunter2", "status": "404"}),
            ]),
            text in crate::spoilt::text(&["<html><h1>hunter2</h1>", "hunter2\n{"]),
        ) {
            for body in [members.to_string(), text] {
                let (code, message) = code_and_message(body.as_bytes(), |text| text.replace("hunter2", "…"));
                proptest::prop_assert!(!code.contains("hunter2") && !message.contains("hunter2"));
                proptest::prop_assert!(code.len() + message.len() <= 3 * body.len() + EXCERPT);
            }
        }
    }
}
