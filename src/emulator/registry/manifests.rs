//! Manifests: where a push becomes an image of the control plane.

use http::{Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    super::{
        Permission,
        refusal::Refusal,
        seed::unique,
        server::{Answer, empty, full, json_answer},
        state::{AVAILABLE, Image, Layer, Repository, State, Version, new_etag},
    },
    Name, Verb, Visit,
    blobs::DOCKER_CONTENT_DIGEST,
    check_digest, insert, is_digest,
};

/// What the specification asks every registry to accept, and this one accepts no more.
const LARGEST: usize = 4 << 20;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a manifest or an index says, as far as the registry has to know.
#[derive(Default)]
struct Content {
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    children: Vec<Descriptor>,
    subject: Option<String>,
}

struct Descriptor {
    digest: String,
    size: u64,
    /// Layers that are fetched from elsewhere are never pushed.
    foreign: bool,
}

impl Visit<'_> {
    pub(super) async fn manifest(
        &mut self,
        verb: Verb,
        name: &Name,
        reference: &str,
    ) -> Result<Answer, Refusal> {
        if !is_digest(reference) && !is_tag(reference) {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "TAG_INVALID",
                format!("Invalid tag: {reference}"),
            ));
        }
        match verb {
            Verb::Head | Verb::Get => self.get_manifest(verb, name, reference).await,
            Verb::Put => self.put_manifest(name, reference).await,
            Verb::Delete => self.delete_manifest(name, reference),
        }
    }

    async fn get_manifest(
        &self,
        verb: Verb,
        name: &Name,
        reference: &str,
    ) -> Result<Answer, Refusal> {
        let image = self.shared.store.read(|state| {
            let repository = self.readable(state, name)?;
            state
                .image(&repository.id, reference)
                .cloned()
                .ok_or_else(|| unknown_manifest(reference))
        })?;
        let mut answer = Response::new(empty());
        insert(&mut answer, header::CONTENT_TYPE, &image.media_type);
        insert(&mut answer, header::CONTENT_LENGTH, &image.size.to_string());
        insert(&mut answer, header::ETAG, &format!("\"{}\"", image.digest));
        insert(&mut answer, DOCKER_CONTENT_DIGEST, &image.digest);
        if verb == Verb::Get {
            let path = self.shared.store.folder().blob(&image.digest);
            let content = tokio::fs::read(&path)
                .await
                .map_err(|error| Refusal::internal(&error))?;
            *answer.body_mut() = full(content);
            let now = self.shared.clock.now().rfc3339();
            self.shared.store.note(|state| {
                if let Some(image) = state.images.get_mut(&image.id) {
                    image.pull_count += 1;
                    image.time_last_pulled = Some(now);
                }
            });
        }
        Ok(answer)
    }

    async fn put_manifest(&mut self, name: &Name, reference: &str) -> Result<Answer, Refusal> {
        self.repository_for_push(name)?;
        let body = self
            .call
            .body
            .collect(LARGEST)
            .await
            .map_err(|mut refusal| {
                if refusal.status == StatusCode::PAYLOAD_TOO_LARGE {
                    refusal.code = "MANIFEST_INVALID".into();
                    refusal.message = format!("The manifest is larger than {LARGEST} bytes");
                }
                refusal
            })?;
        let media_type = self
            .call
            .header("content-type")
            .unwrap_or_default()
            .to_owned();
        let content = parse(&body, &media_type)?;
        let hash = Sha256::digest(&body);
        let digest = format!(
            "sha256:{}",
            hash.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        );
        if is_digest(reference) && reference != digest {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                format!(
                    "Provided digest {reference} did not match uploaded content, which has {digest}"
                ),
            ));
        }
        let now = self.shared.clock.now().rfc3339();
        let subject = content.subject.clone();
        self.shared.store.change(|state| {
            let repository = self
                .writable(state, name, Permission::RepositoryUpdate)?
                .clone();
            check_references(state, &repository, &content)?;
            if repository.is_immutable && !is_digest(reference) {
                let current = state.image(&repository.id, reference);
                if current.is_some_and(|image| image.digest != digest) {
                    return Err(Refusal::new(
                        StatusCode::FORBIDDEN,
                        "DENIED",
                        format!("Repository {name} is immutable, and tag {reference} exists"),
                    ));
                }
            }
            let folder = self.shared.store.folder();
            folder
                .write(&folder.blob(&digest), &body)
                .map_err(|error| Refusal::internal(&error))?;
            let id = match state.image(&repository.id, &digest) {
                // Pushed again: it stays what it was, also its creation time.
                Some(image) => image.id.clone(),
                None => {
                    let image = self.image(
                        state,
                        &repository,
                        content,
                        media_type,
                        &digest,
                        body.len() as u64,
                        &now,
                    );
                    let id = image.id.clone();
                    state.images.insert(id.clone(), image);
                    id
                }
            };
            if !is_digest(reference) {
                let version = Version {
                    version: reference.into(),
                    created_by: self.caller_id(),
                    time_created: now.clone(),
                };
                state.tag(&id, version);
            }
            if let Some(repository) = state.repositories.get_mut(&repository.id) {
                repository.time_last_pushed = Some(now);
            }
            Ok(())
        })?;

        let mut answer = Response::new(empty());
        *answer.status_mut() = StatusCode::CREATED;
        let location = self.location(name, &format!("manifests/{digest}"));
        insert(&mut answer, header::LOCATION, &location);
        insert(&mut answer, DOCKER_CONTENT_DIGEST, &digest);
        if let Some(subject) = subject {
            insert(
                &mut answer,
                header::HeaderName::from_static("oci-subject"),
                &subject,
            );
        }
        Ok(answer)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the members of an image, each known to the caller"
    )]
    fn image(
        &self,
        state: &mut State,
        repository: &Repository,
        content: Content,
        media_type: String,
        digest: &str,
        size: u64,
        now: &str,
    ) -> Image {
        let region = self.call.region;
        let layers = content.layers.into_iter().map(|layer| Layer {
            digest: layer.digest,
            size_in_bytes: layer.size,
            time_created: now.into(),
        });
        Image {
            id: format!(
                "ocid1.containerimage.{}.{}.0.{}.{}",
                region.realm,
                region.identifier,
                repository.namespace,
                unique()
            ),
            repository_id: repository.id.clone(),
            digest: digest.into(),
            media_type,
            size,
            layers: layers.collect(),
            children: content
                .children
                .into_iter()
                .map(|child| child.digest)
                .collect(),
            config: content.config.map(|config| config.digest),
            subject: content.subject,
            created_by: self.caller_id(),
            lifecycle_state: AVAILABLE.into(),
            time_created: now.into(),
            time_last_pulled: None,
            pull_count: 0,
            versions: Vec::new(),
            last_version: None,
            freeform_tags: Default::default(),
            defined_tags: Default::default(),
            sequence: state.next_sequence(),
            etag: new_etag(),
        }
    }

    /// A digest goes with every tag that points to it; a tag goes alone.
    fn delete_manifest(&self, name: &Name, reference: &str) -> Result<Answer, Refusal> {
        self.shared.store.change(|state| {
            let repository_id = self
                .writable(state, name, Permission::RepositoryManage)?
                .id
                .clone();
            let id = state
                .image(&repository_id, reference)
                .map(|image| image.id.clone())
                .ok_or_else(|| unknown_manifest(reference))?;
            if let Some(image) = state.images.get_mut(&id) {
                if is_digest(reference) {
                    image.delete();
                } else {
                    image.untag(reference);
                }
            }
            Ok(())
        })?;
        let mut answer = Response::new(empty());
        *answer.status_mut() = StatusCode::ACCEPTED;
        Ok(answer)
    }

    /// Manifests whose subject is the one asked for.
    pub(super) fn referrers(&self, name: &Name, digest: &str) -> Result<Answer, Refusal> {
        check_digest(digest)?;
        let images: Vec<Image> = self.shared.store.read(|state| {
            let repository = self.readable(state, name)?;
            Ok::<_, Refusal>(
                state
                    .images_of(&repository.id)
                    .filter(|image| image.subject.as_deref() == Some(digest))
                    .cloned()
                    .collect(),
            )
        })?;
        let wanted = self.call.query("artifactType");
        let mut manifests = Vec::new();
        for image in images {
            let path = self.shared.store.folder().blob(&image.digest);
            let content = std::fs::read(&path).map_err(|error| Refusal::internal(&error))?;
            let manifest: Value =
                serde_json::from_slice(&content).map_err(|error| Refusal::internal(&error))?;
            let artifact_type = match &manifest["artifactType"] {
                Value::String(artifact_type) => json!(artifact_type),
                _ => manifest["config"]["mediaType"].clone(),
            };
            if wanted.is_some_and(|wanted| artifact_type != wanted) {
                continue;
            }
            let mut descriptor = json!({
                "mediaType": image.media_type,
                "digest": image.digest,
                "size": image.size,
                "artifactType": artifact_type,
            });
            if manifest["annotations"].is_object() {
                descriptor["annotations"] = manifest["annotations"].clone();
            }
            manifests.push(descriptor);
        }
        let body = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        let mut answer = json_answer(StatusCode::OK, &body);
        insert(&mut answer, header::CONTENT_TYPE, OCI_INDEX);
        if wanted.is_some() {
            insert(
                &mut answer,
                header::HeaderName::from_static("oci-filters-applied"),
                "artifactType",
            );
        }
        Ok(answer)
    }
}

