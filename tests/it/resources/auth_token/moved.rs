//! Tokens that come from elsewhere: another name, Oracle's provider, an identity.

use expect_test::expect;
use serde_json::{Value as Json, json};

use super::{docker, text};
use crate::support::{core::Action, provider::Cloud};

/// Between its two names a token moves with its value, and nothing is to be changed.
#[tokio::test]
async fn moved_between_the_names() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut made = cloud.host.resource("oci_auth_token");
    let state = made.apply(docker()).await?;
    for (from, to) in [
        ("oci_auth_token", "ocir_auth_token"),
        ("ocir_auth_token", "oci_auth_token"),
    ] {
        for registry in ["registry.terraform.io", "registry.opentofu.org"] {
            let mut moved = cloud.host.resource(to);
            let provider = format!("{registry}/motando/ocir");
            assert_eq!(moved.move_from(&provider, from, 0, &state).await?, state);
            moved.expect_noop(docker()).await?;
        }
    }
    Ok(())
}

/// The state of a token as Oracle's provider keeps it.
fn of_oracle(token: &Json) -> Json {
    let time = text(token, "time_created");
    // Go drops the zeros at the end of a fraction.
    let time = time.trim_end_matches('Z');
    let time = time.trim_end_matches('0').trim_end_matches('.');
    let time = format!("{} +0000 UTC", time.replacen('T', " ", 1));
    json!({
        "description": token["description"],
        "id": token["id"],
        "inactive_state": null,
        "state": "ACTIVE",
        "time_created": time,
        "time_expires": "",
        "timeouts": null,
        "token": token["token"],
        "user_id": token["user_id"],
    })
}

/// A token of Oracle's provider comes over with its value, wherever that provider
/// was installed from, and nothing is to be changed.
#[tokio::test]
async fn moved_from_oracle() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut made = cloud.host.resource("oci_auth_token");
    let state = made.apply(docker()).await?;
    for target in ["oci_auth_token", "ocir_auth_token"] {
        for provider in [
            "registry.terraform.io/oracle/oci",
            "registry.terraform.io/hashicorp/oci",
            "registry.opentofu.org/oracle/oci",
            "registry.opentofu.org/hashicorp/oci",
        ] {
            let mut moved = cloud.host.resource(target);
            let source = of_oracle(&state);
            let at_once = moved
                .move_from(provider, "oci_identity_auth_token", 0, &source)
                .await?;
            assert_eq!(at_once["token"], state["token"]);
            assert_eq!(at_once["time_created"], state["time_created"]);
            assert_eq!(at_once["time_expires"], Json::Null);
            assert_eq!(at_once["wait_until_usable"], json!(true));
            assert!(!moved.private().starts_with(b"what"));
            cloud.emulator.clear_requests();
            moved.expect_noop(docker()).await?;
            assert_eq!(moved.state(), state);
            assert_eq!(cloud.count("CreateAuthToken"), 0);
        }
    }
    Ok(())
}

/// What is set on our side only is an update that sends no request; the time that
/// somebody gave an operation there comes along.
#[tokio::test]
async fn moved_with_arguments_of_ours() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut made = cloud.host.resource("oci_auth_token");
    let mut source = of_oracle(&made.apply(docker()).await?);
    source["timeouts"] = json!({ "create": "7m", "delete": null, "update": null });
    let mut moved = cloud.host.resource("ocir_auth_token");
    let oracle = "registry.terraform.io/oracle/oci";
    moved
        .move_from(oracle, "oci_identity_auth_token", 0, &source)
        .await?;
    let config = json!({
        "description": "Used by Docker",
        "rotate_after_days": 30,
        "rotation_triggers": { "release": "1" },
        "wait_until_usable": false,
        "timeouts": { "create": "7m" },
    });
    let plan = moved.plan(config.clone()).await?;
    assert_eq!(plan.action, Action::Update);
    cloud.emulator.clear_requests();
    moved.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [].into());
    assert_eq!(moved.state()["token"], source["token"]);
    moved.expect_noop(config).await?;
    Ok(())
}

/// What is no auth token does not become one, and neither does half of one.
#[tokio::test]
async fn moved_from_elsewhere() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let oracle = "registry.terraform.io/oracle/oci";
    for (provider, kind) in [
        (oracle, "oci_identity_api_key"),
        (
            "registry.terraform.io/somebody/oci",
            "oci_identity_auth_token",
        ),
    ] {
        let mut moved = cloud.host.resource("oci_auth_token");
        let problems = moved
            .move_from(provider, kind, 0, &json!({}))
            .await
            .unwrap_err();
        let expected = format!(
            "Error: Cannot move state\n\nAn object of type {kind} of provider {provider} cannot become one of type oci_auth_token. Remove it \
             from the state with a \"removed\" block, and import the object under the new name."
        );
        assert_eq!(problems.to_string(), expected);
    }
    let mut moved = cloud.host.resource("oci_auth_token");
    let half = json!({ "id": "ocid1.credential.oc1..a" });
    let problems = moved.move_from(oracle, "oci_identity_auth_token", 0, &half);
    expect![[r#"
        Error: Cannot move state

        The state of the oci_identity_auth_token has no "id" or no "user_id", so the token cannot be found. Remove it from the state with a "removed" block, and import the token:
            terraform import ADDRESS users/USER_OCID/authTokens/TOKEN_OCID"#]].assert_eq(&problems.await.unwrap_err().to_string());
    Ok(())
}

/// A token has an identity, and can be imported by it.
#[tokio::test]
async fn identity() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut made = cloud.host.resource("oci_auth_token");
    let mut state = made.apply(docker()).await?;
    let identity = json!({ "user_id": state["user_id"], "id": state["id"] });
    assert_eq!(made.identity(), identity);
    let mut imported = cloud.host.resource("ocir_auth_token");
    state["token"] = Json::Null;
    assert_eq!(imported.import_by_identity(identity).await?, state);
    imported.expect_noop(docker()).await?;
    Ok(())
}
