#!/usr/bin/env python3
"""Drives the provider by a host that is not ours, and reads its values by a library that is not ours.

The Python package python-plugin starts plugins as Terraform does: with a cookie, a client certificate on the curve
P-521, a health check and a farewell. pyvider-cty is another reading of how values are written. With both, this does
what a CLI does: it asks for the schema, validates, configures, plans, applies, reads, imports, opens a login and says
goodbye, against the emulator. The protocol's messages are written down here once more, apart from the provider's own.

The packages are installed by pip, with pinned hashes, under target/tools.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import images
import terraform
from common import EMULATOR, PROVIDER, ROOT, Failure, binary, build_command, main, target_directory
from emulator import Emulator

REQUIREMENTS = ROOT / "tools" / "host-requirements.txt"

COOKIE = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")

# What a host and a provider say to each other, as far as it is said here. `*` is a list, `{}` a map by names.
MESSAGES = """
DynamicValue             msgpack=1:bytes json=2:bytes
Step                     attribute_name=1:string element_key_string=2:string element_key_int=3:int64
AttributePath            steps=1:*Step
Diagnostic               severity=1:int32 summary=2:string detail=3:string attribute=4:AttributePath
RawState                 json=1:bytes
Identity                 identity_data=1:DynamicValue
Attribute                name=1:string type=2:bytes description=3:string required=4:bool optional=5:bool \
                         computed=6:bool sensitive=7:bool nested_type=10:Object write_only=11:bool
Object                   attributes=1:*Attribute nesting=3:int32
NestedBlock              type_name=1:string block=2:Block nesting=3:int32
Block                    version=1:int64 attributes=2:*Attribute block_types=3:*NestedBlock description=4:string
Schema                   version=1:int64 block=2:Block
IdentityAttribute        name=1:string type=2:bytes required_for_import=3:bool optional_for_import=4:bool
IdentitySchema           version=1:int64 identity_attributes=2:*IdentityAttribute
Imported                 type_name=1:string state=2:DynamicValue private=3:bytes identity=4:Identity

GetProviderSchema?
GetProviderSchema!       provider=1:Schema resource_schemas=2:{}Schema data_source_schemas=3:{}Schema \
                         diagnostics=4:*Diagnostic ephemeral_resource_schemas=8:{}Schema
GetResourceIdentitySchemas?
GetResourceIdentitySchemas! identity_schemas=1:{}IdentitySchema diagnostics=2:*Diagnostic
ValidateProviderConfig?  config=1:DynamicValue
ValidateProviderConfig!  diagnostics=2:*Diagnostic
ConfigureProvider?       terraform_version=1:string config=2:DynamicValue
ConfigureProvider!       diagnostics=1:*Diagnostic
StopProvider?
StopProvider!            error=1:string
ValidateResourceConfig?  type_name=1:string config=2:DynamicValue
ValidateResourceConfig!  diagnostics=1:*Diagnostic
UpgradeResourceState?    type_name=1:string version=2:int64 raw_state=3:RawState
UpgradeResourceState!    upgraded_state=1:DynamicValue diagnostics=2:*Diagnostic
ReadResource?            type_name=1:string current_state=2:DynamicValue private=3:bytes current_identity=6:Identity
ReadResource!            new_state=1:DynamicValue diagnostics=2:*Diagnostic private=3:bytes new_identity=5:Identity
PlanResourceChange?      type_name=1:string prior_state=2:DynamicValue proposed_new_state=3:DynamicValue \
                         config=4:DynamicValue prior_private=5:bytes prior_identity=8:Identity
PlanResourceChange!      planned_state=1:DynamicValue requires_replace=2:*AttributePath planned_private=3:bytes \
                         diagnostics=4:*Diagnostic planned_identity=7:Identity
ApplyResourceChange?     type_name=1:string prior_state=2:DynamicValue planned_state=3:DynamicValue \
                         config=4:DynamicValue planned_private=5:bytes planned_identity=7:Identity
