//! The registry client against a registry that does what it is told.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

mod chunks;
mod emulated;
mod expiry;
pub mod fake;
mod log;
mod patience;
mod pulling;
mod secrets;
mod stopping;
mod tags;

use std::{
    error::Error as _,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use expect_test::{Expect, expect};
use fake::{Act, Fake, SignIn};
use futures_util::future::BoxFuture;
use ocir::{
    image::{self, Blob, BlobSource, Descriptor, Digest, Image, Manifest},
    registry::{Client, Config, Credentials, Error, Push, Pushed, Token, TokenSource},
    transport::{Options, RetryPolicy, http_client},
};
use tokio_util::sync::CancellationToken;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Bytes, as the source of a blob.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl BlobSource for Bytes {
    fn open(&self) -> Result<Box<dyn image::BlobReader>, image::Error> {
        Ok(Box::new(image::Waits(std::io::Cursor::new(self.0.clone()))))
    }
}

fn blob(bytes: &[u8]) -> Blob {
    Blob {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        source: Arc::new(Bytes(bytes.to_vec())),
    }
}

/// Bytes whose period is no power of two, so that pieces in the wrong order show.
fn layer(size: usize, seed: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..251).map(|i| ((i + seed) % 256) as u8).collect();
    let mut bytes = period.repeat(size / period.len() + 1);
    bytes.truncate(size);
    bytes
}

/// An image of these layers.
fn image(layers: &[Vec<u8>]) -> Image {
    let config = blob(br#"{"os":"linux"}"#);
    let layers: Vec<Blob> = layers.iter().map(|bytes| blob(bytes)).collect();
    let describe = |blob: &Blob| Descriptor {
        media_type: "application/octet-stream".into(),
        digest: blob.digest.clone(),
        size: blob.size,
    };
    let json = |blob: &Blob| serde_json::json!({"digest": blob.digest.as_str(), "size": blob.size});
    let bytes = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": json(&config),
        "layers": layers.iter().map(json).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes();
    Image {
        manifests: vec![Manifest {
            media_type: MANIFEST.into(),
            digest: Digest::of(&bytes),
            bytes: bytes.into(),
            config: Some(describe(&config)),
            layers: layers.iter().map(describe).collect(),
        }],
        blobs: layers.into_iter().chain([config]).collect(),
        layers: vec![],
    }
}

/// The usual one: a layer of several pieces and a small one.
fn web() -> Image {
    image(&[layer(300_000, 1), layer(1_000, 2)])
}

fn client_with(
    fake: &Fake,
    credentials: Credentials,
    retry: RetryPolicy,
) -> anyhow::Result<Client> {
    Ok(Client::new(Config {
        http: http_client(&Options::default())?,
        host: fake.host.clone(),
        plain_http: true,
        credentials,
        max_concurrent_uploads: 4,
        retry,
    }))
}

fn client(fake: &Fake) -> anyhow::Result<Client> {
    client_with(fake, Credentials::Anonymous, RetryPolicy::without_waiting())
}

fn password(password: &str) -> Credentials {
    Credentials::Basic {
        username: "user".into(),
        password: password.into(),
    }
}

async fn push(client: &Client, image: &Image) -> Result<Pushed, Error> {
    let push = Push::new("ns/web", "1.0", image);
    client.push(&push).await
}

#[track_caller]
fn assert_pushed(fake: &Fake, repository: &str, tag: &str, image: &Image) {
    let root = image.root();
    assert_eq!(
        fake.manifest(repository, tag),
        Some((root.media_type.clone(), root.bytes.clone()))
    );
    for blob in &image.blobs {
        let bytes = fake.blob(repository, blob.digest.as_str()).unwrap();
        assert_eq!(Digest::of(&bytes), blob.digest);
    }
}

/// Four digits of each digest are enough for people.
fn shorten(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        short.push_str(&format!("sha256:{}…{rest}", &part[..4]));
    }
    short
}

/// The error and its causes, with the host's port left out.
#[track_caller]
fn check<T: std::fmt::Debug>(fake: &Fake, result: Result<T, Error>, expected: &Expect) -> Error {
    let error = result.unwrap_err();
    let mut text = error.to_string();
    let mut source = error.source();
    // The HTTP library's own words are not ours to fix.
    if !matches!(error, Error::Transport { .. } | Error::Interrupted { .. }) {
        while let Some(cause) = source {
            text = format!("{text}\n  {cause}");
            source = cause.source();
        }
    }
    expected.assert_eq(&shorten(&text.replace(&fake.host, "HOST")));
    error
}

/// A cold push looks for the tag, then sends each blob in one request, and
/// writes the tag last; a second one asks once and sends nothing.
#[tokio::test]
async fn pushes_in_order_and_once() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let one = image(&[layer(300_000, 1)]);
    let pushed = push(&client, &one).await?;
    assert_eq!(pushed.digest, one.root().digest);
    assert_eq!(
        (pushed.uploaded, pushed.existing, pushed.mounted),
        ((2, 300_014), (0, 0), (0, 0))
    );
    assert_pushed(&fake, "ns/web", "1.0", &one);
    let story = fake.story();
    let lines: Vec<&str> = story.lines().collect();
    assert_eq!(lines[0], "HEAD /v2/ns/web/manifests/1.0 404");
    assert_eq!(lines[lines.len() - 1], "PUT /v2/ns/web/manifests/1.0 201");
    assert_eq!(lines.len(), 8, "{story}");
    let sizes: Vec<usize> = fake
        .seen()
        .iter()
        .filter(|seen| seen.path.contains("/uploads/") && seen.method == "PUT")
        .map(|seen| seen.body_bytes)
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), 300_014);
    assert_eq!(sizes.len(), 2);

    fake.clear();
    let again = push(&client, &one).await?;
    assert_eq!((again.uploaded, again.existing), ((0, 0), (2, 300_014)));
    expect!["HEAD /v2/ns/web/manifests/1.0 200"].assert_eq(&fake.story());

    // Another process, another tag: the blobs are found.
    fake.clear();
    let other = client_with(
        &fake,
        Credentials::Anonymous,
        RetryPolicy::without_waiting(),
    )?;
    let tagged = other.push(&Push::new("ns/web", "latest", &one)).await?;
    assert_eq!(tagged.existing, (2, 300_014));
    assert_eq!(fake.count("POST", ""), 0);
    Ok(())
}

