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
    short(&text)
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
        (
            "PUT",
            "/blobs/uploads/",
            wrong(),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Upload of blob sha256:… at REGISTRY answered with digest sha256:… instead of sha256:….

                Apply again. If it stays like this, something between here and the registry changes what passes, or somebody else pushes under the same tag.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "PUT",
            "/manifests/",
            wrong(),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at REGISTRY answered with digest sha256:… instead of sha256:….

                Apply again. If it stays like this, something between here and the registry changes what passes, or somebody else pushes under the same tag.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "PUT",
            "/manifests/",
            Act::Answer(404, unknown),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at REGISTRY was answered 404 MANIFEST_BLOB_UNKNOWN: blob unknown to registry.

                Something that the image is made of was not there when it was to be named, although it had been sent before. Somebody may be cleaning up in the repository at this moment; apply again.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "PUT",
            "/blobs/uploads/",
            Act::Answer(413, "<h1>413 Request Entity Too Large</h1>"),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Upload of blob sha256:… at REGISTRY was answered 413 Payload Too Large: 413 Request Entity Too Large.

                The registry, or a proxy or a gateway before it, takes no request of that size. Large layers are sent in parts where that helps. Raise its limit, or build the image of smaller layers.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "PUT",
            "/manifests/",
            Act::Answer(413, "<h1>413 Request Entity Too Large</h1>"),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at REGISTRY was answered 413 Payload Too Large: 413 Request Entity Too Large.

                The registry, or a proxy or a gateway before it, takes no manifest of that size. Raise its limit, or build the image with fewer layers or annotations.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "POST",
            "/blobs/uploads/",
            Act::Header("location", String::new()),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at REGISTRY got an answer that is not a registry's: 202 Accepted without a Location to upload to.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "POST",
            "/blobs/uploads/",
            Act::AnswerWith(302, "location", elsewhere_url(), ""),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at REGISTRY was redirected to https://login.example.com/, which is not followed here.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "PUT",
            "/blobs/uploads/",
            Act::Answer(307, ""),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Upload of blob sha256:… at REGISTRY was redirected without a Location.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "PUT",
            "/manifests/",
            Act::Answer(200, "<html>Welcome to the hotel</html>"),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at REGISTRY got an answer that is not a registry's: the manifest is not there after it was accepted.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "POST",
            "/blobs/uploads/",
            Act::Answer(
                405,
                r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#,
            ),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at REGISTRY was answered 405 UNSUPPORTED: The operation is unsupported.

                REGISTRY takes no pushes. It may be a mirror, which only gives images out, or be set to read-only.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
        ),
        (
            "PUT",
            "/blobs/uploads/",
            Act::AnswerWith(503, "retry-after", "9000".into(), "maintenance"),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Upload of blob sha256:… at REGISTRY was answered 503 Service Unavailable: maintenance (asks for a wait of 9000 s before the next attempt, and attempts end after 600 s).

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]],
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

/// The tag is written, and no answer ever comes: the push looks for itself, and has
/// succeeded.
#[tokio::test]
async fn answers_that_are_lost() -> anyhow::Result<()> {
    let (fake, cloud) = elsewhere().await?;
    let layout = Layout::of("one")?;
    fake.faults("PUT", "/manifests/", Act::CutAnswer);
    let config = with(&web(layout.source()), "namespace", "ns");
    let push = pushed(&cloud, &config).await?;
    assert!(!push.state().is_null() && !push.is_tainted());
    assert!(fake.manifest("ns/team/web", "1.0.0").is_some());
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
    expect![[r#"
        Error: Cannot remove image tag

        Tag "1.0.0" of repository "NAMESPACE/team/web" could not be removed. LookupContainerImageByUri of service artifacts at HOST was answered 403 FREE_TIER_NOT_SUPPORTED: Not available for Always Free tenancies.

        Oracle serves this to paid accounts only, and the tenancy is of the kind that is free for ever. No policy changes that; upgrading the account in the console does.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
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
