//! VPCs and subnets.

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{SubnetId, VpcId};

/// A project's address space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vpc {
    /// The id.
    pub id: VpcId,
    /// The range; other projects may have the same.
    #[schemars(with = "String")]
    pub cidr: Ipv4Net,
    /// The project's default VPC.
    pub is_default: bool,
}

/// A range of a VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    /// The id.
    pub id: SubnetId,
    /// The VPC.
    pub vpc_id: VpcId,
    /// The range.
    #[schemars(with = "String")]
    pub cidr: Ipv4Net,
    /// The zone's default subnet.
    pub is_default: bool,
    /// Instances get a public address unless they ask for none.
    pub map_public_ip: bool,
}
