//! The packet filters of the host's namespace: what a tap may send, and what a router may reach.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nftables::expr::{Expression, MetaKey};
use nftables::schema::SetType;
use nftables::stmt::Statement;
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use tepui_types::MacAddress;

use super::names::{Names, uplink_addresses};
use super::nft::{
    accept, came_by, concat, drop, field, has, is, is_not, jump, leaves_by, meta, text, tracked_as,
};
use super::resolver::FORWARDER_PORT;
use super::table::{Hook, Table};

/// The port VXLAN uses (RFC 7348).
const VXLAN_PORT: u16 = 4789;

/// The port mapper, NFS and its mount protocol (RFC 1833, RFC 7530, and what storage hosts use). NFS admits by
/// address alone, and what a router sends out comes from its host's: a guest could open the volumes of others.
const NFS_PORTS: [u16; 3] = [111, 2049, 20048];

/// Who a tap may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TapIdentity {
    pub(super) tap: String,
    pub(super) mac: MacAddress,
    pub(super) address: Ipv4Addr,
}

/// What guests may send: IPv4 and ARP from their own MAC and IPv4 address, and a DHCP client's
/// requests. Everything else, with it IPv6 and its router advertisements, and a DHCP server's
/// answers, is dropped before the bridge sees it. Identity by source address rests on this table.
pub(super) fn anti_spoofing(names: &Names, taps: &[TapIdentity]) -> Table {
    let mut table = Table::new(NfFamily::Bridge);
    let pairs = taps.iter().map(|port| concat(vec![text(&port.tap), text(port.mac)])).collect();
    table.set("port_mac", &[SetType::Ifname, SetType::EtherAddr], pairs);
    let triples =
        taps.iter().map(|port| concat(vec![text(&port.tap), text(port.mac), text(port.address)])).collect();
    table.set("port_mac_ip4", &[SetType::Ifname, SetType::EtherAddr, SetType::Ipv4Addr], triples);
    table.chain("from_guest");
    for rule in guest_rules() {
        table.rule("from_guest", rule);
    }
    table.base_chain("pre", filter(NfHook::Prerouting, -300));
    table.rule("pre", vec![came_by(names.all_taps()), jump("from_guest")]);
    // A bridge is a device of the host too: what is sent to its own MAC address would be the host's to take.
    table.base_chain("to_host", filter(NfHook::Input, 0));
    for device in [names.all_taps(), names.all_router_ports()] {
        table.rule("to_host", vec![came_by(device), drop()]);
    }
    table
}

fn guest_rules() -> Vec<Vec<Statement<'static>>> {
    let by = || meta(MetaKey::Iifname);
    let bound = |mac: Expression<'static>, address: Expression<'static>| {
        is(concat(vec![by(), mac, address]), text("@port_mac_ip4"))
    };
    let port = |name, number: u16| is(field("udp", name), Expression::Number(number.into()));
    vec![
        vec![is_not(concat(vec![by(), field("ether", "saddr")]), text("@port_mac")), drop()],
        vec![has("ether", "type", "ip"), port("sport", 67), drop()],
        vec![
            has("ether", "type", "ip"),
            has("ip", "saddr", "0.0.0.0"),
            port("sport", 68),
            port("dport", 67),
            accept(),
        ],
        vec![has("ether", "type", "ip"), bound(field("ether", "saddr"), field("ip", "saddr")), accept()],
        vec![
            has("ether", "type", "arp"),
            bound(field("arp", "saddr ether"), field("arp", "saddr ip")),
            accept(),
        ],
        vec![
            has("ether", "type", "arp"),
            has("arp", "operation", "request"),
            has("arp", "saddr ip", "0.0.0.0"),
            accept(),
        ],
        vec![drop()],
    ]
}

/// Where the hosts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hosts {
    /// The ranges with hosts in them.
    pub(super) ranges: BTreeSet<Ipv4Net>,
    /// Public addresses of guests, which may be of these ranges.
    pub(super) public: BTreeSet<Ipv4Addr>,
    /// The ways to the routers.
    pub(super) ways: BTreeSet<Way>,
}

/// A router's way out: the host's device, the router's address, and the host's.
pub(super) type Way = (String, Ipv4Addr, Ipv4Addr);

