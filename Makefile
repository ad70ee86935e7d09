# What a developer does every day; CI runs the same. Every recipe works from a fresh clone.

PYTHON ?= python3
# What `make bench` is to do, such as --quick
BENCH ?=
# How `make release-check` is to do it: --quick is without optimisation
TWICE ?=

.PHONY: help build check test test-versions test-hosts test-peers docs debug demo install bench release release-check

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## release build of the provider and the emulator
	cargo build --release --locked --bins

check: ## fmt, clippy with warnings as errors, licences and sources of dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(PYTHON) tools/deny.py

test: ## every test that a fresh machine can run; brings a Terraform CLI if none is there
	set -e; \
	cli=$$($(PYTHON) tools/terraform.py); \
	"$$cli" fmt -check -recursive examples; \
	OCIR_TEST_TERRAFORM="$$cli" cargo test --workspace --locked

test-versions: ## the tests of real CLIs, by each version of Terraform that we promise
	$(PYTHON) tools/versions.py

test-hosts: ## the provider driven by a plugin host in Python that is not ours
	$(PYTHON) tools/host.py

test-peers: ## against other people's software: docker-registry, skopeo, umoci, buildah, podman, Docker
	set -e; \
	tools/peers.sh; \
	cli=$$($(PYTHON) tools/terraform.py); \
	OCIR_TEST_TERRAFORM="$$cli" OCIR_TEST_PEERS=1 cargo test --locked --test it -- peers image::

docs: ## rewrite docs/ and the golden files
	UPDATE_EXPECT=1 cargo test --locked --test it -- docs schema

debug: ## start the provider by hand, and print how a CLI attaches to it
	@cargo build --locked --bins
	@cargo run --quiet --locked -- --debug

demo: ## the motando scenario, applied by a real CLI against the emulator
	@$(PYTHON) tools/demo.py

install: build ## the provider into the plugin directory of this user
	$(PYTHON) tools/mirror.py

bench: build ## figures beside their limits, and beside other programs where they are installed
	$(PYTHON) tools/bench.py $(BENCH)

release: ## the archives of VERSION for this machine, with sums, SBOM and OpenTofu's image, in target/dist
	@test -n "$(VERSION)" || { echo "which version? make release VERSION=X.Y.Z" >&2; exit 1; }
	$(PYTHON) tools/release.py build --version "$(VERSION)"

release-check: ## this commit, compiled in two folders as for a release, is the same archive twice
	$(PYTHON) tools/release.py twice $(TWICE)
