#!/bin/sh
# Uses each volume that it is given. On an empty one it makes a file system and writes files with a list of their
# checksums, does so again once the volume has grown, and lets go of it. Of one that has a file system it tells each list
# whose files are as it says, by its own checksum, and whether the file system is clean.

fill() {
  mkdir "$2" && dd if=/dev/urandom of="$2/file" bs=65536 count=8 2>/dev/null
  sha256sum "$2/file" >"$2.sums" && sync && echo "$1 $2: $(sha256sum <"$2.sums")"
}

use() {
  disk=/dev/$1
  volume=$(cat "/sys/block/$1/serial")
  if mount -t ext4 "$disk" "/tmp/$1" 2>/dev/null; then
    cd "/tmp/$1" || exit
    for list in *.sums; do sha256sum -c "$list" && echo "$volume ${list%.sums}: $(sha256sum <"$list")"; done
    cd / && umount "/tmp/$1"
    e2fsck -fn "$disk" >"/tmp/$1.fsck" && ! grep '? no' "/tmp/$1.fsck" && echo "$volume is clean"
  else
    mkfs.ext4 -q "$disk" && mount -t ext4 "$disk" "/tmp/$1" && cd "/tmp/$1" || exit
    fill "$volume" first
    while [ "$(cat "/sys/block/$1/size")" -lt 4194304 ]; do sleep 1; done
    resize2fs "$disk" && fill "$volume" later
    cd / && umount "/tmp/$1" && echo "$volume is free"
  fi
}

while :; do
  for disk in vdb vdc vdd vde; do
    if [ -b /dev/$disk ] && mkdir /tmp/$disk 2>/dev/null; then use $disk & fi
  done
  sleep 1
done
