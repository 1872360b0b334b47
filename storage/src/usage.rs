//! How full a pool is.

/// Where a pool begins to warn, and where it takes nothing new. Percent of the file system's bytes.
///
/// Volumes are thin, so that guests go on to fill a pool that takes nothing new: the room above the hard watermark
/// is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// From here on the operator is warned.
    pub soft_percent: u8,
    /// From here on nothing is made or grown.
    pub hard_percent: u8,
}

/// The bytes of a pool's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Used and free together. The file system itself may have more, which nobody can write, as btrfs has where it
    /// holds back room for its own records.
    pub capacity: u64,
    /// Used, also by what is not the pool's.
    pub used: u64,
    /// Free to be written.
    pub free: u64,
}

/// Where a pool's usage is in its watermarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Below both.
    Normal,
    /// At or above the soft one.
    Soft,
    /// At or above the hard one.
    Hard,
}

impl Usage {
    pub(crate) fn of(found: &rustix::fs::StatVfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let (used, free) = (bytes(found.f_blocks.saturating_sub(found.f_bfree)), bytes(found.f_bavail));
        Self { capacity: used.saturating_add(free), used, free }
    }

    /// With so many more bytes used.
    pub(crate) fn with(self, bytes: u64) -> Self {
        Self { used: self.used.saturating_add(bytes), ..self }
    }

    /// Compares with the watermarks.
    pub fn level(self, marks: Watermarks) -> Level {
        let reaches =
            |percent: u8| u128::from(self.used) * 100 >= u128::from(self.capacity) * u128::from(percent);
        if reaches(marks.hard_percent) {
            Level::Hard
        } else if reaches(marks.soft_percent) {
            Level::Soft
        } else {
            Level::Normal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_counts_as_reached_at_its_very_percent() {
        let marks = Watermarks { soft_percent: 80, hard_percent: 95 };
        for (used, level) in [
            (0, Level::Normal),
            (799, Level::Normal),
            (800, Level::Soft),
            (949, Level::Soft),
            (950, Level::Hard),
            (1000, Level::Hard),
        ] {
            let usage = Usage { capacity: 1000, used, free: 1000 - used };
            assert_eq!(usage.level(marks), level, "{used}");
        }
    }

    #[test]
    fn a_pool_of_exbibytes_does_not_overflow() {
        let usage = Usage { capacity: u64::MAX, used: u64::MAX - 1, free: 1 };
        assert_eq!(usage.level(Watermarks { soft_percent: 80, hard_percent: 100 }), Level::Soft);
    }
}
