//! Blobs: HEAD, mount, upload.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use reqwest::{
    Method, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE},
};
use url::Url;

use super::{
    Client, Error,
    auth::{Access, Pass, Renewals},
    body::{BlobBody, BlobStream, Meter, Stall, verify},
    client::{Call, SAY_WAITING_EVERY, collect_warnings, is_redirect},
    error::{About, code},
    location::location,
    manifest::{confirmed_digest, content_digest},
    push::Job,
    retry::Attempts,
};
use crate::{
    image::{self, Blob},
    transport::authority,
};

/// How a mount ended.
pub(super) enum Mount {
    /// The blob is there.
    Done,
    /// The registry would not, and opened an upload session instead.
    Session(Session),
    /// The registry would not.
    Refused,
    /// It did not work this time.
    Failed,
}

/// Where a blob is to be sent.
pub(super) struct Session {
    url: Url,
    /// Fewest bytes of a chunk that is not the last.
    chunk_min: u64,
}

impl Session {
    /// The session that an answer opens.
    fn opened(response: &Response) -> Result<Self, String> {
        let chunk_min = response.headers().get(CHUNK_MIN_LENGTH);
        let chunk_min = chunk_min.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self {
            url: location(response.url(), response.headers())?,
            chunk_min: chunk_min.unwrap_or(0),
        })
    }
}

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks>
const CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";

impl Client {
    /// Whether the repository has the blob. Anything but a clear yes is a no:
    /// what is wrong, the upload will say, whose answers have a body.
    pub(super) async fn has_blob(
        &self,
        job: &Job<'_>,
        blob: &Blob,
        attempts: &mut Attempts<'_>,
    ) -> Result<bool, Error> {
        self.finds_blob(&job.access, blob, attempts).await
    }

    /// The same of any repository, with this access to it.
    pub(super) async fn finds_blob(
        &self,
        access: &Access,
        blob: &Blob,
        attempts: &mut Attempts<'_>,
    ) -> Result<bool, Error> {
        let operation = format!("check for blob {}", blob.digest);
        let url = self.url(access.repository(), &format!("blobs/{}", blob.digest))?;
        let call = Call::new(&operation, Method::HEAD, url, access);
        let response = self.send_counted(&call, attempts).await?;
        if response.status() != StatusCode::OK {
            return Ok(false);
        }
        // A sign-in page answers 200 to everything, but not with our size.
        let headers = response.headers();
        let size = headers
            .get(CONTENT_LENGTH)
            .and_then(|size| size.to_str().ok()?.parse::<u64>().ok());
        let digest = content_digest(headers);
        Ok(match (size, digest) {
            (Some(size), Some(digest)) => size == blob.size && digest == blob.digest,
            (Some(size), None) => size == blob.size,
            (None, Some(digest)) => digest == blob.digest,
            (None, None) => false,
        })
    }

    /// Asks the registry to take the blob over from another of its repositories.
    /// Whatever keeps it from doing so, an upload is possible still.
    pub(super) async fn mount(&self, job: &Job<'_>, blob: &Blob, from: &str) -> Mount {
        let operation = format!("mount of blob {} from {from}", blob.digest);
        let Ok(mut url) = self.url(job.repository, "blobs/uploads/") else {
            return Mount::Failed;
        };
        url.query_pairs_mut()
            .append_pair("mount", blob.digest.as_str())
            .append_pair("from", from);
        let access = Access::mount(job.repository, from);
        let call = Call {
            once: true,
            warnings: Some(&job.warnings),
            ..Call::new(&operation, Method::POST, url, &access)
        };
        let response = match self.send(&call).await {
            Ok(response) => response,
            // Among others: no token for both repositories.
            Err(error) => {
                tracing::debug!(reason = %error, "Cannot mount a blob, uploading it");
                return if error.is_temporary() {
                    Mount::Failed
                } else {
                    Mount::Refused
                };
            }
        };
        match response.status() {
            StatusCode::CREATED => match confirmed_digest(&response) {
                Some(digest) if digest != blob.digest.as_str() => Mount::Refused,
                _ => Mount::Done,
            },
            StatusCode::ACCEPTED => {
                Session::opened(&response).map_or(Mount::Refused, Mount::Session)
            }
            status => {
                tracing::debug!(%status, operation, "The registry mounts no blob, uploading it");
                Mount::Refused
            }
        }
    }

