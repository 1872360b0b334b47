//! Volumes on the host of the instance itself: the file is opened where it is.
//!
//! There is no server to shut anybody out. What has a file open is seen in `/proc`, and ends with the instance: an
//! export is gone once no process has its file open.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tepui_types::ExportId;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::export::{Known, all, refuse_second};
use crate::{Access, Backend, Connection, Export, ExportError, Found, Revoked, Source};

/// Between two looks at who has a file open.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The local backend. It knows its exports from its caller alone.
#[derive(Debug, Default)]
pub struct Local {
    exports: Mutex<Known>,
}

#[async_trait]
impl Backend for Local {
    async fn ensure(&self, export: &Export) -> Result<Source, ExportError> {
        let mut exports = self.exports.lock().await;
        refuse_second(export, &all(&exports))?;
        let path = export.path.clone();
        fs::metadata(&path).map_err(|source| ExportError::File { path: path.clone(), source })?;
        let wanted = (path.clone(), export.access);
        let found = exports.entry(export.id).or_insert_with(|| wanted.clone());
        if *found != wanted {
            let found = found.0.display().to_string();
            return Err(ExportError::Conflict { id: export.id, what: "file or access", found });
        }
        Ok(Source::File { path })
    }

    async fn revoke(&self, id: ExportId, patience: Duration) -> Result<Revoked, ExportError> {
        let deadline = Instant::now() + patience;
        loop {
            let holders = self.part(id).await?;
            if holders.is_empty() {
                return Ok(Revoked::Gone);
            }
            if Instant::now() >= deadline {
                return Ok(Revoked::StillConnected(holders));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn list(&self) -> Result<Vec<Found>, ExportError> {
        let mut found = all(&*self.exports.lock().await);
        for one in &mut found {
            let Some(path) = &one.path else { continue };
            one.connections =
                holders(path).map_err(|source| ExportError::File { path: path.clone(), source })?;
        }
        Ok(found)
    }
}

impl Local {
    /// Takes over an export that is to go and that a process before this one may have opened, so that it is gone only
    /// once nobody has its file open.
    pub async fn take_over(&self, id: ExportId, path: PathBuf) {
        self.exports.lock().await.entry(id).or_insert((path, Access::ReadWrite));
    }

    /// Forgets an export that nobody has open; else returns who has. Readers of one file are not told apart: the export of
    /// one goes while another's stays, as nothing of it could land, and the last one waits for them all.
    async fn part(&self, id: ExportId) -> Result<Vec<Connection>, ExportError> {
        let mut exports = self.exports.lock().await;
        let Some((path, access)) = exports.get(&id) else { return Ok(vec![]) };
        let others = exports.iter().filter(|(other, (file, _))| **other != id && file == path).count();
        let holders = match (access, others) {
            (Access::ReadOnly, 1..) => vec![],
            (Access::ReadOnly | Access::ReadWrite, _) => {
                holders(path).map_err(|source| ExportError::File { path: path.clone(), source })?
            }
        };
        if holders.is_empty() {
            exports.remove(&id);
        }
        Ok(holders)
    }
}

/// The processes that have a file open. A file that is gone is open to nobody by its name; whoever has it open still
/// writes what nobody reads.
fn holders(path: &Path) -> io::Result<Vec<Connection>> {
    let wanted = match fs::metadata(path) {
        Ok(found) => (found.dev(), found.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut holders = Vec::new();
    let is_it = |link: &Path| fs::metadata(link).is_ok_and(|found| (found.dev(), found.ino()) == wanted);
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that ended meanwhile has nothing open.
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        if descriptors.flatten().any(|descriptor| is_it(&descriptor.path())) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            holders.push(Connection { peer: format!("process {pid} ({})", name.trim_end()), address: None });
        }
    }
    Ok(holders)
}
