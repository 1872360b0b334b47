//! The one way to write: rehearsal, write, record. And the rule that every mutating call is recorded,
//! also one that was refused before it came to its write.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tepui_db::{AuditFilter, AuditRecord, Db, DbError, rehearse};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{Caller, Cloud, Error};

/// Pauses before a record is offered to a busy store again: the shortest, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Time for the records that wait to come into the store at a shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// The call under way.
    static CALL: Call;
}

/// What is known of a call until its record is written.
struct Call {
    action: Cell<&'static str>,
    recorded: Cell<bool>,
}

/// Names the operation of the call under way, for one endpoint that stands for several: as soon as the
/// request tells which is meant, so that a refusal has the name that a success would have.
pub fn acts_as(action: &'static str) {
    // A verb that no protocol called has nobody to tell.
    let _ = CALL.try_with(|call| call.action.set(action));
}

/// Records on their way into the store.
pub(crate) struct Audits {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Audits {
    /// At most `waiting` of them wait beside their replies.
    pub(crate) fn new(waiting: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(waiting)), tasks: TaskTracker::new() }
    }
}

/// What an audit record says of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// A short name, for example `not_found`.
    pub outcome: &'static str,
    /// The object that it was refused for, where the refusal names one.
    pub resource: String,
}

impl From<&Error> for Refused {
    fn from(error: &Error) -> Self {
        Self { outcome: error.name(), resource: error.object().unwrap_or_default().to_owned() }
    }
}

impl Cloud {
    /// Carries out a mutating call of a protocol, its parsing included, and sees to it that there is a
    /// record of it: one that its verb did not write, because it was refused before or found nothing to
    /// do, is written here under the name `action`, which is the one that the verb uses. A rehearsal
    /// changes nothing and has none.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn audited<T, E>(
        &self,
        caller: &Caller,
        action: &'static str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        for<'e> Refused: From<&'e E>,
    {
        let watched = async {
            let result = call.await;
            (result, CALL.with(|call| (call.action.get(), call.recorded.get())))
        };
        let begun = Call { action: Cell::new(action), recorded: Cell::new(false) };
        let (result, (action, recorded)) = CALL.scope(begun, watched).await;
        if !recorded && !caller.dry_run {
            let done = || Refused { outcome: "ok", resource: String::new() };
            let Refused { outcome, resource } = result.as_ref().err().map_or_else(done, Refused::from);
            self.record(caller, action, resource, outcome).await;
        }
        result
    }

    /// Runs the write of a mutating verb and records it; for a caller who only rehearses it undoes the
    /// write and answers [`Error::DryRunOk`] where it would have gone well. Everything before it is
    /// authorization and validation; nothing but it changes the store.
    pub(crate) async fn commit<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        resources: String,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.commit_naming(caller, action, |_| resources, write).await
    }

    /// As [`Cloud::commit`], where only the write's result tells what it made.
    pub(crate) async fn commit_naming<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        resources: impl FnOnce(Option<&T>) -> String,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if caller.dry_run {
            return rehearse(write).await.and(Err(Error::DryRunOk));
        }
        let result = write.await;
        let outcome = result.as_ref().err().map_or("ok", Error::name);
        self.record(caller, action, resources(result.as_ref().ok()), outcome).await;
        result
    }

    /// Appends beside the reply, not before it: waiting would double the time of every call. Only
    /// when too many wait already does the call wait for its own. The log line comes first, so that a
    /// crash in between loses nothing.
    pub(crate) async fn record(&self, caller: &Caller, action: &str, resources: String, outcome: &str) {
        let _ = CALL.try_with(|call| call.recorded.set(true));
        let record = AuditRecord {
            at: self.clock.now(),
            project_id: caller.project,
            user_id: caller.user_id,
            action: action.to_owned(),
            resources,
            outcome: outcome.to_owned(),
            request_id: caller.request_id.clone(),
        };
        tracing::info!(
            target: "audit",
            project = %record.project_id, user = %record.user_id, action = record.action,
            resources = record.resources, outcome = record.outcome, request_id = record.request_id,
        );
        let (db, room) = (Arc::clone(&self.db), Arc::clone(&self.audits.room).try_acquire_owned());
        let crowded = room.is_err();
        // A task of its own in either case: who hangs up must not take the record along.
        let stored = self.audits.tasks.spawn(async move {
            let _room = room;
            store(db.as_ref(), &record, crowded).await;
        });
        if crowded {
            // It cannot fail: the task neither panics nor is cancelled.
            let _ = stored.await;
        }
    }

    /// Waits until every audit record so far is in the store. Called at shutdown. A store on a full disk
    /// may take none for ever, so that it ends after a while.
    pub async fn flush_audit(&self) {
        self.audits.tasks.close();
        if tokio::time::timeout(FLUSH_TIMEOUT, self.audits.tasks.wait()).await.is_err() {
            let count = self.audits.tasks.len();
            tracing::warn!(count, "audit records are not in the database; the log has them, target `audit`");
        }
        self.audits.tasks.reopen();
    }

    /// The newest `limit` audit records of the caller's project that pass, newest first.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn audit_records(
        &self,
        caller: &Caller,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, Error> {
        Ok(self.db.audit(caller.project, filter, limit).await?)
    }
}

/// Offers a record until the store is not too busy for it. A store that is gone ends the process, and
/// the log has the record; so it has where too many wait for room on a full disk, on which no call
/// changes anything.
async fn store(db: &dyn Db, record: &AuditRecord, crowded: bool) {
    let (shortest, longest) = PAUSES;
    let pauses = ExponentialBuilder::default()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times();
    let append = || db.append_audit(record);
    let stored = append.retry(pauses).when(|error| match error {
        DbError::Busy => true,
        DbError::Full => !crowded,
        DbError::Unavailable(_) | DbError::Damaged(_) | DbError::Bug(_) => false,
    });
    let stored = stored.await;
    if let Err(error) = stored {
        tracing::error!(%error, request_id = record.request_id, "audit record not stored");
    }
}

/// Ids as an audit record lists them.
pub(crate) fn listed<T: ToString>(ids: impl IntoIterator<Item = T>) -> String {
    ids.into_iter().map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}
