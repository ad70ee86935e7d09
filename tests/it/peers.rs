//! Other people's software: images that we did not make, registries that we did
//! not write, and a puller that checks what it gets.
//!
//! `make test-peers` installs the programs and sets `OCIR_TEST_PEERS`; without
//! it these tests say so and pass.

mod copies;
mod docker_registry;
mod emulator;
pub mod images;
mod podman;
pub mod programs;
mod pulled;
mod token_server;

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, ensure};
use ocir::{
    image::{Image, Loader, Source},
    registry::{Client, Credentials, Push, Pushed},
};
use tokio_util::sync::CancellationToken;

use self::{
    docker_registry::DockerRegistry,
    emulator::Oracle,
    images::Made,
    programs::{Workshop, present},
    pulled::{Pulled, sha256},
};
use crate::support::cli::Workspace;

/// A registry, as these tests see it.
trait Registry {
    /// Host and port.
    fn authority(&self) -> String;
    /// A client of ours that has not yet learned anything.
    fn client(&self) -> anyhow::Result<Client>;
    /// Makes a repository where that has to be done, and gives its path.
    async fn repository(&self, name: &str) -> anyhow::Result<String>;
    /// skopeo's options to get in; `side` is empty, `src-` or `dest-`.
    fn skopeo(&self, side: &str) -> String;
    /// All requests to a repository so far, but those that only look.
    fn changes(&self, repository: &str) -> anyhow::Result<Vec<String>>;
}

// These tests wait for programs without giving way, so emulator and uploads
// need threads of their own: `multi_thread`.

/// Everything that umoci, buildah and skopeo make arrives in docker-registry
/// as it was, and is sent once.
#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_gets_what_others_made() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci", "buildah"]) {
        return Ok(());
    }
    all_arrive(&DockerRegistry::builder().start()?).await
}

/// The same with the emulator, which was written after the same documents as
/// the client, and by the same people.
#[tokio::test(flavor = "multi_thread")]
async fn emulator_gets_what_others_made() -> anyhow::Result<()> {
    if !present(&["skopeo", "umoci", "buildah"]) {
        return Ok(());
    }
    all_arrive(&Oracle::start().await?).await
}

async fn all_arrive(registry: &impl Registry) -> anyhow::Result<()> {
    let workshop = Workshop::new()?;
    for made in images::make(&workshop)? {
        arrives(registry, &workshop, &made)
            .await
            .with_context(|| made.name)?;
    }
    Ok(())
}

/// An image is what it was when skopeo pulls it, and is not sent twice.
async fn arrives(registry: &impl Registry, workshop: &Workshop, made: &Made) -> anyhow::Result<()> {
    let image = load(&made.source(workshop))?;
    let path = registry.repository(made.name).await?;
    let client = registry.client()?;
    let first = push(&client, &path, "v1", &image).await?;

    let pulled = pull(registry, workshop, &path, "v1")?;
    pulled.compare(made, workshop)?;
    let digest = sha256(&pulled.root()?);
    assert_eq!(first.digest.as_str(), digest);
    assert_eq!(image.root().digest.as_str(), digest);
    let blobs: BTreeSet<String> = image
        .blobs
        .iter()
        .map(|blob| blob.digest.to_string())
        .collect();
    assert_eq!(blobs, pulled.blobs()?);
    let all = (image.blobs.len(), image.total_size());
    assert_eq!(first.uploaded, all);

    // Pushed again by somebody who remembers nothing.
    let before = registry.changes(&path)?;
    assert_eq!(
        before
            .iter()
            .filter(|it| it.starts_with("PUT ") && it.contains("/blobs/"))
            .count(),
        all.0
    );
    assert_eq!(
        before
            .iter()
            .filter(|it| it.starts_with("PUT ") && it.contains("/manifests/"))
            .count(),
        image.manifests.len()
    );
    let client = registry.client()?;
    let again = push(&client, &path, "v1", &image).await?;
    assert_eq!((again.uploaded, again.existing), ((0, 0), all));
    assert_eq!(registry.changes(&path)?, before);

    // Under another tag, and in another repository, no blob is sent either.
    let other_tag = push(&client, &path, "v2", &image).await?;
    assert_eq!((other_tag.uploaded, other_tag.existing), ((0, 0), all));
    let other_path = registry.repository(&format!("{}-again", made.name)).await?;
    let mounted = push(&client, &other_path, "v1", &image).await?;
    assert_eq!((mounted.uploaded, mounted.mounted), ((0, 0), all));
    let sent =
        |it: &String| it.starts_with("PATCH ") || it.starts_with("PUT ") && it.contains("/blobs/");
    assert!(!registry.changes(&other_path)?.iter().any(sent));
    pull(registry, workshop, &other_path, "v1")?.compare(made, workshop)?;

    let mut tags = client
        .tags(&path)
        .await?
        .context("the repository is not there")?;
    tags.sort();
    assert_eq!(tags, ["v1", "v2"]);
    Ok(())
}

