//! When a volume is deleted by itself.

use jiff::Timestamp;
use tepui_types::{InstanceId, ProjectId, UserId, VolumeId};

/// The time at which a volume is deleted, and how far its warning is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeEnd {
    /// Its time.
    pub at: Timestamp,
    /// Its owner is warned from then on.
    pub warns_at: Timestamp,
    /// So many seconds passed under the eyes of control planes since its owner is warned; `None` before.
    pub warned_seconds: Option<u32>,
    /// Who set it.
    pub set_by: UserId,
}

impl VolumeEnd {
    /// So many seconds must have passed since the warning before it is deleted.
    pub fn warning_seconds(&self) -> u32 {
        u32::try_from(self.at.duration_since(self.warns_at).as_secs()).unwrap_or(u32::MAX)
    }
}

/// A volume whose warning has begun, or is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndingVolume {
    /// The volume.
    pub volume_id: VolumeId,
    /// Its owner.
    pub project_id: ProjectId,
    /// Its end.
    pub end: VolumeEnd,
    /// Who uses it.
    pub used_by: Option<InstanceId>,
}
