//! The control plane's client against the emulator, which verifies signatures
//! by its own reading of the same documents.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use expect_test::expect;
use ocir::{
    credentials::{self, Environment, Network, Settings},
    emulator::{Emulator, Fault, Permission},
    oci::{
        Client, Config, CreateContainerRepository, Error, ListContainerImages,
        ListContainerRepositories, Readme, UpdateContainerRepository,
    },
    region::Region,
    transport::{Options, RetryPolicy, http_client},
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::support;

/// A client that signs in as the seeded user.
async fn client(emulator: &Emulator) -> anyhow::Result<Client> {
    support::client::oci(emulator).await
}

/// A client with a key and an address of the test's choice.
async fn with_key(
    emulator: &Emulator,
    endpoint: &str,
    private_key: &str,
) -> anyhow::Result<Client> {
    support::client::oci_with(emulator, endpoint, private_key, &Options::default()).await
}

/// The key of somebody else.
const OTHER_KEY: &str = include_str!("../../fixtures/keys/other-rsa-2048.pem");

fn web(emulator: &Emulator) -> CreateContainerRepository {
    CreateContainerRepository {
        compartment_id: emulator.seed().apps_compartment_id.clone(),
        display_name: "team/web".into(),
        ..CreateContainerRepository::default()
    }
}

/// The retry tokens of an operation's requests.
fn retry_tokens(emulator: &Emulator, operation: &str) -> Vec<Option<String>> {
    emulator
        .requests()
        .into_iter()
        .filter(|request| request.operation == operation)
        .map(|request| request.retry_token)
        .collect()
}

/// A create that is repeated later with its retry token is answered with what it
/// made, and one of somebody else's name is not.
#[tokio::test]
async fn a_create_is_repeated() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = client(&emulator).await?;
    let (body, token) = (web(&emulator), ocir::oci::new_retry_token());
    let made = client.create_container_repository_as(&body, &token).await?;
    let again = client.create_container_repository_as(&body, &token).await?;
    assert_eq!(again.id, made.id);
    assert_eq!(emulator.repositories().len(), 1);
    let sent = retry_tokens(&emulator, "CreateContainerRepository");
    assert_eq!(sent, [Some(token.clone()), Some(token)]);

    let another = client.create_container_repository(&body).await;
    assert!(another.is_err_and(|error| error.is_name_conflict() && !error.is_ambiguous()));
    Ok(())
}

/// A repository from its creation to its end.
#[tokio::test]
async fn repository() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = client(&emulator).await?;
    let seed = emulator.seed();

    let created = client.create_container_repository(&web(&emulator)).await?;
    assert_eq!(created.display_name, "team/web");
    assert_eq!(created.is_public, Some(false));
    assert_eq!(created.namespace.as_deref(), Some(&*seed.namespace));
    assert_eq!(created.lifecycle_state, "AVAILABLE");

    let updated = client
        .update_container_repository(
            &created.id,
            &UpdateContainerRepository {
                is_public: Some(true),
                readme: Some(Readme {
                    content: "# Große Räder".into(),
                    format: "TEXT_MARKDOWN".into(),
                }),
                freeform_tags: Some([("team".into(), "web".into())].into()),
                ..UpdateContainerRepository::default()
            },
            None,
        )
        .await?;
    assert_eq!(updated.is_public, Some(true));

    client
        .change_container_repository_compartment(&created.id, &seed.ops_compartment_id)
        .await?;
    let read = client.get_container_repository(&created.id).await?;
    assert_eq!(read.compartment_id, seed.ops_compartment_id);
    assert_eq!(read.freeform_tags["team"], "web");
    assert_eq!(
        read.readme.map(|readme| readme.content).as_deref(),
        Some("# Große Räder")
    );

    let found = client
        .list_container_repositories(&ListContainerRepositories {
            compartment_id: seed.tenancy_id.clone(),
            compartment_id_in_subtree: true,
            display_name: Some("team/web".into()),
        })
        .await?;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, created.id);

    client
        .delete_container_repository(&created.id, None)
        .await?;
    match client.get_container_repository(&created.id).await {
        Ok(repository) => assert_eq!(repository.lifecycle_state, "DELETED"),
        Err(error) => assert!(error.is_not_found(), "{error}"),
    }
    assert_eq!(emulator.repositories().len(), 0);
    Ok(())
}

