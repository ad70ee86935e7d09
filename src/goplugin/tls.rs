//! Mutual TLS between two processes that know each other's one certificate.
//!
//! The host hands its certificate over in the environment, and gets ours in
//! the handshake line. Nobody else is to get in: a provider holds credentials,
//! and other users of the machine can reach its socket or port.

use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::{
    DigitallySignedStruct, DistinguishedName as RootHint, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;

use super::Error;

/// Our side of the connection.
pub(super) struct Tls {
    /// Accepts the host, and nobody else.
    pub(super) acceptor: TlsAcceptor,
    /// What the host has to expect.
    pub(super) certificate: CertificateDer<'static>,
}

impl Tls {
    /// Makes a certificate for this process and pins the host's.
    pub(super) fn new(host: CertificateDer<'static>) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (certificate, key) = own_certificate().map_err(|error| Error::Tls(error.into()))?;
        let verifier = Pinned {
            certificate: host,
            provider: provider.clone(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(error.into()))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(vec![certificate.clone()], key)
            .map_err(|error| Error::Tls(error.into()))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // There is one host, and it shows its certificate each time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate,
        })
    }
}

/// P-256, because not all hosts accept the host's own P-521 in a server, and
/// not an authority, because some refuse those as a server's certificate.
fn own_certificate() -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    // Hosts ask for this name whatever the address is.
    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "localhost");
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = params.self_signed(&key)?;
    let key =
        PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| rcgen::Error::RemoteKeyError)?;
    Ok((certificate.der().clone(), key))
}

/// Accepts exactly one certificate, from who has its key.
///
/// The usual checks of a chain do not apply: the certificate is its own
/// authority, and it was handed over by the process that started us.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Pinned {
    // Names of authorities would only make a host look for another certificate.
    fn root_hint_subjects(&self) -> &[RootHint] {
        &[]
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
