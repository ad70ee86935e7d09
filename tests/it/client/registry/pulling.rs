//! Images that are read from one registry while they are pushed to another.

use std::{
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use expect_test::expect;
use ocir::{
    image::{
        Digest, Image, ImageName, LoadOptions, Loader, Manifest, ManifestFormat, Remote as _,
        Source,
    },
    registry::{Client, Config, Credentials, Error, Pull, Push},
    transport::{Options, RetryPolicy, http_client},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use super::{
    Act, Fake, INDEX, MANIFEST, SignIn, assert_pushed, client, client_with, image, layer, password,
    push, shorten, web,
};

/// The name of an image of the fake.
fn name(fake: &Fake, rest: &str) -> anyhow::Result<ImageName> {
    match Source::parse(&format!("docker://{}/{rest}", fake.host))? {
        Source::Registry { reference } => Ok(reference),
        other => anyhow::bail!("{other:?}"),
    }
}

/// What a name of a registry's means, with the options and the stop of the test's choice.
async fn load_with(
    client: &Client,
    name: &ImageName,
    mut options: LoadOptions,
    stop: &CancellationToken,
) -> Result<Image, image::Error> {
    let pull = Pull::new(client.clone(), name.clone(), "somebody").with_stop(stop.clone());
    options.remote = Some(Arc::new(pull));
    let source = Source::Registry {
        reference: name.clone(),
    };
    let stop = stop.clone();
    let load = move || Loader::default().load_with(&source, &options, &stop);
    tokio::task::spawn_blocking(load)
        .await
        .expect("it does not panic")
}

async fn load(client: &Client, name: &ImageName) -> Result<Image, image::Error> {
    load_with(
        client,
        name,
        LoadOptions::default(),
        &CancellationToken::new(),
    )
    .await
}

/// A source that has the image already, and an empty target.
async fn two(image: &Image) -> anyhow::Result<(Fake, Fake)> {
    let (from, to) = (
        Fake::start(SignIn::Open).await?,
        Fake::start(SignIn::Open).await?,
    );
    push(&client(&from)?, image).await?;
    from.clear();
    Ok((from, to))
}

/// An index of images that have a layer in common.
fn index(platforms: &[&str]) -> Image {
    let images: Vec<Image> = (0..platforms.len())
        .map(|number| image(&[layer(100_000, 1), layer(5_000 + number, 2)]))
        .collect();
    let entries: Vec<_> = images
        .iter()
        .zip(platforms)
        .map(|(image, platform)| {
            let root = image.root();
            let (os, architecture) = platform.split_once('/').unwrap_or_default();
            json!({
                "mediaType": MANIFEST,
                "digest": root.digest.as_str(),
                "size": root.bytes.len(),
                "platform": { "os": os, "architecture": architecture },
            })
        })
        .collect();
    let bytes = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }).to_string();
    let mut all = Image {
        manifests: vec![],
        blobs: vec![],
        layers: vec![],
    };
    for image in images {
        all.manifests.extend(image.manifests);
        for blob in image.blobs {
            if !all.blobs.iter().any(|known| known.digest == blob.digest) {
                all.blobs.push(blob);
            }
        }
    }
    all.manifests.push(Manifest {
        media_type: INDEX.into(),
        digest: Digest::of(bytes.as_bytes()),
        bytes: bytes.into(),
        config: None,
        layers: vec![],
    });
    all
}

/// The error, and all that is behind it.
fn said(fake: &Fake, error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    shorten(&text.replace(&fake.host, "HOST"))
}

/// An image comes out as it went in, and each blob is asked for once: to know the
/// digest, one request is enough.
#[tokio::test]
async fn an_image_passes_through() -> anyhow::Result<()> {
    let web = web();
    let (from, to) = two(&web).await?;
    let image = load(&client(&from)?, &name(&from, "ns/web:1.0")?).await?;
    assert_eq!(image.root().digest, web.root().digest);
    assert_eq!(image.root().bytes, web.root().bytes);
    assert_eq!(image.image_id(), web.image_id());
    expect!["GET /v2/ns/web/manifests/1.0 200"].assert_eq(&from.story());
    push(&client(&to)?, &image).await?;
    assert_pushed(&to, "ns/web", "1.0", &web);
    assert_eq!(from.count("GET", "/blobs/"), web.blobs.len());
    Ok(())
}

