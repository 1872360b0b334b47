//! VPCs, subnets, interfaces, security groups.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use tepui_types::agent::{Direction, Protocol};
use tepui_types::{
    InstanceId, MacAddress, NetworkInterfaceId, ProjectId, SecurityGroupId, SecurityGroupRuleId, SubnetId,
    VpcId,
};

/// A project's address space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vpc {
    /// The id.
    pub id: VpcId,
    /// The owner.
    pub project_id: ProjectId,
    /// The range; other VPCs may have the same.
    pub cidr: Ipv4Net,
    /// VXLAN network identifier, unique in the cloud.
    pub vni: u32,
    /// The project's default VPC.
    pub is_default: bool,
}

/// A range of a VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The id.
    pub id: SubnetId,
    /// The owner.
    pub project_id: ProjectId,
    /// The VPC.
    pub vpc_id: VpcId,
    /// The range.
    pub cidr: Ipv4Net,
    /// The zone's default subnet.
    pub is_default: bool,
    /// Instances get a public address unless they ask for none.
    pub map_public_ip: bool,
}

/// What a new project's network consists of; written with the project in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultNetwork {
    /// The default VPC. The store assigns `vni` itself: the lowest free one from 1.
    pub vpc: Vpc,
    /// Its subnet.
    pub subnet: Subnet,
    /// Its group `default`.
    pub group: SecurityGroup,
}

/// An instance's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInterface {
    /// The id.
    pub id: NetworkInterfaceId,
    /// The owner.
    pub project_id: ProjectId,
    /// The VPC.
    pub vpc_id: VpcId,
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The instance.
    pub instance_id: InstanceId,
    /// Unique in the cloud.
    pub mac: MacAddress,
    /// Unique in the VPC.
    pub private_ip: Ipv4Addr,
    /// Unique in the cloud.
    pub public_ip: Option<Ipv4Addr>,
    /// In the order they were given.
    pub group_ids: Vec<SecurityGroupId>,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    /// The id.
    pub id: SecurityGroupId,
    /// The owner.
    pub project_id: ProjectId,
    /// The VPC.
    pub vpc_id: VpcId,
    /// Unique in the VPC.
    pub name: String,
    /// For people.
    pub description: String,
    /// What it allows.
    pub rules: Vec<Rule>,
}

/// One thing a group allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The id.
    pub id: SecurityGroupRuleId,
    /// To the guest or from it.
    pub direction: Direction,
    /// Which packets.
    pub protocol: Protocol,
    /// The other side.
    pub peer: RulePeer,
    /// For people.
    pub description: Option<String>,
}

/// The other side of a rule. Two rules of a group with the same direction, protocol and peer are
/// duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RulePeer {
    /// IPv4 addresses.
    Cidr(Ipv4Net),
    /// Members of a group of the same VPC.
    Group(SecurityGroupId),
}
