//! Pools on this host's file systems.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tepui_storage::iscsi::{self, Tgt};
use tepui_storage::nfs::{self, Ganesha};
use tepui_storage::{Local, Pool, PoolError, Watermarks};
use tepui_types::agent::{
    ExportObserved, ExportState, PoolBackend, PoolObserved, PoolPart, PoolState, SnapshotObserved,
    SnapshotPart, StorageObserved, StoragePart, StoredState, VolumeObserved, VolumePart, WantedSnapshot,
    WantedVolume,
};
use tepui_types::{PoolId, Timestamp};
use tokio::sync::Mutex;

use super::Storage;
use super::exports::Served;
use super::transfers::{Transfer, Transfers, source_elsewhere};

/// What was removed can be found in the trash for so long.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// The pools of this host.
pub struct LocalPools {
    clock: fn() -> Timestamp,
    open: Mutex<BTreeMap<PoolId, OpenPool>>,
    pub(super) served: Mutex<Served>,
    pub(super) tgt: Tgt,
    pub(super) ganesha: Ganesha,
    pub(super) local: Local,
    transfers: Transfers,
}

/// A pool that this process holds.
#[derive(Clone)]
struct OpenPool {
    part: PoolPart,
    pool: Arc<Pool>,
}

impl LocalPools {
    /// Pools that are served by a tgtd as `iscsi` says, or a ganesha as `nfs` does. `clock` dates what is removed.
    pub fn new(iscsi: iscsi::Settings, nfs: nfs::Settings, clock: fn() -> Timestamp) -> Self {
        Self {
            clock,
            open: Mutex::default(),
            served: Mutex::default(),
            tgt: Tgt::new(iscsi),
            ganesha: Ganesha::new(nfs),
            local: Local::default(),
            transfers: Transfers::default(),
        }
    }

    /// Opens what the part names and lets go of what it does not; how each pool is.
    async fn open(&self, parts: &[PoolPart]) -> (BTreeMap<PoolId, OpenPool>, Vec<PoolObserved>) {
        let mut open = self.open.lock().await;
        open.retain(|_, held| parts.contains(&held.part));
        let mut seen = Vec::new();
        for part in parts {
            let state = match open.get(&part.id) {
                Some(held) => usage(held.clone()).await,
                None => match hold(part.clone()).await {
                    Ok(held) => {
                        open.insert(part.id, held.clone());
                        usage(held).await
                    }
                    Err(error) => failed(&error),
                },
            };
            seen.push(PoolObserved { id: part.id, state });
        }
        (open.clone(), seen)
    }

    /// Makes the snapshots as they are wanted. Of one that is still being copied from another pool nothing is said.
    async fn snapshots(
        &self,
        open: &BTreeMap<PoolId, OpenPool>,
        wanted: &[WantedSnapshot],
        now: Timestamp,
    ) -> Vec<SnapshotObserved> {
        self.transfers.retain(wanted).await;
        let mut due = Vec::new();
        let mut here = Vec::new();
        for one in wanted {
            match transfer(open, one).await {
                Some(transfer) => due.push(transfer),
                None => here.push(one.clone()),
            }
        }
        let mut seen = work(open.clone(), here, move |pool, one| snapshot(pool, one, now)).await;
        seen.extend(self.transfers.apply(due).await);
        seen
    }
}

/// What is to be copied from another pool and is not there yet, where both can be used.
async fn transfer(open: &BTreeMap<PoolId, OpenPool>, wanted: &WantedSnapshot) -> Option<Transfer> {
    let source = source_elsewhere(wanted)?;
    let (id, to) = (wanted.id, Arc::clone(&open.get(&wanted.pool_id)?.pool));
    let from = Arc::clone(&open.get(&source.pool_id)?.pool);
    let pool = Arc::clone(&to);
    let found = tokio::task::spawn_blocking(move || pool.snapshot(id)).await;
    let is_missing = matches!(found, Ok(Ok(None)));
    is_missing.then_some(Transfer { id, to, from, source: source.snapshot_id })
}

