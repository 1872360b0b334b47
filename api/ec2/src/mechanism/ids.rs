//! Ids as parameters.

use std::str::FromStr;

use tepui_core::{Error, Kind};
use tepui_types::ParseIdError;

use crate::error::ApiError;
use crate::wire::{Text, printable};

/// An id of this kind.
///
/// # Errors
/// The kind's `Malformed` code.
pub(crate) fn parse_id<Id: FromStr<Err = ParseIdError>>(kind: Kind, text: &str) -> Result<Id, ApiError> {
    text.parse().map_err(|_| Error::Malformed { kind, value: printable(text) }.into())
}

/// Ids of this kind; one bad id fails the whole call. An id named twice counts once.
pub(crate) fn parse_ids<Id>(kind: Kind, texts: &[Text]) -> Result<Vec<Id>, ApiError>
where
    Id: FromStr<Err = ParseIdError> + PartialEq,
{
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let id = parse_id(kind, text)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}
