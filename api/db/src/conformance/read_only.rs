//! Volumes that nobody writes and many instances have at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tepui_types::agent::IoLimits;
use tepui_types::{ExportId, InstanceId, VolumeId};

use super::site::{Site, size, source};
use crate::model::{AttachmentState, ExportState, NodeState, StateReason, VolumeState};
use crate::{
    AttachOutcome, Db, DetachOutcome, Detachment, NewVolumeOutcome, StorageNews, VolumeChange, VolumeOutcome,
};

impl Site {
    /// A volume that its host has made and nobody writes.
    pub(super) async fn read_only(&self) -> VolumeId {
        let mut new = self.new_volume(4);
        new.volume.read_only = true;
        assert_eq!(self.create(&new).await, NewVolumeOutcome::Created(self.storage));
        self.says(self.storage, StorageNews::VolumePresent(new.volume.id, 4)).await;
        new.volume.id
    }

    async fn running(&self) -> InstanceId {
        self.world.running(&self.tenant, self.compute).await
    }

    async fn detach_from(&self, volume_id: VolumeId, instance_id: InstanceId) -> DetachOutcome {
        let (project_id, instance_id) = (self.tenant.project, Some(instance_id));
        let what = Detachment { project_id, volume_id, instance_id, device: None, force: false };
        self.world.db.detach_volume(&what).await.unwrap()
    }

    async fn switch(&self, id: VolumeId, read_only: bool) -> VolumeOutcome {
        let change = VolumeChange { read_only: Some(read_only), ..VolumeChange::default() };
        self.modify(id, change, self.world.now()).await
    }

    async fn is_attached(&self, volume: VolumeId, export: ExportId) -> bool {
        let all = self.attachments(volume).await;
        let own = all.iter().find(|one| one.export_id == export);
        own.is_some_and(|one| (one.state, one.export_state) == (AttachmentState::Attached, ExportState::Open))
    }
}

pub async fn readers_share_a_volume_and_leave_it_one_by_one(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.read_only().await;
    let [first, second] = [site.running().await, site.running().await];
    let one = site.attached(volume, first, "/dev/sdf").await;
    let two = site.attached(volume, second, "/dev/sdg").await;
    let again = site.new_attachment(volume, first, "/dev/sdh");
    assert_eq!(site.try_attach(&again).await, AttachOutcome::InUse(first));
    let part = site.world.db.storage_part(site.storage).await.unwrap().unwrap();
    let access: BTreeSet<_> =
        part.attachments.iter().map(|(one, _)| (one.export_id, one.read_only)).collect();
    assert_eq!(access, [(one, true), (two, true)].into());
    assert_eq!(site.world.record(&site.tenant, second).await.attachments[0].export_id, two);

    assert_eq!(site.detach(volume, false).await, DetachOutcome::Several(2));
    let outcome = site.detach_from(volume, first).await;
    assert!(
        matches!(&outcome, DetachOutcome::Detaching { instance_id, .. } if *instance_id == first),
        "{outcome:?}"
    );
    site.says(site.compute, StorageNews::DiskAbsent(one)).await;
    assert!(site.is_attached(volume, two).await, "nobody touched the other's");
    assert_eq!(site.try_attach(&again).await, AttachOutcome::InUse(first), "it is not fenced yet");
    site.says(site.storage, StorageNews::ExportGone(one)).await;
    assert!(site.is_attached(volume, two).await);
    assert_eq!(site.delete(volume).await, VolumeOutcome::InUse(second));
    assert_eq!(site.try_attach(&again).await, AttachOutcome::Attaching(site.storage));

    site.detach_from(volume, first).await;
    site.says(site.storage, StorageNews::ExportGone(again.export_id)).await;
    // One is left, and need not be named.
    let outcome = site.detach(volume, true).await;
    assert!(matches!(outcome, DetachOutcome::Detaching { .. }), "{outcome:?}");
    assert_eq!(site.delete(volume).await, VolumeOutcome::InUse(second));
    site.says(site.storage, StorageNews::ExportGone(two)).await;
    assert_eq!(site.delete(volume).await, VolumeOutcome::Changed(vec![site.storage]));
    site.assert_books().await;
}

