//! Answers that were spoilt on the way: the emulator and a registry answer as they
//! should, and somebody in between changes a status, a header or a body. Whoever asked says
//! what is wrong, or goes on; nobody panics, and nobody asks for ever.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use ocir::{
    credentials::{self, Environment, Network, Settings},
    emulator::Emulator,
    image::{Digest, LoadOptions, Loader, Source},
    oci::{self, CreateContainerRepository, ListContainerImages, ListContainerRepositories},
    registry::{Client, Config, Credentials, Pull, Push},
    transport::{Options, RetryPolicy, http_client},
};
use proptest::{
    collection,
    prelude::*,
    sample,
    test_runner::{FileFailurePersistence, TestRunner},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    client::registry::fake::{Fake, SignIn},
    support::{client, images::Layout},
};

#[expect(dead_code, reason = "seeds are what the services answer")]
#[path = "../../src/spoilt.rs"]
mod spoilt;

use spoilt::Changes;

/// What becomes of an answer.
#[derive(Clone, Debug)]
enum Spoil {
    Body(Changes),
    /// The header goes.
    Drop(&'static str),
    /// The header is changed, or is there.
    Header(&'static str, &'static str, Changes),
    Status(u16),
}

/// What becomes of which answers, counted from the first.
type Plan = BTreeMap<usize, Vec<Spoil>>;

/// Headers that somebody reads, and what they are where the answer has none.
const HEADERS: &[(&str, &str)] = &[
    ("content-range", "bytes 0-10/11"),
    ("content-type", "application/vnd.oci.image.manifest.v1+json"),
    ("date", "Fri, 02 Jan 2026 03:04:05 GMT"),
    (
        "docker-content-digest",
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    ),
    ("etag", "\"1\""),
    ("link", "</v2/ns/web/tags/list?last=1&n=1>; rel=\"next\""),
    ("location", "/v2/ns/web/blobs/uploads/1?state=2"),
    ("oci-chunk-min-length", "16777216"),
    ("opc-next-page", "2"),
    ("opc-request-id", "4F2C/1"),
    ("range", "0-18446744073709551615"),
    ("retry-after", "1"),
    ("warning", "299 - \"storage is nearly full\""),
    (
        "www-authenticate",
        "Bearer realm=\"http://127.0.0.1:1/token\",service=\"x\",scope=\"repository:ns/web:pull,push\"",
    ),
];

const STATUSES: &[u16] = &[
    200, 201, 202, 204, 206, 301, 307, 308, 400, 401, 403, 404, 405, 409, 412, 413, 416, 429, 500,
    501, 503,
];

fn plans() -> impl Strategy<Value = Plan> {
    let header = || sample::select(HEADERS);
    let spoil = prop_oneof![
        3 => spoilt::changes().prop_map(Spoil::Body),
        1 => header().prop_map(|(name, _)| Spoil::Drop(name)),
        3 => (header(), spoilt::changes())
            .prop_map(|((name, usual), changes)| Spoil::Header(name, usual, changes)),
        1 => sample::select(STATUSES).prop_map(Spoil::Status),
    ];
    // Later answers come only when those before them were believed.
    let number = prop_oneof![0..4_usize, 0..24_usize];
    collection::btree_map(number, collection::vec(spoil, 1..3), 1..4)
}

/// Somebody in between; ends when dropped.
struct Between {
    url: String,
    host: String,
    answers: Arc<AtomicUsize>,
    _end: DropGuard,
}

impl Between {
    /// In front of a service on this machine.
    async fn start(service: &str, plan: Plan) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let way = Arc::new(Way {
            http: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()?,
            here: host.clone(),
            there: service.to_owned(),
            plan,
            answers: Arc::default(),
        });
        let answers = Arc::clone(&way.answers);
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(ended.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let way = Arc::clone(&way);
                let serve = async move {
                    let service = service_fn(|request| way.pass(request));
                    let connection = hyper::server::conn::http1::Builder::new();
                    // Whoever asked may have enough.
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                };
                tokio::spawn(ended.clone().run_until_cancelled_owned(serve));
            }
        }));
        Ok(Self {
            url: format!("http://{host}"),
            host,
            answers,
            _end: end.drop_guard(),
        })
    }
}

/// What somebody in between knows.
struct Way {
    http: reqwest::Client,
    here: String,
    there: String,
    plan: Plan,
    answers: Arc<AtomicUsize>,
}

