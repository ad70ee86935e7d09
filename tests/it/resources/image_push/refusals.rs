//! What may go wrong at OCIR, in the order of the page that gathers what is known of
//! it, and the whole of what a user reads then: host, namespace, repository, who was
//! signed in, and the way out.
//!
//! Besides these, each where it belongs:
//! - answers that no well-behaved registry gives (locations, redirects, confirmations
//!   of something else, a sign-in page that answers 200 to everything): `faults`, and
//!   `client::registry`;
//! - what passes by itself (a token that ends in the middle of a PUT, a policy that is
//!   younger than the token, a lost answer, a commit that takes its time): `faults`,
//!   `client::registry::{emulated,expiry,patience}`;
//! - a repository that must not be immutable: `repository`; a free tenancy: `faults`;
//! - an image of an index that is listed without a version, and a manifest that is
//!   deleted by its digest: the parent of this module.

use ocir::{credentials::Environment, framework::Server, provider::Ocir, transport::RetryPolicy};

use super::{
    super::image_copy::{docker_login, login},
    *,
};
use crate::support::provider::environment;

/// One of the page's faults.
struct Row {
    fault: &'static str,
    /// Arguments of the provider, beside the usual ones.
    provider: fn(&Emulator) -> Json,
    who: Who,
    /// Arguments of the push, beside the usual ones.
    push: Json,
    /// What happens once the repository is there.
    happens: fn(&Emulator),
}

impl Row {
    fn new(fault: &'static str, happens: fn(&Emulator)) -> Self {
        Self {
            fault,
            provider: |_| json!({}),
            who: Who::User,
            push: json!({}),
            happens,
        }
    }

    fn pushing(self, push: Json) -> Self {
        Self { push, ..self }
    }

    fn by(self, who: Who) -> Self {
        Self { who, ..self }
    }

    fn signed_in(self, provider: fn(&Emulator) -> Json) -> Self {
        Self { provider, ..self }
    }

    /// Pushes, and compares what is said. Nothing is under the tag then and nothing in
    /// the state.
    async fn says(self, expected: expect_test::Expect) -> anyhow::Result<()> {
        let cloud = cloud().await?;
        let layout = Layout::of("one")?;
        let home = tempfile::tempdir()?;
        let (environment, mut arguments) = self.who.signs_in(&cloud.emulator, home.path()).await?;
        merge(&mut arguments, &(self.provider)(&cloud.emulator));
        let provider = Ocir::new(environment).with_retry(RetryPolicy::without_waiting());
        let host = Host::start(Server::new(provider)).await?;
        host.configure(arguments).await?;
        let mut config = web(layout.source());
        if matches!(self.who, Who::Docker) {
            // Nobody can be asked for it.
            config["namespace"] = json!(cloud.emulator.seed().namespace);
        }
        merge(&mut config, &self.push);
        let mut push = host.resource("ocir_image_push");
        let plan = push.plan(config).await?;
        (self.happens)(&cloud.emulator);
        let applied = push.apply_planned(&plan).await;
        let problems = applied.expect_err(self.fault);
        let directory = layout.path().display().to_string();
        let text = short(&cloud.neutral(&problems.to_string())).replace(&directory, "LAYOUT");
        expected.assert_eq(&without_chance(&text));
        assert!(push.state().is_null(), "{}", self.fault);
        assert!(cloud.emulator.tags("team/web").is_empty(), "{}", self.fault);
        let asked = cloud.operations();
        // OCIR refuses both: nobody asks for them.
        assert!(!asked.contains_key("GetCatalog"), "{asked:?}");
        let scopes = cloud.emulator.requests().into_iter().filter(|request| {
            request.operation == "GetRegistryToken" && request.path.contains("delete")
        });
        assert_eq!(scopes.count(), 0, "{}", self.fault);
        Ok(())
    }
}

/// Who pushes.
#[derive(Clone, Copy)]
enum Who {
    /// Somebody who has used `docker login` with an auth token, and nothing else.
    Docker,
    /// A virtual machine.
    Instance,
    /// A user with an API key.
    User,
}

