//! Sources in all their forms, made by the programs that people make them with.
//!
//! `make test-peers` sets `OCIR_TEST_PEERS`; without it, or without one of the
//! programs, these tests say what they skip and pass.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use ocir::image::{
    ALGORITHM, Cache, Compression, Daemon, Digest, Image, LoadOptions, Loader, ManifestFormat,
    Source,
};
use tokio_util::sync::CancellationToken;

use crate::{
    peers::{
        images,
        programs::{Workshop, is_on_path, present},
    },
    support,
};

fn load(source: &str) -> anyhow::Result<Image> {
    load_with(source, &LoadOptions::default())
}

fn load_with(source: &str, options: &LoadOptions) -> anyhow::Result<Image> {
    let stop = CancellationToken::new();
    Loader::default()
        .load_with(&Source::parse(source)?, options, &stop)
        .with_context(|| source.to_owned())
}

/// What a registry would get: every blob is read, and has its digest and size.
fn sent(image: &Image) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut sent = BTreeMap::new();
    for blob in &image.blobs {
        let mut bytes = Vec::new();
        blob.source.open()?.read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == blob.size, "size of {}", blob.digest);
        ensure!(
            Digest::of(&bytes) == blob.digest,
            "bytes of {}",
            blob.digest
        );
        sent.insert(blob.digest.to_string(), blob.size);
    }
    Ok(sent)
}

#[track_caller]
fn same(one: &Image, other: &Image) -> anyhow::Result<()> {
    assert_eq!(one.root().digest, other.root().digest);
    assert_eq!(sent(one)?, sent(other)?);
    assert_eq!(one.layers, other.layers);
    Ok(())
}

/// Compresses a file as a whole with the program that people use for it.
fn compressed(path: &Path, program: &str) -> anyhow::Result<PathBuf> {
    let target = path.with_extension(format!("tar.{program}"));
    let status = Command::new(program)
        .args(["-c", "-1"])
        .arg(path)
        .stdout(fs::File::create(&target)?)
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "{program}: {status}");
    Ok(target)
}

fn packers() -> Vec<&'static str> {
    let all = ["gzip", "zstd", "pigz"];
    let (there, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| is_on_path(it));
    if !missing.is_empty() {
        eprintln!("skipped: {} missing", missing.join(", "));
    }
    there
}

/// An archive of the demo's web application is one image, however old the Docker
/// was that saved it, whatever compresses it, and whether there is a cache.
#[test]
fn one_image_in_many_archives() -> anyhow::Result<()> {
    let (directory, new) = support::images::docker_archive(false)?;
    let (_old_directory, old) = support::images::docker_archive(true)?;
    let image = load(&new)?;
    same(&image, &load(&old)?)?;
    assert!(
        image
            .layers
            .iter()
            .all(|layer| layer.algorithm.as_deref() == Some(ALGORITHM))
    );
    let file = directory.path().join("motando-webapp.tar");
    let cache = Some(Cache::new(directory.path().join("cache"), 1 << 30));
    for packer in packers() {
        let packed = compressed(&file, packer)?;
        same(&image, &load(&packed.display().to_string())?)?;
        let options = LoadOptions {
            cache: cache.clone(),
            ..LoadOptions::default()
        };
        same(
            &image,
            &load_with(&format!("docker-archive:{}", packed.display()), &options)?,
        )?;
    }
    Ok(())
}

/// What umoci, buildah, skopeo and podman put into archives is what they put into layouts.
#[test]
fn archives_of_others() -> anyhow::Result<()> {
    if !present(&["skopeo", "umoci", "buildah"]) {
        return Ok(());
    }
    let workshop = Workshop::new()?;
    let made = images::make(&workshop)?;
    let at = |name: &str| workshop.path().join(name);
    // Layouts, put into archives by skopeo: manifests and blobs stay.
    for (layout, all) in [
        ("umoci-layers:all", ""),
        ("umoci-repeated:v1", ""),
        ("umoci-nothing:v1", ""),
        ("buildah-upon:v1", ""),
        ("buildah-platforms:v1", "--all"),
        ("skopeo-zstd:v1", ""),
    ] {
        let name = layout.split(':').next().unwrap_or_default();
        workshop.run(&format!(
            "skopeo copy -q {all} oci:{layout} oci-archive:{name}.tar:v1"
        ))?;
        let image = load(&format!("oci:{}", at(layout).display()))?;
        let archive = at(&format!("{name}.tar"));
        for source in [
            format!("oci-archive:{}:v1", archive.display()),
            format!("oci-archive:{}", archive.display()),
            archive.display().to_string(),
        ] {
            same(&image, &load(&source)?).context(source)?;
        }
        for packer in packers() {
            let packed = compressed(&archive, packer)?;
            same(&image, &load(&packed.display().to_string())?).context(packer)?;
        }
    }
    // Docker archives: compressed as a whole they are what they were.
    let archives = made
        .iter()
        .map(|made| made.source(&workshop))
        .filter_map(|source| source.strip_prefix("docker-archive:").map(PathBuf::from));
    let mut count = 0;
    for archive in archives {
        let image = load(&format!("docker-archive:{}", archive.display()))?;
        same(&image, &load(&archive.display().to_string())?)?;
        for packer in packers() {
            let packed = compressed(&archive, packer)?;
            same(&image, &load(&packed.display().to_string())?).context(packer)?;
        }
        count += 1;
    }
    assert!(count >= 5, "only {count} archives were made");
    Ok(())
}

