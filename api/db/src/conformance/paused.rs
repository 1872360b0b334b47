//! Snapshots of several volumes of an instance, which is paused so that they are of one moment.

use std::sync::Arc;

use tepui_types::agent::FreezeKind;
use tepui_types::{FreezeId, InstanceId, NodeId, VolumeId};

use super::freeze::{Still, past};
use crate::model::{FreezeStage, Snapshot, SnapshotFreeze, SnapshotState, VolumeState};
use crate::{Db, FreezeNews, FreezeOutcome, NewSnapshotsOutcome};

impl Still {
    /// Asks for snapshots of these volumes of an instance.
    async fn take_of(
        &self,
        instance: InstanceId,
        volumes: &[VolumeId],
    ) -> (FreezeId, Vec<Snapshot>, NewSnapshotsOutcome) {
        let (site, world) = (&self.site, &self.site.world);
        let of = |id: &VolumeId| Snapshot {
            created_at: world.now(),
            pool_id: site.pool,
            ..site.new_snapshot(*id)
        };
        let snapshots: Vec<_> = volumes.iter().map(of).collect();
        let tags = [(snapshots[0].id, "Name".to_owned(), "at once".to_owned())];
        let id = FreezeId::from_random(world.bits());
        let outcome = world.db.snapshot_instance(id, instance, &snapshots, &tags).await.unwrap();
        (id, snapshots, outcome)
    }

    /// Snapshots of both volumes, for which the guest is to be paused.
    async fn pausing(&self) -> (FreezeId, [Snapshot; 2]) {
        let (id, snapshots, outcome) = self.take_of(self.instance, &self.volumes).await;
        assert_eq!(outcome, NewSnapshotsOutcome::Taking(vec![self.site.compute]));
        (id, snapshots.try_into().unwrap())
    }

    async fn root(&self) -> VolumeId {
        self.site.world.record(&self.site.tenant, self.instance).await.root_volume.unwrap().id
    }

    async fn kinds(&self) -> Vec<FreezeKind> {
        let part = self.site.world.db.node_part(self.site.compute).await.unwrap().unwrap();
        part.freezes.iter().map(|freeze| freeze.kind).collect()
    }
}

fn sorted(mut nodes: [NodeId; 2]) -> Vec<NodeId> {
    nodes.sort_unstable();
    nodes.into()
}

pub async fn several_volumes_of_an_instance_wait_until_it_is_paused(db: Arc<dyn Db>) {
    use SnapshotFreeze::{Held, Taken, Taking, Waiting};
    let still = Still::new(db).await;
    let (storage, compute) = (still.site.storage, still.site.compute);
    let before = (still.stages().await.1, still.site.generation().await);
    let (id, [one, two]) = still.pausing().await;
    for snapshot in [&one, &two] {
        let found = still.site.snapshot(snapshot.id).await.unwrap();
        assert_eq!((found.state, found.freeze), (SnapshotState::Pending, Some(Waiting)));
        assert_eq!((found.freeze_kind, found.pool_id), (FreezeKind::Vcpus, still.site.pool));
    }
    let tagged = still.site.world.db.snapshots(still.site.tenant.project).await.unwrap();
    assert_eq!(tagged.iter().filter(|record| record.tags.contains_key("Name")).count(), 1);
    assert_eq!(still.stages().await, (vec![FreezeStage::Freezing], before.0 + 1));
    assert_eq!(still.kinds().await, [FreezeKind::Vcpus]);
    assert_eq!(still.site.generation().await, before.1, "the storage host need not hear of it yet");

    assert_eq!(still.says(compute, FreezeNews::Frozen(id)).await, [storage]);
    assert_eq!((still.is(&one).await.1, still.is(&two).await.1), (Some(Taking), Some(Taking)));
    assert_eq!(still.made(&one).await, [storage]);
    assert_eq!(still.stages().await.0, [FreezeStage::Frozen], "the other one is not there yet");
    assert_eq!(still.made(&two).await, sorted([storage, compute]));
    assert_eq!(still.stages().await.0, [FreezeStage::Thawing]);
    assert_eq!(still.is(&two).await, (SnapshotState::Pending, Some(Taken)));
    assert_eq!(still.says(compute, FreezeNews::Held(id)).await, sorted([storage, compute]));
    for snapshot in [&one, &two] {
        let found = still.site.snapshot(snapshot.id).await.unwrap();
        assert_eq!((found.state, found.freeze), (SnapshotState::Completed, Some(Held)));
        assert_eq!(found.freeze_kind, FreezeKind::Vcpus);
    }
    assert_eq!(still.stages().await.0, []);
    let new = still.site.new_snapshot(Snapshot::NO_VOLUME);
    let copy = Snapshot { pool_id: still.site.pool, ..new };
    still.site.world.db.copy_snapshot(one.id, &copy, &[]).await.unwrap();
    assert_eq!(still.site.snapshot(copy.id).await.unwrap().freeze_kind, FreezeKind::Vcpus);
    still.site.assert_books().await;
}

