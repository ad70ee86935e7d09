//! Archives that can be read in one pass only: files that are compressed as a
//! whole, and what Docker's socket sends.
//!
//! Everything that has to be known is found out while the entries go by: small ones are
//! kept, layers that come uncompressed are compressed into the cache, and of the rest
//! the digest is taken. What is compressed already is not copied to disk when it can be read
//! again, from the last place in the file where that can begin.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::{Buf as _, Bytes};
use serde::{Deserialize, Serialize};

use super::{
    BlobReader, Cache, Digest, Error, Waits,
    archive::{self, Archive, Entries, Entry, Passed},
    cache::{self, Facts, Writer},
    compress::{self, Algorithm, Compressed},
    decode::{Decoder, Mark, Packing},
    digest::Hasher,
    file::{InputFile, MAX_DOCUMENT},
    layer::{Format, HEAD},
    work::Work,
};

/// An archive that went by.
#[derive(Debug)]
pub(super) struct Stream {
    path: PathBuf,
    origin: Origin,
    cache: Option<Cache>,
}

#[derive(Debug)]
enum Origin {
    /// It can be read again.
    File {
        file: Arc<InputFile>,
        packing: Packing,
        marks: Vec<Mark>,
    },
    /// It cannot; everything that is needed was kept.
    Gone,
}

/// An entry that went by.
#[derive(Clone, Debug)]
pub(super) struct Streamed {
    pub(super) stream: Arc<Stream>,
    pub(super) entry: Arc<str>,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) scanned: Arc<Scanned>,
}

/// What was found out about an entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Scanned {
    pub(super) format: Format,
    pub(super) digest: Digest,
    #[serde(with = "base64_bytes")]
    kept: Option<Bytes>,
    packed: Option<PackedEntry>,
    held: Held,
}

/// What a layer that came uncompressed became.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PackedEntry {
    algorithm: String,
    digest: Digest,
    size: u64,
}

/// Where the bytes are that will be sent: the compressed ones of a layer that
/// was compressed, or else those that went by.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Held {
    Cache,
    Nowhere,
    /// In a file without a name, from here on.
    #[serde(skip)]
    Spool(Arc<File>, u64),
}

impl Stream {
    /// The source, as messages name it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, if there is one.
    pub(super) fn file(&self) -> Option<&Arc<InputFile>> {
        match &self.origin {
            Origin::File { file, .. } => Some(file),
            Origin::Gone => None,
        }
    }
}

impl Streamed {
    pub(super) fn place(&self) -> String {
        format!("entry {:?} of {:?}", self.entry, self.stream.path)
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
        let mut bytes = Vec::new();
        self.open()?
            .read_to_end(&mut bytes)
            .map_err(|error| Error::unwrap_io(error, &self.place()))?;
        Ok(bytes)
    }

    /// What the entry became when it went by.
    pub(super) fn packed(&self, algorithm: Algorithm) -> Option<Compressed> {
        let packed = self.scanned.packed.as_ref()?;
        (packed.algorithm == algorithm.name()).then(|| Compressed {
            diff_id: self.scanned.digest.clone(),
            digest: packed.digest.clone(),
            size: packed.size,
        })
    }

    /// The compressed bytes, when they were put aside without a cache.
    pub(super) fn open_spooled(&self, compressed: &Compressed) -> Option<Box<dyn BlobReader>> {
        match (&self.scanned.held, &self.scanned.packed) {
            (Held::Spool(file, offset), Some(packed)) if packed.digest == compressed.digest => {
                Some(spooled(file, *offset, packed.size))
            }
            _ => None,
        }
    }

    /// The entry's own bytes.
    pub(super) fn open(&self) -> Result<Box<dyn BlobReader>, Error> {
        if let Some(bytes) = &self.scanned.kept {
            return Ok(Box::new(Waits(bytes.clone().reader())));
        }
        if self.scanned.packed.is_none() {
            match &self.scanned.held {
                Held::Spool(file, offset) => return Ok(spooled(file, *offset, self.length)),
                Held::Cache => {
                    let cache = self.stream.cache.as_ref();
                    let open = |cache: &Cache| cache.open(&self.scanned.digest, self.length);
                    if let Some(file) = cache.and_then(open) {
                        return Ok(Box::new(file));
                    }
                }
                Held::Nowhere => {}
            }
        }
        match &self.stream.origin {
            Origin::File {
                file,
                packing,
                marks,
            } => {
                let failed = |cause| failure(&self.stream.path, *packing, cause);
                let decoder =
                    Decoder::open(file.reopen()?, *packing, marks, self.offset).map_err(failed)?;
                Ok(Box::new(Waits(Unpacking {
                    decoder: decoder.take(self.length),
                    path: self.stream.path.clone(),
                    packing: *packing,
                })))
            }
            Origin::Gone => Err(Error::CacheDamaged {
                digest: self.scanned.digest.clone(),
            }),
        }
    }

