//! Shapes that many operations share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request or a reply without content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// All objects of a kind that the caller may see. An object of its own rather than a bare array, so
/// that fields can be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct List<T> {
    /// In a stable order.
    pub items: Vec<T>,
}
