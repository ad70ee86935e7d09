//! Faults: what goes wrong next, in one line.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

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
    /// A handler with a bug.
    #[cfg(test)]
    Panic,
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

/// Stands for every operation.
pub(super) const ANY: &str = "*";

/// What is to go wrong, by operation.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: HashMap<String, VecDeque<Fault>>,
    always: HashMap<String, Fault>,
}

impl Faults {
    pub(super) fn push(&mut self, operation: &str, fault: Fault) {
        self.next
            .entry(operation.into())
            .or_default()
            .push_back(fault);
    }
    pub(super) fn set(&mut self, operation: &str, fault: Fault) {
        self.always.insert(operation.into(), fault);
    }
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
    /// The fault that this call of an operation meets.
    pub(super) fn take(&mut self, operation: &str) -> Option<Fault> {
        let names = [operation, ANY];
        names
            .into_iter()
            .find_map(|name| self.next.get_mut(name).and_then(VecDeque::pop_front))
            .or_else(|| {
                names
                    .into_iter()
                    .find_map(|name| self.always.get(name))
                    .cloned()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults of one call come in order, then the lasting one, until all are cleared.
    #[test]
    fn order() {
        let mut faults = Faults::default();
        faults.set("GetUser", Fault::status(500));
        faults.push("GetUser", Fault::status(429).retry_after(1));
        faults.push("GetUser", Fault::cut_answer());

        let mut taken = || {
            faults
                .take("GetUser")
                .map(|fault| format!("{:?}", fault.kind))
        };
        assert!(
            taken().is_some_and(|kind| kind.contains("status: 429") && kind.contains("Some(1)"))
        );
        assert_eq!(taken().as_deref(), Some("CutAnswer"));
        assert!(taken().is_some_and(|kind| kind.contains("status: 500")));
        assert!(taken().is_some_and(|kind| kind.contains("status: 500")));
        assert!(faults.take("GetNamespace").is_none());

        faults.clear();
        assert!(faults.take("GetUser").is_none());
    }

    /// A fault for any operation is met by whatever comes, after those of its own name.
    #[test]
    fn any_operation() {
        let mut faults = Faults::default();
        faults.push(ANY, Fault::status(503));
        faults.push("GetUser", Fault::cut_answer());
        faults.set(ANY, Fault::status(500));

        let mut taken = |operation| match faults.take(operation).map(|fault| fault.kind) {
            Some(Kind::Status { status, .. }) => status,
            _ => 0,
        };
        let met = ["GetUser", "GetNamespace", "GetUser", "Ping"].map(&mut taken);
        assert_eq!(met, [0, 503, 500, 500]);
    }
}
