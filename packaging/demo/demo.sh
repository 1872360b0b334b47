#!/usr/bin/env bash
# make demo: from this checkout to a Debian VM that was launched through the EC2 API and ran its
# user data. Every part is kept, so that a second run takes seconds.
#
#   packaging/demo/demo.sh DIR      (DIR/env is for your shell)
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly DIR=${1:?usage: packaging/demo/demo.sh DIR}
readonly IMAGE=target/images/debian-12.qcow2
readonly TEPUI=target/release/tepui

main() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "error: the demo makes network namespaces and starts a libvirtd of its own, which needs root" >&2
    echo "try:   sudo -E make demo" >&2
    exit 1
  fi
  mkdir -p target
  : >target/.demo-stages
  stage "build release binaries" make --no-print-directory release
  stage "install the AWS SDK for Python" make --no-print-directory venv
  stage "build the Debian guest image" make --no-print-directory "$IMAGE"
  stage "start the cloud" "$TEPUI" dev up --dir "$DIR"
  # shellcheck disable=SC1091  # written by the line above
  . "$DIR/env"
  stage "import the image" import_image
  exec target/venv/bin/python packaging/demo/demo.py --dir "$DIR" --stages target/.demo-stages
}

# Runs a command with its own output on the screen and notes its seconds.
stage() {
  local name=$1 start end
  shift
  echo "== $name" >&2
  start=$(date +%s.%N)
  "$@" >&2
  end=$(date +%s.%N)
  echo "$start $end $name" >>target/.demo-stages
}

import_image() {
  "$TEPUI" image show debian-12 >/dev/null 2>&1 ||
    "$TEPUI" image import "$IMAGE" --name debian-12 --login-user debian
}

main
