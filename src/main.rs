//! The provider: logs to standard error, then serves.

fn main() {}
