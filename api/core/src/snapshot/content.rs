//! Reading what a snapshot holds.

use tepui_db::model::SnapshotState;
use tepui_types::agent::WantedSending;
use tepui_types::{SendingId, SnapshotId};

use crate::sending::Content;
use crate::{Caller, Cloud, Error, Kind};

impl Cloud {
    /// The content of one of the caller's snapshots from `offset` on, from its host. Whom it is shared with makes a
    /// copy first.
    ///
    /// # Errors
    /// `NotFound`, `WrongState` for one that is not completed, `LimitExceeded`, `Busy`, `Unreadable`, `InvalidInput` for an
    /// offset behind its end.
    pub async fn snapshot_content(
        &self,
        caller: &Caller,
        id: SnapshotId,
        offset: u64,
    ) -> Result<Content, Error> {
        let snapshot = self.snapshot(caller, id).await?;
        if snapshot.state != SnapshotState::Completed {
            let (id, state) = (id.to_string(), snapshot.state.name().into());
            return Err(Error::WrongState { id, state, wanted: "completed" });
        }
        let loads = self.db.pools().await?;
        let pool = loads.iter().map(|load| &load.pool).find(|pool| pool.id == snapshot.pool_id);
        let pool = pool.ok_or_else(|| Error::not_found(Kind::Pool, snapshot.pool_id))?;
        // A reader that waits for a host keeps nobody out.
        caller.turn.leave();
        let sending = SendingId::from_random(self.random());
        let order = WantedSending { id: sending, pool_id: pool.id, snapshot_id: id, offset };
        self.request_content(pool.node_id, caller.project, order).await
    }
}
