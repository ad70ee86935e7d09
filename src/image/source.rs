//! Sources: what the user wrote, and how it is read.

use std::io::Read;

use tokio_util::sync::CancellationToken;

use super::{Error, Image};

/// Something that gives the bytes of a blob, from the start, each time.
pub trait BlobSource: Send + Sync + std::fmt::Debug {
    /// Opens the blob. Blocking.
    fn open(&self) -> Result<Box<dyn Read + Send>, Error>;
}

/// Where an image comes from, as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the parts of the text")]
pub enum Source {
    /// `docker-archive:FILE[:REF]`
    DockerArchive {
        file: std::path::PathBuf,
        reference: Option<String>,
    },
    /// `oci:DIR[:TAG]`: an image layout directory.
    Layout {
        directory: std::path::PathBuf,
        tag: Option<String>,
    },
}

impl Source {
    /// Reads `docker-archive:FILE[:REF]` or `oci:DIR[:TAG]`.
    pub fn parse(_text: &str) -> Result<Self, Error> {
        todo!()
    }
}

/// Reads sources, and remembers for the life of the process what compressing
/// an unchanged file gave.
#[derive(Debug, Default)]
pub struct Loader {}

impl Loader {
    /// Reads a source to the point where its digest is known: checks what it
    /// reads, and compresses (to learn digest and size) layers that come
    /// uncompressed. Blocking; ends with [`Error::Stopped`] soon after `stop`.
    pub fn load(&self, _source: &Source, _stop: &CancellationToken) -> Result<Image, Error> {
        todo!()
    }
}
