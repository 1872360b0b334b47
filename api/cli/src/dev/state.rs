//! What a dev cloud knows of itself: `DIR/state.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Hypervisor;
use super::process::Process;
use crate::failure::{Failure, Result};

/// The first administrator, as `tepui-api init` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Credentials {
    pub(super) project_id: String,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) token: String,
}

/// Written before what it names is made, so that nothing is ever forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) network: u8,
    pub(super) listen: SocketAddr,
    pub(super) nodes: u16,
    pub(super) hypervisor: Hypervisor,
    pub(super) credentials: Option<Credentials>,
    /// Hosts that have joined.
    pub(super) joined: Vec<u16>,
    /// Daemons by name.
    pub(super) processes: BTreeMap<String, Process>,
}

impl State {
    /// Reads it; `None` when there is none.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("state.json");
        match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Failure::io(path.display(), &e)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| Failure::failed(format!("{} is damaged: {e}", path.display()))),
        }
    }

    /// Writes it.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Failure::failed(e.to_string()))?;
        write_secret(&dir.join("state.json"), &text)
    }

    /// Whether a daemon runs.
    pub(super) fn runs(&self, daemon: &str) -> bool {
        self.processes.get(daemon).is_some_and(Process::runs)
    }
}

/// Replaces a file that only root may read; a crash leaves the old or the new one.
pub(super) fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(content)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        Ok(())
    };
    write().map_err(|e: std::io::Error| Failure::io(path.display(), &e))
}
