//! What a server says, without the secrets that it repeats.
//!
//! Some servers and proxies print the request that they did not like, headers
//! included, and errors are read by more people than may know a password.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a client sends to sign in. Has no `Debug` on purpose.
pub struct Secrets {
    /// The password and what is made of it.
    lasting: Vec<String>,
    /// Tokens, the newest last.
    tokens: Mutex<VecDeque<String>>,
}

impl Secrets {
    /// `lasting` are kept as long as the client lives.
    pub fn new<'a>(lasting: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            lasting: lasting
                .into_iter()
                .filter(|secret| secret.len() >= SHORTEST)
                .flat_map(spellings)
                .collect(),
            tokens: Mutex::default(),
        }
    }

    /// One more token. A server speaks of the one that it was just sent, so the
    /// oldest are forgotten.
    pub fn add(&self, token: &str) {
        if token.len() < SHORTEST {
            return;
        }
        let mut tokens = self.tokens();
        if tokens.len() >= MOST_TOKENS {
            tokens.pop_front();
        }
        tokens.push_back(token.to_owned());
    }

    /// The text without our secrets, also where only the beginning of one stands,
    /// and without what looks like somebody's.
    pub fn scrub(&self, text: &str) -> String {
        let mut secrets = self.lasting.clone();
        secrets.extend(self.tokens().iter().flat_map(|token| spellings(token)));
        let mut text = text.to_owned();
        // Whole ones first: two may begin alike.
        for secret in &secrets {
            if text.contains(secret) {
                text = text.replace(secret, HIDDEN);
            }
        }
        for secret in &secrets {
            text = without_beginning(&text, secret);
        }
        without_lookalikes(&text)
    }

    fn tokens(&self) -> MutexGuard<'_, VecDeque<String>> {
        // Whole after every change, so that a panic elsewhere does not matter.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text without the beginning of a secret, which stands in a line that was cut.
fn without_beginning(text: &str, secret: &str) -> String {
    let Some((end, _)) = secret.char_indices().nth(TELLING) else {
        return text.to_owned();
    };
    let beginning = &secret[..end];
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(beginning) {
        kept.push_str(&rest[..at]);
        kept.push_str(HIDDEN);
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

const HIDDEN: &str = "[redacted]";

/// What the key id of one of Oracle's sessions begins with; its token follows.
const SESSION: &str = "ST$";

/// So many letters of a secret are no coincidence.
const TELLING: usize = 12;

/// Shorter ones are parts of ordinary words.
const SHORTEST: usize = 6;

const MOST_TOKENS: usize = 32;

const IN_A_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A secret as it stands in text, in JSON and in a URL.
fn spellings(secret: &str) -> Vec<String> {
    let mut spellings = vec![secret.to_owned()];
    let quoted = serde_json::Value::from(secret).to_string();
    let encoded = utf8_percent_encode(secret, IN_A_URL).to_string();
    for other in [quoted.trim_matches('"').to_owned(), encoded] {
        if !spellings.contains(&other) {
            spellings.push(other);
        }
    }
    spellings
}

/// Hides tokens that are not known here: what follows the name of a scheme or of
/// a secret member, and whatever has the shape of a JWT.
fn without_lookalikes(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = &rest[..run(rest, is_token)];
        if word.is_empty() {
            shown.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        rest = &rest[word.len()..];
        if let Some((before, token)) = word.split_once(SESSION)
            && !token.is_empty()
        {
            shown.push_str(&format!("{before}{SESSION}{HIDDEN}"));
            continue;
        }
        if word.contains("eyJ") && word.len() >= 20 {
            shown.push_str(HIDDEN);
            continue;
        }
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if let Some(value) = inline.filter(|_| is_secret_name(name)) {
            shown.push_str(name);
            shown.push('=');
            if value.is_empty() {
                // It follows in quotes.
                rest = hide_quoted(rest, &mut shown);
            } else {
                shown.push_str(HIDDEN);
                // The rest of a value that is no token.
                rest = &rest[run(rest, |c| !ends_value(c))..];
            }
            continue;
        }
        shown.push_str(word);
        if is_secret_name(word) {
            // A member of JSON, or of JSON in a string.
            let quotes = run(rest, |c| matches!(c, '"' | '\\' | '\''));
            let after = rest[quotes..].trim_start();
            if quotes > 0
                && let Some(value) = after.strip_prefix(':')
            {
                let gap = rest.len() - value.len();
                shown.push_str(&rest[..gap]);
                rest = hide_quoted(value, &mut shown);
            }
        } else if is_scheme(word.rsplit('=').next().unwrap_or(word)) {
            let gap = run(rest, char::is_whitespace);
            let value = &rest[gap..][..run(&rest[gap..], is_token)];
            if gap > 0 && looks_random(value) {
                shown.push_str(&rest[..gap]);
                shown.push_str(HIDDEN);
                rest = &rest[gap + value.len()..];
            }
        }
    }
    shown
}

/// Hides a value that begins with a quotation mark; leaves any other.
fn hide_quoted<'a>(text: &'a str, shown: &mut String) -> &'a str {
    let gap = run(text, char::is_whitespace);
    let quotes = run(&text[gap..], |c| matches!(c, '"' | '\\' | '\''));
    if quotes == 0 {
        return text;
    }
    let start = gap + quotes;
    let length = run(&text[start..], |c| !matches!(c, '"' | '\\' | '\''));
    shown.push_str(&text[..start]);
    if length > 0 {
        shown.push_str(HIDDEN);
    }
    &text[start + length..]
}

