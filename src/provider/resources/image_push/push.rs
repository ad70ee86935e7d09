//! Reading the source, and bringing it there.

use std::collections::BTreeMap;

use super::{ImagePush, Memory, State};
use crate::{
    cty::Path,
    framework::{Attr, Context, Diagnostic, Result},
    image::{self, Compression, Digest, Image, LoadOptions, ManifestFormat},
    provider::{clients::Registry, diagnose, policy},
    registry::{self, Push},
};

/// A source and how it is to be read.
pub(super) struct LoadRequest {
    source: String,
    options: LoadOptions,
}

impl State {
    /// How the source is to be read; `None` as long as something of it is unknown.
    pub(super) fn load_request(&self, memory: &Memory) -> Option<LoadRequest> {
        let platforms = match &self.platforms {
            Attr::Unknown => return None,
            Attr::Null => Vec::new(),
            // What is none was refused before.
            Attr::Known(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
        };
        if self.format.is_unknown() || self.compression.is_unknown() {
            return None;
        }
        let format = match self.format.as_str() {
            Some("oci") => ManifestFormat::Oci,
            Some("docker") => ManifestFormat::Docker,
            _ => ManifestFormat::Source,
        };
        let compression = match self.compression.as_str() {
            Some("zstd") => Compression::Zstd,
            Some("none") => Compression::None,
            _ => Compression::Gzip,
        };
        Some(LoadRequest {
            source: self.source.known()?.clone(),
            options: LoadOptions {
                platforms,
                format,
                compression,
                known: memory.layers.clone(),
                ..LoadOptions::default()
            },
        })
    }
}

impl ImagePush {
    /// Reads a source to the point where its digest is known.
    pub(super) async fn load(
        &self,
        cx: &Context,
        request: LoadRequest,
    ) -> Result<Image, image::Error> {
        let environment = self.clients.load_options();
        let LoadRequest { source, options } = request;
        let options = LoadOptions {
            platforms: options.platforms,
            format: options.format,
            compression: options.compression,
            known: options.known,
            ..environment
        };
        let source = image::Source::parse(&source)?;
        self.clients.load(cx, source, options).await
    }

    /// Brings what is planned there, and says what is to be remembered. `prior` is what
    /// this registry has of it; `memory` what is remembered of that.
    pub(super) async fn push(
        &self,
        cx: &mut Context,
        prior: Option<&State>,
        mut planned: State,
        memory: &Memory,
    ) -> Result<(State, Memory)> {
        let source = planned.source.clone().known_or_default();
        let Some(request) = planned.load_request(memory) else {
            return Err(Diagnostic::error(
                "Cannot push image",
                "Where the image comes from is not known. This is a bug in the CLI, which makes everything known before it applies.",
            )
            .into());
        };
        let image = self.load(cx, request).await;
        let image = image.map_err(|error| diagnose::source(&error))?;
        let root = image.root().digest.clone();
        let adopts = planned.if_exists.as_str() == Some("adopt");
        if !adopts && let Some(promised) = planned.digest.known().filter(|it| **it != root.as_str())
        {
            return Err(changed(&source, promised, &root).into());
        }
        if !planned.namespace.is_known() {
            planned.namespace = Attr::Known(self.clients.namespace(cx).await?);
        }
        let registry = self.clients.registry_for(cx, &planned.path()).await?;
        let mut next = Memory::default();
        next.learn(&image);
        let mut additional: Vec<String> = planned.additional_tags().into_iter().collect();
        if adopts {
            let tag = planned.tag.clone().known_or_default();
            let theirs = |tag: &str, there: &registry::ManifestDescriptor| {
                there.digest != root && memory.tags.get(tag) != Some(&there.digest)
            };
            let there = self.look_at(&registry, &planned, &tag).await?;
            if let Some(there) = there.filter(|there| theirs(&tag, there)) {
                return self.adopt(cx, &registry, planned, next, &there).await;
            }
            if let Some(promised) = planned.digest.known().filter(|it| **it != root.as_str()) {
                return Err(changed(&source, promised, &root).into());
            }
            let mut ours = Vec::new();
            for tag in additional {
                match self.look_at(&registry, &planned, &tag).await? {
                    Some(there) if theirs(&tag, &there) => {}
                    _ => ours.push(tag),
                }
            }
            additional = ours;
        }
        let (path, tag) = (planned.path(), planned.tag.clone().known_or_default());
        let protects = planned.if_exists.as_str() == Some("error");
        let was_there = prior.is_some_and(|prior| prior.digest.as_str() == Some(root.as_str()));
        let push = Push {
            additional_tags: &additional,
            expected: was_there || memory.tags.values().any(|digest| *digest == root),
            movable: protects.then_some(&memory.tags),
            ..Push::new(&path, &tag, &image)
        };
        let pushed = registry
            .client
            .push(&push)
            .await
            .map_err(|error| cannot_push(&source, &path, &tag, &error, &registry))?;
        for warning in pushed.warnings {
            cx.warn(Diagnostic::warning(
                "Warning of the registry",
                format!("{} says: {warning}", registry.client.host()),
            ));
        }
        let tags = additional.into_iter().chain([tag]);
        next.tags = tags.map(|tag| (tag, root.clone())).collect();
        planned.show(&image);
        planned.refer(Some(registry.client.host()));
        Ok((planned, next))
    }

