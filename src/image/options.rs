//! What a user may ask for besides the source, and what the caller remembers.

use std::{ffi::OsString, fmt, str::FromStr, sync::Arc};

use super::{Cache, Daemon, Descriptor, Digest, Error, Remote, compress::Algorithm};

/// How a source is to be read. The default keeps what the source says, uses
/// gzip for layers that come uncompressed, and no cache.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Keep only these platforms of an index; all when empty. An attestation
    /// stays with the image that it is about. When something is dropped, the index is
    /// written anew, so its digest changes.
    pub platforms: Vec<Platform>,
    /// Media types of what is pushed.
    pub format: ManifestFormat,
    /// What becomes of layers that come uncompressed.
    pub compression: Compression,
    /// Layers that were compressed before, by whatever version: their descriptors are used
    /// again.
    pub known: Vec<KnownLayer>,
    /// Where compressed layers are kept between runs.
    pub cache: Option<Cache>,
    /// Where Docker listens, for sources of the kind `docker-daemon:`.
    pub daemon: Daemon,
    /// The image of another registry, for sources of the kind `docker://`.
    pub remote: Option<Arc<dyn Remote>>,
    /// Do not hash once more, while it is sent, what lies on disk as it is sent: the registry
    /// verifies every digest. When it refuses one, [`BlobSource::verify`](super::BlobSource::verify)
    /// says what is wrong.
    pub trust_registry: bool,
}

impl LoadOptions {
    /// The default, with the cache and the Docker of this user: `OCIR_CACHE_DIR`,
    /// `OCIR_CACHE_SIZE`, `DOCKER_HOST`, and what they stand in for.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        Self {
            cache: Cache::from_environment(&variable),
            daemon: Daemon::from_environment(&variable),
            ..Self::default()
        }
    }
}

/// Media types of what is pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManifestFormat {
    /// Those that the source has; an archive without manifests becomes Docker's schema 2.
    #[default]
    Source,
    /// Those of the image specification.
    Oci,
    /// Docker's schema 2. Annotations are lost, and so are attestations, which have no
    /// form there and are about another digest.
    Docker,
}

/// What becomes of layers that come uncompressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They are compressed with [`ALGORITHM`](super::ALGORITHM).
    #[default]
    Gzip,
    /// They are compressed with [`ZSTD_ALGORITHM`](super::ZSTD_ALGORITHM); Docker's schema 2
    /// has no such layers.
    Zstd,
    /// They are pushed as they are.
    None,
}

impl Compression {
    pub(super) fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Gzip => Some(Algorithm::Gzip),
            Self::Zstd => Some(Algorithm::Zstd),
            Self::None => None,
        }
    }
}

/// A layer of an image, and how its descriptor came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the uncompressed bytes: what the configuration says; of
    /// layers that came uncompressed, what was read or is known from before. `None` for
    /// blobs of artifacts.
    pub diff_id: Option<Digest>,
    /// What the manifest says about it.
    pub descriptor: Descriptor,
    /// Name and version of the algorithm when it was compressed by us, in this run or in an
    /// earlier one; `None` when it is pushed as it came.
    pub algorithm: Option<String>,
}

impl Layer {
    /// What has to be remembered so that the same layer has the same descriptor in
    /// later runs; `None` for layers that are pushed as they came.
    pub fn to_remember(&self) -> Option<KnownLayer> {
        Some(KnownLayer {
            diff_id: self.diff_id.clone()?,
            algorithm: self.algorithm.clone()?,
            descriptor: self.descriptor.clone(),
        })
    }
}

/// A layer that an earlier run compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLayer {
    /// Digest of the uncompressed bytes.
    pub diff_id: Digest,
    /// Name and version of the algorithm.
    pub algorithm: String,
    /// What came out. Its media type is not used.
    pub descriptor: Descriptor,
}

