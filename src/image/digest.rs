//! Content digests.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::Error;

/// `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// With its algorithm, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without its algorithm: the name of the blob's file in a layout.
    pub(super) fn hex(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl std::str::FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix(PREFIX) {
            Some(hex) if hex.len() == 64 && hex.bytes().all(is_hex) => Ok(Self(text.to_owned())),
            _ => Err(Error::DigestSyntax {
                text: text.to_owned(),
            }),
        }
    }
}

/// Makes a digest of bytes that come in pieces.
pub(super) struct Hasher(sha2::Sha256);

impl Hasher {
    pub(super) fn new() -> Self {
        Self(sha2::Sha256::new())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        let mut text = String::with_capacity(PREFIX.len() + 64);
        text.push_str(PREFIX);
        for byte in self.0.finalize() {
            write!(text, "{byte:02x}").expect("a string takes everything");
        }
        Digest(text)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

const PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The digest of nothing is the well-known one.
    #[test]
    fn digest_of_nothing() {
        expect!["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
            .assert_eq(Digest::of(b"").as_str());
    }

    /// What is printed is read back; the file name has no algorithm.
    #[test]
    fn round_trip() -> anyhow::Result<()> {
        let digest = Digest::of(b"layer");
        let read: Digest = digest.to_string().parse()?;
        assert_eq!(read, digest);
        assert_eq!(format!("sha256:{}", read.hex()), digest.as_str());
        Ok(())
    }

    /// Other algorithms, capitals, a wrong length and no algorithm are refused by name.
    #[test]
    fn refused() {
        let hex = "a".repeat(64);
        let bad = [
            String::new(),
            hex.clone(),
            format!("sha512:{hex}{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}a"),
            "sha256:../../../etc/passwd".to_owned(),
        ];
        for text in bad {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        let error = "sha512:00".parse::<Digest>().expect_err("not SHA-256");
        expect![[
            r#""sha512:00" is not a digest of the form "sha256:" and 64 lower-case hexadecimal digits"#
        ]]
        .assert_eq(&error.to_string());
    }
}
