"""Pushes beside other programs: the same image, to the same kind of registry, in the same run.

What is ours is a whole `terraform apply`: Terraform itself, plan, reading, compressing and sending together. What the others do
is one command. So each figure is given twice: as it is, and less what an apply costs in which our provider has no part (a
`terraform_data`; that the provider has to be started stays with us). Processor time is the program's with all that it started.
Where the bytes are all that counts, there is a third, in which from both is taken what the same costs when the registry has
everything (and our state nothing): what is left is what the bytes took. A floor does nothing else, and stays as it is.

Who is compared takes turns: ours, theirs, ours, theirs. A ratio is the median of the ratios of the turns.
"""

import os
import resource
import shutil
import time
from pathlib import Path

import bench_image
import bench_rivals
from bench_registry import NAMESPACE, DockerRegistry, EmulatorRegistry, Tls, in_a_row, place
from bench_table import median
from common import Failure

MEMORY_LIMIT = 40
TAGS = ("1", "1.0", "stable")

# Megabytes that each of many images has of its own.
OWN = (1, 25)

# Who is compared with, as it reads after "of".
NAMES = {"skopeo cold": "skopeo's push of the first", "floor": "the bytes' floor", "floor with mounts": "that floor with mounts",
         "skopeo copies": "as many skopeo copies",
         **{name: f"{name}'s" for name in ("skopeo", "crane", "oras", "regctl", "docker", "curl")}}

# Who does nothing but send.
FLOORS = ("curl", "floor", "floor with mounts")

NOTHING = 'resource "terraform_data" "this" {\n  count = %d\n  input = count.index\n}\n'

PROVIDER = """
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}

variable "image" {}
"""

ONE = PROVIDER + """
resource "ocir_image_push" "this" {
  source          = var.image
  namespace       = "bench"
  repository      = "web"
  tag             = "1"
  additional_tags = [%s]
}
"""

MANY = PROVIDER + """
resource "ocir_image_push" "this" {
  count      = %d
  source     = "${var.image}:${count.index}"
  namespace  = "bench"
  repository = "app-${count.index}"
  tag        = "1"
}
"""


class Usage:
    """What some work took: seconds, seconds of processors, and the bytes that the registry had afterwards."""

    def __init__(self, seconds, processor, stored=None):
        self.seconds, self.processor, self.stored = seconds, processor, stored


