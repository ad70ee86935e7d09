//! Sources: what the user wrote, and how it is read.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::{
    Error, Image, ImageName, LoadOptions, Origin,
    archive::{Archive, Opened},
    aside::aside,
    compress::Pool,
    daemon, docker,
    file::InputFile,
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
    fn open(&self) -> Result<Box<dyn Read + Send>, Error>;

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
                docker::load(&work, &*work.archive(file)?, reference.as_deref())
            }
            Source::DockerDaemon { name } => daemon::load(&work, name),
            Source::Registry { reference } => remote::load(&work, reference),
            Source::Layout { directory, tag } => layout::load(&work, directory, tag.as_deref()),
            Source::LayoutArchive { file, tag } => {
                let archive = work.archive(file)?;
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
    fn archive(&self, path: &Path) -> Result<Arc<Archive>, Error> {
        match Archive::open(path, self.stop)? {
            Opened::Archive(archive) => Ok(Arc::new(archive)),
            Opened::Packed(file, packing) => {
                let _turn = self
                    .loader
                    .turns()
                    .take(&InputFile::key(&file), self.stop)?;
                stream::open_file(self, file, packing)
            }
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
        let archive = self.archive(path)?;
        // Docker's archives have both lists, and only one of them always tells the whole.
        if archive.find(docker::LIST)?.is_some() {
            return docker::load(self, &archive, reference);
        }
        if archive.find(layout::INDEX)?.is_some() {
            return layout::load_from(self, &Store::Archive(&archive), reference);
        }
        Err(archive.missing(docker::LIST, " and none \"index.json\", so it is no image"))
    }
}

/// What skopeo knows, and this version does not read.
const LATER: [&str; 5] = ["containers-storage", "dir", "ostree", "sif", "tarball"];

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use expect_test::expect;

    use super::*;
    use crate::image::testing::{Layout, OCI_TAR};

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
