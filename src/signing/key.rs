//! The private key: read, checked and described here, and used by nobody else.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use md5::{Digest, Md5};

/// An RSA private key that can sign. Its `Debug` shows the fingerprint only.
pub struct SigningKey {
    pair: KeyPair,
    public: Vec<u8>,
    fingerprint: String,
}

/// Why a private key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no key, or contradict themselves.
    #[error("is damaged")]
    Damaged,
    /// Oracle signs in with RSA only.
    #[error("is a key for {algorithm}, not for RSA")]
    NotRsa {
        /// Name of the algorithm.
        algorithm: &'static str,
    },
    /// Longer than anybody uses.
    #[error("has {bits} bits, more than the 8192 that can be used")]
    TooLong {
        /// Length of the modulus.
        bits: usize,
    },
    /// Oracle takes keys from 2048 bits on.
    #[error("has {bits} bits, fewer than the 2048 that are required")]
    TooShort {
        /// Length of the modulus.
        bits: usize,
    },
}

impl SigningKey {
    /// A new key of 2048 bits, for a session. Takes up to half a second of
    /// processor time, so it belongs off the runtime's threads.
    pub fn generate() -> Result<Self, KeyError> {
        Self::generate_of(KeySize::Rsa2048)
    }

    /// A new key of 3072 bits, which an identity domain asks for. Takes longer
    /// still than [`SigningKey::generate`].
    pub fn generate_long() -> Result<Self, KeyError> {
        Self::generate_of(KeySize::Rsa3072)
    }

    fn generate_of(size: KeySize) -> Result<Self, KeyError> {
        // The library has no other reason to fail than a lack of random bytes.
        Self::new(KeyPair::generate(size).map_err(|_| KeyError::Damaged)?)
    }

    /// From the DER of an `RSAPrivateKey` (PKCS#1).
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, KeyError> {
        check_length(der)?;
        Self::new(KeyPair::from_der(der).map_err(|_| KeyError::Damaged)?)
    }

