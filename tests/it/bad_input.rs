//! What goes wrong, and what a person reads then: each diagnostic as a whole.
//! The state stays as it was, or holds what was created.

use std::{fs, io::Write as _, path::Path};

use expect_test::{Expect, expect};
use ocir::emulator::{Emulator, Fault};
use serde_json::{Value as Json, json};

use crate::support::{
    core::{Problems, Resource},
    images::{Layout, docker_archive},
    provider::{Cloud, arguments},
};

/// A cloud whose provider was given other arguments than the right ones.
async fn with(changes: Json) -> anyhow::Result<Cloud> {
    let emulator = Emulator::builder().start().await?;
    let mut config = arguments(&emulator);
    for (name, value) in changes.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    Cloud::impatient(emulator, config).await
}

/// The only text of a failure, without what differs from run to run.
#[track_caller]
fn reads<T>(cloud: &Cloud, result: Result<T, Problems>, expected: &Expect) {
    let problems = result.err().expect("it fails");
    expected.assert_eq(&cloud.neutral(&problems.to_string()));
}

/// A create that fails and leaves nothing, here and there.
async fn create_fails(cloud: &Cloud, expected: Expect) {
    let mut repository = cloud.host.resource("ocir_repository");
    reads(cloud, repository.apply(cloud.web()).await, &expected);
    assert_eq!(repository.state(), Json::Null);
    assert!(cloud.emulator.repositories().is_empty());
}

/// A repository that exists, and a provider that does not wait between attempts.
async fn with_repository() -> anyhow::Result<(Cloud, Resource)> {
    let cloud = with(json!({})).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    Ok((cloud, repository))
}

