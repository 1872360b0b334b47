//! Moves of volumes to other pools: those that an administrator asks for, and those of pools that are drained of what they
//! hold.
//!
//! The store carries a move on as its hosts speak; here it is begun. A drain begins a few at a time, so that copies that
//! users ask for do not wait long behind them, and takes what becomes free later until its pool is opened again.

use std::collections::{BTreeMap, BTreeSet};

use tepui_db::model::{HeldBy, HeldVolume, MoveStage, Pool, VolumeMove};
use tepui_db::{MoveOutcome, NewMove, PoolLoad};
use tepui_types::agent::PoolBackend;
use tepui_types::{NodeId, PoolId, SnapshotId, VolumeId};

use super::create::emptiest;
use super::in_use;
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, Kind};

/// Volumes of one pool that a drain copies at once.
const AT_ONCE: usize = 4;

/// How far a pool is whose volumes go to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolLeaving {
    /// Volumes on their way.
    pub moving: u64,
    /// Volumes whose move failed.
    pub failed: u64,
    /// Volumes that will go: soon, or once another pool of their class is open.
    pub waiting: u64,
    /// Volumes that stay for now, and what has them.
    pub held: Vec<(VolumeId, HeldBy)>,
}

impl Cloud {
    /// Moves a volume of any project to another pool of its class, in the background, once nobody uses it. Asked to be in
    /// the pool where it is, its move is called off, or turns back while its host has not let go of it. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`, `InUse`, `WrongState`, `Modifying`, `Moving` in the last steps of another move,
    /// `InvalidInput` for a pool of another class or one that takes nothing new.
    pub async fn move_volume(
        &self,
        caller: &Caller,
        volume_id: VolumeId,
        to_pool: PoolId,
    ) -> Result<Option<VolumeMove>, Error> {
        caller.require_administrator()?;
        let new = self.new_move(volume_id, to_pool, false);
        let nodes = self
            .commit(caller, "MoveVolume", volume_id.to_string(), async {
                begun(&new, self.db.begin_move(&new, self.now()).await?)
            })
            .await?;
        let passed = pass("core::move::committed")?;
        self.wakes.wake(passed, nodes);
        pass("core::move::woken")?;
        Ok(self.db.moves().await?.into_iter().find(|one| one.volume_id == volume_id))
    }

