//! What is kept on disk between runs, so that nothing is compressed twice.
//!
//! It may be deleted at any time, by anybody, and may be used by any number of
//! processes: a file appears under its name whole or not at all, and nobody
//! waits for anybody. Nothing in it decides about a digest; it only spares the
//! work of finding the same digest again. Whatever cannot be read or written
//! costs time and nothing else.
//!
//! ```text
//! blobs/HEX                  compressed layers, by digest
//! layers/ALGORITHM/HEX       which blob a layer became, by the layer's diff_id
//! facts/HEX                  what is known about a stretch of a file that has not changed since
//! notes/HEX                  what a plan promised, for messages only
//! scans/HEX                  the same about an archive that can be read in one pass only
//! tmp/                       what is being written
//! ```
//!
//! A blob's time of change is set to a fixed one when it is complete, so that
//! one that was touched since is noticed before it is used. Its time of
//! access is its last use: the oldest go when there are too many.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, FileTimes, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Digest, compress::Compressed, digest::Hasher};

/// A directory for what can be made again.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    limit: u64,
    /// Whether the directory can be used, found out at first use.
    usable: OnceLock<bool>,
}

impl Cache {
    /// A cache in a directory, which is made when it is first needed, of about so
    /// many bytes.
    pub fn new(directory: impl Into<PathBuf>, limit: u64) -> Self {
        Self(Arc::new(Inner {
            root: directory.into().join(VERSION),
            limit,
            usable: OnceLock::new(),
        }))
    }

