//! An instance's certificate for a security token, and a user behind it.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/Identity/Tasks/callingservicesfrominstances.htm>
//!
//! The certificates are read anew for each session, for they are replaced every
//! few hours. In Cloud Shell the instance acts for a user, whose delegation
//! token goes with every request.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::Method;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::{Position, Url};

use super::{
    Credential, CredentialSource, Error, ExchangeError, Grantee, Network,
    certificate::Certificate,
    exchange::{self, Answer, Ask, Channel},
    jwt::Claims,
    metadata::Metadata,
    renew::{Exchange, Principal, Renewing, Session},
};
use crate::{
    region::{Region, Service},
    signing::{self, Coverage, Parts, SigningKey},
};

/// Where a delegation token comes from.
#[derive(Clone)]
pub(super) enum DelegationToken {
    /// The token itself, and what names it.
    Text { token: String, named_by: String },
    /// A file that is read for each new session, and again when it changes.
    File { path: PathBuf, named_by: String },
}

/// The instance, or the user who delegated to it (Cloud Shell). Contacts nobody yet.
pub(super) fn source(
    metadata: &Metadata,
    region: &Region,
    delegation: Option<DelegationToken>,
    network: &Network,
) -> Result<Arc<dyn CredentialSource>, Error> {
    Ok(Arc::new(Renewing::new(Instance {
        metadata: metadata.clone(),
        channel: exchange::channel(network, WANTED)?,
        federation: federation(metadata, region, network)?,
        delegation,
        read: Mutex::default(),
    })))
}

/// The address of `/v1/x509`.
fn federation(metadata: &Metadata, region: &Region, network: &Network) -> Result<Url, Error> {
    let address = match (&metadata.federation, &network.endpoint) {
        // What is for this service alone goes before what is for all.
        (Some(url), _) => url.to_string(),
        (None, Some(endpoint)) => endpoint
            .replace("{service}", Service::Auth.name())
            .replace("{region}", &region.identifier),
        (None, None) => format!("https://{}", region.host(Service::Auth)),
    };
    let mut url = Url::parse(&address)
        .ok()
        .filter(Url::has_host)
        .ok_or_else(|| ExchangeError::Setting(format!("endpoint is no address: \"{address}\"")))?;
    // Oracle's CLI is told the whole address.
    let path = url.path().trim_end_matches('/').to_owned();
    let base = path.strip_suffix(PATH).unwrap_or(&path);
    url.set_path(&format!("{base}{PATH}"));
    Ok(url)
}

struct Instance {
    metadata: Metadata,
    channel: Channel,
    federation: Url,
    delegation: Option<DelegationToken>,
    /// What the file of the delegation token looked like when it was read for
    /// the last session.
    read: Mutex<Option<Stamp>>,
}

impl Exchange for Instance {
    fn obtain(&self) -> BoxFuture<'_, Result<Session, Error>> {
        async move { Ok(self.session().await?) }.boxed()
    }

    fn unnamed(&self) -> Principal {
        match &self.delegation {
            None => Principal {
                description: "an instance (instance principal)".to_owned(),
                tenancy_id: None,
                user_id: None,
                grantee: Grantee::DynamicGroup,
            },
            Some(_) => Principal {
                description: "a user (Cloud Shell)".to_owned(),
                tenancy_id: None,
                user_id: None,
                grantee: Grantee::Group,
            },
        }
    }

    fn is_outdated(&self, _: &Session) -> bool {
        let Some(DelegationToken::File { path, .. }) = &self.delegation else {
            return false;
        };
        let now = Stamp::of(path);
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that is gone is no newer one.
        now.is_some() && *read != now
    }
}

