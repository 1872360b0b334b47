//! Pools, volumes and snapshots, with hosts that say what the test wants.

use tepui_core::ModificationState::{Completed, Modifying, Optimizing};
use tepui_core::{
    AttachVolume, Caller, CreatePool, CreateSnapshots, CreateVolume, DetachVolume, DiskChange, Error, Kind,
    ModifyVolume, VolumeView,
};
use tepui_db::model::{AttachmentState, SnapshotState, VolumeState};
use tepui_types::agent::{
    DiskIo, DiskObserved, DiskPart, DiskState, ExportObserved, ExportPart, ExportState, IoCounters, IoLimits,
    NodeObserved, PartBody, PlacementPart, PlacementSpec, PlacementState, PoolBackend, PoolObserved,
    PoolState, Report, SnapshotObserved, SnapshotPart, StorageObserved, StoragePart, StoredState,
    VolumeObserved, VolumePart, VolumeSource,
};
use tepui_types::{ExportId, InstanceId, PlacementId, PoolId, VolumeId};

use crate::harness::{GIB, Harness, Host};

/// A cloud with a storage host that does at once what its part says, and a host with one running guest.
pub(crate) struct Site {
    pub(crate) t: Harness,
    pub(crate) storage: Host,
    pub(crate) compute: Host,
    pub(crate) pool: PoolId,
    pub(crate) instance: InstanceId,
    pub(crate) placement: PlacementId,
}

pub(crate) fn request(host: &Host, name: &str, class: &str) -> CreatePool {
    CreatePool {
        name: name.into(),
        class: class.into(),
        backend: PoolBackend::Iscsi,
        node_id: host.id,
        path: format!("/srv/{name}"),
        filer: None,
        soft_percent: 80,
        hard_percent: 90,
    }
}

fn source(id: ExportId) -> VolumeSource {
    VolumeSource::Iscsi { portal: "10.0.0.1:3260".parse().unwrap(), target: format!("iqn:{id}"), lun: 1 }
}

fn nfs(id: ExportId) -> VolumeSource {
    let path = format!("/srv/fast/{id}/disk.raw");
    VolumeSource::Nfs { server: "10.0.0.2".parse().unwrap(), path, uid: 7, gid: 8 }
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(PoolBackend::Iscsi).await
    }

    async fn with(backend: PoolBackend) -> Self {
        Self::of(Harness::new().await, backend).await
    }

    /// In a cloud that is configured otherwise.
    pub(crate) async fn of(t: Harness, backend: PoolBackend) -> Self {
        let compute = t.host(1).await;
        let instance = t.run_one(&t.admin).await.instances[0].record.instance.id;
        let storage = t.host(2).await;
        // It was heard before it had a pool.
        storage.report(Vec::new()).await;
        let placement =
            t.cloud.instance(&t.admin, instance).await.unwrap().record.placement.clone().unwrap().id;
        let request = CreatePool { backend, ..request(&storage, "fast", "gp3") };
        let pool = t.cloud.create_pool(&t.admin, request).await.unwrap();
        let site = Self { t, storage, compute, pool: pool.load.pool.id, instance, placement };
        site.running(&[]).await;
        site.serve().await;
        site
    }

    pub(crate) async fn part(&self) -> StoragePart {
        let parts = self.storage.poll().await.parts;
        let found = parts.into_iter().find_map(|part| match part.body {
            PartBody::Storage(storage) => Some(storage),
            PartBody::Node(_) | PartBody::Vpc(_) | PartBody::Absent => None,
        });
        found.expect("a storage part")
    }

    /// The storage host has done all that its part says.
    pub(crate) async fn serve(&self) {
        let done = done(&self.part().await);
        self.tell(done).await;
    }

    pub(crate) async fn tell(&self, storage: StorageObserved) {
        let observed = NodeObserved { storage: Some(storage), ..self.storage.observed(Vec::new()) };
        self.storage.report_as(1, observed).await;
    }

    /// The guest runs, and its domain has said this of its disks.
    pub(crate) async fn running(&self, disks: &[DiskObserved]) {
        let state = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
        let mut observed = self.compute.observed(vec![(self.placement, state)]);
        observed.placements[0].disks = disks.to_vec();
        self.compute.report_as(1, observed).await;
    }

    /// What the guest finds below `block-device-mapping`.
    async fn metadata(&self) -> Vec<String> {
        let spec = self.spec().await.unwrap();
        spec.metadata.block_devices.iter().map(|one| format!("{}={}", one.name, one.device)).collect()
    }

    /// What is wanted of the guest's disks.
    pub(crate) async fn disks(&self) -> Vec<(ExportId, DiskPart)> {
        let disks = self.spec().await.map(|spec| spec.disks).unwrap_or_default();
        disks.into_iter().map(|disk| (disk.export_id, disk.wanted)).collect()
    }

    /// What is wanted of the guest.
    pub(crate) async fn spec(&self) -> Option<PlacementSpec> {
        let parts = self.compute.poll().await.parts;
        let node = parts.into_iter().find_map(|part| match part.body {
            PartBody::Node(node) => Some(node),
            PartBody::Vpc(_) | PartBody::Storage(_) | PartBody::Absent => None,
        });
        let mut placements = node.unwrap().placements;
        match placements.remove(0).wanted {
            PlacementPart::Present(spec) => Some(*spec),
            PlacementPart::Absent { .. } => None,
        }
    }

    async fn create(&self, size_gib: u32) -> Result<VolumeView, Error> {
        let request = CreateVolume { size_gib: Some(size_gib), ..CreateVolume::default() };
        self.t.cloud.create_volume(&self.t.admin, request).await
    }

    pub(crate) async fn volume(&self, id: VolumeId) -> VolumeView {
        self.t.cloud.volume(&self.t.admin, id).await.unwrap()
    }

    /// A volume that is there.
    pub(crate) async fn available(&self) -> VolumeId {
        let id = self.create(4).await.unwrap().id;
        self.serve().await;
        assert_eq!(self.volume(id).await.state, VolumeState::Available);
        id
    }

    /// The root disk of the instance.
    pub(crate) async fn root(&self) -> VolumeId {
        let record = self.t.cloud.instance(&self.t.admin, self.instance).await.unwrap().record;
        record.root_volume.as_ref().unwrap().id
    }

    pub(crate) async fn attach(&self, volume_id: VolumeId, device: &str) -> Result<(), Error> {
        let request = AttachVolume { volume_id, instance_id: self.instance, device: device.into() };
        self.t.cloud.attach_volume(&self.t.admin, request).await.map(|_| ())
    }

    async fn detach(&self, volume_id: VolumeId, force: bool) -> Result<(), Error> {
        let request = DetachVolume { volume_id, instance_id: None, device: None, force };
        self.t.cloud.detach_volume(&self.t.admin, request).await.map(|_| ())
    }

    /// The guest has let go of the volume, and nothing of its export is left.
    pub(crate) async fn let_go(&self, id: VolumeId) {
        self.detach(id, true).await.unwrap();
        self.serve().await;
        assert_eq!(self.volume(id).await.attachments, []);
    }

    /// A volume that the guest uses.
    pub(crate) async fn in_use(&self) -> (VolumeId, ExportId) {
        let id = self.available().await;
        self.attach(id, "/dev/sdf").await.unwrap();
        self.serve().await;
        let export = self.disks().await[0].0;
        self.running(&[seen(export, DiskState::Attached)]).await;
        assert_eq!(self.volume(id).await.attachments[0].state, AttachmentState::Attached);
        (id, export)
    }
}

