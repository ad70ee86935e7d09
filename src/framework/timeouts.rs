//! How long operations may take: the block `timeouts`.
//!
//! A resource adds one member to its model, and gets the block that users know
//! from other providers:
//!
//! ```text
//! /// How long operations may take.
//! #[tf(block)]
//! timeouts: Attr<Timeouts>,
//! ```
//!
//! The server does the rest: it sets the deadline of each call
//! ([`Context::deadline`](super::Context::deadline)), stores the block as it is configured, and takes a
//! change of nothing else for what it is, an update that sends no request.

use std::{fmt, time::Duration};

use super::{Attr, Block, Model, model};
use crate::cty::Value;

/// The arguments of a `timeouts` block. A member of this type is named
/// `timeouts` and is a `block`; what a resource answers for it does not matter.
#[derive(Clone, Debug, Default, PartialEq, Model)]
pub struct Timeouts {
    /// How long creating may take, such as `90s` or `1h30m`.
    #[tf(optional, validate = is_duration)]
    pub create: Attr<String>,
    /// How long reading may take, each time the state is refreshed.
    #[tf(optional, validate = is_duration)]
    pub read: Attr<String>,
    /// How long updating may take.
    #[tf(optional, validate = is_duration)]
    pub update: Attr<String>,
    /// How long deleting may take. It counts as it was when it was last applied.
    #[tf(optional, validate = is_duration)]
    pub delete: Attr<String>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is removed.
    Delete,
    /// It is looked at.
    Read,
    /// It is changed.
    Update,
}

/// How long operations on a resource may take when the configuration does not
/// say. They count only for resources with a `timeouts` block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a create.
    pub create: Duration,
    /// Of a read.
    pub read: Duration,
    /// Of an update.
    pub update: Duration,
    /// Of a delete.
    pub delete: Duration,
}

/// The limit of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) operation: Operation,
    pub(super) duration: Duration,
}

impl Limits {
    /// The same for every operation.
    pub const fn each(limit: Duration) -> Self {
        Self {
            create: limit,
            read: limit,
            update: limit,
            delete: limit,
        }
    }

    /// The limit of an operation.
    pub const fn of(&self, operation: Operation) -> Duration {
        match operation {
            Operation::Create => self.create,
            Operation::Delete => self.delete,
            Operation::Read => self.read,
            Operation::Update => self.update,
        }
    }

    /// The limit of an operation on an object with this state or plan. A value
    /// that is no duration was refused before; one that is still there, in a
    /// state that somebody edited, counts as absent.
    pub(super) fn limit(&self, operation: Operation, object: &Value) -> Limit {
        let configured = object
            .get(BLOCK)
            .and_then(|block| block.get(operation.name()))
            .and_then(|value| match value {
                Value::String(text) => parse(text),
                _ => None,
            });
        Limit {
            operation,
            duration: configured.unwrap_or(self.of(operation)),
        }
    }

    /// Says the defaults in the descriptions of the block, if there is one.
    pub(super) fn describe(&self, schema: &mut Block) {
        let Some(nested) = schema.blocks.iter_mut().find(|block| block.name == BLOCK) else {
            return;
        };
        for operation in OPERATIONS {
            let name = operation.name();
            let mut attributes = nested.block.attributes.iter_mut();
            if let Some(attribute) = attributes.find(|attribute| attribute.name == name) {
                let default = Written(self.of(operation));
                attribute
                    .description
                    .push_str(&format!(" Defaults to `{default}`."));
            }
        }
    }
}

impl Default for Limits {
    /// Twenty minutes, as providers have it.
    fn default() -> Self {
        Self::each(DEFAULT)
    }
}

/// [`Limits::default`], where a constant is needed.
pub(super) const DEFAULT: Duration = Duration::from_secs(20 * 60);

impl Operation {
    /// Its name in the block.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Delete => "delete",
            Operation::Read => "read",
            Operation::Update => "update",
        }
    }
}

impl Limit {
    /// What a person does about a time that was too short.
    pub(super) fn advice(&self) -> String {
        let name = self.operation.name();
        let article = match self.operation {
            Operation::Update => "an",
            _ => "a",
        };
        let (limit, more) = (Written(self.duration), Written(self.duration * 2));
        format!(
            "It took longer than {limit}, the time that {article} {name} has. To give it more, set:\n\n    \
             timeouts {{\n      {name} = \"{more}\"\n    }}"
        )
    }
}

/// Whether a schema has the block.
pub(super) fn is_in(schema: &Block) -> bool {
    schema.blocks.iter().any(|block| block.name == BLOCK)
}

