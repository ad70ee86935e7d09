//! `oci_auth_token` and `ocir_auth_token`.

use expect_test::expect;
use ocir::emulator::{Emulator, Fault, Permission};
use serde_json::{Value as Json, json};

use crate::support::{
    core::Action,
    provider::{Cloud, arguments},
};

mod limit;
mod moved;
mod principals;
mod rotation;
mod waiting;

/// A provider that does not wait between two questions.
async fn impatient() -> anyhow::Result<Cloud> {
    let emulator = Emulator::builder().start().await?;
    let arguments = arguments(&emulator);
    Cloud::impatient(emulator, arguments).await
}

/// An attribute that is a text.
#[track_caller]
fn text(state: &Json, name: &str) -> String {
    state[name].as_str().expect("it is a text").to_owned()
}

/// The token of the stories: one for the caller.
fn docker() -> Json {
    json!({ "description": "Used by Docker" })
}

/// Under both names a token is made for the user who is named, with all that
/// `docker login` wants; it is in the state once and for all, and only there.
#[tokio::test]
async fn a_token_for_docker() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let seed = cloud.emulator.seed();
    for name in ["oci_auth_token", "ocir_auth_token"] {
        let mut token = cloud.host.resource(name);
        let config = json!({ "user_id": seed.user_id, "description": name });
        let state = token.apply(config).await?;
        let username = format!("{}/{}", seed.namespace, seed.user_name);
        assert_eq!(state["username"], json!(username));
        assert_eq!(state["registry_host"], json!(cloud.emulator.authority()));
        assert_eq!(state["state"], json!("ACTIVE"));
        assert_eq!(state["inactive_state"], Json::Null);
        assert!(state["time_created"].is_string());
        assert_eq!(state["token"].as_str().map(str::len), Some(20));
        assert!(token.is_sensitive("token"));
        let private = String::from_utf8_lossy(token.private()).into_owned();
        assert_eq!(private, r#"{"values":{"made":"eWVz"},"version":1}"#);
        token.destroy().await?;
    }
    assert!(cloud.emulator.auth_tokens().is_empty());
    Ok(())
}

/// Without a user the token is the caller's, which is known while planning; a
/// create is one request beside what the login name takes, a refresh is one.
#[tokio::test]
async fn the_callers_token() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    let user_id = json!(cloud.emulator.seed().user_id);
    assert_eq!(plan.after["user_id"], user_id);
    // The host plans twice, and each time there is room for another token.
    assert_eq!(cloud.operations(), [("ListAuthTokens".into(), 2)].into());
    cloud.emulator.clear_requests();

    token.apply_planned(&plan).await?;
    let requests = [
        "CreateAuthToken",
        "GetNamespace",
        "GetRegistryToken",
        "GetUser",
        "ListAuthTokens",
    ];
    assert_eq!(
        cloud.operations(),
        requests.map(|operation| (operation.to_owned(), 1)).into()
    );
    cloud.emulator.clear_requests();
    token.expect_noop(docker()).await?;
    assert_eq!(cloud.operations(), [("ListAuthTokens".into(), 1)].into());
    Ok(())
}

/// Pushes go to somebody else's registry; the token is for Oracle's all the same, and
/// is shown to nobody else.
#[tokio::test]
async fn beside_another_registry() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let mut config = arguments(&emulator);
    config["registry"] = json!({ "host": "registry.example.com" });
    let cloud = Cloud::configured(emulator, config).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;
    assert_eq!(text(&state, "registry_host"), cloud.emulator.authority());
    assert_eq!(token.take_warnings(), [""; 0]);
    Ok(())
}

/// Another user is another token.
#[tokio::test]
async fn another_user_is_a_replacement() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    token.apply(docker()).await?;
    let config = json!({ "user_id": "ocid1.user.oc1..aaaaother", "description": "Used by Docker" });
    let plan = token.plan(config).await?;
    assert_eq!(plan.action, Action::Replace);
    assert_eq!(plan.replace, ["user_id"]);
    Ok(())
}