#[async_trait]
impl Storage for LocalPools {
    async fn apply(&self, part: &StoragePart) -> StorageObserved {
        let (open, pools) = self.open(&part.pools).await;
        // Snapshots first: one that is wanted is taken before its volume goes, and is there for a volume that is
        // made from it. Exports go before the volumes that they serve.
        let now = (self.clock)();
        let snapshots = self.snapshots(&open, &part.snapshots, now).await;
        let made: Vec<_> =
            part.volumes.iter().filter(|one| one.wanted != VolumePart::Absent).cloned().collect();
        let mut volumes = work(open.clone(), made, move |pool, one| volume(pool, one, now)).await;
        let served = |id: &PoolId| open.get(id).map(|held| (held.part.backend, Arc::clone(&held.pool)));
        let exports = self.serve(part, served).await;
        volumes.iter_mut().for_each(|seen| unless_unserved(seen, part, &exports));
        let is_served = |one: &WantedVolume| {
            part.exports.iter().any(|export| {
                let gone = exports.iter().any(|seen| seen.id == export.id && seen.state == ExportState::Gone);
                export.volume_id == one.id && !gone
            })
        };
        let gone: Vec<_> = part
            .volumes
            .iter()
            .filter(|one| one.wanted == VolumePart::Absent && !is_served(one))
            .cloned()
            .collect();
        volumes.extend(work(open.clone(), gone, move |pool, one| volume(pool, one, now)).await);
        for held in open.values().cloned() {
            sweep(held.pool, now).await;
        }
        StorageObserved { pools, volumes, snapshots, exports }
    }

    async fn ended(&self) {
        self.server_ended().await;
    }

    async fn copied(&self) {
        self.transfers.ended().await;
    }
}

/// A volume has its size once what serves it shows that size. Its guest is told of it then; earlier, QEMU would stand
/// still with all of the guest while it asked a server that does not answer it.
fn unless_unserved(seen: &mut VolumeObserved, part: &StoragePart, exports: &[ExportObserved]) {
    let own = part.exports.iter().filter(|wanted| wanted.volume_id == seen.id);
    let failed =
        own.filter_map(|wanted| exports.iter().find(|export| export.id == wanted.id)).find_map(|export| {
            match &export.state {
                ExportState::Failed { message } => Some(message.clone()),
                ExportState::Open { .. } | ExportState::Closing { .. } | ExportState::Gone => None,
            }
        });
    if let (Some(message), StoredState::Present { .. }) = (failed, &seen.state) {
        seen.state = StoredState::Failed { message, permanent: false };
    }
}

/// A thing in a pool, and what is seen of it.
trait Stored: Send + Clone + 'static {
    type Seen: Send + 'static;
    fn pool(&self) -> PoolId;
    fn seen(&self, state: StoredState) -> Self::Seen;
}

impl Stored for WantedVolume {
    type Seen = VolumeObserved;

    fn pool(&self) -> PoolId {
        self.pool_id
    }

    fn seen(&self, state: StoredState) -> VolumeObserved {
        VolumeObserved { id: self.id, state }
    }
}

impl Stored for WantedSnapshot {
    type Seen = SnapshotObserved;

    fn pool(&self) -> PoolId {
        self.pool_id
    }

    fn seen(&self, state: StoredState) -> SnapshotObserved {
        SnapshotObserved { id: self.id, state }
    }
}

