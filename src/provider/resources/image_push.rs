//! `ocir_image_push`: an image from a file, under a tag in the registry.
//!
//! API: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>
//! for the push; Oracle's ContainerImage for taking single tags away, which the
//! distribution API cannot.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;

use crate::{
    cty::Path,
    framework::{
        Attr, Context, Diagnostic, Diagnostics, Failed, Model, Plan, Private, Resource, Result,
    },
    image, oci,
    provider::{
        absence,
        clients::{Clients, Registry},
        diagnose,
        policy::{self, Place},
        validate,
    },
    registry::{self, Push},
};

pub(crate) struct ImagePush {
    clients: Arc<Clients>,
}

/// Pushes an image to a repository, without a Docker daemon and without a stored
/// password: the provider's own identity is exchanged for a login that lives an hour.
///
/// The digest is known while planning. It depends on the source and the arguments
/// only, so a plan that shows no change means that the tag points to this image.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct State {
    /// Where the image comes from: `docker-archive:FILE[:REF]`, a file as
    /// `docker save` writes it, or `oci:DIR[:TAG]`, an image layout directory. Paths
    /// are relative to the directory the CLI runs in. Layers that are not
    /// compressed are compressed, the same on every machine and every run.
    /// `docker://HOST/NAME:TAG` or `@DIGEST` is an image of another registry, as it is
    /// there: its layers pass through, or are mounted when it is the registry that is
    /// pushed to, and nothing is stored. Who signs in there is the provider's own
    /// identity in the region's registry, and elsewhere whom the configuration of
    /// Docker or podman has a login for, credential helpers included; a registry on
    /// this machine may speak HTTP.
    #[tf(required, validate = source)]
    source: Attr<String>,
    /// Name of the repository, without the namespace. It has to exist: refer to the
    /// `display_name` of an `ocir_repository`.
    #[tf(required, replace, validate = validate::repository_name)]
    repository: Attr<String>,
    /// Tag. A change pushes under the new tag; what becomes of the old one,
    /// `on_destroy` says.
    #[tf(default = "latest", validate = validate::tag)]
    tag: Attr<String>,
    /// Namespace; by default the tenancy's.
    #[tf(optional, computed, keep, replace, validate = validate::namespace)]
    namespace: Attr<String>,
    /// What becomes of the tag when it is given up, if it still points to this
    /// image: `keep` leaves it, `untag` takes it off the image, and `delete` deletes
    /// the image too, unless another tag points to it.
    #[tf(default = "keep", validate = validate::on_destroy)]
    on_destroy: Attr<String>,
    /// Digest of the manifest or index: `sha256:…`.
    #[tf(computed)]
    digest: Attr<String>,
    /// The image by tag: `<host>/<namespace>/<repository>:<tag>`.
    #[tf(computed)]
    reference: Attr<String>,
    /// The image by digest: `<host>/<namespace>/<repository>@sha256:…`.
    #[tf(computed)]
    digest_reference: Attr<String>,
    /// Digest of the image's configuration, which `docker images` calls the image's
    /// id. Null for an index.
    #[tf(computed)]
    image_id: Attr<String>,
    /// Media type of the manifest or index.
    #[tf(computed)]
    media_type: Attr<String>,
    /// Bytes of all distinct blobs, as the registry stores them.
    #[tf(computed)]
    size_bytes: Attr<i64>,
    /// The layers, base first. Null for an index.
    #[tf(computed, nested)]
    layers: Attr<Vec<Layer>>,
}

/// A layer.
#[derive(Clone, Debug, Default, PartialEq, Model)]
pub(crate) struct Layer {
    /// Digest as it is stored, that is, compressed.
    #[tf(computed)]
    digest: Attr<String>,
    /// Media type.
    #[tf(computed)]
    media_type: Attr<String>,
    /// Size in bytes as it is stored.
    #[tf(computed)]
    size_bytes: Attr<i64>,
}

impl Resource for ImagePush {
    type Clients = Clients;
    type State = State;

    fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    fn validate(config: &State) -> Diagnostics {
        let mut diagnostics = Diagnostics::default();
        if config.tag.is_null() {
            diagnostics.push(
                Diagnostic::warning(
                    "Image is pushed as \"latest\"",
                    "Argument \"tag\" is left out, so the tag is \"latest\", which says nothing about what is in the image. \
                     Set it to a version, such as \"1.0.0\".",
                )
                .at(Path::attribute("tag")),
            );
        }
        diagnostics
    }

