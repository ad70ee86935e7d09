//! Making a repository: also when the name is taken, when its last owner is still
//! being deleted, and when nobody heard the answer.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Repository, State, failed, immutability_refused, refuses_immutability, tags};
use crate::{
    cty::Path,
    framework::{Attr, Context, Diagnostic, Diagnostics, Failed, Result, Stop},
    oci,
    provider::{absence, diagnose, policy::Place},
};

/// Who has a name.
enum Holder {
    /// A repository that is there.
    There(oci::ContainerRepositorySummary),
    /// A repository that is being deleted: the name will be free.
    Leaving(oci::ContainerRepositorySummary),
    /// Nobody that the caller may see.
    Unseen,
}

impl Repository {
    /// Makes the repository, or takes over the one that has the name.
    pub(super) async fn make(
        &self,
        cx: &mut Context,
        planned: State,
    ) -> Result<State, Failed<State>> {
        let oci = self.clients.oci(cx).await?;
        // Asked before, so that what can fail fails while there is nothing to lose.
        let host = self.clients.registry_host(cx).await?;
        let body = body(&planned);
        let start = Instant::now();
        let mut asked = 0;
        let mut last_leaving = None;
        let repository = loop {
            asked += 1;
            let retry_token = oci::new_retry_token();
            let made = oci.create_container_repository_as(&body, &retry_token);
            let mut error = match made.await {
                Ok(repository) => break repository,
                Err(error) => error,
            };
            if error.is_ambiguous() {
                let outcome =
                    match settle(&oci, &planned, &body, &retry_token, cx.stopped().is_some()).await
                    {
                        Outcome::Made(repository) => break *repository,
                        Outcome::Taken(taken) if cx.stopped().is_none() => {
                            error = taken;
                            ""
                        }
                        Outcome::Taken(_) => TAKEN,
                        Outcome::Absent => ABSENT,
                        Outcome::Unknown => UNKNOWN,
                    };
                if !outcome.is_empty() {
                    return Err(not_made(cx, &planned, &error, &oci, outcome).into());
                }
            }
            if !error.is_name_conflict() {
                return Err(not_made(cx, &planned, &error, &oci, "").into());
            }
            let holder = match (find(&oci, &planned).await, last_leaving.take()) {
                // It went from the list before it gave its name back.
                (Holder::Unseen, Some(leaving)) => Holder::Leaving(leaving),
                (holder, _) => holder,
            };
            match holder {
                Holder::Leaving(leaving) => {
                    wait(cx, &leaving, asked, start, &error, &oci).await?;
                    last_leaving = Some(leaving);
                }
                Holder::There(there) if planned.adopt_existing == Attr::Known(true) => {
                    return self.adopt(cx, &oci, &host, &there, planned).await;
                }
                Holder::Unseen if cx.stopped().is_some() => {
                    let stopped = &oci::Error::Stopped;
                    return Err(not_made(cx, &planned, stopped, &oci, "").into());
                }
                holder => return Err(name_is_taken(&planned, &holder, &error, &oci).into()),
            }
        };
        tags::remember_added(
            &mut cx.private,
            &repository.defined_tags,
            &planned.defined_tags,
        );
        tags::remember_configured(&mut cx.private, &planned.defined_tags);
        let state = self.to_state(cx, &host, repository, planned);
        cx.keep_usable(&state);
        Ok(state)
    }

    /// Takes over a repository that exists, and makes it what is planned. From the
    /// first moment it is in the state; what goes wrong afterwards is a warning.
    async fn adopt(
        &self,
        cx: &mut Context,
        oci: &oci::Client,
        host: &str,
        there: &oci::ContainerRepositorySummary,
        planned: State,
    ) -> Result<State, Failed<State>> {
        let repository = oci
            .get_container_repository(&there.id)
            .await
            .map_err(|error| {
                let what = format!(
                    "Repository \"{}\" ({}) exists in compartment {} and was to be taken over, but could not be read",
                    there.display_name, there.id, there.compartment_id
                );
                let place = Place::Compartment(&there.compartment_id);
                failed(cx, "Cannot take over container repository", &what, place, &error, oci)
            })?;
        let images = match repository.image_count {
            Some(1) => " with 1 image in it".to_owned(),
            Some(count) if count > 1 => format!(" with {count} images in it"),
            _ => String::new(),
        };
        let mark = oci::new_retry_token();
        self.clients.take_over(&repository.id, &mark);
        cx.private.set(super::ADOPTED, mark);
        tags::remember_added(
            &mut cx.private,
            &repository.defined_tags,
            &planned.defined_tags,
        );
        tags::remember_configured(&mut cx.private, &planned.defined_tags);
        cx.warn(Diagnostic::warning(
            "Existing container repository taken over",
            format!(
                "Repository \"{}\" ({}) existed in compartment {}{images}, and adopt_existing is true. It is changed to what the \
                 configuration says; its images stay as they are.",
                repository.display_name, repository.id, repository.compartment_id
            ),
        ));
        let current = self.to_state(cx, host, repository, planned.clone());
        cx.keep_usable(&current);
        self.converge(cx, oci, host, &current, planned).await
    }
}

