//! `ocir_image_push`.

mod existing;
mod faults;
mod refusals;
mod sources;
mod tags;
mod upload;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use expect_test::expect;
use ocir::{
    emulator::{Emulator, Fault, Permission},
    image::Digest,
};
use serde_json::{Value as Json, json};

use crate::support::{
    core::{Action, Host, Resource, unknown},
    images::{Layout, docker_archive},
    provider::{Cloud, arguments, server},
};

/// A cloud with the repository of the stories in it.
async fn cloud() -> anyhow::Result<Cloud> {
    let cloud = Cloud::start().await?;
    cloud
        .host
        .resource("ocir_repository")
        .apply(cloud.web())
        .await?;
    cloud.emulator.clear_requests();
    Ok(cloud)
}

/// The push of the stories.
fn web(source: String) -> Json {
    json!({ "source": source, "repository": "team/web", "tag": "1.0.0" })
}

/// The same with another argument.
fn with(config: &Json, argument: &str, value: impl Into<Json>) -> Json {
    let mut config = config.clone();
    config[argument] = value.into();
    config
}

/// A push that is done.
async fn pushed(cloud: &Cloud, config: &Json) -> anyhow::Result<Resource> {
    let mut push = cloud.host.resource("ocir_image_push");
    push.apply(config.clone()).await?;
    Ok(push)
}

fn text<'a>(state: &'a Json, attribute: &str) -> &'a str {
    state[attribute].as_str().unwrap_or_default()
}

/// Digests of the images that are there.
fn digests(cloud: &Cloud) -> BTreeSet<String> {
    let images = cloud.emulator.images();
    images
        .iter()
        .map(|image| text(image, "digest").to_owned())
        .collect()
}

/// A text without what is in digests, which are the tests' of the client.
fn short(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        short.push_str("sha256:…");
        short.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()));
    }
    short
}

/// The argument `registry` that takes a cloud's for somebody else's, with an auth token
/// as its login.
async fn somebody_elses(cloud: &Cloud) -> anyhow::Result<Json> {
    let mut token = cloud.host.resource("oci_auth_token");
    let token = token.apply(json!({ "description": "push" })).await?;
    Ok(json!({
        "host": cloud.emulator.authority(),
        "username": token["username"],
        "password": token["token"],
        "plain_http": true,
    }))
}

/// What Docker saves, in its form of today and in that before version 25, is the
/// same image: its digest is known while planning, and the registry has it.
#[tokio::test]
async fn docker_archives() -> anyhow::Result<()> {
    let mut digests = BTreeSet::new();
    for old in [false, true] {
        let cloud = cloud().await?;
        let (_directory, source) = docker_archive(old)?;
        let mut push = cloud.host.resource("ocir_image_push");
        let plan = push.plan(web(source.clone())).await?;
        let planned = plan.after.clone();
        assert!(
            !planned.to_string().contains("known after apply"),
            "{planned}"
        );
        push.apply_planned(&plan).await?;
        assert_eq!(push.state(), planned);

        let digest = text(&planned, "digest").to_owned();
        assert_eq!(cloud.emulator.tags("team/web")["1.0.0"], digest);
        let image = &cloud.emulator.images()[0];
        assert_eq!(
            image["layers"].as_array().map(Vec::len),
            planned["layers"].as_array().map(Vec::len)
        );
        push.expect_noop(web(source)).await?;
        digests.insert(digest);
    }
    assert_eq!(digests.len(), 1);
    Ok(())
}