impl Who {
    /// What surrounds the provider, and its arguments.
    async fn signs_in(
        self,
        emulator: &Emulator,
        home: &std::path::Path,
    ) -> anyhow::Result<(Environment, Json)> {
        let mut surroundings = environment();
        let arguments = match self {
            Self::Docker => {
                let (username, password) = login(emulator).await?;
                docker_login(home, &emulator.authority(), &username, &password)?;
                surroundings.home = Some(home.to_owned());
                json!({ "registry": { "host": emulator.authority(), "plain_http": true } })
            }
            Self::Instance => {
                surroundings.variables.extend(emulator.instance());
                let region = &emulator.seed().region;
                json!({ "auth": "InstancePrincipal", "endpoint": emulator.url(), "region": region })
            }
            Self::User => arguments(emulator),
        };
        Ok((surroundings, arguments))
    }
}

fn merge(config: &mut Json, changes: &Json) {
    for (name, value) in changes.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
}

/// Which of the blobs is cut first, and how the system calls it, is chance.
fn without_chance(text: &str) -> String {
    let cut = text.split_once(" was cut during ");
    let parts = cut.and_then(|(_, rest)| {
        let (_, numbers) = rest.split_once(", after ")?;
        let (numbers, rest) = numbers.split_once(" bytes in ")?;
        let (_, reason) = rest.split_once("attempts: ")?;
        Some((numbers, reason.split_once('\n')?.0))
    });
    match parts {
        Some((numbers, reason)) => text.replace(numbers, "N of M").replace(reason, "REASON."),
        None => text.to_owned(),
    }
}

/// Hosts and names: a namespace that is none, a host where nobody is, and one that is
/// no registry's.
#[tokio::test]
async fn hosts_and_names() -> anyhow::Result<()> {
    Row::new("a namespace that no tenancy has", |_| {})
        .pushing(json!({ "namespace": "elsewhere" }))
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "elsewhere/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 404 NAME_UNKNOWN: Tenant with name elsewhere not found.

            HOST has no such namespace. Leave the argument "namespace" out, so that it is the tenancy's own, which is not the tenancy's name; and check that it is the registry of the tenancy's region.

            Signed in as: user USER (API key FINGERPRINT, argument private_key)
            Request id: ID
              with namespace"#]])
        .await?;
    Row::new("a host that nobody has", |_| {})
        .pushing(json!({ "namespace": "ns" }))
        .signed_in(|_| json!({ "registry": { "host": "127.0.0.1:1" } }))
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "ns/team/web" under tag "1.0.0". Check of manifest 1.0.0 got no answer from 127.0.0.1:1 in the last of 3 attempts: Connection refused (os error 111).

            Check the network, the provider's argument "registry.host" (and "plain_http" there, for a registry without HTTPS), and whether a proxy is needed (HTTPS_PROXY).

            Signed in as: nobody: neither "registry.username" nor an identity of this registry's own is configured, and no configuration of Docker or podman has a login for it"#]])
        .await
}

