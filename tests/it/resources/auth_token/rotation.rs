//! Replacing a token because of its age, or on demand.

use std::time::{Duration, SystemTime};

use expect_test::expect;
use serde_json::{Value as Json, json};

use super::{docker, impatient, text};
use crate::support::{
    core::{Action, Resource},
    provider::Cloud,
};

/// As the service writes times.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = time::OffsetDateTime::UNIX_EPOCH + seconds;
    let format = &time::format_description::well_known::Rfc3339;
    time.format(format).unwrap_or_default()
}

/// Makes a token look as if it was made earlier.
#[track_caller]
fn age(cloud: &Cloud, token: &Resource, hours: u64) {
    let made = SystemTime::now() - Duration::from_secs(hours * 3600);
    cloud.emulator.edit_auth_token(
        &text(&token.state(), "id"),
        json!({ "timeCreated": rfc3339(made) }),
    );
}

fn monthly() -> Json {
    json!({ "description": "Used by Docker", "rotate_after_days": 30 })
}

/// A token is replaced once it is as old as it may get: not before, and after that
/// the new one is young.
#[tokio::test]
async fn too_old() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let before = token.apply(monthly()).await?;
    age(&cloud, &token, 30 * 24 - 1);
    token.expect_noop(monthly()).await?;

    age(&cloud, &token, 30 * 24 + 1);
    let plan = token.plan(monthly()).await?;
    assert_eq!(plan.action, Action::Replace);
    assert_eq!(plan.replace, ["id"]);
    expect![[r#"
        Warning: Auth token is due for rotation

        Auth token ocid1.credential.OCID is 30 days old, and "rotate_after_days" is 30. It is replaced, and whoever uses it needs the new one."#]].assert_eq(&cloud.neutral(&plan.warnings.join("\n\n")));
    token.apply_planned(&plan).await?;
    assert_ne!(token.state()["token"], before["token"]);
    assert_ne!(token.state()["id"], before["id"]);
    assert_eq!(cloud.emulator.auth_tokens().len(), 1);
    token.expect_noop(monthly()).await?;
    Ok(())
}

/// An argument that comes later counts the days from the beginning; one that is
/// changed or taken away is an update that sends nothing.
#[tokio::test]
async fn another_number_of_days() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let before = token.apply(docker()).await?;
    age(&cloud, &token, 24 * 10);
    for days in [json!(20), json!(30), Json::Null] {
        cloud.emulator.clear_requests();
        let config = json!({ "description": "Used by Docker", "rotate_after_days": days });
        let plan = token.plan(config.clone()).await?;
        assert_eq!(plan.action, Action::Update);
        token.apply_planned(&plan).await?;
        assert_eq!(token.state()["rotate_after_days"], days);
        assert_eq!(token.state()["token"], before["token"]);
        assert_eq!(cloud.operations(), [("ListAuthTokens".into(), 1)].into());
        token.expect_noop(config).await?;
    }
    let config = json!({ "description": "Used by Docker", "rotate_after_days": 10 });
    assert_eq!(token.plan(config).await?.action, Action::Replace);
    Ok(())
}

/// The age is looked at when the state is refreshed, and nowhere else: a host that
/// plans again while it applies is told what it was told before.
#[tokio::test]
async fn judged_once() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    token.apply(monthly()).await?;
    age(&cloud, &token, 24 * 30 - 1);
    token.refresh().await?;
    let mut state = token.state();
    // Midnight passes: by the clock the token is too old now.
    state["time_created"] = json!("2020-01-01T00:00:00Z");
    token.set_state(0, &state).await?;
    let again = token.plan_unrefreshed(monthly()).await?;
    assert_eq!(again.action, Action::Noop);

    age(&cloud, &token, 24 * 31);
    assert_eq!(token.plan(monthly()).await?.action, Action::Replace);
    Ok(())
}

