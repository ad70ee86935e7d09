//! The files of a release: their names, their contents, and that they are the same each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use expect_test::expect;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::{Release, VERSION, refused, root, succeeded, tool};

/// A commit of what is in this work tree, somewhere else.
struct Checkout {
    directory: tempfile::TempDir,
}

impl Checkout {
    fn new() -> anyhow::Result<Self> {
        let checkout = Self {
            directory: tempfile::tempdir()?,
        };
        let listed = succeeded(
            Command::new("git")
                .args([
                    "ls-files",
                    "-z",
                    "--cached",
                    "--others",
                    "--exclude-standard",
                ])
                .current_dir(root()),
        )?;
        for name in listed.split('\0').filter(|name| !name.is_empty()) {
            let from = root().join(name);
            // Listed, but removed and not yet committed.
            if !from.is_file() {
                continue;
            }
            let to = checkout.path().join(name);
            fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
            fs::copy(&from, &to).with_context(|| name.to_owned())?;
        }
        checkout.git(&["init", "--quiet"])?;
        checkout.commit()?;
        Ok(checkout)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn commit(&self) -> anyhow::Result<()> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", "A release"])?;
        Ok(())
    }

    fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let date = "2026-01-15T12:00:00Z";
        succeeded(
            Command::new("git")
                .args([
                    "-c",
                    "user.name=A test",
                    "-c",
                    "user.email=test@example.com",
                ])
                .args(["-c", "commit.gpgsign=false", "-c", "core.autocrlf=false"])
                .args(arguments)
                .env("GIT_COMMITTER_DATE", date)
                .env("GIT_AUTHOR_DATE", date)
                .current_dir(self.path()),
        )
    }

    fn edit(&self, name: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let path = self.path().join(name);
        let text = fs::read_to_string(&path)?;
        assert!(text.contains(from), "{name} has no {from:?}");
        fs::write(path, text.replacen(from, to, 1))?;
        Ok(())
    }

    /// How the tool refuses, without the names of temporary folders.
    fn refusal(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let folder = self.path().canonicalize()?;
        let text = refused(&mut tool(self.path(), arguments))?;
        Ok(text
            .replace(&*folder.to_string_lossy(), "CHECKOUT")
            .replace(VERSION, "X.Y.Z"))
    }
}

