//! Starts that come together or fail, and a hypervisor that is away or gives up.

use super::*;
use crate::testing::hypervisor;

/// Holds every start until as many are there as expected: serial starts would never get there. While it is
/// away it answers nothing.
struct Rendezvous {
    inner: SimulatedHypervisor,
    together: tokio::sync::Barrier,
    failing: Option<PlacementId>,
    tries: AtomicUsize,
    away: AtomicBool,
    /// Guests stand still until this comes to 0; each resume counts it down.
    still: AtomicUsize,
    /// Their disks that failed.
    failed: Mutex<Vec<FailedDisk>>,
}

#[async_trait]
impl Hypervisor for Rendezvous {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        if self.away.load(Ordering::SeqCst) {
            let (uri, message) = ("qemu:///system".to_owned(), "connection refused".to_owned());
            return Err(HypervisorError::List(tepui_libvirt::Error::Unavailable { uri, message }));
        }
        let mut domains = self.inner.domains().await?;
        if self.still.load(Ordering::SeqCst) > 0 {
            domains.iter_mut().for_each(|domain| domain.state = DomainState::Paused);
        }
        Ok(domains)
    }

    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        if self.still.load(Ordering::SeqCst) > 0 {
            self.still.fetch_sub(1, Ordering::SeqCst);
            return Ok(());
        }
        if self.failing == Some(spec.placement_id) {
            self.tries.fetch_add(1, Ordering::SeqCst);
            return Err(HypervisorError::Simulated(spec.placement_id));
        }
        self.together.wait().await;
        self.inner.start(spec).await
    }

    async fn failed_disks(&self, _: PlacementId) -> Result<Vec<FailedDisk>, HypervisorError> {
        Ok(self.failed.lock().unwrap().clone())
    }

    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.request_shutdown(id).await
    }

    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.force_off(id).await
    }

    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.reset(id).await
    }

    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.forget(id).await
    }
}

fn rendezvous(count: usize, failing: Option<PlacementId>) -> Rendezvous {
    Rendezvous {
        inner: SimulatedHypervisor::new(SimulatedSettings::default()),
        together: tokio::sync::Barrier::new(count),
        failing,
        tries: AtomicUsize::new(0),
        away: AtomicBool::new(false),
        still: AtomicUsize::new(0),
        failed: Mutex::default(),
    }
}

#[tokio::test]
async fn a_guest_on_a_full_disk_is_resumed_and_impairs_its_host_until_it_runs_on() {
    let hypervisor = Arc::new(rendezvous(1, None));
    let host = SimulatedHost::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>);
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    hypervisor.still.store(9, Ordering::SeqCst);
    let names = |seen: &Observed| seen.impaired.as_ref().is_some_and(|why| why.contains(&id.to_string()));
    agent.wait("the host is impaired", names).await;
    agent.wait_state(id, is_running(1, 0)).await;
    let deadline = Instant::now() + PATIENCE;
    while hypervisor.still.load(Ordering::SeqCst) != 8 {
        assert!(Instant::now() < deadline, "nobody resumes it");
        tokio::task::yield_now().await;
    }
    hypervisor.still.store(0, Ordering::SeqCst);
    agent.wait("the host is well again", |seen| seen.impaired.is_none()).await;
    assert_eq!(hypervisor.inner.starts_and_resets(id), (1, 0));
}

#[tokio::test]
async fn a_guest_whose_volume_is_full_stands_still_and_impairs_no_host() {
    let hypervisor = Arc::new(rendezvous(1, None));
    let host = SimulatedHost::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>);
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![booting(id, 1, root())])]);
    let export = ExportId::from_random(id.bits());
    agent.wait_state(id, is_running(1, 0)).await;
    let (part, placements) =
        (agent.shared.ledger().wanted().node, agent.observed.borrow().placements.clone());
    agent.shared.volumes.apply(&part, &placements).await;
    *hypervisor.failed.lock().unwrap() =
        vec![FailedDisk { device: "vda".into(), failure: DiskFailure::NoSpace }];
    hypervisor.still.store(9, Ordering::SeqCst);
    agent.wait("it stands still", |seen| seen.still.contains(&id)).await;
    assert!(agent.shared.volumes.ask_stalled(&[id].into()).await);
    agent.shared.wake.notify_one();
    let stalled = [StalledDisk { export_id: export, failure: DiskFailure::NoSpace }];
    agent.wait("the volume is named", |seen| seen.stalled == stalled && seen.impaired.is_none()).await;
    hypervisor.still.store(0, Ordering::SeqCst);
    agent.wait("it goes on", |seen| seen.still.is_empty() && seen.stalled.is_empty()).await;
}

#[tokio::test]
async fn a_start_that_failed_late_keeps_its_disk_as_the_only_one() {
    let id = placement(1);
    let hypervisor = Arc::new(rendezvous(1, Some(id)));
    let host = SimulatedHost::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    let failed = |seen: &Observed| matches!(state_of(seen, id), Some(PlacementState::Failed { .. }));
    agent.wait("the domain fails", failed).await;
    crate::disks::Disks::remove(host.disks.as_ref(), id).await.unwrap();
    drop(agent);
    let mut agent = host.start_agent();
    let lost = |seen: &Observed| matches!(state_of(seen, id), Some(PlacementState::Failed { permanent: true, ref step, .. }) if step == "disk");
    agent.wait("the disk is lost", lost).await;
}

#[tokio::test]
async fn an_agent_whose_hypervisor_is_away_at_its_start_says_so_and_works_once_it_is_back() {
    let hypervisor = Arc::new(rendezvous(1, None));
    hypervisor.away.store(true, Ordering::SeqCst);
    let host = SimulatedHost::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>);
    let mut agent = host.start_agent();
    let id = placement(1);
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait("the host is impaired", |seen| seen.impaired.is_some()).await;
    // Of a guest that may run nothing is said, least of all that it is off.
    assert_eq!(agent.observed.borrow().placements, []);
    hypervisor.away.store(false, Ordering::SeqCst);
    agent.wait_state(id, is_running(1, 0)).await;
    assert_eq!(agent.observed.borrow().impaired, None);
}

#[tokio::test]
async fn twenty_starts_run_together_and_one_that_fails_holds_up_nobody() {
    let failing = placement(99);
    let hypervisor = Arc::new(rendezvous(20, Some(failing)));
    let host = SimulatedHost::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>);
    let mut agent = host.start_agent();
    let mut wanted: Vec<_> = (1..=20).map(|number| running(placement(number), 1, 0)).collect();
    wanted.push(running(failing, 1, 0));
    agent.take(vec![vpc_part(1), node_part(1, wanted)]);
    for number in 1..=20 {
        agent.wait_state(placement(number), is_running(1, 0)).await;
    }
    agent
        .wait("the failure is reported", |seen| {
            matches!(state_of(seen, failing), Some(PlacementState::Failed { ref step, permanent: false, .. }) if step == "domain")
        })
        .await;
    assert_eq!(hypervisor.tries.load(Ordering::SeqCst), 1, "tried again before its time");
    agent.take(vec![node_part(2, vec![absent(failing, true)])]);
    agent.wait_state(failing, PlacementState::Gone).await;
}

/// A host at which nobody can even look.
struct Panicking;

hypervisor!(Panicking {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        panic!("as the test wants")
    }
});

#[tokio::test]
async fn a_reconciler_whose_task_panicked_ends() {
    let mut agent = SimulatedHost::new(Arc::new(Panicking)).start_agent();
    tokio::time::timeout(PATIENCE, &mut agent.task).await.unwrap().unwrap();
}
