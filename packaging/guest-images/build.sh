#!/usr/bin/env bash
# Builds a guest image from Debian's packages:
#
#   packaging/guest-images/build.sh tiny|debian-12 OUT.qcow2|OUT.raw
#
# Needs root (file ownership inside the image, one loop mount for the boot loader). Uses the
# machine's own apt sources. Does nothing when OUT was made by the same recipe before; delete OUT
# to build it with newer packages.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
# shellcheck source=packaging/guest-images/common.sh
. "$HERE/common.sh"

main() {
  local image=${1:-} out=${2:-}
  case "$image:$out" in
    tiny:*.qcow2 | tiny:*.raw | debian-12:*.qcow2 | debian-12:*.raw) ;;
    *) echo "usage: $0 tiny|debian-12 OUT.qcow2|OUT.raw" >&2; exit 2 ;;
  esac
  [ "$(id -u)" -eq 0 ] || fail "building a guest image needs root" "sudo $0 $image $out"
  require_commands badblocks busybox cpio e2fsck extlinux flock mke2fs mmdebstrap qemu-img resize2fs sfdisk unshare zstd

  mkdir -p "$(dirname "$out")"
  # Two builds of one image, as parallel tests want them, take turns; the second finds it done.
  exec 9>"$out.lock"
  flock 9

  local recipe
  recipe=$(recipe_digest "$image")
  if [ -e "$out" ] && [ "$(cat "$out.recipe" 2>/dev/null)" = "$recipe" ]; then
    progress "$image: $out is up to date"
    return
  fi

  # What a build left that was killed; the lock says that none is under way.
  local work
  work=$(dirname "$out")/.build-$(basename "$out")
  rm -rf --one-file-system "$work".*
  WORK=$(mktemp -d "$work.XXXXXX")
  trap 'rm -rf --one-file-system "$WORK"' EXIT
  trap 'exit 130' INT TERM HUP

  # shellcheck source=/dev/null
  . "$HERE/$image.sh"
  build_disk "$WORK/disk.raw"
  publish "$WORK/disk.raw" "$out"
  echo "$recipe" >"$out.recipe"
  progress "$image: $out has $(du -m "$out" | cut -f1) MiB"
}

main "$@"
