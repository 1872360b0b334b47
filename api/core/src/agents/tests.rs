//! What no protocol shows.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tepui_db::model::NodeState;
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_types::agent::{EnrolRequest, NodeCapacity, PollRequest};
use tepui_types::{Digest, Epoch, InstanceId, NodeId, PlacementId, Timestamp};
use uuid::Uuid;

use crate::{
    Caller, Clock, Cloud, CloudConfig, CloudParts, Entropy, Error, IdentitySigner, ImportRequest,
    ImportedImage, Keyring, RunInstances,
};

/// A clock that stands still, and a signer.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn steady(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

impl IdentitySigner for Still {
    fn sign(&self, document: &str) -> String {
        Digest::of(document.as_bytes()).to_string()
    }
}

/// Bytes that never repeat.
#[derive(Default)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&Digest::of(&count.to_le_bytes()).as_bytes()[..chunk.len()]);
        }
    }
}

/// A cloud with one node that runs two instances.
struct World {
    cloud: Cloud,
    admin: Caller,
    node: NodeId,
    instances: Vec<InstanceId>,
    _dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let db = SqliteDb::open(&dir.path().join("db.sqlite3"), Options::default()).unwrap();
        let cloud = Cloud::new(CloudParts {
            db: Arc::new(db),
            clock: Arc::new(Still),
            entropy: Arc::new(Counter::default()),
            signer: Arc::new(Still),
            keyring: Keyring::new(&[7; 32]),
            config: CloudConfig::new("test-1", dir.path().join("consoles")),
        });
        let first = cloud.bootstrap().await.unwrap();
        let admin = cloud.authenticate_key(&first.key.id).await.unwrap().unwrap().caller("r");
        let node = enrol(&cloud, &admin).await;
        let instances = launch(&cloud, &admin).await;
        Self { cloud, admin, node, instances, _dir: dir }
    }

    async fn poll(&self) {
        let request =
            PollRequest { epoch: Epoch(1), agent_run: 1, have: Vec::new(), reported: 0, wait_ms: 0 };
        self.cloud.poll(self.node, request).await.unwrap();
    }
}

async fn enrol(cloud: &Cloud, admin: &Caller) -> NodeId {
    let token = cloud.create_join_token(admin).await.unwrap();
    let request = EnrolRequest {
        token: token.secret,
        machine_uuid: Uuid::from_u128(1),
        name: "node-1".into(),
        csr_pem: String::new(),
        underlay_address: Ipv4Addr::new(10, 0, 0, 1),
        capacity: NodeCapacity { vcpus: 16, memory_mib: 65_536, disk_gib: 1000 },
    };
    cloud.enrol(&request, "r").await.unwrap()
}

async fn launch(cloud: &Cloud, admin: &Caller) -> Vec<InstanceId> {
    let import = ImportRequest {
        name: Some("i".into()),
        description: String::new(),
        source: "i.qcow2".into(),
        public: false,
        tags: [].into(),
        token: None,
    };
    let task = cloud.begin_import(admin, import).await.unwrap().task;
    let imported = ImportedImage {
        digest: Digest::of(b"i"),
        size_bytes: 1 << 30,
        login_user: "debian".into(),
        public: false,
    };
    let image = cloud.complete_import(admin, task.id, imported).await.unwrap().id;
    let run = RunInstances { min_count: 2, max_count: 2, ..RunInstances::new(image, "t3.nano") };
    let made = cloud.run_instances(admin, run).await.unwrap();
    made.instances.iter().map(|view| view.record.instance.id).collect()
}

#[tokio::test]
async fn signatures_are_kept_of_what_is_to_run_and_of_nothing_else() {
    let world = World::new().await;
    let World { cloud, node, .. } = &world;
    world.poll().await;
    assert_eq!(cloud.identities.sizes(), (2, 1));
    cloud.terminate_instances(&world.admin, &world.instances[..1]).await.unwrap();
    world.poll().await;
    assert_eq!(cloud.identities.sizes(), (1, 1));

    let under_way = cloud.node_rows(*node).await.unwrap();
    cloud.db.set_node_state(*node, NodeState::Unreachable, cloud.now()).await.unwrap();
    cloud.expunge_node(&world.admin, *node).await.unwrap();
    assert_eq!(cloud.identities.sizes(), (0, 0));
    cloud.build_node_part(*node, &under_way).unwrap();
    assert_eq!(cloud.identities.sizes(), (0, 0), "the part was being built when its node was given up");
}

#[tokio::test]
async fn whatever_a_host_asks_reads_the_store_in_its_turn() {
    let World { cloud, node, .. } = &World::new().await;
    assert!(cloud.needs_image(*node, &Digest::of(b"i")).await.unwrap());
    assert!(!cloud.needs_image(*node, &Digest::of(b"j")).await.unwrap());
    // Nobody gets a turn any more, and what needs none is done all the same.
    cloud.host_turns.close();
    let request = PollRequest { epoch: Epoch(1), agent_run: 1, have: Vec::new(), reported: 0, wait_ms: 0 };
    assert!(cloud.poll(*node, request).await.is_err());
    assert!(cloud.needs_image(*node, &Digest::of(b"i")).await.is_err());
    assert!(cloud.node_rows(*node).await.is_err());
    assert!(cloud.confirm_certificate(*node, &[0; 32]).await.is_err());
    let console = cloud.put_console(*node, PlacementId::from_random(1), b"x").await;
    assert!(matches!(console, Err(Error::Internal { .. })));
}
