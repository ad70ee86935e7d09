//! A private key as people have it: PEM text, with the usual mistakes.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::decrypt;
use crate::signing::{KeyError, SigningKey};

/// Why a text is no key to sign with. Its sentence goes on after "the
/// key in …", and says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// A certificate.
    #[error(
        "is a certificate; the private key that belongs to it is needed, from `-----BEGIN PRIVATE KEY-----` on"
    )]
    Certificate,
    /// The bytes between the lines.
    #[error("is damaged; copy it once more, whole and in one piece")]
    Damaged,
    /// A passphrase is on it, and none was given.
    #[error("is encrypted, and there is no passphrase for it")]
    Encrypted,
    /// Nothing that begins like PEM.
    #[error(
        "is not in PEM form: there is no line such as `-----BEGIN PRIVATE KEY-----`. \
         A path belongs into private_key_path or OCI_CLI_KEY_FILE"
    )]
    NotPem,
    /// A key for something else than RSA.
    #[error(
        "is for {0}, and Oracle takes RSA keys only; `openssl genrsa -out oci_api_key.pem 2048` makes one"
    )]
    NotRsa(&'static str),
    /// The format of `ssh-keygen`.
    #[error("is in OpenSSH's format; `ssh-keygen -p -m PEM -f KEY` rewrites the file in PEM form")]
    OpenSsh,
    /// The other half.
    #[error("is the public key; the private one is needed, from `-----BEGIN PRIVATE KEY-----` on")]
    Public,
    /// Making the cipher's key would take longer than anybody wants to wait.
    #[error(
        "is encrypted with {0}, which is too much work to be undone each time the provider starts; \
         `openssl pkcs8 -topk8 -in KEY.pem -out NEWKEY.pem` encrypts it in the usual way"
    )]
    TooCostly(String),
    /// More than the library takes.
    #[error("has {0} bits, more than the 8192 that can be used")]
    TooLong(usize),
    /// Fewer than Oracle takes.
    #[error(
        "has {0} bits, and Oracle takes RSA keys from 2048 bits on; `openssl genrsa -out oci_api_key.pem 2048` makes one"
    )]
    TooShort(usize),
    /// The end line is missing.
    #[error("has no `-----END` line, so a part of it is missing")]
    Truncated,
    /// A cipher that nobody uses for this.
    #[error(
        "is encrypted in a way that cannot be read here ({0}); \
         `openssl pkcs8 -topk8 -in KEY.pem -out NEWKEY.pem` encrypts it in the usual way"
    )]
    UnknownEncryption(String),
    /// Another kind of PEM.
    #[error(
        "holds `-----BEGIN {0}-----`, which is no private key; `-----BEGIN PRIVATE KEY-----` or `-----BEGIN RSA PRIVATE KEY-----` is expected"
    )]
    UnknownLabel(String),
    /// A passphrase is on it, and it is another one.
    #[error("cannot be decrypted with the passphrase that was given")]
    WrongPassphrase,
}

impl From<KeyError> for KeyProblem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Damaged => KeyProblem::Damaged,
            KeyError::NotRsa { algorithm } => KeyProblem::NotRsa(algorithm),
            KeyError::TooLong { bits } => KeyProblem::TooLong(bits),
            KeyError::TooShort { bits } => KeyProblem::TooShort(bits),
        }
    }
}

