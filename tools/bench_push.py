"""Pushes of big images beside skopeo: the same image, to the same kind of registry, in the same run.

The registry is docker-registry from Debian, started empty for what is cold. What is ours is a whole `terraform apply` (plan, reading,
compressing and sending together), what is skopeo's one `skopeo copy`. Processor time counts the program and what it started.
"""

import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import tarfile
import time
from pathlib import Path

from common import Failure

LAYERS = 7
GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

ONE = """
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}

variable "image" {}

resource "ocir_image_push" "this" {
  source     = var.image
  namespace  = "bench"
  repository = "web"
  tag        = "1"
}
"""

MANY = """
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}

variable "image" {}

resource "ocir_image_push" "this" {
  count      = %d
  source     = "${var.image}:${count.index}"
  namespace  = "bench"
  repository = "app-${count.index}"
  tag        = "1"
}
"""


class Usage:
    """What some work took: seconds, and seconds of processors."""

    def __init__(self, seconds, processor):
        self.seconds = seconds
        self.processor = processor


class Registry:
    """A docker-registry in a folder, empty, on loopback."""

    def __init__(self, folder, tls=None):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.authority = f"127.0.0.1:{probe.getsockname()[1]}"
        self.tls = tls
        http = {"addr": self.authority}
        if tls:
            http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
        configuration = {"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                         "storage": {"filesystem": {"rootdirectory": str(folder / "data")}}, "http": http}
        # JSON is YAML.
        (folder / "config.yml").write_text(json.dumps(configuration))
        self.folder = folder
        self.process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def _wait(self):
        host, port = self.authority.split(":")
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                socket.create_connection((host, int(port)), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Failure("docker-registry does not answer")

    def stored(self):
        """Bytes of the blobs that it has."""
        return sum(file.stat().st_size for file in self.folder.glob("data/docker/registry/v2/blobs/sha256/*/*/data"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Tls:
    """A certificate of an authority of our own."""

    def __init__(self, folder):
        folder.mkdir()
        self.authority, self.certificate, self.key = folder / "ca.crt", folder / "server.crt", folder / "server.key"
        (folder / "server.ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")

        def openssl(*words):
            done = subprocess.run(["openssl", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode != 0:
                raise Failure(f"openssl {words[0]} failed:\n{done.stdout.decode(errors='replace')}")

        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *curve, "-keyout", folder / "ca.key", "-out", self.authority, "-subj", "/CN=bench", "-days", 2)
        openssl("req", *curve, "-keyout", self.key, "-out", folder / "server.csr", "-subj", "/CN=127.0.0.1")
        openssl("x509", "-req", "-in", folder / "server.csr", "-CA", self.authority, "-CAkey", folder / "ca.key",
                "-CAcreateserial", "-extfile", folder / "server.ext", "-out", self.certificate, "-days", 2)
        # What skopeo takes a directory of.
        self.directory = folder / "trusted"
        self.directory.mkdir()
        shutil.copy(self.authority, self.directory / "ca.crt")


class Pushes:
    """The cases. `bench` brings CLI, provider, and folders."""

    def __init__(self, bench, row, megabytes, runs, images):
        self.bench = bench
        self.row = row
        self.megabytes = megabytes
        self.runs = runs
        self.images = images
        self.folder = bench.folder / "pushes"
        self.folder.mkdir()
        self.cache = self.folder / "cache"
        self.skopeo_cache = self.folder / "skopeo-cache"
        self.tls = Tls(self.folder / "tls")

    def run(self):
        print(f"\n{'pushes to docker-registry, beside skopeo':52} {'ours/skopeo':>12} {'limit':>10}   ours, skopeo: wall s, CPU s",
              flush=True)
        self.archive, self.changed = self._archives()
        self.layout = self._as_layout()
        self.base = self._base()
        for title, tls, limits in (("layout, cold, TLS", self.tls, (0.65, 0.5)), ("layout, cold, plain", None, (None, None))):
            self._cold(title, f"oci:{self.layout}", f"oci:{self.layout}:1", tls, limits)
        self._cold("raw docker-archive, cold", f"docker-archive:{self.archive}", f"docker-archive:{self.archive}", None, (0.55, 0.5))
        self._after_a_change()
        self._many()

    # What is pushed.

    def _archives(self):
        """Archives as `docker save` writes them, of files of this machine: one, and one whose last layer differs."""
        first, second = self.folder / "image.tar", self.folder / "changed.tar"
        each = self.megabytes * 1_000_000 // LAYERS
        paths, layers = _files(), []
        for number in range(LAYERS + 1):
            path = self.folder / f"layer-{number}.tar"
            with tarfile.open(path, "w") as archive:
                size = 0
                while size < each:
                    source = next(paths, None)
                    if source is None:
                        raise Failure("this machine has too few files for an image of that size; see --megabytes")
                    archive.add(source, arcname=str(source).lstrip("/"), recursive=False)
                    size += source.stat().st_size
            layers.append(path)
        _docker_save(first, layers[:LAYERS])
        _docker_save(second, layers[:LAYERS - 1] + layers[LAYERS:])
        for layer in layers:
            layer.unlink()
        return first, second

    def _as_layout(self):
        layout = self.folder / "layout"
        self._checked(["skopeo", "--insecure-policy", "copy", "--quiet", f"docker-archive:{self.archive}", f"oci:{layout}:1"])
        return layout

    def _shared_layout(self):
        """A layout of many images that have all their layers but a small one in common."""
        layout = self.folder / "shared"
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        base = [_layer(blobs, f"base-{number}", 8_000_000) for number in range(5)]
        manifests = []
        for number in range(self.images):
            layers = [*base, _layer(blobs, f"app-{number}", 100_000)]
            configuration = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
                "type": "layers", "diff_ids": [diff_id for _, diff_id in layers]}}).encode()
            manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": _blob(blobs, CONFIG, configuration),
                                   "layers": [descriptor for descriptor, _ in layers]}).encode()
            manifests.append({**_blob(blobs, MANIFEST, manifest),
                              "annotations": {"org.opencontainers.image.ref.name": str(number)}})
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
        return layout

    # The cases.

    def _cold(self, title, ours, theirs, tls, limits):
        """To an empty registry, without anything that was kept."""
        pairs = []
        for _ in range(self.runs):
            self._forget()
            with Registry(self.folder / "registry", tls) as registry:
                us = self._apply(registry, ONE, ours)
                sent = registry.stored()
            with Registry(self.folder / "registry", tls) as registry:
                them = self._copy(registry, theirs, "web:1")
                their_sent = registry.stored()
            pairs.append((us, them))
        self._ratio(title, pairs, *limits)
        self.skopeo_cold = _median(them.seconds for _, them in pairs)
        self.row("  bytes sent, of skopeo's", sent / their_sent, "×", 1.03)
        self._forget()
        with Registry(self.folder / "registry", tls) as registry:
            self._peak(lambda wrapped: self._apply(registry, ONE, ours, wrapped))

    def _after_a_change(self):
        """The archive is pushed, and again: as it is, then with one layer of seven changed."""
        source = self.folder / "current.tar"
        pairs, plans, fresh, again = [], [], [], []
        for _ in range(self.runs):
            self._forget()
            _place(self.archive, source)
            with Registry(self.folder / "registry") as registry:
                self._apply(registry, ONE, f"docker-archive:{source}")
                # Changes of a file are told from what it was two seconds later only.
                time.sleep(2)
                self._plan()
                plans.append(self._plan())
                shutil.rmtree(self.cache)
                fresh.append(self._plan())
                again.append(self._plan())
                _place(self.changed, source)
                us = self._apply(registry, ONE, f"docker-archive:{source}", keep=True)
            with Registry(self.folder / "registry") as registry:
                self._copy(registry, f"docker-archive:{self.archive}", "web:1")
                them = self._copy(registry, f"docker-archive:{self.changed}", "web:1")
            pairs.append((us, them))
        self._ratio("raw docker-archive, one layer of seven changed", pairs, None, None)
        base = self.base
        self.row("  unchanged: plan, less a plan without provider", statistics.median(plans) * 1000 - base * 1000, "ms", 200)
        self.row("  the same without the cache", statistics.median(fresh) * 1000 - base * 1000, "ms", 200)
        self.row("  to skopeo's cold push of the archive", _median(us.seconds for us, _ in pairs) / self.skopeo_cold, "×", 0.2)

    def _many(self):
        layout = self._shared_layout()
        configuration = MANY % self.images
        pairs = []
        self._forget()
        with Registry(self.folder / "registry") as registry:
            us = self._apply(registry, configuration, f"oci:{layout}")
        with Registry(self.folder / "registry") as registry:
            started, before = time.perf_counter(), _processor()
            for number in range(self.images):
                self._copy(registry, f"oci:{layout}:{number}", f"app-{number}:1")
            them = Usage(time.perf_counter() - started, _processor() - before)
        pairs.append((us, them))
        self._ratio(f"{self.images} images that share their base", pairs, None, None)
        self._forget()
        with Registry(self.folder / "registry") as registry:
            self._peak(lambda wrapped: self._apply(registry, configuration, f"oci:{layout}", wrapped))

    # How it is done.

    def _apply(self, registry, configuration, image, wrapped=False, keep=False):
        """Ours: an apply of a configuration in a folder of its own, or in the last one."""
        environment = self._environment(registry, image, wrapped)
        folder = self.bench.folder / "push-case"
        if not keep:
            scheme = f'  ca_certificate = file("{registry.tls.authority}")' if registry.tls else "  plain_http = true"
            provider = f'\nprovider "ocir" {{\n  registry = {{\n  host = "{registry.authority}"\n{scheme}\n  }}\n}}\n'
            self.bench.workspace("push-case", configuration + provider, environment)
        self.last = (folder, environment)
        return self._usage(lambda: self.bench.cli_run(folder, environment, "apply", "-input=false", "-auto-approve"))

    def _plan(self):
        folder, environment = self.last
        return self.bench.cli_run(folder, environment, "plan", "-input=false", "-detailed-exitcode")

    def _base(self):
        """A plan without our provider."""
        plugins = self.bench.folder / "mirror"
        emulator = self.bench.start_emulator()
        try:
            environment = self.bench.cli_environment(emulator, plugins)
            folder = self.bench.workspace("base-of-pushes", 'resource "terraform_data" "this" {}\n', environment)
            return _median(self.bench.plan(folder, environment) for _ in range(5))
        finally:
            emulator.stop()

    def _environment(self, registry, image, wrapped):
        plugins = self.bench.measuring_mirror() if wrapped else self.bench.folder / "mirror"
        return {**self.bench.offline_environment(plugins), "TF_VAR_image": image, "OCIR_CACHE_DIR": str(self.cache)}

    def _copy(self, registry, source, target):
        if registry.tls:
            certificates = ["--dest-cert-dir", str(registry.tls.directory)]
        else:
            certificates = ["--dest-tls-verify=false"]
        # Where it keeps what it knows of blobs is a matter of its home, or of the machine when it is root.
        environment = {**os.environ, "XDG_DATA_HOME": str(self.skopeo_cache), "_CONTAINERS_USERNS_CONFIGURED": "done",
                       "_CONTAINERS_ROOTLESS_UID": "1000"}
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", *certificates, source,
                   f"docker://{registry.authority}/bench/{target}"]
        return self._usage(lambda: self._checked(command, environment))

    def _usage(self, work):
        started, before = time.perf_counter(), _processor()
        work()
        return Usage(time.perf_counter() - started, _processor() - before)

    def _peak(self, work):
        self.row("  provider's peak memory", self.bench.peak(lambda: work(True)), "MiB", 40)

    def _forget(self):
        """Nothing is known from before."""
        for cache in (self.cache, self.skopeo_cache):
            shutil.rmtree(cache, ignore_errors=True)
        for cache in ("/var/lib/containers/cache", os.path.expanduser("~/.local/share/containers/cache")):
            Path(cache, "blob-info-cache-v1.boltdb").unlink(missing_ok=True)

    def _ratio(self, title, pairs, wall, processor):
        ours = _median(us.seconds for us, _ in pairs), _median(us.processor for us, _ in pairs)
        theirs = _median(them.seconds for _, them in pairs), _median(them.processor for _, them in pairs)
        self.row(title, _median(us.seconds / them.seconds for us, them in pairs), "×", wall,
                 f"{ours[0]:.2f}, {theirs[0]:.2f}")
        self.row("  processor time", _median(us.processor / them.processor for us, them in pairs), "×", processor,
                 f"{ours[1]:.2f}, {theirs[1]:.2f}")

    @staticmethod
    def _checked(command, environment=None):
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command[:3])} failed:\n{done.stdout.decode(errors='replace')}")