/// skopeo takes what was converted for what it says it is, and both ways lead to
/// the same files; one platform of several is an image for that platform.
#[test]
fn others_understand_what_was_converted() -> anyhow::Result<()> {
    if !present(&["skopeo", "umoci", "buildah"]) {
        return Ok(());
    }
    let workshop = Workshop::new()?;
    images::make(&workshop)?;
    let source = |name: &str| format!("oci:{}", workshop.path().join(name).display());
    let rootfs = |source: &str| {
        let text = workshop.run(&format!("skopeo inspect --config {source}"))?;
        let config: serde_json::Value = serde_json::from_str(&text)?;
        anyhow::Ok(config["rootfs"].clone())
    };
    for (number, (name, format, compression)) in [
        (
            "umoci-layers:all",
            ManifestFormat::Docker,
            Compression::Gzip,
        ),
        ("buildah-upon:v1", ManifestFormat::Docker, Compression::Gzip),
        ("skopeo-plain:v1", ManifestFormat::Docker, Compression::Gzip),
        ("skopeo-plain:v1", ManifestFormat::Oci, Compression::Zstd),
        ("skopeo-plain:v1", ManifestFormat::Oci, Compression::None),
    ]
    .into_iter()
    .enumerate()
    {
        let options = LoadOptions {
            format,
            compression,
            ..LoadOptions::default()
        };
        let image = load_with(&source(name), &options)?;
        let converted = format!("converted-{number}");
        write_directory(&image, &workshop.path().join(&converted))?;
        let original = rootfs(&format!("oci:{name}"))?;
        assert_eq!(rootfs(&format!("dir:{converted}"))?, original);
        // Unpacked by skopeo, the layers are what the configuration says.
        workshop.run(&format!(
            "skopeo copy -q --dest-decompress dir:{converted} dir:{converted}-plain"
        ))?;
        let manifest = workshop
            .path()
            .join(format!("{converted}-plain/manifest.json"));
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest)?)?;
        let layers = manifest["layers"].as_array().context("it has layers")?;
        let digests: Vec<serde_json::Value> =
            layers.iter().map(|layer| layer["digest"].clone()).collect();
        assert_eq!(original["diff_ids"], serde_json::Value::from(digests));
        let again = load_with(&source(name), &options)?;
        assert_eq!(again.root().digest, image.root().digest);
    }
    let options = LoadOptions {
        platforms: vec!["linux/arm64".parse()?],
        ..LoadOptions::default()
    };
    let image = load_with(&source("buildah-platforms:v1"), &options)?;
    assert!(image.is_index());
    write_layout(&image, &workshop.path().join("one-platform"))?;
    let inspected = workshop.run("skopeo inspect --override-arch arm64 oci:one-platform:v1")?;
    assert!(
        inspected.contains("\"Architecture\": \"arm64\""),
        "{inspected}"
    );
    Ok(())
}

/// Writes what would be pushed as skopeo's `dir:`, which takes both formats.
fn write_directory(image: &Image, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(
        directory.join("version"),
        "Directory Transport Version: 1.1\n",
    )?;
    fs::write(directory.join("manifest.json"), &image.root().bytes)?;
    for blob in &image.blobs {
        let name = blob.digest.as_str().trim_start_matches("sha256:");
        let mut file = fs::File::create(directory.join(name))?;
        std::io::copy(&mut blob.source.open()?, &mut file)?;
    }
    Ok(())
}

/// Writes what would be pushed as a layout.
fn write_layout(image: &Image, directory: &Path) -> anyhow::Result<()> {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    let at = |digest: &Digest| blobs.join(digest.as_str().trim_start_matches("sha256:"));
    for blob in &image.blobs {
        let mut file = fs::File::create(at(&blob.digest))?;
        std::io::copy(&mut blob.source.open()?, &mut file)?;
    }
    for manifest in &image.manifests {
        fs::write(at(&manifest.digest), &manifest.bytes)?;
    }
    let root = image.root();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": root.media_type, "digest": root.digest.as_str(), "size": root.bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "v1"},
    }]});
    Ok(fs::write(directory.join("index.json"), index.to_string())?)
}

/// A daemon of a test's own, which ends with it.
struct Served {
    process: Child,
    directory: tempfile::TempDir,
}

