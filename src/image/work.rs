//! What becomes of layers: sent as they are, or compressed; found in memory, in
//! the cache or in what the caller remembers, and otherwise made.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use super::{
    BlobSource, Digest, Error, KnownLayer, LoadOptions, Loader,
    archive::Archive,
    blob::{Packed, Promise, Stored},
    cache::Facts,
    compress::{self, Algorithm, Compressed},
    file::Extent,
    part::Part,
};

/// One reading of a source.
pub(super) struct Work<'a> {
    pub(super) loader: &'a Loader,
    pub(super) options: &'a LoadOptions,
    pub(super) stop: &'a CancellationToken,
    /// The source, as messages name it.
    pub(super) shown: &'a str,
}

/// What a layer becomes.
pub(super) struct Made {
    pub(super) compressed: Compressed,
    /// Name and version of what made it.
    pub(super) algorithm: String,
    pub(super) source: Arc<dyn BlobSource>,
}

impl Work<'_> {
    /// What the result of a scan depends on besides the archive.
    pub(super) fn variant(&self) -> &'static str {
        match self.options.compression.algorithm() {
            Some(algorithm) => algorithm.name(),
            None => "none",
        }
    }

    /// A layer that was compressed before.
    pub(super) fn known(&self, algorithm: Algorithm, diff_id: &Digest) -> Option<&KnownLayer> {
        self.options
            .known
            .iter()
            .find(|known| known.diff_id == *diff_id && algorithm.is_kin_of(&known.algorithm))
    }

    /// What a layer that comes uncompressed becomes; `diff_id` is what it has to be.
    pub(super) fn pack(
        &self,
        part: &Part,
        algorithm: Algorithm,
        diff_id: &Digest,
    ) -> Result<Made, Error> {
        let (compressed, name, promise) = match self.known(algorithm, diff_id) {
            Some(known) => {
                let compressed = Compressed {
                    diff_id: diff_id.clone(),
                    digest: known.descriptor.digest.clone(),
                    size: known.descriptor.size,
                };
                let promise = Promise::Known(known.algorithm.clone());
                (compressed, known.algorithm.clone(), promise)
            }
            None => {
                let compressed = self.compressed(part, algorithm, diff_id)?;
                if compressed.diff_id != *diff_id {
                    return Err(Error::Digest {
                        place: part.place(),
                        expected: diff_id.clone(),
                        actual: compressed.diff_id,
                    });
                }
                (compressed, algorithm.name().to_owned(), Promise::Ours)
            }
        };
        let source = Packed {
            pool: Arc::clone(self.loader.pool()),
            cache: self.options.cache.clone(),
            algorithm,
            part: part.clone(),
            compressed: compressed.clone(),
            promise,
            trusts: self.options.trust_registry,
        };
        Ok(Made {
            compressed,
            algorithm: name,
            source: Arc::new(source),
        })
    }

    fn compressed(
        &self,
        part: &Part,
        algorithm: Algorithm,
        diff_id: &Digest,
    ) -> Result<Compressed, Error> {
        match part {
            Part::InPlace(extent) => {
                let key = key(extent, algorithm.name());
                let _turn = self.loader.turns().take(&key, self.stop)?;
                self.loader.memo().compressed(algorithm.name(), extent, || {
                    self.remembered(extent, &key, || self.compress(extent, algorithm, diff_id))
                })
            }
            Part::Streamed(streamed) if let Some(compressed) = streamed.packed(algorithm) => {
                Ok(compressed)
            }
            Part::Streamed(_) | Part::Remote(_) => compress::measure_stream(
                self.loader.pool(),
                algorithm,
                &mut part.open()?,
                &part.place(),
                self.stop,
                &mut |_| {},
            ),
        }
    }

    /// Compresses into the cache, unless the layer is there.
    fn compress(
        &self,
        extent: &Extent,
        algorithm: Algorithm,
        diff_id: &Digest,
    ) -> Result<Compressed, Error> {
        let cache = self.options.cache.as_ref();
        if let Some(cached) = cache.and_then(|cache| cache.layer(algorithm.name(), diff_id)) {
            // Whether the source holds that layer is worth a look at every byte:
            // what is pushed must not depend on the cache.
            let actual = extent.digest(self.stop)?;
            if actual == *diff_id {
                return Ok(cached);
            }
            return Err(Error::Digest {
                place: Part::InPlace(extent.clone()).place(),
                expected: diff_id.clone(),
                actual,
            });
        }
        let mut writer = cache.and_then(super::Cache::writer);
        let compressed = compress::measure(
            self.loader.pool(),
            algorithm,
            extent,
            self.stop,
            &mut |bytes| {
                if let Some(writer) = &mut writer {
                    writer.write(bytes);
                }
            },
        )?;
        if let (Some(cache), Some(writer)) = (cache, writer)
            && writer.commit(&compressed.digest, compressed.size)
        {
            cache.record_layer(algorithm.name(), &compressed);
        }
        Ok(compressed)
    }

    /// The digest of a blob that is sent as it is, when its name does not say it.
    pub(super) fn digest(&self, part: &Part) -> Result<Digest, Error> {
        match part {
            Part::InPlace(extent) => {
                let key = key(extent, "sha256");
                let _turn = self.loader.turns().take(&key, self.stop)?;
                self.loader.memo().digest(extent, || {
                    self.remembered(extent, &key, || extent.digest(self.stop))
                })
            }
            Part::Streamed(streamed) => Ok(streamed.scanned.digest.clone()),
            Part::Remote(part) => Ok(part.digest.clone()),
        }
    }

    /// A blob that is sent as it is.
    pub(super) fn stored(&self, part: &Part, digest: &Digest) -> Arc<dyn BlobSource> {
        Arc::new(Stored {
            part: part.clone(),
            digest: digest.clone(),
            trusts: self.options.trust_registry,
        })
    }

    /// What an earlier process found out about a file that did not change since.
    fn remembered<T>(
        &self,
        extent: &Extent,
        key: &str,
        make: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error>
    where
        T: Clone + serde::Serialize + serde::de::DeserializeOwned,
    {
        let is_settled = extent.file.stamp.is_settled(SystemTime::now());
        let cache = self.options.cache.as_ref().filter(|_| is_settled);
        if let Some(known) = cache.and_then(|cache| cache.fact(Facts::Stretch, key)) {
            return Ok(known);
        }
        let made = make()?;
        if let Some(cache) = cache {
            cache.record_fact(Facts::Stretch, key, made.clone());
        }
        Ok(made)
    }
}

fn key(extent: &Extent, what: &str) -> String {
    format!(
        "{what}\n{}\n{} {}",
        extent.file.key(),
        extent.offset,
        extent.length
    )
}

/// Turns: what two resources need at once is made by one of them.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashSet<String>>);

/// A turn, until it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    key: String,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        // A set is whole after every change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else works on the same thing.
    pub(super) fn take(&self, key: &str, stop: &CancellationToken) -> Result<Turn<'_>, Error> {
        while !self.lock().insert(key.to_owned()) {
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Turn {
            turns: self,
            key: key.to_owned(),
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.key);
    }
}

/// Archives that went by, by what they depend on.
#[derive(Debug, Default)]
pub(super) struct Scans(Mutex<HashMap<String, Arc<Archive>>>);

impl Scans {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Archive>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Archive>> {
        self.lock().get(key).cloned()
    }

    pub(super) fn insert(&self, key: &str, archive: &Arc<Archive>) {
        let mut scans = self.lock();
        // They hold their documents in memory.
        if scans.len() >= MAX_SCANS {
            scans.clear();
        }
        scans.insert(key.to_owned(), Arc::clone(archive));
    }
}

const MAX_SCANS: usize = 8;
