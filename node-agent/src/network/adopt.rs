//! The numbers in the names of the host's devices, read off the devices themselves: for an agent whose file of
//! them is damaged or gone while guests run on. What is lost for good are the ports of guests that no part
//! names.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use tepui_types::agent::{SubnetPart, VpcPart};

use super::names::{Names, Numbers, SUBNET_PREFIX, UPLINK, namespace_path, uplink_number};
use super::namespace::{self, Namespace};
use super::netlink::{self, Addresses, Links};
use super::{NetworkError, WantedNetwork};

/// What stands on the host of what is wanted.
pub(super) async fn numbers(
    host: &Namespace,
    run_dir: &Path,
    names: &Names,
    wanted: &WantedNetwork,
) -> Result<Numbers, NetworkError> {
    let mut numbers = Numbers::default();
    for part in &wanted.vpcs {
        let path = namespace_path(run_dir, part.id);
        if namespace::is_bound(&path) {
            add_router(&mut numbers, part, &Namespace::ensure(&path).await?).await?;
        }
    }
    let links = netlink::links(host.netlink()).await?;
    add_taps(&mut numbers, host, names, &links, wanted).await?;
    for (_, link) in links.iter().filter(|(name, _)| names.is_uplink(name)) {
        let routed = netlink::host_routes(host.netlink(), link.index).await?;
        numbers.proxied.extend(routed.into_keys().map(|address| (address, None)));
    }
    Ok(numbers)
}

/// A router's way out tells its VPC's number, and a device with a subnet's gateway that of the subnet.
async fn add_router(numbers: &mut Numbers, part: &VpcPart, inside: &Namespace) -> Result<(), NetworkError> {
    let links = netlink::links(inside.netlink()).await?;
    let addresses = netlink::addresses(inside.netlink()).await?;
    let way = links.get(UPLINK).and_then(|link| address_of(link.index, &addresses));
    numbers.vpcs.extend(way.and_then(uplink_number).map(|number| (part.id, number)));
    for subnet in &part.subnets {
        numbers.subnets.extend(subnet_number(subnet, &links, &addresses).map(|number| (subnet.id, number)));
    }
    Ok(())
}

fn subnet_number(subnet: &SubnetPart, links: &Links, addresses: &Addresses) -> Option<u32> {
    let is_its = |index| address_of(index, addresses) == Some(subnet.gateway);
    let (name, _) =
        links.iter().find(|(name, link)| name.starts_with(SUBNET_PREFIX) && is_its(link.index))?;
    name.strip_prefix(SUBNET_PREFIX)?.parse().ok()
}

fn address_of(index: u32, addresses: &Addresses) -> Option<Ipv4Addr> {
    addresses.iter().find(|(link, ..)| *link == index).map(|(_, address, _)| *address)
}

/// A tap is known by the MAC address that is bound to it on its bridge.
async fn add_taps(
    numbers: &mut Numbers,
    host: &Namespace,
    names: &Names,
    links: &Links,
    wanted: &WantedNetwork,
) -> Result<(), NetworkError> {
    let taps: BTreeMap<u32, u32> =
        links.iter().filter_map(|(name, link)| Some((link.index, names.tap_number(name)?))).collect();
    let bound = netlink::pinned_macs(host.netlink()).await?;
    for port in wanted.vpcs.iter().flat_map(|part| &part.ports) {
        if wanted.local.contains(&port.placement_id) {
            let tap = bound.iter().find_map(|(index, mac)| taps.get(index).filter(|_| *mac == port.mac));
            numbers.taps.extend(tap.map(|number| (port.placement_id, *number)));
        }
    }
    Ok(())
}
