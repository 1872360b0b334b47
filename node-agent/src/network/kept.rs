//! The ports of guests that run on although no part names them any more: an agent never cuts off a guest
//! that nobody asked it to end, so their network stays as it was last known.

use std::collections::BTreeSet;

use tepui_types::PlacementId;
use tepui_types::agent::{VpcPart, VpcPort};

use super::WantedNetwork;

/// Adds to what is wanted the ports of local placements that no wanted part names, as the parts in `last`
/// had them, each with the subnet and the groups it needs. A port gives way to a wanted one with its
/// address.
pub(super) fn complete(wanted: &WantedNetwork, last: &[VpcPart]) -> WantedNetwork {
    let mut whole = wanted.clone();
    let named: BTreeSet<PlacementId> = ports_here(wanted).map(|port| port.placement_id).collect();
    for old in last {
        let is_kept = |port: &&VpcPort| {
            port.node_id == wanted.node_id
                && wanted.local.contains(&port.placement_id)
                && !named.contains(&port.placement_id)
        };
        let ports: Vec<VpcPort> = old.ports.iter().filter(is_kept).cloned().collect();
        if !ports.is_empty() {
            keep(&mut whole, old, ports);
        }
    }
    whole
}

/// The parts that hold a port of `whole` which `wanted` does not name: what the next agent must know.
pub(super) fn unnamed(wanted: &WantedNetwork, whole: &WantedNetwork) -> Vec<VpcPart> {
    let named: BTreeSet<PlacementId> = ports_here(wanted).map(|port| port.placement_id).collect();
    let is_unnamed = |port: &VpcPort| {
        port.node_id == whole.node_id
            && whole.local.contains(&port.placement_id)
            && !named.contains(&port.placement_id)
    };
    whole.vpcs.iter().filter(|part| part.ports.iter().any(is_unnamed)).cloned().collect()
}

fn ports_here(wanted: &WantedNetwork) -> impl Iterator<Item = &VpcPort> {
    wanted.vpcs.iter().flat_map(|part| &part.ports).filter(|port| port.node_id == wanted.node_id)
}

fn keep(whole: &mut WantedNetwork, old: &VpcPart, ports: Vec<VpcPort>) {
    let Some(part) = whole.vpcs.iter_mut().find(|part| part.id == old.id) else {
        whole.vpcs.push(VpcPart { ports, ..old.clone() });
        return;
    };
    for port in ports {
        if part.ports.iter().any(|other| other.private_ip == port.private_ip || other.mac == port.mac) {
            continue;
        }
        let missing = |id| !part.subnets.iter().any(|subnet| subnet.id == id);
        let subnets = old.subnets.iter().filter(|subnet| subnet.id == port.subnet_id && missing(subnet.id));
        let subnets: Vec<_> = subnets.cloned().collect();
        part.subnets.extend(subnets);
        let missing = |id| !part.groups.iter().any(|group| group.id == id);
        let groups = old.groups.iter().filter(|group| port.groups.contains(&group.id) && missing(group.id));
        let groups: Vec<_> = groups.cloned().collect();
        part.groups.extend(groups);
        part.ports.push(port);
    }
}
