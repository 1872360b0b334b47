# shellcheck shell=bash
# A guest that reaches user code within seconds: Debian's cloud kernel, an initramfs with busybox
# and a few modules, and a disk with e2fsprogs that keeps what user data writes. Sourced by build.sh.

readonly DISK_MIB=48
# modprobe pulls in what these depend on.
readonly MODULES=(virtio_pci virtio_blk virtio_net virtio_rng ext4 evdev button)
# What a user does to the file system of a volume.
readonly TOOLS=(mke2fs e2fsck resize2fs badblocks)

build_disk() {
  local out=$1 tree=$WORK/tree initramfs=$WORK/initramfs
  progress "tiny: fetching the kernel package"
  fetch_kernel "$WORK/kernel"
  progress "tiny: packing the initramfs"
  make_initramfs "$WORK/kernel" "$initramfs"
  add_tools "$initramfs" "$tree"
  mkdir -p "$tree/boot/extlinux"
  cp "$WORK"/kernel/boot/vmlinuz-* "$tree/boot/vmlinuz"
  # Uncompressed: an emulated processor inflates slower than it reads.
  (cd "$initramfs" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null -o -H newc) >"$tree/boot/initramfs"
  cp "$HERE/tiny/extlinux.conf" "$tree/boot/extlinux/"
  progress "tiny: making the disk"
  disk_from_tree "$tree" "$out" "$DISK_MIB" "$(cat /proc/sys/kernel/random/uuid)"
}

# The newest signed cloud kernel of the machine's own release, unpacked.
fetch_kernel() {
  local into=$1 package
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
  [ -n "$package" ] || fail "apt knows no package linux-image-cloud-amd64" "apt-get update"
  mkdir -p "$WORK/deb" "$into"
  # apt fetches as a user of its own, which must be able to write here.
  chmod 755 "$WORK"
  chown _apt "$WORK/deb"
  (cd "$WORK/deb" && apt-get -qq download "$package") ||
    fail "the package $package could not be fetched" "apt-get update"
  dpkg-deb -x "$WORK"/deb/*.deb "$into"
}

make_initramfs() {
  local kernel=$1 root=$2 version
  version=$(ls "$kernel/lib/modules")
  mkdir -p "$root"/{bin,dev,disk,etc,lib/modules/"$version",proc,run,sys,tmp,www}
  cp "$(command -v busybox)" "$root/bin/busybox"
  busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$root/bin/$applet"; done
  # User data often names these.
  ln -s busybox "$root/bin/bash"
  ln -s /bin "$root/sbin"
  mkdir -p "$root/usr"
  ln -s /bin "$root/usr/bin"
  copy_modules "$kernel/lib/modules/$version" "$root/lib/modules/$version" "$root/etc/modules"
  busybox depmod -b "$root" "$version"
  echo 'root:x:0:0:root:/disk:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  install -m 755 "$HERE/tiny/init" "$root/init"
  install -m 755 "$HERE/tiny/udhcpc.script" "$HERE/tiny/metadata" "$HERE/tiny/power-button" "$root/bin/"
}

# The machine's own tools with the libraries that they name. They lie on the disk, below /disk/e2fsprogs, since every
# boot reads the whole initramfs; that has the links by which they are found.
add_tools() {
  local root=$1 folder=$2/e2fsprogs tool library
  mkdir -p "$folder"/{bin,lib} "$root/lib64"
  for tool in "${TOOLS[@]}"; do
    cp "$(command -v "$tool")" "$folder/bin/"
    ln -sf "/disk/e2fsprogs/bin/$tool" "$root/bin/$tool"
    for library in $(ldd "$folder/bin/$tool" | grep -o '/[^ ]*'); do
      cp -L "$library" "$folder/lib/"
    done
  done
  ln -s mke2fs "$root/bin/mkfs.ext4"
  ln -s /disk/e2fsprogs/lib/ld-linux-x86-64.so.2 "$root/lib64/"
  ln -s /disk/e2fsprogs/lib "$root/lib/x86_64-linux-gnu"
}

# Copies each wanted module and everything below it, unpacked, as busybox loads plain files only,
# and lists those to load. One that is built into the kernel has no file.
copy_modules() {
  local from=$1 to=$2 list=$3 name file
  busybox depmod -b "$(dirname "$(dirname "$(dirname "$from")")")" "$(basename "$from")"
  for name in "${MODULES[@]}"; do
    for file in $(module_closure "$from" "$name"); do
      mkdir -p "$to/$(dirname "$file")"
      case "$file" in
        *.xz) xz -dc "$from/$file" >"$to/${file%.xz}" ;;
        *.zst) zstd -qdc "$from/$file" >"$to/${file%.zst}" ;;
        *) cp "$from/$file" "$to/$file" ;;
      esac
      case "${file##*/}" in "$name".ko*) echo "$name" >>"$list" ;; esac
    done
  done
}

# A module's file and its dependencies, from modules.dep.
module_closure() {
  local from=$1 name=$2
  awk -v name="$name" '
    { file = $1; sub(/:$/, "", file); base = file; sub(/.*\//, "", base); sub(/\.ko.*/, "", base); gsub(/-/, "_", base) }
    base == name { print file; for (i = 2; i <= NF; i++) print $i }
  ' "$from/modules.dep"
  # ext4 asks for its checksum by name, which modules.dep does not know.
  [ "$name" != ext4 ] || awk '{ sub(/:$/, "", $1) } $1 ~ /crc32c_generic/ { print $1 }' "$from/modules.dep"
}
