//! A real CLI installs the finished archive in each of the ways there are, and works with it.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use anyhow::Context as _;
use ocir::emulator::Emulator;
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, rustls};

use super::{Release, VERSION, skipped, succeeded};
use crate::support::cli::{Workspace, platform};

const CONFIGURATION: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
provider "ocir" {}
variable "compartment_id" {}
resource "ocir_repository" "this" {
  compartment_id = var.compartment_id
  display_name   = "motando-webapp"
}
"#;

/// The packed archive in a filesystem mirror: `init`, plan and apply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filesystem_mirror() -> anyhow::Result<()> {
    let release = Release::new()?;
    release.run(&["mirror"])?;
    let installation = format!(
        "filesystem_mirror {{\n    path = \"{}\"\n  }}",
        release.path().join("mirror").display()
    );
    let Some((said, lock)) = install(&release, &installation, "", &[]).await? else {
        return Ok(());
    };
    assert!(
        said.contains(&format!("Installed motando/ocir v{VERSION}")),
        "{said}"
    );
    assert!(lock.contains(&h1(&release)?), "{lock}");
    Ok(())
}

/// The folder that `mirror` makes, handed out by a web server with TLS, is a network
/// mirror: the CLI checks what it got against the hashes there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_mirror() -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        skipped("only on Linux can a CLI be told whom to trust by SSL_CERT_FILE");
        return Ok(());
    }
    let release = Release::new()?;
    release.run(&["mirror"])?;
    let web = Web::start(release.path(), |_| BTreeMap::new()).await?;
    let installation = format!(
        "network_mirror {{\n    url = \"{}/mirror/\"\n  }}",
        web.url()
    );
    let authority = web.authority();
    let trust = [("SSL_CERT_FILE", &*authority)];
    let Some((said, lock)) = install(&release, &installation, "", &trust).await? else {
        return Ok(());
    };
    assert!(
        said.contains(&format!(
            "Installed motando/ocir v{VERSION} (verified checksum)"
        )),
        "{said}"
    );
    assert!(lock.contains(&h1(&release)?), "{lock}");
    let asked = web.asked();
    let got = |end: &str| asked.iter().any(|path| path.ends_with(end));
    assert!(
        got("/index.json") && got(&format!("/{VERSION}.json")) && got(".zip"),
        "{asked:?}"
    );
    Ok(())
}

/// An archive that was exchanged after the hashes were made is not installed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchanged_archive() -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        skipped("only on Linux can a CLI be told whom to trust by SSL_CERT_FILE");
        return Ok(());
    }
    let release = Release::new()?;
    release.run(&["mirror"])?;
    // The same name, with another program in it.
    for host in ["registry.terraform.io", "registry.opentofu.org"] {
        let folder = release
            .path()
            .join("mirror")
            .join(host)
            .join("motando/ocir");
        let mut command = super::tool(super::root(), &["pack", "--platform", &platform()]);
        command.arg("--binary").arg(super::root().join("LICENSE"));
        succeeded(command.arg("--out").arg(folder))?;
    }
    let web = Web::start(release.path(), |_| BTreeMap::new()).await?;
    let Some(mut workspace) = Workspace::new(CONFIGURATION)? else {
        return Ok(());
    };
    let installation = format!(
        "network_mirror {{\n    url = \"{}/mirror/\"\n  }}",
        web.url()
    );
    configure(&mut workspace, &release, &installation, "")?;
    workspace.set("SSL_CERT_FILE", web.authority());
    let said = workspace
        .run(&["init", "-input=false"])
        .await?
        .ended_with(1);
    let said = said
        .split_whitespace()
        .filter(|word| *word != "│")
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        said.contains("doesn't match") || said.contains("checksum"),
        "{said}"
    );
    Ok(())
}

