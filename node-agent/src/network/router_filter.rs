//! The packet filter of a router: security groups, address translation, and what a guest may ask of
//! the router itself.
//!
//! A packet between two guests passes two base chains of the forward hook: `from_guest` asks the
//! sender's groups, `to_guest` the receiver's. An accept ends one chain, not both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use nftables::expr::{Expression, MetaKey};
use nftables::schema::SetType;
use nftables::stmt::Statement;
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use tepui_types::SecurityGroupId;
use tepui_types::agent::{Direction, FirewallRule, Peer, Protocol, VpcPart, VpcPort};

use super::names::{SUBNET_PREFIX, UPLINK, VXLAN, uplink_range};
use super::nft::{
    accept, came_by, choose, concat, drop, field, has, is, is_not, jump, leaves_by, meta, net, range, text,
    tracked_as, translated,
};
use super::table::{Hook, Table};

/// Where a guest finds its metadata, as on AWS.
pub(super) const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The metadata service's port.
pub(super) const METADATA_PORT: u16 = 80;

/// The whole filter of a VPC's router, for the ports of this host.
pub(super) fn router(part: &VpcPart, local: &[&VpcPort]) -> Table {
    let mut table = Table::new(NfFamily::INet);
    add_peer_sets(&mut table, part);
    add_groups(&mut table, part, local);
    add_input(&mut table, part);
    add_forward(&mut table, Direction::Egress, local);
    add_forward(&mut table, Direction::Ingress, local);
    add_translation(&mut table, part, local);
    table
}

/// The private addresses of the members of each group that some rule names as its peer.
fn add_peer_sets(table: &mut Table, part: &VpcPart) {
    let peers: BTreeSet<SecurityGroupId> = part
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .filter_map(|rule| match rule.peer {
            Peer::Group(group) => Some(group),
            Peer::Cidr(_) => None,
        })
        .collect();
    for group in peers {
        let members = part.ports.iter().filter(|port| port.groups.contains(&group));
        let addresses = members.map(|port| text(port.private_ip)).collect();
        table.set(peer_set(group), &[SetType::Ipv4Addr], addresses);
    }
}

/// A chain for each group and direction, and one for each list of groups that a port has.
fn add_groups(table: &mut Table, part: &VpcPart, local: &[&VpcPort]) {
    let used: BTreeSet<SecurityGroupId> = local.iter().flat_map(|port| port.groups.iter().copied()).collect();
    let rules: BTreeMap<_, _> = part.groups.iter().map(|group| (group.id, &group.rules)).collect();
    for direction in [Direction::Egress, Direction::Ingress] {
        for group in &used {
            table.chain(group_chain(direction, *group));
            let all = rules.get(group).into_iter().flat_map(|rules| rules.iter());
            for rule in all.filter(|rule| rule.direction == direction) {
                table.rule(group_chain(direction, *group), allow(rule));
            }
        }
        for groups in group_lists(local) {
            let name = list_chain(direction, groups, local);
            table.chain(name.clone());
            for group in groups {
                table.rule(name.clone(), vec![jump(group_chain(direction, *group))]);
            }
        }
    }
}

fn allow(rule: &FirewallRule) -> Vec<Statement<'static>> {
    let mut statements = protocol(rule.protocol);
    let side = match rule.direction {
        Direction::Ingress => field("ip", "saddr"),
        Direction::Egress => field("ip", "daddr"),
    };
    match rule.peer {
        // nft refuses a prefix of length 0, and it would say nothing.
        Peer::Cidr(range) if range.prefix_len() == 0 => {}
        Peer::Cidr(range) => statements.push(is(side, net(range))),
        Peer::Group(group) => statements.push(is(side, text(format!("@{}", peer_set(group))))),
    }
    statements.push(accept());
    statements
}

fn protocol(protocol: Protocol) -> Vec<Statement<'static>> {
    let layer4 = |value: Expression<'static>| is(meta(MetaKey::L4proto), value);
    let number = |value: u8| Expression::Number(value.into());
    match protocol {
        Protocol::All => Vec::new(),
        Protocol::Tcp(ports) => vec![is(field("tcp", "dport"), range(ports.from, ports.to))],
        Protocol::Udp(ports) => vec![is(field("udp", "dport"), range(ports.from, ports.to))],
        Protocol::Icmp { icmp_type, code } => {
            let mut statements = vec![layer4(text("icmp"))];
            statements.extend(icmp_type.map(|value| is(field("icmp", "type"), number(value))));
            statements.extend(code.map(|value| is(field("icmp", "code"), number(value))));
            statements
        }
        Protocol::Other { number: value } => vec![layer4(number(value))],
    }
}

