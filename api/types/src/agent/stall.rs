//! Volumes that keep their guests from going on.

use serde::{Deserialize, Serialize};

use crate::ExportId;

/// A volume that a write failed on, so that its guest stands still until it succeeds; the guest hears nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StalledDisk {
    /// Which incarnation of the attachment.
    pub export_id: ExportId,
    /// Why.
    pub failure: DiskFailure,
}

/// Why a disk of a guest failed, as far as QEMU can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFailure {
    /// There is no room where its bytes are.
    NoSpace,
    /// Anything else.
    Other,
}
