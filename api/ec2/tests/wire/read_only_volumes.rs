//! `MultiAttachEnabled`: volumes that several instances read, and none writes.

use crate::harness::Harness;

/// A pool, a snapshot and two running instances.
async fn scene(harness: &Harness) -> (String, [String; 2]) {
    harness.pool().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let run = [("ImageId", image.as_str()), ("MinCount", "2"), ("MaxCount", "2")];
    let made = client.ok("RunInstances", &run).await;
    let [one, two] = made.items("instancesSet") else { panic!("{made:?}") };
    let instances = [one, two].map(|instance| instance.text_at("instanceId").to_owned());
    let source = client.ok("CreateVolume", &[("Size", "2")]).await.text_at("volumeId").to_owned();
    harness.settle().await;
    let taken = client.ok("CreateSnapshot", &[("VolumeId", &source)]).await;
    harness.settle().await;
    (taken.text_at("snapshotId").to_owned(), instances)
}

#[tokio::test]
async fn a_volume_of_a_snapshot_is_attached_to_several_and_detached_one_by_one() {
    let harness = Harness::new().await;
    let (snapshot, instances) = scene(&harness).await;
    let client = &harness.admin;
    let empty = [("Size", "1"), ("MultiAttachEnabled", "true")];
    assert_eq!(client.refused("CreateVolume", &empty).await, ("InvalidParameterValue".into(), 400));
    let of = [("SnapshotId", snapshot.as_str()), ("MultiAttachEnabled", "true")];
    let made = client.ok("CreateVolume", &of).await;
    let volume = made.text_at("volumeId").to_owned();
    assert_eq!((made.text_at("multiAttachEnabled"), made.text_at("size")), ("true", "2"));
    harness.settle().await;
    for instance in &instances {
        let attach = [("VolumeId", volume.as_str()), ("InstanceId", instance), ("Device", "/dev/sdf")];
        client.ok("AttachVolume", &attach).await;
        assert_eq!(client.refused("AttachVolume", &attach).await.0, "VolumeInUse");
    }
    harness.settle().await;
    harness.settle().await;

    let filter = |value| [("Filter.1.Name", "multi-attach-enabled"), ("Filter.1.Value.1", value)];
    let found = client.ok("DescribeVolumes", &filter("true")).await;
    let [shown] = found.items("volumeSet") else { panic!("{found:?}") };
    assert_eq!((shown.text_at("status"), shown.text_at("multiAttachEnabled")), ("in-use", "true"));
    let mut places: Vec<_> = shown
        .items("attachmentSet")
        .iter()
        .map(|place| ["instanceId", "device", "status"].map(|at| place.text_at(at).to_owned()))
        .collect();
    let place = |instance: &String| [instance.clone(), "/dev/sdf".into(), "attached".into()];
    let mut wanted = instances.each_ref().map(place);
    places.sort();
    wanted.sort();
    assert_eq!(places, wanted);
    let others = client.ok("DescribeVolumes", &filter("false")).await.items("volumeSet").len();
    assert_eq!(others, 3, "what it was made of, and two root disks");
    let of = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", instances[1].as_str())];
    assert_eq!(client.ok("DescribeVolumes", &of).await.items("volumeSet").len(), 2, "and its root disk");
    for instance in &instances {
        let own = [("InstanceId", instance.as_str()), ("Attribute", "blockDeviceMapping")];
        let shown = client.ok("DescribeInstanceAttribute", &own).await;
        let volumes: Vec<_> =
            shown.items("blockDeviceMapping").iter().map(|one| one.text_at("ebs.volumeId")).collect();
        assert!(volumes.contains(&volume.as_str()), "{volumes:?}");
    }

    let modify = |on| [("VolumeId", volume.as_str()), ("MultiAttachEnabled", on)];
    assert_eq!(client.refused("ModifyVolume", &modify("false")).await.0, "InvalidParameterValue");
    let larger = [("VolumeId", volume.as_str()), ("Size", "3")];
    assert_eq!(client.refused("ModifyVolume", &larger).await.0, "InvalidParameterValue");
    assert_eq!(client.refused("DeleteVolume", &[("VolumeId", &volume)]).await.0, "VolumeInUse");
    let unnamed = client.refused("DetachVolume", &[("VolumeId", &volume)]).await;
    assert_eq!(unnamed, ("InvalidParameterValue".into(), 400));
    for (instance, left) in instances.iter().zip([1, 0]) {
        let detach = [("VolumeId", volume.as_str()), ("InstanceId", instance)];
        assert_eq!(client.ok("DetachVolume", &detach).await.text_at("instanceId"), instance);
        harness.settle().await;
        harness.settle().await;
        let shown = client.ok("DescribeVolumes", &[("VolumeId.1", &volume)]).await;
        assert_eq!(shown.items("volumeSet")[0].items("attachmentSet").len(), left);
    }

    let done = client.ok("ModifyVolume", &modify("false")).await;
    let change = ["modificationState", "originalMultiAttachEnabled", "targetMultiAttachEnabled"];
    let change = change.map(|at| done.text_at(&format!("volumeModification.{at}")).to_owned());
    assert_eq!(change, ["completed", "true", "false"]);
    let filter = [("Filter.1.Name", "original-multi-attach-enabled"), ("Filter.1.Value.1", "true")];
    let found = client.ok("DescribeVolumesModifications", &filter).await;
    assert_eq!(found.items("volumeModificationSet").len(), 1);
    let shown = client.ok("DescribeVolumes", &[("VolumeId.1", &volume)]).await;
    assert_eq!(shown.text_at("volumeSet.item.multiAttachEnabled"), "false");
}
