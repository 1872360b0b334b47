//! What the agent believes of its host: the last observation, corrected by what its own operations did
//! since. Operations do not wait for observations: those queue behind slow calls of the hypervisor.

use std::collections::{BTreeMap, BTreeSet};

use tepui_libvirt::{DomainState, DomainStatus, OffReason};
use tepui_types::PlacementId;

use crate::plan::Operation;

/// Counts operations and observations, to tell which came first.
pub(super) type Tick = u64;

/// What was seen at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// When the look began.
    pub(super) tick: Tick,
    pub(super) domains: Vec<DomainStatus>,
    pub(super) disks: BTreeSet<PlacementId>,
    /// What the hypervisor is short of.
    pub(super) shortage: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) domains: BTreeMap<PlacementId, DomainState>,
    pub(super) disks: BTreeSet<PlacementId>,
    /// Placements of which an operation ended, and when.
    touched: BTreeMap<PlacementId, Tick>,
    /// Placements of which an operation failed half-way: nothing is decided before they were seen again.
    unsure: BTreeSet<PlacementId>,
    tick: Tick,
}

impl Known {
    /// The time at which a look begins.
    pub(super) fn now(&self) -> Tick {
        self.tick
    }

    pub(super) fn is_unsure(&self, id: PlacementId) -> bool {
        self.unsure.contains(&id)
    }

    pub(super) fn anything_unsure(&self) -> bool {
        !self.unsure.is_empty()
    }

    /// Takes an observation, except for what operations changed since it began.
    pub(super) fn take(&mut self, seen: Seen, in_work: impl Fn(PlacementId) -> bool) {
        self.touched.retain(|_, tick| *tick > seen.tick);
        let newer = |id: PlacementId, touched: &BTreeMap<_, _>| in_work(id) || touched.contains_key(&id);
        let touched = &self.touched;
        self.domains.retain(|id, _| newer(*id, touched));
        self.disks.retain(|id| newer(*id, touched));
        self.unsure.retain(|id| newer(*id, touched));
        let fresh = seen.domains.iter().filter(|domain| !newer(domain.id, touched));
        self.domains.extend(fresh.map(|domain| (domain.id, domain.state)));
        self.disks.extend(seen.disks.iter().copied().filter(|id| !newer(*id, touched)));
    }

    /// An operation ended.
    pub(super) fn done(&mut self, id: PlacementId, operation: Operation, succeeded: bool) {
        self.tick += 1;
        self.touched.insert(id, self.tick);
        if !succeeded {
            self.unsure.insert(id);
            return;
        }
        match operation {
            Operation::Start => {
                self.domains.insert(id, DomainState::Running);
                self.disks.insert(id);
            }
            Operation::PowerOff => {
                self.domains.insert(id, DomainState::Off { reason: OffReason::Requested });
            }
            Operation::Remove => {
                self.domains.remove(&id);
                self.disks.remove(&id);
            }
            Operation::Stop | Operation::Reboot | Operation::Note => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(id: PlacementId, tick: Tick) -> Seen {
        let domains = vec![DomainStatus { id, state: DomainState::Running }];
        Seen { tick, domains, disks: BTreeSet::from([id]), shortage: None }
    }

    #[test]
    fn a_look_that_began_before_an_operation_ended_does_not_undo_it() {
        let id = PlacementId::from_random(1);
        let mut known = Known::default();
        let before = known.now();
        known.done(id, Operation::Start, true);
        known.take(Seen { tick: before, ..Seen::default() }, |_| false);
        assert_eq!(known.domains.get(&id), Some(&DomainState::Running));
        known.take(Seen { tick: known.now(), ..Seen::default() }, |_| false);
        assert_eq!(known.domains.get(&id), None);
    }

    #[test]
    fn after_a_failure_only_a_later_look_makes_sure() {
        let id = PlacementId::from_random(1);
        let mut known = Known::default();
        let before = known.now();
        known.done(id, Operation::Start, false);
        known.take(running(id, before), |_| false);
        assert!(known.is_unsure(id) && known.domains.is_empty());
        known.take(running(id, known.now()), |_| false);
        assert!(!known.is_unsure(id) && known.disks.contains(&id));
    }
}