/// Signing in: the endpoint gives an anonymous token to a signature that it does not
/// accept, with 200; it is down, or says something else; a token is not accepted,
/// also one that the endpoint gave; and so is a password.
#[tokio::test]
async fn signing_in() -> anyhow::Result<()> {
    Row::new("a signature that is not accepted", |emulator| {
        emulator.fail_always("GetRegistryToken", Fault::body(200, ANONYMOUS));
    })
    .says(expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". HOST gave a token that is nobody's.

        The registry does not refuse a signature that it does not accept: it takes the caller for an anonymous one. Check that user, tenancy and API key belong together, and that the key is uploaded for the user and active (a new one is known everywhere after some minutes):
            oci iam user api-key list --user-id USER

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]])
    .await?;
    Row::new("a clock that is wrong", |emulator| {
        emulator.skew_clock(-3600)
    })
    .says(expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". HOST gave a token that is nobody's.

        This machine's clock is 60 minutes ahead of the service's, and a signature is good for five minutes. Set the clock.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]])
    .await?;
    Row::new("a token endpoint that is down", |emulator| {
        emulator.fail_always("GetRegistryToken", Fault::status(503));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". GetRegistryToken of service ocir at HOST was answered 503 UNKNOWN in the last of 8 attempts: Unknown error.

        The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("a token endpoint that is another program", |emulator| {
        emulator.fail_always("GetRegistryToken", Fault::body(200, "<html>hotel</html>"));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". The answer to GetRegistryToken of service ocir cannot be read: it is no JSON, expected value at line 1 column 1.

        A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("tokens that are never accepted", |emulator| {
        emulator.fail_always("PutBlobUpload", Fault::status(401));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of blob sha256:… at HOST was answered 401 UNAUTHORIZED: Unauthorized.

        HOST takes the caller for an anonymous one. Check that user, tenancy and API key belong together, and that the key is uploaded for the user and active (a new one is known everywhere after some minutes):
            oci iam user api-key list --user-id USER

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("a user name of another tenancy", |_| {})
        .signed_in(|_| json!({ "registry": { "username": "ns/somebody", "password": "hunter2" } }))
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Sign-in at HOST was answered 401 NAME_UNKNOWN: Tenant with name ns not found.

            HOST does not accept the user name and password that are set in the provider's argument "registry" or in OCI_REGISTRY_USERNAME and OCI_REGISTRY_PASSWORD. At Oracle's registry they are NAMESPACE/USER and an auth token, which works some minutes after it was made.

            Signed in as: user "ns/somebody" of the registry
            Request id: ID"#]])
        .await?;
    Row::new("a password that is wrong, or not known yet", |_| {})
        .signed_in(|emulator| {
            let seed = emulator.seed();
            let username = format!("{}/{}", seed.namespace, seed.user_name);
            json!({ "registry": { "username": username, "password": "hunter2" } })
        })
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Sign-in at HOST was answered 401 UNAUTHORIZED: Unauthorized.

            HOST does not accept the user name and password that are set in the provider's argument "registry" or in OCI_REGISTRY_USERNAME and OCI_REGISTRY_PASSWORD. At Oracle's registry they are NAMESPACE/USER and an auth token, which works some minutes after it was made.

            Signed in as: user "NAMESPACE/docker@example.com" of the registry
            Request id: ID"#]])
        .await?;
    Row::new("an auth token that was deleted", |emulator| {
        for token in emulator.auth_tokens() {
            emulator.remove_auth_token(text(&token, "id"));
        }
    })
    .by(Who::Docker)
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Sign-in at HOST was answered 401 UNAUTHORIZED: Unauthorized.

        HOST does not accept the login that the configuration of Docker or podman has for it. Sign in again, for example with:
            docker login HOST

        Signed in as: user "NAMESPACE/docker@example.com" of ~/.docker/config.json
        Request id: ID"#]])
    .await?;
    Row::new("an instance that is taken for nobody", |emulator| {
        emulator.fail_always("GetRegistryToken", Fault::body(200, ANONYMOUS));
    })
    .by(Who::Instance)
    .says(expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". HOST gave a token that is nobody's.

        The registry does not refuse a signature that it does not accept: it takes the caller for an anonymous one. No API key is involved: an instance, a function or another resource signs with a token that Oracle's cloud gives it. Check that the resource has not been terminated, and that the region belongs to its realm. Run again, which asks for another token.

        Signed in as: instance ocid1.instance.OCID (instance principal)"#]])
    .await
}

/// Rights: an anonymous caller, a policy that is missing in both of the registry's
/// ways to say so.
#[tokio::test]
async fn rights() -> anyhow::Result<()> {
    Row::new("an anonymous caller", |emulator| {
        let words = "Anonymous users are only allowed read access on public repos";
        emulator.fail_always("PostBlobUpload", Fault::error(403, "DENIED", words));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 403 DENIED: Anonymous users are only allowed read access on public repos.

        HOST takes the caller for an anonymous one. Check that user, tenancy and API key belong together, and that the key is uploaded for the user and active (a new one is known everywhere after some minutes):
            oci iam user api-key list --user-id USER

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("a principal without a policy, 403", |emulator| {
        emulator.withdraw(Permission::RepositoryUpdate);
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 403 DENIED in the last of 8 attempts: Requested access to the resource is denied.

        Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
            Allow group GROUP to use repos in compartment COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    let denied = |who| {
        let denied = Row::new("somebody else without a policy, 403", |emulator| {
            emulator.withdraw(Permission::RepositoryUpdate);
        });
        denied.by(who)
    };
    denied(Who::Instance)
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 403 DENIED in the last of 8 attempts: Requested access to the resource is denied.

            Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
                Allow dynamic-group DYNAMIC_GROUP to use repos in compartment COMPARTMENT

            Signed in as: instance ocid1.instance.OCID (instance principal)
            Request id: ID"#]])
        .await?;
    denied(Who::Docker)
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 403 DENIED: Requested access to the resource is denied.

            Check the namespace and the name of the repository, and the rights of the user.

            Signed in as: user "NAMESPACE/docker@example.com" of ~/.docker/config.json
            Request id: ID"#]])
        .await?;
    Row::new("a principal without a policy, 404", |emulator| {
        emulator.withdraw(Permission::RepositoryRead);
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 404 NAME_UNKNOWN: Repository NAMESPACE/team/web not known to registry.

        Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
            Allow group GROUP to use repos in compartment COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID
          with repository"#]])
    .await
}

/// Repositories: one that does not exist, where none is made on the first push.
#[tokio::test]
async fn repositories() -> anyhow::Result<()> {
    Row::new("no such repository", |_| {})
        .pushing(json!({ "repository": "team/none" }))
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "NAMESPACE/team/none" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 404 NAME_UNKNOWN: Repository NAMESPACE/team/none not known to registry.

            Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
                Allow group GROUP to use repos in compartment COMPARTMENT

            Signed in as: user USER (API key FINGERPRINT, argument private_key)
            Request id: ID
              with repository"#]])
        .await?;
    Row::new("with the namespace, as it is pulled", |_| {})
        .pushing(json!({ "repository": "axemulated1z/team/web" }))
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "NAMESPACE/NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 404 NAME_UNKNOWN: Repository NAMESPACE/NAMESPACE/team/web not known to registry.

            Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
                Allow group GROUP to use repos in compartment COMPARTMENT

            "repository" is the name alone: the provider puts the host and the namespace before it. Probably "team/web" is meant.

            Signed in as: user USER (API key FINGERPRINT, argument private_key)
            Request id: ID
              with repository"#]])
        .await?;
    Row::new("with host and namespace", |_| {})
        .pushing(json!({ "repository": "gru.ocir.io/elsewhere/team/web" }))
        .says(expect![[r#"
            Error: Cannot push image

            oci:LAYOUT could not be pushed to repository "NAMESPACE/gru.ocir.io/elsewhere/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 404 NAME_UNKNOWN: Repository NAMESPACE/gru.ocir.io/elsewhere/team/web not known to registry.

            Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
                Allow group GROUP to use repos in compartment COMPARTMENT

            "repository" is the name alone: the provider puts the host and the namespace before it. Probably "elsewhere/team/web" is meant.

            Signed in as: user USER (API key FINGERPRINT, argument private_key)
            Request id: ID
              with repository"#]])
        .await
}

/// Where the tenancy makes repositories on their first push, it is made, private and
/// in the root compartment.
#[tokio::test]
async fn repositories_of_a_first_push() -> anyhow::Result<()> {
    let emulator = Emulator::builder().create_on_first_push().start().await?;
    let cloud = Cloud::with(emulator).await?;
    let layout = Layout::of("one")?;
    pushed(&cloud, &web(layout.source())).await?;
    let made = cloud.repository("team/web");
    assert_eq!(
        made["compartmentId"],
        json!(cloud.emulator.seed().tenancy_id)
    );
    assert_eq!(made["isPublic"], json!(false));
    Ok(())
}

/// A registry that accepts immutable repositories, as some tenancies' may, refuses to
/// move a tag.
#[tokio::test]
async fn immutable_tags() -> anyhow::Result<()> {
    let emulator = Emulator::builder().accept_immutable().start().await?;
    let cloud = Cloud::with(emulator).await?;
    let mut repository = cloud.web();
    repository["is_immutable"] = json!(true);
    cloud
        .host
        .resource("ocir_repository")
        .apply(repository)
        .await?;
    let layout = Layout::of("one")?;
    let mut push = pushed(&cloud, &web(layout.source())).await?;
    let before = push.state();
    layout.show(&layout.image("two")?)?;
    let plan = push.plan(web(layout.source())).await?;
    let problems = push.apply_planned(&plan).await.unwrap_err();
    let directory = layout.path().display().to_string();
    expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at HOST was answered 403 DENIED: Repository NAMESPACE/team/web is immutable, and tag 1.0.0 exists.

        Nobody can move a tag of an immutable repository, whatever policies say. Push under another tag, or set "if_exists" to "adopt" to accept what is there.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]]
        .assert_eq(&short(&cloud.neutral(&problems.to_string())).replace(&directory, "LAYOUT"));
    assert_eq!(push.state(), before);
    Ok(())
}

/// Limits: connections that are cut in the middle of big layers, bodies that are too
/// large, too many calls.
#[tokio::test]
async fn limits() -> anyhow::Result<()> {
    Row::new("connections that are reset", |emulator| {
        emulator.fail_always("PutBlobUpload", Fault::cut(1));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". The connection to HOST was cut during upload of blob sha256:…, after N of M bytes in the last of 8 attempts: REASON.

        Apply again: blobs that have arrived are not sent twice. If it breaks off at the same place each time, look for a proxy or a gateway with a limit on sizes or times.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]])
    .await?;
    Row::new("a layer that is too large", |emulator| {
        let words = "Provided length is too large";
        emulator.fail_always("PutBlobUpload", Fault::error(413, "SIZE_INVALID", words));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of blob sha256:… at HOST was answered 413 SIZE_INVALID: Provided length is too large.

        The registry, or a proxy or a gateway before it, takes no request of that size. Large layers are sent in parts where that helps. Raise its limit, or build the image of smaller layers.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("too many calls", |emulator| {
        emulator.fail_always("PostBlobUpload", Fault::status(429).retry_after(1));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 429 TOOMANYREQUESTS in the last of 8 attempts: Too many requests.

        The service is throttling. Apply again later, or with fewer requests at once:
            terraform apply -parallelism=2

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("too many calls for a long time", |emulator| {
        emulator.fail_always("PostBlobUpload", Fault::status(429).retry_after(3600));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 429 TOOMANYREQUESTS: Too many requests (asks for a wait of 3600 s before the next attempt, and attempts end after 600 s).

        The service is throttling. Apply again later, or with fewer requests at once:
            terraform apply -parallelism=2

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await
}

/// The protocol: a registry that fails, one that finds a manifest wrong or something
/// of it missing, and one that never confirms.
#[tokio::test]
async fn the_protocol() -> anyhow::Result<()> {
    Row::new("a registry that fails", |emulator| {
        emulator.fail_always("PostBlobUpload", Fault::status(500));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Start of the upload of blob sha256:… at HOST was answered 500 UNKNOWN in the last of 8 attempts: Unknown error.

        The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("a gateway that fails", |emulator| {
        let page = Fault::body(502, "<html><h1>502 Bad Gateway</h1></html>");
        emulator.fail_always("PutManifest", page);
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at HOST was answered 502 Bad Gateway in the last of 8 attempts.

        A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("a manifest that is not accepted", |emulator| {
        let words = "manifest invalid";
        emulator.fail_always("PutManifest", Fault::error(400, "MANIFEST_INVALID", words));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at HOST was answered 400 MANIFEST_INVALID: manifest invalid.

        The registry does not take images of this kind. The arguments "format" and "compression" write them in another way: registries that know nothing else take "docker" and "gzip".

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("a manifest that is too large", |emulator| {
        let words = "manifest exceeds 4 MiB";
        emulator.fail_always("PutManifest", Fault::error(413, "SIZE_INVALID", words));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at HOST was answered 413 SIZE_INVALID: manifest exceeds 4 MiB.

        The registry, or a proxy or a gateway before it, takes no manifest of that size. Raise its limit, or build the image with fewer layers or annotations.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("something of a manifest is not there", |emulator| {
        let words = "blob unknown to registry";
        let fault = Fault::error(404, "MANIFEST_BLOB_UNKNOWN", words);
        emulator.fail_always("PutManifest", fault);
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of manifest 1.0.0 at HOST was answered 404 MANIFEST_BLOB_UNKNOWN: blob unknown to registry.

        Something that the image is made of was not there when it was to be named, although it had been sent before. Somebody may be cleaning up in the repository at this moment; apply again.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("bytes that suffer on the way", |emulator| {
        let words = "Provided digest did not match uploaded content";
        emulator.fail_always("PutBlobUpload", Fault::error(400, "DIGEST_INVALID", words));
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of blob sha256:… at HOST was answered 400 DIGEST_INVALID in the last of 2 attempts: Provided digest did not match uploaded content.

        The source was read again and has that digest, so the bytes change between here and the registry: look at proxies and gateways on the way, and apply again.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await?;
    Row::new("an upload session that is lost", |emulator| {
        let words = "Blob upload unknown to registry";
        let fault = Fault::error(404, "BLOB_UPLOAD_UNKNOWN", words);
        emulator.fail_always("PutBlobUpload", fault);
    })
    .says(expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1.0.0". Upload of blob sha256:… at HOST was answered 404 BLOB_UPLOAD_UNKNOWN in the last of 8 attempts: Blob upload unknown to registry.

        The registry forgets uploads while they are under way, as one does whose requests are spread over several servers that share nothing. Apply again; if it stays like this, it is the registry's operators who can help.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]])
    .await
}

/// A token for nobody: the subject of the JWT is `anon-1`.
const ANONYMOUS: &str = "{\"token\":\"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ7XCJ1c2VySWRcIjpcImFub24tMVwifSJ9.c2ln\",\"expires_in\":3600}";
