//! Blobs: uploads in one piece and in many, mounts, and pulls.
//!
//! Bytes go from the connection through a bounded channel to a thread that
//! hashes and writes them, so that a gigabyte is never in memory.

use std::{
    fs::{File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::{Mutex, OwnedMutexGuard, mpsc},
};
use tokio_util::io::ReaderStream;

use super::{
    super::{
        Permission, control_plane,
        identity::Caller,
        refusal::Refusal,
        server::{Answer, empty},
        state::State,
    },
    Name, UploadVerb, Verb, Visit, check_digest, insert,
};

/// An unfinished upload.
pub(in super::super) struct Session {
    repository_id: String,
    /// Bytes of complete requests; what a broken one left behind is overwritten.
    size: u64,
    hash: Sha256,
    file: File,
}

/// Pieces on their way from the connection to the disk.
const IN_FLIGHT: usize = 16;

impl Visit<'_> {
    pub(super) async fn blob(
        &mut self,
        method: Verb,
        name: &Name,
        digest: &str,
    ) -> Result<Answer, Refusal> {
        if matches!(method, Verb::Put | Verb::Delete) {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "The operation is unsupported.",
            ));
        }
        let size = self.shared.store.read(|state| {
            let repository = self.readable(state, name)?;
            repository
                .blobs
                .get(digest)
                .copied()
                .ok_or_else(|| unknown_blob(digest))
        })?;
        let range = match self.call.header("range") {
            Some(text) if method == Verb::Get => parse_range(text, size).map_err(|()| {
                Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "SIZE_INVALID",
                    "The range is not in the blob",
                )
                .with(header::CONTENT_RANGE, format!("bytes */{size}"))
            })?,
            _ => None,
        };
        let (start, length) = range.unwrap_or((0, size));
        let mut answer = Response::new(empty());
        if range.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {start}-{}/{size}", start + length - 1);
            insert(&mut answer, header::CONTENT_RANGE, &text);
        }
        insert(
            &mut answer,
            header::CONTENT_TYPE,
            "application/octet-stream",
        );
        insert(&mut answer, header::CONTENT_LENGTH, &length.to_string());
        insert(&mut answer, header::ACCEPT_RANGES, "bytes");
        insert(&mut answer, DOCKER_CONTENT_DIGEST, digest);
        if method == Verb::Get {
            let path = self.shared.store.folder().blob(digest);
            let mut file = tokio::fs::File::open(&path)
                .await
                .map_err(|error| Refusal::internal(&error))?;
            file.seek(SeekFrom::Start(start))
                .await
                .map_err(|error| Refusal::internal(&error))?;
            let stream = ReaderStream::with_capacity(file.take(length), 256 * 1024);
            *answer.body_mut() =
                StreamBody::new(stream.map(|chunk| chunk.map(Frame::data))).boxed_unsync();
        }
        Ok(answer)
    }

    /// Starts an upload, or makes it unnecessary by a mount.
    pub(super) async fn start_upload(&mut self, name: &Name) -> Result<Answer, Refusal> {
        let repository_id = self.repository_for_push(name)?;
        if let Some(digest) = self.call.query("mount").map(ToOwned::to_owned) {
            check_digest(&digest)?;
            if self.mount(&repository_id, &digest)? {
                return Ok(self.created(name, &digest));
            }
        }
        let id = format!("{:032x}", rand::random::<u128>());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.shared.store.folder().upload(&id))
            .map_err(|error| Refusal::internal(&error))?;
        let session = Arc::new(Mutex::new(Session {
            repository_id,
            size: 0,
            hash: Sha256::new(),
            file,
        }));
        self.shared
            .locked(&self.shared.uploads)
            .insert(id.clone(), session.clone());
        if let Some(digest) = self.call.query("digest").map(ToOwned::to_owned) {
            return self
                .complete(name, &id, session.lock_owned().await, &digest)
                .await;
        }
        Ok(self.progress(name, &id, 0, StatusCode::ACCEPTED))
    }

    pub(super) async fn upload(
        &mut self,
        verb: UploadVerb,
        name: &Name,
        id: &str,
    ) -> Result<Answer, Refusal> {
        let repository_id = self.shared.store.read(|state| {
            self.writable(state, name, Permission::RepositoryUpdate)
                .map(|repository| repository.id.clone())
        })?;
        let unknown = || {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "BLOB_UPLOAD_UNKNOWN",
                "Blob upload unknown to registry",
            )
        };
        let session = self
            .shared
            .locked(&self.shared.uploads)
            .get(id)
            .cloned()
            .ok_or_else(unknown)?;
        // The bytes of a request that broke off may still be on their way to the disk.
        let session = session.lock_owned().await;
        if session.repository_id != repository_id {
            return Err(unknown());
        }
        match verb {
            UploadVerb::Get => Ok(self.progress(name, id, session.size, StatusCode::NO_CONTENT)),
            UploadVerb::Delete => {
                drop(session);
                self.forget(id);
                let mut answer = Response::new(empty());
                *answer.status_mut() = StatusCode::NO_CONTENT;
                Ok(answer)
            }
            UploadVerb::Patch => {
                let length = self.check_content_range(name, id, &session)?;
                let before = session.size;
                let session = self.receive(session).await?;
                check_length(length, session.size - before)?;
                let size = session.commit();
                Ok(self.progress(name, id, size, StatusCode::ACCEPTED))
            }
            UploadVerb::Put => {
                let digest = self.call.query("digest").unwrap_or_default().to_owned();
                self.complete(name, id, session, &digest).await
            }
        }
    }

    /// Receives the last piece, and turns the upload into a blob.
    async fn complete(
        &mut self,
        name: &Name,
        id: &str,
        session: OwnedMutexGuard<Session>,
        digest: &str,
    ) -> Result<Answer, Refusal> {
        check_digest(digest)?;
        let length = self.check_content_range(name, id, &session)?;
        let before = session.size;
        let received = self.receive(session).await?;
        check_length(length, received.size - before)?;
        let found = format!("sha256:{:x}", HexDigest(&received.hash.clone().finalize()));
        if found != digest {
            drop(received);
            self.forget(id);
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                format!(
                    "Provided digest {digest} did not match uploaded content, which has {found}"
                ),
            ));
        }
        let folder = self.shared.store.folder();
        folder
            .sync(&received.session.file)
            .map_err(|error| Refusal::internal(&error))?;
        let (from, to) = (folder.upload(id), folder.blob(digest));
        let size = received.size;
        self.change(&received.session.repository_id, |state| {
            // Under the lock, so that nobody collects the file before it is referenced.
            std::fs::rename(&from, &to).map_err(|error| Refusal::internal(&error))?;
            link(state, &received.session.repository_id, digest, size);
            Ok(())
        })?;
        drop(received);
        self.forget(id);
        Ok(self.created(name, digest))
    }

    /// Takes a request's body to the upload's file.
    ///
    /// Nothing of it counts before [`Received::commit`]: a connection that
    /// breaks leaves the upload as it was.
    async fn receive(&mut self, session: OwnedMutexGuard<Session>) -> Result<Received, Refusal> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(IN_FLIGHT);
        // The guard goes with the writer, so that a retry waits until a
        // broken request has written its last byte.
        let writer = tokio::task::spawn_blocking(move || {
            let mut received = Received {
                size: session.size,
                hash: session.hash.clone(),
                session,
            };
            let file = &mut received.session.file;
            file.set_len(received.size)?;
            file.seek(SeekFrom::Start(received.size))?;
            while let Some(chunk) = receiver.blocking_recv() {
                received.hash.update(&chunk);
                file.write_all(&chunk)?;
                received.size += chunk.len() as u64;
            }
            Ok::<_, std::io::Error>(received)
        });
        let mut broken = None;
        loop {
            match self.call.body.chunk().await {
                Ok(Some(chunk)) => {
                    if sender.send(chunk).await.is_err() {
                        // The writer gave up, and says why below.
                        break;
                    }
                }
                Ok(None) => break,
                Err(refusal) => {
                    broken = Some(refusal);
                    break;
                }
            }
        }
        drop(sender);
        let written = writer.await;
        if let Some(refusal) = broken {
            return Err(refusal);
        }
        written
            .map_err(|error| Refusal::internal(&error))?
            .map_err(|error| Refusal::internal(&error))
    }

    /// Chunks come in order: the next begins where the last one ended.
    fn check_content_range(
        &self,
        name: &Name,
        id: &str,
        session: &Session,
    ) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.call.header("content-range") else {
            return Ok(None);
        };
        let text = text.strip_prefix("bytes ").unwrap_or(text);
        let text = text.split('/').next().unwrap_or(text);
        let range = text
            .split_once('-')
            .and_then(|(start, end)| Some((start.parse::<u64>().ok()?, end.parse::<u64>().ok()?)));
        match range {
            Some((start, end)) if start == session.size && end >= start => {
                Ok(Some(end - start + 1))
            }
            _ => Err(Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID",
                format!("The next byte is {}, not the first of {text}", session.size),
            )
            .with(header::RANGE, range_so_far(session.size))
            .with(header::LOCATION, self.upload_location(name, id))),
        }
    }

    /// The repository of a push. A first push creates it where that is switched on:
    /// private, and in the root compartment.
    pub(super) fn repository_for_push(&self, name: &Name) -> Result<String, Refusal> {
        let region = self.call.region;
        let (found, creates) = self.shared.store.read(|state| {
            let found = self
                .writable(state, name, Permission::RepositoryUpdate)
                .map(|repository| repository.id.clone());
            (
                found,
                state.created_on_first_push.contains(region.identifier),
            )
        });
        let Caller::Principal(caller) = &self.caller else {
            return found;
        };
        let may_create = creates
            && self.check_namespace(name).is_ok()
            && self.shared.allows(Permission::RepositoryManage);
        let exists = |state: &State| {
            state
                .repository_named(region.identifier, &name.repository)
                .is_some()
        };
        if found.is_ok() || !may_create || self.shared.store.read(exists) {
            return found;
        }
        self.shared.store.change(|state| {
            Ok(
                match state.repository_named(region.identifier, &name.repository) {
                    // Another upload of the same push came first.
                    Some(repository) => repository.id.clone(),
                    None => control_plane::create_on_first_push(
                        state,
                        self.shared,
                        caller,
                        region,
                        &name.repository,
                    ),
                },
            )
        })
    }

    /// Whether a blob of another repository could be taken over.
    fn mount(&self, repository_id: &str, digest: &str) -> Result<bool, Refusal> {
        let region = self.call.region.identifier;
        let from = self
            .call
            .query("from")
            .and_then(|from| from.split_once('/'));
        let Some((namespace, source)) = from else {
            return Ok(false);
        };
        let size = self.shared.store.read(|state| {
            let source = state.repository_named(region, source)?;
            source.blobs.get(digest).copied()
        });
        let Some(size) = size.filter(|_| namespace == self.shared.tenancy.seed.namespace) else {
            return Ok(false);
        };
        self.change(repository_id, |state| {
            link(state, repository_id, digest, size);
            Ok(true)
        })
    }

    fn created(&self, name: &Name, digest: &str) -> Answer {
        let mut answer = Response::new(empty());
        *answer.status_mut() = StatusCode::CREATED;
        insert(
            &mut answer,
            header::LOCATION,
            &self.location(name, &format!("blobs/{digest}")),
        );
        insert(&mut answer, DOCKER_CONTENT_DIGEST, digest);
        answer
    }

    fn progress(&self, name: &Name, id: &str, size: u64, status: StatusCode) -> Answer {
        let mut answer = Response::new(empty());
        *answer.status_mut() = status;
        insert(
            &mut answer,
            header::LOCATION,
            &self.upload_location(name, id),
        );
        insert(&mut answer, header::RANGE, &range_so_far(size));
        insert(
            &mut answer,
            header::HeaderName::from_static("docker-upload-uuid"),
            id,
        );
        answer
    }

    /// With a query, as many registries have one: whoever adds a digest has to notice.
    fn upload_location(&self, name: &Name, id: &str) -> String {
        self.location(name, &format!("blobs/uploads/{id}?_state={id}"))
    }

    fn forget(&self, id: &str) {
        self.shared.locked(&self.shared.uploads).remove(id);
        // Gone already when the upload became a blob.
        let _ = std::fs::remove_file(self.shared.store.folder().upload(id));
    }
}

