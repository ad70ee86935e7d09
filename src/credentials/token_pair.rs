//! A security token and the key that belongs to it, as somebody else keeps them
//! for us: in files that are rewritten now and then, or in variables.
//!
//! The two are changed together. Whoever rewrites the files does so one after
//! the other, so what is read in between is put aside, and the pair that was
//! there before serves as long as it is valid.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{
    Credential, Error,
    jwt::Claims,
    private_key,
    values::{key_error, read_file},
};
use crate::signing::SigningKey;

/// Where a text is.
#[derive(Clone)]
pub(super) enum Place {
    /// Here. A secret.
    Here {
        text: String,
        named_by: String,
    },
    File {
        path: PathBuf,
        named_by: String,
    },
}

impl Place {
    /// For a message: the file, or what holds the text.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Here { named_by, .. } => named_by.clone(),
            Place::File { path, .. } => path.display().to_string(),
        }
    }

    fn read(&self, what: &'static str) -> Result<String, Error> {
        match self {
            Place::Here { text, .. } => Ok(text.clone()),
            Place::File { path, named_by } => read_file(path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|source| Error::TokenFile {
                    what,
                    path: path.display().to_string(),
                    named_by: named_by.clone(),
                    source,
                }),
        }
    }

    /// What tells whether a file was written since. Cheap.
    fn stamp(&self) -> Option<Stamp> {
        match self {
            Place::Here { .. } => None,
            Place::File { path, .. } => Stamp::of(path),
        }
    }
}

/// When a file was written, and its size.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(SystemTime, u64);

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self(metadata.modified().ok()?, metadata.len()))
    }
}

/// Of token, key and passphrase.
type Stamps = [Option<Stamp>; 3];

/// A token, its key, and the key's passphrase.
pub(super) struct TokenPair {
    /// For a message: "the session token".
    pub(super) what: &'static str,
    /// What else tells it from others, for a message: " (profile ci)".
    pub(super) whose: String,
    pub(super) token: Place,
    pub(super) key: Place,
    pub(super) passphrase: Option<Place>,
    /// Where a passphrase may stand, for a message.
    pub(super) passphrase_places: String,
    /// How to get another token, for a message; begins with a small letter, and
    /// may end with a command on a line of its own.
    pub(super) remedy: String,
    pub(super) state: State,
}

/// What was read last.
#[derive(Default)]
pub(super) struct State(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    looked_at: Option<Stamps>,
    good: Option<Loaded>,
}

/// A pair that was read.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) credential: Arc<Credential>,
    pub(super) claims: Claims,
    ends: SystemTime,
}

impl Loaded {
    /// From when on to look for another pair, and until when this one is of use.
    pub(super) fn span(
        &self,
        now: SystemTime,
        instant: Instant,
        retry: bool,
    ) -> (Instant, Instant) {
        let left = self.ends.duration_since(now).unwrap_or_default();
        // An end that is centuries away is as good as one tomorrow.
        let left = left.min(LONGEST);
        let expires_at = instant + left;
        let renew_in = if retry {
            RETRY
        } else {
            left.saturating_sub(AHEAD).max(RETRY)
        };
        (expires_at.min(instant + renew_in), expires_at)
    }
}