/// What is asked for: all that can be said at once.
fn body(planned: &State) -> oci::CreateContainerRepository {
    oci::CreateContainerRepository {
        compartment_id: planned.compartment_id.clone().known_or_default(),
        display_name: planned.display_name.clone().known_or_default(),
        is_public: planned.is_public.known().copied(),
        // `false` is what the service makes by itself, and `true` is what it refuses.
        is_immutable: planned
            .is_immutable
            .known()
            .copied()
            .filter(|immutable| *immutable),
        readme: planned.readme.known().map(super::Readme::to_wire),
        freeform_tags: planned.freeform_tags.known().cloned(),
        defined_tags: planned.defined_tags.known().map(tags::nested),
    }
}

/// The repository that has the name, wherever in the tenancy it is. Who may not
/// look at all of the tenancy may look at the compartment.
async fn find(oci: &oci::Client, planned: &State) -> Holder {
    let places = [
        oci.credentials()
            .tenancy_id()
            .map(|tenancy| (tenancy, true)),
        planned
            .compartment_id
            .as_str()
            .map(|compartment| (compartment.to_owned(), false)),
    ];
    for (compartment_id, compartment_id_in_subtree) in places.into_iter().flatten() {
        match named(oci, planned, compartment_id, compartment_id_in_subtree).await {
            Ok(found) => return found,
            Err(error) => {
                tracing::debug!(%error, "cannot look for the repository that has the name");
            }
        }
    }
    Holder::Unseen
}

async fn named(
    oci: &oci::Client,
    planned: &State,
    compartment_id: String,
    compartment_id_in_subtree: bool,
) -> Result<Holder, oci::Error> {
    let name = planned.display_name.clone().known_or_default();
    let query = oci::ListContainerRepositories {
        compartment_id,
        compartment_id_in_subtree,
        display_name: Some(name.clone()),
    };
    let mut found = oci.list_container_repositories(&query).await?;
    // One that is deleted may be listed for days, and has no name any more.
    found.retain(|found| found.display_name == name && found.lifecycle_state != "DELETED");
    let (mut leaving, mut there): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|found| absence::is_deleted(&found.lifecycle_state));
    Ok(match (there.pop(), leaving.pop()) {
        (Some(there), _) => Holder::There(there),
        (None, Some(leaving)) => Holder::Leaving(leaving),
        (None, None) => Holder::Unseen,
    })
}

/// Waits a while for a repository that is being deleted; an error when there is
/// no time left, or when the run is stopped.
async fn wait(
    cx: &Context,
    leaving: &oci::ContainerRepositorySummary,
    asked: u32,
    start: Instant,
    error: &oci::Error,
    oci: &oci::Client,
) -> Result<()> {
    let oci::ContainerRepositorySummary {
        id, display_name, ..
    } = leaving;
    let pause = FIRST_PAUSE * asked.min(MOST_PAUSES);
    tracing::info!(
        repository = display_name,
        id,
        waited_s = start.elapsed().as_secs(),
        next_s = pause.as_secs(),
        "Waiting until the last repository of this name, which is being deleted, is gone"
    );
    tokio::select! {
        () = cx.stop.cancelled() => {}
        () = tokio::time::sleep(pause) => return Ok(()),
    }
    let what = format!("Repository \"{display_name}\" could not be created");
    if cx.stopped() == Some(Stop::Interrupted) {
        return Err(diagnose::oci(
            CANNOT_CREATE,
            &what,
            Place::Unknown,
            &oci::Error::Stopped,
            oci,
        ));
    }
    let advice = format!(
        "The name is not free yet: the last repository that had it ({id}) is still being deleted, which may take Oracle up to two days."
    );
    Err(diagnose::refusal(CANNOT_CREATE, &what, error, oci, &advice)
        .at(Path::attribute("display_name"))
        .into())
}

