//! Our requests held against those that Oracle's CLI was recorded to send.
//!
//! For every recording in `tests/fixtures/captures` the same thing is asked for
//! through our client, of a server that gives the recorded answer. What arrives has to be
//! the same: method, target, body, and the signed headers by name and by value, except the
//! date, the signature and the port. A body is the same when it is the same JSON; its
//! length and its digest are then those of our bytes. That the string under the signature
//! is the same as well is shown where the signature is made, in `src/signing`.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures_util::future::{BoxFuture, FutureExt, ready};
use ocir::{
    credentials::{self, Credential, CredentialSource, Environment, Grantee, Network, Settings},
    oci::{
        Client, Config, CreateContainerRepository, ListContainerRepositories, Readme,
        UpdateContainerRepository,
    },
    region::Region,
    signing::SigningKey,
    transport::{Options, RetryPolicy, http_client},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Recordings that no call of ours can be held against, and why.
const EXCEPTIONS: &[(&str, &str)] = &[(
    "raw-404",
    "the CLI was told to ask for a path that no operation has",
)];

const TENANCY: &str = "ocid1.tenancy.oc1..aaaaaaaatesttenancy";
const USER: &str = "ocid1.user.oc1..aaaaaaaatestuser";
const COMPARTMENT: &str = "ocid1.compartment.oc1..aaaaaaaatestcompartment";
const REPOSITORY: &str = "ocid1.containerrepo.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestrepo";
const AUTH_TOKEN: &str = "ocid1.credential.oc1..aaaaaaaatesttoken";

/// Asks for what a recording asked for.
async fn ask(name: &str, client: &Client, url: &str) -> Result<()> {
    match name {
        "artifacts-container-repository-create" => {
            let body = CreateContainerRepository {
                compartment_id: COMPARTMENT.into(),
                display_name: "team/app".into(),
                ..CreateContainerRepository::default()
            };
            client.create_container_repository(&body).await?;
        }
        "repo-create-full" => {
            let body = CreateContainerRepository {
                compartment_id: COMPARTMENT.into(),
                display_name: "team/app".into(),
                is_immutable: Some(false),
                is_public: Some(true),
                readme: Some(Readme {
                    content: "# hi".into(),
                    format: "TEXT_MARKDOWN".into(),
                }),
                freeform_tags: Some([("Department".into(), "Finance".into())].into()),
                defined_tags: Some(
                    [("Ops".into(), [("CostCenter".into(), "42".into())].into())].into(),
                ),
            };
            client.create_container_repository(&body).await?;
        }
        "repo-get" => drop(client.get_container_repository(REPOSITORY).await?),
        "repo-list" => {
            let query = ListContainerRepositories {
                compartment_id: COMPARTMENT.into(),
                ..ListContainerRepositories::default()
            };
            ensure!(client.list_container_repositories(&query).await?.len() == 1);
        }
        "repo-update" => {
            let body = UpdateContainerRepository {
                is_public: Some(true),
                ..UpdateContainerRepository::default()
            };
            client
                .update_container_repository(REPOSITORY, &body)
                .await?;
        }
        "repo-change-compartment" => {
            client
                .change_container_repository_compartment(REPOSITORY, COMPARTMENT)
                .await?;
        }
        "repo-delete" => client.delete_container_repository(REPOSITORY).await?,
        "repo-404" => match client.get_container_image("x").await {
            Err(error) if error.is_not_found() => {}
            other => bail!("not the recorded 404: {other:?}"),
        },
        "config-get" => drop(client.get_container_configuration(COMPARTMENT).await?),
        "config-update" => {
            client
                .update_container_configuration(COMPARTMENT, false)
                .await?;
        }
        "iam-auth-token-create" => drop(client.create_auth_token(USER, "ci token").await?),
        "auth-token-list" => ensure!(client.list_auth_tokens(USER).await?.len() == 1),
        "auth-token-delete" => client.delete_auth_token(USER, AUTH_TOKEN).await?,
        "container-registry-access-token-get" => {
            client
                .get_scoped_registry_token(
                    url,
                    Some("ocir.eu-frankfurt-1.oci.oraclecloud.com"),
                    Some("repository:testnamespace/team/app:pull,push"),
                )
                .await?;
        }
        "raw-request-docker-token" => drop(client.get_registry_token(url).await?),
        "os-ns-get-compartment" => {
            ensure!(client.get_namespace(Some(COMPARTMENT)).await? == "testnamespace");
        }
        "os-ns-get"
        | "auth-env-only"
        | "auth-instance-obo-user"
        | "auth-instance-principal"
        | "auth-passphrase-pkcs1"
        | "auth-passphrase-pkcs8"
        | "auth-resource-principal-22"
        | "auth-security-token" => {
            ensure!(client.get_namespace(None).await? == "testnamespace");
        }
        _ => bail!("nothing asks for what {name} recorded, and it is no exception"),
    }
    Ok(())
}

/// Signs in as the CLI did: by the environment where a recording tells all of it, else
/// with the credential that the recorded CLI had come to.
async fn sign_in(name: &str, recorded: &Recorded) -> Result<Arc<dyn CredentialSource>> {
    let variables = match name {
        "auth-env-only" => vec![
            ("OCI_CLI_USER", USER.to_owned()),
            ("OCI_CLI_TENANCY", TENANCY.to_owned()),
            ("OCI_CLI_REGION", "eu-frankfurt-1".to_owned()),
            ("OCI_CLI_KEY_CONTENT", vectors_key()?),
        ],
        _ => {
            return Ok(Arc::new(AsRecorded(Arc::new(Credential {
                key_id: recorded.signature("keyId")?,
                key: Arc::new(SigningKey::from_pkcs8_der(&pem_body(&vectors_key()?)?)?),
                delegation_token: recorded.headers.get("opc-obo-token").cloned(),
            }))));
        }
    };
    let environment = Environment {
        variables: variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        home: None,
    };
    let found =
        credentials::resolve(&Settings::default(), &environment, &Network::default()).await?;
    Ok(found.source)
}

/// Every recording is asked for, and every request is the recorded one.
#[tokio::test]
async fn requests_are_the_recorded_ones() -> Result<()> {
    let mut compared = 0;
    for name in names()? {
        if EXCEPTIONS.iter().any(|(exception, _)| *exception == name) {
            continue;
        }
        let (recorded, answer) = recording(&name).with_context(|| name.clone())?;
        let server = Server::start(answer).await?;
        let client = Client::new(Config {
            endpoint: Some(server.url.clone()),
            retry: RetryPolicy::without_waiting(),
            ..Config::new(
                http_client(&Options::default())?,
                Region::parse("fra")?,
                sign_in(&name, &recorded).await?,
            )
        })?;
        ask(&name, &client, &server.url)
            .await
            .with_context(|| name.clone())?;
        let sent = server.sent()?;
        ensure!(sent.len() == 1, "{name}: {} requests", sent.len());
        same(&recorded, &sent[0]).with_context(|| name.clone())?;
        compared += 1;
    }
    assert_eq!(compared, names()?.len() - EXCEPTIONS.len());
    Ok(())
}

/// An exception is one of the recordings, so that none outlives its reason.
#[test]
fn exceptions_are_recordings() -> Result<()> {
    let names = names()?;
    for (exception, reason) in EXCEPTIONS {
        assert!(names.iter().any(|name| name == exception), "{exception}");
        assert!(!reason.is_empty());
    }
    Ok(())
}

/// The comparison notices what it is there for.
#[tokio::test]
async fn differences_are_noticed() -> Result<()> {
    let (recorded, _) = recording("repo-create-full")?;
    same(&recorded, &recorded)?;
    let changes: [fn(&mut Recorded); 7] = [
        |sent| sent.method = "PUT".into(),
        |sent| sent.target.push_str("?a=b"),
        |sent| sent.body = sent.body.replace("false", "true"),
        |sent| drop(sent.headers.remove("content-type")),
        |sent| drop(sent.headers.remove("opc-retry-token")),
        |sent| drop(sent.headers.insert("content-length".into(), "1".into())),
        |sent| {
            let authorization = sent.headers["authorization"].replace(" x-content-sha256", "");
            sent.headers.insert("authorization".into(), authorization);
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut sent = recorded.clone();
        change(&mut sent);
        assert!(same(&recorded, &sent).is_err(), "{number}");
    }
    Ok(())
}

/// Holds a request against a recorded one.
fn same(recorded: &Recorded, sent: &Recorded) -> Result<()> {
    let equal = |what: &str, theirs: &str, ours: &str| {
        ensure!(
            theirs == ours,
            "{what}: {theirs:?} was recorded, and {ours:?} was sent"
        );
        Ok(())
    };
    equal("method", &recorded.method, &sent.method)?;
    equal("target", &recorded.target, &sent.target)?;
    ensure!(
        recorded.json()? == sent.json()?,
        "body: {} was recorded, and {} was sent",
        recorded.body,
        sent.body
    );
    for parameter in ["version", "algorithm", "headers"] {
        equal(
            parameter,
            &recorded.signature(parameter)?,
            &sent.signature(parameter)?,
        )?;
    }
    // The fingerprint is our key's where the source has to compute it.
    let key_id = |request: &Recorded| {
        let key_id = request.signature("keyId")?;
        anyhow::Ok(match key_id.rsplit_once('/') {
            Some((owner, fingerprint)) if !key_id.starts_with("ST$") => {
                format!("{owner}/{} letters", fingerprint.len())
            }
            _ => key_id,
        })
    };
    equal("keyId", &key_id(recorded)?, &key_id(sent)?)?;
    for name in recorded.signature("headers")?.split(' ') {
        match name {
            "(request-target)" => {}
            "date" => drop(httpdate::parse_http_date(sent.header(name)?)?),
            "host" => {
                let host = |request: &Recorded| {
                    let host = request.header("host")?;
                    anyhow::Ok(host.split(':').next().unwrap_or_default().to_owned())
                };
                equal(name, &host(recorded)?, &host(sent)?)?;
            }
            // Of the bytes of each, which differ in blanks.
            "content-length" => {
                equal(
                    name,
                    recorded.header(name)?,
                    &recorded.body.len().to_string(),
                )?;
                equal(name, sent.header(name)?, &sent.body.len().to_string())?;
            }
            "x-content-sha256" => {
                for request in [recorded, sent] {
                    let digest = BASE64.encode(Sha256::digest(&request.body));
                    equal(name, request.header(name)?, &digest)?;
                }
            }
            _ => equal(name, recorded.header(name)?, sent.header(name)?)?,
        }
    }
    // Not signed, and of a meaning all the same.
    equal(
        "content-type",
        recorded.header("content-type")?,
        sent.header("content-type")?,
    )?;
    for name in ["opc-retry-token", "opc-obo-token", "opc-client-request-id"] {
        let there = |request: &Recorded| request.headers.contains_key(name).to_string();
        equal(name, &there(recorded), &there(sent))?;
    }
    let id = sent.header("opc-request-id")?;
    ensure!(id.len() == recorded.header("opc-request-id")?.len(), "{id}");
    Ok(())
}

/// The names of all recordings.
fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(captures())? {
        let path = file?.path();
        let name = path.file_stem().context("a file without a name")?;
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// What a recording asked for in the end, and what it was answered: what comes before is
/// how it signed in.
fn recording(name: &str) -> Result<(Recorded, String)> {
    let capture = fs::read_to_string(captures().join(format!("{name}.txt")))?;
    let last = capture
        .rsplit("### request ")
        .next()
        .and_then(|last| last.split_once('\n'))
        .map(|(_, last)| last)
        .context("no request")?;
    let (request, rest) = last
        .split_once("\n\n### verification")
        .context("no end of the request")?;
    let (_, answer) = rest.split_once("### response\n").context("no answer")?;
    let (status, body) = answer.split_once('\n').context("no status")?;
    let body = body.trim_end();
    let answer = format!(
        "{status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Ok((Recorded::read(request)?, answer))
}

fn captures() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/captures"
    ))
}

/// A request.
#[derive(Clone)]
struct Recorded {
    method: String,
    target: String,
    /// By their names in lower case.
    headers: BTreeMap<String, String>,
    body: String,
}

impl Recorded {
    /// Reads a request with line ends of either kind.
    fn read(text: &str) -> Result<Self> {
        let text = text.replace("\r\n", "\n");
        // A request without a body may end with its head.
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let mut lines = head.lines();
        let mut words = lines.next().context("no request line")?.split(' ');
        Ok(Self {
            method: words.next().context("no method")?.to_owned(),
            target: words.next().context("no target")?.to_owned(),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: body.trim_matches('\n').to_owned(),
        })
    }

    fn header(&self, name: &str) -> Result<&str> {
        let value = self.headers.get(name).map(String::as_str);
        value.with_context(|| format!("no header {name}"))
    }

    fn json(&self) -> Result<Value> {
        Ok(match &*self.body {
            "" => Value::Null,
            body => serde_json::from_str(body)?,
        })
    }

    /// A parameter of the signature, which stand in any order.
    fn signature(&self, parameter: &str) -> Result<String> {
        let value = self
            .header("authorization")?
            .trim_start_matches("Signature ")
            .split("\",")
            .find_map(|part| part.strip_prefix(parameter)?.strip_prefix("=\""));
        let value = value.with_context(|| format!("no parameter {parameter}"))?;
        Ok(value.trim_end_matches('"').to_owned())
    }
}

/// Gives one answer to everything, and keeps what it was asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => request.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8_lossy(&request).into_owned();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .and_then(|length| length.parse().ok())
                    .unwrap_or(0);
                let mut body = vec![0; length];
                // A body that is cut off is noticed by its length later.
                let _ = stream.read_exact(&mut body).await;
                if let Ok(mut kept) = kept.lock() {
                    kept.push(head + &String::from_utf8_lossy(&body));
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Self { url, asked })
    }

    fn sent(&self) -> Result<Vec<Recorded>> {
        let asked = self.asked.lock().map(|asked| asked.clone());
        let asked = asked.unwrap_or_default();
        asked.iter().map(|text| Recorded::read(text)).collect()
    }
}

/// The credential that a recorded CLI had come to, with another key.
struct AsRecorded(Arc<Credential>);

impl CredentialSource for AsRecorded {
    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Arc<credentials::Error>>> {
        ready(Ok(self.0.clone())).boxed()
    }
    fn describe(&self) -> String {
        "the recorded CLI".to_owned()
    }
    fn tenancy_id(&self) -> Option<String> {
        None
    }
    fn user_id(&self) -> Option<String> {
        None
    }
    fn grantee(&self) -> Grantee {
        Grantee::Group
    }
}

/// The key of the signing vectors.
fn vectors_key() -> Result<String> {
    let vectors: Value = serde_json::from_str(include_str!("../../fixtures/signing-vectors.json"))?;
    let pem = vectors["key"]["pkcs8_pem"].as_str();
    Ok(pem.context("no key among the vectors")?.to_owned())
}

fn pem_body(pem: &str) -> Result<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
    Ok(BASE64.decode(body)?)
}
