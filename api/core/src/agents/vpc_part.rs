//! A VPC's part: what the store does not know of it.

use sha2::{Digest as _, Sha256};
use tepui_types::agent::VpcPart;
use tepui_types::{MacAddress, NodeId, VpcId};

use crate::CloudConfig;

/// Fills in the domain and the tunnel ends' addresses.
pub(super) fn completed(mut part: VpcPart, config: &CloudConfig) -> VpcPart {
    part.domain = config.domain();
    for node in &mut part.nodes {
        node.vtep_mac = vtep_mac(part.id, node.id);
    }
    part
}

/// A node's address in a VPC's tunnel: a function of both ids, so that no row has to keep it and
/// every build of a part says the same.
fn vtep_mac(vpc: VpcId, node: NodeId) -> MacAddress {
    let digest = Sha256::digest(format!("{vpc} {node}"));
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest[..16]);
    MacAddress::from_random(u128::from_le_bytes(bits))
}
