//! Reading images out of tar archives.
