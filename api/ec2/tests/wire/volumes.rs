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
    let launch = async |more: [(&str, &str); 3]| {
        let device = [("BlockDeviceMapping.1.DeviceName", "/dev/sdf")];
        client.refused("RunInstances", &[&run[..], &device, &more].concat()).await
    };
    let wrong = ("InvalidBlockDeviceMapping".to_owned(), 400);
    let smaller = launch([
        ("BlockDeviceMapping.1.Ebs.SnapshotId", &snapshot),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "1"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
    ]);
    assert_eq!(smaller.await, wrong);
    let doubled = launch([
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "1"),
        ("BlockDeviceMapping.2.DeviceName", "xvdf"),
        ("BlockDeviceMapping.2.Ebs.VolumeSize", "1"),
    ]);
    assert_eq!(doubled.await, wrong);
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

/// A pool, a running instance and its root disk.
pub(crate) async fn scene(harness: &Harness) -> (String, String) {
    harness.pool().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let instance = client.ok("RunInstances", &run).await.text_at("instancesSet.item.instanceId").to_owned();
    harness.settle().await;
    let shown = client.ok("DescribeInstances", &[]).await;
    let root = "reservationSet.item.instancesSet.item.blockDeviceMapping.item.ebs.volumeId";
    (instance, shown.text_at(root).to_owned())
}

/// A volume of one GiB that is attached there.
pub(crate) async fn attached(harness: &Harness, instance: &str, device: &str) -> String {
    let client = &harness.admin;
    let volume = client.ok("CreateVolume", &[("Size", "1")]).await.text_at("volumeId").to_owned();
    harness.settle().await;
    let attach = [("VolumeId", volume.as_str()), ("InstanceId", instance), ("Device", device)];
    client.ok("AttachVolume", &attach).await;
    harness.settle().await;
    harness.settle().await;
    volume
}

#[tokio::test]
async fn an_instance_shows_its_volumes_and_says_which_go_with_it() {
    let harness = Harness::new().await;
    let (instance, root) = scene(&harness).await;
    let client = &harness.admin;
    let late = attached(&harness, &instance, "/dev/sdh").await;
    let early = attached(&harness, &instance, "/dev/sdf").await;
    let own = [("InstanceId", instance.as_str()), ("Attribute", "blockDeviceMapping")];
    let shown = async || {
        let all = client.ok("DescribeInstances", &[]).await;
        let mapping = "reservationSet.item.instancesSet.item.blockDeviceMapping";
        let attribute = client.ok("DescribeInstanceAttribute", &own).await;
        let of = |items: &[crate::reply::Element]| {
            let told = |item: &crate::reply::Element| {
                assert!(item.text_at("ebs.attachTime").ends_with('Z'));
                ["deviceName", "ebs.volumeId", "ebs.status", "ebs.deleteOnTermination"]
                    .map(|at| item.text_at(at).to_owned())
                    .join(" ")
            };
            items.iter().map(told).collect::<Vec<_>>()
        };
        let (all, attribute) = (of(all.items(mapping)), of(attribute.items("blockDeviceMapping")));
        assert_eq!(all, attribute);
        all
    };
    let disk = |device: &str, volume: &str, goes| format!("{device} {volume} attached {goes}");
    let root_disk = disk("/dev/sda1", &root, true);
    let before = [root_disk.clone(), disk("/dev/sdf", &early, false), disk("/dev/sdh", &late, false)];
    assert_eq!(shown().await, before);

    let found = async |name: &str, value: &str| {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        client.ok("DescribeInstances", &filter).await.items("reservationSet").len()
    };
    for (filter, value, count) in [
        ("block-device-mapping.device-name", "/dev/sdh", 1),
        ("block-device-mapping.device-name", "/dev/sdg", 0),
        ("block-device-mapping.volume-id", &late, 1),
        ("block-device-mapping.status", "attached", 1),
        ("block-device-mapping.status", "detaching", 0),
        ("block-device-mapping.delete-on-termination", "false", 1),
        ("block-device-mapping.attach-time", "20*", 1),
        ("block-device-mapping.attach-time", "19*", 0),
    ] {
        assert_eq!(found(filter, value).await, count, "{filter}={value}");
    }

    let goes = [
        ("InstanceId", instance.as_str()),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sdh"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
    ];
    client.ok("ModifyInstanceAttribute", &goes).await;
    let after = [root_disk, disk("/dev/sdf", &early, false), disk("/dev/sdh", &late, true)];
    assert_eq!(shown().await, after);
    for (params, code) in [
        (vec![("BlockDeviceMapping.1.DeviceName", "/dev/sdh")], "MissingParameter"),
        (vec![("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true")], "MissingParameter"),
        (
            vec![
                ("BlockDeviceMapping.1.DeviceName", "/dev/sdx"),
                ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ],
            "InvalidInstanceAttributeValue",
        ),
        (
            vec![
                ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
                ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false"),
            ],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("BlockDeviceMapping.1.DeviceName", "/dev/sdh"),
                ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
                ("DisableApiStop.Value", "true"),
            ],
            "InvalidParameterCombination",
        ),
    ] {
        let all = [&[("InstanceId", instance.as_str())], &params[..]].concat();
        assert_eq!(client.refused("ModifyInstanceAttribute", &all).await.0, code, "{params:?}");
    }

    client.ok("TerminateInstances", &[("InstanceId.1", &instance)]).await;
    for _ in 0..3 {
        harness.settle().await;
    }
    let left = client.ok("DescribeVolumes", &[("VolumeId.1", &early)]).await;
    assert_eq!(left.text_at("volumeSet.item.status"), "available");
    let gone = client.refused("DescribeVolumes", &[("VolumeId.1", &late)]).await;
    assert_eq!(gone.0, "InvalidVolume.NotFound");
}

