//! What takes room in a pool beside what is wanted there, and the order to free it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, ParseIdError, PoolId, SnapshotId, VolumeId};

/// So many leftovers of a pool a host tells at most, those that were removed first before others: a report has a size.
pub const MOST_LEFTOVERS: usize = 10_000;

/// The id of what a pool stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StoredId {
    /// A volume.
    Volume(VolumeId),
    /// A snapshot.
    Snapshot(SnapshotId),
}

impl fmt::Display for StoredId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(id) => id.fmt(f),
            Self::Snapshot(id) => id.fmt(f),
        }
    }
}

impl FromStr for StoredId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse().map(Self::Volume).or_else(|_| text.parse().map(Self::Snapshot))
    }
}

/// A removed volume or snapshot whose file must be unlinked now. It was kept for its grace, which the control plane
/// alone ends: a host's clock may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedUnlink {
    /// Where it lies.
    pub pool_id: PoolId,
    /// Which.
    pub id: StoredId,
}

/// A file in a pool that is not wanted there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leftover {
    /// Where it lies.
    pub pool_id: PoolId,
    /// What it is.
    pub kind: LeftoverKind,
    /// What it takes of the pool; what it shares with other files would not be freed with it.
    pub bytes: u64,
}

/// What a file is that is not wanted where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum LeftoverKind {
    /// It was removed, and waits for the order to unlink it.
    Removed {
        /// Whose file it was.
        id: StoredId,
    },
    /// It lies among the volumes or snapshots, and the part does not name it.
    Unnamed {
        /// Under which it lies.
        id: StoredId,
    },
    /// An image for new volumes, for which none waits. Its host removes it by itself once nothing made use of it for
    /// a day, as it holds nobody's data.
    Base {
        /// The image.
        digest: Digest,
    },
}
