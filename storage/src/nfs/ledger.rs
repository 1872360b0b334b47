//! What this host has given out by NFS, in a file that outlives the host's boots: a handle names its export by a number
//! of 16 bits, so that the number must never lead to another export while a client may still hold the handle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tepui_types::ExportId;

use super::NfsError;
use crate::export::refuse_second;
use crate::{Access, Connection, Export, ExportError, Found};

/// Groups of served files are above it: beyond all that Debian, systemd and containers give to anybody
/// (systemd's "Users, Groups, UIDs and GIDs", which ends at 1879048191).
const GROUPS: u32 = 0x7465_0000;

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// It has its number. The ganesha that runs was never told of it, or has freed it since.
    Made,
    /// Ganesha was told of it, or is about to be.
    Open,
    /// It is to go.
    Closing,
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Ganesha's `Export_Id`, above 0.
    pub(super) number: u16,
    /// Who all its clients are on this host: only this export's file is that group's.
    pub(super) group: u32,
    /// The volume's raw file.
    pub(super) file: PathBuf,
    /// The folder that is exported, below the volume's own.
    pub(super) folder: PathBuf,
    /// Who is admitted.
    pub(super) address: IpAddr,
    /// Writes are refused.
    pub(super) read_only: bool,
    /// How far it is.
    pub(super) stage: Stage,
}

impl Entry {
    pub(super) fn access(&self) -> Access {
        if self.read_only { Access::ReadOnly } else { Access::ReadWrite }
    }

    /// The file as its clients name it.
    pub(super) fn served(&self) -> PathBuf {
        self.folder.join(self.file.file_name().unwrap_or_default())
    }
}

/// All exports that are not gone.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// The number given out last: numbers go round, so that the one that was free longest is next.
    last: u16,
    exports: BTreeMap<ExportId, Entry>,
}