ApplyResourceChange!     new_state=1:DynamicValue private=2:bytes diagnostics=3:*Diagnostic new_identity=5:Identity
ImportResourceState?     type_name=1:string id=2:string identity=4:Identity
ImportResourceState!     imported_resources=1:*Imported diagnostics=2:*Diagnostic
ReadDataSource?          type_name=1:string config=2:DynamicValue
ReadDataSource!          state=1:DynamicValue diagnostics=2:*Diagnostic
OpenEphemeralResource?   type_name=1:string config=2:DynamicValue
OpenEphemeralResource!   diagnostics=1:*Diagnostic result=3:DynamicValue private=4:bytes
CloseEphemeralResource?  type_name=1:string private=2:bytes
CloseEphemeralResource!  diagnostics=1:*Diagnostic
"""

LIST, SET, MAP = 2, 3, 4

# Something that is known after the apply.
UNKNOWN = type("Unknown", (), {"__repr__": lambda self: "(unknown)"})()


def bring():
    """Puts the packages under target/tools, once for each list of them, and onto the path."""
    if sys.version_info < (3, 11):
        raise Failure(f"the packages of the other host need Python 3.11 or newer; this is {sys.version.split()[0]}")
    name = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = target_directory() / "tools" / f"host-{name}"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        print("installing python-plugin and pyvider-cty", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
            command = terraform.pip() + [
                "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
                "--target", f"{scratch}/home", "--requirement", str(REQUIREMENTS),
            ]
            if subprocess.run(command, stdout=sys.stderr, env=terraform.pip_environment()).returncode != 0:
                raise Failure("pip could not install what tools/host-requirements.txt lists")
            os.rename(f"{scratch}/home", home)
    sys.path.insert(0, str(home))


def messages():
    """The classes of the messages above: a request by its name and `?`, an answer by its name and `!`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="tfplugin6.proto", package="tfplugin6", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"bytes": kinds.TYPE_BYTES, "string": kinds.TYPE_STRING, "bool": kinds.TYPE_BOOL,
               "int32": kinds.TYPE_INT32, "int64": kinds.TYPE_INT64}

    def plain(name):
        return name.replace("?", "_Request").replace("!", "_Response")

    def fill(field, name, number, kind, label=kinds.LABEL_OPTIONAL):
        field.name, field.number, field.label = name, number, label
        if kind in scalars:
            field.type = scalars[kind]
        else:
            field.type, field.type_name = kinds.TYPE_MESSAGE, f".tfplugin6.{kind}"

    names = []
    for line in filter(None, MESSAGES.splitlines()):
        name, *fields = line.split()
        names.append(name)
        message = file.message_type.add(name=plain(name))
        for text in fields:
            field, kind = text.split(":")
            field, number = field.split("=")
            if kind.startswith("{}"):
                entry = "".join(word.title() for word in field.split("_")) + "Entry"
                nested = message.nested_type.add(name=entry)
                nested.options.map_entry = True
                fill(nested.field.add(), "key", 1, "string")
                fill(nested.field.add(), "value", 2, kind[2:])
                fill(message.field.add(), field, int(number), f"{plain(name)}.{entry}", kinds.LABEL_REPEATED)
            elif kind.startswith("*"):
                fill(message.field.add(), field, int(number), kind[1:], kinds.LABEL_REPEATED)
            else:
                fill(message.field.add(), field, int(number), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tfplugin6.{plain(name)}"))
            for name in names}


class Refused(Exception):
    """The provider answered with errors."""

    def __init__(self, diagnostics):
        super().__init__("\n".join(f"{each.summary}: {each.detail}" for each in diagnostics))
        self.diagnostics = diagnostics


class Value:
    """How values of one type are written, by pyvider-cty."""

    def __init__(self, kind):
        from pyvider.cty import parse_tf_type_to_ctytype

        self.kind = kind
        self.type = parse_tf_type_to_ctytype(kind)

    def encode(self, python):
        """A message of a value. An object gets the members that it lacks, as null."""
        from pyvider.cty.codec import cty_from_msgpack, cty_to_msgpack
        import msgpack

        def known(value):
            return msgpack.ExtType(0, b"\0") if value is UNKNOWN else value

        raw = msgpack.packb(_mapped(_filled(python, self.kind), known), use_bin_type=True)
        return {"msgpack": cty_to_msgpack(cty_from_msgpack(raw, self.type), self.type)}

    def decode(self, message):
        """A value of a message, which has to be what the library would have written."""
        from pyvider.cty.codec import cty_from_msgpack, cty_to_msgpack
        import msgpack

        value = cty_from_msgpack(message.msgpack, self.type)
        again = cty_to_msgpack(value, self.type)
        check(again == message.msgpack, f"a value is written otherwise: {message.msgpack!r}, not {again!r}")
        return msgpack.unpackb(message.msgpack, ext_hook=lambda _code, _data: UNKNOWN)


