//! Images of another registry. How one speaks to it is not known here: the
//! caller gives a [`Remote`].

use std::{
    fmt,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    BlobReader, Digest, Error, Image, ImageName,
    file::MAX_DOCUMENT,
    layer::{Format, HEAD},
    manifest::RawDescriptor,
    walk::{self, Store},
    work::Work,
};

/// An image of another registry. Blocking, as everything here.
///
/// Nothing is checked by whoever calls but what is said; manifests and blobs are
/// held against their digests in any case.
pub trait Remote: Send + Sync + fmt::Debug {
    /// The manifest or index that the name means now.
    fn root(&self) -> Result<RemoteManifest, Error>;

    /// A manifest or index by its digest; `None` when it is not there.
    fn manifest(&self, digest: &Digest) -> Result<Option<RemoteManifest>, Error>;

    /// A reader of a blob. It goes on where it was when the connection is cut.
    fn open(&self, digest: &Digest, size: u64) -> Result<Box<dyn BlobReader>, Error>;

    /// Where all of it is.
    fn origin(&self) -> &Origin;
}

/// A manifest as a registry gives it.
#[derive(Clone, Debug)]
pub struct RemoteManifest {
    /// What the registry calls it; empty when it does not say.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Bytes,
}

/// The repository that a blob is in already. When it is one of the registry that
/// the blob is sent to, it need not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The registry's host, with a port when it is not the default one.
    pub host: String,
    /// Path of the repository.
    pub repository: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)
    }
}

/// A blob of another registry.
#[derive(Clone, Debug)]
pub(super) struct RemotePart {
    pub(super) remote: Arc<dyn Remote>,
    pub(super) digest: Digest,
    /// What the manifest says.
    pub(super) length: u64,
}

impl RemotePart {
    pub(super) fn place(&self) -> String {
        format!("blob {} of {}", self.digest, self.remote.origin())
    }

    pub(super) fn open(&self) -> Result<Box<dyn BlobReader>, Error> {
        self.remote.open(&self.digest, self.length)
    }

    pub(super) fn format(&self) -> Result<Format, Error> {
        Ok(Format::of_head(&self.read(HEAD as u64)?))
    }

    /// All bytes of a document, which have the digest that they should.
    pub(super) fn document(&self) -> Result<Vec<u8>, Error> {
        if self.length > MAX_DOCUMENT {
            return Err(Error::TooLarge {
                place: self.place(),
                size: self.length,
                limit: MAX_DOCUMENT,
            });
        }
        let bytes = self.read(self.length)?;
        let actual = Digest::of(&bytes);
        if actual == self.digest {
            return Ok(bytes);
        }
        Err(Error::Digest {
            place: self.place(),
            expected: self.digest.clone(),
            actual,
        })
    }

    /// The first bytes, at most `count`.
    fn read(&self, count: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut reader = self.open()?.take(count);
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(Error::unwrap_io(error, &self.place())),
        }
    }
}

/// Reads an image of another registry to the point where its digest is known.
/// Its layers stay as they are, also those that are not compressed: the digest
/// is the one that everybody knows the image by.
pub(super) fn load(work: &Work<'_>, name: &ImageName) -> Result<Image, Error> {
    let Some(remote) = &work.options.remote else {
        return Err(Error::Remote {
            image: work.shown.to_owned(),
            identity: "nobody".to_owned(),
            is_missing: false,
            source: Box::new(io::Error::from(io::ErrorKind::Unsupported)),
        });
    };
    let root = remote.root()?;
    if let Some(expected) = name.digest()
        && *expected != root.digest
    {
        return Err(Error::Digest {
            place: format!("{:?}", work.shown),
            expected: expected.clone(),
            actual: root.digest,
        });
    }
    let store = Store::Remote(Path::new(work.shown), remote);
    let descriptor =
        RawDescriptor::of_manifest(&root.media_type, &root.digest, root.bytes.len() as u64);
    walk::load(work, &store, &descriptor, work.shown)
}