    /// Whether what has to be sent is still where it was put.
    fn is_held(&self) -> bool {
        if self.scanned.kept.is_some() || matches!(self.stream.origin, Origin::File { .. }) {
            return true;
        }
        let (digest, size) = match &self.scanned.packed {
            Some(packed) => (&packed.digest, packed.size),
            None => (&self.scanned.digest, self.length),
        };
        match &self.scanned.held {
            Held::Cache => {
                let cache = self.stream.cache.as_ref();
                cache.is_some_and(|cache| cache.holds(digest, size))
            }
            Held::Spool(..) => true,
            Held::Nowhere => false,
        }
    }
}

/// Reads an archive that is compressed as a whole, or remembers what reading it gave.
pub(super) fn open_file(
    work: &Work<'_>,
    file: Arc<InputFile>,
    packing: Packing,
) -> Result<Arc<Archive>, Error> {
    let key = format!("{}\n{}", work.variant(), file.key());
    let is_settled = file.stamp.is_settled(SystemTime::now());
    if is_settled && let Some(known) = work.loader.scans().get(&key) {
        return Ok(known);
    }
    let recorded = is_settled.then(|| recorded(work, &key, Some((&file, packing))));
    let archive = match recorded.flatten() {
        Some(archive) => Arc::new(archive),
        None => {
            let archive = Arc::new(scan_file(work, file, packing)?);
            if is_settled {
                record(work, &key, &archive);
            }
            archive
        }
    };
    if is_settled {
        work.loader.scans().insert(&key, &archive);
    }
    Ok(archive)
}

/// What is remembered of an archive that cannot be read again, when all of it is still there; and
/// whether it was read in this very run.
pub(super) fn remembered(work: &Work<'_>, key: &str) -> Option<(Arc<Archive>, bool)> {
    let key = format!("{}\n{key}", work.variant());
    if let Some(known) = work.loader.scans().get(&key)
        && all_held(&known)
    {
        return Some((known, true));
    }
    let archive = Arc::new(recorded(work, &key, None)?);
    if !all_held(&archive) {
        return None;
    }
    Some((archive, false))
}

/// Reads an archive that cannot be read again, and remembers it.
pub(super) fn open_stream(
    work: &Work<'_>,
    key: Option<&str>,
    path: &Path,
    reader: &mut dyn Read,
) -> Result<Arc<Archive>, Error> {
    let mut going = Going {
        reader,
        position: 0,
        path,
        packing: None,
        scanner: Scanner::new(work, path, true),
    };
    let entries = archive::index(path, &mut going, work.stop)?;
    going.drain()?;
    let stream = Stream {
        path: path.to_owned(),
        origin: Origin::Gone,
        cache: work.options.cache.clone(),
    };
    let archive = Arc::new(Archive::streamed(Arc::new(stream), entries)?);
    if let Some(key) = key {
        let key = format!("{}\n{key}", work.variant());
        record(work, &key, &archive);
        work.loader.scans().insert(&key, &archive);
    }
    Ok(archive)
}

fn scan_file(work: &Work<'_>, file: Arc<InputFile>, packing: Packing) -> Result<Archive, Error> {
    let path = file.path.clone();
    let open = file.reopen()?;
    let checked = open.try_clone().map_err(|cause| file.read_error(cause))?;
    let mut decoder =
        Decoder::open(open, packing, &[], 0).map_err(|cause| failure(&path, packing, cause))?;
    let mut going = Going {
        reader: &mut decoder,
        position: 0,
        path: &path,
        packing: Some(packing),
        scanner: Scanner::new(work, &path, false),
    };
    let entries = archive::index(&path, &mut going, work.stop)?;
    going.drain()?;
    file.check(&checked)?;
    let stream = Stream {
        path,
        origin: Origin::File {
            file,
            packing,
            marks: decoder.into_marks(),
        },
        cache: work.options.cache.clone(),
    };
    Archive::streamed(Arc::new(stream), entries)
}

