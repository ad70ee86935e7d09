#!/usr/bin/env python3
"""Checks the dependencies against deny.toml with cargo-deny: licences, bans and sources, or what is named.

Takes the cargo-deny on the PATH if it is the version below, and otherwise compiles that one into target/tools, once:
two to three minutes on two cores. `advisories` needs the internet, so `make check` leaves them to the workflow.
"""

import argparse
import os
import shutil
import subprocess
import sys

from common import ROOT, Failure, main, target_directory

VERSION = "0.20.2"
CHECKS = ("advisories", "bans", "licenses", "sources")


def bring():
    """The path of cargo-deny."""
    own = target_directory() / "tools" / f"cargo-deny-{VERSION}"
    for program in (shutil.which("cargo-deny"), own / "bin" / "cargo-deny"):
        if program and runs(program):
            return program
    print(f"deny.py: compiling cargo-deny {VERSION} into {own}, this once", file=sys.stderr)
    command = ["cargo", "install", "--quiet", "--locked", "--root", str(own), f"cargo-deny@{VERSION}"]
    # The settings for our builds are not for a tool.
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR")}
    if subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr).returncode != 0:
        raise Failure(f"cargo-deny {VERSION} could not be installed; "
                      f"install it yourself: cargo install --locked cargo-deny@{VERSION}")
    return own / "bin" / "cargo-deny"


def runs(program):
    """Whether this is the cargo-deny we want: another version may judge otherwise."""
    try:
        answer = subprocess.run([str(program), "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return answer.stdout.decode(errors="replace").split() == ["cargo-deny", VERSION]


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)} (default: all but the first)")
    checks = parser.parse_args().checks or CHECKS[1:]
    strange = [check for check in checks if check not in CHECKS]
    if strange:
        raise Failure(f"cargo-deny does not check {', '.join(strange)}, but {', '.join(CHECKS)}")
    # --locked: a check never changes Cargo.lock.
    command = [str(bring()), "--locked", "--all-features", "check", "--hide-inclusion-graph", *checks]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    main(run)
