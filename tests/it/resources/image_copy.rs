//! `ocir_image_push` with an image of a registry for its source.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use expect_test::expect;
use ocir::{
    credentials::Environment,
    emulator::{Emulator, Fault},
    framework::Server,
    provider::Ocir,
    transport::RetryPolicy,
};
use serde_json::{Value as Json, json};

use crate::support::{
    self,
    core::{Action, Host, Resource, unknown},
    images::Layout,
    provider::{Cloud, arguments},
};

/// A registry with an image in it, and a cloud that the image is to be copied to
/// by somebody who has used `docker login`.
struct Two {
    from: Cloud,
    to: Cloud,
    digest: String,
    _home: tempfile::TempDir,
}

/// What somebody's home directory holds after `docker login`.
fn home_of(host: &str, username: &str, password: &str) -> anyhow::Result<tempfile::TempDir> {
    let home = tempfile::tempdir()?;
    docker_login(home.path(), host, username, password)?;
    Ok(home)
}

/// What `docker login` writes into somebody's home directory.
pub(super) fn docker_login(
    home: &Path,
    host: &str,
    username: &str,
    password: &str,
) -> anyhow::Result<()> {
    fs::create_dir(home.join(".docker"))?;
    let auth = STANDARD.encode(format!("{username}:{password}"));
    let config = json!({ "auths": { host: { "auth": auth } } });
    Ok(fs::write(
        home.join(".docker/config.json"),
        config.to_string(),
    )?)
}

/// A provider of somebody with that home directory.
async fn host_of(home: &tempfile::TempDir, config: Json) -> anyhow::Result<Host> {
    let environment = Environment {
        variables: BTreeMap::new(),
        home: Some(home.path().to_owned()),
    };
    let provider = Ocir::new(environment).with_retry(RetryPolicy::without_waiting());
    let host = Host::start(Server::new(provider)).await?;
    host.configure(config).await?;
    Ok(host)
}

/// User name and password of the seeded user.
pub(super) async fn login(emulator: &Emulator) -> anyhow::Result<(String, String)> {
    let seed = emulator.seed();
    let oci = support::client::oci(emulator).await?;
    let token = oci.create_auth_token(&seed.user_id, "docker login").await?;
    let username = format!("{}/{}", seed.namespace, seed.user_name);
    Ok((username, token.token.unwrap_or_default()))
}

/// A cloud with the repository of the stories.
async fn with_repository(cloud: Cloud) -> anyhow::Result<Cloud> {
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    Ok(cloud)
}

impl Two {
    async fn start() -> anyhow::Result<Self> {
        let emulator = Emulator::builder().namespace("elsewhere").start().await?;
        let from = with_repository(Cloud::with(emulator).await?).await?;
        let digest = from.push_small("team/web", "1.0.0").await?;
        let (username, password) = login(&from.emulator).await?;
        let home = home_of(&from.emulator.authority(), &username, &password)?;
        let emulator = Emulator::builder().start().await?;
        let host = host_of(&home, arguments(&emulator)).await?;
        let to = with_repository(Cloud { emulator, host }).await?;
        from.emulator.clear_requests();
        to.emulator.clear_requests();
        Ok(Self {
            from,
            to,
            digest,
            _home: home,
        })
    }

    fn source(&self) -> String {
        let authority = self.from.emulator.authority();
        format!("docker://{authority}/elsewhere/team/web:1.0.0")
    }

    fn config(&self) -> Json {
        json!({ "source": self.source(), "repository": "team/web", "tag": "2.0.0" })
    }

    fn push(&self) -> Resource {
        self.to.host.resource("ocir_image_push")
    }

    /// Without what differs from run to run.
    fn neutral(&self, text: &str) -> String {
        let text = text
            .replace(&self.from.emulator.authority(), "SOURCE")
            .replace(&self.digest, "DIGEST");
        self.to.neutral(&text)
    }
}

