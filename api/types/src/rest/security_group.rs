//! Security groups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::{Direction, Peer, Protocol};
use crate::{SecurityGroupId, SecurityGroupRuleId, VpcId};

/// Creates a security group in the default VPC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSecurityGroupRequest {
    /// Unique in the VPC, 1 to 255 characters.
    pub name: String,
    /// For people; the name when empty.
    #[serde(default)]
    pub description: String,
}

/// A security group. What no rule allows is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityGroup {
    /// The id.
    pub id: SecurityGroupId,
    /// Unique in the VPC.
    pub name: String,
    /// For people.
    pub description: String,
    /// The VPC.
    pub vpc_id: VpcId,
    /// What it allows.
    pub rules: Vec<Rule>,
}

/// One thing a group allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// The id.
    pub id: SecurityGroupRuleId,
    /// To the guest or from it.
    pub direction: Direction,
    /// Which packets.
    pub protocol: Protocol,
    /// The other side.
    pub peer: Peer,
    /// For people.
    pub description: Option<String>,
}

/// A rule to add or to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleRequest {
    /// To the guest or from it.
    pub direction: Direction,
    /// Which packets.
    pub protocol: Protocol,
    /// The other side.
    pub peer: Peer,
    /// For people; ignored in a removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
