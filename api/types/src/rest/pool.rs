//! Pools, for administrators.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PoolLeaving;
use crate::{FilerFolder, NodeId, PoolId, Timestamp};

/// How a pool's volumes reach their instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolBackend {
    /// Over iSCSI, to any node.
    Iscsi,
    /// Over NFS, to any node; it knows no password, and admits the node's address. By a server on the pool's node, or by
    /// a filer that is there already.
    Nfs,
    /// As files, to instances on the pool's own node.
    Local,
}

/// Creates a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePoolRequest {
    /// Unique in the cloud, 1 to 64 characters.
    pub name: String,
    /// What users ask for as the volume's type, 1 to 64 characters; several pools may share one.
    pub class: String,
    /// How its volumes reach their instances.
    pub backend: PoolBackend,
    /// The node that has it: its id, name, or a unique beginning of either.
    pub node: String,
    /// An empty folder on that node, on XFS or btrfs, or of a filer that clones files.
    pub path: String,
    /// The same folder on the filer from which the node has it, where the backend is `nfs` and the filer serves it; the
    /// node serves it without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filer: Option<FilerFolder>,
    /// Percent of its file system in use above which operators are warned.
    pub soft_percent: u8,
    /// Percent of its file system in use above which it takes nothing new.
    pub hard_percent: u8,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// The id.
    pub id: PoolId,
    /// Unique in the cloud.
    pub name: String,
    /// What users ask for as the volume's type.
    pub class: String,
    /// How its volumes reach their instances.
    pub backend: PoolBackend,
    /// The node that has it.
    pub node_id: NodeId,
    /// Its folder on that node.
    pub path: String,
    /// The same folder on the filer that serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filer: Option<FilerFolder>,
    /// Percent in use above which operators are warned.
    pub soft_percent: u8,
    /// Percent in use above which it takes nothing new.
    pub hard_percent: u8,
    /// It takes nothing new.
    pub draining: bool,
    /// Volumes in it.
    pub volumes: u64,
    /// The sum of their sizes; they take less.
    pub provisioned_gib: u64,
    /// Snapshots in it.
    pub snapshots: u64,
    /// Size of its file system and what is used of it, in bytes; `None` until its node has said so.
    pub usage: Option<PoolUsage>,
    /// How far it is, where what it holds goes to other pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<PoolLeaving>,
    /// Why it cannot be used.
    pub trouble: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The bytes of a pool's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolUsage {
    /// All of them.
    pub total_bytes: u64,
    /// Those in use, by volumes or by others.
    pub used_bytes: u64,
}
