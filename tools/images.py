#!/usr/bin/env python3
"""Makes two real image files on the spot, without Docker: what the demo and the tests push.

  OUT/motando-webapp.tar       a docker-save archive with raw layers: a web application of static files
  OUT/dramatiq-classifiedad/   an image layout with gzip layers: a Python worker

The same options make the same bytes on one machine: names, times and contents are fixed, and random-looking bytes
come from a seeded generator. (The gzip layers also depend on the zlib that Python was built with.)
"""

import argparse
import contextlib
import hashlib
import io
import json
import random
import shutil
import tarfile
import zlib
from pathlib import Path

from common import main

WEBAPP = "motando-webapp"
WEBAPP_TAG = "1.0.0"
WORKER = "dramatiq-classifiedad"
WORKER_TAG = "1.4.0"

CREATED = "2026-01-15T12:00:00Z"
MODIFIED = 1768478400


class Layer:
    """A tar layer, written to a file as it grows, raw or as gzip; knows the digests of both forms."""

    def __init__(self, path, compress, created_by):
        self.path = path
        self.compress = compress
        self.created_by = created_by
        self.size = 0
        self._raw = hashlib.sha256()
        self._stored = hashlib.sha256()
        self._pending = io.BytesIO()
        self._file = open(path, "wb")
        self._directories = set()

    def add(self, name, content, mode=0o644):
        """A file, and the directories above it."""
        data = content.encode() if isinstance(content, str) else content
        self._parents(name)
        self._pending.write(_header(name, tarfile.REGTYPE, mode, len(data)))
        self._pending.write(data)
        self._pending.write(bytes(-len(data) % tarfile.BLOCKSIZE))

    def link(self, name, to):
        """A symbolic link."""
        self._parents(name)
        self._pending.write(_header(name, tarfile.SYMTYPE, 0o777, 0, to))

    def close(self):
        """Ends the archive; from here on `diff_id` and `digest` are known."""
        self._pending.write(bytes(2 * tarfile.BLOCKSIZE))
        self._flush()
        self._file.close()
        self.diff_id = f"sha256:{self._raw.hexdigest()}"
        self.digest = f"sha256:{self._stored.hexdigest()}"

    def _parents(self, name):
        parents = [str(parent) for parent in Path(name).parents if str(parent) != "."]
        for parent in reversed(parents):
            if parent not in self._directories:
                self._directories.add(parent)
                self._pending.write(_header(parent + "/", tarfile.DIRTYPE, 0o755, 0))

    def _flush(self):
        raw = self._pending.getvalue()
        self._pending = io.BytesIO()
        self._write(raw, _gzip(raw, 6) if self.compress else None)

    def _write(self, raw, compressed):
        stored = compressed if self.compress else raw
        self._raw.update(raw)
        self._stored.update(stored)
        self._file.write(stored)
        self.size += len(stored)


def webapp(out, old=False):
    """Writes the archive of the web application and returns its path."""
    archive = out / f"{WEBAPP}.tar"
    with _scratch(out) as scratch:
        layers = _webapp_layers(scratch)
        configuration = _configuration(
            layers,
            {
                "User": "101",
                "ExposedPorts": {"8080/tcp": {}},
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PORT=8080"],
                "Entrypoint": ["/usr/sbin/httpd"],
                "Cmd": ["-f", "-p", "8080", "-h", "/srv/www"],
                "WorkingDir": "/srv/www",
                "Labels": {"org.opencontainers.image.title": WEBAPP, "org.opencontainers.image.version": WEBAPP_TAG},
                "StopSignal": "SIGTERM",
            },
            ["ENV PORT=8080", "EXPOSE map[8080/tcp:{}]"],
        )
        with tarfile.open(scratch / "archive", "w", format=tarfile.USTAR_FORMAT) as tar:
            (_docker_save_old if old else _docker_save)(tar, layers, configuration)
        (scratch / "archive").replace(archive)
    return archive


