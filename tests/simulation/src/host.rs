//! A host, and the life of the agent on it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tepui_agent::captures::CaptureKeeper;
use tepui_agent::disks::{Disks, SimulatedDisks};
use tepui_agent::doctor::{Books, Files, Finding, Inventory, compare};
use tepui_agent::execute::{Executor, NetworkKeeper, STEPS_AT_ONCE};
use tepui_agent::freezes::FreezeKeeper;
use tepui_agent::hypervisor::{Hypervisor, SimulatedSettings};
use tepui_agent::ledger::{Ledger, Seal};
use tepui_agent::network::SimulatedNetwork;
use tepui_agent::reconcile::{Observed, Reconciler, Shared};
use tepui_agent::storage::{SimulatedStorage, StorageKeeper};
use tepui_agent::volumes::VolumeKeeper;
use tepui_libvirt::Accelerator;
use tepui_types::agent::{
    HavePart, NodeCapacity, NodeObserved, NodeUsage, PlacementPart, PlacementState, PollReply, PollRequest,
    Report,
};
use tepui_types::{NodeId, PlacementId};
use tokio::sync::{Notify, Semaphore, watch};

use crate::guests::Guests;

const DISK_BYTES: u64 = 1 << 40;
/// Of a hundred starts.
const FAILING_STARTS: u8 = 2;

/// What outlives agents and reboots.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) guests: Arc<Guests>,
    pub(crate) agent: Option<Agent>,
    pub(crate) capacity: NodeCapacity,
    dir: PathBuf,
    disks: Arc<SimulatedDisks>,
    seal: Seal,
    boot: u32,
    runs: u64,
}

/// One process of the agent, without the loops that talk to the control plane: the day drives those.
pub(crate) struct Agent {
    /// Names this process.
    pub(crate) run: u64,
    shared: Arc<Shared>,
    reconciler: Reconciler,
    observed: watch::Receiver<Observed>,
    sequence: u64,
    reported: u64,
}

