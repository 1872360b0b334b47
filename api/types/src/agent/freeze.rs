//! A guest's file systems that are held still while snapshots are taken.

use serde::{Deserialize, Serialize};

use crate::FreezeId;

/// One freeze of a guest and what is wanted of it. A guest that no part names a freeze of is thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedFreeze {
    /// Which. One that is over never begins again.
    pub id: FreezeId,
    /// Frozen or thawed.
    pub wanted: FreezePart,
}

/// Frozen or thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezePart {
    /// The guest's file systems must hold still, until it is said otherwise or the agent's own deadline.
    Frozen,
    /// They must not any more, and the agent says whether they did until now.
    Thawed,
}

/// One freeze as the guest's node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeObserved {
    /// Which.
    pub id: FreezeId,
    /// Its state.
    pub state: FreezeState,
}

/// The state of a freeze on its guest's node.
///
/// ```text
///   (none) ──▶ frozen ──thawed is wanted──▶ held
///      └─ refused: failed ◀── deadline, agent restarted, guest off
///                    ▲
///                 stuck: not thawed yet
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FreezeState {
    /// The guest's file systems hold still.
    Frozen,
    /// They did from the report of `Frozen` until the part wanted them thawed, and are thawed.
    Held,
    /// They never did, or not until then, and do not now.
    Failed {
        /// Why, for operators.
        message: String,
    },
    /// They should not any more, and the guest does not answer; the agent tries again by itself.
    Stuck {
        /// Why, for operators.
        message: String,
    },
}