/// Its digest is known while planning, at the price of one request and of no blob; the
/// apply brings it over.
#[tokio::test]
async fn from_another_registry() -> anyhow::Result<()> {
    let two = Two::start().await?;
    let mut push = two.push();
    let plan = push.plan(two.config()).await?;
    assert_eq!(plan.action, Action::Create);
    assert_eq!(plan.after["digest"], two.digest);
    let planned = plan.after.to_string();
    assert!(!planned.contains("known after apply"), "{planned}");
    assert_eq!(two.from.count("GetManifest"), 2, "one is refused first");
    assert_eq!(two.from.count("GetBlob"), 0);

    push.apply_planned(&plan).await?;
    assert_eq!(two.to.emulator.tags("team/web")["2.0.0"], two.digest);
    assert_eq!(two.from.count("GetBlob"), 3);
    assert_eq!(push.state(), plan.after);

    // What was read is known; only where the tag points is asked.
    two.from.emulator.clear_requests();
    push.expect_noop(two.config()).await?;
    expect![[r#"
        {
            "HeadManifest": 2,
        }
    "#]]
    .assert_debug_eq(&two.from.operations());
    Ok(())
}

/// By digest, a tag that moves means nothing.
#[tokio::test]
async fn by_digest() -> anyhow::Result<()> {
    let two = Two::start().await?;
    let mut config = two.config();
    let repository = two.source().replace(":1.0.0", "");
    config["source"] = json!(format!("{repository}@{}", two.digest));
    let mut push = two.push();
    push.apply(config.clone()).await?;
    let other = two.from.push_small("team/web", "other").await?;
    two.from.emulator.move_tag("team/web", "1.0.0", &other);
    push.expect_noop(config).await?;
    Ok(())
}

/// The tag moves between plan and apply: what was promised cannot be kept.
#[tokio::test]
async fn tag_that_moves() -> anyhow::Result<()> {
    let two = Two::start().await?;
    let mut push = two.push();
    let plan = push.plan(two.config()).await?;
    let other = two.from.push_small("team/web", "other").await?;
    two.from.emulator.move_tag("team/web", "1.0.0", &other);
    let problems = push.apply_planned(&plan).await.expect_err("it moved");
    let text = two.neutral(&problems.to_string()).replace(&other, "OTHER");
    expect![[r#"
        Error: Image source changed

        The plan promised DIGEST, and docker://SOURCE/elsewhere/team/web:1.0.0 now holds OTHER. Nothing was pushed. Plan again.
          with source"#]].assert_eq(&text);
    assert!(two.to.emulator.tags("team/web").is_empty());

    // Planned again, it is the other one.
    push.apply(two.config()).await?;
    assert_eq!(two.to.emulator.tags("team/web")["2.0.0"], other);

    // And when it moves once more, that is a change.
    two.from.emulator.move_tag("team/web", "1.0.0", &two.digest);
    let plan = push.plan(two.config()).await?;
    assert_eq!(plan.action, Action::Update);
    assert_eq!(plan.after["digest"], two.digest);
    Ok(())
}

/// The tag may be made by another resource of the same run.
#[tokio::test]
async fn tag_that_comes_later() -> anyhow::Result<()> {
    let two = Two::start().await?;
    let mut config = two.config();
    config["source"] = json!(two.source().replace("1.0.0", "later"));
    let mut push = two.push();
    let plan = push.plan(config.clone()).await?;
    expect![[r#"
        Warning: Image source does not exist yet

        The image docker://SOURCE/elsewhere/team/web:later cannot be read: SOURCE has no such image, or does not show it to user "elsewhere/docker@example.com" of ~/.docker/config.json. It may be made during the apply; until then the digest is not known. If it is mistyped, the apply will fail.
          with source"#]].assert_eq(&two.neutral(&plan.warnings.join("\n\n")));
    assert_eq!(plan.after["digest"], unknown());
    let problems = push
        .apply_planned(&plan)
        .await
        .expect_err("it is not there");
    expect![[r#"
        Error: Cannot read image source

        The image docker://SOURCE/elsewhere/team/web:later cannot be read: SOURCE has no such image, or does not show it to user "elsewhere/docker@example.com" of ~/.docker/config.json.

        Signed in as: user "elsewhere/docker@example.com" of ~/.docker/config.json
          with source"#]].assert_eq(&two.neutral(&problems.to_string()));

    let plan = push.plan(config).await?;
    let later = two.from.push_small("team/web", "later").await?;
    push.apply_planned(&plan).await?;
    assert_eq!(two.to.emulator.tags("team/web")["2.0.0"], later);
    Ok(())
}

/// Within the registry that is pushed to, with its own identity: nothing is sent, and
/// nothing but manifests is read.
#[tokio::test]
async fn within_the_registry() -> anyhow::Result<()> {
    let cloud = with_repository(Cloud::start().await?).await?;
    let mut api = cloud.web();
    api["display_name"] = json!("team/api");
    cloud.host.resource("ocir_repository").apply(api).await?;
    let digest = cloud.push_small("team/web", "1.0.0").await?;
    // Another run knows nothing of what this one pushed.
    let cloud = Cloud::with(cloud.emulator).await?;
    cloud.emulator.clear_requests();
    let seed = cloud.emulator.seed();
    let source = format!(
        "docker://{}/{}/team/web:1.0.0",
        cloud.emulator.authority(),
        seed.namespace
    );
    let mut push = cloud.host.resource("ocir_image_push");
    push.apply(json!({ "source": source, "repository": "team/api", "tag": "2.0.0" }))
        .await?;
    assert_eq!(cloud.emulator.tags("team/api")["2.0.0"], digest);
    expect![[r#"
        {
            "GetManifest": 1,
            "GetNamespace": 1,
            "GetRegistryToken": 1,
            "HeadBlob": 3,
            "HeadManifest": 7,
            "PostBlobUpload": 3,
            "PutManifest": 1,
        }
    "#]]
    .assert_debug_eq(&cloud.operations());
    Ok(())
}

/// Out of Oracle's registry, with the provider's own identity, into one that Docker's
/// configuration has a login for.
#[tokio::test]
async fn to_another_registry() -> anyhow::Result<()> {
    let from = with_repository(Cloud::start().await?).await?;
    let digest = from.push_small("team/web", "1.0.0").await?;
    let emulator = Emulator::builder().namespace("elsewhere").start().await?;
    let to = with_repository(Cloud::with(emulator).await?).await?;
    let (username, password) = login(&to.emulator).await?;
    let authority = to.emulator.authority();
    let home = home_of(&authority, &username, &password)?;
    let mut provider = arguments(&from.emulator);
    provider["registry"] = json!({ "host": authority, "plain_http": true });
    let host = host_of(&home, provider).await?;
    let source = format!(
        "docker://{}/{}/team/web:1.0.0",
        from.emulator.authority(),
        from.emulator.seed().namespace
    );
    let mut push = host.resource("ocir_image_push");
    let config = json!({ "source": source, "namespace": "elsewhere", "repository": "team/web", "tag": "2.0.0" });
    push.apply(config).await?;
    assert_eq!(to.emulator.tags("team/web")["2.0.0"], digest);
    Ok(())
}

/// Who may not read the image is told who was signed in where, and what to do.
#[tokio::test]
async fn nobody_is_let_in() -> anyhow::Result<()> {
    let two = Two::start().await?;
    let config = two.config();
    let authority = two.from.emulator.authority();
    let stranger = home_of("quay.io", "somebody", "hunter2")?;
    let wrong = home_of(&authority, "somebody", "hunter2")?;
    let broken = home_of(&authority, "somebody", "hunter2")?;
    let helper = json!({ "credHelpers": { authority: "missing" } });
    fs::write(
        broken.path().join(".docker/config.json"),
        helper.to_string(),
    )?;
    let mut found = Vec::new();
    for home in [&stranger, &wrong, &broken] {
        let host = host_of(home, arguments(&two.to.emulator)).await?;
        let error = host.resource("ocir_image_push").plan(config.clone()).await;
        found.push(
            two.neutral(
                &error
                    .err()
                    .map(|error| error.to_string())
                    .unwrap_or_default(),
            ),
        );
    }
    expect![[r#"
        Error: Cannot read image source

        The image docker://SOURCE/elsewhere/team/web:1.0.0 cannot be read: reading of manifest 1.0.0 at SOURCE answered 403 DENIED: Anonymous users are only allowed read access on public repos.

        Registries tell strangers little: either there is no such image, or the login that is used has no right to read it. A login is looked for where podman and Docker keep theirs. Make one, for example with:
            docker login SOURCE

        Signed in as: nobody: no configuration of Docker or podman has a login for SOURCE
          with source

        Error: Cannot read image source

        The image docker://SOURCE/elsewhere/team/web:1.0.0 cannot be read: sign-in at SOURCE answered 401 UNAUTHORIZED: Unauthorized.

        Registries tell strangers little: either there is no such image, or the login that is used has no right to read it. A login is looked for where podman and Docker keep theirs. Make one, for example with:
            docker login SOURCE

        Signed in as: user "somebody" of ~/.docker/config.json
          with source

        Error: Cannot read image source

        The image docker://SOURCE/elsewhere/team/web:1.0.0 cannot be read: ~/.docker/config.json leaves the login for SOURCE to the program docker-credential-missing, which is not found on the PATH; install it, or take it out of the file.

        Signed in as: nobody
          with source"#]].assert_eq(&found.join("\n\n"));
    Ok(())
}

/// The other registry fails while a blob is read: it is named, and nothing is tagged.
#[tokio::test]
async fn source_that_fails() -> anyhow::Result<()> {
    let two = Two::start().await?;
    let mut push = two.push();
    let plan = push.plan(two.config()).await?;
    two.from
        .emulator
        .fail_always("GetBlob", Fault::error(500, "UNKNOWN", "disk on fire"));
    let applied = push.apply_planned(&plan).await;
    let error = applied.expect_err("it fails").to_string();
    let text = two.neutral(&error);
    // Which blob it was is chance.
    let digests = text
        .split("sha256:")
        .skip(1)
        .filter_map(|rest| rest.get(..64));
    let text = digests.fold(text.clone(), |text, digest| text.replace(digest, "…"));
    expect![[r#"
        Error: Cannot push image

        docker://SOURCE/elsewhere/team/web:1.0.0 could not be pushed to repository "NAMESPACE/team/web" under tag "2.0.0". The image docker://SOURCE/elsewhere/team/web:1.0.0 cannot be read: reading of blob sha256:… at SOURCE answered 500 UNKNOWN: disk on fire.

        The registry failed, not the request. Apply again later.

        Signed in as: user "elsewhere/docker@example.com" of ~/.docker/config.json
          with source"#]].assert_eq(&text);
    assert!(two.to.emulator.tags("team/web").is_empty());
    Ok(())
}

/// A registry that is not Oracle's is signed in to with what Docker's configuration
/// says, and who that is stands in errors.
#[tokio::test]
async fn pushing_with_dockers_login() -> anyhow::Result<()> {
    let cloud = with_repository(Cloud::start().await?).await?;
    let authority = cloud.emulator.authority();
    let (username, password) = login(&cloud.emulator).await?;
    let layout = Layout::of("one")?;
    let provider = json!({ "registry": { "host": authority, "plain_http": true } });
    let namespace = &cloud.emulator.seed().namespace;
    let config = json!({ "source": layout.source(), "namespace": namespace, "repository": "team/web", "tag": "1.0.0" });

    let home = home_of(&authority, &username, &password)?;
    let host = host_of(&home, provider.clone()).await?;
    let mut push = host.resource("ocir_image_push");
    push.apply(config.clone()).await?;
    assert_eq!(cloud.emulator.tags("team/web").len(), 1);
    push.expect_noop(config.clone()).await?;

    let mut found = Vec::new();
    let stranger = home_of("quay.io", "somebody", "hunter2")?;
    let wrong = home_of(&authority, "somebody", "hunter2")?;
    let broken = home_of(&authority, "somebody", "hunter2")?;
    fs::write(broken.path().join(".docker/config.json"), "hunter2")?;
    for home in [&wrong, &stranger, &broken] {
        let host = host_of(home, provider.clone()).await?;
        let applied = host.resource("ocir_image_push").apply(config.clone()).await;
        let error = applied.expect_err("nobody is let in").to_string();
        found.push(cloud.neutral(&error).replace(&layout.source(), "LAYOUT"));
    }
    let text = found.join("\n\n");
    assert!(!text.contains("hunter2"), "{text}");
    expect![[r#"
        Error: Cannot push image

        LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Sign-in at HOST was answered 401 UNAUTHORIZED: Unauthorized.

        HOST does not accept the login that the configuration of Docker or podman has for it. Sign in again, for example with:
            docker login HOST

        Signed in as: user "somebody" of ~/.docker/config.json
        Request id: ID

        Error: Cannot push image

        LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Reading of manifest 1.0.0 at HOST was answered 403 DENIED: Anonymous users are only allowed read access on public repos.

        The provider's own identity means nothing to HOST. Set "username" and "password" in the provider's argument "registry", or sign in with Docker, whose configuration is read:
            docker login HOST

        Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it
        Request id: ID

        Error: Cannot read Docker's configuration

        ~/.docker/config.json is no configuration of Docker or podman: it is not the JSON that belongs there, at line 1 column 1."#]].assert_eq(&text);

    // What the configuration says goes before Docker's.
    let mut explicit = provider;
    explicit["registry"]["username"] = json!(username);
    explicit["registry"]["password"] = json!(password);
    let host = host_of(&broken, explicit).await?;
    host.resource("ocir_image_push").apply(config).await?;
    Ok(())
}

/// podman's configuration may have a login for one repository, or for a folder of
/// them, beside another one for the registry: each push uses the nearest, as it does
/// for an image that is read.
#[tokio::test]
async fn logins_of_single_repositories() -> anyhow::Result<()> {
    let cloud = with_repository(Cloud::start().await?).await?;
    let mut config = cloud.web();
    config["display_name"] = json!("other/web");
    cloud.host.resource("ocir_repository").apply(config).await?;
    let authority = cloud.emulator.authority();
    let namespace = &cloud.emulator.seed().namespace;
    let (username, password) = login(&cloud.emulator).await?;
    let auth = |username: &str, password: &str| json!({ "auth": STANDARD.encode(format!("{username}:{password}")) });
    // The names of both users are the same: what counts is with what they sign in.
    let auths = json!({ "auths": {
        &authority: auth(&username, "hunter2"),
        format!("{authority}/{namespace}/team"): auth(&username, &password),
    } });
    let home = home_of(&authority, "", "")?;
    fs::write(home.path().join(".docker/config.json"), auths.to_string())?;
    let provider = json!({ "registry": { "host": authority, "plain_http": true } });
    let host = host_of(&home, provider).await?;
    let layout = Layout::of("one")?;
    let config = json!({ "source": layout.source(), "namespace": namespace, "repository": "team/web", "tag": "1.0.0" });
    let mut push = host.resource("ocir_image_push");
    push.apply(config.clone()).await?;
    push.expect_noop(config.clone()).await?;
    assert_eq!(cloud.emulator.tags("team/web").len(), 1);

    let mut elsewhere = config;
    elsewhere["repository"] = json!("other/web");
    let mut other = host.resource("ocir_image_push");
    let refused = other.apply(elsewhere).await.expect_err("a wrong password");
    let text = refused.to_string();
    assert!(text.contains("Sign-in at"), "{text}");
    assert!(text.contains("Signed in as: user"), "{text}");
    push.destroy().await?;
    Ok(())
}