pub async fn what_no_other_volume_has_to_wait_for_is_taken_at_once(db: Arc<dyn Db>) {
    let still = Still::new(db).await;
    let (site, world) = (&still.site, &still.site.world);
    let [one, two] = still.volumes;
    let root = still.root().await;
    let shared = site.read_only().await;
    site.attached(shared, still.instance, "/dev/sdh").await;
    let free = site.volume(1).await;
    let at_once = async |volumes: &[VolumeId]| {
        let (_, snapshots, outcome) = still.take_of(still.instance, volumes).await;
        assert_eq!(outcome, NewSnapshotsOutcome::Taking(vec![site.storage]), "{volumes:?}");
        for snapshot in &snapshots {
            assert_eq!(still.is(snapshot).await, (SnapshotState::Pending, None));
        }
    };
    // One that is written, and what the guest does not write; of an instance that has none of them.
    at_once(&[one]).await;
    at_once(&[root, one]).await;
    at_once(&[root, one, shared, free]).await;
    let (_, _, of_other) = still.take_of(world.running(&site.tenant, site.compute).await, &[one, two]).await;
    assert_eq!(of_other, NewSnapshotsOutcome::Taking(vec![site.storage]));
    assert_eq!(still.stages().await.0, []);

    // Beside two that are written the others still wait for nothing.
    let before = site.generation().await;
    let (id, snapshots, outcome) = still.take_of(still.instance, &[root, one, shared, two, free]).await;
    assert_eq!(outcome, NewSnapshotsOutcome::Taking(sorted([site.storage, site.compute])));
    assert!(site.generation().await > before);
    let mut waiting = Vec::new();
    for snapshot in &snapshots {
        if still.is(snapshot).await.1 == Some(SnapshotFreeze::Waiting) {
            waiting.push(snapshot.volume_id);
        }
    }
    assert_eq!(waiting, [one, two]);
    still.made(&snapshots[0]).await;
    assert_eq!(still.is(&snapshots[0]).await, (SnapshotState::Completed, None));
    // And fail with none of these.
    still.says(site.compute, FreezeNews::Failed(id, "it stands still already".into())).await;
    for (snapshot, state) in snapshots.iter().zip([
        SnapshotState::Completed,
        SnapshotState::Error,
        SnapshotState::Pending,
        SnapshotState::Error,
        SnapshotState::Pending,
    ]) {
        assert_eq!(still.is(snapshot).await.0, state, "{}", snapshot.volume_id);
    }
    // Nobody writes to what an instance has that is off.
    world.stop(&site.tenant, still.instance).await;
    at_once(&[one, two]).await;
}

pub async fn a_guest_is_paused_for_one_at_once_and_for_whole_calls_alone(db: Arc<dyn Db>) {
    let still = Still::new(db).await;
    let (site, world) = (&still.site, &still.site.world);
    let (id, [paused, _]) = still.pausing().await;
    let count = async || world.db.snapshots(site.tenant.project).await.unwrap().len();
    let (_, _, busy) = still.take_of(still.instance, &still.volumes).await;
    assert!(matches!(busy, NewSnapshotsOutcome::HoldsStill(id) if still.volumes.contains(&id)), "{busy:?}");
    let wanted = [site.new_snapshot(still.volumes[0])];
    let freeze = FreezeId::from_random(world.bits());
    let frozen = world.db.freeze_snapshots(freeze, &wanted, &[], world.now()).await.unwrap();
    assert_eq!(frozen, FreezeOutcome::Busy(still.volumes[0]));
    let (_, _, alone) = still.take_of(still.instance, &still.volumes[..1]).await;
    assert_eq!(alone, NewSnapshotsOutcome::Taking(vec![site.storage]), "it waits for nobody");
    assert_eq!((count().await, still.stages().await.0), (3, vec![FreezeStage::Freezing]));
    assert_eq!(still.expire(past()).await, (0, vec![]), "it is young");
    still.says(site.compute, FreezeNews::Failed(id, "no answer".into())).await;
    let found = site.snapshot(paused.id).await.unwrap();
    assert_eq!(
        (found.state, found.freeze_kind, found.message.as_deref()),
        (SnapshotState::Error, FreezeKind::Vcpus, Some("no answer"))
    );

    // What is refused pauses nobody.
    let making = site.new_volume(1);
    site.create(&making).await;
    let [one, two] = still.volumes;
    let lost = VolumeId::from_random(world.bits());
    for (other, refused) in [
        (lost, NewSnapshotsOutcome::VolumeMissing(lost)),
        (making.volume.id, NewSnapshotsOutcome::VolumeState(making.volume.id, VolumeState::Creating)),
    ] {
        assert_eq!(still.take_of(still.instance, &[one, two, other]).await.2, refused);
    }
    assert_eq!((count().await, still.stages().await.0), (3, vec![]));
    still.pausing().await;
    still.site.assert_books().await;
}
