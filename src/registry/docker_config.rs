//! Logins that Docker and podman keep: in files, or with a helper that the
//! files name.
//!
//! Formats: <https://docs.docker.com/reference/cli/docker/login/#credential-stores> and
//! containers-auth.json(5), which also says which file comes before which.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Credentials, error::excerpt};
use crate::transport::Secrets;

/// Where Docker and podman keep logins. Its `Debug` shows no secret.
#[derive(Clone, Default)]
pub struct DockerConfig {
    /// `DOCKER_AUTH_CONFIG`: a file's content. A secret.
    inline: Option<String>,
    files: Vec<PathBuf>,
    home: Option<PathBuf>,
    /// What helpers get for an environment.
    variables: BTreeMap<String, String>,
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// A login, and where it comes from.
#[derive(Clone, Debug)]
pub struct Login {
    /// How to sign in.
    pub credentials: Credentials,
    /// Who that is, for messages: `user "x" of ~/.docker/config.json`.
    pub identity: String,
}

/// Why it is not known whether there is a login.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the parts of the text")]
pub enum Error {
    /// A helper that is not there, fails or does not end.
    #[error("{file} leaves the login for {host} to the program {program}, which {problem}")]
    Helper {
        file: String,
        host: String,
        program: String,
        problem: String,
    },
    /// A file that is something else.
    #[error("{file} is no configuration of Docker or podman: {problem}")]
    Malformed { file: String, problem: String },
    /// A file that is there and cannot be read.
    #[error("cannot read {file}")]
    Read {
        file: String,
        #[source]
        cause: io::Error,
    },
    /// The user interrupted the run.
    #[error("interrupted")]
    Stopped,
}

impl Login {
    /// Whether it signs in with just these credentials.
    pub fn is(&self, credentials: &Credentials) -> bool {
        use Credentials::{Basic, Refresh};
        match (&self.credentials, credentials) {
            (Refresh(one), Refresh(other)) => one == other,
            (
                Basic { username, password },
                Basic {
                    username: other,
                    password: secret,
                },
            ) => username == other && password == secret,
            _ => false,
        }
    }
}

impl DockerConfig {
    /// What these variables, and this home directory, say.
    ///
    /// `DOCKER_AUTH_CONFIG` comes first, as with Docker. `REGISTRY_AUTH_FILE` stands in
    /// for all files, as with podman; otherwise podman's own come before Docker's.
    pub fn from_environment(variables: &BTreeMap<String, String>, home: Option<&Path>) -> Self {
        let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        let below = |folder: Option<PathBuf>, file: &str| folder.map(|folder| folder.join(file));
        let variable = |name: &str| set(name).map(PathBuf::from);
        let of_home = |folder: &str| home.map(|home| home.join(folder));
        let files = match variable("REGISTRY_AUTH_FILE") {
            Some(file) => vec![file],
            None => {
                let files = [
                    below(variable("XDG_RUNTIME_DIR"), "containers/auth.json"),
                    below(
                        variable("XDG_CONFIG_HOME").or_else(|| of_home(".config")),
                        "containers/auth.json",
                    ),
                    below(
                        variable("DOCKER_CONFIG").or_else(|| of_home(".docker")),
                        "config.json",
                    ),
                ];
                files.into_iter().flatten().collect()
            }
        };
        Self {
            inline: set("DOCKER_AUTH_CONFIG").cloned(),
            files,
            home: home.map(Into::into),
            variables: variables.clone(),
        }
    }

