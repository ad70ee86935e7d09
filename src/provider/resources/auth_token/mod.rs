//! `oci_auth_token`, `ocir_auth_token`: the password of a user at the registry.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/identity/latest/AuthToken>

mod age;
mod limit;
mod lost;
mod moved;
mod usable;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use self::{limit::Held, lost::Outcome, usable::Waited};
use crate::{
    cty::Path,
    framework::{
        Attr, Context, Diagnostic, Diagnostics, Failed, Identified, Limits, Model, Plan, Resource,
        Result, Secret, SourceState, Stop, Timeouts,
    },
    oci,
    provider::{
        absence::{self, Attempt},
        clients::{Clients, Ocir},
        diagnose,
        policy::{self, Place},
        validate,
    },
};

pub(crate) struct AuthToken {
    clients: Arc<Clients>,
}

/// An auth token: what a user gives as the password to `docker login`.
///
/// **The token is in the state, in plain text.** Oracle shows it once, when it is
/// created, and only in the state can it be kept; it is in no log, and hosts hide
/// it in plans. Whoever can read the state can sign in to the registry as this
/// user, so keep the state in a place that is encrypted and closed to others.
///
/// Where a stored password is not needed, do without: `ocir_image_push` signs in
/// with the provider's own identity, and the ephemeral resource
/// `ocir_registry_login` gives anything else a login that lives for an hour and is
/// in no state and no plan.
///
/// A user may hold two tokens. A plan that makes one for a user who holds two
/// already warns, and the apply fails before it asks for a third. A token that is
/// replaced frees its own place, because Terraform deletes it first. With
/// `create_before_destroy` both exist for a while, so the user may hold no other.
/// For a rotation without a gap use two tokens that are replaced in turn.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct State {
    /// OCID of the user the token belongs to; by default the user of the
    /// provider's own identity, and it stays that user's when the identity changes.
    #[tf(optional, computed, keep, replace, validate = validate::ocid)]
    user_id: Attr<String>,
    /// What the token is for. Changed in place.
    #[tf(required)]
    description: Attr<String>,
    /// Replaces the token once it is so many days old, counted in spans of 24
    /// hours from `time_created`. Its age is looked at whenever the state is
    /// refreshed, and once per run, so that a plan means the same when it is
    /// applied after midnight.
    #[tf(optional, validate = validate::days)]
    rotate_after_days: Attr<i64>,
    /// Any texts; any change of them replaces the token. For a token that was
    /// imported, or moved from another type, the first ones are only taken down.
    #[tf(optional)]
    rotation_triggers: Attr<BTreeMap<String, String>>,
    /// Whether to wait, after the token is created, until the registry accepts it,
    /// which takes minutes. The wait ends with a warning when the time for a
    /// create is over: the token exists, and will be accepted.
    #[tf(default = true)]
    wait_until_usable: Attr<bool>,
    /// OCID of the token.
    #[tf(computed, keep)]
    id: Attr<String>,
    /// The token itself. Null after an import, since Oracle shows it only once.
    #[tf(computed, keep)]
    token: Attr<Secret<String>>,
    /// What `docker login` wants as the user name: `<namespace>/<user>`, with the
    /// identity domain or the federation in between when the user's name has it.
    #[tf(computed, keep)]
    username: Attr<String>,
    /// Host to log in to, for example `gru.ocir.io`.
    #[tf(computed, keep)]
    registry_host: Attr<String>,
    /// Lifecycle state, usually `ACTIVE`. A token that became `INACTIVE` is replaced.
    #[tf(computed, keep)]
    state: Attr<String>,
    /// Why the token is inactive, as the bits of Oracle's `inactiveStatus`.
    #[tf(computed, keep)]
    inactive_state: Attr<String>,
    /// When the token was created (RFC 3339).
    #[tf(computed, keep)]
    time_created: Attr<String>,
    /// When the token expires (RFC 3339); null when it does not.
    #[tf(computed, keep)]
    time_expires: Attr<String>,
    /// How long operations may take.
    #[tf(block)]
    timeouts: Attr<Timeouts>,
}

/// What tells one token from every other.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct Identity {
    /// OCID of the user the token belongs to.
    #[tf(required)]
    user_id: Attr<String>,
    /// OCID of the token.
    #[tf(required)]
    id: Attr<String>,
}

