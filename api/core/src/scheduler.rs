//! Chooses nodes. Pure: the same snapshot and the same request give the same answer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use tepui_db::model::{NodeLoad, NodeState, PlacementStrategy};
use tepui_types::NodeId;

use crate::{Overcommit, Strategy};

/// What one instance takes, or several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Root disk in GiB.
    pub disk_gib: u64,
}

impl std::fmt::Display for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} vCPU, {} MiB memory, {} GiB disk", self.vcpus, self.memory_mib, self.disk_gib)
    }
}

impl Demand {
    /// Counts `more` to it.
    pub(crate) fn add(&mut self, more: &Self) {
        self.vcpus = self.vcpus.saturating_add(more.vcpus);
        self.memory_mib = self.memory_mib.saturating_add(more.memory_mib);
        self.disk_gib = self.disk_gib.saturating_add(more.disk_gib);
    }

    /// Takes `less` off it.
    pub(crate) fn subtract(&mut self, less: &Self) {
        self.vcpus = self.vcpus.saturating_sub(less.vcpus);
        self.memory_mib = self.memory_mib.saturating_sub(less.memory_mib);
        self.disk_gib = self.disk_gib.saturating_sub(less.disk_gib);
    }
}

/// The placement group that new instances join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// How its members are spread.
    pub strategy: PlacementStrategy,
    /// How many members each node has already.
    pub members: BTreeMap<NodeId, u32>,
}

/// What is to be placed.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What each instance takes.
    pub demand: Demand,
    /// Which nodes come first.
    pub strategy: Strategy,
    /// The placement group.
    pub group: Option<Group>,
    /// Nodes whose identity two agents use, which their rows may not say yet.
    pub duplicates: Vec<NodeId>,
    /// The nodes that have the pools of its local volumes; `None` where any will do.
    pub only: Option<BTreeSet<NodeId>>,
}

/// Why a node cannot take another instance: the first rule it fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The node's name; in an outline, how many nodes failed this rule.
    pub node: String,
    /// The rule with its numbers, for example `needs 8192 MiB of memory, 6144 free`.
    pub rule: String,
    /// The rule without anything of the node, for example `not enough memory free`.
    pub outline: &'static str,
}

/// A rule as the operator reads it, and its outline for everybody.
type Refusal = (&'static str, String);

/// The same reasons without names and numbers of nodes: one for each rule, with how many failed it.
pub fn outlined(rejected: &[Rejection]) -> Vec<Rejection> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for rejection in rejected {
        *counts.entry(rejection.outline).or_default() += 1;
    }
    let nodes = |count| if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
    counts
        .into_iter()
        .map(|(outline, count)| Rejection { node: nodes(count), rule: outline.into(), outline })
        .collect()
}

/// A node as a plan sees it: numbers only, so that those of ten thousand nodes are read in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    id: NodeId,
    open: bool,
    total: Demand,
    used: Demand,
    fullness: u64,
}

/// Lower comes first; the id makes the order total.
type Rank = (u32, u64, NodeId);

/// A seat that can take one more, with its members of the group.
type Candidate = (Rank, Seat, u32);

/// A node for each of up to `count` instances, placed one after the other, each seeing those before
/// it. None but the best `count` nodes can get one, so that only these are put in order.
pub fn plan(seats: &[Seat], request: &Request, count: usize) -> Vec<NodeId> {
    let mut order: BinaryHeap<_> = best(seats, request, count).into_iter().map(Reverse).collect();
    let mut placed = Vec::with_capacity(count.min(order.len()));
    while placed.len() < count
        && let Some(Reverse((_, mut seat, members))) = order.pop()
    {
        seat.take(&request.demand);
        placed.push(seat.id);
        order.extend(candidate(seat, members + 1, request).map(Reverse));
    }
    placed
}

/// The seats that come first, at most `count`. Nearly all of ten thousand are passed over by a look at
/// their numbers, so that only those that come before one of the best are copied.
fn best(seats: &[Seat], request: &Request, count: usize) -> BinaryHeap<Candidate> {
    let mut best: BinaryHeap<Candidate> = BinaryHeap::new();
    for seat in seats.iter().filter(|seat| seat.holds(&request.demand)) {
        let members = request.members(seat.id);
        let rank = seat.rank(request, members);
        if best.len() >= count && best.peek().is_none_or(|(worst, _, _)| rank >= *worst) {
            continue;
        }
        best.extend(candidate(*seat, members, request));
        if best.len() > count {
            best.pop();
        }
    }
    best
}

fn candidate(seat: Seat, members: u32, request: &Request) -> Option<Candidate> {
    let takes = seat.holds(&request.demand)
        && !request.duplicates.contains(&seat.id)
        && request.refuses_reach(seat.id).is_none()
        && request.refuses_member(members).is_none();
    takes.then(|| (seat.rank(request, members), seat, members))
}

/// Why nodes cannot take one more beside those `placed`, in the nodes' order.
pub fn rejections<'a>(
    nodes: impl IntoIterator<Item = &'a NodeLoad>,
    overcommit: &Overcommit,
    request: &Request,
    placed: &[NodeId],
) -> Vec<Rejection> {
    let mut here: HashMap<NodeId, u32> = HashMap::new();
    for node in placed {
        *here.entry(*node).or_default() += 1;
    }
    let rejection = |load: &NodeLoad| {
        let mut seat = Seat::of(load, overcommit);
        let here = here.get(&seat.id).copied().unwrap_or(0);
        (0..here).for_each(|_| seat.take(&request.demand));
        let refused = refuses_by_state(load)
            .or_else(|| request.refuses_identity(seat.id))
            .or_else(|| request.refuses_reach(seat.id))
            .or_else(|| request.refuses_member(request.members(seat.id) + here))
            .or_else(|| seat.refuses_by_size(&request.demand));
        refused.map(|(outline, rule)| Rejection { node: load.node.name.clone(), rule, outline })
    };
    nodes.into_iter().filter_map(rejection).collect()
}

