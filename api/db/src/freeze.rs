//! Snapshots that are taken while their guest holds still.

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::{FreezeId, InstanceId, NodeId, SnapshotId, VolumeId};

use crate::model::{Snapshot, VolumeState};
use crate::{DbError, NewSnapshotsOutcome};

/// What became of asking for it. Everything but `Freezing` left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeOutcome {
    /// It is in the books; this node's agent asks the guest to hold still.
    Freezing(NodeId),
    /// The project has no such volume.
    VolumeMissing(VolumeId),
    /// The volume is in this state.
    VolumeState(VolumeId, VolumeState),
    /// The volume is a root disk that is local to its instance's node.
    LocalRoot(VolumeId),
    /// No running instance has the volume.
    NotRunning(VolumeId),
    /// The volume is another instance's than those before it.
    OtherInstance(VolumeId),
    /// The instance of the volume holds still already, for other snapshots.
    Busy(VolumeId),
}

/// What a guest's node says of a freeze.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeNews {
    /// The guest holds still.
    Frozen(FreezeId),
    /// It did until it was thawed because it was wanted thawed.
    Held(FreezeId),
    /// It did not.
    Failed(FreezeId, String),
}

/// Snapshots that are taken while their guest holds still.
#[async_trait]
pub trait FreezeDb: Send + Sync {
    /// Takes snapshots of volumes of one running instance, all or none, once the file systems of its guest hold still. Pool and size of each
    /// are those of its volume, whatever the rows say.
    async fn freeze_snapshots(
        &self,
        id: FreezeId,
        snapshots: &[Snapshot],
        tags: &[(SnapshotId, String, String)],
        now: Timestamp,
    ) -> Result<FreezeOutcome, DbError>;

    /// Takes snapshots as [`create_snapshots`](crate::SnapshotDb::create_snapshots) does. Where this instance runs and
    /// writes several of the volumes, those are of one moment: they wait until the virtual CPUs of its guest are paused. The
    /// others wait for nothing.
    async fn snapshot_instance(
        &self,
        id: FreezeId,
        instance: InstanceId,
        snapshots: &[Snapshot],
        tags: &[(SnapshotId, String, String)],
    ) -> Result<NewSnapshotsOutcome, DbError>;

    /// Applies what a node says of the freezes of its own guests; with the nodes to wake. Snapshots are completed all or
    /// none, but those of schedules, which are taken without a freeze that failed.
    async fn apply_freeze_news(&self, node: NodeId, news: &[FreezeNews]) -> Result<Vec<NodeId>, DbError>;

    /// Ends the freezes that nobody will: those that were asked for before `before`, whose instance does not run any
    /// more, or whose snapshots are gone. How many snapshots failed, and the nodes to wake.
    async fn expire_freezes(&self, before: Timestamp) -> Result<(u32, Vec<NodeId>), DbError>;
}
