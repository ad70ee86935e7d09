//! Files that somebody made to fill the memory or to keep the processor busy: what they
//! claim is not believed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use flate2::{Compression, write::GzEncoder};
use ocir::{
    credentials::{self, Environment, Network, Settings},
    image::{Digest, Loader, Source},
    registry::DockerConfig,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Makes the files in a folder.
type Make = fn(&Path) -> anyhow::Result<()>;

/// What is read, each in a folder of its own.
const CASES: &[(&str, Make)] = &[
    ("a document that gzip made small", gzip_bomb),
    ("a layer that zstd made small", zstd_bomb),
    ("a window of two gigabytes", long_window),
    ("an entry of a terabyte", huge_entry),
    ("an extension of a gigabyte", huge_extension),
    ("a hundred thousand names", many_names),
    ("brackets without end", brackets),
    ("an index of a terabyte", huge_index),
    ("a manifest of a terabyte", huge_manifest),
    ("an index that doubles eight times", doubling),
    ("settings of a terabyte", huge_settings),
];

/// What a process takes more for a case, in KiB. A layer is compressed in blocks on all cores.
const MOST: u64 = 40 << 10;
const LONGEST: Duration = Duration::from_secs(120);
const TERABYTE: u64 = 1 << 40;
/// So many zeros are compressed, or would be held.
const ZEROS: usize = 256 << 20;

/// Each of them takes little memory, in a process of its own, and ends.
#[test]
fn claims_are_not_believed() -> anyhow::Result<()> {
    if let Some(folder) = std::env::var_os(CHILD) {
        return read(Path::new(&folder));
    }
    let mut found = String::new();
    for (name, make) in CASES {
        let folder = tempfile::tempdir()?;
        make(folder.path()).with_context(|| (*name).to_owned())?;
        let start = Instant::now();
        let output = Command::new(std::env::current_exe()?)
            .args(["--exact", "hostile::claims_are_not_believed"])
            .env(CHILD, folder.path())
            .env("RUST_BACKTRACE", "0")
            .output()?;
        ensure!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(
            start.elapsed() < LONGEST,
            "{name} takes {:?}",
            start.elapsed()
        );
        let said = fs::read_to_string(folder.path().join(SAID))?;
        let value = |key: &str| said.lines().find_map(|line| line.strip_prefix(key));
        let grown: u64 = value("grown: ").context("it does not say")?.parse()?;
        ensure!(grown < MOST, "{name} takes {grown} KiB");
        let result = value("result: ").context("it does not say")?;
        let result = result.replace(&folder.path().display().to_string(), "DIR");
        found += &format!("{name}: {result}\n");
    }
    expect_test::expect![[r#"
        a document that gzip made small: entry "manifest.json" of "DIR/image.tar" has 268435456 bytes, more than the 4194304 that such a document may have
        a layer that zstd made small: "DIR/image.tar" has no entry "manifest.json" and none "index.json", so it is no image
        a window of two gigabytes: "DIR/image.tar" cannot be decompressed with zstd: it needs a window of more than 8 MiB; compress it without --long and --ultra
        an entry of a terabyte: entry "manifest.json" of "DIR/image.tar" has 1099511627776 bytes, more than the 4194304 that such a document may have
        an extension of a gigabyte: "DIR/image.tar" is damaged: an extension header of more than 1 MiB at byte 512
        a hundred thousand names: "DIR/image.tar" is damaged: an image archive does not have names this long at byte 21691904
        brackets without end: entry "manifest.json" of "DIR/image.tar" is not the list of images that docker save writes: invalid type: sequence, expected a string at line 1 column 2
        an index of a terabyte: "DIR/index.json" has 1099511627776 bytes, more than the 4194304 that such a document may have
        a manifest of a terabyte: "DIR/blobs/sha256/effe96607878d2c37d3d1fdd9018333e0e588b1e522723722a5cd6af3416baf5" has 1099511627776 bytes, more than the 4194304 that such a document may have
        an index that doubles eight times: read
        settings of a terabyte: ~/.docker/config.json is no configuration of Docker or podman: it is not the JSON that belongs there, at line 1 column 1
    "#]].assert_eq(&found);
    Ok(())
}

/// Names the folder to the process that reads it.
const CHILD: &str = "OCIR_TEST_HOSTILE";

/// Where that one writes what it found.
const SAID: &str = "said";

/// Reads what is in a folder, and says what that took.
fn read(folder: &Path) -> anyhow::Result<()> {
    let before = peak()?;
    let result = match folder.join("home").exists() {
        true => settings(&folder.join("home")),
        false => image(folder),
    };
    let result = match result {
        Ok(()) => "read".to_owned(),
        Err(error) => format!("{error:#}").replace('\n', " "),
    };
    let said = format!("result: {result}\ngrown: {}", peak()? - before);
    Ok(fs::write(folder.join(SAID), said)?)
}

/// The most memory that this process had so far, in KiB.
fn peak() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line
        .context("the kernel says it")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?)
}

fn image(folder: &Path) -> anyhow::Result<()> {
    let archive = folder.join("image.tar");
    let source = match archive.exists() {
        true => archive.display().to_string(),
        false => format!("oci:{}", folder.display()),
    };
    Loader::default().load(&Source::parse(&source)?, &CancellationToken::new())?;
    Ok(())
}

fn settings(home: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let environment = Environment {
        variables: BTreeMap::new(),
        home: Some(home.to_owned()),
    };
    let network = Network::default();
    let settings = Settings::default();
    let resolved = runtime.block_on(credentials::resolve(&settings, &environment, &network));
    ensure!(resolved.is_err(), "somebody is signed in");
    let home = home.display().to_string();
    let config = DockerConfig::from_environment(
        &BTreeMap::from([("HOME".to_owned(), home.clone())]),
        Some(Path::new(&home)),
    );
    runtime.block_on(config.login("quay.io", "a", &CancellationToken::new()))?;
    Ok(())
}

/// A header of an entry with any size.
fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// An entry of zeros, written to something that compresses it.
fn zeros(file: &mut impl std::io::Write, name: &str) -> anyhow::Result<()> {
    file.write_all(header(name, tar::EntryType::Regular, ZEROS as u64).as_bytes())?;
    let piece = vec![0; 1 << 20];
    for _ in 0..ZEROS / piece.len() {
        file.write_all(&piece)?;
    }
    file.write_all(&[0; 1024])?;
    Ok(())
}

fn gzip_bomb(folder: &Path) -> anyhow::Result<()> {
    let mut file = GzEncoder::new(File::create(folder.join("image.tar"))?, Compression::new(1));
    zeros(&mut file, "manifest.json")?;
    file.finish()?;
    Ok(())
}

fn zstd_bomb(folder: &Path) -> anyhow::Result<()> {
    let file = File::create(folder.join("image.tar"))?;
    let mut file = zstd::stream::write::Encoder::new(file, 1)?;
    zeros(&mut file, "layer.tar")?;
    file.finish()?;
    Ok(())
}

fn long_window(folder: &Path) -> anyhow::Result<()> {
    let file = File::create(folder.join("image.tar"))?;
    let mut file = zstd::stream::write::Encoder::new(file, 1)?;
    file.window_log(27)?;
    file.write_all(header("manifest.json", tar::EntryType::Regular, 1 << 29).as_bytes())?;
    // Without a size in the frame, the window is what a decoder has to have.
    file.write_all(&vec![0; 1 << 20])?;
    file.finish()?;
    Ok(())
}

fn huge_entry(folder: &Path) -> anyhow::Result<()> {
    let mut file = File::create(folder.join("image.tar"))?;
    let mut header = tar::Header::new_gnu();
    header.set_path("manifest.json")?;
    header.set_size(TERABYTE);
    header.set_cksum();
    file.write_all(header.as_bytes())?;
    Ok(file.set_len(512 + TERABYTE + 1024)?)
}

fn huge_extension(folder: &Path) -> anyhow::Result<()> {
    let mut file = File::create(folder.join("image.tar"))?;
    file.write_all(header("pax", tar::EntryType::XHeader, 1 << 30).as_bytes())?;
    Ok(file.set_len(1 << 31)?)
}

fn many_names(folder: &Path) -> anyhow::Result<()> {
    let file = File::create(folder.join("image.tar"))?;
    let mut file = GzEncoder::new(file, Compression::new(1));
    for number in 0..120_000 {
        let name = format!("{number:099}");
        file.write_all(header(&name, tar::EntryType::Regular, 0).as_bytes())?;
    }
    file.finish()?;
    Ok(())
}

fn brackets(folder: &Path) -> anyhow::Result<()> {
    let text = "[".repeat(4 << 20);
    let mut file = File::create(folder.join("image.tar"))?;
    file.write_all(header("manifest.json", tar::EntryType::Regular, text.len() as u64).as_bytes())?;
    file.write_all(text.as_bytes())?;
    Ok(file.write_all(&[0; 1024])?)
}

fn layout(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder.join("blobs/sha256"))?;
    Ok(fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?)
}

