//! Volumes that are made with their instance.

use tepui_core::{Clock as _, CreatePool, CreateSnapshots, Error, Kind, LaunchVolumeRequest, RunInstances};
use tepui_db::model::{AttachmentState, InstanceRecord, InstanceState, VolumeState};
use tepui_types::agent::{
    DiskObserved, DiskPart, DiskState, IoLimits, PartBody, PlacementPart, PlacementState, PoolBackend,
    StoredState, WantedDisk,
};
use tepui_types::{SnapshotId, VolumeId};

use crate::volumes::{Site, done};

fn volume(device: &str) -> LaunchVolumeRequest {
    LaunchVolumeRequest {
        device: device.into(),
        size_gib: Some(4),
        class: None,
        iops: None,
        throughput_mib: None,
        snapshot_id: None,
        delete_on_termination: true,
    }
}

impl Site {
    /// Its new instances go to the compute host.
    async fn apart() -> Self {
        let site = Self::new().await;
        site.t.cloud.set_schedulable(&site.t.admin, site.storage.id, false).await.unwrap();
        site
    }

    async fn launch(&self, volumes: &[LaunchVolumeRequest]) -> Result<InstanceRecord, Error> {
        let image = self.t.image(&self.t.admin, &format!("image-{}", self.t.random())).await;
        let mut request = RunInstances { volumes: volumes.to_vec(), ..RunInstances::new(image, "t3.nano") };
        request.volume_tags.insert("Name".into(), "data".into());
        let mut made = self.t.cloud.run_instances(&self.t.admin, request).await?;
        Ok(made.instances.remove(0).record.as_ref().clone())
    }

    async fn state(&self, of: &InstanceRecord) -> InstanceState {
        self.t.cloud.instance(&self.t.admin, of.instance.id).await.unwrap().record.instance.state
    }

    /// What is wanted of an instance on the compute host; `None` once it must go.
    async fn wanted(&self, of: &InstanceRecord) -> Option<Vec<WantedDisk>> {
        let parts = self.compute.poll().await.parts;
        let node = parts.into_iter().find_map(|part| match part.body {
            PartBody::Node(node) => Some(node),
            PartBody::Vpc(_) | PartBody::Storage(_) | PartBody::Absent => None,
        });
        let id = of.placement.as_ref().unwrap().id;
        let own = node.unwrap().placements.into_iter().find(|wanted| wanted.id == id).unwrap();
        match own.wanted {
            PlacementPart::Present(spec) => Some(spec.disks),
            PlacementPart::Absent { .. } => None,
        }
    }

    async fn says(&self, of: &InstanceRecord, state: PlacementState, disks: Vec<DiskObserved>) {
        let mut observed = self.compute.observed(vec![(of.placement.as_ref().unwrap().id, state)]);
        observed.placements[0].disks = disks;
        self.compute.report_as(1, observed).await;
    }
}

#[tokio::test]
async fn an_instance_starts_with_the_volumes_of_its_launch_and_takes_them_along() {
    let site = Site::apart().await;
    let kept = LaunchVolumeRequest { delete_on_termination: false, ..volume("/dev/sdg") };
    let record = site.launch(&[kept, volume("sdf")]).await.unwrap();
    let devices: Vec<_> = record.attachments.iter().map(|one| one.device.as_str()).collect();
    assert_eq!(devices, ["/dev/sdf", "/dev/sdg"]);
    let (goes, stays) = (record.attachments[0].volume_id, record.attachments[1].volume_id);
    assert_eq!(site.volume(goes).await.tags["Name"], "data");
    let awaited = |wanted: Vec<WantedDisk>| wanted.iter().all(|disk| disk.wanted == DiskPart::Awaited);
    assert!(awaited(site.wanted(&record).await.unwrap()));

    site.serve().await;
    let disks = site.wanted(&record).await.unwrap();
    assert!(disks.iter().all(|disk| matches!(disk.wanted, DiskPart::Attached(_))), "{disks:?}");
    let seen = |disk: &WantedDisk| DiskObserved {
        export_id: disk.export_id,
        state: DiskState::Attached,
        size_bytes: 4 << 30,
        limits: IoLimits::NONE,
    };
    let running = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
    site.says(&record, running, disks.iter().map(seen).collect()).await;
    assert_eq!(site.state(&record).await, InstanceState::Running);
    for id in [goes, stays] {
        let shown = site.volume(id).await;
        assert_eq!(
            (shown.state, shown.attachments[0].state),
            (VolumeState::Available, AttachmentState::Attached)
        );
    }

    site.t.cloud.terminate_instances(&site.t.admin, &[record.instance.id]).await.unwrap();
    site.says(&record, PlacementState::Gone, Vec::new()).await;
    site.serve().await;
    site.serve().await;
    let gone = site.t.cloud.volume(&site.t.admin, goes).await;
    assert!(matches!(gone, Err(Error::NotFound { kind: Kind::Volume, .. })), "{gone:?}");
    assert_eq!(site.volume(stays).await.attachments, []);
}