/// By digest it is the same, and a registry that gives something else is not believed.
#[tokio::test]
async fn by_digest() -> anyhow::Result<()> {
    let web = web();
    let (from, _) = two(&web).await?;
    let digest = &web.root().digest;
    let by_digest = name(&from, &format!("ns/web:ignored@{digest}"))?;
    let image = load(&client(&from)?, &by_digest).await?;
    assert_eq!(image.root().digest, *digest);
    expect!["GET /v2/ns/web/manifests/DIGEST 200"].assert_eq(&from.story());

    from.put_manifest("ns/web", digest.as_str(), MANIFEST, b"{}");
    let error = load(&client(&from)?, &by_digest)
        .await
        .expect_err("it is another");
    expect!["the image docker://HOST/ns/web:ignored@sha256:26b0… cannot be read: reading of manifest sha256:26b0… at HOST answered with digest sha256:4413… instead of sha256:26b0…"].assert_eq(&said(&from, &error));
    Ok(())
}

/// Of an index only the platforms that are wanted are read, and its digest changes.
#[tokio::test]
async fn an_index() -> anyhow::Result<()> {
    let whole = index(&["linux/amd64", "linux/arm64", "linux/s390x"]);
    let (from, to) = two(&whole).await?;
    let source = name(&from, "ns/web:1.0")?;
    let image = load(&client(&from)?, &source).await?;
    assert_eq!(image.root().digest, whole.root().digest);
    assert_eq!(image.blobs.len(), whole.blobs.len());

    from.clear();
    let options = LoadOptions {
        platforms: vec!["linux/amd64".parse()?, "linux/s390x".parse()?],
        ..LoadOptions::default()
    };
    let stop = CancellationToken::new();
    let some = load_with(&client(&from)?, &source, options.clone(), &stop).await?;
    assert_ne!(some.root().digest, whole.root().digest);
    assert_eq!(some.manifests.len(), 3);
    assert_eq!(from.count("GET", "/manifests/"), 3);
    push(&client(&to)?, &some).await?;
    assert_pushed(&to, "ns/web", "1.0", &some);
    // The layer in common, one more and the configuration in common, of two images.
    assert_eq!(from.count("GET", "/blobs/"), 4);

    let options = LoadOptions {
        platforms: vec!["windows/amd64".parse()?],
        ..options
    };
    let error = load_with(&client(&from)?, &source, options, &stop).await;
    let error = error.expect_err("there is none");
    expect![[r#""docker://HOST/ns/web:1.0" holds no image for the platform windows/amd64; what it holds: linux/amd64, linux/arm64, linux/s390x"#]].assert_eq(&said(&from, &error));
    Ok(())
}

/// Media types can be changed on the way; what has no form there says so.
#[tokio::test]
async fn a_format() -> anyhow::Result<()> {
    let (from, _) = two(&web()).await?;
    let options = LoadOptions {
        format: ManifestFormat::Docker,
        ..LoadOptions::default()
    };
    let stop = CancellationToken::new();
    let source = name(&from, "ns/web:1.0")?;
    let error = load_with(&client(&from)?, &source, options, &stop).await;
    expect![[r#"manifest sha256:26b0… of "docker://HOST/ns/web:1.0" cannot become an image of Docker's format: its configuration has the media type "", so it is an artifact and no image"#]].assert_eq(&said(&from, &error.expect_err("it is an artifact")));
    Ok(())
}

/// A connection that is cut goes on where it was; when the registry begins again,
/// what came before is left out.
#[tokio::test]
async fn cut_connections() -> anyhow::Result<()> {
    let web = image(&[layer(900_000, 1)]);
    for ranges in [true, false] {
        let (from, to) = two(&web).await?;
        if !ranges {
            from.without_ranges();
        }
        let digest = web.blobs[0].digest.as_str();
        from.fault("GET", digest, Act::CutBody(300_000));
        from.fault("GET", digest, Act::Answer(503, "later"));
        from.fault("GET", digest, Act::CutBody(310_000));
        let image = load(&client(&from)?, &name(&from, "ns/web:1.0")?).await?;
        push(&client(&to)?, &image).await?;
        assert_pushed(&to, "ns/web", "1.0", &web);
        let seen = from.seen();
        let answers: Vec<(u16, Option<&str>)> = seen
            .iter()
            .filter(|seen| seen.path.contains(digest))
            .map(|seen| (seen.status, seen.range.as_deref()))
            .collect();
        let (status, last) = match ranges {
            true => (206, "bytes=610000-"),
            false => (200, "bytes=310000-"),
        };
        assert_eq!(
            answers,
            [
                (200, None),
                (503, Some("bytes=300000-")),
                (status, Some("bytes=300000-")),
                (status, Some(last)),
            ]
        );
        // The target saw one upload of it.
        let sizes = to.seen();
        let sizes: Vec<usize> = sizes
            .iter()
            .filter(|seen| seen.method == "PUT" && seen.path.contains("/uploads/"))
            .map(|seen| seen.body_bytes)
            .collect();
        assert_eq!(sizes.iter().sum::<usize>(), 900_014, "{sizes:?}");
    }
    Ok(())
}

/// A registry that is never whole is given up, and the tag is not written.
#[tokio::test]
async fn cut_for_good() -> anyhow::Result<()> {
    let web = image(&[layer(900_000, 1)]);
    let (from, to) = two(&web).await?;
    let image = load(&client(&from)?, &name(&from, "ns/web:1.0")?).await?;
    from.faults("GET", web.blobs[0].digest.as_str(), Act::CutBody(10));
    let error = push(&client(&to)?, &image).await.expect_err("it ends");
    let text = said(&from, &error);
    assert!(
        text.contains("the connection to HOST was cut during reading of blob sha256:"),
        "{text}"
    );
    assert!(text.contains("of 900000 bytes in the last of"), "{text}");
    assert!(from.count("GET", web.blobs[0].digest.as_str()) <= 8);
    assert_eq!(to.manifest("ns/web", "1.0"), None);
    Ok(())
}

const GONE: &str = r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;

/// A blob that is another one, or of another size, or gone, does not arrive, and the
/// tag is not written.
#[tokio::test]
async fn wrong_blobs() -> anyhow::Result<()> {
    let web = image(&[layer(300_000, 1)]);
    let mut said_of = Vec::new();
    let same_size = layer(300_000, 2);
    for bytes in [
        Some(same_size),
        Some(layer(299_999, 1)),
        Some(layer(300_001, 1)),
        None,
    ] {
        let (from, to) = two(&web).await?;
        let digest = web.blobs[0].digest.as_str();
        match bytes {
            Some(bytes) => from.put_blob("ns/web", digest, bytes),
            None => from.faults("GET", digest, Act::Answer(404, GONE)),
        }
        let image = load(&client(&from)?, &name(&from, "ns/web:1.0")?).await?;
        let error = push(&client(&to)?, &image)
            .await
            .expect_err("it is another");
        assert!(to.blob("ns/web", digest).is_none());
        assert_eq!(to.manifest("ns/web", "1.0"), None);
        said_of.push(said(&from, &error));
    }
    expect![[r#"
        cannot read blob sha256:5c0d… from the image's source: blob sha256:5c0d… of HOST/ns/web is corrupt: it should have the digest sha256:5c0d…, and has sha256:8131…
        cannot read blob sha256:5c0d… from the image's source: the image docker://HOST/ns/web:1.0 cannot be read: reading of blob sha256:5c0d… at HOST got an answer that is not a registry's: it promises 299999 bytes, and the blob has 300000 by its manifest
        cannot read blob sha256:5c0d… from the image's source: the image docker://HOST/ns/web:1.0 cannot be read: reading of blob sha256:5c0d… at HOST got an answer that is not a registry's: it promises 300001 bytes, and the blob has 300000 by its manifest
        cannot read blob sha256:5c0d… from the image's source: the image docker://HOST/ns/web:1.0 cannot be read: reading of blob sha256:5c0d… at HOST answered 404 BLOB_UNKNOWN: blob unknown to registry"#]].assert_eq(&said_of.join("\n"));
    Ok(())
}

/// Manifests that are none, too large, or not there.
#[tokio::test]
async fn wrong_manifests() -> anyhow::Result<()> {
    let web = web();
    let (from, _) = two(&web).await?;
    from.put_manifest("ns/web", "list", MANIFEST, b"[]");
    from.put_manifest(
        "ns/web",
        "old",
        "application/vnd.docker.distribution.manifest.v1+json",
        br#"{"schemaVersion":1,"fsLayers":[]}"#,
    );
    let large: &'static [u8] = vec![b' '; (4 << 20) + 1].leak();
    from.put_manifest("ns/web", "large", MANIFEST, large);
    let child = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [{ "mediaType": MANIFEST, "digest": Digest::of(b"gone").as_str(), "size": 4 }] });
    let child: &'static [u8] = child.to_string().into_bytes().leak();
    from.put_manifest("ns/web", "sparse", INDEX, child);
    let client = client(&from)?;
    let mut all = Vec::new();
    for tag in ["list", "old", "large", "sparse", "missing"] {
        let error = load(&client, &name(&from, &format!("ns/web:{tag}"))?).await;
        let error = error.expect_err("it is wrong");
        all.push(format!(
            "{tag}, {}: {}",
            error.is_missing(),
            said(&from, &error)
        ));
    }
    expect![[r#"
        list, false: the image docker://HOST/ns/web:list cannot be read: reading of manifest list at HOST got an answer that is not a registry's: it is not the JSON of a manifest
        old, false: manifest sha256:cd4b… of "docker://HOST/ns/web:old" cannot be used: it is a manifest of Docker's schema 1, which registries no longer take
        large, false: the image docker://HOST/ns/web:large cannot be read: reading of manifest large at HOST got an answer that is not a registry's: it is not the JSON of a manifest
        sparse, false: "docker://HOST/ns/web:sparse" lacks the manifest sha256:283b…, which manifest sha256:2a81… of "docker://HOST/ns/web:sparse" names
        missing, true: the image docker://HOST/ns/web:missing cannot be read: HOST has no such image, or does not show it to somebody"#]].assert_eq(&all.join("\n"));
    Ok(())
}

/// Storage that a registry redirects to gets no credentials, and what is cut there is
/// asked for at the registry again.
#[tokio::test]
async fn redirects() -> anyhow::Result<()> {
    let web = image(&[layer(300_000, 1)]);
    let (from, to) = (
        Fake::start(SignIn::Bearer).await?,
        Fake::start(SignIn::Open).await?,
    );
    let storage = Fake::start(SignIn::Open).await?;
    let signed = client_with(&from, password("password"), RetryPolicy::without_waiting())?;
    push(&signed, &web).await?;
    push(&client(&storage)?, &web).await?;
    storage.clear();
    let digest = web.blobs[0].digest.as_str();
    let there = format!(
        "http://{}/v2/ns/web/blobs/{digest}?signature=secret",
        storage.host
    );
    let image = load(&signed, &name(&from, "ns/web:1.0")?).await?;
    from.clear();
    // The first is the refusal that says how to sign in with this scope, if any.
    from.faults("GET", digest, Act::AnswerWith(307, "location", there, ""));
    storage.fault("GET", digest, Act::CutBody(100_000));
    push(&client(&to)?, &image).await?;
    assert_pushed(&to, "ns/web", "1.0", &web);
    let seen = storage.seen();
    assert_eq!(seen.len(), 2);
    assert!(
        seen.iter().all(|seen| seen.authorization.is_none()),
        "{seen:?}"
    );
    assert_eq!(seen[1].range.as_deref(), Some("bytes=100000-"));
    let asked = from.seen();
    assert!(
        asked
            .iter()
            .filter(|seen| seen.path.contains(digest))
            .count()
            == 2
    );
    Ok(())
}

/// One signs in for reading alone: with a password, or with the token of a former sign-in.
#[tokio::test]
async fn signing_in() -> anyhow::Result<()> {
    let web = web();
    for credentials in [
        password("password"),
        Credentials::Refresh("identity-token".into()),
    ] {
        let (from, to) = (
            Fake::start(SignIn::Bearer).await?,
            Fake::start(SignIn::Open).await?,
        );
        let owner = client_with(&from, password("password"), RetryPolicy::without_waiting())?;
        push(&owner, &web).await?;
        from.clear();
        let reader = client_with(&from, credentials.clone(), RetryPolicy::without_waiting())?;
        let image = load(&reader, &name(&from, "ns/web:1.0")?).await?;
        push(&client(&to)?, &image).await?;
        assert_pushed(&to, "ns/web", "1.0", &web);
        let seen = from.seen();
        let tokens: Vec<_> = seen
            .iter()
            .filter(|seen| seen.path.starts_with("/token"))
            .collect();
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        match credentials {
            Credentials::Basic { .. } => assert!(
                tokens[0]
                    .path
                    .ends_with("&scope=repository%3Ans%2Fweb%3Apull"),
                "{tokens:?}"
            ),
            _ => assert_eq!(
                (tokens[0].method.as_str(), &tokens[0].authorization),
                ("POST", &None)
            ),
        }
        assert!(!format!("{reader:?} {credentials:?}").contains("identity-token"));
    }

    let from = Fake::start(SignIn::Bearer).await?;
    let stranger = client(&from)?;
    let error = load(&stranger, &name(&from, "ns/web:1.0")?).await;
    expect!["the image docker://HOST/ns/web:1.0 cannot be read: sign-in at HOST answered 401 UNAUTHORIZED: incorrect username or password"].assert_eq(&said(&from, &error.expect_err("nobody is let in")));
    let forged = Credentials::Refresh("forged-identity".into());
    let forger = client_with(&from, forged, RetryPolicy::without_waiting())?;
    let error = load(&forger, &name(&from, "ns/web:1.0")?).await;
    expect!["the image docker://HOST/ns/web:1.0 cannot be read: sign-in at HOST answered 401 UNAUTHORIZED: incorrect username or password"].assert_eq(&said(&from, &error.expect_err("nobody is let in")));
    Ok(())
}

/// Within one registry nothing is sent: what is in another repository is mounted. One
/// that mounts nothing gets the bytes.
#[tokio::test]
async fn within_one_registry() -> anyhow::Result<()> {
    let web = web();
    for mounts in [true, false] {
        let fake = Fake::start(SignIn::Open).await?;
        if !mounts {
            fake.without_mounts();
        }
        push(&client(&fake)?, &web).await?;
        fake.clear();
        let client = client(&fake)?;
        let image = load(&client, &name(&fake, "ns/web:1.0")?).await?;
        let copy = Push::new("ns/copy", "2.0", &image);
        let pushed = client.push(&copy).await?;
        assert_pushed(&fake, "ns/copy", "2.0", &web);
        let (mounted, uploaded) = (pushed.mounted.0, pushed.uploaded.0);
        let read = fake.count("GET", "/blobs/");
        let sent: usize = fake
            .seen()
            .iter()
            .filter(|seen| seen.path.contains("/uploads/"))
            .map(|seen| seen.body_bytes)
            .sum();
        match mounts {
            true => assert_eq!((mounted, uploaded, read, sent), (3, 0, 0, 0)),
            false => assert_eq!((mounted, uploaded, read, sent), (0, 3, 3, 301_014)),
        }

        // Another tag of the same repository needs neither.
        fake.clear();
        let again = Push {
            repository: "ns/web",
            ..copy
        };
        assert_eq!(client.push(&again).await?.existing.0, 3);
        assert_eq!(fake.count("POST", ""), 0);
    }
    Ok(())
}

/// A tag that was read before is asked for its digest alone; one that moved is read.
#[tokio::test]
async fn a_tag_is_looked_up_again() -> anyhow::Result<()> {
    let web = web();
    let (from, _) = two(&web).await?;
    let name = name(&from, "ns/web:1.0")?;
    let pull = Pull::new(client(&from)?, name.clone(), "somebody");
    let load = async || {
        let options = LoadOptions {
            remote: Some(Arc::new(pull.clone())),
            ..LoadOptions::default()
        };
        let source = Source::Registry {
            reference: name.clone(),
        };
        let load =
            move || Loader::default().load_with(&source, &options, &CancellationToken::new());
        anyhow::Ok(
            tokio::task::spawn_blocking(load)
                .await??
                .root()
                .digest
                .clone(),
        )
    };
    assert_eq!(load().await?, web.root().digest);
    assert_eq!(load().await?, web.root().digest);
    expect![[r#"
        GET /v2/ns/web/manifests/1.0 200
        HEAD /v2/ns/web/manifests/1.0 200"#]]
    .assert_eq(&from.story());
    let other = image(&[layer(10, 1)]);
    push(&client(&from)?, &other).await?;
    assert_eq!(load().await?, other.root().digest);
    Ok(())
}

/// A stop ends whatever is waited for, also in the middle of a blob.
#[tokio::test]
async fn a_stop() -> anyhow::Result<()> {
    let web = image(&[layer(300_000, 1)]);
    for act in [Act::Hang, Act::HangBody(1_000)] {
        let (from, to) = two(&web).await?;
        let stop = CancellationToken::new();
        let reader = client(&from)?;
        let image = load_with(
            &reader,
            &name(&from, "ns/web:1.0")?,
            LoadOptions::default(),
            &stop,
        )
        .await?;
        from.faults("GET", web.blobs[0].digest.as_str(), act);
        let writer = client(&to)?.with_stop(stop.clone());
        let stopper = async {
            while from.count("GET", web.blobs[0].digest.as_str()) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.cancel();
            Instant::now()
        };
        let (pushed, stopped) = tokio::join!(push(&writer, &image), stopper);
        assert!(matches!(pushed, Err(Error::Stopped)), "{pushed:?}");
        assert!(stopped.elapsed() < Duration::from_secs(1));
    }

    let (from, _) = two(&web).await?;
    from.faults("GET", "/manifests/", Act::Hang);
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stopper.cancel();
    });
    let start = Instant::now();
    let loaded = load_with(
        &client(&from)?,
        &name(&from, "ns/web:1.0")?,
        LoadOptions::default(),
        &stop,
    )
    .await;
    assert!(matches!(loaded, Err(image::Error::Stopped)), "{loaded:?}");
    assert!(start.elapsed() < Duration::from_secs(1));
    Ok(())
}

/// Who reads slowly holds the registry back: what is on the way is what sockets hold.
#[tokio::test]
async fn back_pressure() -> anyhow::Result<()> {
    const SIZE: usize = 128 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let piece = vec![7; 64 << 10];
        while count.load(Ordering::Relaxed) < SIZE {
            stream.write_all(&piece).await?;
            count.fetch_add(piece.len(), Ordering::Relaxed);
        }
        std::io::Result::Ok(())
    });
    let client = Client::new(Config {
        http: http_client(&Options::default())?,
        host: host.clone(),
        plain_http: true,
        credentials: Credentials::Anonymous,
        max_concurrent_uploads: 1,
        retry: RetryPolicy::without_waiting(),
    });
    let Source::Registry { reference } = Source::parse(&format!("docker://{host}/ns/web"))? else {
        anyhow::bail!("it is one");
    };
    let pull = Pull::new(client, reference, "somebody");
    let mut reader = pull.open(&Digest::of(b"any"), SIZE as u64)?;
    let mut reader = tokio::task::spawn_blocking(move || {
        reader.read_exact(&mut [0; 100_000])?;
        std::io::Result::Ok(reader)
    })
    .await??;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let held = written.load(Ordering::Relaxed);
    assert!(
        held < SIZE / 4,
        "{held} bytes were sent to whoever read 100000"
    );
    let read =
        tokio::task::spawn_blocking(move || std::io::copy(&mut reader, &mut std::io::sink()));
    assert_eq!(read.await??, SIZE as u64 - 100_000);
    serving.await??;
    Ok(())
}