    async fn plan(&self, cx: &mut Context, plan: &mut Plan<'_, State>) -> Result<()> {
        if plan.planned.namespace.is_unknown()
            && plan.config.namespace.is_null()
            && self.clients.is_known()
        {
            plan.planned.namespace = Attr::Known(self.clients.namespace(cx).await?);
        }
        match plan.planned.source.known() {
            None => plan.planned.forget_content(),
            Some(text) => match self.load(cx, text).await {
                Ok(image) => plan.planned.show(&image),
                Err(error) if error.is_missing() => {
                    plan.planned.forget_content();
                    cx.warn(
                        Diagnostic::warning(
                            "Image source does not exist yet",
                            format!(
                                "{} It may be made during the apply; until then the digest is not known. If the path is mistyped, \
                                 the apply will fail.",
                                diagnose::sentence(&error)
                            ),
                        )
                        .at(Path::attribute("source")),
                    );
                }
                Err(error) => return Err(diagnose::source(&error)),
            },
        }
        let host = if self.clients.is_known() {
            Some(self.clients.registry_host(cx).await?)
        } else {
            None
        };
        plan.planned.refer(host.as_deref());
        Ok(())
    }

    async fn create(
        &self,
        cx: &mut Context,
        _: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        self.push(cx, planned).await.map_err(Failed::from)
    }

    async fn read(&self, cx: &mut Context, mut state: State) -> Result<Option<State>> {
        let registry = self.clients.registry(cx).await?;
        let (path, tag) = (state.path(), state.tag.clone().known_or_default());
        let found = registry.client.head_manifest(&path, &tag).await;
        let found = found.map_err(|error| {
            diagnose::registry(
                CANNOT_READ,
                &format!("What tag \"{tag}\" of repository \"{path}\" points to could not be read"),
                policy::PULL,
                &error,
                &registry,
            )
        })?;
        match found {
            None => {
                self.prove_absence(cx, &registry, &state, CANNOT_READ)
                    .await?;
                Ok(None)
            }
            Some(manifest) => {
                if Attr::Known(manifest.digest.to_string()) != state.digest {
                    // Somebody moved the tag. What else is in the other image is not
                    // ours to show; that it is another one, the two digests do.
                    state.digest = Attr::Known(manifest.digest.to_string());
                    state.media_type = Attr::Known(manifest.media_type);
                    state.image_id = Attr::Null;
                    state.size_bytes = Attr::Null;
                    state.layers = Attr::Null;
                }
                state.refer(Some(registry.client.host()));
                Ok(Some(state))
            }
        }
    }

    async fn update(
        &self,
        cx: &mut Context,
        _: &State,
        prior: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        let moved = planned.tag != prior.tag;
        let last = last_pushed(&cx.private, prior);
        let state = if moved || planned.digest != prior.digest || !planned.digest.is_known() {
            self.push(cx, planned).await?
        } else {
            // Only how the same image is found or left changes.
            cx.private
                .set(LAST_PUSHED, planned.digest.clone().known_or_default());
            planned
        };
        if moved && let Err(diagnostics) = self.give_up(cx, prior, &last, &state.on_destroy).await {
            // The image is where it should be; only the old tag is left over, and no
            // later apply would look for it.
            let old = prior.tag.clone().known_or_default();
            for error in diagnostics {
                cx.warn(Diagnostic::warning(
                    "Old image tag is left over",
                    format!(
                        "The image was pushed under its new tag. Tag \"{old}\" may still point to the one before; take it away by hand.\n\n{}",
                        error.detail
                    ),
                ));
            }
        }
        Ok(state)
    }

    async fn delete(&self, cx: &mut Context, state: State) -> Result<()> {
        let last = last_pushed(&cx.private, &state);
        self.give_up(cx, &state, &last, &state.on_destroy).await
    }
}

impl State {
    /// Path of the repository at the registry.
    fn path(&self) -> String {
        format!(
            "{}/{}",
            self.namespace.clone().known_or_default(),
            self.repository.clone().known_or_default()
        )
    }

    /// The content is not known yet.
    fn forget_content(&mut self) {
        self.digest = Attr::Unknown;
        self.image_id = Attr::Unknown;
        self.media_type = Attr::Unknown;
        self.size_bytes = Attr::Unknown;
        self.layers = Attr::Unknown;
    }

