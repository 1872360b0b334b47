//! Removed volumes and snapshots, whose files their hosts keep until they are told to unlink them.

use async_trait::async_trait;
use tepui_types::agent::StoredId;
use tepui_types::{NodeId, PoolId};

use crate::DbError;
use crate::model::Quarantined;

/// What was removed and is not unlinked.
#[async_trait]
pub trait QuarantineDb: Send + Sync {
    /// All of it, by id and pool.
    async fn quarantined(&self) -> Result<Vec<Quarantined>, DbError>;

    /// Ends the grace of these: from now on their hosts' parts order their files to be unlinked. One that a volume or
    /// snapshot in that pool refers to by the books is left as it is. The nodes for which that is news.
    async fn order_unlinks(&self, files: &[(PoolId, StoredId)]) -> Result<Vec<NodeId>, DbError>;

    /// Forgets these, whose files are gone; the nodes whose part ordered that.
    async fn forget_quarantined(&self, files: &[(PoolId, StoredId)]) -> Result<Vec<NodeId>, DbError>;
}