/// What skopeo pushed is the same image for us, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn skopeo_and_we_push_the_same() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci"]) {
        return Ok(());
    }
    let (docker, oracle) = (DockerRegistry::builder().start()?, Oracle::start().await?);
    skopeo_and_we_agree(&docker)
        .await
        .context("docker-registry")?;
    skopeo_and_we_agree(&oracle).await.context("emulator")
}

async fn skopeo_and_we_agree(registry: &impl Registry) -> anyhow::Result<()> {
    let workshop = Workshop::new()?;
    images::write_files(&workshop.path().join("files"))?;
    for made in images::by_umoci(&workshop)? {
        let image = load(&made.source(&workshop))?;
        let all = (image.blobs.len(), image.total_size());

        let theirs = registry
            .repository(&format!("{}-theirs", made.name))
            .await?;
        copy_to(registry, &workshop, &made, &theirs)?;
        let before = registry.changes(&theirs)?;
        let ours = push(&registry.client()?, &theirs, "v1", &image).await?;
        assert_eq!(ours.existing, all);
        assert_eq!(registry.changes(&theirs)?, before);

        let ours = registry.repository(&format!("{}-ours", made.name)).await?;
        push(&registry.client()?, &ours, "v1", &image).await?;
        let before = registry.changes(&ours)?;
        copy_to(registry, &workshop, &made, &ours)?;
        let after = registry.changes(&ours)?;
        ensure!(
            after[before.len()..]
                .iter()
                .all(|it| !it.contains("/blobs/")),
            "skopeo sent a blob again: {after:?}"
        );
        pull(registry, &workshop, &ours, "v1")?.compare(&made, &workshop)?;
    }
    Ok(())
}