fn larger(volume_id: VolumeId, size_gib: u32) -> ModifyVolume {
    ModifyVolume { size_gib: Some(size_gib), ..same(volume_id) }
}

/// What changes nothing.
pub(crate) fn same(volume_id: VolumeId) -> ModifyVolume {
    ModifyVolume { volume_id, size_gib: None, class: None, iops: None, throughput_mib: None, read_only: None }
}

pub(crate) fn seen(export_id: ExportId, state: DiskState) -> DiskObserved {
    DiskObserved { export_id, state, size_bytes: 4 * GIB, limits: IoLimits::NONE }
}

/// What a host says that has done all that its part says.
pub(crate) fn done(part: &StoragePart) -> StorageObserved {
    let ready = PoolState::Ready { total_bytes: 100 * GIB, used_bytes: 10 * GIB };
    let volume = |wanted: &VolumePart| match wanted {
        VolumePart::Present { size_bytes, .. } => StoredState::Present { size_bytes: *size_bytes },
        VolumePart::Absent => StoredState::Gone,
    };
    let snapshot = |wanted: &SnapshotPart| match wanted {
        SnapshotPart::Present { .. } => StoredState::Present { size_bytes: 0 },
        SnapshotPart::Absent => StoredState::Gone,
    };
    let export = |id: ExportId, wanted: &ExportPart| match wanted {
        ExportPart::Open { .. } if part.pools[0].backend == PoolBackend::Nfs => {
            ExportState::Open { source: nfs(id) }
        }
        ExportPart::Open { .. } => ExportState::Open { source: source(id) },
        ExportPart::Absent => ExportState::Gone,
    };
    StorageObserved {
        pools: part.pools.iter().map(|pool| PoolObserved { id: pool.id, state: ready.clone() }).collect(),
        volumes: part
            .volumes
            .iter()
            .map(|one| VolumeObserved { id: one.id, state: volume(&one.wanted) })
            .collect(),
        snapshots: part
            .snapshots
            .iter()
            .map(|one| SnapshotObserved { id: one.id, state: snapshot(&one.wanted) })
            .collect(),
        exports: part
            .exports
            .iter()
            .map(|one| ExportObserved { id: one.id, state: export(one.id, &one.wanted) })
            .collect(),
        leftovers: Vec::new(),
        tests: Vec::new(),
    }
}

