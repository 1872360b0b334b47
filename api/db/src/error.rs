//! Why the store could not answer.

/// The store's failures. None of them is a decision of the domain.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// The queue of waiting writers is full or the database is locked; nothing was done.
    #[error("the database is busy")]
    Busy,
    /// There is no room on the store's disk; nothing was done, and reads are answered.
    #[error("the database's disk is full")]
    Full,
    /// The store is shutting down or its device failed; whether the change was made is unknown.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The store's file is not what was written to it; the process ends.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// A bug of ours.
    #[error("the database refused a statement: {0}")]
    Bug(String),
}
