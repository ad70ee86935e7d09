//! Layers: what their media types say, and what their bytes are.
//!
//! Bytes decide and not names: what is called `tar` and is in fact compressed is
//! not compressed twice, but gets the right media type; what is called
//! `tar+gzip` and is plainly a tar is compressed (skopeo 1.9 writes such layouts
//! with `--dest-oci-accept-uncompressed-layers`). Blobs of other media types
//! (attestations, charts, signatures) are no layers and are sent as they are.

use serde::{Deserialize, Serialize};

/// What the bytes of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Format {
    Gzip,
    Zstd,
    /// With the mark of POSIX and GNU tar.
    Tar,
    /// An older tar, an empty layer, or none at all.
    Other,
}

impl Format {
    /// By the first bytes, of which [`HEAD`] are enough.
    pub(super) fn of_head(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a frame to skip, which comes first in some variants.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            head if head.get(257..HEAD) == Some(b"ustar") => Self::Tar,
            _ => Self::Other,
        }
    }
}

/// Bytes that say what a layer is.
pub(super) const HEAD: usize = 262;

/// Media types of layers, by who defined them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    types: &'static [&'static str; 3],
    /// The type says that the bytes are not compressed.
    says_tar: bool,
}

impl Family {
    pub(super) fn of(media_type: &str) -> Option<Self> {
        [&OCI_LAYERS, &DOCKER_LAYERS]
            .into_iter()
            .find(|types| types.contains(&media_type))
            .map(|types| Self {
                types,
                says_tar: types[0] == media_type,
            })
    }

    /// Whether a layer has to be compressed.
    pub(super) fn is_raw(self, format: Format) -> bool {
        match format {
            Format::Gzip | Format::Zstd => false,
            Format::Tar => true,
            Format::Other => self.says_tar,
        }
    }

    /// Whether the types are Docker's.
    pub(super) fn is_docker(self) -> bool {
        self.types[0] == DOCKER_LAYERS[0]
    }

    /// The media type that says what the bytes are.
    pub(super) fn media_type(self, format: Format) -> &'static str {
        match format {
            Format::Gzip => self.types[1],
            Format::Zstd => self.types[2],
            Format::Tar | Format::Other => self.types[0],
        }
    }

    /// The type of a layer that is sent as it is: it is corrected only when it
    /// says that the layer is not compressed. Everybody who unpacks layers
    /// looks at the bytes to tell one compression from the other.
    pub(super) fn corrected(self, media_type: &str, format: Format) -> &str {
        if self.says_tar {
            self.media_type(format)
        } else {
            media_type
        }
    }
}

pub(super) fn is_foreign(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
}

/// Uncompressed, gzip, zstd.
pub(super) const OCI_LAYERS: [&str; 3] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
];

pub(super) const DOCKER_LAYERS: [&str; 3] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