def _mapped(value, function):
    if isinstance(value, dict):
        return {name: _mapped(member, function) for name, member in value.items()}
    if isinstance(value, list):
        return [_mapped(element, function) for element in value]
    return function(value)


def _filled(value, kind):
    if isinstance(kind, list) and value is not None and value is not UNKNOWN:
        if kind[0] == "object":
            unfamiliar = set(value) - set(kind[1])
            check(not unfamiliar, f"no such attributes: {unfamiliar}")
            return {name: _filled(value.get(name), member) for name, member in sorted(kind[1].items())}
        if kind[0] in ("list", "set"):
            return [_filled(element, kind[1]) for element in value]
    return value


def type_of(block):
    """The type of a block's value, as JSON."""
    members = {}
    for attribute in block.attributes:
        nested = attribute.HasField("nested_type")
        check(nested != bool(attribute.type), f"{attribute.name} has two types, or none")
        members[attribute.name] = (_nesting(attribute.nested_type.nesting, type_of_attributes(attribute.nested_type))
                                   if nested else json.loads(attribute.type))
    for nested in block.block_types:
        members[nested.type_name] = _nesting(nested.nesting, type_of(nested.block))
    return ["object", members]


def type_of_attributes(holder):
    """The type of nested attributes, which have no blocks."""
    return ["object", {
        attribute.name: (_nesting(attribute.nested_type.nesting, type_of_attributes(attribute.nested_type))
                         if attribute.HasField("nested_type") else json.loads(attribute.type))
        for attribute in holder.attributes
    }]


def _nesting(nesting, inner):
    return {LIST: ["list", inner], SET: ["set", inner], MAP: ["map", inner]}.get(nesting, inner)


class Host:
    """A started provider, and what a CLI would do with it."""

    def __init__(self, call):
        self.call = call
        self.schema = None
        self.values = {}
        self.computed = {}

    async def ask(self, rpc, **members):
        answer = await self.call(rpc, **members)
        errors = [each for each in getattr(answer, "diagnostics", []) if each.severity == 1]
        if errors:
            raise Refused(errors)
        return answer

    async def learn(self):
        """Asks for the schema."""
        self.schema = await self.ask("GetProviderSchema")
        self.values["provider"] = Value(type_of(self.schema.provider.block))
        for kind in ("resource_schemas", "data_source_schemas", "ephemeral_resource_schemas"):
            for name, schema in getattr(self.schema, kind).items():
                self.values[kind, name] = Value(type_of(schema.block))
                self.computed[name] = [each.name for each in schema.block.attributes if each.computed]
                for each in schema.block.attributes:
                    check(each.required + (each.optional or each.computed) == 1, f"{name}.{each.name} is of no kind")
                    check(each.description.endswith("."), f"{name}.{each.name} is not described")

    async def configure(self, arguments):
        config = self.values["provider"].encode(arguments)
        await self.ask("ValidateProviderConfig", config=config)
        await self.ask("ConfigureProvider", terraform_version="1.12.0", config=config)

    async def read_data(self, name, arguments):
        value = self.values["data_source_schemas", name]
        answer = await self.ask("ReadDataSource", type_name=name, config=value.encode(arguments))
        return value.decode(answer.state)