def worker(out):
    """Writes the image layout of the worker and returns its path."""
    layout = out / WORKER
    with _scratch(out) as scratch:
        layers = _worker_layers(scratch)
        configuration = _configuration(
            layers,
            {
                "User": "1000",
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONPATH=/app", "PYTHONUNBUFFERED=1"],
                "Entrypoint": ["/usr/local/bin/python3", "-m", "dramatiq"],
                "Cmd": ["classifiedad.worker", "--processes", "2", "--threads", "8"],
                "WorkingDir": "/app",
                "Labels": {"org.opencontainers.image.title": WORKER, "org.opencontainers.image.version": WORKER_TAG},
            },
            ["ENV PYTHONPATH=/app PYTHONUNBUFFERED=1"],
        )
        manifest = _manifest(layers, configuration, "application/vnd.oci.image.layer.v1.tar+gzip")
        root = scratch / "layout"
        blobs = root / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for layer in layers:
            layer.path.replace(blobs / _hex(layer.digest))
        for blob in (configuration, manifest):
            (blobs / _hex(_digest(blob))).write_bytes(blob)
        (root / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
        (root / "index.json").write_bytes(_index(manifest, {"org.opencontainers.image.ref.name": WORKER_TAG}))
        shutil.rmtree(layout, ignore_errors=True)
        root.replace(layout)
    return layout


def _webapp_layers(scratch):
    generator = random.Random("webapp")

    base = Layer(scratch / "0", False, "ADD rootfs.tar.gz / # buildkit")
    base.add("etc/os-release", 'ID=motando\nNAME="Motando base"\nVERSION_ID=3.2\n')
    base.add("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:101:101:web:/srv/www:/sbin/nologin\n")
    base.add("bin/busybox", b"\x7fELF" + _program(generator, 900_000), 0o755)
    for applet in ("cat", "ls", "sh", "wget"):
        base.link(f"bin/{applet}", "busybox")
    base.link("usr/sbin/httpd", "/bin/busybox")
    base.add("lib/libc.so.6", b"\x7fELF" + _program(generator, 1_400_000), 0o755)
    base.close()

    assets = Layer(scratch / "1", False, "COPY dist/assets /srv/www/assets # buildkit")
    for name in ("vendor", "main", "search", "listing", "checkout"):
        assets.add(f"srv/www/assets/{name}.js", _javascript(generator, 120_000))
    assets.add("srv/www/assets/main.css", _stylesheet(generator, 60_000))
    for number in range(8):
        assets.add(f"srv/www/assets/photo-{number}.webp", b"RIFF" + _noise(generator, 90_000))
    assets.close()

    pages = Layer(scratch / "2", False, "COPY dist/*.html /srv/www/ # buildkit")
    for name in ("index", "search", "listing", "about"):
        pages.add(f"srv/www/{name}.html", _page(name, WEBAPP_TAG))
    pages.add("srv/www/robots.txt", "User-agent: *\nAllow: /\n")
    # A whiteout: a file of a lower layer that this one takes away.
    pages.add("srv/www/assets/.wh.photo-7.webp", b"")
    pages.close()
    return [base, assets, pages]


def _worker_layers(scratch):
    generator = random.Random("worker")

    base = Layer(scratch / "0", True, "ADD rootfs.tar.gz / # buildkit")
    base.add("etc/os-release", 'ID=motando\nNAME="Motando base"\nVERSION_ID=3.2\n')
    base.add("bin/sh", b"\x7fELF" + _program(generator, 500_000), 0o755)
    base.add("lib/libc.so.6", b"\x7fELF" + _program(generator, 1_400_000), 0o755)
    base.close()

    python = Layer(scratch / "1", True, "COPY --from=python /usr/local /usr/local # buildkit")
    python.add("usr/local/bin/python3", b"\x7fELF" + _program(generator, 1_800_000), 0o755)
    for name in ("asyncio", "collections", "json", "logging", "threading", "urllib"):
        python.add(f"usr/local/lib/python3.12/{name}/__init__.py", _python(generator, 40_000))
    python.close()

    packages = Layer(scratch / "2", True, "RUN pip install --no-cache-dir -r requirements.txt # buildkit")
    for name in ("dramatiq", "redis", "prometheus_client"):
        package = f"usr/local/lib/python3.12/site-packages/{name}"
        packages.add(f"{package}/__init__.py", _python(generator, 90_000))
        packages.add(f"{package}/_speedups.so", b"\x7fELF" + _program(generator, 200_000), 0o755)
    packages.close()

    application = Layer(scratch / "3", True, "COPY classifiedad /app/classifiedad # buildkit")
    application.add("app/classifiedad/__init__.py", "")
    application.add("app/classifiedad/worker.py", WORKER_SOURCE)
    application.close()
    return [base, python, packages, application]


def _configuration(layers, config, empty):
    """The image's configuration; `empty` are the build steps that made no layer."""
    history = [{"created": CREATED, "created_by": layer.created_by, "comment": "buildkit.dockerfile.v0"}
               for layer in layers]
    history += [{"created": CREATED, "created_by": step, "comment": "buildkit.dockerfile.v0", "empty_layer": True}
                for step in empty]
    return _json({
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": history,
    })


def _manifest(layers, configuration, layer_type):
    return _json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("application/vnd.oci.image.config.v1+json", _digest(configuration), len(configuration)),
        "layers": [_descriptor(layer_type, layer.digest, layer.size) for layer in layers],
    })


