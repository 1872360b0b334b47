//! The one way to write: rehearsal, write, record.

use std::sync::Arc;

use tepui_db::AuditRecord;

use crate::{Caller, Cloud, Error};

impl Cloud {
    /// Runs the write of a mutating verb, unless the caller only rehearses, and records it.
    /// Everything before it is authorization and validation; nothing but it changes the store.
    pub(crate) async fn commit<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        resources: String,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if caller.dry_run {
            return Err(Error::DryRunOk);
        }
        let result = write.await;
        let outcome = result.as_ref().err().map_or("ok", Error::name);
        self.record(AuditRecord {
            at: self.clock.now(),
            project_id: caller.project,
            user_id: caller.user_id,
            action: action.into(),
            resources,
            outcome: outcome.into(),
            request_id: caller.request_id.clone(),
        });
        result
    }

    /// Appends beside the reply, not before it: waiting would double the time of every call. The log
    /// line comes first, so that a crash in between loses nothing.
    fn record(&self, record: AuditRecord) {
        tracing::info!(
            target: "audit",
            project = %record.project_id, user = %record.user_id, action = record.action,
            resources = record.resources, outcome = record.outcome, request_id = record.request_id,
        );
        let db = Arc::clone(&self.db);
        self.audits.spawn(async move {
            if let Err(error) = db.append_audit(&record).await {
                tracing::error!(%error, request_id = record.request_id, "audit record not stored");
            }
        });
    }

    /// The newest `limit` audit records of the caller's project, newest first.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn audit_records(&self, caller: &Caller, limit: u32) -> Result<Vec<AuditRecord>, Error> {
        Ok(self.db.audit(caller.project, limit).await?)
    }
}

/// Ids as an audit record lists them.
pub(crate) fn listed<T: ToString>(ids: impl IntoIterator<Item = T>) -> String {
    ids.into_iter().map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}
