//! Rules one by one, as newer clients see them.

use std::collections::BTreeMap;

use tepui_core::Kind;
use tepui_db::model::{Rule, RulePeer};
use tepui_types::SecurityGroupId;
use tepui_types::agent::Direction;

use super::permission::packets;
use crate::error::ApiError;
use crate::generated::{
    DescribeSecurityGroupRulesRequest, DescribeSecurityGroupRulesResult, ReferencedSecurityGroup,
    RevokedSecurityGroupRule, SecurityGroupRule as Shape,
};
use crate::handlers::select::select;
use crate::handlers::text;
use crate::mechanism::{Field, apply, one, parse_ids, shown_tags};
use crate::operation::{Context, Handle};
use crate::wire::Text;

const FILTERS: &[Field<Shape>] =
    &[("group-id", |r| one(&r.group_id)), ("security-group-rule-id", |r| one(&r.security_group_rule_id))];

impl Handle for DescribeSecurityGroupRulesRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeSecurityGroupRulesResult, ApiError> {
        let ids = parse_ids(Kind::SecurityGroupRule, &self.security_group_rule_ids)?;
        let groups = cx.cloud.security_groups(&cx.caller).await?;
        let rules =
            groups.into_iter().flat_map(|g| g.rules.into_iter().map(move |rule| (g.id, rule))).collect();
        let rules = select(Kind::SecurityGroupRule, rules, &ids, |(_, rule)| rule.id)?;
        let mut tags = cx.cloud.tags(&cx.caller).await?;
        let shapes = rules.iter().map(|(group, rule)| {
            shape(cx, *group, rule, &tags.remove(&rule.id.to_string()).unwrap_or_default())
        });
        let shapes = apply(&cx.filters, FILTERS, |rule| &rule.tags, shapes.collect())?;
        let key = |rule: &Shape| rule.security_group_rule_id.clone().unwrap_or_default().into();
        let (security_group_rules, next_token) = cx.page.cut(shapes, key);
        Ok(DescribeSecurityGroupRulesResult { next_token, security_group_rules })
    }
}

/// New rules, which have no tags yet.
pub(super) fn shapes(cx: &Context, group: SecurityGroupId, rules: &[Rule]) -> Vec<Shape> {
    rules.iter().map(|rule| shape(cx, group, rule, &BTreeMap::new())).collect()
}

fn shape(cx: &Context, group: SecurityGroupId, rule: &Rule, tags: &BTreeMap<String, String>) -> Shape {
    let (region, owner) = (&cx.cloud.config().region, cx.caller.project);
    let (ip_protocol, from_port, to_port) = packets(rule.protocol);
    let (cidr, peer) = peers(rule);
    Shape {
        cidr_ipv4: cidr,
        description: rule.description.clone().map(Text::from),
        from_port: from_port.or(Some(-1)),
        group_id: text(group),
        group_owner_id: text(owner),
        ip_protocol,
        is_egress: Some(rule.direction == Direction::Egress),
        referenced_group_info: peer.map(|peer| ReferencedSecurityGroup {
            group_id: text(peer),
            user_id: text(owner),
            vpc_id: None,
        }),
        security_group_rule_arn: text(format!(
            "arn:aws:ec2:{region}:{owner}:security-group-rule/{}",
            rule.id
        )),
        security_group_rule_id: text(rule.id),
        tags: shown_tags(tags),
        to_port: to_port.or(Some(-1)),
    }
}

/// Rules that are gone.
pub(super) fn revoked_shapes(group: SecurityGroupId, rules: &[Rule]) -> Vec<RevokedSecurityGroupRule> {
    let shape = |rule: &Rule| {
        let (ip_protocol, from_port, to_port) = packets(rule.protocol);
        let (cidr, peer) = peers(rule);
        RevokedSecurityGroupRule {
            cidr_ipv4: cidr,
            description: rule.description.clone().map(Text::from),
            from_port: from_port.or(Some(-1)),
            group_id: text(group),
            ip_protocol,
            is_egress: Some(rule.direction == Direction::Egress),
            referenced_group_id: peer.and_then(text),
            security_group_rule_id: text(rule.id),
            to_port: to_port.or(Some(-1)),
        }
    };
    rules.iter().map(shape).collect()
}

fn peers(rule: &Rule) -> (Option<Text>, Option<SecurityGroupId>) {
    match rule.peer {
        RulePeer::Cidr(cidr) => (text(cidr), None),
        RulePeer::Group(group) => (None, Some(group)),
    }
}
