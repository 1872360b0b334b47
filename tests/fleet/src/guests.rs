//! What a simulated host has of its desired state: generations of parts, and guests that do as they are
//! told.

use std::collections::BTreeMap;

use tepui_types::agent::{
    HavePart, NodePart, OffReason, Part, PartBody, PartKey, PlacementObserved, PlacementPart, PlacementState,
    Power, WantedPlacement,
};
use tepui_types::{Generation, PlacementId};

/// The host's memory. A real agent has it on disk.
#[derive(Default)]
pub(crate) struct Guests {
    parts: BTreeMap<PartKey, Generation>,
    states: BTreeMap<PlacementId, PlacementState>,
}

impl Guests {
    /// The parts that the host has.
    pub(crate) fn have(&self) -> Vec<HavePart> {
        let part =
            |(key, generation): (&PartKey, &Generation)| HavePart { key: *key, generation: *generation };
        self.parts.iter().map(part).collect()
    }

    /// The guests as they go into a report.
    pub(crate) fn observed(&self) -> Vec<PlacementObserved> {
        let seen = |(id, state): (&PlacementId, &PlacementState)| PlacementObserved {
            id: *id,
            state: state.clone(),
            wanted: true,
            disks: Vec::new(),
            freeze: None,
        };
        self.states.iter().map(seen).collect()
    }

    /// How many guests run.
    pub(crate) fn running(&self) -> usize {
        self.states.values().filter(|state| matches!(state, PlacementState::Running { .. })).count()
    }

    /// Takes parts; whether a guest has to be started for them.
    pub(crate) fn take(&mut self, parts: Vec<Part>) -> bool {
        let before = self.running();
        for part in parts {
            // Kept also where it is an absence: as the real ledger, which tells an old part by it.
            self.parts.insert(part.key, part.generation);
            if let PartBody::Node(node) = part.body {
                self.obey(node);
            }
        }
        self.running() > before
    }

    fn obey(&mut self, node: NodePart) {
        let wanted = |id: &PlacementId| node.placements.iter().any(|placement| placement.id == *id);
        self.states.retain(|id, state| wanted(id) || *state != PlacementState::Gone);
        for WantedPlacement { id, wanted } in node.placements {
            let old = self.states.get(&id);
            self.states.insert(id, next(&wanted, old));
        }
    }
}

fn next(wanted: &PlacementPart, old: Option<&PlacementState>) -> PlacementState {
    match wanted {
        PlacementPart::Present(spec) => obeyed(spec.power, old),
        PlacementPart::Absent { .. } => PlacementState::Gone,
    }
}

fn obeyed(power: Power, old: Option<&PlacementState>) -> PlacementState {
    match (power, old) {
        (Power::Running { start_seq, reboot_seq }, _) => PlacementState::Running { start_seq, reboot_seq },
        (Power::Stopped { .. }, Some(PlacementState::Running { start_seq, .. })) => {
            PlacementState::Off { start_seq: *start_seq, reason: OffReason::Requested }
        }
        (Power::Stopped { .. }, Some(off @ PlacementState::Off { .. })) => off.clone(),
        (Power::Stopped { .. }, Some(_) | None) => {
            PlacementState::Off { start_seq: 0, reason: OffReason::Requested }
        }
    }
}

#[cfg(test)]
mod tests {
    use tepui_types::NodeId;

    use super::*;

    fn absent(generation: u64, ids: &[u128]) -> Part {
        let wanted = |id: &u128| WantedPlacement {
            id: PlacementId::from_random(*id),
            wanted: PlacementPart::Absent { force: false },
        };
        Part {
            key: PartKey::Node(NodeId::from_random(1)),
            generation: Generation(generation),
            body: PartBody::Node(NodePart { placements: ids.iter().map(wanted).collect() }),
        }
    }

    #[test]
    fn what_is_gone_is_told_until_no_part_names_it() {
        let mut guests = Guests::default();
        assert!(!guests.take(vec![absent(1, &[1])]));
        assert_eq!(guests.observed()[0].state, PlacementState::Gone);
        guests.take(vec![absent(2, &[])]);
        assert_eq!((guests.observed(), guests.have()[0].generation), (Vec::new(), Generation(2)));
    }

    #[test]
    fn a_guest_stops_with_the_start_it_had() {
        let running = PlacementState::Running { start_seq: 3, reboot_seq: 0 };
        let off = |start_seq| PlacementState::Off { start_seq, reason: OffReason::Requested };
        let stop = Power::Stopped { force: false };
        assert_eq!(obeyed(stop, Some(&running)), off(3));
        assert_eq!(obeyed(stop, Some(&off(3))), off(3));
        assert_eq!(obeyed(stop, None), off(0));
    }
}
