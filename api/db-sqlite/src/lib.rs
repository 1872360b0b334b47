//! The embedded storage engine: SQLite with a group-committing writer.
//!
//! Reads go to a small pool of read-only connections. Writes go to one thread that owns the only
//! writing connection: it runs all waiting verbs, each in a savepoint, commits once, and
//! acknowledges after the commit's fsync. When a commit fails the process has to end: what the file
//! holds then is known only to the recovery at the next start.

mod attachment;
mod backup;
mod books;
mod checkpoint;
mod damage;
mod error;
mod expunged_storage;
mod filesystem;
mod freeze;
mod generation;
mod identity;
mod image;
mod instance;
mod key_pair;
mod lock;
mod modification;
mod network;
mod node;
mod node_loads;
mod open;
mod placement;
mod pool;
mod project;
mod quarantine;
mod readers;
mod replace;
mod retention;
mod row;
mod schedule;
mod security_group;
mod snapshot;
mod snapshot_root;
mod snapshot_share;
mod storage;
mod tag;
mod value;
mod verb;
mod volume;
mod volume_end;
mod wal;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tepui_db::DbError;

pub use backup::BackupError;
pub use error::OpenError;
pub use open::Options;
pub use replace::{REPLACE_STEPS, Replacement};

use instance::Listings;
use node_loads::NodeLoads;
use readers::Readers;
use verb::Verb;
use writer::Writer;

/// An open database. Dropping it finishes the verbs that wait, closes the file and lets another
/// process open it.
pub struct SqliteDb {
    path: PathBuf,
    listings: Arc<Listings>,
    loads: Arc<NodeLoads>,
    // In this order: the readers close before the writer, which then checkpoints the log as the last
    // connection and releases the lock.
    readers: Readers,
    writer: Writer,
}

impl SqliteDb {
    /// Runs a reading verb on one snapshot.
    async fn read<T, F>(&self, verb: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.readers.read(verb).await
    }

    /// Runs a writing verb; returns once it is durable.
    async fn write<T, F>(&self, verb: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Verb<T> + Send + 'static,
    {
        self.writer.write(verb).await
    }

    /// How many commits were made since the database was opened. Fewer than the verbs that were
    /// acknowledged: verbs that wait together share one.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }
}
