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

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Descriptor, Digest, Error, Image, Layer, Manifest, ManifestFormat,
    archive::Archive,
    blob::Memory,
    layer::{DOCKER_LAYERS, Format, OCI_LAYERS},
    layout::{self, Choices, Offer},
    manifest::{
        self, DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST, RawPlatform, canonical,
    },
    part::Part,
    source,
    walk::{self, ImageBuilder, Store, ZSTD_NEEDS_OCI},
    work::Work,
};

/// An image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[serde(expecting = "an object")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Item {
    /// Whether it is the same image, perhaps under another name.
    fn is_same(&self, other: &Self) -> bool {
        self.config == other.config && self.layers == other.layers
    }
}

/// Reads the image with a name from an archive, or the only one.
pub(super) fn load(
    work: &Work<'_>,
    archive: &Archive,
    reference: Option<&str>,
) -> Result<Image, Error> {
    let store = Store::Archive(archive);
    let Some(list) = archive.find(LIST)? else {
        let other = source::other_archive(archive, reference);
        return Err(
            other.unwrap_or_else(|| archive.missing(LIST, ", so docker save did not write it"))
        );
    };
    let items: Vec<Item> = store.json(&list, "the list of images that docker save writes")?;
    let item = choose(work, archive, &items, reference)?;
    let config = archive.get(&item.config, NAMED)?;
    let config_bytes = config.document()?;
    if let Some(index) = archive.find(layout::INDEX)? {
        let digest = Digest::of(&config_bytes);
        for image in in_order(layout::images(&store, &index)?, item) {
            let survey = walk::survey(&store, &image, &index.place())?;
            if survey.configs.contains(digest.as_str()) && (survey.is_ready || survey.images > 1) {
                return walk::load(work, &store, &image, &index.place());
            }
        }
    }
    schema2(work, archive, item, &config, config_bytes)
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
    work: &Work<'_>,
    archive: &Archive,
    items: &'a [Item],
    reference: Option<&str>,
) -> Result<&'a Item, Error> {
    let position = reference.and_then(|text| text.strip_prefix('@')?.parse::<usize>().ok());
    let has_name = |item: &Item, name: &str| {
        let mut tags = item.repo_tags.iter().flatten();
        tags.any(|tag| same_name(tag, name))
    };
    let all = || items.iter().enumerate();
    let found: Vec<(usize, &Item)> = match (position, reference) {
        (Some(position), _) => all().skip(position).take(1).collect(),
        (None, Some(name)) => match name.strip_prefix('@').unwrap_or(name).parse::<Digest>() {
            Ok(id) => with_id(archive, items, &id)?,
            Err(_) => all().filter(|(_, item)| has_name(item, name)).collect(),
        },
        (None, None) => all().collect(),
    };
    let choices = |found: &[(usize, &Item)]| Choices {
        file: archive.path(),
        // What Docker's socket gives is not chosen by its place.
        source: match archive.is_file() {
            true => work.without_choice(reference),
            false => "docker-daemon",
        },
        wanted: reference,
        offers: found.iter().map(|(place, it)| offer(*place, it)).collect(),
        has_places: archive.is_file(),
    };
    match found.as_slice() {
        [(_, first), rest @ ..] if rest.iter().all(|(_, item)| item.is_same(first)) => Ok(first),
        [] => Err(choices(&all().collect::<Vec<_>>()).none_found()),
        several => Err(choices(several).several_found()),
    }
}

/// The images whose configuration has a digest: what Docker calls an image's id.
fn with_id<'a>(
    archive: &Archive,
    items: &'a [Item],
    id: &Digest,
) -> Result<Vec<(usize, &'a Item)>, Error> {
    let mut found = Vec::new();
    for (place, item) in items.iter().enumerate() {
        if Digest::of(&archive.get(&item.config, NAMED)?.document()?) == *id {
            found.push((place, item));
        }
    }
    Ok(found)
}

fn offer(place: usize, item: &Item) -> Offer {
    Offer {
        place,
        names: item.repo_tags.clone().unwrap_or_default(),
        about: None,
    }
}

/// Whether something is the list of images that `docker save` writes: programs of all kinds
/// have a file of that name.
pub(super) fn is_list(part: &Part) -> bool {
    let bytes = part.document();
    bytes.is_ok_and(|bytes| serde_json::from_slice::<Vec<Item>>(&bytes).is_ok())
}

