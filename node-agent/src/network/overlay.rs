//! The way to the VPC's guests on other hosts: a VXLAN device in the router, all of whose entries come
//! from the desired state.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use rtnetlink::{LinkUnspec, LinkVxlan};
use tepui_types::agent::{VpcNode, VpcPart, VpcPort};
use tepui_types::{MacAddress, NodeId};

use super::error::refused;
use super::names::VXLAN;
use super::namespace::Namespace;
use super::router::{Surroundings, number, pin_exactly};
use super::{GUEST_MTU, NetworkError, netlink};

/// The port VXLAN uses (RFC 7348).
pub(super) const VXLAN_PORT: u16 = 4789;

/// Where hosts meet.
#[derive(Debug, Clone)]
pub(super) struct Underlay {
    /// This host's address.
    pub(super) address: Ipv4Addr,
    /// The device towards the others.
    pub(super) uplink: String,
}

/// Makes device, peers, routes and neighbours as the part says. A VPC that is on this host alone has none.
pub(super) async fn ensure(
    inside: &Namespace,
    part: &VpcPart,
    around: &Surroundings<'_>,
) -> Result<(), NetworkError> {
    let Some(own) = part.nodes.iter().find(|node| node.id == around.node) else { return Ok(()) };
    let peers = peers(part, around.node);
    if peers.is_empty() {
        return remove(inside).await;
    }
    let index = ensure_device(inside, part, own.vtep_mac, around).await?;
    for peer in &peers {
        netlink::pin_vxlan_peer(inside.netlink(), index, peer.vtep_mac, peer.underlay_address).await?;
    }
    let guests = remote_guests(&part.ports, &peers, around.node);
    route_exactly(inside, index, guests.keys().copied().collect()).await?;
    pin_exactly(inside, index, &guests).await.map(drop)
}

/// Removes the device. It must go before its namespace, whose end the kernel takes its time for: the
/// network's number would be taken until then.
pub(super) async fn remove(inside: &Namespace) -> Result<(), NetworkError> {
    match netlink::links(inside.netlink()).await?.get(VXLAN) {
        Some(device) => netlink::remove_link(inside.netlink(), VXLAN, device.index).await,
        None => Ok(()),
    }
}

/// The device is made in the host's namespace, where its socket stays, and then moved.
async fn ensure_device(
    inside: &Namespace,
    part: &VpcPart,
    own_mac: MacAddress,
    around: &Surroundings<'_>,
) -> Result<u32, NetworkError> {
    if let Some(device) = netlink::links(inside.netlink()).await?.get(VXLAN) {
        netlink::ensure_mac(inside.netlink(), VXLAN, *device, own_mac).await?;
        if !device.up {
            netlink::up(inside.netlink(), VXLAN, device.index).await?;
        }
        return Ok(device.index);
    }
    let host = around.host.netlink();
    let uplink = super::router::index(around.host_links, &around.underlay.uplink)?;
    let passing = around.names.passing('x', number(&around.numbers.vpcs, &part.id));
    let device = LinkVxlan::new(&passing, part.vni)
        .dev(uplink)
        .local(around.underlay.address)
        .port(VXLAN_PORT)
        .learning(false)
        .address(own_mac.octets().to_vec())
        .mtu(GUEST_MTU);
    netlink::add_link(host, &passing, device.build()).await?;
    let made = netlink::link_named(host, &passing).await?;
    let moved = LinkUnspec::new_with_index(made.index).setns_by_fd(inside.fd()).name(VXLAN);
    netlink::set_link(host, &passing, moved.build()).await?;
    let index = netlink::link_named(inside.netlink(), VXLAN).await?.index;
    netlink::up(inside.netlink(), VXLAN, index).await?;
    Ok(index)
}

/// The VPC's other hosts; none for a host that is not of it.
pub(super) fn peers(part: &VpcPart, own: NodeId) -> Vec<&VpcNode> {
    match part.nodes.iter().any(|node| node.id == own) {
        true => part.nodes.iter().filter(|node| node.id != own).collect(),
        false => Vec::new(),
    }
}

/// The guests behind these hosts, with the host's MAC address.
pub(super) fn remote_guests(
    ports: &[VpcPort],
    peers: &[&VpcNode],
    own: NodeId,
) -> HashMap<Ipv4Addr, MacAddress> {
    let vtep = |node: NodeId| peers.iter().find(|peer| peer.id == node).map(|peer| peer.vtep_mac);
    let remote = ports.iter().filter(|port| port.node_id != own);
    remote.filter_map(|port| Some((port.private_ip, vtep(port.node_id)?))).collect()
}

async fn route_exactly(
    inside: &Namespace,
    index: u32,
    wanted: HashSet<Ipv4Addr>,
) -> Result<(), NetworkError> {
    let found = netlink::host_routes(inside.netlink(), index).await?;
    for address in wanted.iter().filter(|address| !found.contains_key(address)) {
        netlink::set_route(inside.netlink(), netlink::route((*address).into(), index, None)).await?;
    }
    for (_, route) in found.into_iter().filter(|(address, _)| !wanted.contains(address)) {
        netlink::remove_route(inside.netlink(), route).await?;
    }
    Ok(())
}

/// Checks what the kernel would refuse with a message that names nothing.
pub(super) fn check_vni(part: &VpcPart) -> Result<(), NetworkError> {
    if part.vni == 0 || part.vni >= 1 << 24 {
        let what = format!("use {} as the VXLAN network of {}", part.vni, part.id);
        return Err(refused(|| what)(nix::errno::Errno::ERANGE));
    }
    Ok(())
}
