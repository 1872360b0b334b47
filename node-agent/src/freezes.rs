//! Guests that hold still while snapshots of their volumes are taken: their file systems, or all of them.
//!
//! A guest must never hold still for long: what writes in it waits, its users with it. So a hold ends by itself after
//! [`longest`]; it is written to a file before the guest is asked, and whatever that file names when the agent starts is thawed
//! before anything else. Thawing may be repeated, and is until the guest answers or is off.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tepui_libvirt::FreezeAnswer;
use tepui_types::agent::{
    FreezeKind, FreezeObserved, FreezePart, FreezeState, NodePart, PlacementPart, WantedFreeze,
};
use tepui_types::{FreezeId, PlacementId, Timestamp, failpoint};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::disks::scratch::is_scratch;
use crate::durable;
use crate::hypervisor::Hypervisor;
use crate::volumes::{disks_of, root_of};

/// So long a guest holds still at most, counted from when it does. The snapshots take some tens of milliseconds, and the words
/// between the hosts as long. For file systems ten seconds are also what Windows allows its writers to be held up (Volume Shadow
/// Copy Service, "flush and hold writes"). A guest that is paused answers nobody, and its clock stands still.
const fn longest(kind: FreezeKind) -> Duration {
    match kind {
        FreezeKind::FileSystems => Duration::from_secs(10),
        FreezeKind::Vcpus => Duration::from_secs(5),
    }
}

/// Between the first two tries to thaw a guest that does not answer, and between all later ones at most: each keeps a
/// connection for seconds that other guests are thawed by. That a guest is resumed hangs on its own disks alone, which may
/// answer again at any time.
const fn again(kind: FreezeKind) -> (Duration, Duration) {
    match kind {
        FreezeKind::FileSystems => (Duration::from_secs(2), Duration::from_secs(60)),
        FreezeKind::Vcpus => (Duration::from_millis(250), Duration::from_secs(2)),
    }
}

/// How long an agent that ends waits for guests to be thawed.
const RELEASE: Duration = Duration::from_secs(10);
/// Only root reads it.
const MODE: u32 = 0o600;

/// A freeze as it is in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRecord {
    /// Which.
    pub id: FreezeId,
    /// What of the guest.
    #[serde(default, skip_serializing_if = "FreezeKind::is_default")]
    pub kind: FreezeKind,
    /// Since then the guest may hold still.
    pub since: Timestamp,
    /// What became of it; `None` while the guest may hold still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<FreezeState>,
}

/// The freezes that a file names; none where there is no file.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &Path) -> io::Result<BTreeMap<PlacementId, FreezeRecord>> {
    match std::fs::read(file) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// How long a hold is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Still.
    Further,
    /// Everything is taken.
    Taken,
    /// Nobody wants it any more.
    Dropped,
}

/// A freeze of a guest.
#[derive(Debug, Clone, Copy)]
struct Hold {
    guest: PlacementId,
    id: FreezeId,
    kind: FreezeKind,
}

struct Freeze {
    record: FreezeRecord,
    /// When it was over, in this life of the agent.
    over_at: Option<Instant>,
    /// What there is to say of it.
    seen: Option<FreezeState>,
    until: watch::Sender<Until>,
}

impl Freeze {
    fn new(record: FreezeRecord) -> Self {
        let (seen, until) = (record.over.clone(), watch::Sender::new(Until::Further));
        Self { record, over_at: None, seen, until }
    }
}

#[derive(Default)]
struct Known {
    freezes: BTreeMap<PlacementId, Freeze>,
    /// The agent ends: no guest is asked to hold still any more.
    ending: bool,
}

/// Keeps guests still as long as it is wanted, and no longer.
pub struct FreezeKeeper {
    hypervisor: Arc<dyn Hypervisor>,
    file: Arc<Mutex<PathBuf>>,
    clock: fn() -> Timestamp,
    known: Arc<Mutex<Known>>,
    /// Something else is wanted, or there is news.
    pub(crate) wake: Notify,
    /// A freeze is over.
    over: Notify,
}

