"""The images that are pushed: a big one of Debian's packages, or of this machine's files, a small one, and many with one base.

The big one is a layout with gzip layers, an archive as `docker save` writes it with the same layers raw, and the same archive with
its last layer changed. It takes minutes to make and is kept under target/ from run to run.
"""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import images
from common import Failure, clean_environment

LAYERS = 7
GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

# Each layer is the packages so far: what is new in it, umoci finds out. The last two are made here.
SUITE = "bookworm"
STAGES = (("mawk",), ("python3-numpy",), ("g++",), ("openjdk-17-jre-headless",), ("nodejs",))
DEBIAN = f"debian-{SUITE}-1"
# What is needed to make it, in Debian packages of the same names.
BUILDERS = ("mmdebstrap", "umoci")


class Image:
    """A big or small image in all its forms."""

    def __init__(self, folder):
        self.layout, self.archive, self.changed = folder / "layout", folder / "image.tar", folder / "changed.tar"
        about = json.loads((folder / "about.json").read_text())
        self.title, self.raw = about["title"], about["raw"]
        index = json.loads((self.layout / "index.json").read_text())
        manifest = json.loads(_path(self.layout, index["manifests"][0]["digest"]).read_text())
        self.layers = manifest["layers"]
        self.size = sum(layer["size"] for layer in self.layers)


def big(kept, megabytes, prefer_debian, say):
    """The big image, and a sentence about which it is."""
    reason = None
    if prefer_debian:
        reason = debian_missing()
        if not reason:
            try:
                return _kept(kept / DEBIAN, lambda folder: _debian(folder, say), say)
            except Failure as failure:
                reason = str(failure)
        say(f"the image of Debian's packages cannot be made: {reason}")
    image = _kept(kept / f"files-{megabytes}", lambda folder: _of_files(folder, megabytes * 1_000_000), say)
    if reason:
        image.title += f" (not of Debian's packages: {reason.splitlines()[0]})"
    return image


def small(kept, say):
    """Five megabytes in three layers."""
    return _kept(kept / "small-1", _small, say)


