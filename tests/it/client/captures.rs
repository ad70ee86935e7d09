//! Our requests held against those that Oracle's CLI was recorded to send.
//!
//! For every recording in `tests/fixtures/captures` the same thing is asked for
//! through our client, of a server that gives the recorded answer. What arrives has to be
//! the same: method, target, body, and the signed headers by name and by value, except the
//! date, the signature and the port. A body is the same when it is the same JSON; its
//! length and its digest are then those of our bytes. That the string under the signature
//! is the same as well is shown where the signature is made, in `src/signing`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD},
};
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

/// What we ask for and the recorded CLI did not, and why.
const BEYOND: &[(&str, &str)] = &[(
    "GET /opc/v2/instance/regionInfo",
    "it tells all of a region that is newer than our table; the CLI asks for its name alone, as we do then",
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
                .update_container_repository(REPOSITORY, &body, None)
                .await?;
        }
        "repo-change-compartment" => {
            client
                .change_container_repository_compartment(REPOSITORY, COMPARTMENT)
                .await?;
        }
        "repo-delete" => client.delete_container_repository(REPOSITORY, None).await?,
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

/// Signs in with the credential that the recorded CLI had come to.
fn as_recorded(recorded: &Request) -> Result<Arc<dyn CredentialSource>> {
    Ok(Arc::new(AsRecorded(Arc::new(Credential {
        key_id: recorded.signature("keyId")?,
        key: Arc::new(SigningKey::from_pkcs8_der(&pem_body(&key("pkcs8_pem")?)?)?),
        delegation_token: recorded.headers.get("opc-obo-token").cloned(),
    }))))
}

/// The environment of a program that signs in as the recorded CLI did, with a folder for
/// its files. The recordings do not tell their API key: the vectors' one stands in.
fn environment(name: &str, request: &Request, folder: &Path) -> Result<Environment> {
    let token = || {
        let key_id = request.signature("keyId")?;
        let token = key_id.strip_prefix("ST$").context("no security token")?;
        anyhow::Ok(token.to_owned())
    };
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text)?;
        anyhow::Ok(path.display().to_string())
    };
    let user = |key: String| {
        [
            ("OCI_CLI_USER", USER.to_owned()),
            ("OCI_CLI_TENANCY", TENANCY.to_owned()),
            ("OCI_CLI_REGION", "eu-frankfurt-1".to_owned()),
            ("OCI_CLI_KEY_CONTENT", key),
        ]
    };
    let passphrase = ("OCI_CLI_PASSPHRASE", key("passphrase")?);
    let auth = |way: &str| ("OCI_CLI_AUTH", way.to_owned());
    let mut variables = BTreeMap::new();
    match name {
        "auth-env-only" => variables.extend(user(key("pkcs8_pem")?)),
        "auth-passphrase-pkcs1" => {
            variables.extend(user(encrypted_key("pkcs1_encrypted_aes256cbc")?));
            variables.extend([passphrase]);
        }
        "auth-passphrase-pkcs8" => {
            let form = "pkcs8_encrypted_pbes2_aes256cbc_hmacsha256";
            variables.extend(user(encrypted_key(form)?));
            variables.extend([passphrase]);
        }
        "auth-security-token" => variables.extend([
            auth("security_token"),
            ("OCI_CLI_REGION", "eu-frankfurt-1".to_owned()),
            ("OCI_CLI_KEY_FILE", file("key.pem", &key("pkcs8_pem")?)?),
            ("OCI_CLI_SECURITY_TOKEN_FILE", file("token", &token()?)?),
        ]),
        "auth-instance-principal" => variables.extend([auth("instance_principal")]),
        "auth-instance-obo-user" => variables.extend([
            auth("instance_obo_user"),
            (
                "OCI_CLI_DELEGATION_TOKEN_FILE",
                file("delegation_token", request.header("opc-obo-token")?)?,
            ),
        ]),
        "auth-resource-principal-22" => variables.extend([
            auth("resource_principal"),
            ("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2".to_owned()),
            ("OCI_RESOURCE_PRINCIPAL_RPST", token()?),
            ("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", key("pkcs8_pem")?),
            ("OCI_RESOURCE_PRINCIPAL_REGION", "eu-frankfurt-1".to_owned()),
        ]),
        _ => bail!("nothing signs in as {name} recorded"),
    }
    Ok(Environment {
        variables: variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        home: None,
    })
}

/// Every recording is asked for, and every request is the recorded one.
#[tokio::test]
async fn requests_are_the_recorded_ones() -> Result<()> {
    let mut compared = 0;
    for name in names()? {
        if EXCEPTIONS.iter().any(|(exception, _)| *exception == name) {
            continue;
        }
        let mut recording = recording(&name).with_context(|| name.clone())?;
        // What comes before is how it signed in, which is the next test's.
        let last = recording.split_off(recording.len() - 1).remove(0);
        let source = as_recorded(&last.request)?;
        let request = last.request.clone();
        let server = Server::start(vec![last]).await?;
        let client = client(&server, source)?;
        ask(&name, &client, &server.url)
            .await
            .with_context(|| name.clone())?;
        let sent = server.sent()?;
        ensure!(sent.len() == 1, "{name}: {} requests", sent.len());
        same(&request, &sent[0]).with_context(|| name.clone())?;
        compared += 1;
    }
    assert_eq!(compared, names()?.len() - EXCEPTIONS.len());
    Ok(())
}