    /// Uploads the blob, and again from the start when it does not arrive:
    /// registries forget what was sent before a connection broke. All calls
    /// that this takes share one count of attempts, or a registry that throttles
    /// each of them would be asked several times as often as the policy says.
    ///
    /// A blob is one request. Only a registry that finds it too large for one
    /// gets it in chunks, and from then on every larger blob.
    pub(super) async fn upload(
        &self,
        job: &Job<'_>,
        blob: &Blob,
        mut session: Option<Session>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::new(self);
        let mut renewals = Renewals::default();
        let mut verified = false;
        let mut too_large = None;
        loop {
            let given = session.take();
            let was_given = given.is_some();
            let session = match given {
                Some(session) => session,
                None => self.start_upload(job, blob, &mut attempts).await?,
            };
            let chunk = self.chunk(blob, &session);
            let chunk_min = session.chunk_min;
            let sent = match chunk {
                None => {
                    self.put_blob(job, blob, session.url, &mut attempts, &mut renewals)
                        .await
                }
                Some(chunk) => {
                    self.send_chunks(job, blob, session.url, chunk, &mut attempts, &mut renewals)
                        .await
                }
            };
            attempts.restart_clock();
            let error = match sent {
                Ok(Sent::Arrived) => return Ok(()),
                Ok(Sent::Refused(error)) => {
                    // The token ended on the way; the next one lasts longer.
                    tracing::info!(
                        host = self.host(),
                        reason = %error,
                        "Uploading a blob again with a new token"
                    );
                    continue;
                }
                Err(error) => error,
            };
            // What a mount opened has waited for its turn, and nothing was tried yet.
            if was_given && (is_session_lost(&error) || matches!(error.status(), Some(404 | 410))) {
                tracing::debug!(reason = %error, "Opening another upload session");
                continue;
            }
            if error.status() == Some(413)
                && let Some(smaller) = smaller_chunk(chunk.unwrap_or(blob.size), chunk_min)
            {
                tracing::info!(
                    host = self.host(),
                    reason = %error,
                    "Uploading a blob again in chunks of {smaller} bytes"
                );
                self.inner.uploads.chunk.store(smaller, Ordering::Relaxed);
                too_large.get_or_insert(error);
                continue;
            }
            // A registry that knows no chunks has said what is wrong before.
            if chunk.is_some()
                && matches!(error.status(), Some(404 | 405 | 501))
                && !is_session_lost(&error)
                && let Some(too_large) = too_large
            {
                self.inner.uploads.chunk.store(0, Ordering::Relaxed);
                return Err(too_large);
            }
            let mut again = error.is_temporary() || is_session_lost(&error);
            if error.code() == code::DIGEST_INVALID && !verified {
                // Either the source changed, which is the user's to know, or
                // the bytes suffered on the way.
                verified = true;
                self.verify(blob).await?;
                again = true;
            }
            if !again || !attempts.again(&error).await {
                return Err(attempts.give_up(error));
            }
            // It may have arrived, and only the answer was lost.
            if self.has_blob(job, blob, &mut attempts).await? {
                return Ok(());
            }
        }
    }

    /// How long the chunks of a blob are; `None` when it is sent as a whole.
    fn chunk(&self, blob: &Blob, session: &Session) -> Option<u64> {
        let wanted = self.inner.uploads.chunk.load(Ordering::Relaxed);
        let chunk = BlobBody::length_of(wanted.max(session.chunk_min));
        (wanted > 0 && chunk < blob.size).then_some(chunk)
    }