    /// Takes over what is known from the image itself.
    fn show(&mut self, image: &image::Image) {
        let root = image.root();
        self.digest = Attr::Known(root.digest.to_string());
        self.media_type = Attr::Known(root.media_type.clone());
        self.image_id = root
            .config
            .as_ref()
            .map(|config| config.digest.to_string())
            .into();
        self.size_bytes = Attr::Known(bytes(image.total_size()));
        self.layers = if image.is_index() {
            Attr::Null
        } else {
            Attr::Known(root.layers.iter().map(Layer::from).collect())
        };
    }

    /// Writes the references, as far as their parts are known.
    fn refer(&mut self, host: Option<&str>) {
        let path = match (host, self.namespace.known(), self.repository.known()) {
            (Some(host), Some(namespace), Some(repository)) => {
                Some(format!("{host}/{namespace}/{repository}"))
            }
            _ => None,
        };
        let join = |separator: char, part: &Attr<String>| match (&path, part.known()) {
            (Some(path), Some(part)) => Attr::Known(format!("{path}{separator}{part}")),
            _ => Attr::Unknown,
        };
        self.reference = join(':', &self.tag);
        self.digest_reference = join('@', &self.digest);
    }
}

impl From<&image::Descriptor> for Layer {
    fn from(layer: &image::Descriptor) -> Self {
        Self {
            digest: Attr::Known(layer.digest.to_string()),
            media_type: Attr::Known(layer.media_type.clone()),
            size_bytes: Attr::Known(bytes(layer.size)),
        }
    }
}

impl ImagePush {
    async fn load(&self, cx: &Context, source: &str) -> Result<image::Image, image::Error> {
        self.clients.load(cx, image::Source::parse(source)?).await
    }

    async fn push(&self, cx: &mut Context, mut planned: State) -> Result<State> {
        let source = planned.source.clone().known_or_default();
        let image = self
            .load(cx, &source)
            .await
            .map_err(|error| diagnose::source(&error))?;
        if let Some(promised) = planned.digest.known()
            && promised != image.root().digest.as_str()
        {
            return Err(Diagnostic::error(
                "Image source changed",
                format!(
                    "The plan promised {promised}, and {source} now holds {}. Nothing was pushed. Plan again.",
                    image.root().digest
                ),
            )
            .at(Path::attribute("source"))
            .into());
        }
        let registry = self.clients.registry(cx).await?;
        if !planned.namespace.is_known() {
            planned.namespace = Attr::Known(self.clients.namespace(cx).await?);
        }
        let (path, tag) = (planned.path(), planned.tag.clone().known_or_default());
        let push = Push {
            repository: &path,
            tag: &tag,
            image: &image,
        };
        let pushed = registry.client.push(&push).await.map_err(|error| {
            diagnose::registry(
                "Cannot push image",
                &format!(
                    "{source} could not be pushed to repository \"{path}\" under tag \"{tag}\""
                ),
                policy::PUSH,
                &error,
                &registry,
            )
        })?;
        for warning in pushed.warnings {
            cx.warn(Diagnostic::warning(
                "Warning of the registry",
                format!("{} says: {warning}", registry.client.host()),
            ));
        }
        cx.private.set(LAST_PUSHED, image.root().digest.as_str());
        planned.show(&image);
        planned.refer(Some(registry.client.host()));
        Ok(planned)
    }

    /// Returns when the tag of `state`, which the registry does not know, is gone.
    async fn prove_absence(
        &self,
        cx: &Context,
        registry: &Registry,
        state: &State,
        summary: &str,
    ) -> Result<()> {
        let image = absence::Image {
            namespace: state.namespace.as_str().unwrap_or_default(),
            repository: state.repository.as_str().unwrap_or_default(),
            tag: state.tag.as_str().unwrap_or_default(),
        };
        absence::image(&self.clients, cx, registry, &image, summary).await
    }

