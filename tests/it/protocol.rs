//! The plugin protocol, on a real CLI and on the bare socket.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use expect_test::expect;
use ocir::protocol::wire;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::UnixStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::support;

mod lifecycle;

/// A person who starts the provider by hand learns what it is.
#[test]
fn a_person_is_told_what_it_is() -> Result<()> {
    let output = Command::new(support::probe())
        .env_remove(COOKIE.0)
        .output()?;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    expect![[r#"
        terraform-provider-ocir is a plugin: Terraform and OpenTofu start it by themselves, and it does nothing when it is started by hand.

        To attach it to a debugger, start it with:

            terraform-provider-ocir --debug
    "#]]
    .assert_eq(&String::from_utf8(output.stderr)?);
    Ok(())
}

/// The host's certificate, of the host's curve, gets in, and the calls work.
#[tokio::test]
async fn the_hosts_certificate_gets_in() -> Result<()> {
    let host = Identity::new()?;
    let plugin = Plugin::start(|command| command.env("PLUGIN_CLIENT_CERT", &host.pem))?;
    assert_eq!(&plugin.parts[..3], ["1", "6", "unix"]);
    assert_eq!((plugin.parts[4].as_str(), plugin.parts.len()), ("grpc", 6));

    let channel = plugin.channel(Some(host)).await?;
    assert_eq!(health(&channel, "plugin").await?, 1);
    let schemas: wire::GetProviderSchemaResponse = call(
        &channel,
        "/tfplugin6.Provider/GetProviderSchema",
        wire::GetProviderSchemaRequest {},
    )
    .await?;
    assert!(schemas.resource_schemas.contains_key("probe_thing"));
    let status = health(&channel, "other").await.unwrap_err();
    assert_eq!(
        status.downcast::<tonic::Status>()?.code(),
        tonic::Code::NotFound
    );
    Ok(())
}

/// Logins and identities are offered to hosts that ask for them, and only what
/// has an identity has a schema of one.
#[tokio::test]
async fn newer_things_are_offered() -> Result<()> {
    let plugin = Plugin::start(|command| command)?;
    let channel = plugin.channel(None).await?;
    let metadata: wire::GetMetadataResponse =
        call(&channel, "/tfplugin6.Provider/GetMetadata", ()).await?;
    let names = metadata.ephemeral_resources.iter();
    let names: Vec<_> = names.map(|row| &*row.type_name).collect();
    assert_eq!(names, ["probe_login"]);
    let schemas: wire::GetProviderSchemaResponse =
        call(&channel, "/tfplugin6.Provider/GetProviderSchema", ()).await?;
    let login = &schemas.ephemeral_resource_schemas["probe_login"];
    let attributes = login.block.iter().flat_map(|block| &block.attributes);
    let sensitive = attributes.filter(|attribute| attribute.sensitive);
    let sensitive: Vec<_> = sensitive.map(|attribute| &*attribute.name).collect();
    assert_eq!(sensitive, ["password"]);

    let identities: wire::GetResourceIdentitySchemasResponse = call(
        &channel,
        "/tfplugin6.Provider/GetResourceIdentitySchemas",
        (),
    )
    .await?;
    let names: Vec<_> = identities.identity_schemas.keys().collect();
    assert_eq!(names, ["probe_record"]);
    let id = &identities.identity_schemas["probe_record"].attributes[0];
    assert_eq!((&*id.name, id.required_for_import), ("id", true));

    let request = wire::UpgradeResourceIdentityRequest {
        type_name: "probe_thing".to_owned(),
        ..Default::default()
    };
    let upgraded: wire::UpgradeResourceIdentityResponse = call(
        &channel,
        "/tfplugin6.Provider/UpgradeResourceIdentity",
        request,
    )
    .await?;
    expect!["Resources of type probe_thing have no identity."]
        .assert_eq(&upgraded.diagnostics[0].detail);
    Ok(())
}

/// Nobody else on the machine can use a provider that holds credentials.
#[tokio::test]
async fn other_certificates_are_refused() -> Result<()> {
    let host = Identity::new()?;
    let plugin = Plugin::start(|command| command.env("PLUGIN_CLIENT_CERT", &host.pem))?;
    for stranger in [None, Some(Identity::new()?)] {
        let named = stranger.is_some();
        // With TLS 1.3 a client learns of the refusal when it reads.
        let refused = match plugin.tls(stranger).await {
            Err(_) => true,
            Ok(mut stream) => {
                let mut byte = [0];
                tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte))
                    .await?
                    .is_err()
            }
        };
        assert!(
            refused,
            "a client {} came in",
            if named {
                "with another certificate"
            } else {
                "without a certificate"
            }
        );
    }
    // And without TLS there is no HTTP/2 either.
    let plain = plugin.channel(None).await?;
    assert!(health(&plain, "plugin").await.is_err());
    // The host itself still gets in.
    assert_eq!(
        health(&plugin.channel(Some(host)).await?, "plugin").await?,
        1
    );
    Ok(())
}

