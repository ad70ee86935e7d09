#!/usr/bin/env python3
"""The main job on loopback: the scenario examples/scenarios/motando, applied by a real CLI against the emulator.

Needs no cloud, no Docker and no account, and cannot reach any: its children get an environment without the caller's
Oracle and Terraform settings, and an endpoint on 127.0.0.1.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import images
import mirror
import terraform
from common import EMULATOR, PROVIDER, ROOT, Failure, binary, build_command, target_directory
from emulator import Emulator

SCENARIO = ROOT / "examples" / "scenarios" / "motando"
API = "/20160918"
STEPS = 10


class Interrupted(Exception):
    """A signal asked the demo to end."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


class Screen:
    """What the visitor sees."""

    def __init__(self):
        self.colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.step_number = 0
        # A terminal that cannot show a character gets a question mark instead of a traceback.
        sys.stdout.reconfigure(errors="replace")

    def step(self, title):
        self.step_number += 1
        self._line(self._paint("1", f"\n{self.step_number:2}/{STEPS}  {title}"))

    def say(self, text):
        self._line(f"       {text}")

    def command(self, words):
        self._line("       " + self._paint("36", "$ " + short(shlex.join(map(str, words)))))

    def output(self, line):
        self._line("       " + self._paint("2", "| ") + short(line))

    def good(self, text):
        self._line("       " + self._paint("32", f"✓ {text}"))

    def title(self, text):
        self._line(self._paint("1", text))

    def _paint(self, code, text):
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours else text

    @staticmethod
    def _line(text):
        print(text, flush=True)


