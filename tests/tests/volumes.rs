//! Volumes of a pool on one host, used by guests of two: real XFS, real tgtd, QEMU's own initiator.

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Host, Hypervisor, file_system, until};

const PATIENCE: u64 = 120;

/// Waits for the volume and writes to it, and again behind what was its end when that has moved.
const WRITER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ]; do sleep 1; done
echo 'the first owner was here' > /dev/vdb && sync && echo 'volume written'
while [ $(cat /sys/class/block/vdb/size) -lt 4194304 ]; do sleep 1; done
echo 'and here' | dd of=/dev/vdb bs=1048576 seek=1500 2>/dev/null && sync && echo 'volume has grown'
";
/// Waits for the volume and tells what is on it.
const READER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ]; do sleep 1; done
echo \"volume says: [$(head -n 1 /dev/vdb)]\"
";

#[test]
fn a_volume_keeps_its_bytes_from_one_guest_to_another_on_another_host() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, std::time::Duration::from_secs(60));
    let path = file_system(&cloud, &cloud.host(1));
    let create = ["pool", "create", "fast", "--backend", "iscsi", "--node", "node-1", "--path", &path];
    cloud.tepui(&create).ok();
    until("the pool is there", PATIENCE, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        pools[0]["usage"].is_object().then_some(())
    });
    let zone = zone(&mut ec2);
    let made = ec2.call("create_volume", &json!({ "AvailabilityZone": zone, "Size": 1 })).answer();
    let volume = made["VolumeId"].as_str().unwrap_or_default().to_owned();
    wait(&mut ec2, &volume, "available");

    let writer = launch(&mut ec2, &image, WRITER);
    let reader = launch(&mut ec2, &image, READER);
    attach(&mut ec2, &volume, &writer);
    ec2.wait_console(&writer, "volume written", PATIENCE);
    let taken = ec2.call("create_snapshot", &json!({ "VolumeId": volume })).answer();
    let snapshot = taken["SnapshotId"].as_str().unwrap_or_default().to_owned();
    until("the snapshot is there", PATIENCE, || {
        let found = ec2.call("describe_snapshots", &json!({ "SnapshotIds": [snapshot] })).answer();
        (found["Snapshots"][0]["State"] == "completed").then_some(())
    });

    // It grows under its guest.
    ec2.call("modify_volume", &json!({ "VolumeId": volume, "Size": 2 })).answer();
    until("its guest sees the new size", PATIENCE, || {
        let own = json!({ "VolumeIds": [volume] });
        let found = ec2.call("describe_volumes_modifications", &own).answer();
        (found["VolumesModifications"][0]["ModificationState"] == "completed").then_some(())
    });
    ec2.wait_console(&writer, "volume has grown", PATIENCE);

    ec2.call("detach_volume", &json!({ "VolumeId": volume })).answer();
    wait(&mut ec2, &volume, "available");
    attach(&mut ec2, &volume, &reader);
    let heard = ec2.wait_console(&reader, "volume says: [", PATIENCE);
    assert!(heard.contains("volume says: [the first owner was here]"), "{heard}");
    for host in [cloud.host(1), cloud.host(2)] {
        assert_no_secret(&host);
    }

    // It outlives its instance, and is another's once nobody can write to it any more.
    ec2.act("terminate_instances", std::slice::from_ref(&reader));
    wait(&mut ec2, &volume, "available");
    let again = launch(&mut ec2, &image, READER);
    let from = json!({ "AvailabilityZone": zone, "SnapshotId": snapshot });
    let clone = ec2.call("create_volume", &from).answer()["VolumeId"].as_str().unwrap_or_default().to_owned();
    wait(&mut ec2, &clone, "available");
    attach(&mut ec2, &clone, &again);
    let heard = ec2.wait_console(&again, "volume says: [", PATIENCE);
    assert!(heard.contains("volume says: [the first owner was here]"), "{heard}");

    ec2.act("terminate_instances", &[writer, again]);
    for id in [&volume, &clone] {
        wait(&mut ec2, id, "available");
        ec2.call("delete_volume", &json!({ "VolumeId": id })).answer();
    }
    ec2.call("delete_snapshot", &json!({ "SnapshotId": snapshot })).answer();
    until("nothing is left in the pool", PATIENCE, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        (pools[0]["volumes"] == 0 && pools[0]["snapshots"] == 0).then_some(())
    });
    cloud.tepui(&["pool", "delete", "fast", "--yes"]).ok();
    cloud.assert_healthy();
    cloud.down();
}

fn zone(ec2: &mut Ec2Session) -> String {
    let zones = ec2.call("describe_availability_zones", &json!({})).answer();
    zones["AvailabilityZones"][0]["ZoneName"].as_str().unwrap_or_default().to_owned()
}

fn launch(ec2: &mut Ec2Session, image: &str, script: &str) -> String {
    let ids = ec2.launch(image, 1, json!({ "UserData": script }));
    ec2.wait_state(&ids, "running", PATIENCE);
    ids[0].clone()
}

fn attach(ec2: &mut Ec2Session, volume: &str, instance: &str) {
    let parameters = json!({ "VolumeId": volume, "InstanceId": instance, "Device": "/dev/sdf" });
    ec2.call("attach_volume", &parameters).answer();
    until("the volume is attached", PATIENCE, || {
        let state = &describe(ec2, volume)["Attachments"][0]["State"];
        (state == "attached").then_some(())
    });
}

fn describe(ec2: &mut Ec2Session, volume: &str) -> Value {
    let found = ec2.call("describe_volumes", &json!({ "VolumeIds": [volume] })).answer();
    found["Volumes"][0].clone()
}

fn wait(ec2: &mut Ec2Session, volume: &str, state: &str) {
    until(&format!("{volume} is {state}"), PATIENCE, || {
        (describe(ec2, volume)["State"] == state).then_some(())
    });
}

/// Who may open a volume stands on no command line and in no log.
fn assert_no_secret(host: &Host) {
    let listed = host.run("sh", &["-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).ok();
    assert!(!listed.contains("password=") && !listed.contains("--password"), "{listed}");
}
