//! Moves of volumes to other pools.

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::{InstanceId, NodeId, PoolId, SnapshotId, VolumeId};

use crate::DbError;
use crate::model::{HeldVolume, VolumeMove, VolumeState};

/// A move to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMove {
    /// What moves.
    pub volume_id: VolumeId,
    /// Where to.
    pub to_pool: PoolId,
    /// The id of its snapshot in the pool that it leaves.
    pub source_id: SnapshotId,
    /// The id of the copy of that in the pool that it goes to.
    pub target_id: SnapshotId,
    /// Its pool is drained, and nobody asked for this volume alone.
    pub by_drain: bool,
}

/// What became of a move that was asked for. Only `Moving` and `Back` changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveOutcome {
    /// It has begun; wake these nodes.
    Moving(Vec<NodeId>),
    /// It was asked to be where it is: its move is called off, or turns back; wake these nodes.
    Back(Vec<NodeId>),
    /// It is there already, or on its way there.
    Unchanged,
    /// There is no such volume.
    VolumeMissing,
    /// The volume is in this state.
    VolumeState(VolumeState),
    /// An instance has the volume.
    InUse(InstanceId),
    /// Its last modification has not ended.
    Modifying,
    /// The last steps of its move are under way.
    Moved,
    /// The pool is of another class, which is this volume's.
    OtherClass(String),
    /// The pool was deleted or drained, or its node given up.
    PoolLost(PoolId),
}

/// Moves of volumes.
///
/// A move ends when its volume is attached, changed or deleted before it leaves its pool, in the transaction of that verb:
/// what is written then is in no copy. After that those verbs answer `Moving` until the volume has arrived.
#[async_trait]
pub trait VolumeMoveDb: Send + Sync {
    /// Begins a move of a volume that nobody uses, in place of one that has not left its pool yet.
    async fn begin_move(&self, new: &NewMove, now: Timestamp) -> Result<MoveOutcome, DbError>;

    /// All of them, by volume.
    async fn moves(&self) -> Result<Vec<VolumeMove>, DbError>;

    /// Carries on every move whose next step waits for nothing. News of hosts do so too. The nodes to wake.
    async fn advance_moves(&self, now: Timestamp) -> Result<Vec<NodeId>, DbError>;

    /// Keeps new volumes out of a pool, and lets what it holds go to other pools; `false` when there is no such pool.
    async fn empty_pool(&self, id: PoolId) -> Result<bool, DbError>;

    /// What pools hold whose volumes go to others, by volume.
    async fn held_volumes(&self) -> Result<Vec<HeldVolume>, DbError>;
}
