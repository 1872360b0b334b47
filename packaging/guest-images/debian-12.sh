# shellcheck shell=bash
# Debian 12 as a cloud guest: cloud-init on the EC2 data source, ssh, the guest agent, a serial
# console. Sourced by build.sh.

readonly SUITE=bookworm
readonly DISK_MIB=2048
readonly PACKAGES=(
  linux-image-cloud-amd64 initramfs-tools zstd udev
  systemd-sysv dbus libpam-systemd netbase
  cloud-init cloud-guest-utils fdisk e2fsprogs
  ifupdown isc-dhcp-client iproute2 iputils-ping
  openssh-server sudo ca-certificates curl less procps
  qemu-guest-agent
)
# Time goes into these at boot and a guest that lives for hours or is replaced whole needs none.
readonly MASKED_UNITS=(
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
  fstrim.timer getty@tty1.service systemd-pstore.service
)

build_disk() {
  local out=$1 root=$WORK/root uuid
  uuid=$(cat /proc/sys/kernel/random/uuid)
  progress "debian-12: installing ${#PACKAGES[@]} packages and what they need"
  bootstrap "$root"
  progress "debian-12: configuring"
  configure "$root" "$uuid"
  progress "debian-12: making the disk"
  disk_from_tree "$root" "$out" "$DISK_MIB" "$uuid"
}

bootstrap() {
  local root=$1 machine main security
  machine=$(machine_codename)
  main=$(mirror_of "$machine")
  security=$(mirror_of "$machine-security")
  [ -n "$main" ] || fail "no apt source for $machine/main is configured" "apt-get indextargets"

  apt_options >"$WORK/apt.conf"
  {
    echo "deb $main $SUITE main"
    echo "deb $main $SUITE-updates main"
    [ -z "$security" ] || echo "deb $security $SUITE-security main"
  } >"$WORK/sources.list"

  # initramfs-tools reads its configuration while the kernel is installed, so it must be there first.
  # A mount namespace of its own takes /proc and /sys of the tree with it, also when it is killed.
  unshare --mount --propagation private mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
    --include="$(IFS=,; echo "${PACKAGES[*]}")" \
    --aptopt="$WORK/apt.conf" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --essential-hook="mkdir -p \"\$1/etc/initramfs-tools/conf.d\"" \
    --essential-hook="cp '$HERE/debian-12/initramfs.conf' \"\$1/etc/initramfs-tools/conf.d/tepui.conf\"" \
    --essential-hook="cp '$HERE/debian-12/initramfs.modules' \"\$1/etc/initramfs-tools/modules\"" \
    "$SUITE" "$root" "$WORK/sources.list" >"$WORK/mmdebstrap.log" 2>&1 || {
    tail -n 40 "$WORK/mmdebstrap.log" >&2
    fail "mmdebstrap could not build the tree" "apt-get update"
  }
}

configure() {
  local root=$1 uuid=$2 unit
  cp "$HERE/debian-12/cloud.cfg" "$root/etc/cloud/cloud.cfg.d/95_tepui.cfg"
  cp "$HERE/debian-12/interfaces" "$root/etc/network/interfaces"
  echo "UUID=$uuid / ext4 defaults,discard,errors=remount-ro 0 1" >"$root/etc/fstab"
  echo LANG=C.UTF-8 >"$root/etc/default/locale"
  boot_config "$root" "$uuid"
  for unit in "${MASKED_UNITS[@]}"; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
  forget_identity "$root"
}

boot_config() {
  local root=$1 uuid=$2
  mkdir -p "$root/boot/extlinux"
  # The links in / follow kernel upgrades.
  cat >"$root/boot/extlinux/extlinux.conf" <<EOT
DEFAULT debian
PROMPT 0
TIMEOUT 0
LABEL debian
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND root=UUID=$uuid ro console=ttyS0,115200n8 quiet
EOT
}

# What must differ between two guests is made at their first boot.
forget_identity() {
  local root=$1
  : >"$root/etc/machine-id"
  rm -f "$root"/etc/ssh/ssh_host_*_key* "$root/etc/hostname" "$root/etc/resolv.conf"
  rm -rf "$root"/var/lib/cloud/* "$root"/var/log/*.log "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
}
