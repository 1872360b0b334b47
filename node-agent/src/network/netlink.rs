//! Links, addresses, routes and neighbours of one namespace, each verb repeatable.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt as _;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope};
use rtnetlink::{Error, Handle, LinkBridgePort, LinkUnspec, RouteMessageBuilder};
use tepui_types::MacAddress;

use super::NetworkError;
use super::error::refused;

/// What matters of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// Index of the bridge it is a port of.
    pub(super) bridge: Option<u32>,
    /// Administratively up.
    pub(super) up: bool,
    /// As a port of a bridge it speaks with ports that are not isolated alone.
    pub(super) isolated: bool,
    pub(super) mac: Option<MacAddress>,
}

/// The links of a namespace by name.
pub(super) type Links = HashMap<String, Link>;

/// Reads all links.
pub(super) async fn links(netlink: &Handle) -> Result<Links, NetworkError> {
    netlink
        .link()
        .get()
        .execute()
        .try_filter_map(|message| async move { Ok(link(&message)) })
        .try_collect()
        .await
        .map_err(refused(|| "list links".into()))
}

fn link(message: &LinkMessage) -> Option<(String, Link)> {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let bridge = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) if *index != 0 => Some(*index),
        _ => None,
    });
    let up = message.header.flags.contains(LinkFlags::Up);
    let isolated = message.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => info.iter().any(is_isolated),
        _ => false,
    });
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => mac.as_slice().try_into().ok().map(MacAddress::from_octets),
        _ => None,
    });
    Some((name, Link { index: message.header.index, bridge, up, isolated, mac }))
}

fn is_isolated(info: &LinkInfo) -> bool {
    matches!(info, LinkInfo::PortData(InfoPortData::BridgePort(port)) if port.contains(&InfoBridgePort::Isolated(true)))
}

/// Reads one link that was made a moment ago.
pub(super) async fn link_named(netlink: &Handle, name: &str) -> Result<Link, NetworkError> {
    let found = netlink.link().get().match_name(name).execute().try_next().await;
    found
        .map_err(refused(|| format!("look for the link {name}")))?
        .and_then(|message| link(&message))
        .map(|(_, link)| link)
        .ok_or_else(|| refused(|| format!("look for the link {name}"))(Errno::ENODEV))
}

/// Makes a link.
pub(super) async fn add_link(netlink: &Handle, name: &str, link: LinkMessage) -> Result<(), NetworkError> {
    netlink.link().add(link).execute().await.map_err(refused(|| format!("make the link {name}")))
}

/// Changes a link.
pub(super) async fn set_link(netlink: &Handle, name: &str, link: LinkMessage) -> Result<(), NetworkError> {
    netlink.link().set(link).execute().await.map_err(refused(|| format!("change the link {name}")))
}

/// Puts a link up.
pub(super) async fn up(netlink: &Handle, name: &str, index: u32) -> Result<(), NetworkError> {
    set_link(netlink, name, LinkUnspec::new_with_index(index).up().build()).await
}

/// Gives a link its MAC address. To set the one it has would make the kernel forget the link's neighbours.
pub(super) async fn ensure_mac(
    netlink: &Handle,
    name: &str,
    link: Link,
    mac: MacAddress,
) -> Result<(), NetworkError> {
    if link.mac == Some(mac) {
        return Ok(());
    }
    let change = LinkUnspec::new_with_index(link.index).address(mac.octets().to_vec());
    set_link(netlink, name, change.build()).await
}

/// Makes a link a port of a bridge, still down if it was.
pub(super) async fn enslave(
    netlink: &Handle,
    name: &str,
    index: u32,
    bridge: u32,
) -> Result<(), NetworkError> {
    set_link(netlink, name, LinkUnspec::new_with_index(index).controller(bridge).build()).await
}

/// Makes a bridge port speak only with the router's port, and only with known addresses.
pub(super) async fn isolate(netlink: &Handle, name: &str, index: u32) -> Result<(), NetworkError> {
    let port = LinkBridgePort::new(index).isolated(true).learning(false).flood(false).mcast_flood(false);
    let request = netlink.link().set_port(port.build());
    request.execute().await.map_err(refused(|| format!("isolate the bridge port {name}")))
}

