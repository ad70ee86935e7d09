//! From the name of a manifest to everything below it.
//!
//! Everything that a registry can take as it is keeps its bytes. A manifest
//! with uncompressed layers is written anew with other descriptors for those
//! layers, and so is every index above it; all else in it stays, members that
//! we do not know included. The configuration never changes: its `diff_ids` are
//! of the uncompressed layers.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use serde::Deserialize;

use super::{
    Blob, BlobReader, BlobSource, Descriptor, Digest, Error, Image, Layer, Manifest,
    ManifestFormat, Waits,
    archive::Archive,
    blob::Memory,
    file::{Extent, InputFile, MAX_DOCUMENT},
    layer::{Family, Format, is_foreign},
    manifest::{Content, Document, Edits, RawDescriptor, RawPlatform, parse, rewrite},
    part::Part,
    remote::{Origin, Remote, RemotePart},
    work::Work,
};

/// Where manifests and blobs are.
#[derive(Debug)]
pub(super) enum Store<'a> {
    /// In an image layout, a directory.
    Directory(&'a Path),
    /// In an archive.
    Archive(&'a Archive),
    /// In another registry, and what messages call the image there.
    Remote(&'a Path, &'a Arc<dyn Remote>),
}

impl Store<'_> {
    /// The source, as messages name it.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Remote(path, _) => path,
            Self::Archive(archive) => archive.path(),
        }
    }

    /// A file by its name; `None` when there is none.
    pub(super) fn find(&self, name: &str) -> Result<Option<Part>, Error> {
        match self {
            Self::Archive(archive) => archive.find(name),
            Self::Remote(..) => Ok(None),
            Self::Directory(path) => match InputFile::open(&path.join(name)) {
                Ok((file, _)) => Ok(Some(Part::InPlace(Extent::whole(file)))),
                Err(error) if error.is_missing() => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// A blob; `None` when it is not there. Of another registry it is believed that
    /// it has what its manifests name.
    fn blob(&self, digest: &Digest, size: u64) -> Result<Option<Part>, Error> {
        match self {
            Self::Remote(_, remote) => Ok(Some(Part::Remote(RemotePart {
                remote: Arc::clone(remote),
                digest: digest.clone(),
                length: size,
            }))),
            Self::Directory(_) | Self::Archive(_) => {
                self.find(&format!("blobs/sha256/{}", digest.hex()))
            }
        }
    }

    /// The bytes of a manifest, and what messages call it; `None` when it is not there.
    fn manifest(
        &self,
        descriptor: &RawDescriptor,
        digest: &Digest,
    ) -> Result<Option<(Vec<u8>, String)>, Error> {
        if let Self::Remote(path, remote) = self {
            let Some(manifest) = remote.manifest(digest)? else {
                return Ok(None);
            };
            let place = format!("manifest {digest} of {path:?}");
            let actual = manifest.bytes.len() as u64;
            if actual > MAX_DOCUMENT {
                return Err(Error::TooLarge {
                    place,
                    size: actual,
                    limit: MAX_DOCUMENT,
                });
            }
            if actual != descriptor.size {
                return Err(Error::Size {
                    place,
                    expected: descriptor.size,
                    actual,
                });
            }
            return Ok(Some((manifest.bytes.to_vec(), place)));
        }
        let Some(part) = self.blob(digest, descriptor.size)? else {
            return Ok(None);
        };
        check_size(&part, descriptor.size)?;
        Ok(Some((part.document()?, part.place())))
    }

    /// Reads a JSON document.
    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        part: &Part,
        expected: &'static str,
    ) -> Result<T, Error> {
        parse(&part.document()?, &part.place(), expected)
    }

    fn document(&self, descriptor: &RawDescriptor, referrer: &str) -> Result<Document, Error> {
        let digest = descriptor.digest(referrer)?;
        let (bytes, place) = match self.manifest(descriptor, &digest)? {
            Some(found) => found,
            None => match descriptor.embedded(referrer)? {
                Some(bytes) => (bytes, format!("the data of {digest} in {referrer}")),
                None => {
                    return Err(Error::MissingBlob {
                        file: self.path().to_owned(),
                        what: "the manifest",
                        digest,
                        referrer: referrer.to_owned(),
                    });
                }
            },
        };
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(Error::Digest {
                place,
                expected: digest,
                actual,
            });
        }
        Document::parse(bytes, place, digest, &descriptor.media_type)
    }
}

/// What a first look at an image in an archive finds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Digests of the configurations.
    pub(super) configs: HashSet<String>,
    /// Images, attestations not counted.
    pub(super) images: usize,
    /// Every layer is there, and compressed.
    pub(super) is_ready: bool,
}

/// Looks at an image and everything below it, without reading layers.
pub(super) fn survey(
    store: &Store<'_>,
    root: &RawDescriptor,
    referrer: &str,
) -> Result<Survey, Error> {
    let mut survey = Survey {
        is_ready: true,
        ..Survey::default()
    };
    let mut seen = HashSet::new();
    let mut next = vec![(root.clone(), referrer.to_owned(), 0)];
    while let Some((descriptor, referrer, depth)) = next.pop() {
        if !seen.insert(descriptor.digest.clone()) {
            continue;
        }
        check_bounds(store, depth, seen.len())?;
        let digest = descriptor.digest(&referrer)?;
        if store.blob(&digest, descriptor.size)?.is_none() && descriptor.data.is_none() {
            // Whoever loads it says which ones.
            survey.is_ready = false;
            if !descriptor.is_attestation() {
                survey.images += 1;
            }
            continue;
        }
        let document = store.document(&descriptor, &referrer)?;
        match document.content {
            Content::Index(children) => {
                for child in children {
                    next.push((child, document.place.clone(), depth + 1));
                }
            }
            Content::Manifest { config, layers } => {
                survey.configs.insert(config.digest);
                if !descriptor.is_attestation() {
                    survey.images += 1;
                }
                for layer in layers {
                    let Some(family) = Family::of(&layer.media_type) else {
                        continue;
                    };
                    survey.is_ready &=
                        match store.blob(&layer.digest(&document.place)?, layer.size)? {
                            Some(part) => !family.is_raw(part.format()?),
                            None => false,
                        };
                }
            }
        }
    }
    Ok(survey)
}

/// Reads an image of a layout, and everything below it.
pub(super) fn load(
    work: &Work<'_>,
    store: &Store<'_>,
    root: &RawDescriptor,
    referrer: &str,
) -> Result<Image, Error> {
    let mut walk = Walk {
        work,
        store,
        kept: None,
        image: ImageBuilder::default(),
        done: HashMap::new(),
        visited: HashMap::new(),
        layers: HashMap::new(),
        bytes: 0,
        known: Known::default(),
    };
    walk.select(root, referrer)?;
    walk.visit(root, referrer, 0)?;
    Ok(walk.image.finish())
}

