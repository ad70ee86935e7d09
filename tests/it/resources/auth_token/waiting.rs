//! Waiting until a token can be used, and what is left when something goes wrong
//! on the way.

use std::time::{Duration, Instant};

use expect_test::expect;
use ocir::emulator::{Emulator, Fault};
use serde_json::{Value as Json, json};

use super::{docker, impatient, text};
use crate::support::{
    core::{Action, PlannedChange, Problems, Resource},
    provider::{Cloud, arguments},
};

/// An emulator whose registry takes a while to hear of a token.
async fn slow(delay: Duration) -> anyhow::Result<Cloud> {
    let emulator = Emulator::builder().token_delay(delay).start().await?;
    let arguments = arguments(&emulator);
    Cloud::impatient(emulator, arguments).await
}

const NEVER: Duration = Duration::from_secs(24 * 3600);

/// At once, on a machine that does other things as well; what is not at once takes ten
/// seconds and more.
const SOON: Duration = Duration::from_secs(5);

/// The create ends when the registry accepts the token, not before; without the
/// wait it ends at once.
#[tokio::test]
async fn until_usable() -> anyhow::Result<()> {
    let cloud = slow(Duration::from_secs(1)).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let began = Instant::now();
    let state = token.apply(docker()).await?;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(cloud.count("GetRegistryToken") > 1);
    assert_eq!(token.take_warnings(), [""; 0]);
    let accepted = reqwest::Client::new()
        .get(format!("{}/20180419/docker/token", cloud.emulator.url()))
        .basic_auth(text(&state, "username"), Some(text(&state, "token")))
        .send()
        .await?;
    assert_eq!(accepted.status().as_u16(), 200);

    cloud.emulator.clear_requests();
    let mut other = cloud.host.resource("oci_auth_token");
    other
        .apply(json!({ "description": "for later", "wait_until_usable": false }))
        .await?;
    assert_eq!(cloud.count("GetRegistryToken"), 0);
    Ok(())
}

/// A user of a federation logs in with its name in front, which only the registry
/// knows: the user name that it accepted is the one in the state.
#[tokio::test]
async fn user_name_of_a_federation() -> anyhow::Result<()> {
    let builder = Emulator::builder().federation("oracleidentitycloudservice");
    let cloud = Cloud::with(builder.start().await?).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;
    let seed = cloud.emulator.seed();
    assert_eq!(
        text(&state, "username"),
        format!(
            "{}/oracleidentitycloudservice/{}",
            seed.namespace, seed.user_name
        )
    );
    Ok(())
}

