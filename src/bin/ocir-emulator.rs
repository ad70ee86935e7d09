//! The emulator as a program: arguments, bind, run until it is told to end.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use ocir::emulator::{Emulator, call};
use tokio::signal::unix::{SignalKind, signal};

/// Oracle's control plane and container registry, on loopback.
#[derive(Parser)]
#[command(name = "ocir-emulator", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Address to listen on; port 0 is a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Keep everything in this folder; without it, nothing outlives the program.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Fill this folder with `config`, `key.pem`, `env.sh`, and an environment for each way to sign in.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// The tenancy's namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The home region, as identifier or key.
    #[arg(long, value_name = "REGION", default_value = "sa-saopaulo-1")]
    region: String,
    /// What becomes of `isImmutable: true`; the live service refuses it.
    #[arg(long, value_enum, default_value_t = Immutable::Refuse)]
    immutable: Immutable,
    /// Speak TLS, with this certificate (chain) in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Seconds during which the registry refuses a new auth token, as the cloud does for minutes.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    token_delay: u64,
    /// Seconds that a deleted repository stays, DELETING, and keeps its name.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    deletion_delay: Option<u64>,
    /// Seconds that security tokens live; otherwise 20 minutes for instances, an hour for others.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    session_lifetime: Option<u64>,
    /// Create the repository of a first push, in the root compartment.
    #[arg(long)]
    create_on_first_push: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Send one signed request to a running emulator, and print the answer's body.
    ///
    /// For example: ocir-emulator call --config DIR GET '/20160918/regions'
    Call {
        /// The folder that the emulator's --config filled.
        #[arg(long, value_name = "DIR")]
        config: PathBuf,
        /// GET, POST, PUT or DELETE.
        method: String,
        /// Path and query.
        path: String,
        /// Body of a POST or PUT.
        json: Option<String>,
    },
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Immutable {
    /// 400, "Setting isImmutable is not currently supported".
    Refuse,
    /// Keep the flag, and refuse to move a tag.
    Accept,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let done = match arguments.command.take() {
        Some(Command::Call {
            config,
            method,
            path,
            json,
        }) => send(&config, &method, &path, json.as_deref()).await,
        None => run(arguments)
            .await
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| error.to_string()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("ocir-emulator: {error}");
        ExitCode::FAILURE
    })
}

async fn run(arguments: Arguments) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let mut builder = Emulator::builder()
        .listen(arguments.listen)
        .region(&arguments.region)
        .token_delay(std::time::Duration::from_secs(arguments.token_delay))
        .page_size(100);
    if let Some(directory) = &arguments.data {
        builder = builder.data(directory);
    }
    if let Some(directory) = &arguments.config {
        builder = builder.config(directory);
    }
    if let Some(namespace) = &arguments.namespace {
        builder = builder.namespace(namespace);
    }
    if let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) {
        builder = builder.tls(certificate, key);
    }
    if arguments.immutable == Immutable::Accept {
        builder = builder.accept_immutable();
    }
    if let Some(seconds) = arguments.session_lifetime {
        builder = builder.session_lifetime(std::time::Duration::from_secs(seconds));
    }
    if let Some(seconds) = arguments.deletion_delay {
        builder = builder.deletion_delay(std::time::Duration::from_secs(seconds));
    }
    if arguments.create_on_first_push {
        builder = builder.create_on_first_push();
    }
    let emulator = builder.start().await?;

    // A script waits for this line; whoever reads no further does not hurt us.
    let mut out = io::stdout();
    writeln!(out, "listening on {}", emulator.url())?;
    out.flush()?;
    let _ = io::stderr().write_all(help(&emulator, &arguments).as_bytes());

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    emulator.stop().await;
    Ok(())
}

async fn send(
    config: &std::path::Path,
    method: &str,
    path: &str,
    json: Option<&str>,
) -> Result<ExitCode, String> {
    let answer = call::call(config, method, path, json)
        .await
        .map_err(|error| error.to_string())?;
    let mut out = io::stdout();
    // An empty answer prints nothing, so that what is printed is JSON.
    if !answer.body.is_empty() {
        writeln!(out, "{}", answer.body).map_err(|error| error.to_string())?;
    }
    if (200..300).contains(&answer.status) {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("ocir-emulator: HTTP {}", answer.status);
    Ok(ExitCode::FAILURE)
}

/// How to point things at it.
fn help(emulator: &Emulator, arguments: &Arguments) -> String {
    let (url, authority, seed) = (emulator.url(), emulator.authority(), emulator.seed());
    let mut text = format!(
        "
namespace     {}
tenancy       {}
compartments  {}  (apps)
              {}  (ops)
user          {}  ({})
",
        seed.namespace,
        seed.tenancy_id,
        seed.apps_compartment_id,
        seed.ops_compartment_id,
        seed.user_id,
        seed.user_name
    );
    let insecure = if url.starts_with("https") {
        ""
    } else {
        "=false"
    };
    match &arguments.config {
        Some(directory) => {
            let directory = directory.display();
            let program = std::env::args_os()
                .next()
                .unwrap_or_else(|| "ocir-emulator".into());
            let program = program.display();
            let workload = if cfg!(target_os = "linux") {
                format!(
                    "  . {directory}/workload.env.sh            # a pod of an OKE cluster, for the provider only\n"
                )
            } else {
                String::new()
            };
            text.push_str(&format!(
                "
the provider, in a shell:
  . {directory}/env.sh        # TF_VAR_endpoint={url} TF_VAR_region={region} OCI_CONFIG_FILE={directory}/config
  terraform apply             # or tofu apply, with the provider installed (make install)

Oracle's CLI (env.sh sets OCI_CLI_CONFIG_FILE and OCI_CLI_ENDPOINT too):
  oci --config-file {directory}/config --endpoint {url} artifacts container repository create --compartment-id {apps} --display-name web
  oci --config-file {directory}/config --endpoint {url} iam auth-token create --user-id {user} --description docker

other ways to sign in, each in a shell of its own (the tokens in files live for {lifetime}; a new start renews them):
  . {directory}/instance.env.sh            # a compute instance
  . {directory}/cloud-shell.env.sh         # Cloud Shell, in the name of its user
  . {directory}/resource-principal.env.sh  # a function
  . {directory}/identity-domain.env.sh     # a job of a CI service, for the provider only
{workload}  oci --config-file {directory}/config --profile SESSION --auth security_token --endpoint {url} os ns get

a signed request, without any of them:
  {program} call --config {directory} GET '/20160918/container/repositories?compartmentId={apps}'
",
                region = seed.region,
                lifetime = match arguments.session_lifetime {
                    Some(seconds) => format!("{seconds} s"),
                    None => "an hour".to_owned(),
                },
                apps = seed.apps_compartment_id,
                user = seed.user_id,
            ));
        }
        None => text.push_str(
            "\nwith --config DIR there is an API key to use it with: start again with it\n",
        ),
    }
    text.push_str(&format!(
        "
container tools, for a repository that exists; the password is an auth token:
  skopeo login --tls-verify{insecure} -u {namespace}/{user} {authority}
  skopeo copy --dest-tls-verify{insecure} oci:layout docker://{authority}/{namespace}/web:1.0
",
        namespace = seed.namespace,
        user = seed.user_name,
    ));
    text
}
