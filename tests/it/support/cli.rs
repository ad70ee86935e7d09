//! A real Terraform CLI in a folder of its own, with our provider and an emulator.

use std::{
    collections::BTreeMap,
    fs,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use ocir::emulator::Emulator;

/// A folder with a configuration, and a CLI that runs in it.
pub struct Workspace {
    directory: tempfile::TempDir,
    program: PathBuf,
    variables: BTreeMap<String, String>,
}

/// How a command ended.
pub struct Run {
    /// Exit status; -1 when a signal ended it.
    pub status: i32,
    /// Both streams, the standard output first.
    pub text: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            text: format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}

impl Run {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.status, 0, "the command failed:\n{}", self.text);
        self.text
    }

    /// The output of a command that must have ended with `status`.
    #[track_caller]
    pub fn ended_with(self, status: i32) -> String {
        assert_eq!(
            self.status, status,
            "the command ended otherwise:\n{}",
            self.text
        );
        self.text
    }

    /// All that it said, without the frame and the line breaks that a CLI adds.
    pub fn flat(&self) -> String {
        flat(&self.text)
    }

    /// The errors of a command that must have failed, as a person reads them.
    #[track_caller]
    pub fn errors(self) -> String {
        assert_eq!(self.status, 1, "the command did not fail:\n{}", self.text);
        let at = self.text.find("Error: ");
        assert!(
            at.is_some(),
            "the command failed without an error:\n{}",
            self.text
        );
        self.text[at.unwrap_or_default()..].trim_end().to_owned()
    }
}

impl Workspace {
    /// A folder with this configuration, and the provider installed in a mirror.
    /// `None`, with a line that says so, when there is no CLI on this machine
    /// and none is demanded.
    pub fn new(configuration: &str) -> anyhow::Result<Option<Self>> {
        let Some(program) = super::terraform() else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let mirror = directory.path().join("mirror");
        for registry in ["registry.terraform.io", "registry.opentofu.org"] {
            install(&mirror, &format!("{registry}/motando/ocir"))?;
        }
        fs::write(
            directory.path().join("cli.tfrc"),
            format!(
                "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
                mirror.display()
            ),
        )?;
        fs::create_dir(directory.path().join("work"))?;
        let workspace = Self {
            directory,
            program,
            variables: BTreeMap::new(),
        };
        workspace.write("main.tf", configuration)?;
        Ok(Some(workspace))
    }

    /// Installs our provider under the address of another one, whose state is about to be
    /// taken over: a CLI wants a provider for everything in its state, but asks that one
    /// nothing.
    pub fn lend(&self, address: &str) -> anyhow::Result<()> {
        install(&self.directory.path().join("mirror"), address)
    }

