//! Instances that boot from a volume, with hosts that say what the test wants.

use tepui_core::{CreateSnapshots, Error, Kind, RootVolumeRequest, RunInstances};
use tepui_db::model::{InstanceRecord, InstanceState, NodeState, VolumeState};
use tepui_types::agent::{
    DiskObserved, DiskPart, DiskState, IoLimits, NodeCapacity, PartBody, PlacementPart, PlacementSpec,
    PlacementState, ScratchDisks, StorageObserved, StoragePart, StoredState, VolumeImage, VolumePart,
};
use tepui_types::{Digest, ImageId, InstanceId};

use crate::harness::{GIB, Host};
use crate::volumes::{Site, done};

const RUNNING: PlacementState = PlacementState::Running { start_seq: 1, reboot_seq: 0 };

fn root(class: &str) -> RootVolumeRequest {
    RootVolumeRequest { class: Some(class.into()), ..RootVolumeRequest::default() }
}

impl Site {
    /// Launches one with this root, on the compute host.
    async fn boot(&self, root_volume: RootVolumeRequest) -> Result<InstanceId, Error> {
        self.t.cloud.set_schedulable(&self.t.admin, self.storage.id, false).await.unwrap();
        let request = RunInstances { root_volume, ..RunInstances::new(self.debian().await, "t3.nano") };
        let mut made = self.t.cloud.run_instances(&self.t.admin, request).await?;
        Ok(made.instances.remove(0).record.instance.id)
    }

    async fn debian(&self) -> ImageId {
        let images = self.t.cloud.images(&self.t.admin).await.unwrap();
        match images.iter().find(|image| image.name == "debian") {
            Some(image) => image.id,
            None => self.t.image(&self.t.admin, "debian").await,
        }
    }

    async fn record(&self, id: InstanceId) -> InstanceRecord {
        self.t.cloud.instance(&self.t.admin, id).await.unwrap().record.as_ref().clone()
    }

    async fn is(&self, id: InstanceId) -> InstanceState {
        self.record(id).await.instance.state
    }

    /// What the host is told of the instance, which it has.
    async fn told(&self, host: &Host, id: InstanceId) -> Option<PlacementSpec> {
        let placement = self.record(id).await.placement.unwrap().id;
        let parts = host.poll().await.parts;
        let node = parts.into_iter().find_map(|part| match part.body {
            PartBody::Node(node) => Some(node),
            PartBody::Vpc(_) | PartBody::Storage(_) | PartBody::Absent => None,
        });
        match node.unwrap().placements.into_iter().find(|wanted| wanted.id == placement).unwrap().wanted {
            PlacementPart::Present(spec) => Some(*spec),
            PlacementPart::Absent { .. } => None,
        }
    }

    /// The host says this of the instance, with all of its disks.
    async fn host_says(&self, host: &Host, id: InstanceId, state: PlacementState) {
        let record = self.record(id).await;
        let mut observed = host.observed(vec![(record.placement.unwrap().id, state)]);
        let seen = |export_id| DiskObserved {
            export_id,
            state: DiskState::Attached,
            size_bytes: 2 * GIB,
            limits: IoLimits::NONE,
        };
        observed.placements[0].disks = record.attachments.iter().map(|one| seen(one.export_id)).collect();
        host.report_as(1, observed).await;
    }

    /// One that runs from a volume of the pool.
    async fn booted(&self) -> InstanceId {
        let id = self.boot(root("gp3")).await.unwrap();
        self.serve().await;
        self.host_says(&self.compute, id, RUNNING).await;
        assert_eq!(self.is(id).await, InstanceState::Running);
        id
    }

    async fn stop(&self, id: InstanceId) {
        self.t.cloud.stop_instances(&self.t.admin, &[id], false).await.unwrap();
        self.host_says(&self.compute, id, PlacementState::Gone).await;
        self.serve().await;
        assert_eq!(self.is(id).await, InstanceState::Stopped);
    }
}

#[tokio::test]
async fn an_instance_boots_from_a_volume_that_is_made_from_its_image() {
    let site = Site::new().await;
    let id = site.boot(root("gp3")).await.unwrap();
    let record = site.record(id).await;
    let attachment = record.root_attachment().unwrap();
    assert_eq!((attachment.device.as_str(), attachment.delete_on_termination), ("/dev/sda1", true));
    let digest = Digest::of(b"debian");
    let wanted = site.part().await.volumes.pop().unwrap();
    let image = Some(VolumeImage { digest, bytes: 2 * GIB });
    let content = VolumePart::Present { size_bytes: 2 * GIB, snapshot_id: None, image, made: false };
    assert_eq!((wanted.id, wanted.wanted), (attachment.volume_id, content));
    assert!(site.t.cloud.needs_image(site.storage.id, &digest).await.unwrap());
    assert!(site.t.digests_kept().await.contains(&digest), "the image stays as long as it is to be brought");
    let spec = site.told(&site.compute, id).await.unwrap();
    assert_eq!((spec.root_disk, &spec.disks[0].wanted), (None, &DiskPart::Awaited));

    site.serve().await;
    assert!(!site.t.cloud.needs_image(site.storage.id, &digest).await.unwrap());
    let spec = site.told(&site.compute, id).await.unwrap();
    let DiskPart::Attached(disk) = &spec.disks[0].wanted else { panic!("{spec:?}") };
    assert!(disk.is_root);
    let names: Vec<_> = spec.metadata.block_devices.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["ami", "root"], "the root is not one of the others too");
    site.host_says(&site.compute, id, RUNNING).await;
    let shown = site.volume(attachment.volume_id).await;
    assert_eq!((shown.state, shown.attachments[0].instance_id), (VolumeState::Available, id));
}

