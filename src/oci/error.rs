//! What can go wrong, and the questions callers ask about it.

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service said no.
    #[error("{operation} answered {status} {code}: {message}")]
    Service {
        /// Name of the API operation, for example `CreateContainerRepository`.
        operation: &'static str,
        /// HTTP status.
        status: u16,
        /// Oracle's error code; empty when the body had none.
        code: String,
        /// Oracle's message, or an excerpt of the body when it is not JSON.
        message: String,
        /// `opc-request-id`; empty when there was none.
        opc_request_id: String,
    },
    /// No answer: connection, TLS, time-out.
    #[error("{operation}: no answer from {host}")]
    Transport {
        /// Name of the API operation.
        operation: &'static str,
        /// Who did not answer.
        host: String,
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
    Credentials(#[from] crate::credentials::Error),
    /// The token endpoint took us for nobody: it answers a signature it does
    /// not accept with an anonymous token instead of an error.
    #[error("{host} took the request for an anonymous one")]
    Anonymous {
        /// The registry.
        host: String,
    },
    /// A setting that no request can be made from.
    #[error("{0}")]
    Configuration(String),
    /// The user interrupted the run.
    #[error("interrupted")]
    Stopped,
}

impl Error {
    /// 404, whatever the code: missing, or not permitted.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Service { status: 404, .. })
    }
    /// The name is taken.
    pub fn is_name_conflict(&self) -> bool {
        matches!(self, Error::Service { status: 409, code, .. } if code == "NAMESPACE_CONFLICT")
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
}
