//! Volumes that are deleted by themselves.

use std::sync::Arc;

use tepui_core::{Cloud, CreateVolume, EndState, Error};
use tepui_db::AuditFilter;
use tepui_db::model::VolumeState;
use tepui_types::VolumeId;

use crate::volumes::Site;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const WEEK: u32 = 7 * 24 * 3600;
/// A tenth of a week.
const WARNING: i64 = 60_480;

impl Site {
    /// A volume that is there, and has a week.
    async fn with_a_week(&self) -> VolumeId {
        let request = CreateVolume { size_gib: Some(1), ttl_seconds: Some(WEEK), ..CreateVolume::default() };
        let id = self.t.cloud.create_volume(&self.t.admin, request).await.unwrap().id;
        self.serve().await;
        id
    }

    /// Time passes under the eyes of the control plane, which looks every hour.
    async fn pass(&self, seconds: i64) {
        let (hours, rest) = (seconds / HOUR, seconds % HOUR);
        for step in std::iter::repeat_n(HOUR, usize::try_from(hours).unwrap()).chain([rest]) {
            self.t.clock.advance(step);
            self.t.cloud.end_volumes().await.unwrap();
        }
    }

    async fn end(&self, id: VolumeId) -> Option<EndState> {
        self.volume(id).await.end.map(|end| end.state)
    }

    async fn volume_state(&self, id: VolumeId) -> VolumeState {
        self.volume(id).await.state
    }

    async fn deletions(&self) -> Vec<(String, String)> {
        self.t.cloud.flush_audit().await;
        let records = self.t.cloud.audit_records(&self.t.admin, &AuditFilter::default(), 100).await.unwrap();
        let deletions = records.into_iter().filter(|record| record.action == "DeleteVolume");
        deletions.map(|record| (record.resources, record.outcome)).collect()
    }
}

#[tokio::test]
async fn a_volume_is_deleted_at_its_end_after_a_warning() {
    let site = Site::new().await;
    let other = site.available().await;
    let id = site.with_a_week().await;
    let end = site.volume(id).await.end.unwrap();
    assert_eq!(end.at.as_second() - site.t.cloud.now().as_second(), 7 * DAY);
    assert_eq!((end.not_before, end.state), (end.at, EndState::Later));
    assert_eq!(end.at.as_second() - end.warns_at.as_second(), WARNING);
    site.pass(7 * DAY - WARNING - 1).await;
    assert_eq!(site.end(id).await, Some(EndState::Later));
    assert_eq!(site.t.cloud.warned_volumes().await.unwrap().len(), 0);
    site.pass(1).await;
    assert_eq!(site.end(id).await, Some(EndState::Soon));
    assert_eq!(site.t.cloud.warned_volumes().await.unwrap().len(), 1);
    site.pass(WARNING - 1).await;
    assert_eq!(site.volume_state(id).await, VolumeState::Available);
    // What is written down counts, a minute later.
    site.pass(60).await;
    site.pass(0).await;
    assert_eq!(site.volume_state(id).await, VolumeState::Deleting);
    assert_eq!(site.deletions().await, [(id.to_string(), "ok".to_owned())]);
    site.pass(60).await;
    assert_eq!(site.deletions().await.len(), 1, "run twice");
    assert_eq!(site.volume_state(other).await, VolumeState::Available);
    site.serve().await;
    let kept = site.t.cloud.leftovers(&site.t.admin, site.pool).await.unwrap();
    assert_eq!(kept.len(), 0, "its host told of none");
}

#[tokio::test]
async fn one_that_is_in_use_is_overdue_and_goes_once_it_is_free() {
    let site = Site::new().await;
    let id = site.with_a_week().await;
    site.attach(id, "/dev/sdf").await.unwrap();
    site.pass(8 * DAY).await;
    assert_eq!(
        (site.volume_state(id).await, site.end(id).await),
        (VolumeState::Available, Some(EndState::Overdue))
    );
    let findings = site.t.cloud.doctor(&site.t.admin).await.unwrap();
    let told = findings.iter().find(|one| one.object == format!("volume {id}")).unwrap();
    assert!(told.what.contains("was to be deleted at"), "{told:?}");
    assert_eq!(site.deletions().await, [], "it is not even tried");
    site.let_go(id).await;
    site.pass(0).await;
    assert_eq!(site.volume_state(id).await, VolumeState::Deleting);
}

