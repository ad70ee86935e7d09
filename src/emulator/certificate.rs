//! Certificates: of the instance, of the cluster, and of who vouches for them.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, SanType,
    SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use time::OffsetDateTime;
use tokio_rustls::rustls::{
    self, RootCertStore,
    crypto::CryptoProvider,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{
    clock::Moment,
    der::{Der, OBJECT_IDENTIFIER, SEQUENCE, SET, VERSION},
    key::{PublicKey, RsaKey},
};

/// An instance's certificate, with the key it is for.
#[derive(Clone)]
pub(super) struct Leaf {
    pub pem: String,
    pub key_pem: String,
    pub fingerprint: String,
    pub expires: Moment,
}

/// What a certificate says that was found good.
pub(super) struct Identity {
    pub instance_id: String,
    pub tenancy_id: String,
    pub public_key: PublicKey,
}

/// How long an instance keeps a certificate; it gets another before that.
const LEAF_SECONDS: i64 = 24 * 60 * 60;

/// Everybody who vouches for anybody, once in a process.
struct Authorities {
    intermediate: Issuer<'static, KeyPair>,
    intermediate_pem: String,
    verifier: Arc<dyn ClientCertVerifier>,
    cluster: Issuer<'static, KeyPair>,
    cluster_pem: String,
}

/// The certificate that an instance is given, for its key.
pub(super) fn instance(
    instance_id: &str,
    tenancy_id: &str,
    key: &RsaKey,
    now: Moment,
) -> io::Result<Leaf> {
    let mut name = DistinguishedName::new();
    let text = |value: String| DnValue::Utf8String(value);
    name.push(DnType::CommonName, text(instance_id.into()));
    name.push(
        DnType::OrganizationalUnitName,
        text("opc-certtype:instance".into()),
    );
    // The second unit, under the number of the first one's type: by name there can be one only.
    name.push(
        DnType::CustomDnType(vec![2, 5, 4, 11]),
        text(format!("opc-tenant:{tenancy_id}")),
    );
    let expires = Moment((now.seconds() + LEAF_SECONDS) * 1000);
    let mut params = params(name)?;
    params.not_before = date(Moment((now.seconds() - 60 * 60) * 1000));
    params.not_after = date(expires);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];

    let pair = KeyPair::from_pkcs8_pem_and_sign_algo(&key.pem, &PKCS_RSA_SHA256)
        .map_err(io::Error::other)?;
    let certificate = params
        .signed_by(&pair, &authorities()?.intermediate)
        .map_err(io::Error::other)?;
    Ok(Leaf {
        pem: certificate.pem(),
        key_pem: key.pem.clone(),
        fingerprint: sha256_fingerprint(certificate.der()),
        expires,
    })
}

/// Who vouches for instances, except for the root, which nobody sends.
pub(super) fn intermediate_pem() -> io::Result<&'static str> {
    Ok(&authorities()?.intermediate_pem)
}

/// Who vouches for the cluster's service.
pub(super) fn cluster_pem() -> io::Result<&'static str> {
    Ok(&authorities()?.cluster_pem)
}

/// A certificate and a key for the cluster's service at an address.
pub(super) fn cluster(
    address: IpAddr,
) -> io::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let mut params = params(common_name("kubernetes"))?;
    params.subject_alt_names = vec![SanType::IpAddress(address)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pair = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params
        .signed_by(&pair, &authorities()?.cluster)
        .map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(pair.serialize_der());
    Ok((certificate.der().clone(), key.into()))
}

/// Who a certificate is about, when a chain leads from it to our root at this moment.
pub(super) fn verify(
    leaf: &[u8],
    intermediates: &[Vec<u8>],
    now: Moment,
) -> io::Result<Option<Identity>> {
    let leaf = CertificateDer::from(leaf);
    let intermediates: Vec<_> = intermediates
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let seconds = u64::try_from(now.seconds()).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let trusted = authorities()?
        .verifier
        .verify_client_cert(&leaf, &intermediates, now)
        .is_ok();
    Ok(trusted.then(|| identity(&leaf)).flatten())
}

/// Lower-case, as in `fed-x509-sha256`.
pub(super) fn sha256_fingerprint(der: &[u8]) -> String {
    fingerprint(&SHA256, der).to_lowercase()
}

/// Upper-case, as in `fed-x509`.
pub(super) fn sha1_fingerprint(der: &[u8]) -> String {
    fingerprint(&SHA1_FOR_LEGACY_USE_ONLY, der)
}

fn fingerprint(algorithm: &'static Algorithm, der: &[u8]) -> String {
    let bytes: Vec<String> = digest(algorithm, der)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    bytes.join(":")
}

