//! Taking the passphrase off a private key.
//!
//! Two forms are around. OpenSSL's traditional one says in headers of the PEM
//! text how it is encrypted, and makes the key of the cipher with a few rounds
//! of MD5. PKCS#8 says it in the DER (PBES2, RFC 8018), together with how much
//! work it is to make the key. That number comes from a file, so it has a
//! bound.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, block_padding::Pkcs7};
use md5::{Digest, Md5};
use pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef,
    der::{
        Decode, ErrorKind,
        asn1::{AnyRef, OctetStringRef},
    },
    pkcs5::{
        self, EncryptionScheme,
        pbes2::{Kdf, PBES2_OID},
    },
};

use super::private_key::KeyProblem;

/// The DER inside of a traditional PEM block, whose lines are `body`: headers,
/// and the encrypted bytes.
pub(super) fn traditional(body: &str, passphrase: &str) -> Result<Vec<u8>, KeyProblem> {
    // Words and not lines: a variable may have lost its line breaks.
    let mut words = body.split_whitespace();
    let info = loop {
        let word = words.next().ok_or(KeyProblem::Damaged)?;
        match word.strip_prefix("DEK-Info:") {
            Some("") => break words.next().ok_or(KeyProblem::Damaged)?,
            Some(info) => break info,
            None => {}
        }
    };
    let (cipher, iv) = info.split_once(',').ok_or(KeyProblem::Damaged)?;
    let iv = hexadecimal(iv).ok_or(KeyProblem::Damaged)?;
    let mut data = BASE64
        .decode(words.collect::<String>())
        .map_err(|_| KeyProblem::Damaged)?;
    let key = |length| derive(passphrase, &iv, length);
    let plain = match cipher.to_ascii_uppercase().as_str() {
        "AES-128-CBC" => cbc::<aes::Aes128>(&key(16)?, &iv, &mut data),
        "AES-192-CBC" => cbc::<aes::Aes192>(&key(24)?, &iv, &mut data),
        "AES-256-CBC" => cbc::<aes::Aes256>(&key(32)?, &iv, &mut data),
        "DES-EDE3-CBC" => cbc::<des::TdesEde3>(&key(24)?, &iv, &mut data),
        // A name is short, and anything longer is not one.
        other => Err(KeyProblem::UnknownEncryption(
            other.chars().take(40).collect(),
        )),
    };
    plain.map(<[u8]>::to_vec)
}

/// The DER inside of an `EncryptedPrivateKeyInfo` (PKCS#8).
pub(super) fn pkcs8(der: &[u8], passphrase: &str) -> Result<Vec<u8>, KeyProblem> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| unread(der, &error))?;
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err(KeyProblem::UnknownEncryption("PBES1".to_owned()));
    };
    check_work(&parameters.kdf)?;
    parameters
        .decrypt(passphrase, info.encrypted_data.as_bytes())
        .map_err(|error| match error {
            pkcs5::Error::DecryptFailed => KeyProblem::WrongPassphrase,
            pkcs5::Error::UnsupportedAlgorithm { oid } => {
                KeyProblem::UnknownEncryption(oid.to_string())
            }
            _ => KeyProblem::Damaged,
        })
}

/// Why a file was not understood: its cipher is another one, or it is damaged.
fn unread(der: &[u8], error: &pkcs8::Error) -> KeyProblem {
    if let pkcs8::Error::Asn1(error) = error
        && let ErrorKind::OidUnknown { oid } = error.kind()
    {
        return KeyProblem::UnknownEncryption(oid.to_string());
    }
    // A scheme older than PBES2, such as those of PKCS#12.
    let scheme = AnyRef::from_der(der).and_then(|file| {
        file.sequence(|reader| {
            let scheme = AlgorithmIdentifierRef::decode(reader)?;
            <&OctetStringRef>::decode(reader)?;
            Ok::<_, pkcs8::der::Error>(scheme.oid)
        })
    });
    match scheme {
        Ok(oid) if oid != PBES2_OID => KeyProblem::UnknownEncryption(oid.to_string()),
        _ => KeyProblem::Damaged,
    }
}

