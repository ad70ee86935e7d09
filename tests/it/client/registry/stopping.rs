//! A stop ends whatever a push is waiting for, within a second.

use std::{
    io::Read,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use ocir::{
    emulator::Fault,
    image::{BlobSource, Image},
    registry::{Client, Config, Credentials, Error, Push, Token, TokenSource},
    transport::{Options, RetryPolicy, http_client},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Act, Fake, INDEX, MANIFEST, SignIn, assert_pushed, blob, client, client_with, image, layer,
    password, push, web,
};
use crate::support::{
    core::Host,
    images::Layout,
    provider::{Cloud, arguments, server},
};

const SECOND: Duration = Duration::from_secs(1);

/// Stops work as soon as something has happened, and says what it ended with
/// and how long after.
async fn stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
    happened: impl Fn() -> bool,
) -> (T, Duration) {
    let (result, stopped) = tokio::join!(async { (work.await, Instant::now()) }, async {
        let start = Instant::now();
        while !happened() {
            assert!(start.elapsed() < 10 * SECOND, "it did not happen");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Whatever follows at once has followed.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let stopped = Instant::now();
        stop.cancel();
        stopped
    });
    (result.0, result.1.saturating_duration_since(stopped))
}

#[track_caller]
fn assert_stopped<T: std::fmt::Debug>((result, after): (Result<T, Error>, Duration), what: &str) {
    assert!(matches!(result, Err(Error::Stopped)), "{what}: {result:?}");
    assert!(after < SECOND, "{what}: {after:?}");
}

/// A file on a server that is down: whoever reads it waits until the test ends.
#[derive(Debug)]
struct Dead {
    server: Arc<Mutex<mpsc::Receiver<()>>>,
    readers: Arc<AtomicUsize>,
    /// Read without trouble so many times.
    healthy: AtomicUsize,
    bytes: Vec<u8>,
}

impl Dead {
    /// The file, and what ends its reading when dropped.
    fn new(bytes: &[u8], healthy: usize) -> (Self, mpsc::Sender<()>) {
        let (sender, server) = mpsc::channel();
        let dead = Self {
            server: Arc::new(Mutex::new(server)),
            readers: Arc::default(),
            healthy: AtomicUsize::new(healthy),
            bytes: bytes.to_vec(),
        };
        (dead, sender)
    }
}

impl BlobSource for Dead {
    fn open(&self) -> Result<Box<dyn image::BlobReader>, image::Error> {
        let left = self
            .healthy
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left.is_ok() {
            return Ok(Box::new(image::Waits(std::io::Cursor::new(
                self.bytes.clone(),
            ))));
        }
        Ok(Box::new(image::Waits(Hanging(
            self.server.clone(),
            self.readers.clone(),
        ))))
    }
}

struct Hanging(Arc<Mutex<mpsc::Receiver<()>>>, Arc<AtomicUsize>);

impl Read for Hanging {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.1.fetch_add(1, Ordering::SeqCst);
        if let Ok(server) = self.0.lock() {
            let _ = server.recv();
        }
        Err(std::io::ErrorKind::HostUnreachable.into())
    }
}

/// An image whose only layer is on a dead file server.
fn dead_image(size: usize, healthy: usize) -> (Image, Arc<AtomicUsize>, mpsc::Sender<()>) {
    let bytes = layer(size, 1);
    let mut image = image(std::slice::from_ref(&bytes));
    let (dead, server) = Dead::new(&bytes, healthy);
    let readers = dead.readers.clone();
    image.blobs[0].source = Arc::new(dead);
    (image, readers, server)
}

/// An index of one image.
fn index() -> Image {
    let mut index = web();
    let bytes = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{"digest": index.root().digest.as_str()}],
    });
    let document = blob(bytes.to_string().as_bytes());
    index.manifests.push(image::Manifest {
        media_type: INDEX.into(),
        digest: document.digest,
        bytes: bytes.to_string().into(),
        config: None,
        layers: vec![],
    });
    index
}