    /// The folder with the configuration.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.path().join(name), text).with_context(|| name.to_owned())
    }

    /// Sets an environment variable of the CLI.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Signs in to an emulator with its API key, as a user with a configured
    /// profile would.
    pub fn sign_in(&mut self, emulator: &Emulator) -> anyhow::Result<&mut Self> {
        let seed = emulator.seed();
        let key = self.directory.path().join("key.pem");
        fs::write(&key, &seed.private_key_pem)?;
        let file = self.directory.path().join("oci-config");
        fs::write(
            &file,
            format!(
                "[DEFAULT]\nuser={}\ntenancy={}\nfingerprint={}\nregion={}\nkey_file={}\n",
                seed.user_id,
                seed.tenancy_id,
                seed.fingerprint,
                seed.region,
                key.display()
            ),
        )?;
        self.set("OCI_CONFIG_FILE", file.display().to_string());
        self.set("OCI_ENDPOINT", emulator.url());
        self.set("TF_VAR_compartment_id", &seed.apps_compartment_id);
        self.set("TF_VAR_user_id", &seed.user_id);
        Ok(self)
    }

    /// A command of the CLI, not started. Nothing of the caller's environment
    /// that could lead it elsewhere comes along.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["TF_", "OCI_", "PLUGIN_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                command.env_remove(&*name);
            }
        }
        command
            .env("TF_CLI_CONFIG_FILE", self.directory.path().join("cli.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .env("HOME", self.directory.path())
            // Who has nobody to sign in as looks for an instance, and not at a
            // real address.
            .env("OCI_METADATA_BASE_URL", "http://127.0.0.1:1/opc/v2")
            .envs(&self.variables);
        command
    }

    /// Runs a command of the CLI. Blocking work: the emulator of a test needs
    /// threads of its own.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Run> {
        let mut arguments = arguments.to_vec();
        arguments.insert(1, "-no-color");
        let mut command = self.command(&arguments);
        let output: Output = tokio::task::spawn_blocking(move || command.output()).await??;
        Ok(Run::from(output))
    }

    /// Starts a command of the CLI, with colours off.
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<Running> {
        use std::os::unix::process::CommandExt as _;
        let mut arguments = arguments.to_vec();
        arguments.insert(1, "-no-color");
        // A file, since a pipe that nobody reads would hold the CLI up.
        let output = tempfile::NamedTempFile::new()?;
        // A group of its own, so that a signal reaches CLI and provider as from a terminal.
        let child = self
            .command(&arguments)
            .stdout(output.reopen()?)
            .stderr(output.reopen()?)
            .process_group(0)
            .spawn()?;
        Ok(Running { child, output })
    }

    /// The same, and waits until something has happened.
    pub async fn start_until(
        &self,
        arguments: &[&str],
        happened: impl Fn() -> bool,
    ) -> anyhow::Result<Running> {
        let mut running = self.start(arguments)?;
        let start = Instant::now();
        while !happened() {
            let ended = running.status()?;
            let text = running.text()?;
            anyhow::ensure!(ended.is_none(), "{arguments:?} ended by itself:\n{text}");
            anyhow::ensure!(
                start.elapsed() < PATIENCE,
                "{arguments:?} did not get that far:\n{text}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(running)
    }

    /// The same with somebody who types, which a console wants.
    pub async fn type_in(&self, arguments: &[&str], typed: &str) -> anyhow::Result<Run> {
        let mut command = self.command(arguments);
        let mut file = tempfile::tempfile()?;
        file.write_all(typed.as_bytes())?;
        file.rewind()?;
        command.stdin(file);
        let output: Output = tokio::task::spawn_blocking(move || command.output()).await??;
        Ok(Run::from(output))
    }

    /// `init` with the provider from the mirror.
    pub async fn init(&self) -> anyhow::Result<()> {
        self.run(&["init", "-input=false"]).await?.succeeded();
        Ok(())
    }

    /// The state, as JSON.
    pub fn state(&self) -> anyhow::Result<serde_json::Value> {
        let text = fs::read_to_string(self.path().join("terraform.tfstate"))?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// A command of the CLI on its way.
pub struct Running {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Running {
    /// How it ended, if it has.
    fn status(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Presses Ctrl-C, which must not be ignored. Gives how it ended, and how long that
    /// took.
    pub async fn interrupted(self) -> anyhow::Result<(Run, Duration)> {
        // Into the wait that it has come to, not merely before it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let pressed = Instant::now();
        self.signal_group("INT")?;
        let run = self.ended().await?;
        let took = pressed.elapsed();
        assert_ne!(run.status, 0, "it succeeded all the same:\n{}", run.text);
        eprintln!("ended {} ms after Ctrl-C", took.as_millis());
        Ok((run, took))
    }

    /// Kills the CLI, and the provider with it.
    pub async fn killed(self) -> anyhow::Result<()> {
        self.signal_group("KILL")?;
        self.ended().await?;
        Ok(())
    }

    /// Kills the provider, and not the CLI that started it.
    #[cfg(target_os = "linux")]
    pub async fn without_provider(self) -> anyhow::Result<Run> {
        let provider = self.provider().context("no provider runs")?;
        signal("KILL", &provider.to_string())?;
        let run = self.ended().await?;
        assert_ne!(run.status, 0, "the CLI noticed nothing:\n{}", run.text);
        Ok(run)
    }

    /// Waits for its end. Gives the most that the provider had in memory at once, too, in
    /// KiB.
    #[cfg(target_os = "linux")]
    pub async fn measured(mut self) -> anyhow::Result<(Run, u64)> {
        let mut largest = 0;
        while self.status()?.is_none() {
            largest = largest.max(self.largest_kib().unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok((self.ended().await?, largest))
    }

    /// The most that the provider had in memory at once so far, in KiB.
    #[cfg(target_os = "linux")]
    fn largest_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.provider()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The provider that the CLI started, which is in its group.
    #[cfg(target_os = "linux")]
    fn provider(&self) -> Option<u32> {
        let group = self.child.id().to_string();
        let mut processes = fs::read_dir("/proc").ok()?.flatten();
        processes.find_map(|process| {
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            let (id, rest) = stat.split_once(" (")?;
            let (name, rest) = rest.rsplit_once(") ")?;
            // Names are cut after 15 letters.
            let is_ours = name == "terraform-provi" && rest.split(' ').nth(2)? == group;
            is_ours.then(|| id.parse().ok())?
        })
    }

    fn signal_group(&self, name: &str) -> anyhow::Result<()> {
        signal(name, &format!("-{}", self.child.id()))
    }

    fn text(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.output.path())?)
    }

    async fn ended(mut self) -> anyhow::Result<Run> {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.status()? {
                break status;
            }
            anyhow::ensure!(since.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Ok(Run {
            status: status.code().unwrap_or(-1),
            text: self.text()?,
        })
    }
}

/// How long something that has to happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn signal(name: &str, process: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), "--", process])
        .status()?;
    anyhow::ensure!(sent.success(), "the signal could not be sent");
    Ok(())
}

/// Text of a CLI without the frame and the line breaks that it adds.
pub fn flat(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| !"│╷╵".contains(word));
    words.collect::<Vec<_>>().join(" ")
}

/// Puts our provider into a mirror, under an address.
fn install(mirror: &Path, address: &str) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let folder = mirror.join(address).join(version).join(platform());
    fs::create_dir_all(&folder)?;
    let name = address.rsplit('/').next().unwrap_or_default();
    let file = folder.join(format!("terraform-provider-{name}_v{version}"));
    let program = env!("CARGO_BIN_EXE_terraform-provider-ocir");
    fs::hard_link(program, &file).or_else(|_| fs::copy(program, &file).map(drop))?;
    Ok(())
}

/// Copies the files of a folder of the project's.
pub fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// This machine, as Terraform names it.
pub fn platform() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        system => system,
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        machine => machine,
    };
    format!("{system}_{machine}")
}
