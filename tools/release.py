#!/usr/bin/env python3
"""Makes what the Terraform and the OpenTofu registry want of a version, byte for byte the same each time on one machine.

  build    everything below for this machine's platforms: compile, pack, finish, layout
  compile  the provider for one platform; prints the path of the binary
  pack     one archive of a binary that exists
  finish   manifest, SBOM, checksums and, with a key, their signature, for the archives that are there
  layout   the archives as an image layout, as OpenTofu's `oci_mirror` reads them from a registry
  mirror   the archives as a folder that is a filesystem mirror, and a network mirror where a web server hands it out
  twice    compiles and packs this commit in two folders and compares; with --quick without optimisation
  notes    what the changelog says of the version
"""

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import release_sbom
from common import PROVIDER, ROOT, Failure, go_platform, main, target_directory, version
from mirror import HOSTS, SOURCE

# What is published, as Terraform names it, and what Rust calls it. Linux is linked statically, with musl: such a binary
# runs on every distribution, Alpine and empty images included.
PLATFORMS = {
    "darwin_amd64": "x86_64-apple-darwin",
    "darwin_arm64": "aarch64-apple-darwin",
    "linux_amd64": "x86_64-unknown-linux-musl",
    "linux_arm64": "aarch64-unknown-linux-musl",
    "windows_amd64": "x86_64-pc-windows-msvc",
}

