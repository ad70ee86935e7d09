//! Why a source cannot be read.

use std::path::PathBuf;

use super::Digest;

/// A source that cannot be read. Texts name the file; names that come from
/// inside a source are quoted and escaped, since nobody vouches for them.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the parts of the text")]
pub enum Error {
    /// The source holds several images, and what was written chooses more than one.
    #[error("{file:?} holds {what}; choose one by {way}:{choices}")]
    Ambiguous {
        file: PathBuf,
        what: String,
        way: String,
        choices: String,
    },
    /// The archive file as a whole is compressed.
    #[error(
        "{file:?} is compressed with {format}, and is read plain, or compressed with gzip or zstd; decompress it first:\n    {command}"
    )]
    CompressedArchive {
        file: PathBuf,
        format: &'static str,
        command: String,
    },
    /// A blob of the cache is not what it was.
    #[error(
        "the cached copy of layer {digest} was damaged on disk; it has been removed, and is made again by the next run"
    )]
    CacheDamaged { digest: Digest },
    /// The source has no form in the media types that were asked for.
    #[error("{place} cannot become {target}: {problem}")]
    Conversion {
        place: String,
        target: &'static str,
        problem: String,
    },
    /// Docker's socket does not give the image.
    #[error("{address} {problem}")]
    Daemon {
        address: String,
        problem: String,
        /// The daemon answers, and has no such image.
        is_missing: bool,
    },
    /// A tar header that is not one, in the middle of an archive.
    #[error("{file:?} is damaged: {problem} at byte {position}")]
    DamagedArchive {
        file: PathBuf,
        position: u64,
        problem: String,
    },
    /// A file that is compressed as a whole, and cannot be decompressed.
    #[error("{file:?} cannot be decompressed with {format}")]
    Decompress {
        file: PathBuf,
        format: &'static str,
        #[source]
        cause: std::io::Error,
    },
    /// Bytes that are not what their digest says.
    #[error("{place} is corrupt: it should have the digest {expected}, and has {actual}")]
    Digest {
        place: String,
        expected: Digest,
        actual: Digest,
    },
    /// Not a digest that we know how to check.
    #[error(
        "{text:?} is not a digest of the form \"sha256:\" and 64 lower-case hexadecimal digits"
    )]
    DigestSyntax { text: String },
    /// Two files of an archive have one name, so readers disagree about its content.
    #[error("{file:?} holds two entries named {entry:?}")]
    DuplicateEntry { file: PathBuf, entry: String },
    /// A document that is not JSON, or not the JSON that belongs there.
    #[error("{place} is not {expected}")]
    Json {
        place: String,
        expected: &'static str,
        #[source]
        cause: serde_json::Error,
    },
    /// A link inside an archive that leads nowhere.
    #[error("entry {entry:?} of {file:?} is a link to {target:?}, {problem}")]
    Link {
        file: PathBuf,
        entry: String,
        target: String,
        problem: &'static str,
    },
    /// A manifest, index or configuration whose content makes no sense.
    #[error("{place} cannot be used: {problem}")]
    Malformed { place: String, problem: String },
    /// A blob that a manifest names is not there.
    #[error("{file:?} lacks {what} {digest}, which {referrer} names")]
    MissingBlob {
        file: PathBuf,
        what: &'static str,
        digest: Digest,
        referrer: String,
    },
    /// A file that has to be in the archive is not.
    #[error("{file:?} has no entry {entry:?}{hint}")]
    MissingEntry {
        file: PathBuf,
        entry: String,
        hint: &'static str,
    },
    /// An index names images that are not in the source.
    #[error(
        "{file:?} holds an index of several platforms, but not the images for {missing} (it has {present}); get them, too, for example with docker pull --platform or skopeo copy --all, and save the image again if it is in a file{choice}"
    )]
    MissingPlatforms {
        file: PathBuf,
        missing: String,
        present: String,
        /// What else can be done.
        choice: String,
    },
    /// The source holds no image at all.
    #[error("{file:?} holds no image")]
    NoImage { file: PathBuf },
    /// None of the images is for a platform that was asked for.
    #[error("{file:?} holds no image for the platform {wanted}; what it holds: {present}")]
    NoSuchPlatform {
        file: PathBuf,
        wanted: String,
        present: String,
    },
    /// The image that was asked for is not in the source.
    #[error("{file:?} holds no image {wanted:?}; {choices}")]
    NoSuchImage {
        file: PathBuf,
        wanted: String,
        choices: String,
    },
    /// A directory, a pipe or a device where a file belongs, or the reverse.
    #[error("{path:?} is {kind}, not {expected}")]
    NotAFile {
        path: PathBuf,
        kind: &'static str,
        expected: &'static str,
    },
    /// A directory or an archive that is not an image layout.
    #[error("{place:?} is not an image layout: {problem}")]
    NotALayout { place: PathBuf, problem: String },
    /// A file that is not a tar archive.
    #[error("{file:?} is not a tar archive")]
    NotAnArchive { file: PathBuf },
    /// An image, or something like one, in another form than the one that was written.
    #[error("{path:?} is {is}: {advice}")]
    OtherForm {
        path: PathBuf,
        is: String,
        advice: String,
    },
    /// A name or a link that leads out of the archive.
    #[error("entry {entry:?} of {file:?} points outside the archive{via}")]
    Outside {
        file: PathBuf,
        entry: String,
        via: String,
    },
    /// Not a platform.
    #[error("{text:?} is not a platform; write it like linux/amd64 or linux/arm64/v8")]
    PlatformSyntax { text: String },
    /// The operating system cannot read a file.
    #[error("cannot read {place}")]
    Read {
        place: String,
        #[source]
        cause: std::io::Error,
    },
    /// Another registry does not give the image, or a part of it.
    #[error("the image {image} cannot be read")]
    Remote {
        image: String,
        /// Who was signed in there.
        identity: String,
        /// The registry answers, and has no such image.
        is_missing: bool,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer that an earlier version compressed comes out differently now.
    #[error(
        "{place} was compressed with {then} when its digest {expected} was recorded, and this version, which compresses with {now}, cannot make the same bytes again{hint}"
    )]
    Recompressed {
        place: String,
        expected: Digest,
        then: String,
        now: &'static str,
        hint: &'static str,
    },
    /// A blob whose size is not what its manifest says.
    #[error("{place} is corrupt: it should have {expected} bytes, and has {actual}")]
    Size {
        place: String,
        expected: u64,
        actual: u64,
    },
    /// A file that changed after it was first read.
    #[error("{file:?} changed while it was in use")]
    SourceChanged { file: PathBuf },
    /// The user interrupted the run.
    #[error("interrupted")]
    Stopped,
    /// A source that is written in no form that we know.
    #[error("{text:?} is not understood: {problem}; write {FORMS}")]
    Syntax { text: String, problem: String },
    /// A document larger than any reasonable one.
    #[error("{place} has {size} bytes, more than the {limit} that such a document may have")]
    TooLarge {
        place: String,
        size: u64,
        limit: u64,
    },
    /// An archive that ends too early.
    #[error("{file:?} is truncated{within}")]
    Truncated { file: PathBuf, within: String },
    /// An entry of a kind that no image archive has.
    #[error("entry {entry:?} of {file:?} is {kind}, which an image archive does not have")]
    UnsupportedEntry {
        file: PathBuf,
        entry: String,
        kind: String,
    },
}

