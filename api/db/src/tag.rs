//! Tags.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tepui_types::ProjectId;

use crate::DbError;

/// Tags. A resource is named by the text form of its id; the caller has checked that it is the
/// project's.
#[async_trait]
pub trait TagDb: Send + Sync {
    /// Sets tags on each resource; `Some(resource)` when that one would have more than `max` and
    /// nothing was changed. Tags of an instance grow its node's generation.
    async fn put_tags(
        &self,
        project: ProjectId,
        resources: &[String],
        tags: &[(String, String)],
        max: usize,
    ) -> Result<Option<String>, DbError>;

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
