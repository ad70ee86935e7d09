//! Manifests: HEAD, GET, PUT, DELETE.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::de::IgnoredAny;

use super::{
    Client, Error,
    auth::Access,
    client::{COMMIT_PATIENCE, Call, read_body},
    error::About,
    push::Job,
};
use crate::image::{Digest, Manifest, validate_tag};

/// What a registry says about a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the specification")]
pub struct ManifestDescriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
}

/// A manifest as a registry gives it, its digest verified.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named as in the specification")]
pub struct ManifestContent {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
}

impl Client {
    /// What `reference` (a tag or a digest) of `repository` (with namespace)
    /// points to; `None` for 404. Other failures are asked again as GET, since
    /// a HEAD has no body to explain them.
    pub async fn head_manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<ManifestDescriptor>, Error> {
        let access = Access::pull(repository);
        self.until_stopped(self.find_manifest(&access, reference))
            .await
    }
    /// The manifest itself; `None` for 404.
    pub async fn get_manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<ManifestContent>, Error> {
        let access = Access::pull(repository);
        self.until_stopped(self.fetch_manifest(&access, reference))
            .await
    }
    /// Deletes the manifest with this digest, and every tag on it. 404 is success.
    pub async fn delete_manifest(&self, repository: &str, digest: &Digest) -> Result<(), Error> {
        self.until_stopped(self.remove_manifest(repository, digest))
            .await
    }

