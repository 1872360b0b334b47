//! Serial consoles: one file for each placement, uploaded when somebody waits for it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tepui_types::{NodeId, PlacementId};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use crate::failpoint::Passed;
use crate::{Cloud, Error, limits};

/// How long a reader waits for its node.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of a serial console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleOutput {
    /// When it was uploaded.
    pub at: Timestamp,
    /// At most 64 KiB, as the guest wrote them.
    pub bytes: Vec<u8>,
}

/// A file that nobody seems to need is kept so long before it is removed: an upload under way, or a
/// placement that was made after the rows were read, must not lose its own.
const GRACE: Duration = Duration::from_secs(3600);

/// Stored consoles, and who waits for new ones.
pub(crate) struct Consoles {
    dir: PathBuf,
    wanted: Mutex<HashMap<PlacementId, Wanted>>,
    /// Files that nobody needed when they were looked at, and since when, by the clock that never jumps.
    marked: Mutex<HashMap<OsString, Timestamp>>,
}

/// A console that somebody waits for.
struct Wanted {
    node: NodeId,
    /// Counts uploads; its receivers are the readers.
    uploads: watch::Sender<u64>,
    /// A poll's reply has named it. Naming it in each reply would make the agent poll in a circle.
    handed_out: bool,
}

impl Consoles {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, wanted: Mutex::default(), marked: Mutex::default() }
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<PlacementId, Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self, node: NodeId, placement: PlacementId) -> watch::Receiver<u64> {
        let mut wanted = self.wanted();
        let new = || Wanted { node, uploads: watch::Sender::new(0), handed_out: false };
        let entry = wanted.entry(placement).or_insert_with(new);
        entry.handed_out = false;
        entry.uploads.subscribe()
    }

    /// The consoles of a node that somebody waits for and no reply has named yet.
    pub(crate) fn hand_out(&self, node: NodeId) -> Vec<PlacementId> {
        let mut wanted = self.wanted();
        // A reader that gave up no longer holds a receiver.
        wanted.retain(|_, one| one.uploads.receiver_count() > 0);
        let due = wanted.iter_mut().filter(|(_, one)| one.node == node && !one.handed_out);
        let mut ids: Vec<_> = due
            .map(|(id, one)| {
                one.handed_out = true;
                *id
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    fn uploaded(&self, placement: PlacementId) {
        if let Some(one) = self.wanted().remove(&placement) {
            one.uploads.send_modify(|count| *count += 1);
        }
    }

    /// What was stored last.
    pub(crate) async fn read(&self, placement: PlacementId) -> Result<Option<ConsoleOutput>, Error> {
        let path = self.dir.join(placement.to_string());
        let bytes = match tokio::fs::read(&path).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::internal(format!("{}: {error}", path.display()))),
        };
        let written = tokio::fs::metadata(&path).await.and_then(|meta| meta.modified());
        let at = written.map_err(Error::internal)?.try_into().map_err(Error::internal)?;
        Ok(Some(ConsoleOutput { at, bytes }))
    }

    /// Forgets the console of a placement that is gone.
    pub(crate) async fn remove(&self, placement: PlacementId) {
        let path = self.dir.join(placement.to_string());
        if let Err(error) = tokio::fs::remove_file(&path).await
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "console not removed");
        }
    }

    /// The files of all consoles.
    fn names(&self) -> std::io::Result<Vec<OsString>> {
        entries(&self.dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Marks the files that are not those of a placement of `live`, and removes those that have been
    /// marked for the grace time. Returns how many it removed.
    fn sweep(&self, names: Vec<OsString>, live: &HashSet<String>, now: Timestamp) -> std::io::Result<u32> {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut still, mut removed) = (HashMap::new(), 0);
        for name in names {
            if name.to_str().is_some_and(|name| live.contains(name)) {
                continue;
            }
            let since = marked.get(&name).copied().unwrap_or(now);
            let due = Duration::try_from(now.duration_since(since)).is_ok_and(|marked| marked >= GRACE);
            if due && removed_file(&self.dir.join(&name)) {
                removed += 1;
            } else {
                still.insert(name, since);
            }
        }
        *marked = still;
        Ok(removed)
    }

    /// Stores under a temporary name first, so that no reader sees half of one.
    async fn write(&self, placement: PlacementId, nonce: u128, bytes: &[u8]) -> std::io::Result<()> {
        tokio::fs::create_dir_all(&self.dir).await?;
        let temporary = self.dir.join(format!(".{placement}.{nonce:x}"));
        let mut file = tokio::fs::File::create_new(&temporary).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        tokio::fs::rename(&temporary, self.dir.join(placement.to_string())).await
    }
}

/// What cannot be removed is told, and keeps nothing else from being removed.
fn removed_file(path: &Path) -> bool {
    let removed = std::fs::remove_file(path);
    if let Err(error) = &removed {
        tracing::warn!(path = %path.display(), %error, "what nobody needs is not removed");
    }
    removed.is_ok()
}

/// What is in a folder; nothing when it is not there.
fn entries(dir: &Path) -> std::io::Result<impl Iterator<Item = std::io::Result<DirEntry>>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

impl Cloud {
    /// Removes consoles whose placement is gone: those of expunged nodes, and what a crash left.
    /// Found at one call, they go at one that comes an hour later. Returns how many went.
    ///
    /// # Errors
    /// Those of the store, or `Internal` for the folder.
    pub async fn sweep_consoles(&self) -> Result<u32, Error> {
        let names = self.consoles.names().map_err(Error::internal)?;
        let placements: Vec<PlacementId> =
            names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
        let live = self.db.live_placements(&placements).await?;
        let live = live.iter().map(PlacementId::to_string).collect();
        self.consoles.sweep(names, &live, self.steady()).map_err(Error::internal)
    }

    /// Asks a node for a console and waits until it came or the time is over.
    pub(crate) async fn request_console(&self, node: NodeId, placement: PlacementId) {
        let mut uploads = self.consoles.subscribe(node, placement);
        self.wakes.wake(Passed::NOTHING_DURABLE, [node]);
        let _late = tokio::time::timeout(PATIENCE, uploads.changed()).await;
    }

    /// Takes a console that a node uploads. Bytes before the last 64 KiB are cut off.
    ///
    /// # Errors
    /// `NotFound` when the placement is not on this node, `Internal` when it cannot be stored.
    pub async fn put_console(&self, node: NodeId, placement: PlacementId, bytes: &[u8]) -> Result<(), Error> {
        if !self.is_on_node(node, placement).await? {
            return Err(Error::not_found(crate::Kind::Instance, placement));
        }
        let end = &bytes[bytes.len().saturating_sub(limits::CONSOLE_BYTES)..];
        self.consoles.write(placement, self.random(), end).await.map_err(Error::internal)?;
        self.consoles.uploaded(placement);
        Ok(())
    }

    async fn is_on_node(&self, node: NodeId, placement: PlacementId) -> Result<bool, Error> {
        let turn = self.host_turn().await?;
        let state = self.db.node_part(node).await?;
        drop(turn);
        let mut placements = state.iter().flat_map(|s| &s.records).filter_map(|r| r.placement.as_ref());
        Ok(placements.any(|p| p.id == placement))
    }
}
