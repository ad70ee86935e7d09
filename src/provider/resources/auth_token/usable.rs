//! Waiting until the registry accepts a new token. It answers a token that it has
//! not heard of yet as it answers a wrong password, so there is nothing to do but
//! to log in until that works.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::{
    oci,
    provider::{
        clients::{Clients, Ocir},
        diagnose,
    },
};

/// How waiting ended.
pub(super) enum Waited {
    /// This user name is accepted.
    Accepted(String),
    /// There was no time left, or the run was interrupted. The last answer, when
    /// it said something else than "no".
    Stopped(Option<String>),
    /// The registry cannot be asked.
    Impossible(String),
}

/// Logs in until one of `usernames` is accepted, the likeliest of which is the
/// first.
pub(super) async fn wait(
    clients: &Clients,
    ocir: &Ocir,
    usernames: &[String],
    token: &str,
    stop: &CancellationToken,
) -> Waited {
    let began = Instant::now();
    let mut said = None;
    for attempt in 0_usize.. {
        for username in usernames {
            let answer = tokio::select! {
                biased;
                () = stop.cancelled() => return Waited::Stopped(said),
                answer = ocir.accepts(username, token) => answer,
            };
            match answer {
                Ok(true) => {
                    let seconds = began.elapsed().as_secs();
                    tracing::info!(username, seconds, "The registry accepts the auth token");
                    return Waited::Accepted(username.clone());
                }
                Ok(false) => said = None,
                Err(error) if is_final(&error) => {
                    return Waited::Impossible(diagnose::answer(&error));
                }
                Err(error) => said = Some(diagnose::answer(&error)),
            }
        }
        let pause = PAUSES[attempt.min(PAUSES.len() - 1)];
        tracing::info!(
            registry = ocir.host,
            waited_seconds = began.elapsed().as_secs(),
            next_in_seconds = pause.as_secs(),
            "The registry does not accept the new auth token yet"
        );
        tokio::select! {
            biased;
            () = stop.cancelled() => return Waited::Stopped(said),
            () = tokio::time::sleep(clients.pause(pause)) => {}
        }
    }
    Waited::Stopped(said)
}

/// What a user may have to give as the user name. The name that the control plane
/// has is the login name, and it has the identity domain or the federation in
/// front when the registry wants it; not every tenancy keeps to that.
pub(super) fn usernames(namespace: &str, name: &str) -> Vec<String> {
    let mut usernames = vec![format!("{namespace}/{name}")];
    match name.split_once('/') {
        None => usernames.push(format!("{namespace}/{FEDERATION}/{name}")),
        Some((domain, name)) => {
            usernames.push(format!("{namespace}/{name}"));
            if !domain.eq_ignore_ascii_case(FEDERATION) {
                usernames.push(format!("{namespace}/{FEDERATION}/{name}"));
            }
        }
    }
    usernames
}

/// Whether asking again is of no use: there is no such endpoint.
fn is_final(error: &oci::Error) -> bool {
    matches!(error, oci::Error::Configuration(_))
        || matches!(error.status(), Some(300..=399 | 404 | 405 | 410 | 501))
}

/// In front of the users that came from Oracle's older identity service.
const FEDERATION: &str = "oracleidentitycloudservice";

/// Between one round of logins and the next; the last one counts from there on.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(8),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The name as it is comes first, then what other tenancies want.
    #[test]
    fn user_names() {
        for (name, expected) in [
            ("jo", vec!["ns/jo", "ns/oracleidentitycloudservice/jo"]),
            (
                "oracleidentitycloudservice/jo",
                vec!["ns/oracleidentitycloudservice/jo", "ns/jo"],
            ),
            (
                "Sales/jo",
                vec!["ns/Sales/jo", "ns/jo", "ns/oracleidentitycloudservice/jo"],
            ),
        ] {
            assert_eq!(usernames("ns", name), expected);
        }
    }
}