/// Every recorded way to sign in, from what the environment says to the namespace: what
/// goes to the metadata service, to the federation and to the control plane is what was recorded.
#[tokio::test]
async fn sign_ins_are_the_recorded_ones() -> Result<()> {
    for name in names()? {
        if !name.starts_with("auth-") || name.starts_with("auth-token-") {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let recording = recording(&name).with_context(|| name.clone())?;
        let last = &recording[recording.len() - 1].request;
        let mut environment = environment(&name, last, folder.path())?;
        let recorded: Vec<Request> = recording.iter().map(|one| one.request.clone()).collect();
        let server = Server::start(recording).await?;
        environment.variables.insert(
            "OCI_METADATA_BASE_URL".to_owned(),
            format!("{}/opc/v2", server.url),
        );
        let network = Network {
            retry: RetryPolicy::without_waiting(),
            endpoint: Some(server.url.clone()),
            ..Network::default()
        };
        let found = credentials::resolve(&Settings::default(), &environment, &network)
            .await
            .with_context(|| name.clone())?;
        assert_eq!(
            found.region.as_ref().map(|region| &*region.identifier),
            Some("eu-frankfurt-1"),
            "{name}"
        );
        ask(&name, &client(&server, found.source)?, &server.url)
            .await
            .with_context(|| name.clone())?;

        let mut sent = server.sent()?;
        sent.retain(|request| !BEYOND.iter().any(|(line, _)| *line == request.line()));
        let lines = |requests: &[Request]| -> BTreeSet<String> {
            requests.iter().map(Request::line).collect()
        };
        // How often something is asked for is each client's own affair.
        assert_eq!(lines(&recorded), lines(&sent), "{name}");
        for request in &sent {
            let theirs = recorded
                .iter()
                .find(|recorded| recorded.line() == request.line())
                .context("compared above")?;
            match &*request.target {
                "/v1/x509" => same_federation(theirs, request),
                target if target.starts_with("/opc/v2/") => same_metadata(theirs, request),
                _ => same(theirs, request),
            }
            .with_context(|| format!("{name}: {}", request.line()))?;
        }
    }
    Ok(())
}

/// A request to the metadata service, which is not signed.
fn same_metadata(recorded: &Request, sent: &Request) -> Result<()> {
    let authorization = "authorization";
    ensure!(recorded.header(authorization)? == sent.header(authorization)?);
    ensure!(sent.body.is_empty());
    Ok(())
}

/// The request for a session, which both clients make with a new key. Oracle's older SDK names
/// the certificate by SHA-1 and its newer ones by SHA-256, as we do; the body says so.
fn same_federation(recorded: &Request, sent: &Request) -> Result<()> {
    let vectors = vectors()?;
    let certificate = &vectors["certificate"];
    let fingerprint = |name: &str| certificate[name].as_str().unwrap_or_default();
    let older = format!("/fed-x509/{}", fingerprint("sha1_fingerprint_upper"));
    let newer = format!(
        "/fed-x509-sha256/{}",
        fingerprint("sha256_fingerprint_lower")
    );
    let key_id = recorded.signature("keyId")?;
    ensure!(key_id.ends_with(&older), "{key_id}");
    ensure!(sent.signature("keyId")? == key_id.replace(&older, &newer));

    let (mut theirs, mut ours) = (recorded.json()?, sent.json()?);
    for body in [&mut theirs, &mut ours] {
        let key = body["publicKey"].take();
        let key = BASE64.decode(key.as_str().context("no publicKey")?)?;
        ensure!(
            key.len() == 294,
            "no RSA key of 2048 bits: {} bytes",
            key.len()
        );
    }
    ensure!(ours["fingerprintAlgorithm"].take() == "SHA256");
    theirs["fingerprintAlgorithm"].take();
    ensure!(theirs == ours, "{theirs} was recorded, and {ours} was sent");

    for parameter in ["version", "algorithm", "headers"] {
        ensure!(recorded.signature(parameter)? == sent.signature(parameter)?);
    }
    for name in recorded.signature("headers")?.split(' ') {
        match name {
            "(request-target)" => {}
            "date" => drop(httpdate::parse_http_date(sent.header(name)?)?),
            "content-length" | "x-content-sha256" => {
                for request in [recorded, sent] {
                    request.ensure_body_header(name)?;
                }
            }
            _ => ensure!(recorded.header(name)? == sent.header(name)?, "{name}"),
        }
    }
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
    let recorded = recording("repo-create-full")?.remove(0).request;
    same(&recorded, &recorded)?;
    let changes: [fn(&mut Request); 7] = [
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
fn same(recorded: &Request, sent: &Request) -> Result<()> {
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
    let key_id = |request: &Request| {
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
                let host = |request: &Request| {
                    let host = request.header("host")?;
                    anyhow::Ok(host.split(':').next().unwrap_or_default().to_owned())
                };
                equal(name, &host(recorded)?, &host(sent)?)?;
            }
            // Of the bytes of each, which differ in blanks.
            "content-length" | "x-content-sha256" => {
                for request in [recorded, sent] {
                    request.ensure_body_header(name)?;
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
        let there = |request: &Request| request.headers.contains_key(name).to_string();
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

/// What a recording asked for, one after the other, and what it was answered.
///
/// Its tokens have expired and its keys are not shown, so that others stand in their
/// place everywhere: the same tokens with another end, and the key of the vectors, which
/// is the certificate's.
fn recording(name: &str) -> Result<Vec<Exchange>> {
    let capture = fs::read_to_string(captures().join(format!("{name}.txt")))?;
    let capture = renewed(&capture)?.replace("<private key PEM>", &key("pkcs8_pem")?);
    let exchanges = capture.split("### request ").skip(1).map(|exchange| {
        let (_, exchange) = exchange.split_once('\n').context("no request")?;
        let (request, rest) = exchange
            .split_once("\n\n### verification")
            .context("no end of the request")?;
        let (_, answer) = rest.split_once("### response\n").context("no answer")?;
        let (status, body) = answer.split_once('\n').context("no status")?;
        let body = body.trim_end();
        Ok(Exchange {
            request: Request::read(request)?,
            answer: format!(
                "{status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        })
    });
    let exchanges = exchanges.collect::<Result<Vec<_>>>()?;
    ensure!(!exchanges.is_empty(), "no request");
    Ok(exchanges)
}

/// A text whose tokens are good for years.
fn renewed(text: &str) -> Result<String> {
    let mut renewed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("eyJhbGciOiAi") {
        let length = rest[at..]
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)))
            .context("a token at the end")?;
        let token = &rest[at..at + length];
        let mut parts = token.split('.');
        let head = parts.next().unwrap_or_default();
        let claims = URL_SAFE_NO_PAD.decode(parts.next().context("no claims")?)?;
        let mut claims: Value = serde_json::from_slice(&claims)?;
        claims["exp"] = 4_102_444_800_u64.into();
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        renewed.push_str(&rest[..at]);
        renewed.push_str(&format!("{head}.{claims}.c2ln"));
        rest = &rest[at + length..];
    }
    Ok(renewed + rest)
}

fn captures() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/captures"
    ))
}

/// A request and its answer.
struct Exchange {
    request: Request,
    answer: String,
}

/// A request.
#[derive(Clone)]
struct Request {
    method: String,
    target: String,
    /// By their names in lower case.
    headers: BTreeMap<String, String>,
    body: String,
}

impl Request {
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

    /// What it is for.
    fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// A header that follows from the body.
    fn ensure_body_header(&self, name: &str) -> Result<()> {
        let expected = match name {
            "content-length" => self.body.len().to_string(),
            _ => BASE64.encode(Sha256::digest(&self.body)),
        };
        ensure!(self.header(name)? == expected, "{name} is not the body's");
        Ok(())
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

/// A client of the server.
fn client(server: &Server, source: Arc<dyn CredentialSource>) -> Result<Client> {
    Ok(Client::new(Config {
        endpoint: Some(server.url.clone()),
        retry: RetryPolicy::without_waiting(),
        ..Config::new(
            http_client(&Options::default())?,
            Region::parse("fra")?,
            source,
        )
    })?)
}

/// Gives the recorded answer to what was recorded, and keeps what it was asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(recording: Vec<Exchange>) -> Result<Self> {
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
                let answer = recording
                    .iter()
                    .find(|known| head.starts_with(&format!("{} HTTP", known.request.line())))
                    .map_or(
                        "HTTP/1.1 404 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                        |known| &*known.answer,
                    );
                if let Ok(mut kept) = kept.lock() {
                    kept.push(head + &String::from_utf8_lossy(&body));
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Self { url, asked })
    }

    fn sent(&self) -> Result<Vec<Request>> {
        let asked = self.asked.lock().map(|asked| asked.clone());
        let asked = asked.unwrap_or_default();
        asked.iter().map(|text| Request::read(text)).collect()
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

fn vectors() -> Result<Value> {
    let vectors = include_str!("../../fixtures/signing-vectors.json");
    Ok(serde_json::from_str(vectors)?)
}

/// A form of the key of the signing vectors, or its passphrase.
fn key(form: &str) -> Result<String> {
    let vectors = vectors()?;
    let key = vectors["key"][form].as_str();
    Ok(key.context("no such key among the vectors")?.to_owned())
}

fn encrypted_key(form: &str) -> Result<String> {
    let vectors = vectors()?;
    let key = vectors["key"]["encrypted"][form].as_str();
    Ok(key.context("no such key among the vectors")?.to_owned())
}

fn pem_body(pem: &str) -> Result<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
    Ok(BASE64.decode(body)?)
}
