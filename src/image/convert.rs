//! From the media types of the image specification to Docker's, and back.
//!
//! What layers and configurations contain is the same in both; only the
//! names differ, and what a manifest has room for.

use super::{
    ManifestFormat,
    layer::{DOCKER_LAYERS, Format, OCI_LAYERS},
    manifest::{DOCKER_CONFIG, DOCKER_INDEX, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST},
};

impl ManifestFormat {
    /// The name of the target in messages.
    pub(super) fn shown(self) -> &'static str {
        match self {
            Self::Source => "what it is",
            Self::Oci => "an image of the OCI format",
            Self::Docker => "an image of Docker's format",
        }
    }

    /// The media type of a manifest, when it has to become another one.
    pub(super) fn manifest_type(self, media_type: &str) -> Option<&'static str> {
        other(self, media_type, OCI_MANIFEST, DOCKER_MANIFEST)
    }

    /// The media type of an index, when it has to become another one.
    pub(super) fn index_type(self, media_type: &str) -> Option<&'static str> {
        other(self, media_type, OCI_INDEX, DOCKER_INDEX)
    }

    /// The media type of a configuration. Those of artifacts stay, and cannot be Docker's.
    pub(super) fn config_type(self, media_type: &str) -> Result<Option<&'static str>, String> {
        match (self, media_type) {
            (_, OCI_CONFIG | DOCKER_CONFIG) => {
                Ok(other(self, media_type, OCI_CONFIG, DOCKER_CONFIG))
            }
            (Self::Docker, artifact) => Err(format!(
                "its configuration has the media type {artifact:?}, so it is an artifact and no image"
            )),
            (Self::Oci | Self::Source, _) => Ok(None),
        }
    }

    /// The media type of a layer, whose bytes are of a known format unless it is
    /// not there.
    pub(super) fn layer_type(
        self,
        media_type: &str,
        format: Option<Format>,
    ) -> Result<Option<&'static str>, String> {
        let index = |types: &[&str]| types.iter().position(|it| *it == media_type);
        let (oci, docker) = ([OCI_LAYERS, OCI_FOREIGN], [DOCKER_LAYERS, DOCKER_FOREIGN]);
        match self {
            Self::Source => Ok(None),
            Self::Oci => Ok(docker
                .iter()
                .zip(oci)
                .find_map(|(docker, oci)| Some(oci[index(docker)?]))),
            Self::Docker => {
                let is_zstd = [&oci, &docker]
                    .iter()
                    .any(|families| families.iter().any(|types| types[2] == media_type));
                if is_zstd || format == Some(Format::Zstd) {
                    return Err(
                        "it has a layer that is compressed with zstd, and that format has none"
                            .to_owned(),
                    );
                }
                if docker.iter().any(|types| types.contains(&media_type)) {
                    return Ok(None);
                }
                let found = oci
                    .iter()
                    .zip(docker)
                    .find_map(|(oci, docker)| Some(docker[index(oci)?]));
                found.map(Some).ok_or_else(|| {
                    format!(
                        "it has a layer of the media type {media_type:?}, and that format has none"
                    )
                })
            }
        }
    }
}

fn other(
    format: ManifestFormat,
    media_type: &str,
    oci: &'static str,
    docker: &'static str,
) -> Option<&'static str> {
    let wanted = match format {
        ManifestFormat::Source => return None,
        ManifestFormat::Oci => oci,
        ManifestFormat::Docker => docker,
    };
    (media_type != wanted).then_some(wanted)
}

/// Layers that may not be distributed.
const OCI_FOREIGN: [&str; 3] = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

const DOCKER_FOREIGN: [&str; 3] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd",
];
