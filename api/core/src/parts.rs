//! What the composition root hands to the domain.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use tepui_db::Db;
use tepui_db::model::Quota;

use crate::Keyring;

/// The time of day, and the time that passes.
pub trait Clock: Send + Sync {
    /// Now. It jumps when somebody sets the machine's clock.
    fn now(&self) -> Timestamp;

    /// What the time of day would be if nobody had set the clock since this process began: what is a while
    /// ago is measured by it. It never jumps and means nothing to another process.
    fn steady(&self) -> Timestamp;

    /// The earlier of the two, by which things are forgotten that are stored with their time of day: a
    /// clock that was set ahead forgets nothing early.
    fn earliest(&self) -> Timestamp {
        self.now().min(self.steady())
    }
}

/// The source of chance. It must be fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random ones.
    fn fill(&self, bytes: &mut [u8]);

    /// 128 random bits.
    fn random(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }
}

/// Signs instance identity documents with the cloud's identity key.
pub trait IdentitySigner: Send + Sync {
    /// The base64 signature of `document`, without line breaks. The same document must always have
    /// the same signature, as with Ed25519 or RSA PKCS#1 v1.5: it is part of the desired state, of
    /// which one generation has one content.
    fn sign(&self, document: &str) -> String;
}

/// Everything that [`Cloud`](crate::Cloud) is built of.
pub struct CloudParts {
    /// The store.
    pub db: Arc<dyn Db>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The source of chance.
    pub entropy: Arc<dyn Entropy>,
    /// Signs instance identity documents.
    pub signer: Arc<dyn IdentitySigner>,
    /// Wraps the secrets of access keys.
    pub keyring: Keyring,
    /// The operator's settings.
    pub config: CloudConfig,
}

/// Which nodes come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The emptiest node first: a lost node takes few guests with it.
    Spread,
    /// The fullest node that has room first: whole nodes stay free for large guests.
    Pack,
}

/// How much of a node may be given out, for each unit that it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overcommit {
    /// Virtual CPUs for each hardware thread.
    pub vcpus: f64,
    /// MiB for each MiB of memory.
    pub memory: f64,
    /// GiB of virtual disk for each GiB of the disks' file system.
    pub disk: f64,
}

/// How long what is over is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A terminated instance stays visible; an hour, as on AWS.
    pub terminated_instances: Duration,
    /// An idempotency token of a launch, from its first use.
    pub client_tokens: Duration,
    /// An audit record.
    pub audit: Duration,
    /// An import task that has ended, with its idempotency token, from when it was asked for.
    pub import_tasks: Duration,
    /// A join token, from its end: until then its host is told that it ended.
    pub join_tokens: Duration,
    /// The file of a removed volume or snapshot, until it is unlinked.
    pub quarantine: Duration,
}

/// The operator's settings.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// For example `tepui-1`.
    pub region: String,
    /// Which nodes come first.
    pub strategy: Strategy,
    /// How much of a node may be given out.
    pub overcommit: Overcommit,
    /// The pool of public addresses.
    pub public_pool: Option<Ipv4Net>,
    /// Where consoles are kept, one file a placement.
    pub consoles_dir: PathBuf,
    /// What a new project may take unless its creator says otherwise.
    pub default_quota: Quota,
    /// Audit records that may wait for the store beside their replies; each call beyond waits for its
    /// own. A thousand take a few MiB, and the store takes as many in one commit.
    pub audits_waiting: usize,
    /// How long a join token is good for.
    pub join_token_life: Duration,
    /// How long what is over is remembered.
    pub retention: Retention,
    /// A node that did not poll or report for so long is unreachable.
    pub node_timeout: Duration,
    /// How often reconcilers run without a signal.
    pub reconcile_interval: Duration,
}

impl CloudConfig {
    /// The defaults for a region.
    pub fn new(region: impl Into<String>, consoles_dir: impl Into<PathBuf>) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            region: region.into(),
            strategy: Strategy::Spread,
            overcommit: Overcommit { vcpus: 4.0, memory: 1.0, disk: 2.0 },
            public_pool: None,
            consoles_dir: consoles_dir.into(),
            default_quota: Quota {
                instances: 10_000,
                vcpus: 20_000,
                memory_mib: 64 << 20,
                volumes: 5_000,
                volume_gib: 51_200,
            },
            audits_waiting: 1000,
            join_token_life: HOUR,
            retention: Retention {
                terminated_instances: HOUR,
                client_tokens: 48 * HOUR,
                audit: 400 * 24 * HOUR,
                import_tasks: 30 * 24 * HOUR,
                join_tokens: 7 * 24 * HOUR,
                quarantine: 24 * HOUR,
            },
            // Three polls of 30 s.
            node_timeout: Duration::from_secs(90),
            reconcile_interval: Duration::from_secs(10),
        }
    }

    /// The one availability zone: the region and `a`.
    pub fn zone(&self) -> String {
        format!("{}a", self.region)
    }

    /// The domain of internal names.
    pub fn domain(&self) -> String {
        format!("{}.compute.internal", self.region)
    }

    /// The internal name of a private address, for example
    /// `ip-172-31-0-10.tepui-1.compute.internal`.
    pub fn private_dns(&self, address: Ipv4Addr) -> String {
        let [a, b, c, d] = address.octets();
        format!("ip-{a}-{b}-{c}-{d}.{}", self.domain())
    }
}