/// Another description changes in place: the token stays what it was.
#[tokio::test]
async fn another_description() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let before = token.apply(docker()).await?;

    let renamed = json!({ "description": "Used by podman" });
    let plan = token.plan(renamed.clone()).await?;
    assert_eq!(plan.action, Action::Update);
    assert_eq!(plan.after["token"], before["token"]);
    token.apply_planned(&plan).await?;
    let after = token.apply(renamed).await?;
    assert_eq!(after["token"], before["token"]);
    assert_eq!(after["username"], before["username"]);
    let tokens = cloud.emulator.auth_tokens();
    assert_eq!(tokens[0]["description"], json!("Used by podman"));

    let id = tokens[0]["id"].as_str().unwrap_or_default();
    cloud
        .emulator
        .edit_auth_token(id, json!({ "description": "mine now" }));
    let plan = token
        .plan(json!({ "description": "Used by podman" }))
        .await?;
    assert_eq!(plan.before["description"], json!("mine now"));
    assert_eq!(plan.action, Action::Update);
    Ok(())
}

/// A token that was deleted is planned anew; one that is gone at the destroy is
/// as good as destroyed.
#[tokio::test]
async fn deleted_behind_our_back() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;

    let remove = |state: &Json| {
        let id = state["id"].as_str().unwrap_or_default();
        cloud.emulator.remove_auth_token(id);
    };
    remove(&state);
    let plan = token.plan(docker()).await?;
    assert_eq!(plan.action, Action::Create);
    token.apply_planned(&plan).await?;
    assert_ne!(token.state()["token"], state["token"]);

    let plan = token.plan_destroy();
    remove(&token.state());
    token.apply_planned(&plan).await?;
    assert!(token.state().is_null());
    Ok(())
}

/// A token that became inactive cannot be used: the plan replaces it.
#[tokio::test]
async fn inactive() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;
    cloud.emulator.edit_auth_token(
        state["id"].as_str().unwrap_or_default(),
        json!({ "lifecycleState": "INACTIVE", "inactiveStatus": 4 }),
    );
    let plan = token.plan(docker()).await?;
    assert_eq!(plan.before["inactive_state"], json!("4"));
    assert_eq!(plan.action, Action::Replace);
    token.apply_planned(&plan).await?;
    assert_eq!(token.state()["state"], json!("ACTIVE"));
    assert_ne!(token.state()["token"], state["token"]);
    Ok(())
}

/// Who may make tokens may still not read the user: the token is usable, so that
/// its login name is missing is a warning, and a later refresh finds it.
#[tokio::test]
async fn the_user_cannot_be_read() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    cloud.emulator.fail_always("GetUser", Fault::status(404));
    token.apply_planned(&plan).await?;

    assert!(!token.is_tainted());
    assert!(token.state()["token"].is_string());
    assert_eq!(token.state()["username"], Json::Null);
    expect![[r#"
        Warning: Login name is not known

        The token can be used. Its user name for "docker login", which is <namespace>/<user>, could not be found out, so the attribute "username" is null until a later refresh finds it. Without it, whether the registry accepts the token already was not tried.

        User USER could not be read. GetUser of service identity at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to inspect users in tenancy

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&token.take_warnings().join("\n\n")));

    let plan = token.plan(docker()).await?;
    assert_eq!(plan.action, Action::Noop);
    cloud.emulator.clear_faults();
    let seed = cloud.emulator.seed();
    let username = format!("{}/{}", seed.namespace, seed.user_name);
    assert_eq!(token.refresh().await?["username"], json!(username));
    token.expect_noop(docker()).await?;
    Ok(())
}

