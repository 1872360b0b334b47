//! Snapshots that are taken while their guest holds still.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tepui_types::{FreezeId, InstanceId, NodeId, VolumeId};

use super::site::Site;
use crate::model::{Freeze, FreezeStage, Snapshot, SnapshotFreeze, SnapshotState};
use crate::{Db, DeleteOutcome, FreezeNews, FreezeOutcome, StorageNews};

/// A site with a running instance that has two volumes.
pub(super) struct Still {
    pub(super) site: Site,
    pub(super) instance: InstanceId,
    pub(super) volumes: [VolumeId; 2],
}

impl Still {
    pub(super) async fn new(db: Arc<dyn Db>) -> Self {
        let site = Site::new(db).await;
        let instance = site.world.running(&site.tenant, site.compute).await;
        let volumes = [site.volume(3).await, site.volume(5).await];
        site.attached(volumes[0], instance, "/dev/sdf").await;
        site.attached(volumes[1], instance, "/dev/sdg").await;
        Self { site, instance, volumes }
    }

    async fn try_freeze(&self, snapshots: &[Snapshot]) -> (FreezeId, FreezeOutcome) {
        let (world, tags) = (&self.site.world, [(snapshots[0].id, "Name".to_owned(), "still".to_owned())]);
        let id = FreezeId::from_random(world.bits());
        (id, world.db.freeze_snapshots(id, snapshots, &tags, world.now()).await.unwrap())
    }

    /// Snapshots of both volumes, whose guest is asked to hold still.
    pub(super) async fn freezing(&self) -> (FreezeId, [Snapshot; 2]) {
        let snapshots = self.volumes.map(|volume| self.site.new_snapshot(volume));
        let (id, outcome) = self.try_freeze(&snapshots).await;
        assert_eq!(outcome, FreezeOutcome::Freezing(self.site.compute));
        (id, snapshots)
    }

    pub(super) async fn says(&self, node: NodeId, news: FreezeNews) -> Vec<NodeId> {
        self.site.world.db.apply_freeze_news(node, &[news]).await.unwrap()
    }

    pub(super) async fn made(&self, snapshot: &Snapshot) -> Vec<NodeId> {
        self.site.says(self.site.storage, StorageNews::SnapshotPresent(snapshot.id, 5)).await
    }

    pub(super) async fn is(&self, snapshot: &Snapshot) -> (SnapshotState, Option<SnapshotFreeze>) {
        let found = self.site.snapshot(snapshot.id).await.unwrap();
        (found.state, found.freeze)
    }

    /// The stages of the freezes of the guest's node, and the generation of its part.
    pub(super) async fn stages(&self) -> (Vec<FreezeStage>, u64) {
        let part = self.site.world.db.node_part(self.site.compute).await.unwrap().unwrap();
        (part.freezes.iter().map(|freeze: &Freeze| freeze.stage).collect(), part.generation.0)
    }

    pub(super) async fn expire(&self, before: Timestamp) -> (u32, Vec<NodeId>) {
        self.site.world.db.expire_freezes(before).await.unwrap()
    }

    async fn message(&self, snapshot: &Snapshot) -> String {
        self.site.snapshot(snapshot.id).await.unwrap().message.unwrap()
    }
}

pub(super) fn past() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

pub async fn snapshots_are_told_once_their_guest_holds_still_and_completed_once_it_held(db: Arc<dyn Db>) {
    use SnapshotFreeze::{Held, Taken, Taking, Waiting};
    let still = Still::new(db).await;
    let (storage, compute) = (still.site.storage, still.site.compute);
    let before = (still.stages().await.1, still.site.generation().await);
    let (id, [one, two]) = still.freezing().await;
    assert_eq!(still.is(&one).await, (SnapshotState::Pending, Some(Waiting)));
    let tags = still.site.world.db.snapshots(still.site.tenant.project).await.unwrap();
    assert_eq!(tags.iter().filter(|record| record.tags.contains_key("Name")).count(), 1);
    assert_eq!(still.stages().await, (vec![FreezeStage::Freezing], before.0 + 1));
    assert_eq!(still.site.generation().await, before.1, "the storage host need not hear of it yet");

    assert_eq!(still.says(storage, FreezeNews::Frozen(id)).await, [], "another node's word");
    assert_eq!(still.says(compute, FreezeNews::Frozen(id)).await, [storage]);
    assert_eq!(still.says(compute, FreezeNews::Frozen(id)).await, [], "said again");
    assert_eq!((still.is(&one).await.1, still.is(&two).await.1), (Some(Taking), Some(Taking)));
    assert!(still.site.generation().await > before.1);

    assert_eq!(still.made(&one).await, [storage]);
    assert_eq!(still.is(&one).await, (SnapshotState::Pending, Some(Taken)));
    assert_eq!(still.stages().await.0, [FreezeStage::Frozen], "the other one is not there yet");
    let mut both = vec![storage, compute];
    both.sort_unstable();
    assert_eq!(still.made(&two).await, both);
    assert_eq!(still.stages().await.0, [FreezeStage::Thawing]);
    assert_eq!(still.is(&two).await, (SnapshotState::Pending, Some(Taken)), "whether it held is not known");

    assert_eq!(still.says(compute, FreezeNews::Held(id)).await, both);
    assert_eq!(still.is(&one).await, (SnapshotState::Completed, Some(Held)));
    assert_eq!(still.is(&two).await, (SnapshotState::Completed, Some(Held)));
    assert_eq!(still.stages().await.0, [], "it is over");
    assert_eq!(still.says(compute, FreezeNews::Failed(id, "late".into())).await, []);
    assert_eq!(still.expire(still.site.world.now()).await, (0, vec![]));
    assert_eq!(still.is(&one).await.0, SnapshotState::Completed);
}

