//! The registry's token endpoint, with a user name and a password: what
//! `docker login` does, to find out whether a new auth token is accepted yet.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::{Error, registry_token::is_anonymous};
use crate::region::Service;

/// Logs in at `base` (scheme and authority of a registry) once, without trying
/// again. Whether the registry accepts the login; it answers a wrong password,
/// and one that it has not heard of yet, the same.
///
/// The token it gives is dropped.
pub async fn registry_login(
    http: &reqwest::Client,
    base: &str,
    username: &str,
    password: &str,
) -> Result<bool, Error> {
    let invalid = || Error::Configuration("the registry's address is invalid".to_owned());
    let mut url = url::Url::parse(base).map_err(|_| invalid())?;
    let host = url.authority().to_owned();
    url.set_path(PATH);
    url.query_pairs_mut().append_pair("service", &host);
    let login = STANDARD.encode(format!("{username}:{password}"));
    let mut login = HeaderValue::try_from(format!("Basic {login}")).map_err(|_| invalid())?;
    login.set_sensitive(true);
    let no_answer = |source: reqwest::Error| Error::Transport {
        operation: OPERATION,
        host: host.clone(),
        attempts: 1,
        unheard: false,
        source: source.without_url(),
    };
    let response = http
        .get(url)
        .header(header::AUTHORIZATION, login)
        .header(header::ACCEPT, "application/json")
        .timeout(TIMEOUT)
        .send()
        .await
        .map_err(no_answer)?;
    let status = response.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Ok(false);
    }
    if !status.is_success() {
        return Err(Error::Service {
            operation: OPERATION,
            service: Service::ContainerRegistry.name(),
            host: host.clone(),
            status: status.as_u16(),
            code: String::new(),
            // A body may repeat what was sent; the status says enough.
            message: String::new(),
            opc_request_id: response
                .headers()
                .get("opc-request-id")
                .and_then(|id| id.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            region: String::new(),
            attempts: 1,
            unheard: false,
            retry_after: None,
            clock_skew: None,
        });
    }
    let body = response.bytes().await.map_err(no_answer)?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|source| Error::Decode {
        operation: OPERATION,
        opc_request_id: String::new(),
        source,
    })?;
    let token = answer.token.or(answer.access_token).unwrap_or_default();
    // A token for nobody is what a caller gets who did not sign in.
    Ok(!token.is_empty() && !is_anonymous(&token))
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

const OPERATION: &str = "GetRegistryToken";
const PATH: &str = "/20180419/docker/token";

/// A login that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(20);
