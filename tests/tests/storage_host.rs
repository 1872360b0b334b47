//! What serves a volume is killed, and then its whole host, while a guest of another host writes to a file system on it.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{BACKENDS, Cloud, Ec2Session, Host, Hypervisor, QEMU, until};

/// How long a step may take, in seconds. QEMU looks every five seconds whether its target is there, and waits up to
/// half a minute between two tries to reach it.
const PATIENCE: u64 = 120;

/// Where the guest has its volumes, one of each backend.
const DISKS: [(&str, &str); 2] = [("vdb", "/dev/sdf"), ("vdc", "/dev/sdg")];

/// Makes a file system on each disk and writes one numbered file of 4 KiB after the other to it, each only once the one
/// before it and its name are on the disk.
const WRITER: &str = "#!/bin/sh
writer() {
  while [ ! -b /dev/$1 ]; do sleep 1; done
  mkfs.ext4 -q /dev/$1 && mkdir /tmp/$1 && mount -t ext4 /dev/$1 /tmp/$1 || { echo \"failed at $1\"; return; }
  n=100
  while :; do
    n=$((n+1))
    yes \"$1 $n\" | head -c 4096 | dd of=/tmp/$1/$n bs=4096 iflag=fullblock conv=fsync 2>/dev/null || echo \"failed at $1 $n\"
    echo \"wrote $1 $n\"
    sleep 0.2
  done
}
writer vdb &
writer vdc &
";

#[test]
fn a_guest_writes_on_once_the_storage_host_is_back_and_nothing_it_was_told_of_is_lost() {
    let mut cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let ids = ec2.launch(&image, 1, json!({ "UserData": WRITER }));
    ec2.wait_state(&ids, "running", PATIENCE);
    let (one, two) = (cloud.host(1), cloud.host(2));
    let (storage, compute) = if one.processes(QEMU).is_empty() { (one, two) } else { (two, one) };
    let guest = compute.processes(QEMU);
    let pools = cloud.make_pools(&storage);
    let volumes = BACKENDS.map(|backend| ec2.make_volume_of(backend));
    for (volume, (_, device)) in volumes.iter().zip(DISKS) {
        ec2.attach(volume, &ids[0], device);
    }
    writes_more(&compute, 10);

    // The agent first: it would start the servers again at once.
    for program in ["tepui-node", "tgtd", "ganesha.nfsd"] {
        storage.kill(program);
    }
    cloud.up();
    writes_more(&compute, 10);

    storage.power_off();
    cloud.up();
    pools[0].mount();
    until("the pools are there again", PATIENCE, || {
        BACKENDS.iter().all(|name| cloud.has_pool(name)).then_some(())
    });
    writes_more(&compute, 10);

    assert_eq!(compute.processes(QEMU), guest, "it is the same process");
    let said = compute.consoles();
    assert!(!said.contains("failed at"), "the guest heard of it: {said}");
    ec2.wait_state(&ids, "running", 5);

    // Its plug is pulled while it writes: nobody let go of the file systems.
    ec2.call("stop_instances", &json!({ "InstanceIds": ids, "Force": true })).answer();
    ec2.wait_state(&ids, "stopped", PATIENCE);
    for ((pool, volume), (disk, _)) in pools.iter().zip(&volumes).zip(DISKS) {
        let (files, wrote) = (pool.ext4_files(volume), wrote(&compute, disk));
        for number in 101..=wrote {
            let whole = format!("{disk} {number}\n").repeat(4096);
            let found = files.get(&number.to_string()).map(String::as_str);
            assert_eq!(found, whole.get(..4096), "file {number} of {wrote} on {disk}");
        }
    }
    cloud.assert_healthy();
    cloud.down();
}

/// The last write to a disk that the guest was told of.
fn wrote(host: &Host, disk: &str) -> u64 {
    let (said, line) = (host.consoles(), format!("wrote {disk} "));
    let numbers = said.lines().filter_map(|told| told.trim().strip_prefix(&line)?.parse().ok());
    numbers.max().unwrap_or(0)
}

/// Each disk takes so many writes more.
#[track_caller]
fn writes_more(host: &Host, times: u64) {
    for (disk, _) in DISKS {
        let before = wrote(host, disk);
        until(&format!("the guest writes on to {disk}"), PATIENCE, || {
            (wrote(host, disk) >= before.max(100) + times).then_some(())
        });
    }
}
