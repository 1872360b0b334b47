//! What storage hosts are to hold and serve, and what becomes of it.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::agent::{IoLimits, StoredId, TestOutcome, VolumeSource};
use tepui_types::{ExportId, Generation, NodeId, PoolId, SnapshotId, SnapshotTestId, VolumeId};

use crate::DbError;
use crate::model::{Attachment, Pool, Quarantined, Snapshot, SnapshotTest, Volume, VolumeMove};

/// Everything in the pools of one node, from which core builds the node's storage part.
#[derive(Debug, Clone, PartialEq)]
pub struct StoragePartState {
    /// The part's generation.
    pub generation: Generation,
    /// Its pools, by id.
    pub pools: Vec<Pool>,
    /// Their volumes, by id.
    pub volumes: Vec<Volume>,
    /// Their snapshots, by id.
    pub snapshots: Vec<Snapshot>,
    /// Their volumes' attachments, by export, with the address of the node that uses each.
    pub attachments: Vec<(Attachment, Ipv4Addr)>,
    /// What was removed and is not unlinked, by id.
    pub quarantine: Vec<Quarantined>,
    /// Tests of their snapshots that are ordered, the oldest first.
    pub tests: Vec<SnapshotTest>,
    /// Moves that leave its pools or come to them, by volume.
    pub moves: Vec<VolumeMove>,
}

/// What a node says of a volume, snapshot or export that changes the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageNews {
    /// The volume is there, durable, with so many GiB.
    VolumePresent(VolumeId, u32),
    /// The volume can never be made.
    VolumeFailed(VolumeId, String),
    /// The volume's bytes are gone.
    VolumeGone(VolumeId),
    /// The snapshot is there, durable, with so many GiB.
    SnapshotPresent(SnapshotId, u32),
    /// The snapshot can never be taken.
    SnapshotFailed(SnapshotId, String),
    /// The snapshot's bytes are gone.
    SnapshotGone(SnapshotId),
    /// A test of a snapshot is over.
    SnapshotTested(SnapshotTestId, TestOutcome),
    /// This lies in the trash of the pool.
    InTrash(PoolId, StoredId),
    /// The export is open.
    ExportOpen(ExportId, VolumeSource),
    /// Not a byte can come by the export any more.
    ExportGone(ExportId),
    /// The placement's domain has the disk.
    DiskAttached(ExportId),
    /// The placement's domain sees the disk with so many GiB and is held to these limits, or will when it starts.
    DiskFitted(ExportId, u32, IoLimits),
    /// The placement's domain does not have the disk any more.
    DiskAbsent(ExportId),
    /// What is wanted of the export or disk failed for now.
    Failed(ExportId, String),
}

/// Storage hosts.
#[async_trait]
pub trait StorageDb: Send + Sync {
    /// The generation of the node's storage part; `None` for a node that never had a pool.
    async fn storage_generation(&self, node: NodeId) -> Result<Option<Generation>, DbError>;

    /// What the node's storage part is made of; `None` for a node that never had a pool.
    async fn storage_part(&self, node: NodeId) -> Result<Option<StoragePartState>, DbError>;

    /// The exports by which guests of the node have their volumes, each with the volume's pool and when it was attached.
    async fn exports_of(&self, node: NodeId) -> Result<Vec<(ExportId, PoolId, Timestamp)>, DbError>;
    /// The nodes whose pools hold these volumes.
    async fn hosts_of_volumes(&self, volumes: &[VolumeId]) -> Result<Vec<NodeId>, DbError>;

    /// Applies what `node` says. News of a volume, snapshot or export counts if the node has its pool, news of a
    /// disk if it has its placement; what says nothing new, or does not fit the state, changes nothing. Returns
    /// the nodes for which something else is wanted now.
    async fn apply_storage_news(
        &self,
        node: NodeId,
        news: &[StorageNews],
        now: Timestamp,
    ) -> Result<Vec<NodeId>, DbError>;
}
