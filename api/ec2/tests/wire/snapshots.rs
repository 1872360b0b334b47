//! Copies of snapshots, with whom they are shared, and those of all volumes of an instance.

use crate::client::Client;
use crate::harness::Harness;
use crate::reply::Element;
use crate::volumes::{attached, scene};

#[tokio::test]
async fn a_snapshot_is_copied_within_the_region_and_shown_as_awss_copies_are() {
    let harness = Harness::new().await;
    harness.pool().await;
    let client = &harness.admin;
    let volume = client.ok("CreateVolume", &[("Size", "1")]).await.text_at("volumeId").to_owned();
    harness.settle().await;
    let taken = client.ok("CreateSnapshot", &[("VolumeId", &volume)]).await.text_at("snapshotId").to_owned();
    harness.settle().await;
    let own = [("SourceRegion", "test-1"), ("SourceSnapshotId", taken.as_str())];
    for (params, code) in [
        (vec![("SourceSnapshotId", taken.as_str())], "MissingParameter"),
        (vec![("SourceRegion", "us-east-1"), ("SourceSnapshotId", &taken)], "InvalidParameterValue"),
        (vec![("SourceRegion", "test-1"), ("SourceSnapshotId", "snap-1")], "InvalidSnapshotID.Malformed"),
        ([&own[..], &[("DestinationRegion", "us-east-1")]].concat(), "InvalidParameterValue"),
        ([&own[..], &[("Encrypted", "true")]].concat(), "UnsupportedOperation"),
        ([&own[..], &[("DryRun", "true")]].concat(), "DryRunOperation"),
    ] {
        assert_eq!(client.refused("CopySnapshot", &params).await.0, code, "{params:?}");
    }
    // What boto3 adds by itself.
    let signed =
        [("DestinationRegion", "test-1"), ("PresignedUrl", "https://ec2.test-1/?Action=CopySnapshot")];
    let more = [
        ("Description", "kept"),
        ("TagSpecification.1.ResourceType", "snapshot"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "copy"),
    ];
    let made = client.ok("CopySnapshot", &[&own[..], &signed, &more].concat()).await;
    let copy = made.text_at("snapshotId").to_owned();
    assert_eq!(made.text_at("tagSet.item.value"), "copy");
    assert_eq!(
        client.refused("CopySnapshot", &[("SourceRegion", "test-1"), ("SourceSnapshotId", &copy)]).await.0,
        "IncorrectState"
    );
    assert_eq!(client.refused("DeleteSnapshot", &[("SnapshotId", &taken)]).await.0, "InvalidSnapshot.InUse");
    harness.settle().await;
    client.ok("DeleteSnapshot", &[("SnapshotId", &taken)]).await;
    harness.settle().await;
    let shown = client.ok("DescribeSnapshots", &[("SnapshotId.1", &copy)]).await;
    let at = |name: &str| shown.text_at(&format!("snapshotSet.item.{name}")).to_owned();
    assert_eq!(
        ["volumeId", "volumeSize", "status", "description"].map(at),
        ["vol-ffffffff", "1", "completed", "kept"]
    );
    let of_none = [("Filter.1.Name", "volume-id"), ("Filter.1.Value.1", "vol-ffffffff")];
    let found = client.ok("DescribeSnapshots", &of_none).await;
    assert_eq!(found.items("snapshotSet").len(), 1);
    let volume = client.ok("CreateVolume", &[("SnapshotId", &copy)]).await;
    assert_eq!((volume.text_at("size"), volume.text_at("snapshotId")), ("1", copy.as_str()));
}

