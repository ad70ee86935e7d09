//! Image layout directories.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>.
//! Links in the directory are followed: build systems make layouts of links into
//! their stores, and every blob is checked by its digest.

use std::path::Path;

use serde::Deserialize;

use super::{
    Error, Image,
    file::{self},
    manifest::RawDescriptor,
    part::Part,
    walk::{self, Store},
    work::Work,
};

/// Reads the image with a tag from a directory, or the only one.
pub(super) fn load(work: &Work<'_>, directory: &Path, tag: Option<&str>) -> Result<Image, Error> {
    let metadata = std::fs::metadata(directory).map_err(|cause| Error::Read {
        place: format!("{directory:?}"),
        cause,
    })?;
    if !metadata.is_dir() {
        return Err(Error::NotAFile {
            path: directory.to_owned(),
            kind: file::kind(&metadata),
            expected: "the directory of an image layout; an archive is written docker-archive:FILE or oci-archive:FILE",
        });
    }
    load_from(work, &Store::Directory(directory), tag)
}

/// Reads the image with a tag from a layout, wherever that is.
pub(super) fn load_from(
    work: &Work<'_>,
    store: &Store<'_>,
    tag: Option<&str>,
) -> Result<Image, Error> {
    check_version(store)?;
    let Some(index) = store.find(INDEX)? else {
        return Err(Error::NotALayout {
            place: store.path().to_owned(),
            problem: format!("it has no file {INDEX}"),
        });
    };
    let images = images(store, &index)?;
    let chosen = choose(store, &images, tag)?;
    walk::load(work, store, chosen, &index.place())
}

/// The images that a layout names.
pub(super) fn images(store: &Store<'_>, index: &Part) -> Result<Vec<RawDescriptor>, Error> {
    #[derive(Deserialize)]
    #[serde(expecting = "an object")]
    struct Index {
        manifests: Vec<RawDescriptor>,
    }
    let index: Index = store.json(index, "the index of an image layout")?;
    Ok(index.manifests)
}

fn check_version(store: &Store<'_>) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[serde(expecting = "an object")]
    struct Marker {
        image_layout_version: String,
    }
    let problem = match store.find("oci-layout")? {
        None => "it has no file oci-layout".to_owned(),
        Some(extent) => {
            let marker: Marker = store.json(&extent, "the mark of an image layout")?;
            if marker.image_layout_version.starts_with("1.") {
                return Ok(());
            }
            format!("its version is {:?}, not 1", marker.image_layout_version)
        }
    };
    Err(Error::NotALayout {
        place: store.path().to_owned(),
        problem,
    })
}

fn choose<'a>(
    store: &Store<'_>,
    images: &'a [RawDescriptor],
    tag: Option<&str>,
) -> Result<&'a RawDescriptor, Error> {
    let position = tag.and_then(|tag| tag.strip_prefix('@')?.parse::<usize>().ok());
    let is_named = |image: &&RawDescriptor, name: &str| {
        image.reference_name() == Some(name)
            || image.image_name() == Some(name)
            || image.digest == name.strip_prefix('@').unwrap_or(name)
    };
    let found: Vec<&RawDescriptor> = match (position, tag) {
        (Some(position), _) => images.get(position).into_iter().collect(),
        (None, Some(tag)) => images.iter().filter(|image| is_named(image, tag)).collect(),
        (None, None) => images.iter().collect(),
    };
    match found.as_slice() {
        [first, rest @ ..] if rest.iter().all(|image| image.same_digest(first)) => Ok(first),
        [] if images.is_empty() => Err(Error::NoImage {
            file: store.path().to_owned(),
        }),
        [] => Err(Error::NoSuchImage {
            file: store.path().to_owned(),
            wanted: tag.unwrap_or_default().to_owned(),
            choices: choices(images),
        }),
        _ => Err(Error::Ambiguous {
            file: store.path().to_owned(),
            syntax: match store {
                Store::Directory(_) | Store::Remote(..) => {
                    "oci:DIRECTORY:TAG, or oci:DIRECTORY:@NUMBER with its place in index.json"
                }
                Store::Archive(_) => {
                    "oci-archive:FILE:TAG, or oci-archive:FILE:@NUMBER with its place in index.json"
                }
            },
            choices: choices(images),
        }),
    }
}