#[tokio::test]
async fn a_root_disk_is_attached_detached_and_modified_by_nobody() {
    let harness = Harness::new().await;
    let (instance, root) = scene(&harness).await;
    let client = &harness.admin;
    let attach = [("VolumeId", root.as_str()), ("InstanceId", &instance), ("Device", "/dev/sdf")];
    assert_eq!(client.refused("AttachVolume", &attach).await, ("VolumeInUse".into(), 400));
    let detach = client.refused("DetachVolume", &[("VolumeId", &root)]).await;
    assert_eq!(detach, ("OperationNotPermitted".into(), 400));
    let modify = client.refused("ModifyVolume", &[("VolumeId", &root), ("Size", "900")]).await;
    assert_eq!(modify, ("OperationNotPermitted".into(), 400));
}

#[tokio::test]
async fn a_volume_is_modified_and_its_modification_described() {
    let harness = Harness::new().await;
    let (instance, _) = scene(&harness).await;
    let client = &harness.admin;
    let volume = attached(&harness, &instance, "/dev/sdf").await;
    let untouched = attached(&harness, &instance, "/dev/sdg").await;
    let own = [("VolumeId.1", volume.as_str())];
    let described = async || {
        let found = client.ok("DescribeVolumesModifications", &own).await;
        let at = |name: &str| {
            let [item] = found.items("volumeModificationSet") else { panic!("{found:?}") };
            item.text_at(name).to_owned()
        };
        ["modificationState", "progress", "originalSize", "targetSize"].map(at).join(" ")
    };
    assert_eq!(
        client.refused("DescribeVolumesModifications", &own).await.0,
        "InvalidVolumeModification.NotFound"
    );
    for (params, code) in [
        (vec![("Size", "0")], "InvalidParameterValue"),
        (vec![("Size", "20000")], "InvalidParameterValue"),
        (vec![("Size", "-1")], "InvalidParameterValue"),
        (vec![("VolumeType", "golden")], "UnknownVolumeType"),
        (vec![("Size", "3"), ("Iops", "99")], "InvalidParameterValue"),
        (vec![("Iops", "80001")], "InvalidParameterValue"),
        (vec![("Iops", "-3000")], "InvalidParameterValue"),
        (vec![("Throughput", "2001")], "InvalidParameterValue"),
        (vec![("Throughput", "0")], "InvalidParameterValue"),
    ] {
        let all = [&[("VolumeId", volume.as_str())], &params[..]].concat();
        assert_eq!(client.refused("ModifyVolume", &all).await.0, code, "{params:?}");
    }
    let grow = [
        ("VolumeId", volume.as_str()),
        ("Size", "3"),
        ("VolumeType", "gp2"),
        ("Iops", "3000"),
        ("Throughput", "125"),
    ];
    let dry = client.refused("ModifyVolume", &[&grow[..], &[("DryRun", "true")]].concat()).await;
    assert_eq!(dry.0, "DryRunOperation");
    let begun = client.ok("ModifyVolume", &grow).await;
    let at = |name: &str| begun.text_at(&format!("volumeModification.{name}")).to_owned();
    assert_eq!((at("modificationState"), at("targetSize")), ("modifying".into(), "3".into()));
    assert_eq!(at("targetVolumeType"), "gp3");
    assert_eq!(described().await, "modifying 0 1 3");
    let more = client.refused("ModifyVolume", &[("VolumeId", &volume), ("Size", "99")]).await;
    assert_eq!(more.0, "IncorrectModificationState");
    let less = client.refused("ModifyVolume", &[("VolumeId", &volume), ("Size", "2")]).await;
    assert_eq!(less.0, "InvalidParameterValue");
    // The volume's host first, then its guest's.
    harness.settle().await;
    harness.settle().await;
    assert_eq!(described().await, "completed 100 1 3");
    let shown = client.ok("DescribeVolumes", &own).await;
    assert_eq!(shown.text_at("volumeSet.item.size"), "3");
    let all = client.ok("DescribeVolumesModifications", &[]).await;
    assert_eq!(all.items("volumeModificationSet").len(), 1, "{untouched} was not modified");
    let found = async |name: &str, value: &str| {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        client.ok("DescribeVolumesModifications", &filter).await.items("volumeModificationSet").len()
    };
    for (filter, value, count) in [
        ("modification-state", "completed", 1),
        ("modification-state", "modifying", 0),
        ("original-size", "1", 1),
        ("original-iops", "3000", 1),
        ("target-iops", "500", 0),
        ("target-size", "1", 0),
        ("start-time", "20*", 1),
        ("volume-id", &volume, 1),
        ("volume-id", &untouched, 0),
    ] {
        assert_eq!(found(filter, value).await, count, "{filter}={value}");
    }
}

