//! A volume has one writer, or readers alone: the schema says so itself, whatever a verb would write.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use tepui_db::Db;
use tepui_db::conformance::world::{CAPACITY, World};
use tepui_db_sqlite::{Options, SqliteDb};

/// Two instances, a volume that is written and one that is read only.
const ROWS: &str = "
    INSERT INTO storage_host (node_id) SELECT id FROM node;
    INSERT INTO pool (id, name, class, backend, node_id, path, soft_percent, hard_percent, draining, created_at)
    SELECT x'01', 'fast', 'gp3', 'iscsi', id, '/srv', 80, 90, 0, 0 FROM node;
    INSERT INTO volume (id, project_id, pool_id, size_gib, actual_gib, state, created_at, read_only)
    SELECT x'0000000000000000aa', id, x'01', 1, 1, 'available', 0, 0 FROM project
    UNION ALL SELECT x'0000000000000000bb', id, x'01', 1, 1, 'available', 0, 1 FROM project;";

/// An attachment of a volume to the first or second instance, as a reader or a writer.
fn attach(number: u8, volume: &str, instance: &str, read_only: bool, device: &str) -> String {
    format!(
        "INSERT INTO attachment (id, volume_id, read_only, project_id, instance_n, device, delete_on_termination, state,
             since, export_id, placement_id, wrapped_secret, export_state)
         SELECT x'{number:02}', x'0000000000000000{volume}', {read_only}, project_id, n, '{device}', 0, 'attached', 0,
             x'{number:02}', x'01', x'01', 'closed'
         FROM instance ORDER BY n {instance} LIMIT 1"
    )
}

/// Two instances and two volumes, and a connection past the verbs.
async fn books() -> (TempDir, World, Connection) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("db.sqlite3");
    let world = World::new(Arc::new(SqliteDb::open(&path, Options::default()).unwrap()) as Arc<dyn Db>);
    let (node, tenant) = (world.node(CAPACITY).await, world.tenant("alpha").await);
    for _ in 0..2 {
        world.running(&tenant, node).await;
    }
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(ROWS).unwrap();
    (folder, world, connection)
}

#[tokio::test]
async fn no_row_is_a_second_writer_nor_one_beside_a_reader() {
    let (_folder, _world, connection) = books().await;
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    let (first, second) = ("ASC", "DESC");
    for allowed in [
        attach(1, "aa", first, false, "/dev/sdf"),
        attach(2, "bb", first, true, "/dev/sdg"),
        attach(3, "bb", second, true, "/dev/sdg"),
    ] {
        assert_eq!(connection.execute(&allowed, []).unwrap(), 1);
    }
    let switch = |volume: &str, read_only| {
        format!("UPDATE volume SET read_only = {read_only} WHERE id = x'0000000000000000{volume}'")
    };
    for (refused, rule) in [
        (attach(4, "aa", second, false, "/dev/sdf"), "UNIQUE constraint failed: attachment.volume_id"),
        (attach(4, "aa", second, true, "/dev/sdf"), "FOREIGN KEY"),
        (attach(4, "bb", second, false, "/dev/sdf"), "UNIQUE constraint failed"),
        (attach(4, "bb", second, true, "/dev/sdf"), "attachment.volume_id, attachment.instance_n"),
        ("DELETE FROM volume WHERE read_only".into(), "FOREIGN KEY"),
        (switch("aa", true), "FOREIGN KEY"),
        (switch("bb", false), "FOREIGN KEY"),
        ("UPDATE attachment SET read_only = 0 WHERE id = x'03'".into(), "FOREIGN KEY"),
        ("UPDATE attachment SET is_root = 1 WHERE id = x'03'".into(), "CHECK"),
    ] {
        let error = connection.execute(&refused, []).unwrap_err().to_string();
        assert!(error.contains(rule), "{refused}: {error}");
    }
    // Once nobody reads it, it may be written, by one.
    connection.execute("DELETE FROM attachment WHERE read_only", []).unwrap();
    connection.execute(&switch("bb", false), []).unwrap();
    connection.execute(&attach(4, "bb", first, false, "/dev/sdg"), []).unwrap();
    assert!(connection.execute(&attach(5, "bb", second, false, "/dev/sdg"), []).is_err());
}

#[tokio::test]
async fn a_second_writer_that_came_by_another_way_is_found() {
    let (_folder, world, connection) = books().await;
    connection.execute_batch("DROP INDEX attachment_writer; PRAGMA foreign_keys = OFF").unwrap();
    let found = async || {
        let found = world.db.discrepancies().await.unwrap();
        found.into_iter().filter(|one| one.object.starts_with("volume ")).collect::<Vec<_>>()
    };
    for reader in [attach(1, "bb", "ASC", true, "/dev/sdf"), attach(2, "bb", "DESC", true, "/dev/sdf")] {
        connection.execute(&reader, []).unwrap();
    }
    assert_eq!(found().await, []);
    connection.execute(&attach(3, "aa", "ASC", false, "/dev/sdg"), []).unwrap();
    assert_eq!(found().await, []);
    connection.execute(&attach(4, "aa", "DESC", false, "/dev/sdg"), []).unwrap();
    let two = found().await;
    let [writers] = two.as_slice() else { panic!("{two:?}") };
    assert_eq!(writers.object, "volume vol-000000000000000aa");
    assert_eq!(writers.what, "has 2 attachments, and 2 of them may write");
    assert!(!writers.mendable, "which of them is to go is nobody's guess");
}