/// Each step of a push, with a registry that does not answer: the question
/// for the tag and for a blob, the start of an upload, an upload that nobody
/// takes and one that nobody confirms, a manifest that is not the last one.
#[tokio::test]
async fn silent_registries_keep_nobody() -> anyhow::Result<()> {
    for (method, path, act) in [
        ("HEAD", "/manifests/", Act::Hang),
        ("HEAD", "/blobs/", Act::Hang),
        ("POST", "/blobs/uploads/", Act::Hang),
        ("PUT", "/blobs/uploads/", Act::Stall),
        ("PUT", "/blobs/uploads/", Act::Hang),
        ("PUT", "/manifests/sha256", Act::Hang),
    ] {
        let what = format!("{method} {path} {act:?}");
        let fake = Fake::start(SignIn::Open).await?;
        fake.faults(method, path, act);
        let stop = CancellationToken::new();
        let stopping = client(&fake)?.with_stop(stop.clone());
        let mut image = index();
        let bytes = layer(20_000_000, 1);
        image.blobs[0] = blob(&bytes);
        let ended = stopped(&stop, push(&stopping, &image), || {
            fake.count(method, path) > 0
        })
        .await;
        assert!(ended.1 < SECOND / 2, "{what}: {:?}", ended.1);
        assert_stopped(ended, &what);
        assert_eq!(fake.manifest("ns/web", "1.0"), None);
    }
    Ok(())
}

/// The calls that are no push, and a mount.
#[tokio::test]
async fn other_calls_end_as_well() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let image = web();
    push(&client, &image).await?;
    let digest = &image.root().digest;
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        fake.faults(method, "/ns/", Act::Hang);
    }
    for what in ["tags", "head", "get", "delete", "mount"] {
        fake.clear();
        let stop = CancellationToken::new();
        let stopping = client.with_stop(stop.clone());
        let call = async {
            match what {
                "tags" => stopping.tags("ns/web").await.map(drop),
                "head" => stopping.head_manifest("ns/web", "1.0").await.map(drop),
                "get" => stopping.get_manifest("ns/web", "1.0").await.map(drop),
                "delete" => stopping.delete_manifest("ns/web", digest).await,
                _ => {
                    // What is asked before the mount is answered.
                    let push = Push::new("fresh/other", "1.0", &image);
                    stopping.push(&push).await.map(drop)
                }
            }
        };
        if what == "mount" {
            fake.heal();
            fake.faults("POST", "mount=", Act::Hang);
        }
        let seen = || !fake.seen().is_empty() && (what != "mount" || fake.count("POST", "") > 0);
        assert_stopped(stopped(&stop, call, seen).await, what);
    }
    Ok(())
}

/// Nobody answers at the realm, the source of tokens does not come back, and a
/// host that takes connections says nothing.
#[tokio::test]
async fn signing_in_ends() -> anyhow::Result<()> {
    struct Silent(Arc<AtomicUsize>);
    impl TokenSource for Silent {
        fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::pending())
        }
    }

    let fake = Fake::start(SignIn::Bearer).await?;
    fake.faults("GET", "/token", Act::Hang);
    let stop = CancellationToken::new();
    let stopping =
        client_with(&fake, password("password"), RetryPolicy::default())?.with_stop(stop.clone());
    let ended = stopped(&stop, push(&stopping, &web()), || {
        fake.count("GET", "/token") > 0
    })
    .await;
    assert_stopped(ended, "realm");

    let asked = Arc::new(AtomicUsize::new(0));
    let stop = CancellationToken::new();
    let source = Credentials::Token(Arc::new(Silent(asked.clone())));
    let stopping = client_with(&fake, source, RetryPolicy::default())?.with_stop(stop.clone());
    let ended = stopped(&stop, push(&stopping, &web()), || {
        asked.load(Ordering::SeqCst) > 0
    })
    .await;
    assert_stopped(ended, "token source");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let stop = CancellationToken::new();
    let stopping = Client::new(Config {
        http: http_client(&Options::default())?,
        host: listener.local_addr()?.to_string(),
        plain_http: false,
        credentials: Credentials::Anonymous,
        max_concurrent_uploads: 4,
        retry: RetryPolicy::default(),
    })
    .with_stop(stop.clone());
    let start = Instant::now();
    let ended = stopped(&stop, push(&stopping, &web()), || {
        start.elapsed() > Duration::from_millis(100)
    })
    .await;
    assert_stopped(ended, "TLS");
    Ok(())
}

