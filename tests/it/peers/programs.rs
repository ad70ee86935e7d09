//! Running other people's programs.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
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

fn is_on_path(program: &str) -> bool {
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
        if program == "buildah" {
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
        let output = command.output().with_context(|| program.to_owned())?;
        let out = String::from_utf8(output.stdout)?.trim().to_owned();
        let error = match output.status.success() {
            true => None,
            false => Some(format!(
                "{}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        };
        Ok((out, error))
    }
}