/// With a password. A wrong one and none are refused in the registry's own words;
/// who it was that signed in, the provider adds.
#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_asks_for_a_password() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci"]) {
        return Ok(());
    }
    let registry = DockerRegistry::builder().login().start()?;
    let (workshop, made) = one_image()?;
    arrives(&registry, &workshop, &made).await?;

    let image = load(&made.source(&workshop))?;
    let wrong = Credentials::Basic {
        username: docker_registry::USERNAME.into(),
        password: "wrong-horse".into(),
    };
    let mut found = String::new();
    for credentials in [wrong, Credentials::Anonymous] {
        let client = registry.client_with(credentials, None)?;
        found += &refusal(&registry, &client, &image).await?;
    }
    expect_test::expect![[r#"
        reading of manifest v1 at REGISTRY answered 401 UNAUTHORIZED: authentication required
        reading of manifest v1 at REGISTRY answered 401 UNAUTHORIZED: authentication required
    "#]]
    .assert_eq(&found);
    Ok(())
}

/// Over TLS, with an authority that has to be made known, and addresses in
/// answers that have no host in them.
#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_speaks_tls() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci"]) {
        return Ok(());
    }
    let registry = DockerRegistry::builder()
        .tls()
        .relative_urls()
        .login()
        .start()?;
    let (workshop, made) = one_image()?;
    arrives(&registry, &workshop, &made).await?;

    let image = load(&made.source(&workshop))?;
    let stranger = registry.client_with(Credentials::Anonymous, None)?;
    let found = refusal(&registry, &stranger, &image).await?;
    expect_test::expect![[r#"
        check of manifest v1 got no answer from REGISTRY: error sending request: client error (Connect): invalid peer certificate: UnknownIssuer
    "#]].assert_eq(&found);
    Ok(())
}

/// One upload under several tags, each of which others pull. One more tag is one
/// more manifest, and a tag that is to stay where it is stays.
#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_keeps_many_tags() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci"]) {
        return Ok(());
    }
    let registry = DockerRegistry::builder().start()?;
    let (workshop, made) = one_image()?;
    let image = load(&made.source(&workshop))?;
    let client = registry.client()?;
    let first = ["stable".to_owned(), "1".to_owned()];
    let all = Push {
        additional_tags: &first,
        ..Push::new("peers/tags", "v1", &image)
    };
    client.push(&all).await?;
    let more = Push {
        expected: true,
        ..Push::new("peers/tags", "v2", &image)
    };
    let pushed = client.push(&more).await?;
    ensure!(pushed.uploaded.0 + pushed.mounted.0 == 0, "{pushed:?}");
    for tag in ["v1", "v2", "stable", "1"] {
        let pulled = pull(&registry, &workshop, "peers/tags", tag)?;
        ensure!(pulled.root()? == image.root().bytes, "{tag}");
    }

    let other = Workshop::new()?;
    images::write_files(&other.path().join("files"))?;
    fs::write(other.path().join("files/new"), "of another image")?;
    let other_made = images::by_umoci(&other)?.swap_remove(0);
    let other_image = load(&other_made.source(&other))?;
    ensure!(other_image.root().digest != image.root().digest);
    let nowhere = std::collections::BTreeMap::new();
    let protected = Push {
        movable: Some(&nowhere),
        ..Push::new("peers/tags", "stable", &other_image)
    };
    let refused = client.push(&protected).await;
    ensure!(
        matches!(refused, Err(ocir::registry::Error::TagElsewhere { .. })),
        "{refused:?}"
    );
    let pulled = pull(&registry, &workshop, "peers/tags", "stable")?;
    ensure!(pulled.root()? == image.root().bytes);
    Ok(())
}

/// What we compressed, in several members, is unpacked by others to the files
/// that it was made of.
#[tokio::test(flavor = "multi_thread")]
async fn others_unpack_what_we_compressed() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci", "buildah"]) {
        return Ok(());
    }
    let registry = DockerRegistry::builder().start()?;
    let workshop = Workshop::new()?;
    for made in images::make(&workshop)? {
        if !["skopeo-archive", "skopeo-plain"].contains(&made.name) {
            continue;
        }
        let image = load(&made.source(&workshop))?;
        let path = registry.repository(made.name).await?;
        push(&registry.client()?, &path, "v1", &image).await?;

        let (name, reference) = (
            made.name,
            format!("docker://{}/{path}:v1", registry.authority()),
        );
        let options = registry.skopeo("src-");
        workshop.run(&format!(
            "skopeo copy -q {options} {reference} oci:{name}-pulled:v1"
        ))?;
        workshop.run(&format!(
            "umoci unpack --rootless --image {name}-pulled:v1 {name}-bundle"
        ))?;
        let root = workshop.path().join(format!("{name}-bundle/rootfs"));
        let original = workshop.path().join("files/app/program");
        for program in ["app/program", "app/same-program"] {
            ensure!(
                fs::read(root.join(program))? == fs::read(&original)?,
                "{name}: {program}"
            );
        }
        assert_eq!(fs::read_to_string(root.join("etc/hello"))?, "changed\n");
        assert_eq!(fs::read_to_string(root.join("etc/link"))?, "changed\n");
        assert_eq!(
            fs::read_to_string(root.join("etc/olá, mundo"))?,
            "Umlaute: äöü\n"
        );
        assert!(!root.join("etc/empty").exists());

        // buildah checks every layer against the configuration while it unpacks it.
        let id = workshop.run(&format!("buildah pull -q --tls-verify=false {reference}"))?;
        let expected = image.image_id().context("it is no index")?.as_str();
        assert_eq!(format!("sha256:{id}"), expected);
    }
    Ok(())
}

