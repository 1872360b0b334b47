//! Work that no request asks for. Each reconciler takes no input, looks at the whole, changes what
//! is due, and is safe to run at any time. They do not retry: the next round is the retry.

use jiff::Timestamp;
use std::time::Duration;
use tepui_db::Cutoffs;
use tepui_db::model::{NodeEvent, NodeLoad, NodeState};
use tokio_util::sync::CancellationToken;

use crate::{Cloud, Error};

/// Rows that one transaction of the purge deletes: a few milliseconds of the writer.
const PURGE_BATCH: u32 = 500;
/// Batches of one round, so that a large backlog does not hold up the other reconcilers.
const PURGE_BATCHES: u32 = 20;

impl Cloud {
    /// Runs every reconciler, on a signal and on a timer, until `cancel`.
    pub async fn run_reconcilers(&self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            self.reconcile_once().await;
            let wait = tokio::time::timeout(self.config.reconcile_interval, self.reconcile.notified());
            tokio::select! {
                () = cancel.cancelled() => {}
                _signal_or_timer = wait => {}
            }
        }
    }

    /// Runs every reconciler once. A failure is logged and keeps no other from its work.
    pub async fn reconcile_once(&self) {
        log("node liveness", self.reconcile_liveness().await.map(|()| 0));
        log("purge", self.purge().await);
    }

    /// Turns silent nodes unreachable and those that speak again up.
    async fn reconcile_liveness(&self) -> Result<(), Error> {
        let now = self.now();
        for load in self.db.nodes().await? {
            if load.node.state == NodeState::Unreachable {
                // After a restart it is not silent yet; only its own word makes it up again.
                self.fleet.presume_silent(load.node.id);
            }
            if let Some(state) = self.due_state(&load)
                && self.db.set_node_state(load.node.id, state, now).await?
            {
                tracing::warn!(node = %load.node.id, name = load.node.name, ?state, "node changed state");
            }
        }
        Ok(())
    }

    fn due_state(&self, load: &NodeLoad) -> Option<NodeState> {
        let silent = self.fleet.is_silent(load.node.id, self.steady(), self.config.node_timeout);
        load.node.state.after(if silent { NodeEvent::Silence } else { NodeEvent::SignOfLife })
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

    fn ago(&self, age: Duration) -> Result<Timestamp, Error> {
        self.clock.earliest().checked_sub(age).map_err(Error::internal)
    }
}

fn log(work: &str, result: Result<u32, Error>) {
    match result {
        Ok(0) => {}
        Ok(count) => tracing::info!(work, count, "reconciled"),
        Err(error) => tracing::warn!(work, %error, "not reconciled; the next round tries again"),
    }
}
