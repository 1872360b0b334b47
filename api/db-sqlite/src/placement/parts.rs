//! What the parts of the desired state are made of. Each part is read with its generation on one
//! snapshot, so that a number never stands for two contents.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use rusqlite::{Connection, params};
use tepui_db::NodePartState;
use tepui_db::model::{InstanceRecord, NetworkInterface, RulePeer, SecurityGroup, Subnet, Vpc};
use tepui_types::agent::{
    FirewallRule, HavePart, PartKey, Peer, SecurityGroupPart, SubnetPart, VpcNode, VpcPart, VpcPort,
};
use tepui_types::{Generation, MacAddress, NodeId, PlacementId, SecurityGroupId, VpcId};

use crate::instance::record;
use crate::network::{INTERFACE, SUBNET, VPC, read_interface, read_subnet, read_vpc};
use crate::node::vpcs_of_node;
use crate::row::{all, exists, first};
use crate::value::S;
use crate::{freeze, security_group, storage};

/// Generations of the parts a node carries.
pub(super) fn generations(connection: &Connection, node: NodeId) -> rusqlite::Result<Vec<HavePart>> {
    let Some(own) = node_generation(connection, node)? else { return Ok(Vec::new()) };
    let mut parts = vec![HavePart { key: PartKey::Node(node), generation: own }];
    let vpcs = vpc_generations(connection, &vpcs_of_node(connection, node)?)?;
    parts.extend(vpcs.into_iter().map(|(vpc, generation)| HavePart { key: PartKey::Vpc(vpc), generation }));
    let storage = storage::generation(connection, node)?;
    parts.extend(storage.map(|generation| HavePart { key: PartKey::Storage(node), generation }));
    Ok(parts)
}

/// The generations of those of these VPCs that exist.
pub(super) fn vpc_generations(
    connection: &Connection,
    vpcs: &[VpcId],
) -> rusqlite::Result<Vec<(VpcId, Generation)>> {
    let mut generations = Vec::new();
    for vpc in vpcs {
        let sql = "SELECT generation FROM vpc WHERE id = ?1";
        let generation = first(connection, sql, params![S(*vpc)], |c| c.stored())?;
        generations.extend(generation.map(|generation| (*vpc, generation)));
    }
    Ok(generations)
}

pub(super) fn node_generation(connection: &Connection, node: NodeId) -> rusqlite::Result<Option<Generation>> {
    first(connection, "SELECT generation FROM node WHERE id = ?1", params![S(node)], |c| c.stored())
}

/// What a node's own part is made of.
pub(super) fn node(connection: &Connection, node: NodeId) -> rusqlite::Result<Option<NodePartState>> {
    let Some(generation) = node_generation(connection, node)? else { return Ok(None) };
    let sql = "SELECT instance_n FROM placement WHERE node_id = ?1 AND gone_at IS NULL";
    let wanted = all(connection, sql, params![S(node)], |c| c.plain())?;
    let mut records = record::of_numbers(connection, &wanted)?;
    records.sort_by_key(|record| record.placement.as_ref().map(|placement| placement.id));
    let groups = groups_of(connection, &records)?;
    let vpcs = distinct(connection, &records, |i| i.vpc_id, vpc_row)?;
    let subnets = distinct(
        connection,
        &records,
        |i| i.subnet_id,
        |c, id| {
            let sql = format!("SELECT {SUBNET} FROM subnet WHERE id = ?1");
            first(c, &sql, params![S(id)], read_subnet)
        },
    )?;
    let freezes = freeze::of_node(connection, node)?;
    Ok(Some(NodePartState { generation, records, groups, vpcs, subnets, freezes }))
}

fn vpc_row(connection: &Connection, id: VpcId) -> rusqlite::Result<Option<Vpc>> {
    first(connection, &format!("SELECT {VPC} FROM vpc WHERE id = ?1"), params![S(id)], read_vpc)
}

fn groups_of(connection: &Connection, records: &[InstanceRecord]) -> rusqlite::Result<Vec<SecurityGroup>> {
    let interfaces = records.iter().filter_map(|record| record.interface.as_ref());
    let ids: BTreeSet<_> = interfaces.flat_map(|interface| interface.group_ids.iter().copied()).collect();
    ids.into_iter().filter_map(|id| security_group::get(connection, id).transpose()).collect()
}

