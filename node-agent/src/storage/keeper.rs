//! Keeps the pools as the ledger wants them, and what was seen of them for the report.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tepui_storage::{Content, PoolError};
use tepui_types::agent::{ExportState, PoolState, StorageObserved, StoragePart, StoredState, WantedSending};
use tokio::sync::Notify;

use super::Storage;

/// Until the next look where all is as wanted: the use of a pool changes by itself.
const AGAIN: Duration = Duration::from_secs(30);
/// Until the next try where something is not.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// The part of a pool's size by which its use must change to be news, so that a guest that writes does not make its
/// storage host report all the time.
const NEWS_OF_USE: u64 = 100;

/// The pools and what was seen of them last.
pub struct StorageKeeper {
    storage: Arc<dyn Storage>,
    /// The ledger may want something else.
    pub(crate) wake: Notify,
    seen: Mutex<Option<StorageObserved>>,
}

impl StorageKeeper {
    /// A keeper that has not looked yet.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, wake: Notify::new(), seen: Mutex::default() }
    }

    /// What was seen last; `None` on a host without a storage part, and before the first look.
    pub fn seen(&self) -> Option<StorageObserved> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the pools as wanted; whether what was seen is news, and when to look again at the latest.
    pub async fn apply(&self, part: &StoragePart) -> (bool, Duration) {
        let mut now = self.storage.apply(part).await;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = &*seen {
            keep_use(before, &mut now);
        }
        let pause = if is_settled(&now) { AGAIN } else { AGAIN_AFTER_FAILURE };
        let news = seen.as_ref() != Some(&now);
        if news {
            tell(seen.as_ref(), &now);
            *seen = Some(now);
        }
        (news, pause)
    }

    /// Opens what a snapshot holds.
    ///
    /// # Errors
    /// Those of [`Storage::content`].
    pub async fn content(&self, order: WantedSending) -> Result<Content, PoolError> {
        self.storage.content(order).await
    }

    /// Returns when something that served volumes has ended.
    pub async fn ended(&self) {
        self.storage.ended().await;
    }

    /// Returns when something for which a volume waited has come or failed.
    pub async fn arrived(&self) {
        self.storage.arrived().await;
    }
}

/// Shows the use of before where it has hardly changed.
fn keep_use(before: &StorageObserved, now: &mut StorageObserved) {
    for pool in &mut now.pools {
        let PoolState::Ready { total_bytes, used_bytes } = &mut pool.state else { continue };
        let old = before.pools.iter().find(|old| old.id == pool.id).map(|old| &old.state);
        if let Some(PoolState::Ready { total_bytes: total, used_bytes: used }) = old
            && total == total_bytes
            && used.abs_diff(*used_bytes) < *total_bytes / NEWS_OF_USE
        {
            *used_bytes = *used;
        }
    }
}

fn is_settled(seen: &StorageObserved) -> bool {
    let stored = |state: &StoredState| matches!(state, StoredState::Present { .. } | StoredState::Gone);
    seen.pools.iter().all(|pool| matches!(pool.state, PoolState::Ready { .. }))
        && seen.volumes.iter().all(|volume| stored(&volume.state))
        && seen.snapshots.iter().all(|snapshot| stored(&snapshot.state))
        && seen
            .exports
            .iter()
            .all(|export| matches!(export.state, ExportState::Open { .. } | ExportState::Gone))
}

/// Says in the log what went wrong since.
fn tell(before: Option<&StorageObserved>, now: &StorageObserved) {
    for pool in &now.pools {
        let is_new = !before.is_some_and(|before| before.pools.contains(pool));
        if let (PoolState::Failed { message }, true) = (&pool.state, is_new) {
            tracing::error!(pool = %pool.id, %message, "a pool cannot be used");
        }
    }
    for volume in &now.volumes {
        let is_new = !before.is_some_and(|before| before.volumes.contains(volume));
        match &volume.state {
            StoredState::Awaited { message } if is_new => {
                tracing::info!(volume = %volume.id, %message, "a volume is not there yet");
            }
            StoredState::Failed { message, .. } if is_new => {
                tracing::error!(volume = %volume.id, %message, "a volume is not as wanted");
            }
            StoredState::Failed { .. }
            | StoredState::Awaited { .. }
            | StoredState::Present { .. }
            | StoredState::Gone => {}
        }
    }
    for snapshot in &now.snapshots {
        let is_new = !before.is_some_and(|before| before.snapshots.contains(snapshot));
        match &snapshot.state {
            StoredState::Awaited { message } if is_new => {
                tracing::info!(snapshot = %snapshot.id, %message, "a snapshot is not there yet");
            }
            StoredState::Failed { message, .. } if is_new => {
                tracing::error!(snapshot = %snapshot.id, %message, "a snapshot is not as wanted");
            }
            StoredState::Failed { .. }
            | StoredState::Awaited { .. }
            | StoredState::Present { .. }
            | StoredState::Gone => {}
        }
    }
    for export in &now.exports {
        let is_new = !before.is_some_and(|before| before.exports.contains(export));
        if let (ExportState::Failed { message }, true) = (&export.state, is_new) {
            tracing::error!(export = %export.id, %message, "an export is not as wanted");
        }
    }
}
