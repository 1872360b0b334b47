//! Makes the host as the ledger wants it: looks, plans, lets the executor act, and publishes what it
//! sees. It takes no input but the ledger and the host; waking it is only a hint to look earlier.

mod known;
mod observed;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tepui_libvirt::DomainState;
use tepui_types::agent::{HavePart, HostFinding, PartKey, PlacementPart, Power, RefusedPart};
use tepui_types::{NodeId, PlacementId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::execute::{Executor, Job, OperationError, Whereabouts};
use crate::freezes::FreezeKeeper;
use crate::ledger::{Ledger, Wanted};
use crate::metadata::MetadataService;
use crate::network::WantedNetwork;
use crate::plan::{
    Action, Asked, Decision, Failure, Host, Moment, Operation, Progress, View, decide, retry_delay,
};
use crate::storage::StorageKeeper;
use crate::volumes::VolumeKeeper;
use known::{Known, Seen};

pub use observed::Observed;

/// Between two looks while something is on its way: a guest shutting down, a step failed.
const LOOK_WHILE_MOVING: Duration = Duration::from_millis(250);
/// Between two looks while guests run: one may power itself off.
const LOOK_WHILE_RUNNING: Duration = Duration::from_secs(1);
/// Between two looks after the hypervisor did not answer, from the first time on and at most.
const LOOK_AFTER_SILENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// Between two looks at a host without guests.
const LOOK_WHILE_EMPTY: Duration = Duration::from_secs(10);

/// What the loops of the agent share.
pub struct Shared {
    /// This node.
    pub node_id: NodeId,
    /// The ledger.
    pub ledger: Arc<Mutex<Ledger>>,
    /// Looks earlier than planned.
    pub wake: Notify,
    /// The network is to be applied.
    pub network_wake: Notify,
    /// The host's pools.
    pub storage: StorageKeeper,
    /// The guests' volumes.
    pub volumes: VolumeKeeper,
    /// The guests that hold still.
    pub freezes: Arc<FreezeKeeper>,
    /// Why the network is not as wanted.
    pub network_trouble: Mutex<Option<String>>,
    /// Parts that the control plane knows were acted on.
    pub acknowledged: Mutex<Vec<HavePart>>,
    /// Parts the poll refused.
    pub refused: Mutex<Vec<RefusedPart>>,
    /// What is wrong with what is really served and kept here.
    pub findings: Mutex<Vec<HostFinding>>,
    /// Carries out operations.
    pub executor: Executor,
    /// Answers guests; `None` for simulated ones.
    pub metadata: Option<Arc<MetadataService>>,
}

impl Shared {
    /// The ledger, locked.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pass needs all of it.
struct Pass {
    wanted: Wanted,
    progress: BTreeMap<PlacementId, Progress>,
    host: Host,
}

enum Ended {
    Looked(Result<Seen, String>),
    Worked(Box<Job>, Result<(), OperationError>),
}

struct InWork {
    operation: Operation,
    whereabouts: Whereabouts,
}

/// The loop's memory; the rest is in the ledger and on the host.
pub struct Reconciler {
    shared: Arc<Shared>,
    boot_id: String,
    grace: Duration,
    started: Instant,
    known: Option<Known>,
    trouble: Option<String>,
    /// What the hypervisor is short of.
    shortage: Option<String>,
    /// Looks in a row that the hypervisor did not answer.
    misses: u32,
    look_at: Moment,
    looking: bool,
    in_work: BTreeMap<PlacementId, InWork>,
    tasks: JoinSet<Ended>,
    asked: BTreeMap<PlacementId, Asked>,
    /// When a guest that stood still was resumed last.
    resumed: BTreeMap<PlacementId, Moment>,
    failures: BTreeMap<PlacementId, Failure>,
    observed: watch::Sender<Observed>,
}

impl Reconciler {
    /// A reconciler that has not looked yet. What it sees goes to `observed`.
    pub fn new(
        shared: Arc<Shared>,
        boot_id: String,
        grace: Duration,
        observed: watch::Sender<Observed>,
    ) -> Self {
        Self {
            shared,
            boot_id,
            grace,
            started: Instant::now(),
            known: None,
            trouble: None,
            shortage: None,
            misses: 0,
            look_at: Moment::ZERO,
            looking: false,
            in_work: BTreeMap::new(),
            tasks: JoinSet::new(),
            asked: BTreeMap::new(),
            resumed: BTreeMap::new(),
            failures: BTreeMap::new(),
            observed,
        }
    }

    /// Runs until it is dropped, or until one of its tasks panics: what that task had in work is then
    /// unknown, and only a new agent finds out. Both leave every guest as it is.
    pub async fn run(mut self) {
        loop {
            let next = self.pass();
            let ended = tokio::select! {
                () = self.shared.wake.notified() => None,
                ended = self.tasks.join_next(), if !self.tasks.is_empty() => ended,
                () = tokio::time::sleep_until(self.started + next) => None,
            };
            let more = std::iter::from_fn(|| self.tasks.try_join_next());
            for ended in ended.into_iter().chain(more).collect::<Vec<_>>() {
                match ended {
                    Ok(ended) => self.ended(ended),
                    Err(error) => return tracing::error!(%error, "a task of the reconciler died"),
                }
            }
        }
    }

    /// Looks, and works until nothing is left to do at this moment; says how long [`Self::run`] would then
    /// sleep at most. For whoever has a clock of his own.
    pub async fn settle(&mut self) -> Duration {
        self.look_at = self.now();
        loop {
            let next = self.pass();
            match self.tasks.join_next().await {
                Some(Ok(ended)) => self.ended(ended),
                Some(Err(error)) => tracing::error!(%error, "a task of the reconciler died"),
                None => return next.saturating_sub(self.now()),
            }
        }
    }

    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// One pass; says when the next is due at the latest.
    fn pass(&mut self) -> Moment {
        let pass = self.read();
        self.look_if_due(pass.host.now);
        self.want_network(&pass);
        let mut next = if self.looking { pass.host.now + LOOK_WHILE_MOVING } else { self.look_at };
        if self.known.is_some() {
            next = next.min(self.act(&pass));
        }
        self.publish(&pass);
        next
    }

    fn read(&self) -> Pass {
        let host = Host { boot_id: self.boot_id.clone(), now: self.now(), grace: self.grace };
        let ledger = self.shared.ledger();
        Pass { wanted: ledger.wanted(), progress: ledger.progress().clone(), host }
    }

    fn look_if_due(&mut self, now: Moment) {
        if self.looking || now < self.look_at {
            return;
        }
        self.looking = true;
        let shared = Arc::clone(&self.shared);
        let tick = self.known.as_ref().map_or(0, Known::now);
        self.tasks.spawn(async move { Ended::Looked(look(&shared, tick).await) });
    }

    fn act(&mut self, pass: &Pass) -> Moment {
        let mut next = Moment::MAX;
        for id in self.everyone(pass) {
            if self.in_work.contains_key(&id) || self.known.as_ref().is_some_and(|known| known.is_unsure(id))
            {
                continue;
            }
            match decide(&self.view(pass, id), &pass.host) {
                Decision::Settled => {}
                Decision::Wait(until) => next = next.min(until),
                Decision::Act(action) => self.begin(pass, id, action),
            }
        }
        next
    }

    /// Everyone a part names, and everyone found on the host.
    fn everyone(&self, pass: &Pass) -> BTreeSet<PlacementId> {
        let mut everyone: BTreeSet<_> = pass.wanted.node.placements.iter().map(|wanted| wanted.id).collect();
        everyone.extend(pass.progress.keys());
        if let Some(known) = &self.known {
            everyone.extend(known.domains.keys());
            everyone.extend(known.disks.iter());
        }
        everyone
    }

    fn view<'a>(&'a self, pass: &'a Pass, id: PlacementId) -> View<'a> {
        let wanted = wanted_of(&pass.wanted, id);
        View {
            id,
            wanted,
            disowned: wanted.is_none() && pass.wanted.names_everyone(),
            domain: self.known.as_ref().and_then(|known| known.domains.get(&id).copied()),
            disk: self.known.as_ref().is_some_and(|known| known.disks.contains(&id)),
            vpcs_known: wanted.is_none_or(|part| vpcs_known(&pass.wanted, id, part)),
            progress: pass.progress.get(&id),
            asked: self.asked.get(&id).copied(),
            resumed: self.resumed.get(&id).copied(),
            failure: self.failures.get(&id),
        }
    }

    fn begin(&mut self, pass: &Pass, id: PlacementId, action: Action) {
        if action.operation == Operation::Stop {
            let now = pass.host.now;
            self.asked.entry(id).or_insert(Asked { first: now, last: now }).last = now;
        }
        if action.operation == Operation::Start && self.stands_still(id) {
            self.resumed.insert(id, pass.host.now);
        }
        let renews_scratch = self.view(pass, id).renews_scratch(&pass.host);
        let whereabouts = Whereabouts::default();
        self.in_work.insert(id, InWork { operation: action.operation, whereabouts: whereabouts.clone() });
        let job = Box::new(Job {
            id,
            wanted: wanted_of(&pass.wanted, id).cloned(),
            ran_before: pass.progress.get(&id).is_some_and(Progress::has_disk),
            renews_scratch,
            action,
            whereabouts,
        });
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let result = shared.executor.perform(&job).await;
            Ended::Worked(job, result)
        });
    }

    fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Looked(seen) => self.looked(seen),
            Ended::Worked(job, result) => self.worked(&job, result),
        }
    }

    fn looked(&mut self, seen: Result<Seen, String>) {
        self.looking = false;
        match seen {
            Ok(mut seen) => {
                self.trouble = None;
                self.shortage = seen.shortage.take();
                self.misses = 0;
                let in_work = &self.in_work;
                self.known.get_or_insert_default().take(seen, |id| in_work.contains_key(&id));
                self.forget_answered();
            }
            Err(trouble) => {
                self.misses = self.misses.saturating_add(1);
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(message = trouble, "cannot look at the host");
                }
                self.trouble = Some(trouble);
            }
        }
        self.look_at = self.now() + self.pause();
    }

    /// A guest that went off was asked long enough.
    fn forget_answered(&mut self) {
        let Some(known) = &self.known else { return };
        self.asked.retain(|id, _| {
            known.domains.get(id).is_some_and(|state| !matches!(state, DomainState::Off { .. }))
        });
        self.resumed.retain(|id, _| known.domains.contains_key(id));
    }

    fn stands_still(&self, id: PlacementId) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| known.domains.get(&id) == Some(&DomainState::Paused))
    }

    fn pause(&self) -> Duration {
        if let Some(doublings) = self.misses.checked_sub(1) {
            let (first, longest) = LOOK_AFTER_SILENCE;
            return first.saturating_mul(1 << doublings.min(8)).min(longest);
        }
        let known = self.known.as_ref();
        if !self.asked.is_empty() || known.is_none_or(Known::anything_unsure) {
            LOOK_WHILE_MOVING
        } else if known.is_some_and(|known| !known.domains.is_empty()) {
            LOOK_WHILE_RUNNING
        } else {
            LOOK_WHILE_EMPTY
        }
    }

    fn worked(&mut self, job: &Job, result: Result<(), OperationError>) {
        self.in_work.remove(&job.id);
        if let Some(known) = &mut self.known {
            known.done(job.id, job.action.operation, result.is_ok());
        }
        match result {
            Ok(()) => {
                self.failures.remove(&job.id);
                self.after_success(job);
            }
            Err(error) => {
                self.failed(job, &error);
                self.look_at = self.now();
            }
        }
    }

    fn after_success(&mut self, job: &Job) {
        match job.action.operation {
            Operation::Stop => self.look_at = self.look_at.min(self.now() + LOOK_WHILE_MOVING),
            Operation::PowerOff | Operation::Remove => {
                self.asked.remove(&job.id);
            }
            Operation::Start => self.look_at = self.look_at.min(self.now() + LOOK_WHILE_RUNNING),
            Operation::Reboot | Operation::Note => {}
        }
    }

    fn failed(&mut self, job: &Job, error: &OperationError) {
        let before = self.failures.get(&job.id).filter(|failure| failure.wanted == job.wanted);
        let count = before.map_or(1, |failure| failure.count.saturating_add(1));
        let message = crate::chain(&error.source);
        let (step, permanent) = (error.step.name(), error.source.is_permanent());
        let silent = error.source.is_silence();
        tracing::warn!(placement = %job.id, step, %message, permanent, count, "an operation failed");
        let retry_at = self.now() + retry_delay(count);
        let wanted = job.wanted.clone();
        self.failures.insert(job.id, Failure { wanted, step, message, permanent, silent, count, retry_at });
    }

    fn want_network(&self, pass: &Pass) {
        let Some(known) = &self.known else { return };
        if self.is_network_held(&pass.wanted, known) {
            return;
        }
        let wanted_on = pass.wanted.node.placements.iter().filter(|wanted| wants_tap(&wanted.wanted));
        let mut local: BTreeSet<_> = wanted_on.map(|wanted| wanted.id).collect();
        let live = known.domains.iter().filter(|(_, state)| !matches!(state, DomainState::Off { .. }));
        local.extend(live.map(|(id, _)| *id));
        let vpcs = pass.wanted.vpcs.values().map(|vpc| vpc.as_ref().clone()).collect();
        let wanted = WantedNetwork { node_id: self.shared.node_id, vpcs, local: local.into_iter().collect() };
        if let Some(metadata) = &self.shared.metadata {
            metadata.directory().replace(Arc::clone(&pass.wanted.node));
        }
        if self.shared.executor.network.want(wanted) {
            self.shared.network_wake.notify_one();
        }
    }

    /// While a VPC's part is damaged, the network of guests that run stays as the agent before left it: its
    /// guests are in there, and nobody can tell which of the devices are theirs.
    fn is_network_held(&self, wanted: &Wanted, known: &Known) -> bool {
        let is_lost = wanted.damaged.iter().any(|key| matches!(key, PartKey::Vpc(_)));
        let is_live = |state: &DomainState| !matches!(state, DomainState::Off { .. });
        is_lost && known.domains.values().any(is_live)
    }

    fn publish(&self, pass: &Pass) {
        if self.known.is_none() && self.trouble.is_none() {
            return;
        }
        let seen = self.observe(pass);
        self.observed.send_if_modified(|published| {
            let news = *published != seen;
            *published = seen;
            news
        });
    }
}