/// What a guest may ask of the router itself: an address, a name, its metadata.
fn add_input(table: &mut Table, part: &VpcPart) {
    let from_guest = || came_by(format!("{SUBNET_PREFIX}*"));
    let port = |protocol, number: u16| is(field(protocol, "dport"), Expression::Number(number.into()));
    table.base_chain("input", filter(NfHook::Input, 0));
    table.rule("input", vec![tracked_as(&["established", "related"]), accept()]);
    table.rule("input", vec![came_by("lo"), accept()]);
    table.rule("input", vec![from_guest(), port("udp", 67), accept()]);
    let gateways = part.subnets.iter().map(|subnet| text(subnet.gateway)).collect();
    table.set("gateways", &[SetType::Ipv4Addr], gateways);
    for protocol in ["udp", "tcp"] {
        let to_resolver = is(field("ip", "daddr"), text("@gateways"));
        table.rule("input", vec![from_guest(), to_resolver, port(protocol, 53), accept()]);
    }
    let metadata = has("ip", "daddr", METADATA_ADDRESS);
    table.rule("input", vec![from_guest(), metadata, port("tcp", METADATA_PORT), accept()]);
}

/// The base chain that asks the groups of one side.
fn add_forward(table: &mut Table, direction: Direction, local: &[&VpcPort]) {
    let (chain, priority, key, on_guest_side) = match direction {
        Direction::Egress => ("from_guest", -10, "saddr", MetaKey::Iifname),
        Direction::Ingress => ("to_guest", 0, "daddr", MetaKey::Oifname),
    };
    table.base_chain(chain, filter(NfHook::Forward, priority));
    table.rule(chain, vec![tracked_as(&["established", "related"]), accept()]);
    table.rule(chain, vec![tracked_as(&["invalid"]), drop()]);
    // On the way out the host answers the router itself, for example for names, and no guest in its name.
    // Another VPC's router asks from there for what its guests want of a public address here.
    let to_the_way = is(field("ip", "daddr"), net(uplink_range()));
    table.rule(chain, vec![leaves_by(UPLINK), to_the_way, drop()]);
    // Another host sends here what is for guests of this one, and nothing else.
    let elsewhere = is_not(meta(MetaKey::Oifname), text(format!("{SUBNET_PREFIX}*")));
    table.rule(chain, vec![came_by(VXLAN), elsewhere, drop()]);
    table.rule(chain, vec![is_not(meta(on_guest_side), text(format!("{SUBNET_PREFIX}*"))), accept()]);
    let targets = local.iter().map(|port| (port.private_ip, list_chain(direction, &port.groups, local)));
    if let Some(choice) = choose(field("ip", key), targets.collect()) {
        table.rule(chain, vec![choice]);
    }
}

/// 1:1 translation of public addresses, both ways and from inside; everything else leaves as the
/// router.
fn add_translation(table: &mut Table, part: &VpcPart, local: &[&VpcPort]) {
    let nat = |at, priority| Hook { kind: NfChainType::NAT, at, priority, policy: NfChainPolicy::Accept };
    let public = |ports: &mut dyn Iterator<Item = &VpcPort>| -> Vec<(Ipv4Addr, Ipv4Addr)> {
        ports.filter_map(|port| Some((port.public_ip?, port.private_ip))).collect()
    };
    table.base_chain("prerouting", nat(NfHook::Prerouting, -100));
    let inward = public(&mut part.ports.iter());
    if let Some(target) = translated(field("ip", "daddr"), inward) {
        table.rule("prerouting", vec![Statement::DNAT(Some(target))]);
    }
    table.base_chain("postrouting", nat(NfHook::Postrouting, 100));
    let outward = public(&mut local.iter().copied());
    // A guest that calls its own public address gets its packet back; its own source address on it
    // would make it drop the packet.
    let own = outward.iter().map(|(_, private)| concat(vec![text(private), text(private)])).collect();
    table.set("own", &[SetType::Ipv4Addr, SetType::Ipv4Addr], own);
    let to_itself = is(concat(vec![field("ip", "saddr"), field("ip", "daddr")]), text("@own"));
    table.rule("postrouting", vec![to_itself, Statement::Masquerade(None)]);
    let back = outward.into_iter().map(|(public, private)| (private, public)).collect();
    if let Some(source) = translated(field("ip", "saddr"), back) {
        table.rule("postrouting", vec![leaves_by(UPLINK), Statement::SNAT(Some(source))]);
    }
    table.rule("postrouting", vec![leaves_by(UPLINK), Statement::Masquerade(None)]);
}

fn filter(at: NfHook, priority: i32) -> Hook {
    Hook { kind: NfChainType::Filter, at, priority, policy: NfChainPolicy::Drop }
}

fn peer_set(group: SecurityGroupId) -> String {
    format!("members_{:x}", group.bits())
}

fn group_chain(direction: Direction, group: SecurityGroupId) -> String {
    format!("{}_{:x}", side(direction), group.bits())
}

/// Ports with the same groups share a chain; it is named by the first one's place.
fn list_chain(direction: Direction, groups: &[SecurityGroupId], local: &[&VpcPort]) -> String {
    let first = local.iter().position(|port| port.groups == groups).unwrap_or_default();
    format!("{}_list_{first}", side(direction))
}

fn group_lists<'a>(local: &[&'a VpcPort]) -> BTreeSet<&'a [SecurityGroupId]> {
    local.iter().map(|port| port.groups.as_slice()).collect()
}

const fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "to",
        Direction::Egress => "from",
    }
}
