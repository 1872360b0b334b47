//! The agent: its parts wired together, and the loops that run them.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tepui_libvirt::Accelerator;
use tepui_types::agent::NodeCapacity;
use tepui_types::{NodeId, Timestamp};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use url::Url;

use crate::captures::CaptureKeeper;
use crate::disks::{DiskError, Disks, LocalDisks};
use crate::execute::{Executor, NetworkKeeper, STEPS_AT_ONCE};
use crate::freezes::FreezeKeeper;
use crate::hypervisor::Hypervisor;
use crate::identity::{Identity, IdentityError};
use crate::images::{CacheLimits, ImageCache};
use crate::ledger::{Ledger, LedgerError, Seal};
use crate::link::{ControlPlane, LinkError};
use crate::metadata::MetadataService;
use crate::network::Network;
use crate::reconcile::{Observed, Reconciler, Shared};
use crate::storage::{LocalPools, PoolSettings, Storage, StorageKeeper};
use crate::tasks::{self, Context};
use crate::volumes::VolumeKeeper;

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not joined, or the identity is damaged.
    #[error("the node's identity cannot be used")]
    Identity(#[from] IdentityError),
    /// The ledger cannot be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
    /// The disks' directory cannot be used.
    #[error("the disks cannot be used")]
    Disks(#[from] DiskError),
    /// The control plane's address or the certificate cannot be used.
    #[error("the control plane cannot be reached")]
    Link(#[from] LinkError),
    /// A directory or the sealing key cannot be used.
    #[error("could not use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Another agent runs on the data directory.
    #[error("another agent uses {0}")]
    InUse(PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// What does not depend on how guests run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The control plane's listener for agents.
    pub api_url: Url,
    /// Where the agent keeps everything.
    pub data_dir: PathBuf,
    /// How long a guest may take to shut down before the plug is pulled.
    pub shutdown_grace: Duration,
    /// How guests run.
    pub accelerator: Accelerator,
}

/// Which disks guests get, and which pools the host has.
pub enum DiskChoice {
    /// Overlays below the data directory and pools on file systems, with images from the control plane.
    Local {
        /// Of the images that are kept here.
        cache: CacheLimits,
        /// How volumes are served.
        pools: PoolSettings,
    },
    /// These.
    Given {
        /// For the guests.
        disks: Arc<dyn Disks>,
        /// For volumes.
        storage: Arc<dyn Storage>,
    },
}

impl DiskChoice {
    /// How volumes are served; `None` where that is simulated.
    pub fn servers(&self) -> Option<&PoolSettings> {
        match self {
            Self::Local { pools, .. } => Some(pools),
            Self::Given { .. } => None,
        }
    }
}

/// The host as the agent finds it, and what it is made of.
pub struct AgentParts {
    /// Runs guests.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Makes networks.
    pub network: Arc<dyn Network>,
    /// Makes root disks and keeps the host's pools.
    pub disks: DiskChoice,
    /// Whether guests are answered at 169.254.169.254.
    pub metadata: bool,
    /// Changes when the host reboots.
    pub boot_id: String,
    /// What the host offers.
    pub capacity: NodeCapacity,
    /// A random number of this run of the agent.
    pub run: u64,
    /// The wall clock, for certificates.
    pub clock: fn() -> Timestamp,
}

/// The directories below the data directory.
pub(crate) struct Layout<'a>(pub(crate) &'a Path);

impl Layout<'_> {
    pub(crate) fn identity(&self) -> PathBuf {
        self.0.join("identity")
    }

    pub(crate) fn seal(&self) -> PathBuf {
        self.identity().join("ledger.key")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    pub(crate) fn freezes(&self) -> PathBuf {
        self.0.join("freezes.json")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    pub(crate) fn disks(&self) -> PathBuf {
        self.0.join("disks")
    }

    pub(crate) fn consoles(&self) -> PathBuf {
        self.0.join("consoles")
    }
}

/// Where a data directory keeps the identity, for joining.
pub fn identity_dir(data_dir: &Path) -> PathBuf {
    Layout(data_dir).identity()
}

/// Makes a directory that QEMU, as a user of its own, can pass through and nobody but root can list.
pub fn make_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(path)
}

/// Keeps a second agent off the data directory, until the file is dropped.
pub fn lock(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join("lock");
    let file = File::create(&path).map_err(|source| StartError::File { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(StartError::File { path, source }),
    }
}

/// A running agent. Stopping or dropping it leaves every guest running.
pub struct Agent {
    node_id: NodeId,
    observed: watch::Receiver<Observed>,
    freezes: Arc<FreezeKeeper>,
    tasks: JoinSet<()>,
}

impl Agent {
    /// Starts an agent on a host that has joined.
    pub fn start(settings: &Settings, parts: AgentParts) -> Result<Self, StartError> {
        let layout = Layout(&settings.data_dir);
        let identity = Identity::load(&layout.identity())?;
        let control_plane = Arc::new(ControlPlane::new(settings.api_url.clone(), &identity)?);
        let shared = Arc::new(share(settings, &parts, &identity, &control_plane)?);
        let freezes = Arc::clone(&shared.freezes);
        let (sender, observed) = watch::channel(Observed::default());
        let boot_id = parts.boot_id.clone();
        let reconciler =
            Reconciler::new(Arc::clone(&shared), boot_id.clone(), settings.shutdown_grace, sender);
        let context = Context {
            shared,
            control_plane,
            identity_dir: layout.identity(),
            consoles: layout.consoles(),
            servers: parts.disks.servers().cloned(),
            boot_id,
            capacity: parts.capacity,
            run: parts.run,
            clock: parts.clock,
            reported: watch::Sender::new(0),
            report_wanted: Notify::new(),
        };
        let node_id = identity.node_id;
        let mut tasks = tasks::spawn(context, identity, observed.clone());
        tasks.spawn(reconciler.run());
        Ok(Self { node_id, observed, freezes, tasks })
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// What the agent sees, as it goes into the reports.
    pub fn observed(&self) -> watch::Receiver<Observed> {
        self.observed.clone()
    }

    /// Returns when a loop of the agent died, which none does by itself: the agent is of no use then.
    pub async fn died(&mut self) {
        if let Some(Err(error)) = self.tasks.join_next().await {
            tracing::error!(%error, "a loop of the agent died");
        }
    }

    /// Ends the agent between two steps at the latest; guests run on, and those that hold still go on.
    pub async fn stop(mut self) {
        self.freezes.release().await;
        self.tasks.shutdown().await;
    }
}

fn share(
    settings: &Settings,
    parts: &AgentParts,
    identity: &Identity,
    control_plane: &Arc<ControlPlane>,
) -> Result<Shared, StartError> {
    let layout = Layout(&settings.data_dir);
    let consoles = layout.consoles();
    let file = |path: PathBuf| move |source| StartError::File { path, source };
    make_dir(&consoles).map_err(file(consoles.clone()))?;
    let seal = Seal::open(&layout.seal()).map_err(file(layout.seal()))?;
    let ledger = Arc::new(Mutex::new(Ledger::open(&layout.ledger(), seal)?));
    let metadata = parts.metadata.then(metadata_service).transpose()?.map(Arc::new);
    let network = Arc::new(NetworkKeeper::new(Arc::clone(&parts.network), metadata.clone()));
    let (disks, storage) = disks(&layout, parts, control_plane)?;
    let freezes = FreezeKeeper::open(Arc::clone(&parts.hypervisor), &layout.freezes(), parts.clock)
        .map_err(file(layout.freezes()))?;
    let captures = CaptureKeeper::new(Arc::clone(&parts.hypervisor), Arc::clone(&disks), layout.disks());
    let executor = Executor {
        hypervisor: Arc::clone(&parts.hypervisor),
        disks,
        captures: Arc::new(captures),
        network,
        ledger: Arc::clone(&ledger),
        permits: Semaphore::new(STEPS_AT_ONCE),
        accelerator: settings.accelerator,
        consoles,
    };
    Ok(Shared {
        node_id: identity.node_id,
        ledger,
        wake: Notify::new(),
        network_wake: Notify::new(),
        storage: StorageKeeper::new(storage),
        volumes: VolumeKeeper::new(Arc::clone(&parts.hypervisor)),
        freezes: Arc::new(freezes),
        network_trouble: Mutex::default(),
        acknowledged: Mutex::default(),
        refused: Mutex::default(),
        findings: Mutex::default(),
        executor,
        metadata,
    })
}

type DisksAndPools = (Arc<dyn Disks>, Arc<dyn Storage>);

fn disks(
    layout: &Layout<'_>,
    parts: &AgentParts,
    control_plane: &Arc<ControlPlane>,
) -> Result<DisksAndPools, StartError> {
    match &parts.disks {
        DiskChoice::Given { disks, storage } => Ok((Arc::clone(disks), Arc::clone(storage))),
        DiskChoice::Local { cache, pools } => {
            let (source, contents) = (Arc::clone(control_plane), Arc::clone(control_plane));
            let images = ImageCache::open(&layout.images(), *cache, source)
                .map_err(|source| StartError::File { path: layout.images(), source })?;
            let images = Arc::new(images);
            let disks = LocalDisks::open(&layout.disks(), Arc::clone(&images))?;
            Ok((Arc::new(disks), Arc::new(LocalPools::new(pools.clone(), images, contents, parts.clock))))
        }
    }
}

fn metadata_service() -> Result<MetadataService, StartError> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| StartError::Random)?;
    Ok(MetadataService::new(&key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_but_root_lists_the_agents_directories() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        make_dir(&data.join("consoles")).unwrap();
        make_dir(&data.join("consoles")).unwrap();
        for path in [data.clone(), data.join("consoles")] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o711);
        }
    }

    #[test]
    fn two_agents_never_share_a_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(StartError::InUse(path)) if path == dir.path()));
        drop(first);
        lock(dir.path()).unwrap();
    }
}
