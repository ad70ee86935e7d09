//! What a service says is shown to people and written to logs. A gateway that
//! repeats the request's headers in its complaint must not put a token there.

use crate::credentials::Credential;

/// The secrets of one request.
pub(super) struct Secrets {
    known: Vec<String>,
}

impl Secrets {
    /// Those that a request carried: the session token, the delegation token,
    /// and the signature itself, which is good for five minutes.
    pub(super) fn new(credential: &Credential, authorization: &str) -> Self {
        let session = credential.key_id.strip_prefix(SESSION);
        let signature = authorization
            .split_once("signature=\"")
            .map(|(_, signature)| signature.trim_end_matches('"'));
        let known = [session, credential.delegation_token.as_deref(), signature];
        Self {
            known: known
                .into_iter()
                .flatten()
                .filter(|secret| !secret.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The text without them, and without what looks like a token of anybody's.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            text = without(&text, secret);
        }
        without_tokens(&text)
    }
}

/// A text without a secret, also where only its beginning stands, as in a line
/// that was cut.
fn without(text: &str, secret: &str) -> String {
    let beginning = match secret.char_indices().nth(TELLING) {
        Some((end, _)) => &secret[..end],
        None => secret,
    };
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(beginning) {
        kept.push_str(&rest[..at]);
        kept.push_str(REDACTED);
        let same = rest[at..]
            .chars()
            .zip(secret.chars())
            .take_while(|(left, right)| left == right)
            .map(|(letter, _)| letter.len_utf8())
            .sum::<usize>();
        rest = &rest[at + same..];
    }
    kept + rest
}

/// A text without session tokens (`ST$…`) and JSON Web Tokens (`eyJ….….…`).
fn without_tokens(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let next = [SESSION, JWT]
            .into_iter()
            .filter_map(|mark| Some((rest.find(mark)?, mark)))
            .min();
        let Some((at, mark)) = next else {
            return kept + rest;
        };
        let after = at + mark.len();
        let length = rest[after..]
            .bytes()
            .take_while(|byte| is_of_token(*byte))
            .count();
        let token = &rest[at..after + length];
        let is_token = match mark {
            JWT => token.len() > JWT.len() + TELLING && token.contains('.'),
            _ => length > 0,
        };
        kept.push_str(&rest[..at]);
        if is_token && mark == SESSION {
            kept.push_str(SESSION);
        }
        kept.push_str(if is_token { REDACTED } else { token });
        rest = &rest[after + length..];
    }
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte)
}

/// What the key id of a session begins with.
const SESSION: &str = "ST$";
/// What every JSON Web Token begins with: `{"` in base64.
const JWT: &str = "eyJ";
const REDACTED: &str = "[redacted]";
/// So many letters of a secret are no coincidence.
const TELLING: usize = 12;

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Whole, cut, twice, or somebody else's: no token and no signature stays;
    /// what is no secret does.
    #[test]
    fn nothing_secret_stays() {
        let secrets = Secrets {
            known: [
                "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
                "delegated",
                "G+9oTxHNDbNROAK/zKKTLe5b9hOd6NsQGuz7nOvqayC7TzW==",
            ]
            .map(str::to_owned)
            .into(),
        };
        let shown: Vec<String> = [
            "no such header: authorization: Signature keyId=\"ST$eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln\",signature=\"G+9oTxHNDbNROAK/zKKTLe5b9hOd6NsQGuz7nOvqayC7TzW==\"",
            "opc-obo-token: delegated, again: delegated.",
            "cut: ST$eyJhbGciOiJSUzI1NiJ9.eyJz… and G+9oTxHNDbNROAK/zK…",
            "cut, without its mark: eyJhbGciOiJSUzI1",
            "somebody's: ST$opaque-token_1.2, eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJ5In0.eA",
            "ST$ costs nothing, eyJ is no token, nor is keyId ocid1.tenancy.oc1..a/ocid1.user.oc1..b/12:34",
            "größer als 5 €: ST$ßtoken",
            "",
        ]
        .map(|text| secrets.scrub(text))
        .into();
        expect![[r#"
            no such header: authorization: Signature keyId="ST$[redacted]",signature="[redacted]"
            opc-obo-token: [redacted], again: [redacted].
            cut: ST$[redacted]… and [redacted]…
            cut, without its mark: [redacted]
            somebody's: ST$[redacted], [redacted]
            ST$ costs nothing, eyJ is no token, nor is keyId ocid1.tenancy.oc1..a/ocid1.user.oc1..b/12:34
            größer als 5 €: ST$ßtoken
        "#]]
        .assert_eq(&shown.join("\n"));
    }
}
