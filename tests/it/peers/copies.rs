//! Copies from one registry to another, with logins that other programs wrote down.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use ocir::{
    image::{Image, LoadOptions, Loader, Source},
    registry::{Client, Config, Credentials, DockerConfig, Pull, speaks_plain_http},
    transport::{Options, RetryPolicy, http_client},
};
use tokio_util::sync::CancellationToken;

use super::{
    Registry,
    docker_registry::{DockerRegistry, PASSWORD, USERNAME},
    images,
    programs::{Workshop, present},
    pull,
    pulled::Pulled,
    push,
    token_server::TokenServer,
};

/// Loads an image of a registry as somebody who used `skopeo login` in the workshop.
async fn load_with_login(
    registry: &DockerRegistry,
    workshop: &Workshop,
    path: &str,
) -> anyhow::Result<Image> {
    let source = Source::parse(&format!("docker://{}/{path}:v1", registry.authority()))?;
    let Source::Registry { reference } = &source else {
        bail!("{source} is not in a registry");
    };
    let file = workshop.path().join("auth.json").display().to_string();
    let variables = BTreeMap::from([("REGISTRY_AUTH_FILE".to_owned(), file)]);
    let config = DockerConfig::from_environment(&variables, None);
    let stop = CancellationToken::new();
    let login = config.login(reference.host(), reference.repository(), &stop);
    let login = login.await?;
    let identity = login.as_ref().map(|login| login.identity.clone());
    let http = http_client(&Options {
        ca_certificates: registry.ca_certificate().map(|pem| pem.as_bytes().to_vec()),
        ..Options::default()
    })?;
    let client = Client::new(Config {
        plain_http: speaks_plain_http(&http, reference.host()).await,
        http,
        host: reference.host().to_owned(),
        credentials: login.map_or(Credentials::Anonymous, |login| login.credentials),
        max_concurrent_uploads: 1,
        retry: RetryPolicy::without_waiting(),
    });
    let options = LoadOptions {
        remote: Some(Arc::new(Pull::new(
            client,
            reference.clone(),
            identity.unwrap_or_default(),
        ))),
        ..LoadOptions::default()
    };
    let load = move || Loader::default().load_with(&source, &options, &stop);
    Ok(tokio::task::spawn_blocking(load).await??)
}

/// What skopeo pushed to one registry arrives in another as it was: from and to all that
/// docker-registry can be, with the login that skopeo wrote down.
#[tokio::test(flavor = "multi_thread")]
async fn copies_arrive() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo", "umoci", "buildah"]) {
        return Ok(());
    }
    let server = TokenServer::start().await?;
    let registries = [
        DockerRegistry::builder().start()?,
        DockerRegistry::builder().login().tls().start()?,
        DockerRegistry::builder().tokens(&server).start()?,
    ];
    let workshop = Workshop::new()?;
    let made = images::make(&workshop)?;
    for registry in &registries[1..] {
        // It may have to speak TLS with a certificate that nobody knows.
        workshop.run(&format!(
            "skopeo login --tls-verify=false --username {USERNAME} --password {PASSWORD} {}",
            registry.authority()
        ))?;
    }
    for (number, from) in registries.iter().enumerate() {
        let to = &registries[(number + 1) % registries.len()];
        for made in &made {
            let images::Origin::Layout(folder, tag) = made.origin else {
                continue;
            };
            let path = format!("peers/{}", made.name);
            let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
            workshop.run(&format!(
                "skopeo copy -q --all --preserve-digests {} oci:{folder}{tag} docker://{}/{path}:v1",
                from.skopeo("dest-"),
                from.authority()
            ))?;
            let theirs = pull(from, &workshop, &path, "v1")?;
            let image = load_with_login(from, &workshop, &path)
                .await
                .context(made.name)?;
            let copy = format!("copies/{}-{number}", made.name);
            let pushed = push(&to.client()?, &copy, "v1", &image).await?;
            ensure!(
                pushed.uploaded == (image.blobs.len(), image.total_size()),
                "{pushed:?}"
            );
            is_a_copy(&theirs, &pull(to, &workshop, &copy, "v1")?)?;

            // And within the registry nothing is sent.
            let again = load_with_login(to, &workshop, &copy).await?;
            let copy = format!("{copy}-again");
            let mounted = push(&to.client()?, &copy, "v1", &again).await?;
            ensure!(
                mounted.mounted == (image.blobs.len(), image.total_size()),
                "{mounted:?}"
            );
            is_a_copy(&theirs, &pull(to, &workshop, &copy, "v1")?)?;
        }
    }
    Ok(())
}

/// Byte for byte: skopeo checked that all of it has the digests that it should.
fn is_a_copy(theirs: &Pulled, ours: &Pulled) -> anyhow::Result<()> {
    ensure!(
        theirs.root()? == ours.root()?,
        "the manifest is another one"
    );
    ensure!(theirs.blobs()? == ours.blobs()?, "the blobs are others");
    Ok(())
}

/// Without the login that is needed, or with a wrong one, the registry's words are shown.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in() -> anyhow::Result<()> {
    if !present(&["docker-registry", "skopeo"]) {
        return Ok(());
    }
    let server = TokenServer::start().await?;
    for registry in [
        DockerRegistry::builder().login().start()?,
        DockerRegistry::builder().tokens(&server).start()?,
    ] {
        let workshop = Workshop::new()?;
        let error = load_with_login(&registry, &workshop, "peers/none").await;
        let error = format!("{:#}", error.err().context("nobody was let in")?);
        ensure!(error.contains(" 401 "), "{error}");
        workshop.run(&format!(
            "skopeo login --tls-verify=false --username {USERNAME} --password {PASSWORD} {}",
            registry.authority()
        ))?;
        let error = load_with_login(&registry, &workshop, "peers/none").await;
        let error = format!("{:#}", error.err().context("there is none")?);
        ensure!(
            error.contains("has no such image, or does not show it to user \"peer\" of"),
            "{error}"
        );
    }
    Ok(())
}
