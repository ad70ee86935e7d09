//! What stories and protocol cases share.

pub mod cli;
pub mod client;
pub mod core;
pub mod images;
mod json;
pub mod provider;
mod rules;

use std::{io::Write as _, path::PathBuf, process::Command, sync::OnceLock};

use anyhow::Context as _;

/// A Terraform or OpenTofu for tests: `OCIR_TEST_TERRAFORM`, what
/// `tools/terraform.py` brought, or the first on the `PATH`.
///
/// Without any, tests that need one say so and pass, unless `CI` or
/// `OCIR_TEST_REQUIRE_CLI` is set: there it is an error.
pub fn terraform() -> Option<PathBuf> {
    let given = std::env::var_os("OCIR_TEST_TERRAFORM").map(PathBuf::from);
    if let Some(path) = &given {
        assert!(
            path.is_file(),
            "OCIR_TEST_TERRAFORM is not a file: {}",
            path.display()
        );
    }
    let brought = || {
        let versions = std::fs::read_dir(target_dir().join("tools")).ok()?;
        let programs = versions
            .flatten()
            .map(|version| version.path().join("terraform"));
        programs.filter(|program| program.is_file()).max()
    };
    let on_path = || {
        let dirs = std::env::var_os("PATH")?;
        let mut dirs: Vec<_> = std::env::split_paths(&dirs).collect();
        dirs.retain(|dir| dir.is_absolute());
        let found = |name: &str| {
            dirs.iter()
                .map(|dir| dir.join(name))
                .find(|path| path.is_file())
        };
        found("terraform").or_else(|| found("tofu"))
    };
    let found = given.or_else(brought).or_else(on_path);
    if found.is_none() {
        let missing = "no Terraform CLI: set OCIR_TEST_TERRAFORM, run tools/terraform.py, or have \
                       terraform or tofu on the PATH";
        let required = ["CI", "OCIR_TEST_REQUIRE_CLI"];
        let required = required
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        assert!(!required, "{missing}");
        skipped(missing);
    }
    found
}

/// What not every CLI has.
#[derive(Clone, Copy, Debug)]
pub enum Feature {
    EphemeralResources,
    Identity,
    Moves,
    Query,
}

impl Feature {
    /// What people call it, and since when Terraform and OpenTofu have it.
    fn since(self) -> (&'static str, (u64, u64), Option<(u64, u64)>) {
        match self {
            Self::EphemeralResources => ("ephemeral resources", (1, 10), Some((1, 11))),
            Self::Identity => ("resource identity", (1, 12), Some((1, 12))),
            Self::Moves => ("moves between types", (1, 8), Some((1, 10))),
            Self::Query => ("queries", (1, 14), None),
        }
    }
}

/// Whether the CLI, of which there has to be one, has a feature. Where it does not,
/// a line says so.
pub fn knows(feature: Feature) -> anyhow::Result<bool> {
    static CLI: OnceLock<(String, (u64, u64), bool)> = OnceLock::new();
    let (named, version, is_opentofu) = match CLI.get() {
        Some(cli) => cli,
        None => {
            let cli = version()?;
            CLI.get_or_init(|| cli)
        }
    };
    let (what, terraform, opentofu) = feature.since();
    let since = if *is_opentofu {
        opentofu
    } else {
        Some(terraform)
    };
    let has = since.is_some_and(|since| *version >= since);
    if !has {
        skipped(&format!("{named} has no {what}"));
    }
    Ok(has)
}

/// The CLI's name and version, its version's first numbers, and whether it is OpenTofu.
fn version() -> anyhow::Result<(String, (u64, u64), bool)> {
    let program = terraform().context("a CLI")?;
    let ask = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(&program)
            .args(arguments)
            .env_remove("TF_CLI_CONFIG_FILE")
            .env("CHECKPOINT_DISABLE", "1")
            .output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    // OpenTofu says `terraform_version` as well.
    let json: serde_json::Value = serde_json::from_str(&ask(&["version", "-json"])?)?;
    let text = json["terraform_version"].as_str().context("a version")?;
    let mut numbers = text.split('.').map(str::parse);
    let numbers = (
        numbers.next().context("a major version")??,
        numbers.next().context("a minor version")??,
    );
    let is_opentofu = ask(&["version"])?.starts_with("OpenTofu");
    let name = if is_opentofu { "OpenTofu" } else { "Terraform" };
    Ok((format!("{name} {text}"), numbers, is_opentofu))
}

/// Says that a test does less than it could. Past the capture of a test's output:
/// tests that pass would say it to nobody.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// The provider for tests of the protocol, built when it is not yet.
pub fn probe() -> PathBuf {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        // `cargo test --test it` builds programs, but no examples.
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--example",
                "probe-provider",
                "--target-dir",
            ])
            .arg(target_dir())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the probe does not build"
        );
        target_dir().join("debug/examples/probe-provider")
    };
    PROBE.get_or_init(build).clone()
}

/// Where cargo puts what it makes: above `<profile>/deps/<this test>`.
fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let dir = test
        .ancestors()
        .nth(3)
        .expect("a test is in a target folder");
    dir.to_owned()
}
