//! What of an instance's certificate has to be known to show it: a walk through
//! its DER, which verifies nothing. Whoever is shown it does that.
//!
//! <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>

/// A certificate, as far as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The values of the subject's attributes, in their order.
    subject: Vec<String>,
    /// The public key, as the DER of a `SubjectPublicKeyInfo`.
    pub(super) public_key: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate; `None` when it is none.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let mut outer = Reader(der).enter(SEQUENCE)?;
        let mut body = outer.enter(SEQUENCE)?;
        if body.tag() == Some(VERSION) {
            body.next()?;
        }
        let _serial = body.expect(INTEGER)?;
        let _algorithm = body.expect(SEQUENCE)?;
        let _issuer = body.expect(SEQUENCE)?;
        let _validity = body.expect(SEQUENCE)?;
        let mut name = body.enter(SEQUENCE)?;
        let mut subject = Vec::new();
        while !name.0.is_empty() {
            let mut set = name.enter(SET)?;
            while !set.0.is_empty() {
                let mut attribute = set.enter(SEQUENCE)?;
                let _kind = attribute.expect(OBJECT_IDENTIFIER)?;
                let value = attribute.next()?;
                subject.extend(text(&value));
            }
        }
        let public_key = body.expect(SEQUENCE)?.whole.to_vec();
        Some(Self {
            subject,
            public_key,
        })
    }

    /// The tenancy that the instance belongs to.
    pub(super) fn tenancy_id(&self) -> Option<&str> {
        self.value("opc-tenant:")
            .or_else(|| self.value("opc-identity:"))
    }

    /// The instance: an attribute of its own, or the common name.
    pub(super) fn instance_id(&self) -> Option<&str> {
        self.value("opc-instance:").or_else(|| {
            let is_instance = |value: &&str| value.starts_with("ocid1.instance.");
            self.subject.iter().map(String::as_str).find(is_instance)
        })
    }

    fn value(&self, prefix: &str) -> Option<&str> {
        self.subject
            .iter()
            .find_map(|value| value.strip_prefix(prefix))
            .filter(|value| !value.is_empty())
    }
}

/// The text of an attribute, in the encodings that are in use.
fn text(element: &Element<'_>) -> Option<String> {
    match element.tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING => {
            String::from_utf8(element.content.to_vec()).ok()
        }
        TELETEX_STRING => Some(element.content.iter().copied().map(char::from).collect()),
        _ => None,
    }
}

/// What is left of some DER.
struct Reader<'a>(&'a [u8]);

/// One element of it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Reader<'a> {
    fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<Element<'a>> {
        let [tag, length, rest @ ..] = self.0 else {
            return None;
        };
        // Tags of more than one byte stand nowhere in what is read here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = if *length < 0x80 {
            (usize::from(*length), rest)
        } else {
            let count = usize::from(*length & 0x7f);
            if !(1..=4).contains(&count) {
                return None;
            }
            let (digits, rest) = rest.split_at_checked(count)?;
            let length = digits.iter().try_fold(0_usize, |sum, digit| {
                Some(sum.checked_mul(256)? + usize::from(*digit))
            })?;
            (length, rest)
        };
        let (content, left) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - left.len()];
        self.0 = left;
        Some(Element {
            tag: *tag,
            content,
            whole,
        })
    }

    fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    fn enter(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.expect(tag).map(|element| Reader(element.content))
    }
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, which only version 1 leaves out.
const VERSION: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    /// A certificate with these units in its subject, and this common name.
    fn certificate(name: &str, units: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let subject = &mut parameters.distinguished_name;
        subject.push(rcgen::DnType::CommonName, name);
        for (number, unit) in units.iter().enumerate() {
            let kind = rcgen::DnType::CustomDnType(vec![2, 5, 4, 11 + u64::try_from(number)?]);
            subject.push(kind, *unit);
        }
        let key = rcgen::KeyPair::generate()?;
        Ok(parameters.self_signed(&key)?.der().to_vec())
    }

    /// The certificate of a recorded instance.
    #[test]
    fn recorded_certificate() -> anyhow::Result<()> {
        let pem = include_str!("../../tests/fixtures/instance-certificate.pem");
        let der = CertificateDer::from_pem_slice(pem.as_bytes())?;
        let read = Certificate::of(&der).ok_or_else(|| anyhow::anyhow!("it is one"))?;
        assert_eq!(
            read.tenancy_id(),
            Some("ocid1.tenancy.oc1..aaaaaaaaexampletenancy")
        );
        assert_eq!(
            read.instance_id(),
            Some("ocid1.instance.oc1..exampleinstance")
        );
        Ok(())
    }

    /// The tenancy goes before the identity, the instance's own attribute before
    /// the common name, and what is nowhere is nowhere.
    #[test]
    fn names_in_the_subject() -> anyhow::Result<()> {
        let of = |name: &str, units: &[&str]| -> anyhow::Result<(Option<String>, Option<String>)> {
            let read = Certificate::of(&certificate(name, units)?)
                .ok_or_else(|| anyhow::anyhow!("it is one"))?;
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Ok((owned(read.tenancy_id()), owned(read.instance_id())))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            of(
                "ocid1.instance.oc1..a",
                &["opc-identity:b", "opc-tenant:c", "opc-instance:d"]
            )?,
            (some("c"), some("d"))
        );
        assert_eq!(
            of("ocid1.instance.oc1..a", &["opc-identity:b"])?,
            (some("b"), some("ocid1.instance.oc1..a"))
        );
        assert_eq!(of("web", &["opc-tenant:"])?, (None, None));
        Ok(())
    }

    /// The public key is the one that the certificate is for.
    #[test]
    fn public_key_of_the_certificate() -> anyhow::Result<()> {
        let key = rcgen::KeyPair::generate()?;
        let der = rcgen::CertificateParams::new(Vec::new())?.self_signed(&key)?;
        let read = Certificate::of(der.der()).ok_or_else(|| anyhow::anyhow!("it is one"))?;
        use rcgen::PublicKeyData as _;
        assert_eq!(read.public_key, key.subject_public_key_info());
        Ok(())
    }

    /// Wherever it is cut or changed, there is an answer and no panic.
    #[test]
    fn damaged_certificates() -> anyhow::Result<()> {
        let whole = certificate("ocid1.instance.oc1..a", &["opc-tenant:c"])?;
        for length in 0..whole.len() {
            assert_eq!(Certificate::of(&whole[..length]), None, "{length}");
        }
        for index in 0..whole.len() {
            for value in [0, 0x1f, 0x7f, 0x80, 0x84, 0x89, 0xff] {
                let mut changed = whole.clone();
                changed[index] = value;
                let _ = Certificate::of(&changed);
            }
        }
        assert_eq!(Certificate::of(b"-----BEGIN CERTIFICATE-----"), None);
        assert_eq!(Certificate::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        Ok(())
    }

    proptest::proptest! {
        /// Whatever DER says, what is found stands in it.
        #[test]
        fn any_der(der in crate::spoilt::bytes([recorded(), vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]])) {
            if let Some(read) = Certificate::of(&der) {
                let key = &read.public_key;
                proptest::prop_assert!(der.windows(key.len()).any(|window| window == key));
                proptest::prop_assert!(read.subject.iter().map(String::len).sum::<usize>() <= 2 * der.len());
                let _ = (read.tenancy_id(), read.instance_id());
            }
        }
    }

    fn recorded() -> Vec<u8> {
        let pem = include_str!("../../tests/fixtures/instance-certificate.pem");
        let der = CertificateDer::from_pem_slice(pem.as_bytes());
        der.expect("the fixture is one").to_vec()
    }
}
