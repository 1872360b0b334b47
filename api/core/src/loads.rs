//! What is taken on the nodes, in memory: by acknowledged writes, and by launches whose write is
//! under way.
//!
//! ```text
//!   look: the store's changes since the last look ─▶ plan ─▶ hold ─▶ write ─▶ acknowledged ─▶ release
//!                                                      │
//!                                                      └ only what others hold is in the way: wait for
//!                                                        a release, look again
//! ```
//!
//! What is held keeps launches that run at the same time from choosing the same room and losing it to
//! each other. It is a courtesy: the transaction of a launch checks everything again. Between the
//! acknowledgement and the release a launch counts twice, so that one beside it may be put on another
//! node than the best, or get fewer instances than fit, but never fewer than it must have; for the same
//! reason nothing is refused because of what is held, unless that does not end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tepui_db::model::NodeLoad;
use tepui_db::{Db, DbError, NodeChanges};
use tepui_types::{NodeId, PlacementGroupId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::scheduler::{Demand, Rejection, Request, Seat, plan, rejections};
use crate::{Error, Overcommit};

/// How long a launch waits for those that are in its way. A steady stream of small ones may leave a
/// large one no room for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every node has left.
pub(crate) struct Loads {
    overcommit: Overcommit,
    board: Mutex<Board>,
    released: Notify,
}

#[derive(Default)]
struct Board {
    /// The last change of the store that is known.
    upto: u64,
    nodes: Vec<Arc<NodeLoad>>,
    /// The same nodes, with what is held on them taken.
    seats: Vec<Seat>,
    places: HashMap<NodeId, usize>,
    held: HashMap<NodeId, Demand>,
    /// Members to be of placement groups.
    joining: Vec<(PlacementGroupId, NodeId)>,
}

/// What is to be placed: `count` instances, or as many as fit, but at least `min`.
pub(crate) struct Wish<'a> {
    pub(crate) request: &'a Request,
    pub(crate) group: Option<PlacementGroupId>,
    pub(crate) min: usize,
    pub(crate) count: usize,
    /// What the same call holds already, and will not release before it has this too.
    pub(crate) own: &'a [Held<'a>],
}

/// What came of a wish.
enum Choice<'a> {
    /// These nodes, held until they are dropped.
    Held(Held<'a>),
    /// Launches under way hold what it needs: look again after a release.
    Contended,
    /// Too few fit, whatever becomes of the launches under way.
    Full(Vec<Rejection>),
}

/// Room that a launch chose. Dropping it releases it: after the write, which the store then shows, or
/// without one.
pub(crate) struct Held<'a> {
    loads: &'a Loads,
    nodes: Vec<NodeId>,
    demand: Demand,
    group: Option<PlacementGroupId>,
}

impl Loads {
    pub(crate) fn new(overcommit: Overcommit) -> Self {
        Self { overcommit, board: Mutex::default(), released: Notify::new() }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the store acknowledged since the last look.
    async fn look(&self, db: &dyn Db) -> Result<(), DbError> {
        let since = self.board().upto;
        let changes = db.node_changes(since).await?;
        self.board().apply(changes, &self.overcommit);
        Ok(())
    }

    /// Chooses and holds, or tells why too few fit; waits for the launches under way that are in the way.
    pub(crate) async fn hold(
        &self,
        db: &dyn Db,
        wish: &Wish<'_>,
    ) -> Result<Result<Held<'_>, Vec<Rejection>>, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Before looking, so that no release is missed.
            let released = self.released.notified();
            self.look(db).await?;
            match self.choose(wish) {
                Choice::Held(held) => return Ok(Ok(held)),
                Choice::Full(why) => return Ok(Err(why)),
                Choice::Contended => timeout_at(deadline, released).await.map_err(|_| Error::Busy)?,
            }
        }
    }

    /// Chooses and holds.
    fn choose(&self, wish: &Wish<'_>) -> Choice<'_> {
        let mut board = self.board();
        let nodes = plan(&board.seats, &board.with_joining(wish), wish.count);
        if nodes.len() < wish.min {
            // What is held now may become free again; without it there is what there will be at most.
            let (seats, request) = board.without_others(wish, &self.overcommit);
            let without = plan(&seats, &request, wish.count);
            if without.len() > nodes.len() {
                return Choice::Contended;
            }
            let loads = board.nodes.iter().map(AsRef::as_ref);
            return Choice::Full(rejections(loads, &self.overcommit, wish.request, &without));
        }
        board.hold(&nodes, wish, &self.overcommit);
        Choice::Held(Held { loads: self, nodes, demand: wish.request.demand, group: wish.group })
    }
}

