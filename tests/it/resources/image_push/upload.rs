//! Uploads as the registry sees them.

use super::*;

/// Five resources need the same image, each in its repository: every blob is sent
/// once and mounted four times.
#[tokio::test]
async fn five_repositories() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let mut pushes = Vec::new();
    for number in 0..5 {
        let name = format!("team/app-{number}");
        let mut config = cloud.web();
        config["display_name"] = json!(name);
        cloud.host.resource("ocir_repository").apply(config).await?;
        let mut push = cloud.host.resource("ocir_image_push");
        let config = with(&web(layout.source()), "repository", name);
        let plan = push.plan(config).await?;
        pushes.push((push, plan));
    }
    cloud.emulator.clear_requests();
    let applies = pushes
        .iter_mut()
        .map(|(push, plan)| push.apply_planned(plan));
    futures_util::future::try_join_all(applies).await?;
    let requests = cloud.emulator.requests();
    let uploads = requests
        .iter()
        .filter(|request| request.operation == "PutBlobUpload");
    let mounts = requests
        .iter()
        .filter(|request| request.path.contains("mount=") && request.status == 201);
    assert_eq!((uploads.count(), mounts.count()), (3, 12));
    Ok(())
}

/// The state is about another registry than the one that is configured now, and
/// nobody looked: the image is pushed there.
#[tokio::test]
async fn another_registry_without_a_refresh() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "on_destroy", "delete");
    let push = pushed(&cloud, &config).await?;

    let elsewhere = self::cloud().await?;
    let namespace = cloud.emulator.seed().namespace.clone();
    assert_eq!(namespace, elsewhere.emulator.seed().namespace);
    let mut moved = elsewhere.host.resource("ocir_image_push");
    moved.set_state(0, &push.state()).await?;
    let plan = moved.plan_without_refresh(config.clone()).await?;
    assert_eq!(plan.action, Action::Update);
    moved.apply_planned(&plan).await?;
    assert_eq!(
        elsewhere.emulator.tags("team/web")["1.0.0"],
        text(&push.state(), "digest")
    );
    assert_eq!(elsewhere.emulator.images().len(), 1);
    assert_eq!(cloud.emulator.images().len(), 1);
    moved.expect_noop(config).await?;
    Ok(())
}

/// A push has the time that it is given, and says how it gets more.
#[tokio::test]
async fn the_time_is_over() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    cloud
        .emulator
        .fail_always("PutBlobUpload", Fault::delay(Duration::from_secs(60)));
    let config = with(&web(layout.source()), "timeouts", json!({ "create": "1s" }));
    let mut push = cloud.host.resource("ocir_image_push");
    let problems = push.apply(config.clone()).await.unwrap_err();
    expect![[r#"
        Error: Cannot push image

        SOURCE could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0": there was no time left.

        It took longer than 1s, the time that a create has. To give it more, set:

            timeouts {
              create = "2s"
            }"#]].assert_eq(
        &cloud
            .neutral(&problems.to_string())
            .replace(&layout.source(), "SOURCE"),
    );
    assert!(push.state().is_null());
    cloud.emulator.clear_faults();
    push.apply(config.clone()).await?;

    // Another limit is an update that sends nothing.
    let config = with(&config, "timeouts", json!({ "create": "2s" }));
    let plan = push.plan(config).await?;
    assert_eq!(plan.action, Action::Update);
    cloud.emulator.clear_requests();
    push.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [].into());
    Ok(())
}