def programs():
    """What is missing for this, if anything."""
    return [name for name in ("skopeo", "docker-registry", "openssl") if not shutil.which(name)]


def _files():
    """Files of this machine, in an order that does not change."""
    for root in ("/usr/lib", "/usr/bin", "/usr/share"):
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                    yield path


def _docker_save(path, layers):
    """An archive as Docker 25 and later write it with the classic store: raw layers under the names of blobs."""
    diff_ids = [_file_digest(layer) for layer in layers]
    configuration = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{it}" for it in diff_ids]},
                                "history": [{"created_by": f"layer {number}"} for number in range(len(layers))]}).encode()
    name = hashlib.sha256(configuration).hexdigest()
    with tarfile.open(path, "w") as archive:
        for digest, layer in zip(diff_ids, layers):
            archive.add(layer, arcname=f"blobs/sha256/{digest}")
        manifest = [{"Config": f"blobs/sha256/{name}", "RepoTags": ["bench:1"],
                     "Layers": [f"blobs/sha256/{digest}" for digest in diff_ids]}]
        for entry, content in ((f"blobs/sha256/{name}", configuration), ("manifest.json", json.dumps(manifest).encode())):
            header = tarfile.TarInfo(entry)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))


def _layer(blobs, name, size):
    """A layer of bytes that do not compress; its descriptor and diff_id."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        header = tarfile.TarInfo(name)
        header.size = size
        archive.addfile(header, io.BytesIO(hashlib.shake_128(name.encode()).digest(size)))
    raw = content.getvalue()
    return _blob(blobs, GZIP_LAYER, gzip.compress(raw, 1, mtime=0)), f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _blob(blobs, media_type, content):
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _place(image, path):
    """The image under another name, as whoever builds it anew would leave it there."""
    path.unlink(missing_ok=True)
    shutil.copyfile(image, path)


def _file_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _processor():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _median(values):
    return statistics.median(list(values))