    /// The login for a repository of a host (`docker.io` for Docker Hub), or for the
    /// whole host when `repository` is empty; `None` when there is none.
    ///
    /// Helpers may take ten seconds, and are killed then, or at `stop`.
    pub async fn login(
        &self,
        host: &str,
        repository: &str,
        stop: &CancellationToken,
    ) -> Result<Option<Login>, Error> {
        let wanted = Wanted::new(host, repository);
        if let Some(text) = &self.inline {
            let place = "the environment variable DOCKER_AUTH_CONFIG";
            if let Some(login) = self.look(text, place, &wanted, stop).await? {
                return Ok(Some(login));
            }
        }
        for path in &self.files {
            let place = self.shown(path);
            let file = path.clone();
            let read = tokio::task::spawn_blocking(move || read_file(&file));
            let text = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Error::Stopped),
                read = read => read.unwrap_or_else(|failed| Err(io::Error::other(failed))),
            };
            let text = text.map_err(|cause| Error::Read {
                file: place.clone(),
                cause,
            })?;
            if let Some(text) = text
                && let Some(login) = self.look(&text, &place, &wanted, stop).await?
            {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    /// The path as people write it.
    fn shown(&self, path: &Path) -> String {
        let below_home = self
            .home
            .as_ref()
            .and_then(|home| path.strip_prefix(home).ok());
        match below_home {
            Some(rest) => format!("~/{}", rest.display()),
            None => path.display().to_string(),
        }
    }

    /// The login that one file has.
    async fn look(
        &self,
        text: &str,
        place: &str,
        wanted: &Wanted,
        stop: &CancellationToken,
    ) -> Result<Option<Login>, Error> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let file: File = serde_json::from_str(text).map_err(|error| Error::Malformed {
            file: place.to_owned(),
            // The parser quotes what it did not expect, and that may be a secret.
            problem: format!(
                "it is not the JSON that belongs there, at line {} column {}",
                error.line(),
                error.column()
            ),
        })?;
        let helpers = file.cred_helpers.unwrap_or_default();
        let helper = wanted
            .hosts()
            .find_map(|host| helpers.get(host))
            .or(file.creds_store.as_ref())
            .filter(|name| !name.is_empty());
        if let Some(name) = helper {
            let login = self.ask(name, place, wanted, stop).await?;
            if login.is_some() {
                return Ok(login);
            }
        }
        let auths = file.auths.unwrap_or_default();
        for (key, auth) in wanted.entries(&auths) {
            let login = auth.login(place).map_err(|problem| Error::Malformed {
                file: place.to_owned(),
                problem: format!("its entry for {key:?} {problem}"),
            })?;
            if login.is_some() {
                return Ok(login);
            }
        }
        Ok(None)
    }

    /// Asks a helper.
    async fn ask(
        &self,
        name: &str,
        place: &str,
        wanted: &Wanted,
        stop: &CancellationToken,
    ) -> Result<Option<Login>, Error> {
        let program = format!("docker-credential-{name}");
        let failed = |problem: String| Error::Helper {
            file: place.to_owned(),
            host: wanted.host.clone(),
            program: program.clone(),
            problem,
        };
        let Some(path) = self.program(&program) else {
            return Err(failed(
                "is not found on the PATH; install it, or take it out of the file".to_owned(),
            ));
        };
        let helper = Helper::start(&path, &self.variables, &wanted.server)
            .await
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Error::Stopped),
            ended = helper.finish() => ended,
        };
        let (status, said) = ended.map_err(failed)?;
        if !status.success() {
            let words = excerpt(&Secrets::new([]).scrub(&String::from_utf8_lossy(&said)));
            // What the helpers of Docker say, each in its own way.
            if words.to_lowercase().contains("credentials not found") {
                return Ok(None);
            }
            return Err(failed(match words.is_empty() {
                true => format!("failed ({status})"),
                false => format!("failed ({status}): {words}"),
            }));
        }
        let answer: Answer = serde_json::from_slice(&said)
            .map_err(|_| failed("does not answer with the JSON of a login".to_owned()))?;
        Ok(match (answer.username.as_str(), answer.secret.as_str()) {
            ("", "") => None,
            ("<token>", _) => Some(Login {
                credentials: Credentials::Refresh(answer.secret),
                identity: format!("the owner of a token of {program} ({place})"),
            }),
            _ => Some(Login {
                identity: format!("user {:?} of {program} ({place})", answer.username),
                credentials: Credentials::Basic {
                    username: answer.username,
                    password: answer.secret,
                },
            }),
        })
    }

    /// Where a program is. Folders of the `PATH` that depend on the current one are
    /// left out: a checked-out repository must not bring its own helper.
    fn program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return None;
        }
        std::env::split_paths(self.variables.get("PATH")?)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|path| {
                fs::metadata(path)
                    .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
            })
    }
}

