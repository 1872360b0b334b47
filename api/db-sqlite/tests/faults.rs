//! What the database does when its disk or its files fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Writer, add, directory, open, user};
use rusqlite::Connection;
use tepui_db::{DbError, IdentityDb};
use tepui_db_sqlite::{OpenError, Options, SqliteDb};

/// A small file system; taken away when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(mounted.unwrap().success(), "a small file system needs root");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves `free` bytes.
    fn fill(&self, free: u64) {
        let disk = nix::sys::statvfs::statvfs(self.path()).unwrap();
        let room = disk.blocks_available() * disk.fragment_size();
        fs::write(self.path().join("filler"), vec![1; (room - free) as usize]).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_answers_reads_and_is_over_when_there_is_room() {
    let disk = SmallDisk::mount("16m");
    let path = disk.path().join("db.sqlite3");
    let db = open(&path);
    let mut there = 0;
    for free in [0, 4096, 40_960] {
        add(&db, there).await;
        there += 1;
        disk.fill(free);
        let (mut refused, mut number) = (0, there);
        while refused < 3 {
            match db.create_user(&user(number)).await {
                Ok(_) => there = number + 1,
                Err(DbError::Full) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            number = there;
            assert_eq!(db.users().await.unwrap().len(), there as usize, "{free} bytes were free");
        }
        disk.empty();
    }
    add(&db, there).await;
    drop(db);
    assert_eq!(open(&path).users().await.unwrap().len(), there as usize + 1);
}

#[tokio::test]
async fn a_verb_too_large_for_the_disk_is_undone_with_its_group_and_the_next_one_is_done() {
    let disk = SmallDisk::mount("16m");
    let path = disk.path().join("db.sqlite3");
    let db = open(&path);
    // More than the cache of pages: it goes to the log before the commit.
    let mut large = user(1);
    large.name = "x".repeat(40 << 20);
    assert!(matches!(db.create_user(&large).await, Err(DbError::Full)));
    add(&db, 2).await;
    drop(db);
    assert_eq!(open(&path).users().await.unwrap(), [user(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_foreign_lock_is_refused_after_one_wait_and_nobody_waits_in_turn() {
    let (_directory, path) = directory();
    let db = Arc::new(
        SqliteDb::open(&path, Options { busy_timeout: Duration::from_secs(2), ..Options::default() })
            .unwrap(),
    );
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let verbs: Vec<_> = (0..100)
        .map(|number| {
            let db = Arc::clone(&db);
            tokio::spawn(async move { db.create_user(&user(number)).await })
        })
        .collect();
    // In turn it would be two hundred seconds.
    let all = tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(verbs)).await;
    for outcome in all.expect("one wait, not one for each") {
        assert!(matches!(outcome.unwrap(), Err(DbError::Busy)));
    }
    assert!(db.users().await.unwrap().is_empty(), "reads are answered meanwhile");
    other.execute_batch("ROLLBACK").unwrap();
    add(&db, 1).await;
}

/// What opening a damaged database says.
fn refusal(path: &Path) -> String {
    let error = SqliteDb::open(path, Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.starts_with(&format!("{}: the database is damaged", path.display())), "{told}");
    assert!(told.ends_with("`tepui-api --config FILE restore BACKUP`"), "{told}");
    told
}

fn change(path: &Path, at: usize, with: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    fs::write(path, bytes).unwrap();
}

const PAGE: usize = 4096;

/// A closed database of 200 users.
async fn filled() -> (tempfile::TempDir, std::path::PathBuf) {
    let (directory, path) = directory();
    let db = open(&path);
    for number in 0..200 {
        add(&db, number).await;
    }
    (directory, path)
}

#[tokio::test]
async fn a_damaged_beginning_a_missing_end_and_a_foreign_file_are_refused_at_the_start() {
    let (_directory, path) = filled().await;
    let sound = fs::read(&path).unwrap();
    change(&path, 100, &[0xff; 64]);
    refusal(&path);
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    refusal(&path);
    fs::write(&path, vec![b'x'; sound.len()]).unwrap();
    refusal(&path);
    fs::write(&path, &sound).unwrap();
    let db = open(&path);
    assert_eq!(db.users().await.unwrap().len(), 200);
    db.check_pages(|| false).await.unwrap();
    assert!(matches!(db.check_pages(|| true).await, Err(DbError::Bug(_))), "it can be stopped");
    db.check_pages(|| false).await.unwrap();
}

#[tokio::test]
async fn a_damaged_page_is_refused_at_the_start_or_found_by_the_look_at_all() {
    let (_directory, path) = filled().await;
    let sound = fs::read(&path).unwrap();
    let mut found = 0;
    for page in 1..sound.len() / PAGE {
        change(&path, page * PAGE, &[0xff; 64]);
        let (told, options) = listening();
        match SqliteDb::open(&path, options) {
            Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "page {page}: {error:?}"),
            Ok(db) => {
                let checked = db.check_pages(|| false).await;
                assert!(matches!(checked, Err(DbError::Damaged(_))), "page {page}: {checked:?}");
                let told = told.lock().unwrap();
                assert!(
                    told[0].starts_with(&format!("{}: the database is damaged", path.display())),
                    "{told:?}"
                );
                assert!(told[0].contains("restore BACKUP"), "{told:?}");
                found += 1;
            }
        }
        fs::write(&path, &sound).unwrap();
    }
    assert!(found > 0, "the look at all pages found none");
}

/// Options that put down why the process would have ended.
fn listening() -> (Arc<Mutex<Vec<String>>>, Options) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let on_failure: Arc<dyn Fn(&str) + Send + Sync> =
        Arc::new(move |why: &str| hear.lock().unwrap().push(why.to_owned()));
    (told, Options { on_failure, ..Options::default() })
}

/// A log that a killed process left behind, and how many users were acknowledged.
fn killed() -> (tempfile::TempDir, std::path::PathBuf, u32) {
    let (directory, path) = directory();
    drop(open(&path));
    let last = Writer::spawn(&path).kill_after(60);
    (directory, path, last + 1)
}

fn log(path: &Path) -> std::path::PathBuf {
    path.with_file_name("db.sqlite3-wal")
}

#[test]
fn a_log_from_which_acknowledged_commits_are_missing_is_refused() {
    let (_directory, path, _) = killed();
    let sound = fs::read(log(&path)).unwrap();
    change(&log(&path), sound.len() / 2, &[0xff; 8]);
    assert!(refusal(&path).contains("later commits follow it"));
    // Cut at the end of a frame, which looks as sound as the whole.
    let frames = (sound.len() - 32) / (PAGE + 24);
    fs::write(log(&path), &sound[..32 + frames / 2 * (PAGE + 24)]).unwrap();
    assert!(refusal(&path).contains("frames"));
    fs::write(log(&path), &sound[..32]).unwrap();
    assert!(refusal(&path).contains("its log has 0 of"));
}

#[tokio::test]
async fn a_torn_end_of_the_log_loses_nothing_that_was_acknowledged() {
    let (_directory, path, acknowledged) = killed();
    let mut bytes = fs::read(log(&path)).unwrap();
    // A power cut in the middle of the next commit: half a frame of this log, and the index is gone.
    let salts = bytes[16..24].to_vec();
    bytes.extend([[0, 0, 0, 9, 0, 0, 0, 0].as_slice(), &salts, &[7; PAGE / 2]].concat());
    fs::write(log(&path), bytes).unwrap();
    fs::remove_file(path.with_file_name("db.sqlite3-shm")).unwrap();
    assert!(open(&path).users().await.unwrap().len() >= acknowledged as usize);
}

#[tokio::test]
async fn a_page_that_was_torn_while_the_log_was_folded_in_is_whole_again() {
    let (_directory, path, acknowledged) = killed();
    let log = fs::read(log(&path)).unwrap();
    for frame in log[32..].chunks_exact(PAGE + 24) {
        let page = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
        if page * PAGE <= fs::metadata(&path).unwrap().len() as usize && page > 1 {
            change(&path, (page - 1) * PAGE, &[0xff; PAGE / 2]);
        }
    }
    assert!(open(&path).users().await.unwrap().len() >= acknowledged as usize);
}

#[tokio::test]
async fn damage_that_is_met_later_ends_the_process_with_the_files_name() {
    let (_directory, path) = filled().await;
    let (told, options) = listening();
    let db = SqliteDb::open(&path, options).unwrap();
    let pages = fs::metadata(&path).unwrap().len() as usize / PAGE;
    let file = File::options().write(true).open(&path).unwrap();
    for page in 1..pages {
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 64], (page * PAGE) as u64).unwrap();
    }
    assert!(matches!(db.users().await, Err(DbError::Damaged(_))));
    drop(db);
    let told = told.lock().unwrap();
    assert!(told.len() == 1 && told[0].starts_with(&format!("{}: ", path.display())), "{told:?}");
}

/// More additions than fill the log once.
const MOST: u32 = 600;

#[tokio::test]
async fn a_failed_fsync_ends_the_process_is_not_tried_again_and_loses_nothing_acknowledged() {
    let (_directory, path) = directory();
    drop(open(&path));
    let trace = path.with_file_name("trace");
    let checkpoint = first_of_a_checkpoint(&path, &trace);
    // What an opening has to write is written: the fsyncs that follow are those of the writer's thread.
    let mut there = open(&path).users().await.unwrap().len();
    for nth in [3, 7, checkpoint] {
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={nth}");
        let mut writer = Writer::traced(&path, MOST, &["-o", trace.to_str().unwrap(), "-y", "-e", &inject]);
        let last = writer.read_to_end();
        let ended = writer.wait();
        let synced = synced(&trace);
        assert_eq!(ended.code(), Some(70), "the {nth}th fsync fails: {synced:?}");
        assert!(synced.last().unwrap().contains("EIO"), "tried again after {nth}: {synced:?}");
        let users = open(&path).users().await.unwrap().len();
        let acknowledged = last.map_or(there, |last| last as usize + 1);
        assert!(users >= acknowledged, "{acknowledged} were acknowledged, {users} are there");
        there = users;
    }
}

/// Which fsync of the thread that writes is the first of the database itself.
fn first_of_a_checkpoint(path: &Path, trace: &Path) -> usize {
    let mut writer = Writer::traced(path, MOST, &["-o", trace.to_str().unwrap(), "-y", "-e", CALLS]);
    assert!(writer.read_to_end().is_some() && writer.wait().success());
    synced(trace).iter().position(|line| line.contains("db.sqlite3>")).unwrap() + 1
}

const CALLS: &str = "trace=fsync,fdatasync";

/// The calls of the thread that writes: strace counts for each thread. The directory is synced by the
/// one that opens the database; SQLite does it again, and takes no notice of a failure.
fn synced(trace: &Path) -> Vec<String> {
    let calls = fs::read_to_string(trace).unwrap();
    let of_log = |line: &&str| line.contains("sync(") && line.contains("db.sqlite3");
    let thread = calls.lines().rfind(of_log).and_then(|line| line.split(' ').next()).unwrap_or_default();
    calls
        .lines()
        .filter(|line| line.starts_with(thread) && line.contains("sync("))
        .map(str::to_owned)
        .collect()
}
