//! What was acknowledged survives a close, a crash, a backup.

mod kit;

use std::path::Path;
use std::sync::Arc;

use kit::{Writer, add, directory, open, user};
use tepui_db::IdentityDb;
use tepui_db_sqlite::{OpenError, Options, SqliteDb};
use tepui_types::Epoch;

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
    assert_eq!(restored.begin_epoch_after(Epoch(0)).await.unwrap(), Epoch(2));
    assert_eq!(restored.begin_epoch_after(Epoch(7)).await.unwrap(), Epoch(8));
    assert_eq!(restored.epoch().await.unwrap(), Epoch(8));
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

#[tokio::test]
async fn every_acknowledged_row_survives_a_kill() {
    let (_directory, path) = directory();
    for round in 1..6 {
        let last = Writer::spawn(&path).kill_after(round * 7);
        let db = open(&path);
        let mut users = db.users().await.unwrap();
        users.sort_by_key(|user| user.id);
        assert!(users.len() as u32 > last, "{last} was acknowledged, {} are there", users.len());
        assert!((0..).zip(&users).all(|(number, found)| *found == user(number)), "no gap, no half row");
    }
}