    /// Reads the blob again, for as long as somebody waits for the result and
    /// the source gives something.
    async fn verify(&self, blob: &Blob) -> Result<(), Error> {
        // It is never done: what follows the last byte is waited for, too.
        let meter = Meter::new(u64::MAX, &Arc::default());
        let stop = self.stop.child_token();
        let _stops_when_dropped = stop.clone().drop_guard();
        let (read, progress) = (blob.clone(), meter.clone());
        let mut reading =
            tokio::task::spawn_blocking(move || verify(&read, &progress, || stop.is_cancelled()));
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                verdict = &mut reading => match verdict.unwrap_or(Err(Error::Stopped)) {
                    Err(error @ Error::BlobChanged { .. }) => return self.explain(blob, error).await,
                    verdict => return verdict,
                },
                _ = tick.tick() => {
                    if let Some(Stall::Source(problem)) = meter.stalled(&self.inner.patience) {
                        return Err(silent(blob, problem));
                    }
                }
            }
        }
    }

    /// Asks the source what is wrong with a blob that is not what it should be:
    /// it knows the name of the file. A copy of the cache that was damaged is
    /// none of the user's business: it is gone now, and the blob is made again.
    async fn explain(&self, blob: &Blob, error: Error) -> Result<(), Error> {
        let source = blob.source.clone();
        let told = tokio::task::spawn_blocking(move || source.verify()).await;
        match told {
            Ok(Err(image::Error::CacheDamaged { digest })) => {
                tracing::warn!(
                    "The cached copy of layer {digest} was damaged on disk, and is made again"
                );
                Ok(())
            }
            Ok(Err(source)) => Err(Error::from((blob.digest.clone(), source))),
            Ok(Ok(())) | Err(_) => Err(error),
        }
    }

    /// Opens an upload session.
    async fn start_upload(
        &self,
        job: &Job<'_>,
        blob: &Blob,
        attempts: &mut Attempts<'_>,
    ) -> Result<Session, Error> {
        let operation = format!("start of the upload of blob {}", blob.digest);
        let about = self.about(&operation, job.repository);
        let url = self.url(job.repository, "blobs/uploads/")?;
        let call = Call {
            warnings: Some(&job.warnings),
            ..Call::new(&operation, Method::POST, url, &job.access)
        };
        let response = self.send_counted(&call, attempts).await?;
        let response = self
            .expect(&about, response, &[StatusCode::ACCEPTED])
            .await?;
        self.inner.uploads.opened(job.repository);
        Session::opened(&response).map_err(|problem| {
            if response.headers().contains_key("location") {
                about.redirect(problem)
            } else {
                about.protocol("202 Accepted without a Location to upload to")
            }
        })
    }

    /// Sends the blob in one request.
    async fn put_blob(
        &self,
        job: &Job<'_>,
        blob: &Blob,
        session: Url,
        attempts: &mut Attempts<'_>,
        renewals: &mut Renewals,
    ) -> Result<Sent, Error> {
        let operation = format!("upload of blob {}", blob.digest);
        let about = self.about(&operation, job.repository);
        let mut url = session;
        url.query_pairs_mut()
            .append_pair("digest", blob.digest.as_str());
        // The token has to live until the last byte has arrived.
        let need = needed_life(blob.size);
        for _ in 0..MAX_REDIRECTS {
            let sender = self.sender(job, &url, need).await?;
            let meter = Meter::new(blob.size, &job.sent);
            let (stream, _reading) = BlobStream::open(blob, &meter);
            let request = self
                .inner
                .http
                .put(url.clone())
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, blob.size)
                .body(reqwest::Body::wrap(BlobBody::next(&stream, blob.size)));
            let upload = Upload {
                job,
                blob,
                about: &about,
                meter: &meter,
            };
            let outcome = Unsent(&meter);
            let response = self.answer(&upload, request, &sender, attempts).await?;
            if is_redirect(&Method::PUT, response.status()) {
                url = location(&url, response.headers())
                    .map_err(|problem| about.redirect(problem))?;
                continue;
            }
            let settled = self.settle(&upload, response, &sender, attempts, renewals);
            let sent = settled.await;
            if let Ok(Sent::Arrived) = sent {
                outcome.arrived();
            }
            return sent;
        }
        Err(about.redirect("to one place after another without end"))
    }

    /// Sends the blob in chunks of this length, one after the other.
    async fn send_chunks(
        &self,
        job: &Job<'_>,
        blob: &Blob,
        session: Url,
        chunk: u64,
        attempts: &mut Attempts<'_>,
        renewals: &mut Renewals,
    ) -> Result<Sent, Error> {
        let operation = format!("upload of blob {}", blob.digest);
        let about = self.about(&operation, job.repository);
        let mut url = session;
        let meter = Meter::new(blob.size, &job.sent);
        let upload = Upload {
            job,
            blob,
            about: &about,
            meter: &meter,
        };
        let outcome = Unsent(&meter);
        let (stream, _reading) = BlobStream::open(blob, &meter);
        let mut at = 0;
        while at < blob.size {
            let end = blob.size.min(at.saturating_add(chunk));
            let sender = self.sender(job, &url, needed_life(end - at)).await?;
            let body = BlobBody::next(&stream, end - at);
            let sent = self.send_chunk(&upload, &url, at..end, body, &sender, attempts);
            let response = sent.await?;
            let let_in = self.let_in(&upload, response, &sender, renewals);
            let response = match let_in.await? {
                Ok(response) => response,
                Err(refused) => return Ok(Sent::Refused(refused)),
            };
            if let Some(next) = self.chunk_taken(&about, response, &url, end).await? {
                url = next;
            }
            at = end;
        }
        url.query_pairs_mut()
            .append_pair("digest", blob.digest.as_str());
        let sender = self.sender(job, &url, Duration::ZERO).await?;
        meter.aim(blob.size);
        let request = self.inner.http.put(url).header(CONTENT_LENGTH, 0);
        let response = self.answer(&upload, request, &sender, attempts).await?;
        let settled = self.settle(&upload, response, &sender, attempts, renewals);
        let sent = settled.await;
        if let Ok(Sent::Arrived) = sent {
            outcome.arrived();
        }
        sent
    }

    /// Sends the bytes of one chunk.
    async fn send_chunk(
        &self,
        upload: &Upload<'_>,
        url: &Url,
        bytes: Range<u64>,
        body: BlobBody,
        sender: &Sender,
        attempts: &Attempts<'_>,
    ) -> Result<Response, Error> {
        upload.meter.aim(bytes.end);
        let request = self
            .inner
            .http
            .patch(url.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, bytes.end - bytes.start)
            .header(CONTENT_RANGE, format!("{}-{}", bytes.start, bytes.end - 1))
            .body(reqwest::Body::wrap(body));
        self.answer(upload, request, sender, attempts).await
    }

    /// Makes sure that the registry has everything before `end`; gives where it wants
    /// the next chunk, if it says so.
    async fn chunk_taken(
        &self,
        about: &About<'_>,
        response: Response,
        url: &Url,
        end: u64,
    ) -> Result<Option<Url>, Error> {
        // ECR says 201, others that there is nothing to say.
        let taken = [
            StatusCode::ACCEPTED,
            StatusCode::CREATED,
            StatusCode::NO_CONTENT,
        ];
        let response = self.expect(about, response, &taken).await?;
        if let Some(last) = last_received(response.headers())
            && last.checked_add(1) != Some(end)
        {
            return Err(about.protocol(format!(
                "it says that it has the bytes up to {last} after {end} bytes"
            )));
        }
        if !response.headers().contains_key("location") {
            return Ok(None);
        }
        let next = location(url, response.headers());
        next.map(Some).map_err(|problem| about.redirect(problem))
    }

    /// What signs a request of an upload: nothing when it goes somewhere else.
    async fn sender(&self, job: &Job<'_>, url: &Url, need: Duration) -> Result<Sender, Error> {
        let ours = self.is_ours(url);
        let pass = match ours {
            true => self.inner.auth.pass(&job.access, need).await?,
            false => None,
        };
        let host = authority(url);
        Ok(Sender { pass, ours, host })
    }

    /// Sends a request of an upload, and gives the answer.
    async fn answer(
        &self,
        upload: &Upload<'_>,
        mut request: reqwest::RequestBuilder,
        sender: &Sender,
        attempts: &Attempts<'_>,
    ) -> Result<Response, Error> {
        let about = upload.about;
        if let Some(pass) = &sender.pass {
            request = request.header(AUTHORIZATION, pass.header().clone());
        }
        match self.watch(upload, request, &sender.host).await {
            Ok(response) => {
                collect_warnings(response.headers(), &upload.job.warnings, about.secrets);
                Ok(response)
            }
            Err(failure) => Err(self.unsent(upload, failure, attempts)),
        }
    }

    /// The error of an upload that had no answer.
    fn unsent(&self, upload: &Upload<'_>, failure: Failure, attempts: &Attempts<'_>) -> Error {
        let Upload {
            about, blob, meter, ..
        } = upload;
        // Hyper says only that the body failed; the meter knows why.
        if let Some(error) = meter.failure() {
            return error;
        }
        match failure {
            Failure::Stalled(Stall::Peer(problem)) => about.timed_out(problem),
            Failure::Stalled(Stall::Source(problem)) => silent(blob, problem),
            Failure::Http(error) if meter.sent() > 0 => Error::Interrupted {
                operation: about.operation.into(),
                host: self.host().into(),
                sent: meter.sent(),
                size: blob.size,
                attempts: attempts.made(),
                source: error.without_url(),
            },
            Failure::Http(error) => about.transport(error),
        }
    }

    /// The answer, unless it is that the token is not accepted and another one
    /// may be: then that refusal.
    async fn let_in(
        &self,
        upload: &Upload<'_>,
        response: Response,
        sender: &Sender,
        renewals: &mut Renewals,
    ) -> Result<Result<Response, Error>, Error> {
        let (pass, ours) = (sender.pass.as_ref(), sender.ours);
        let status = response.status();
        if !ours || !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(Ok(response));
        }
        let headers = response.headers().clone();
        let error = self.failure(upload.about, response).await;
        // OCIR takes whom it does not know for nobody, with 403.
        let refused = status == StatusCode::UNAUTHORIZED
            || pass.is_some_and(|pass| pass.is_old() || error.is_anonymous_denial());
        if refused
            && self
                .inner
                .auth
                .refused(&upload.job.access, pass, &headers)
                .await
                .again
            && renewals.allow(pass)
        {
            return Ok(Err(error));
        }
        Err(error)
    }

    /// What the answer to the request that completes a blob means.
    async fn settle(
        &self,
        upload: &Upload<'_>,
        response: Response,
        sender: &Sender,
        attempts: &mut Attempts<'_>,
        renewals: &mut Renewals,
    ) -> Result<Sent, Error> {
        let &Upload {
            job, blob, about, ..
        } = upload;
        let response = match self.let_in(upload, response, sender, renewals).await? {
            Ok(response) => response,
            Err(refused) => return Ok(Sent::Refused(refused)),
        };
        let (status, confirmed) = (response.status(), confirmed_digest(&response));
        if status == StatusCode::CREATED || !status.is_success() {
            self.expect(about, response, &[StatusCode::CREATED]).await?;
            if let Some(confirmed) = confirmed
                && confirmed != blob.digest.as_str()
            {
                return Err(about.digest(&blob.digest, &confirmed));
            }
        } else if !self.has_blob(job, blob, attempts).await? {
            return Err(about.protocol(format!(
                "{status} instead of 201 Created, and the blob is not there afterwards"
            )));
        }
        Ok(Sent::Arrived)
    }

    /// Sends, as long as something moves, and says in the log when nothing does.
    async fn watch(
        &self,
        upload: &Upload<'_>,
        request: reqwest::RequestBuilder,
        host: &str,
    ) -> Result<Response, Failure> {
        let Upload { about, meter, .. } = upload;
        let silences = &self.inner.silences;
        let mut sent = meter.sent();
        let mut response = std::pin::pin!(request.send());
        let mut tick = tokio::time::interval(TICK);
        let mut said = Duration::ZERO;
        loop {
            tokio::select! {
                response = &mut response => {
                    if response.is_ok() {
                        silences.heard(host, Instant::now());
                    }
                    return response.map_err(Failure::Http);
                }
                _ = tick.tick() => {}
            }
            let (wait, still) = meter.waits();
            let now = Instant::now();
            if let Some(stall) = meter.stalled(&self.inner.patience) {
                if let Stall::Peer(_) = stall {
                    silences.silent(host, now.checked_sub(still).unwrap_or(now), now);
                }
                return Err(Failure::Stalled(stall));
            }
            let before = std::mem::replace(&mut sent, meter.sent());
            if sent > before {
                silences.heard(host, now);
            }
            if still < said {
                // It moved meanwhile.
                said = Duration::ZERO;
            }
            if still >= said + SAY_WAITING_EVERY {
                said = still;
                tracing::info!(
                    host = about.host,
                    operation = about.operation,
                    waited_s = still.as_secs(),
                    "{}",
                    wait.text()
                );
            }
        }
    }
}