/// The rule by which a node takes no instance at all.
fn refuses_by_state(load: &NodeLoad) -> Option<Refusal> {
    let node = &load.node;
    match node.state {
        NodeState::Up => {}
        NodeState::Unreachable => {
            return Some(("unreachable", format!("unreachable since {}", node.state_since)));
        }
        NodeState::Expunged => return Some(("expunged", "expunged".into())),
    }
    if !node.schedulable {
        return Some(("draining", "draining".into()));
    }
    node.impaired.as_ref().map(|why| ("impaired", format!("impaired: {why}")))
}

impl Request {
    fn members(&self, node: NodeId) -> u32 {
        self.group.as_ref().and_then(|group| group.members.get(&node)).copied().unwrap_or(0)
    }

    fn refuses_identity(&self, node: NodeId) -> Option<Refusal> {
        let refused = || ("impaired", "impaired: duplicate node identity".into());
        self.duplicates.contains(&node).then(refused)
    }

    fn refuses_reach(&self, node: NodeId) -> Option<Refusal> {
        let rule = "has no pool for the local volumes";
        let reaches = self.only.as_ref().is_none_or(|only| only.contains(&node));
        (!reaches).then(|| (rule, rule.into()))
    }

    fn refuses_member(&self, members: u32) -> Option<Refusal> {
        match self.group.as_ref()?.strategy {
            PlacementStrategy::Spread if members > 0 => {
                let rule = "has a member of the spread placement group already";
                Some((rule, rule.into()))
            }
            PlacementStrategy::Spread | PlacementStrategy::Cluster => None,
        }
    }
}

impl Seat {
    /// A node with what is taken on it.
    pub fn of(load: &NodeLoad, over: &Overcommit) -> Self {
        let capacity = &load.node.capacity;
        let total = Demand {
            vcpus: u32::try_from(scaled(capacity.vcpus.into(), over.vcpus)).unwrap_or(u32::MAX),
            memory_mib: scaled(capacity.memory_mib, over.memory),
            disk_gib: scaled(capacity.disk_gib, over.disk),
        };
        let used =
            Demand { vcpus: load.used_vcpus, memory_mib: load.used_memory_mib, disk_gib: load.used_disk_gib };
        let open = refuses_by_state(load).is_none();
        Self { id: load.node.id, open, total, used, fullness: fullness(&used, &total) }
    }

    /// Counts what is to be put there.
    pub(crate) fn take(&mut self, demand: &Demand) {
        self.used.add(demand);
        self.fullness = fullness(&self.used, &self.total);
    }

    fn holds(&self, want: &Demand) -> bool {
        let (total, used) = (&self.total, &self.used);
        self.open
            && want.vcpus <= total.vcpus.saturating_sub(used.vcpus)
            && want.memory_mib <= total.memory_mib.saturating_sub(used.memory_mib)
            && want.disk_gib <= total.disk_gib.saturating_sub(used.disk_gib)
    }

    fn refuses_by_size(&self, want: &Demand) -> Option<Refusal> {
        let short = |need: u64, total: u64, used: u64, unit: &str, outline| {
            let free = total.saturating_sub(used);
            (need > free).then(|| (outline, format!("needs {need} {unit}, {free} free")))
        };
        let (total, used) = (&self.total, &self.used);
        short(want.vcpus.into(), total.vcpus.into(), used.vcpus.into(), "vCPU", "not enough vCPUs free")
            .or_else(|| {
                let unit = "MiB of memory";
                short(want.memory_mib, total.memory_mib, used.memory_mib, unit, "not enough memory free")
            })
            .or_else(|| {
                let unit = "GiB of disk";
                short(want.disk_gib, total.disk_gib, used.disk_gib, unit, "not enough disk free")
            })
    }

    fn rank(&self, request: &Request, members: u32) -> Rank {
        let cluster =
            request.group.as_ref().is_some_and(|group| group.strategy == PlacementStrategy::Cluster);
        let pack = cluster || request.strategy == Strategy::Pack;
        let score = if pack { u64::MAX - self.fullness } else { self.fullness };
        let apart = if cluster { u32::MAX - members } else { 0 };
        (apart, score, self.id)
    }
}

/// The scarcest resource decides how full a node is; a node that is short of one thing is full,
/// whatever else it has.
fn fullness(used: &Demand, total: &Demand) -> u64 {
    share(used.vcpus.into(), total.vcpus.into())
        .max(share(used.memory_mib, total.memory_mib))
        .max(share(used.disk_gib, total.disk_gib))
}

/// How much of `capacity` may be given out.
fn scaled(capacity: u64, factor: f64) -> u64 {
    // Capacities are far below 2^53, so that the product is exact enough to be floored.
    (capacity as f64 * factor).floor() as u64
}

/// `used` in millionths of `total`.
fn share(used: u64, total: u64) -> u64 {
    u64::try_from(u128::from(used) * 1_000_000 / u128::from(total.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