/// An archive while it goes by.
struct Going<'a> {
    reader: &'a mut dyn Read,
    position: u64,
    path: &'a Path,
    packing: Option<Packing>,
    scanner: Scanner<'a>,
}

impl Going<'_> {
    /// What comes after the mark of the end: a check sum that has to be right.
    fn drain(&mut self) -> Result<(), Error> {
        let mut buffer = vec![0; 64 << 10];
        while archive::Input::fill(self, &mut buffer)? > 0 {
            if self.scanner.work.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }

    fn failure(&self, cause: io::Error) -> Error {
        match self.packing {
            Some(packing) => failure(self.path, packing, cause),
            None => Error::unwrap_io(cause, &format!("{:?}", self.path)),
        }
    }
}

impl archive::Input for Going<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn pass(&mut self, entry: &str, size: u64) -> Result<Passed, Error> {
        let mut content = Content {
            left: size,
            error: None,
            going: self.reader,
        };
        let scanned = self.scanner.scan(entry, size, &mut content);
        let Content { left, error, .. } = content;
        self.position += size - left;
        match error {
            Some(error) => Err(self.failure(error)),
            None => match scanned {
                Ok(scanned) if left == 0 => Ok(Passed::Whole(Some(Arc::new(scanned)))),
                // What was found out about half an entry does not matter.
                Ok(_) => Ok(Passed::CutOff),
                Err(error) => Err(error),
            },
        }
    }
}

/// The content of an entry; keeps the reason why reading failed.
struct Content<'a> {
    left: u64,
    error: Option<io::Error>,
    going: &'a mut dyn Read,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 || self.error.is_some() {
            return Ok(0);
        }
        match self.going.read(&mut buffer[..wanted]) {
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.error = Some(error);
                Ok(0)
            }
        }
    }
}

/// Finds out what entries are.
struct Scanner<'a> {
    work: &'a Work<'a>,
    path: &'a Path,
    /// The archive cannot be read again.
    is_gone: bool,
    spool: Option<(Arc<File>, u64)>,
    /// Bytes of documents and of other small entries, which are held in memory.
    documents: u64,
    small: u64,
}

impl<'a> Scanner<'a> {
    fn new(work: &'a Work<'a>, path: &'a Path, is_gone: bool) -> Self {
        Self {
            work,
            path,
            is_gone,
            spool: None,
            documents: 0,
            small: 0,
        }
    }

    fn scan(
        &mut self,
        entry: &str,
        size: u64,
        content: &mut Content<'_>,
    ) -> Result<Scanned, Error> {
        let mut head = Vec::with_capacity(HEAD);
        content
            .take(HEAD as u64)
            .read_to_end(&mut head)
            .map_err(|error| Error::unwrap_io(error, entry))?;
        let format = Format::of_head(&head);
        let mut whole = Read::chain(head.as_slice(), content);
        let is_document = format == Format::Other
            && matches!(head.trim_ascii_start().first(), Some(b'{' | b'['))
            && size <= MAX_DOCUMENT;
        let (budget, limit) = match is_document {
            true => (&mut self.documents, MAX_DOCUMENTS),
            false => (&mut self.small, MAX_SMALL),
        };
        if (size <= SMALL || is_document) && *budget + size <= limit {
            *budget += size;
            return keep(&mut whole, format);
        }
        match self.work.options.compression.algorithm() {
            Some(algorithm) if matches!(format, Format::Tar | Format::Other) => {
                self.pack(entry, size, &mut whole, format, algorithm)
            }
            _ => self.pass(size, &mut whole, format),
        }
    }

