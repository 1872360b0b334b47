//! Finds what a text names: an id, a name, or the beginning of either.

use std::fmt::Display;

use tepui_core::{Error, Kind};

use crate::failure::Failure;

/// A shorter beginning says too little to be meant.
const SHORTEST_PREFIX: usize = 4;
/// So many candidates are listed.
const LISTED: usize = 10;

/// The one of `objects` (id and name) that `text` names. An id wins over a name, a name over a
/// beginning.
pub(crate) fn pick<Id: Display + Copy>(
    kind: Kind,
    text: &str,
    objects: impl IntoIterator<Item = (Id, Option<String>)>,
) -> Result<Id, Failure> {
    let objects: Vec<(Id, String, Option<String>)> =
        objects.into_iter().map(|(id, name)| (id, id.to_string(), name)).collect();
    if let Some((id, ..)) = objects.iter().find(|(_, id, _)| id == text) {
        return Ok(*id);
    }
    let named: Vec<_> = objects.iter().filter(|(_, _, name)| name.as_deref() == Some(text)).collect();
    if !named.is_empty() {
        return only(kind, text, &named);
    }
    let begins = |id: &str, name: Option<&str>| {
        id.starts_with(text) || name.is_some_and(|name| name.starts_with(text))
    };
    let begun: Vec<_> = objects
        .iter()
        .filter(|(_, id, name)| text.chars().count() >= SHORTEST_PREFIX && begins(id, name.as_deref()))
        .collect();
    only(kind, text, &begun)
}

fn only<Id: Copy>(kind: Kind, text: &str, found: &[&(Id, String, Option<String>)]) -> Result<Id, Failure> {
    match found {
        [] => Err(Error::not_found(kind, text.chars().take(128).collect::<String>()).into()),
        [(id, ..)] => Ok(*id),
        many => Err(Failure::Ambiguous {
            noun: kind.noun(),
            text: text.to_owned(),
            candidates: many.iter().take(LISTED).map(|(_, id, name)| shown(id, name.as_deref())).collect(),
        }),
    }
}

fn shown(id: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{id} ({name})"),
        None => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: [(&str, Option<&str>); 4] = [
        ("i-aaaa1111", Some("web")),
        ("i-aaaa2222", Some("web-2")),
        ("i-bbbb3333", Some("i-aaaa1111")),
        ("i-cccc4444", None),
    ];

    fn picked(text: &str) -> Result<&'static str, Failure> {
        let objects = OBJECTS.map(|(id, name)| (id, name.map(str::to_owned)));
        pick(Kind::Instance, text, objects)
    }

    #[test]
    fn an_id_wins_over_a_name_and_a_name_over_a_beginning() {
        assert_eq!(picked("i-aaaa1111").unwrap(), "i-aaaa1111");
        assert_eq!(picked("web").unwrap(), "i-aaaa1111");
        assert_eq!(picked("web-").unwrap(), "i-aaaa2222");
        assert_eq!(picked("i-cc").unwrap(), "i-cccc4444");
    }

    #[test]
    fn what_fits_several_lists_them_and_what_is_too_short_fits_none() {
        let Err(Failure::Ambiguous { candidates, .. }) = picked("i-aaaa") else { panic!("not ambiguous") };
        assert_eq!(candidates, ["i-aaaa1111 (web)", "i-aaaa2222 (web-2)", "i-bbbb3333 (i-aaaa1111)"]);
        for text in ["i-c", "", "nothing"] {
            assert!(matches!(picked(text), Err(Failure::Domain(Error::NotFound { .. }))), "{text}");
        }
    }
}