impl Host {
    pub(crate) fn new(id: NodeId, dir: PathBuf, capacity: NodeCapacity, seed: u64) -> anyhow::Result<Self> {
        let settings = SimulatedSettings { start_ms: 0, failure_percent: FAILING_STARTS, seed };
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self {
            id,
            guests: Arc::new(Guests::new(settings)),
            agent: None,
            capacity,
            disks: Arc::new(SimulatedDisks::open(&dir.join("disks"), DISK_BYTES)?),
            seal: Seal::open(&dir.join("ledger.key"))?,
            dir,
            boot: 1,
            runs: 0,
        })
    }

    /// Starts the agent, as it starts after a death: from what is on disk.
    pub(crate) fn start_agent(&mut self) -> anyhow::Result<()> {
        self.agent = None;
        self.runs += 1;
        let ledger = Ledger::open(&self.dir.join("ledger"), self.seal.clone())?;
        let ledger = Arc::new(Mutex::new(ledger));
        let guests = Arc::clone(&self.guests) as Arc<dyn Hypervisor>;
        let freezes = FreezeKeeper::open(guests, &self.dir.join("freezes.json"), || {
            tepui_types::Timestamp::UNIX_EPOCH
        })?;
        let shared = Arc::new(self.share(ledger, freezes));
        let (sender, observed) = watch::channel(Observed::default());
        let grace = Duration::from_secs(90);
        let boot_id = self.boot_id();
        let reconciler = Reconciler::new(Arc::clone(&shared), boot_id, grace, sender);
        self.agent = Some(Agent { run: self.runs, shared, reconciler, observed, sequence: 0, reported: 0 });
        Ok(())
    }

    fn share(&self, ledger: Arc<Mutex<Ledger>>, freezes: FreezeKeeper) -> Shared {
        let hypervisor = Arc::clone(&self.guests) as Arc<dyn Hypervisor>;
        let disks = Arc::clone(&self.disks) as Arc<dyn Disks>;
        let captures =
            CaptureKeeper::new(Arc::clone(&hypervisor), Arc::clone(&disks), self.dir.join("disks"));
        Shared {
            node_id: self.id,
            executor: Executor {
                hypervisor,
                disks,
                captures: Arc::new(captures),
                network: Arc::new(NetworkKeeper::new(Arc::new(SimulatedNetwork::new()), None)),
                ledger: Arc::clone(&ledger),
                permits: Semaphore::new(STEPS_AT_ONCE),
                accelerator: Accelerator::Tcg,
                consoles: self.dir.clone(),
            },
            ledger,
            wake: Notify::new(),
            network_wake: Notify::new(),
            storage: StorageKeeper::new(Arc::new(SimulatedStorage::new(DISK_BYTES))),
            volumes: VolumeKeeper::new(Arc::clone(&self.guests) as Arc<dyn Hypervisor>),
            freezes: Arc::new(freezes),
            network_trouble: Mutex::default(),
            acknowledged: Mutex::default(),
            refused: Mutex::default(),
            findings: Mutex::default(),
            metadata: None,
        }
    }

    /// The power fails and comes back; the agent is started by whoever starts services.
    pub(crate) fn reboot(&mut self) {
        self.agent = None;
        self.boot += 1;
        self.guests.host_reboots();
    }

    pub(crate) fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    /// The placements that the agent has a record of.
    pub(crate) fn records(&self) -> anyhow::Result<BTreeSet<PlacementId>> {
        let names = std::fs::read_dir(self.dir.join("ledger"))?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<std::io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    /// Half of a record is lost.
    pub(crate) fn tear(&self, record: PlacementId) -> anyhow::Result<()> {
        let file =
            std::fs::File::options().write(true).open(self.dir.join("ledger").join(record.to_string()))?;
        Ok(file.set_len(file.metadata()?.len() / 2)?)
    }

    /// What the host's doctor finds.
    pub(crate) async fn findings(&self) -> anyhow::Result<Vec<Finding>> {
        let agent = self.agent.as_ref().context("the agent is down")?;
        let books = {
            let ledger = agent.shared.ledger();
            Books { wanted: ledger.wanted(), progress: ledger.progress().clone(), ..Books::default() }
        };
        let domains = self.guests.domains().await?;
        let inventory = Inventory {
            domains: Some(domains.iter().map(|domain| (domain.id, domain.state)).collect()),
            disks: Files {
                ages: self.disk_files()?.into_iter().map(|name| (name, Duration::ZERO)).collect(),
                ..Files::default()
            },
            ..Inventory::default()
        };
        Ok(compare(&books, &inventory))
    }

    /// The names of all disks' files.
    pub(crate) fn disk_files(&self) -> anyhow::Result<BTreeSet<String>> {
        let names = std::fs::read_dir(self.dir.join("disks"))?.map(|entry| Ok(entry?.file_name()));
        let names: std::io::Result<Vec<_>> = names.collect();
        Ok(names?.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    /// The placements whose root disk is here.
    pub(crate) fn disks(&self) -> anyhow::Result<BTreeSet<PlacementId>> {
        Ok(self.disks.overlays()?)
    }
}

impl Agent {
    /// Asks without waiting; the day wakes it as the control plane would end its wait.
    pub(crate) fn poll(&self) -> anyhow::Result<PollRequest> {
        let acknowledged = std::mem::take(&mut *self.lock_acknowledged());
        let mut ledger = self.shared.ledger();
        ledger.drop_absent(&acknowledged)?;
        Ok(PollRequest {
            epoch: ledger.epoch(),
            agent_run: self.run,
            have: ledger.have(),
            reported: self.reported,
            wait_ms: 0,
        })
    }

    /// A report with these parts was answered.
    pub(crate) fn acknowledge(&mut self, sequence: u64, applied: Vec<HavePart>) {
        self.reported = sequence;
        *self.lock_acknowledged() = applied;
    }

    fn lock_acknowledged(&self) -> MutexGuard<'_, Vec<HavePart>> {
        self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a reply; whether it brought news.
    pub(crate) fn take(&self, reply: PollReply) -> anyhow::Result<bool> {
        let taken = self.shared.ledger().take(self.shared.node_id, reply.epoch, reply.parts)?;
        *self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner) = taken.refused;
        Ok(taken.changed)
    }

    /// Works until nothing is left to do at this moment; says how long it would sleep at most.
    pub(crate) async fn settle(&mut self) -> Duration {
        self.reconciler.settle().await
    }

    /// Whether there is something to report that was not reported.
    pub(crate) fn has_news(&self) -> bool {
        self.observed.has_changed().unwrap_or(false)
    }

    /// Whether everything is done that the agent knows of.
    pub(crate) fn is_settled(&self) -> bool {
        use tepui_types::agent::PlacementState::{Failed, Gone, Off, Preparing, Running, Stopping};
        self.observed.borrow().placements.iter().all(|seen| match seen.state {
            Running { .. } | Off { .. } | Gone => true,
            Preparing { .. } | Stopping | Failed { .. } => false,
        })
    }

    /// What it says of its placements.
    pub(crate) fn placements(&self) -> Vec<PlacementState> {
        self.observed.borrow().placements.iter().map(|seen| seen.state.clone()).collect()
    }

    /// What is wanted of one of them.
    pub(crate) fn wanted(&self, id: PlacementId) -> Option<PlacementPart> {
        let wanted = self.shared.ledger().wanted();
        wanted.node.placements.iter().find(|one| one.id == id).map(|one| one.wanted.clone())
    }

    /// Shutdowns that were begun; they are finished whatever is wanted meanwhile.
    pub(crate) fn begun_shutdowns(&self) -> BTreeSet<PlacementId> {
        let ledger = self.shared.ledger();
        ledger.progress().iter().filter(|(_, done)| done.stopping).map(|(id, _)| *id).collect()
    }

    /// The next report.
    pub(crate) fn report(&mut self, boot_id: String, capacity: NodeCapacity) -> Report {
        self.sequence += 1;
        let seen = self.observed.borrow_and_update().clone();
        Report {
            epoch: self.shared.ledger().epoch(),
            agent_run: self.run,
            sequence: self.sequence,
            observed: NodeObserved {
                agent_version: "0.1.0".to_owned(),
                boot_id,
                capacity,
                usage: NodeUsage { disk_free_bytes: DISK_BYTES },
                applied: seen.applied,
                refused: seen.refused,
                placements: seen.placements,
                impaired: seen.impaired,
                storage: seen.storage,
                io: seen.io,
                stalled: seen.stalled,
                findings: seen.findings,
            },
        }
    }

    /// Whether a look was taken since the agent started; before that it has nothing to report.
    pub(crate) fn has_looked(&self) -> bool {
        self.observed.borrow().looked
    }
}