/// The objects that the records' interfaces name, each once, by id.
fn distinct<Id: Ord, T>(
    connection: &Connection,
    records: &[InstanceRecord],
    id: impl Fn(&NetworkInterface) -> Id,
    get: impl Fn(&Connection, Id) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Vec<T>> {
    let ids: BTreeSet<_> = records.iter().filter_map(|record| record.interface.as_ref()).map(id).collect();
    ids.into_iter().filter_map(|id| get(connection, id).transpose()).collect()
}

/// Those of these placements that are not gone.
pub(super) fn live_placements(
    connection: &Connection,
    ids: &[PlacementId],
) -> rusqlite::Result<Vec<PlacementId>> {
    let mut live = Vec::new();
    for id in ids {
        if exists(connection, "SELECT 1 FROM placement WHERE id = ?1 AND gone_at IS NULL", params![S(*id)])? {
            live.push(*id);
        }
    }
    Ok(live)
}

/// A VPC's part with its generation. Core fills in the domain and the nodes' VXLAN addresses.
pub(super) fn vpc(connection: &Connection, id: VpcId) -> rusqlite::Result<Option<(Generation, VpcPart)>> {
    let Some(row) = vpc_row(connection, id)? else { return Ok(None) };
    let sql = "SELECT generation FROM vpc WHERE id = ?1";
    let Some(generation) = first(connection, sql, params![S(id)], |c| c.stored())? else { return Ok(None) };
    let ports = ports(connection, id)?;
    let part = VpcPart {
        id,
        cidr: row.cidr,
        vni: row.vni,
        domain: String::new(),
        subnets: subnets(connection, id)?,
        groups: groups(connection, id, &ports)?,
        ports,
        nodes: nodes(connection, id)?,
    };
    Ok(Some((generation, part)))
}

fn subnets(connection: &Connection, vpc: VpcId) -> rusqlite::Result<Vec<SubnetPart>> {
    let sql = format!("SELECT {SUBNET} FROM subnet WHERE vpc_id = ?1 ORDER BY id");
    let rows = all(connection, &sql, params![S(vpc)], read_subnet)?;
    Ok(rows.iter().map(subnet_part).collect())
}

fn subnet_part(subnet: &Subnet) -> SubnetPart {
    let gateway = Ipv4Addr::from_bits(subnet.cidr.network().to_bits().saturating_add(1));
    SubnetPart { id: subnet.id, cidr: subnet.cidr, gateway }
}

fn ports(connection: &Connection, vpc: VpcId) -> rusqlite::Result<Vec<VpcPort>> {
    let sql = format!(
        "SELECT p.id, p.node_id, i.id, {INTERFACE} FROM interface f
         JOIN instance i ON i.n = f.instance_n
         JOIN placement p ON p.instance_n = i.n AND p.gone_at IS NULL
         WHERE f.vpc_id = ?1 ORDER BY f.id"
    );
    all(connection, &sql, params![S(vpc)], |c| {
        let (placement_id, node_id, instance) = (c.stored()?, c.stored()?, c.stored()?);
        let interface = read_interface(c, instance)?;
        Ok(VpcPort {
            id: interface.id,
            placement_id,
            node_id,
            subnet_id: interface.subnet_id,
            mac: interface.mac,
            private_ip: interface.private_ip,
            public_ip: interface.public_ip,
            groups: interface.group_ids,
        })
    })
}

/// The groups that a port names, and those that their rules name: a group becomes part of this only
/// by a change of ports or rules, which both grow the generation.
fn groups(
    connection: &Connection,
    vpc: VpcId,
    ports: &[VpcPort],
) -> rusqlite::Result<Vec<SecurityGroupPart>> {
    let all_groups = security_group::of_vpc(connection, vpc)?;
    let of_ports: BTreeSet<SecurityGroupId> =
        ports.iter().flat_map(|port| port.groups.iter().copied()).collect();
    let of_rules: BTreeSet<SecurityGroupId> = all_groups
        .iter()
        .filter(|group| of_ports.contains(&group.id))
        .flat_map(|group| &group.rules)
        .filter_map(|rule| match rule.peer {
            RulePeer::Group(peer) => Some(peer),
            RulePeer::Cidr(_) => None,
        })
        .collect();
    let named =
        all_groups.iter().filter(|group| of_ports.contains(&group.id) || of_rules.contains(&group.id));
    Ok(named.map(group_part).collect())
}

fn group_part(group: &SecurityGroup) -> SecurityGroupPart {
    let rules = group.rules.iter().map(|rule| FirewallRule {
        direction: rule.direction,
        protocol: rule.protocol,
        peer: match rule.peer {
            RulePeer::Cidr(cidr) => Peer::Cidr(cidr),
            RulePeer::Group(peer) => Peer::Group(peer),
        },
    });
    SecurityGroupPart { id: group.id, rules: rules.collect() }
}

fn nodes(connection: &Connection, vpc: VpcId) -> rusqlite::Result<Vec<VpcNode>> {
    let sql = "SELECT n.id, n.underlay_address FROM node n
               WHERE n.id IN (SELECT p.node_id FROM interface f
                              JOIN placement p ON p.instance_n = f.instance_n AND p.gone_at IS NULL
                              WHERE f.vpc_id = ?1)
               ORDER BY n.id";
    all(connection, sql, params![S(vpc)], |c| {
        Ok(VpcNode {
            id: c.stored()?,
            underlay_address: c.stored()?,
            vtep_mac: MacAddress::from_octets([0; 6]),
        })
    })
}
