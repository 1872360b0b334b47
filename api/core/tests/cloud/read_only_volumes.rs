//! Volumes that many instances have at once, and none writes.

use std::collections::BTreeSet;

use tepui_core::{AttachVolume, CreateSnapshots, CreateVolume, DetachVolume, Error, Kind, ModifyVolume};
use tepui_db::model::{AttachmentState, VolumeState};
use tepui_types::agent::{DiskPart, ExportPart};
use tepui_types::{InstanceId, SnapshotId, VolumeId};

use crate::volumes::{Site, same};

impl Site {
    async fn golden(&self) -> SnapshotId {
        let source = self.available().await;
        let request = CreateSnapshots {
            volumes: vec![source],
            description: "golden".into(),
            ..CreateSnapshots::default()
        };
        let made = self.t.cloud.create_snapshots(&self.t.admin, &request).await.unwrap();
        self.serve().await;
        made[0].snapshot.id
    }

    async fn read_only(&self) -> VolumeId {
        let request = read_only_of(self.golden().await);
        let view = self.t.cloud.create_volume(&self.t.admin, request).await.unwrap();
        assert!(view.read_only);
        self.serve().await;
        view.id
    }

    async fn attach_to(&self, volume_id: VolumeId, instance_id: InstanceId) -> Result<(), Error> {
        let request = AttachVolume { volume_id, instance_id, device: "/dev/sdf".into() };
        self.t.cloud.attach_volume(&self.t.admin, request).await.map(drop)
    }

    async fn detach_named(&self, volume_id: VolumeId, instance_id: Option<InstanceId>) -> Result<(), Error> {
        let request = DetachVolume { volume_id, instance_id, device: None, force: true };
        self.t.cloud.detach_volume(&self.t.admin, request).await.map(drop)
    }

    async fn users(&self, id: VolumeId) -> BTreeSet<InstanceId> {
        self.volume(id).await.attachments.iter().map(|one| one.instance_id).collect()
    }
}

fn read_only_of(snapshot: SnapshotId) -> CreateVolume {
    CreateVolume { snapshot_id: Some(snapshot), read_only: true, ..CreateVolume::default() }
}

#[tokio::test]
async fn what_nobody_can_ever_write_is_made_of_a_snapshot() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let empty = CreateVolume { size_gib: Some(1), read_only: true, ..CreateVolume::default() };
    let error = cloud.create_volume(admin, empty).await.unwrap_err();
    let words = "read_only 'true': needs a snapshot: a volume that several instances may attach (MultiAttachEnabled) is \
                 read-only for all of them, so that nobody could ever write this one";
    assert_eq!(error.to_string(), words);
    let token = Some("t".to_owned());
    let of = read_only_of(site.golden().await);
    let made = cloud.create_volume(admin, CreateVolume { client_token: token.clone(), ..of.clone() }).await;
    let again = cloud.create_volume(admin, CreateVolume { client_token: token.clone(), ..of.clone() }).await;
    assert_eq!(made.unwrap().id, again.unwrap().id);
    let other = CreateVolume { client_token: token, read_only: false, ..of };
    assert!(matches!(cloud.create_volume(admin, other).await, Err(Error::TokenMismatch { .. })));
}