#[tokio::test]
async fn a_clock_that_jumps_deletes_nothing_before_the_whole_warning_was_watched() {
    let site = Site::new().await;
    let id = site.with_a_week().await;
    site.pass(0).await;
    site.t.clock.jump(365 * DAY);
    site.pass(HOUR).await;
    assert_eq!(site.end(id).await, Some(EndState::Later), "somebody set the clock");
    site.t.clock.jump(-365 * DAY);

    // The machine begins with a clock that is a year ahead, and the control plane cannot know better.
    site.t.clock.advance(365 * DAY);
    let ends = async |cloud: &Arc<Cloud>, seconds: i64| {
        site.t.clock.advance(seconds);
        cloud.end_volumes().await.unwrap();
    };
    let first = site.t.restarted();
    ends(&first, 0).await;
    assert_eq!(site.end(id).await, Some(EndState::Overdue), "it is warned of");
    ends(&first, 0).await;
    assert_eq!(site.volume_state(id).await, VolumeState::Available);
    let end = site.volume(id).await.end.unwrap();
    assert_eq!(end.not_before.as_second() - site.t.cloud.now().as_second(), WARNING, "and when it goes");
    ends(&first, WARNING - 120).await;
    // What no process watched does not count.
    site.t.clock.advance(30 * DAY);
    let second = site.t.restarted();
    for seconds in [0, 60, 59] {
        ends(&second, seconds).await;
        assert_eq!(site.volume_state(id).await, VolumeState::Available);
    }
    // The clock is put right in time: the warning is taken back.
    site.t.clock.advance(-400 * DAY);
    let third = site.t.restarted();
    ends(&third, 0).await;
    assert_eq!(site.end(id).await, Some(EndState::Later));
    // Or it is not.
    site.t.clock.advance(400 * DAY);
    let fourth = site.t.restarted();
    for seconds in [0, WARNING - 1] {
        ends(&fourth, seconds).await;
        assert_eq!(site.volume_state(id).await, VolumeState::Available, "it begins anew");
    }
    // A second, and the next time that is written down.
    for seconds in [60, 0] {
        ends(&fourth, seconds).await;
    }
    assert_eq!(site.volume_state(id).await, VolumeState::Deleting);
}

#[tokio::test]
async fn an_end_is_moved_and_taken_away_by_its_owner_alone() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let id = site.with_a_week().await;
    site.pass(7 * DAY - HOUR).await;
    assert_eq!(site.end(id).await, Some(EndState::Soon));
    let view = cloud.set_volume_ttl(admin, id, Some(WEEK)).await.unwrap();
    assert_eq!(view.end.map(|end| end.state), Some(EndState::Later), "a new end begins without a warning");
    site.pass(2 * DAY).await;
    assert_eq!(site.volume_state(id).await, VolumeState::Available);
    let view = cloud.set_volume_ttl(admin, id, None).await.unwrap();
    assert_eq!(view.end, None);
    cloud.set_volume_ttl(admin, id, None).await.unwrap();
    site.pass(30 * DAY).await;
    assert_eq!(site.volume_state(id).await, VolumeState::Available);

    for ttl in [0, 3599, 315_360_001] {
        let refused = cloud.set_volume_ttl(admin, id, Some(ttl)).await.unwrap_err();
        assert!(matches!(refused, Error::InvalidInput { field: "ttl_seconds", .. }), "{refused:?}");
    }
    let request = CreateVolume { size_gib: Some(1), ttl_seconds: Some(1), ..CreateVolume::default() };
    let refused = cloud.create_volume(admin, request).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidInput { field: "ttl_seconds", .. }), "{refused:?}");
    let refused = cloud.set_volume_ttl(admin, site.root().await, Some(WEEK)).await.unwrap_err();
    assert!(matches!(refused, Error::RootDisk { .. }), "{refused:?}");
    cloud.delete_volume(admin, id).await.unwrap();
    let refused = cloud.set_volume_ttl(admin, id, Some(WEEK)).await.unwrap_err();
    assert!(matches!(refused, Error::WrongState { .. }), "{refused:?}");
}
