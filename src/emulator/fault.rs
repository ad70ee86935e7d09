//! Faults: what goes wrong next, in one line.

use std::time::Duration;

/// What happens to a call instead of, or before, its answer.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Status {
        status: u16,
        code: Option<String>,
        message: Option<String>,
        retry_after: Option<u64>,
    },
    Cut {
        after_bytes: u64,
    },
    CutAnswer,
    Delay(Duration),
    Body {
        status: u16,
        text: String,
    },
}

impl Fault {
    /// Answers with a status and the service's usual body for it.
    pub fn status(status: u16) -> Self {
        Self {
            kind: Kind::Status {
                status,
                code: None,
                message: None,
                retry_after: None,
            },
        }
    }
    /// Answers with a status, a code and a message.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self {
            kind: Kind::Status {
                status,
                code: Some(code.into()),
                message: Some(message.into()),
                retry_after: None,
            },
        }
    }
    /// The same with `Retry-After` seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        if let Kind::Status { retry_after, .. } = &mut self.kind {
            *retry_after = Some(seconds);
        }
        self
    }
    /// Cuts the connection after so many bytes of the request's body; nothing happens.
    pub fn cut(after_bytes: u64) -> Self {
        Self {
            kind: Kind::Cut { after_bytes },
        }
    }
    /// Carries the call out, then cuts the connection before the answer.
    pub fn cut_answer() -> Self {
        Self {
            kind: Kind::CutAnswer,
        }
    }
    /// Waits first, then answers as usual.
    pub fn delay(delay: Duration) -> Self {
        Self {
            kind: Kind::Delay(delay),
        }
    }
    /// Answers with a body that is not the service's: a proxy's page, half a JSON.
    pub fn body(status: u16, text: &str) -> Self {
        Self {
            kind: Kind::Body {
                status,
                text: text.into(),
            },
        }
    }
}
