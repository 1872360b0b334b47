//! The host's side of the subnets: bridges, and the taps on them.

use std::collections::HashMap;

use rtnetlink::packet_route::link::BridgeStpState;
use rtnetlink::{LinkBridge, LinkUnspec};
use tepui_types::agent::VpcPart;
use tepui_types::{MacAddress, VpcId};

use super::names::{Names, Numbers};
use super::namespace::Namespace;
use super::netlink::{self, Link, Links};
use super::router::{GATEWAY_MAC, find, index, number};
use super::{GUEST_MTU, NetworkError, sysctl, tap};

/// A tap as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedTap {
    pub(super) name: String,
    pub(super) bridge: String,
    pub(super) mac: MacAddress,
    pub(super) vpc: VpcId,
}

/// Makes the bridges of a VPC that are missing, and completes those that are not up.
pub(super) async fn ensure_bridges(
    host: &Namespace,
    links: &Links,
    part: &VpcPart,
    names: &Names,
    numbers: &Numbers,
) -> Result<(), NetworkError> {
    for subnet in &part.subnets {
        let name = names.bridge(number(&numbers.subnets, &subnet.id));
        match links.get(&name) {
            Some(link) if link.up => {}
            Some(link) => set_up_bridge(host, &name, link.index).await?,
            None => make_bridge(host, &name).await?,
        }
    }
    Ok(())
}

async fn make_bridge(host: &Namespace, name: &str) -> Result<(), NetworkError> {
    let bridge = LinkBridge::new(name)
        .stp_state(BridgeStpState::Disabled)
        .mcast_snooping(false)
        .forward_delay(0)
        .mtu(GUEST_MTU);
    netlink::add_link(host.netlink(), name, bridge.build()).await?;
    let made = netlink::link_named(host.netlink(), name).await?;
    set_up_bridge(host, name, made.index).await
}

/// Up comes last: it tells that nothing is missing.
async fn set_up_bridge(host: &Namespace, name: &str, index: u32) -> Result<(), NetworkError> {
    sysctl::write(host, sysctl::bridge(name)).await?;
    netlink::up(host.netlink(), name, index).await
}

/// Puts the router's end of each subnet on its bridge.
pub(super) async fn ensure_router_ports(
    host: &Namespace,
    links: &Links,
    part: &VpcPart,
    names: &Names,
    numbers: &Numbers,
) -> Result<(), NetworkError> {
    for subnet in &part.subnets {
        let number = number(&numbers.subnets, &subnet.id);
        let (bridge, port) = (names.bridge(number), names.router_port(number));
        let bridge = index(links, &bridge)?;
        let link = find(links, &port)?;
        if link.bridge != Some(bridge) || !link.up {
            netlink::enslave(host.netlink(), &port, link.index, bridge).await?;
            netlink::pin_mac(host.netlink(), link.index, GATEWAY_MAC).await?;
        }
        if !link.up {
            netlink::up(host.netlink(), &port, link.index).await?;
        }
    }
    Ok(())
}

/// Makes the taps that are missing, down and on no bridge: nothing may pass before the filters
/// stand. A device of the name that is there already is taken as it is.
pub(super) async fn ensure_taps(
    host: &Namespace,
    links: &Links,
    taps: &[WantedTap],
) -> Result<(), NetworkError> {
    for wanted in taps.iter().filter(|wanted| !links.contains_key(&wanted.name)) {
        tap::create(host, &wanted.name).await?;
        sysctl::write(host, sysctl::silent(&wanted.name)).await?;
    }
    Ok(())
}

/// Taps by name, with the index and the guest's MAC address they were set up for.
pub(super) type Settled = HashMap<String, (u32, MacAddress)>;

/// Puts the taps to work. `settled` are those this process set up before: the others are set up again even
/// if they look right, since another agent made them, or another guest had a tap of the name.
pub(super) async fn connect_taps(
    host: &Namespace,
    links: &Links,
    taps: &[WantedTap],
    settled: &mut Settled,
) -> Result<(), NetworkError> {
    for wanted in taps {
        let link = links.get(&wanted.name).copied();
        let bridge = index(links, &wanted.bridge)?;
        let link = match link {
            Some(link) => link,
            None => netlink::link_named(host.netlink(), &wanted.name).await?,
        };
        let is_settled = settled.get(&wanted.name) == Some(&(link.index, wanted.mac));
        if !(is_settled && link.bridge == Some(bridge) && link.up && link.isolated) {
            connect(host, wanted, link, bridge).await?;
            settled.insert(wanted.name.clone(), (link.index, wanted.mac));
        }
    }
    Ok(())
}

async fn connect(host: &Namespace, wanted: &WantedTap, link: Link, bridge: u32) -> Result<(), NetworkError> {
    let (netlink, name) = (host.netlink(), wanted.name.as_str());
    let port = LinkUnspec::new_with_index(link.index).controller(bridge).mtu(GUEST_MTU).build();
    netlink::set_link(netlink, name, port).await?;
    netlink::isolate(netlink, name, link.index).await?;
    netlink::pin_mac(netlink, link.index, wanted.mac).await?;
    netlink::up(netlink, name, link.index).await
}
