//! What programs find around them on the machines where Oracle's users run them:
//! environment variables, and the files that these name.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::{TlsAcceptor, rustls};

use super::{
    Emulator, certificate,
    key::{Purpose, RsaKey},
    principal::{
        Kind, Principal, SignIn, delegation_token, job_token, security_token, service_account_token,
    },
    server,
    sign_in::CLIENT_ID,
    state::{about, write_file},
};

/// Environment variables by name.
pub type Environment = BTreeMap<String, String>;

/// Where the service of an OKE cluster listens, always.
const CLUSTER_PORT: u16 = 12250;

/// What the emulator remembers of the machines it made up.
#[derive(Default)]
pub(super) struct Machines {
    /// Address of the cluster's service, once there is one.
    cluster: Option<IpAddr>,
    /// Which of two keys a resource has.
    odd: bool,
}

impl Emulator {
    /// A compute instance: where its metadata service is.
    pub fn instance(&self) -> Environment {
        environment([("OCI_METADATA_BASE_URL", format!("{}/opc/v2", self.url()))])
    }

    /// Cloud Shell: an instance with a token to call in the user's name, and files in a
    /// folder. Calling it again writes a new token.
    pub fn cloud_shell(&self, folder: &Path) -> io::Result<Environment> {
        let folder = Folder::open(folder)?;
        let token = folder.write("delegation_token", &delegation_token(&self.shared))?;
        let seed = self.seed();
        let config = folder.write(
            "config",
            &format!(
                "[DEFAULT]\ntenancy={}\nregion={}\nauthentication_type=instance_principal\ndelegation_token_file={token}\n",
                seed.tenancy_id, seed.region
            ),
        )?;
        let mut environment = self.instance();
        environment.extend(self::environment([
            ("OCI_CLI_AUTH", "instance_obo_user".to_owned()),
            ("OCI_CLI_CLOUD_SHELL", "True".to_owned()),
            ("OCI_CLI_CONFIG_FILE", config),
            ("OCI_CLI_DELEGATION_TOKEN_FILE", token.clone()),
            ("OCI_obo_token_path", token),
            ("OCI_use_obo_token", "true".to_owned()),
        ]));
        Ok(environment)
    }

    /// A function, or what else has a resource principal: token and key as values. Calling
    /// it again gives another token and another key.
    pub fn resource_principal(&self) -> io::Result<Environment> {
        let (token, key) = self.resource()?;
        Ok(self.resource_environment(token, key))
    }

    /// The same with token and key in files of a folder. Calling it again replaces them, as
    /// the cloud does before they expire.
    pub fn resource_principal_files(&self, folder: &Path) -> io::Result<Environment> {
        let folder = Folder::open(folder)?;
        let (token, key) = self.resource()?;
        // The key first: whoever reads the new token finds its key.
        let key = folder.write("rpst.pem", &key)?;
        let token = folder.write("rpst", &token)?;
        Ok(self.resource_environment(token, key))
    }

    /// A pod of an OKE cluster, with its service account in a folder. Calling it again writes a new
    /// service account token, as the cluster does.
    ///
    /// The cluster's service listens on a free address in 127.0.0.0/8, because its port is fixed. Systems
    /// other than Linux have only one address there, and answer with an error.
    pub fn workload(&self, folder: &Path) -> io::Result<Environment> {
        let folder = Folder::open(folder)?;
        let address = self.cluster()?;
        Ok(environment([
            ("KUBERNETES_SERVICE_HOST", address.to_string()),
            (
                "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH",
                folder.write("ca.crt", certificate::cluster_pem()?)?,
            ),
            (
                "OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH",
                folder.write("token", &service_account_token(&self.shared))?,
            ),
            ("OCI_RESOURCE_PRINCIPAL_REGION", self.seed().region.clone()),
            ("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2".to_owned()),
        ]))
    }

    /// Somebody who signed in with a browser: a configuration file with the profile
    /// `SESSION`. Calling it again renews the token, as `oci session refresh` does.
    pub fn session(&self, folder: &Path) -> io::Result<Environment> {
        let folder = Folder::open(folder)?;
        let profile = self.session_profile(&folder)?;
        Ok(environment([
            ("OCI_CLI_CONFIG_FILE", folder.write("config", &profile)?),
            ("OCI_CLI_PROFILE", "SESSION".to_owned()),
        ]))
    }