    /// The user's cache: in `OCIR_CACHE_DIR`, or else where the system wants such
    /// things. `OCIR_CACHE_SIZE` says how large it may become (`20GiB`); `0` is none at all.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let limit = match set("OCIR_CACHE_SIZE") {
            None => DEFAULT_LIMIT,
            Some(text) => match parse_size(&text.to_string_lossy()) {
                Some(limit) => limit,
                None => {
                    tracing::warn!(
                        "OCIR_CACHE_SIZE is {text:?}, which is no size such as 20GiB; the default is used"
                    );
                    DEFAULT_LIMIT
                }
            },
        };
        if limit == 0 {
            return None;
        }
        let absolute = |name: &str| {
            set(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let directory = match set("OCIR_CACHE_DIR") {
            Some(directory) => PathBuf::from(directory),
            None => absolute("XDG_CACHE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?
                .join(NAME),
        };
        Some(Self::new(directory, limit))
    }

    /// What a layer became, when the blob is still there.
    pub(super) fn layer(&self, algorithm: &str, diff_id: &Digest) -> Option<Compressed> {
        if !self.is_usable() {
            return None;
        }
        let path = self.layer_path(algorithm, diff_id);
        let entry: LayerEntry = self.record(&path)?;
        let compressed = entry.checked(algorithm, diff_id)?;
        let blob = self.blob_path(&compressed.digest);
        match fs::metadata(&blob) {
            Ok(metadata) if metadata.is_file() && metadata.len() == compressed.size => {
                Some(compressed)
            }
            found => {
                if found.is_ok() {
                    tracing::debug!(
                        "cached blob {} is broken, and was removed",
                        compressed.digest
                    );
                }
                remove(&path);
                remove(&blob);
                None
            }
        }
    }

    /// Remembers what a layer became.
    pub(super) fn record_layer(&self, algorithm: &str, compressed: &Compressed) {
        let entry = LayerEntry {
            algorithm: algorithm.to_owned(),
            diff_id: compressed.diff_id.to_string(),
            digest: compressed.digest.to_string(),
            size: compressed.size,
        };
        self.write_record(&self.layer_path(algorithm, &compressed.diff_id), &entry);
    }

    /// What is known about something with a key that changes whenever the thing does.
    pub(super) fn fact<T: DeserializeOwned>(&self, kind: Facts, key: &str) -> Option<T> {
        if !self.is_usable() {
            return None;
        }
        let entry: FactEntry<T> = self.record(&self.fact_path(kind, key))?;
        // A name is only a hash of the key.
        (entry.key == key).then_some(entry.fact)
    }

    /// Remembers it.
    pub(super) fn record_fact<T: Serialize>(&self, kind: Facts, key: &str, fact: T) {
        let entry = FactEntry {
            key: key.to_owned(),
            fact,
        };
        self.write_record(&self.fact_path(kind, key), &entry);
    }

    /// What an earlier run wrote down under this key, for the sake of a better
    /// message and nothing else.
    pub fn note(&self, key: &str) -> Option<String> {
        self.fact(Facts::Note, key)
    }

    /// Writes it down.
    pub fn write_note(&self, key: &str, text: &str) {
        self.record_fact(Facts::Note, key, text);
    }

    /// Whether a blob is there, by its size.
    pub(super) fn holds(&self, digest: &Digest, size: u64) -> bool {
        self.is_usable()
            && fs::metadata(self.blob_path(digest))
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
    }

    /// Opens a blob. One that has the wrong size, or was touched since it was
    /// written and is not what it was, is removed.
    pub(super) fn open(&self, digest: &Digest, size: u64) -> Option<File> {
        if !self.is_usable() {
            return None;
        }
        let path = self.blob_path(digest);
        let file = OpenOptions::new().read(true).open(&path).ok()?;
        let metadata = file.metadata().ok()?;
        let is_whole = metadata.is_file()
            && metadata.len() == size
            && (metadata.modified().ok() == Some(untouched())
                || hash(&file).as_ref() == Some(digest));
        if !is_whole {
            tracing::debug!("cached blob {digest} is broken, and was removed");
            remove(&path);
            return None;
        }
        let times = FileTimes::new()
            .set_accessed(SystemTime::now())
            .set_modified(untouched());
        // Somebody else's file system may not let us; then it only looks unused.
        let _ = file.set_times(times);
        // Hashing moved the position.
        io::Seek::rewind(&mut &file).ok()?;
        Some(file)
    }

    /// Removes a blob that turned out to be broken while it was read.
    pub(super) fn discard(&self, digest: &Digest) {
        remove(&self.blob_path(digest));
    }

    /// Whether something of this size may come in at all.
    pub(super) fn has_room_for(&self, size: u64) -> bool {
        size <= self.0.limit
    }

    /// A file for a blob whose digest is not known yet.
    pub(super) fn writer(&self) -> Option<Writer> {
        if !self.is_usable() {
            return None;
        }
        let path = self.0.root.join("tmp").join(random_name());
        match create(&path) {
            Ok(file) => Some(Writer {
                cache: self.clone(),
                file: Some(file),
                path,
                size: 0,
            }),
            Err(error) => {
                tracing::debug!("the cache cannot be written to: {error}");
                None
            }
        }
    }

    fn layer_path(&self, algorithm: &str, diff_id: &Digest) -> PathBuf {
        self.0
            .root
            .join("layers")
            .join(algorithm)
            .join(diff_id.hex())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("blobs").join(digest.hex())
    }

    fn fact_path(&self, kind: Facts, key: &str) -> PathBuf {
        let name = Digest::of(key.as_bytes());
        self.0.root.join(kind.folder()).join(name.hex())
    }

    /// Reads a small document; one that is broken is removed.
    fn record<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let file = File::open(path).ok()?;
        let mut text = String::new();
        let is_read = file
            .take(MAX_RECORD + 1)
            .read_to_string(&mut text)
            .is_ok_and(|count| count as u64 <= MAX_RECORD);
        let parsed = is_read
            .then(|| text.split_once('\n'))
            .flatten()
            .filter(|(sum, body)| Digest::of(body.as_bytes()).hex() == *sum)
            .and_then(|(_, body)| serde_json::from_str(body).ok());
        if parsed.is_none() {
            remove(path);
        }
        parsed
    }

    fn write_record(&self, path: &Path, record: &impl Serialize) {
        if !self.is_usable() {
            return;
        }
        let write = || -> io::Result<()> {
            let body = serde_json::to_string(record)?;
            if body.len() as u64 + 100 > MAX_RECORD {
                return Ok(());
            }
            if let Some(parent) = path.parent() {
                make_directory(parent)?;
            }
            let temporary = self.0.root.join("tmp").join(random_name());
            let mut file = create(&temporary)?;
            let written = write!(file, "{}\n{body}", Digest::of(body.as_bytes()).hex())
                .and_then(|()| fs::rename(&temporary, path));
            if written.is_err() {
                remove(&temporary);
            }
            written
        };
        if let Err(error) = write() {
            tracing::debug!("the cache cannot be written to: {error}");
        }
    }

    /// Whether the directory is there, or can be made, and is ours alone:
    /// blobs that others may put there would be pushed in our name.
    fn is_usable(&self) -> bool {
        *self.0.usable.get_or_init(|| {
            let prepare = || -> io::Result<()> {
                make_directory(&self.0.root)?;
                for folder in ["blobs", "facts", "layers", "notes", "scans", "tmp"] {
                    make_directory(&self.0.root.join(folder))?;
                }
                let probe = self.0.root.join("tmp").join(random_name());
                let ours = create(&probe)?.metadata()?.uid();
                remove(&probe);
                let metadata = fs::metadata(&self.0.root)?;
                if metadata.uid() != ours || metadata.permissions().mode() & 0o022 != 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        "others may write to it",
                    ));
                }
                Ok(())
            };
            match prepare() {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!("the cache in {:?} is not used: {error}", self.0.root);
                    false
                }
            }
        })
    }

    /// Removes what was used longest ago until everything fits, and what
    /// processes that were killed have left.
    fn sweep(&self) {
        let now = SystemTime::now();
        let age = |time: io::Result<SystemTime>| {
            time.ok()
                .and_then(|time| now.duration_since(time).ok())
                .unwrap_or_default()
        };
        let mut total = 0;
        for (path, metadata) in files(&self.0.root.join("tmp")) {
            // Whoever writes does so all the time.
            if age(metadata.modified()) > ABANDONED {
                remove(&path);
            } else {
                total += metadata.len();
            }
        }
        for folder in ["facts", "notes", "scans"] {
            for (path, metadata) in files(&self.0.root.join(folder)) {
                if age(metadata.modified()) > OUTDATED {
                    remove(&path);
                }
            }
        }
        let mut blobs: Vec<(SystemTime, PathBuf, u64)> = files(&self.0.root.join("blobs"))
            .map(|(path, metadata)| {
                let used = metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
                (used, path, metadata.len())
            })
            .collect();
        total += blobs.iter().map(|(_, _, size)| size).sum::<u64>();
        blobs.sort();
        for (_, path, size) in blobs {
            if total <= self.0.limit {
                break;
            }
            // Whoever reads it at this moment goes on reading.
            remove(&path);
            total = total.saturating_sub(size);
        }
    }
}

