//! Tags.

use tepui_types::rest::{DeleteTagRequest, Empty, List, ListTagsRequest, PutTagsRequest, Tag};

use super::routes::Call;
use crate::failure::Failure;

pub(super) async fn put(call: Call, request: PutTagsRequest) -> Result<Empty, Failure> {
    call.cloud().create_tags(&call.caller, &[request.resource], &request.tags).await?;
    Ok(Empty {})
}

pub(super) async fn list(call: Call, request: ListTagsRequest) -> Result<List<Tag>, Failure> {
    let mut resources = call.cloud().tags(&call.caller).await?;
    resources.retain(|resource, _| request.resource.as_ref().is_none_or(|wanted| wanted == resource));
    let tags_of = |(resource, tags): (String, std::collections::BTreeMap<String, String>)| {
        tags.into_iter().map(move |(key, value)| Tag { resource: resource.clone(), key, value })
    };
    Ok(List { items: resources.into_iter().flat_map(tags_of).collect() })
}

pub(super) async fn delete(call: Call, request: DeleteTagRequest) -> Result<Empty, Failure> {
    call.cloud().delete_tags(&call.caller, &[request.resource], &[(request.key, None)]).await?;
    Ok(Empty {})
}
