# Two commands matter: `make dev` and `make test`. Each installs what it lacks, inside .tools/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.tools/python/bin:$(PATH)

.PHONY: help dev watch test fuzz soak test-system test-deploy test-guide smoke bench conformance grammar lint semver clients fingerprint build deploy admin env smoke-deployed audit package packages clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Chosen by binary, as cargo-lambda chooses them: by package, features would differ and all be built again.
FUNCTIONS := admin chats chat sql jobs maintenance

dev: ## run everything on this machine: local DSQL, template.yaml, a chat page, a token (ARGS="--help" says what can be chosen)
	@scripts/install-tools.sh postgres
	@echo "building (the first time takes some minutes)"
	@scripts/install-tools.sh blog & page=$$!; cargo build --locked --bin dev $(FUNCTIONS:%=--bin %); wait $$page
	@exec target/debug/dev $(ARGS)

watch: ## the functions under cargo lambda watch, beside a make dev in another terminal
	@scripts/watch.sh

lint: ## formatting, clippy, documentation, dependencies, scripts
	@scripts/install-tools.sh tools cloud
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet
	PYTHONPATH=$(CLOUD) scripts/check-deps.py
	scripts/check-pins.py
	shellcheck .ci/run scripts/*.sh
	scripts/check-cloud.sh

# Most of a test's time is processes that start and clients that wait: three at once for each processor.
THREADS := $(shell expr 3 '*' "$$(getconf _NPROCESSORS_ONLN)")

test: ## every test, from unit to real clients
	@scripts/install-tools.sh clients ai-sdk mcp sql-clients blog page nuxt node postgres psql pgbouncer jdbc
	scripts/build-release.sh
	RUST_TEST_THREADS=$(THREADS) TEST_PROFILE=release TEST_CLIENTS=$(CURDIR)/.tools/clients cargo test --locked --workspace --no-fail-fast
	@$(MAKE) --no-print-directory test-system

# Of the workspace, so that nothing is built again; connectors and soak have been run on the other server, and an older one
# knows less syntax.
test-system: ## dsql-local's own tests on the system's PostgreSQL, where there is one
	@scripts/install-tools.sh psql
	@RUST_TEST_THREADS=$(THREADS) scripts/with-system-postgres.sh cargo test --locked --workspace --test surfaces -- --skip connectors:: --skip packages:: --skip soak:: --skip postgresql_16 --skip every_command_of_psql

# The same test is in `make test`, for a minute and a half.
soak: ## every route, every fault, at once, against a model (SECONDS=600 or REQUESTS=100000, SEED=: as a run before)
	@scripts/install-tools.sh postgres
	scripts/build-release.sh
	SOAK_SECONDS=$(SECONDS) SOAK_REQUESTS=$(REQUESTS) SOAK_SEED=$(SEED) TEST_PROFILE=release cargo test --locked -p tests --test soak -- --nocapture

# A target is a test named fuzz:: beside the reader that it is about; `make test` runs each with a thousand inputs.
FUZZED := bounded-json http-api chat-store chats chat sql admin jobs maintenance dsql-dialect dsql-local

fuzz: ## mutated inputs for whatever reads what strangers send, half a minute a target (FUZZ_SECONDS=, FUZZ_INPUTS=1000000, FUZZ_SEED=: as a run before, ONLY=jwt)
	@scripts/install-tools.sh postgres
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),$(if $(FUZZ_INPUTS),,30)) FUZZ_INPUTS=$(FUZZ_INPUTS) FUZZ_SEED=$(FUZZ_SEED) \
		cargo test --locked --no-fail-fast $(FUZZED:%=-p %) --lib --test dialect --test surfaces fuzz::$(ONLY) -- --nocapture

smoke: ## what a new user does: a fresh clone, make dev, README's blocks, Ctrl-C, as an unprivileged user
	scripts/smoke.py

bench: ## measure everything, ratios first, into target/bench (ONLY="cold warm": some; QUICK=1: fewer samples)
	@scripts/install-tools.sh tools connectors sql-clients node postgres
	scripts/build-bench.sh
	TEST_PROFILE=release cargo bench --locked --quiet -p benches

fingerprint: ## write into template.yaml what migrations and grants of this source come to
	@cargo run --locked --quiet -p admin --example fingerprint -- template.yaml

test-deploy: ## a deployment's whole life on an emulator: create, change, second stack, roll back, delete, adopt (some minutes)
	@scripts/install-tools.sh tools cloud emulator node postgres
	scripts/build-release.sh
	cargo build --locked --bin dsql-local
	PYTHONPATH=$(CLOUD) PATH="$(CLOUD)/bin:$$PATH" scripts/rehearsal/rehearse.py

test-guide: ## every command of docs/guide.md, as typed, in a fresh clone, on that emulator
	@scripts/install-tools.sh tools cloud emulator node postgres
	scripts/build-release.sh
	cargo build --locked --bin dsql-local
	scripts/rehearsal/guide.py

# This machine's processor, unless another is asked for.
ARCH ?= $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86_64)
CLOUD := $(CURDIR)/.tools/cloud

build: ## the functions as SAM deploys them, into .aws-sam, checked for size and glibc (ARCH=arm64 or x86_64: for another processor; FEATURES=mcp: with the tools of MCP servers)
	@scripts/install-tools.sh tools cloud
	scripts/sam-build.sh $(ARCH)

deploy: $(if $(BUILT),,build) ## needs an AWS account: asks three questions at first, deploys, and tries what came of it (STACK=: another one; BUILT=1: as it was built before)
	@scripts/install-tools.sh node
	@PYTHONPATH=$(CLOUD) PATH="$(CLOUD)/bin:$$PATH" scripts/deploy.py $(STACK)

admin: ## a command to a deployed stack: STACK=dsql-chat COMMAND='create-login name=blog access=owner' (REGION=)
	@scripts/install-tools.sh cloud
	@PYTHONPATH=$(CLOUD) scripts/admin.py "$(STACK)" "$(REGION)" $(COMMAND)

env: ## a deployed stack's API_URL and a visitor's TOKEN, for a shell: STACK=dsql-chat (REGION=, VISITOR=)
	@scripts/install-tools.sh cloud node
	@PYTHONPATH=$(CLOUD) scripts/env.py "$(STACK)" "$(REGION)" "$(VISITOR)"

smoke-deployed: ## what visitors and logins do, done once with a deployed stack: STACK=dsql-chat (REGION=)
	@scripts/install-tools.sh cloud node
	@PYTHONPATH=$(CLOUD) scripts/smoke-deployed.py "$(STACK)" $(REGION)

conformance: ## what was asked of a real cluster, asked of dsql-local: a table by group
	@scripts/install-tools.sh postgres
	cargo test --locked -p dsql-local --test surfaces conformance -- --nocapture

grammar: ## AWS's grammar of DSQL and its linter, beside dsql-local: a table by group (ARGS=-v: each difference); fetches a crate, takes some minutes
	@scripts/install-tools.sh postgres connectors
	cargo build --locked --bin dsql-local
	@mkdir -p target/grammar
	cargo run --locked --release --manifest-path scripts/grammar/Cargo.toml --target-dir target/grammar > target/grammar/verdicts.jsonl
	@scripts/grammar/compare.py target/grammar/verdicts.jsonl $(ARGS)

clients: ## clients of dsql-local, newest versions, into docs/clients.md: needs the registries
	@scripts/install-tools.sh node postgres
	cargo build --locked --bin dsql-local
	scripts/clients/run.py

audit: ## advisories, licences and sources of all crates, by deny.toml; needs the open network and cargo-deny
	cargo deny check

# The tag of the last release, since the registry has none to compare with yet; a crate's version says how much may change.
REV ?= $(shell git describe --tags --abbrev=0 2>/dev/null)

# The tool resolves dependencies anew: to those that this toolchain can build.
semver: ## the public API of dsql, dsql-dialect and dsql-local, compared with that of REV= (default: the last tag); builds its tool first, some minutes
	@[ -n "$(REV)" ] || { echo "there is no tag yet: give a revision to compare with, as in make semver REV=HEAD~20" >&2; exit 1; }
	@scripts/install-tools.sh semver
	CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback PATH="$(CURDIR)/.tools/semver/bin:$$PATH" cargo semver-checks --baseline-rev "$(REV)" -p dsql -p dsql-dialect -p dsql-local

package: ## the crates dsql, dsql-dialect and dsql-local as they would be published: packed, and built from their packages (nothing is uploaded)
	cargo publish --locked --dry-run --allow-dirty -p dsql -p dsql-dialect -p dsql-local

packages: ## dsql-local as Python and npm packages that carry the program, into target/packages (nothing is uploaded)
	cargo build --locked --release --bin dsql-local
	scripts/build-packages.sh target/release/dsql-local target/packages

clean: ## remove what was built, installed and stored here
	cargo clean
	rm -rf .tools .local examples/blog/{dist,node_modules}