/// Collects manifests and distinct blobs.
#[derive(Default)]
pub(super) struct ImageBuilder {
    manifests: Vec<Manifest>,
    blobs: Vec<Blob>,
    seen: HashSet<Digest>,
    layers: Vec<Layer>,
    seen_layers: HashSet<Digest>,
}

impl ImageBuilder {
    pub(super) fn blob(&mut self, digest: &Digest, size: u64, source: Arc<dyn BlobSource>) {
        if self.seen.insert(digest.clone()) {
            self.blobs.push(Blob {
                digest: digest.clone(),
                size,
                source,
            });
        }
    }

    pub(super) fn manifest(&mut self, manifest: Manifest) {
        self.manifests.push(manifest);
    }

    pub(super) fn layer(&mut self, layer: Layer) {
        if self.seen_layers.insert(layer.descriptor.digest.clone()) {
            self.layers.push(layer);
        }
    }

    pub(super) fn finish(self) -> Image {
        Image {
            manifests: self.manifests,
            blobs: self.blobs,
            layers: self.layers,
        }
    }
}

struct Walk<'a> {
    work: &'a Work<'a>,
    store: &'a Store<'a>,
    /// What the user's choice of platforms leaves of the indexes; all when there is none.
    kept: Option<HashSet<Choice>>,
    image: ImageBuilder,
    /// What became of a manifest, by its original digest.
    done: HashMap<Digest, Descriptor>,
    /// The same by what names it, so that a manifest that is named a thousand times is read once.
    visited: HashMap<Named, Descriptor>,
    /// What became of a layer, by its original descriptor.
    layers: HashMap<Descriptor, (Descriptor, Option<String>)>,
    bytes: u64,
    /// What was read while looking for platforms.
    known: Known,
}

/// What was read once, and need not be asked for again: in another registry every configuration
/// is a request, and registries count those.
#[derive(Default)]
struct Known {
    /// Manifests and indexes with what messages call them, until they are taken in.
    documents: HashMap<Digest, (Vec<u8>, String)>,
    configs: HashMap<Digest, Bytes>,
    bytes: usize,
}

impl Known {
    /// Whether there is room for that many bytes more. What finds none is read again.
    fn has_room(&mut self, count: usize) -> bool {
        let has_room = self.bytes + count <= MAX_KNOWN_BYTES;
        if has_room {
            self.bytes += count;
        }
        has_room
    }

    fn keep_document(&mut self, document: Document) {
        if self.has_room(document.bytes.len()) {
            let known = (document.bytes, document.place);
            self.documents.insert(document.digest, known);
        }
    }

    fn keep_config(&mut self, digest: Digest, bytes: &Bytes) {
        if !self.configs.contains_key(&digest) && self.has_room(bytes.len()) {
            self.configs.insert(digest, bytes.clone());
        }
    }
}

/// A configuration of another registry that was read already. It is mounted all the same where
/// that is possible.
#[derive(Debug)]
struct Fetched {
    bytes: Bytes,
    part: Part,
}

impl BlobSource for Fetched {
    fn open(&self) -> Result<Box<dyn BlobReader>, Error> {
        Ok(Box::new(Waits(self.bytes.clone().reader())))
    }

    fn origin(&self) -> Option<&Origin> {
        self.part.origin()
    }
}

/// An entry of an index: the same image may be there for several platforms.
type Choice = (String, String);

fn choice(descriptor: &RawDescriptor) -> Choice {
    (descriptor.digest.clone(), descriptor.platform_name())
}

/// All that reading a manifest depends on.
type Named = (String, u64, String);

fn named(descriptor: &RawDescriptor) -> Named {
    (
        descriptor.digest.clone(),
        descriptor.size,
        descriptor.media_type.clone(),
    )
}

