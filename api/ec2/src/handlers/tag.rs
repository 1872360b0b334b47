//! Tags.

use super::text;
use crate::error::ApiError;
use crate::generated::{
    CreateTagsRequest, DeleteTagsRequest, DescribeTagsRequest, DescribeTagsResult, TagDescription,
};
use crate::mechanism::{Field, apply, given_tags, one};
use crate::operation::{Context, Handle, Void};
use crate::wire::Text;

const FILTERS: &[Field<TagDescription>] = &[
    ("key", |t| one(&t.key)),
    ("resource-id", |t| one(&t.resource_id)),
    ("resource-type", |t| one(&t.resource_type)),
    ("value", |t| one(&t.value)),
];

/// What the prefix of an id tells about its resource, as `resource-type` names it.
const TYPES: [(&str, &str); 11] = [
    ("ami", "image"),
    ("eni", "network-interface"),
    ("i", "instance"),
    ("import-ami", "import-image-task"),
    ("key", "key-pair"),
    ("pg", "placement-group"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("subnet", "subnet"),
    ("vol", "volume"),
    ("vpc", "vpc"),
];

impl Handle for CreateTagsRequest {
    async fn handle(self, cx: &Context) -> Result<Void, ApiError> {
        cx.cloud.create_tags(&cx.caller, &owned(self.resources), &given_tags(self.tags)?).await?;
        Ok(Void)
    }
}

impl Handle for DeleteTagsRequest {
    async fn handle(self, cx: &Context) -> Result<Void, ApiError> {
        let mut tags = Vec::new();
        for tag in self.tags {
            let key = tag.key.ok_or_else(|| ApiError::missing("Tag.Key"))?;
            tags.push((key.into(), tag.value.map(String::from)));
        }
        cx.cloud.delete_tags(&cx.caller, &owned(self.resources), &tags).await?;
        Ok(Void)
    }
}

impl Handle for DescribeTagsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeTagsResult, ApiError> {
        let all = cx.cloud.tags(&cx.caller).await?;
        let shapes = all.iter().flat_map(|(id, tags)| tags.iter().map(|(key, value)| shape(id, key, value)));
        let shapes = apply(&cx.filters, FILTERS, |_| &[], shapes.collect())?;
        let key = |t: &TagDescription| {
            format!("{} {}", t.resource_id.as_deref().unwrap_or(""), t.key.as_deref().unwrap_or(""))
        };
        let (tags, next_token) = cx.page.cut(shapes, key);
        Ok(DescribeTagsResult { tags, next_token })
    }
}

fn owned(texts: Vec<Text>) -> Vec<String> {
    texts.into_iter().map(String::from).collect()
}

fn shape(id: &str, key: &str, value: &str) -> TagDescription {
    let prefix = id.rsplit_once('-').map_or(id, |(prefix, _)| prefix);
    let kind = TYPES.iter().find(|(known, _)| *known == prefix).map(|(_, kind)| Text::new_static(kind));
    TagDescription { key: text(key), resource_id: text(id), resource_type: kind, value: text(value) }
}
