//! Disks that an instance has on its own host from one start to its next stop.

use serde::{Deserialize, Serialize};

/// What a guest finds on such a disk when it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScratchKind {
    /// An empty file system. EC2's clients call it `ephemeral0`.
    Scratch,
    /// A swap area.
    Swap,
}

impl ScratchKind {
    /// Each of them, in the order in which a guest has them.
    pub const ALL: &'static [Self] = &[Self::Scratch, Self::Swap];
}

/// The sizes of an instance's scratch and swap disk in GiB. 0 is none, and is not said: parts of instances without one
/// are as an agent knows them that has never heard of such disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScratchDisks {
    /// Of the one for files.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub scratch_gib: u32,
    /// Of the one to swap to.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub swap_gib: u32,
}

impl ScratchDisks {
    /// Neither.
    pub const NONE: Self = Self { scratch_gib: 0, swap_gib: 0 };

    /// Whether there is neither.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// What both take of their host.
    pub fn total_gib(&self) -> u64 {
        u64::from(self.scratch_gib) + u64::from(self.swap_gib)
    }

    /// Those that there are, each with its size and its letter: they come next to the root disk, without a gap, so that
    /// a guest that counts its disks finds each under the name that its metadata say.
    pub fn each(&self) -> impl Iterator<Item = (ScratchKind, u32, char)> + use<> {
        let of = |kind: ScratchKind| (kind, self.gib(kind));
        let there = [of(ScratchKind::Scratch), of(ScratchKind::Swap)].into_iter().filter(|(_, gib)| *gib > 0);
        there.zip('b'..).map(|((kind, gib), letter)| (kind, gib, letter))
    }

    /// Whether one of them has the place of this letter.
    pub fn takes(&self, letter: Option<char>) -> bool {
        self.each().any(|(_, _, taken)| Some(taken) == letter)
    }

    fn gib(self, kind: ScratchKind) -> u32 {
        match kind {
            ScratchKind::Scratch => self.scratch_gib,
            ScratchKind::Swap => self.swap_gib,
        }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_next_to_the_root_disk_without_a_gap() {
        let of = |scratch_gib, swap_gib| {
            let disks = ScratchDisks { scratch_gib, swap_gib };
            disks.each().collect::<Vec<_>>()
        };
        let (scratch, swap) = (ScratchKind::Scratch, ScratchKind::Swap);
        assert_eq!(of(20, 2), [(scratch, 20, 'b'), (swap, 2, 'c')]);
        assert_eq!(of(20, 0), [(scratch, 20, 'b')]);
        assert_eq!(of(0, 2), [(swap, 2, 'b')]);
        assert_eq!(of(0, 0), []);
        let swap = ScratchDisks { scratch_gib: 0, swap_gib: 2 };
        assert_eq!(
            [Some('a'), Some('b'), Some('c'), None].map(|letter| swap.takes(letter)),
            [false, true, false, false]
        );
    }

    #[test]
    fn what_there_is_not_is_not_said() {
        let said = |disks: ScratchDisks| serde_json::to_string(&disks).unwrap();
        assert_eq!(said(ScratchDisks::NONE), "{}");
        assert_eq!(said(ScratchDisks { scratch_gib: 0, swap_gib: 2 }), r#"{"swap_gib":2}"#);
    }
}
