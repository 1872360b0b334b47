//! Whether the rows agree with each other.

use async_trait::async_trait;

use crate::DbError;

/// Rows that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discrepancy {
    /// Whose, for example `node node-1`.
    pub object: String,
    /// What contradicts what.
    pub what: String,
    /// [`BooksDb::mend`] puts it right: one side follows from the other, and no host acts on it.
    pub mendable: bool,
}

/// The books' own consistency. No verb of the store makes a discrepancy; a bug, damage or a hand may.
#[async_trait]
pub trait BooksDb: Send + Sync {
    /// What contradicts itself, in one snapshot; empty when all is well.
    async fn discrepancies(&self) -> Result<Vec<Discrepancy>, DbError>;

    /// Puts right what can be; returns what was.
    async fn mend(&self) -> Result<Vec<Discrepancy>, DbError>;
}
