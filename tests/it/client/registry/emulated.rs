//! The registry client against the emulator, which has OCIR's habits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use expect_test::expect;
use futures_util::future::BoxFuture;
use ocir::{
    emulator::{Builder, Emulator, Fault},
    image::{Digest, Image},
    oci::{self, CreateContainerRepository},
    registry::{Client, Config, Credentials, Error, Push, Pushed, Token, TokenSource},
    transport::{Options, RetryPolicy, http_client},
};

use super::{expiry::slow, image, layer, shorten, web};
use crate::support;

/// The control plane's client, signing with a key of the test's choice.
async fn control_plane(emulator: &Emulator, private_key: &str) -> anyhow::Result<oci::Client> {
    support::client::oci_with(emulator, &emulator.url(), private_key, &Options::default()).await
}

fn registry(emulator: &Emulator, credentials: Credentials) -> anyhow::Result<Client> {
    Ok(Client::new(Config {
        http: http_client(&Options::default())?,
        host: emulator.authority(),
        plain_http: true,
        credentials,
        max_concurrent_uploads: 4,
        retry: RetryPolicy::without_waiting(),
    }))
}

/// The provider's own identity, exchanged for a registry token.
struct Signed {
    oci: oci::Client,
    base: String,
}

impl TokenSource for Signed {
    fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async {
            let token = self.oci.get_registry_token(&self.base).await?;
            Ok(Token {
                token: token.token,
                expires_at: Instant::now() + token.expires_in,
            })
        })
    }
}

async fn signed(emulator: &Emulator) -> anyhow::Result<Credentials> {
    Ok(Credentials::Token(Arc::new(Signed {
        oci: control_plane(emulator, &emulator.seed().private_key_pem).await?,
        base: emulator.url(),
    })))
}

/// An emulator with the repositories `web` and `api`, and a client of it.
async fn ready() -> anyhow::Result<(Emulator, Client)> {
    ready_with(Emulator::builder()).await
}

async fn ready_with(builder: Builder) -> anyhow::Result<(Emulator, Client)> {
    let emulator = builder.start().await?;
    let oci = control_plane(&emulator, &emulator.seed().private_key_pem).await?;
    for name in ["web", "api"] {
        oci.create_container_repository(&CreateContainerRepository {
            compartment_id: emulator.seed().apps_compartment_id.clone(),
            display_name: name.into(),
            ..CreateContainerRepository::default()
        })
        .await?;
    }
    let client = registry(&emulator, signed(&emulator).await?)?;
    emulator.clear_requests();
    Ok((emulator, client))
}

async fn push(
    emulator: &Emulator,
    client: &Client,
    repository: &str,
    image: &Image,
) -> Result<Pushed, Error> {
    let repository = format!("{}/{repository}", emulator.seed().namespace);
    let push = Push::new(&repository, "1.0", image);
    client.push(&push).await
}

fn count(emulator: &Emulator, operation: &str) -> usize {
    let requests = emulator.requests();
    requests
        .iter()
        .filter(|request| request.operation == operation)
        .count()
}

/// An image is pushed with the provider's own identity, mounted into a second
/// repository, seen by the control plane, and deleted.
#[tokio::test]
async fn an_image_from_push_to_deletion() -> anyhow::Result<()> {
    let (emulator, client) = ready().await?;
    let image = web();
    let pushed = push(&emulator, &client, "web", &image).await?;
    assert_eq!(pushed.uploaded.0, 3);
    let digest = image.root().digest.clone();
    assert_eq!(emulator.tags("web")["1.0"], digest.to_string());
    assert_eq!(count(&emulator, "GetRegistryToken"), 1);

    let mounted = push(&emulator, &client, "api", &image).await?;
    assert_eq!((mounted.uploaded.0, mounted.mounted.0), (0, 3));
    assert_eq!(emulator.tags("api")["1.0"], digest.to_string());

    emulator.clear_requests();
    push(&emulator, &client, "web", &image).await?;
    let operations: Vec<String> = emulator
        .requests()
        .into_iter()
        .map(|request| request.operation)
        .collect();
    assert_eq!(operations, ["HeadManifest"]);

    let repository = format!("{}/web", emulator.seed().namespace);
    assert_eq!(client.tags(&repository).await?.unwrap(), ["1.0"]);
    let content = client.get_manifest(&repository, "1.0").await?.unwrap();
    assert_eq!(content.bytes, image.root().bytes);
    client.delete_manifest(&repository, &digest).await?;
    assert!(emulator.tags("web").is_empty());
    assert_eq!(client.head_manifest(&repository, "1.0").await?, None);
    // The scope `delete` would have been refused.
    client.delete_manifest(&repository, &digest).await?;
    Ok(())
}

