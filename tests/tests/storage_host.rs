//! What serves a volume is killed, and then its whole host, while a guest of another host writes to it.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{Cloud, Ec2Session, Host, Hypervisor, QEMU, until};

/// How long a step may take, in seconds. QEMU looks every five seconds whether its target is there, and waits up to
/// half a minute between two tries to reach it.
const PATIENCE: u64 = 120;

/// Writes one block after the other, each only once the one before it is there.
const WRITER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ]; do sleep 1; done
n=100
while :; do
  n=$((n+1))
  yes \"write $n\" | head -c 4096 >/tmp/block
  dd if=/tmp/block of=/dev/vdb bs=4096 seek=$n oflag=direct conv=notrunc status=none || echo \"failed at $n\"
  echo \"wrote $n\"
  sleep 0.2
done
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
    let pool = cloud.make_pool(&storage);
    let volume = ec2.make_volume();
    ec2.attach(&volume, &ids[0], "/dev/sdf");
    writes_more(&compute, 10);

    // The agent first: it would start tgtd again at once.
    for program in ["tepui-node", "tgtd"] {
        storage.kill(program);
    }
    cloud.up();
    writes_more(&compute, 10);

    storage.power_off();
    cloud.up();
    let pools = || cloud.tepui_json(&["pool", "list"])[0]["usage"].clone();
    pool.mount();
    until("the pool is there again", PATIENCE, || pools().is_object().then_some(()));
    writes_more(&compute, 10);

    assert_eq!(compute.processes(QEMU), guest, "it is the same process");
    let wrote = wrote(&compute);
    let said = compute.consoles();
    assert!(!said.contains("failed at"), "the guest heard of it: {said}");
    let found = pool.blocks(&volume, 101, wrote - 100);
    let wanted: Vec<String> = (101..=wrote).map(|number| format!("write {number}")).collect();
    assert_eq!(found, wanted);
    ec2.wait_state(&ids, "running", 5);
    cloud.assert_healthy();
    cloud.down();
}

/// The last write that the guest was told of.
fn wrote(host: &Host) -> u64 {
    let said = host.consoles();
    let numbers = said.lines().filter_map(|line| line.trim().strip_prefix("wrote ")?.parse().ok());
    numbers.max().unwrap_or(0)
}

#[track_caller]
fn writes_more(host: &Host, times: u64) {
    let before = wrote(host);
    until("the guest writes on", PATIENCE, || (wrote(host) >= before.max(100) + times).then_some(()));
}