/// Reads a key. What comes before the BEGIN line and after the END line is
/// ignored: Oracle tells people to append a line `OCI_API_KEY`. Literal `\n`
/// pairs, as an environment variable or a JSON text has them, are line breaks.
/// A passphrase for a key that has none is ignored, as Oracle's tools do.
pub(super) fn read(text: &str, passphrase: Option<&str>) -> Result<SigningKey, KeyProblem> {
    let text = text.replace("\\r", "").replace("\\n", "\n");
    let block = first_block(&text)?;
    let passphrase = || passphrase.ok_or(KeyProblem::Encrypted);
    match block.label {
        "RSA PRIVATE KEY" if block.body.contains("ENCRYPTED") => {
            let der = decrypt::traditional(block.body, passphrase()?)?;
            SigningKey::from_pkcs1_der(&der).map_err(decrypted)
        }
        "RSA PRIVATE KEY" => Ok(SigningKey::from_pkcs1_der(&block.der()?)?),
        "PRIVATE KEY" => Ok(SigningKey::from_pkcs8_der(&block.der()?)?),
        "ENCRYPTED PRIVATE KEY" => {
            let der = decrypt::pkcs8(&block.der()?, passphrase()?)?;
            SigningKey::from_pkcs8_der(&der).map_err(decrypted)
        }
        "OPENSSH PRIVATE KEY" => Err(KeyProblem::OpenSsh),
        "EC PRIVATE KEY" => Err(KeyProblem::NotRsa("elliptic curves (EC)")),
        "DSA PRIVATE KEY" => Err(KeyProblem::NotRsa("DSA")),
        "CERTIFICATE" => Err(KeyProblem::Certificate),
        label if label.ends_with("PUBLIC KEY") => Err(KeyProblem::Public),
        label => Err(KeyProblem::UnknownLabel(
            // A label is a few words; anything longer is not one.
            label.chars().take(40).collect(),
        )),
    }
}

/// One wrong passphrase in about 250 leaves bytes that end as a padding does;
/// what they are is no key.
fn decrypted(error: KeyError) -> KeyProblem {
    match error {
        KeyError::Damaged => KeyProblem::WrongPassphrase,
        other => other.into(),
    }
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

impl Block<'_> {
    fn der(&self) -> Result<Vec<u8>, KeyProblem> {
        let base64: String = self.body.split_whitespace().collect();
        BASE64.decode(base64).map_err(|_| KeyProblem::Damaged)
    }
}

