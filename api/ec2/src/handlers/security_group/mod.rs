//! Security groups.

mod change;
mod permission;
mod rule;

use std::collections::BTreeMap;

use tepui_core::{Kind, NameOrId, NewSecurityGroup};
use tepui_db::model::SecurityGroup;
use tepui_types::SecurityGroupId;
use tepui_types::agent::Direction;

use self::permission::permissions;
use super::select::select;
use super::text;
use crate::error::ApiError;
use crate::generated::{
    CreateSecurityGroupRequest, CreateSecurityGroupResult, DeleteSecurityGroupRequest,
    DeleteSecurityGroupResult, DescribeSecurityGroupsRequest, DescribeSecurityGroupsResult, IpPermission,
    SecurityGroup as Shape,
};
use crate::mechanism::{Field, apply, many, one, parse_id, parse_ids, shown_tags, tags_for};
use crate::operation::{Context, Handle};
use crate::wire::Text;

const FILTERS: &[Field<Shape>] = &[
    ("description", |g| one(&g.description)),
    ("egress.ip-permission.cidr", |g| cidrs(&g.ip_permissions_egress)),
    ("egress.ip-permission.from-port", |g| numbers(&g.ip_permissions_egress, |p| p.from_port)),
    ("egress.ip-permission.group-id", |g| groups(&g.ip_permissions_egress)),
    ("egress.ip-permission.protocol", |g| many(&g.ip_permissions_egress, |p| &p.ip_protocol)),
    ("egress.ip-permission.to-port", |g| numbers(&g.ip_permissions_egress, |p| p.to_port)),
    ("group-id", |g| one(&g.group_id)),
    ("group-name", |g| one(&g.group_name)),
    ("ip-permission.cidr", |g| cidrs(&g.ip_permissions)),
    ("ip-permission.from-port", |g| numbers(&g.ip_permissions, |p| p.from_port)),
    ("ip-permission.group-id", |g| groups(&g.ip_permissions)),
    ("ip-permission.protocol", |g| many(&g.ip_permissions, |p| &p.ip_protocol)),
    ("ip-permission.to-port", |g| numbers(&g.ip_permissions, |p| p.to_port)),
    ("owner-id", |g| one(&g.owner_id)),
    ("vpc-id", |g| one(&g.vpc_id)),
];

fn cidrs(permissions: &[IpPermission]) -> Vec<Text> {
    permissions.iter().flat_map(|permission| many(&permission.ip_ranges, |range| &range.cidr_ip)).collect()
}

fn groups(permissions: &[IpPermission]) -> Vec<Text> {
    permissions
        .iter()
        .flat_map(|permission| many(&permission.user_id_group_pairs, |pair| &pair.group_id))
        .collect()
}

fn numbers(permissions: &[IpPermission], field: fn(&IpPermission) -> Option<i64>) -> Vec<Text> {
    permissions.iter().filter_map(field).map(|number| number.to_string().into()).collect()
}

impl Handle for CreateSecurityGroupRequest {
    async fn handle(self, cx: &Context) -> Result<CreateSecurityGroupResult, ApiError> {
        let [tags] = tags_for(self.tag_specifications, ["security-group"])?;
        let new = NewSecurityGroup {
            name: self.group_name.into(),
            description: self.description.into(),
            vpc_id: self.vpc_id.map(|id| parse_id(Kind::Vpc, &id)).transpose()?,
            tags: tags.clone(),
        };
        let group = cx.cloud.create_security_group(&cx.caller, new).await?;
        Ok(CreateSecurityGroupResult {
            group_id: text(group.id),
            security_group_arn: arn(cx, group.id),
            tags: shown_tags(&tags),
        })
    }
}

impl Handle for DescribeSecurityGroupsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeSecurityGroupsResult, ApiError> {
        let ids: Vec<SecurityGroupId> = parse_ids(Kind::SecurityGroup, &self.group_ids)?;
        let groups = cx.cloud.security_groups(&cx.caller).await?;
        let groups = select(Kind::SecurityGroup, groups, &ids, |group| group.id)?;
        let groups = select(Kind::SecurityGroup, groups, &self.group_names, |g| Text::from(g.name.clone()))?;
        let mut tags = cx.cloud.tags(&cx.caller).await?;
        let shapes = groups
            .iter()
            .map(|group| shape(cx, group, &tags.remove(&group.id.to_string()).unwrap_or_default()));
        let shapes = apply(&cx.filters, FILTERS, |group| &group.tags, shapes.collect())?;
        let (security_groups, next_token) =
            cx.page.cut(shapes, |group| group.group_id.clone().unwrap_or_default().into());
        Ok(DescribeSecurityGroupsResult { next_token, security_groups })
    }
}

impl Handle for DeleteSecurityGroupRequest {
    async fn handle(self, cx: &Context) -> Result<DeleteSecurityGroupResult, ApiError> {
        let group = name_or_id(self.group_name, self.group_id)?;
        let id = cx.cloud.security_group(&cx.caller, &group).await?.id;
        cx.cloud.delete_security_group(&cx.caller, &NameOrId::Id(id)).await?;
        Ok(DeleteSecurityGroupResult { group_id: text(id), return_: Some(true) })
    }
}

/// The group that a request names.
fn name_or_id(name: Option<Text>, id: Option<Text>) -> Result<NameOrId<SecurityGroupId>, ApiError> {
    match (name, id) {
        (_, Some(id)) => parse_id(Kind::SecurityGroup, &id).map(NameOrId::Id),
        (Some(name), None) => Ok(NameOrId::Name(name.into())),
        (None, None) => Err(ApiError::missing("GroupId")),
    }
}

fn arn(cx: &Context, id: SecurityGroupId) -> Option<Text> {
    let region = &cx.cloud.config().region;
    Some(format!("arn:aws:ec2:{region}:{}:security-group/{id}", cx.caller.project).into())
}

fn shape(cx: &Context, group: &SecurityGroup, tags: &BTreeMap<String, String>) -> Shape {
    Shape {
        description: text(&group.description),
        group_id: text(group.id),
        group_name: text(&group.name),
        ip_permissions: permissions(group, Direction::Ingress),
        ip_permissions_egress: permissions(group, Direction::Egress),
        owner_id: text(group.project_id),
        security_group_arn: arn(cx, group.id),
        tags: shown_tags(tags),
        vpc_id: text(group.vpc_id),
    }
}
