//! What goes wrong with a registry, and the whole of what a user reads then.

use super::*;
use crate::client::registry::fake::{Act, Fake, SignIn};

/// A registry that does what it is told, and a provider that pushes to it without
/// waiting between its attempts.
async fn elsewhere() -> anyhow::Result<(Fake, Cloud)> {
    let fake = Fake::start(SignIn::Open).await?;
    let emulator = Emulator::builder().start().await?;
    let mut config = arguments(&emulator);
    config["registry"] = json!({ "host": fake.host, "plain_http": true });
    Ok((fake, Cloud::impatient(emulator, config).await?))
}

fn neutral(cloud: &Cloud, fake: &Fake, layout: &Layout, problems: &impl ToString) -> String {
    let text = cloud
        .neutral(&problems.to_string())
        .replace(&fake.host, "REGISTRY")
        .replace(&layout.path().display().to_string(), "LAYOUT");
    // Digests are the tests' of the client.
    let mut parts = text.split("sha256:");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        short.push_str("sha256:…");
        short.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()));
    }
    short
}

/// Answers that no well-behaved registry gives, one at a time. Nothing is under the
/// tag after any of them, and nothing is in the state; the next apply works.
#[tokio::test]
async fn odd_answers() -> anyhow::Result<()> {
    let other = Digest::of(b"other").to_string();
    let wrong = || Act::Header("docker-content-digest", other.clone());
    let unknown =
        r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;
    let elsewhere_url = || "https://login.example.com/?next=1".to_owned();
    for (method, path, act, expected) in [
        ("PUT", "/blobs/uploads/", wrong(), expect![[r#""#]]),
        ("PUT", "/manifests/", wrong(), expect![[r#""#]]),
        (
            "PUT",
            "/manifests/",
            Act::Answer(404, unknown),
            expect![[r#""#]],
        ),
        (
            "PUT",
            "/blobs/uploads/",
            Act::Answer(413, "<h1>413 Request Entity Too Large</h1>"),
            expect![[r#""#]],
        ),
        (
            "PUT",
            "/manifests/",
            Act::Answer(413, "<h1>413 Request Entity Too Large</h1>"),
            expect![[r#""#]],
        ),
        (
            "POST",
            "/blobs/uploads/",
            Act::Header("location", String::new()),
            expect![[r#""#]],
        ),
        (
            "POST",
            "/blobs/uploads/",
            Act::AnswerWith(302, "location", elsewhere_url(), ""),
            expect![[r#""#]],
        ),
        (
            "PUT",
            "/blobs/uploads/",
            Act::Answer(307, ""),
            expect![[r#""#]],
        ),
        (
            "PUT",
            "/manifests/",
            Act::Answer(200, "<html>Welcome to the hotel</html>"),
            expect![[r#""#]],
        ),
        (
            "POST",
            "/blobs/uploads/",
            Act::Answer(
                405,
                r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#,
            ),
            expect![[r#""#]],
        ),
        ("PUT", "/manifests/", Act::CutAnswer, expect![[r#""#]]),
        (
            "PUT",
            "/blobs/uploads/",
            Act::AnswerWith(503, "retry-after", "9000".into(), "maintenance"),
            expect![[r#""#]],
        ),
    ] {
        let (fake, cloud) = elsewhere().await?;
        let layout = Layout::of("one")?;
        let config = with(&web(layout.source()), "namespace", "ns");
        let mut push = cloud.host.resource("ocir_image_push");
        let plan = push.plan(config.clone()).await?;
        fake.faults(method, path, act.clone());
        let problems = push.apply_planned(&plan).await.unwrap_err();
        expected.assert_eq(&neutral(&cloud, &fake, &layout, &problems));
        assert!(push.state().is_null(), "{act:?}");
        fake.heal();
        push.apply(config).await?;
        assert!(fake.manifest("ns/team/web", "1.0.0").is_some());
    }
    Ok(())
}

/// A tenancy that is free for ever has no registry; no policy gives it one.
#[tokio::test]
async fn the_free_tier() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "untag");
    let mut push = pushed(&cloud, &config).await?;
    let refused = Fault::error(
        403,
        "FREE_TIER_NOT_SUPPORTED",
        "Not available for Always Free tenancies.",
    );
    cloud
        .emulator
        .fail_always("LookupContainerImageByUri", refused);
    let problems = push.destroy().await.unwrap_err();
    expect![[r#""#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(!push.state().is_null());
    Ok(())
}

/// A policy that is younger than the token: the denial passes with another token, and
/// nobody is bothered. So does a registry that takes its time to commit.
#[tokio::test]
async fn what_passes() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let anonymous = Fault::error(
        403,
        "DENIED",
        "Anonymous users are only allowed read access on public repos",
    );
    cloud.emulator.fail_next("PutBlobUpload", anonymous);
    cloud
        .emulator
        .fail_next("PutBlobUpload", Fault::delay(Duration::from_secs(2)));
    cloud
        .emulator
        .fail_next("PutManifest", Fault::status(503).retry_after(0));
    cloud.emulator.fail_next("PutManifest", Fault::cut_answer());
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    assert_eq!(push.take_warnings(), Vec::<String>::new());
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&push.state(), "digest")
    );
    Ok(())
}