def debian_missing():
    """Why the image of Debian's packages cannot be made, if it cannot."""
    missing = [name for name in BUILDERS if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing (apt-get install {' '.join(missing)})"
    if os.geteuid() != 0:
        return "mmdebstrap and umoci need root for files of several owners"
    return None


def many(folder, base, count, own_bytes):
    """A layout of many images whose layers are those of another image and one of their own; and their tags."""
    layout = folder / "shared"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for layer in base.layers:
        _link(_path(base.layout, layer["digest"]), _path(layout, layer["digest"]))
    configuration = json.loads(_path(base.layout, _manifest(base.layout)["config"]["digest"]).read_text())
    manifests = []
    for number in range(count):
        own, diff_id = _own_layer(blobs, f"app-{number}", own_bytes)
        diff_ids = [*configuration["rootfs"]["diff_ids"], diff_id]
        manifests.append({**_image(blobs, [*base.layers, own], diff_ids),
                          "annotations": {"org.opencontainers.image.ref.name": str(number)}})
    _layout_files(layout, manifests)
    return layout, [str(number) for number in range(count)]


def _kept(folder, make, say):
    if not folder.is_dir():
        say(f"making the image {folder.name}, once")
        scratch = folder.with_name(f".{folder.name}-{os.getpid()}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            make(scratch)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Image(folder)


# Of Debian's packages.

def _debian(folder, say):
    """Stage by stage: mmdebstrap makes the file system, umoci the layer that leads to it."""
    layout, bundle = folder / "layout", folder / "bundle"
    rootfs = bundle / "rootfs"
    reference = f"{layout}:1"
    _command(["umoci", "init", "--layout", layout])
    _command(["umoci", "new", "--image", reference])
    _command(["umoci", "unpack", "--image", reference, bundle])
    packages, cache = [], folder / "packages"
    cache.mkdir()
    for stage in STAGES:
        packages += stage
        say(f"  {' '.join(stage)}")
        tree = folder / "tree.tar"
        _command(["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}",
                  # A package that an earlier stage had need not come again.
                  "--skip=download/empty", "--skip=essential/unlink",
                  '--setup-hook=mkdir -p "$1"/var/cache/apt/archives', f"--setup-hook=sync-in {cache} /var/cache/apt/archives",
                  f"--customize-hook=sync-out /var/cache/apt/archives {cache}",
                  # These would differ from run to run.
                  '--customize-hook=rm -rf "$1"/var/log/* "$1"/var/cache/ldconfig/aux-cache',
                  SUITE, tree])
        for entry in rootfs.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        _command(["tar", "--extract", "--file", tree, "--directory", rootfs, "--numeric-owner", "--preserve-permissions",
                  # Devices are the runtime's.
                  "--exclude=./dev/*"])
        tree.unlink()
        _repack(reference, bundle, f"RUN apt-get install {' '.join(stage)}")
    # What an application brings, in two layers: what it depends on, and itself.
    for name, size in (("dependencies", 60_000_000), ("application", 110_000_000)):
        _application(rootfs / "srv" / name, name, size)
        _repack(reference, bundle, f"COPY {name} /srv/{name}")
    changed = folder / "application"
    _application(changed / "srv" / "application", "the next version of application", 110_000_000)
    other = _tree_layer(changed, folder / "other.tar")
    _command(["umoci", "gc", "--layout", layout])
    for scratch in (bundle, changed, cache):
        shutil.rmtree(scratch)
    raw = _archives_of_layout(folder, layout, other)
    _about(folder, f"Debian {SUITE}'s packages", raw)


def _repack(reference, bundle, created_by):
    _command(["umoci", "repack", "--refresh-bundle", f"--history.created={images.CREATED}", f"--history.created_by={created_by}",
              "--image", reference, bundle])


def _application(folder, seed, size):
    """Files such as applications have: half of them compresses, the other half does not."""
    generator = random.Random(seed)
    for number in range(max(1, size // 1_000_000)):
        path = folder / f"part-{number:03}" / "data.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(images._program(generator, 1_000_000))
    for root, _, names in os.walk(folder):
        for path in (*(Path(root, name) for name in names), Path(root)):
            os.utime(path, (images.MODIFIED, images.MODIFIED))


def _tree_layer(root, path):
    with tarfile.open(path, "w") as archive:
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                source = Path(folder, name)
                archive.add(source, arcname=str(source.relative_to(root)), recursive=False)
    return path


def _archives_of_layout(folder, layout, other):
    """The archives with raw layers; returns how many bytes the layers are."""
    raw = []
    for number, layer in enumerate(_manifest(layout)["layers"]):
        path = folder / f"raw-{number}.tar"
        with gzip.open(_path(layout, layer["digest"])) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        raw.append(path)
    return _archives(folder, raw, other)


# Of this machine's files.

def _of_files(folder, size):
    """Seven layers of the same size of what is in /usr: real files, if not the same ones on every machine."""
    paths, layers = _files(), []
    for number in range(LAYERS + 1):
        path = folder / f"raw-{number}.tar"
        with tarfile.open(path, "w") as archive:
            taken = 0
            while taken < size // LAYERS:
                source = next(paths, None)
                if source is None:
                    raise Failure("this machine has too few files for an image of that size; see --megabytes")
                archive.add(source, arcname=str(source).lstrip("/"), recursive=False)
                taken += source.stat().st_size
        layers.append(path)
    *layers, other = layers
    _layout_of_raw(folder / "layout", layers)
    _about(folder, "files of this machine", _archives(folder, layers, other))


def _small(folder):
    generator = random.Random("small")
    raw = []
    for number, size in enumerate((7_000_000, 600_000, 400_000, 400_000)):
        path = folder / f"raw-{number}.tar"
        path.write_bytes(_tar({f"opt/{number}": images._program(generator, size)}))
        raw.append(path)
    *layers, other = raw
    _layout_of_raw(folder / "layout", layers)
    _about(folder, "generated", _archives(folder, layers, other))


def _files():
    """Files of this machine, in an order that does not change."""
    for root in ("/usr/lib", "/usr/bin", "/usr/share"):
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                    yield path


# Layouts and archives.

def _layout_of_raw(layout, raw):
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = []
    for path in raw:
        scratch = blobs / "scratch"
        # As docker and others compress, but by zlib: what it takes is not measured.
        with open(path, "rb") as source, open(scratch, "wb") as file, \
                gzip.GzipFile("", "wb", 6, fileobj=file, mtime=0) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        digest = _file_digest(scratch)
        layers.append({"mediaType": GZIP_LAYER, "digest": f"sha256:{digest}", "size": scratch.stat().st_size})
        scratch.rename(blobs / digest)
    image = _image(blobs, layers, [f"sha256:{_file_digest(path)}" for path in raw])
    _layout_files(layout, [{**image, "annotations": {"org.opencontainers.image.ref.name": "1"}}])


def _image(blobs, layers, diff_ids):
    """Configuration and manifest; returns the manifest's descriptor."""
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": _store(blobs, CONFIG, _configuration(diff_ids)),
                           "layers": layers}).encode()
    return _store(blobs, MANIFEST, manifest)


def _configuration(diff_ids):
    return json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
                       "history": [{"created_by": f"layer {number}"} for number in range(len(diff_ids))]}).encode()


