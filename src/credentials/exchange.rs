//! One identity for another, over the network: requests of those who sign in,
//! and what can go wrong with them.

/// Why an exchange gave no credential. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
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
