//! What the plan says of a source, and what is remembered of it.

use base64::Engine;
use ocir::{credentials::Environment, framework::Server, image::ALGORITHM, provider::Ocir};

use super::*;

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// A provider whose cache is in this directory.
async fn caching(cloud: &Cloud, directory: &std::path::Path) -> anyhow::Result<Host> {
    let variables = [("OCIR_CACHE_DIR".to_owned(), directory.display().to_string())];
    let environment = Environment {
        variables: variables.into(),
        home: None,
    };
    let host = Host::start(Server::new(Ocir::new(environment))).await?;
    host.configure(arguments(&cloud.emulator)).await?;
    Ok(host)
}

/// A layout with an image of one layer that is not compressed.
fn raw() -> anyhow::Result<Layout> {
    let layout = Layout::new()?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_cksum();
    archive.append_data(&mut header, "file", &b"bytes"[..])?;
    let bytes = archive.into_inner()?;
    let layer = layout.blob(TAR, &bytes)?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?,
        "layers": [layer],
    });
    let image = layout.blob(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    )?;
    layout.show(&image)?;
    Ok(layout)
}

fn private(push: &Resource) -> anyhow::Result<Json> {
    let stored: Json = serde_json::from_slice(push.private())?;
    let value = text(&stored["values"], "push");
    let bytes = base64::engine::general_purpose::STANDARD.decode(value)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Layers that come uncompressed are compressed, or not, as it is wished; each way
/// has its digest, known while planning. Other forms are converted into.
#[tokio::test]
async fn compression_and_format() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = raw()?;
    let config = web(layout.source());
    let mut seen = BTreeSet::new();
    for (compression, format, layer, manifest) in [
        (
            "gzip",
            "source",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.manifest.v1+json",
        ),
        (
            "zstd",
            "source",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.manifest.v1+json",
        ),
        (
            "none",
            "oci",
            TAR,
            "application/vnd.oci.image.manifest.v1+json",
        ),
        (
            "gzip",
            "docker",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.distribution.manifest.v2+json",
        ),
    ] {
        let config = with(&with(&config, "compression", compression), "format", format);
        let mut push = cloud.host.resource("ocir_image_push");
        let plan = push.plan(config.clone()).await?;
        push.apply_planned(&plan).await?;
        let state = push.state();
        assert_eq!(state, plan.after);
        assert_eq!(text(&state["layers"][0], "media_type"), layer);
        assert_eq!(text(&state, "media_type"), manifest);
        seen.insert(text(&state, "digest").to_owned());
        push.expect_noop(config).await?;
    }
    assert_eq!(seen.len(), 4);
    Ok(())
}