impl Walk<'_> {
    /// Finds out what the user's choice of platforms leaves.
    fn select(&mut self, root: &RawDescriptor, referrer: &str) -> Result<(), Error> {
        let wanted = &self.work.options.platforms;
        if wanted.is_empty() {
            return Ok(());
        }
        let mut selection = Selection {
            found: Vec::new(),
            hits: vec![false; wanted.len()],
            kept: HashSet::new(),
            judged: HashMap::new(),
        };
        self.survey_platforms(root, referrer, 0, &mut selection)?;
        if let Some(missed) = selection.hits.iter().position(|hit| !hit) {
            return Err(Error::NoSuchPlatform {
                file: self.store.path().to_owned(),
                wanted: wanted[missed].to_string(),
                present: match selection.found.is_empty() {
                    true => "none that says its platform".to_owned(),
                    false => super::layout::listed(selection.found.into_iter()),
                },
            });
        }
        self.kept = Some(selection.kept);
        Ok(())
    }

    /// Whether anything below a descriptor is for a platform that is wanted.
    fn survey_platforms(
        &mut self,
        descriptor: &RawDescriptor,
        referrer: &str,
        depth: usize,
        selection: &mut Selection,
    ) -> Result<bool, Error> {
        if self.work.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        check_bounds(self.store, depth, selection.judged.len())?;
        // An index that names one image a thousand times keeps nobody busy.
        let key = (named(descriptor), descriptor.platform_name());
        if let Some(judged) = selection.judged.get(&key) {
            return Ok(*judged);
        }
        let is_kept = self.survey_platform(descriptor, referrer, depth, selection)?;
        selection.judged.insert(key, is_kept);
        Ok(is_kept)
    }

    fn survey_platform(
        &mut self,
        descriptor: &RawDescriptor,
        referrer: &str,
        depth: usize,
        selection: &mut Selection,
    ) -> Result<bool, Error> {
        if let Some(platform) = &descriptor.platform
            && depth > 0
        {
            return Ok(self.judge(platform, descriptor, selection));
        }
        let digest = descriptor.digest(referrer)?;
        if self.store.blob(&digest, descriptor.size)?.is_none() && descriptor.data.is_none() {
            // Nobody knows what it is.
            return Ok(false);
        }
        let document = self.store.document(descriptor, referrer)?;
        let is_kept = match &document.content {
            Content::Index(children) => {
                let mut is_kept = false;
                let images = children.iter().filter(|child| !child.is_attestation());
                for child in images {
                    is_kept |=
                        self.survey_platforms(child, &document.place, depth + 1, selection)?;
                }
                // Attestations stay with what they are about.
                let kept: HashSet<String> = children
                    .iter()
                    .filter(|child| selection.kept.contains(&choice(child)))
                    .map(|child| child.digest.clone())
                    .collect();
                for child in children.iter().filter(|child| child.is_attestation()) {
                    if child.attested().is_some_and(|about| kept.contains(about)) {
                        selection.kept.insert(choice(child));
                    }
                }
                is_kept
            }
            Content::Manifest { config, .. } => match self.platform_of(config, &document.place)? {
                Some(platform) => self.judge(&platform, descriptor, selection),
                None => false,
            },
        };
        if is_kept {
            selection.kept.insert(choice(descriptor));
            self.known.keep_document(document);
        }
        Ok(is_kept)
    }

    fn judge(
        &self,
        platform: &RawPlatform,
        descriptor: &RawDescriptor,
        selection: &mut Selection,
    ) -> bool {
        let mut is_wanted = false;
        for (wanted, hit) in self.work.options.platforms.iter().zip(&mut selection.hits) {
            if platform.is_in(wanted) {
                (is_wanted, *hit) = (true, true);
            }
        }
        let name = platform.name();
        if !selection.found.contains(&name) {
            selection.found.push(name);
        }
        if is_wanted {
            selection.kept.insert(choice(descriptor));
        }
        is_wanted
    }

    /// What a configuration says.
    fn platform_of(
        &mut self,
        config: &RawDescriptor,
        referrer: &str,
    ) -> Result<Option<RawPlatform>, Error> {
        let digest = config.digest(referrer)?;
        let part = self.store.blob(&digest, config.size)?;
        let Some(part) = part.filter(|part| part.length() <= MAX_DOCUMENT) else {
            return Ok(None);
        };
        let bytes = self.config(&digest, &part)?;
        self.known.keep_config(digest, &bytes);
        // The configuration of an artifact can be anything.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// The bytes of a configuration.
    fn config(&self, digest: &Digest, part: &Part) -> Result<Bytes, Error> {
        let known = self.known.configs.get(digest);
        match known.filter(|bytes| bytes.len() as u64 == part.length()) {
            Some(known) => Ok(known.clone()),
            None => Ok(part.document()?.into()),
        }
    }

    /// A manifest or an index, unless it was read before.
    fn document(&mut self, descriptor: &RawDescriptor, referrer: &str) -> Result<Document, Error> {
        let digest = descriptor.digest(referrer)?;
        match self.known.documents.remove(&digest) {
            Some((bytes, place)) if bytes.len() as u64 == descriptor.size => {
                Document::parse(bytes, place, digest, &descriptor.media_type)
            }
            _ => self.store.document(descriptor, referrer),
        }
    }

    /// Takes in a manifest or an index, children first, and says what became of it.
    fn visit(
        &mut self,
        descriptor: &RawDescriptor,
        referrer: &str,
        depth: usize,
    ) -> Result<Descriptor, Error> {
        if self.work.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        check_bounds(self.store, depth, self.done.len())?;
        let named = named(descriptor);
        if let Some(done) = self.visited.get(&named) {
            return Ok(done.clone());
        }
        let document = self.document(descriptor, referrer)?;
        if let Some(done) = self.done.get(&document.digest) {
            self.visited.insert(named, done.clone());
            return Ok(done.clone());
        }
        self.bytes += document.bytes.len() as u64;
        if self.bytes > MAX_MANIFEST_BYTES {
            return Err(Error::TooLarge {
                place: format!("{:?}, all manifests together,", self.store.path()),
                size: self.bytes,
                limit: MAX_MANIFEST_BYTES,
            });
        }
        let original = document.digest.clone();
        let manifest = match document.content {
            Content::Index(ref children) => self.index(&document, children, depth)?,
            Content::Manifest {
                ref config,
                ref layers,
            } => self.manifest(&document, config, layers)?,
        };
        let done = Descriptor {
            media_type: manifest.media_type.clone(),
            digest: manifest.digest.clone(),
            size: manifest.bytes.len() as u64,
        };
        self.image.manifest(manifest);
        self.visited.insert(named, done.clone());
        self.done.insert(original, done.clone());
        Ok(done)
    }

    fn index(
        &mut self,
        document: &Document,
        children: &[RawDescriptor],
        depth: usize,
    ) -> Result<Manifest, Error> {
        let format = self.work.options.format;
        let media_type = format.index_type(&document.media_type);
        let mut edits = Edits {
            media_type,
            strip: media_type.is_some() && format == ManifestFormat::Docker,
            ..Edits::default()
        };
        for (position, child) in children.iter().enumerate() {
            let is_chosen = self
                .kept
                .as_ref()
                .is_none_or(|kept| kept.contains(&choice(child)));
            // Docker's lists have no attestations, and these would be about other digests.
            let has_form = format != ManifestFormat::Docker || !child.is_attestation();
            if !(is_chosen && has_form) {
                edits.dropped.insert(position);
            }
        }
        let remaining: Vec<(usize, &RawDescriptor)> = children
            .iter()
            .enumerate()
            .filter(|(position, _)| !edits.dropped.contains(position))
            .collect();
        self.check_platforms(&remaining, &document.place)?;
        for (position, child) in remaining {
            let mut new = self.visit(child, &document.place, depth + 1)?;
            if format == ManifestFormat::Docker && new.media_type == super::DOCKER_INDEX {
                return Err(self.unconvertible(&document.place, "it has an index within an index"));
            }
            if format == ManifestFormat::Source {
                new.media_type.clone_from(&child.media_type);
            }
            if new.digest.as_str() != child.digest || new.media_type != child.media_type {
                edits.entries.push((position, new));
            }
        }
        let bytes = rewrite(document, "manifests", &edits)?;
        Ok(Manifest {
            media_type: media_type.map_or_else(|| document.media_type.clone(), str::to_owned),
            digest: Digest::of(&bytes),
            bytes,
            config: None,
            layers: Vec::new(),
        })
    }

    fn unconvertible(&self, place: &str, problem: impl Into<String>) -> Error {
        Error::Conversion {
            place: place.to_owned(),
            target: self.work.options.format.shown(),
            problem: problem.into(),
        }
    }

    /// A save from containerd's store lacks what was never pulled; all of it
    /// is named at once.
    fn check_platforms(
        &self,
        children: &[(usize, &RawDescriptor)],
        referrer: &str,
    ) -> Result<(), Error> {
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for (_, child) in children {
            let is_here = child.data.is_some()
                || self
                    .store
                    .blob(&child.digest(referrer)?, child.size)?
                    .is_some();
            let names = if is_here { &mut present } else { &mut missing };
            let name = child.platform_name();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let is_platform = |name: &String| name.contains('/');
        if missing.iter().any(is_platform) {
            // Attestations are missing along with what they are about.
            missing.retain(is_platform);
            present.retain(is_platform);
        }
        let choice: Vec<String> = present
            .iter()
            .filter(|name| is_platform(name))
            .map(|name| format!("{name:?}"))
            .collect();
        Err(Error::MissingPlatforms {
            file: self.store.path().to_owned(),
            missing: missing.join(", "),
            choice: match choice.as_slice() {
                [] => String::new(),
                choice => format!(
                    ", or choose from what is there, which changes the digest:\n    platforms = [{}]",
                    choice.join(", ")
                ),
            },
            present: if present.is_empty() {
                "none".to_owned()
            } else {
                present.join(", ")
            },
        })
    }

    fn manifest(
        &mut self,
        document: &Document,
        config: &RawDescriptor,
        layers: &[RawDescriptor],
    ) -> Result<Manifest, Error> {
        let place = &document.place;
        let format = self.work.options.format;
        self.stored(config, "the configuration", place)?;
        let media_type = format.manifest_type(&document.media_type);
        let mut edits = Edits {
            media_type,
            strip: media_type.is_some() && format == ManifestFormat::Docker,
            ..Edits::default()
        };
        let mut new_config = config.checked(place)?;
        let config_type = format
            .config_type(&config.media_type)
            .map_err(|problem| self.unconvertible(place, problem))?;
        if let Some(config_type) = config_type {
            config_type.clone_into(&mut new_config.media_type);
            edits.config = Some(new_config.clone());
        }
        let diff_ids = self.diff_ids(config, place, layers.len())?;
        let mut descriptors = Vec::with_capacity(layers.len());
        for (position, layer) in layers.iter().enumerate() {
            if self.work.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let original = layer.checked(place)?;
            let (descriptor, algorithm) = self.layer(layer, place)?;
            let diff_id = match algorithm {
                Some(_) => Some(original.digest.clone()),
                None => diff_ids.get(position).cloned(),
            };
            self.image.layer(Layer {
                diff_id,
                descriptor: descriptor.clone(),
                algorithm,
            });
            if descriptor != original {
                edits.entries.push((position, descriptor.clone()));
            }
            descriptors.push(descriptor);
        }
        let bytes = rewrite(document, "layers", &edits)?;
        Ok(Manifest {
            media_type: media_type.map_or_else(|| document.media_type.clone(), str::to_owned),
            digest: Digest::of(&bytes),
            bytes,
            config: Some(new_config),
            layers: descriptors,
        })
    }

    /// What a configuration says about the layers; nothing unless it is an image's.
    fn diff_ids(
        &self,
        config: &RawDescriptor,
        referrer: &str,
        count: usize,
    ) -> Result<Vec<Digest>, Error> {
        #[derive(Deserialize)]
        struct Config {
            rootfs: RootFs,
        }
        #[derive(Deserialize)]
        struct RootFs {
            diff_ids: Vec<Digest>,
        }
        // Only layers that are compressed here are remembered by it, and asking
        // another registry for every configuration takes time.
        if matches!(self.store, Store::Remote(..)) {
            return Ok(Vec::new());
        }
        let digest = config.digest(referrer)?;
        let part = self.store.blob(&digest, config.size)?;
        let is_of_use = |part: &Part| {
            count > 0 && part.length() <= MAX_DOCUMENT && is_image_config(&config.media_type)
        };
        let Some(part) = part.filter(is_of_use) else {
            return Ok(Vec::new());
        };
        let parsed: Result<Config, _> = serde_json::from_slice(&self.config(&digest, &part)?);
        let diff_ids = parsed.map(|config| config.rootfs.diff_ids);
        Ok(diff_ids
            .ok()
            .filter(|diff_ids| diff_ids.len() == count)
            .unwrap_or_default())
    }

    /// What becomes of a layer, and what compressed it.
    fn layer(
        &mut self,
        layer: &RawDescriptor,
        referrer: &str,
    ) -> Result<(Descriptor, Option<String>), Error> {
        let original = layer.checked(referrer)?;
        if let Some(done) = self.layers.get(&original) {
            return Ok(done.clone());
        }
        let (mut descriptor, algorithm, format) = self.content(layer, &original, referrer)?;
        let converted = self
            .work
            .options
            .format
            .layer_type(&descriptor.media_type, format)
            .map_err(|problem| self.unconvertible(referrer, problem))?;
        if let Some(media_type) = converted {
            media_type.clone_into(&mut descriptor.media_type);
        }
        let done = (descriptor, algorithm);
        self.layers.insert(original, done.clone());
        Ok(done)
    }

    /// The bytes of a layer: what is sent, what made it, and what it is.
    fn content(
        &mut self,
        layer: &RawDescriptor,
        original: &Descriptor,
        referrer: &str,
    ) -> Result<(Descriptor, Option<String>, Option<Format>), Error> {
        // Layers that may not be distributed come from somewhere else; a
        // registry asks for no blob. Their descriptors stay.
        if is_foreign(&layer.media_type) {
            return Ok((original.clone(), None, None));
        }
        if matches!(self.store, Store::Remote(..)) {
            self.stored(layer, "the layer", referrer)?;
            return Ok((original.clone(), None, None));
        }
        let part = self.store.blob(&original.digest, original.size)?;
        let is_elsewhere = layer.urls.as_ref().is_some_and(|urls| !urls.is_empty());
        if part.is_none() && layer.data.is_none() && is_elsewhere {
            return Ok((original.clone(), None, None));
        }
        let (Some(family), Some(part)) = (Family::of(&layer.media_type), part) else {
            self.stored(layer, "the layer", referrer)?;
            return Ok((original.clone(), None, None));
        };
        check_size(&part, layer.size)?;
        let format = part.format()?;
        let algorithm = self.work.options.compression.algorithm();
        if let Some(algorithm) = algorithm.filter(|_| family.is_raw(format)) {
            let is_docker =
                family.is_docker() && self.work.options.format == ManifestFormat::Source;
            if is_docker && algorithm.format() == Format::Zstd {
                return Err(Error::Conversion {
                    place: referrer.to_owned(),
                    target: "an image with zstd layers",
                    problem: ZSTD_NEEDS_OCI.to_owned(),
                });
            }
            let made = self.work.pack(&part, algorithm, &original.digest)?;
            let descriptor = Descriptor {
                media_type: family.media_type(algorithm.format()).to_owned(),
                digest: made.compressed.digest,
                size: made.compressed.size,
            };
            self.image
                .blob(&descriptor.digest, descriptor.size, made.source);
            return Ok((descriptor, Some(made.algorithm), Some(algorithm.format())));
        }
        self.stored(layer, "the layer", referrer)?;
        let media_type = match family.is_raw(format) {
            true => family.media_type(Format::Tar),
            false => family.corrected(&layer.media_type, format),
        };
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            ..original.clone()
        };
        Ok((descriptor, None, Some(format)))
    }

    /// A blob that is sent as it is. That it has the bytes that its digest
    /// promises is checked while it is sent.
    fn stored(
        &mut self,
        descriptor: &RawDescriptor,
        what: &'static str,
        referrer: &str,
    ) -> Result<(), Error> {
        let digest = descriptor.digest(referrer)?;
        if let Some(part) = self.store.blob(&digest, descriptor.size)? {
            check_size(&part, descriptor.size)?;
            let source = match (&part, self.known.configs.get(&digest)) {
                (Part::Remote(_), Some(bytes)) if bytes.len() as u64 == descriptor.size => {
                    Arc::new(Fetched {
                        bytes: bytes.clone(),
                        part,
                    })
                }
                _ => self.work.stored(&part, &digest),
            };
            self.image.blob(&digest, descriptor.size, source);
            return Ok(());
        }
        let Some(bytes) = descriptor.embedded(referrer)? else {
            return Err(Error::MissingBlob {
                file: self.store.path().to_owned(),
                what,
                digest,
                referrer: referrer.to_owned(),
            });
        };
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(Error::Digest {
                place: format!("the data of a descriptor in {referrer}"),
                expected: digest,
                actual,
            });
        }
        let source = Arc::new(Memory(bytes.into()));
        self.image.blob(&digest, descriptor.size, source);
        Ok(())
    }
}

