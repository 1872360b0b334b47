//! VPCs, subnets, interfaces, security groups.

use async_trait::async_trait;
use tepui_types::{ProjectId, SecurityGroupId};

use crate::model::{NetworkInterface, Rule, SecurityGroup, Subnet, Vpc};
use crate::{CreateOutcome, DbError, DeleteOutcome};

/// A change of a group's rules, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleChange {
    /// Add these.
    Add(Vec<Rule>),
    /// Remove those that equal these in direction, protocol and peer.
    Remove(Vec<Rule>),
}

/// What became of a change of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOutcome {
    /// Done; the rules added or removed, with their ids. The VPC's generation has grown.
    Changed(Vec<Rule>),
    /// The project has no such group.
    GroupNotFound,
    /// A rule names a group that is not in this VPC.
    PeerNotFound(SecurityGroupId),
    /// This rule is there already; nothing was changed.
    Duplicate(Rule),
    /// This rule is not there; nothing was changed.
    RuleNotFound(Rule),
    /// The group would hold more rules than this in one direction; nothing was changed.
    TooMany(usize),
}

/// VPCs, subnets, interfaces, security groups.
#[async_trait]
pub trait NetworkDb: Send + Sync {
    /// A project's VPCs, by id.
    async fn vpcs(&self, project: ProjectId) -> Result<Vec<Vpc>, DbError>;

    /// A project's subnets, by id.
    async fn subnets(&self, project: ProjectId) -> Result<Vec<Subnet>, DbError>;

    /// A project's interfaces, by id.
    async fn interfaces(&self, project: ProjectId) -> Result<Vec<NetworkInterface>, DbError>;

    /// A project's groups with their rules, by id.
    async fn security_groups(&self, project: ProjectId) -> Result<Vec<SecurityGroup>, DbError>;

    /// Creates a group with its rules and tags.
    async fn create_security_group(
        &self,
        group: &SecurityGroup,
        tags: &[(String, String)],
    ) -> Result<CreateOutcome<SecurityGroupId>, DbError>;

    /// Deletes a group that no interface and no other group's rule names.
    async fn delete_security_group(
        &self,
        project: ProjectId,
        id: SecurityGroupId,
    ) -> Result<DeleteOutcome, DbError>;

    /// Changes a group's rules, holding it to at most `max_rules` in each direction.
    async fn change_rules(
        &self,
        project: ProjectId,
        id: SecurityGroupId,
        change: &RuleChange,
        max_rules: usize,
    ) -> Result<RuleOutcome, DbError>;
}
