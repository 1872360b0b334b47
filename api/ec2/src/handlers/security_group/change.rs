//! Authorize and revoke, in both directions.

use tepui_core::{Kind, NameOrId, NewRule, RuleSelector};
use tepui_db::model::RulePeer;
use tepui_types::SecurityGroupId;
use tepui_types::agent::Direction;

use super::name_or_id;
use super::permission::{cidr, protocol, rules};
use super::rule::{revoked_shapes, shapes};
use crate::error::ApiError;
use crate::generated::{
    AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupEgressResult,
    AuthorizeSecurityGroupIngressRequest, AuthorizeSecurityGroupIngressResult, IpPermission,
    RevokeSecurityGroupEgressRequest, RevokeSecurityGroupEgressResult, RevokeSecurityGroupIngressRequest,
    RevokeSecurityGroupIngressResult,
};
use crate::mechanism::parse_ids;
use crate::operation::{Context, Handle};
use crate::wire::Text;

/// One rule by parameters of the request itself, as old clients write it.
struct Plain {
    protocol: Option<Text>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr: Option<Text>,
}

impl Plain {
    fn rule(self) -> Result<Option<NewRule>, ApiError> {
        let Some(name) = self.protocol else { return Ok(None) };
        let range = self.cidr.ok_or_else(|| ApiError::missing("CidrIp"))?;
        let protocol = protocol(&name, self.from_port, self.to_port)?;
        Ok(Some(NewRule { protocol, peer: RulePeer::Cidr(cidr(&range)?), description: None }))
    }
}

async fn wanted(
    cx: &Context,
    plain: Plain,
    permissions: Vec<IpPermission>,
) -> Result<Vec<NewRule>, ApiError> {
    let mut all: Vec<NewRule> = plain.rule()?.into_iter().collect();
    for permission in permissions {
        all.extend(rules(cx, permission).await?);
    }
    Ok(all)
}

/// Whether a permission names peers that no rule of this cloud can name.
fn foreign(permissions: &[IpPermission]) -> bool {
    permissions.iter().any(|permission| {
        let v6 = matches!(permission.ip_protocol.as_deref(), Some("icmpv6" | "58"));
        v6 || !permission.ipv6_ranges.is_empty() || !permission.prefix_list_ids.is_empty()
    })
}

async fn authorized(
    cx: &Context,
    group: NameOrId<SecurityGroupId>,
    direction: Direction,
    plain: Plain,
    permissions: Vec<IpPermission>,
) -> Result<Vec<crate::generated::SecurityGroupRule>, ApiError> {
    if foreign(&permissions) {
        return Err(ApiError::unsupported("IPv6 ranges and prefix lists are not supported by this cloud."));
    }
    let rules = wanted(cx, plain, permissions).await?;
    let id = cx.cloud.security_group(&cx.caller, &group).await?.id;
    let added = cx.cloud.authorize(&cx.caller, &NameOrId::Id(id), direction, rules).await?;
    Ok(shapes(cx, id, &added))
}

async fn revoked(
    cx: &Context,
    group: NameOrId<SecurityGroupId>,
    direction: Direction,
    ids: &[Text],
    (plain, permissions): (Plain, Vec<IpPermission>),
) -> Result<Vec<crate::generated::RevokedSecurityGroupRule>, ApiError> {
    let id = cx.cloud.security_group(&cx.caller, &group).await?.id;
    if foreign(&permissions) {
        // No group has such a rule, and Terraform asks for this one to be removed from every group.
        let message = "The specified rule does not exist in this security group.";
        return Err(ApiError::new("InvalidPermission.NotFound", message));
    }
    let rules = wanted(cx, plain, permissions).await?;
    let selector = match (rules.is_empty(), ids.is_empty()) {
        (_, true) => RuleSelector::Saying(rules),
        (true, false) => RuleSelector::Ids(parse_ids(Kind::SecurityGroupRule, ids)?),
        (false, false) => return Err(ApiError::combination("Give rules or rule ids, not both.")),
    };
    let removed = cx.cloud.revoke(&cx.caller, &NameOrId::Id(id), direction, selector).await?;
    Ok(revoked_shapes(id, &removed))
}

/// The rule that a request carries in parameters of its own.
macro_rules! plain {
    ($request:ident) => {
        Plain {
            protocol: $request.ip_protocol,
            from_port: $request.from_port,
            to_port: $request.to_port,
            cidr: $request.cidr_ip,
        }
    };
}

impl Handle for AuthorizeSecurityGroupIngressRequest {
    async fn handle(self, cx: &Context) -> Result<AuthorizeSecurityGroupIngressResult, ApiError> {
        let group = name_or_id(self.group_name, self.group_id)?;
        let rules = authorized(cx, group, Direction::Ingress, plain!(self), self.ip_permissions).await?;
        Ok(AuthorizeSecurityGroupIngressResult { return_: Some(true), security_group_rules: rules })
    }
}

impl Handle for AuthorizeSecurityGroupEgressRequest {
    async fn handle(self, cx: &Context) -> Result<AuthorizeSecurityGroupEgressResult, ApiError> {
        let group = name_or_id(None, Some(self.group_id))?;
        let rules = authorized(cx, group, Direction::Egress, plain!(self), self.ip_permissions).await?;
        Ok(AuthorizeSecurityGroupEgressResult { return_: Some(true), security_group_rules: rules })
    }
}

impl Handle for RevokeSecurityGroupIngressRequest {
    async fn handle(self, cx: &Context) -> Result<RevokeSecurityGroupIngressResult, ApiError> {
        let group = name_or_id(self.group_name, self.group_id)?;
        let rules = (plain!(self), self.ip_permissions);
        let rules = revoked(cx, group, Direction::Ingress, &self.security_group_rule_ids, rules).await?;
        Ok(RevokeSecurityGroupIngressResult { return_: Some(true), revoked_security_group_rules: rules })
    }
}

impl Handle for RevokeSecurityGroupEgressRequest {
    async fn handle(self, cx: &Context) -> Result<RevokeSecurityGroupEgressResult, ApiError> {
        let group = name_or_id(None, Some(self.group_id))?;
        let rules = (plain!(self), self.ip_permissions);
        let rules = revoked(cx, group, Direction::Egress, &self.security_group_rule_ids, rules).await?;
        Ok(RevokeSecurityGroupEgressResult { return_: Some(true), revoked_security_group_rules: rules })
    }
}
