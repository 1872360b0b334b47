//! A cloud in a temporary directory, and hosts that say what the test wants.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tepui_core::{
    Caller, Clock, Cloud, CloudConfig, CloudParts, Entropy, IdentitySigner, ImportRequest, ImportedImage,
    Keyring, Reservation, RunInstances,
};
use tepui_db::Db;
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_types::agent::{
    EnrolRequest, HavePart, NodeCapacity, NodeObserved, NodeUsage, PartKey, PlacementObserved,
    PlacementState, PollReply, PollRequest, Report,
};
use tepui_types::{Digest, Epoch, Generation, ImageId, NodeId, PlacementId, Timestamp};
use uuid::Uuid;

pub(crate) const GIB: u64 = 1 << 30;

/// A clock that stands still until it is moved.
pub(crate) struct TestClock {
    day: AtomicI64,
    steady: AtomicI64,
}

impl TestClock {
    fn new() -> Self {
        let begin = || AtomicI64::new(1_800_000_000);
        Self { day: begin(), steady: begin() }
    }

    /// Time passes.
    pub(crate) fn advance(&self, seconds: i64) {
        self.day.fetch_add(seconds, Ordering::SeqCst);
        self.steady.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Somebody sets the clock.
    pub(crate) fn jump(&self, seconds: i64) {
        self.day.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.day.load(Ordering::SeqCst)).unwrap()
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_second(self.steady.load(Ordering::SeqCst)).unwrap()
    }
}

/// Bytes that repeat from run to run and never within one.
#[derive(Default)]
pub(crate) struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&Digest::of(&count.to_le_bytes()).as_bytes()[..chunk.len()]);
        }
    }
}

/// Counts what it signs.
#[derive(Default)]
pub(crate) struct TestSigner(AtomicU64);

impl TestSigner {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl IdentitySigner for TestSigner {
    fn sign(&self, document: &str) -> String {
        self.0.fetch_add(1, Ordering::SeqCst);
        Digest::of(document.as_bytes()).to_string()
    }
}

pub(crate) struct Harness {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) db: Arc<SqliteDb>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) signer: Arc<TestSigner>,
    pub(crate) admin: Caller,
    entropy: Arc<TestEntropy>,
    dir: TempDir,
}

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut CloudConfig)) -> Self {
        Self::on(Options::default(), change).await
    }

    pub(crate) async fn on(options: Options, change: impl FnOnce(&mut CloudConfig)) -> Self {
        let dir = TempDir::new().unwrap();
        let db = Arc::new(SqliteDb::open(&dir.path().join("db.sqlite3"), options).unwrap());
        let clock = Arc::new(TestClock::new());
        let entropy = Arc::new(TestEntropy::default());
        let signer = Arc::new(TestSigner::default());
        let mut config = CloudConfig::new("test-1", dir.path().join("consoles"));
        change(&mut config);
        let cloud = build(&db, &clock, &entropy, &signer, config);
        let first = cloud.bootstrap().await.unwrap();
        let key = cloud.authenticate_key(&first.key.id).await.unwrap().unwrap();
        Self { cloud, db, clock, signer, admin: key.caller("req-admin"), entropy, dir }
    }

    /// A control plane that starts anew on the same store.
    pub(crate) fn restarted(&self) -> Arc<Cloud> {
        self.restarted_with(|_| {})
    }

    /// The same with other settings.
    pub(crate) fn restarted_with(&self, change: impl FnOnce(&mut CloudConfig)) -> Arc<Cloud> {
        let mut config = CloudConfig::new("test-1", self.dir.path().join("consoles"));
        change(&mut config);
        build(&self.db, &self.clock, &self.entropy, &self.signer, config)
    }

    /// A member of a project of their own.
    pub(crate) async fn member(&self, name: &str) -> Caller {
        let project = self.cloud.create_project(&self.admin, name, None).await.unwrap();
        let role = tepui_db::model::Role::Member;
        let user = self.cloud.create_user(&self.admin, name, role).await.unwrap();
        let key = self.cloud.create_access_key(&self.admin, user.id, project.id).await.unwrap();
        let key = self.cloud.authenticate_key(&key.id).await.unwrap().unwrap();
        key.caller(format!("req-{name}"))
    }

    /// An image of the caller's project with 2 GiB.
    pub(crate) async fn image(&self, caller: &Caller, name: &str) -> ImageId {
        let request = ImportRequest {
            name: Some(name.into()),
            description: String::new(),
            source: format!("{name}.qcow2"),
            public: false,
            tags: [].into(),
            token: None,
        };
        let task = self.cloud.begin_import(caller, request).await.unwrap().task;
        let imported = ImportedImage {
            digest: Digest::of(name.as_bytes()),
            size_bytes: 2 * GIB,
            login_user: "debian".into(),
            public: false,
        };
        self.cloud.complete_import(caller, task.id, imported).await.unwrap().id
    }

    pub(crate) async fn host(&self, number: u128) -> Host {
        self.host_of(number, NodeCapacity { vcpus: 16, memory_mib: 65_536, disk_gib: 1000 }).await
    }

    pub(crate) async fn host_of(&self, number: u128, capacity: NodeCapacity) -> Host {
        let token = self.cloud.create_join_token(&self.admin).await.unwrap();
        let request = EnrolRequest {
            token: token.secret,
            machine_uuid: Uuid::from_u128(number),
            name: format!("node-{number}"),
            csr_pem: String::new(),
            underlay_address: Ipv4Addr::new(10, 0, 0, u8::try_from(number % 250).unwrap()),
            capacity,
        };
        let id = self.cloud.enrol(&request, "r").await.unwrap();
        Host { id, capacity, cloud: Arc::clone(&self.cloud), seen: Mutex::default() }
    }

    /// The images whose bytes the control plane keeps.
    pub(crate) async fn digests_kept(&self) -> Vec<Digest> {
        self.cloud.digests_in_use().await.unwrap()
    }

    pub(crate) fn random(&self) -> u128 {
        self.entropy.random()
    }

    /// One `t3.nano` of a fresh image.
    pub(crate) async fn run_one(&self, caller: &Caller) -> Reservation {
        let image = self.image(caller, &format!("image-{}", self.random())).await;
        self.cloud.run_instances(caller, RunInstances::new(image, "t3.nano")).await.unwrap()
    }
}