impl Error {
    /// Whether the source itself is not there (it may be built later in the run).
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Read { cause, .. } => cause.kind() == std::io::ErrorKind::NotFound,
            Self::Daemon { is_missing, .. } | Self::Remote { is_missing, .. } => *is_missing,
            _ => false,
        }
    }

    /// Whether something is missing that belongs to an image which is there otherwise.
    pub(super) fn is_incomplete(&self) -> bool {
        matches!(
            self,
            Self::MissingBlob { .. } | Self::MissingEntry { .. } | Self::MissingPlatforms { .. }
        )
    }

    /// The error inside an [`std::io::Error`], or one around it.
    pub(super) fn unwrap_io(error: std::io::Error, place: &str) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(cause) => Self::Read {
                place: place.to_owned(),
                cause,
            },
        }
    }

    /// The error of a source at the bottom of a chain: readers of blobs can only
    /// return [`std::io::Error`], and HTTP clients wrap that once more.
    pub fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // The source of an io::Error is the source of what it wraps, which
            // would step over the very error that is looked for.
            let wrapped = error
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref);
            next = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

pub(super) const FORMS: &str = "docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("upload failed")]
    struct Upload(#[source] std::io::Error);

    /// A reader's error is found again below an HTTP client's.
    #[test]
    fn find_looks_into_io_errors() {
        let inner = std::io::Error::from(Error::Stopped);
        let outer = Upload(std::io::Error::other(Upload(inner)));
        assert!(matches!(Error::find(&outer), Some(Error::Stopped)));
        let other = Upload(std::io::Error::other("cut"));
        assert!(Error::find(&other).is_none());
    }
}