REGISTRY_MANIFEST = ROOT / "terraform-registry-manifest.json"
SEMVER = re.compile(r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$")

IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
# The three names that OpenTofu looks for: https://opentofu.org/docs/cli/oci_registries/provider-mirror/
PROVIDER_INDEX = "application/vnd.opentofu.provider"
PROVIDER_TARGET = "application/vnd.opentofu.provider-target"
PACKAGE = "archive/zip"


def build(arguments):
    """Everything, for the platforms this machine can compile for."""
    check_version(arguments.version, arguments.tag)
    check_tree(arguments.allow_dirty)
    out = arguments.out
    shutil.rmtree(out, ignore_errors=True)
    for platform in arguments.platform or [go_platform()]:
        binary = compile_for(platform, arguments.target)
        print(pack(binary, platform, out))
    for path in finish(out, arguments.key):
        print(path)
    print(layout(out, out / "layout"))


def twice(platform, target, quick):
    """Whether the same commit makes the same archive in two folders, whose names have different lengths."""
    check_tree(False)
    if quick:
        os.environ.update(CARGO_PROFILE_RELEASE_LTO="off", CARGO_PROFILE_RELEASE_OPT_LEVEL="0",
                          CARGO_PROFILE_RELEASE_CODEGEN_UNITS="16")
    with tempfile.TemporaryDirectory(prefix="ocir-twice-") as scratch:
        archives = []
        for name in ("a", "another-folder"):
            checkout = Path(scratch).resolve() / name / "checkout"
            git("clone", "--quiet", str(ROOT), str(checkout))
            binary = compile_for(platform, target, root=checkout, target_dir=checkout.parent / "target")
            archives.append(pack(binary, platform, checkout.parent / "dist"))
            # Two target folders at once are a lot of disk.
            shutil.rmtree(checkout.parent / "target")
        sums = [sha256(archive) for archive in archives]
        if sums[0] != sums[1]:
            raise Failure("one commit made two archives: " + " and ".join(sums))
        print(f"{sums[0]}  {archives[0].name}, twice")


# Before anything is made


def check_version(wanted, tag=None):
    """Tag, Cargo.toml and the version that was asked for are one."""
    here = version()
    if not SEMVER.match(here):
        raise Failure(f"Cargo.toml has the version {here}, which is no semantic version")
    if wanted is not None and wanted != here:
        raise Failure(f"Cargo.toml has version {here}, not {wanted}; change [workspace.package] and commit that first")
    if tag is not None and tag != f"v{here}":
        raise Failure(f"the tag is {tag} and Cargo.toml has version {here}; the tag of that version is v{here}")
    tags = [name for name in git("tag", "--points-at", "HEAD").split() if re.match(r"^v\d", name)]
    if tags and f"v{here}" not in tags:
        raise Failure(f"this commit has the tag {', '.join(tags)} and Cargo.toml has version {here}")


def check_tree(allow_dirty):
    """What is published is what a commit says."""
    changed = git("status", "--porcelain").splitlines()
    if changed and not allow_dirty:
        shown = "".join(f"\n  {line}" for line in changed[:10])
        raise Failure(f"the work tree differs from its commit:{shown}\n"
                      "commit or stash that, or try out a release with --allow-dirty")


def epoch():
    """The time of everything in an archive: SOURCE_DATE_EPOCH, or when the commit was made."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "").strip()
    if given and not given.isdigit():
        raise Failure(f"SOURCE_DATE_EPOCH is {given!r}, which is no number of seconds")
    return int(given or git("log", "-1", "--format=%ct"))


def git(*words):
    """What git says; nothing, where it is not there or this is no repository."""
    try:
        answer = subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise Failure(f"git {words[0]} failed; a release is made from a commit") from None
    return answer.stdout.decode().strip("\n")


# Compiling


def compile_for(platform, target=None, root=ROOT, target_dir=None):
    """The provider for a platform, without a path of this machine in it."""
    target = target or PLATFORMS[platform]
    missing = missing_for(target)
    if missing and platform == "linux_amd64" and go_platform() == platform:
        print(f"release.py: no static build: {missing}; building for glibc instead", file=sys.stderr)
        target, missing = "x86_64-unknown-linux-gnu", None
    if missing:
        raise Failure(f"cannot build for {platform}: {missing}")

    folder = Path(target_dir or target_directory() / "release-build")
    environment = {**os.environ, **compiler_settings(target, root, folder)}
    command = ["cargo", "build", "--release", "--locked", "--bin", PROVIDER, "--target", target,
               "--target-dir", str(folder)]
    if subprocess.run(command, cwd=root, env=environment, stdout=sys.stderr).returncode != 0:
        raise Failure(f"the build for {target} failed")
    binary = folder / target / "release" / (PROVIDER + suffix(platform))
    leaks = paths_in(binary, root, folder)
    if leaks:
        raise Failure(f"{binary} has paths of this machine in it: {', '.join(leaks)}")
    if target.endswith("-musl") and interpreter(binary):
        raise Failure(f"{binary} was to be static but wants {interpreter(binary)}")
    return binary


def missing_for(target):
    """What a build for a target lacks, in words; None when it can begin."""
    answer = subprocess.run(["rustc", "--print", "target-libdir", "--target", target], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)
    libraries = answer.stdout.decode().strip()
    if not libraries or not Path(libraries).is_dir():
        return f"Rust's library for {target} is not installed (rustup target add {target})"
    variable = f"CC_{target.replace('-', '_')}"
    if target.endswith("-musl") and variable not in os.environ and not shutil.which("musl-gcc"):
        return "there is no musl-gcc (on Debian: apt-get install musl-tools)"
    return None


def machine_paths(root, folder):
    """Folders whose names must not end up in a binary, and what stands for them. The longest come last: rustc takes the
    last that fits."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    names = {str(root): "/provider", str(folder): "/target", str(home): "/cargo", sysroot: "/rust"}
    return sorted(names.items(), key=lambda pair: len(pair[0]))


def compiler_settings(target, root, folder):
    """Environment variables that make a build the same wherever it is made."""
    paths = machine_paths(root, folder)
    flags = [f"--remap-path-prefix={name}={short}" for name, short in paths]
    if target.endswith("-msvc"):
        # Without it the linker stamps the time and an id of its own.
        flags += ["-Clink-arg=/Brepro"]
    settings = {
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags),
        "CARGO_INCREMENTAL": "0",
        "SOURCE_DATE_EPOCH": str(epoch()),
    }
    if not target.endswith("-msvc"):
        settings[f"CFLAGS_{target.replace('-', '_')}"] = " ".join(
            f"-ffile-prefix-map={name}={short}" for name, short in paths)
    if target.endswith("-apple-darwin"):
        # Else the linker writes when the objects were made.
        settings["ZERO_AR_DATE"] = "1"
    return settings


