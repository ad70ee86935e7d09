//! The token of a CI for one of Oracle's, at an identity domain (RFC 8693).
//!
//! <https://docs.oracle.com/en-us/iaas/Content/Identity/api-getstarted/json_web_token_exchange.htm>
//!
//! The domain knows the CI by a trust that an administrator has set up, and us
//! by the id and secret of an application, or by an instance's signature.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderMap, HeaderValue, Method, header};
use url::{Position, Url, form_urlencoded};

use super::{
    Credential, CredentialSource, Error, ExchangeError, Grantee, Network, TokenExchange,
    exchange::{self, Answer, Ask, Channel},
    jwt::Claims,
    renew::{Exchange, Principal, Renewing, Session},
};
use crate::signing::{self, Coverage, FORM_CONTENT_TYPE, Parts, SigningKey};

/// The workload outside Oracle's cloud. Contacts nobody yet. `settings` are
/// complete: the environment had its say. `instance` signs the exchange when
/// `auth` says so.
pub(super) fn source(
    settings: &TokenExchange,
    instance: Option<Arc<dyn CredentialSource>>,
    network: &Network,
) -> Result<Arc<dyn CredentialSource>, Error> {
    let mut missing = Vec::new();
    let mut needed = |value: &Option<String>, name: &'static str| {
        let value = given(value);
        if value.is_none() {
            missing.push(name);
        }
        value.unwrap_or_default()
    };
    let token_path = needed(&settings.workload_identity_token_path, TOKEN_PATH);
    let domain = needed(&settings.domain_url, DOMAIN_URL);
    let requested = given(&settings.requested_token_type).unwrap_or_else(|| UPST.to_owned());
    // The type's own name is long, and its end says all.
    let resource = if requested == RPST {
        Some(needed(&settings.resource_type, RESOURCE_TYPE))
    } else {
        None
    };
    let auth = given(&settings.auth);
    let client = match auth.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("instanceprincipal") => Client::Instance(instance.ok_or_else(|| {
            ExchangeError::Setting(
                "token_exchange_auth is \"InstancePrincipal\", and there is no instance to sign with".to_owned(),
            )
        })?),
        Some("oauthclientcredentials") | None => Client::Application {
            id: needed(&settings.client_id, CLIENT_ID),
            secret: needed(&settings.client_secret, CLIENT_SECRET),
        },
        Some(_) => {
            return Err(ExchangeError::Setting(format!(
                "token_exchange_auth is \"{}\"; it can be \"OAuthClientCredentials\" or \"InstancePrincipal\"",
                auth.unwrap_or_default()
            ))
            .into());
        }
    };
    if !missing.is_empty() {
        return Err(ExchangeError::Setting(missing_text(&missing)).into());
    }
    Ok(Arc::new(Renewing::new(Job {
        channel: exchange::channel(network, WANTED)?,
        url: token_endpoint(&domain)?,
        token_path: token_path.into(),
        client,
        requested,
        subject_token_type: given(&settings.subject_token_type).unwrap_or_else(|| "jwt".to_owned()),
        resource,
        expiration: given(&settings.rpst_expiration),
    })))
}

fn given(value: &Option<String>) -> Option<String> {
    value
        .as_deref()
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

fn missing_text(missing: &[&str]) -> String {
    let named: Vec<String> = missing
        .iter()
        .map(|name| format!("{name} (or OCI_{})", name.to_ascii_uppercase()))
        .collect();
    format!(
        "to sign in with WorkloadIdentityFederation, set {}",
        named.join(", ")
    )
}

/// The token endpoint of a domain whose address people copy in several forms.
fn token_endpoint(domain: &str) -> Result<Url, ExchangeError> {
    let address = if domain.contains("://") {
        domain.to_owned()
    } else {
        format!("https://{domain}")
    };
    let mut url = Url::parse(&address)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
        .ok_or_else(|| {
            ExchangeError::Setting(format!(
                "{DOMAIN_URL} is no address: \"{domain}\"; the identity domain's page shows it as Domain URL"
            ))
        })?;
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(PATH) {
        url.set_path(&format!("{path}{PATH}"));
    }
    Ok(url)
}

struct Job {
    channel: Channel,
    url: Url,
    token_path: PathBuf,
    client: Client,
    requested: String,
    subject_token_type: String,
    /// Of a resource's token.
    resource: Option<String>,
    expiration: Option<String>,
}

/// Who asks for the exchange.
enum Client {
    Application { id: String, secret: String },
    Instance(Arc<dyn CredentialSource>),
}

impl Exchange for Job {
    fn obtain(&self) -> BoxFuture<'_, Result<Session, Error>> {
        async move { Ok(self.session().await?) }.boxed()
    }

    fn unnamed(&self) -> Principal {
        self.principal(None)
    }
}

