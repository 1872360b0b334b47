//! What serves a volume is killed, and then its whole host, while a guest of another host writes to it.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{BACKENDS, Cloud, Ec2Session, Host, Hypervisor, QEMU, until};

/// How long a step may take, in seconds. QEMU looks every five seconds whether its target is there, and waits up to
/// half a minute between two tries to reach it.
const PATIENCE: u64 = 120;

/// Where the guest has its volumes, one of each backend.
const DISKS: [(&str, &str); 2] = [("vdb", "/dev/sdf"), ("vdc", "/dev/sdg")];

/// Writes one block after the other to each disk, each only once the one before it is there.
const WRITER: &str = "#!/bin/sh
writer() {
  while [ ! -b /dev/$1 ]; do sleep 1; done
  n=100
  while :; do
    n=$((n+1))
    yes \"$1 $n\" | head -c 4096 >/tmp/$1
    dd if=/tmp/$1 of=/dev/$1 bs=4096 seek=$n oflag=direct conv=notrunc status=none || echo \"failed at $1 $n\"
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
    for ((pool, volume), (disk, _)) in pools.iter().zip(&volumes).zip(DISKS) {
        let wrote = wrote(&compute, disk);
        let wanted: Vec<String> = (101..=wrote).map(|number| format!("{disk} {number}")).collect();
        assert_eq!(pool.blocks(volume, 101, wrote - 100), wanted);
    }
    ec2.wait_state(&ids, "running", 5);
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