/// Imported in both forms, a token has everything but its value, which Oracle
/// shows once, and nothing is to be changed.
#[tokio::test]
async fn import() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut made = cloud.host.resource("oci_auth_token");
    let mut expected = made.apply(docker()).await?;
    expected["token"] = Json::Null;

    let text = |name: &str| expected[name].as_str().unwrap_or_default().to_owned();
    let (user, id) = (text("user_id"), text("id"));
    for form in [
        format!("users/{user}/authTokens/{id}"),
        format!("{user}/{id}"),
    ] {
        let mut imported = cloud.host.resource("ocir_auth_token");
        assert_eq!(imported.import(&form).await?, expected);
        imported.expect_noop(docker()).await?;
    }

    let mut nothing = cloud.host.resource("oci_auth_token");
    let problems = nothing.import(&id).await.unwrap_err();
    expect![[r#"
        Error: Invalid import identifier

        An auth token is imported by the OCID of its user and its own:
            users/<user OCID>/authTokens/<token OCID>
        or both OCIDs with a slash between them; "ocid1.credential.OCID" is neither."#]]
    .assert_eq(&cloud.neutral(&problems.to_string()));
    let other = format!("{user}/ocid1.credential.oc1..aaaa");
    let problems = nothing.import(&other).await.unwrap_err();
    expect![[r#"
        Error: Cannot import auth token

        User USER has no auth token ocid1.credential.OCID."#]]
    .assert_eq(&cloud.neutral(&problems.to_string()));
    Ok(())
}

/// The answer to the create is lost: asked again, the service answers the same,
/// with the token's value, so that no token is lost.
#[tokio::test]
async fn a_lost_answer() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let plan = token.plan(docker()).await?;
    cloud
        .emulator
        .fail_next("CreateAuthToken", Fault::cut_answer());
    token.apply_planned(&plan).await?;

    assert_eq!(cloud.count("CreateAuthToken"), 2);
    assert_eq!(cloud.emulator.auth_tokens().len(), 1);
    assert!(token.state()["token"].is_string());
    Ok(())
}

/// A 404 at the delete of a token that still is there means that the right to
/// delete was lost: the token stays in the state, since it still works.
#[tokio::test]
async fn a_token_that_works_is_not_forgotten() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;
    let lost = Fault::error(
        404,
        "NotAuthorizedOrNotFound",
        "not authorized or not found",
    );
    cloud.emulator.fail_next("DeleteAuthToken", lost);

    let problems = token.destroy().await.unwrap_err().to_string();
    assert!(problems.contains("could not be deleted"), "{problems}");
    assert_eq!(token.state(), state);
    token.destroy().await?;
    assert!(cloud.emulator.auth_tokens().is_empty());
    Ok(())
}

/// The list of the user's tokens is refused: the right to see it was lost, or the
/// user is gone, which Oracle does not tell apart. Nothing is forgotten, at a
/// refresh as at a destroy.
#[tokio::test]
async fn the_list_is_refused() -> anyhow::Result<()> {
    let cloud = impatient().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;
    let id = state["id"].as_str().unwrap_or_default();

    cloud.emulator.withdraw(Permission::CredentialManage);
    let problems = token.refresh().await.unwrap_err();
    expect![[r#"
        Error: Cannot read auth token

        Auth token ocid1.credential.OCID of user USER could not be read. ListAuthTokens of service identity at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Either the right to list the user's tokens was lost, or the user itself was deleted, and the token with it. Oracle answers the same to both, so the token stays in the state. Users see their own tokens without a policy, so look whether the user is active.

        If the user was deleted, take the token out of the state:
            terraform state rm ADDRESS

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert_eq!(token.state(), state);
    let destroy = token.plan_destroy();
    let problems = token.apply_planned(&destroy).await.unwrap_err();
    expect![[r#"
        Error: Cannot delete auth token

        Auth token ocid1.credential.OCID of user USER could not be deleted: DeleteAuthToken was answered 404, and whether it is gone could not be found out. ListAuthTokens of service identity at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Either the right to list the user's tokens was lost, or the user itself was deleted, and the token with it. Oracle answers the same to both, so the token stays in the state. Users see their own tokens without a policy, so look whether the user is active.

        If the user was deleted, take the token out of the state:
            terraform state rm ADDRESS

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert_eq!(token.state(), state);

    // That it is really gone changes nothing as long as nobody may look.
    cloud.emulator.remove_auth_token(id);
    token.apply_planned(&destroy).await.unwrap_err();
    assert_eq!(token.state(), state);
    cloud.emulator.grant(Permission::CredentialManage);
    assert!(token.refresh().await?.is_null());
    Ok(())
}

/// The tokens of another user take a policy, which the error names.
#[tokio::test]
async fn tokens_of_another_user() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let mut state = token.apply(docker()).await?;
    state["user_id"] = json!("ocid1.user.oc1..aaaaother");
    token.set_state(0, &state).await?;
    let problems = token.refresh().await.unwrap_err();
    expect![[r#"
        Error: Cannot read auth token

        Auth token ocid1.credential.OCID of user ocid1.user.OCID could not be read. ListAuthTokens of service identity at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Either the right to list the user's tokens was lost, or the user itself was deleted, and the token with it. Oracle answers the same to both, so the token stays in the state. A policy that allows it, for example:
            Allow group GROUP to read users in tenancy

        If the user was deleted, take the token out of the state:
            terraform state rm ADDRESS

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert_eq!(token.state(), state);
    Ok(())
}
