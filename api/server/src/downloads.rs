//! Image files on their way from a URL: one folder an import, with the bytes and the order that they
//! are fetched by, so that another process can go on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tepui_types::ImportTaskId;

use crate::files::{self, FileError, SECRET};

const ORDER: &str = "order.json";

/// All downloads.
pub(crate) struct Downloads {
    folder: PathBuf,
}

/// What an import from a URL was asked for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Who asked. What the key may do is looked up anew by whoever goes on with the import.
    pub(crate) access_key_id: String,
    pub(crate) request_id: String,
    /// With its credentials, if it carries any: nobody but the owner reads the file.
    pub(crate) url: String,
    pub(crate) login_user: String,
    pub(crate) public: bool,
}

impl Downloads {
    /// The downloads in `folder`.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, FileError> {
        files::passable_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes an order down; returns where its file is to come. Repeated, it changes nothing.
    pub(crate) fn begin(&self, task: ImportTaskId, order: &Order) -> Result<PathBuf, FileError> {
        let folder = self.of(task);
        files::passable_folder(&folder)?;
        let path = folder.join(ORDER);
        let text =
            serde_json::to_vec(order).map_err(io::Error::from).map_err(files::error("write", &path))?;
        files::write(&path, &text, SECRET)?;
        Ok(folder.join("image"))
    }

    /// The order of an import; `None` when it left none that can be read.
    pub(crate) fn order(&self, task: ImportTaskId) -> Option<Order> {
        let text = fs::read(self.of(task).join(ORDER)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Removes what an import left.
    pub(crate) fn remove(&self, task: ImportTaskId) {
        remove(&self.of(task));
    }

    /// Removes what all imports but these left.
    pub(crate) fn keep_only(&self, tasks: &[ImportTaskId]) -> Result<(), FileError> {
        let kept: Vec<_> = tasks.iter().map(|task| self.of(*task)).collect();
        let entries = fs::read_dir(&self.folder).map_err(files::error("list", &self.folder))?;
        for entry in entries {
            let path = entry.map_err(files::error("list", &self.folder))?.path();
            if !kept.contains(&path) {
                remove(&path);
            }
        }
        Ok(())
    }

    fn of(&self, task: ImportTaskId) -> PathBuf {
        self.folder.join(task.to_string())
    }
}

/// What stays behind is tried again at the next start.
fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %folder.display(), %error, "a download is not removed");
    }
}
