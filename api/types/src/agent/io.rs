//! What a guest may do with a volume, and what it did.

use serde::{Deserialize, Serialize};

/// What a guest may do with a volume in a second, reads and writes together. 0 is no limit, and is not said: parts of
/// volumes without one are as an agent knows them that has never heard of limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoLimits {
    /// Operations.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub iops: u32,
    /// MiB.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub throughput_mib: u32,
}

impl IoLimits {
    /// The guest may do as much as it can.
    pub const NONE: Self = Self { iops: 0, throughput_mib: 0 };

    /// Whether there is no limit.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
