//! Volumes and snapshots.

use crate::harness::Harness;

#[tokio::test]
async fn a_volume_is_made_attached_snapshotted_detached_and_deleted() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let full = client.refused("CreateVolume", &[("Size", "1")]).await;
    assert_eq!(full, ("InsufficientVolumeCapacity".into(), 500), "there is no pool");
    harness.pool().await;
    let image = harness.image(client, "debian").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let made = client.ok("RunInstances", &run).await;
    let instance = made.text_at("instancesSet.item.instanceId").to_owned();
    harness.settle().await;

    let tag = [
        ("TagSpecification.1.ResourceType", "volume"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "data"),
    ];
    let parameters =
        [("Size", "2"), ("AvailabilityZone", "test-1a"), ("VolumeType", "gp2"), ("ClientToken", "t")];
    let made = client.ok("CreateVolume", &[&parameters[..], &tag].concat()).await;
    let volume = made.text_at("volumeId").to_owned();
    assert_eq!(
        (made.text_at("status"), made.text_at("size"), made.text_at("volumeType")),
        ("creating", "2", "gp3")
    );
    let again = client.ok("CreateVolume", &[&parameters[..], &tag].concat()).await;
    assert_eq!(again.text_at("volumeId"), volume);
    let other = client.refused("CreateVolume", &[("Size", "3"), ("ClientToken", "t")]).await;
    assert_eq!(other.0, "IdempotentParameterMismatch");
    harness.settle().await;
    let named = [("Filter.1.Name", "tag:Name"), ("Filter.1.Value.1", "data")];
    let found = client.ok("DescribeVolumes", &named).await;
    let [shown] = found.items("volumeSet") else { panic!("{found:?}") };
    assert_eq!((shown.text_at("volumeId"), shown.text_at("status")), (volume.as_str(), "available"));
    let status = client.ok("DescribeVolumeStatus", &[("VolumeId.1", &volume)]).await;
    assert_eq!(status.text_at("volumeStatusSet.item.volumeStatus.status"), "ok");

    let attach = [("VolumeId", volume.as_str()), ("InstanceId", &instance), ("Device", "/dev/sdf")];
    let attached = client.ok("AttachVolume", &attach).await;
    assert_eq!((attached.text_at("status"), attached.text_at("device")), ("attaching", "/dev/sdf"));
    let taken = client.refused("AttachVolume", &attach).await;
    assert_eq!(taken, ("VolumeInUse".into(), 400));
    assert_eq!(client.refused("DeleteVolume", &[("VolumeId", &volume)]).await.0, "VolumeInUse");
    // One settling opens the export, the next one has the disk.
    harness.settle().await;
    harness.settle().await;
    let shown = client.ok("DescribeVolumes", &[("VolumeId.1", &volume)]).await;
    assert_eq!(shown.text_at("volumeSet.item.status"), "in-use");
    assert_eq!(shown.text_at("volumeSet.item.attachmentSet.item.status"), "attached");

    let specification = [
        ("InstanceSpecification.InstanceId", instance.as_str()),
        ("InstanceSpecification.ExcludeBootVolume", "true"),
    ];
    let taken = client.ok("CreateSnapshots", &specification).await;
    let snapshot = taken.text_at("snapshotSet.item.snapshotId").to_owned();
    assert_eq!(taken.text_at("snapshotSet.item.volumeId"), volume);
    harness.settle().await;
    let done = [("Filter.1.Name", "status"), ("Filter.1.Value.1", "completed")];
    let own = [&done[..], &[("Owner.1", "self"), ("MaxResults", "5")]].concat();
    let found = client.ok("DescribeSnapshots", &own).await;
    assert_eq!(found.text_at("snapshotSet.item.snapshotId"), snapshot);
    assert_eq!(found.text_at("snapshotSet.item.progress"), "100%");
    let foreign = client.ok("DescribeSnapshots", &[("Owner.1", "amazon")]).await;
    assert!(foreign.items("snapshotSet").is_empty());
    let clone = client.ok("CreateVolume", &[("SnapshotId", &snapshot)]).await;
    assert_eq!((clone.text_at("size"), clone.text_at("snapshotId")), ("2", snapshot.as_str()));

    let elsewhere = [("VolumeId", volume.as_str()), ("Device", "/dev/sdg")];
    assert_eq!(client.refused("DetachVolume", &elsewhere).await.0, "IncorrectState");
    let detached = client.ok("DetachVolume", &[("VolumeId", &volume)]).await;
    assert_eq!(detached.text_at("status"), "detaching");
    harness.settle().await;
    harness.settle().await;
    let shown = client.ok("DescribeVolumes", &[("VolumeId.1", &volume)]).await;
    assert_eq!(shown.text_at("volumeSet.item.status"), "available");
    client.ok("DeleteVolume", &[("VolumeId", &volume)]).await;
    client.ok("DeleteSnapshot", &[("SnapshotId", &snapshot)]).await;
    harness.settle().await;
    assert_eq!(
        client.refused("DescribeVolumes", &[("VolumeId.1", &volume)]).await.0,
        "InvalidVolume.NotFound"
    );
    let gone = client.refused("DescribeSnapshots", &[("SnapshotId.1", &snapshot)]).await;
    assert_eq!(gone.0, "InvalidSnapshot.NotFound");
}