#[tokio::test]
async fn pools_are_the_administrators_and_their_fields_are_checked() {
    let site = Site::new().await;
    let cloud = &site.t.cloud;
    let member = site.t.member("m").await;
    let with = |change: fn(&mut CreatePool)| {
        let mut pool = request(&site.storage, "second", "gp3");
        change(&mut pool);
        pool
    };
    let refused = async |caller: &Caller, pool| cloud.create_pool(caller, pool).await.unwrap_err();
    assert!(matches!(refused(&member, with(|_| {})).await, Error::Forbidden { .. }));
    assert!(matches!(cloud.pools(&member).await, Err(Error::Forbidden { .. })));
    assert!(matches!(cloud.delete_pool(&member, site.pool).await, Err(Error::Forbidden { .. })));
    assert!(matches!(cloud.set_pool_draining(&member, site.pool, true).await, Err(Error::Forbidden { .. })));
    for (field, change) in [
        ("name", (|pool| pool.name.clear()) as fn(&mut CreatePool)),
        ("class", |pool| pool.class = "\n".into()),
        ("path", |pool| pool.path = "srv".into()),
        ("path", |pool| pool.path = "/".into()),
        ("path", |pool| pool.path = "/srv/../etc".into()),
        ("path", |pool| (pool.backend, pool.path) = (PoolBackend::Nfs, "/srv/a (b)".into())),
        ("filer", |pool| pool.filer = Some("10.0.0.9:/export".parse().unwrap())),
        ("soft_percent", |pool| pool.soft_percent = 91),
        ("soft_percent", |pool| pool.soft_percent = 0),
        ("soft_percent", |pool| pool.hard_percent = 101),
    ] {
        let error = refused(&site.t.admin, with(change)).await;
        assert!(matches!(&error, Error::InvalidInput { field: named, .. } if *named == field), "{error:?}");
    }
    let filer = Some("10.0.0.9:/export (1)".parse().unwrap());
    let on_filer = with(|pool| (pool.backend, pool.path) = (PoolBackend::Nfs, "/srv/a (b)".into()));
    cloud.create_pool(&site.t.admin, CreatePool { filer: filer.clone(), ..on_filer }).await.unwrap();
    let part = site.part().await;
    assert!(part.pools.iter().any(|pool| pool.filer == filer), "its host is told: {part:?}");
    let taken = refused(&site.t.admin, with(|pool| pool.name = "fast".into())).await;
    assert!(matches!(taken, Error::AlreadyExists { kind: Kind::Pool, .. }));
    let view = cloud.pool(&site.t.admin, site.pool).await.unwrap();
    assert!(matches!(view.state, Some(PoolState::Ready { .. })));
}

#[tokio::test]
async fn a_volume_goes_where_there_is_room() {
    let site = Site::new().await;
    let cloud = &site.t.cloud;
    let other = site.t.host(3).await;
    let second =
        cloud.create_pool(&site.t.admin, request(&other, "second", "gp3")).await.unwrap().load.pool.id;
    let say = async |percent: u64| {
        let state = PoolState::Ready { total_bytes: 100 * GIB, used_bytes: percent * GIB };
        let pools = vec![PoolObserved { id: second, state }];
        let storage = Some(StorageObserved { pools, ..StorageObserved::default() });
        other.report_as(1, NodeObserved { storage, ..other.observed(Vec::new()) }).await;
    };
    let load = async |pool| cloud.pool(&site.t.admin, pool).await.unwrap().load.volumes;
    site.create(1).await.unwrap();
    assert_eq!((load(site.pool).await, load(second).await), (1, 0), "the second's host has not spoken yet");
    say(5).await;
    site.create(1).await.unwrap();
    assert_eq!((load(site.pool).await, load(second).await), (1, 1), "the emptier one");
    say(90).await;
    site.create(1).await.unwrap();
    assert_eq!(load(second).await, 1, "it is at its watermark");
    let with_token = |token: &str, size| {
        let client_token = Some(token.to_owned());
        let request = CreateVolume { size_gib: Some(size), client_token, ..CreateVolume::default() };
        cloud.create_volume(&site.t.admin, request)
    };
    let made = with_token("one", 1).await.unwrap();
    cloud.set_pool_draining(&site.t.admin, site.pool, true).await.unwrap();
    assert_eq!(with_token("one", 1).await.unwrap().id, made.id, "a repeat needs no room");
    assert!(matches!(with_token("one", 2).await.unwrap_err(), Error::TokenMismatch { .. }));
    assert!(matches!(with_token("two", 1).await.unwrap_err(), Error::PoolsFull { .. }));
    let full = site.create(1).await.unwrap_err();
    assert!(matches!(&full, Error::PoolsFull { class } if class == "gp3"), "{full:?}");
    cloud.set_pool_draining(&site.t.admin, site.pool, false).await.unwrap();
    let request = CreateVolume { size_gib: Some(1), ..CreateVolume::default() };
    let made = site.t.restarted().create_volume(&site.t.admin, request).await;
    assert_eq!(made.unwrap().state, VolumeState::Creating, "no host has spoken since the restart");
    site.t.clock.advance(91);
    let silent = site.create(1).await.unwrap_err();
    assert!(matches!(silent, Error::PoolsFull { .. }), "no host is heard: {silent:?}");
}

#[tokio::test]
async fn a_class_is_one_of_the_pools_or_one_of_awss_names() {
    let site = Site::new().await;
    let of = async |class: &str| {
        let class = Some(class.to_owned());
        let request = CreateVolume { size_gib: Some(1), class, ..CreateVolume::default() };
        site.t.cloud.create_volume(&site.t.admin, request).await
    };
    assert_eq!(of("gp3").await.unwrap().class, "gp3");
    assert_eq!(of("io2").await.unwrap().class, "gp3", "the usual one stands for AWS's others");
    let error = of("golden").await.unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::PoolClass, .. }), "{error:?}");
}

