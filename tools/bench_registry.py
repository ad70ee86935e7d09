"""The registries that are pushed to, each started for one case: docker-registry, and ocir-emulator with its logins.

Both keep what they get in memory where the machine has room (/dev/shm), so that no disk is measured. Whatever a case wants
to know of the requests, it asks the registry, not the client: the access log of docker-registry, or a proxy before either.
"""

import base64
import json
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from common import ROOT, Failure
from emulator import Emulator

NAMESPACE = "bench"


class Request:
    """One request that a registry got; times are known when it came through a proxy."""

    def __init__(self, method, path, status, started=None, ended=None):
        self.method, self.path, self.status, self.started, self.ended = method, path, status, started, ended

    @property
    def about_token(self):
        """Whether it is about signing in: the token itself, or the question that is answered with where to get one."""
        return "/docker/token" in self.path or self.path == "/v2/" or self.status == 401

    @property
    def stores_blob(self):
        """Whether a blob was there afterwards that had been sent; a blob that was mounted had not."""
        return self.method == "PUT" and "/blobs/uploads/" in self.path and self.status == 201

    @property
    def sends(self):
        return self.method in ("POST", "PUT", "PATCH")


def in_a_row(requests):
    """How many of the requests had to wait for one another: the longest chain in which each began when the last had ended."""
    chain, free_at = 0, 0
    for request in sorted(requests, key=lambda it: it.ended):
        if request.started >= free_at:
            chain, free_at = chain + 1, request.ended
    return chain