impl Ledger {
    /// A host that never served has none. One that cannot be read is not taken for empty.
    pub(super) fn load(path: &Path) -> Result<Self, NfsError> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(file(path))?,
        };
        serde_json::from_slice(&text).map_err(|error| file(path)(error.into()))
    }

    /// Returns once a power cut leaves it as it is.
    pub(super) fn save(&self, path: &Path) -> Result<(), NfsError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let write = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut new = NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut new, self)?;
            new.as_file().sync_all()?;
            new.persist(path)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(file(path))
    }

    pub(super) fn get(&self, id: ExportId) -> Option<&Entry> {
        self.exports.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ExportId) -> Option<&mut Entry> {
        self.exports.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: ExportId) {
        self.exports.remove(&id);
    }

    pub(super) fn ids_at(&self, stage: Stage) -> Vec<ExportId> {
        self.exports.iter().filter(|(_, entry)| entry.stage == stage).map(|(id, _)| *id).collect()
    }

    /// What ganesha is to serve.
    pub(super) fn open(&self) -> impl Iterator<Item = (ExportId, &Entry)> {
        self.exports.iter().filter(|(_, entry)| entry.stage == Stage::Open).map(|(id, entry)| (*id, entry))
    }

    /// What ganesha is to serve and cannot, as where a pool is not mounted.
    pub(super) fn away(&self) -> BTreeSet<ExportId> {
        self.open().filter(|(_, entry)| !entry.served().exists()).map(|(id, _)| id).collect()
    }

    /// Whether something is to be gone, which ganesha says in its log.
    pub(super) fn awaits_an_end(&self) -> bool {
        !self.ids_at(Stage::Closing).is_empty() || !self.away().is_empty()
    }

    /// Whether somebody else has a file too.
    pub(super) fn shares(&self, id: ExportId, file: &Path) -> bool {
        self.exports.iter().any(|(other, entry)| *other != id && entry.file == file)
    }

    /// Gives an export its number, or finds it with the same content.
    pub(super) fn record(&mut self, export: &Export, folder: &Path) -> Result<(), ExportError> {
        refuse_second(export, &self.found())?;
        let (id, address) = (export.id, export.credential.address);
        let Some(entry) = self.exports.get(&id) else {
            let number = self.next().ok_or(NfsError::Numbers)?;
            let shared = self.exports.values().find(|entry| entry.file == export.path);
            let group = shared.map_or(GROUPS + u32::from(number), |entry| entry.group);
            let (file, folder) = (export.path.clone(), folder.to_owned());
            let read_only = export.access == Access::ReadOnly;
            self.last = number;
            let entry = Entry { number, group, file, folder, address, read_only, stage: Stage::Made };
            self.exports.insert(id, entry);
            return Ok(());
        };
        let other = |what, found: String| Err(ExportError::Conflict { id, what, found });
        match entry {
            Entry { file, .. } if *file != export.path => other("file", file.display().to_string()),
            entry if entry.access() != export.access => {
                other("access", if entry.read_only { "read-only".into() } else { "read-write".into() })
            }
            Entry { address: found, .. } if *found != address => other("address", found.to_string()),
            Entry { stage: Stage::Closing, .. } => other("state", "closing".into()),
            Entry { stage: Stage::Made | Stage::Open, .. } => Ok(()),
        }
    }

    /// The next number that no export has, nor its group, which readers of one file share; 0 is ganesha's own.
    fn next(&self) -> Option<u16> {
        let is_free = |number: &u16| {
            let group = GROUPS + u32::from(*number);
            self.exports.values().all(|entry| entry.number != *number && entry.group != group)
        };
        let upwards = (self.last..u16::MAX).map(|last| last + 1);
        upwards.chain(1..=self.last).find(is_free)
    }

    pub(super) fn found(&self) -> Vec<Found> {
        let found = |(id, entry): (&ExportId, &Entry)| {
            let peer = || Connection { peer: "an NFS client".into(), address: Some(entry.address) };
            Found {
                name: entry.folder.display().to_string(),
                id: Some(*id),
                path: Some(entry.file.clone()),
                access: entry.access(),
                open: entry.stage == Stage::Open,
                // Ganesha does not say who has an export open; while one closes a call of it is under way.
                connections: (entry.stage == Stage::Closing).then(peer).into_iter().collect(),
                others: vec![],
            }
        };
        self.exports.iter().map(found).collect()
    }
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> NfsError {
    move |source| NfsError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credential;

    fn export(number: u128, access: Access) -> Export {
        let credential = Credential { secret: "".into(), address: [10, 0, 0, 1].into() };
        let path = "/pool/disk.raw".into();
        Export {
            id: ExportId::from_random(number),
            volume: tepui_types::VolumeId::from_random(1),
            path,
            access,
            credential,
        }
    }

    #[test]
    fn numbers_go_round_and_are_never_shared() {
        let mut ledger = Ledger { last: u16::MAX - 1, ..Ledger::default() };
        let mut give = |number, access| {
            let export = export(number, access);
            ledger.record(&export, Path::new("/pool/e")).unwrap();
            let entry = ledger.get(export.id).unwrap();
            (entry.number, entry.group - GROUPS)
        };
        let readers = [1, 2, 3].map(|number| give(number, Access::ReadOnly));
        assert_eq!(readers, [(u16::MAX, 65535), (1, 65535), (2, 65535)], "readers of one file are one group");
        ledger.remove(ExportId::from_random(2));
        assert_eq!(ledger.next(), Some(3), "the number that was free longest");
        ledger.last = 0;
        assert_eq!(ledger.next(), Some(1));
        ledger.last = 1;
        assert_eq!(ledger.next(), Some(3), "2 is in use");
    }

    #[test]
    fn it_is_found_again_and_never_taken_for_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/exports.json");
        let mut ledger = Ledger::load(&path).unwrap();
        ledger.record(&export(1, Access::ReadWrite), Path::new("/pool/e")).unwrap();
        ledger.save(&path).unwrap();
        let again = Ledger::load(&path).unwrap();
        assert_eq!((again.last, &again.exports), (1, &ledger.exports));
        fs::write(&path, "{").unwrap();
        let error = Ledger::load(&path).unwrap_err().to_string();
        assert!(error.contains("exports.json"), "{error}");
    }
}
