use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tepui_libvirt::{DomainSpec, DomainStatus, LiveDisk, OffReason};
use tepui_types::agent::WantedPlacement;
use tokio::time::Instant;

use super::*;
use crate::hypervisor::{GuestAgent, HypervisorError, SimulatedHypervisor, SimulatedSettings};
use crate::testing::{placement, running};

mod paused;

/// The simulated guests 1 to 3, which hold up their answers while the test says so.
struct Guests {
    inner: SimulatedHypervisor,
    hangs: AtomicBool,
    /// None goes on.
    deaf: AtomicBool,
    asked: Mutex<BTreeSet<PlacementId>>,
    /// The disks that guest 1 has.
    disks: Mutex<Vec<LiveDisk>>,
}

#[async_trait]
impl Hypervisor for Guests {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        self.inner.domains().await
    }
    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        self.inner.start(spec).await
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
    async fn freeze(&self, id: PlacementId, kind: FreezeKind) -> Result<FreezeAnswer, HypervisorError> {
        lock(&self.asked).insert(id);
        let answer = self.inner.freeze(id, kind).await;
        if self.hangs.load(Ordering::Acquire) && id == placement(1) {
            std::future::pending::<()>().await;
        }
        answer
    }
    async fn live_disks(&self) -> Result<BTreeMap<PlacementId, Vec<LiveDisk>>, HypervisorError> {
        Ok(BTreeMap::from([(placement(1), lock(&self.disks).clone())]))
    }
    async fn thaw(&self, id: PlacementId, kind: FreezeKind) -> Result<Option<u32>, HypervisorError> {
        match self.deaf.load(Ordering::Acquire) {
            true => Err(HypervisorError::SimulatedSilence(id)),
            false => self.inner.thaw(id, kind).await,
        }
    }
}

/// A host: what outlives the agent.
struct Host {
    dir: tempfile::TempDir,
    guests: Arc<Guests>,
}

/// One life of the agent, as far as it holds guests still.
struct Life {
    keeper: Arc<FreezeKeeper>,
    holds: JoinSet<()>,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let domains = dir.path().join("domains.json");
        let started = (1..=3).map(|number| (placement(number).to_string(), r#"{"starts":1,"resets":0}"#));
        let text: Vec<_> = started.map(|(id, domain)| format!("\"{id}\":{domain}")).collect();
        std::fs::write(&domains, format!("{{{}}}", text.join(","))).unwrap();
        let inner = SimulatedHypervisor::kept_in(domains, SimulatedSettings::default()).unwrap();
        let (hangs, deaf) = (AtomicBool::new(false), AtomicBool::new(false));
        let guests =
            Arc::new(Guests { inner, hangs, deaf, asked: Mutex::default(), disks: Mutex::default() });
        Self { dir, guests }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("freezes.json")
    }

    fn start(&self) -> Life {
        let guests = Arc::clone(&self.guests) as Arc<dyn Hypervisor>;
        let keeper = Arc::new(FreezeKeeper::open(guests, &self.file(), || Timestamp::UNIX_EPOCH).unwrap());
        let mut holds = JoinSet::new();
        keeper.thaw_leftovers(&mut holds);
        Life { keeper, holds }
    }

    fn is_frozen(&self, number: u128) -> bool {
        self.guests.inner.is_frozen(placement(number))
    }
}

impl Life {
    fn want(&mut self, wanted: &[(u128, Option<FreezePart>)]) {
        let part = part(FreezeKind::FileSystems, wanted);
        self.keeper.apply(&part, &mut self.holds);
    }

    fn want_paused(&mut self, wanted: &[(u128, Option<FreezePart>)]) {
        let part = part(FreezeKind::Vcpus, wanted);
        self.keeper.apply(&part, &mut self.holds);
    }

    fn state(&self, number: u128) -> Option<FreezeState> {
        self.keeper.seen(placement(number)).map(|seen| seen.state)
    }

