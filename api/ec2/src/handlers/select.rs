//! Picks the things that a request names.

use tepui_core::{Error, Kind};

use crate::error::ApiError;

/// The things with these keys, or all when there are none.
///
/// # Errors
/// The kind's `NotFound` for the first key that nothing has.
pub(super) fn select<T, K: PartialEq + ToString>(
    kind: Kind,
    mut things: Vec<T>,
    keys: &[K],
    key_of: impl Fn(&T) -> K,
) -> Result<Vec<T>, ApiError> {
    if let Some(missing) = keys.iter().find(|key| !things.iter().any(|thing| key_of(thing) == **key)) {
        return Err(Error::not_found(kind, missing.to_string()).into());
    }
    things.retain(|thing| keys.is_empty() || keys.contains(&key_of(thing)));
    Ok(things)
}
