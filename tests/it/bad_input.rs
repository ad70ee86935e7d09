//! What goes wrong at users': each case reads the whole diagnostic, and looks
//! at what is in the state and in the cloud afterwards.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use expect_test::{Expect, expect};
use ocir::{
    credentials::Environment,
    emulator::{Emulator, Fault},
    framework::Server,
    image::Digest,
    provider::Ocir,
    transport::RetryPolicy,
};
use serde_json::{Value as Json, json};

use crate::support::{
    core::{Host, Problems, Resource},
    images::Layout,
    provider::{self, Cloud, arguments},
};

// Signing in.

/// A text that is no key is found before anybody is asked.
#[tokio::test]
async fn key_that_is_none() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let garbage = json!({ "private_key": "oci_api_key.pem" });
    trial.fails(garbage, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The key in the argument private_key is not in PEM form: there is no line such as `-----BEGIN PRIVATE KEY-----`. A path belongs into private_key_path or OCI_CLI_KEY_FILE."#]]).await?;

    let half = trial.cloud.emulator.seed().private_key_pem[..500].to_owned();
    let half = json!({ "private_key": half });
    trial
        .fails(
            half,
            expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The key in the argument private_key has no `-----END` line, so a part of it is missing."#]],
        )
        .await?;
    assert!(trial.cloud.emulator.requests().is_empty());
    Ok(())
}

/// The key is somebody else's, so the service does not accept the signature.
#[tokio::test]
async fn key_of_somebody_else() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let other = json!({ "private_key": other_key()?, "fingerprint": null });
    trial.fails(other, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The namespace of the tenancy could not be read. GetNamespace of service objectstorage at HOST was answered 401 NotAuthenticated: The required information to complete authentication was not provided or was incorrect.

        The signature was not accepted. Check that user, tenancy and API key belong together, and that the key is uploaded for the user and active (a new one is known everywhere after some minutes):
            oci iam user api-key list --user-id USER

        Signed in as: user USER (API key 56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b, argument private_key)
        Request id: ID"#]]).await?;
    assert!(trial.cloud.emulator.repositories().is_empty());
    Ok(())
}

/// The fingerprint is another key's, which is found before anybody is asked.
#[tokio::test]
async fn fingerprint_of_another_key() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let other = json!({ "fingerprint": "56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b" });
    trial.fails(other, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The fingerprint and the private key do not belong together: the argument fingerprint says 56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b, and the key in the argument private_key has FINGERPRINT; set that, or leave the fingerprint out."#]]).await?;
    assert!(trial.cloud.emulator.requests().is_empty());
    Ok(())
}

