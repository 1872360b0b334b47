//! Copies of snapshots, with hosts that say what the test wants.

use tepui_core::{Caller, CopySnapshot, CopyTo, CreatePool, CreateSnapshots, CreateVolume, Error, Kind};
use tepui_db::model::{Snapshot, SnapshotRecord, SnapshotState};
use tepui_types::agent::{NodeObserved, PartBody, PoolBackend, SnapshotPart, SnapshotSource, StoredState};
use tepui_types::{PoolId, SnapshotId};

use crate::volumes::{Site, done, request};

impl Site {
    /// A snapshot of 4 GiB that its host has taken.
    pub(crate) async fn snapshot(&self) -> SnapshotId {
        let request = CreateSnapshots { volumes: vec![self.available().await], ..CreateSnapshots::default() };
        let id = self.t.cloud.create_snapshots(&self.t.admin, &request).await.unwrap()[0].snapshot.id;
        self.serve().await;
        id
    }

    async fn second_pool(&self, name: &str, class: &str, here: bool) -> PoolId {
        let host = if here { &self.storage } else { &self.compute };
        let pool = CreatePool { backend: PoolBackend::Nfs, ..request(host, name, class) };
        let id = self.t.cloud.create_pool(&self.t.admin, pool).await.unwrap().load.pool.id;
        self.serve().await;
        id
    }

    /// The other host has done all that its part says.
    async fn serve_far(&self) {
        let parts = self.compute.poll().await.parts;
        let part = parts.into_iter().find_map(|part| match part.body {
            PartBody::Storage(part) => Some(part),
            PartBody::Node(_) | PartBody::Vpc(_) | PartBody::Absent => None,
        });
        let storage = Some(done(&part.unwrap()));
        let observed = NodeObserved { storage, ..self.compute.observed(Vec::new()) };
        self.compute.report_as(1, observed).await;
    }

    async fn copy(&self, caller: &Caller, source: SnapshotId, to: CopyTo) -> Result<Snapshot, Error> {
        let (description, tags) = ("kept".to_owned(), [("a".to_owned(), "b".to_owned())].into());
        let copy = CopySnapshot { source, to, description, tags };
        self.t.cloud.copy_snapshot(caller, copy).await.map(|record| record.snapshot)
    }

    async fn shown(&self, id: SnapshotId) -> SnapshotRecord {
        self.t.cloud.snapshots(&self.t.admin, &[id]).await.unwrap().remove(0)
    }
}

#[tokio::test]
async fn a_copy_is_made_by_its_host_and_outlives_its_source() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let of = site.snapshot().await;
    let copy = site.copy(admin, of, CopyTo::SamePool).await.unwrap();
    assert_eq!((copy.pool_id, copy.size_gib, copy.state), (site.pool, 4, SnapshotState::Pending));
    assert_eq!(site.shown(copy.id).await.tags["a"], "b");
    let refused = site.copy(admin, copy.id, CopyTo::SamePool).await.unwrap_err();
    assert!(matches!(refused, Error::WrongState { wanted: "completed", .. }), "{refused:?}");
    assert!(matches!(cloud.delete_snapshot(admin, of).await, Err(Error::InUse { .. })));

    let part = site.part().await;
    let wanted = part.snapshots.iter().find(|one| one.id == copy.id).unwrap();
    let source = Some(SnapshotSource { snapshot_id: of, pool_id: site.pool });
    assert!(
        matches!(&wanted.wanted, SnapshotPart::Present { copy_of, taken: false, .. } if *copy_of == source),
        "{wanted:?}"
    );
    site.serve().await;
    cloud.delete_snapshot(admin, of).await.unwrap();
    site.serve().await;
    assert!(matches!(cloud.snapshots(admin, &[of]).await, Err(Error::NotFound { .. })));
    assert_eq!(site.shown(copy.id).await.snapshot.state, SnapshotState::Completed);
    let restore = CreateVolume { snapshot_id: Some(copy.id), ..CreateVolume::default() };
    assert_eq!(cloud.create_volume(admin, restore).await.unwrap().size_gib, 4);
}