/// What became of a create whose answer was not heard.
enum Outcome {
    /// It made this.
    Made(Box<oci::ContainerRepository>),
    /// It made nothing: there is no repository of the name.
    Absent,
    /// It made nothing: somebody else has the name.
    Taken(oci::Error),
    /// Nobody could say.
    Unknown,
}

/// Finds out what became of a create. The same call with the same retry token is
/// answered with what it made then, and it is only sent again when something of
/// this name exists, so that nothing is made after the run was stopped.
async fn settle(
    oci: &oci::Client,
    planned: &State,
    body: &oci::CreateContainerRepository,
    retry_token: &str,
    stopped: bool,
) -> Outcome {
    // The call was stopped, perhaps; this has a time of its own.
    let stop = CancellationToken::new();
    let _ends = stop.clone().drop_guard();
    let oci = oci.with_stop(stop);
    let ask = async {
        let compartment_id = planned.compartment_id.clone().known_or_default();
        // A new repository is where it was asked for.
        match named(&oci, planned, compartment_id, false).await {
            Ok(Holder::There(_)) => {}
            Ok(Holder::Leaving(_) | Holder::Unseen) => return Outcome::Absent,
            Err(_) => return Outcome::Unknown,
        }
        match oci.create_container_repository_as(body, retry_token).await {
            Ok(repository) => Outcome::Made(Box::new(repository)),
            Err(error) if error.is_name_conflict() => Outcome::Taken(error),
            Err(_) => Outcome::Unknown,
        }
    };
    let time = match stopped {
        true => SETTLING_AFTER_STOP,
        false => SETTLING,
    };
    let settled = tokio::time::timeout(time, ask).await;
    settled.unwrap_or(Outcome::Unknown)
}

/// The error about a create that failed, and what is known of the outcome.
fn not_made(
    cx: &Context,
    planned: &State,
    error: &oci::Error,
    oci: &oci::Client,
    outcome: &str,
) -> Diagnostics {
    let name = planned.display_name.as_str().unwrap_or_default();
    let compartment_id = planned.compartment_id.as_str().unwrap_or_default();
    let what =
        format!("Repository \"{name}\" could not be created in compartment {compartment_id}");
    if planned.is_immutable == Attr::Known(true) && refuses_immutability(error) {
        return immutability_refused(&what, error, oci);
    }
    let place = Place::Compartment(compartment_id);
    let diagnostics = failed(cx, CANNOT_CREATE, &what, place, error, oci);
    if outcome.is_empty() {
        return diagnostics;
    }
    diagnose::with_outcome(diagnostics, outcome)
}

fn name_is_taken(
    planned: &State,
    holder: &Holder,
    error: &oci::Error,
    oci: &oci::Client,
) -> Diagnostics {
    let name = planned.display_name.as_str().unwrap_or_default();
    let compartment_id = planned.compartment_id.as_str().unwrap_or_default();
    let what =
        format!("Repository \"{name}\" could not be created in compartment {compartment_id}");
    let way_out = match holder {
        Holder::There(there) => {
            let place = match oci.credentials().tenancy_id() {
                Some(tenancy) if tenancy == there.compartment_id => {
                    "It is in the root compartment, where a first push makes repositories.".to_owned()
                }
                _ => format!("It is in compartment {}.", there.compartment_id),
            };
            format!(
                "{place} To manage the existing repository, import it:\n    import {{\n      to = ocir_repository.NAME\n      id = \"{}\"\n    }}\n\
                 or let the resource take it over, with its images, by setting in its block:\n    adopt_existing = true",
                there.id
            )
        }
        Holder::Leaving(_) | Holder::Unseen => {
            "The repository that has it cannot be seen by the identity that asked. It may be in a compartment \
             it has no rights in, such as the root compartment after a first push."
                .to_owned()
        }
    };
    let advice = format!("The name is taken in this tenancy and region. {way_out}");
    diagnose::refusal(CANNOT_CREATE, &what, error, oci, &advice)
        .at(Path::attribute("display_name"))
        .into()
}

const CANNOT_CREATE: &str = "Cannot create container repository";
const ABSENT: &str = "Nothing was created: the compartment has no repository of this name.";
const TAKEN: &str = "Nothing was created: another repository of the compartment has the name.";
const UNKNOWN: &str = "Whether it was created all the same could not be found out. The next apply tells: if it was, the error there shows how \
                         to import it.";
/// How long the outcome of a create is looked for.
const SETTLING: Duration = Duration::from_secs(15);
/// The same when somebody waits for the run to end.
const SETTLING_AFTER_STOP: Duration = Duration::from_secs(5);
/// Between two questions for a name that is not free yet: one second more each
/// time, five at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSES: u32 = 5;
