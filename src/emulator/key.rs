//! RSA keys: those this emulator hands out, and those it verifies with.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, RsaPublicKeyComponents},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use md5::Md5;
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::{
    der::{BIT_STRING, Der, INTEGER, OBJECT_IDENTIFIER, SEQUENCE},
    state::{about, write_file},
};

/// An RSA key that somebody is given, and what is derived from it.
#[derive(Clone)]
pub(super) struct RsaKey {
    pub pem: String,
    pub public: PublicKey,
    /// As it is uploaded for a user.
    pub public_pem: String,
    /// As Oracle prints it: MD5 of the public key.
    pub fingerprint: String,
}

/// Whose key it is. Who gets a new key in exchange for an old one has two,
/// which take turns.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Purpose {
    ApiKey,
    Instance { odd: bool },
    Resource { odd: bool },
    Session,
}

/// What Oracle tells people to write below a key; its CLI warns without it.
const LABEL: &str = "OCI_API_KEY\n";

impl RsaKey {
    /// The key kept in one of the folders, else this process's, which then is kept there.
    pub(super) fn kept_in(folders: &[&Path]) -> io::Result<Self> {
        for folder in folders {
            let path = folder.join("key.pem");
            if path.exists() {
                let text = fs::read_to_string(&path).map_err(|error| about(&path, &error))?;
                let pem = text.strip_suffix(LABEL).unwrap_or(&text).to_owned();
                return Self::from_pem(pem).map_err(|error| about(&path, &error));
            }
        }
        Self::of_process(Purpose::ApiKey).map(|key| (*key).clone())
    }

    pub(super) fn keep_in(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder).map_err(|error| about(folder, &error))?;
        let path = folder.join("key.pem");
        write_file(&path, format!("{}{LABEL}", self.pem).as_bytes(), false)
    }

    /// Generated once in a process: a hundred tests need not wait for a hundred keys.
    pub(super) fn of_process(purpose: Purpose) -> io::Result<Arc<Self>> {
        static KEYS: Mutex<BTreeMap<Purpose, Arc<RsaKey>>> = Mutex::new(BTreeMap::new());
        let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&purpose) {
            return Ok(key.clone());
        }
        let key = Arc::new(Self::generate().map_err(io::Error::other)?);
        keys.insert(purpose, key.clone());
        Ok(key)
    }

    fn generate() -> Result<Self, String> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|error| error.to_string())?;
        let der: Pkcs8V1Der = pair.as_der().map_err(|error| error.to_string())?;
        Self::of_pair(pem("PRIVATE KEY", der.as_ref()), &pair)
    }

    fn from_pem(pem: String) -> Result<Self, String> {
        let pair = key_pair(&pem)?;
        Self::of_pair(pem, &pair)
    }

    fn of_pair(pem: String, pair: &RsaKeyPair) -> Result<Self, String> {
        let public: PublicKeyX509Der = pair
            .public_key()
            .as_der()
            .map_err(|error| error.to_string())?;
        let fingerprint: Vec<String> = Md5::digest(public.as_ref())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            pem,
            public: PublicKey::from_der(public.as_ref()).ok_or("not an RSA key")?,
            public_pem: self::pem("PUBLIC KEY", public.as_ref()),
            fingerprint: fingerprint.join(":"),
        })
    }
}

/// The key pair of a PKCS#8 file, as this emulator writes it.
pub(super) fn key_pair(pem: &str) -> Result<RsaKeyPair, String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("not a PKCS#8 key in PEM: {error}"))?;
    RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
        .map_err(|error| format!("not an RSA key: {error}"))
}

/// DER in the lines of a PEM file.
fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// A key that requests are verified with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PublicKey {
    /// Both big-endian, without leading zeros.
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl PublicKey {
    /// Of a SubjectPublicKeyInfo.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
        let mut whole = Der::new(der);
        let mut info = whole.enter(SEQUENCE)?;
        if info.enter(SEQUENCE)?.read(OBJECT_IDENTIFIER)? != RSA_ENCRYPTION {
            return None;
        }
        let bits = info.read(BIT_STRING)?.strip_prefix(&[0])?;
        let mut key = Der::new(bits).enter(SEQUENCE)?;
        let (modulus, exponent) = (key.read(INTEGER)?, key.read(INTEGER)?);
        let rest = whole.is_empty() && info.is_empty() && key.is_empty();
        let number = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].to_vec()
        };
        rest.then(|| Self {
            modulus: number(modulus),
            exponent: number(exponent),
        })
        .filter(|key| key.modulus.len() >= 256)
    }

    /// Of base64 in one line, or of a whole PEM file.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let base64 = match text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----") {
            None => text.to_owned(),
            Some(rest) => rest
                .strip_suffix("-----END PUBLIC KEY-----")?
                .lines()
                .map(str::trim)
                .collect(),
        };
        Self::from_der(&STANDARD.decode(base64).ok()?)
    }

    /// Of a JSON Web Key.
    pub(super) fn from_jwk(text: &str) -> Option<Self> {
        let jwk: Value = serde_json::from_str(text).ok()?;
        let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok();
        (jwk["kty"] == "RSA").then_some(Self {
            modulus: number("n")?,
            exponent: number("e")?,
        })
    }

    pub(super) fn jwk(&self) -> String {
        json!({
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
        })
        .to_string()
    }

    /// Whether the key's owner signed this.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let components = RsaPublicKeyComponents {
            n: &self.modulus,
            e: &self.exponent,
        };
        components
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kept key is read back with the same fingerprint, and garbage is an error with the path in it.
    #[test]
    fn kept_key() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let key = RsaKey::kept_in(&[folder.path()])?;
        key.keep_in(folder.path())?;
        assert_eq!(
            RsaKey::kept_in(&[folder.path()])?.fingerprint,
            key.fingerprint
        );

        fs::write(folder.path().join("key.pem"), "no key")?;
        let Err(error) = RsaKey::kept_in(&[folder.path()]) else {
            anyhow::bail!("garbage was accepted");
        };
        assert!(
            error.to_string().contains("key.pem: not a PKCS#8 key"),
            "{error}"
        );
        Ok(())
    }

    /// A public key is the same in each of the forms that clients send, and half of one is none.
    #[test]
    fn forms_of_a_public_key() -> anyhow::Result<()> {
        let key = RsaKey::of_process(Purpose::ApiKey)?;
        let der: PublicKeyX509Der = key_pair(&key.pem)
            .map_err(anyhow::Error::msg)?
            .public_key()
            .as_der()?;
        let der = der.as_ref();
        for text in [STANDARD.encode(der), pem("PUBLIC KEY", der)] {
            assert_eq!(PublicKey::from_text(&text).as_ref(), Some(&key.public));
            assert_eq!(PublicKey::from_text(&text[..text.len() / 2]), None);
        }
        assert_eq!(
            PublicKey::from_jwk(&key.public.jwk()).as_ref(),
            Some(&key.public)
        );
        assert_eq!(PublicKey::from_text(&key.pem), None);
        assert_eq!(PublicKey::from_jwk("{}"), None);
        Ok(())
    }
}