impl Resource for AuthToken {
    type Clients = Clients;
    type State = State;
    const TIMEOUTS: Limits = Limits {
        create: Duration::from_secs(5 * 60),
        ..Limits::each(Duration::from_secs(20 * 60))
    };

    fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    async fn plan(&self, cx: &mut Context, plan: &mut Plan<'_, State>) -> Result<()> {
        let replaced = match plan.prior {
            Some(prior) => self.plan_replacement(cx, plan, prior).await?,
            None => false,
        };
        let frees = Replaced::of(cx);
        if !self.clients.is_known() {
            return Ok(());
        }
        if plan.planned.user_id.is_unknown() && plan.config.user_id.is_null() {
            let oci = self.clients.oci(cx).await?;
            plan.planned.user_id = Attr::Known(caller(cx, &oci).await?);
        }
        if plan.planned.registry_host.is_unknown() {
            plan.planned.registry_host = Attr::Known(self.clients.ocir_host(cx).await?);
        }
        let user_id = plan.planned.user_id.as_str();
        if let Some(user_id) = user_id.filter(|_| replaced || plan.is_create()) {
            let frees = frees.filter(|frees| frees.user_id == user_id);
            // Whoever asks a second time was told the first time, when there was a prior
            // state. Terraform does not show the warnings of the second.
            if frees.is_none() || !plan.is_create() {
                let frees = frees.as_ref().map(|frees| &*frees.id);
                let description = plan.planned.description.as_str();
                self.warn_of_limit(cx, user_id, description, frees).await?;
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        cx: &mut Context,
        _: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        cx.private.remove(REPLACES);
        let oci = self.clients.oci(cx).await?;
        let user_id = match planned.user_id.known() {
            Some(user_id) => user_id.clone(),
            None => caller(cx, &oci).await?,
        };
        let description = planned.description.clone().known_or_default();
        // Asked before, so that what can fail fails while there is nothing to lose.
        let held = self.room(cx, &oci, &user_id, &description).await?;
        let registry_host = Attr::Known(self.clients.ocir_host(cx).await?);
        let ocir = self.clients.ocir(cx).await?;
        let usernames = self.usernames(cx, &oci, &user_id).await;
        let create = lost::Create {
            clients: &self.clients,
            oci: &oci,
            user_id: &user_id,
            description: &description,
            retry_token: &oci::new_retry_token(),
            held: held.as_deref(),
        };
        let token = match create.ask().await {
            Ok(token) => token,
            Err(error) if error.is_ambiguous() => {
                match create.settle(cx.stopped().is_some()).await {
                    Outcome::Made(token) => *token,
                    outcome => {
                        let planned = State {
                            registry_host,
                            ..planned
                        };
                        return Err(without_value(cx, &create, &error, outcome, planned));
                    }
                }
            }
            Err(error) => {
                return Err(self.not_created(cx, &create, &error).await.into());
            }
        };
        self.clients.note_kept_token(&token.id);
        let username = usernames.as_ref().ok().and_then(|names| names.first());
        let mut state = to_state(
            token,
            State {
                username: username.cloned().into(),
                registry_host,
                ..planned
            },
        );
        // What has been made by this provider, and not taken over.
        cx.private.set(MADE, "yes");
        // Its value is told once. From here on nothing loses it.
        cx.keep_usable(&state);
        let waits = state.wait_until_usable != Attr::Known(false);
        match usernames {
            Ok(usernames) if waits => self.wait(cx, &oci, &ocir, &usernames, &mut state).await,
            Ok(_) => {}
            Err(mut warning) => {
                if waits {
                    warning.detail = warning.detail.replacen(
                        "\n\n",
                        " Without it, whether the registry accepts the token already was not tried.\n\n",
                        1,
                    );
                }
                cx.warn(warning);
            }
        }
        Ok(state)
    }

    async fn read(&self, cx: &mut Context, state: State) -> Result<Option<State>> {
        let oci = self.clients.oci(cx).await?;
        let (user_id, id) = (
            state.user_id.clone().known_or_default(),
            state.id.clone().known_or_default(),
        );
        let attempt = Attempt {
            summary: "Cannot read auth token",
            what: &format!("Auth token {id} of user {user_id} could not be read"),
            operation: "ListAuthTokens",
        };
        let Some(token) = self.find(cx, &oci, &state, attempt).await? else {
            return Ok(None);
        };
        self.clients.note_kept_token(&token.id);
        match age::of(token.time_created.as_deref(), SystemTime::now()).map(age::days) {
            Some(days @ 1..) => cx.private.set(AGE, days.to_string()),
            _ => cx.private.remove(AGE),
        }
        let registry_host = Attr::Known(self.clients.ocir_host(cx).await?);
        let mut state = to_state(
            token,
            State {
                registry_host,
                ..state
            },
        );
        if state.username.is_null() {
            match self.usernames(cx, &oci, &user_id).await {
                Ok(usernames) => state.username = usernames.into_iter().next().into(),
                Err(warning) => cx.warn(warning),
            }
        }
        Ok(Some(state))
    }

    async fn update(
        &self,
        cx: &mut Context,
        _: &State,
        prior: &State,
        planned: State,
    ) -> Result<State, Failed<State>> {
        cx.private.remove(REPLACES);
        if planned.description == prior.description {
            // What else can change, only the state knows of.
            return Ok(planned);
        }
        let oci = self.clients.oci(cx).await?;
        let (user_id, id) = (
            prior.user_id.clone().known_or_default(),
            prior.id.clone().known_or_default(),
        );
        let token = oci
            .update_auth_token(
                &user_id,
                &id,
                &planned.description.clone().known_or_default(),
            )
            .await
            .map_err(|error| {
                diagnose::failed(
                    cx,
                    "Cannot update auth token",
                    &format!(
                        "The description of auth token {id} of user {user_id} could not be changed"
                    ),
                    Place::User(&user_id),
                    &error,
                    &oci,
                )
            })?;
        Ok(to_state(token, planned))
    }

    async fn delete(&self, cx: &mut Context, state: State) -> Result<()> {
        let oci = self.clients.oci(cx).await?;
        let (user_id, id) = (
            state.user_id.clone().known_or_default(),
            state.id.clone().known_or_default(),
        );
        let Err(error) = oci.delete_auth_token(&user_id, &id).await else {
            self.clients.note_deleted_token(&id);
            return Ok(());
        };
        let what = format!("Auth token {id} of user {user_id} could not be deleted");
        let attempt = Attempt {
            summary: "Cannot delete auth token",
            what: &what,
            operation: "DeleteAuthToken",
        };
        let missing = Attempt {
            what: &format!(
                "{what}: DeleteAuthToken was answered 404, and whether it is gone could not be found out"
            ),
            ..attempt
        };
        // A token that still works must not be forgotten over a lost permission.
        if error.is_not_found()
            && absence::auth_token(cx, &oci, &user_id, &id, missing)
                .await?
                .is_none()
        {
            return Ok(());
        }
        let place = Place::User(&user_id);
        if !error.is_not_found() {
            return Err(diagnose::failed(
                cx,
                attempt.summary,
                &what,
                place,
                &error,
                &oci,
            ));
        }
        let advice = format!(
            "The token exists: the list of the user's tokens has it, so it stays in the state. {}",
            diagnose::lost_right(&error, place, &oci)
        );
        Err(diagnose::refusal(attempt.summary, &what, &error, &oci, &advice).into())
    }

    async fn import(&self, cx: &mut Context, id: &str) -> Result<State> {
        let Some((user_id, token_id)) = import_parts(id) else {
            return Err(Diagnostic::error(
                "Invalid import identifier",
                format!(
                    "An auth token is imported by the OCID of its user and its own:\n    users/<user OCID>/authTokens/<token OCID>\n\
                     or both OCIDs with a slash between them; \"{id}\" is neither."
                ),
            )
            .into());
        };
        let oci = self.clients.oci(cx).await?;
        let listed = oci.list_auth_tokens(user_id).await;
        let listed = listed.map_err(|error| {
            diagnose::failed(
                cx,
                "Cannot import auth token",
                &format!("The auth tokens of user {user_id} could not be listed"),
                Place::User(user_id),
                &error,
                &oci,
            )
        })?;
        let found = listed
            .into_iter()
            .find(|token| token.id == token_id && !absence::is_deleted(&token.lifecycle_state));
        match found {
            // What the user's name is, the refresh after an import finds out.
            Some(token) => Ok(to_state(token, State::default())),
            None => Err(Diagnostic::error(
                "Cannot import auth token",
                format!("User {user_id} has no auth token {token_id}."),
            )
            .into()),
        }
    }

    fn move_from(source: &SourceState) -> Option<Result<State>> {
        moved::from(source)
    }
}

impl Identified for AuthToken {
    type Identity = Identity;

    fn identity(state: &State) -> Identity {
        Identity {
            user_id: state.user_id.clone(),
            id: state.id.clone(),
        }
    }

    fn import_id(identity: &Identity) -> Result<String> {
        let text = |part: &Attr<String>| part.clone().known_or_default();
        Ok(format!(
            "users/{}/authTokens/{}",
            text(&identity.user_id),
            text(&identity.id)
        ))
    }
}

impl AuthToken {
    /// Whether an existing token is to be replaced. Nothing here looks at a clock
    /// or asks anybody: a host plans again while it applies, and has to be told the
    /// same. Who replaces one with -replace does not say so here.
    async fn plan_replacement(
        &self,
        cx: &mut Context,
        plan: &mut Plan<'_, State>,
        prior: &State,
    ) -> Result<bool> {
        let mut replaced = plan.is_replacement();
        let mut replace_id = |plan: &mut Plan<'_, State>| {
            plan.planned.id = Attr::Unknown;
            plan.require_replacement("id");
            replaced = true;
        };
        // Nothing makes a token active again.
        if prior.state == Attr::from("INACTIVE") {
            replace_id(plan);
        }
        let days = cx.private.get(AGE).map(String::from_utf8_lossy);
        let days: Option<i64> = days.and_then(|days| days.parse().ok());
        match (days, plan.planned.rotate_after_days.clone()) {
            (Some(days), Attr::Known(limit)) if days >= limit => {
                let id = prior.id.clone().known_or_default();
                replace_id(plan);
                cx.warn(Diagnostic::warning(
                    "Auth token is due for rotation",
                    format!(
                        "Auth token {id} is {days} days old, and \"rotate_after_days\" is {limit}. It is replaced, and whoever uses it needs \
                         the new one."
                    ),
                ));
            }
            (Some(_), Attr::Unknown) => {
                return Err(Diagnostic::error(
                    "Rotation is not known yet",
                    "Argument \"rotate_after_days\" comes from something that does not exist yet, so whether the auth token is to be replaced \
                     cannot be planned. Create what it comes from first:\n    terraform apply -target=ADDRESS\n\
                     or give the argument a value that is known while planning.",
                )
                .at(Path::attribute("rotate_after_days"))
                .into());
            }
            _ => {}
        }
        // Triggers that an object gets after it was taken over are no change of it.
        let first = prior.rotation_triggers.is_null() && cx.private.get(MADE).is_none();
        if plan.changes(|state| &state.rotation_triggers) && !first {
            plan.require_replacement("rotation_triggers");
            replaced = true;
        }
        let Attr::Known(user_id) = &prior.user_id else {
            return Ok(replaced);
        };
        let id = prior.id.as_str().unwrap_or_default();
        cx.private.set(REPLACES, format!("{user_id}/{id}"));
        if !replaced {
            return Ok(false);
        }
        let caller = match plan.config.user_id.is_null() && self.clients.is_known() {
            true => self.clients.oci(cx).await?.credentials().user_id(),
            false => None,
        };
        if let Some(caller) = caller.filter(|caller| caller != user_id) {
            cx.warn(
                Diagnostic::warning(
                    "Auth token will belong to another user",
                    format!(
                        "The auth token is replaced. It belongs to user {user_id}; argument \"user_id\" is left out, and the provider signs in \
                         as user {caller} now, so the new one will be that user's. To keep the user, set:\n    user_id = \"{user_id}\""
                    ),
                )
                .at(Path::attribute("user_id")),
            );
        }
        Ok(true)
    }

    /// What a user holds, of a list; `description` is that of the token to be made.
    ///
    /// A host that replaces a token with create_before_destroy asks, while it applies,
    /// as if there had never been one, in a process that read no state. Then only a
    /// young token counts as one that may be left over, so that the old one does not.
    fn held<'a>(
        &self,
        user_id: &'a str,
        tokens: Vec<oci::AuthToken>,
        description: Option<&str>,
        replaced: Option<&str>,
    ) -> Held<'a> {
        let tokens = limit::counted(tokens, |id| self.clients.is_deleted_token(id));
        let now = SystemTime::now();
        let is_left_over = |token: &oci::AuthToken| match replaced {
            Some(id) => id != token.id,
            None => limit::is_young(token, now),
        } && !self.clients.is_kept_token(&token.id);
        Held {
            user_id,
            left_over: limit::left_over(&tokens, description, is_left_over),
            tokens,
        }
    }

    /// Looks, while planning, for room for another token, which one that is replaced
    /// makes itself, and for one that a run left over that was to make it.
    async fn warn_of_limit(
        &self,
        cx: &mut Context,
        user_id: &str,
        description: Option<&str>,
        replaced: Option<&str>,
    ) -> Result<()> {
        let oci = self.clients.oci(cx).await?;
        match oci.list_auth_tokens(user_id).await {
            Ok(tokens) => {
                let held = self.held(user_id, tokens, description, replaced);
                if replaced.is_none() && held.is_full() {
                    cx.warn(held.warning());
                } else if !held.left_over.is_empty() {
                    cx.warn(held.warning_of_left_over());
                }
            }
            Err(error) if error.is_stopped() => {
                return Err(cannot_list(cx, &oci, user_id, &error));
            }
            // What is wrong, the apply says when it matters.
            Err(error) => {
                tracing::debug!(%error, user_id, "The user's auth tokens cannot be listed");
            }
        }
        Ok(())
    }

    /// The OCIDs of the tokens that are listed, when there is room for another one;
    /// nothing when they may not be. A list may have those for a moment longer that do
    /// not count any more.
    async fn room(
        &self,
        cx: &Context,
        oci: &oci::Client,
        user_id: &str,
        description: &str,
    ) -> Result<Option<Vec<String>>> {
        match oci.list_auth_tokens(user_id).await {
            Ok(tokens) => {
                let listed = tokens.iter().map(|token| token.id.clone()).collect();
                let held = self.held(user_id, tokens, Some(description), None);
                match held.is_full() {
                    true => Err(held.error().into()),
                    false => Ok(Some(listed)),
                }
            }
            // Who may create may be forbidden to look, and the create tells.
            Err(refused) if absence::is_refusal(&refused) => Ok(None),
            Err(error) => Err(cannot_list(cx, oci, user_id, &error)),
        }
    }

    /// The create failed, and made nothing.
    async fn not_created(
        &self,
        cx: &Context,
        create: &lost::Create<'_>,
        error: &oci::Error,
    ) -> Diagnostics {
        let lost::Create {
            oci,
            user_id,
            description,
            ..
        } = *create;
        let what = format!("An auth token for user {user_id} could not be created");
        if !error.is_token_limit() {
            let place = Place::User(user_id);
            return diagnose::failed(cx, CANNOT_CREATE, &what, place, error, oci);
        }
        let listed = oci.list_auth_tokens(user_id).await.unwrap_or_default();
        let held = self.held(user_id, listed, Some(description), None);
        diagnose::refusal(CANNOT_CREATE, &what, error, oci, &held.refused()).into()
    }

    /// The token of a state. A list may not have a new one yet, so that a young
    /// token is looked for some more times before it counts as gone.
    async fn find(
        &self,
        cx: &Context,
        oci: &oci::Client,
        state: &State,
        attempt: Attempt<'_>,
    ) -> Result<Option<oci::AuthToken>> {
        let (user_id, id) = (
            state.user_id.clone().known_or_default(),
            state.id.clone().known_or_default(),
        );
        let mut looks = LOOKS.iter();
        loop {
            let found = absence::auth_token(cx, oci, &user_id, &id, attempt).await?;
            let age = age::of(state.time_created.as_str(), SystemTime::now());
            let is_young = age.is_some_and(|age| age < IAM_WINDOW);
            let pause = looks.next().filter(|_| is_young);
            let (None, Some(pause)) = (&found, pause) else {
                return Ok(found);
            };
            tracing::info!(
                token = id,
                next_in_seconds = pause.as_secs(),
                "The list of the user's auth tokens does not have the new token yet"
            );
            tokio::select! {
                biased;
                () = cx.stop.cancelled() => {
                    let stopped = oci::Error::Stopped;
                    let place = Place::User(&user_id);
                    return Err(diagnose::failed(
                        cx,
                        attempt.summary,
                        attempt.what,
                        place,
                        &stopped,
                        oci,
                    ));
                }
                () = tokio::time::sleep(self.clients.pause(*pause)) => {}
            }
        }
    }

    /// Waits until the registry accepts the token. That it does not yet is no
    /// failure of the create.
    async fn wait(
        &self,
        cx: &mut Context,
        oci: &oci::Client,
        ocir: &Ocir,
        usernames: &[String],
        state: &mut State,
    ) {
        let token = match &state.token {
            Attr::Known(token) => token.expose().clone(),
            _ => return,
        };
        let waited = usable::wait(&self.clients, ocir, usernames, &token, &cx.stop).await;
        let (user_id, id) = (
            state.user_id.clone().known_or_default(),
            state.id.clone().known_or_default(),
        );
        let username = usernames.first().map(String::as_str).unwrap_or_default();
        let (why, said) = match waited {
            Waited::Accepted(username) => {
                state.username = Attr::Known(username);
                if state.state != Attr::from("ACTIVE")
                    && let Ok(tokens) = oci.list_auth_tokens(&user_id).await
                    && let Some(token) = tokens.into_iter().find(|token| token.id == id)
                {
                    *state = to_state(token, state.clone());
                }
                return;
            }
            Waited::Impossible(said) => (
                "The registry could not be asked whether it does",
                Some(said),
            ),
            Waited::Stopped(said) => match cx.stopped() {
                Some(Stop::TimedOut) => ("It did not until the time for the create was over", said),
                _ => ("The run was interrupted before it did", said),
            },
        };
        let mut paragraphs = vec![format!(
            "Auth token {id} of user {user_id} was created, and it is in the state; whether {} accepts it as the password of \"{username}\" \
             is not known. {why}.{}",
            ocir.host,
            said.map(|said| format!(" {said}")).unwrap_or_default(),
        )];
        paragraphs.push(
            "A new token is accepted after some minutes. Until then a login with it fails as one with a wrong password does."
                .to_owned(),
        );
        paragraphs.extend(cx.advice());
        cx.warn(Diagnostic::warning(
            "Auth token may not be usable yet",
            paragraphs.join("\n\n"),
        ));
    }

    /// The login names, the likeliest first. A user that cannot be read still has a
    /// usable token.
    async fn usernames(
        &self,
        cx: &Context,
        oci: &oci::Client,
        user_id: &str,
    ) -> Result<Vec<String>, Diagnostic> {
        let warning = |cause: String| {
            Diagnostic::warning(
                "Login name is not known",
                format!(
                    "The token can be used. Its user name for \"docker login\", which is <namespace>/<user>, could not be found out, so \
                     the attribute \"username\" is null until a later refresh finds it.\n\n{cause}"
                ),
            )
        };
        let namespace = self.clients.namespace(cx).await.map_err(|diagnostics| {
            warning(
                diagnostics
                    .iter()
                    .map(|diagnostic| diagnostic.detail.clone())
                    .collect(),
            )
        })?;
        match oci.get_user(user_id).await {
            Ok(user) => Ok(usable::usernames(&namespace, &user.name)),
            Err(error) => Err(warning(diagnose::explain(
                &format!("User {user_id} could not be read"),
                Place::User(user_id),
                &error,
                oci,
            ))),
        }
    }
}

