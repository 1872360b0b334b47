//! Pools on this host's file systems.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tepui_storage::filer::{self, Filer, FilerError};
use tepui_storage::iscsi::{self, Tgt};
use tepui_storage::nfs::{self, Ganesha};
use tepui_storage::{Content, Local, Pool, PoolError, Usage, Watermarks};
use tepui_types::agent::{
    ExportObserved, ExportState, PoolBackend, PoolObserved, PoolPart, PoolState, SnapshotObserved,
    StorageObserved, StoragePart, StoredState, VolumeObserved, VolumePart, WantedSending, WantedSnapshot,
    WantedVolume,
};
use tepui_types::{FilerFolder, PoolId, Timestamp};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Storage;
use super::bases::Bases;
use super::exports::Served;
use super::leftovers;
use super::receive::ContentSource;
use super::restore_tests::RestoreTests;
use super::stored::{snapshot, volume, work};
use super::transfers::{Transfer, Transfers, source_elsewhere};
use crate::images::ImageCache;

/// How the volumes of pools are served.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// By a tgtd.
    pub iscsi: iscsi::Settings,
    /// By a ganesha.
    pub nfs: nfs::Settings,
}

/// The pools of this host.
pub struct LocalPools {
    clock: fn() -> Timestamp,
    bases: Arc<Bases>,
    open: Mutex<BTreeMap<PoolId, OpenPool>>,
    pub(super) served: Mutex<Served>,
    pub(super) tgt: Tgt,
    pub(super) ganesha: Ganesha,
    pub(super) local: Local,
    transfers: Transfers,
    tests: RestoreTests,
}

/// A pool that this process holds.
#[derive(Clone)]
struct OpenPool {
    part: PoolPart,
    pool: Arc<Pool>,
    server: Server,
    /// A look at its usage that was not answered in time.
    look: Arc<Mutex<Option<Look>>>,
}

type Look = JoinHandle<Result<Usage, PoolError>>;

/// A file system that is there answers at once; one of a filer that is away, or of a disk that dies, when it likes.
const ANSWER: Duration = Duration::from_secs(5);

/// What serves the volumes of a pool.
#[derive(Clone)]
pub(super) enum Server {
    /// This host.
    Own(PoolBackend),
    /// The filer that has them.
    Filer(Arc<Filer>),
}

impl LocalPools {
    /// Pools that are served as `settings` says, for whose volumes `images` brings what they begin with. `clock` dates
    /// what is removed, for people: no file goes by it. `contents` brings what snapshots of other hosts hold.
    pub fn new(
        settings: PoolSettings,
        images: Arc<ImageCache>,
        contents: Arc<dyn ContentSource>,
        clock: fn() -> Timestamp,
    ) -> Self {
        let PoolSettings { iscsi, nfs } = settings;
        Self {
            clock,
            bases: Arc::new(Bases::new(images)),
            open: Mutex::default(),
            served: Mutex::default(),
            tgt: Tgt::new(iscsi),
            ganesha: Ganesha::new(nfs),
            local: Local::default(),
            transfers: Transfers::new(contents),
            tests: RestoreTests::default(),
        }
    }

    /// Opens what the part names and lets go of what it does not; those that can be used now, and how each pool is.
    async fn open(&self, parts: &[PoolPart]) -> (BTreeMap<PoolId, OpenPool>, Vec<PoolObserved>) {
        let (stay, go): (BTreeMap<_, _>, BTreeMap<_, _>) = {
            let mut open = self.open.lock().await;
            let (stay, go) =
                std::mem::take(&mut *open).into_iter().partition(|(_, held)| parts.contains(&held.part));
            *open = stay;
            (open.clone(), go)
        };
        for id in go.keys() {
            self.bases.let_go(*id);
            self.tests.let_go(*id);
        }
        drop(go);
        let (mut usable, mut seen) = (BTreeMap::new(), Vec::new());
        for part in parts {
            let held = match stay.get(&part.id) {
                Some(held) => Ok(held.clone()),
                None => hold(part.clone()).await,
            };
            let state = match held {
                Ok(held) => {
                    self.open.lock().await.insert(part.id, held.clone());
                    let state = held.usage().await;
                    // Of a filer that is away each file is, and each look at one takes its time.
                    if part.filer.is_none() || matches!(state, PoolState::Ready { .. }) {
                        usable.insert(part.id, held);
                    }
                    state
                }
                Err(state) => state,
            };
            seen.push(PoolObserved { id: part.id, state });
        }
        (usable, seen)
    }

    /// Makes the snapshots as they are wanted. Of one that is still being copied from another pool or host nothing is said.
    async fn snapshots(
        &self,
        pools: &BTreeMap<PoolId, Arc<Pool>>,
        part: &StoragePart,
        now: Timestamp,
    ) -> Vec<SnapshotObserved> {
        let wanted = &part.snapshots;
        self.transfers.retain(wanted).await;
        let mut due = Vec::new();
        let mut here = Vec::new();
        for one in wanted {
            match transfer(pools, &part.pools, one).await {
                Some(transfer) => due.push(transfer),
                None => here.push(one.clone()),
            }
        }
        let bases = Arc::clone(&self.bases);
        let mut seen = work(pools.clone(), here, move |pool, one| snapshot(pool, one, now, &bases)).await;
        seen.extend(self.transfers.apply(due).await);
        seen
    }
}

