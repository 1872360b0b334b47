#!/usr/bin/env bash
# Installs the Debian packages that `make demo` and `make test` need.
#
#   packaging/install-packages.sh run|test [--dry-run]
#
# Shows what is missing before it installs it; does nothing when nothing is missing.
# The backports suite is added only where qemu-utils already comes from it: stock QEMU
# would conflict with it there, and on every other machine stock packages are right.
set -euo pipefail

readonly BACKPORTS_LIST=/etc/apt/sources.list.d/tepui-backports.sources
# Whether packages may start their services (invoke-rc.d(8)); one that is there is the machine's own.
readonly POLICY=/usr/sbin/policy-rc.d
readonly RUN_PACKAGES=(
  build-essential pkg-config ca-certificates curl
  libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients libvirt-dev
  qemu-system-x86 qemu-utils
  iproute2 nftables dnsmasq-base
  mmdebstrap e2fsprogs fdisk extlinux syslinux-common cpio zstd busybox-static
  openssh-client python3 python3-venv
)
readonly TEST_PACKAGES=(
  iputils-arping iputils-ping libfaketime strace
  tgt xfsprogs btrfs-progs qemu-block-extra libiscsi-bin
  nfs-ganesha nfs-ganesha-vfs rpcbind nfs-common libnfs-utils
)

main() {
  local purpose=${1:-} dry_run=${2:-}
  local wanted
  case "$purpose" in
    run) wanted=("${RUN_PACKAGES[@]}") ;;
    test) wanted=("${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}") ;;
    *) echo "usage: $0 run|test [--dry-run]" >&2; exit 2 ;;
  esac

  local missing=()
  for package in "${wanted[@]}"; do
    installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    echo "packages: all ${#wanted[@]} are installed"
    return
  fi
  echo "packages: to install with apt: ${missing[*]}"
  [ "$dry_run" = "--dry-run" ] && return
  if [ "$(id -u)" -ne 0 ]; then
    echo "error: installing packages needs root" >&2
    echo "try:   sudo -E make $([ "$purpose" = run ] && echo demo || echo test)" >&2
    exit 1
  fi

  # First, as apt knows its sources' suites only from the indexes, which an image may come without.
  apt-get update -qq
  local suite=()
  if qemu_is_from_backports; then
    add_backports
    suite=(-t bookworm-backports)
  fi
  # No service may start by itself: the demo runs a libvirtd of its own and never the machine's, and tests servers of
  # volumes of their own, whose ports the machine's would have.
  if [ ! -e "$POLICY" ]; then
    trap 'rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
  fi
  DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${suite[@]}" "${missing[@]}" \
    -o Dpkg::Use-Pty=0 >/dev/null
  echo "packages: installed ${#missing[@]}"
}

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

qemu_is_from_backports() {
  dpkg-query -W -f '${Version}' qemu-utils 2>/dev/null | grep -q '~bpo12+'
}

# The mirror's address is the one the machine already uses for the release itself.
add_backports() {
  [ -e "$BACKPORTS_LIST" ] && return
  local mirror
  mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
  if [ -z "$mirror" ]; then
    echo "error: no apt source for bookworm/main is configured, so its backports cannot be found" >&2
    exit 1
  fi
  echo "packages: adding suite bookworm-backports in $BACKPORTS_LIST (qemu-utils is from it)"
  cat >"$BACKPORTS_LIST" <<EOT
Types: deb
URIs: $mirror
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOT
  apt-get update -qq
}

main "$@"