impl Served {
    /// Starts a program that makes `docker.sock` in a directory; `None` when it does not
    /// come up here (no root, no mounts), which is said, and is a failure where everything is
    /// to be there.
    fn start(program: &str, arguments: &[&str]) -> anyhow::Result<Option<Self>> {
        if !present(&[program]) {
            return Ok(None);
        }
        // Paths of sockets are short.
        let directory = tempfile::Builder::new().prefix("d").tempdir()?;
        let here = directory.path().display().to_string();
        let log = fs::File::create(directory.path().join("log"))?;
        let process = Command::new(program)
            .args(arguments.iter().map(|it| it.replace("HERE", &here)))
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut served = Self { process, directory };
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(served.socket()).is_err() {
            let ended = served.process.try_wait()?.is_some();
            if ended || start.elapsed() > Duration::from_secs(30) {
                let log = fs::read_to_string(served.directory.path().join("log"))?;
                let last = log.lines().last().unwrap_or_default();
                let is_strict = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
                ensure!(!is_strict, "{program} does not start here: {last}");
                eprintln!("skipped: {program} does not start here: {last}");
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(served))
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    fn options(&self) -> LoadOptions {
        let host = format!("unix://{}", self.socket().display());
        LoadOptions {
            daemon: Daemon::from_environment(|name| {
                (name == "DOCKER_HOST").then(|| host.clone().into())
            }),
            ..LoadOptions::default()
        }
    }

    /// Brings an image into it, as `docker load` does.
    fn bring(&self, archive: &Path) -> anyhow::Result<()> {
        self.post_file("/images/load", archive)
    }

    /// Makes an image of any files, as `docker import` does.
    fn import(&self, archive: &Path, name: &str, tag: &str) -> anyhow::Result<()> {
        let path = format!("/images/create?fromSrc=-&repo={name}&tag={tag}");
        self.post_file(&path, archive)
    }

    /// Gives an image another name, as `docker tag` does.
    fn tag(&self, image: &str, name: &str, tag: &str) -> anyhow::Result<()> {
        let path = format!("/images/{image}/tag?repo={name}&tag={tag}");
        self.post(&path, "Content-Length: 0\r\n", &mut std::io::empty())
    }

    fn post_file(&self, path: &str, archive: &Path) -> anyhow::Result<()> {
        let length = fs::metadata(archive)?.len();
        let head = format!("Content-Type: application/x-tar\r\nContent-Length: {length}\r\n");
        self.post(path, &head, &mut fs::File::open(archive)?)
    }

    fn post(&self, path: &str, head: &str, body: &mut impl std::io::Read) -> anyhow::Result<()> {
        let mut connection = std::os::unix::net::UnixStream::connect(self.socket())?;
        write!(
            connection,
            "POST {path} HTTP/1.1\r\nHost: docker\r\n{head}Connection: close\r\n\r\n"
        )?;
        std::io::copy(body, &mut connection)?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A daemon that is killed leaves its own children behind.
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        let start = Instant::now();
        while asked.is_ok() && start.elapsed() < Duration::from_secs(15) {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The image that comes out of a daemon is the one that went in, by its name and by
/// its id, with and without a cache.
fn comes_out(served: &Served) -> anyhow::Result<()> {
    let (directory, source) = support::images::docker_archive(false)?;
    let expected = load(&source)?;
    served.bring(&directory.path().join("motando-webapp.tar"))?;
    let mut options = served.options();
    same(
        &expected,
        &load_with("docker-daemon:motando-webapp:1.0.0", &options)?,
    )?;
    let cache = directory.path().join("cache");
    options.cache = Some(Cache::new(&cache, 1 << 30));
    let id = expected.image_id().context("it is one image")?;
    for name in ["motando-webapp:1.0.0", id.as_str()] {
        same(
            &expected,
            &load_with(&format!("docker-daemon:{name}"), &options)?,
        )?;
    }
    assert_eq!(fs::read_dir(cache.join("images-1/scans"))?.count(), 1);
    // Without a tag it is the image with the tag latest, whatever else has that name. (Podman gives
    // what it imports that tag, too.)
    options.cache = None;
    served.import(
        &directory.path().join("motando-webapp.tar"),
        "motando-webapp",
        "other",
    )?;
    served.tag("motando-webapp:1.0.0", "motando-webapp", "latest")?;
    same(
        &expected,
        &load_with("docker-daemon:motando-webapp", &options)?,
    )?;
    let error = load_with("docker-daemon:motando-webapp:2.0.0", &options).expect_err("not there");
    let error = ocir::image::Error::find(error.as_ref()).context("it is ours")?;
    assert!(error.is_missing(), "{error}");
    Ok(())
}

/// Docker, with the store that it always had.
#[test]
fn images_of_docker() -> anyhow::Result<()> {
    let served = Served::start(
        "dockerd",
        &[
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
            "--storage-driver=vfs",
            "--data-root=HERE/data",
            "--exec-root=HERE/run",
            "--pidfile=HERE/pid",
            "--host=unix://HERE/docker.sock",
        ],
    )?;
    served.as_ref().map_or(Ok(()), comes_out)
}

/// podman's service answers as Docker does.
#[test]
fn images_of_podman() -> anyhow::Result<()> {
    let served = Served::start(
        "podman",
        &[
            "--root=HERE/data",
            "--runroot=HERE/run",
            "--storage-driver=vfs",
            "system",
            "service",
            "--time=60",
            "unix://HERE/docker.sock",
        ],
    )?;
    served.as_ref().map_or(Ok(()), comes_out)
}