#[tokio::test]
async fn limits_are_shown_and_changed_and_the_usual_figures_stand_for_none() {
    let harness = Harness::new().await;
    let (instance, _) = scene(&harness).await;
    let client = &harness.admin;
    let create = async |limits: &[(&str, &str)]| {
        let made = client.ok("CreateVolume", &[&[("Size", "1")], limits].concat()).await;
        ["volumeId", "iops", "throughput"].map(|name| made.text_at(name).to_owned())
    };
    let [_, iops, throughput] = create(&[("Iops", "500"), ("ClientToken", "t")]).await;
    assert_eq!((iops.as_str(), throughput.as_str()), ("500", "125"), "what is not asked for is not limited");
    let other = client.refused("CreateVolume", &[("Size", "1"), ("Iops", "600"), ("ClientToken", "t")]).await;
    assert_eq!(other.0, "IdempotentParameterMismatch");
    let [volume, iops, throughput] = create(&[("Iops", "3000"), ("Throughput", "50")]).await;
    assert_eq!((iops.as_str(), throughput.as_str()), ("3000", "50"));
    harness.settle().await;
    let attach = [("VolumeId", volume.as_str()), ("InstanceId", &instance), ("Device", "/dev/sdf")];
    client.ok("AttachVolume", &attach).await;
    harness.settle().await;
    harness.settle().await;

    // A volume that grows keeps its limits, whether they are said again or not.
    let modify = async |change: &[(&str, &str)]| {
        let all = [&[("VolumeId", volume.as_str())], change].concat();
        client.ok("ModifyVolume", &all).await
    };
    modify(&[("Size", "2"), ("Throughput", "50")]).await;
    harness.settle().await;
    harness.settle().await;
    let begun = modify(&[("Iops", "700"), ("Throughput", "125")]).await;
    let at = |name: &str| begun.text_at(&format!("volumeModification.{name}")).to_owned();
    let told = ["modificationState", "originalIops", "originalThroughput", "targetIops", "targetThroughput"];
    assert_eq!(told.map(at), ["optimizing", "3000", "50", "700", "125"]);
    assert_eq!((at("originalSize"), at("targetSize")), ("2".into(), "2".into()));
    let early = client.refused("ModifyVolume", &[("VolumeId", &volume), ("Iops", "900")]).await;
    assert_eq!(early.0, "IncorrectModificationState");
    harness.settle().await;
    let own = [("VolumeId.1", volume.as_str())];
    let found = client.ok("DescribeVolumesModifications", &own).await;
    assert_eq!(found.text_at("volumeModificationSet.item.modificationState"), "completed");
    let shown = client.ok("DescribeVolumes", &own).await;
    let figures =
        ["iops", "throughput"].map(|name| shown.text_at(&format!("volumeSet.item.{name}")).to_owned());
    assert_eq!(figures, ["700", "125"]);
}

