//! User data from a file.

use std::fs;
use std::path::Path;

use data_encoding::BASE64;

use crate::failure::{Failure, Result};

/// EC2's limit on raw user data.
const MOST_BYTES: usize = 16 * 1024;

/// The file's content in base64.
///
/// # Errors
/// It cannot be read or is too large.
pub(super) fn read(file: &Path) -> Result<String> {
    let bytes = fs::read(file).map_err(|e| Failure::io(format!("the user data {}", file.display()), &e))?;
    if bytes.len() > MOST_BYTES {
        return Err(Failure::usage(format!("the user data {} is too large", file.display()))
            .why(format!("it has {} bytes; at most {MOST_BYTES} are allowed", bytes.len()))
            .try_("a short script that fetches the rest")
            .docs("tepui help instance run"));
    }
    Ok(BASE64.encode(&bytes))
}
