//! Reading files out of tar archives, in place.
//!
//! The headers are read once, by seeking from one to the next; after that every
//! entry is a stretch of the file. An archive that cannot be read in place goes by
//! once, and what its entries are is found out meanwhile (`stream.rs`). Nothing is unpacked,
//! so a hostile name or link could do no harm here. It is refused all the same, as is everything
//! that two readers of tar may understand differently: an image has one
//! meaning or none.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use tar::{EntryType, Header, PaxExtensions};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    decode::Packing,
    file::{Extent, InputFile},
    part::Part,
    stream::{Scanned, Stream, Streamed},
};

/// An archive and where its entries are.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    body: Body,
    entries: Entries,
}

/// What has the bytes of the entries.
#[derive(Debug)]
enum Body {
    File(Arc<InputFile>),
    Stream(Arc<Stream>),
}

/// What the headers of an archive say.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) by_name: HashMap<Arc<str>, Entry>,
    /// Whether the mark of the end was there.
    pub(super) is_complete: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Entry {
    File {
        offset: u64,
        length: u64,
        /// What was found out while it went by, in an archive that cannot be read in place.
        scanned: Option<Arc<Scanned>>,
    },
    /// A symbolic or hard link; the target is a name in the archive.
    Link { target: String, shown: String },
}

/// A file that was opened to find out what it is.
pub(super) enum Opened {
    Archive(Archive),
    /// Compressed as a whole; it can be read in one pass only.
    Packed(Arc<InputFile>, Packing),
}

impl Archive {
    /// Reads the headers of an archive, unless it is compressed as a whole.
    pub(super) fn open(path: &Path, stop: &CancellationToken) -> Result<Opened, Error> {
        let (input, file) = InputFile::open(path)?;
        if let Some(packing) = packing(&input, &file)? {
            return Ok(Opened::Packed(input, packing));
        }
        // What was to write it failed, or has not begun.
        if input.stamp.size == 0 {
            return Err(truncated(path, ": it has no bytes".to_owned()));
        }
        let mut source = Plain {
            extent: Extent::whole(Arc::clone(&input)),
            file,
            position: 0,
        };
        let entries = index(path, &mut source, stop)?;
        input.check(&source.file)?;
        let archive = Self {
            path: path.to_owned(),
            body: Body::File(input),
            entries,
        };
        archive.check_links()?;
        Ok(Opened::Archive(archive))
    }

    /// An archive that went by.
    pub(super) fn streamed(stream: Arc<Stream>, entries: Entries) -> Result<Self, Error> {
        let archive = Self {
            path: stream.path().to_owned(),
            body: Body::Stream(stream),
            entries,
        };
        archive.check_links()?;
        Ok(archive)
    }

    /// What to remember of one that went by.
    pub(super) fn scan(&self) -> Option<(&Arc<Stream>, &Entries)> {
        match &self.body {
            Body::Stream(stream) => Some((stream, &self.entries)),
            Body::File(_) => None,
        }
    }

    /// Whether it is a file, and did not come out of Docker's socket.
    pub(super) fn is_file(&self) -> bool {
        match &self.body {
            Body::File(_) => true,
            Body::Stream(stream) => stream.file().is_some(),
        }
    }

    /// Whether the mark of the end was there.
    pub(super) fn is_complete(&self) -> bool {
        self.entries.is_complete
    }

