//! How a writing verb ends.

use tepui_db::DbError;

use crate::error::db_error;

/// The end of a writing verb: kept, or undone.
pub(crate) type Verb<T> = Result<T, Undo<T>>;

/// Everything the verb wrote is rolled back.
#[derive(Debug)]
pub(crate) enum Undo<T> {
    /// The verb's answer is that it cannot be done.
    Answer(T),
    /// The store failed.
    Failed(DbError),
}

impl<T> From<rusqlite::Error> for Undo<T> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(db_error(&error))
    }
}