/// Of an index only some platforms are pushed, in place and back again.
#[tokio::test]
async fn platforms() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::new()?;
    let mut children = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let mut image = layout.image(architecture)?;
        image["platform"] = json!({ "os": "linux", "architecture": architecture });
        children.push(image);
    }
    layout.show(&layout.index(&[&children[0], &children[1]])?)?;
    let whole = web(layout.source());
    let mut push = pushed(&cloud, &whole).await?;
    let before = push.state();
    let some = with(&whole, "platforms", json!(["linux/arm64"]));
    let plan = push.plan(some.clone()).await?;
    assert_eq!(plan.action, Action::Update);
    assert_ne!(plan.after["digest"], before["digest"]);
    push.apply_planned(&plan).await?;
    push.expect_noop(some).await?;
    push.apply(whole).await?;
    assert_eq!(push.state(), before);

    let none = with(&web(layout.source()), "platforms", json!(["windows/amd64"]));
    let problems = push.plan(none).await.unwrap_err().to_string();
    expect![[r#"
        Error: Cannot read image source

        "LAYOUT" holds no image for the platform windows/amd64; what it holds: linux/amd64, linux/arm64.
          with source"#]].assert_eq(&problems.replace(&layout.path().display().to_string(), "LAYOUT"));
    Ok(())
}

/// A layer that an earlier version compressed in another way keeps the digest that
/// it had there: an upgrade changes nothing. A push that begins anew knows nothing
/// of that.
#[tokio::test]
async fn layers_are_remembered() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = raw()?;
    let config = web(layout.source());
    let mut push = pushed(&cloud, &config).await?;
    let state = push.state();
    let remembered = private(&push)?;
    assert_eq!(remembered["source"], state["digest"]);
    assert_eq!(remembered["tags"], json!({ "1.0.0": state["digest"] }));
    assert_eq!(remembered["layers"][0]["algorithm"], ALGORITHM);
    assert_eq!(
        remembered["layers"][0]["digest"],
        state["layers"][0]["digest"]
    );

    // The same image as an earlier version would have pushed it.
    let old = raw()?;
    let before = old.blob("application/vnd.oci.image.layer.v1.tar+gzip", b"of old")?;
    push.edit_private(|values| {
        let mut edited = remembered.clone();
        edited["layers"][0]["algorithm"] = json!("gzip-0");
        edited["layers"][0]["digest"] = before["digest"].clone();
        edited["layers"][0]["size"] = before["size"].clone();
        let text = base64::engine::general_purpose::STANDARD.encode(edited.to_string());
        values["push"] = json!(text);
    })?;
    let plan = push.plan(config.clone()).await?;
    assert_eq!(plan.after["layers"][0]["digest"], before["digest"]);

    // A replacement, and an import, begin anew.
    push.taint();
    let plan = push.plan(config).await?;
    assert_eq!(plan.after["digest"], state["digest"]);
    Ok(())
}

/// The source changed after a plan that was not applied: the next plan, which may be
/// the one that a host makes while it applies, explains what the host will say. A
/// source that changes after an apply is nothing to explain.
#[tokio::test]
async fn broken_promises_are_explained() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let cache = tempfile::tempdir()?;
    let layout = Layout::of("one")?;
    let config = web(layout.source());
    let plan = caching(&cloud, cache.path())
        .await?
        .resource("ocir_image_push")
        .plan(config.clone())
        .await?;
    assert_eq!(plan.warnings, Vec::<String>::new());

    layout.show(&layout.image("two")?)?;
    let host = caching(&cloud, cache.path()).await?;
    let mut push = host.resource("ocir_image_push");
    let again = push.plan(config.clone()).await?;
    expect![[r#"
        Warning: Image source changed since the last plan

        SOURCE held sha256:54453efd798f8f317df335fcbced36f8c8ac119556f12b00e9961383b6d92e10 when it was last planned, and holds sha256:3ac4d2dee116c785b3cbaf9e0fd713d76822ae6baa38851e620995330caede53 now. This concerns only a plan that was made before: the CLI refuses to apply it, and says that the provider produced an inconsistent final plan. Plan again then, after whatever writes the source has ended.
          with source"#]].assert_eq(
        &again
            .warnings
            .join("\n\n")
            .replace(&layout.source(), "SOURCE"),
    );
    assert_ne!(again.after["digest"], plan.after["digest"]);
    push.apply_planned(&again).await?;

    layout.show(&layout.image("three")?)?;
    let host = caching(&cloud, cache.path()).await?;
    let mut next = host.resource("ocir_image_push");
    next.set_state(0, &push.state()).await?;
    let plan = next.plan(config.clone()).await?;
    assert_eq!(plan.warnings, Vec::<String>::new());
    // The same host may plan as often as it likes.
    layout.show(&layout.image("four")?)?;
    let plan = next.plan(config).await?;
    assert_eq!(plan.warnings, Vec::<String>::new());
    Ok(())
}

/// Arguments of the source that are not known yet leave the digest open.
#[tokio::test]
async fn options_that_are_not_known_yet() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    for argument in ["platforms", "format", "compression", "if_exists"] {
        let mut push = cloud.host.resource("ocir_image_push");
        let plan = push
            .plan(with(&web(layout.source()), argument, unknown()))
            .await?;
        assert_eq!(plan.after["digest"], unknown(), "{argument}");
    }
    Ok(())
}

