//! Databases of every version that was ever released are migrated to the newest, with rows in every
//! table. `tests/versions` has a dump of each; CONTRIBUTING.md says how the next one comes there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use tepui_db::conformance::world::{CAPACITY, Tenant, World};
use tepui_db::model::{
    AccessKey, ImportState, KeyKind, KeyPair, PlacementGroup, PlacementStrategy, Pool, Role, Rule, RulePeer,
    ScheduledTests, Snapshot, SnapshotSchedule, SnapshotSharing, SnapshotState, User, Volume, VolumeEnd,
    VolumeState,
};
use tepui_db::{
    AttachOutcome, AuditFilter, AuditRecord, Db, FreezeNews, IdentityDb, ImageDb, ImportOutcome, InstanceDb,
    InstanceFilter, NewAttachment, NewMove, NewSnapshotsOutcome, NewVolume, NodeDb, RuleChange,
    SharingChange, StorageNews, TokenUse, VolumeChange,
};
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_types::agent::{
    Direction, FreezeKind, IoLimits, PoolBackend, Protocol, ScratchDisks, StoredId, TestOutcome, VolumeSource,
};
use tepui_types::{
    AttachmentId, Digest, ExportId, FreezeId, InstanceId, KeyPairId, NodeId, PlacementGroupId, PoolId,
    SecurityGroupRuleId, SnapshotId, SnapshotScheduleId, SnapshotTestId, UserId, VolumeId,
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The versions that a folder has files of, `V1` of `V1__initial.sql` and of `V1.sql`.
fn versions(name: &str) -> BTreeSet<u32> {
    let files = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().file_name());
    let number = |file: std::ffi::OsString| {
        let digits: String =
            file.to_str()?.strip_prefix('V')?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    files.filter_map(number).collect()
}

fn dump_path(version: u32) -> PathBuf {
    folder("tests/versions").join(format!("V{version}.sql"))
}

fn strings(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

const SCHEMA: &str = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
                      ORDER BY type DESC, name";
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                      ORDER BY rowid";

/// The first row in which two databases differ.
fn difference(one: &Connection, other: &Connection, sql: &str) -> Option<(String, String)> {
    let (one, other) = (strings(one, sql), strings(other, sql));
    assert_eq!(one.len(), other.len(), "{sql}");
    one.into_iter().zip(other).find(|(one, other)| one != other)
}

/// The database as SQL text: tables, rows, then what watches them.
fn dump(connection: &Connection) -> String {
    let mut text = strings(
        connection,
        "SELECT sql FROM sqlite_schema WHERE name IN (SELECT name FROM
        sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%') ORDER BY rowid",
    );
    for table in strings(connection, TABLES) {
        let columns = strings(connection, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let quoted = columns.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>();
        let values = quoted.join(" || ', ' || ");
        let rows = strings(connection, &format!("SELECT {values} FROM {table}"));
        let columns = columns.join(", ");
        text.extend(rows.iter().map(|row| format!("INSERT INTO {table} ({columns}) VALUES ({row})")));
    }
    text.extend(strings(
        connection,
        "SELECT sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY rowid",
    ));
    text.iter().map(|statement| format!("{statement};\n")).collect()
}

/// Carries out a version's dump. As in those of SQLite's own shell, rows come before the indexes that references need.
fn load(connection: &Connection, version: u32) {
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.execute_batch(&fs::read_to_string(dump_path(version)).unwrap()).unwrap();
}

/// A database with rows in every table, guests in every state.
async fn populated(path: &Path) {
    let db: Arc<dyn Db> = Arc::new(SqliteDb::open(path, Options::default()).unwrap());
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let mut new = world.instance(&alpha, node);
    new.interface.public_ip = true;
    new.instance.scratch = ScratchDisks { scratch_gib: 20, swap_gib: 2 };
    let pending = world.launched(&alpha, new).await;
    let (running, stopped) = (world.running(&alpha, node).await, world.stopped(&alpha, node).await);
    let terminated = world.running(&beta, node).await;
    world.terminate(&beta, terminated).await;
    let mut launch = world.launch(&beta, vec![world.instance(&beta, node)]);
    launch.token = Some(TokenUse { token: "t".into(), parameters_sha256: [1; 32] });
    world.try_launch(&launch).await;
    let tags = [("Name".to_owned(), "it's \"quoted\"".to_owned())];
    let tagged = [pending, running, stopped].map(|id| id.to_string());
    world.db.put_tags(alpha.project, &tagged, &tags, 50).await.unwrap();
    let user = User {
        id: UserId::from_random(world.bits()),
        name: "ann".into(),
        role: Role::Member,
        created_at: world.now(),
    };
    world.db.create_user(&user).await.unwrap();
    let key = AccessKey {
        id: "TPAKA".into(),
        user_id: user.id,
        project_id: alpha.project,
        wrapped_secret: vec![1, 2, 3],
        created_at: world.now(),
    };
    world.db.create_access_key(&key).await.unwrap();
    let pair = KeyPair {
        id: KeyPairId::from_random(world.bits()),
        project_id: alpha.project,
        name: "key".into(),
        kind: KeyKind::Ed25519,
        fingerprint: "SHA256:x".into(),
        public_key: "ssh-ed25519 AAAA".into(),
        created_at: world.now(),
    };
    world.db.create_key_pair(&pair, &tags).await.unwrap();
    let group = PlacementGroup {
        id: PlacementGroupId::from_random(world.bits()),
        project_id: alpha.project,
        name: "apart".into(),
        strategy: PlacementStrategy::Spread,
        created_at: world.now(),
    };
    world.db.create_placement_group(&group).await.unwrap();
    let rules =
        [RulePeer::Group(alpha.group), RulePeer::Cidr("0.0.0.0/0".parse().unwrap())].map(|peer| Rule {
            id: SecurityGroupRuleId::from_random(world.bits()),
            direction: Direction::Ingress,
            protocol: Protocol::All,
            peer,
            description: None,
        });
    world.db.change_rules(alpha.project, alpha.group, &RuleChange::Add(rules.into()), 9).await.unwrap();
    let mut task = world.import_task(alpha.project);
    let token = TokenUse { token: "t".into(), parameters_sha256: [1; 32] };
    let begun = world.db.begin_import_task(&task, Some(&token), &[]).await.unwrap();
    assert_eq!(begun, ImportOutcome::Begun);
    (task.state, task.message) = (ImportState::Failed, "refused".into());
    world.db.put_import_task(&task).await.unwrap();
    let record = AuditRecord {
        at: world.now(),
        project_id: alpha.project,
        user_id: user.id,
        action: "RunInstances".into(),
        resources: pending.to_string(),
        outcome: "ok".into(),
        request_id: "r".into(),
    };
    world.db.append_audit(&record).await.unwrap();
    storage(&world, &alpha, node, running).await;
    readers(&world, &alpha, node, [running, stopped]).await;
}

/// A volume in use, and a snapshot of it.
async fn storage(world: &World, tenant: &Tenant, node: NodeId, instance: InstanceId) {
    let pool = Pool {
        id: PoolId::from_random(world.bits()),
        name: "fast".into(),
        class: "gp3".into(),
        backend: PoolBackend::Nfs,
        node_id: node,
        path: "/srv/fast".into(),
        filer: Some("10.0.0.9:/export/fast".parse().unwrap()),
        soft_percent: 80,
        hard_percent: 90,
        draining: false,
        created_at: world.now(),
    };
    world.db.create_pool(&pool).await.unwrap();
    let volume = Volume {
        id: VolumeId::from_random(world.bits()),
        project_id: tenant.project,
        pool_id: pool.id,
        size_gib: 4,
        actual_gib: 0,
        limits: IoLimits { iops: 100, throughput_mib: 0 },
        snapshot_id: None,
        image: None,
        read_only: false,
        state: VolumeState::Creating,
        message: None,
        created_at: world.now(),
    };
    let id = volume.id;
    let token = Some(TokenUse { token: "t".into(), parameters_sha256: [1; 32] });
    let new = NewVolume { volume, token, tags: vec![("Name".into(), "data".into())], end: None };
    world.db.create_volume(&new).await.unwrap();
    world.db.apply_storage_news(node, &[StorageNews::VolumePresent(id, 4)], world.now()).await.unwrap();
    let export_id = ExportId::from_random(world.bits());
    let attachment = NewAttachment {
        id: AttachmentId::from_random(world.bits()),
        project_id: tenant.project,
        volume_id: id,
        instance_id: instance,
        device: "/dev/sdf".into(),
        delete_on_termination: false,
        export_id,
        wrapped_secret: vec![1, 2, 3],
        most: 10,
        most_instances: 1,
        is_root: false,
    };
    world.db.attach_volume(&attachment, world.now()).await.unwrap();
    let portal = "192.0.2.1:3260".parse().unwrap();
    let source = VolumeSource::Iscsi { portal, target: "iqn.2026-11.test:1".into(), lun: 1 };
    let open = [StorageNews::ExportOpen(export_id, source)];
    world.db.apply_storage_news(node, &open, world.now()).await.unwrap();
    let frozen = Snapshot {
        id: SnapshotId::from_random(world.bits()),
        project_id: tenant.project,
        pool_id: pool.id,
        volume_id: id,
        copy_of: None,
        image: None,
        root_of: None,
        size_gib: 4,
        description: "still".into(),
        state: SnapshotState::Pending,
        freeze: None,
        freeze_kind: FreezeKind::default(),
        message: None,
        created_at: world.now(),
    };
    let attached = [StorageNews::DiskAttached(export_id)];
    world.db.apply_storage_news(node, &attached, world.now()).await.unwrap();
    let freeze = FreezeId::from_random(world.bits());
    world.db.freeze_snapshots(freeze, std::slice::from_ref(&frozen), &[], world.now()).await.unwrap();
    world.db.apply_freeze_news(node, &[FreezeNews::Failed(freeze, "no agent".into())]).await.unwrap();
    paused(world, node, &new, &attachment, &frozen).await;
    let change =
        VolumeChange { size_gib: Some(6), iops: Some(200), throughput_mib: Some(10), read_only: None };
    world.db.modify_volume(tenant.project, id, change, world.now()).await.unwrap();
    let snapshot = Snapshot {
        id: SnapshotId::from_random(world.bits()),
        project_id: tenant.project,
        pool_id: pool.id,
        volume_id: id,
        copy_of: None,
        image: None,
        root_of: None,
        size_gib: 4,
        description: "nightly".into(),
        state: SnapshotState::Pending,
        freeze: None,
        freeze_kind: FreezeKind::default(),
        message: None,
        created_at: world.now(),
    };
    world.db.create_snapshots(std::slice::from_ref(&snapshot), &[]).await.unwrap();
    let taken = [StorageNews::SnapshotPresent(snapshot.id, 4)];
    world.db.apply_storage_news(node, &taken, world.now()).await.unwrap();
    let copy = Snapshot {
        id: SnapshotId::from_random(world.bits()),
        volume_id: Snapshot::NO_VOLUME,
        ..snapshot.clone()
    };
    world.db.copy_snapshot(snapshot.id, &copy, &[]).await.unwrap();
    let uploaded = Snapshot { id: SnapshotId::from_random(world.bits()), ..copy.clone() };
    world.db.snapshot_of_image(tenant.image, &uploaded, &[]).await.unwrap();
    let root = world.record(tenant, instance).await.root_volume.unwrap().id;
    let root = Snapshot { id: SnapshotId::from_random(world.bits()), volume_id: root, ..snapshot.clone() };
    world.db.create_snapshots(&[root], &[]).await.unwrap();
    let add = SnapshotSharing { public: true, projects: [tenant.project].into() };
    let change = SharingChange::Change { add, remove: SnapshotSharing::default() };
    world.db.share_snapshot(tenant.project, snapshot.id, &change, 10).await.unwrap();
    let schedule = SnapshotSchedule {
        id: SnapshotScheduleId::from_random(world.bits()),
        project_id: tenant.project,
        tag_key: "backup".into(),
        tag_value: "daily".into(),
        every_seconds: 86_400,
        keep: 7,
        next_at: world.now(),
        created_at: world.now(),
        tests: Some(ScheduledTests { every_seconds: 604_800, next_at: world.now() }),
        freeze: true,
        freeze_failure: Some("no guest agent".into()),
    };
    world.db.create_schedule(&schedule, 10).await.unwrap();
    let tests = [world.bits(), world.bits()].map(SnapshotTestId::from_random);
    let outcome = TestOutcome::Read { digest: Digest::of(b"content") };
    world.db.order_snapshot_test(tenant.project, tests[0], snapshot.id, world.now()).await.unwrap();
    let tested = [StorageNews::SnapshotTested(tests[0], outcome)];
    world.db.apply_storage_news(node, &tested, world.now()).await.unwrap();
    world.db.order_snapshot_test(tenant.project, tests[1], snapshot.id, world.now()).await.unwrap();
    let (at, set_by) = (world.now(), UserId::from_random(world.bits()));
    let end = VolumeEnd { at, warns_at: at, warned_seconds: Some(60), set_by };
    world.db.set_volume_end(tenant.project, id, Some(end)).await.unwrap();
    let removed = StoredId::Volume(VolumeId::from_random(world.bits()));
    let found = [StorageNews::InTrash(pool.id, removed)];
    world.db.apply_storage_news(node, &found, world.now()).await.unwrap();
    moving(world, &pool, node, &new).await;
}

/// Another volume of the same instance, which is paused for snapshots of both.
async fn paused(world: &World, node: NodeId, like: &NewVolume, beside: &NewAttachment, first: &Snapshot) {
    let volume_id = VolumeId::from_random(world.bits());
    let volume = Volume { id: volume_id, ..like.volume.clone() };
    world.db.create_volume(&NewVolume { volume, token: None, tags: vec![], end: None }).await.unwrap();
    let (id, export_id) = (AttachmentId::from_random(world.bits()), ExportId::from_random(world.bits()));
    let made = [StorageNews::VolumePresent(volume_id, 4)];
    world.db.apply_storage_news(node, &made, world.now()).await.unwrap();
    let device = "/dev/sdg".to_owned();
    let attachment =
        NewAttachment { id, volume_id, export_id, device, wrapped_secret: vec![1], ..beside.clone() };
    world.db.attach_volume(&attachment, world.now()).await.unwrap();
    let source = VolumeSource::Local { path: "/srv/fast/2".into() };
    let there = [StorageNews::ExportOpen(export_id, source), StorageNews::DiskAttached(export_id)];
    world.db.apply_storage_news(node, &there, world.now()).await.unwrap();
    let of = |volume_id| {
        let id = SnapshotId::from_random(world.bits());
        Snapshot { id, volume_id, description: "of one moment".into(), ..first.clone() }
    };
    let both = [of(first.volume_id), of(volume_id)];
    let freeze = FreezeId::from_random(world.bits());
    let taking = world.db.snapshot_instance(freeze, beside.instance_id, &both, &[]).await.unwrap();
    assert_eq!(taking, NewSnapshotsOutcome::Taking(vec![node]));
}

/// A volume on its way to another pool.
async fn moving(world: &World, pool: &Pool, node: NodeId, like: &NewVolume) {
    let id = PoolId::from_random(world.bits());
    let other = Pool { id, name: "fast-2".into(), path: "/srv/fast-2".into(), ..pool.clone() };
    world.db.create_pool(&other).await.unwrap();
    let id = VolumeId::from_random(world.bits());
    let volume = Volume { id, snapshot_id: None, ..like.volume.clone() };
    world.db.create_volume(&NewVolume { volume, token: None, tags: vec![], end: None }).await.unwrap();
    let made = [StorageNews::VolumePresent(id, like.volume.size_gib)];
    world.db.apply_storage_news(node, &made, world.now()).await.unwrap();
    let (source_id, target_id) =
        (SnapshotId::from_random(world.bits()), SnapshotId::from_random(world.bits()));
    let new = NewMove { volume_id: id, to_pool: other.id, source_id, target_id, by_drain: false };
    world.db.begin_move(&new, world.now()).await.unwrap();
}

/// A volume that two instances read.
async fn readers(world: &World, tenant: &Tenant, node: NodeId, instances: [InstanceId; 2]) {
    let volume = Volume {
        id: VolumeId::from_random(world.bits()),
        project_id: tenant.project,
        pool_id: world.db.pools().await.unwrap()[0].pool.id,
        size_gib: 1,
        actual_gib: 0,
        limits: IoLimits::NONE,
        snapshot_id: None,
        image: None,
        read_only: true,
        state: VolumeState::Creating,
        message: None,
        created_at: world.now(),
    };
    let volume_id = volume.id;
    world.db.create_volume(&NewVolume { volume, token: None, end: None, tags: Vec::new() }).await.unwrap();
    world
        .db
        .apply_storage_news(node, &[StorageNews::VolumePresent(volume_id, 1)], world.now())
        .await
        .unwrap();
    for instance_id in instances {
        let attachment = NewAttachment {
            id: AttachmentId::from_random(world.bits()),
            project_id: tenant.project,
            volume_id,
            instance_id,
            device: "/dev/sdr".into(),
            delete_on_termination: false,
            export_id: ExportId::from_random(world.bits()),
            wrapped_secret: vec![1, 2, 3],
            most: 10,
            most_instances: 2,
            is_root: false,
        };
        let attached = world.db.attach_volume(&attachment, world.now()).await.unwrap();
        assert_eq!(attached, AttachOutcome::Attaching(node));
    }
}

/// What must hold in every database, whatever its rows say; each of these tables has rows.
fn check(connection: &Connection, tables: &[String]) {
    assert_eq!(strings(connection, "PRAGMA integrity_check"), ["ok"]);
    let foreign: Vec<String> = strings(connection, "SELECT \"table\" FROM pragma_foreign_key_check");
    assert!(foreign.is_empty(), "{foreign:?}");
    let wrong_sums = "SELECT 'node' FROM node n WHERE (used_vcpus, used_memory_mib, used_disk_gib) <>
            (SELECT coalesce(sum(vcpus), 0), coalesce(sum(memory_mib), 0), coalesce(sum(disk_gib), 0)
             FROM placement WHERE node_id = n.id)
        UNION ALL
        SELECT 'project' FROM project p WHERE (used_instances, used_vcpus, used_memory_mib) <>
            (SELECT count(*), coalesce(sum(vcpus), 0), coalesce(sum(memory_mib), 0)
             FROM instance WHERE project_id = p.id AND state <> 'terminated')
        UNION ALL
        SELECT 'live placement' FROM instance i WHERE state <> 'terminated' AND
            (SELECT count(*) FROM placement WHERE instance_n = i.n AND gone_at IS NULL) <> 1";
    let wrong: Vec<String> = strings(connection, wrong_sums);
    assert!(wrong.is_empty(), "{wrong:?}");
    for table in tables {
        let count = format!("SELECT count(*) FROM {table}");
        let rows: i64 = connection.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_ne!(rows, 0, "{table} has no row that a migration could break");
    }
}

/// The verbs read what was migrated.
async fn read(db: &SqliteDb) {
    let projects = db.projects().await.unwrap();
    assert_eq!(projects.len(), 2);
    let mut instances = 0;
    for project in &projects {
        instances += db.instances(project.id, &InstanceFilter::default()).await.unwrap().len();
        db.images(project.id).await.unwrap();
        db.import_tasks(project.id).await.unwrap();
    }
    assert_eq!(instances, 5);
    assert_eq!(db.all_instances().await.unwrap().len(), 4);
    assert_eq!((db.users().await.unwrap().len(), db.nodes().await.unwrap().len()), (1, 1));
    assert_eq!(db.audit(projects[0].id, &AuditFilter::default(), 10).await.unwrap().len(), 1);
    assert!(db.credential("TPAKA").await.unwrap().is_some());
}

#[test]
fn every_version_has_a_dump() {
    assert_eq!(versions("tests/versions"), versions("migrations"));
}

#[tokio::test]
async fn every_version_becomes_the_newest_and_is_whole() {
    let fresh = Connection::open_in_memory().unwrap();
    let newest = *versions("migrations").last().unwrap();
    load(&fresh, newest);
    for version in versions("tests/versions") {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("db.sqlite3");
        let old = Connection::open(&path).unwrap();
        load(&old, version);
        let tables = strings(&old, TABLES);
        drop(old);
        let db =
            SqliteDb::open(&path, Options::default()).unwrap_or_else(|error| panic!("V{version}: {error:?}"));
        read(&db).await;
        drop(db);
        let migrated = Connection::open(&path).unwrap();
        check(&migrated, &tables);
        assert_eq!(difference(&migrated, &fresh, SCHEMA), None, "V{version}");
    }
}

/// With `TEPUI_UPDATE_GOLDEN=1` it writes the newest version's dump: once, before its release.
#[tokio::test]
async fn the_newest_dump_has_the_schema_of_the_migrations() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("db.sqlite3");
    populated(&path).await;
    let made = Connection::open(&path).unwrap();
    check(&made, &strings(&made, TABLES));
    let newest = *versions("migrations").last().unwrap();
    if std::env::var_os("TEPUI_UPDATE_GOLDEN").is_some() {
        fs::write(dump_path(newest), dump(&made)).unwrap();
    }
    let kept = Connection::open_in_memory().unwrap();
    load(&kept, newest);
    let history = "SELECT version || ' ' || name || ' ' || checksum FROM refinery_schema_history";
    for sql in [SCHEMA, history] {
        let old = "the dump is old: run this test with TEPUI_UPDATE_GOLDEN=1 if its version is not released";
        assert_eq!(difference(&kept, &made, sql), None, "{old}");
    }
}