/// An image of a layout is pushed as it is, down to its digest; the references
/// name it. A refresh is one request, and a plan that changes nothing needs no other.
#[tokio::test]
async fn a_layout() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::new()?;
    let image = layout.image("one")?;
    layout.show(&image)?;
    let push = pushed(&cloud, &web(layout.source())).await?;
    let state = push.state();
    let namespace = &cloud.emulator.seed().namespace;
    let path = format!("{}/{namespace}/team/web", cloud.emulator.authority());
    assert_eq!(state["digest"], image["digest"]);
    assert_eq!(state["media_type"], image["mediaType"]);
    assert_eq!(state["reference"], json!(format!("{path}:1.0.0")));
    assert_eq!(
        state["digest_reference"],
        json!(format!("{path}@{}", text(&state, "digest")))
    );
    assert_eq!(state["layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(cloud.repository("team/web")["imageCount"], json!(1));

    let mut push = push;
    cloud.emulator.clear_requests();
    push.expect_noop(web(layout.source())).await?;
    assert_eq!(cloud.operations(), [("HeadManifest".into(), 1)].into());
    Ok(())
}

/// Without a tag it is `latest`, and a warning recommends another.
#[tokio::test]
async fn no_tag() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = json!({ "source": layout.source(), "repository": "team/web" });
    let mut push = cloud.host.resource("ocir_image_push");
    let plan = push.plan(config).await?;
    expect![[r#"
        Warning: Image is pushed as "latest"

        Argument "tag" is left out, so the tag is "latest", which says nothing about what is in the image. Set it to a version, such as "1.0.0".
          with tag"#]].assert_eq(&plan.warnings.join("\n\n"));
    push.apply_planned(&plan).await?;
    assert!(cloud.emulator.tags("team/web").contains_key("latest"));
    Ok(())
}

/// Another image is pushed under the same tag, in place: what both have in
/// common is not sent again.
#[tokio::test]
async fn another_image() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    let before = push.state();

    layout.show(&layout.image("two")?)?;
    let plan = push.plan(web(layout.source())).await?;
    assert_eq!(plan.action, Action::Update);
    assert_eq!(plan.before["digest"], before["digest"]);
    cloud.emulator.clear_requests();
    push.apply_planned(&plan).await?;
    expect![[r#"
        {
            "HeadBlob": 1,
            "HeadManifest": 1,
            "PostBlobUpload": 1,
            "PutBlobUpload": 1,
            "PutManifest": 1,
        }
    "#]]
    .assert_debug_eq(&cloud.operations());
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&plan.after, "digest")
    );
    push.expect_noop(web(layout.source())).await?;
    Ok(())
}

/// Another tag moves in place. What becomes of the old one, `on_destroy` says.
#[tokio::test]
async fn another_tag() -> anyhow::Result<()> {
    for (on_destroy, tags) in [
        ("keep", &["1.0.0", "1.1.0"][..]),
        ("untag", &["1.1.0"]),
        ("delete", &["1.1.0"]),
    ] {
        let cloud = cloud().await?;
        let layout = Layout::of("one")?;
        let config = with(&web(layout.source()), "on_destroy", on_destroy);
        let mut push = pushed(&cloud, &config).await?;

        let config = with(&config, "tag", "1.1.0");
        let plan = push.plan(config.clone()).await?;
        assert_eq!(plan.action, Action::Update);
        push.apply_planned(&plan).await?;
        let found = cloud.emulator.tags("team/web");
        assert_eq!(found.keys().collect::<Vec<_>>(), tags, "{on_destroy}");
        assert_eq!(found["1.1.0"], text(&push.state(), "digest"));
        push.expect_noop(config).await?;
    }
    Ok(())
}

/// Another tag and another image at once: the old image is what `on_destroy` is about.
#[tokio::test]
async fn another_tag_and_image() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;

    layout.show(&layout.image("two")?)?;
    let state = push.apply(with(&config, "tag", "1.1.0")).await?;
    assert_eq!(digests(&cloud), [text(&state, "digest").to_owned()].into());
    Ok(())
}

/// A tag that is moved between the look at it and its removal is somebody
/// else's: neither it nor the other image is touched.
#[tokio::test]
async fn moved_while_destroyed() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;
    let other = cloud.push_small("team/web", "other").await?;
    cloud.emulator.fail_always(
        "LookupContainerImageByUri",
        Fault::delay(Duration::from_millis(1000)),
    );

    let destroy = push.destroy();
    let moved = async {
        while cloud.count("HeadManifest") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        cloud.emulator.move_tag("team/web", "1.0.0", &other);
    };
    cloud.emulator.clear_requests();
    let (destroyed, ()) = tokio::join!(destroy, moved);
    destroyed?;
    assert_eq!(cloud.emulator.tags("team/web")["1.0.0"], other);
    Ok(())
}