/// Content of a file, if it is there.
fn read_file(path: &Path) -> io::Result<Option<String>> {
    let is_absent = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    };
    let metadata = match fs::metadata(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        metadata => metadata?,
    };
    // Opening a pipe would wait for someone to write into it.
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    fs::File::open(path)?
        .take(MOST_OF_A_FILE)
        .read_to_string(&mut text)?;
    Ok(Some(text))
}

const MOST_OF_A_FILE: u64 = 4 << 20;

/// What both kinds of files have in common. Other members are of no interest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    auths: Option<BTreeMap<String, Auth>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<String>,
    identitytoken: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Auth {
    /// The login that stands there; Docker leaves empty entries behind for what a
    /// helper keeps.
    fn login(&self, place: &str) -> Result<Option<Login>, &'static str> {
        let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        if let Some(token) = text(&self.identitytoken) {
            return Ok(Some(Login {
                credentials: Credentials::Refresh(token),
                identity: format!("the owner of a token in {place}"),
            }));
        }
        let (username, password) = match text(&self.auth) {
            Some(auth) => {
                let decoded = LENIENT
                    .decode(auth.trim())
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or("has no base64 of a text in \"auth\"")?;
                let (username, password) = decoded
                    .split_once(':')
                    .ok_or("has no user name and password in \"auth\"")?;
                // Docker once filled it up with zeros.
                (
                    username.to_owned(),
                    password.trim_end_matches('\0').to_owned(),
                )
            }
            None => match (text(&self.username), text(&self.password)) {
                (Some(username), Some(password)) => (username, password),
                _ => return Ok(None),
            },
        };
        Ok(Some(Login {
            identity: format!("user {username:?} of {place}"),
            credentials: Credentials::Basic { username, password },
        }))
    }
}

/// Some write the base64 without its end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A helper's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: String,
}

/// What a login is looked for.
struct Wanted {
    host: String,
    repository: String,
    /// What helpers know the host as.
    server: String,
}

impl Wanted {
    fn new(host: &str, repository: &str) -> Self {
        let host = canonical(host);
        Self {
            server: match host {
                HUB => HUB_SERVER,
                host => host,
            }
            .to_owned(),
            host: host.to_owned(),
            repository: repository.to_owned(),
        }
    }

    /// The names under which a helper may be set for the host.
    fn hosts(&self) -> impl Iterator<Item = &str> {
        let of_hub = match self.host.as_str() {
            HUB => &HUB_NAMES[..],
            _ => &[],
        };
        [self.server.as_str(), self.host.as_str()]
            .into_iter()
            .chain(of_hub.iter().copied())
    }

    /// The entries that may be meant, the best first: those of the repository and the
    /// folders around it, then the host, however it is written.
    fn entries<'a>(
        &self,
        auths: &'a BTreeMap<String, Auth>,
    ) -> impl Iterator<Item = (&'a str, &'a Auth)> {
        let mut keys = Vec::new();
        let mut path = self.repository.as_str();
        while !path.is_empty() {
            keys.push(format!("{}/{path}", self.host));
            path = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        }
        keys.push(self.host.clone());
        let mut found: Vec<(&str, &Auth)> = keys
            .iter()
            .filter_map(|key| auths.get_key_value(key))
            .map(|(key, auth)| (key.as_str(), auth))
            .collect();
        let others = auths.iter().filter(|(key, _)| {
            let bare = key
                .strip_prefix("https://")
                .or_else(|| key.strip_prefix("http://"));
            // A path behind a scheme is that of an API.
            let host = match bare {
                Some(bare) => bare.split('/').next().unwrap_or_default(),
                None => key,
            };
            canonical(host) == self.host && !found.iter().any(|(known, _)| known == key)
        });
        let others: Vec<(&str, &Auth)> = others.map(|(key, auth)| (key.as_str(), auth)).collect();
        found.extend(others);
        found.into_iter()
    }
}

/// The one name of a host that has several.
fn canonical(host: &str) -> &str {
    match HUB_NAMES.contains(&host) {
        true => HUB,
        false => host,
    }
}

/// Docker Hub, as names of images call it.
const HUB: &str = "docker.io";
/// As Docker's configuration calls it.
const HUB_SERVER: &str = "https://index.docker.io/v1/";
const HUB_NAMES: [&str; 3] = [HUB, "index.docker.io", "registry-1.docker.io"];

