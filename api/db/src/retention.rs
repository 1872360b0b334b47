//! Forgetting what is over.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::DbError;

/// Up to when what is over is forgotten, for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Instances that were terminated before, once nothing of them is left on a node.
    pub terminated_instances: Timestamp,
    /// Idempotency tokens that were used before.
    pub client_tokens: Timestamp,
    /// Audit records from before.
    pub audit: Timestamp,
    /// Import tasks that were asked for before and have ended; their images stay.
    pub import_tasks: Timestamp,
    /// Join tokens that ended before, used or not.
    pub join_tokens: Timestamp,
}

impl Cutoffs {
    /// The same time for every kind.
    pub const fn all(at: Timestamp) -> Self {
        Self { terminated_instances: at, client_tokens: at, audit: at, import_tasks: at, join_tokens: at }
    }
}

/// Forgetting what is over.
#[async_trait]
pub trait RetentionDb: Send + Sync {
    /// Deletes at most `batch` rows that are over and older than the cut-off of their kind, with what
    /// hangs on them, such as tags. Returns how many; fewer than `batch` means that nothing is left to
    /// forget.
    async fn purge(&self, before: &Cutoffs, batch: u32) -> Result<u32, DbError>;
}
