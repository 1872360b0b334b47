//! Filters: any value of one filter, all filters together, with `*`, `?` and `\`.
//!
//! They look at the shapes of the reply, so that what a filter compares is what the client reads.

use crate::error::ApiError;
use crate::generated::{Filter, Tag};
use crate::wire::Text;

/// A filter that an action knows: its name and the values a thing has for it.
pub(crate) type Field<T> = (&'static str, fn(&T) -> Vec<Text>);

/// The one value of a field, if there is one.
pub(crate) fn one(value: &Option<Text>) -> Vec<Text> {
    value.iter().cloned().collect()
}

/// The value of a boolean field.
pub(crate) fn flag(value: Option<bool>) -> Vec<Text> {
    value.map(|is| if is { "true".into() } else { "false".into() }).into_iter().collect()
}

/// The values of a field of several things.
pub(crate) fn many<T>(things: &[T], value: impl Fn(&T) -> &Option<Text>) -> Vec<Text> {
    things.iter().filter_map(|thing| value(thing).clone()).collect()
}

/// Keeps the things that pass every filter.
///
/// # Errors
/// `InvalidParameterValue` for a filter that the action does not know or that has no values.
pub(crate) fn apply<T>(
    filters: &[Filter],
    fields: &[Field<T>],
    tags: fn(&T) -> &[Tag],
    mut things: Vec<T>,
) -> Result<Vec<T>, ApiError> {
    for filter in filters {
        let subject = Subject::of(filter, fields)?;
        let patterns: Vec<Pattern> = filter.values.iter().map(|value| Pattern::new(value)).collect();
        let passes = |value: &Text| patterns.iter().any(|pattern| pattern.matches(value));
        things.retain(|thing| subject.values(thing, tags).iter().any(passes));
    }
    Ok(things)
}

/// What a filter looks at.
enum Subject<'a, T> {
    Field(fn(&T) -> Vec<Text>),
    TagKeys,
    TagValue(&'a str),
}

impl<'a, T> Subject<'a, T> {
    fn of(filter: &'a Filter, fields: &[Field<T>]) -> Result<Self, ApiError> {
        let name = filter.name.as_deref().ok_or_else(|| ApiError::missing("Filter.Name"))?;
        if filter.values.is_empty() {
            let message = format!("The filter '{name}' has no values");
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        if let Some(key) = name.strip_prefix("tag:") {
            return Ok(Self::TagValue(key));
        }
        if name == "tag-key" {
            return Ok(Self::TagKeys);
        }
        let field = fields.iter().find(|(known, _)| *known == name);
        field
            .map(|(_, values)| Self::Field(*values))
            .ok_or_else(|| ApiError::new("InvalidParameterValue", format!("The filter '{name}' is invalid")))
    }

    fn values(&self, thing: &T, tags: fn(&T) -> &[Tag]) -> Vec<Text> {
        match self {
            Self::Field(values) => values(thing),
            Self::TagKeys => many(tags(thing), |tag| &tag.key),
            Self::TagValue(key) => {
                let tag = tags(thing).iter().find(|tag| tag.key.as_deref() == Some(key));
                tag.and_then(|tag| tag.value.clone()).into_iter().collect()
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Part {
    /// `*`
    Any,
    /// `?`
    One,
    Char(char),
}

/// A value with wildcards.
struct Pattern(Vec<Part>);

impl Pattern {
    fn new(text: &str) -> Self {
        let mut chars = text.chars();
        let mut parts = Vec::new();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Char(chars.next().unwrap_or('\\')),
                c => Part::Char(c),
            });
        }
        Self(parts)
    }

    /// Matches with one step back to the latest `*` at a time, so that no pattern takes more than
    /// the product of both lengths.
    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut part, mut at) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.0.get(part) {
                Some(Part::Any) => {
                    star = Some((part, at));
                    part += 1;
                    continue;
                }
                Some(Part::One) => (part, at) = (part + 1, at + 1),
                Some(Part::Char(c)) if *c == text[at] => (part, at) = (part + 1, at + 1),
                Some(Part::Char(_)) | None => {
                    let Some((star_part, star_at)) = star else { return false };
                    star = Some((star_part, star_at + 1));
                    (part, at) = (star_part + 1, star_at + 1);
                }
            }
        }
        self.0[part..].iter().all(|part| matches!(part, Part::Any))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).matches(text)
    }

    #[test]
    fn wildcards_match_as_ec2_says() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "a"),
            ("*b*", "abc"),
            ("a?c", "abc"),
            ("a*c*e", "abcde"),
            (r"\*a", "*a"),
            (r"a\\", r"a\"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("A", "a"), ("a?", "a"), (r"\*", "a"), ("a*d", "abc"), ("?", "")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_with_its_wildcards_escaped_matches_itself_alone(text: String, other: String) {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(matches(&escaped, &text));
            prop_assert_eq!(matches(&escaped, &other), text == other);
            let (pattern, around) = (format!("*{escaped}*"), format!("{other}{text}{other}"));
            prop_assert!(matches(&pattern, &around));
        }
    }

    #[derive(Debug, Clone, PartialEq)]
    struct Thing(Text, Vec<Tag>);

    fn kept(filters: &[(&'static str, &[&'static str])]) -> Result<Vec<Text>, ApiError> {
        let tag =
            |key: &'static str, value: &'static str| Tag { key: Some(key.into()), value: Some(value.into()) };
        let things = vec![
            Thing("a".into(), vec![tag("k", "1")]),
            Thing("b".into(), vec![tag("k", "2"), tag("l", "1")]),
        ];
        let filters: Vec<Filter> = filters
            .iter()
            .map(|(name, values)| Filter {
                name: Some((*name).into()),
                values: values.iter().map(|v| (*v).into()).collect(),
            })
            .collect();
        let fields: &[Field<Thing>] = &[("name", |t| vec![t.0.clone()])];
        apply(&filters, fields, |t| &t.1, things).map(|kept| kept.into_iter().map(|t| t.0).collect())
    }

    #[test]
    fn values_are_alternatives_and_filters_add_up() {
        assert_eq!(kept(&[("name", &["a", "b"])]).unwrap(), ["a", "b"]);
        assert_eq!(kept(&[("name", &["a", "b"]), ("tag:k", &["2"])]).unwrap(), ["b"]);
        assert_eq!(kept(&[("tag-key", &["l"])]).unwrap(), ["b"]);
        assert_eq!(kept(&[("tag:l", &["2"])]).unwrap(), [""; 0]);
    }

    #[test]
    fn unknown_and_empty_filters_are_refused_by_name() {
        for filter in [("colour", &["red"][..]), ("name", &[])] {
            let error = kept(&[filter]).unwrap_err();
            assert_eq!(error.code, "InvalidParameterValue");
            assert!(error.message.contains(filter.0), "{}", error.message);
        }
    }
}
