//! Volumes of pools on one host, used by guests of two: real XFS, real tgtd and ganesha, QEMU's own clients.

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Host, Hypervisor, until};

const PATIENCE: u64 = 120;

/// The backends of the two pools, which are also their classes, and the places of their volumes.
const BACKENDS: [(&str, &str); 2] = [("iscsi", "/dev/sdf"), ("nfs", "/dev/sdg")];

/// Waits for the volumes and writes to each of them, and again behind what was its end when that has moved.
const WRITER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ] || [ ! -b /dev/vdc ]; do sleep 1; done
echo 'its owner was here' > /dev/vdb; echo 'its owner was there' > /dev/vdc; sync && echo 'volumes written'
for disk in vdb vdc; do
  while [ $(cat /sys/class/block/$disk/size) -lt 4194304 ]; do sleep 1; done
  echo 'and here' | dd of=/dev/$disk bs=1048576 seek=1500 2>/dev/null && sync && echo \"$disk has grown\"
done
";
/// Waits for the volumes and tells what is on them.
const READER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ] || [ ! -b /dev/vdc ]; do sleep 1; done
echo \"volumes say: [$(head -n 1 /dev/vdb), $(head -n 1 /dev/vdc)]\"
";
/// Waits for nothing and tells what is on the volumes.
const LOOKER: &str = "#!/bin/sh
echo \"volumes say: [$(head -n 1 /dev/vdb), $(head -n 1 /dev/vdc)]\"
";
/// What a reader says of volumes that a writer has had.
const READ: &str = "volumes say: [its owner was here, its owner was there]";

