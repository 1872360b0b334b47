//! Snapshots that are taken while their guest holds still, with hosts that say what the test wants.

use tepui_core::{Caller, CopySnapshot, CopyTo, CreateSnapshots, Error, Severity, snapshot_failure};
use tepui_db::model::{Snapshot, SnapshotFreeze, SnapshotState};
use tepui_types::agent::{
    DiskState, FreezeObserved, FreezePart, FreezeState, PlacementState, SnapshotPart, StoredState,
    WantedFreeze,
};
use tepui_types::{SnapshotId, VolumeId};

use crate::volumes::{Site, done, seen};

impl Site {
    /// Two volumes that the guest uses.
    async fn both(&self) -> Vec<VolumeId> {
        let (one, first) = self.in_use().await;
        let two = self.available().await;
        self.attach(two, "/dev/sdg").await.unwrap();
        self.serve().await;
        let second = self.disks().await.into_iter().map(|(export, _)| export).find(|export| *export != first);
        self.running(&[first, second.unwrap()].map(|export| seen(export, DiskState::Attached))).await;
        vec![one, two]
    }

    async fn freeze(&self, caller: &Caller, volumes: Vec<VolumeId>) -> Result<Vec<SnapshotId>, Error> {
        let request = CreateSnapshots { volumes, freeze: true, ..CreateSnapshots::default() };
        let taken = self.t.cloud.create_snapshots(caller, &request).await?;
        Ok(taken.into_iter().map(|record| record.snapshot.id).collect())
    }

    /// What is wanted of the guest's file systems.
    async fn wanted_freeze(&self) -> Option<WantedFreeze> {
        self.spec().await.and_then(|spec| spec.freeze)
    }

    /// The guest runs, and its node has said this of its freeze.
    async fn guest_says(&self, state: FreezeState) {
        let running = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
        let mut observed = self.compute.observed(vec![(self.placement, running)]);
        let wanted = self.wanted_freeze().await.unwrap();
        observed.placements[0].freeze = Some(FreezeObserved { id: wanted.id, state });
        self.compute.report_as(1, observed).await;
    }

    /// The snapshots that the storage host is told to have, and whether it had them.
    async fn told_snapshots(&self) -> Vec<(SnapshotId, bool)> {
        let told = self.part().await.snapshots;
        let taken = told.into_iter().filter_map(|one| match one.wanted {
            SnapshotPart::Present { taken, .. } => Some((one.id, taken)),
            SnapshotPart::Absent => None,
        });
        taken.collect()
    }

    async fn found(&self, id: SnapshotId) -> Snapshot {
        self.t.cloud.snapshots(&self.t.admin, &[id]).await.unwrap().remove(0).snapshot
    }
}

fn failed(message: &str) -> FreezeState {
    FreezeState::Failed { message: message.into() }
}

#[tokio::test]
async fn snapshots_are_ordered_while_the_guest_holds_still_and_completed_once_it_held() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let mut ids = site.freeze(&site.t.admin, volumes).await.unwrap();
    assert_eq!(site.wanted_freeze().await.unwrap().wanted, FreezePart::Frozen);
    assert_eq!(site.told_snapshots().await, [], "the guest does not hold still yet");
    site.serve().await;

    site.guest_says(FreezeState::Frozen).await;
    ids.sort_unstable();
    assert_eq!(site.told_snapshots().await, [(ids[0], false), (ids[1], false)]);
    // One is there, the other is not: the guest must hold still.
    let mut seen = done(&site.part().await);
    seen.snapshots.retain(|one| one.id == ids[0]);
    site.tell(seen).await;
    assert_eq!(site.told_snapshots().await, [(ids[0], true), (ids[1], false)], "none is taken a second time");
    assert_eq!(site.wanted_freeze().await.unwrap().wanted, FreezePart::Frozen);
    site.serve().await;
    assert_eq!(site.wanted_freeze().await.unwrap().wanted, FreezePart::Thawed);
    assert_eq!(site.found(ids[1]).await.state, SnapshotState::Pending, "whether it held is not known");
    site.serve().await;
    site.guest_says(FreezeState::Frozen).await;

    site.guest_says(FreezeState::Held).await;
    assert_eq!(site.wanted_freeze().await, None);
    for id in &ids {
        let found = site.found(*id).await;
        assert_eq!((found.state, found.freeze), (SnapshotState::Completed, Some(SnapshotFreeze::Held)));
    }
    assert_eq!(site.told_snapshots().await, [(ids[0], true), (ids[1], true)]);
    let copy =
        CopySnapshot { source: ids[0], to: CopyTo::SamePool, description: String::new(), tags: [].into() };
    let copy = site.t.cloud.copy_snapshot(&site.t.admin, copy).await.unwrap().snapshot;
    site.serve().await;
    assert_eq!(site.found(copy.id).await.state, SnapshotState::Completed, "a copy waits for no guest");
}

