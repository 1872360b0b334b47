//! Parameters as the tree that their dotted names describe.
//!
//! A parser takes what it knows; what is left at the end was not understood and is refused by
//! [`Params::rest`], so that nothing a client sets is ever ignored in silence.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::wire::Text;

/// Names are at most this many parts deep; the model's deepest has seven.
const MAX_DEPTH: usize = 12;

/// One parameter and those below it.
#[derive(Debug, Default)]
pub(crate) struct Params {
    /// The full name as it was sent.
    name: String,
    value: Option<String>,
    children: BTreeMap<String, Params>,
}

/// A value that is read from a parameter; `None` when it is absent.
pub(crate) trait Read: Sized {
    fn read(from: &mut Params) -> Result<Option<Self>, ApiError>;
}

impl Params {
    /// Builds the tree. A value of `""` counts as absent, since clients send fields they leave out
    /// that way, but where [`may_be_empty`]; the same name twice is refused, since parsers would differ
    /// in which one they take.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ApiError> {
        let mut root = Self::default();
        let mut seen = std::collections::HashSet::new();
        for (name, value) in pairs {
            if !seen.insert(name.clone()) {
                let message = format!("The parameter {} occurs more than once.", printable(&name));
                return Err(ApiError::new("InvalidParameterCombination", message));
            }
            if !value.is_empty() || may_be_empty(&name) {
                root.insert(name, value)?;
            }
        }
        Ok(root)
    }

    fn insert(&mut self, name: String, value: String) -> Result<(), ApiError> {
        let mut node = self;
        for (depth, part) in name.split('.').enumerate() {
            if depth == MAX_DEPTH {
                let message = format!("The parameter {} is not recognized.", printable(&name));
                return Err(ApiError::new("UnknownParameter", message));
            }
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.value = Some(value);
        node.name = name;
        Ok(())
    }

    /// The full name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the value of this very parameter.
    pub(crate) fn take_value(&mut self) -> Option<String> {
        self.value.take()
    }

    /// Whether anything is left below `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.children.get(name).is_some_and(|child| child.rest().is_some())
    }

    /// A member that may be absent.
    pub(crate) fn optional<T: Read>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        match self.children.get_mut(name) {
            Some(child) => T::read(child),
            None => Ok(None),
        }
    }

    /// A member that must be there.
    pub(crate) fn required<T: Read>(&mut self, name: &str) -> Result<T, ApiError> {
        self.optional(name)?.ok_or_else(|| ApiError::missing(name))
    }

    /// A list `Name.1`, `Name.2` in the order of its indices as numbers; gaps are legal.
    pub(crate) fn list<T: Read>(&mut self, name: &str) -> Result<Vec<T>, ApiError> {
        let Some(child) = self.children.get_mut(name) else { return Ok(Vec::new()) };
        let mut items: Vec<(u32, &mut Params)> =
            child.children.iter_mut().filter_map(|(index, item)| Some((list_index(index)?, item))).collect();
        items.sort_by_key(|(index, _)| *index);
        items.into_iter().filter_map(|(_, item)| T::read(item).transpose()).collect()
    }

    /// A list with at least one element.
    pub(crate) fn required_list<T: Read>(&mut self, name: &str) -> Result<Vec<T>, ApiError> {
        let items = self.list(name)?;
        if items.is_empty() { Err(ApiError::missing(name)) } else { Ok(items) }
    }

    /// Drops every parameter that `accepts` by its full name and value.
    pub(crate) fn drop_if(&mut self, accepts: &dyn Fn(&str, &str) -> bool) {
        if self.value.as_deref().is_some_and(|value| accepts(&self.name, value)) {
            self.value = None;
        }
        self.children.values_mut().for_each(|child| child.drop_if(accepts));
    }

    /// The first parameter that nobody took.
    pub(crate) fn rest(&self) -> Option<(&str, &str)> {
        let own = self.value.as_deref().map(|value| (self.name.as_str(), value));
        own.or_else(|| self.children.values().find_map(Self::rest))
    }
}

/// Parameters whose empty value says something: the tag with the empty value and no other, user data
/// that is cleared (EC2 API reference, `DeleteTags` and `ModifyInstanceAttribute`).
fn may_be_empty(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    matches!(
        parts[..],
        [.., "Tag", _, "Value"] | ["Filter" | "Filters", _, "Value", _] | ["UserData", "Value"]
    )
}

/// `1`, `2`, … as AWS writes them; `01` is no index, since it would be a second name for `1`.
pub(crate) fn list_index(part: &str) -> Option<u32> {
    let plain = !part.is_empty()
        && part.bytes().all(|b| b.is_ascii_digit())
        && (part == "0" || !part.starts_with('0'));
    plain.then(|| part.parse().ok()).flatten()
}

/// A name as a message may show it.
pub(crate) fn printable(name: &str) -> String {
    name.chars().take(128).filter(|c| !c.is_control()).collect()
}

impl Read for Text {
    fn read(from: &mut Params) -> Result<Option<Self>, ApiError> {
        Ok(from.take_value().map(Text::from))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::new(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()))).unwrap()
    }

    #[test]
    fn list_indices_are_numbers_and_may_have_gaps() {
        let mut root = params(&[("Id.10", "c"), ("Id.2", "b"), ("Id.1", "a"), ("Id.7", "")]);
        assert_eq!(root.list::<Text>("Id").unwrap(), ["a", "b", "c"]);
        assert_eq!(root.rest(), None);
    }

    #[test]
    fn an_empty_value_is_an_absent_one() {
        let mut root = params(&[("SubnetId", ""), ("KeyName", "k")]);
        assert_eq!(root.optional::<Text>("SubnetId").unwrap(), None);
        assert_eq!(root.required::<Text>("SubnetId").unwrap_err().code, "MissingParameter");
        assert_eq!(root.required::<Text>("KeyName").unwrap(), "k");
    }

    #[test]
    fn an_empty_value_of_a_tag_a_filter_or_user_data_is_a_value() {
        for name in ["Tag.1.Value", "TagSpecification.1.Tag.2.Value", "Filter.1.Value.1", "UserData.Value"] {
            assert_eq!(params(&[(name, "")]).rest(), Some((name, "")));
        }
        assert_eq!(params(&[("Tag.1.Key", ""), ("IamInstanceProfile.Name", "")]).rest(), None);
    }

    #[test]
    fn a_parameter_that_occurs_twice_is_refused_even_when_it_is_empty() {
        let twice = [("A", "1"), ("A", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(Params::new(twice).unwrap_err().code, "InvalidParameterCombination");
    }

    #[test]
    fn what_nobody_took_is_left() {
        let mut root = params(&[("Id.01", "a"), ("Id.1.Value", "b"), ("Id.x", "c")]);
        assert!(root.list::<Text>("Id").unwrap().is_empty());
        assert_eq!(root.rest(), Some(("Id.01", "a")));
        root.drop_if(&|name, _| name == "Id.01");
        assert_eq!(root.rest(), Some(("Id.1.Value", "b")));
    }

    #[test]
    fn a_name_of_many_parts_is_refused() {
        let deep = ("A.".repeat(50_000), "1".to_owned());
        assert_eq!(Params::new([deep]).unwrap_err().code, "UnknownParameter");
    }

    proptest! {
        #[test]
        fn any_names_make_a_tree_or_are_refused(pairs in prop::collection::vec(("[A.1]{0,9}", ".?"), 0..20)) {
            if let Ok(mut root) = Params::new(pairs) {
                let _ = root.list::<Text>("A");
                root.rest();
            }
        }
    }
}