/// The old tag cannot be taken away: the push stands, and a warning says what is left over.
#[tokio::test]
async fn old_tag_left_over() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "untag");
    let mut push = pushed(&cloud, &config).await?;

    let refused = Fault::error(403, "NotAuthorized", "No policy allows this.");
    cloud
        .emulator
        .fail_always("RemoveContainerVersion", refused);
    let state = push.apply(with(&config, "tag", "1.1.0")).await?;

    assert_eq!(text(&state, "tag"), "1.1.0");
    assert!(!push.is_tainted());
    expect![[r#"
        Warning: Old image tag is left over

        The image is where it should be. Tag "1.0.0" was given up, and may still point to the one before; take it away by hand.

        Tag "1.0.0" of repository "NAMESPACE/team/web" could not be removed. RemoveContainerVersion of service artifacts at HOST was answered 403 NotAuthorized: No policy allows this.

        The right to do that is missing. A policy gives it, for example:
            Allow group GROUP to manage repos in compartment id COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&push.take_warnings().join("\n\n")));
    assert_eq!(cloud.emulator.tags("team/web").len(), 2);
    Ok(())
}

/// Somebody moved the tag: the plan shows both digests, and the apply moves it
/// back without sending the image again.
#[tokio::test]
async fn moved_behind_our_back() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    let ours = text(&push.state(), "digest").to_owned();
    let other = cloud.push_small("team/web", "other").await?;
    cloud.emulator.move_tag("team/web", "1.0.0", &other);

    let plan = push.plan(web(layout.source())).await?;
    assert_eq!(plan.action, Action::Update);
    assert_eq!(text(&plan.before, "digest"), other);
    assert_eq!(text(&plan.after, "digest"), ours);
    cloud.emulator.clear_requests();
    push.apply_planned(&plan).await?;
    assert_eq!(cloud.emulator.tags("team/web")["1.0.0"], ours);
    assert_eq!(cloud.count("PostBlobUpload"), 0);
    push.expect_noop(web(layout.source())).await?;
    Ok(())
}

/// Somebody moved the tag: their image is not ours to delete.
#[tokio::test]
async fn moved_and_destroyed() -> anyhow::Result<()> {
    for on_destroy in ["untag", "delete"] {
        let cloud = cloud().await?;
        let layout = Layout::of("one")?;
        let config = with(&web(layout.source()), "on_destroy", on_destroy);
        let mut push = pushed(&cloud, &config).await?;
        let other = cloud.push_small("team/web", "other").await?;
        cloud.emulator.move_tag("team/web", "1.0.0", &other);

        push.destroy().await?;
        assert_eq!(cloud.emulator.tags("team/web")["1.0.0"], other);
        assert!(digests(&cloud).contains(&other));
    }
    Ok(())
}

/// The tag vanished, and the repository can be read: it is made again.
#[tokio::test]
async fn vanished_tag() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    cloud.emulator.remove_tag("team/web", "1.0.0");

    let plan = push.plan(web(layout.source())).await?;
    assert_eq!(plan.action, Action::Create);
    push.apply_planned(&plan).await?;
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&push.state(), "digest")
    );
    Ok(())
}

/// The repository was deleted with everything in it: both are made again, and
/// what we remember of its blobs does no harm.
#[tokio::test]
async fn vanished_repository() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let layout = Layout::of("one")?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    cloud.emulator.remove_repository("team/web");

    let plans = (
        repository.plan(cloud.web()).await?,
        push.plan(web(layout.source())).await?,
    );
    assert_eq!(
        (plans.0.action, plans.1.action),
        (Action::Create, Action::Create)
    );
    repository.apply_planned(&plans.0).await?;
    push.apply_planned(&plans.1).await?;
    assert_eq!(cloud.repository("team/web")["imageCount"], json!(1));
    push.expect_noop(web(layout.source())).await?;
    Ok(())
}