/// An index goes up after the images that it names, which go up by digest.
#[tokio::test]
async fn pushes_children_before_their_index() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let (mut index, other) = (image(&[layer(10, 1)]), image(&[layer(20, 1)]));
    index.blobs.push(other.blobs[0].clone());
    index.manifests.extend(other.manifests);
    let bytes = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": index.manifests.iter().map(|manifest| manifest.digest.as_str()).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes();
    index.manifests.push(Manifest {
        media_type: INDEX.into(),
        digest: Digest::of(&bytes),
        bytes: bytes.into(),
        config: None,
        layers: vec![],
    });
    push(&client(&fake)?, &index).await?;
    assert_pushed(&fake, "ns/web", "1.0", &index);
    let story = fake.story();
    let manifests: Vec<&str> = story
        .lines()
        .filter(|line| line.starts_with("PUT") && line.contains("manifests"))
        .collect();
    expect![[r#"
        PUT /v2/ns/web/manifests/DIGEST 201
        PUT /v2/ns/web/manifests/DIGEST 201
        PUT /v2/ns/web/manifests/1.0 201"#]]
    .assert_eq(&manifests.join("\n"));
    Ok(())
}

/// An empty layer is a blob like any other.
#[tokio::test]
async fn pushes_an_empty_blob() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let empty = image(&[vec![]]);
    push(&client(&fake)?, &empty).await?;
    assert_pushed(&fake, "ns/web", "1.0", &empty);
    Ok(())
}

/// With a Bearer challenge the password goes to the realm alone, many blobs
/// cause one exchange, and the scope is what a push needs.
#[tokio::test]
async fn exchanges_a_password_once() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Bearer).await?;
    let many: Vec<Vec<u8>> = (0..12).map(|i| layer(2_000 + i, i)).collect();
    let many = image(&many);
    let client = client_with(&fake, password("password"), RetryPolicy::without_waiting())?;
    push(&client, &many).await?;
    assert_pushed(&fake, "ns/web", "1.0", &many);
    let seen = fake.seen();
    let tokens: Vec<_> = seen
        .iter()
        .filter(|seen| seen.path.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1);
    assert!(
        tokens[0]
            .path
            .ends_with("&scope=repository%3Ans%2Fweb%3Apull%2Cpush"),
        "{}",
        tokens[0].path
    );
    for seen in &seen {
        let basic = seen
            .authorization
            .as_deref()
            .is_some_and(|text| text.starts_with("Basic"));
        assert_eq!(basic, seen.path.starts_with("/token"), "{seen:?}");
    }
    assert_eq!(seen.iter().filter(|seen| seen.status == 401).count(), 1);
    Ok(())
}

/// With a Basic challenge the password is sent along.
#[tokio::test]
async fn answers_a_basic_challenge() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Basic).await?;
    let client = client_with(&fake, password("password"), RetryPolicy::without_waiting())?;
    push(&client, &web()).await?;
    assert_pushed(&fake, "ns/web", "1.0", &web());
    assert_eq!(
        fake.seen().iter().filter(|seen| seen.status == 401).count(),
        1
    );
    Ok(())
}

/// A wrong password, with either challenge, or none where one is needed.
#[tokio::test]
async fn wrong_passwords_are_unauthorized() -> anyhow::Result<()> {
    for (sign_in, credentials, expected) in [
        (
            SignIn::Basic,
            password("guess"),
            expect![[
                r#"reading of manifest 1.0 at HOST answered 401 UNAUTHORIZED: authentication required"#
            ]],
        ),
        (
            SignIn::Bearer,
            password("guess"),
            expect!["sign-in at HOST answered 401 UNAUTHORIZED: incorrect username or password"],
        ),
        (
            SignIn::Basic,
            Credentials::Anonymous,
            expect![[
                r#"reading of manifest 1.0 at HOST answered 401 UNAUTHORIZED: authentication required"#
            ]],
        ),
    ] {
        let fake = Fake::start(sign_in).await?;
        let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
        let error = check(&fake, push(&client, &web()).await, &expected);
        assert!(error.is_unauthorized() && !error.is_denied());
        assert!(!error.to_string().contains("guess"));
    }
    Ok(())
}

/// Gives the tokens `1`, `2`, `3`, and counts.
struct Counter(AtomicUsize);

impl TokenSource for Counter {
    fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async {
            // Long enough for others to come and ask, too.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(Token {
                token: (self.0.fetch_add(1, Ordering::SeqCst) + 1).to_string(),
                expires_at: Instant::now() + Duration::from_secs(3600),
            })
        })
    }
}

