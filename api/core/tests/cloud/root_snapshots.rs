//! Snapshots of root disks that are local to their hosts, with hosts that say what the test wants.

use bytes::Bytes;
use tepui_core::{CreateSnapshots, CreateVolume, Error, Kind, Severity};
use tepui_db::model::{Snapshot, SnapshotState};
use tepui_types::agent::{NodeObserved, PlacementState, SnapshotPart, SnapshotSource, StoredState};
use tepui_types::{InstanceId, SnapshotId, VolumeId};

use crate::harness::{GIB, Harness};
use crate::volumes::{Site, done};

async fn root_of(t: &Harness, id: InstanceId) -> VolumeId {
    let record = &t.cloud.instance(&t.admin, id).await.unwrap().record;
    record.root_volume.as_ref().unwrap().id
}

async fn take(t: &Harness, volumes: Vec<VolumeId>, freeze: bool) -> Result<Vec<Snapshot>, Error> {
    let request = CreateSnapshots { volumes, freeze, ..CreateSnapshots::default() };
    let taken = t.cloud.create_snapshots(&t.admin, &request).await?;
    Ok(taken.into_iter().map(|record| record.snapshot).collect())
}

impl Site {
    /// A pending snapshot of the root disk of the site's instance.
    async fn root_snapshot(&self) -> Snapshot {
        let root = root_of(&self.t, self.instance).await;
        take(&self.t, vec![root], false).await.unwrap().remove(0)
    }

    async fn state_of(&self, id: SnapshotId) -> Snapshot {
        self.t.cloud.snapshots(&self.t.admin, &[id]).await.unwrap().remove(0).snapshot
    }
}

#[tokio::test]
async fn a_local_root_goes_into_a_pool_from_the_host_of_its_instance() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let new = site.root_snapshot().await;
    let (id, bytes) = (new.id, u64::from(new.size_gib) * GIB);
    assert_eq!(
        (new.pool_id, new.state, new.root_of),
        (site.pool, SnapshotState::Pending, Some(site.placement))
    );
    let part = site.part().await;
    let told = &part.snapshots.iter().find(|one| one.id == id).unwrap().wanted;
    let source = Some(SnapshotSource::root(id));
    assert!(
        matches!(told, SnapshotPart::Present { copy_of, taken: false, .. } if *copy_of == source),
        "{told:?}"
    );
    let refused = cloud.content_for_copy(site.compute.id, id).await.err().unwrap();
    assert!(matches!(refused, Error::NotFound { .. }), "only the pool's host is given it: {refused:?}");

    let host = async {
        let order = loop {
            if let Some(order) = site.compute.poll().await.wanted_sendings.pop() {
                break order;
            }
        };
        assert_eq!((order.snapshot_id, order.pool_id, order.offset), (id, site.pool, 0));
        assert_eq!(order.root_of, Some(site.placement));
        let mut outlet = cloud.bring_content(site.compute.id, order.id, bytes).unwrap();
        outlet.send(Bytes::from_static(b"frames")).await.unwrap();
        outlet.end().await.unwrap();
    };
    let reader = async {
        let mut content = cloud.content_for_copy(site.storage.id, id).await.unwrap();
        assert_eq!(content.raw_bytes, bytes);
        assert_eq!(content.next().await.unwrap().unwrap(), "frames");
        assert!(content.next().await.is_none());
    };
    tokio::join!(host, reader);
    site.serve().await;
    assert_eq!(site.state_of(id).await.state, SnapshotState::Completed);
    let again = cloud.content_for_copy(site.storage.id, id).await.err().unwrap();
    assert!(matches!(again, Error::NotFound { .. }), "it has it: {again:?}");
    let restore = CreateVolume { snapshot_id: Some(id), ..CreateVolume::default() };
    assert_eq!(cloud.create_volume(admin, restore).await.unwrap().size_gib, new.size_gib);
}

#[tokio::test]
async fn the_snapshot_of_a_root_that_goes_first_is_in_error_and_says_why() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let new = site.root_snapshot().await;
    let before = site.part().await;
    cloud.terminate_instances(admin, &[site.instance]).await.unwrap();
    let gone = cloud.content_for_copy(site.storage.id, new.id).await.err().unwrap();
    assert!(matches!(&gone, Error::NotFound { kind: Kind::Volume, id } if *id == new.volume_id.to_string()));
    let mut seen = done(&before);
    let own = seen.snapshots.iter_mut().find(|one| one.id == new.id).unwrap();
    own.state = StoredState::Failed { message: gone.to_string(), permanent: true };
    site.tell(seen).await;
    let failed = site.state_of(new.id).await;
    assert_eq!((failed.state, failed.message), (SnapshotState::Error, Some(gone.to_string())));
    cloud.delete_snapshot(admin, new.id).await.unwrap();
    site.serve().await;
    assert_eq!(cloud.snapshots(admin, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_local_root_is_not_held_still_and_one_that_never_started_is_not_read() {
    let site = Site::new().await;
    let root = root_of(&site.t, site.instance).await;
    let frozen = take(&site.t, vec![root], true).await.unwrap_err();
    assert!(
        matches!(&frozen, Error::InvalidInput { field: "freeze", rule, .. } if rule.contains("local to its host")),
        "{frozen:?}"
    );
    let young = site.t.run_one(&site.t.admin).await.instances[0].record.instance.id;
    let early = take(&site.t, vec![root_of(&site.t, young).await], false).await.unwrap_err();
    assert!(matches!(&early, Error::WrongState { state, .. } if state == "pending"), "{early:?}");
    site.t.cloud.set_pool_draining(&site.t.admin, site.pool, true).await.unwrap();
    let full = take(&site.t, vec![root], false).await.unwrap_err();
    assert!(matches!(&full, Error::PoolsFull { class } if class == "gp3"), "{full:?}");
    assert_eq!(site.t.cloud.snapshots(&site.t.admin, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn without_a_pool_it_is_said_that_one_is_needed() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let instance = t.run_one(&t.admin).await.instances[0].record.instance.id;
    let placement = t.cloud.instance(&t.admin, instance).await.unwrap().record.placement.as_ref().unwrap().id;
    let running = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
    let observed: NodeObserved = host.observed(vec![(placement, running)]);
    host.report_as(1, observed).await;
    let none = take(&t, vec![root_of(&t, instance).await], false).await.unwrap_err();
    assert!(none.to_string().contains("needs a pool of class 'gp3'"), "{none}");
}

#[tokio::test]
async fn the_doctor_gives_a_local_root_the_time_that_its_bytes_take() {
    let site = Site::new().await;
    let before = done(&site.part().await);
    let id = site.root_snapshot().await.id;
    site.t.clock.advance(301);
    site.tell(before).await;
    let findings = site.t.cloud.doctor(&site.t.admin).await.unwrap();
    assert!(findings.iter().all(|one| !one.what.contains("is being made")), "{findings:?}");

    let mut seen = done(&site.part().await);
    let own = seen.snapshots.iter_mut().find(|one| one.id == id).unwrap();
    own.state = StoredState::Failed { message: "nothing yet".into(), permanent: false };
    for (passed, is_failure) in [(0, false), (86_400, true)] {
        site.t.clock.advance(passed);
        site.tell(seen.clone()).await;
        let findings = site.t.cloud.doctor(&site.t.admin).await.unwrap();
        let own = findings.iter().find(|one| one.object == format!("snapshot {id}")).unwrap();
        assert!(own.what.contains("nothing yet"), "{own:?}");
        assert_eq!(own.severity == Severity::Failure, is_failure, "{own:?}");
    }
}