/// A profile that is named has to be there, and so has its file.
#[tokio::test]
async fn profile_that_is_missing() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let file = trial.write("config", b"[DEFAULT]\nregion=sa-saopaulo-1\n[ci]\n")?;
    let named = json!({ "config_file": file, "config_file_profile": "prod" });
    trial.fails(named, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The argument config_file_profile names the profile [prod], which is not in DIRECTORY/config; the profiles are DEFAULT and ci."#]]).await?;

    let missing = trial.path("nowhere");
    let missing = json!({ "config_file": missing, "config_file_profile": "prod" });
    trial.fails(missing, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        Cannot read the configuration file DIRECTORY/nowhere, which the argument config_file names: No such file or directory (os error 2)."#]]).await?;

    let broken = trial.write("broken", b"[DEFAULT]\nregion\n")?;
    let broken = json!({ "config_file": broken });
    trial.fails(broken, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        Cannot read the configuration file DIRECTORY/broken: line 2: neither a profile, [NAME], nor a setting, key=value."#]]).await?;
    assert!(trial.cloud.emulator.requests().is_empty());
    Ok(())
}

/// Nothing is configured at all.
#[tokio::test]
async fn nobody_to_sign_in_as() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let nothing = json!({
        "tenancy_ocid": null, "user_ocid": null, "fingerprint": null, "private_key": null,
    });
    trial.fails(nothing, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        Nobody to sign in as. Tried, in this order:
            API key: neither user_ocid nor private_key is an argument or a variable
            token exchange: neither workload_identity_token_path nor token_exchange_domain_url is set
            profile: there is no configuration file: there is no home directory to look for it in
            Cloud Shell: neither OCI_CLI_CLOUD_SHELL nor OCI_obo_token_path is set, and there is no /etc/oci/delegation_token
            resource principal: OCI_RESOURCE_PRINCIPAL_VERSION is not set
            OKE workload identity: KUBERNETES_SERVICE_HOST is not set, as it is in a pod
            instance principal: no answer from 127.0.0.1:1 (Connection refused (os error 111))

        How they are set up:
            a person: `oci setup config` makes a key and a profile, `oci session authenticate` a session
            a pipeline elsewhere: OCI_TENANCY_OCID, OCI_USER_OCID and OCI_PRIVATE_KEY, or a token exchange
            an instance, a function, a pipeline or a pod in Oracle Cloud: a policy that allows it
        The argument auth says which one is meant."#]]).await?;
    Ok(())
}

/// The key's file is missing, or is none.
#[tokio::test]
async fn key_file_that_cannot_be_read() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let missing = json!({ "private_key": null, "private_key_path": trial.path("key.pem") });
    trial.fails(missing, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        Cannot read the private key file DIRECTORY/key.pem, which the argument private_key_path names: No such file or directory (os error 2)."#]]).await?;
    let itself = trial.cloud.emulator.seed().private_key_pem.clone();
    let itself = json!({ "private_key": null, "private_key_path": itself });
    trial.fails(itself, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The argument private_key_path holds something that looks like the key itself, and takes the path of its file; a key belongs into private_key or OCI_CLI_KEY_CONTENT."#]]).await?;
    let directory = json!({ "private_key": null, "private_key_path": trial.path("") });
    trial.fails(directory, expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        Cannot read the private key file DIRECTORY/, which the argument private_key_path names: Is a directory (os error 21)."#]]).await?;
    assert!(trial.cloud.emulator.requests().is_empty());
    Ok(())
}

/// A region that is in no table, as an argument and in a profile.
#[tokio::test]
async fn region_that_is_unknown() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let argument = json!({ "region": "sa-saopolo-1" });
    trial.fails(argument, expect![[r#"
        Error: Unknown region

        Unknown region "sa-saopolo-1"; the nearest by name: sa-saopaulo-1 (gru). A region that is newer than this provider is described in OCI_REGION_METADATA or ~/.oci/regions-config.json.

        It is what the argument region says."#]]).await?;
    let file = trial.write("config", b"[DEFAULT]\nregion=Brazil\n")?;
    let profile = json!({ "region": null, "config_file": file });
    trial.fails(profile, expect![[r#"
        Error: Unknown region

        Unknown region "Brazil": an identifier such as sa-saopaulo-1, or a key such as gru, is expected.

        It is what `region` in profile DEFAULT of DIRECTORY/config says."#]]).await?;
    let nowhere = json!({ "region": null });
    trial.fails(nowhere, expect![[r#"
        Error: No region

        No region is set. Set the argument "region" of the provider, the environment variable OCI_REGION, or "region" in the profile of the configuration file, for example to "sa-saopaulo-1"."#]]).await?;
    assert!(trial.cloud.emulator.requests().is_empty());
    Ok(())
}

/// What can be no region is found before anything is asked for.
#[tokio::test]
async fn region_that_is_none() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    for region in ["São Paulo", "https://example.com", "sa saopaulo 1"] {
        let problem = trial.problem(json!({ "region": region })).await?;
        assert!(
            problem.contains("must be a region's identifier"),
            "{problem}"
        );
    }
    let argument = json!({ "auth": "InstancePrinciple" });
    trial.fails(argument, expect![[r#"
        Error: Invalid value

        Argument "auth" must be one of "ApiKey", "SecurityToken", "InstancePrincipal", "ResourcePrincipal", "OKEWorkloadIdentity", "WorkloadIdentityFederation", "CloudShell"; "InstancePrinciple" is none of them.
          with auth"#]]).await?;
    Ok(())
}

/// Retries for ever are refused, as an argument and in the environment.
#[tokio::test]
async fn retries_for_ever() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let argument = json!({ "retry_duration_seconds": -1 });
    trial.fails(argument, expect![[r#"
        Error: Invalid value

        Argument "retry_duration_seconds" must be 0 or more; -1, with which Oracle's provider tries for ever, is not supported, and the longest is a day (86400).
          with retry_duration_seconds"#]]).await?;
    let variables = [("OCI_RETRY_DURATION_SECONDS", "-1")];
    let problem = trial.problem_among(&variables, json!({})).await?;
    expect![[r#"
        Error: Invalid environment variable

        Environment variable OCI_RETRY_DURATION_SECONDS must be 0 or more; -1, with which Oracle's provider tries for ever, is not supported, and the longest is a day (86400)."#]].assert_eq(&problem);
    Ok(())
}

/// Switched off, no request is sent a second time.
#[tokio::test]
async fn retries_that_are_switched_off() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    for (arguments, attempts) in [
        (json!({}), 8),
        (json!({ "disable_auto_retries": true }), 1),
        (json!({ "retry_duration_seconds": 0 }), 1),
    ] {
        let emulator = &trial.cloud.emulator;
        emulator.fail_always("GetNamespace", Fault::status(503));
        emulator.clear_requests();
        let problem = trial.problem(arguments).await?;
        assert!(problem.contains("503 ServiceUnavailable"), "{problem}");
        assert_eq!(trial.cloud.count("GetNamespace"), attempts);
    }
    Ok(())
}

/// The file of certificates that a variable names is missing, or has none in it.
#[tokio::test]
async fn certificates_that_cannot_be_read() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let missing = trial.path("ca.pem").display().to_string();
    let variables = [("OCI_CLI_CERT_BUNDLE", missing.as_str())];
    let problem = trial.problem_among(&variables, json!({})).await?;
    expect![[r#"
        Error: Cannot read certificates

        The environment variable OCI_CLI_CERT_BUNDLE names the certificates in DIRECTORY/ca.pem, which cannot be read: No such file or directory (os error 2)."#]].assert_eq(&problem);
    let empty = trial.write("empty.pem", b"none")?.display().to_string();
    let variables = [("custom_cert_location", empty.as_str())];
    let problem = trial.problem_among(&variables, json!({})).await?;
    expect![[r#"
        Error: Cannot set up HTTPS

        The HTTP client could not be set up with the certificates of DIRECTORY/empty.pem, which the environment variable custom_cert_location names: cannot read the CA certificates: there is no certificate in PEM form."#]].assert_eq(&problem);
    assert!(trial.cloud.emulator.requests().is_empty());
    Ok(())
}

/// An address for a client whose name is mistyped is not used, and the run says so;
/// one for a client of another service is not ours to judge.
#[tokio::test]
async fn misspelt_client() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let overrides =
        "oci_artifact.ArtifactsClient=https://a.example;oci_core.ComputeClient=https://b.example";
    let variables = [("CLIENT_HOST_OVERRIDES", overrides)];
    let server = Server::new(Ocir::new(environment(&variables)));
    let host = Host::start(server).await?;
    let warnings = host.configure(arguments(&trial.cloud.emulator)).await?;
    expect![[r#"
        Warning: Unknown client

        The environment variable CLIENT_HOST_OVERRIDES names the client "oci_artifact.ArtifactsClient", which is not used here, so its address is not either, and requests go where they would go without it. If "oci_artifacts.ArtifactsClient" is meant, write it like that."#]]
    .assert_eq(&warnings.join("\n"));
    Ok(())
}

/// A service with a certificate of a company's own is trusted when a variable says
/// so, by the control plane and by the registry, and by nobody else.
#[tokio::test]
async fn certificates_of_ones_own() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let certificate = trial.write("ca.pem", made.cert.pem().as_bytes())?;
    let key = trial.write("tls.pem", made.signing_key.serialize_pem().as_bytes())?;
    let emulator = Emulator::builder().tls(&certificate, &key).start().await?;
    let bundle = certificate.display().to_string();
    let host = |variables: &[(&str, &str)]| {
        let environment = environment(variables);
        let provider = Ocir::new(environment).with_retry(RetryPolicy::without_waiting());
        Host::start(Server::new(provider))
    };
    let files = Files::new()?;
    files.show(&[b"layer"])?;

    let trusting = host(&[("TF_VAR_custom_cert_location", &bundle)]).await?;
    trusting.configure(arguments(&emulator)).await?;
    let cloud = Cloud {
        emulator,
        host: trusting,
    };
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let mut push = cloud.host.resource("ocir_image_push");
    push.apply(files.push()).await?;
    assert_eq!(cloud.emulator.images().len(), 1);

    let strict = host(&[]).await?;
    let mut config = arguments(&cloud.emulator);
    config["registry"] = json!({ "ca_certificate": made.cert.pem() });
    strict.configure(config).await?;
    let mut repository = strict.resource("ocir_repository");
    let problem = apply(&mut repository, cloud.web()).await;
    assert!(problem.contains("Cannot read namespace"), "{problem}");
    Ok(())
}

/// Nobody listens at the endpoint, or it is no address.
#[tokio::test]
async fn endpoint_that_does_not_answer() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    drop(listener);
    let closed = json!({ "endpoint": format!("http://{address}") });
    let problem = trial.problem(closed).await?.replace(&address, "HOST");
    let problem = between(&problem, "3 attempts: ", ".\n", "REFUSED");
    expect![[r#"
        Error: Cannot read namespace

        The namespace of the tenancy could not be read. GetNamespace of service objectstorage got no answer from HOST in the last of 3 attempts: REFUSED.

        Check the network, the provider's arguments "region" and "endpoint", and whether a proxy is needed (HTTPS_PROXY).

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&problem);
    let nonsense = json!({ "endpoint": "localhost:8080" });
    trial
        .fails(
            nonsense,
            expect![[r#"
        Error: Invalid value

        Argument "endpoint" must be an address that begins with "https://" or "http://".
          with endpoint"#]],
        )
        .await?;
    Ok(())
}

/// Ten minutes are more than a signature may be old, or early.
#[tokio::test]
async fn clock_that_is_off() -> anyhow::Result<()> {
    let trial = SignIn::new().await?;
    trial.cloud.emulator.skew_clock(600);
    let problem = trial.problem(json!({})).await?;
    expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The namespace of the tenancy could not be read. GetNamespace of service objectstorage at HOST was answered 401 NotAuthenticated: DATES.

        This machine's clock is 10 minutes behind the service's, and a signature is good for five minutes. Set the clock.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&between(&problem, "NotAuthenticated: ", ".\n", "DATES"));
    trial.cloud.emulator.skew_clock(-600);
    let problem = trial.problem(json!({})).await?;
    expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        The namespace of the tenancy could not be read. GetNamespace of service objectstorage at HOST was answered 401 NotAuthenticated: DATES.

        This machine's clock is 10 minutes ahead of the service's, and a signature is good for five minutes. Set the clock.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&between(&problem, "NotAuthenticated: ", ".\n", "DATES"));
    assert!(trial.cloud.emulator.repositories().is_empty());
    Ok(())
}

// The control plane.

/// A compartment that does not exist, or that may not be seen.
#[tokio::test]
async fn compartment_that_is_not_found() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let config = json!({ "compartment_id": "ocid1.compartment.oc1..gone", "display_name": "web" });
    let problem = cloud.neutral(&apply(&mut repository, config).await);
    expect![[r#"
        Error: Cannot create container repository

        Repository "web" could not be created in compartment ocid1.compartment.OCID. CreateContainerRepository of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to manage repos in compartment id ocid1.compartment.OCID

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&problem);
    assert_eq!(repository.state(), Json::Null);
    assert!(cloud.emulator.repositories().is_empty());
    Ok(())
}

/// The OCID is that of something else, it is empty, as an unset variable of a shell
/// is, or what it is set to turns out to be null.
#[tokio::test]
async fn compartment_that_is_none() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let wrong = async |compartment_id: Json| {
        let mut repository = cloud.host.resource("ocir_repository");
        let config = json!({ "compartment_id": compartment_id, "display_name": "web" });
        let problem = problem(repository.plan(config).await.map(drop));
        cloud.neutral(&problem)
    };
    expect![[r#"
        Error: Invalid value

        Argument "compartment_id" must be the OCID of a compartment or of the tenancy; "ocid1.user.OCID" is one of something else.
          with compartment_id"#]].assert_eq(&wrong(json!("ocid1.user.oc1..a")).await);
    expect![[r#"
        Error: Invalid value

        Argument "compartment_id" must be an OCID, which begins with "ocid1."; "" is none.
          with compartment_id"#]]
    .assert_eq(&wrong(json!("")).await);
    expect![[r#"
        Error: Invalid value

        Argument "compartment_id" must have a value, but what it is set to is null.
          with compartment_id"#]]
    .assert_eq(&wrong(Json::Null).await);
    Ok(())
}

/// Somebody has the name; the way out is an import, when it can be seen.
#[tokio::test]
async fn name_that_is_taken() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let mut first = cloud.host.resource("ocir_repository");
    first.apply(cloud.web()).await?;
    let mut second = cloud.host.resource("ocir_repository");
    let problem = cloud.neutral(&apply(&mut second, cloud.web()).await);
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT. CreateContainerRepository of service artifacts at HOST was answered 409 NAMESPACE_CONFLICT: Repository already exists.

        The name is taken in this tenancy and region. It is in compartment COMPARTMENT. To manage the existing repository, import it:
            import {
              to = ocir_repository.NAME
              id = "ocid1.containerrepo.OCID"
            }
        or let the resource take it over, with its images, by setting in its block:
            adopt_existing = true

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID
          with display_name"#]].assert_eq(&problem);

    let hidden = Fault::body(200, r#"{"items": []}"#);
    cloud
        .emulator
        .fail_next("ListContainerRepositories", hidden);
    let problem = cloud.neutral(&apply(&mut second, cloud.web()).await);
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT. CreateContainerRepository of service artifacts at HOST was answered 409 NAMESPACE_CONFLICT: Repository already exists.

        The name is taken in this tenancy and region. The repository that has it cannot be seen by the identity that asked. It may be in a compartment it has no rights in, such as the root compartment after a first push.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID
          with display_name"#]].assert_eq(&problem);
    assert_eq!(second.state(), Json::Null);
    assert_eq!(cloud.emulator.repositories().len(), 1);
    first.expect_noop(cloud.web()).await?;
    Ok(())
}

/// A service that throttles once is asked again; one that goes on is given up.
#[tokio::test]
async fn throttling() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let throttle = || Fault::status(429).retry_after(1);
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    cloud
        .emulator
        .fail_always("CreateContainerRepository", throttle());
    let problem = problem(repository.apply_planned(&plan).await);
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT. CreateContainerRepository of service artifacts at HOST was answered 429 TooManyRequests in the last of 8 attempts: Too many requests for the user.

        The service is throttling. Apply again later, or with fewer requests at once:
            terraform apply -parallelism=2

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problem));
    assert_eq!(cloud.count("CreateContainerRepository"), 8);
    assert_eq!(repository.state(), Json::Null);
    assert!(cloud.emulator.repositories().is_empty());

    cloud.emulator.clear_faults();
    cloud
        .emulator
        .fail_next("CreateContainerRepository", throttle());
    repository.apply(cloud.web()).await?;
    assert_eq!(cloud.emulator.repositories().len(), 1);
    Ok(())
}

/// The service fails in every step of an object's life, which leaves the state
/// as it was.
#[tokio::test]
async fn service_that_fails() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let emulator = &cloud.emulator;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    emulator.fail_always("CreateContainerRepository", Fault::status(500));
    let create = problem(repository.apply_planned(&plan).await);
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT. CreateContainerRepository of service artifacts at HOST was answered 500 InternalServerError in the last of 8 attempts: Out of host capacity or an internal error occurred.

        The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

        Nothing was created: the compartment has no repository of this name.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&create));
    assert_eq!(repository.state(), Json::Null);
    assert!(emulator.repositories().is_empty());

    emulator.clear_faults();
    let state = repository.apply(cloud.web()).await?;
    emulator.fail_always("GetContainerRepository", Fault::status(503));
    let read = problem(repository.refresh().await);
    expect![[r#"
        Error: Cannot read container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be read. GetContainerRepository of service artifacts at HOST was answered 503 ServiceUnavailable in the last of 8 attempts: The service is currently unavailable.

        The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&read));
    assert_eq!(repository.state(), state);

    emulator.clear_faults();
    let mut public = cloud.web();
    public["is_public"] = json!(true);
    let plan = repository.plan(public).await?;
    emulator.fail_always("UpdateContainerRepository", Fault::status(500));
    let update = problem(repository.apply_planned(&plan).await);
    expect![[r#"
        Error: Cannot update container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be changed. UpdateContainerRepository of service artifacts at HOST was answered 500 InternalServerError in the last of 8 attempts: Out of host capacity or an internal error occurred.

        The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&update));
    assert_eq!(repository.state(), state);
    assert_eq!(cloud.repository("team/web")["isPublic"], json!(false));

    emulator.clear_faults();
    emulator.fail_always("DeleteContainerRepository", Fault::status(500));
    let delete = problem(repository.destroy().await);
    expect![[r#"
        Error: Cannot delete container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be deleted. DeleteContainerRepository of service artifacts at HOST was answered 500 InternalServerError in the last of 8 attempts: Out of host capacity or an internal error occurred.

        The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&delete));
    assert_eq!(repository.state(), state);
    assert_eq!(emulator.repositories().len(), 1);
    Ok(())
}

/// The first half of a change works and the second does not: the state shows
/// the first.
#[tokio::test]
async fn half_of_a_change() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut config = cloud.web();
    config["compartment_id"] = json!(ops);
    config["is_public"] = json!(true);
    let plan = repository.plan(config.clone()).await?;
    let fault = Fault::error(400, "InvalidParameter", "isPublic is not allowed here");
    cloud.emulator.fail_next("UpdateContainerRepository", fault);
    let problem = problem(repository.apply_planned(&plan).await);
    expect![[r#"
        Error: Cannot update container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be changed. UpdateContainerRepository of service artifacts at HOST was answered 400 InvalidParameter: isPublic is not allowed here.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problem));
    assert_eq!(repository.state()["compartment_id"], json!(ops));
    assert_eq!(repository.state()["is_public"], json!(false));
    assert_eq!(cloud.repository("team/web")["compartmentId"], json!(ops));
    assert!(!repository.is_tainted());
    repository.apply(config).await?;
    Ok(())
}

/// The answer to a create is lost on the way. The service recognises the second
/// attempt, and a token's value is not lost with the answer.
#[tokio::test]
async fn answer_that_is_lost() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let emulator = &cloud.emulator;
    emulator.fail_next("CreateContainerRepository", Fault::cut_answer());
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    assert_eq!(cloud.count("CreateContainerRepository"), 2);
    assert_eq!(emulator.repositories().len(), 1);

    emulator.fail_next("CreateAuthToken", Fault::cut_answer());
    let mut token = cloud.host.resource("oci_auth_token");
    let state = token
        .apply(json!({ "description": "Used by Docker" }))
        .await?;
    assert!(
        state["token"]
            .as_str()
            .is_some_and(|token| !token.is_empty())
    );
    assert_eq!(cloud.count("CreateAuthToken"), 2);
    assert_eq!(emulator.auth_tokens().len(), 1);
    Ok(())
}

/// A token is made and the user's name cannot be read: the token is in the state,
/// and the missing name is a warning, not an error that would replace the token.
#[tokio::test]
async fn token_whose_user_cannot_be_read() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let config = json!({ "description": "Used by Docker" });
    let plan = token.plan(config.clone()).await?;
    cloud.emulator.fail_always("GetUser", Fault::status(404));
    token.apply_planned(&plan).await?;
    let warnings = token.take_warnings().join("\n\n");
    expect![[r#"
        Warning: Login name is not known

        The token can be used. Its user name for "docker login", which is <namespace>/<user>, could not be found out, so the attribute "username" is null until a later refresh finds it. Without it, whether the registry accepts the token already was not tried.

        User USER could not be read. GetUser of service identity at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to inspect users in tenancy

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&warnings));
    assert!(!token.is_tainted());
    assert!(token.state()["token"].is_string());
    assert_eq!(token.state()["username"], Json::Null);

    cloud.emulator.clear_faults();
    token.refresh().await?;
    assert!(token.state()["username"].is_string());
    Ok(())
}

/// Users are changed in the home region only.
#[tokio::test]
async fn token_outside_of_the_home_region() -> anyhow::Result<()> {
    let emulator = Emulator::builder().region("eu-frankfurt-1").start().await?;
    let mut config = arguments(&emulator);
    config["region"] = json!("us-ashburn-1");
    config["endpoint"] = json!(format!("{}/~us-ashburn-1", emulator.url()));
    let cloud = Cloud::impatient(emulator, config).await?;
    let mut token = cloud.host.resource("oci_auth_token");
    let problem = apply(&mut token, json!({ "description": "d" })).await;
    expect![[r#"
        Error: Cannot create auth token

        An auth token for user USER could not be created. CreateAuthToken of service identity at HOST was answered 403 NotAllowed: Please go to your home region FRA to execute CREATE, UPDATE and DELETE operations.

        Users and their tokens are changed in the tenancy's home region only, and the provider is configured for us-ashburn-1. Configure one for the home region, and name it in the resource:
            provider "ocir" {
              alias  = "home"
              region = "eu-frankfurt-1"
            }

            provider = ocir.home

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problem));
    assert_eq!(token.state(), Json::Null);
    assert!(cloud.emulator.auth_tokens().is_empty());
    Ok(())
}

/// A user has both the tokens that one may have.
#[tokio::test]
async fn third_token() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    for description in ["laptop", "pipeline"] {
        let mut token = cloud.host.resource("oci_auth_token");
        let state = token.apply(json!({ "description": description })).await?;
        // A clock that is behind Oracle's knows no age but none.
        let id = state["id"].as_str().unwrap_or_default();
        let later = json!({ "timeCreated": "2100-01-02T03:04:05.678Z" });
        cloud.emulator.edit_auth_token(id, later);
    }
    let mut third = cloud.host.resource("oci_auth_token");
    let problem = apply(&mut third, json!({ "description": "third" })).await;
    expect![[r#"
        Error: No free auth token

        A user may hold two auth tokens, and user USER holds them already:
            ocid1.credential.OCID "laptop", 0 seconds old (created 2100-01-02T03:04:05.678Z)
            ocid1.credential.OCID "pipeline", 0 seconds old (created 2100-01-02T03:04:05.678Z)

        Another one can be created only after one of them is deleted. A token that is replaced frees its own place, unless create_before_destroy keeps it until the new one exists.

        Delete one that is not used any more:
            oci iam auth-token delete --user-id USER --auth-token-id TOKEN_OCID
        or import it to manage it here."#]].assert_eq(&cloud.neutral(&problem));
    assert_eq!(third.state(), Json::Null);
    assert_eq!(cloud.emulator.auth_tokens().len(), 2);
    Ok(())
}

/// A proxy's page comes instead of an answer, with a status of its own and with
/// one that looks like success.
#[tokio::test]
async fn page_of_a_gateway() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    for (status, page, expected) in [
        (
            200,
            PAGE,
            expect![[r#"
                Error: Cannot read container repository

                Repository "team/web" (ocid1.containerrepo.OCID) could not be read. The answer to GetContainerRepository of service artifacts cannot be read: it is no JSON, expected value at line 1 column 1.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        (
            403,
            PAGE,
            expect![[r#"
                Error: Cannot read container repository

                Repository "team/web" (ocid1.containerrepo.OCID) could not be read. GetContainerRepository of service artifacts at HOST was answered 403 Forbidden: Sign in Please sign in to the network.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        (
            404,
            PAGE,
            expect![[r#"
                Error: Cannot read container repository

                Repository "team/web" (ocid1.containerrepo.OCID) could not be read. GetContainerRepository of service artifacts at HOST was answered 404 Not Found: Sign in Please sign in to the network.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        (
            502,
            "<h1>502 Bad Gateway</h1>",
            expect![[r#"
                Error: Cannot read container repository

                Repository "team/web" (ocid1.containerrepo.OCID) could not be read. GetContainerRepository of service artifacts at HOST was answered 502 Bad Gateway in the last of 8 attempts.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        (
            200,
            r#"{"id": "ocid1.containerrepo.oc1..a""#,
            expect![[r#"
                Error: Cannot read container repository

                Repository "team/web" (ocid1.containerrepo.OCID) could not be read. The answer to GetContainerRepository of service artifacts cannot be read: it is no JSON, EOF while parsing an object at line 1 column 35.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
    ] {
        let fault = Fault::body(status, page);
        cloud.emulator.fail_always("GetContainerRepository", fault);
        let problem = problem(repository.refresh().await);
        expected.assert_eq(&cloud.neutral(&problem));
        assert_eq!(repository.state(), state);
    }
    Ok(())
}

// Pushing.

/// The connection is cut in the middle of a blob, in every attempt. The tag stays
/// where it was, and the next apply brings the image there.
#[tokio::test]
async fn connection_cut_in_a_blob() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    let (mut push, state) = pushed(&cloud, &files).await?;
    files.show(&[&noise(300_000)])?;
    let plan = push.plan(files.push()).await?;
    cloud
        .emulator
        .fail_always("PutBlobUpload", Fault::cut(1000));
    let problem = problem(push.apply_planned(&plan).await);
    // How far it came, and what the system calls it, differs from run to run.
    let problem = between(&problem, ", after ", " of 300000 bytes", "SOME");
    let problem = between(&problem, "8 attempts: ", ".\n", "CUT");
    let problem = files.neutral(&cloud, &problem);
    expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". The connection to HOST was cut during upload of blob sha256:e65d123120a92fa1849d6d01df4d6c632fb937c8ad5b90c5f8eca70f89eaaacc, after SOME of 300000 bytes in the last of 8 attempts: CUT.

        Apply again: blobs that have arrived are not sent twice. If it breaks off at the same place each time, look for a proxy or a gateway with a limit on sizes or times.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&problem);
    assert_eq!(push.state(), state);
    let tags = cloud.emulator.tags("team/web");
    assert_eq!(json!(tags["1"]), state["digest"]);

    cloud.emulator.clear_faults();
    cloud.emulator.fail_next("PutBlobUpload", Fault::cut(1000));
    push.apply(files.push()).await?;
    Ok(())
}

/// The archive ends too early: somebody pushed while it was still written.
#[tokio::test]
async fn archive_that_is_truncated() -> anyhow::Result<()> {
    let files = Files::new()?;
    let source = files.archive(&[("layer.tar", &noise(3000)), ("manifest.json", b"[]")])?;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(files.path("image.tar"))?;
    file.set_len(2000)?;
    files.source_fails(&source, expect![[r#"
        Error: Cannot read image source

        "DIRECTORY/image.tar" is truncated within its entry "layer.tar".

        The source is damaged, or was still being written. Make it again, and let that end before the run begins.
          with source"#]]).await
}

/// A layer is not what its digest says.
#[tokio::test]
async fn layer_whose_digest_is_wrong() -> anyhow::Result<()> {
    let files = Files::new()?;
    let layer = noise(3000);
    files.show(&[&layer])?;
    let digest = Digest::of(&layer).to_string();
    let path = digest.replace(':', "/");
    let path = files.layout.path().join("blobs").join(path);
    let mut spoilt = layer;
    spoilt[1000] ^= 1;
    fs::write(path, spoilt)?;

    let cloud = cloud().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let mut push = cloud.host.resource("ocir_image_push");
    let problem = apply(&mut push, files.push()).await;
    expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". "LAYOUT/blobs/sha256/8772b73d248bdb14e837fb5b8156e8aa8b3b6eb0ddf44dfc6899625dad8ee9c9" is corrupt: it should have the digest sha256:8772b73d248bdb14e837fb5b8156e8aa8b3b6eb0ddf44dfc6899625dad8ee9c9, and has sha256:91349f884a0a1c293aafeb8a6ae0faa2df72b264a864a57e864a2ae59b7e48a6.

        The source is damaged, or was still being written. Make it again, and let that end before the run begins.
          with source"#]].assert_eq(&files.neutral(&cloud, &problem));
    assert_eq!(push.state(), Json::Null);
    assert!(cloud.emulator.images().is_empty());
    Ok(())
}

/// An entry of the archive points outside of it.
#[tokio::test]
async fn entry_that_points_outside() -> anyhow::Result<()> {
    let files = Files::new()?;
    let source = files.archive(&[("../../etc/passwd", b"root"), ("manifest.json", b"[]")])?;
    files
        .source_fails(
            &source,
            expect![[r#"
        Error: Cannot read image source

        Entry "../../etc/passwd" of "DIRECTORY/image.tar" points outside the archive.

        No tool that saves images writes such an archive, so nothing of it is used.
          with source"#]],
        )
        .await
}

/// Documents that are no JSON, or another one.
#[tokio::test]
async fn documents_that_are_no_json() -> anyhow::Result<()> {
    let files = Files::new()?;
    files.show(&[b"layer"])?;
    fs::write(files.layout.path().join("index.json"), "<html>")?;
    files.source_fails(&files.layout.source(), expect![[r#"
        Error: Cannot read image source

        "LAYOUT/index.json" is not the index of an image layout: expected value at line 1 column 1.

        The source is damaged, or was still being written. Make it again, and let that end before the run begins.
          with source"#]]).await?;

    let source = files.archive(&[("manifest.json", b"[{\"Config\": 5}]")])?;
    files
        .source_fails(
            &source,
            expect![[r#"
                Error: Cannot read image source

                Entry "manifest.json" of "DIRECTORY/image.tar" is not the list of images that docker save writes: invalid type: integer `5`, expected a string at line 1 column 13.

                The source is damaged, or was still being written. Make it again, and let that end before the run begins.
                  with source"#]],
        )
        .await
}

/// The source is compressed as a whole, is a directory, or is written in no form.
#[tokio::test]
async fn source_that_is_something_else() -> anyhow::Result<()> {
    let files = Files::new()?;
    let path = files.write("image.tar.xz", b"\xfd7zXZ\0\0\x04")?;
    let source = format!("docker-archive:{}", path.display());
    files.source_fails(&source, expect![[r#"
        Error: Cannot read image source

        "DIRECTORY/image.tar.xz" is compressed with xz, and is read plain, or compressed with gzip or zstd; decompress it first:
            xz --decompress --keep DIRECTORY/image.tar.xz
          with source"#]]).await?;
    let source = format!("docker-archive:{}", files.path("").display());
    files
        .source_fails(
            &source,
            expect![[r#"
        Error: Cannot read image source

        "DIRECTORY/" is a directory, not a file.
          with source"#]],
        )
        .await?;
    files.source_fails("docker://gru.ocir.io/ns/Web", expect![[r#"
        Error: Invalid value

        Argument "source" cannot be used: "docker://gru.ocir.io/ns/Web" is not understood: its name must be in lower case, but has 'W'; write docker-archive:FILE[:REFERENCE] for what docker save writes, oci:DIRECTORY[:TAG] or oci-archive:FILE[:TAG] for an image layout, docker-daemon:NAME[:TAG] for an image of Docker, docker://HOST/NAME:TAG or docker://HOST/NAME@DIGEST for one of another registry, or the path of an archive or a layout, beginning with / or .
          with source"#]]).await
}

/// The source is not there yet while planning, and not while applying either.
#[tokio::test]
async fn source_that_never_comes() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    let mut push = cloud.host.resource("ocir_image_push");
    let mut config = files.push();
    config["source"] = json!(format!("oci:{}", files.path("later").display()));
    let plan = push.plan(config).await?;
    expect![[r#"
        Warning: Image source does not exist yet

        Cannot read "DIRECTORY/later": No such file or directory (os error 2). It may be made during the apply; until then the digest is not known. If it is mistyped, the apply will fail.
          with source"#]].assert_eq(&files.neutral(&cloud, &plan.warnings.join("\n\n")));
    let problem = problem(push.apply_planned(&plan).await);
    expect![[r#"
        Error: Cannot read image source

        Cannot read "DIRECTORY/later": No such file or directory (os error 2).
          with source"#]]
    .assert_eq(&files.neutral(&cloud, &problem));
    assert_eq!(push.state(), Json::Null);
    Ok(())
}

/// A path that is relative does not say where the file was looked for.
#[tokio::test]
async fn relative_path_of_a_source_that_is_not_there() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    let mut push = cloud.host.resource("ocir_image_push");
    let mut config = files.push();
    config["source"] = json!("docker-archive:images/later.tar");
    let plan = push.plan(config).await?;
    let here = std::env::current_dir()?.display().to_string();
    let neutral = |text: &str| files.neutral(&cloud, text).replace(&here, "HERE");
    expect![[r#"
        Warning: Image source does not exist yet

        Cannot read "images/later.tar": No such file or directory (os error 2). It may be made during the apply; until then the digest is not known. If it is mistyped, the apply will fail.

        It was looked for in "HERE", where the CLI runs. A path that begins with "${path.module}/" is beside the configuration.
          with source"#]].assert_eq(&neutral(&plan.warnings.join("\n\n")));
    let problem = problem(push.apply_planned(&plan).await);
    expect![[r#"
        Error: Cannot read image source

        Cannot read "images/later.tar": No such file or directory (os error 2).

        It was looked for in "HERE", where the CLI runs. A path that begins with "${path.module}/" is beside the configuration.
          with source"#]].assert_eq(&neutral(&problem));
    Ok(())
}

/// Between plan and apply somebody builds another image.
#[tokio::test]
async fn source_that_changes_after_the_plan() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    let (mut push, state) = pushed(&cloud, &files).await?;
    files.show(&[b"planned"])?;
    let plan = push.plan(files.push()).await?;
    files.show(&[b"something else"])?;
    let problem = problem(push.apply_planned(&plan).await);
    expect![[r#"
        Error: Image source changed

        The plan promised sha256:4796bc7405d0f0a2a5600453c669805431d1cb63ad3ed44679aba9dc7c73d123, and oci:LAYOUT now holds sha256:caf9f856019f04f664cb66fa781ab77c08bfb78068352de8ccaf454d666b1ab3. Nothing was pushed. Plan again.
          with source"#]].assert_eq(&files.neutral(&cloud, &problem));
    assert_eq!(push.state(), state);
    assert_eq!(json!(cloud.emulator.tags("team/web")["1"]), state["digest"]);
    Ok(())
}

/// The repository does not exist; OCIR does not tell that from a missing policy.
#[tokio::test]
async fn push_to_no_repository() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    files.show(&[b"layer"])?;
    let mut push = cloud.host.resource("ocir_image_push");
    let problem = apply(&mut push, files.push()).await;
    // Which of its blobs was asked for first is chance.
    let problem = between(&problem, "upload of blob ", " at ", "DIGEST");
    expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". Start of the upload of blob DIGEST at HOST was answered 404 NAME_UNKNOWN: Repository NAMESPACE/team/web not known to registry.

        Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
            Allow group GROUP to use repos in compartment COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID
          with repository"#]].assert_eq(&files.neutral(&cloud, &problem));
    assert_eq!(push.state(), Json::Null);
    assert!(cloud.emulator.repositories().is_empty());
    Ok(())
}

/// The identity may read and not write.
#[tokio::test]
async fn push_that_is_denied() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    let (mut push, state) = pushed(&cloud, &files).await?;
    files.show(&[b"another layer"])?;
    let denied = Fault::error(403, "DENIED", "requested access to the resource is denied");
    cloud.emulator.fail_always("PostBlobUpload", denied);
    let problem = apply(&mut push, files.push()).await;
    expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". Start of the upload of blob sha256:0414c189c82553ffdb5f8afeefeae2139f68d12d167763d16506b198974f0906 at HOST was answered 403 DENIED: requested access to the resource is denied.

        Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the push, for example:
            Allow group GROUP to use repos in compartment COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&files.neutral(&cloud, &problem));
    assert_eq!(push.state(), state);
    assert_eq!(cloud.emulator.images().len(), 1);
    Ok(())
}

/// The registry takes a signature that it does not accept for nobody's, while the
/// control plane is content: the key is new, and not known everywhere yet.
#[tokio::test]
async fn token_that_is_nobodys() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    let (mut push, state) = pushed(&cloud, &files).await?;
    files.show(&[b"another layer"])?;
    let plan = push.plan(files.push()).await?;
    // {"sub": "{\"userId\": \"anon-5f2c\"}"}
    let nobody = "e30.eyJzdWIiOiAie1widXNlcklkXCI6IFwiYW5vbi01ZjJjXCJ9In0.c2ln";
    let fault = Fault::body(
        200,
        &json!({ "token": nobody, "expires_in": 3600 }).to_string(),
    );
    cloud.emulator.fail_always("GetRegistryToken", fault);
    // The token of the push before would do.
    let cloud = restarted(cloud).await?;
    let mut push = with_state(&cloud, &push).await?;
    let problem = problem(push.apply_planned(&plan).await);
    expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". HOST gave a token that is nobody's.

        The registry does not refuse a signature that it does not accept: it takes the caller for an anonymous one. Check that user, tenancy and API key belong together, and that the key is uploaded for the user and active (a new one is known everywhere after some minutes):
            oci iam user api-key list --user-id USER

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&files.neutral(&cloud, &problem));
    // So it is with a clock that is off, which only the registry does not say.
    cloud.emulator.clear_faults();
    cloud.emulator.skew_clock(600);
    let problem = self::problem(push.apply_planned(&plan).await);
    expect![[r#"
        Error: Cannot sign in to Oracle Cloud

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". HOST gave a token that is nobody's.

        This machine's clock is 10 minutes behind the service's, and a signature is good for five minutes. Set the clock.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]].assert_eq(&files.neutral(&cloud, &problem));
    assert_eq!(push.state(), state);
    Ok(())
}

/// A registry token that ends during a push is renewed, and nobody notices.
#[tokio::test]
async fn registry_token_that_ends() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    let (mut push, _) = pushed(&cloud, &files).await?;
    files.show(&[b"another layer"])?;
    cloud.emulator.clear_requests();
    cloud
        .emulator
        .fail_next("PutBlobUpload", Fault::status(401));
    cloud.emulator.fail_next("PutManifest", Fault::status(401));
    push.apply(files.push()).await?;
    assert_eq!(push.take_warnings(), Vec::<String>::new());
    assert_eq!(cloud.count("GetRegistryToken"), 2);
    Ok(())
}

/// User name and password of the registry are wrong.
#[tokio::test]
async fn password_that_is_wrong() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let mut config = arguments(&emulator);
    let user = format!(
        "{}/{}",
        emulator.seed().namespace,
        emulator.seed().user_name
    );
    config["registry"] = json!({ "username": user, "password": "hunter2" });
    let cloud = Cloud::impatient(emulator, config).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let files = Files::new()?;
    files.show(&[b"layer"])?;
    let mut push = cloud.host.resource("ocir_image_push");
    let problem = apply(&mut push, files.push()).await.replace(&user, "LOGIN");
    expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". Sign-in at HOST was answered 401 UNAUTHORIZED: Unauthorized.

        HOST does not accept the user name and password that are set in the provider's argument "registry" or in OCI_REGISTRY_USERNAME and OCI_REGISTRY_PASSWORD. At Oracle's registry they are NAMESPACE/USER and an auth token, which works some minutes after it was made.

        Signed in as: user "LOGIN" of the registry
        Request id: ID"#]].assert_eq(&files.neutral(&cloud, &problem));
    assert_eq!(push.state(), Json::Null);
    assert!(cloud.emulator.images().is_empty());
    Ok(())
}

/// The registry throttles, fails, or something else answers in its place; a tag
/// is not taken for gone because of that.
#[tokio::test]
async fn registry_that_fails() -> anyhow::Result<()> {
    let cloud = cloud().await?;
    let files = Files::new()?;
    let (mut push, state) = pushed(&cloud, &files).await?;
    files.show(&[b"another layer"])?;
    for (operation, fault, expected) in [
        (
            "PostBlobUpload",
            Fault::status(429).retry_after(1),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". Start of the upload of blob sha256:0414c189c82553ffdb5f8afeefeae2139f68d12d167763d16506b198974f0906 at HOST was answered 429 TOOMANYREQUESTS in the last of 8 attempts: Too many requests.

                The service is throttling. Apply again later, or with fewer requests at once:
                    terraform apply -parallelism=2

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        (
            "PutBlobUpload",
            Fault::status(500),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". Upload of blob sha256:0414c189c82553ffdb5f8afeefeae2139f68d12d167763d16506b198974f0906 at HOST was answered 500 UNKNOWN in the last of 8 attempts: Unknown error.

                The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        (
            "PutManifest",
            Fault::body(502, "<h1>502 Bad Gateway</h1>"),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". Upload of manifest 1 at HOST was answered 502 Bad Gateway in the last of 8 attempts.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        (
            "PutManifest",
            Fault::body(200, PAGE),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". Upload of manifest 1 at HOST got an answer that is not a registry's: 200 OK instead of 201 Created, and the manifest is not there afterwards.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]],
        ),
        (
            "PutManifest",
            Fault::error(400, "MANIFEST_INVALID", "unknown media type"),
            expect![[r#"
                Error: Cannot push image

                oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1". Upload of manifest 1 at HOST was answered 400 MANIFEST_INVALID: unknown media type.

                The registry does not take images of this kind. The arguments "format" and "compression" write them in another way: registries that know nothing else take "docker" and "gzip".

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
    ] {
        let plan = push.plan(files.push()).await?;
        cloud.emulator.fail_always(operation, fault);
        let problem = problem(push.apply_planned(&plan).await);
        expected.assert_eq(&files.neutral(&cloud, &problem));
        assert_eq!(push.state(), state);
        assert_eq!(json!(cloud.emulator.tags("team/web")["1"]), state["digest"]);
        cloud.emulator.clear_faults();
    }
    for (fault, expected) in [
        (
            Fault::status(503),
            expect![[r#"
                Error: Cannot read image

                What tag "1" of repository "NAMESPACE/team/web" points to could not be read. Check of manifest 1 at HOST was answered 503 Service Unavailable in the last of 8 attempts.

                The service failed, not the request. Apply again later; if it stays like this, give Oracle's support the request id.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        // Its digest must not look like a tag that was moved.
        (
            Fault::body(200, PAGE),
            expect![[r#"
                Error: Cannot read image

                What tag "1" of repository "NAMESPACE/team/web" points to could not be read. Reading of manifest 1 at HOST got an answer that is not a registry's: it is not the JSON of a manifest.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)"#]],
        ),
        (
            Fault::body(404, PAGE),
            expect![[r#"
                Error: Cannot read image

                Whether tag "1" of repository "NAMESPACE/team/web" is gone could not be found out. List of tags at HOST was answered 404 Not Found: Sign in Please sign in to the network.

                A proxy or a gateway may have answered in the service's place. Check the argument "endpoint" of the provider if it is set, and HTTPS_PROXY and NO_PROXY.

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
        (
            Fault::status(403),
            expect![[r#"
                Error: Cannot read image

                What tag "1" of repository "NAMESPACE/team/web" points to could not be read. Reading of manifest 1 at HOST was answered 403 DENIED: Requested access to the resource is denied.

                Either the repository does not exist, or a policy is missing; the registry does not tell which. Create the repository with an ocir_repository that the push refers to, and allow the pull, for example:
                    Allow group GROUP to read repos in compartment COMPARTMENT

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]],
        ),
    ] {
        for operation in ["HeadManifest", "GetManifest", "ListTags"] {
            cloud.emulator.fail_always(operation, fault.clone());
        }
        let problem = problem(push.refresh().await);
        expected.assert_eq(&files.neutral(&cloud, &problem));
        assert_eq!(push.state(), state);
        cloud.emulator.clear_faults();
    }
    Ok(())
}

// Secrets.

/// Every step of every object's life fails in every way, and nothing of what is
/// said shows the key, the password, the auth token or a registry token.
#[tokio::test]
async fn no_secret_is_told() -> anyhow::Result<()> {
    let password = "hunter2-hunter2";
    let bearer = "eyJhbGciOiJub25lIn0.c2VjcmV0.c2ln";
    let mut secrets = vec![
        password.to_owned(),
        bearer.to_owned(),
        "eyJ".to_owned(),
        "Bearer ".to_owned(),
    ];
    let mut heard = Vec::new();

    // Keys that cannot be used.
    let trial = SignIn::new().await?;
    let pem = trial.cloud.emulator.seed().private_key_pem.clone();
    let lines = pem
        .lines()
        .filter(|line| line.len() == 64)
        .map(str::to_owned);
    secrets.extend(lines);
    assert!(secrets.len() > 20, "the key has lines");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for (name, text) in [
        ("half", pem[..800].to_owned()),
        ("bare", body.clone()),
        ("damaged", pem.replacen('A', "!", 1)),
        ("shifted", pem.replacen('M', "", 1)),
        ("labelled", pem.replace("PRIVATE KEY", "SECRET")),
    ] {
        let argument = json!({ "private_key": text });
        heard.push(trial.problem(argument).await?);
        let path = trial.write(name, text.as_bytes())?;
        let file = json!({ "private_key": null, "private_key_path": path });
        heard.push(trial.problem(file).await?);
        let path = trial.write(name, format!("[DEFAULT]\nkey_content={text}").as_bytes())?;
        let profile = json!({ "private_key": null, "config_file": path });
        heard.push(trial.problem(profile).await?);
    }
    for text in [body, pem.replace('\n', "\\n")] {
        let path = json!({ "private_key": null, "private_key_path": text });
        heard.push(trial.problem(path).await?);
    }

    // Everything that can fail, in every way.
    let quoted = json!(bearer).to_string();
    let odd = json!({ "token": bearer, "expires_in": bearer, "id": [bearer] }).to_string();
    for login in [false, true] {
        let emulator = Emulator::builder().start().await?;
        let mut config = arguments(&emulator);
        if login {
            config["registry"] = json!({ "username": "ns/user", "password": password });
        }
        let cloud = Cloud::impatient(emulator, config).await?;
        let files = Files::new()?;
        let mut repository = cloud.host.resource("ocir_repository");
        repository.apply(cloud.web()).await?;
        let mut token = cloud.host.resource("oci_auth_token");
        let state = token.apply(json!({ "description": "d" })).await?;
        let value = state["token"].as_str().unwrap_or_default().to_owned();
        assert!(value.len() > 8);
        secrets.push(value);
        files.show(&[b"layer"])?;
        let mut push = cloud.host.resource("ocir_image_push");
        heard.extend(
            push.apply(files.push())
                .await
                .err()
                .map(|problem| problem.to_string()),
        );
        for fault in [
            Fault::status(401),
            Fault::status(403),
            Fault::status(404),
            Fault::status(409),
            Fault::status(429),
            Fault::status(500),
            Fault::cut(0),
            Fault::cut_answer(),
            Fault::body(200, PAGE),
            Fault::body(200, &quoted),
            Fault::body(200, &odd),
        ] {
            for operation in EVERYTHING {
                cloud.emulator.fail_always(operation, fault.clone());
            }
            files.show(&[format!("{fault:?}").as_bytes()])?;
            let mut another = cloud.host.resource("ocir_repository");
            let mut second = cloud.host.resource("ocir_auth_token");
            let changed = json!({ "description": "changed" });
            let mut public = cloud.web();
            public["is_public"] = json!(true);
            for outcome in [
                repository.apply(public).await,
                another.apply(cloud.web()).await,
                token.apply(changed.clone()).await,
                second.apply(changed).await,
                push.apply(files.push()).await,
                repository.refresh().await,
                token.refresh().await,
                push.refresh().await,
            ] {
                heard.extend(outcome.err().map(|problem| problem.to_string()));
            }
            for resource in [&mut token, &mut repository, &mut second, &mut push] {
                heard.extend(resource.take_warnings());
            }
            cloud.emulator.clear_faults();
        }
    }
    assert!(heard.len() > 100, "only {} texts were heard", heard.len());
    for text in &heard {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret:?} is in:\n{text}");
        }
    }
    Ok(())
}

/// Operations that something here asks for.
const EVERYTHING: &[&str] = &[
    "CreateAuthToken",
    "CreateContainerRepository",
    "DeleteAuthToken",
    "DeleteContainerRepository",
    "GetContainerRepository",
    "GetManifest",
    "GetNamespace",
    "GetRegistryToken",
    "GetUser",
    "HeadBlob",
    "HeadManifest",
    "ListAuthTokens",
    "ListContainerRepositories",
    "ListTags",
    "PostBlobUpload",
    "PutBlobUpload",
    "PutManifest",
    "UpdateAuthToken",
    "UpdateContainerRepository",
];

// Stopping.

/// Ctrl-C while the provider waits to ask again: it ends at once, and the state is
/// what it was.
#[tokio::test]
async fn stop_ends_a_wait() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let config = arguments(&emulator);
    let cloud = Cloud::configured(emulator, config).await?;
    let files = Files::new()?;
    let (mut push, image) = pushed(&cloud, &files).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let mut other = cloud.web();
    other["display_name"] = json!("team/other");
    let state = repository.apply(other.clone()).await?;
    other["is_public"] = json!(true);
    let update = repository.plan(other).await?;
    files.show(&[b"another layer"])?;
    let upload = push.plan(files.push()).await?;
    let slow = || Fault::status(503).retry_after(60);
    let mut new = cloud.host.resource("ocir_repository");
    let mut third = cloud.web();
    third["display_name"] = json!("team/third");
    let create = new.plan(third).await?;
    let operations = [
        "CreateContainerRepository",
        "PostBlobUpload",
        "UpdateContainerRepository",
    ];
    for operation in operations {
        cloud.emulator.fail_always(operation, slow());
    }
    cloud.emulator.clear_requests();

    let stop = async {
        while operations
            .iter()
            .any(|operation| cloud.count(operation) == 0)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let asked = Instant::now();
        cloud.host.stop().await?;
        anyhow::Ok(asked)
    };
    let (create, update, upload, asked) = tokio::join!(
        new.apply_planned(&create),
        repository.apply_planned(&update),
        push.apply_planned(&upload),
        stop
    );
    let elapsed = asked?.elapsed();
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/third" could not be created in compartment COMPARTMENT: the run was interrupted.

        Nothing was created: the compartment has no repository of this name."#]].assert_eq(&cloud.neutral(&problem(create)));
    assert_eq!(new.state(), Json::Null);
    assert_eq!(cloud.emulator.repositories().len(), 2);
    expect![[r#"
        Error: Cannot update container repository

        Repository "team/other" (ocid1.containerrepo.OCID) could not be changed: the run was interrupted."#]].assert_eq(&cloud.neutral(&problem(update)));
    expect![[r#"
        Error: Cannot push image

        oci:LAYOUT could not be pushed to repository "NAMESPACE/team/web" under tag "1": the run was interrupted."#]].assert_eq(&files.neutral(&cloud, &problem(upload)));
    assert_eq!(repository.state(), state);
    assert_eq!(push.state(), image);
    Ok(())
}

/// A page that a proxy shows to everybody.
const PAGE: &str =
    "<html><head><title>Sign in</title></head><body>Please sign in to the network</body></html>";

/// An emulator, and a provider that tries again without waiting.
async fn cloud() -> anyhow::Result<Cloud> {
    let emulator = Emulator::builder().start().await?;
    let config = arguments(&emulator);
    Cloud::impatient(emulator, config).await
}

/// The same cloud with another process of the provider.
async fn restarted(cloud: Cloud) -> anyhow::Result<Cloud> {
    let config = arguments(&cloud.emulator);
    Cloud::impatient(cloud.emulator, config).await
}

/// The same instance in another process of the provider.
async fn with_state(cloud: &Cloud, resource: &Resource) -> anyhow::Result<Resource> {
    let mut again = cloud.host.resource("ocir_image_push");
    again.set_state(0, &resource.state()).await?;
    Ok(again)
}

/// What applying says.
async fn apply(resource: &mut Resource, config: Json) -> String {
    problem(resource.apply(config).await)
}

/// What somebody reads after a failure.
#[track_caller]
fn problem<T: std::fmt::Debug>(result: Result<T, Problems>) -> String {
    result.expect_err("this cannot work").to_string()
}

/// An image of a repository that is pushed and applied, and its state.
async fn pushed(cloud: &Cloud, files: &Files) -> anyhow::Result<(Resource, Json)> {
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    files.show(&[b"layer"])?;
    let mut push = cloud.host.resource("ocir_image_push");
    let state = push.apply(files.push()).await?;
    Ok((push, state))
}

/// Attempts to sign in with one argument or another changed.
struct SignIn {
    cloud: Cloud,
    directory: tempfile::TempDir,
}

impl SignIn {
    async fn new() -> anyhow::Result<Self> {
        Ok(Self {
            cloud: cloud().await?,
            directory: tempfile::tempdir()?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        fs::write(self.path(name), bytes)?;
        Ok(self.path(name))
    }

    /// What configuring and planning a repository says with these arguments.
    async fn problem(&self, changes: Json) -> anyhow::Result<String> {
        self.problem_among(&[], changes).await
    }

    /// The same with environment variables.
    async fn problem_among(
        &self,
        variables: &[(&str, &str)],
        changes: Json,
    ) -> anyhow::Result<String> {
        let mut config = arguments(&self.cloud.emulator);
        for (name, value) in changes.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let retry = RetryPolicy::without_waiting();
        let server = Server::new(Ocir::new(environment(variables)).with_retry(retry));
        let host = Host::start(server).await?;
        let problem = match host.configure(config).await {
            Err(problem) => problem.to_string(),
            Ok(_) => {
                let mut repository = host.resource("ocir_repository");
                apply(&mut repository, self.cloud.web()).await
            }
        };
        let directory = self.directory.path().display().to_string();
        Ok(self
            .cloud
            .neutral(&problem)
            .replace(&directory, "DIRECTORY"))
    }

    async fn fails(&self, changes: Json, expected: Expect) -> anyhow::Result<()> {
        expected.assert_eq(&self.problem(changes).await?);
        Ok(())
    }
}

/// An environment of these variables, without a home directory.
fn environment(variables: &[(&str, &str)]) -> Environment {
    let mut environment = provider::environment();
    environment.variables.extend(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    environment
}

/// Images on the disk.
struct Files {
    layout: Layout,
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            layout: Layout::new()?,
            directory: tempfile::tempdir()?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        fs::write(self.path(name), bytes)?;
        Ok(self.path(name))
    }

    /// The push of the layout.
    fn push(&self) -> Json {
        json!({ "source": self.layout.source(), "repository": "team/web", "tag": "1" })
    }

    /// Makes the layout one of an image of these layers.
    fn show(&self, layers: &[&[u8]]) -> anyhow::Result<()> {
        self.layout.show(&self.layout.image_of(layers)?)
    }

    /// Writes an archive of these entries, and gives it as a source.
    fn archive(&self, entries: &[(&str, &[u8])]) -> anyhow::Result<String> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            // Not by `set_path`, which refuses what a test is about.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_cksum();
            archive.append(&header, *content)?;
        }
        let path = self.write("image.tar", &archive.into_inner()?)?;
        Ok(format!("docker-archive:{}", path.display()))
    }

    /// The whole diagnostic of a push from a source that cannot be read. Nobody
    /// is asked to take anything.
    async fn source_fails(&self, source: &str, expected: Expect) -> anyhow::Result<()> {
        let cloud = cloud().await?;
        let mut repository = cloud.host.resource("ocir_repository");
        repository.apply(cloud.web()).await?;
        let mut push = cloud.host.resource("ocir_image_push");
        let config = json!({ "source": source, "repository": "team/web", "tag": "1" });
        let problem = apply(&mut push, config).await;
        expected.assert_eq(&self.neutral(&cloud, &problem));
        assert_eq!(push.state(), Json::Null);
        assert_eq!(cloud.count("GetRegistryToken"), 0);
        assert!(cloud.emulator.images().is_empty());
        Ok(())
    }

    fn neutral(&self, cloud: &Cloud, text: &str) -> String {
        let directory = self.directory.path().display().to_string();
        let layout = self.layout.path().display().to_string();
        let text = cloud.neutral(text).replace(&layout, "LAYOUT");
        text.replace(&directory, "DIRECTORY")
    }
}

/// Bytes that no compression makes smaller, the same ones every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

/// A key that is nobody's here.
fn other_key() -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signing-vectors.json");
    let vectors: Json = serde_json::from_slice(&fs::read(path)?)?;
    let pem = vectors["key"]["pkcs8_pem"].as_str();
    Ok(pem.unwrap_or_default().to_owned())
}

/// A text with something else between two parts of it.
#[track_caller]
fn between(text: &str, before: &str, after: &str, replacement: &str) -> String {
    let (head, rest) = text.split_once(before).expect("the text has its beginning");
    let (_, tail) = rest.split_once(after).expect("the text has its end");
    format!("{head}{before}{replacement}{after}{tail}")
}
