//! Whether an object is gone, or only hidden.
//!
//! Oracle answers 404 `NotAuthorizedOrNotFound` both when something does not exist
//! and when the caller may not see it, and the registry answers 404 to both as
//! well. Whoever takes a lost permission for a lost object makes a plan that
//! creates everything a second time, and forgets what still exists. So no 404
//! counts by itself. The rule, the same for a refresh and for a destroy:
//!
//! **One more question is asked, to somebody else, that tells the two apart. Only
//! an answer without the object proves that it is gone. Everything else is an
//! error that keeps the state and names the policy that is missing.**
//!
//! | object | the question | gone | an error |
//! | --- | --- | --- | --- |
//! | repository | the list of its compartment, by name | the list has no such OCID, and neither has the tenancy's | the list has it; the list is refused; the tenancy's list has it elsewhere |
//! | auth token | the list of its user's tokens | the list has no such OCID | the list has it; the list is refused |
//! | image | the tags of its repository; if those are denied too, the tenancy's list of repositories | the tag is not among the tags; the repository is nowhere | the tag is among them; the repository exists; a list is refused |
//! | image elsewhere than at Oracle's registry | the tags of its repository | the tag is not among them; there is no such repository | the tag is among them; the list is refused |
//!
//! A registry that is not Oracle's has no second witness. It answers 401 or 403 to
//! those who may not look, as the distribution specification wants it, so its word
//! that there is no such repository is taken.
//!
//! **Does a list without the object prove that the caller may list?** Oracle's
//! lists ask for the compartment by OCID, and to those who may not inspect it they
//! answer 404, as documented for every service. A service that answered them with
//! an empty list could not be told from an empty compartment by any question, so
//! either answer to this is a guess, and the harmless one is taken. If it is
//! wrong, a repository that still exists is planned anew. Its name is unique in
//! the tenancy and region, so the create is refused with `NAMESPACE_CONFLICT` and
//! the error shows the way to import it: nothing is made twice and nothing is
//! deleted. The other guess would never let a compartment's only repository be
//! made again after somebody deleted it.
//!
//! **What of the tenancy's list?** It is asked second, to find a repository that
//! somebody moved. Teams often may inspect their own compartment only, so that a
//! refusal of this list is no hint of anything: the compartment's own list has
//! spoken, and the argument about names holds.

use crate::{
    framework::{Context, Diagnostic, Diagnostics, Result},
    oci,
    provider::{
        clients::{Clients, Registry},
        diagnose,
        policy::{self, Place},
    },
};

/// What was tried when the 404 came.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// Summary of the diagnostic.
    pub(super) summary: &'a str,
    /// A sentence without its period that says what could not be done.
    pub(super) what: &'a str,
    /// The operation that was answered 404.
    pub(super) operation: &'a str,
}

/// A repository as the state has it.
pub(super) struct Repository<'a> {
    pub(super) id: &'a str,
    pub(super) display_name: &'a str,
    pub(super) compartment_id: &'a str,
}

