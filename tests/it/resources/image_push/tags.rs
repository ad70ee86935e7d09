//! Several tags, and what becomes of those that are given up.

use super::*;

/// The push of the stories with more tags.
fn tagged(source: String, tags: &[&str]) -> Json {
    with(&web(source), "additional_tags", json!(tags))
}

fn names(cloud: &Cloud) -> Vec<String> {
    cloud.emulator.tags("team/web").into_keys().collect()
}

/// One upload, many tags: each is one manifest, and a run in which nothing changed
/// looks at each once.
#[tokio::test]
async fn one_upload_many_tags() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = tagged(layout.source(), &["1.0", "1", "1.0.0"]);
    let mut push = cloud.host.resource("ocir_image_push");
    let plan = push.plan(config.clone()).await?;
    cloud.emulator.clear_requests();
    push.apply_planned(&plan).await?;
    expect![[r#"
        {
            "GetRegistryToken": 1,
            "HeadBlob": 3,
            "HeadManifest": 3,
            "PostBlobUpload": 3,
            "PutBlobUpload": 3,
            "PutManifest": 3,
        }
    "#]]
    .assert_debug_eq(&cloud.operations());
    let digest = text(&push.state(), "digest").to_owned();
    let tags = cloud.emulator.tags("team/web");
    assert_eq!(names(&cloud), ["1", "1.0", "1.0.0"]);
    assert!(tags.values().all(|found| *found == digest));

    cloud.emulator.clear_requests();
    push.expect_noop(config).await?;
    assert_eq!(cloud.operations(), [("HeadManifest".into(), 3)].into());
    Ok(())
}

/// Tags come and go in place, with one manifest each and no blob; those that are
/// taken out follow `on_destroy`.
#[tokio::test]
async fn tags_come_and_go() -> anyhow::Result<()> {
    for (on_destroy, left) in [
        ("keep", &["1", "1.0.0", "2"][..]),
        ("untag", &["1.0.0", "2"]),
    ] {
        let cloud = cloud().await?;
        let layout = Layout::of("one")?;
        let config = with(&tagged(layout.source(), &["1"]), "on_destroy", on_destroy);
        let mut push = pushed(&cloud, &config).await?;
        let config = with(&config, "additional_tags", json!(["2"]));
        let plan = push.plan(config.clone()).await?;
        assert_eq!(plan.action, Action::Update);
        assert_eq!(plan.after["digest"], plan.before["digest"]);
        cloud.emulator.clear_requests();
        push.apply_planned(&plan).await?;
        assert_eq!(names(&cloud), left, "{on_destroy}");
        let operations = cloud.operations();
        assert_eq!(operations["PutManifest"], 1);
        assert!(
            !operations.keys().any(|name| name.contains("Blob")),
            "{operations:?}"
        );
        assert_eq!(push.take_warnings(), Vec::<String>::new());
        push.expect_noop(config.clone()).await?;

        // All of them, and none.
        let config = with(&config, "additional_tags", json!(null));
        push.apply(config.clone()).await?;
        push.expect_noop(config).await?;
        assert_eq!(
            names(&cloud).contains(&"2".to_owned()),
            on_destroy == "keep"
        );
    }
    Ok(())
}

/// Another main tag for the same image is one manifest as well.
#[tokio::test]
async fn another_main_tag() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    let plan = push
        .plan(with(&web(layout.source()), "tag", "2.0.0"))
        .await?;
    cloud.emulator.clear_requests();
    push.apply_planned(&plan).await?;
    expect![[r#"
        {
            "HeadManifest": 2,
            "PutManifest": 1,
        }
    "#]]
    .assert_debug_eq(&cloud.operations());
    Ok(())
}

/// Somebody takes an additional tag away, or moves it: a refresh notices, says
/// where it points, and the next apply puts it back with one manifest.
#[tokio::test]
async fn additional_tags_drift() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = tagged(layout.source(), &["stable", "edge"]);
    let mut push = pushed(&cloud, &config).await?;
    let ours = text(&push.state(), "digest").to_owned();
    let other = cloud.push_small("team/web", "other").await?;
    cloud.emulator.move_tag("team/web", "stable", &other);
    cloud.emulator.remove_tag("team/web", "edge");

    let plan = push.plan(config.clone()).await?;
    assert_eq!(plan.action, Action::Update);
    assert_eq!(plan.before["additional_tags"], json!([]));
    assert_eq!(plan.before["digest"], plan.after["digest"]);
    let warnings = push
        .take_warnings()
        .into_iter()
        .chain(plan.warnings.clone());
    let warnings: Vec<String> = warnings.collect();
    let neutral = cloud
        .neutral(&warnings.join("\n\n"))
        .replace(&other, "THEIRS")
        .replace(&ours, "OURS");
    expect![[r#"
        Warning: Additional tag was moved

        Tag "stable" of repository "NAMESPACE/team/web" points to THEIRS, and not to OURS any more, so it is not among the additional tags now. An apply moves it back."#]].assert_eq(&neutral);
    cloud.emulator.clear_requests();
    push.apply_planned(&plan).await?;
    expect![[r#"
        {
            "HeadManifest": 3,
            "PutManifest": 2,
        }
    "#]]
    .assert_debug_eq(&cloud.operations());
    let tags = cloud.emulator.tags("team/web");
    assert_eq!((&tags["stable"], &tags["edge"]), (&ours, &ours));
    push.expect_noop(config).await?;
    Ok(())
}

/// What a destroy leaves of several tags: all, the image without them, or nothing.
/// A tag that somebody moved is theirs, and an image that has another tag stays.
#[tokio::test]
async fn all_tags_are_given_up() -> anyhow::Result<()> {
    for (on_destroy, tags, images) in [("keep", 3, 1), ("untag", 0, 1), ("delete", 0, 0)] {
        let cloud = cloud().await?;
        let layout = Layout::of("one")?;
        let config = tagged(layout.source(), &["1", "1.0"]);
        let mut push = pushed(&cloud, &with(&config, "on_destroy", on_destroy)).await?;
        push.destroy().await?;
        assert_eq!(names(&cloud).len(), tags, "{on_destroy}");
        assert_eq!(cloud.emulator.images().len(), images, "{on_destroy}");
    }

    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(
        &tagged(layout.source(), &["1", "1.0"]),
        "on_destroy",
        "delete",
    );
    let mut push = pushed(&cloud, &config).await?;
    pushed(&cloud, &with(&web(layout.source()), "tag", "theirs")).await?;
    let other = cloud.push_small("team/web", "other").await?;
    cloud.emulator.move_tag("team/web", "1", &other);
    push.destroy().await?;
    assert_eq!(names(&cloud), ["1", "other", "theirs"]);
    assert_eq!(digests(&cloud).len(), 2);
    assert_eq!(cloud.count("DeleteContainerImage"), 0);
    Ok(())
}

/// A tag cannot be taken off: those before it are gone, the state is kept, and the
/// next destroy goes on.
#[tokio::test]
async fn half_given_up() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&tagged(layout.source(), &["1"]), "on_destroy", "untag");
    let mut push = pushed(&cloud, &config).await?;
    cloud
        .emulator
        .fail_next("RemoveContainerVersion", Fault::delay(Duration::ZERO));
    let refused = Fault::error(403, "NotAuthorized", "No policy allows this.");
    cloud.emulator.fail_next("RemoveContainerVersion", refused);
    let problems = push.destroy().await.unwrap_err().to_string();
    assert!(
        problems.contains("Tag \"1.0.0\" of repository"),
        "{problems}"
    );
    assert_eq!(names(&cloud), ["1.0.0"]);
    assert!(!push.state().is_null());
    push.destroy().await?;
    assert_eq!(names(&cloud), Vec::<String>::new());
    Ok(())
}

/// A registry that is not Oracle's: the image goes with all tags of ours, which
/// are no reason to keep it.
#[tokio::test]
async fn several_tags_elsewhere() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let host = Host::start(server()).await?;
    let registry = somebody_elses(&cloud).await?;
    host.configure(json!({ "registry": registry })).await?;
    let layout = Layout::of("one")?;
    let config = tagged(layout.source(), &["1", "1.0"]);
    let config = with(
        &config,
        "namespace",
        cloud.emulator.seed().namespace.clone(),
    );
    let mut push = host.resource("ocir_image_push");
    push.apply(with(&config, "on_destroy", "delete")).await?;
    assert_eq!(names(&cloud).len(), 3);
    push.destroy().await?;
    assert_eq!(digests(&cloud), [].into());
    assert_eq!(cloud.count("DeleteManifest"), 1);
    Ok(())
}

/// Tags that are none are refused before anybody is asked, and so is a combination
/// that does not exist.
#[tokio::test]
async fn arguments_are_checked() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let config = web("docker-archive:web.tar".into());
    for (argument, value, expected) in [
        (
            "additional_tags",
            json!(["1.0", "a b"]),
            expect![[r#"
            Error: Invalid value

            Argument "additional_tags" must hold tags: "a b" must consist of letters, digits and the characters . _ -, but has ' '.
              with additional_tags"#]],
        ),
        (
            "platforms",
            json!(["amd64"]),
            expect![[r#"
            Error: Invalid value

            Argument "platforms" must hold platforms: "amd64" is not a platform; write it like linux/amd64 or linux/arm64/v8.
              with platforms"#]],
        ),
        (
            "format",
            json!("v1"),
            expect![[r#"
            Error: Invalid value

            Argument "format" must be one of "source", "oci", "docker"; "v1" is none of them.
              with format"#]],
        ),
        (
            "compression",
            json!("xz"),
            expect![[r#"
            Error: Invalid value

            Argument "compression" must be one of "gzip", "zstd", "none"; "xz" is none of them.
              with compression"#]],
        ),
        (
            "if_exists",
            json!("skip"),
            expect![[r#"
            Error: Invalid value

            Argument "if_exists" must be one of "overwrite", "error", "adopt"; "skip" is none of them.
              with if_exists"#]],
        ),
    ] {
        let mut push = cloud.host.resource("ocir_image_push");
        let problems = push.plan(with(&config, argument, value)).await.unwrap_err();
        expected.assert_eq(&problems.to_string());
    }
    let config = with(&with(&config, "format", "docker"), "compression", "zstd");
    let mut push = cloud.host.resource("ocir_image_push");
    let problems = push.plan(config).await.unwrap_err();
    expect![[r#"
        Error: Invalid combination

        Images of Docker's schema 2 have no layers that are compressed with zstd. Set the argument "format" to "oci", or leave "compression" out.
          with compression"#]].assert_eq(&problems.to_string());
    assert!(cloud.operations().is_empty());
    Ok(())
}