/// A token that ends in the middle of a push: the blob that is refused is sent
/// again with a new one, and one new one is enough for all.
#[tokio::test]
async fn renews_a_token_that_ends_during_an_upload() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    fake.accept("1");
    fake.fault("PUT", "/blobs/uploads/", Act::EndTokens);
    let source = Arc::new(Counter(AtomicUsize::new(0)));
    let client = client_with(
        &fake,
        Credentials::Token(source.clone()),
        RetryPolicy::without_waiting(),
    )?;
    let image = web();
    let (pushed, ()) = tokio::join!(push(&client, &image), async {
        // The registry learns of the second token once it has refused the first.
        while !fake.seen().iter().any(|seen| seen.status == 401) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fake.accept("2");
    });
    pushed?;
    assert_pushed(&fake, "ns/web", "1.0", &image);
    assert_eq!(source.0.load(Ordering::SeqCst), 2);
    Ok(())
}

/// A token that the registry never accepts is asked for twice, not for ever.
#[tokio::test]
async fn gives_up_on_refused_tokens() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    let source = Arc::new(Counter(AtomicUsize::new(0)));
    let client = client_with(
        &fake,
        Credentials::Token(source.clone()),
        RetryPolicy::without_waiting(),
    )?;
    let error = check(
        &fake,
        client.tags("ns/web").await,
        &expect!["list of tags at HOST answered 401 UNAUTHORIZED: authentication required"],
    );
    assert!(error.is_unauthorized());
    assert_eq!(source.0.load(Ordering::SeqCst), 2);
    Ok(())
}

/// A token source that fails says why.
#[tokio::test]
async fn token_sources_may_fail() -> anyhow::Result<()> {
    struct Broken;
    impl TokenSource for Broken {
        fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>> {
            Box::pin(async { Err("the signature was refused".into()) })
        }
    }
    let fake = Fake::start(SignIn::Token).await?;
    let client = client_with(
        &fake,
        Credentials::Token(Arc::new(Broken)),
        RetryPolicy::without_waiting(),
    )?;
    check(
        &fake,
        push(&client, &web()).await,
        &expect![[r#"
            cannot get a token to sign in to HOST
              the signature was refused"#]],
    );
    assert!(fake.seen().is_empty());
    Ok(())
}

/// A connection that is cut in the middle of a blob: the blob is sent again in
/// a new session.
#[tokio::test]
async fn survives_a_cut_upload() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.fault("PUT", "/blobs/uploads/", Act::Cut(1_000));
    let big = image(&[layer(5_000_000, 1)]);
    let pushed = push(&client(&fake)?, &big).await?;
    assert_pushed(&fake, "ns/web", "1.0", &big);
    assert_eq!(pushed.uploaded.0, 2);
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 3);
    Ok(())
}

/// A connection that is cut every time: the error says how far it came, and
/// the tag is not written.
#[tokio::test]
async fn gives_up_on_cut_uploads() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let big = image(&[layer(20_000_000, 1)]);
    let digest = big.blobs[0].digest.to_string().replace(':', "%3A");
    fake.faults("PUT", &digest, Act::Cut(1_000_000));
    let error = push(&client(&fake)?, &big).await.unwrap_err();
    let Error::Interrupted {
        sent,
        size,
        attempts,
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(*sent > 0 && sent < size, "{error}");
    assert_eq!((*size, *attempts), (20_000_000, 8));
    assert_eq!(fake.manifest("ns/web", "1.0"), None);
    Ok(())
}

/// A registry that refuses a blob before it has read it: the refusal is
/// understood, although the rest of the blob cannot be sent. (When the closing
/// of the connection overtakes the answer, the next attempt hears it.)
#[tokio::test]
async fn hears_an_early_refusal() -> anyhow::Result<()> {
    let big = image(&[layer(20_000_000, 1)]);
    for _ in 0..5 {
        let fake = Fake::start(SignIn::Open).await?;
        let digest = big.blobs[0].digest.to_string().replace(':', "%3A");
        let body = r#"{"errors":[{"code":"SIZE_INVALID","message":"too big"}]}"#;
        fake.faults("PUT", &digest, Act::Early(413, body));
        let error = push(&client(&fake)?, &big).await.unwrap_err();
        assert_eq!(error.status(), Some(413), "{error}");
        assert!(fake.manifest("ns/web", "1.0").is_none());
    }
    Ok(())
}

/// A registry that refuses a blob and neither reads it nor closes the connection.
#[tokio::test]
async fn hears_a_refusal_while_it_cannot_send() -> anyhow::Result<()> {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    async fn refuse(stream: tokio::net::TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await? == 0 {
                    return Ok(());
                }
            }
            let answer = match head.split(' ').next() {
                Some("POST") => "202 Accepted\r\nlocation: /v2/upload",
                Some("PUT") => "413 Payload Too Large",
                _ => "404 Not Found",
            };
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
            if head.starts_with("PUT") {
                std::future::pending::<()>().await;
            }
        }
    }

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(refuse(stream));
        }
    });
    let client = Client::new(Config {
        http: http_client(&Options::default())?,
        host,
        plain_http: true,
        credentials: Credentials::Anonymous,
        max_concurrent_uploads: 1,
        retry: RetryPolicy::without_waiting(),
    });
    let start = Instant::now();
    let error = push(&client, &image(&[layer(50_000_000, 1)]))
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(413), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
    server.abort();
    Ok(())
}

/// The blob arrives, but the answer is lost: it is not sent a second time.
#[tokio::test]
async fn finds_a_blob_whose_answer_was_lost() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.fault("PUT", "/blobs/uploads/", Act::CutAnswer);
    push(&client(&fake)?, &web()).await?;
    assert_pushed(&fake, "ns/web", "1.0", &web());
    assert_eq!(fake.count("PUT", "/blobs/uploads/"), 3);
    Ok(())
}

