//! Short ways to say what could not be done.

use std::error::Error;
use std::path::Path;

use super::NetworkError;

/// Maps a refusal of the kernel or a tool; `what` is a verb phrase with the object's name.
pub(super) fn refused<E>(what: impl FnOnce() -> String) -> impl FnOnce(E) -> NetworkError
where
    E: Error + Send + Sync + 'static,
{
    move |source| NetworkError::Refused { what: what(), source: Box::new(source) }
}

/// Maps an error of the file at `path`.
pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> NetworkError {
    move |source| NetworkError::File { path: path.to_owned(), source }
}
