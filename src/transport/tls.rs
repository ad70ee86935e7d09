//! TLS: whom we trust, and when we find out.

use std::{
    error::Error as _,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use super::{Error, Options};

/// The configuration of a client that trusts the options' certificates, and the
/// system's too if the options do not say otherwise.
pub(super) fn config(options: &Options) -> Result<ClientConfig, Error> {
    let given = options
        .ca_certificates
        .as_deref()
        .map_or(Ok(Vec::new()), certificates)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if options.only_these {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(given);
        WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            // There is one reason without revocation lists.
            .map_err(|_| {
                Error::Certificates("none is given, and no others are to be trusted".to_owned())
            })?
    } else {
        Arc::new(LazyVerifier {
            provider: provider.clone(),
            extra: given,
            inner: OnceLock::new(),
        })
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether a request failed because the peer's certificate is not trusted,
/// which no time heals.
pub fn is_certificate_error(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        cause = match error.downcast_ref::<std::io::Error>() {
            // Its `source` leaves out what it wraps itself.
            Some(wrapper) => wrapper
                .get_ref()
                .map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    false
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let refused = |reason: String| Error::Certificates(reason);
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        // The library's own words show bytes as numbers.
        .map_err(|_| refused("the PEM text is damaged or incomplete".to_owned()))?;
    if certificates.is_empty() {
        return Err(refused("there is no certificate in PEM form".to_owned()));
    }
    // Found wrong now, while it can be said which setting is to blame.
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        store.add(certificate.clone()).map_err(|error| {
            refused(format!(
                "number {} of {}: {error}",
                index + 1,
                certificates.len()
            ))
        })?;
    }
    Ok(certificates)
}

/// The platform's verifier, made when the first certificate has to be
/// verified: reading the system's certificates takes milliseconds and memory
/// that a process without a TLS connection does not want to spend.
#[derive(Debug)]
struct LazyVerifier {
    provider: Arc<CryptoProvider>,
    extra: Vec<CertificateDer<'static>>,
    inner: OnceLock<Result<rustls_platform_verifier::Verifier, rustls::Error>>,
}

impl LazyVerifier {
    fn inner(&self) -> Result<&rustls_platform_verifier::Verifier, rustls::Error> {
        self.inner
            .get_or_init(|| {
                rustls_platform_verifier::Verifier::new_with_extra_roots(
                    self.extra.iter().cloned(),
                    self.provider.clone(),
                )
            })
            .as_ref()
            .map_err(Clone::clone)
    }
}

impl ServerCertVerifier for LazyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner()?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        // Asked for every greeting, so it must not wake the verifier.
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::transport::http_client;

    /// A server with a certificate of its own that answers every request with 204.
    async fn server() -> anyhow::Result<(u16, String)> {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let pem = certified.cert.pem();
        let key = certified.signing_key.serialize_der();
        Ok((serve(vec![certified.cert.der().clone()], key).await?, pem))
    }

    async fn serve(chain: Vec<CertificateDer<'static>>, key: Vec<u8>) -> anyhow::Result<u16> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                chain,
                rustls_pki_types::PrivateKeyDer::try_from(key).map_err(anyhow::Error::msg)?,
            )?;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that distrusts us hangs up, which is what a test wants to see.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => break,
                        }
                    }
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            }
        });
        Ok(port)
    }

    /// An authority of one's own, and a chain of a server that it vouches for.
    fn authority() -> anyhow::Result<(String, Vec<CertificateDer<'static>>, Vec<u8>)> {
        let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate()?;
        let authority = rcgen::CertifiedIssuer::self_signed(parameters, key)?;
        let key = rcgen::KeyPair::generate()?;
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let leaf = rcgen::CertificateParams::new(names)?.signed_by(&key, &authority)?;
        Ok((
            authority.pem(),
            vec![leaf.der().clone()],
            key.serialize_der(),
        ))
    }

    /// A private registry's certificate is trusted when it is handed in, and only then.
    #[tokio::test]
    async fn extra_certificates_are_trusted() -> anyhow::Result<()> {
        let (port, pem) = server().await?;
        let url = format!("https://localhost:{port}/");

        let trusting = http_client(&Options {
            ca_certificates: Some(pem.into_bytes()),
            ..Options::default()
        })?;
        assert_eq!(trusting.get(&url).send().await?.status(), 204);

        let error = http_client(&Options::default())?
            .get(&url)
            .send()
            .await
            .err()
            .ok_or_else(|| anyhow::anyhow!("a stranger is trusted"))?;
        assert!(error.is_connect(), "{error:?}");
        assert!(is_certificate_error(&error), "{error:?}");
        Ok(())
    }

    /// A cluster's authority is trusted alone: for its own server, at an address
    /// as at a name, and nobody else is trusted beside it.
    #[tokio::test]
    async fn only_these_certificates_are_trusted() -> anyhow::Result<()> {
        let (ours, chain, key) = authority()?;
        let port = serve(chain, key).await?;
        let (_, other_chain, other_key) = authority()?;
        let other = serve(other_chain, other_key).await?;
        let client = http_client(&Options {
            ca_certificates: Some(ours.into_bytes()),
            only_these: true,
            ..Options::default()
        })?;
        for host in ["127.0.0.1", "localhost"] {
            let answer = client.get(format!("https://{host}:{port}/")).send().await?;
            assert_eq!(answer.status(), 204);
        }
        let answer = client.get(format!("https://localhost:{other}/")).send();
        let error = answer.await.err();
        let error = error.ok_or_else(|| anyhow::anyhow!("a stranger is trusted"))?;
        assert!(is_certificate_error(&error), "{error:?}");
        Ok(())
    }

    /// To trust only these, and none is there.
    #[test]
    fn trusting_nobody_is_refused() {
        let error = config(&Options {
            only_these: true,
            ..Options::default()
        })
        .err()
        .map_or_else(String::new, |error| error.to_string());
        expect!["cannot read the CA certificates: none is given, and no others are to be trusted"]
            .assert_eq(&error);
    }

    /// Nobody listens, or it is no TLS that answers: that is not the certificate.
    #[tokio::test]
    async fn other_failures_are_not_the_certificate() -> anyhow::Result<()> {
        let client = http_client(&Options::default())?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}/", listener.local_addr()?);
        let (answer, spoken) = tokio::join!(client.get(&url).send(), async {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await
        });
        spoken?;
        assert!(answer.is_err_and(|error| !is_certificate_error(&error)));
        drop(listener);
        let answer = client.get(&url).send().await;
        assert!(answer.is_err_and(|error| !is_certificate_error(&error)));
        Ok(())
    }

    /// A client for plain HTTP never reads the system's certificates.
    #[test]
    fn certificates_are_read_at_the_first_handshake_only() -> anyhow::Result<()> {
        let verifier = LazyVerifier {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            extra: Vec::new(),
            inner: OnceLock::new(),
        };
        assert!(!verifier.supported_verify_schemes().is_empty());
        assert!(verifier.inner.get().is_none());
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let verdict = verifier.verify_server_cert(
            certified.cert.der(),
            &[],
            &ServerName::try_from("localhost")?,
            &[],
            UnixTime::now(),
        );
        assert!(verdict.is_err());
        assert!(verifier.inner.get().is_some());
        Ok(())
    }

    /// What is no certificate is found before anything is sent.
    #[test]
    fn wrong_certificates_are_refused() {
        let message = |pem: &str| {
            let options = Options {
                ca_certificates: Some(pem.as_bytes().to_vec()),
                ..Options::default()
            };
            config(&options)
                .err()
                .map_or_else(String::new, |error| error.to_string())
        };
        expect!["cannot read the CA certificates: there is no certificate in PEM form"]
            .assert_eq(&message("/etc/ssl/ca.pem"));
        expect![
            "cannot read the CA certificates: number 1 of 1: invalid peer certificate: BadEncoding"
        ]
        .assert_eq(&message(
            "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
        ));
        expect!["cannot read the CA certificates: the PEM text is damaged or incomplete"]
            .assert_eq(&message("-----BEGIN CERTIFICATE-----\naGVsbG8=\n"));
    }

    proptest::proptest! {
        /// Whatever stands in a file of certificates, it has some that can be used, or is refused.
        #[test]
        fn any_file(pem in crate::spoilt::bytes([
            &include_bytes!("../../tests/fixtures/instance-certificate.pem")[..],
            b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        ])) {
            if let Ok(read) = certificates(&pem) {
                proptest::prop_assert!(!read.is_empty());
            }
        }
    }
}
