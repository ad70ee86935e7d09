//! Sources: what the user wrote, and how it is read.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::{
    Error, Image, ImageName, LoadOptions, Origin,
    archive::{Archive, Opened, shell_word},
    aside::aside,
    compress::Pool,
    daemon, docker,
    file::{InputFile, read_cached},
    layout,
    memo::Memo,
    remote, stream,
    walk::Store,
    work::{Scans, Turns, Work},
};

/// Something that gives the bytes of a blob, from the start, each time.
pub trait BlobSource: Send + Sync + std::fmt::Debug {
    /// Opens the blob. Blocking, as is reading it.
    ///
    /// Readers check what they give: when the digest is wrong (unless that is left to the
    /// registry) or the file has changed, they fail before the last bytes. The [`Error`] is inside the
    /// [`std::io::Error`]; [`Error::find`] gets it out, from below other errors too.
    fn open(&self) -> Result<Box<dyn BlobReader>, Error>;

    /// The repository that it is in already, when it comes from a registry.
    fn origin(&self) -> Option<&Origin> {
        None
    }

    /// Says what is wrong with a blob that a registry refuses because of its digest: reads all of
    /// it where that was not done while it was sent.
    fn verify(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Reads a blob from its start to its end.
pub trait BlobReader: Read + Send {
    /// Reads what is in memory already, so that nobody has to wait for it and no thread has to be
    /// found that may. 0 when there is no such thing, or when nobody can say: then [`Read::read`]
    /// has the bytes, or the error. A reader with checks at its end gives its last bytes only there.
    fn read_at_once(&mut self, _buffer: &mut [u8]) -> usize {
        0
    }
}

impl<R: BlobReader + ?Sized> BlobReader for Box<R> {
    fn read_at_once(&mut self, buffer: &mut [u8]) -> usize {
        (**self).read_at_once(buffer)
    }
}

/// A file is read where its position is.
impl BlobReader for File {
    fn read_at_once(&mut self, buffer: &mut [u8]) -> usize {
        read_cached(self, None, buffer)
    }
}

/// A reader that is always waited for: what it gives is made or fetched first, or it is not worth
/// asking.
pub struct Waits<R>(pub R);

impl<R: Read> Read for Waits<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Send> BlobReader for Waits<R> {}

/// Where an image comes from, as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the parts of the text")]
pub enum Source {
    /// `docker-archive:FILE[:REF]`
    DockerArchive {
        file: PathBuf,
        reference: Option<String>,
    },
    /// `docker-daemon:NAME[:TAG]`, or an image's id.
    DockerDaemon { name: String },
    /// `oci:DIR[:TAG]`: an image layout directory.
    Layout {
        directory: PathBuf,
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: an image layout in an archive.
    LayoutArchive { file: PathBuf, tag: Option<String> },
    /// `docker://HOST/NAME:TAG` or `@DIGEST`: an image of another registry.
    Registry { reference: ImageName },
    /// A path that says by its content which of the others it is.
    Path {
        path: PathBuf,
        reference: Option<String>,
    },
}

impl Source {
    /// Reads what the user wrote. As with skopeo, the first colon after the kind ends the
    /// path, and `@NUMBER` instead of a name chooses by place.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let syntax = |problem: String| Error::Syntax {
            text: text.to_owned(),
            problem,
        };
        let transport = text.split_once(':').map(|(transport, _)| transport);
        let (transport, rest) = match (transport, text.split_once(':')) {
            (Some("docker-daemon"), Some((_, name))) => {
                return daemon::checked_name(name)
                    .map(|name| Self::DockerDaemon { name })
                    .map_err(syntax);
            }
            (Some("docker"), Some((_, rest))) => {
                let Some(name) = rest.strip_prefix("//") else {
                    return Err(syntax("docker: is to be followed by //".to_owned()));
                };
                return ImageName::parse(name)
                    .map(|reference| Self::Registry { reference })
                    .map_err(syntax);
            }
            (Some("docker-archive" | "oci" | "oci-archive"), Some(parts)) => parts,
            (Some(other), _) if LATER.contains(&other) => {
                return Err(syntax(format!(
                    "sources of the kind {other}: are not read by this version"
                )));
            }
            // A name of an image has a colon, too; a path has to look like one.
            (Some(_), _) if !text.starts_with(['/', '.']) => {
                return Err(syntax("it does not say what it is".to_owned()));
            }
            _ if text.is_empty() => {
                return Err(syntax("it does not say what it is".to_owned()));
            }
            _ => ("", text),
        };
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(syntax("it has no path".to_owned()));
        }
        if name == Some("") {
            return Err(syntax("nothing follows the last colon".to_owned()));
        }
        if let Some(number) = name.and_then(|name| name.strip_prefix('@'))
            && !number.starts_with("sha256:")
            && number.parse::<usize>().is_err()
        {
            return Err(syntax(format!("{number:?} after @ is no number")));
        }
        let (path, name) = (PathBuf::from(path), name.map(str::to_owned));
        Ok(match transport {
            "oci" => Self::Layout {
                directory: path,
                tag: name,
            },
            "oci-archive" => Self::LayoutArchive {
                file: path,
                tag: name,
            },
            "docker-archive" => Self::DockerArchive {
                file: path,
                reference: name,
            },
            _ => Self::Path {
                path,
                reference: name,
            },
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Self::DockerArchive { file, reference } => ("docker-archive:", file, reference),
            Self::DockerDaemon { name } => return write!(f, "docker-daemon:{name}"),
            Self::Registry { reference } => return write!(f, "docker://{reference}"),
            Self::Layout { directory, tag } => ("oci:", directory, tag),
            Self::LayoutArchive { file, tag } => ("oci-archive:", file, tag),
            Self::Path { path, reference } => ("", path, reference),
        };
        write!(f, "{transport}{}", path.display())?;
        match name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

/// Reads sources, and remembers for the life of the process what compressing
/// an unchanged file gave. Clones share what they remember.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    memo: Arc<Memo>,
    pool: Arc<Pool>,
    scans: Arc<Scans>,
    turns: Arc<Turns>,
}

impl Loader {
    /// Reads a source with the default options, see [`load_with`](Self::load_with).
    pub fn load(&self, source: &Source, stop: &CancellationToken) -> Result<Image, Error> {
        self.load_with(source, &LoadOptions::default(), stop)
    }

    /// Reads a source to the point where its digest is known: checks what it
    /// reads, and compresses (into the cache, if there is one) layers that come
    /// uncompressed and are not known. Blocking; ends with [`Error::Stopped`]
    /// soon after `stop`, also while a read hangs.
    pub fn load_with(
        &self,
        source: &Source,
        options: &LoadOptions,
        stop: &CancellationToken,
    ) -> Result<Image, Error> {
        let (loader, source, options) = (self.clone(), source.clone(), options.clone());
        let stopping = stop.clone();
        aside(stop, move || loader.read(&source, &options, &stopping))
    }

    fn read(
        &self,
        source: &Source,
        options: &LoadOptions,
        stop: &CancellationToken,
    ) -> Result<Image, Error> {
        let shown = source.to_string();
        let work = Work {
            loader: self,
            options,
            stop,
            shown: &shown,
        };
        match source {
            Source::DockerArchive { file, reference } => {
                let name = reference.as_deref();
                docker::load(&work, &*work.archive(file, name)?, name)
            }
            Source::DockerDaemon { name } => daemon::load(&work, name),
            Source::Registry { reference } => remote::load(&work, reference),
            Source::Layout { directory, tag } => layout::load(&work, directory, tag.as_deref()),
            Source::LayoutArchive { file, tag } => {
                let archive = work.archive(file, tag.as_deref())?;
                layout::load_from(&work, &Store::Archive(&archive), tag.as_deref())
            }
            Source::Path { path, reference } => work.recognise(path, reference.as_deref()),
        }
    }

    pub(super) fn memo(&self) -> &Memo {
        &self.memo
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(super) fn scans(&self) -> &Scans {
        &self.scans
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }
}

impl Work<'_> {
    /// An archive, plain or compressed as a whole.
    fn archive(&self, path: &Path, name: Option<&str>) -> Result<Arc<Archive>, Error> {
        match Archive::open(path, self.stop) {
            Ok(Opened::Archive(archive)) => Ok(Arc::new(archive)),
            Ok(Opened::Packed(file, packing)) => {
                let _turn = self
                    .loader
                    .turns()
                    .take(&InputFile::key(&file), self.stop)?;
                stream::open_file(self, file, packing)
            }
            Err(error @ Error::NotAFile { .. }) => {
                Err(other_directory(path, name).unwrap_or(error))
            }
            Err(error @ Error::NotAnArchive { .. }) => {
                Err(file_of_layout(path, name).unwrap_or(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads whatever is at a path.
    fn recognise(&self, path: &Path, reference: Option<&str>) -> Result<Image, Error> {
        let metadata = std::fs::metadata(path).map_err(|cause| Error::Read {
            place: format!("{path:?}"),
            cause,
        })?;
        if metadata.is_dir() {
            return layout::load(self, path, reference);
        }
        let archive = self.archive(path, reference)?;
        // Docker's archives have both lists, and only one of them always tells the whole.
        if archive.find(docker::LIST)?.is_some() {
            return docker::load(self, &archive, reference);
        }
        if archive.find(layout::INDEX)?.is_some() {
            return layout::load_from(self, &Store::Archive(&archive), reference);
        }
        Err(other_archive(&archive, reference).unwrap_or_else(|| {
            archive.missing(docker::LIST, " and none \"index.json\", so it is no image")
        }))
    }

    /// The source as it was written, without what chooses an image in it.
    pub(super) fn without_choice(&self, choice: Option<&str>) -> &str {
        choice
            .and_then(|choice| self.shown.strip_suffix(choice)?.strip_suffix(':'))
            .unwrap_or(self.shown)
    }
}

/// What a directory is, when it is not what somebody wrote who named it; `None` when it is
/// nothing that we know.
pub(super) fn other_directory(path: &Path, name: Option<&str>) -> Option<Error> {
    if is_layout(path) {
        let is = "the directory of an image layout";
        return Some(other(path, is, write(&layout_at(path, name))));
    }
    let list = Store::Directory(path).find(docker::LIST).ok().flatten();
    if list.as_ref().is_some_and(docker::is_list) {
        let advice = format!(
            "pack it again, and write \"docker-archive:FILE\":\n    tar --create --file FILE --directory {} .",
            shell_word(&path.to_string_lossy())
        );
        return Some(other(path, "an unpacked archive of docker save", advice));
    }
    let version = Store::Directory(path).find("version").ok().flatten()?;
    let version = version.document().ok()?;
    version.starts_with(SKOPEO_DIRECTORY).then(|| {
        let advice = format!(
            "make an image layout of it, and write \"oci:DIRECTORY\":\n    skopeo copy dir:{} oci:DIRECTORY",
            shell_word(&path.to_string_lossy())
        );
        other(path, "what skopeo writes for dir:, which is not read", advice)
    })
}

/// The same for a file that was taken for a directory.
pub(super) fn other_file(
    path: &Path,
    name: Option<&str>,
    stop: &CancellationToken,
) -> Result<Option<Error>, Error> {
    if let Some(error) = file_of_layout(path, name) {
        return Ok(Some(error));
    }
    let (docker, layout) = (docker_archive(path, name), layout_archive(path, name));
    Ok(match Archive::open(path, stop) {
        Ok(Opened::Archive(archive)) => other_archive(&archive, name),
        // To know more takes as long as reading all of it.
        Ok(Opened::Packed(..)) => {
            let advice = format!(
                "{} if docker save wrote it, and {:?} if an image layout is in it",
                write(&docker),
                layout.to_string()
            );
            Some(other(path, "a compressed file", advice))
        }
        Err(Error::Stopped) => return Err(Error::Stopped),
        // Whatever it is, it is no directory, and that can be said without knowing more.
        Err(_) => None,
    })
}

/// The same for an archive.
pub(super) fn other_archive(archive: &Archive, name: Option<&str>) -> Option<Error> {
    let path = archive.path();
    // What was cut off may be anything, and Docker's socket has but one form.
    if !archive.is_complete() || !archive.is_file() {
        return None;
    }
    let find = |name: &str| archive.find(name).ok().flatten();
    if find(docker::LIST).as_ref().is_some_and(docker::is_list) {
        let advice = write(&docker_archive(path, name));
        return Some(other(path, "an archive of docker save", advice));
    }
    let is_layout = |folder: &str| {
        let has = |name| find(&format!("{folder}{name}")).is_some();
        has(layout::MARK) && has(layout::INDEX)
    };
    if is_layout("") {
        let advice = write(&layout_archive(path, name));
        return Some(other(path, "an image layout in an archive", advice));
    }
    if FILE_SYSTEM.iter().any(|name| find(name).is_some()) {
        let advice = "docker export writes such archives; save the image instead:\n    docker save --output FILE IMAGE";
        return Some(other(
            path,
            "an archive of a file system, and no image",
            advice,
        ));
    }
    // Somebody packed the directory, and not what is in it.
    let folder = |name: &str| {
        let folder = name.strip_suffix(layout::MARK);
        let folder = folder.or_else(|| name.strip_suffix(docker::LIST))?;
        folder.ends_with('/').then(|| folder.to_owned())
    };
    let mut folders: Vec<String> = archive.names().filter_map(folder).collect();
    folders.sort_by_cached_key(|folder| (folder.matches('/').count(), folder.clone()));
    folders.dedup();
    let folder = folders.into_iter().take(LOOKED_INTO).find(|folder| {
        let list = find(&format!("{folder}{}", docker::LIST));
        is_layout(folder) || list.as_ref().is_some_and(docker::is_list)
    })?;
    let folder = folder.trim_end_matches('/');
    let advice = format!(
        "pack what is in that directory, and not the directory:\n    tar --create --file FILE --directory {} .",
        shell_word(folder)
    );
    let is = format!("an archive with an image in its directory {folder:?}");
    Some(other(path, is, advice))
}

/// A file of an image layout that somebody named instead of its directory.
fn file_of_layout(path: &Path, name: Option<&str>) -> Option<Error> {
    let file = path.file_name()?;
    if file != layout::MARK && file != layout::INDEX {
        return None;
    }
    let directory = match path.parent()? {
        parent if parent == Path::new("") => Path::new("."),
        parent => parent,
    };
    is_layout(directory).then(|| {
        let advice = write(&layout_at(directory, name));
        other(path, "a file of an image layout", advice)
    })
}

fn is_layout(path: &Path) -> bool {
    path.join(layout::MARK).is_file() && path.join(layout::INDEX).is_file()
}

fn layout_at(directory: &Path, name: Option<&str>) -> Source {
    Source::Layout {
        directory: directory.to_owned(),
        tag: name.map(str::to_owned),
    }
}

fn layout_archive(file: &Path, name: Option<&str>) -> Source {
    Source::LayoutArchive {
        file: file.to_owned(),
        tag: name.map(str::to_owned),
    }
}

fn docker_archive(file: &Path, name: Option<&str>) -> Source {
    Source::DockerArchive {
        file: file.to_owned(),
        reference: name.map(str::to_owned),
    }
}

fn write(source: &Source) -> String {
    format!("write {:?}", source.to_string())
}

fn other(path: &Path, is: impl Into<String>, advice: impl Into<String>) -> Error {
    Error::OtherForm {
        path: path.to_owned(),
        is: is.into(),
        advice: advice.into(),
    }
}

/// What `docker export` and `podman export` write of a container, and what is in most other
/// archives of a file system.
const FILE_SYSTEM: [&str; 3] = [".dockerenv", "run/.containerenv", "etc/passwd"];

/// How the file `version` begins in what skopeo writes for `dir:`.
const SKOPEO_DIRECTORY: &[u8] = b"Directory Transport Version";

/// Directories of an archive that are looked into: an error need not read on for ever.
const LOOKED_INTO: usize = 16;

/// What skopeo knows, and this version does not read.
const LATER: [&str; 5] = ["containers-storage", "dir", "ostree", "sif", "tarball"];

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use expect_test::expect;

    use super::*;
    use crate::image::testing::{
        Layout, OCI_GZIP, OCI_TAR, Tar, chain, docker_archive as saved, gzip, layer,
    };

    /// The first colon after the transport ends the path; what is written is printed back.
    #[test]
    fn parses() -> anyhow::Result<()> {
        let mut found = String::new();
        for text in [
            "docker-archive:image.tar",
            "docker-archive:/p/x.tar:name:tag",
            "docker-archive:x.tar:localhost:5000/name:tag",
            "docker-archive:x.tar:@1",
            "oci:dir",
            "oci:/some/dir:v1.0",
            "oci:dir:host/name:v1",
            "oci:dir:@sha256:01",
            "oci-archive:x.tar.gz:v1",
            "docker-daemon:alpine",
            "docker-daemon:localhost:5000/team/web:1.0",
            "docker-daemon:sha256:0123",
            "docker://alpine",
            "docker://localhost:5000/team/web:1.0",
            "image.tar",
            "./image.tar:name:tag",
            "/p/layout:v1",
        ] {
            let source = Source::parse(text)?;
            assert_eq!(source.to_string(), text);
            found += &format!("{source:?}\n");
        }
        expect![[r#"
            DockerArchive { file: "image.tar", reference: None }
            DockerArchive { file: "/p/x.tar", reference: Some("name:tag") }
            DockerArchive { file: "x.tar", reference: Some("localhost:5000/name:tag") }
            DockerArchive { file: "x.tar", reference: Some("@1") }
            Layout { directory: "dir", tag: None }
            Layout { directory: "/some/dir", tag: Some("v1.0") }
            Layout { directory: "dir", tag: Some("host/name:v1") }
            Layout { directory: "dir", tag: Some("@sha256:01") }
            LayoutArchive { file: "x.tar.gz", tag: Some("v1") }
            DockerDaemon { name: "alpine" }
            DockerDaemon { name: "localhost:5000/team/web:1.0" }
            DockerDaemon { name: "sha256:0123" }
            Registry { reference: ImageName { text: "alpine", host: "docker.io", repository: "library/alpine", tag: "latest", digest: None } }
            Registry { reference: ImageName { text: "localhost:5000/team/web:1.0", host: "localhost:5000", repository: "team/web", tag: "1.0", digest: None } }
            Path { path: "image.tar", reference: None }
            Path { path: "./image.tar", reference: Some("name:tag") }
            Path { path: "/p/layout", reference: Some("v1") }
        "#]]
        .assert_eq(&found);
        Ok(())
    }

    /// Files whose layers take minutes to read: a stop ends every way of reading
    /// them within a second.
    #[test]
    fn stops_in_the_middle() -> anyhow::Result<()> {
        const SIZE: u64 = 1 << 40;
        let mut layout = Layout::new()?;
        let mut blob = layout.blob(OCI_TAR, b"layer")?;
        blob["size"] = SIZE.into();
        let image = layout.image(std::slice::from_ref(&blob))?;
        layout.add(image, None)?;
        // A file with a hole takes no room on the disk.
        let digest = blob["digest"].as_str().unwrap_or_default();
        std::fs::File::create(layout.blob_path(digest))?.set_len(SIZE)?;
        let compressed = Source::Layout {
            directory: layout.path().to_owned(),
            tag: None,
        };

        let folder = tempfile::tempdir()?;
        let archives = [("raw.tar", &b"\0\0"[..]), ("gzip.tar", &b"\x1f\x8b"[..])];
        let mut sources = vec![compressed];
        for (name, magic) in archives {
            let file = folder.path().join(name);
            huge_archive(&file, magic, SIZE)?;
            sources.push(Source::DockerArchive {
                file,
                reference: None,
            });
        }
        for source in sources {
            let stop = CancellationToken::new();
            let stopper = stop.clone();
            let stopping = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                stopper.cancel();
                Instant::now()
            });
            // Not `load`, which would leave the work behind.
            let result = Loader::default().read(&source, &LoadOptions::default(), &stop);
            let stopped = stopping.join().map_err(|_| anyhow::anyhow!("panic"))?;
            assert!(
                matches!(result, Err(Error::Stopped)),
                "{source}: {result:?}"
            );
            let elapsed = stopped.elapsed();
            assert!(elapsed < Duration::from_secs(1), "{source}: {elapsed:?}");
        }
        Ok(())
    }

    /// An archive of `docker save` with one layer that is a hole after its first bytes.
    fn huge_archive(path: &std::path::Path, magic: &[u8], size: u64) -> anyhow::Result<()> {
        use std::io::{Seek as _, SeekFrom, Write as _};

        let config = r#"{"rootfs":{"type":"layers","diff_ids":["sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"]}}"#;
        let manifest = r#"[{"Config":"config.json","RepoTags":null,"Layers":["layer.tar"]}]"#;
        let mut file = std::fs::File::create(path)?;
        let entry = |name: &str, size: u64| -> anyhow::Result<tar::Header> {
            let mut header = tar::Header::new_gnu();
            header.set_path(name)?;
            header.set_size(size);
            header.set_mode(0o644);
            header.set_cksum();
            Ok(header)
        };
        for (name, text) in [("config.json", config), ("manifest.json", manifest)] {
            file.write_all(entry(name, text.len() as u64)?.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.seek(SeekFrom::Current(512 - text.len() as i64))?;
        }
        file.write_all(entry("layer.tar", size)?.as_bytes())?;
        file.write_all(magic)?;
        let end = file.seek(SeekFrom::Current(size as i64 - magic.len() as i64))?;
        file.set_len(end + 1024)?;
        Ok(())
    }

    /// A pipe in the place of a source does not wait for somebody to write.
    #[test]
    fn pipes_are_refused() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let pipe = folder.path().join("pipe");
        anyhow::ensure!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()?
                .success()
        );
        let mut layout = Layout::new()?;
        let blob = layout.blob(OCI_TAR, b"layer")?;
        let image = layout.image(std::slice::from_ref(&blob))?;
        layout.add(image, None)?;
        let path = layout.blob_path(blob["digest"].as_str().unwrap_or_default());
        std::fs::remove_file(&path)?;
        std::fs::rename(&pipe, &path)?;
        let start = Instant::now();
        let sources = [
            Source::DockerArchive {
                file: path.clone(),
                reference: None,
            },
            Source::Layout {
                directory: layout.path().to_owned(),
                tag: None,
            },
        ];
        for source in sources {
            let error = Loader::default()
                .load(&source, &CancellationToken::new())
                .expect_err("it is a pipe");
            assert!(matches!(error, Error::NotAFile { .. }), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(1));
        Ok(())
    }

    /// One of everything that somebody may take for an image, in a folder.
    fn everything(folder: &Path) -> anyhow::Result<()> {
        let mut layout = Layout::new()?;
        let blob = layout.blob(OCI_GZIP, &gzip(&layer("file", b"content")))?;
        let image = layout.image(std::slice::from_ref(&blob))?;
        layout.add(image, Some("v1"))?;
        let plain = layer("file", b"content");
        let saved = || saved(&[&plain], &[&plain]);
        let mut both = tar::Archive::new(std::io::Cursor::new(layout.archive()?.bytes()));
        let both = both.entries()?.try_fold(saved(), |tar, entry| {
            let mut entry = entry?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            let name = entry.path()?.display().to_string();
            anyhow::Ok(tar.file(&name, &bytes))
        })?;
        let below = |tar: Tar, folder: &str| {
            let mut nested = tar::Archive::new(std::io::Cursor::new(tar.bytes()));
            nested.entries()?.try_fold(Tar::new(), |tar, entry| {
                let mut entry = entry?;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                let name = format!("{folder}/{}", entry.path()?.display());
                anyhow::Ok(tar.file(&name, &bytes))
            })
        };
        let files = [
            ("saved.tar", saved().bytes()),
            ("saved-and-layout.tar", both.bytes()),
            ("saved.tar.gz", gzip(&saved().bytes())),
            ("layout.tar", layout.archive()?.bytes()),
            ("layout.tar.gz", gzip(&layout.archive()?.bytes())),
            ("folder-saved.tar", below(saved(), "it's")?.bytes()),
            (
                "folder-layout.tar",
                below(layout.archive()?, "a/b")?.bytes(),
            ),
            (
                "exported.tar",
                Tar::new()
                    .file("app/manifest.json", b"{}")
                    .file("etc/passwd", b"root:x:0:0::/:/bin/sh")
                    .bytes(),
            ),
            (
                "other.tar",
                Tar::new()
                    .file("manifest.json", b"{}")
                    .file("app/manifest.json", b"{}")
                    .bytes(),
            ),
            // The end of the archive, which may be all that tells what it is, is not there.
            ("cut-off.tar", layout.archive()?.bytes()[..1024].to_vec()),
            ("cut-off.tar.gz", gzip(&layout.archive()?.bytes()[..1024])),
            ("text", b"FROM scratch".to_vec()),
            ("empty", Vec::new()),
            ("saved.tar.xz", b"\xfd7zXZ\0rest".to_vec()),
        ];
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes)?;
        }
        tar::Archive::new(std::io::Cursor::new(layout.archive()?.bytes()))
            .unpack(folder.join("layout"))?;
        tar::Archive::new(std::io::Cursor::new(layout.archive()?.bytes()))
            .unpack(folder.join("unmarked"))?;
        std::fs::remove_file(folder.join("unmarked/oci-layout"))?;
        tar::Archive::new(std::io::Cursor::new(saved().bytes())).unpack(folder.join("unpacked"))?;
        std::fs::create_dir(folder.join("nothing"))?;
        std::fs::create_dir(folder.join("skopeo"))?;
        std::fs::write(
            folder.join("skopeo/version"),
            "Directory Transport Version: 1.1\n",
        )?;
        std::fs::write(folder.join("skopeo/manifest.json"), "{}")?;
        Ok(())
    }

    /// Every form over everything: it is read, or the error says what it is and how that is
    /// written; and what it says to write is read.
    #[test]
    fn every_form_of_everything() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        everything(folder.path())?;
        let mut names: Vec<String> = std::fs::read_dir(folder.path())?
            .map(|entry| Ok(entry?.file_name().display().to_string()))
            .collect::<anyhow::Result<_>>()?;
        names.sort();
        // A file of a layout, and nothing at all.
        names.extend(["layout/index.json".to_owned(), "missing".to_owned()]);
        const FORMS: [&str; 3] = ["docker-archive:", "oci:", "oci-archive:"];
        let load = |text: &str| {
            let source = Source::parse(text)?;
            Loader::default().load(&source, &CancellationToken::new())
        };
        let mut found = String::new();
        for name in names {
            found += &format!("{name}\n");
            for form in FORMS.into_iter().chain([""]) {
                let text = format!("{form}{}/{name}", folder.path().display());
                let said = match load(&text) {
                    Ok(_) => "read".to_owned(),
                    Err(error) => {
                        let said = chain(&error, Path::new("nothing is left out"));
                        // What is in quotes and begins as a source does.
                        let advised: Vec<&str> = said
                            .split('"')
                            .filter(|part| {
                                FORMS
                                    .iter()
                                    .any(|form| part.starts_with(&format!("{form}/")))
                            })
                            .collect();
                        let is_read = |text: &&str| load(text).is_ok();
                        assert!(
                            advised.is_empty()
                                || name.starts_with("cut-off")
                                || advised.iter().any(is_read),
                            "{text}: {said}"
                        );
                        chain(&error, folder.path())
                    }
                };
                let form = if form.is_empty() { "path" } else { form };
                found += &format!("  {form} {said}\n");
            }
        }
        expect![[r#"
            cut-off.tar
              docker-archive: "DIR/cut-off.tar" is truncated
              oci: "DIR/cut-off.tar" is a file, not the directory of an image layout; an archive is written docker-archive:FILE or oci-archive:FILE
              oci-archive: "DIR/cut-off.tar" is truncated
              path "DIR/cut-off.tar" is truncated
            cut-off.tar.gz
              docker-archive: "DIR/cut-off.tar.gz" is truncated
              oci: "DIR/cut-off.tar.gz" is a compressed file: write "docker-archive:DIR/cut-off.tar.gz" if docker save wrote it, and "oci-archive:DIR/cut-off.tar.gz" if an image layout is in it
              oci-archive: "DIR/cut-off.tar.gz" is truncated
              path "DIR/cut-off.tar.gz" is truncated
            empty
              docker-archive: "DIR/empty" is truncated: it has no bytes
              oci: "DIR/empty" is a file, not the directory of an image layout; an archive is written docker-archive:FILE or oci-archive:FILE
              oci-archive: "DIR/empty" is truncated: it has no bytes
              path "DIR/empty" is truncated: it has no bytes
            exported.tar
              docker-archive: "DIR/exported.tar" is an archive of a file system, and no image: docker export writes such archives; save the image instead:
                docker save --output FILE IMAGE
              oci: "DIR/exported.tar" is an archive of a file system, and no image: docker export writes such archives; save the image instead:
                docker save --output FILE IMAGE
              oci-archive: "DIR/exported.tar" is an archive of a file system, and no image: docker export writes such archives; save the image instead:
                docker save --output FILE IMAGE
              path "DIR/exported.tar" is an archive of a file system, and no image: docker export writes such archives; save the image instead:
                docker save --output FILE IMAGE
            folder-layout.tar
              docker-archive: "DIR/folder-layout.tar" is an archive with an image in its directory "a/b": pack what is in that directory, and not the directory:
                tar --create --file FILE --directory a/b .
              oci: "DIR/folder-layout.tar" is an archive with an image in its directory "a/b": pack what is in that directory, and not the directory:
                tar --create --file FILE --directory a/b .
              oci-archive: "DIR/folder-layout.tar" is an archive with an image in its directory "a/b": pack what is in that directory, and not the directory:
                tar --create --file FILE --directory a/b .
              path "DIR/folder-layout.tar" is an archive with an image in its directory "a/b": pack what is in that directory, and not the directory:
                tar --create --file FILE --directory a/b .
            folder-saved.tar
              docker-archive: "DIR/folder-saved.tar" is an archive with an image in its directory "it's": pack what is in that directory, and not the directory:
                tar --create --file FILE --directory 'it'\''s' .
              oci: "DIR/folder-saved.tar" is an archive with an image in its directory "it's": pack what is in that directory, and not the directory:
                tar --create --file FILE --directory 'it'\''s' .
              oci-archive: "DIR/folder-saved.tar" is an archive with an image in its directory "it's": pack what is in that directory, and not the directory:
                tar --create --file FILE --directory 'it'\''s' .
              path "DIR/folder-saved.tar" is an archive with an image in its directory "it's": pack what is in that directory, and not the directory:
                tar --create --file FILE --directory 'it'\''s' .
            layout
              docker-archive: "DIR/layout" is the directory of an image layout: write "oci:DIR/layout"
              oci: read
              oci-archive: "DIR/layout" is the directory of an image layout: write "oci:DIR/layout"
              path read
            layout.tar
              docker-archive: "DIR/layout.tar" is an image layout in an archive: write "oci-archive:DIR/layout.tar"
              oci: "DIR/layout.tar" is an image layout in an archive: write "oci-archive:DIR/layout.tar"
              oci-archive: read
              path read
            layout.tar.gz
              docker-archive: "DIR/layout.tar.gz" is an image layout in an archive: write "oci-archive:DIR/layout.tar.gz"
              oci: "DIR/layout.tar.gz" is a compressed file: write "docker-archive:DIR/layout.tar.gz" if docker save wrote it, and "oci-archive:DIR/layout.tar.gz" if an image layout is in it
              oci-archive: read
              path read
            nothing
              docker-archive: "DIR/nothing" is a directory, not a file
              oci: "DIR/nothing" is not an image layout: it has no file oci-layout
              oci-archive: "DIR/nothing" is a directory, not a file
              path "DIR/nothing" is not an image layout: it has no file oci-layout
            other.tar
              docker-archive: entry "manifest.json" of "DIR/other.tar" is not the list of images that docker save writes: invalid type: map, expected a sequence at line 1 column 0
              oci: "DIR/other.tar" is a file, not the directory of an image layout; an archive is written docker-archive:FILE or oci-archive:FILE
              oci-archive: "DIR/other.tar" is not an image layout: it has no file oci-layout
              path entry "manifest.json" of "DIR/other.tar" is not the list of images that docker save writes: invalid type: map, expected a sequence at line 1 column 0
            saved-and-layout.tar
              docker-archive: read
              oci: "DIR/saved-and-layout.tar" is an archive of docker save: write "docker-archive:DIR/saved-and-layout.tar"
              oci-archive: read
              path read
            saved.tar
              docker-archive: read
              oci: "DIR/saved.tar" is an archive of docker save: write "docker-archive:DIR/saved.tar"
              oci-archive: "DIR/saved.tar" is an archive of docker save: write "docker-archive:DIR/saved.tar"
              path read
            saved.tar.gz
              docker-archive: read
              oci: "DIR/saved.tar.gz" is a compressed file: write "docker-archive:DIR/saved.tar.gz" if docker save wrote it, and "oci-archive:DIR/saved.tar.gz" if an image layout is in it
              oci-archive: "DIR/saved.tar.gz" is an archive of docker save: write "docker-archive:DIR/saved.tar.gz"
              path read
            saved.tar.xz
              docker-archive: "DIR/saved.tar.xz" is compressed with xz, and is read plain, or compressed with gzip or zstd; decompress it first:
                xz --decompress --keep DIR/saved.tar.xz
              oci: "DIR/saved.tar.xz" is a file, not the directory of an image layout; an archive is written docker-archive:FILE or oci-archive:FILE
              oci-archive: "DIR/saved.tar.xz" is compressed with xz, and is read plain, or compressed with gzip or zstd; decompress it first:
                xz --decompress --keep DIR/saved.tar.xz
              path "DIR/saved.tar.xz" is compressed with xz, and is read plain, or compressed with gzip or zstd; decompress it first:
                xz --decompress --keep DIR/saved.tar.xz
            skopeo
              docker-archive: "DIR/skopeo" is what skopeo writes for dir:, which is not read: make an image layout of it, and write "oci:DIRECTORY":
                skopeo copy dir:DIR/skopeo oci:DIRECTORY
              oci: "DIR/skopeo" is what skopeo writes for dir:, which is not read: make an image layout of it, and write "oci:DIRECTORY":
                skopeo copy dir:DIR/skopeo oci:DIRECTORY
              oci-archive: "DIR/skopeo" is what skopeo writes for dir:, which is not read: make an image layout of it, and write "oci:DIRECTORY":
                skopeo copy dir:DIR/skopeo oci:DIRECTORY
              path "DIR/skopeo" is what skopeo writes for dir:, which is not read: make an image layout of it, and write "oci:DIRECTORY":
                skopeo copy dir:DIR/skopeo oci:DIRECTORY
            text
              docker-archive: "DIR/text" is not a tar archive
              oci: "DIR/text" is a file, not the directory of an image layout; an archive is written docker-archive:FILE or oci-archive:FILE
              oci-archive: "DIR/text" is not a tar archive
              path "DIR/text" is not a tar archive
            unmarked
              docker-archive: "DIR/unmarked" is a directory, not a file
              oci: "DIR/unmarked" is not an image layout: it has no file oci-layout
              oci-archive: "DIR/unmarked" is a directory, not a file
              path "DIR/unmarked" is not an image layout: it has no file oci-layout
            unpacked
              docker-archive: "DIR/unpacked" is an unpacked archive of docker save: pack it again, and write "docker-archive:FILE":
                tar --create --file FILE --directory DIR/unpacked .
              oci: "DIR/unpacked" is an unpacked archive of docker save: pack it again, and write "docker-archive:FILE":
                tar --create --file FILE --directory DIR/unpacked .
              oci-archive: "DIR/unpacked" is an unpacked archive of docker save: pack it again, and write "docker-archive:FILE":
                tar --create --file FILE --directory DIR/unpacked .
              path "DIR/unpacked" is an unpacked archive of docker save: pack it again, and write "docker-archive:FILE":
                tar --create --file FILE --directory DIR/unpacked .
            layout/index.json
              docker-archive: "DIR/layout/index.json" is a file of an image layout: write "oci:DIR/layout"
              oci: "DIR/layout/index.json" is a file of an image layout: write "oci:DIR/layout"
              oci-archive: "DIR/layout/index.json" is a file of an image layout: write "oci:DIR/layout"
              path "DIR/layout/index.json" is a file of an image layout: write "oci:DIR/layout"
            missing
              docker-archive: cannot read "DIR/missing": No such file or directory (os error 2)
              oci: cannot read "DIR/missing": No such file or directory (os error 2)
              oci-archive: cannot read "DIR/missing": No such file or directory (os error 2)
              path cannot read "DIR/missing": No such file or directory (os error 2)
        "#]].assert_eq(&found);
        Ok(())
    }

    /// What chooses an image goes along into the advice.
    #[test]
    fn names_go_along() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        everything(folder.path())?;
        let error = |text: &str| {
            let text = text.replace("DIR", &folder.path().display().to_string());
            let loaded = Loader::default().load(
                &Source::parse(&text).expect("it is a source"),
                &CancellationToken::new(),
            );
            chain(&loaded.expect_err("it is another form"), folder.path())
        };
        expect![[r#""DIR/layout" is the directory of an image layout: write "oci:DIR/layout:v1""#]]
            .assert_eq(&error("docker-archive:DIR/layout:v1"));
        expect![[r#""DIR/layout.tar.gz" is an image layout in an archive: write "oci-archive:DIR/layout.tar.gz:v1""#]].assert_eq(&error("docker-archive:DIR/layout.tar.gz:v1"));
        expect![[r#""DIR/saved.tar" is an archive of docker save: write "docker-archive:DIR/saved.tar:team/web:1.0""#]].assert_eq(&error("oci:DIR/saved.tar:team/web:1.0"));
        Ok(())
    }

    /// Everything else is told what this version reads.
    #[test]
    fn refuses() {
        let mut found = String::new();
        for text in [
            "",
            "alpine:latest",
            "registry.example.com/team/web:1.0",
            "./image.tar:",
            "docker-archive:",
            "docker-archive::tag",
            "docker-archive:x.tar:",
            "docker-archive:x.tar:@one",
            "oci:",
            "oci-archive:",
            "docker-daemon:",
            "docker-daemon:--help",
            "docker-daemon:../x y",
            "dir:x",
            "docker:alpine",
            "docker://quay.io/Team/web",
            "docker://",
        ] {
            let error = Source::parse(text).expect_err("it is no source");
            found += &format!("{error}\n");
        }
        expect![[r#"
            "" is not understood: it does not say what it is; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "alpine:latest" is not understood: it does not say what it is; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "registry.example.com/team/web:1.0" is not understood: it does not say what it is; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "./image.tar:" is not understood: nothing follows the last colon; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker-archive:" is not understood: it has no path; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker-archive::tag" is not understood: it has no path; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker-archive:x.tar:" is not understood: nothing follows the last colon; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker-archive:x.tar:@one" is not understood: "one" after @ is no number; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "oci:" is not understood: it has no path; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "oci-archive:" is not understood: it has no path; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker-daemon:" is not understood: it names no image; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker-daemon:--help" is not understood: what follows docker-daemon: is no name of an image; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker-daemon:../x y" is not understood: what follows docker-daemon: is no name of an image; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "dir:x" is not understood: sources of the kind dir: are not read by this version; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker:alpine" is not understood: docker: is to be followed by //; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker://quay.io/Team/web" is not understood: its name must be in lower case, but has 'T'; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
            "docker://" is not understood: its name must not be empty; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
        "#]].assert_eq(&found);
    }
}
