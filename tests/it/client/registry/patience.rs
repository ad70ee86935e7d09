//! What many pushes have in common: the order of their blobs, failures that all are
//! told, and attempts that are each blob's own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use expect_test::expect;
use futures_util::future::{BoxFuture, join_all};
use ocir::{
    registry::{Client, Config, Credentials, Error, Push, Token, TokenSource},
    transport::{Options, RetryPolicy, http_client},
};

use super::{
    Act, Counter, Fake, SignIn, assert_pushed, check, client, client_with, image, layer, log::Log,
    push, web,
};

fn one_at_a_time(fake: &Fake) -> anyhow::Result<Client> {
    Ok(Client::new(Config {
        http: http_client(&Options::default())?,
        host: fake.host.clone(),
        plain_http: true,
        credentials: Credentials::Anonymous,
        max_concurrent_uploads: 1,
        retry: RetryPolicy::without_waiting(),
    }))
}

/// Two pushes share one slot: whichever blob is the largest goes next, whosever it
/// is, so that no big layer is left for the end.
#[tokio::test]
async fn the_largest_goes_first_over_all_pushes() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = one_at_a_time(&fake)?;
    // Until all wait for the slot, nobody gets it back.
    let slow = Act::Slow(Duration::from_secs(2));
    fake.fault("PUT", "/blobs/uploads/", slow);
    let one = image(&[layer(9_000, 1), layer(7_000, 2), layer(3_000, 3)]);
    let two = image(&[layer(8_000, 4), layer(5_000, 5), layer(1_000, 6)]);
    let other = Push::new("ns/api", "1.0", &two);
    let second = async {
        while fake.count("POST", "/ns/web/blobs/uploads/") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client.push(&other).await
    };
    let (first, second) = tokio::join!(push(&client, &one), second);
    first?;
    second?;
    let sizes: Vec<usize> = fake
        .seen()
        .iter()
        .filter(|seen| seen.method == "PUT" && seen.path.contains("/blobs/"))
        .map(|seen| seen.body_bytes)
        .collect();
    // The configuration of both is the same blob, and is mounted the second time.
    assert_eq!(sizes[1..], [8_000, 7_000, 5_000, 3_000, 1_000, 14]);
    assert_eq!(sizes[0], 9_000);
    Ok(())
}

/// A token endpoint that is down, and ten pushes: all are told after the time that
/// one attempt takes, and so is who comes right after. Then it is tried again.
#[tokio::test]
async fn a_token_that_cannot_be_had_is_waited_for_once() -> anyhow::Result<()> {
    struct Down(AtomicUsize);
    impl TokenSource for Down {
        fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                match self.0.fetch_add(1, Ordering::SeqCst) {
                    0 => Err("nobody answers".into()),
                    _ => Ok(Token {
                        token: "late".into(),
                        expires_at: Instant::now() + Duration::from_secs(3600),
                    }),
                }
            })
        }
    }

    let fake = Fake::start(SignIn::Token).await?;
    fake.accept("late");
    let source = Arc::new(Down(AtomicUsize::new(0)));
    let credentials = Credentials::Token(source.clone());
    let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
    let image = web();
    let pushes = (0..10).map(|_| push(&client, &image));
    for failed in join_all(pushes).await {
        check(
            &fake,
            failed,
            &expect![[r#"
                cannot get a token to sign in to HOST
                  nobody answers"#]],
        );
    }
    let after = push(&client, &image).await;
    assert!(matches!(after, Err(Error::SignIn { .. })), "{after:?}");
    assert_eq!(source.0.load(Ordering::SeqCst), 1, "all at once");

    tokio::time::sleep(Duration::from_millis(1_600)).await;
    push(&client, &image).await?;
    assert_pushed(&fake, "ns/web", "1.0", &image);
    assert_eq!(source.0.load(Ordering::SeqCst), 2);
    Ok(())
}

/// Every blob has all attempts of its own: five blobs that are cut six times each
/// arrive, although that is thirty times.
#[tokio::test]
async fn attempts_are_each_blobs_own() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let layers: Vec<Vec<u8>> = (0..5).map(|seed| layer(300_000 + seed, seed)).collect();
    let image = image(&layers);
    for blob in &image.blobs[..5] {
        let digest = blob.digest.to_string().replace(':', "%3A");
        for _ in 0..6 {
            fake.fault("PUT", &digest, Act::Cut(100_000));
        }
    }
    let pushed = push(&client(&fake)?, &image).await?;
    assert_pushed(&fake, "ns/web", "1.0", &image);
    // Each is counted once, however often it was sent.
    let bytes: u64 = image.blobs.iter().map(|blob| blob.size).sum();
    assert_eq!(pushed.uploaded, (6, bytes));
    assert_eq!(fake.count("PUT", "/blobs/uploads/"), 5 * 6 + 6);
    Ok(())
}

