# The menu: `make` prints it.
CARGO_TARGET_DIR ?= $(HOME)/.cache/slipway/target
export CARGO_TARGET_DIR
export IMAGE VERSION BINARY BUILD_IMAGE RUNTIME_IMAGE GIT_IMAGE
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/slipway/tools
export PATH := $(TOOLS)/bin:$(PATH)
SLIPWAY := $(CARGO_TARGET_DIR)/debug/slipway

.DEFAULT_GOAL := help
.PHONY: help build weights demo up check test soak fuzz bench bench-files bench-search proto image clean-free

help: ## this menu
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: ## the binary, quick to compile: what demo and up run
	@echo "building slipway (the first time takes some minutes) ..."
	@cargo build --locked --package slipway

weights: ## the embedding weights, into ~/.cache/slipway/models
	@scripts/tools.sh weights

demo: build weights ## the whole way once, on our own Helm chart; CHART=DIR takes another
	@$(SLIPWAY) demo $(if $(CHART),--chart "$(CHART)")

up: build weights ## the suite on 127.0.0.1:50051, until Ctrl-C
	@$(SLIPWAY) up

check: ## formatting, lints, the rules of proto/
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@scripts/tools.sh buf
	@if command -v buf >/dev/null; then buf lint && buf format --diff --exit-code; else echo "SKIPPED: buf lint, buf format: buf cannot be had here"; fi
	@tag=$$(git describe --tags --abbrev=0 2>/dev/null) || { echo "SKIPPED: buf breaking: there is no release to compare with"; exit 0; }; \
	  if command -v buf >/dev/null; then buf breaking --against ".git#tag=$$tag"; fi

test: ## fetches what the tests need, runs everything, ends with the counts
	@scripts/tools.sh all
	@scripts/test.sh

soak: ## every fault to every service and engine while 200 conversations run; TIME=600 SEED=N
	@scripts/tools.sh all
	@SLIPWAY_TEST_SOAK_SECONDS=$(or $(TIME),600) $(if $(SEED),SLIPWAY_TEST_SEED=$(SEED)) cargo test --locked --workspace --test it -- \
	  --nocapture faults::nothing_accepted_is_lost

fuzz: ## hostile archives, edits and documents, a minute each
	@cargo test --locked --workspace -- --ignored --nocapture fuzz_

bench: ## the benchmarks, with a release build
	@tests/bench/run

bench-files: ## commits, reads and stored bytes of the file store beside git's
	@tests/bench/files

bench-search: weights ## searches among up to a million chunks with their recall, and files and tokens indexed a second
	@tests/bench/search

proto: ## lint and format proto/, generate the clients of buf.gen.yaml into gen/
	@scripts/tools.sh buf
	buf lint
	buf format --write
	@if command -v protoc-gen-go >/dev/null && command -v protoc-gen-go-grpc >/dev/null && command -v protoc-gen-es >/dev/null; \
	  then buf generate; \
	  else echo "SKIPPED: buf generate: needs protoc, protoc-gen-go, protoc-gen-go-grpc and protoc-gen-es on the PATH"; fi

image: ## the container image; BINARY=FILE takes a binary built outside, RUNTIME_IMAGE=NAME another base
	@infra/image/build

clean-free: ## frees disk space: builds of profiles that no target here uses, and incremental leftovers
	rm -rf "$(CARGO_TARGET_DIR)"/*/incremental "$(CARGO_TARGET_DIR)"/doc "$(CARGO_TARGET_DIR)"/package