/// The files have the names that the registries look for, the sums are right and name all
/// of them, the archive has an executable, and its manifest the protocol.
#[test]
fn a_release() -> anyhow::Result<()> {
    let release = Release::new()?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(release.path())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.ends_with("SHA256SUMS") {
            let actual: [u8; 32] = Sha256::digest(fs::read(&path)?).into();
            let actual: String = actual.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(release.sum(&path)?, actual, "{name}");
        }
        let platform = crate::support::cli::platform();
        names.insert(name.replace(VERSION, "X.Y.Z").replace(&platform, "OS_ARCH"));
    }
    expect![[r#"
        {
            "terraform-provider-ocir_X.Y.Z_OS_ARCH.zip",
            "terraform-provider-ocir_X.Y.Z_SHA256SUMS",
            "terraform-provider-ocir_X.Y.Z_manifest.json",
            "terraform-provider-ocir_X.Y.Z_sbom.cdx.json",
        }
    "#]]
    .assert_debug_eq(&names);
    let sums = fs::read_to_string(release.file("SHA256SUMS"))?;
    assert_eq!(sums.lines().count(), 3, "{sums}");

    let manifest: Json = serde_json::from_slice(&fs::read(release.file("manifest.json"))?)?;
    let wanted = json!({ "version": 1, "metadata": { "protocol_versions": ["6.0"] } });
    assert_eq!(manifest, wanted);

    // As another program reads it.
    let listed = succeeded(Command::new("python3").args([
        "-c",
        "import sys, zipfile\n\
         for each in zipfile.ZipFile(sys.argv[1]).infolist():\n\
         \x20   print(each.filename, oct(each.external_attr >> 16))\n",
        &release.archive().to_string_lossy(),
    ]))?;
    expect![[r#"
        LICENSE 0o100644
        THIRD_PARTY_LICENSES.txt 0o100644
        terraform-provider-ocir_vX.Y.Z 0o100755
    "#]]
    .assert_eq(&listed.replace(VERSION, "X.Y.Z"));
    Ok(())
}

/// The bill of materials names what Cargo.lock names, with its hashes; each component once,
/// each with a licence; every reference leads somewhere; and what only tests need is not in it.
#[test]
fn bill_of_materials() -> anyhow::Result<()> {
    let release = Release::new()?;
    let bill: Json = serde_json::from_slice(&fs::read(release.file("sbom.cdx.json"))?)?;
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["specVersion"], "1.6");
    assert_eq!(bill["metadata"]["component"]["version"], VERSION);
    let number = bill["serialNumber"].as_str().unwrap_or_default();
    assert!(
        number.starts_with("urn:uuid:") && number.len() == 45,
        "{number}"
    );

    let empty = Vec::new();
    let components = bill["components"].as_array().unwrap_or(&empty);
    let mut scopes = BTreeMap::new();
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    for component in components {
        let text = |member: &str| component[member].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        let licence = component["licenses"][0]["expression"].as_str();
        assert!(
            licence.is_some_and(|licence| !licence.contains('/')),
            "{name}"
        );
        assert_eq!(text("purl"), text("bom-ref"));
        let entry = format!("name = \"{name}\"\nversion = \"{}\"\n", version);
        let at = lock
            .find(&entry)
            .with_context(|| format!("{name} {version}"))?;
        let entry = lock[at..].split("[[package]]").next().unwrap_or_default();
        let hash = component["hashes"][0]["content"].as_str();
        match hash {
            Some(hash) => assert!(entry.contains(&format!("checksum = \"{hash}\"")), "{name}"),
            None => assert!(name.starts_with("terraform-provider-ocir-"), "{name}"),
        }
        assert!(
            scopes.insert(text("bom-ref"), text("scope")).is_none(),
            "{name} twice"
        );
    }
    let scope = |name: &str| {
        let found = scopes
            .iter()
            .find(|(reference, _)| reference.starts_with(&format!("pkg:cargo/{name}@")));
        found.map(|(_, scope)| *scope)
    };
    assert_eq!(scope("rustls"), Some("required"));
    assert_eq!(scope("aws-lc-sys"), Some("required"));
    assert_eq!(
        scope("cmake"),
        Some("excluded"),
        "it builds, and is not linked"
    );
    assert_eq!(scope("syn"), Some("excluded"));
    assert_eq!(scope("proptest"), None, "only tests need it");

    let us = bill["metadata"]["component"]["bom-ref"]
        .as_str()
        .unwrap_or_default();
    let dependencies = bill["dependencies"].as_array().unwrap_or(&empty);
    let references: BTreeSet<&str> = dependencies
        .iter()
        .filter_map(|each| each["ref"].as_str())
        .collect();
    let known: BTreeSet<&str> = scopes.keys().copied().chain([us]).collect();
    assert_eq!(references, known);
    for dependency in dependencies {
        for reference in dependency["dependsOn"].as_array().unwrap_or(&empty) {
            let reference = reference.as_str().unwrap_or_default();
            assert!(known.contains(reference), "{reference}");
        }
    }
    Ok(())
}

/// Two checkouts of one commit in different folders, at different times, in different time
/// zones and with different permissions for new files make the same bytes.
#[test]
fn the_same_each_time() -> anyhow::Result<()> {
    let mut made = Vec::new();
    for (zone, mask) in [("UTC", "022"), ("America/Sao_Paulo", "077")] {
        let checkout = Checkout::new()?;
        let program = checkout.path().join("target/program");
        fs::create_dir_all(checkout.path().join("target"))?;
        fs::write(&program, vec![b'p'; 1 << 20])?;
        let out = checkout.path().join("target/dist");
        for arguments in [
            "pack --platform linux_amd64 --binary target/program",
            "pack --platform windows_amd64 --binary target/program",
            "finish",
            "layout",
            "mirror",
        ] {
            let line =
                format!("umask {mask} && exec python3 tools/release.py {arguments} --out \"$0\"");
            succeeded(
                Command::new("sh")
                    .args(["-c", &line])
                    .arg(&out)
                    .env("TZ", zone)
                    .env_remove("SOURCE_DATE_EPOCH")
                    .env_remove("OCIR_RELEASE_KEY")
                    .current_dir(checkout.path()),
            )?;
        }
        made.push(files(&out, &out)?);
    }
    let names: Vec<_> = made[0].keys().collect();
    assert_eq!(names, made[1].keys().collect::<Vec<_>>());
    assert!(names.len() > 15, "{names:?}");
    for (name, content) in &made[0] {
        assert!(made[1][name] == *content, "{name:?} is another one");
    }
    Ok(())
}

/// A version that is not the one in Cargo.toml, a tag that is not its tag, a work tree that
/// is not what was committed, and a changelog that does not say when: each is refused before
/// anything is compiled.
#[test]
fn what_does_not_agree() -> anyhow::Result<()> {
    let checkout = Checkout::new()?;
    expect![[r#"
        release.py: Cargo.toml has version X.Y.Z, not 9.9.9; change [workspace.package] and commit that first
    "#]]
    .assert_eq(&checkout.refusal(&["build", "--version", "9.9.9"])?);
    expect![[r#"
        release.py: the tag is v9.9.9 and Cargo.toml has version X.Y.Z; the tag of that version is vX.Y.Z
    "#]]
    .assert_eq(&checkout.refusal(&["build", "--tag", "v9.9.9"])?);
    checkout.git(&["tag", "v9.9.8"])?;
    expect![[r#"
        release.py: this commit has the tag v9.9.8 and Cargo.toml has version X.Y.Z
    "#]]
    .assert_eq(&checkout.refusal(&["build"])?);
    checkout.git(&["tag", "--delete", "v9.9.8"])?;

    checkout.edit("README.md", "\n", " \n")?;
    fs::write(checkout.path().join("src/more.rs"), "")?;
    expect![[r#"
        release.py: the work tree differs from its commit:
           M README.md
          ?? src/more.rs
        commit or stash that, or try out a release with --allow-dirty
    "#]]
    .assert_eq(&checkout.refusal(&["build"])?);

    expect![[r#"
        release.py: CHANGELOG.md: the heading of X.Y.Z says (unreleased), not when it is released: write ## X.Y.Z (YYYY-MM-DD)
    "#]]
    .assert_eq(&{
        fs::write(
            checkout.path().join("CHANGELOG.md"),
            format!("# Changelog\n\n## {VERSION} (unreleased)\n\nFEATURES:\n\n- All.\n"),
        )?;
        checkout.refusal(&["notes"])?
    });
    fs::write(
        checkout.path().join("CHANGELOG.md"),
        format!(
            "# Changelog\n\n## {VERSION} (2026-12-01)\n\nFEATURES:\n\n- All.\n\n## 0.0.1 (2026-01-01)\n\n- Less.\n"
        ),
    )?;
    let notes = succeeded(&mut tool(checkout.path(), &["notes"]))?;
    assert_eq!(notes, "FEATURES:\n\n- All.\n");

    let mut command = tool(checkout.path(), &["finish", "--out", "nowhere"]);
    let text = refused(command.current_dir(checkout.path()))?;
    expect![[r#"
        release.py: nowhere has no archives
    "#]]
    .assert_eq(&text);
    Ok(())
}

/// Archives of two versions are not summed up as one release.
#[test]
fn a_stranger_among_the_archives() -> anyhow::Result<()> {
    let out = tempfile::tempdir()?;
    fs::write(
        out.path()
            .join("terraform-provider-ocir_0.0.1_linux_amd64.zip"),
        "",
    )?;
    let mut command = tool(root(), &["finish", "--out"]);
    let text = refused(command.arg(out.path()))?;
    let text = text.replace(&*out.path().to_string_lossy(), "OUT");
    expect![[r#"
        release.py: OUT/terraform-provider-ocir_0.0.1_linux_amd64.zip is not an archive of version X.Y.Z
    "#]]
    .assert_eq(&text.replace(VERSION, "X.Y.Z"));
    Ok(())
}

/// Everything below a folder, by its name.
fn files(root: &Path, folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(root, &path)?);
        } else {
            found.insert(path.strip_prefix(root)?.to_owned(), fs::read(&path)?);
        }
    }
    Ok(found)
}
