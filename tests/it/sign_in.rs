//! Every way to sign in, end to end: a real CLI on a machine of that kind plans,
//! applies and pushes, while every token that was given out ends in the middle
//! of the push. No secret of the machine's is found in what is left behind.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ocir::emulator::{Emulator, Fault};

use crate::support::{cli::Workspace, images::Layout};

const CONFIGURATION: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
provider "ocir" {}
variable "compartment_id" {}
variable "image" {}
data "ocir_tenancy_namespace" "this" {}
resource "ocir_repository" "web" {
  compartment_id = var.compartment_id
  display_name   = "web"
}
resource "ocir_image_push" "web" {
  source     = var.image
  repository = ocir_repository.web.display_name
  tag        = "1.0.0"
}
output "namespace" {
  value = data.ocir_tenancy_namespace.this.namespace
}
"#;

/// A machine that programs sign in from.
struct Machine {
    /// What `auth` would be, said aloud.
    auth: &'static str,
    /// The environment of a program there. Called again it renews what is on disk.
    variables: fn(&Emulator, &Path) -> std::io::Result<BTreeMap<String, String>>,
    /// How the kind of principal is called in the log.
    described: &'static str,
    /// How the OCID of who created something begins.
    creator: &'static str,
}

const API_KEY: Machine = Machine {
    auth: "ApiKey",
    variables: |emulator, folder| {
        let seed = emulator.seed();
        let key = folder.join("key.pem");
        fs::write(&key, &seed.private_key_pem)?;
        let config = folder.join("config");
        let text = format!(
            "[DEFAULT]\nuser={}\ntenancy={}\nfingerprint={}\nregion={}\nkey_file={}\n",
            seed.user_id,
            seed.tenancy_id,
            seed.fingerprint,
            seed.region,
            key.display()
        );
        fs::write(&config, text)?;
        Ok([("OCI_CONFIG_FILE".to_owned(), config.display().to_string())].into())
    },
    described: "API key",
    creator: "ocid1.user.",
};

/// The key of the vectors, which an emulator has been given, under a passphrase.
const PASSPHRASE: Machine = Machine {
    variables: |emulator, folder| {
        let mut variables = (API_KEY.variables)(emulator, folder)?;
        let vectors: serde_json::Value = serde_json::from_str(VECTORS)?;
        let key = &vectors["key"];
        let encrypted = &key["encrypted"]["pkcs8_encrypted_pbes2_aes256cbc_hmacsha256"];
        fs::write(
            folder.join("key.pem"),
            encrypted.as_str().unwrap_or_default(),
        )?;
        let passphrase = key["passphrase"].as_str().unwrap_or_default().to_owned();
        variables.insert("OCI_PRIVATE_KEY_PASSWORD".to_owned(), passphrase);
        Ok(variables)
    },
    ..API_KEY
};

const VECTORS: &str = include_str!("../fixtures/signing-vectors.json");

const SESSION: Machine = Machine {
    auth: "SecurityToken",
    variables: |emulator, folder| emulator.session(folder),
    described: "session token",
    creator: "ocid1.user.",
};

const INSTANCE: Machine = Machine {
    auth: "InstancePrincipal",
    variables: |emulator, _| Ok(emulator.instance()),
    described: "instance principal",
    creator: "ocid1.instance.",
};

const CLOUD_SHELL: Machine = Machine {
    auth: "CloudShell",
    variables: |emulator, folder| emulator.cloud_shell(folder),
    described: "Cloud Shell",
    creator: "ocid1.user.",
};

const RESOURCE_PRINCIPAL_FILES: Machine = Machine {
    auth: "ResourcePrincipal",
    variables: |emulator, folder| emulator.resource_principal_files(folder),
    described: "resource principal",
    creator: "ocid1.",
};

const WORKLOAD: Machine = Machine {
    auth: "OKEWorkloadIdentity",
    variables: |emulator, folder| emulator.workload(folder),
    described: "workload",
    creator: "ocid1.",
};