/// Deleting an image deletes it, and what is not there is not there.
#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_deletes() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci"]) {
        return Ok(());
    }
    let registry = DockerRegistry::builder().start()?;
    let (workshop, made) = one_image()?;
    let image = load(&made.source(&workshop))?;
    let path = registry.repository(made.name).await?;
    let client = registry.client()?;
    assert_eq!(client.tags(&path).await?, None);
    assert_eq!(client.head_manifest(&path, "v1").await?, None);

    push(&client, &path, "v1", &image).await?;
    let digest = &image.root().digest;
    let head = client
        .head_manifest(&path, "v1")
        .await?
        .context("it is there")?;
    assert_eq!(
        (&head.digest, &head.media_type, head.size),
        (
            digest,
            &image.root().media_type,
            image.root().bytes.len() as u64
        )
    );
    let content = client
        .get_manifest(&path, "v1")
        .await?
        .context("it is there")?;
    assert_eq!(content.bytes, image.root().bytes);

    client.delete_manifest(&path, digest).await?;
    assert_eq!(client.head_manifest(&path, "v1").await?, None);
    let reference = format!("docker://{}/{path}:v1", registry.authority());
    let error = workshop.run_badly(&format!(
        "skopeo inspect --raw {} {reference}",
        registry.skopeo("")
    ))?;
    ensure!(error.contains("manifest unknown"), "{error}");
    client.delete_manifest(&path, digest).await?;

    // The blobs have outlived it, and are not sent again.
    let again = push(&client, &path, "v1", &image).await?;
    assert_eq!(again.uploaded, (0, 0));
    pull(&registry, &workshop, &path, "v1")?.compare(&made, &workshop)
}

