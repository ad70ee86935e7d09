//! Ephemeral `ocir_registry_login`.

use expect_test::expect;
use ocir::{
    emulator::{Emulator, Fault},
    framework::Server,
};
use serde_json::{Value as Json, json};

use crate::support::{
    core::{Host, unknown},
    provider::{Cloud, arguments, server},
};

/// A login is a host, a user name and a password that the registry accepts, for an
/// hour; and the same as a file that docker reads.
#[tokio::test]
async fn a_login() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let before = time::OffsetDateTime::now_utc();
    let login = cloud.host.open("ocir_registry_login", json!({})).await?;
    let result = &login.result;
    let host = cloud.emulator.authority();
    assert_eq!(result["host"], json!(host));
    assert_eq!(result["username"], json!("BEARER_TOKEN"));
    let password = result["password"].as_str().unwrap_or_default();
    let accepted = reqwest::Client::new()
        .get(format!("{}/20180419/docker/token", cloud.emulator.url()))
        .basic_auth("BEARER_TOKEN", Some(password))
        .send()
        .await?;
    assert_eq!(accepted.status().as_u16(), 200);

    let expires_at = result["expires_at"].as_str().unwrap_or_default();
    let format = &time::format_description::well_known::Rfc3339;
    let lifetime = time::OffsetDateTime::parse(expires_at, format)? - before;
    assert!(
        (3595..=3601).contains(&lifetime.whole_seconds()),
        "{lifetime}"
    );

    let file = result["docker_config_json"].as_str().unwrap_or_default();
    let file: Json = serde_json::from_str(file)?;
    let auth = {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.encode(format!("BEARER_TOKEN:{password}"))
    };
    assert_eq!(file, json!({ "auths": { host: { "auth": auth } } }));
    assert!(login.renew_at.is_none());
    assert_eq!(login.close().await?, [""; 0]);
    Ok(())
}

/// Each opening asks for a login of its own: an old one would have less than its hour.
#[tokio::test]
async fn each_opening_is_fresh() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let one = cloud.host.open("ocir_registry_login", json!({})).await?;
    let two = cloud.host.open("ocir_registry_login", json!({})).await?;
    assert_ne!(one.result["password"], two.result["password"]);
    assert_eq!(cloud.operations(), [("GetRegistryToken".into(), 2)].into());
    Ok(())
}

/// What is secret is marked so.
#[test]
fn secrets_are_sensitive() {
    let server: Server = server();
    let schema = server.ephemeral_schema("ocir_registry_login");
    let attributes = &schema.expect("it is served").block.attributes;
    let sensitive = attributes.iter().filter(|attribute| attribute.sensitive);
    let sensitive: Vec<_> = sensitive.map(|attribute| attribute.name.as_str()).collect();
    assert_eq!(sensitive, ["password", "docker_config_json"]);
}

/// An argument of the provider comes from something that does not exist yet: the
/// login is opened later, and nobody is asked.
#[tokio::test]
async fn an_unknown_provider() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let host = Host::start(server()).await?;
    let mut config = arguments(&emulator);
    config["region"] = unknown();
    host.configure(config).await?;
    let login = host.open("ocir_registry_login", json!({})).await?;
    for name in [
        "host",
        "username",
        "password",
        "expires_at",
        "docker_config_json",
    ] {
        assert_eq!(login.result[name], unknown(), "{name}");
    }
    assert!(emulator.requests().is_empty());
    expect![[r#"
        Warning: Cannot open yet

        An argument of the provider is known after apply only, so the results of ocir_registry_login are unknown until then. OpenTofu cannot plan with that: there, apply first what the argument depends on, with -target."#]].assert_eq(&login.warnings.join("\n\n"));
    assert_eq!(login.close().await?, [""; 0]);
    Ok(())
}

/// Somebody else's registry as the target of pushes: the login is for Oracle's, where
/// it is worth something, and goes nowhere else.
#[tokio::test]
async fn beside_another_registry() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let mut config = arguments(&emulator);
    config["registry"] = json!({ "host": "registry.example.com" });
    let cloud = Cloud::configured(emulator, config).await?;
    let login = cloud.host.open("ocir_registry_login", json!({})).await?;
    assert_eq!(login.result["host"], json!(cloud.emulator.authority()));
    Ok(())
}

/// Who signs in with what Oracle does not accept gets no login, but an error, though
/// the registry gives everybody a token.
#[tokio::test]
async fn nobodys_login() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let mut config = arguments(&emulator);
    config["user_ocid"] = json!("ocid1.user.oc1..aaaastranger");
    let cloud = Cloud::impatient(emulator, config).await?;
    let problems = cloud.host.open("ocir_registry_login", json!({})).await;
    expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        No login for HOST could be opened. HOST gave a token that is nobody's.

        The registry does not refuse a signature that it does not accept: it takes the caller for an anonymous one. Check that user, tenancy and API key belong together, and that the key is uploaded for the user and active (a new one is known everywhere after some minutes):
            oci iam user api-key list --user-id ocid1.user.OCID

        Signed in as: user ocid1.user.OCID (API key FINGERPRINT, argument private_key)"#]].assert_eq(&cloud.neutral(&problems.unwrap_err().to_string()));
    Ok(())
}

/// The registry is down.
#[tokio::test]
async fn the_registry_is_down() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let arguments = arguments(&emulator);
    let cloud = Cloud::impatient(emulator, arguments).await?;
    cloud
        .emulator
        .fail_always("GetRegistryToken", Fault::status(503));
    let problems = cloud.host.open("ocir_registry_login", json!({})).await;
    expect![[r#"
        Error: Cannot log in to the registry

        No login for HOST could be opened. GetRegistryToken of service ocir at HOST was answered 503 UNKNOWN in the last of 8 attempts: Unknown error.

        The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.unwrap_err().to_string()));
    Ok(())
}

/// Ctrl-C while a login is waited for ends that at once, and there is no login.
#[tokio::test]
async fn interrupted_while_opening() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let silence = Fault::delay(std::time::Duration::from_secs(60));
    cloud.emulator.fail_always("GetRegistryToken", silence);
    let stop = async {
        while cloud.emulator.begun("GetRegistryToken") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let at = std::time::Instant::now();
        cloud.host.stop().await.map(|()| at)
    };
    let (opened, stopped) = tokio::join!(cloud.host.open("ocir_registry_login", json!({})), stop);
    assert!(stopped?.elapsed() < std::time::Duration::from_secs(5));
    let problems = opened.err().map(|problems| problems.to_string());
    expect![[r#"
        Error: Cannot log in to the registry

        No login for HOST could be opened: the run was interrupted."#]]
    .assert_eq(&cloud.neutral(&problems.unwrap_or_default()));
    Ok(())
}
