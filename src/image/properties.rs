//! What holds for every archive, however it is put together, and for every file
//! that only looks like one. Cases that once failed are kept in `proptest-regressions/`;
//! `PROPTEST_CASES=20000` looks for more of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::{
    BlobReader, Cache, Digest, Error, Image, LoadOptions, Loader, ManifestFormat, Origin, Platform,
    Remote, RemoteManifest, Source, Waits,
    archive::{Archive, Opened},
    docker,
    layer::{DOCKER_LAYERS, OCI_LAYERS},
    manifest, stream,
    testing::{ArchiveFile, Layout, Tar, descriptor, gzip, image_json, index_json, layer, read},
    work::Work,
};
use crate::spoilt;

/// How an entry's name is written.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// In the header, or in a header of GNU tar before it.
    Gnu,
    /// In a header of POSIX tar before it.
    Pax,
}

#[derive(Clone, Debug)]
enum Content {
    Directory,
    File(Vec<u8>),
    HardLink(Index),
    Symlink(Index),
}

#[derive(Clone, Debug)]
struct Entry {
    name: Vec<String>,
    naming: Naming,
    content: Content,
    with_dot: bool,
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let content = prop_oneof![
        1 => Just(Content::Directory),
        4 => prop::collection::vec(any::<u8>(), 0..2000).prop_map(Content::File),
        // Large, and written quickly.
        1 => (any::<u8>(), 60_000..200_000_usize).prop_map(|(byte, size)| Content::File(vec![byte; size])),
        1 => any::<Index>().prop_map(Content::HardLink),
        1 => any::<Index>().prop_map(Content::Symlink),
    ];
    let name = prop::collection::vec("[a-zA-Z0-9._ é-]{1,70}", 1..4);
    let naming = prop_oneof![Just(Naming::Gnu), Just(Naming::Pax)];
    let entry =
        (name, naming, content, any::<bool>()).prop_map(|(name, naming, content, with_dot)| {
            Entry {
                name,
                naming,
                content,
                with_dot,
            }
        });
    prop::collection::vec(entry, 1..12)
}

fn record(key: &str, value: &str) -> String {
    let body = format!(" {key}={value}\n");
    let mut length = body.len() + 1;
    while length.to_string().len() + body.len() != length {
        length = length.to_string().len() + body.len();
    }
    format!("{length}{body}")
}

/// An archive of the entries, and what its files contain, by all their names.
fn build(entries: &[Entry], end: (usize, &[u8])) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
    let mut tar = Tar::new();
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (number, entry) in entries.iter().enumerate() {
        // Nothing has the name of another, and nothing is called `..`.
        let parts: Vec<String> = entry
            .name
            .iter()
            .map(|part| format!("{number}-{part}"))
            .collect();
        let name = parts.join("/");
        let written = match entry.with_dot {
            true => format!("./{name}"),
            false => name.clone(),
        };
        let target = |index: &Index| {
            let names: Vec<&String> = files.keys().collect();
            (!names.is_empty()).then(|| (*index.get(&names)).clone())
        };
        let up = "../".repeat(parts.len() - 1);
        let (kind, bytes, link) = match &entry.content {
            Content::Directory => (EntryType::Directory, &[][..], None),
            Content::File(bytes) => (EntryType::Regular, bytes.as_slice(), None),
            Content::HardLink(index) => match target(index) {
                Some(target) => (EntryType::Link, &[][..], Some(target)),
                None => continue,
            },
            Content::Symlink(index) => match target(index) {
                Some(target) => (EntryType::Symlink, &[][..], Some(format!("{up}{target}"))),
                None => continue,
            },
        };
        tar = match (entry.naming, &link) {
            (Naming::Pax, link) => {
                let mut extension = record("path", &written);
                if let Some(link) = link {
                    extension += &record("linkpath", link);
                }
                tar.raw(EntryType::XHeader, "pax", extension.as_bytes())
                    .raw(kind, "short", bytes)
            }
            (Naming::Gnu, Some(link)) => tar.link(kind, &written, link),
            (Naming::Gnu, None) if kind == EntryType::Directory => {
                tar.raw(kind, "a-directory/", b"")
            }
            (Naming::Gnu, None) => tar.file(&written, bytes),
        };
        match (&entry.content, link) {
            (Content::File(bytes), _) => {
                files.insert(name, bytes.clone());
            }
            (_, Some(link)) => {
                let content = files[link.trim_start_matches("../")].clone();
                files.insert(name, content);
            }
            (_, None) => {}
        }
    }
    let mut bytes = tar.bytes();
    bytes.extend(vec![0; 512 * end.0]);
    bytes.extend(end.1);
    (bytes, files)
}