/// The user of the provider's own identity.
async fn caller(cx: &Context, oci: &oci::Client) -> Result<String> {
    let identity = oci.credentials();
    if let Some(user_id) = identity.user_id() {
        return Ok(user_id);
    }
    // Whoever exchanges something for a token learns from the token who it is.
    tokio::select! {
        biased;
        () = cx.stop.cancelled() => return Err(diagnose::stopped("Nobody was signed in")),
        credential = identity.credential() => {
            credential.map_err(|error| diagnose::renewal(&error, oci))?;
        }
    }
    match identity.user_id() {
        Some(user_id) => Ok(user_id),
        None => Err(Diagnostic::error(
            "No user to create the auth token for",
            format!(
                "Argument \"user_id\" is left out, and the provider signs in as {}, which is no user. Only users have auth tokens. Set it to the \
                 OCID of the user the token is for, and allow to manage that user's tokens:{}\n\n\
                 For a push no auth token is needed: ocir_image_push signs in with the provider's own identity.",
                identity.describe(),
                policy::statements("CreateAuthToken", &identity.grantee(), Place::Tenancy)
                    .unwrap_or_default(),
            ),
        )
        .at(Path::attribute("user_id"))
        .into()),
    }
}

/// The list of a user's tokens failed, and nothing was created.
fn cannot_list(cx: &Context, oci: &oci::Client, user_id: &str, error: &oci::Error) -> Diagnostics {
    let what = format!(
        "No auth token was created for user {user_id}: the tokens that the user holds could not be listed"
    );
    let place = Place::User(user_id);
    diagnose::failed(cx, CANNOT_CREATE, &what, place, error, oci)
}