pub async fn a_freeze_that_fails_fails_its_snapshots_and_no_others(db: Arc<dyn Db>) {
    let still = Still::new(db).await;
    let (storage, compute) = (still.site.storage, still.site.compute);
    let other = still.site.new_snapshot(still.volumes[0]);
    still.site.world.db.create_snapshots(std::slice::from_ref(&other), &[]).await.unwrap();
    // Refused at once; when one is there; when it said that it held before all were.
    let (id, [one, two]) = still.freezing().await;
    still.says(compute, FreezeNews::Failed(id, "no guest agent".into())).await;
    assert_eq!(
        (still.is(&one).await.0, still.is(&two).await.0),
        (SnapshotState::Error, SnapshotState::Error)
    );
    assert_eq!(still.message(&one).await, "no guest agent");
    let (id, [one, two]) = still.freezing().await;
    still.says(compute, FreezeNews::Frozen(id)).await;
    still.made(&one).await;
    still.says(compute, FreezeNews::Failed(id, "late".into())).await;
    assert_eq!(
        (still.is(&one).await.0, still.is(&two).await.0),
        (SnapshotState::Error, SnapshotState::Error)
    );
    assert_eq!(still.made(&two).await, [], "what comes late is not taken for whole");
    assert_eq!(still.is(&two).await.0, SnapshotState::Error);
    let (id, [one, _]) = still.freezing().await;
    still.says(compute, FreezeNews::Frozen(id)).await;
    still.says(compute, FreezeNews::Held(id)).await;
    assert_eq!(still.is(&one).await.0, SnapshotState::Error);
    // Its host cannot take one, or had it before the guest held still.
    let (id, [one, two]) = still.freezing().await;
    still.says(compute, FreezeNews::Frozen(id)).await;
    still.site.says(storage, StorageNews::SnapshotFailed(one.id, "disk full".into())).await;
    assert_eq!(still.is(&one).await, (SnapshotState::Error, None));
    assert_eq!(
        (still.message(&one).await.as_str(), still.is(&two).await.0),
        ("disk full", SnapshotState::Error)
    );
    assert!(still.message(&two).await.contains(&one.id.to_string()));
    let (_, [one, two]) = still.freezing().await;
    still.made(&one).await;
    assert_eq!(
        (still.is(&one).await.0, still.is(&two).await.0),
        (SnapshotState::Error, SnapshotState::Error)
    );
    assert_eq!(still.stages().await.0, []);
    assert_eq!(still.is(&other).await, (SnapshotState::Pending, None));
    still.made(&other).await;
    assert_eq!(still.is(&other).await, (SnapshotState::Completed, None));
}