/// A snapshot of the client's that is completed and has a name.
async fn snapshot(harness: &Harness, client: &Client, name: &str) -> String {
    let volume = client.ok("CreateVolume", &[("Size", "1")]).await.text_at("volumeId").to_owned();
    harness.settle().await;
    let tagged = [
        ("VolumeId", volume.as_str()),
        ("TagSpecification.1.ResourceType", "snapshot"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", name),
    ];
    let taken = client.ok("CreateSnapshot", &tagged).await.text_at("snapshotId").to_owned();
    harness.settle().await;
    taken
}

async fn seen(client: &Client, params: &[(&str, &str)]) -> Vec<String> {
    let found = client.ok("DescribeSnapshots", params).await;
    found.items("snapshotSet").iter().map(|one| one.text_at("snapshotId").to_owned()).collect()
}

#[tokio::test]
async fn shared_snapshots_are_found_by_owner_and_by_who_can_restore_them() {
    let harness = Harness::new().await;
    harness.pool().await;
    let (us, them, other) =
        (harness.member("us").await, harness.member("them").await, harness.member("other").await);
    let named = snapshot(&harness, &them, "named").await;
    let public = snapshot(&harness, &them, "public").await;
    let hidden = snapshot(&harness, &them, "hidden").await;
    let own = snapshot(&harness, &us, "own").await;
    let permit = async |id: &str, permission: (&str, &str)| {
        them.ok("ModifySnapshotAttribute", &[("SnapshotId", id), permission]).await;
    };
    permit(&named, ("CreateVolumePermission.Add.1.UserId", &us.project)).await;
    permit(&public, ("CreateVolumePermission.Add.1.Group", "all")).await;

    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(seen(&us, &[]).await, sorted(&[&named, &public, &own]));
    assert_eq!(seen(&other, &[]).await, sorted(&[&public]));
    assert_eq!(seen(&us, &[("Owner.1", "self")]).await, sorted(&[&own]));
    assert_eq!(seen(&us, &[("Owner.1", &them.project)]).await, sorted(&[&named, &public]));
    assert_eq!(seen(&us, &[("RestorableBy.1", "self")]).await, sorted(&[&named, &own]));
    assert_eq!(seen(&us, &[("RestorableBy.1", "all")]).await, sorted(&[&public]));
    assert_eq!(seen(&them, &[("RestorableBy.1", &us.project)]).await, sorted(&[&named]));
    assert_eq!(
        seen(&us, &[("RestorableBy.1", &other.project)]).await,
        [""; 0],
        "whom else is its owner's to know"
    );
    let both = [("Owner.1", them.project.as_str()), ("RestorableBy.1", "self")];
    assert_eq!(seen(&us, &both).await, sorted(&[&named]));
    let hidden_one =
        us.refused("DescribeSnapshots", &[("SnapshotId.1", &named), ("SnapshotId.2", &hidden)]).await;
    assert_eq!(hidden_one.0, "InvalidSnapshot.NotFound");

    let shown = us.ok("DescribeSnapshots", &[("SnapshotId.1", &named)]).await;
    assert_eq!(shown.text_at("snapshotSet.item.ownerId"), them.project);
    assert!(shown.items("snapshotSet.item.tagSet").is_empty(), "tags are their owner's");
    let by_tag = [("Filter.1.Name", "tag:Name"), ("Filter.1.Value.1", "named")];
    assert_eq!(seen(&us, &by_tag).await, [""; 0]);
    assert_eq!(seen(&them, &by_tag).await, sorted(&[&named]));
}

#[tokio::test]
async fn permissions_are_added_removed_and_reset_in_both_of_awss_ways() {
    let harness = Harness::new().await;
    harness.pool().await;
    let (us, them) = (harness.member("us").await, harness.member("them").await);
    let id = snapshot(&harness, &them, "one").await;
    let attribute = [("SnapshotId", id.as_str()), ("Attribute", "createVolumePermission")];
    let told = async || {
        let shown = them.ok("DescribeSnapshotAttribute", &attribute).await;
        assert_eq!(shown.text_at("snapshotId"), id);
        let one = |item: &Element| item.children.iter().map(|child| child.text.clone()).collect::<String>();
        shown.items("createVolumePermission").iter().map(one).collect::<Vec<_>>()
    };
    let modify = async |more: &[(&str, &str)]| {
        them.ok("ModifySnapshotAttribute", &[&attribute[..], more].concat()).await;
    };
    assert_eq!(told().await, [""; 0]);
    modify(&[("OperationType", "add"), ("UserId.1", &us.project), ("UserGroup.1", "all")]).await;
    assert_eq!(told().await, ["all", &us.project]);
    modify(&[("OperationType", "remove"), ("UserGroup.1", "all")]).await;
    assert_eq!(told().await, [us.project.as_str()]);
    let swap = [
        ("CreateVolumePermission.Add.1.UserId", harness.admin.project.as_str()),
        ("CreateVolumePermission.Remove.1.UserId", &us.project),
    ];
    modify(&swap).await;
    assert_eq!(told().await, [harness.admin.project.as_str()]);
    modify(&swap).await;
    assert_eq!(told().await, [harness.admin.project.as_str()], "twice is once");
    them.ok("ResetSnapshotAttribute", &attribute).await;
    assert_eq!(told().await, [""; 0]);

    let add = ("OperationType", "add");
    for (params, code) in [
        (vec![], "MissingParameter"),
        (vec![add], "MissingParameter"),
        (vec![("UserId.1", us.project.as_str())], "MissingParameter"),
        (vec![("OperationType", "set"), ("UserId.1", &us.project)], "InvalidParameterValue"),
        (vec![add, ("UserGroup.1", "friends")], "InvalidParameterValue"),
        (vec![add, ("UserId.1", "us")], "InvalidUserID.Malformed"),
        (vec![add, ("UserId.1", "000000000001")], "InvalidUserID.Malformed"),
        (vec![add, swap[0]], "InvalidParameterCombination"),
        (vec![swap[0], ("UserId.1", &us.project)], "InvalidParameterCombination"),
        (vec![swap[0], ("CreateVolumePermission.Add.1.Group", "all")], "InvalidParameterCombination"),
        (vec![add, ("UserGroup.1", "all"), ("DryRun", "true")], "DryRunOperation"),
    ] {
        let all = [&attribute[..], &params].concat();
        assert_eq!(them.refused("ModifySnapshotAttribute", &all).await.0, code, "{params:?}");
    }
    let codes = [("SnapshotId", id.as_str()), ("Attribute", "productCodes")];
    for action in ["DescribeSnapshotAttribute", "ModifySnapshotAttribute", "ResetSnapshotAttribute"] {
        assert_eq!(them.refused(action, &codes).await.0, "InvalidParameterValue", "{action}");
    }
    assert_eq!(told().await, [""; 0]);
}

/// EC2 promises one moment of all volumes of an instance: it is paused for it, which no client has to ask for.
#[tokio::test]
async fn snapshots_of_several_volumes_of_an_instance_are_of_one_moment() {
    let harness = Harness::new().await;
    let (instance, root) = scene(&harness).await;
    let client = &harness.admin;
    for device in ["/dev/sdf", "/dev/sdg"] {
        attached(&harness, &instance, device).await;
    }
    let of = [("InstanceSpecification.InstanceId", instance.as_str()), ("Description", "whole")];
    let rehearsed = client.refused("CreateSnapshots", &[&of[..], &[("DryRun", "true")]].concat()).await;
    assert_eq!(rehearsed, ("DryRunOperation".into(), 412));
    let taken = client.ok("CreateSnapshots", &of).await;
    assert_eq!(taken.items("snapshotSet").len(), 3);
    let busy = client.refused("CreateSnapshots", &of).await;
    assert_eq!(busy, ("Unavailable".into(), 503), "which clients repeat by themselves");
    let states = async || {
        let found = client.ok("DescribeSnapshots", &[("Owner.1", "self")]).await;
        let state = |one: &Element| (one.text_at("volumeId") == root, one.text_at("status").to_owned());
        found.items("snapshotSet").iter().map(state).collect::<Vec<_>>()
    };
    // The guest is paused, the snapshots are taken, it goes on; that of the local root disk waits for nothing of it.
    harness.settle().await;
    for (is_root, state) in states().await {
        assert_eq!(state, if is_root { "completed" } else { "pending" });
    }
    harness.settle().await;
    harness.settle().await;
    for (_, state) in states().await {
        assert_eq!(state, "completed");
    }
    client.ok("CreateSnapshots", &of).await;
}
