//! Serving: from the handshake to the end of the process.

use std::{convert::Infallible, io::Write as _, process::ExitCode, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    body::Body,
    codegen::{Service, http},
    transport::Server,
};

use super::{
    Config, Error, Lookup,
    handshake::{Host, Place, line},
    life,
    listener::Listener,
    panic,
    services::Services,
    tls::Tls,
};

/// Who starts the plugin.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// A host, which says what it wants in the environment.
    Hosted,
    /// A person, who attaches hosts by what is printed on standard output. The
    /// server outlives its hosts and ends by Ctrl-C.
    Debug(fn(&Reattach) -> String),
}

/// How to attach a host to a plugin that a person started.
#[derive(Clone, Debug)]
pub struct Reattach {
    /// The newest protocol version.
    pub version: u32,
    /// The process.
    pub pid: u32,
    /// `unix` or `tcp`.
    pub network: &'static str,
    /// A path, or host and port.
    pub address: String,
}

/// Serves `service` until the host, or the person, ends it. `on_signal` is
/// called when a signal asks the process to end, which is left to the host.
pub fn serve<S>(
    config: &Config,
    mode: Mode,
    env: Lookup,
    service: S,
    on_signal: impl Fn() + Send + 'static,
) -> ExitCode
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    panic::install_hook();
    let result = runtime().and_then(|runtime| {
        let result = runtime.block_on(run(config, mode, env, service, on_signal));
        // Work that does not notice its end must not delay the process's.
        runtime.shutdown_timeout(Duration::from_millis(100));
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes, each once.
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            // Nothing can be done about an error on standard error.
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

/// Few threads: what takes long here is the network, and each thread costs
/// memory. Two keep the server answering while one of them computes.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.clamp(2, 4))
        .enable_all()
        .build()
        .map_err(|source| Error::System {
            what: "start the runtime",
            source,
        })
}

async fn run<S>(
    config: &Config,
    mode: Mode,
    env: Lookup<'_>,
    service: S,
    on_signal: impl Fn() + Send + 'static,
) -> Result<(), Error>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let end = CancellationToken::new();
    let mut services = Services {
        stop: None,
        end: end.clone(),
        plugin: service,
    };
    match mode {
        Mode::Hosted => {
            let host = Host::read(config, env)?;
            life::outlive_signals(on_signal)?;
            let listener = Listener::bind(&host.place)?;
            life::follow_host(listener.address.clone())?;
            let tls = host.certificate.clone().map(Tls::new).transpose()?;
            let certificate = tls.as_ref().map(|tls| &tls.certificate);
            let address = &listener.address;
            announce(&line(&host, address.network, &address.text, certificate))?;
            let goodbye = CancellationToken::new();
            services.stop = Some(goodbye.clone());
            let parting = part(goodbye, listener.open.clone(), end.clone());
            tokio::spawn(parting);
            serve_until(end, listener, tls, services).await;
        }
        Mode::Debug(text) => {
            let signal = life::first_signal()?;
            let listener = Listener::bind(&Place::read(env)?)?;
            announce(&text(&Reattach {
                version: config.versions.iter().copied().max().unwrap_or_default(),
                pid: std::process::id(),
                network: listener.address.network,
                address: listener.address.text.clone(),
            }))?;
            let ended = end.clone();
            tokio::spawn(async move {
                signal.await;
                ended.cancel();
            });
            serve_until(end, listener, None, services).await;
        }
    }
    Ok(())
}

/// Ends the server once the host has hung up after its goodbye, or does not.
///
/// An answer and an end that travel together are read as a broken connection by
/// some hosts, which then take harder means. So the answer goes first, and
/// whoever asked hears nothing else on this connection.
async fn part(goodbye: CancellationToken, open: TaskTracker, end: CancellationToken) {
    goodbye.cancelled().await;
    open.close();
    if tokio::time::timeout(HANG_UP, open.wait()).await.is_err() {
        tracing::debug!("the host said goodbye and did not hang up");
    }
    end.cancel();
}

async fn serve_until<S>(
    end: CancellationToken,
    listener: Listener,
    tls: Option<Tls>,
    services: Services<S>,
) where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let (sender, accepted) = mpsc::channel(1);
    let connections = ReceiverStream::new(accepted).map(Ok::<_, Infallible>);
    let server = Server::builder().serve_with_incoming_shutdown(
        services,
        connections,
        end.clone().cancelled_owned(),
    );
    let grace = async {
        end.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => if let Err(error) = result {
            tracing::error!(error = %error, "the server ended");
        },
        () = listener.accept(tls.map(|tls| tls.acceptor), sender) => {}
        () = grace => {}
    }
}

/// The only writing to standard output, and in one piece: who reads it may
/// close its end after the line.
fn announce(line: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|source| Error::System {
            what: "tell the host where to connect",
            source,
        })
}

/// How long a host may take to hang up after its goodbye. Together with
/// [`GRACE`] it is less than the two seconds after which a host kills.
const HANG_UP: Duration = Duration::from_secs(1);

/// How long calls may take that are under way when the end comes.
const GRACE: Duration = Duration::from_millis(500);
