//! docker-registry: the registry that most others are measured by.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use ocir::{
    registry::{Client, Config, Credentials},
    transport::{Options, RetryPolicy, http_client},
};

use super::{
    Registry,
    programs::Workshop,
    token_server::{ISSUER, SERVICE, TokenServer},
};

/// A running docker-registry; it ends when dropped.
pub struct DockerRegistry {
    process: Child,
    authority: String,
    access_log: PathBuf,
    tls: Option<Tls>,
    login: bool,
    /// Holds what the process reads and writes.
    _workshop: Workshop,
}

/// How one is started.
#[derive(Default)]
pub struct Builder {
    login: bool,
    tls: bool,
    /// Where tokens are to be had, and who has to have signed them.
    tokens: Option<(String, String)>,
    relative_urls: bool,
}

/// Certificates of one that speaks TLS.
struct Tls {
    /// The authority that the registry's certificate is signed by, as PEM.
    authority: String,
    /// The folder with it, as container tools want it.
    folder: PathBuf,
}

/// Who may sign in where a password is asked for.
pub const USERNAME: &str = "peer";
/// The password of [`USERNAME`].
pub const PASSWORD: &str = "correct-horse";

/// [`PASSWORD`] by bcrypt, the only hash that docker-registry takes.
const HTPASSWD: &str = "$2b$04$qNgbrhj95/ciBe4lP/hn8.FnMvP.txxOC31m0cXmLPIwq1H07UXnS";

impl Builder {
    /// Asks for a user name and a password.
    pub fn login(self) -> Self {
        Self {
            login: true,
            ..self
        }
    }

    /// Asks for tokens of a server's.
    pub fn tokens(self, server: &TokenServer) -> Self {
        Self {
            tokens: Some((server.realm.clone(), server.certificate.clone())),
            ..self
        }
    }

    /// Speaks TLS, with a certificate that nobody knows.
    pub fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// Answers with addresses that have no host in them.
    pub fn relative_urls(self) -> Self {
        Self {
            relative_urls: true,
            ..self
        }
    }

    /// Starts it on a port that is free, and waits until it listens.
    pub fn start(self) -> anyhow::Result<DockerRegistry> {
        let workshop = Workshop::new()?;
        let folder = workshop.path();
        let mut config = format!(
            "version: 0.1\n\
             log:\n  level: info\n  accesslog:\n    disabled: false\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n",
            folder.join("storage").display()
        );
        if self.login {
            let file = folder.join("htpasswd");
            fs::write(&file, format!("{USERNAME}:{HTPASSWD}\n"))?;
            config += &format!(
                "auth:\n  htpasswd:\n    realm: peers\n    path: {}\n",
                file.display()
            );
        }
        if let Some((realm, certificate)) = &self.tokens {
            let file = folder.join("tokens.pem");
            fs::write(&file, certificate)?;
            config += &format!(
                "auth:\n  token:\n    realm: {realm}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {}\n",
                file.display()
            );
        }
        config += &format!(
            "http:\n  addr: 127.0.0.1:0\n  secret: no-secret\n  relativeurls: {}\n",
            self.relative_urls
        );
        let tls = match self.tls {
            true => {
                let (tls, certificate, key) = Tls::new(&workshop)?;
                config += &format!(
                    "  tls:\n    certificate: {}\n    key: {}\n",
                    certificate.display(),
                    key.display()
                );
                Some(tls)
            }
            false => None,
        };
        fs::write(folder.join("config.yml"), config)?;

        let (access_log, log) = (folder.join("access.log"), folder.join("registry.log"));
        let process = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(File::create(&access_log)?)
            .stderr(File::create(&log)?)
            .spawn()
            .context("docker-registry")?;
        let mut registry = DockerRegistry {
            process,
            authority: String::new(),
            access_log,
            tls,
            login: self.login || self.tokens.is_some(),
            _workshop: workshop,
        };
        registry.authority = registry.wait_until_it_listens(&log)?;
        Ok(registry)
    }
}

