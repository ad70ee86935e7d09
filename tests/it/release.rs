//! What a release is made of: archives that registries, mirrors and OpenTofu's images
//! take, and workflows that make them. The commands are those of `tools/release.py`.

mod archives;
mod install;
mod layout;
mod workflows;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context as _, ensure};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The release tool of a checkout, not started. What the caller's environment says about
/// releases stays out.
fn tool(checkout: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(checkout.join("tools/release.py"))
        .args(arguments)
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("OCIR_RELEASE_KEY")
        .env_remove("OCIR_RELEASE_PASSPHRASE_FILE");
    command
}

/// What a command that must succeed writes.
fn succeeded(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} does not start"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What a command that must fail says.
fn refused(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stderr, .. } = command.output()?;
    ensure!(!status.success(), "{command:?} did not fail");
    Ok(String::from_utf8(stderr)?)
}

/// The archive, the sums and the rest, of the provider that the tests run.
struct Release {
    directory: tempfile::TempDir,
    _packed: Arc<tempfile::TempDir>,
}

/// What all releases of this run are copies of, as long as one of them is there: to compress
/// a debug build takes seconds.
static PACKED: Mutex<Weak<tempfile::TempDir>> = Mutex::new(Weak::new());

impl Release {
    fn new() -> anyhow::Result<Self> {
        let packed = Self::packed()?;
        let release = Self {
            directory: tempfile::tempdir()?,
            _packed: Arc::clone(&packed),
        };
        crate::support::cli::copy_files(packed.path(), release.path())?;
        Ok(release)
    }

    fn packed() -> anyhow::Result<Arc<tempfile::TempDir>> {
        // A test that failed in here has said why; the next one tries again.
        let mut shared = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = shared.upgrade() {
            return Ok(packed);
        }
        let packed = Arc::new(tempfile::tempdir()?);
        let program = env!("CARGO_BIN_EXE_terraform-provider-ocir");
        let platform = crate::support::cli::platform();
        let pack = ["pack", "--platform", &platform, "--binary", program];
        for arguments in [&pack[..], &["finish"]] {
            succeeded(tool(root(), arguments).arg("--out").arg(packed.path()))?;
        }
        *shared = Arc::downgrade(&packed);
        Ok(packed)
    }

    /// Runs a command of the release tool over this release.
    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = tool(root(), arguments);
        succeeded(command.arg("--out").arg(self.path()))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self, rest: &str) -> PathBuf {
        self.path()
            .join(format!("terraform-provider-ocir_{VERSION}_{rest}"))
    }

    fn archive(&self) -> PathBuf {
        self.file(&format!("{}.zip", crate::support::cli::platform()))
    }

    /// The sum of a file, as the file of sums has it.
    fn sum(&self, path: &Path) -> anyhow::Result<String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let sums = fs::read_to_string(self.file("SHA256SUMS"))?;
        sums.lines()
            .find_map(|line| line.strip_suffix(&*name)?.strip_suffix("  "))
            .map(str::to_owned)
            .with_context(|| format!("{name} is not in\n{sums}"))
    }
}

/// Whether a test goes on without something that it needs: never in CI, and elsewhere only
/// with a line that says so.
fn skipped(missing: &str) {
    let required = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!required, "{missing}");
    eprintln!("skipped: {missing}");
}