#[tokio::test]
async fn an_instance_ends_whose_volume_can_never_be_made() {
    let site = Site::apart().await;
    let record = site.launch(&[volume("/dev/sdf")]).await.unwrap();
    let id = record.attachments[0].volume_id;
    let mut says = done(&site.part().await);
    let failed = StoredState::Failed { message: "no room".into(), permanent: true };
    says.volumes.iter_mut().filter(|seen| seen.id == id).for_each(|seen| seen.state = failed.clone());
    says.exports.clear();
    site.tell(says).await;
    assert_eq!(site.state(&record).await, InstanceState::ShuttingDown);
    assert_eq!(site.wanted(&record).await, None);
    let shown = site.t.cloud.instance(&site.t.admin, record.instance.id).await.unwrap();
    let reason = shown.record.instance.state_reason.clone().unwrap();
    assert!(reason.message.starts_with(&format!("Server.InternalError: the volume {id} ")), "{reason:?}");
    assert_eq!(reason.detail.as_deref(), Some("no room"));
    site.says(&record, PlacementState::Gone, Vec::new()).await;
    assert_eq!(site.state(&record).await, InstanceState::Terminated);
    site.serve().await;
    site.serve().await;
    assert!(site.t.cloud.volume(&site.t.admin, id).await.is_err(), "what is left of it goes too");
}

/// The process died between the word of the volume and the end of the instance.
#[tokio::test]
async fn an_instance_ends_also_when_its_volume_failed_before() {
    let site = Site::apart().await;
    let record = site.launch(&[volume("/dev/sdf")]).await.unwrap();
    let id = record.attachments[0].volume_id;
    let news = tepui_db::StorageNews::VolumeFailed(id, "no room".into());
    tepui_db::StorageDb::apply_storage_news(site.t.db.as_ref(), site.storage.id, &[news], site.t.clock.now())
        .await
        .unwrap();
    assert_eq!(site.state(&record).await, InstanceState::Pending);
    let mut says = done(&site.part().await);
    says.exports.clear();
    site.tell(says).await;
    assert_eq!(site.state(&record).await, InstanceState::ShuttingDown);
}

