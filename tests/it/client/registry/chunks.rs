//! Registries that take no whole blob.

use expect_test::expect;
use ocir::image::{BlobSource, Digest};

use super::{
    Act, Arc, Client, Error, Fake, SignIn, assert_pushed, check, client, image, layer, push,
};

const MIB: usize = 1 << 20;

/// A registry, or a gateway before it, that takes no more than 5 MiB at once: the
/// first blob finds that out, and comes in chunks of 4 MiB; from then on every
/// larger blob does, and smaller ones are one request as ever.
#[tokio::test]
async fn large_blobs_come_in_chunks() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.takes_at_most(5 * MIB);
    let client = client(&fake)?;
    let image = image(&[layer(9 * MIB + 17, 1)]);
    push(&client, &image).await?;
    assert_pushed(&fake, "ns/web", "1.0", &image);
    let story = |calls: Vec<super::fake::Seen>| {
        let sent = calls
            .into_iter()
            .filter(|seen| seen.path.contains("/uploads/"));
        let sent = sent.filter(|seen| seen.method != "POST" && seen.body_bytes != 14);
        sent.map(|seen| format!("{} {} {}", seen.method, seen.body_bytes, seen.status))
            .collect::<Vec<_>>()
            .join("\n")
    };
    expect![[r#"
        PUT 9437201 413
        PATCH 4194304 202
        PATCH 4194304 202
        PATCH 1048593 202
        PUT 0 201"#]]
    .assert_eq(&story(fake.seen()));

    fake.clear();
    let next = super::image(&[layer(6 * MIB, 2), layer(3 * MIB, 3)]);
    push(&client, &next).await?;
    assert_pushed(&fake, "ns/web", "1.0", &next);
    let mut lines: Vec<String> = story(fake.seen()).lines().map(str::to_owned).collect();
    lines.sort();
    expect![[r#"
        [
            "PATCH 2097152 202",
            "PATCH 4194304 202",
            "PUT 0 201",
            "PUT 3145728 201",
        ]
    "#]]
    .assert_debug_eq(&lines);
    Ok(())
}

/// A session says how small a chunk may be; what the registry refuses even then is
/// an error, and so is a blob that no chunk makes smaller.
#[tokio::test]
async fn chunks_have_a_least_size() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.takes_at_most(5 * MIB);
    fake.wants_chunks_of(3 * MIB);
    let image = image(&[layer(10 * MIB, 1)]);
    push(&client(&fake)?, &image).await?;
    assert_pushed(&fake, "ns/web", "1.0", &image);

    let fake = Fake::start(SignIn::Open).await?;
    fake.takes_at_most(100_000);
    fake.wants_chunks_of(16 * MIB);
    let refused = push(&client(&fake)?, &image).await;
    let error = check(
        &fake,
        refused,
        &expect!["upload of blob sha256:dc30… at HOST answered 413 Payload Too Large: too large"],
    );
    assert!(matches!(error, Error::Registry { status: 413, .. }));
    Ok(())
}

/// A token that ends between two chunks, and a connection that is cut in one: the
/// blob is sent again from its start, in chunks.
#[tokio::test]
async fn chunks_survive() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Bearer).await?;
    fake.takes_at_most(5 * MIB);
    let client = super::client_with(
        &fake,
        super::password("password"),
        super::RetryPolicy::without_waiting(),
    )?;
    let image = image(&[layer(9 * MIB, 1)]);
    fake.fault("PATCH", "/uploads/", Act::Slow(super::Duration::ZERO));
    fake.fault("PATCH", "/uploads/", Act::EndTokens);
    fake.fault("PATCH", "/uploads/", Act::Slow(super::Duration::ZERO));
    fake.fault("PATCH", "/uploads/", Act::Cut(MIB));
    push(&client, &image).await?;
    assert_pushed(&fake, "ns/web", "1.0", &image);
    assert_eq!(fake.count("PATCH", "/uploads/"), 2 + 2 + 3);
    Ok(())
}

/// A registry that lost a chunk says so, and is not believed to have the blob.
#[tokio::test]
async fn lost_chunks_are_noticed() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    fake.takes_at_most(5 * MIB);
    fake.fault("PATCH", "/uploads/", Act::Header("range", "0-99".into()));
    let refused = push(&client(&fake)?, &image(&[layer(9 * MIB, 1)])).await;
    check(
        &fake,
        refused,
        &expect![
            "upload of blob sha256:2257… at HOST got an answer that is not a registry's: it says that it has the bytes up to 99 after 4194304 bytes"
        ],
    );
    assert_eq!(fake.manifest("ns/web", "1.0"), None);

    // The largest number that there is has no next one.
    let last = format!("0-{}", u64::MAX);
    fake.fault("PATCH", "/uploads/", Act::Header("range", last));
    let refused = push(&client(&fake)?, &image(&[layer(9 * MIB, 1)])).await;
    let refused = refused.expect_err("it lost a chunk").to_string();
    assert!(
        refused.contains("up to 18446744073709551615 after"),
        "{refused}"
    );
    Ok(())
}

/// The registry finds another digest than a copy in the cache has: the copy is made
/// again, and nobody is bothered. A source that knows what is wrong says so itself.
#[tokio::test]
async fn sources_explain_themselves() -> anyhow::Result<()> {
    /// Other bytes than it should have, until somebody looks closer.
    #[derive(Debug)]
    struct Damaged(std::sync::atomic::AtomicBool, bool, Digest);

    impl BlobSource for Damaged {
        fn open(&self) -> Result<Box<dyn super::image::BlobReader>, super::image::Error> {
            let seed = match self.0.load(super::Ordering::SeqCst) {
                true => 1,
                false => 2,
            };
            Ok(Box::new(super::image::Waits(std::io::Cursor::new(layer(
                1_000, seed,
            )))))
        }
        fn verify(&self) -> Result<(), super::image::Error> {
            self.0.store(self.1, super::Ordering::SeqCst);
            let digest = self.2.clone();
            Err(match self.1 {
                true => super::image::Error::CacheDamaged { digest },
                false => super::image::Error::Digest {
                    place: "\"web/blobs/sha256/1\"".into(),
                    expected: digest.clone(),
                    actual: digest,
                },
            })
        }
    }

    async fn try_it(fake: &Fake, client: &Client, heals: bool) -> Result<super::Pushed, Error> {
        fake.clear();
        let mut image = image(&[layer(1_000, 1)]);
        let digest = image.blobs[0].digest.clone();
        image.blobs[0].source = Arc::new(Damaged(false.into(), heals, digest));
        push(client, &image).await
    }

    let fake = Fake::start(SignIn::Open).await?;
    let failed = try_it(&fake, &client(&fake)?, false).await;
    check(
        &fake,
        failed,
        &expect![[r#"
            cannot read blob sha256:56f5… from the image's source
              "web/blobs/sha256/1" is corrupt: it should have the digest sha256:56f5…, and has sha256:56f5…"#]],
    );
    try_it(&fake, &client(&fake)?, true).await?;
    assert_pushed(&fake, "ns/web", "1.0", &image(&[layer(1_000, 1)]));
    Ok(())
}