/// No answer told what the create made, and asking again did not either. A token
/// whose value nobody knows goes into the state, so that the next apply replaces it.
fn without_value(
    cx: &Context,
    create: &lost::Create<'_>,
    error: &oci::Error,
    outcome: Outcome,
    planned: State,
) -> Failed<State> {
    let lost::Create { oci, user_id, .. } = *create;
    let place = Place::User(user_id);
    let with = |summary: &str, what: &str, outcome: &str| {
        let diagnostics = diagnose::failed(cx, summary, what, place, error, oci);
        diagnose::with_outcome(diagnostics, outcome)
    };
    let Outcome::Valueless(token) = outcome else {
        let what = format!("An auth token for user {user_id} could not be created");
        let known = match outcome {
            Outcome::Absent => lost::ABSENT,
            _ if create.held.is_none() => lost::UNSEEN,
            _ => lost::UNKNOWN,
        };
        return with(CANNOT_CREATE, &what, known).into();
    };
    let advice = format!(
        "The user has one token more than before, with this description: {}. Oracle shows the value once, so it is lost. The token is in \
         the state without it, as tainted: the next apply replaces it.",
        token.id
    );
    let what = format!("An auth token for user {user_id} was created, and no answer told it");
    let summary = "Auth token was created and its value is lost";
    Failed {
        diagnostics: match error.is_stopped() {
            true => with(summary, &what, &advice),
            false => diagnose::refusal(summary, &what, error, oci, &advice).into(),
        },
        partial: Some(State {
            username: Attr::Null,
            token: Attr::Null,
            ..to_state(*token, planned)
        }),
    }
}