impl Job {
    async fn session(&self) -> Result<Session, ExchangeError> {
        let subject_token = self.subject_token().await?;
        // The domain asks for more than the usual length.
        let key = exchange::session_key(SigningKey::generate_long).await?;
        let asked = Instant::now();
        let body = Bytes::from(self.form(&subject_token, &key));
        let answer = match &self.client {
            Client::Application { id, secret } => {
                let headers = |_| Ok(basic(id, secret));
                self.ask(&body, &headers, &[&subject_token, secret]).await
            }
            Client::Instance(source) => self.ask_signed(&body, &**source, &subject_token).await,
        }?;
        let token = answer.token()?;
        let lifetime = answer.lifetime(&token, self.channel.now())?;
        let (renew_at, expires_at) = exchange::times(asked, lifetime);
        Ok(Session {
            renew_at,
            expires_at,
            principal: self.principal(Some(&token.claims)),
            credential: Arc::new(Credential {
                key_id: token.key_id,
                key: Arc::new(key),
                delegation_token: None,
            }),
        })
    }

    /// The CI's token as it is now: a long job may be given another.
    async fn subject_token(&self) -> Result<String, ExchangeError> {
        let text = exchange::read("the CI's token", &self.token_path, TOKEN_PATH).await?;
        exchange::evidence(
            "CI's token",
            &self.token_path.display().to_string(),
            &text,
            self.channel.now(),
            "; have the pipeline ask for a new one right before Terraform runs",
        )
    }

    fn form(&self, subject_token: &str, key: &SigningKey) -> String {
        let public_key = BASE64.encode(key.public_key_der());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", GRANT)
            .append_pair("requested_token_type", &self.requested)
            .append_pair("subject_token", subject_token)
            .append_pair("subject_token_type", &self.subject_token_type)
            .append_pair("public_key", &public_key);
        if let Some(resource) = &self.resource {
            form.append_pair("res_type", resource);
            if let Some(expiration) = &self.expiration {
                form.append_pair("rpst_exp", expiration);
            }
        }
        form.finish()
    }

    async fn ask(
        &self,
        body: &Bytes,
        headers: &exchange::Headers<'_>,
        secrets: &[&str],
    ) -> Result<Answer, ExchangeError> {
        self.channel
            .send(&Ask {
                operation: "ExchangeToken",
                wanted: WANTED,
                method: Method::POST,
                url: &self.url,
                body: Some(body.clone()),
                headers,
                secrets,
                advice: match self.client {
                    Client::Application { .. } => application_advice,
                    Client::Instance(_) => instance_advice,
                },
                timeout: exchange::TIMEOUT,
            })
            .await
    }

    async fn ask_signed(
        &self,
        body: &Bytes,
        source: &dyn CredentialSource,
        subject_token: &str,
    ) -> Result<Answer, ExchangeError> {
        let signer = || async {
            source
                .credential()
                .await
                .map_err(|source| ExchangeError::Signer {
                    wanted: WANTED,
                    source,
                })
        };
        let credential = signer().await?;
        let answer = self.ask_as(body, &credential, subject_token).await;
        match answer {
            Err(error) if error.status() == Some(401) && source.refused(&credential) => {
                let credential = signer().await?;
                self.ask_as(body, &credential, subject_token).await
            }
            answer => answer,
        }
    }

