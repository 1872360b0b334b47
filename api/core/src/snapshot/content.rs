//! Reading what a snapshot holds.

use tepui_db::model::{Pool, Snapshot, SnapshotState};
use tepui_types::agent::WantedSending;
use tepui_types::{NodeId, PoolId, ProjectId, SendingId, SnapshotId};
use tokio::sync::SemaphorePermit;

use super::not_completed;
use crate::sending::Content;
use crate::{Caller, Cloud, Error, Kind};

impl Cloud {
    /// The content of one of the caller's snapshots from `offset` on, from its host. Whom it is shared with makes a
    /// copy first.
    ///
    /// # Errors
    /// `NotFound`, `WrongState` for one that is not completed, `LimitExceeded`, `Busy`, `Unreadable`, `InvalidInput` for an
    /// offset behind its end.
    pub async fn snapshot_content(
        &self,
        caller: &Caller,
        id: SnapshotId,
        offset: u64,
    ) -> Result<Content, Error> {
        let snapshot = self.snapshot(caller, id).await?;
        if snapshot.state != SnapshotState::Completed {
            return Err(not_completed(id, snapshot.state));
        }
        let pool = self.pool_of(snapshot.pool_id).await?;
        // A reader that waits for a host keeps nobody out.
        caller.turn.leave();
        let sending = SendingId::from_random(self.random());
        let (pool_id, root_of) = (pool.id, None);
        let order = WantedSending { id: sending, pool_id, snapshot_id: id, offset, root_of };
        self.request_content(pool.node_id, (caller.project, bytes(&snapshot)), order).await
    }

    /// The content of a snapshot of which a node is to make a copy, from the host that has it; or of one that it is to make
    /// of a local root disk, from the host of the instance.
    ///
    /// # Errors
    /// `NotFound` for what the node is not to copy, and for what was deleted or terminated before it was; else as
    /// [`Cloud::snapshot_content`].
    pub async fn content_for_copy(&self, node: NodeId, of: SnapshotId) -> Result<Content, Error> {
        let not_found = || Error::not_found(Kind::Snapshot, of);
        let turn = self.host_turn().await?;
        let wanted = self.db.storage_part(node).await?.ok_or_else(not_found)?;
        let is_root =
            |one: &&Snapshot| one.id == of && one.state == SnapshotState::Pending && one.root_of.is_some();
        if let Some(root) = wanted.snapshots.iter().find(is_root) {
            return self.root_content(root, turn).await;
        }
        let is_copied = |one: &&Snapshot| {
            one.state == SnapshotState::Pending && one.copy_of.is_some_and(|source| source.snapshot_id == of)
        };
        let copy = wanted.snapshots.iter().find(is_copied).ok_or_else(not_found)?;
        let source = copy.copy_of.ok_or_else(not_found)?;
        // What a move copies is nobody's, and takes none of the downloads that its project may have at once.
        let is_of_move = wanted.moves.iter().any(|one| one.target_id == copy.id);
        let project = if is_of_move { ProjectId::from_random(0) } else { copy.project_id };
        let pool = self.pool_of(source.pool_id).await?;
        let held = self.db.storage_part(pool.node_id).await?.ok_or_else(not_found)?;
        drop(turn);
        let is_there = |one: &&Snapshot| one.id == of && one.state == SnapshotState::Completed;
        let held = held.snapshots.iter().find(is_there).ok_or_else(not_found)?;
        let sending = SendingId::from_random(self.random());
        let (pool_id, root_of) = (pool.id, None);
        let order = WantedSending { id: sending, pool_id, snapshot_id: of, offset: 0, root_of };
        self.request_content(pool.node_id, (project, bytes(held)), order).await
    }

    /// The host of the instance captures its disk first.
    async fn root_content(&self, root: &Snapshot, turn: SemaphorePermit<'_>) -> Result<Content, Error> {
        let place = self.db.root_of_snapshot(root.id).await?;
        drop(turn);
        let (placement, node) = place.ok_or_else(|| Error::not_found(Kind::Volume, root.volume_id))?;
        let order = WantedSending {
            id: SendingId::from_random(self.random()),
            pool_id: root.pool_id,
            snapshot_id: root.id,
            offset: 0,
            root_of: Some(placement),
        };
        self.request_content(node, (root.project_id, bytes(root)), order).await
    }

    async fn pool_of(&self, id: PoolId) -> Result<Pool, Error> {
        let found = self.db.pools().await?.into_iter().map(|load| load.pool).find(|pool| pool.id == id);
        found.ok_or_else(|| Error::not_found(Kind::Pool, id))
    }
}

/// The size of its disk.
fn bytes(snapshot: &Snapshot) -> u64 {
    u64::from(snapshot.size_gib) << 30
}