fn build(
    db: &Arc<SqliteDb>,
    clock: &Arc<TestClock>,
    entropy: &Arc<TestEntropy>,
    signer: &Arc<TestSigner>,
    config: CloudConfig,
) -> Arc<Cloud> {
    let db: Arc<dyn Db> = Arc::<SqliteDb>::clone(db);
    Arc::new(Cloud::new(CloudParts {
        db,
        clock: Arc::<TestClock>::clone(clock),
        entropy: Arc::<TestEntropy>::clone(entropy),
        signer: Arc::<TestSigner>::clone(signer),
        keyring: Keyring::new(&[7; 32]),
        config,
    }))
}

/// A host whose agent is the test.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    capacity: NodeCapacity,
    cloud: Arc<Cloud>,
    seen: Mutex<u64>,
}

impl Host {
    /// Polls without waiting, having nothing.
    pub(crate) async fn poll(&self) -> PollReply {
        self.poll_with(Vec::new(), 0).await
    }

    pub(crate) async fn poll_with(&self, have: Vec<HavePart>, wait_ms: u64) -> PollReply {
        let request = PollRequest { epoch: Epoch(1), agent_run: 1, have, reported: 0, wait_ms };
        self.cloud.poll(self.id, request).await.unwrap().owned()
    }

    pub(crate) async fn generation(&self) -> Generation {
        let parts = self.poll().await.parts;
        parts.iter().find(|part| part.key == PartKey::Node(self.id)).unwrap().generation
    }

    pub(crate) fn observed(&self, placements: Vec<(PlacementId, PlacementState)>) -> NodeObserved {
        let placements = placements
            .into_iter()
            .map(|(id, state)| PlacementObserved { id, state, wanted: true, disks: Vec::new(), freeze: None })
            .collect();
        NodeObserved {
            agent_version: "0.1.0".into(),
            boot_id: "boot".into(),
            capacity: self.capacity,
            usage: NodeUsage::default(),
            applied: Vec::new(),
            refused: Vec::new(),
            placements,
            impaired: None,
            storage: None,
            io: Vec::new(),
            stalled: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Reports these placements, as the next of this agent process.
    pub(crate) async fn report(&self, placements: Vec<(PlacementId, PlacementState)>) {
        let observed = self.observed(placements);
        self.report_as(1, observed).await;
    }

    pub(crate) async fn report_as(&self, agent_run: u64, observed: NodeObserved) {
        let sequence = {
            let mut seen = self.seen.lock().unwrap();
            *seen += 1;
            *seen
        };
        let report = Report { epoch: Epoch(1), agent_run, sequence, observed };
        self.cloud.report(self.id, report).await.unwrap();
    }
}

pub(crate) fn placement_of(reservation: &Reservation) -> PlacementId {
    reservation.instances[0].record.placement.as_ref().unwrap().id
}

pub(crate) fn running(start_seq: u64) -> PlacementState {
    PlacementState::Running { start_seq, reboot_seq: 0 }
}
