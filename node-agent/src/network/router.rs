//! The router of one VPC: a namespace with a device towards each subnet, one out of the host, and one to
//! the other hosts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;
use nix::errno::Errno;
use rtnetlink::{LinkUnspec, LinkVeth};
use tepui_types::agent::{SubnetPart, VpcPart, VpcPort};
use tepui_types::{MacAddress, NodeId, PlacementId, SubnetId, VpcId};

use super::conntrack;
use super::dhcp::Dhcp;
use super::drift::{self, WantedLink};
use super::entries::{self, WantedEntry};
use super::error::refused;
use super::filter::Filter;
use super::names::{self, Names, Numbers, UPLINK, subnet_device, uplink_addresses};
use super::namespace::Namespace;
use super::netlink::{self, Link, Links};
use super::overlay::{self, Underlay};
use super::places::{self, Places};
use super::resolver;
use super::router_filter::{self, METADATA_ADDRESS};
use super::{GUEST_MTU, NetworkError, sysctl};

/// The gateway's MAC address, the same in every subnet and on every host, so that a guest that moves
/// need not learn a new one.
pub(super) const GATEWAY_MAC: MacAddress = MacAddress::from_octets([0x02, 0x54, 0x50, 0x00, 0x00, 0x01]);

/// A router that was made or taken over.
#[derive(Debug)]
pub(super) struct Router {
    inside: Namespace,
    dhcp: Dhcp,
    filter: Filter,
    /// The devices inside as they were last made.
    devices: Vec<WantedLink>,
    /// Routes, neighbours and peers that go with them.
    entries: BTreeSet<WantedEntry>,
    /// Devices inside that this process set up, by index.
    settled: HashMap<String, u32>,
    places: Places,
    /// What the inside was last made to be.
    applied: Option<(VpcPart, Vec<PlacementId>)>,
}

/// What a router's inside depends on.
pub(super) struct Surroundings<'a> {
    pub(super) node: NodeId,
    pub(super) host: &'a Namespace,
    pub(super) host_links: &'a Links,
    /// Devices of the host that are not as they must be.
    pub(super) host_faults: &'a BTreeSet<String>,
    pub(super) names: &'a Names,
    pub(super) numbers: &'a Numbers,
    pub(super) underlay: &'a Underlay,
}

impl Router {
    /// Makes the namespace, or takes it over.
    pub(super) async fn open(run_dir: &Path, vpc: VpcId) -> Result<Self, NetworkError> {
        let inside = Namespace::ensure(&names::namespace_path(run_dir, vpc)).await?;
        let dhcp = dhcp_of(run_dir, vpc);
        let (filter, settled) = (Filter::default(), HashMap::new());
        let places = Places::load(run_dir, vpc)?;
        let (devices, entries) = (Vec::new(), BTreeSet::new());
        Ok(Self { inside, dhcp, filter, devices, entries, settled, places, applied: None })
    }

    /// The namespace, for listeners.
    pub(super) const fn inside(&self) -> &Namespace {
        &self.inside
    }

    /// Whether nothing was changed behind our back, as far as is cheap to see.
    pub(super) async fn is_intact(&self, run_dir: &Path, vpc: VpcId) -> Result<bool, NetworkError> {
        let is_there = self.dhcp.runs() && super::namespace::is_bound(&names::namespace_path(run_dir, vpc));
        Ok(is_there
            && self.filter.is_intact(&self.inside).await?
            && faults(&self.inside, &self.devices).await?.is_empty()
            && entries::lost(&self.inside, &self.entries).await?.is_empty())
    }

