//! Why a source cannot be read.

/// A source that cannot be read. Texts name the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user interrupted the run.
    #[error("interrupted")]
    Stopped,
}
