# What a developer does every day; CI runs the same. Every recipe works from a fresh clone.

PYTHON ?= python3

.PHONY: help build check test test-peers docs demo install bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

test-peers: ## against other people's software: docker-registry, skopeo, umoci, buildah, podman, Docker
	set -e; \
	tools/peers.sh; \
	cli=$$($(PYTHON) tools/terraform.py); \
	OCIR_TEST_TERRAFORM="$$cli" OCIR_TEST_PEERS=1 cargo test --locked --test it -- peers image::

docs: ## rewrite docs/ and the golden files
	UPDATE_EXPECT=1 cargo test --locked --test it -- docs schema

demo: ## the motando scenario, applied by a real CLI against the emulator
	@$(PYTHON) tools/demo.py

install: build ## the provider into the plugin directory of this user
	$(PYTHON) tools/mirror.py

bench: build ## figures beside the limits, and beside skopeo if it is installed
	$(PYTHON) tools/bench.py