/// What looking for platforms has found.
struct Selection {
    /// Their names.
    found: Vec<String>,
    /// Which of the wanted ones are there.
    hits: Vec<bool>,
    kept: HashSet<Choice>,
    /// Whether anything of what was looked at already is wanted.
    judged: HashMap<(Named, String), bool>,
}

/// Why zstd and Docker's schema 2 do not go together.
pub(super) const ZSTD_NEEDS_OCI: &str =
    "Docker's format has no zstd layers; ask for the format oci as well";

fn is_image_config(media_type: &str) -> bool {
    matches!(
        media_type,
        super::manifest::OCI_CONFIG | super::manifest::DOCKER_CONFIG
    )
}

fn check_size(part: &Part, expected: u64) -> Result<(), Error> {
    if part.length() == expected {
        Ok(())
    } else {
        Err(Error::Size {
            place: part.place(),
            expected,
            actual: part.length(),
        })
    }
}

fn check_bounds(store: &Store<'_>, depth: usize, count: usize) -> Result<(), Error> {
    let problem = if depth > MAX_DEPTH {
        format!("it nests more than {MAX_DEPTH} indexes")
    } else if count > MAX_MANIFESTS {
        format!("it holds more than {MAX_MANIFESTS} manifests")
    } else {
        return Ok(());
    };
    Err(Error::Malformed {
        place: format!("the image in {:?}", store.path()),
        problem,
    })
}