/// The key is a good one, and not the user's.
#[tokio::test]
async fn wrong_key() -> anyhow::Result<()> {
    let vectors: Json = serde_json::from_str(include_str!("../fixtures/signing-vectors.json"))?;
    let cloud = with(json!({
        "private_key": vectors["key"]["pkcs8_pem"],
        "fingerprint": vectors["fingerprint"],
    }))
    .await?;
    create_fails(&cloud, expect![[r#"
        Error: Cannot read namespace

        The namespace of the tenancy could not be read: GetNamespace was answered 401 NotAuthenticated: The required information to complete authentication was not provided or was incorrect.

        The signature was not accepted. Check that the API key is uploaded for this user, that it is active, and that user, tenancy and fingerprint belong together:
            oci iam user api-key list --user-id USER

        Signed in as: user USER (API key 56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b, argument private_key)

        Request id: ID"#]]).await;
    Ok(())
}

/// The fingerprint is of another key; nobody has to be asked to know.
#[tokio::test]
async fn wrong_fingerprint() -> anyhow::Result<()> {
    let cloud =
        with(json!({ "fingerprint": "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff" })).await?;
    create_fails(&cloud, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The fingerprint and the private key do not belong together: the argument fingerprint says 00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff, and the key in the argument private_key has FINGERPRINT."#]]).await;
    assert!(cloud.emulator.requests().is_empty());
    Ok(())
}

/// The profile is in no configuration file; the message lists those that are.
#[tokio::test]
async fn missing_profile() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config");
    fs::write(
        &file,
        "[DEFAULT]\nuser=ocid1.user.oc1..a\n[staging]\nregion=gru\n",
    )?;
    let cloud = with(json!({ "config_file": file, "config_file_profile": "production" })).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let problems = repository.apply(cloud.web()).await.expect_err("it fails");
    let text = problems
        .to_string()
        .replace(&folder.path().display().to_string(), "FOLDER");
    expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The argument config_file_profile names the profile [production], which is not in FOLDER/config; the profiles are DEFAULT and staging."#]].assert_eq(&text);
    Ok(())
}

/// The key file cannot be read.
#[tokio::test]
async fn unreadable_file() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let cloud = with(json!({ "private_key": null, "private_key_path": folder.path() })).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let problems = repository.apply(cloud.web()).await.expect_err("it fails");
    expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        Cannot read the private key file FOLDER, which the argument private_key_path names: Is a directory (os error 21)."#]].assert_eq(
        &problems
            .to_string()
            .replace(&folder.path().display().to_string(), "FOLDER"),
    );
    Ok(())
}

/// The region is in no table.
#[tokio::test]
async fn unknown_region() -> anyhow::Result<()> {
    create_fails(
        &with(json!({ "region": "sa-saopaolo-1" })).await?,
        expect![[r#"
            Error: Unknown region

            Unknown region "sa-saopaolo-1", did you mean sa-saopaulo-1 (gru)? A region is named by its identifier, such as "sa-saopaulo-1", or by its key, such as "GRU"."#]],
    )
    .await;
    Ok(())
}

/// This machine's clock is ten minutes off.
#[tokio::test]
async fn clock_off_by_ten_minutes() -> anyhow::Result<()> {
    let cloud = with(json!({})).await?;
    cloud.emulator.skew_clock(600);
    create_fails(&cloud, expect![[r#"
        Error: Cannot read namespace

        The namespace of the tenancy could not be read: GetNamespace was answered 401 NotAuthenticated: Date 'TIME' is not within allowed clock skew. Current 'TIME', valid datetime range: ['TIME', 'TIME'].

        This machine's clock is 10 minutes behind the service's, and a signature is good for five minutes. Set the clock.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)

        Request id: ID"#]]).await;
    Ok(())
}

/// 401 at a refresh: the state is kept.
#[tokio::test]
async fn not_authenticated() -> anyhow::Result<()> {
    let (cloud, mut repository) = with_repository().await?;
    let before = repository.state();
    cloud
        .emulator
        .fail_always("GetContainerRepository", Fault::status(401));
    reads(
        &cloud,
        repository.refresh().await,
        &expect![[r#"
        Error: Cannot read container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be read: GetContainerRepository was answered 401 NotAuthenticated: The required information to complete authentication was not provided or was incorrect.

        The signature was not accepted. Check that the API key is uploaded for this user, that it is active, and that user, tenancy and fingerprint belong together:
            oci iam user api-key list --user-id USER

        Signed in as: user USER (API key FINGERPRINT, argument private_key)

        Request id: ID"#]],
    );
    assert_eq!(repository.state(), before);
    Ok(())
}

/// 403: users are changed in the home region only.
#[tokio::test]
async fn not_the_home_region() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let mut config = arguments(&emulator);
    config["endpoint"] = format!("{}/~us-phoenix-1", emulator.url()).into();
    config["region"] = "phx".into();
    let cloud = Cloud::impatient(emulator, config).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    reads(
        &cloud,
        token
            .apply(json!({ "description": "Used by Docker" }))
            .await,
        &expect![[r#"
            Error: Cannot create auth token

            An auth token for user USER could not be created: CreateAuthToken was answered 403 NotAllowed: Please go to your home region GRU to execute CREATE, UPDATE and DELETE operations.

            Users and their tokens are changed in the tenancy's home region only. Configure the provider for it, with an alias if the rest belongs elsewhere:
                provider "ocir" {
                  alias  = "home"
                  region = "gru"
                }

            Signed in as: user USER (API key FINGERPRINT, argument private_key)

            Request id: ID"#]],
    );
    assert_eq!(token.state(), Json::Null);
    assert!(cloud.emulator.auth_tokens().is_empty());
    Ok(())
}

/// 404: the compartment does not exist, or may not be seen.
#[tokio::test]
async fn unknown_compartment() -> anyhow::Result<()> {
    let cloud = with(json!({})).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let config =
        json!({ "compartment_id": "ocid1.compartment.oc1..gone", "display_name": "team/web" });
    reads(
        &cloud,
        repository.apply(config).await,
        &expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment ocid1.compartment.OCID: CreateContainerRepository was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to manage repos in compartment COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)

        Request id: ID"#]],
    );
    assert_eq!(repository.state(), Json::Null);
    Ok(())
}

/// 409: the name is taken, by a repository in another compartment.
#[tokio::test]
async fn name_taken() -> anyhow::Result<()> {
    let cloud = with(json!({})).await?;
    let mut theirs = cloud.host.resource("ocir_repository");
    let ops = &cloud.emulator.seed().ops_compartment_id;
    theirs
        .apply(json!({ "compartment_id": ops, "display_name": "team/web" }))
        .await?;
    let mut ours = cloud.host.resource("ocir_repository");
    cloud.emulator.clear_requests();
    reads(
        &cloud,
        ours.apply(cloud.web()).await,
        &expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT: the name is already taken in this tenancy and region.

        It is in compartment ocid1.compartment.OCID. To manage the existing repository, import it:
            import {
              to = ocir_repository.NAME
              id = "ocid1.containerrepo.OCID"
            }

        Request id: ID
          with display_name"#]],
    );
    assert_eq!(
        cloud.count("CreateContainerRepository"),
        1,
        "a taken name was asked for again"
    );
    assert_eq!(ours.state(), Json::Null);
    assert_eq!(cloud.emulator.repositories().len(), 1);
    Ok(())
}

/// 429 with Retry-After, every time: eight attempts, then the reason.
#[tokio::test]
async fn throttled() -> anyhow::Result<()> {
    let cloud = with(json!({})).await?;
    let fault = Fault::status(429).retry_after(2);
    cloud
        .emulator
        .fail_always("CreateContainerRepository", fault);
    create_fails(&cloud, expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT: CreateContainerRepository was answered 429 TooManyRequests: Too many requests for the user.

        The service is throttling. Run again later, or with a lower -parallelism.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)

        Request id: ID"#]]).await;
    let requests = cloud.emulator.requests();
    let tokens: Vec<_> = requests
        .iter()
        .filter(|request| request.operation == "CreateContainerRepository")
        .map(|request| request.retry_token.clone())
        .collect();
    assert_eq!(tokens.len(), 8);
    assert!(
        tokens
            .iter()
            .all(|token| token.is_some() && *token == tokens[0]),
        "{tokens:?}"
    );
    Ok(())
}

/// 429 once: the create is sent again, and makes one repository.
#[tokio::test]
async fn throttled_once() -> anyhow::Result<()> {
    let cloud = with(json!({})).await?;
    cloud.emulator.fail_next(
        "CreateContainerRepository",
        Fault::status(429).retry_after(1),
    );
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    assert_eq!(cloud.emulator.repositories().len(), 1);
    Ok(())
}

/// 500 at an update: the state shows what the service still has.
#[tokio::test]
async fn service_fails() -> anyhow::Result<()> {
    let (cloud, mut repository) = with_repository().await?;
    let before = repository.state();
    cloud
        .emulator
        .fail_always("UpdateContainerRepository", Fault::status(500));
    let mut config = cloud.web();
    config["is_public"] = true.into();
    reads(
        &cloud,
        repository.apply(config).await,
        &expect![[r#"
        Error: Cannot update container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be changed: UpdateContainerRepository was answered 500 InternalServerError: Out of host capacity or an internal error occurred.

        The service failed, also after retries. Run again later.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)

        Request id: ID"#]],
    );
    assert_eq!(repository.state(), before);
    assert_eq!(cloud.repository("team/web")["isPublic"], json!(false));
    Ok(())
}

/// A proxy answers in the service's place.
#[tokio::test]
async fn not_the_service() -> anyhow::Result<()> {
    let cloud = with(json!({})).await?;
    let page = "<html><title>Captive portal</title></html>";
    cloud
        .emulator
        .fail_always("CreateContainerRepository", Fault::body(200, page));
    create_fails(&cloud, expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT: CreateContainerRepository: unreadable answer: expected value at line 1 column 1.

        Something else than the service may have answered, such as a proxy or a captive portal. Whether the change was made is not known; look before it is made again.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)

        Request id: ID"#]]).await;
    Ok(())
}

/// The connection is cut in the middle of a blob, every time.
#[tokio::test]
async fn cut_in_the_middle_of_a_blob() -> anyhow::Result<()> {
    let (cloud, _repository) = with_repository().await?;
    cloud
        .emulator
        .fail_always("PutBlobUpload", Fault::cut(1000));
    let layout = Layout::new()?;
    layout.show(&layout.image_of(&[&noise(8_000_000)])?)?;
    let push = push_fails(&cloud, &layout.source(), "team/web", expect![[r#"
        Error: Cannot push image

        oci:SOURCE could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0": the connection to HOST was cut during upload of blob sha256:ff85c77bdeea5da5a30117360a2e025231a8a3da9625f3be50e92f58ef669c20, after SENT of 8000004 bytes in the last of 8 attempts: CAUSE

        Apply again: what has arrived is not sent a second time. If it breaks off at the same place each time, look for a proxy or a gateway with a limit on sizes or times.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]]).await;
    // The same push, on a line that holds, finishes.
    cloud.emulator.clear_faults();
    let mut push = push;
    push.apply(image(&layout.source(), "team/web")).await?;
    assert_eq!(cloud.emulator.tags("team/web").len(), 1);
    Ok(())
}

/// Bytes that no compressor makes smaller, so that a blob has more than one piece.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    // A layer that says it is gzip is taken at its word when it begins like it.
    let mut bytes = vec![0x1f, 0x8b, 8, 0];
    bytes.extend((0..count).map(|_| next()));
    bytes
}

fn image(source: &str, repository: &str) -> Json {
    json!({ "source": source, "repository": repository, "tag": "1.0.0" })
}

/// How many bytes a connection took before it broke, and how the system calls
/// that, is up to chance.
fn without_chance(text: &str) -> String {
    let Some((before, rest)) = text.split_once(", after ") else {
        return text.to_owned();
    };
    let sent: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let rest = &rest[sent.len()..];
    let Some((attempts, cause)) = rest.split_once("attempts: ") else {
        return text.to_owned();
    };
    assert!(!sent.is_empty(), "{text}");
    let after = cause.split_once('\n').map_or("", |(_, after)| after);
    format!("{before}, after SENT{attempts}attempts: CAUSE\n{after}")
}

/// A push that fails and leaves no tag and no state.
async fn push_fails(cloud: &Cloud, source: &str, repository: &str, expected: Expect) -> Resource {
    let mut push = cloud.host.resource("ocir_image_push");
    let problems = push
        .apply(image(source, repository))
        .await
        .expect_err("it fails");
    let path = source.split_once(':').map_or(source, |(_, path)| path);
    let folder = Path::new(path)
        .parent()
        .unwrap_or(Path::new(""))
        .display()
        .to_string();
    let text = problems
        .to_string()
        .replace(path, "SOURCE")
        .replace(&folder, "FOLDER");
    let text = cloud.neutral(&without_chance(&text));
    expected.assert_eq(&text);
    assert_eq!(push.state(), Json::Null);
    assert!(cloud.emulator.tags(repository).is_empty());
    push
}

/// An archive that ends too early.
#[tokio::test]
async fn truncated_archive() -> anyhow::Result<()> {
    let (cloud, _repository) = with_repository().await?;
    let (_folder, source) = docker_archive(false)?;
    let path = source.trim_start_matches("docker-archive:");
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.set_len(100_000)?;
    push_fails(&cloud, &source, "team/web", expect![[r#"
        Error: Cannot read image source

        "SOURCE" is truncated within its entry "blobs/sha256/902c11c84284104e83543cd2a092005e92cd36e9e184b2cdc8d34a6a093c4e64".
          with source"#]]).await;
    Ok(())
}

/// A layer whose bytes are not what its digest says.
#[tokio::test]
async fn layer_with_a_wrong_digest() -> anyhow::Result<()> {
    let (cloud, _repository) = with_repository().await?;
    let layout = Layout::new()?;
    let layer = noise(1000);
    layout.show(&layout.image_of(&[&layer])?)?;
    let digest = ocir::image::Digest::of(&layer).to_string();
    let blob = layout
        .path()
        .join("blobs/sha256")
        .join(digest.trim_start_matches("sha256:"));
    let mut spoilt = layer;
    spoilt[500] ^= 1;
    fs::write(blob, spoilt)?;
    push_fails(&cloud, &layout.source(), "team/web", expect![[r#"
        Error: Cannot push image

        oci:SOURCE could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0": cannot read blob sha256:1d5be6d08220714e696874f3c5058babc4e9f1c6fd27ab5eee959238cc80dc54 from the image's source: "SOURCE/blobs/sha256/1d5be6d08220714e696874f3c5058babc4e9f1c6fd27ab5eee959238cc80dc54" is corrupt: it should have the digest sha256:1d5be6d08220714e696874f3c5058babc4e9f1c6fd27ab5eee959238cc80dc54, and has sha256:33303ccde6e67ea07ca493e5e4c399e22f39af56ed9489dee7c717a162c5799c.

        Nothing was tagged. Make the image's source again, and plan again.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]]).await;
    Ok(())
}

/// An archive with an entry that points out of it.
#[tokio::test]
async fn entry_that_points_outside() -> anyhow::Result<()> {
    let (cloud, _repository) = with_repository().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("image.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path)?);
    let mut header = tar::Header::new_gnu();
    let name = b"../../etc/passwd";
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_size(4);
    header.set_cksum();
    archive.append(&header, &b"root"[..])?;
    archive.into_inner()?.flush()?;
    let source = format!("docker-archive:{}", path.display());
    push_fails(
        &cloud,
        &source,
        "team/web",
        expect![[r#"
        Error: Cannot read image source

        Entry "../../etc/passwd" of "SOURCE" points outside the archive.
          with source"#]],
    )
    .await;
    Ok(())
}

/// A layout whose index is no JSON.
#[tokio::test]
async fn json_that_is_none() -> anyhow::Result<()> {
    let (cloud, _repository) = with_repository().await?;
    let layout = Layout::new()?;
    fs::write(layout.path().join("index.json"), "<html>")?;
    push_fails(
        &cloud,
        &layout.source(),
        "team/web",
        expect![[r#"
        Error: Cannot read image source

        "SOURCE/index.json" is not the index of an image layout: expected value at line 1 column 1.
          with source"#]],
    )
    .await;
    Ok(())
}

/// A repository that nobody made.
#[tokio::test]
async fn push_to_no_repository() -> anyhow::Result<()> {
    let cloud = with(json!({})).await?;
    let layout = Layout::of("web")?;
    push_fails(&cloud, &layout.source(), "team/nothing", expect![[r#"
        Error: Cannot push image

        oci:SOURCE could not be pushed to repository "NAMESPACE/team/nothing" under tag "1.0.0": start of the upload of blob sha256:9d99a75171aea000c711b34c0e5e3f28d3d537dd99d110eafbfbc2bd8e52c2bf at HOST answered 404 NAME_UNKNOWN: Repository NAMESPACE/team/nothing not known to registry.

        Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
            Allow group GROUP to manage repos in compartment COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)

        Request id: ID"#]]).await;
    Ok(())
}

/// The registry takes the signature for nobody's, and says so with a token that
/// is good for nothing.
#[tokio::test]
async fn taken_for_nobody() -> anyhow::Result<()> {
    let (cloud, _repository) = with_repository().await?;
    let layout = Layout::of("web")?;
    let mut push = cloud.host.resource("ocir_image_push");
    let plan = push.plan(image(&layout.source(), "team/web")).await?;
    // Only the token endpoint is asked from here on, and it refuses nobody.
    cloud.emulator.skew_clock(600);
    let problems = push.apply_planned(&plan).await.expect_err("it fails");
    let text = cloud.neutral(
        &problems
            .to_string()
            .replace(&layout.path().display().to_string(), "SOURCE"),
    );
    expect![[r#"
        Error: Cannot push image

        oci:SOURCE could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0": cannot get a token to sign in to HOST: HOST took the request for an anonymous one.

        The registry does not refuse a signature it does not accept; it treats the request as nobody's. Check the API key, its fingerprint, the user and the tenancy.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&text);
    assert_eq!(push.state(), Json::Null);
    Ok(())
}

/// A registry login that is refused, and none of the secrets in what is said
/// about it, or about anything else that fails here.
#[tokio::test]
async fn refused_login_shows_no_secret() -> anyhow::Result<()> {
    let cloud = with(json!({
        "registry": { "username": "somebody", "password": "pa55word-that-must-not-show" },
    }))
    .await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let layout = Layout::of("web")?;
    push_fails(&cloud, &layout.source(), "team/web", expect![[r#"
        Error: Cannot push image

        oci:SOURCE could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0": sign-in at HOST answered 401 UNAUTHORIZED: Unauthorized.

        Set "username" and "password" in the provider's argument "registry", and check them. For Oracle's registry they are <namespace>/<user> and an auth token, which is accepted some minutes after it was created.

        Signed in as: user "somebody" of the registry

        Request id: ID"#]]).await;

    let mut said = Vec::new();
    for fault in [
        Fault::status(401),
        Fault::status(403),
        Fault::body(502, "no"),
        Fault::cut_answer(),
    ] {
        for operation in [
            "GetContainerRepository",
            "GetRegistryToken",
            "HeadManifest",
            "CreateAuthToken",
        ] {
            cloud.emulator.fail_always(operation, fault.clone());
        }
        let mut token = cloud.host.resource("oci_auth_token");
        let failures = [
            repository.refresh().await.map(drop),
            token.apply(json!({ "description": "x" })).await.map(drop),
            cloud
                .host
                .resource("ocir_image_push")
                .apply(image(&layout.source(), "team/web"))
                .await
                .map(drop),
        ];
        for failure in failures {
            said.push(failure.expect_err("it fails").to_string());
        }
        cloud.emulator.clear_faults();
    }
    let seed = cloud.emulator.seed();
    let key = seed.private_key_pem.lines().filter(|line| line.len() == 64);
    let secrets: Vec<&str> = key
        .chain([
            "pa55word-that-must-not-show",
            "Bearer ey",
            "Signature version",
        ])
        .collect();
    assert!(secrets.len() > 10);
    for text in said {
        assert!(
            !secrets.iter().any(|secret| text.contains(secret)),
            "a secret shows in:\n{text}"
        );
    }
    Ok(())
}