pub async fn a_freeze_is_of_one_running_guest(db: Arc<dyn Db>) {
    let still = Still::new(db).await;
    let site = &still.site;
    let [one, two] = still.volumes;
    let (free, lost) = (site.volume(1).await, VolumeId::from_random(site.world.bits()));
    let second = site.world.running(&site.tenant, site.compute).await;
    let far = site.volume(1).await;
    site.attached(far, second, "/dev/sdf").await;
    let shared = site.read_only().await;
    for instance in [second, still.instance] {
        site.attached(shared, instance, "/dev/sdh").await;
    }
    for (volumes, refused) in [
        (vec![one, lost], FreezeOutcome::VolumeMissing(lost)),
        (vec![free], FreezeOutcome::NotRunning(free)),
        (vec![one, free], FreezeOutcome::NotRunning(free)),
        (vec![one, far], FreezeOutcome::OtherInstance(far)),
        (vec![shared], FreezeOutcome::NotRunning(shared)),
    ] {
        let snapshots: Vec<_> = volumes.into_iter().map(|volume| site.new_snapshot(volume)).collect();
        assert_eq!(still.try_freeze(&snapshots).await.1, refused);
    }
    assert_eq!(still.stages().await.0, [], "what is refused leaves nothing");
    assert!(site.world.db.snapshots(site.tenant.project).await.unwrap().is_empty());
    still.freezing().await;
    let busy = still.try_freeze(&[site.new_snapshot(two)]).await.1;
    assert_eq!(busy, FreezeOutcome::Busy(two));
    let of_all = [shared, far].map(|volume| site.new_snapshot(volume));
    assert_eq!(still.try_freeze(&of_all).await.1, FreezeOutcome::Freezing(site.compute), "of its reader's");
}

pub async fn a_freeze_that_nobody_ends_is_ended(db: Arc<dyn Db>) {
    let still = Still::new(db).await;
    let (storage, compute) = (still.site.storage, still.site.compute);
    let mut both = vec![storage, compute];
    both.sort_unstable();
    let world = &still.site.world;
    let (id, [one, _]) = still.freezing().await;
    assert_eq!(still.expire(past()).await, (0, vec![]), "it is young");
    assert_eq!(still.stages().await.0, [FreezeStage::Freezing]);
    let later = world.now().checked_add(SignedDuration::from_hours(1)).unwrap();
    assert_eq!(still.expire(later).await, (2, both));
    assert!(still.message(&one).await.contains("did not answer"));
    assert_eq!(still.says(compute, FreezeNews::Frozen(id)).await, []);
    // Its snapshots are deleted, some and all.
    let delete = async |snapshot: &Snapshot| {
        let outcome = world.db.delete_snapshot(still.site.tenant.project, snapshot.id).await.unwrap().0;
        assert_eq!(outcome, DeleteOutcome::Deleted);
    };
    let (id, [one, two]) = still.freezing().await;
    still.says(compute, FreezeNews::Frozen(id)).await;
    still.made(&one).await;
    delete(&two).await;
    assert_eq!(still.expire(past()).await, (0, vec![compute]));
    assert_eq!(still.stages().await.0, [FreezeStage::Thawing]);
    delete(&one).await;
    assert_eq!(still.expire(past()).await, (0, vec![compute]));
    assert_eq!(still.stages().await.0, []);
    // Its instance is stopped.
    let (_, [one, two]) = still.freezing().await;
    world.stop(&still.site.tenant, still.instance).await;
    assert_eq!(still.expire(past()).await.0, 2);
    assert_eq!(
        (still.is(&one).await.0, still.is(&two).await.0),
        (SnapshotState::Error, SnapshotState::Error)
    );
}

pub async fn a_copy_of_what_held_still_is_what_held_still(db: Arc<dyn Db>) {
    let still = Still::new(db).await;
    let site = &still.site;
    let (id, [one, two]) = still.freezing().await;
    still.says(site.compute, FreezeNews::Frozen(id)).await;
    still.made(&one).await;
    still.made(&two).await;
    still.says(site.compute, FreezeNews::Held(id)).await;
    let copy = Snapshot { pool_id: site.pool, ..site.new_snapshot(Snapshot::NO_VOLUME) };
    site.world.db.copy_snapshot(one.id, &copy, &[]).await.unwrap();
    still.made(&copy).await;
    assert_eq!(still.is(&copy).await, (SnapshotState::Completed, Some(SnapshotFreeze::Held)));
    // A volume that leaves its guest while that holds still is nobody's to vouch for.
    let (id, [one, two]) = still.freezing().await;
    still.says(site.compute, FreezeNews::Frozen(id)).await;
    let export = site.attachment(still.volumes[0]).await.unwrap().export_id;
    site.detach(still.volumes[0], false).await;
    site.says(site.compute, StorageNews::DiskAbsent(export)).await;
    site.says(site.storage, StorageNews::ExportGone(export)).await;
    still.made(&one).await;
    still.made(&two).await;
    still.says(site.compute, FreezeNews::Held(id)).await;
    assert_eq!(still.is(&one).await.0, SnapshotState::Error);
    assert_eq!(still.is(&two).await, (SnapshotState::Completed, Some(SnapshotFreeze::Held)));
}
