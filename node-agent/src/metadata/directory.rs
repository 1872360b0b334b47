//! Who is at which address.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

use tepui_types::agent::{NodePart, PlacementPart, PlacementSpec, WantedPlacement};
use tepui_types::{PlacementId, VpcId};

/// The placements of the node's part, by VPC and address.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Index>);

#[derive(Debug, Default)]
struct Index {
    node: Arc<NodePart>,
    places: HashMap<(VpcId, Ipv4Addr), usize>,
}

/// A guest that was found by its address. It holds the node's part, not a copy of it.
#[derive(Debug, Clone)]
pub struct Guest {
    node: Arc<NodePart>,
    place: usize,
}

impl Guest {
    /// Its placement and what is known about it.
    pub fn placement(&self) -> Option<(PlacementId, &PlacementSpec)> {
        self.node.placements.get(self.place).and_then(present)
    }
}

fn present(wanted: &WantedPlacement) -> Option<(PlacementId, &PlacementSpec)> {
    match &wanted.wanted {
        PlacementPart::Present(spec) => Some((wanted.id, spec)),
        PlacementPart::Absent { .. } => None,
    }
}

impl Directory {
    /// Takes another node part.
    pub fn replace(&self, node: Arc<NodePart>) {
        let mut places = HashMap::new();
        for (place, wanted) in node.placements.iter().enumerate() {
            let Some((_, spec)) = present(wanted) else { continue };
            let interfaces = spec.metadata.interfaces.iter();
            places.extend(interfaces.map(|interface| ((interface.vpc_id, interface.private_ip), place)));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Index { node, places };
    }

    /// Who is at `address` in `vpc`.
    pub fn find(&self, vpc: VpcId, address: Ipv4Addr) -> Option<Guest> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let place = *index.places.get(&(vpc, address))?;
        Some(Guest { node: Arc::clone(&index.node), place })
    }
}
