//! A workload in an OKE cluster: its service account for a security token.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/ContEng/Tasks/contenggrantingworkloadaccesstoresources.htm>
//!
//! The cluster answers with a certificate of its own authority, which nobody
//! else vouches for and which vouches for nobody else.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use url::Url;

use super::{
    Credential, CredentialSource, Environment, Error, ExchangeError, Grantee, Network,
    exchange::{self, Answer, Ask, Channel, Token},
    jwt::Claims,
    renew::{Exchange, Principal, Renewing, Session},
};
use crate::{signing::SigningKey, transport};

/// Whether this is a pod of a cluster that may know us, cheaply: variables,
/// files, and whether somebody listens. `Err` holds why not.
pub(super) async fn probe(environment: &Environment) -> Result<(), String> {
    let host = environment
        .get(HOST)
        .ok_or_else(|| format!("{HOST} is not set, as it is in a pod"))?;
    let account = Account::new(environment);
    let mut files = vec![&account.authority];
    files.extend(match &account.token {
        Evidence::File(file) => Some(file),
        Evidence::Text(_) => None,
    });
    for NamedFile { path, .. } in files {
        if !path.is_file() {
            return Err(format!("there is no {}", path.display()));
        }
    }
    let address = format!("{}:{PORT}", bracketed(host));
    let connecting = tokio::net::TcpStream::connect(&address);
    match tokio::time::timeout(PROBE_TIMEOUT, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("nobody answers at {address}: {error}")),
        Err(_) => Err(format!(
            "nobody answers at {address} within {} second",
            PROBE_TIMEOUT.as_secs()
        )),
    }
}

/// The workload. Contacts nobody yet.
pub(super) fn source(
    environment: &Environment,
    network: &Network,
) -> Result<Arc<dyn CredentialSource>, Error> {
    let host = environment.get(HOST).ok_or_else(|| {
        ExchangeError::Setting(format!(
            "{HOST} is not set, as it is in every pod; OKEWorkloadIdentity is for programs that run in a cluster"
        ))
    })?;
    let url = Url::parse(&format!("https://{}:{PORT}{PATH}", bracketed(host)))
        .map_err(|_| ExchangeError::Setting(format!("{HOST} is no address: \"{host}\"")))?;
    Ok(Arc::new(Renewing::new(Workload {
        account: Account::new(environment),
        network: network.clone(),
        url,
        claimed: OnceLock::new(),
    })))
}

struct Workload {
    account: Account,
    network: Network,
    url: Url,
    /// Which service account it is, as soon as its token was read.
    claimed: OnceLock<ServiceAccount>,
}

/// What a pod is given to say who it is.
struct Account {
    token: Evidence,
    authority: NamedFile,
}

enum Evidence {
    Text(String),
    File(NamedFile),
}

struct NamedFile {
    path: PathBuf,
    named_by: &'static str,
}

/// For policies.
#[derive(Clone)]
struct ServiceAccount {
    namespace: String,
    name: String,
}

impl Account {
    fn new(environment: &Environment) -> Self {
        let file = |variable: &'static str, name: &str| match environment.get(variable) {
            Some(path) => NamedFile {
                path: path.into(),
                named_by: variable,
            },
            None => NamedFile {
                path: Path::new(FOLDER).join(name),
                named_by: "Kubernetes",
            },
        };
        let token = match environment.get(TOKEN_STRING) {
            Some(text) => Evidence::Text(text.to_owned()),
            None => Evidence::File(file(TOKEN_PATH, "token")),
        };
        Self {
            token,
            authority: file(AUTHORITY_PATH, "ca.crt"),
        }
    }
}

impl Exchange for Workload {
    fn obtain(&self) -> BoxFuture<'_, Result<Session, Error>> {
        async move { Ok(self.session().await?) }.boxed()
    }

    fn unnamed(&self) -> Principal {
        self.principal(None)
    }
}

impl Workload {
    async fn session(&self) -> Result<Session, ExchangeError> {
        let channel = self.channel().await?;
        let account_token = self.account_token(&channel).await?;
        let key = exchange::session_key(SigningKey::generate).await?;
        let asked = Instant::now();
        let answer = self.ask(&channel, &account_token, &key).await?;
        let token = token(&answer)?;
        let lifetime = answer.lifetime(&token, channel.now())?;
        let (_, expires_at) = exchange::times(asked, lifetime);
        Ok(Session {
            // As the SDKs do it.
            renew_at: asked + (expires_at - asked) / 2,
            expires_at,
            principal: self.principal(Some(&token.claims)),
            credential: Arc::new(Credential {
                key_id: token.key_id,
                key: Arc::new(key),
                delegation_token: None,
            }),
        })
    }