impl Board {
    /// Changes that were asked for at the same time may arrive in any order; each answer holds all
    /// that came before it.
    fn apply(&mut self, changes: NodeChanges, overcommit: &Overcommit) {
        if changes.upto <= self.upto {
            return;
        }
        self.upto = changes.upto;
        for load in changes.nodes {
            self.put(load, overcommit);
        }
    }

    fn put(&mut self, load: Arc<NodeLoad>, overcommit: &Overcommit) {
        let id = load.node.id;
        match self.places.get(&id).and_then(|place| self.nodes.get_mut(*place)) {
            Some(old) => *old = load,
            None => {
                self.places.insert(id, self.nodes.len());
                self.seats.push(Seat::of(&load, overcommit));
                self.nodes.push(load);
            }
        }
        self.reseat(id, overcommit);
    }

    fn reseat(&mut self, node: NodeId, overcommit: &Overcommit) {
        let Some(place) = self.places.get(&node) else { return };
        if let (Some(load), Some(seat)) = (self.nodes.get(*place), self.seats.get_mut(*place)) {
            *seat = Seat::of(load, overcommit);
            if let Some(held) = self.held.get(&node) {
                seat.take(held);
            }
        }
    }

    fn with_joining(&self, wish: &Wish<'_>) -> Request {
        let mut request = wish.request.clone();
        if let Some(group) = &mut request.group {
            for (_, node) in self.joining.iter().filter(|(joined, _)| Some(*joined) == wish.group) {
                *group.members.entry(*node).or_insert(0) += 1;
            }
        }
        request
    }

    /// What there will be at most: nothing is held but by the same call.
    fn without_others(&self, wish: &Wish<'_>, overcommit: &Overcommit) -> (Vec<Seat>, Request) {
        let mut seats: Vec<Seat> = self.nodes.iter().map(|load| Seat::of(load, overcommit)).collect();
        let mut request = wish.request.clone();
        for held in wish.own {
            for node in &held.nodes {
                let seat = self.places.get(node).and_then(|place| seats.get_mut(*place));
                seat.into_iter().for_each(|seat| seat.take(&held.demand));
                if let Some(group) = request.group.as_mut().filter(|_| held.group == wish.group) {
                    *group.members.entry(*node).or_insert(0) += 1;
                }
            }
        }
        (seats, request)
    }

    fn hold(&mut self, nodes: &[NodeId], wish: &Wish<'_>, overcommit: &Overcommit) {
        for node in nodes {
            self.held.entry(*node).or_default().add(&wish.request.demand);
            self.joining.extend(wish.group.map(|group| (group, *node)));
            self.reseat(*node, overcommit);
        }
    }

    fn release(&mut self, held: &Held<'_>) {
        for node in &held.nodes {
            if let Some(sum) = self.held.get_mut(node) {
                sum.subtract(&held.demand);
                if *sum == Demand::default() {
                    self.held.remove(node);
                }
            }
            if let Some(member) =
                self.joining.iter().position(|one| Some(one.0) == held.group && one.1 == *node)
            {
                self.joining.swap_remove(member);
            }
            self.reseat(*node, &held.loads.overcommit);
        }
    }
}

impl Held<'_> {
    /// A node for each instance.
    pub(crate) fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.loads.board().release(self);
        self.loads.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
