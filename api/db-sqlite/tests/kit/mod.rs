//! Databases of a test, and a writer in a process of its own that is killed or whose device fails.
#![allow(dead_code, reason = "each test binary uses a part of the kit")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use jiff::Timestamp;
use tempfile::TempDir;
use tepui_db::model::{Role, User};
use tepui_db::{CreateOutcome, IdentityDb};
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_types::UserId;

const DATABASE: &str = "TEPUI_TEST_DATABASE";
const MOST: &str = "TEPUI_TEST_MOST";

pub(crate) fn open(path: &Path) -> SqliteDb {
    SqliteDb::open(path, Options::default()).unwrap()
}

pub(crate) fn directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("db.sqlite3");
    (directory, path)
}

pub(crate) fn user(number: u32) -> User {
    User {
        id: UserId::from_random(number.into()),
        name: format!("user-{number}"),
        role: Role::Member,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) async fn add(db: &SqliteDb, number: u32) {
    assert_eq!(db.create_user(&user(number)).await.unwrap(), CreateOutcome::Created);
}

/// A process that adds users one after the other.
pub(crate) struct Writer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// What the process does: adds users, endlessly or so many, and prints each number once it is acknowledged.
#[test]
fn writer() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let db = open(Path::new(&path));
        let first = u32::try_from(db.users().await.unwrap().len()).unwrap();
        let most: Option<u32> = std::env::var(MOST).ok().and_then(|most| most.parse().ok());
        for number in (first..).take(most.unwrap_or(u32::MAX) as usize) {
            let mut user = user(number);
            if most.is_some() {
                // Pages for the log.
                user.name = format!("{:x<50000}", user.name);
            }
            match db.create_user(&user).await {
                Ok(_) => println!("acknowledged {number}"),
                // The writer's thread is about to end the process.
                Err(_) => std::future::pending().await,
            }
        }
    });
}

impl Writer {
    pub(crate) fn spawn(path: &Path) -> Self {
        Self::start(Command::new(std::env::current_exe().unwrap()), path)
    }

    /// One that adds no more than `most`, under strace with these options.
    pub(crate) fn traced(path: &Path, most: u32, options: &[&str]) -> Self {
        let mut command = Command::new("strace");
        command
            .env(MOST, most.to_string())
            .args(["-f", "-qq"])
            .args(options)
            .arg("--")
            .arg(std::env::current_exe().unwrap());
        Self::start(command, path)
    }

    fn start(mut command: Command, path: &Path) -> Self {
        command.args(["--exact", "kit::writer", "--nocapture"]).env(DATABASE, path).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next number that is acknowledged; `None` when the process has ended.
    fn next(&mut self) -> Option<u32> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // A line that was cut short gives a smaller number.
            if let Some(number) = line.split("acknowledged ").nth(1).and_then(|word| word.trim().parse().ok())
            {
                return Some(number);
            }
        }
    }

    /// The last number that is acknowledged before the process ends.
    pub(crate) fn read_to_end(&mut self) -> Option<u32> {
        std::iter::from_fn(|| self.next()).last()
    }

    /// Kills it after some acknowledgements; returns the last one, also if it came meanwhile.
    pub(crate) fn kill_after(&mut self, acknowledgements: usize) -> u32 {
        let before = std::iter::from_fn(|| self.next()).take(acknowledgements).last().unwrap();
        self.child.kill().unwrap();
        let last = self.read_to_end().map_or(before, |after| before.max(after));
        self.child.wait().unwrap();
        last
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}
