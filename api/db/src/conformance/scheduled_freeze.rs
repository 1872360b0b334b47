//! Snapshots of schedules that are taken while their guest holds still, or all the same where it does not.

use std::sync::Arc;

use tepui_types::{FreezeId, SnapshotId, VolumeId};

use super::freeze::{Still, past};
use super::schedule::at;
use crate::model::{FreezeStage, Snapshot, SnapshotFreeze, SnapshotSchedule, SnapshotState};
use crate::{Db, FreezeNews, StorageNews};

/// A running instance with two volumes, and a schedule whose guests hold still.
struct Scheduled {
    still: Still,
    schedule: SnapshotSchedule,
}

impl Scheduled {
    async fn new(db: Arc<dyn Db>) -> Self {
        let still = Still::new(db).await;
        let schedule = SnapshotSchedule { freeze: true, ..still.site.new_schedule() };
        assert!(still.site.world.db.create_schedule(&schedule, 10).await.unwrap());
        Self { still, schedule }
    }

    /// The schedule serves this hour; the freezes of which the guest's may be one, and the snapshots.
    async fn run(&self, hour: i64, volumes: &[VolumeId]) -> (Vec<FreezeId>, Vec<Snapshot>) {
        let (site, world) = (&self.still.site, &self.still.site.world);
        let of = |id: &VolumeId| Snapshot { created_at: world.now(), ..site.new_snapshot(*id) };
        let snapshots: Vec<_> = volumes.iter().map(of).collect();
        let freezes: Vec<_> = volumes.iter().map(|_| FreezeId::from_random(world.bits())).collect();
        let due = SnapshotSchedule { next_at: at(hour), ..self.schedule.clone() };
        let run = async || world.db.run_schedule(&due, at(hour + 1), &snapshots, &freezes).await.unwrap();
        assert!(run().await.is_some());
        assert_eq!(run().await, None, "a second time it is served already");
        (freezes, snapshots)
    }

    /// Both volumes of the guest, which is asked to hold still.
    async fn both(&self, hour: i64) -> (FreezeId, [SnapshotId; 2]) {
        let (freezes, snapshots) = self.run(hour, &self.still.volumes).await;
        (freezes[0], [snapshots[0].id, snapshots[1].id])
    }

    async fn is(&self, id: SnapshotId) -> (SnapshotState, Option<SnapshotFreeze>, bool) {
        let found = self.still.site.snapshot(id).await.unwrap();
        (found.state, found.freeze, found.description.ends_with("its guest did not hold still"))
    }

    async fn failure(&self) -> Option<String> {
        let db = &self.still.site.world.db;
        let all = db.schedules(self.still.site.tenant.project).await.unwrap();
        let found = all.into_iter().find(|one| one.id == self.schedule.id).unwrap().freeze_failure;
        assert_eq!(db.unfrozen_schedules().await.unwrap(), u64::from(found.is_some()));
        found
    }

    /// They are taken without the freeze: their host is told of them, and completes them.
    async fn assert_fell_back(&self, ids: &[SnapshotId], why: &str) {
        for id in ids {
            assert_eq!(self.is(*id).await, (SnapshotState::Pending, None, true), "{why}");
            let site = &self.still.site;
            site.says(site.storage, StorageNews::SnapshotPresent(*id, 5)).await;
            assert_eq!(self.is(*id).await, (SnapshotState::Completed, None, true), "{why}");
        }
        assert_eq!(self.still.stages().await.0, [], "{why}");
        let told = self.failure().await.unwrap();
        assert!(told.contains(why), "{told}");
    }
}

pub async fn a_schedule_has_each_guest_hold_still_once_for_all_its_volumes(db: Arc<dyn Db>) {
    let scheduled = Scheduled::new(db).await;
    let still = &scheduled.still;
    let (storage, compute) = (still.site.storage, still.site.compute);
    let free = still.site.volume(1).await;
    let before = (still.stages().await.1, still.site.generation().await);
    let (freezes, snapshots) = scheduled.run(0, &[free, still.volumes[0], still.volumes[1]]).await;
    assert_eq!(still.stages().await, (vec![FreezeStage::Freezing], before.0 + 1), "one freeze");
    assert!(still.site.generation().await > before.1, "of what no guest writes its host is told at once");
    let waiting = (SnapshotState::Pending, Some(SnapshotFreeze::Waiting), false);
    assert_eq!(scheduled.is(snapshots[0].id).await, (SnapshotState::Pending, None, false));
    assert_eq!(
        (scheduled.is(snapshots[1].id).await, scheduled.is(snapshots[2].id).await),
        (waiting, waiting)
    );

    let id = freezes[1];
    assert_eq!(still.says(compute, FreezeNews::Frozen(id)).await, [storage]);
    for snapshot in &snapshots {
        still.made(snapshot).await;
    }
    still.says(compute, FreezeNews::Held(id)).await;
    let held = (SnapshotState::Completed, Some(SnapshotFreeze::Held), false);
    assert_eq!(scheduled.is(snapshots[0].id).await, (SnapshotState::Completed, None, false));
    assert_eq!((scheduled.is(snapshots[1].id).await, scheduled.is(snapshots[2].id).await), (held, held));
    assert_eq!(scheduled.failure().await, None);
    still.site.assert_books().await;
}