#[tokio::test]
async fn a_launch_with_wrong_volumes_names_what_is_wrong() {
    let site = Site::apart().await;
    let with = |change: fn(&mut LaunchVolumeRequest)| {
        let mut changed = volume("/dev/sdf");
        change(&mut changed);
        vec![changed]
    };
    let invalid: [(&str, Vec<LaunchVolumeRequest>); 4] = [
        ("device", vec![volume("/dev/sdf"), volume("xvdf")]),
        ("device", vec![volume("/dev/sda2")]),
        ("size", with(|one| one.size_gib = Some(0))),
        ("size", with(|one| one.size_gib = None)),
    ];
    for (name, volumes) in invalid {
        let error = site.launch(&volumes).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput { field, .. } if field == name), "{error:?}");
    }
    let many: Vec<_> =
        (b'b'..=b'j').map(|letter| volume(&format!("/dev/sd{}", char::from(letter)))).collect();
    let error = site.launch(&many).await.unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { limit: 8, .. }), "{error:?}");
    let error = site.launch(&with(|one| one.class = Some("gold".into()))).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::PoolClass, .. }), "{error:?}");
    let error =
        site.launch(&with(|one| one.snapshot_id = Some(SnapshotId::from_random(7)))).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::Snapshot, .. }), "{error:?}");
    site.t.cloud.set_pool_draining(&site.t.admin, site.pool, true).await.unwrap();
    let error = site.launch(&[volume("/dev/sdf")]).await.unwrap_err();
    assert!(matches!(error, Error::PoolsFull { .. }), "{error:?}");
    assert_eq!(volumes_of_pools(&site).await, []);
}

async fn volumes_of_pools(site: &Site) -> Vec<VolumeId> {
    let part = site.part().await;
    part.volumes.iter().map(|wanted| wanted.id).collect()
}

#[tokio::test]
async fn a_volume_of_a_launch_is_made_from_a_snapshot() {
    let site = Site::apart().await;
    let of = site.available().await;
    let request = CreateSnapshots { volumes: vec![of], ..CreateSnapshots::default() };
    let taken = site.t.cloud.create_snapshots(&site.t.admin, &request).await.unwrap();
    site.serve().await;
    let snapshot = taken[0].snapshot.id;
    let from = LaunchVolumeRequest { size_gib: None, snapshot_id: Some(snapshot), ..volume("/dev/sdf") };
    let record = site.launch(std::slice::from_ref(&from)).await.unwrap();
    let shown = site.volume(record.attachments[0].volume_id).await;
    assert_eq!((shown.snapshot_id, shown.size_gib), (Some(snapshot), 4));
    let smaller = LaunchVolumeRequest { size_gib: Some(3), ..from };
    let error = site.launch(&[smaller]).await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { field: "size", .. }), "{error:?}");
}

#[tokio::test]
async fn an_instance_with_local_volumes_goes_to_the_node_of_their_pool() {
    let site = Site::new().await;
    let pool = CreatePool {
        name: "disk".into(),
        class: "disk".into(),
        backend: PoolBackend::Local,
        node_id: site.storage.id,
        path: "/srv/disk".into(),
        filer: None,
        soft_percent: 80,
        hard_percent: 90,
    };
    site.t.cloud.create_pool(&site.t.admin, pool).await.unwrap();
    site.serve().await;
    let local = LaunchVolumeRequest { class: Some("disk".into()), ..volume("/dev/sdf") };
    for _ in 0..3 {
        let record = site.launch(std::slice::from_ref(&local)).await.unwrap();
        assert_eq!(record.placement.unwrap().node_id, site.storage.id);
    }
    site.t.cloud.set_schedulable(&site.t.admin, site.storage.id, false).await.unwrap();
    let Error::NoCapacity { why, .. } = site.launch(&[local]).await.unwrap_err() else { panic!("launched") };
    let rules: Vec<_> = why.iter().map(|rejection| rejection.rule.as_str()).collect();
    assert!(rules.contains(&"has no pool for the local volumes"), "{rules:?}");
}

#[tokio::test]
async fn no_launch_has_a_volume_of_a_snapshot_that_is_not_taken_yet() {
    let site = Site::apart().await;
    let of = site.available().await;
    let request = CreateSnapshots { volumes: vec![of], ..CreateSnapshots::default() };
    let id = site.t.cloud.create_snapshots(&site.t.admin, &request).await.unwrap()[0].snapshot.id;
    let wanted = [LaunchVolumeRequest { snapshot_id: Some(id), ..volume("/dev/sdf") }];
    let refused = site.launch(&wanted).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("'{id}' is pending; this needs completed"));
    assert_eq!(volumes_of_pools(&site).await, [of], "nothing is left");
    site.serve().await;
    site.launch(&wanted).await.unwrap();
}