fn identity(leaf: &[u8]) -> Option<Identity> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 0x04, 0x0b];
    let mut certificate = Der::new(leaf).enter(SEQUENCE)?.enter(SEQUENCE)?;
    certificate.skip_optional(VERSION)?;
    // Serial number, algorithm, issuer, validity.
    for _ in 0..4 {
        certificate.any()?;
    }
    let mut subject = certificate.enter(SEQUENCE)?;
    let public_key = PublicKey::from_der(certificate.whole()?)?;

    let (mut instance_id, mut tenancy_id) = (None, None);
    while !subject.is_empty() {
        let mut attribute = subject.enter(SET)?.enter(SEQUENCE)?;
        let kind = attribute.read(OBJECT_IDENTIFIER)?;
        let (_, value) = attribute.any()?;
        let value = std::str::from_utf8(value).ok()?;
        if kind == COMMON_NAME {
            instance_id = Some(value.to_owned());
        } else if kind == ORGANIZATIONAL_UNIT
            && let Some(id) = value.strip_prefix("opc-tenant:")
        {
            tenancy_id = Some(id.to_owned());
        }
    }
    Some(Identity {
        instance_id: instance_id?,
        tenancy_id: tenancy_id?,
        public_key,
    })
}

fn authorities() -> io::Result<&'static Authorities> {
    static AUTHORITIES: OnceLock<Result<Authorities, String>> = OnceLock::new();
    AUTHORITIES
        .get_or_init(|| Authorities::new().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| io::Error::other(error.as_str()))
}

impl Authorities {
    /// Their keys are on a curve: nobody but TLS libraries looks at them, and an RSA key takes
    /// a hundred times as long.
    fn new() -> io::Result<Self> {
        let (root_params, root_key) = authority("PKISVC Identity Root")?;
        let root = root_params
            .self_signed(&root_key)
            .map_err(io::Error::other)?;
        let (params, key) = authority("PKISVC Identity Intermediate")?;
        let issuer = Issuer::new(root_params, root_key);
        let intermediate_pem = params
            .signed_by(&key, &issuer)
            .map_err(io::Error::other)?
            .pem();
        let intermediate = Issuer::new(params, key);

        let (params, key) = authority("kubernetes-ca")?;
        let cluster_pem = params.self_signed(&key).map_err(io::Error::other)?.pem();
        let cluster = Issuer::new(params, key);

        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).map_err(io::Error::other)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(io::Error::other)?;
        Ok(Self {
            intermediate,
            intermediate_pem,
            verifier,
            cluster,
            cluster_pem,
        })
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn authority(name: &str) -> io::Result<(CertificateParams, KeyPair)> {
    let mut params = params(common_name(name))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((params, KeyPair::generate().map_err(io::Error::other)?))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, DnValue::Utf8String(name.into()));
    distinguished
}

fn params(name: DistinguishedName) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 8]>()));
    Ok(params)
}

fn date(moment: Moment) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;

    use super::{super::key::Purpose, *};

    /// An instance's certificate names it and its tenancy, as long as it is valid and comes with its chain.
    #[test]
    fn chain() -> anyhow::Result<()> {
        let now = Moment(1_767_323_045_000);
        let key = RsaKey::of_process(Purpose::Instance { odd: false })?;
        let leaf = instance("ocid1.instance.oc1..a", "ocid1.tenancy.oc1..b", &key, now)?;
        let der = CertificateDer::from_pem_slice(leaf.pem.as_bytes())?;
        let chain = [CertificateDer::from_pem_slice(intermediate_pem()?.as_bytes())?.to_vec()];

        let Some(identity) = verify(&der, &chain, now)? else {
            anyhow::bail!("it was not accepted");
        };
        assert_eq!(identity.instance_id, "ocid1.instance.oc1..a");
        assert_eq!(identity.tenancy_id, "ocid1.tenancy.oc1..b");
        assert_eq!(identity.public_key, key.public);

        assert!(verify(&der, &[], now)?.is_none());
        assert!(verify(&der, &chain, leaf.expires)?.is_some());
        assert!(verify(&der, &chain, Moment(leaf.expires.0 + 1000))?.is_none());
        assert!(verify(&der[1..], &chain, now)?.is_none());
        Ok(())
    }

    /// The two spellings of a fingerprint.
    #[test]
    fn fingerprints() {
        expect_test::expect!["DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09"]
            .assert_eq(&sha1_fingerprint(b""));
        expect_test::expect!["e3:b0:c4:42:98:fc:1c:14:9a:fb:f4:c8:99:6f:b9:24:27:ae:41:e4:64:9b:93:4c:a4:95:99:1b:78:52:b8:55"]
            .assert_eq(&sha256_fingerprint(b""));
    }
}
