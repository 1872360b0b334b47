//! Placement groups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PlacementGroupId, Timestamp};

/// How the members are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlacementStrategy {
    /// Each on a node of its own, or not at all.
    Spread,
    /// Together on as few nodes as possible.
    Cluster,
}

/// Creates a placement group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePlacementGroupRequest {
    /// Unique in the project, 1 to 255 characters.
    pub name: String,
    /// How the members are spread.
    pub strategy: PlacementStrategy,
}

/// A placement group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlacementGroup {
    /// The id.
    pub id: PlacementGroupId,
    /// Unique in the project.
    pub name: String,
    /// How the members are spread.
    pub strategy: PlacementStrategy,
    /// When it was created.
    pub created_at: Timestamp,
}