/// The token is not accepted in the time that the create has: it is there, and no
/// failure.
#[tokio::test]
async fn not_usable_in_time() -> anyhow::Result<()> {
    let cloud = slow(NEVER).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let config = json!({ "description": "Used by Docker", "timeouts": { "create": "1s" } });
    let plan = token.plan(config.clone()).await?;
    let began = Instant::now();
    token.apply_planned(&plan).await?;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(began.elapsed() < Duration::from_secs(1) + SOON);
    assert!(!token.is_tainted());
    assert!(token.state()["token"].is_string());
    expect![[r#"
        Warning: Auth token may not be usable yet

        Auth token ocid1.credential.OCID of user USER was created, and it is in the state; whether HOST accepts it as the password of "NAMESPACE/docker@example.com" is not known. It did not until the time for the create was over.

        A new token is accepted after some minutes. Until then a login with it fails as one with a wrong password does.

        It took longer than 1s, the time that a create has. To give it more, set:

            timeouts {
              create = "2s"
            }"#]].assert_eq(&cloud.neutral(&token.take_warnings().join("\n\n")));
    token.expect_noop(config).await?;
    Ok(())
}

/// The registry is down while the token is waited for; the warning says so.
#[tokio::test]
async fn the_registry_is_down() -> anyhow::Result<()> {
    let cloud = slow(Duration::ZERO).await?;
    cloud
        .emulator
        .fail_always("GetRegistryToken", Fault::status(503));
    let mut token = cloud.host.resource("oci_auth_token");
    let config = json!({ "description": "Used by Docker", "timeouts": { "create": "300ms" } });
    let plan = token.plan(config).await?;
    token.apply_planned(&plan).await?;
    assert!(!token.is_tainted());
    expect![[r#"
        Warning: Auth token may not be usable yet

        Auth token ocid1.credential.OCID of user USER was created, and it is in the state; whether HOST accepts it as the password of "NAMESPACE/docker@example.com" is not known. It did not until the time for the create was over. GetRegistryToken of service ocir at HOST was answered 503 Service Unavailable.

        A new token is accepted after some minutes. Until then a login with it fails as one with a wrong password does.

        It took longer than 300ms, the time that a create has. To give it more, set:

            timeouts {
              create = "600ms"
            }"#]].assert_eq(&cloud.neutral(&token.take_warnings().join("\n\n")));
    Ok(())
}

/// Where there is no token endpoint, there is nothing to wait for.
#[tokio::test]
async fn no_token_endpoint() -> anyhow::Result<()> {
    let cloud = slow(Duration::ZERO).await?;
    cloud
        .emulator
        .fail_always("GetRegistryToken", Fault::status(404));
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    token.apply_planned(&plan).await?;
    assert!(!token.is_tainted());
    assert_eq!(cloud.count("GetRegistryToken"), 1);
    expect![[r#"
        Warning: Auth token may not be usable yet

        Auth token ocid1.credential.OCID of user USER was created, and it is in the state; whether HOST accepts it as the password of "NAMESPACE/docker@example.com" is not known. The registry could not be asked whether it does. GetRegistryToken of service ocir at HOST was answered 404 Not Found.

        A new token is accepted after some minutes. Until then a login with it fails as one with a wrong password does."#]].assert_eq(&cloud.neutral(&token.take_warnings().join("\n\n")));
    Ok(())
}

/// Ctrl-C while the token is waited for: the create ends at once, with the token.
#[tokio::test]
async fn interrupted_while_waiting() -> anyhow::Result<()> {
    let emulator = Emulator::builder().token_delay(NEVER).start().await?;
    let cloud = Cloud::with(emulator).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    let stop = async {
        while cloud.count("GetRegistryToken") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let at = Instant::now();
        cloud.host.stop().await.map(|()| at)
    };
    let (applied, stopped) = tokio::join!(token.apply_planned(&plan), stop);
    assert!(stopped?.elapsed() < SOON);
    applied?;
    assert!(!token.is_tainted());
    assert!(token.state()["token"].is_string());
    expect![[r#"
        Warning: Auth token may not be usable yet

        Auth token ocid1.credential.OCID of user USER was created, and it is in the state; whether HOST accepts it as the password of "NAMESPACE/docker@example.com" is not known. The run was interrupted before it did.

        A new token is accepted after some minutes. Until then a login with it fails as one with a wrong password does."#]].assert_eq(&cloud.neutral(&token.take_warnings().join("\n\n")));
    Ok(())
}

/// Ctrl-C while the create is on its way: what the service made is in the state.
#[tokio::test]
async fn interrupted_while_creating() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    let slow = Fault::delay(Duration::from_millis(700));
    cloud.emulator.fail_next("CreateAuthToken", slow);
    let stop = async {
        while cloud.emulator.begun("CreateAuthToken") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cloud.host.stop().await
    };
    let (applied, stopped) = tokio::join!(token.apply_planned(&plan), stop);
    stopped?;
    applied?;
    assert_eq!(cloud.emulator.auth_tokens().len(), 1);
    assert!(token.state()["token"].is_string());
    assert!(!token.is_tainted());
    Ok(())
}

/// Ctrl-C before the create was asked for: nothing was made.
#[tokio::test]
async fn interrupted_before_creating() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    let slow = Fault::delay(Duration::from_secs(30));
    cloud.emulator.fail_next("ListAuthTokens", slow);
    cloud.emulator.clear_requests();
    let stop = async {
        while cloud.emulator.begun("ListAuthTokens") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cloud.host.stop().await
    };
    let (applied, stopped) = tokio::join!(token.apply_planned(&plan), stop);
    stopped?;
    expect![[r#"
        Error: Cannot create auth token

        No auth token was created for user USER: the tokens that the user holds could not be listed: the run was interrupted."#]].assert_eq(&cloud.neutral(&applied.unwrap_err().to_string()));
    assert!(token.state().is_null());
    assert_eq!(cloud.emulator.auth_tokens(), [Json::Null; 0]);
    Ok(())
}

/// The answer to the create is lost as often as it is asked for. The token exists,
/// and its value is lost: it is in the state, and the next apply replaces it.
#[tokio::test]
async fn an_answer_that_stays_lost() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    cloud
        .emulator
        .fail_always("CreateAuthToken", Fault::cut_answer());
    let problems = token.apply_planned(&plan).await.unwrap_err();
    let text = cloud.neutral(&problems.to_string());
    expect![[r#"
        Error: Auth token was created and its value is lost

        An auth token for user USER was created, and no answer told it. CreateAuthToken of service identity got no answer from HOST in the last of 8 attempts: connection closed before message completed.

        The user has one token more than before, with this description: ocid1.credential.OCID. Oracle shows the value once, so it is lost. The token is in the state without it, as tainted: the next apply replaces it.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&text);
    assert!(token.is_tainted());
    assert_eq!(token.state()["token"], Json::Null);
    assert_eq!(token.state()["id"], cloud.emulator.auth_tokens()[0]["id"]);

    cloud.emulator.clear_faults();
    let plan = token.plan(docker()).await?;
    assert_eq!(plan.action, Action::Replace);
    token.apply_planned(&plan).await?;
    assert!(token.state()["token"].is_string());
    assert_eq!(cloud.emulator.auth_tokens().len(), 1);
    Ok(())
}

/// The answer to the create is lost, and whoever asks again is turned away until the
/// client gives up: that the last attempt did nothing says nothing of the first.
#[tokio::test]
async fn turned_away_after_a_lost_answer() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    let turned_away = std::iter::repeat_with(|| Fault::status(429)).take(7);
    for fault in std::iter::once(Fault::cut_answer()).chain(turned_away) {
        cloud.emulator.fail_next("CreateAuthToken", fault);
    }
    token.apply_planned(&plan).await?;
    assert_eq!(cloud.emulator.auth_tokens().len(), 1);
    assert_eq!(token.state()["id"], cloud.emulator.auth_tokens()[0]["id"]);
    assert!(token.state()["token"].is_string());
    assert!(!token.is_tainted());
    Ok(())
}

/// A create never arrives, and the list that is asked what it made has a token of the same
/// description that somebody else made: one that this run deleted, which the list has for
/// a moment longer, or that of another resource, which it did not have before. Neither is
/// this create's, and neither gets into its state, where the next apply would delete it.
#[tokio::test]
async fn another_ones_token() -> anyhow::Result<()> {
    for deleted in [true, false] {
        let cloud = impatient().await?;
        let [mut other, mut token] = [(); 2].map(|()| cloud.host.resource("oci_auth_token"));
        other.apply(docker()).await?;
        let list = Json::Array(cloud.emulator.auth_tokens()).to_string();
        let list = || Fault::body(200, &list);
        if deleted {
            other.destroy().await?;
        }
        let plan = token.plan(docker()).await?;
        let before = if deleted {
            list()
        } else {
            Fault::body(200, "[]")
        };
        cloud.emulator.fail_next("ListAuthTokens", before);
        cloud.emulator.fail_always("ListAuthTokens", list());
        cloud.emulator.fail_always("CreateAuthToken", Fault::cut(0));
        let problems = token.apply_planned(&plan).await.unwrap_err().to_string();
        assert!(problems.contains("Nothing was created"), "{problems}");
        assert!(token.state().is_null());
        assert_eq!(cloud.emulator.auth_tokens().len(), usize::from(!deleted));
    }
    Ok(())
}

/// Nobody may list the user's tokens, and the answer to the create stays lost: there is
/// nothing that tells what it made, and no plan that would.
#[tokio::test]
async fn a_lost_answer_and_no_list() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let hidden = Fault::error(404, "NotAuthorizedOrNotFound", "Not found.");
    cloud.emulator.fail_always("ListAuthTokens", hidden);
    let lost = Fault::cut_answer();
    cloud.emulator.fail_always("CreateAuthToken", lost);
    let plan = token.plan(docker()).await?;
    let problems = token.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot create auth token

        An auth token for user USER could not be created. CreateAuthToken of service identity got no answer from HOST in the last of 8 attempts: connection closed before message completed.

        Check the network, the provider's arguments "region" and "endpoint", and whether a proxy is needed (HTTPS_PROXY).

        Whether it was created all the same could not be found out, since the user's tokens may not be listed. Ask somebody who may to look for a new one with this description, and to delete it: nobody knows its value.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(token.state().is_null());
    Ok(())
}

/// A new token that the list does not have yet is looked for again; one that stays
/// away is gone.
#[tokio::test]
async fn a_list_that_is_behind() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;
    for _ in 0..2 {
        cloud
            .emulator
            .fail_next("ListAuthTokens", Fault::body(200, "[]"));
    }
    cloud.emulator.clear_requests();
    assert_eq!(token.refresh().await?, state);
    assert_eq!(cloud.count("ListAuthTokens"), 3);

    cloud.emulator.clear_requests();
    cloud
        .emulator
        .fail_always("ListAuthTokens", Fault::body(200, "[]"));
    let mut gone = cloud.host.resource("oci_auth_token");
    gone.set_state(0, &state).await?;
    assert!(gone.refresh().await?.is_null());
    assert_eq!(cloud.count("ListAuthTokens"), 4);

    // An old one is gone at once.
    cloud.emulator.clear_requests();
    let mut old = state.clone();
    old["time_created"] = json!("2026-01-02T03:04:05Z");
    gone.set_state(0, &old).await?;
    assert!(gone.refresh().await?.is_null());
    assert_eq!(cloud.count("ListAuthTokens"), 1);
    Ok(())
}

/// Ctrl-C while a new token is looked for ends that at once, and keeps the state.
#[tokio::test]
async fn interrupted_while_looking() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;
    cloud
        .emulator
        .fail_always("ListAuthTokens", Fault::body(200, "[]"));
    cloud.emulator.clear_requests();
    let stop = async {
        while cloud.count("ListAuthTokens") < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let at = Instant::now();
        cloud.host.stop().await.map(|()| at)
    };
    let (refreshed, stopped) = tokio::join!(token.refresh(), stop);
    assert!(stopped?.elapsed() < SOON);
    expect![[r#"
        Error: Cannot read auth token

        Auth token ocid1.credential.OCID of user USER could not be read: the run was interrupted."#]].assert_eq(&cloud.neutral(&refreshed.unwrap_err().to_string()));
    assert_eq!(token.state(), state);
    Ok(())
}

/// The answer to the create is lost, and the run is interrupted while the client waits
/// to ask again: the last question, with the same retry token, has the value, and no
/// token is lost.
#[tokio::test]
async fn interrupted_after_a_lost_answer() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    let (applied, took) = interrupted(&cloud, &mut token, &plan, Fault::cut_answer()).await?;
    applied?;
    assert!(took < SOON, "{took:?}");
    assert_eq!(cloud.emulator.auth_tokens().len(), 1);
    assert_eq!(token.state()["id"], cloud.emulator.auth_tokens()[0]["id"]);
    assert!(token.state()["token"].is_string());
    assert!(!token.is_tainted());
    let warnings = token.take_warnings().join("\n\n");
    let why = "The run was interrupted before it did.";
    assert!(warnings.contains(why), "{warnings}");
    Ok(())
}

/// The create did not arrive, and the run is interrupted: nothing was made, and nothing
/// is made after that.
#[tokio::test]
async fn interrupted_after_a_lost_create() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    let (applied, took) = interrupted(&cloud, &mut token, &plan, Fault::cut(0)).await?;
    assert!(took < SOON, "{took:?}");
    expect![[r#"
        Error: Cannot create auth token

        An auth token for user USER could not be created: the run was interrupted.

        Nothing was created, as far as the list of the user's tokens tells: it has no new one."#]]
    .assert_eq(&cloud.neutral(&applied.unwrap_err().to_string()));
    assert!(token.state().is_null());
    assert_eq!(cloud.emulator.auth_tokens(), [Json::Null; 0]);
    assert_eq!(cloud.emulator.begun("CreateAuthToken"), 2);
    Ok(())
}

/// The answer is lost, the run is interrupted, and the last question is not answered
/// either: the token is in the state, and is replaced.
#[tokio::test]
async fn interrupted_and_not_answered_again() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    let silence = Fault::delay(Duration::from_secs(60));
    cloud.emulator.fail_always("CreateAuthToken", silence);
    let (applied, took) = interrupted(&cloud, &mut token, &plan, Fault::cut_answer()).await?;
    assert!(took < Duration::from_secs(5) + SOON, "{took:?}");
    expect![[r#"
        Error: Auth token was created and its value is lost

        An auth token for user USER was created, and no answer told it: the run was interrupted.

        The user has one token more than before, with this description: ocid1.credential.OCID. Oracle shows the value once, so it is lost. The token is in the state without it, as tainted: the next apply replaces it."#]].assert_eq(&cloud.neutral(&applied.unwrap_err().to_string()));
    assert!(token.is_tainted());
    assert_eq!(token.state()["token"], Json::Null);
    assert_eq!(token.state()["id"], cloud.emulator.auth_tokens()[0]["id"]);

    cloud.emulator.clear_faults();
    let plan = token.plan(docker()).await?;
    assert_eq!(plan.action, Action::Replace);
    Ok(())
}

/// Applies with a create that goes wrong in a way, and then is told to wait for a
/// minute, in which the run is interrupted; says how long the end took.
async fn interrupted(
    cloud: &Cloud,
    token: &mut Resource,
    plan: &PlannedChange,
    fault: Fault,
) -> anyhow::Result<(Result<(), Problems>, Duration)> {
    let later = Fault::status(503).retry_after(60);
    for fault in [fault, later] {
        cloud.emulator.fail_next("CreateAuthToken", fault);
    }
    let stop = async {
        while cloud.emulator.begun("CreateAuthToken") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let at = Instant::now();
        cloud.host.stop().await.map(|()| at)
    };
    let (applied, stopped) = tokio::join!(token.apply_planned(plan), stop);
    Ok((applied, stopped?.elapsed()))
}

/// The time for an operation is over while the service is silent: that is what is said,
/// and not that somebody interrupted the run, and it is said to the second.
#[tokio::test]
async fn no_time_left() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let times = |name: &str| json!({ "description": name, "timeouts": { "create": "1s", "read": "1s", "update": "1s", "delete": "1s" } });
    let silence = || Fault::delay(Duration::from_secs(60));
    let mut said = Vec::new();
    let mut note = |began: Instant, problems: Problems| {
        let took = began.elapsed();
        assert!(
            (Duration::from_secs(1)..Duration::from_secs(3)).contains(&took),
            "{took:?}"
        );
        said.push(cloud.neutral(&problems.to_string()));
    };
    let mut token = cloud.host.resource("oci_auth_token");
    let create = token.plan(times("one")).await?;
    cloud.emulator.fail_always("ListAuthTokens", silence());
    let began = Instant::now();
    note(began, token.apply_planned(&create).await.unwrap_err());
    assert_eq!(cloud.emulator.auth_tokens(), [Json::Null; 0]);
    cloud.emulator.clear_faults();
    token.apply_planned(&create).await?;

    cloud.emulator.fail_always("ListAuthTokens", silence());
    let began = Instant::now();
    note(began, token.refresh().await.unwrap_err());
    cloud.emulator.clear_faults();

    let update = token.plan(times("two")).await?;
    cloud.emulator.fail_always("UpdateAuthToken", silence());
    let began = Instant::now();
    note(began, token.apply_planned(&update).await.unwrap_err());
    cloud.emulator.clear_faults();

    cloud.emulator.fail_always("DeleteAuthToken", silence());
    let destroy = token.plan_destroy();
    let began = Instant::now();
    note(began, token.apply_planned(&destroy).await.unwrap_err());
    cloud.emulator.clear_faults();
    token.apply_planned(&destroy).await?;
    expect![[r#"
        Error: Cannot create auth token

        No auth token was created for user USER: the tokens that the user holds could not be listed: there was no time left.

        It took longer than 1s, the time that a create has. To give it more, set:

            timeouts {
              create = "2s"
            }

        Error: Cannot read auth token

        Auth token ocid1.credential.OCID of user USER could not be read: there was no time left.

        It took longer than 1s, the time that a read has. To give it more, set:

            timeouts {
              read = "2s"
            }

        Error: Operation timed out

        The update did not end when its time was over, and was given up.

        It took longer than 1s, the time that an update has. To give it more, set:

            timeouts {
              update = "2s"
            }

        Error: Cannot delete auth token

        Auth token ocid1.credential.OCID of user USER could not be deleted: there was no time left.

        It took longer than 1s, the time that a delete has. To give it more, set:

            timeouts {
              delete = "2s"
            }"#]].assert_eq(&said.join("\n\n"));
    Ok(())
}

/// The time for the create is over after its answer was lost: the token is in the state
/// with its value all the same.
#[tokio::test]
async fn no_time_left_after_a_lost_answer() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let config = json!({ "description": "Used by Docker", "timeouts": { "create": "2s" } });
    let plan = token.plan(config).await?;
    for fault in [Fault::cut_answer(), Fault::status(503).retry_after(60)] {
        cloud.emulator.fail_next("CreateAuthToken", fault);
    }
    let began = Instant::now();
    token.apply_planned(&plan).await?;
    assert!(began.elapsed() < Duration::from_secs(2) + SOON);
    assert!(token.state()["token"].is_string());
    assert!(!token.is_tainted());
    Ok(())
}