    /// Every move that is under way or failed, by volume. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn moves(&self, caller: &Caller) -> Result<Vec<VolumeMove>, Error> {
        caller.require_administrator()?;
        Ok(self.db.moves().await?)
    }

    /// How far each pool is whose volumes go to others.
    pub(crate) async fn leaving_pools(&self) -> Result<BTreeMap<PoolId, PoolLeaving>, Error> {
        let (held, moves) = futures::try_join!(self.db.held_volumes(), self.db.moves())?;
        let failed: BTreeSet<VolumeId> =
            moves.iter().filter(|one| one.stage == MoveStage::Failed).map(|one| one.volume_id).collect();
        let mut pools: BTreeMap<PoolId, PoolLeaving> = BTreeMap::new();
        for one in held {
            let pool = pools.entry(one.pool_id).or_default();
            match one.held_by {
                Some(by) => pool.held.push((one.volume_id, by)),
                None if failed.contains(&one.volume_id) => pool.failed += 1,
                None if one.is_moving => pool.moving += 1,
                None => pool.waiting += 1,
            }
        }
        Ok(pools)
    }

    /// Carries on what waits for no host, and begins moves of what pools hold that are drained of it, also anew where the
    /// other pool has become full; how many were begun.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn run_moves(&self) -> Result<u32, Error> {
        let moves = self.db.moves().await?;
        if moves.iter().any(|one| one.stage == MoveStage::Copying) {
            let nodes = self.db.advance_moves(self.now()).await?;
            let passed = pass("core::moves::advanced")?;
            self.wakes.wake(passed, nodes);
        }
        let free: Vec<HeldVolume> =
            self.db.held_volumes().await?.into_iter().filter(|one| one.held_by.is_none()).collect();
        if free.is_empty() {
            return Ok(0);
        }
        let mut places = places(&moves);
        let (loads, mut count) = (self.db.pools().await?, 0);
        let stuck = self.stuck(&moves, &loads);
        for one in free {
            // What is copied to a pool that is full by now has its place.
            let takes = match stuck.get(&one.volume_id) {
                Some(MoveStage::Copying) => 0,
                None if one.is_moving => continue,
                Some(_) | None => 1,
            };
            let place = places.entry(one.pool_id).or_insert(AT_ONCE);
            if *place >= takes && self.begin_of_drain(&one, &loads).await? {
                *place -= takes;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Moves of drains that have not left, or failed, and go to a pool that takes nothing new any more: each is begun anew
    /// once another pool is open.
    fn stuck(&self, moves: &[VolumeMove], loads: &[PoolLoad]) -> BTreeMap<VolumeId, MoveStage> {
        let open: BTreeSet<PoolId> = loads
            .iter()
            .filter_map(|load| self.open_pool(load.pool.clone()))
            .map(|open| open.pool.id)
            .collect();
        let is_stuck =
            |one: &&VolumeMove| one.by_drain && !one.stage.is_between() && !open.contains(&one.to_pool);
        moves.iter().filter(is_stuck).map(|one| (one.volume_id, one.stage)).collect()
    }

    /// Whether it is on its way now. One that somebody has begun to use, and one for which no pool is open, is looked at
    /// again in the next round.
    async fn begin_of_drain(&self, one: &HeldVolume, loads: &[PoolLoad]) -> Result<bool, Error> {
        let own = loads.iter().map(|load| &load.pool).find(|pool| pool.id == one.pool_id);
        let Some(to) = own.and_then(|own| self.other_pool(own, loads)) else { return Ok(false) };
        let new = self.new_move(one.volume_id, to, true);
        let MoveOutcome::Moving(nodes) = self.db.begin_move(&new, self.now()).await? else {
            return Ok(false);
        };
        let passed = pass("core::moves::begun")?;
        self.wakes.wake(passed, nodes);
        Ok(true)
    }

    /// The emptiest open pool of the class of `own` that serves everybody whom that serves.
    fn other_pool(&self, own: &Pool, loads: &[PoolLoad]) -> Option<PoolId> {
        let serves = |pool: &Pool| match pool.backend {
            PoolBackend::Iscsi | PoolBackend::Nfs => true,
            PoolBackend::Local => own.backend == PoolBackend::Local && own.node_id == pool.node_id,
        };
        let others = loads
            .iter()
            .map(|load| &load.pool)
            .filter(|pool| pool.id != own.id && pool.class == own.class && serves(pool));
        let open: Vec<_> = others.filter_map(|pool| self.open_pool(pool.clone())).collect();
        emptiest(open.iter()).map(|open| open.pool.id)
    }

    fn new_move(&self, volume_id: VolumeId, to_pool: PoolId, by_drain: bool) -> NewMove {
        let source_id = SnapshotId::from_random(self.random());
        let target_id = SnapshotId::from_random(self.random());
        NewMove { volume_id, to_pool, source_id, target_id, by_drain }
    }
}

/// How many more volumes each pool may begin to copy; of one that is not named all.
fn places(moves: &[VolumeMove]) -> BTreeMap<PoolId, usize> {
    let mut places: BTreeMap<PoolId, usize> = BTreeMap::new();
    for one in moves.iter().filter(|one| one.stage == MoveStage::Copying) {
        let place = places.entry(one.from_pool).or_insert(AT_ONCE);
        *place = place.saturating_sub(1);
    }
    places
}

/// The nodes to wake.
fn begun(new: &NewMove, outcome: MoveOutcome) -> Result<Vec<NodeId>, Error> {
    let id = new.volume_id;
    match outcome {
        MoveOutcome::Moving(nodes) | MoveOutcome::Back(nodes) => Ok(nodes),
        MoveOutcome::Unchanged => Ok(Vec::new()),
        MoveOutcome::VolumeMissing => Err(Error::not_found(Kind::Volume, id)),
        MoveOutcome::VolumeState(state) => {
            Err(Error::WrongState { id: id.to_string(), state: state.name().into(), wanted: "available" })
        }
        MoveOutcome::InUse(instance) => Err(in_use(id, instance)),
        MoveOutcome::Modifying => Err(Error::Modifying { id: id.to_string() }),
        MoveOutcome::Moved => Err(Error::Moving { id: id.to_string() }),
        MoveOutcome::OtherClass(class) => {
            let rule = format!("is of the class {class}, as the volume's: a move never changes its class");
            Err(Error::invalid("pool", new.to_pool, rule))
        }
        MoveOutcome::PoolLost(pool) => Err(Error::invalid(
            "pool",
            pool,
            "takes new volumes: it is not drained, and its node not given up",
        )),
    }
}
