//! Images that other people's programs make on the spot. We have no hand in
//! them: what we write here are files, and commands for those programs.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use super::programs::Workshop;

/// An image that somebody else made.
pub struct Made {
    /// What is special about it; also the name of its repository.
    pub name: &'static str,
    /// Where it is, as the provider's users write it but relative to the workshop.
    pub origin: Origin,
}

/// Where an image is.
pub enum Origin {
    /// A docker-archive.
    Archive(&'static str),
    /// A layout with one image, or the tag of one in it.
    Layout(&'static str, Option<&'static str>),
}

impl Made {
    const fn layout(name: &'static str) -> Self {
        Self {
            name,
            origin: Origin::Layout(name, None),
        }
    }

    const fn archive(name: &'static str, file: &'static str) -> Self {
        Self {
            name,
            origin: Origin::Archive(file),
        }
    }

    /// What a user of the provider writes.
    pub fn source(&self, workshop: &Workshop) -> String {
        match self.origin {
            Origin::Archive(file) => {
                format!("docker-archive:{}", workshop.path().join(file).display())
            }
            Origin::Layout(folder, tag) => {
                let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
                format!("oci:{}{tag}", workshop.path().join(folder).display())
            }
        }
    }
}

/// Makes all of them.
pub fn make(workshop: &Workshop) -> anyhow::Result<Vec<Made>> {
    write_files(&workshop.path().join("files"))?;
    let mut all = by_umoci(workshop)?;
    all.extend(by_buildah(workshop)?);
    all.extend(by_skopeo(workshop)?);
    Ok(all)
}

/// Layouts by umoci. Its layers are compressed by Go's parallel gzip, in one member.
pub fn by_umoci(workshop: &Workshop) -> anyhow::Result<Vec<Made>> {
    let run = |words: &str| workshop.run(words);

    // Layers of inserted files, one with files changed and deleted, a
    // configuration and annotations; several tags in one layout.
    run("umoci init --layout umoci-layers")?;
    run("umoci new --image umoci-layers:bare")?;
    run("umoci insert --rootless --image umoci-layers:bare --tag some files/etc /etc")?;
    run("umoci insert --rootless --image umoci-layers:some --tag more files/app /app")?;
    run("umoci unpack --rootless --image umoci-layers:more bundle")?;
    let root = workshop.path().join("bundle/rootfs");
    fs::remove_file(root.join("etc/empty"))?;
    fs::write(root.join("etc/hello"), "changed\n")?;
    fs::write(root.join("new"), "new\n")?;
    run("umoci repack --image umoci-layers:all bundle")?;
    run(
        "umoci config --image umoci-layers:all --config.env PEER=umoci --config.label org.example.peer=umoci \
         --config.entrypoint /app/program --manifest.annotation org.example.peer=umoci",
    )?;

    // A layer that is there twice, and one without any file in it.
    let empty_tar = vec![0; 1024];
    fs::write(workshop.path().join("empty.tar"), &empty_tar)?;
    let mut tar = tar::Builder::new(fs::File::create(workshop.path().join("etc.tar"))?);
    tar.append_dir_all("etc", workshop.path().join("files/etc"))?;
    tar.into_inner()?.flush()?;
    run("umoci init --layout umoci-repeated")?;
    run("umoci new --image umoci-repeated:v1")?;
    for layer in ["etc", "empty", "etc", "empty"] {
        run(&format!(
            "umoci raw add-layer --image umoci-repeated:v1 {layer}.tar"
        ))?;
    }

    // An image of nothing at all.
    run("umoci init --layout umoci-nothing")?;
    run("umoci new --image umoci-nothing:v1")?;

    Ok(vec![
        Made {
            name: "umoci-layers",
            origin: Origin::Layout("umoci-layers", Some("all")),
        },
        Made::layout("umoci-repeated"),
        Made::layout("umoci-nothing"),
    ])
}

/// Layouts and archives by buildah, some upon others.
fn by_buildah(workshop: &Workshop) -> anyhow::Result<Vec<Made>> {
    let run = |words: &str| workshop.run(words);

    run("buildah from --name base scratch")?;
    run("buildah copy -q base files/etc /etc")?;
    run("buildah config --env PEER=buildah --cmd /app/program base")?;
    run("buildah commit -q base base-image")?;
    run("buildah commit -q base oci:buildah-one-layer:v1")?;

    run("buildah from --name upon --pull-never base-image")?;
    run("buildah copy -q upon files/app /app")?;
    run("buildah config --label org.example.peer=buildah upon")?;
    run("buildah commit -q upon upon-image")?;
    run("buildah commit -q upon docker-archive:buildah.tar:localhost/peers/upon:v1")?;
    run("buildah push -q upon-image oci:buildah-upon:v1")?;
    run("buildah push -q --format v2s2 upon-image docker-archive:buildah-v2s2.tar:peers/upon:v1")?;

    run("buildah from --name arm --arch arm64 scratch")?;
    run("buildah config --arch arm64 --os linux arm")?;
    run("buildah copy -q arm files/etc /etc")?;
    run("buildah commit -q arm arm-image")?;
    run("buildah manifest create several")?;
    run("buildah manifest add --arch amd64 several containers-storage:localhost/upon-image")?;
    run(
        "buildah manifest add --arch arm64 --variant v8 several containers-storage:localhost/arm-image",
    )?;
    run("buildah manifest push -q --all several oci:buildah-platforms:v1")?;

    Ok(vec![
        Made::layout("buildah-one-layer"),
        Made::layout("buildah-upon"),
        Made::layout("buildah-platforms"),
        Made::archive("buildah-archive", "buildah.tar"),
        Made::archive("buildah-v2s2-archive", "buildah-v2s2.tar"),
    ])
}

/// What skopeo makes of those.
fn by_skopeo(workshop: &Workshop) -> anyhow::Result<Vec<Made>> {
    let copy = |words: &str| workshop.run(&format!("skopeo copy -q {words}"));

    copy(
        "oci:umoci-layers:all docker-archive:skopeo.tar:peers/umoci:v1 --additional-tag peers/umoci:latest",
    )?;
    copy("oci:umoci-repeated:v1 docker-archive:skopeo-repeated.tar:peers/repeated:v1")?;
    // From Docker's types to those of the Open Container Initiative, and compressed by skopeo.
    copy("docker-archive:skopeo.tar oci:skopeo-from-archive:v1")?;
    // There and back.
    copy("--format v2s2 oci:umoci-layers:all dir:v2s2")?;
    copy("dir:v2s2 docker-archive:skopeo-v2s2.tar:peers/v2s2:v1")?;
    copy("--dest-compress-format zstd oci:umoci-layers:all oci:skopeo-zstd:v1")?;
    // Layers that are not compressed at all, in a layout.
    for (from, to) in [
        ("oci:umoci-layers:all", "skopeo-plain"),
        ("oci:umoci-repeated:v1", "skopeo-plain-repeated"),
        ("--all oci:buildah-platforms:v1", "skopeo-plain-platforms"),
    ] {
        copy(&format!("--dest-decompress {from} dir:{to}.dir"))?;
        copy(&format!(
            "--all --dest-oci-accept-uncompressed-layers dir:{to}.dir oci:{to}:v1"
        ))?;
    }

    Ok(vec![
        Made::archive("skopeo-archive", "skopeo.tar"),
        Made::archive("skopeo-repeated-archive", "skopeo-repeated.tar"),
        Made::archive("skopeo-v2s2-archive", "skopeo-v2s2.tar"),
        Made::layout("skopeo-from-archive"),
        Made::layout("skopeo-zstd"),
        Made::layout("skopeo-plain"),
        Made::layout("skopeo-plain-repeated"),
        Made::layout("skopeo-plain-platforms"),
    ])
}

/// A small root filesystem with what makes tar archives interesting.
pub fn write_files(folder: &Path) -> anyhow::Result<()> {
    let (etc, app) = (folder.join("etc"), folder.join("app"));
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("hello"), "hello\n")?;
    fs::write(etc.join("empty"), "")?;
    fs::write(etc.join("olá, mundo"), "Umlaute: äöü\n")?;
    symlink("hello", etc.join("link"))?;

    // Longer than a name in a tar header may be.
    let deep = app
        .join("a-long-name-of-a-folder".repeat(5))
        .join("another".repeat(10));
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("file"), "deep\n")?;
    // Several megabytes, of which some can be compressed and some cannot.
    let mut program = Vec::new();
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    while program.len() < 3_500_000 {
        for _ in 0..4096 {
            // Xorshift: the same bytes each time, and no pattern in them.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            program.extend_from_slice(&state.to_le_bytes()[..2]);
        }
        for line in 0..400 {
            writeln!(
                program,
                "instruction {line} of a program that repeats itself"
            )?;
        }
    }
    fs::write(app.join("program"), program)?;
    fs::set_permissions(app.join("program"), fs::Permissions::from_mode(0o755))?;
    fs::hard_link(app.join("program"), app.join("same-program"))?;
    Ok(())
}
