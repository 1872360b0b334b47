//! Placement groups.

use std::collections::BTreeMap;

use tepui_core::Kind;
use tepui_db::model::{PlacementGroup, PlacementStrategy};
use tepui_types::PlacementGroupId;

use super::select::select;
use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    CreatePlacementGroupRequest, CreatePlacementGroupResult, DeletePlacementGroupRequest,
    DescribePlacementGroupsRequest, DescribePlacementGroupsResult, PlacementGroup as Shape,
};
use crate::mechanism::{Field, apply, one, parse_ids, shown_tags, tags_for};
use crate::operation::{Context, Handle, Void};
use crate::wire::Text;

const FILTERS: &[Field<Shape>] = &[
    ("group-arn", |g| one(&g.group_arn)),
    ("group-name", |g| one(&g.group_name)),
    ("spread-level", |g| one(&g.spread_level)),
    ("state", |g| one(&g.state)),
    ("strategy", |g| one(&g.strategy)),
];

impl Handle for CreatePlacementGroupRequest {
    async fn handle(self, cx: &Context) -> Result<CreatePlacementGroupResult, ApiError> {
        let strategy = match self.strategy.as_deref() {
            None | Some("cluster") => PlacementStrategy::Cluster,
            Some("spread") => PlacementStrategy::Spread,
            Some(other) => {
                return Err(ApiError::invalid_value("Strategy", other, "It is cluster or spread."));
            }
        };
        let name = self.group_name.ok_or_else(|| ApiError::missing("GroupName"))?;
        let [tags] = tags_for(self.tag_specifications, ["placement-group"])?;
        let group = cx.cloud.create_placement_group(&cx.caller, &name, strategy).await?;
        if !tags.is_empty() {
            cx.cloud.create_tags(&cx.caller, &[group.id.to_string()], &tags).await?;
        }
        Ok(CreatePlacementGroupResult { placement_group: Some(shape(cx, group, &tags)) })
    }
}

impl Handle for DescribePlacementGroupsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribePlacementGroupsResult, ApiError> {
        let ids: Vec<PlacementGroupId> = parse_ids(Kind::PlacementGroup, &self.group_ids)?;
        let groups = cx.cloud.placement_groups(&cx.caller).await?;
        let groups = select(Kind::PlacementGroup, groups, &ids, |group| group.id)?;
        let groups = select(Kind::PlacementGroup, groups, &self.group_names, |g| Text::from(g.name.clone()))?;
        let mut tags = cx.cloud.tags(&cx.caller).await?;
        let shapes = groups.into_iter().map(|group| {
            let tags = tags.remove(&group.id.to_string()).unwrap_or_default();
            shape(cx, group, &tags)
        });
        let placement_groups = apply(&cx.filters, FILTERS, |group| &group.tags, shapes.collect())?;
        Ok(DescribePlacementGroupsResult { placement_groups })
    }
}

impl Handle for DeletePlacementGroupRequest {
    async fn handle(self, cx: &Context) -> Result<Void, ApiError> {
        cx.cloud.delete_placement_group(&cx.caller, &self.group_name).await?;
        Ok(Void)
    }
}

fn shape(cx: &Context, group: PlacementGroup, tags: &BTreeMap<String, String>) -> Shape {
    let region = &cx.cloud.config().region;
    let arn = format!("arn:aws:ec2:{region}:{}:placement-group/{}", group.project_id, group.name);
    let (strategy, spread_level) = match group.strategy {
        PlacementStrategy::Spread => ("spread", fixed("host")),
        PlacementStrategy::Cluster => ("cluster", None),
    };
    Shape {
        group_arn: text(arn),
        group_id: text(group.id),
        group_name: text(group.name),
        spread_level,
        state: fixed("available"),
        strategy: fixed(strategy),
        tags: shown_tags(tags),
    }
}