impl TokenPair {
    /// The pair as it is now, and whether it is the old one, because a new one
    /// is only half there.
    pub(super) fn load(&self, now: SystemTime) -> Result<(Loaded, bool), Error> {
        let (stamps, read) = self.read_settled(now);
        let mut memory = self.memory();
        memory.looked_at = Some(stamps);
        let old = memory.good.as_ref().filter(|old| old.ends > now);
        match (read, old) {
            (Ok((loaded, true)), _) => {
                memory.good = Some(loaded.clone());
                Ok((loaded, false))
            }
            (Ok((_, false)), Some(old)) => {
                tracing::debug!(
                    token = self.token.name(),
                    "the token and the key do not belong together yet; the ones before still serve"
                );
                Ok((old.clone(), true))
            }
            (Ok((loaded, false)), None) => {
                // The service knows better than we do.
                tracing::warn!(
                    token = self.token.name(),
                    key = self.key.name(),
                    "the token seems to be for another key"
                );
                memory.good = Some(loaded.clone());
                Ok((loaded, false))
            }
            (Err(error), Some(old)) => {
                tracing::debug!(
                    token = self.token.name(),
                    %error,
                    "the token cannot be read again; the one before still serves"
                );
                Ok((old.clone(), true))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Whether a file was written since it was last read.
    pub(super) fn is_outdated(&self) -> bool {
        let memory = self.memory();
        memory
            .looked_at
            .is_some_and(|looked_at| looked_at != self.stamps())
    }

    /// What was read last, when it was good.
    pub(super) fn loaded(&self) -> Option<Loaded> {
        self.memory().good.clone()
    }

    /// Reads until nothing changed meanwhile, a few times at most.
    fn read_settled(&self, now: SystemTime) -> (Stamps, Result<(Loaded, bool), Error>) {
        let mut stamps = self.stamps();
        let mut read = self.read(now);
        for _ in 0..2 {
            let after = self.stamps();
            if after == stamps {
                break;
            }
            stamps = after;
            read = self.read(now);
        }
        (stamps, read)
    }

    /// The pair, and whether it belongs together as far as the token tells.
    fn read(&self, now: SystemTime) -> Result<(Loaded, bool), Error> {
        let token = self.token.read(self.what)?;
        // Editors and `echo` end a file with a line break.
        let token = token.trim();
        let Some(claims) = is_whole(token).then(|| Claims::of(token)).flatten() else {
            return Err(Error::NoToken {
                what: self.what,
                place: self.place(),
                remedy: self.remedy.clone(),
            });
        };
        let ends = claims.expires().unwrap_or(now + UNTOLD);
        if ends <= now {
            return Err(Error::TokenEnded {
                what: self.what,
                place: self.place(),
                ended: moment(ends),
                remedy: self.remedy.clone(),
            });
        }
        let key = self.key.read("the private key")?;
        let passphrase = match &self.passphrase {
            Some(place) => Some(place.read("the passphrase")?),
            None => None,
        };
        let passphrase = passphrase
            .as_deref()
            .map(|text| text.trim_end_matches(['\r', '\n']))
            .filter(|text| !text.is_empty());
        let key_from = self.key.name();
        let key = private_key::read(&key, passphrase).map_err(|problem| {
            let passphrase_from = self.passphrase.as_ref().map(Place::name);
            key_error(problem, key_from, passphrase_from, &self.passphrase_places)
        })?;
        let belong_together = is_for(&claims, &key);
        let loaded = Loaded {
            credential: Arc::new(Credential {
                key_id: format!("ST${token}"),
                key: Arc::new(key),
                delegation_token: None,
            }),
            claims,
            ends,
        };
        Ok((loaded, belong_together))
    }

    fn place(&self) -> String {
        format!("{}{}", self.token.name(), self.whose)
    }

    fn stamps(&self) -> Stamps {
        let passphrase = self.passphrase.as_ref().and_then(Place::stamp);
        [self.token.stamp(), self.key.stamp(), passphrase]
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing in here is left half done by a panic.
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a token has its three parts, and nothing that cannot stand in a
/// header.
fn is_whole(token: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
    let parts: Vec<&str> = token.split('.').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(plain))
}

/// Whether the token is for this key. Tokens hold the public key it was made
/// for (`jwk`); one that does not may be for any.
fn is_for(claims: &Claims, key: &SigningKey) -> bool {
    let Some(jwk) = claims.text("jwk") else {
        return true;
    };
    let modulus = serde_json::from_str::<Value>(jwk).ok().and_then(|jwk| {
        URL_SAFE_NO_PAD
            .decode(jwk.get("n")?.as_str()?.trim_end_matches('='))
            .ok()
    });
    let Some(modulus) = modulus else {
        return true;
    };
    let modulus: &[u8] = match &*modulus {
        [0, rest @ ..] => rest,
        whole => whole,
    };
    modulus.len() < 128
        || key
            .public_key_der()
            .windows(modulus.len())
            .any(|window| window == modulus)
}

/// A time, for a message.
fn moment(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(MOMENT)
        .unwrap_or_else(|_| "a time long ago".to_owned())
}

const MOMENT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");

/// How long before its end a token is looked for anew.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// How soon a file that was half written, or should have been renewed by now,
/// is read again.
const RETRY: Duration = Duration::from_secs(2);

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long a token is used that does not say when it ends; a session lasts
/// an hour at most.
const UNTOLD: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use std::{fs, time::UNIX_EPOCH};

    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::credentials::jwt::token;

    /// Files of a session in a directory of our own; every write is a second
    /// later than the one before, as clocks of file systems are coarse.
    struct Files {
        directory: tempfile::TempDir,
        pair: TokenPair,
        writes: u64,
    }

    impl Files {
        fn new() -> anyhow::Result<Self> {
            let directory = tempfile::tempdir()?;
            let file = |name: &str| Place::File {
                path: directory.path().join(name),
                named_by: "the test".to_owned(),
            };
            let pair = TokenPair {
                what: "the session token",
                whose: String::new(),
                token: file("token"),
                key: file("key.pem"),
                passphrase: None,
                passphrase_places: "PASSPHRASE".to_owned(),
                remedy: "begin another one".to_owned(),
                state: State::default(),
            };
            let mut files = Self {
                directory,
                pair,
                writes: 0,
            };
            files.write("key.pem", OTHER_KEY)?;
            files.write("token", &token(&json!({"exp": 2000, "n": "first"})))?;
            Ok(files)
        }

        fn write(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
            let path = self.directory.path().join(name);
            fs::write(&path, text)?;
            self.writes += 1;
            let written = UNIX_EPOCH + Duration::from_secs(self.writes);
            Ok(fs::File::open(path)?.set_modified(written)?)
        }

        fn remove(&self, name: &str) -> anyhow::Result<()> {
            Ok(fs::remove_file(self.directory.path().join(name))?)
        }

        /// What is used at this time, and whether it is the old pair.
        fn load(&self, seconds: u64) -> Result<String, Error> {
            let (loaded, retry) = self.pair.load(at(seconds))?;
            let name = loaded.claims.text("n").unwrap_or("unnamed").to_owned();
            Ok(if retry { format!("still {name}") } else { name })
        }

        #[track_caller]
        fn fails(&self, seconds: u64, expected: Expect) {
            let text = match self.load(seconds) {
                Ok(name) => format!("no error: {name}"),
                Err(error) => format!("{:#}", anyhow::Error::new(error)),
            };
            expected.assert_eq(&text.replace(&*self.directory.path().to_string_lossy(), "DIR"));
        }
    }

    const OTHER_KEY: &str = include_str!("../../tests/fixtures/keys/other-rsa-2048.pem");

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn vectors() -> anyhow::Result<Value> {
        Ok(serde_json::from_str(include_str!(
            "../../tests/fixtures/signing-vectors.json"
        ))?)
    }

    /// What is written while we run is noticed, and used with its own key.
    #[test]
    fn renewal_is_noticed() -> anyhow::Result<()> {
        let mut files = Files::new()?;
        assert!(!files.pair.is_outdated(), "nothing was read yet");
        assert_eq!(files.load(1000)?, "first");
        assert!(!files.pair.is_outdated());
        let vectors = vectors()?;
        files.write(
            "key.pem",
            vectors["key"]["pkcs8_pem"].as_str().unwrap_or_default(),
        )?;
        // Blanks and line breaks around it are not a part of it.
        files.write(
            "token",
            &format!(" {}\r\n\n", token(&json!({"exp": 3000, "n": "second"}))),
        )?;
        assert!(files.pair.is_outdated());
        let (loaded, retry) = files.pair.load(at(1500))?;
        assert!(!retry && !files.pair.is_outdated());
        assert_eq!(loaded.credential.key.fingerprint(), vectors["fingerprint"]);
        assert_eq!(
            loaded.credential.key_id,
            format!("ST${}", token(&json!({"exp": 3000, "n": "second"})))
        );
        Ok(())
    }

    /// In the middle of a renewal there may be half a token, none, or half a
    /// key: the pair before serves until its end, and not longer.
    #[test]
    fn half_a_renewal_is_put_aside() -> anyhow::Result<()> {
        let whole = token(&json!({"exp": 3000, "n": "second"}));
        let mut files = Files::new()?;
        assert_eq!(files.load(1000)?, "first");
        for half in [
            "",
            "\n",
            &whole[..20],
            "no token at all",
            "e30.e30.",
            "a b.e30.c",
        ] {
            files.write("token", half)?;
            assert!(files.pair.is_outdated());
            assert_eq!(files.load(1999)?, "still first", "{half:?}");
            assert!(!files.pair.is_outdated(), "not read for every request");
        }
        files.fails(
            2000,
            expect![
                "DIR/token does not hold the session token, or only a part of it; begin another one"
            ],
        );
        files.remove("token")?;
        assert!(files.pair.is_outdated());
        assert_eq!(files.load(1999)?, "still first");
        files.fails(2000, expect!["cannot read the session token in DIR/token, which the test names: No such file or directory (os error 2)"]);
        files.write("token", &whole)?;
        files.write("key.pem", &OTHER_KEY[..900])?;
        assert_eq!(files.load(1999)?, "still first");
        files.fails(
            2000,
            expect!["the key in DIR/key.pem has no `-----END` line, so a part of it is missing"],
        );
        files.remove("key.pem")?;
        files.fails(2000, expect!["cannot read the private key in DIR/key.pem, which the test names: No such file or directory (os error 2)"]);
        files.write("key.pem", OTHER_KEY)?;
        assert!(files.pair.is_outdated());
        assert_eq!(files.load(2000)?, "second");
        // A token that had ended before it was written.
        files.write("token", &token(&json!({"exp": 1800, "n": "third"})))?;
        assert_eq!(files.load(2000)?, "still second");
        files.fails(
            3000,
            expect![
                "the session token in DIR/token ended at 1970-01-01 00:30:00 UTC; begin another one"
            ],
        );
        Ok(())
    }

    /// A new token beside the old key, told apart by the key in the token.
    #[test]
    fn token_for_another_key_waits_for_it() -> anyhow::Result<()> {
        let new_key = vectors()?["key"]["pkcs8_pem"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let public = private_key::read(&new_key, None).map_err(anyhow::Error::new)?;
        // A key of 2048 bits: 33 bytes before the modulus, 5 after it.
        let modulus = &public.public_key_der()[33..33 + 256];
        let jwk =
            json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus)}).to_string();
        let mut files = Files::new()?;
        assert_eq!(files.load(1000)?, "first");
        files.write(
            "token",
            &token(&json!({"exp": 3000, "n": "second", "jwk": jwk})),
        )?;
        assert_eq!(files.load(1500)?, "still first");
        files.write("key.pem", &new_key)?;
        assert_eq!(files.load(1500)?, "second");
        // With nothing to fall back to, the service decides.
        files.write("key.pem", OTHER_KEY)?;
        files.pair.state = State::default();
        assert_eq!(files.load(1500)?, "second");
        for odd in [
            "",
            "{}",
            "[1]",
            r#"{"n": 1}"#,
            r#"{"n": "AQ"}"#,
            r#"{"n": "?"}"#,
        ] {
            files.write(
                "token",
                &token(&json!({"exp": 3000, "n": "odd", "jwk": odd})),
            )?;
            assert_eq!(files.load(1500)?, "odd", "{odd}");
        }
        Ok(())
    }

    /// A key with a passphrase, which is missing, wrong, and then in a file.
    #[test]
    fn passphrases() -> anyhow::Result<()> {
        let mut files = Files::new()?;
        let vectors = vectors()?;
        let encrypted = &vectors["key"]["encrypted"]["pkcs8_encrypted_pbes2_aes256cbc_hmacsha256"];
        files.write("key.pem", encrypted.as_str().unwrap_or_default())?;
        files.fails(
            1000,
            expect![
                "the key in DIR/key.pem is encrypted, and its passphrase is missing; set PASSPHRASE"
            ],
        );
        files.write("passphrase", "incorrect donkey")?;
        files.pair.passphrase = Some(Place::File {
            path: files.directory.path().join("passphrase"),
            named_by: "the test".to_owned(),
        });
        files.fails(
            1000,
            expect![
                "the key in DIR/key.pem cannot be decrypted with the passphrase in DIR/passphrase"
            ],
        );
        files.write("passphrase", "correct horse\n")?;
        assert!(files.pair.is_outdated());
        assert_eq!(files.load(1000)?, "first");
        Ok(())
    }

    /// Asked for ahead of time, soon again when there was nothing new, and never
    /// used beyond the end.
    #[test]
    fn spans() -> anyhow::Result<()> {
        let instant = Instant::now();
        let spans = |exp: Option<u64>, now: u64, retry: bool| -> anyhow::Result<(u64, u64)> {
            let mut files = Files::new()?;
            let claims = match exp {
                Some(exp) => json!({ "exp": exp }),
                None => json!({}),
            };
            files.write("token", &token(&claims))?;
            let (loaded, _) = files.pair.load(at(now))?;
            let (renew_at, expires_at) = loaded.span(at(now), instant, retry);
            Ok((
                (renew_at - instant).as_secs(),
                (expires_at - instant).as_secs(),
            ))
        };
        assert_eq!(spans(Some(4600), 1000, false)?, (3300, 3600));
        assert_eq!(spans(Some(4600), 1000, true)?, (2, 3600));
        assert_eq!(spans(Some(4600), 4500, false)?, (2, 100));
        assert_eq!(spans(Some(4600), 4599, false)?, (1, 1));
        assert_eq!(spans(None, 1000, false)?, (3300, 3600));
        // An end beyond all calendars.
        assert_eq!(
            spans(Some(i64::MAX.unsigned_abs()), 1000, false)?,
            (86100, 86400)
        );
        Ok(())
    }

    proptest::proptest! {
        // Reading a key takes a while.
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: proptest::prelude::ProptestConfig::default().cases.div_ceil(4),
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever stands in the files of a token, its key and the key's passphrase: there is a
        /// pair that can be signed with, the same when it is read again, or an error that shows
        /// none of them.
        #[test]
        fn any_pair(
            claims in crate::spoilt::json([
                json!({"exp": 2000, "sub": "ocid1.user.oc1..a", "jwk": r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#}),
                json!({"iat": 1.5, "exp": 1e300, "jwk": json!({"n": "A".repeat(344)}).to_string()}),
            ]),
            text in proptest::option::of(crate::spoilt::text(&["e30.eyJleHAiOjIwMDB9.c2ln\n", "e30..", "\u{feff}e30.e30.e30"])),
            key in crate::spoilt::text(&[OTHER_KEY, ENCRYPTED_KEY]),
            passphrase in proptest::option::of(crate::spoilt::text(&["correct horse\n", "\r\n"])),
            now in 0..3000_u64,
        ) {
            let here = |text: &str| Place::Here { text: text.to_owned(), named_by: "HERE".to_owned() };
            let written = text.unwrap_or_else(|| token(&claims));
            let pair = TokenPair {
                what: "the session token",
                whose: String::new(),
                token: here(&written),
                key: here(&key),
                passphrase: passphrase.as_deref().map(here),
                passphrase_places: "PASSPHRASE".to_owned(),
                remedy: "begin another one".to_owned(),
                state: State::default(),
            };
            match pair.load(at(now)) {
                Ok((loaded, is_old)) => {
                    let key_id = &loaded.credential.key_id;
                    proptest::prop_assert!(!is_old && key_id.bytes().all(|byte| byte.is_ascii_graphic()));
                    for retry in [false, true] {
                        let instant = Instant::now();
                        let (renew_at, expires_at) = loaded.span(at(now), instant, retry);
                        proptest::prop_assert!(instant <= renew_at && renew_at <= expires_at);
                    }
                    let again = pair.load(at(now)).map(|(again, _)| again.credential.key_id.clone());
                    proptest::prop_assert_eq!(again.ok(), Some(key_id.clone()));
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    proptest::prop_assert!(error.len() < 600, "{}", error);
                    let secrets = key.lines().filter(|line| line.len() == 64).chain([written.trim()]);
                    for secret in secrets.filter(|secret| secret.len() > 20) {
                        proptest::prop_assert!(!error.contains(secret), "{}", error);
                    }
                }
            }
        }
    }

    const ENCRYPTED_KEY: &str =
        include_str!("../../tests/fixtures/keys/encrypted-aes192-traditional.pem");
}