/// Refuses what would take more than about a second, or more memory than a
/// small machine has to spare.
fn check_work(kdf: &Kdf) -> Result<(), KeyProblem> {
    match kdf {
        Kdf::Pbkdf2(parameters) => match parameters.iteration_count {
            0 => Err(KeyProblem::Damaged),
            1..=MAX_ITERATIONS => Ok(()),
            count => Err(KeyProblem::TooCostly(format!("{count} rounds of PBKDF2"))),
        },
        Kdf::Scrypt(parameters) => {
            let (n, r, p) = (
                parameters.cost_parameter,
                u64::from(parameters.block_size),
                u64::from(parameters.parallelization),
            );
            // The library takes powers of two only, and does not expect a zero.
            if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
                return Err(KeyProblem::Damaged);
            }
            match n.checked_mul(r).and_then(|blocks| blocks.checked_mul(p)) {
                Some(work) if work <= MAX_SCRYPT_WORK => Ok(()),
                _ => Err(KeyProblem::TooCostly(format!(
                    "scrypt with N={n}, r={r}, p={p}"
                ))),
            }
        }
        // The library may learn others, whose cost is not known here.
        other => Err(KeyProblem::UnknownEncryption(other.oid().to_string())),
    }
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round; the salt is the beginning
/// of the initialisation vector.
fn derive(passphrase: &str, iv: &[u8], length: usize) -> Result<Vec<u8>, KeyProblem> {
    let salt = iv.get(..SALT).ok_or(KeyProblem::Damaged)?;
    let mut key = Vec::with_capacity(length + 16);
    let mut digest = Vec::new();
    while key.len() < length {
        digest = Md5::new()
            .chain_update(&digest)
            .chain_update(passphrase)
            .chain_update(salt)
            .finalize()
            .to_vec();
        key.extend_from_slice(&digest);
    }
    key.truncate(length);
    Ok(key)
}

fn cbc<'a, C: BlockCipherDecrypt + KeyInit>(
    key: &[u8],
    iv: &[u8],
    data: &'a mut [u8],
) -> Result<&'a [u8], KeyProblem> {
    if data.is_empty() || !data.len().is_multiple_of(C::block_size()) {
        return Err(KeyProblem::Damaged);
    }
    cbc::Decryptor::<C>::new_from_slices(key, iv)
        .map_err(|_| KeyProblem::Damaged)?
        .decrypt_padded::<Pkcs7>(data)
        .map_err(|_| KeyProblem::WrongPassphrase)
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

/// Bytes of the salt in a traditional PEM block.
const SALT: usize = 8;

/// OpenSSL writes 2048, and 600,000 is what is recommended for passwords.
const MAX_ITERATIONS: u32 = 2_000_000;

