#!/usr/bin/env bash
# make demo-down: ends the demo's cloud; nothing of it stays on the machine.
#
#   packaging/demo/demo-down.sh DIR
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly DIR=${1:?usage: packaging/demo/demo-down.sh DIR}
readonly TEPUI=target/release/tepui

if [ ! -e "$DIR" ]; then
  echo "no demo in $DIR"
elif [ "$(id -u)" -ne 0 ]; then
  echo "error: ending the demo needs root, as starting it did" >&2
  echo "try:   sudo -E make demo-down" >&2
  exit 1
else
  exec "$TEPUI" dev down --dir "$DIR"
fi
