//! What the agent knows although the control plane is away: the parts of the desired state, one file
//! each, and the progress of each placement, one file each. Everything is sealed, mode 0600, and
//! durable before a method returns.
//!
//! A file that is torn or was changed does not stop the agent: every guest runs on whatever it said, and the
//! control plane has the part. It is refused by name, and asked for again; until it comes nothing is removed
//! that it may have wanted. What was done for a placement nobody else knows: then its disk counts as made, so
//! that it is never given a fresh one, a guest that runs is taken as it is, and one that is off stays off until
//! a start that is asked for later.

mod accept;
mod seal;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tepui_types::agent::{
    HavePart, NodePart, Part, PartBody, PartKey, PlacementPart, Power, RefusedPart, StoragePart, VpcPart,
};
use tepui_types::{Digest, Epoch, Generation, NodeId, PlacementId, VpcId};

use crate::durable;
use crate::plan::Progress;

pub use accept::{Verdict, verdict};
pub use seal::Seal;

/// What the name of a storage part's file begins with; the rest is its node's id, as of the node's own part.
const STORAGE: &str = "storage-";
/// Of every file: only root reads what is wanted of guests.
const MODE: u32 = 0o600;

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
    /// Pools and what is in them.
    Storage(Arc<StoragePart>),
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
    /// What its pools hold and serve; `None` on a node that never had one.
    pub storage: Option<Arc<StoragePart>>,
    /// The parts this is made of.
    pub parts: Vec<HavePart>,
    /// Parts whose files are damaged: what they want is not known until they come again.
    pub damaged: BTreeSet<PartKey>,
}

impl Wanted {
    /// Whether the node's part of this epoch is here, whole: only then is a placement that it does not name
    /// one that the control plane does not know.
    pub fn names_everyone(&self) -> bool {
        let is_node = |key: &PartKey| matches!(key, PartKey::Node(_));
        self.parts.iter().any(|part| is_node(&part.key)) && !self.damaged.iter().any(is_node)
    }
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
    damaged: BTreeSet<PartKey>,
    /// Absent parts that were dropped while this process runs.
    dropped: BTreeMap<PartKey, (Epoch, Generation)>,
}

impl Ledger {
    /// Opens the ledger in `dir`, which is made if it is missing. What a write that was cut off left is
    /// removed, so only the one agent of the host may do this.
    pub fn open(dir: &Path, seal: Seal) -> Result<Self, LedgerError> {
        fs::create_dir_all(dir).map_err(|source| LedgerError::File { path: dir.into(), source })?;
        Self::load(dir, seal, durable::remove)
    }

    /// Reads the ledger in `dir` and changes nothing: its agent may be at work.
    pub fn look(dir: &Path, seal: Seal) -> Result<Self, LedgerError> {
        Self::load(dir, seal, |_| Ok(()))
    }

    /// The newest epoch seen.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What the poll says is here. A damaged part is named with a generation that is older than every one,
    /// so that it comes again, or its absence does.
    pub fn have(&self) -> Vec<HavePart> {
        let damaged =
            self.damaged.iter().map(|key| HavePart { key: *key, generation: Generation::default() });
        self.current().chain(damaged).collect()
    }

    /// The parts of the current epoch. Those of an older one still hold, but their generations mean nothing
    /// any more.
    fn current(&self) -> impl Iterator<Item = HavePart> {
        let current = self.parts.values().filter(|part| part.epoch == self.epoch);
        current.map(|part| HavePart { key: part.key, generation: part.generation })
    }

    /// Drops the absent parts among those that the control plane was told were acted on. A reply to a poll
    /// from before this must not be taken any more where it says less than what was dropped; so that there
    /// is none after a restart, no poll may be under way meanwhile.
    pub fn drop_absent(&mut self, acknowledged: &[HavePart]) -> Result<(), LedgerError> {
        for part in acknowledged {
            let is_over = |held: &&StoredPart| {
                held.body == StoredBody::Absent
                    && held.epoch == self.epoch
                    && held.generation == part.generation
            };
            if self.parts.get(&part.key).filter(is_over).is_none() {
                continue;
            }
            let path = self.dir.join(part_name(part.key));
            durable::remove(&path).map_err(|source| LedgerError::File { path, source })?;
            self.parts.remove(&part.key);
            self.dropped.insert(part.key, (self.epoch, part.generation));
        }
        Ok(())
    }

