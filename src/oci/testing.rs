//! A service that says what it is told to say, and clients of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Client, Config, CreateContainerRepository};
use crate::{
    credentials::{self, Credential, CredentialSource, Grantee},
    region::Region,
    signing::SigningKey,
    transport::{Options, RetryPolicy, http_client},
};

/// The vectors' key, under one key id after the other as they are refused.
pub(super) struct Source {
    credentials: Vec<Arc<Credential>>,
    current: AtomicUsize,
    /// How long it takes to get one.
    pub(super) takes: Duration,
    pub(super) tenancy_id: Option<String>,
}

impl Source {
    pub(super) fn new() -> anyhow::Result<Self> {
        Self::with_key_ids(&["tenancy/user/fingerprint"])
    }

    pub(super) fn with_key_ids(key_ids: &[&str]) -> anyhow::Result<Self> {
        let vectors: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/signing-vectors.json"))?;
        let pem = vectors["key"]["pkcs8_pem"].as_str().unwrap_or_default();
        let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
        let der =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body.as_bytes())?;
        let key = Arc::new(SigningKey::from_pkcs8_der(&der)?);
        let credential = |key_id: &&str| {
            Arc::new(Credential {
                key_id: (*key_id).to_owned(),
                key: key.clone(),
                delegation_token: None,
            })
        };
        Ok(Self {
            credentials: key_ids.iter().map(credential).collect(),
            current: AtomicUsize::new(0),
            takes: Duration::ZERO,
            tenancy_id: None,
        })
    }

    /// The same, on behalf of a user.
    pub(super) fn with_delegation(mut self, token: &str) -> Self {
        for credential in &mut self.credentials {
            *credential = Arc::new(Credential {
                delegation_token: Some(token.to_owned()),
                ..Credential::clone(credential)
            });
        }
        self
    }
}

impl CredentialSource for Source {
    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, Arc<credentials::Error>>> {
        async {
            tokio::time::sleep(self.takes).await;
            Ok(self.credentials[self.current.load(Ordering::Relaxed)].clone())
        }
        .boxed()
    }
    fn refused(&self, credential: &Arc<Credential>) -> bool {
        let known = |known: &Arc<Credential>| Arc::ptr_eq(known, credential);
        let refused = self.credentials.iter().position(known);
        let next = refused.map_or(0, |at| at + 1);
        if next >= self.credentials.len() {
            return false;
        }
        self.current.fetch_max(next, Ordering::Relaxed);
        true
    }
    fn describe(&self) -> String {
        "user user".to_owned()
    }
    fn tenancy_id(&self) -> Option<String> {
        self.tenancy_id.clone()
    }
    fn user_id(&self) -> Option<String> {
        None
    }
    fn grantee(&self) -> Grantee {
        Grantee::Group
    }
}

/// A service that says what it is told to say, one answer per connection;
/// an empty answer is a cut connection. Keeps what it was asked.
pub(super) struct FakeService {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeService {
    pub(super) async fn start(answers: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let answers: Vec<String> = answers.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        tokio::spawn(async move {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                let request = read_request(&mut stream).await.unwrap_or_default();
                if let Ok(mut kept) = kept.lock() {
                    kept.push(request);
                }
                // Whoever hung up does not want the answer.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Self { url, requests })
    }

    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(config(Some(&self.url))?)?)
    }

    /// A client with a source of the test's own.
    pub(super) fn client_of(&self, source: &Arc<Source>) -> anyhow::Result<Client> {
        Ok(Client::new(Config {
            credentials: source.clone(),
            ..config(Some(&self.url))?
        })?)
    }

    /// The requests so far, each the head and the body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .map(|kept| kept.clone())
            .unwrap_or_default()
    }

    /// The first lines of the requests so far.
    pub(super) fn lines(&self) -> String {
        let requests = self.requests();
        let lines: Vec<&str> = requests
            .iter()
            .map(|request| request.lines().next().unwrap_or_default())
            .collect();
        lines.join("\n")
    }

    /// The values of a header in the requests so far.
    pub(super) fn header(&self, name: &str) -> Vec<String> {
        let of_one = |request: &String| {
            request
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name}: ")))
                .map(str::to_owned)
        };
        self.requests().iter().filter_map(of_one).collect()
    }
}

pub(super) async fn read_request(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(request)?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(Ok(0), str::parse)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(head + &String::from_utf8(body)?)
}

pub(super) fn config(endpoint: Option<&str>) -> anyhow::Result<Config> {
    Ok(Config {
        endpoint: endpoint.map(str::to_owned),
        retry: RetryPolicy::without_waiting(),
        ..Config::new(
            http_client(&Options::default())?,
            Region::parse("gru")?,
            Arc::new(Source::new()?),
        )
    })
}

pub(super) fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\nopc-request-id: THEIRS/{status}\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub(super) fn refusal(status: u16, code: &str) -> String {
    let body = json!({"code": code, "message": "a message"}).to_string();
    answer(status, "", &body)
}

pub(super) fn repository() -> String {
    let body = include_str!("../../tests/fixtures/oci/container-repository.json");
    answer(200, "", body)
}

pub(super) fn cut() -> String {
    String::new()
}

pub(super) fn web() -> CreateContainerRepository {
    CreateContainerRepository {
        compartment_id: "ocid1.compartment.oc1..a".into(),
        display_name: "team/app".into(),
        ..CreateContainerRepository::default()
    }
}
