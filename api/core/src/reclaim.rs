//! The room that what was removed still takes: what an operator sees of it, and when it is given back.
//!
//! A removed volume or snapshot lies in its pool's trash until its grace is over, by this process's clock, or an operator
//! ends it. Then its host's part orders it to be unlinked, and once its host does not find it any more it is forgotten.

use std::collections::{HashMap, HashSet};

use jiff::SignedDuration;
use tepui_db::StoragePartState;
use tepui_db::model::{MoveStage, Quarantined, SnapshotState, VolumeState};
use tepui_types::agent::{Leftover, LeftoverKind, MOST_LEFTOVERS, PoolState, StorageObserved, StoredId};
use tepui_types::{Digest, PoolId, ProjectId, Timestamp, VolumeId};

use crate::failpoint::pass;
use crate::{Caller, Cloud, Error};

/// A process ends no grace in its first hour. It may have begun with a clock that is wrong, and both of its clocks with it:
/// within that time the clock is put right, or somebody has seen it.
const SETTLED: SignedDuration = SignedDuration::from_hours(1);

/// A file that is in a pool and belongs to nothing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftoverView {
    /// What it is.
    pub kind: LeftoverKind,
    /// What it takes, extents that it shares included; `None` where its host has not said.
    pub bytes: Option<u64>,
    /// Why it is still there.
    pub state: LeftoverState,
    /// Whose it was, where that is known.
    pub project_id: Option<ProjectId>,
    /// When it was removed, or found removed.
    pub removed_at: Option<Timestamp>,
}

/// Why a file is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverState {
    /// It is kept until then.
    Quarantined {
        /// The end of its grace.
        until: Timestamp,
    },
    /// Its host is told to unlink it.
    Unlinking,
    /// It was removed, and the books have its volume or snapshot: a backup was restored. It stays.
    Referred,
    /// No row names it. It stays.
    Unnamed,
    /// An image that no new volume waits for. Its host removes it a day after the last one.
    Unused,
}

impl Cloud {
    /// What takes room in a pool beside its volumes and snapshots, by kind and id. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn leftovers(&self, caller: &Caller, pool: PoolId) -> Result<Vec<LeftoverView>, Error> {
        let node = self.pool(caller, pool).await?.load.pool.node_id;
        let Some(state) = self.db.storage_part(node).await? else { return Ok(Vec::new()) };
        let report = self.fleet.report(node);
        let seen = report.as_ref().and_then(|report| report.observed.storage.as_ref());
        let mut views = self.judge(&state, pool, seen)?;
        views.sort_by_key(|view| view.kind);
        Ok(views)
    }

    /// Ends the grace of everything that lies in a pool's trash, as far as its host has told of it. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn reclaim_pool(&self, caller: &Caller, pool: PoolId) -> Result<Vec<LeftoverView>, Error> {
        let quarantined = |view: &LeftoverView| match (view.state, view.kind, view.bytes) {
            (LeftoverState::Quarantined { .. }, LeftoverKind::Removed { id }, Some(_)) => Some(id),
            _ => None,
        };
        let removed = self.leftovers(caller, pool).await?;
        let files: Vec<_> = removed.iter().filter_map(quarantined).map(|id| (pool, id)).collect();
        let nodes = self
            .commit(caller, "ReclaimPool", pool.to_string(), async {
                Ok(self.db.order_unlinks(&files).await?)
            })
            .await?;
        let passed = pass("core::reclaim::committed")?;
        self.wakes.wake(passed, nodes);
        pass("core::reclaim::woken")?;
        self.leftovers(caller, pool).await
    }

    /// Orders what is due to be unlinked, and forgets what its host does not have any more; how many of both. Nothing
    /// is ordered of a host that has not told of the file: one whose agent is of an older version unlinks by itself.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn unlink_due(&self) -> Result<u32, Error> {
        let before = self.ago(self.config.retention.quarantine)?;
        let mut rows = self.db.quarantined().await?;
        let is_settled = self.steady().duration_since(self.began) >= SETTLED;
        rows.retain(|row| row.ordered || is_settled && row.removed_at <= before);
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        for row in rows {
            match self.is_in_trash(&row) {
                Some(true) if !row.ordered => there.push((row.pool_id, row.id)),
                Some(false) => gone.push((row.pool_id, row.id)),
                Some(true) | None => {}
            }
        }
        if !there.is_empty() {
            let nodes = self.db.order_unlinks(&there).await?;
            let passed = pass("core::unlink::ordered")?;
            self.wakes.wake(passed, nodes);
        }
        if !gone.is_empty() {
            let nodes = self.db.forget_quarantined(&gone).await?;
            let passed = pass("core::unlink::forgotten")?;
            self.wakes.wake(passed, nodes);
        }
        Ok(u32::try_from(there.len() + gone.len()).unwrap_or(u32::MAX))
    }

    /// By the last word of its host; `None` where there is none, its pool cannot be used, or there is more than it tells.
    fn is_in_trash(&self, row: &Quarantined) -> Option<bool> {
        let report = self.fleet.report(row.node_id)?;
        let seen = report.observed.storage.as_ref()?;
        if bytes_in_trash(seen, row).is_some() {
            return is_usable(seen, row.pool_id).then_some(true);
        }
        let told = seen.leftovers.iter().filter(|one| one.pool_id == row.pool_id).count();
        (is_usable(seen, row.pool_id) && told < MOST_LEFTOVERS).then_some(false)
    }

    fn judge(
        &self,
        state: &StoragePartState,
        pool: PoolId,
        seen: Option<&StorageObserved>,
    ) -> Result<Vec<LeftoverView>, Error> {
        let mut views = Vec::new();
        for row in state.quarantine.iter().filter(|row| row.pool_id == pool) {
            let usable = seen.filter(|seen| is_usable(seen, pool));
            let bytes = usable.and_then(|seen| bytes_in_trash(seen, row));
            // Its host has unlinked it, and this is known here in a moment.
            if usable.is_some() && bytes.is_none() {
                continue;
            }
            let grace = self.config.retention.quarantine;
            let until = row.removed_at.checked_add(grace).map_err(Error::internal)?;
            let state = match row.ordered {
                true => LeftoverState::Unlinking,
                false => LeftoverState::Quarantined { until },
            };
            let kind = LeftoverKind::Removed { id: row.id };
            let (project_id, removed_at) = (row.project_id, Some(row.removed_at));
            views.push(LeftoverView { kind, bytes, state, project_id, removed_at });
        }
        let books = Books::of(state, pool);
        let found = seen.into_iter().flat_map(|seen| &seen.leftovers);
        let is_told = |one: &&Leftover| {
            state
                .quarantine
                .iter()
                .any(|row| row.pool_id == pool && one.kind == LeftoverKind::Removed { id: row.id })
        };
        let found = found.filter(|one| one.pool_id == pool && !is_told(one));
        views.extend(found.filter_map(|one| books.judge(one)));
        Ok(views)
    }
}

