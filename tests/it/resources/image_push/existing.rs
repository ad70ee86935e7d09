//! Tags that exist already, and images that are taken over.

use super::*;

/// A tag that somebody else's image has.
async fn occupied() -> anyhow::Result<(Cloud, String)> {
    let cloud = cloud().await?;
    let other = cloud.push_small("team/web", "other").await?;
    cloud.emulator.move_tag("team/web", "1.0.0", &other);
    cloud.emulator.clear_requests();
    Ok((cloud, other))
}

/// `error` never moves a tag that points elsewhere, and nothing is sent. The same
/// image is no reason to fail.
#[tokio::test]
async fn tags_are_protected() -> anyhow::Result<()> {
    let (cloud, other) = occupied().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "if_exists", "error");
    let mut push = cloud.host.resource("ocir_image_push");
    let plan = push.plan(config.clone()).await?;
    cloud.emulator.clear_requests();
    let problems = push.apply_planned(&plan).await.unwrap_err();
    let digest = text(&plan.after, "digest").to_owned();
    let neutral = cloud
        .neutral(&problems.to_string())
        .replace(&layout.source(), "SOURCE")
        .replace(&other, "THEIRS")
        .replace(&digest, "OURS");
    expect![[r#"
        Error: Cannot push image

        SOURCE could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Tag "1.0.0" of repository "NAMESPACE/team/web" at HOST points to THEIRS, and is not to be moved to OURS.

        The argument "if_exists" is "error", so that no tag is moved away from an image that was not pushed here. Nothing was pushed. Choose another tag, or set "if_exists" to "overwrite" to move the tag, or to "adopt" to accept what is there.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
          with if_exists"#]].assert_eq(&neutral);
    assert_eq!(cloud.operations(), [("HeadManifest".into(), 1)].into());
    assert!(push.state().is_null());
    assert_eq!(cloud.emulator.tags("team/web")["1.0.0"], other);

    // An additional tag is protected as well.
    let config = with(
        &with(&config, "tag", "2.0.0"),
        "additional_tags",
        json!(["1.0.0"]),
    );
    let problems = push.apply(config).await.unwrap_err().to_string();
    assert!(
        problems.contains("Tag \"1.0.0\" of repository"),
        "{problems}"
    );
    assert!(!cloud.emulator.tags("team/web").contains_key("2.0.0"));

    let same = with(&web(layout.source()), "tag", "same");
    pushed(&cloud, &same).await?;
    pushed(&cloud, &with(&same, "if_exists", "error")).await?;
    Ok(())
}

/// What we pushed ourselves may be moved, whatever a refresh has seen meanwhile; what
/// somebody else moved may not.
#[tokio::test]
async fn our_own_tags_are_not_protected() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "if_exists", "error");
    let mut push = pushed(&cloud, &config).await?;
    layout.show(&layout.image("two")?)?;
    let state = push.apply(config.clone()).await?;
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&state, "digest")
    );

    let other = cloud.push_small("team/web", "other").await?;
    cloud.emulator.move_tag("team/web", "1.0.0", &other);
    let plan = push.plan(config.clone()).await?;
    assert_eq!(text(&plan.before, "digest"), other);
    let problems = push.apply_planned(&plan).await.unwrap_err().to_string();
    assert!(problems.contains("is not to be moved to"), "{problems}");
    assert_eq!(cloud.emulator.tags("team/web")["1.0.0"], other);

    push.apply(with(&config, "if_exists", "overwrite")).await?;
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&state, "digest")
    );
    Ok(())
}

/// `adopt` accepts what is there. That is known only after the apply, stays, is
/// followed wherever it goes, and is not ours to take away.
#[tokio::test]
async fn tags_are_adopted() -> anyhow::Result<()> {
    let (cloud, other) = occupied().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "if_exists", "adopt");
    let config = with(&config, "on_destroy", "delete");
    let mut push = cloud.host.resource("ocir_image_push");
    let plan = push.plan(config.clone()).await?;
    assert_eq!(plan.after["digest"], unknown());
    cloud.emulator.clear_requests();
    push.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [("HeadManifest".into(), 1)].into());
    assert_eq!(text(&push.state(), "digest"), other);
    let neutral = cloud
        .neutral(&push.take_warnings().join("\n\n"))
        .replace(&layout.source(), "SOURCE")
        .replace(&other, "THEIRS");
    expect![[r#"
        Warning: Image was adopted

        Tag "1.0.0" of repository "NAMESPACE/team/web" points to THEIRS already, which is another image than SOURCE holds. It was accepted, as "if_exists" says, and nothing was pushed."#]].assert_eq(&neutral);
    push.expect_noop(config.clone()).await?;

    let next = cloud.push_small("team/web", "next").await?;
    cloud.emulator.move_tag("team/web", "1.0.0", &next);
    push.expect_noop(config.clone()).await?;
    assert_eq!(text(&push.state(), "digest"), next);

    // More tags point to what was adopted; those that are there are accepted.
    cloud.emulator.move_tag("team/web", "theirs", &other);
    let more = with(&config, "additional_tags", json!(["new", "theirs"]));
    push.apply(more.clone()).await?;
    let tags = cloud.emulator.tags("team/web");
    assert_eq!((&tags["new"], &tags["theirs"]), (&next, &other));
    push.expect_noop(more).await?;

    push.destroy().await?;
    let tags = cloud.emulator.tags("team/web");
    assert_eq!(tags["1.0.0"], next);
    assert_eq!(tags["theirs"], other);
    assert!(!tags.contains_key("new"), "that one was ours");
    Ok(())
}

/// Where there is nothing to adopt, the image is pushed; a later one too, since the
/// tag points to what we pushed.
#[tokio::test]
async fn nothing_to_adopt() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "if_exists", "adopt");
    let mut push = pushed(&cloud, &config).await?;
    push.expect_noop(config.clone()).await?;
    let image = layout.image("two")?;
    layout.show(&image)?;
    let plan = push.plan(config.clone()).await?;
    assert_eq!(plan.after["digest"], unknown());
    push.apply_planned(&plan).await?;
    assert_eq!(push.state()["digest"], image["digest"]);
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&image, "digest")
    );
    push.expect_noop(config.clone()).await?;

    // Somebody else moves it now: that is accepted, and so is switching over.
    let other = cloud.push_small("team/web", "other").await?;
    cloud.emulator.move_tag("team/web", "1.0.0", &other);
    push.expect_noop(config.clone()).await?;
    let plan = push.plan(with(&config, "if_exists", "overwrite")).await?;
    assert_eq!(plan.after["digest"], image["digest"]);
    push.apply_planned(&plan).await?;
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&image, "digest")
    );
    Ok(())
}