/// An upload with a request's bytes behind it that do not count yet.
struct Received {
    session: OwnedMutexGuard<Session>,
    size: u64,
    hash: Sha256,
}

impl Received {
    fn commit(mut self) -> u64 {
        self.session.size = self.size;
        self.session.hash = self.hash;
        self.size
    }
}

struct HexDigest<'a>(&'a [u8]);

impl std::fmt::LowerHex for HexDigest<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

pub(super) const DOCKER_CONTENT_DIGEST: header::HeaderName =
    header::HeaderName::from_static("docker-content-digest");

fn link(state: &mut State, repository_id: &str, digest: &str, size: u64) {
    if let Some(repository) = state.repositories.get_mut(repository_id) {
        repository.blobs.insert(digest.into(), size);
    }
}

fn unknown_blob(digest: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "BLOB_UNKNOWN",
        format!("Blob {digest} unknown to registry"),
    )
}

fn check_length(announced: Option<u64>, received: u64) -> Result<(), Refusal> {
    match announced {
        Some(announced) if announced != received => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "SIZE_INVALID",
            format!("Content-Range announces {announced} bytes, the body has {received}"),
        )),
        _ => Ok(()),
    }
}

/// The range of what is there; the specification has no way to say "nothing".
fn range_so_far(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// First byte and length of a `Range`; none for a form that may be ignored.
fn parse_range(text: &str, size: u64) -> Result<Option<(u64, u64)>, ()> {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Ok(None);
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) if start <= last => (start, last.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if last.is_empty() => (start, size),
        (Err(_), Ok(count)) if first.is_empty() => (size.saturating_sub(count), size),
        _ => return Ok(None),
    };
    if start < end {
        Ok(Some((start, end - start)))
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All forms of a range of ten bytes, and what is beyond them.
    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-3", 10), Ok(Some((0, 4))));
        assert_eq!(parse_range("bytes=4-", 10), Ok(Some((4, 6))));
        assert_eq!(parse_range("bytes=-3", 10), Ok(Some((7, 3))));
        assert_eq!(parse_range("bytes=8-99", 10), Ok(Some((8, 2))));
        assert_eq!(parse_range("bytes=10-", 10), Err(()));
        assert_eq!(parse_range("bytes=5-3", 10), Ok(None));
        assert_eq!(parse_range("lines=1-2", 10), Ok(None));
    }
}