const IDENTITY_DOMAIN: Machine = Machine {
    auth: "WorkloadIdentityFederation",
    variables: |emulator, folder| {
        let mut variables = emulator.identity_domain(folder)?;
        variables.remove("OCI_AUTH");
        variables.insert("OCI_REGION".into(), emulator.seed().region.clone());
        Ok(variables)
    },
    described: "workload identity federation",
    creator: "ocid1.",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_key() -> anyhow::Result<()> {
    story(&API_KEY).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_key_with_passphrase() -> anyhow::Result<()> {
    let kept = tempfile::tempdir()?;
    let vectors: serde_json::Value = serde_json::from_str(VECTORS)?;
    let plain = vectors["key"]["pkcs8_pem"].as_str().unwrap_or_default();
    fs::write(kept.path().join("key.pem"), plain)?;
    let emulator = Emulator::builder().config(kept.path()).start().await?;
    story_at(&PASSPHRASE, emulator).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session() -> anyhow::Result<()> {
    story(&SESSION).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instance() -> anyhow::Result<()> {
    story(&INSTANCE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cloud_shell() -> anyhow::Result<()> {
    story(&CLOUD_SHELL).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_principal() -> anyhow::Result<()> {
    story(&RESOURCE_PRINCIPAL_FILES).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workload() -> anyhow::Result<()> {
    story(&WORKLOAD).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identity_domain() -> anyhow::Result<()> {
    story(&IDENTITY_DOMAIN).await
}

/// The values of a resource principal stand in the environment, where nobody
/// renews them; everything else is as with files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_principal_values() -> anyhow::Result<()> {
    let Some(mut workspace) = Workspace::new(CONFIGURATION)? else {
        return Ok(());
    };
    let emulator = Emulator::builder().start().await?;
    let layout = Layout::of("values")?;
    point(&mut workspace, &emulator, &layout);
    let variables = emulator.resource_principal()?;
    for (name, value) in &variables {
        workspace.set(name, value);
    }
    workspace.init().await?;
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    assert!(emulator.tags("web").contains_key("1.0.0"));
    Ok(())
}

async fn story(machine: &Machine) -> anyhow::Result<()> {
    story_at(machine, Emulator::builder().start().await?).await
}

async fn story_at(machine: &Machine, emulator: Emulator) -> anyhow::Result<()> {
    let Some(mut workspace) = Workspace::new(CONFIGURATION)? else {
        return Ok(());
    };
    let emulator = Arc::new(emulator);
    let folder = tempfile::tempdir()?;
    let variables = (machine.variables)(&emulator, folder.path())?;
    for (name, value) in &variables {
        workspace.set(name, value);
    }
    let layout = Layout::new()?;
    let layers: Vec<Vec<u8>> = (0..4_u8).map(|n| vec![b'a' + n; 50_000]).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    layout.show(&layout.image_of(&layers)?)?;
    point(&mut workspace, &emulator, &layout);
    let log = folder.path().join("trace.log");
    workspace
        .set("TF_LOG", "TRACE")
        .set("TF_LOG_PATH", log.display().to_string())
        // One blob after the other, so that there is a middle.
        .set("OCI_REGISTRY_MAX_CONCURRENT_UPLOADS", "1");
    workspace.init().await?;

    // `auth` is found out.
    let plan = workspace
        .run(&["plan", "-input=false", "-out=saved"])
        .await?
        .succeeded();
    assert!(plan.contains("2 to add"), "{plan}");

    emulator.clear_requests();
    emulator.fail_always("PutBlobUpload", Fault::delay(Duration::from_millis(300)));
    let ended = tokio::spawn(end_everything_in_the_middle(
        emulator.clone(),
        machine.variables,
        folder.path().to_owned(),
    ));
    let apply = workspace
        .run(&["apply", "-input=false", "saved"])
        .await?
        .succeeded();
    assert!(
        ended.await??,
        "the push was over before the tokens could end"
    );
    assert!(apply.contains("2 added"), "{apply}");
    let refused = emulator
        .requests()
        .iter()
        .filter(|request| request.status == 401)
        .count();
    assert!(refused > 0, "nothing was refused, so nothing was proven");
    assert!(emulator.tags("web").contains_key("1.0.0"));
    let creator = emulator.repositories()[0]["createdBy"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(creator.starts_with(machine.creator), "created by {creator}");

    // Said aloud, it is the same identity, and there is nothing to do.
    emulator.clear_faults();
    workspace.set("OCI_AUTH", machine.auth);
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);

    let log = fs::read_to_string(log)?;
    assert!(
        log.contains(machine.described),
        "the log does not say who signs in"
    );
    // The last that is looked at: what was before it is said, and why not.
    if machine.auth == INSTANCE.auth {
        for way in [
            "profile",
            "Cloud Shell",
            "resource principal",
            "OKE workload identity",
        ] {
            let line = log
                .lines()
                .find(|line| line.contains("passed over a way to sign in") && line.contains(way));
            assert!(
                line.is_some_and(|line| line.contains("reason=")),
                "the log does not say why it was not {way}"
            );
        }
    }
    let shown = workspace
        .run(&["show", "-json", "saved"])
        .await?
        .succeeded();
    let state = workspace.state()?.to_string();
    let mut secrets = secrets(folder.path(), &variables)?;
    if variables.contains_key("OCI_METADATA_BASE_URL") {
        secrets.extend(instance_key(&emulator).await?);
    }
    assert!(!secrets.is_empty(), "there is nothing to look for");
    if let Some(passphrase) = variables.get("OCI_PRIVATE_KEY_PASSWORD") {
        assert!(
            secrets.contains(passphrase),
            "the passphrase is too short to be looked for"
        );
    }
    for (what, text) in [
        ("log", &log),
        ("plan", &plan),
        ("plan file", &shown),
        ("apply", &apply),
        ("state", &state),
    ] {
        for secret in &secrets {
            assert!(
                !text.contains(secret.as_str()),
                "the {what} holds a secret that begins with {}",
                &secret[..8]
            );
        }
        // Whatever was given out on the way is a JSON Web Token.
        assert!(!holds_token(text), "the {what} holds a token");
    }
    Ok(())
}

fn point(workspace: &mut Workspace, emulator: &Emulator, layout: &Layout) {
    workspace
        .set("OCI_ENDPOINT", emulator.url())
        .set(
            "TF_VAR_compartment_id",
            &emulator.seed().apps_compartment_id,
        )
        .set("TF_VAR_image", layout.source());
}

/// When the first blob is there, every token that was given out is of no use
/// any more, and what stands on disk is renewed, as the machine's keeper does it.
async fn end_everything_in_the_middle(
    emulator: Arc<Emulator>,
    renew: fn(&Emulator, &Path) -> std::io::Result<BTreeMap<String, String>>,
    folder: std::path::PathBuf,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let arrived = emulator
            .requests()
            .iter()
            .filter(|request| request.operation == "PutBlobUpload")
            .count();
        if arrived > 0 {
            emulator.expire_tokens();
            renew(&emulator, &folder)?;
            return Ok(arrived < 4);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(false)
}

/// Whether a text has three parts of a token in it: `eyJ….….…`.
fn holds_token(text: &str) -> bool {
    let part = |text: &str| {
        text.chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter))
            .count()
    };
    text.match_indices("eyJ").any(|(at, _)| {
        let mut rest = &text[at..];
        (0..2).all(|_| match rest.get(part(rest)..) {
            Some(after) if after.starts_with('.') && part(&after[1..]) >= 8 => {
                rest = &after[1..];
                true
            }
            _ => false,
        })
    })
}

/// The lines of the key that the instance has from the metadata service.
async fn instance_key(emulator: &Emulator) -> anyhow::Result<Vec<String>> {
    let url = format!("{}/opc/v2/identity/key.pem", emulator.url());
    let answer = reqwest::Client::new()
        .get(url)
        .header("authorization", "Bearer Oracle")
        .send()
        .await?;
    let pem = answer.error_for_status()?.text().await?;
    Ok(lines(&pem).collect())
}

/// Lines that are long enough to be nobody else's.
fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.len() >= 12 && !line.starts_with("-----"))
        .map(str::to_owned)
}

/// What must be nowhere: the lines of keys, tokens, passwords of the machine.
fn secrets(folder: &Path, variables: &BTreeMap<String, String>) -> anyhow::Result<Vec<String>> {
    let mut texts: Vec<String> = variables
        .iter()
        .filter(|(name, _)| {
            ["TOKEN", "PEM", "SECRET", "RPST", "KEY", "PASSWORD"]
                .iter()
                .any(|word| name.to_uppercase().contains(word))
        })
        .map(|(_, value)| value.clone())
        .filter(|value| {
            !Path::new(value).exists() && !value.starts_with("http") && !value.starts_with("urn:")
        })
        .collect();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if path.is_file()
            && ["key", "token", "rpst"]
                .iter()
                .any(|word| name.contains(word))
        {
            texts.push(fs::read_to_string(path)?);
        }
    }
    Ok(texts.iter().flat_map(|text| lines(text)).collect())
}