/// Who lost the right to read is told that there is nothing. That is an error,
/// at a refresh as at a destroy, and the state is kept.
#[tokio::test]
async fn lost_permission() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;
    let state = push.state();
    for operation in ["HeadManifest", "ListTags"] {
        let denied = Fault::error(404, "NAME_UNKNOWN", "repository not found");
        cloud.emulator.fail_always(operation, denied);
    }
    let problems = push.plan(config.clone()).await.unwrap_err();
    expect![[r#"
        Error: Cannot read image

        Whether tag "1.0.0" of repository "NAMESPACE/team/web" is gone could not be found out: the repository exists in compartment COMPARTMENT, and HOST answers as if it did not. The state is kept. The right to read it may have been lost. A policy gives it back, for example:
            Allow group GROUP to read repos in compartment id COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    let destroy = push.plan_destroy();
    let again = push.apply_planned(&destroy).await.unwrap_err();
    assert_eq!(
        again
            .to_string()
            .replace("Cannot remove image tag", "Cannot read image"),
        problems.to_string()
    );
    assert_eq!(push.state(), state);

    cloud.emulator.clear_faults();
    push.expect_noop(config).await?;

    // What another tenancy holds cannot be told by our control plane.
    push.set_state(0, &with(&state, "namespace", "elsewhere"))
        .await?;
    let problems = push.refresh().await.unwrap_err().to_string();
    assert!(
        problems.contains("could not be found out: whether the repository exists is not known"),
        "{problems}"
    );
    Ok(())
}

/// A policy was taken away: neither the registry nor the control plane shows the
/// image, and it stays in the state, whether it may still be listed or not.
#[tokio::test]
async fn withdrawn_permission() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;
    let state = push.state();

    cloud.emulator.withdraw(Permission::RepositoryRead);
    let problems = push.refresh().await.unwrap_err().to_string();
    assert!(
        problems.contains("the repository exists in compartment"),
        "{problems}"
    );
    cloud.emulator.withdraw(Permission::RepositoryInspect);
    let problems = push.refresh().await.unwrap_err();
    expect![[r#"
        Error: Cannot read image

        Whether tag "1.0.0" of repository "NAMESPACE/team/web" is gone could not be found out. ListContainerRepositories of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to inspect repos in tenancy

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    let destroy = push.plan_destroy();
    push.apply_planned(&destroy).await.unwrap_err();
    assert_eq!(push.state(), state);
    assert_eq!(cloud.emulator.images().len(), 1);

    cloud.emulator.grant(Permission::RepositoryRead);
    cloud.emulator.grant(Permission::RepositoryInspect);
    push.expect_noop(config).await?;
    Ok(())
}

/// The right to change images was lost, and pulling is still allowed: a destroy
/// takes nothing away, says so, and keeps the state.
#[tokio::test]
async fn the_right_to_remove_is_lost() -> anyhow::Result<()> {
    for (on_destroy, permission) in [
        ("untag", Permission::RepositoryUpdate),
        ("delete", Permission::RepositoryManage),
    ] {
        let cloud = cloud().await?;
        let layout = Layout::of("one")?;
        let config = with(&web(layout.source()), "on_destroy", on_destroy);
        let mut push = pushed(&cloud, &config).await?;
        let state = push.state();

        cloud.emulator.withdraw(permission);
        let problems = push.destroy().await.unwrap_err();
        if on_destroy == "delete" {
            expect![[r#"
                Error: Cannot remove image tag

                Tag "1.0.0" of repository "NAMESPACE/team/web" could not be removed. DeleteContainerImage of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

                The image exists: HOST has it under this tag, so it stays in the state. The right to do this was lost. A policy gives it back, for example:
                    Allow group GROUP to manage repos in compartment id COMPARTMENT

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
        }
        assert_eq!(push.state(), state);
        assert_eq!(
            cloud.emulator.tags("team/web")["1.0.0"],
            text(&state, "digest")
        );

        // Taken away by somebody else while we may not: that is proven.
        cloud.emulator.remove_tag("team/web", "1.0.0");
        push.destroy().await?;
        assert!(push.state().is_null());
    }
    Ok(())
}

/// Between the look at the tag and its removal somebody takes it away: the 404
/// that follows is success, once the tags say so.
#[tokio::test]
async fn taken_away_while_destroyed() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "untag");
    let mut push = pushed(&cloud, &config).await?;
    cloud.emulator.fail_always(
        "LookupContainerImageByUri",
        Fault::delay(Duration::from_millis(500)),
    );
    cloud.emulator.clear_requests();
    let destroy = push.destroy();
    let taken = async {
        while cloud.count("HeadManifest") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        cloud.emulator.remove_tag("team/web", "1.0.0");
    };
    let (destroyed, ()) = tokio::join!(destroy, taken);
    destroyed?;
    assert!(push.state().is_null());
    assert_eq!(cloud.count("ListTags"), 1);
    Ok(())
}

/// A source that comes from another resource: nothing is known yet, and nobody is asked.
#[tokio::test]
async fn source_is_not_known_yet() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let mut push = cloud.host.resource("ocir_image_push");
    let config = with(&web(String::new()), "source", unknown());
    let plan = push.plan(config).await?;
    for attribute in ["digest", "digest_reference", "layers", "size_bytes"] {
        assert_eq!(plan.after[attribute], unknown(), "{attribute}");
    }
    assert_ne!(plan.after["reference"], unknown());
    Ok(())
}

/// A file that is not there may be made during the apply, so a plan warns; when
/// it is still missing then, the apply fails.
#[tokio::test]
async fn source_does_not_exist_yet() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::new()?;
    let image = layout.image("one")?;
    let source = layout.source();
    let later = format!("{source}-later");
    let mut push = cloud.host.resource("ocir_image_push");
    let plan = push.plan(web(later.clone())).await?;
    let neutral = |text: &str| {
        text.replace(&source, "oci:DIRECTORY")
            .replace(&source[4..], "DIRECTORY")
    };
    assert_eq!(plan.after["digest"], unknown());
    expect![[r#"
        Warning: Image source does not exist yet

        Cannot read "DIRECTORY-later": No such file or directory (os error 2). It may be made during the apply; until then the digest is not known. If it is mistyped, the apply will fail.
          with source"#]].assert_eq(&neutral(&plan.warnings.join("\n\n")));

    let problems = push.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot read image source

        Cannot read "DIRECTORY-later": No such file or directory (os error 2).
          with source"#]]
    .assert_eq(&neutral(&problems.to_string()));
    assert!(push.state().is_null());

    layout.show(&image)?;
    std::os::unix::fs::symlink(&source[4..], &later[4..])?;
    push.apply_planned(&plan).await?;
    assert_eq!(push.state()["digest"], image["digest"]);
    std::fs::remove_file(&later[4..])?;
    Ok(())
}

/// The source changed between plan and apply: nothing is pushed.
#[tokio::test]
async fn source_changed_since_the_plan() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let mut push = cloud.host.resource("ocir_image_push");
    let plan = push.plan(web(layout.source())).await?;
    layout.show(&layout.image("two")?)?;
    cloud.emulator.clear_requests();

    let problems = push.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Image source changed

        The plan promised sha256:54453efd798f8f317df335fcbced36f8c8ac119556f12b00e9961383b6d92e10, and SOURCE now holds sha256:3ac4d2dee116c785b3cbaf9e0fd713d76822ae6baa38851e620995330caede53. Nothing was pushed. Plan again.
          with source"#]].assert_eq(&problems.to_string().replace(&layout.source(), "SOURCE"));
    assert_eq!(cloud.operations(), [].into());
    assert!(push.state().is_null());
    Ok(())
}

/// The same image from another place is an update that sends nothing.
#[tokio::test]
async fn the_same_image_elsewhere() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let (here, there) = (Layout::of("one")?, Layout::of("one")?);
    let mut push = pushed(&cloud, &web(here.source())).await?;
    let plan = push.plan(web(there.source())).await?;
    assert_eq!(plan.action, Action::Update);
    assert_eq!(plan.after["digest"], plan.before["digest"]);
    cloud.emulator.clear_requests();
    push.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [].into());
    push.expect_noop(web(there.source())).await?;
    Ok(())
}