class Object:
    """One object of a managed resource, from plan to destroy."""

    def __init__(self, host, name):
        self.host = host
        self.name = name
        self.value = host.values["resource_schemas", name]
        self.state = None
        self.private = b""
        self.identity = None

    async def plan(self, config):
        """Plans a configuration; null plans a destroy. Gives the value, and the answer for an apply."""
        proposed = None
        if config is not None:
            await self.host.ask("ValidateResourceConfig", type_name=self.name, config=self.value.encode(config))
            prior = self.state or {}
            kept = {name: prior.get(name) for name in self.host.computed[self.name] if config.get(name) is None}
            proposed = {**config, **kept}
        answer = await self.host.ask(
            "PlanResourceChange", type_name=self.name, prior_state=self.value.encode(self.state),
            proposed_new_state=self.value.encode(proposed), config=self.value.encode(config),
            prior_private=self.private, prior_identity=self.identity)
        return self.value.decode(answer.planned_state), answer

    async def apply(self, config):
        """Plans and applies; what was planned has to come true, and nothing may be left to do."""
        planned, plan = await self.plan(config)
        check(not plan.requires_replace or self.state is None, f"{self.name} would be replaced")
        answer = await self.host.ask(
            "ApplyResourceChange", type_name=self.name, prior_state=self.value.encode(self.state),
            planned_state=plan.planned_state, config=self.value.encode(config),
            planned_private=plan.planned_private,
            planned_identity=plan.planned_identity if plan.HasField("planned_identity") else None)
        new = self.value.decode(answer.new_state)
        if config is not None:
            for name, value in planned.items():
                check(value is UNKNOWN or value == new[name], f"{self.name}.{name}: {value!r} became {new[name]!r}")
            check("(unknown)" not in repr(new), f"{self.name} is not known after the apply")
        self._take(new, answer.private, answer, "new_identity")
        if config is not None:
            await self.refresh()
            again, _ = await self.plan(config)
            check(again == self.state, f"{self.name} has changes left: {again!r}, not {self.state!r}")
        return self.state

    async def refresh(self):
        """Reads the state anew, by way of what a state file would hold."""
        stored = await self.host.ask("UpgradeResourceState", type_name=self.name,
                                     raw_state={"json": json.dumps(self.state).encode()})
        check(self.value.decode(stored.upgraded_state) == self.state, f"a stored {self.name} is another one")
        answer = await self.host.ask("ReadResource", type_name=self.name, current_state=stored.upgraded_state,
                                     private=self.private, current_identity=self.identity)
        self._take(self.value.decode(answer.new_state), answer.private, answer, "new_identity")
        return self.state

    async def bring(self, **by):
        """Imports by an id or an identity."""
        answer = await self.host.ask("ImportResourceState", type_name=self.name, **by)
        check(len(answer.imported_resources) == 1, f"an import of {self.name} brought not one object")
        imported = answer.imported_resources[0]
        self._take(self.value.decode(imported.state), imported.private, imported, "identity")
        return await self.refresh()

    def _take(self, state, private, answer, identity):
        self.state, self.private = state, private
        self.identity = getattr(answer, identity) if answer.HasField(identity) else self.identity


def check(holds, otherwise):
    if not holds:
        raise Failure(otherwise)


def done(started, what):
    print(f"{time.monotonic() - started:6.2f} s  {what}", flush=True)