impl DockerRegistry {
    /// One that speaks HTTP and asks nobody who they are, when nothing else is said.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The certificates to trust, as PEM.
    pub fn ca_certificate(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.authority.as_str())
    }

    /// The folder with the certificates to trust, as container tools want it.
    pub fn certificates(&self) -> Option<String> {
        let tls = self.tls.as_ref()?;
        Some(tls.folder.display().to_string())
    }

    /// A client with these credentials, and these certificates to trust.
    pub fn client_with(
        &self,
        credentials: Credentials,
        ca_certificate: Option<&str>,
    ) -> anyhow::Result<Client> {
        Ok(Client::new(Config {
            http: http_client(&Options {
                ca_certificates: ca_certificate.map(|pem| pem.as_bytes().to_vec()),
                ..Options::default()
            })?,
            host: self.authority.clone(),
            plain_http: self.tls.is_none(),
            credentials,
            max_concurrent_uploads: 4,
            retry: RetryPolicy::without_waiting(),
        }))
    }

    /// The address that it says it listens on.
    fn wait_until_it_listens(&mut self, log: &std::path::Path) -> anyhow::Result<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let text = fs::read_to_string(log)?;
            let address = text
                .split_once("listening on ")
                .and_then(|(_, rest)| rest.split_once(['"', ',']));
            if let Some((address, _)) = address {
                return Ok(address.to_owned());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("docker-registry ended with {status}:\n{text}");
            }
            if Instant::now() > deadline {
                bail!("docker-registry does not listen:\n{text}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Registry for DockerRegistry {
    fn authority(&self) -> String {
        self.authority.clone()
    }

    fn client(&self) -> anyhow::Result<Client> {
        let credentials = match self.login {
            true => Credentials::Basic {
                username: USERNAME.into(),
                password: PASSWORD.into(),
            },
            false => Credentials::Anonymous,
        };
        self.client_with(credentials, self.ca_certificate())
    }

    async fn repository(&self, name: &str) -> anyhow::Result<String> {
        Ok(format!("peers/{name}"))
    }

    fn skopeo(&self, side: &str) -> String {
        let mut options = match &self.tls {
            Some(tls) => format!("--{side}cert-dir {}", tls.folder.display()),
            None => format!("--{side}tls-verify=false"),
        };
        if self.login {
            options += &format!(" --{side}creds {USERNAME}:{PASSWORD}");
        }
        options
    }

    /// A line is written before its answer is sent, so all are there that have
    /// been answered.
    fn changes(&self, repository: &str) -> anyhow::Result<Vec<String>> {
        let log = fs::read_to_string(&self.access_log)?;
        let requests = log.lines().filter_map(|line| line.split('"').nth(1));
        let path = format!("/v2/{repository}/");
        Ok(requests
            .filter(|request| !request.starts_with("GET ") && !request.starts_with("HEAD "))
            .filter(|request| request.contains(&path))
            .map(str::to_owned)
            .collect())
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It has ended already if this fails, and then the test has failed, too.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking()
            && let Ok(log) = fs::read_to_string(&self.access_log)
        {
            eprintln!("what docker-registry was asked:\n{log}");
        }
    }
}

impl Tls {
    /// An authority, and files with the certificate and the key that it gave out.
    fn new(workshop: &Workshop) -> anyhow::Result<(Self, PathBuf, PathBuf)> {
        let key = rcgen::KeyPair::generate()?;
        let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "an authority of a test");
        let authority = parameters.self_signed(&key)?.pem();
        let issuer = rcgen::Issuer::new(parameters, key);

        let key = rcgen::KeyPair::generate()?;
        let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = parameters.signed_by(&key, &issuer)?.pem();

        let folder = workshop.path().join("certificates");
        fs::create_dir(&folder)?;
        fs::write(folder.join("ca.crt"), &authority)?;
        let (certificate_file, key_file) = (
            workshop.path().join("registry.pem"),
            workshop.path().join("registry.key"),
        );
        fs::write(&certificate_file, certificate)?;
        fs::write(&key_file, key.serialize_pem())?;
        Ok((Self { authority, folder }, certificate_file, key_file))
    }
}
