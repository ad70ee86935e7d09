//! Images that are read from a registry while they are pushed to another one.
//!
//! Nothing is kept on disk, and little in memory: a blob is read from the one
//! connection as fast as the other takes it.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Buf, Bytes};
use reqwest::{
    Method, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Client, Error, ManifestContent,
    auth::{Access, is_loopback},
    client::{ANSWER_TIMEOUT, Call, lock},
    retry::Attempts,
};
use crate::{
    image::{self, BlobReader, Digest, ImageName, Origin, Remote, RemoteManifest, Waits},
    transport::is_certificate_error,
};

/// The host that answers for a name's: Docker Hub has one for its API alone.
pub fn api_host(name: &ImageName) -> &str {
    match name.host() {
        "docker.io" => "registry-1.docker.io",
        host => host,
    }
}

/// Whether a registry that nobody said more about speaks HTTP: only one on this
/// machine may, and it does when it does not speak TLS. That is Docker's rule.
pub async fn speaks_plain_http(http: &reqwest::Client, host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("https://{host}/v2/")) else {
        return false;
    };
    if !is_loopback(&url) {
        return false;
    }
    let asked = http.get(url).timeout(LOCAL_ANSWER).send().await;
    // A certificate that is not trusted is a registry with TLS all the same.
    asked.is_err_and(|error| error.is_connect() && !is_certificate_error(&error))
}

/// Nothing on this machine takes longer to greet.
const LOCAL_ANSWER: Duration = Duration::from_secs(5);

/// An image of a registry, to be read by threads that may block.
#[derive(Clone, Debug)]
pub struct Pull {
    client: Client,
    name: ImageName,
    origin: Origin,
    /// Who is signed in, for messages.
    identity: Arc<str>,
    known: Arc<Known>,
    runtime: Handle,
}

/// Manifests that were read. They never change under their digests.
#[derive(Debug, Default)]
struct Known(Mutex<HashMap<Digest, ManifestContent>>);

impl Known {
    fn get(&self, digest: &Digest) -> Option<ManifestContent> {
        lock(&self.0).get(digest).cloned()
    }

    fn insert(&self, manifest: &ManifestContent) {
        let mut known = lock(&self.0);
        let bytes: usize = known.values().map(|it| it.bytes.len()).sum();
        if bytes + manifest.bytes.len() > MOST_KNOWN {
            known.clear();
        }
        known.insert(manifest.digest.clone(), manifest.clone());
    }

    fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

/// Bytes of manifests that are remembered.
const MOST_KNOWN: usize = 8 << 20;

impl Pull {
    /// The image with this name, read by `client`, which `identity` is signed in
    /// with. Asks nobody. Must be called in a runtime, which has to live as long
    /// as something is read.
    pub fn new(client: Client, name: ImageName, identity: impl Into<Arc<str>>) -> Self {
        Self {
            origin: Origin {
                host: client.host().to_owned(),
                repository: name.repository().to_owned(),
            },
            client,
            name,
            identity: identity.into(),
            known: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Another image of the same registry, best of the same repository: what was read
    /// is shared.
    pub fn of(&self, name: ImageName) -> Self {
        Self {
            origin: Origin {
                repository: name.repository().to_owned(),
                ..self.origin.clone()
            },
            name,
            ..self.clone()
        }
    }

    /// The same, whose waits end when `stop` is cancelled. What was read is shared.
    pub fn with_stop(&self, stop: CancellationToken) -> Self {
        Self {
            client: self.client.with_stop(stop),
            ..self.clone()
        }
    }

    /// What the name means now. A tag that was read before is only asked for its
    /// digest: registries that count, count whole manifests.
    async fn find_root(&self) -> Result<Option<ManifestContent>, Error> {
        let access = Access::pull(self.name.repository());
        if let Some(digest) = self.name.digest() {
            return self.find(digest).await;
        }
        let tag = self.name.reference();
        if !self.known.is_empty() {
            match self.client.find_manifest(&access, tag).await? {
                None => return Ok(None),
                Some(now) => {
                    if let Some(known) = self.known.get(&now.digest) {
                        return Ok(Some(known));
                    }
                }
            }
        }
        let found = self.client.fetch_manifest(&access, tag).await?;
        found
            .iter()
            .for_each(|manifest| self.known.insert(manifest));
        Ok(found)
    }

    async fn find(&self, digest: &Digest) -> Result<Option<ManifestContent>, Error> {
        if let Some(known) = self.known.get(digest) {
            return Ok(Some(known));
        }
        let access = Access::pull(self.name.repository());
        let found = self.client.fetch_manifest(&access, digest.as_str()).await?;
        found
            .iter()
            .for_each(|manifest| self.known.insert(manifest));
        Ok(found)
    }

    /// Waits for the work, on a thread that may block.
    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, image::Error> {
        self.runtime
            .block_on(self.client.until_stopped(work))
            .map_err(|error| self.error(error))
    }

    fn error(&self, error: Error) -> image::Error {
        match error {
            Error::Stopped => image::Error::Stopped,
            error => self.failed(false, error.into()),
        }
    }

    fn failed(
        &self,
        is_missing: bool,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> image::Error {
        image::Error::Remote {
            image: format!("docker://{}", self.name),
            identity: self.identity.to_string(),
            is_missing,
            source,
        }
    }
}

impl Remote for Pull {
    fn root(&self) -> Result<RemoteManifest, image::Error> {
        match self.wait(self.find_root())? {
            Some(manifest) => Ok(manifest.into()),
            None => {
                let problem = format!(
                    "{} has no such image, or does not show it to {}",
                    self.client.host(),
                    self.identity
                );
                Err(self.failed(true, problem.into()))
            }
        }
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<RemoteManifest>, image::Error> {
        Ok(self.wait(self.find(digest))?.map(Into::into))
    }

    fn open(&self, digest: &Digest, size: u64) -> Result<Box<dyn BlobReader>, image::Error> {
        Ok(Box::new(Waits(PulledBlob {
            pull: self.clone(),
            access: Access::pull(self.name.repository()),
            operation: format!("reading of blob {digest}"),
            digest: digest.clone(),
            size,
            position: 0,
            to_skip: 0,
            response: None,
            piece: Bytes::new(),
            in_vain: 0,
            last_cut: 0,
        })))
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl From<ManifestContent> for RemoteManifest {
    fn from(manifest: ManifestContent) -> Self {
        Self {
            media_type: manifest.media_type,
            digest: manifest.digest,
            bytes: manifest.bytes,
        }
    }
}

/// Reads a blob, and goes on where it was when the connection is cut.
struct PulledBlob {
    pull: Pull,
    access: Access,
    operation: String,
    digest: Digest,
    size: u64,
    /// Bytes that came, also those that are still in `piece`.
    position: u64,
    /// Bytes to come that came before: the registry began again.
    to_skip: u64,
    response: Option<Response>,
    piece: Bytes,
    /// Attempts in a row that brought little or nothing.
    in_vain: u32,
    /// Where the last one ended.
    last_cut: u64,
}

impl Read for PulledBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.position < self.size {
            let pull = self.pull.clone();
            self.piece = pull.wait(self.next())?;
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl PulledBlob {
    /// The next bytes; there are some.
    async fn next(&mut self) -> Result<Bytes, Error> {
        let client = self.pull.client.clone();
        let about = client.about(&self.operation, self.access.repository());
        loop {
            let response = match &mut self.response {
                Some(response) => response,
                None => {
                    let (response, skip) = self.request(&client).await?;
                    self.to_skip = skip;
                    self.response.insert(response)
                }
            };
            let error = match tokio::time::timeout(ANSWER_TIMEOUT, response.chunk()).await {
                Ok(Ok(Some(mut chunk))) => {
                    let skipped = self.to_skip.min(chunk.len() as u64);
                    chunk.advance(usize::try_from(skipped).unwrap_or(chunk.len()));
                    self.to_skip -= skipped;
                    if chunk.is_empty() {
                        continue;
                    }
                    self.position += chunk.len() as u64;
                    if self.position > self.size {
                        return Err(about.protocol(format!(
                            "the blob goes on after the {} bytes that its manifest promises",
                            self.size
                        )));
                    }
                    return Ok(chunk);
                }
                Ok(Ok(None)) => about.protocol(format!(
                    "the blob ends after {} of {} bytes",
                    self.position, self.size
                )),
                Ok(Err(source)) => Error::Interrupted {
                    operation: self.operation.clone(),
                    host: client.host().into(),
                    sent: self.position,
                    size: self.size,
                    attempts: self.in_vain + 1,
                    source: source.without_url(),
                },
                Err(_) => about.timed_out(format!(
                    "nothing came for {} s, after {} of {} bytes",
                    ANSWER_TIMEOUT.as_secs(),
                    self.position,
                    self.size
                )),
            };
            self.response = None;
            if self.position - self.last_cut >= ENOUGH {
                self.in_vain = 0;
            }
            self.last_cut = self.position;
            self.in_vain += 1;
            let mut attempts = Attempts::after(&client, self.in_vain);
            if !attempts.again(&error).await {
                return Err(attempts.give_up(error));
            }
        }
    }

    /// Asks for what is still to come. Says how much of the answer came before.
    async fn request(&self, client: &Client) -> Result<(Response, u64), Error> {
        let about = client.about(&self.operation, self.access.repository());
        let url = client.url(self.access.repository(), &format!("blobs/{}", self.digest))?;
        let mut headers = HeaderMap::new();
        // What is packed on the way has neither this size nor places in it.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.position > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.position))
        {
            headers.insert(RANGE, range);
        }
        let call = Call {
            headers,
            ..Call::new(&self.operation, Method::GET, url, &self.access)
        };
        let response = client.send(&call).await?;
        let expected = [StatusCode::OK, StatusCode::PARTIAL_CONTENT];
        let response = client.expect(&about, response, &expected).await?;
        let skip = match response.status() {
            StatusCode::PARTIAL_CONTENT
                if range_start(response.headers()) == Some(self.position) =>
            {
                0
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(about.protocol("it is another part of the blob than was asked for"));
            }
            _ => self.position,
        };
        // Nobody has to read a gigabyte to find out that it is the wrong one.
        let length = length(response.headers());
        if let Some(length) = length.filter(|length| *length != self.size - self.position + skip) {
            return Err(about.protocol(format!(
                "it promises {length} bytes, and the blob has {} by its manifest",
                self.size
            )));
        }
        Ok((response, skip))
    }
}

/// After so many bytes an attempt was not in vain.
const ENOUGH: u64 = 1 << 20;

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Where a partial answer begins.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = text.trim().strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever a registry says of a part of a blob, what is read are numbers that stand there.
        #[test]
        fn any_range(text in crate::spoilt::text(&["bytes 100-199/200", "bytes */200", "101"])) {
            let Ok(value) = HeaderValue::from_str(&text) else {
                return Ok(());
            };
            let headers =
                HeaderMap::from_iter([(CONTENT_RANGE, value.clone()), (CONTENT_LENGTH, value)]);
            for number in [range_start(&headers), length(&headers)].into_iter().flatten() {
                proptest::prop_assert!(text.contains(&number.to_string()), "{}", number);
            }
        }
    }
}