def _index(manifest, annotations):
    descriptor = _descriptor("application/vnd.oci.image.manifest.v1+json", _digest(manifest), len(manifest))
    descriptor["annotations"] = annotations
    return _json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    })


def _docker_save(tar, layers, configuration):
    """As Docker 25 and newer save: an image layout with raw layers, and manifest.json beside it."""
    manifest = _manifest(layers, configuration, "application/vnd.oci.image.layer.v1.tar")
    _tar_directory(tar, "blobs")
    _tar_directory(tar, "blobs/sha256")
    for blob in (configuration, manifest):
        _tar_bytes(tar, f"blobs/sha256/{_hex(_digest(blob))}", blob)
    for layer in layers:
        _tar_file(tar, f"blobs/sha256/{_hex(layer.digest)}", layer.path)
    _tar_bytes(tar, "index.json", _index(manifest, {
        "io.containerd.image.name": f"docker.io/library/{WEBAPP}:{WEBAPP_TAG}",
        "org.opencontainers.image.ref.name": WEBAPP_TAG,
    }))
    _tar_bytes(tar, "manifest.json", _json([{
        "Config": f"blobs/sha256/{_hex(_digest(configuration))}",
        "RepoTags": [f"{WEBAPP}:{WEBAPP_TAG}"],
        "Layers": [f"blobs/sha256/{_hex(layer.digest)}" for layer in layers],
        "LayerSources": {
            layer.diff_id: _descriptor("application/vnd.oci.image.layer.v1.tar", layer.digest, layer.size)
            for layer in layers
        },
    }]))
    _tar_bytes(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))


def _docker_save_old(tar, layers, configuration):
    """As Docker before 25 saves: a folder per layer, chained by ids."""
    names = []
    parent = None
    for layer in layers:
        chained = hashlib.sha256(f"{parent} {layer.diff_id}".encode()).hexdigest()
        description = {"id": chained, "created": CREATED, "container_config": {}, "os": "linux"}
        if parent:
            description["parent"] = parent
        _tar_directory(tar, chained)
        _tar_bytes(tar, f"{chained}/VERSION", b"1.0")
        _tar_bytes(tar, f"{chained}/json", _json(description))
        _tar_file(tar, f"{chained}/layer.tar", layer.path)
        names.append(f"{chained}/layer.tar")
        parent = chained
    name = f"{_hex(_digest(configuration))}.json"
    _tar_bytes(tar, name, configuration)
    _tar_bytes(tar, "manifest.json", _json([
        {"Config": name, "RepoTags": [f"{WEBAPP}:{WEBAPP_TAG}"], "Layers": names},
    ]))
    _tar_bytes(tar, "repositories", _json({WEBAPP: {WEBAPP_TAG: parent}}))


