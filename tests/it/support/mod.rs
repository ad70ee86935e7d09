//! What stories and protocol cases share.

pub mod cli;
pub mod client;
pub mod core;
pub mod images;
mod json;
pub mod provider;
mod rules;

use std::{path::PathBuf, process::Command, sync::OnceLock};

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
        eprintln!("skipped: {missing}");
    }
    found
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