/// Bytes that were sent in vain are no progress: while a blob that was cut is on its
/// way again, the log does not have more than was sent this time.
#[tokio::test]
async fn what_was_cut_is_no_progress() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let image = image(&[layer(8_000_000, 1)]);
    let digest = image.blobs[0].digest.to_string().replace(':', "%3A");
    for _ in 0..3 {
        fake.fault("PUT", &digest, Act::Cut(7_000_000));
    }
    // The fourth time all is sent, and the answer takes a while.
    fake.fault("PUT", &digest, Act::Slow(Duration::from_millis(5_500)));
    let (log, _guard) = Log::start();
    push(&client(&fake)?, &image).await?;
    let reports = log.about("Pushing image");
    assert!(!reports.is_empty());
    for report in &reports {
        assert!(report.contains(": 8.0 MB of 8.0 MB sent in "), "{report}");
    }
    Ok(())
}

/// A policy that is being made in the same run, and a token that is older: the
/// denial is doubted, with new tokens, until it passes. Who was let in once, or is
/// no identity, is denied at once.
#[tokio::test]
async fn a_policy_that_is_young() -> anyhow::Result<()> {
    let denied = r#"{"errors":[{"code":"DENIED","message":"no policy allows this"}]}"#;
    let fake = Fake::start(SignIn::Token).await?;
    (1..99).for_each(|number| fake.accept(&number.to_string()));
    let source = Arc::new(Counter(AtomicUsize::new(0)));
    let credentials = Credentials::Token(source.clone());
    let client = client_with(&fake, credentials, RetryPolicy::without_waiting())?;
    for _ in 0..2 {
        fake.fault("POST", "/blobs/uploads/", Act::Answer(403, denied));
    }
    let first = image(&[]);
    push(&client, &first).await?;
    assert_pushed(&fake, "ns/web", "1.0", &first);
    assert_eq!(source.0.load(Ordering::SeqCst), 3, "a new token each time");

    fake.faults("POST", "/blobs/uploads/", Act::Answer(403, denied));
    fake.clear();
    assert!(push(&client, &web()).await.unwrap_err().is_denied());
    assert!(fake.count("POST", "/ns/web/") <= 3, "it was let in before");

    fake.clear();
    let image = web();
    let elsewhere = Push::new("ns/api", "1.0", &image);
    assert!(client.push(&elsewhere).await.unwrap_err().is_denied());
    let attempts = RetryPolicy::default().max_attempts as usize;
    assert!(fake.count("POST", "/ns/api/") >= attempts, "it is doubted");

    let fake = Fake::start(SignIn::Open).await?;
    fake.faults("POST", "/blobs/uploads/", Act::Answer(403, denied));
    let open = super::client(&fake)?;
    assert!(push(&open, &first).await.is_err());
    assert_eq!(fake.count("POST", ""), 1, "nobody has no policy");
    Ok(())
}