impl Instance {
    async fn session(&self) -> Result<Session, ExchangeError> {
        let delegation = self.delegation_token().await?;
        let key = exchange::session_key(SigningKey::generate).await?;
        let asked = Instant::now();
        let mut identity = self.identity().await?;
        let answer = match self.federate(&identity, &key).await {
            // The certificate was replaced after it was read.
            Err(error) if error.status() == Some(401) => {
                tracing::info!("The instance's certificate was refused and is read again");
                identity = self.identity().await?;
                self.federate(&identity, &key).await?
            }
            answer => answer?,
        };
        let token = answer.token()?;
        let now = self.channel.now();
        let lifetime = answer.lifetime(&token, now)?;
        let (mut renew_at, mut expires_at) = exchange::times(asked, lifetime);
        let principal = identity.principal(delegation.as_ref());
        if let Some(end) = delegation.as_ref().and_then(|token| token.claims.expires()) {
            // Another one has to be read by then. Not ahead of time: there is
            // none before the user has opened another Cloud Shell.
            let left = end.duration_since(now).unwrap_or_default();
            expires_at = expires_at.min(Instant::now() + left.min(lifetime));
            renew_at = renew_at.min(expires_at);
        }
        let delegation_token = delegation.map(|delegation| {
            *self.read.lock().unwrap_or_else(PoisonError::into_inner) = delegation.stamp;
            delegation.token
        });
        Ok(Session {
            credential: Arc::new(Credential {
                key_id: token.key_id,
                key: Arc::new(key),
                delegation_token,
            }),
            renew_at,
            expires_at,
            principal,
        })
    }

    /// The certificates of the moment, which belong together.
    async fn identity(&self) -> Result<Identity, ExchangeError> {
        let read = || async {
            let (certificate, key, intermediate) = tokio::try_join!(
                self.metadata.certificate(),
                self.metadata.key(),
                self.metadata.intermediate(),
            )?;
            Identity::new(&certificate, &key, &intermediate)
        };
        match read().await {
            // They were being replaced between one request and the next.
            Err(ExchangeError::Certificate { problem }) if problem == OTHER_KEY => read().await,
            identity => identity,
        }
    }

    async fn federate(
        &self,
        identity: &Identity,
        key: &SigningKey,
    ) -> Result<Answer, ExchangeError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            certificate: &'a str,
            public_key: String,
            intermediate_certificates: &'a [String],
            fingerprint_algorithm: &'static str,
        }
        let body = serde_json::to_vec(&Body {
            certificate: &identity.certificate,
            public_key: BASE64.encode(key.public_key_der()),
            intermediate_certificates: &identity.intermediates,
            fingerprint_algorithm: "SHA256",
        })
        .map(Bytes::from)
        .expect("texts become JSON");
        let host = crate::transport::authority(&self.federation);
        let sign = |date: SystemTime| {
            signing::sign(
                &Parts {
                    method: "POST",
                    path_and_query: &self.federation[Position::BeforePath..Position::AfterQuery],
                    host: &host,
                    body: Some(&body),
                    delegation_token: None,
                    coverage: Coverage::WithoutHost,
                },
                &identity.key_id,
                &identity.key,
                date,
            )
            .map_err(|source| ExchangeError::Sign {
                wanted: WANTED,
                source,
            })
        };
        self.channel
            .send(&Ask {
                operation: "FederateInstance",
                wanted: WANTED,
                method: Method::POST,
                url: &self.federation,
                body: Some(body.clone()),
                headers: &sign,
                secrets: &[],
                advice,
                timeout: exchange::TIMEOUT,
            })
            .await
    }

    async fn delegation_token(&self) -> Result<Option<Delegation>, ExchangeError> {
        let (text, origin, stamp) = match &self.delegation {
            None => return Ok(None),
            Some(DelegationToken::Text { token, named_by }) => {
                (token.clone(), named_by.clone(), None)
            }
            Some(DelegationToken::File { path, named_by }) => {
                // Before it is read: whoever writes meanwhile makes it look newer.
                let stamp = Stamp::of(path);
                let text = exchange::read("the delegation token", path, named_by).await?;
                (text, path.display().to_string(), stamp)
            }
        };
        let token = exchange::evidence(
            "delegation token",
            &origin,
            &text,
            self.channel.now(),
            "; open a new Cloud Shell session, which brings a new one",
        )?;
        let claims = Claims::of(&token).ok_or_else(|| ExchangeError::Evidence {
            what: "delegation token",
            origin,
            problem: "is no JSON Web Token; open a new Cloud Shell session, which brings a new one"
                .to_owned(),
        })?;
        Ok(Some(Delegation {
            token,
            claims,
            stamp,
        }))
    }
}