/// Returns when the repository is proven to be gone. `refused` is the 404.
pub(super) async fn repository(
    oci: &oci::Client,
    repository: &Repository<'_>,
    attempt: Attempt<'_>,
    refused: &oci::Error,
) -> Result<()> {
    let Repository {
        id,
        display_name,
        compartment_id,
    } = *repository;
    let here = Place::Compartment(compartment_id);
    let query = oci::ListContainerRepositories {
        compartment_id: compartment_id.to_owned(),
        compartment_id_in_subtree: false,
        display_name: Some(display_name.to_owned()),
    };
    let listed = match oci.list_container_repositories(&query).await {
        Ok(listed) => listed,
        Err(list) if is_refusal(&list) => {
            // Who may do what was tried may list as well.
            let allow = diagnose::allow("A policy that allows both", attempt.operation, here, oci);
            return Err(kept(
                attempt,
                refused,
                oci,
                &format!(
                    "The repositories of compartment {compartment_id} cannot be listed either. {} Either a permission was lost, or the \
                     compartment was deleted. The repository may still exist, so it stays in the state. {allow}\n\n\
                     If the compartment was deleted, take the repository out of the state:\n    terraform state rm ADDRESS",
                    diagnose::answer(&list)
                ),
            ));
        }
        Err(failed) => return Err(cannot_tell(attempt, here, &failed, oci)),
    };
    if let Some(found) = listed.iter().find(|found| found.id == id) {
        if is_deleted(&found.lifecycle_state) {
            return Ok(());
        }
        let advice = format!(
            "The repository exists: the list of compartment {compartment_id} has it, so it stays in the state. {}",
            diagnose::lost_right(refused, here, oci)
        );
        return Err(kept(attempt, refused, oci, &advice));
    }
    let Some(tenancy_id) = oci.credentials().tenancy_id() else {
        return Ok(());
    };
    let query = oci::ListContainerRepositories {
        compartment_id: tenancy_id,
        compartment_id_in_subtree: true,
        ..query
    };
    match oci.list_container_repositories(&query).await {
        Ok(listed) => match listed.iter().find(|found| found.id == id) {
            Some(found) if !is_deleted(&found.lifecycle_state) => {
                let there = &found.compartment_id;
                let allow = diagnose::allow(
                    "A policy that allows this there",
                    attempt.operation,
                    Place::Compartment(there),
                    oci,
                );
                Err(kept(
                    attempt,
                    refused,
                    oci,
                    &format!(
                        "The repository exists: it was moved from compartment {compartment_id} to {there}, so it stays in the state. Move it \
                         back, or set \"compartment_id\" to where it is. {allow}"
                    ),
                ))
            }
            // Nothing, or another repository that took the name since.
            _ => Ok(()),
        },
        Err(refused) if is_refusal(&refused) => {
            tracing::debug!(
                error = %refused,
                repository = id,
                "The tenancy's list is refused; the compartment's has no such repository"
            );
            Ok(())
        }
        Err(failed) => Err(cannot_tell(attempt, Place::Tenancy, &failed, oci)),
    }
}

/// The user's token of this OCID; `None` when it is proven to be gone. There is
/// no call for one token, so the list is the only question there is.
pub(super) async fn auth_token(
    cx: &Context,
    oci: &oci::Client,
    user_id: &str,
    id: &str,
    attempt: Attempt<'_>,
) -> Result<Option<oci::AuthToken>> {
    match oci.list_auth_tokens(user_id).await {
        Ok(tokens) => Ok(tokens
            .into_iter()
            .find(|token| token.id == id && !is_deleted(&token.lifecycle_state))),
        Err(refused) if is_refusal(&refused) => {
            let is_own = oci.credentials().user_id().as_deref() == Some(user_id);
            let allow = match is_own {
                true => "Users see their own tokens without a policy, so look whether the user is active.".to_owned(),
                false => diagnose::allow(
                    "A policy that allows it",
                    "ListAuthTokens",
                    Place::User(user_id),
                    oci,
                ),
            };
            Err(kept(
                attempt,
                &refused,
                oci,
                &format!(
                    "Either the right to list the user's tokens was lost, or the user itself was deleted, and the token with it. Oracle answers \
                     the same to both, so the token stays in the state. {allow}\n\n\
                     If the user was deleted, take the token out of the state:\n    terraform state rm ADDRESS"
                ),
            ))
        }
        Err(failed) => Err(diagnose::failed(
            cx,
            attempt.summary,
            attempt.what,
            Place::User(user_id),
            &failed,
            oci,
        )),
    }
}

/// A tag as the state has it.
pub(super) struct Image<'a> {
    /// Of the tenancy, usually.
    pub(super) namespace: &'a str,
    /// Name of the repository, without the namespace.
    pub(super) repository: &'a str,
    pub(super) tag: &'a str,
}