    /// Makes the inside as wanted. `local` are the ports with a tap on this host.
    pub(super) async fn ensure(
        &mut self,
        part: &VpcPart,
        local: &[&VpcPort],
        around: &Surroundings<'_>,
    ) -> Result<(), NetworkError> {
        let placements = local.iter().map(|port| port.placement_id).collect();
        let wanted = (part.clone(), placements);
        let is_current = self.applied.as_ref() == Some(&wanted);
        self.devices = drift::inside_router(part, around.node, around.numbers);
        self.entries = entries::inside_router(part, local, around.node, around.numbers);
        // A device that lost its address or was down has lost neighbours and routes with it.
        let is_whole = faults(&self.inside, &self.devices).await?.is_empty();
        let links = self.ensure_links(part, around).await?;
        if is_current && is_whole && self.dhcp.runs() && self.filter.is_intact(&self.inside).await? {
            return entries::ensure(&self.inside, &self.entries).await;
        }
        self.applied = None;
        self.places.add(&conntrack::places(part))?;
        let moved = self.ensure_neighbours(part, local, around, &links).await?;
        overlay::ensure(&self.inside, part, around).await?;
        entries::ensure(&self.inside, &self.entries).await?;
        // Guests are let in only after the filter stands: their taps come up last.
        self.filter.ensure(&self.inside, vec![router_filter::router(part, local)]).await?;
        // Only now: a packet that came earlier would begin the flow anew under the old rules.
        self.end_flows(part, moved, around).await?;
        let upstream = resolver::upstream(number(&around.numbers.vpcs, &part.id));
        let files = self.dhcp.files(part, &devices(part, around.numbers), local, &upstream);
        self.dhcp.ensure(&self.inside, &files).await?;
        self.applied = Some(wanted);
        Ok(())
    }

    /// The devices towards the subnets and out of the host; settings and addresses of those that this
    /// process did not bring to their end before, or that are not up.
    async fn ensure_links(
        &mut self,
        part: &VpcPart,
        around: &Surroundings<'_>,
    ) -> Result<Links, NetworkError> {
        let mut links = netlink::links(self.inside.netlink()).await?;
        for (device, fault) in faults(&self.inside, &self.devices).await? {
            if self.settled.remove(&device).is_some() {
                tracing::warn!(vpc = %part.id, fault, "mending a device in a router");
            }
        }
        if around.host_faults.contains(&around.names.uplink(number(&around.numbers.vpcs, &part.id))) {
            self.settled.remove(UPLINK);
        }
        if !self.is_settled("lo", &links) {
            self.ensure_loopback(&links).await?;
            self.settle("lo", &links)?;
        }
        let mut made = false;
        for (host_name, passing, inner) in pairs(part, around) {
            made |= self.ensure_pair(&links, around, &host_name, &passing, &inner).await?;
        }
        if made {
            links = netlink::links(self.inside.netlink()).await?;
        }
        for subnet in &part.subnets {
            let device = subnet_device(number(&around.numbers.subnets, &subnet.id));
            if !self.is_settled(&device, &links) {
                self.set_up_subnet(&device, subnet, &links).await?;
                self.settle(&device, &links)?;
            }
        }
        if !self.is_settled(UPLINK, &links) {
            self.set_up_uplink(part.id, around, &links).await?;
            self.settle(UPLINK, &links)?;
        }
        Ok(links)
    }

    fn is_settled(&self, device: &str, links: &Links) -> bool {
        links.get(device).is_some_and(|link| link.up && self.settled.get(device) == Some(&link.index))
    }

    fn settle(&mut self, device: &str, links: &Links) -> Result<(), NetworkError> {
        self.settled.insert(device.to_owned(), index(links, device)?);
        Ok(())
    }

    async fn ensure_loopback(&self, links: &Links) -> Result<(), NetworkError> {
        sysctl::write(&self.inside, sysctl::router()).await?;
        let loopback = index(links, "lo")?;
        netlink::up(self.inside.netlink(), "lo", loopback).await?;
        netlink::add_address(self.inside.netlink(), loopback, METADATA_ADDRESS, 32).await
    }

    /// Makes a veth pair between host and router unless both ends are there; tells whether it did.
    async fn ensure_pair(
        &self,
        links: &Links,
        around: &Surroundings<'_>,
        host_name: &str,
        passing: &str,
        inner: &str,
    ) -> Result<bool, NetworkError> {
        let host = around.host.netlink();
        let old = around.host_links.get(host_name);
        if old.is_some() && links.contains_key(inner) {
            return Ok(false);
        }
        if let Some(old) = old {
            netlink::remove_link(host, host_name, old.index).await?;
        }
        let pair = LinkVeth::new(host_name, passing).mtu(GUEST_MTU).build();
        netlink::add_link(host, host_name, pair).await?;
        let peer = netlink::link_named(host, passing).await?;
        let moved = LinkUnspec::new_with_index(peer.index)
            .setns_by_fd(self.inside.fd())
            .name(inner)
            .address(GATEWAY_MAC.octets().to_vec())
            .mtu(GUEST_MTU);
        netlink::set_link(host, passing, moved.build()).await?;
        sysctl::write(around.host, sysctl::silent(host_name)).await?;
        Ok(true)
    }

