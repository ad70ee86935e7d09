//! A blob of a source, wherever it is.

use std::sync::Arc;

use super::{
    BlobReader, Error,
    blob::ExtentReader,
    file::{Extent, InputFile},
    layer::{Format, HEAD},
    remote::{Origin, RemotePart},
    stream::Streamed,
};

/// A file of a layout, an entry of an archive, or a blob of a registry.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// It can be read in place.
    InPlace(Extent),
    /// It went by.
    Streamed(Streamed),
    /// It is in another registry.
    Remote(RemotePart),
}

impl Part {
    /// How messages name it.
    pub(super) fn place(&self) -> String {
        match self {
            Self::InPlace(extent) => extent.place(),
            Self::Streamed(streamed) => streamed.place(),
            Self::Remote(part) => part.place(),
        }
    }

    pub(super) fn length(&self) -> u64 {
        match self {
            Self::InPlace(extent) => extent.length,
            Self::Streamed(streamed) => streamed.length,
            Self::Remote(part) => part.length,
        }
    }

    /// Where it begins in its archive, which tells entries apart.
    pub(super) fn offset(&self) -> u64 {
        match self {
            Self::InPlace(extent) => extent.offset,
            Self::Streamed(streamed) => streamed.offset,
            Self::Remote(_) => 0,
        }
    }

    /// Name of the entry, when it is in an archive.
    pub(super) fn entry(&self) -> Option<&str> {
        match self {
            Self::InPlace(extent) => extent.entry.as_deref(),
            Self::Streamed(streamed) => Some(&streamed.entry),
            Self::Remote(_) => None,
        }
    }

    /// The file that it is in.
    pub(super) fn file(&self) -> Option<&Arc<InputFile>> {
        match self {
            Self::InPlace(extent) => Some(&extent.file),
            Self::Streamed(streamed) => streamed.stream.file(),
            Self::Remote(_) => None,
        }
    }

    /// The repository that it is in.
    pub(super) fn origin(&self) -> Option<&Origin> {
        match self {
            Self::InPlace(_) | Self::Streamed(_) => None,
            Self::Remote(part) => Some(part.remote.origin()),
        }
    }

    /// What its bytes are.
    pub(super) fn format(&self) -> Result<Format, Error> {
        match self {
            Self::InPlace(extent) => Ok(Format::of_head(&extent.head(HEAD)?)),
            Self::Streamed(streamed) => Ok(streamed.scanned.format),
            Self::Remote(part) => part.format(),
        }
    }

    /// All bytes of a document.
    pub(super) fn document(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::InPlace(extent) => extent.document(),
            Self::Streamed(streamed) => streamed.document(),
            Self::Remote(part) => part.document(),
        }
    }

    /// A reader of its bytes, which checks nothing.
    pub(super) fn open(&self) -> Result<Box<dyn BlobReader>, Error> {
        match self {
            Self::InPlace(extent) => Ok(Box::new(ExtentReader::open(extent)?)),
            Self::Streamed(streamed) => streamed.open(),
            Self::Remote(part) => part.open(),
        }
    }
}
