//! The reconciler with a simulated host: what a node does as parts come, guests go off, agents and
//! hosts restart.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tepui_libvirt::{Accelerator, DomainSpec, DomainState, DomainStatus, FailedDisk, OffReason as Seen};
use tepui_types::agent::{DiskFailure, DiskPart, OffReason, Part, PartBody, PlacementState, StalledDisk};
use tepui_types::{Epoch, ExportId, Timestamp};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::captures::CaptureKeeper;
use crate::disks::SimulatedDisks;
use crate::execute::{NetworkKeeper, STEPS_AT_ONCE};
use crate::hypervisor::{Hypervisor, HypervisorError, SimulatedHypervisor, SimulatedSettings};
use crate::ledger::Seal;
use crate::network::SimulatedNetwork;
use crate::storage::SimulatedStorage;
use crate::testing::{absent, booting, node_id, node_part, placement, root, running, stopped, vpc_part};

mod captures;
mod damage;
mod paused;
mod rendezvous;
mod scratch;
mod silence;
mod steps;

const PATIENCE: Duration = Duration::from_secs(20);

/// A simulated host: what outlives the agent.
struct SimulatedHost {
    dir: tempfile::TempDir,
    hypervisor: Arc<dyn Hypervisor>,
    disks: Arc<SimulatedDisks>,
    boot_id: String,
}

impl SimulatedHost {
    fn new(hypervisor: Arc<dyn Hypervisor>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disks = Arc::new(SimulatedDisks::open(&dir.path().join("disks"), 1 << 40).unwrap());
        Self { dir, hypervisor, disks, boot_id: "boot-1".to_owned() }
    }

    fn simulated(settings: SimulatedSettings) -> (Self, Arc<SimulatedHypervisor>) {
        let hypervisor = Arc::new(SimulatedHypervisor::new(settings));
        (Self::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>), hypervisor)
    }

    fn freezes(&self) -> FreezeKeeper {
        let (hypervisor, file) = (Arc::clone(&self.hypervisor), self.dir.path().join("freezes.json"));
        FreezeKeeper::open(hypervisor, &file, || Timestamp::UNIX_EPOCH).unwrap()
    }

    fn start_agent(&self) -> RunningAgent {
        let seal = Seal::open(&self.dir.path().join("key")).unwrap();
        let ledger = Ledger::open(&self.dir.path().join("ledger"), seal).unwrap();
        let ledger = Arc::new(Mutex::new(ledger));
        let disks = Arc::clone(&self.disks) as Arc<dyn crate::disks::Disks>;
        let dir = self.dir.path().join("disks");
        let executor = Executor {
            hypervisor: Arc::clone(&self.hypervisor),
            captures: Arc::new(CaptureKeeper::new(Arc::clone(&self.hypervisor), Arc::clone(&disks), dir)),
            disks,
            network: Arc::new(NetworkKeeper::new(Arc::new(SimulatedNetwork::new()), None)),
            ledger: Arc::clone(&ledger),
            permits: Semaphore::new(STEPS_AT_ONCE),
            accelerator: Accelerator::Tcg,
            consoles: self.dir.path().to_owned(),
        };
        let shared = Arc::new(Shared {
            node_id: node_id(),
            ledger,
            wake: Notify::new(),
            network_wake: Notify::new(),
            storage: StorageKeeper::new(Arc::new(SimulatedStorage::new(1 << 40))),
            volumes: VolumeKeeper::new(Arc::clone(&self.hypervisor)),
            freezes: Arc::new(self.freezes()),
            network_trouble: Mutex::default(),
            acknowledged: Mutex::default(),
            refused: Mutex::default(),
            findings: Mutex::default(),
            executor,
            metadata: None,
        });
        let (sender, observed) = watch::channel(Observed::default());
        let grace = Duration::from_secs(2);
        let reconciler = Reconciler::new(Arc::clone(&shared), self.boot_id.clone(), grace, sender);
        RunningAgent { shared, observed, task: tokio::spawn(reconciler.run()) }
    }
}