/// Another repository is another push.
#[tokio::test]
async fn another_repository_is_a_replacement() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    let plan = push
        .plan(with(&web(layout.source()), "repository", "team/api"))
        .await?;
    assert_eq!(plan.action, Action::Replace);
    assert_eq!(plan.replace, ["repository"]);
    Ok(())
}

/// What a destroy leaves: the tag, the image without the tag, or nothing.
#[tokio::test]
async fn destroyed() -> anyhow::Result<()> {
    for (on_destroy, tags, images) in [("keep", 1, 1), ("untag", 0, 1), ("delete", 0, 0)] {
        let cloud = cloud().await?;
        let layout = Layout::of("one")?;
        let config = with(&web(layout.source()), "on_destroy", on_destroy);
        let mut push = pushed(&cloud, &config).await?;
        push.destroy().await?;
        assert_eq!(cloud.emulator.tags("team/web").len(), tags, "{on_destroy}");
        assert_eq!(cloud.emulator.images().len(), images, "{on_destroy}");
    }
    Ok(())
}

/// An image that another tag points to stays, whatever becomes of ours.
#[tokio::test]
async fn destroyed_with_another_tag() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;
    pushed(&cloud, &with(&config, "tag", "stable")).await?;
    push.destroy().await?;
    let tags = cloud.emulator.tags("team/web");
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["stable"]);
    assert_eq!(cloud.emulator.images().len(), 1);
    Ok(())
}

