//! Pages: filters come first, then the cut; the order is that of a key, so that things created or
//! deleted between two pages make none of the others appear twice or vanish.

use data_encoding::BASE64URL_NOPAD;

use crate::error::ApiError;
use crate::operation::Rules;
use crate::wire::{Params, Text};

/// What the client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageRequest {
    action: &'static str,
    size: Option<usize>,
    /// The key of the last thing on the page before.
    after: Option<String>,
}

impl PageRequest {
    /// Takes `MaxResults` (5 to 1,000) and `NextToken`; ids and `MaxResults` exclude each other.
    pub(crate) fn read(params: &mut Params, rules: &Rules) -> Result<Self, ApiError> {
        let size: Option<i64> = params.optional("MaxResults")?;
        if let Some(name) = rules.ids.iter().find(|name| size.is_some() && params.has(name)) {
            return Err(ApiError::combination(format!(
                "The parameter {name} cannot be used with the parameter MaxResults"
            )));
        }
        let token: Option<Text> = params.optional("NextToken")?;
        let after = token.map(|token| key_of(rules.action, &token)).transpose()?;
        Ok(Self { action: rules.action, size: size.map(page_size).transpose()?, after })
    }

    /// One page of `items`, and the token of the next. Without a page asked for, everything as it is.
    pub(crate) fn cut<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<Text>) {
        if self.size.is_none() && self.after.is_none() {
            return (items, None);
        }
        items.sort_by_cached_key(&key);
        if let Some(after) = &self.after {
            items.retain(|item| key(item) > *after);
        }
        let size = self.size.unwrap_or(usize::MAX);
        let more = items.len() > size;
        items.truncate(size);
        let next = items.last().filter(|_| more).map(|item| token_of(self.action, &key(item)).into());
        (items, next)
    }
}

fn page_size(size: i64) -> Result<usize, ApiError> {
    match usize::try_from(size) {
        Ok(size) if (5..=1000).contains(&size) => Ok(size),
        _ => Err(ApiError::invalid_value("MaxResults", &size.to_string(), "It is 5 to 1000.")),
    }
}

/// Tokens name their action, so that one action's token is not taken for another's place.
fn token_of(action: &str, key: &str) -> String {
    BASE64URL_NOPAD.encode(format!("{action} {key}").as_bytes())
}

fn key_of(action: &str, token: &str) -> Result<String, ApiError> {
    let text = BASE64URL_NOPAD.decode(token.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let key = text.as_deref().and_then(|text| text.strip_prefix(action)?.strip_prefix(' '));
    key.map(str::to_owned).ok_or_else(|| {
        ApiError::new("InvalidNextToken", "The specified NextToken is not one of this action.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{DescribeInstancesRequest, DescribeVolumesRequest};
    use crate::operation::Operation as _;

    const RULES: Rules = DescribeInstancesRequest::RULES;

    fn read(pairs: &[(&str, &str)], rules: &Rules) -> Result<PageRequest, ApiError> {
        let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        PageRequest::read(&mut Params::new(pairs).unwrap(), rules)
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat_while_things_come_and_go() {
        let all: Vec<u32> = (100..117).rev().collect();
        let key = |n: &u32| n.to_string();
        let (first, token) = read(&[("MaxResults", "5")], &RULES).unwrap().cut(all.clone(), key);
        assert_eq!(first, [100, 101, 102, 103, 104]);
        let token = token.unwrap();
        let changed = all.into_iter().filter(|n| *n != 104 && *n != 106).collect();
        let next = read(&[("MaxResults", "10"), ("NextToken", &token)], &RULES).unwrap();
        let (second, token) = next.cut(changed, key);
        assert_eq!(second, [105, 107, 108, 109, 110, 111, 112, 113, 114, 115]);
        let last = read(&[("NextToken", &token.unwrap())], &RULES).unwrap();
        assert_eq!(last.cut(vec![115, 116], key), (vec![116], None));
    }

    #[test]
    fn sizes_out_of_range_ids_with_sizes_and_foreign_tokens_are_refused() {
        let code = |pairs: &[(&str, &str)]| read(pairs, &RULES).unwrap_err().code;
        for size in ["4", "1001", "0", "-1"] {
            assert_eq!(code(&[("MaxResults", size)]), "InvalidParameterValue");
        }
        assert_eq!(code(&[("MaxResults", "5"), ("InstanceId.1", "i-1")]), "InvalidParameterCombination");
        assert_eq!(code(&[("NextToken", "!")]), "InvalidNextToken");
        let token = token_of("DescribeInstances", "i-1");
        assert!(read(&[("NextToken", &token)], &RULES).is_ok());
        let other = read(&[("NextToken", &token)], &DescribeVolumesRequest::RULES);
        assert_eq!(other.unwrap_err().code, "InvalidNextToken");
    }
}