#[tokio::test]
async fn a_volume_is_modified_by_every_name_of_the_class_it_has() {
    let site = Site::new().await;
    let (cloud, admin, volume_id) = (&site.t.cloud, &site.t.admin, site.available().await);
    let named = async |class: &str| {
        let class = Some(class.to_owned());
        cloud.modify_volume(admin, ModifyVolume { class, ..same(volume_id) }).await
    };
    cloud.create_pool(admin, request(&site.storage, "slow", "slow")).await.unwrap();
    for class in ["gp3", "gp2"] {
        assert_eq!(named(class).await.unwrap().class, "gp3", "{class}");
    }
    let error = named("slow").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { field: "volume_type", .. }), "{error:?}");
    cloud.create_pool(admin, request(&site.storage, "io2", "io2")).await.unwrap();
    let error = named("io2").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { field: "volume_type", .. }), "{error:?}");
    let error = named("golden").await.unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::PoolClass, .. }), "{error:?}");
}

#[tokio::test]
async fn a_volume_lives_as_its_host_says() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    for (size, field) in [(0, "size"), (20_000, "size")] {
        let error = site.create(size).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidInput { field: named, .. } if *named == field), "{error:?}");
    }
    let view = site.create(4).await.unwrap();
    assert_eq!((view.state, view.size_gib, view.class.as_str()), (VolumeState::Creating, 4, "gp3"));
    let part = site.part().await;
    assert_eq!(part.pools[0].path, "/srv/fast");
    assert_eq!(
        part.volumes[0].wanted,
        VolumePart::Present { size_bytes: 4 * GIB, snapshot_id: None, image: None, made: false }
    );
    site.serve().await;
    assert_eq!(site.volume(view.id).await.state, VolumeState::Available);
    let grow = |caller, size| cloud.modify_volume(caller, larger(view.id, size));
    let nothing = grow(admin, 4).await.unwrap();
    assert_eq!((nothing.original_gib, nothing.target_gib, nothing.state), (4, 4, Completed));
    let begun = grow(admin, 6).await.unwrap();
    assert_eq!((begun.original_gib, begun.target_gib, begun.state), (4, 6, Modifying));
    let shrink = grow(admin, 5).await.unwrap_err();
    let Error::InvalidInput { field: "size", value, rule } = &shrink else { panic!("{shrink:?}") };
    assert_eq!((value.as_str(), rule.as_str()), ("5", "is at least 6 GiB: a volume never shrinks"));
    assert_eq!(grow(admin, 6).await.unwrap(), begun, "asked twice");
    let same = ModifyVolume { class: Some("gp3".into()), ..same(view.id) };
    assert_eq!(cloud.modify_volume(admin, same).await.unwrap(), begun);
    assert_eq!((site.volume(view.id).await.size_gib, site.volume(view.id).await.actual_gib), (6, 4));
    site.serve().await;
    assert_eq!(site.volume(view.id).await.actual_gib, 6);
    assert_eq!(site.volume(view.id).await.modification.unwrap().state, Completed);
    let stranger = site.t.member("stranger").await;
    for refused in [
        cloud.volume(&stranger, view.id).await.map(|_| ()),
        grow(&stranger, 9).await.map(|_| ()),
        cloud.delete_volume(&stranger, view.id).await,
    ] {
        assert!(matches!(refused, Err(Error::NotFound { kind: Kind::Volume, .. })), "{refused:?}");
    }
    cloud.delete_volume(admin, view.id).await.unwrap();
    cloud.delete_volume(admin, view.id).await.unwrap();
    assert_eq!(site.part().await.volumes[0].wanted, VolumePart::Absent);
    site.serve().await;
    assert!(matches!(cloud.volume(admin, view.id).await, Err(Error::NotFound { .. })));
    assert_eq!(site.part().await.volumes, []);
}

#[tokio::test]
async fn a_volume_in_use_grows_first_on_its_host_and_then_in_its_guest() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (id, export) = site.in_use().await;
    let size = async || {
        let DiskPart::Attached(spec) = site.disks().await.remove(0).1 else { panic!("it is absent") };
        spec.size_bytes / GIB
    };
    let state = async || site.volume(id).await.modification.unwrap().state;
    assert_eq!(cloud.modify_volume(admin, larger(id, 6)).await.unwrap().state, Modifying);
    assert_eq!(size().await, 4, "its host has no more of it");
    site.serve().await;
    assert_eq!((size().await, state().await), (6, Optimizing));
    let sees = |gib| DiskObserved { size_bytes: gib * GIB, ..seen(export, DiskState::Attached) };
    assert_eq!(site.metadata().await, ["ami=/dev/vda", "root=/dev/vda", "ebs1=sdf"]);
    let refused = DiskState::Failed { message: "Cannot grow device".into() };
    site.running(&[DiskObserved { state: refused, ..sees(6) }]).await;
    assert_eq!(state().await, Optimizing);
    site.running(&[sees(4)]).await;
    assert_eq!(state().await, Optimizing);
    site.running(&[sees(6)]).await;
    assert_eq!(state().await, Completed);
    assert!(site.volume(id).await.modification.unwrap().ended_at.is_some());
}