/// Kinds of what is known about sources.
#[derive(Clone, Copy, Debug)]
pub(super) enum Facts {
    /// For messages; see [`Cache::note`].
    Note,
    /// About a stretch of a file.
    Stretch,
    /// About an archive that is read in one pass.
    Scan,
}

impl Facts {
    fn folder(self) -> &'static str {
        match self {
            Self::Note => "notes",
            Self::Stretch => "facts",
            Self::Scan => "scans",
        }
    }
}

/// A blob that is being written. Dropping it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Writer {
    cache: Cache,
    /// Gone when something went wrong: the rest is not written then.
    file: Option<File>,
    path: PathBuf,
    size: u64,
}

impl Writer {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else {
            return;
        };
        self.size += bytes.len() as u64;
        let result = if self.size > self.cache.0.limit {
            Err(io::Error::other("it is larger than the cache may become"))
        } else {
            file.write_all(bytes)
        };
        if let Err(error) = result {
            tracing::debug!("a blob was not put into the cache: {error}");
            self.file = None;
            remove(&self.path);
        }
    }

    /// Gives the blob its name; says whether it is in the cache now.
    pub(super) fn commit(mut self, digest: &Digest, size: u64) -> bool {
        let Some(file) = self.file.take() else {
            return false;
        };
        let commit = || -> io::Result<()> {
            if self.size != size {
                return Err(io::Error::other("it has another size"));
            }
            fs::rename(&self.path, self.cache.blob_path(digest))?;
            let times = FileTimes::new()
                .set_accessed(SystemTime::now())
                .set_modified(untouched());
            // Only now: before, it would look abandoned. Without it, it looks touched.
            let _ = file.set_times(times);
            Ok(())
        };
        match commit() {
            Ok(()) => {
                self.cache.sweep();
                true
            }
            Err(error) => {
                tracing::debug!("a blob was not put into the cache: {error}");
                remove(&self.path);
                false
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.file.is_some() {
            remove(&self.path);
        }
    }
}

#[derive(Serialize, Deserialize)]
struct LayerEntry {
    algorithm: String,
    diff_id: String,
    digest: String,
    size: u64,
}

impl LayerEntry {
    fn checked(&self, algorithm: &str, diff_id: &Digest) -> Option<Compressed> {
        let is_it = self.algorithm == algorithm && self.diff_id == diff_id.as_str();
        Some(Compressed {
            diff_id: is_it.then(|| diff_id.clone())?,
            digest: self.digest.parse().ok()?,
            size: self.size,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct FactEntry<T> {
    key: String,
    fact: T,
}

/// A file for something that needs a place on disk and no name: it is gone with
/// the process, however that ends.
pub(super) fn nameless(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!("{NAME}-{}", random_name()));
    let file = create(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn files(directory: &Path) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .filter(|(_, metadata)| metadata.is_file())
}

fn remove(path: &Path) {
    // Somebody else may have been faster, and nothing depends on it.
    let _ = fs::remove_file(path);
}

fn hash(file: &File) -> Option<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match (&mut &*file).read(&mut buffer) {
            Ok(0) => return Some(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn random_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The time of change of a blob that nobody changed.
fn untouched() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

/// A number of bytes, or of KiB, MiB, GiB or TiB (the `iB` may be left out).
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
    let shift = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

const NAME: &str = "terraform-provider-ocir";
/// What is in there, and how; another form gets another name.
const VERSION: &str = "images-1";
const DEFAULT_LIMIT: u64 = 10 << 30;
/// Documents are small; an archive's largest may be some megabytes.
const MAX_RECORD: u64 = 16 << 20;
const ABANDONED: Duration = Duration::from_secs(3600);
const OUTDATED: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &Cache, bytes: &[u8]) -> Option<Compressed> {
        let mut writer = cache.writer()?;
        writer.write(bytes);
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        if !writer.commit(&digest, size) {
            return None;
        }
        let compressed = Compressed {
            diff_id: Digest::of(&[bytes, b"raw"].concat()),
            digest,
            size,
        };
        cache.record_layer("test-1", &compressed);
        Some(compressed)
    }

    fn content(file: Option<File>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        file?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn blobs(cache: &Cache) -> usize {
        files(&cache.0.root.join("blobs")).count()
    }

    /// A blob is found by its layer, in this process and in another, and only
    /// its owner can look at it.
    #[test]
    fn keeps_layers() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path().join("a/b"), 1 << 20);
        let stored = put(&cache, b"compressed").expect("the cache can be written to");
        for cache in [cache.clone(), Cache::new(directory.path().join("a/b"), 1)] {
            let found = cache.layer("test-1", &stored.diff_id);
            assert_eq!(found.as_ref(), Some(&stored));
            assert_eq!(
                content(cache.open(&stored.digest, stored.size)).as_deref(),
                Some(b"compressed".as_slice())
            );
            assert_eq!(cache.layer("test-2", &stored.diff_id), None);
        }
        let mode = |path: &Path| anyhow::Ok(fs::metadata(path)?.permissions().mode() & 0o777);
        assert_eq!(mode(&cache.0.root)?, 0o700);
        assert_eq!(mode(&cache.blob_path(&stored.digest))?, 0o600);
        assert_eq!(files(&cache.0.root.join("tmp")).count(), 0);
        Ok(())
    }

    /// A blob that was cut off, changed or deleted is not used, and removed; so is
    /// a record that was spoilt.
    #[test]
    fn notices_damage() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path(), 1 << 20);
        let stored = put(&cache, b"compressed").expect("the cache can be written to");
        let (blob, layer) = (
            cache.blob_path(&stored.digest),
            cache.layer_path("test-1", &stored.diff_id),
        );
        fs::write(&blob, b"compres")?;
        assert_eq!(cache.layer("test-1", &stored.diff_id), None);
        assert!(!blob.exists() && !layer.exists());

        put(&cache, b"compressed").expect("the cache can be written to");
        fs::write(&blob, b"Compressed")?;
        assert!(cache.open(&stored.digest, stored.size).is_none());
        assert!(!blob.exists());

        put(&cache, b"compressed").expect("the cache can be written to");
        let record = fs::read_to_string(&layer)?;
        fs::write(&layer, record.replace("\"size\":10", "\"size\":11"))?;
        assert_eq!(cache.layer("test-1", &stored.diff_id), None);
        assert!(!layer.exists());

        // Touched and the same is good enough.
        put(&cache, b"compressed").expect("the cache can be written to");
        fs::write(&blob, b"compressed")?;
        assert!(cache.open(&stored.digest, stored.size).is_some());
        fs::remove_dir_all(directory.path())?;
        assert_eq!(cache.layer("test-1", &stored.diff_id), None);
        assert!(put(&cache, b"again").is_none());
        Ok(())
    }

    /// The blobs that were used longest ago go first, and what is too large for
    /// the whole cache does not come in.
    #[test]
    fn is_bounded() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path(), 2500);
        let mut stored = Vec::new();
        for number in 0..2 {
            stored.push(put(&cache, &[number; 1000]).expect("it fits"));
        }
        // Clocks of file systems are coarse.
        std::thread::sleep(Duration::from_millis(20));
        assert!(cache.open(&stored[0].digest, 1000).is_some());
        std::thread::sleep(Duration::from_millis(20));
        stored.push(put(&cache, &[2; 1000]).expect("it fits"));
        let there: Vec<bool> = stored
            .iter()
            .map(|it| cache.layer("test-1", &it.diff_id).is_some())
            .collect();
        assert_eq!(there, [true, false, true]);
        assert!(put(&cache, &[3; 3000]).is_none());
        assert_eq!(blobs(&cache), 2);
        Ok(())
    }

    /// What a process that was killed has left goes after a while, what is being
    /// written stays.
    #[test]
    fn removes_what_was_left() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path(), 1 << 20);
        put(&cache, b"one").expect("the cache can be written to");
        let (old, new) = (cache.0.root.join("tmp/old"), cache.0.root.join("tmp/new"));
        fs::write(&new, "new")?;
        create(&old)?.set_modified(SystemTime::now() - 2 * ABANDONED)?;
        put(&cache, b"two").expect("the cache can be written to");
        assert!(!old.exists() && new.exists());
        let mut writer = cache.writer().expect("the cache can be written to");
        writer.write(b"three");
        drop(writer);
        assert_eq!(files(&cache.0.root.join("tmp")).count(), 1);
        Ok(())
    }

    /// A directory that others may write to is not used, nor is one that cannot be made.
    #[test]
    fn uses_only_its_own() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let root = directory.path().join(VERSION);
        fs::create_dir(&root)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777))?;
        assert!(put(&Cache::new(directory.path(), 1 << 20), b"one").is_none());
        let file = directory.path().join("file");
        fs::write(&file, "")?;
        assert!(put(&Cache::new(&file, 1 << 20), b"one").is_none());
        Ok(())
    }

    /// Facts are found by their whole key.
    #[test]
    fn keeps_facts() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path(), 1 << 20);
        cache.record_fact(Facts::Stretch, "key", "value");
        assert_eq!(
            cache.fact::<String>(Facts::Stretch, "key").as_deref(),
            Some("value")
        );
        assert_eq!(cache.fact::<String>(Facts::Stretch, "other"), None);
        assert_eq!(cache.fact::<String>(Facts::Scan, "key"), None);
        assert_eq!(cache.fact::<u64>(Facts::Stretch, "key"), None);
        Ok(())
    }

    /// Threads that put the same blob into the cache at once do not disturb each other.
    #[test]
    fn many_at_once() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let cache = Cache::new(directory.path(), 10 << 20);
                    for _ in 0..5 {
                        let stored = put(&cache, &bytes).expect("it fits");
                        let found = content(cache.open(&stored.digest, stored.size));
                        assert!(found.is_some_and(|found| found == bytes));
                    }
                });
            }
        });
        assert_eq!(blobs(&Cache::new(directory.path(), 1)), 1);
        Ok(())
    }

    /// Where the cache is, by what the environment says.
    #[test]
    fn follows_the_environment() {
        let root = |variables: &[(&str, &str)]| {
            let cache = Cache::from_environment(|name| {
                let found = variables.iter().find(|(it, _)| *it == name);
                found.map(|(_, value)| OsString::from(value))
            });
            cache.map(|it| format!("{} {}", it.0.root.display(), it.0.limit))
        };
        let found = [
            root(&[]),
            root(&[("HOME", "/h")]),
            root(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]),
            root(&[("HOME", "/h"), ("XDG_CACHE_HOME", "relative")]),
            root(&[
                ("HOME", "/h"),
                ("OCIR_CACHE_DIR", "/c"),
                ("OCIR_CACHE_SIZE", "20GiB"),
            ]),
            root(&[("OCIR_CACHE_DIR", "/c"), ("OCIR_CACHE_SIZE", "1000")]),
            root(&[("OCIR_CACHE_DIR", "/c"), ("OCIR_CACHE_SIZE", "much")]),
            root(&[("OCIR_CACHE_DIR", "/c"), ("OCIR_CACHE_SIZE", "0")]),
        ];
        expect_test::expect![[r#"
            [
                None,
                Some(
                    "/h/.cache/terraform-provider-ocir/images-1 10737418240",
                ),
                Some(
                    "/x/terraform-provider-ocir/images-1 10737418240",
                ),
                Some(
                    "/h/.cache/terraform-provider-ocir/images-1 10737418240",
                ),
                Some(
                    "/c/images-1 21474836480",
                ),
                Some(
                    "/c/images-1 1000",
                ),
                Some(
                    "/c/images-1 10737418240",
                ),
                None,
            ]
        "#]]
        .assert_debug_eq(&found);
    }

    proptest::proptest! {
        /// Whatever a size is written as, it is that many bytes or none.
        #[test]
        fn any_size(text in crate::spoilt::text(&["20GiB", "1000", " 5 m ", "16777216 TiB"])) {
            if let Some(size) = parse_size(&text) {
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                let number: u64 = digits.parse().expect("there are digits");
                let unit = size / number.max(1);
                proptest::prop_assert!(number == 0 || (unit.is_power_of_two() && unit * number == size), "{}", size);
            }
        }
    }
}