#[tokio::test]
async fn a_copy_that_fails_says_so_and_frees_its_source() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let of = site.snapshot().await;
    let copy = site.copy(admin, of, CopyTo::SamePool).await.unwrap();
    let mut seen = done(&site.part().await);
    let one = seen.snapshots.iter_mut().find(|one| one.id == copy.id).unwrap();
    one.state = StoredState::Failed { message: "the pool has no snap-1".into(), permanent: true };
    site.tell(seen).await;
    assert_eq!(site.shown(copy.id).await.snapshot.state, SnapshotState::Error);
    cloud.delete_snapshot(admin, of).await.unwrap();
    cloud.delete_snapshot(admin, copy.id).await.unwrap();
    site.serve().await;
    assert_eq!(cloud.snapshots(admin, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_copy_goes_to_another_pool_of_its_host_or_of_another() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let cold = site.second_pool("cold", "st1", true).await;
    let far = site.second_pool("far", "far", false).await;
    site.serve_far().await;
    let of = site.snapshot().await;
    let class = |name: &str| CopyTo::Class(name.into());
    for (to, pool) in [
        (class("st1"), cold),
        (CopyTo::Pool(cold), cold),
        (class("gp3"), site.pool),
        (CopyTo::Pool(site.pool), site.pool),
    ] {
        assert_eq!(site.copy(admin, of, to).await.unwrap().pool_id, pool);
    }
    site.serve().await;
    for to in [class("far"), CopyTo::Pool(far)] {
        assert_eq!(site.copy(admin, of, to).await.unwrap().pool_id, far);
    }
    site.serve_far().await;
    let unknown = site.copy(admin, of, class("golden")).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { kind: Kind::PoolClass, .. }), "{unknown:?}");
    cloud.set_pool_draining(admin, cold, true).await.unwrap();
    let drained = site.copy(admin, of, class("st1")).await.unwrap_err();
    assert!(matches!(&drained, Error::PoolsFull { class } if class == "st1"), "{drained:?}");

    let member = Caller { role: tepui_db::model::Role::Member, ..admin.clone() };
    let refused = site.copy(&member, of, CopyTo::Pool(cold)).await.unwrap_err();
    assert!(matches!(refused, Error::Forbidden { .. }), "{refused:?}");
    site.copy(&member, of, CopyTo::SamePool).await.unwrap();
}

#[tokio::test]
async fn the_doctor_gives_a_copy_between_pools_the_time_that_its_bytes_take() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    site.second_pool("cold", "st1", true).await;
    let of = site.snapshot().await;
    let before = done(&site.part().await);
    site.copy(admin, of, CopyTo::Class("st1".into())).await.unwrap();
    let near = site.copy(admin, of, CopyTo::SamePool).await.unwrap();
    site.t.clock.advance(301);
    site.compute.report(Vec::new()).await;
    site.tell(before).await;
    let findings = cloud.doctor(admin).await.unwrap();
    let late: Vec<_> =
        findings.iter().filter(|one| one.what.contains("is being made")).map(|one| &one.object).collect();
    assert_eq!(late, [&format!("snapshot {}", near.id)], "{findings:?}");
}

#[tokio::test]
async fn volumes_and_snapshots_are_tagged_after_they_were_made() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let snapshot = site.snapshot().await;
    let volume = site.shown(snapshot).await.snapshot.volume_id;
    let ids = [volume.to_string(), snapshot.to_string()];
    cloud.create_tags(admin, &ids, &[("a".into(), "b".into())].into()).await.unwrap();
    assert_eq!(site.volume(volume).await.tags["a"], "b");
    assert_eq!(site.shown(snapshot).await.tags["a"], "b");
    cloud.delete_tags(admin, &ids, &[]).await.unwrap();
    assert!(site.volume(volume).await.tags.is_empty() && site.shown(snapshot).await.tags.is_empty());
}
