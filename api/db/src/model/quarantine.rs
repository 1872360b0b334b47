//! Removed volumes and snapshots.

use jiff::Timestamp;
use tepui_types::agent::StoredId;
use tepui_types::{NodeId, PoolId, ProjectId};

/// A removed volume or snapshot, whose file lies in its pool's trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Which.
    pub id: StoredId,
    /// Where.
    pub pool_id: PoolId,
    /// The pool's node.
    pub node_id: NodeId,
    /// Whose it was; `None` of what was found in the trash, and no row told of.
    pub project_id: Option<ProjectId>,
    /// When its host had removed it, or it was found, by the control plane's clock.
    pub removed_at: Timestamp,
    /// Its host is told to unlink it.
    pub ordered: bool,
}
