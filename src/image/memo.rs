//! What the process already found out about files that did not change.
//!
//! A host plans, then plans again while it applies, in one process or two; the
//! memo spares the second pass over the layers. It lives as long as its
//! [`Loader`](super::Loader); what outlives it is in the [`Cache`](super::Cache).

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{
    Digest, Error,
    compress::Compressed,
    file::{Extent, Stamp},
};

/// Facts by where the bytes are.
#[derive(Debug, Default)]
pub(super) struct Memo {
    compressed: Table<Compressed>,
    digests: Table<Digest>,
}

type Table<T> = Mutex<HashMap<Key, T>>;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    path: PathBuf,
    stamp: Stamp,
    offset: u64,
    length: u64,
    /// What was done with the bytes; empty for their own digest.
    algorithm: &'static str,
}

impl Memo {
    /// What compressing the extent gives; works it out with `make` the first time.
    pub(super) fn compressed(
        &self,
        algorithm: &'static str,
        extent: &Extent,
        make: impl FnOnce() -> Result<Compressed, Error>,
    ) -> Result<Compressed, Error> {
        remembered(&self.compressed, algorithm, extent, make)
    }

    /// The digest of the extent; works it out with `make` the first time.
    pub(super) fn digest(
        &self,
        extent: &Extent,
        make: impl FnOnce() -> Result<Digest, Error>,
    ) -> Result<Digest, Error> {
        remembered(&self.digests, "", extent, make)
    }
}

fn remembered<T: Clone>(
    table: &Table<T>,
    algorithm: &'static str,
    extent: &Extent,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let key = Key {
        path: extent.file.path.clone(),
        stamp: extent.file.stamp.clone(),
        offset: extent.offset,
        length: extent.length,
        algorithm,
    };
    if let Some(known) = lock(table).get(&key) {
        return Ok(known.clone());
    }
    // Asked before the bytes are read: a file that is still being written then
    // would be settled afterwards.
    let is_settled = key.stamp.is_settled(SystemTime::now());
    let made = make()?;
    if is_settled {
        lock(table).insert(key, made.clone());
    }
    Ok(made)
}

fn lock<T>(table: &Table<T>) -> MutexGuard<'_, HashMap<Key, T>> {
    // A map is whole after every insertion.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::image::file::InputFile;

    fn extent(path: &std::path::Path) -> Result<Extent, Error> {
        Ok(Extent::whole(InputFile::open(path)?.0))
    }

    /// A file that has been left alone is read once, and again when it changed.
    #[test]
    fn reads_once() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("file");
        std::fs::write(&path, "one")?;
        let memo = Memo::default();
        let mut reads = 0;
        // Times of change cannot be set, so the file has to grow older.
        std::thread::sleep(Duration::from_millis(3100));
        for _ in 0..3 {
            memo.digest(&extent(&path)?, || {
                reads += 1;
                Ok(Digest::of(b"one"))
            })?;
        }
        assert_eq!(reads, 1);
        File::options().append(true).open(&path)?.set_len(5)?;
        let digest = memo.digest(&extent(&path)?, || Ok(Digest::of(b"other")))?;
        assert_eq!(digest, Digest::of(b"other"));
        Ok(())
    }

    /// A file that was written just now, or in the future, is read every time.
    #[test]
    fn does_not_trust_fresh_files() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("file");
        std::fs::write(&path, "one")?;
        for time in [
            SystemTime::now(),
            SystemTime::now() + Duration::from_secs(3600),
        ] {
            File::options()
                .write(true)
                .open(&path)?
                .set_modified(time)?;
            let memo = Memo::default();
            let mut reads = 0;
            for _ in 0..3 {
                memo.digest(&extent(&path)?, || {
                    reads += 1;
                    Ok(Digest::of(b"one"))
                })?;
            }
            assert_eq!(reads, 3);
        }
        Ok(())
    }

    /// A failure is not remembered.
    #[test]
    fn failures_are_forgotten() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("file");
        std::fs::write(&path, "one")?;
        let memo = Memo::default();
        assert!(
            memo.digest(&extent(&path)?, || Err(Error::Stopped))
                .is_err()
        );
        memo.digest(&extent(&path)?, || Ok(Digest::of(b"one")))?;
        Ok(())
    }
}
