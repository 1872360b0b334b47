//! Tests of snapshots, which take as long as their bytes do. One at a time is made beside everything else and begins while
//! nothing is copied; one that was cut off is begun anew. Nobody ever waits for one to end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tepui_storage::{Copying, Pool, PoolError};
use tepui_types::agent::{TestObserved, TestOutcome, WantedTest};
use tepui_types::{Digest, PoolId, SnapshotTestId};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, oneshot};

/// The tests of this host.
#[derive(Default)]
pub(super) struct RestoreTests {
    state: Mutex<State>,
    ended: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// Also one that was called off, until it has ended.
    running: Option<Running>,
    /// What came of those that the part still names: the control plane may not have heard of it.
    over: BTreeMap<SnapshotTestId, TestOutcome>,
}

struct Running {
    id: SnapshotTestId,
    pool: PoolId,
    reading: Arc<Copying>,
    told: oneshot::Receiver<Result<Digest, PoolError>>,
}

/// Without it the end of the process would wait for all the bytes.
impl Drop for Running {
    fn drop(&mut self) {
        self.reading.give_up();
    }
}

impl RestoreTests {
    /// Calls off the test in a pool that is let go of; it is begun anew where it is still wanted.
    pub(super) fn let_go(&self, pool: PoolId) {
        let state = self.lock();
        state.running.iter().filter(|running| running.pool == pool).for_each(|one| one.reading.give_up());
    }

    /// Calls off what is not wanted any more, and begins the next one where none is under way and it `may_begin`; what came
    /// of those that are over. One in a pool that cannot be used waits for it.
    pub(super) fn apply(
        &self,
        pools: &BTreeMap<PoolId, Arc<Pool>>,
        wanted: &[WantedTest],
        may_begin: bool,
    ) -> Vec<TestObserved> {
        let mut state = self.lock();
        state.take_ended();
        let is_wanted = |id: &SnapshotTestId| wanted.iter().any(|one| one.id == *id);
        state.over.retain(|id, _| is_wanted(id));
        state.running.iter().filter(|one| !is_wanted(&one.id)).for_each(|one| one.reading.give_up());
        if state.running.is_none() && may_begin {
            let next = wanted.iter().filter(|one| !state.over.contains_key(&one.id));
            let mut next = next.filter_map(|one| Some((one, pools.get(&one.pool_id)?)));
            state.running = next.next().map(|(one, pool)| self.begin(one, Arc::clone(pool)));
        }
        let over = wanted.iter().filter_map(|one| {
            let outcome = state.over.get(&one.id)?.clone();
            Some(TestObserved { id: one.id, outcome })
        });
        over.collect()
    }

    fn begin(&self, one: &WantedTest, pool: Arc<Pool>) -> Running {
        let (reading, ended) = (Arc::new(Copying::default()), Arc::clone(&self.ended));
        let (own, snapshot) = (Arc::clone(&reading), one.snapshot_id);
        let (told_to, told) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let restored = pool.restore_for_test(snapshot);
            // A pool that is let go of meanwhile is another's to open.
            drop(pool);
            // One that was called off is not asked for.
            let _ = told_to.send(restored.and_then(|restored| restored.digest(&own)));
            ended.notify_one();
        });
        tracing::info!(%snapshot, test = %one.id, "testing a snapshot");
        Running { id: one.id, pool: one.pool_id, reading, told }
    }

    /// Returns when one has ended.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps what became of the one that was under way, if it has ended. Of one that was called off there is nothing to
    /// keep.
    fn take_ended(&mut self) {
        let Some(running) = &mut self.running else { return };
        let outcome = match running.told.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Closed) | Ok(Err(PoolError::Stopped)) => None,
            Ok(Ok(digest)) => Some(TestOutcome::Read { digest }),
            Ok(Err(error)) => Some(TestOutcome::Failed { message: crate::chain(&error) }),
        };
        let id = running.id;
        self.running = None;
        if let Some(TestOutcome::Failed { message }) = &outcome {
            tracing::error!(test = %id, %message, "a snapshot cannot be restored");
        }
        self.over.extend(outcome.map(|outcome| (id, outcome)));
    }
}