/// A user's token, and what it says.
struct Delegation {
    token: String,
    claims: Claims,
    stamp: Option<Stamp>,
}

/// What a file looks like from outside.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok()?,
            length: metadata.len(),
        })
    }
}

/// The instance's certificate, ready to be shown.
struct Identity {
    certificate: String,
    intermediates: Vec<String>,
    key: SigningKey,
    key_id: String,
    tenancy_id: String,
    instance_id: Option<String>,
}

impl Identity {
    fn new(certificate: &str, key: &str, intermediate: &str) -> Result<Self, ExchangeError> {
        let wrong = |problem| ExchangeError::Certificate { problem };
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| wrong(UNREADABLE))?;
        let read = Certificate::of(&der).ok_or_else(|| wrong(UNREADABLE))?;
        let tenancy_id = read.tenancy_id().ok_or_else(|| wrong(NO_TENANCY))?;
        let key = signing_key(key)?;
        if read.public_key != key.public_key_der() {
            return Err(wrong(OTHER_KEY));
        }
        let intermediates = CertificateDer::pem_slice_iter(intermediate.as_bytes())
            .map(|der| der.map(|der| BASE64.encode(der)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| wrong("comes with one of its authority that cannot be read"))?;
        let fingerprint = Sha256::digest(&der)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(":");
        Ok(Self {
            certificate: BASE64.encode(&der),
            intermediates,
            key,
            key_id: format!("{tenancy_id}/fed-x509-sha256/{fingerprint}"),
            tenancy_id: tenancy_id.to_owned(),
            instance_id: read.instance_id().map(str::to_owned),
        })
    }

    fn principal(&self, delegation: Option<&Delegation>) -> Principal {
        let instance = match &self.instance_id {
            Some(id) => format!("instance {id}"),
            None => "an instance".to_owned(),
        };
        let tenancy_id = Some(self.tenancy_id.clone());
        let Some(delegation) = delegation else {
            return Principal {
                description: format!("{instance} (instance principal)"),
                tenancy_id,
                user_id: None,
                grantee: Grantee::DynamicGroup,
            };
        };
        let user_id = delegation.claims.name("sub").map(str::to_owned);
        let user = match &user_id {
            Some(id) => format!("user {id}"),
            None => "a user".to_owned(),
        };
        Principal {
            description: format!("{user} (Cloud Shell, through {instance})"),
            tenancy_id,
            user_id,
            grantee: Grantee::Group,
        }
    }
}

impl std::fmt::Debug for DelegationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DelegationToken::Text { named_by, .. } => f
                .debug_struct("Text")
                .field("named_by", named_by)
                .finish_non_exhaustive(),
            DelegationToken::File { path, named_by } => f
                .debug_struct("File")
                .field("path", path)
                .field("named_by", named_by)
                .finish(),
        }
    }
}

/// The key of the certificate, in one of the forms that machines write.
fn signing_key(pem: &str) -> Result<SigningKey, ExchangeError> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(PrivateKeyDer::Pkcs1(der)) => SigningKey::from_pkcs1_der(der.secret_pkcs1_der()),
        Ok(PrivateKeyDer::Pkcs8(der)) => SigningKey::from_pkcs8_der(der.secret_pkcs8_der()),
        _ => Err(signing::KeyError::Damaged),
    }
    .map_err(ExchangeError::Key)
}

fn advice(status: u16, _: &str) -> &'static str {
    match status {
        0 => {
            "the instance needs a way to it: a service gateway or an internet gateway, and a security rule for port 443"
        }
        401 | 403 => {
            "the instance's certificate was not accepted; if its clock is right, restart the instance, which gives it a new one"
        }
        404 => "is the region right, or the endpoint that is set?",
        _ => "",
    }
}

const PATH: &str = "/v1/x509";

/// For messages.
const WANTED: &str = "a security token for this instance";

const UNREADABLE: &str =
    "cannot be read; if this happens again, restart the instance, which gives it a new one";
