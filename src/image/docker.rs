//! Archives as `docker save` writes them.
//!
//! All of them have a `manifest.json` that names configuration and layers of
//! each image: Docker before 25 with a directory for every layer and links for
//! repeated ones, podman and buildah with a file for every layer, later Dockers with an
//! image layout around it. A pushed archive is an image of Docker's schema 2, as
//! `docker push` makes it, written from `manifest.json`: the same image gives the
//! same digest whichever of these programs saved it. Two kinds of archives hold
//! manifests that are to be kept instead, and then their original bytes are
//! pushed: an image whose layers all come compressed (containerd's store), and
//! an index of several platforms, of which `manifest.json` names just one.

use std::collections::{HashMap, hash_map::Entry};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Descriptor, Digest, Error, Image, Loader, Manifest,
    archive::Archive,
    blob::{Memory, Stored},
    file::Extent,
    layout,
    manifest::{
        self, DOCKER_CONFIG, DOCKER_LAYERS, DOCKER_MANIFEST, Format, ImageBuilder, Store, canonical,
    },
};

/// An image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Reads the image with a name from an archive, or the only one.
pub(super) fn load(
    loader: &Loader,
    archive: &Archive,
    reference: Option<&str>,
    stop: &CancellationToken,
) -> Result<Image, Error> {
    let store = Store::Archive(archive);
    let Some(list) = archive.find("manifest.json")? else {
        let hint = match archive.find(layout::INDEX)? {
            Some(_) => "; it is an image layout in an archive: unpack it, and write oci:DIRECTORY",
            None => ", so docker save did not write it",
        };
        return Err(archive.missing("manifest.json", hint));
    };
    let items: Vec<Item> = store.json(&list, "the list of images that docker save writes")?;
    let item = choose(archive, &items, reference)?;
    let config = archive.get(&item.config)?;
    let config_bytes = config.document()?;
    if let Some(index) = archive.find(layout::INDEX)? {
        let digest = Digest::of(&config_bytes);
        for image in in_order(layout::images(&store, &index)?, item) {
            let survey = manifest::survey(&store, &image, &index.place())?;
            if survey.configs.contains(digest.as_str()) && (survey.is_ready || survey.images > 1) {
                return manifest::load(loader, &store, &image, &index.place(), stop);
            }
        }
    }
    schema2(loader, archive, item, &config, config_bytes, stop)
}

/// The images of the layout, those with a name of the chosen image first.
fn in_order(mut images: Vec<manifest::RawDescriptor>, item: &Item) -> Vec<manifest::RawDescriptor> {
    let tags = item.repo_tags.as_deref().unwrap_or_default();
    images.sort_by_key(|image| {
        let is_named = image
            .image_name()
            .is_some_and(|name| tags.iter().any(|tag| same_name(tag, name)));
        !is_named
    });
    images
}

fn choose<'a>(
    archive: &Archive,
    items: &'a [Item],
    reference: Option<&str>,
) -> Result<&'a Item, Error> {
    let position = reference.and_then(|text| text.strip_prefix('@')?.parse::<usize>().ok());
    let found: Vec<&Item> = match (position, reference) {
        (Some(position), _) => items.get(position).into_iter().collect(),
        (None, Some(name)) => items
            .iter()
            .filter(|item| {
                item.repo_tags
                    .iter()
                    .flatten()
                    .any(|tag| same_name(tag, name))
            })
            .collect(),
        (None, None) => items.iter().collect(),
    };
    match found.as_slice() {
        [item] => Ok(item),
        [] => Err(Error::NoSuchImage {
            file: archive.path().to_owned(),
            wanted: reference.unwrap_or_default().to_owned(),
            choices: choices(items),
        }),
        _ => Err(Error::Ambiguous {
            file: archive.path().to_owned(),
            syntax: "docker-archive:FILE:NAME:TAG, or docker-archive:FILE:@NUMBER with its place in manifest.json",
            choices: choices(items),
        }),
    }
}

fn choices(items: &[Item]) -> String {
    let name = |(position, item): (usize, &Item)| match item.repo_tags.as_deref() {
        None | Some([]) => format!("@{position} without a name"),
        Some(tags) => {
            let tags: Vec<String> = tags.iter().take(3).map(|tag| format!("{tag:?}")).collect();
            format!("@{position} is {}", tags.join(" and "))
        }
    };
    match items {
        [] => "no image at all".to_owned(),
        items => layout::listed(items.iter().enumerate().map(name)),
    }
}