/// Errors that pass are waited out, on every step.
#[tokio::test]
async fn retries_what_passes() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    for (method, path) in [
        ("HEAD", "/manifests/"),
        ("HEAD", "/blobs/"),
        ("POST", "/blobs/uploads/"),
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/"),
    ] {
        fake.fault(method, path, Act::Answer(500, ""));
        fake.fault(method, path, Act::Answer(503, "<html>busy</html>"));
        fake.fault(method, path, Act::CutAnswer);
        fake.fault(method, path, Act::Answer(429, ""));
    }
    push(&client(&fake)?, &web()).await?;
    assert_pushed(&fake, "ns/web", "1.0", &web());
    Ok(())
}

/// `Retry-After` is obeyed.
#[tokio::test]
async fn waits_as_long_as_the_registry_asks() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let busy = || Act::AnswerWith(429, "retry-after", "1".into(), "");
    fake.fault("POST", "/blobs/uploads/", busy());
    let client = client_with(&fake, Credentials::Anonymous, RetryPolicy::default())?;
    let start = Instant::now();
    push(&client, &web()).await?;
    assert!(start.elapsed() >= Duration::from_secs(1));

    // Longer than we are willing to wait at all.
    fake.fault(
        "GET",
        "/tags/",
        Act::AnswerWith(429, "retry-after", "9000".into(), "slow down"),
    );
    let error = check(
        &fake,
        client.tags("ns/web").await,
        &expect![
            "list of tags at HOST answered 429 Too Many Requests: slow down (asks for a wait of 9000 s before the next attempt, and attempts end after 600 s)"
        ],
    );
    assert!(error.is_throttled());
    Ok(())
}

/// A failure that does not pass ends the push at once, with the registry's words.
#[tokio::test]
async fn denials_are_final() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.faults(
        "POST",
        "/blobs/uploads/",
        Act::AnswerWith(
            403,
            "opc-request-id",
            "4F2C".into(),
            r#"{"errors":[{"code":"DENIED","message":"Anonymous users are only allowed read access on public repos"}]}"#,
        ),
    );
    let one = image(&[]);
    let error = check(
        &fake,
        push(&client(&fake)?, &one).await,
        &expect![[
            r#"start of the upload of blob sha256:5809… at HOST answered 403 DENIED: Anonymous users are only allowed read access on public repos"#
        ]],
    );
    assert!(error.is_denied() && error.is_anonymous_denial());
    assert!(
        matches!(&error, Error::Registry { repository, request_id, .. } if repository == "ns/web" && request_id == "4F2C")
    );
    assert_eq!(fake.count("POST", ""), 1);
    Ok(())
}

/// HEAD cannot say why; the same question as GET can.
#[tokio::test]
async fn asks_again_for_the_reason() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let body = r#"{"errors":[{"code":"DENIED","message":"no policy allows this"}]}"#;
    fake.fault("HEAD", "/manifests/", Act::Answer(403, ""));
    fake.fault("GET", "/manifests/", Act::Answer(403, body));
    let error = check(
        &fake,
        client.head_manifest("ns/web", "1.0").await,
        &expect!["reading of manifest 1.0 at HOST answered 403 DENIED: no policy allows this"],
    );
    assert!(error.is_denied() && !error.is_anonymous_denial());
    assert_eq!(client.head_manifest("ns/web", "1.0").await?, None);

    // A registry that leaves the digest out is asked for the content.
    fake.put_manifest("ns/web", "1.0", MANIFEST, b"{}");
    let named = client.head_manifest("ns/web", "1.0").await?;
    fake.fault(
        "HEAD",
        "/manifests/",
        Act::Header("docker-content-digest", String::new()),
    );
    fake.fault(
        "GET",
        "/manifests/",
        Act::Header("docker-content-digest", String::new()),
    );
    assert_eq!(client.head_manifest("ns/web", "1.0").await?, named);
    let named = named.unwrap();
    assert_eq!(named.digest, Digest::of(b"{}"));
    assert_eq!((named.media_type.as_str(), named.size), (MANIFEST, 2));
    Ok(())
}

/// A manifest that is not what was asked for, or not what the registry claims,
/// is not handed out.
#[tokio::test]
async fn verifies_manifests() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let wanted = Digest::of(b"[]");
    fake.put_manifest("ns/web", wanted.as_str(), MANIFEST, b"{}");
    check(
        &fake,
        client.get_manifest("ns/web", wanted.as_str()).await,
        &expect![[
            r#"reading of manifest sha256:4f53… at HOST answered with digest sha256:4413… instead of sha256:4f53…"#
        ]],
    );
    fake.put_manifest("ns/web", "1.0", MANIFEST, b"{}");
    fake.fault(
        "GET",
        "/manifests/1.0",
        Act::Header("docker-content-digest", wanted.to_string()),
    );
    check(
        &fake,
        client.get_manifest("ns/web", "1.0").await,
        &expect![[
            r#"reading of manifest 1.0 at HOST answered with digest sha256:4413… instead of sha256:4f53…"#
        ]],
    );
    let content = client.get_manifest("ns/web", "1.0").await?.unwrap();
    assert_eq!(
        (content.media_type.as_str(), &content.bytes[..]),
        (MANIFEST, &b"{}"[..])
    );
    assert!(client.get_manifest("ns/web", "2.0").await?.is_none());
    Ok(())
}

