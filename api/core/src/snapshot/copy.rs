//! Copying a snapshot: the pool that the copy goes to, and the row.

use std::collections::BTreeSet;

use tepui_db::model::{Pool, Snapshot, SnapshotRecord, SnapshotState};
use tepui_db::{CopySnapshotOutcome, PoolLoad};
use tepui_types::{NodeId, PoolId, SnapshotId};

use super::not_completed;
use crate::failpoint::pass;
use crate::volume::create::{class_of, emptiest};
use crate::{Caller, Cloud, Error, Kind, Tags, check_tags, limits};

/// Where a copy goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CopyTo {
    /// To the pool of its source, where it takes no room.
    #[default]
    SamePool,
    /// To a pool of this class.
    Class(String),
    /// To this pool. For administrators: others do not know the pools.
    Pool(PoolId),
}

/// A snapshot to be, of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySnapshot {
    /// What is copied.
    pub source: SnapshotId,
    /// Where to.
    pub to: CopyTo,
    /// For people.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
}

impl Cloud {
    /// Copies a snapshot within its pool, to another one of its host, or to one of another host. The source can be deleted
    /// once the copy is completed; another project may delete its own before, and then the copy fails.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound`, `WrongState` for a source that is not completed,
    /// `Forbidden`, `PoolsFull`.
    pub async fn copy_snapshot(
        &self,
        caller: &Caller,
        request: CopySnapshot,
    ) -> Result<SnapshotRecord, Error> {
        check_tags(&request.tags)?;
        limits::check_description(&request.description)?;
        if let CopyTo::Pool(_) = request.to {
            caller.require_administrator()?;
        }
        let source = self.usable_snapshot(caller, request.source).await?;
        let copy = Snapshot {
            id: SnapshotId::from_random(self.random()),
            project_id: caller.project,
            pool_id: source.pool_id,
            volume_id: Snapshot::NO_VOLUME,
            copy_of: None,
            image: None,
            root_of: None,
            size_gib: source.size_gib,
            description: request.description.clone(),
            state: SnapshotState::Pending,
            freeze: source.freeze,
            freeze_kind: source.freeze_kind,
            message: None,
            created_at: self.now(),
        };
        let id = copy.id;
        let write = self.write_copy(&source, &request, copy);
        let node = self.commit(caller, "CopySnapshot", id.to_string(), write).await?;
        let passed = pass("core::snapshot::committed")?;
        self.wakes.wake(passed, [node]);
        pass("core::snapshot::woken")?;
        let made = self.snapshots(caller, &[id]).await?.pop();
        made.ok_or_else(|| Error::not_found(Kind::Snapshot, id))
    }

    /// The node that makes the copy. Chooses again where the pool is lost meanwhile.
    async fn write_copy(
        &self,
        source: &Snapshot,
        request: &CopySnapshot,
        mut copy: Snapshot,
    ) -> Result<NodeId, Error> {
        let tags = limits::tag_pairs(&request.tags);
        let mut lost = BTreeSet::new();
        loop {
            copy.pool_id = self.copy_pool(source, &request.to, &lost).await?;
            match self.db.copy_snapshot(source.id, &copy, &tags).await? {
                CopySnapshotOutcome::Copying(node) => return Ok(node),
                CopySnapshotOutcome::PoolLost(pool) if lost.insert(pool) => {}
                CopySnapshotOutcome::PoolLost(pool) => return Err(Error::not_found(Kind::Pool, pool)),
                CopySnapshotOutcome::SourceMissing(id) => return Err(Error::not_found(Kind::Snapshot, id)),
                CopySnapshotOutcome::SourceState(id, state) => return Err(not_completed(id, state)),
            }
        }
    }

    async fn copy_pool(
        &self,
        source: &Snapshot,
        to: &CopyTo,
        lost: &BTreeSet<PoolId>,
    ) -> Result<PoolId, Error> {
        let loads = self.db.pools().await?;
        let own = loads.iter().find(|load| load.pool.id == source.pool_id).map(|load| &load.pool);
        let own = own.ok_or_else(|| Error::not_found(Kind::Pool, source.pool_id))?;
        let (meant, class) = meant(to, own, &loads)?;
        if meant.iter().any(|pool| pool.id == own.id) {
            return Ok(own.id);
        }
        let open: Vec<_> = meant.into_iter().filter_map(|pool| self.open_pool(pool.clone())).collect();
        let left = || open.iter().filter(|open| !lost.contains(&open.pool.id));
        // Bytes that need not leave their host do not.
        let here = emptiest(left().filter(|open| open.pool.node_id == own.node_id));
        here.or_else(|| emptiest(left())).map(|open| open.pool.id).ok_or(Error::PoolsFull { class })
    }
}

/// The pools that are meant, and their class.
fn meant<'a>(to: &CopyTo, own: &'a Pool, loads: &'a [PoolLoad]) -> Result<(Vec<&'a Pool>, String), Error> {
    let mut pools = loads.iter().map(|load| &load.pool);
    match to {
        CopyTo::SamePool => Ok((vec![own], own.class.clone())),
        CopyTo::Pool(id) => {
            let pool = pools.find(|pool| pool.id == *id).ok_or_else(|| Error::not_found(Kind::Pool, id))?;
            Ok((vec![pool], pool.class.clone()))
        }
        CopyTo::Class(class) => {
            let class = class_of(Some(class), loads)?;
            Ok((pools.filter(|pool| pool.class == class).collect(), class))
        }
    }
}
