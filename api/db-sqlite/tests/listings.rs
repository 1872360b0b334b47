//! What is kept of listings in memory.

use std::sync::Arc;

use tempfile::TempDir;
use tepui_db::Db;
use tepui_db::conformance::world::{CAPACITY, World};
use tepui_db_sqlite::{Options, SqliteDb};

#[tokio::test]
async fn a_change_of_one_record_leaves_the_others_where_they_are_in_memory() {
    let directory = TempDir::new().unwrap();
    let db = SqliteDb::open(&directory.path().join("db.sqlite3"), Options::default()).unwrap();
    let world = World::new(Arc::new(db) as Arc<dyn Db>);
    let tenant = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let (changed, kept) = (world.running(&tenant, node).await, world.running(&tenant, node).await);
    let before = world.records(&tenant).await;
    world.stop(&tenant, changed).await;
    let after = world.records(&tenant).await;
    let same = |at: usize| (before[at].instance.id, Arc::ptr_eq(&before[at], &after[at]));
    assert_eq!([same(0), same(1)], [(changed, false), (kept, true)]);
}
