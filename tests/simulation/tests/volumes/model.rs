//! What every volume and snapshot must hold.

use std::collections::{BTreeMap, BTreeSet};

use tepui_types::agent::StoredId;
use tepui_types::{PoolId, SnapshotId, VolumeId};

use crate::content::{Content, Mark};

/// A volume, and who has it.
pub(crate) struct Volume {
    pub(crate) content: Content,
    /// What it held before the write that is not answered yet.
    pub(crate) before: Option<Content>,
    /// Its size before it was to grow, as long as it may have that.
    pub(crate) smaller: Option<u32>,
    /// The compute host, and the disk's name.
    pub(crate) attached: Option<(usize, String)>,
}

/// A snapshot, and what it may hold: one state of its volume since it was asked for, or what is between two of them, with
/// one of the sizes. Once it was seen it is this one.
pub(crate) struct Snapshot {
    states: Vec<Content>,
    sizes: BTreeSet<u32>,
    of: Option<VolumeId>,
}

impl Snapshot {
    pub(crate) fn with(content: Content) -> Self {
        Self { sizes: [content.gib].into(), states: vec![content], of: None }
    }

    /// What it holds, if that is known.
    pub(crate) fn content(&self) -> Option<&Content> {
        self.states.first().filter(|_| self.of.is_none())
    }

    /// It was seen to hold this.
    pub(crate) fn seen(&mut self, id: SnapshotId, found: Content) {
        let sized = |state: &Content| state.grown(found.gib);
        let is_one = self.states.iter().any(|state| sized(state) == found);
        let is_between =
            || self.states.windows(2).any(|two| found.is_between(&sized(&two[0]), &sized(&two[1])));
        let is_right = self.sizes.contains(&found.gib) && (is_one || is_between());
        assert!(is_right, "{id}: {}", found.difference(self.states.last().unwrap()));
        *self = Self::with(found);
    }
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) volumes: BTreeMap<VolumeId, Volume>,
    pub(crate) snapshots: BTreeMap<SnapshotId, Snapshot>,
    /// Taken by force from guests that do not let go: the end of their attachments takes its time.
    pub(crate) leaving: BTreeMap<VolumeId, (usize, String)>,
    /// What was deleted, and is kept.
    pub(crate) trash: BTreeSet<StoredId>,
    /// Where volumes that moved must be.
    pub(crate) moved: BTreeMap<VolumeId, PoolId>,
    mark: Mark,
}

impl Model {
    pub(crate) fn next_mark(&mut self) -> Mark {
        self.mark += 1;
        self.mark
    }

    pub(crate) fn create(&mut self, id: VolumeId, content: Content) {
        self.volumes.insert(id, Volume { content, before: None, smaller: None, attached: None });
    }

    /// A write that is under way from now on. A snapshot that is being taken holds it or not.
    pub(crate) fn write(&mut self, id: VolumeId, (first, count): (u32, u32), mark: Mark) {
        let volume = self.volumes.get_mut(&id).unwrap();
        volume.before = Some(volume.content.clone());
        volume.content.write(first, count, mark);
        for snapshot in self.snapshots.values_mut().filter(|snapshot| snapshot.of == Some(id)) {
            snapshot.states.push(volume.content.clone());
        }
    }

    /// It was answered.
    pub(crate) fn wrote(&mut self, id: VolumeId) {
        self.volumes.get_mut(&id).unwrap().before = None;
    }

    pub(crate) fn snapshot(&mut self, id: SnapshotId, of: VolumeId) {
        let volume = &self.volumes[&of];
        let states = volume.before.iter().chain([&volume.content]).cloned().collect();
        let sizes = volume.smaller.into_iter().chain([volume.content.gib]).collect();
        self.snapshots.insert(id, Snapshot { states, sizes, of: Some(of) });
    }

    pub(crate) fn grow(&mut self, id: VolumeId, gib: u32) {
        let volume = self.volumes.get_mut(&id).unwrap();
        volume.smaller = Some(volume.content.gib);
        volume.content = volume.content.grown(gib);
        for snapshot in self.snapshots.values_mut().filter(|snapshot| snapshot.of == Some(id)) {
            snapshot.sizes.insert(gib);
        }
    }
}
