//! podman, which saves images in its own way, signs in in its own way, and unpacks what it pulls.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use super::{
    Registry,
    docker_registry::{DockerRegistry, PASSWORD, USERNAME},
    images, load,
    programs::{Workshop, present},
    push,
    token_server::TokenServer,
};

/// What is at a path: the content of a file that may be executed or not, or the target of a link.
#[derive(Debug, PartialEq, Eq)]
enum Thing {
    Directory,
    File(Vec<u8>, bool),
    Link(PathBuf),
}

type Tree = BTreeMap<PathBuf, Thing>;

/// Everything in a folder.
fn folder(root: &Path) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            let thing = if metadata.is_dir() {
                folders.push(path.clone());
                Thing::Directory
            } else if metadata.is_symlink() {
                Thing::Link(fs::read_link(&path)?)
            } else {
                let is_executable = metadata.permissions().mode() & 0o111 != 0;
                Thing::File(fs::read(&path)?, is_executable)
            };
            tree.insert(path.strip_prefix(root)?.to_owned(), thing);
        }
    }
    Ok(tree)
}

/// Everything in an archive that `podman export` wrote.
fn exported(archive: &Path) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    let mut hard = Vec::new();
    for entry in tar::Archive::new(fs::File::open(archive)?).entries()? {
        let mut entry = entry?;
        // A path without the slash that folders end with.
        let path: PathBuf = entry.path()?.components().collect();
        let target = entry.link_name()?.map(|target| target.into_owned());
        let thing = match entry.header().entry_type() {
            tar::EntryType::Directory => Thing::Directory,
            tar::EntryType::Symlink => Thing::Link(target.context("a link has a target")?),
            tar::EntryType::Link => {
                hard.push((path, target.context("a link has a target")?));
                continue;
            }
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                Thing::File(content, entry.header().mode()? & 0o111 != 0)
            }
        };
        tree.insert(path, thing);
    }
    for (path, target) in hard {
        let Some(Thing::File(content, is_executable)) = tree.get(&target) else {
            anyhow::bail!("{} is a link to nothing", path.display());
        };
        let thing = Thing::File(content.clone(), *is_executable);
        tree.insert(path, thing);
    }
    Ok(tree)
}

/// The names of what differs: contents would fill the screen.
fn differences<'a>(one: &'a Tree, other: &'a Tree) -> Vec<&'a PathBuf> {
    let names = one.keys().chain(other.keys());
    names
        .filter(|name| one.get(*name) != other.get(*name))
        .collect()
}

/// What podman saved in each of its forms arrives in every kind of registry. podman signs in
/// there, pulls it and has the files that it was made of; and so has umoci, which unpacks what
/// skopeo pulled.
#[tokio::test(flavor = "multi_thread")]
async fn podman_pulls_what_it_saved() -> anyhow::Result<()> {
    if !present(&["docker-registry", "podman", "buildah", "skopeo", "umoci"]) {
        return Ok(());
    }
    let workshop = Workshop::new()?;
    images::write_files(&workshop.path().join("files"))?;
    let original = folder(&workshop.path().join("files"))?;
    ensure!(
        original.len() > 8,
        "only {} files were made",
        original.len()
    );
    for words in [
        "buildah from --name base scratch",
        "buildah copy -q base files/etc /etc",
        "buildah commit -q base base-image",
        "buildah from --name web --pull-never base-image",
        "buildah copy -q web files/app /app",
        "buildah commit -q web localhost/peers/web:v1",
        "podman save -q --format docker-archive -o podman.tar localhost/peers/web:v1",
        "podman save -q --format oci-archive -o podman-oci.tar localhost/peers/web:v1",
        "podman save -q --format oci-dir -o podman-layout localhost/peers/web:v1",
        // Nothing of it is there when it is pulled.
        "buildah rm -a",
        "podman rmi -f -a",
    ] {
        workshop.run(words)?;
    }
    let at = |name: &str| workshop.path().join(name).display().to_string();
    let sources = [
        (
            "docker-archive",
            format!("docker-archive:{}", at("podman.tar")),
        ),
        ("plain-path", at("podman.tar")),
        (
            "oci-archive",
            format!("oci-archive:{}", at("podman-oci.tar")),
        ),
        ("oci", format!("oci:{}", at("podman-layout"))),
    ];
    let server = TokenServer::start().await?;
    let registries = [
        ("anonymous", DockerRegistry::builder().start()?),
        ("password", DockerRegistry::builder().login().start()?),
        ("tls", DockerRegistry::builder().login().tls().start()?),
        ("tokens", DockerRegistry::builder().tokens(&server).start()?),
    ];
    for (kind, registry) in &registries {
        let authority = registry.authority();
        let trust = match registry.certificates() {
            Some(folder) => format!("--cert-dir {folder}"),
            None => "--tls-verify=false".to_owned(),
        };
        if *kind != "anonymous" {
            workshop.run(&format!(
                "podman login {trust} --username {USERNAME} --password {PASSWORD} {authority}"
            ))?;
        }
        for (name, source) in &sources {
            let about = || format!("{name} to {kind}");
            let image = load(source).with_context(about)?;
            let path = registry.repository(name).await?;
            push(&registry.client()?, &path, "v1", &image)
                .await
                .with_context(about)?;
            let reference = format!("{authority}/{path}:v1");
            let id = workshop.run(&format!("podman pull -q {trust} {reference}"))?;
            let expected = image.image_id().context("it is no index")?.as_str();
            ensure!(format!("sha256:{id}") == expected, "{}: {id}", about());
            let shown = workshop.run(&format!(
                "podman image inspect --format {{{{.Digest}}}} {reference}"
            ))?;
            ensure!(
                shown == image.root().digest.as_str(),
                "{}: {shown}",
                about()
            );

            let container = format!("{kind}-{name}");
            let archive = format!("{container}.tar");
            workshop.run(&format!(
                "podman create -q --name {container} {reference} /app/program"
            ))?;
            workshop.run(&format!("podman export -o {archive} {container}"))?;
            workshop.run(&format!("podman rm {container}"))?;
            workshop.run("podman rmi -f -a")?;
            let mut pulled = exported(&workshop.path().join(&archive))?;
            // Where a container gets something mounted, podman makes a place for it.
            pulled.retain(|path, _| path.starts_with("etc") || path.starts_with("app"));
            let differing = differences(&original, &pulled);
            ensure!(differing.is_empty(), "{}: {differing:?}", about());

            let options = registry.skopeo("src-");
            workshop.run(&format!(
                "skopeo copy -q {options} docker://{reference} oci:{container}-pulled:v1"
            ))?;
            workshop.run(&format!(
                "umoci unpack --rootless --image {container}-pulled:v1 {container}-bundle"
            ))?;
            let unpacked = folder(&workshop.path().join(format!("{container}-bundle/rootfs")))?;
            let differing = differences(&original, &unpacked);
            ensure!(differing.is_empty(), "{}: {differing:?}", about());
        }
    }
    Ok(())
}
