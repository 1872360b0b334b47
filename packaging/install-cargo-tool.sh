#!/usr/bin/env bash
# Installs a cargo subcommand from crates.io unless it is there: packaging/install-cargo-tool.sh cargo-deny
set -euo pipefail
tool=$1
if ! command -v "$tool" >/dev/null; then
  echo "cargo: installing $tool"
  cargo install --quiet --locked "$tool"
fi