pub async fn a_schedule_takes_its_snapshots_whatever_becomes_of_the_freeze(db: Arc<dyn Db>) {
    let scheduled = Scheduled::new(db).await;
    let still = &scheduled.still;
    let (site, world) = (&still.site, &still.site.world);
    let (storage, compute) = (site.storage, site.compute);

    let (id, ids) = scheduled.both(0).await;
    let before = site.generation().await;
    let mut woken = still.says(compute, FreezeNews::Failed(id, "no guest agent".into())).await;
    woken.sort();
    assert!(woken.contains(&storage) && site.generation().await > before, "their host is told now");
    scheduled.assert_fell_back(&ids, "no guest agent").await;
    let (_, next) = scheduled.both(1).await;
    assert_eq!(scheduled.failure().await, None, "it is of the last time");

    // Nobody answers.
    assert_eq!(still.expire(world.now()).await.0, 0, "none of them failed");
    scheduled.assert_fell_back(&next, "did not answer").await;

    // It was thawed before all were there: one is, and one is not.
    let (id, ids) = scheduled.both(2).await;
    still.says(compute, FreezeNews::Frozen(id)).await;
    site.says(storage, StorageNews::SnapshotPresent(ids[0], 5)).await;
    still.says(compute, FreezeNews::Held(id)).await;
    scheduled.assert_fell_back(&ids, "thawed before").await;

    // There was no room for one in that moment, and may be later.
    let (id, ids) = scheduled.both(3).await;
    still.says(compute, FreezeNews::Frozen(id)).await;
    site.says(storage, StorageNews::SnapshotFailed(ids[0], "full".into())).await;
    scheduled.assert_fell_back(&ids, "could not be taken").await;

    // It holds still for others. Those fail as they do, and the schedule's are taken.
    let (id, [own, other]) = still.freezing().await;
    let (_, ids) = scheduled.both(4).await;
    assert_eq!(still.stages().await.0, [FreezeStage::Freezing], "the others'");
    still.says(compute, FreezeNews::Failed(id, "no guest agent".into())).await;
    assert_eq!(
        (still.is(&own).await.0, still.is(&other).await.0),
        (SnapshotState::Error, SnapshotState::Error)
    );
    scheduled.assert_fell_back(&ids, "for other snapshots").await;

    // What can never be taken fails, as without a freeze; so it is with a schedule that is gone.
    let (id, ids) = scheduled.both(5).await;
    world.db.delete_schedule(site.tenant.project, scheduled.schedule.id).await.unwrap();
    still.says(compute, FreezeNews::Failed(id, "no guest agent".into())).await;
    site.says(storage, StorageNews::SnapshotFailed(ids[0], "its volume is gone".into())).await;
    assert_eq!(scheduled.is(ids[0]).await, (SnapshotState::Error, None, true));
    assert_eq!(still.expire(past()).await, (0, vec![]));
    assert_eq!(scheduled.is(ids[1]).await, (SnapshotState::Pending, None, true));
}

pub async fn a_schedule_takes_its_snapshots_of_an_instance_that_stops_or_ends(db: Arc<dyn Db>) {
    let scheduled = Scheduled::new(db).await;
    let still = &scheduled.still;
    let (_, ids) = scheduled.both(0).await;
    still.site.world.stop(&still.site.tenant, still.instance).await;
    assert_eq!(still.expire(past()).await.0, 0);
    scheduled.assert_fell_back(&ids, "stopped meanwhile").await;
    let (_, snapshots) = scheduled.run(1, &still.volumes).await;
    for snapshot in snapshots {
        assert_eq!(
            scheduled.is(snapshot.id).await,
            (SnapshotState::Pending, None, false),
            "nobody writes it"
        );
    }
    assert_eq!(scheduled.failure().await, None);
}
