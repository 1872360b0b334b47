//! The room of a deleted volume, on a real host: it is kept until an operator reclaims it, and the next owner finds nothing
//! in it.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{Cloud, Ec2Session, Hypervisor, until};

const PATIENCE: u64 = 120;

/// Tells how many blocks of 64 KiB of a disk are not zeros.
const FOREIGN: &str = r#"#!/bin/sh
await() { while [ ! -b /dev/vdb ]; do sleep 1; done; }
foreign() { echo "$1: $(badblocks -t 0 -b 65536 -c 64 /dev/vdb 2>/dev/null | wc -l) foreign blocks"; }
"#;
/// Makes a file system on its first volume, and writes all over the second one.
const OWNER: &str = r#"
await
mkfs.ext4 -q /dev/vdb && mkdir /tmp/vdb && mount -t ext4 /dev/vdb /tmp/vdb && echo 'its owner was here' >/tmp/vdb/file
umount /tmp/vdb && echo "volume written"
while [ -b /dev/vdb ]; do sleep 1; done
await
yes 'its owner was here' | head -c 4194304 >/tmp/marker
n=0
while [ $n -lt 256 ]; do
  dd if=/tmp/marker of=/dev/vdb bs=4194304 seek=$n conv=notrunc oflag=direct 2>/dev/null || echo "failed at $n"
  n=$((n + 1))
done
foreign "marked volume"
"#;
/// Has the first volume after it.
const FRIEND: &str = r#"
await
e2fsck -fn /dev/vdb && mkdir /tmp/vdb && mount -t ext4 /dev/vdb /tmp/vdb && echo "volume says: [$(cat /tmp/vdb/file)]"
"#;
/// Has a volume in the room of the second one, and more of it once it has grown.
const STRANGER: &str = r#"
await
foreign "new volume"
while [ $(cat /sys/class/block/vdb/size) -lt 4194304 ]; do sleep 1; done
foreign "grown volume"
"#;

#[test]
fn a_deleted_volume_lies_in_its_pool_until_an_operator_reclaims_it_and_the_next_owner_reads_zeros() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let host = cloud.host(1);
    cloud.make_pools_of([("gp3", "iscsi"), ("local", "local")], &host);
    let projects = ["first", "second"].map(|name| cloud.make_project(name));
    let [mut first, mut second] =
        projects.map(|project| Ec2Session::start_as(&project, Duration::from_secs(60)));

    // A volume that only its host has goes from one guest of that host to another.
    let owner = launch(&mut first, &image, OWNER);
    let friend = launch(&mut first, &image, FRIEND);
    let near = first.make_volume_of("local");
    first.attach(&near, &owner, "/dev/sdf");
    first.wait_console(&owner, "volume written", PATIENCE);
    first.call("detach_volume", &json!({ "VolumeId": near })).answer();
    first.wait_volume(&near, "available");
    first.attach(&near, &friend, "/dev/sdf");
    first.wait_console(&friend, "volume says: [its owner was here]", PATIENCE);

    let volume = first.make_volume();
    first.attach(&volume, &owner, "/dev/sdf");
    first.wait_console(&owner, "marked volume: 16384 foreign blocks", PATIENCE);
    first.call("detach_volume", &json!({ "VolumeId": volume })).answer();
    first.wait_volume(&volume, "available");
    let trash = host.run_dir().join("pool/gp3/trash").display().to_string();
    let lies_there =
        || host.run("find", &[&trash, "-mindepth", "1", "-maxdepth", "1"]).ok().contains(&volume);
    first.call("delete_volume", &json!({ "VolumeId": volume })).answer();
    let leftovers = || cloud.tepui_json(&["pool", "reclaim", "gp3"]);
    until("it is in quarantine", PATIENCE, || (leftovers()[0]["state"] == "quarantined").then_some(()));
    assert_eq!(leftovers()[0]["id"], volume.as_str());
    assert!(lies_there());

    let told = cloud.tepui(&["pool", "reclaim", "gp3", "--now", "--dry-run"]);
    assert!(told.stderr.contains(&format!("unlinks: volume {volume}")), "{told:?}");
    assert_eq!(leftovers()[0]["state"], "quarantined", "a dry run does nothing");
    cloud.tepui(&["pool", "reclaim", "gp3", "--now", "--yes"]).ok();
    until("it is unlinked", PATIENCE, || leftovers().as_array().is_some_and(Vec::is_empty).then_some(()));
    assert!(!lies_there());

    let stranger = launch(&mut second, &image, STRANGER);
    let volume = second.make_volume();
    second.attach(&volume, &stranger, "/dev/sdf");
    second.wait_console(&stranger, "new volume: 0 foreign blocks", PATIENCE);
    second.call("modify_volume", &json!({ "VolumeId": volume, "Size": 2 })).answer();
    second.wait_console(&stranger, "grown volume: 0 foreign blocks", PATIENCE);
    cloud.assert_healthy();
    cloud.down();
}

fn launch(ec2: &mut Ec2Session, image: &str, script: &str) -> String {
    let ids = ec2.launch(image, 1, json!({ "UserData": format!("{FOREIGN}{script}") }));
    ec2.wait_state(&ids, "running", PATIENCE);
    ids[0].clone()
}