/// A user name with an auth token works as well, by way of the token endpoint.
#[tokio::test]
async fn an_auth_token_signs_in() -> anyhow::Result<()> {
    let (emulator, _) = ready().await?;
    let seed = emulator.seed();
    let oci = control_plane(&emulator, &seed.private_key_pem).await?;
    let token = oci.create_auth_token(&seed.user_id, "push").await?;
    let login = |password: String| Credentials::Basic {
        username: format!("{}/{}", seed.namespace, seed.user_name),
        password,
    };
    let client = registry(&emulator, login(token.token.unwrap_or_default()))?;
    push(&emulator, &client, "web", &web()).await?;
    let image = image(&[layer(10, 9)]);
    push(&emulator, &client, "web", &image).await?;
    assert_eq!(emulator.tags("web")["1.0"], image.root().digest.to_string());

    let client = registry(&emulator, login("wrong".into()))?;
    let error = push(&emulator, &client, "web", &image).await.unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
    Ok(())
}

/// Without credentials, OCIR says who may write; the error says the same.
#[tokio::test]
async fn anonymous_users_may_not_push() -> anyhow::Result<()> {
    let (emulator, _) = ready().await?;
    emulator.edit_repository("web", serde_json::json!({"isPublic": true}));
    let client = registry(&emulator, Credentials::Anonymous)?;
    let error = push(&emulator, &client, "web", &image(&[]))
        .await
        .unwrap_err();
    assert!(error.is_denied() && error.is_anonymous_denial(), "{error}");
    let text = shorten(&error.to_string().replace(&emulator.authority(), "HOST"));
    expect![[r#"start of the upload of blob sha256:5809… at HOST answered 403 DENIED: Anonymous users are only allowed read access on public repos"#]].assert_eq(&text);
    Ok(())
}

/// A repository that is not there.
#[tokio::test]
async fn unknown_repositories_are_told_apart() -> anyhow::Result<()> {
    let (emulator, client) = ready().await?;
    let error = push(&emulator, &client, "db", &image(&[]))
        .await
        .unwrap_err();
    assert!(error.is_not_found() && error.is_name_unknown(), "{error}");
    let repository = format!("{}/db", emulator.seed().namespace);
    assert_eq!(client.tags(&repository).await?, None);
    assert_eq!(client.head_manifest(&repository, "1.0").await?, None);
    Ok(())
}

/// Cut connections, lost answers, bad moments and throttling, each on every
/// step of a push: it comes through.
#[tokio::test]
async fn a_push_comes_through() -> anyhow::Result<()> {
    for operation in [
        "GetRegistryToken",
        "HeadManifest",
        "HeadBlob",
        "PostBlobUpload",
        "PutBlobUpload",
        "PutManifest",
    ] {
        let (emulator, client) = ready().await?;
        emulator.fail_next(operation, Fault::cut(100_000));
        emulator.fail_next(operation, Fault::cut_answer());
        emulator.fail_next(operation, Fault::status(500));
        emulator.fail_next(operation, Fault::status(503));
        emulator.fail_next(operation, Fault::status(429).retry_after(1));
        emulator.fail_next(operation, Fault::body(502, "<html>bad gateway</html>"));
        let image = web();
        push(&emulator, &client, "web", &image)
            .await
            .map_err(|error| anyhow::anyhow!("{operation}: {error}"))?;
        assert_eq!(emulator.tags("web")["1.0"], image.root().digest.to_string());
    }
    Ok(())
}

/// A refused token is renewed once, in the middle of an upload as well.
#[tokio::test]
async fn refused_tokens_are_renewed() -> anyhow::Result<()> {
    for operation in [
        "HeadManifest",
        "PostBlobUpload",
        "PutBlobUpload",
        "PutManifest",
    ] {
        let (emulator, client) = ready().await?;
        emulator.fail_next(operation, Fault::status(401));
        push(&emulator, &client, "web", &web()).await?;
        assert_eq!(count(&emulator, "GetRegistryToken"), 2, "{operation}");
        assert_eq!(
            count(&emulator, "PutManifest"),
            1 + usize::from(operation == "PutManifest")
        );
    }
    Ok(())
}

/// Registry tokens that live two seconds, and ten layers, four at a time, that
/// take longer than that each; besides, all tokens are taken back every second.
/// Nobody notices, and nobody asks for tokens more often than they end.
#[tokio::test]
async fn tokens_may_end_all_the_time() -> anyhow::Result<()> {
    let builder = Emulator::builder().registry_token_lifetime(Duration::from_secs(2));
    let (emulator, client) = ready_with(builder).await?;
    let image = slow(&[Duration::from_millis(2500); 10]);
    let pushing = push(&emulator, &client, "web", &image);
    let start = Instant::now();
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.tick().await;
    let mut pushing = std::pin::pin!(pushing);
    let pushed = loop {
        tokio::select! {
            pushed = &mut pushing => break pushed?,
            _ = every.tick() => emulator.expire_tokens(),
        }
    };
    assert_eq!(pushed.uploaded.0, 11);
    assert_eq!(emulator.tags("web")["1.0"], image.root().digest.to_string());
    let seconds = usize::try_from(start.elapsed().as_secs())?;
    assert!(seconds >= 7, "{seconds}");
    let asked = count(&emulator, "GetRegistryToken");
    assert!(
        (3..=2 * seconds + 2).contains(&asked),
        "{asked} in {seconds} s"
    );
    Ok(())
}

/// All tokens are taken back while four uploads are under way: all four are refused,
/// and one new token does for them.
#[tokio::test]
async fn uploads_share_a_new_token() -> anyhow::Result<()> {
    let (emulator, client) = ready().await?;
    let layers: Vec<Vec<u8>> = (0..8).map(|i| layer(50_000 + i, i)).collect();
    let image = image(&layers);
    for _ in 0..4 {
        emulator.fail_next("PutBlobUpload", Fault::delay(Duration::from_millis(500)));
    }
    let (pushed, ()) = tokio::join!(push(&emulator, &client, "web", &image), async {
        while count(&emulator, "PostBlobUpload") < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        emulator.expire_tokens();
    });
    assert_eq!(pushed?.uploaded.0, 9);
    assert_eq!(count(&emulator, "PutBlobUpload"), 4 + 9);
    assert_eq!(count(&emulator, "GetRegistryToken"), 2);
    Ok(())
}

/// A registry that is slow to answer is waited for; a stop is not kept waiting.
#[tokio::test]
async fn a_stop_does_not_wait_for_an_answer() -> anyhow::Result<()> {
    let (emulator, client) = ready().await?;
    emulator.fail_next("PutBlobUpload", Fault::delay(Duration::from_secs(20)));
    let stop = tokio_util::sync::CancellationToken::new();
    let stopping = client.with_stop(stop.clone());
    let image = web();
    let start = Instant::now();
    let (result, ()) = tokio::join!(push(&emulator, &stopping, "web", &image), async {
        while count(&emulator, "PostBlobUpload") < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.cancel();
    });
    assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(emulator.tags("web").is_empty());

    push(&emulator, &client, "web", &image).await?;
    assert_eq!(
        Digest::of(&image.root().bytes).as_str(),
        emulator.tags("web")["1.0"]
    );
    Ok(())
}

/// Over TLS, with a certificate that the user says to trust; without it the
/// push ends at once and says what is wrong.
#[tokio::test]
async fn pushes_over_tls() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let emulator = Emulator::builder()
        .tls(&certificate, &key)
        .create_on_first_push()
        .start()
        .await?;
    let trusting = Options {
        ca_certificates: Some(made.cert.pem().into_bytes()),
        ..Options::default()
    };
    let source = Signed {
        oci: support::client::oci_with(
            &emulator,
            &emulator.url(),
            &emulator.seed().private_key_pem,
            &trusting,
        )
        .await?,
        base: emulator.url(),
    };
    let credentials = Credentials::Token(Arc::new(source));
    let client = |options: &Options| -> anyhow::Result<Client> {
        Ok(Client::new(Config {
            http: http_client(options)?,
            host: emulator.authority(),
            plain_http: false,
            credentials: credentials.clone(),
            max_concurrent_uploads: 4,
            retry: RetryPolicy::without_waiting(),
        }))
    };
    let image = web();
    push(&emulator, &client(&trusting)?, "web", &image).await?;
    assert_eq!(emulator.tags("web")["1.0"], image.root().digest.to_string());

    let error = push(&emulator, &client(&Options::default())?, "web", &image)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error:?}");
    Ok(())
}

