//! Removing a repository, unless that would cost images that nobody meant to lose.

use super::{Repository, State, failed, name_or_id, prove_absence};
use crate::{
    framework::{Attr, Context, Diagnostic, Result},
    oci,
    provider::{
        absence::{self, Attempt},
        policy::Place,
    },
};

/// A repository that may be deleted.
enum Found {
    /// It is, or is being.
    Gone,
    /// It holds nothing.
    Empty {
        /// What it looked like then.
        etag: Option<String>,
    },
}

impl Repository {
    /// Deletes the repository. One that is gone, or being deleted, is as good.
    pub(super) async fn remove(&self, cx: &mut Context, state: &State) -> Result<()> {
        let id = state.id.clone().known_or_default();
        // With create_before_destroy a replacement takes over what it replaces.
        if let Some(owner) = self.clients.owner(&id)
            && cx.private.get(super::ADOPTED) != Some(owner.as_bytes())
        {
            cx.warn(Diagnostic::warning(
                "Container repository not deleted",
                format!(
                    "Repository {} was taken over in this run, with adopt_existing, by the resource that replaces the one that had \
                     it. It was left alone.",
                    name_or_id(state)
                ),
            ));
            return Ok(());
        }
        let oci = self.clients.oci(cx).await?;
        let (mut rounds, mut refused) = (0, None);
        let error = loop {
            rounds += 1;
            // An image that somebody pushes after the look must not be deleted unseen.
            let etag = match state.force_delete {
                Attr::Known(true) => None,
                _ => match self.refuse_images(cx, &oci, state).await? {
                    Found::Gone => return Ok(()),
                    Found::Empty { etag } => etag.filter(|etag| refused.as_ref() != Some(etag)),
                },
            };
            match oci.delete_container_repository(&id, etag.as_deref()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_stale() && etag.is_some() && rounds < super::MOST_ROUNDS => {
                    tracing::debug!(id, "The repository was changed meanwhile; looking again");
                    refused = etag;
                }
                Err(error) => break error,
            }
        };
        if error.is_stale() {
            let what = format!("Repository {} could not be deleted", name_or_id(state));
            return Err(super::changes_all_the_time(CANNOT_DELETE, &what, &error, &oci).into());
        }
        let attempt = Attempt {
            summary: CANNOT_DELETE,
            what: &format!("Repository {} could not be deleted", name_or_id(state)),
            operation: "DeleteContainerRepository",
        };
        prove_absence(cx, &oci, state, attempt, &error).await
    }

    /// The service deletes a repository with everything in it, without asking. An
    /// error when there is something in it.
    async fn refuse_images(&self, cx: &Context, oci: &oci::Client, state: &State) -> Result<Found> {
        let what = &format!(
            "Whether repository {} holds images could not be found out, so it was not deleted",
            name_or_id(state)
        );
        // Images are listed by compartment, and in one that the repository was
        // moved out of since the last refresh there would be none.
        let id = state.id.clone().known_or_default();
        let repository = match oci.get_container_repository(&id).await {
            Ok(repository) if absence::is_deleted(&repository.lifecycle_state) => {
                return Ok(Found::Gone);
            }
            Ok(repository) => repository,
            Err(error) => {
                let attempt = Attempt {
                    summary: CANNOT_DELETE,
                    what,
                    operation: "GetContainerRepository",
                };
                return prove_absence(cx, oci, state, attempt, &error)
                    .await
                    .map(|()| Found::Gone);
            }
        };
        let compartment_id = repository.compartment_id.clone();
        let query = oci::ListContainerImages {
            compartment_id: repository.compartment_id,
            repository_id: Some(repository.id),
            ..Default::default()
        };
        let images = oci.list_container_images(&query).await.map_err(|error| {
            let place = Place::Compartment(&compartment_id);
            failed(cx, CANNOT_DELETE, what, place, &error, oci)
        })?;
        let images: Vec<_> = images.iter().filter(|image| !image.is_deleted()).collect();
        if images.is_empty() {
            return Ok(Found::Empty {
                etag: repository.etag,
            });
        }
        let tags: Vec<&str> = images
            .iter()
            .filter_map(|image| image.version.as_deref())
            .take(5)
            .collect();
        let bytes = repository.layers_size_in_bytes;
        let holds = match (images.len(), bytes.map(size)) {
            (1, None) => "1 image".to_owned(),
            (1, Some(size)) => format!("1 image of {size}"),
            (count, None) => format!("{count} images"),
            (count, Some(size)) => format!("{count} images of {size} in all"),
        };
        let tags = match tags.len() {
            0 => "without tags".to_owned(),
            1 => format!("tag: {}", tags[0]),
            _ => format!("newest tags: {}", tags.join(", ")),
        };
        Err(Diagnostic::error(
            "Container repository is not empty",
            format!(
                "Repository {} holds {holds} ({tags}). Deleting it would delete what it holds, so it was left alone.\n\n\
                 To delete the repository with its images, set\n    force_delete = true\nin its block, apply that, and destroy it then. If the block \
                 was removed or changed, put it back for that as it was. To keep the repository, and only forget it here, run\n    \
                 terraform state rm ADDRESS",
                name_or_id(state)
            ),
        )
        .into())
    }
}

/// A size as a person reads it, in powers of a thousand like the console's.
fn size(bytes: i64) -> String {
    let mut rest = bytes.max(0).unsigned_abs();
    let mut unit = "bytes";
    let mut tenths = 0;
    for larger in ["kB", "MB", "GB", "TB"] {
        // Rounded to a tenth, so that no unit is ever shown as a thousand of it.
        if rest < 1000 {
            break;
        }
        tenths = rest % 1000 / 100;
        rest /= 1000;
        unit = larger;
    }
    match (unit, tenths) {
        ("bytes", _) | (_, 0) => format!("{rest} {unit}"),
        _ => format!("{rest}.{tenths} {unit}"),
    }
}

const CANNOT_DELETE: &str = "Cannot delete container repository";

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes from nothing to more than there is.
    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (-1, "0 bytes"),
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1 kB"),
            (1_417_000_000, "1.4 GB"),
            (999_999, "999.9 kB"),
            (i64::MAX, "9223372 TB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