/// The registry confirms another digest than the one that was pushed.
#[tokio::test]
async fn wrong_confirmations_are_errors() -> anyhow::Result<()> {
    let other = Digest::of(b"other").to_string();
    let empty = image(&[]);
    let fake = Fake::start(SignIn::Open).await?;
    fake.fault(
        "PUT",
        "/manifests/1.0",
        Act::Header("docker-content-digest", other.clone()),
    );
    let error = push(&client(&fake)?, &empty).await.unwrap_err();
    assert!(
        matches!(&error, Error::Digest { expected, actual, .. } if *expected == empty.root().digest && *actual == other),
        "{error:?}"
    );
    let fake = Fake::start(SignIn::Open).await?;
    fake.fault(
        "PUT",
        "/blobs/uploads/",
        Act::Header("docker-content-digest", other),
    );
    let error = push(&client(&fake)?, &empty).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");

    // Without a confirmation, or with an unusual status, we look for ourselves.
    for act in [
        Act::Header("docker-content-digest", String::new()),
        Act::AnswerWith(200, "x", "y".into(), "welcome"),
    ] {
        let fake = Fake::start(SignIn::Open).await?;
        let expected = matches!(act, Act::Header(..));
        fake.fault("PUT", "/manifests/1.0", act);
        let result = push(&client(&fake)?, &empty).await;
        assert_eq!(fake.count("HEAD", "/manifests/1.0"), 2);
        if expected {
            result?;
        } else {
            check(
                &fake,
                result,
                &expect![[
                    r#"upload of manifest 1.0 at HOST got an answer that is not a registry's: the manifest is not there after it was accepted"#
                ]],
            );
        }
    }
    Ok(())
}

/// A sign-in page that answers 200 to everything is not taken for a registry.
#[tokio::test]
async fn sign_in_pages_are_recognised() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    for method in ["HEAD", "GET", "POST", "PUT"] {
        fake.faults(
            method,
            "/v2/",
            Act::Answer(200, "<html>Welcome to the hotel</html>"),
        );
    }
    let empty = image(&[]);
    check(
        &fake,
        push(&client(&fake)?, &empty).await,
        &expect![
            "reading of manifest 1.0 at HOST got an answer that is not a registry's: it is not the JSON of a manifest"
        ],
    );

    // One that answers in the middle is found as well.
    let fake = Fake::start(SignIn::Open).await?;
    fake.faults(
        "POST",
        "/v2/",
        Act::Answer(200, "<html>Welcome to the hotel</html>"),
    );
    check(
        &fake,
        push(&client(&fake)?, &empty).await,
        &expect![
            "start of the upload of blob sha256:5809… at HOST got an answer that is not a registry's: 200 OK instead of 202 Accepted"
        ],
    );
    Ok(())
}

/// A session without a place to upload to.
#[tokio::test]
async fn a_location_is_needed() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.fault(
        "POST",
        "/blobs/uploads/",
        Act::Header("location", String::new()),
    );
    let empty = image(&[]);
    check(
        &fake,
        push(&client(&fake)?, &empty).await,
        &expect![[
            r#"start of the upload of blob sha256:5809… at HOST got an answer that is not a registry's: 202 Accepted without a Location to upload to"#
        ]],
    );
    Ok(())
}

/// Uploads and downloads may lead to other hosts; credentials do not go there.
#[tokio::test]
async fn credentials_stay_at_home() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Basic).await?;
    let storage = Fake::start(SignIn::Open).await?;
    let one = image(&[]);
    let config = &one.blobs[0];
    let client = client_with(&fake, password("password"), RetryPolicy::without_waiting())?;

    // A Location elsewhere; the registry does not know of the blob, and says so.
    fake.upload_to(&storage.host);
    let error = push(&client, &one).await.unwrap_err();
    assert_eq!(error.code(), "MANIFEST_BLOB_UNKNOWN");
    assert!(storage.blob("ns/web", config.digest.as_str()).is_some());

    // A redirect of an upload, and of a question.
    fake.fault(
        "PUT",
        "/manifests/",
        Act::AnswerWith(
            307,
            "location",
            format!("http://{}/v2/ns/web/manifests/1.0", storage.host),
            "",
        ),
    );
    push(&client, &one).await?;
    fake.fault(
        "HEAD",
        "/manifests/",
        Act::AnswerWith(
            302,
            "location",
            format!("http://{}/v2/ns/web/manifests/1.0", storage.host),
            "",
        ),
    );
    let there = client.head_manifest("ns/web", "1.0").await?.unwrap();
    assert_eq!(there.digest, one.root().digest);

    assert!(storage.seen().len() >= 3);
    for seen in storage.seen() {
        assert_eq!(seen.authorization, None, "{seen:?}");
    }
    Ok(())
}

/// A blob whose upload is redirected is sent from its start to the new place.
#[tokio::test]
async fn redirected_blobs_are_sent_again() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let image = web();
    let big = image.blobs[0].clone();
    let target = format!(
        "/v2/ns/web/blobs/uploads/9?state=a%2Bb&digest={}",
        big.digest
    );
    fake.fault(
        "PUT",
        &format!("digest={}", big.digest).replace(':', "%3A"),
        Act::AnswerWith(307, "location", target, ""),
    );
    let pushed = push(&client(&fake)?, &image).await?;
    assert_pushed(&fake, "ns/web", "1.0", &image);
    assert_eq!(pushed.uploaded.0, 3);
    Ok(())
}

/// Redirects without end or without a target are errors.
#[tokio::test]
async fn redirects_end() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    fake.faults(
        "GET",
        "/tags/",
        Act::AnswerWith(302, "location", "/v2/ns/web/tags/list".into(), ""),
    );
    check(
        &fake,
        client.tags("ns/web").await,
        &expect!["list of tags at HOST was redirected to one place after another without end"],
    );
    fake.fault("GET", "/manifests/", Act::Answer(302, ""));
    check(
        &fake,
        client.get_manifest("ns/web", "1.0").await,
        &expect!["reading of manifest 1.0 at HOST was redirected without a Location"],
    );
    // 302 would turn a POST into a GET.
    fake.fault(
        "POST",
        "/blobs/",
        Act::AnswerWith(302, "location", "/login?next=1".into(), ""),
    );
    check(
        &fake,
        push(&client, &image(&[])).await,
        &expect![[
            r#"start of the upload of blob sha256:5809… at HOST was redirected to http://HOST/login, which is not followed here"#
        ]],
    );
    Ok(())
}

