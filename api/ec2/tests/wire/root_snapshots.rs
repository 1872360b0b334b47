//! Snapshots of root disks that are local to their hosts, as EC2 shows them.

use crate::harness::Harness;
use crate::volumes::scene;

#[tokio::test]
async fn a_local_root_has_snapshots_of_its_own_and_with_the_other_disks() {
    let harness = Harness::new().await;
    let (instance, root) = scene(&harness).await;
    let client = &harness.admin;
    let taken = client.ok("CreateSnapshot", &[("VolumeId", &root), ("Description", "before")]).await;
    assert_eq!((taken.text_at("volumeId"), taken.text_at("status")), (root.as_str(), "pending"));
    let id = taken.text_at("snapshotId").to_owned();
    let named = ("InstanceSpecification.InstanceId", instance.as_str());
    let both = client.ok("CreateSnapshots", &[named]).await;
    assert_eq!(both.text_at("snapshotSet.item.volumeId"), root);
    let excluded = ("InstanceSpecification.ExcludeBootVolume", "true");
    let by_id = ("InstanceSpecification.ExcludeDataVolumeId.1", root.as_str());
    for excluded in [excluded, by_id] {
        let none = client.refused("CreateSnapshots", &[named, excluded]).await;
        assert_eq!(none, ("InvalidParameterValue".into(), 400));
    }

    harness.settle().await;
    let shown = client.ok("DescribeSnapshots", &[("SnapshotId.1", &id)]).await;
    assert_eq!(shown.text_at("snapshotSet.item.status"), "completed");
    assert_eq!(shown.text_at("snapshotSet.item.volumeId"), root);
    assert_eq!(shown.text_at("snapshotSet.item.volumeSize"), taken.text_at("volumeSize"));
    let other = harness.member("other").await;
    let foreign = other.refused("CreateSnapshot", &[("VolumeId", &root)]).await;
    assert_eq!(foreign.0, "InvalidVolume.NotFound");
}