    /// Accepts what a tag points to. Additional tags that are missing point there
    /// too then; those that are there are accepted as well.
    async fn adopt(
        &self,
        cx: &mut Context,
        registry: &Registry,
        mut planned: State,
        mut next: Memory,
        there: &registry::ManifestDescriptor,
    ) -> Result<(State, Memory)> {
        let (path, tag) = (planned.path(), planned.tag.clone().known_or_default());
        if let Some(promised) = planned.digest.known()
            && promised != there.digest.as_str()
        {
            return Err(Diagnostic::error(
                "Image tag was moved",
                format!(
                    "The plan promised that tag \"{tag}\" of repository \"{path}\" stays at {promised}, and it points to {} now. Plan again.",
                    there.digest
                ),
            )
            .at(Path::attribute("tag"))
            .into());
        }
        tracing::info!(
            host = registry.client.host(),
            repository = path,
            tag,
            digest = %there.digest,
            "Accepted the image that the tag points to"
        );
        let source = planned.source.clone().known_or_default();
        let mut manifest = None;
        for tag in planned.additional_tags() {
            if self.look_at(registry, &planned, &tag).await?.is_some() {
                continue;
            }
            let cannot =
                |error: &registry::Error| cannot_push(&source, &path, &tag, error, registry);
            if manifest.is_none() {
                let content = registry
                    .client
                    .get_manifest(&path, there.digest.as_str())
                    .await;
                manifest = content.map_err(|error| cannot(&error))?;
            }
            let Some(manifest) = &manifest else {
                return Err(Diagnostic::error(
                    "Cannot push image",
                    format!(
                        "The image {} that tag \"{}\" of repository \"{path}\" points to was accepted, and it cannot be read, so it got no \
                         tag \"{tag}\".",
                        there.digest,
                        planned.tag.as_str().unwrap_or_default()
                    ),
                )
                .into());
            };
            let tagged = registry.client.tag_manifest(&path, &tag, manifest).await;
            tagged.map_err(|error| cannot(&error))?;
            next.tags.insert(tag, there.digest.clone());
        }
        planned.show_other(there);
        planned.refer(Some(registry.client.host()));
        cx.warn(Diagnostic::warning(
            "Image was adopted",
            format!(
                "Tag \"{tag}\" of repository \"{path}\" points to {} already, which is another image than {source} holds. It was accepted, as \
                 \"if_exists\" says, and nothing was pushed.",
                there.digest
            ),
        ));
        Ok((planned, next))
    }

    /// What is to be remembered of a push that had nothing to send: `planned` is
    /// where it should be.
    pub(super) async fn remember(&self, cx: &Context, planned: &State, before: &Memory) -> Memory {
        let mut next = Memory {
            tags: BTreeMap::new(),
            layers: before.layers.clone(),
            source: before.source.clone(),
        };
        let digest: Option<Digest> = planned
            .digest
            .as_str()
            .and_then(|digest| digest.parse().ok());
        let adopts = planned.if_exists.as_str() == Some("adopt");
        for tag in planned.all_tags() {
            match (before.tags.get(&tag), &digest) {
                // It points to what the source holds, although we left it at something
                // else: a run that was interrupted had it written after all.
                (Some(_), Some(digest)) if !adopts && Attr::Known(tag.clone()) == planned.tag => {
                    next.tags.insert(tag, digest.clone());
                }
                (Some(ours), _) => {
                    next.tags.insert(tag, ours.clone());
                }
                // An import, or a state of which nothing was remembered.
                (None, Some(digest)) if *before == Memory::default() => {
                    next.tags.insert(tag, digest.clone());
                }
                _ => {}
            }
        }
        // The plan has just read it, and what it read is still remembered.
        if let Some(request) = planned.load_request(before)
            && let Ok(image) = self.load(cx, request).await
        {
            next.learn(&image);
        }
        next
    }
}

fn changed(source: &str, promised: &str, found: &Digest) -> Diagnostic {
    Diagnostic::error(
        "Image source changed",
        format!("The plan promised {promised}, and {source} now holds {found}. Nothing was pushed. Plan again."),
    )
    .at(Path::attribute("source"))
}

fn cannot_push(
    source: &str,
    path: &str,
    tag: &str,
    error: &registry::Error,
    registry: &Registry,
) -> crate::framework::Diagnostics {
    let diagnostics = diagnose::registry(
        "Cannot push image",
        &format!("{source} could not be pushed to repository \"{path}\" under tag \"{tag}\""),
        policy::PUSH,
        error,
        registry,
    );
    match short_name(path, registry.client.host()) {
        Some(name) if error.is_name_unknown() || error.is_not_found() => diagnose::with_outcome(
            diagnostics,
            &format!(
                "\"repository\" is the name alone: the provider puts the host and the namespace before it. Probably \"{name}\" is meant."
            ),
        ),
        _ => diagnostics,
    }
}

/// The name of a repository in a path that has the namespace, or the host, twice,
/// because somebody wrote it as it is pulled.
fn short_name<'a>(path: &'a str, host: &str) -> Option<&'a str> {
    let (namespace, repository) = path.split_once('/')?;
    let (first, rest) = repository.split_once('/')?;
    let has_host = first == host || first.ends_with(".ocir.io");
    let name = if has_host { rest } else { repository };
    let short = name
        .strip_prefix(namespace)
        .and_then(|rest| rest.strip_prefix('/'));
    short.or(has_host.then_some(name))
}
