//! Tokens that somebody manages who is no user, and logins of every kind of user.

use std::{collections::BTreeMap, path::Path};

use expect_test::{Expect, expect};
use ocir::{
    credentials::Environment,
    emulator::{Emulator, Permission},
    framework::Server,
    provider::Ocir,
    transport::RetryPolicy,
};
use serde_json::{Value as Json, json};

use super::docker;
use crate::support::{
    core::Host,
    provider::{Cloud, environment},
    skipped,
};

/// A way to sign in.
type Machine = fn(&Emulator, &Path) -> std::io::Result<BTreeMap<String, String>>;

const INSTANCE: (&str, Machine) = ("InstancePrincipal", |emulator, _| Ok(emulator.instance()));
const RESOURCE: (&str, Machine) = ("ResourcePrincipal", |emulator, _| {
    emulator.resource_principal()
});
const WORKLOAD: (&str, Machine) = ("OKEWorkloadIdentity", |emulator, folder| {
    emulator.workload(folder)
});
const SESSION: (&str, Machine) = ("SecurityToken", |emulator, folder| emulator.session(folder));

/// The provider on a machine of a kind.
async fn cloud(
    emulator: Emulator,
    machine: (&str, Machine),
    folder: &Path,
) -> anyhow::Result<Cloud> {
    let (auth, machine) = machine;
    let mut surroundings: Environment = environment();
    surroundings.variables.extend(machine(&emulator, folder)?);
    let provider = Ocir::new(surroundings).with_retry(RetryPolicy::without_waiting());
    let host = Host::start(Server::new(provider)).await?;
    let region = &emulator.seed().region;
    host.configure(json!({ "auth": auth, "endpoint": emulator.url(), "region": region }))
        .await?;
    Ok(Cloud { emulator, host })
}

/// A text without what differs from run to run.
#[track_caller]
fn says(cloud: &Cloud, text: &str, expected: Expect) {
    expected.assert_eq(&cloud.neutral(text));
}

