#!/usr/bin/env python3
"""Measures the release build against the limits that were set for it, and beside skopeo if that is installed.

A figure is the median of several runs. What is compared runs in pairs, one after the other, because two minutes
later a shared machine is another machine. Nothing here fails because of a figure: read the table.
"""

import argparse
import base64
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_push
import images
import mirror
import terraform
from common import EMULATOR, PROVIDER, ROOT, Failure, binary, clean_environment, main, target_directory
from emulator import Emulator

# What a CLI hands over to a plugin: the certificate is a made-up one on the curve that Terraform uses.
HOST_ENVIRONMENT = {
    "TF_PLUGIN_MAGIC_COOKIE": "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
    "PLUGIN_PROTOCOL_VERSIONS": "5,6",
    "PLUGIN_CLIENT_CERT": """\
-----BEGIN CERTIFICATE-----
MIICdjCCAdegAwIBAgIUYP5CrUj9LCjTli1+wKyVgAmyhkUwCgYIKoZIzj0EAwQw
KDESMBAGA1UECgwJVGVycmFmb3JtMRIwEAYDVQQDDAlsb2NhbGhvc3QwIBcNMjYx
MTI0MDkwNDIyWhgPMjEyNjEwMzEwOTA0MjJaMCgxEjAQBgNVBAoMCVRlcnJhZm9y
bTESMBAGA1UEAwwJbG9jYWxob3N0MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQA
IhAOpKmwdGNWytloeOEgIAHiYL8lXyWVAyI0yWY5/rH2Q9Bjh8/FmERHJL+eaUlz
uy1yRHHdw/438HENBqhmCaIB15RxpXiBwp/+ERfF+57unevvvWjqSdjbPIPBFi+1
icl59eF1hfhvGheZ2wmOw+RRqgzszH9Z4sPqQQn1aEKjOxqjgZkwgZYwHQYDVR0O
BBYEFJocdy1fEym1Da2GLPvw9yLcJn6tMB8GA1UdIwQYMBaAFJocdy1fEym1Da2G
LPvw9yLcJn6tMBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAOBgNVHQ8BAf8EBAMCAqww
HQYDVR0lBBYwFAYIKwYBBQUHAwIGCCsGAQUFBwMBMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwQDgYwAMIGIAkIBlq4L7HPoR0xnP3t422JsF5VSX2YH1qm9ooM0
LIdxOIKbxfrN30PrkC+WqXLKLO1W6AIgWIX+mMOqzqfhWPOgw7ICQgC7+Oxfyn8l
ickYH7Gs47fqa/t40t2uZ3Q4869Bep5t3XbYy4j0vEnkxs9MqjEQvzlnPkCm40uE
FDtwVKMXKfbf1Q==
-----END CERTIFICATE-----
""",
}

# Runs the provider in its place and writes down the most memory it held: the CLI starts providers itself, several a
# plan, and each lives for some milliseconds.
MEMORY_WRAPPER = """\
#!{python} -IS
import sys
sys.path.insert(0, {tools!r})
from bench import watch
sys.exit(watch([{provider!r}, *sys.argv[1:]], {record!r}))
"""

REQUIRED = 'terraform {\n  required_providers {\n    ocir = { source = "motando/ocir" }\n  }\n}\n'
BASE = 'resource "terraform_data" "this" {\n  input = "a"\n}\n'

# An argument that is unknown while planning keeps a new resource off the network, whatever else is set.
NOTHING_ASKED = REQUIRED + BASE + """
provider "ocir" {
  endpoint = terraform_data.this.id
}

resource "ocir_repository" "this" {
  compartment_id = "ocid1.compartment.oc1..aaaaaaaabenchmark"
  display_name   = "bench"
}
"""

NAMESPACE_ASKED = REQUIRED + BASE + """
resource "ocir_repository" "this" {
  compartment_id = "ocid1.compartment.oc1..aaaaaaaabenchmark"
  display_name   = "bench"
}
"""

