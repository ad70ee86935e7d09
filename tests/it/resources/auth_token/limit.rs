//! Two tokens per user.

use std::time::Duration;

use expect_test::{Expect, expect};
use ocir::emulator::Fault;
use serde_json::json;

use super::{docker, impatient};
use crate::support::{
    core::{Action, Host, Resource},
    provider::{Cloud, arguments, server},
};

/// Two tokens that fill the user's places, one of them made long ago.
async fn two(cloud: &Cloud) -> anyhow::Result<[Resource; 2]> {
    let [mut one, mut two] = [(); 2].map(|()| cloud.host.resource("oci_auth_token"));
    one.apply(json!({ "description": "one" })).await?;
    two.apply(json!({ "description": "two" })).await?;
    let id = super::text(&one.state(), "id");
    let long_ago = json!({ "timeCreated": ago(Duration::from_secs(400 * 24 * 3600)) });
    cloud.emulator.edit_auth_token(&id, long_ago);
    Ok([one, two])
}

fn ago(age: Duration) -> String {
    super::rotation::rfc3339(std::time::SystemTime::now() - age)
}

#[track_caller]
fn says(cloud: &Cloud, text: &str, expected: Expect) {
    let tokens = cloud.emulator.auth_tokens();
    let text = tokens.iter().fold(cloud.neutral(text), |text, token| {
        let of = |name: &str| token[name].as_str().unwrap_or_default();
        text.replace(of("timeCreated"), "TIME")
            .replace(of("id"), "ocid1.credential.OCID")
    });
    // How long a test takes is nobody's business.
    let lines = text.lines().map(|line| match line.split_once(" second") {
        Some((before, after)) => {
            let before = before.trim_end_matches(|letter: char| letter.is_ascii_digit());
            format!("{before}N second{}", after.replacen("s old", " old", 1))
        }
        None => line.to_owned(),
    });
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

/// The plan warns of a third token, and the apply fails with the same words before
/// it asks for one.
#[tokio::test]
async fn the_third_token() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    two(&cloud).await?;
    let mut third = cloud.host.resource("oci_auth_token");
    let plan = third.plan(docker()).await?;
    assert_eq!(plan.action, Action::Create);
    says(
        &cloud,
        &plan.warnings.join("\n\n"),
        expect![[r#"
            Warning: No free auth token

            A user may hold two auth tokens, and user USER holds them already:
                ocid1.credential.OCID "one", 400 days old (created TIME)
                ocid1.credential.OCID "two", N second old (created TIME)

            Another one can be created only after one of them is deleted. A token that is replaced frees its own place, unless create_before_destroy keeps it until the new one exists.

            Delete one that is not used any more:
                oci iam auth-token delete --user-id USER --auth-token-id TOKEN_OCID
            or import it to manage it here."#]],
    );
    cloud.emulator.clear_requests();
    let problems = third.apply_planned(&plan).await.unwrap_err();
    says(
        &cloud,
        &problems.to_string(),
        expect![[r#"
            Error: No free auth token

            A user may hold two auth tokens, and user USER holds them already:
                ocid1.credential.OCID "one", 400 days old (created TIME)
                ocid1.credential.OCID "two", N second old (created TIME)

            Another one can be created only after one of them is deleted. A token that is replaced frees its own place, unless create_before_destroy keeps it until the new one exists.

            Delete one that is not used any more:
                oci iam auth-token delete --user-id USER --auth-token-id TOKEN_OCID
            or import it to manage it here."#]],
    );
    assert!(third.state().is_null());
    assert_eq!(cloud.operations(), [("ListAuthTokens".into(), 1)].into());
    Ok(())
}

/// Somebody else takes the last place between the look and the create: the service
/// refuses, and the error names the tokens.
#[tokio::test]
async fn the_service_refuses_the_third() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    token.apply(json!({ "description": "one" })).await?;
    let mut other = cloud.host.resource("oci_auth_token");
    let plan = other.plan(docker()).await?;
    assert_eq!(plan.warnings, [""; 0]);
    let full = Fault::error(409, "UserCapacityExceeded", "No more.");
    cloud.emulator.fail_next("CreateAuthToken", full);
    let problems = other.apply_planned(&plan).await.unwrap_err();
    says(
        &cloud,
        &problems.to_string(),
        expect![[r#"
            Error: Cannot create auth token

            An auth token for user USER could not be created. CreateAuthToken of service identity at HOST was answered 409 UserCapacityExceeded: No more.

            A user may hold two auth tokens, and this one does already. They are:
                ocid1.credential.OCID "one", N second old (created TIME)

            Delete one that is not used any more:
                oci iam auth-token delete --user-id USER --auth-token-id TOKEN_OCID
            or import it to manage it here.

            Signed in as: user USER (API key FINGERPRINT, argument private_key)
            Request id: ID"#]],
    );
    assert_eq!(cloud.count("CreateAuthToken"), 2);
    Ok(())
}

/// A replacement frees its own place first, so that there is nothing to warn of,
/// though the user holds two tokens.
#[tokio::test]
async fn a_replacement_frees_its_place() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let [mut one, _two] = two(&cloud).await?;
    let config = json!({ "description": "one", "rotation_triggers": { "week": "2" } });
    let plan = one.plan(config.clone()).await?;
    assert_eq!(plan.action, Action::Replace);
    assert_eq!(plan.warnings, [""; 0]);

    // Oracle's list may have the old token for a moment after it was deleted.
    let before = serde_json::Value::from(cloud.emulator.auth_tokens()).to_string();
    cloud
        .emulator
        .fail_next("ListAuthTokens", Fault::body(200, &before));
    one.apply_planned(&plan).await?;
    assert_eq!(cloud.emulator.auth_tokens().len(), 2);
    one.expect_noop(config).await?;
    Ok(())
}

/// Who may not list a user's tokens may still create one: the service decides.
#[tokio::test]
async fn tokens_that_cannot_be_listed() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    cloud
        .emulator
        .fail_always("ListAuthTokens", Fault::status(404));
    let plan = token.plan(docker()).await?;
    assert_eq!(plan.warnings, [""; 0]);
    token.apply_planned(&plan).await?;
    assert!(token.state()["token"].is_string());

    // Nobody knows what a service that is down would have said.
    let mut other = cloud.host.resource("oci_auth_token");
    cloud
        .emulator
        .fail_always("ListAuthTokens", Fault::status(503));
    let plan = other.plan(docker()).await?;
    let problems = other.apply_planned(&plan).await.unwrap_err();
    says(
        &cloud,
        &problems.to_string(),
        expect![[r#"
        Error: Cannot create auth token

        No auth token was created for user USER: the tokens that the user holds could not be listed. ListAuthTokens of service identity at HOST was answered 503 ServiceUnavailable in the last of 8 attempts: The service is currently unavailable.

        The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]],
    );
    assert_eq!(cloud.emulator.auth_tokens().len(), 1);
    Ok(())
}

/// A run that was killed left a token that is in no state, and its value is lost. Whether
/// somebody else uses it nobody can know, so it is not deleted: the plan names it, with
/// the command that deletes it, as long as there is room, and when there is none the
/// error does. What is in a state is not named.
#[tokio::test]
async fn a_token_that_was_left_over() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    // That process ended, and what it knew with it.
    cloud
        .host
        .resource("oci_auth_token")
        .apply(docker())
        .await?;
    let left = super::text(&cloud.emulator.auth_tokens()[0], "id");
    let host = Host::start(server()).await?;
    host.configure(arguments(&cloud.emulator)).await?;

    let mut token = host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    says(
        &cloud,
        &plan.warnings.join("\n\n"),
        expect![[r#"
            Warning: Auth token may be left over

            User USER holds an auth token that has the description of the one that is to be created:
                ocid1.credential.OCID "Used by Docker", N second old (created TIME)

            Token ocid1.credential.OCID has the description of the new one. A provider that is killed while it makes a token cannot tell of it: the token is in no state then, and nobody knows its value. Look whether a state has this one:
                terraform state list -id=ocid1.credential.OCID
            If none has it, and nobody uses it, delete it:
                oci iam auth-token delete --user-id USER --auth-token-id ocid1.credential.OCID

            Should it be the one that this run replaces, nothing is left over: it is deleted at the end of the run."#]],
    );
    token.apply_planned(&plan).await?;

    // The first thing that another run does is to read what is in the state.
    let later = Host::start(server()).await?;
    later.configure(arguments(&cloud.emulator)).await?;
    let mut known = later.resource("oci_auth_token");
    known.set_state(0, &token.state()).await?;
    known.refresh().await?;
    let mut third = later.resource("oci_auth_token");
    let plan = third.plan(docker()).await?;
    let problems = third.apply_planned(&plan).await.unwrap_err().to_string();
    let advice = |text: &str| text.find("Another one").map(|at| text[at..].to_owned());
    let warnings = plan.warnings.join("\n\n");
    assert!(advice(&problems).is_some());
    assert_eq!(advice(&warnings), advice(&problems));
    assert!(problems.contains(&format!("Token {left} has the description of the new one.")));
    says(
        &cloud,
        &problems,
        expect![[r#"
            Error: No free auth token

            A user may hold two auth tokens, and user USER holds them already:
                ocid1.credential.OCID "Used by Docker", N second old (created TIME)
                ocid1.credential.OCID "Used by Docker", N second old (created TIME)

            Another one can be created only after one of them is deleted. A token that is replaced frees its own place, unless create_before_destroy keeps it until the new one exists.

            Delete one that is not used any more:
                oci iam auth-token delete --user-id USER --auth-token-id TOKEN_OCID
            or import it to manage it here.

            Token ocid1.credential.OCID has the description of the new one. A provider that is killed while it makes a token cannot tell of it: the token is in no state then, and nobody knows its value. Look whether a state has this one:
                terraform state list -id=ocid1.credential.OCID
            If none has it, and nobody uses it, delete it:
                oci iam auth-token delete --user-id USER --auth-token-id ocid1.credential.OCID"#]],
    );

    let mut other = later.resource("oci_auth_token");
    let plan = other.plan(json!({ "description": "another" })).await?;
    let warnings = plan.warnings.join("\n\n");
    assert!(warnings.contains("No free auth token"), "{warnings}");
    assert!(!warnings.contains("has the description"), "{warnings}");
    assert_eq!(cloud.emulator.auth_tokens().len(), 2);
    Ok(())
}

/// Two tokens of one description, made by one configuration, are no leftovers of one
/// another.
#[tokio::test]
async fn two_of_one_description() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let [mut one, mut two] = [(); 2].map(|()| cloud.host.resource("oci_auth_token"));
    one.apply(docker()).await?;
    let plan = two.plan(docker()).await?;
    assert_eq!(plan.warnings, [""; 0]);
    two.apply_planned(&plan).await?;
    let id = super::text(&two.state(), "id");
    cloud.emulator.remove_auth_token(&id);
    let plan = two.plan(docker()).await?;
    assert_eq!(plan.action, Action::Create);
    assert_eq!(plan.warnings, [""; 0]);
    Ok(())
}
