//! Placement groups.

use tepui_core::Kind;
use tepui_db::model;
use tepui_types::rest::{CreatePlacementGroupRequest, Empty, List, PlacementGroup, PlacementStrategy};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;

/// The placement group that a text names.
pub(super) async fn find(call: &Call, text: &str) -> Result<model::PlacementGroup, Failure> {
    let groups = call.cloud().placement_groups(&call.caller).await?;
    let id = pick(Kind::PlacementGroup, text, groups.iter().map(|g| (g.id, Some(g.name.clone()))))?;
    let found = groups.into_iter().find(|group| group.id == id);
    found.ok_or_else(|| tepui_core::Error::not_found(Kind::PlacementGroup, id).into())
}

pub(super) async fn create(
    call: Call,
    request: CreatePlacementGroupRequest,
) -> Result<PlacementGroup, Failure> {
    let strategy = match request.strategy {
        PlacementStrategy::Spread => model::PlacementStrategy::Spread,
        PlacementStrategy::Cluster => model::PlacementStrategy::Cluster,
    };
    Ok(shown(call.cloud().create_placement_group(&call.caller, &request.name, strategy).await?))
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<PlacementGroup>, Failure> {
    let groups = call.cloud().placement_groups(&call.caller).await?;
    Ok(List { items: groups.into_iter().map(shown).collect() })
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let group = find(&call, call.target()).await?;
    call.cloud().delete_placement_group(&call.caller, &group.name).await?;
    Ok(Empty {})
}

fn shown(group: model::PlacementGroup) -> PlacementGroup {
    PlacementGroup {
        id: group.id,
        name: group.name,
        strategy: match group.strategy {
            model::PlacementStrategy::Spread => PlacementStrategy::Spread,
            model::PlacementStrategy::Cluster => PlacementStrategy::Cluster,
        },
        created_at: group.created_at,
    }
}
