//! What is allowed, how often, and for how long.

use std::time::Instant;

use ocir::emulator::Permission;

use super::*;

/// Without its permission an operation answers as if there were nothing, also a list; with it again, as before.
#[tokio::test]
async fn control_plane_permissions() -> Result<()> {
    let emulator = Emulator::builder().page_size(100).start().await?;
    let person = Person::of(&emulator)?;
    let seed = &person.seed;
    let id = person.repository("web").await?;
    person.tool().await?.push("web", "1.0", "layer").await?;
    let image = emulator.images()[0]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let token = person
        .post(&person.tokens(), json!({ "description": "docker" }))
        .await?
        .text("id");
    let apps = &seed.apps_compartment_id;
    let tenancy = &seed.tenancy_id;
    let move_to = json!({ "compartmentId": seed.ops_compartment_id });
    let nothing = json!({});

    type Row<'a> = (Permission, Method, String, Option<&'a Value>);
    let update = json!({ "isPublic": false });
    let create = json!({ "compartmentId": apps, "displayName": "api" });
    let description = json!({ "description": "podman" });
    let first_push = json!({ "isRepositoryCreatedOnFirstPush": false });
    let one = format!("{REPOSITORIES}/{id}");
    let one_image = format!("{IMAGES}/{image}");
    let configuration = format!("/20160918/container/configuration?compartmentId={tenancy}");
    // In an order in which each succeeds when it is allowed.
    let rows: Vec<Row<'_>> = vec![
        (
            Permission::RepositoryInspect,
            Method::GET,
            format!("{REPOSITORIES}?compartmentId={apps}"),
            None,
        ),
        (
            Permission::RepositoryInspect,
            Method::GET,
            format!("{IMAGES}?compartmentId={apps}"),
            None,
        ),
        (
            Permission::RepositoryInspect,
            Method::GET,
            configuration.clone(),
            None,
        ),
        (Permission::RepositoryRead, Method::GET, one.clone(), None),
        (
            Permission::RepositoryRead,
            Method::GET,
            one_image.clone(),
            None,
        ),
        (
            Permission::RepositoryCreate,
            Method::POST,
            REPOSITORIES.to_owned(),
            Some(&create),
        ),
        (
            Permission::RepositoryUpdate,
            Method::PUT,
            one.clone(),
            Some(&update),
        ),
        (
            Permission::RepositoryUpdate,
            Method::PUT,
            one_image.clone(),
            Some(&nothing),
        ),
        (
            Permission::RepositoryManage,
            Method::PUT,
            configuration,
            Some(&first_push),
        ),
        (
            Permission::RepositoryManage,
            Method::POST,
            format!("{one}/actions/changeCompartment"),
            Some(&move_to),
        ),
        (
            Permission::RepositoryManage,
            Method::DELETE,
            one_image,
            None,
        ),
        (Permission::RepositoryManage, Method::DELETE, one, None),
        (
            Permission::CredentialManage,
            Method::GET,
            person.tokens(),
            None,
        ),
        (
            Permission::CredentialManage,
            Method::POST,
            person.tokens(),
            Some(&description),
        ),
        (
            Permission::CredentialManage,
            Method::PUT,
            format!("{}/{token}", person.tokens()),
            Some(&description),
        ),
        (
            Permission::CredentialManage,
            Method::DELETE,
            format!("{}/{token}", person.tokens()),
            None,
        ),
        (
            Permission::UserInspect,
            Method::GET,
            format!("/20160918/users/{}", seed.user_id),
            None,
        ),
        (
            Permission::UserInspect,
            Method::GET,
            format!("/20160918/users?compartmentId={tenancy}"),
            None,
        ),
        (
            Permission::TenancyInspect,
            Method::GET,
            format!("/20160918/tenancies/{tenancy}"),
            None,
        ),
        (
            Permission::TenancyInspect,
            Method::GET,
            format!("/20160918/tenancies/{tenancy}/regionSubscriptions"),
            None,
        ),
        (
            Permission::CompartmentInspect,
            Method::GET,
            format!("/20160918/compartments?compartmentId={tenancy}"),
            None,
        ),
        (
            Permission::NamespaceRead,
            Method::GET,
            "/n".to_owned(),
            None,
        ),
    ];
    for (permission, method, path, body) in rows {
        emulator.withdraw(permission);
        let got = person.send(method.clone(), &path, body.cloned()).await?;
        assert_eq!(
            got.said(),
            "404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.",
            "{method} {path}"
        );
        emulator.grant(permission);
        let got = person.send(method.clone(), &path, body.cloned()).await?;
        assert!(
            (200..300).contains(&got.status),
            "{method} {path}: {}",
            got.said()
        );
    }
    Ok(())
}