/// The name of a blob.
fn hex(digest: &Digest) -> &str {
    digest.as_str().trim_start_matches("sha256:")
}

fn huge_index(folder: &Path) -> anyhow::Result<()> {
    layout(folder)?;
    Ok(File::create(folder.join("index.json"))?.set_len(TERABYTE)?)
}

fn huge_manifest(folder: &Path) -> anyhow::Result<()> {
    layout(folder)?;
    let digest = Digest::of(b"a terabyte");
    let index = json!({"manifests": [{"digest": digest.as_str(), "size": TERABYTE}]});
    fs::write(folder.join("index.json"), index.to_string())?;
    let blob = folder.join("blobs/sha256").join(hex(&digest));
    Ok(File::create(blob)?.set_len(TERABYTE)?)
}

/// Each index names the one below it as often as fits.
fn doubling(folder: &Path) -> anyhow::Result<()> {
    layout(folder)?;
    let store = |value: serde_json::Value| -> anyhow::Result<serde_json::Value> {
        let text = value.to_string();
        let digest = Digest::of(text.as_bytes());
        fs::write(folder.join("blobs/sha256").join(hex(&digest)), &text)?;
        Ok(json!({"digest": digest.as_str(), "size": text.len()}))
    };
    let config = store(json!({}))?;
    let mut named = store(json!({"schemaVersion": 2, "config": config, "layers": []}))?;
    for _ in 0..7 {
        named = store(json!({"schemaVersion": 2, "manifests": vec![named; 8_000]}))?;
    }
    fs::write(
        folder.join("index.json"),
        json!({"manifests": [named]}).to_string(),
    )?;
    Ok(())
}

fn huge_settings(folder: &Path) -> anyhow::Result<()> {
    for file in [".oci/config", ".docker/config.json"] {
        let path = folder.join("home").join(file);
        fs::create_dir_all(path.parent().context("it has one")?)?;
        File::create(path)?.set_len(TERABYTE)?;
    }
    Ok(())
}