/// An instance, a function and a pod are no users, and nobody can guess whose token is
/// meant: the error says so before anything is asked for, and the policy that is for
/// such a principal.
#[tokio::test]
async fn whose_token() -> anyhow::Result<()> {
    let expected = [
        (
            INSTANCE,
            expect![[r#"
            Error: No user to create the auth token for

            Argument "user_id" is left out, and the provider signs in as instance ocid1.instance.OCID (instance principal), which is no user. Only users have auth tokens. Set it to the OCID of the user the token is for, and allow to manage that user's tokens:
                Allow dynamic-group DYNAMIC_GROUP to manage users in tenancy

            For a push no auth token is needed: ocir_image_push signs in with the provider's own identity.
              with user_id"#]],
        ),
        (
            RESOURCE,
            expect![[r#"
            Error: No user to create the auth token for

            Argument "user_id" is left out, and the provider signs in as resource ocid1.fnfunc.OCID (resource principal, fnfunc, in compartment COMPARTMENT), which is no user. Only users have auth tokens. Set it to the OCID of the user the token is for, and allow to manage that user's tokens:
                Allow dynamic-group DYNAMIC_GROUP to manage users in tenancy

            For a push no auth token is needed: ocir_image_push signs in with the provider's own identity.
              with user_id"#]],
        ),
        (
            WORKLOAD,
            expect![[r#"
            Error: No user to create the auth token for

            Argument "user_id" is left out, and the provider signs in as service account default/terraform (OKE workload identity), which is no user. Only users have auth tokens. Set it to the OCID of the user the token is for, and allow to manage that user's tokens:
                Allow any-user to manage users in tenancy where all {request.principal.type='workload', request.principal.namespace='default', request.principal.service_account='terraform', request.principal.cluster_id='CLUSTER_OCID'}

            For a push no auth token is needed: ocir_image_push signs in with the provider's own identity.
              with user_id"#]],
        ),
    ];
    for (machine, expected) in expected {
        if machine.0 == WORKLOAD.0 && !cfg!(target_os = "linux") {
            skipped("a cluster's service needs an address that only Linux has");
            continue;
        }
        let folder = tempfile::tempdir()?;
        let cloud = cloud(Emulator::builder().start().await?, machine, folder.path()).await?;
        let mut token = cloud.host.resource("oci_auth_token");
        let problems = token.plan(docker()).await.unwrap_err();
        says(&cloud, &problems.to_string(), expected);
        assert_eq!(cloud.count("ListAuthTokens"), 0);
    }
    Ok(())
}

/// With the user named, an instance makes, changes and deletes the user's token; without
/// the right to it the error names the policy for instances.
#[tokio::test]
async fn an_instance_manages_a_users_token() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let cloud = cloud(Emulator::builder().start().await?, INSTANCE, folder.path()).await?;
    let user_id = cloud.emulator.seed().user_id.clone();
    let config = |description: &str| json!({ "user_id": user_id, "description": description });
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(config("CI")).await?;
    let seed = cloud.emulator.seed();
    let username = format!("{}/{}", seed.namespace, seed.user_name);
    assert_eq!(state["username"], json!(username));
    assert_eq!(token.take_warnings(), [""; 0]);
    token.apply(config("Jobs")).await?;
    assert_eq!(
        cloud.emulator.auth_tokens()[0]["description"],
        json!("Jobs")
    );

    cloud.emulator.withdraw(Permission::CredentialManage);
    let mut refused = cloud.host.resource("oci_auth_token");
    let problems = refused.apply(config("another")).await.unwrap_err();
    says(
        &cloud,
        &problems.to_string(),
        expect![[r#"
        Error: Cannot create auth token

        An auth token for user USER could not be created. CreateAuthToken of service identity at HOST was answered 404 NotAuthorizedOrNotFound in the last of 9 attempts: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow dynamic-group DYNAMIC_GROUP to manage users in tenancy

        Signed in as: instance ocid1.instance.OCID (instance principal)
        Request id: ID"#]],
    );
    assert!(refused.state().is_null());
    cloud.emulator.grant(Permission::CredentialManage);
    token.destroy().await?;
    assert_eq!(cloud.emulator.auth_tokens(), [Json::Null; 0]);
    Ok(())
}

/// Who signed in with a browser is a user, and its tokens are the default.
#[tokio::test]
async fn a_session_is_a_user() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let cloud = cloud(Emulator::builder().start().await?, SESSION, folder.path()).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token.apply(docker()).await?;
    assert_eq!(state["user_id"], json!(cloud.emulator.seed().user_id));
    Ok(())
}

/// The login of an hour has one user name for everybody, and the registry accepts it
/// whoever signed in: no user and no user's name is needed for it, federated or not.
#[tokio::test]
async fn a_login_for_everybody() -> anyhow::Result<()> {
    for machine in [INSTANCE, RESOURCE, WORKLOAD, SESSION] {
        if machine.0 == WORKLOAD.0 && !cfg!(target_os = "linux") {
            skipped("a cluster's service needs an address that only Linux has");
            continue;
        }
        let folder = tempfile::tempdir()?;
        let emulator = Emulator::builder().federation("oracleidentitycloudservice");
        let cloud = cloud(emulator.start().await?, machine, folder.path()).await?;
        let login = cloud.host.open("ocir_registry_login", json!({})).await?;
        assert_eq!(
            login.result["username"],
            json!("BEARER_TOKEN"),
            "{}",
            machine.0
        );
        let accepted = reqwest::Client::new()
            .get(format!("{}/20180419/docker/token", cloud.emulator.url()))
            .basic_auth("BEARER_TOKEN", login.result["password"].as_str())
            .send()
            .await?;
        assert_eq!(accepted.status().as_u16(), 200, "{}", machine.0);
        assert_eq!(cloud.count("GetUser"), 0);
    }
    Ok(())
}
