//! Tokens that end in the middle of a push: nobody notices.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use expect_test::expect;
use futures_util::future::BoxFuture;
use ocir::{
    image::{BlobSource, Image},
    registry::{Credentials, Push, Token, TokenSource},
    transport::RetryPolicy,
};

use super::{
    Act, Fake, SignIn, assert_pushed, check, client_with, image, layer, password, push, web,
};

/// Gives tokens that the registry accepts as long as they live, and counts them.
struct Issuer {
    accept: Accept,
    life: Duration,
    issued: AtomicUsize,
}

type Accept = Box<dyn Fn(&str, Duration) + Send + Sync>;

impl Issuer {
    fn new(fake: &Fake, life: Duration) -> Arc<Self> {
        Arc::new(Self {
            accept: Box::new(fake.acceptance()),
            life,
            issued: AtomicUsize::new(0),
        })
    }
    fn issued(&self) -> usize {
        self.issued.load(Ordering::SeqCst)
    }
}

impl TokenSource for Issuer {
    fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async {
            // Long enough for others to come and ask, too.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
            let token = format!("token-{number}");
            (self.accept)(&token, self.life);
            Ok(Token {
                token,
                expires_at: Instant::now() + self.life,
            })
        })
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Bytes that come in ten pieces, with a pause before each.
#[derive(Debug)]
struct Slow(Vec<u8>, Duration);

impl BlobSource for Slow {
    fn open(&self) -> Result<Box<dyn super::image::BlobReader>, super::image::Error> {
        struct Reader(std::io::Cursor<Vec<u8>>, Duration);
        impl Read for Reader {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                std::thread::sleep(self.1);
                let piece = self.0.get_ref().len().div_ceil(10).min(buffer.len());
                self.0.read(&mut buffer[..piece])
            }
        }
        Ok(Box::new(super::image::Waits(Reader(
            std::io::Cursor::new(self.0.clone()),
            self.1,
        ))))
    }
}

/// An image whose layers take so long to read, in ten pieces.
pub fn slow(layers: &[Duration]) -> Image {
    // The first is the largest, and goes first. All are so small that nobody
    // takes care that the token lives long enough.
    let bytes: Vec<Vec<u8>> = (0..layers.len()).map(|i| layer(100_000 - i, i)).collect();
    let mut image = image(&bytes);
    for ((blob, bytes), time) in image.blobs.iter_mut().zip(bytes).zip(layers) {
        blob.source = Arc::new(Slow(bytes, *time / 10));
    }
    image
}

/// A token that ends at any step of a push, both when it comes from the realm
/// and when it comes from the provider: one more is asked for, and a blob that was
/// sent already is sent again from its start.
#[tokio::test]
async fn tokens_end_at_every_step() -> anyhow::Result<()> {
    for (method, path) in [
        ("HEAD", "/manifests/"),
        ("HEAD", "/blobs/"),
        ("POST", "/blobs/uploads/"),
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/"),
    ] {
        let what = format!("{method} {path}");
        let image = image(&[layer(300_000, 1)]);

        let fake = Fake::start(SignIn::Token).await?;
        fake.fault(method, path, Act::EndTokens);
        let issuer = Issuer::new(&fake, HOUR);
        let credentials = Credentials::Token(issuer.clone());
        let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
        let pushed = push(&client, &image).await?;
        assert_eq!(pushed.uploaded, (2, 300_014), "{what}");
        assert_pushed(&fake, "ns/web", "1.0", &image);
        assert_eq!(issuer.issued(), 2, "{what}");
        for seen in fake.seen() {
            if seen.method == "PUT" && seen.path.contains("/uploads/") {
                assert!([14, 300_000].contains(&seen.body_bytes), "{seen:?}");
            }
        }

        let fake = Fake::start(SignIn::Bearer).await?;
        fake.fault(method, path, Act::EndTokens);
        let client = client_with(&fake, password("password"), RetryPolicy::without_waiting())?;
        push(&client, &image).await?;
        assert_pushed(&fake, "ns/web", "1.0", &image);
        let tokens = fake.count("GET", "/token");
        // The first call is sent without any, and refused for that.
        let expected = if path == "/manifests/" && method == "HEAD" {
            1
        } else {
            2
        };
        assert_eq!(tokens, expected, "{what}");
    }
    Ok(())
}

/// A mount with a token that has ended, and the calls that are no push.
#[tokio::test]
async fn tokens_end_elsewhere() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    let issuer = Issuer::new(&fake, HOUR);
    let credentials = Credentials::Token(issuer.clone());
    let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
    let image = web();
    push(&client, &image).await?;
    fake.fault("POST", "mount=", Act::EndTokens);
    let mounting = Push::new("ns/other", "1.0", &image);
    assert_eq!(client.push(&mounting).await?.mounted.0, 3);
    fake.fault("GET", "/tags/", Act::EndTokens);
    assert!(client.tags("ns/web").await?.is_some());
    fake.fault("GET", "/manifests/", Act::EndTokens);
    assert!(client.get_manifest("ns/web", "1.0").await?.is_some());
    fake.fault("DELETE", "/manifests/", Act::EndTokens);
    client
        .delete_manifest("ns/web", &image.root().digest)
        .await?;
    assert_eq!(issuer.issued(), 5);
    Ok(())
}

