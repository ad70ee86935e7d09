//! `ocir_repository`: a named set of images in a compartment.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/registry/latest/ContainerRepository>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cty::Path,
    framework::{
        Attr, Context, Diagnostic, Diagnostics, Failed, Model, Plan, Private, Resource, Result,
    },
    oci,
    provider::{
        absence::{self, Attempt},
        clients::Clients,
        diagnose,
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
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct State {
    /// OCID of the compartment. A change moves the repository.
    #[tf(required, validate = validate::ocid)]
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
    /// out clears them. Tags that Oracle adds by itself are neither shown nor removed.
    #[tf(optional, validate = validate::defined_tags)]
    defined_tags: Attr<BTreeMap<String, String>>,
    /// Whether a destroy deletes the repository with the images in it. Otherwise a
    /// repository that holds images is not deleted.
    #[tf(default = false)]
    force_delete: Attr<bool>,
    /// What people read about the repository in the console. Leaving the block out
    /// clears it.
    #[tf(block)]
    readme: Attr<Readme>,
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

impl Resource for Repository {
    type Clients = Clients;
    type State = State;

    fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    async fn plan(&self, cx: &mut Context, plan: &mut Plan<'_, State>) -> Result<()> {
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
        let oci = self.clients.oci(cx).await?;
        let body = oci::CreateContainerRepository {
            compartment_id: planned.compartment_id.clone().known_or_default(),
            display_name: planned.display_name.clone().known_or_default(),
            is_public: planned.is_public.known().copied(),
            // `false` is what the service makes by itself, and `true` is what it refuses.
            is_immutable: planned
                .is_immutable
                .known()
                .copied()
                .filter(|immutable| *immutable),
            readme: planned.readme.known().map(Readme::to_wire),
            freeform_tags: planned.freeform_tags.known().cloned(),
            defined_tags: planned.defined_tags.known().map(nested_tags),
        };
        // Asked before, so that what can fail fails while there is nothing to lose.
        self.clients.registry_host(cx).await?;
        let repository = match oci.create_container_repository(&body).await {
            Ok(repository) => repository,
            Err(error) => return Err(self.cannot_create(&oci, &planned, &error).await.into()),
        };
        remember_added_tags(&mut cx.private, &repository, &planned.defined_tags);
        self.to_state(cx, repository, planned)
            .await
            .map_err(Failed::from)
    }

    async fn read(&self, cx: &mut Context, state: State) -> Result<Option<State>> {
        let oci = self.clients.oci(cx).await?;
        let id = state.id.clone().known_or_default();
        match oci.get_container_repository(&id).await {
            Ok(repository) if absence::is_deleted(&repository.lifecycle_state) => Ok(None),
            Ok(repository) => self.to_state(cx, repository, state).await.map(Some),
            Err(error) => {
                let attempt = Attempt {
                    summary: "Cannot read container repository",
                    what: &format!("Repository {} could not be read", name_or_id(&state)),
                    operation: "GetContainerRepository",
                };
                prove_absence(&oci, &state, attempt, &error).await?;
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
        let id = prior.id.clone().known_or_default();
        let mut now = prior.clone();
        if planned.compartment_id != prior.compartment_id {
            let target = planned.compartment_id.clone().known_or_default();
            oci.change_container_repository_compartment(&id, &target)
                .await
                .map_err(|error| {
                    diagnose::oci(
                        "Cannot move container repository",
                        &format!(
                            "Repository {} could not be moved to compartment {target}",
                            name_or_id(prior)
                        ),
                        Place::Move {
                            from: prior.compartment_id.as_str().unwrap_or_default(),
                            to: &target,
                        },
                        &error,
                        &oci,
                    )
                })?;
            now.compartment_id = planned.compartment_id.clone();
        }
        match self.change(cx, &oci, &id, prior, &planned).await {
            Ok(Some(repository)) => self
                .to_state(cx, repository, planned)
                .await
                .map_err(Failed::from),
            Ok(None) => Ok(planned),
            // The move is done, whatever became of the rest.
            Err(diagnostics) => Err(Failed {
                diagnostics,
                partial: Some(now),
            }),
        }
    }

    async fn delete(&self, cx: &mut Context, state: State) -> Result<()> {
        let oci = self.clients.oci(cx).await?;
        let id = state.id.clone().known_or_default();
        if state.force_delete != Attr::Known(true) {
            self.refuse_images(&oci, &state).await?;
        }
        let Err(error) = oci.delete_container_repository(&id).await else {
            return Ok(());
        };
        let attempt = Attempt {
            summary: CANNOT_DELETE,
            what: &format!("Repository {} could not be deleted", name_or_id(&state)),
            operation: "DeleteContainerRepository",
        };
        prove_absence(&oci, &state, attempt, &error).await
    }

    async fn import(&self, cx: &mut Context, id: &str) -> Result<State> {
        let id = id.trim();
        if !id.starts_with("ocid1.containerrepo.") {
            return Err(Diagnostic::error(
                "Invalid import identifier",
                format!(
                    "A repository is imported by its OCID, which begins with \"ocid1.containerrepo.\"; \"{id}\" does not. \
                     The OCID of a repository is shown by:\n    oci artifacts container repository list --compartment-id COMPARTMENT --display-name NAME"
                ),
            )
            .into());
        }
        let oci = self.clients.oci(cx).await?;
        let repository = oci.get_container_repository(id).await.map_err(|error| {
            diagnose::oci(
                "Cannot import container repository",
                &format!("Repository {id} could not be read"),
                Place::Unknown,
                &error,
                &oci,
            )
        })?;
        self.to_state(cx, repository, State::default()).await
    }
}

impl Repository {
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
            diagnose::oci(
                "Cannot update container repository",
                what,
                Place::Compartment(planned.compartment_id.as_str().unwrap_or_default()),
                &error,
                oci,
            )
        };
        let defined_tags = match changed_tags(&prior.defined_tags, &planned.defined_tags) {
            None => None,
            Some(tags) => {
                // The member replaces all tags, so those that others added go along with ours.
                let current = oci.get_container_repository(id).await.map_err(cannot)?;
                let mut all = foreign_tags(&cx.private, &current, &tags);
                for (namespace, keys) in nested_tags(&tags) {
                    all.entry(namespace).or_default().extend(keys);
                }
                Some(all)
            }
        };
        let body = oci::UpdateContainerRepository {
            is_public: changed(&prior.is_public, &planned.is_public).and_then(Attr::into_known),
            is_immutable: changed(&prior.is_immutable, &planned.is_immutable)
                .and_then(Attr::into_known),
            // Absent means "unchanged" to the service, so what is to be cleared is sent empty.
            readme: changed(&prior.readme, &planned.readme)
                .map(|readme| readme.known().map_or_else(Readme::empty, Readme::to_wire)),
            freeform_tags: changed_tags(&prior.freeform_tags, &planned.freeform_tags),
            defined_tags,
        };
        if body != oci::UpdateContainerRepository::default() {
            return oci
                .update_container_repository(id, &body)
                .await
                .map(Some)
                .map_err(cannot);
        }
        Ok(None)
    }

    /// The service deletes a repository with everything in it, without asking.
    async fn refuse_images(&self, oci: &oci::Client, state: &State) -> Result<()> {
        let what = &format!(
            "Whether repository {} holds images could not be found out, so it was not deleted",
            name_or_id(state)
        );
        // Images are listed by compartment, and in one that the repository was
        // moved out of since the last refresh there would be none.
        let id = state.id.clone().known_or_default();
        let repository = match oci.get_container_repository(&id).await {
            Ok(repository) => repository,
            Err(error) => {
                let attempt = Attempt {
                    summary: CANNOT_DELETE,
                    what,
                    operation: "GetContainerRepository",
                };
                return prove_absence(oci, state, attempt, &error).await;
            }
        };
        let compartment_id = repository.compartment_id.clone();
        let cannot = |error: oci::Error| {
            let place = Place::Compartment(&compartment_id);
            diagnose::oci(CANNOT_DELETE, what, place, &error, oci)
        };
        let query = oci::ListContainerImages {
            compartment_id: repository.compartment_id,
            repository_id: Some(repository.id),
            ..Default::default()
        };
        let images = oci.list_container_images(&query).await.map_err(cannot)?;
        let images: Vec<_> = images.iter().filter(|image| !image.is_deleted()).collect();
        if images.is_empty() {
            return Ok(());
        }
        let tags: Vec<&str> = images
            .iter()
            .filter_map(|image| image.version.as_deref())
            .take(5)
            .collect();
        let count = match images.len() {
            1 => "1 image".to_owned(),
            count => format!("{count} images"),
        };
        let tags = match tags.len() {
            0 => "without tags".to_owned(),
            1 => format!("tag: {}", tags[0]),
            _ => format!("newest tags: {}", tags.join(", ")),
        };
        Err(Diagnostic::error(
            "Container repository is not empty",
            format!(
                "Repository {} holds {count} ({tags}). Deleting it would delete them too, so it was left alone.\n\n\
                 To delete the repository with its images, set\n    force_delete = true\nin its block, apply that, and destroy it then.",
                name_or_id(state)
            ),
        )
        .into())
    }

    async fn cannot_create(
        &self,
        oci: &oci::Client,
        planned: &State,
        error: &oci::Error,
    ) -> Diagnostics {
        let name = planned.display_name.clone().known_or_default();
        let compartment_id = planned.compartment_id.clone().known_or_default();
        let what =
            format!("Repository \"{name}\" could not be created in compartment {compartment_id}");
        if planned.is_immutable == Attr::Known(true) && refuses_immutability(error) {
            return immutability_refused(&what, error, oci);
        }
        if error.is_name_conflict() {
            let existing = self.find(oci, &name).await;
            let way_out = match &existing {
                Some(existing) => format!(
                    "It is in compartment {}. To manage the existing repository, import it:\n    import {{\n      to = ocir_repository.NAME\n      id = \"{}\"\n    }}",
                    existing.compartment_id, existing.id
                ),
                None => "The repository that has it cannot be seen by the identity that asked. It may be in a compartment \
                     it has no rights in, such as the root compartment after a first push."
                    .to_owned(),
            };
            let advice = format!("The name is taken in this tenancy and region. {way_out}");
            return diagnose::refusal(CANNOT_CREATE, &what, error, oci, &advice)
                .at(Path::attribute("display_name"))
                .into();
        }
        let place = Place::Compartment(&compartment_id);
        diagnose::oci(CANNOT_CREATE, &what, place, error, oci)
    }

    /// The repository of this name, wherever in the tenancy it is.
    async fn find(&self, oci: &oci::Client, name: &str) -> Option<oci::ContainerRepositorySummary> {
        let query = oci::ListContainerRepositories {
            compartment_id: oci.credentials().tenancy_id()?.to_owned(),
            compartment_id_in_subtree: true,
            display_name: Some(name.to_owned()),
        };
        let found = oci.list_container_repositories(&query).await;
        found
            .inspect_err(
                |error| tracing::debug!(%error, "cannot look for the repository that has the name"),
            )
            .ok()?
            .into_iter()
            .find(|repository| repository.display_name == name)
    }

    /// The state that shows `repository`; `known` is what was known of it before,
    /// for what the service does not keep.
    async fn to_state(
        &self,
        cx: &Context,
        repository: oci::ContainerRepository,
        known: State,
    ) -> Result<State> {
        let foreign = foreign_keys(&cx.private);
        let defined_tags = flat_tags(&repository.defined_tags, &foreign, &known.defined_tags);
        let url = match &repository.namespace {
            Some(namespace) => {
                let host = self.clients.registry_host(cx).await?;
                Attr::Known(format!("{host}/{namespace}/{}", repository.display_name))
            }
            None => known.repository_url,
        };
        Ok(State {
            id: Attr::Known(repository.id),
            compartment_id: Attr::Known(repository.compartment_id),
            display_name: Attr::Known(repository.display_name),
            is_public: Attr::Known(repository.is_public.unwrap_or(false)),
            is_immutable: Attr::Known(repository.is_immutable.unwrap_or(false)),
            freeform_tags: as_configured(repository.freeform_tags, &known.freeform_tags),
            defined_tags: as_configured(defined_tags, &known.defined_tags),
            force_delete: if known.force_delete.is_null() {
                Attr::Known(false)
            } else {
                known.force_delete
            },
            readme: Readme::from_wire(repository.readme, &known.readme),
            namespace: repository.namespace.map_or(known.namespace, Attr::Known),
            repository_url: url,
            state: Attr::Known(repository.lifecycle_state),
            created_by: repository.created_by.into(),
            time_created: repository.time_created.into(),
        })
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

/// Returns when the failed call means that the repository of `state` is gone.
async fn prove_absence(
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
    Err(diagnose::oci(
        attempt.summary,
        attempt.what,
        place,
        error,
        oci,
    ))
}

const CANNOT_CREATE: &str = "Cannot create container repository";
const CANNOT_DELETE: &str = "Cannot delete container repository";

fn name_or_id(state: &State) -> String {
    match (state.display_name.known(), state.id.known()) {
        (Some(name), Some(id)) => format!("\"{name}\" ({id})"),
        (Some(name), None) => format!("\"{name}\""),
        (None, id) => id.cloned().unwrap_or_default(),
    }
}

/// No tags is null or an empty map, as the configuration had it.
fn as_configured(
    tags: BTreeMap<String, String>,
    known: &Attr<BTreeMap<String, String>>,
) -> Attr<BTreeMap<String, String>> {
    if tags.is_empty() && !matches!(known, Attr::Known(_)) {
        Attr::Null
    } else {
        Attr::Known(tags)
    }
}

/// The new tags, when they change. To the service null and an empty map are the same.
fn changed_tags(
    prior: &Attr<BTreeMap<String, String>>,
    planned: &Attr<BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    let planned = planned.clone().known_or_default();
    (prior.clone().known_or_default() != planned).then_some(planned)
}

/// The service's refusal of `isImmutable: true`.
fn refuses_immutability(error: &oci::Error) -> bool {
    matches!(error, oci::Error::Service { status: 400, message, .. } if message.contains("isImmutable"))
}

fn immutability_refused(what: &str, error: &oci::Error, oci: &oci::Client) -> Diagnostics {
    let advice = "The service refuses is_immutable = true in this tenancy, although its API has the argument. Leave the argument out, and give \
                  every build a tag of its own.";
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

// Defined tags: nested at the service, flat in the configuration, and not all of
// them are ours. `Oracle-Tags` is Oracle's, and tag defaults of the compartment
// add others to what we create.

const ADDED_TAGS: &str = "added_defined_tags";

/// Remembers which tags the answer to a create has that were not asked for.
fn remember_added_tags(
    private: &mut Private,
    repository: &oci::ContainerRepository,
    asked: &Attr<BTreeMap<String, String>>,
) {
    let asked: BTreeSet<String> = asked
        .known()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.to_lowercase())
        .collect();
    let added: Vec<String> = flat_keys(&repository.defined_tags)
        .map(|key| key.to_lowercase())
        .filter(|key| !asked.contains(key) && !is_oracles(key))
        .collect();
    if !added.is_empty() {
        private.set(ADDED_TAGS, added.join("\n"));
    }
}

/// Keys, in lower case, of tags that others added when the object was made.
fn foreign_keys(private: &Private) -> BTreeSet<String> {
    let text = private
        .get(ADDED_TAGS)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn is_oracles(key: &str) -> bool {
    key.get(..12)
        .is_some_and(|start| start.eq_ignore_ascii_case("oracle-tags."))
}

fn flat_keys(tags: &oci::DefinedTags) -> impl Iterator<Item = String> + '_ {
    tags.iter()
        .flat_map(|(namespace, keys)| keys.keys().map(move |key| format!("{namespace}.{key}")))
}

/// The service's tags as the configuration writes them, with its spelling of a
/// key, without those that are not ours.
fn flat_tags(
    tags: &oci::DefinedTags,
    foreign: &BTreeSet<String>,
    known: &Attr<BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let spelling: BTreeMap<String, &String> = known
        .known()
        .into_iter()
        .flatten()
        .map(|(key, _)| (key.to_lowercase(), key))
        .collect();
    let mut flat = BTreeMap::new();
    for (namespace, keys) in tags {
        for (key, value) in keys {
            let key = format!("{namespace}.{key}");
            let folded = key.to_lowercase();
            let configured = spelling.get(&folded);
            if configured.is_none() && (is_oracles(&key) || foreign.contains(&folded)) {
                continue;
            }
            let value = match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            flat.insert(configured.map_or(key, |spelled| (*spelled).clone()), value);
        }
    }
    flat
}

/// The tags of the configuration as the service wants them.
fn nested_tags(tags: &BTreeMap<String, String>) -> oci::DefinedTags {
    let mut nested = oci::DefinedTags::new();
    for (key, value) in tags {
        if let Some((namespace, key)) = key.split_once('.') {
            nested
                .entry(namespace.to_owned())
                .or_default()
                .insert(key.to_owned(), value.clone().into());
        }
    }
    nested
}

/// The tags of `current` that others manage and `ours` does not name.
fn foreign_tags(
    private: &Private,
    current: &oci::ContainerRepository,
    ours: &BTreeMap<String, String>,
) -> oci::DefinedTags {
    let foreign = foreign_keys(private);
    let ours: BTreeSet<String> = ours.keys().map(|key| key.to_lowercase()).collect();
    let mut kept = oci::DefinedTags::new();
    for (namespace, keys) in &current.defined_tags {
        for (key, value) in keys {
            let flat = format!("{namespace}.{key}").to_lowercase();
            if !ours.contains(&flat) && (is_oracles(&flat) || foreign.contains(&flat)) {
                kept.entry(namespace.clone())
                    .or_default()
                    .insert(key.clone(), value.clone());
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// A key keeps the configuration's spelling, whatever the service's is.
    #[test]
    fn case_of_a_tag_key_is_the_configurations() {
        let service = nested_tags(&tags(&[("Operations.CostCenter", "42")]));
        let configured = Attr::Known(tags(&[("operations.costcenter", "42")]));

        let flat = flat_tags(&service, &BTreeSet::new(), &configured);

        assert_eq!(flat, tags(&[("operations.costcenter", "42")]));
    }

    /// Tags that Oracle or a tag default added are not shown, unless configured.
    #[test]
    fn tags_of_others_are_not_shown() {
        let service = nested_tags(&tags(&[
            ("Oracle-Tags.CreatedBy", "ana"),
            ("Operations.Owner", "platform"),
            ("Operations.Added", "by default"),
        ]));
        let foreign = BTreeSet::from(["operations.added".to_owned()]);

        let flat = flat_tags(&service, &foreign, &Attr::Null);

        assert_eq!(flat, tags(&[("Operations.Owner", "platform")]));
    }

    /// No tags at the service is whatever the configuration calls no tags.
    #[test]
    fn no_tags_stay_as_configured() {
        assert_eq!(as_configured(BTreeMap::new(), &Attr::Null), Attr::Null);
        assert_eq!(
            as_configured(BTreeMap::new(), &Attr::Known(BTreeMap::new())),
            Attr::Known(BTreeMap::new())
        );
    }

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
