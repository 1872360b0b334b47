# shellcheck shell=bash
# What both images share: messages, apt sources, and turning a directory into a bootable disk.
# The single quotes below hold text for apt and for another shell.
# shellcheck disable=SC2016

progress() {
  printf '[%3ds] %s\n' "$SECONDS" "$*"
}

fail() {
  echo "error: $1" >&2
  echo "try:   $2" >&2
  exit 1
}

require_commands() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null ||
      fail "the command '$command' is missing" "packaging/install-packages.sh run"
  done
}

# Changes when a script or a file that goes into the image does.
recipe_digest() {
  local image=$1
  find "$HERE/build.sh" "$HERE/common.sh" "$HERE/$image.sh" "$HERE/$image" -type f -print0 |
    sort -z | xargs -0 cat | sha256sum | cut -d' ' -f1
}

# The address of the mirror that the machine uses for one of its own suites, for example
# "bookworm" or "bookworm-security". A Debian mirror carries every release, so the address also
# serves the release the image is made of.
mirror_of() {
  local suite=$1
  apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v suite="$suite" '$2 == suite && $3 == "main" { print $1; exit }'
}

machine_codename() {
  # shellcheck source=/dev/null
  (. /etc/os-release && echo "$VERSION_CODENAME")
}

# The machine's own checks on the age of its package lists also hold for the image's.
apt_options() {
  apt-config dump --format '%f "%v";%n' Acquire::Check-Valid-Until Acquire::Check-Date
}

# An MBR disk with one ext4 partition that holds the tree and boots it by extlinux.
#   disk_from_tree TREE OUT.raw MIB UUID
# The tree has /boot/extlinux/extlinux.conf. The loop device belongs to the mount and the mount to
# a mount namespace of its own, so both are gone however the build ends.
disk_from_tree() {
  local tree=$1 out=$2 mib=$3 uuid=$4
  local start_mib=1
  truncate -s "${mib}M" "$out"
  echo "start=${start_mib}MiB, type=83, bootable" | sfdisk --quiet --label dos "$out"
  # extlinux reads neither 64-bit block groups nor, through this BIOS, 1 KiB blocks, which small file
  # systems get by default.
  mke2fs -q -t ext4 -b 4096 -I 256 -O ^64bit -m 1 -U "$uuid" -L root -d "$tree" \
    -E "offset=$((start_mib << 20)),root_owner=0:0" "$out" "$(((mib - start_mib) * 1024))k"
  mkdir -p "$WORK/mnt"
  unshare --mount --propagation private bash -euc '
    mount -o "loop,offset=$3,sizelimit=$4" "$1" "$2"
    extlinux --install "$2/boot/extlinux" 2>"$2.log" || { cat "$2.log" >&2; exit 1; }
    umount "$2"
  ' install-loader "$out" "$WORK/mnt" $((start_mib << 20)) $(((mib - start_mib) << 20))
  dd if=/usr/lib/EXTLINUX/mbr.bin of="$out" bs=440 count=1 conv=notrunc status=none
}

# Converts if the name asks for it, and replaces OUT only by a whole, written-out file.
publish() {
  local raw=$1 out=$2 ready=$WORK/ready
  case "$out" in
    *.qcow2)
      progress "compressing"
      qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd "$raw" "$ready"
      ;;
    *) cp --sparse=always "$raw" "$ready" ;;
  esac
  sync "$ready"
  mv "$ready" "$out"
}
