//! Tags.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tag of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tag {
    /// The resource's id.
    pub resource: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Sets tags on a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTagsRequest {
    /// The resource's id.
    pub resource: String,
    /// The tags; others stay.
    pub tags: BTreeMap<String, String>,
}

/// Which tags to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTagsRequest {
    /// Only of the resource with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// Removes a tag from a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteTagRequest {
    /// The resource's id.
    pub resource: String,
    /// The key.
    pub key: String,
}
