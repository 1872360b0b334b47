//! A guest whose QEMU does not answer, and a host that is short of what libvirt needs.

use super::*;

/// One guest does not answer while `hangs`, nor can anything be written while `short`.
struct Hanging {
    inner: SimulatedHypervisor,
    guest: PlacementId,
    hangs: AtomicBool,
    short: AtomicBool,
}

impl Hanging {
    fn new(guest: PlacementId) -> Arc<Self> {
        let inner = SimulatedHypervisor::new(SimulatedSettings::default());
        Arc::new(Self { inner, guest, hangs: AtomicBool::new(false), short: AtomicBool::new(false) })
    }

    fn ask(&self, verb: &'static str, id: PlacementId) -> Result<(), HypervisorError> {
        if id != self.guest || !self.hangs.load(Ordering::SeqCst) {
            return Ok(());
        }
        let source = tepui_libvirt::Error::Deadline { call: verb, after: Duration::from_secs(45) };
        Err(HypervisorError::Domain { verb, placement: id, source })
    }
}

#[async_trait]
impl Hypervisor for Hanging {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        self.inner.domains().await
    }

    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        self.inner.start(spec).await
    }

    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.ask("shut down", id)?;
        self.inner.request_shutdown(id).await
    }

    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.force_off(id).await
    }

    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.ask("reset", id)?;
        self.inner.reset(id).await
    }

    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.inner.forget(id).await
    }

    fn shortage(&self) -> Option<String> {
        self.short.load(Ordering::SeqCst).then(|| "no room".to_owned())
    }
}

#[tokio::test]
async fn a_guest_that_hangs_is_named_holds_up_no_other_and_is_done_once_it_answers() {
    let [hung, other] = [1, 2].map(placement);
    let hypervisor = Hanging::new(hung);
    let host = SimulatedHost::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(hung, 1, 0), running(other, 1, 0)])]);
    for id in [hung, other] {
        agent.wait_state(id, is_running(1, 0)).await;
    }

    hypervisor.hangs.store(true, Ordering::SeqCst);
    agent.take(vec![node_part(2, vec![running(hung, 1, 1), stopped(other, false)])]);
    let is_named =
        |seen: &Observed| seen.impaired.as_ref().is_some_and(|why| why.contains(&hung.to_string()));
    agent.wait("the guest is named", is_named).await;
    agent.wait_state(other, PlacementState::Off { start_seq: 1, reason: OffReason::Requested }).await;
    assert_eq!(state_of(&agent.observed.borrow(), hung), Some(is_running(1, 0)), "it is not given up");

    hypervisor.hangs.store(false, Ordering::SeqCst);
    agent.wait_state(hung, is_running(1, 1)).await;
    agent.wait("nothing is wrong any more", |seen| seen.impaired.is_none()).await;
    assert_eq!(hypervisor.inner.starts_and_resets(hung), (1, 1));
}

#[tokio::test]
async fn a_shortage_is_told_while_it_lasts_and_guests_run_on() {
    let id = placement(1);
    let hypervisor = Hanging::new(id);
    let host = SimulatedHost::new(Arc::clone(&hypervisor) as Arc<dyn Hypervisor>);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    hypervisor.short.store(true, Ordering::SeqCst);
    agent.wait("the shortage is told", |seen| seen.impaired.as_deref() == Some("no room")).await;
    hypervisor.short.store(false, Ordering::SeqCst);
    agent.wait("the shortage is over", |seen| seen.impaired.is_none()).await;
    assert_eq!(state_of(&agent.observed.borrow(), id), Some(is_running(1, 0)));
}
