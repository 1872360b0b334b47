//! Tests of snapshots.

use serde::{Deserialize, Serialize};

use crate::{Digest, PoolId, SnapshotId, SnapshotTestId};

/// A snapshot that is to be restored, read to its end and thrown away again, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedTest {
    /// Names this one test of it.
    pub id: SnapshotTestId,
    /// Where the snapshot is.
    pub pool_id: PoolId,
    /// Which snapshot.
    pub snapshot_id: SnapshotId,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestObserved {
    /// Which test.
    pub id: SnapshotTestId,
    /// What came of it.
    pub outcome: TestOutcome,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum TestOutcome {
    /// It was restored and could be read to its end.
    Read {
        /// Of its size and its content. It is the same as long as the content is.
        digest: Digest,
    },
    /// It could not.
    Failed {
        /// Why, for operators.
        message: String,
    },
}