/// A second repository takes the blobs over from the first.
#[tokio::test]
async fn mounts_from_another_repository() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Bearer).await?;
    let client = client_with(&fake, password("password"), RetryPolicy::without_waiting())?;
    let image = web();
    push(&client, &image).await?;
    let second = client.push(&Push::new("ns/other", "1.0", &image)).await?;
    assert_eq!((second.mounted.0, second.uploaded.0), (3, 0));
    assert_pushed(&fake, "ns/other", "1.0", &image);
    Ok(())
}

/// A registry that does not mount opens a session instead, which is used; one
/// that refuses is asked for a session.
#[tokio::test]
async fn uploads_what_cannot_be_mounted() -> anyhow::Result<()> {
    for refuses in [false, true] {
        let fake = Fake::start(SignIn::Open).await?;
        fake.without_mounts();
        let client = client(&fake)?;
        let image = web();
        push(&client, &image).await?;
        fake.clear();
        if refuses {
            fake.fault("POST", "mount=", Act::Answer(400, ""));
            fake.fault("POST", "mount=", Act::Answer(503, ""));
            fake.fault("POST", "mount=", Act::CutAnswer);
        }
        let second = client.push(&Push::new("ns/other", "1.0", &image)).await?;
        assert_eq!((second.mounted.0, second.uploaded.0), (0, 3));
        assert_pushed(&fake, "ns/other", "1.0", &image);
        let posts = if refuses { 6 } else { 3 };
        assert_eq!(fake.count("POST", ""), posts, "{}", fake.story());
    }
    Ok(())
}

/// The session that a refused mount opened was forgotten by the time that it is the
/// blob's turn: another one is opened, which is no second attempt. One that is lost right
/// after it was opened is.
#[tokio::test]
async fn sessions_of_mounts_grow_old() -> anyhow::Result<()> {
    let lost = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"upload unknown"}]}"#;
    for (status, text) in [(404, lost), (404, ""), (410, "<html>gone</html>")] {
        let fake = Fake::start(SignIn::Open).await?;
        fake.without_mounts();
        let client = client_with(&fake, Credentials::Anonymous, RetryPolicy::none())?;
        let image = image(&[]);
        push(&client, &image).await?;
        fake.clear();
        fake.fault("PUT", "/blobs/uploads/", Act::Answer(status, text));
        let second = client.push(&Push::new("ns/other", "1.0", &image)).await?;
        assert_eq!(second.uploaded.0, 1);
        assert_pushed(&fake, "ns/other", "1.0", &image);
        assert_eq!(fake.count("POST", "/blobs/uploads/"), 2, "{}", fake.story());

        fake.faults("PUT", "/blobs/uploads/", Act::Answer(status, text));
        fake.clear();
        let third = client.push(&Push::new("ns/third", "1.0", &image)).await;
        assert_eq!(third.unwrap_err().status(), Some(status));
        let puts = fake.count("PUT", "/blobs/uploads/");
        assert!(puts <= 2, "{}", fake.story());
    }
    Ok(())
}

/// Pushes at the same time, of images that share layers, send each blob once:
/// to one repository, and to several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_at_once_share_their_blobs() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Bearer).await?;
    let client = client_with(&fake, password("password"), RetryPolicy::without_waiting())?;
    let shared = layer(400_000, 1);
    let tasks: Vec<_> = [
        ("ns/web", "1"),
        ("ns/web", "2"),
        ("ns/api", "1"),
        ("ns/db", "1"),
    ]
    .into_iter()
    .enumerate()
    .map(|(index, (repository, tag))| {
        let image = image(&[shared.clone(), layer(50_000 + index, index)]);
        let client = client.clone();
        // Spawned: a push has to be able to move between threads.
        tokio::spawn(async move {
            client.push(&Push::new(repository, tag, &image)).await?;
            anyhow::Ok((repository, tag, image))
        })
    })
    .collect();
    for task in tasks {
        let (repository, tag, image) = task.await??;
        assert_pushed(&fake, repository, tag, &image);
    }
    // The shared layer, the shared configuration, and four layers of their own.
    assert_eq!(fake.count("PUT", "/blobs/uploads/"), 6, "{}", fake.story());
    // One token for each repository, and one for each pair of a mount.
    assert!(fake.count("GET", "/token") <= 3 + 6, "{}", fake.story());
    Ok(())
}

/// Never more uploads at once than allowed, over all pushes.
#[tokio::test]
async fn uploads_are_bounded() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.faults("PUT", "/blobs/uploads/", Act::Hang);
    let client = client(&fake)?;
    let one = image(&(0..6).map(|i| layer(100 + i, i)).collect::<Vec<_>>());
    let two = image(&(6..12).map(|i| layer(100 + i, i)).collect::<Vec<_>>());
    let other = Push::new("ns/other", "1.0", &two);
    let wait = tokio::time::timeout(Duration::from_millis(500), async {
        tokio::join!(push(&client, &one), client.push(&other))
    });
    assert!(wait.await.is_err());
    assert_eq!(fake.count("PUT", "/blobs/uploads/"), 4);
    Ok(())
}

