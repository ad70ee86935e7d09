//! `ocir_repository`: a named set of images in a compartment.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/registry/latest/ContainerRepository>

mod create;
mod delete;
mod import;
mod moved;
mod tags;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    cty::Path,
    framework::{
        Attr, Context, Diagnostic, Diagnostics, Failed, Identified, Model, Plan, Resource, Result,
        SourceState, Timeouts,
    },
    oci,
    provider::{
        absence::{self, Attempt},
        clients::Clients,
        diagnose::{self, failed},
        policy::Place,
        validate,
    },
};

pub(crate) struct Repository {
    clients: Arc<Clients>,
}

/// A container repository: a named set of images in a compartment.
///
/// It is private and its tags can be overwritten unless the configuration says
/// otherwise, and a repository that somebody made public in the console is shown
/// as a change, whether or not the configuration mentions it.
///
/// An `oci_artifacts_container_repository` of Oracle's provider becomes one of these
/// with a `moved` block, without an import and without a change.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct State {
    /// OCID of the compartment. A change moves the repository.
    #[tf(required, validate = validate::compartment)]
    compartment_id: Attr<String>,
    /// Name of the repository, without the namespace, such as `team/web`. It is
    /// unique in the tenancy and region, not only in the compartment.
    #[tf(required, replace, validate = validate::repository_name)]
    display_name: Attr<String>,
    /// Whether anyone may pull without signing in.
    #[tf(default = false)]
    is_public: Attr<bool>,
    /// Whether a tag, once pushed, can never point to another image. The service
    /// refuses `true` in the tenancies known to us.
    #[tf(default = false)]
    is_immutable: Attr<bool>,
    /// Labels of your own. Leaving the argument out clears them.
    #[tf(optional)]
    freeform_tags: Attr<BTreeMap<String, String>>,
    /// Labels by `Namespace.Key`, whose case does not count. Leaving the argument
    /// out clears them. Tags that Oracle or a tag default adds when the repository is
    /// made, and those in the provider's `ignore_defined_tags`, are neither shown nor
    /// removed. After an import or a move nobody can tell what a tag default added: what
    /// the configuration leaves out is planned to be removed, with a warning.
    #[tf(optional, validate = validate::defined_tags)]
    defined_tags: Attr<BTreeMap<String, String>>,
    /// Whether a destroy deletes the repository with the images in it. Otherwise a
    /// repository that holds images is not deleted.
    #[tf(default = false)]
    force_delete: Attr<bool>,
    /// Whether a create takes over a repository that has the name already, wherever in
    /// the tenancy it is, instead of failing: it is moved to the compartment and
    /// changed to what the configuration says. Images are left as they are, and so are
    /// defined tags that the configuration does not name.
    #[tf(default = false)]
    adopt_existing: Attr<bool>,
    /// What people read about the repository in the console. Leaving the block out
    /// clears it.
    #[tf(block)]
    readme: Attr<Readme>,
    /// How long operations may take.
    #[tf(block)]
    timeouts: Attr<Timeouts>,
    /// OCID of the repository.
    #[tf(computed, keep)]
    id: Attr<String>,
    /// Namespace of the tenancy, the first part of the path of every image.
    #[tf(computed, keep)]
    namespace: Attr<String>,
    /// What `docker pull` wants before the tag: `gru.ocir.io/<namespace>/<display_name>`.
    #[tf(computed, keep)]
    repository_url: Attr<String>,
    /// Lifecycle state, usually `AVAILABLE`.
    #[tf(computed, keep)]
    state: Attr<String>,
    /// OCID of who created the repository.
    #[tf(computed, keep)]
    created_by: Attr<String>,
    /// When the repository was created (RFC 3339).
    #[tf(computed, keep)]
    time_created: Attr<String>,
}

/// A readme.
#[derive(Clone, Debug, Default, PartialEq, Model)]
pub(crate) struct Readme {
    /// The text.
    #[tf(required)]
    content: Attr<String>,
    /// `TEXT_MARKDOWN` or `TEXT_PLAIN`.
    #[tf(default = "TEXT_MARKDOWN", validate = validate::readme_format)]
    format: Attr<String>,
}

/// What tells repositories apart.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct Identity {
    /// OCID of the repository.
    #[tf(required, validate = validate::ocid)]
    id: Attr<String>,
}

impl Resource for Repository {
    type Clients = Clients;
    type State = State;

    fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    async fn plan(&self, cx: &mut Context, plan: &mut Plan<'_, State>) -> Result<()> {
        let prior_tags = plan.prior.and_then(|prior| prior.defined_tags.known());
        if let (Some(prior), Some(config)) = (prior_tags, plan.config.defined_tags.known())
            && tags::same_but_for_case(prior, config)
        {
            plan.planned.defined_tags = Attr::Known(prior.clone());
        }
        // One that is made anew has what is configured, and what a tag default adds.
        if let Some(prior) = plan.prior.filter(|_| !plan.is_replacement()) {
            let planned = &plan.planned.defined_tags;
            let keys = tags::unexplained(&cx.private, &prior.defined_tags, planned);
            if !keys.is_empty() {
                cx.warn(tags_go(prior, &keys));
            }
        }
        let planned = &mut plan.planned;
        if planned.repository_url.is_unknown() && self.clients.is_known() {
            let namespace = self.clients.namespace(cx).await?;
            if let Some(name) = planned.display_name.known() {
                let host = self.clients.registry_host(cx).await?;
                planned.repository_url = Attr::Known(format!("{host}/{namespace}/{name}"));
            }
            planned.namespace = Attr::Known(namespace);
        }
        Ok(())
    }

    async fn create(
        &self,
        cx: &mut Context,
        _: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        self.make(cx, planned).await
    }

