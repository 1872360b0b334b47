//! Snapshots.

use async_trait::async_trait;
use tepui_types::{NodeId, PoolId, ProjectId, SnapshotId, VolumeId};

use crate::model::{Snapshot, SnapshotRecord, SnapshotState, VolumeState};
use crate::{DbError, DeleteOutcome};

/// What became of taking snapshots. Everything but `Taking` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewSnapshotsOutcome {
    /// They are in the books; these nodes' agents take them.
    Taking(Vec<NodeId>),
    /// The project has no such volume.
    VolumeMissing(VolumeId),
    /// The volume is in this state.
    VolumeState(VolumeId, VolumeState),
}

/// What became of a copy of a snapshot. Everything but `Copying` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySnapshotOutcome {
    /// It is in the books; this node's agent makes it.
    Copying(NodeId),
    /// The project has no such snapshot.
    SourceMissing(SnapshotId),
    /// The snapshot is in this state.
    SourceState(SnapshotId, SnapshotState),
    /// The pool was deleted or drained, or its node given up, since it was chosen: choose again.
    PoolLost(PoolId),
    /// The pool is another host's than the snapshot's.
    OtherHost(PoolId),
}

/// Snapshots.
#[async_trait]
pub trait SnapshotDb: Send + Sync {
    /// Takes snapshots of volumes of one project, all or none. Pool and size of each are those of its volume,
    /// whatever the rows say.
    async fn create_snapshots(
        &self,
        snapshots: &[Snapshot],
        tags: &[(SnapshotId, String, String)],
    ) -> Result<NewSnapshotsOutcome, DbError>;

    /// Makes a copy of the snapshot `of`, in the pool of the row. Its size is that of `of`, whatever the row says.
    async fn copy_snapshot(
        &self,
        of: SnapshotId,
        copy: &Snapshot,
        tags: &[(String, String)],
    ) -> Result<CopySnapshotOutcome, DbError>;

    /// A project's snapshots, by id.
    async fn snapshots(&self, project: ProjectId) -> Result<Vec<SnapshotRecord>, DbError>;

    /// Deletes a snapshot; with the node to wake. Volumes and copies that are still being made from it need it.
    async fn delete_snapshot(
        &self,
        project: ProjectId,
        id: SnapshotId,
    ) -> Result<(DeleteOutcome, Option<NodeId>), DbError>;

    /// How many snapshots of the cloud are in each state.
    async fn snapshot_counts(&self) -> Result<Vec<(SnapshotState, u64)>, DbError>;
}