def _tar_entry(name, kind, mode, size, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname, entry.mtime = kind, mode, size, target, MODIFIED
    return entry


def _tar_directory(tar, name):
    tar.addfile(_tar_entry(name, tarfile.DIRTYPE, 0o755, 0))


def _tar_bytes(tar, name, data):
    tar.addfile(_tar_entry(name, tarfile.REGTYPE, 0o644, len(data)), io.BytesIO(data))


def _tar_file(tar, name, path):
    with open(path, "rb") as file:
        tar.addfile(_tar_entry(name, tarfile.REGTYPE, 0o644, path.stat().st_size), file)


def _header(name, kind, mode, size, target=""):
    return _tar_entry(name, kind, mode, size, target).tobuf(tarfile.USTAR_FORMAT)


def _descriptor(media_type, digest, size):
    return {"mediaType": media_type, "digest": digest, "size": size}


def _json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def _digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _hex(digest):
    return digest.split(":", 1)[1]


@contextlib.contextmanager
def _scratch(out):
    """A folder beside what is being made, gone afterwards: a result appears in one step, or not at all."""
    path = out / ".images"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _gzip(data, level):
    # By zlib itself: the header that Python's gzip module writes depends on Python's version.
    compressor = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def _noise(generator, size):
    return generator.getrandbits(8 * size).to_bytes(size, "little")


def _program(generator, size):
    """Bytes that compress to about a half, as machine code does."""
    half = size // 2
    return _noise(generator, size - half) + _words(generator, half).encode()


def _words(generator, size):
    words = ["carro", "moto", "anuncio", "preco", "cidade", "busca", "vendedor", "favorito", "oferta", "contato"]
    text = " ".join(generator.choices(words, k=size // 6 + 1))
    return (text * (size // len(text) + 1))[:size]


def _javascript(generator, size):
    lines = []
    while sum(map(len, lines)) < size:
        name = f"f{generator.getrandbits(32):08x}"
        lines.append(f'export const {name}=(e,t)=>{{const n=e["{_words(generator, 12)}"];'
                     f"return t?n.map({generator.getrandbits(20)}):n}};\n")
    return "".join(lines)


def _stylesheet(generator, size):
    lines = []
    while sum(map(len, lines)) < size:
        lines.append(f".c{generator.getrandbits(28):07x}{{color:#{generator.getrandbits(24):06x};"
                     f"margin:{generator.getrandbits(4)}px}}\n")
    return "".join(lines)


def _python(generator, size):
    lines = []
    while sum(map(len, lines)) < size:
        lines.append(f"def step_{generator.getrandbits(32):08x}(value):\n"
                     f'    """{_words(generator, 40)}."""\n'
                     f"    return value * {generator.getrandbits(16)} + {generator.getrandbits(16)}\n\n\n")
    return "".join(lines)


def _page(name, version):
    return (f'<!doctype html>\n<html lang="pt-BR">\n<head><meta charset="utf-8"><title>Motando: {name}</title>\n'
            f'<link rel="stylesheet" href="/assets/main.css"></head>\n<body data-version="{version}">\n'
            f'<main id="{name}"></main>\n<script type="module" src="/assets/main.js"></script>\n</body>\n</html>\n')


WORKER_SOURCE = '''"""Puts classified ads on line."""

import dramatiq


@dramatiq.actor(max_retries=5)
def publish(ad_id):
    print(f"published {ad_id}")


@dramatiq.actor
def expire(ad_id):
    print(f"expired {ad_id}")
'''


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="the folder they are made in")
    parser.add_argument("--only", choices=[WEBAPP, WORKER], help="make one of the two")
    parser.add_argument("--old", action="store_true", help="write the archive as Docker before 25 did")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.only != WORKER:
        print(webapp(arguments.out, arguments.old))
    if arguments.only != WEBAPP:
        print(worker(arguments.out))


if __name__ == "__main__":
    main(run)
