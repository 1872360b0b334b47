//! "Did you mean": the name nearest to a mistyped one.

/// Jaro-Winkler likeness from which a name is suggested: clap's threshold for its own suggestions.
const ALIKE: f64 = 0.7;

/// The nearest of `names`, if one is near enough.
pub(crate) fn nearest(names: impl IntoIterator<Item = String>, word: &str) -> Option<String> {
    let likeness = |name: &str| strsim::jaro_winkler(name, word);
    let near = names.into_iter().filter(|name| likeness(name) > ALIKE);
    near.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_stranger_is_not() {
        let names = || ["web-1", "web-22", "db"].map(String::from);
        assert_eq!(nearest(names(), "wbe-1"), Some("web-1".into()));
        assert_eq!(nearest(names(), "qqqq"), None);
    }
}