fn check_entries(
    archive: &Archive,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<(), TestCaseError> {
    for (name, content) in files {
        let part = archive.find(name);
        let part = part.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let Some(part) = part else {
            return Err(TestCaseError::fail(format!("{name} is not found")));
        };
        prop_assert_eq!(part.length(), content.len() as u64);
        let document = part.document();
        let document = document.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(document == *content, "{}", name);
    }
    Ok(())
}

/// An archive with an image in all forms at once, small enough to be spoilt
/// in every place.
fn sample() -> Vec<u8> {
    let plain = layer("file", b"content");
    let config = json!({
        "os": "linux", "architecture": "amd64",
        "rootfs": {"diff_ids": [Digest::of(&plain).as_str()]},
    })
    .to_string();
    Tar::new()
        .file("a/layer.tar", &plain)
        .link(EntryType::Symlink, "b/layer.tar", "../a/layer.tar")
        .file("config.json", config.as_bytes())
        .json(
            "manifest.json",
            &json!([{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["b/layer.tar"]}]),
        )
        .bytes()
}

/// Loads a file and reads all that it gives; whether that works does not matter.
fn exercise(bytes: &[u8]) -> Option<Image> {
    let file = ArchiveFile::new(bytes).expect("a temporary file can be written");
    let image = file.load_with(&LoadOptions::default()).ok()?;
    for blob in &image.blobs {
        // What is read has its digest, or reading fails.
        let _ = read(blob);
    }
    for manifest in &image.manifests {
        assert_eq!(Digest::of(&manifest.bytes), manifest.digest);
    }
    Some(image)
}

/// JSON that looks like what belongs to an image.
fn documents() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z/:.@]{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "a/layer.tar",
            "config.json",
            "manifest.json",
            "../x",
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.layer.v1.tar",
            "e30=",
        ])
        .prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 40, 6, |inner| {
        let key = prop::sample::select(vec![
            "Config",
            "RepoTags",
            "Layers",
            "manifests",
            "config",
            "layers",
            "mediaType",
            "digest",
            "size",
            "data",
            "urls",
            "annotations",
            "platform",
            "os",
            "architecture",
            "rootfs",
            "diff_ids",
            "schemaVersion",
            "fsLayers",
            "imageLayoutVersion",
            "org.opencontainers.image.ref.name",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

/// A registry that has these documents as manifests and blobs; the last one is what the
/// name means.
#[derive(Debug)]
struct Registry {
    documents: Vec<String>,
    origin: Origin,
    /// Gives other bytes for blobs, and more of them.
    lies: bool,
}

impl Registry {
    fn find(&self, digest: &Digest) -> Option<&String> {
        let mut documents = self.documents.iter();
        documents.find(|document| Digest::of(document.as_bytes()) == *digest)
    }

    fn manifest_of(document: &str) -> RemoteManifest {
        RemoteManifest {
            media_type: "text/plain".to_owned(),
            digest: Digest::of(document.as_bytes()),
            bytes: document.to_owned().into(),
        }
    }
}

impl Remote for Registry {
    fn root(&self) -> Result<RemoteManifest, Error> {
        Ok(Self::manifest_of(
            self.documents.last().expect("there is one"),
        ))
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<RemoteManifest>, Error> {
        Ok(self
            .find(digest)
            .map(|document| Self::manifest_of(document)))
    }

    fn open(&self, digest: &Digest, _: u64) -> Result<Box<dyn BlobReader>, Error> {
        match self.find(digest) {
            Some(_) if self.lies => Ok(Box::new(Waits(io::repeat(b' ')))),
            Some(document) => Ok(Box::new(Waits(io::Cursor::new(document.clone())))),
            None => Ok(Box::new(Waits(io::empty()))),
        }
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// A layout with an image, or an index of several, of one format. Their layers are raw or
/// compressed, and the same ones come again.
fn of_format(is_docker: bool, images: &[Vec<(bool, u8)>], notes: bool) -> anyhow::Result<Layout> {
    let mut layout = Layout::new()?;
    let (config_type, layers, manifest_type, index_type) = match is_docker {
        true => (
            manifest::DOCKER_CONFIG,
            DOCKER_LAYERS,
            manifest::DOCKER_MANIFEST,
            manifest::DOCKER_INDEX,
        ),
        false => (
            manifest::OCI_CONFIG,
            OCI_LAYERS,
            manifest::OCI_MANIFEST,
            manifest::OCI_INDEX,
        ),
    };
    let mut children = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let mut described = Vec::new();
        let mut diff_ids = Vec::new();
        for (is_raw, content) in image {
            let plain = layer("file", &[*content; 40]);
            diff_ids.push(Digest::of(&plain).to_string());
            described.push(match is_raw {
                true => layout.blob(layers[0], &plain)?,
                false => layout.blob(layers[1], &gzip(&plain))?,
            });
        }
        let platform = json!({"os": "linux", "architecture": format!("cpu{number}")});
        let mut config = platform.clone();
        config["rootfs"] = json!({"diff_ids": diff_ids});
        let config = layout.blob(config_type, config.to_string().as_bytes())?;
        let mut manifest = image_json(&config, &described);
        manifest["mediaType"] = manifest_type.into();
        if notes {
            manifest["annotations"] = json!({"a": "b"});
        }
        let mut child = layout.document(manifest_type, &manifest)?;
        child["platform"] = platform;
        children.push(child);
    }
    if let [child] = children.as_slice() {
        layout.add(child.clone(), None)?;
        return Ok(layout);
    }
    let mut index = index_json(&children);
    index["mediaType"] = index_type.into();
    let index = layout.document(index_type, &index)?;
    layout.add(index, None)?;
    Ok(layout)
}

/// What would be pushed, as a layout.
fn written(image: &Image) -> anyhow::Result<Layout> {
    let mut layout = Layout::new()?;
    for blob in &image.blobs {
        layout.blob("", &read(blob)?)?;
    }
    for manifest in &image.manifests {
        layout.blob("", &manifest.bytes)?;
    }
    let root = image.root();
    layout.add(descriptor(&root.media_type, &root.bytes), None)?;
    Ok(layout)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files_below(&path, found),
            path => found.push(path),
        }
    }
}

/// What is spoilt below is whole, and is an image.
#[test]
fn the_sample_is_an_image() {
    assert!(exercise(&sample()).is_some());
    assert!(exercise(&gzip(&sample())).is_some());
}

proptest! {
    /// Entries in any order, with names of any length, links, directories, any padding
    /// and anything after the end: each has its content, read in place or in one pass.
    #[test]
    fn archives_of_any_shape(
        entries in entries(),
        padding in 0..30_usize,
        garbage in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        let (bytes, files) = build(&entries, (padding, &garbage));
        let stop = CancellationToken::new();
        let file = ArchiveFile::new(&bytes).expect("a temporary file can be written");
        match Archive::open(&file.path, &stop) {
            Ok(Opened::Archive(archive)) => check_entries(&archive, &files)?,
            Ok(Opened::Packed(..)) => prop_assert!(false, "it is not compressed"),
            Err(error) => prop_assert!(false, "{}", error),
        }
        let packed = ArchiveFile::new(&gzip(&bytes)).expect("a temporary file can be written");
        let work = Work {
            loader: &Loader::default(),
            options: &LoadOptions::default(),
            stop: &stop,
            shown: "packed",
        };
        match Archive::open(&packed.path, &stop) {
            Ok(Opened::Packed(file, packing)) => match stream::open_file(&work, file, packing) {
                Ok(archive) => check_entries(&archive, &files)?,
                Err(error) => prop_assert!(false, "{}", error),
            },
            Ok(Opened::Archive(_)) => prop_assert!(false, "it is compressed"),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    /// The same entries in another order are the same image.
    #[test]
    fn order_does_not_matter(order in Just([0, 1, 2, 3]).prop_shuffle(), packed in any::<bool>()) {
        let plain = layer("file", b"content");
        let config = json!({"rootfs": {"diff_ids": [Digest::of(&plain).as_str(), Digest::of(&plain).as_str()]}});
        let list = json!([{"Config": "config", "Layers": ["layer", "link"]}]);
        let mut tar = Tar::new();
        for entry in order {
            tar = match entry {
                0 => tar.file("layer", &plain),
                1 => tar.link(EntryType::Link, "link", "layer"),
                2 => tar.json("config", &config),
                _ => tar.json("manifest.json", &list),
            };
        }
        let bytes = tar.bytes();
        let image = exercise(&if packed { gzip(&bytes) } else { bytes }).expect("it is one");
        prop_assert_eq!(
            image.root().digest.as_str(),
            ORDERLESS
        );
    }

    /// Bytes that change anywhere, headers with a right check sum among them, make no
    /// difference but an error; nothing panics.
    #[test]
    fn spoilt_archives(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..6),
        header in prop::option::of((any::<Index>(), 0..512_usize, any::<[u8; 4]>())),
        cut in prop::option::of(any::<Index>()),
        packed in any::<bool>(),
    ) {
        let mut bytes = sample();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some((block, at, new)) = header {
            let start = block.index(bytes.len() / 512) * 512;
            let block = &mut bytes[start..start + 512];
            for (offset, byte) in new.into_iter().enumerate() {
                block[(at + offset) % 512] = byte;
            }
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        exercise(&if packed { gzip(&bytes) } else { bytes });
    }

    /// The same below a compression, whose own bytes change.
    #[test]
    fn spoilt_compression(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        zstd in any::<bool>(),
    ) {
        let mut bytes = match zstd {
            true => zstd::bulk::compress(&sample(), 1).expect("memory takes everything"),
            false => gzip(&sample()),
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        exercise(&bytes);
    }

    /// Whatever the documents of an archive or a layout say, nothing panics.
    #[test]
    fn any_documents(
        list in documents(),
        index in documents(),
        config in documents(),
        manifest in documents(),
        is_listed in any::<bool>(),
    ) {
        let list = match is_listed {
            true => json!([{"Config": "config.json", "Layers": ["a/layer.tar"], "RepoTags": list}]),
            false => list,
        };
        let bytes = Tar::new()
            .json("manifest.json", &list)
            .json("index.json", &index)
            .json("config.json", &config)
            .file("a/layer.tar", &layer("file", b"content"))
            .bytes();
        exercise(&bytes);

        let mut layout = Layout::new().expect("a temporary file can be written");
        let image = layout.document("", &manifest).expect("a temporary file can be written");
        layout.blob("", b"{}").expect("a temporary file can be written");
        layout.add(image, None).expect("a temporary file can be written");
        let options = LoadOptions {
            platforms: vec!["linux/amd64".parse::<Platform>().expect("it is one")],
            ..LoadOptions::default()
        };
        let _ = (layout.load(None), layout.load_with(&options));
        layout.write("index.json", index.to_string().as_bytes()).expect("a temporary file can be written");
        layout.write("oci-layout", config.to_string().as_bytes()).expect("a temporary file can be written");
        let _ = layout.load(None);
    }

    /// Whatever another registry has, there is an image or an error, and nothing is taken for
    /// what it is not.
    #[test]
    fn any_registry(
        mut documents in prop::collection::vec(documents(), 1..5),
        is_an_index in any::<bool>(),
        lies in any::<bool>(),
    ) {
        let mut named = Vec::new();
        for document in &documents {
            named.push(descriptor("", document.to_string().as_bytes()));
        }
        documents.push(match is_an_index {
            true => index_json(&named),
            false => image_json(&named[0], &named),
        });
        let registry: Arc<dyn Remote> = Arc::new(Registry {
            documents: documents.iter().map(Value::to_string).collect(),
            origin: Origin { host: "registry.example".to_owned(), repository: "a".to_owned() },
            lies,
        });
        let source = Source::parse("docker://registry.example/a:1").expect("it is one");
        for platforms in [vec![], vec!["linux/amd64".parse::<Platform>().expect("it is one")]] {
            let options = LoadOptions { platforms, remote: Some(Arc::clone(&registry)), ..LoadOptions::default() };
            let loaded = Loader::default().load_with(&source, &options, &CancellationToken::new());
            let Ok(image) = loaded else { continue };
            for manifest in &image.manifests {
                prop_assert_eq!(&Digest::of(&manifest.bytes), &manifest.digest);
            }
            for blob in &image.blobs {
                prop_assert!(!lies || read(blob).is_err());
            }
        }
    }

    /// Whatever a user writes is a source that is printed back, or refused.
    #[test]
    fn any_text(text in "(docker-archive:|oci:|oci-archive:|docker-daemon:|/|)[ -~é]{0,30}", platform in "[ -~]{0,20}") {
        if let Ok(source) = Source::parse(&text) {
            prop_assert_eq!(source.to_string(), text);
        }
        prop_assert!(platform.parse::<Digest>().is_err());
        if let Ok(parsed) = platform.parse::<Platform>() {
            prop_assert_eq!(parsed.to_string(), platform);
        }
    }
}

proptest! {
    // Folders are written each time.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.div_ceil(8),
        ..ProptestConfig::default()
    })]

    /// An image becomes one of the other format and comes back with the same blobs; and there
    /// again it is the very same.
    #[test]
    fn formats_there_and_back(
        is_docker in any::<bool>(),
        images in prop::collection::vec(prop::collection::vec((any::<bool>(), 0..3_u8), 0..4), 1..4),
        notes in any::<bool>(),
    ) {
        let (own, other) = match is_docker {
            true => (ManifestFormat::Docker, ManifestFormat::Oci),
            false => (ManifestFormat::Oci, ManifestFormat::Docker),
        };
        let load = |layout: &Layout, format| {
            let options = LoadOptions { format, ..LoadOptions::default() };
            let image = layout.load_with(&options);
            image.map_err(|error| TestCaseError::fail(error.to_string()))
        };
        // Docker's format has no annotations, and loses those of the other.
        let layout = of_format(is_docker, &images, notes && !is_docker).expect("a layout can be made");
        let source = load(&layout, ManifestFormat::Source)?;
        let there = load(&layout, other)?;
        let converted = written(&there).expect("a layout can be made");
        let back = load(&converted, own)?;
        let again = load(&written(&back).expect("a layout can be made"), other)?;
        prop_assert_eq!(&again.root().digest, &there.root().digest);
        let digests = |image: &Image| -> BTreeSet<String> {
            image.blobs.iter().map(|blob| blob.digest.to_string()).collect()
        };
        for (image, is_docker) in [(&there, !is_docker), (&back, is_docker)] {
            prop_assert_eq!(digests(image), digests(&source));
            prop_assert_eq!(image.manifests.len(), source.manifests.len());
            for manifest in &image.manifests {
                let text = std::str::from_utf8(&manifest.bytes).expect("JSON is text");
                let strange = if is_docker { "vnd.oci." } else { "vnd.docker." };
                prop_assert!(!text.contains(strange), "{}", text);
                prop_assert!(!manifest.media_type.contains(strange));
            }
        }
        // Without a layer that has to be compressed, an image of its own format keeps its bytes.
        if images.iter().flatten().all(|(is_raw, _)| !is_raw) {
            let own = load(&layout, own)?;
            prop_assert_eq!(&own.root().digest, &source.root().digest);
        }
    }

    /// Whatever the cache says about an archive that went by, what is sent of it has the digest
    /// that its manifest promises.
    #[test]
    fn any_record(
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), spoilt::bytes(["0", "17", "null", "\\u0000"])), 1..4),
        rights in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().expect("a folder can be made");
        let options = LoadOptions {
            cache: Some(Cache::new(directory.path(), 1 << 20)),
            ..LoadOptions::default()
        };
        let stop = CancellationToken::new();
        let work = |loader| Work { loader, options: &options, stop: &stop, shown: "docker" };
        let path = Path::new("docker");
        let loader = Loader::default();
        let bytes = sample();
        let opened = stream::open_stream(&work(&loader), Some("key"), path, &mut bytes.as_slice());
        let first = docker::load(&work(&loader), &opened.expect("it is one"), None).expect("it is one");
        let mut records = Vec::new();
        for folder in ["scans", "layers", "facts"] {
            files_below(&directory.path().join("images-1").join(folder), &mut records);
        }
        prop_assert!(!records.is_empty());
        records.sort();
        for (which, at, new) in changes {
            let path = which.get(&records);
            let text = std::fs::read(path).expect("a file can be read");
            // A check sum and the end of its line go before it.
            let mut body = text[65..].to_vec();
            body.push(b' ');
            let at = at.index(body.len());
            body.splice(at..=at, new);
            // One that was spoilt by accident has another check sum.
            let sum = Digest::of(if rights { &body } else { b"" });
            let text = [sum.hex().as_bytes(), b"\n", &body].concat();
            std::fs::write(path, text).expect("a file can be written");
        }
        let loader = Loader::default();
        let Some((archive, _)) = stream::remembered(&work(&loader), "key") else {
            return Ok(());
        };
        if let Ok(image) = docker::load(&work(&loader), &archive, None) {
            prop_assert!(rights || image.root().digest == first.root().digest);
            for blob in &image.blobs {
                // It has its digest, or reading it fails.
                let _ = read(blob);
            }
        }
    }
}

/// The digest of the image of `order_does_not_matter`.
const ORDERLESS: &str = "sha256:bb5476d20d00554a5bbe31fbbbdf893190720934401e4733038efa8f828e3228";
