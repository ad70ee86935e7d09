//! Files that are read in place, and only as long as they do not change.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;

use super::{Digest, Error, digest::Hasher};

/// A regular file, and what the operating system said about it when it was
/// first opened. It is not held open: an image can have hundreds of blobs.
#[derive(Debug)]
pub(super) struct InputFile {
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

/// What changes when a file changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A stretch of a file: a whole blob of a layout, or an entry of an archive.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) file: Arc<InputFile>,
    /// Name of the entry, when the file is an archive.
    pub(super) entry: Option<Arc<str>>,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl InputFile {
    /// Opens a file for the first time.
    pub(super) fn open(path: &Path) -> Result<(Arc<Self>, File), Error> {
        let read = |cause| Error::Read {
            place: format!("{path:?}"),
            cause,
        };
        // Opening a pipe would wait for someone to write into it, so the kind
        // is looked at first.
        let metadata = std::fs::metadata(path).map_err(read)?;
        if !metadata.is_file() {
            return Err(Error::NotAFile {
                path: path.to_owned(),
                kind: kind(&metadata),
                expected: "a file",
            });
        }
        let file = File::open(path).map_err(read)?;
        let stamp = Stamp::of(&file.metadata().map_err(read)?);
        let input = Self {
            path: path.to_owned(),
            stamp,
        };
        Ok((Arc::new(input), file))
    }

    /// Opens the file again, unless it changed.
    pub(super) fn reopen(&self) -> Result<File, Error> {
        let (now, file) = Self::open(&self.path)?;
        if now.stamp == self.stamp {
            Ok(file)
        } else {
            Err(self.changed())
        }
    }

    /// Whether an open file is still what it was.
    pub(super) fn check(&self, file: &File) -> Result<(), Error> {
        let metadata = file.metadata().map_err(|cause| self.read_error(cause))?;
        if Stamp::of(&metadata) == self.stamp {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    /// What names this very state of the file, also in another process.
    pub(super) fn key(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let stamp = &self.stamp;
        format!(
            "{path:?}\n{} {} {} {:?} {:?}",
            stamp.device, stamp.inode, stamp.size, stamp.modified, stamp.changed
        )
    }

    pub(super) fn read_error(&self, cause: io::Error) -> Error {
        Error::Read {
            place: format!("{:?}", self.path),
            cause,
        }
    }

    pub(super) fn changed(&self) -> Error {
        Error::SourceChanged {
            file: self.path.clone(),
        }
    }
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a change after `now` is certain to change the stamp. Clocks of
    /// file systems are coarse: a file that was written just now can be written
    /// again with the same times and size (Git calls this racy).
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(0));
        self.modified.0.max(self.changed.0).saturating_add(2) < now
    }
}

impl Extent {
    /// A whole file.
    pub(super) fn whole(file: Arc<InputFile>) -> Self {
        let length = file.stamp.size;
        Self {
            file,
            entry: None,
            offset: 0,
            length,
        }
    }

    /// How messages name it.
    pub(super) fn place(&self) -> String {
        match &self.entry {
            Some(entry) => format!("entry {entry:?} of {:?}", self.file.path),
            None => format!("{:?}", self.file.path),
        }
    }

    /// Reads at a position inside the extent, as much as fits into `buffer`
    /// and is there.
    pub(super) fn read_at(
        &self,
        file: &File,
        position: u64,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        let left = self.length.saturating_sub(position);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut filled = 0;
        while filled < wanted {
            let at = self.offset + position + filled as u64;
            match file.read_at(&mut buffer[filled..wanted], at) {
                Ok(0) => {
                    // It was long enough when its length was looked up.
                    self.file.check(file)?;
                    return Err(Error::Read {
                        place: self.place(),
                        cause: io::ErrorKind::UnexpectedEof.into(),
                    });
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    return Err(Error::Read {
                        place: self.place(),
                        cause,
                    });
                }
            }
        }
        Ok(filled)
    }

    /// The first bytes, at most `count`.
    pub(super) fn head(&self, count: usize) -> Result<Vec<u8>, Error> {
        let file = self.file.reopen()?;
        let mut buffer = vec![0; count];
        let filled = self.read_at(&file, 0, &mut buffer)?;
        buffer.truncate(filled);
        Ok(buffer)
    }

    /// All bytes of a document.
    pub(super) fn document(&self) -> Result<Vec<u8>, Error> {
        if self.length > MAX_DOCUMENT {
            return Err(Error::TooLarge {
                place: self.place(),
                size: self.length,
                limit: MAX_DOCUMENT,
            });
        }
        self.head(usize::try_from(self.length).unwrap_or(usize::MAX))
    }

    /// The digest of all bytes.
    pub(super) fn digest(&self, stop: &CancellationToken) -> Result<Digest, Error> {
        let file = self.file.reopen()?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        let mut position = 0;
        loop {
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let count = self.read_at(&file, position, &mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            position += count as u64;
        }
        self.file.check(&file)?;
        Ok(hasher.finish())
    }
}

/// Reads what the system has in its memory, at `offset` or where the position of the file is. 0 when
/// that is nothing, when it is the end, and where the file system or the system cannot tell.
pub(super) fn read_cached(file: &File, offset: Option<u64>, buffer: &mut [u8]) -> usize {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::ReadWriteFlags;

        // The call's own way to say that it is the position.
        let offset = offset.unwrap_or(u64::MAX);
        let mut buffers = [io::IoSliceMut::new(buffer)];
        rustix::io::preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT).unwrap_or(0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, offset, buffer);
        0
    }
}

/// What something is that is no regular file, with its article.
pub(super) fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device"
    }
}

/// Registries accept manifests of 4 MiB; no other document of an image is larger.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A file is trusted two seconds after its last change, and never when its
    /// time lies in the future.
    #[test]
    fn settling() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let stamp = Stamp {
            device: 1,
            inode: 2,
            size: 3,
            modified: (90, 5),
            changed: (100, 5),
        };
        assert!(!stamp.is_settled(at(50)));
        assert!(!stamp.is_settled(at(100)));
        assert!(!stamp.is_settled(at(102)));
        assert!(stamp.is_settled(at(103)));
    }
}