    /// The names of its entries, in any order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.by_name.keys().map(|name| &**name)
    }

    /// The archive's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The entry with a name, through links; `None` when there is none.
    pub(super) fn find(&self, name: &str) -> Result<Option<Part>, Error> {
        let Some(mut name) = resolve("", name) else {
            return Err(outside(&self.path, name, ""));
        };
        for _ in 0..MAX_LINKS {
            match self.entries.by_name.get_key_value(name.as_str()) {
                None => return Ok(None),
                Some((
                    key,
                    Entry::File {
                        offset,
                        length,
                        scanned,
                    },
                )) => return Ok(self.part(key, *offset, *length, scanned.as_ref())),
                Some((_, Entry::Link { target, .. })) => name.clone_from(target),
            }
        }
        Err(Error::Link {
            file: self.path.clone(),
            target: name.clone(),
            entry: name,
            problem: "which is part of a circle",
        })
    }

    fn part(
        &self,
        entry: &Arc<str>,
        offset: u64,
        length: u64,
        scanned: Option<&Arc<Scanned>>,
    ) -> Option<Part> {
        Some(match &self.body {
            Body::File(file) => Part::InPlace(Extent {
                file: Arc::clone(file),
                entry: Some(Arc::clone(entry)),
                offset,
                length,
            }),
            Body::Stream(stream) => Part::Streamed(Streamed {
                stream: Arc::clone(stream),
                entry: Arc::clone(entry),
                offset,
                length,
                scanned: Arc::clone(scanned?),
            }),
        })
    }

    /// The entry with a name that has to be there.
    pub(super) fn get(&self, name: &str, hint: &'static str) -> Result<Part, Error> {
        self.find(name)?.ok_or_else(|| self.missing(name, hint))
    }

    /// The error for an entry that has to be there and is not.
    pub(super) fn missing(&self, name: &str, hint: &'static str) -> Error {
        if !self.entries.is_complete {
            return truncated(&self.path, String::new());
        }
        Error::MissingEntry {
            file: self.path.clone(),
            entry: name.to_owned(),
            hint,
        }
    }

    fn check_links(&self) -> Result<(), Error> {
        for (name, entry) in &self.entries.by_name {
            let Entry::Link { shown, .. } = entry else {
                continue;
            };
            if self.find(name)?.is_none() {
                // In an archive that was cut off, the target may have been lost.
                if !self.entries.is_complete {
                    return Err(truncated(&self.path, String::new()));
                }
                return Err(Error::Link {
                    file: self.path.clone(),
                    entry: name.to_string(),
                    target: shown.clone(),
                    problem: "which the archive does not hold",
                });
            }
        }
        Ok(())
    }
}

fn outside(file: &Path, entry: &str, target: &str) -> Error {
    let via = match target {
        "" => String::new(),
        target => format!(", by its link to {target:?}"),
    };
    Error::Outside {
        file: file.to_owned(),
        entry: entry.to_owned(),
        via,
    }
}

fn truncated(file: &Path, within: String) -> Error {
    Error::Truncated {
        file: file.to_owned(),
        within,
    }
}

/// The bytes of an archive, from start to end.
pub(super) trait Input {
    /// Reads on, as much as fits into `buffer` and is there.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error>;

    /// Bytes before the next ones.
    fn position(&self) -> u64;

    /// Goes past the content of an entry.
    fn pass(&mut self, entry: &str, size: u64) -> Result<Passed, Error>;
}

/// How going past an entry ended.
pub(super) enum Passed {
    /// The archive ends within it.
    CutOff,
    Whole(Option<Arc<Scanned>>),
}

/// An archive that can be read in place.
struct Plain {
    extent: Extent,
    file: File,
    position: u64,
}