    /// Something that is sent as it is.
    fn pass(
        &mut self,
        size: u64,
        content: &mut dyn Read,
        format: Format,
    ) -> Result<Scanned, Error> {
        let mut sink = match self.is_gone {
            true => self.sink(size)?,
            false => Sink::Nowhere,
        };
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            if self.work.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::unwrap_io(error, "an entry")),
            };
            hasher.update(&buffer[..count]);
            sink.write(&buffer[..count]);
        }
        let digest = hasher.finish();
        let held = self.finish(sink, &digest, size)?;
        Ok(Scanned {
            format,
            digest,
            kept: None,
            packed: None,
            held,
        })
    }

    /// A layer that comes uncompressed.
    fn pack(
        &mut self,
        entry: &str,
        size: u64,
        content: &mut dyn Read,
        format: Format,
        algorithm: Algorithm,
    ) -> Result<Scanned, Error> {
        let cache = self.work.options.cache.as_ref();
        // A name that is the layer's digest spares compressing what was
        // compressed before; whether it says the truth is found out all the same.
        if let Some(promised) = digest_in(entry) {
            let is_known = !self.is_gone && self.work.known(algorithm, &promised).is_some();
            let cached = cache.and_then(|cache| cache.layer(algorithm.name(), &promised));
            if is_known || cached.is_some() {
                let mut scanned = self.pass_again(content, format)?;
                if let Some(cached) = cached.filter(|_| scanned.digest == promised) {
                    scanned.held = Held::Cache;
                    scanned.packed = Some(PackedEntry {
                        algorithm: algorithm.name().to_owned(),
                        digest: cached.digest,
                        size: cached.size,
                    });
                } else if self.is_gone {
                    return Err(Error::Digest {
                        place: format!("entry {entry:?} of {:?}", self.path),
                        expected: promised,
                        actual: scanned.digest,
                    });
                }
                return Ok(scanned);
            }
        }
        let mut sink = self.sink(size)?;
        let place = format!("entry {entry:?} of {:?}", self.path);
        let compressed = compress::measure_stream(
            self.work.loader.pool(),
            algorithm,
            content,
            &place,
            self.work.stop,
            &mut |bytes| sink.write(bytes),
        )?;
        let held = self.finish(sink, &compressed.digest, compressed.size)?;
        if let (Held::Cache, Some(cache)) = (&held, cache) {
            cache.record_layer(algorithm.name(), &compressed);
        }
        Ok(Scanned {
            format,
            digest: compressed.diff_id,
            kept: None,
            packed: Some(PackedEntry {
                algorithm: algorithm.name().to_owned(),
                digest: compressed.digest,
                size: compressed.size,
            }),
            held,
        })
    }

    /// Takes the digest of something of which a copy exists.
    fn pass_again(&mut self, content: &mut dyn Read, format: Format) -> Result<Scanned, Error> {
        let is_gone = std::mem::replace(&mut self.is_gone, false);
        let scanned = self.pass(0, content, format);
        self.is_gone = is_gone;
        scanned
    }

    fn sink(&mut self, size: u64) -> Result<Sink, Error> {
        let cache = self.work.options.cache.as_ref();
        if let Some(writer) = cache
            .filter(|cache| cache.has_room_for(size))
            .and_then(Cache::writer)
        {
            return Ok(Sink::Cache(writer));
        }
        if !self.is_gone {
            return Ok(Sink::Nowhere);
        }
        let (file, end) = match self.spool.take() {
            Some(spool) => spool,
            None => (
                Arc::new(cache::nameless(&std::env::temp_dir()).map_err(spool_error)?),
                0,
            ),
        };
        self.spool = Some((Arc::clone(&file), end));
        Ok(Sink::Spool {
            file,
            start: end,
            end,
            error: None,
        })
    }

    fn finish(&mut self, sink: Sink, digest: &Digest, size: u64) -> Result<Held, Error> {
        match sink {
            Sink::Cache(writer) => {
                if writer.commit(digest, size) {
                    Ok(Held::Cache)
                } else if self.is_gone {
                    Err(spool_error(io::Error::other(
                        "the cache cannot be written to",
                    )))
                } else {
                    Ok(Held::Nowhere)
                }
            }
            Sink::Nowhere => Ok(Held::Nowhere),
            Sink::Spool {
                error: Some(error), ..
            } => Err(spool_error(error)),
            Sink::Spool {
                file, start, end, ..
            } => {
                self.spool = Some((Arc::clone(&file), end));
                Ok(Held::Spool(file, start))
            }
        }
    }
}

/// A document, or something else that is small.
fn keep(content: &mut dyn Read, format: Format) -> Result<Scanned, Error> {
    let mut bytes = Vec::new();
    content
        .read_to_end(&mut bytes)
        .map_err(|error| Error::unwrap_io(error, "an entry"))?;
    Ok(Scanned {
        format,
        digest: Digest::of(&bytes),
        kept: Some(bytes.into()),
        packed: None,
        held: Held::Nowhere,
    })
}

/// Where bytes go that will be sent later.
enum Sink {
    Cache(Writer),
    Nowhere,
    Spool {
        file: Arc<File>,
        start: u64,
        end: u64,
        error: Option<io::Error>,
    },
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Cache(writer) => writer.write(bytes),
            Self::Nowhere => {}
            Self::Spool {
                file, end, error, ..
            } => {
                if error.is_none() {
                    *error = file.write_all_at(bytes, *end).err();
                    *end += bytes.len() as u64;
                }
            }
        }
    }
}

