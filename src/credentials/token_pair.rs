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
    looked_at: Option<[Option<Stamp>; 3]>,
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
    fn read_settled(&self, now: SystemTime) -> ([Option<Stamp>; 3], Result<(Loaded, bool), Error>) {
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

    fn stamps(&self) -> [Option<Stamp>; 3] {
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