/// The way to the router of a VPC, by its number.
pub(super) fn way(names: &Names, vpc: u32) -> Way {
    let (host, router) = uplink_addresses(vpc);
    (names.uplink(vpc), router, host)
}

/// What routers may reach: the world, not the hosts, and not each other past their public addresses. VXLAN
/// is dropped too: masqueraded, it would look like the host's own, and a guest could write frames into
/// foreign VPCs. From a bridge the host takes nothing: guests have their router.
pub(super) fn host(names: &Names, links: Ipv4Net, hosts: &Hosts) -> Table {
    let mut table = Table::new(NfFamily::INet);
    let from_router = || came_by(names.all_uplinks());
    table.base_chain("input", filter(NfHook::Input, 0));
    table.rule("input", vec![from_router(), tracked_as(&["established", "related"]), accept()]);
    add_forwarder(&mut table, links, &hosts.ways);
    table.rule("input", vec![from_router(), drop()]);
    table.rule("input", vec![came_by(names.all_bridges()), drop()]);
    table.base_chain("forward", filter(NfHook::Forward, 0));
    let vxlan = is(field("udp", "dport"), Expression::Number(VXLAN_PORT.into()));
    table.rule("forward", vec![came_by(names.all_bridges()), drop()]);
    table.rule("forward", vec![from_router(), vxlan, drop()]);
    for (protocol, port) in NFS_PORTS.iter().flat_map(|port| [("tcp", *port), ("udp", *port)]) {
        let outward = is_not(meta(MetaKey::Oifname), text(names.all_uplinks()));
        let nfs = is(field(protocol, "dport"), Expression::Number(port.into()));
        table.rule("forward", vec![from_router(), outward, nfs, drop()]);
    }
    let to_link = is(field("ip", "daddr"), super::nft::net(links));
    table.rule("forward", vec![from_router(), tracked_as(&["new"]), to_link, drop()]);
    add_hosts(&mut table, names, hosts);
    for range in &hosts.ranges {
        let to_hosts = is(field("ip", "daddr"), super::nft::net(*range));
        table.rule("forward", vec![from_router(), to_hosts, jump("to_hosts")]);
    }
    let nat = Hook { kind: NfChainType::NAT, ..filter(NfHook::Postrouting, 100) };
    table.base_chain("postrouting", nat);
    let from_link = is(field("ip", "saddr"), super::nft::net(links));
    let outward = is_not(meta(MetaKey::Oifname), text(names.all_uplinks()));
    table.rule("postrouting", vec![from_link, outward, Statement::Masquerade(None)]);
    table
}

/// Each router asks for names at the host's end of its own way; nobody else asks there.
fn add_forwarder(table: &mut Table, links: Ipv4Net, ways: &BTreeSet<Way>) {
    let members =
        ways.iter().map(|(device, router, host)| concat(vec![text(device), text(router), text(host)]));
    table.set("ways", &[SetType::Ifname, SetType::Ipv4Addr, SetType::Ipv4Addr], members.collect());
    let way = || concat(vec![meta(MetaKey::Iifname), field("ip", "saddr"), field("ip", "daddr")]);
    for protocol in ["udp", "tcp"] {
        let to_forwarder = || is(field(protocol, "dport"), Expression::Number(FORWARDER_PORT.into()));
        table.rule("input", vec![is(way(), text("@ways")), to_forwarder(), accept()]);
        let to_link = is(field("ip", "daddr"), super::nft::net(links));
        let elsewhere = is_not(meta(MetaKey::Iifname), text("lo"));
        table.rule("input", vec![elsewhere, to_link, to_forwarder(), drop()]);
    }
}

/// To the hosts' own network only answers pass, and what is for a guest's public address.
fn add_hosts(table: &mut Table, names: &Names, hosts: &Hosts) {
    table.set("public", &[SetType::Ipv4Addr], hosts.public.iter().map(text).collect());
    table.chain("to_hosts");
    table.rule("to_hosts", vec![tracked_as(&["established", "related"]), accept()]);
    table.rule("to_hosts", vec![leaves_by(names.all_uplinks()), accept()]);
    table.rule("to_hosts", vec![is(field("ip", "daddr"), text("@public")), accept()]);
    table.rule("to_hosts", vec![drop()]);
}

fn filter(at: NfHook, priority: i32) -> Hook {
    Hook { kind: NfChainType::Filter, at, priority, policy: NfChainPolicy::Accept }
}