fn spool_error(cause: io::Error) -> Error {
    Error::Read {
        place: "the image: it cannot be put aside on disk".to_owned(),
        cause,
    }
}

/// Reads out of a file without a name.
struct SpoolReader {
    file: Arc<File>,
    position: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

fn spooled(file: &Arc<File>, position: u64, length: u64) -> Box<dyn BlobReader> {
    let reader = SpoolReader {
        file: Arc::clone(file),
        position,
    };
    Box::new(Waits(reader.take(length)))
}

/// An entry of a compressed file, read again.
struct Unpacking {
    decoder: io::Take<Decoder>,
    path: PathBuf,
    packing: Packing,
}

impl Read for Unpacking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            failure(&self.path, self.packing, error).into()
        })
    }
}

fn failure(path: &Path, packing: Packing, cause: io::Error) -> Error {
    if cause.kind() == io::ErrorKind::UnexpectedEof {
        return Error::Truncated {
            file: path.to_owned(),
            within: String::new(),
        };
    }
    let is_too_large = packing == Packing::Zstd && cause.to_string().contains("too much memory");
    let cause = match is_too_large {
        true => io::Error::other(
            "it needs a window of more than 8 MiB; compress it without --long and --ultra",
        ),
        false => cause,
    };
    Error::Decompress {
        file: path.to_owned(),
        format: match packing {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        },
        cause,
    }
}

/// The digest that a name contains: `blobs/sha256/HEX`, `HEX.tar`.
fn digest_in(entry: &str) -> Option<Digest> {
    let last = entry.rsplit('/').next()?;
    let hex = last.strip_suffix(".tar").unwrap_or(last);
    format!("sha256:{hex}").parse().ok()
}

fn all_held(archive: &Archive) -> bool {
    let Some((stream, entries)) = archive.scan() else {
        return true;
    };
    entries.by_name.iter().all(|(name, entry)| match entry {
        Entry::File {
            offset,
            length,
            scanned: Some(scanned),
        } => Streamed {
            stream: Arc::clone(stream),
            entry: Arc::clone(name),
            offset: *offset,
            length: *length,
            scanned: Arc::clone(scanned),
        }
        .is_held(),
        Entry::File { .. } | Entry::Link { .. } => true,
    })
}

/// What a scan found, as it is remembered on disk.
#[derive(Serialize, Deserialize)]
struct Record {
    marks: Vec<Mark>,
    is_complete: bool,
    entries: Vec<EntryRecord>,
}

#[derive(Serialize, Deserialize)]
enum EntryRecord {
    File {
        name: String,
        offset: u64,
        length: u64,
        scanned: Scanned,
    },
    Link {
        name: String,
        target: String,
        shown: String,
    },
}

fn record(work: &Work<'_>, key: &str, archive: &Archive) {
    let (Some(cache), Some((stream, entries))) = (&work.options.cache, archive.scan()) else {
        return;
    };
    let mut records = Vec::with_capacity(entries.by_name.len());
    for (name, entry) in &entries.by_name {
        records.push(match entry {
            Entry::File {
                offset,
                length,
                scanned: Some(scanned),
            } => {
                if matches!(scanned.held, Held::Spool(..)) {
                    return;
                }
                EntryRecord::File {
                    name: name.to_string(),
                    offset: *offset,
                    length: *length,
                    scanned: Scanned::clone(scanned),
                }
            }
            Entry::File { scanned: None, .. } => return,
            Entry::Link { target, shown } => EntryRecord::Link {
                name: name.to_string(),
                target: target.clone(),
                shown: shown.clone(),
            },
        });
    }
    let marks = match &stream.origin {
        Origin::File { marks, .. } => marks.clone(),
        Origin::Gone => Vec::new(),
    };
    let record = Record {
        marks,
        is_complete: entries.is_complete,
        entries: records,
    };
    cache.record_fact(Facts::Scan, key, record);
}