/// Somebody who connects and says nothing does not keep the host waiting.
#[tokio::test]
async fn a_silent_connection_blocks_nobody() -> Result<()> {
    let host = Identity::new()?;
    let plugin = Plugin::start(|command| command.env("PLUGIN_CLIENT_CERT", &host.pem))?;
    let _silent = UnixStream::connect(plugin.address()).await?;
    let channel = plugin.channel(Some(host)).await?;
    assert_eq!(health(&channel, "plugin").await?, 1);
    Ok(())
}

/// A seventh part is only for hosts that count to seven.
#[tokio::test]
async fn the_line_has_a_seventh_part_when_asked() -> Result<()> {
    let plugin = Plugin::start(|command| command.env("PLUGIN_MULTIPLEX_GRPC", "true"))?;
    assert_eq!(&plugin.parts[5..], ["", "false"]);
    Ok(())
}

/// A host that offers only another protocol gets a message, not a socket.
#[test]
fn another_protocol_is_refused() -> Result<()> {
    let output = Command::new(support::probe())
        .env(COOKIE.0, COOKIE.1)
        .env("PLUGIN_PROTOCOL_VERSIONS", "5")
        .output()?;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    expect![[r#"
        terraform-provider-ocir speaks plugin protocol 6, but the program that started it offers only 5. Use a newer version of Terraform and OpenTofu
    "#]]
    .assert_eq(&String::from_utf8(output.stderr)?);
    Ok(())
}

/// The host says goodbye: it is answered on a connection that stays whole, and
/// when the host hangs up, the process ends at once and leaves no file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_takes_no_time() -> Result<()> {
    let host = Identity::new()?;
    let mut plugin = Plugin::start(|command| command.env("PLUGIN_CLIENT_CERT", &host.pem))?;
    let channel = plugin.channel(Some(host)).await?;
    let () = call(&channel, "/plugin.GRPCController/Shutdown", ()).await?;
    // Long enough for an end of the server's to arrive, were one on its way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(health(&channel, "plugin").await?, 1);

    let hung_up = Instant::now();
    drop(channel);
    let status = plugin.wait(Duration::from_secs(2))?;
    assert_eq!(status, Some(0));
    assert!(
        hung_up.elapsed() < Duration::from_millis(700),
        "{:?}",
        hung_up.elapsed()
    );
    assert!(!plugin.address().exists());
    Ok(())
}

/// A host that says goodbye and does not hang up, with streams open: the process
/// ends by itself before such a host would kill it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_long() -> Result<()> {
    let mut plugin = Plugin::start(|command| command)?;
    let channel = plugin.channel(None).await?;
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let path = http::uri::PathAndQuery::from_static("/plugin.GRPCStdio/StreamStdio");
    let stdio = client
        .server_streaming(
            tonic::Request::new(()),
            path,
            ProstCodec::<(), ()>::default(),
        )
        .await?;

    let started = Instant::now();
    let () = call(&channel, "/plugin.GRPCController/Shutdown", ()).await?;
    let status = plugin.wait(Duration::from_secs(2))?;
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(status, Some(0));
    assert!(!plugin.address().exists());
    assert!(stdio.into_inner().message().await?.is_none());
    Ok(())
}

