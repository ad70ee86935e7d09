//! A login at the registry's token endpoint with a user name and an auth token.

use expect_test::expect;
use ocir::{
    emulator::{Emulator, Fault},
    oci,
    transport::{Options, http_client},
};

use crate::support::client;

/// A right password is accepted; a wrong one, a wrong name and a token for nobody are
/// not, and are no failure either.
#[tokio::test]
async fn accepted_or_not() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let http = http_client(&Options::default())?;
    let seed = emulator.seed();
    let control_plane = client::oci(&emulator).await?;
    let token = control_plane.create_auth_token(&seed.user_id, "d").await?;
    let password = token.token.unwrap_or_default();
    let username = format!("{}/{}", seed.namespace, seed.user_name);
    let url = emulator.url();
    assert!(oci::registry_login(&http, &url, &username, &password).await?);
    for (username, password) in [
        (&*username, "wrong"),
        ("elsewhere/docker@example.com", &*password),
        ("no namespace", &*password),
        ("", ""),
    ] {
        assert!(!oci::registry_login(&http, &url, username, password).await?);
    }
    for body in [
        r#"{"token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ7XCJ1c2VySWRcIjpcImFub24tMVwifSJ9.c2ln"}"#,
        "{}",
    ] {
        emulator.fail_next("GetRegistryToken", Fault::body(200, body));
        assert!(!oci::registry_login(&http, &url, &username, &password).await?);
    }
    Ok(())
}

/// What is no answer to the question is an error, in which no password is.
#[tokio::test]
async fn no_answer() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let http = http_client(&Options::default())?;
    let url = emulator.url();
    let mut said = String::new();
    let proxy = "<html>s3cr3t";
    for fault in [
        Fault::status(503),
        Fault::body(404, proxy),
        Fault::body(200, proxy),
        Fault::cut(0),
    ] {
        emulator.fail_next("GetRegistryToken", fault);
        let login = oci::registry_login(&http, &url, "ns/jo", "s3cr3t").await;
        let error = login.expect_err("there is no answer");
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        said.push_str(&format!("{error}\n").replace(&emulator.authority(), "HOST"));
    }
    let nowhere = oci::registry_login(&http, "not an address", "ns/jo", "s3cr3t").await;
    said.push_str(&nowhere.expect_err("there is no host").to_string());
    expect![[r#"
        GetRegistryToken answered 503
        GetRegistryToken answered 404
        GetRegistryToken: unreadable answer
        GetRegistryToken: no answer from HOST
        the registry's address is invalid"#]]
    .assert_eq(&said);
    Ok(())
}