/// A registry that refuses a blob as too large gets it in chunks: the emulator's
/// sessions want them in order, and each at the address that the one before gave.
#[tokio::test]
async fn chunks_are_taken() -> anyhow::Result<()> {
    let (emulator, client) = ready().await?;
    emulator.fail_next("PutBlobUpload", Fault::status(413));
    let image = image(&[layer(3 * 1024 * 1024 + 5, 1)]);
    let pushed = push(&emulator, &client, "web", &image).await?;
    assert_eq!(pushed.uploaded.0, 2);
    assert_eq!(count(&emulator, "PatchBlobUpload"), 4);
    let requests = emulator.requests();
    let chunks: Vec<u64> = requests
        .iter()
        .filter(|request| request.operation == "PatchBlobUpload")
        .map(|request| request.body_bytes)
        .collect();
    assert_eq!(chunks, [1_048_576, 1_048_576, 1_048_576, 5]);
    Ok(())
}

/// An additional tag is seen by the control plane as a version of the same image.
#[tokio::test]
async fn tags_are_versions_of_one_image() -> anyhow::Result<()> {
    let (emulator, client) = ready().await?;
    let image = web();
    let repository = format!("{}/web", emulator.seed().namespace);
    let tags = ["stable".to_owned(), "1".to_owned()];
    let all = Push {
        additional_tags: &tags,
        ..Push::new(&repository, "1.0", &image)
    };
    client.push(&all).await?;
    assert_eq!(emulator.tags("web").len(), 3);
    assert_eq!(emulator.images().len(), 1);
    Ok(())
}
