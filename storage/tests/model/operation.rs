//! What can be done to a pool, and to a volume in it. As text, so that another process can be told.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::str::FromStr;

use tepui_storage::{Pool, PoolError, STEPS};
use tepui_types::Timestamp;

use crate::content::{BLOCK, SECTOR, sector};
use crate::support::{snapshot, volume};

/// How long the trash keeps what was removed.
pub(crate) const GRACE: i64 = 20;

/// Volumes and snapshots by their numbers, sizes in blocks, times in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Create {
        volume: u32,
        blocks: u32,
    },
    Clone {
        volume: u32,
        snapshot: u32,
        blocks: u32,
    },
    Snapshot {
        snapshot: u32,
        volume: u32,
    },
    /// A snapshot of a snapshot.
    Copy {
        snapshot: u32,
        of: u32,
    },
    Grow {
        volume: u32,
        blocks: u32,
    },
    RemoveVolume {
        volume: u32,
        at: u32,
    },
    RemoveSnapshot {
        snapshot: u32,
        at: u32,
    },
    Sweep {
        at: u32,
    },
    /// A guest writes these sectors, each of which then holds the mark.
    Write {
        volume: u32,
        first: u32,
        count: u32,
        mark: u32,
    },
}

impl Operation {
    /// Its name in [`STEPS`]; a write has no steps of ours.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Clone { .. } => "clone",
            Self::Snapshot { .. } => "snapshot",
            Self::Copy { .. } => "copy",
            Self::Grow { .. } => "grow",
            Self::RemoveVolume { .. } | Self::RemoveSnapshot { .. } => "remove",
            Self::Sweep { .. } => "sweep",
            Self::Write { .. } => "write",
        }
    }

    /// Where the process may die.
    pub(crate) fn points(&self) -> Vec<String> {
        let name = self.name();
        let own = STEPS.iter().filter(|(operation, _)| *operation == name);
        own.flat_map(|(_, steps)| *steps).map(|step| format!("storage::{name}::{step}")).collect()
    }

    /// Carries it out.
    pub(crate) fn perform(&self, pool: &Pool) -> Result<(), PoolError> {
        let bytes = |blocks: u32| u64::from(blocks) * BLOCK;
        let id = |number: u32| volume(number.into());
        match *self {
            Self::Create { volume, blocks } => pool.create_volume(id(volume), bytes(blocks)).map(drop),
            Self::Clone { volume, snapshot: of, blocks } => {
                pool.clone_volume(id(volume), snapshot(of.into()), bytes(blocks)).map(drop)
            }
            Self::Snapshot { snapshot: number, volume } => {
                pool.take_snapshot(snapshot(number.into()), id(volume)).map(drop)
            }
            Self::Copy { snapshot: number, of } => {
                pool.copy_snapshot(snapshot(number.into()), snapshot(of.into())).map(drop)
            }
            Self::Grow { volume, blocks } => pool.grow_volume(id(volume), bytes(blocks)).map(drop),
            Self::RemoveVolume { volume, at } => pool.remove_volume(id(volume), time(at)),
            Self::RemoveSnapshot { snapshot: number, at } => {
                pool.remove_snapshot(snapshot(number.into()), time(at))
            }
            Self::Sweep { at } => {
                let age = |removed: Timestamp| time(at).as_second() - removed.as_second();
                pool.sweep(|found| age(found.removed_at) >= GRACE).map(drop)
            }
            Self::Write { volume, first, count, mark } => {
                write(pool, volume, first, &sector(mark).repeat(count.try_into().unwrap()));
                Ok(())
            }
        }
    }

    /// As one line: the name and its numbers.
    fn numbers(&self) -> (&'static str, Vec<u32>) {
        match *self {
            Self::Create { volume, blocks } => ("create", vec![volume, blocks]),
            Self::Clone { volume, snapshot, blocks } => ("clone", vec![volume, snapshot, blocks]),
            Self::Snapshot { snapshot, volume } => ("snapshot", vec![snapshot, volume]),
            Self::Copy { snapshot, of } => ("copy", vec![snapshot, of]),
            Self::Grow { volume, blocks } => ("grow", vec![volume, blocks]),
            Self::RemoveVolume { volume, at } => ("remove-volume", vec![volume, at]),
            Self::RemoveSnapshot { snapshot, at } => ("remove-snapshot", vec![snapshot, at]),
            Self::Sweep { at } => ("sweep", vec![at]),
            Self::Write { volume, first, count, mark } => ("write", vec![volume, first, count, mark]),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, numbers) = self.numbers();
        f.write_str(name)?;
        numbers.iter().try_for_each(|number| write!(f, " {number}"))
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ');
        let name = words.next().unwrap_or_default();
        let numbers: Vec<u32> = words.map(|word| word.parse().unwrap()).collect();
        Ok(match (name, numbers.as_slice()) {
            ("create", &[volume, blocks]) => Self::Create { volume, blocks },
            ("clone", &[volume, snapshot, blocks]) => Self::Clone { volume, snapshot, blocks },
            ("snapshot", &[snapshot, volume]) => Self::Snapshot { snapshot, volume },
            ("copy", &[snapshot, of]) => Self::Copy { snapshot, of },
            ("grow", &[volume, blocks]) => Self::Grow { volume, blocks },
            ("remove-volume", &[volume, at]) => Self::RemoveVolume { volume, at },
            ("remove-snapshot", &[snapshot, at]) => Self::RemoveSnapshot { snapshot, at },
            ("sweep", &[at]) => Self::Sweep { at },
            _ => return Err(text.to_owned()),
        })
    }
}

/// The control plane's clock.
pub(crate) fn time(second: u32) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::from(second)).unwrap()
}

fn write(pool: &Pool, number: u32, first: u32, bytes: &[u8]) {
    let path = pool.volume(volume(number.into())).unwrap().unwrap().path;
    let disk = OpenOptions::new().write(true).open(path).unwrap();
    disk.write_all_at(bytes, u64::from(first) * SECTOR).unwrap();
}