fn is_usable(seen: &StorageObserved, pool: PoolId) -> bool {
    seen.pools.iter().any(|one| one.id == pool && matches!(one.state, PoolState::Ready { .. }))
}

fn bytes_in_trash(seen: &StorageObserved, row: &Quarantined) -> Option<u64> {
    let kind = LeftoverKind::Removed { id: row.id };
    seen.leftovers.iter().find(|one| one.pool_id == row.pool_id && one.kind == kind).map(|one| one.bytes)
}

/// A move takes it to another pool.
fn is_leaving(state: &StoragePartState, id: VolumeId) -> bool {
    state.moves.iter().any(|one| one.volume_id == id && one.stage == MoveStage::Leaving)
}

/// Of a volume or snapshot.
struct Owner {
    project: ProjectId,
    /// It is being deleted, or leaves for another pool: its host's next word takes it from here.
    leaves: bool,
}

/// What the rows refer to in one pool.
struct Books {
    owners: HashMap<StoredId, Owner>,
    /// Images that volumes and snapshots wait for.
    images: HashSet<Digest>,
}

impl Books {
    fn of(state: &StoragePartState, pool: PoolId) -> Self {
        let mut books = Self { owners: HashMap::new(), images: HashSet::new() };
        for one in state.volumes.iter().filter(|volume| volume.pool_id == pool) {
            let leaves = one.state == VolumeState::Deleting || is_leaving(state, one.id);
            let owner = Owner { project: one.project_id, leaves };
            books.owners.insert(StoredId::Volume(one.id), owner);
            let awaited = one.image.filter(|_| one.state == VolumeState::Creating);
            books.images.extend(awaited.map(|image| image.digest));
        }
        for one in state.snapshots.iter().filter(|snapshot| snapshot.pool_id == pool) {
            let owner = Owner { project: one.project_id, leaves: one.state == SnapshotState::Deleting };
            books.owners.insert(StoredId::Snapshot(one.id), owner);
            let awaited = one.image.filter(|_| one.state == SnapshotState::Pending);
            books.images.extend(awaited.map(|image| image.digest));
        }
        books
    }

    /// What a host's word of a file means; `None` of one that the rows know better by now.
    fn judge(&self, found: &Leftover) -> Option<LeftoverView> {
        let (state, project_id) = match found.kind {
            // One without an owner is in quarantine, or its grace begins with this word of its host.
            LeftoverKind::Removed { id } => {
                let owner = self.owners.get(&id).filter(|owner| !owner.leaves)?;
                (LeftoverState::Referred, Some(owner.project))
            }
            LeftoverKind::Unnamed { id } if self.owners.contains_key(&id) => return None,
            LeftoverKind::Unnamed { .. } => (LeftoverState::Unnamed, None),
            LeftoverKind::Base { digest } if self.images.contains(&digest) => return None,
            LeftoverKind::Base { .. } => (LeftoverState::Unused, None),
        };
        Some(LeftoverView { kind: found.kind, bytes: Some(found.bytes), state, project_id, removed_at: None })
    }
}
