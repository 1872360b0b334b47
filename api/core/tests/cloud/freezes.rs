//! Snapshots that are taken while their guest holds still, with hosts that say what the test wants.

use tepui_core::{
    Caller, CopySnapshot, CopyTo, CreateSnapshotSchedule, CreateSnapshots, Error, Severity, snapshot_failure,
};
use tepui_db::model::{Snapshot, SnapshotFreeze, SnapshotState};
use tepui_types::agent::{
    DiskState, FreezeKind, FreezeObserved, FreezePart, FreezeState, PlacementState, SnapshotPart,
    StoredState, WantedFreeze,
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
    let found = findings.iter().find(|one| one.object == object && one.what.contains("holds still"));
    assert!(
        found.is_some_and(|one| one.severity == Severity::Failure && one.what.contains("no answer")),
        "{findings:?}"
    );
}

impl Site {
    /// An hourly schedule of these volumes, whose guests hold still, and the snapshots of its first time.
    async fn scheduled(&self, volumes: &[VolumeId]) -> Vec<SnapshotId> {
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        let ids: Vec<_> = volumes.iter().map(ToString::to_string).collect();
        let tag = [("backup".to_owned(), "hourly".to_owned())].into();
        cloud.create_tags(admin, &ids, &tag).await.unwrap();
        let schedule = CreateSnapshotSchedule { freeze: true, ..crate::schedules::hourly(9) };
        cloud.create_snapshot_schedule(admin, schedule).await.unwrap();
        cloud.run_schedules().await.unwrap();
        self.pending().await
    }

    async fn pending(&self) -> Vec<SnapshotId> {
        let all = self.t.cloud.snapshots(&self.t.admin, &[]).await.unwrap();
        let all = all.into_iter().map(|record| record.snapshot);
        all.filter(|one| one.state == SnapshotState::Pending).map(|one| one.id).collect()
    }

    async fn assert_completed(&self, ids: &[SnapshotId], freeze: Option<SnapshotFreeze>, description: &str) {
        for id in ids {
            let found = self.found(*id).await;
            assert_eq!((found.state, found.freeze), (SnapshotState::Completed, freeze));
            assert_eq!(found.description, description);
        }
    }
}

#[tokio::test]
async fn a_schedule_has_the_guest_hold_still_and_takes_what_nobody_writes_at_once() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let free = site.available().await;
    let ids = site.scheduled(&[volumes[0], volumes[1], free]).await;
    assert_eq!(site.told_snapshots().await.len(), 1, "the one of which nobody writes the volume");
    assert_eq!(site.wanted_freeze().await.unwrap().wanted, FreezePart::Frozen);
    site.guest_says(FreezeState::Frozen).await;
    assert_eq!(site.told_snapshots().await.len(), 3);
    site.serve().await;
    site.guest_says(FreezeState::Held).await;
    let (mut held, mut free) = (Vec::new(), Vec::new());
    for id in ids {
        let list = if site.found(id).await.freeze.is_some() { &mut held } else { &mut free };
        list.push(id);
    }
    assert_eq!((held.len(), free.len()), (2, 1));
    site.assert_completed(&held, Some(SnapshotFreeze::Held), "taken by a schedule").await;
    site.assert_completed(&free, None, "taken by a schedule").await;
    assert_eq!(site.t.cloud.snapshot_schedules(&site.t.admin).await.unwrap()[0].freeze_failure, None);
}

#[tokio::test]
async fn a_schedule_takes_its_snapshots_once_also_where_the_guest_does_not_hold_still() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let unheld = "taken by a schedule; its guest did not hold still";
    let ids = site.scheduled(&volumes).await;
    site.guest_says(failed("the guest agent does not answer")).await;
    assert_eq!(site.wanted_freeze().await, None);
    let told: Vec<_> = site.told_snapshots().await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(told, ids, "their host is told at once");
    site.serve().await;
    site.assert_completed(&ids, None, unheld).await;
    let schedule = site.t.cloud.snapshot_schedules(&site.t.admin).await.unwrap().remove(0);
    assert_eq!(schedule.freeze_failure.as_deref(), Some("the guest agent does not answer"));

    // The control plane ends once the times are served, and again while the guest holds still; its host thaws it.
    site.t.clock.advance(3600);
    site.t.restarted().run_schedules().await.unwrap();
    let ids = site.pending().await;
    assert_eq!(ids.len(), 2);
    site.guest_says(FreezeState::Frozen).await;
    let restarted = site.t.restarted();
    restarted.run_schedules().await.unwrap();
    assert_eq!(site.pending().await, ids, "none is taken a second time");
    site.t.clock.advance(61);
    restarted.reconcile_once().await;
    assert_eq!(site.wanted_freeze().await, None);
    site.serve().await;
    site.assert_completed(&ids, None, unheld).await;
}