    /// What is wanted now.
    pub fn wanted(&self) -> Wanted {
        let damaged = self.damaged.clone();
        let mut wanted = Wanted { parts: self.current().collect(), damaged, ..Wanted::default() };
        for part in self.parts.values() {
            match &part.body {
                StoredBody::Node(node) => wanted.node = Arc::clone(node),
                StoredBody::Vpc(vpc) => {
                    wanted.vpcs.insert(vpc.id, Arc::clone(vpc));
                }
                StoredBody::Storage(storage) => wanted.storage = Some(Arc::clone(storage)),
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
        let mut refused = Vec::new();
        let mut news = BTreeMap::new();
        for part in parts {
            let held = news.get(&part.key).or_else(|| self.parts.get(&part.key));
            let verdict = match self.dropped.get(&part.key) {
                Some(dropped) if held.is_none() && (epoch, part.generation) <= *dropped => Verdict::Refuse(
                    format!("it is not newer than generation {}, which was absent", dropped.1),
                ),
                Some(_) | None => verdict(node, self.epoch, held, epoch, &part),
            };
            match verdict {
                Verdict::Accept => {
                    news.insert(part.key, stored(epoch, part));
                }
                Verdict::Known => {}
                Verdict::Refuse(reason) => {
                    let part = HavePart { key: part.key, generation: part.generation };
                    tracing::error!(?part, %reason, "refused a part of the desired state");
                    refused.push(RefusedPart { part, reason });
                }
            }
        }
        let changed = !news.is_empty();
        self.store(epoch, news)?;
        Ok(Taken { changed, refused })
    }

    fn store(&mut self, epoch: Epoch, news: BTreeMap<PartKey, StoredPart>) -> Result<(), LedgerError> {
        if news.is_empty() {
            return Ok(());
        }
        // Networks before the node's part, which sorts first: a crash between two renames must not leave
        // a placement that is wanted in a network which does not know it yet.
        let parts = news.values().rev();
        let files: Vec<_> =
            parts.map(|part| self.sealed(&part_name(part.key), part)).collect::<Result<_, _>>()?;
        let failed = |source| LedgerError::File { path: self.dir.clone(), source };
        durable::write_all(&files, MODE).map_err(failed)?;
        self.epoch = self.epoch.max(epoch);
        for key in news.keys() {
            self.damaged.remove(key);
            self.dropped.remove(key);
        }
        self.parts.extend(news);
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
        let (path, sealed) = self.sealed(name, content)?;
        durable::write(&path, &sealed, MODE).map_err(|source| LedgerError::File { path, source })
    }

    fn sealed(&self, name: &str, content: &impl Serialize) -> Result<(PathBuf, Vec<u8>), LedgerError> {
        let path = self.dir.join(name);
        let plain = serde_json::to_vec(content)
            .map_err(|source| LedgerError::Content { path: path.clone(), source })?;
        let sealed =
            self.seal.seal(name, &plain).ok_or_else(|| LedgerError::Sealed { path: path.clone() })?;
        Ok((path, sealed))
    }

    fn load(dir: &Path, seal: Seal, leftover: fn(&Path) -> io::Result<()>) -> Result<Self, LedgerError> {
        let (parts, progress) = (BTreeMap::new(), BTreeMap::new());
        let (damaged, dropped) = (BTreeSet::new(), BTreeMap::new());
        let mut ledger =
            Self { dir: dir.to_owned(), seal, epoch: Epoch::default(), parts, progress, damaged, dropped };
        let failed = |source| LedgerError::File { path: dir.to_owned(), source };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some() {
                leftover(&path).map_err(|source| LedgerError::File { path, source })?;
            } else {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                match ledger.load_file(&path, &name) {
                    Err(error @ LedgerError::File { .. }) => return Err(error),
                    Err(error) => ledger.note_damage(&name, &error),
                    Ok(()) => {}
                }
            }
        }
        ledger.count_lost();
        Ok(ledger)
    }

    /// What was wanted of a placement whose record is lost counts as done: so that only what is wanted later
    /// starts or resets its guest.
    fn count_lost(&mut self) {
        for placement in &self.wanted().node.placements {
            if let Some(progress) = self.progress.get_mut(&placement.id).filter(|progress| progress.lost)
                && let PlacementPart::Present(spec) = &placement.wanted
                && let Power::Running { start_seq, reboot_seq } = spec.power
            {
                (progress.start_seq, progress.reboot_seq) = (start_seq, reboot_seq);
            }
        }
    }

    /// A placement's file is named by its id; every other one is a part.
    fn load_file(&mut self, path: &Path, name: &str) -> Result<(), LedgerError> {
        if let Ok(id) = name.parse::<PlacementId>() {
            let progress = self.read(path, name)?;
            self.progress.insert(id, progress);
        } else {
            let part: StoredPart = self.read(path, name)?;
            self.epoch = self.epoch.max(part.epoch);
            self.parts.insert(part.key, part);
        }
        Ok(())
    }

    fn note_damage(&mut self, name: &str, error: &LedgerError) {
        let message = crate::chain(error);
        tracing::error!(
            message,
            "a file of the ledger is damaged; the control plane is asked for what it said"
        );
        if let Ok(id) = name.parse::<PlacementId>() {
            self.progress.insert(id, Progress::lost());
        }
        self.damaged.extend(name.parse().map(PartKey::Node).ok());
        self.damaged.extend(name.parse().map(PartKey::Vpc).ok());
        let storage = name.strip_prefix(STORAGE).and_then(|id| id.parse().ok());
        self.damaged.extend(storage.map(PartKey::Storage));
    }

    fn read<T: DeserializeOwned>(&self, path: &Path, name: &str) -> Result<T, LedgerError> {
        let sealed = fs::read(path).map_err(|source| LedgerError::File { path: path.into(), source })?;
        let plain =
            self.seal.open_sealed(name, &sealed).ok_or_else(|| LedgerError::Sealed { path: path.into() })?;
        serde_json::from_slice(&plain).map_err(|source| LedgerError::Content { path: path.into(), source })
    }
}

fn stored(epoch: Epoch, part: Part) -> StoredPart {
    StoredPart {
        epoch,
        key: part.key,
        generation: part.generation,
        digest: part.content_digest(),
        body: match part.body {
            PartBody::Node(node) => StoredBody::Node(Arc::new(node)),
            PartBody::Vpc(vpc) => StoredBody::Vpc(Arc::new(vpc)),
            PartBody::Storage(storage) => StoredBody::Storage(Arc::new(storage)),
            PartBody::Absent => StoredBody::Absent,
        },
    }
}

fn part_name(key: PartKey) -> String {
    match key {
        PartKey::Node(id) => id.to_string(),
        PartKey::Vpc(id) => id.to_string(),
        PartKey::Storage(id) => format!("{STORAGE}{id}"),
    }
}
