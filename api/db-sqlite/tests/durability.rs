//! What was acknowledged survives a close, a crash, a backup.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use tempfile::TempDir;
use tepui_db::model::{Role, User};
use tepui_db::{CreateOutcome, IdentityDb};
use tepui_db_sqlite::{OpenError, Options, SqliteDb};
use tepui_types::{Epoch, UserId};

fn open(path: &Path) -> SqliteDb {
    SqliteDb::open(path, Options::default()).unwrap()
}

fn directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("db.sqlite3");
    (directory, path)
}

fn user(number: u32) -> User {
    User {
        id: UserId::from_random(number.into()),
        name: format!("user-{number}"),
        role: Role::Member,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

async fn add(db: &SqliteDb, number: u32) {
    assert_eq!(db.create_user(&user(number)).await.unwrap(), CreateOutcome::Created);
}

#[tokio::test]
async fn acknowledged_writes_survive_a_close() {
    let (_directory, path) = directory();
    for number in 0..3 {
        let db = open(&path);
        add(&db, number).await;
        assert_eq!(db.users().await.unwrap().len(), number as usize + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_that_wait_share_a_commit() {
    let (_directory, path) = directory();
    let db = Arc::new(open(&path));
    let before = db.commits();
    let verbs: Vec<_> = (0..200)
        .map(|number| {
            tokio::spawn({
                let db = Arc::clone(&db);
                async move { add(&db, number).await }
            })
        })
        .collect();
    for verb in verbs {
        verb.await.unwrap();
    }
    assert_eq!(db.users().await.unwrap().len(), 200);
    let commits = db.commits() - before;
    assert!(commits < 100, "200 verbs took {commits} commits");
}

#[tokio::test]
async fn a_second_opening_is_refused_by_name() {
    let (directory, path) = directory();
    let db = open(&path);
    let refused = |path: &Path| {
        let error = SqliteDb::open(path, Options::default()).err().unwrap();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        assert!(error.to_string().ends_with("db.sqlite3.lock: another tepui-api has this database open"));
    };
    refused(&path);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    refused(&link);
    drop(db);
    open(&path);
}

#[tokio::test]
async fn a_backup_is_whole_and_begins_a_new_epoch() {
    let (directory, path) = directory();
    let db = Arc::new(open(&path));
    add(&db, 1).await;
    let copy = directory.path().join("backup.sqlite3");
    std::fs::write(&copy, "an older backup").unwrap();
    let source = Arc::clone(&db);
    let target = copy.clone();
    tokio::task::spawn_blocking(move || source.backup(&target)).await.unwrap().unwrap();
    add(&db, 2).await;
    let restored = open(&copy);
    assert_eq!(restored.users().await.unwrap(), [user(1)]);
    assert_eq!(restored.begin_epoch().await.unwrap(), Epoch(2));
    assert_eq!(restored.epoch().await.unwrap(), Epoch(2));
    assert_eq!(db.epoch().await.unwrap(), Epoch(1));
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("partial")), "{left:?}");
}

#[tokio::test]
async fn a_failed_backup_leaves_the_older_one() {
    let (directory, path) = directory();
    let db = open(&path);
    let missing = directory.path().join("missing/backup.sqlite3");
    let error = db.backup(&missing).unwrap_err();
    assert!(error.to_string().contains("missing/backup.sqlite3.partial"), "{error}");
}

/// The child of the next test: adds users and prints each number once it is acknowledged.
#[test]
fn writer_to_be_killed() {
    let Some(path) = std::env::var_os("TEPUI_TEST_DATABASE") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let db = open(Path::new(&path));
        let first = u32::try_from(db.users().await.unwrap().len()).unwrap();
        for number in first.. {
            add(&db, number).await;
            println!("acknowledged {number}");
        }
    });
}

fn spawn_writer(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_to_be_killed", "--nocapture"])
        .env("TEPUI_TEST_DATABASE", path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the writer after some acknowledgements; returns the last number that was acknowledged.
fn kill_after(acknowledgements: usize, path: &Path) -> u32 {
    let mut child = spawn_writer(path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut numbers = lines.by_ref().filter_map(|line| line.split("acknowledged ").nth(1)?.parse().ok());
    let mut last: u32 = numbers.by_ref().take(acknowledgements).last().unwrap();
    child.kill().unwrap();
    // What it said before it died counts too. A line that was cut short gives a smaller number.
    last = numbers.fold(last, u32::max);
    child.wait().unwrap();
    last
}

#[tokio::test]
async fn every_acknowledged_row_survives_a_kill() {
    let (_directory, path) = directory();
    for round in 1..6 {
        let last = kill_after(round * 7, &path);
        let db = open(&path);
        let mut users = db.users().await.unwrap();
        users.sort_by_key(|user| user.id);
        assert!(users.len() as u32 > last, "{last} was acknowledged, {} are there", users.len());
        assert!((0..).zip(&users).all(|(number, found)| *found == user(number)), "no gap, no half row");
    }
}