/// Calls for what no schema offers are not implemented; the others answer.
#[tokio::test]
async fn what_is_not_offered_is_said() -> Result<()> {
    let plugin = Plugin::start(|command| command)?;
    let channel = plugin.channel(None).await?;
    for name in [
        "ListResource",
        "PlanAction",
        "InvokeAction",
        "GenerateResourceConfig",
        "GetStates",
        "Nonsense",
    ] {
        let error = call::<(), ()>(&channel, &format!("/tfplugin6.Provider/{name}"), ())
            .await
            .unwrap_err();
        assert_eq!(
            error.downcast::<tonic::Status>()?.code(),
            tonic::Code::Unimplemented,
            "{name}"
        );
    }
    let functions: wire::GetFunctionsResponse =
        call(&channel, "/tfplugin6.Provider/GetFunctions", ()).await?;
    assert_eq!(functions, Default::default());
    let request = wire::OpenEphemeralResourceRequest {
        type_name: "probe_secret".to_owned(),
        ..Default::default()
    };
    let opened: wire::OpenEphemeralResourceResponse = call(
        &channel,
        "/tfplugin6.Provider/OpenEphemeralResource",
        request,
    )
    .await?;
    expect![[r#"The ocir provider has no ephemeral resource "probe_secret"."#]]
        .assert_eq(&opened.diagnostics[0].detail);
    let request = wire::CallFunctionRequest {
        name: "digest".to_owned(),
    };
    let called: wire::CallFunctionResponse =
        call(&channel, "/tfplugin6.Provider/CallFunction", request).await?;
    expect![[r#"Unknown function: The ocir provider has no function "digest"."#]]
        .assert_eq(&called.error.unwrap_or_default().text);
    Ok(())
}

/// A host that is killed cannot say goodbye: the provider notices.
#[test]
fn the_end_of_the_host_is_the_end() -> Result<()> {
    let (mut host, mut output, line) = start_below_a_shell(&[])?;
    let socket = PathBuf::from(line.split('|').nth(3).context("an address")?);
    assert!(socket.exists());
    host.kill()?;
    host.wait()?;
    let killed = Instant::now();
    // The provider holds the other end until it ends.
    std::io::copy(&mut output, &mut std::io::sink())?;
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
    assert!(!socket.exists());
    Ok(())
}

/// Started for debugging, it outlives its host and the host's goodbye, and
/// ends by a signal.
#[tokio::test]
async fn debugging_survives_the_host() -> Result<()> {
    let (mut shell, mut output, _) = start_below_a_shell(&["--debug"])?;
    let mut line = String::new();
    while !line.contains("TF_REATTACH_PROVIDERS=") {
        line.clear();
        ensure!(output.read_line(&mut line)? > 0, "it ended");
    }
    let json = line
        .trim()
        .trim_start_matches("TF_REATTACH_PROVIDERS='")
        .trim_end_matches('\'');
    let providers: serde_json::Value = serde_json::from_str(json)?;
    let attach = &providers["registry.terraform.io/motando/ocir"];
    assert_eq!(
        (&attach["Protocol"], &attach["ProtocolVersion"]),
        (&"grpc".into(), &6.into())
    );
    let socket = PathBuf::from(attach["Addr"]["String"].as_str().context("a path")?);

    shell.kill()?;
    shell.wait()?;
    let channel = plain_channel(socket.clone()).await?;
    let () = call(&channel, "/plugin.GRPCController/Shutdown", ()).await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(health(&channel, "plugin").await?, 1);

    signal("TERM", &attach["Pid"].to_string())?;
    std::io::copy(&mut output, &mut std::io::sink())?;
    assert!(!socket.exists());
    Ok(())
}

/// A CLI attaches to a provider that a person started, by the line it printed.
#[test]
fn a_cli_attaches_for_debugging() -> Result<()> {
    let Some(workspace) = Workspace::new("delay_ms = 0")? else {
        return Ok(());
    };
    // The CLI could start none by itself.
    std::fs::remove_file(workspace.path("bin/terraform-provider-probe"))?;
    let provider = Command::new(support::probe())
        .arg("-debug")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut provider = Running(provider);
    let output = BufReader::new(provider.0.stdout.take().context("standard output")?);
    let marker = "TF_REATTACH_PROVIDERS=";
    let line = output
        .lines()
        .find_map(|line| Some(line.ok()?.trim().strip_prefix(marker)?.to_owned()))
        .context("a line to copy")?;
    let providers = line
        .trim_matches('\'')
        .replace("motando/ocir", "motando/probe");
    for _ in 0..2 {
        let attach = [("TF_REATTACH_PROVIDERS", providers.as_str())];
        workspace
            .run(&["apply", "-auto-approve"], &attach)?
            .success()?;
    }
    assert_eq!(workspace.object()?["attributes"]["id"], "thing-1");
    signal("INT", &provider.0.id().to_string())?;
    ensure!(provider.0.wait()?.success());
    Ok(())
}

/// Ctrl-C reaches the whole process group, while an object is being created:
/// the create is finished, and the object is in the state.
#[test]
fn ctrl_c_keeps_the_object() -> Result<()> {
    let Some(workspace) = Workspace::new("delay_ms = 1500")? else {
        return Ok(());
    };
    let (status, output) = workspace.interrupted_apply()?;
    assert!(output.contains("Interrupt received"), "{output}");
    let object = workspace.object()?;
    assert_eq!(object["attributes"]["id"], "thing-1", "{output}");
    assert!(object["status"].is_null(), "{object}");
    // The interrupt itself is an error of the run only when work was left out.
    assert!(matches!(status, Some(0 | 1)), "{status:?}");
    Ok(())
}

/// Work that listens ends when the user wants it to end; what exists is kept,
/// to be replaced.
#[test]
fn a_stop_ends_what_listens() -> Result<()> {
    let Some(workspace) = Workspace::new("wait_for_stop = true")? else {
        return Ok(());
    };
    let (status, output) = workspace.interrupted_apply()?;
    assert_eq!(status, Some(1));
    assert!(output.contains("Error: Stopped"), "{output}");
    assert_eq!(workspace.object()?["status"], "tainted");
    Ok(())
}

/// Twenty megabytes go through, four times over.
#[test]
fn a_large_attribute_passes() -> Result<()> {
    let Some(workspace) = Workspace::new(r#"payload = file("${path.module}/payload.txt")"#)? else {
        return Ok(());
    };
    std::fs::write(workspace.path("payload.txt"), "a".repeat(20 << 20))?;
    workspace.run(&["apply", "-auto-approve"], &[])?.success()?;
    assert_eq!(workspace.object()?["attributes"]["payload_size"], 20 << 20);
    let again = workspace.run(&["plan", "-detailed-exitcode"], &[])?;
    assert_eq!(again.status, Some(0), "{}", again.text);
    Ok(())
}

/// A mistake of ours is a message about the object, and the run goes on.
#[test]
fn a_panic_is_a_diagnostic() -> Result<()> {
    for call in ["plan", "create"] {
        let Some(workspace) = Workspace::new(&format!("panic_in = {call:?}"))? else {
            return Ok(());
        };
        let run = workspace.run(&["apply", "-auto-approve"], &[])?;
        assert_eq!(run.status, Some(1));
        // A CLI breaks lines where it likes.
        let text = run.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let panicked = format!("asked to panic in {call}");
        for expected in [
            "Error: The provider panicked",
            "with probe_thing.it",
            &panicked,
            "This is a bug in the ocir provider.",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
        for unexpected in ["Stack trace", "Plugin did not respond"] {
            assert!(!text.contains(unexpected), "{unexpected:?} is in {text}");
        }
    }
    Ok(())
}

/// The host shows our logs at the level it is asked for, parsed.
#[test]
fn logs_obey_the_host() -> Result<()> {
    let Some(workspace) = Workspace::new("delay_ms = 0")? else {
        return Ok(());
    };
    let ours = |run: &Run| {
        let lines = run
            .text
            .lines()
            .filter(|line| line.contains("@module=provider.ocir"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let run = workspace.run(&["plan"], &[("TF_LOG", "DEBUG")])?;
    let lines = ours(&run);
    assert!(
        lines.iter().any(|line| line
            .contains("[DEBUG] provider.terraform-provider-probe: call ended")
            && line.contains("tf_rpc=PlanResourceChange")),
        "{}",
        run.text
    );
    assert!(
        !lines.iter().any(|line| line.contains("[TRACE]")),
        "{lines:#?}"
    );
    // A line that the host could not parse would be shown as it is.
    assert!(!run.text.contains("\"@level\""), "{}", run.text);

    let all = ours(&workspace.run(&["plan"], &[("TF_LOG", "TRACE")])?);
    assert!(all.iter().any(|line| line.contains("[TRACE]")), "{all:#?}");
    assert!(
        all.iter().any(|line| line.contains("provider.ocir.h2")),
        "{all:#?}"
    );

    for quiet in [("TF_LOG_PROVIDER", "INFO"), ("TF_LOG_PROVIDER_OCIR", "OFF")] {
        let run = workspace.run(&["plan"], &[("TF_LOG", "DEBUG"), quiet])?;
        let lines = ours(&run);
        assert!(
            !lines.iter().any(|line| line.contains("[DEBUG]")),
            "{quiet:?}: {lines:#?}"
        );
    }
    Ok(())
}

/// Without TLS, as `TF_DISABLE_PLUGIN_TLS` has it, the host gets along too.
#[test]
fn the_host_may_do_without_tls() -> Result<()> {
    let Some(workspace) = Workspace::new("delay_ms = 0")? else {
        return Ok(());
    };
    workspace
        .run(&["plan"], &[("TF_DISABLE_PLUGIN_TLS", "1")])?
        .success()
}

/// A host of ours: a certificate and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pem: String,
}

impl Identity {
    /// As go-plugin makes it: P-521, its own authority.
    fn new() -> Result<Self> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512)?;
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()])?;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            key: der,
            pem: certificate.pem(),
        })
    }
}

/// The probe, started as a host does.
struct Plugin {
    child: Running,
    parts: Vec<String>,
    dir: TempDir,
}

impl Plugin {
    fn start(set: impl FnOnce(&mut Command) -> &mut Command) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(support::probe());
        command
            .env(COOKIE.0, COOKIE.1)
            .env("PLUGIN_PROTOCOL_VERSIONS", "5,6")
            .env("PLUGIN_UNIX_SOCKET_DIR", dir.path())
            .stdout(Stdio::piped());
        let mut child = Running(set(&mut command).spawn()?);
        let stdout = child.0.stdout.take().context("standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let parts = line.trim_end().split('|').map(str::to_owned).collect();
        Ok(Self { child, parts, dir })
    }

    fn address(&self) -> &Path {
        let address = Path::new(&self.parts[3]);
        assert!(address.starts_with(self.dir.path()));
        address
    }

    /// A TLS connection to exactly this plugin.
    async fn tls(&self, identity: Option<Identity>) -> Result<TlsStream<UnixStream>> {
        let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
        let server = CertificateDer::from(engine.decode(&self.parts[5])?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(server)?;
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                config.with_client_auth_cert(vec![identity.certificate], identity.key)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = UnixStream::connect(self.address()).await?;
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?)
    }

    async fn channel(&self, identity: Option<Identity>) -> Result<Channel> {
        match identity {
            None => plain_channel(self.address().to_owned()).await,
            Some(_) => connect(self.tls(identity).await?).await,
        }
    }

    /// The exit code, when it ends in time.
    fn wait(&mut self, limit: Duration) -> Result<Option<i32>> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.child.0.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it still runs after {limit:?}")
    }
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn plain_channel(socket: PathBuf) -> Result<Channel> {
    connect(UnixStream::connect(socket).await?).await
}

async fn connect<S>(stream: S) -> Result<Channel>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = Some(hyper_util::rt::TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        std::future::ready(
            stream
                .take()
                .ok_or_else(|| std::io::Error::other("the connection was lost")),
        )
    });
    Ok(Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await?)
}

