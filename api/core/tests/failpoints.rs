//! Each operation is cut off at each of its steps, and repeated twice: what is durable stays, nothing
//! is done twice. One test, because the points are the process's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test stop at the first surprise, as the tests do"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use tepui_core::failpoint::{BACKGROUND, CALLS, Course, STEPS};

#[path = "cloud/harness.rs"]
#[expect(dead_code, reason = "the other test binary uses the rest")]
mod harness;

use harness::{Harness, Host, placement_of, running};
use tepui_core::{
    AttachVolume, Cloud, CreatePool, CreateSnapshotSchedule, CreateSnapshots, CreateVolume, DetachVolume,
    Error, ImportRequest, ImportedImage, InstanceChange, NameOrId, NewJoinToken, NewRule, Reconciler,
    Reservation, RunInstances,
};
use tepui_db::model::{AttachmentState, ImportState, InstanceState, RulePeer, SnapshotState, VolumeState};
use tepui_db::{PlacementDb, QuarantineDb, StorageDb, StorageNews, TokenUse, VolumeDb, VolumeMoveDb};
use tepui_types::agent::{
    AGENT_PATHS, Direction, EnrolRequest, FreezeObserved, FreezeState, HavePart, Leftover, LeftoverKind,
    NodeCapacity, OffReason, PartBody, PartKey, PlacementState, PoolBackend, PoolObserved, PoolState,
    PortRange, Protocol, Report, SnapshotObserved, StorageObserved, StoragePart, StoredId, StoredState,
    VolumeObserved, VolumeSource,
};
use tepui_types::endpoint::{self, Method};
use tepui_types::failpoint::{self, Effect};
use tepui_types::{Digest, Epoch, Generation, InstanceId, PoolId, SnapshotId, Timestamp, VolumeId};
use uuid::Uuid;

struct Scene {
    t: Harness,
    host: Host,
    made: Reservation,
    id: InstanceId,
    join: NewJoinToken,
    /// A control plane on a database that is a restored backup.
    restored: Option<Arc<Cloud>>,
    disks: Option<Disks>,
}

/// A volume in a pool of the host, and a snapshot of it.
#[derive(Clone, Copy)]
struct Disks {
    volume: VolumeId,
    snapshot: SnapshotId,
}

impl Scene {
    async fn new() -> Self {
        let t = Harness::new().await;
        let host = t.host(1).await;
        let made = t.run_one(&t.admin).await;
        let id = made.instances[0].record.instance.id;
        host.report(vec![(placement_of(&made), running(1))]).await;
        let join = t.cloud.create_join_token(&t.admin).await.unwrap();
        Self { t, host, made, id, join, restored: None, disks: None }
    }

    /// What the host says of its pools when it has done all that it was told.
    async fn report_storage(&self, sequence: u64) -> Result<(), Error> {
        let parts = self.host.poll().await.parts;
        let part = parts.into_iter().find_map(|part| match part.body {
            PartBody::Storage(part) => Some(part),
            PartBody::Node(_) | PartBody::Vpc(_) | PartBody::Absent => None,
        });
        self.say_storage(sequence, done(&part.unwrap())).await
    }

    async fn say_storage(&self, sequence: u64, storage: StorageObserved) -> Result<(), Error> {
        let mut observed = self.host.observed(vec![(placement_of(&self.made), running(1))]);
        observed.storage = Some(storage);
        let report = Report { epoch: Epoch(1), agent_run: 1, sequence, observed };
        self.t.cloud.report(self.host.id, report).await.map(drop)
    }

