//! Our provider, and our provider beside an emulator.

use std::{collections::BTreeMap, path::Path};

use ocir::{
    credentials::Environment, emulator::Emulator, framework::Server, provider::Ocir,
    transport::RetryPolicy,
};
use serde_json::{Value as Json, json};

use super::{core::Host, images::Layout};

/// An environment with nothing in it. Who has nobody to sign in as looks for an
/// instance, and not at a real address.
pub fn environment() -> Environment {
    let nowhere = "http://127.0.0.1:1/opc/v2".to_owned();
    Environment {
        variables: [("OCI_METADATA_BASE_URL".to_owned(), nowhere)].into(),
        ..Environment::default()
    }
}

/// The provider, with nothing in its environment.
pub fn server() -> Server {
    Server::new(Ocir::new(environment()))
}

/// A configured provider and the emulator it talks to.
pub struct Cloud {
    pub emulator: Emulator,
    pub host: Host,
}

impl Cloud {
    /// An emulator as it comes, and a provider that signs in with its key.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(Emulator::builder().start().await?).await
    }

    /// A provider that signs in to `emulator` with its key.
    pub async fn with(emulator: Emulator) -> anyhow::Result<Self> {
        let config = arguments(&emulator);
        Self::configured(emulator, config).await
    }

    /// A provider with these arguments.
    pub async fn configured(emulator: Emulator, config: Json) -> anyhow::Result<Self> {
        let host = Host::start(server()).await?;
        host.configure(config).await?;
        Ok(Self { emulator, host })
    }

    /// A provider with these arguments that tries again without waiting.
    pub async fn impatient(emulator: Emulator, config: Json) -> anyhow::Result<Self> {
        let retry = RetryPolicy::without_waiting();
        let provider = Ocir::new(environment()).with_retry(retry);
        let host = Host::start(Server::new(provider)).await?;
        host.configure(config).await?;
        Ok(Self { emulator, host })
    }

    /// The compartment of the stories.
    pub fn compartment(&self) -> String {
        self.emulator.seed().apps_compartment_id.clone()
    }

    /// A repository of the stories.
    pub fn web(&self) -> Json {
        json!({ "compartment_id": self.compartment(), "display_name": "team/web" })
    }

    /// A repository as the control plane has it.
    #[track_caller]
    pub fn repository(&self, name: &str) -> Json {
        let mut found = self.emulator.repositories().into_iter();
        found
            .find(|repository| repository["displayName"] == name)
            .expect("the repository exists")
    }

    /// Pushes a small image, as somebody else might.
    pub async fn push_small(&self, repository: &str, tag: &str) -> anyhow::Result<String> {
        let layout = Layout::of(tag)?;
        let mut push = self.host.resource("ocir_image_push");
        let config = json!({ "source": layout.source(), "repository": repository, "tag": tag });
        let plan = push.plan(config).await?;
        push.apply_planned(&plan).await?;
        Ok(push.state()["digest"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// How often an operation was asked for since the requests were last cleared.
    pub fn count(&self, operation: &str) -> usize {
        self.emulator
            .requests()
            .iter()
            .filter(|request| request.operation == operation)
            .count()
    }

    /// Requests since they were last cleared, by operation.
    pub fn operations(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.emulator.requests() {
            *counts.entry(request.operation).or_default() += 1;
        }
        counts
    }

    /// A text without what differs from run to run: the port, request ids, the
    /// unique parts of OCIDs, and the namespace.
    pub fn neutral(&self, text: &str) -> String {
        let seed = self.emulator.seed();
        let text = text
            .replace(&self.emulator.authority(), "HOST")
            .replace(&seed.user_id, "USER")
            .replace(&seed.tenancy_id, "TENANCY")
            .replace(&seed.apps_compartment_id, "COMPARTMENT")
            .replace(&seed.fingerprint, "FINGERPRINT")
            .replace(&seed.namespace, "NAMESPACE");
        text.lines()
            .map(neutral_line)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// What signs in to an emulator: nothing but arguments.
pub fn arguments(emulator: &Emulator) -> Json {
    let seed = emulator.seed();
    json!({
        "tenancy_ocid": seed.tenancy_id,
        "user_ocid": seed.user_id,
        "fingerprint": seed.fingerprint,
        "private_key": seed.private_key_pem,
        "region": seed.region,
        "endpoint": emulator.url(),
    })
}

/// A file of the project that must hold `text`; `UPDATE_EXPECT=1` writes it.
#[track_caller]
pub fn expect_file(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file is in a folder"))?;
        return Ok(std::fs::write(path, text)?);
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let difference = found
        .lines()
        .zip(text.lines())
        .find(|(found, expected)| found != expected);
    assert!(
        found == text,
        "{} is not current; run `make docs`. First difference: {difference:?}",
        path.display()
    );
    Ok(())
}

fn neutral_line(line: &str) -> String {
    // Times, as headers write them.
    let quoted = line
        .split('\'')
        .map(|part| if part.ends_with(" GMT") { "TIME" } else { part });
    let line = &quoted.collect::<Vec<_>>().join("'");
    if let Some((before, _)) = line.split_once("Request id: ") {
        return format!("{before}Request id: ID");
    }
    let mut words = Vec::new();
    for word in line.split(' ') {
        let marks = |letter: char| "\"(),.;:".contains(letter);
        let bare = word.trim_matches(marks);
        let neutral = match bare.split('.').nth(1) {
            Some(kind) if bare.starts_with("ocid1.") => {
                word.replace(bare, &format!("ocid1.{kind}.OCID"))
            }
            _ => word.to_owned(),
        };
        words.push(neutral);
    }
    words.join(" ")
}