impl FreezeKeeper {
    /// A keeper of the guests of this hypervisor, with what `file` names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(hypervisor: Arc<dyn Hypervisor>, file: &Path, clock: fn() -> Timestamp) -> io::Result<Self> {
        let freezes = read(file)?.into_iter().map(|(id, record)| (id, Freeze::new(record))).collect();
        let known = Arc::new(Mutex::new(Known { freezes, ending: false }));
        let (wake, over) = (Notify::new(), Notify::new());
        let file = Arc::new(Mutex::new(file.to_owned()));
        Ok(Self { hypervisor, file, clock, known, wake, over })
    }

    /// What there is to say of a placement's freeze.
    pub(crate) fn seen(&self, id: PlacementId) -> Option<FreezeObserved> {
        let known = self.known();
        let freeze = known.freezes.get(&id)?;
        Some(FreezeObserved { id: freeze.record.id, state: freeze.seen.clone()? })
    }

    /// The guests that may have been paused at any time since `since`: who saw one of them stand still since then saw that.
    pub(crate) fn paused_since(&self, since: Instant) -> BTreeSet<PlacementId> {
        let known = self.known();
        let is_paused = |freeze: &Freeze| {
            let record = &freeze.record;
            let has_ended = record.over.is_some() && freeze.over_at.is_none_or(|at| at < since);
            record.kind == FreezeKind::Vcpus && !has_ended
        };
        known.freezes.iter().filter(|(_, freeze)| is_paused(freeze)).map(|(id, _)| *id).collect()
    }

    /// Thaws the guests that an earlier life of the agent left holding still. It knows nothing of how long they did.
    pub(crate) fn thaw_leftovers(self: &Arc<Self>, holds: &mut JoinSet<()>) {
        let why = "the agent was restarted while the guest held still";
        for hold in self.not_over() {
            let keeper = Arc::clone(self);
            holds.spawn(async move { keeper.thaw(hold, Err(why.to_owned())).await });
        }
    }

    /// Begins the freezes that the part wants, and ends those that it does not want any more.
    pub(crate) fn apply(self: &Arc<Self>, part: &NodePart, holds: &mut JoinSet<()>) {
        let wanted = wanted(part);
        let mut begun = Vec::new();
        let mut known = self.known();
        for (id, freeze) in &known.freezes {
            freeze.until.send_if_modified(|until| {
                let news = match wanted.get(id).filter(|wanted| wanted.id == freeze.record.id) {
                    None => Until::Dropped,
                    Some(WantedFreeze { wanted: FreezePart::Thawed, .. }) => Until::Taken,
                    Some(WantedFreeze { wanted: FreezePart::Frozen, .. }) => Until::Further,
                };
                // The first word that it is over counts.
                let is_news = *until == Until::Further && news != Until::Further;
                if is_news {
                    *until = news;
                }
                is_news
            });
        }
        let is_over = |id: &PlacementId, freeze: &Freeze| {
            freeze.record.over.is_some() && wanted.get(id).is_none_or(|wanted| wanted.id != freeze.record.id)
        };
        let before = known.freezes.len();
        known.freezes.retain(|id, freeze| !is_over(id, freeze));
        let forgot = known.freezes.len() != before;
        for (id, wanted) in wanted {
            if known.ending || known.freezes.contains_key(&id) {
                continue;
            }
            let over = match wanted.wanted {
                FreezePart::Frozen => None,
                FreezePart::Thawed => {
                    Some(FreezeState::Failed { message: "the agent knows nothing of it".into() })
                }
            };
            if over.is_none() {
                let hold = Hold { guest: id, id: wanted.id, kind: wanted.kind };
                begun.push((hold, disks(part, id)));
            }
            let record = FreezeRecord { id: wanted.id, kind: wanted.kind, since: (self.clock)(), over };
            known.freezes.insert(id, Freeze::new(record));
        }
        drop(known);
        if forgot && begun.is_empty() {
            let keeper = Arc::clone(self);
            holds.spawn(async move { keeper.save_or_log().await });
        }
        for (hold, disks) in begun {
            let keeper = Arc::clone(self);
            holds.spawn(async move { keeper.hold(hold, &disks).await });
        }
    }

    /// Thaws every guest that holds still, and has none hold still any more; returns when that is done, or after ten seconds:
    /// the next start of the agent goes on with it.
    pub(crate) async fn release(&self) {
        {
            let mut known = self.known();
            known.ending = true;
            for freeze in known.freezes.values() {
                freeze.until.send_replace(Until::Dropped);
            }
        }
        let all = async {
            loop {
                let next = self.over.notified();
                if self.not_over().is_empty() {
                    return;
                }
                next.await;
            }
        };
        if tokio::time::timeout(RELEASE, all).await.is_err() {
            tracing::error!(guests = ?self.not_over(), "guests hold still and do not answer; start the agent again");
        }
    }

    /// One freeze from its beginning to its end. The guest is to have these disks, by their sources.
    async fn hold(self: Arc<Self>, hold: Hold, disks: &[String]) {
        // Before the guest is asked: whoever finds the file thaws it.
        if let Err(message) = self.save().await {
            return self.end(hold, FreezeState::Failed { message }).await;
        }
        if let Err(tripped) = failpoint::hit("agent::freeze::noted") {
            return self.end(hold, FreezeState::Failed { message: tripped.to_string() }).await;
        }
        if let Err(message) = self.check_disks(hold, disks).await {
            return self.end(hold, FreezeState::Failed { message }).await;
        }
        let held = match self.hypervisor.freeze(hold.guest, hold.kind).await {
            Ok(FreezeAnswer::Refused(message)) => {
                tracing::warn!(placement = %hold.guest, %message, "a guest does not hold still");
                return self.end(hold, FreezeState::Failed { message }).await;
            }
            Ok(FreezeAnswer::Frozen(count)) => self.wait(hold).await.map(|()| count),
            Err(error) => Err(crate::chain(&error)),
        };
        self.thaw(hold, held).await;
    }

    /// Refuses to pause a guest that has a disk which it is not to have. What was taken from it by force answers no more, and
    /// QEMU, which waits for all disks once the virtual CPUs have stopped, would wait for it until the guest is ended.
    async fn check_disks(&self, hold: Hold, disks: &[String]) -> Result<(), String> {
        if hold.kind != FreezeKind::Vcpus {
            return Ok(());
        }
        let live = self.hypervisor.live_disks().await.map_err(|error| crate::chain(&error))?;
        let live = live.get(&hold.guest).into_iter().flatten();
        let mut others = live.filter(|disk| !is_scratch(&disk.source) && !disks.contains(&disk.source));
        match others.next() {
            None => Ok(()),
            Some(disk) => Err(format!(
                "the guest still has {} as {}, which was taken from it and may not answer: stop and start the instance",
                disk.source, disk.device
            )),
        }
    }

    /// Returns when the guest need not hold still any more.
    async fn wait(&self, hold: Hold) -> Result<(), String> {
        failpoint::hit("agent::freeze::frozen").map_err(|tripped| tripped.to_string())?;
        let until = self.known().freezes.get(&hold.guest).map(|freeze| freeze.until.subscribe());
        let mut until = until.ok_or("the agent forgot it")?;
        tracing::info!(placement = %hold.guest, freeze = %hold.id, kind = ?hold.kind, "a guest holds still");
        self.see(hold, FreezeState::Frozen);
        let longest = longest(hold.kind);
        let asked = tokio::time::timeout(longest, until.wait_for(|until| *until != Until::Further)).await;
        match asked {
            Ok(Ok(until)) if *until == Until::Taken => Ok(()),
            Ok(_) => Err("the guest was thawed because it was not wanted to hold still any more".into()),
            Err(_) => {
                Err(format!("the guest held still for {longest:?}, and not everything was taken by then"))
            }
        }
    }

    /// Thaws a guest, however long it takes; `held` is what its freeze answered where it was to hold still until now, or why that
    /// does not matter any more.
    async fn thaw(&self, hold: Hold, mut held: Result<u32, String>) {
        let (mut pause, longest) = again(hold.kind);
        let mut is_told = false;
        loop {
            match self.hypervisor.thaw(hold.guest, hold.kind).await {
                Ok(None) => held = held.and(Err("the guest went off while it held still".into())),
                // Restarted meanwhile, or thawed by somebody else.
                Ok(Some(count)) if held.as_ref().is_ok_and(|held| *held != count) => {
                    held = Err("the guest did not hold still until it was thawed".into());
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    let message = crate::chain(&error);
                    // It is tried for as long as a disk of the guest is away.
                    if !is_told {
                        tracing::error!(placement = %hold.guest, %message, "a guest that holds still cannot be thawed");
                        self.see(hold, FreezeState::Stuck { message: message.clone() });
                        is_told = true;
                    }
                    held = held.and(Err(message));
                    tokio::time::sleep(pause).await;
                    pause = longest.min(pause * 2);
                    continue;
                }
            }
            break;
        }
        let state = match (failpoint::hit("agent::freeze::thawed"), held) {
            (Ok(()), Ok(_)) => FreezeState::Held,
            (Ok(()), Err(message)) => FreezeState::Failed { message },
            (Err(tripped), _) => FreezeState::Failed { message: tripped.to_string() },
        };
        tracing::info!(placement = %hold.guest, ?state, "a guest goes on");
        self.end(hold, state).await;
    }

    async fn end(&self, of: Hold, state: FreezeState) {
        self.change(of, |freeze| {
            (freeze.record.over, freeze.over_at) = (Some(state.clone()), Some(Instant::now()));
        });
        self.save_or_log().await;
        self.see(of, state);
        self.over.notify_one();
    }

    fn see(&self, of: Hold, state: FreezeState) {
        self.change(of, |freeze| freeze.seen = Some(state));
        self.wake.notify_one();
    }

    /// Changes what is known of a freeze. Its guest may have another one by now, to which nothing of it applies.
    fn change(&self, of: Hold, change: impl FnOnce(&mut Freeze)) {
        let mut known = self.known();
        if let Some(freeze) = known.freezes.get_mut(&of.guest).filter(|freeze| freeze.record.id == of.id) {
            change(freeze);
        }
    }

    /// The guests that may hold still, and by which freezes.
    fn not_over(&self) -> Vec<Hold> {
        let known = self.known();
        let held = known.freezes.iter().filter(|(_, freeze)| freeze.record.over.is_none());
        held.map(|(id, freeze)| Hold { guest: *id, id: freeze.record.id, kind: freeze.record.kind }).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// Without it a guest that goes on already is thawed once more when the agent starts anew.
    async fn save_or_log(&self) {
        if let Err(message) = self.save().await {
            tracing::warn!(%message, "what became of a freeze is not written down");
        }
    }

    /// Writes all that is known to the file.
    async fn save(&self) -> Result<(), String> {
        let (known, file) = (Arc::clone(&self.known), Arc::clone(&self.file));
        let write = move || {
            // Whoever writes later writes what is newer.
            let file = lock(&file);
            let records: BTreeMap<_, _> =
                lock(&known).freezes.iter().map(|(id, freeze)| (*id, freeze.record.clone())).collect();
            durable::write(&file, &serde_json::to_vec(&records)?, MODE)
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(|_| "the agent ends".to_owned())?;
        written.map_err(|error| format!("freezes cannot be written down: {error}"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sources of the disks that a guest is to have.
fn disks(part: &NodePart, id: PlacementId) -> Vec<String> {
    let wanted = part.placements.iter().find(|one| one.id == id).map(|one| &one.wanted);
    let Some(PlacementPart::Present(spec)) = wanted else { return Vec::new() };
    root_of(spec).into_iter().chain(disks_of(spec)).map(|disk| disk.source_name()).collect()
}

/// The freezes that the part names, by their guests.
fn wanted(part: &NodePart) -> BTreeMap<PlacementId, WantedFreeze> {
    let freeze = |wanted: &PlacementPart| match wanted {
        PlacementPart::Present(spec) => spec.freeze,
        PlacementPart::Absent { .. } => None,
    };
    part.placements.iter().filter_map(|one| Some((one.id, freeze(&one.wanted)?))).collect()
}

#[cfg(test)]
mod tests;
