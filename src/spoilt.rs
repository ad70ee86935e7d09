//! What tests feed to whatever reads a user's file or a server's answer: bytes of any
//! kind, and what was valid until somebody changed it.
//!
//! Seeds stand beside the parser that they are for. Cases that once failed are kept in
//! `proptest-regressions/`; `PROPTEST_CASES=20000` looks for more of them.

use proptest::{collection, prelude::*, sample};
use serde_json::{Map, Value};

/// Any bytes, or one of the seeds after some changes.
pub(crate) fn bytes<S>(seeds: impl IntoIterator<Item = S>) -> BoxedStrategy<Vec<u8>>
where
    S: Into<Vec<u8>>,
{
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(Into::into).collect();
    prop_oneof![
        1 => collection::vec(any::<u8>(), 0..300),
        4 => (sample::select(seeds), changes()).prop_map(|(seed, changes)| changes.of(seed)),
    ]
    .boxed()
}

/// The same as text.
pub(crate) fn text(seeds: &[&str]) -> BoxedStrategy<String> {
    let seeds = seeds.iter().map(|seed| seed.as_bytes());
    prop_oneof![
        1 => "\\PC{0,80}",
        5 => bytes(seeds).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
    .boxed()
}

/// JSON of the shape of a seed: members are missing, or have values of other kinds.
pub(crate) fn json(seeds: impl IntoIterator<Item = Value>) -> BoxedStrategy<Value> {
    let seeds: Vec<Value> = seeds.into_iter().collect();
    (sample::select(seeds), values())
        .prop_map(|(mut value, new)| {
            replace_all(&mut value, &new);
            value
        })
        .boxed()
}

/// What becomes of something.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    /// Of what is JSON.
    values: Vec<(sample::Index, Value)>,
    bytes: Vec<Change>,
}

/// Some changes, or none.
pub(crate) fn changes() -> BoxedStrategy<Changes> {
    prop_oneof![
        values().prop_map(|values| Changes {
            values,
            bytes: Vec::new()
        }),
        collection::vec(change(), 0..5).prop_map(|bytes| Changes {
            values: Vec::new(),
            bytes
        }),
    ]
    .boxed()
}

impl Changes {
    /// What becomes of these bytes.
    pub(crate) fn of(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if !self.values.is_empty()
            && let Ok(mut value) = serde_json::from_slice(&bytes)
        {
            replace_all(&mut value, &self.values);
            bytes = value.to_string().into_bytes();
        }
        for change in &self.bytes {
            change.make(&mut bytes);
        }
        bytes
    }
}

fn values() -> impl Strategy<Value = Vec<(sample::Index, Value)>> {
    collection::vec((any::<sample::Index>(), odd()), 0..4)
}

fn replace_all(value: &mut Value, new: &[(sample::Index, Value)]) {
    for (at, new) in new {
        let count = nodes(value);
        replace(value, &mut at.index(count), new);
    }
}

/// A change of a text or of bytes.
#[derive(Clone, Debug)]
enum Change {
    Byte(sample::Index, u8),
    Cut(sample::Index),
    Insert(sample::Index, Vec<u8>),
    Remove(sample::Index, sample::Index),
    Repeat(sample::Index, sample::Index, usize),
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let range = |one: &sample::Index, other: &sample::Index, length| {
            let (one, other) = (one.index(length), other.index(length));
            one.min(other)..one.max(other)
        };
        match self {
            Self::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(one, other) => {
                let range = range(one, other, bytes.len());
                bytes.drain(range);
            }
            Self::Repeat(one, other, times) => {
                let range = range(one, other, bytes.len());
                let end = range.end;
                let again = bytes[range].repeat(*times);
                bytes.splice(end..end, again);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<sample::Index>;
    // What separates, quotes, nests or ends something in the formats that are read here.
    let telling = sample::select(vec![
        "\"",
        "\\",
        "'",
        "<",
        ">",
        "=",
        ",",
        ";",
        ":",
        "[",
        "]",
        "{",
        "}",
        "//",
        "@",
        "%",
        "%00",
        "..",
        "../",
        "\n",
        "\r\n",
        "\0",
        " ",
        "-",
        "-1",
        "0",
        "9223372036854775808",
        "18446744073709551616",
        "1e999",
        "null",
        "\u{feff}",
        "é",
        "漢",
        "\u{202e}",
        "-----BEGIN ",
        "-----END ",
        "-----",
    ]);
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        index().prop_map(Change::Cut),
        (index(), telling).prop_map(|(at, new)| Change::Insert(at, new.into())),
        (index(), collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, new)| Change::Insert(at, new)),
        (index(), index()).prop_map(|(one, other)| Change::Remove(one, other)),
        (index(), index(), 1..40_usize)
            .prop_map(|(one, other, times)| Change::Repeat(one, other, times)),
    ]
}

/// A value that is not what belongs there.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from(u64::MAX)),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::from("é".repeat(10_000))),
        Just(Value::from(Vec::<Value>::new())),
        Just(Value::from(Map::new())),
        Just(Value::from(vec![Value::Null; 40])),
        Just((0..120).fold(Value::Null, |inner, _| Value::from(vec![inner]))),
    ]
}

/// How many values a value is made of, itself included.
fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(members) => members.values().map(nodes).sum::<usize>(),
        _ => 0,
    }
}

/// Puts `new` where the value with this number is.
fn replace(value: &mut Value, number: &mut usize, new: &Value) -> bool {
    if *number == 0 {
        value.clone_from(new);
        return true;
    }
    *number -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| replace(item, number, new)),
        Value::Object(members) => members.values_mut().any(|item| replace(item, number, new)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every value of a value can be replaced, by its number.
    #[test]
    fn each_value_is_reached() {
        let whole = json!({"a": [1, {"b": 2}], "c": 3});
        let changed: Vec<String> = (0..nodes(&whole))
            .map(|mut number| {
                let mut value = whole.clone();
                assert!(replace(&mut value, &mut number, &Value::Null));
                value.to_string()
            })
            .collect();
        assert_eq!(
            changed,
            [
                "null",
                r#"{"a":null,"c":3}"#,
                r#"{"a":[null,{"b":2}],"c":3}"#,
                r#"{"a":[1,null],"c":3}"#,
                r#"{"a":[1,{"b":null}],"c":3}"#,
                r#"{"a":[1,{"b":2}],"c":null}"#,
            ]
        );
    }
}