/// The token ends while four blobs are on their way. All four are refused, and
/// one new token does for all.
#[tokio::test]
async fn many_uploads_ask_once() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    let issuer = Issuer::new(&fake, HOUR);
    let layers: Vec<Vec<u8>> = (0..4).map(|i| layer(100_000 + i, i)).collect();
    let mut image = image(&layers);
    // Four is what goes at once; the configuration comes afterwards.
    for blob in &image.blobs[..4] {
        let digest = blob.digest.to_string().replace(':', "%3A");
        let end = Act::After(Duration::from_millis(200), Box::new(Act::EndTokens));
        fake.fault("PUT", &digest, end);
    }
    image.blobs.rotate_right(1);
    let credentials = Credentials::Token(issuer.clone());
    let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
    push(&client, &image).await?;
    assert_pushed(&fake, "ns/web", "1.0", &image);
    let refused = |seen: &super::fake::Seen| seen.method == "PUT" && seen.status == 401;
    let count = fake.seen().iter().filter(|seen| refused(seen)).count();
    assert_eq!(count, 4, "{}", fake.story());
    assert_eq!(issuer.issued(), 2);
    Ok(())
}

/// OCIR takes those whom it does not know for nobody: 403 instead of 401.
#[tokio::test]
async fn a_denial_of_nobody_is_an_end_as_well() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    let nobody = r#"{"errors":[{"code":"DENIED","message":"Anonymous users are only allowed read access on public repos"}]}"#;
    fake.fault("PUT", "/blobs/uploads/", Act::Answer(403, nobody));
    let issuer = Issuer::new(&fake, HOUR);
    let credentials = Credentials::Token(issuer.clone());
    let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
    push(&client, &web()).await?;
    assert_pushed(&fake, "ns/web", "1.0", &web());
    assert_eq!(issuer.issued(), 2);

    // Denied is denied, whoever one is.
    let denied = r#"{"errors":[{"code":"DENIED","message":"no policy allows this"}]}"#;
    fake.faults("PUT", "/blobs/uploads/", Act::Answer(403, denied));
    let error = push(&client, &image(&[layer(10, 5)])).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert_eq!(issuer.issued(), 2);
    Ok(())
}

/// Tokens that the registry refuses at once, every one: the push ends after a
/// few, and says what the registry said.
#[tokio::test]
async fn refused_tokens_end_a_push() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    fake.faults("PUT", "/blobs/uploads/", Act::EndTokens);
    let issuer = Issuer::new(&fake, HOUR);
    let credentials = Credentials::Token(issuer.clone());
    let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
    let error = check(
        &fake,
        push(&client, &image(&[])).await,
        &expect![
            "upload of blob sha256:5809… at HOST answered 401 UNAUTHORIZED: authentication required"
        ],
    );
    assert!(error.is_unauthorized());
    assert_eq!((fake.count("PUT", ""), issuer.issued()), (2, 2));

    let many: Vec<Vec<u8>> = (0..12).map(|i| layer(1_000, i)).collect();
    let error = push(&client, &image(&many)).await.unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
    assert!(issuer.issued() <= 2 + 5, "{}", issuer.issued());
    Ok(())
}

/// A registry that looks at the token when the last byte has come, and tokens
/// that live shorter than the upload takes: a blob that cannot arrive is not sent
/// for ever.
#[tokio::test]
async fn uploads_that_outlive_every_token_end() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    let issuer = Issuer::new(&fake, Duration::from_millis(300));
    let credentials = Credentials::Token(issuer.clone());
    let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
    let image = slow(&[Duration::from_millis(600)]);
    let error = push(&client, &image).await.unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
    let digest = image.blobs[0].digest.to_string().replace(':', "%3A");
    assert_eq!(fake.count("PUT", &digest), 5, "{}", fake.story());
    Ok(())
}

/// Ten layers, four at a time, with tokens that live two seconds. Some uploads
/// begin with a token that ends before they do, and are sent again.
#[tokio::test]
async fn a_push_outlives_many_tokens() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    let issuer = Issuer::new(&fake, Duration::from_secs(2));
    let credentials = Credentials::Token(issuer.clone());
    let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
    let image =
        slow(&[750, 1500, 750, 1500, 750, 1500, 750, 1500, 750, 1500].map(Duration::from_millis));
    let pushed = push(&client, &image).await?;
    assert!(
        pushed.elapsed > Duration::from_secs(3),
        "{:?}",
        pushed.elapsed
    );
    assert_eq!(pushed.uploaded.0, 11);
    assert_pushed(&fake, "ns/web", "1.0", &image);
    assert!(issuer.issued() >= 3, "{}", issuer.issued());
    let refused = |seen: &super::fake::Seen| seen.method == "PUT" && seen.status == 401;
    assert!(fake.seen().iter().any(refused), "{}", fake.story());
    Ok(())
}
