"""The other ways to push: skopeo, crane, oras, regctl and docker, as their manuals have it, and the floor under all of them: curl.

Each pushes `oci:DIR:TAG` or `docker-archive:FILE` to a registry of `bench_registry`, as far as it can.
"""

import json
import os
import shutil
import subprocess
import time

from common import Failure, clean_environment

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Rival:
    """A program. `command` is the push, or None where it cannot do that."""

    name = None
    # Whether it does the work itself, so that its processor time says something.
    counts = True

    def __init__(self, folder):
        # Where it may keep what it likes.
        self.home = folder / f"home-of-{self.name}"

    def missing(self):
        """Why it takes no part, if it does not."""
        return None if shutil.which(self.name) else f"{self.name} is not installed"

    def close(self):
        """Ends what it runs."""

    def forget(self):
        """Nothing is known from earlier pushes."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()

    def prepare(self, registry, source, target):
        """What it needs done before, which does not count."""

    def environment(self, registry):
        environment = {**clean_environment(), "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home)}
        if registry.tls:
            environment["SSL_CERT_FILE"] = str(registry.tls.authority)
        if registry.token:
            environment["DOCKER_CONFIG"] = str(registry.docker_configuration.parent)
        return environment


class Skopeo(Rival):
    name = "skopeo"

    def command(self, registry, source, target):
        trust = ["--dest-cert-dir", str(registry.tls.directory)] if registry.tls else ["--dest-tls-verify=false"]
        login = ["--dest-authfile", str(registry.docker_configuration)] if registry.token else []
        return ["skopeo", "--insecure-policy", "copy", "--quiet", *trust, *login, source, f"docker://{target}"]

    def environment(self, registry):
        # Where it keeps what it knows of blobs is a matter of its home, or of the machine when it is root.
        return {**super().environment(registry), "XDG_DATA_HOME": str(self.home), "_CONTAINERS_USERNS_CONFIGURED": "done",
                "_CONTAINERS_ROOTLESS_UID": "1000"}


class Crane(Rival):
    name = "crane"

    def command(self, registry, source, target):
        kind, path = _source(source)
        if kind == "oci":
            path = path.rpartition(":")[0]
        # On loopback it tries HTTPS first and then HTTP by itself.
        return ["crane", "push", *([] if registry.tls else ["--insecure"]), path, target]


class Oras(Rival):
    name = "oras"

    def command(self, registry, source, target):
        kind, path = _source(source)
        if kind != "oci":
            return None
        trust = ["--to-ca-file", str(registry.tls.authority)] if registry.tls else ["--to-plain-http"]
        return ["oras", "cp", *trust, "--from-oci-layout", path, target]


class Regctl(Rival):
    name = "regctl"

    def command(self, registry, source, target):
        kind, path = _source(source)
        host = f"reg={registry.authority},tls={'enabled' if registry.tls else 'disabled'}"
        words = ["regctl", "--verbosity", "error", "--host", host]
        if kind == "oci":
            return [*words, "image", "copy", f"ocidir://{path}", target]
        return [*words, "image", "import", target, path]

    def environment(self, registry):
        return {**super().environment(registry), "REGCTL_CONFIG": str(self.home / "regctl.json")}


class Docker(Rival):
    """Pushes what its daemon has: loading counts for nothing, and the daemon's processor time nobody sees.

    Where no daemon answers, one is started that has everything of its own.
    """

    name = "docker"
    counts = False

    def __init__(self, folder):
        super().__init__(folder)
        self.folder = folder / "docker"
        self.daemon = None
        # The names of the images that it has, by their source.
        self.loaded = {}

    def missing(self):
        return super().missing() or (None if self._answers() else self._start())

    def close(self):
        if self.daemon:
            self.daemon.terminate()
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None

    def command(self, registry, source, target):
        # It trusts a registry on loopback without TLS only; another one's authority would have to go to /etc.
        if registry.tls or _source(source)[0] != "docker-archive":
            return None
        return ["docker", "push", "--quiet", target]

    def prepare(self, registry, source, target):
        environment = self.environment(registry)
        if source not in self.loaded:
            said = run(["docker", "load", "--quiet", "--input", _source(source)[1]], environment)
            # Our images have one name, and it may say first which image had it before.
            name = said.strip().splitlines()[-1].split(":", 1)[1].strip()
            self.loaded[source] = f"bench-source:{len(self.loaded)}"
            run(["docker", "tag", name, self.loaded[source]], environment)
        run(["docker", "tag", self.loaded[source], target], environment)

    def environment(self, registry):
        return {**self._environment(), **({"DOCKER_CONFIG": str(registry.docker_configuration.parent)} if registry.token else {})}

    def _environment(self):
        return {**os.environ, **({"DOCKER_HOST": f"unix://{self.folder}/socket"} if self.daemon else {})}

    def _answers(self):
        done = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], env=self._environment(),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def _start(self):
        """Starts a daemon; gives why that cannot be done, if it cannot."""
        problem = "docker is installed, but no daemon answers"
        if not shutil.which("dockerd") or os.geteuid() != 0:
            return f"{problem}, and starting one takes dockerd and root"
        self.folder.mkdir()
        words = ["--iptables=false", "--ip6tables=false", "--bridge=none", f"--data-root={self.folder}/data",
                 f"--exec-root={self.folder}/run", f"--pidfile={self.folder}/pid", f"--host=unix://{self.folder}/socket"]
        with open(self.folder / "log", "wb") as log:
            self.daemon = subprocess.Popen(["dockerd", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.daemon.poll() is None:
            if self._answers():
                return None
            time.sleep(0.1)
        self.close()
        said = (self.folder / "log").read_text(errors="replace").strip().splitlines()
        return f"{problem}, and one that was started did not ({said[-1] if said else 'it said nothing'})"


ALL = (Skopeo, Crane, Oras, Regctl, Docker)


class Curl:
    """The floor: what one curl takes to send the blobs, four at once, with no thought for anything.

    It asks for each blob and opens its upload, in parallel; sends them, in parallel; mounts what other repositories need; then puts the manifests. The digests are
    known to it, nothing is read before, hashed, or compressed.
    """

    def __init__(self, folder):
        self.folder = folder / "curl"

    def push(self, registry, repositories, layout):
        """Sends the images of a layout, each tag to its repository: each blob once, and mounted where else it is needed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        index = json.loads((layout / "index.json").read_text())
        by_tag = {it["annotations"]["org.opencontainers.image.ref.name"]: it for it in index["manifests"]}
        sizes, homes, mounts = {}, {}, set()
        for tag, repository in repositories.items():
            manifest = json.loads(_blob(layout, by_tag[tag]["digest"]).read_text())
            for it in (manifest["config"], *manifest["layers"]):
                sizes[it["digest"]] = it["size"]
                home = homes.setdefault(it["digest"], repository)
                if home != repository:
                    mounts.add((repository, it["digest"], home))
        # The largest ones first, as anybody would.
        digests = sorted(sizes, key=sizes.get, reverse=True)
        base = f"{'https' if registry.tls else 'http'}://{registry.authority}/v2"
        common = ["silent", "show-error", 'output = "/dev/null"']
        if registry.tls:
            common.append(f'cacert = "{registry.tls.authority}"')
        if registry.token:
            common.append(f'header = "Authorization: Bearer {registry.token}"')

        asked = [[f'url = "{base}/{homes[digest]}/blobs/{digest}"', "head"] for digest in digests]
        opened = [[f'url = "{base}/{homes[digest]}/blobs/uploads/"', 'data = ""', "fail", f'dump-header = "{self.folder / str(number)}"']
                  for number, digest in enumerate(digests)]
        self._curl([it for pair in zip(asked, opened) for it in pair], common)
        self._curl([self._put(base, layout, digest, number) for number, digest in enumerate(digests)], common)
        if mounts:
            self._curl([[f'url = "{base}/{repository}/blobs/uploads/?mount={digest}&from={home}"', 'data = ""', "fail"]
                        for repository, digest, home in sorted(mounts)], common)
        self._curl([[f'url = "{base}/{repository}/manifests/{tag}"', f'upload-file = "{_blob(layout, by_tag[tag]["digest"])}"', "fail",
                     f'header = "Content-Type: {MANIFEST}"'] for tag, repository in repositories.items()], common)

    def _put(self, base, layout, digest, number):
        location = next(line.split(":", 1)[1].strip() for line in (self.folder / str(number)).read_text().splitlines()
                        if line.lower().startswith("location:"))
        if location.startswith("/"):
            location = base.removesuffix("/v2") + location
        separator = "&" if "?" in location else "?"
        return [f'url = "{location}{separator}digest={digest}"', f'upload-file = "{_blob(layout, digest)}"', "fail",
                'header = "Content-Type: application/octet-stream"', 'header = "Expect:"']

    def _curl(self, requests, common):
        """Requests of which four are under way at any time, over connections that are kept."""
        lines = "\nnext\n".join("\n".join([*common, *request]) for request in requests)
        file = self.folder / "requests"
        file.write_text(lines + "\n")
        run(["curl", "--disable", "--no-progress-meter", "--parallel", "--parallel-immediate", "--parallel-max", "4",
             "--config", str(file)], clean_environment())


def run(command, environment):
    """Runs a program to its end, which has to be a good one; returns what it said."""
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise Failure(f"{' '.join(command[:3])} failed with status {done.returncode}:\n{said}")
    return said


def _source(source):
    kind, _, path = source.partition(":")
    return kind, path


def _blob(layout, digest):
    return layout / "blobs" / "sha256" / digest.partition(":")[2]
