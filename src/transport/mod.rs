//! How HTTP is spoken: the client's construction and the retry policy. Knows
//! neither Oracle nor registries.

use std::time::Duration;

/// When a failed request is sent again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// No new attempt begins after this long.
    pub max_elapsed: Duration,
    /// Upper bound of one wait.
    pub max_delay: Duration,
    /// Whether to wait at all; tests do not.
    pub wait: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            max_elapsed: Duration::from_secs(600),
            max_delay: Duration::from_secs(30),
            wait: true,
        }
    }
}

impl RetryPolicy {
    /// The same decisions without the waits, for tests.
    pub fn without_waiting() -> Self {
        Self {
            wait: false,
            ..Self::default()
        }
    }
}

/// What a client is built from.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// PEM certificates to trust beside the system's.
    pub ca_certificates: Option<Vec<u8>>,
}

/// A client with our time-outs (connect 10 s, idle read 60 s, none in total),
/// no redirects followed, the environment's proxies.
pub fn http_client(_options: &Options) -> Result<reqwest::Client, reqwest::Error> {
    todo!()
}