pub async fn a_volume_has_readers_or_one_writer(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.volume(4).await;
    let [first, second] = [site.running().await, site.running().await];
    let writer = site.attached(volume, first, "/dev/sdf").await;
    assert!(!site.attachments(volume).await[0].read_only);
    assert_eq!(site.switch(volume, true).await, VolumeOutcome::InUse(first));
    assert_eq!(site.switch(volume, false).await, VolumeOutcome::Unchanged);
    site.detach(volume, true).await;
    assert_eq!(site.switch(volume, true).await, VolumeOutcome::InUse(first), "its writer is not fenced");
    site.says(site.storage, StorageNews::ExportGone(writer)).await;
    assert_eq!(site.switch(volume, true).await, VolumeOutcome::Changed(vec![]));
    let done = site.modification(volume).await.unwrap();
    assert_eq!((done.original_read_only, done.target_read_only), (false, true));
    assert!(done.ended_at.is_some(), "it is nobody's work");
    let one = site.attached(volume, first, "/dev/sdf").await;
    let two = site.attached(volume, second, "/dev/sdf").await;
    assert!(site.attachments(volume).await.iter().all(|one| one.read_only));
    for (instance, export) in [(first, one), (second, two)] {
        assert!(matches!(site.switch(volume, false).await, VolumeOutcome::InUse(_)));
        site.detach_from(volume, instance).await;
        site.says(site.compute, StorageNews::DiskAbsent(export)).await;
        assert!(matches!(site.switch(volume, false).await, VolumeOutcome::InUse(_)), "still served");
        site.says(site.storage, StorageNews::ExportGone(export)).await;
    }
    assert_eq!(site.switch(volume, false).await, VolumeOutcome::Changed(vec![]));
    let next = site.new_attachment(volume, second, "/dev/sdf");
    assert_eq!(site.try_attach(&next).await, AttachOutcome::Attaching(site.storage));
    assert!(!site.attachments(volume).await[0].read_only);
    site.assert_books().await;
}

