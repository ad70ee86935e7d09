"""What the tools share: where things are, and how cargo is asked for them."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROVIDER = "terraform-provider-ocir"
EMULATOR = "ocir-emulator"


class Failure(Exception):
    """Something a person can do something about; the message says what."""


def main(function):
    """Runs a tool's entry point; a `Failure` ends it with its message and status 1."""
    try:
        sys.exit(function())
    except Failure as failure:
        sys.exit(f"{Path(sys.argv[0]).name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def target_directory():
    """Where cargo puts what it builds."""
    return Path(_metadata()["target_directory"])


def version():
    """The version of the provider in Cargo.toml."""
    return next(package["version"] for package in _metadata()["packages"] if package["name"] == PROVIDER)


def build_command(release=False):
    """The command that builds the provider and the emulator."""
    return ["cargo", "build", "--locked", "--bins"] + (["--release"] if release else [])


def binary(name, release=False):
    """Where `build_command` leaves a binary."""
    path = target_directory() / ("release" if release else "debug") / name
    if not path.is_file():
        raise Failure(f"{path} does not exist; build it with: {' '.join(build_command(release))}")
    return path


def go_platform():
    """This machine as Terraform names it, for example linux_amd64."""
    systems = {"Linux": "linux", "Darwin": "darwin"}
    machines = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    try:
        return f"{systems[platform.system()]}_{machines[platform.machine().lower()]}"
    except KeyError:
        raise Failure(f"{platform.system()} on {platform.machine()} is not supported; Linux and macOS are") from None


def clean_environment():
    """The environment without anything that could lead a child to a real tenancy, or change what Terraform does.

    The rest stays, because version managers for Terraform and Rust live in it.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OCI_", "OCIR_", "TF_")) and not name.lower().endswith("_proxy")
    }
    environment["CHECKPOINT_DISABLE"] = "1"
    environment["TF_IN_AUTOMATION"] = "1"
    return environment


_cached_metadata = None


def _metadata():
    global _cached_metadata
    if _cached_metadata is None:
        command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
        try:
            answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        except FileNotFoundError:
            raise Failure("cargo is not on the PATH; Rust can be had from https://rustup.rs") from None
        except subprocess.CalledProcessError:
            raise Failure("cargo metadata failed") from None
        _cached_metadata = json.loads(answer)
    return _cached_metadata
