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
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::{Position, Url};

use super::{
    Credential, CredentialSource, Error, ExchangeError, Grantee, Network,
    certificate::Certificate,
    exchange::{self, Answer, Ask, Channel},
    jwt::Claims,
    metadata::Metadata,
    private_key,
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
    if !path.ends_with(PATH) {
        url.set_path(&format!("{path}{PATH}"));
    }
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
        let host = exchange::authority(&self.federation);
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
        let key = private_key::read(key).map_err(ExchangeError::Key)?;
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
        let user_id = delegation.claims.text("sub").map(str::to_owned);
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
