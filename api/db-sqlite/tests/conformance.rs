//! The suite that every engine must pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use tempfile::TempDir;
use tepui_db::Db;
use tepui_db_sqlite::{Options, SqliteDb};

async fn open() -> (Arc<dyn Db>, TempDir) {
    let directory = TempDir::new().unwrap();
    let db = SqliteDb::open(&directory.path().join("db.sqlite3"), Options::default()).unwrap();
    (Arc::new(db), directory)
}

tepui_db::conformance_suite!(open);