/// A user's tokens: the third one is refused, with the answer that says so.
#[tokio::test]
async fn auth_tokens() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = client(&emulator).await?;
    let user = &emulator.seed().user_id;

    let first = client.create_auth_token(user, "Used by Docker").await?;
    let second = client.create_auth_token(user, "").await?;
    assert!(first.token.as_ref().is_some_and(|token| !token.is_empty()));
    let error = client.create_auth_token(user, "one too many").await.err();
    assert!(
        error.as_ref().is_some_and(Error::is_token_limit),
        "{error:?}"
    );

    let updated = client
        .update_auth_token(user, &first.id, "Used by nobody")
        .await?;
    assert_eq!(updated.description.as_deref(), Some("Used by nobody"));
    client.delete_auth_token(user, &second.id).await?;
    let left = client.list_auth_tokens(user).await?;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, first.id);
    assert_eq!(left[0].token, None);
    Ok(())
}

/// What a principal is told about itself.
#[tokio::test]
async fn namespace_and_user() -> anyhow::Result<()> {
    let emulator = Emulator::builder().namespace("examplens").start().await?;
    let client = client(&emulator).await?;
    let seed = emulator.seed();
    assert_eq!(client.get_namespace(None).await?, "examplens");
    assert_eq!(
        client
            .get_namespace(Some(&seed.apps_compartment_id))
            .await?,
        "examplens"
    );
    let user = client.get_user(&seed.user_id).await?;
    assert_eq!(user.name, seed.user_name);
    Ok(())
}

/// A throttled create is repeated and makes one repository, not two.
#[tokio::test]
async fn create_survives_throttling() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let operation = "CreateContainerRepository";
    emulator.fail_next(operation, Fault::status(429).retry_after(30));
    emulator.fail_next(operation, Fault::status(500));
    emulator.fail_next(operation, Fault::status(500));

    let created = client(&emulator)
        .await?
        .create_container_repository(&web(&emulator))
        .await?;
    assert_eq!(created.display_name, "team/web");
    assert_eq!(emulator.repositories().len(), 1);
    assert_eq!(retry_tokens(&emulator, operation).len(), 4);
    Ok(())
}

/// The connection is cut after the repository was made and before the answer:
/// the repetition carries the same retry token, and finds it made.
#[tokio::test]
async fn create_survives_a_lost_answer() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let operation = "CreateContainerRepository";
    emulator.fail_next(operation, Fault::cut_answer());

    let created = client(&emulator)
        .await?
        .create_container_repository(&web(&emulator))
        .await?;
    assert_eq!(emulator.repositories().len(), 1);
    assert_eq!(emulator.repositories()[0]["id"], created.id);
    let tokens = retry_tokens(&emulator, operation);
    assert_eq!(tokens.len(), 2);
    assert!(tokens[0].is_some());
    assert_eq!(tokens[0], tokens[1]);
    Ok(())
}

/// The same for a delete, which finds nothing the second time.
#[tokio::test]
async fn delete_survives_a_lost_answer() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = client(&emulator).await?;
    let created = client.create_container_repository(&web(&emulator)).await?;
    emulator.fail_next("DeleteContainerRepository", Fault::cut_answer());
    client
        .delete_container_repository(&created.id, None)
        .await?;
    assert_eq!(emulator.repositories().len(), 0);
    Ok(())
}