fn parse(body: &[u8], media_type: &str) -> Result<Content, Refusal> {
    let manifest: Value =
        serde_json::from_slice(body).map_err(|error| invalid(&format!("not JSON: {error}")))?;
    if manifest["schemaVersion"] != json!(2) {
        return Err(invalid("schemaVersion must be 2"));
    }
    match &manifest["mediaType"] {
        Value::String(own) if own == media_type => {}
        // Only the Open Container Initiative's manifests may leave it out.
        Value::Null if media_type == OCI_MANIFEST || media_type == OCI_INDEX => {}
        Value::Null => return Err(invalid("mediaType is missing")),
        own => {
            return Err(invalid(&format!(
                "Content-Type is {media_type}, but mediaType is {own}"
            )));
        }
    }
    let mut content = Content {
        subject: manifest["subject"]["digest"]
            .as_str()
            .map(ToOwned::to_owned),
        ..Content::default()
    };
    match media_type {
        OCI_MANIFEST | DOCKER_MANIFEST => {
            content.config = Some(descriptor(&manifest["config"])?);
            content.layers = descriptors(&manifest["layers"])?;
        }
        OCI_INDEX | DOCKER_LIST => content.children = descriptors(&manifest["manifests"])?,
        other => return Err(invalid(&format!("Unsupported media type: {other}"))),
    }
    Ok(content)
}

