//! Chooses nodes. Pure: the same snapshot and the same request give the same answer.

use std::collections::{BTreeMap, BTreeSet};

use tepui_db::model::{NodeLoad, NodeState, PlacementStrategy};
use tepui_types::NodeId;

use crate::{Overcommit, Strategy};

/// What one instance takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// How much of a node may be given out.
    pub overcommit: Overcommit,
    /// The placement group.
    pub group: Option<Group>,
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

/// Where instances go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// A node for each instance that found one, in order.
    pub nodes: Vec<NodeId>,
    /// Why the nodes cannot take one more; empty when every instance found a node.
    pub rejected: Vec<Rejection>,
}

/// One node while a plan is made.
struct Room<'a> {
    load: &'a NodeLoad,
    total: Demand,
    used: Demand,
    members: u32,
}

/// Lower comes first; the id makes the order total.
type Rank = (u32, u64, NodeId);

/// Places up to `count` instances, one after the other, each seeing those before it.
pub fn plan(nodes: &[NodeLoad], request: &Request, count: usize) -> Plan {
    let mut rooms: BTreeMap<NodeId, Room<'_>> =
        nodes.iter().map(|load| (load.node.id, Room::new(load, request))).collect();
    let mut order: BTreeSet<Rank> = rooms
        .values()
        .filter(|room| room.refuses(request).is_none())
        .map(|room| room.rank(request))
        .collect();
    let mut placed = Vec::with_capacity(count);
    while placed.len() < count
        && let Some((_, _, id)) = order.pop_first()
        && let Some(room) = rooms.get_mut(&id)
    {
        room.take(&request.demand);
        placed.push(id);
        if room.refuses(request).is_none() {
            order.insert(room.rank(request));
        }
    }
    let rejected = if placed.len() < count { rejections(&rooms, request) } else { Vec::new() };
    Plan { nodes: placed, rejected }
}

/// The nodes that could take one instance, best first, and why the others cannot.
pub fn rank(nodes: &[NodeLoad], request: &Request) -> (Vec<NodeId>, Vec<Rejection>) {
    let rooms: BTreeMap<NodeId, Room<'_>> =
        nodes.iter().map(|load| (load.node.id, Room::new(load, request))).collect();
    let order: BTreeSet<Rank> = rooms
        .values()
        .filter(|room| room.refuses(request).is_none())
        .map(|room| room.rank(request))
        .collect();
    (order.into_iter().map(|(_, _, id)| id).collect(), rejections(&rooms, request))
}

fn rejections(rooms: &BTreeMap<NodeId, Room<'_>>, request: &Request) -> Vec<Rejection> {
    let refusal = |room: &Room<'_>| {
        let node = &room.load.node;
        room.refuses(request).map(|(outline, rule)| Rejection { node: node.name.clone(), rule, outline })
    };
    rooms.values().filter_map(refusal).collect()
}

impl<'a> Room<'a> {
    fn new(load: &'a NodeLoad, request: &Request) -> Self {
        let capacity = &load.node.capacity;
        let over = &request.overcommit;
        let members = request.group.as_ref().and_then(|group| group.members.get(&load.node.id));
        Self {
            load,
            total: Demand {
                vcpus: u32::try_from(scaled(capacity.vcpus.into(), over.vcpus)).unwrap_or(u32::MAX),
                memory_mib: scaled(capacity.memory_mib, over.memory),
                disk_gib: scaled(capacity.disk_gib, over.disk),
            },
            used: Demand {
                vcpus: load.used_vcpus,
                memory_mib: load.used_memory_mib,
                disk_gib: load.used_disk_gib,
            },
            members: members.copied().unwrap_or(0),
        }
    }

    fn take(&mut self, demand: &Demand) {
        self.used.vcpus = self.used.vcpus.saturating_add(demand.vcpus);
        self.used.memory_mib = self.used.memory_mib.saturating_add(demand.memory_mib);
        self.used.disk_gib = self.used.disk_gib.saturating_add(demand.disk_gib);
        self.members += 1;
    }

    /// The first rule that keeps an instance off this node.
    fn refuses(&self, request: &Request) -> Option<Refusal> {
        self.refuses_by_state()
            .or_else(|| self.refuses_by_group(request))
            .or_else(|| self.refuses_by_size(request))
    }

    fn refuses_by_state(&self) -> Option<Refusal> {
        let node = &self.load.node;
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

    fn refuses_by_group(&self, request: &Request) -> Option<Refusal> {
        match request.group.as_ref()?.strategy {
            PlacementStrategy::Spread if self.members > 0 => {
                let rule = "has a member of the spread placement group already";
                Some((rule, rule.into()))
            }
            PlacementStrategy::Spread | PlacementStrategy::Cluster => None,
        }
    }

    fn refuses_by_size(&self, request: &Request) -> Option<Refusal> {
        let want = &request.demand;
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

    /// The scarcest resource decides how full a node is; a node that is short of one thing is full,
    /// whatever else it has.
    fn rank(&self, request: &Request) -> Rank {
        let cluster =
            request.group.as_ref().is_some_and(|group| group.strategy == PlacementStrategy::Cluster);
        let fullness = share(self.used.vcpus.into(), self.total.vcpus.into())
            .max(share(self.used.memory_mib, self.total.memory_mib))
            .max(share(self.used.disk_gib, self.total.disk_gib));
        let pack = cluster || request.strategy == Strategy::Pack;
        let score = if pack { u64::MAX - fullness } else { fullness };
        let apart = if cluster { u32::MAX - self.members } else { 0 };
        (apart, score, self.load.node.id)
    }
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