impl Way {
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(self.spoil(request).await.unwrap_or_else(|error| {
            let mut response = Response::new(Full::new(format!("{error:#}").into()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }))
    }

    async fn spoil(&self, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = head.headers;
        headers.remove(header::TRANSFER_ENCODING);
        let answer = self
            .http
            .request(head.method.clone(), format!("http://{}{path}", self.there))
            .headers(headers)
            .body(body.collect().await?.to_bytes())
            .send()
            .await?;
        let mut status = answer.status();
        let mut headers = answer.headers().clone();
        headers.remove(header::TRANSFER_ENCODING);
        // Of what is only asked about, the length stays.
        if head.method != http::Method::HEAD {
            headers.remove(header::CONTENT_LENGTH);
        }
        // Where the service sends to is here as well.
        let back = |bytes: &[u8]| -> Vec<u8> {
            match std::str::from_utf8(bytes) {
                Ok(text) => text.replace(&self.there, &self.here).into(),
                Err(_) => bytes.to_vec(),
            }
        };
        for value in headers.values_mut() {
            *value = HeaderValue::from_bytes(&back(value.as_bytes()))?;
        }
        let mut body = back(&answer.bytes().await?);
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        for spoil in self.plan.get(&number).into_iter().flatten() {
            match spoil {
                Spoil::Body(changes) => body = changes.of(body),
                Spoil::Drop(name) => drop(headers.remove(*name)),
                Spoil::Header(name, usual, changes) => {
                    let now = headers.get(*name).map(HeaderValue::as_bytes);
                    let new = changes.of(now.unwrap_or(usual.as_bytes()).to_vec());
                    // The rest is none that a server could send.
                    if let Ok(value) = HeaderValue::from_bytes(&new) {
                        headers.insert(HeaderName::from_static(name), value);
                    }
                }
                Spoil::Status(code) => status = StatusCode::from_u16(*code)?,
            }
        }
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Tells a story as often as is usual for properties, a part of that by default: each time with
/// other answers spoilt.
fn tell<Story, Telling>(share: u32, story: Story) -> anyhow::Result<()>
where
    Story: Fn(Plan) -> Telling,
    Telling: Future<Output = anyhow::Result<()>>,
{
    let runtime = Runtime::new()?;
    let defaults = ProptestConfig::default();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: defaults.cases.div_ceil(share),
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..defaults
    });
    // As long as nobody meddles, everything works.
    runtime.block_on(story(Plan::new()))?;
    runner.run(&plans(), |plan| {
        let told = runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), story(plan)).await });
        match told {
            Ok(told) => told.map_err(|error| TestCaseError::fail(format!("{error:#}"))),
            Err(_) => Err(TestCaseError::fail("it does not end")),
        }
    })?;
    Ok(())
}

/// How results are looked at.
#[derive(Clone, Copy)]
struct Look<'a> {
    /// Nothing is spoilt, so that everything has to work.
    is_whole: bool,
    secrets: &'a [&'a str],
}

impl Look<'_> {
    /// What came, or nothing when an error says why: one that somebody may read.
    fn at<T, E>(&self, result: Result<T, E>) -> anyhow::Result<Option<T>>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => format!("{:#}", anyhow::Error::new(error)),
        };
        anyhow::ensure!(!self.is_whole, "{error}");
        for secret in self.secrets {
            anyhow::ensure!(!error.contains(secret), "it tells a secret: {error}");
        }
        anyhow::ensure!(error.chars().count() < 20_000, "it is too long: {error}");
        Ok(None)
    }
}

/// Everything is asked of the control plane that a resource asks.
#[test]
fn control_plane() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let emulator = runtime.block_on(async { Emulator::builder().start().await })?;
    let seed = emulator.seed();
    let repositories = AtomicUsize::new(0);
    tell(4, async |plan| {
        let look = Look {
            is_whole: plan.is_empty(),
            secrets: &[&seed.private_key_pem],
        };
        let between = Between::start(&emulator.authority(), plan).await?;
        let key = &seed.private_key_pem;
        let options = Options::default();
        let oci = client::oci_with(&emulator, &between.url, key, &options).await?;
        look.at(oci.get_namespace(None).await)?;
        let number = repositories.fetch_add(1, Ordering::Relaxed);
        let wanted = CreateContainerRepository {
            compartment_id: seed.apps_compartment_id.clone(),
            display_name: format!("web-{number}"),
            ..CreateContainerRepository::default()
        };
        if let Some(made) = look.at(oci.create_container_repository(&wanted).await)? {
            look.at(oci.get_container_repository(&made.id).await)?;
            look.at(oci.delete_container_repository(&made.id, None).await)?;
        }
        let query = ListContainerRepositories {
            compartment_id: seed.apps_compartment_id.clone(),
            compartment_id_in_subtree: false,
            display_name: None,
        };
        look.at(oci.list_container_repositories(&query).await)?;
        look.at(oci.list_auth_tokens(&seed.user_id).await)?;
        look.at(oci.get_user(&seed.user_id).await)?;
        look.at(oci.get_tenancy(&seed.tenancy_id).await)?;
        look.at(oci.get_registry_token(&between.url).await)?;
        anyhow::ensure!(
            between.answers.load(Ordering::Relaxed) < 200,
            "too many calls"
        );
        Ok(())
    })
}