/// Whether two names mean one image: Docker leaves out its own registry and
/// `latest`.
fn same_name(one: &str, other: &str) -> bool {
    fn whole(name: &str) -> String {
        let name = ["index.docker.io/", "docker.io/"]
            .into_iter()
            .find_map(|registry| name.strip_prefix(registry))
            .unwrap_or(name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        let last = name.rsplit('/').next().unwrap_or(name);
        if last.contains(':') {
            name.to_owned()
        } else {
            format!("{name}:latest")
        }
    }
    whole(one) == whole(other)
}

/// Writes a manifest of Docker's schema 2 for an image of `manifest.json`.
fn schema2(
    loader: &Loader,
    archive: &Archive,
    item: &Item,
    config: &Extent,
    config_bytes: Vec<u8>,
    stop: &CancellationToken,
) -> Result<Image, Error> {
    let names = item.layers.as_deref().unwrap_or_default();
    let diff_ids = diff_ids(config, &config_bytes)?;
    if names.len() != diff_ids.len() {
        return Err(Error::Malformed {
            place: config.place(),
            problem: format!(
                "it describes {} layers, and manifest.json names {}",
                diff_ids.len(),
                names.len()
            ),
        });
    }
    let mut image = ImageBuilder::default();
    let config_descriptor = Descriptor {
        media_type: DOCKER_CONFIG.to_owned(),
        digest: Digest::of(&config_bytes),
        size: config_bytes.len() as u64,
    };
    image.blob(
        &config_descriptor.digest,
        config_descriptor.size,
        Memory(config_bytes.into()),
    );
    let mut layers = Vec::with_capacity(names.len());
    let mut done: HashMap<(u64, Digest), Descriptor> = HashMap::new();
    for (name, diff_id) in names.iter().zip(diff_ids) {
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let extent = archive.get(name)?;
        // The same empty layer is in many images several times.
        let descriptor = match done.entry((extent.offset, diff_id)) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let descriptor = layer(loader, &mut image, &extent, &new.key().1, stop)?;
                new.insert(descriptor).clone()
            }
        };
        layers.push(descriptor);
    }
    let bytes = canonical(&json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": written(&config_descriptor),
        "layers": layers.iter().map(written).collect::<Vec<_>>(),
    }));
    image.manifest(Manifest {
        media_type: DOCKER_MANIFEST.to_owned(),
        digest: Digest::of(&bytes),
        bytes,
        config: Some(config_descriptor),
        layers,
    });
    Ok(image.finish())
}

/// A layer by its bytes: archives do not say how it is compressed, and names lie.
fn layer(
    loader: &Loader,
    image: &mut ImageBuilder,
    extent: &Extent,
    diff_id: &Digest,
    stop: &CancellationToken,
) -> Result<Descriptor, Error> {
    let media_type = match Format::of(extent)? {
        Format::Gzip => DOCKER_LAYERS[1],
        Format::Zstd => DOCKER_LAYERS[2],
        Format::Tar | Format::Other => {
            let compressed = loader.compress(extent, stop)?;
            if compressed.diff_id != *diff_id {
                return Err(Error::Digest {
                    place: extent.place(),
                    expected: diff_id.clone(),
                    actual: compressed.diff_id,
                });
            }
            image.packed(loader, extent, &compressed);
            return Ok(Descriptor {
                media_type: DOCKER_LAYERS[1].to_owned(),
                digest: compressed.digest,
                size: compressed.size,
            });
        }
    };
    // Whether it unpacks to its diff_id is for those who unpack it.
    let digest = match promised(extent) {
        Some(digest) => digest,
        None => loader.memo().digest(extent, || extent.digest(stop))?,
    };
    let source = Stored {
        extent: extent.clone(),
        digest: digest.clone(),
    };
    image.blob(&digest, extent.length, source);
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size: extent.length,
    })
}

/// The digest that an entry's name says; it is checked while the layer is sent.
fn promised(extent: &Extent) -> Option<Digest> {
    let hex = extent.entry.as_ref()?.strip_prefix("blobs/sha256/")?;
    format!("sha256:{hex}").parse().ok()
}

fn diff_ids(config: &Extent, bytes: &[u8]) -> Result<Vec<Digest>, Error> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        rootfs: RootFs,
    }
    #[derive(Default, Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Option<Vec<String>>,
    }
    let config: Config = manifest::parse(bytes, &config.place(), "the configuration of an image")?;
    let diff_ids = config.rootfs.diff_ids.unwrap_or_default();
    diff_ids.iter().map(|text| text.parse()).collect()
}

fn written(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        "digest": descriptor.digest.as_str(),
    })
}