/// A stop ends a push at once, whatever it waits for; the next push goes on.
#[tokio::test]
async fn stop_ends_a_push() -> anyhow::Result<()> {
    for (method, path) in [
        ("PUT", "/blobs/uploads/"),
        ("HEAD", "/manifests/"),
        ("PUT", "/manifests/"),
    ] {
        let fake = Fake::start(SignIn::Open).await?;
        fake.faults(method, path, Act::Hang);
        let stop = CancellationToken::new();
        let client = client(&fake)?;
        let stopping = client.with_stop(stop.clone());
        let image = web();
        let start = Instant::now();
        let (result, ()) = tokio::join!(push(&stopping, &image), async {
            while fake.count(method, path) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
        });
        assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(matches!(stopping.tags("ns/web").await, Err(Error::Stopped)));
        assert_eq!(fake.manifest("ns/web", "1.0"), None);

        // The registry recovers, and the same process pushes again.
        fake.heal();
        push(&client, &image).await?;
        assert_pushed(&fake, "ns/web", "1.0", &image);
    }
    Ok(())
}

/// A stop in the middle of a blob that nobody takes: its source does not stay open,
/// neither in a thread nor with a connection that still has something to send.
#[tokio::test]
async fn stop_ends_the_reading_of_a_source() -> anyhow::Result<()> {
    /// Without end; tells how many of its readers there are, and how often they were asked.
    #[derive(Clone, Debug, Default)]
    struct Endless {
        readers: Arc<AtomicUsize>,
        reads: Arc<AtomicUsize>,
    }
    struct Reader(Endless);
    impl BlobSource for Endless {
        fn open(&self) -> Result<Box<dyn image::BlobReader>, image::Error> {
            self.readers.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(image::Waits(Reader(self.clone()))))
        }
    }
    impl Read for Reader {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.reads.fetch_add(1, Ordering::SeqCst);
            Ok(buffer.len())
        }
    }
    impl Drop for Reader {
        fn drop(&mut self) {
            self.0.readers.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let fake = Fake::start(SignIn::Open).await?;
    let source = Endless::default();
    let mut image = image(&[]);
    image.blobs[0].size = 1 << 40;
    image.blobs[0].source = Arc::new(source.clone());
    fake.fault("PUT", "/blobs/uploads/", Act::Stall);
    let stop = CancellationToken::new();
    let client = client(&fake)?.with_stop(stop.clone());
    let (result, ()) = tokio::join!(push(&client, &image), async {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let reads = source.reads.load(Ordering::SeqCst);
            if reads > 0 && reads == before {
                break;
            }
            before = reads;
        }
        stop.cancel();
    });
    assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
    let start = Instant::now();
    while source.readers.load(Ordering::SeqCst) > 0 {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Blobs that vanish between our look and the manifest are sent again, once.
#[tokio::test]
async fn sends_vanished_blobs_again() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let image = web();
    push(&client, &image).await?;
    // The repository was deleted and made anew; this process believes otherwise.
    fake.lose_blobs();
    let pushed = client.push(&Push::new("ns/web", "2.0", &image)).await?;
    assert_eq!(pushed.uploaded.0, 3);
    assert_pushed(&fake, "ns/web", "2.0", &image);

    let body =
        r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;
    fake.faults("PUT", "/manifests/3.0", Act::Answer(400, body));
    let push = Push::new("ns/web", "3.0", &image);
    check(
        &fake,
        client.push(&push).await,
        &expect![[
            r#"upload of manifest 3.0 at HOST answered 400 MANIFEST_BLOB_UNKNOWN: blob unknown to registry"#
        ]],
    );
    assert_eq!(fake.count("PUT", "/manifests/3.0"), 2);
    Ok(())
}

/// A registry that finds another digest than the source has: sent again. A
/// source that changed: the user's to know.
#[tokio::test]
async fn tells_a_bad_line_from_a_changed_source() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let body =
        r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#;
    fake.fault("PUT", "/blobs/uploads/", Act::Answer(400, body));
    push(&client(&fake)?, &web()).await?;
    assert_pushed(&fake, "ns/web", "1.0", &web());

    let fake = Fake::start(SignIn::Open).await?;
    let mut changed = image(&[]);
    changed.blobs[0].source = Arc::new(Bytes(br#"{"os":"lunix"}"#.to_vec()));
    check(
        &fake,
        push(&client(&fake)?, &changed).await,
        &expect![[
            r#"blob sha256:5809… is not what it was when the image was read: its 14 bytes have the digest sha256:a070…"#
        ]],
    );
    assert_eq!(fake.count("PUT", ""), 1);

    changed.blobs[0].source = Arc::new(Bytes(br#"{"os":"#.to_vec()));
    check(
        &fake,
        push(&client(&fake)?, &changed).await,
        &expect![[
            r#"blob sha256:5809… is not what it was when the image was read: it ends after 6 of 14 bytes"#
        ]],
    );
    Ok(())
}

/// What the registry warns of comes back, each text once.
#[tokio::test]
async fn warnings_are_collected() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let warning = || Act::Header("warning", r#"299 - "storage is \"nearly\" full""#.into());
    fake.fault("POST", "/blobs/uploads/", warning());
    fake.fault("PUT", "/blobs/uploads/", warning());
    fake.fault(
        "PUT",
        "/manifests/",
        Act::Header("warning", r#"299 - "moved""#.into()),
    );
    let pushed = push(&client(&fake)?, &web()).await?;
    assert_eq!(pushed.warnings, [r#"storage is "nearly" full"#, "moved"]);
    Ok(())
}

/// All pages of tags; a repository that is not known; one that is not ours.
#[tokio::test]
async fn lists_tags() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    assert_eq!(client.tags("ns/web").await?, None);
    for tag in ["a", "b", "c", "d", "e"] {
        fake.put_manifest("ns/web", tag, MANIFEST, b"{}");
    }
    assert_eq!(
        client.tags("ns/web").await?.unwrap(),
        ["a", "b", "c", "d", "e"]
    );
    assert_eq!(fake.count("GET", "/tags/list"), 4);

    fake.fault(
        "GET",
        "/tags/",
        Act::Answer(200, r#"{"name":"ns/web","tags":null}"#),
    );
    assert_eq!(client.tags("ns/web").await?, Some(vec![]));
    fake.fault("GET", "/tags/", Act::Answer(404, "<h1>Not here</h1>"));
    let error = check(
        &fake,
        client.tags("ns/web").await,
        &expect!["list of tags at HOST answered 404 Not Found: Not here"],
    );
    assert!(error.is_not_found() && !error.is_name_unknown());
    fake.fault("GET", "/tags/", Act::Answer(200, "{"));
    check(
        &fake,
        client.tags("ns/web").await,
        &expect![[
            r#"list of tags at HOST got an answer that is not a registry's: it is not the JSON of a list of tags"#
        ]],
    );
    fake.faults(
        "GET",
        "/tags/",
        Act::Header(
            "link",
            r#"</v2/ns/web/tags/list?n=1000>; rel="next""#.into(),
        ),
    );
    check(
        &fake,
        client.tags("ns/web").await,
        &expect![[
            r#"list of tags at HOST got an answer that is not a registry's: its next page leads nowhere"#
        ]],
    );
    Ok(())
}

/// Pages that are all new and never end, each as large as a page may be, do not fill the memory.
#[tokio::test]
async fn endless_tags() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let body = format!(r#"{{"tags":["{}"]}}"#, "x".repeat(15 << 20));
    let body: &'static str = body.leak();
    for number in 0..20 {
        let next = format!(r#"</v2/ns/web/tags/list?last={number}>; rel="next""#);
        fake.fault("GET", "/tags/", Act::AnswerWith(200, "link", next, body));
    }
    check(
        &fake,
        client(&fake)?.tags("ns/web").await,
        &expect![
            "list of tags at HOST got an answer that is not a registry's: its pages do not end"
        ],
    );
    assert_eq!(fake.count("GET", "/tags/"), 5);
    Ok(())
}

/// A manifest is deleted by digest; one that is gone is no error; `delete` is
/// asked for only where the registry insists.
#[tokio::test]
async fn deletes_manifests() -> anyhow::Result<()> {
    for insists in [false, true] {
        let fake = Fake::start(SignIn::Bearer).await?;
        if insists {
            fake.delete_needs_scope();
        }
        let digest = Digest::of(b"{}");
        fake.put_manifest("ns/web", digest.as_str(), MANIFEST, b"{}");
        let client = client_with(&fake, password("password"), RetryPolicy::without_waiting())?;
        client
            .get_manifest("ns/web", digest.as_str())
            .await?
            .unwrap();
        client.delete_manifest("ns/web", &digest).await?;
        assert_eq!(fake.manifest("ns/web", digest.as_str()), None);
        client.delete_manifest("ns/web", &digest).await?;
        let asked = fake.seen().iter().any(|seen| seen.path.contains("delete"));
        assert_eq!(asked, insists);
    }
    Ok(())
}

/// A host that nobody answers on is given up soon, and the error names it.
#[tokio::test]
async fn unreachable_hosts_are_named() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.local_addr()?.to_string()
    };
    let client = Client::new(Config {
        http: http_client(&Options::default())?,
        host: gone.clone(),
        plain_http: true,
        credentials: Credentials::Anonymous,
        max_concurrent_uploads: 4,
        retry: RetryPolicy::without_waiting(),
    });
    let error = client.tags("ns/web").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("list of tags got no answer from {gone}")
    );
    assert!(!error.source().unwrap().to_string().contains("http://"));

    // A registry that answers, and has its blobs brought to somebody who does not.
    fake.upload_to(&gone);
    let error = push(&self::client(&fake)?, &image(&[])).await.unwrap_err();
    let named = error.to_string();
    assert!(named.starts_with("upload of blob sha256:"), "{named}");
    assert!(
        named.ends_with(&format!("got no answer from {gone}")),
        "{named}"
    );

    for (host, repository, tag, expected) in [
        (
            "a b",
            "ns/web",
            "1.0",
            expect![[r#"host "a b" must be a host name or address, with :PORT if need be"#]],
        ),
        (
            "x.example",
            "NS/web",
            "1.0",
            expect![[r#"repository "NS/web" must be in lower case, but has 'N'"#]],
        ),
        (
            "x.example",
            "../x",
            "1.0",
            expect![[
                r#"repository "../x" must have a letter or digit at both ends of each part between slashes, unlike "..""#
            ]],
        ),
        (
            "x.example",
            "ns/web",
            "1/0",
            expect![[
                r#"tag "1/0" must consist of letters, digits and the characters . _ -, but has '/'"#
            ]],
        ),
    ] {
        let client = Client::new(Config {
            http: http_client(&Options::default())?,
            host: host.into(),
            plain_http: false,
            credentials: Credentials::Anonymous,
            max_concurrent_uploads: 4,
            retry: RetryPolicy::without_waiting(),
        });
        check(
            &fake,
            client.head_manifest(repository, tag).await,
            &expected,
        );
    }
    Ok(())
}

/// What is printed of a client and its configuration holds no secret.
#[tokio::test]
async fn debug_shows_no_secret() -> anyhow::Result<()> {
    let config = Config {
        http: http_client(&Options::default())?,
        host: "x.example".into(),
        plain_http: false,
        credentials: password("hunter2"),
        max_concurrent_uploads: 4,
        retry: RetryPolicy::without_waiting(),
    };
    let printed = format!("{config:?}");
    let printed = format!("{printed} {:?}", Client::new(config));
    assert!(
        printed.contains("[redacted]") && !printed.contains("hunter2"),
        "{printed}"
    );
    Ok(())
}
