//! Image layout directories.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>.
//! Links in the directory are followed: build systems make layouts of links into
//! their stores, and every blob is checked by its digest.

use std::path::Path;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{
    Error, Image, Loader,
    file::{self, Extent},
    manifest::{self, RawDescriptor, Store},
};

/// Reads the image with a tag from a directory, or the only one.
pub(super) fn load(
    loader: &Loader,
    directory: &Path,
    tag: Option<&str>,
    stop: &CancellationToken,
) -> Result<Image, Error> {
    let metadata = std::fs::metadata(directory).map_err(|cause| Error::Read {
        place: format!("{directory:?}"),
        cause,
    })?;
    if !metadata.is_dir() {
        return Err(Error::NotAFile {
            path: directory.to_owned(),
            kind: file::kind(&metadata),
            expected: "the directory of an image layout",
        });
    }
    let store = Store::Directory(directory);
    check_version(&store)?;
    let Some(extent) = store.find(INDEX)? else {
        return Err(Error::NotALayout {
            directory: directory.to_owned(),
            problem: format!("it has no file {INDEX}"),
        });
    };
    let images = images(&store, &extent)?;
    let chosen = choose(directory, &images, tag)?;
    manifest::load(loader, &store, chosen, &extent.place(), stop)
}

/// The images that a layout names.
pub(super) fn images(store: &Store<'_>, index: &Extent) -> Result<Vec<RawDescriptor>, Error> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<RawDescriptor>,
    }
    let index: Index = store.json(index, "the index of an image layout")?;
    Ok(index.manifests)
}

fn check_version(store: &Store<'_>) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
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
        directory: store.path().to_owned(),
        problem,
    })
}

fn choose<'a>(
    directory: &Path,
    images: &'a [RawDescriptor],
    tag: Option<&str>,
) -> Result<&'a RawDescriptor, Error> {
    let position = tag.and_then(|tag| tag.strip_prefix('@')?.parse::<usize>().ok());
    let found: Vec<&RawDescriptor> = match (position, tag) {
        (Some(position), _) => images.get(position).into_iter().collect(),
        (None, Some(tag)) => images
            .iter()
            .filter(|image| image.reference_name() == Some(tag) || image.image_name() == Some(tag))
            .collect(),
        (None, None) => images.iter().collect(),
    };
    match found.as_slice() {
        [first, rest @ ..] if rest.iter().all(|image| image.same_digest(first)) => Ok(first),
        [] => Err(Error::NoSuchImage {
            file: directory.to_owned(),
            wanted: tag.unwrap_or_default().to_owned(),
            choices: choices(images),
        }),
        _ => Err(Error::Ambiguous {
            file: directory.to_owned(),
            syntax: "oci:DIRECTORY:TAG, or oci:DIRECTORY:@NUMBER with its place in index.json",
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
    match images {
        [] => "no image at all".to_owned(),
        images => listed(images.iter().enumerate().map(name)),
    }
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
