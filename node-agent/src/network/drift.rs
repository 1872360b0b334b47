//! What a device must be, and in what it differs: somebody's hand, another program, or a crash half-way may
//! have changed it.

use std::net::Ipv4Addr;

use tepui_types::agent::{SubnetPart, VpcPart};
use tepui_types::{MacAddress, NodeId};

use super::names::{Numbers, UPLINK, VXLAN, subnet_device, uplink_addresses};
use super::netlink::{Addresses, Links};
use super::router::{GATEWAY_MAC, number};
use super::router_filter::METADATA_ADDRESS;

/// A device as it must be; it must be up in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WantedLink {
    pub(super) name: String,
    /// The bridge it is a port of.
    pub(super) bridge: Option<String>,
    /// As a port it speaks with the router alone.
    pub(super) isolated: bool,
    pub(super) mac: Option<MacAddress>,
    pub(super) address: Option<(Ipv4Addr, u8)>,
}

impl WantedLink {
    /// The first difference, for people; `None` for a device that is as it must be.
    pub(super) fn fault(&self, links: &Links, addresses: &Addresses) -> Option<String> {
        let name = &self.name;
        let Some(link) = links.get(name) else { return Some(format!("{name} is missing")) };
        let bridge = self.bridge.as_ref().filter(|bridge| {
            let index = links.get(bridge.as_str()).map(|bridge| bridge.index);
            index.is_none() || link.bridge != index
        });
        let mac = self.mac.filter(|mac| link.mac != Some(*mac));
        let address =
            self.address.filter(|(address, prefix)| !addresses.contains(&(link.index, *address, *prefix)));
        let found = || link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        None.or_else(|| (!link.up).then(|| format!("{name} is down")))
            .or_else(|| bridge.map(|bridge| format!("{name} is no port of {bridge}")))
            .or_else(|| (self.isolated && !link.isolated).then(|| format!("{name} is not isolated")))
            .or_else(|| mac.map(|mac| format!("{name} has the MAC address {} instead of {mac}", found())))
            .or_else(|| address.map(|(address, prefix)| format!("{name} has lost {address}/{prefix}")))
    }
}

/// The devices inside a VPC's router.
pub(super) fn inside_router(part: &VpcPart, node: NodeId, numbers: &Numbers) -> Vec<WantedLink> {
    let link = |name: &str, mac, address| WantedLink {
        name: name.to_owned(),
        mac,
        address,
        ..WantedLink::default()
    };
    let way = uplink_addresses(number(&numbers.vpcs, &part.id)).1;
    let mut wanted = vec![
        link("lo", None, Some((METADATA_ADDRESS, 32))),
        link(UPLINK, Some(GATEWAY_MAC), Some((way, 31))),
    ];
    let subnet = |subnet: &SubnetPart| {
        let device = subnet_device(number(&numbers.subnets, &subnet.id));
        link(&device, Some(GATEWAY_MAC), Some((subnet.gateway, subnet.cidr.prefix_len())))
    };
    wanted.extend(part.subnets.iter().map(subnet));
    let own = part.nodes.iter().find(|one| one.id == node).filter(|_| part.nodes.len() > 1);
    wanted.extend(own.map(|own| link(VXLAN, Some(own.vtep_mac), None)));
    wanted
}