/// The pause before another attempt, also one that the registry asked for.
#[tokio::test]
async fn pauses_end() -> anyhow::Result<()> {
    for (method, path) in [
        ("HEAD", "/manifests/"),
        ("POST", "/blobs/uploads/"),
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/"),
    ] {
        let fake = Fake::start(SignIn::Open).await?;
        let busy = Act::AnswerWith(503, "retry-after", "30".into(), "");
        fake.faults(method, path, busy);
        let stop = CancellationToken::new();
        let stopping = client_with(&fake, Credentials::Anonymous, RetryPolicy::default())?
            .with_stop(stop.clone());
        let ended = stopped(&stop, push(&stopping, &web()), || {
            fake.count(method, path) > 0
        })
        .await;
        // There is nothing in flight to wait for.
        assert!(ended.1 < SECOND / 2, "{method} {path}: {:?}", ended.1);
        assert_stopped(ended, &format!("{method} {path}"));
    }
    Ok(())
}

/// Waiting for one of the uploads that may run at once, and for another push
/// that is bringing the same blob.
#[tokio::test]
async fn queues_end() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.faults("PUT", "/blobs/uploads/", Act::Hang);
    let client = client(&fake)?;
    let first = image(&(0..4).map(|i| layer(100, i)).collect::<Vec<_>>());
    let others = [
        ("ns/web", image(&[layer(5_000, 9)])),
        ("ns/web", first.clone()),
    ];
    for (repository, other) in &others {
        let stop = CancellationToken::new();
        let stopping = client.with_stop(stop.clone());
        let push = Push::new(repository, "2.0", other);
        let ahead = tokio::spawn({
            let (client, first) = (client.clone(), first.clone());
            async move { super::push(&client, &first).await }
        });
        while fake.count("PUT", "/blobs/uploads/") < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let asked = fake.count("HEAD", "/manifests/2.0");
        let ended = stopped(&stop, stopping.push(&push), || {
            fake.count("HEAD", "/manifests/2.0") > asked
        })
        .await;
        assert_stopped(ended, repository);
        assert_eq!(fake.count("PUT", "/blobs/uploads/"), 4);
        ahead.abort();
        let _ = ahead.await;
        fake.clear();
    }
    Ok(())
}

