//! What the process already found out about files that did not change.
//!
//! A host plans, then plans again while it applies, in one process or two; the
//! memo spares the second pass over the layers. It lives as long as its
//! [`Loader`](super::Loader). A cache on disk belongs behind the same two
//! functions, with [`ALGORITHM`](super::ALGORITHM) in its key.

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
}

impl Memo {
    /// What compressing the extent gives; works it out with `make` the first time.
    pub(super) fn compressed(
        &self,
        extent: &Extent,
        make: impl FnOnce() -> Result<Compressed, Error>,
    ) -> Result<Compressed, Error> {
        remembered(&self.compressed, extent, make)
    }

    /// The digest of the extent; works it out with `make` the first time.
    pub(super) fn digest(
        &self,
        extent: &Extent,
        make: impl FnOnce() -> Result<Digest, Error>,
    ) -> Result<Digest, Error> {
        remembered(&self.digests, extent, make)
    }
}

fn remembered<T: Clone>(
    table: &Table<T>,
    extent: &Extent,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let key = Key {
        path: extent.file.path.clone(),
        stamp: extent.file.stamp.clone(),
        offset: extent.offset,
        length: extent.length,
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
