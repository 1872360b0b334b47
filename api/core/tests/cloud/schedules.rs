//! Snapshots that are taken again and again.

use tepui_core::{CreateSnapshotSchedule, Error};
use tepui_db::model::{SnapshotRecord, SnapshotSchedule, SnapshotState};
use tepui_types::VolumeId;

use crate::volumes::Site;

const HOUR: i64 = 3600;

pub(crate) fn hourly(keep: u32) -> CreateSnapshotSchedule {
    let (tag_key, tag_value) = ("backup".into(), "hourly".into());
    CreateSnapshotSchedule {
        tag_key,
        tag_value,
        every_seconds: 3600,
        keep,
        ..CreateSnapshotSchedule::default()
    }
}

impl Site {
    pub(crate) async fn tagged(&self) -> VolumeId {
        let id = self.available().await;
        let tags = [("backup".to_owned(), "hourly".to_owned())].into();
        self.t.cloud.create_tags(&self.t.admin, &[id.to_string()], &tags).await.unwrap();
        id
    }

    async fn schedule(&self, keep: u32) -> SnapshotSchedule {
        self.t.cloud.create_snapshot_schedule(&self.t.admin, hourly(keep)).await.unwrap()
    }

    async fn all(&self) -> Vec<SnapshotRecord> {
        self.t.cloud.snapshots(&self.t.admin, &[]).await.unwrap()
    }

    /// Time passes, the job runs, and the host does what it is told.
    pub(crate) async fn after(&self, seconds: i64) -> Vec<SnapshotRecord> {
        self.t.clock.advance(seconds);
        self.t.cloud.run_schedules().await.unwrap();
        self.serve().await;
        self.all().await
    }
}

#[tokio::test]
async fn snapshots_of_all_volumes_with_the_tag_are_taken_at_each_time_and_the_newest_kept() {
    let site = Site::new().await;
    let (one, two) = (site.tagged().await, site.tagged().await);
    site.available().await;
    let own = tepui_core::CreateSnapshots { volumes: vec![one], ..tepui_core::CreateSnapshots::default() };
    let own = site.t.cloud.create_snapshots(&site.t.admin, &own).await.unwrap()[0].snapshot.id;
    let schedule = site.schedule(2).await;
    let first = site.after(0).await;
    let of = |all: &[SnapshotRecord], volume| all.iter().filter(|r| r.snapshot.volume_id == volume).count();
    assert_eq!((first.len(), of(&first, one), of(&first, two)), (3, 2, 1));
    let made = first.iter().find(|record| record.snapshot.volume_id == two).unwrap();
    assert_eq!(made.tags["tepui:schedule"], schedule.id.to_string());
    assert_eq!((made.snapshot.size_gib, made.snapshot.state), (4, SnapshotState::Completed));
    assert_eq!(site.after(HOUR - 1).await.len(), 3, "its time has not come");
    assert_eq!(site.after(1).await.len(), 5);
    assert_eq!(site.after(0).await.len(), 5, "run twice it takes once");

    let third = site.after(HOUR).await;
    assert_eq!(third.len(), 7, "what is new is not completed yet");
    let kept = site.after(0).await;
    assert_eq!((kept.len(), of(&kept, one), of(&kept, two)), (5, 3, 2));
    assert!(kept.iter().any(|record| record.snapshot.id == own), "it made that one not");
    assert!(!kept.iter().any(|record| record.snapshot.id == made.snapshot.id), "the oldest is gone");
}

#[tokio::test]
async fn what_was_missed_is_made_up_once_and_the_times_stay() {
    let site = Site::new().await;
    site.tagged().await;
    let schedule = site.schedule(10).await;
    let start = schedule.next_at;
    assert_eq!(site.after(0).await.len(), 1);
    // The control plane was off for ten and a half times.
    assert_eq!(site.after(10 * HOUR + HOUR / 2).await.len(), 2);
    let next = site.t.cloud.snapshot_schedules(&site.t.admin).await.unwrap()[0].next_at;
    assert_eq!(next.as_second() - start.as_second(), 11 * HOUR);
    assert_eq!(site.after(HOUR / 2).await.len(), 3);
}

#[tokio::test]
async fn a_volume_that_goes_stops_no_other_and_a_clock_that_is_set_ahead_takes_nothing_early() {
    let site = Site::new().await;
    let (one, gone) = (site.tagged().await, site.tagged().await);
    site.t.cloud.delete_volume(&site.t.admin, gone).await.unwrap();
    site.schedule(10).await;
    let taken = site.after(0).await;
    assert_eq!(taken.iter().map(|record| record.snapshot.volume_id).collect::<Vec<_>>(), [one]);
    site.t.clock.jump(10 * HOUR);
    assert_eq!(site.after(0).await.len(), 1);
    assert_eq!(site.after(HOUR).await.len(), 2);
}

#[tokio::test]
async fn a_schedule_that_is_deleted_leaves_its_snapshots() {
    let site = Site::new().await;
    site.tagged().await;
    let schedule = site.schedule(1).await;
    site.after(0).await;
    site.after(HOUR).await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    cloud.delete_snapshot_schedule(admin, schedule.id).await.unwrap();
    assert_eq!(site.after(HOUR).await.len(), 2);
    let again = cloud.delete_snapshot_schedule(admin, schedule.id).await;
    assert!(matches!(again, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn what_a_schedule_cannot_be_is_refused_by_name() {
    let site = Site::new().await;
    let create = async |change: fn(&mut CreateSnapshotSchedule)| {
        let mut request = hourly(1);
        change(&mut request);
        site.t.cloud.create_snapshot_schedule(&site.t.admin, request).await.unwrap_err()
    };
    for (field, change) in [
        ("tag key", (|request| request.tag_key = "aws:backup".into()) as fn(&mut CreateSnapshotSchedule)),
        ("every_seconds", |request| request.every_seconds = 59),
        ("every_seconds", |request| request.every_seconds = u32::MAX),
        ("keep", |request| request.keep = 0),
        ("keep", |request| request.keep = 1001),
    ] {
        let refused = create(change).await;
        assert!(
            matches!(&refused, Error::InvalidInput { field: named, .. } if *named == field),
            "{refused:?}"
        );
    }
    for _ in 0..100 {
        site.schedule(1).await;
    }
    assert!(matches!(create(|_| ()).await, Error::LimitExceeded { limit: 100, .. }));
}
