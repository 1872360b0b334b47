//! Snapshots of several volumes of a running instance, whose guest knows nothing of it, are of one moment.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{BACKENDS, Cloud, Ec2Session, Hypervisor, Pool, until};

/// How long a step may take, in seconds.
const PATIENCE: u64 = 120;
/// How often snapshots of both volumes are taken. One after the other, some would differ.
const ROUNDS: usize = 8;
/// Where the guest has its volumes, one of each backend.
const DEVICES: [&str; 2] = ["/dev/sdf", "/dev/sdg"];

/// Counts on both volumes, on the one and then on the other, each number on the disk before the next.
const COUNTER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ] || [ ! -b /dev/vdc ]; do sleep 1; done
count=0
while :; do
  count=$((count + 1))
  for disk in vdb vdc; do
    printf '%08d' $count | dd of=/dev/$disk bs=4096 seek=2560 conv=fsync,notrunc 2>/dev/null
  done
done
";

#[test]
fn snapshots_of_an_instances_volumes_are_of_one_moment_and_its_guest_goes_on() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let pools = cloud.make_pools(&cloud.host(1));
    let volumes = BACKENDS.map(|backend| ec2.make_volume_of(backend));
    let guest = ec2.launch(&image, 1, json!({ "UserData": COUNTER }));
    ec2.wait_state(&guest, "running", PATIENCE);
    for (volume, device) in volumes.iter().zip(DEVICES) {
        ec2.attach(volume, &guest[0], device);
    }
    until("it counts", PATIENCE, || {
        let counted = pools.iter().zip(&volumes).all(|(pool, volume)| count(pool, volume) > 0);
        counted.then_some(())
    });
    let mut last = 0;
    for _ in 0..ROUNDS {
        let of = json!({ "InstanceSpecification": { "InstanceId": guest[0], "ExcludeBootVolume": true } });
        let taken = ec2.call("create_snapshots", &of).answer();
        let [first, second] = [0, 1].map(|number| {
            let mut all = taken["Snapshots"].as_array().into_iter().flatten();
            let own = all.find(|one| one["VolumeId"] == volumes[number].as_str());
            let snapshot = own.and_then(|one| one["SnapshotId"].as_str()).unwrap_or_default();
            restored(&cloud, &mut ec2, &pools[number], (BACKENDS[number], snapshot))
        });
        assert!(
            first == second || first == second + 1,
            "{first} on the first volume, {second} on the second"
        );
        assert!(first > last, "it went on: {first} after {last}");
        last = first;
    }
    assert_eq!(cloud.instance(&guest[0])["State"]["Name"], "running");
    cloud.assert_healthy();
    cloud.down();
}

/// What the guest has counted to on a volume.
fn count(pool: &Pool, volume: &str) -> u64 {
    pool.blocks(volume, 2560, 1).concat().trim_end_matches('\0').parse().unwrap_or_default()
}

/// What it had counted to when a snapshot was taken, by a volume that is made of it.
fn restored(cloud: &Cloud, ec2: &mut Ec2Session, pool: &Pool, (class, snapshot): (&str, &str)) -> u64 {
    until("the snapshot is there", PATIENCE, || {
        let shown = cloud.tepui_json(&["snapshot", "show", snapshot]);
        assert_ne!(shown["state"], "error", "{shown}");
        assert_eq!(shown["consistency"], "crash");
        (shown["state"] == "completed").then_some(())
    });
    let zones = ec2.call("describe_availability_zones", &json!({})).answer();
    let zone = &zones["AvailabilityZones"][0]["ZoneName"];
    let wanted = json!({ "AvailabilityZone": zone, "SnapshotId": snapshot, "VolumeType": class });
    let made = ec2.call("create_volume", &wanted).answer();
    let volume = made["VolumeId"].as_str().unwrap_or_default();
    ec2.wait_volume(volume, "available");
    let counted = count(pool, volume);
    ec2.call("delete_volume", &json!({ "VolumeId": volume })).answer();
    ec2.call("delete_snapshot", &json!({ "SnapshotId": snapshot })).answer();
    counted
}
