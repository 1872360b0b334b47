//! Routes, neighbours and forwarding entries that must be there: somebody's hand or another program may have
//! removed one. What is too much is not looked for here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::Ipv4Addr;

use futures::TryStreamExt as _;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};
use tepui_types::agent::{SubnetPart, VpcPart, VpcPort};
use tepui_types::{MacAddress, NodeId};

use super::error::refused;
use super::names::{Names, Numbers, UPLINK, VXLAN, subnet_device, uplink_addresses};
use super::namespace::Namespace;
use super::router::{GATEWAY_MAC, local_guests, number};
use super::{NetworkError, netlink, overlay};

/// An entry of one of the kernel's tables, and the device it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WantedEntry {
    pub(super) device: String,
    entry: Entry,
}

/// In the order in which they can be made: a gateway must be reachable before a route goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Entry {
    Route {
        gateway: Option<Ipv4Addr>,
        to: Ipv4Net,
    },
    /// A permanent one.
    Neighbour {
        address: Ipv4Addr,
        mac: MacAddress,
    },
    /// ARP requests for the address are answered.
    Proxy(Ipv4Addr),
    /// The MAC address is bound to this port of a bridge.
    Port(MacAddress),
    /// Frames to the MAC address go to this host.
    Peer {
        mac: MacAddress,
        host: Ipv4Addr,
    },
}

impl fmt::Display for WantedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.device;
        match self.entry {
            Entry::Route { gateway: Some(gateway), to } => {
                write!(f, "{device} has lost the route to {to} by {gateway}")
            }
            Entry::Route { gateway: None, to } => write!(f, "{device} has lost the route to {to}"),
            Entry::Neighbour { address, mac } => {
                write!(f, "{device} has lost the neighbour {address} with {mac}")
            }
            Entry::Proxy(address) => write!(f, "{device} does not answer ARP requests for {address}"),
            Entry::Port(mac) => write!(f, "{device} has lost the bridge's entry for {mac}"),
            Entry::Peer { mac, host } => write!(f, "{device} has lost the VXLAN peer {host} with {mac}"),
        }
    }
}

fn wanted(device: &str, entry: Entry) -> WantedEntry {
    WantedEntry { device: device.to_owned(), entry }
}

/// The /31 of a router's way out.
fn way(number: u32) -> Entry {
    let to = Ipv4Net::new_assert(uplink_addresses(number).0, 31);
    Entry::Route { gateway: None, to }
}

/// What the host needs for a VPC with these ports on it.
pub(super) fn on_host(
    (part, local): &(&VpcPart, Vec<&VpcPort>),
    names: &Names,
    numbers: &Numbers,
    uplink: &str,
) -> Vec<WantedEntry> {
    let vpc = number(&numbers.vpcs, &part.id);
    let mut entries = vec![wanted(&names.uplink(vpc), way(vpc))];
    let router_port = |subnet: &SubnetPart| names.router_port(number(&numbers.subnets, &subnet.id));
    let gateways = part.subnets.iter().map(router_port);
    entries.extend(gateways.map(|port| wanted(&port, Entry::Port(GATEWAY_MAC))));
    for port in local {
        let tap = names.tap(number(&numbers.taps, &port.placement_id));
        entries.push(wanted(&tap, Entry::Port(port.mac)));
        if let Some(public) = port.public_ip {
            let gateway = Some(uplink_addresses(vpc).1);
            entries.push(wanted(&names.uplink(vpc), Entry::Route { gateway, to: Ipv4Net::from(public) }));
            entries.push(wanted(uplink, Entry::Proxy(public)));
        }
    }
    entries
}

/// What the inside of a VPC's router needs, with these ports on this host.
pub(super) fn inside_router(
    part: &VpcPart,
    local: &[&VpcPort],
    node: NodeId,
    numbers: &Numbers,
) -> BTreeSet<WantedEntry> {
    let vpc = number(&numbers.vpcs, &part.id);
    let everywhere = Entry::Route { gateway: Some(uplink_addresses(vpc).0), to: Ipv4Net::default() };
    let mut entries = BTreeSet::from([wanted(UPLINK, way(vpc)), wanted(UPLINK, everywhere)]);
    for subnet in &part.subnets {
        let device = subnet_device(number(&numbers.subnets, &subnet.id));
        entries.insert(wanted(&device, Entry::Route { gateway: None, to: subnet.cidr.trunc() }));
        let guests = local_guests(local, subnet.id).into_iter();
        entries.extend(guests.map(|(address, mac)| wanted(&device, Entry::Neighbour { address, mac })));
    }
    let others = overlay::peers(part, node);
    for peer in &others {
        let entry = Entry::Peer { mac: peer.vtep_mac, host: peer.underlay_address };
        entries.insert(wanted(VXLAN, entry));
    }
    for (address, mac) in overlay::remote_guests(&part.ports, &others, node) {
        entries.insert(wanted(VXLAN, Entry::Route { gateway: None, to: Ipv4Net::from(address) }));
        entries.insert(wanted(VXLAN, Entry::Neighbour { address, mac }));
    }
    entries
}