/// Whether two names mean one image: Docker leaves out its own registry and
/// `latest`.
pub(super) fn same_name(one: &str, other: &str) -> bool {
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

/// Writes a manifest for an image of `manifest.json`: of Docker's schema 2, unless
/// the user wants the other format.
fn schema2(
    work: &Work<'_>,
    archive: &Archive,
    item: &Item,
    config: &Part,
    config_bytes: Vec<u8>,
) -> Result<Image, Error> {
    check_platform(work, archive, &config_bytes)?;
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
    let types = Types::of(work.options.format);
    let mut image = ImageBuilder::default();
    let config_descriptor = Descriptor {
        media_type: types.config.to_owned(),
        digest: Digest::of(&config_bytes),
        size: config_bytes.len() as u64,
    };
    image.blob(
        &config_descriptor.digest,
        config_descriptor.size,
        Arc::new(Memory(config_bytes.into())),
    );
    let mut layers = Vec::with_capacity(names.len());
    let mut done: HashMap<(u64, Digest), Descriptor> = HashMap::new();
    for (name, diff_id) in names.iter().zip(diff_ids) {
        if work.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let part = archive.get(name, NAMED)?;
        // The same empty layer is in many images several times.
        let descriptor = match done.entry((part.offset(), diff_id)) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let layer = layer(work, &mut image, types, &part, &new.key().1)?;
                image.layer(layer.clone());
                new.insert(layer.descriptor).clone()
            }
        };
        layers.push(descriptor);
    }
    let bytes = canonical(&json!({
        "schemaVersion": 2,
        "mediaType": types.manifest,
        "config": written(&config_descriptor),
        "layers": layers.iter().map(written).collect::<Vec<_>>(),
    }));
    image.manifest(Manifest {
        media_type: types.manifest.to_owned(),
        digest: Digest::of(&bytes),
        bytes,
        config: Some(config_descriptor),
        layers,
    });
    Ok(image.finish())
}

/// Media types of what is written.
#[derive(Clone, Copy)]
struct Types {
    manifest: &'static str,
    config: &'static str,
    layers: &'static [&'static str; 3],
    format: ManifestFormat,
}

impl Types {
    fn of(format: ManifestFormat) -> Self {
        match format {
            ManifestFormat::Oci => Self {
                manifest: OCI_MANIFEST,
                config: OCI_CONFIG,
                layers: &OCI_LAYERS,
                format,
            },
            ManifestFormat::Docker | ManifestFormat::Source => Self {
                manifest: DOCKER_MANIFEST,
                config: DOCKER_CONFIG,
                layers: &DOCKER_LAYERS,
                format,
            },
        }
    }
}

/// Whether the only image there is is one of those that were asked for.
fn check_platform(work: &Work<'_>, archive: &Archive, config: &[u8]) -> Result<(), Error> {
    let platform: RawPlatform = serde_json::from_slice(config).unwrap_or_default();
    let missed = work
        .options
        .platforms
        .iter()
        .find(|wanted| !platform.is_in(wanted));
    match missed {
        None => Ok(()),
        Some(wanted) => Err(Error::NoSuchPlatform {
            file: archive.path().to_owned(),
            wanted: wanted.to_string(),
            present: platform.name(),
        }),
    }
}

/// A layer by its bytes: archives do not say how it is compressed, and names lie.
fn layer(
    work: &Work<'_>,
    image: &mut ImageBuilder,
    types: Types,
    part: &Part,
    diff_id: &Digest,
) -> Result<Layer, Error> {
    let refused = |target, problem: &str| Error::Conversion {
        place: part.place(),
        target,
        problem: problem.to_owned(),
    };
    let media_type = match part.format()? {
        Format::Gzip => types.layers[1],
        Format::Zstd if types.format == ManifestFormat::Docker => {
            let problem = "it is compressed with zstd, and that format has no such layers";
            return Err(refused("a layer of Docker's format", problem));
        }
        Format::Zstd => types.layers[2],
        Format::Tar | Format::Other => match work.options.compression.algorithm() {
            Some(algorithm) => {
                if algorithm.format() == Format::Zstd && types.format != ManifestFormat::Oci {
                    return Err(refused("a zstd layer", ZSTD_NEEDS_OCI));
                }
                let made = work.pack(part, algorithm, diff_id)?;
                let (digest, size) = (made.compressed.digest, made.compressed.size);
                image.blob(&digest, size, made.source);
                return Ok(Layer {
                    diff_id: Some(diff_id.clone()),
                    descriptor: Descriptor {
                        media_type: match algorithm.format() {
                            Format::Zstd => types.layers[2],
                            _ => types.layers[1],
                        }
                        .to_owned(),
                        digest,
                        size,
                    },
                    algorithm: Some(made.algorithm),
                });
            }
            None => {
                let actual = work.digest(part)?;
                if actual != *diff_id {
                    return Err(Error::Digest {
                        place: part.place(),
                        expected: diff_id.clone(),
                        actual,
                    });
                }
                types.layers[0]
            }
        },
    };
    // Whether it unpacks to its diff_id is for those who unpack it.
    let digest = match promised(part) {
        Some(digest) => digest,
        None => work.digest(part)?,
    };
    image.blob(&digest, part.length(), work.stored(part, &digest));
    Ok(Layer {
        diff_id: Some(diff_id.clone()),
        descriptor: Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: part.length(),
        },
        algorithm: None,
    })
}