impl Site {
    /// Snapshots of what the instance has.
    async fn take(&self, caller: &Caller, volumes: &[VolumeId]) -> Result<Vec<SnapshotId>, Error> {
        let (volumes, instance) = (volumes.to_vec(), Some(self.instance));
        let request = CreateSnapshots { volumes, instance, ..CreateSnapshots::default() };
        let taken = self.t.cloud.create_snapshots(caller, &request).await?;
        Ok(taken.into_iter().map(|record| record.snapshot.id).collect())
    }

    async fn local_root(&self) -> VolumeId {
        let view = self.t.cloud.instance(&self.t.admin, self.instance).await.unwrap();
        view.record.root_volume.as_ref().unwrap().id
    }
}

#[tokio::test]
async fn a_running_instance_is_paused_for_snapshots_of_several_of_its_volumes() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let root = site.local_root().await;
    let mut ids = site.take(&site.t.admin, &[root, volumes[0], volumes[1]]).await.unwrap();
    let of_root = ids.remove(0);
    let wanted = site.wanted_freeze().await.unwrap();
    assert_eq!((wanted.kind, wanted.wanted), (FreezeKind::Vcpus, FreezePart::Frozen));
    assert_eq!(site.told_snapshots().await, [(of_root, false)], "the local root disk waits for nobody");
    site.guest_says(FreezeState::Frozen).await;
    assert_eq!(site.told_snapshots().await.len(), 3);
    site.serve().await;
    assert_eq!(site.wanted_freeze().await.unwrap().wanted, FreezePart::Thawed);
    site.guest_says(FreezeState::Held).await;
    assert_eq!(site.wanted_freeze().await, None);
    for id in ids {
        let found = site.found(id).await;
        assert_eq!((found.state, found.freeze_kind), (SnapshotState::Completed, FreezeKind::Vcpus));
    }
    let found = site.found(of_root).await;
    assert_eq!((found.state, found.freeze), (SnapshotState::Completed, None));
}

#[tokio::test]
async fn an_instance_that_cannot_be_paused_fails_its_snapshots_and_says_why() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let ids = site.take(&site.t.admin, &volumes).await.unwrap();
    site.guest_says(failed("the guest stands still already")).await;
    for id in ids {
        let found = site.found(id).await;
        assert_eq!(
            (found.state, found.message.as_deref()),
            (SnapshotState::Error, Some("the guest stands still already"))
        );
        let told = snapshot_failure(&found);
        assert!(told.contains("paused") && !told.contains("qemu-guest-agent"), "{told}");
    }
    assert_eq!((site.wanted_freeze().await, site.told_snapshots().await), (None, vec![]));
    // Its node does not answer; the control plane ends meanwhile.
    let ids = site.take(&site.t.admin, &volumes).await.unwrap();
    let restarted = site.t.restarted();
    site.t.clock.advance(61);
    restarted.reconcile_once().await;
    assert_eq!(site.found(ids[1]).await.state, SnapshotState::Error);
    assert_eq!(site.wanted_freeze().await, None);
}

#[tokio::test]
async fn an_instance_is_not_paused_while_a_host_of_its_volumes_is_silent() {
    let site = Site::new().await;
    let volumes = site.both().await;
    site.t.clock.advance(1000);
    site.compute.poll().await;
    let refused = site.take(&site.t.admin, &volumes).await.unwrap_err();
    assert!(matches!(&refused, Error::WrongState { id, .. } if *id == volumes[0].to_string()), "{refused:?}");
    site.take(&site.t.admin, &volumes[..1]).await.unwrap();
    site.storage.poll().await;
    site.take(&site.t.admin, &volumes).await.unwrap();
    assert_eq!(site.wanted_freeze().await.unwrap().kind, FreezeKind::Vcpus);
}

#[tokio::test]
async fn an_instance_is_paused_only_where_snapshots_would_differ() {
    let site = Site::new().await;
    let volumes = site.both().await;
    let rehearsal = Caller { dry_run: true, ..site.t.admin.clone() };
    let rehearsed = site.take(&rehearsal, &volumes).await.unwrap_err();
    assert!(matches!(rehearsed, Error::DryRunOk), "{rehearsed:?}");
    site.take(&site.t.admin, &volumes[..1]).await.unwrap();
    let root = site.local_root().await;
    site.take(&site.t.admin, &[root, volumes[1]]).await.unwrap();
    assert_eq!(site.wanted_freeze().await, None);
    assert_eq!(site.told_snapshots().await.len(), 3);
    site.take(&site.t.admin, &volumes).await.unwrap();
    let busy = site.take(&site.t.admin, &volumes).await.unwrap_err();
    assert!(matches!(busy, Error::HoldsStill { .. }), "{busy:?}");
    site.guest_says(failed("no answer")).await;
    site.t.cloud.stop_instances(&site.t.admin, &[site.instance], false).await.unwrap();
    site.take(&site.t.admin, &volumes).await.unwrap();
    assert_eq!(site.wanted_freeze().await, None, "it is to be off");
}