def _layout_files(layout, manifests):
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


def _archives(folder, layers, other):
    """Both archives, whose layers go into them; returns how many bytes the layers of the first are."""
    raw = sum(layer.stat().st_size for layer in layers)
    _docker_save(folder / "image.tar", layers)
    _docker_save(folder / "changed.tar", [*layers[:-1], other])
    for layer in (*layers, other):
        layer.unlink()
    return raw


def _docker_save(path, layers):
    """An archive as Docker 25 and later write it with the classic store: raw layers under the names of blobs."""
    digests = [_file_digest(layer) for layer in layers]
    configuration = _configuration([f"sha256:{digest}" for digest in digests])
    name = hashlib.sha256(configuration).hexdigest()
    manifest = [{"Config": f"blobs/sha256/{name}", "RepoTags": ["bench:1"],
                 "Layers": [f"blobs/sha256/{digest}" for digest in digests]}]
    with tarfile.open(path, "w") as archive:
        for digest, layer in zip(digests, layers):
            archive.add(layer, arcname=f"blobs/sha256/{digest}")
        for entry, content in ((f"blobs/sha256/{name}", configuration), ("manifest.json", json.dumps(manifest).encode())):
            header = tarfile.TarInfo(entry)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))


def _own_layer(blobs, name, size):
    """A layer of bytes that do not compress; its descriptor and diff_id."""
    raw = _tar({name: hashlib.shake_128(name.encode()).digest(size)})
    return _store(blobs, GZIP_LAYER, gzip.compress(raw, 0, mtime=0)), f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _tar(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return content.getvalue()


def _store(blobs, media_type, content):
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _manifest(layout):
    index = json.loads((layout / "index.json").read_text())
    return json.loads(_path(layout, index["manifests"][0]["digest"]).read_text())


def _path(layout, digest):
    return layout / "blobs" / "sha256" / digest.partition(":")[2]


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _about(folder, title, raw):
    (folder / "about.json").write_text(json.dumps({"title": title, "raw": raw}))


def _file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _command(words):
    environment = {**clean_environment(), "SOURCE_DATE_EPOCH": str(images.MODIFIED)}
    done = subprocess.run([str(word) for word in words], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        raise Failure(f"{words[0]} failed: {'; '.join(said[-3:]) or f'status {done.returncode}'}")