    /// HTTP with the cluster's authority as it is now.
    async fn channel(&self) -> Result<Channel, ExchangeError> {
        let NamedFile { path, named_by } = &self.account.authority;
        let pem = exchange::read(
            "the certificates of the cluster's authority",
            path,
            named_by,
        );
        let options = transport::Options {
            ca_certificates: Some(pem.await?.into_bytes()),
            only_these: true,
            direct: true,
            ..self.network.http.clone()
        };
        Channel::new(&options, &self.network.retry).map_err(|source| {
            let path = path.display();
            match source {
                transport::Error::Certificates(problem) => ExchangeError::Setting(format!(
                    "cannot read the certificates of the cluster's authority in {path}, which {named_by} names: {problem}"
                )),
                source => ExchangeError::Http {
                    wanted: WANTED,
                    source,
                },
            }
        })
    }

    /// The service account's token as it is now: Kubernetes replaces it.
    async fn account_token(&self, channel: &Channel) -> Result<String, ExchangeError> {
        let (text, origin) = match &self.account.token {
            Evidence::Text(text) => (text.clone(), TOKEN_STRING.to_owned()),
            Evidence::File(NamedFile { path, named_by }) => (
                exchange::read("the service account's token", path, named_by).await?,
                path.display().to_string(),
            ),
        };
        let token = exchange::evidence(
            "service account token",
            &origin,
            &text,
            channel.now(),
            "; Kubernetes replaces it in time where it is mounted into the pod, so it was copied or is set by hand",
        )?;
        if let Some(account) = ServiceAccount::of(&token) {
            // It does not change as long as the pod lives.
            let _ = self.claimed.set(account);
        }
        Ok(token)
    }

    async fn ask(
        &self,
        channel: &Channel,
        account_token: &str,
        key: &SigningKey,
    ) -> Result<Answer, ExchangeError> {
        // The public key as the Python SDK sends it.
        let body = serde_json::json!({ "podKey": BASE64.encode(key.public_key_der()) });
        let request_id = format!("{:032X}", rand::random::<u128>());
        let headers = |_| {
            let value = |text: &str| {
                HeaderValue::from_str(text).expect("only visible letters, as was checked")
            };
            let mut bearer = value(&format!("Bearer {account_token}"));
            bearer.set_sensitive(true);
            Ok(HeaderMap::from_iter([
                (header::AUTHORIZATION, bearer),
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                ),
                (
                    HeaderName::from_static("opc-request-id"),
                    value(&request_id),
                ),
            ]))
        };
        channel
            .send(&Ask {
                operation: "GetWorkloadToken",
                wanted: WANTED,
                method: Method::POST,
                url: &self.url,
                body: Some(Bytes::from(body.to_string())),
                headers: &headers,
                secrets: &[account_token],
                advice,
                timeout: exchange::TIMEOUT,
            })
            .await
    }

    fn principal(&self, claims: Option<&Claims>) -> Principal {
        let account = self.claimed.get();
        let description = match account {
            Some(ServiceAccount { namespace, name }) => {
                format!("service account {namespace}/{name} (OKE workload identity)")
            }
            None => "a workload (OKE workload identity)".to_owned(),
        };
        let mut condition = vec!["request.principal.type='workload'".to_owned()];
        if let Some(ServiceAccount { namespace, name }) = account {
            condition.push(format!("request.principal.namespace='{namespace}'"));
            condition.push(format!("request.principal.service_account='{name}'"));
        }
        let cluster = claims.and_then(|claims| {
            ["cluster_id", "res_id", "sub"]
                .into_iter()
                .find_map(|name| {
                    claims
                        .name(name)
                        .filter(|id| id.starts_with("ocid1.cluster."))
                })
        });
        condition.push(format!(
            "request.principal.cluster_id='{}'",
            cluster.unwrap_or("CLUSTER_OCID")
        ));
        Principal {
            description,
            tenancy_id: claims.and_then(|claims| {
                ["res_tenant", "opc-tenant", "tenant"]
                    .into_iter()
                    .find_map(|name| claims.name(name))
                    .map(str::to_owned)
            }),
            user_id: None,
            grantee: Grantee::AnyUserWhere(condition.join(", ")),
        }
    }
}