    async fn create_pool(&self) -> Result<(), Error> {
        let request = CreatePool {
            name: "fast".into(),
            class: "gp3".into(),
            backend: PoolBackend::Iscsi,
            node_id: self.host.id,
            path: "/srv/fast".into(),
            filer: None,
            soft_percent: 80,
            hard_percent: 90,
        };
        match self.t.cloud.create_pool(&self.t.admin, request).await {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_volume(&self) -> Result<VolumeId, Error> {
        let request =
            CreateVolume { size_gib: Some(1), client_token: Some("t".into()), ..CreateVolume::default() };
        Ok(self.t.cloud.create_volume(&self.t.admin, request).await?.id)
    }

    async fn attach(&self) -> Result<(), Error> {
        let volume_id = self.disks.unwrap().volume;
        let request = AttachVolume { volume_id, instance_id: self.id, device: "/dev/sdf".into() };
        match self.t.cloud.attach_volume(&self.t.admin, request).await {
            Ok(_) | Err(Error::InUse { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn make_disks(&mut self) {
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        self.create_pool().await.unwrap();
        self.report_storage(100).await.unwrap();
        let volume = self.create_volume().await.unwrap();
        self.report_storage(101).await.unwrap();
        let request = CreateSnapshots { volumes: vec![volume], ..CreateSnapshots::default() };
        let snapshot = cloud.create_snapshots(admin, &request).await.unwrap()[0].snapshot.id;
        self.disks = Some(Disks { volume, snapshot });
    }

    /// A snapshot that its host has removed and keeps, and a volume that it does not even keep.
    async fn make_quarantine(&mut self) {
        self.make_disks().await;
        let Disks { volume, snapshot } = self.disks.unwrap();
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        cloud.delete_snapshot(admin, snapshot).await.unwrap();
        cloud.delete_volume(admin, volume).await.unwrap();
        let pools = cloud.pools(admin).await.unwrap();
        let pool_id = pools[0].load.pool.id;
        let kind = LeftoverKind::Removed { id: StoredId::Snapshot(snapshot) };
        let gone = StorageObserved {
            pools: vec![PoolObserved { id: pool_id, state: pools[0].state.clone().unwrap() }],
            volumes: vec![VolumeObserved { id: volume, state: StoredState::Gone }],
            snapshots: vec![SnapshotObserved { id: snapshot, state: StoredState::Gone }],
            exports: Vec::new(),
            leftovers: vec![Leftover { pool_id, kind, bytes: 1 }],
            tests: Vec::new(),
        };
        self.say_storage(102, gone).await.unwrap();
    }

    /// A volume whose time and warning are over, and one of which a warning is due.
    async fn make_ends(&mut self) {
        self.make_disks().await;
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        let over = self.disks.unwrap().volume;
        cloud.set_volume_ttl(admin, over, Some(3600)).await.unwrap();
        for passed in [0, 3600] {
            self.t.clock.advance(passed);
            cloud.end_volumes().await.unwrap();
        }
        // Its host is heard again, and takes another one.
        self.report_storage(102).await.unwrap();
        let request = CreateVolume { size_gib: Some(1), ttl_seconds: Some(3600), ..CreateVolume::default() };
        cloud.create_volume(admin, request).await.unwrap();
        self.report_storage(103).await.unwrap();
    }

    /// Another pool of the same class, whose host has said that it can be used.
    async fn second_pool(&self) {
        let request = CreatePool {
            name: "second".into(),
            class: "gp3".into(),
            backend: PoolBackend::Iscsi,
            node_id: self.host.id,
            path: "/srv/second".into(),
            filer: None,
            soft_percent: 80,
            hard_percent: 90,
        };
        self.t.cloud.create_pool(&self.t.admin, request).await.unwrap();
        self.report_storage(102).await.unwrap();
    }

    async fn pool_named(&self, name: &str) -> PoolId {
        let pools = self.t.cloud.pools(&self.t.admin).await.unwrap();
        pools.iter().find(|view| view.load.pool.name == name).unwrap().load.pool.id
    }

    async fn reclaim(&self) -> Result<(), Error> {
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        let pool = cloud.pools(admin).await?[0].load.pool.id;
        cloud.reclaim_pool(admin, pool).await.map(drop)
    }

    /// What is kept, and whether it is to be unlinked.
    async fn assert_quarantine(&self, operation: &str, step: &str) {
        let rows = self.t.db.quarantined().await.unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (row.id, row.ordered)).collect();
        let expected = match (operation, self.disks) {
            ("reclaim", Some(Disks { volume, snapshot })) => {
                vec![(StoredId::Snapshot(snapshot), true), (StoredId::Volume(volume), false)]
            }
            ("unlink", Some(Disks { snapshot, .. })) => vec![(StoredId::Snapshot(snapshot), true)],
            _ => vec![],
        };
        assert_eq!(rows, expected, "{operation} cut off at {step}");
    }

    /// A schedule that keeps one snapshot, has two, and whose time has come.
    async fn make_schedule(&mut self) {
        self.make_disks().await;
        let volume = self.disks.unwrap().volume.to_string();
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        cloud.create_tags(admin, &[volume], &[("a".into(), "b".into())].into()).await.unwrap();
        let (tag_key, tag_value) = ("a".into(), "b".into());
        let (every_seconds, keep, test_every_seconds) = (3600, 1, Some(7200));
        let hourly = CreateSnapshotSchedule {
            tag_key,
            tag_value,
            every_seconds,
            keep,
            test_every_seconds,
            freeze: false,
        };
        cloud.create_snapshot_schedule(admin, hourly).await.unwrap();
        for sequence in [102, 103] {
            cloud.run_schedules().await.unwrap();
            self.report_storage(sequence).await.unwrap();
            self.t.clock.advance(3600);
        }
    }

    /// A guest that has a volume, of which a snapshot is to be taken while it holds still.
    async fn make_freeze(&mut self) {
        self.make_disks().await;
        self.attach().await.unwrap();
        let (cloud, admin, db) = (&self.t.cloud, &self.t.admin, &self.t.db);
        let records = db.volumes(admin.project).await.unwrap();
        let export = records[0].attachments[0].export_id;
        let source = VolumeSource::Local { path: "/srv/fast/1".into() };
        let news = [StorageNews::ExportOpen(export, source), StorageNews::DiskAttached(export)];
        db.apply_storage_news(self.host.id, &news, Timestamp::UNIX_EPOCH).await.unwrap();
        let volumes = vec![self.disks.unwrap().volume];
        let request = CreateSnapshots { volumes, freeze: true, ..CreateSnapshots::default() };
        cloud.create_snapshots(admin, &request).await.unwrap();
    }

    /// The guest's host says that it holds still.
    async fn report_frozen(&self) -> Result<(), Error> {
        let placement = placement_of(&self.made);
        let mut observed = self.host.observed(vec![(placement, running(1))]);
        let part = self.t.db.node_part(self.host.id).await.unwrap().unwrap();
        let (id, state) = (part.freezes[0].id, FreezeState::Frozen);
        observed.placements[0].freeze = Some(FreezeObserved { id, state });
        let report = Report { epoch: Epoch(1), agent_run: 1, sequence: 1000, observed };
        self.t.cloud.report(self.host.id, report).await.map(drop)
    }

    async fn stop(&self) {
        self.t.cloud.stop_instances(&self.t.admin, &[self.id], false).await.unwrap();
        let off = PlacementState::Off { start_seq: 1, reason: OffReason::Requested };
        self.host.report(vec![(placement_of(&self.made), off)]).await;
    }

    /// What must be so before the operation.
    async fn prepare(&mut self, operation: &str) {
        match operation {
            "start" => self.stop().await,
            "adopt" => {
                self.t.db.begin_epoch_after(Epoch(1)).await.unwrap();
                self.restored = Some(self.t.restarted());
            }
            "expunge" => {
                self.t.clock.advance(3600);
                self.t.cloud.reconcile_once().await;
            }
            "volume" => {
                self.create_pool().await.unwrap();
                self.report_storage(100).await.unwrap();
            }
            "attach_volume" | "snapshot" | "storage_news" => self.make_disks().await,
            "freeze" => self.make_freeze().await,
            "expire_freezes" => {
                self.make_freeze().await;
                self.t.clock.advance(61);
            }
            "schedule" => self.make_schedule().await,
            "volume_end" => self.make_ends().await,
            "move" => {
                self.make_disks().await;
                self.second_pool().await;
            }
            "moves" => {
                self.make_disks().await;
                let one_more = CreateVolume { size_gib: Some(1), ..CreateVolume::default() };
                self.t.cloud.create_volume(&self.t.admin, one_more).await.unwrap();
                self.second_pool().await;
                self.act("move").await.unwrap();
                let first = self.pool_named("fast").await;
                self.t.cloud.empty_pool(&self.t.admin, first).await.unwrap();
            }
            "reclaim" => self.make_quarantine().await,
            "unlink" => {
                self.make_quarantine().await;
                self.t.clock.advance(86_400);
            }
            "detach_volume" => {
                self.make_disks().await;
                self.attach().await.unwrap();
            }
            _ => {}
        }
    }

    /// An import by a client that repeats what was not answered, and the server's half of it.
    async fn import(&self) -> Result<(), Error> {
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        let request = ImportRequest {
            name: Some("imported".into()),
            description: String::new(),
            source: "s".into(),
            public: false,
            tags: [].into(),
            token: Some(TokenUse { token: "t".into(), parameters_sha256: [1; 32] }),
        };
        let task = cloud.begin_import(admin, request).await?.task;
        if task.state == ImportState::Active {
            let imported = ImportedImage {
                digest: Digest::of(b"i"),
                size_bytes: 1 << 30,
                login_user: "debian".into(),
                public: false,
            };
            cloud.complete_import(admin, task.id, imported).await?;
        }
        Ok(())
    }

    async fn enrol(&self) -> Result<(), Error> {
        let request = EnrolRequest {
            token: self.join.secret.clone(),
            machine_uuid: Uuid::from_u128(77),
            name: "node-77".into(),
            csr_pem: String::new(),
            underlay_address: [10, 0, 0, 77].into(),
            capacity: NodeCapacity { vcpus: 1, memory_mib: 1024, disk_gib: 10 },
        };
        let node = self.t.cloud.enrol(&request, "r").await?;
        self.t.cloud.bind_certificate(node, &[9; 32]).await
    }

    /// A rule, by a client that takes a duplicate for done.
    async fn authorize(&self) -> Result<(), Error> {
        let rule = NewRule {
            protocol: Protocol::Tcp(PortRange { from: 22, to: 22 }),
            peer: RulePeer::Cidr("0.0.0.0/0".parse().unwrap()),
            description: None,
        };
        let group = NameOrId::Name("default".into());
        match self.t.cloud.authorize(&self.t.admin, &group, Direction::Ingress, vec![rule]).await {
            Ok(_) | Err(Error::DuplicateRule { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn state(&self) -> InstanceState {
        self.t.cloud.instance(&self.t.admin, self.id).await.unwrap().record.instance.state
    }

    /// Carries an operation out, once.
    async fn act(&self, operation: &str) -> Result<(), Error> {
        let (cloud, admin, ids) = (&self.t.cloud, &self.t.admin, &[self.id]);
        match operation {
            "run" => {
                let image = self.made.instances[0].record.instance.image_id;
                let request =
                    RunInstances { client_token: Some("t".into()), ..RunInstances::new(image, "t3.nano") };
                cloud.run_instances(admin, request).await.map(drop)
            }
            "start" => cloud.start_instances(admin, ids).await.map(drop),
            "stop" => cloud.stop_instances(admin, ids, false).await.map(drop),
            "reboot" => cloud.reboot_instances(admin, ids).await,
            "terminate" => cloud.terminate_instances(admin, ids).await.map(drop),
            "attribute" => {
                cloud.modify_instance(admin, self.id, vec![InstanceChange::DisableApiStop(true)]).await
            }
            "tags" => {
                cloud.create_tags(admin, &[self.id.to_string()], &[("a".into(), "b".into())].into()).await
            }
            "rules" => self.authorize().await,
            "import" => self.import().await,
            "enrol" => self.enrol().await,
            "drain" => cloud.set_schedulable(admin, self.host.id, false).await,
            "expunge" => cloud.expunge_node(admin, self.host.id).await.map(drop),
            "report" => self.report_off(cloud, 1000).await,
            "adopt" => self.report_off(self.restored.as_ref().unwrap(), 1000).await,
            "pool" => self.create_pool().await,
            "volume" => self.create_volume().await.map(drop),
            "attach_volume" => self.attach().await,
            "detach_volume" => {
                let volume_id = self.disks.unwrap().volume;
                let request = DetachVolume { volume_id, instance_id: None, device: None, force: false };
                cloud.detach_volume(admin, request).await.map(drop)
            }
            "snapshot" => cloud.delete_snapshot(admin, self.disks.unwrap().snapshot).await,
            "storage_news" => self.report_storage(1000).await,
            "schedule" => cloud.run_schedules().await.map(drop),
            "volume_end" => cloud.end_volumes().await.map(drop),
            "move" => {
                let to = self.pool_named("second").await;
                cloud.move_volume(admin, self.disks.unwrap().volume, to).await.map(drop)
            }
            "moves" => cloud.run_moves().await.map(drop),
            "reclaim" => self.reclaim().await,
            "unlink" => cloud.unlink_due().await.map(drop),
            "freeze" => self.report_frozen().await,
            "expire_freezes" => cloud.expire_freezes().await.map(drop),
            other => panic!("the operation {other} is not acted out here"),
        }
    }

    /// The agent says, after it looked at everything, that the guest is off.
    async fn report_off(&self, cloud: &Cloud, sequence: u64) -> Result<(), Error> {
        let off = PlacementState::Off { start_seq: 1, reason: OffReason::Guest };
        let mut observed = self.host.observed(vec![(placement_of(&self.made), off)]);
        observed.applied = vec![HavePart { key: PartKey::Node(self.host.id), generation: Generation(7) }];
        let report = Report { epoch: Epoch(1), agent_run: 1, sequence, observed };
        cloud.report(self.host.id, report).await.map(drop)
    }

    /// Whether the operation is done, exactly once.
    async fn assert_done(&self, operation: &str, step: &str) {
        let count = self.t.cloud.describe_instances(&self.t.admin, &[]).await.unwrap().len();
        let expected = match operation {
            "run" => (2, InstanceState::Running),
            "attribute" | "tags" | "rules" | "import" | "enrol" | "drain" | "pool" | "volume"
            | "attach_volume" | "detach_volume" | "snapshot" | "storage_news" | "schedule" | "reclaim"
            | "unlink" | "volume_end" | "freeze" | "move" | "moves" | "expire_freezes" => {
                (1, InstanceState::Running)
            }
            "expunge" => (1, InstanceState::Terminated),
            "start" => (1, InstanceState::Pending),
            "stop" => (1, InstanceState::Stopping),
            "reboot" => (1, InstanceState::Running),
            "terminate" => (1, InstanceState::ShuttingDown),
            "report" | "adopt" => (1, InstanceState::Stopped),
            other => panic!("the operation {other} is not checked here"),
        };
        assert_eq!((count, self.state().await), expected, "{operation} cut off at {step}");
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        let found = (
            cloud.security_group(admin, &NameOrId::Name("default".into())).await.unwrap().rules.len(),
            cloud.images(admin).await.unwrap().len(),
            cloud.nodes(admin).await.unwrap().len(),
            cloud.nodes(admin).await.unwrap().iter().filter(|view| view.load.node.schedulable).count(),
        );
        let made = |what: &str| usize::from(operation == what);
        let nodes = 1 + made("enrol");
        let open = nodes - made("drain");
        assert_eq!(
            found,
            (2 + made("rules"), 1 + made("import"), nodes, open),
            "{operation} cut off at {step}: rules, images, nodes, and those that take guests"
        );
        let tags = self.t.cloud.tags(&self.t.admin).await.unwrap();
        // A schedule tags what it makes, and has a tag to make it of.
        let expected = if operation == "schedule" { 4 } else { made("tags") };
        assert_eq!(tags.len(), expected, "{operation} cut off at {step} tags the instance: {tags:?}");
        self.assert_disks(operation, step).await;
        self.assert_quarantine(operation, step).await;
        let resets = u64::from(operation == "reboot");
        let view = self.t.cloud.instance(&self.t.admin, self.id).await.unwrap();
        assert_eq!(
            view.record.instance.reboot_seq, resets,
            "{operation} cut off at {step} resets the guest once"
        );
        assert_eq!(
            view.record.instance.disable_api_stop,
            operation == "attribute",
            "{operation} cut off at {step} changes the attribute"
        );
    }
}

impl Scene {
    async fn assert_disks(&self, operation: &str, step: &str) {
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        let pools = cloud.pools(admin).await.unwrap().len();
        let volumes = self.t.db.volumes(admin.project).await.unwrap();
        let snapshots = cloud.snapshots(admin, &[]).await.unwrap();
        let states =
            volumes.iter().map(|record| (record.volume.state, record.attachments.first().map(|a| a.state)));
        let mut states: Vec<_> = states.collect();
        states.sort_by_key(|(state, _)| state.name());
        let mut taken: Vec<_> = snapshots.iter().map(|record| record.snapshot.state).collect();
        taken.sort_by_key(|state| state.name());
        let (available, pending) = (VolumeState::Available, vec![SnapshotState::Pending]);
        let expected = match operation {
            "pool" | "reclaim" | "unlink" => (1, vec![], vec![]),
            "volume" => (1, vec![(VolumeState::Creating, None)], vec![]),
            "attach_volume" => (1, vec![(available, Some(AttachmentState::Attaching))], pending),
            "detach_volume" => (1, vec![(available, Some(AttachmentState::Detaching))], pending),
            "snapshot" => (1, vec![(available, None)], vec![SnapshotState::Deleting]),
            "storage_news" => (1, vec![(available, None)], vec![SnapshotState::Completed]),
            "move" => (2, vec![(available, None)], vec![SnapshotState::Completed]),
            "moves" => (2, vec![(available, None), (available, None)], vec![SnapshotState::Completed]),
            "volume_end" => {
                (1, vec![(available, None), (VolumeState::Deleting, None)], vec![SnapshotState::Completed])
            }
            "freeze" => (
                1,
                vec![(available, Some(AttachmentState::Attached))],
                vec![SnapshotState::Pending, SnapshotState::Pending],
            ),
            "expire_freezes" => (
                1,
                vec![(available, Some(AttachmentState::Attached))],
                vec![SnapshotState::Error, SnapshotState::Pending],
            ),
            // One by hand, one that is kept, one that is not any more, one that is new.
            "schedule" => (
                1,
                vec![(available, None)],
                vec![
                    SnapshotState::Completed,
                    SnapshotState::Completed,
                    SnapshotState::Deleting,
                    SnapshotState::Pending,
                ],
            ),
            _ => (0, vec![], vec![]),
        };
        assert_eq!((pools, states, taken), expected, "{operation} cut off at {step}");
        let tests = cloud.snapshot_tests(admin).await.unwrap().len();
        assert_eq!(tests, usize::from(operation == "schedule"), "{operation} cut off at {step}: tests");
        let moves = self.t.db.moves().await.unwrap().len();
        let expected = match operation {
            "move" => 1,
            "moves" => 2,
            _ => 0,
        };
        assert_eq!(moves, expected, "{operation} cut off at {step}");
    }
}

/// What a host says that has done all that its part says.
fn done(part: &StoragePart) -> StorageObserved {
    let present = StoredState::Present { size_bytes: 1 << 30 };
    let ready = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 1 << 30 };
    StorageObserved {
        pools: part.pools.iter().map(|pool| PoolObserved { id: pool.id, state: ready.clone() }).collect(),
        volumes: part
            .volumes
            .iter()
            .map(|one| VolumeObserved { id: one.id, state: present.clone() })
            .collect(),
        snapshots: part
            .snapshots
            .iter()
            .map(|one| SnapshotObserved { id: one.id, state: present.clone() })
            .collect(),
        exports: Vec::new(),
        leftovers: Vec::new(),
        tests: Vec::new(),
    }
}

#[tokio::test]
async fn every_operation_cut_off_at_every_step_is_done_once_after_a_repeat() {
    // While any point is armed, every one that is passed is noted.
    failpoint::arm("test::watch", Effect::Error);
    for (operation, steps) in STEPS {
        for step in *steps {
            let mut scene = Scene::new().await;
            scene.prepare(operation).await;
            failpoint::arm(step, Effect::Error);
            let cut = scene.act(operation).await;
            failpoint::disarm(step);
            assert!(cut.is_err(), "{operation} has no fail point {step}");
            for _ in 0..2 {
                scene.act(operation).await.unwrap();
                scene.assert_done(operation, step).await;
            }
        }
    }
    let listed: BTreeSet<_> = STEPS.iter().flat_map(|(_, steps)| *steps).map(ToString::to_string).collect();
    assert_eq!(failpoint::passed(), listed, "a step that the list does not name");
}

/// What the actions of EC2 alone are is told by a test of that protocol.
#[test]
fn every_call_and_every_job_tells_what_a_death_in_its_middle_leaves() {
    let endpoints = endpoint::ALL.iter().filter(|endpoint| endpoint.method != Method::Get);
    let calls = endpoints.map(|endpoint| endpoint.action);
    let jobs = AGENT_PATHS.iter().copied().chain(Reconciler::ALL.map(Reconciler::name));
    let listed = |list: &[(&str, Course)], name: &str| list.iter().any(|(listed, _)| *listed == name);
    let missing: Vec<_> = calls
        .filter(|call| !listed(CALLS, call))
        .chain(jobs.filter(|job| !listed(BACKGROUND, job)))
        .collect();
    assert!(missing.is_empty(), "neither in failpoint::CALLS nor in failpoint::BACKGROUND: {missing:?}");
}

#[test]
fn every_operation_is_that_of_a_call_or_a_job() {
    let named: BTreeSet<_> = CALLS
        .iter()
        .chain(BACKGROUND)
        .filter_map(|(_, course)| match course {
            Course::Steps(operation) => Some(*operation),
            Course::Whole(_) => None,
        })
        .collect();
    let listed: BTreeSet<_> = STEPS.iter().map(|(operation, _)| *operation).collect();
    assert_eq!(named, listed);
}