#[tokio::test]
async fn each_reader_has_an_export_of_its_own_and_leaves_alone() {
    let site = Site::new().await;
    let id = site.read_only().await;
    let other = site.instances(1).await[0];
    site.attach_to(id, site.instance).await.unwrap();
    site.attach_to(id, other).await.unwrap();
    let twice = site.attach_to(id, other).await.unwrap_err();
    assert!(matches!(&twice, Error::InUse { kind: Kind::Volume, by, .. } if by.contains(&other.to_string())));
    let part = site.part().await;
    let secrets: BTreeSet<_> = part
        .exports
        .iter()
        .map(|export| match &export.wanted {
            ExportPart::Open { secret, read_only: true, .. } => secret.clone(),
            wanted => panic!("{wanted:?}"),
        })
        .collect();
    assert_eq!(secrets.len(), 2, "no two share one");
    site.serve().await;
    let disks = site.disks().await;
    let [(export, DiskPart::Attached(spec))] = disks.as_slice() else { panic!("{disks:?}") };
    assert!(spec.read_only);

    let error = site.detach_named(id, None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("instance '': is needed: 2 instances have {id}"));
    assert!(site.volume(id).await.attachments.iter().all(|one| one.state != AttachmentState::Detaching));
    site.detach_named(id, Some(other)).await.unwrap();
    let part = site.part().await;
    let shut: Vec<_> = part.exports.iter().filter(|one| one.wanted == ExportPart::Absent).collect();
    assert!(shut.len() == 1 && shut[0].id != *export, "{part:?}");
    site.serve().await;
    assert_eq!(site.users(id).await, [site.instance].into());
    assert_eq!(site.disks().await, disks, "nothing is new for its guest");

    let used = site.t.cloud.delete_volume(&site.t.admin, id).await.unwrap_err();
    assert!(matches!(used, Error::InUse { kind: Kind::Volume, .. }), "{used:?}");
    site.detach_named(id, None).await.unwrap();
    site.serve().await;
    site.t.cloud.delete_volume(&site.t.admin, id).await.unwrap();
    site.serve().await;
    let findings = site.t.cloud.doctor(&site.t.admin).await.unwrap();
    assert!(findings.iter().all(|finding| !finding.object.starts_with("volume ")), "{findings:?}");
}

#[tokio::test]
async fn sixteen_instances_may_have_it() {
    let site = Site::new().await;
    let id = site.read_only().await;
    let instances = site.instances(17).await;
    for instance in &instances[..16] {
        site.attach_to(id, *instance).await.unwrap();
    }
    let error = site.attach_to(id, instances[16]).await.unwrap_err();
    assert_eq!(error.to_string(), "instances of a read-only volume: at most 16");
    site.detach_named(id, Some(instances[0])).await.unwrap();
    site.serve().await;
    site.attach_to(id, instances[16]).await.unwrap();
    assert_eq!(site.users(id).await, instances[1..].iter().copied().collect());
}

#[tokio::test]
async fn access_and_size_change_while_no_instance_has_it() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let id = site.available().await;
    let switch =
        async |on| cloud.modify_volume(admin, ModifyVolume { read_only: Some(on), ..same(id) }).await;
    site.attach(id, "/dev/sdf").await.unwrap();
    let error = switch(true).await.unwrap_err().to_string();
    let instance = site.instance;
    let words = "changes only while no instance has the volume";
    assert_eq!(error, format!("read_only 'true': {words}, and {instance} has it"));
    site.detach_named(id, None).await.unwrap();
    site.serve().await;
    let done = switch(true).await.unwrap();
    assert_eq!((done.original_read_only, done.target_read_only), (false, true));
    assert!(done.ended_at.is_some() && site.volume(id).await.read_only);
    site.attach(id, "/dev/sdf").await.unwrap();
    let error = switch(false).await.unwrap_err().to_string();
    assert_eq!(error, format!("read_only 'false': {words}, and {instance} has it"));
    let larger = ModifyVolume { size_gib: Some(9), ..same(id) };
    let error = cloud.modify_volume(admin, larger).await.unwrap_err().to_string();
    let words = "a read-only volume grows only while no instance has it";
    assert_eq!(error, format!("size '9': {words}, and {instance} has it"));
    let limited = ModifyVolume { iops: Some(500), read_only: Some(true), ..same(id) };
    assert_eq!(cloud.modify_volume(admin, limited).await.unwrap().target_limits.iops, 500);

    // What it holds is kept as of every other volume.
    let request = CreateSnapshots { volumes: vec![id], ..CreateSnapshots::default() };
    let taken = cloud.create_snapshots(admin, &request).await.unwrap()[0].snapshot.id;
    site.serve().await;
    let copy = CreateVolume { snapshot_id: Some(taken), ..CreateVolume::default() };
    let copy = cloud.create_volume(admin, copy).await.unwrap();
    assert!(!copy.read_only, "a copy is its owner's to write");
    assert_eq!((copy.state, copy.size_gib), (VolumeState::Creating, 4));
}