class Pushes:
    """The cases. `bench` brings CLI, provider, and folders."""

    def __init__(self, bench, table, options):
        self.bench = bench
        self.table = table
        self.runs = options.pushes
        self.count = options.images
        self.options = options
        self.folder = bench.folder / "pushes"
        self.folder.mkdir()
        self.cache = self.folder / "cache"
        self.tls = Tls(self.folder / "tls")
        self.curl = bench_rivals.Curl(self.folder) if shutil.which("curl") else None
        self.rivals = []

    def run(self, wanted):
        """The sections that are wanted."""
        known = [kind(self.folder) for kind in bench_rivals.ALL]
        try:
            self._find(known)
            self._run(wanted)
        finally:
            for rival in known:
                rival.close()

    def _find(self, known):
        """Whom we are compared with."""
        missing = [] if self.curl else ["curl is not installed"]
        for rival in known:
            problem = rival.missing()
            if problem:
                missing.append(problem)
            else:
                self.rivals.append(rival)
        if missing:
            self.table.note(f"Not compared: {'; '.join(missing)}.")

    def _run(self, wanted):
        self.small = bench_image.small(self.bench.kept, self.bench.say)
        self.place, kept = place(2 * self.small.size, self.folder)
        sections = {"layout": self.layouts, "archive": self.archives, "small": self.smalls, "unchanged": self.unchanged,
                    "latency": self.latency, "many": self.many}
        if set(wanted) & {"layout", "archive", "unchanged", "many"}:
            self.big = bench_image.big(self.bench.kept, self.options.megabytes, self.options.debian, self.bench.say)
            self.place, kept = place(4 * self.big.raw + self.count * OWN[-1] * 1_000_000, self.folder)
            self.name = f"{self.big.raw / 1e9:.1f} GB"
            self.table.note(f"The big image: {self.big.title}, {len(self.big.layers)} layers, {self.big.raw / 1e6:.0f} MB raw, "
                            f"{self.big.size / 1e6:.0f} MB as gzip. The small one: {self.small.size / 1e6:.1f} MB.")
        self.table.note(f"Registries on loopback, their storage {kept}. Medians of {self.runs} turns.")
        for name in wanted:
            if name in sections:
                sections[name]()

    # The sections.

    def layouts(self):
        """A layout with gzip layers, to an empty registry."""
        self.table.section(f"Image layout, {self.name} (as gzip {self.big.size / 1e6:.0f} MB), cold")
        beside_tls = {"skopeo": (0.65, 0.5), "crane": (0.8, 0.8)}
        for kind in (DockerRegistry, EmulatorRegistry):
            self._cold(f"{kind.title}, TLS", kind, self.tls, f"oci:{self.big.layout}:1", beside_tls)
            self._cold(f"{kind.title}, plain", kind, None, f"oci:{self.big.layout}:1", {"curl": (1.05, None)})

    def archives(self):
        """A `docker save` archive with raw layers: cold, with one layer changed, and as it was."""
        self.table.section(f"docker-archive with raw layers, {self.name}")
        limits = {"skopeo": (0.55, 0.5)}
        source = f"docker-archive:{self.big.archive}"
        self._cold("docker-registry, plain, cold (goal 0.4)", DockerRegistry, None, source, limits)
        self._cold("emulator, TLS, cold (goal 0.4)", EmulatorRegistry, self.tls, source, limits)
        self._after_a_change()

    def smalls(self):
        """Five megabytes, where the programs' own start counts most."""
        self.table.section(f"Small image, {self.small.size / 1e6:.0f} MB, cold")
        for kind in (DockerRegistry, EmulatorRegistry):
            for tls in (self.tls, None):
                self._cold(f"layout, {kind.title}, {'TLS' if tls else 'plain'}", kind, tls, f"oci:{self.small.layout}:1", {},
                           small=True)
        self._cold("docker-archive, docker-registry, plain", DockerRegistry, None, f"docker-archive:{self.small.archive}", {},
                   small=True)

    def unchanged(self):
        """What is asked, and how long it takes, when there is nothing to send."""
        for kind in (DockerRegistry, EmulatorRegistry):
            self.table.section(f"Nothing to send, {self.name}, {kind.title}")
            self._warm(kind)

    def latency(self):
        """A distant registry."""
        delay = self.options.delay
        self.table.section(f"Small image, {self.small.size / 1e6:.0f} MB, layout, plain, {delay} ms added to every request")
        for kind in (DockerRegistry, EmulatorRegistry):
            self._distant(kind, delay / 1000)

    def many(self):
        """Many images with one base in one apply: with next to nothing of their own, and with as much as applications have."""
        for own in OWN:
            self.table.section(f"{self.count} images that share {self.name} of base, with {own} MB of their own, docker-registry, plain")
            self._many(own)

    # The cases.

    def _cold(self, title, kind, tls, source, limits, small=False):
        """To an empty registry, without anything that was kept."""
        # Of a layout nothing has to be read before it is sent.
        sends_only = not small and source.startswith("oci:")
        there = {}

        def again(name, work):
            usage = work() if sends_only else None
            if usage:
                there.setdefault(name, []).append(usage)

        def ours(wrapped=False):
            self._forget()
            with self._registry(kind, tls) as registry:
                usage = self._apply(registry, source, wrapped=wrapped)
                usage.stored = registry.stored()
                if not wrapped:
                    again("ours", self._over_again)
            return usage

        def theirs(rival):
            rival.forget()
            with self._registry(kind, tls) as registry:
                usage = self._push(rival, registry, source)
                if usage:
                    usage.stored = registry.stored()
                    again(rival.name, lambda: self._push(rival, registry, source))
            return usage

        contenders = {"nothing": self._nothing, "ours": ours}
        contenders.update((rival.name, lambda rival=rival: theirs(rival)) for rival in self.rivals)
        if "curl" in limits and self.curl:
            contenders["curl"] = lambda: self._floor(kind, tls, source)
        turns = self._turns(contenders, self.runs * (3 if small else 1))
        self._compare(title, turns, limits, "ms" if small else "s", processor=not small, bytes_limit=None if small else 1.03,
                      there=there)
        self._provider(lambda: ours(wrapped=True), None if small else turns)
        if not small:
            for rival in self.rivals:
                rival.forget()
                with self._registry(kind, tls) as registry:
                    self._peak_of(rival, registry, source)

    def _after_a_change(self):
        """The archive is pushed; planned again as it is; pushed again with one layer of seven changed."""
        source = self.folder / "current.tar"
        ours, again, cold, nothing = [], [], [], []
        plans = {"unchanged": [], "fresh machine: no cache": [], "fresh machine: no cache, no state": []}

        def first(registry, wrapped=False):
            self._forget()
            _place(self.big.archive, source)
            # A file that was written less than two seconds ago may have changed since without showing it.
            time.sleep(2.1)
            self._apply(registry, f"docker-archive:{source}", wrapped=wrapped)

        skopeo = next((rival for rival in self.rivals if rival.name == "skopeo"), None)
        for _ in range(self.runs):
            with self._registry(DockerRegistry) as registry:
                first(registry)
                plans["unchanged"].append(self._plan_over_nothing())
                shutil.rmtree(self.cache)
                plans["fresh machine: no cache"].append(self._plan_over_nothing())
                with self._without_state():
                    shutil.rmtree(self.cache, ignore_errors=True)
                    plans["fresh machine: no cache, no state"].append(self._plan_over_nothing())
            with self._registry(DockerRegistry) as registry:
                first(registry)
                nothing.append(self._nothing())
                _place(self.big.changed, source)
                ours.append(self._apply(registry, f"docker-archive:{source}", keep=True))
            if skopeo:
                skopeo.forget()
                with self._registry(DockerRegistry) as registry:
                    cold.append(self._push(skopeo, registry, f"docker-archive:{self.big.archive}"))
                    again.append(self._push(skopeo, registry, f"docker-archive:{self.big.changed}"))
        title = "one layer of seven changed"
        if skopeo:
            self._compare(title, {"nothing": nothing, "ours": ours, "skopeo cold": cold}, {"skopeo cold": (0.2, None)}, "s")
            self._compare(f"{title}, after both pushed the first", {"nothing": nothing, "ours": ours, "skopeo": again}, {}, "s")
        with self._registry(DockerRegistry) as registry:
            first(registry, wrapped=True)
            _place(self.big.changed, source)
            self._provider(lambda: self._apply(registry, f"docker-archive:{source}", keep=True, wrapped=True))
        for what, seconds in plans.items():
            # Without state the digest has to be computed: what the registry has is not trusted.
            limit = None if "no state" in what else 200
            self.table.row(f"plan, {what}; over an empty plan", median(seconds) * 1000, "ms", limit, [it * 1000 for it in seconds])
        with self._registry(DockerRegistry) as registry:
            first(registry, wrapped=True)
            shutil.rmtree(self.cache)
            with self._without_state():
                self._provider(lambda: self._plan(exact=False))
        source.unlink(missing_ok=True)

    def _warm(self, kind):
        """Requests, counted by the registry, and time when the image is there."""
        tags = TAGS
        for title, source in (("layout", f"oci:{self.big.layout}:1"), ("archive", f"docker-archive:{self.big.archive}")):
            self._forget()
            with self._registry(kind, proxy_delay=0) as registry:
                self._apply(registry, source, tags=tags)
                folder, environment = self.last
                registry.forget()
                usages = []
                for _ in range(self.runs):
                    base = self._plan_and_apply(*self._nothing_workspace())
                    usage = self._plan_and_apply(folder, environment)
                    usages.append((usage.seconds - base.seconds) * 1000)
                self._requests(f"{title}, nothing changed, {len(tags)} tags: requests of refresh, plan, apply", registry, len(tags),
                               runs=self.runs)
                self.table.row("  wall, over the same without our provider", median(usages), "ms", None, usages)

                for what, forgets_cache in (("there, not in the state", False), ("there, not in the state, no cache", True)):
                    usages = []
                    for _ in range(self.runs):
                        if forgets_cache:
                            shutil.rmtree(self.cache, ignore_errors=True)
                        (folder / "terraform.tfstate").unlink()
                        base = self._nothing()
                        registry.forget()
                        usage = self._usage(self._apply_again)
                        usages.append((usage.seconds - base.seconds) * 1000)
                    # Each further tag is looked at, too.
                    self._requests(f"{title}, {what}, {len(tags)} tags: requests", registry, 2 + len(tags) - 1)
                    self.table.row("  wall, over an apply of nothing", median(usages), "ms", None, usages)

            self._forget()
            with self._registry(kind, proxy_delay=0) as registry:
                self._apply(registry, source)
                (self.last[0] / "terraform.tfstate").unlink()
                registry.forget()
                self._apply_again()
                self._requests(f"{title}, there, not in the state, one tag: requests", registry, 2)
            for rival in self.rivals:
                rival.forget()
                with self._registry(kind, proxy_delay=0) as registry:
                    if not self._push(rival, registry, source):
                        continue
                    registry.forget()
                    usages = [self._push(rival, registry, source).seconds * 1000 for _ in range(self.runs)]
                    self.table.row(f"  {rival.name}, the second push: requests",
                                   len([it for it in registry.requests() if not it.about_token]) / self.runs, "")
                    self.table.row(f"  {rival.name}, the second push: wall", median(usages), "ms", None, usages)
            self._forget()
            with self._registry(kind) as registry:
                self._apply(registry, source, wrapped=True)
                self._provider(self._apply_again)

    def _distant(self, kind, delay):
        source = f"oci:{self.small.layout}:1"
        last = {}

        def ours():
            self._forget()
            with self._registry(kind, proxy_delay=delay) as registry:
                usage = self._apply(registry, source)
                last["ours"] = registry.requests()
            return usage

        def theirs(rival):
            rival.forget()
            with self._registry(kind, proxy_delay=delay) as registry:
                registry.forget()
                usage = self._push(rival, registry, source)
                last[rival.name] = registry.requests()
            return usage

        contenders = {"nothing": self._nothing, "ours": ours}
        contenders.update((rival.name, lambda rival=rival: theirs(rival)) for rival in self.rivals)
        turns = self._turns(contenders, self.runs)
        self._compare(f"{kind.title}, cold", turns, {}, "ms", processor=False)
        for name in (name for name in turns if name in last):
            whose = "requests" if name == "ours" else f"{name}'s requests"
            self.table.row(f"  {whose}", len(last[name]), "")
            self.table.row(f"  {whose} that wait for one another", in_a_row(last[name]), "")
        times, chains = [], []
        self._forget()
        with self._registry(kind, proxy_delay=delay) as registry:
            self._apply(registry, source)
            for _ in range(self.runs):
                registry.forget()
                times.append(self._plan_over_nothing() * 1000)
                chains.append(in_a_row(registry.requests()))
        self.table.row(f"{kind.title}, unchanged: plan, over an empty plan", median(times), "ms", None, times)
        self.table.row("  requests that wait for one another, sign-in included", median(chains), "")

    def _many(self, own):
        layout, tags = bench_image.many(self.folder, self.big, self.count, own * 1_000_000)
        source, configuration = f"oci:{layout}", MANY % self.count
        there, uploaded, distinct = {"ours": []}, [], len(list((layout / "blobs" / "sha256").iterdir())) - self.count

        def ours(wrapped=False):
            self._forget()
            with self._registry(DockerRegistry) as registry:
                usage = self._apply(registry, source, configuration=configuration, wrapped=wrapped)
                uploaded.append(sum(it.stores_blob for it in registry.requests()))
                if not wrapped:
                    there["ours"].append(self._over_again())
            return usage

        def floor(repository):
            with self._registry(DockerRegistry) as registry:
                targets = {tag: f"{NAMESPACE}/{repository(tag)}" for tag in tags}
                return self._usage(lambda: self.curl.push(registry, targets, layout))

        def skopeo(rival):
            rival.forget()
            with self._registry(DockerRegistry) as registry:
                return self._usage(lambda: [self._push(rival, registry, f"{source}:{tag}", f"app-{tag}:1") for tag in tags])

        contenders = {"nothing": lambda: self._nothing(self.count), "ours": ours}
        if self.curl:
            contenders["floor"] = lambda: floor(lambda tag: "all")
            contenders["floor with mounts"] = lambda: floor(lambda tag: f"app-{tag}")
        turns = self._turns(contenders, self.runs)
        # Many commands, and they take long.
        for rival in self.rivals:
            if rival.name == "skopeo" and own == OWN[0]:
                turns["skopeo copies"] = [skopeo(rival)] * self.runs
        self.table.row("blobs uploaded, and how many there are", max(uploaded), "", distinct)
        # The floor is the bytes': curl sends each blob once, to one repository, and puts the manifests there. The
        # other one also has what every repository has to be asked for, which a registry on these two cores takes time for.
        self._compare("one apply", turns, {"floor": (1.2, None), "floor with mounts": (1.2, None)}, "s", there=there)
        self._provider(lambda: ours(wrapped=True))
        shutil.rmtree(layout)

    # How it is compared.

    def _turns(self, contenders, runs):
        """Everybody in turn, several times. Who fails is left out of it from then on, and named."""
        turns = {name: [] for name in contenders}
        for _ in range(runs):
            for name in list(turns):
                usage = contenders[name]()
                if usage is None:
                    del turns[name]
                else:
                    turns[name].append(usage)
        return turns

    def _compare(self, title, turns, limits, unit, processor=True, bytes_limit=None, there=None):
        """Ours beside each of the others, as it is, less an apply of nothing, and each less what it took when all was `there`."""
        scale = 1000 if unit == "ms" else 1
        ours = turns["ours"]
        wall, work = (median(getattr(it, what) for it in turns["nothing"]) for what in ("seconds", "processor"))
        rest = {name: usages for name, usages in turns.items() if name not in ("nothing", "ours")}
        if not rest:
            self.table.row(title, median(it.seconds for it in ours) * scale, unit, None, [it.seconds * scale for it in ours])
        there = there or {}

        def idle(who, what):
            return median([getattr(it, what) for it in there.get(who, ())] or [0])

        counting = [rival.name for rival in self.rivals if rival.counts]
        for name, theirs in rest.items():
            wall_limit, work_limit = limits.get(name, (None, None))
            self._ratio(f"{title}: wall, of {NAMES.get(name, name)}", ours, theirs, "seconds", 0, wall_limit, unit)
            self._ratio("  less an apply of nothing", ours, theirs, "seconds", wall, wall_limit, unit)
            bytes_only = "ours" in there and (name in there or name in FLOORS)
            if bytes_only:
                self._ratio("  less the same with nothing to send", ours, theirs, "seconds", idle("ours", "seconds"), wall_limit,
                            unit, idle(name, "seconds"))
            if processor and (name in counting or work_limit):
                self._ratio("  processor time", ours, theirs, "processor", 0, work_limit, unit)
                self._ratio("  processor time, less an apply of nothing", ours, theirs, "processor", work, work_limit, unit)
                if bytes_only:
                    self._ratio("  processor time, less the same with nothing to send", ours, theirs, "processor",
                                idle("ours", "processor"), work_limit, unit, idle(name, "processor"))
            if bytes_limit and name == "skopeo":
                ratio = ours[-1].stored / theirs[-1].stored
                self.table.row("  bytes that the registry has, of skopeo's", ratio, "×", bytes_limit, (),
                               ([ours[-1].stored / 1e6, theirs[-1].stored / 1e6], "MB"))

    def _ratio(self, title, ours, theirs, what, less, limit, unit, their_less=0):
        scale = 1000 if unit == "ms" else 1
        ours, theirs = [getattr(it, what) - less for it in ours], [getattr(it, what) - their_less for it in theirs]
        ratios = [us / them for us, them in zip(ours, theirs)]
        self.table.row(title, median(ratios), "×", limit, ratios, ([median(ours) * scale, median(theirs) * scale], unit))

    def _provider(self, work, turns=None):
        """What the provider's processes took of it, in a turn that is not compared: who is watched is slower."""
        peak, processor = self.bench.observed(work)
        if turns and "skopeo" in turns:
            theirs = median(it.processor for it in turns["skopeo"])
            self.table.row("  provider's own processor time, of skopeo's", processor / theirs, "×", None, (),
                           ([processor, theirs], "s"))
        self.table.row("  provider's peak memory", peak, "MiB", MEMORY_LIMIT)

    def _peak_of(self, rival, registry, source):
        command = rival.command(registry, source, f"{registry.authority}/{NAMESPACE}/web:1")
        if command and rival.counts:
            self.table.row(f"  {rival.name}'s peak memory", self.bench.peak_of(command, rival.environment(registry)), "MiB")

    def _requests(self, title, registry, limit, runs=1):
        """How many requests there were beside the token's; none of them may have sent anything."""
        requests = [it for it in registry.requests() if not it.about_token]
        self.table.row(title, len(requests) / runs, "", limit)
        self.table.row("  of them with something to send", sum(it.sends for it in requests), "", 0)

    # How it is done.

    def _registry(self, kind, tls=None, proxy_delay=None):
        return kind(self.bench, self.place / f"ocir-bench-{os.getpid()}", tls, proxy_delay)

    def _apply(self, registry, image, configuration=None, tags=("1",), wrapped=False, keep=False):
        """Ours: an apply of a configuration in a folder of its own, or in the last one."""
        if not keep:
            self.last = self._workspace(registry, image, configuration or ONE % ", ".join(f'"{tag}"' for tag in tags[1:]), wrapped)
        return self._usage(self._apply_again)

    def _apply_again(self):
        """An apply of what the last folder has."""
        self.bench.cli_run(*self.last, "apply", "-input=false", "-auto-approve")

    def _over_again(self):
        """An apply of what the last folder has, when all of it is there and the state is empty."""
        (self.last[0] / "terraform.tfstate").unlink()
        return self._usage(self._apply_again)

    def _workspace(self, registry, image, configuration, wrapped):
        plugins = self.bench.measuring_mirror() if wrapped else self.bench.plain_mirror()
        environment = {**registry.environment(plugins), "TF_VAR_image": image, "OCIR_CACHE_DIR": str(self.cache)}
        return self.bench.workspace("push-case", configuration + registry.provider(), environment), environment

    def _plan(self, exact=True):
        """A plan that shows nothing to do, or any plan."""
        return self.bench.cli_run(*self.last, "plan", "-input=false", *(["-detailed-exitcode"] if exact else []))

    def _plan_over_nothing(self):
        """Seconds of a plan in the last folder that are not those of one without our provider."""
        has_state = (self.last[0] / "terraform.tfstate").exists()
        base = self.bench.cli_run(*self._nothing_workspace(), "plan", "-input=false")
        return self._plan(exact=has_state) - base

    def _plan_and_apply(self, *workspace):
        def both():
            self.bench.cli_run(*workspace, "plan", "-input=false", "-out=plan")
            self.bench.cli_run(*workspace, "apply", "-input=false", "plan")

        return self._usage(both)

    def _nothing(self, count=1):
        """An apply in which we have no part."""
        folder, environment = self._nothing_workspace(count)
        (folder / "terraform.tfstate").unlink(missing_ok=True)
        return self._usage(
            lambda: self.bench.cli_run(folder, environment, "apply", "-input=false", "-auto-approve"))

    def _nothing_workspace(self, count=1):
        folder = self.bench.folder / f"nothing-{count}"
        environment = self.bench.offline_environment(self.bench.plain_mirror())
        if not folder.is_dir():
            self.bench.workspace(folder.name, NOTHING % count, environment)
        return folder, environment

    def _without_state(self):
        return _Aside(self.last[0] / "terraform.tfstate")

    def _push(self, rival, registry, source, target="web:1"):
        """Theirs, or None where they cannot."""
        target = f"{registry.authority}/{NAMESPACE}/{target}"
        command = rival.command(registry, source, target)
        if not command:
            return None
        try:
            rival.prepare(registry, source, target)
            environment = rival.environment(registry)
            return self._usage(lambda: bench_rivals.run(command, environment))
        except Failure as failure:
            self.rivals = [it for it in self.rivals if it is not rival]
            self.table.note(f"{rival.name} was left out when it failed. {str(failure).strip()}", below=True)
            return None

    def _floor(self, kind, tls, source):
        layout, _, tag = source.partition(":")[2].rpartition(":")
        with self._registry(kind, tls) as registry:
            usage = self._usage(lambda: self.curl.push(registry, {tag: f"{NAMESPACE}/web"}, Path(layout)))
            usage.stored = registry.stored()
            return usage

    def _usage(self, work):
        started, before = time.perf_counter(), _processor()
        work()
        return Usage(time.perf_counter() - started, _processor() - before)

    def _forget(self):
        """Nothing is known from before."""
        shutil.rmtree(self.cache, ignore_errors=True)


class _Aside:
    """A file that is away for a while."""

    def __init__(self, path):
        self.path, self.aside = path, path.with_name("aside")

    def __enter__(self):
        self.path.rename(self.aside)

    def __exit__(self, *_):
        self.aside.rename(self.path)


def programs():
    """What is missing for this, if anything."""
    return [name for name in ("docker-registry", "openssl") if not shutil.which(name)]


def _place(image, path):
    """The image under another name, as whoever builds it anew would leave it there."""
    path.unlink(missing_ok=True)
    shutil.copyfile(image, path)


def _processor():
    """Of all children that have ended. The registry has not: it runs until its case is over."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