struct RunningAgent {
    shared: Arc<Shared>,
    observed: watch::Receiver<Observed>,
    task: JoinHandle<()>,
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RunningAgent {
    fn take(&self, parts: Vec<Part>) {
        let taken = self.shared.ledger().take(node_id(), Epoch(1), parts).unwrap();
        assert!(taken.refused.is_empty(), "{taken:?}");
        self.shared.wake.notify_one();
    }

    async fn wait(&mut self, what: &str, holds: impl Fn(&Observed) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, self.observed.wait_for(|seen| holds(seen))).await;
        let in_time = waited.is_ok();
        drop(waited);
        assert!(in_time, "{what}: {:#?}", self.observed.borrow());
    }

    /// A change of the ledger that is under way when the agent is dropped is still made.
    async fn wait_record(&self, id: PlacementId, holds: impl Fn(&Progress) -> bool) {
        let is_written = || self.shared.ledger().progress().get(&id).is_some_and(&holds);
        let waited = tokio::time::timeout(PATIENCE, async {
            while !is_written() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        waited.await.expect("the record is written");
    }

    async fn wait_state(&mut self, id: PlacementId, state: PlacementState) {
        let what = format!("{id} is not {state:?}");
        self.wait(&what, |seen| state_of(seen, id).as_ref() == Some(&state)).await;
    }
}

fn state_of(seen: &Observed, id: PlacementId) -> Option<PlacementState> {
    seen.placements.iter().find(|placement| placement.id == id).map(|placement| placement.state.clone())
}

fn is_running(start_seq: u64, reboot_seq: u64) -> PlacementState {
    PlacementState::Running { start_seq, reboot_seq }
}

fn simulated() -> (SimulatedHost, Arc<SimulatedHypervisor>) {
    SimulatedHost::simulated(SimulatedSettings::default())
}

#[tokio::test]
async fn a_guest_that_boots_from_a_volume_starts_with_it_and_has_no_disk_on_the_host() {
    let (host, hypervisor) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![booting(id, 1, DiskPart::Awaited)])]);
    agent.wait_state(id, PlacementState::Preparing { step: "volumes".to_owned() }).await;
    assert_eq!(hypervisor.starts_and_resets(id), (0, 0));
    agent.take(vec![node_part(2, vec![booting(id, 1, root())])]);
    agent.wait_state(id, is_running(1, 0)).await;
    agent.wait_record(id, |done| done.start_seq == 1 && !done.disk_made).await;
    assert!(crate::disks::Disks::overlays(host.disks.as_ref()).unwrap().is_empty());
    agent.take(vec![node_part(3, vec![absent(id, true)])]);
    agent.wait_state(id, PlacementState::Gone).await;
}

#[tokio::test]
async fn a_placement_lives_from_its_start_over_reboot_and_stop_to_its_removal() {
    let (host, hypervisor) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    agent.take(vec![node_part(2, vec![running(id, 1, 1)])]);
    agent.wait_state(id, is_running(1, 1)).await;
    agent.take(vec![node_part(3, vec![stopped(id, false)])]);
    agent.wait_state(id, PlacementState::Off { start_seq: 1, reason: OffReason::Requested }).await;
    agent.take(vec![node_part(4, vec![running(id, 2, 1)])]);
    agent.wait_state(id, is_running(2, 1)).await;
    assert_eq!(hypervisor.starts_and_resets(id), (2, 1));
    agent.take(vec![node_part(5, vec![absent(id, false)])]);
    agent.wait_state(id, PlacementState::Gone).await;
    agent.take(vec![node_part(6, Vec::new())]);
    agent.wait("it is still reported", |seen| seen.placements.is_empty()).await;
}

#[tokio::test]
async fn a_restarted_agent_adopts_what_runs_and_starts_nothing_twice() {
    let (host, hypervisor) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    drop(agent);
    assert_eq!(hypervisor.domains().await.unwrap().len(), 1, "the guest runs on without an agent");
    let mut agent = host.start_agent();
    agent.wait_state(id, is_running(1, 0)).await;
    assert_eq!(hypervisor.starts_and_resets(id), (1, 0));
}