def paths_in(binary, root, folder):
    """The folders of this machine that a binary names."""
    content = binary.read_bytes()
    # A home directory like / says nothing about anyone.
    return [name for name, _ in machine_paths(root, folder) if len(name) > 4 and name.encode() in content]


def interpreter(binary):
    """The dynamic linker that an ELF file asks for; None when it is static, or no ELF file."""
    content = binary.read_bytes()
    if content[:6] != b"\x7fELF\x02\x01":
        return None
    offset, = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for number in range(count):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", content, offset + number * size)
        if kind == 3:
            return content[start:start + length].rstrip(b"\0").decode()
    return None


# Archives


def pack(binary, platform, out):
    """The archive of a platform: the binary, and what its licences want to come along."""
    if platform not in PLATFORMS:
        raise Failure(f"{platform} is not published; {', '.join(PLATFORMS)} are")
    if not binary.is_file():
        raise Failure(f"{binary} does not exist")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem()}_{platform}.zip"
    when = time.gmtime(max(epoch(), 315532800))[:6]
    members = [
        ("LICENSE", (ROOT / "LICENSE").read_bytes(), 0o644),
        ("THIRD_PARTY_LICENSES.txt", release_sbom.licence_texts(PLATFORMS[platform]).encode(), 0o644),
        (f"{PROVIDER}_v{version()}{suffix(platform)}", binary.read_bytes(), 0o755),
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content, mode in members:
            entry = zipfile.ZipInfo(name, when)
            # Made on Unix, so that the mode is heeded, also where Python runs on Windows.
            entry.create_system = 3
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def finish(out, key=None):
    """Manifest, SBOM, checksums and signature beside the archives; returns their paths."""
    archives = sorted(out.glob(f"{PROVIDER}_*.zip"))
    if not archives:
        raise Failure(f"{out} has no archives")
    platforms = []
    for archive in archives:
        platform = archive.name[len(stem()) + 1:-len(".zip")]
        if not archive.name.startswith(f"{stem()}_") or platform not in PLATFORMS:
            raise Failure(f"{archive} is not an archive of version {version()}")
        platforms.append(platform)

    manifest = out / f"{stem()}_manifest.json"
    manifest.write_bytes(registry_manifest())
    sbom = out / f"{stem()}_sbom.cdx.json"
    sbom.write_bytes(release_sbom.document(version(), epoch(), {name: PLATFORMS[name] for name in platforms}))
    sums = out / f"{stem()}_SHA256SUMS"
    named = sorted([*archives, manifest, sbom], key=lambda path: path.name)
    sums.write_bytes("".join(f"{sha256(path)}  {path.name}\n" for path in named).encode())
    signature = sums.with_name(sums.name + ".sig")
    signature.unlink(missing_ok=True)
    made = [manifest, sbom, sums]
    if key:
        sign(sums, signature, key)
        made.append(signature)
    return made


def registry_manifest():
    """The bytes of the manifest, which has to say what the registries can read."""
    text = REGISTRY_MANIFEST.read_bytes()
    manifest = json.loads(text)
    protocols = manifest.get("metadata", {}).get("protocol_versions")
    if manifest.get("version") != 1 or not protocols or not all(re.match(r"^\d+\.\d+$", each) for each in protocols):
        raise Failure(f"{REGISTRY_MANIFEST.name} is not what a registry reads: version 1 and metadata.protocol_versions")
    return text


def sign(path, signature, key):
    """A detached binary signature by gpg, verified. A passphrase comes from gpg's agent, or from the file that
    OCIR_RELEASE_PASSPHRASE_FILE names, and so is in no list of processes."""
    if not shutil.which("gpg"):
        raise Failure("a key was given, but there is no gpg")
    command = ["gpg", "--batch", "--yes", "--no-tty", "--local-user", key, "--digest-algo", "SHA512",
               "--output", str(signature)]
    passphrase = os.environ.get("OCIR_RELEASE_PASSPHRASE_FILE")
    if passphrase:
        command += ["--pinentry-mode", "loopback", "--passphrase-file", passphrase]
    for words in (command + ["--detach-sign", str(path)], ["gpg", "--batch", "--verify", str(signature), str(path)]):
        answer = subprocess.run(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if answer.returncode != 0:
            raise Failure(f"{path.name} could not be signed: {answer.stderr.decode(errors='replace').strip()}")


# OpenTofu's image


def layout(out, directory):
    """An image layout of the archives, tagged with the version."""
    sums = dict(reversed(line.split("  ", 1)) for line in read(out / f"{stem()}_SHA256SUMS").splitlines())
    archives = sorted(out.glob(f"{stem()}_*.zip"))
    if not archives:
        raise Failure(f"{out} has no archives of version {version()}")
    shutil.rmtree(directory, ignore_errors=True)
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(media_type, content, **members):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **members}

    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch()))
    manifests = []
    for archive in archives:
        content = archive.read_bytes()
        if sums.get(archive.name) != hashlib.sha256(content).hexdigest():
            raise Failure(f"{archive.name} is not what SHA256SUMS says; finish again")
        system, machine = archive.stem[len(stem()) + 1:].split("_")
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "artifactType": PROVIDER_TARGET,
            "config": store(EMPTY, b"{}"),
            "layers": [store(PACKAGE, content, annotations={"org.opencontainers.image.title": archive.name})],
            "annotations": {"org.opencontainers.image.created": created},
        }
        # OpenTofu reads the artifact type of this descriptor before it gets the manifest.
        manifests.append(store(IMAGE_MANIFEST, compact(manifest), artifactType=PROVIDER_TARGET,
                               platform={"architecture": machine, "os": system}))
    index = {
        "schemaVersion": 2,
        "mediaType": IMAGE_INDEX,
        "artifactType": PROVIDER_INDEX,
        "manifests": manifests,
        "annotations": {
            "org.opencontainers.image.created": created,
            "org.opencontainers.image.licenses": "MPL-2.0",
            "org.opencontainers.image.title": PROVIDER,
            "org.opencontainers.image.version": version(),
        },
    }
    # A tag cannot have a plus; OpenTofu takes an underscore for one.
    tag = version().replace("+", "_")
    named = store(IMAGE_INDEX, compact(index), artifactType=PROVIDER_INDEX,
                  annotations={"org.opencontainers.image.ref.name": tag})
    (directory / "index.json").write_bytes(
        compact({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [named]}))
    (directory / "oci-layout").write_bytes(compact({"imageLayoutVersion": "1.0.0"}))
    return directory