    /// From the DER of a `PrivateKeyInfo` (PKCS#8).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        check_length(rsa_in_pkcs8(der)?)?;
        Self::new(KeyPair::from_pkcs8(der).map_err(|_| KeyError::Damaged)?)
    }

    /// The fingerprint as Oracle's console shows it: MD5 over the public key's
    /// DER, hexadecimal, lower case, with colons.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The public half, as the DER of a `SubjectPublicKeyInfo`.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256, which gives the same bytes every time.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .ok()?;
        Some(signature)
    }

    fn new(pair: KeyPair) -> Result<Self, KeyError> {
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
            .map_err(|_| KeyError::Damaged)?;
        let fingerprint = Md5::digest(public.as_ref())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(":");
        let public = public.as_ref().to_vec();
        Ok(Self {
            pair,
            public,
            fingerprint,
        })
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Looks at the modulus before the library does, which would say no more than
/// that it does not want the key.
fn check_length(pkcs1: &[u8]) -> Result<(), KeyError> {
    let (key, _) = element(pkcs1, SEQUENCE)?;
    let (_version, rest) = element(key, INTEGER)?;
    let (modulus, _) = element(rest, INTEGER)?;
    let leading = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = &modulus[leading..];
    let bits = match modulus.first() {
        Some(first) => modulus.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    };
    match bits {
        0..2048 => Err(KeyError::TooShort { bits }),
        2048..=8192 => Ok(()),
        _ => Err(KeyError::TooLong { bits }),
    }
}

/// The PKCS#1 key inside of a PKCS#8 one.
fn rsa_in_pkcs8(der: &[u8]) -> Result<&[u8], KeyError> {
    let (key, _) = element(der, SEQUENCE)?;
    let (_version, rest) = element(key, INTEGER)?;
    let (algorithm, rest) = element(rest, SEQUENCE)?;
    let (identifier, _) = element(algorithm, OBJECT_IDENTIFIER)?;
    if identifier != RSA_ENCRYPTION {
        let algorithm = OTHER_ALGORITHMS
            .iter()
            .find(|(prefix, _)| identifier.starts_with(prefix))
            .map_or("another algorithm", |(_, name)| *name);
        return Err(KeyError::NotRsa { algorithm });
    }
    let (pkcs1, _) = element(rest, OCTET_STRING)?;
    Ok(pkcs1)
}

/// The content of the DER element at the beginning, and what comes after it.
fn element(der: &[u8], tag: u8) -> Result<(&[u8], &[u8]), KeyError> {
    let [first, length, rest @ ..] = der else {
        return Err(KeyError::Damaged);
    };
    if *first != tag {
        return Err(KeyError::Damaged);
    }
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        // More than four bytes of length are no key.
        let count = usize::from(*length & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return Err(KeyError::Damaged);
        }
        let (length, rest) = rest.split_at(count);
        let length = length
            .iter()
            .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        (length, rest)
    };
    if rest.len() < length {
        return Err(KeyError::Damaged);
    }
    Ok(rest.split_at(length))
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// What else people have in a PKCS#8 file.
const OTHER_ALGORITHMS: &[(&[u8], &str)] = &[
    // 1.2.840.113549.1.1.10
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
        "RSA-PSS only",
    ),
    // 1.2.840.10040.4.1
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
    // 1.2.840.10045.2.1
    (
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01],
        "elliptic curves (EC)",
    ),
    // 1.3.101.112
    (&[0x2b, 0x65, 0x70], "Ed25519"),
];

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use expect_test::expect;
    use serde_json::Value;

    use super::*;

    fn der(pem: &str) -> anyhow::Result<Vec<u8>> {
        let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
        Ok(STANDARD.decode(body)?)
    }

    fn vectors() -> anyhow::Result<Value> {
        Ok(serde_json::from_str(include_str!(
            "../../tests/fixtures/signing-vectors.json"
        ))?)
    }

    /// Both encodings of one key have the published fingerprint.
    #[test]
    fn fingerprint_of_both_encodings() -> anyhow::Result<()> {
        let vectors = vectors()?;
        let pem = |name: &str| der(vectors["key"][name].as_str().unwrap_or_default());
        let pkcs1 = SigningKey::from_pkcs1_der(&pem("pkcs1_pem")?)?;
        let pkcs8 = SigningKey::from_pkcs8_der(&pem("pkcs8_pem")?)?;
        assert_eq!(pkcs1.fingerprint(), vectors["fingerprint"]);
        assert_eq!(pkcs8.fingerprint(), vectors["fingerprint"]);
        expect![[
            r#"SigningKey { fingerprint: "56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b", .. }"#
        ]]
        .assert_eq(&format!("{pkcs1:?}"));
        Ok(())
    }

    /// A key that cannot be used says why.
    #[test]
    fn other_keys_are_refused() -> anyhow::Result<()> {
        let pkcs8 = |pem: &str| -> anyhow::Result<Option<KeyError>> {
            Ok(SigningKey::from_pkcs8_der(&der(pem)?).err())
        };
        assert_eq!(
            pkcs8(include_str!("../../tests/fixtures/keys/rsa-1024.pem"))?,
            Some(KeyError::TooShort { bits: 1024 })
        );
        assert_eq!(
            pkcs8(include_str!("../../tests/fixtures/keys/ec-pkcs8.pem"))?,
            Some(KeyError::NotRsa {
                algorithm: "elliptic curves (EC)"
            })
        );
        assert_eq!(
            pkcs8(include_str!("../../tests/fixtures/keys/ed25519.pem"))?,
            Some(KeyError::NotRsa {
                algorithm: "Ed25519"
            })
        );
        Ok(())
    }

    /// Wherever a key is cut, or a byte of it is wrong, there is an error or a
    /// key, never a panic.
    #[test]
    fn damaged_keys_are_refused() -> anyhow::Result<()> {
        let vectors = vectors()?;
        let whole = der(vectors["key"]["pkcs8_pem"].as_str().unwrap_or_default())?;
        for length in 0..whole.len() {
            assert_eq!(
                SigningKey::from_pkcs8_der(&whole[..length]).err(),
                Some(KeyError::Damaged),
                "{length}"
            );
            assert!(SigningKey::from_pkcs1_der(&whole[..length]).is_err());
        }
        for index in 0..64 {
            let mut changed = whole.clone();
            changed[index] ^= 0x55;
            assert!(SigningKey::from_pkcs8_der(&changed).is_err(), "{index}");
        }
        Ok(())
    }
}