/// Does the same for each of `all`, where that holds up no other task.
async fn work<T: Stored>(
    open: BTreeMap<PoolId, OpenPool>,
    all: Vec<T>,
    one: impl Fn(&Pool, &T) -> Result<StoredState, PoolError> + Send + 'static,
) -> Vec<T::Seen> {
    let work = move || {
        let each = |wanted: &T| {
            let state = match open.get(&wanted.pool()) {
                Some(held) => one(&held.pool, wanted).unwrap_or_else(|error| not_stored(&error)),
                None => unusable("its pool"),
            };
            wanted.seen(state)
        };
        all.iter().map(each).collect()
    };
    // It is not cancelled; only the end of the process ends it early.
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

fn volume(pool: &Pool, wanted: &WantedVolume, now: Timestamp) -> Result<StoredState, PoolError> {
    let VolumePart::Present { size_bytes, snapshot_id, made } = &wanted.wanted else {
        pool.remove_volume(wanted.id, now)?;
        return Ok(StoredState::Gone);
    };
    let found = match pool.volume(wanted.id)? {
        Some(found) if found.bytes < *size_bytes => pool.grow_volume(wanted.id, *size_bytes)?,
        Some(found) => found,
        None if *made => return Ok(lost()),
        None => match snapshot_id {
            Some(snapshot) => pool.clone_volume(wanted.id, *snapshot, *size_bytes)?,
            None => pool.create_volume(wanted.id, *size_bytes)?,
        },
    };
    Ok(StoredState::Present { size_bytes: found.bytes })
}

fn snapshot(pool: &Pool, wanted: &WantedSnapshot, now: Timestamp) -> Result<StoredState, PoolError> {
    match &wanted.wanted {
        SnapshotPart::Present { volume_id, copy_of, taken } => {
            let found = match (pool.snapshot(wanted.id)?, copy_of) {
                (Some(found), _) => found,
                (None, _) if *taken => return Ok(lost()),
                (None, None) => pool.take_snapshot(wanted.id, *volume_id)?,
                (None, Some(source)) if source.pool_id == wanted.pool_id => {
                    pool.copy_snapshot(wanted.id, source.snapshot_id)?
                }
                (None, Some(_)) => return Ok(unusable("the pool of its source")),
            };
            Ok(StoredState::Present { size_bytes: found.bytes })
        }
        SnapshotPart::Absent => {
            pool.remove_snapshot(wanted.id, now)?;
            Ok(StoredState::Gone)
        }
    }
}

/// It was here. An operator may bring it back; nothing else could but a disk with other bytes under its name.
fn lost() -> StoredState {
    StoredState::Failed { message: "its file is not in the pool any more".into(), permanent: false }
}

fn unusable(pool: &str) -> StoredState {
    StoredState::Failed { message: format!("{pool} cannot be used"), permanent: false }
}

/// What cannot become better while the same is wanted is for good.
pub(super) fn not_stored(error: &PoolError) -> StoredState {
    let permanent = match error {
        PoolError::Size { .. }
        | PoolError::Shrink { .. }
        | PoolError::SmallerThanSnapshot { .. }
        | PoolError::OtherSize { .. }
        | PoolError::NoVolume(_)
        | PoolError::NoSnapshot(_)
        | PoolError::Removed { .. } => true,
        PoolError::NoReflink { .. }
        | PoolError::NotAPool { .. }
        | PoolError::OtherPool { .. }
        | PoolError::NotEmpty { .. }
        | PoolError::InUse { .. }
        | PoolError::Full { .. }
        | PoolError::NoRoom { .. }
        | PoolError::Stopped
        | PoolError::File { .. }
        | PoolError::Failpoint(_) => false,
    };
    StoredState::Failed { message: crate::chain(error), permanent }
}

fn failed(error: &PoolError) -> PoolState {
    PoolState::Failed { message: crate::chain(error) }
}

async fn hold(part: PoolPart) -> Result<OpenPool, PoolError> {
    let marks = Watermarks { soft_percent: part.soft_percent, hard_percent: part.hard_percent };
    let path = part.path.clone();
    let id = part.id;
    let open = move || Pool::create(Path::new(&path), id, marks);
    let opened = tokio::task::spawn_blocking(open).await;
    let pool = opened.unwrap_or_else(|_| Err(PoolError::InUse { path: part.path.clone().into() }))?;
    Ok(OpenPool { part, pool: Arc::new(pool) })
}

async fn usage(held: OpenPool) -> PoolState {
    let asked = tokio::task::spawn_blocking(move || held.pool.usage()).await;
    match asked {
        Ok(Ok(usage)) => PoolState::Ready { total_bytes: usage.capacity, used_bytes: usage.used },
        Ok(Err(error)) => failed(&error),
        Err(_) => PoolState::Failed { message: "the agent ends".into() },
    }
}

/// Frees what lay in the trash long enough.
async fn sweep(pool: Arc<Pool>, now: Timestamp) {
    match tokio::task::spawn_blocking(move || pool.sweep(now, GRACE, false)).await {
        Ok(Ok(swept)) => {
            for one in swept {
                tracing::info!(id = one.id, removed = %one.removed_at, "freed what was removed a day ago");
            }
        }
        Ok(Err(error)) => tracing::warn!(message = crate::chain(&error), "the trash of a pool stays"),
        Err(_) => {}
    }
}

/// How a volume is served by its pool.
pub(super) type Backing = (PoolBackend, Arc<Pool>);
