//! What every emulator starts with: a tenancy, compartments, a user and its API key.

use std::io;

use sha2::{Digest as _, Sha256};

use super::{
    Seed,
    key::{PublicKey, RsaKey},
    regions::{self, Region},
};

/// The seed in the form in which handlers need it.
pub(super) struct Tenancy {
    pub seed: Seed,
    pub home: &'static Region,
    pub public_key: PublicKey,
    pub public_key_pem: String,
    pub compartments: [Compartment; 3],
}

pub(super) struct Compartment {
    pub id: String,
    pub name: &'static str,
    pub description: &'static str,
}

/// When everything seeded was made, so that answers are the same at each start.
pub(super) const SEEDED_AT: &str = "2026-01-02T03:04:05.678Z";
pub(super) const TENANCY_NAME: &str = "motando";
const NAMESPACE: &str = "axemulated1z";
const REGION: &str = "sa-saopaulo-1";

impl Tenancy {
    pub(super) fn new(
        namespace: Option<&str>,
        region: Option<&str>,
        key: &RsaKey,
    ) -> io::Result<Self> {
        let region = region.unwrap_or(REGION);
        let home = regions::find(region).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("unknown region {region:?}"),
            )
        })?;
        let namespace = namespace.unwrap_or(NAMESPACE);
        if namespace.is_empty()
            || !namespace
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a namespace consists of lower-case letters and digits, not {namespace:?}"),
            ));
        }
        let realm = home.realm;
        let named = |kind: &str, name: &str| {
            format!(
                "ocid1.{kind}.{realm}..{}",
                seeded_unique(&format!("{kind}/{name}"))
            )
        };
        let regional = |kind: &str, name: &str| {
            format!(
                "ocid1.{kind}.{realm}.{}.{}",
                home.identifier,
                seeded_unique(&format!("{kind}/{name}"))
            )
        };
        let seed = Seed {
            tenancy_id: named("tenancy", TENANCY_NAME),
            user_id: named("user", "docker"),
            user_name: "docker@example.com".into(),
            fingerprint: key.fingerprint.clone(),
            private_key_pem: key.pem.clone(),
            region: home.identifier.into(),
            namespace: namespace.into(),
            apps_compartment_id: named("compartment", "apps"),
            ops_compartment_id: named("compartment", "ops"),
            instance_id: regional("instance", "build"),
            function_id: regional("fnfunc", "deploy"),
            workload_id: regional("workload", "terraform"),
        };
        let compartments = [
            Compartment {
                id: seed.tenancy_id.clone(),
                name: TENANCY_NAME,
                description: "The root compartment",
            },
            Compartment {
                id: seed.apps_compartment_id.clone(),
                name: "apps",
                description: "Applications",
            },
            Compartment {
                id: seed.ops_compartment_id.clone(),
                name: "ops",
                description: "Operations",
            },
        ];
        Ok(Self {
            seed,
            home,
            public_key: key.public.clone(),
            public_key_pem: key.public_pem.clone(),
            compartments,
        })
    }

    /// `keyId` of the seeded user's API key.
    pub(super) fn key_id(&self) -> String {
        let Seed {
            tenancy_id,
            user_id,
            fingerprint,
            ..
        } = &self.seed;
        format!("{tenancy_id}/{user_id}/{fingerprint}")
    }

    pub(super) fn has_compartment(&self, id: &str) -> bool {
        self.compartments
            .iter()
            .any(|compartment| compartment.id == id)
    }
}

/// The unique part of a new OCID: sixty characters, the first eight of them `a`.
pub(super) fn unique() -> String {
    base32(&rand::random::<[u8; 32]>())
}

/// The same for something seeded, equal at each start.
fn seeded_unique(name: &str) -> String {
    base32(&Sha256::digest(name.as_bytes()))
}

fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::from("aaaaaaaa");
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identifiers are as long as Oracle's and equal at each start.
    #[test]
    fn identifiers() -> anyhow::Result<()> {
        let key = RsaKey::kept_in(&[])?;
        let first = Tenancy::new(None, None, &key)?;
        let second = Tenancy::new(None, Some("GRU"), &key)?;
        assert_eq!(first.seed.tenancy_id, second.seed.tenancy_id);
        assert_eq!(unique().len(), 60);
        expect_test::expect![
            "ocid1.tenancy.oc1..aaaaaaaaejw2iy23wipgusqkwl4u6rixmfyst5fq457ewt3rznup4khxk3lq"
        ]
        .assert_eq(&first.seed.tenancy_id);
        Ok(())
    }

    /// A region nobody has, and a namespace with a slash in it, are refused before anything listens.
    #[test]
    fn bad_arguments() -> anyhow::Result<()> {
        let key = RsaKey::kept_in(&[])?;
        let message = |namespace, region| match Tenancy::new(namespace, region, &key) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        expect_test::expect![[r#"unknown region "moon-1""#]]
            .assert_eq(&message(None, Some("moon-1")));
        expect_test::expect![[
            r#"a namespace consists of lower-case letters and digits, not "a/b""#
        ]]
        .assert_eq(&message(Some("a/b"), None));
        Ok(())
    }
}
