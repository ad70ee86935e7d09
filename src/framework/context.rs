//! What a call knows beside its values.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
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
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The bytes that the host stores; none when there is nothing to remember.
    pub fn encode(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let values = self.0.iter();
        let values = values.map(|(key, value)| (key.clone(), STANDARD.encode(value).into()));
        let values: serde_json::Map<String, serde_json::Value> = values.collect();
        serde_json::json!({ "version": VERSION, "values": values })
            .to_string()
            .into_bytes()
    }
    /// What [`encode`](Self::encode) gave. Anything else, such as the private
    /// state of another provider that an object came from, is nothing to
    /// remember: private state may be lost at any time.
    pub fn decode(bytes: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else {
            return Self::default();
        };
        if json["version"] != VERSION {
            return Self::default();
        }
        let values = json["values"].as_object().into_iter().flatten();
        Self(
            values
                .filter_map(|(key, value)| {
                    Some((key.clone(), STANDARD.decode(value.as_str()?).ok()?))
                })
                .collect(),
        )
    }
}

/// Raised when the form changes; older forms are then read here.
const VERSION: i64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// What was remembered is there again, and nothing is stored for nothing.
    #[test]
    fn private_round_trip() {
        let mut private = Private::default();
        assert!(private.encode().is_empty());
        private.set("tags", &b"\x00\xff"[..]);
        private.set("other", "text");
        assert_eq!(Private::decode(&private.encode()), private);
        assert_eq!(private.get("tags"), Some(&b"\x00\xff"[..]));
        private.remove("tags");
        private.remove("other");
        assert!(private.is_empty());
        expect_test::expect![[r#"{"values":{"a":"Yg=="},"version":1}"#]].assert_eq(
            &String::from_utf8_lossy(&{
                private.set("a", "b");
                private.encode()
            }),
        );
    }

    /// Private state of others, or of a later version, is nothing.
    #[test]
    fn private_of_others() {
        for bytes in [
            &b""[..],
            b"\xff",
            b"null",
            b"[]",
            b"{}",
            br#"{"version":1}"#,
            br#"{"version":1,"values":[]}"#,
            br#"{"version":2,"values":{"a":"Yg=="}}"#,
            br#"{"version":1,"values":{"a":1,"b":"%%"}}"#,
            br#"{"schema_version":"1"}"#,
        ] {
            assert!(Private::decode(bytes).is_empty(), "{bytes:?}");
        }
    }
}
