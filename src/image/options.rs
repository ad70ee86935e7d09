//! What a user may ask for besides the source, and what the caller remembers.

use std::{fmt, str::FromStr};

use super::{Cache, Daemon, Descriptor, Digest, Error, compress::Algorithm};

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

    use super::*;

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
}