/// Days are whole, and there is at least one.
#[tokio::test]
async fn days_that_are_none() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let too_few = expect![[r#"
        Error: Invalid value

        Argument "rotate_after_days" must be a whole number of days, 1 or more.
          with rotate_after_days"#]];
    let not_whole = expect![[r#"
        Error: Invalid value

        Argument "rotate_after_days" must be a whole number that fits 64 bits.
          with rotate_after_days"#]];
    for (days, expected) in [
        (json!(0), &too_few),
        (json!(-1), &too_few),
        (json!(1.5), &not_whole),
    ] {
        let config = json!({ "description": "Used by Docker", "rotate_after_days": days });
        let problems = token.plan(config).await.unwrap_err();
        expected.assert_eq(&problems.to_string());
    }
    Ok(())
}

/// A number of days that is not known yet is no reason to guess: an apply that
/// comes to another result than its plan fails.
#[tokio::test]
async fn days_that_are_not_known() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let unknown = crate::support::core::unknown();
    let config = json!({ "description": "Used by Docker", "rotate_after_days": unknown });
    assert_eq!(token.plan(config.clone()).await?.action, Action::Create);
    token.apply(docker()).await?;
    assert_eq!(token.plan(config.clone()).await?.action, Action::Update);
    age(&cloud, &token, 48);
    let problems = token.plan(config).await.unwrap_err();
    expect![[r#"
        Error: Rotation is not known yet

        Argument "rotate_after_days" comes from something that does not exist yet, so whether the auth token is to be replaced cannot be planned. Create what it comes from first:
            terraform apply -target=ADDRESS
        or give the argument a value that is known while planning.
          with rotate_after_days"#]].assert_eq(&problems.to_string());
    Ok(())
}

/// Any change of the triggers replaces the token, the first and the last ones included.
#[tokio::test]
async fn triggers() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    token.apply(docker()).await?;
    for triggers in [
        json!({ "release": "1" }),
        json!({ "release": "2" }),
        json!({ "release": "2", "person": "jo" }),
        Json::Null,
    ] {
        let before = token.state();
        let config = json!({ "description": "Used by Docker", "rotation_triggers": triggers });
        let plan = token.plan(config.clone()).await?;
        assert_eq!(plan.action, Action::Replace, "{triggers}");
        assert_eq!(plan.replace, ["rotation_triggers"]);
        token.apply_planned(&plan).await?;
        assert_ne!(token.state()["token"], before["token"]);
        token.expect_noop(config).await?;
    }
    Ok(())
}

/// The first triggers of a token that was imported are taken down, and change nothing;
/// the second ones do.
#[tokio::test]
async fn triggers_of_an_imported_token() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut made = cloud.host.resource("oci_auth_token");
    let state = made.apply(docker()).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let id = format!("{}/{}", text(&state, "user_id"), text(&state, "id"));
    token.import(&id).await?;
    cloud.emulator.clear_requests();
    let config = |release: &str| json!({ "description": "Used by Docker", "rotation_triggers": { "release": release } });
    let plan = token.plan(config("1")).await?;
    assert_eq!(plan.action, Action::Update);
    token.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [("ListAuthTokens".into(), 1)].into());
    token.expect_noop(config("1")).await?;
    assert_eq!(token.plan(config("2")).await?.action, Action::Replace);
    Ok(())
}

/// Another caller does not change whose token it is: not while it stays, and a
/// replacement says so.
#[tokio::test]
async fn another_caller() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let mut state = token.apply(docker()).await?;
    state["user_id"] = json!("ocid1.user.oc1..aaaaformer");
    token.set_state(0, &state).await?;

    let plan = token.plan_unrefreshed(docker()).await?;
    assert_eq!(plan.action, Action::Noop);
    let triggered = json!({ "description": "Used by Docker", "rotation_triggers": { "a": "b" } });
    let plan = token.plan_unrefreshed(triggered).await?;
    assert_eq!(plan.action, Action::Replace);
    assert_eq!(plan.after["user_id"], json!(cloud.emulator.seed().user_id));
    expect![[r#"
        Warning: Auth token will belong to another user

        The auth token is replaced. It belongs to user ocid1.user.OCID; argument "user_id" is left out, and the provider signs in as user USER now, so the new one will be that user's. To keep the user, set:
            user_id = "ocid1.user.OCID"
          with user_id"#]].assert_eq(
        &cloud
            .neutral(&plan.warnings.join("\n\n"))
            .replace("ocid1.user.oc1..aaaaformer", "FORMER"),
    );
    Ok(())
}
