//! Work that no request asks for. Each reconciler takes no input, looks at the whole, changes what
//! is due, and is safe to run at any time. They do not retry: the next round is the retry.

use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use tepui_db::Cutoffs;
use tepui_db::model::{NodeEvent, NodeLoad, NodeState};
use tokio_util::sync::CancellationToken;

use crate::{Cloud, Error};

/// Nodes whose state is changed at once, in one commit: after a cut of the network it may be all.
const AT_ONCE: usize = 256;
/// How long a signal waits for others, so that many nodes that come back are one round.
const GATHER: Duration = Duration::from_millis(100);
/// Rows that one transaction of the purge deletes: a few milliseconds of the writer.
const PURGE_BATCH: u32 = 500;
/// Batches of one round, so that a large backlog does not hold up the other reconcilers.
const PURGE_BATCHES: u32 = 20;

/// What is done in the background, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciler {
    /// Nodes become unreachable, and up again.
    Liveness,
    /// Snapshots are taken that are due, and deleted that are not kept any more.
    Schedules,
    /// Owners of volumes whose end is near are warned, and what is over is deleted.
    VolumeEnds,
    /// Volumes go to other pools whose own is drained of them.
    Moves,
    /// Files of what was removed are unlinked once their grace is over.
    Quarantine,
    /// Snapshots fail whose guest's hold nobody will end.
    Freezes,
    /// What is over is forgotten.
    Purge,
}

impl Reconciler {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Liveness,
        Self::Schedules,
        Self::VolumeEnds,
        Self::Moves,
        Self::Quarantine,
        Self::Freezes,
        Self::Purge,
    ];

    /// In the log and in the list of what can be cut off.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Liveness => "node liveness",
            Self::Schedules => "snapshot schedules",
            Self::VolumeEnds => "volume ends",
            Self::Moves => "moves of volumes",
            Self::Quarantine => "quarantine",
            Self::Freezes => "frozen guests",
            Self::Purge => "purge",
        }
    }
}

impl Cloud {
    /// Runs every reconciler, on a signal and on a timer, until `cancel`.
    pub async fn run_reconcilers(&self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            self.reconcile_once().await;
            let wait = tokio::time::timeout(self.config.reconcile_interval, self.reconcile.notified());
            tokio::select! {
                () = cancel.cancelled() => {}
                signal_or_timer = wait => if signal_or_timer.is_ok() {
                    tokio::time::sleep(GATHER).await;
                }
            }
        }
    }

    /// Runs every reconciler once. A failure is logged and keeps no other from its work.
    pub async fn reconcile_once(&self) {
        for reconciler in Reconciler::ALL {
            let result = match reconciler {
                Reconciler::Liveness => self.reconcile_liveness().await,
                Reconciler::Schedules => self.run_schedules().await,
                Reconciler::VolumeEnds => self.end_volumes().await,
                Reconciler::Moves => self.run_moves().await,
                Reconciler::Quarantine => self.unlink_due().await,
                Reconciler::Freezes => self.expire_freezes().await,
                Reconciler::Purge => self.purge().await,
            };
            log(reconciler.name(), result);
        }
    }

    /// Turns silent nodes unreachable and those that speak again up. The store is read only where a
    /// node's silence began or ended since it was read last.
    async fn reconcile_liveness(&self) -> Result<u32, Error> {
        let (steady, timeout) = (self.steady(), self.config.node_timeout);
        if self.fleet.is_agreed(steady, timeout) {
            return Ok(0);
        }
        let mut nodes = self.db.nodes().await?;
        nodes.retain(|load| load.node.state != NodeState::Expunged);
        for load in nodes.iter().filter(|load| load.node.state == NodeState::Unreachable) {
            // After a restart it is not silent yet; only its own word makes it up again.
            self.fleet.presume_silent(load.node.id);
        }
        let silent = |load: &NodeLoad| self.fleet.is_silent(load.node.id, steady, timeout);
        let silences: Vec<bool> = nodes.iter().map(silent).collect();
        let due: Vec<_> = nodes
            .iter()
            .zip(&silences)
            .filter_map(|(load, silent)| Some((load, due(load, *silent)?)))
            .collect();
        let mut count = 0;
        for batch in due.chunks(AT_ONCE) {
            let changes = batch.iter().map(|(load, state)| self.change_state(load, *state));
            count += try_join_all(changes).await?.into_iter().map(u32::from).sum::<u32>();
        }
        self.fleet.agreed(nodes.iter().map(|load| load.node.id).zip(silences));
        Ok(count)
    }

    async fn change_state(&self, load: &NodeLoad, state: NodeState) -> Result<bool, Error> {
        let changed = self.db.set_node_state(load.node.id, state, self.now()).await?;
        if changed {
            tracing::warn!(node = %load.node.id, name = load.node.name, ?state, "node changed state");
        }
        Ok(changed)
    }

    /// Forgets what is over and older than its retention, a transaction a batch; what one round leaves
    /// the next one takes.
    async fn purge(&self) -> Result<u32, Error> {
        let keep = &self.config.retention;
        let before = Cutoffs {
            terminated_instances: self.ago(keep.terminated_instances)?,
            client_tokens: self.ago(keep.client_tokens)?,
            audit: self.ago(keep.audit)?,
            import_tasks: self.ago(keep.import_tasks)?,
            join_tokens: self.ago(keep.join_tokens)?,
        };
        let mut purged = 0;
        for _ in 0..PURGE_BATCHES {
            let count = self.db.purge(&before, PURGE_BATCH).await?;
            purged += count;
            if count < PURGE_BATCH {
                break;
            }
        }
        Ok(purged)
    }

    pub(crate) fn ago(&self, age: Duration) -> Result<Timestamp, Error> {
        self.clock.earliest().checked_sub(age).map_err(Error::internal)
    }
}

/// The state that a node should have and has not.
fn due(load: &NodeLoad, silent: bool) -> Option<NodeState> {
    load.node.state.after(if silent { NodeEvent::Silence } else { NodeEvent::SignOfLife })
}

fn log(work: &str, result: Result<u32, Error>) {
    match result {
        Ok(0) => {}
        Ok(count) => tracing::info!(work, count, "reconciled"),
        Err(error) => tracing::warn!(work, %error, "not reconciled; the next round tries again"),
    }
}