/// A source whose reading hangs, while its blob is sent and while it is read
/// again since the registry found another digest: the stop is not kept waiting, and
/// the upload that waited for the slot begins at once.
#[tokio::test]
async fn dead_file_servers_keep_nobody() -> anyhow::Result<()> {
    for healthy in [0, 1] {
        let fake = Fake::start(SignIn::Open).await?;
        let (image, readers, _server) = dead_image(300_000, healthy);
        let digest = image.blobs[0].digest.to_string().replace(':', "%3A");
        let wrong =
            r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#;
        fake.faults("PUT", &digest, Act::Answer(400, wrong));
        let client = Client::new(Config {
            http: http_client(&Options::default())?,
            host: fake.host.clone(),
            plain_http: true,
            credentials: Credentials::Anonymous,
            max_concurrent_uploads: 1,
            retry: RetryPolicy::without_waiting(),
        });
        let stop = CancellationToken::new();
        let stopping = client.with_stop(stop.clone());
        let other = super::image(&[layer(10, 7)]);
        let waiting = Push::new("ns/other", "1.0", &other);
        let ((ended, after), (waited, done)) = tokio::join!(
            stopped(&stop, push(&stopping, &image), || {
                fake.count("HEAD", "/ns/other/blobs") > 0
            }),
            async {
                // It comes second.
                while readers.load(Ordering::SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                (client.push(&waiting).await, Instant::now())
            }
        );
        assert_stopped((ended, after), "source");
        waited?;
        assert!(done.elapsed() < SECOND);
        assert_pushed(&fake, "ns/other", "1.0", &other);
    }
    Ok(())
}

/// A stop while the registry writes the tag: what it answers soon is heard, and
/// the push has succeeded; what does not come soon is not waited for.
#[tokio::test]
async fn the_last_answer_is_heard() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let image = web();
    fake.fault(
        "PUT",
        "/manifests/1.0",
        Act::Slow(Duration::from_millis(400)),
    );
    let stop = CancellationToken::new();
    let stopping = client(&fake)?.with_stop(stop.clone());
    let (result, after) = stopped(&stop, push(&stopping, &image), || {
        fake.waited("PUT", "/manifests/1.0") > 0
    })
    .await;
    assert_eq!(result?.digest, image.root().digest);
    assert!(after < SECOND, "{after:?}");
    assert_pushed(&fake, "ns/web", "1.0", &image);

    // Accepted without a digest, and there is no time to look at the tag.
    let fake = Fake::start(SignIn::Open).await?;
    let nameless = Act::Header("docker-content-digest", String::new());
    fake.fault("PUT", "/manifests/1.0", nameless);
    let stop = CancellationToken::new();
    let stopping = client(&fake)?.with_stop(stop.clone());
    let (result, after) = stopped(&stop, push(&stopping, &image), || {
        if fake.count("PUT", "/blobs/") > 0 {
            fake.faults("HEAD", "/manifests/", Act::Hang);
        }
        fake.count("PUT", "/manifests/1.0") > 0
    })
    .await;
    assert_eq!(result?.digest, image.root().digest);
    assert!(after < SECOND, "{after:?}");

    let fake = Fake::start(SignIn::Open).await?;
    fake.fault("PUT", "/manifests/1.0", Act::Slow(30 * SECOND));
    let stop = CancellationToken::new();
    let stopping = client(&fake)?.with_stop(stop.clone());
    let ended = stopped(&stop, push(&stopping, &image), || {
        fake.waited("PUT", "/manifests/1.0") > 0
    })
    .await;
    assert!(ended.1 > SECOND / 2, "{:?}", ended.1);
    assert_stopped(ended, "no answer");
    Ok(())
}

/// The same through the whole provider: Ctrl-C while the registry writes the tag.
/// When it answers soon, the image is in the state; when it does not, the run
/// ends all the same, and the next one finds the blobs.
#[tokio::test]
async fn an_interrupted_apply_has_what_was_pushed() -> anyhow::Result<()> {
    for (delay, pushed) in [(Duration::from_millis(500), true), (20 * SECOND, false)] {
        let cloud = Cloud::start().await?;
        let mut repository = cloud.host.resource("ocir_repository");
        repository.apply(cloud.web()).await?;
        let layout = Layout::of("layer")?;
        let mut push = cloud.host.resource("ocir_image_push");
        let config = json!({ "source": layout.source(), "repository": "team/web", "tag": "1" });
        let plan = push.plan(config.clone()).await?;
        cloud.emulator.clear_requests();
        cloud.emulator.fail_next("PutManifest", Fault::delay(delay));
        let stop = async {
            while cloud.count("PutBlobUpload") < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            let stopped = Instant::now();
            cloud.host.stop().await?;
            anyhow::Ok(stopped)
        };
        let (applied, stopped) = tokio::join!(push.apply_planned(&plan), stop);
        let elapsed = stopped?.elapsed();
        assert!(elapsed < SECOND, "{elapsed:?}");
        assert_eq!(applied.is_ok(), pushed, "{applied:?}");
        let tags = cloud.emulator.tags("team/web");
        let digest = tags.get("1").map(String::as_str);
        assert_eq!(digest.is_some(), pushed);
        assert_eq!(push.state()["digest"].as_str(), digest);

        push.apply(config).await?;
        let tags = cloud.emulator.tags("team/web");
        assert_eq!(push.state()["digest"], json!(tags["1"]));
        assert_eq!(cloud.count("PutBlobUpload"), 3, "they are found again");
    }
    Ok(())
}