impl ServiceAccount {
    /// From a token's subject, `system:serviceaccount:NAMESPACE:NAME`.
    fn of(token: &str) -> Option<Self> {
        let claims = Claims::of(token)?;
        let account = claims.text("sub")?.strip_prefix("system:serviceaccount:")?;
        let (namespace, name) = account.split_once(':')?;
        // They are shown as part of a policy.
        let is_name = |text: &str| {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            !text.is_empty() && text.bytes().all(letter)
        };
        (is_name(namespace) && is_name(name)).then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// The token in a JSON text that holds base64 that holds JSON.
fn token(answer: &Answer) -> Result<Token, ExchangeError> {
    let unexpected = || answer.unreadable("is not the base64 of JSON that was expected");
    let text = match serde_json::from_slice(&answer.body) {
        Ok(Value::String(text)) => text,
        // A service that does without one of the wrappings.
        Ok(members @ Value::Object(_)) => return answer.token_in(&members),
        _ => String::from_utf8(answer.body.to_vec()).map_err(|_| unexpected())?,
    };
    let inner = BASE64.decode(text.trim()).map_err(|_| unexpected())?;
    let members = serde_json::from_slice(&inner).map_err(|_| unexpected())?;
    answer.token_in(&members)
}

/// An IPv6 address as it stands in an address with a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn advice(status: u16, _: &str) -> &'static str {
    match status {
        0 => {
            "workload identity is there in enhanced OKE clusters only, and not in other Kubernetes"
        }
        401 => "the cluster did not accept the service account's token; is it this cluster's?",
        403 => {
            "workload identity needs an enhanced cluster; upgrade it, or sign in with InstancePrincipal, which every pod of the node can do"
        }
        404 => "this is no OKE cluster, or too old a one for workload identity",
        _ => "",
    }
}

const HOST: &str = "KUBERNETES_SERVICE_HOST";
const TOKEN_PATH: &str = "OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH";
const TOKEN_STRING: &str = "OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_STRING";
const AUTHORITY_PATH: &str = "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH";

/// Where Kubernetes mounts it.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const PORT: u16 = 12250;
const PATH: &str = "/resourcePrincipalSessionTokens";

/// For messages.
const WANTED: &str = "a security token for this workload";

const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::{
        credentials::exchange::testing::{
            Server, answer, answered, callers, count, environment, jwt, network, seconds_from_now,
            text, works,
        },
        emulator::{Emulator, Fault},
    };

    /// A pod of the emulator's cluster.
    struct Pod {
        emulator: Emulator,
        folder: tempfile::TempDir,
        variables: BTreeMap<String, String>,
    }

    impl Pod {
        async fn start() -> anyhow::Result<Self> {
            let emulator = Emulator::builder().start().await?;
            let folder = tempfile::tempdir()?;
            let variables = emulator.workload(folder.path())?;
            Ok(Self {
                emulator,
                folder,
                variables,
            })
        }

        fn source(&self) -> Result<Arc<dyn CredentialSource>, Error> {
            source(&environment(self.variables.clone()), &network(None))
        }

        fn host(&self) -> &str {
            &self.variables[HOST]
        }

        async fn failure(&self) -> anyhow::Result<String> {
            match self.source()?.credential().await {
                Ok(_) => anyhow::bail!("there is a credential"),
                Err(error) => {
                    let folder = self.folder.path().display().to_string();
                    Ok(text(&*error, &[(self.host(), "HOST"), (&folder, "FOLDER")]))
                }
            }
        }
    }

