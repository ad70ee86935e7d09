#!/usr/bin/env python3
"""Measures the release build against the limits that were set for it, and beside other programs where they are installed.

A figure is the median of several runs. What is compared takes turns, because two minutes later a shared machine is another
machine. Nothing here fails because of a figure: read the table, whose last lines name what is over its limit.
"""

import argparse
import json
import os
import platform
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_push
import mirror
import terraform
from bench_table import Table, median
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

# Runs the provider in its place and writes down the most memory it held and the processor time it took: the CLI starts
# providers itself, several a plan, and each lives for some milliseconds.
WRAPPER = """\
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

SECTIONS = ("start", "scale", "layout", "archive", "small", "unchanged", "latency", "many")


class Bench:
    def __init__(self, folder, table, options):
        self.folder = folder
        self.table = table
        self.options = options
        self.runs = options.runs
        self.provider = binary(PROVIDER, release=True)
        self.emulator = binary(EMULATOR, release=True)
        self.cli = terraform.bring(self.say)
        # Images take minutes to make.
        self.kept = target_directory() / "bench-images"
        self.record = folder / "record"
        self.emulators = 0

    @staticmethod
    def say(message):
        """What is going on, for whoever waits."""
        print(message, file=sys.stderr, flush=True)

    def machine(self):
        version = json.loads(subprocess.run([self.cli, "version", "-json"], env=clean_environment(),
                                            stdout=subprocess.PIPE, check=True).stdout)["terraform_version"]
        return {"cli": f"{self.cli.name} {version}", "cores": os.cpu_count(), "system": platform.system(),
                "machine": platform.machine(), "load": os.getloadavg()[0], "when": time.strftime("%Y-%m-%d %H:%M")}

    def run(self):
        machine = self.machine()
        self.table.note(f"{machine['cli']}, {machine['cores']} cores of {machine['machine']}, load {machine['load']:.1f} at the "
                        f"start. Medians of {self.runs} runs.")
        wanted = self.options.only
        if "start" in wanted:
            self.table.section("Starting and planning")
            self.size()
            self.handshake()
            self.plans()
        if "scale" in wanted and self.options.repositories:
            self.scale()
        pushes = [name for name in wanted if name not in ("start", "scale")]
        if pushes and self.options.pushes:
            missing = bench_push.programs()
            if missing:
                self.table.note(f"Pushes are left out: {' and '.join(missing)} not installed "
                                f"(on Debian: apt-get install {' '.join(missing)}).")
            else:
                bench_push.Pushes(self, self.table, self.options).run(pushes)
        self.table.summary()
        return machine

    def size(self):
        self.table.row("release binary", self.provider.stat().st_size / 1e6, "MB", 12)

    def handshake(self):
        environment = {**clean_environment(), **HOST_ENVIRONMENT}
        times = [self.until_handshake(environment) * 1000 for _ in range(self.runs + 2)][2:]
        self.table.row("start to handshake line", median(times), "ms", 10, times)

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
        emulator = self.start_emulator()
        try:
            environment = self.cli_environment(emulator, self.plain_mirror())
            base = self.workspace("base", BASE, environment)
            silent = self.workspace("silent", NOTHING_ASKED, environment)
            asking = self.workspace("asking", NAMESPACE_ASKED, environment)
            for title, folder, limit in (("nothing asked", silent, 2.6), ("namespace fetched", asking, 3.2)):
                pairs = [(self.plan(base, environment), self.plan(folder, environment)) for _ in range(self.runs + 2)][2:]
                ratios = [ours / theirs for theirs, ours in pairs]
                self.table.row(f"plan of a repository, {title}, of terraform_data's", median(ratios), "×", limit, ratios,
                               ([median(ours for _, ours in pairs) * 1000, median(theirs for theirs, _ in pairs) * 1000], "ms"))

            environment = self.cli_environment(emulator, self.measuring_mirror())
            watched = self.workspace("watched", NAMESPACE_ASKED, environment)
            peaks = [self.observed(lambda: self.plan(watched, environment))[0] for _ in range(min(self.runs, 5))]
            self.table.row("  provider's peak memory", median(peaks), "MiB", 16, [it for it in peaks if it is not None])
        finally:
            emulator.stop()

    def plan(self, folder, environment):
        return self.cli_run(folder, environment, "plan", "-input=false")

    def scale(self):
        """Many repositories and as many terraform_data, ten at a time as a CLI does by itself: each phase once."""
        count = self.options.repositories
        self.table.section(f"{count} repositories, parallelism 10, emulator; beside as many terraform_data")
        emulator = self.start_emulator()
        try:
            environment = self.cli_environment(emulator, self.measuring_mirror())
            ours = self.workspace("many", MANY % count, environment)
            floor = self.workspace("floor", FLOOR % count, environment)
            for title, words in (("plan", ("plan",)), ("apply", ("apply", "-auto-approve")), ("refresh and plan", ("plan",)),
                                 ("destroy", ("destroy", "-auto-approve"))):
                words = (*words, "-input=false", "-parallelism=10")
                seconds = []
                peak, processor = self.observed(lambda: seconds.append(self.cli_run(ours, environment, *words)))
                least = self.cli_run(floor, environment, *words)
                self.table.row(title, seconds[0], "s", None, (), ([seconds[0], least], "s"))
                self.table.row("  of as many terraform_data", seconds[0] / least, "×")
                self.table.row("  provider's own processor time", processor, "s")
                self.table.row("  provider's peak memory", peak, "MiB", 32)
        finally:
            emulator.stop()

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

    def plain_mirror(self):
        """A mirror with the provider as it is."""
        plugins = self.folder / "mirror"
        if not plugins.is_dir():
            mirror.install(self.provider, plugins)
        return plugins

    def measuring_mirror(self):
        """A mirror whose provider writes down what memory and what processor time it needed."""
        plugins = self.folder / "watched-mirror"
        if not plugins.is_dir():
            wrapper = self.folder / "wrapper"
            wrapper.write_text(WRAPPER.format(python=sys.executable, tools=str(ROOT / "tools"), provider=str(self.provider),
                                              record=str(self.record)))
            wrapper.chmod(0o755)
            mirror.install(wrapper, plugins)
        return plugins

    def observed(self, work):
        """The most memory in MiB that any provider held during some work, None where it cannot be known, and the seconds of
        processors that all of them took together. The provider has to come from the measuring mirror.
        """
        self.record.write_text("")
        work()
        lines = [line.split() for line in self.record.read_text().splitlines()]
        peaks = [float(peak) for peak, _ in lines if peak != "-"]
        return (max(peaks) if peaks else None), sum(float(seconds) for _, seconds in lines)

    @staticmethod
    def peak_of(command, environment):
        """The most memory in MiB that a program held."""
        status, peak = watched(command, environment, subprocess.DEVNULL)
        if status != 0:
            raise Failure(f"{' '.join(command[:3])} failed")
        return peak

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


def watched(command, environment=None, output=None):
    """Runs a command; returns its status and its peak memory in MiB, if the system tells."""
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
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
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(record, "a") as file:
        file.write(f"{'-' if peak is None else peak} {usage.ru_utime + usage.ru_stime}\n")
    return status


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    full = {"runs": 15, "pushes": 5, "megabytes": 1100, "repositories": 1000, "images": 50}
    quick = {"runs": 5, "pushes": 1, "megabytes": 150, "repositories": 50, "images": 10}
    meanings = {"runs": "runs of everything small", "pushes": "turns of each push", "megabytes": "size of the big image, raw, "
                "which is then of this machine's files", "repositories": "repositories at once",
                "images": "images that share their base"}
    for name, meaning in meanings.items():
        parser.add_argument(f"--{name}", type=int, metavar="N",
                            help=f"{meaning} (default: {full[name]}, with --quick {quick[name]})")
    parser.add_argument("--delay", type=int, default=25, metavar="MS", help="what a distant registry adds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small and few: whether it works, not what it costs")
    parser.add_argument("--only", metavar="SECTION,…", help=f"some of: {', '.join(SECTIONS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    # Asked for a size, we make an image of that size.
    arguments.debian = arguments.megabytes is None and not arguments.quick
    for name, default in (quick if arguments.quick else full).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
    arguments.only = arguments.only.split(",") if arguments.only else list(SECTIONS)
    unknown = [name for name in arguments.only if name not in SECTIONS]
    if unknown:
        raise Failure(f"there is no section {' or '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if min(arguments.runs, arguments.megabytes, arguments.images) < 1 or min(arguments.pushes, arguments.repositories,
                                                                            arguments.delay) < 0:
        raise Failure("--runs, --megabytes and --images need at least 1, --pushes, --repositories and --delay at least 0")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        raise Failure(f"{arguments.json.absolute().parent} is not a folder")
    return arguments


def run():
    arguments = options()
    table = Table()
    # Whoever ends this wants the registries ended and their folders gone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    target_directory().mkdir(exist_ok=True)
    # Under target/, since /tmp may be in memory, which the registries need.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=target_directory()) as folder:
        machine = Bench(Path(folder), table, arguments).run()
    if arguments.json:
        table.write(arguments.json, machine)


if __name__ == "__main__":
    main(run)
