# The two commands of the README are `make demo` and `make test`; the rest are their parts.
.DELETE_ON_ERROR:
.PHONY: root demo demo-down test lint unit days soak e2e bench fuzz packages-run packages-test venv release images codegen help

PYTHON ?= python3
VENV   := target/venv
IMAGES := target/images
DEMO   := target/demo
BIN    := target/release
FUZZ   := ec2_query sigv4_canonical qcow2_header poll_reply ledger_file api_config node_config
SECONDS ?= 60
DAYS ?= 10
NEXTEST_PROFILE ?= default
export TEPUI_BOTOCORE = $(abspath $(VENV))/botocore

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo        a cloud with one libvirt host, and a Debian VM launched through the EC2 API
demo: packages-run
	@packaging/demo/demo.sh $(DEMO)

## make demo-down   end the demo's cloud and everything it made
demo-down:
	@packaging/demo/demo-down.sh $(DEMO)

## make test        every test, with formatting, lints and licences; installs what it needs
test: root packages-test venv lint unit days e2e

## make lint        formatting, clippy with denied warnings, licences and walls between crates
lint: packages-test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	packaging/install-cargo-tool.sh cargo-deny
	cargo deny --log-level error check bans licenses sources

# Both build the whole workspace: with the features of one package alone its dependencies would be built again.
## make unit        the tests of every crate
unit: packages-test venv
	packaging/install-cargo-tool.sh cargo-nextest
	cargo nextest run --workspace --locked --profile $(NEXTEST_PROFILE) --filterset 'not package(tepui-tests)'

## make e2e         real daemons, real libvirt, real guests, real EC2 clients
e2e: packages-test venv release images
	packaging/install-cargo-tool.sh cargo-nextest
	cargo nextest run --workspace --locked --profile $(NEXTEST_PROFILE) --filterset 'package(tepui-tests)'

## make days        three days of a thousand simulated hosts, with faults
days: release
	$(BIN)/simulated-day 1 2 3

## make soak        DAYS=10 days of seeds that nobody chose
soak: release
	$(BIN)/simulated-day --random $(DAYS)

## make bench       ratios against rivals in one interleaved run: target/bench/report.md
bench: packages-test venv release images $(VENV)/.bench
	cargo build --release --locked --workspace --example create_overlay --example pool_copies --example pool_export
	$(VENV)/bin/python tests/bench/main.py --out target/bench $(PARTS)

$(VENV)/.bench: packaging/requirements-bench.txt $(VENV)/.done
	@echo "python: rivals of the benchmark"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

## make fuzz        each fuzz target for SECONDS=60; what it finds is kept in fuzz/artifacts (make unit runs
##                  the same targets over their corpora and some mutations)
fuzz: packages-test
	packaging/install-cargo-tool.sh cargo-fuzz
	cd fuzz && for target in $(FUZZ); do \
	  mkdir -p target/corpus/$$target && \
	  cargo fuzz run --sanitizer none $$target target/corpus/$$target corpus/$$target -- \
	    -max_total_time=$(SECONDS) -print_final_stats=1 || exit; \
	done

# Tests make namespaces, mounts and guests.
root:
	@[ "$$(id -u)" -eq 0 ] || { echo "error: the tests need root" >&2; echo "try:   sudo -E make test" >&2; exit 1; }

packages-run:
	@packaging/install-packages.sh run

packages-test:
	@packaging/install-packages.sh test

venv: $(VENV)/.done

# Pinned, so that the EC2 clients of a test run are the ones it was written with.
$(VENV)/.done: packaging/requirements.txt
	@echo "python: EC2 clients in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@ln -sfn "$$($(VENV)/bin/python -c 'import botocore, os; print(os.path.dirname(botocore.__file__))')" $(TEPUI_BOTOCORE)
	@touch $@

release:
	cargo build --release --locked --workspace --bins

images: $(IMAGES)/tiny.qcow2 $(IMAGES)/debian-12.qcow2

$(IMAGES)/%.qcow2: packaging/guest-images/build.sh
	@packaging/guest-images/build.sh $* $@

## make codegen     regenerate the EC2 protocol from the service model
codegen: venv
	cargo run --quiet -p xtask -- ec2-codegen