class Children:
    """The processes of the demo. Each is a session of its own: Ctrl-C reaches the demo alone, which ends them in order."""

    def __init__(self):
        self._running = []
        self._starting = False
        self._pending = None
        self._ending = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def start(self, words, **options):
        # A signal between the start of a process and its entry in the list would leave it behind.
        self._starting = True
        try:
            process = subprocess.Popen([str(word) for word in words], start_new_session=True,
                                       **{"stdin": subprocess.DEVNULL, **options})
            self._running.append(process)
        finally:
            self._starting = False
        if self._pending is not None:
            raise Interrupted(self._pending)
        return process

    def finish(self, process):
        """Waits for the end of a process and returns its status."""
        status = process.wait()
        self._running.remove(process)
        return status

    def end_all(self):
        """Ends what still runs, the youngest first, and hears no more signals."""
        self._ending = True
        for process in reversed(self._running):
            for number, patience in ((signal.SIGINT, 10), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
                try:
                    os.killpg(process.pid, number)
                    process.wait(patience)
                    break
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue
        self._running.clear()

    def _on_signal(self, number, _frame):
        if self._ending:
            return
        if self._starting:
            self._pending = number
            return
        raise Interrupted(number)


class Demo:
    def __init__(self, screen, children, release, keep):
        self.screen = screen
        self.children = children
        self.release = release
        self.keep = keep
        self.scratch = None
        self.folder = None
        self.log = None

    def run(self):
        self.build()
        started = time.monotonic()
        self.folder = target_directory() / "demo"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="ocir-demo-"))
        self.screen.title("\nTwo private repositories, an auth token, the namespace and two pushed images by one apply.")

        self.start_emulator()
        self.prepare()
        self.first_apply()
        self.second_plan()
        self.images_are_there()
        self.drift()
        self.destroy()
        self.screen.title(f"\nDone in {time.monotonic() - started:.0f} s. "
                          "The README says how to do the same in the real cloud.")

    def build(self):
        words = build_command(self.release)
        # Asked for first because it says what to do when there is no cargo.
        target_directory()
        self.screen.title(f"Building: {shlex.join(words)}")
        if self.children.finish(self.children.start(words, cwd=ROOT)) != 0:
            raise Failure("the build failed")
        self.provider = binary(PROVIDER, self.release)
        self.emulator = binary(EMULATOR, self.release)

    def start_emulator(self):
        self.screen.step("An Oracle Cloud on this machine: control plane and registry in one process")
        self.config = self.scratch / "config"
        self.screen.command([EMULATOR, "--config", self.config])
        emulator = Emulator(self.emulator, self.scratch, start=self.children.start)
        self.log = emulator.log
        self.screen.output(emulator.greeting)
        self.environment = emulator.environment
        self.user, self.compartment = emulator.user, emulator.compartment
        self.screen.say("It seeded a tenancy with a user and an API key, and wrote how to reach it:")
        self.screen.command([".", self.config / "env.sh"])

    def prepare(self):
        self.screen.step("The provider, a CLI, two image files and the scenario")
        plugins = target_directory() / "mirror"
        mirror.install(self.provider, plugins)
        self.cli = terraform.bring(self.screen.say)
        name = self.cli.name
        configuration = self.scratch / "cli.tfrc"
        configuration.write_text(mirror.cli_configuration(plugins))
        self.environment["TF_CLI_CONFIG_FILE"] = str(configuration)

        shutil.copytree(SCENARIO, self.folder,
                        ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars", "*.tar"))
        for made in (images.webapp(self.folder), images.worker(self.folder)):
            size = sum(file.stat().st_size for file in [made, *made.rglob("*")] if file.is_file())
            kind = "as docker save writes it" if made.is_file() else "an image layout"
            self.screen.output(f"{made.name:24} {size / 1e6:.1f} MB, {kind}")
        self.screen.command(["cd", self.folder])
        self.screen.command([name, "init"])
        self.terraform(["init", "-input=false"], r"^- (Installing|Installed)|successfully initialized")

    def first_apply(self):
        self.screen.step("One apply; the plan already says the digests of the images")
        self.screen.command([self.cli.name, "apply", "-auto-approve"])
        self.terraform(
            ["apply", "-input=false", "-auto-approve"],
            r"^  # |^\s+\+ (digest|reference|repository_url)\s+=|^Plan:|: Creation complete|^Apply complete",
            and_after=r"^Outputs:",
        )

    def second_plan(self):
        self.screen.step("A second plan is empty")
        self.screen.command([self.cli.name, "plan", "-detailed-exitcode"])
        self.terraform(["plan", "-input=false", "-detailed-exitcode"], r"^No changes")
        self.screen.good("exit code 0: nothing to change")

    def images_are_there(self):
        self.screen.step("The images are in the registry, under the digests that were planned")
        digests = json.loads(self.capture(["output", "-json", "digests"]))
        for name, digest in sorted(digests.items()):
            path = f"{API}/container/images?compartmentId={quote(self.compartment)}&repositoryName={quote(name)}"
            answer = self.call("GET", path)
            found = [image["digest"] for image in existing(answer["items"])]
            if found != [digest]:
                raise Failure(f"{name} should hold {digest}, but holds {found}")
            self.screen.good(f"{name} holds {digest}")

    def drift(self):
        self.screen.step("Somebody makes a repository public, behind Terraform's back")
        repository = json.loads(self.capture(["output", "-json", "repository_ids"]))["motando-webapp"]
        path = f"{API}/container/repositories/{repository}"
        answer = self.call("PUT", path, {"isPublic": True})
        if answer.get("isPublic") is not True:
            raise Failure("the emulator did not make the repository public")

        self.screen.step("The next plan shows it, although the configuration never mentions is_public")
        self.screen.command([self.cli.name, "plan", "-detailed-exitcode"])
        self.terraform(["plan", "-input=false", "-detailed-exitcode"], r"^  # |^\s+~ \w+ += |^Plan:", expected=2)
        self.screen.good("exit code 2: there is something to change")

        self.screen.step("An apply repairs it")
        self.screen.command([self.cli.name, "apply", "-auto-approve"])
        self.terraform(["apply", "-input=false", "-auto-approve"], r": Modifications complete|^Apply complete")
        if self.call("GET", path)["isPublic"] is not False:
            raise Failure("the repository is still public")
        self.screen.good("private again")

    def destroy(self):
        self.screen.step("Everything is destroyed; on_destroy = \"delete\" takes the images along")
        self.screen.command([self.cli.name, "destroy", "-auto-approve"])
        self.terraform(["destroy", "-input=false", "-auto-approve"],
                       r": Destruction complete|^Destroy complete|^Apply complete")

        self.screen.step("Nothing is left")
        repositories = self.call("GET", f"{API}/container/repositories?compartmentId={quote(self.compartment)}")
        tokens = self.call("GET", f"{API}/users/{self.user}/authTokens")
        left = existing(repositories["items"]) + existing(tokens)
        if left:
            raise Failure(f"left behind: {', '.join(item['id'] for item in left)}")
        self.screen.good("no repositories, no auth tokens")

    def call(self, method, path, body=None):
        """Sends one signed request to the emulator, as anybody with the key could, and returns the answer."""
        words = ["call", "--config", self.config, method, path]
        if body is not None:
            words.append(json.dumps(body, separators=(",", ":")))
        self.screen.command([EMULATOR, *words])
        return json.loads(self.capture(words, self.emulator))

    def capture(self, words, program=None):
        """What a command that is not shown prints."""
        process = self.children.start([program or self.cli, *words], cwd=self.folder, env=self.environment,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, errors = process.communicate()
        if self.children.finish(process) != 0:
            raise Failure(f"{Path(process.args[0]).name} {words[0]} failed:\n{errors.decode(errors='replace')}")
        return output

    def terraform(self, words, keep, and_after=None, expected=0):
        """Runs the CLI and shows the lines that matter as they come; all of them when it does not end as expected."""
        process = self.children.start([self.cli, *words, "-no-color"], cwd=self.folder, env=self.environment,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        everything = []
        after = False
        for line in process.stdout:
            line = line.decode(errors="replace").rstrip()
            everything.append(line)
            after = after or bool(and_after and re.search(and_after, line))
            if line and (after or re.search(keep, line)):
                self.screen.output(line)
        status = self.children.finish(process)
        if status != expected:
            print("\n".join(["", *everything]), file=sys.stderr)
            raise Failure(f"{self.cli.name} {words[0]} ended with exit code {status}, expected was {expected}")

    def clean_up(self, failed):
        self.children.end_all()
        if failed and self.log and self.log.is_file() and self.log.stat().st_size:
            print("\nThe emulator said at last:", file=sys.stderr)
            print("\n".join(self.log.read_text(errors="replace").splitlines()[-20:]), file=sys.stderr)
        for folder in (self.scratch, self.folder):
            if folder is None:
                continue
            if self.keep:
                print(f"kept: {folder}", file=sys.stderr)
            else:
                shutil.rmtree(folder, ignore_errors=True)


def existing(items):
    """What of a list is still there: Oracle lists some things for a while after they were deleted."""
    return [item for item in items if item["lifecycleState"] not in ("DELETING", "DELETED")]


def short(text):
    """A line with its OCIDs shortened: they are what makes lines long, and nobody reads them."""
    return re.sub(r"\b(ocid1\.(?:[\w-]*\.)+)\w{10,}(\w{6})\b", r"\1…\2", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--release", action="store_true", help="with the release build, which takes longer to make")
    parser.add_argument("--keep", action="store_true", help="leave the folders for a look at them")
    arguments = parser.parse_args()

    # The debug build is the default because `make test` needs the same one: the second command then finds it made.
    children = Children()
    demo = Demo(Screen(), children, arguments.release, arguments.keep)
    status = 1
    try:
        demo.run()
        status = 0
    except Interrupted as interrupted:
        print("\ninterrupted; stopping the emulator and removing what was made", file=sys.stderr)
        status = 128 + interrupted.number
    except Failure as failure:
        print(f"\ndemo.py: {failure}", file=sys.stderr)
    finally:
        demo.clean_up(failed=status == 1)
    return status


if __name__ == "__main__":
    sys.exit(main())
