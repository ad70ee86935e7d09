//! Deterministic compression of layers.

/// Name and version of the algorithm and level; whatever changes a digest
/// changes this name.
pub const ALGORITHM: &str = "gzip-1m-libdeflate-1";