/// Who may not read cannot tell what is there; who may only read is told that pushing is denied.
#[tokio::test]
async fn registry_permissions() -> Result<()> {
    let emulator = Emulator::builder().create_on_first_push().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let digest = tool.push("web", "1.0", "layer").await?;
    let manifest = tool.path("web", "manifests/1.0");
    let upload = tool.path("web", "blobs/uploads/");

    emulator.withdraw(Permission::RepositoryUpdate);
    let said = [
        tool.send(Method::GET, &manifest).await?.said(),
        tool.send(Method::POST, &upload).await?.said(),
        tool.put_manifest("web", "2.0", OCI_MANIFEST, &json!({}))
            .await?
            .said(),
    ];
    expect![[r#"
        200
        403 DENIED: Requested access to the resource is denied
        403 DENIED: Requested access to the resource is denied
    "#]]
    .assert_eq(&(said.join("\n") + "\n"));
    emulator.grant(Permission::RepositoryUpdate);

    emulator.withdraw(Permission::RepositoryRead);
    let unknown = format!(
        "404 NAME_UNKNOWN: Repository {}/web not known to registry",
        tool.namespace
    );
    assert_eq!(tool.send(Method::HEAD, &manifest).await?.status, 404);
    for (method, path) in [
        (Method::GET, manifest.clone()),
        (Method::GET, tool.path("web", "tags/list")),
        (Method::POST, upload.clone()),
    ] {
        assert_eq!(tool.send(method, &path).await?.said(), unknown, "{path}");
    }
    emulator.edit_repository("web", json!({ "isPublic": true }));
    assert_eq!(tool.send(Method::GET, &manifest).await?.status, 200);
    assert_eq!(tool.send(Method::POST, &upload).await?.status, 403);
    emulator.grant(Permission::RepositoryRead);

    emulator.withdraw(Permission::RepositoryManage);
    let by_digest = tool.path("web", &format!("manifests/{digest}"));
    assert_eq!(tool.send(Method::DELETE, &by_digest).await?.status, 403);
    let new = tool.path("new", "blobs/uploads/");
    assert_eq!(tool.send(Method::POST, &new).await?.status, 404);
    emulator.grant(Permission::RepositoryManage);
    assert_eq!(tool.send(Method::POST, &new).await?.status, 202);
    assert_eq!(tool.send(Method::DELETE, &by_digest).await?.status, 202);
    Ok(())
}

/// A permission that is lost in the middle of an upload ends it.
#[tokio::test]
async fn permission_lost_during_a_push() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let location = tool.start("web").await?;
    emulator.withdraw(Permission::RepositoryUpdate);
    let put = format!("{location}&digest={}", digest(b""));
    assert_eq!(tool.send(Method::PUT, &put).await?.status, 403);
    emulator.grant(Permission::RepositoryUpdate);
    assert_eq!(tool.send(Method::PUT, &put).await?.status, 201);
    Ok(())
}

/// Of a storm of creations no more than so many pass in a second; those who come again in time all get their repository, once.
#[tokio::test]
async fn throttling() -> Result<()> {
    const AT_ONCE: usize = 12;
    let emulator = Emulator::builder().start().await?;
    emulator.throttle(Some(5));
    let person = Person::of(&emulator)?;
    let start = Instant::now();
    let create = |index: usize| {
        let (person, emulator) = (&person, &emulator);
        async move {
            let body = json!({
                "compartmentId": person.seed.apps_compartment_id,
                "displayName": format!("web{index}"),
            });
            for _ in 0..10 {
                let got = person.post(REPOSITORIES, body.clone()).await?;
                if got.status != 429 {
                    return got.accepted().map(|_| ());
                }
                ensure!(got.header("retry-after") == "1");
                ensure!(got.said() == "429 TooManyRequests: Too many requests for the user.");
                tokio::time::sleep(Duration::from_millis(1001)).await;
            }
            bail!("{:?}", emulator.requests().last())
        }
    };
    futures_util::future::try_join_all((0..AT_ONCE).map(create)).await?;
    // Whatever second is looked at, 5 passed in it: the eleventh came two seconds after the first.
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(emulator.repositories().len(), AT_ONCE);
    assert!(
        emulator
            .requests()
            .iter()
            .any(|request| request.status == 429)
    );

    // The registry and the metadata service have limits of their own, which are not this one.
    emulator.throttle(Some(0));
    assert_eq!(person.get("/n").await?.status, 429);
    assert_eq!(person.get("/20180419/docker/token").await?.status, 200);
    emulator.throttle(None);
    assert_eq!(person.get("/n").await?.status, 200);
    Ok(())
}

/// A registry token that ends in the middle of a push is refused with a challenge, and a new one goes on where it was.
#[tokio::test]
async fn registry_token_ends_during_a_push() -> Result<()> {
    let emulator = Emulator::builder()
        .registry_token_lifetime(Duration::from_secs(120))
        .start()
        .await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let answer = person.get("/20180419/docker/token").await?;
    assert_eq!(answer.body["expires_in"], json!(120));
    let tool = person.tool_with(answer.text("token"));
    let location = tool.start("web").await?;
    let put = format!("{location}&digest={}", digest(b""));

    emulator.expire_tokens();
    let got = tool.send(Method::PUT, &put).await?;
    assert_eq!(got.said(), "401 UNAUTHORIZED: Unauthorized");
    let host = emulator.authority();
    assert_eq!(
        got.header("www-authenticate"),
        format!(r#"Bearer realm="http://{host}/20180419/docker/token",service="{host}",scope="""#)
    );
    let tool = person.tool().await?;
    emulator.skew_clock(121);
    assert_eq!(tool.send(Method::PUT, &put).await?.status, 401);
    emulator.skew_clock(0);
    assert_eq!(tool.send(Method::PUT, &put).await?.status, 201);
    Ok(())
}

/// An anonymous token is all that an expired session gets from the token endpoint, with status 200.
#[tokio::test]
async fn expired_session_at_the_token_endpoint() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let values = emulator.resource_principal()?;
    let person = Person {
        key: private_key(&values["OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM"])?,
        key_id: format!("ST${}", values["OCI_RESOURCE_PRINCIPAL_RPST"]),
        ..Person::of(&emulator)?
    };
    Person::of(&emulator)?.repository("web").await?;
    person.tool().await?.push("web", "1.0", "layer").await?;
    emulator.expire_tokens();
    let tool = person.tool().await?;
    let got = tool
        .send(Method::POST, &tool.path("web", "blobs/uploads/"))
        .await?;
    expect!["403 DENIED: Anonymous users are only allowed read access on public repos"]
        .assert_eq(&got.said());
    Ok(())
}

/// Each script of the configuration folder makes its shell one machine and no other.
#[tokio::test]
async fn scripts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let _emulator = Emulator::builder().config(folder.path()).start().await?;
    let mut names = String::new();
    for script in [
        "instance",
        "cloud-shell",
        "resource-principal",
        "identity-domain",
        #[cfg(target_os = "linux")]
        "workload",
    ] {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!(
                ". ./identity-domain.env.sh; . ./instance.env.sh; . ./{script}.env.sh; env"
            ))
            .current_dir(folder.path())
            .env_clear()
            .output()?;
        ensure!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout)?;
        let mut set: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("OCI_"))
            .collect();
        set.sort_unstable();
        names.push_str(&format!("{script}: {}\n", set.join(" ")));
    }
    expect![[r#"
        instance: OCI_AUTH OCI_CLI_AUTH OCI_CLI_ENDPOINT OCI_CLI_FEDERATION_ENDPOINT OCI_ENDPOINT OCI_METADATA_BASE_URL OCI_SDK_AUTH_CLIENT_REGION_URL
        cloud-shell: OCI_AUTH OCI_CLI_AUTH OCI_CLI_CLOUD_SHELL OCI_CLI_CONFIG_FILE OCI_CLI_DELEGATION_TOKEN_FILE OCI_CLI_ENDPOINT OCI_CLI_FEDERATION_ENDPOINT OCI_ENDPOINT OCI_METADATA_BASE_URL OCI_SDK_AUTH_CLIENT_REGION_URL OCI_obo_token_path OCI_use_obo_token
        resource-principal: OCI_AUTH OCI_CLI_AUTH OCI_CLI_ENDPOINT OCI_ENDPOINT OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM OCI_RESOURCE_PRINCIPAL_REGION OCI_RESOURCE_PRINCIPAL_RPST OCI_RESOURCE_PRINCIPAL_VERSION
        identity-domain: OCI_AUTH OCI_CLI_ENDPOINT OCI_ENDPOINT OCI_TOKEN_EXCHANGE_AUTH OCI_TOKEN_EXCHANGE_CLIENT_ID OCI_TOKEN_EXCHANGE_CLIENT_SECRET OCI_TOKEN_EXCHANGE_DOMAIN_URL OCI_TOKEN_EXCHANGE_REQUESTED_TOKEN_TYPE OCI_TOKEN_EXCHANGE_SUBJECT_TOKEN_TYPE OCI_WORKLOAD_IDENTITY_TOKEN_PATH
        workload: OCI_AUTH OCI_CLI_ENDPOINT OCI_ENDPOINT OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH OCI_RESOURCE_PRINCIPAL_REGION OCI_RESOURCE_PRINCIPAL_VERSION
    "#]].assert_eq(&names);
    Ok(())
}