/// Returns when the registry's 404 for a tag is proven to mean that it is gone.
pub(super) async fn image(
    clients: &Clients,
    cx: &Context,
    registry: &Registry,
    image: &Image<'_>,
    summary: &str,
) -> Result<()> {
    let Image {
        namespace,
        repository,
        tag,
    } = *image;
    let path = format!("{namespace}/{repository}");
    let host = registry.client.host();
    let what =
        format!("Whether tag \"{tag}\" of repository \"{path}\" is gone could not be found out");
    match registry.client.tags(&path).await {
        Ok(Some(tags)) if !tags.iter().any(|known| known == tag) => return Ok(()),
        Ok(Some(_)) => {
            return Err(Diagnostic::error(
                summary,
                format!(
                    "{what}. {host} has no manifest for the tag, and lists it among the repository's tags. Run again; if it stays \
                     so, push the tag anew or delete it.\n\nSigned in as: {}",
                    registry.identity()
                ),
            )
            .into());
        }
        // The distribution specification has a code of its own for what is denied,
        // and elsewhere there is nobody else to ask.
        Ok(None) if !registry.is_ocir => return Ok(()),
        Ok(None) => {}
        Err(error) => {
            return Err(diagnose::registry(
                summary,
                &what,
                policy::PULL,
                &error,
                registry,
            ));
        }
    }
    let oci = clients.oci(cx).await?;
    // What another tenancy holds, its own control plane knows only.
    let is_ours = namespace == clients.namespace(cx).await?;
    let (known, place) = match oci.credentials().tenancy_id().filter(|_| is_ours) {
        None => (
            "whether the repository exists is not known".to_owned(),
            None,
        ),
        Some(tenancy_id) => {
            let query = oci::ListContainerRepositories {
                compartment_id: tenancy_id,
                compartment_id_in_subtree: true,
                display_name: Some(repository.to_owned()),
            };
            let listed = oci.list_container_repositories(&query).await;
            let listed = listed
                .map_err(|error| diagnose::oci(summary, &what, Place::Tenancy, &error, &oci))?;
            let found = listed
                .into_iter()
                .find(|found| !is_deleted(&found.lifecycle_state));
            match found {
                None => return Ok(()),
                Some(found) => (
                    format!(
                        "the repository exists in compartment {}",
                        found.compartment_id
                    ),
                    Some(found.compartment_id),
                ),
            }
        }
    };
    let allow = diagnose::allow(
        "The right to read it may have been lost. A policy gives it back",
        policy::PULL,
        place.as_deref().map_or(Place::Unknown, Place::Compartment),
        &oci,
    );
    Err(Diagnostic::error(
        summary,
        format!(
            "{what}: {known}, and {host} answers as if it did not. The state is kept. {allow}\n\nSigned in as: {}",
            registry.identity()
        ),
    )
    .into())
}

/// Whether an image, which its own calls answer 404 about, is gone: the list of
/// its repository's images says.
pub(super) async fn is_image_gone(
    oci: &oci::Client,
    compartment_id: &str,
    repository_id: &str,
    digest: &str,
) -> Result<bool, oci::Error> {
    let query = oci::ListContainerImages {
        compartment_id: compartment_id.to_owned(),
        repository_id: Some(repository_id.to_owned()),
        image_digest: Some(digest.to_owned()),
        ..Default::default()
    };
    let images = oci.list_container_images(&query).await?;
    Ok(images
        .iter()
        .all(|image| image.digest != digest || image.is_deleted()))
}

/// Nothing is proven, and `advice` says what is known.
fn kept(
    attempt: Attempt<'_>,
    refused: &oci::Error,
    oci: &oci::Client,
    advice: &str,
) -> Diagnostics {
    diagnose::refusal(attempt.summary, attempt.what, refused, oci, advice).into()
}

/// The question itself failed, which proves nothing.
fn cannot_tell(
    attempt: Attempt<'_>,
    place: Place<'_>,
    error: &oci::Error,
    oci: &oci::Client,
) -> Diagnostics {
    let what = format!(
        "{}, and whether it is gone could not be found out",
        attempt.what
    );
    diagnose::oci(attempt.summary, &what, place, error, oci)
}

/// 404 and 403 of Oracle's: not there, or not permitted.
pub(super) fn is_refusal(error: &oci::Error) -> bool {
    error.is_not_found() || (error.status() == Some(403) && error.code().is_some())
}

/// Deletion may take days to take effect, and the object is listed until then.
pub(super) fn is_deleted(lifecycle_state: &str) -> bool {
    matches!(lifecycle_state, "DELETING" | "DELETED")
}
