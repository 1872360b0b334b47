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
    EnrolRequest, NodeCapacity, NodeObserved, NodeUsage, OffReason, PlacementObserved, PlacementState, Report,
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

    /// The host does whatever its part wants, and says so.
    pub(crate) async fn settle(&self) {
        use tepui_types::agent::{PartBody, PlacementPart, PollRequest, Power};
        let poll = PollRequest { epoch: Epoch(1), agent_run: 1, have: Vec::new(), reported: 0, wait_ms: 0 };
        let reply = self.cloud.poll(self.node, poll).await.unwrap().owned();
        let mut placements = Vec::new();
        for part in reply.parts {
            let PartBody::Node(node) = part.body else { continue };
            placements.extend(node.placements.into_iter().map(|wanted| {
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
                PlacementObserved { id: wanted.id, state, wanted: true }
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
        };
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        let report = Report { epoch: Epoch(1), agent_run: 1, sequence, observed };
        self.cloud.report(self.node, report).await.unwrap();
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
