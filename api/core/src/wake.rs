//! Wakes the polls of nodes whose desired state grew. A wake-up is a hint: a poll that misses one
//! finds the change at its deadline. Each takes the fail point that was passed before it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tepui_types::agent::{HavePart, PartKey};
use tepui_types::{NodeId, VpcId};
use tokio::sync::watch;

use crate::failpoint::Passed;

/// One counter for each node that ever polled.
#[derive(Default)]
pub(crate) struct Wakes {
    counters: Mutex<HashMap<NodeId, watch::Sender<u64>>>,
    carriers: Mutex<Carriers>,
}

/// Which VPCs each node carries, by its own last poll. What a poll does not name yet it is about to be
/// sent, so that nobody has to read the store to know whom a VPC's change concerns.
#[derive(Default)]
struct Carriers {
    by_node: HashMap<NodeId, BTreeSet<VpcId>>,
    by_vpc: HashMap<VpcId, BTreeSet<NodeId>>,
}

impl Carriers {
    fn set(&mut self, node: NodeId, vpcs: BTreeSet<VpcId>) {
        let before = self.by_node.insert(node, vpcs.clone()).unwrap_or_default();
        for left in before.difference(&vpcs) {
            if let Some(nodes) = self.by_vpc.get_mut(left) {
                nodes.remove(&node);
                if nodes.is_empty() {
                    self.by_vpc.remove(left);
                }
            }
        }
        for joined in vpcs.difference(&before) {
            self.by_vpc.entry(*joined).or_default().insert(node);
        }
    }
}

impl Wakes {
    fn counters(&self) -> MutexGuard<'_, HashMap<NodeId, watch::Sender<u64>>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carriers(&self) -> MutexGuard<'_, Carriers> {
        self.carriers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a node has when it polls.
    pub(crate) fn has(&self, node: NodeId, parts: &[HavePart]) {
        let vpc = |part: &HavePart| match part.key {
            PartKey::Vpc(vpc) => Some(vpc),
            PartKey::Node(_) | PartKey::Storage(_) => None,
        };
        self.carriers().set(node, parts.iter().filter_map(vpc).collect());
    }

    /// Ends the waits of the nodes that carry a VPC.
    pub(crate) fn wake_vpc(&self, after: Passed, vpc: VpcId) {
        let nodes = self.carriers().by_vpc.get(&vpc).cloned().unwrap_or_default();
        self.wake(after, nodes);
    }

    /// A receiver that sees every wake-up from now on. Subscribe before reading the state: a change
    /// in between then wakes at once.
    pub(crate) fn subscribe(&self, node: NodeId) -> watch::Receiver<u64> {
        self.counters().entry(node).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Ends every wait.
    pub(crate) fn wake_all(&self, _after: Passed) {
        self.counters().values().for_each(|sender| sender.send_modify(|count| *count += 1));
    }

    /// Whether anybody waits for this node's wake-ups.
    pub(crate) fn is_waited_for(&self, node: NodeId) -> bool {
        self.counters().get(&node).is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Ends the waits of these nodes.
    pub(crate) fn wake(&self, _after: Passed, nodes: impl IntoIterator<Item = NodeId>) {
        let senders = self.counters();
        for sender in nodes.into_iter().filter_map(|node| senders.get(&node)) {
            sender.send_modify(|count| *count += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use tepui_types::Generation;

    use super::*;

    #[test]
    fn a_vpc_wakes_the_nodes_that_had_it_at_their_last_poll() {
        let wakes = Wakes::default();
        let (a, b) = (NodeId::from_random(1), NodeId::from_random(2));
        let (vpc, other) = (VpcId::from_random(1), VpcId::from_random(2));
        let has = |node, vpcs: &[VpcId]| {
            let part = |vpc: &VpcId| HavePart { key: PartKey::Vpc(*vpc), generation: Generation(1) };
            wakes.has(node, &vpcs.iter().map(part).collect::<Vec<_>>());
        };
        let (first, second) = (wakes.subscribe(a), wakes.subscribe(b));
        let woken = || (*first.borrow(), *second.borrow());
        has(a, &[vpc]);
        has(b, &[vpc, other]);
        wakes.wake_vpc(Passed::NOTHING_DURABLE, vpc);
        assert_eq!(woken(), (1, 1));
        wakes.wake_vpc(Passed::NOTHING_DURABLE, other);
        assert_eq!(woken(), (1, 2));
        has(b, &[other]);
        wakes.wake_vpc(Passed::NOTHING_DURABLE, vpc);
        assert_eq!(woken(), (2, 2), "b left it");
    }
}
