# The only entry for people. `make help` lists every target; CI runs `make check` and `make test` (and, on hosted runners, asks for advisories).

STACK    ?= spin-rust
TOPOLOGY ?= shared
BACKEND  ?= local
BLOB     ?=
ORDERS   ?= 10000

APPS_INSTALLED := apps/node_modules/.package-lock.json

LAB   := cargo run --release --package lab --
SHAPE := --stack $(STACK) --topology $(TOPOLOGY) --backend $(BACKEND) $(if $(BLOB),--blob $(BLOB))

.DEFAULT_GOAL := help
.PHONY: help build lab-up lab-down lab-status lab-logs bench bench-matrix doctor test check fmt bench-parts

help: ## list the targets and the variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "variables: STACK=$(STACK) TOPOLOGY=$(TOPOLOGY) BACKEND=$(BACKEND) (local|k3d|kind|kubernetes) BLOB=azurite|native ORDERS=$(ORDERS)"

build: ## build what STACK and BLOB need into dist/
	$(LAB) build --stack $(STACK) $(if $(BLOB),--blob $(BLOB))

bench: ## start a lab, send ORDERS orders through it, print the throughput, stop it
	$(LAB) bench $(SHAPE) --orders $(ORDERS)

bench-matrix: ## measure every stack in every topology, one after the other: one table
	$(LAB) bench --matrix --backend $(BACKEND) --orders $(ORDERS) $(if $(BLOB),--blob $(BLOB))

lab-up: ## start a lab and leave it running
	$(LAB) up $(SHAPE) --detach

lab-down: ## stop it
	$(LAB) down

lab-status: ## what runs, where, since when
	$(LAB) status

lab-logs: ## the last lines of every log
	$(LAB) logs

doctor: ## what this machine lacks, and the command that helps
	$(LAB) doctor

test: $(APPS_INSTALLED) ## everything: units, official SDKs, command line, end to end
	cd apps && npm test
	cargo test --workspace --exclude spin-host
	cargo test --release --package spin-host

check: $(APPS_INSTALLED) ## formatting, types, lints, licences and sources, workflows
	cargo fmt --all --check
	cargo fmt --manifest-path apps/spin/rust/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cd apps && npm run check
	cargo deny --log-level error check licenses bans sources
	actionlint

fmt: $(APPS_INSTALLED) ## format everything
	cargo fmt --all
	cargo fmt --manifest-path apps/spin/rust/Cargo.toml
	cd apps && npm run format

# What npm writes last when it has installed the packages of the TypeScript stacks.
$(APPS_INSTALLED): apps/package-lock.json
	cd apps && npm ci --no-audit --no-fund

bench-parts: ## measure broker, Dapr, blob store and Spin host alone
	cargo build --release --package servicebus-emulator --package blob-emulator
	cargo bench --package servicebus-emulator --package dapr-emulator --package blob-emulator
	$(LAB) build --stack spin-rust
	cargo bench --package spin-host