#[tokio::test]
async fn a_launch_limits_its_volumes_and_no_root_disk() {
    let harness = Harness::new().await;
    harness.pool().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let launch = |root: &'static str, data: &'static str| {
        [
            ("ImageId", image.as_str()),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.Iops", root),
            ("BlockDeviceMapping.1.Ebs.Throughput", "125"),
            ("BlockDeviceMapping.2.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.2.Ebs.VolumeSize", "4"),
            ("BlockDeviceMapping.2.Ebs.Throughput", data),
        ]
    };
    let refused = async |root, data| client.refused("RunInstances", &launch(root, data)).await.0;
    assert_eq!(refused("500", "50").await, "InvalidParameterValue", "a local root has no limits");
    assert_eq!(refused("3000", "2001").await, "InvalidParameterValue");
    assert_eq!(refused("3000", "-1").await, "InvalidParameterValue");
    client.ok("RunInstances", &launch("3000", "50")).await;
    let found = client.ok("DescribeVolumes", &[]).await;
    let mut shown: Vec<_> = found
        .items("volumeSet")
        .iter()
        .map(|volume| ["size", "iops", "throughput"].map(|name| volume.text_at(name).to_owned()).join(" "))
        .collect();
    shown.sort();
    assert_eq!(shown, ["2 3000 125", "4 3000 50"]);
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
    assert_eq!(refused(&[("Size", "1"), ("Iops", "99")]).await, "InvalidParameterValue");
    assert_eq!(refused(&[("Size", "1"), ("Throughput", "-1")]).await, "InvalidParameterValue");
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

#[tokio::test]
async fn volumes_and_snapshots_are_tagged_later_too() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    harness.pool().await;
    let volume = client.ok("CreateVolume", &[("Size", "1")]).await.text_at("volumeId").to_owned();
    harness.settle().await;
    let snapshot =
        client.ok("CreateSnapshot", &[("VolumeId", &volume)]).await.text_at("snapshotId").to_owned();
    let both = [("ResourceId.1", volume.as_str()), ("ResourceId.2", &snapshot)];
    let tag = [("Tag.1.Key", "stage"), ("Tag.1.Value", "late")];
    client.ok("CreateTags", &[&both[..], &tag].concat()).await;
    let filter = [("Filter.1.Name", "tag:stage"), ("Filter.1.Value.1", "late")];
    let shown = async || {
        let volumes = client.ok("DescribeVolumes", &filter).await.items("volumeSet").len();
        (volumes, client.ok("DescribeSnapshots", &filter).await.items("snapshotSet").len())
    };
    assert_eq!(shown().await, (1, 1));
    client.ok("DeleteTags", &[&both[..], &tag[..1]].concat()).await;
    assert_eq!(shown().await, (0, 0));
}

