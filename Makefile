# Two commands matter: `make dev` and `make test`. Each installs what it lacks, inside .tools/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.tools/python/bin:$(PATH)

.PHONY: help dev watch test test-system smoke bench conformance lint build build-check deploy audit clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Chosen by binary, as cargo-lambda chooses them: by package, features would differ and all be built again.
FUNCTIONS := admin chats chat sql jobs maintenance

dev: ## run everything on this machine: local DSQL, template.yaml, a chat page, a token (ARGS="--help" says what can be chosen)
	@scripts/install-tools.sh postgres
	@echo "building (the first time takes some minutes)"
	@cargo build --locked --bin dev $(FUNCTIONS:%=--bin %)
	@exec target/debug/dev $(ARGS)

watch: ## the functions under cargo lambda watch, beside a make dev in another terminal
	@scripts/watch.sh

lint: ## formatting, clippy, documentation, dependencies, scripts
	@scripts/install-tools.sh tools
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet
	scripts/check-deps.py
	shellcheck .ci/run scripts/*.sh
	scripts/check-cloud.sh

test: ## every test, from unit to real clients
	@scripts/install-tools.sh clients ai-sdk sql-clients page node postgres psql
	scripts/build-release.sh
	TEST_PROFILE=release TEST_CLIENTS=$(CURDIR)/.tools/clients cargo test --locked --workspace --no-fail-fast
	@$(MAKE) --no-print-directory test-system

# Of the workspace, so that nothing is built again; connectors and soak have been run on the other server.
test-system: ## dsql-local's own tests on the system's PostgreSQL, where there is one
	@scripts/install-tools.sh psql
	@scripts/with-system-postgres.sh cargo test --locked --workspace --test surfaces -- --skip connectors:: --skip soak::

smoke: ## what a new user does: a fresh clone, make dev, README's blocks, Ctrl-C, as an unprivileged user
	scripts/smoke.py

bench: ## measure everything, ratios first, into target/bench (ONLY="cold warm": some; QUICK=1: fewer samples)
	@scripts/install-tools.sh tools connectors sql-clients node postgres
	scripts/build-bench.sh
	TEST_PROFILE=release cargo bench --locked --quiet -p benches

ARCH ?= arm64

build: ## the functions as SAM deploys them, into .aws-sam (ARCH=x86_64 needs no further Rust target)
	@scripts/install-tools.sh tools cloud
	scripts/sam-build.sh $(ARCH)

build-check: ## build for x86_64, then check zip sizes and glibc symbol versions (some minutes)
	@scripts/install-tools.sh tools cloud
	scripts/sam-build.sh x86_64
	scripts/check-build.py

deploy: build ## needs an AWS account and the network (ARCH=x86_64: with Architecture=x86_64 among the parameters)
	PYTHONPATH=$(CURDIR)/.tools/cloud .tools/cloud/bin/sam deploy

conformance: ## what was asked of a real cluster, asked of dsql-local: a table by group
	@scripts/install-tools.sh postgres
	cargo test --locked -p dsql-local --test surfaces conformance -- --nocapture

audit: ## the advisory database; needs the open network and cargo-deny
	cargo deny check advisories

clean: ## remove what was built, installed and stored here
	cargo clean
	rm -rf .tools .local