/// Those that the namespace lacks.
pub(super) async fn lost<'a>(
    namespace: &Namespace,
    wanted: &'a BTreeSet<WantedEntry>,
) -> Result<Vec<&'a WantedEntry>, NetworkError> {
    let links = netlink::links(namespace.netlink()).await?;
    let found = found(namespace.netlink()).await?;
    let stands = |wanted: &&WantedEntry| {
        links.get(&wanted.device).is_some_and(|link| found.contains(&(link.index, wanted.entry)))
    };
    Ok(wanted.iter().filter(|wanted| !stands(wanted)).collect())
}

/// As people are told. A device that is itself not as it must be has lost its entries with it, and is told of
/// elsewhere.
pub(super) async fn faults(
    namespace: &Namespace,
    wanted: &BTreeSet<WantedEntry>,
    devices: &BTreeMap<String, String>,
) -> Result<Vec<String>, NetworkError> {
    let lost = lost(namespace, wanted).await?.into_iter();
    Ok(lost.filter(|lost| !devices.contains_key(&lost.device)).map(ToString::to_string).collect())
}

/// Makes those that the namespace lacks.
pub(super) async fn ensure(
    namespace: &Namespace,
    wanted: &BTreeSet<WantedEntry>,
) -> Result<(), NetworkError> {
    let lost = lost(namespace, wanted).await?;
    if lost.is_empty() {
        return Ok(());
    }
    let links = netlink::links(namespace.netlink()).await?;
    for WantedEntry { device, entry } in lost {
        make(namespace.netlink(), super::router::index(&links, device)?, *entry).await?;
    }
    Ok(())
}

async fn make(netlink: &Handle, index: u32, entry: Entry) -> Result<(), NetworkError> {
    match entry {
        Entry::Route { gateway, to } => netlink::set_route(netlink, netlink::route(to, index, gateway)).await,
        Entry::Neighbour { address, mac } => netlink::pin_neighbour(netlink, index, address, mac).await,
        Entry::Proxy(address) => netlink::add_proxy(netlink, index, address).await,
        Entry::Port(mac) => netlink::pin_mac(netlink, index, mac).await,
        Entry::Peer { mac, host } => netlink::pin_vxlan_peer(netlink, index, mac, host).await,
    }
}

/// Every entry of the namespace, with its device's index.
async fn found(netlink: &Handle) -> Result<HashSet<(u32, Entry)>, NetworkError> {
    let routes = netlink.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let routes = routes.try_filter_map(|message| async move { Ok(route(&message)) }).try_collect().await;
    let mut found: HashSet<_> = routes.map_err(refused(|| "list routes".into()))?;
    let list = || netlink.neighbours().get().set_address_family(AddressFamily::Inet);
    let bridges = netlink.neighbours().get().set_address_family(AddressFamily::Bridge);
    for request in [list(), list().proxies(), bridges] {
        let entries = request.execute();
        let entries = entries.try_filter_map(|message| async move { Ok(neighbour(&message)) });
        let entries: Vec<_> = entries.try_collect().await.map_err(refused(|| "list neighbours".into()))?;
        found.extend(entries);
    }
    Ok(found)
}

fn route(message: &RouteMessage) -> Option<(u32, Entry)> {
    if message.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let (mut index, mut to, mut gateway) = (None, Ipv4Addr::UNSPECIFIED, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(found) => index = Some(*found),
            RouteAttribute::Destination(RouteAddress::Inet(found)) => to = *found,
            RouteAttribute::Gateway(RouteAddress::Inet(found)) => gateway = Some(*found),
            _ => {}
        }
    }
    let to = Ipv4Net::new(to, message.header.destination_prefix_length).ok()?;
    Some((index?, Entry::Route { gateway, to }))
}

fn neighbour(message: &NeighbourMessage) -> Option<(u32, Entry)> {
    let (header, mac) = (&message.header, netlink::neighbour_mac(message));
    let address = message.attributes.iter().find_map(address);
    let entry = match (header.family, header.state) {
        (AddressFamily::Inet, _) if header.flags.contains(NeighbourFlags::Proxy) => Entry::Proxy(address?),
        (AddressFamily::Inet, NeighbourState::Permanent) => Entry::Neighbour { address: address?, mac: mac? },
        (AddressFamily::Bridge, NeighbourState::Noarp) => Entry::Port(mac?),
        (AddressFamily::Bridge, NeighbourState::Permanent) => Entry::Peer { mac: mac?, host: address? },
        _ => return None,
    };
    Some((header.ifindex, entry))
}

/// A VXLAN device's peer comes as bare bytes, since its entry is of the bridges' family.
fn address(attribute: &NeighbourAttribute) -> Option<Ipv4Addr> {
    match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from)
        }
        _ => None,
    }
}