# Mirrors


def mirror(out, directory):
    """A tree as `terraform providers mirror` makes it; returns the folder."""
    archives = sorted(out.glob(f"{stem()}_*.zip"))
    if not archives:
        raise Failure(f"{out} has no archives of version {version()}")
    for host in HOSTS:
        folder = directory / host / SOURCE
        folder.mkdir(parents=True, exist_ok=True)
        entries = {}
        for archive in archives:
            shutil.copyfile(archive, folder / archive.name)
            entries[archive.stem[len(stem()) + 1:]] = {
                "hashes": [h1(archive), f"zh:{sha256(archive)}"], "url": archive.name}
        (folder / f"{version()}.json").write_bytes(compact({"archives": entries}))
        # Versions that are there already stay.
        there = sorted(path.stem for path in folder.glob("*.json") if path.name != "index.json")
        (folder / "index.json").write_bytes(compact({"versions": {each: {} for each in there}}))
    return directory


def h1(archive):
    """The hash of what is in an archive, as Go's modules have it and lock files repeat it."""
    with zipfile.ZipFile(archive) as content:
        lines = [f"{hashlib.sha256(content.read(name)).hexdigest()}  {name}\n" for name in sorted(content.namelist())]
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


# The changelog


def notes(text, wanted):
    """The changelog's section of a version, without its heading."""
    match = re.search(rf"^## {re.escape(wanted)}(?: \((?P<when>[^)]*)\))?\n(?P<body>.*?)(?=^## |\Z)", text, re.M | re.S)
    if not match:
        raise Failure(f"CHANGELOG.md has no section of version {wanted}")
    if not re.match(r"^\d{4}-\d\d-\d\d$", match["when"] or ""):
        raise Failure(f"CHANGELOG.md: the heading of {wanted} says ({match['when'] or ''}), not when it is released: "
                      f"write ## {wanted} (YYYY-MM-DD)")
    return match["body"].strip() + "\n"