/// What the control plane has beside repositories is asked for, changed and taken away: an image,
/// the registry's settings, auth tokens and what they open.
#[test]
fn control_plane_of_images() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let builder = Emulator::builder().create_on_first_push();
    let emulator = runtime.block_on(async { builder.start().await })?;
    let seed = emulator.seed();
    let username = format!("{}/{}", seed.namespace, seed.user_name);
    let repository = format!("{}/web", seed.namespace);
    let password = runtime.block_on(async {
        let oci = client::oci(&emulator).await?;
        let token = oci.create_auth_token(&seed.user_id, "for pushes").await?;
        token.token.context("it is told once")
    })?;
    let registry = Client::new(Config {
        http: http_client(&Options::default())?,
        host: emulator.authority(),
        plain_http: true,
        credentials: Credentials::Basic {
            username: username.clone(),
            password: password.clone(),
        },
        max_concurrent_uploads: 1,
        retry: RetryPolicy::without_waiting(),
    });
    let layout = Layout::of("content")?;
    let image = Loader::default().load(
        &Source::parse(&format!("oci:{}", layout.path().display()))?,
        &CancellationToken::new(),
    )?;
    tell(4, async |plan| {
        let look = Look {
            is_whole: plan.is_empty(),
            secrets: &[&seed.private_key_pem, &password],
        };
        // Nobody is in between, so that each time there is something to be told about.
        registry
            .push(&Push::new(&repository, "1.0", &image))
            .await?;
        let between = Between::start(&emulator.authority(), plan).await?;
        let key = &seed.private_key_pem;
        let options = Options::default();
        let oci = client::oci_with(&emulator, &between.url, key, &options).await?;
        look.at(oci.region_subscriptions(&seed.tenancy_id).await)?;
        look.at(oci.get_container_configuration(&seed.tenancy_id).await)?;
        let settings = oci.update_container_configuration(&seed.tenancy_id, true);
        look.at(settings.await)?;
        let query = ListContainerImages {
            compartment_id: seed.tenancy_id.clone(),
            compartment_id_in_subtree: true,
            ..ListContainerImages::default()
        };
        let uri = format!("{repository}:1.0");
        look.at(oci.lookup_container_image_by_uri(&uri).await)?;
        let listed = look.at(oci.list_container_images(&query).await)?;
        for listed in listed.into_iter().flatten().take(2) {
            look.at(oci.get_container_image(&listed.id).await)?;
            look.at(oci.remove_container_version(&listed.id, "1.0").await)?;
            look.at(oci.delete_container_image(&listed.id).await)?;
        }
        if let Some(made) = look.at(oci.create_auth_token(&seed.user_id, "d").await)? {
            let changed = oci.update_auth_token(&seed.user_id, &made.id, "e").await;
            look.at(changed)?;
            look.at(oci.delete_auth_token(&seed.user_id, &made.id).await)?;
        }
        let http = http_client(&options)?;
        look.at(oci::registry_login(&http, &between.url, &username, &password).await)?;
        // A user has two of them at most, and answers that were spoilt may have left one.
        for left in emulator.auth_tokens() {
            if left["description"] != "for pushes" {
                emulator.remove_auth_token(left["id"].as_str().unwrap_or_default());
            }
        }
        anyhow::ensure!(
            between.answers.load(Ordering::Relaxed) < 200,
            "too many calls"
        );
        Ok(())
    })
}