fn recorded(
    work: &Work<'_>,
    key: &str,
    file: Option<(&Arc<InputFile>, Packing)>,
) -> Option<Archive> {
    let cache = work.options.cache.as_ref()?;
    let record: Record = cache.fact(Facts::Scan, key)?;
    let mut entries = Entries {
        is_complete: record.is_complete,
        ..Entries::default()
    };
    for entry in record.entries {
        match entry {
            EntryRecord::File {
                name,
                offset,
                length,
                scanned,
            } => {
                let scanned = Some(Arc::new(scanned));
                let entry = Entry::File {
                    offset,
                    length,
                    scanned,
                };
                entries.by_name.insert(name.into(), entry);
            }
            EntryRecord::Link {
                name,
                target,
                shown,
            } => {
                let entry = Entry::Link { target, shown };
                entries.by_name.insert(name.into(), entry);
            }
        }
    }
    let (path, origin) = match file {
        Some((file, packing)) => (
            file.path.clone(),
            Origin::File {
                file: Arc::clone(file),
                packing,
                marks: record.marks,
            },
        ),
        None => (PathBuf::from(work.shown), Origin::Gone),
    };
    let stream = Stream {
        path,
        origin,
        cache: Some(cache.clone()),
    };
    Archive::streamed(Arc::new(stream), entries).ok()
}

mod base64_bytes {
    use serde::{Deserializer, Serializer, de::Error as _};

    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::{Bytes, Deserialize, Serialize};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Bytes>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = bytes.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes));
        text.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Bytes>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        let decode = |text: String| BASE64_STANDARD.decode(text).map(Bytes::from);
        text.map(decode).transpose().map_err(D::Error::custom)
    }
}

