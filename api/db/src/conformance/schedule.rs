//! Snapshots that are taken again and again.

use std::sync::Arc;

use jiff::Timestamp;
use tepui_types::{SnapshotId, SnapshotScheduleId, VolumeId};

use super::site::Site;
use crate::model::{Snapshot, SnapshotSchedule, SnapshotState};
use crate::{Db, StorageNews};

pub(super) const HOUR: i64 = 3600;

pub(super) fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * HOUR).unwrap()
}

impl Site {
    pub(super) fn new_schedule(&self) -> SnapshotSchedule {
        SnapshotSchedule {
            id: SnapshotScheduleId::from_random(self.world.bits()),
            project_id: self.tenant.project,
            tag_key: "backup".into(),
            tag_value: "daily".into(),
            every_seconds: 3600,
            keep: 2,
            next_at: at(0),
            created_at: at(0),
            tests: None,
            freeze: false,
            freeze_failure: None,
        }
    }

    async fn schedule(&self) -> SnapshotSchedule {
        let new = self.new_schedule();
        assert!(self.world.db.create_schedule(&new, 10).await.unwrap());
        new
    }

    pub(super) async fn tagged(&self, gib: u32) -> VolumeId {
        let id = self.volume(gib).await;
        let tag = [("backup".to_owned(), "daily".to_owned())];
        self.world.db.put_tags(self.tenant.project, &[id.to_string()], &tag, 50).await.unwrap();
        id
    }

    async fn due(&self, now: Timestamp) -> Vec<(SnapshotSchedule, Vec<VolumeId>)> {
        let mut due = self.world.db.due_schedules(now).await.unwrap();
        due.iter_mut().for_each(|(_, volumes)| volumes.sort());
        due
    }

    /// One snapshot of each, of this hour.
    fn of(&self, volumes: &[VolumeId], hour: i64) -> Vec<Snapshot> {
        volumes.iter().map(|id| Snapshot { created_at: at(hour), ..self.new_snapshot(*id) }).collect()
    }

    /// The schedule serves this hour, and the host takes what it asks for.
    pub(super) async fn serve(
        &self,
        schedule: &SnapshotSchedule,
        volumes: &[VolumeId],
        hour: i64,
    ) -> Vec<SnapshotId> {
        let (schedule, new) =
            (SnapshotSchedule { next_at: at(hour), ..schedule.clone() }, self.of(volumes, hour));
        let nodes = self.world.db.run_schedule(&schedule, at(hour + 1), &new, &[]).await.unwrap();
        assert_eq!(nodes, Some(vec![self.storage]));
        for snapshot in &new {
            self.says(self.storage, StorageNews::SnapshotPresent(snapshot.id, 1)).await;
        }
        new.iter().map(|snapshot| snapshot.id).collect()
    }

    async fn outlived(&self) -> Vec<SnapshotId> {
        let all = self.world.db.outlived_snapshots().await.unwrap();
        assert!(all.iter().all(|(project, _)| *project == self.tenant.project));
        all.into_iter().map(|(_, id)| id).collect()
    }
}

pub async fn a_schedule_serves_each_time_once(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let mut volumes = vec![site.tagged(3).await, site.tagged(5).await];
    volumes.sort();
    site.volume(1).await;
    let stranger = site.world.tenant("beta").await;
    let foreign = SnapshotSchedule { project_id: stranger.project, ..site.new_schedule() };
    site.world.db.create_schedule(&foreign, 10).await.unwrap();
    let schedule = site.schedule().await;
    let early = Timestamp::from_second(at(0).as_second() - 1).unwrap();
    assert_eq!(site.due(early).await, []);
    let due = site.due(at(0)).await;
    let of = |id| due.iter().find(|(schedule, _)| schedule.id == id).unwrap();
    assert_eq!(of(schedule.id), &(schedule.clone(), volumes.clone()));
    assert!(of(foreign.id).1.is_empty(), "a tag is its project's");

    // One that is gone meanwhile stops no other.
    let lost = VolumeId::from_random(site.world.bits());
    let failed = site.new_volume(1);
    site.create(&failed).await;
    site.says(site.storage, StorageNews::VolumeFailed(failed.volume.id, "no".into())).await;
    let new = site.of(&[volumes[0], lost, failed.volume.id, volumes[1]], 0);
    let before = site.generation().await;
    let run = async || site.world.db.run_schedule(&schedule, at(1), &new, &[]).await.unwrap();
    assert_eq!(run().await, Some(vec![site.storage]));
    assert!(site.generation().await > before, "its host is told");
    assert_eq!(run().await, None, "a second time it is served already");
    let taken = site.world.db.snapshots(site.tenant.project).await.unwrap();
    let mut sizes: Vec<_> = taken.iter().map(|one| (one.snapshot.volume_id, one.snapshot.size_gib)).collect();
    sizes.sort();
    let mut expected = Vec::new();
    for id in &volumes {
        expected.push((*id, site.record(*id).await.unwrap().volume.size_gib));
    }
    assert_eq!(sizes, expected);
    assert!(taken.iter().all(|one| one.tags["tepui:schedule"] == schedule.id.to_string()));
    let left = SnapshotSchedule { next_at: at(1), ..schedule.clone() };
    assert_eq!(site.world.db.schedules(site.tenant.project).await.unwrap(), [left]);
    assert_eq!(site.due(at(0)).await.len(), 1, "the other project's");
    site.assert_books().await;
}

