//! Filters: any value of one filter, all filters together, with `*`, `?` and `\`.
//!
//! They look at the shapes of the reply, so that what a filter compares is what the client reads.

use std::collections::HashSet;
use std::str::Chars;

use crate::error::ApiError;
use crate::generated::{Filter, Tag};
use crate::wire::{Text, printable};

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

/// Filters of one request, values of one filter and characters of one value, as on AWS (EC2 user guide,
/// "List and filter your resources").
const FILTERS: usize = 50;
const VALUES: usize = 200;
const VALUE_CHARS: usize = 255;
/// Steps that the wildcards of one request may take, some tens of milliseconds: a thread that answers
/// requests is never held longer. Two hundred short wildcards on five thousand instances need less than
/// half.
const STEPS: u64 = 20_000_000;

/// Keeps the things that pass every filter.
///
/// # Errors
/// `InvalidParameterValue` for a filter that the action does not know, that has no values or a value
/// that is too long; `FilterLimitExceeded` for too many of them, or for wildcards that take too long.
pub(crate) fn apply<T>(
    filters: &[Filter],
    fields: &[Field<T>],
    tags: fn(&T) -> &[Tag],
    mut things: Vec<T>,
) -> Result<Vec<T>, ApiError> {
    if filters.len() > FILTERS {
        return Err(limit(format!("a request has at most {FILTERS} filters")));
    }
    let mut steps = Steps(STEPS);
    for filter in filters {
        let subject = Subject::of(filter, fields)?;
        let wanted = Wanted::new(filter)?;
        things.retain(|thing| subject.values(thing, tags).iter().any(|value| wanted.has(value, &mut steps)));
    }
    if steps.0 == 0 {
        return Err(limit("these wildcards take too long on this many resources".into()));
    }
    Ok(things)
}

fn limit(rule: String) -> ApiError {
    ApiError::new("FilterLimitExceeded", format!("The request uses too many filters or values: {rule}."))
}

/// What is left of [`STEPS`]. At zero nothing matches any more, and the request is refused.
struct Steps(u64);

impl Steps {
    fn take(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

/// The values of a filter: most are plain and found at once, however many there are.
struct Wanted {
    plain: HashSet<String>,
    patterns: Vec<Pattern>,
}

impl Wanted {
    fn new(filter: &Filter) -> Result<Self, ApiError> {
        let name = printable(filter.name.as_deref().unwrap_or_default());
        if filter.values.len() > VALUES {
            return Err(limit(format!("the filter '{name}' has more than {VALUES} values")));
        }
        let mut wanted = Self { plain: HashSet::new(), patterns: Vec::new() };
        for value in &filter.values {
            if value.chars().count() > VALUE_CHARS {
                let rule = format!("A value of a filter has at most {VALUE_CHARS} characters.");
                return Err(ApiError::invalid_value(&name, value, &rule));
            }
            let pattern = Pattern::new(value);
            match pattern.plain() {
                Some(text) => drop(wanted.plain.insert(text)),
                None => wanted.patterns.push(pattern),
            }
        }
        Ok(wanted)
    }

    fn has(&self, value: &str, steps: &mut Steps) -> bool {
        self.plain.contains(value) || self.patterns.iter().any(|pattern| pattern.matches(value, steps))
    }
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

    /// The text that alone matches, if there are no wildcards.
    fn plain(&self) -> Option<String> {
        let char = |part: &Part| match part {
            Part::Char(c) => Some(*c),
            Part::Any | Part::One => None,
        };
        self.0.iter().map(char).collect()
    }

    /// Matches with one step back to the latest `*` at a time, so that no pattern takes more than
    /// the product of both lengths. Matches nothing once the steps are used up.
    fn matches(&self, text: &str, steps: &mut Steps) -> bool {
        let (mut part, mut rest) = (0, text.chars());
        let mut star: Option<(usize, Chars)> = None;
        while let Some(c) = rest.clone().next() {
            if !steps.take() {
                return false;
            }
            match self.0.get(part) {
                Some(Part::Any) => {
                    star = Some((part, rest.clone()));
                    part += 1;
                    continue;
                }
                Some(Part::One) => part += 1,
                Some(Part::Char(wanted)) if *wanted == c => part += 1,
                Some(Part::Char(_)) | None => {
                    let Some((star_part, after)) = &mut star else { return false };
                    after.next();
                    (part, rest) = (*star_part + 1, after.clone());
                    continue;
                }
            }
            rest.next();
        }
        self.0[part..].iter().all(|part| matches!(part, Part::Any))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).matches(text, &mut Steps(STEPS))
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

    fn filter(values: impl IntoIterator<Item = String>) -> Filter {
        Filter { name: Some("name".into()), values: values.into_iter().map(Text::from).collect() }
    }

    fn kept_of(filters: &[Filter], things: Vec<Text>) -> Result<Vec<Text>, ApiError> {
        let fields: &[Field<Text>] = &[("name", |thing| vec![thing.clone()])];
        apply(filters, fields, |_| &[], things)
    }

    #[test]
    fn more_filters_or_values_than_ec2_takes_are_refused() {
        let numbers = |count: usize| (0..count).map(|number| number.to_string());
        let things = || vec![Text::from("199")];
        assert_eq!(kept_of(&[filter(numbers(VALUES))], things()), Ok(things()));
        let error = kept_of(&[filter(numbers(VALUES + 1))], things()).unwrap_err();
        assert_eq!(error.code, "FilterLimitExceeded");
        let many: Vec<Filter> = (0..=FILTERS).map(|_| filter(["199".to_owned()])).collect();
        assert_eq!(kept_of(&many[1..], things()), Ok(things()));
        assert_eq!(kept_of(&many, things()).unwrap_err().code, "FilterLimitExceeded");
        let long = "x".repeat(VALUE_CHARS + 1);
        assert_eq!(kept_of(&[filter([long])], things()).unwrap_err().code, "InvalidParameterValue");
    }

    #[test]
    fn wildcards_that_step_back_without_end_are_given_up() {
        let hostile = format!("*{}b", "a".repeat(126));
        let things = vec![Text::from("a".repeat(255)); 5000];
        let error = kept_of(&[filter(vec![hostile; VALUES])], things).unwrap_err();
        assert_eq!(error.code, "FilterLimitExceeded");
    }

    #[test]
    fn two_hundred_wildcards_on_five_thousand_things_are_carried_out() {
        let wildcards = (0..VALUES).map(|number| format!("web-{number}-*"));
        let things: Vec<Text> = (0..5000).map(|number| format!("web-{number}-a").into()).collect();
        assert_eq!(kept_of(&[filter(wildcards)], things).unwrap().len(), VALUES);
    }
}
