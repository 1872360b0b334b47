//! What a pool must hold after all that was done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;

use tepui_storage::{Pool, PoolError};

use crate::content::Content;
use crate::operation::{GRACE, Operation, time};
use crate::support::{snapshot, volume};

/// What is in the pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) volumes: BTreeMap<u32, Content>,
    pub(crate) snapshots: BTreeMap<u32, Content>,
    /// By their ids; when they were removed, and the room that they take.
    pub(crate) trash: BTreeMap<String, (u32, u64)>,
}

impl State {
    /// Does it to the model, or names the refusal.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Result<(), &'static str> {
        match *operation {
            Operation::Create { volume, blocks } => self.make(volume, Content::new(blocks))?,
            Operation::Clone { volume, snapshot, blocks } => {
                let source = self.snapshots.get(&snapshot).ok_or("no snapshot")?.clone();
                if source.blocks() > blocks {
                    return Err("smaller than its snapshot");
                }
                self.make(volume, source.grown(blocks))?;
            }
            Operation::Snapshot { snapshot: number, volume } => {
                if !self.snapshots.contains_key(&number) {
                    let source = self.volumes.get(&volume).ok_or("no volume")?.clone();
                    self.refuse_removed(&snapshot(number.into()))?;
                    self.snapshots.insert(number, source);
                }
            }
            Operation::Copy { snapshot: number, of } => {
                if !self.snapshots.contains_key(&number) {
                    let source = self.snapshots.get(&of).ok_or("no snapshot")?.clone();
                    self.refuse_removed(&snapshot(number.into()))?;
                    self.snapshots.insert(number, source);
                }
            }
            Operation::Grow { volume, blocks } => {
                let content = self.volumes.get_mut(&volume).ok_or("no volume")?;
                if content.blocks() > blocks {
                    return Err("shrink");
                }
                *content = std::mem::take(content).grown(blocks);
            }
            Operation::RemoveVolume { volume: number, at } => {
                if let Some(content) = self.volumes.remove(&number) {
                    self.trash.insert(volume(number.into()).to_string(), (at, content.room()));
                }
            }
            Operation::RemoveSnapshot { snapshot: number, at } => {
                if let Some(content) = self.snapshots.remove(&number) {
                    self.trash.insert(snapshot(number.into()).to_string(), (at, content.room()));
                }
            }
            Operation::Sweep { at } => self.trash.retain(|_, (removed, _)| !is_due(*removed, at)),
            Operation::Write { volume, first, count, mark } => {
                self.volumes.get_mut(&volume).ok_or("no volume")?.write(first, count, mark);
            }
        }
        Ok(())
    }

    fn make(&mut self, number: u32, content: Content) -> Result<(), &'static str> {
        if let Some(found) = self.volumes.get(&number) {
            return if found.blocks() >= content.blocks() { Ok(()) } else { Err("other size") };
        }
        self.refuse_removed(&volume(number.into()))?;
        self.volumes.insert(number, content);
        Ok(())
    }

    fn refuse_removed(&self, id: &dyn Display) -> Result<(), &'static str> {
        if self.trash.contains_key(&id.to_string()) { Err("removed") } else { Ok(()) }
    }

    pub(crate) fn room(&self) -> u64 {
        let kept = self.volumes.values().chain(self.snapshots.values()).map(Content::room);
        kept.chain(self.trash.values().map(|(_, room)| *room)).sum()
    }

    /// That the pool has these things and no others.
    fn compare_names(&self, pool: &Pool) {
        let volumes: BTreeSet<_> = self.volumes.keys().map(|number| volume((*number).into())).collect();
        let snapshots: BTreeSet<_> = self.snapshots.keys().map(|number| snapshot((*number).into())).collect();
        assert_eq!(pool.volumes().unwrap().into_iter().collect::<BTreeSet<_>>(), volumes);
        assert_eq!(pool.snapshots().unwrap().into_iter().collect::<BTreeSet<_>>(), snapshots);
        let trash: BTreeMap<_, _> = self.trash.iter().map(|(id, (at, _))| (id.clone(), time(*at))).collect();
        let found = pool.trash().unwrap().into_iter().map(|one| (one.id, one.removed_at));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), trash);
    }

    /// Everything is as it must be.
    pub(crate) fn compare(&self, pool: &Pool) {
        self.compare_names(pool);
        for number in self.volumes.keys() {
            self.compare_volume(*number, pool);
        }
        for number in self.snapshots.keys() {
            self.compare_snapshot(*number, pool);
        }
    }

    /// What the operation was on is as it must be.
    pub(crate) fn compare_touched(&self, operation: &Operation, pool: &Pool) {
        match *operation {
            Operation::Create { volume, .. }
            | Operation::Clone { volume, .. }
            | Operation::Grow { volume, .. }
            | Operation::Write { volume, .. } => self.compare_volume(volume, pool),
            Operation::Snapshot { snapshot, .. } | Operation::Copy { snapshot, .. } => {
                self.compare_snapshot(snapshot, pool);
            }
            Operation::RemoveVolume { .. } | Operation::RemoveSnapshot { .. } | Operation::Sweep { .. } => {
                self.compare_names(pool)
            }
        }
    }

    fn compare_volume(&self, number: u32, pool: &Pool) {
        let id = volume(number.into());
        compare(&id, self.volumes.get(&number), pool.volume(id).unwrap().map(|found| found.path));
    }

    fn compare_snapshot(&self, number: u32, pool: &Pool) {
        let id = snapshot(number.into());
        compare(&id, self.snapshots.get(&number), pool.snapshot(id).unwrap().map(|found| found.path));
    }
}

pub(crate) fn is_due(removed: u32, now: u32) -> bool {
    i64::from(now) - i64::from(removed) >= GRACE
}

fn compare(what: &dyn Display, wanted: Option<&Content>, found: Option<PathBuf>) {
    match (wanted, found) {
        (Some(content), Some(path)) => content.compare(what, &path),
        (wanted, found) => assert!(wanted.is_none() && found.is_none(), "{what}: {found:?}"),
    }
}

/// The name of a refusal.
pub(crate) fn refusal(error: &PoolError) -> String {
    let name = match error {
        PoolError::Removed { .. } => "removed",
        PoolError::OtherSize { .. } => "other size",
        PoolError::Shrink { .. } => "shrink",
        PoolError::SmallerThanSnapshot { .. } => "smaller than its snapshot",
        PoolError::NoVolume(_) => "no volume",
        PoolError::NoSnapshot(_) => "no snapshot",
        other => return other.to_string(),
    };
    name.to_owned()
}