#[tokio::test]
async fn limits_reach_the_guests_host_and_are_changed_once_that_says_so() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let limits = |iops, throughput_mib| IoLimits { iops, throughput_mib };
    let create = async |iops, throughput_mib| {
        let size_gib = Some(4);
        let request = CreateVolume { size_gib, iops, throughput_mib, ..CreateVolume::default() };
        cloud.create_volume(admin, request).await
    };
    for (iops, throughput_mib, named) in [(Some(99), None, "iops"), (None, Some(2001), "throughput")] {
        let error = create(iops, throughput_mib).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidInput { field, .. } if *field == named), "{error:?}");
    }
    assert_eq!(create(Some(3000), Some(125)).await.unwrap().limits, IoLimits::NONE);
    let id = create(Some(500), None).await.unwrap().id;
    site.serve().await;
    let modify = async |iops, throughput_mib| {
        let request = ModifyVolume { iops, throughput_mib, ..same(id) };
        cloud.modify_volume(admin, request).await
    };
    let error = modify(Some(5), None).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidInput { field: "iops", .. }), "{error:?}");
    let done = modify(Some(600), None).await.unwrap();
    assert_eq!((done.original_limits, done.target_limits), (limits(500, 0), limits(600, 0)));
    assert_eq!((done.state, done.original_gib, done.target_gib), (Completed, 4, 4), "no guest has it");

    site.attach(id, "/dev/sdf").await.unwrap();
    site.serve().await;
    let wanted = async || {
        let (export, DiskPart::Attached(spec)) = site.disks().await.remove(0) else { panic!("it is absent") };
        (export, spec.limits)
    };
    let (export, told) = wanted().await;
    assert_eq!(told, limits(600, 0));
    let says = async |limits| {
        site.running(&[DiskObserved { limits, ..seen(export, DiskState::Attached) }]).await;
        site.volume(id).await.modification.unwrap().state
    };
    says(limits(600, 0)).await;
    let begun = modify(None, Some(10)).await.unwrap();
    assert_eq!((begun.state, begun.target_limits), (Optimizing, limits(600, 10)));
    assert_eq!(wanted().await.1, limits(600, 10));
    let error = modify(Some(700), None).await.unwrap_err();
    assert!(matches!(error, Error::Modifying { .. }), "{error:?}");
    assert_eq!(modify(None, Some(10)).await.unwrap(), begun, "asked twice");
    assert_eq!(says(limits(600, 0)).await, Optimizing);
    assert_eq!(says(limits(600, 10)).await, Completed);
    modify(Some(3000), Some(125)).await.unwrap();
    assert_eq!(wanted().await.1, IoLimits::NONE);
    assert_eq!(says(IoLimits::NONE).await, Completed);
    assert_eq!(site.volume(id).await.limits, IoLimits::NONE);
}

#[tokio::test]
async fn what_guests_do_with_volumes_is_shown_and_summed_up_for_each_pool() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (id, export) = site.in_use().await;
    let of = |number| IoCounters { reads: 1, writes: number, read_bytes: 512, written_bytes: number * 512 };
    let says = async |host: &Host, export_id, counters| {
        let io = vec![DiskIo { export_id, counters }];
        let state = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
        host.report_as(1, NodeObserved { io, ..host.observed(vec![(site.placement, state)]) }).await;
    };
    let shown = async || site.volume(id).await.io;
    let pool = async || cloud.pool(admin, site.pool).await.unwrap().io.writes;
    assert_eq!((shown().await, pool().await), (None, 0));
    let before = site.compute.generation().await;
    says(&site.compute, export, of(3)).await;
    assert_eq!((shown().await, pool().await), (Some(of(3)), 3), "the volume is younger than this process");
    for _ in 0..2 {
        says(&site.compute, export, of(5)).await;
        assert_eq!((shown().await, pool().await), (Some(of(5)), 5));
    }
    says(&site.storage, export, of(100)).await;
    says(&site.compute, ExportId::from_random(9), of(100)).await;
    assert_eq!((shown().await, pool().await), (Some(of(5)), 5), "neither has such a disk");
    says(&site.compute, export, of(2)).await;
    assert_eq!((shown().await, pool().await), (Some(of(2)), 7), "its guest started again");
    assert_eq!(site.compute.generation().await, before, "no poll has any news");
    let stranger = site.t.member("stranger").await;
    assert!(cloud.volume(&stranger, id).await.is_err());

    // What was done before a process began is shown, and not counted as done at once.
    site.t.clock.advance(1);
    let next = site.t.restarted();
    let report = async |counters: IoCounters| {
        let io = vec![DiskIo { export_id: export, counters }];
        let observed = NodeObserved { io, ..site.compute.observed(Vec::new()) };
        let epoch = tepui_types::Epoch(1);
        let report = Report { epoch, agent_run: 2, sequence: counters.writes, observed };
        next.report(site.compute.id, report).await.unwrap();
        let io = next.volume(admin, id).await.unwrap().io;
        (io, next.pool(admin, site.pool).await.unwrap().io.writes)
    };
    assert_eq!(report(of(50)).await, (Some(of(50)), 0));
    assert_eq!(report(of(54)).await, (Some(of(54)), 4));

    site.detach(id, true).await.unwrap();
    site.serve().await;
    assert_eq!(shown().await, None, "nobody has it");
}