const NO_TENANCY: &str = "names no tenancy; is this a compute instance of Oracle's cloud?";
const OTHER_KEY: &str = "is for another key than it came with, twice; run the command again";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::{
        credentials::exchange::testing::{
            Server, answer, callers, count, environment, jwt, network, seconds_from_now, text,
            works,
        },
        emulator::{Emulator, Fault},
    };

    async fn start() -> anyhow::Result<Emulator> {
        Ok(Emulator::builder().start().await?)
    }

    fn metadata(emulator: &Emulator) -> Result<Metadata, Error> {
        Metadata::new(&environment(emulator.instance()), &network(None))
    }

    fn region() -> Region {
        Region::parse("gru").expect("it is in the table")
    }

    fn source_with(
        emulator: &Emulator,
        delegation: Option<DelegationToken>,
    ) -> Result<Arc<dyn CredentialSource>, Error> {
        let network = network(Some(&emulator.url()));
        source(&metadata(emulator)?, &region(), delegation, &network)
    }

    fn instance(emulator: &Emulator) -> Result<Arc<dyn CredentialSource>, Error> {
        source_with(emulator, None)
    }

    /// Cloud Shell, with the token in a file.
    fn cloud_shell(
        emulator: &Emulator,
        folder: &Path,
    ) -> anyhow::Result<(Arc<dyn CredentialSource>, PathBuf)> {
        let path = folder.join("delegation_token");
        emulator.cloud_shell(folder)?;
        let delegation = DelegationToken::File {
            path: path.clone(),
            named_by: "OCI_obo_token_path".to_owned(),
        };
        Ok((source_with(emulator, Some(delegation))?, path))
    }

    async fn failure(source: &dyn CredentialSource, emulator: &Emulator) -> anyhow::Result<String> {
        match source.credential().await {
            Ok(_) => anyhow::bail!("there is a credential"),
            Err(error) => Ok(text(&*error, &[(&emulator.authority(), "HOST")])),
        }
    }

    /// An instance signs in, calls the control plane, gets a registry token, and
    /// says who it is from then on. Both use one session.
    #[tokio::test]
    async fn instance_signs_in() -> anyhow::Result<()> {
        let emulator = start().await?;
        let seed = emulator.seed().clone();
        let source = instance(&emulator)?;
        expect!["an instance (instance principal)"].assert_eq(&source.describe());
        assert_eq!(source.tenancy_id(), None);
        works(source.clone(), &emulator).await?;
        assert_eq!(
            source.describe(),
            format!("instance {} (instance principal)", seed.instance_id)
        );
        assert_eq!(source.tenancy_id(), Some(seed.tenancy_id));
        assert_eq!(source.user_id(), None);
        assert_eq!(source.grantee(), Grantee::DynamicGroup);
        assert_eq!(
            callers(&emulator, "GetNamespace"),
            [format!("instance {}", seed.instance_id)]
        );
        assert_eq!(count(&emulator, "FederateInstance"), 1);
        Ok(())
    }

    /// A session that has ended is replaced before the next request.
    #[tokio::test]
    async fn session_that_ended_is_replaced() -> anyhow::Result<()> {
        let second = Duration::from_secs(1);
        let emulator = Emulator::builder().session_lifetime(second).start().await?;
        let source = instance(&emulator)?;
        let first = source.credential().await?;
        tokio::time::sleep(second).await;
        let next = source.credential().await?;
        assert_ne!(first.key_id, next.key_id);
        assert_ne!(
            first.key.fingerprint(),
            next.key.fingerprint(),
            "token and key are replaced together"
        );
        Ok(())
    }

    /// A token that the service refuses is replaced; the instance's certificate,
    /// which was replaced meanwhile, is read anew.
    #[tokio::test]
    async fn refused_token_and_rotated_certificate() -> anyhow::Result<()> {
        let emulator = start().await?;
        let source = instance(&emulator)?;
        let first = source.credential().await?;
        emulator.rotate_instance_certificate();
        emulator.expire_tokens();
        assert!(source.refused(&first));
        works(source.clone(), &emulator).await?;
        assert_eq!(count(&emulator, "FederateInstance"), 2);
        Ok(())
    }

    /// The federation service does not know a certificate that was just
    /// replaced: it is read once more, and only once.
    #[tokio::test]
    async fn refused_certificate_is_read_once_more() -> anyhow::Result<()> {
        let emulator = start().await?;
        let refusal = Fault::error(401, "NotAuthenticated", "The certificate is not valid.");
        emulator.fail_next("FederateInstance", refusal.clone());
        works(instance(&emulator)?, &emulator).await?;
        assert_eq!(count(&emulator, "GetInstanceCertificate"), 2);

        emulator.clear_requests();
        emulator.fail_always("FederateInstance", refusal);
        expect!["cannot get a security token for this instance: HOST answered 401 NotAuthenticated: The certificate is not valid (opc-request-id: ID); the instance's certificate was not accepted; if its clock is right, restart the instance, which gives it a new one"]
            .assert_eq(&failure(&*instance(&emulator)?, &emulator).await?);
        assert_eq!(count(&emulator, "FederateInstance"), 2);
        Ok(())
    }

    /// Certificate and key that were read on either side of a rotation do not
    /// belong together, which is noticed here.
    #[tokio::test]
    async fn rotation_between_two_reads() -> anyhow::Result<()> {
        let emulator = start().await?;
        let metadata = metadata(&emulator)?;
        let (certificate, intermediate) = (
            metadata.certificate().await?,
            metadata.intermediate().await?,
        );
        emulator.rotate_instance_certificate();
        let key = metadata.key().await?;
        let error = Identity::new(&certificate, &key, &intermediate).err();
        let error = error.ok_or_else(|| anyhow::anyhow!("they belong together"))?;
        expect!["the certificate that the metadata service gave for this instance is for another key than it came with, twice; run the command again"]
            .assert_eq(&error.to_string());
        Ok(())
    }

    /// What the metadata service may give instead of certificates.
    #[tokio::test]
    async fn odd_certificates() -> anyhow::Result<()> {
        let emulator = start().await?;
        let metadata = metadata(&emulator)?;
        let good = (
            metadata.certificate().await?,
            metadata.key().await?,
            metadata.intermediate().await?,
        );
        let message = |certificate: &str, key: &str, intermediate: &str| {
            let error = Identity::new(certificate, key, intermediate).err();
            error.map_or_else(|| "good".to_owned(), |error| error.to_string())
        };
        expect!["good"].assert_eq(&message(&good.0, &good.1, &good.2));
        expect!["the certificate that the metadata service gave for this instance cannot be read; if this happens again, restart the instance, which gives it a new one"]
            .assert_eq(&message("<html>", &good.1, &good.2));
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        expect!["the certificate that the metadata service gave for this instance names no tenancy; is this a compute instance of Oracle's cloud?"]
            .assert_eq(&message(&other.cert.pem(), &good.1, &good.2));
        expect!["the private key that the metadata service gave for this instance is damaged; if this happens again, restart the instance, which gives it a new one"]
            .assert_eq(&message(&good.0, "<html>", &good.2));
        expect!["the certificate that the metadata service gave for this instance comes with one of its authority that cannot be read"]
            .assert_eq(&message(&good.0, &good.1, "-----BEGIN CERTIFICATE-----\nAA"));
        Ok(())
    }

    /// A clock that is ten minutes off is named as the reason.
    #[tokio::test]
    async fn clock_that_is_off() -> anyhow::Result<()> {
        let emulator = Emulator::builder().skew_clock(-630).start().await?;
        let error = failure(&*instance(&emulator)?, &emulator).await?;
        let (refusal, reason) = error
            .split_once("; ")
            .ok_or_else(|| anyhow::anyhow!("no reason: {error}"))?;
        // The service's own words have dates in them.
        let expected =
            "cannot get a security token for this instance: HOST answered 401 NotAuthenticated: ";
        assert!(refusal.starts_with(expected), "{refusal}");
        expect!["the clock of this machine is 10 minutes ahead of the service's, which accepts five minutes: set it"]
            .assert_eq(reason);
        Ok(())
    }

    /// Services that stumble are asked again; those that answer nonsense are not.
    #[tokio::test]
    async fn services_that_stumble() -> anyhow::Result<()> {
        let emulator = start().await?;
        emulator.fail_next("GetInstanceKey", Fault::status(404));
        emulator.fail_next("GetInstanceCertificate", Fault::cut_answer());
        emulator.fail_next("FederateInstance", Fault::status(503));
        emulator.fail_next("FederateInstance", Fault::cut_answer());
        works(instance(&emulator)?, &emulator).await?;
        assert_eq!(count(&emulator, "FederateInstance"), 3);

        for (body, problem) in [
            ("<html>", "is not the JSON that was expected"),
            ("{}", "holds no token"),
            (
                r#"{"token": "abc"}"#,
                "holds a token that is no JSON Web Token",
            ),
        ] {
            emulator.fail_next("FederateInstance", Fault::body(200, body));
            let error = failure(&*instance(&emulator)?, &emulator).await?;
            let expected = format!(
                "cannot get a security token for this instance: the answer of HOST {problem}"
            );
            assert!(error.starts_with(&expected), "{error}");
        }
        Ok(())
    }

    /// In Cloud Shell the instance acts for the user, who is named.
    #[tokio::test]
    async fn cloud_shell_acts_for_its_user() -> anyhow::Result<()> {
        let emulator = start().await?;
        let seed = emulator.seed().clone();
        let folder = tempfile::tempdir()?;
        let (source, path) = cloud_shell(&emulator, folder.path())?;
        expect!["a user (Cloud Shell)"].assert_eq(&source.describe());
        works(source.clone(), &emulator).await?;
        assert_eq!(
            source.describe(),
            format!(
                "user {} (Cloud Shell, through instance {})",
                seed.user_id, seed.instance_id
            )
        );
        assert_eq!(source.user_id(), Some(seed.user_id.clone()));
        assert_eq!(source.tenancy_id(), Some(seed.tenancy_id));
        assert_eq!(source.grantee(), Grantee::Group);
        assert_eq!(
            callers(&emulator, "GetNamespace"),
            [format!("delegation {}", seed.user_id)]
        );

        // The same from a variable.
        let text = std::fs::read_to_string(path)?;
        let delegation = DelegationToken::Text {
            token: format!("{text}\n"),
            named_by: "OCI_obo_token".to_owned(),
        };
        let source = source_with(&emulator, Some(delegation))?;
        works(source.clone(), &emulator).await?;
        assert_eq!(source.user_id(), Some(seed.user_id));
        Ok(())
    }

    /// A delegation token that is replaced is used with the next request, and
    /// one that is replaced by nonsense leaves the old one in use.
    #[tokio::test]
    async fn replaced_delegation_token_is_used() -> anyhow::Result<()> {
        let emulator = start().await?;
        let folder = tempfile::tempdir()?;
        let (source, path) = cloud_shell(&emulator, folder.path())?;
        let first = source.credential().await?;
        assert!(Arc::ptr_eq(&first, &source.credential().await?));
        let user = source.user_id().unwrap_or_default();
        let another = jwt(&json!({ "sub": user, "jti": "another" }));
        std::fs::write(&path, &another)?;
        let next = source.credential().await?;
        assert_eq!(next.delegation_token.as_ref(), Some(&another));
        // Another user's is not.
        std::fs::write(&path, jwt(&json!({ "sub": "ocid1.user.oc1..another" })))?;
        assert!(Arc::ptr_eq(&next, &source.credential().await?));
        assert_eq!(source.user_id(), Some(user));
        std::fs::write(&path, "two words")?;
        assert!(Arc::ptr_eq(&next, &source.credential().await?));
        std::fs::remove_file(&path)?;
        assert!(Arc::ptr_eq(&next, &source.credential().await?));
        Ok(())
    }

    /// A delegation token that has ended, is none, or is nowhere.
    #[tokio::test]
    async fn delegation_tokens_that_are_no_use() -> anyhow::Result<()> {
        let emulator = start().await?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("delegation_token");
        let message = async |content: Option<&str>| -> anyhow::Result<String> {
            match content {
                Some(content) => std::fs::write(&path, content)?,
                None => std::fs::remove_file(&path)?,
            }
            let delegation = DelegationToken::File {
                path: path.clone(),
                named_by: "delegation_token_file".to_owned(),
            };
            let source = source_with(&emulator, Some(delegation))?;
            let message = failure(&*source, &emulator).await?;
            Ok(message.replace(&path.display().to_string(), "FILE"))
        };
        let ended = jwt(&json!({ "exp": seconds_from_now(-7300) }));
        expect!["the delegation token from FILE ended 2 hours ago; open a new Cloud Shell session, which brings a new one"]
            .assert_eq(&message(Some(&ended)).await?);
        expect!["the delegation token from FILE is no JSON Web Token; open a new Cloud Shell session, which brings a new one"]
            .assert_eq(&message(Some("opaque")).await?);
        expect!["the delegation token from FILE is empty; open a new Cloud Shell session, which brings a new one"]
            .assert_eq(&message(Some("")).await?);
        expect!["cannot read the delegation token in FILE, which delegation_token_file names: No such file or directory (os error 2)"]
            .assert_eq(&message(None).await?);
        assert_eq!(count(&emulator, "FederateInstance"), 0);
        Ok(())
    }

    /// A session ends with its delegation token, not later.
    #[tokio::test]
    async fn session_ends_with_its_delegation_token() -> anyhow::Result<()> {
        let emulator = start().await?;
        let delegation = DelegationToken::Text {
            token: jwt(&json!({ "sub": "a", "exp": seconds_from_now(4) })),
            named_by: "OCI_obo_token".to_owned(),
        };
        let source = source_with(&emulator, Some(delegation))?;
        source.credential().await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let error = failure(&*source, &emulator).await?;
        assert!(
            error.starts_with("the delegation token from OCI_obo_token ended "),
            "{error}"
        );
        Ok(())
    }

    /// Where the federation service is: the region's host, the endpoint, and
    /// what the environment says, with and without the path.
    #[tokio::test]
    async fn federation_addresses() -> anyhow::Result<()> {
        let address = |variables: &[(&str, &str)], endpoint: Option<&str>| {
            let variables = variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let metadata = Metadata::new(&environment(variables.collect()), &network(None))?;
            Ok::<_, Error>(federation(&metadata, &region(), &network(endpoint))?.to_string())
        };
        expect!["https://auth.sa-saopaulo-1.oraclecloud.com/v1/x509"]
            .assert_eq(&address(&[], None)?);
        expect!["https://auth.sa-saopaulo-1.gateway.example/oci/v1/x509"].assert_eq(&address(
            &[],
            Some("https://{service}.{region}.gateway.example/oci/"),
        )?);
        let cli = ("OCI_CLI_FEDERATION_ENDPOINT", "http://127.0.0.1:1/v1/x509");
        let go = ("OCI_SDK_AUTH_CLIENT_REGION_URL", "http://127.0.0.1:2");
        expect!["http://127.0.0.1:1/v1/x509"]
            .assert_eq(&address(&[cli, go], Some("http://127.0.0.1:3"))?);
        expect!["http://127.0.0.1:2/v1/x509"].assert_eq(&address(&[go], None)?);
        let error = address(&[], Some("gateway"))
            .err()
            .map(|error| error.to_string());
        expect![[r#"endpoint is no address: "gateway""#]].assert_eq(&error.unwrap_or_default());
        Ok(())
    }

    /// The request of the federation: what is in it, and what is signed.
    #[tokio::test]
    async fn federation_request() -> anyhow::Result<()> {
        let emulator = start().await?;
        let token = jwt(&json!({ "iat": 0, "exp": 1200 }));
        let server = Server::start([answer(200, &json!({ "token": token }).to_string())]).await?;
        let network = network(Some(&server.url));
        let source = source(&metadata(&emulator)?, &region(), None, &network)?;
        let credential = source.credential().await?;
        assert_eq!(credential.key_id, format!("ST${token}"));
        let requests = server.requests();
        let (head, body) = requests[0]
            .split_once("\r\n\r\n")
            .ok_or_else(|| anyhow::anyhow!("it has a head"))?;
        assert!(head.starts_with("POST /v1/x509 HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains(
                r#"headers="date (request-target) content-length content-type x-content-sha256""#
            ),
            "{head}"
        );
        let key_id = format!("keyId=\"{}/fed-x509-sha256/", emulator.seed().tenancy_id);
        assert!(head.contains(&key_id), "{head}");
        let body: serde_json::Map<_, _> = serde_json::from_str(body)?;
        let names: Vec<&str> = body.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "certificate",
                "fingerprintAlgorithm",
                "intermediateCertificates",
                "publicKey"
            ]
        );
        assert_eq!(
            body["publicKey"],
            BASE64.encode(credential.key.public_key_der())
        );
        assert_eq!(body["fingerprintAlgorithm"], "SHA256");
        Ok(())
    }

    /// Neither the token nor the credential is printed.
    #[tokio::test]
    async fn debug_shows_no_secret() -> anyhow::Result<()> {
        let token = DelegationToken::Text {
            token: "eyJSECRET".to_owned(),
            named_by: "OCI_obo_token".to_owned(),
        };
        expect![[r#"Text { named_by: "OCI_obo_token", .. }"#]].assert_eq(&format!("{token:?}"));
        let emulator = start().await?;
        let credential = instance(&emulator)?.credential().await?;
        assert!(!format!("{credential:?}").contains("eyJ"));
        Ok(())
    }

    proptest::proptest! {
        // Reading a key takes a while.
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: proptest::prelude::ProptestConfig::default().cases.div_ceil(4),
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever the metadata service gives as certificate, key and authority, and whatever a
        /// delegation token says: there is somebody who can be shown and can sign, or an error
        /// that shows nothing of the key.
        #[test]
        fn any_identity(
            changes in proptest::collection::vec(crate::spoilt::changes(), 3),
            changed in proptest::collection::vec(proptest::prelude::any::<bool>(), 3),
            claims in proptest::option::of(crate::spoilt::json([
                json!({"sub": "ocid1.user.oc1..a", "exp": 2000}),
                json!({"sub": "a\u{1b}[2Jb'"}),
            ])),
        ) {
            let texts: Vec<String> = MACHINE
                .iter()
                .zip(changes.iter().zip(changed))
                .map(|(text, (changes, is_changed))| match is_changed {
                    true => String::from_utf8_lossy(&changes.of(text.clone().into_bytes())).into_owned(),
                    false => text.clone(),
                })
                .collect();
            match Identity::new(&texts[0], &texts[1], &texts[2]) {
                Ok(identity) => {
                    let graphic = |byte: u8| byte.is_ascii_graphic();
                    proptest::prop_assert!(identity.key_id.bytes().all(graphic), "{}", identity.key_id);
                    let delegation = claims.map(|claims| jwt(&claims)).and_then(|token| {
                        let claims = Claims::of(&token)?;
                        Some(Delegation { token, claims, stamp: None })
                    });
                    let principal = identity.principal(delegation.as_ref());
                    proptest::prop_assert!(principal.can_be_shown(), "{:?}", principal);
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    proptest::prop_assert!(error.len() < 400, "{}", error);
                    for secret in MACHINE[1].lines().filter(|line| line.len() == 64) {
                        proptest::prop_assert!(!error.contains(secret), "{}", error);
                    }
                }
            }
        }
    }

    /// What the metadata service of the emulator's instance gives.
    static MACHINE: std::sync::LazyLock<[String; 3]> = std::sync::LazyLock::new(|| {
        let given = async {
            let emulator = start().await?;
            let metadata = metadata(&emulator)?;
            anyhow::Ok([
                metadata.certificate().await?,
                metadata.key().await?,
                metadata.intermediate().await?,
            ])
        };
        let runtime = tokio::runtime::Runtime::new().expect("there is room for one");
        runtime.block_on(given).expect("the emulator answers")
    });
}