/// As from a registry: the CLI finds sums, signature and key by the registry's protocol,
/// verifies all three, and writes the sums into the lock file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry() -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        skipped("only on Linux can a CLI be told whom to trust by SSL_CERT_FILE");
        return Ok(());
    }
    let Some(keys) = Keys::new()? else {
        return Ok(());
    };
    let release = Release::new()?;
    keys.sign(&release)?;
    let published = {
        let manifest: Json = serde_json::from_slice(&fs::read(release.file("manifest.json"))?)?;
        let protocols = manifest["metadata"]["protocol_versions"].clone();
        let platform = platform();
        let (os, arch) = platform
            .split_once('_')
            .context("a platform has two parts")?;
        let (os, arch) = (os.to_owned(), arch.to_owned());
        let name = |path: PathBuf| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let (archive, sums) = (name(release.archive()), name(release.file("SHA256SUMS")));
        let versions = json!({ "versions": [{
            "version": VERSION, "protocols": protocols, "platforms": [{ "os": os, "arch": arch }],
        }] });
        let sum = release.sum(&release.archive())?;
        let key = json!({ "key_id": keys.id(), "ascii_armor": keys.public()? });
        let paths = "/v1/providers/motando/ocir";
        let (versions_path, download_path) = (
            format!("{paths}/versions"),
            format!("{paths}/{VERSION}/download/{os}/{arch}"),
        );
        move |url: &str| {
            let download = json!({
                "protocols": protocols, "os": os, "arch": arch, "filename": archive, "shasum": sum,
                "download_url": format!("{url}/{archive}"),
                "shasums_url": format!("{url}/{sums}"),
                "shasums_signature_url": format!("{url}/{sums}.sig"),
                "signing_keys": { "gpg_public_keys": [key] },
            });
            BTreeMap::from([(versions_path, versions), (download_path, download)])
        }
    };
    let web = Web::start(release.path(), published).await?;
    let mut hosts = String::new();
    for host in ["registry.terraform.io", "registry.opentofu.org"] {
        let url = web.url();
        hosts += &format!(
            "host \"{host}\" {{\n  services = {{ \"providers.v1\" = \"{url}/v1/providers/\" }}\n}}\n"
        );
    }
    let authority = web.authority();
    let trust = [("SSL_CERT_FILE", &*authority)];
    let Some((said, lock)) = install(&release, "direct {}", &hosts, &trust).await? else {
        return Ok(());
    };
    assert!(
        said.contains(&format!("Installed motando/ocir v{VERSION} (")),
        "{said}"
    );
    assert!(
        said.contains(keys.id()),
        "the signature was not verified:\n{said}"
    );
    let sum = release.sum(&release.archive())?;
    assert!(lock.contains(&format!("\"zh:{sum}\"")), "{lock}");
    Ok(())
}

/// A key that gpg does not have, and no half of a release afterwards.
#[test]
fn a_key_that_is_not_there() -> anyhow::Result<()> {
    let Some(keys) = Keys::new()? else {
        return Ok(());
    };
    let release = Release::new()?;
    let mut command = super::tool(
        super::root(),
        &["finish", "--key", "nobody@example.com", "--out"],
    );
    let said = super::refused(
        command
            .arg(release.path())
            .env("GNUPGHOME", keys.home.path()),
    )?;
    assert!(said.contains("SHA256SUMS could not be signed"), "{said}");
    assert!(!release.file("SHA256SUMS.sig").exists());
    Ok(())
}

/// `init`, plan and apply with the provider from an installation method. What `init` said,
/// and the lock file; `None` when there is no CLI.
async fn install(
    release: &Release,
    installation: &str,
    more: &str,
    variables: &[(&str, &str)],
) -> anyhow::Result<Option<(String, String)>> {
    let Some(mut workspace) = Workspace::new(CONFIGURATION)? else {
        return Ok(None);
    };
    let emulator = Emulator::builder().start().await?;
    workspace.sign_in(&emulator)?;
    configure(&mut workspace, release, installation, more)?;
    for (name, value) in variables {
        workspace.set(name, *value);
    }
    let said = workspace.run(&["init", "-input=false"]).await?.succeeded();
    let plan = workspace
        .run(&["plan", "-input=false", "-out=saved"])
        .await?
        .succeeded();
    assert!(plan.contains("Plan: 1 to add"), "{plan}");
    workspace
        .run(&["apply", "-input=false", "saved"])
        .await?
        .succeeded();
    assert_eq!(emulator.repositories().len(), 1);
    let lock = fs::read_to_string(workspace.path().join(".terraform.lock.hcl"))?;
    Ok(Some((said, lock)))
}

/// A CLI configuration with this one installation method.
fn configure(
    workspace: &mut Workspace,
    release: &Release,
    installation: &str,
    more: &str,
) -> anyhow::Result<()> {
    let file = release.path().join("cli.tfrc");
    fs::write(
        &file,
        format!("provider_installation {{\n  {installation}\n}}\n{more}"),
    )?;
    workspace.set("TF_CLI_CONFIG_FILE", file.display().to_string());
    Ok(())
}

/// The hash of the archive's contents, as the mirror's files say.
fn h1(release: &Release) -> anyhow::Result<String> {
    release.run(&["mirror"])?;
    let path = format!("mirror/registry.terraform.io/motando/ocir/{VERSION}.json");
    let listed: Json = serde_json::from_slice(&fs::read(release.path().join(path))?)?;
    let hashes = &listed["archives"][platform()]["hashes"];
    let sum = release.sum(&release.archive())?;
    assert_eq!(hashes[1], format!("zh:{sum}"));
    Ok(hashes[0].as_str().context("no hash")?.to_owned())
}

