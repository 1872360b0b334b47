//! The writer's failures.

use std::sync::{Mutex, mpsc};

use tempfile::TempDir;

use super::*;

struct Started {
    writer: Writer,
    failures: Arc<Mutex<Vec<String>>>,
    _directory: TempDir,
}

fn start(queue: usize) -> Started {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("db");
    let mut connection = Connection::open(&path).unwrap();
    crate::open::migrate(&mut connection).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;
             CREATE TABLE parent (id INTEGER PRIMARY KEY) STRICT;
             CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED) STRICT;",
        )
        .unwrap();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&failures);
    let on_failure: OnFailure = Arc::new(move |reason: &str| seen.lock().unwrap().push(reason.to_owned()));
    let options = Options { queue, on_failure, ..Options::default() };
    let watch = NodeWatch::of(&connection, Arc::default()).unwrap();
    let writer = Writer::start(connection, watch, Lock::take(&path).unwrap(), &options).unwrap();
    Started { writer, failures, _directory: directory }
}

fn insert(connection: &Connection, sql: &str) -> Verb<usize> {
    Ok(connection.execute(sql, [])?)
}

fn count(connection: &Connection) -> Verb<i64> {
    Ok(connection.query_row("SELECT count(*) FROM parent", [], |row| row.get(0))?)
}

#[tokio::test]
async fn a_failed_commit_refuses_the_verb_and_ends_the_process() {
    let started = start(8);
    // A deferred foreign key is checked by COMMIT alone, so the verb itself succeeds.
    let refused = started.writer.write(|c| insert(c, "INSERT INTO child VALUES (7)")).await;
    assert!(matches!(refused, Err(DbError::Unavailable(_))), "{refused:?}");
    let after = started.writer.write(count).await;
    assert!(matches!(after, Err(DbError::Unavailable(_))), "nothing is tried again: {after:?}");
    let failures = Arc::clone(&started.failures);
    drop(started.writer);
    let failures = failures.lock().unwrap();
    assert!(failures.len() == 1 && failures[0].starts_with("a commit failed: "), "{failures:?}");
}

#[tokio::test]
async fn a_panic_in_a_verb_ends_the_process() {
    let started = start(8);
    let refused = started.writer.write(|_| -> Verb<()> { panic!("a bug") }).await;
    assert!(matches!(refused, Err(DbError::Unavailable(_))), "{refused:?}");
    let failures = Arc::clone(&started.failures);
    drop(started.writer);
    assert_eq!(*failures.lock().unwrap(), ["a verb panicked"]);
}

#[tokio::test]
async fn an_undone_verb_leaves_nothing_and_its_neighbours_stay() {
    let started = start(8);
    let (kept, undone, failed) = tokio::join!(
        started.writer.write(|c| insert(c, "INSERT INTO parent VALUES (1)")),
        started.writer.write(|c| {
            insert(c, "INSERT INTO parent VALUES (2)")?;
            Err(Undo::Answer(99))
        }),
        started.writer.write(|c| {
            insert(c, "INSERT INTO parent VALUES (3)")?;
            insert(c, "INSERT INTO parent VALUES ('three')")
        }),
    );
    assert_eq!((kept.unwrap(), undone.unwrap()), (1, 99));
    assert!(matches!(failed, Err(DbError::Bug(_))), "{failed:?}");
    assert_eq!(started.writer.write(count).await.unwrap(), 1);
    assert!(started.failures.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_full_queue_is_busy() {
    let started = start(1);
    let (began, wait_begin) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let blocking = started.writer.write(move |_| {
        began.send(()).unwrap();
        wait.recv().unwrap();
        Ok(())
    });
    let mut blocking = std::pin::pin!(blocking);
    assert!(futures::poll!(&mut blocking).is_pending());
    wait_begin.recv().unwrap();
    let mut waiting = std::pin::pin!(started.writer.write(count));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert!(matches!(started.writer.write(count).await, Err(DbError::Busy)));
    go_on.send(()).unwrap();
    blocking.await.unwrap();
    assert_eq!(waiting.await.unwrap(), 0);
}

#[tokio::test]
async fn a_patient_verb_shares_the_next_verbs_commit_and_goes_alone_when_none_comes() {
    let started = start(8);
    let patient = started.writer.write_patiently(|c| insert(c, "INSERT INTO parent VALUES (1)"));
    let urgent = started.writer.write(|c| insert(c, "INSERT INTO parent VALUES (2)"));
    let (patient, urgent) = tokio::join!(patient, urgent);
    assert_eq!((patient.unwrap(), urgent.unwrap(), started.writer.commits()), (1, 1, 1));
    started.writer.write_patiently(|c| insert(c, "INSERT INTO parent VALUES (3)")).await.unwrap();
    assert_eq!(started.writer.commits(), 2);
}