#[tokio::test]
async fn the_part_of_a_disk_without_limits_is_as_before_there_were_any() {
    let site = Site::new().await;
    site.in_use().await;
    let disk = async || {
        let spec = site.spec().await.unwrap().disks.remove(0).wanted;
        serde_json::to_string(&spec).unwrap()
    };
    assert!(!disk().await.contains("limits"), "{}", disk().await);
}

#[tokio::test]
async fn what_becomes_of_disks_with_their_instance_is_said_of_each_that_is_there() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (id, _) = site.in_use().await;
    let change = |device: &str, volume_id, delete_on_termination| DiskChange {
        device: device.into(),
        volume_id,
        delete_on_termination,
    };
    let set = async |changes: &[DiskChange]| cloud.modify_disks(admin, site.instance, changes).await;
    let goes = async || site.volume(id).await.attachments[0].delete_on_termination;
    let root = site.root().await;
    for (wrong, field) in [
        (change("/dev/sdg", None, true), "device"),
        (change("/dev/sdf", Some(root), true), "device"),
        (change("/dev/sda1", Some(id), true), "device"),
        (change("nvme1", None, true), "device"),
        (change("/dev/sda1", None, false), "delete_on_termination"),
    ] {
        let error = set(&[change("/dev/sdf", None, true), wrong]).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidInput { field: named, .. } if *named == field), "{error:?}");
    }
    assert!(!goes().await, "all or none");
    set(&[change("/dev/sda1", Some(root), true), change("sdf", Some(id), true)]).await.unwrap();
    assert!(goes().await);
    set(&[change("/dev/sdf", None, false)]).await.unwrap();
    assert!(!goes().await);
}

#[tokio::test]
async fn a_root_disk_stays_where_it_is() {
    let site = Site::new().await;
    let root = site.root().await;
    let attached = site.attach(root, "/dev/sdf").await.unwrap_err();
    assert!(matches!(attached, Error::InUse { kind: Kind::Volume, .. }), "{attached:?}");
    for refused in [
        site.detach(root, true).await,
        site.t.cloud.modify_volume(&site.t.admin, larger(root, 900)).await.map(drop),
    ] {
        assert!(matches!(refused, Err(Error::RootDisk { .. })), "{refused:?}");
    }
    let stranger = site.t.member("stranger").await;
    let request = DetachVolume { volume_id: root, instance_id: None, device: None, force: true };
    let foreign = site.t.cloud.detach_volume(&stranger, request).await.unwrap_err();
    assert!(matches!(foreign, Error::NotFound { kind: Kind::Volume, .. }), "{foreign:?}");
}

#[tokio::test]
async fn a_volume_reaches_its_guest_and_leaves_it_before_anybody_else_gets_it() {
    let site = Site::new().await;
    let id = site.available().await;
    site.attach(id, "sdf").await.unwrap();
    let disks = site.disks().await;
    assert!(matches!(disks[..], [(_, DiskPart::Awaited)]), "it is not served yet: {disks:?}");
    let part = site.part().await;
    let ExportPart::Open { node_address, secret, read_only } = &part.exports[0].wanted else {
        panic!("{part:?}")
    };
    assert_eq!((node_address.to_string().as_str(), secret.len(), *read_only), ("10.0.0.1", 24, false));
    assert!(!format!("{part:?}").contains(secret.as_str()), "no secret in a log");
    site.serve().await;
    let disks = site.disks().await;
    let (export, DiskPart::Attached(spec)) = &disks[0] else { panic!("{disks:?}") };
    assert_eq!((spec.device.as_str(), &spec.source), ("/dev/sdf", &source(*export)));
    assert_eq!(spec.secret.as_ref(), Some(secret));
    assert!(!format!("{spec:?}").contains(secret.as_str()), "no secret in a log");
    site.running(&[seen(*export, DiskState::Failed { message: "no slot".into() })]).await;
    assert_eq!(site.volume(id).await.attachments[0].state, AttachmentState::Attaching);
    site.running(&[seen(*export, DiskState::Attached)]).await;
    let shown = site.volume(id).await.attachments.remove(0);
    assert_eq!((shown.state, shown.device.as_str()), (AttachmentState::Attached, "/dev/sdf"));
    let used = site.t.cloud.delete_volume(&site.t.admin, id).await.unwrap_err();
    assert!(matches!(used, Error::InUse { kind: Kind::Volume, .. }), "{used:?}");
    assert!(matches!(site.attach(id, "sdg").await, Err(Error::InUse { .. })));

    site.detach(id, false).await.unwrap();
    assert_eq!(site.disks().await, [(*export, DiskPart::Absent)]);
    site.serve().await;
    assert!(!site.volume(id).await.attachments.is_empty(), "its guest still has it");
    site.running(&[seen(*export, DiskState::Absent)]).await;
    assert_eq!(site.part().await.exports[0].wanted, ExportPart::Absent);
    let mut waits = done(&site.part().await);
    waits.exports[0].state = ExportState::Closing { connections: 1 };
    site.tell(waits).await;
    assert!(!site.volume(id).await.attachments.is_empty(), "somebody is connected");
    site.serve().await;
    assert_eq!(site.volume(id).await.attachments, []);
    assert_eq!(site.disks().await, []);
    assert!(matches!(site.detach(id, false).await, Err(Error::NotAttached { .. })));
}

