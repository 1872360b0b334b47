//! Guests write until the pools of their volumes are full.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{BACKENDS, Cloud, Ec2Session, Hypervisor, QEMU, until};

/// How long a step may take, in seconds.
const PATIENCE: u64 = 120;

/// What a guest writes, in MiB, and what is left for it in the pools.
const WRITTEN: u64 = 96;
const ROOM: u64 = 24;

/// Waits for its volume, fills the beginning of it, each byte on the disk before it says so, and tells what it was.
fn writer() -> String {
    format!(
        "#!/bin/sh
while [ ! -b /dev/vdb ]; do sleep 1; done
dd if=/dev/urandom of=/tmp/wanted bs=1M count=8
for n in $(seq 0 8 {}); do
  dd if=/tmp/wanted of=/dev/vdb bs=1M seek=$n count=8 oflag=direct conv=notrunc || echo it failed at $n
done
echo \"wrote: $(sha256sum /tmp/wanted)\"
",
        WRITTEN - 8
    )
}

#[test]
fn guests_whose_pools_are_full_stand_still_are_told_of_by_volume_and_go_on_once_there_is_room() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let host = cloud.host(1);
    let pools = cloud.make_pools(&host);
    let volumes = BACKENDS.map(|backend| ec2.make_volume_of(backend));
    let guests = ec2.launch(&image, 2, json!({ "UserData": writer() }));
    ec2.wait_state(&guests, "running", PATIENCE);
    let processes = host.processes(QEMU);

    // Both pools are on one file system.
    let place = host.run_dir().join("pool").display().to_string();
    let filler = format!("{place}/filler");
    let free = host.run("sh", &["-c", &format!("echo $(($(stat -f -c '%a * %S / 1048576' {place})))")]).ok();
    let taken = free.trim().parse::<u64>().unwrap_or_default().saturating_sub(ROOM);
    host.run("fallocate", &["-l", &format!("{taken}M"), &filler]).ok();
    for (volume, guest) in volumes.iter().zip(&guests) {
        ec2.attach(volume, guest, "/dev/sdf");
    }
    for ((volume, guest), pool) in volumes.iter().zip(&guests).zip(BACKENDS) {
        until(&format!("the doctor names {volume}"), PATIENCE, || {
            let told = cloud.tepui(&["doctor", "--problems"]).stdout;
            let line = told.lines().find(|line| line.contains(guest.as_str()))?;
            let names_all =
                ["stands still", volume, &format!("pool {pool}")].iter().all(|word| line.contains(word));
            names_all.then_some(())
        });
        let status = ec2.call("describe_instance_status", &json!({ "InstanceIds": [guest] })).answer();
        assert_eq!(status["InstanceStatuses"][0]["SystemStatus"]["Status"], "impaired");
    }
    let nodes = cloud.tepui_json(&["node", "list"]);
    assert!(nodes[0]["impaired"].is_null(), "a pool is full, and not the host: {nodes}");
    let other = ec2.launch(&image, 1, json!({}));
    ec2.wait_state(&other, "running", PATIENCE);

    host.run("rm", &[&filler]).ok();
    for ((volume, guest), pool) in volumes.iter().zip(&guests).zip(&pools) {
        let said = ec2.wait_console(guest, "wrote: ", PATIENCE);
        assert!(!said.contains("it failed") && !said.contains("I/O error"), "the guest heard of it: {said}");
        let sum = said.split("wrote: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        for part in 0..WRITTEN / 8 {
            let read = format!(
                "dd if={} bs=8M skip={part} count=1 iflag=fullblock status=none | sha256sum",
                pool.file(volume)
            );
            assert_eq!(host.run("sh", &["-c", &read]).ok().split(' ').next(), Some(sum), "{volume}, {part}");
        }
    }
    assert!(processes.is_subset(&host.processes(QEMU)), "they are the same processes");
    cloud.assert_healthy();
    cloud.down();
}
