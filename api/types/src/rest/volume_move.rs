//! Moves of volumes to other pools, for administrators.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PoolId, ProjectId, Timestamp, VolumeId};

/// Keeps new volumes out of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainPoolRequest {
    /// What it holds and nobody uses goes to other pools of its class, until the pool is opened again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub move_volumes: bool,
}

/// Moves a volume to another pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveVolumeRequest {
    /// The pool that it goes to, of the same class: its id, name, or a unique beginning of either. The pool where it is
    /// calls its move off.
    pub pool: String,
}

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoveStage {
    /// What it holds is being copied. Whoever uses it ends the move.
    Copying,
    /// It leaves its pool, and cannot be used for a moment.
    Leaving,
    /// It is being made in the other pool, and cannot be used for a moment.
    Arriving,
    /// It could not be copied, and stays.
    Failed,
}

/// A volume on its way to another pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeMove {
    /// Which.
    pub volume_id: VolumeId,
    /// Its owner.
    pub project_id: ProjectId,
    /// The pool that it leaves.
    pub from_pool_id: PoolId,
    /// The pool that it goes to.
    pub to_pool_id: PoolId,
    /// How far it is.
    pub stage: MoveStage,
    /// When the stage began.
    pub since: Timestamp,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far a pool is whose volumes go to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolLeaving {
    /// Volumes on their way.
    pub moving: u64,
    /// Volumes that will go: soon, or once another pool of the class is open.
    pub waiting: u64,
    /// Volumes that stay until nobody uses them.
    pub in_use: u64,
    /// Volumes whose move failed.
    pub failed: u64,
}