/// A throw-away key and the gpg that has it.
struct Keys {
    home: tempfile::TempDir,
    id: String,
}

impl Keys {
    /// `None`, with a line that says so, when there is no gpg and none is demanded.
    fn new() -> anyhow::Result<Option<Self>> {
        if Command::new("gpg").arg("--version").output().is_err() {
            skipped("no gpg: signatures are not tested (on Debian: apt-get install gnupg)");
            return Ok(None);
        }
        // In a short path, because gpg's agent makes sockets in it.
        let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp")?;
        let mut keys = Self {
            home,
            id: String::new(),
        };
        succeeded(
            keys.gpg()
                .args(["--passphrase", "", "--quick-generate-key"])
                .args(["A test <test@example.com>", "rsa2048", "sign"]),
        )?;
        let listed = succeeded(keys.gpg().args(["--with-colons", "--list-keys"]))?;
        let line = listed.lines().find(|line| line.starts_with("pub:"));
        let id = line.and_then(|line| line.split(':').nth(4));
        keys.id = id.context("gpg lists no key")?.to_owned();
        Ok(Some(keys))
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--quiet", "--pinentry-mode", "loopback"]);
        command.env("GNUPGHOME", self.home.path());
        command
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn public(&self) -> anyhow::Result<String> {
        succeeded(self.gpg().args(["--armor", "--export", &self.id]))
    }

    /// Signs a release with the release tool, and verifies the signature without it.
    fn sign(&self, release: &Release) -> anyhow::Result<()> {
        let mut command = super::tool(super::root(), &["finish", "--key", &self.id, "--out"]);
        succeeded(
            command
                .arg(release.path())
                .env("GNUPGHOME", self.home.path()),
        )?;
        let signature = release.file("SHA256SUMS.sig");
        // The registries want the binary form.
        assert!(!fs::read(&signature)?.starts_with(b"-----BEGIN"));
        succeeded(
            self.gpg()
                .arg("--verify")
                .arg(&signature)
                .arg(release.file("SHA256SUMS")),
        )?;
        Ok(())
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        command
            .args(["--kill", "all"])
            .env("GNUPGHOME", self.home.path());
        let _ = command.output();
    }
}

/// A web server with TLS on loopback that hands out a folder and a few documents more.
struct Web {
    address: SocketAddr,
    certificates: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Web {
    /// `documents` makes the documents, by path, from the server's address.
    async fn start(
        folder: &Path,
        documents: impl FnOnce(&str) -> BTreeMap<String, Json>,
    ) -> anyhow::Result<Self> {
        let key = rcgen::KeyPair::generate()?;
        let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificates = tempfile::tempdir()?;
        fs::write(
            certificates.path().join("ca.pem"),
            parameters.self_signed(&key)?.pem(),
        )?;
        let issuer = rcgen::Issuer::new(parameters, key);
        let key = rcgen::KeyPair::generate()?;
        let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = parameters.signed_by(&key, &issuer)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())?;

        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let documents = documents(&format!("https://{address}"));
        let documents = documents
            .into_iter()
            .map(|(path, document)| (path, document.to_string().into_bytes()));
        let site = Arc::new(Site {
            folder: folder.to_owned(),
            documents: documents.collect(),
        });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, site, heard) =
                    (acceptor.clone(), Arc::clone(&site), Arc::clone(&heard));
                tokio::spawn(async move {
                    // A client that went away is no failure of the test: what it lacks then is.
                    let _ = site.answer(&acceptor, stream, &heard).await;
                });
            }
        });
        Ok(Self {
            address,
            certificates,
            asked,
            task,
        })
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The file with the certificate that a client has to trust.
    fn authority(&self) -> String {
        self.certificates
            .path()
            .join("ca.pem")
            .display()
            .to_string()
    }

    fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .map(|asked| asked.clone())
            .unwrap_or_default()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Site {
    folder: PathBuf,
    documents: BTreeMap<String, Vec<u8>>,
}

impl Site {
    async fn answer(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
        heard: &Mutex<Vec<String>>,
    ) -> anyhow::Result<()> {
        let mut stream = acceptor.accept(stream).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head)?;
        let path = head.split(' ').nth(1).context("no path")?.to_owned();
        if let Ok(mut heard) = heard.lock() {
            heard.push(path.clone());
        }
        let file = self.folder.join(path.trim_start_matches('/'));
        let content = match self.documents.get(&path) {
            Some(document) => Some(document.clone()),
            None => fs::read(file).ok(),
        };
        let status = if content.is_some() {
            "200 OK"
        } else {
            "404 Not Found"
        };
        let content = content.unwrap_or_default();
        let kind = if path.ends_with(".zip") {
            "application/zip"
        } else {
            "application/json"
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&content).await?;
        stream.shutdown().await?;
        Ok(())
    }
}