#[tokio::test]
async fn over_nfs_the_guests_host_is_admitted_and_told_no_password() {
    let site = Site::with(PoolBackend::Nfs).await;
    let (id, export) = site.in_use().await;
    let part = site.part().await;
    let wanted = &part.exports[0].wanted;
    assert!(
        matches!(wanted, ExportPart::Open { node_address, .. } if node_address.to_string() == "10.0.0.1")
    );
    let disks = site.disks().await;
    let (_, DiskPart::Attached(spec)) = &disks[0] else { panic!("{disks:?}") };
    assert_eq!((&spec.source, &spec.secret), (&nfs(export), &None));
    site.detach(id, false).await.unwrap();
    site.running(&[seen(export, DiskState::Absent)]).await;
    site.serve().await;
    assert_eq!(site.volume(id).await.attachments, []);
}

#[tokio::test]
async fn a_volume_is_torn_away_from_a_silent_guest_by_force() {
    let site = Site::new().await;
    let (id, export) = site.in_use().await;
    site.detach(id, false).await.unwrap();
    assert!(matches!(site.part().await.exports[0].wanted, ExportPart::Open { .. }));
    site.detach(id, true).await.unwrap();
    assert_eq!(site.part().await.exports[0].wanted, ExportPart::Absent);
    site.serve().await;
    assert_eq!(site.volume(id).await.attachments, []);
    // The next one has another name and another secret.
    site.attach(id, "/dev/sdf").await.unwrap();
    assert_ne!(site.part().await.exports[0].id, export);
}

#[tokio::test]
async fn volumes_of_a_terminated_instance_are_fenced() {
    let site = Site::new().await;
    let (id, _) = site.in_use().await;
    site.t.cloud.terminate_instances(&site.t.admin, &[site.instance]).await.unwrap();
    assert!(matches!(site.part().await.exports[0].wanted, ExportPart::Open { .. }), "its guest runs");
    site.compute.report(vec![(site.placement, PlacementState::Gone)]).await;
    assert_eq!(site.part().await.exports[0].wanted, ExportPart::Absent);
    site.serve().await;
    let volume = site.volume(id).await;
    assert_eq!((volume.state, volume.attachments), (VolumeState::Available, vec![]));
}

#[tokio::test]
async fn snapshots_of_several_volumes_become_volumes() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let volumes = vec![site.available().await, site.available().await];
    let request = CreateSnapshots { volumes: volumes.clone(), ..CreateSnapshots::default() };
    let taken = cloud.create_snapshots(admin, &request).await.unwrap();
    assert_eq!(taken.iter().map(|record| record.snapshot.volume_id).collect::<Vec<_>>(), volumes);
    let id = taken[0].snapshot.id;
    assert_eq!(site.part().await.snapshots.len(), 2);
    let early = CreateVolume { snapshot_id: Some(id), ..CreateVolume::default() };
    let refused = cloud.create_volume(admin, early.clone()).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("'{id}' is pending; this needs completed"));
    site.serve().await;
    let shown = cloud.snapshots(admin, &[id]).await.unwrap();
    assert_eq!((shown[0].snapshot.state, shown[0].snapshot.size_gib), (SnapshotState::Completed, 4));
    let small = CreateVolume { size_gib: Some(3), ..early.clone() };
    let refused = cloud.create_volume(admin, small).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidInput { field: "size", .. }), "{refused:?}");
    let made = cloud.create_volume(admin, early).await.unwrap();
    assert_eq!((made.size_gib, made.snapshot_id), (4, Some(id)));
    assert!(matches!(cloud.delete_snapshot(admin, id).await, Err(Error::InUse { .. })));
    site.serve().await;
    cloud.delete_snapshot(admin, id).await.unwrap();
    site.serve().await;
    assert!(matches!(cloud.snapshots(admin, &[id]).await, Err(Error::NotFound { .. })));
    assert_eq!(site.volume(made.id).await.snapshot_id, Some(id), "where it came from stays in sight");
    let stranger = site.t.member("stranger").await;
    let other = taken[1].snapshot.id;
    assert!(matches!(cloud.snapshots(&stranger, &[other]).await, Err(Error::NotFound { .. })));
    assert!(matches!(cloud.delete_snapshot(&stranger, other).await, Err(Error::NotFound { .. })));
    let foreign = cloud.create_snapshots(&stranger, &request).await.unwrap_err();
    assert!(matches!(foreign, Error::NotFound { kind: Kind::Volume, .. }), "{foreign:?}");
}