/// The first block that is not merely the parameters of a curve, which
/// `openssl ecparam` writes before the key.
fn first_block(mut text: &str) -> Result<Block<'_>, KeyProblem> {
    loop {
        let Some((_, rest)) = text.split_once("-----BEGIN ") else {
            let public = ["ssh-rsa ", "ssh-ed25519 ", "ssh-dss ", "ecdsa-sha2-"];
            return Err(if public.iter().any(|kind| text.trim().starts_with(kind)) {
                KeyProblem::Public
            } else {
                KeyProblem::NotPem
            });
        };
        let (label, rest) = rest.split_once("-----").ok_or(KeyProblem::Truncated)?;
        let (body, after) = rest
            .split_once(&format!("-----END {label}-----"))
            .ok_or(KeyProblem::Truncated)?;
        if label.ends_with("PARAMETERS") && after.contains("-----BEGIN ") {
            text = after;
            continue;
        }
        return Ok(Block { label, body });
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Value;

    use super::*;

    fn vectors() -> anyhow::Result<Value> {
        Ok(serde_json::from_str(include_str!(
            "../../tests/fixtures/signing-vectors.json"
        ))?)
    }

    /// The shapes in which one key is handed around, all of them the same key.
    #[test]
    fn reads_every_plain_shape() -> anyhow::Result<()> {
        let vectors = vectors()?;
        let fingerprint = vectors["fingerprint"].as_str();
        for name in ["pkcs1_pem", "pkcs8_pem", "pkcs1_pem_with_label"] {
            let pem = vectors["key"][name].as_str().unwrap_or_default();
            let shapes = [
                pem.to_owned(),
                pem.replace('\n', "\r\n"),
                pem.replace('\n', "\\n"),
                pem.replace('\n', "\\r\\n"),
                // A variable that lost its line breaks.
                pem.replace('\n', " "),
                format!("a remark\n{pem}\nOCI_API_KEY"),
                format!("\u{feff}{pem}"),
            ];
            for shape in shapes {
                let key = read(&shape, Some("needless"))
                    .map_err(|problem| anyhow::anyhow!("{name}: {problem}"))?;
                assert_eq!(Some(key.fingerprint()), fingerprint, "{name}");
            }
        }
        Ok(())
    }

    /// Every encrypted shape, with the passphrase, with none and with wrong ones,
    /// and as a variable that lost its line breaks.
    #[test]
    fn reads_every_encrypted_shape() -> anyhow::Result<()> {
        let vectors = vectors()?;
        let fingerprint = vectors["fingerprint"].as_str();
        let passphrase = vectors["key"]["passphrase"].as_str();
        let encrypted = vectors["key"]["encrypted"].as_object();
        assert_eq!(encrypted.map(serde_json::Map::len), Some(7));
        let of_vectors = encrypted
            .into_iter()
            .flatten()
            .filter_map(|(name, pem)| Some((name.as_str(), pem.as_str()?)));
        let of_files = [
            (
                "aes192 traditional",
                include_str!("../../tests/fixtures/keys/encrypted-aes192-traditional.pem"),
            ),
            (
                "aes192 pkcs8, hmac sha512",
                include_str!("../../tests/fixtures/keys/encrypted-aes192-sha512.pem"),
            ),
        ];
        for (name, pem) in of_vectors.chain(of_files) {
            let shapes = [
                pem.to_owned(),
                pem.replace('\n', "\r\n"),
                pem.replace('\n', "\\n"),
                pem.replace('\n', " "),
                format!("{pem}OCI_API_KEY\n"),
            ];
            for shape in &shapes {
                let key = read(shape, passphrase)
                    .map_err(|problem| anyhow::anyhow!("{name}: {problem}"))?;
                assert_eq!(Some(key.fingerprint()), fingerprint, "{name}");
            }
            assert_eq!(read(pem, None).err(), Some(KeyProblem::Encrypted), "{name}");
            for wrong in ["", "correct hors", "correct horse ", "CORRECT HORSE"] {
                let problem = read(pem, Some(wrong)).err();
                assert_eq!(problem, Some(KeyProblem::WrongPassphrase), "{name}");
            }
        }
        Ok(())
    }

    /// A wrong passphrase is called so for every one of 600, although two or
    /// three of them leave bytes that end as if they were right.
    #[test]
    fn wrong_passphrase_is_never_damage() -> anyhow::Result<()> {
        let vectors = vectors()?;
        let pem = vectors["key"]["encrypted"]["pkcs1_encrypted_des_ede3_cbc"].as_str();
        for number in 0..600 {
            let problem = read(pem.unwrap_or_default(), Some(&number.to_string())).err();
            assert_eq!(problem, Some(KeyProblem::WrongPassphrase), "{number}");
        }
        Ok(())
    }

    /// Each mistake has a message of its own that says how to go on.
    #[test]
    fn mistakes_have_messages() -> anyhow::Result<()> {
        let vectors = vectors()?;
        let message = |text: &str| match read(text, Some("correct horse")) {
            Err(problem) => format!("the key {problem}"),
            Ok(_) => "no problem".to_owned(),
        };
        let pem = vectors["key"]["pkcs8_pem"].as_str().unwrap_or_default();
        let keys: [(&str, &str); 11] = [
            (
                "public",
                include_str!("../../tests/fixtures/keys/public.pem"),
            ),
            (
                "ssh public",
                include_str!("../../tests/fixtures/keys/openssh.pub"),
            ),
            (
                "openssh",
                include_str!("../../tests/fixtures/keys/openssh.pem"),
            ),
            (
                "ec",
                include_str!("../../tests/fixtures/keys/ec-traditional.pem"),
            ),
            (
                "dsa",
                include_str!("../../tests/fixtures/keys/dsa-traditional.pem"),
            ),
            (
                "ed25519",
                include_str!("../../tests/fixtures/keys/ed25519.pem"),
            ),
            (
                "1024",
                include_str!("../../tests/fixtures/keys/rsa-1024.pem"),
            ),
            ("path", "/home/docker/.oci/oci_api_key.pem"),
            ("truncated", &pem[..500]),
            (
                "certificate",
                vectors["certificate"]["pem"].as_str().unwrap_or_default(),
            ),
            (
                "request",
                "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
            ),
        ];
        let mut messages: Vec<String> = keys
            .iter()
            .map(|(name, text)| format!("{name}: {}", message(text)))
            .collect();
        messages.push(format!("damaged: {}", message(&pem.replace("Bz", "Cz"))));
        messages.push(format!(
            "no base64: {}",
            message(&pem.replace("MIIE", "M?IE"))
        ));
        expect![[r#"
            public: the key is the public key; the private one is needed, from `-----BEGIN PRIVATE KEY-----` on
            ssh public: the key is the public key; the private one is needed, from `-----BEGIN PRIVATE KEY-----` on
            openssh: the key is in OpenSSH's format; `ssh-keygen -p -m PEM -f KEY` rewrites the file in PEM form
            ec: the key is for elliptic curves (EC), and Oracle takes RSA keys only; `openssl genrsa -out oci_api_key.pem 2048` makes one
            dsa: the key is for DSA, and Oracle takes RSA keys only; `openssl genrsa -out oci_api_key.pem 2048` makes one
            ed25519: the key is for Ed25519, and Oracle takes RSA keys only; `openssl genrsa -out oci_api_key.pem 2048` makes one
            1024: the key has 1024 bits, and Oracle takes RSA keys from 2048 bits on; `openssl genrsa -out oci_api_key.pem 2048` makes one
            path: the key is not in PEM form: there is no line such as `-----BEGIN PRIVATE KEY-----`. A path belongs into private_key_path or OCI_CLI_KEY_FILE
            truncated: the key has no `-----END` line, so a part of it is missing
            certificate: the key is a certificate; the private key that belongs to it is needed, from `-----BEGIN PRIVATE KEY-----` on
            request: the key holds `-----BEGIN CERTIFICATE REQUEST-----`, which is no private key; `-----BEGIN PRIVATE KEY-----` or `-----BEGIN RSA PRIVATE KEY-----` is expected
            damaged: no problem
            no base64: the key is damaged; copy it once more, whole and in one piece"#]].assert_eq(&messages.join("\n"));
        assert_eq!(
            message(include_str!("../../tests/fixtures/keys/ec-pkcs8.pem")),
            message(keys[3].1)
        );
        Ok(())
    }

    proptest::proptest! {
        // Taking off a passphrase takes milliseconds.
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: proptest::prelude::ProptestConfig::default().cases.div_ceil(4),
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever stands in a key's file, it is a key or a problem, and the problem says
        /// nothing of the key.
        #[test]
        fn any_file(
            text in crate::spoilt::text(&seeds()),
            passphrase in proptest::option::of("(correct horse|\\PC{0,20})"),
        ) {
            if let Err(problem) = read(&text, passphrase.as_deref()) {
                let shown = problem.to_string();
                for secret in text.lines().filter(|line| line.len() == 64 && !line.contains(' ')) {
                    proptest::prop_assert!(!shown.contains(secret), "{}", shown);
                }
            }
        }
    }

    /// A key in every form that is read, and in some that are refused.
    fn seeds() -> Vec<&'static str> {
        static VECTORS: std::sync::LazyLock<Value> =
            std::sync::LazyLock::new(|| vectors().expect("the fixture is JSON"));
        let encrypted = VECTORS["key"]["encrypted"].as_object();
        let plain = VECTORS["key"].as_object();
        let mut seeds: Vec<&str> = [encrypted, plain]
            .into_iter()
            .flatten()
            .flat_map(|members| members.values())
            .filter_map(Value::as_str)
            // Those with scrypt cost a tenth of a second each, also when nothing is wrong.
            .filter(|text| text.contains("PRIVATE KEY"))
            .collect();
        seeds.extend([
            include_str!("../../tests/fixtures/keys/ec-traditional.pem"),
            include_str!("../../tests/fixtures/keys/encrypted-pbes1-des.pem"),
            include_str!("../../tests/fixtures/keys/encrypted-pkcs12-3des.pem"),
            include_str!("../../tests/fixtures/keys/encrypted-aes192-traditional.pem"),
            include_str!("../../tests/fixtures/keys/openssh.pem"),
            include_str!("../../tests/fixtures/keys/public.pem"),
            include_str!("../../tests/fixtures/keys/rsa-1024.pem"),
        ]);
        seeds
    }
}
