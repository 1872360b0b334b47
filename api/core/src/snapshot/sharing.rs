//! Who else may see a snapshot, and make volumes and copies of it.

use tepui_db::model::{Snapshot, SnapshotRecord};
use tepui_db::{ShareOutcome, SharingChange};
use tepui_types::SnapshotId;

use crate::{Caller, Cloud, Error, Kind, limits};

impl Cloud {
    /// The snapshots that the caller may use, by id: these, or all when `ids` is empty. Beside its own they are those that
    /// others share with the caller's project or with everybody.
    ///
    /// # Errors
    /// `NotFound` for the first id that is unknown, or foreign and not shared.
    pub async fn usable_snapshots(
        &self,
        caller: &Caller,
        ids: &[SnapshotId],
    ) -> Result<Vec<SnapshotRecord>, Error> {
        let mut records = self.db.snapshots(caller.project).await?;
        records.extend(self.db.shared_snapshots(caller.project).await?);
        records.sort_by_key(|record| record.snapshot.id);
        select(records, ids)
    }

    pub(crate) async fn usable_snapshot(&self, caller: &Caller, id: SnapshotId) -> Result<Snapshot, Error> {
        let found = self.usable_snapshots(caller, &[id]).await?.pop().map(|record| record.snapshot);
        found.ok_or_else(|| Error::not_found(Kind::Snapshot, id))
    }

    /// Changes who may use one of the caller's snapshots. What others made of it stays theirs.
    ///
    /// # Errors
    /// `NotFound` for the snapshot, or for a project that it would be shared with; `LimitExceeded`.
    pub async fn share_snapshot(
        &self,
        caller: &Caller,
        id: SnapshotId,
        change: SharingChange,
    ) -> Result<(), Error> {
        self.snapshot(caller, id).await?;
        let action = match change {
            SharingChange::Change { .. } => "ModifySnapshotAttribute",
            SharingChange::Reset => "ResetSnapshotAttribute",
        };
        self.commit(caller, action, id.to_string(), async {
            match self.db.share_snapshot(caller.project, id, &change, limits::SNAPSHOT_SHARES).await? {
                ShareOutcome::Changed => Ok(()),
                ShareOutcome::NotFound => Err(Error::not_found(Kind::Snapshot, id)),
                ShareOutcome::ProjectMissing(project) => Err(Error::not_found(Kind::Project, project)),
                ShareOutcome::TooMany => {
                    let (what, limit) = ("projects that a snapshot is shared with", limits::SNAPSHOT_SHARES);
                    Err(Error::LimitExceeded { what, limit })
                }
            }
        })
        .await
    }
}

/// These of the records, or all when `ids` is empty.
pub(super) fn select(
    mut records: Vec<SnapshotRecord>,
    ids: &[SnapshotId],
) -> Result<Vec<SnapshotRecord>, Error> {
    if let Some(missing) = ids.iter().find(|id| !records.iter().any(|r| r.snapshot.id == **id)) {
        return Err(Error::not_found(Kind::Snapshot, missing));
    }
    records.retain(|record| ids.is_empty() || ids.contains(&record.snapshot.id));
    Ok(records)
}