/// A blob on its way.
struct Upload<'a> {
    job: &'a Job<'a>,
    blob: &'a Blob,
    about: &'a About<'a>,
    meter: &'a Meter,
}

/// Who sends a request.
struct Sender {
    pass: Option<Pass>,
    /// Whether it went to our registry.
    ours: bool,
    /// Where it went.
    host: String,
}

/// The next smaller length of chunks after one of so many bytes was too much.
fn smaller_chunk(refused: u64, least: u64) -> Option<u64> {
    let fits = |chunk: &u64| *chunk < refused && *chunk >= least;
    CHUNKS.into_iter().find(fits)
}

/// Lengths of chunks. A registry or a gateway that takes no whole layer takes tens
/// of megabytes, or what gateways have as their default.
const CHUNKS: [u64; 4] = [64 << 20, 16 << 20, 4 << 20, 1 << 20];

/// The last byte that a registry says it has.
fn last_received(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    range.rsplit('-').next()?.trim().parse().ok()
}

/// How a blob that was sent fared.
enum Sent {
    Arrived,
    /// It was not the blob's fault, and another token may do.
    Refused(Error),
}

/// The source stopped giving anything. Another attempt would read the same file.
fn silent(blob: &Blob, problem: String) -> Error {
    Error::Blob {
        digest: blob.digest.clone(),
        source: problem.into(),
    }
}