fn descriptors(list: &Value) -> Result<Vec<Descriptor>, Refusal> {
    list.as_array()
        .ok_or_else(|| invalid("a list of descriptors is missing"))?
        .iter()
        .map(descriptor)
        .collect()
}

fn descriptor(value: &Value) -> Result<Descriptor, Refusal> {
    let digest = value["digest"].as_str().unwrap_or_default();
    check_digest(digest)?;
    Ok(Descriptor {
        digest: digest.into(),
        size: value["size"]
            .as_u64()
            .ok_or_else(|| invalid(&format!("the size of {digest} is missing")))?,
        foreign: value["urls"]
            .as_array()
            .is_some_and(|urls| !urls.is_empty()),
    })
}

/// Everything a manifest refers to is in the repository before it, and is as large as it says.
fn check_references(
    state: &State,
    repository: &Repository,
    content: &Content,
) -> Result<(), Refusal> {
    for blob in content.config.iter().chain(&content.layers) {
        match repository.blobs.get(&blob.digest) {
            Some(size) => check_size(blob, *size)?,
            None if blob.foreign => {}
            None => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "MANIFEST_BLOB_UNKNOWN",
                    format!(
                        "Manifest references a manifest or blob unknown to registry: {}",
                        blob.digest
                    ),
                ));
            }
        }
    }
    for child in &content.children {
        match state.image(&repository.id, &child.digest) {
            Some(image) => check_size(child, image.size)?,
            None => return Err(unknown_manifest(&child.digest)),
        }
    }
    Ok(())
}

fn check_size(descriptor: &Descriptor, size: u64) -> Result<(), Refusal> {
    if descriptor.size == size {
        return Ok(());
    }
    Err(invalid(&format!(
        "{} has {size} bytes, not {}",
        descriptor.digest, descriptor.size
    )))
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "MANIFEST_INVALID",
        format!("Manifest invalid: {message}"),
    )
}

fn unknown_manifest(reference: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "MANIFEST_UNKNOWN",
        format!("Manifest {reference} unknown to registry"),
    )
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}