impl Input for Plain {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let count = self.extent.read_at(&self.file, self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn pass(&mut self, _: &str, size: u64) -> Result<Passed, Error> {
        match self.position.checked_add(size) {
            Some(end) if end <= self.extent.length => {
                self.position = end;
                Ok(Passed::Whole(None))
            }
            _ => Ok(Passed::CutOff),
        }
    }
}

/// Reads the headers of an archive.
pub(super) fn index(
    path: &Path,
    input: &mut dyn Input,
    stop: &CancellationToken,
) -> Result<Entries, Error> {
    let mut indexer = Indexer {
        path,
        input,
        entries: Entries::default(),
        names: 0,
    };
    indexer.run(stop)?;
    Ok(indexer.entries)
}

struct Indexer<'a> {
    path: &'a Path,
    input: &'a mut dyn Input,
    entries: Entries,
    /// Bytes of all names and targets.
    names: usize,
}

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Indexer<'_> {
    fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let mut extensions = Extensions::default();
        let mut has_extensions = false;
        let mut count = 0_u32;
        loop {
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let Some(header) = self.header()? else {
                break;
            };
            count += 1;
            if count > MAX_ENTRIES {
                return Err(self.damaged("an image archive does not have this many entries"));
            }
            let kind = header.entry_type();
            let header_size = header
                .entry_size()
                .map_err(|_| self.damaged("a size that is no number"))?;
            match kind {
                EntryType::GNULongName => {
                    extensions.name = Some(self.text(header_size)?);
                    has_extensions = true;
                }
                EntryType::GNULongLink => {
                    extensions.link = Some(self.text(header_size)?);
                    has_extensions = true;
                }
                EntryType::XHeader => {
                    self.pax(header_size, &mut extensions)?;
                    has_extensions = true;
                }
                // A comment or common times; names and sizes of many entries
                // cannot sensibly be there.
                EntryType::XGlobalHeader => {
                    self.pax(header_size, &mut Extensions::default())?;
                }
                _ => {
                    let extensions = std::mem::take(&mut extensions);
                    has_extensions = false;
                    let size = extensions.size.unwrap_or(header_size);
                    self.entry(&header, kind, size, extensions)?;
                }
            }
        }
        if has_extensions {
            return Err(truncated(self.path, String::new()));
        }
        Ok(())
    }

    /// The next header; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut block = [0; BLOCK];
        let position = self.input.position();
        let count = self.input.fill(&mut block)?;
        if count == 0 && position > 0 {
            return Ok(None);
        }
        if count == BLOCK && block == [0; BLOCK] {
            self.entries.is_complete = true;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        let is_header = count == BLOCK && header.cksum().is_ok_and(|sum| sum == checksum(&block));
        match (is_header, position) {
            (true, _) => Ok(Some(header.clone())),
            (false, 0) => Err(Error::NotAnArchive {
                file: self.path.to_owned(),
            }),
            (false, _) if count < BLOCK => Err(truncated(self.path, String::new())),
            (false, _) => Err(self.damaged_at(position, "there is no header")),
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        extensions: Extensions,
    ) -> Result<(), Error> {
        let shown = extensions
            .name
            .unwrap_or_else(|| lossy(&header.path_bytes()));
        let unsupported = |kind: &str| Error::UnsupportedEntry {
            file: self.path.to_owned(),
            entry: shown.clone(),
            kind: kind.to_owned(),
        };
        let Some(name) = resolve("", &shown).filter(|_| !has_parent(&shown)) else {
            return Err(outside(self.path, &shown, ""));
        };
        if extensions.is_sparse {
            return Err(unsupported("a sparse file"));
        }
        let entry = match kind {
            // Archives of the seventies mark a directory by its name only.
            EntryType::Regular if shown.ends_with('/') && size == 0 => return Ok(()),
            EntryType::Regular | EntryType::Continuous => {
                let offset = self.input.position();
                let Passed::Whole(scanned) = self.input.pass(&name, size)? else {
                    return Err(truncated(self.path, format!(" within its entry {shown:?}")));
                };
                self.pad(size)?;
                Entry::File {
                    offset,
                    length: size,
                    scanned,
                }
            }
            // Whether a size means content that follows is read differently by
            // different programs.
            EntryType::Directory | EntryType::Symlink | EntryType::Link if size != 0 => {
                return Err(unsupported("a directory or link with content"));
            }
            EntryType::Directory => return Ok(()),
            EntryType::Symlink | EntryType::Link => {
                let target = extensions.link.unwrap_or_else(|| {
                    header
                        .link_name_bytes()
                        .map_or_else(String::new, |bytes| lossy(&bytes))
                });
                // A symbolic link counts from where it is, a hard link from the root.
                let base = match kind {
                    EntryType::Symlink => name.rsplit_once('/').map_or("", |(parent, _)| parent),
                    _ => "",
                };
                match resolve(base, &target) {
                    Some(resolved) => Entry::Link {
                        target: resolved,
                        shown: target,
                    },
                    None => return Err(outside(self.path, &shown, &target)),
                }
            }
            EntryType::GNUSparse => return Err(unsupported("a sparse file")),
            EntryType::Fifo => return Err(unsupported("a pipe")),
            EntryType::Char | EntryType::Block => return Err(unsupported("a device")),
            other => {
                let kind = format!("of the unknown type {:?}", char::from(other.as_byte()));
                return Err(unsupported(&kind));
            }
        };
        self.names += name.len();
        if let Entry::Link { target, shown } = &entry {
            self.names += target.len() + shown.len();
        }
        if self.names > MAX_NAMES {
            return Err(self.damaged("an image archive does not have names this long"));
        }
        if self
            .entries
            .by_name
            .insert(name.as_str().into(), entry)
            .is_some()
        {
            return Err(Error::DuplicateEntry {
                file: self.path.to_owned(),
                entry: name,
            });
        }
        Ok(())
    }

    /// Goes past what fills up the last block of an entry.
    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
        // The filling of the very last entry may be missing.
        self.input.fill(&mut [0; BLOCK][..padding])?;
        Ok(())
    }

    /// The content of an extension header.
    fn content(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENSION {
            return Err(self.damaged("an extension header of more than 1 MiB"));
        }
        let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
        if self.input.fill(&mut content)? < content.len() {
            return Err(truncated(
                self.path,
                " within an extension header".to_owned(),
            ));
        }
        self.pad(size)?;
        Ok(content)
    }

    fn text(&mut self, size: u64) -> Result<String, Error> {
        let content = self.content(size)?;
        let end = content.iter().position(|byte| *byte == 0);
        Ok(lossy(&content[..end.unwrap_or(content.len())]))
    }

    fn pax(&mut self, size: u64, extensions: &mut Extensions) -> Result<(), Error> {
        let content = self.content(size)?;
        for record in PaxExtensions::new(&content) {
            let bad = |_| self.damaged("an extension header that cannot be read");
            let record = record.map_err(bad)?;
            let value = lossy(record.value_bytes());
            if value.contains('\0') {
                return Err(self.damaged("an extension header that cannot be read"));
            }
            match record.key_bytes() {
                b"path" => extensions.name = Some(value),
                b"linkpath" => extensions.link = Some(value),
                b"size" => match value.parse() {
                    Ok(size) => extensions.size = Some(size),
                    Err(_) => return Err(self.damaged("a size that is no number")),
                },
                key if key.starts_with(b"GNU.sparse.") => extensions.is_sparse = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn damaged(&self, problem: &str) -> Error {
        self.damaged_at(self.input.position(), problem)
    }

    fn damaged_at(&self, position: u64, problem: &str) -> Error {
        Error::DamagedArchive {
            file: self.path.to_owned(),
            position,
            problem: problem.to_owned(),
        }
    }
}

/// How a file is compressed as a whole, if it is.
fn packing(input: &Arc<InputFile>, file: &File) -> Result<Option<Packing>, Error> {
    let mut head = [0; 262];
    let count = Extent::whole(Arc::clone(input)).read_at(file, 0, &mut head)?;
    let head = &head[..count];
    let (format, program) = match head {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ("xz", "xz --decompress --keep"),
        [b'B', b'Z', b'h', ..] if !head.ends_with(b"ustar") => {
            ("bzip2", "bzip2 --decompress --keep")
        }
        _ => return Ok(Packing::of(head)),
    };
    Err(Error::CompressedArchive {
        file: input.path.clone(),
        format,
        command: format!("{program} {}", shell_word(&input.path.to_string_lossy())),
    })
}

/// A file name as a shell reads it back.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '/' | '.' | '_' | '-' | '+')
    };
    if text.chars().all(is_plain) && !text.starts_with('-') {
        text.to_owned()
    } else {
        let start = if text.starts_with('-') { "./" } else { "" };
        format!("'{start}{}'", text.replace('\'', r"'\''"))
    }
}

