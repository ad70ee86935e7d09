//! What tests feed to whatever reads a user's file or a server's answer: bytes of any
//! kind, and what was valid until somebody changed it.
//!
//! Seeds stand beside the parser that they are for. Cases that once failed are kept in
//! `proptest-regressions/`; `PROPTEST_CASES=20000` looks for more of them.
//!
//! Every file that reads what others wrote, and the tests that it withstands anything. Where
//! a property stands elsewhere, `answers::` are stories of `tests/it/answers.rs`, in which
//! what services answer is spoilt on its way, and `properties::` are those of
//! `src/image/properties.rs`. What each may take of the memory, `tests/it/hostile.rs` measures
//! for files; answers are read up to a limit that each caller gives. `tests/it/parsers.rs`
//! holds this table against the sources.
//!
//! | File | What it reads | Tests |
//! | --- | --- | --- |
//! | `credentials/certificate.rs` | an instance's certificate | `any_der` |
//! | `credentials/config_file.rs` | the configuration file of Oracle's CLI | `any_file` |
//! | `credentials/decrypt.rs` | keys with a passphrase | `any_der` |
//! | `credentials/exchange.rs` | answers with tokens, refusals, `Date`; files of tokens that are shown for others | `any_answer`, `any_evidence` |
//! | `credentials/instance.rs` | certificate, key and authority of an instance; delegation tokens | `any_identity` |
//! | `credentials/jwt.rs` | JSON Web Tokens | `any_token` |
//! | `credentials/lookup.rs` | all variables and files that say how to sign in, together | `any_surroundings` |
//! | `credentials/metadata.rs` | what the metadata service says of the region; its address | `any_metadata` |
//! | `credentials/private_key.rs` | private keys | `any_file` |
//! | `credentials/resource_principal.rs` | the variables of a resource; what its token says | `any_variables` |
//! | `credentials/session.rs` | what a session's token says | `any_claims` |
//! | `credentials/token_exchange.rs` | the address of an identity domain; what its token says | `any_domain`, `any_claims` |
//! | `credentials/token_pair.rs` | files of a token, its key and the key's passphrase | `any_pair` |
//! | `credentials/workload.rs` | a cluster's answer; what tokens say of a workload | `any_answer`, `any_claims` |
//! | `cty/json.rs` | values as JSON | `round_trip`, `damaged_text`, `bottomless` |
//! | `cty/msgpack.rs` | values as MessagePack, with types | `round_trip`, `damaged_bytes`, `claimed_lengths`, `bottomless` |
//! | `cty/number.rs` | numbers | `canonical_is_a_fixed_point` |
//! | `framework/context.rs` | private state | `any_private_state` |
//! | `framework/server.rs` | states and identities, also of older versions | `any_state` |
//! | `framework/timeouts.rs` | durations | `any_duration` |
//! | `goplugin/handshake.rs` | the variables that a host sets | `any_environment` |
//! | `goplugin/listener.rs` | the file of groups | `any_groups` |
//! | `image/archive.rs` | tar | `properties::archives_of_any_shape`, `properties::spoilt_archives` |
//! | `image/cache.rs` | records of the cache; its size | `any_size`, `properties::any_record` |
//! | `image/daemon.rs` | answers of a container daemon | `any_answer`, `any_daemon` |
//! | `image/digest.rs` | digests | `properties::any_text` |
//! | `image/docker.rs` | what `docker save` writes | `properties::any_documents`, `properties::spoilt_archives` |
//! | `image/layout.rs` | image layouts | `properties::any_documents` |
//! | `image/manifest.rs` | manifests and indexes | `properties::any_documents`, `properties::any_registry` |
//! | `image/name.rs` | names of images | `any_text` |
//! | `image/options.rs` | platforms | `properties::any_text` |
//! | `image/properties.rs` | everything of `image` that stands in files | `any_documents`, `any_registry`, `any_text`, `any_record` |
//! | `image/source.rs` | sources of images | `properties::any_text` |
//! | `image/stream.rs` | archives that come in one piece | `properties::spoilt_archives`, `properties::order_does_not_matter` |
//! | `image/walk.rs` | documents that lead to others | `properties::any_documents`, `properties::any_registry` |
//! | `oci/client.rs` | answers of the control plane: objects, pages, headers | `answers::control_plane`, `answers::control_plane_of_images` |
//! | `oci/error.rs` | refusals of the control plane | `any_refusal` |
//! | `oci/hosts.rs` | `CLIENT_HOST_OVERRIDES`, addresses of services | `any_overrides` |
//! | `oci/registry_login.rs` | the answer to a login | `answers::control_plane_of_images` |
//! | `oci/registry_token.rs` | the subject of a registry token | `any_subject` |
//! | `protocol/service.rs` | a state that moves: JSON, and then what the resources do with it | `provider/resources/repository/moved.rs::any_state`, `provider/resources/auth_token/moved.rs::any_state` |
//! | `provider/clients.rs` | the argument `endpoint` | `any_endpoint` |
//! | `provider/config.rs` | variables that stand for arguments | `any_variables` |
//! | `provider/resources/auth_token/age.rs` | times of the service | `any_time` |
//! | `provider/resources/auth_token/mod.rs` | import identifiers; the age in private state | `any_import` |
//! | `provider/resources/auth_token/moved.rs` | states of Oracle's provider | `any_state` |
//! | `provider/resources/image_push/memory.rs` | what a push remembers in private state | `any_private_state` |
//! | `provider/resources/image_push/mod.rs` | digests and sources | `properties::any_text` |
//! | `provider/resources/image_push/promise.rs` | what an earlier plan wrote into the cache | `any_promise` |
//! | `provider/resources/image_push/push.rs` | platforms and digests | `properties::any_text` |
//! | `provider/resources/image_push/removal.rs` | an index that a registry gave | `any_index` |
//! | `provider/resources/repository/import.rs` | import identifiers | `any_import` |
//! | `provider/resources/repository/moved.rs` | states of Oracle's provider | `any_state` |
//! | `provider/validate.rs` | arguments | `any_argument` |
//! | `region/directory.rs` | descriptions and names of regions | `any_description` |
//! | `region/mod.rs` | names of regions | `region/directory.rs::any_description` |
//! | `registry/auth.rs` | `WWW-Authenticate`; answers with tokens | `any_challenge`, `answers::registry` |
//! | `registry/blob.rs` | `Range`, `OCI-Chunk-Min-Length`, lengths | `answers::registry` |
//! | `registry/client.rs` | lists of tags | `answers::registry` |
//! | `registry/docker_config.rs` | settings of Docker and podman; what credential helpers say | `any_file`, `any_helper`, `any_members` |
//! | `registry/error.rs` | refusals of registries | `any_refusal` |
//! | `registry/location.rs` | `Location` and `Link` | `any_location` |
//! | `registry/manifest.rs` | manifests, `Docker-Content-Digest` | `answers::registry` |
//! | `registry/pull.rs` | `Content-Range` | `any_range`, `answers::registry` |
//! | `registry/push.rs` | digests in refusals | `answers::registry` |
//! | `registry/reference.rs` | references | `any_reference` |
//! | `transport/page.rs` | pages of those who stand in between | `any_page` |
//! | `transport/proxy.rs` | addresses of proxies | `any_environment` |
//! | `transport/retry.rs` | `Retry-After` | `any_retry_after` |
//! | `transport/scrub.rs` | texts that may repeat a secret | `any_text` |
//! | `transport/tls.rs` | certificates to trust | `any_file` |

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
