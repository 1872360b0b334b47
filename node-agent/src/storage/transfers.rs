//! Copies of snapshots to one of this host's pools from another, or from another host, which take as long as their bytes do.
//! One at a time is made beside everything else, and one of a root disk beside that; one that was cut off is begun anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use tepui_storage::{Copying, Pool, PoolError};
use tepui_types::SnapshotId;
use tepui_types::agent::{SnapshotObserved, SnapshotPart, SnapshotSource, StoredState, WantedSnapshot};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::receive::{ContentSource, TransferError, receive};
use crate::plan::retry_delay;

/// The transfers of this host.
pub(super) struct Transfers {
    contents: Arc<dyn ContentSource>,
    state: Mutex<State>,
    ended: Arc<Notify>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<Lane, Running>,
    /// Those whose last try failed, and that are still wanted.
    failed: BTreeMap<SnapshotId, Failed>,
}

struct Failed {
    why: StoredState,
    is_permanent: bool,
    /// How often in a row.
    tries: u32,
    at: Instant,
}

impl Failed {
    /// Whether it may be tried again by now.
    fn is_due(&self) -> bool {
        !self.is_permanent && self.at.elapsed() >= retry_delay(self.tries)
    }
}

struct Running {
    id: SnapshotId,
    copying: Arc<Copying>,
    told: oneshot::Receiver<Result<(), TransferError>>,
    /// What waits for the network; the thread that writes ends with it.
    task: Option<AbortHandle>,
}

impl Running {
    fn give_up(&self) {
        self.copying.give_up();
        self.task.iter().for_each(AbortHandle::abort);
    }
}

/// Without it the end of the process would wait for all the bytes.
impl Drop for Running {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// What waits for what: one is under way in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// What others hold already. It moves as fast as disks and network do.
    Copies,
    /// Snapshots of root disks that are local to their hosts, which first wait until they are captured, for hours perhaps.
    Roots,
}

/// One that is wanted, the pool that it goes to, and where it comes from.
pub(super) struct Transfer {
    pub(super) id: SnapshotId,
    pub(super) to: Arc<Pool>,
    /// `None` from another host.
    pub(super) from: Option<Arc<Pool>>,
    pub(super) source: SnapshotId,
}

impl Transfer {
    /// The snapshot of a root disk is its own source.
    fn lane(&self) -> Lane {
        if self.source == self.id { Lane::Roots } else { Lane::Copies }
    }
}

/// The source of a snapshot that is to be copied from another pool than its own.
pub(super) fn source_elsewhere(wanted: &WantedSnapshot) -> Option<SnapshotSource> {
    match wanted.wanted {
        SnapshotPart::Present { copy_of, taken: false, .. } => {
            copy_of.filter(|source| source.pool_id != wanted.pool_id)
        }
        SnapshotPart::Present { taken: true, .. } | SnapshotPart::Absent => None,
    }
}

impl Transfers {
    /// None yet; `contents` brings what other hosts have.
    pub(super) fn new(contents: Arc<dyn ContentSource>) -> Self {
        Self { contents, state: Mutex::default(), ended: Arc::default() }
    }

    /// Calls off what is not among `wanted` any more, and waits for it: nothing of it is left then.
    pub(super) async fn retain(&self, wanted: &[WantedSnapshot]) {
        let is_wanted =
            |id: SnapshotId| wanted.iter().any(|one| one.id == id && source_elsewhere(one).is_some());
        let mut state = self.state.lock().await;
        state.failed.retain(|id, _| is_wanted(*id));
        let (stay, go): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut state.running).into_iter().partition(|(_, running)| is_wanted(running.id));
        state.running = stay;
        for running in go.into_values() {
            running.stopped().await;
        }
    }

    /// Begins the next of `due`, which are not there yet, in each lane where none is under way; what is to be said of those that
    /// failed. Of the others nothing is known yet.
    pub(super) async fn apply(&self, due: Vec<Transfer>) -> Vec<SnapshotObserved> {
        let mut state = self.state.lock().await;
        for (id, made) in state.take_ended() {
            let before = state.failed.remove(&id);
            if let Err(error) = made {
                let tries = before.map_or(0, |before| before.tries).saturating_add(1);
                let (why, is_permanent) = (error.state(), error.is_permanent());
                state.failed.insert(id, Failed { why, is_permanent, tries, at: Instant::now() });
            }
        }
        let seen = due.iter().filter_map(|one| {
            let state = state.failed.get(&one.id)?.why.clone();
            Some(SnapshotObserved { id: one.id, state })
        });
        let seen = seen.collect();
        let (copies, roots) = due.into_iter().partition(|one| one.lane() == Lane::Copies);
        for (lane, due) in [(Lane::Copies, copies), (Lane::Roots, roots)] {
            if state.running.contains_key(&lane) {
                continue;
            }
            if let Some(next) = state.next(due) {
                state.running.insert(lane, self.begin(next));
            }
        }
        seen
    }

    fn begin(&self, Transfer { id, to, from, source }: Transfer) -> Running {
        let (copying, ended) = (Arc::new(Copying::default()), Arc::clone(&self.ended));
        let own = Arc::clone(&copying);
        let (told_to, told) = oneshot::channel();
        let tell = move |made| {
            // One that was called off is not asked for.
            let _ = told_to.send(made);
            ended.notify_one();
        };
        let task = match from {
            Some(from) => {
                let transfer = move || to.transfer_snapshot(id, (&from, source), &own).map(drop);
                tokio::task::spawn_blocking(move || tell(transfer().map_err(TransferError::from)));
                None
            }
            None => {
                let work = receive(Arc::clone(&self.contents), (id, source), to, own, tell);
                Some(tokio::spawn(work).abort_handle())
            }
        };
        Running { id, copying, told, task }
    }

    /// Whether no copy is under way. Roots do not count: most of their time they wait.
    pub(super) async fn is_idle(&self) -> bool {
        !self.state.lock().await.running.contains_key(&Lane::Copies)
    }

    /// Returns when one has ended.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl State {
    /// What became of those that were under way and have ended.
    fn take_ended(&mut self) -> Vec<(SnapshotId, Result<(), TransferError>)> {
        let mut ended = Vec::new();
        self.running.retain(|_, running| {
            let made = match running.told.try_recv() {
                Ok(made) => made,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Closed) => Err(PoolError::Stopped.into()),
            };
            ended.push((running.id, made));
            false
        });
        ended
    }

    /// One that was not tried yet comes first, then the one that waits for its next try the longest.
    fn next(&self, due: Vec<Transfer>) -> Option<Transfer> {
        let failed = |one: &Transfer| self.failed.get(&one.id);
        due.into_iter()
            .filter(|one| failed(one).is_none_or(Failed::is_due))
            .min_by_key(|one| failed(one).map(|failed| failed.at))
    }
}

impl Running {
    async fn stopped(mut self) {
        self.give_up();
        // Whatever became of it, it has ended.
        let _ = (&mut self.told).await;
    }
}