fn choices(images: &[RawDescriptor]) -> String {
    let name = |(position, image): (usize, &RawDescriptor)| {
        let name = match image.reference_name() {
            Some(tag) => format!("{tag:?}"),
            None => image.platform_name(),
        };
        format!("@{position} is {name}")
    };
    listed(images.iter().enumerate().map(name))
}

/// A list for a message, cut off before it fills the screen.
pub(super) fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let count = items.len();
    let mut items: Vec<String> = items.take(SHOWN).collect();
    if count > SHOWN {
        items.push(format!("and {} more", count - SHOWN));
    }
    items.join(", ")
}

pub(super) const INDEX: &str = "index.json";
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use crate::image::{
        Loader, Source,
        testing::{Layout, OCI_GZIP, chain, check, gzip, layer},
    };

    fn with_images(count: usize) -> anyhow::Result<Layout> {
        let mut layout = Layout::new()?;
        for number in 0..count {
            let name = format!("file{number}");
            let blob = layout.blob(OCI_GZIP, &gzip(&layer(&name, b"content")))?;
            let image = layout.image(&[blob])?;
            layout.add(image, (number > 0).then(|| format!("v{number}")).as_deref())?;
        }
        Ok(layout)
    }

    /// The only image needs no tag, tagged or not.
    #[test]
    fn the_only_image() -> anyhow::Result<()> {
        let untagged = with_images(1)?;
        check(&untagged.load(None)?)?;
        let mut layout = Layout::new()?;
        let image = layout.image(&[])?;
        layout.add(image, Some("v1"))?;
        let tagged = layout.load(None)?;
        assert_eq!(tagged.root().digest, layout.load(Some("v1"))?.root().digest);
        Ok(())
    }

    /// A tag and a place choose among several images.
    #[test]
    fn chosen_by_tag_and_by_place() -> anyhow::Result<()> {
        let layout = with_images(3)?;
        let second = layout.load(Some("v2"))?;
        assert_eq!(second.root().digest, layout.load(Some("@2"))?.root().digest);
        assert_ne!(second.root().digest, layout.load(Some("v1"))?.root().digest);
        Ok(())
    }

    /// Several images and no tag, or a tag that nobody has: the choices are listed.
    #[test]
    fn choices_are_listed() -> anyhow::Result<()> {
        let layout = with_images(3)?;
        let untagged = layout.load(Some("@0"))?.root().digest.to_string();
        let text = |tag| layout.error(tag).replace(&untagged, "sha256:…");
        expect![[r#""DIR" holds several images; choose one by writing oci:DIRECTORY:TAG, or oci:DIRECTORY:@NUMBER with its place in index.json: @0 is sha256:…, @1 is "v1", @2 is "v2""#]].assert_eq(&text(None));
        expect![[
            r#""DIR" holds no image "v9"; what it holds: @0 is sha256:…, @1 is "v1", @2 is "v2""#
        ]]
        .assert_eq(&text(Some("v9")));
        expect![[
            r#""DIR" holds no image "@3"; what it holds: @0 is sha256:…, @1 is "v1", @2 is "v2""#
        ]]
        .assert_eq(&text(Some("@3")));
        expect![[r#""DIR" holds no image"#]].assert_eq(&Layout::new()?.error(None));
        Ok(())
    }

    /// Two images with one tag are ambiguous; one image named twice is not.
    #[test]
    fn a_tag_given_twice() -> anyhow::Result<()> {
        let mut layout = with_images(2)?;
        let image = layout.image(&[])?;
        layout.add(image.clone(), Some("v1"))?;
        expect![[r#""DIR" holds several images; choose one by writing oci:DIRECTORY:TAG, or oci:DIRECTORY:@NUMBER with its place in index.json: "#]].assert_eq(
            layout.error(Some("v1")).split("@0").next().unwrap_or_default(),
        );
        layout.add(image.clone(), Some("twice"))?;
        layout.add(image, Some("twice"))?;
        layout.load(Some("twice"))?;
        Ok(())
    }

    /// What is no layout says what is wrong with it.
    #[test]
    fn not_a_layout() -> anyhow::Result<()> {
        let layout = with_images(1)?;
        layout.write("oci-layout", br#"{"imageLayoutVersion":"2.0.0"}"#)?;
        expect![[r#""DIR" is not an image layout: its version is "2.0.0", not 1"#]]
            .assert_eq(&layout.error(None));
        layout.write("oci-layout", b"<html>")?;
        expect![[r#""DIR/oci-layout" is not the mark of an image layout: expected value at line 1 column 1"#]].assert_eq(&layout.error(None));
        std::fs::remove_file(layout.path().join("oci-layout"))?;
        expect![[r#""DIR" is not an image layout: it has no file oci-layout"#]]
            .assert_eq(&layout.error(None));
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        layout.write("index.json", b"[1, 2")?;
        expect![[r#""DIR/index.json" is not the index of an image layout: invalid type: integer `1`, expected a sequence at line 1 column 2"#]].assert_eq(&layout.error(None));
        layout.write("index.json", br#"{"manifests":[{"digest":5}]}"#)?;
        expect![[r#""DIR/index.json" is not the index of an image layout: invalid type: integer `5`, expected a string at line 1 column 25"#]].assert_eq(&layout.error(None));
        std::fs::remove_file(layout.path().join("index.json"))?;
        expect![[r#""DIR" is not an image layout: it has no file index.json"#]]
            .assert_eq(&layout.error(None));
        std::fs::create_dir(layout.path().join("index.json"))?;
        expect![[r#""DIR/index.json" is a directory, not a file"#]].assert_eq(&layout.error(None));
        Ok(())
    }

    /// No directory, and a file where a directory belongs.
    #[test]
    fn not_a_directory() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("image");
        let source = Source::Layout {
            directory: path.clone(),
            tag: None,
        };
        let load = || {
            let error = Loader::default()
                .load(&source, &CancellationToken::new())
                .expect_err("it is no layout");
            (error.is_missing(), chain(&error, directory.path()))
        };
        expect![[r#"
            (
                true,
                "cannot read \"DIR/image\": No such file or directory (os error 2)",
            )
        "#]]
        .assert_debug_eq(&load());
        std::fs::write(&path, "tar")?;
        expect![[r#"
            (
                false,
                "\"DIR/image\" is a file, not the directory of an image layout; an archive is written docker-archive:FILE or oci-archive:FILE",
            )
        "#]]
        .assert_debug_eq(&load());
        Ok(())
    }

    /// An index of megabytes is not read into memory.
    #[test]
    fn a_huge_index() -> anyhow::Result<()> {
        let layout = Layout::new()?;
        std::fs::File::create(layout.path().join("index.json"))?.set_len(1 << 40)?;
        expect![[r#""DIR/index.json" has 1099511627776 bytes, more than the 4194304 that such a document may have"#]].assert_eq(&layout.error(None));
        Ok(())
    }

    /// A name out of a hostile index is escaped before it reaches a terminal.
    #[test]
    fn names_are_escaped() -> anyhow::Result<()> {
        let mut layout = with_images(1)?;
        let mut image = layout.image(&[])?;
        layout.add(image.clone(), Some("\u{1b}[2Jred"))?;
        image["platform"] = json!({"os": "\u{1b}[2J", "architecture": "x"});
        layout.add(image, None)?;
        assert!(!layout.error(None).contains('\u{1b}'));
        Ok(())
    }
}
