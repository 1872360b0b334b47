//! Tags.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tepui_types::ProjectId;

use crate::DbError;

/// What became of a call that sets tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagOutcome {
    /// They are set.
    Set,
    /// The project has no such resource; nothing was changed.
    NotFound(String),
    /// This resource would have more than it may; nothing was changed.
    TooMany(String),
}

/// Tags. A resource is named by the text form of its id.
#[async_trait]
pub trait TagDb: Send + Sync {
    /// Sets tags on each resource of the project, at most `max` on each. Tags of an instance grow its
    /// node's generation.
    async fn put_tags(
        &self,
        project: ProjectId,
        resources: &[String],
        tags: &[(String, String)],
        max: usize,
    ) -> Result<TagOutcome, DbError>;

    /// Removes tags from each resource; a value of `None` means any value; an empty list means all.
    async fn delete_tags(
        &self,
        project: ProjectId,
        resources: &[String],
        tags: &[(String, Option<String>)],
    ) -> Result<(), DbError>;

    /// All tags of a project by resource.
    async fn tags(&self, project: ProjectId) -> Result<BTreeMap<String, BTreeMap<String, String>>, DbError>;
}
