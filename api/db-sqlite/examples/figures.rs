//! Prints what reads and launches cost. Absolute times are this machine's; the ratio to the bare
//! inserts of the same rows is what counts.
//!
//! `cargo run --release -p tepui-db-sqlite --example figures`

use std::sync::Arc;
use std::time::{Duration, Instant};

use tepui_db::conformance::world::{CAPACITY, Tenant, World};
use tepui_db::{Db, InstanceFilter, LaunchOutcome};
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_types::NodeId;
use tepui_types::agent::NodeCapacity;

const HUGE: NodeCapacity = NodeCapacity { vcpus: 1_000_000, memory_mib: 1 << 40, disk_gib: 1 << 40 };

#[tokio::main]
async fn main() -> outcome::Result {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("db.sqlite3");
    let db: Arc<dyn Db> = Arc::new(SqliteDb::open(&path, Options::default())?);
    let world = World::new(db);
    let tenant = world.tenant_in("figures", "172.31.0.0/16").await;
    let quota = tepui_db::model::Quota {
        instances: 1 << 30,
        vcpus: 1 << 30,
        memory_mib: 1 << 50,
        volumes: 5_000,
        volume_gib: 51_200,
    };
    world.db.set_quota(tenant.project, quota).await?;
    let node = world.node(HUGE).await;
    fill(&world, &tenant, node, 20).await;
    read("20 instances", &world, &tenant).await;
    fill(&world, &tenant, node, 4980).await;
    read("5,000 instances", &world, &tenant).await;
    launches(&world, &tenant, node).await;
    bare(&path)?;
    for _ in 0..10_000 {
        world.node(CAPACITY).await;
    }
    measure("nodes(), 10,001 nodes", 9, async || drop(world.db.nodes().await)).await;
    Ok(())
}

mod outcome {
    pub(crate) type Result = std::result::Result<(), Box<dyn std::error::Error>>;
}

async fn fill(world: &World, tenant: &Tenant, node: NodeId, count: usize) {
    for chunk in 0..count.div_ceil(20) {
        let instances: Vec<_> =
            (0..20.min(count - chunk * 20)).map(|_| world.instance(tenant, node)).collect();
        let mut launch = world.launch(tenant, instances);
        launch.tags = launch
            .instances
            .iter()
            .map(|new| (new.instance.id.to_string(), "Name".into(), "web".into()))
            .collect();
        assert!(matches!(world.try_launch(&launch).await, LaunchOutcome::Launched(_)));
    }
}

async fn measure(what: &str, times: usize, work: impl AsyncFn()) {
    let mut spent: Vec<Duration> = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        work().await;
        spent.push(start.elapsed());
    }
    spent.sort();
    println!("{what}: median {:?}, best {:?}, worst {:?}", spent[times / 2], spent[0], spent[times - 1]);
}

async fn read(what: &str, world: &World, tenant: &Tenant) {
    let filter = InstanceFilter::default();
    measure(what, 21, async || drop(world.db.instances(tenant.project, &filter).await)).await;
}

async fn launches(world: &World, tenant: &Tenant, node: NodeId) {
    measure("launch of one", 201, async || fill(world, tenant, node, 1).await).await;
    measure("launch of twenty", 51, async || fill(world, tenant, node, 20).await).await;
}

/// The same rows without checks, one commit each, on the same file system.
fn bare(path: &std::path::Path) -> outcome::Result {
    let bare = path.with_extension("bare");
    let copy = rusqlite::Connection::open(path)?;
    copy.execute("VACUUM INTO ?1", [bare.to_str()])?;
    let connection = rusqlite::Connection::open(&bare)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    let mut statements = Vec::new();
    for table in ["instance", "placement", "interface", "root_volume", "tag"] {
        connection.execute_batch(&format!("CREATE TABLE bare_{table} AS SELECT * FROM {table} LIMIT 0"))?;
        statements.push(format!("INSERT INTO bare_{table} SELECT * FROM {table} LIMIT 1"));
    }
    let mut spent = Vec::new();
    for _ in 0..201 {
        let start = Instant::now();
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for statement in &statements {
            connection.prepare_cached(statement)?.execute([])?;
        }
        connection.execute_batch("COMMIT")?;
        spent.push(start.elapsed());
    }
    spent.sort();
    println!("bare inserts of one: median {:?}, best {:?}, worst {:?}", spent[100], spent[0], spent[200]);
    Ok(())
}
