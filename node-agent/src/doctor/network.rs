//! The guests' network, as the ledger has it.

use std::collections::BTreeSet;

use tepui_types::agent::{PartKey, PlacementPart, Power};

use super::{Books, Finding, Fix, Inventory, Subject, failure};
use crate::network::{Network, WantedNetwork};

const CURE: &str = "wait half a minute: the agent mends it; where no agent runs: tepui-node doctor --fix";

pub(super) async fn findings(books: &Books, inventory: &Inventory, network: &dyn Network) -> Vec<Finding> {
    let Some(wanted) = wanted(books, inventory) else { return Vec::new() };
    match network.faults(&wanted).await {
        Ok(faults) => {
            let told = faults.into_iter().map(|fault| {
                let finding = failure(Subject::Network, "network", fault, CURE);
                Finding { fix: Some(Fix::Network), ..finding }
            });
            told.collect()
        }
        Err(error) => {
            let cure = "run the doctor as root on a kernel with bridge, veth and tun";
            vec![failure(Subject::Network, "network", crate::chain(&error), cure)]
        }
    }
}

/// What the agent makes of the same ledger and guests. `None` for a host that was never told of one, and
/// where it cannot be said whose devices are needed: without libvirt's word, or with a damaged part.
pub(super) fn wanted(books: &Books, inventory: &Inventory) -> Option<WantedNetwork> {
    let is_lost = books.wanted.damaged.iter().any(|key| matches!(key, PartKey::Vpc(_)));
    if inventory.domains.is_none() || is_lost {
        return None;
    }
    let node_id = books.wanted.parts.iter().find_map(|part| match part.key {
        PartKey::Node(node) => Some(node),
        PartKey::Vpc(_) | PartKey::Storage(_) => None,
    })?;
    let wanted_on = books.wanted.node.placements.iter().filter(|placement| match &placement.wanted {
        PlacementPart::Present(spec) => matches!(spec.power, Power::Running { .. }),
        PlacementPart::Absent { .. } => false,
    });
    let local: BTreeSet<_> = wanted_on.map(|placement| placement.id).chain(inventory.live()).collect();
    let vpcs = books.wanted.vpcs.values().map(|vpc| vpc.as_ref().clone()).collect();
    Some(WantedNetwork { node_id, vpcs, local: local.into_iter().collect() })
}