    /// A pod signs in at its cluster, whose certificate only the cluster's
    /// authority vouches for, calls the control plane, gets a registry token,
    /// and knows what a policy would have to name.
    #[tokio::test]
    async fn workload_signs_in() -> anyhow::Result<()> {
        let pod = Pod::start().await?;
        let seed = pod.emulator.seed().clone();
        assert_eq!(probe(&environment(pod.variables.clone())).await, Ok(()));
        let source = pod.source()?;
        expect!["a workload (OKE workload identity)"].assert_eq(&source.describe());
        works(source.clone(), &pod.emulator).await?;
        expect!["service account default/terraform (OKE workload identity)"]
            .assert_eq(&source.describe());
        assert_eq!(source.tenancy_id(), Some(seed.tenancy_id));
        assert_eq!(source.user_id(), None);
        expect![[r#"
            AnyUserWhere(
                "request.principal.type='workload', request.principal.namespace='default', request.principal.service_account='terraform', request.principal.cluster_id='CLUSTER_OCID'",
            )
        "#]]
        .assert_debug_eq(&source.grantee());
        assert_eq!(
            callers(&pod.emulator, "GetNamespace"),
            [format!("workload {}", seed.workload_id)]
        );
        assert_eq!(count(&pod.emulator, "GetWorkloadToken"), 1);
        Ok(())
    }

    /// Kubernetes replaces the service account's token, and the service refuses
    /// the session: both are had anew.
    #[tokio::test]
    async fn token_is_read_anew() -> anyhow::Result<()> {
        let mut pod = Pod::start().await?;
        let source = pod.source()?;
        let first = source.credential().await?;
        pod.variables = pod.emulator.workload(pod.folder.path())?;
        pod.emulator.expire_tokens();
        assert!(source.refused(&first));
        works(source.clone(), &pod.emulator).await?;

        // The token itself, in a variable.
        let token = std::fs::read_to_string(pod.folder.path().join("token"))?;
        pod.variables.remove(TOKEN_PATH);
        pod.variables.insert(TOKEN_STRING.to_owned(), token);
        works(pod.source()?, &pod.emulator).await
    }

    /// A session is renewed at half of its life.
    #[tokio::test]
    async fn renewed_at_half_of_the_life() -> anyhow::Result<()> {
        let pod = Pod::start().await?;
        let workload = Workload {
            account: Account::new(&environment(pod.variables.clone())),
            network: network(None),
            url: Url::parse(&format!("https://{}:{PORT}{PATH}", pod.host()))?,
            claimed: OnceLock::new(),
        };
        let before = Instant::now();
        let session = workload.session().await?;
        // To the nearest: a busy machine takes seconds to make a key.
        let minutes = |at: Instant| ((at - before).as_secs() + 30) / 60;
        assert_eq!(
            (minutes(session.renew_at), minutes(session.expires_at)),
            (30, 60)
        );
        Ok(())
    }

    /// What a cluster answers that does not know the pod, or knows no pods.
    #[tokio::test]
    async fn refusals_of_the_cluster() -> anyhow::Result<()> {
        let pod = Pod::start().await?;
        pod.emulator.enhanced_cluster(false);
        expect!["cannot get a security token for this workload: HOST:12250 answered 403 NotAuthorized: Workload identity is available in enhanced clusters only (opc-request-id: ID); workload identity needs an enhanced cluster; upgrade it, or sign in with InstancePrincipal, which every pod of the node can do"].assert_eq(&pod.failure().await?);
        pod.emulator.enhanced_cluster(true);
        let token = jwt(&json!({ "sub": "system:serviceaccount:default:stranger" }));
        std::fs::write(pod.folder.path().join("token"), &token)?;
        let error = pod.failure().await?;
        assert!(!error.contains(&token));
        expect!["cannot get a security token for this workload: HOST:12250 answered 401 NotAuthenticated: The service account token is missing, not this cluster's, or has expired (opc-request-id: ID); the cluster did not accept the service account's token; is it this cluster's?"].assert_eq(&error);
        pod.emulator
            .fail_next("GetWorkloadToken", Fault::status(404));
        expect!["cannot get a security token for this workload: HOST:12250 answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found (opc-request-id: ID); this is no OKE cluster, or too old a one for workload identity"].assert_eq(&pod.failure().await?);
        Ok(())
    }

    /// Files that are not there, have ended, or vouch for somebody else.
    #[tokio::test]
    async fn files_that_are_no_use() -> anyhow::Result<()> {
        let pod = Pod::start().await?;
        let (token, authority) = (
            pod.folder.path().join("token"),
            pod.folder.path().join("ca.crt"),
        );
        let good = std::fs::read_to_string(&token)?;
        std::fs::write(&token, jwt(&json!({ "exp": seconds_from_now(-600) })))?;
        expect!["the service account token from FOLDER/token ended 10 minutes ago; Kubernetes replaces it in time where it is mounted into the pod, so it was copied or is set by hand"].assert_eq(&pod.failure().await?);
        std::fs::remove_file(&token)?;
        expect!["cannot read the service account's token in FOLDER/token, which OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH names: No such file or directory (os error 2)"].assert_eq(&pod.failure().await?);
        std::fs::write(&token, good)?;

        let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        std::fs::write(&authority, stranger.cert.pem())?;
        expect!["cannot get a security token for this workload: no answer from HOST:12250 (invalid peer certificate: UnknownIssuer); workload identity is there in enhanced OKE clusters only, and not in other Kubernetes"].assert_eq(&pod.failure().await?);
        std::fs::write(&authority, "no certificate")?;
        expect!["cannot read the certificates of the cluster's authority in FOLDER/ca.crt, which OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH names: there is no certificate in PEM form"].assert_eq(&pod.failure().await?);
        std::fs::remove_file(&authority)?;
        expect!["cannot read the certificates of the cluster's authority in FOLDER/ca.crt, which OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH names: No such file or directory (os error 2)"].assert_eq(&pod.failure().await?);
        assert_eq!(count(&pod.emulator, "GetWorkloadToken"), 0);
        Ok(())
    }

    /// Answers in other wrappings than the documented one.
    #[tokio::test]
    async fn wrappings_of_the_token() -> anyhow::Result<()> {
        let wanted = jwt(&json!({ "iat": 0, "exp": 3600 }));
        let members = json!({ "token": format!("ST${wanted}") });
        let encoded = BASE64.encode(members.to_string());
        let read = async |body: &str| -> anyhow::Result<String> {
            let server = Server::start([answer(200, body)]).await?;
            let url = Url::parse(&server.url)?;
            let channel = exchange::channel(&network(None), WANTED)?;
            let ask = Ask {
                operation: "Test",
                wanted: WANTED,
                method: Method::POST,
                url: &url,
                body: None,
                headers: &|_| Ok(HeaderMap::new()),
                secrets: &[],
                advice,
                timeout: exchange::TIMEOUT,
            };
            let answer = channel.send(&ask).await?;
            Ok(match token(&answer) {
                Ok(token) => token.key_id,
                Err(error) => text(&error, &[(&server.host, "HOST")]),
            })
        };
        for body in [
            json!(encoded).to_string(),
            encoded.clone(),
            format!("{encoded}\n"),
            members.to_string(),
        ] {
            assert_eq!(read(&body).await?, format!("ST${wanted}"), "{body}");
        }
        for body in ["", "<html>", r#""%%%""#, r#""aGVsbG8=""#] {
            expect!["cannot get a security token for this workload: the answer of HOST is not the base64 of JSON that was expected"]
                .assert_eq(&read(body).await?);
        }
        Ok(())
    }

    /// Elsewhere than in a pod, cheaply and with a reason.
    #[tokio::test]
    async fn probe_says_why_not() -> anyhow::Result<()> {
        let pod = Pod::start().await?;
        let reason = async |change: &dyn Fn(&mut BTreeMap<String, String>)| {
            let mut variables = pod.variables.clone();
            change(&mut variables);
            let reason = probe(&environment(variables)).await;
            let folder = pod.folder.path().display().to_string();
            reason.err().unwrap_or_default().replace(&folder, "FOLDER")
        };
        expect!["KUBERNETES_SERVICE_HOST is not set, as it is in a pod"]
            .assert_eq(&reason(&|variables| drop(variables.remove(HOST))).await);
        let set = |name: &'static str, value: String| {
            move |variables: &mut BTreeMap<String, String>| {
                variables.insert(name.to_owned(), value.clone());
            }
        };
        let missing = pod.folder.path().join("missing").display().to_string();
        expect!["there is no FOLDER/missing"]
            .assert_eq(&reason(&set(TOKEN_PATH, missing.clone())).await);
        expect!["there is no FOLDER/missing"]
            .assert_eq(&reason(&set(AUTHORITY_PATH, missing)).await);
        // Another Kubernetes: nobody listens at Oracle's port.
        expect!["nobody answers at 127.0.0.1:12250: Connection refused (os error 111)"]
            .assert_eq(&reason(&set(HOST, "127.0.0.1".to_owned())).await);
        Ok(())
    }

    /// Hosts in all forms, and what is none.
    #[test]
    fn hosts() {
        assert_eq!(bracketed("10.96.0.1"), "10.96.0.1");
        assert_eq!(bracketed("fd00::1"), "[fd00::1]");
        assert_eq!(bracketed("[fd00::1]"), "[fd00::1]");
        let message = |host: &str| {
            let variables = match host {
                "" => BTreeMap::new(),
                host => [(HOST.to_owned(), host.to_owned())].into(),
            };
            let source = source(&environment(variables), &network(None));
            source
                .err()
                .map_or_else(String::new, |error| error.to_string())
        };
        expect![""].assert_eq(&message("fd00::1"));
        expect![[r#"KUBERNETES_SERVICE_HOST is no address: "a b""#]].assert_eq(&message("a b"));
        expect!["KUBERNETES_SERVICE_HOST is not set, as it is in every pod; OKEWorkloadIdentity is for programs that run in a cluster"]
            .assert_eq(&message(""));
    }

    /// Tokens that name another kind of subject, or one that no policy can hold.
    #[test]
    fn service_accounts() {
        let of = |subject: &str| {
            ServiceAccount::of(&jwt(&json!({ "sub": subject })))
                .map(|account| format!("{} {}", account.namespace, account.name))
        };
        assert_eq!(
            of("system:serviceaccount:build:terraform").as_deref(),
            Some("build terraform")
        );
        assert_eq!(of("system:node:a"), None);
        assert_eq!(of("system:serviceaccount:a:b' or 'c"), None);
        assert_eq!(of("system:serviceaccount::b"), None);
    }

    proptest::proptest! {
        /// Whatever a cluster answers, in whatever wrapping: there is a token that can stand in a
        /// header, or an error that repeats nothing of it.
        #[test]
        fn any_answer(
            members in crate::spoilt::json([
                json!({"token": jwt(&json!({"exp": 1600, "sub": "ocid1.cluster.oc1..a"}))}),
                json!({"token": "ST$hunter2hunter2"}),
            ]),
            inner in crate::spoilt::text(&["{\"token\":\"e30.e30.c2ln\"}", "hunter2hunter2"]),
            changes in crate::spoilt::changes(),
        ) {
            for inner in [members.to_string(), inner] {
                let wrapped = serde_json::Value::from(BASE64.encode(&inner)).to_string();
                for body in [inner.into_bytes(), changes.of(wrapped.into_bytes())] {
                    let answer = answered(&body);
                    match token(&answer) {
                        Ok(token) => proptest::prop_assert!(token.key_id.bytes().all(|byte| byte.is_ascii_graphic())),
                        Err(error) => {
                            let error = error.to_string();
                            proptest::prop_assert!(error.len() < 300 && !error.contains("hunter2"), "{}", error);
                        }
                    }
                }
            }
        }

        /// Whatever tokens say about a workload: it can be shown, and nothing of it ends a value
        /// of the policy that an error recommends.
        #[test]
        fn any_claims(
            account in crate::spoilt::json([json!({"sub": "system:serviceaccount:ci:pusher"})]),
            claims in crate::spoilt::json([
                json!({"cluster_id": "ocid1.cluster.oc1..a", "res_tenant": "ocid1.tenancy.oc1..a"}),
                json!({"sub": "ocid1.cluster.' , any='", "tenant": "a\u{7}"}),
            ]),
            subject in crate::spoilt::text(&["system:serviceaccount:ci:pusher", "system:serviceaccount:c'i:p"]),
        ) {
            for account in [jwt(&account), jwt(&json!({ "sub": subject }))] {
                let workload = Workload {
                    account: Account::new(&Environment::default()),
                    network: Network::default(),
                    url: Url::parse("https://cluster.example/").expect("it is an address"),
                    claimed: OnceLock::new(),
                };
                if let Some(account) = ServiceAccount::of(&account) {
                    let _ = workload.claimed.set(account);
                }
                let claims = Claims::of(&jwt(&claims));
                let principal = workload.principal(claims.as_ref());
                proptest::prop_assert!(principal.can_be_shown(), "{:?}", principal);
            }
        }
    }
}