/// Whether two objects differ in this block, and in nothing else.
pub(super) fn only_difference(before: &Value, after: &Value) -> bool {
    let (Value::Map(before), Value::Map(after)) = (before, after) else {
        return false;
    };
    before.len() == after.len()
        && before.get(BLOCK) != after.get(BLOCK)
        && before
            .iter()
            .all(|(name, value)| name == BLOCK || after.get(name) == Some(value))
}

/// `object` with the block as `from` has it. What a resource answers does not
/// matter: a service knows nothing of it.
pub(super) fn carried(from: &Value, object: Value) -> Value {
    match (object, from.get(BLOCK)) {
        (Value::Map(mut members), Some(block)) if members.contains_key(BLOCK) => {
            members.insert(BLOCK.to_owned(), block.clone());
            Value::Map(members)
        }
        (object, _) => object,
    }
}

/// The block of a state that another provider wrote, as far as it is one.
pub(super) fn from_json(json: &serde_json::Value) -> Option<Value> {
    let theirs = json.get(BLOCK)?.as_object()?;
    let of = |operation: Operation| {
        let text = theirs
            .get(operation.name())
            .and_then(|value| value.as_str());
        Attr::from(text.filter(|text| parse(text).is_some()).map(str::to_owned))
    };
    let timeouts = Timeouts {
        create: of(Operation::Create),
        read: of(Operation::Read),
        update: of(Operation::Update),
        delete: of(Operation::Delete),
    };
    Some(model::encode(&Attr::Known(timeouts)))
}

/// The name of the block.
pub(super) const BLOCK: &str = "timeouts";

const OPERATIONS: [Operation; 4] = [
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Delete,
];

fn is_duration(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) if parse(text).is_some() => Ok(()),
        Value::String(text) => Err(format!(
            "must be a duration such as \"90s\", \"20m\" or \"1h30m\", not {text:?}"
        )),
        _ => Err("must be a duration such as \"90s\", \"20m\" or \"1h30m\"".to_owned()),
    }
}

/// A positive duration as Go writes it: numbers with units, from hours to
/// nanoseconds, in any order. Nothing can be done in no time, so zero is none.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| letter != '.' && !letter.is_ascii_digit())?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|letter: char| letter == '.' || letter.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanoseconds: u64 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            // Go takes both letters that look like a small mu.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let mut sum = whole.checked_mul(nanoseconds)?;
        let mut place = nanoseconds;
        for digit in fraction.bytes() {
            place /= 10;
            sum = sum.checked_add(u64::from(digit - b'0') * place)?;
        }
        total = total.checked_add(Duration::from_nanos(sum))?;
        rest = after;
    }
    (!total.is_zero() && total <= LONGEST).then_some(total)
}

