//! One identity for another, over the network: requests of those who sign in,
//! and what can go wrong with them.

/// Why an exchange gave no credential. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Whoever waited was left without an answer.
    #[error("the exchange for a credential was broken off; run the command again")]
    Abandoned,
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