/// A platform as users write it: `linux/amd64`, `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Whether an image for that platform is meant. Without a variant every one is;
    /// `arm64` and `arm64/v8` are the same, since many tools leave that one out.
    pub(super) fn includes(&self, os: &str, architecture: &str, variant: &str) -> bool {
        let canonical = |variant: &str| match (self.architecture.as_str(), variant) {
            ("arm64", "") => "v8".to_owned(),
            ("arm", "") => "v7".to_owned(),
            (_, variant) => variant.to_owned(),
        };
        self.os == os
            && self.architecture == architecture
            && self
                .variant
                .as_ref()
                .is_none_or(|wanted| canonical(wanted) == canonical(variant))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_part = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => {
                return Err(Error::PlatformSyntax {
                    text: text.to_owned(),
                });
            }
        };
        if !parts.iter().all(is_part) {
            return Err(Error::PlatformSyntax {
                text: text.to_owned(),
            });
        }
        Ok(Self {
            os: (*os).to_owned(),
            architecture: (*architecture).to_owned(),
            variant: variant.map(|it| (*it).to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;
    use crate::image::{
        ALGORITHM, DOCKER_INDEX, Image, ZSTD_ALGORITHM,
        manifest::{DOCKER_MANIFEST, OCI_MANIFEST},
        testing::{
            Layout, OCI_GZIP, OCI_TAR, check, docker_archive, gunzip, gzip, image_json, layer, read,
        },
    };

    /// What is written is printed back; anything else is refused by name.
    #[test]
    fn platforms_are_parsed() -> anyhow::Result<()> {
        for text in ["linux/amd64", "linux/arm64/v8", "windows/amd64"] {
            assert_eq!(text.parse::<Platform>()?.to_string(), text);
        }
        for text in [
            "",
            "linux",
            "linux/",
            "linux/arm64/v8/x",
            "Linux/amd64",
            "linux/amd64 ",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        let error = "amd64".parse::<Platform>().expect_err("it names no system");
        expect![[r#""amd64" is not a platform; write it like linux/amd64 or linux/arm64/v8"#]]
            .assert_eq(&error.to_string());
        Ok(())
    }

    /// A variant narrows, and the usual one may be left out on either side.
    #[test]
    fn platforms_include() -> anyhow::Result<()> {
        let includes = |wanted: &str, (os, architecture, variant)| {
            anyhow::Ok(
                wanted
                    .parse::<Platform>()?
                    .includes(os, architecture, variant),
            )
        };
        assert!(includes("linux/arm64", ("linux", "arm64", "v8"))?);
        assert!(includes("linux/arm64", ("linux", "arm64", ""))?);
        assert!(includes("linux/arm64/v8", ("linux", "arm64", ""))?);
        assert!(includes("linux/arm", ("linux", "arm", "v6"))?);
        assert!(!includes("linux/arm/v7", ("linux", "arm", "v6"))?);
        assert!(includes("linux/arm/v7", ("linux", "arm", ""))?);
        assert!(!includes("linux/amd64/v3", ("linux", "amd64", ""))?);
        assert!(!includes("linux/amd64", ("windows", "amd64", ""))?);
        Ok(())
    }

    fn platforms(names: &[&str]) -> anyhow::Result<LoadOptions> {
        let platforms = names
            .iter()
            .map(|it| it.parse())
            .collect::<Result<_, _>>()?;
        Ok(LoadOptions {
            platforms,
            ..LoadOptions::default()
        })
    }

    /// Images for three platforms, the last one in an index of its own; the first
    /// two with attestations.
    fn several() -> anyhow::Result<Layout> {
        let mut layout = Layout::new()?;
        let mut children = Vec::new();
        for (architecture, variant) in [("amd64", ""), ("arm64", "v8"), ("s390x", "")] {
            let blob = layout.blob(OCI_GZIP, &gzip(&layer(architecture, b"content")))?;
            let config = json!({
                "os": "linux", "architecture": architecture, "variant": variant,
                "rootfs": {"diff_ids": [Digest::of(&layer(architecture, b"content")).as_str()]},
            });
            let config = layout.blob(OCI_CONFIG, config.to_string().as_bytes())?;
            let mut child = layout.document(OCI_MANIFEST, &image_json(&config, &[blob]))?;
            if architecture == "s390x" {
                // Only its configuration says what it is for.
                children.push(layout.index(&[child])?);
                continue;
            }
            let about = child["digest"].clone();
            child["platform"] =
                json!({"os": "linux", "architecture": architecture, "variant": variant});
            children.push(child);
            let statement = layout.blob("application/vnd.in-toto+json", architecture.as_bytes())?;
            let mut attestation = layout.image(&[statement])?;
            attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
            attestation["annotations"] = json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": about,
            });
            children.push(attestation);
        }
        let index = layout.index(&children)?;
        layout.add(index, None)?;
        Ok(layout)
    }

    const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

    fn manifests(image: &Image) -> anyhow::Result<Vec<String>> {
        let root: Value = serde_json::from_slice(&image.root().bytes)?;
        let name = |child: &Value| match child["platform"]["architecture"].as_str() {
            Some("unknown") => "attestation".to_owned(),
            Some(architecture) => architecture.to_owned(),
            None => "index".to_owned(),
        };
        Ok(root["manifests"]
            .as_array()
            .into_iter()
            .flatten()
            .map(name)
            .collect())
    }

    /// Platforms are chosen, attestations go with their images, and an index
    /// of which nothing is left out keeps its bytes.
    #[test]
    fn platforms_are_chosen() -> anyhow::Result<()> {
        let layout = several()?;
        let all = layout.load(None)?;
        let one = layout.load_with(&platforms(&["linux/arm64"])?)?;
        check(&one)?;
        assert_eq!(manifests(&one)?, ["arm64", "attestation"]);
        assert_ne!(one.root().digest, all.root().digest);
        let again = layout.load_with(&platforms(&["linux/arm64/v8"])?)?;
        assert_eq!(one.root().bytes, again.root().bytes);
        let two = layout.load_with(&platforms(&["linux/s390x", "linux/amd64"])?)?;
        check(&two)?;
        assert_eq!(manifests(&two)?, ["amd64", "attestation", "index"]);
        let three = layout.load_with(&platforms(&[
            "linux/s390x",
            "linux/amd64",
            "linux/arm64/v8",
        ])?)?;
        assert_eq!(three.root().bytes, all.root().bytes);
        assert_eq!(three.blobs.len(), all.blobs.len());
        Ok(())
    }

    /// A platform that is not there: the error lists what is.
    #[test]
    fn platforms_that_are_not_there() -> anyhow::Result<()> {
        let layout = several()?;
        expect![[r#""DIR" holds no image for the platform linux/riscv64; what it holds: linux/amd64, linux/arm64/v8, linux/s390x"#]]
            .assert_eq(&layout.error_with(&platforms(&["linux/amd64", "linux/riscv64"])?));
        let mut single = Layout::new()?;
        let config = single.blob(OCI_CONFIG, br#"{"os":"linux","architecture":"amd64"}"#)?;
        let image = single.document(OCI_MANIFEST, &image_json(&config, &[]))?;
        single.add(image, None)?;
        single.load_with(&platforms(&["linux/amd64"])?)?;
        expect![[
            r#""DIR" holds no image for the platform linux/arm64; what it holds: linux/amd64"#
        ]]
        .assert_eq(&single.error_with(&platforms(&["linux/arm64"])?));
        let plain = layer("file", b"content");
        let archive = docker_archive(&[&plain], &[&plain]).save()?;
        archive.load_with(&platforms(&["linux/amd64"])?)?;
        expect![[r#""DIR/image.tar" holds no image for the platform linux/arm64; what it holds: linux/amd64"#]]
            .assert_eq(&archive.error_with(&platforms(&["linux/arm64"])?));
        Ok(())
    }

    /// What was not fetched of an index does not matter when it is not asked for.
    #[test]
    fn platforms_that_were_not_fetched() -> anyhow::Result<()> {
        let layout = several()?;
        let root = layout.load(None)?.root().bytes.clone();
        let root: Value = serde_json::from_slice(&root)?;
        let digest = root["manifests"][0]["digest"].as_str().unwrap_or_default();
        std::fs::remove_file(layout.blob_path(digest))?;
        assert!(layout.load(None).is_err());
        let image = layout.load_with(&platforms(&["linux/arm64"])?)?;
        assert_eq!(manifests(&image)?, ["arm64", "attestation"]);
        Ok(())
    }

    fn format(format: ManifestFormat) -> LoadOptions {
        LoadOptions {
            format,
            ..LoadOptions::default()
        }
    }

    /// An image becomes Docker's and comes back, with the same blobs; what is in the right
    /// format keeps its bytes.
    #[test]
    fn formats_are_converted() -> anyhow::Result<()> {
        let layout = several()?;
        let oci = layout.load_with(&format(ManifestFormat::Oci))?;
        assert_eq!(oci.root().digest, layout.load(None)?.root().digest);

        let mut single = Layout::new()?;
        let plain = layer("file", b"content");
        let layers = [
            single.blob(OCI_GZIP, &gzip(&plain))?,
            single.blob(OCI_TAR, &plain)?,
            json!({
                "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                "digest": Digest::of(b"elsewhere").as_str(), "size": 9,
                "urls": ["https://example.com/layer"],
            }),
        ];
        let config = single.blob(OCI_CONFIG, b"{}")?;
        let mut manifest = image_json(&config, &layers);
        manifest["annotations"] = json!({"a": "b"});
        let image = single.document(OCI_MANIFEST, &manifest)?;
        single.add(image, None)?;
        let docker = single.load_with(&format(ManifestFormat::Docker))?;
        let text = std::str::from_utf8(&docker.root().bytes)?;
        expect![[r#"{"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","mediaType":"application/vnd.docker.container.image.v1+json","size":2},"layers":[{"digest":"sha256:37e823b0e900ff0963b9086aa98ef6d590f2748cf11b1e355f22cb2729769a48","mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":83},{"digest":"sha256:f8e07d2f1a41dda2d62ea8360be808a3ab9f542c179fab7c11bcc1afccf15f24","mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":91},{"digest":"sha256:7b1b763ee8f62eb88e4742a760f912d0b19bcd58b2b948999784bacc15a7f4d7","mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":9,"urls":["https://example.com/layer"]}],"mediaType":"application/vnd.docker.distribution.manifest.v2+json","schemaVersion":2}"#]].assert_eq(text);
        assert_eq!(docker.root().media_type, DOCKER_MANIFEST);
        let described: Value = serde_json::from_slice(&docker.root().bytes)?;
        assert_eq!(
            described["layers"][0]["mediaType"],
            docker.root().layers[0].media_type
        );

        // Back again: all but the annotation.
        let mut back = Layout::new()?;
        for blob in &docker.blobs {
            back.blob("", &read(blob)?)?;
        }
        let image = back.blob(DOCKER_MANIFEST, &docker.root().bytes)?;
        back.add(image, None)?;
        assert_eq!(back.load(None)?.root().digest, docker.root().digest);
        let oci = back.load_with(&format(ManifestFormat::Oci))?;
        let direct: Value = serde_json::from_slice(&single.load(None)?.root().bytes)?;
        let mut expected = direct.clone();
        expected
            .as_object_mut()
            .expect("it is one")
            .remove("annotations");
        assert_eq!(
            serde_json::from_slice::<Value>(&oci.root().bytes)?,
            expected
        );
        assert_eq!(oci.root().media_type, OCI_MANIFEST);
        Ok(())
    }

    /// A list of Docker has no attestations, and no index in it.
    #[test]
    fn indexes_are_converted() -> anyhow::Result<()> {
        let layout = several()?;
        let mut options = platforms(&["linux/amd64", "linux/arm64"])?;
        options.format = ManifestFormat::Docker;
        let image = layout.load_with(&options)?;
        assert_eq!(manifests(&image)?, ["amd64", "arm64"]);
        assert_eq!(image.root().media_type, DOCKER_INDEX);
        let root: Value = serde_json::from_slice(&image.root().bytes)?;
        for (child, manifest) in root["manifests"]
            .as_array()
            .into_iter()
            .flatten()
            .zip(&image.manifests)
        {
            assert_eq!(child["mediaType"], DOCKER_MANIFEST);
            assert_eq!(child["digest"], manifest.digest.as_str());
            assert_eq!(child["size"], manifest.bytes.len());
        }
        options.platforms.clear();
        let error = layout.error_with(&options);
        assert!(
            error.ends_with(
                "cannot become an image of Docker's format: it has an index within an index"
            ),
            "{error}"
        );
        Ok(())
    }

    /// What has no form in Docker's format says so.
    #[test]
    fn formats_that_cannot_be() -> anyhow::Result<()> {
        let zstd = zstd::bulk::compress(&layer("file", b"content"), 3)?;
        let shown = |layout: &Layout| {
            let text = layout.error_with(&format(ManifestFormat::Docker));
            text.split_once(" cannot ")
                .map(|(_, rest)| rest.to_owned())
                .unwrap_or(text)
        };
        let mut found = Vec::new();
        for (config, layer, bytes) in [
            (
                OCI_CONFIG,
                "application/vnd.oci.image.layer.v1.tar+zstd",
                zstd.as_slice(),
            ),
            (OCI_CONFIG, OCI_GZIP, zstd.as_slice()),
            (OCI_CONFIG, "application/vnd.example.model", b"weights"),
            ("application/vnd.oci.empty.v1+json", OCI_GZIP, &gzip(b"x")),
        ] {
            let mut layout = Layout::new()?;
            let layers = [layout.blob(layer, bytes)?];
            let config = layout.blob(config, b"{}")?;
            let image = layout.document(OCI_MANIFEST, &image_json(&config, &layers))?;
            layout.add(image, None)?;
            found.push(shown(&layout));
        }
        let archive = docker_archive(&[&zstd], &[&layer("file", b"content")]).save()?;
        let text = archive.error_with(&format(ManifestFormat::Docker));
        found.push(
            text.split_once(" cannot ")
                .map(|(_, rest)| rest.to_owned())
                .unwrap_or(text),
        );
        expect![[r#"
            become an image of Docker's format: it has a layer that is compressed with zstd, and that format has none
            become an image of Docker's format: it has a layer that is compressed with zstd, and that format has none
            become an image of Docker's format: it has a layer of the media type "application/vnd.example.model", and that format has none
            become an image of Docker's format: its configuration has the media type "application/vnd.oci.empty.v1+json", so it is an artifact and no image
            become a layer of Docker's format: it is compressed with zstd, and that format has no such layers"#]].assert_eq(&found.join("\n"));
        Ok(())
    }

    /// Layers that come uncompressed become zstd, or stay what they are; a docker
    /// archive becomes an image of the other format.
    #[test]
    fn compression_is_chosen() -> anyhow::Result<()> {
        let plain = layer("file", &[b'x'; 3 << 20]);
        let archive = docker_archive(&[&plain], &[&plain]).save()?;
        let load = |compression, format| {
            archive.load_with(&LoadOptions {
                compression,
                format,
                ..LoadOptions::default()
            })
        };
        let zstd = load(Compression::Zstd, ManifestFormat::Oci)?;
        check(&zstd)?;
        assert_eq!(zstd.root().media_type, OCI_MANIFEST);
        let descriptor = &zstd.root().layers[0];
        assert_eq!(
            descriptor.media_type,
            "application/vnd.oci.image.layer.v1.tar+zstd"
        );
        let blob = zstd.blobs.iter().find(|it| it.digest == descriptor.digest);
        let bytes = read(blob.expect("it is there"))?;
        assert!(zstd::stream::decode_all(bytes.as_slice())? == plain);
        assert_eq!(zstd.layers[0].algorithm.as_deref(), Some(ZSTD_ALGORITHM));

        let none = load(Compression::None, ManifestFormat::Source)?;
        check(&none)?;
        let descriptor = &none.root().layers[0];
        assert_eq!(descriptor.digest, Digest::of(&plain));
        assert_eq!(
            descriptor.media_type,
            "application/vnd.docker.image.rootfs.diff.tar"
        );
        assert_eq!(none.layers[0].to_remember(), None);
        assert_eq!(none.layers[0].diff_id, Some(Digest::of(&plain)));

        let gzip = load(Compression::Gzip, ManifestFormat::Oci)?;
        check(&gzip)?;
        let blob = gzip
            .blobs
            .iter()
            .find(|it| it.digest == gzip.root().layers[0].digest);
        assert!(gunzip(&read(blob.expect("it is there"))?)? == plain);

        let error = archive.error_with(&LoadOptions {
            compression: Compression::Zstd,
            ..LoadOptions::default()
        });
        assert!(error.ends_with("cannot become a zstd layer: Docker's format has no zstd layers; ask for the format oci as well"), "{error}");
        Ok(())
    }

    /// A layer that is known is not read while planning, and must come out as it did when
    /// it has to be sent.
    #[test]
    fn known_layers_are_not_read() -> anyhow::Result<()> {
        let plain = layer("file", &[b'x'; 2 << 20]);
        let archive = docker_archive(&[&plain], &[&plain]).save()?;
        let first = archive.load(None)?;
        let remembered: Vec<KnownLayer> =
            first.layers.iter().filter_map(Layer::to_remember).collect();
        assert_eq!(remembered.len(), 1);
        assert_eq!(remembered[0].algorithm, ALGORITHM);
        assert_eq!(remembered[0].diff_id, Digest::of(&plain));

        let known = |known: Vec<KnownLayer>| LoadOptions {
            known,
            ..LoadOptions::default()
        };
        let again = archive.load_with(&known(remembered.clone()))?;
        assert_eq!(again.root().digest, first.root().digest);
        assert_eq!(again.layers, first.layers);
        check(&again)?;

        // An older version compressed it differently: its digest stays.
        let mut older = remembered.clone();
        older[0].algorithm = "gzip-1m-ocir-0".to_owned();
        older[0].descriptor.digest = Digest::of(b"what the older one made");
        let image = archive.load_with(&known(older.clone()))?;
        assert_eq!(image.root().layers[0].digest, older[0].descriptor.digest);
        assert_eq!(
            image.layers[0].to_remember().as_ref(),
            Some(&older[0])
                .map(|it| KnownLayer {
                    descriptor: image.root().layers[0].clone(),
                    ..it.clone()
                })
                .as_ref()
        );
        let blob = image
            .blobs
            .iter()
            .find(|it| it.digest == older[0].descriptor.digest);
        let error = blob
            .expect("it is there")
            .source
            .open()
            .err()
            .expect("it cannot be made");
        expect![[r#"entry "blobs/sha256/f6759f83cd1781fbe55e1f2edc04c038153dbcac2926ed2e1367cf6d60060222" of "FILE" was compressed with gzip-1m-ocir-0 when its digest sha256:89254436ad25f922787a3bbf0934eacecc38dada8dafe55852285ddb8fc6ff22 was recorded, and this version, which compresses with gzip-1m-ocir-1, cannot make the same bytes again, which a registry without that layer needs"#]].assert_eq(
            &error
                .to_string()
                .replace(&archive.path.display().to_string(), "FILE"),
        );

        // What is known about gzip says nothing about zstd.
        let mut zstd = known(older);
        (zstd.compression, zstd.format) = (Compression::Zstd, ManifestFormat::Oci);
        check(&archive.load_with(&zstd)?)?;

        // Nobody looked at the layer's bytes; the upload does.
        let mut bytes = std::fs::read(&archive.path)?;
        let at = bytes
            .windows(8)
            .position(|it| it == b"xxxxxxxx")
            .expect("it is there");
        bytes[at] = b'y';
        std::fs::write(&archive.path, bytes)?;
        let spoilt = archive.load_with(&known(remembered))?;
        assert_eq!(spoilt.root().digest, first.root().digest);
        let blob = spoilt
            .blobs
            .iter()
            .find(|it| it.digest == first.root().layers[0].digest);
        let error = read(blob.expect("it is there")).expect_err("it is another layer");
        let error = Error::find(error.as_ref()).expect("it is ours");
        assert!(matches!(error, Error::Recompressed { .. }), "{error}");
        Ok(())
    }

    /// Resources that push the same archive at the same time get the same image, and the
    /// layer is compressed by one of them.
    #[test]
    fn many_at_once() -> anyhow::Result<()> {
        let plain = layer("file", &[b'x'; 3 << 20]);
        let archive = docker_archive(&[&plain], &[&plain]).save()?;
        let expected = archive.load(None)?.root().digest.clone();
        let directory = tempfile::tempdir()?;
        let loader = crate::image::Loader::default();
        let source = crate::image::Source::parse(&archive.path.display().to_string())?;
        let options = LoadOptions {
            cache: Some(Cache::new(directory.path(), 1 << 30)),
            ..LoadOptions::default()
        };
        std::thread::scope(|scope| {
            let load = || {
                loader.load_with(
                    &source,
                    &options,
                    &tokio_util::sync::CancellationToken::new(),
                )
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            for thread in threads {
                let image = thread.join().expect("it does not panic")?;
                assert_eq!(image.root().digest, expected);
                check(&image)?;
            }
            anyhow::Ok(())
        })?;
        let blobs = directory.path().join("images-1/blobs");
        assert_eq!(std::fs::read_dir(blobs)?.count(), 1);
        assert_eq!(
            std::fs::read_dir(directory.path().join("images-1/tmp"))?.count(),
            0
        );
        Ok(())
    }

    /// When checking is left to the registry, a blob that is not what its name says is
    /// sent, and found out when somebody asks; one whose file changed is not sent.
    #[test]
    fn the_registry_is_trusted() -> anyhow::Result<()> {
        let mut layout = Layout::new()?;
        let blob = layout.blob(OCI_GZIP, &gzip(&layer("file", b"content")))?;
        let image = layout.image(std::slice::from_ref(&blob))?;
        layout.add(image, None)?;
        let path = layout.blob_path(blob["digest"].as_str().unwrap_or_default());
        let mut bytes = std::fs::read(&path)?;
        let options = LoadOptions {
            trust_registry: true,
            ..LoadOptions::default()
        };
        check(&layout.load_with(&options)?)?;
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes)?;
        let image = layout.load_with(&options)?;
        let mut sent = Vec::new();
        std::io::Read::read_to_end(&mut image.blobs[1].source.open()?, &mut sent)?;
        assert!(sent == bytes);
        assert!(matches!(
            image.blobs[1].source.verify(),
            Err(Error::Digest { .. })
        ));
        assert!(image.blobs[0].source.verify().is_ok());
        let mut reader = image.blobs[1].source.open()?;
        std::io::Read::read_exact(&mut reader, &mut [0; 10])?;
        std::fs::write(&path, [&bytes[..], b"more"].concat())?;
        let error = std::io::Read::read_to_end(&mut reader, &mut sent).expect_err("it changed");
        assert!(matches!(
            Error::find(&error),
            Some(Error::SourceChanged { .. })
        ));
        Ok(())
    }

    /// With a cache the image is the same, and its layers can be sent when the
    /// source is gone; a cache that is spoilt or deleted costs nothing but time.
    #[test]
    fn a_cache_changes_nothing() -> anyhow::Result<()> {
        let plain = layer("file", &[b'x'; 2 << 20]);
        let archive = docker_archive(&[&plain], &[&plain]).save()?;
        let without = archive.load(None)?;
        let directory = tempfile::tempdir()?;
        let options = LoadOptions {
            cache: Some(Cache::new(directory.path(), 1 << 30)),
            ..LoadOptions::default()
        };
        let layer_of = |image: &Image| {
            let digest = &image.root().layers[0].digest;
            let blob = image.blobs.iter().find(|it| it.digest == *digest);
            blob.cloned().expect("it is there")
        };
        let first = archive.load_with(&options)?;
        assert_eq!(first.root().digest, without.root().digest);
        let bytes = read(&layer_of(&first))?;
        // Before an upload, between two, and in the middle of the file.
        let blobs = directory.path().join("images-1/blobs");
        let cached = std::fs::read_dir(&blobs)?
            .next()
            .expect("it is there")?
            .path();
        let spoil: [&dyn Fn() -> std::io::Result<()>; 4] = [
            &|| Ok(()),
            &|| std::fs::write(&cached, b"cut"),
            &|| std::fs::write(&cached, vec![0; bytes.len()]),
            &|| std::fs::remove_dir_all(&blobs),
        ];
        for spoil in spoil {
            spoil()?;
            let again = archive.load_with(&options)?;
            assert_eq!(again.root().digest, without.root().digest);
            assert!(read(&layer_of(&again))? == bytes);
        }
        std::fs::create_dir_all(&blobs)?;
        let last = archive.load_with(&options)?;
        // What had to be made again for sending was kept.
        read(&layer_of(&last))?;
        assert_eq!(std::fs::read_dir(&blobs)?.count(), 1);
        std::fs::remove_file(&archive.path)?;
        assert!(read(&layer_of(&last))? == bytes);
        // Bits that flip without a trace are found out at the end, and not sent again.
        let file = std::fs::File::options().write(true).open(&cached)?;
        std::os::unix::fs::FileExt::write_all_at(&file, b"!", 500)?;
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1))?;
        let error = read(&layer_of(&last)).expect_err("it is damaged");
        assert!(
            matches!(
                Error::find(error.as_ref()),
                Some(Error::CacheDamaged { .. })
            ),
            "{error}"
        );
        assert!(!cached.exists());
        Ok(())
    }
}