#[tokio::test]
async fn it_starts_on_another_node_once_nobody_can_write_to_its_root() {
    let site = Site::new().await;
    let (id, t) = (site.booted().await, &site.t);
    let before = site.record(id).await;
    t.cloud.stop_instances(&t.admin, &[id], false).await.unwrap();
    assert_eq!(site.told(&site.compute, id).await, None, "nothing of it stays on its node");
    site.host_says(
        &site.compute,
        id,
        PlacementState::Off { start_seq: 1, reason: tepui_types::agent::OffReason::Requested },
    )
    .await;
    assert_eq!(site.is(id).await, InstanceState::Stopping);
    site.host_says(&site.compute, id, PlacementState::Gone).await;
    assert_eq!(site.is(id).await, InstanceState::Stopping, "its root may still be written to");
    let explained = t.cloud.explain_instance(&t.admin, id).await.unwrap();
    assert!(explained.waits_for.unwrap().ends_with("is being closed to the place that the instance left"));
    site.serve().await;
    assert_eq!(site.is(id).await, InstanceState::Stopped);

    t.cloud.set_schedulable(&t.admin, site.storage.id, true).await.unwrap();
    t.cloud.set_schedulable(&t.admin, site.compute.id, false).await.unwrap();
    t.cloud.start_instances(&t.admin, &[id]).await.unwrap();
    let after = site.record(id).await;
    assert_eq!(after.placement.as_ref().unwrap().node_id, site.storage.id);
    let address = |record: &InstanceRecord| record.interface.as_ref().unwrap().private_ip;
    assert_eq!(address(&after), address(&before));
    let [old, new] = [&before, &after].map(|record| record.attachments[0].clone());
    assert_eq!(old.volume_id, new.volume_id);
    assert!(old.export_id != new.export_id && old.wrapped_secret != new.wrapped_secret);
    let spec = site.told(&site.storage, id).await.unwrap();
    assert_eq!(spec.disks[0].wanted, DiskPart::Awaited);
    site.serve().await;
    site.host_says(&site.storage, id, PlacementState::Running { start_seq: 2, reboot_seq: 0 }).await;
    assert_eq!(site.is(id).await, InstanceState::Running);
    assert_eq!(
        t.cloud.doctor(&t.admin).await.unwrap().iter().filter(|one| one.object.contains("vol")).count(),
        0
    );
}

#[tokio::test]
async fn a_start_without_room_says_why_and_changes_nothing() {
    let site = Site::new().await;
    let (id, t) = (site.booted().await, &site.t);
    site.stop(id).await;
    for host in [&site.storage, &site.compute] {
        t.cloud.set_schedulable(&t.admin, host.id, false).await.unwrap();
    }
    let error = t.cloud.start_instances(&t.admin, &[id]).await.unwrap_err();
    assert!(matches!(&error, Error::NoCapacity { why, .. } if why.len() == 2), "{error:?}");
    assert_eq!((site.is(id).await, site.record(id).await.placement), (InstanceState::Stopped, None));
    t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap();
    assert_eq!(site.is(id).await, InstanceState::Terminated, "no host has to confirm it");
    site.serve().await;
    site.serve().await;
    let volumes = t.cloud.volumes(&t.admin, &[]).await.unwrap();
    assert!(
        volumes.iter().all(|volume| volume.class != "gp3" || !volume.attachments.is_empty()),
        "{volumes:?}"
    );
}

