//! Blobs: where their bytes are, and readers that check what they read.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};

use super::{
    BlobSource, Digest, Error,
    compress::{CompressingReader, Pool},
    digest::Hasher,
    file::Extent,
};

/// A blob that is held in memory: a small configuration, or the `data` of a descriptor.
#[derive(Debug)]
pub(super) struct Memory(pub(super) Bytes);

impl BlobSource for Memory {
    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(self.0.clone().reader()))
    }
}

/// A blob that is sent as it lies in its file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) extent: Extent,
    pub(super) digest: Digest,
}

impl BlobSource for Stored {
    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        let reader = ExtentReader {
            file: self.extent.file.reopen()?,
            extent: self.extent.clone(),
            position: 0,
        };
        Ok(Box::new(Verifying {
            inner: reader,
            extent: self.extent.clone(),
            left: self.extent.length,
            hasher: Some(Hasher::new()),
            expected: self.digest.clone(),
            is_ours: false,
        }))
    }
}

/// A blob that is compressed while it is read.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) pool: Arc<Pool>,
    pub(super) extent: Extent,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl BlobSource for Packed {
    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(Verifying {
            inner: CompressingReader::open(&self.pool, &self.extent)?,
            extent: self.extent.clone(),
            left: self.size,
            hasher: Some(Hasher::new()),
            expected: self.digest.clone(),
            is_ours: true,
        }))
    }
}

/// Reads an extent.
struct ExtentReader {
    extent: Extent,
    file: File,
    position: u64,
}

impl Read for ExtentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self
            .extent
            .read_at(&self.file, self.position, buffer)
            .map_err(io::Error::from)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Checks the digest of what goes through it, and fails *instead of* giving the
/// last bytes when it is wrong: an upload then breaks off before it is
/// complete, and the user reads which file is to blame rather than that some
/// registry did not like a digest.
struct Verifying<R> {
    inner: R,
    extent: Extent,
    /// Bytes to come.
    left: u64,
    /// Gone when the digest has been checked.
    hasher: Option<Hasher>,
    expected: Digest,
    /// We made this digest ourselves, from the same file.
    is_ours: bool,
}

impl<R: Read> Verifying<R> {
    fn finish(&mut self) -> Result<(), Error> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let actual = hasher.finish();
        if actual == self.expected {
            return Ok(());
        }
        // A file that changed explains a wrong digest better than corruption.
        self.extent.file.reopen()?;
        if self.is_ours {
            return Err(self.extent.file.changed());
        }
        Err(Error::Digest {
            place: self.extent.place(),
            expected: self.expected.clone(),
            actual,
        })
    }
}

impl<R: Read> Read for Verifying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 {
            // Either there was nothing to read at all, or no room to read into.
            if self.left == 0 {
                self.finish()?;
            }
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.left -= count as u64;
        // An inner reader that ends early leaves a digest that is wrong.
        if self.left == 0 || count == 0 {
            self.left = 0;
            self.finish()?;
        }
        Ok(count)
    }
}
