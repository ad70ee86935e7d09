//! Image layout directories.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>.
//! Links in the directory are followed: build systems make layouts of links into
//! their stores, and every blob is checked by its digest.

use std::{collections::HashMap, path::Path};

use serde::Deserialize;

use super::{
    Error, Image, docker, file,
    manifest::RawDescriptor,
    part::Part,
    source,
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
        if let Some(error) = source::other_file(directory, tag, work.stop)? {
            return Err(error);
        }
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
    check_version(store, tag)?;
    let Some(index) = store.find(INDEX)? else {
        return Err(lacks(store, INDEX, tag));
    };
    let images = images(store, &index)?;
    let chosen = choose(work, store, &images, tag)?;
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

/// The error for something without a file that every layout has.
fn lacks(store: &Store<'_>, name: &str, tag: Option<&str>) -> Error {
    let other = match store {
        Store::Archive(archive) if !archive.is_complete() => Some(archive.missing(name, "")),
        Store::Archive(archive) => source::other_archive(archive, tag),
        Store::Directory(path) => source::other_directory(path, tag),
        Store::Remote(..) => None,
    };
    other.unwrap_or_else(|| Error::NotALayout {
        place: store.path().to_owned(),
        problem: format!("it has no file {name}"),
    })
}

fn check_version(store: &Store<'_>, tag: Option<&str>) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[serde(expecting = "an object")]
    struct Marker {
        image_layout_version: String,
    }
    let problem = match store.find(MARK)? {
        None => return Err(lacks(store, MARK, tag)),
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
    work: &Work<'_>,
    store: &Store<'_>,
    images: &'a [RawDescriptor],
    tag: Option<&str>,
) -> Result<&'a RawDescriptor, Error> {
    let position = tag.and_then(|tag| tag.strip_prefix('@')?.parse::<usize>().ok());
    let is_named = |image: &RawDescriptor, name: &str| {
        image.reference_name() == Some(name)
            || image.image_name() == Some(name)
            || image.digest == name.strip_prefix('@').unwrap_or(name)
    };
    let is_nearly_named = |image: &RawDescriptor, name: &str| {
        let whole = image.image_name();
        whole.is_some_and(|whole| docker::same_name(whole, name))
    };
    let all = || images.iter().enumerate();
    let found: Vec<(usize, &RawDescriptor)> = match (position, tag) {
        (Some(position), _) => all().skip(position).take(1).collect(),
        (None, Some(tag)) => {
            let found: Vec<_> = all().filter(|(_, image)| is_named(image, tag)).collect();
            match found.is_empty() {
                true => all()
                    .filter(|(_, image)| is_nearly_named(image, tag))
                    .collect(),
                false => found,
            }
        }
        (None, None) => all().collect(),
    };
    let choices = |found: &[(usize, &RawDescriptor)]| Choices {
        file: store.path(),
        source: work.without_choice(tag),
        wanted: tag,
        offers: found.iter().map(|(place, it)| offer(*place, it)).collect(),
        has_places: true,
    };
    match found.as_slice() {
        [(_, first), rest @ ..] if rest.iter().all(|(_, image)| image.same_digest(first)) => {
            Ok(first)
        }
        [] => Err(choices(&all().collect::<Vec<_>>()).none_found()),
        several => Err(choices(several).several_found()),
    }
}

fn offer(place: usize, image: &RawDescriptor) -> Offer {
    let mut names: Vec<String> = [image.reference_name(), image.image_name()]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect();
    names.dedup();
    let is_known_by_name = image.platform.is_none() && !names.is_empty();
    Offer {
        place,
        names,
        about: (!is_known_by_name).then(|| image.platform_name()),
    }
}

/// An image as a message offers it.
pub(super) struct Offer {
    /// Its place in the list of images.
    pub(super) place: usize,
    /// Any of them chooses it.
    pub(super) names: Vec<String>,
    /// What else tells it from the others.
    pub(super) about: Option<String>,
}

/// The images of a source, for somebody who has to choose.
pub(super) struct Choices<'a> {
    pub(super) file: &'a Path,
    /// The source as it was written, without what chooses.
    pub(super) source: &'a str,
    pub(super) wanted: Option<&'a str>,
    pub(super) offers: Vec<Offer>,
    /// Whether a place chooses, too.
    pub(super) has_places: bool,
}