/// N·r·p; OpenSSL writes 16384·8·1. Memory is 128·N·r, so at most 256 MiB.
const MAX_SCRYPT_WORK: u64 = 1 << 21;

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use pkcs8::{
        der::Encode,
        pkcs5::pbes2::{
            EncryptionScheme as Cipher, Parameters, Pbkdf2Params, Pbkdf2Prf, ScryptParams,
        },
    };
    use serde_json::Value;

    use super::*;

    fn vector(name: &str) -> anyhow::Result<String> {
        let vectors: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/signing-vectors.json"))?;
        let pem = vectors["key"]["encrypted"][name].as_str();
        Ok(pem.unwrap_or_default().to_owned())
    }

    fn der(pem: &str) -> anyhow::Result<Vec<u8>> {
        let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
        Ok(BASE64.decode(body)?)
    }

    fn problem(result: Result<Vec<u8>, KeyProblem>) -> String {
        match result {
            Ok(_) => "no problem".to_owned(),
            Err(problem) => format!("the key {problem}"),
        }
    }

    /// A file that asks for minutes of work, or for gigabytes, is refused before
    /// anything is computed.
    #[test]
    fn costly_files_are_refused() -> anyhow::Result<()> {
        let file = |kdf: Kdf| -> anyhow::Result<Vec<u8>> {
            let parameters = Parameters {
                kdf,
                encryption: Cipher::Aes256Cbc { iv: [7; 16] },
            };
            let info = EncryptedPrivateKeyInfoRef {
                encryption_algorithm: parameters.into(),
                encrypted_data: OctetStringRef::new(&[9; 32])?,
            };
            Ok(info.to_der()?)
        };
        let salt = [1; 8].as_slice();
        let rounds = |iteration_count: u32| -> anyhow::Result<String> {
            let kdf = Kdf::Pbkdf2(Pbkdf2Params {
                salt: salt.try_into()?,
                iteration_count,
                key_length: None,
                prf: Pbkdf2Prf::HmacWithSha256,
            });
            Ok(problem(pkcs8(&file(kdf)?, "secret")))
        };
        let scrypt = |cost_parameter: u64,
                      block_size: u16,
                      parallelization: u16|
         -> anyhow::Result<String> {
            let kdf = Kdf::Scrypt(ScryptParams {
                salt: salt.try_into()?,
                cost_parameter,
                block_size,
                parallelization,
                key_length: None,
            });
            Ok(problem(pkcs8(&file(kdf)?, "secret")))
        };
        expect!["the key cannot be decrypted with the passphrase that was given"]
            .assert_eq(&rounds(2048)?);
        expect!["the key is encrypted with 2000001 rounds of PBKDF2, which is too much work to be undone each time the provider starts; `openssl pkcs8 -topk8 -in KEY.pem -out NEWKEY.pem` encrypts it in the usual way"].assert_eq(&rounds(2_000_001)?);
        assert!(rounds(u32::MAX)?.contains("4294967295 rounds"));
        expect!["the key is encrypted with scrypt with N=1048576, r=8, p=1, which is too much work to be undone each time the provider starts; `openssl pkcs8 -topk8 -in KEY.pem -out NEWKEY.pem` encrypts it in the usual way"].assert_eq(&scrypt(1 << 20, 8, 1)?);
        expect!["the key cannot be decrypted with the passphrase that was given"]
            .assert_eq(&scrypt(1 << 10, 8, 1)?);
        for (n, r, p) in [(1 << 14, 8, 1000), (1 << 63, 8, 1), (2, u16::MAX, u16::MAX)] {
            assert!(scrypt(n, r, p)?.contains("too much work"), "{n} {r} {p}");
        }
        // What no program writes, and what the library does not expect.
        for (n, r, p) in [
            (0, 8, 1),
            (1, 8, 1),
            (3, 8, 1),
            (1 << 14, 0, 1),
            (1 << 14, 8, 0),
        ] {
            assert!(scrypt(n, r, p)?.contains("is damaged"), "{n} {r} {p}");
        }
        assert!(rounds(0)?.contains("is damaged"));
        Ok(())
    }

    /// Ciphers that are not read here are named.
    #[test]
    fn other_ciphers_are_named() -> anyhow::Result<()> {
        let camellia = vector("pkcs1_encrypted_aes128cbc")?.replace("AES-128", "CAMELLIA-128");
        let body: String = camellia
            .lines()
            .filter(|line| !line.contains("-----"))
            .map(|line| format!("{line}\n"))
            .collect();
        expect!["the key is encrypted in a way that cannot be read here (CAMELLIA-128-CBC); `openssl pkcs8 -topk8 -in KEY.pem -out NEWKEY.pem` encrypts it in the usual way"].assert_eq(&problem(traditional(&body, "correct horse")));
        let of_file = |pem: &str| -> anyhow::Result<String> {
            Ok(problem(pkcs8(&der(pem)?, "correct horse")))
        };
        expect!["the key is encrypted in a way that cannot be read here (1.2.840.113549.1.12.1.3); `openssl pkcs8 -topk8 -in KEY.pem -out NEWKEY.pem` encrypts it in the usual way"].assert_eq(
            &of_file(include_str!(
                "../../tests/fixtures/keys/encrypted-pkcs12-3des.pem"
            ))?,
        );
        expect!["the key is encrypted in a way that cannot be read here (PBES1); `openssl pkcs8 -topk8 -in KEY.pem -out NEWKEY.pem` encrypts it in the usual way"].assert_eq(&of_file(include_str!(
            "../../tests/fixtures/keys/encrypted-pbes1-des.pem"
        ))?);
        Ok(())
    }

    /// Headers that no program writes.
    #[test]
    fn headers_may_be_anything() {
        for body in [
            "",
            "Proc-Type: 4,ENCRYPTED",
            "Proc-Type: 4,ENCRYPTED DEK-Info:",
            "Proc-Type: 4,ENCRYPTED DEK-Info: AES-256-CBC",
            "DEK-Info: AES-256-CBC,",
            "DEK-Info: AES-256-CBC,00 AAAA",
            "DEK-Info: AES-256-CBC,ABC AAAA",
            "DEK-Info: AES-256-CBC,é0é0é0é0é0é0é0é0é0é0é0é0é0é0é0é0 AAAA",
            "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF",
            "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF AAAA",
            "DEK-Info: AES-256-CBC,0011223344556677 AAAAAAAAAAAAAAAAAAAAAA==",
            "DEK-Info: DES-EDE3-CBC,00112233445566778899AABBCCDDEEFF AAAAAAAAAAA=",
            "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF no base64",
        ] {
            assert_eq!(
                traditional(body, "secret"),
                Err(KeyProblem::Damaged),
                "{body}"
            );
        }
    }

    /// Wherever a file is cut, or a byte of its parameters is wrong, there is an
    /// error, never a panic.
    #[test]
    fn damaged_files_are_refused() -> anyhow::Result<()> {
        for name in [
            "pkcs8_encrypted_pbes2_aes256cbc_hmacsha256",
            "pkcs8_encrypted_pbes2_aes256cbc_scrypt",
        ] {
            let whole = der(&vector(name)?)?;
            for length in 0..whole.len() {
                assert_eq!(
                    pkcs8(&whole[..length], "correct horse"),
                    Err(KeyProblem::Damaged),
                    "{length}"
                );
            }
            // The salt and the vector may be anything, so those flips are seen
            // by what comes out only.
            for index in 0..100 {
                let mut changed = whole.clone();
                changed[index] ^= 0x51;
                let plain = pkcs8(&changed, "correct horse");
                let key = plain.map(|der| crate::signing::SigningKey::from_pkcs8_der(&der).is_ok());
                let vector = 73..=94;
                assert!(vector.contains(&index) || key != Ok(true), "{name} {index}");
            }
        }
        Ok(())
    }

    proptest::proptest! {
        // Taking off a passphrase takes milliseconds.
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: proptest::prelude::ProptestConfig::default().cases.div_ceil(4),
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever the DER of an encrypted key says, it is decrypted or refused, and no more
        /// work is done for it than for a key that somebody would use.
        #[test]
        fn any_der(bytes in crate::spoilt::bytes(seeds())) {
            let start = std::time::Instant::now();
            let _ = pkcs8(&bytes, "correct horse");
            proptest::prop_assert!(start.elapsed() < std::time::Duration::from_secs(60));
        }
    }

    fn seeds() -> Vec<Vec<u8>> {
        [
            vector("pkcs8_encrypted_pbes2_aes256cbc_hmacsha256"),
            Ok(include_str!("../../tests/fixtures/keys/encrypted-aes192-sha512.pem").to_owned()),
            Ok(include_str!("../../tests/fixtures/keys/encrypted-pkcs12-3des.pem").to_owned()),
        ]
        .into_iter()
        .map(|pem| der(&pem.expect("the fixture is there")).expect("the fixture is base64"))
        .collect()
    }
}
