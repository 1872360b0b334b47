//! The host's part in public addresses: a route to the router that translates, and an answer to ARP
//! requests on the uplink, so that the operator's network finds the address here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::NetworkError;
use super::names::uplink_addresses;
use super::namespace::Namespace;
use super::netlink::{self, Links};
use super::router::index;

/// Routes each address to the router it belongs to; `routers` are the host's ends by VPC number.
pub(super) async fn ensure_routes(
    host: &Namespace,
    links: &Links,
    routers: &BTreeMap<u32, String>,
    wanted: &HashMap<Ipv4Addr, u32>,
) -> Result<(), NetworkError> {
    for (number, device) in routers {
        let index = index(links, device)?;
        let found = netlink::host_routes(host.netlink(), index).await?;
        let (_, gateway) = uplink_addresses(*number);
        let here = wanted.iter().filter(|(_, vpc)| *vpc == number).map(|(address, _)| *address);
        let here: BTreeSet<Ipv4Addr> = here.collect();
        for address in here.iter().filter(|address| !found.contains_key(address)) {
            let route = netlink::route((*address).into(), index, Some(gateway));
            netlink::set_route(host.netlink(), route).await?;
        }
        for (_, route) in found.into_iter().filter(|(address, _)| !here.contains(address)) {
            netlink::remove_route(host.netlink(), route).await?;
        }
    }
    Ok(())
}

/// Answers for exactly these addresses; `old` are those an earlier call may have answered for.
pub(super) async fn ensure_proxies(
    host: &Namespace,
    links: &Links,
    uplink: &str,
    wanted: &BTreeSet<Ipv4Addr>,
    old: &BTreeSet<Ipv4Addr>,
) -> Result<(), NetworkError> {
    let index = index(links, uplink)?;
    for address in old.difference(wanted) {
        netlink::remove_proxy(host.netlink(), index, *address).await?;
    }
    for address in wanted {
        netlink::add_proxy(host.netlink(), index, *address).await?;
    }
    Ok(())
}