/// How long a token has to live for an upload of so many bytes.
fn needed_life(size: u64) -> Duration {
    Duration::from_secs(size / SLOW_BYTES_PER_SECOND)
}

/// A guess on the low side: a megabit. It costs little, since no token is
/// renewed before a tenth of its life is over, and a token that ends on the
/// way costs the whole upload.
const SLOW_BYTES_PER_SECOND: u64 = 128 << 10;

/// How often an upload is looked after.
const TICK: Duration = Duration::from_millis(250);

const MAX_REDIRECTS: usize = 4;

/// Whether the upload session is gone, which a new one heals.
fn is_session_lost(error: &Error) -> bool {
    [code::BLOB_UPLOAD_UNKNOWN, code::BLOB_UPLOAD_INVALID].contains(&error.code())
}

/// Takes bytes out of the push's count unless they arrived, also when the
/// upload is dropped half-way.
struct Unsent<'a>(&'a Meter);

impl Unsent<'_> {
    fn arrived(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.0.discount();
    }
}

enum Failure {
    Http(reqwest::Error),
    Stalled(Stall),
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read},
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
    };

    use bytes::Bytes;
    use expect_test::expect;
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        image::{self, BlobSource, Digest, Image, Manifest},
        registry::{Config, Credentials, Push, client::Patience},
        transport::{Options, RetryPolicy, http_client},
    };

    type Special = (&'static str, Option<(&'static str, &'static str)>);

    /// A registry that takes everything, except for what `answers` says to a
    /// call whose head has this in it: another status and body, or nothing.
    async fn registry(answers: &'static [Special]) -> anyhow::Result<String> {
        let (host, _serving) = registry_at("127.0.0.1:0", answers).await?;
        Ok(host)
    }

    /// The same at an address, which is gone with all of its connections when this is
    /// aborted.
    async fn registry_at(
        address: &str,
        answers: &'static [Special],
    ) -> anyhow::Result<(String, tokio::task::JoinHandle<()>)> {
        let listener = TcpListener::bind(address).await?;
        let host = listener.local_addr()?.to_string();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answers));
            }
        });
        Ok((host, serving))
    }

    async fn serve(stream: TcpStream, answers: &[Special]) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await? == 0 {
                    return Ok(());
                }
            }
            let special = answers.iter().find(|(part, _)| head.contains(part));
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
            let mut body = Vec::new();
            (&mut stream)
                .take(length.unwrap_or(0))
                .read_to_end(&mut body)
                .await?;
            let usual = match head.split(' ').next() {
                Some("POST") => "202 Accepted\r\nlocation: /v2/upload",
                Some("PUT") if head.contains("/manifests/") => CREATED,
                Some("PUT") => "201 Created",
                _ => "404 Not Found",
            };
            let (status, body) = match special {
                None => (usual, ""),
                Some((_, Some(answer))) => *answer,
                Some((_, None)) => std::future::pending().await,
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await?;
        }
    }

    const CREATED: &str = "201 Created\r\ndocker-content-digest: sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    /// A client with one upload at a time that is patient for so long.
    fn client(host: String, patience: Patience) -> anyhow::Result<Client> {
        let mut client = Client::new(Config {
            http: http_client(&Options::default())?,
            host,
            plain_http: true,
            credentials: Credentials::Anonymous,
            max_concurrent_uploads: 1,
            retry: RetryPolicy {
                max_attempts: 2,
                ..RetryPolicy::without_waiting()
            },
        });
        if let Some(inner) = Arc::get_mut(&mut client.inner) {
            inner.patience = patience;
        }
        Ok(client)
    }

    /// A client that waits between its attempts.
    fn waiting_client(host: &str, set: impl Fn(&mut Patience)) -> anyhow::Result<Client> {
        let mut client = Client::new(Config {
            http: http_client(&Options::default())?,
            host: host.to_owned(),
            plain_http: true,
            credentials: Credentials::Anonymous,
            max_concurrent_uploads: 1,
            retry: RetryPolicy::default(),
        });
        if let Some(inner) = Arc::get_mut(&mut client.inner) {
            set(&mut inner.patience);
        }
        Ok(client)
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(300);

    /// Bytes, once they have been read without trouble so many times followed
    /// by silence until the sender is dropped.
    #[derive(Debug)]
    struct Source {
        bytes: Bytes,
        healthy: AtomicUsize,
        server: Arc<Mutex<mpsc::Receiver<()>>>,
    }

    impl BlobSource for Source {
        fn open(&self) -> Result<Box<dyn image::BlobReader>, image::Error> {
            let bytes = io::Cursor::new(self.bytes.clone());
            let healthy = &self.healthy;
            if healthy
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                return Ok(Box::new(image::Waits(bytes)));
            }
            let half = Read::take(bytes, self.bytes.len() as u64 / 2);
            Ok(Box::new(image::Waits(
                half.chain(Hanging(self.server.clone())),
            )))
        }
    }

    struct Hanging(Arc<Mutex<mpsc::Receiver<()>>>);

    impl Read for Hanging {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            if let Ok(server) = self.0.lock() {
                let _ = server.recv();
            }
            Err(io::ErrorKind::HostUnreachable.into())
        }
    }

    fn image(bytes: &'static [u8], healthy: usize) -> (Image, mpsc::Sender<()>) {
        let (sender, server) = mpsc::channel();
        let source = Source {
            bytes: Bytes::from_static(bytes),
            healthy: AtomicUsize::new(healthy),
            server: Arc::new(Mutex::new(server)),
        };
        let blob = Blob {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            source: Arc::new(source),
        };
        let manifest = Manifest {
            media_type: "application/json".into(),
            digest: Digest::of(b"{}"),
            bytes: Bytes::from_static(b"{}"),
            config: None,
            layers: vec![],
        };
        let image = Image {
            layers: Vec::new(),
            manifests: vec![manifest],
            blobs: vec![blob],
        };
        (image, sender)
    }

    /// A source that falls silent, in the middle of an upload or when it is read
    /// again: after a while the upload is given up, not tried again, and another
    /// one gets its place.
    #[tokio::test]
    async fn silent_sources_are_given_up() -> anyhow::Result<()> {
        const WRONG: Special = (
            "content-length: 200000",
            Some((
                "400 Bad Request",
                r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#,
            )),
        );
        let layer: &[u8] = &[7; 200_000];
        for (healthy, answers, problem) in [
            (
                0,
                &[][..],
                expect!["nothing more could be read for 0 s, after 65536 bytes"],
            ),
            (
                1,
                &[WRONG][..],
                expect!["nothing more could be read for 0 s, after 100000 bytes"],
            ),
        ] {
            let host = registry(answers).await?;
            let patience = Patience {
                peer: LONG,
                source: SHORT,
                commit: LONG,
                unreachable: LONG,
            };
            let client = client(host, patience)?;
            let (silent, _server) = image(layer, healthy);
            let (other, _other) = image(b"other", 9);
            let push = |repository, image| Push::new(repository, "1.0", image);
            let (first, second) = (push("first", &silent), push("second", &other));
            let start = Instant::now();
            let pushing = async { (client.push(&first).await, start.elapsed()) };
            let waiting = async {
                // It comes second.
                tokio::time::sleep(Duration::from_millis(100)).await;
                client.push(&second).await
            };
            let ((failed, after), pushed) = tokio::join!(pushing, waiting);
            let error = failed.expect_err("half of it is missing");
            assert!(matches!(error, Error::Blob { .. }), "{error:?}");
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            problem.assert_eq(&cause.unwrap_or_default());
            assert!(after < SHORT + Duration::from_secs(1), "{after:?}");
            pushed?;
        }
        Ok(())
    }

    /// A registry that does not confirm a blob is waited for as long as is proper.
    #[tokio::test]
    async fn commits_are_waited_for() -> anyhow::Result<()> {
        let host = registry(&[("PUT /v2/upload", None)]).await?;
        let patience = Patience {
            peer: LONG,
            source: LONG,
            commit: 2 * SHORT,
            unreachable: LONG,
        };
        let client = client(host, patience)?;
        let (image, _server) = image(b"layer", 9);
        let push = Push::new("web", "1.0", &image);
        let start = Instant::now();
        let error = client.push(&push).await.expect_err("nobody confirms");
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .ends_with("got no further: no answer within 0 s after the last byte")
        );
        assert!(start.elapsed() > 4 * SHORT, "both attempts");
        assert!(start.elapsed() < 4 * SHORT + Duration::from_secs(2));
        Ok(())
    }

    /// The network goes away in the middle of a push, and with it everything that is under
    /// way: the error comes when the registry has given no sign of life for long enough, not
    /// when all attempts of all blobs are used up. Who pushes next is told at once.
    #[tokio::test]
    async fn a_registry_that_is_gone_is_given_up_by_all() -> anyhow::Result<()> {
        let (host, serving) = registry_at("127.0.0.1:0", &[("PUT /v2/upload", None)]).await?;
        let unreachable = Duration::from_secs(2);
        let client = waiting_client(&host, |patience| patience.unreachable = unreachable)?;
        let (first, _first) = image(b"layer", 99);
        let (second, _second) = image(b"another layer", 99);
        let gone = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            serving.abort();
            Instant::now()
        };
        let [one, two] = [("one", &first), ("two", &second)].map(|(repository, image)| {
            let client = client.clone();
            async move {
                let push = Push::new(repository, "1.0", image);
                (client.push(&push).await, Instant::now())
            }
        });
        let (gone, one, two) = tokio::join!(gone, one, two);
        for (failed, when) in [one, two] {
            let error = failed.expect_err("nobody is there");
            assert_eq!(error.unreached_host(), Some(&*host), "{error:?}");
            let after = when - gone;
            assert!(after > unreachable, "{after:?}");
            // A pause after the connection that broke comes first.
            assert!(after < 4 * unreachable, "{after:?}");
        }
        let push = Push::new("three", "1.0", &first);
        let error = client.push(&push).await.expect_err("nobody is there");
        assert!(
            matches!(error, Error::Transport { attempts: 1, .. }),
            "{error:?}"
        );
        Ok(())
    }

    /// A registry that is started again in the middle of a push is waited for; and when it
    /// is gone once more, the time that it was gone before does not count.
    #[tokio::test]
    async fn a_registry_that_comes_back_is_waited_for() -> anyhow::Result<()> {
        let (host, serving) = registry_at("127.0.0.1:0", &[("PUT /v2/upload", None)]).await?;
        let unreachable = Duration::from_secs(3);
        let client = waiting_client(&host, |patience| patience.unreachable = unreachable)?;
        let (image, _server) = image(b"layer", 99);
        let push = Push::new("web", "1.0", &image);
        let restart = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            serving.abort();
            tokio::time::sleep(Duration::from_secs(2)).await;
            registry_at(&host, &[]).await
        };
        let (pushed, restarted) = tokio::join!(client.push(&push), restart);
        pushed?;
        restarted?.1.abort();
        let gone = Instant::now();
        let error = client.push(&push).await.expect_err("nobody is there");
        assert_eq!(error.unreached_host(), Some(&*host), "{error:?}");
        assert!(gone.elapsed() >= unreachable, "{:?}", gone.elapsed());
        Ok(())
    }

    /// A connection that takes or says nothing any more is waited for, since the registry
    /// may be busy. When it turns out that there is no way to it, that was long enough.
    #[tokio::test]
    async fn silence_counts_when_there_is_no_way_to_the_registry() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await?;
            drop(listener);
            serve(stream, &[("PUT /v2/upload", None)]).await
        });
        let silence = Duration::from_secs(2);
        let client = waiting_client(&host, |patience| {
            patience.commit = silence;
            patience.unreachable = 2 * silence;
        })?;
        let (image, _server) = image(b"layer", 99);
        let push = Push::new("web", "1.0", &image);
        let start = Instant::now();
        let error = client.push(&push).await.expect_err("nobody is there");
        assert_eq!(error.unreached_host(), Some(&*host), "{error:?}");
        // One pause and a last look, and not the whole time once more.
        let pause = Duration::from_secs(2);
        assert!(start.elapsed() > silence, "{:?}", start.elapsed());
        assert!(
            start.elapsed() < 2 * silence + pause + silence / 4,
            "{:?}",
            start.elapsed()
        );
        Ok(())
    }

    /// What is big needs a token that lives longer.
    #[test]
    fn big_blobs_need_long_lives() {
        let life = |size: u64| needed_life(size).as_secs();
        assert_eq!(life(14), 0);
        assert_eq!(life(100 << 20), 800);
        assert_eq!(life(10 << 30), 81_920);
    }
}