    async fn ask_as(
        &self,
        body: &Bytes,
        credential: &Credential,
        subject_token: &str,
    ) -> Result<Answer, ExchangeError> {
        let host = exchange::authority(&self.url);
        let sign = |date: SystemTime| {
            signing::sign(
                &Parts {
                    method: "POST",
                    path_and_query: &self.url[Position::BeforePath..Position::AfterQuery],
                    host: &host,
                    body: Some(body),
                    delegation_token: credential.delegation_token.as_deref(),
                    coverage: Coverage::Form,
                },
                &credential.key_id,
                &credential.key,
                date,
            )
            .map_err(|source| ExchangeError::Sign {
                wanted: WANTED,
                source,
            })
        };
        self.ask(body, &sign, &[subject_token, &credential.key_id])
            .await
    }

    fn principal(&self, claims: Option<&Claims>) -> Principal {
        let text = |names: &[&str]| {
            let claims = claims?;
            names.iter().find_map(|name| claims.text(name))
        };
        let subject = text(&["sub"]);
        let user_id = subject.filter(|id| id.starts_with("ocid1.user."));
        let who = match (user_id, subject, &self.resource) {
            (Some(id), ..) => format!("user {id}"),
            (None, Some(id), _) => id.to_owned(),
            (None, None, None) => "a user".to_owned(),
            (None, None, Some(resource)) => format!("a resource of type {resource}"),
        };
        let domain = exchange::authority(&self.url);
        Principal {
            description: format!("{who} (workload identity federation at {domain})"),
            tenancy_id: text(&["res_tenant", "opc-tenant", "tenant"]).map(str::to_owned),
            user_id: user_id.map(str::to_owned),
            grantee: match &self.resource {
                Some(resource) => {
                    Grantee::AnyUserWhere(format!("request.principal.type='{resource}'"))
                }
                None => Grantee::Group,
            },
        }
    }
}

/// The application's id and secret. Not encoded as RFC 6749 has it: Oracle's
/// documentation puts them together as they are.
fn basic(id: &str, secret: &str) -> HeaderMap {
    let encoded = BASE64.encode(format!("{id}:{secret}"));
    let mut authorization =
        HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 can stand in a header");
    authorization.set_sensitive(true);
    HeaderMap::from_iter([
        (header::AUTHORIZATION, authorization),
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(FORM_CONTENT_TYPE),
        ),
    ])
}

fn application_advice(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (401, _) | (_, "invalid_client") => {
            "are token_exchange_client_id and token_exchange_client_secret those of an activated confidential application of this domain?"
        }
        _ => advice(status, code),
    }
}

fn instance_advice(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (401, _) | (_, "invalid_client") => {
            "does the domain's identity propagation trust allow this instance to ask?"
        }
        _ => advice(status, code),
    }
}

fn advice(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (0, _) => "is token_exchange_domain_url right?",
        (_, "invalid_grant") => {
            "does the domain's identity propagation trust name the issuer and the subject of the CI's token?"
        }
        (_, "unauthorized_client" | "unsupported_grant_type") | (403, _) => {
            "the application has to be one that the identity propagation trust names"
        }
        (404, _) => "is token_exchange_domain_url right? It begins like https://idcs-",
        _ => "",
    }
}

const PATH: &str = "/oauth2/v1/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const UPST: &str = "urn:oci:token-type:oci-upst";
const RPST: &str = "urn:oci:token-type:oci-rpst";

const CLIENT_ID: &str = "token_exchange_client_id";
const CLIENT_SECRET: &str = "token_exchange_client_secret";
const DOMAIN_URL: &str = "token_exchange_domain_url";
const RESOURCE_TYPE: &str = "token_exchange_resource_type";
const TOKEN_PATH: &str = "workload_identity_token_path";

/// For messages.
const WANTED: &str = "a security token for the CI's token";