    async fn set_up_subnet(
        &self,
        device: &str,
        subnet: &SubnetPart,
        links: &Links,
    ) -> Result<(), NetworkError> {
        let index = index(links, device)?;
        sysctl::write(&self.inside, sysctl::router_port(device)).await?;
        netlink::ensure_mac(self.inside.netlink(), device, find(links, device)?, GATEWAY_MAC).await?;
        netlink::add_address(self.inside.netlink(), index, subnet.gateway, subnet.cidr.prefix_len()).await?;
        netlink::up(self.inside.netlink(), device, index).await
    }

    async fn set_up_uplink(
        &self,
        vpc: VpcId,
        around: &Surroundings<'_>,
        links: &Links,
    ) -> Result<(), NetworkError> {
        let vpc_number = number(&around.numbers.vpcs, &vpc);
        let (host_address, own_address) = uplink_addresses(vpc_number);
        let host_name = around.names.uplink(vpc_number);
        let host_end = netlink::link_named(around.host.netlink(), &host_name).await?;
        netlink::add_address(around.host.netlink(), host_end.index, host_address, 31).await?;
        netlink::up(around.host.netlink(), &host_name, host_end.index).await?;
        let index = index(links, UPLINK)?;
        netlink::ensure_mac(self.inside.netlink(), UPLINK, find(links, UPLINK)?, GATEWAY_MAC).await?;
        netlink::add_address(self.inside.netlink(), index, own_address, 31).await?;
        netlink::up(self.inside.netlink(), UPLINK, index).await?;
        netlink::set_route(
            self.inside.netlink(),
            netlink::route(Ipv4Net::default(), index, Some(host_address)),
        )
        .await
    }

    /// The router knows its local guests and need never ask for one.
    async fn ensure_neighbours(
        &self,
        part: &VpcPart,
        local: &[&VpcPort],
        around: &Surroundings<'_>,
        links: &Links,
    ) -> Result<BTreeSet<Ipv4Addr>, NetworkError> {
        let mut moved = BTreeSet::new();
        for subnet in &part.subnets {
            let device = subnet_device(number(&around.numbers.subnets, &subnet.id));
            let wanted = local_guests(local, subnet.id);
            moved.extend(pin_exactly(&self.inside, index(links, &device)?, &wanted).await?);
        }
        Ok(moved)
    }

    /// Ends the flows of addresses that changed hands. Where nobody knows who had them, `moved` tells which
    /// the router knew by another device.
    async fn end_flows(
        &mut self,
        part: &VpcPart,
        mut moved: BTreeSet<Ipv4Addr>,
        around: &Surroundings<'_>,
    ) -> Result<(), NetworkError> {
        let places = conntrack::places(part);
        if let Some(before) = self.places.held() {
            let gone: Vec<_> = before.difference(&places).collect();
            if gone.is_empty() && moved.is_empty() {
                return Ok(());
            }
            let has_other = |private, id| places.iter().any(|(new, at, _)| *at == private && *new != id);
            moved.extend(gone.iter().filter(|(id, at, _)| has_other(*at, *id)).map(|(_, at, _)| *at));
        }
        let mut own: BTreeSet<Ipv4Addr> = part.subnets.iter().map(|subnet| subnet.gateway).collect();
        own.insert(uplink_addresses(number(&around.numbers.vpcs, &part.id)).1);
        let part = part.clone();
        conntrack::end(&self.inside, move |flow| conntrack::is_over(flow, &part, &moved, &own)).await?;
        self.places.keep(places)
    }
}