/// Gone before the destroy is as good as destroyed.
#[tokio::test]
async fn already_gone() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;
    let plan = push.plan_destroy();
    cloud.emulator.remove_repository("team/web");
    push.apply_planned(&plan).await?;
    assert!(push.state().is_null());
    Ok(())
}

/// An index goes with its images, and its destroy leaves nothing behind, so that
/// the repository can be destroyed after it.
#[tokio::test]
async fn an_index() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let layout = Layout::new()?;
    let index = layout.index(&[&layout.image("amd64")?, &layout.image("arm64")?])?;
    layout.show(&index)?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;
    let state = push.state();
    assert_eq!(state["digest"], index["digest"]);
    assert_eq!(state["layers"], Json::Null);
    assert_eq!(state["image_id"], Json::Null);
    assert_eq!(cloud.emulator.images().len(), 3);

    push.destroy().await?;
    assert_eq!(digests(&cloud), [].into());
    repository.destroy().await?;
    Ok(())
}

/// An image that another index names too stays, and so does one with a tag of
/// its own; those of an index inside the index go.
#[tokio::test]
async fn an_index_among_others() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::new()?;
    let (shared, tagged) = (layout.image("shared")?, layout.image("tagged")?);
    let (alone, inner) = (layout.image("alone")?, layout.image("inner")?);
    let nested = layout.index(&[&inner])?;
    let other = layout.index(&[&shared])?;
    let config = with(&web(layout.source()), "on_destroy", "delete");

    layout.show(&other)?;
    pushed(&cloud, &with(&config, "tag", "other")).await?;
    layout.show(&tagged)?;
    pushed(&cloud, &with(&config, "tag", "tagged")).await?;
    layout.show(&layout.index(&[&shared, &tagged, &alone, &nested])?)?;
    let mut push = pushed(&cloud, &config).await?;
    assert_eq!(digests(&cloud).len(), 7);

    push.destroy().await?;
    let left = [&other, &shared, &tagged].map(|image| text(image, "digest").to_owned());
    assert_eq!(digests(&cloud), left.into());
    Ok(())
}

/// The index is deleted and its images cannot be: that is a warning, since there
/// is nothing left that a second destroy would find.
#[tokio::test]
async fn images_of_an_index_stay() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::new()?;
    layout.show(&layout.index(&[&layout.image("amd64")?])?)?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;
    let digest = text(&push.state(), "digest").to_owned();

    cloud.emulator.fail_next(
        "ListContainerImages",
        Fault::error(403, "NotAuthorized", "no"),
    );
    push.destroy().await?;
    let warnings = push.take_warnings().join("\n\n").replace(&digest, "DIGEST");
    expect![[r#"
        Warning: Images of an index are kept

        The index DIGEST that tag "1.0.0" of repository "NAMESPACE/team/web" pointed to was deleted, and images that it named may be left in the repository, without a tag: ListContainerImages answered 403 NotAuthorized: no."#]].assert_eq(&cloud.neutral(&warnings));
    assert_eq!(cloud.emulator.images().len(), 1);
    Ok(())
}

/// A 404 for an image of a deleted index that is still listed is no success: it is
/// left over, and the warning says so.
#[tokio::test]
async fn images_of_an_index_may_not_be_deleted() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::new()?;
    layout.show(&layout.index(&[&layout.image("amd64")?])?)?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let mut push = pushed(&cloud, &config).await?;

    let index = Fault::delay(Duration::ZERO);
    let refused = Fault::error(404, "NotAuthorizedOrNotFound", "no");
    cloud.emulator.fail_next("DeleteContainerImage", index);
    cloud.emulator.fail_next("DeleteContainerImage", refused);
    push.destroy().await?;
    let warnings = push.take_warnings().join("\n\n");
    assert!(
        warnings.contains("DeleteContainerImage answered 404 NotAuthorizedOrNotFound: no"),
        "{warnings}"
    );
    assert_eq!(cloud.emulator.images().len(), 1);
    Ok(())
}