/// One call wants more than fits: it must not wait for what it holds itself.
#[tokio::test]
async fn starts_that_fit_one_by_one_and_not_together_are_refused_at_once() {
    let site = Site::new().await;
    let t = &site.t;
    let ids = [site.booted().await, site.booted().await];
    for id in ids {
        site.stop(id).await;
    }
    let capacity = NodeCapacity { vcpus: 2, memory_mib: 600, disk_gib: 10 };
    let small = t.host_of(3, capacity).await;
    small.report(Vec::new()).await;
    for host in [&site.storage, &site.compute] {
        t.cloud.set_schedulable(&t.admin, host.id, false).await.unwrap();
    }
    let begun = std::time::Instant::now();
    let error = t.cloud.start_instances(&t.admin, &ids).await.unwrap_err();
    assert!(matches!(&error, Error::NoCapacity { .. }), "{error:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(9), "nobody else holds anything");
    t.cloud.start_instances(&t.admin, &ids[..1]).await.unwrap();
}

#[tokio::test]
async fn a_later_start_whose_root_can_never_be_made_stops() {
    let site = Site::new().await;
    let (id, t) = (site.boot(root("gp3")).await.unwrap(), &site.t);
    let reason = tepui_db::model::StateReason { code: "x".into(), message: "x".into(), detail: None };
    let now = tepui_core::Clock::now(t.clock.as_ref());
    tepui_db::NodeDb::set_node_state(t.db.as_ref(), site.compute.id, NodeState::Unreachable, now)
        .await
        .unwrap();
    tepui_db::PlacementDb::expunge_node(t.db.as_ref(), site.compute.id, &reason, now).await.unwrap();
    let gone = |part: StoragePart| StorageObserved { volumes: Vec::new(), ..done(&part) };
    site.tell(gone(site.part().await)).await;
    assert_eq!(site.is(id).await, InstanceState::Stopped);
    t.cloud.set_schedulable(&t.admin, site.storage.id, true).await.unwrap();
    t.cloud.start_instances(&t.admin, &[id]).await.unwrap();
    let mut says = done(&site.part().await);
    let failed = StoredState::Failed { message: "another image".into(), permanent: true };
    says.volumes.iter_mut().for_each(|seen| seen.state = failed.clone());
    says.exports.clear();
    site.tell(says).await;
    assert_eq!(site.is(id).await, InstanceState::Stopping);
}

#[tokio::test]
async fn a_root_is_made_of_a_snapshot_and_may_outlive_its_instance() {
    let site = Site::new().await;
    let (first, t) = (site.booted().await, &site.t);
    let volume = site.record(first).await.attachments[0].volume_id;
    let request = CreateSnapshots { volumes: vec![volume], ..CreateSnapshots::default() };
    let snapshot = t.cloud.create_snapshots(&t.admin, &request).await.unwrap()[0].snapshot.id;
    site.serve().await;
    let asked = RootVolumeRequest {
        snapshot_id: Some(snapshot),
        size_gib: Some(5),
        delete_on_termination: Some(false),
        ..RootVolumeRequest::default()
    };
    let id = site.boot(asked).await.unwrap();
    let root = site.record(id).await.attachments[0].volume_id;
    let shown = site.volume(root).await;
    assert_eq!((shown.snapshot_id, shown.size_gib), (Some(snapshot), 5));
    site.serve().await;
    site.host_says(&site.compute, id, RUNNING).await;
    site.stop(id).await;
    t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap();
    site.serve().await;
    let left = site.volume(root).await;
    assert_eq!((left.state, left.attachments), (VolumeState::Available, vec![]));
}

#[tokio::test]
async fn a_root_that_cannot_be_is_refused_by_name_and_leaves_nothing() {
    let site = Site::new().await;
    let before = site.t.cloud.volumes(&site.t.admin, &[]).await.unwrap();
    let error = site.boot(root("golden")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::PoolClass, .. }), "{error:?}");
    let small = RootVolumeRequest { size_gib: Some(1), ..root("gp3") };
    let error = site.boot(small).await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { field: "root volume size", .. }), "{error:?}");
    let unknown = RootVolumeRequest {
        snapshot_id: Some(tepui_types::SnapshotId::from_random(7)),
        ..RootVolumeRequest::default()
    };
    let error = site.boot(unknown).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::Snapshot, .. }), "{error:?}");
    site.t.cloud.set_pool_draining(&site.t.admin, site.pool, true).await.unwrap();
    let error = site.boot(root("gp3")).await.unwrap_err();
    assert!(matches!(error, Error::PoolsFull { .. }), "{error:?}");
    assert_eq!(site.t.cloud.volumes(&site.t.admin, &[]).await.unwrap(), before);
}

#[tokio::test]
async fn a_later_place_has_room_for_the_scratch_disks_too() {
    let site = Site::new().await;
    let t = &site.t;
    t.cloud.set_schedulable(&t.admin, site.storage.id, false).await.unwrap();
    let scratch = ScratchDisks { scratch_gib: 900, swap_gib: 2 };
    let request = RunInstances { scratch, ..RunInstances::new(site.debian().await, "t3.nano") };
    let moving = RunInstances { root_volume: root("gp3"), ..request.clone() };
    let id = t.cloud.run_instances(&t.admin, moving).await.unwrap().instances[0].record.instance.id;
    site.serve().await;
    site.host_says(&site.compute, id, RUNNING).await;
    site.stop(id).await;
    let two = RunInstances { min_count: 2, max_count: 2, ..request };
    t.cloud.run_instances(&t.admin, two).await.unwrap();
    let error = t.cloud.start_instances(&t.admin, &[id]).await.unwrap_err();
    assert!(
        matches!(&error, Error::NoCapacity { wanted, .. } if wanted.contains("902 GiB disk")),
        "{error:?}"
    );
    t.cloud.set_schedulable(&t.admin, site.storage.id, true).await.unwrap();
    t.cloud.start_instances(&t.admin, &[id]).await.unwrap();
    assert_eq!(site.told(&site.storage, id).await.unwrap().scratch, scratch);
}
