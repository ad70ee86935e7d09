"""What is in a release: its bill of materials (CycloneDX 1.6), and the licences of everything that is linked into it.

Both come from `cargo metadata`, which knows features and platforms, and from Cargo.lock, which knows the hashes.
"""

import json
import re
import subprocess
import time
import uuid
from pathlib import Path
from urllib.parse import quote

from common import PROVIDER, ROOT, Failure

# Files that a package's licence asks to pass on, also those of the C sources that some packages bring.
LICENCE_FILE = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.I)


class Packages:
    """The packages of one platform: those in the binary, and those that only helped to make it."""

    def __init__(self, target):
        metadata = _metadata(target)
        self.by_id = {package["id"]: package for package in metadata["packages"]}
        self.root = metadata["resolve"]["root"]
        nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

        self.needed = {}
        reached = [self.root]
        while reached:
            identity = reached.pop()
            if identity in self.needed:
                continue
            # What only tests need is in nobody's release.
            self.needed[identity] = sorted(
                dependency["pkg"] for dependency in nodes[identity]["deps"]
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]))
            reached += self.needed[identity]

        self.linked = set()
        reached = [self.root]
        while reached:
            identity = reached.pop()
            if identity in self.linked:
                continue
            self.linked.add(identity)
            reached += [
                dependency["pkg"] for dependency in nodes[identity]["deps"]
                if any(kind["kind"] is None for kind in dependency["dep_kinds"])
                and not is_macro(self.by_id[dependency["pkg"]])]


def is_macro(package):
    """Whether a package runs inside of the compiler."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def document(version, when, platforms):
    """The bill of materials of a version for these platforms, by their names, as bytes of JSON."""
    hashes = _hashes()
    packages, linked, needed, on = {}, set(), {}, {}
    for platform, target in sorted(platforms.items()):
        found = Packages(target)
        root = found.root
        packages.update(found.by_id)
        linked |= found.linked
        for identity, dependencies in found.needed.items():
            needed.setdefault(identity, set()).update(dependencies)
            on.setdefault(identity, []).append(platform)

    def component(identity):
        package = packages[identity]
        reference = purl(package)
        known = {
            "type": "application" if identity == root else "library",
            "bom-ref": reference,
            "name": package["name"],
            "version": package["version"],
            "scope": "required" if identity in linked else "excluded",
            "licenses": [{"expression": expression(package)}],
            "purl": reference,
        }
        if package["description"]:
            known["description"] = " ".join(package["description"].split())
        checksum = hashes.get((package["name"], package["version"]))
        if checksum:
            known["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["repository"]:
            known["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        if len(on[identity]) < len(platforms):
            known["properties"] = [{"name": "ocir:platform", "value": platform} for platform in on[identity]]
        return known

    others = sorted((identity for identity in needed if identity != root), key=lambda one: purl(packages[one]))
    application = component(root)
    # What it is for, not whether it is needed.
    del application["scope"]
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when)),
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [{"type": "application", "name": name, "version": _version_of(name)}
                                     for name in ("cargo", "rustc")]},
            "component": application,
        },
        "components": [component(identity) for identity in others],
        "dependencies": [
            {"ref": purl(packages[identity]), "dependsOn": sorted(purl(packages[other]) for other in needed[identity])}
            for identity in sorted(needed, key=lambda one: purl(packages[one]))],
    }
    # The same contents have the same number: a random one would make each release another.
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{PROVIDER} {version} {json.dumps(bill)}')}"
    check(bill)
    return (json.dumps(bill, indent=2, ensure_ascii=False) + "\n").encode()


def check(bill):
    """What the format demands of the members that we write."""
    if bill["bomFormat"] != "CycloneDX" or bill["specVersion"] != "1.6":
        raise Failure("the SBOM is not CycloneDX 1.6")
    described = [bill["metadata"]["component"], *bill["components"]]
    references = [component["bom-ref"] for component in described]
    if len(set(references)) != len(references):
        raise Failure("two components of the SBOM have one reference")
    for component in described:
        for member in ("type", "name", "version", "purl", "licenses"):
            if not component.get(member):
                raise Failure(f"{component['bom-ref']} has no {member} in the SBOM")
        for each in component.get("hashes", []):
            if not re.match(r"^[0-9a-f]{64}$", each["content"]):
                raise Failure(f"{component['bom-ref']} has no SHA-256 in the SBOM")
    for dependency in bill["dependencies"]:
        unknown = {dependency["ref"], *dependency["dependsOn"]} - set(references)
        if unknown:
            raise Failure(f"the SBOM refers to {', '.join(sorted(unknown))} and does not describe it")


def purl(package):
    """How package URLs name a crate."""
    return f"pkg:cargo/{quote(package['name'], safe='')}@{quote(package['version'], safe='')}"


def expression(package):
    """The licence as SPDX writes it; old manifests have a stroke for OR."""
    if not package["license"]:
        raise Failure(f"{package['name']} {package['version']} names no licence")
    return re.sub(r"\s*/\s*", " OR ", package["license"])


def licence_texts(target):
    """The licences of all that is linked into the binary of a platform, each text once."""
    found = Packages(target)
    texts, without = {}, []
    for identity in sorted(found.linked - {found.root}, key=lambda one: purl(found.by_id[one])):
        package = found.by_id[identity]
        title = f"{package['name']} {package['version']} ({expression(package)})"
        folder = Path(package["manifest_path"]).parent
        files = [path for pattern in ("*", "*/*") for path in sorted(folder.glob(pattern))
                 if path.is_file() and LICENCE_FILE.match(path.name) and path.suffix not in (".rs", ".c", ".h")]
        if not files:
            without.append(f"{title}: {package['repository'] or package['homepage'] or 'no address'}")
        for path in files:
            text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip()
            if text:
                texts.setdefault(text, []).append(title)
    libraries = "Rust's standard library (MIT OR Apache-2.0, https://github.com/rust-lang/rust)"
    if target.endswith("-musl"):
        libraries += " and musl (MIT, https://musl.libc.org)"
    parts = [f"{PROVIDER} is under the MPL-2.0, see LICENSE. It contains {libraries},\n"
             "and the packages below, each under its own licence."]
    if without:
        parts.append("These packages come without a text of their licence:\n\n  " + "\n  ".join(without))
    for text, titles in texts.items():
        parts.append("\n".join(dict.fromkeys(titles)) + "\n\n" + text)
    return ("\n\n" + "-" * 80 + "\n\n").join(parts) + "\n"


def _metadata(target):
    command = ["cargo", "metadata", "--locked", "--filter-platform", target, "--format-version", "1"]
    try:
        return json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        raise Failure("cargo metadata failed") from None


def _hashes():
    """The checksums in Cargo.lock, by name and version."""
    hashes = {}
    for block in (ROOT / "Cargo.lock").read_text(encoding="utf-8").split("[[package]]")[1:]:
        members = dict(re.findall(r'^(name|version|checksum) = "([^"]*)"$', block, re.M))
        if "checksum" in members:
            hashes[members["name"], members["version"]] = members["checksum"]
    return hashes


def _version_of(program):
    words = subprocess.run([program, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    return words[1]