    /// Gives up the tag of `prior` as `on_destroy` says, if it still points to
    /// `digest`, which we pushed.
    async fn give_up(
        &self,
        cx: &mut Context,
        prior: &State,
        digest: &str,
        on_destroy: &Attr<String>,
    ) -> Result<()> {
        let delete = match on_destroy.as_str() {
            Some("untag") => false,
            Some("delete") => true,
            _ => return Ok(()),
        };
        let registry = self.clients.registry(cx).await?;
        let (path, tag) = (prior.path(), prior.tag.clone().known_or_default());
        let what = format!("Tag \"{tag}\" of repository \"{path}\" could not be removed");
        let summary = "Cannot remove image tag";
        let cannot = |error: &registry::Error| {
            diagnose::registry(summary, &what, policy::PULL, error, &registry)
        };

        let found = registry
            .client
            .head_manifest(&path, &tag)
            .await
            .map_err(|error| cannot(&error))?;
        let Some(found) = found else {
            return self.prove_absence(cx, &registry, prior, summary).await;
        };
        if found.digest.as_str() != digest {
            return Ok(());
        }
        if registry.is_ocir {
            let oci = self.clients.oci(cx).await?;
            // What it names can be read only as long as it is there.
            let named = match delete && is_index(&found.media_type) {
                true => named_by(&registry.client, &path, [digest.to_owned()])
                    .await
                    .map_err(|error| cannot(&error))?,
                false => BTreeSet::new(),
            };
            let deleted = match take_off(&oci, &path, &tag, digest, delete).await {
                // The control plane says 404 about a tag that the registry has: it
                // was taken off since, or the control plane must not be asked.
                Err(NotTaken {
                    error,
                    compartment_id,
                }) if error.is_not_found() => {
                    let found = registry.client.head_manifest(&path, &tag).await;
                    return match found.map_err(|error| cannot(&error))? {
                        None => self.prove_absence(cx, &registry, prior, summary).await,
                        Some(found) if found.digest.as_str() != digest => Ok(()),
                        Some(_) => {
                            let advice = format!(
                                "The image exists: {} has it under this tag, so it stays in the state. {}",
                                registry.client.host(),
                                diagnose::lost_right(
                                    &error,
                                    Place::Compartment(&compartment_id),
                                    &oci
                                )
                            );
                            Err(diagnose::refusal(summary, &what, &error, &oci, &advice).into())
                        }
                    };
                }
                taken => taken.map_err(
                    |NotTaken {
                         error,
                         compartment_id,
                     }| {
                        let place = Place::Compartment(&compartment_id);
                        diagnose::oci(summary, &what, place, &error, &oci)
                    },
                )?,
            };
            if let Some(index) = deleted
                && !named.is_empty()
                && let Err(reason) = delete_orphans(&oci, &registry, &path, &index, &named).await
            {
                cx.warn(Diagnostic::warning(
                    "Images of an index are kept",
                    format!(
                        "The index {digest} that tag \"{tag}\" of repository \"{path}\" pointed to was deleted, and images that it \
                         named may be left in the repository, without a tag: {reason}."
                    ),
                ));
            }
            return Ok(());
        }
        // The distribution API deletes a manifest with every tag on it.
        if !delete {
            cx.warn(Diagnostic::warning(
                "Tag is kept",
                format!(
                    "{} is not Oracle's registry, and the distribution API cannot take one tag off an image without deleting it, \
                     so tag \"{tag}\" of repository \"{path}\" was left alone.",
                    registry.client.host()
                ),
            ));
            return Ok(());
        }
        for other in registry
            .client
            .tags(&path)
            .await
            .map_err(|error| cannot(&error))?
            .unwrap_or_default()
        {
            if other == tag {
                continue;
            }
            let found = registry
                .client
                .head_manifest(&path, &other)
                .await
                .map_err(|error| cannot(&error))?;
            if found.is_some_and(|found| found.digest.as_str() == digest) {
                cx.warn(Diagnostic::warning(
                    "Image is kept",
                    format!("Tag \"{other}\" of repository \"{path}\" points to the same image, so neither it nor tag \"{tag}\" was deleted."),
                ));
                return Ok(());
            }
        }
        let digest = digest
            .parse()
            .map_err(|error: image::Error| diagnose::source(&error))?;
        registry
            .client
            .delete_manifest(&path, &digest)
            .await
            .map_err(|error| cannot(&error))
    }
}

/// Takes `tag` off its image, and deletes the image when that is wished and no
/// other tag points to it; gives the image that was deleted. Deleting by OCID
/// would take the other tags along.
async fn take_off(
    oci: &oci::Client,
    path: &str,
    tag: &str,
    digest: &str,
    delete: bool,
) -> Result<Option<oci::ContainerImage>, NotTaken> {
    let image = oci
        .lookup_container_image_by_uri(&format!("{path}:{tag}"))
        .await;
    let image = image.map_err(|error| NotTaken {
        error,
        compartment_id: String::new(),
    })?;
    let not_taken = |error| NotTaken {
        error,
        compartment_id: image.compartment_id.clone(),
    };
    if image.digest != digest {
        // The tag was moved since it was looked at: it is somebody else's now.
        return Ok(None);
    }
    let others = image.versions.iter().any(|version| version.version != tag);
    if delete && !others {
        let deleted = oci.delete_container_image(&image.id).await;
        deleted.map_err(not_taken)?;
        return Ok(Some(image));
    }
    let removed = oci.remove_container_version(&image.id, tag).await;
    removed.map_err(not_taken)?;
    Ok(None)
}

