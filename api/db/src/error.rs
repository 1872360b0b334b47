//! Why the store could not answer.

/// The store's failures. None of them is a decision of the domain.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// The queue of waiting writers is full or the database is locked; nothing was done.
    #[error("the database is busy")]
    Busy,
    /// The store is shutting down or its device failed; whether the change was made is unknown.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A bug of ours or damage to the file.
    #[error("the database refused a statement: {0}")]
    Bug(String),
}