/// A name that is taken is told at once, after one request.
#[tokio::test]
async fn name_conflict_is_not_repeated() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = client(&emulator).await?;
    client.create_container_repository(&web(&emulator)).await?;
    emulator.clear_requests();
    let elsewhere = CreateContainerRepository {
        compartment_id: emulator.seed().ops_compartment_id.clone(),
        ..web(&emulator)
    };
    let error = client.create_container_repository(&elsewhere).await.err();
    assert!(
        error.as_ref().is_some_and(Error::is_name_conflict),
        "{error:?}"
    );
    assert!(error.is_some_and(|error| error.opc_request_id().is_some()));
    assert_eq!(emulator.requests().len(), 1);
    Ok(())
}

/// A list of five comes in pages of two.
#[tokio::test]
async fn lists_are_read_to_the_end() -> anyhow::Result<()> {
    let emulator = Emulator::builder().page_size(2).start().await?;
    let client = client(&emulator).await?;
    for number in 1..=5 {
        let body = CreateContainerRepository {
            display_name: format!("team/web-{number}"),
            ..web(&emulator)
        };
        client.create_container_repository(&body).await?;
    }
    emulator.clear_requests();
    let mut names: Vec<String> = client
        .list_container_repositories(&ListContainerRepositories {
            compartment_id: emulator.seed().apps_compartment_id.clone(),
            ..ListContainerRepositories::default()
        })
        .await?
        .into_iter()
        .map(|repository| repository.display_name)
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "team/web-1",
            "team/web-2",
            "team/web-3",
            "team/web-4",
            "team/web-5"
        ]
    );
    assert_eq!(emulator.requests().len(), 3);

    let images = client
        .list_container_images(&ListContainerImages {
            compartment_id: emulator.seed().apps_compartment_id.clone(),
            repository_name: Some("team/web-1".into()),
            ..ListContainerImages::default()
        })
        .await?;
    assert!(images.is_empty());
    Ok(())
}

/// A key that the user does not have is refused once, and not tried again.
#[tokio::test]
async fn wrong_key() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = with_key(&emulator, &emulator.url(), OTHER_KEY).await?;
    let error = client.create_container_repository(&web(&emulator)).await;
    let error = error.err().ok_or_else(|| anyhow::anyhow!("accepted"))?;
    assert!(error.is_unauthenticated(), "{error}");
    assert!(
        error.clock_skew().is_some_and(|skew| skew.abs() < 60),
        "{error:?}"
    );
    assert_eq!(emulator.requests().len(), 1);
    Ok(())
}

/// A clock that is ten minutes slow: 401, and the error says by how much.
#[tokio::test]
async fn clock_is_off() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = client(&emulator)
        .await?
        .with_clock(|| SystemTime::now() - Duration::from_secs(600));
    let error = client.get_namespace(None).await.err();
    assert!(
        error.as_ref().is_some_and(Error::is_unauthenticated),
        "{error:?}"
    );
    let skew = error.and_then(|error| error.clock_skew());
    assert!(
        skew.is_some_and(|skew| (-660..=-540).contains(&skew)),
        "{skew:?}"
    );
    Ok(())
}

