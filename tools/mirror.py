#!/usr/bin/env python3
"""Puts a built provider where Terraform and OpenTofu find it without a registry.

Without a folder that is ~/.terraform.d/plugins, which both search by themselves.
"""

import argparse
import os
import shutil
from pathlib import Path

from common import PROVIDER, Failure, binary, go_platform, main, version

# OpenTofu resolves "motando/ocir" at its own registry, Terraform at its.
HOSTS = ("registry.terraform.io", "registry.opentofu.org")
SOURCE = "motando/ocir"


def install(provider, directory):
    """Copies the provider into a filesystem mirror; returns the paths it got."""
    paths = []
    for host in HOSTS:
        folder = Path(directory) / host / SOURCE / version() / go_platform()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{PROVIDER}_v{version()}"
        # In one step, because a CLI may be running the one that is there.
        scratch = folder / f".{os.getpid()}"
        if paths:
            try:
                os.link(paths[0], scratch)
            except OSError:
                shutil.copy2(paths[0], scratch)
        else:
            shutil.copy2(provider, scratch)
        os.replace(scratch, path)
        paths.append(path)
    return paths


def cli_configuration(directory):
    """A CLI configuration that knows this mirror and nothing else, so that `init` stays off the network."""
    quoted = str(Path(directory).absolute()).replace("\\", "\\\\").replace('"', '\\"')
    patterns = ", ".join(f'"{host}/{SOURCE.split("/")[0]}/*"' for host in HOSTS)
    return ("provider_installation {\n"
            "  filesystem_mirror {\n"
            f'    path    = "{quoted}"\n'
            f"    include = [{patterns}]\n"
            "  }\n"
            "}\n")


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("directory", nargs="?", type=Path, default=Path.home() / ".terraform.d" / "plugins",
                        help="a filesystem mirror (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="install the debug build instead of the release build")
    arguments = parser.parse_args()
    if arguments.directory.exists() and not arguments.directory.is_dir():
        raise Failure(f"{arguments.directory} is not a folder")
    for path in install(binary(PROVIDER, release=not arguments.debug), arguments.directory):
        print(path)


if __name__ == "__main__":
    main(run)