/// Removes a link; one that is gone is a success.
pub(super) async fn remove_link(netlink: &Handle, name: &str, index: u32) -> Result<(), NetworkError> {
    forgive(netlink.link().del(index).execute().await, &[Errno::ENODEV])
        .map_err(refused(|| format!("remove the link {name}")))
}

/// Gives a link an address.
pub(super) async fn add_address(
    netlink: &Handle,
    index: u32,
    address: Ipv4Addr,
    prefix: u8,
) -> Result<(), NetworkError> {
    let request = netlink.address().add(index, IpAddr::V4(address), prefix).replace();
    request.execute().await.map_err(refused(|| format!("add the address {address}/{prefix}")))
}

/// The ranges that a link reaches without a gateway, by its addresses.
pub(super) async fn connected_ranges(netlink: &Handle, index: u32) -> Result<Vec<Ipv4Net>, NetworkError> {
    let all = netlink.address().get().set_link_index_filter(index).execute();
    all.try_filter_map(|message| async move {
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
        let range = address.and_then(|address| Ipv4Net::new(address, message.header.prefix_len).ok());
        Ok(range.map(|range| range.trunc()))
    })
    .try_collect()
    .await
    .map_err(refused(|| format!("list the addresses of the link {index}")))
}

/// Every IPv4 address of a namespace: the link's index, the address, and the length of its prefix.
pub(super) type Addresses = BTreeSet<(u32, Ipv4Addr, u8)>;

/// Reads all addresses.
pub(super) async fn addresses(netlink: &Handle) -> Result<Addresses, NetworkError> {
    let all = netlink.address().get().execute();
    all.try_filter_map(|message| async move {
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
        Ok(address.map(|address| (message.header.index, address, message.header.prefix_len)))
    })
    .try_collect()
    .await
    .map_err(refused(|| "list addresses".into()))
}

/// Binds a MAC address to a port of a bridge, so that a guest cannot draw it to itself.
pub(super) async fn pin_mac(netlink: &Handle, index: u32, mac: MacAddress) -> Result<(), NetworkError> {
    let request = netlink.neighbours().add_bridge(index, &mac.octets());
    // NUD_NOARP is what makes an entry of a bridge static instead of one of the bridge's own.
    let request = request.state(NeighbourState::Noarp).flags(NeighbourFlags::Controller).replace();
    request.execute().await.map_err(refused(|| format!("bind {mac} to a bridge port")))
}

/// The MAC addresses that are bound to ports of bridges: index of the port, and the address.
pub(super) async fn pinned_macs(netlink: &Handle) -> Result<Vec<(u32, MacAddress)>, NetworkError> {
    let all = netlink.neighbours().get().set_address_family(AddressFamily::Bridge).execute();
    all.try_filter_map(|message| async move {
        let mac = neighbour_mac(&message).filter(|_| message.header.state == NeighbourState::Noarp);
        Ok(mac.map(|mac| (message.header.ifindex, mac)))
    })
    .try_collect()
    .await
    .map_err(refused(|| "list the MAC addresses of bridges".into()))
}

/// Where the frames to a MAC address of another host leave a VXLAN device.
pub(super) async fn pin_vxlan_peer(
    netlink: &Handle,
    index: u32,
    mac: MacAddress,
    peer: Ipv4Addr,
) -> Result<(), NetworkError> {
    let request = netlink.neighbours().add_bridge(index, &mac.octets()).destination(IpAddr::V4(peer));
    let request = request.state(NeighbourState::Permanent).flags(NeighbourFlags::Own).replace();
    request.execute().await.map_err(refused(|| format!("add the VXLAN peer {peer}")))
}

/// Binds an address to a MAC address for ever.
pub(super) async fn pin_neighbour(
    netlink: &Handle,
    index: u32,
    address: Ipv4Addr,
    mac: MacAddress,
) -> Result<(), NetworkError> {
    let request = netlink.neighbours().add(index, IpAddr::V4(address)).link_layer_address(&mac.octets());
    let request = request.state(NeighbourState::Permanent).replace();
    request.execute().await.map_err(refused(|| format!("bind {address} to {mac}")))
}