/// The guests of a subnet on this host.
pub(super) fn local_guests(local: &[&VpcPort], subnet: SubnetId) -> HashMap<Ipv4Addr, MacAddress> {
    let guests = local.iter().filter(|port| port.subnet_id == subnet);
    guests.map(|port| (port.private_ip, port.mac)).collect()
}

/// The devices of a namespace that are not as they must be, and why.
pub(super) async fn faults(
    namespace: &Namespace,
    wanted: &[WantedLink],
) -> Result<BTreeMap<String, String>, NetworkError> {
    let links = netlink::links(namespace.netlink()).await?;
    let addresses = netlink::addresses(namespace.netlink()).await?;
    let fault = |wanted: &WantedLink| Some((wanted.name.clone(), wanted.fault(&links, &addresses)?));
    Ok(wanted.iter().filter_map(fault).collect())
}

/// Makes the permanent neighbours of a device exactly these; tells which addresses had another owner.
pub(super) async fn pin_exactly(
    inside: &Namespace,
    index: u32,
    wanted: &HashMap<Ipv4Addr, MacAddress>,
) -> Result<BTreeSet<Ipv4Addr>, NetworkError> {
    let found = netlink::pinned_neighbours(inside.netlink(), index).await?;
    let mut moved = BTreeSet::new();
    for (address, mac) in wanted {
        let before = found.get(address).and_then(netlink::neighbour_mac);
        if before != Some(*mac) {
            netlink::pin_neighbour(inside.netlink(), index, *address, *mac).await?;
            moved.extend(before.map(|_| *address));
        }
    }
    for (_, message) in found.into_iter().filter(|(address, _)| !wanted.contains_key(address)) {
        netlink::remove_neighbour(inside.netlink(), message).await?;
    }
    Ok(moved)
}

/// What is wrong with a router's DHCP server.
pub(super) fn dhcp_faults(run_dir: &Path, part: &VpcPart, local: &[&VpcPort]) -> Vec<String> {
    dhcp_of(run_dir, part.id).faults(part, local)
}

/// Ends what a router left outside the host's devices: its server and its namespace.
pub(super) async fn remove(run_dir: &Path, vpc: VpcId) -> Result<(), NetworkError> {
    dhcp_of(run_dir, vpc).remove().await?;
    places::remove(run_dir, vpc)?;
    let path = names::namespace_path(run_dir, vpc);
    if super::namespace::is_bound(&path) {
        overlay::remove(&Namespace::ensure(&path).await?).await?;
    }
    super::namespace::remove(&path)
}

fn dhcp_of(run_dir: &Path, vpc: VpcId) -> Dhcp {
    Dhcp::new(run_dir.join("dhcp").join(vpc.to_string()))
}

/// Every veth pair of the router: name on the host, name on the way, name inside.
fn pairs(part: &VpcPart, around: &Surroundings<'_>) -> Vec<(String, String, String)> {
    let (names, vpc) = (around.names, number(&around.numbers.vpcs, &part.id));
    let uplink = (names.uplink(vpc), names.passing('p', vpc), UPLINK.to_owned());
    let subnets = part.subnets.iter().map(|subnet| {
        let number = number(&around.numbers.subnets, &subnet.id);
        (names.router_port(number), names.passing('p', number), subnet_device(number))
    });
    std::iter::once(uplink).chain(subnets).collect()
}

fn devices(part: &VpcPart, numbers: &Numbers) -> Vec<(u32, Ipv4Net, Ipv4Addr)> {
    let device = |subnet: &SubnetPart| (number(&numbers.subnets, &subnet.id), subnet.cidr, subnet.gateway);
    part.subnets.iter().map(device).collect()
}

/// The number of a key; every wanted key has one by now.
pub(super) fn number<K: Ord>(numbers: &std::collections::BTreeMap<K, u32>, key: &K) -> u32 {
    numbers.get(key).copied().unwrap_or_default()
}

/// A link that must be there.
pub(super) fn find(links: &Links, name: &str) -> Result<Link, NetworkError> {
    links.get(name).copied().ok_or_else(|| refused(|| format!("find the link {name}"))(Errno::ENODEV))
}

/// The index of a link that must be there.
pub(super) fn index(links: &Links, name: &str) -> Result<u32, NetworkError> {
    Ok(find(links, name)?.index)
}