impl Choices<'_> {
    /// The error when nothing in the source is what was wanted.
    pub(super) fn none_found(self) -> Error {
        let file = self.file.to_owned();
        let choices = match self.offers.as_slice() {
            [] => return Error::NoImage { file },
            [offer] => {
                let shown = shown(offer, self.wanted);
                format!("it holds one, which needs no name: {shown}")
            }
            offers => format!(
                "choose one of its {} by {}:{}",
                offers.len(),
                self.ways(),
                self.lines()
            ),
        };
        Error::NoSuchImage {
            file,
            wanted: self.wanted.unwrap_or_default().to_owned(),
            choices,
        }
    }

    /// The error when several images are what was wanted.
    pub(super) fn several_found(self) -> Error {
        let count = self.offers.len();
        Error::Ambiguous {
            file: self.file.to_owned(),
            what: match self.wanted {
                Some(wanted) => format!("{count} images that {wanted:?} may mean"),
                None => format!("{count} images"),
            },
            way: self.ways(),
            choices: self.lines(),
        }
    }

    /// How to choose, with examples to copy.
    fn ways(&self) -> String {
        let write = |choice: &str| format!("{:?}", format!("{}:{choice}", self.source));
        let mut counts = HashMap::new();
        let all = self.offers.iter().flat_map(|offer| &offer.names);
        all.for_each(|name| *counts.entry(name).or_insert(0_usize) += 1);
        let only = |name: &&String| Some(name.as_str()) != self.wanted && counts[name] == 1;
        let sorted = self.sorted();
        let name = sorted.iter().find_map(|offer| {
            let names = sorted_names(offer, self.wanted);
            names.into_iter().find(only)
        });
        let place = sorted.first().filter(|_| self.has_places);
        let place = place.map(|offer| write(&format!("@{}", offer.place)));
        match (name.map(|name| write(name)), place) {
            (Some(name), Some(place)) => {
                format!("a name or by its place, as in {name} or {place}")
            }
            (Some(name), None) => format!("a name, as in {name}"),
            (None, Some(place)) => format!("its place, as in {place}"),
            (None, None) => "a name".to_owned(),
        }
    }

    /// An image per line, cut off before it fills the screen.
    fn lines(&self) -> String {
        let mut lines = String::new();
        for offer in self.sorted().into_iter().take(SHOWN) {
            lines.push_str("\n    ");
            if self.has_places {
                lines.push_str(&format!("@{} ", offer.place));
            }
            lines.push_str(&shown(offer, self.wanted));
        }
        let count = self.offers.len();
        if count > SHOWN {
            lines.push_str(&format!("\n    and {} more", count - SHOWN));
        }
        lines
    }

    /// In their order, unless they are too many: then those come first that somebody may have
    /// meant.
    fn sorted(&self) -> Vec<&Offer> {
        let mut offers: Vec<&Offer> = self.offers.iter().collect();
        if let Some(wanted) = self.wanted.filter(|_| offers.len() > SHOWN) {
            offers.sort_by_cached_key(|offer| {
                let names = offer.names.iter();
                names
                    .map(|name| distance(name, wanted))
                    .min()
                    .unwrap_or(usize::MAX)
            });
        }
        offers
    }
}

/// The names of an image, closest first to what was wanted.
fn sorted_names<'a>(offer: &'a Offer, wanted: Option<&str>) -> Vec<&'a String> {
    let mut names: Vec<&String> = offer.names.iter().collect();
    if let Some(wanted) = wanted.filter(|_| names.len() > SHOWN_NAMES) {
        names.sort_by_cached_key(|name| distance(name, wanted));
    }
    names
}

fn shown(offer: &Offer, wanted: Option<&str>) -> String {
    let names = sorted_names(offer, wanted);
    let quoted: Vec<String> = names
        .iter()
        .take(SHOWN_NAMES)
        .map(|name| format!("{name:?}"))
        .collect();
    let mut text = match quoted.as_slice() {
        [] => "without a name".to_owned(),
        quoted => quoted.join(" or "),
    };
    if names.len() > SHOWN_NAMES {
        text.push_str(&format!(" or {} more names", names.len() - SHOWN_NAMES));
    }
    if let Some(about) = &offer.about {
        text.push_str(&format!(" ({about})"));
    }
    text
}