# Small things


def stem():
    return f"{PROVIDER}_{version()}"


def suffix(platform):
    return ".exe" if platform.startswith("windows_") else ""


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def run():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, *shared):
        each = commands.add_parser(name)
        each.add_argument("--version", help="the version this is thought to be; another one in Cargo.toml is an error")
        each.add_argument("--tag", help="the tag that this is made for; one that does not fit is an error")
        if "out" in shared:
            each.add_argument("--out", type=Path, default=None, help="where the archives are (default: target/dist)")
        if "key" in shared:
            each.add_argument("--key", default=os.environ.get("OCIR_RELEASE_KEY"),
                              help="fingerprint of the gpg key that signs (default: OCIR_RELEASE_KEY)")
        return each

    whole = command("build", "out", "key")
    whole.add_argument("--platform", action="append", choices=PLATFORMS, help="default: this machine's")
    whole.add_argument("--target", help="Rust's name of the target (default: the one that is published)")
    whole.add_argument("--allow-dirty", action="store_true", help="also from a work tree that is not committed")
    one = command("compile")
    one.add_argument("--platform", choices=PLATFORMS, default=None)
    one.add_argument("--target")
    both = command("twice")
    both.add_argument("--platform", choices=PLATFORMS, default=None)
    both.add_argument("--target")
    both.add_argument("--quick", action="store_true", help="without optimisation, in a quarter of the time")
    archive = command("pack", "out")
    archive.add_argument("--platform", choices=PLATFORMS, required=True)
    archive.add_argument("--binary", type=Path, required=True)
    command("finish", "out", "key")
    image = command("layout", "out")
    image.add_argument("--layout", type=Path, default=None, help="default: layout beside the archives")
    tree = command("mirror", "out")
    tree.add_argument("--mirror", type=Path, default=None, help="default: mirror beside the archives")
    command("notes")

    arguments = parser.parse_args()
    if getattr(arguments, "out", True) is None:
        arguments.out = target_directory() / "dist"
    if arguments.command == "build":
        return build(arguments)
    check_version(arguments.version, arguments.tag)
    if arguments.command == "compile":
        print(compile_for(arguments.platform or go_platform(), arguments.target))
    elif arguments.command == "twice":
        twice(arguments.platform or go_platform(), arguments.target, arguments.quick)
    elif arguments.command == "pack":
        print(pack(arguments.binary, arguments.platform, arguments.out))
    elif arguments.command == "finish":
        print(*finish(arguments.out, arguments.key), sep="\n")
    elif arguments.command == "layout":
        print(layout(arguments.out, arguments.layout or arguments.out / "layout"))
    elif arguments.command == "mirror":
        print(mirror(arguments.out, arguments.mirror or arguments.out / "mirror"))
    else:
        sys.stdout.write(notes(read(ROOT / "CHANGELOG.md"), version()))
    return None


if __name__ == "__main__":
    main(run)