#[tokio::test]
async fn a_guest_that_did_not_hold_fails_its_snapshots_which_are_removed() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let ids = site.freeze(&site.t.admin, volumes.clone()).await.unwrap();
    site.guest_says(failed("the guest agent does not answer")).await;
    let found = site.found(ids[0]).await;
    assert_eq!(
        (found.state, found.message.as_deref()),
        (SnapshotState::Error, Some("the guest agent does not answer"))
    );
    let told = snapshot_failure(&found);
    assert!(told.contains("qemu-guest-agent") && told.contains("crash-consistent"), "{told}");
    assert_eq!((site.wanted_freeze().await, site.told_snapshots().await), (None, vec![]));

    let ids = site.freeze(&site.t.admin, volumes).await.unwrap();
    site.guest_says(FreezeState::Frozen).await;
    site.serve().await;
    assert_eq!(site.wanted_freeze().await.unwrap().wanted, FreezePart::Thawed);
    site.guest_says(failed("it held still for 10s")).await;
    assert_eq!(site.found(ids[1]).await.state, SnapshotState::Error);
    let gone = done(&site.part().await);
    assert!(gone.snapshots.iter().all(|one| one.state == StoredState::Gone), "{gone:?}");
    for id in ids {
        site.t.cloud.delete_snapshot(&site.t.admin, id).await.unwrap();
    }
}

#[tokio::test]
async fn a_guest_whose_node_does_not_answer_is_given_up_after_a_minute() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let ids = site.freeze(&site.t.admin, volumes.clone()).await.unwrap();
    assert_eq!(site.t.cloud.expire_freezes().await.unwrap(), 0);
    site.t.clock.advance(61);
    site.t.cloud.reconcile_once().await;
    assert_eq!(site.found(ids[0]).await.state, SnapshotState::Error);
    assert_eq!(site.wanted_freeze().await, None);
    // The control plane is away while the guest holds still, and its node thaws it by itself.
    let ids = site.freeze(&site.t.admin, volumes).await.unwrap();
    site.guest_says(FreezeState::Frozen).await;
    let restarted = site.t.restarted();
    site.t.clock.advance(61);
    restarted.reconcile_once().await;
    assert_eq!(site.found(ids[0]).await.state, SnapshotState::Error);
}

#[tokio::test]
async fn a_freeze_is_refused_where_no_one_running_guest_can_hold_still() {
    let site = Site::new().await;
    let free = site.available().await;
    let volumes = site.both().await;
    let refused = site.freeze(&site.t.admin, vec![free]).await.unwrap_err();
    assert!(
        matches!(&refused, Error::InvalidInput { field: "freeze", rule, .. } if rule.contains("running instance")),
        "{refused:?}"
    );
    let stranger = site.t.member("m").await;
    let foreign = site.freeze(&stranger, volumes.clone()).await.unwrap_err();
    assert!(matches!(foreign, Error::NotFound { .. }), "{foreign:?}");
    assert_eq!(site.wanted_freeze().await, None);
    site.freeze(&site.t.admin, vec![volumes[0]]).await.unwrap();
    let busy = site.freeze(&site.t.admin, vec![volumes[1]]).await.unwrap_err();
    assert!(matches!(busy, Error::WrongState { .. }), "{busy:?}");
    site.t.cloud.stop_instances(&site.t.admin, &[site.instance], false).await.unwrap();
    let stopping = site.freeze(&site.t.admin, vec![volumes[1]]).await.unwrap_err();
    assert!(matches!(stopping, Error::InvalidInput { field: "freeze", .. }), "{stopping:?}");
}

#[tokio::test]
async fn the_doctor_names_a_guest_that_cannot_be_thawed() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let ids = site.freeze(&site.t.admin, volumes).await.unwrap();
    site.guest_says(FreezeState::Stuck { message: "no answer".into() }).await;
    assert_eq!(site.found(ids[0]).await.state, SnapshotState::Error);
    let findings = site.t.cloud.doctor(&site.t.admin).await.unwrap();
    let object = format!("instance {}", site.instance);
    let found = findings.iter().find(|one| one.object == object && one.what.contains("hold still"));
    assert!(
        found.is_some_and(|one| one.severity == Severity::Failure && one.what.contains("no answer")),
        "{findings:?}"
    );
}