/// Two repositories get the same image at the same time: each blob is sent once,
/// and the other repository takes it over.
#[tokio::test]
async fn shared_layers() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let mut config = cloud.web();
    config["display_name"] = json!("team/api");
    cloud.host.resource("ocir_repository").apply(config).await?;
    let layout = Layout::of("one")?;
    let config = web(layout.source());
    let mut first = cloud.host.resource("ocir_image_push");
    let mut second = cloud.host.resource("ocir_image_push");
    let plans = (
        first.plan(config.clone()).await?,
        second.plan(with(&config, "repository", "team/api")).await?,
    );
    cloud.emulator.clear_requests();
    let (one, two) = tokio::join!(
        first.apply_planned(&plans.0),
        second.apply_planned(&plans.1)
    );
    one?;
    two?;
    let requests = cloud.emulator.requests();
    let sent = requests.iter().filter(|request| request.body_bytes > 0);
    let sent = sent
        .filter(|request| request.operation.contains("Blob"))
        .count();
    let mounted = requests
        .iter()
        .filter(|request| request.path.contains("mount="));
    assert_eq!((sent, mounted.count()), (3, 3));
    assert_eq!(digests(&cloud).len(), 1);
    assert_eq!(cloud.emulator.images().len(), 2);
    Ok(())
}

/// An image that is already there, pushed by somebody else, takes a few requests.
#[tokio::test]
async fn nothing_to_send() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    pushed(&cloud, &web(layout.source())).await?;

    let host = Host::start(server()).await?;
    host.configure(arguments(&cloud.emulator)).await?;
    cloud.emulator.clear_requests();
    let mut again = host.resource("ocir_image_push");
    let plan = again.plan(web(layout.source())).await?;
    again.apply_planned(&plan).await?;
    expect![[r#"
        {
            "GetNamespace": 1,
            "GetRegistryToken": 1,
            "HeadManifest": 1,
        }
    "#]]
    .assert_debug_eq(&cloud.operations());
    Ok(())
}

/// A stop during a slow push ends it within a second; the tag and the state are
/// as before, and the next apply finishes.
#[tokio::test]
async fn stopped() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    let before = push.state();
    layout.show(&layout.image("two")?)?;
    let plan = push.plan(web(layout.source())).await?;

    for operation in ["PostBlobUpload", "PatchBlobUpload", "PutBlobUpload"] {
        let slow = Fault::delay(Duration::from_secs(60));
        cloud.emulator.fail_always(operation, slow);
    }
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let at = Instant::now();
        cloud.host.stop().await.map(|()| at)
    };
    let (applied, stopped) = tokio::join!(push.apply_planned(&plan), stop);
    assert!(stopped?.elapsed() < Duration::from_secs(1));
    expect![[r#"
        Error: Cannot push image

        SOURCE could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0": the run was interrupted."#]].assert_eq(
        &cloud
            .neutral(&applied.unwrap_err().to_string())
            .replace(&layout.source(), "SOURCE"),
    );
    assert_eq!(push.state(), before);
    let tags = cloud.emulator.tags("team/web");
    assert_eq!(tags["1.0.0"], text(&before, "digest"));

    // A provider that was stopped is not used again.
    cloud.emulator.clear_faults();
    let host = Host::start(server()).await?;
    host.configure(arguments(&cloud.emulator)).await?;
    let mut next = host.resource("ocir_image_push");
    next.set_state(0, &before).await?;
    let state = next.apply(web(layout.source())).await?;
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&state, "digest")
    );
    Ok(())
}

