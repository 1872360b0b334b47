//! Snapshots.

use async_trait::async_trait;
use tepui_types::{ImageId, NodeId, PlacementId, PoolId, ProjectId, SnapshotId, VolumeId};

use crate::model::{InstanceState, Snapshot, SnapshotRecord, SnapshotSharing, SnapshotState, VolumeState};
use crate::{DbError, DeleteOutcome};

/// What became of taking snapshots. Everything but `Taking` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewSnapshotsOutcome {
    /// They are in the books; these nodes' agents take them, or have their guest hold still for them.
    Taking(Vec<NodeId>),
    /// The project has no such volume.
    VolumeMissing(VolumeId),
    /// The volume is in this state.
    VolumeState(VolumeId, VolumeState),
    /// The volume is between two pools: again in a moment.
    Moving(VolumeId),
    /// The instance that writes the volume holds still already, for other snapshots: again in a moment.
    HoldsStill(VolumeId),
    /// The volume is a local root disk, and its instance is in this state.
    RootState(VolumeId, InstanceState),
    /// The volume is a local root disk, and the pool that its row names takes nothing new: choose one, or another one.
    PoolLost(VolumeId, PoolId),
}

/// What became of a copy of a snapshot. Everything but `Copying` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySnapshotOutcome {
    /// It is in the books; this node's agent makes it.
    Copying(NodeId),
    /// There is no such snapshot that the project may use.
    SourceMissing(SnapshotId),
    /// The snapshot is in this state.
    SourceState(SnapshotId, SnapshotState),
    /// The pool was deleted or drained, or its node given up, since it was chosen: choose again.
    PoolLost(PoolId),
}

/// What became of a snapshot of an image. Everything but `Making` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotOfImageOutcome {
    /// It is in the books; this node's agent makes it.
    Making(NodeId),
    /// There is no such image that the project may launch.
    ImageMissing(ImageId),
    /// The pool was deleted or drained, or its node given up, since it was chosen: choose again.
    PoolLost(PoolId),
}

/// A change of who may see a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharingChange {
    /// These may from now on, and then those may not any more.
    Change {
        /// Who may.
        add: SnapshotSharing,
        /// Who may not.
        remove: SnapshotSharing,
    },
    /// Its owner alone may.
    Reset,
}

/// What became of such a change. Everything but `Changed` left all as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareOutcome {
    /// It is so now.
    Changed,
    /// The project has no such snapshot.
    NotFound,
    /// There is no such project to share with.
    ProjectMissing(ProjectId),
    /// It would be shared with more projects than it may.
    TooMany,
}

/// Snapshots.
#[async_trait]
pub trait SnapshotDb: Send + Sync {
    /// Takes snapshots of volumes of one project, all or none. Pool and size of each are those of its volume,
    /// whatever the rows say; of a local root disk the pool is that of the row.
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

    /// Makes a snapshot of the image `of`, in the pool of the row. What it holds and its size are the image's, whatever the
    /// row says; the image may go at once.
    async fn snapshot_of_image(
        &self,
        of: ImageId,
        snapshot: &Snapshot,
        tags: &[(String, String)],
    ) -> Result<SnapshotOfImageOutcome, DbError>;

    /// A project's snapshots, by id.
    async fn snapshots(&self, project: ProjectId) -> Result<Vec<SnapshotRecord>, DbError>;

    /// The snapshots of others that a project may use or will, by id, without their tags.
    async fn shared_snapshots(&self, project: ProjectId) -> Result<Vec<SnapshotRecord>, DbError>;

    /// Changes who may see one of the project's snapshots: at most `max` projects by their ids.
    async fn share_snapshot(
        &self,
        project: ProjectId,
        id: SnapshotId,
        change: &SharingChange,
        max: usize,
    ) -> Result<ShareOutcome, DbError>;

    /// Deletes a snapshot; with the node to wake. Volumes and copies of the same project that are still being made from
    /// it need it; what others make of it fails, where its host has not made it yet.
    async fn delete_snapshot(
        &self,
        project: ProjectId,
        id: SnapshotId,
    ) -> Result<(DeleteOutcome, Option<NodeId>), DbError>;

    /// The placement of whose local root disk a pending snapshot is to be taken, and its node; `None` once that disk goes or
    /// is gone.
    async fn root_of_snapshot(&self, id: SnapshotId) -> Result<Option<(PlacementId, NodeId)>, DbError>;

    /// How many snapshots of the cloud are in each state.
    async fn snapshot_counts(&self) -> Result<Vec<(SnapshotState, u64)>, DbError>;
}
