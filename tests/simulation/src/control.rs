//! The control plane, which can die and start again on its database.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tepui_core::{
    Caller, Cloud, CloudConfig, CloudParts, Entropy as _, ImportRequest, ImportedImage, Keyring, Tags,
};
use tepui_db::Db;
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_types::agent::{EnrolRequest, NodeCapacity};
use tepui_types::{Digest, ImageId, NodeId};
use uuid::Builder;

use crate::chance::{DigestSigner, SeededEntropy, WallClock};

/// What outlives the process, and the process while it lives.
pub struct Control {
    /// Its clocks.
    pub clock: Arc<WallClock>,
    entropy: Arc<SeededEntropy>,
    dir: PathBuf,
    config: CloudConfig,
    live: Option<Live>,
}

struct Live {
    cloud: Arc<Cloud>,
    db: Arc<SqliteDb>,
}

/// A project with somebody who works in it.
pub struct Tenant {
    /// Who that is.
    pub caller: Caller,
    /// What its instances boot from.
    pub image: ImageId,
}

/// Where it keeps everything, in memory if possible: thousands of small fsyncs are not what is tried here.
pub fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

impl Control {
    /// The first process, on an empty database in a folder.
    pub fn start(dir: PathBuf, seed: u64, config: CloudConfig) -> anyhow::Result<Self> {
        let clock = Arc::new(WallClock::new());
        let entropy = Arc::new(SeededEntropy::new(seed));
        let mut control = Self { clock, entropy, dir, config, live: None };
        control.come_back()?;
        Ok(control)
    }

    /// The process, if it lives.
    pub fn cloud(&self) -> Option<Arc<Cloud>> {
        self.live.as_ref().map(|live| Arc::clone(&live.cloud))
    }

    /// The database, if a process holds it.
    pub fn db(&self) -> Option<Arc<SqliteDb>> {
        self.live.as_ref().map(|live| Arc::clone(&live.db))
    }

    /// The process ends. What it had not written is lost, but for records of the audit, which the simulation
    /// does not look at.
    pub async fn die(&mut self) {
        if let Some(live) = self.live.take() {
            live.cloud.flush_audit().await;
        }
    }

    /// A new process on the same database.
    pub fn come_back(&mut self) -> anyhow::Result<()> {
        let path = self.dir.join("db.sqlite3");
        let db = Arc::new(SqliteDb::open(&path, Options { readers: 1, ..Options::default() })?);
        let cloud = Cloud::new(CloudParts {
            db: Arc::clone(&db) as Arc<dyn Db>,
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::clone(&self.entropy) as _,
            signer: Arc::new(DigestSigner),
            keyring: Keyring::new(&[7; 32]),
            config: self.config.clone(),
        });
        self.live = Some(Live { cloud: Arc::new(cloud), db });
        Ok(())
    }

    /// The first administrator.
    pub async fn administrator(&self) -> anyhow::Result<Caller> {
        let cloud = self.cloud().context("the control plane is down")?;
        let first = cloud.bootstrap().await?;
        let key = cloud.authenticate_key(&first.key.id).await?.context("the first key is unknown")?;
        Ok(key.caller("administrator"))
    }

    /// A project with one image and one administrator's hand in it.
    pub async fn tenant(&self, administrator: &Caller, name: &str) -> anyhow::Result<Tenant> {
        let cloud = self.cloud().context("the control plane is down")?;
        let project = cloud.create_project(administrator, name, None).await?;
        let caller = Caller { project: project.id, request_id: name.to_owned(), ..administrator.clone() };
        let request = ImportRequest {
            name: Some(name.to_owned()),
            description: String::new(),
            source: "simulated.qcow2".to_owned(),
            public: false,
            tags: Tags::new(),
            token: None,
        };
        let task = cloud.begin_import(&caller, request).await?.task;
        let imported = ImportedImage {
            digest: Digest::of(name.as_bytes()),
            size_bytes: 1 << 30,
            login_user: "debian".to_owned(),
            public: false,
        };
        let image = cloud.complete_import(&caller, task.id, imported).await?.id;
        Ok(Tenant { caller, image })
    }

    /// A host joins.
    pub async fn enrol(
        &self,
        administrator: &Caller,
        number: u32,
        capacity: NodeCapacity,
    ) -> anyhow::Result<NodeId> {
        let cloud = self.cloud().context("the control plane is down")?;
        let token = cloud.create_join_token(administrator).await?;
        let [_, a, b, c] = number.to_be_bytes();
        let request = EnrolRequest {
            token: token.secret,
            machine_uuid: Builder::from_random_bytes(self.entropy.random().to_le_bytes()).into_uuid(),
            name: format!("node-{number}"),
            csr_pem: String::new(),
            underlay_address: [10, a, b, c].into(),
            capacity,
        };
        Ok(cloud.enrol(&request, "r").await?)
    }
}
