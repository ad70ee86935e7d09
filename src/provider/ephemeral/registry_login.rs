//! `ocir_registry_login`: a login to the registry that lives for an hour.
//!
//! API: `GET /20180419/docker/token` on the registry's own host.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    framework::{Attr, Context, EphemeralResource, Model, Opened, Result, Secret},
    provider::{clients::Clients, diagnose, policy::Place},
};

pub(crate) struct RegistryLogin {
    clients: Arc<Clients>,
}

/// A login to the region's registry that lives for an hour, made from the
/// provider's own identity: for other providers, for provisioners, and for whatever
/// else wants a user name and a password.
///
/// It is in no state and in no plan. Each plan and each apply opens one of its own,
/// with its whole hour, so there is nothing to renew; nothing is left behind that
/// has to be revoked. It may do in the registry what the identity may do. No auth
/// token is needed for it, and no user: an instance, a function or a workload gets
/// one just as well.
///
/// Terraform has ephemeral resources since 1.10, OpenTofu since 1.11.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct State {
    /// Host to log in to, for example `gru.ocir.io`.
    #[tf(computed)]
    host: Attr<String>,
    /// User name, `BEARER_TOKEN` for everybody.
    #[tf(computed)]
    username: Attr<String>,
    /// The password, a token.
    #[tf(computed)]
    password: Attr<Secret<String>>,
    /// When the password stops to work (RFC 3339).
    #[tf(computed)]
    expires_at: Attr<String>,
    /// The login as the text of a `~/.docker/config.json`, which docker, podman,
    /// skopeo, helm and others read.
    #[tf(computed)]
    docker_config_json: Attr<Secret<String>>,
}

impl EphemeralResource for RegistryLogin {
    type Clients = Clients;
    type State = State;

    fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    async fn open(&self, cx: &mut Context, _: State) -> Result<Opened<State>> {
        if !self.clients.is_known() {
            return Ok(State {
                host: Attr::Unknown,
                username: Attr::Unknown,
                password: Attr::Unknown,
                expires_at: Attr::Unknown,
                docker_config_json: Attr::Unknown,
            }
            .into());
        }
        let ocir = self.clients.ocir(cx).await?;
        // Before it is asked: a little early is harmless, a little late is not.
        let asked = SystemTime::now();
        let token = ocir.token().await.map_err(|error| {
            let what = format!("No login for {} could be opened", ocir.host);
            let place = Place::Unknown;
            diagnose::oci(
                "Cannot log in to the registry",
                &what,
                place,
                &error,
                &ocir.oci,
            )
        })?;
        Ok(State {
            docker_config_json: Secret::new(docker_config(&ocir.host, &token.token)).into(),
            host: ocir.host.into(),
            username: USERNAME.into(),
            password: Secret::new(token.token).into(),
            expires_at: rfc3339(asked, token.expires_in).into(),
        }
        .into())
    }
}

/// Tells the registry that the password is a token.
const USERNAME: &str = "BEARER_TOKEN";

fn docker_config(host: &str, password: &str) -> String {
    let auth = STANDARD.encode(format!("{USERNAME}:{password}"));
    json!({ "auths": { host: { "auth": auth } } }).to_string()
}

/// A moment to the second, rounded down.
fn rfc3339(from: SystemTime, lifetime: Duration) -> Option<String> {
    let moment = OffsetDateTime::from(from.checked_add(lifetime)?);
    moment.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The file has the login under the registry's host, as `docker login` writes it.
    #[test]
    fn docker_configuration() {
        expect![[r#"{"auths":{"gru.ocir.io":{"auth":"QkVBUkVSX1RPS0VOOmV5Sg=="}}}"#]]
            .assert_eq(&docker_config("gru.ocir.io", "eyJ"));
    }

    /// The end of its life is said to the second, and never too late.
    #[test]
    fn end_of_life() {
        let asked = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_999);
        assert_eq!(
            rfc3339(asked, Duration::from_secs(3600)).as_deref(),
            Some("2026-01-02T04:04:05Z")
        );
    }

    /// Whoever prints a login sees no secret.
    #[test]
    fn debug_shows_no_secret() {
        let state = State {
            password: Secret::from("s3cr3t").into(),
            docker_config_json: Secret::new(docker_config("h", "s3cr3t")).into(),
            ..State::default()
        };
        let printed = format!("{state:?}");
        let encoded = STANDARD.encode(format!("{USERNAME}:s3cr3t"));
        assert!(
            !printed.contains("s3cr3t") && !printed.contains(&encoded),
            "{printed}"
        );
    }
}
