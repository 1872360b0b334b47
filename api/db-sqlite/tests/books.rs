//! Whatever is wrong in the books is named, and put right where that is safe.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use tepui_db::conformance::world::{CAPACITY, World};
use tepui_db::model::InstanceState;
use tepui_db::{BooksDb, Db, Discrepancy};
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_types::agent::ScratchDisks;

/// What somebody did to the file, and what is then to be found.
struct Damage {
    sql: &'static str,
    object: &'static str,
    what: &'static str,
    mendable: bool,
}

const fn damage(sql: &'static str, object: &'static str, what: &'static str, mendable: bool) -> Damage {
    Damage { sql, object, what, mendable }
}

const RUNNING: &str = "(SELECT n FROM instance WHERE state = 'running')";

const DAMAGES: &[Damage] = &[
    damage("UPDATE placement SET vcpus = vcpus + 1 WHERE instance_n = RUNNING", "placement p-", "takes", true),
    damage(
        "UPDATE placement SET disk_gib = 0 WHERE instance_n = RUNNING",
        "placement p-",
        "takes 0 GiB of disk",
        true,
    ),
    damage(
        "UPDATE instance SET scratch_gib = scratch_gib + 3 WHERE n = RUNNING",
        "placement p-",
        "takes 30 GiB of disk, and its disks have 33",
        true,
    ),
    damage("UPDATE node SET used_vcpus = used_vcpus + 3", "node ", "its placements take", true),
    damage(
        "UPDATE project SET used_instances = 9 WHERE name = 'one'",
        "project one",
        "counts 9 instances",
        true,
    ),
    damage(
        "INSERT INTO interface (instance_n, id, project_id, vpc_id, subnet_id, mac, private_ip, group_ids)
         SELECT (SELECT n FROM instance WHERE state = 'terminated'), x'0000000000000000aa', project_id, vpc_id,
                subnet_id, x'020000000001', private_ip + 9, group_ids
         FROM interface WHERE instance_n = RUNNING",
        "interface eni-000000000000000aa",
        "holds its addresses",
        true,
    ),
    damage(
        "UPDATE interface SET subnet_id = (SELECT id FROM subnet WHERE id <> subnet_id LIMIT 1)
         WHERE instance_n = RUNNING",
        "interface eni-",
        "in another network",
        false,
    ),
    damage(
        "DROP INDEX placement_live;
         INSERT INTO placement (instance_n, id, project_id, node_id, vcpus, memory_mib, disk_gib)
         SELECT instance_n, x'0000000000000000bb', project_id, node_id, vcpus, memory_mib, disk_gib
         FROM placement WHERE instance_n = RUNNING",
        "instance i-",
        "more than one live placement",
        false,
    ),
    damage(
        "UPDATE placement SET gone_at = 1, vcpus = 0, memory_mib = 0, disk_gib = 0 WHERE instance_n = RUNNING",
        "instance i-",
        "is running and has no live placement",
        false,
    ),
    damage("DELETE FROM interface WHERE instance_n = RUNNING", "instance i-", "has no interface", false),
    damage("DELETE FROM root_volume WHERE instance_n = RUNNING", "instance i-", "has no root disk", false),
    damage("UPDATE node SET state = 'expunged'", "placement p-", "which was given up", false),
    damage(
        "UPDATE instance SET state = 'terminated' WHERE n = RUNNING",
        "placement p-",
        "its instance is terminated",
        false,
    ),
    damage(
        "INSERT INTO volume (id, project_id, pool_id, size_gib, actual_gib, state, created_at)
         SELECT x'0000000000000000aa', id, x'0000000000000000bb', 1, 1, 'available', 1 FROM project WHERE name = 'one';
         INSERT INTO volume_move (volume_id, from_pool, to_pool, stage, source_id, target_id, by_drain, since)
         VALUES (x'0000000000000000aa', x'0000000000000000cc', x'0000000000000000bb', 'copying',
                 x'000000000000000001', x'000000000000000002', 0, 1)",
        "volume vol-000000000000000aa",
        "is copying by a move, and in another pool",
        false,
    ),
    damage("DELETE FROM vpc WHERE is_default", "table ", "whose vpc does not exist", false),
];

/// A database with a running, a stopped and a terminated instance.
async fn populated(path: &Path) {
    let world = World::new(Arc::new(open(path)) as Arc<dyn Db>);
    let node = world.node(CAPACITY).await;
    let tenant = world.tenant_in("one", "172.31.0.0/20").await;
    world.tenant_in("two", "172.31.0.0/20").await;
    let mut new = world.instance(&tenant, node);
    new.instance.scratch = ScratchDisks { scratch_gib: 20, swap_gib: 2 };
    let running = world.launched(&tenant, new).await;
    world.observe(&tenant, running, InstanceState::Running).await;
    world.stopped(&tenant, node).await;
    let gone = world.running(&tenant, node).await;
    world.terminate(&tenant, gone).await;
    assert_eq!(world.state(&tenant, gone).await, InstanceState::Terminated);
    assert_eq!(world.db.discrepancies().await.unwrap(), []);
    assert_eq!(world.db.mend().await.unwrap(), []);
}

fn open(path: &Path) -> SqliteDb {
    SqliteDb::open(path, Options::default()).unwrap()
}

impl Damage {
    /// As by a hand: with neither the store's rules nor its locks.
    fn strike(&self, path: &Path) {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        connection.execute_batch(&self.sql.replace("RUNNING", RUNNING)).unwrap();
    }

    fn is(&self, found: &Discrepancy) -> bool {
        found.object.starts_with(self.object)
            && found.what.contains(self.what)
            && found.mendable == self.mendable
    }
}

#[tokio::test]
async fn sums_and_what_goes_into_them_are_put_right_together() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("db.sqlite3");
    populated(&path).await;
    for sql in [
        "UPDATE placement SET vcpus = vcpus + 5, disk_gib = disk_gib + 5 WHERE instance_n = RUNNING",
        "UPDATE node SET used_vcpus = 0, used_disk_gib = 0",
    ] {
        damage(sql, "", "", true).strike(&path);
    }
    let db = open(&path);
    let mended = db.mend().await.unwrap();
    assert_eq!(
        mended.iter().filter(|mended| mended.object.starts_with("placement ")).count(),
        2,
        "{mended:?}"
    );
    assert_eq!(db.discrepancies().await.unwrap(), []);
}

#[tokio::test]
async fn each_damage_is_named_and_put_right_where_that_is_safe() {
    for damage in DAMAGES {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("db.sqlite3");
        populated(&path).await;
        damage.strike(&path);
        let db = open(&path);
        let found = db.discrepancies().await.unwrap();
        assert!(found.iter().any(|found| damage.is(found)), "{}: {found:?}", damage.sql);
        let mended = db.mend().await.unwrap();
        let left = db.discrepancies().await.unwrap();
        if damage.mendable {
            assert!(mended.iter().any(|mended| damage.is(mended)), "{}: {mended:?}", damage.sql);
            assert_eq!(left, [], "{}", damage.sql);
        } else {
            assert!(left.iter().any(|left| damage.is(left)), "{}: {left:?}", damage.sql);
        }
    }
}