async fn call<Q, A>(channel: &Channel, path: &str, request: Q) -> Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let codec = ProstCodec::<Q, A>::default();
    Ok(client
        .unary(tonic::Request::new(request), path.parse()?, codec)
        .await?
        .into_inner())
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn health(channel: &Channel, service: &str) -> Result<i32> {
    let service = service.to_owned();
    let answer: HealthResponse = call(
        channel,
        "/grpc.health.v1.Health/Check",
        HealthRequest { service },
    )
    .await?;
    Ok(answer.status)
}

/// The probe as the child of a shell that can be killed; its first line.
fn start_below_a_shell(
    arguments: &[&str],
) -> Result<(Child, BufReader<impl Read + use<>>, String)> {
    let mut shell = Command::new("sh")
        .args(["-c", r#""$0" "$@" & wait"#])
        .arg(support::probe())
        .args(arguments)
        .env(COOKIE.0, COOKIE.1)
        .env("PLUGIN_PROTOCOL_VERSIONS", "6")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = BufReader::new(shell.stdout.take().context("standard output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    Ok((shell, output, line))
}

/// A folder with one configuration of the probe, for a real CLI.
pub(crate) struct Workspace {
    dir: TempDir,
    terraform: PathBuf,
}

/// What a CLI did.
pub(crate) struct Run {
    status: Option<i32>,
    text: String,
}

impl Run {
    fn new(output: &Output) -> Self {
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        Self {
            status: output.status.code(),
            text: format!("{stdout}{stderr}"),
        }
    }
    pub(crate) fn success(self) -> Result<()> {
        ensure!(self.status == Some(0), "{}", self.text);
        Ok(())
    }
}

impl Workspace {
    /// One thing. None without a CLI.
    fn new(arguments: &str) -> Result<Option<Self>> {
        Self::of(&format!(
            "resource \"probe_thing\" \"it\" {{\n  began = \"${{abspath(path.module)}}/began\"\n  {arguments}\n}}\n"
        ))
    }

    /// Whatever the configuration says. None without a CLI.
    pub(crate) fn of(configuration: &str) -> Result<Option<Self>> {
        let Some(terraform) = support::terraform() else {
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin)?;
        // The second is for moves: the provider that an object comes from has to be there.
        for name in ["terraform-provider-probe", "terraform-provider-oci"] {
            std::os::unix::fs::symlink(support::probe(), bin.join(name))?;
        }
        // With an override, a CLI needs no `init`, and so no registry.
        let override_of = |registry: &str| {
            let row = |provider: &str| format!("    \"{registry}/{provider}\" = {bin:?}\n");
            ["motando/probe", "oracle/oci"].map(row).concat()
        };
        let overrides = ["registry.terraform.io", "registry.opentofu.org"]
            .map(override_of)
            .concat();
        std::fs::write(
            dir.path().join("cli.tfrc"),
            format!(
                "provider_installation {{\n  dev_overrides {{\n{overrides}  }}\n  direct {{}}\n}}\n"
            ),
        )?;
        let workspace = Self { dir, terraform };
        workspace.write(configuration)?;
        Ok(Some(workspace))
    }

    /// Another configuration.
    fn write(&self, configuration: &str) -> Result<()> {
        let text = format!(
            "terraform {{\n  required_providers {{\n    probe = {{ source = \"motando/probe\" }}\n  }}\n}}\n\n{configuration}"
        );
        Ok(std::fs::write(self.path("main.tf"), text)?)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.terraform);
        command
            .args(arguments)
            .arg("-no-color")
            .current_dir(self.dir.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TF_") {
                command.env_remove(name);
            }
        }
        command
            .env("TF_CLI_CONFIG_FILE", self.path("cli.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str], env: &[(&str, &str)]) -> Result<Run> {
        let output = self.command(arguments).envs(env.iter().copied()).output()?;
        Ok(Run::new(&output))
    }

    /// Applies, and sends Ctrl-C to the process group when the create began.
    fn interrupted_apply(&self) -> Result<(Option<i32>, String)> {
        let child = self
            .command(&["apply", "-auto-approve"])
            .process_group(0)
            .spawn()?;
        let started = Instant::now();
        while !self.path("began").exists() {
            if started.elapsed() > Duration::from_secs(60) {
                bail!(
                    "the create did not begin: {}",
                    Run::new(&child.wait_with_output()?).text
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        signal("INT", &format!("-{}", child.id()))?;
        let run = Run::new(&child.wait_with_output()?);
        Ok((run.status, run.text))
    }

    /// The only object in the state.
    fn object(&self) -> Result<serde_json::Value> {
        let state = std::fs::read(self.path("terraform.tfstate"))?;
        let state: serde_json::Value = serde_json::from_slice(&state)?;
        Ok(state["resources"][0]["instances"][0].clone())
    }
}

fn signal(name: &str, target: &str) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", r#"kill -s "$0" -- "$1""#, name, target])
        .status()?;
    ensure!(status.success(), "cannot signal {target}");
    Ok(())
}

const COOKIE: (&str, &str) = (
    "TF_PLUGIN_MAGIC_COOKIE",
    "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
);
