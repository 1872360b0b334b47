//! What was carried out for a placement, as the ledger keeps it.

use serde::{Deserialize, Serialize};
use tepui_types::agent::OffReason;

/// The counters and marks that outlive the agent and the host. The default is a placement for which
/// nothing was done yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The last start that was carried out; 0 for none.
    pub start_seq: u64,
    /// The last reboot that was carried out.
    pub reboot_seq: u64,
    /// The host's boot id when the guest was last seen to run. If it is not the current one, the guest
    /// went down with the host, not by itself.
    pub boot_id: String,
    /// Why the guest is off, noted when it was seen to be off. A noted guest stays off over a reboot of
    /// the host.
    pub off: Option<OffReason>,
    /// A shutdown was begun, and is finished even if the guest is wanted again meanwhile.
    pub stopping: bool,
    /// Its local root disk was made: from then on a missing disk is a lost one. Noted before the guest can write
    /// to it.
    #[serde(default)]
    pub disk_made: bool,
    /// The file of all this could not be read: what was done is not known, but that the disk may hold data. The
    /// counters are then those that were wanted when it was found, or 0 where that is not known either. Never
    /// written; the first decision makes a new record.
    #[serde(skip)]
    pub lost: bool,
}

impl Progress {
    /// What is known of a placement whose record is damaged.
    pub fn lost() -> Self {
        Self { disk_made: true, lost: true, ..Self::default() }
    }

    /// Whether the placement's root disk must be there, if it is a local one.
    pub fn has_disk(&self) -> bool {
        self.disk_made || self.start_seq > 0
    }

    /// Whether the guest was running and nobody saw it go off before the host booted again.
    pub fn went_down_with_host(&self, boot_id: &str) -> bool {
        self.start_seq > 0 && self.off.is_none() && self.boot_id != boot_id
    }
}