#[tokio::test]
async fn an_instance_that_boots_from_a_volume_shows_it_and_keeps_it_over_a_stop() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    harness.pool().await;
    let run = [
        ("ImageId", image.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false"),
    ];
    let made = client.ok("RunInstances", &run).await;
    let instance = made.text_at("instancesSet.item.instanceId").to_owned();
    let own = [("InstanceId.1", instance.as_str())];
    let settled = async || {
        for _ in 0..3 {
            harness.settle().await;
        }
        let shown = client.ok("DescribeInstances", &own).await;
        let at =
            |name: &str| shown.text_at(&format!("reservationSet.item.instancesSet.item.{name}")).to_owned();
        assert_eq!(at("rootDeviceName"), "/dev/sda1");
        let mapping = "blockDeviceMapping.item";
        let places = ["deviceName", "ebs.status", "ebs.deleteOnTermination"];
        let place = places.map(|name| at(&format!("{mapping}.{name}"))).join(" ");
        (at("instanceState.name"), place, at(&format!("{mapping}.ebs.volumeId")))
    };
    let (state, place, root) = settled().await;
    assert_eq!((state.as_str(), place.as_str()), ("running", "/dev/sda1 attached false"));
    let shown = client.ok("DescribeVolumes", &[("VolumeId.1", &root)]).await;
    assert_eq!(shown.text_at("volumeSet.item.status"), "in-use");
    let detach = client.refused("DetachVolume", &[("VolumeId", &root)]).await;
    assert_eq!(detach, ("OperationNotPermitted".into(), 400));

    let all = [("InstanceSpecification.InstanceId", instance.as_str())];
    let taken = client.ok("CreateSnapshots", &all).await;
    assert_eq!(taken.text_at("snapshotSet.item.volumeId"), root);
    let without = [&all[..], &[("InstanceSpecification.ExcludeBootVolume", "true")]].concat();
    assert_eq!(
        client.refused("CreateSnapshots", &without).await.0,
        "InvalidParameterValue",
        "nothing is left"
    );

    client.ok("StopInstances", &own).await;
    let stopped = settled().await;
    assert_eq!((stopped.0.as_str(), stopped.1.as_str()), ("stopped", "/dev/sda1 attached false"));
    client.ok("StartInstances", &own).await;
    let again = settled().await;
    assert_eq!((again.0.as_str(), again.2), ("running", root.clone()));

    let goes = [
        ("InstanceId", instance.as_str()),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
    ];
    client.ok("ModifyInstanceAttribute", &goes).await;
    client.ok("TerminateInstances", &own).await;
    for _ in 0..3 {
        harness.settle().await;
    }
    assert_eq!(client.refused("DescribeVolumes", &[("VolumeId.1", &root)]).await.0, "InvalidVolume.NotFound");
}

#[tokio::test]
async fn the_end_of_a_volume_is_an_event_of_its_status_once_it_is_warned_of() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    harness.pool().await;
    let made = client.ok("CreateVolume", &[("Size", "1"), ("AvailabilityZone", "test-1a")]).await;
    let volume = made.text_at("volumeId").to_owned();
    harness.settle().await;
    let caller = harness.caller(&client.key_id).await;
    let set = harness.cloud.set_volume_ttl(&caller, volume.parse().unwrap(), Some(36_000)).await.unwrap();
    let status = async || client.ok("DescribeVolumeStatus", &[("VolumeId.1", &volume)]).await;
    let before = status().await;
    assert!(before.items("volumeStatusSet.item.eventsSet").is_empty(), "{before:?}");
    harness.clock.advance(9 * 3600);
    harness.cloud.end_volumes().await.unwrap();
    let warned = status().await;
    let event =
        |field: &str| warned.text_at(&format!("volumeStatusSet.item.eventsSet.item.{field}")).to_owned();
    assert_eq!((event("eventType"), event("eventId")), ("scheduled-deletion".into(), format!("e{volume}")));
    assert_eq!(event("notBefore").parse::<jiff::Timestamp>().unwrap(), set.end.unwrap().at);
    let filter = [("Filter.1.Name", "event.event-type"), ("Filter.1.Value.1", "scheduled-deletion")];
    let found = client.ok("DescribeVolumeStatus", &filter).await;
    assert_eq!(found.text_at("volumeStatusSet.item.volumeId"), volume);
}
