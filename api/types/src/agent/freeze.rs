//! Guests that are held still while snapshots are taken.

use serde::{Deserialize, Serialize};

use crate::FreezeId;

/// What of a guest holds still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezeKind {
    /// Its file systems, with the help of its guest agent: all that its programs wrote is on its disks.
    #[default]
    FileSystems,
    /// Its virtual CPUs, which its hypervisor pauses: all that it was told is written is on its disks. It takes no part in it.
    Vcpus,
}

impl FreezeKind {
    /// The kind that is meant where none is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One freeze of a guest and what is wanted of it. A guest that no part names a freeze of is thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedFreeze {
    /// Which. One that is over never begins again.
    pub id: FreezeId,
    /// What of the guest.
    #[serde(default, skip_serializing_if = "FreezeKind::is_default")]
    pub kind: FreezeKind,
    /// Frozen or thawed.
    pub wanted: FreezePart,
}

/// Frozen or thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezePart {
    /// It must hold still, until it is said otherwise or the agent's own deadline.
    Frozen,
    /// It must not any more, and the agent says whether it did until now.
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
    /// The guest holds still.
    Frozen,
    /// It did from the report of `Frozen` until the part wanted it thawed, and goes on.
    Held,
    /// It never did, or not until then, and does not now.
    Failed {
        /// Why, for operators.
        message: String,
    },
    /// It should not any more, and does not answer, or its hypervisor does not; the agent tries again by itself.
    Stuck {
        /// Why, for operators.
        message: String,
    },
}
