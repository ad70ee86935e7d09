//! Blobs: HEAD, mount, upload.

use std::time::Duration;

use reqwest::{
    Method, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE},
};
use url::Url;

use super::{
    Client, Error,
    auth::Access,
    body::{BlobBody, Meter, verify},
    client::{Call, collect_warnings, is_redirect},
    error::code,
    location::location,
    manifest::{confirmed_digest, content_digest},
    push::Job,
    retry::Attempts,
};
use crate::{image::Blob, transport::READ_TIMEOUT};

/// How a mount ended.
pub(super) enum Mount {
    /// The blob is there.
    Done,
    /// The registry would not, and opened an upload session instead.
    Session(Url),
    /// The registry would not.
    Refused,
    /// It did not work this time.
    Failed,
}

impl Client {
    /// Whether the repository has the blob. Anything but a clear yes is a no:
    /// what is wrong, the upload will say, whose answers have a body.
    pub(super) async fn has_blob(&self, job: &Job<'_>, blob: &Blob) -> Result<bool, Error> {
        let operation = format!("check for blob {}", blob.digest);
        let url = self.url(job.repository, &format!("blobs/{}", blob.digest))?;
        let call = Call::new(&operation, Method::HEAD, url, &job.access);
        let response = self.send(&call).await?;
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
                location(response.url(), response.headers()).map_or(Mount::Refused, Mount::Session)
            }
            status => {
                tracing::debug!(%status, operation, "The registry mounts no blob, uploading it");
                Mount::Refused
            }
        }
    }

    /// Uploads the blob, and again from the start when it does not arrive:
    /// registries forget what was sent before a connection broke.
    pub(super) async fn upload(
        &self,
        job: &Job<'_>,
        blob: &Blob,
        mut session: Option<Url>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::new(&self.inner);
        let mut renewed = false;
        let mut verified = false;
        loop {
            let session = match session.take() {
                Some(session) => session,
                None => self.start_upload(job, blob).await?,
            };
            let error = match self.put_blob(job, blob, session, attempts.made()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            attempts.restart_clock();
            if error.is_unauthorized() && !renewed {
                // The token ended on the way; the next one lasts longer.
                renewed = true;
                tracing::info!(reason = %error, "Uploading a blob again with a new token");
                continue;
            }
            let mut again = error.is_temporary() || is_session_lost(&error);
            if error.code() == code::DIGEST_INVALID && !verified {
                // Either the source changed, which is the user's to know, or
                // the bytes suffered on the way.
                verified = true;
                let (blob, stop) = (blob.clone(), self.stop.clone());
                tokio::task::spawn_blocking(move || verify(&blob, || stop.is_cancelled()))
                    .await
                    .unwrap_or(Err(Error::Stopped))?;
                again = true;
            }
            if !again || !attempts.again(&error).await {
                return Err(error.after(attempts.made()));
            }
            // It may have arrived, and only the answer was lost.
            if self.has_blob(job, blob).await? {
                return Ok(());
            }
        }
    }

    /// Opens an upload session.
    async fn start_upload(&self, job: &Job<'_>, blob: &Blob) -> Result<Url, Error> {
        let operation = format!("start of the upload of blob {}", blob.digest);
        let about = self.about(&operation, job.repository);
        let url = self.url(job.repository, "blobs/uploads/")?;
        let call = Call {
            warnings: Some(&job.warnings),
            ..Call::new(&operation, Method::POST, url, &job.access)
        };
        let response = self.send(&call).await?;
        let response = self
            .expect(&about, response, &[StatusCode::ACCEPTED])
            .await?;
        location(response.url(), response.headers()).map_err(|problem| {
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
        attempts: u32,
    ) -> Result<(), Error> {
        let operation = format!("upload of blob {}", blob.digest);
        let about = self.about(&operation, job.repository);
        let mut url = session;
        url.query_pairs_mut()
            .append_pair("digest", blob.digest.as_str());
        // The token has to live until the last byte has arrived.
        let need = Duration::from_secs(blob.size / SLOW_BYTES_PER_SECOND);
        for _ in 0..MAX_REDIRECTS {
            let ours = self.is_ours(&url);
            let pass = if ours {
                self.inner.auth.pass(&job.access, need).await?
            } else {
                None
            };
            let meter = Meter::new(blob.size, &job.sent);
            let (body, _reading) = BlobBody::open(blob, &meter);
            let mut request = self
                .inner
                .http
                .put(url.clone())
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, blob.size)
                .body(reqwest::Body::wrap(body));
            if let Some(pass) = &pass {
                request = request.header(AUTHORIZATION, pass.header().clone());
            }
            let outcome = Unsent(&meter);
            let response = match watch(request, &meter).await {
                Ok(response) => response,
                Err(failure) => {
                    // Hyper says only that the body failed; the meter knows why.
                    if let Some(error) = meter.failure() {
                        return Err(error);
                    }
                    return Err(match failure {
                        Failure::Stalled(problem) => about.timed_out(problem),
                        Failure::Http(error) if meter.sent() > 0 => Error::Interrupted {
                            operation: operation.clone(),
                            host: self.host().into(),
                            sent: meter.sent(),
                            size: blob.size,
                            attempts,
                            source: error.without_url(),
                        },
                        Failure::Http(error) => about.transport(error),
                    });
                }
            };
            collect_warnings(response.headers(), &job.warnings);
            let status = response.status();
            if is_redirect(&Method::PUT, status) {
                url = location(&url, response.headers())
                    .map_err(|problem| about.redirect(problem))?;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && ours {
                let auth = &self.inner.auth;
                auth.refused(&job.access, pass.as_ref(), response.headers())
                    .await;
            }
            let confirmed = confirmed_digest(&response);
            if status == StatusCode::CREATED || !status.is_success() {
                self.expect(&about, response, &[StatusCode::CREATED])
                    .await?;
                if let Some(confirmed) = confirmed
                    && confirmed != blob.digest.as_str()
                {
                    return Err(about.digest(&blob.digest, &confirmed));
                }
            } else if !self.has_blob(job, blob).await? {
                return Err(about.protocol(format!(
                    "{status} instead of 201 Created, and the blob is not there afterwards"
                )));
            }
            outcome.arrived();
            return Ok(());
        }
        Err(about.redirect("to one place after another without end"))
    }
}

/// How long a registry may take to answer after the last byte: big layers are
/// moved and hashed first, and 30 seconds have broken other clients.
pub(super) const COMMIT_PATIENCE: Duration = Duration::from_secs(600);

/// How long a connection may take nothing.
const IDLE: Duration = READ_TIMEOUT;

/// A guess on the low side, for how long a token has to last.
const SLOW_BYTES_PER_SECOND: u64 = 1 << 20;

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
    Stalled(String),
}

/// Sends, as long as something moves.
async fn watch(request: reqwest::RequestBuilder, meter: &Meter) -> Result<Response, Failure> {
    let mut response = std::pin::pin!(request.send());
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            response = &mut response => return response.map_err(Failure::Http),
            _ = tick.tick() => {
                if let Some(problem) = meter.stalled(IDLE, COMMIT_PATIENCE) {
                    return Err(Failure::Stalled(problem));
                }
            }
        }
    }
}