#[tokio::test]
async fn after_a_host_reboot_the_ledger_alone_brings_the_guests_back() {
    let (mut host, hypervisor) = simulated();
    let (id, off) = (placement(1), placement(2));
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0), running(off, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    agent.wait_state(off, is_running(1, 0)).await;
    hypervisor.goes_off(off, Seen::Guest);
    agent.wait_state(off, PlacementState::Off { start_seq: 1, reason: OffReason::Guest }).await;
    let noted = |agent: &RunningAgent| agent.shared.ledger().progress().get(&off).and_then(|done| done.off);
    while noted(&agent).is_none() {
        tokio::task::yield_now().await;
    }
    drop(agent);
    hypervisor.host_reboots();
    host.boot_id = "boot-2".to_owned();
    let mut agent = host.start_agent();
    agent.wait_state(id, is_running(1, 0)).await;
    agent.wait_state(off, PlacementState::Off { start_seq: 1, reason: OffReason::Guest }).await;
    assert_eq!((hypervisor.starts_and_resets(id).0, hypervisor.starts_and_resets(off).0), (2, 1));
}

#[tokio::test]
async fn a_domain_that_no_part_names_runs_on_and_is_reported_as_unwanted() {
    let (host, hypervisor) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    agent.take(vec![node_part(2, Vec::new())]);
    agent
        .wait("unwanted and running", |seen| {
            seen.placements.len() == 1 && !seen.placements[0].wanted && seen.applied[0].generation.0 == 2
        })
        .await;
    // Whatever is done about it would have begun before what is wanted only now.
    let other = placement(2);
    agent.take(vec![node_part(3, vec![running(other, 1, 0)])]);
    agent.wait_state(other, is_running(1, 0)).await;
    drop(agent);
    let mut agent = host.start_agent();
    agent.wait_state(other, is_running(1, 0)).await;
    agent.wait_state(id, is_running(1, 0)).await;
    let domains = hypervisor.domains().await.unwrap();
    assert!(domains.iter().any(|domain| domain.id == id && domain.state == DomainState::Running));
    assert_eq!(hypervisor.starts_and_resets(id), (1, 0));
}

#[tokio::test]
async fn a_part_that_misses_its_vpc_waits_for_it_and_starts_when_it_comes() {
    let (host, _) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, PlacementState::Preparing { step: "network".to_owned() }).await;
    let mut without_port = vpc_part(1);
    let PartBody::Vpc(vpc) = &mut without_port.body else { panic!("no VPC part") };
    vpc.ports.clear();
    agent.take(vec![without_port, node_part(2, vec![running(id, 1, 0), stopped(placement(2), false)])]);
    let applied = |seen: &Observed| seen.applied.iter().any(|part| part.generation.0 == 2);
    agent.wait("the second node part is seen", applied).await;
    agent.wait_state(id, PlacementState::Preparing { step: "network".to_owned() }).await;
    agent.take(vec![vpc_part(2)]);
    agent.wait_state(id, is_running(1, 0)).await;
}

#[tokio::test]
async fn an_instance_that_ran_before_is_never_started_with_a_fresh_disk() {
    let (host, hypervisor) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    agent.take(vec![node_part(2, vec![stopped(id, true)])]);
    agent.wait_state(id, PlacementState::Off { start_seq: 1, reason: OffReason::Requested }).await;
    crate::disks::Disks::remove(host.disks.as_ref(), id).await.unwrap();
    agent.take(vec![node_part(3, vec![running(id, 2, 0)])]);
    agent
        .wait("refused for good", |seen| {
            matches!(state_of(seen, id), Some(PlacementState::Failed { permanent: true, .. }))
        })
        .await;
    assert_eq!(hypervisor.starts_and_resets(id).0, 1);
}
