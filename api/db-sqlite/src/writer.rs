//! The one writer: a thread that owns the only writing connection.
//!
//! ```text
//!   wait for a verb ─▶ BEGIN ─▶ savepoint, verb, release ─▶ COMMIT (fsync) ─▶ acknowledge all ─┐
//!         ▲                          ▲        │ another waits       │ failed                    │
//!         │                          └────────┘                     ▼                           │
//!         │                          refuse all; end the process unless the disk is full ───────┤
//!         └─────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tepui_db::DbError;
use tokio::sync::oneshot;

use crate::error::db_error;
use crate::lock::Lock;
use crate::node_loads::NodeWatch;
use crate::open::{OnFailure, Options};
use crate::verb::{Undo, Verb};

/// How long a patient verb waits for another one whose commit it can share. Longer than the pause
/// between two calls of one client, so that audit records cost its next call no fsync.
const PATIENCE: Duration = Duration::from_millis(50);

/// A verb in the queue.
trait Job: Send {
    /// Whether it can wait for another verb's commit.
    fn is_patient(&self) -> bool;
    /// Runs in a savepoint and keeps the answer.
    fn run(&mut self, connection: &Connection);
    /// Why the store could not run it.
    fn failure(&self) -> Option<&DbError>;
    /// Answers: with what the verb said if it is durable, with the failure otherwise.
    fn acknowledge(self: Box<Self>, committed: Result<(), DbError>);
}

struct Queued<F, T> {
    patient: bool,
    rehearsed: bool,
    verb: Option<F>,
    answer: Result<T, DbError>,
    reply: oneshot::Sender<Result<T, DbError>>,
}

impl<F, T> Job for Queued<F, T>
where
    T: Send,
    F: FnOnce(&Connection) -> Verb<T> + Send,
{
    fn is_patient(&self) -> bool {
        self.patient
    }

    fn run(&mut self, connection: &Connection) {
        if let Some(verb) = self.verb.take() {
            self.answer = in_savepoint(connection, verb, self.rehearsed);
        }
    }

    fn failure(&self) -> Option<&DbError> {
        self.answer.as_ref().err()
    }

    fn acknowledge(self: Box<Self>, committed: Result<(), DbError>) {
        // Nobody listens when the caller's future was dropped: the verb is done all the same.
        let _ = self.reply.send(committed.and(self.answer));
    }
}

