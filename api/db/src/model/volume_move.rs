//! Moves of volumes to other pools.

use jiff::Timestamp;
use tepui_types::{InstanceId, PoolId, ProjectId, SnapshotId, VolumeId};

use super::MoveStage;

/// A volume on its way to another pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMove {
    /// Which.
    pub volume_id: VolumeId,
    /// Its owner.
    pub project_id: ProjectId,
    /// The pool that it leaves.
    pub from_pool: PoolId,
    /// The pool that it goes to; the one that it leaves where it turned back.
    pub to_pool: PoolId,
    /// How far it is.
    pub stage: MoveStage,
    /// What it holds, in the pool that it leaves.
    pub source_id: SnapshotId,
    /// What it holds, in the pool that it goes to: what it is made from there.
    pub target_id: SnapshotId,
    /// Its pool is drained, and nobody asked for this volume alone.
    pub by_drain: bool,
    /// When the stage began.
    pub since: Timestamp,
    /// Why it failed, for administrators.
    pub message: Option<String>,
}

/// A volume in a pool whose volumes go to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldVolume {
    /// Which.
    pub volume_id: VolumeId,
    /// Where.
    pub pool_id: PoolId,
    /// Why it does not go; `None` of one that is on its way or can go now.
    pub held_by: Option<HeldBy>,
    /// It has a move, which may have failed.
    pub is_moving: bool,
}

/// Why a volume stays in a pool whose volumes go to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// An instance has it.
    Instance(InstanceId),
    /// An instance boots from it, also while it is stopped.
    Root(InstanceId),
    /// It is being made, deleted or changed, or is in error.
    State,
}
