//! Running other people's programs.

use std::{
    fs,
    io::{Read as _, Seek as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// A folder for a test and the programs in it. Nothing of the user's own
/// configuration is read, and nothing of it changed.
pub struct Workshop {
    directory: tempfile::TempDir,
}

/// Whether tests with these programs are to run. Those that do not run say why.
///
/// # Panics
///
/// When they are to run, and a program is missing.
#[track_caller]
pub fn present(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !is_on_path(program))
        .collect();
    let missing = missing.join(", ");
    // `CI` alone does not count: `make test` comes before what `make test-peers` installs.
    let wanted = std::env::var_os("OCIR_TEST_PEERS").is_some_and(|value| !value.is_empty());
    if wanted {
        assert!(
            missing.is_empty(),
            "missing: {missing}; run tools/peers.sh, or make test-peers"
        );
    } else if missing.is_empty() {
        eprintln!("skipped: OCIR_TEST_PEERS is not set; make test-peers sets it");
    } else {
        eprintln!(
            "skipped: OCIR_TEST_PEERS is not set, and {missing} missing; run make test-peers"
        );
    }
    wanted
}

/// Whether a program is installed.
pub fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

impl Workshop {
    pub fn new() -> anyhow::Result<Self> {
        let workshop = Self {
            directory: tempfile::tempdir()?,
        };
        let settings = workshop.path().join("home/.config/containers");
        fs::create_dir_all(&settings)?;
        fs::write(
            settings.join("policy.json"),
            r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
        )?;
        fs::write(settings.join("registries.conf"), "")?;
        fs::write(workshop.path().join("auth.json"), "{}")?;
        fs::create_dir(workshop.path().join("tmp"))?;
        Ok(workshop)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What a shell would do with these words, in the workshop's folder. A
    /// word with spaces in it is never needed, so there is no quoting.
    pub fn run(&self, words: &str) -> anyhow::Result<String> {
        let (out, error) = self.attempt(words)?;
        match error {
            None => Ok(out),
            Some(error) => anyhow::bail!("{words}: {error}"),
        }
    }

    /// The same for a command that must fail: what it complains about.
    pub fn run_badly(&self, words: &str) -> anyhow::Result<String> {
        let (_, error) = self.attempt(words)?;
        error.with_context(|| format!("{words}: it succeeded"))
    }

    /// The standard output, and what went wrong.
    fn attempt(&self, words: &str) -> anyhow::Result<(String, Option<String>)> {
        let mut words_of = words.split_whitespace();
        let program = words_of.next().context("a command needs a program")?;
        let mut command = Command::new(program);
        if matches!(program, "buildah" | "podman") {
            // Its store is a folder of ours, copied rather than layered: that
            // works in containers, too.
            command
                .args(["--root", "store/root", "--runroot", "store/run"])
                .args(["--storage-driver", "vfs"])
                .env_remove("STORAGE_OPTS");
        }
        command
            .args(words_of)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .env("HOME", self.path().join("home"))
            .env("REGISTRY_AUTH_FILE", self.path().join("auth.json"))
            .env("TMPDIR", self.path().join("tmp"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DOCKER_CONFIG")
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR");
        let (mut out, mut error) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdout(out.try_clone()?).stderr(error.try_clone()?);
        let mut process = command.spawn().with_context(|| program.to_owned())?;
        let started = Instant::now();
        let status = loop {
            match process.try_wait()? {
                Some(status) => break status.to_string(),
                // Other people's programs have bugs, too: skopeo 1.9 waits for
                // itself when it is asked for zstd:chunked.
                None if started.elapsed() > PATIENCE => {
                    process.kill()?;
                    process.wait()?;
                    break format!("no end after {} s", PATIENCE.as_secs());
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let (out, complaint) = (written(&mut out)?, written(&mut error)?);
        let error = match process.wait()?.success() {
            true => None,
            false => Some(format!("{status}: {complaint}")),
        };
        Ok((out, error))
    }
}

/// How long a program may take; the slowest takes a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was written to a file by somebody else.
fn written(file: &mut fs::File) -> anyhow::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}
