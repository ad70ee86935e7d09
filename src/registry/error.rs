//! What can go wrong, and the questions callers ask about it.

/// A registry call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry said no.
    #[error("{operation} at {host} answered {status} {code}: {message}")]
    Registry {
        /// What was tried, for example "upload of blob sha256:…".
        operation: String,
        /// Who answered.
        host: String,
        /// HTTP status.
        status: u16,
        /// Code of the first error of the body, for example `DENIED`; empty when there is none.
        code: String,
        /// Its message, or an excerpt of the body when it is not the envelope.
        message: String,
        /// `opc-request-id` or `x-request-id`; empty when there was none.
        request_id: String,
    },
    /// The user interrupted the run.
    #[error("interrupted")]
    Stopped,
}