/// A tag that nobody may move is denied at once, also when nothing else had to be
/// written before it: no policy would help. Who has written a manifest is let in.
#[tokio::test]
async fn what_no_policy_would_help() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Token).await?;
    (1..99).for_each(|number| fake.accept(&number.to_string()));
    let image = image(&[]);
    let client = |number| {
        let credentials = Credentials::Token(Arc::new(Counter(AtomicUsize::new(number))));
        client_with(&fake, credentials, RetryPolicy::without_waiting())
    };
    push(&client(0)?, &image).await?;

    let immutable = r#"{"errors":[{"code":"DENIED","message":"the repository is immutable"}]}"#;
    fake.fault("PUT", "/manifests/2.0", Act::Answer(403, immutable));
    let another = client(30)?;
    let refused = another.push(&Push::new("ns/web", "2.0", &image)).await;
    assert!(refused.unwrap_err().is_immutable());
    another.push(&Push::new("ns/web", "2.0", &image)).await?;

    let denied = r#"{"errors":[{"code":"DENIED","message":"no policy allows this"}]}"#;
    fake.fault("PUT", "/manifests/3.0", Act::Answer(403, denied));
    let refused = another.push(&Push::new("ns/web", "3.0", &image)).await;
    assert!(refused.unwrap_err().is_denied());
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 1, "all was there");
    Ok(())
}

/// A policy that nobody made is waited for once per repository: whoever pushes another
/// tag there afterwards is denied at once, and another repository has its own time.
#[tokio::test]
async fn a_policy_that_never_comes() -> anyhow::Result<()> {
    let denied = r#"{"errors":[{"code":"DENIED","message":"no policy allows this"}]}"#;
    let fake = Fake::start(SignIn::Token).await?;
    (1..999).for_each(|number| fake.accept(&number.to_string()));
    fake.faults("POST", "/blobs/uploads/", Act::Answer(403, denied));
    let credentials = Credentials::Token(Arc::new(Counter(AtomicUsize::new(0))));
    let policy = RetryPolicy {
        max_elapsed: Duration::from_millis(500),
        max_delay: Duration::from_millis(20),
        ..RetryPolicy::lasting(Duration::from_secs(1))
    };
    let client = client_with(&fake, credentials, policy)?;
    let image = image(&[]);
    let mut asked = Vec::new();
    for (repository, tag) in [("ns/web", "1.0"), ("ns/web", "2.0"), ("ns/api", "1.0")] {
        fake.clear();
        let refused = client.push(&Push::new(repository, tag, &image)).await;
        assert!(refused.unwrap_err().is_denied());
        asked.push(fake.count("POST", "/blobs/uploads/"));
    }
    assert!(asked[0] > 1 && asked[1] == 1 && asked[2] > 1, "{asked:?}");
    Ok(())
}

/// A repository that lost what this process sent there is no reason to think that the
/// registry mounts nothing: the next repositories still ask for a mount before all else,
/// and what was lost is brought back without a manifest that is refused first.
#[tokio::test]
async fn a_repository_that_lost_its_blobs() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let image = image(&[]);
    client.push(&Push::new("ns/a", "1.0", &image)).await?;
    fake.lose_blobs();
    let sent = client.push(&Push::new("ns/b", "1.0", &image)).await?;
    assert_eq!((sent.uploaded.0, sent.mounted.0), (1, 0));
    fake.clear();
    for (repository, tag) in [("ns/c", "1.0"), ("ns/a", "2.0")] {
        let sent = client.push(&Push::new(repository, tag, &image)).await?;
        assert_eq!((sent.uploaded.0, sent.mounted.0), (0, 1), "{repository}");
        assert_pushed(&fake, repository, tag, &image);
    }
    assert_eq!(fake.count("HEAD", "/blobs/"), 0, "a mount comes first");
    assert_eq!(fake.count("PUT", "/manifests/"), 2, "none was refused");
    Ok(())
}