/// A helper at work; it is killed when dropped.
struct Helper {
    child: Child,
    said: oneshot::Receiver<Vec<u8>>,
    complained: oneshot::Receiver<Vec<u8>>,
}

impl Helper {
    async fn start(
        path: &Path,
        variables: &BTreeMap<String, String>,
        server: &str,
    ) -> io::Result<Self> {
        let mut child = None;
        for _ in 0..5 {
            let started = Command::new(path)
                .arg("get")
                .env_clear()
                .envs(variables)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            match started {
                // It is just being installed.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                started => {
                    child = Some(started?);
                    break;
                }
            }
        }
        let mut child = child.ok_or(io::ErrorKind::ExecutableFileBusy)?;
        if let Some(mut input) = child.stdin.take() {
            // So little fits into every pipe. Who does not read it needs no host.
            let _ = input.write_all(server.as_bytes());
        }
        let said = collect(child.stdout.take());
        let complained = collect(child.stderr.take());
        Ok(Self {
            child,
            said,
            complained,
        })
    }

    /// Waits until it ends. Gives what it wrote; when it failed in silence, what it
    /// wrote to standard error.
    async fn finish(mut self) -> Result<(ExitStatus, Vec<u8>), String> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(error) => return Err(format!("cannot be waited for: {error}")),
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "did not answer within {} s and was ended",
                    PATIENCE.as_secs()
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        // What it started may hold the other ends.
        let rest = |written| tokio::time::timeout(Duration::from_secs(1), written);
        let mut said = rest(&mut self.said)
            .await
            .unwrap_or(Ok(Vec::new()))
            .unwrap_or_default();
        if !status.success() && said.trim_ascii().is_empty() {
            said = rest(&mut self.complained)
                .await
                .unwrap_or(Ok(Vec::new()))
                .unwrap_or_default();
        }
        Ok((status, said))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, on a thread that nobody has to wait for.
fn collect(pipe: Option<impl Read + Send + 'static>) -> oneshot::Receiver<Vec<u8>> {
    let (sender, receiver) = oneshot::channel();
    if let Some(pipe) = pipe {
        // Without a thread the sender is gone, and nothing was said.
        let _ = std::thread::Builder::new()
            .name("helper".to_owned())
            .spawn(move || {
                let mut bytes = Vec::new();
                let _ = pipe.take(MOST_OF_AN_ANSWER).read_to_end(&mut bytes);
                let _ = sender.send(bytes);
            });
    }
    receiver
}