/// The registry writes the tag after all, when nobody listens any more: the state has
/// the image before it, a refresh sees ours, and the next run takes it for its own,
/// without sending anything twice.
#[tokio::test]
async fn a_tag_that_is_written_after_the_stop() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let layout = Layout::of("one")?;
    let config = json!({
        "source": layout.source(), "repository": "team/web", "tag": "1",
        "if_exists": "error", "on_destroy": "untag",
    });
    let mut push = cloud.host.resource("ocir_image_push");
    push.apply(config.clone()).await?;
    let before = push.state();
    layout.show(&layout.image("two")?)?;
    let plan = push.plan(config.clone()).await?;
    let late = Fault::delay(20 * SECOND);
    cloud.emulator.fail_always("PutManifest", late);
    cloud.emulator.clear_requests();
    let stop = async {
        while cloud.emulator.begun("PutManifest") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cloud.host.stop().await
    };
    let (applied, stopped) = tokio::join!(push.apply_planned(&plan), stop);
    stopped?;
    assert!(applied.is_err());
    assert_eq!(push.state(), before);

    // What the registry does then, somebody else does here.
    cloud.emulator.clear_faults();
    let host = Host::start(server()).await?;
    host.configure(arguments(&cloud.emulator)).await?;
    let mut other = json!({ "source": layout.source(), "repository": "team/web", "tag": "2" });
    host.resource("ocir_image_push").apply(other.take()).await?;
    let ours = cloud.emulator.tags("team/web")["2"].clone();
    cloud.emulator.move_tag("team/web", "1", &ours);

    cloud.emulator.clear_requests();
    let mut next = host.resource("ocir_image_push");
    next.take_over(&push);
    let state = next.apply(config.clone()).await?;
    assert_eq!(state["digest"], json!(ours));
    for operation in ["PostBlobUpload", "PutManifest"] {
        assert_eq!(cloud.count(operation), 0, "{operation}");
    }
    next.destroy().await?;
    assert!(!cloud.emulator.tags("team/web").contains_key("1"));
    Ok(())
}

/// What fails after the stop is not tried again, not with a new token either.
#[tokio::test]
async fn nothing_begins_after_a_stop() -> anyhow::Result<()> {
    let missing = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#;
    for act in [
        Act::Answer(503, ""),
        Act::Answer(403, ""),
        Act::Answer(404, missing),
        Act::EndTokens,
        Act::CutAnswer,
    ] {
        let what = format!("{act:?}");
        let fake = Fake::start(SignIn::Bearer).await?;
        let act = Act::After(Duration::from_millis(200), Box::new(act));
        fake.fault("PUT", "/manifests/1.0", act);
        let stop = CancellationToken::new();
        let stopping = client_with(&fake, password("password"), RetryPolicy::without_waiting())?
            .with_stop(stop.clone());
        let tokens = || fake.count("GET", "/token");
        let ended = stopped(&stop, push(&stopping, &web()), || {
            fake.waited("PUT", "/manifests/1.0") > 0
        })
        .await;
        assert_stopped(ended, &what);
        assert_eq!(fake.count("PUT", "/manifests/1.0"), 1, "{what}");
        assert_eq!((tokens(), fake.count("PUT", "/blobs/")), (1, 3), "{what}");
    }
    Ok(())
}

/// An answer that stops in the middle is an answer that is waited for.
#[tokio::test]
async fn half_an_answer_keeps_nobody() -> anyhow::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let answered = Arc::new(AtomicUsize::new(0));
    let said = answered.clone();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {MANIFEST}\r\ncontent-length: 100\r\n\r\n{{");
        stream.write_all(answer.as_bytes()).await?;
        said.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<std::io::Result<()>>().await
    });
    let stop = CancellationToken::new();
    let stopping = Client::new(Config {
        http: http_client(&Options::default())?,
        host,
        plain_http: true,
        credentials: Credentials::Anonymous,
        max_concurrent_uploads: 4,
        retry: RetryPolicy::without_waiting(),
    })
    .with_stop(stop.clone());
    let ended = stopped(&stop, stopping.get_manifest("ns/web", "1.0"), || {
        answered.load(Ordering::SeqCst) > 0
    })
    .await;
    assert_stopped(ended, "half an answer");
    server.abort();
    Ok(())
}
