#!/usr/bin/env python3
"""Checks the licences, names and sources of all dependencies against deny.toml.

The part of cargo-deny that this project needs, in a second and without compiling some hundred crates for it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from common import ROOT, Failure, main

# How cargo writes the default registry in Cargo.lock, without the host it is served from.
DEFAULT_REGISTRY = re.compile(r"^(registry|sparse)\+https://[^ ]+/crates\.io-index/?$")


def run():
    settings = read_settings((ROOT / "deny.toml").read_text())
    allowed = set(settings["licenses"]["allow"])
    banned = set(settings["bans"]["deny"])

    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if answer.returncode != 0:
        raise Failure("cargo metadata failed")
    metadata = json.loads(answer.stdout)

    complaints = []
    used = set()
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        if package["name"] in banned:
            complaints.append(f"{name} is banned")
        complaint = source_complaint(package, metadata["workspace_root"])
        if complaint:
            complaints.append(f"{name} {complaint}")
        if not package["license"]:
            complaints.append(f"{name} names no licence")
            continue
        try:
            chosen = permitted(package["license"], allowed)
        except ValueError as error:
            complaints.append(f"{name} has a licence that cannot be read: {error}")
            continue
        if chosen is None:
            complaints.append(f"{name} is under {package['license']}, which is not allowed")
        else:
            used |= chosen
    for complaint in complaints:
        print(f"deny.py: {complaint}", file=sys.stderr)
    if complaints:
        return 1
    print(f"deny: {len(metadata['packages'])} packages, licences {', '.join(sorted(used))}")
    return 0


def source_complaint(package, workspace):
    """What is wrong with where a package comes from, if anything is."""
    source = package["source"]
    if source is None:
        inside = Path(workspace) in Path(package["manifest_path"]).parents
        return None if inside else "comes from a folder outside of this workspace"
    return None if DEFAULT_REGISTRY.match(source) else f"comes from {source}, not from the default registry"


def permitted(expression, allowed):
    """The licences that satisfy an SPDX expression, all of them allowed; None when there are none."""
    # Old manifests write "MIT/Apache-2.0" for OR.
    tokens = re.findall(r"[()]|[A-Za-z0-9.+-]+", expression.replace("/", " OR "))

    def alternatives():
        choices = [conjunction()]
        while tokens[:1] == ["OR"]:
            tokens.pop(0)
            choices.append(conjunction())
        return next((choice for choice in choices if choice is not None), None)

    def conjunction():
        parts = [licence()]
        while tokens[:1] == ["AND"]:
            tokens.pop(0)
            parts.append(licence())
        return None if None in parts else set().union(*parts)

    def licence():
        if not tokens or tokens[0] in (")", "AND", "OR", "WITH"):
            raise ValueError(expression)
        name = tokens.pop(0)
        if name == "(":
            inner = alternatives()
            if tokens[:1] != [")"]:
                raise ValueError(expression)
            tokens.pop(0)
            return inner
        if tokens[:1] == ["WITH"]:
            name = f"{name} WITH {tokens[1]}" if len(tokens) > 1 else ""
            del tokens[:2]
        return {name} if name in allowed else None

    result = alternatives()
    if tokens:
        raise ValueError(expression)
    return result


def read_settings(text):
    """The tables of deny.toml: strings, booleans and lists of strings. (Python reads TOML by itself only since 3.11.)"""
    settings = {}
    table = settings
    pending = ""
    for line in text.splitlines():
        line = re.sub(r'^((?:[^"#]|"[^"]*")*)#.*$', r"\1", line).strip()
        if not line:
            continue
        header = re.match(r"^\[([a-z]+)\]$", line)
        if header and not pending:
            table = settings.setdefault(header.group(1), {})
            continue
        pending += line
        if pending.count("[") > pending.count("]"):
            continue
        key, _, value = pending.partition("=")
        table[key.strip()] = json.loads(re.sub(r",\s*\]", "]", value))
        pending = ""
    if pending:
        raise Failure(f"deny.toml: cannot read {pending}")
    return settings


if __name__ == "__main__":
    main(run)