    /// Returns when this is what there is to say of a guest.
    async fn until(&self, number: u128, what: impl Fn(&FreezeState) -> bool) {
        while !self.state(number).is_some_and(|state| what(&state)) {
            self.keeper.wake.notified().await;
        }
    }

    async fn frozen(&self, number: u128) {
        self.until(number, |state| *state == FreezeState::Frozen).await;
    }

    async fn failed(&self, number: u128, why: &str) {
        self.until(number, |state| matches!(state, FreezeState::Failed { message } if message.contains(why)))
            .await;
    }
}

fn part(kind: FreezeKind, wanted: &[(u128, Option<FreezePart>)]) -> NodePart {
    let placements = wanted.iter().map(|(number, freeze)| {
        let mut one: WantedPlacement = running(placement(*number), 1, 0);
        let PlacementPart::Present(spec) = &mut one.wanted else { panic!("it is absent") };
        let id = FreezeId::from_random(*number);
        spec.freeze = freeze.map(|wanted| WantedFreeze { id, kind, wanted });
        one
    });
    NodePart { placements: placements.collect() }
}

const FROZEN: Option<FreezePart> = Some(FreezePart::Frozen);
const THAWED: Option<FreezePart> = Some(FreezePart::Thawed);

#[tokio::test(start_paused = true)]
async fn a_guest_holds_still_until_it_is_wanted_thawed_and_once_only() {
    let host = Host::new();
    let mut life = host.start();
    life.want(&[(1, FROZEN), (2, None)]);
    life.frozen(1).await;
    assert_eq!((host.is_frozen(1), host.is_frozen(2)), (true, false));
    assert!(read(&host.file()).unwrap()[&placement(1)].over.is_none());
    life.want(&[(1, FROZEN), (2, None)]);
    life.want(&[(1, THAWED), (2, None)]);
    life.until(1, |state| *state == FreezeState::Held).await;
    assert!(!host.is_frozen(1));
    // An older part, and a restart: what is over does not begin again.
    for _ in 0..2 {
        life.want(&[(1, FROZEN)]);
        while life.holds.join_next().await.is_some() {}
        assert_eq!((life.state(1), host.is_frozen(1)), (Some(FreezeState::Held), false));
        life = host.start();
    }
    life.want(&[(1, None)]);
    while life.holds.join_next().await.is_some() {}
    assert_eq!(life.state(1), None);
    assert!(read(&host.file()).unwrap().is_empty());
    life.want(&[(1, FROZEN)]);
    life.frozen(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_goes_on_by_itself_at_its_deadline() {
    let host = Host::new();
    let mut life = host.start();
    let begun = Instant::now();
    life.want(&[(1, FROZEN)]);
    life.frozen(1).await;
    life.failed(1, "10s").await;
    assert!(!host.is_frozen(1));
    let longest = longest(FreezeKind::FileSystems);
    assert!((longest..longest * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    life.want(&[(1, THAWED)]);
    assert!(matches!(life.state(1), Some(FreezeState::Failed { .. })), "too late");
}

#[tokio::test(start_paused = true)]
async fn a_guest_goes_on_when_nobody_wants_it_still_any_more() {
    let host = Host::new();
    for nobody in [vec![(1, None)], vec![]] {
        let mut life = host.start();
        life.want(&[(1, FROZEN)]);
        life.frozen(1).await;
        life.want(&nobody);
        life.failed(1, "not wanted").await;
        assert!(!host.is_frozen(1));
        life.want(&nobody);
        while life.holds.join_next().await.is_some() {}
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_died_thaws_what_it_held_when_it_starts_anew() {
    let host = Host::new();
    // Held; asked and not answered yet; only written down.
    let mut life = host.start();
    host.guests.hangs.store(true, Ordering::Release);
    life.want(&[(1, FROZEN), (2, FROZEN)]);
    life.frozen(2).await;
    while !lock(&host.guests.asked).contains(&placement(1)) {
        tokio::task::yield_now().await;
    }
    drop(life);
    assert_eq!((host.is_frozen(1), host.is_frozen(2)), (true, true));
    host.guests.hangs.store(false, Ordering::Release);
    let mut life = host.start();
    life.failed(1, "restarted").await;
    life.failed(2, "restarted").await;
    assert_eq!((host.is_frozen(1), host.is_frozen(2)), (false, false));
    // The order is still in its ledger: it is over all the same, also after one more life.
    life.want(&[(1, FROZEN), (2, THAWED)]);
    while life.holds.join_next().await.is_some() {}
    let life = host.start();
    assert_eq!((host.is_frozen(1), host.is_frozen(2)), (false, false));
    assert!(matches!(life.state(2), Some(FreezeState::Failed { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_lets_its_guests_go_on_and_claims_nothing() {
    let host = Host::new();
    let mut life = host.start();
    life.want(&[(1, FROZEN), (2, FROZEN)]);
    life.frozen(1).await;
    life.frozen(2).await;
    life.keeper.release().await;
    assert_eq!((host.is_frozen(1), host.is_frozen(2)), (false, false));
    life.want(&[(1, FROZEN), (2, FROZEN), (3, FROZEN)]);
    assert_eq!(life.state(3), None, "it begins nothing any more");
    life.want(&[(1, THAWED)]);
    life.failed(1, "not wanted").await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_without_an_agent_fails_at_once_and_holds_up_nobody() {
    let host = Host::new();
    host.guests.inner.set_guest_agent(placement(2), GuestAgent::Missing);
    host.guests.hangs.store(true, Ordering::Release);
    let mut life = host.start();
    life.want(&[(1, FROZEN), (2, FROZEN), (3, FROZEN)]);
    life.failed(2, "does not answer").await;
    life.frozen(3).await;
    life.want(&[(1, FROZEN), (2, FROZEN), (3, THAWED)]);
    life.until(3, |state| *state == FreezeState::Held).await;
    assert_eq!(life.state(1), None, "it was asked and has not answered");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_off_or_was_reset_did_not_hold() {
    let host = Host::new();
    let mut life = host.start();
    host.guests.inner.goes_off(placement(3), OffReason::Guest);
    life.want(&[(1, FROZEN), (2, FROZEN), (3, FROZEN)]);
    life.failed(3, "does not run").await;
    life.frozen(1).await;
    life.frozen(2).await;
    host.guests.inner.goes_off(placement(1), OffReason::Guest);
    host.guests.inner.reset(placement(2)).await.unwrap();
    life.want(&[(1, THAWED), (2, THAWED)]);
    life.failed(1, "went off").await;
    life.failed(2, "did not hold still").await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_answers_are_lost_is_thawed_until_it_answers() {
    let host = Host::new();
    let mut life = host.start();
    host.guests.inner.set_guest_agent(placement(1), GuestAgent::Silent);
    life.want(&[(1, FROZEN), (2, FROZEN)]);
    life.until(1, |state| matches!(state, FreezeState::Stuck { .. })).await;
    // One whose agent dies while it holds still.
    life.frozen(2).await;
    host.guests.inner.set_guest_agent(placement(2), GuestAgent::Missing);
    life.want(&[(1, FROZEN), (2, THAWED)]);
    life.until(2, |state| matches!(state, FreezeState::Stuck { .. })).await;
    assert!(host.is_frozen(2) && read(&host.file()).unwrap()[&placement(2)].over.is_none());
    host.guests.inner.set_guest_agent(placement(1), GuestAgent::Obeys);
    host.guests.inner.set_guest_agent(placement(2), GuestAgent::Obeys);
    life.failed(1, "does not answer").await;
    life.failed(2, "does not answer").await;
    assert!(!host.is_frozen(2));
}

#[tokio::test(start_paused = true)]
async fn a_freeze_that_cannot_be_written_down_is_none() {
    let host = Host::new();
    let mut life = host.start();
    std::fs::create_dir(host.file()).unwrap();
    life.want(&[(1, FROZEN), (2, THAWED)]);
    life.failed(1, "written down").await;
    assert!(lock(&host.guests.asked).is_empty());
    life.failed(2, "knows nothing").await;
}
