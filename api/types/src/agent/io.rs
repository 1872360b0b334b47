//! What a guest may do with a volume, and what it did.

use serde::{Deserialize, Serialize};

use crate::ExportId;

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

/// What a guest did with one volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskIo {
    /// Which incarnation of the attachment.
    pub export_id: ExportId,
    /// Since the guest started, or was given the disk.
    pub counters: IoCounters,
}

/// What was done with a disk. The counters only grow, until they begin again at 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoCounters {
    /// Reads that ended.
    pub reads: u64,
    /// Writes that ended.
    pub writes: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
}

impl IoCounters {
    /// What was done since they were `before`; all of it where they began again.
    pub fn since(self, before: Self) -> Self {
        let more = || {
            Some(Self {
                reads: self.reads.checked_sub(before.reads)?,
                writes: self.writes.checked_sub(before.writes)?,
                read_bytes: self.read_bytes.checked_sub(before.read_bytes)?,
                written_bytes: self.written_bytes.checked_sub(before.written_bytes)?,
            })
        };
        more().unwrap_or(self)
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            reads: self.reads.saturating_add(other.reads),
            writes: self.writes.saturating_add(other.writes),
            read_bytes: self.read_bytes.saturating_add(other.read_bytes),
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_began_again_count_whole() {
        let of = |number| IoCounters { reads: number, writes: 1, read_bytes: 2, written_bytes: 3 };
        let nothing = IoCounters::default();
        assert_eq!(of(7).since(of(7)), nothing);
        assert_eq!(of(9).since(of(7)), IoCounters { reads: 2, ..nothing });
        assert_eq!(of(6).since(of(7)), of(6));
        assert_eq!(of(6).since(nothing).and(of(1)).reads, 7);
    }
}