    /// A job of a CI service outside of Oracle's cloud that an identity domain trusts.
    /// Calling it again writes a new job token.
    pub fn identity_domain(&self, folder: &Path) -> io::Result<Environment> {
        let folder = Folder::open(folder)?;
        Ok(environment([
            ("OCI_AUTH", "WorkloadIdentityFederation".to_owned()),
            (
                "OCI_TOKEN_EXCHANGE_AUTH",
                "OAuthClientCredentials".to_owned(),
            ),
            ("OCI_TOKEN_EXCHANGE_CLIENT_ID", CLIENT_ID.to_owned()),
            (
                "OCI_TOKEN_EXCHANGE_CLIENT_SECRET",
                self.shared.client_secret.clone(),
            ),
            ("OCI_TOKEN_EXCHANGE_DOMAIN_URL", self.url()),
            (
                "OCI_TOKEN_EXCHANGE_REQUESTED_TOKEN_TYPE",
                "urn:oci:token-type:oci-upst".to_owned(),
            ),
            ("OCI_TOKEN_EXCHANGE_SUBJECT_TOKEN_TYPE", "jwt".to_owned()),
            (
                "OCI_WORKLOAD_IDENTITY_TOKEN_PATH",
                folder.write("job.jwt", &job_token(&self.shared))?,
            ),
        ]))
    }

    /// Writes what a session consists of, and says the profile that points to it.
    pub(super) fn session_profile(&self, folder: &Folder) -> io::Result<String> {
        let key = RsaKey::of_process(Purpose::Session)?;
        let user = Principal::user(&self.shared.tenancy);
        let token = security_token(&self.shared, SignIn::Session, &user, &key.public, None);
        let seed = self.seed();
        Ok(format!(
            "[SESSION]\ntenancy={}\nregion={}\nfingerprint={}\nkey_file={}\nsecurity_token_file={}\n",
            seed.tenancy_id,
            seed.region,
            key.fingerprint,
            folder.write("oci_api_key.pem", &key.pem)?,
            folder.write("token", &token)?,
        ))
    }

    fn resource(&self) -> io::Result<(String, String)> {
        let odd = {
            let mut machines = self.shared.locked(&self.machines);
            machines.odd = !machines.odd;
            machines.odd
        };
        let key = RsaKey::of_process(Purpose::Resource { odd })?;
        let function = Principal {
            kind: Kind::Resource,
            id: self.seed().function_id.clone(),
        };
        let token = security_token(&self.shared, SignIn::Resource, &function, &key.public, None);
        Ok((token, key.pem.clone()))
    }

    fn resource_environment(&self, token: String, key: String) -> Environment {
        environment([
            ("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", key),
            ("OCI_RESOURCE_PRINCIPAL_REGION", self.seed().region.clone()),
            ("OCI_RESOURCE_PRINCIPAL_RPST", token),
            ("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2".to_owned()),
        ])
    }

    /// Where the cluster's service is; the first who asks starts it.
    fn cluster(&self) -> io::Result<IpAddr> {
        let mut machines = self.shared.locked(&self.machines);
        if let Some(address) = machines.cluster {
            return Ok(address);
        }
        let listener = bind()?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.ip();
        let (certificate, key) = certificate::cluster(address)?;
        let config = rustls::ServerConfig::builder_with_provider(certificate::provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .map_err(io::Error::other)?;
        let _entered = self.runtime.enter();
        self.connections.spawn(server::accept(
            self.shared.clone(),
            tokio::net::TcpListener::from_std(listener)?,
            Some(TlsAcceptor::from(Arc::new(config))),
            self.stop.clone(),
            self.connections.clone(),
        ));
        machines.cluster = Some(address);
        Ok(address)
    }
}

/// The cluster's port, on an address of its own: several emulators run at the same time.
fn bind() -> io::Result<TcpListener> {
    const TRIES: usize = 16;
    let mut last = None;
    for _ in 0..TRIES {
        let [second, third, fourth] = rand::random::<[u8; 3]>();
        // Not 127.0.0.1, where somebody's real cluster may be forwarded to, nor a broadcast address.
        let address = Ipv4Addr::new(127, second | 1, third, fourth.clamp(1, 254));
        match TcpListener::bind(SocketAddr::from((address, CLUSTER_PORT))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse)))
}

/// A folder that files are written into.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)
            .and_then(|()| fs::canonicalize(path))
            .map(Self)
            .map_err(|error| about(path, &error))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and says its absolute path.
    pub(super) fn write(&self, name: &str, content: &str) -> io::Result<String> {
        let path = self.path(name);
        write_file(&path, content.as_bytes(), false)?;
        Ok(path.to_string_lossy().into_owned())
    }
}

pub(super) fn environment<const N: usize>(variables: [(&str, String); N]) -> Environment {
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