#[test]
fn volumes_keep_their_bytes_from_one_guest_to_another_on_another_host() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, std::time::Duration::from_secs(60));
    cloud.make_pools(&cloud.host(1));
    let zone = zone(&mut ec2);
    let volumes = BACKENDS.map(|(backend, _)| {
        create(&mut ec2, &json!({ "AvailabilityZone": zone, "Size": 1, "VolumeType": backend }))
    });

    let writer = launch(&mut ec2, &image, WRITER);
    let reader = launch(&mut ec2, &image, READER);
    attach(&mut ec2, &volumes, &writer);
    ec2.wait_console(&writer, "volumes written", PATIENCE);
    let snapshots = volumes.clone().map(|volume| {
        let taken = ec2.call("create_snapshot", &json!({ "VolumeId": volume })).answer();
        taken["SnapshotId"].as_str().unwrap_or_default().to_owned()
    });
    until("the snapshots are there", PATIENCE, || {
        let found = ec2.call("describe_snapshots", &json!({ "SnapshotIds": snapshots })).answer();
        let states = [0, 1].map(|number| found["Snapshots"][number]["State"].clone());
        (states == ["completed", "completed"]).then_some(())
    });

    // They grow under their guest, and are limited.
    let throttles = |device: &str| {
        let device = device.replace("/dev/s", "v");
        [cloud.host(1), cloud.host(2)].iter().flat_map(|host| host.throttles(&device)).collect::<Vec<_>>()
    };
    for (volume, (_, device)) in volumes.iter().zip(BACKENDS) {
        assert_eq!(throttles(device), [(0, 0)], "nobody asked for a limit");
        modify(&mut ec2, volume, &json!({ "Size": 2, "Iops": 700, "Throughput": 50 }));
        assert_eq!(throttles(device), [(700, 50 << 20)]);
    }
    // What a client sends without being asked takes them away.
    modify(&mut ec2, &volumes[1], &json!({ "Iops": 3000, "Throughput": 125 }));
    assert_eq!((throttles("/dev/sdf"), throttles("/dev/sdg")), (vec![(700, 50 << 20)], vec![(0, 0)]));
    for disk in ["vdb", "vdc"] {
        ec2.wait_console(&writer, &format!("{disk} has grown"), PATIENCE);
    }

    for volume in &volumes {
        // Two lines at least: a block each.
        until("what the guest wrote is counted", PATIENCE, || {
            let io = cloud.tepui_json(&["volume", "show", volume])["io"].clone();
            (io["writes"].as_u64()? >= 2 && io["written_bytes"].as_u64()? >= 1024).then_some(())
        });
        ec2.call("detach_volume", &json!({ "VolumeId": volume })).answer();
        ec2.wait_volume(volume, "available");
    }
    attach(&mut ec2, &volumes, &reader);
    let heard = ec2.wait_console(&reader, "volumes say: [", PATIENCE);
    assert!(heard.contains(READ), "{heard}");
    for host in [cloud.host(1), cloud.host(2)] {
        assert_no_secret(&host);
    }

    // They outlive their instance, and are another's once nobody can write to them any more.
    ec2.act("terminate_instances", std::slice::from_ref(&reader));
    for volume in &volumes {
        ec2.wait_volume(volume, "available");
    }
    // Others made from the snapshots are there from their guest's first second on.
    let mappings = [0, 1].map(|number| {
        let (class, device) = BACKENDS[number];
        json!({ "DeviceName": device, "Ebs": { "SnapshotId": snapshots[number], "VolumeType": class } })
    });
    let parameters = json!({ "UserData": LOOKER, "BlockDeviceMappings": mappings });
    let again = ec2.launch(&image, 1, parameters)[0].clone();
    ec2.wait_state(std::slice::from_ref(&again), "running", PATIENCE);
    let heard = ec2.wait_console(&again, "volumes say: [", PATIENCE);
    assert!(heard.contains(READ), "{heard}");

    // A guest starts with what it has.
    ec2.act("stop_instances", std::slice::from_ref(&again));
    ec2.wait_state(std::slice::from_ref(&again), "stopped", PATIENCE);
    ec2.act("start_instances", std::slice::from_ref(&again));
    ec2.wait_state(std::slice::from_ref(&again), "running", PATIENCE);

    ec2.act("terminate_instances", &[writer, again]);
    for id in &volumes {
        ec2.wait_volume(id, "available");
        ec2.call("delete_volume", &json!({ "VolumeId": id })).answer();
    }
    for snapshot in &snapshots {
        ec2.call("delete_snapshot", &json!({ "SnapshotId": snapshot })).answer();
    }
    until("nothing is left in the pools", PATIENCE, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        let empty = |number: usize| pools[number]["volumes"] == 0 && pools[number]["snapshots"] == 0;
        (empty(0) && empty(1)).then_some(())
    });
    for (backend, _) in BACKENDS {
        cloud.tepui(&["pool", "delete", backend, "--yes"]).ok();
    }
    cloud.assert_healthy();
    cloud.down();
}

fn create(ec2: &mut Ec2Session, parameters: &Value) -> String {
    let made = ec2.call("create_volume", parameters).answer();
    let volume = made["VolumeId"].as_str().unwrap_or_default().to_owned();
    ec2.wait_volume(&volume, "available");
    volume
}

/// Modifies a volume, and waits until its guest has it so.
fn modify(ec2: &mut Ec2Session, volume: &str, change: &Value) {
    let mut parameters = change.clone();
    parameters["VolumeId"] = volume.into();
    ec2.call("modify_volume", &parameters).answer();
    until("its guest has it so", PATIENCE, || {
        let found = ec2.call("describe_volumes_modifications", &json!({ "VolumeIds": [volume] })).answer();
        (found["VolumesModifications"][0]["ModificationState"] == "completed").then_some(())
    });
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

/// One after the other: so the guest numbers them in this order.
fn attach(ec2: &mut Ec2Session, volumes: &[String; 2], instance: &str) {
    for (volume, (_, device)) in volumes.iter().zip(BACKENDS) {
        let parameters = json!({ "VolumeId": volume, "InstanceId": instance, "Device": device });
        ec2.call("attach_volume", &parameters).answer();
        ec2.wait_volume(volume, "attached");
    }
}

/// Who may open a volume stands on no command line.
fn assert_no_secret(host: &Host) {
    let listed = host.run("sh", &["-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).ok();
    assert!(!listed.contains("password=") && !listed.contains("--password"), "{listed}");
}
