//! Giving tags up: what `on_destroy` says, for one tag after the other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{ImagePush, State};
use crate::{
    framework::{Attr, Context, Diagnostic, Result},
    image::{self, Digest},
    oci,
    provider::{
        absence,
        clients::Registry,
        diagnose,
        policy::{self, Place},
    },
    registry,
};

/// A tag that is given up, and the digest that we left it at.
pub(super) type Given = (String, Digest);

const CANNOT_REMOVE: &str = "Cannot remove image tag";

impl ImagePush {
    /// Returns when the tag of `state`, which the registry does not know, is gone.
    pub(super) async fn prove_absence(
        &self,
        cx: &Context,
        registry: &Registry,
        state: &State,
        tag: &str,
        summary: &str,
    ) -> Result<()> {
        let image = absence::Image {
            namespace: state.namespace.as_str().unwrap_or_default(),
            repository: state.repository.as_str().unwrap_or_default(),
            tag,
        };
        absence::image(&self.clients, cx, registry, &image, summary).await
    }

    /// Gives up tags of `prior` as `on_destroy` says, each if it still points to
    /// the digest that we left it at.
    pub(super) async fn give_up(
        &self,
        cx: &mut Context,
        prior: &State,
        tags: &[Given],
        on_destroy: &Attr<String>,
    ) -> Result<()> {
        let delete = match on_destroy.as_str() {
            Some("untag") => false,
            Some("delete") => true,
            _ => return Ok(()),
        };
        if tags.is_empty() {
            return Ok(());
        }
        let registry = self.clients.registry_for(cx, &prior.path()).await?;
        let mut ours: BTreeMap<&Digest, BTreeSet<&str>> = BTreeMap::new();
        for (tag, digest) in tags {
            let what = cannot_remove(prior, tag);
            let found = registry.client.head_manifest(&prior.path(), tag).await;
            let found = found.map_err(|error| refused(&what, &error, &registry))?;
            match found {
                None => {
                    self.prove_absence(cx, &registry, prior, tag, CANNOT_REMOVE)
                        .await?;
                }
                Some(found) if found.digest != *digest => {}
                Some(found) if registry.is_ocir => {
                    self.take_off_ocir(cx, &registry, prior, tag, &found, delete)
                        .await?;
                }
                Some(_) => {
                    ours.entry(digest).or_default().insert(tag);
                }
            }
        }
        // The distribution API deletes a manifest with every tag on it.
        for (digest, tags) in ours {
            if delete {
                delete_elsewhere(cx, &registry, prior, digest, &tags).await?;
                continue;
            }
            for tag in tags {
                cx.warn(Diagnostic::warning(
                    "Tag is kept",
                    format!(
                        "{} is not Oracle's registry, and the distribution API cannot take one tag off an image without deleting it, \
                         so tag \"{tag}\" of repository \"{}\" was left alone.",
                        registry.client.host(),
                        prior.path()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Takes a tag, which points to `found`, off its image with Oracle's call for that.
    async fn take_off_ocir(
        &self,
        cx: &mut Context,
        registry: &Registry,
        prior: &State,
        tag: &str,
        found: &registry::ManifestDescriptor,
        delete: bool,
    ) -> Result<()> {
        let (path, digest) = (prior.path(), found.digest.as_str());
        let what = cannot_remove(prior, tag);
        let cannot = |error: &registry::Error| refused(&what, error, registry);
        let oci = self.clients.oci(cx).await?;
        // What it names can be read only as long as it is there.
        let named = match delete && is_index(&found.media_type) {
            true => named_by(&registry.client, &path, [digest.to_owned()])
                .await
                .map_err(|error| cannot(&error))?,
            false => BTreeSet::new(),
        };
        let deleted = match take_off(&oci, &path, tag, digest, delete).await {
            // The control plane says 404 about a tag that the registry has: it
            // was taken off since, or the control plane must not be asked.
            Err(NotTaken {
                error,
                compartment_id,
            }) if error.is_not_found() => {
                let found = registry.client.head_manifest(&path, tag).await;
                return match found.map_err(|error| cannot(&error))? {
                    None => {
                        self.prove_absence(cx, registry, prior, tag, CANNOT_REMOVE)
                            .await
                    }
                    Some(found) if found.digest.as_str() != digest => Ok(()),
                    Some(_) => {
                        let advice = format!(
                            "The image exists: {} has it under this tag, so it stays in the state. {}",
                            registry.client.host(),
                            diagnose::lost_right(&error, Place::Compartment(&compartment_id), &oci)
                        );
                        Err(diagnose::refusal(CANNOT_REMOVE, &what, &error, &oci, &advice).into())
                    }
                };
            }
            taken => taken.map_err(
                |NotTaken {
                     error,
                     compartment_id,
                 }| {
                    let place = Place::Compartment(&compartment_id);
                    diagnose::oci(CANNOT_REMOVE, &what, place, &error, &oci)
                },
            )?,
        };
        if let Some(index) = deleted
            && !named.is_empty()
            && let Err(reason) = delete_orphans(&oci, registry, &path, &index, &named).await
        {
            cx.warn(Diagnostic::warning(
                "Images of an index are kept",
                format!(
                    "The index {digest} that tag \"{tag}\" of repository \"{path}\" pointed to was deleted, and images that it \
                     named may be left in the repository, without a tag: {reason}."
                ),
            ));
        }
        Ok(())
    }
}

fn cannot_remove(state: &State, tag: &str) -> String {
    format!(
        "Tag \"{tag}\" of repository \"{}\" could not be removed",
        state.path()
    )
}

fn refused(
    what: &str,
    error: &registry::Error,
    registry: &Registry,
) -> crate::framework::Diagnostics {
    diagnose::registry(CANNOT_REMOVE, what, policy::PULL, error, registry)
}

/// Deletes an image from a registry that is not Oracle's, with these tags of ours,
/// unless another tag points to it.
async fn delete_elsewhere(
    cx: &mut Context,
    registry: &Registry,
    prior: &State,
    digest: &Digest,
    ours: &BTreeSet<&str>,
) -> Result<()> {
    let path = prior.path();
    let first = ours.first().copied().unwrap_or_default();
    let what = cannot_remove(prior, first);
    let cannot = |error: &registry::Error| refused(&what, error, registry);
    let tags = registry.client.tags(&path).await;
    for other in tags.map_err(|error| cannot(&error))?.unwrap_or_default() {
        if ours.contains(other.as_str()) {
            continue;
        }
        let found = registry.client.head_manifest(&path, &other).await;
        let found = found.map_err(|error| cannot(&error))?;
        if found.is_some_and(|found| found.digest == *digest) {
            let names: Vec<String> = ours.iter().map(|tag| format!("tag \"{tag}\"")).collect();
            cx.warn(Diagnostic::warning(
                "Image is kept",
                format!(
                    "Tag \"{other}\" of repository \"{path}\" points to the same image, so neither it nor {} was deleted.",
                    names.join(" nor ")
                ),
            ));
            return Ok(());
        }
    }
    registry
        .client
        .delete_manifest(&path, digest)
        .await
        .map_err(|error| cannot(&error))
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

/// Most images that are looked at to find out what they name.
const MOST_OTHERS: usize = 100;

/// Digests of the manifests that these name, and that those in turn name.
async fn named_by(
    client: &registry::Client,
    path: &str,
    digests: impl IntoIterator<Item = String>,
) -> Result<BTreeSet<String>, registry::Error> {
    let mut named = BTreeSet::new();
    let mut unread: Vec<String> = digests.into_iter().collect();
    while let Some(digest) = unread.pop() {
        let Some(manifest) = client.get_manifest(path, &digest).await? else {
            continue;
        };
        for entry in entries(&manifest.bytes) {
            if named.insert(entry.digest.clone()) && is_index(&entry.media_type) {
                unread.push(entry.digest);
            }
        }
    }
    Ok(named)
}

/// What counts in an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    media_type: String,
    digest: String,
}

/// What an index names. An image names no manifests.
fn entries(index: &[u8]) -> Vec<Entry> {
    #[derive(Default, Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<Entry>,
    }
    let index: Index = serde_json::from_slice(index).unwrap_or_default();
    index.manifests
}

/// Whether a manifest of this media type names others.
fn is_index(media_type: &str) -> bool {
    matches!(media_type, image::OCI_INDEX | image::DOCKER_INDEX)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever a registry gives as an index, it names only what stands in it.
        #[test]
        fn any_index(
            index in crate::spoilt::json([serde_json::json!({
                "mediaType": image::OCI_INDEX,
                "manifests": [{"mediaType": image::OCI_INDEX, "digest": "sha256:00", "size": 1}, {"digest": "sha256:11"}],
            })]),
            changes in crate::spoilt::changes(),
        ) {
            let bytes = index.to_string().into_bytes();
            let named: Vec<String> = entries(&bytes).into_iter().map(|entry| entry.digest).collect();
            let written: Vec<&str> = index["manifests"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|entry| entry["digest"].as_str())
                .collect();
            proptest::prop_assert!(named.is_empty() || named == written, "{:?}", named);
            let bytes = changes.of(bytes);
            let length: usize = entries(&bytes).iter().map(|entry| entry.digest.len()).sum();
            proptest::prop_assert!(length <= bytes.len());
        }
    }
}
