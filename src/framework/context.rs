//! What a call knows beside its values.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::{Diagnostic, Diagnostics};

/// The surroundings of one call: the stop signal, private state, warnings.
#[derive(Debug, Default)]
pub struct Context {
    /// Cancelled when the user interrupts the run. Waits and long transfers
    /// end then; a request that may have created something is completed.
    pub stop: CancellationToken,
    /// What the provider remembers about an object beside its state.
    pub private: Private,
    warnings: Diagnostics,
}

/// Private state: small values under our own keys, invisible to users, stored
/// with the object. Never a place for secrets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Private(BTreeMap<String, Vec<u8>>);

impl Context {
    /// A context that is cancelled by `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            ..Self::default()
        }
    }
    /// Adds a warning to the answer.
    pub fn warn(&mut self, warning: Diagnostic) {
        self.warnings.push(warning);
    }
    /// Takes the warnings out.
    pub fn take_warnings(&mut self) -> Diagnostics {
        std::mem::take(&mut self.warnings)
    }
}

impl Private {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }
    /// Sets the value of a key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.insert(key.into(), value.into());
    }
    /// Forgets a key.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
}