/// Bytes of the characters at the start that are like this.
fn run(text: &str, like: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !like(c)).unwrap_or(text.len())
}

/// What tokens and names consist of.
/// <https://www.rfc-editor.org/rfc/rfc9110#name-authentication-scheme>
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '=' | '$')
}

fn ends_value(c: char) -> bool {
    c.is_whitespace() || matches!(c, '&' | ',' | ';' | '"' | '\'' | '<' | '>' | '}')
}

fn is_scheme(word: &str) -> bool {
    ["basic", "bearer"]
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
}

fn is_secret_name(name: &str) -> bool {
    // What stands before it may be a path.
    let name = name.rsplit(['/', '.']).next().unwrap_or(name);
    let name = name.to_ascii_lowercase();
    ["token", "password", "secret", "signature", "passphrase"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether it is no word of a sentence.
fn looks_random(text: &str) -> bool {
    text.len() >= 8
        && text
            .chars()
            .skip(1)
            .any(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Our own secrets are hidden in every spelling that a server may use.
    #[test]
    fn own_secrets_are_hidden() {
        let secrets = Secrets::new(["p(a\"s;s", "short", "bnMvdXNlcjpw"]);
        secrets.add("opaque+token");
        let texts = [
            r#"you sent p(a"s;s and bnMvdXNlcjpw"#,
            r#"{"sent":"p(a\"s;s"}"#,
            "https://x/t?p=p%28a%22s%3Bs&o=opaque%2Btoken",
            "opaque+token, in short",
        ];
        let shown: Vec<String> = texts.iter().map(|text| secrets.scrub(text)).collect();
        expect![[r#"
            you sent [redacted] and [redacted]
            {"sent":"[redacted]"}
            https://x/t?p=[redacted]&o=[redacted]
            [redacted], in short"#]]
        .assert_eq(&shown.join("\n"));
    }

    /// Tokens of others are recognised by what stands before them or by their shape.
    #[test]
    fn lookalikes_are_hidden() {
        let secrets = Secrets::new([]);
        let texts = [
            "Authorization: Bearer abc.DEF-123_4 was refused",
            "authorization=basic dXNlcjpwYXNz",
            "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln is expired",
            r#"{"access_token": "abc", "refresh_token":"d e f","expires_in":3600}"#,
            r#"{"detail":"{\"refreshToken\": \"abc\"}"}"#,
            "see /v2/x?access_token=abc&x=1 and client_secret=\"a b\" or password=p(w)d!",
        ];
        let shown: Vec<String> = texts.iter().map(|text| secrets.scrub(text)).collect();
        expect![[r#"
            Authorization: Bearer [redacted] was refused
            authorization=basic [redacted]
            token [redacted] is expired
            {"access_token": "[redacted]", "refresh_token":"[redacted]","expires_in":3600}
            {"detail":"{\"refreshToken\": \"[redacted]\"}"}
            see /v2/x?access_token=[redacted]&x=1 and client_secret="[redacted]" or password=[redacted]"#]]
        .assert_eq(&shown.join("\n"));
    }

    /// A signed request that is repeated, whole or cut, and somebody else's session.
    #[test]
    fn sessions_and_signatures_are_hidden() {
        let secrets = Secrets::new([
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
            "delegated",
            "G+9oTxHNDbNROAK/zKKTLe5b9hOd6NsQGuz7nOvqayC7TzW==",
        ]);
        let texts = [
            "no such header: authorization: Signature keyId=\"ST$eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln\",signature=\"G+9oTxHNDbNROAK/zKKTLe5b9hOd6NsQGuz7nOvqayC7TzW==\"",
            "opc-obo-token: delegated, again: delegated.",
            "cut: ST$eyJhbGciOiJSUzI1NiJ9.eyJz… and G+9oTxHNDbNROAK/zK…",
            "cut, without its mark: eyJhbGciOiJSUzI1",
            "somebody's: ST$opaque-token_1.2, eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJ5In0.eA",
            "ST$ costs nothing, eyJ is no token, nor is keyId ocid1.tenancy.oc1..a/ocid1.user.oc1..b/12:34",
            "größer als 5 €: ST$ßtoken",
        ];
        let shown: Vec<String> = texts.iter().map(|text| secrets.scrub(text)).collect();
        expect![[r#"
            no such header: authorization: Signature keyId="ST$[redacted]",signature="[redacted]"
            opc-obo-token: [redacted], again: [redacted].
            cut: ST$[redacted]… and [redacted]…
            cut, without its mark: [redacted]
            somebody's: ST$[redacted], [redacted]
            ST$ costs nothing, eyJ is no token, nor is keyId ocid1.tenancy.oc1..a/ocid1.user.oc1..b/12:34
            größer als 5 €: ST$ßtoken"#]]
        .assert_eq(&shown.join("\n"));
    }

    /// Sentences stay as they are.
    #[test]
    fn sentences_stay() {
        let secrets = Secrets::new([]);
        for text in [
            "Anonymous users are only allowed read access on public repos",
            "Basic authentication required; Basic Authentication is off",
            "invalid token: expired at 2026-01-02T03:04:05Z",
            "the bearer token is missing, password wrong",
            "manifest sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 unknown",
            "größe = ßß, “zitiert” 日本語",
            "signature does not match",
            "",
        ] {
            assert_eq!(secrets.scrub(text), text);
        }
    }

    /// Only so many tokens are remembered.
    #[test]
    fn old_tokens_are_forgotten() {
        let secrets = Secrets::new([]);
        for number in 0..100 {
            secrets.add(&format!("token-number-{number}"));
        }
        assert_eq!(secrets.tokens().len(), MOST_TOKENS);
        assert_eq!(secrets.scrub("token-number-99"), HIDDEN);
    }

    proptest::proptest! {
        /// Whatever a server says, our secret does not come through, and a text without any stays
        /// readable: nothing is made longer than what hides things.
        #[test]
        fn any_text(
            text in crate::spoilt::text(&[
                r#"{"access_token": "hunter2hunter2", "refresh_token":"d e f","expires_in":3600}"#,
                "Authorization: Basic aHVudGVyMjpodW50ZXIy password=hunter2hunter2&x=1",
                "ST$eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln hunter2hunter",
            ]),
            before in "\\PC{0,10}",
        ) {
            let secrets = Secrets::new(["hunter2hunter2"]);
            let shown = secrets.scrub(&format!("{before}hunter2hunter2{text}"));
            proptest::prop_assert!(!shown.contains("hunter2hunte"), "{}", shown);
            proptest::prop_assert!(shown.len() <= HIDDEN.len() * (before.len() + text.len() + 14));
        }
    }
}