/// Answers ARP requests for an address on a link.
pub(super) async fn add_proxy(netlink: &Handle, index: u32, address: Ipv4Addr) -> Result<(), NetworkError> {
    let request = netlink.neighbours().add(index, IpAddr::V4(address)).flags(NeighbourFlags::Proxy);
    request.replace().execute().await.map_err(refused(|| format!("answer ARP requests for {address}")))
}

/// Ends [`add_proxy`].
pub(super) async fn remove_proxy(
    netlink: &Handle,
    index: u32,
    address: Ipv4Addr,
) -> Result<(), NetworkError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
    forgive(netlink.neighbours().del(message).execute().await, &[Errno::ENOENT, Errno::ENODEV])
        .map_err(refused(|| format!("end answering ARP requests for {address}")))
}

/// The permanent neighbours of a link: addresses and MAC addresses.
pub(super) async fn pinned_neighbours(
    netlink: &Handle,
    index: u32,
) -> Result<HashMap<Ipv4Addr, NeighbourMessage>, NetworkError> {
    let all = netlink.neighbours().get().set_address_family(AddressFamily::Inet).execute();
    all.try_filter_map(|message| async move {
        let ours = message.header.ifindex == index && message.header.state == NeighbourState::Permanent;
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
            _ => None,
        });
        Ok(address.filter(|_| ours).map(|address| (address, message)))
    })
    .try_collect()
    .await
    .map_err(refused(|| "list neighbours".into()))
}

/// The MAC address of a neighbour.
pub(super) fn neighbour_mac(message: &NeighbourMessage) -> Option<MacAddress> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => {
            mac.as_slice().try_into().ok().map(MacAddress::from_octets)
        }
        _ => None,
    })
}

/// Removes a neighbour; one that is gone is a success.
pub(super) async fn remove_neighbour(
    netlink: &Handle,
    message: NeighbourMessage,
) -> Result<(), NetworkError> {
    forgive(netlink.neighbours().del(message).execute().await, &[Errno::ENOENT])
        .map_err(refused(|| "remove a neighbour".into()))
}

/// A route through a link, by way of a gateway if one is given.
pub(super) fn route(to: Ipv4Net, index: u32, gateway: Option<Ipv4Addr>) -> RouteMessage {
    let route = RouteMessageBuilder::<Ipv4Addr>::new();
    let route = route.destination_prefix(to.addr(), to.prefix_len()).output_interface(index);
    match gateway {
        Some(gateway) => route.gateway(gateway).build(),
        None => route.scope(RouteScope::Link).build(),
    }
}

/// Sets a route.
pub(super) async fn set_route(netlink: &Handle, route: RouteMessage) -> Result<(), NetworkError> {
    netlink.route().add(route).replace().execute().await.map_err(refused(|| "set a route".into()))
}

/// The /32 routes through a link.
pub(super) async fn host_routes(
    netlink: &Handle,
    index: u32,
) -> Result<HashMap<Ipv4Addr, RouteMessage>, NetworkError> {
    let all = netlink.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    all.try_filter_map(|route| async move { Ok(host_route_through(route, index)) })
        .try_collect()
        .await
        .map_err(refused(|| "list routes".into()))
}

fn host_route_through(route: RouteMessage, index: u32) -> Option<(Ipv4Addr, RouteMessage)> {
    let is_through = route.attributes.contains(&RouteAttribute::Oif(index));
    // Table 255 is the kernel's own for the addresses of the host.
    let is_ours = route.header.destination_prefix_length == 32 && route.header.table != 255 && is_through;
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(*to),
        _ => None,
    });
    to.filter(|_| is_ours).map(|to| (to, route))
}

/// Removes a route; one that is gone is a success.
pub(super) async fn remove_route(netlink: &Handle, route: RouteMessage) -> Result<(), NetworkError> {
    forgive(netlink.route().del(route).execute().await, &[Errno::ESRCH])
        .map_err(refused(|| "remove a route".into()))
}

fn forgive(result: Result<(), Error>, harmless: &[Errno]) -> Result<(), Error> {
    match result {
        Err(Error::NetlinkError(message))
            if harmless.contains(&Errno::from_raw(message.raw_code().wrapping_neg())) =>
        {
            Ok(())
        }
        other => other,
    }
}