/// Why a tag was not taken off.
struct NotTaken {
    error: oci::Error,
    /// Where the image is; empty when that is not known.
    compartment_id: String,
}

/// To Oracle the images of an index are images without a tag, which outlive the
/// index and keep their repository from being destroyed. Deletes those that no
/// tag and no other index keeps. The error is why some may be left.
async fn delete_orphans(
    oci: &oci::Client,
    registry: &Registry,
    path: &str,
    index: &oci::ContainerImage,
    named: &BTreeSet<String>,
) -> Result<(), String> {
    let query = oci::ListContainerImages {
        compartment_id: index.compartment_id.clone(),
        repository_id: Some(index.repository_id.clone()),
        ..Default::default()
    };
    let images = oci.list_container_images(&query).await;
    let (orphans, others): (Vec<_>, Vec<_>) = images
        .map_err(|error| diagnose::chain(&error))?
        .into_iter()
        .filter(|image| !image.is_deleted() && image.id != index.id)
        .partition(|image| image.version.is_none() && named.contains(&image.digest));
    if orphans.is_empty() {
        return Ok(());
    }
    if others.len() > MOST_OTHERS {
        return Err(format!(
            "the repository holds {} other images, too many to see whether one of them is an index that names them too",
            others.len()
        ));
    }
    let others = others.into_iter().map(|image| image.digest);
    let kept = named_by(&registry.client, path, others)
        .await
        .map_err(|error| diagnose::chain(&error))?;
    for orphan in orphans {
        if !kept.contains(&orphan.digest) {
            match oci.delete_container_image(&orphan.id).await {
                // Somebody else was faster, if it is not listed any more.
                Err(error)
                    if error.is_not_found()
                        && absence::is_image_gone(
                            oci,
                            &index.compartment_id,
                            &index.repository_id,
                            &orphan.digest,
                        )
                        .await
                        .unwrap_or(false) => {}
                deleted => deleted.map_err(|error| diagnose::chain(&error))?,
            }
        }
    }
    Ok(())
}

const CANNOT_READ: &str = "Cannot read image";

/// Most images that are looked at to find out what they name.
const MOST_OTHERS: usize = 100;

/// Digests of the manifests that these name, and that those in turn name.
async fn named_by(
    client: &registry::Client,
    path: &str,
    digests: impl IntoIterator<Item = String>,
) -> Result<BTreeSet<String>, registry::Error> {
    /// What counts in an index. An image names no manifests.
    #[derive(Default, Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<Entry>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        #[serde(default)]
        media_type: String,
        digest: String,
    }

    let mut named = BTreeSet::new();
    let mut unread: Vec<String> = digests.into_iter().collect();
    while let Some(digest) = unread.pop() {
        let Some(manifest) = client.get_manifest(path, &digest).await? else {
            continue;
        };
        let index: Index = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
        for entry in index.manifests {
            if named.insert(entry.digest.clone()) && is_index(&entry.media_type) {
                unread.push(entry.digest);
            }
        }
    }
    Ok(named)
}

/// Whether a manifest of this media type names others.
fn is_index(media_type: &str) -> bool {
    matches!(media_type, image::OCI_INDEX | image::DOCKER_INDEX)
}

/// Key of the private state: the digest that we left the tag at. A refresh puts
/// into the state what the tag points to, which may be somebody else's image.
const LAST_PUSHED: &str = "last_pushed";

fn last_pushed(private: &Private, state: &State) -> String {
    match private.get(LAST_PUSHED) {
        Some(digest) => String::from_utf8_lossy(digest).into_owned(),
        None => state.digest.clone().known_or_default(),
    }
}

/// Checks how the source is written.
fn source(value: &crate::cty::Value) -> Result<(), String> {
    match value {
        crate::cty::Value::String(text) => image::Source::parse(text)
            .map(drop)
            .map_err(|error| format!("cannot be used: {}", diagnose::chain(&error))),
        _ => Ok(()),
    }
}

/// A size as Terraform's numbers carry it here; no image is 8 EiB.
fn bytes(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