MANY = REQUIRED + """
variable "compartment_id" {}

resource "ocir_repository" "this" {
  count          = %d
  compartment_id = var.compartment_id
  display_name   = "bench/${count.index}"
}
"""

FLOOR = """
resource "terraform_data" "this" {
  count = %d
  input = "bench/${count.index}"
}
"""

PUSH = REQUIRED + """
variable "compartment_id" {}

variable "layout" {}

resource "ocir_repository" "this" {
  compartment_id = var.compartment_id
  display_name   = "bench"
}

resource "ocir_image_push" "this" {
  source     = "oci:${var.layout}"
  repository = ocir_repository.this.display_name
  tag        = "1"
}
"""


class Bench:
    def __init__(self, folder, runs, pushes, megabytes, repositories, images_at_once):
        self.folder = folder
        self.images_at_once = images_at_once
        self.runs = runs
        self.pushes = pushes
        self.megabytes = megabytes
        self.repositories = repositories
        self.provider = binary(PROVIDER, release=True)
        self.emulator = binary(EMULATOR, release=True)
        self.cli = terraform.bring(lambda message: print(message, file=sys.stderr))
        self.record = folder / "memory"
        self.emulators = 0

    def run(self):
        version = json.loads(subprocess.run([self.cli, "version", "-json"], env=clean_environment(),
                                            stdout=subprocess.PIPE, check=True).stdout)["terraform_version"]
        print(f"{self.cli.name} {version}, {os.cpu_count()} cores, medians of {self.runs} runs "
              f"({self.pushes} of a push)\n", flush=True)
        print(f"{'':52} {'measured':>12} {'limit':>10}")
        self.size()
        self.handshake()
        self.plans()
        if self.repositories:
            self.many()
        if self.pushes:
            self.push()
            missing = bench_push.programs()
            if missing:
                print(f"pushes beside skopeo are left out: {', '.join(missing)} is not installed", flush=True)
            else:
                bench_push.Pushes(self, row, self.megabytes, self.pushes, self.images_at_once).run()

    def size(self):
        row("release binary", self.provider.stat().st_size / 1e6, "MB", 12)

    def handshake(self):
        environment = {**clean_environment(), **HOST_ENVIRONMENT}
        times = [self.until_handshake(environment) for _ in range(self.runs + 2)][2:]
        row("start to handshake line", statistics.median(times) * 1000, "ms", 10)

    def until_handshake(self, environment):
        started = time.perf_counter()
        process = subprocess.Popen([self.provider], env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            if not select.select([process.stdout], [], [], 10)[0]:
                raise Failure("the provider printed no handshake line within ten seconds")
            line = process.stdout.readline()
            seconds = time.perf_counter() - started
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        if not line.startswith(b"1|6|"):
            raise Failure(f"the provider printed {line!r} instead of a handshake line")
        return seconds

    def plans(self):
        plugins = self.folder / "mirror"
        mirror.install(self.provider, plugins)
        emulator = self.start_emulator()
        try:
            environment = self.cli_environment(emulator, plugins)
            base = self.workspace("base", BASE, environment)
            silent = self.workspace("silent", NOTHING_ASKED, environment)
            asking = self.workspace("asking", NAMESPACE_ASKED, environment)
            for title, folder, limit in (("nothing asked", silent, 2.6), ("namespace fetched", asking, 3.2)):
                pairs = [(self.plan(base, environment), self.plan(folder, environment)) for _ in range(self.runs + 2)]
                pairs = pairs[2:]
                row(f"plan with one ocir_repository, {title}", statistics.median(b / a for a, b in pairs), "×", limit)
                row("  in milliseconds", statistics.median(b for _, b in pairs) * 1000, "ms")
                row("  the same plan with terraform_data only", statistics.median(a for a, _ in pairs) * 1000, "ms")

            environment = self.cli_environment(emulator, self.measuring_mirror())
            watched = self.workspace("watched", NAMESPACE_ASKED, environment)
            peaks = [self.peak(lambda: self.plan(watched, environment)) for _ in range(min(self.runs, 5))]
            row("provider's peak memory in that plan", median(peaks), "MiB", 16)
        finally:
            emulator.stop()

    def plan(self, folder, environment):
        return self.cli_run(folder, environment, "plan", "-input=false")

    def many(self):
        """Many repositories and as many terraform_data, ten at a time as a CLI does by itself: each phase once."""
        count = self.repositories
        emulator = self.start_emulator()
        try:
            environment = self.cli_environment(emulator, self.measuring_mirror())
            ours = self.workspace("many", MANY % count, environment)
            floor = self.workspace("floor", FLOOR % count, environment)
            for title, words in (("plan", ("plan",)), ("apply", ("apply", "-auto-approve")), ("refresh and plan", ("plan",)),
                                 ("destroy", ("destroy", "-auto-approve"))):
                words = (*words, "-input=false", "-parallelism=10")
                seconds = []
                peak = self.peak(lambda: seconds.append(self.cli_run(ours, environment, *words)))
                row(f"{count} repositories, {title}", seconds[0], "s")
                row("  as many terraform_data", self.cli_run(floor, environment, *words), "s")
                row("  provider's peak memory", peak, "MiB", 32)
        finally:
            emulator.stop()

    def push(self):
        print(f"\nmaking a layout of {self.megabytes} MB", file=sys.stderr, flush=True)
        layout = images.worker(self.folder, self.megabytes)
        skopeo = shutil.which("skopeo")
        ours, peaks, theirs, their_peaks = [], [], [], []
        for _ in range(self.pushes):
            self.with_emulator(lambda emulator: self.push_ours(emulator, layout, ours, peaks))
            if skopeo:
                self.with_emulator(lambda emulator: self.push_skopeo(emulator, layout, theirs, their_peaks))
        row(f"apply that pushes {self.megabytes} MB: provider's peak memory", median(peaks), "MiB", 64)
        row("  the whole apply, planned and read as well", statistics.median(ours), "s")
        if skopeo:
            row("  skopeo's peak memory", median(their_peaks), "MiB")
            row("  skopeo copy", statistics.median(theirs), "s")

    def push_ours(self, emulator, layout, seconds, peaks):
        environment = self.cli_environment(emulator, self.measuring_mirror())
        environment["TF_VAR_layout"] = str(layout)
        folder = self.workspace("push", PUSH, environment)
        peaks.append(self.peak(
            lambda: seconds.append(self.cli_run(folder, environment, "apply", "-input=false", "-auto-approve"))))

    def push_skopeo(self, emulator, layout, seconds, peaks):
        def call(*words):
            return json.loads(subprocess.run([self.emulator, "call", "--config", emulator.config, *words],
                                             env=emulator.environment, stdout=subprocess.PIPE, check=True).stdout)

        repository = call("POST", "/20160918/container/repositories",
                          json.dumps({"compartmentId": emulator.compartment, "displayName": "bench"}))
        token = call("GET", "/20180419/docker/token")["token"]
        login = base64.b64encode(f"BEARER_TOKEN:{token}".encode()).decode()
        authfile = self.folder / "auth.json"
        authfile.write_text(json.dumps({"auths": {emulator.authority: {"auth": login}}}))
        started = time.perf_counter()
        status, peak = watched(["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false",
                                "--authfile", str(authfile), f"oci:{layout}",
                                f"docker://{emulator.authority}/{repository['namespace']}/bench:1"])
        if status != 0:
            raise Failure("skopeo copy failed")
        seconds.append(time.perf_counter() - started)
        peaks.append(peak)

    def with_emulator(self, work):
        """An emulator of one's own that keeps blobs in a folder, so that nothing is there before the push."""
        data = self.folder / "data"
        emulator = self.start_emulator("--data", data)
        try:
            work(emulator)
        finally:
            emulator.stop()
            shutil.rmtree(data, ignore_errors=True)

    def start_emulator(self, *arguments):
        self.emulators += 1
        folder = self.folder / f"emulator-{self.emulators}"
        folder.mkdir()
        return Emulator(self.emulator, folder, arguments)

    def cli_environment(self, emulator, plugins):
        configuration = self.folder / f"{plugins.name}.tfrc"
        configuration.write_text(mirror.cli_configuration(plugins))
        return {**emulator.environment, "TF_CLI_CONFIG_FILE": str(configuration)}

    def offline_environment(self, plugins):
        """A CLI without anybody to sign in as, for registries that ask nobody."""
        configuration = self.folder / f"{plugins.name}.tfrc"
        configuration.write_text(mirror.cli_configuration(plugins))
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        # Who has nobody to sign in as looks for an instance, and not at a real address.
        return {**clean_environment(), "TF_CLI_CONFIG_FILE": str(configuration), "HOME": str(home),
                "OCI_METADATA_BASE_URL": "http://127.0.0.1:1/opc/v2"}

    def measuring_mirror(self):
        """A mirror whose provider writes down what memory it needed."""
        plugins = self.folder / "watched-mirror"
        wrapper = self.folder / "wrapper"
        wrapper.write_text(MEMORY_WRAPPER.format(python=sys.executable, tools=str(ROOT / "tools"),
                                                 provider=str(self.provider), record=str(self.record)))
        wrapper.chmod(0o755)
        mirror.install(wrapper, plugins)
        return plugins

    def peak(self, work):
        """The most memory in MiB that any provider held during some work, or None where it cannot be known."""
        self.record.write_text("")
        work()
        peaks = [float(line) for line in self.record.read_text().split()]
        return max(peaks) if peaks else None

    def workspace(self, name, configuration, environment):
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "main.tf").write_text(configuration)
        self.cli_run(folder, environment, "init", "-input=false")
        return folder

    def cli_run(self, folder, environment, *words):
        started = time.perf_counter()
        done = subprocess.run([self.cli, *words, "-no-color"], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            raise Failure(f"{self.cli.name} {words[0]} failed:\n{done.stdout.decode(errors='replace')}")
        return seconds


def watched(command):
    """Runs a command; returns its status and its peak memory in MiB, if the system tells."""
    process = subprocess.Popen(command)
    started = time.monotonic()
    peak = None
    while True:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            status = ""
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) / 1024
        # The figure only grows, so the last one before the end is the one. What lives long may be looked at less often.
        try:
            return process.wait(0.001 if time.monotonic() - started < 2 else 0.02), peak
        except subprocess.TimeoutExpired:
            continue


