//! What the agent knows although the control plane is away: the parts of the desired state, one file
//! each, and the progress of each placement, one file each. Everything is sealed, mode 0600, and
//! durable before a method returns.
//!
//! A file that cannot be opened stops the agent from starting: acting on half of the desired state
//! would be a guess.

mod accept;
mod seal;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tepui_types::agent::{HavePart, NodePart, Part, PartBody, PartKey, RefusedPart, VpcPart};
use tepui_types::{Digest, Epoch, Generation, NodeId, PlacementId, VpcId};

use crate::durable;
use crate::plan::Progress;

pub use accept::{Verdict, verdict};
pub use seal::Seal;

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused.
    #[error("could not read or write {path}")]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file was changed, moved, or sealed with another key.
    #[error("{path} cannot be opened with this host's sealing key")]
    Sealed {
        /// Which file.
        path: PathBuf,
    },
    /// The content is of another version.
    #[error("{path} does not hold what its name says")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// A part with the epoch it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredPart {
    /// The epoch.
    pub epoch: Epoch,
    /// The name.
    pub key: PartKey,
    /// The generation.
    pub generation: Generation,
    /// Digest of the body as it came.
    pub digest: Digest,
    /// The content.
    pub body: StoredBody,
}

/// The content of a [`StoredPart`], shared with everyone who acts on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StoredBody {
    /// Placements.
    Node(Arc<NodePart>),
    /// A network.
    Vpc(Arc<VpcPart>),
    /// No longer carried.
    Absent,
}

/// What is wanted, as one consistent look at the ledger.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// The node's placements.
    pub node: Arc<NodePart>,
    /// The VPCs to carry.
    pub vpcs: BTreeMap<VpcId, Arc<VpcPart>>,
    /// The parts this is made of.
    pub parts: Vec<HavePart>,
}

/// What became of a poll's parts.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    /// Whether anything is new.
    pub changed: bool,
    /// What was refused.
    pub refused: Vec<RefusedPart>,
}

/// The ledger, read once and kept in memory.
pub struct Ledger {
    dir: PathBuf,
    seal: Seal,
    epoch: Epoch,
    parts: BTreeMap<PartKey, StoredPart>,
    progress: BTreeMap<PlacementId, Progress>,
}

impl Ledger {
    /// Reads the ledger in `dir`, which is made if it is missing.
    pub fn open(dir: &Path, seal: Seal) -> Result<Self, LedgerError> {
        let mut ledger = Self {
            dir: dir.to_owned(),
            seal,
            epoch: Epoch::default(),
            parts: BTreeMap::new(),
            progress: BTreeMap::new(),
        };
        ledger.load()?;
        Ok(ledger)
    }

    /// The newest epoch seen.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The parts of the current epoch, for the poll. Those of an older one still hold, but their
    /// generations mean nothing any more.
    pub fn have(&self) -> Vec<HavePart> {
        let current = self.parts.values().filter(|part| part.epoch == self.epoch);
        current.map(|part| HavePart { key: part.key, generation: part.generation }).collect()
    }

    /// What is wanted now.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted { parts: self.have(), ..Wanted::default() };
        for part in self.parts.values() {
            match &part.body {
                StoredBody::Node(node) => wanted.node = Arc::clone(node),
                StoredBody::Vpc(vpc) => {
                    wanted.vpcs.insert(vpc.id, Arc::clone(vpc));
                }
                StoredBody::Absent => {}
            }
        }
        wanted
    }

    /// The progress of every placement that has any.
    pub fn progress(&self) -> &BTreeMap<PlacementId, Progress> {
        &self.progress
    }

    /// Takes the parts of a poll's reply: what is news is durable when this returns.
    pub fn take(&mut self, node: NodeId, epoch: Epoch, parts: Vec<Part>) -> Result<Taken, LedgerError> {
        let mut taken = Taken::default();
        for part in parts {
            match verdict(node, self.epoch, self.parts.get(&part.key), epoch, &part) {
                Verdict::Accept => {
                    self.store(epoch, part)?;
                    taken.changed = true;
                }
                Verdict::Known => {}
                Verdict::Refuse(reason) => {
                    let refused = HavePart { key: part.key, generation: part.generation };
                    tracing::error!(part = ?refused, %reason, "refused a part of the desired state");
                    taken.refused.push(RefusedPart { part: refused, reason });
                }
            }
        }
        Ok(taken)
    }

    fn store(&mut self, epoch: Epoch, part: Part) -> Result<(), LedgerError> {
        let stored = StoredPart {
            epoch,
            key: part.key,
            generation: part.generation,
            digest: part.content_digest(),
            body: match part.body {
                PartBody::Node(node) => StoredBody::Node(Arc::new(node)),
                PartBody::Vpc(vpc) => StoredBody::Vpc(Arc::new(vpc)),
                PartBody::Absent => StoredBody::Absent,
            },
        };
        self.write(&part_name(part.key), &stored)?;
        self.epoch = self.epoch.max(epoch);
        self.parts.insert(part.key, stored);
        Ok(())
    }

    /// Notes the progress of a placement, or forgets it.
    pub fn record(&mut self, id: PlacementId, progress: Option<Progress>) -> Result<(), LedgerError> {
        if self.progress.get(&id) == progress.as_ref() {
            return Ok(());
        }
        match progress {
            Some(progress) => {
                self.write(&id.to_string(), &progress)?;
                self.progress.insert(id, progress);
            }
            None => {
                let path = self.dir.join(id.to_string());
                durable::remove(&path).map_err(|source| LedgerError::File { path, source })?;
                self.progress.remove(&id);
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &impl Serialize) -> Result<(), LedgerError> {
        let path = self.dir.join(name);
        let plain = serde_json::to_vec(content)
            .map_err(|source| LedgerError::Content { path: path.clone(), source })?;
        let sealed =
            self.seal.seal(name, &plain).ok_or_else(|| LedgerError::Sealed { path: path.clone() })?;
        durable::write(&path, &sealed, 0o600).map_err(|source| LedgerError::File { path, source })
    }

    fn load(&mut self) -> Result<(), LedgerError> {
        let dir = self.dir.clone();
        let failed = |source| LedgerError::File { path: dir.clone(), source };
        fs::create_dir_all(&dir).map_err(failed)?;
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some() {
                durable::remove(&path).map_err(|source| LedgerError::File { path, source })?;
            } else {
                self.load_file(&path)?;
            }
        }
        Ok(())
    }

    /// A placement's file is named by its id; every other one is a part.
    fn load_file(&mut self, path: &Path) -> Result<(), LedgerError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Ok(id) = name.parse::<PlacementId>() {
            let progress = self.read(path, &name)?;
            self.progress.insert(id, progress);
        } else {
            let part: StoredPart = self.read(path, &name)?;
            self.epoch = self.epoch.max(part.epoch);
            self.parts.insert(part.key, part);
        }
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, path: &Path, name: &str) -> Result<T, LedgerError> {
        let sealed = fs::read(path).map_err(|source| LedgerError::File { path: path.into(), source })?;
        let plain =
            self.seal.open_sealed(name, &sealed).ok_or_else(|| LedgerError::Sealed { path: path.into() })?;
        serde_json::from_slice(&plain).map_err(|source| LedgerError::Content { path: path.into(), source })
    }
}

fn part_name(key: PartKey) -> String {
    match key {
        PartKey::Node(id) => id.to_string(),
        PartKey::Vpc(id) => id.to_string(),
    }
}
