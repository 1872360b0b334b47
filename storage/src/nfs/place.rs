//! The folder of one export: nothing but another name of its volume's file.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::ledger::Entry;
use crate::{Export, ExportError, durable};

/// Group's, whom the server takes every client of the export for.
const SERVED: u32 = 0o660;
/// Root's alone.
const KEPT: u32 = 0o600;

/// Where an export's folder is: in its volume's, with which it goes. Refuses what ganesha's configuration, the mount
/// protocol (RFC 1813, 5.1.2: 1024 bytes) or the log cannot carry.
pub(super) fn folder(export: &Export) -> Result<PathBuf, ExportError> {
    let id = export.id;
    let path = export.path.to_str().filter(|path| path.starts_with('/') && path.len() < 900);
    let path = path.filter(|path| !path.contains(|c: char| "\"\\()".contains(c) || c.is_control()));
    let parent = path.and_then(|path| Path::new(path).parent());
    parent.map(|parent| parent.join(id.to_string())).ok_or(ExportError::Invalid {
        id,
        field: "path",
        rule: "must be absolute, below 900 bytes of UTF-8, without quotes, backslash, parentheses and line end",
    })
}

/// Makes the folder, with the file in it, which is its group's then.
pub(super) fn make(entry: &Entry) -> Result<(), ExportError> {
    let served = entry.served();
    durable::make_directory(&entry.folder).map_err(|error| failed(&entry.folder, io::Error::other(error)))?;
    link(&entry.file, &served).map_err(|error| failed(&served, error))?;
    give(&entry.file, entry.group, SERVED).map_err(|error| failed(&entry.file, error))
}

/// Removes the folder. The file is nobody's then, unless somebody else has it too.
pub(super) fn remove(entry: &Entry, is_shared: bool) -> Result<(), ExportError> {
    if !is_shared {
        gone(give(&entry.file, 0, KEPT)).map_err(|error| failed(&entry.file, error))?;
    }
    gone(fs::remove_file(entry.served())).map_err(|error| failed(&entry.folder, error))?;
    gone(fs::remove_dir(&entry.folder)).map_err(|error| failed(&entry.folder, error))
}

/// Another name of the same file; one of another file, as after its volume was brought back, is replaced.
fn link(file: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(file, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let (wanted, found) = (fs::metadata(file)?, fs::metadata(name)?);
            if (wanted.dev(), wanted.ino()) == (found.dev(), found.ino()) {
                return Ok(());
            }
            fs::remove_file(name)?;
            fs::hard_link(file, name)
        }
        made => made,
    }
}

fn give(file: &Path, group: u32, mode: u32) -> io::Result<()> {
    chown(file, Some(0), Some(group))?;
    fs::set_permissions(file, Permissions::from_mode(mode))
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(path: &Path, source: io::Error) -> ExportError {
    ExportError::File { path: path.to_owned(), source }
}
