//! A provider that does what tests of the protocol need: it is slow, panics,
//! carries a lot, waits to be stopped, and keeps records in files.

mod login;
mod note;
mod record;
mod thing;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use ocir::{
    framework::{
        Attr, Context, DataSourceType, Diagnostic, EphemeralResourceType, Model, Provider,
        ResourceType, Result, Secret, Server,
    },
    protocol,
};

fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    let _logs = protocol::log(&env);
    protocol::serve(std::env::args(), &env, Server::new(Probe))
}

struct Probe;

/// What the probe works with.
#[derive(Clone, Debug, Model)]
struct Config {
    /// Where records and the list of events are.
    #[tf(optional)]
    directory: Attr<String>,
    /// A password; that one came is an event.
    #[tf(optional)]
    password: Attr<Secret<String>>,
}

/// What the resources work with.
struct Clients {
    directory: Attr<PathBuf>,
}

impl Clients {
    /// Where records are.
    fn directory(&self) -> Result<&PathBuf> {
        self.directory.known().ok_or_else(|| {
            Diagnostic::error("No directory", "The provider's \"directory\" is not known.").into()
        })
    }

    /// Writes an event down, for the test to read.
    fn note(&self, event: &str) -> Result<()> {
        let path = self.directory()?.join("events");
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        file.and_then(|mut file| writeln!(file, "{event}"))
            .map_err(|error| Diagnostic::error("Cannot write", error.to_string()).into())
    }
}

impl Provider for Probe {
    type Clients = Clients;
    type Config = Config;

    async fn configure(&self, _: &mut Context, config: Config) -> Result<Clients> {
        let clients = Clients {
            directory: config.directory.map(PathBuf::from),
        };
        if let Some(password) = config.password.expose() {
            clients.note(&format!("configured with {} letters", password.len()))?;
        }
        Ok(clients)
    }
    fn resources(&self) -> Vec<ResourceType<Clients>> {
        vec![
            ResourceType::new::<thing::Thing>("probe_thing"),
            ResourceType::identified::<record::Record>("probe_record"),
            ResourceType::new::<note::Note>("probe_note"),
        ]
    }
    fn data_sources(&self) -> Vec<DataSourceType<Clients>> {
        Vec::new()
    }
    fn ephemeral_resources(&self) -> Vec<EphemeralResourceType<Clients>> {
        vec![EphemeralResourceType::new::<login::Login>("probe_login")]
    }
}