/// What is to be copied from another pool and is not there yet, where both can be used. One that the host does not have is
/// another host's.
async fn transfer(
    pools: &BTreeMap<PoolId, Arc<Pool>>,
    own: &[PoolPart],
    wanted: &WantedSnapshot,
) -> Option<Transfer> {
    let source = source_elsewhere(wanted)?;
    let (id, to) = (wanted.id, Arc::clone(pools.get(&wanted.pool_id)?));
    let from = match own.iter().any(|pool| pool.id == source.pool_id) {
        true => Some(Arc::clone(pools.get(&source.pool_id)?)),
        false => None,
    };
    let pool = Arc::clone(&to);
    let found = tokio::task::spawn_blocking(move || pool.snapshot(id)).await;
    let is_missing = matches!(found, Ok(Ok(None)));
    is_missing.then_some(Transfer { id, to, from, source: source.snapshot_id })
}

#[async_trait]
impl Storage for LocalPools {
    async fn apply(&self, part: &StoragePart) -> StorageObserved {
        let (open, seen) = self.open(&part.pools).await;
        let now = (self.clock)();
        let pools: BTreeMap<PoolId, Arc<Pool>> =
            open.iter().map(|(id, held)| (*id, Arc::clone(&held.pool))).collect();
        // Snapshots first: one that is wanted is taken before its volume goes, and is there for a volume that is
        // made from it. Exports go before the volumes that they serve.
        let snapshots = self.snapshots(&pools, part, now).await;
        let made: Vec<_> =
            part.volumes.iter().filter(|one| one.wanted != VolumePart::Absent).cloned().collect();
        let bases = Arc::clone(&self.bases);
        let mut volumes = work(pools.clone(), made, move |pool, one| volume(pool, one, now, &bases)).await;
        let served = |id: &PoolId| open.get(id).map(|held| (held.server.clone(), Arc::clone(&held.pool)));
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
        let bases = Arc::clone(&self.bases);
        volumes.extend(work(pools.clone(), gone, move |pool, one| volume(pool, one, now, &bases)).await);
        let tests = self.tests.apply(&pools, &part.tests, self.transfers.is_idle().await);
        leftovers::unlink(pools.clone(), part).await;
        self.bases.tidy(part, pools.clone()).await;
        let leftovers = leftovers::find(pools, part).await;
        StorageObserved { pools: seen, volumes, snapshots, exports, leftovers, tests }
    }

    async fn content(&self, order: WantedSending) -> Result<Content, PoolError> {
        let pool = self.open.lock().await.get(&order.pool_id).map(|held| Arc::clone(&held.pool));
        let pool = pool.ok_or(PoolError::NoSnapshot(order.snapshot_id))?;
        let open = move || pool.content(order.snapshot_id, order.offset);
        tokio::task::spawn_blocking(open).await.unwrap_or(Err(PoolError::Stopped))
    }

    async fn ended(&self) {
        self.server_ended().await;
    }

    async fn arrived(&self) {
        tokio::select! {
            () = self.bases.ended() => {}
            () = self.transfers.ended() => {}
            () = self.tests.ended() => {}
        }
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

fn failed(error: &impl std::error::Error) -> PoolState {
    PoolState::Failed { message: crate::chain(error) }
}

/// Opens a pool; how it is where it cannot be used.
async fn hold(part: PoolPart) -> Result<OpenPool, PoolState> {
    let marks = Watermarks { soft_percent: part.soft_percent, hard_percent: part.hard_percent };
    let path = part.path.clone();
    let id = part.id;
    let open = move || Pool::create(Path::new(&path), id, marks);
    let opened = tokio::task::spawn_blocking(open).await;
    let pool = opened.unwrap_or_else(|_| Err(PoolError::InUse { path: part.path.clone().into() }));
    let pool = pool.map_err(|error| failed(&error))?;
    let server = match &part.filer {
        Some(folder) => {
            Server::Filer(Arc::new(filer(&part.path, folder).await.map_err(|error| failed(&error))?))
        }
        None => Server::Own(part.backend),
    };
    Ok(OpenPool { part, pool: Arc::new(pool), server, look: Arc::default() })
}

/// The filer of a pool, once it is known to serve it.
async fn filer(pool: &str, folder: &FilerFolder) -> Result<Filer, FilerError> {
    let FilerFolder { server, path } = folder;
    let filer = Filer::new(filer::Settings { server: *server, folder: path.into(), pool: pool.into() });
    filer.check().await?;
    Ok(filer)
}

impl OpenPool {
    /// How full it is. One that did not answer is waited for once, and not asked by one more thread each time.
    async fn usage(&self) -> PoolState {
        let mut waiting = self.look.lock().await;
        let (mut look, patience) = match waiting.take() {
            Some(look) => (look, Duration::ZERO),
            None => {
                let pool = Arc::clone(&self.pool);
                (tokio::task::spawn_blocking(move || pool.usage()), ANSWER)
            }
        };
        match timeout(patience, &mut look).await {
            Ok(Ok(Ok(usage))) => PoolState::Ready { total_bytes: usage.capacity, used_bytes: usage.used },
            Ok(Ok(Err(error))) => failed(&error),
            Ok(Err(_)) => PoolState::Failed { message: "the agent ends".into() },
            Err(_) => {
                *waiting = Some(look);
                PoolState::Failed { message: format!("{} does not answer", self.part.path) }
            }
        }
    }
}

/// How a volume is served by its pool.
pub(super) type Backing = (Server, Arc<Pool>);
