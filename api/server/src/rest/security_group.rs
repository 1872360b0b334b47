//! Security groups and their rules.

use tepui_core::{
    Kind, NameOrId, NewRule, NewSecurityGroup, RuleSelector, acts_as, authorize_action, revoke_action,
};
use tepui_db::model::{self, RulePeer};
use tepui_types::SecurityGroupId;
use tepui_types::agent::Peer;
use tepui_types::rest::{CreateSecurityGroupRequest, Empty, List, Rule, RuleRequest, SecurityGroup};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;

/// The groups that texts name.
pub(super) async fn find_all(call: &Call, texts: &[String]) -> Result<Vec<SecurityGroupId>, Failure> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let groups = call.cloud().security_groups(&call.caller).await?;
    texts.iter().map(|text| find_in(&groups, text)).collect()
}

fn find_in(groups: &[model::SecurityGroup], text: &str) -> Result<SecurityGroupId, Failure> {
    pick(Kind::SecurityGroup, text, groups.iter().map(|group| (group.id, Some(group.name.clone()))))
}

async fn target(call: &Call) -> Result<NameOrId<SecurityGroupId>, Failure> {
    let groups = call.cloud().security_groups(&call.caller).await?;
    Ok(NameOrId::Id(find_in(&groups, call.target())?))
}

pub(super) async fn create(
    call: Call,
    request: CreateSecurityGroupRequest,
) -> Result<SecurityGroup, Failure> {
    // EC2 knows no group without a description.
    let description = match request.description.is_empty() {
        true => request.name.clone(),
        false => request.description,
    };
    let new = NewSecurityGroup { name: request.name, description, vpc_id: None, tags: Default::default() };
    Ok(shown(call.cloud().create_security_group(&call.caller, new).await?))
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<SecurityGroup>, Failure> {
    let groups = call.cloud().security_groups(&call.caller).await?;
    Ok(List { items: groups.into_iter().map(shown).collect() })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<SecurityGroup, Failure> {
    let group = target(&call).await?;
    Ok(shown(call.cloud().security_group(&call.caller, &group).await?))
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let group = target(&call).await?;
    call.cloud().delete_security_group(&call.caller, &group).await?;
    Ok(Empty {})
}

pub(super) async fn add_rule(call: Call, request: RuleRequest) -> Result<SecurityGroup, Failure> {
    let direction = request.direction;
    acts_as(authorize_action(direction));
    let group = target(&call).await?;
    call.cloud().authorize(&call.caller, &group, direction, vec![new_rule(request)]).await?;
    Ok(shown(call.cloud().security_group(&call.caller, &group).await?))
}

pub(super) async fn remove_rule(call: Call, request: RuleRequest) -> Result<SecurityGroup, Failure> {
    let direction = request.direction;
    acts_as(revoke_action(direction));
    let group = target(&call).await?;
    let saying = RuleSelector::Saying(vec![new_rule(request)]);
    call.cloud().revoke(&call.caller, &group, direction, saying).await?;
    Ok(shown(call.cloud().security_group(&call.caller, &group).await?))
}

fn new_rule(request: RuleRequest) -> NewRule {
    NewRule {
        protocol: request.protocol,
        peer: match request.peer {
            Peer::Cidr(cidr) => RulePeer::Cidr(cidr),
            Peer::Group(group) => RulePeer::Group(group),
        },
        description: request.description,
    }
}

fn shown(group: model::SecurityGroup) -> SecurityGroup {
    SecurityGroup {
        id: group.id,
        name: group.name,
        description: group.description,
        vpc_id: group.vpc_id,
        rules: group.rules.into_iter().map(shown_rule).collect(),
    }
}

fn shown_rule(rule: model::Rule) -> Rule {
    Rule {
        id: rule.id,
        direction: rule.direction,
        protocol: rule.protocol,
        peer: match rule.peer {
            RulePeer::Cidr(cidr) => Peer::Cidr(cidr),
            RulePeer::Group(group) => Peer::Group(group),
        },
        description: rule.description,
    }
}
