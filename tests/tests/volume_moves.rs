//! A volume that a guest wrote goes from a pool of one host to one of another, and its pool is emptied.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{Cloud, Ec2Session, Hypervisor, until};

const PATIENCE: u64 = 120;

/// Writes to each of its volumes once it is there.
const WRITER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ] || [ ! -b /dev/vdc ]; do sleep 1; done
for disk in vdb vdc; do yes \"its owner was at $disk\" | dd of=/dev/$disk bs=4096 count=4096 iflag=fullblock 2>/dev/null; done
sync && echo 'volumes written'
";
/// Tells what is on its volumes once they are there.
const READER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ] || [ ! -b /dev/vdc ]; do sleep 1; done
echo \"volumes say: [$(head -n 1 /dev/vdb), $(head -n 1 /dev/vdc)]\"
";

#[test]
fn a_volume_moves_between_hosts_and_backends_and_a_drained_pool_is_empty_in_the_end() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let old = cloud.make_pool_of("fast", "gp3", "iscsi", &cloud.host(1));
    let volumes = [ec2.make_volume(), ec2.make_volume()];
    let new = cloud.make_pool_of("far", "gp3", "nfs", &cloud.host(2));
    let ids = ec2.launch(&image, 1, json!({ "UserData": WRITER }));
    ec2.wait_state(&ids, "running", PATIENCE);
    for (volume, device) in volumes.iter().zip(["/dev/sdf", "/dev/sdg"]) {
        ec2.attach(volume, &ids[0], device);
    }
    ec2.wait_console(&ids[0], "volumes written", PATIENCE);
    let written = [old.digest(&volumes[0]), old.digest(&volumes[1])];

    ec2.call("detach_volume", &json!({ "VolumeId": volumes[0] })).answer();
    ec2.wait_volume(&volumes[0], "available");
    cloud.tepui(&["volume", "move", &volumes[0], "--pool", "far"]).ok();
    no_move(&cloud);
    assert_eq!(new.digest(&volumes[0]), written[0]);

    // One that is in use stays, and goes once it is free.
    cloud.tepui(&["pool", "drain", "fast", "--move"]).ok();
    until("the pool tells what stays", PATIENCE, || {
        let pool = cloud.tepui_json(&["pool", "show", "fast"]);
        (pool["leaving"]["in_use"] == 1 && pool["volumes"] == 1).then_some(())
    });
    ec2.call("detach_volume", &json!({ "VolumeId": volumes[1] })).answer();
    until("the pool is empty", PATIENCE, || {
        let pool = cloud.tepui_json(&["pool", "show", "fast"]);
        (pool["volumes"] == 0).then_some(())
    });
    no_move(&cloud);
    assert_eq!(new.digest(&volumes[1]), written[1]);

    let reader = ec2.launch(&image, 1, json!({ "UserData": READER }));
    ec2.wait_state(&reader, "running", PATIENCE);
    for (volume, device) in volumes.iter().zip(["/dev/sdf", "/dev/sdg"]) {
        ec2.attach(volume, &reader[0], device);
    }
    ec2.wait_console(&reader[0], "volumes say: [its owner was at vdb, its owner was at vdc]", PATIENCE);
    until("the old pool is deleted", PATIENCE, || {
        (cloud.tepui(&["pool", "delete", "fast", "--yes"]).code == Some(0)).then_some(())
    });
    cloud.down();
}

/// Waits until no volume is on its way.
#[track_caller]
fn no_move(cloud: &Cloud) {
    until("nothing moves", PATIENCE, || {
        let moves = cloud.tepui_json(&["volume", "moves"]);
        moves.as_array().is_some_and(Vec::is_empty).then_some(())
    });
}
