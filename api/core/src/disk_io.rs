//! What guests did with their volumes, by the word of their hosts. A report in memory, as heartbeats: after a restart
//! it begins anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tepui_types::agent::{DiskIo, IoCounters};
use tepui_types::{ExportId, NodeId, PoolId, Timestamp};

use crate::{Cloud, Error};

/// The counters of volumes in use, and what was counted in each pool since this process began.
pub(crate) struct IoBook {
    /// When this process began.
    since: Timestamp,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    disks: HashMap<ExportId, Disk>,
    pools: HashMap<PoolId, IoCounters>,
}

/// A volume in use.
struct Disk {
    node: NodeId,
    pool: PoolId,
    /// It was attached since this process began: all that its guest did is counted. What was done before is not.
    is_young: bool,
    /// Its host's last word.
    told: Option<IoCounters>,
}

impl IoBook {
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node is known to have all of these.
    fn has(&self, node: NodeId, said: &[DiskIo]) -> bool {
        let inner = self.inner();
        said.iter().all(|one| inner.disks.get(&one.export_id).is_some_and(|disk| disk.node == node))
    }

    /// Notes what a node has, and forgets what it has not any more.
    fn learn(&self, node: NodeId, exports: &[(ExportId, PoolId, Timestamp)]) {
        let mut inner = self.inner();
        inner.disks.retain(|id, disk| disk.node != node || exports.iter().any(|(export, ..)| export == id));
        for &(export, pool, attached) in exports {
            let is_young = attached >= self.since;
            inner.disks.entry(export).or_insert(Disk { node, pool, is_young, told: None });
        }
    }

    /// Takes a node's word; what it has not counts for nothing.
    fn take(&self, node: NodeId, said: &[DiskIo]) {
        let Inner { disks, pools } = &mut *self.inner();
        for DiskIo { export_id, counters } in said {
            let Some(disk) = disks.get_mut(export_id).filter(|disk| disk.node == node) else { continue };
            let before = disk.told.replace(*counters).or(disk.is_young.then(IoCounters::default));
            let pool = pools.entry(disk.pool).or_default();
            *pool = pool.and(before.map(|before| counters.since(before)).unwrap_or_default());
        }
    }

    /// What the guest that has the volume by this attachment did with it.
    pub(crate) fn of(&self, export: ExportId) -> Option<IoCounters> {
        self.inner().disks.get(&export)?.told
    }

    /// What was counted in a pool.
    pub(crate) fn of_pool(&self, pool: PoolId) -> IoCounters {
        self.inner().pools.get(&pool).copied().unwrap_or_default()
    }

    /// Forgets a node that was given up.
    pub(crate) fn forget(&self, node: NodeId) {
        self.inner().disks.retain(|_, disk| disk.node != node);
    }
}

impl Cloud {
    /// Takes what a node says of its guests' volumes. The store is asked only where it names one for the first time.
    pub(crate) async fn take_io(&self, node: NodeId, said: &[DiskIo]) -> Result<(), Error> {
        if !self.io.has(node, said) {
            let turn = self.host_turn().await?;
            let exports = self.db.exports_of(node).await?;
            drop(turn);
            self.io.learn(node, &exports);
        }
        self.io.take(node, said);
        Ok(())
    }
}