const CANNOT_CREATE: &str = "Cannot create auth token";

/// In the private state: that this provider made the token.
const MADE: &str = "made";

/// In the private state: how many days old the token was when it was last looked
/// at. A plan and its apply judge by the same state, so they judge alike.
const AGE: &str = "age_days";

/// In the private state of a plan alone: the token that is deleted for a new one,
/// and its user. A host that plans a replacement asks a second time, for the new
/// token alone, with what was remembered the first time.
const REPLACES: &str = "replaces";

/// What [`REPLACES`] says.
struct Replaced {
    user_id: String,
    id: String,
}

impl Replaced {
    fn of(cx: &Context) -> Option<Self> {
        let text = String::from_utf8_lossy(cx.private.get(REPLACES)?).into_owned();
        let (user_id, id) = text.split_once('/')?;
        Some(Self {
            user_id: user_id.to_owned(),
            id: id.to_owned(),
        })
    }
}

/// For how long after a change IAM may not have it everywhere.
const IAM_WINDOW: Duration = Duration::from_secs(240);

/// Between one look for a young token and the next.
const LOOKS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
];

/// The state that shows `token`; `known` is what was known of it before, for
/// what the service does not tell again.
fn to_state(token: oci::AuthToken, known: State) -> State {
    let secret = match token.token {
        Some(secret) => Attr::Known(Secret::new(secret)),
        None => known.token,
    };
    State {
        user_id: Attr::Known(token.user_id),
        description: Attr::Known(token.description.unwrap_or_default()),
        id: Attr::Known(token.id),
        token: secret,
        username: known.username,
        registry_host: known.registry_host,
        state: Attr::Known(token.lifecycle_state),
        inactive_state: token
            .inactive_status
            .map(|status| status.to_string())
            .into(),
        time_created: token.time_created.into(),
        time_expires: token.time_expires.into(),
        rotate_after_days: known.rotate_after_days,
        rotation_triggers: known.rotation_triggers,
        wait_until_usable: known.wait_until_usable,
        timeouts: known.timeouts,
    }
}