/// An image is imported by name, and taken over by the first apply without an
/// upload when the source holds the same.
#[tokio::test]
async fn imported() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let there = pushed(&cloud, &config).await?;
    let reference = text(&there.state(), "reference").to_owned();
    for id in ["team/web:1.0.0", &reference] {
        let mut push = cloud.host.resource("ocir_image_push");
        cloud.emulator.clear_requests();
        let state = push.import(id).await?;
        assert_eq!(cloud.operations(), [("HeadManifest".into(), 1)].into());
        assert_eq!(state["digest"], there.state()["digest"]);
        let plan = push.plan(config.clone()).await?;
        assert_eq!(plan.action, Action::Update);
        cloud.emulator.clear_requests();
        push.apply_planned(&plan).await?;
        assert_eq!(cloud.operations(), [].into());
        assert_eq!(push.state(), there.state());
        push.expect_noop(config.clone()).await?;
        if id == reference {
            push.destroy().await?;
            assert!(cloud.emulator.images().is_empty(), "it counts as ours");
        }
    }
    Ok(())
}

/// The source holds another image than the imported one: it is pushed, also where
/// tags are protected, since what is imported counts as ours.
#[tokio::test]
async fn imported_and_changed() -> anyhow::Result<()> {
    let (cloud, other) = occupied().await?;
    let layout = Layout::of("one")?;
    let mut push = cloud.host.resource("ocir_image_push");
    let state = push.import("team/web:1.0.0").await?;
    assert_eq!(text(&state, "digest"), other);
    let config = with(&web(layout.source()), "if_exists", "error");
    let state = push.apply(config).await?;
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&state, "digest")
    );
    Ok(())
}

/// What names no image, and what names one that is not there.
#[tokio::test]
async fn import_of_nothing() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let mut push = cloud.host.resource("ocir_image_push");
    for (id, expected) in [
        (
            "team/web",
            expect![[r#"
            Error: Invalid import identifier

            "team/web" does not say which image is meant: it has no tag. Write the repository without the namespace, and the tag, such as "motando-webapp:1.0.0"."#]],
        ),
        (
            "Team/web:1",
            expect![[r#"
            Error: Invalid import identifier

            "Team/web:1" does not say which image is meant: the repository must be in lower case, but has 'T'. Write the repository without the namespace, and the tag, such as "motando-webapp:1.0.0"."#]],
        ),
        (
            "team/web:1:",
            expect![[r#"
            Error: Invalid import identifier

            "team/web:1:" does not say which image is meant: the repository must consist of lower-case letters, digits and the characters . _ - /, but has ':'. Write the repository without the namespace, and the tag, such as "motando-webapp:1.0.0"."#]],
        ),
        (
            "team/web:1.0.0",
            expect![[r#"
            Error: Cannot import non-existent remote object

            "team/web:1.0.0" does not exist."#]],
        ),
    ] {
        let problems = push.import(id).await.unwrap_err();
        expected.assert_eq(&cloud.neutral(&problems.to_string()));
    }
    Ok(())
}

/// What was remembered is lost, and somebody moved the tag: it is theirs all the same.
#[tokio::test]
async fn nothing_is_remembered() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let pushed = pushed(&cloud, &config).await?;
    let other = cloud.push_small("team/web", "other").await?;
    cloud.emulator.move_tag("team/web", "1.0.0", &other);
    let mut push = cloud.host.resource("ocir_image_push");
    push.set_state(0, &pushed.state()).await?;
    assert_eq!(text(&push.refresh().await?, "digest"), other);
    push.destroy().await?;
    assert_eq!(cloud.emulator.tags("team/web")["1.0.0"], other);
    Ok(())
}