/// How long a helper may take. It may have to ask somebody over the network.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Some tokens are long.
const MOST_OF_AN_ANSWER: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    /// A home directory, and a folder for helpers.
    struct Home {
        folder: tempfile::TempDir,
        variables: BTreeMap<String, String>,
    }

    impl Home {
        fn new() -> anyhow::Result<Self> {
            let folder = tempfile::tempdir()?;
            let bin = folder.path().join("bin");
            fs::create_dir(&bin)?;
            let path = format!("relative:{}:/usr/bin:/bin", bin.display());
            Ok(Self {
                variables: [("PATH".to_owned(), path)].into(),
                folder,
            })
        }

        fn path(&self) -> &Path {
            self.folder.path()
        }

        fn set(&mut self, name: &str, value: impl Into<String>) {
            self.variables.insert(name.to_owned(), value.into());
        }

        fn write(&self, file: &str, content: impl ToString) -> anyhow::Result<()> {
            let path = self.path().join(file);
            fs::create_dir_all(path.parent().unwrap_or(self.path()))?;
            Ok(fs::write(path, content.to_string())?)
        }

        /// A helper that is a shell script.
        fn helper(&self, name: &str, script: &str) -> anyhow::Result<()> {
            let file = format!("bin/docker-credential-{name}");
            self.write(&file, format!("#!/bin/sh\n{script}\n"))?;
            let path = self.path().join(file);
            Ok(fs::set_permissions(
                path,
                fs::Permissions::from_mode(0o755),
            )?)
        }

        fn config(&self) -> DockerConfig {
            DockerConfig::from_environment(&self.variables, Some(self.path()))
        }

        /// The login for a repository as text, secrets included.
        async fn login(&self, host: &str, repository: &str) -> String {
            let stop = CancellationToken::new();
            let login = self.config().login(host, repository, &stop).await;
            let text = match login {
                Ok(None) => "none".to_owned(),
                Ok(Some(Login {
                    credentials: Credentials::Basic { username, password },
                    identity,
                })) => format!("{username}/{password}: {identity}"),
                Ok(Some(Login {
                    credentials: Credentials::Refresh(token),
                    identity,
                })) => format!("{token}: {identity}"),
                Ok(Some(other)) => format!("{other:?}"),
                Err(error) => match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                },
            };
            text.replace(&self.path().display().to_string(), "HOME")
        }
    }

    fn auth(username: &str, password: &str) -> serde_json::Value {
        json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
    }

    /// Without any file there is no login.
    #[tokio::test]
    async fn no_files() -> anyhow::Result<()> {
        assert_eq!(Home::new()?.login("quay.io", "a/b").await, "none");
        let nowhere = DockerConfig::from_environment(&BTreeMap::new(), None);
        let stop = CancellationToken::new();
        assert!(nowhere.login("quay.io", "", &stop).await?.is_none());
        Ok(())
    }

    /// Hosts are found however they are written, Docker Hub under its odd key, and
    /// podman's entries for folders before those for hosts.
    #[tokio::test]
    async fn entries() -> anyhow::Result<()> {
        let home = Home::new()?;
        home.write(
            ".docker/config.json",
            json!({
                "auths": {
                    "https://index.docker.io/v1/": auth("hub", "p"),
                    "https://old.example/v2/": auth("old", "p"),
                    "quay.io": auth("host", "p:q"),
                    "quay.io/team": auth("team", "p"),
                    "quay.io/team/web": auth("web", "p"),
                    "zeros.example": auth("zeros", "p\0\0"),
                    "plain.example": { "username": "plain", "password": "p", "email": "x" },
                    "token.example": { "auth": STANDARD.encode("x:"), "identitytoken": "t0ken" },
                    "empty.example": {},
                    "unpadded.example": { "auth": "YTpi" },
                },
                "HttpHeaders": { "User-Agent": "x" },
            }),
        )?;
        let mut found = Vec::new();
        for (host, repository) in [
            ("docker.io", "library/alpine"),
            ("registry-1.docker.io", ""),
            ("old.example", "x"),
            ("quay.io", "team/web"),
            ("quay.io", "team/web/more"),
            ("quay.io", "team/api"),
            ("quay.io", "teams/api"),
            ("quay.io", ""),
            ("zeros.example", "x"),
            ("plain.example", "x"),
            ("token.example", "x"),
            ("empty.example", "x"),
            ("unpadded.example", "x"),
            ("other.example", "quay.io"),
        ] {
            let login = home.login(host, repository).await;
            found.push(format!("{host}/{repository}: {login}"));
        }
        expect![[r#"
            docker.io/library/alpine: hub/p: user "hub" of ~/.docker/config.json
            registry-1.docker.io/: hub/p: user "hub" of ~/.docker/config.json
            old.example/x: old/p: user "old" of ~/.docker/config.json
            quay.io/team/web: web/p: user "web" of ~/.docker/config.json
            quay.io/team/web/more: web/p: user "web" of ~/.docker/config.json
            quay.io/team/api: team/p: user "team" of ~/.docker/config.json
            quay.io/teams/api: host/p:q: user "host" of ~/.docker/config.json
            quay.io/: host/p:q: user "host" of ~/.docker/config.json
            zeros.example/x: zeros/p: user "zeros" of ~/.docker/config.json
            plain.example/x: plain/p: user "plain" of ~/.docker/config.json
            token.example/x: t0ken: the owner of a token in ~/.docker/config.json
            empty.example/x: none
            unpadded.example/x: a/b: user "a" of ~/.docker/config.json
            other.example/quay.io: none"#]]
        .assert_eq(&found.join("\n"));
        Ok(())
    }

    /// Podman's files come before Docker's, one that a variable names stands in for
    /// all of them, and the content of a variable is first.
    #[tokio::test]
    async fn order_of_files() -> anyhow::Result<()> {
        let mut home = Home::new()?;
        let one = |user: &str| json!({ "auths": { "quay.io": auth(user, "p") } });
        let run = home.path().join("run").display().to_string();
        home.set("XDG_RUNTIME_DIR", run);
        home.write("run/containers/auth.json", one("run"))?;
        home.write(".config/containers/auth.json", one("config"))?;
        home.write(".docker/config.json", one("docker"))?;
        home.write("elsewhere/config.json", one("elsewhere"))?;
        home.write("named.json", one("named"))?;
        let mut found = vec![home.login("quay.io", "").await];
        home.write("run/containers/auth.json", json!({ "auths": null }))?;
        found.push(home.login("quay.io", "").await);
        home.write(".config/containers/auth.json", "")?;
        found.push(home.login("quay.io", "").await);
        home.set(
            "DOCKER_CONFIG",
            home.path().join("elsewhere").display().to_string(),
        );
        found.push(home.login("quay.io", "").await);
        home.set(
            "REGISTRY_AUTH_FILE",
            home.path().join("named.json").display().to_string(),
        );
        found.push(home.login("quay.io", "").await);
        home.set("DOCKER_AUTH_CONFIG", one("inline").to_string());
        found.push(home.login("quay.io", "").await);
        home.variables.remove("DOCKER_AUTH_CONFIG");
        home.set("REGISTRY_AUTH_FILE", "/nonexistent/auth.json");
        found.push(home.login("quay.io", "").await);
        expect![[r#"
            run/p: user "run" of ~/run/containers/auth.json
            config/p: user "config" of ~/.config/containers/auth.json
            docker/p: user "docker" of ~/.docker/config.json
            elsewhere/p: user "elsewhere" of ~/elsewhere/config.json
            named/p: user "named" of ~/named.json
            inline/p: user "inline" of the environment variable DOCKER_AUTH_CONFIG
            none"#]]
        .assert_eq(&found.join("\n"));
        Ok(())
    }

    /// A helper is asked for its host, with the environment that was handed in, and
    /// before what stands in the file.
    #[tokio::test]
    async fn helpers() -> anyhow::Result<()> {
        let mut home = Home::new()?;
        home.set("WHO", "somebody");
        home.helper(
            "echo",
            r#"read server; echo "{\"ServerURL\":\"$server\",\"Username\":\"$WHO\",\"Secret\":\"$1 $server\"}""#,
        )?;
        home.helper("token", r#"echo '{"Username":"<token>","Secret":"t0ken"}'"#)?;
        home.helper(
            "empty",
            "echo credentials not found in native keychain; exit 1",
        )?;
        home.helper(
            "nothing",
            r#"echo '{"ServerURL":"x","Username":"","Secret":""}'"#,
        )?;
        home.write(
            ".docker/config.json",
            json!({
                "auths": { "quay.io": auth("file", "p"), "own.example": auth("file", "p") },
                "credHelpers": {
                    "ecr.example": "echo",
                    "https://index.docker.io/v1/": "echo",
                    "acr.example": "token",
                    "quay.io": "empty",
                    "void.example": "nothing",
                },
                "credsStore": "echo",
            }),
        )?;
        let mut found = Vec::new();
        let hosts = [
            "ecr.example",
            "docker.io",
            "acr.example",
            "quay.io",
            "void.example",
            "own.example",
        ];
        for host in hosts {
            found.push(format!("{host}: {}", home.login(host, "x").await));
        }
        expect![[r#"
            ecr.example: somebody/get ecr.example: user "somebody" of docker-credential-echo (~/.docker/config.json)
            docker.io: somebody/get https://index.docker.io/v1/: user "somebody" of docker-credential-echo (~/.docker/config.json)
            acr.example: t0ken: the owner of a token of docker-credential-token (~/.docker/config.json)
            quay.io: file/p: user "file" of ~/.docker/config.json
            void.example: none
            own.example: somebody/get own.example: user "somebody" of docker-credential-echo (~/.docker/config.json)"#]].assert_eq(&found.join("\n"));
        Ok(())
    }

    /// What is wrong is said, with the file, and without secrets.
    #[tokio::test]
    async fn what_is_wrong() -> anyhow::Result<()> {
        let home = Home::new()?;
        home.helper("broken", "echo no such vault; echo more >&2; exit 3")?;
        home.helper("silent", "exit 1")?;
        home.helper(
            "whispers",
            "echo cannot reach the vault with password=hunter2 >&2; exit 1",
        )?;
        home.helper("chatty", "echo hunter2 is the password")?;
        home.helper("killed", "kill -9 $$")?;
        let unusable = home.path().join("bin/docker-credential-unusable");
        fs::write(unusable, "")?;
        let mut found = Vec::new();
        let helper = |name: &str| json!({ "credsStore": name }).to_string();
        for config in [
            helper("broken"),
            helper("silent"),
            helper("whispers"),
            helper("chatty"),
            helper("killed"),
            helper("missing"),
            helper("unusable"),
            helper("../broken"),
            r#"{"auths":{"quay.io":"hunter2"}}"#.to_owned(),
            r#"{"auths":{"quay.io":{"auth":"hunter2:"}}}"#.to_owned(),
            json!({ "auths": { "quay.io": { "auth": STANDARD.encode("hunter2") } } }).to_string(),
            "[".to_owned(),
        ] {
            home.write(".docker/config.json", config)?;
            let said = home.login("quay.io", "x").await;
            assert!(!said.contains("hunter2"), "{said}");
            found.push(said);
        }
        fs::remove_file(home.path().join(".docker/config.json"))?;
        fs::create_dir(home.path().join(".docker/config.json"))?;
        found.push(home.login("quay.io", "x").await);
        expect![[r#"
            ~/.docker/config.json leaves the login for quay.io to the program docker-credential-broken, which failed (exit status: 3): no such vault
            ~/.docker/config.json leaves the login for quay.io to the program docker-credential-silent, which failed (exit status: 1)
            ~/.docker/config.json leaves the login for quay.io to the program docker-credential-whispers, which failed (exit status: 1): cannot reach the vault with password=[redacted]
            ~/.docker/config.json leaves the login for quay.io to the program docker-credential-chatty, which does not answer with the JSON of a login
            ~/.docker/config.json leaves the login for quay.io to the program docker-credential-killed, which failed (signal: 9 (SIGKILL))
            ~/.docker/config.json leaves the login for quay.io to the program docker-credential-missing, which is not found on the PATH; install it, or take it out of the file
            ~/.docker/config.json leaves the login for quay.io to the program docker-credential-unusable, which is not found on the PATH; install it, or take it out of the file
            ~/.docker/config.json leaves the login for quay.io to the program docker-credential-../broken, which is not found on the PATH; install it, or take it out of the file
            ~/.docker/config.json is no configuration of Docker or podman: it is not the JSON that belongs there, at line 1 column 29
            ~/.docker/config.json is no configuration of Docker or podman: its entry for "quay.io" has no base64 of a text in "auth"
            ~/.docker/config.json is no configuration of Docker or podman: its entry for "quay.io" has no user name and password in "auth"
            ~/.docker/config.json is no configuration of Docker or podman: it is not the JSON that belongs there, at line 1 column 1
            cannot read ~/.docker/config.json: it is no file"#]].assert_eq(&found.join("\n"));
        Ok(())
    }

    proptest::proptest! {
        /// Whatever stands in a file is a login, none, or an error that does not repeat it.
        #[test]
        fn any_file(
            key in "(quay\\.io|https://quay\\.io/v[12]/|quay\\.io/a|\\PC{0,8})",
            auth in "([A-Za-z0-9+/=]{0,16}|\\PC{0,16})",
            tail in "(\\}|,\"credsStore\":(1|\"\"|null)\\}|\\PC{0,8})",
        ) {
            let auths = json!({ key: { "auth": auth } });
            let config = DockerConfig {
                inline: Some(format!("{{\"auths\":{auths}{tail}")),
                ..DockerConfig::default()
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime can be made");
            let stop = CancellationToken::new();
            let found = runtime.block_on(config.login("quay.io", "a/b", &stop));
            if let Err(error) = found {
                let shown = error.to_string();
                proptest::prop_assert!(auth.len() < 9 || !shown.contains(&auth), "{}", shown);
            }
        }
    }

    /// A helper that hangs is ended at the stop, and so is the one whose caller is gone.
    #[tokio::test]
    async fn helpers_are_stopped() -> anyhow::Result<()> {
        let home = Home::new()?;
        let pid = home.path().join("pid");
        home.helper(
            "hangs",
            &format!("echo $$ > {}; exec sleep 1000", pid.display()),
        )?;
        home.write(".docker/config.json", json!({ "credsStore": "hangs" }))?;
        let stop = CancellationToken::new();
        let (config, stopper) = (home.config(), stop.clone());
        let asking = tokio::spawn(async move { config.login("quay.io", "", &stopper).await });
        let number = loop {
            match fs::read_to_string(&pid) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let start = std::time::Instant::now();
        stop.cancel();
        assert!(matches!(asking.await?, Err(Error::Stopped)));
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(!Path::new("/proc").join(number).exists());
        Ok(())
    }

    /// Nobody who prints the configuration or a login sees a secret.
    #[tokio::test]
    async fn secrets_are_hidden() -> anyhow::Result<()> {
        let mut home = Home::new()?;
        let auths = json!({ "auths": { "a.example": auth("user", "hunter2"), "b.example": { "identitytoken": "hunter2" } } });
        home.set("DOCKER_AUTH_CONFIG", auths.to_string());
        home.set("PASSWORD", "hunter2");
        let config = home.config();
        let stop = CancellationToken::new();
        let mut shown = format!("{config:?}");
        for host in ["a.example", "b.example"] {
            let login = config.login(host, "", &stop).await?;
            shown += &format!("{:?}", login.ok_or_else(|| anyhow::anyhow!("no login"))?);
        }
        assert!(!shown.contains("hunter2"), "{shown}");
        Ok(())
    }

    proptest::proptest! {
        // A helper is a process.
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: proptest::prelude::ProptestConfig::default().cases.div_ceil(8),
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever a helper says, it is a login, none, or an error without the secret.
        #[test]
        fn any_helper(
            said in crate::spoilt::bytes([
                &b"{\"ServerURL\":\"quay.io\",\"Username\":\"somebody\",\"Secret\":\"hunter2hunter2\"}"[..],
                b"{\"Username\":\"<token>\",\"Secret\":\"hunter2hunter2\"}",
                b"credentials not found in native keychain",
            ]),
            status in 0..2,
        ) {
            let home = Home::new().expect("a folder can be made");
            let file = home.path().join("said");
            fs::write(&file, &said).expect("a file can be written");
            let script = format!("cat {}; exit {status}", file.display());
            home.helper("odd", &script).expect("a file can be written");
            let config = json!({ "credsStore": "odd" });
            home.write(".docker/config.json", config).expect("a file can be written");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            let stop = CancellationToken::new();
            let found = runtime.block_on(home.config().login("quay.io", "a/b", &stop));
            match found {
                Err(error) if status == 0 => {
                    proptest::prop_assert!(!error.to_string().contains("hunter2"), "{}", error);
                }
                Err(error) => proptest::prop_assert!(error.to_string().len() < 1000, "{}", error),
                Ok(Some(login)) => {
                    let shown = format!("{login:?}");
                    proptest::prop_assert!(!shown.contains("hunter2"), "{}", shown);
                }
                Ok(None) => {}
            }
        }

        /// Whatever is JSON in a file is a login, none, or an error that does not repeat it.
        #[test]
        fn any_members(file in crate::spoilt::json([json!({
            "auths": {
                "quay.io": auth("somebody", "hunter2hunter2"),
                "https://quay.io/v1/": {"identitytoken": "hunter2hunter2"},
                "quay.io/a": {"username": "somebody", "password": "hunter2hunter2"},
            },
            "credHelpers": {"quay.io": ""},
            "credsStore": "",
        })])) {
            let config = DockerConfig {
                inline: Some(file.to_string()),
                ..DockerConfig::default()
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime can be made");
            let stop = CancellationToken::new();
            if let Err(error) = runtime.block_on(config.login("quay.io", "a/b", &stop)) {
                proptest::prop_assert!(!error.to_string().contains("hunter2"), "{}", error);
            }
        }
    }
}