/// How far apart two names are: what is left in the middle of the longer one when a common
/// beginning and a common end are taken away.
fn distance(one: &str, other: &str) -> usize {
    // Where they come from does not count, nor does the tag that goes without saying.
    fn last(name: &str) -> &[u8] {
        let last = name.rsplit('/').next().unwrap_or(name);
        last.strip_suffix(":latest").unwrap_or(last).as_bytes()
    }
    fn in_common<'a>(
        one: impl Iterator<Item = &'a u8>,
        other: impl Iterator<Item = &'a u8>,
    ) -> usize {
        one.zip(other)
            .take_while(|(one, other)| one == other)
            .count()
    }
    let (one, other) = (last(one), last(other));
    let start = in_common(one.iter(), other.iter());
    let (one, other) = (&one[start..], &other[start..]);
    let end = in_common(one.iter().rev(), other.iter().rev());
    one.len().max(other.len()) - end
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
/// What says that a directory is an image layout.
pub(super) const MARK: &str = "oci-layout";
const SHOWN: usize = 20;
const SHOWN_NAMES: usize = 3;

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use crate::image::{
        Loader, Source,
        manifest::OCI_MANIFEST,
        testing::{Layout, OCI_CONFIG, OCI_GZIP, chain, check, gzip, image_json, layer, shortened},
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
        expect![[r#"
            "DIR" holds 3 images; choose one by a name or by its place, as in "oci:DIR:v1" or "oci:DIR:@0":
                @0 without a name (sha256:…)
                @1 "v1"
                @2 "v2""#]].assert_eq(&text(None));
        expect![[r#"
            "DIR" holds no image "v9"; choose one of its 3 by a name or by its place, as in "oci:DIR:v1" or "oci:DIR:@0":
                @0 without a name (sha256:…)
                @1 "v1"
                @2 "v2""#]]
        .assert_eq(&text(Some("v9")));
        expect![[r#"
            "DIR" holds no image "@3"; choose one of its 3 by a name or by its place, as in "oci:DIR:v1" or "oci:DIR:@0":
                @0 without a name (sha256:…)
                @1 "v1"
                @2 "v2""#]]
        .assert_eq(&text(Some("@3")));
        expect![[r#""DIR" holds no image"#]].assert_eq(&Layout::new()?.error(None));
        Ok(())
    }

    /// With many images, those are listed whose names are close to what was written; the whole
    /// names that containerd and Docker give are offered, and may be shortened.
    #[test]
    fn many_choices() -> anyhow::Result<()> {
        let mut layout = Layout::new()?;
        for number in 0..200 {
            let config = layout.blob(OCI_CONFIG, format!("{{\"n\":{number}}}").as_bytes())?;
            let mut image = layout.document(OCI_MANIFEST, &image_json(&config, &[]))?;
            let name = format!("docker.io/team/app{number}:latest");
            image["annotations"] = json!({"io.containerd.image.name": name});
            image["platform"] = json!({"os": "linux", "architecture": "amd64"});
            layout.add(image, Some("latest"))?;
        }
        layout.load(Some("team/app7"))?;
        layout.load(Some("docker.io/team/app7:latest"))?;
        let text = |tag| shortened(&layout.error(tag));
        expect![[r#"
            "DIR" holds 200 images; choose one by a name or by its place, as in "oci:DIR:docker.io/team/app0:latest" or "oci:DIR:@0":
                @0 "latest" or "docker.io/team/app0:latest" (linux/amd64)
                @1 "latest" or "docker.io/team/app1:latest" (linux/amd64)
                @2 "latest" or "docker.io/team/app2:latest" (linux/amd64)
                … 16 more lines
                @19 "latest" or "docker.io/team/app19:latest" (linux/amd64)
                and 180 more"#]].assert_eq(&text(None));
        expect![[r#"
            "DIR" holds no image "team/ap150"; choose one of its 200 by a name or by its place, as in "oci:DIR:docker.io/team/app50:latest" or "oci:DIR:@50":
                @50 "latest" or "docker.io/team/app50:latest" (linux/amd64)
                @150 "latest" or "docker.io/team/app150:latest" (linux/amd64)
                @0 "latest" or "docker.io/team/app0:latest" (linux/amd64)
                … 16 more lines
                @9 "latest" or "docker.io/team/app9:latest" (linux/amd64)
                and 180 more"#]].assert_eq(&text(Some("team/ap150")));
        expect![[r#"
            "DIR" holds 200 images that "latest" may mean; choose one by a name or by its place, as in "oci:DIR:docker.io/team/app0:latest" or "oci:DIR:@0":
                @0 "latest" or "docker.io/team/app0:latest" (linux/amd64)
                @1 "latest" or "docker.io/team/app1:latest" (linux/amd64)
                @2 "latest" or "docker.io/team/app2:latest" (linux/amd64)
                … 16 more lines
                @19 "latest" or "docker.io/team/app19:latest" (linux/amd64)
                and 180 more"#]].assert_eq(&text(Some("latest")));
        expect![[r#"
            "DIR" holds no image "@200"; choose one of its 200 by a name or by its place, as in "oci:DIR:docker.io/team/app0:latest" or "oci:DIR:@0":
                @0 "latest" or "docker.io/team/app0:latest" (linux/amd64)
                @1 "latest" or "docker.io/team/app1:latest" (linux/amd64)
                @2 "latest" or "docker.io/team/app2:latest" (linux/amd64)
                … 16 more lines
                @100 "latest" or "docker.io/team/app100:latest" (linux/amd64)
                and 180 more"#]].assert_eq(&text(Some("@200")));
        Ok(())
    }

    /// Two images with one tag are ambiguous; one image named twice is not.
    #[test]
    fn a_tag_given_twice() -> anyhow::Result<()> {
        let mut layout = with_images(2)?;
        let image = layout.image(&[])?;
        layout.add(image.clone(), Some("v1"))?;
        let digest = image["digest"].as_str().unwrap_or_default();
        expect![[r#"
            "DIR" holds 2 images that "v1" may mean; choose one by its place, as in "oci:DIR:@1":
                @1 "v1"
                @2 "v1""#]]
        .assert_eq(&layout.error(Some("v1")).replace(digest, "sha256:…"));
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