pub async fn of_parallel_readers_as_many_win_as_may(db: Arc<dyn Db>) {
    let site = Arc::new(Site::new(db).await);
    let volume = site.read_only().await;
    let mut instances = Vec::new();
    for _ in 0..5 {
        instances.push(site.running().await);
    }
    let attach = |number: usize| {
        let (site, instance) = (Arc::clone(&site), instances[number % 5]);
        let new = site.new_attachment(volume, instance, "/dev/sdf");
        tokio::spawn(async move { (instance, site.try_attach(&new).await) })
    };
    let calls: Vec<_> = (0..100).map(attach).collect();
    let mut won = BTreeSet::new();
    for call in calls {
        let (instance, outcome) = call.await.unwrap();
        match outcome {
            AttachOutcome::Attaching(_) => assert!(won.insert(instance), "{instance} has it twice"),
            AttachOutcome::InUse(user) => assert_eq!(user, instance),
            AttachOutcome::TooManyInstances => assert!(!won.contains(&instance)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(won.len(), 3, "{won:?}");
    let users: BTreeSet<_> = site.attachments(volume).await.iter().map(|one| one.instance_id).collect();
    assert_eq!(users, won);
    site.assert_books().await;
}

/// Whoever is first, no instance writes what another one reads.
pub async fn a_switch_races_with_attachments_and_one_access_wins(db: Arc<dyn Db>) {
    let site = Arc::new(Site::new(db).await);
    let instances = [site.running().await, site.running().await, site.running().await];
    for round in 0..20 {
        let volume = site.volume(1).await;
        let attach = |instance| {
            let site = Arc::clone(&site);
            let new = site.new_attachment(volume, instance, "/dev/sdf");
            tokio::spawn(async move { matches!(site.try_attach(&new).await, AttachOutcome::Attaching(_)) })
        };
        let switch = |read_only| {
            let site = Arc::clone(&site);
            tokio::spawn(async move {
                let outcome = site.switch(volume, read_only).await;
                assert!(!matches!(outcome, VolumeOutcome::NotFound), "{outcome:?}");
            })
        };
        let (one, on) = (attach(instances[round % 3]), switch(true));
        let (two, off) = (attach(instances[(round + 1) % 3]), switch(false));
        let three = attach(instances[(round + 2) % 3]);
        let won = [one.await.unwrap(), two.await.unwrap(), three.await.unwrap()];
        let ((), ()) = (on.await.unwrap(), off.await.unwrap());
        let all = site.attachments(volume).await;
        assert_eq!(all.len(), won.iter().filter(|won| **won).count());
        let is_read_only = site.record(volume).await.unwrap().volume.read_only;
        assert!(all.iter().all(|one| one.read_only == is_read_only), "{all:?}");
        assert!(is_read_only || all.len() < 2, "{all:?}");
        for one in all {
            site.detach_from(volume, one.instance_id).await;
            site.says(site.storage, StorageNews::ExportGone(one.export_id)).await;
        }
    }
    site.assert_books().await;
}

pub async fn a_reader_that_ends_leaves_the_others_and_the_last_takes_the_volume(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (db, project) = (&site.world.db, site.tenant.project);
    let volume = site.read_only().await;
    let [first, second] = [site.running().await, site.running().await];
    let mut exports = Vec::new();
    for instance in [first, second] {
        exports.push(site.attached(volume, instance, "/dev/sdf").await);
        db.set_delete_on_termination(project, instance, &[(volume, true)]).await.unwrap();
    }
    site.world.terminate(&site.tenant, first).await;
    let closing = |one: &crate::model::Attachment| one.export_state == ExportState::Closing;
    let shut: Vec<_> = site.attachments(volume).await.into_iter().filter(closing).collect();
    assert_eq!(shut.iter().map(|one| one.export_id).collect::<Vec<_>>(), exports[..1]);
    site.says(site.storage, StorageNews::ExportGone(exports[0])).await;
    assert_eq!(site.record(volume).await.unwrap().volume.state, VolumeState::Available);
    assert!(site.is_attached(volume, exports[1]).await);
    site.world.terminate(&site.tenant, second).await;
    site.says(site.storage, StorageNews::ExportGone(exports[1])).await;
    assert_eq!(site.record(volume).await.unwrap().volume.state, VolumeState::Deleting);
    site.assert_books().await;
}

pub async fn a_given_up_host_is_shut_out_alone(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.read_only().await;
    let lost = site.running().await;
    let stays = site.world.running(&site.tenant, site.storage).await;
    let gone = site.attached(volume, lost, "/dev/sdf").await;
    let new = site.new_attachment(volume, stays, "/dev/sdf");
    site.try_attach(&new).await;
    site.says(site.storage, StorageNews::ExportOpen(new.export_id, source())).await;
    site.says(site.storage, StorageNews::DiskAttached(new.export_id)).await;
    site.world.db.set_node_state(site.compute, NodeState::Unreachable, site.world.now()).await.unwrap();
    let reason = StateReason { code: "Server.Expunged".into(), message: "given up".into(), detail: None };
    site.world.db.expunge_node(site.compute, &reason, site.world.now()).await.unwrap();
    let states: BTreeSet<_> =
        site.attachments(volume).await.iter().map(|one| (one.export_id, one.export_state.name())).collect();
    assert_eq!(states, [(gone, "closing"), (new.export_id, "open")].into());
    site.says(site.storage, StorageNews::ExportGone(gone)).await;
    assert!(site.is_attached(volume, new.export_id).await);
    site.assert_books().await;
}

/// A host that was given up says nothing, and what it had goes from the books with the last that had it.
pub async fn a_volume_of_a_given_up_host_leaves_all_that_read_it(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.read_only().await;
    for _ in 0..2 {
        site.attached(volume, site.running().await, "/dev/sdf").await;
    }
    site.world.db.set_node_state(site.storage, NodeState::Unreachable, site.world.now()).await.unwrap();
    let reason = StateReason { code: "Server.Expunged".into(), message: "given up".into(), detail: None };
    site.world.db.expunge_node(site.storage, &reason, site.world.now()).await.unwrap();
    let record = site.record(volume).await.unwrap();
    assert_eq!((record.volume.state, record.attachments), (VolumeState::Error, vec![]));
    assert!(matches!(site.delete(volume).await, VolumeOutcome::Changed(_)));
    site.assert_books().await;
}

pub async fn every_reader_is_held_to_its_limits_and_none_sees_it_grow(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.read_only().await;
    let instances = [site.running().await, site.running().await];
    let mut exports = Vec::new();
    for instance in instances {
        exports.push(site.attached(volume, instance, "/dev/sdf").await);
    }
    let now = site.world.now();
    assert_eq!(site.grow(volume, 5, now).await, VolumeOutcome::InUse(instances[0]));
    let slow = VolumeChange { iops: Some(100), ..VolumeChange::default() };
    assert_eq!(site.modify(volume, slow, now).await, VolumeOutcome::Changed(vec![site.compute]));
    let limits = IoLimits { iops: 100, throughput_mib: 0 };
    for export in &exports {
        assert_eq!(site.modification(volume).await.unwrap().ended_at, None, "not every guest is held to it");
        site.says(site.compute, StorageNews::DiskFitted(*export, 4, limits)).await;
    }
    assert!(site.modification(volume).await.unwrap().ended_at.is_some());
    for (instance, export) in instances.into_iter().zip(exports) {
        site.detach_from(volume, instance).await;
        site.says(site.compute, StorageNews::DiskAbsent(export)).await;
        site.says(site.storage, StorageNews::ExportGone(export)).await;
    }
    assert_eq!(site.modify(volume, size(5), now).await, VolumeOutcome::Changed(vec![site.storage]));
    site.assert_books().await;
}