#[tokio::test]
async fn what_a_volume_cannot_be_is_refused_by_name() {
    let harness = Harness::new().await;
    harness.pool().await;
    let client = &harness.admin;
    let refused = async |params: &[(&str, &str)]| client.refused("CreateVolume", params).await.0;
    assert_eq!(refused(&[]).await, "InvalidParameterValue");
    assert_eq!(refused(&[("Size", "0")]).await, "InvalidParameterValue");
    assert_eq!(refused(&[("Size", "-1")]).await, "InvalidParameterValue");
    assert_eq!(refused(&[("Size", "20000")]).await, "InvalidParameterValue");
    assert_eq!(refused(&[("Size", "1"), ("VolumeType", "golden")]).await, "UnknownVolumeType");
    assert_eq!(refused(&[("Size", "1"), ("AvailabilityZone", "us-east-1a")]).await, "InvalidZone.NotFound");
    assert_eq!(refused(&[("Size", "1"), ("Encrypted", "true")]).await, "UnsupportedOperation");
    assert_eq!(refused(&[("SnapshotId", "snap-1")]).await, "InvalidSnapshotID.Malformed");
    let image = harness.image(client, "debian").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let made = client.ok("RunInstances", &run).await;
    harness.settle().await;
    let volume = client.ok("CreateVolume", &[("Size", "1")]).await.text_at("volumeId").to_owned();
    let instance = made.text_at("instancesSet.item.instanceId");
    let attach = async |device: &str| {
        let parameters = [("VolumeId", volume.as_str()), ("InstanceId", instance), ("Device", device)];
        client.refused("AttachVolume", &parameters).await.0
    };
    assert_eq!(attach("/dev/sdf").await, "IncorrectState", "it is being created");
    harness.settle().await;
    assert_eq!(attach("/dev/sda1").await, "InvalidParameterValue");
    client.ok("TerminateInstances", &[("InstanceId.1", instance)]).await;
    assert_eq!(attach("/dev/sdf").await, "IncorrectInstanceState");
}

#[tokio::test]
async fn a_launch_brings_volumes_that_go_with_it_unless_they_are_kept() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let run = [
        ("ImageId", image.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "9"),
        ("BlockDeviceMapping.2.DeviceName", "/dev/sdf"),
        ("BlockDeviceMapping.2.Ebs.VolumeSize", "2"),
        ("BlockDeviceMapping.2.Ebs.VolumeType", "gp3"),
        ("BlockDeviceMapping.3.DeviceName", "/dev/sdg"),
        ("BlockDeviceMapping.3.Ebs.VolumeSize", "3"),
        ("BlockDeviceMapping.3.Ebs.DeleteOnTermination", "false"),
    ];
    assert_eq!(client.refused("RunInstances", &run).await, ("InsufficientVolumeCapacity".into(), 500));
    harness.pool().await;
    let made = client.ok("RunInstances", &run).await;
    let instance = made.text_at("instancesSet.item.instanceId").to_owned();
    harness.settle().await;
    harness.settle().await;
    harness.settle().await;
    let attached = [("Filter.1.Name", "attachment.status"), ("Filter.1.Value.1", "attached")];
    let found = client.ok("DescribeVolumes", &attached).await;
    let mut shown: Vec<_> = found
        .items("volumeSet")
        .iter()
        .map(|volume| {
            let place = |name: &str| volume.text_at(&format!("attachmentSet.item.{name}")).to_owned();
            (place("device"), volume.text_at("size").to_owned(), place("deleteOnTermination"))
        })
        .collect();
    shown.sort();
    let row = |device: &str, size: &str, goes: &str| (device.to_owned(), size.to_owned(), goes.to_owned());
    let rows = [row("/dev/sda1", "9", "true"), row("/dev/sdf", "2", "true"), row("/dev/sdg", "3", "false")];
    assert_eq!(shown, rows);
    client.ok("TerminateInstances", &[("InstanceId.1", instance.as_str())]).await;
    for _ in 0..3 {
        harness.settle().await;
    }
    let left = client.ok("DescribeVolumes", &[]).await;
    assert_eq!(
        (left.text_at("volumeSet.item.size"), left.text_at("volumeSet.item.status")),
        ("3", "available")
    );
}