/// A path inside an archive, with `.` and `..` worked out; `None` when it leads
/// outside.
fn resolve(base: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn has_parent(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The sum of a header's bytes, its own field counted as blanks.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let others = block[..148].iter().chain(&block[156..]);
    others.map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ')
}

const BLOCK: usize = 512;

/// An image has a few hundred; more would only fill the memory.
const MAX_ENTRIES: u32 = 100_000;

const MAX_EXTENSION: u64 = 1 << 20;

/// Bytes of names; they are held in memory.
const MAX_NAMES: usize = 4 << 20;

/// Links that are followed one after the other.
const MAX_LINKS: u32 = 16;

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::image::testing::{ArchiveFile, Tar, chain};

    fn open(file: &ArchiveFile) -> Result<Archive, Error> {
        match Archive::open(&file.path, &CancellationToken::new())? {
            Opened::Archive(archive) => Ok(archive),
            Opened::Packed(file, _) => Err(Error::NotAnArchive {
                file: file.path.clone(),
            }),
        }
    }

    fn content(archive: &Archive, name: &str) -> anyhow::Result<String> {
        Ok(String::from_utf8(archive.get(name, "")?.document()?)?)
    }

    /// The text of the error that opening these bytes gives.
    #[track_caller]
    fn error(bytes: &[u8]) -> String {
        let file = ArchiveFile::new(bytes).expect("a temporary file can be written");
        let error = open(&file).expect_err("this archive is refused");
        chain(&error, file.directory.path())
    }

    /// Entries are found whatever the way their names are written, through links
    /// and long names, and an empty one is empty.
    #[test]
    fn entries() -> anyhow::Result<()> {
        let long = format!("{}/layer.tar", "d".repeat(150));
        let file = Tar::new()
            .raw(EntryType::Directory, "./", b"")
            .raw(EntryType::Directory, "a/", b"")
            .raw(EntryType::Directory, "a/", b"")
            .raw(EntryType::Regular, "./a/file", b"content")
            .file("empty", b"")
            .file(&long, b"long")
            .link(EntryType::Symlink, "b/link", "../a/./file")
            .link(EntryType::Symlink, "b/again", "link")
            .link(EntryType::Link, "hard", "b/link")
            .save()?;
        let archive = open(&file)?;
        for name in [
            "a/file",
            "./a/file",
            "b/../a/file",
            "b/link",
            "b/again",
            "hard",
        ] {
            assert_eq!(content(&archive, name)?, "content", "{name}");
        }
        assert_eq!(content(&archive, "empty")?, "");
        assert_eq!(content(&archive, &long)?, "long");
        assert!(archive.find("a")?.is_none());
        Ok(())
    }

    /// Names, links and sizes in POSIX extension headers count.
    #[test]
    fn pax_headers() -> anyhow::Result<()> {
        let record = |text: &str| {
            let length = text.len() + 4;
            format!("{length} {text}\n")
        };
        let extension = record("path=a/very/pax/file") + &record("comment=nothing");
        let file = Tar::new()
            .raw(EntryType::XGlobalHeader, "global", b"")
            .raw(EntryType::XHeader, "pax", extension.as_bytes())
            .raw(EntryType::Regular, "short", b"content")
            .raw(
                EntryType::XHeader,
                "pax",
                record("linkpath=a/very/pax/file").as_bytes(),
            )
            .raw(EntryType::Symlink, "link", b"")
            .save()?;
        let archive = open(&file)?;
        assert_eq!(content(&archive, "a/very/pax/file")?, "content");
        assert_eq!(content(&archive, "link")?, "content");
        assert!(archive.find("short")?.is_none());
        let sparse = Tar::new()
            .raw(EntryType::XHeader, "pax", b"22 GNU.sparse.major=1\n")
            .raw(EntryType::Regular, "short", b"content");
        expect![[r#"entry "short" of "DIR/image.tar" is a sparse file, which an image archive does not have"#]].assert_eq(&error(&sparse.bytes()));
        Ok(())
    }

    /// Names and links that lead out of the archive are refused by name.
    #[test]
    fn outside() {
        let entry = |name: &str| error(&Tar::new().raw(EntryType::Regular, name, b"x").bytes());
        let link = |kind, target: &str| error(&Tar::new().link(kind, "dir/link", target).bytes());
        let found = [
            entry("../../etc/passwd"),
            entry("a/../../b"),
            entry("a/../b"),
            entry("/etc/passwd"),
            link(EntryType::Symlink, "../../outside"),
            link(EntryType::Symlink, "/etc/passwd"),
            link(EntryType::Link, "../outside"),
        ];
        expect![[r#"
            entry "../../etc/passwd" of "DIR/image.tar" points outside the archive
            entry "a/../../b" of "DIR/image.tar" points outside the archive
            entry "a/../b" of "DIR/image.tar" points outside the archive
            entry "/etc/passwd" of "DIR/image.tar" points outside the archive
            entry "dir/link" of "DIR/image.tar" points outside the archive, by its link to "../../outside"
            entry "dir/link" of "DIR/image.tar" points outside the archive, by its link to "/etc/passwd"
            entry "dir/link" of "DIR/image.tar" points outside the archive, by its link to "../outside""#]].assert_eq(&found.join("\n"));
    }

    /// Links that lead nowhere, or in a circle.
    #[test]
    fn bad_links() {
        let nowhere = Tar::new().link(EntryType::Symlink, "dir/link", "../nothing");
        let circle =
            Tar::new()
                .link(EntryType::Symlink, "a", "b")
                .link(EntryType::Symlink, "b", "a");
        expect![[r#"entry "dir/link" of "DIR/image.tar" is a link to "../nothing", which the archive does not hold"#]].assert_eq(&error(&nowhere.bytes()));
        let text = error(&circle.bytes());
        assert!(text.ends_with("which is part of a circle"), "{text}");
    }

    /// Kinds of entries that no image archive has.
    #[test]
    fn unsupported_kinds() {
        let kind = |kind| error(&Tar::new().raw(kind, "entry", b"").bytes());
        let found = [
            kind(EntryType::Fifo),
            kind(EntryType::Char),
            kind(EntryType::Block),
            kind(EntryType::GNUSparse),
            kind(EntryType::new(b'V')),
            error(&Tar::new().raw(EntryType::Directory, "entry", b"x").bytes()),
            error(&Tar::new().raw(EntryType::Symlink, "entry", b"x").bytes()),
            error(&Tar::new().file("./a", b"1").file("a", b"2").bytes()),
        ];
        expect![[r#"
            entry "entry" of "DIR/image.tar" is a pipe, which an image archive does not have
            entry "entry" of "DIR/image.tar" is a device, which an image archive does not have
            entry "entry" of "DIR/image.tar" is a device, which an image archive does not have
            entry "entry" of "DIR/image.tar" is a sparse file, which an image archive does not have
            entry "entry" of "DIR/image.tar" is of the unknown type 'V', which an image archive does not have
            entry "entry" of "DIR/image.tar" is a directory or link with content, which an image archive does not have
            entry "entry" of "DIR/image.tar" is a directory or link with content, which an image archive does not have
            "DIR/image.tar" holds two entries named "a""#]].assert_eq(&found.join("\n"));
    }

    /// An archive that was cut off says so, wherever the cut is.
    #[test]
    fn truncated() -> anyhow::Result<()> {
        let bytes = Tar::new()
            .file("first", &[1; 1000])
            .file(&"long".repeat(40), &[2; 1000])
            .bytes();
        let cut = |length: usize| error(&bytes[..length]);
        let found = [
            cut(700),
            cut(1536 + 100),
            cut(1536 + 512 + 10),
            cut(1536 + 1024),
        ];
        let found = found.join("\n").replace(&"long".repeat(40), "long…");
        expect![[r#"
            "DIR/image.tar" is truncated within its entry "first"
            "DIR/image.tar" is truncated
            "DIR/image.tar" is truncated within an extension header
            "DIR/image.tar" is truncated"#]]
        .assert_eq(&found);
        // Without the mark of the end, a missing entry was probably cut off.
        let file = ArchiveFile::new(&bytes[..1536])?;
        let archive = open(&file)?;
        archive.get("first", "")?;
        let error = archive
            .get("manifest.json", "")
            .expect_err("it is not there");
        expect![[r#""DIR/image.tar" is truncated"#]]
            .assert_eq(&chain(&error, file.directory.path()));
        // No length makes it panic.
        for length in 0..bytes.len() {
            let _ = open(&ArchiveFile::new(&bytes[..length])?);
        }
        Ok(())
    }

    /// Headers that are damaged.
    #[test]
    fn damaged() {
        let bytes = Tar::new().file("first", b"1").file("second", b"2").bytes();
        let spoilt = |at: usize, with: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            error(&bytes)
        };
        // A size of 2^63 - 1, with a correct sum.
        let mut huge = Tar::new().file("huge", b"1").bytes();
        let mut header = Header::from_byte_slice(&huge[..512]).clone();
        header.set_size(i64::MAX as u64);
        header.set_cksum();
        huge[..512].copy_from_slice(header.as_bytes());
        header.as_old_mut().size = *b"notanumber!!";
        header.set_cksum();
        let mut no_number = huge.clone();
        no_number[..512].copy_from_slice(header.as_bytes());
        let pax =
            |content: &[u8]| error(&Tar::new().raw(EntryType::XHeader, "pax", content).bytes());
        let found = [
            spoilt(0, b"x"),
            spoilt(1024, b"x"),
            error(&huge),
            error(&no_number),
            pax(b"99 path=x\n"),
            pax(b"13 size=-100\n"),
            pax(&vec![b'0'; 2 << 20]),
            pax(b""),
        ];
        expect![[r#"
            "DIR/image.tar" is not a tar archive
            "DIR/image.tar" is damaged: there is no header at byte 1024
            "DIR/image.tar" is truncated within its entry "huge"
            "DIR/image.tar" is damaged: a size that is no number at byte 512
            "DIR/image.tar" is damaged: an extension header that cannot be read at byte 1024
            "DIR/image.tar" is damaged: a size that is no number at byte 1024
            "DIR/image.tar" is damaged: an extension header of more than 1 MiB at byte 512
            "DIR/image.tar" is truncated"#]]
        .assert_eq(&found.join("\n"));
    }

    /// Files that are no plain tar archives; what to do about compressed ones.
    #[test]
    fn not_an_archive() {
        let found = [
            error(b""),
            error(b"short"),
            error(&[b'x'; 2000]),
            error(b"\xfd7zXZ\0 and more"),
            error(b"BZh9 and more"),
        ];
        expect![[r#"
            "DIR/image.tar" is truncated: it has no bytes
            "DIR/image.tar" is not a tar archive
            "DIR/image.tar" is not a tar archive
            "DIR/image.tar" is compressed with xz, and is read plain, or compressed with gzip or zstd; decompress it first:
                xz --decompress --keep DIR/image.tar
            "DIR/image.tar" is compressed with bzip2, and is read plain, or compressed with gzip or zstd; decompress it first:
                bzip2 --decompress --keep DIR/image.tar"#]].assert_eq(&found.join("\n"));
    }

    /// The command can be pasted into a shell.
    #[test]
    fn shell_words() {
        let words = ["a/b.tar", "with space", "it's", "-rf", "~x"].map(shell_word);
        expect![[r#"a/b.tar  'with space'  'it'\''s'  './-rf'  '~x'"#]]
            .assert_eq(&words.join("  "));
    }

    /// Things that are no files, a pipe that nobody writes to among them.
    #[test]
    fn no_files() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("directory"))?;
        let _socket = std::os::unix::net::UnixListener::bind(at("socket"))?;
        std::os::unix::fs::symlink("circle", at("circle"))?;
        let made = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status()?;
        assert!(made.success());
        let text = |path: &Path| match Archive::open(path, &CancellationToken::new()) {
            Ok(_) => "no error".to_owned(),
            Err(error) => chain(&error, directory.path()),
        };
        let found =
            ["directory", "socket", "pipe", "circle", "nothing"].map(|name| text(&at(name)));
        expect![[r#"
            "DIR/directory" is a directory, not a file
            "DIR/socket" is a socket, not a file
            "DIR/pipe" is a pipe, not a file
            cannot read "DIR/circle": Too many levels of symbolic links (os error 40)
            cannot read "DIR/nothing": No such file or directory (os error 2)"#]]
        .assert_eq(&found.join("\n"));
        expect![[r#""/dev/null" is a device, not a file"#]]
            .assert_eq(&text(Path::new("/dev/null")));
        Ok(())
    }
}
