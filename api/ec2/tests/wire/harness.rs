//! A cloud in a temporary directory with one host, whose agent is the test.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;
use tepui_core::{
    Caller, Clock, Cloud, CloudConfig, CloudParts, Entropy, IdentitySigner, ImportRequest, ImportedImage,
    Keyring,
};
use tepui_db::Db;
use tepui_db::model::{ImportTask, Role};
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_ec2::{Ec2, Ec2Config, ImageImports, UrlImport};
use tepui_types::agent::{
    DiskObserved, DiskPart, DiskState, EnrolRequest, ExportObserved, ExportPart, ExportState, FreezeObserved,
    FreezePart, FreezeState, IoLimits, NodeCapacity, NodeObserved, NodeUsage, OffReason, PlacementObserved,
    PlacementPart, PlacementState, PoolBackend, PoolObserved, PoolState, Report, SnapshotObserved,
    SnapshotPart, StorageObserved, StoragePart, StoredState, VolumeObserved, VolumePart, VolumeSource,
    WantedDisk,
};
use tepui_types::{Digest, Epoch, NodeId, Timestamp};
use uuid::Uuid;

use crate::client::Client;

pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }

    fn steady(&self) -> Timestamp {
        self.now()
    }
}

#[derive(Default)]
struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&Digest::of(&count.to_le_bytes()).as_bytes()[..chunk.len()]);
        }
    }
}

struct TestSigner;

impl IdentitySigner for TestSigner {
    fn sign(&self, document: &str) -> String {
        Digest::of(document.as_bytes()).to_string()
    }
}

/// Imports that open their task and never fetch.
struct Imports(Arc<Cloud>);

#[async_trait]
impl ImageImports for Imports {
    async fn import_url(&self, caller: &Caller, import: UrlImport) -> Result<ImportTask, tepui_core::Error> {
        let UrlImport { url: source, description, tags, token } = import;
        let request = ImportRequest { name: None, description, source, public: false, tags, token };
        Ok(self.0.begin_import(caller, request).await?.task)
    }
}

pub(crate) struct Harness {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) clock: Arc<TestClock>,
    /// The administrator, in the project `default`.
    pub(crate) admin: Client,
    ec2: Arc<Ec2>,
    node: NodeId,
    sequence: AtomicU64,
    _dir: TempDir,
}

const CAPACITY: NodeCapacity = NodeCapacity { vcpus: 64, memory_mib: 262_144, disk_gib: 4000 };

impl Harness {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let db: Arc<dyn Db> =
            Arc::new(SqliteDb::open(&dir.path().join("db.sqlite3"), Options::default()).unwrap());
        let clock = Arc::new(TestClock(AtomicI64::new(1_800_000_000)));
        let mut config = CloudConfig::new("test-1", dir.path().join("consoles"));
        config.public_pool = Some("198.18.0.0/24".parse().unwrap());
        let cloud = Arc::new(Cloud::new(CloudParts {
            db,
            clock: Arc::<TestClock>::clone(&clock),
            entropy: Arc::new(TestEntropy::default()),
            signer: Arc::new(TestSigner),
            keyring: Keyring::new(&[7; 32]),
            config,
        }));
        let first = cloud.bootstrap().await.unwrap();
        let ec2 = endpoint(&cloud);
        let admin = Client::new(&ec2, &clock, &first.key);
        let node = enrol(&cloud, &first.key.id).await;
        Self { cloud, clock, admin, ec2, node, sequence: AtomicU64::new(0), _dir: dir }
    }

    /// The client of an endpoint that has answered nothing before.
    pub(crate) fn afresh(&self, client: &Client) -> Client {
        client.of(&endpoint(&self.cloud))
    }

    /// The caller that a key makes.
    pub(crate) async fn caller(&self, key_id: &str) -> Caller {
        self.cloud.authenticate_key(key_id).await.unwrap().unwrap().caller("req-setup")
    }

    /// A member of a project of their own.
    pub(crate) async fn member(&self, name: &str) -> Client {
        let admin = self.caller(&self.admin.key_id).await;
        let project = self.cloud.create_project(&admin, name, None).await.unwrap();
        let user = self.cloud.create_user(&admin, name, Role::Member).await.unwrap();
        let key = self.cloud.create_access_key(&admin, user.id, project.id).await.unwrap();
        Client::new(&self.ec2, &self.clock, &key)
    }

    /// An image of the client's project with 2 GiB.
    pub(crate) async fn image(&self, client: &Client, name: &str) -> String {
        let caller = self.caller(&client.key_id).await;
        let request = ImportRequest {
            name: Some(name.into()),
            description: "a <test> image".into(),
            source: format!("{name}.qcow2"),
            public: false,
            tags: [].into(),
            token: None,
        };
        let task = self.cloud.begin_import(&caller, request).await.unwrap().task;
        let imported = ImportedImage {
            digest: Digest::of(name.as_bytes()),
            size_bytes: 2 << 30,
            login_user: "debian".into(),
            public: false,
        };
        self.cloud.complete_import(&caller, task.id, imported).await.unwrap().id.to_string()
    }

    /// A pool on the host.
    pub(crate) async fn pool(&self) {
        let admin = self.caller(&self.admin.key_id).await;
        let pool = tepui_core::CreatePool {
            name: "fast".into(),
            class: "gp3".into(),
            backend: PoolBackend::Iscsi,
            node_id: self.node,
            path: "/srv/fast".into(),
            filer: None,
            soft_percent: 80,
            hard_percent: 90,
        };
        self.cloud.create_pool(&admin, pool).await.unwrap();
        self.settle().await;
    }

    /// The host does whatever its part wants, and says so.
    pub(crate) async fn settle(&self) {
        use tepui_types::agent::{PartBody, PollRequest, Power};
        let poll = PollRequest { epoch: Epoch(1), agent_run: 1, have: Vec::new(), reported: 0, wait_ms: 0 };
        let reply = self.cloud.poll(self.node, poll).await.unwrap().owned();
        let (mut placements, mut storage) = (Vec::new(), None);
        for part in reply.parts {
            let node = match part.body {
                PartBody::Node(node) => node,
                PartBody::Storage(part) => {
                    storage = Some(done(&part));
                    continue;
                }
                PartBody::Vpc(_) | PartBody::Absent => continue,
            };
            placements.extend(node.placements.into_iter().map(|wanted| {
                let (disks, freeze) = (disks_of(&wanted.wanted), freeze_of(&wanted.wanted));
                let state = match wanted.wanted {
                    PlacementPart::Absent { .. } => PlacementState::Gone,
                    PlacementPart::Present(spec) => match spec.power {
                        Power::Running { start_seq, reboot_seq } => {
                            PlacementState::Running { start_seq, reboot_seq }
                        }
                        Power::Stopped { .. } => {
                            PlacementState::Off { start_seq: 1, reason: OffReason::Requested }
                        }
                    },
                };
                PlacementObserved { id: wanted.id, state, wanted: true, disks, freeze }
            }));
        }
        let observed = NodeObserved {
            agent_version: "0.1.0".into(),
            boot_id: "boot".into(),
            capacity: CAPACITY,
            usage: NodeUsage::default(),
            applied: Vec::new(),
            refused: Vec::new(),
            placements,
            impaired: None,
            storage,
            io: Vec::new(),
            stalled: Vec::new(),
            findings: Vec::new(),
        };
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        let report = Report { epoch: Epoch(1), agent_run: 1, sequence, observed };
        self.cloud.report(self.node, report).await.unwrap();
    }
}