/// With the namespace in the configuration nobody is asked for it.
#[tokio::test]
async fn namespace_is_configured() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let made = Cloud::with(emulator).await?;
    made.host
        .resource("ocir_repository")
        .apply(made.web())
        .await?;
    let host = Host::start(server()).await?;
    host.configure(arguments(&made.emulator)).await?;
    made.emulator.clear_requests();

    let layout = Layout::of("one")?;
    let namespace = made.emulator.seed().namespace.clone();
    let config = with(&web(layout.source()), "namespace", namespace.clone());
    let state = host.resource("ocir_image_push").apply(config).await?;
    assert_eq!(state["namespace"], json!(namespace));
    assert_eq!(made.count("GetNamespace"), 0);

    let other = with(&web(layout.source()), "namespace", "elsewhere");
    let mut push = host.resource("ocir_image_push");
    let plan = push.plan(other).await?;
    let problems = push.apply_planned(&plan).await.unwrap_err();
    assert!(
        problems.to_string().contains("\"elsewhere/team/web\""),
        "{problems}"
    );
    Ok(())
}

/// Somebody else's registry has no API for single tags: an image goes with the
/// manifest, unless another tag points to it.
#[tokio::test]
async fn destroyed_elsewhere() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let host = Host::start(server()).await?;
    let registry = somebody_elses(&cloud).await?;
    host.configure(json!({ "registry": registry })).await?;
    let layout = Layout::of("one")?;
    let namespace = cloud.emulator.seed().namespace.clone();
    let config = with(&web(layout.source()), "namespace", namespace);
    let config = with(&config, "on_destroy", "delete");
    let mut first = host.resource("ocir_image_push");
    first.apply(config.clone()).await?;
    let mut second = host.resource("ocir_image_push");
    second.apply(with(&config, "tag", "stable")).await?;

    first.destroy().await?;
    expect![[r#"
        Warning: Image is kept

        Tag "stable" of repository "NAMESPACE/team/web" points to the same image, so neither it nor tag "1.0.0" was deleted."#]].assert_eq(&cloud.neutral(&first.take_warnings().join("\n\n")));
    assert_eq!(cloud.emulator.tags("team/web").len(), 2);
    cloud.emulator.remove_tag("team/web", "1.0.0");
    second.destroy().await?;
    assert_eq!(digests(&cloud), [].into());
    Ok(())
}

/// An auth token signs in to the registry in place of the provider's identity;
/// so it does where there is no identity of Oracle's at all.
#[tokio::test]
async fn signed_in_with_an_auth_token() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let registry = somebody_elses(&cloud).await?;
    let layout = Layout::of("one")?;

    let mut config = arguments(&cloud.emulator);
    config["registry"] = registry.clone();
    let beside = Host::start(server()).await?;
    beside.configure(config.clone()).await?;
    let state = beside
        .resource("ocir_image_push")
        .apply(web(layout.source()))
        .await?;
    assert_eq!(
        cloud.emulator.tags("team/web")["1.0.0"],
        text(&state, "digest")
    );

    let alone = Host::start(server()).await?;
    alone.configure(json!({ "registry": registry })).await?;
    let namespace = cloud.emulator.seed().namespace.clone();
    let elsewhere = with(&web(layout.source()), "namespace", namespace);
    let elsewhere = with(&with(&elsewhere, "tag", "2.0.0"), "on_destroy", "untag");
    let mut push = alone.resource("ocir_image_push");
    push.apply(elsewhere).await?;
    push.destroy().await?;
    expect![[r#"
        Warning: Tag is kept

        HOST is not Oracle's registry, and the distribution API cannot take one tag off an image without deleting it, so tag "2.0.0" of repository "NAMESPACE/team/web" was left alone."#]].assert_eq(&cloud.neutral(&push.take_warnings().join("\n\n")));
    assert!(cloud.emulator.tags("team/web").contains_key("2.0.0"));

    let wrong = Host::start(server()).await?;
    config["registry"]["password"] = json!("wr0ng-secret");
    wrong.configure(config).await?;
    let mut push = wrong.resource("ocir_image_push");
    let plan = push.plan(web(layout.source())).await?;
    let problems = push.apply_planned(&plan).await.unwrap_err().to_string();
    assert!(!problems.contains("wr0ng-secret"), "{problems}");
    assert!(
        problems.contains("does not accept the user name and password"),
        "{problems}"
    );
    Ok(())
}