#[tokio::test]
async fn one_generation_of_a_storage_part_has_one_content() {
    let site = Site::new().await;
    let (id, _) = site.in_use().await;
    let digest = async || {
        let parts = site.storage.poll().await.parts;
        let part = parts.iter().find(|part| matches!(part.body, PartBody::Storage(_))).unwrap();
        (part.generation, part.content_digest())
    };
    let (first, restarted) = (digest().await, site.t.restarted());
    let request = tepui_types::agent::PollRequest {
        epoch: tepui_types::Epoch(1),
        agent_run: 1,
        have: Vec::new(),
        reported: 0,
        wait_ms: 0,
    };
    let reply = restarted.poll(site.storage.id, request).await.unwrap().owned();
    let part = reply.parts.iter().find(|part| matches!(part.body, PartBody::Storage(_))).unwrap();
    assert_eq!(first, (part.generation, part.content_digest()));

    // What its host has made is a part of the content: it is never made a second time.
    let made = async || {
        let part = site.part().await;
        let volumes =
            part.volumes.iter().filter(|one| matches!(one.wanted, VolumePart::Present { made: true, .. }));
        let snapshots = part
            .snapshots
            .iter()
            .filter(|one| matches!(one.wanted, SnapshotPart::Present { taken: true, .. }));
        (volumes.count(), snapshots.count())
    };
    let request = CreateSnapshots { volumes: vec![id], ..CreateSnapshots::default() };
    site.t.cloud.create_snapshots(&site.t.admin, &request).await.unwrap();
    let before = digest().await;
    assert_eq!(made().await, (1, 0));
    site.serve().await;
    assert_eq!(made().await, (1, 1));
    let between = digest().await;
    assert!(between.0 > before.0, "the snapshot");
    site.create(4).await.unwrap();
    let before = digest().await;
    site.serve().await;
    assert_eq!(made().await, (2, 1));
    assert!(digest().await.0 > before.0, "the volume");
}

#[tokio::test]
async fn the_doctor_names_what_is_wrong_with_pools_and_what_is_in_them() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let found = async || {
        let findings = cloud.doctor(admin).await.unwrap();
        let told =
            |found: tepui_core::Finding| format!("{:?} {}: {}", found.severity, found.object, found.what);
        findings.into_iter().map(told).collect::<Vec<_>>()
    };
    let (id, export) = site.in_use().await;
    let request = CreateSnapshots { volumes: vec![id], ..CreateSnapshots::default() };
    let snapshot = cloud.create_snapshots(admin, &request).await.unwrap()[0].snapshot.id;
    site.serve().await;
    assert_eq!(found().await, [] as [String; 0]);

    let well = done(&site.part().await);
    let ready = |used| PoolState::Ready { total_bytes: 100 * GIB, used_bytes: used * GIB };
    let broken = || StoredState::Failed { message: "EIO".into(), permanent: false };
    let change = |change: &dyn Fn(&mut StorageObserved)| {
        let mut seen = well.clone();
        change(&mut seen);
        seen
    };
    for (seen, says) in [
        (change(&|s| s.pools[0].state = ready(79)), None),
        (
            change(&|s| s.pools[0].state = ready(80)),
            Some("Warning pool fast: 80 % of its file system are in use: it is nearly full".to_owned()),
        ),
        (
            change(&|s| s.pools[0].state = ready(90)),
            Some("Failure pool fast: 90 % of its file system are in use: it takes nothing new".to_owned()),
        ),
        (
            change(&|s| s.pools[0].state = PoolState::Failed { message: "not mounted".into() }),
            Some("Failure pool fast: not mounted".to_owned()),
        ),
        (
            change(&|s| s.volumes[0].state = broken()),
            Some(format!("Failure volume {id}: node node-2 says: EIO")),
        ),
        (
            change(&|s| s.snapshots[0].state = broken()),
            Some(format!("Failure snapshot {snapshot}: node node-2 says: EIO")),
        ),
        (
            change(&|s| s.exports[0].state = ExportState::Failed { message: "no port".into() }),
            Some(format!("Failure volume {id}: node node-2 cannot serve it or shut it: no port")),
        ),
    ] {
        site.tell(seen).await;
        assert_eq!(found().await, says.into_iter().collect::<Vec<_>>());
    }
    site.tell(well).await;

    let instance = site.instance;
    for (state, says) in [
        (
            DiskState::Failed { message: "no slot".into() },
            format!("Failure volume {id}: node node-1 cannot give it to {instance} or take it: no slot"),
        ),
        (DiskState::Detaching, format!("Warning volume {id}: {instance} was asked to let go of it")),
    ] {
        site.running(&[seen(export, state)]).await;
        assert_eq!(found().await, [says]);
    }
    site.running(&[seen(export, DiskState::Attached)]).await;
    assert_eq!(found().await, [] as [String; 0]);

    // Nothing is said of a volume for longer than its making can take.
    let new = site.create(1).await.unwrap();
    site.t.clock.advance(301);
    site.running(&[seen(export, DiskState::Attached)]).await;
    site.storage.poll().await;
    let [late] = &found().await[..] else { panic!("{:?}", found().await) };
    assert!(late.starts_with(&format!("Warning volume {}: is being made since", new.id)), "{late}");
}
