"""Starts ocir-emulator and knows how to reach it: what the demo and the benchmark have in common."""

import configparser
import os
import re
import select
import shlex
import subprocess
import time

from common import Failure, clean_environment


class Emulator:
    """A running emulator, its configuration in `folder/config`."""

    def __init__(self, program, folder, arguments=(), start=subprocess.Popen):
        self.config = folder / "config"
        self.log = folder / "emulator.log"
        with open(self.log, "wb") as log:
            self.process = start([str(program), "--config", str(self.config), *map(str, arguments)],
                                 env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        self.greeting = _first_line(self.process, 15)
        match = re.match(r"listening on (https?://(127\.0\.0\.1:\d+))$", self.greeting)
        if not match:
            self.stop()
            said = self.log.read_text(errors="replace").strip() or self.greeting or "nothing"
            raise Failure(f"the emulator did not say where it listens; it said: {said}")
        self.url, self.authority = match.groups()

        profile = configparser.ConfigParser(interpolation=None)
        profile.read(self.config / "config")
        self.user = profile["DEFAULT"]["user"]

        # An environment for the CLI and the provider in which the emulator is all there is of Oracle's cloud.
        self.environment = clean_environment()
        self.environment.update(_exports(self.config / "env.sh"))
        # Said once more, so that nothing but this can be the endpoint.
        self.environment["TF_VAR_endpoint"] = self.url
        self.compartment = self.environment.setdefault("TF_VAR_compartment_id", profile["DEFAULT"]["tenancy"])

    def stop(self):
        """Ends the process, kindly at first."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _first_line(process, seconds):
    """The first line a process prints, or what there is of it when the time is over."""
    deadline = time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
            break
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode(errors="replace").rstrip("\n")


def _exports(path):
    """The variables that a file of `export NAME=value` lines sets."""
    variables = {}
    for line in path.read_text().splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["export"]:
            variables.update(word.split("=", 1) for word in words[1:] if "=" in word)
    return variables