class Heard(logging.Handler):
    """What a logger was told, line by line."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


async def story(emulator, folder):
    import pyplugin
    from grpclib.client import UnaryUnaryMethod

    classes = messages()
    started = time.monotonic()
    said = Heard()
    log = logging.getLogger("pyplugin.client")
    log.setLevel(logging.DEBUG)
    log.addHandler(said)
    log.propagate = False

    class Provider(pyplugin.Plugin):
        def servicers(self, broker):
            return []

        def stub(self, broker, channel):
            async def call(rpc, **members):
                request = classes[f"{rpc}?"](**{name: member for name, member in members.items() if member is not None})
                method = UnaryUnaryMethod(channel, f"/tfplugin6.Provider/{rpc}", type(request), classes[f"{rpc}!"])
                return await method(request, timeout=60)
            return call

    client = pyplugin.Client(pyplugin.ClientConfig(
        handshake_config=pyplugin.HandshakeConfig(6, *COOKIE),
        plugins={5: {}, 6: {"provider": Provider()}},
        cmd=[str(binary(PROVIDER))],
        env=emulator.environment,
        skip_host_env=True,
        auto_mtls=True,
    ))
    async with client:
        process = client._proc
        at = client.reattach_config()
        check(client.negotiated_version == 6, f"protocol {client.negotiated_version} was chosen")
        check(at.network == "unix" and stat.S_ISSOCK(os.stat(at.addr).st_mode), f"it listens at {at.addr}")
        check(at.server_cert_pem, "the provider showed no certificate")
        done(started, "started, with a certificate on either side, and healthy")

        host = Host(client.dispense("provider"))
        await host.learn()
        identities = (await host.ask("GetResourceIdentitySchemas")).identity_schemas
        done(started, f"schema of {', '.join(sorted(set(host.computed)))}")

        compartment = emulator.compartment
        repository = Object(host, "ocir_repository")
        config = {"compartment_id": compartment, "display_name": "team/web", "freeform_tags": {"team": "web"},
                  "readme": {"content": "# Olá\n", "format": "TEXT_MARKDOWN"}}
        try:
            await repository.plan({**config, "display_name": "Team//Web"})
        except Refused as refused:
            steps = refused.diagnostics[0].attribute.steps
            check([step.attribute_name for step in steps] == ["display_name"], "the error names no argument")
        else:
            raise Failure("an impossible name was accepted")
        done(started, "validate names the argument that is wrong")

        await host.configure({"endpoint": emulator.url, "region": "sa-saopaulo-1"})
        namespaces = [await host.read_data(name, {}) for name in ("tenancy_namespace", "ocir_tenancy_namespace")]
        check(namespaces[0] == namespaces[1] and namespaces[0]["namespace"], f"namespaces: {namespaces!r}")
        done(started, f"configured; the namespace is {namespaces[0]['namespace']}")

        planned, _ = await repository.plan(config)
        check(planned["id"] is UNKNOWN and planned["is_public"] is False, f"planned: {planned!r}")
        made = await repository.apply(config)
        check(made["id"].startswith("ocid1.containerrepo."), f"made: {made!r}")
        changed = await repository.apply({**config, "is_public": True, "freeform_tags": {"team": "wéb", "a": ""}})
        check(changed["id"] == made["id"] and changed["is_public"] is True, f"changed: {changed!r}")
        for by in ({"id": f"{compartment}/team/web"}, {"identity": repository.identity}):
            imported = await Object(host, "ocir_repository").bring(**by)
            check(imported["id"] == made["id"], f"imported: {imported!r}")
        _, plan = await repository.plan({**config, "display_name": "team/other"})
        check([step.attribute_name for path in plan.requires_replace for step in path.steps] == ["display_name"],
              f"a new name replaces nothing: {plan.requires_replace!r}")
        done(started, "a repository is made, changed, read and imported by place and by identity")

        images.worker(folder)
        push = Object(host, "ocir_image_push")
        push_config = {"source": f"oci:{folder}/{images.WORKER}", "repository": "team/web", "tag": "1.0.0",
                       "additional_tags": ["stable", "latest"], "on_destroy": "delete"}
        planned, _ = await push.plan(push_config)
        pushed = await push.apply(push_config)
        check(planned["digest"] == pushed["digest"], "the digest was not known while planning")
        index = json.loads((folder / images.WORKER / "index.json").read_text())
        check(pushed["digest"] in [each["digest"] for each in index["manifests"]], "another image was pushed")
        done(started, f"an image is pushed: {pushed['digest_reference']}")

        for name in ("ocir_auth_token", "oci_auth_token"):
            token = Object(host, name)
            made = await token.apply({"description": "a host's", "rotation_triggers": {"n": "1"}})
            check(name in identities and len(made["token"]) > 8, f"{name}: {sorted(made)}")
            await token.apply(None)
        done(started, "tokens under both names")

        value = host.values["ephemeral_resource_schemas", "ocir_registry_login"]
        opened = await host.ask("OpenEphemeralResource", type_name="ocir_registry_login", config=value.encode({}))
        check(value.decode(opened.result)["password"], "the login has no password")
        await host.ask("CloseEphemeralResource", type_name="ocir_registry_login", private=opened.private)
        done(started, "a login is opened and closed")

        await push.apply(None)
        check(await repository.apply(None) is None, "the repository is still there")
        check((await host.ask("StopProvider")).error == "", "it does not stop")
    # The library has nothing to complain of: the goodbye was answered, and no signal had to help.
    complaints = [line for line in said.lines if "failed" in line or "alive" in line]
    check(not complaints, f"the host complains: {complaints}")
    check(process.returncode == 0, f"it ended with {process.returncode} instead of by itself")
    check(not os.path.exists(at.addr), f"{at.addr} was left behind")
    done(started, "shut down by the host's goodbye, which was answered, with status 0")


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.parse_args()
    bring()
    if subprocess.run(build_command(), cwd=ROOT).returncode != 0:
        raise Failure("the build failed")
    with tempfile.TemporaryDirectory(prefix="ocir-host-") as folder:
        emulator = Emulator(binary(EMULATOR), Path(folder))
        try:
            asyncio.run(story(emulator, Path(folder)))
        except Refused as refused:
            raise Failure(f"the provider refused: {refused}") from None
        finally:
            emulator.stop()


if __name__ == "__main__":
    main(run)
