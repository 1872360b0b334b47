//! Tags in requests and replies.

use std::collections::BTreeMap;

use tepui_core::check_tags;

use crate::error::ApiError;
use crate::generated::{Tag, TagSpecification};

/// Tags as a request gives them; a tag without a value has the value `""`.
///
/// # Errors
/// `InvalidParameterValue` without a key or for a key given twice.
pub(crate) fn given_tags(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut map = BTreeMap::new();
    for tag in tags {
        let key = tag.key.ok_or_else(|| ApiError::missing("Tag.Key"))?;
        let value = tag.value.unwrap_or_default();
        if map.insert(key.to_string(), value.into()).is_some() {
            return Err(ApiError::invalid_value("Tag.Key", &key, "Tag keys must be unique."));
        }
    }
    Ok(map)
}

/// The tags that `TagSpecification` gives to each of the action's resource types, in their order. They
/// are checked before anything is made, as some actions set them after it.
///
/// # Errors
/// `InvalidParameterValue` for a resource type that the action does not create or that occurs twice, and
/// for tags that are not allowed; `TagLimitExceeded`.
pub(crate) fn tags_for<const N: usize>(
    specifications: Vec<TagSpecification>,
    types: [&str; N],
) -> Result<[BTreeMap<String, String>; N], ApiError> {
    let mut given: [Option<BTreeMap<String, String>>; N] = [const { None }; N];
    for specification in specifications {
        let kind = specification.resource_type.unwrap_or_default();
        let at = types.iter().position(|known| *known == kind).ok_or_else(|| {
            let rule = format!("This action tags: {}.", types.join(", "));
            ApiError::invalid_value("TagSpecification.ResourceType", &kind, &rule)
        })?;
        let tags = given_tags(specification.tags)?;
        check_tags(&tags)?;
        if given[at].replace(tags).is_some() {
            return Err(ApiError::invalid_value(
                "TagSpecification.ResourceType",
                &kind,
                "It may occur once.",
            ));
        }
    }
    Ok(given.map(Option::unwrap_or_default))
}

/// Tags as a reply shows them.
pub(crate) fn shown_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag { key: Some(key.into()), value: Some(value.into()) };
    tags.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specification(kind: &'static str, keys: &[&'static str]) -> TagSpecification {
        let tags = keys.iter().map(|key| Tag { key: Some((*key).into()), value: None }).collect();
        TagSpecification { resource_type: Some(kind.into()), tags }
    }

    #[test]
    fn tags_go_to_their_resource_type_or_are_refused() {
        let given = vec![specification("volume", &["a", "b"])];
        let [instance, volume] = tags_for(given, ["instance", "volume"]).unwrap();
        assert!(instance.is_empty());
        assert_eq!(
            volume.into_iter().collect::<Vec<_>>(),
            [("a".into(), "".into()), ("b".into(), "".into())]
        );
        for bad in [
            vec![specification("vpc", &["a"])],
            vec![specification("volume", &["a"]), specification("volume", &["b"])],
            vec![specification("volume", &["a", "a"])],
        ] {
            assert_eq!(tags_for(bad, ["instance", "volume"]).unwrap_err().code, "InvalidParameterValue");
        }
    }
}