async fn look(shared: &Shared, tick: known::Tick) -> Result<Seen, String> {
    let (executor, begun) = (&shared.executor, Instant::now());
    let mut domains = executor.hypervisor.domains().await.map_err(|error| crate::chain(&error))?;
    // One that is paused for a snapshot is no guest that stands still: it goes on in a moment, and nobody else resumes it.
    let paused = shared.freezes.paused_since(begun);
    for domain in domains.iter_mut().filter(|domain| paused.contains(&domain.id)) {
        if domain.state == DomainState::Paused {
            domain.state = DomainState::Running;
        }
    }
    let disks = executor.disks.overlays().map_err(|error| crate::chain(&error))?;
    Ok(Seen { tick, domains, disks, shortage: executor.hypervisor.shortage() })
}

fn wanted_of(wanted: &Wanted, id: PlacementId) -> Option<&PlacementPart> {
    let placements = &wanted.node.placements;
    let sorted = placements.binary_search_by_key(&id, |placement| placement.id).ok();
    let place = sorted.or_else(|| placements.iter().position(|placement| placement.id == id))?;
    placements.get(place).map(|placement| &placement.wanted)
}

/// A VPC's part may be older than the node's.
fn vpcs_known(wanted: &Wanted, id: PlacementId, part: &PlacementPart) -> bool {
    match part {
        PlacementPart::Present(spec) => spec.metadata.interfaces.iter().all(|interface| {
            let vpc = wanted.vpcs.get(&interface.vpc_id);
            vpc.is_some_and(|vpc| vpc.ports.iter().any(|port| port.placement_id == id))
        }),
        PlacementPart::Absent { .. } => true,
    }
}

fn wants_tap(part: &PlacementPart) -> bool {
    match part {
        PlacementPart::Present(spec) => matches!(spec.power, Power::Running { .. }),
        PlacementPart::Absent { .. } => false,
    }
}