    pub(super) async fn find_manifest(
        &self,
        access: &Access,
        reference: &str,
    ) -> Result<Option<ManifestDescriptor>, Error> {
        let operation = format!("check of manifest {reference}");
        let call = Call {
            headers: accept(),
            ..Call::new(
                &operation,
                Method::HEAD,
                self.manifest_url(access, reference)?,
                access,
            )
        };
        let response = self.send(&call).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {
                let headers = response.headers();
                let size = headers
                    .get(CONTENT_LENGTH)
                    .and_then(|size| size.to_str().ok()?.parse().ok());
                if let (Some(digest), Some(size)) = (content_digest(headers), size) {
                    // Asked for a digest, a registry has only one answer.
                    if let Ok(expected) = reference.parse::<Digest>()
                        && expected != digest
                    {
                        let about = self.about(&operation, access.repository());
                        return Err(about.digest(&expected, digest.as_str()));
                    }
                    return Ok(Some(ManifestDescriptor {
                        media_type: media_type(headers),
                        digest,
                        size,
                    }));
                }
            }
            _ => {}
        }
        // Either a failure whose reason is in the body, or a registry that
        // leaves the headers out: the content says both.
        let content = self.fetch_manifest(access, reference).await?;
        Ok(content.map(|content| ManifestDescriptor {
            media_type: content.media_type,
            digest: content.digest,
            size: content.bytes.len() as u64,
        }))
    }

    pub(super) async fn fetch_manifest(
        &self,
        access: &Access,
        reference: &str,
    ) -> Result<Option<ManifestContent>, Error> {
        let operation = format!("reading of manifest {reference}");
        let about = self.about(&operation, access.repository());
        let call = Call {
            headers: accept(),
            ..Call::new(
                &operation,
                Method::GET,
                self.manifest_url(access, reference)?,
                access,
            )
        };
        let response = self.send(&call).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.expect(&about, response, &[StatusCode::OK]).await?;
        let headers = response.headers().clone();
        let bytes = read_body(&about, response, MAX_MANIFEST).await?;
        // A sign-in page answers 200 to everything, and its digest would look like
        // a tag that somebody moved.
        if serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&bytes).is_err() {
            return Err(about.protocol("it is not the JSON of a manifest"));
        }
        let digest = Digest::of(&bytes);
        if let Ok(expected) = reference.parse::<Digest>()
            && expected != digest
        {
            return Err(about.digest(&expected, digest.as_str()));
        }
        if let Some(claimed) = content_digest(&headers)
            && claimed != digest
        {
            return Err(about.digest(&claimed, digest.as_str()));
        }
        Ok(Some(ManifestContent {
            media_type: media_type(&headers),
            digest,
            bytes,
        }))
    }

    async fn remove_manifest(&self, repository: &str, digest: &Digest) -> Result<(), Error> {
        let operation = format!("deletion of manifest {digest}");
        let about = self.about(&operation, repository);
        let access = Access::push(repository);
        let delete = Access::delete(repository);
        let call = Call {
            delete_access: Some(&delete),
            ..Call::new(
                &operation,
                Method::DELETE,
                self.manifest_url(&access, digest.as_str())?,
                &access,
            )
        };
        let response = self.send(&call).await?;
        let gone = [
            StatusCode::ACCEPTED,
            StatusCode::OK,
            StatusCode::NO_CONTENT,
            StatusCode::NOT_FOUND,
        ];
        self.expect(&about, response, &gone).await?;
        Ok(())
    }

    /// Writes a manifest under a tag or its digest, and makes sure that this is
    /// what the registry has there now. `completes` says whether this is what
    /// makes the push complete.
    pub(super) async fn put_manifest(
        &self,
        job: &Job<'_>,
        reference: &str,
        manifest: &Manifest,
        completes: bool,
    ) -> Result<(), Error> {
        let operation = format!("upload of manifest {reference}");
        let about = self.about(&operation, job.repository);
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_str(&manifest.media_type).map_err(|_| Error::Name {
            kind: "media type",
            name: manifest.media_type.clone(),
            problem: "must be one that a header can hold".into(),
        })?;
        headers.insert(CONTENT_TYPE, media_type);
        let call = Call {
            headers,
            body: manifest.bytes.clone(),
            patience: COMMIT_PATIENCE,
            warnings: Some(&job.warnings),
            in_flight: completes.then_some(&job.tagging),
            ..Call::new(
                &operation,
                Method::PUT,
                self.manifest_url(&job.access, reference)?,
                &job.access,
            )
        };
        let response = match self.send(&call).await {
            Ok(response) => response,
            // It may have been written, and only the answers were lost.
            Err(error) if error.is_temporary() && !self.stop.is_cancelled() => {
                let there = self.find_manifest(&job.access, reference).await;
                return match there {
                    Ok(Some(there)) if there.digest == manifest.digest => Ok(()),
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let (status, confirmed) = (response.status(), confirmed_digest(&response));
        if status.is_success() && status != StatusCode::CREATED {
            tracing::debug!(%status, "unusual answer to the {operation}, asking again");
        } else {
            self.expect(&about, response, &[StatusCode::CREATED])
                .await?;
            self.inner.uploads.opened(job.repository);
            match confirmed {
                Some(confirmed) if confirmed == manifest.digest.as_str() => return Ok(()),
                Some(confirmed) => return Err(about.digest(&manifest.digest, &confirmed)),
                None => {}
            }
        }
        let confirm = self.confirm_manifest(&about, job, reference, manifest);
        let confirmed = tokio::select! {
            confirmed = confirm => confirmed,
            // It is written, and there is no time to make sure.
            () = self.stop.cancelled(), if status == StatusCode::CREATED => return Ok(()),
        };
        match confirmed {
            Err(Error::Digest { .. }) if status != StatusCode::CREATED => {
                Err(about.protocol(format!(
                    "{status} instead of 201 Created, and the manifest is not there afterwards"
                )))
            }
            confirmed => confirmed,
        }
    }

    /// Asks what is there now. An answer without a digest may have come from
    /// something that is no registry.
    async fn confirm_manifest(
        &self,
        about: &About<'_>,
        job: &Job<'_>,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        match self.find_manifest(&job.access, reference).await? {
            Some(there) if there.digest == manifest.digest => Ok(()),
            Some(there) => Err(about.digest(&manifest.digest, there.digest.as_str())),
            None => Err(about.protocol("the manifest is not there after it was accepted")),
        }
    }

    fn manifest_url(&self, access: &Access, reference: &str) -> Result<url::Url, Error> {
        if reference.parse::<Digest>().is_err() {
            validate_tag(reference).map_err(|problem| Error::Name {
                kind: "tag",
                name: reference.into(),
                problem,
            })?;
        }
        self.url(access.repository(), &format!("manifests/{reference}"))
    }
}

/// The digest that an answer names, if it names one.
pub(super) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers
        .get(DOCKER_CONTENT_DIGEST)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// What an answer says that it stored, whatever that is.
pub(super) fn confirmed_digest(response: &Response) -> Option<String> {
    let value = response.headers().get(DOCKER_CONTENT_DIGEST)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";

/// Twice what registries have to accept.
const MAX_MANIFEST: usize = 8 << 20;

/// Without these a registry may convert what it has into something older.
fn accept() -> HeaderMap {
    HeaderMap::from_iter([(
        ACCEPT,
        HeaderValue::from_static(
            "application/vnd.oci.image.index.v1+json, \
             application/vnd.oci.image.manifest.v1+json, \
             application/vnd.docker.distribution.manifest.list.v2+json, \
             application/vnd.docker.distribution.manifest.v2+json",
        ),
    )])
}

/// Without parameters.
fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_owned()
}