    async fn read(&self, cx: &mut Context, state: State) -> Result<Option<State>> {
        let oci = self.clients.oci(cx).await?;
        let host = self.clients.registry_host(cx).await?;
        let id = state.id.clone().known_or_default();
        match oci.get_container_repository(&id).await {
            Ok(repository) if absence::is_deleted(&repository.lifecycle_state) => Ok(None),
            Ok(repository) => Ok(Some(self.to_state(cx, &host, repository, state))),
            Err(error) => {
                let attempt = Attempt {
                    summary: "Cannot read container repository",
                    what: &format!("Repository {} could not be read", name_or_id(&state)),
                    operation: "GetContainerRepository",
                };
                prove_absence(cx, &oci, &state, attempt, &error).await?;
                Ok(None)
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
        let oci = self.clients.oci(cx).await?;
        let host = self.clients.registry_host(cx).await?;
        self.converge(cx, &oci, &host, prior, planned).await
    }

    async fn delete(&self, cx: &mut Context, state: State) -> Result<()> {
        self.remove(cx, &state).await
    }

    async fn import(&self, cx: &mut Context, id: &str) -> Result<State> {
        self.look_up(cx, id.trim()).await
    }

    fn move_from(source: &SourceState) -> Option<Result<State>> {
        moved::from(source)
    }
}

impl Identified for Repository {
    type Identity = Identity;

    fn identity(state: &State) -> Identity {
        Identity {
            id: state.id.clone(),
        }
    }

    fn import_id(identity: &Identity) -> Result<String> {
        Ok(identity.id.clone().known_or_default())
    }
}

impl Repository {
    /// Makes an existing repository what is planned: the move first, then the
    /// rest. After a failure the state says what was done until then.
    async fn converge(
        &self,
        cx: &mut Context,
        oci: &oci::Client,
        host: &str,
        prior: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        let id = prior.id.clone().known_or_default();
        let mut now = prior.clone();
        if planned.compartment_id != prior.compartment_id {
            let target = planned.compartment_id.clone().known_or_default();
            oci.change_container_repository_compartment(&id, &target)
                .await
                .map_err(|error| {
                    let what = format!(
                        "Repository {} could not be moved to compartment {target}",
                        name_or_id(prior)
                    );
                    let place = Place::Move {
                        from: prior.compartment_id.as_str().unwrap_or_default(),
                        to: &target,
                    };
                    failed(
                        cx,
                        "Cannot move container repository",
                        &what,
                        place,
                        &error,
                        oci,
                    )
                })?;
            now.compartment_id = planned.compartment_id.clone();
        }
        match self.change(cx, oci, &id, prior, &planned).await {
            Ok(changed) => {
                tags::remember_configured(&mut cx.private, &planned.defined_tags);
                Ok(match changed {
                    Some(repository) => self.to_state(cx, host, repository, planned),
                    None => planned.with_what_is_known(now),
                })
            }
            // The move is done, whatever became of the rest.
            Err(diagnostics) => Err(Failed {
                diagnostics,
                partial: Some(now),
            }),
        }
    }

    /// Sends what changed, and only if something did. The answer is `None` when
    /// nothing that the service knows about changed.
    async fn change(
        &self,
        cx: &Context,
        oci: &oci::Client,
        id: &str,
        prior: &State,
        planned: &State,
    ) -> Result<Option<oci::ContainerRepository>> {
        fn changed<T: PartialEq + Clone>(prior: &Attr<T>, planned: &Attr<T>) -> Option<Attr<T>> {
            (prior != planned).then(|| planned.clone())
        }
        let what = &format!("Repository {} could not be changed", name_or_id(prior));
        let cannot = |error: oci::Error| {
            if planned.is_immutable == Attr::Known(true) && refuses_immutability(&error) {
                return immutability_refused(what, &error, oci);
            }
            if error.is_stale() {
                return changes_all_the_time(CANNOT_UPDATE, what, &error, oci).into();
            }
            let place = Place::Compartment(planned.compartment_id.as_str().unwrap_or_default());
            failed(cx, CANNOT_UPDATE, what, place, &error, oci)
        };
        let own_tags = tags::changed(&prior.defined_tags, &planned.defined_tags);
        let mut body = oci::UpdateContainerRepository {
            is_public: changed(&prior.is_public, &planned.is_public).and_then(Attr::into_known),
            is_immutable: changed(&prior.is_immutable, &planned.is_immutable)
                .and_then(Attr::into_known),
            // Absent means "unchanged" to the service, so what is to be cleared is sent empty.
            readme: changed(&prior.readme, &planned.readme)
                .map(|readme| readme.known().map_or_else(Readme::empty, Readme::to_wire)),
            freeform_tags: tags::changed(&prior.freeform_tags, &planned.freeform_tags),
            defined_tags: None,
        };
        let (mut rounds, mut refused) = (0, None);
        loop {
            rounds += 1;
            let mut etag = None;
            if let Some(ours) = &own_tags {
                // The member replaces all tags, so those of others are read and sent
                // back, and what they write meanwhile must not be undone by that. What
                // else is sent is what is planned, whatever it was a moment before.
                let current = oci.get_container_repository(id).await.map_err(cannot)?;
                let others = self.others(cx).beside(&planned.defined_tags);
                body.defined_tags = Some(others.with(&current.defined_tags, ours));
                // Who refuses what it has just said knows no such tags.
                etag = current.etag.filter(|etag| refused.as_ref() != Some(etag));
            }
            if body == oci::UpdateContainerRepository::default() {
                return Ok(None);
            }
            match oci
                .update_container_repository(id, &body, etag.as_deref())
                .await
            {
                Err(error) if error.is_stale() && etag.is_some() && rounds < MOST_ROUNDS => {
                    tracing::debug!(id, "The repository was changed meanwhile; reading it again");
                    refused = etag;
                }
                updated => return updated.map(Some).map_err(cannot),
            }
        }
    }

    /// The state that shows `repository`; `known` is what was known of it before,
    /// for what the service does not keep.
    fn to_state(
        &self,
        cx: &Context,
        host: &str,
        repository: oci::ContainerRepository,
        known: State,
    ) -> State {
        let defined_tags = self
            .others(cx)
            .leave(&repository.defined_tags, &known.defined_tags);
        let url = repository
            .namespace
            .as_ref()
            .map_or(known.repository_url, |namespace| {
                Attr::Known(format!("{host}/{namespace}/{}", repository.display_name))
            });
        State {
            id: Attr::Known(repository.id),
            compartment_id: Attr::Known(repository.compartment_id),
            display_name: Attr::Known(repository.display_name),
            is_public: Attr::Known(repository.is_public.unwrap_or(false)),
            is_immutable: Attr::Known(repository.is_immutable.unwrap_or(false)),
            freeform_tags: tags::as_configured(repository.freeform_tags, &known.freeform_tags),
            defined_tags: tags::as_configured(defined_tags, &known.defined_tags),
            force_delete: known.force_delete.or(Attr::Known(false)),
            adopt_existing: known.adopt_existing.or(Attr::Known(false)),
            readme: Readme::from_wire(repository.readme, &known.readme),
            timeouts: known.timeouts,
            namespace: repository.namespace.map_or(known.namespace, Attr::Known),
            repository_url: url,
            state: Attr::Known(repository.lifecycle_state),
            created_by: repository.created_by.into(),
            time_created: repository.time_created.into(),
        }
    }

    /// Whose tags are not ours.
    fn others(&self, cx: &Context) -> tags::Others<'_> {
        tags::Others::remembered(self.clients.ignored_tags(), &cx.private)
    }
}

impl State {
    /// A plan with what only the service says filled in.
    fn with_what_is_known(mut self, now: State) -> State {
        for (planned, now) in [
            (&mut self.id, now.id),
            (&mut self.namespace, now.namespace),
            (&mut self.repository_url, now.repository_url),
            (&mut self.state, now.state),
            (&mut self.created_by, now.created_by),
            (&mut self.time_created, now.time_created),
        ] {
            if planned.is_unknown() {
                *planned = now;
            }
        }
        self
    }
}

impl Readme {
    fn to_wire(&self) -> oci::Readme {
        oci::Readme {
            content: self.content.clone().known_or_default(),
            format: self.format.clone().known_or_default(),
        }
    }