def watch(command, record):
    """What the wrapper does: runs the provider and adds a line to the record."""
    status, peak = watched(command)
    if peak is not None:
        with open(record, "a") as file:
            file.write(f"{peak}\n")
    return status


def median(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def row(title, value, unit, limit=None, detail=""):
    measured = "not known" if value is None else f"{value:.{2 if unit == '×' else 1}f} {unit}"
    allowed = "" if limit is None else f"{limit} {unit}"
    verdict = "" if limit is None or value is None else ("  ok" if value <= limit else "  OVER")
    print(f"{title:52} {measured:>12} {allowed:>10}{verdict}{'   ' + detail if detail else ''}".rstrip(), flush=True)


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for option, default, meaning in (("--runs", 15, "runs of everything small"), ("--pushes", 3, "pushes of the big image"),
                                     ("--megabytes", 1000, "size of the big image"),
                                     ("--repositories", 1000, "repositories at once"),
                                     ("--images", 50, "images that share their base")):
        parser.add_argument(option, type=int, default=default, metavar="N", help=f"{meaning} (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.pushes < 0 or arguments.megabytes < 1 or arguments.repositories < 0:
        raise Failure("--runs and --megabytes need at least 1, --pushes and --repositories at least 0")
    target_directory().mkdir(exist_ok=True)
    # Under target/, since /tmp may be in memory and the big image is written there twice.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=target_directory()) as folder:
        Bench(
            Path(folder), arguments.runs, arguments.pushes, arguments.megabytes, arguments.repositories, arguments.images
        ).run()


if __name__ == "__main__":
    main(run)