/// The whole way, from a configuration: images of others are pushed by the
/// provider that a CLI started, skopeo moves and deletes tags behind its back,
/// and each time the next plan says so and the next apply repairs it.
#[tokio::test(flavor = "multi_thread")]
async fn terraform_pushes_to_docker_registry() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci", "buildah"]) {
        return Ok(());
    }
    let Some(workspace) = Workspace::new("")? else {
        return Ok(());
    };
    let registry = DockerRegistry::builder().login().start()?;
    let workshop = Workshop::new()?;
    let all = images::make(&workshop)?;
    let settings = format!(
        "plain_http = true\nusername = \"{}\"\npassword = \"{}\"",
        docker_registry::USERNAME,
        docker_registry::PASSWORD,
    );
    let configuration = configuration(&registry, &settings, &workshop, &all);
    workspace.write("main.tf", &configuration)?;
    workspace.init().await?;
    let plan = ["plan", "-input=false", "-detailed-exitcode"];
    let apply = ["apply", "-input=false", "-auto-approve"];

    let text = workspace.run(&plan).await?.ended_with(2);
    ensure!(
        text.contains(&format!(
            "Plan: {} to add, 0 to change, 0 to destroy.",
            all.len()
        )),
        "{text}"
    );
    workspace.run(&apply).await?.succeeded();
    workspace.run(&plan).await?.ended_with(0);
    let state = workspace.state()?;
    let resources = state["resources"]
        .as_array()
        .context("the state has no resources")?;
    assert_eq!(resources.len(), all.len());
    for made in &all {
        let path = format!("peers/{}", made.name);
        // The plan showed the digest, and the registry has what it names.
        let state = resources
            .iter()
            .find(|resource| resource["name"] == made.name)
            .with_context(|| format!("{} is not in the state", made.name))?;
        let attributes = &state["instances"][0]["attributes"];
        let digest = attributes["digest"].as_str().context("no digest")?;
        ensure!(
            text.contains(&format!("= \"{digest}\"")),
            "{digest} was not planned:\n{text}"
        );
        let pulled = pull(&registry, &workshop, &path, "v1")?;
        pulled.compare(made, &workshop).with_context(|| made.name)?;
        assert_eq!(sha256(&pulled.root()?), digest);
        let reference = format!("{}/{path}@{digest}", registry.authority());
        assert_eq!(attributes["digest_reference"], reference);
    }

    // Somebody puts another image under a tag, and somebody deletes one.
    let (moved, deleted) = (&all[0], &all[1]);
    copy_to(
        &registry,
        &workshop,
        deleted,
        &format!("peers/{}", moved.name),
    )?;
    let reference =
        |made: &Made| format!("docker://{}/peers/{}:v1", registry.authority(), made.name);
    workshop.run(&format!(
        "skopeo delete {} {}",
        registry.skopeo(""),
        reference(deleted)
    ))?;
    let text = workspace.run(&plan).await?.ended_with(2);
    ensure!(
        text.contains("Plan: 1 to add, 1 to change, 0 to destroy."),
        "{text}"
    );
    workspace.run(&apply).await?.succeeded();
    workspace.run(&plan).await?.ended_with(0);
    for made in [moved, deleted] {
        let path = format!("peers/{}", made.name);
        pull(&registry, &workshop, &path, "v1")?.compare(made, &workshop)?;
    }

    workspace
        .run(&["destroy", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    for made in &all {
        let inspect = format!(
            "skopeo inspect --raw {} {}",
            registry.skopeo(""),
            reference(made)
        );
        let error = workshop.run_badly(&inspect)?;
        ensure!(error.contains("manifest unknown"), "{}: {error}", made.name);
    }
    Ok(())
}

/// A registry's certificate and login come from the provider's arguments; a
/// wrong password is a diagnostic that says whose it was.
#[tokio::test(flavor = "multi_thread")]
async fn terraform_signs_in_over_tls() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci"]) {
        return Ok(());
    }
    let Some(workspace) = Workspace::new("")? else {
        return Ok(());
    };
    let registry = DockerRegistry::builder().tls().login().start()?;
    let (workshop, made) = one_image()?;
    let images = [made];
    let settings = |password: &str| {
        format!(
            "username = \"{}\"\npassword = \"{password}\"\nca_certificate = <<-PEM\n{}PEM\n",
            docker_registry::USERNAME,
            registry.ca_certificate().unwrap_or_default(),
        )
    };
    let wrong = configuration(&registry, &settings("wrong-horse"), &workshop, &images);
    workspace.write("main.tf", &wrong)?;
    workspace.init().await?;
    let apply = ["apply", "-input=false", "-auto-approve"];
    let errors = workspace.run(&apply).await?.errors();
    // Without the place in the file, and without line breaks: where they are
    // depends on how long a temporary folder's name is.
    let errors: Vec<String> = errors
        .split("\n\n")
        .filter(|paragraph| !paragraph.contains("main.tf"))
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    let errors = errors
        .join("\n")
        .replace(&registry.authority(), "REGISTRY")
        .replace(&workshop.path().display().to_string(), "WORKSHOP");
    expect_test::expect![[r#"
        Error: Cannot push image
        oci:WORKSHOP/umoci-layers:all could not be pushed to repository "peers/umoci-layers" under tag "v1". Reading of manifest v1 at REGISTRY was answered 401 UNAUTHORIZED: authentication required.
        REGISTRY does not accept the user name and password that are set in the provider's argument "registry" or in OCI_REGISTRY_USERNAME and OCI_REGISTRY_PASSWORD. At Oracle's registry they are NAMESPACE/USER and an auth token, which works some minutes after it was made.
        Signed in as: user "peer" of the registry"#]]
    .assert_eq(&errors);

    let right = configuration(
        &registry,
        &settings(docker_registry::PASSWORD),
        &workshop,
        &images,
    );
    workspace.write("main.tf", &right)?;
    workspace.run(&apply).await?.succeeded();
    let [made] = &images;
    pull(&registry, &workshop, &format!("peers/{}", made.name), "v1")?.compare(made, &workshop)
}

/// A configuration that pushes images, each to a repository of its own.
fn configuration(
    registry: &DockerRegistry,
    settings: &str,
    workshop: &Workshop,
    images: &[Made],
) -> String {
    let mut text = format!(
        r#"
        terraform {{
          required_providers {{
            ocir = {{ source = "motando/ocir" }}
          }}
        }}
        provider "ocir" {{
          registry = {{
            host = "{}"
            {settings}
          }}
        }}
        "#,
        registry.authority(),
    );
    for made in images {
        text += &format!(
            r#"
            resource "ocir_image_push" "{0}" {{
              source     = "{1}"
              namespace  = "peers"
              repository = "{0}"
              tag        = "v1"
              on_destroy = "delete"
            }}
            "#,
            made.name,
            made.source(workshop),
        );
    }
    text
}

/// A workshop with the image that has a little of everything.
fn one_image() -> anyhow::Result<(Workshop, Made)> {
    let workshop = Workshop::new()?;
    images::write_files(&workshop.path().join("files"))?;
    let made = images::by_umoci(&workshop)?.swap_remove(0);
    Ok((workshop, made))
}

fn load(source: &str) -> anyhow::Result<Image> {
    let source = Source::parse(source)?;
    Ok(Loader::default().load(&source, &CancellationToken::new())?)
}

async fn push(
    client: &Client,
    repository: &str,
    tag: &str,
    image: &Image,
) -> anyhow::Result<Pushed> {
    let push = Push::new(repository, tag, image);
    let pushed = client.push(&push).await?;
    ensure!(
        pushed.warnings.is_empty(),
        "the registry warns: {:?}",
        pushed.warnings
    );
    Ok(pushed)
}

/// Why a push is refused, with everything below it.
async fn refusal(
    registry: &DockerRegistry,
    client: &Client,
    image: &Image,
) -> anyhow::Result<String> {
    match push(client, "peers/refused", "v1", image).await {
        Ok(_) => anyhow::bail!("the push was not refused"),
        Err(error) => Ok(format!("{error:#}\n").replace(&registry.authority(), "REGISTRY")),
    }
}

/// Pulls with skopeo, which checks digests, and once more the manifest alone.
fn pull(
    registry: &impl Registry,
    workshop: &Workshop,
    path: &str,
    tag: &str,
) -> anyhow::Result<Pulled> {
    let reference = format!("docker://{}/{path}:{tag}", registry.authority());
    let folder = format!("pulled/{path}/{tag}");
    let parent = workshop.path().join(&folder);
    if parent.exists() {
        fs::remove_dir_all(&parent)?;
    }
    fs::create_dir_all(parent)?;
    let options = registry.skopeo("src-");
    workshop.run(&format!(
        "skopeo copy -q --all --preserve-digests {options} {reference} dir:{folder}"
    ))?;
    let pulled = Pulled::new(workshop.path().join(folder));
    let options = registry.skopeo("");
    let raw = workshop.run(&format!("skopeo inspect --raw {options} {reference}"))?;
    ensure!(
        raw.as_bytes() == pulled.root()?.trim_ascii(),
        "skopeo reads two manifests"
    );
    Ok(pulled)
}

/// Pushes with skopeo.
fn copy_to(
    registry: &impl Registry,
    workshop: &Workshop,
    made: &Made,
    path: &str,
) -> anyhow::Result<()> {
    let images::Origin::Layout(folder, tag) = made.origin else {
        anyhow::bail!("{} is no layout", made.name);
    };
    let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
    let options = registry.skopeo("dest-");
    let reference = format!("docker://{}/{path}:v1", registry.authority());
    workshop.run(&format!(
        "skopeo copy -q --preserve-digests {options} oci:{folder}{tag} {reference}"
    ))?;
    Ok(())
}