/// The digest that an entry's name says; it is checked while the layer is sent.
fn promised(part: &Part) -> Option<Digest> {
    let hex = part.entry()?.strip_prefix("blobs/sha256/")?;
    format!("sha256:{hex}").parse().ok()
}

fn diff_ids(config: &Part, bytes: &[u8]) -> Result<Vec<Digest>, Error> {
    #[derive(Deserialize)]
    #[serde(expecting = "an object")]
    struct Config {
        #[serde(default)]
        rootfs: RootFs,
    }
    #[derive(Default, Deserialize)]
    #[serde(expecting = "an object")]
    struct RootFs {
        #[serde(default)]
        diff_ids: Option<Vec<String>>,
    }
    let parsed: Config = manifest::parse(bytes, &config.place(), "the configuration of an image")?;
    let diff_ids = parsed.rootfs.diff_ids.unwrap_or_default();
    let checked = |text: &String| {
        text.parse().map_err(|error: Error| Error::Malformed {
            place: config.place(),
            problem: error.to_string(),
        })
    };
    diff_ids.iter().map(checked).collect()
}

fn written(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        "digest": descriptor.digest.as_str(),
    })
}

/// The list of images that `docker save` writes.
pub(super) const LIST: &str = "manifest.json";

const NAMED: &str = ", which its manifest.json names";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect;

    use super::*;
    use tokio_util::sync::CancellationToken;

    use crate::image::{
        LoadOptions, Loader, Source,
        manifest::{OCI_INDEX, OCI_MANIFEST},
        stream,
        testing::{
            ArchiveFile, OCI_CONFIG, OCI_GZIP, OCI_TAR, Tar, check, descriptor, gunzip, gzip,
            image_json, index_json, layer, read, shortened,
        },
    };

    fn config(layers: &[&[u8]]) -> Vec<u8> {
        let diff_ids: Vec<String> = layers.iter().map(|it| Digest::of(it).to_string()).collect();
        json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
            .to_string()
            .into_bytes()
    }

    fn blob(bytes: &[u8]) -> String {
        format!("blobs/sha256/{}", Digest::of(bytes).hex())
    }

    /// What Docker before 25 writes: a directory per layer, links for repeated ones.
    fn old_docker(one: &[u8], two: &[u8]) -> Tar {
        let config = config(&[one, two, one]);
        let name = format!("{}.json", Digest::of(&config).hex());
        Tar::new()
            .raw(tar::EntryType::Directory, "1a/", b"")
            .file("1a/VERSION", b"1.0")
            .file("1a/json", b"{}")
            .file("1a/layer.tar", one)
            .file("2b/layer.tar", two)
            .link(tar::EntryType::Symlink, "3c/layer.tar", "../1a/layer.tar")
            .file(&name, &config)
            .json(
                "manifest.json",
                &json!([{
                    "Config": name,
                    "RepoTags": ["motando/webapp:1.0"],
                    "Layers": ["1a/layer.tar", "2b/layer.tar", "3c/layer.tar"],
                }]),
            )
            .file("repositories", b"{}")
    }

    /// What Docker from 25 on writes: a layout with uncompressed layers around it.
    fn new_docker(one: &[u8], two: &[u8]) -> Tar {
        let config = config(&[one, two, one]);
        let layers = [one, two, one].map(|it| descriptor(OCI_TAR, it));
        let manifest = image_json(&descriptor(OCI_CONFIG, &config), &layers).to_string();
        Tar::new()
            .file(&blob(one), one)
            .file(&blob(two), two)
            .file(&blob(&config), &config)
            .file(&blob(manifest.as_bytes()), manifest.as_bytes())
            .json(
                "index.json",
                &index_json(&[descriptor(OCI_MANIFEST, manifest.as_bytes())]),
            )
            .json(
                "manifest.json",
                &json!([{
                    "Config": blob(&config),
                    "RepoTags": ["motando/webapp:1.0"],
                    "Layers": [blob(one), blob(two), blob(one)],
                }]),
            )
            .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// What podman and buildah write: a file per layer, named by its content.
    fn podman(one: &[u8], two: &[u8]) -> Tar {
        let config = config(&[one, two, one]);
        let name = format!("{}.json", Digest::of(&config).hex());
        let file = |bytes| format!("{}.tar", Digest::of(bytes).hex());
        Tar::new()
            .file(&file(one), one)
            .file(&file(two), two)
            .link(
                tar::EntryType::Symlink,
                "5e/layer.tar",
                &format!("../{}", file(one)),
            )
            .file(&name, &config)
            .json(
                "manifest.json",
                &json!([{
                    "Config": name,
                    "RepoTags": ["localhost/motando/webapp:1.0"],
                    "Layers": [file(one), file(two), file(one)],
                }]),
            )
    }

    fn layers() -> (Vec<u8>, Vec<u8>) {
        (layer("one", &[b'1'; 1_500_000]), layer("two", b"2"))
    }

    /// Whoever saved an image, it is the same image: schema 2, as `docker push`
    /// makes it, with the configuration's own bytes.
    #[test]
    fn all_savers_agree() -> anyhow::Result<()> {
        let (one, two) = layers();
        let files = [old_docker, new_docker, podman].map(|saver| saver(&one, &two).save());
        let [old_file, new_file, podman_file] = files;
        let (old_file, new_file, podman_file) = (old_file?, new_file?, podman_file?);
        let old = old_file.load(None)?;
        let new = new_file.load(None)?;
        let podman = podman_file.load(None)?;
        for image in [&old, &new, &podman] {
            check(image)?;
        }
        let written = std::str::from_utf8(&old.root().bytes)?;
        expect![[r#"{"config":{"digest":"sha256:6844cbc740cbefe412e03cf50e9a70b2247e9baef7ceada053e49ff91a8bbf2b","mediaType":"application/vnd.docker.container.image.v1+json","size":276},"layers":[{"digest":"sha256:2c2cb08483f5324e2e53b2a70c91d5b3e7cd2f7f8bb57dcbb6ab1dccc83e301e","mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":1731},{"digest":"sha256:915ea4f7da018cb255de8d972ff4393310b3521e4f163d9d1f22d6346bcb6ad6","mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":83},{"digest":"sha256:2c2cb08483f5324e2e53b2a70c91d5b3e7cd2f7f8bb57dcbb6ab1dccc83e301e","mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":1731}],"mediaType":"application/vnd.docker.distribution.manifest.v2+json","schemaVersion":2}"#]].assert_eq(written);
        assert_eq!(new.root().bytes, written);
        assert_eq!(podman.root().bytes, written);
        assert_eq!(
            old.image_id(),
            Some(&Digest::of(&config(&[&one, &two, &one])))
        );
        // A configuration and two layers, one of them used twice.
        assert_eq!(old.blobs.len(), 3);
        assert!(gunzip(&read(&old.blobs[1])?)? == one);
        Ok(())
    }

    /// What crane, kaniko and jib write: compressed layers, named after what they unpack
    /// to or after nothing in particular. All three are the same image, whose
    /// layers are sent as they are.
    #[test]
    fn compressed_savers_agree() -> anyhow::Result<()> {
        let (one, two) = layers();
        let (packed_one, packed_two) = (gzip(&one), gzip(&two));
        let config = config(&[&one, &two]);
        let hex = |bytes: &[u8]| Digest::of(bytes).hex().to_owned();
        let archive = |config_name: &str, names: [&str; 2], tags: Value| {
            Tar::new()
                .file(config_name, &config)
                .file(names[0], &packed_one)
                .file(names[1], &packed_two)
                .json(
                    LIST,
                    &json!([{"Config": config_name, "RepoTags": tags, "Layers": names}]),
                )
                .save()
        };
        let by_content = [&packed_one, &packed_two].map(|it| format!("{}.tar.gz", hex(it)));
        let by_content = [by_content[0].as_str(), by_content[1].as_str()];
        let by_diff_id = [&one, &two].map(|it| format!("{}.tar.gz", hex(it)));
        let by_diff_id = [by_diff_id[0].as_str(), by_diff_id[1].as_str()];
        let id = Digest::of(&config);
        let crane = archive(id.as_str(), by_content, json!(["gru.ocir.io/ns/web:1.0"]))?;
        let kaniko = archive(id.as_str(), by_content, Value::Null)?;
        let jib = archive("config.json", by_diff_id, json!(["web"]))?;
        let image = crane.load(None)?;
        check(&image)?;
        for other in [&kaniko, &jib] {
            assert_eq!(other.load(None)?.root().digest, image.root().digest);
        }
        let digests: Vec<&Digest> = image.root().layers.iter().map(|it| &it.digest).collect();
        assert_eq!(
            digests,
            [&Digest::of(&packed_one), &Digest::of(&packed_two)]
        );
        let diff_ids: Vec<_> = image.layers.iter().map(|it| it.diff_id.clone()).collect();
        assert_eq!(diff_ids, [Some(Digest::of(&one)), Some(Digest::of(&two))]);
        assert!(image.layers.iter().all(|it| it.to_remember().is_none()));
        // By its name, by what Docker calls its id, and by its place.
        jib.load(Some("web:latest"))?;
        for reference in ["@0".to_owned(), id.to_string(), format!("@{id}")] {
            kaniko.load(Some(&reference))?;
        }
        let other = Digest::of(b"other").to_string();
        assert!(kaniko.load(Some(&other)).is_err());
        Ok(())
    }

    /// An archive of containerd's store holds compressed layers and the manifest
    /// they were pulled or built with, which is pushed as it is.
    fn containerd(platforms: &[&str], is_missing: impl Fn(&str) -> bool) -> (Tar, String) {
        let mut tar = Tar::new();
        let mut children = Vec::new();
        let mut first = None;
        for platform in platforms {
            let plain = layer(platform, b"content");
            let (config, packed) = (config(&[&plain]), gzip(&plain));
            let config_descriptor = descriptor(OCI_CONFIG, &config);
            let layers = [descriptor(OCI_GZIP, &packed)];
            let manifest = format!("{:#}", image_json(&config_descriptor, &layers));
            let mut child = descriptor(OCI_MANIFEST, manifest.as_bytes());
            child["platform"] = json!({"os": "linux", "architecture": platform});
            children.push(child);
            if !is_missing(platform) {
                tar = tar
                    .file(&blob(&packed), &packed)
                    .file(&blob(&config), &config)
                    .file(&blob(manifest.as_bytes()), manifest.as_bytes());
                first.get_or_insert((blob(&config), blob(&packed)));
            }
        }
        let statement = b"{}";
        let config = descriptor(OCI_CONFIG, b"{\"a\":1}");
        let layers = [descriptor("application/vnd.in-toto+json", statement)];
        let attestation = image_json(&config, &layers).to_string();
        let mut child = descriptor(OCI_MANIFEST, attestation.as_bytes());
        child["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        child["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        children.push(child);
        let index = format!("{:#}", index_json(&children));
        let (config, packed) = first.unwrap_or_default();
        let tar = tar
            .file(&blob(statement), statement)
            .file(&blob(b"{\"a\":1}"), b"{\"a\":1}")
            .file(&blob(attestation.as_bytes()), attestation.as_bytes())
            .file(&blob(index.as_bytes()), index.as_bytes())
            .json(
                "index.json",
                &index_json(&[descriptor(OCI_INDEX, index.as_bytes())]),
            )
            .json(
                "manifest.json",
                &json!([{"Config": config, "RepoTags": ["web:1"], "Layers": [packed]}]),
            )
            .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        (tar, index)
    }

    /// An image with its attestation, as `docker build` leaves it in containerd's
    /// store: the index keeps its bytes.
    #[test]
    fn compressed_layers_keep_their_index() -> anyhow::Result<()> {
        for platforms in [&["amd64"][..], &["amd64", "arm64"]] {
            let (tar, index) = containerd(platforms, |_| false);
            let file = tar.save()?;
            let image = file.load(Some("docker.io/library/web:1"))?;
            check(&image)?;
            assert_eq!(image.root().bytes, index);
            assert_eq!(image.manifests.len(), platforms.len() + 2);
        }
        Ok(())
    }

    /// Platforms that were never pulled are missing in the archive.
    #[test]
    fn missing_platforms() -> anyhow::Result<()> {
        let (tar, _) = containerd(&["amd64", "arm64", "s390x"], |platform| platform != "amd64");
        expect![[r#"
            "DIR/image.tar" holds an index of several platforms, but not the images for linux/arm64, linux/s390x (it has linux/amd64); get them, too, for example with docker pull --platform or skopeo copy --all, and save the image again if it is in a file, or choose from what is there, which changes the digest:
                platforms = ["linux/amd64"]"#]].assert_eq(&tar.save()?.error(None));
        Ok(())
    }

    /// Other builders write compressed layers and no layout.
    #[test]
    fn compressed_layers_without_a_layout() -> anyhow::Result<()> {
        let plain = layer("file", b"content");
        let (config, packed) = (config(&[&plain]), gzip(&plain));
        let file = Tar::new()
            .file("sha256:config", &config)
            .file("layer.tar", &packed)
            .json(
                "manifest.json",
                &json!([{"Config": "sha256:config", "RepoTags": null, "Layers": ["layer.tar"]}]),
            )
            .save()?;
        let image = file.load(None)?;
        check(&image)?;
        assert_eq!(image.root().layers[0].digest, Digest::of(&packed));
        assert_eq!(image.root().layers[0].media_type, DOCKER_LAYERS[1]);
        Ok(())
    }

    /// An image may have no layers.
    #[test]
    fn no_layers() -> anyhow::Result<()> {
        let file = Tar::new()
            .file("config", b"{}")
            .json(
                "manifest.json",
                &json!([{"Config": "config", "Layers": null}]),
            )
            .save()?;
        let image = file.load(None)?;
        check(&image)?;
        assert!(image.root().layers.is_empty());
        Ok(())
    }

    /// Two images, the second with two names; Docker's own registry and `latest` go
    /// without saying.
    fn two_images() -> anyhow::Result<ArchiveFile> {
        Tar::new()
            .file("a.json", b"{\"a\":1}")
            .file("b.json", b"{\"b\":2}")
            .file("c.json", b"{\"c\":3}")
            .json(
                "manifest.json",
                &json!([
                    {"Config": "a.json", "RepoTags": ["alpine:latest"]},
                    {"Config": "b.json", "RepoTags": ["docker.io/me/b:1", "localhost:5000/b:1"]},
                    {"Config": "c.json", "RepoTags": null},
                ]),
            )
            .save()
    }

    /// An image is chosen by any of its names, long or short, or by its place.
    #[test]
    fn chosen() -> anyhow::Result<()> {
        let file = two_images()?;
        let id = |reference| {
            let image = file.load(Some(reference))?;
            anyhow::Ok(image.image_id().cloned())
        };
        let [a, b, c] =
            ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"].map(|it| Some(Digest::of(it.as_bytes())));
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine", "@0"] {
            assert_eq!(id(name)?, a, "{name}");
        }
        for name in ["me/b:1", "docker.io/me/b:1", "localhost:5000/b:1", "@1"] {
            assert_eq!(id(name)?, b, "{name}");
        }
        assert_eq!(id("@2")?, c);
        Ok(())
    }

    /// Without a name, or with one that nobody has, the choices are listed.
    #[test]
    fn choices_are_listed() -> anyhow::Result<()> {
        let file = two_images()?;
        expect![[r#"
            "DIR/image.tar" holds 3 images; choose one by a name or by its place, as in "docker-archive:DIR/image.tar:alpine:latest" or "docker-archive:DIR/image.tar:@0":
                @0 "alpine:latest"
                @1 "docker.io/me/b:1" or "localhost:5000/b:1"
                @2 without a name"#]].assert_eq(&file.error(None));
        expect![[r#"
            "DIR/image.tar" holds no image "alpine:3"; choose one of its 3 by a name or by its place, as in "docker-archive:DIR/image.tar:alpine:latest" or "docker-archive:DIR/image.tar:@0":
                @0 "alpine:latest"
                @1 "docker.io/me/b:1" or "localhost:5000/b:1"
                @2 without a name"#]].assert_eq(&file.error(Some("alpine:3")));
        expect![[r#"
            "DIR/image.tar" holds no image "@7"; choose one of its 3 by a name or by its place, as in "docker-archive:DIR/image.tar:alpine:latest" or "docker-archive:DIR/image.tar:@0":
                @0 "alpine:latest"
                @1 "docker.io/me/b:1" or "localhost:5000/b:1"
                @2 without a name"#]].assert_eq(&file.error(Some("@7")));
        let empty = Tar::new().json("manifest.json", &json!([])).save()?;
        expect![[r#""DIR/image.tar" holds no image"#]].assert_eq(&empty.error(None));
        Ok(())
    }

    /// One image, and two hundred: what is close to the name that was written comes first, and
    /// what is said to be written is read.
    #[test]
    fn one_choice_and_many() -> anyhow::Result<()> {
        let with = |count: usize| {
            let mut tar = Tar::new();
            let mut items = Vec::new();
            for number in 0..count {
                let name = format!("{number}.json");
                tar = tar.file(&name, format!("{{\"n\":{number}}}").as_bytes());
                let tags: Vec<String> = (0..5)
                    .map(|tag| format!("registry.example/team/app{number}:1.{tag}"))
                    .collect();
                items.push(json!({"Config": name, "RepoTags": tags}));
            }
            tar.json(LIST, &Value::from(items)).save()
        };
        let one = with(1)?;
        one.load(None)?;
        expect![[r#""DIR/image.tar" holds no image "team/app:1.4"; it holds one, which needs no name: "registry.example/team/app0:1.4" or "registry.example/team/app0:1.0" or "registry.example/team/app0:1.1" or 2 more names"#]].assert_eq(&one.error(Some("team/app:1.4")));
        let many = with(200)?;
        expect![[r#"
            "DIR/image.tar" holds 200 images; choose one by a name or by its place, as in "docker-archive:DIR/image.tar:registry.example/team/app0:1.0" or "docker-archive:DIR/image.tar:@0":
                @0 "registry.example/team/app0:1.0" or "registry.example/team/app0:1.1" or "registry.example/team/app0:1.2" or 2 more names
                @1 "registry.example/team/app1:1.0" or "registry.example/team/app1:1.1" or "registry.example/team/app1:1.2" or 2 more names
                @2 "registry.example/team/app2:1.0" or "registry.example/team/app2:1.1" or "registry.example/team/app2:1.2" or 2 more names
                … 16 more lines
                @19 "registry.example/team/app19:1.0" or "registry.example/team/app19:1.1" or "registry.example/team/app19:1.2" or 2 more names
                and 180 more"#]].assert_eq(&shortened(&many.error(None)));
        expect![[r#"
            "DIR/image.tar" holds no image "team/ap150:1.3"; choose one of its 200 by a name or by its place, as in "docker-archive:DIR/image.tar:registry.example/team/app50:1.3" or "docker-archive:DIR/image.tar:@50":
                @50 "registry.example/team/app50:1.3" or "registry.example/team/app50:1.0" or "registry.example/team/app50:1.1" or 2 more names
                @150 "registry.example/team/app150:1.3" or "registry.example/team/app150:1.0" or "registry.example/team/app150:1.1" or 2 more names
                @0 "registry.example/team/app0:1.3" or "registry.example/team/app0:1.0" or "registry.example/team/app0:1.1" or 2 more names
                … 16 more lines
                @9 "registry.example/team/app9:1.3" or "registry.example/team/app9:1.0" or "registry.example/team/app9:1.1" or 2 more names
                and 180 more"#]].assert_eq(&shortened(&many.error(Some("team/ap150:1.3"))));
        Ok(())
    }

    /// An image that is listed twice, under two names, needs no choice; two that have one name
    /// are chosen by their places.
    #[test]
    fn one_name_for_two() -> anyhow::Result<()> {
        let with = |second: &str| {
            Tar::new()
                .file("a.json", b"{\"a\":1}")
                .file("b.json", b"{\"b\":2}")
                .json(
                    LIST,
                    &json!([
                        {"Config": "a.json", "RepoTags": ["web:1"]},
                        {"Config": second, "RepoTags": ["web:1", "web:2"]},
                    ]),
                )
                .save()
        };
        with("a.json")?.load(None)?;
        let two = with("b.json")?;
        expect![[r#"
            "DIR/image.tar" holds 2 images that "web:1" may mean; choose one by a name or by its place, as in "docker-archive:DIR/image.tar:web:2" or "docker-archive:DIR/image.tar:@0":
                @0 "web:1"
                @1 "web:1" or "web:2""#]].assert_eq(&two.error(Some("web:1")));
        two.load(Some("web:2"))?;
        Ok(())
    }

    /// What Docker's socket gives is chosen by the name that is asked for.
    #[test]
    fn choices_of_a_daemon() -> anyhow::Result<()> {
        let loader = Loader::default();
        let stop = CancellationToken::new();
        let options = LoadOptions::default();
        let work = Work {
            loader: &loader,
            options: &options,
            stop: &stop,
            shown: "docker-daemon:me/b",
        };
        let bytes = std::fs::read(two_images()?.path)?;
        let path = Path::new("docker-daemon:me/b");
        let archive = stream::open_stream(&work, None, path, &mut bytes.as_slice())?;
        let error = load(&work, &archive, None).expect_err("there are several");
        expect![[r#"
            "docker-daemon:me/b" holds 3 images; choose one by a name, as in "docker-daemon:alpine:latest":
                "alpine:latest"
                "docker.io/me/b:1" or "localhost:5000/b:1"
                without a name"#]].assert_eq(&error.to_string());
        Ok(())
    }

    /// Archives whose content does not fit together.
    #[test]
    fn spoilt() -> anyhow::Result<()> {
        let plain = layer("file", b"content");
        let with = |config: &[u8], layer: &[u8], manifest: Value| {
            Tar::new()
                .file("config.json", config)
                .file("layer.tar", layer)
                .json("manifest.json", &manifest)
                .save()
                .map(|file| file.error(None))
        };
        let right = config(&[&plain]);
        let names = json!([{"Config": "config.json", "Layers": ["layer.tar"]}]);
        let mut damaged = plain.clone();
        damaged[600] ^= 1;
        let item = |config: &str, layer: &str| json!([{"Config": config, "Layers": [layer]}]);
        let found = [
            with(&right, &damaged, names.clone())?,
            with(&right, b"neither tar nor gzip", names.clone())?,
            with(b"{\"rootfs\":{}}", &plain, names.clone())?,
            with(b"no json", &plain, names.clone())?,
            with(b"{\"rootfs\":{\"diff_ids\":[\"md5:0\"]}}", &plain, names)?,
            with(&right, &plain, item("nothing.json", "layer.tar"))?,
            with(&right, &plain, item("config.json", "nothing.tar"))?,
            with(&right, &plain, item("config.json", "../../../etc/passwd"))?,
            with(&right, &plain, item("/etc/passwd", "layer.tar"))?,
            with(&right, &plain, json!({"Config": 1}))?,
            Tar::new().file("manifest.json", b"{[}").save()?.error(None),
            Tar::new().file("file", b"").save()?.error(None),
            Tar::new()
                .file("index.json", b"{}")
                .file("oci-layout", b"{}")
                .save()?
                .error(None),
            Tar::new()
                .file("manifest.json", &vec![b' '; 5 << 20])
                .save()?
                .error(None),
        ];
        expect![[r#"
            entry "layer.tar" of "DIR/image.tar" is corrupt: it should have the digest sha256:8229149a36ac664421ab2e9b4df0bf20e32246e9342fbdd42b1d80feface63d9, and has sha256:3827f34217fcb714d8c48c579207e76d3277d314d57c7079e91fd7d7e1c34d52
            entry "layer.tar" of "DIR/image.tar" is corrupt: it should have the digest sha256:8229149a36ac664421ab2e9b4df0bf20e32246e9342fbdd42b1d80feface63d9, and has sha256:03426137acf25782bb85a3440eb37efb248b8c82d00081337696be3b16a8bb9e
            entry "config.json" of "DIR/image.tar" cannot be used: it describes 0 layers, and manifest.json names 1
            entry "config.json" of "DIR/image.tar" is not the configuration of an image: expected ident at line 1 column 2
            entry "config.json" of "DIR/image.tar" cannot be used: "md5:0" is not a digest of the form "sha256:" and 64 lower-case hexadecimal digits
            "DIR/image.tar" has no entry "nothing.json", which its manifest.json names
            "DIR/image.tar" has no entry "nothing.tar", which its manifest.json names
            entry "../../../etc/passwd" of "DIR/image.tar" points outside the archive
            entry "/etc/passwd" of "DIR/image.tar" points outside the archive
            entry "manifest.json" of "DIR/image.tar" is not the list of images that docker save writes: invalid type: map, expected a sequence at line 1 column 0
            entry "manifest.json" of "DIR/image.tar" is not the list of images that docker save writes: invalid type: map, expected a sequence at line 1 column 0
            "DIR/image.tar" has no entry "manifest.json", so docker save did not write it
            "DIR/image.tar" is an image layout in an archive: write "oci-archive:DIR/image.tar"
            entry "manifest.json" of "DIR/image.tar" has 5242880 bytes, more than the 4194304 that such a document may have"#]].assert_eq(&found.join("\n"));
        Ok(())
    }

    /// An archive that was cut off anywhere is refused, and makes nothing panic.
    #[test]
    fn cut_off_anywhere() -> anyhow::Result<()> {
        let bytes = old_docker(&layer("one", b"1"), &layer("two", b"2")).bytes();
        ArchiveFile::new(&bytes)?.load(None)?;
        // What follows the end of manifest.json is not needed.
        let end = bytes.windows(3).rposition(|window| window == b"}]\0");
        let needed = end.expect("manifest.json ends somewhere") + 2;
        for length in (0..needed).step_by(100) {
            assert!(
                ArchiveFile::new(&bytes[..length])?.load(None).is_err(),
                "{length}"
            );
        }
        Ok(())
    }

    /// A byte that flipped anywhere makes nothing panic.
    #[test]
    fn flipped_anywhere() -> anyhow::Result<()> {
        let bytes = new_docker(&layer("one", b"1"), &layer("two", b"2")).bytes();
        for at in (0..bytes.len()).step_by(61) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            let _ = ArchiveFile::new(&bytes)?.load(None);
        }
        Ok(())
    }

    /// A cancelled run reads nothing.
    #[test]
    fn stopped() -> anyhow::Result<()> {
        let file = two_images()?;
        let source = Source::DockerArchive {
            file: file.path.clone(),
            reference: Some("@0".to_owned()),
        };
        let stop = CancellationToken::new();
        stop.cancel();
        let result = Loader::default().load(&source, &stop);
        assert!(matches!(result, Err(Error::Stopped)));
        Ok(())
    }
}