/// Go's own limit is a little more than 292 years; ours keeps clocks from
/// overflowing, and nobody waits that long.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A duration as a person would write it in the block.
struct Written(Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) = (self.0.as_secs(), self.0.subsec_nanos());
        let mut written = false;
        for (count, unit) in [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(nanoseconds / 1_000_000), "ms"),
            (u64::from(nanoseconds / 1_000 % 1_000), "us"),
            (u64::from(nanoseconds % 1_000), "ns"),
        ] {
            if count > 0 {
                write!(f, "{count}{unit}")?;
                written = true;
            }
        }
        if written { Ok(()) } else { f.write_str("0s") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{ReadRequest, Server, model::object, sample};

    /// Durations as Go takes them, and what it does not take either.
    #[test]
    fn durations() {
        let milliseconds = |text| parse(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("20m", 1_200_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("+2ms", 2),
            ("30m1h", 5_400_000),
            ("1500us", 1),
            ("1500\u{b5}s", 1),
            ("2000000ns", 2),
            ("8784h", 31_622_400_000),
        ] {
            assert_eq!(milliseconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "0",
            "0s",
            "-1s",
            "5",
            "5 m",
            "5 minutes",
            "1d",
            "s",
            ".s",
            "1..5s",
            "1h-5m",
            "\u{661}s",
            "9999999999999999999h",
            "99999h",
            "1H",
            "1s ",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    /// What is suggested can be pasted: it is a duration again.
    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["1h30m", "20m", "90s", "1h1ms", "5us7ns"] {
            let duration = parse(text).expect("it is a duration");
            assert_eq!(parse(&Written(duration).to_string()), Some(duration));
        }
        assert_eq!(Written(Duration::from_secs(90)).to_string(), "1m30s");
        assert_eq!(Written(Duration::ZERO).to_string(), "0s");
    }

    /// A mistake is explained with what would be right, and where it is.
    #[test]
    fn mistakes_are_explained() {
        let block = Timeouts::block();
        let config = |create: Value| {
            let mut timeouts = Timeouts::default().encode();
            if let Value::Map(members) = &mut timeouts {
                members.insert("create".to_owned(), create);
            }
            timeouts
        };
        let problems = block.validate(&config("5 minutes".into()));
        let lines: Vec<_> = problems.iter().map(|problem| &*problem.detail).collect();
        expect_test::expect![[
            r#"Argument "create" must be a duration such as "90s", "20m" or "1h30m", not "5 minutes"."#
        ]]
        .assert_eq(&lines.join("\n"));
        assert!(block.validate(&config(Value::UNKNOWN)).is_empty());
        assert!(block.validate(&config("1h".into())).is_empty());
    }

    /// The limit of a call is what the object's own block says, or the default.
    #[test]
    fn limits() {
        let limits = Limits {
            create: Duration::from_secs(5),
            ..Limits::default()
        };
        let object = |delete: Value| {
            let timeouts = object([("create", Value::Null), ("delete", delete)]);
            object([("timeouts", timeouts)])
        };
        let limit = |operation, value: &Value| limits.limit(operation, value).duration.as_secs();
        assert_eq!(limit(Operation::Delete, &object("90s".into())), 90);
        assert_eq!(limit(Operation::Delete, &object("nonsense".into())), 1200);
        assert_eq!(limit(Operation::Create, &object("90s".into())), 5);
        assert_eq!(limit(Operation::Read, &Value::Null), 1200);
    }

    /// Another provider's block comes along, as far as it is understood.
    #[test]
    fn blocks_of_others() {
        let json =
            serde_json::json!({ "timeouts": { "create": "1h", "default": "2h", "delete": 5 } });
        let block = from_json(&json).unwrap_or(Value::Null);
        assert_eq!(block.get("create"), Some(&"1h".into()));
        assert_eq!(block.get("delete"), Some(&Value::Null));
        assert_eq!(block.get("default"), None);
        assert_eq!(from_json(&serde_json::json!({ "timeouts": null })), None);
        assert_eq!(from_json(&serde_json::json!({})), None);
    }

    /// The block is as it was configured, whatever the service answers; a change
    /// of nothing else recomputes nothing and asks nobody.
    #[tokio::test]
    async fn blocks_are_stored_and_change_nothing() {
        let (server, events) = sample::server("here".into()).await;
        let limits: &[_] = &[("create", "20m"), ("read", "1h")];
        let created = sample::apply(&server, &sample::config("", limits), &Value::Null).await;
        assert!(created.diagnostics.is_empty());
        assert_eq!(created.state, sample::stored("", limits));
        let request = ReadRequest {
            current: created.state.clone(),
            ..Default::default()
        };
        let read = server.read_resource("ocir_object", request).await;
        assert_eq!(read.state, created.state);
        let again = sample::plan(&server, &sample::config("", limits), &created.state).await;
        assert_eq!(again.planned, created.state);
        assert_eq!(events.take(), ["create", "read"]);

        let limits: &[_] = &[("delete", "1h")];
        let updated = sample::apply(&server, &sample::config("", limits), &created.state).await;
        assert_eq!(updated.state, sample::stored("", limits));
        let removed = sample::apply(&server, &sample::config("", &[]), &updated.state).await;
        assert_eq!(removed.state, sample::stored("", &[]));
        assert_eq!(events.take(), [""; 0]);

        // With another change beside it, it is an update like any other.
        let config = sample::config("change", limits);
        let planned = sample::plan(&server, &config, &created.state).await;
        assert_eq!(planned.planned.get("revision"), Some(&Value::UNKNOWN));
        sample::apply(&server, &config, &created.state).await;
        assert_eq!(events.take(), ["update"]);
    }

    /// Work that listens ends when its time is over, not before, and is told
    /// why; the message says what to change.
    #[tokio::test]
    async fn work_ends_in_time() {
        let (server, events) = sample::server("here".into()).await;
        let started = std::time::Instant::now();
        let config = sample::config("listen", &[("create", "300ms")]);
        let response = sample::apply(&server, &config, &Value::Null).await;
        let elapsed = started.elapsed();
        assert!((300..2300).contains(&elapsed.as_millis()), "{elapsed:?}");
        assert_eq!(events.take(), ["create", "timed out"]);
        assert_eq!(response.state, Value::Null);
        expect_test::expect![[r#"
            Error: Cannot wait: It is not ready.

            It took longer than 300ms, the time that a create has. To give it more, set:

                timeouts {
                  create = "600ms"
                }"#]]
        .assert_eq(&sample::lines(&response.diagnostics));

        let prior = sample::stored("listen", &[("delete", "50ms")]);
        let response = sample::delete(&server, &prior).await;
        assert_eq!(response.state, prior);
        let text = sample::lines(&response.diagnostics);
        assert!(text.contains("the time that a delete has"), "{text}");
        let request = ReadRequest {
            current: sample::stored("listen", &[]),
            ..Default::default()
        };
        let response = server.read_resource("ocir_object", request).await;
        let text = sample::lines(&response.diagnostics);
        assert!(
            text.contains("longer than 50ms, the time that a read has"),
            "{text}"
        );
    }

    /// An interrupt is told apart, before and after the time is over.
    #[tokio::test]
    async fn interrupts_are_no_timeouts() {
        let (server, events) = sample::server("here".into()).await;
        let config = sample::config("listen", &[("create", "1h")]);
        let request = sample::change(&server, &config, &Value::Null).await;
        let (response, ()) = tokio::join!(server.apply_resource("ocir_object", &request), async {
            tokio::task::yield_now().await;
            server.stop();
        });
        assert_eq!(events.take(), ["create", "interrupted"]);
        assert_eq!(
            sample::lines(&response.diagnostics),
            "Error: Cannot wait: It is not ready."
        );

        let config = sample::config("nap listen", &[("create", "100ms")]);
        let request = sample::change(&server, &config, &Value::Null).await;
        let (_, ()) = tokio::join!(server.apply_resource("ocir_object", &request), async {
            tokio::task::yield_now().await;
            server.stop();
        });
        assert_eq!(events.take(), ["create", "interrupted"]);
    }

    /// Work that does not listen is given up, but for a create that has not said
    /// what exists: that is waited for.
    #[tokio::test]
    async fn work_that_does_not_listen_is_given_up() {
        let (server, _) = sample::server("here".into()).await;
        let limits: &[_] = &[
            ("create", "10ms"),
            ("update", "10ms"),
            ("delete", "10ms"),
            ("read", "10ms"),
        ];
        let hanging = sample::stored("hang", limits);
        let read = ReadRequest {
            current: hanging.clone(),
            ..Default::default()
        };
        let config = |act| sample::config(act, limits);
        let (hang, keep, nap) = (config("hang"), config("keep hang"), config("nap"));
        let before = sample::stored("", limits);
        let (read, updated, deleted, kept, made) = tokio::join!(
            server.read_resource("ocir_object", read),
            sample::apply(&server, &hang, &before),
            sample::delete(&server, &hanging),
            sample::apply(&server, &keep, &Value::Null),
            sample::apply(&server, &nap, &Value::Null),
        );
        assert_eq!(read.state, hanging);
        assert_eq!(updated.state, before);
        assert_eq!(deleted.state, hanging);
        assert_eq!(kept.state.get("id"), Some(&"object-1".into()));
        for diagnostics in [
            read.diagnostics,
            updated.diagnostics,
            deleted.diagnostics,
            kept.diagnostics,
        ] {
            let text = sample::lines(&diagnostics);
            assert!(text.starts_with("Error: Operation timed out"), "{text}");
            assert!(text.contains("longer than 10ms"), "{text}");
        }
        assert!(made.diagnostics.is_empty());
        assert_eq!(made.state, sample::stored("nap", limits));
    }

    /// Users read the defaults where they read the arguments.
    #[test]
    fn defaults_are_described() {
        let server = Server::new(sample::Sample(sample::Events::default()));
        let schema = server.resource_schema("ocir_object").cloned();
        let schema = schema.unwrap_or_else(|| panic!("it is served"));
        let attributes = schema.block.blocks[0].block.attributes.iter();
        let lines: Vec<_> = attributes
            .map(|attribute| &*attribute.description)
            .collect();
        expect_test::expect![[r#"
            How long creating may take, such as `90s` or `1h30m`. Defaults to `10m`.
            How long reading may take, each time the state is refreshed. Defaults to `50ms`.
            How long updating may take. Defaults to `10m`.
            How long deleting may take. It counts as it was when it was last applied. Defaults to `10m`."#]]
        .assert_eq(&lines.join("\n"));
    }

    proptest::proptest! {
        /// Whatever is written as a duration is one or is refused; none is longer than what the
        /// clock can reckon with.
        #[test]
        fn any_duration(text in crate::spoilt::text(&["1h30m", "1.5h", "300ms", "-2m", "9223372036854775807ns"])) {
            if let Some(duration) = parse(&text) {
                proptest::prop_assert!(std::time::Instant::now().checked_add(duration).is_some());
            }
        }
    }
}
