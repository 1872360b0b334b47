//! What is done to a pool next, by chance.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tepui_storage::{Pool, PoolError};

use crate::content::{BLOCK, SECTOR};
use crate::operation::{GRACE, Operation};
use crate::state::{State, is_due, refusal};
use crate::support::{snapshot, volume};

/// Of volumes that are made.
const MOST_BLOCKS: u32 = 1024;
/// Above, room is made first; what the file system takes for itself has the rest.
const BUDGET: u64 = 20 << 20;

/// The state, and the chance that changes it.
pub(crate) struct Model {
    pub(crate) state: State,
    chance: StdRng,
    now: u32,
    last: u32,
    /// What was cut off, and is ordered again.
    again: Option<Operation>,
    done: BTreeSet<&'static str>,
    refused: u32,
    died: u32,
    written: u64,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: State::default(),
            chance: StdRng::seed_from_u64(seed),
            now: 0,
            last: 0,
            again: None,
            done: BTreeSet::new(),
            refused: 0,
            died: 0,
            written: 0,
        }
    }

    /// What is done next.
    pub(crate) fn choose(&mut self) -> Operation {
        self.now += 1;
        if let Some(again) = self.again.take() {
            return again;
        }
        if self.state.room() > BUDGET {
            return self.make_room();
        }
        loop {
            let chosen = match self.chance.random_range(0..20) {
                0..2 => Some(Operation::Create { volume: self.fresh(), blocks: self.size(1) }),
                2..4 => self.clone(),
                4..7 => self.snapshot(),
                7..9 => self.grow(),
                9 => self.remove_volume(),
                10 => self.remove_snapshot(),
                11 => Some(Operation::Sweep { at: self.now }),
                12 => self.mistake(),
                13 => self.copy(),
                _ => self.write(),
            };
            if let Some(operation) = chosen {
                return operation;
            }
        }
    }

    /// Takes the trash away once it may go, and fills it.
    fn make_room(&mut self) -> Operation {
        if self.state.trash.values().any(|(removed, _)| is_due(*removed, self.now)) {
            return Operation::Sweep { at: self.now };
        }
        let removal = if self.chance.random() { self.remove_volume() } else { self.remove_snapshot() };
        removal.unwrap_or_else(|| {
            self.now += u32::try_from(GRACE).unwrap();
            Operation::Sweep { at: self.now }
        })
    }

    fn fresh(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// From `least` blocks on.
    fn size(&mut self, least: u32) -> u32 {
        self.chance.random_range(least..=MOST_BLOCKS.max(least))
    }

    fn any_volume(&mut self) -> Option<(u32, u32)> {
        let (number, content) = self.state.volumes.iter().choose(&mut self.chance)?;
        Some((*number, content.blocks()))
    }

    fn any_snapshot(&mut self) -> Option<(u32, u32)> {
        let (number, content) = self.state.snapshots.iter().choose(&mut self.chance)?;
        Some((*number, content.blocks()))
    }

    fn clone(&mut self) -> Option<Operation> {
        let (snapshot, least) = self.any_snapshot()?;
        Some(Operation::Clone { volume: self.fresh(), snapshot, blocks: self.size(least) })
    }

    fn snapshot(&mut self) -> Option<Operation> {
        let (volume, _) = self.any_volume()?;
        Some(Operation::Snapshot { snapshot: self.fresh(), volume })
    }

    fn copy(&mut self) -> Option<Operation> {
        let (of, _) = self.any_snapshot()?;
        Some(Operation::Copy { snapshot: self.fresh(), of })
    }

    fn grow(&mut self) -> Option<Operation> {
        let (volume, least) = self.any_volume()?;
        Some(Operation::Grow { volume, blocks: self.size(least) })
    }

    fn remove_volume(&mut self) -> Option<Operation> {
        let (volume, _) = self.any_volume()?;
        Some(Operation::RemoveVolume { volume, at: self.now })
    }

    fn remove_snapshot(&mut self) -> Option<Operation> {
        let (snapshot, _) = self.any_snapshot()?;
        Some(Operation::RemoveSnapshot { snapshot, at: self.now })
    }

    fn write(&mut self) -> Option<Operation> {
        let (volume, blocks) = self.any_volume()?;
        let sectors = blocks * 8;
        let first = self.chance.random_range(0..sectors);
        let count = self.chance.random_range(1..=sectors - first);
        Some(Operation::Write { volume, first, count, mark: self.fresh() })
    }

    /// An order that came late, or asks for what cannot be.
    fn mistake(&mut self) -> Option<Operation> {
        let removed = (1..=self.last).filter(|number| {
            let id = volume((*number).into()).to_string();
            self.state.trash.contains_key(&id)
        });
        let removed = removed.choose(&mut self.chance);
        let (fresh, any, snapshot) = (self.fresh(), self.any_volume(), self.any_snapshot());
        match self.chance.random_range(0..5) {
            0 => Some(Operation::Create { volume: removed?, blocks: 1 }),
            1 => any.map(|(volume, blocks)| Operation::Create { volume, blocks: blocks + 1 }),
            2 => {
                any.filter(|(_, blocks)| *blocks > 1).map(|(volume, _)| Operation::Grow { volume, blocks: 1 })
            }
            3 => Some(Operation::Snapshot { snapshot: fresh, volume: removed? }),
            _ => {
                let (snapshot, blocks) = snapshot.filter(|(_, blocks)| *blocks > 1)?;
                Some(Operation::Clone { volume: fresh, snapshot, blocks: blocks - 1 })
            }
        }
    }

    /// Where the process dies that carries it out, if it does.
    pub(crate) fn death(&mut self, operation: &Operation) -> Option<String> {
        let dies = self.chance.random_ratio(1, 4);
        if dies && self.changes(operation) {
            operation.points().into_iter().choose(&mut self.chance)
        } else {
            None
        }
    }

    /// Whether there is anything to do.
    fn changes(&self, operation: &Operation) -> bool {
        let there = |volume: &u32| self.state.volumes.contains_key(volume);
        match operation {
            Operation::Create { volume, .. } | Operation::Clone { volume, .. } if there(volume) => false,
            Operation::Snapshot { snapshot, .. } | Operation::Copy { snapshot, .. }
                if self.state.snapshots.contains_key(snapshot) =>
            {
                false
            }
            Operation::Grow { volume, blocks } => {
                self.state.volumes.get(volume).is_some_and(|content| content.blocks() < *blocks)
            }
            Operation::RemoveVolume { volume, .. } => there(volume),
            Operation::RemoveSnapshot { snapshot, .. } => self.state.snapshots.contains_key(snapshot),
            Operation::Sweep { at } => self.state.trash.values().any(|(removed, _)| is_due(*removed, *at)),
            Operation::Create { .. }
            | Operation::Clone { .. }
            | Operation::Snapshot { .. }
            | Operation::Copy { .. }
            | Operation::Write { .. } => self.state.clone().apply(operation).is_ok(),
        }
    }

    /// What was done, or refused, is what must be.
    pub(crate) fn expect(&mut self, operation: &Operation, done: Result<(), PoolError>) {
        let told = done.map_err(|error| refusal(&error));
        assert_eq!(told, self.state.apply(operation).map_err(str::to_owned), "{operation}");
        match told {
            Ok(()) => drop(self.done.insert(operation.name())),
            Err(_) => self.refused += 1,
        }
        if let Operation::Write { count, .. } = operation {
            self.written += u64::from(*count) * SECTOR;
        }
    }

    /// What was cut off is there whole, or as if it had never been asked for. Half of it is asked for again.
    pub(crate) fn adopt(&mut self, operation: &Operation, pool: &Pool) {
        self.died += 1;
        let mut after = self.state.clone();
        assert_eq!(after.apply(operation), Ok(()), "{operation}");
        let is_done = match *operation {
            Operation::Create { volume: number, .. } | Operation::Clone { volume: number, .. } => {
                pool.volume(volume(number.into())).unwrap().is_some()
            }
            Operation::Snapshot { snapshot: number, .. } | Operation::Copy { snapshot: number, .. } => {
                pool.snapshot(snapshot(number.into())).unwrap().is_some()
            }
            Operation::Grow { volume: number, blocks } => {
                let found = pool.volume(volume(number.into())).unwrap().unwrap();
                found.bytes == u64::from(blocks) * BLOCK
            }
            Operation::RemoveVolume { volume: number, .. } => {
                pool.volume(volume(number.into())).unwrap().is_none()
            }
            Operation::RemoveSnapshot { snapshot: number, .. } => {
                pool.snapshot(snapshot(number.into())).unwrap().is_none()
            }
            // It goes on from one to the next.
            Operation::Sweep { .. } => {
                let left: BTreeSet<_> = pool.trash().unwrap().into_iter().map(|one| one.id).collect();
                assert!(after.trash.keys().all(|id| left.contains(id)), "{operation}: what is not due goes");
                self.state.trash.retain(|id, _| left.contains(id));
                false
            }
            Operation::Write { .. } => unreachable!("a write has no fail point"),
        };
        if is_done {
            self.state = after;
        }
        self.again = self.chance.random::<bool>().then(|| operation.clone());
    }

    /// The run was long enough to mean something: everything was done, something was refused and cut off, and more was
    /// written than there is room for, so that space went from owner to owner.
    pub(crate) fn assert_telling(&self, room: u64) {
        let all = BTreeSet::from(["clone", "copy", "create", "grow", "remove", "snapshot", "sweep", "write"]);
        assert_eq!(self.done, all);
        assert!(self.refused > 0 && self.died > 0, "{} refused, {} died", self.refused, self.died);
        assert!(self.written > room, "{} bytes written into {room}", self.written);
    }
}