pub async fn a_schedule_keeps_its_newest_and_touches_no_others(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (one, two) = (site.tagged(1).await, site.tagged(1).await);
    let own = site.new_snapshot(one);
    site.world.db.create_snapshots(std::slice::from_ref(&own), &[]).await.unwrap();
    site.says(site.storage, StorageNews::SnapshotPresent(own.id, 1)).await;
    let (schedule, other) = (site.schedule().await, site.schedule().await);
    let first = site.serve(&schedule, &[one, two], 0).await;
    site.serve(&other, &[one], 0).await;
    let second = site.serve(&schedule, &[one, two], 1).await;
    assert_eq!(site.outlived().await, []);
    // Only what is completed counts: a newer one may fail.
    let new = site.of(&[one], 2);
    let due = SnapshotSchedule { next_at: at(2), ..schedule.clone() };
    site.world.db.run_schedule(&due, at(3), &new, &[]).await.unwrap();
    assert_eq!(site.outlived().await, []);
    site.says(site.storage, StorageNews::SnapshotFailed(new[0].id, "full".into())).await;
    assert_eq!(site.outlived().await, [], "it is shown until there is a newer one");
    let third = site.serve(&schedule, &[one], 3).await;
    let mut expected = vec![first[0], new[0].id];
    expected.sort();
    assert_eq!(site.outlived().await, expected, "of each volume for itself");
    for id in &expected {
        site.world.db.delete_snapshot(site.tenant.project, *id).await.unwrap();
    }
    assert_eq!(site.outlived().await, []);
    let states = async |ids: &[SnapshotId]| {
        let mut states = Vec::new();
        for id in ids {
            states.push(site.snapshot(*id).await.unwrap().state);
        }
        states
    };
    let kept = [own.id, first[1], second[0], second[1], third[0]];
    assert_eq!(states(&kept).await, [SnapshotState::Completed; 5]);

    site.serve(&schedule, &[two], 4).await;
    assert_eq!(site.outlived().await, [first[1]]);
    assert!(site.world.db.delete_schedule(site.tenant.project, schedule.id).await.unwrap());
    assert_eq!(site.outlived().await, [], "without its schedule nothing goes");
    let due = SnapshotSchedule { next_at: at(5), ..schedule };
    assert_eq!(site.world.db.run_schedule(&due, at(6), &site.of(&[one], 5), &[]).await.unwrap(), None);
    site.assert_books().await;
}

pub async fn schedules_are_their_projects_and_limited(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let schedule = site.schedule().await;
    let stranger = site.world.tenant("beta").await;
    let db = &site.world.db;
    assert_eq!(db.schedules(stranger.project).await.unwrap(), []);
    assert!(!db.delete_schedule(stranger.project, schedule.id).await.unwrap());
    assert!(!db.create_schedule(&site.new_schedule(), 1).await.unwrap(), "it has as many as it may");
    assert_eq!(db.schedules(site.tenant.project).await.unwrap(), std::slice::from_ref(&schedule));
    assert!(db.delete_schedule(site.tenant.project, schedule.id).await.unwrap());
    assert!(!db.delete_schedule(site.tenant.project, schedule.id).await.unwrap());
}