/// Entries of this size are kept, whatever they are.
const SMALL: u64 = 64 << 10;
/// All of them, together.
const MAX_SMALL: u64 = 2 << 20;
/// All documents, together: as much as a layout's manifests may have.
const MAX_DOCUMENTS: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::image::{
        Image, LoadOptions, Loader, Source,
        testing::{
            ArchiveFile, Layout, OCI_GZIP, OCI_TAR, Tar, chain, check, docker_archive, gzip, layer,
            read,
        },
    };

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 3).expect("memory takes everything")
    }

    /// A docker archive with a layer of each kind: large and uncompressed, small, compressed
    /// and large, empty, and one that is there twice.
    fn sample() -> anyhow::Result<Vec<u8>> {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(300_000)
        .collect();
        let raw = layer("raw", &[&noise[..], &[b'x'; 2_000_000]].concat());
        let packed = gzip(&layer("packed", &noise));
        let (small, empty) = (layer("small", b"small"), vec![0; 1024]);
        let inner = layer("packed", &noise);
        let diff_ids = [&raw, &inner, &small, &empty, &raw].map(|it| Digest::of(it).to_string());
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids},
        })
        .to_string();
        Ok(Tar::new()
            .file("a/layer.tar", &raw)
            .file(&format!("{}/layer.tar", "long".repeat(40)), &small)
            .file("c/layer.tar", &packed)
            .file("d/layer.tar", &empty)
            .link(tar::EntryType::Symlink, "e/layer.tar", "../a/layer.tar")
            .file("config.json", config.as_bytes())
            .json(
                "manifest.json",
                &serde_json::json!([{
                    "Config": "config.json",
                    "Layers": ["a/layer.tar", "c/layer.tar",
                        format!("{}/layer.tar", "long".repeat(40)), "d/layer.tar", "e/layer.tar"],
                }]),
            )
            .bytes())
    }

    fn same(one: &Image, other: &Image) -> anyhow::Result<()> {
        assert_eq!(one.root().digest, other.root().digest);
        assert_eq!(one.layers, other.layers);
        assert_eq!(one.blobs.len(), other.blobs.len());
        for (one, other) in one.blobs.iter().zip(&other.blobs) {
            assert_eq!(one.digest, other.digest);
            assert!(read(one)? == read(other)?);
        }
        Ok(())
    }

    /// An archive that is compressed as a whole holds the image that the plain one holds,
    /// with a cache and without.
    #[test]
    fn packed_archives() -> anyhow::Result<()> {
        let bytes = sample()?;
        let plain_file = ArchiveFile::new(&bytes)?;
        let plain = plain_file.load(None)?;
        let members: Vec<u8> = bytes.chunks(700_000).flat_map(gzip).collect();
        let frames: Vec<u8> = bytes.chunks(700_000).flat_map(zstd).collect();
        let mut garbage = gzip(&bytes);
        garbage.extend(b"\0\0\0garbage");
        for packed in [gzip(&bytes), zstd(&bytes), members, frames, garbage] {
            let file = ArchiveFile::new(&packed)?;
            same(&plain, &file.load(None)?)?;
            let directory = tempfile::tempdir()?;
            let options = LoadOptions {
                cache: Some(Cache::new(directory.path(), 1 << 30)),
                ..LoadOptions::default()
            };
            let image = file.load_with(&options)?;
            same(&plain, &image)?;
            // Only what was compressed here is in the cache, once.
            let blobs = directory.path().join("images-1/blobs");
            assert_eq!(std::fs::read_dir(&blobs)?.count(), 3);
            std::fs::remove_dir_all(&blobs)?;
            same(&plain, &image)?;
        }
        Ok(())
    }

    /// Every option means the same for an archive that goes by, and what is known
    /// of a layer from before spares compressing it here, too.
    #[test]
    fn options_for_packed_archives() -> anyhow::Result<()> {
        use crate::image::{Compression, Layer as ImageLayer, ManifestFormat};
        let bytes = sample()?;
        let (plain, packed) = (ArchiveFile::new(&bytes)?, ArchiveFile::new(&gzip(&bytes))?);
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            let mut options = LoadOptions {
                compression,
                format: ManifestFormat::Oci,
                platforms: vec!["linux/amd64".parse()?],
                ..LoadOptions::default()
            };
            let expected = plain.load_with(&options)?;
            same(&expected, &packed.load_with(&options)?)?;
            let known = expected.layers.iter().filter_map(ImageLayer::to_remember);
            options.known = known.collect();
            same(&expected, &packed.load_with(&options)?)?;
            options.trust_registry = true;
            let directory = tempfile::tempdir()?;
            options.cache = Some(Cache::new(directory.path(), 1 << 30));
            same(&expected, &packed.load_with(&options)?)?;
            same(&expected, &packed.load_with(&options)?)?;
        }
        // A layer whose name is its digest is not compressed when it is known.
        let raw = layer("raw", &[b'x'; 2_000_000]);
        let packed = ArchiveFile::new(&gzip(&docker_archive(&[&raw], &[&raw]).bytes()))?;
        let mut options = LoadOptions::default();
        let expected = packed.load_with(&options)?;
        options.known = expected
            .layers
            .iter()
            .filter_map(ImageLayer::to_remember)
            .collect();
        let directory = tempfile::tempdir()?;
        options.cache = Some(Cache::new(directory.path(), 1 << 30));
        let image = packed.load_with(&options)?;
        let blobs = || std::fs::read_dir(directory.path().join("images-1/blobs"));
        assert_eq!(blobs()?.count(), 0);
        same(&expected, &image)?;
        assert_eq!(blobs()?.count(), 1);
        Ok(())
    }

    /// What a pass found out is remembered by the process and by the cache, until the
    /// file changes.
    #[test]
    fn passes_are_remembered() -> anyhow::Result<()> {
        let bytes = sample()?;
        let file = ArchiveFile::new(&gzip(&bytes))?;
        let (directory, stop) = (tempfile::tempdir()?, CancellationToken::new());
        let options = LoadOptions {
            cache: Some(Cache::new(directory.path(), 1 << 30)),
            ..LoadOptions::default()
        };
        // Files that were written just now are read every time.
        std::thread::sleep(std::time::Duration::from_millis(3100));
        let source = Source::Path {
            path: file.path.clone(),
            reference: None,
        };
        let (one, other) = (Loader::default(), Loader::default());
        let first = one.load_with(&source, &options, &stop)?;
        let scans = directory.path().join("images-1/scans");
        assert_eq!(std::fs::read_dir(&scans)?.count(), 1);
        let blobs = directory.path().join("images-1/blobs");
        for loader in [&one, &other] {
            // Another pass would compress into the cache again.
            std::fs::remove_dir_all(&blobs)?;
            std::fs::create_dir(&blobs)?;
            let again = loader.load_with(&source, &options, &stop)?;
            assert_eq!(again.root().digest, first.root().digest);
            assert_eq!(std::fs::read_dir(&blobs)?.count(), 0);
            same(&first, &again)?;
        }
        let changed = docker_archive(&[&layer("x", b"y")], &[&layer("x", b"y")]).bytes();
        std::fs::write(&file.path, gzip(&changed))?;
        let changed = other.load_with(&source, &options, &stop)?;
        assert_ne!(changed.root().digest, first.root().digest);
        let error = first.blobs.iter().find_map(|blob| read(blob).err());
        let error = error.expect("the compressed layer is not in the cache");
        assert!(
            matches!(
                Error::find(error.as_ref()),
                Some(Error::SourceChanged { .. })
            ),
            "{error}"
        );
        Ok(())
    }

    /// A layout in an archive is the layout, plain or compressed, named or found out.
    #[test]
    fn layouts_in_archives() -> anyhow::Result<()> {
        let mut layout = Layout::new()?;
        for tag in ["v1", "v2"] {
            let plain = layer(tag, &[b'x'; 200_000]);
            let layers = [
                layout.blob(OCI_TAR, &plain)?,
                layout.blob(OCI_GZIP, &gzip(&plain))?,
            ];
            let image = layout.image(&layers)?;
            layout.add(image, Some(tag))?;
        }
        let bytes = layout.archive()?.bytes();
        for bytes in [bytes.clone(), gzip(&bytes), zstd(&bytes)] {
            let file = ArchiveFile::new(&bytes)?;
            let load = |text: String| {
                let source = Source::parse(&text)?;
                Loader::default().load(&source, &CancellationToken::new())
            };
            for kind in ["oci-archive:", ""] {
                let named = load(format!("{kind}{}:v2", file.path.display()))?;
                check(&named)?;
                same(&layout.load(Some("v2"))?, &named)?;
                let by_digest = layout.load(Some("@1"))?;
                assert_eq!(by_digest.root().digest, named.root().digest);
                let error = load(format!("{kind}{}", file.path.display())).expect_err("which one?");
                let said = chain(&error, file.directory.path());
                assert!(
                    said.contains(&format!("as in \"{kind}DIR/image.tar:v1\" or")),
                    "{said}"
                );
                expect![[r#"
                    "DIR/image.tar" holds 2 images; choose one by a name or by its place, as in "DIR/image.tar:v1" or "DIR/image.tar:@0":
                        @0 "v1"
                        @1 "v2""#]].assert_eq(&said.replace("oci-archive:", ""));
            }
        }
        let directory = Source::parse(&format!("{}:v1", layout.path().display()))?;
        let image = Loader::default().load(&directory, &CancellationToken::new())?;
        same(&layout.load(Some("v1"))?, &image)?;
        Ok(())
    }

    /// What is no image at all, and archives that are spoilt below their compression.
    #[test]
    fn spoilt() -> anyhow::Result<()> {
        let bytes = sample()?;
        let error = |bytes: &[u8]| -> anyhow::Result<String> {
            Ok(ArchiveFile::new(bytes)?.error_with(&LoadOptions::default()))
        };
        let packed = gzip(&bytes);
        let mut flipped = packed.clone();
        let at = flipped.len() - 5;
        flipped[at] ^= 1;
        let huge = vec![0; 100 << 20];
        let mut window = Vec::new();
        let mut encoder = zstd::stream::write::Encoder::new(&mut window, 1)?;
        encoder.window_log(27)?;
        encoder.include_contentsize(false)?;
        std::io::Write::write_all(&mut encoder, &huge)?;
        encoder.finish()?;
        let found = [
            error(&gzip(b"no archive"))?,
            error(&gzip(&Tar::new().file("a", b"b").bytes()))?,
            error(&Tar::new().file("a", b"b").bytes())?,
            error(&packed[..packed.len() / 2])?,
            error(&packed[..packed.len() - 4])?,
            error(&gzip(&bytes[..bytes.len() / 2]))?,
            error(&gzip(&bytes[..1000]))?,
            error(&flipped)?,
            error(&zstd(&bytes)[..1000])?,
            error(&window)?,
            error(&gzip(&gzip(&bytes)))?,
        ];
        expect![[r#"
            "DIR/image.tar" is not a tar archive
            "DIR/image.tar" has no entry "manifest.json" and none "index.json", so it is no image
            "DIR/image.tar" has no entry "manifest.json" and none "index.json", so it is no image
            "DIR/image.tar" is truncated
            "DIR/image.tar" is truncated
            "DIR/image.tar" is truncated within its entry "a/layer.tar"
            "DIR/image.tar" is truncated within its entry "a/layer.tar"
            "DIR/image.tar" cannot be decompressed with gzip: corrupt gzip stream does not have a matching checksum
            "DIR/image.tar" is truncated
            "DIR/image.tar" cannot be decompressed with zstd: it needs a window of more than 8 MiB; compress it without --long and --ultra
            "DIR/image.tar" is not a tar archive"#]].assert_eq(&found.join("\n").replace(&"long".repeat(40), "long…"));
        Ok(())
    }
}
