//! What an agent sees on its host.

use serde::{Deserialize, Serialize};

use super::{DiskIo, DiskObserved, FreezeObserved, HavePart, NodeCapacity, StalledDisk, StorageObserved};
use crate::{Epoch, PlacementId};

/// Everything the agent observes, whole each time: a report replaces the one before. A control plane leaves out what it
/// does not know of it, as from a newer agent: all else there is as true as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The ledger's epoch.
    pub epoch: Epoch,
    /// As in the poll.
    pub agent_run: u64,
    /// Grows with each report of one run; an older one that was delayed on the way is dropped.
    pub sequence: u64,
    /// The observation.
    pub observed: NodeObserved,
}

/// The state of the host, of which a control plane leaves out what it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeObserved {
    /// The agent's version.
    pub agent_version: String,
    /// Changes when the host reboots.
    pub boot_id: String,
    /// What the host offers.
    pub capacity: NodeCapacity,
    /// What is in use.
    pub usage: NodeUsage,
    /// Parts in the ledger that were acted on.
    pub applied: Vec<HavePart>,
    /// Parts that were refused; each raises an alarm.
    pub refused: Vec<RefusedPart>,
    /// Every placement found on the host, whether a part names it or not, and every one a part
    /// names, whether it was found or not.
    pub placements: Vec<PlacementObserved>,
    /// The reason why the host cannot start guests now (libvirtd away, disk full), for people.
    pub impaired: Option<String>,
    /// Its pools and what is in them; `None` on a host that has no storage part.
    #[serde(default)]
    pub storage: Option<StorageObserved>,
    /// What running guests did with their volumes, read now and then. Not said of one that was not read yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub io: Vec<DiskIo>,
    /// The volumes for which guests stand still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stalled: Vec<StalledDisk>,
    /// What is wrong with what is really served and kept on the host, at its agent's last look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<HostFinding>,
}

/// Something on a host that is not as its ledger says, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFinding {
    /// Something does not work, or will not; else it is worth a look.
    pub is_failure: bool,
    /// Whose: a target, an export, an account, a guest.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

/// What is in use on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeUsage {
    /// Free bytes of the file system that holds the disks.
    pub disk_free_bytes: u64,
}

/// A part the agent would not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedPart {
    /// The part and the generation that came.
    pub part: HavePart,
    /// Why, for people.
    pub reason: String,
}

/// One placement as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementObserved {
    /// Which.
    pub id: PlacementId,
    /// Its state.
    pub state: PlacementState,
    /// Whether any part in the ledger names it.
    pub wanted: bool,
    /// Its disks beside the root disk: those that a part names and those that its domain has.
    #[serde(default)]
    pub disks: Vec<DiskObserved>,
    /// The freeze that its part names, or that is not over yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<FreezeObserved>,
}

/// Why a guest is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffReason {
    /// The desired state asked for it.
    Requested,
    /// The guest powered itself off.
    Guest,
    /// The hypervisor process died.
    Crashed,
    /// The host's own record of it is lost, so it may have been any of these. It stays off until a start that
    /// is asked for later.
    Unknown,
}

/// The state of a placement on its host.
///
/// ```text
///            parts arrive          domain runs
///   (none) ───────────────▶ preparing ───────▶ running ◀──┐
///                            │  ▲                │  │      │ start_seq grew
///              cannot be done│  │ try again      │  └▶ off ┘
///                            ▼  │                ▼      │
///                           failed          stopping ───┤
///                                                       ▼ absent
///                                                     gone
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PlacementState {
    /// On its way to running.
    Preparing {
        /// The step in work, for people: `image 41 %`, `network`, `disk`, `domain`.
        step: String,
    },
    /// The domain runs.
    Running {
        /// The start that was carried out.
        start_seq: u64,
        /// The reboot that was carried out.
        reboot_seq: u64,
    },
    /// The guest was asked to shut down.
    Stopping,
    /// The domain is off, the disks are there.
    Off {
        /// The last start that was carried out; 0 when none was.
        start_seq: u64,
        /// Why it is off.
        reason: OffReason,
    },
    /// A step failed; the agent tries again by itself.
    Failed {
        /// The start that was wanted when it failed; where none was, the last that was carried out.
        start_seq: u64,
        /// The step that failed.
        step: String,
        /// Why, for operators.
        message: String,
        /// Trying again cannot help, for example because the image does not match its digest.
        permanent: bool,
    },
    /// Domain, tap and disks are gone, as wanted.
    Gone,
}

/// Answers a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportReply {
    /// The database's epoch.
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_agent_sees_besides_is_left_out() {
        let observed = serde_json::json!({
            "agent_version": "9.0.0", "boot_id": "b",
            "capacity": { "vcpus": 8, "memory_mib": 1024, "disk_gib": 10 },
            "usage": { "disk_free_bytes": 1 },
            "applied": [], "refused": [], "placements": [], "impaired": null,
            "colours": [{ "of": "everything" }],
        });
        let report = serde_json::json!({ "epoch": 1, "agent_run": 2, "sequence": 3, "observed": observed, "mood": "good" });
        let read: Report = serde_json::from_value(report).unwrap();
        assert_eq!((read.observed.agent_version.as_str(), read.observed.findings.len()), ("9.0.0", 0));
    }
}
