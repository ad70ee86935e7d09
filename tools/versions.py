#!/usr/bin/env python3
"""Runs the tests of real CLIs by each version of Terraform that we promise, and says how long each took.

A version that lacks something skips what needs it, and a line says so. The newest one has everything: there, a
skipped test is a failure.
"""

import argparse
import os
import re
import subprocess
import sys
import time

import terraform
from common import ROOT, Failure, main

# What comes with them: 1.10 ephemeral resources, 1.11 write-only arguments, 1.12 resource identity, 1.14 queries.
VERSIONS = ("1.10.5", "1.11.4", "1.12.2", "1.14.9", "1.15.5")

TESTS = ("cli::", "protocol::")


def test(cli, *more):
    """Runs the tests by one CLI; gives status, how many passed, and what was skipped."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "OCI_"))}
    environment.update(OCIR_TEST_TERRAFORM=str(cli), OCIR_TEST_REQUIRE_CLI="1", CHECKPOINT_DISABLE="1")
    command = ["cargo", "test", "--quiet", "--locked", "--test", "it", "--", *TESTS, *more]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, errors="replace",
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    passed, skipped = 0, set()
    for line in process.stdout:
        counted = re.match(r"test result: \w+\. (\d+) passed", line)
        if counted:
            passed = int(counted.group(1))
        # The line may come in the middle of another one.
        said = re.search(r"skipped: .*", line)
        if said:
            skipped.add(said.group())
        sys.stdout.write(line)
    return process.wait(), passed, skipped


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=VERSIONS, metavar="X.Y.Z",
                        help="this version; may be given more than once: " + ", ".join(VERSIONS))
    arguments = parser.parse_args()
    if subprocess.run(["cargo", "test", "--locked", "--test", "it", "--no-run"], cwd=ROOT).returncode != 0:
        raise Failure("the tests do not build")

    table, failures = [], []
    for version in arguments.only or VERSIONS:
        cli = terraform.fetch(version, lambda message: print(message, file=sys.stderr))
        print(f"\n== Terraform {version}", flush=True)
        started = time.monotonic()
        status, passed, skipped = test(cli)
        table.append(f"{version:8} {passed:4} passed  {time.monotonic() - started:4.0f} s  {'; '.join(sorted(skipped))}")
        if status != 0 or passed == 0:
            failures.append(f"Terraform {version} fails tests")
        elif skipped and version == VERSIONS[-1]:
            failures.append(f"Terraform {version} has everything, and yet tests were skipped")
    print("\n" + "\n".join(table), flush=True)
    if failures:
        raise Failure("; ".join(failures))


if __name__ == "__main__":
    main(run)
