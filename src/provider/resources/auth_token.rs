//! `oci_auth_token`, `ocir_auth_token`: the password of a user at the registry.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/identity/latest/AuthToken>

use std::sync::Arc;

use crate::{
    cty::Path,
    framework::{
        Attr, Context, Diagnostic, Diagnostics, Failed, Model, Plan, Resource, Result, Secret,
    },
    oci,
    provider::{
        absence::{self, Attempt},
        clients::Clients,
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
/// Oracle shows a token once, when it is created, so it is kept in the state.
/// A user may hold two. A push by `ocir_image_push` needs none: it signs in with
/// the provider's own identity.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct State {
    /// OCID of the user the token belongs to; by default the user of the
    /// provider's own identity, and it stays that user's when the identity changes.
    #[tf(optional, computed, keep, replace, validate = validate::ocid)]
    user_id: Attr<String>,
    /// What the token is for.
    #[tf(required)]
    description: Attr<String>,
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
}

impl Resource for AuthToken {
    type Clients = Clients;
    type State = State;

    fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    async fn plan(&self, cx: &mut Context, plan: &mut Plan<'_, State>) -> Result<()> {
        // Nothing makes a token active again.
        let inactive = Attr::from("INACTIVE");
        if plan.prior.is_some_and(|prior| prior.state == inactive) {
            plan.planned.id = Attr::Unknown;
            plan.require_replacement("id");
        }
        if !self.clients.is_known() {
            return Ok(());
        }
        if plan.planned.user_id.is_unknown() && plan.config.user_id.is_null() {
            let oci = self.clients.oci(cx).await?;
            plan.planned.user_id = Attr::Known(caller(cx, &oci).await?);
        }
        if plan.planned.registry_host.is_unknown() {
            plan.planned.registry_host = Attr::Known(self.clients.registry_host(cx).await?);
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
        let user_id = match planned.user_id.known() {
            Some(user_id) => user_id.clone(),
            None => caller(cx, &oci).await?,
        };
        let description = planned.description.clone().known_or_default();
        // Asked before, so that what can fail fails while there is nothing to lose.
        let registry_host = Attr::Known(self.clients.registry_host(cx).await?);
        let username = self.username(cx, &oci, &user_id).await;
        let token = match oci.create_auth_token(&user_id, &description).await {
            Ok(token) => token,
            Err(error) => return Err(cannot_create(&oci, &user_id, &error).await.into()),
        };
        let username = username.unwrap_or_else(|warning| {
            cx.warn(warning);
            Attr::Null
        });
        Ok(to_state(
            token,
            State {
                username,
                registry_host,
                ..planned
            },
        ))
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
        let token = absence::auth_token(&oci, &user_id, &id, attempt).await?;
        let Some(token) = token else { return Ok(None) };
        let registry_host = Attr::Known(self.clients.registry_host(cx).await?);
        let mut state = to_state(
            token,
            State {
                registry_host,
                ..state
            },
        );
        if state.username.is_null() {
            match self.username(cx, &oci, &user_id).await {
                Ok(username) => state.username = username,
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
                diagnose::oci(
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
            && absence::auth_token(&oci, &user_id, &id, missing)
                .await?
                .is_none()
        {
            return Ok(());
        }
        let place = Place::User(&user_id);
        if !error.is_not_found() {
            return Err(diagnose::oci(attempt.summary, &what, place, &error, &oci));
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
            diagnose::oci(
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
}

impl AuthToken {
    /// The login name. A user that cannot be read still has a usable token.
    async fn username(
        &self,
        cx: &Context,
        oci: &oci::Client,
        user_id: &str,
    ) -> Result<Attr<String>, Diagnostic> {
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
            Ok(user) => Ok(Attr::Known(format!("{namespace}/{}", user.name))),
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
        () = cx.stop.cancelled() => return Err(diagnose::stopped_signing_in()),
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

async fn cannot_create(oci: &oci::Client, user_id: &str, error: &oci::Error) -> Diagnostics {
    let what = format!("An auth token for user {user_id} could not be created");
    if !error.is_token_limit() {
        let place = Place::User(user_id);
        return diagnose::oci("Cannot create auth token", &what, place, error, oci);
    }
    let held = match oci.list_auth_tokens(user_id).await {
        Ok(tokens) => tokens
            .iter()
            .map(|token| {
                format!(
                    "\n    {} \"{}\", created {}",
                    token.id,
                    token.description.as_deref().unwrap_or_default(),
                    token
                        .time_created
                        .as_deref()
                        .unwrap_or("at an unknown time")
                )
            })
            .collect(),
        Err(_) => String::new(),
    };
    let advice = format!(
        "A user may hold two auth tokens, and this one does already.{}{held}\n\n\
         Delete one that is not used any more, or import it to manage it here.",
        if held.is_empty() { "" } else { " They are:" },
    );
    diagnose::refusal("Cannot create auth token", &what, error, oci, &advice).into()
}

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
}
