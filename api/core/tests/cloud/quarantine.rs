//! What was removed, until its file is unlinked.

use std::time::Duration;

use tepui_core::{Error, LeftoverState, LeftoverView};
use tepui_types::agent::{Leftover, LeftoverKind, MOST_LEFTOVERS, PoolBackend, StorageObserved, StoredId};
use tepui_types::{Digest, VolumeId};

use crate::harness::{GIB, Harness};
use crate::volumes::{Site, done};

const DAY: i64 = 86_400;

impl Site {
    fn leftover(&self, kind: LeftoverKind) -> Leftover {
        Leftover { pool_id: self.pool, kind, bytes: GIB }
    }

    fn removed(&self, id: VolumeId) -> Leftover {
        self.leftover(LeftoverKind::Removed { id: StoredId::Volume(id) })
    }

    /// The host has done all that its part says, and found this.
    async fn serve_with(&self, leftovers: &[Leftover]) {
        let seen = StorageObserved { leftovers: leftovers.to_vec(), ..done(&self.part().await) };
        self.tell(seen).await;
    }

    /// A volume that its host has moved into the trash.
    async fn in_quarantine(&self) -> VolumeId {
        let id = self.available().await;
        self.t.cloud.delete_volume(&self.t.admin, id).await.unwrap();
        self.serve_with(&[self.removed(id)]).await;
        id
    }

    /// What the host is told to unlink, after the job has run.
    async fn orders(&self) -> Vec<StoredId> {
        self.t.cloud.unlink_due().await.unwrap();
        self.part().await.unlinks.into_iter().map(|one| one.id).collect()
    }

    async fn leftovers(&self) -> Vec<LeftoverView> {
        self.t.cloud.leftovers(&self.t.admin, self.pool).await.unwrap()
    }

    async fn states(&self) -> Vec<LeftoverState> {
        self.leftovers().await.iter().map(|view| view.state).collect()
    }
}

#[tokio::test]
async fn what_was_removed_is_unlinked_after_its_grace_by_the_control_planes_clock_alone() {
    let site = Site::new().await;
    let removed_at = site.t.cloud.now();
    let id = site.in_quarantine().await;
    let until = removed_at.checked_add(Duration::from_secs(DAY.unsigned_abs())).unwrap();
    let expected = LeftoverView {
        kind: LeftoverKind::Removed { id: StoredId::Volume(id) },
        bytes: Some(GIB),
        state: LeftoverState::Quarantined { until },
        project_id: Some(site.t.admin.project),
        removed_at: Some(removed_at),
    };
    assert_eq!(site.leftovers().await, [expected]);
    assert_eq!(site.orders().await, []);
    site.t.clock.jump(10 * DAY);
    assert_eq!(site.orders().await, [], "somebody set the clock");
    site.t.clock.advance(DAY - 1);
    assert_eq!(site.orders().await, []);
    site.t.clock.advance(1);
    assert_eq!(site.orders().await, [StoredId::Volume(id)]);
    assert_eq!(site.orders().await, [StoredId::Volume(id)], "run twice");
    assert_eq!(site.states().await, [LeftoverState::Unlinking]);

    site.serve_with(&[site.removed(id)]).await;
    assert_eq!(site.orders().await, [StoredId::Volume(id)], "its host has not done it");
    site.serve().await;
    assert_eq!(site.orders().await, [], "it is forgotten once it is not found any more");
    assert_eq!(site.leftovers().await, []);
}

#[tokio::test]
async fn a_process_ends_no_grace_in_its_first_hour_in_which_its_clock_is_put_right() {
    let t = Harness::with(|config| config.retention.quarantine = Duration::from_secs(60)).await;
    let site = Site::of(t, PoolBackend::Iscsi).await;
    let id = site.in_quarantine().await;
    site.t.clock.advance(3600 - 1);
    assert_eq!(site.orders().await, []);
    site.t.clock.advance(1);
    assert_eq!(site.orders().await, [StoredId::Volume(id)]);
}