class Tls:
    """A certificate authority of our own and a certificate for loopback. A client refuses an authority as the server's."""

    def __init__(self, folder):
        folder.mkdir()
        self.authority, self.certificate, self.key = folder / "ca.crt", folder / "server.crt", folder / "server.key"
        (folder / "server.ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")

        def openssl(*words):
            subprocess.run(["openssl", *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *curve, "-keyout", folder / "ca.key", "-out", self.authority, "-subj", "/CN=bench", "-days", 2)
        openssl("req", *curve, "-keyout", self.key, "-out", folder / "server.csr", "-subj", "/CN=127.0.0.1")
        openssl("x509", "-req", "-in", folder / "server.csr", "-CA", self.authority, "-CAkey", folder / "ca.key",
                "-CAcreateserial", "-extfile", folder / "server.ext", "-out", self.certificate, "-days", 2)
        # What skopeo takes a directory of.
        self.directory = folder / "trusted"
        self.directory.mkdir()
        shutil.copy(self.authority, self.directory / "ca.crt")


class Registry:
    """What both have in common. Within `with`, it runs; `authority` is where clients find it."""

    title = None

    def __init__(self, bench, folder, tls=None, proxy_delay=None):
        self.bench = bench
        self.tls = tls
        self.proxy = None
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            self.authority = self.start()
            if proxy_delay is not None:
                self.proxy = _Proxy(self.authority, folder / "requests", proxy_delay)
                self.authority = self.proxy.authority
            self.login()
        except BaseException:
            self.close()
            raise

    def login(self):
        """Makes what a rival signs in with."""

    def stored(self):
        """Bytes of the blobs that it has, manifests included."""
        return sum(file.stat().st_size for file in self.folder.glob(self.blobs))

    def requests(self):
        """What it was asked since it was forgotten."""
        lines = (self.folder / "requests").read_text().splitlines()
        return [self.request(line) for line in lines[self.forgotten:]]

    def request(self, line):
        return Request(**json.loads(line))

    def forget(self):
        """From here on count requests."""
        self.forgotten = len((self.folder / "requests").read_text().splitlines())

    forgotten = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.proxy:
            self.proxy.stop()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class DockerRegistry(Registry):
    """docker-registry as Debian has it: anybody may do anything."""

    title = "docker-registry"
    blobs = "data/docker/registry/v2/blobs/sha256/*/*/data"
    process = None
    token = None

    def start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            authority = f"127.0.0.1:{probe.getsockname()[1]}"
        http = {"addr": authority}
        if self.tls:
            http["tls"] = {"certificate": str(self.tls.certificate), "key": str(self.tls.key)}
        configuration = {"version": 0.1, "log": {"level": "error"}, "http": http,
                         "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}}}
        # JSON is YAML.
        (self.folder / "config.yml").write_text(json.dumps(configuration))
        with open(self.folder / "access", "wb") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", str(self.folder / "config.yml")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.DEVNULL)
        host, port = authority.split(":")
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection((host, int(port)), 1).close()
                return authority
            except OSError:
                time.sleep(0.02)
        raise Failure("docker-registry does not answer; try it by hand: docker-registry serve CONFIG")

    def requests(self):
        if self.proxy:
            return super().requests()
        lines = re.findall(r'"([A-Z]+) (\S+) HTTP/[\d.]+" (\d+)', (self.folder / "access").read_text())
        return [Request(method, path, int(status)) for method, path, status in lines][self.forgotten:]

    def forget(self):
        self.forgotten = 0
        self.forgotten = len(self.requests())

    def provider(self):
        """The provider's block."""
        scheme = f'ca_certificate = file("{self.tls.authority}")' if self.tls else "plain_http = true"
        return f'\nprovider "ocir" {{\n  registry = {{\n    host = "{self.authority}"\n    {scheme}\n  }}\n}}\n'

    def environment(self, plugins):
        """Of the CLI."""
        return self.bench.offline_environment(plugins)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()


class EmulatorRegistry(Registry):
    """ocir-emulator: clients sign in as with Oracle, the provider by signing, the others with the token that it gets so."""

    title = "emulator"
    blobs = "data/blobs/sha256/*"
    emulator = None

    def start(self):
        words = ["--data", self.folder / "data", "--namespace", NAMESPACE, "--create-on-first-push"]
        if self.tls:
            words += ["--tls-cert", self.tls.certificate, "--tls-key", self.tls.key]
        self.emulator = Emulator(self.bench.emulator, self.folder, words)
        return self.emulator.authority

    def login(self):
        command = [self.bench.emulator, "call", "--config", self.emulator.config, "GET", "/20180419/docker/token"]
        # It trusts whom the system trusts.
        trust = {"SSL_CERT_FILE": str(self.tls.authority)} if self.tls else {}
        done = subprocess.run(command, env={**self.emulator.environment, **trust}, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise Failure(f"the emulator gave no token: {done.stderr.decode(errors='replace').strip()}")
        self.token = json.loads(done.stdout)["token"]
        docker = self.folder / "docker"
        docker.mkdir()
        login = base64.b64encode(f"BEARER_TOKEN:{self.token}".encode()).decode()
        (docker / "config.json").write_text(json.dumps({"auths": {self.authority: {"auth": login}}}))

    @property
    def docker_configuration(self):
        return self.folder / "docker" / "config.json"

    def provider(self):
        return ""

    def environment(self, plugins):
        environment = self._trusting(self.bench.cli_environment(self.emulator, plugins))
        address = f"{'https' if self.tls else 'http'}://{self.authority}"
        environment.update({name: address for name in ("TF_VAR_endpoint", "OCI_ENDPOINT", "OCI_CLI_ENDPOINT")})
        return environment

    def _trusting(self, environment):
        return {**environment, **({"OCI_CLI_CERT_BUNDLE": str(self.tls.authority)} if self.tls else {})}

    def stop(self):
        if self.emulator:
            self.emulator.stop()


class _Proxy:
    def __init__(self, upstream, log, delay):
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "bench_proxy.py"), upstream, str(log), "--delay", str(delay)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        line = b""
        if select.select([self.process.stdout], [], [], 15)[0]:
            line = self.process.stdout.readline()
        match = re.match(rb"listening on (\S+)", line)
        if not match:
            self.stop()
            raise Failure("the proxy that counts requests did not start")
        self.authority = match[1].decode()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def place(bytes_needed, otherwise):
    """A folder for registries: in memory if there is room, or else the other one; and what to call it."""
    memory = Path("/dev/shm")
    try:
        if shutil.disk_usage(memory).free > bytes_needed and _available_memory() > 2 * bytes_needed:
            return memory, "in memory"
    except OSError:
        pass
    return otherwise, "on disk"


def _available_memory():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
