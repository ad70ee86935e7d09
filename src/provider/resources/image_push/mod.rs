//! `ocir_image_push`: an image from a file, under a tag in the registry.
//!
//! API: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>
//! for the push; Oracle's ContainerImage for taking single tags away, which the
//! distribution API cannot.

mod memory;
mod promise;
mod push;
mod removal;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::try_join_all;

use self::memory::Memory;
use crate::{
    cty::Path,
    framework::{
        Attr, Context, Diagnostic, Diagnostics, Failed, Limits, Model, Plan, Resource, Result,
        Stop, Timeouts,
    },
    image::{self, Digest},
    provider::{
        clients::{Clients, Registry},
        diagnose, policy, validate,
    },
    registry,
};

pub(crate) struct ImagePush {
    clients: Arc<Clients>,
}

/// Pushes an image to a repository, without a Docker daemon and without a stored
/// password: the provider's own identity is exchanged for a login that lives an hour.
///
/// The digest is known while planning. It depends on the source and the arguments
/// only, so a plan that shows no change means that the tag points to this image.
///
/// An image that is there already is not sent, nor is any layer that the repository
/// has; a layer that another repository has got in the same run is taken over from
/// there. Layers that come uncompressed are compressed once, the same on every machine
/// and every run, and kept in a cache that may be deleted at any time: in the directory `OCIR_CACHE_DIR` (by default
/// `terraform-provider-ocir` in the user's cache directory), which does not grow beyond `OCIR_CACHE_SIZE` (such
/// as `20GiB`; `0` switches it off).
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct State {
    /// Where the image comes from: `docker-archive:FILE[:REF]`, a file as `docker
    /// save` or `podman save` writes it; `oci:DIR[:TAG]`, an image layout directory, or
    /// `oci-archive:FILE[:TAG]`, the same in a file; `docker-daemon:NAME[:TAG]` or
    /// `docker-daemon:ID`, out of a running Docker or podman, at `DOCKER_HOST` or one of the usual
    /// sockets; or a path that begins with `/` or `.`, whose content says which of these
    /// it is. Files may be compressed with gzip or zstd. Where there are several images,
    /// `REF` or `TAG` chooses, or `@NUMBER`, its place from `@0` on. Paths are relative to
    /// the directory the CLI runs in.
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
    /// More tags of the same image. The image is sent once, and each tag costs one
    /// small request. They change in place; what becomes of one that is taken out,
    /// `on_destroy` says.
    #[tf(optional, validate = validate::tags)]
    additional_tags: Attr<BTreeSet<String>>,
    /// Namespace; by default the tenancy's.
    #[tf(optional, computed, keep, replace, validate = validate::namespace)]
    namespace: Attr<String>,
    /// Keep only these platforms of a multi-platform image, such as `linux/amd64` or
    /// `linux/arm64/v8`; all of them when it is left out. When something is dropped, the index is
    /// written anew, so that its digest is not the source's.
    #[tf(optional, validate = validate::platforms)]
    platforms: Attr<BTreeSet<String>>,
    /// Media types of what is pushed: `source` keeps those that the source has
    /// (`docker save` means Docker's schema 2), `oci` and `docker` convert, which changes
    /// the digest. Docker's schema 2 has no annotations and no attestations; they
    /// are lost.
    #[tf(default = "source", validate = validate::format)]
    format: Attr<String>,
    /// What becomes of layers that come uncompressed: `gzip` and `zstd` compress
    /// them, `none` pushes them as they are. `zstd` exists in OCI images only. Layers that
    /// are compressed already stay as they are.
    #[tf(default = "gzip", validate = validate::compression)]
    compression: Attr<String>,
    /// What to do about a tag that points to another image, neither the one that we
    /// pushed last nor the planned one: `overwrite` moves it, `error` pushes nothing and
    /// fails, and `adopt` accepts what is there. What `adopt` will find is not known
    /// while planning, so `digest` is known only after the apply whenever something is to be pushed.
    #[tf(default = "overwrite", validate = validate::if_exists)]
    if_exists: Attr<String>,
    /// What becomes of a tag when it is given up, if it still points to this
    /// image: `keep` leaves it, `untag` takes it off the image, and `delete` deletes
    /// the image too, unless another tag points to it. A registry that is not Oracle's
    /// cannot take a single tag off; there `untag` keeps it, with a warning.
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
    /// How long operations may take. A push that gets no further ends much sooner by
    /// itself.
    #[tf(block)]
    timeouts: Attr<Timeouts>,
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
    // Only a person knows how long a large image takes on a slow line; what stands
    // still is given up by itself.
    const TIMEOUTS: Limits = Limits {
        create: Duration::from_secs(24 * 3600),
        read: Duration::from_secs(20 * 60),
        update: Duration::from_secs(24 * 3600),
        delete: Duration::from_secs(20 * 60),
    };

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
        if config.format.as_str() == Some("docker") && config.compression.as_str() == Some("zstd") {
            diagnostics.push(
                Diagnostic::error(
                    "Invalid combination",
                    "Images of Docker's schema 2 have no layers that are compressed with zstd. Set the argument \"format\" to \"oci\", or \
                     leave \"compression\" out.",
                )
                .at(Path::attribute("compression")),
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
        // What is made anew is planned once more, without what there was before.
        let prior = plan.prior.filter(|_| !plan.is_replacement());
        let memory = prior.and_then(|_| Memory::of(&cx.private));
        let memory = memory.unwrap_or_default();
        match plan.planned.load_request(&memory) {
            None => plan.planned.forget_content(),
            Some(request) => match self.load(cx, request).await {
                Ok(image) => {
                    self.compare_with_last_plan(cx, prior, &plan.planned, &image)
                        .await;
                    plan.planned.expect(prior, &memory, &image);
                }
                Err(error) if error.is_missing() => {
                    plan.planned.forget_content();
                    cx.warn(
                        Diagnostic::warning(
                            "Image source does not exist yet",
                            format!(
                                "{} It may be made during the apply; until then the digest is not known. If it is mistyped, the apply \
                                 will fail.{}",
                                diagnose::sentence(&error),
                                diagnose::whereabouts(&error)
                                    .map(|advice| format!("\n\n{advice}"))
                                    .unwrap_or_default()
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
        let pushed = self.push(cx, None, planned, &Memory::default()).await;
        let (state, memory) = pushed.map_err(|failed| in_time(cx, failed))?;
        memory.keep(&mut cx.private);
        Ok(state)
    }

    async fn read(&self, cx: &mut Context, state: State) -> Result<Option<State>> {
        let found = self.refresh(cx, state).await;
        found.map_err(|failed| in_time(cx, failed))
    }

    async fn update(
        &self,
        cx: &mut Context,
        _: &State,
        prior: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        let before = Memory::of(&cx.private).unwrap_or_default();
        let (old, new) = (prior.all_tags(), planned.all_tags());
        // The state may be about another registry than the one that is configured now.
        let host = self.clients.registry_host(cx).await?;
        let is_elsewhere = match prior.host() {
            // A registry has several names.
            Some(before) if before != host => {
                let names = self.clients.registry_hosts(cx).await.unwrap_or_default();
                !names.iter().any(|name| name == before)
            }
            _ => false,
        };
        let is_there = planned.digest.is_known()
            && planned.digest == prior.digest
            && new.is_subset(&old)
            && !is_elsewhere;
        let (state, memory) = if is_there {
            // Only how the same image is found or left changes.
            let memory = self.remember(cx, &planned, &before).await;
            (planned, memory)
        } else {
            let prior = Some(prior).filter(|_| !is_elsewhere);
            let pushed = self.push(cx, prior, planned, &before).await;
            pushed.map_err(|failed| in_time(cx, failed))?
        };
        memory.keep(&mut cx.private);
        if is_elsewhere {
            // What is there is out of reach.
            return Ok(state);
        }
        for tag in old.difference(&new) {
            let Some(digest) = before.digest_of(tag, prior) else {
                continue;
            };
            let given = [(tag.clone(), digest)];
            if let Err(diagnostics) = self.give_up(cx, prior, &given, &state.on_destroy).await {
                // The image is where it should be; only the old tag is left over, and no
                // later apply would look for it.
                for error in diagnostics {
                    cx.warn(Diagnostic::warning(
                        "Old image tag is left over",
                        format!(
                            "The image is where it should be. Tag \"{tag}\" was given up, and may still point to the one before; take it \
                             away by hand.\n\n{}",
                            error.detail
                        ),
                    ));
                }
            }
        }
        Ok(state)
    }

    async fn delete(&self, cx: &mut Context, state: State) -> Result<()> {
        let memory = Memory::of(&cx.private).unwrap_or_default();
        let main = state.tag.clone().known_or_default();
        let mut tags: Vec<String> = state.all_tags().into_iter().collect();
        // The main tag is what a refresh looks for, so it goes last.
        tags.sort_by_key(|tag| *tag == main);
        let given: Vec<_> = tags
            .into_iter()
            .filter_map(|tag| {
                let digest = memory.digest_of(&tag, &state)?;
                Some((tag, digest))
            })
            .collect();
        let given_up = self.give_up(cx, &state, &given, &state.on_destroy).await;
        given_up.map_err(|failed| in_time(cx, failed))
    }

    /// `repository:tag`, or the whole reference.
    async fn import(&self, cx: &mut Context, id: &str) -> Result<State> {
        let namespace = self.clients.namespace(cx).await?;
        let host = self.clients.registry_host(cx).await?;
        let name = id
            .strip_prefix(&format!("{host}/{namespace}/"))
            .unwrap_or(id);
        let wrong = |problem: String| {
            Diagnostic::error(
                "Invalid import identifier",
                format!(
                    "\"{id}\" does not say which image is meant: {problem}. Write the repository without the namespace, and the tag, \
                     such as \"motando-webapp:1.0.0\"."
                ),
            )
        };
        let Some((repository, tag)) = name.rsplit_once(':') else {
            return Err(wrong("it has no tag".into()).into());
        };
        registry::validate_repository(repository)
            .map_err(|problem| wrong(format!("the repository {problem}")))?;
        registry::validate_tag(tag).map_err(|problem| wrong(format!("the tag {problem}")))?;
        Ok(State {
            repository: Attr::Known(repository.to_owned()),
            tag: Attr::Known(tag.to_owned()),
            namespace: Attr::Known(namespace),
            ..State::default()
        })
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

    /// The tags beside the main one.
    fn additional_tags(&self) -> BTreeSet<String> {
        let mut tags = self.additional_tags.clone().known_or_default();
        if let Some(main) = self.tag.as_str() {
            tags.remove(main);
        }
        tags
    }

    /// The main tag and all others.
    fn all_tags(&self) -> BTreeSet<String> {
        let mut tags = self.additional_tags();
        tags.extend(self.tag.known().cloned());
        tags
    }

    /// The registry that the reference names.
    fn host(&self) -> Option<&str> {
        Some(self.reference.as_str()?.split_once('/')?.0)
    }

    /// What is planned for `image`, which the source holds now.
    fn expect(&mut self, prior: Option<&State>, memory: &Memory, image: &image::Image) {
        match (self.if_exists.as_str(), prior) {
            (Some("overwrite" | "error"), _) => self.show(image),
            // What is there was accepted, wherever it comes from.
            (Some("adopt"), Some(prior))
                if memory.source.as_ref() == Some(&image.root().digest)
                    && prior.tag == self.tag =>
            {
                self.digest = prior.digest.clone();
                self.media_type = prior.media_type.clone();
                self.image_id = prior.image_id.clone();
                self.size_bytes = prior.size_bytes.clone();
                self.layers = prior.layers.clone();
            }
            _ => self.forget_content(),
        }
    }

    /// Takes over what is known of another image than ours.
    fn show_other(&mut self, manifest: &registry::ManifestDescriptor) {
        self.digest = Attr::Known(manifest.digest.to_string());
        self.media_type = Attr::Known(manifest.media_type.clone());
        self.image_id = Attr::Null;
        self.size_bytes = Attr::Null;
        self.layers = Attr::Null;
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

impl Memory {
    /// The digest that we left a tag of `state` at. Of what an older version pushed
    /// nothing may be remembered, and the state says it.
    fn digest_of(&self, tag: &str, state: &State) -> Option<Digest> {
        match self.tags.get(tag) {
            Some(digest) => Some(digest.clone()),
            None if *self == Self::default() => state.digest.as_str()?.parse().ok(),
            None => None,
        }
    }
}

/// What a stop means: the run was interrupted, or the operation has had its time.
fn in_time(cx: &Context, failed: Diagnostics) -> Diagnostics {
    if cx.stopped() != Some(Stop::TimedOut) {
        return failed;
    }
    let failed = failed.into_iter().map(|mut diagnostic| {
        let detail = &diagnostic.detail;
        diagnostic.detail = detail.replace(diagnose::INTERRUPTED, "there was no time left.");
        diagnostic
    });
    failed.collect()
}

impl ImagePush {
    /// What the tags of a state point to now.
    async fn refresh(&self, cx: &mut Context, mut state: State) -> Result<Option<State>> {
        let registry = self.clients.registry_for(cx, &state.path()).await?;
        let tag = state.tag.clone().known_or_default();
        let additional: Vec<String> = state.additional_tags().into_iter().collect();
        let looks = additional.iter().chain([&tag]);
        let looks = looks.map(|tag| self.look_at(&registry, &state, tag));
        let mut found = try_join_all(looks).await?;
        let Some(manifest) = found.pop().flatten() else {
            self.prove_absence(cx, &registry, &state, &tag, CANNOT_READ)
                .await?;
            return Ok(None);
        };
        let memory = Memory::of(&cx.private).unwrap_or_else(|| {
            // What was imported counts as ours; of anything else the state says what was.
            let before = state.digest.as_str().and_then(|digest| digest.parse().ok());
            let digest: Digest = before.unwrap_or_else(|| manifest.digest.clone());
            let tags = state.all_tags().into_iter();
            let memory = Memory {
                tags: tags.map(|tag| (tag, digest.clone())).collect(),
                ..Memory::default()
            };
            memory.keep(&mut cx.private);
            memory
        });
        let adopts = state.if_exists.as_str() == Some("adopt");
        for (tag, found) in additional.into_iter().zip(found) {
            let is_there = match (&found, memory.tags.get(&tag)) {
                (Some(_), _) if adopts => true,
                (Some(found), Some(ours)) => found.digest == *ours,
                _ => false,
            };
            if is_there {
                continue;
            }
            if let Some(found) = found {
                let ours = memory.tags.get(&tag).unwrap_or(&manifest.digest);
                cx.warn(Diagnostic::warning(
                    "Additional tag was moved",
                    format!(
                        "Tag \"{tag}\" of repository \"{}\" points to {}, and not to {ours} any more, so it is not among the additional \
                         tags now. An apply moves it back.",
                        state.path(),
                        found.digest
                    ),
                ));
            }
            if let Attr::Known(tags) = &mut state.additional_tags {
                tags.remove(&tag);
            }
        }
        if Attr::Known(manifest.digest.to_string()) != state.digest {
            // Somebody moved the tag. What else is in the other image is not
            // ours to show; that it is another one, the two digests do.
            state.show_other(&manifest);
        }
        state.refer(Some(registry.client.host()));
        Ok(Some(state))
    }

    /// What a tag of `state` points to.
    async fn look_at(
        &self,
        registry: &Registry,
        state: &State,
        tag: &str,
    ) -> Result<Option<registry::ManifestDescriptor>> {
        let path = state.path();
        let found = registry.client.head_manifest(&path, tag).await;
        found.map_err(|error| {
            diagnose::registry(
                CANNOT_READ,
                &format!("What tag \"{tag}\" of repository \"{path}\" points to could not be read"),
                policy::PULL,
                &error,
                registry,
            )
        })
    }
}

const CANNOT_READ: &str = "Cannot read image";

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