    fn empty() -> oci::Readme {
        oci::Readme {
            content: String::new(),
            format: "TEXT_PLAIN".into(),
        }
    }

    /// A cleared readme and none are the same to the service.
    fn from_wire(readme: Option<oci::Readme>, known: &Attr<Readme>) -> Attr<Readme> {
        let is_empty = readme
            .as_ref()
            .is_none_or(|readme| readme.content.is_empty());
        let configured_empty = known
            .known()
            .is_some_and(|readme| readme.content == Attr::Known(String::new()));
        match readme {
            _ if is_empty && configured_empty => known.clone(),
            Some(readme) if !is_empty => Attr::Known(Readme {
                content: Attr::Known(readme.content),
                format: Attr::Known(readme.format),
            }),
            _ => Attr::Null,
        }
    }
}

/// Where the private state remembers that a repository was taken over, by a mark
/// that no other has.
const ADOPTED: &str = "adopted";

/// How often a change is tried that is tied to what was read before, until nobody
/// comes between.
const MOST_ROUNDS: u32 = 5;

const CANNOT_UPDATE: &str = "Cannot update container repository";

/// The last of these tries has failed as well.
fn changes_all_the_time(
    summary: &str,
    what: &str,
    error: &oci::Error,
    oci: &oci::Client,
) -> Diagnostic {
    let advice = "Something else changes the repository at the same time, again and again. This was not done; find out what it is, and apply again.";
    diagnose::refusal(summary, what, error, oci, advice)
}

/// Returns when the failed call means that the repository of `state` is gone.
async fn prove_absence(
    cx: &Context,
    oci: &oci::Client,
    state: &State,
    attempt: Attempt<'_>,
    error: &oci::Error,
) -> Result<()> {
    let repository = absence::Repository {
        id: state.id.as_str().unwrap_or_default(),
        display_name: state.display_name.as_str().unwrap_or_default(),
        compartment_id: state.compartment_id.as_str().unwrap_or_default(),
    };
    if error.is_not_found() {
        return absence::repository(oci, &repository, attempt, error).await;
    }
    let place = Place::Compartment(repository.compartment_id);
    Err(failed(cx, attempt.summary, attempt.what, place, error, oci))
}

fn name_or_id(state: &State) -> String {
    match (state.display_name.known(), state.id.known()) {
        (Some(name), Some(id)) => format!("\"{name}\" ({id})"),
        (Some(name), None) => format!("\"{name}\""),
        (None, id) => id.cloned().unwrap_or_default(),
    }
}

/// What a plan says that removes tags which came with the repository.
fn tags_go(prior: &State, keys: &[String]) -> Diagnostic {
    let keys = keys.iter().map(|key| format!("\"{key}\""));
    let keys = keys.collect::<Vec<_>>().join(", ");
    Diagnostic::warning(
        "Defined tags will be removed",
        format!(
            "Repository {} has defined tags that the configuration does not set, and the plan removes them: {keys}. It came here by an \
             import or from another provider, so whether a tag default or a person set them is not known.\n\nTo leave them to whoever set \
             them, name them in the provider block:\n    ignore_defined_tags = [{keys}]\nTo manage them here, set them in defined_tags.",
            name_or_id(prior)
        ),
    )
    .at(Path::attribute("defined_tags"))
}

/// The service's refusal of `isImmutable: true`.
fn refuses_immutability(error: &oci::Error) -> bool {
    matches!(error, oci::Error::Service { status: 400, message, .. } if message.contains("isImmutable"))
}

fn immutability_refused(what: &str, error: &oci::Error, oci: &oci::Client) -> Diagnostics {
    let advice = "The service refuses is_immutable = true in this tenancy, although its API has the argument. Leave the argument out, and give \
                  every build a tag of its own. What keeps a tag from being moved is on the side that pushes: if_exists = \"error\" of \
                  ocir_image_push.";
    diagnose::refusal(
        "Immutable repositories are not available",
        what,
        error,
        oci,
        advice,
    )
    .at(Path::attribute("is_immutable"))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty readme at the service is none, unless one was configured empty.
    #[test]
    fn a_cleared_readme_is_none() {
        let empty = Some(Readme::empty());
        assert_eq!(Readme::from_wire(empty.clone(), &Attr::Null), Attr::Null);
        let configured = Attr::Known(Readme {
            content: "".into(),
            format: "TEXT_MARKDOWN".into(),
        });
        assert_eq!(Readme::from_wire(empty, &configured), configured);
    }
}
