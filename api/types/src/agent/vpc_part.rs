//! A VPC as a host must build it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{MacAddress, NetworkInterfaceId, NodeId, PlacementId, SecurityGroupId, SubnetId, VpcId};

/// The whole network of one VPC, the same for every node that carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpcPart {
    /// The VPC.
    pub id: VpcId,
    /// Its range. Two VPCs may have the same.
    pub cidr: Ipv4Net,
    /// VXLAN network identifier, unique in the cloud, 24 bits.
    pub vni: u32,
    /// Domain of internal names, for example `tepui-1.compute.internal`.
    pub domain: String,
    /// The subnets, in order of their ids.
    pub subnets: Vec<SubnetPart>,
    /// Every port of every node, in order of their ids.
    pub ports: Vec<VpcPort>,
    /// The security groups that a port or a rule names, in order of their ids.
    pub groups: Vec<SecurityGroupPart>,
    /// The nodes that have a port here, in order of their ids.
    pub nodes: Vec<VpcNode>,
}

/// A subnet; the router has its first address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetPart {
    /// The subnet.
    pub id: SubnetId,
    /// Its range.
    pub cidr: Ipv4Net,
    /// The router's address: the first of the range, as on AWS.
    pub gateway: Ipv4Addr,
}

/// Where one network interface is, and who it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpcPort {
    /// The interface.
    pub id: NetworkInterfaceId,
    /// The placement it belongs to.
    pub placement_id: PlacementId,
    /// The node the placement is on.
    pub node_id: NodeId,
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The only MAC address the guest may use.
    pub mac: MacAddress,
    /// The only address the guest may use.
    pub private_ip: Ipv4Addr,
    /// Address of the operator's pool that is mapped 1:1.
    pub public_ip: Option<Ipv4Addr>,
    /// What may reach the guest and what it may reach.
    pub groups: Vec<SecurityGroupId>,
}

/// A security group's rules. What no rule allows is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroupPart {
    /// The group.
    pub id: SecurityGroupId,
    /// Its rules, in order of their ids.
    pub rules: Vec<FirewallRule>,
}

/// One thing a group allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallRule {
    /// To the guest or from it.
    pub direction: Direction,
    /// Which packets.
    pub protocol: Protocol,
    /// The other side.
    pub peer: Peer,
}

/// Seen from the guest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the guest.
    Ingress,
    /// From the guest.
    Egress,
}

/// An inclusive range of ports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct PortRange {
    /// The lowest port.
    pub from: u16,
    /// The highest port.
    pub to: u16,
}

/// Which packets a rule means.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Protocol {
    /// Every packet.
    All,
    /// TCP to these ports.
    Tcp(PortRange),
    /// UDP to these ports.
    Udp(PortRange),
    /// ICMP; `None` is every type, or every code of the type.
    Icmp {
        /// The ICMP type.
        icmp_type: Option<u8>,
        /// The ICMP code.
        code: Option<u8>,
    },
    /// An IP protocol by number, all of it.
    Other {
        /// The IANA protocol number.
        number: u8,
    },
}

/// The other side of a rule.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Peer {
    /// Addresses.
    Cidr(#[schemars(with = "String")] Ipv4Net),
    /// The private addresses of a group's members.
    Group(SecurityGroupId),
}

/// A node that carries the VPC, as a VXLAN peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpcNode {
    /// The node.
    pub id: NodeId,
    /// Its address on the underlay.
    pub underlay_address: Ipv4Addr,
    /// MAC address of its VXLAN device in this VPC.
    pub vtep_mac: MacAddress,
}
