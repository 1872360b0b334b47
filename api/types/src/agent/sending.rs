//! Content of snapshots that somebody waits for.

use serde::{Deserialize, Serialize};

use crate::{PlacementId, PoolId, SendingId, SnapshotId};

/// One sending: a snapshot's content from an offset on, as [`frames`](crate::frames).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedSending {
    /// Names it on the way back. It is asked for once.
    pub id: SendingId,
    /// Where the snapshot is: a pool of this host.
    pub pool_id: PoolId,
    /// Which.
    pub snapshot_id: SnapshotId,
    /// Bytes before this one are not sent.
    #[serde(default)]
    pub offset: u64,
    /// Its content is the local root disk of this placement, as it is at one moment from now on: the snapshot is in no pool
    /// yet, and will be in the one that is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_of: Option<PlacementId>,
}