/// `users/<user>/authTokens/<token>` or `<user>/<token>`.
fn import_parts(id: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = id.trim().split('/').collect();
    let (user, token) = match parts[..] {
        ["users", user, "authTokens", token] | [user, token] => (user, token),
        _ => return None,
    };
    (user.starts_with("ocid1.") && token.starts_with("ocid1.")).then_some((user, token))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::{credentials::Grantee, provider::diagnose::testing::Somebody};

    /// Both forms of the import identifier name the same two objects.
    #[test]
    fn import_takes_both_forms() {
        let expected = Some(("ocid1.user.oc1..a", "ocid1.credential.oc1..b"));
        assert_eq!(
            import_parts("users/ocid1.user.oc1..a/authTokens/ocid1.credential.oc1..b"),
            expected
        );
        assert_eq!(
            import_parts("ocid1.user.oc1..a/ocid1.credential.oc1..b"),
            expected
        );
        assert_eq!(import_parts("ocid1.user.oc1..a"), None);
        assert_eq!(import_parts("a/b"), None);
    }

    /// Whose token it shall be has to be said by everybody who is no user.
    #[tokio::test]
    async fn a_token_for_nobody() -> anyhow::Result<()> {
        for somebody in Somebody::of_each_kind()? {
            let user_id = somebody.user_id;
            let grantee = somebody.grantee.clone();
            let client = somebody.client()?;
            let found = caller(&Context::default(), &client).await;
            let Err(diagnostics) = found else {
                assert_eq!(found.ok().as_deref(), user_id);
                continue;
            };
            assert_eq!(user_id, None);
            let said: Vec<_> = diagnostics.iter().map(|one| one.detail.as_str()).collect();
            let said = said.join("\n");
            match grantee {
                Grantee::DynamicGroup => expect![[r#"
                    Argument "user_id" is left out, and the provider signs in as instance ocid1.instance.oc1..a (instance principal), which is no user. Only users have auth tokens. Set it to the OCID of the user the token is for, and allow to manage that user's tokens:
                        Allow dynamic-group DYNAMIC_GROUP to manage users in tenancy

                    For a push no auth token is needed: ocir_image_push signs in with the provider's own identity."#]].assert_eq(&said),
                _ => expect![[r#"
                    Argument "user_id" is left out, and the provider signs in as workload ci/pusher (OKE workload identity), which is no user. Only users have auth tokens. Set it to the OCID of the user the token is for, and allow to manage that user's tokens:
                        Allow any-user to manage users in tenancy where all {request.principal.type = 'workload', request.principal.namespace = 'ci'}

                    For a push no auth token is needed: ocir_image_push signs in with the provider's own identity."#]].assert_eq(&said),
            }
        }
        Ok(())
    }

    /// A state that is printed for debugging does not show the token.
    #[test]
    fn debug_does_not_show_the_token() {
        let state = State {
            token: Attr::Known(Secret::new("s3cr3t".into())),
            ..State::default()
        };
        assert!(!format!("{state:?}").contains("s3cr3t"));
    }

    proptest::proptest! {
        /// Whatever a user imports: two OCIDs that stand in it, or nothing.
        #[test]
        fn any_import(id in crate::spoilt::text(&[
            "users/ocid1.user.oc1..a/authTokens/ocid1.credential.oc1..b",
            " ocid1.user.oc1..a/ocid1.credential.oc1..b\n",
            "users//authTokens/",
        ])) {
            let Some((user, token)) = import_parts(&id) else { return Ok(()) };
            for part in [user, token] {
                proptest::prop_assert!(part.starts_with("ocid1.") && !part.contains('/'), "{}", part);
            }
            let forms = [format!("users/{user}/authTokens/{token}"), format!("{user}/{token}")];
            proptest::prop_assert!(forms.iter().any(|form| form == id.trim()), "{}", id);
            proptest::prop_assert_eq!(import_parts(&forms[0]), import_parts(&forms[1]));
        }
    }
}
