//! Pools.

use async_trait::async_trait;
use tepui_types::{NodeId, PoolId};

use crate::model::{NodeState, Pool};
use crate::{CreateOutcome, DbError, DeleteOutcome};

/// A pool with what the books say is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLoad {
    /// The pool.
    pub pool: Pool,
    /// Of the node that has it.
    pub node_state: NodeState,
    /// Volumes.
    pub volumes: u64,
    /// The sum of their sizes. A pool is thin: what they take on its file system is less.
    pub provisioned_gib: u64,
    /// Snapshots, without those that moves make.
    pub snapshots: u64,
    /// What it holds goes to other pools.
    pub moves_out: bool,
}

/// Pools.
#[async_trait]
pub trait PoolDb: Send + Sync {
    /// Creates a pool on a node that is not given up: `ParentMissing` otherwise. Two pools of one node never
    /// share a folder: `NameTaken` by the other.
    async fn create_pool(&self, pool: &Pool) -> Result<CreateOutcome<PoolId>, DbError>;

    /// All pools, by id.
    async fn pools(&self) -> Result<Vec<PoolLoad>, DbError>;

    /// Lets new volumes into the pool or keeps them out. What it holds does not leave it for that any more: moves that
    /// have not left it end. The node to wake, `None` when there is no such pool.
    async fn set_pool_draining(&self, id: PoolId, draining: bool) -> Result<Option<NodeId>, DbError>;

    /// Deletes a pool without volumes and snapshots; what is in its folder stays there.
    async fn delete_pool(&self, id: PoolId) -> Result<DeleteOutcome, DbError>;
}
