//! Sources: what the user wrote, and how it is read.

use std::{fmt, io::Read, path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Error, Image, archive::Archive, compress::Pool, docker, layout, memo::Memo};

/// Something that gives the bytes of a blob, from the start, each time.
pub trait BlobSource: Send + Sync + std::fmt::Debug {
    /// Opens the blob. Blocking, as is reading it.
    ///
    /// Readers check what they give: when the digest is wrong or the file has
    /// changed, they fail before the last bytes. The [`Error`] is inside the
    /// [`std::io::Error`]; [`Error::find`] gets it out, from below other errors too.
    fn open(&self) -> Result<Box<dyn Read + Send>, Error>;
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
    /// `oci:DIR[:TAG]`: an image layout directory.
    Layout {
        directory: PathBuf,
        tag: Option<String>,
    },
}

impl Source {
    /// Reads `docker-archive:FILE[:REF]` or `oci:DIR[:TAG]`. As with skopeo, the
    /// first colon ends the path, and `@NUMBER` instead of a name chooses by
    /// place.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let syntax = |problem: String| Error::Syntax {
            text: text.to_owned(),
            problem,
        };
        let transport = text.split_once(':').map(|(transport, _)| transport);
        let (transport, rest) = match (transport, text.split_once(':')) {
            (Some("docker-archive" | "oci"), Some(parts)) => parts,
            (Some(other), _) if LATER.contains(&other) => {
                return Err(syntax(format!(
                    "sources of the kind {other}: are not read by this version"
                )));
            }
            _ => return Err(syntax("it does not say what it is".to_owned())),
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
            _ => Self::DockerArchive {
                file: path,
                reference: name,
            },
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Self::DockerArchive { file, reference } => ("docker-archive", file, reference),
            Self::Layout { directory, tag } => ("oci", directory, tag),
        };
        write!(f, "{transport}:{}", path.display())?;
        match name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

/// Reads sources, and remembers for the life of the process what compressing
/// an unchanged file gave.
#[derive(Debug, Default)]
pub struct Loader {
    memo: Memo,
    pool: Arc<Pool>,
}

impl Loader {
    /// Reads a source to the point where its digest is known: checks what it
    /// reads, and compresses (to learn digest and size) layers that come
    /// uncompressed. Blocking; ends with [`Error::Stopped`] soon after `stop`.
    pub fn load(&self, source: &Source, stop: &CancellationToken) -> Result<Image, Error> {
        match source {
            Source::DockerArchive { file, reference } => {
                let archive = Archive::open(file, stop)?;
                docker::load(self, &archive, reference.as_deref(), stop)
            }
            Source::Layout { directory, tag } => {
                layout::load(self, directory, tag.as_deref(), stop)
            }
        }
    }

    pub(super) fn memo(&self) -> &Memo {
        &self.memo
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

/// What skopeo knows, and this version does not read.
const LATER: [&str; 8] = [
    "containers-storage",
    "dir",
    "docker",
    "docker-daemon",
    "oci-archive",
    "ostree",
    "sif",
    "tarball",
];

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

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
        "#]]
        .assert_eq(&found);
        Ok(())
    }

    /// Everything else is told what this version reads.
    #[test]
    fn refuses() {
        let mut found = String::new();
        for text in [
            "",
            "image.tar",
            "/p/image.tar:latest",
            "docker-archive:",
            "docker-archive::tag",
            "docker-archive:x.tar:",
            "docker-archive:x.tar:@one",
            "oci:",
            "oci-archive:x.tar",
            "docker-daemon:alpine:latest",
            "docker://docker.io/library/alpine:latest",
        ] {
            let error = Source::parse(text).expect_err("it is no source");
            found += &format!("{error}\n");
        }
        expect![[r#"
            "" is not understood: it does not say what it is; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "image.tar" is not understood: it does not say what it is; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "/p/image.tar:latest" is not understood: it does not say what it is; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "docker-archive:" is not understood: it has no path; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "docker-archive::tag" is not understood: it has no path; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "docker-archive:x.tar:" is not understood: nothing follows the last colon; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "docker-archive:x.tar:@one" is not understood: "one" after @ is no number; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "oci:" is not understood: it has no path; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "oci-archive:x.tar" is not understood: sources of the kind oci-archive: are not read by this version; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "docker-daemon:alpine:latest" is not understood: sources of the kind docker-daemon: are not read by this version; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
            "docker://docker.io/library/alpine:latest" is not understood: sources of the kind docker: are not read by this version; write docker-archive:FILE[:REFERENCE] for what docker save writes, or oci:DIRECTORY[:TAG] for an image layout
        "#]].assert_eq(&found);
    }
}