const MAX_DEPTH: usize = 8;
const MAX_MANIFESTS: usize = 1024;
/// Held in memory beside all that is taken in.
const MAX_KNOWN_BYTES: usize = 2 << 20;
/// They are held in memory.
const MAX_MANIFEST_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use std::sync::Mutex;

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde_json::Value;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::image::testing::{
        Layout, OCI_CONFIG, OCI_GZIP, OCI_TAR, check, gunzip, gzip, image_json, layer, read,
    };
    use crate::image::{LoadOptions, Loader, RemoteManifest, Source};
    use crate::image::{
        layer::{DOCKER_LAYERS, OCI_LAYERS},
        manifest::{DOCKER_MANIFEST, OCI_MANIFEST},
    };

    const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 0, 1, 2, 3];

    fn single(build: impl FnOnce(&Layout) -> anyhow::Result<Value>) -> anyhow::Result<Layout> {
        let mut layout = Layout::new()?;
        let image = build(&layout)?;
        layout.add(image, None)?;
        Ok(layout)
    }

    fn digest(descriptor: &Value) -> String {
        descriptor["digest"].as_str().unwrap_or_default().to_owned()
    }

    /// An image with compressed layers keeps the bytes of its manifest, white
    /// space included, and sends its blobs as they are.
    #[test]
    fn original_bytes() -> anyhow::Result<()> {
        let bytes = gzip(&layer("file", b"content"));
        let mut manifest = Value::Null;
        let layout = single(|layout| {
            let gzip = layout.blob(OCI_GZIP, &bytes)?;
            let zstd = layout.blob(OCI_LAYERS[2], ZSTD_MAGIC)?;
            manifest = layout.image(&[gzip, zstd])?;
            Ok(manifest.clone())
        })?;
        let image = layout.load(None)?;
        check(&image)?;
        let root = image.root();
        assert_eq!(
            root.bytes,
            std::fs::read(layout.blob_path(&digest(&manifest)))?
        );
        assert_eq!(root.digest.as_str(), digest(&manifest));
        assert_eq!(root.media_type, OCI_MANIFEST);
        assert_eq!(read(&image.blobs[1])?, bytes);
        assert!(!image.is_index());
        assert_eq!(image.image_id(), root.config.as_ref().map(|it| &it.digest));
        let sizes: usize = [br#"{"os":"linux"}"#.len(), bytes.len(), ZSTD_MAGIC.len()]
            .iter()
            .sum();
        assert_eq!(image.total_size(), sizes as u64);
        Ok(())
    }

    /// A manifest with an uncompressed layer is written anew: that layer's
    /// descriptor changes, and nothing else, whatever else there is.
    #[test]
    fn an_uncompressed_layer() -> anyhow::Result<()> {
        let plain = layer("file", &[b'x'; 2 << 20]);
        let layout = single(|layout| {
            let mut raw = layout.blob(OCI_TAR, &plain)?;
            raw["annotations"] = json!({"keep": "this", "a": "b"});
            // A copy of the content, which must not stay when the content changes.
            raw["data"] = BASE64_STANDARD.encode(&plain).into();
            let gzip = layout.blob(OCI_GZIP, &gzip(b"other"))?;
            let config = layout.blob(OCI_CONFIG, b"{}")?;
            let mut manifest = image_json(&config, &[raw, gzip]);
            manifest["annotations"] = json!({"z": "\u{e9}\"\n", "b": "2"});
            manifest["x-unknown"] =
                serde_json::from_str(r#"{"deep":[1,1.50,12345678901234567890123,null]}"#)?;
            layout.document(OCI_MANIFEST, &manifest)
        })?;
        let image = layout.load(None)?;
        check(&image)?;
        expect![[r#"{"annotations":{"b":"2","z":"é\"\n"},"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","mediaType":"application/vnd.oci.image.config.v1+json","size":2},"layers":[{"annotations":{"a":"b","keep":"this"},"digest":"sha256:fb3e20c962280f3cc685d6f160d5f83ab30b9c0ff7391b745951b4f0ad798a81","mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":2416},{"digest":"sha256:d7255d1b78beb643ccd228edc20eb040ab28572beabb54d8616bc8d7f0cc999a","mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":25}],"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,"x-unknown":{"deep":[1,1.50,12345678901234567890123,null]}}"#]].assert_eq(std::str::from_utf8(&image.root().bytes)?);
        assert!(gunzip(&read(&image.blobs[1])?)? == plain);
        assert_eq!(layout.load(None)?.root().digest, image.root().digest);
        Ok(())
    }

    /// An index keeps its bytes and comes after its children, which come once.
    #[test]
    fn an_index() -> anyhow::Result<()> {
        let mut index = Value::Null;
        let layout = single(|layout| {
            let blob = layout.blob(OCI_GZIP, &gzip(b"one"))?;
            let one = layout.image(std::slice::from_ref(&blob))?;
            let two = layout.image(&[blob.clone(), blob])?;
            let inner = layout.index(&[one.clone(), two])?;
            index = layout.index(&[one, inner])?;
            Ok(index.clone())
        })?;
        let image = layout.load(None)?;
        check(&image)?;
        assert!(image.is_index());
        assert_eq!(image.image_id(), None);
        assert_eq!(image.root().digest.as_str(), digest(&index));
        assert_eq!(image.manifests.len(), 4);
        // One configuration and one layer, however often they are named.
        assert_eq!(image.blobs.len(), 2);
        Ok(())
    }

    /// An index above an uncompressed layer follows its child, and so does the
    /// attestation that is about the child.
    #[test]
    fn an_index_above_an_uncompressed_layer() -> anyhow::Result<()> {
        let mut old = Value::Null;
        let layout = single(|layout| {
            let raw = layout.blob(OCI_TAR, &layer("file", b"content"))?;
            old = layout.image(&[raw])?;
            old["platform"] = json!({"os": "linux", "architecture": "arm64"});
            let statement =
                layout.blob("application/vnd.in-toto+json", b"{\"not\":\"a layer\"}")?;
            let mut attestation = layout.image(&[statement])?;
            attestation["annotations"] = json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": digest(&old),
            });
            layout.index(&[old.clone(), attestation])
        })?;
        let image = layout.load(None)?;
        check(&image)?;
        let index: Value = serde_json::from_slice(&image.root().bytes)?;
        let child = &image.manifests[0];
        assert_ne!(child.digest.as_str(), digest(&old));
        assert_eq!(digest(&index["manifests"][0]), child.digest.as_str());
        assert_eq!(index["manifests"][0]["size"], child.bytes.len());
        assert_eq!(index["manifests"][0]["platform"]["architecture"], "arm64");
        assert_eq!(
            index["manifests"][1]["annotations"]["vnd.docker.reference.digest"],
            child.digest.as_str()
        );
        // The statement of the attestation is no layer, and was not compressed.
        assert_eq!(
            image.manifests[1].layers[0].media_type,
            "application/vnd.in-toto+json"
        );
        Ok(())
    }

    /// Bytes decide: what is called tar and is compressed gets its media type
    /// put right, what is called gzip and is a tar is compressed.
    #[test]
    fn media_types_that_lie() -> anyhow::Result<()> {
        let plain = layer("file", b"content");
        let layout = single(|layout| {
            let layers = [
                layout.blob(OCI_TAR, &gzip(&plain))?,
                layout.blob(OCI_TAR, ZSTD_MAGIC)?,
                layout.blob(OCI_GZIP, &plain)?,
                layout.blob(DOCKER_LAYERS[0], &layer("other", b"content"))?,
                layout.blob(OCI_GZIP, b"neither")?,
                layout.blob(OCI_TAR, b"")?,
            ];
            layout.image(&layers)
        })?;
        let image = layout.load(None)?;
        check(&image)?;
        let types: Vec<&str> = image
            .root()
            .layers
            .iter()
            .map(|it| it.media_type.as_str())
            .collect();
        expect![[r#"
            [
                "application/vnd.oci.image.layer.v1.tar+gzip",
                "application/vnd.oci.image.layer.v1.tar+zstd",
                "application/vnd.oci.image.layer.v1.tar+gzip",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "application/vnd.oci.image.layer.v1.tar+gzip",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            ]
        "#]]
        .assert_debug_eq(&types);
        assert_eq!(image.root().layers[0].digest, Digest::of(&gzip(&plain)));
        let packed = image
            .blobs
            .iter()
            .find(|it| it.digest == image.root().layers[2].digest);
        assert_eq!(gunzip(&read(packed.expect("it is there"))?)?, plain);
        Ok(())
    }

    /// Layers that may not be distributed, or can be fetched elsewhere, are named
    /// and not sent.
    #[test]
    fn foreign_layers() -> anyhow::Result<()> {
        let layout = single(|layout| {
            let elsewhere = |media_type: &str| {
                json!({
                    "mediaType": media_type,
                    "digest": Digest::of(media_type.as_bytes()).as_str(),
                    "size": 1_000_000_000,
                    "urls": ["https://example.com/layer"],
                })
            };
            layout.image(&[
                elsewhere("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
                elsewhere("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
                elsewhere(OCI_GZIP),
            ])
        })?;
        let image = layout.load(None)?;
        assert_eq!(image.root().layers.len(), 3);
        assert_eq!(image.blobs.len(), 1);
        Ok(())
    }

    /// An artifact has an empty configuration whose content may be in its
    /// descriptor only, and layers of any type.
    #[test]
    fn an_artifact() -> anyhow::Result<()> {
        let layout = single(|layout| {
            let mut config = layout.blob("application/vnd.oci.empty.v1+json", b"{}")?;
            std::fs::remove_file(layout.blob_path(&digest(&config)))?;
            config["data"] = "e30=".into();
            let chart = layout.blob(
                "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                b"chart",
            )?;
            let mut manifest = image_json(&config, &[chart]);
            manifest["artifactType"] = "application/vnd.example".into();
            layout.document(OCI_MANIFEST, &manifest)
        })?;
        let image = layout.load(None)?;
        check(&image)?;
        assert_eq!(image.blobs.len(), 2);
        assert_eq!(read(&image.blobs[0])?, b"{}");
        Ok(())
    }

    /// An image may have no layers.
    #[test]
    fn no_layers() -> anyhow::Result<()> {
        let layout = single(|layout| layout.image(&[]))?;
        let image = layout.load(None)?;
        check(&image)?;
        assert!(image.root().layers.is_empty());
        Ok(())
    }

    /// Manifests that are spoilt, in every way we could think of.
    #[test]
    fn spoilt_manifests() -> anyhow::Result<()> {
        let document = |media_type: &'static str, value: Value| {
            single(|layout| layout.document(media_type, &value)).map(|layout| layout.error(None))
        };
        let mut found = Vec::new();
        found.push(document(OCI_MANIFEST, json!({"schemaVersion": 2}))?);
        found.push(document(
            OCI_MANIFEST,
            json!({"manifests": [], "layers": []}),
        )?);
        found.push(document(OCI_MANIFEST, json!({"manifests": []}))?);
        found.push(document(
            OCI_MANIFEST,
            json!({"mediaType": DOCKER_MANIFEST, "manifests": []}),
        )?);
        found.push(document("text/plain", json!({"manifests": []}))?);
        found.push(document(OCI_MANIFEST, json!({"fsLayers": []}))?);
        found.push(document(OCI_MANIFEST, json!("manifest"))?);
        found.push(document(
            OCI_MANIFEST,
            json!({"config": {"digest": "sha512:00", "size": 1}}),
        )?);
        found.push(document(
            OCI_MANIFEST,
            json!({"config": {"digest": "../../x", "size": -1}}),
        )?);
        let found: String = found
            .iter()
            .map(|text| {
                let hex = text.find("sha256/").map(|at| &text[at + 7..at + 71]);
                format!(
                    "{}\n",
                    hex.map_or(text.clone(), |hex| text.replace(hex, "…"))
                )
            })
            .collect();
        expect![[r#"
            "DIR/blobs/sha256/…" cannot be used: it is neither a manifest nor an index
            "DIR/blobs/sha256/…" cannot be used: it is a manifest and an index at once
            "DIR/blobs/sha256/…" cannot be used: its media type is "application/vnd.oci.image.manifest.v1+json", and its content is that of an index
            "DIR/blobs/sha256/…" cannot be used: it calls itself "application/vnd.docker.distribution.manifest.v2+json", and its descriptor calls it "application/vnd.oci.image.manifest.v1+json"
            "DIR/blobs/sha256/…" cannot be used: its media type is "text/plain", and its content is that of an index
            "DIR/blobs/sha256/…" cannot be used: it is a manifest of Docker's schema 1, which registries no longer take
            "DIR/blobs/sha256/…" is not a manifest or an index: invalid type: string "manifest", expected an object at line 1 column 10
            "DIR/blobs/sha256/…" cannot be used: "sha512:00" is not a digest of the form "sha256:" and 64 lower-case hexadecimal digits
            "DIR/blobs/sha256/…" is not a manifest or an index: invalid value: integer `-1`, expected u64 at line 4 column 14
        "#]].assert_eq(&found);
        Ok(())
    }

    /// Blobs that are missing, too short, or not what their names say.
    #[test]
    fn spoilt_blobs() -> anyhow::Result<()> {
        let spoil = |spoil: &dyn Fn(&Path, &[u8]) -> std::io::Result<()>| {
            let mut texts = Vec::new();
            for position in 0..2 {
                let mut blobs = Vec::new();
                let layout = single(|layout| {
                    let layer = layout.blob(OCI_TAR, &layer("file", b"content"))?;
                    let manifest = layout.image(std::slice::from_ref(&layer))?;
                    blobs = vec![layer, manifest.clone()];
                    Ok(manifest)
                })?;
                let path = layout.blob_path(&digest(&blobs[position]));
                spoil(&path, &std::fs::read(&path)?)?;
                texts.push(layout.error(None));
            }
            anyhow::Ok(texts.join("\n"))
        };
        expect![[r#"
            "DIR" lacks the layer sha256:8229149a36ac664421ab2e9b4df0bf20e32246e9342fbdd42b1d80feface63d9, which "DIR/blobs/sha256/260457af745943e99a92e38e1906dc1ff1d0e7dc8bbcc248fd818455417a33e8" names
            "DIR" lacks the manifest sha256:260457af745943e99a92e38e1906dc1ff1d0e7dc8bbcc248fd818455417a33e8, which "DIR/index.json" names"#]].assert_eq(&spoil(&|path, _| std::fs::remove_file(path))?);
        expect![[r#"
            "DIR/blobs/sha256/8229149a36ac664421ab2e9b4df0bf20e32246e9342fbdd42b1d80feface63d9" is corrupt: it should have 2048 bytes, and has 2047
            "DIR/blobs/sha256/260457af745943e99a92e38e1906dc1ff1d0e7dc8bbcc248fd818455417a33e8" is corrupt: it should have 472 bytes, and has 471"#]].assert_eq(&spoil(&|path, bytes| std::fs::write(path, &bytes[1..]))?);
        expect![[r#"
            "DIR/blobs/sha256/8229149a36ac664421ab2e9b4df0bf20e32246e9342fbdd42b1d80feface63d9" is corrupt: it should have the digest sha256:8229149a36ac664421ab2e9b4df0bf20e32246e9342fbdd42b1d80feface63d9, and has sha256:a47aaff0c0bfd63cdecf3bbfee46ff48be95276dd4b1c6775486df070727c843
            "DIR/blobs/sha256/260457af745943e99a92e38e1906dc1ff1d0e7dc8bbcc248fd818455417a33e8" is corrupt: it should have the digest sha256:260457af745943e99a92e38e1906dc1ff1d0e7dc8bbcc248fd818455417a33e8, and has sha256:c4e2be5a117cb90b03ce841d869531c2a17884a68887d60f7a99a2000e8ddcad"#]].assert_eq(&spoil(&|path, bytes| {
            let mut bytes = bytes.to_vec();
            bytes[5] ^= 1;
            std::fs::write(path, bytes)
        })?);
        expect![[r#"
            "DIR/blobs/sha256/8229149a36ac664421ab2e9b4df0bf20e32246e9342fbdd42b1d80feface63d9" is a directory, not a file
            "DIR/blobs/sha256/260457af745943e99a92e38e1906dc1ff1d0e7dc8bbcc248fd818455417a33e8" is a directory, not a file"#]].assert_eq(&spoil(&|path, _| {
            std::fs::remove_file(path)?;
            std::fs::create_dir(path)
        })?);
        Ok(())
    }

    /// An index whose platforms were not all fetched.
    #[test]
    fn missing_platforms() -> anyhow::Result<()> {
        let layout = single(|layout| {
            let mut children = Vec::new();
            for (architecture, variant) in [("amd64", ""), ("arm64", "v8"), ("s390x", "")] {
                let blob = layout.blob(OCI_GZIP, &gzip(architecture.as_bytes()))?;
                let mut child = layout.image(&[blob])?;
                child["platform"] =
                    json!({"os": "linux", "architecture": architecture, "variant": variant});
                if architecture != "amd64" {
                    std::fs::remove_file(layout.blob_path(&digest(&child)))?;
                }
                children.push(child);
            }
            layout.index(&children)
        })?;
        expect![[r#"
            "DIR" holds an index of several platforms, but not the images for linux/arm64/v8, linux/s390x (it has linux/amd64); get them, too, for example with docker pull --platform or skopeo copy --all, and save the image again if it is in a file, or choose from what is there, which changes the digest:
                platforms = ["linux/amd64"]"#]].assert_eq(&layout.error(None));
        Ok(())
    }

    /// A registry that counts what it is asked for.
    #[derive(Debug)]
    struct Counting {
        blobs: HashMap<Digest, Vec<u8>>,
        root: Digest,
        origin: Origin,
        asked: Mutex<Vec<String>>,
    }

    impl Counting {
        fn new(layout: &Layout, root: &Value) -> anyhow::Result<Arc<Self>> {
            let mut blobs = HashMap::new();
            for file in std::fs::read_dir(layout.path().join("blobs/sha256"))? {
                let bytes = std::fs::read(file?.path())?;
                blobs.insert(Digest::of(&bytes), bytes);
            }
            Ok(Arc::new(Self {
                blobs,
                root: digest(root).parse()?,
                origin: Origin {
                    host: "registry.example".to_owned(),
                    repository: "team/web".to_owned(),
                },
                asked: Mutex::default(),
            }))
        }

        fn bytes(&self, what: &str, digest: &Digest) -> Option<Vec<u8>> {
            let mut asked = self.asked.lock().expect("nobody panics");
            asked.push(format!("{what} {digest}"));
            self.blobs.get(digest).cloned()
        }

        fn asked(&self) -> Vec<String> {
            let mut asked = std::mem::take(&mut *self.asked.lock().expect("nobody panics"));
            asked.sort();
            asked
        }
    }

    impl Remote for Counting {
        fn root(&self) -> Result<RemoteManifest, Error> {
            Ok(self.manifest(&self.root)?.expect("it is there"))
        }

        fn manifest(&self, digest: &Digest) -> Result<Option<RemoteManifest>, Error> {
            let manifest = |bytes: Vec<u8>| RemoteManifest {
                media_type: String::new(),
                digest: digest.clone(),
                bytes: bytes.into(),
            };
            Ok(self.bytes("manifest", digest).map(manifest))
        }

        fn open(&self, digest: &Digest, _: u64) -> Result<Box<dyn BlobReader>, Error> {
            let bytes = self.bytes("blob", digest).unwrap_or_default();
            Ok(Box::new(Waits(std::io::Cursor::new(bytes))))
        }

        fn origin(&self) -> &Origin {
            &self.origin
        }
    }

    fn platforms(names: &[&str]) -> anyhow::Result<LoadOptions> {
        let platforms: Result<_, Error> = names.iter().map(|name| name.parse()).collect();
        Ok(LoadOptions {
            platforms: platforms?,
            ..LoadOptions::default()
        })
    }

    /// Two images of which only their configurations say the platform, the first one named
    /// over and over.
    fn platforms_in_configurations(layout: &Layout) -> anyhow::Result<(Value, [Value; 2])> {
        let mut images = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let config = json!({"os": "linux", "architecture": architecture}).to_string();
            let config = layout.blob(OCI_CONFIG, config.as_bytes())?;
            let layer = layout.blob(OCI_GZIP, &gzip(architecture.as_bytes()))?;
            images.push((
                layout.document(OCI_MANIFEST, &image_json(&config, &[layer]))?,
                config,
            ));
        }
        let [(amd, amd_config), (arm, arm_config)] =
            <[_; 2]>::try_from(images).map_err(|_| anyhow::anyhow!("two"))?;
        let mut children = vec![amd; 1_500];
        children.push(arm);
        Ok((layout.index(&children)?, [amd_config, arm_config]))
    }

    /// Choosing platforms asks another registry for each document once, although it has to read
    /// configurations; what was read is not asked for again when it is sent, and can still be
    /// mounted.
    #[test]
    fn choosing_platforms_asks_once() -> anyhow::Result<()> {
        let layout = Layout::new()?;
        let (root, configs) = platforms_in_configurations(&layout)?;
        let registry = Counting::new(&layout, &root)?;
        let options = LoadOptions {
            remote: Some(Arc::clone(&registry) as Arc<dyn Remote>),
            ..platforms(&["linux/arm64"])?
        };
        let source = Source::parse("docker://registry.example/team/web:1.0")?;
        let stop = CancellationToken::new();
        let image = Loader::default().load_with(&source, &options, &stop)?;
        let asked = registry.asked();
        let distinct: HashSet<&String> = asked.iter().collect();
        // The root is asked for by its name first, and by its digest then.
        assert_eq!((asked.len(), distinct.len()), (6, 5), "{asked:#?}");
        for config in &configs {
            assert!(asked.contains(&format!("blob {}", digest(config))));
        }

        check(&image)?;
        let sent = registry.asked();
        assert_eq!(sent.len(), 1, "only the layer: {sent:#?}");
        assert!(!sent[0].contains(&digest(&configs[1])));
        assert_eq!(image.blobs.len(), 2);
        for blob in &image.blobs {
            assert_eq!(blob.source.origin(), Some(&registry.origin));
        }
        Ok(())
    }

    /// A stop ends the search for platforms, too.
    #[test]
    fn choosing_platforms_stops() -> anyhow::Result<()> {
        let layout = Layout::new()?;
        let (root, _) = platforms_in_configurations(&layout)?;
        let registry = Counting::new(&layout, &root)?;
        let options = platforms(&["linux/arm64"])?;
        let stop = CancellationToken::new();
        stop.cancel();
        let loader = Loader::default();
        let work = Work {
            loader: &loader,
            options: &options,
            stop: &stop,
            shown: "web",
        };
        let remote = Arc::clone(&registry) as Arc<dyn Remote>;
        let store = Store::Remote(Path::new("web"), &remote);
        let size = registry.blobs[&registry.root].len();
        let root = RawDescriptor::of_manifest("", &registry.root, size as u64);
        assert!(matches!(
            super::load(&work, &store, &root, "web"),
            Err(Error::Stopped)
        ));
        assert!(registry.asked().is_empty());
        Ok(())
    }

    /// Indexes in indexes end somewhere.
    #[test]
    fn deep_nesting() -> anyhow::Result<()> {
        let layout = single(|layout| {
            let mut image = layout.image(&[])?;
            for _ in 0..20 {
                image = layout.index(&[image])?;
            }
            Ok(image)
        })?;
        expect![[r#"the image in "DIR" cannot be used: it nests more than 8 indexes"#]]
            .assert_eq(&layout.error(None));
        Ok(())
    }

    /// A manifest that is named thousands of times is read once, and a layer counted once:
    /// a small index does not keep anybody busy.
    #[test]
    fn an_index_that_repeats_itself() -> anyhow::Result<()> {
        let layout = single(|layout| {
            let config = layout.blob(OCI_CONFIG, b"{}")?;
            let layer = layout.blob(OCI_GZIP, &gzip(b"layer"))?;
            let mut manifest = image_json(&config, &vec![layer; 5_000]);
            manifest["annotations"] = json!({"long": "x".repeat(1_000_000)});
            let image = layout.document(OCI_MANIFEST, &manifest)?;
            layout.index(&vec![image; 5_000])
        })?;
        let start = std::time::Instant::now();
        let image = layout.load(None)?;
        assert_eq!((image.manifests.len(), image.blobs.len()), (2, 2));
        assert!(start.elapsed() < std::time::Duration::from_secs(15));
        Ok(())
    }
}