/// IAM is written in the home region only, and says where that is.
#[tokio::test]
async fn not_the_home_region() -> anyhow::Result<()> {
    let emulator = Emulator::builder().region("sa-saopaulo-1").start().await?;
    let elsewhere = format!("{}/~eu-frankfurt-1", emulator.url());
    let client = with_key(&emulator, &elsewhere, &emulator.seed().private_key_pem).await?;
    let error = client
        .create_auth_token(&emulator.seed().user_id, "elsewhere")
        .await
        .err()
        .ok_or_else(|| anyhow::anyhow!("accepted"))?;
    assert!(error.is_wrong_region(), "{error}");
    expect![[r#"Some("GRU")"#]].assert_eq(&format!("{:?}", error.home_region_key()));
    assert!(emulator.auth_tokens().is_empty());
    Ok(())
}

/// A client that is configured for a region of the test's choice, and retries
/// as it says.
async fn configured(
    emulator: &Emulator,
    endpoint: String,
    region: &str,
    retry: RetryPolicy,
) -> anyhow::Result<Client> {
    let settings = Settings {
        tenancy_ocid: Some(emulator.seed().tenancy_id.clone()),
        user_ocid: Some(emulator.seed().user_id.clone()),
        private_key: Some(emulator.seed().private_key_pem.clone()),
        ..Settings::default()
    };
    let resolved =
        credentials::resolve(&settings, &Environment::default(), &Network::default()).await?;
    Ok(Client::new(Config {
        endpoint: Some(endpoint),
        retry,
        ..Config::new(
            http_client(&Options::default())?,
            Region::parse(region)?,
            resolved.source,
        )
    })?)
}

/// One in Frankfurt, of an emulator that is at home elsewhere.
async fn from_frankfurt(emulator: &Emulator, path: &str) -> anyhow::Result<Client> {
    let endpoint = emulator.url() + path;
    configured(emulator, endpoint, "fra", RetryPolicy::without_waiting()).await
}

/// What was asked where, each region's door by its name.
fn asked(emulator: &Emulator) -> String {
    let lines: Vec<String> = emulator
        .requests()
        .into_iter()
        .map(|request| {
            let door = request.path.split('/').nth(1).unwrap_or_default();
            format!("{} {door} {}", request.operation, request.status)
        })
        .collect();
    lines.join("\n")
}

/// IAM is changed in the home region, which is asked for once, also by many
/// at the same time; reads stay where the client is configured.
#[tokio::test]
async fn changes_of_iam_go_home() -> anyhow::Result<()> {
    let emulator = Emulator::builder().region("sa-saopaulo-1").start().await?;
    let client = from_frankfurt(&emulator, "/~{region}").await?;
    let user = &emulator.seed().user_id;
    let clone = client.clone();
    let (first, second) = tokio::join!(
        client.create_auth_token(user, "first"),
        clone.create_auth_token(user, "second")
    );
    let first = first?;
    client.update_auth_token(user, &first.id, "changed").await?;
    client.delete_auth_token(user, &second?.id).await?;
    assert_eq!(client.list_auth_tokens(user).await?.len(), 1);
    expect![[r#"
        ListRegionSubscriptions ~eu-frankfurt-1 200
        CreateAuthToken ~sa-saopaulo-1 200
        CreateAuthToken ~sa-saopaulo-1 200
        UpdateAuthToken ~sa-saopaulo-1 200
        DeleteAuthToken ~sa-saopaulo-1 204
        ListAuthTokens ~eu-frankfurt-1 200"#]]
    .assert_eq(&asked(&emulator));
    Ok(())
}

/// Who may not see the region subscriptions may see the tenancy.
#[tokio::test]
async fn tenancy_tells_the_home_region() -> anyhow::Result<()> {
    let emulator = Emulator::builder().region("sa-saopaulo-1").start().await?;
    let not_allowed = Fault::error(404, "NotAuthorizedOrNotFound", "no");
    emulator.fail_always("ListRegionSubscriptions", not_allowed);
    let client = from_frankfurt(&emulator, "/~{region}").await?;
    client
        .create_auth_token(&emulator.seed().user_id, "")
        .await?;
    expect![[r#"
        ListRegionSubscriptions ~eu-frankfurt-1 404
        GetTenancy ~eu-frankfurt-1 200
        CreateAuthToken ~sa-saopaulo-1 200"#]]
    .assert_eq(&asked(&emulator));
    Ok(())
}

/// Who may see neither is told by the refusal, once.
#[tokio::test]
async fn refusal_tells_the_home_region() -> anyhow::Result<()> {
    let emulator = Emulator::builder().region("sa-saopaulo-1").start().await?;
    emulator.withdraw(Permission::TenancyInspect);
    let client = from_frankfurt(&emulator, "/~{region}").await?;
    let user = &emulator.seed().user_id;
    let token = client.create_auth_token(user, "").await?;
    client.delete_auth_token(user, &token.id).await?;
    expect![[r#"
        ListRegionSubscriptions ~eu-frankfurt-1 404
        GetTenancy ~eu-frankfurt-1 404
        CreateAuthToken ~eu-frankfurt-1 403
        CreateAuthToken ~sa-saopaulo-1 200
        DeleteAuthToken ~sa-saopaulo-1 204"#]]
    .assert_eq(&asked(&emulator));
    let tokens = retry_tokens(&emulator, "CreateAuthToken");
    assert_eq!(tokens[0], tokens[1], "it is still the same call");
    Ok(())
}

/// Behind one address for all regions there is no other place to go to, and
/// nothing to look up.
#[tokio::test]
async fn one_address_for_all_regions() -> anyhow::Result<()> {
    let emulator = Emulator::builder().region("sa-saopaulo-1").start().await?;
    let client = from_frankfurt(&emulator, "").await?;
    client
        .create_auth_token(&emulator.seed().user_id, "")
        .await?;
    expect!["CreateAuthToken 20160918 200"].assert_eq(&asked(&emulator));
    Ok(())
}

/// The identity is exchanged for a registry token; a key that is not accepted
/// gets an anonymous one, which is no token.
#[tokio::test]
async fn registry_token() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let token = client(&emulator)
        .await?
        .get_registry_token(&emulator.url())
        .await?;
    assert!(!token.token.is_empty());
    assert!(token.expires_in > Duration::from_secs(60));

    let stranger = with_key(&emulator, &emulator.url(), OTHER_KEY).await?;
    let error = stranger.get_registry_token(&emulator.url()).await.err();
    assert!(
        matches!(&error, Some(Error::Anonymous { host, clock_skew: Some(_) })
            if *host == emulator.authority()),
        "{error:?}"
    );
    Ok(())
}

/// A gateway's page in the place of an answer is shown in part, and a body
/// that is cut off is unreadable; neither is taken for success.
#[tokio::test]
async fn answers_that_are_none() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = client(&emulator).await?;
    emulator.fail_next(
        "GetNamespace",
        Fault::body(403, "<html>\n<h1>Blocked</h1>\n</html>"),
    );
    let error = client.get_namespace(None).await.err();
    expect!["GetNamespace answered 403: Blocked"]
        .assert_eq(&error.map(|error| error.to_string()).unwrap_or_default());
    emulator.fail_next("GetNamespace", Fault::body(200, "\"half a na"));
    let error = client.get_namespace(None).await.err();
    assert!(matches!(error, Some(Error::Decode { .. })), "{error:?}");
    Ok(())
}

/// Two hundred repositories at a service that takes a hundred requests a
/// second, from forty callers at once: all of them are made, none twice, and
/// with few requests more than that, for after the first refusal the callers wait for each other.
#[tokio::test]
async fn storm_of_throttling() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let client = configured(&emulator, emulator.url(), "gru", RetryPolicy::default()).await?;
    emulator.throttle(Some(100));
    let at_once = Arc::new(Semaphore::new(40));
    let mut calls = JoinSet::new();
    for number in 0..200 {
        let (client, at_once) = (client.clone(), at_once.clone());
        let body = CreateContainerRepository {
            display_name: format!("team/web-{number}"),
            ..web(&emulator)
        };
        calls.spawn(async move {
            let _one = at_once.acquire().await;
            client.create_container_repository(&body).await
        });
    }
    let mut ids = BTreeSet::new();
    while let Some(created) = calls.join_next().await {
        ids.insert(created??.id);
    }
    assert_eq!(ids.len(), 200);
    assert_eq!(emulator.repositories().len(), 200);
    let requests = emulator.requests().len();
    assert!((201..350).contains(&requests), "{requests}");
    Ok(())
}