/// A file that was exchanged for another of the same size, with the same times, in
/// a layout: the plan goes by its name, the registry finds out, and the error
/// says which file it is.
#[tokio::test]
async fn the_registry_verifies() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let shared = layout.blob("", b"shared")?;
    let file = text(&shared, "digest")
        .trim_start_matches("sha256:")
        .to_owned();
    std::fs::write(layout.path().join("blobs/sha256").join(file), b"SHARED")?;
    let mut push = cloud.host.resource("ocir_image_push");
    let plan = push.plan(web(layout.source())).await?;
    let problems = push.apply_planned(&plan).await.unwrap_err();
    let directory = layout.path().display().to_string();
    expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". "LAYOUT/blobs/sha256/a4d26868017c0ccffe2efe50944ef4211834660cca834c6e9f86dec6a88246fa" is corrupt: it should have the digest sha256:a4d26868017c0ccffe2efe50944ef4211834660cca834c6e9f86dec6a88246fa, and has sha256:0e1d1edc14ed3bf8189fba45c65a3775f9add9f5cffb0ea795bcb2c8f7ad4348.

        The source is damaged, or was still being written. Make it again, and let that end before the run begins.
          with source"#]].assert_eq(
        &cloud
            .neutral(&problems.to_string())
            .replace(&directory, "LAYOUT"),
    );
    assert!(push.state().is_null());
    assert!(cloud.emulator.tags("team/web").is_empty());
    Ok(())
}

/// The token is enough for a run in which nothing changed: it and one look at each tag.
#[tokio::test]
async fn another_process_looks_once() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let config = with(&web(layout.source()), "additional_tags", json!(["1"]));
    let push = pushed(&cloud, &config).await?;
    let host = Host::start(server()).await?;
    host.configure(arguments(&cloud.emulator)).await?;
    let mut again = host.resource("ocir_image_push");
    again.take_over(&push);
    cloud.emulator.clear_requests();
    again.expect_noop(config).await?;
    expect![[r#"
        {
            "GetRegistryToken": 1,
            "HeadManifest": 2,
        }
    "#]]
    .assert_debug_eq(&cloud.operations());
    Ok(())
}

/// Fifty images that share their base, in one run: each blob is sent once, whichever
/// of them sends it, and over all of them never more than four are on their way, which is
/// what the provider does at once when nobody says otherwise.
#[tokio::test]
async fn fifty_images_of_one_base() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let base = vec![7; 400_000];
    let mut pushes = Vec::new();
    let mut layouts = Vec::new();
    for number in 0..50 {
        let layout = Layout::new()?;
        let own = format!("application {number}");
        layout.show(&layout.image_of(&[&base, own.as_bytes()])?)?;
        let mut push = cloud.host.resource("ocir_image_push");
        let config = with(&web(layout.source()), "tag", format!("app-{number}"));
        let plan = push.plan(config).await?;
        pushes.push((push, plan));
        layouts.push(layout);
    }
    cloud.emulator.clear_requests();
    // Long enough for all that may begin to do so.
    cloud
        .emulator
        .fail_always("PutBlobUpload", Fault::delay(Duration::from_millis(60)));
    let applies = pushes
        .iter_mut()
        .map(|(push, plan)| push.apply_planned(plan));
    let mut most = 0;
    let watch = async {
        loop {
            // In this order: what ends in between is not counted as under way.
            let begun = cloud.emulator.begun("PutBlobUpload");
            most = most.max(begun.saturating_sub(cloud.count("PutBlobUpload")));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        applied = futures_util::future::try_join_all(applies) => drop(applied?),
        () = watch => {}
    }
    assert_eq!(most, 4, "uploads at once");
    assert_eq!(cloud.emulator.tags("team/web").len(), 50);
    let requests = cloud.emulator.requests();
    let sent: Vec<u64> = requests
        .iter()
        .filter(|request| request.operation == "PutBlobUpload")
        .map(|request| request.body_bytes)
        .collect();
    let bases = sent.iter().filter(|bytes| **bytes == 400_000).count();
    assert_eq!(bases, 1, "{sent:?}");
    let distinct: BTreeSet<&str> = requests
        .iter()
        .filter(|request| request.operation == "PutBlobUpload")
        .filter_map(|request| request.path.split("digest=").nth(1))
        .collect();
    assert_eq!(distinct.len(), sent.len(), "nothing is sent twice");
    assert_eq!(cloud.count("GetRegistryToken"), 1);
    Ok(())
}