/// Archives of layouts, and paths that say by themselves what they are.
#[tokio::test]
async fn archives_and_paths() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let layout = Layout::of("one")?;
    let expected = pushed(&cloud, &web(layout.source())).await?.state();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("image.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&file)?);
    archive.append_dir_all("", layout.path())?;
    archive.finish()?;
    for source in [
        format!("oci-archive:{}", file.display()),
        file.display().to_string(),
        layout.path().display().to_string(),
    ] {
        let mut push = cloud.host.resource("ocir_image_push");
        let plan = push.plan(web(source.clone())).await?;
        assert_eq!(plan.after["digest"], expected["digest"], "{source}");
    }
    Ok(())
}

/// Whether a blob is what its name says is the registry's to find out. Here a file of a layout
/// and one of the cache are spoilt, in a way that only their content shows, and a registry
/// that believes everything gets them, in the open and encrypted: nobody hashed them again.
#[tokio::test]
async fn nothing_is_hashed_on_its_way() -> anyhow::Result<()> {
    for encrypted in [false, true] {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        std::fs::write(path("certificate"), made.cert.pem())?;
        std::fs::write(path("key"), made.signing_key.serialize_pem())?;
        let mut emulator = Emulator::builder().create_on_first_push();
        if encrypted {
            emulator = emulator.tls(path("certificate"), path("key"));
        }
        let emulator = emulator.start().await?;
        let variables = [
            ("OCIR_CACHE_DIR", path("cache")),
            ("OCI_CLI_CERT_BUNDLE", path("certificate")),
        ];
        let variables = variables.map(|(name, path)| (name.to_owned(), path.display().to_string()));
        let environment = Environment {
            variables: variables.into(),
            home: None,
        };
        let host = Host::start(Server::new(Ocir::new(environment))).await?;
        host.configure(arguments(&emulator)).await?;

        let of_layout = Layout::of("one")?;
        let shared = of_layout.blob("", b"shared")?;
        let of_cache = raw()?;
        let mut plans = Vec::new();
        for layout in [&of_layout, &of_cache] {
            let mut push = host.resource("ocir_image_push");
            let plan = push.plan(web(layout.source())).await?;
            plans.push((push, plan));
        }
        let name = text(&shared, "digest").replace(':', "/");
        let mut spoilt = vec![of_layout.path().join("blobs").join(name)];
        for blob in std::fs::read_dir(path("cache/images-1/blobs"))? {
            spoilt.push(blob?.path());
        }
        assert_eq!(spoilt.len(), 2);
        let spoilt = spoilt.into_iter().map(|path| Ok((spoil(&path)?, path)));
        let spoilt = spoilt.collect::<anyhow::Result<Vec<_>>>()?;

        emulator.fail_always("PutBlobUpload", Fault::body(201, ""));
        let enough = || Fault::error(400, "MANIFEST_INVALID", "enough");
        emulator.fail_always("PutManifest", enough());
        for (mut push, plan) in plans {
            emulator.clear_requests();
            let refused = push.apply_planned(&plan).await.unwrap_err().to_string();
            assert!(refused.contains("MANIFEST_INVALID: enough"), "{refused}");
            let requests = emulator.requests();
            let sent = requests.iter().filter(|it| it.operation == "PutBlobUpload");
            assert!(sent.count() > 1);
        }
        // What turns out to be damaged is removed from the cache, and made again.
        for (bytes, path) in spoilt {
            assert_eq!(std::fs::read(path)?, bytes);
        }
    }
    Ok(())
}

/// Changes the content of a file, and nothing else of it. Gives what it is now.
fn spoil(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    let modified = std::fs::metadata(path)?.modified()?;
    let mut bytes = std::fs::read(path)?;
    let last = bytes.last_mut().expect("it is not empty");
    *last = !*last;
    std::fs::write(path, &bytes)?;
    let file = std::fs::File::options().write(true).open(path)?;
    file.set_modified(modified)?;
    Ok(bytes)
}
