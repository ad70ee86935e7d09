//! What the log says of a push: what is waited for, how long, and how far it is.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use expect_test::expect;
use ocir::{
    image::BlobSource,
    registry::{Credentials, Error},
    transport::RetryPolicy,
};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::{Act, Fake, SignIn, client, client_with, image, layer, push, shorten};

/// The events of this thread, one line each, while the guard lives.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::registry::Registry::default().with(log.clone());
        (log, tracing::subscriber::set_default(subscriber))
    }
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
    /// Lines at INFO with this in them.
    pub fn about(&self, text: &str) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.starts_with("INFO") && line.contains(text));
        lines
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: Context<'_, S>,
    ) {
        let mut line = Line(format!("SPAN {}", attributes.metadata().name()));
        attributes.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

/// A pause before another attempt is announced, with host, what and how long.
#[tokio::test]
async fn pauses_are_announced() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let busy = Act::AnswerWith(429, "retry-after", "1".into(), "slow down");
    fake.fault("POST", "/blobs/uploads/", busy);
    let client = client_with(&fake, Credentials::Anonymous, RetryPolicy::default())?;
    let (log, _guard) = Log::start();
    push(&client, &image(&[])).await?;
    let lines = log.about("again").join("\n");
    // What the registry asked for, and up to a second of chance on top.
    let wait = lines.split("wait_ms=").nth(1).unwrap_or_default();
    let wait = wait.split(' ').next().unwrap_or_default();
    assert!((1000..=2000).contains(&wait.parse::<u32>()?), "{lines}");
    expect![[r#"INFO ocir::registry::retry message=Sending a request to the registry again host="HOST" attempt=1 wait_ms=WAIT reason=start of the upload of blob sha256:5809… at HOST answered 429 Too Many Requests: slow down"#]]
        .assert_eq(&shorten(&lines.replace(&fake.host, "HOST").replace(wait, "WAIT")));
    Ok(())
}

/// A registry that takes its time with an answer, with a blob and with taking
/// one, and a source that is slow: a line each after five seconds. A push says by
/// itself how far it is.
#[tokio::test]
async fn long_waits_are_seen() -> anyhow::Result<()> {
    #[derive(Debug)]
    struct Slow;
    impl BlobSource for Slow {
        fn open(&self) -> Result<Box<dyn super::image::BlobReader>, super::image::Error> {
            std::thread::sleep(Duration::from_millis(7_000));
            Ok(Box::new(super::image::Waits(std::io::Cursor::new(layer(
                2_000, 9,
            )))))
        }
    }

    let fake = Fake::start(SignIn::Open).await?;
    let mut image = image(&[layer(3_000_000, 1), layer(2_000, 9), layer(20_000_000, 2)]);
    image.blobs[1].source = Arc::new(Slow);
    let digest = |at: usize| {
        let digest: &str = image.blobs[at].digest.as_str();
        digest.replace(':', "%3A")
    };
    let slow = || Act::Slow(Duration::from_millis(7_000));
    fake.fault("PUT", &digest(0), slow());
    fake.fault("PUT", &digest(2), Act::Stall);
    fake.fault("GET", "/tags/list", slow());
    let (log, _guard) = Log::start();
    let client = client(&fake)?;
    let waiting = async {
        let pushing = tokio::time::timeout(Duration::from_millis(7_300), push(&client, &image));
        tokio::join!(pushing, client.tags("ns/other"))
    };
    let (pushed, tags) = waiting.await;
    assert!(pushed.is_err(), "nobody takes the biggest blob");
    assert_eq!(tags?, None);
    let mut lines = log.about("Waiting");
    lines.sort();
    expect![[r#"
        INFO ocir::registry::blob message=Waiting for the image's source to give more of a blob host="HOST" operation="upload of blob sha256:eedb…" waited_s=5
        INFO ocir::registry::blob message=Waiting for the registry to confirm a blob host="HOST" operation="upload of blob sha256:cb88…" waited_s=5
        INFO ocir::registry::blob message=Waiting for the registry to take more of a blob host="HOST" operation="upload of blob sha256:35f6…" waited_s=5
        INFO ocir::registry::client message=Waiting for the registry's answer host="HOST" operation="list of tags" waited_s=5"#]]
        .assert_eq(&shorten(&lines.join("\n").replace(&fake.host, "HOST")));
    let reports = log.about("Pushing image");
    assert!(
        reports.len() == 1
            && reports[0].contains(" of 23.0 MB sent in 5 s (")
            && reports[0].contains("/s), blobs to go: 3,"),
        "{reports:?}"
    );
    Ok(())
}

/// A storm of refusals: each blob's attempts are bounded over all its calls, and
/// each pause is a line.
#[tokio::test]
async fn storms_end() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    // Every upload begins at the third attempt, and none ends.
    for _ in 0..20 {
        for status in [429, 503] {
            let busy = Act::AnswerWith(status, "retry-after", "1".into(), "");
            fake.fault("POST", "/blobs/uploads/", busy);
        }
        fake.fault("POST", "/blobs/uploads/", Act::Slow(Duration::ZERO));
    }
    let busy = Act::AnswerWith(503, "retry-after", "1".into(), "busy");
    fake.faults("PUT", "/blobs/uploads/", busy);
    let (log, _guard) = Log::start();
    let error = push(&client, &image(&[])).await.unwrap_err();
    let Error::Registry {
        status, attempts, ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((status, attempts), (503, 8));
    let refused = |seen: &super::fake::Seen| [429, 503].contains(&seen.status);
    let count = fake.seen().iter().filter(|seen| refused(seen)).count();
    assert_eq!(count, 8, "{}", fake.story());
    assert_eq!(log.about("again").len(), 7);
    Ok(())
}