/// The handle of the writer's thread.
pub(crate) struct Writer {
    queue: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        connection: Connection,
        watch: NodeWatch,
        lock: Lock,
        options: &Options,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(options.queue);
        let commits = Arc::new(AtomicU64::new(0));
        let work = Work {
            connection,
            watch,
            jobs,
            group: options.group,
            commits: Arc::clone(&commits),
            on_failure: Arc::clone(&options.on_failure),
            _lock: lock,
        };
        let thread = std::thread::Builder::new().name("db-writer".into()).spawn(move || work.run())?;
        Ok(Self { queue: Some(queue), thread: Some(thread), commits })
    }

    /// Queues a verb and waits until it is durable.
    pub(crate) async fn write<T, F>(&self, verb: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Verb<T> + Send + 'static,
    {
        self.queue(verb, false).await
    }

    /// As [`Writer::write`], but waits a little for another verb whose commit it can share.
    pub(crate) async fn write_patiently<T, F>(&self, verb: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Verb<T> + Send + 'static,
    {
        self.queue(verb, true).await
    }

    async fn queue<T, F>(&self, verb: F, patient: bool) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Verb<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let rehearsed = tepui_db::is_rehearsed();
        let job = Queued { patient, rehearsed, verb: Some(verb), answer: Err(stopped()), reply };
        queue.try_send(Box::new(job)).map_err(|refused| match refused {
            TrySendError::Full(_) => DbError::Busy,
            TrySendError::Disconnected(_) => stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was handled there.
            let _ = thread.join();
        }
    }
}

struct Work {
    connection: Connection,
    watch: NodeWatch,
    jobs: Receiver<Box<dyn Job>>,
    group: usize,
    commits: Arc<AtomicU64>,
    on_failure: OnFailure,
    // Released after the connection is closed: fields are dropped in order.
    _lock: Lock,
}

impl Work {
    fn run(self) {
        let end = catch_unwind(AssertUnwindSafe(|| self.serve()));
        match end {
            Ok(Ok(())) => {}
            Ok(Err(error)) => (self.on_failure)(&format!("a commit failed: {error}")),
            Err(_) => (self.on_failure)("a verb panicked"),
        }
    }

    /// Commits groups until the queue is closed or a commit fails.
    fn serve(&self) -> Result<(), DbError> {
        while let Ok(first) = self.jobs.recv() {
            let waiting = self.await_company(first);
            if let Err(error) = self.connection.execute_batch("BEGIN IMMEDIATE") {
                self.refuse(waiting, &db_error(&error));
                continue;
            }
            let group = self.run_group(waiting);
            let committed = self
                .commit(group.iter().filter_map(|job| job.failure()).find(|error| is_of_all(error)).cloned());
            for job in group {
                job.acknowledge(committed.clone());
            }
            match committed {
                Ok(()) | Err(DbError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Nothing was begun. Whoever waits behind is refused too, as each would else wait for the same lock
    /// in turn.
    fn refuse(&self, waiting: Vec<Box<dyn Job>>, error: &DbError) {
        let all = waiting.into_iter().chain(self.jobs.try_iter());
        all.for_each(|job| job.acknowledge(Err(error.clone())));
    }

    /// Waits with patient verbs until one comes that is not, or none comes any more.
    fn await_company(&self, first: Box<dyn Job>) -> Vec<Box<dyn Job>> {
        let mut waiting = vec![first];
        while waiting.len() < self.group && waiting.last().is_some_and(|job| job.is_patient()) {
            match self.jobs.recv_timeout(PATIENCE) {
                Ok(next) => waiting.push(next),
                Err(_) => break,
            }
        }
        waiting
    }

    /// Runs `group` and whatever waits behind it.
    fn run_group(&self, mut group: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        let mut next = 0;
        while let Some(job) = group.get_mut(next) {
            job.run(&self.connection);
            next += 1;
            // A full disk or a failed device can make SQLite roll the whole group back.
            if self.connection.is_autocommit() {
                break;
            }
            if next == group.len() && next < self.group {
                group.extend(self.jobs.try_recv());
            }
        }
        group
    }

    /// Makes what the group did durable. `Full` when it is undone for want of room: SQLite writes a
    /// commit's last frame, which makes it one, after all others, so that none of it is in the log.
    /// Any other failure is the end, and so is damage that a verb met: nothing is built on it.
    fn commit(&self, failure: Option<DbError>) -> Result<(), DbError> {
        match failure {
            Some(error @ DbError::Damaged(_)) => return Err(error),
            Some(DbError::Full) if self.connection.is_autocommit() => return Err(DbError::Full),
            Some(_) | None => {}
        }
        let changed = self.watch.changed(&self.connection);
        let committed = changed.and_then(|changed| self.connection.execute_batch("COMMIT").map(|()| changed));
        match committed.map_err(|error| (db_error(&error), error.to_string())) {
            Ok(changed) => {
                self.watch.publish(changed);
                self.commits.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err((DbError::Full, _)) if self.connection.is_autocommit() => Err(DbError::Full),
            Err((_, why)) => Err(DbError::Unavailable(why)),
        }
    }
}

/// Whether a verb's failure concerns its whole group.
const fn is_of_all(error: &DbError) -> bool {
    matches!(error, DbError::Full | DbError::Damaged(_))
}

fn in_savepoint<T>(
    connection: &Connection,
    verb: impl FnOnce(&Connection) -> Verb<T>,
    rehearsed: bool,
) -> Result<T, DbError> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]);
    run("SAVEPOINT verb").map_err(|error| db_error(&error))?;
    let (answer, end) = match verb(connection) {
        Ok(answer) if rehearsed => (Ok(answer), undo(connection)),
        Ok(answer) => (Ok(answer), run("RELEASE verb")),
        Err(Undo::Answer(answer)) => (Ok(answer), undo(connection)),
        Err(Undo::Failed(error)) => (Err(error), undo(connection)),
    };
    // A failed rollback shows in the commit, which then fails too.
    end.map_err(|error| db_error(&error))?;
    answer
}

fn undo(connection: &Connection) -> rusqlite::Result<usize> {
    if connection.is_autocommit() {
        return Ok(0);
    }
    connection.prepare_cached("ROLLBACK TO verb")?.execute([])?;
    connection.prepare_cached("RELEASE verb")?.execute([])
}

fn stopped() -> DbError {
    DbError::Unavailable("the writer has stopped".into())
}

#[cfg(test)]
mod tests;