/// What a host says whose guest holds still as long as it is wanted.
fn freeze_of(wanted: &PlacementPart) -> Option<FreezeObserved> {
    let PlacementPart::Present(spec) = wanted else { return None };
    let state = |wanted| match wanted {
        FreezePart::Frozen => FreezeState::Frozen,
        FreezePart::Thawed => FreezeState::Held,
    };
    spec.freeze.map(|freeze| FreezeObserved { id: freeze.id, state: state(freeze.wanted) })
}

/// What a host says that has done all that is wanted of its disks.
fn disks_of(wanted: &PlacementPart) -> Vec<DiskObserved> {
    let PlacementPart::Present(spec) = wanted else { return Vec::new() };
    let state = |wanted: &DiskPart| match wanted {
        DiskPart::Awaited => None,
        DiskPart::Attached(_) => Some(DiskState::Attached),
        DiskPart::Absent => Some(DiskState::Absent),
    };
    let fits = |wanted: &DiskPart| match wanted {
        DiskPart::Attached(spec) => (spec.size_bytes, spec.limits),
        DiskPart::Awaited | DiskPart::Absent => (0, IoLimits::NONE),
    };
    let seen = |disk: &WantedDisk| {
        let (state, (size_bytes, limits)) = (state(&disk.wanted)?, fits(&disk.wanted));
        Some(DiskObserved { export_id: disk.export_id, state, size_bytes, limits })
    };
    spec.disks.iter().filter_map(seen).collect()
}

/// What a host says that has done all that its storage part says.
fn done(part: &StoragePart) -> StorageObserved {
    let ready = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 1 << 30 };
    let volume = |wanted: &VolumePart| match wanted {
        VolumePart::Present { size_bytes, .. } => StoredState::Present { size_bytes: *size_bytes },
        VolumePart::Absent => StoredState::Gone,
    };
    let snapshot = |wanted: &SnapshotPart| match wanted {
        SnapshotPart::Present { .. } => StoredState::Present { size_bytes: 0 },
        SnapshotPart::Absent => StoredState::Gone,
    };
    let export = |wanted: &ExportPart| match wanted {
        ExportPart::Open { .. } => ExportState::Open { source: VolumeSource::Local { path: "/v".into() } },
        ExportPart::Absent => ExportState::Gone,
    };
    let pools = part.pools.iter().map(|pool| PoolObserved { id: pool.id, state: ready.clone() });
    let volumes = part.volumes.iter().map(|one| VolumeObserved { id: one.id, state: volume(&one.wanted) });
    let snapshots =
        part.snapshots.iter().map(|one| SnapshotObserved { id: one.id, state: snapshot(&one.wanted) });
    let exports = part.exports.iter().map(|one| ExportObserved { id: one.id, state: export(&one.wanted) });
    StorageObserved {
        pools: pools.collect(),
        volumes: volumes.collect(),
        snapshots: snapshots.collect(),
        exports: exports.collect(),
        leftovers: Vec::new(),
        tests: Vec::new(),
    }
}

fn endpoint(cloud: &Arc<Cloud>) -> Arc<Ec2> {
    let imports = Arc::new(Imports(Arc::clone(cloud)));
    Arc::new(Ec2::new(Arc::clone(cloud), Ec2Config { endpoint: "ec2.test".into(), imports }))
}

async fn enrol(cloud: &Cloud, key_id: &str) -> NodeId {
    let admin = cloud.authenticate_key(key_id).await.unwrap().unwrap().caller("req-enrol");
    let token = cloud.create_join_token(&admin).await.unwrap();
    let request = EnrolRequest {
        token: token.secret,
        machine_uuid: Uuid::from_u128(1),
        name: "node-1".into(),
        csr_pem: String::new(),
        underlay_address: Ipv4Addr::new(10, 0, 0, 1),
        capacity: CAPACITY,
    };
    cloud.enrol(&request, "r").await.unwrap()
}
