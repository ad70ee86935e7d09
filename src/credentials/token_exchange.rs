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
/// `auth` says so. `token_named_by` is who says where the token of the workload is.
pub(super) fn source(
    settings: &TokenExchange,
    token_named_by: String,
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
        token_named_by,
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
    let base = path.strip_suffix(PATH).unwrap_or(&path);
    url.set_path(&format!("{base}{PATH}"));
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "http" && !is_here {
        tracing::warn!(
            host = crate::transport::authority(&url),
            "Tokens are sent without encryption, because {DOMAIN_URL} begins with http://"
        );
    }
    Ok(url)
}

struct Job {
    channel: Channel,
    url: Url,
    token_path: PathBuf,
    token_named_by: String,
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
                let encoded = BASE64.encode(format!("{id}:{secret}"));
                let headers = |_| Ok(basic(&encoded));
                let secrets: [&str; 3] = [&subject_token, secret, &encoded];
                self.ask(&body, &headers, &secrets).await
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
        let text = exchange::read("the CI's token", &self.token_path, &self.token_named_by).await?;
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
        let host = crate::transport::authority(&self.url);
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
            names.iter().find_map(|name| claims.name(name))
        };
        let subject = text(&["sub"]);
        let user_id = subject.filter(|id| id.starts_with("ocid1.user."));
        let who = match (user_id, subject, &self.resource) {
            (Some(id), ..) => format!("user {id}"),
            (None, Some(id), _) => id.to_owned(),
            (None, None, None) => "a user".to_owned(),
            (None, None, Some(resource)) => format!("a resource of type {resource}"),
        };
        let domain = crate::transport::authority(&self.url);
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
fn basic(encoded: &str) -> HeaderMap {
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
const WANTED: &str = "a security token in exchange for the CI's token";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::{
        credentials::{
            exchange::testing::{
                callers, count, environment, jwt, network, seconds_from_now, text, works,
            },
            instance,
            metadata::Metadata,
        },
        emulator::{Emulator, Fault},
        region::Region,
    };

    /// A job that the emulator's identity domain knows.
    fn job(emulator: &Emulator, folder: &Path) -> anyhow::Result<TokenExchange> {
        let variables = emulator.identity_domain(folder)?;
        let value = |name: &str| variables.get(name).cloned();
        Ok(TokenExchange {
            workload_identity_token_path: value("OCI_WORKLOAD_IDENTITY_TOKEN_PATH"),
            domain_url: value("OCI_TOKEN_EXCHANGE_DOMAIN_URL"),
            auth: value("OCI_TOKEN_EXCHANGE_AUTH"),
            client_id: value("OCI_TOKEN_EXCHANGE_CLIENT_ID"),
            client_secret: value("OCI_TOKEN_EXCHANGE_CLIENT_SECRET"),
            requested_token_type: value("OCI_TOKEN_EXCHANGE_REQUESTED_TOKEN_TYPE"),
            subject_token_type: value("OCI_TOKEN_EXCHANGE_SUBJECT_TOKEN_TYPE"),
            ..TokenExchange::default()
        })
    }

    fn instance_of(emulator: &Emulator) -> anyhow::Result<Arc<dyn CredentialSource>> {
        let network = network(Some(&emulator.url()));
        let metadata = Metadata::new(&environment(emulator.instance()), &network)?;
        Ok(instance::source(
            &metadata,
            &Region::parse(&emulator.seed().region)?,
            None,
            &network,
        )?)
    }

    fn named() -> String {
        "the environment variable OCI_WORKLOAD_IDENTITY_TOKEN_PATH".to_owned()
    }

    async fn failure(settings: &TokenExchange, emulator: &Emulator) -> anyhow::Result<String> {
        match source(settings, named(), None, &network(None))?
            .credential()
            .await
        {
            Ok(_) => anyhow::bail!("there is a credential"),
            Err(error) => Ok(text(&*error, &[(&emulator.authority(), "HOST")])),
        }
    }

    fn refused(settings: &TokenExchange) -> String {
        source(settings, named(), None, &network(None))
            .err()
            .map_or_else(String::new, |error| error.to_string())
    }

    /// A CI's job signs in with its own token and an application's secret, and
    /// is a user from then on.
    #[tokio::test]
    async fn job_signs_in() -> anyhow::Result<()> {
        let emulator = Emulator::builder().start().await?;
        let seed = emulator.seed().clone();
        let folder = tempfile::tempdir()?;
        let settings = job(&emulator, folder.path())?;
        let source = source(&settings, named(), None, &network(None))?;
        let host = emulator.authority();
        assert_eq!(
            source.describe(),
            format!("a user (workload identity federation at {host})")
        );
        works(source.clone(), &emulator).await?;
        assert_eq!(
            source.describe(),
            format!(
                "user {} (workload identity federation at {host})",
                seed.user_id
            )
        );
        assert_eq!(source.user_id(), Some(seed.user_id.clone()));
        assert_eq!(source.tenancy_id(), Some(seed.tenancy_id));
        assert_eq!(source.grantee(), Grantee::Group);
        assert_eq!(
            callers(&emulator, "GetNamespace"),
            [format!("token_exchange {}", seed.user_id)]
        );
        assert_eq!(count(&emulator, "ExchangeToken"), 1);
        Ok(())
    }

    /// The CI replaces the job's token, and the service refuses the session:
    /// both are had anew, with another key.
    #[tokio::test]
    async fn token_is_read_anew() -> anyhow::Result<()> {
        let emulator = Emulator::builder().start().await?;
        let folder = tempfile::tempdir()?;
        let settings = job(&emulator, folder.path())?;
        let source = source(&settings, named(), None, &network(None))?;
        let first = source.credential().await?;
        job(&emulator, folder.path())?;
        emulator.expire_tokens();
        assert!(source.refused(&first));
        works(source.clone(), &emulator).await?;
        let next = source.credential().await?;
        assert_ne!(first.key.fingerprint(), next.key.fingerprint());
        Ok(())
    }

    /// An instance signs the exchange instead of a secret, with a session that
    /// is renewed when it is refused. What it gets may be a resource's token.
    #[tokio::test]
    async fn instance_signs_the_exchange() -> anyhow::Result<()> {
        let emulator = Emulator::builder().start().await?;
        let folder = tempfile::tempdir()?;
        let settings = TokenExchange {
            auth: Some("instanceprincipal".to_owned()),
            client_id: None,
            client_secret: None,
            requested_token_type: Some(RPST.to_owned()),
            resource_type: Some("workload".to_owned()),
            rpst_expiration: Some("600".to_owned()),
            ..job(&emulator, folder.path())?
        };
        let instance = instance_of(&emulator)?;
        instance.credential().await?;
        emulator.expire_tokens();
        let source = source(&settings, named(), Some(instance), &network(None))?;
        works(source.clone(), &emulator).await?;
        let workload_id = &emulator.seed().workload_id;
        assert_eq!(
            callers(&emulator, "GetNamespace"),
            [format!("token_exchange {workload_id}")]
        );
        assert_eq!(source.user_id(), None);
        assert_eq!(
            source.grantee(),
            Grantee::AnyUserWhere("request.principal.type='workload'".to_owned())
        );
        assert_eq!(count(&emulator, "FederateInstance"), 2);
        assert_eq!(count(&emulator, "ExchangeToken"), 2);

        // The instance itself cannot sign in.
        emulator.fail_always("FederateInstance", Fault::status(400));
        let settings = TokenExchange {
            auth: Some("InstancePrincipal".to_owned()),
            ..job(&emulator, folder.path())?
        };
        let source = super::source(
            &settings,
            named(),
            Some(instance_of(&emulator)?),
            &network(None),
        )?;
        let error = source.credential().await.err();
        let error = error.ok_or_else(|| anyhow::anyhow!("it signs in"))?;
        expect!["cannot sign the request for a security token in exchange for the CI's token: cannot get a security token for this instance: HOST answered 400 InvalidParameter: The request is invalid (opc-request-id: ID)"].assert_eq(&text(&*error, &[(&emulator.authority(), "HOST")]));
        Ok(())
    }

    /// What the domain refuses, with what to do, and without secrets.
    #[tokio::test]
    async fn refusals_of_the_domain() -> anyhow::Result<()> {
        let emulator = Emulator::builder().start().await?;
        let folder = tempfile::tempdir()?;
        let good = job(&emulator, folder.path())?;
        let wrong_secret = TokenExchange {
            client_secret: Some("wr0ng".to_owned()),
            ..good.clone()
        };
        let error = failure(&wrong_secret, &emulator).await?;
        assert!(!error.contains("wr0ng"));
        expect!["cannot get a security token in exchange for the CI's token: HOST answered 401 invalid_client: Client authentication failed (opc-request-id: ID); are token_exchange_client_id and token_exchange_client_secret those of an activated confidential application of this domain?"].assert_eq(&error);
        assert_eq!(count(&emulator, "ExchangeToken"), 1, "not tried again");

        let unknown_type = TokenExchange {
            requested_token_type: Some("urn:other".to_owned()),
            ..good.clone()
        };
        expect!["cannot get a security token in exchange for the CI's token: HOST answered 400 invalid_request: Unknown requested_token_type: urn:other (opc-request-id: ID)"].assert_eq(&failure(&unknown_type, &emulator).await?);

        let elsewhere = TokenExchange {
            domain_url: Some(format!("{}/elsewhere", emulator.url())),
            ..good.clone()
        };
        expect!["cannot get a security token in exchange for the CI's token: HOST answered 404 NotFound: No such operation: POST /elsewhere/oauth2/v1/token (opc-request-id: ID); is token_exchange_domain_url right? It begins like https://idcs-"].assert_eq(&failure(&elsewhere, &emulator).await?);

        // A secret that the domain repeats is not repeated here.
        let secret = good.client_secret.clone().unwrap_or_default();
        let id = good.client_id.clone().unwrap_or_default();
        let encoded = BASE64.encode(format!("{id}:{secret}"));
        let body = format!(
            r#"{{"error": "invalid_client", "error_description": "no {secret}, nor {encoded}"}}"#
        );
        emulator.fail_next("ExchangeToken", Fault::body(401, &body));
        expect!["cannot get a security token in exchange for the CI's token: HOST answered 401 invalid_client: no [redacted], nor [redacted] (opc-request-id: ID); are token_exchange_client_id and token_exchange_client_secret those of an activated confidential application of this domain?"].assert_eq(&failure(&good, &emulator).await?);

        let stranger = jwt(&json!({ "sub": "repo:somebody/else" }));
        std::fs::write(folder.path().join("job.jwt"), &stranger)?;
        let error = failure(&good, &emulator).await?;
        assert!(!error.contains(&stranger));
        expect!["cannot get a security token in exchange for the CI's token: HOST answered 400 invalid_grant: The subject token is not trusted or has expired (opc-request-id: ID); does the domain's identity propagation trust name the issuer and the subject of the CI's token?"].assert_eq(&error);
        Ok(())
    }

    /// A CI's token that has ended, or is not there.
    #[tokio::test]
    async fn job_tokens_that_are_no_use() -> anyhow::Result<()> {
        let emulator = Emulator::builder().start().await?;
        let folder = tempfile::tempdir()?;
        let settings = job(&emulator, folder.path())?;
        let path = folder.path().join("job.jwt");
        let failure = async || -> anyhow::Result<String> {
            let error = failure(&settings, &emulator).await?;
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            Ok(error.replace(&path.display().to_string(), "FILE"))
        };
        std::fs::write(&path, jwt(&json!({ "exp": seconds_from_now(-420) })))?;
        expect!["the CI's token from FILE ended 7 minutes ago; have the pipeline ask for a new one right before Terraform runs"].assert_eq(&failure().await?);
        std::fs::remove_file(&path)?;
        expect!["cannot read the CI's token in FILE, which the environment variable OCI_WORKLOAD_IDENTITY_TOKEN_PATH names: No such file or directory (os error 2)"].assert_eq(&failure().await?);
        assert_eq!(count(&emulator, "ExchangeToken"), 0);
        Ok(())
    }

    /// What is missing is named as argument and as variable, all at once.
    #[test]
    fn missing_settings() {
        expect!["to sign in with WorkloadIdentityFederation, set workload_identity_token_path (or OCI_WORKLOAD_IDENTITY_TOKEN_PATH), token_exchange_domain_url (or OCI_TOKEN_EXCHANGE_DOMAIN_URL), token_exchange_client_id (or OCI_TOKEN_EXCHANGE_CLIENT_ID), token_exchange_client_secret (or OCI_TOKEN_EXCHANGE_CLIENT_SECRET)"].assert_eq(&refused(&TokenExchange::default()));
        let complete = TokenExchange {
            workload_identity_token_path: Some("/token".to_owned()),
            domain_url: Some("https://idcs-a.identity.oraclecloud.com".to_owned()),
            client_id: Some("id".to_owned()),
            client_secret: Some("secret".to_owned()),
            ..TokenExchange::default()
        };
        expect![""].assert_eq(&refused(&complete));
        expect!["to sign in with WorkloadIdentityFederation, set token_exchange_resource_type (or OCI_TOKEN_EXCHANGE_RESOURCE_TYPE), token_exchange_client_secret (or OCI_TOKEN_EXCHANGE_CLIENT_SECRET)"].assert_eq(&refused(&TokenExchange {
            requested_token_type: Some(RPST.to_owned()),
            client_secret: Some(" ".to_owned()),
            ..complete.clone()
        }));
        expect![[r#"token_exchange_auth is "Password"; it can be "OAuthClientCredentials" or "InstancePrincipal""#]].assert_eq(&refused(&TokenExchange {
            auth: Some("Password".to_owned()),
            ..complete.clone()
        }));
        expect![[
            r#"token_exchange_auth is "InstancePrincipal", and there is no instance to sign with"#
        ]]
        .assert_eq(&refused(&TokenExchange {
            auth: Some("InstancePrincipal".to_owned()),
            ..complete.clone()
        }));
        expect![[r#"token_exchange_domain_url is no address: "ftp://idcs-a"; the identity domain's page shows it as Domain URL"#]].assert_eq(&refused(&TokenExchange {
            domain_url: Some("ftp://idcs-a".to_owned()),
            ..complete
        }));
    }

    /// Addresses as people copy them.
    #[test]
    fn domain_addresses() -> anyhow::Result<()> {
        for domain in [
            "https://idcs-a.identity.oraclecloud.com",
            "https://idcs-a.identity.oraclecloud.com/",
            "https://idcs-a.identity.oraclecloud.com:443",
            "idcs-a.identity.oraclecloud.com",
            "https://idcs-a.identity.oraclecloud.com/oauth2/v1/token",
            "https://idcs-a.identity.oraclecloud.com/oauth2/v1/token/?x=y",
        ] {
            assert_eq!(
                token_endpoint(domain)?.as_str(),
                "https://idcs-a.identity.oraclecloud.com/oauth2/v1/token",
                "{domain}"
            );
        }
        expect!["https://gateway.example/idcs/oauth2/v1/token"]
            .assert_eq(token_endpoint("https://gateway.example/idcs/")?.as_str());
        Ok(())
    }

    proptest::proptest! {
        /// Whatever somebody copies as the address of a domain: the tokens go to its token
        /// endpoint, or it is refused.
        #[test]
        fn any_domain(domain in crate::spoilt::text(&[
            "https://idcs-9a.identity.oraclecloud.com:443/oauth2/v1/token?x=1#y",
            "idcs-9a.identity.oraclecloud.com/ui/v1/adminconsole",
            "http://localhost:1234//",
            "http://[::1]/",
        ])) {
            match token_endpoint(&domain) {
                Ok(url) => {
                    proptest::prop_assert!(["http", "https"].contains(&url.scheme()) && url.has_host());
                    proptest::prop_assert!(url.path().ends_with(PATH), "{}", url);
                    proptest::prop_assert!(url.query().is_none() && url.fragment().is_none(), "{}", url);
                }
                Err(error) => proptest::prop_assert!(error.to_string().len() < domain.len() + 300),
            }
        }

        /// Whatever a domain's token says about whom it is for, it can be shown.
        #[test]
        fn any_claims(claims in crate::spoilt::json([
            json!({"sub": "ocid1.user.oc1..a", "res_tenant": "ocid1.tenancy.oc1..a"}),
            json!({"sub": "\u{1b}]0;title\u{7}", "opc-tenant": "a\nb"}),
        ])) {
            static JOB: std::sync::LazyLock<Job> = std::sync::LazyLock::new(|| Job {
                channel: exchange::channel(&network(None), WANTED).expect("nothing is special about it"),
                url: token_endpoint("idcs.example.com").expect("it is an address"),
                token_path: PathBuf::new(),
                token_named_by: String::new(),
                client: Client::Application { id: String::new(), secret: String::new() },
                requested: UPST.to_owned(),
                subject_token_type: "jwt".to_owned(),
                resource: None,
                expiration: None,
            });
            let principal = JOB.principal(Claims::of(&jwt(&claims)).as_ref());
            proptest::prop_assert!(principal.can_be_shown(), "{:?}", principal);
        }
    }
}