#[tokio::test]
async fn what_a_host_does_not_tell_for_want_of_room_is_not_forgotten() {
    let site = Site::new().await;
    let id = site.in_quarantine().await;
    let others = (0..MOST_LEFTOVERS as u128).map(|n| site.removed(VolumeId::from_random(1_000_000 + n)));
    let mut others: Vec<_> = others.collect();
    site.serve_with(&others).await;
    site.t.clock.advance(DAY);
    site.orders().await;
    others.truncate(1);
    others.push(site.removed(id));
    site.serve_with(&others).await;
    assert!(site.orders().await.contains(&StoredId::Volume(id)));
}

#[tokio::test]
async fn an_operator_ends_the_grace_of_what_its_host_has_told_of() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let id = site.in_quarantine().await;
    site.serve().await;
    assert_eq!(site.leftovers().await, [], "its host does not have it");
    cloud.reclaim_pool(admin, site.pool).await.unwrap();
    assert_eq!(site.part().await.unlinks, [], "nothing is ordered of a host that has not told of it");
    site.serve_with(&[site.removed(id)]).await;
    for _ in 0..2 {
        let views = cloud.reclaim_pool(admin, site.pool).await.unwrap();
        assert_eq!(views[0].state, LeftoverState::Unlinking);
    }
    assert_eq!(site.orders().await, [StoredId::Volume(id)]);
    let stranger = site.t.member("bert").await;
    let refused = cloud.reclaim_pool(&stranger, site.pool).await.unwrap_err();
    assert!(matches!(refused, Error::Forbidden { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_host_that_never_tells_of_its_trash_is_never_told_to_unlink() {
    let site = Site::new().await;
    let id = site.available().await;
    site.t.cloud.delete_volume(&site.t.admin, id).await.unwrap();
    site.serve().await;
    site.t.clock.advance(DAY);
    assert_eq!(site.orders().await, []);
    assert_eq!(site.t.cloud.unlink_due().await.unwrap(), 0, "it is forgotten");
}

#[tokio::test]
async fn the_grace_of_what_no_row_tells_of_begins_when_it_is_found() {
    let site = Site::new().await;
    let id = VolumeId::from_random(77);
    site.t.clock.advance(10 * DAY);
    site.serve_with(&[site.removed(id)]).await;
    assert_eq!(site.leftovers().await[0].project_id, None);
    site.t.clock.advance(DAY - 1);
    site.serve_with(&[site.removed(id)]).await;
    assert_eq!(site.orders().await, [], "said again it begins no second time");
    site.t.clock.advance(1);
    assert_eq!(site.orders().await, [StoredId::Volume(id)]);
}

#[tokio::test]
async fn what_the_books_refer_to_or_nothing_names_stays_and_is_shown() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let id = site.available().await;
    let stray = StoredId::Volume(VolumeId::from_random(77));
    let found = [
        site.removed(id),
        site.leftover(LeftoverKind::Unnamed { id: stray }),
        site.leftover(LeftoverKind::Unnamed { id: StoredId::Volume(id) }),
        site.leftover(LeftoverKind::Base { digest: Digest::of(b"image") }),
    ];
    site.serve_with(&found).await;
    let states = [LeftoverState::Referred, LeftoverState::Unnamed, LeftoverState::Unused];
    assert_eq!(site.states().await, states, "the host did not know of the volume yet");
    cloud.reclaim_pool(admin, site.pool).await.unwrap();
    site.t.clock.advance(10 * DAY);
    assert_eq!(site.orders().await, []);
    let findings = cloud.doctor(admin).await.unwrap();
    let told =
        |object: &str, what: &str| findings.iter().any(|one| one.object == object && one.what.contains(what));
    assert!(told("pool fast", &format!("1 files in it that no row names: {stray}")), "{findings:?}");
    assert!(told(&format!("volume {id}"), "lies in the trash"), "{findings:?}");

    // Its owner deletes what a restored backup knows again: it is as if it had been removed now.
    cloud.delete_volume(admin, id).await.unwrap();
    assert_eq!(site.states().await, states[1..], "it is on its way out");
    site.serve_with(&[site.removed(id)]).await;
    assert_eq!(site.orders().await, []);
    site.t.clock.advance(DAY);
    assert_eq!(site.orders().await, [StoredId::Volume(id)]);
}