/// Machines sign in with what is exchanged over the network.
#[test]
fn signing_in() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let emulator = runtime.block_on(async { Emulator::builder().start().await })?;
    let folder = tempfile::tempdir()?;
    let mut job = emulator.identity_domain(folder.path())?;
    job.insert("OCI_REGION".to_owned(), emulator.seed().region.clone());
    let machines = [
        emulator.instance(),
        job,
        emulator.cloud_shell(folder.path())?,
    ];
    let turn = AtomicUsize::new(0);
    // Some of them make a key, which takes a second in a test build.
    tell(24, async |plan| {
        let look = Look {
            is_whole: plan.is_empty(),
            secrets: &[],
        };
        let between = Between::start(&emulator.authority(), plan).await?;
        let machine = &machines[turn.fetch_add(1, Ordering::Relaxed) % machines.len()];
        let variables = machine.iter().map(|(name, value)| {
            let value = value.replace(&emulator.authority(), &between.host);
            (name.clone(), value)
        });
        let environment = Environment {
            variables: variables.collect(),
            home: Some(folder.path().to_owned()),
        };
        let network = Network {
            retry: RetryPolicy::without_waiting(),
            endpoint: Some(between.url.clone()),
            ..Network::default()
        };
        let resolved = credentials::resolve(&Settings::default(), &environment, &network).await;
        if let Some(resolved) = look.at(resolved)? {
            let credential = resolved.source.credential().await;
            if let Some(credential) = look.at(credential)? {
                resolved.source.refused(&credential);
                look.at(resolved.source.credential().await)?;
            }
            let _ = (resolved.source.describe(), resolved.source.tenancy_id());
        }
        anyhow::ensure!(
            between.answers.load(Ordering::Relaxed) < 200,
            "too many calls"
        );
        Ok(())
    })
}

/// An image is pushed under two tags, looked up, pulled and deleted.
#[test]
fn registry() -> anyhow::Result<()> {
    let layout = Layout::of("content")?;
    let image = Loader::default().load(
        &Source::parse(&format!("oci:{}", layout.path().display()))?,
        &CancellationToken::new(),
    )?;
    let turn = AtomicUsize::new(0);
    tell(2, async |plan| {
        let sign_in = [SignIn::Open, SignIn::Basic, SignIn::Bearer];
        let sign_in = sign_in[turn.fetch_add(1, Ordering::Relaxed) % sign_in.len()];
        let look = Look {
            is_whole: plan.is_empty(),
            secrets: &["dXNlcjpwYXNzd29yZA"],
        };
        let fake = Fake::start(sign_in).await?;
        let between = Between::start(&fake.host, plan).await?;
        let client = Client::new(Config {
            http: http_client(&Options::default())?,
            host: between.host.clone(),
            plain_http: true,
            credentials: match sign_in {
                SignIn::Open => Credentials::Anonymous,
                _ => Credentials::Basic {
                    username: "user".to_owned(),
                    password: "password".to_owned(),
                },
            },
            max_concurrent_uploads: 1,
            retry: RetryPolicy::without_waiting(),
        });
        let pushed = client.push(&Push::new("ns/web", "1.0", &image)).await;
        if look.at(pushed)?.is_some() {
            // Where it says that it arrived, it did: whatever somebody in between said.
            let arrived = fake.manifest("ns/web", "1.0");
            anyhow::ensure!(
                arrived.is_some_and(|(_, bytes)| bytes == image.root().bytes),
                "it did not arrive"
            );
        }
        look.at(client.tags("ns/web").await)?;
        look.at(client.head_manifest("ns/web", "1.0").await)?;

        let name = format!("docker://{}/ns/web:1.0", between.host);
        let source = Source::parse(&name)?;
        let Source::Registry { reference } = &source else {
            anyhow::bail!("it is one of a registry");
        };
        let pull = Pull::new(client.clone(), reference.clone(), "somebody");
        let options = LoadOptions {
            remote: Some(Arc::new(pull)),
            ..LoadOptions::default()
        };
        let pulling = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            let loaded = Loader::default().load_with(&source, &options, &CancellationToken::new());
            let Some(image) = look.at(loaded)? else {
                return Ok(());
            };
            for blob in &image.blobs {
                let mut bytes = Vec::new();
                let read = blob.source.open()?.take(1 << 20).read_to_end(&mut bytes);
                if look.at(read)?.is_some() {
                    anyhow::ensure!(Digest::of(&bytes) == blob.digest, "other bytes came");
                }
            }
            Ok(())
        });
        pulling.await??;
        look.at(client.delete_manifest("ns/web", &image.root().digest).await)?;
        anyhow::ensure!(
            between.answers.load(Ordering::Relaxed) < 300,
            "too many calls"
        );
        Ok(())
    })
}
