//! Several tags of one image.

use std::collections::BTreeMap;

use expect_test::expect;

use super::{
    Act, Fake, Push, SignIn, assert_pushed, check, client, image, layer, log::Log, push, shorten,
};

fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One upload and as many manifests as tags, the main one last; each tag is looked
/// at once. Tags that are there already are left alone.
#[tokio::test]
async fn many_tags_for_one_upload() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let image = image(&[layer(1_000, 1)]);
    // The main tag among the additional ones, and one twice, are one tag each.
    let also = tags(&["stable", "1.0", "a", "a"]);
    let all = Push {
        additional_tags: &also,
        ..Push::new("ns/web", "1.0", &image)
    };
    client.push(&all).await?;
    for tag in ["a", "stable", "1.0"] {
        assert_pushed(&fake, "ns/web", tag, &image);
    }
    let story = fake.story();
    let manifests: Vec<&str> = story
        .lines()
        .filter(|line| line.contains("/manifests/"))
        .collect();
    expect![[r#"
        [
            "HEAD /v2/ns/web/manifests/a 404",
            "HEAD /v2/ns/web/manifests/stable 404",
            "HEAD /v2/ns/web/manifests/1.0 404",
            "PUT /v2/ns/web/manifests/a 201",
            "PUT /v2/ns/web/manifests/stable 201",
            "PUT /v2/ns/web/manifests/1.0 201",
        ]
    "#]]
    .assert_debug_eq(&{
        let mut sorted = manifests.clone();
        sorted[..3].sort_by_key(|line| line.contains("1.0"));
        sorted[..2].sort();
        sorted
    });

    fake.clear();
    client.push(&all).await?;
    assert_eq!(fake.seen().len(), 3);

    // One of them is new: it is one manifest.
    fake.clear();
    let also = tags(&["stable", "a", "new"]);
    let more = Push {
        additional_tags: &also,
        ..Push::new("ns/web", "1.0", &image)
    };
    let pushed = client.push(&more).await?;
    assert_eq!((pushed.uploaded.0, pushed.existing.0), (0, 2));
    assert_eq!(
        (fake.seen().len(), fake.count("PUT", "/manifests/new")),
        (5, 1)
    );
    Ok(())
}

/// An image that was pushed before gets another tag: the repository is asked for
/// it by digest, and gets one manifest. When something of it vanished, it is
/// pushed.
#[tokio::test]
async fn another_tag_for_an_image_that_is_there() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let image = image(&[layer(1_000, 1)]);
    push(&client, &image).await?;
    let root = image.root();
    let bytes: &'static [u8] = Box::leak(root.bytes.to_vec().into_boxed_slice());
    fake.put_manifest("ns/web", root.digest.as_str(), &root.media_type, bytes);

    fake.clear();
    let another = |tag| Push {
        expected: true,
        ..Push::new("ns/web", tag, &image)
    };
    client.push(&another("1.1")).await?;
    expect![[r#"
        HEAD /v2/ns/web/manifests/1.1 404
        HEAD /v2/ns/web/manifests/DIGEST 200
        PUT /v2/ns/web/manifests/1.1 201"#]]
    .assert_eq(&fake.story());

    fake.lose_blobs();
    let unknown = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#;
    fake.fault("PUT", "/manifests/1.2", Act::Answer(400, unknown));
    client.push(&another("1.2")).await?;
    assert_pushed(&fake, "ns/web", "1.2", &image);
    Ok(())
}

/// A tag that somebody else moved is left alone when that is wished, and nothing
/// is sent; one that we moved last may be moved on.
#[tokio::test]
async fn tags_may_be_protected() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let (old, new) = (image(&[layer(1_000, 1)]), image(&[layer(1_000, 2)]));
    push(&client, &old).await?;
    fake.clear();
    let nowhere = BTreeMap::new();
    let protected = |movable| Push {
        movable: Some(movable),
        ..Push::new("ns/web", "1.0", &new)
    };
    let refused = client.push(&protected(&nowhere)).await;
    check(
        &fake,
        refused,
        &expect![[
            r#"tag "1.0" of repository "ns/web" at HOST points to sha256:4a4d…, and is not to be moved to sha256:dd65…"#
        ]],
    );
    assert_eq!(fake.seen().len(), 1);
    let ours = BTreeMap::from([("1.0".to_owned(), old.root().digest.clone())]);
    client.push(&protected(&ours)).await?;
    assert_pushed(&fake, "ns/web", "1.0", &new);
    Ok(())
}

/// A push ends with a line that says what was sent, what a mount was good for, and what
/// was found. A registry mounts what it has in the same words as what it has not, so the
/// line does not tell these apart.
#[tokio::test]
async fn a_push_is_summed_up() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let client = client(&fake)?;
    let (base, app) = (layer(2_000, 1), layer(1_000, 2));
    push(&client, &image(std::slice::from_ref(&base))).await?;
    let (log, _guard) = Log::start();
    let image = image(&[base, app]);
    client.push(&Push::new("ns/api", "1.0", &image)).await?;
    let summed_up = || {
        let mut lines = log.lines();
        lines.retain(|line| line.contains("Pushed image"));
        let last = lines.pop().unwrap_or_default();
        let (before, after) = last.split_once(" in ").unwrap_or_default();
        let (_, after) = after.split_once(" s: ").unwrap_or_default();
        let (done, fields) = after.split_once(" host=").unwrap_or_default();
        (format!("{before} in SOME s: {done}"), fields.to_owned())
    };
    let (done, fields) = summed_up();
    expect!["INFO ocir::registry::push message=Pushed image in SOME s: 1 blob (1.0 kB) uploaded, 2 blobs (2.0 kB) mounted or there before, none found there"].assert_eq(&done);
    expect![[r#"repository="ns/api" tag="1.0" digest=sha256:3d61…"#]]
        .assert_eq(&shorten(fields.split_once(' ').unwrap_or_default().1));

    // Another process has pushed there what this one knows from elsewhere.
    let elsewhere = self::client(&fake)?;
    elsewhere.push(&Push::new("ns/db", "1.0", &image)).await?;
    client.push(&Push::new("ns/db", "2.0", &image)).await?;
    expect!["INFO ocir::registry::push message=Pushed image in SOME s: none uploaded, 3 blobs (3.0 kB) mounted or there before, none found there"]
        .assert_eq(&summed_up().0);
    Ok(())
}
