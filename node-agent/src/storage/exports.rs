//! Who may reach which volume.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tepui_storage::{
    Access, Backend, Credential, Export, ExportError, Pool, PoolError, Revoked, Source, Volume,
};
use tepui_types::agent::{
    ExportObserved, ExportPart, ExportState, PoolBackend, StoragePart, VolumeSource, WantedExport,
};
use tepui_types::{ExportId, PoolId, VolumeId};
use tokio::time::Instant;

use super::pools::{Backing, LocalPools, Server};

/// How long a pass waits for those who are connected to what is to go; the next one goes on.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long nobody is thrown out who is connected to what is to go. Where it was taken by force from a host that is
/// well, its guest lets go of it meanwhile: a QEMU that is thrown out first waits for its answers for ever. libvirt
/// gives a guest five seconds to let go, and a host that is called a moment later asks it once more.
const GRACE: Duration = Duration::from_secs(12);

/// Until a server that could not be watched is looked for again.
const UNWATCHED: Duration = Duration::from_secs(1);

/// Why nothing is done for a volume.
const UNUSABLE: &str = "its pool cannot be used";

/// What this process knows of its servers.
#[derive(Default)]
pub(super) struct Served {
    /// tgtd was made run, with everything that is to be open.
    tgt: bool,
    /// So was ganesha.
    ganesha: bool,
    /// Since when the exports are to go that are not gone yet. A new process begins anew.
    leaving: BTreeMap<ExportId, Instant>,
}

impl Served {
    /// Whether the time is over in which those who are connected may go by themselves.
    fn is_overdue(&mut self, id: ExportId) -> bool {
        self.leaving.entry(id).or_insert_with(Instant::now).elapsed() >= GRACE
    }
}

impl LocalPools {
    /// Ends what is to go, then opens what is to be open: a volume is never open twice.
    pub(super) async fn serve(
        &self,
        part: &StoragePart,
        backing: impl Fn(&PoolId) -> Option<Backing>,
    ) -> Vec<ExportObserved> {
        let pools: BTreeMap<VolumeId, PoolId> =
            part.volumes.iter().map(|volume| (volume.id, volume.pool_id)).collect();
        let (mut open, mut seen) = (Vec::new(), Vec::new());
        let mut on_filers = Vec::new();
        let mut absent = Vec::new();
        for wanted in &part.exports {
            let pool_id = pools.get(&wanted.volume_id);
            let backing = pool_id.and_then(&backing);
            match (export(wanted, backing.as_ref()).await, backing) {
                (Ok(None), Some((server, pool))) => {
                    match self.take_over(part, wanted, &server, &pool).await {
                        Ok(()) => absent.push((wanted.id, server)),
                        Err(error) => seen.push(failed(wanted.id, crate::chain(&error))),
                    }
                }
                // What is open there stays open while nobody comes to its files.
                (Ok(None), None) if is_on_filer(part, pool_id) => {
                    seen.push(failed(wanted.id, UNUSABLE.into()))
                }
                (Ok(None), None) => absent.push((wanted.id, Server::Own(self.server_of(wanted.id)))),
                (Ok(Some(export)), Some((Server::Own(backend), _))) => open.push((backend, export)),
                (Ok(Some(export)), Some((Server::Filer(filer), _))) => on_filers.push((filer, export)),
                (Err(message), _) => seen.push(failed(wanted.id, message)),
                (Ok(Some(_)), None) => seen.push(failed(wanted.id, UNUSABLE.into())),
            }
        }
        let away = self.recover(&open).await;
        for (id, server) in absent {
            seen.push(ExportObserved { id, state: self.revoke(id, &server).await });
        }
        for (filer, export) in on_filers {
            seen.push(ExportObserved { id: export.id, state: state_of(filer.ensure(&export).await) });
        }
        for backend in [PoolBackend::Iscsi, PoolBackend::Nfs, PoolBackend::Local] {
            let exports = of(backend, &open);
            let states = match away.of(backend) {
                Some(message) => vec![ExportState::Failed { message: message.clone() }; exports.len()],
                None => self.ensure(backend, &exports).await,
            };
            let seen_now = exports.iter().zip(states);
            seen.extend(seen_now.map(|(export, state)| ExportObserved { id: export.id, state }));
        }
        seen.sort_unstable_by_key(|one| one.id);
        seen
    }

    /// Makes the servers run that something needs, and lets nobody in before everything is there. What is to go needs
    /// none: it is gone where nothing serves.
    async fn recover(&self, open: &[(PoolBackend, Export)]) -> Away {
        let mut served = self.served.lock().await;
        Away {
            tgt: start(&self.tgt, of(PoolBackend::Iscsi, open), &mut served.tgt).await,
            ganesha: start(&self.ganesha, of(PoolBackend::Nfs, open), &mut served.ganesha).await,
        }
    }

    /// Returns when a server has ended that this process made run; it is to be made run again.
    pub(super) async fn server_ended(&self) {
        let (by_tgt, by_ganesha) = {
            let served = self.served.lock().await;
            (served.tgt, served.ganesha)
        };
        tokio::select! {
            () = watched("tgtd", self.tgt.ended()), if by_tgt => self.served.lock().await.tgt = false,
            () = watched("ganesha", self.ganesha.ended()), if by_ganesha => {
                self.served.lock().await.ganesha = false;
            }
            else => std::future::pending().await,
        }
    }

    /// How each of a backend's exports is, in their order. A server is asked once for all that it has.
    async fn ensure(&self, backend: PoolBackend, exports: &[Export]) -> Vec<ExportState> {
        if exports.is_empty() {
            return vec![];
        }
        let opened = match backend {
            PoolBackend::Iscsi => self.tgt.ensure_all(exports).await,
            PoolBackend::Local => self.local.ensure_all(exports).await,
            PoolBackend::Nfs => self.ganesha.ensure_all(exports).await,
        };
        match opened {
            Ok(opened) => opened.into_iter().map(state_of).collect(),
            Err(error) => vec![ExportState::Failed { message: crate::chain(&error) }; exports.len()],
        }
    }

    /// Tells those who know an export from their caller alone of one that is to go, which a process before this one may
    /// have opened.
    async fn take_over(
        &self,
        part: &StoragePart,
        wanted: &WantedExport,
        server: &Server,
        pool: &Arc<Pool>,
    ) -> Result<(), PoolError> {
        // The servers of this host have ledgers. The readers that stay have the file open, and would never let it be gone.
        if matches!(server, Server::Own(PoolBackend::Iscsi | PoolBackend::Nfs))
            || is_read(part, wanted.volume_id)
        {
            return Ok(());
        }
        let Some(volume) = look(pool, wanted.volume_id).await? else { return Ok(()) };
        match server {
            Server::Filer(filer) => filer.take_over(wanted.id, volume.path).await,
            Server::Own(_) => self.local.take_over(wanted.id, volume.path).await,
        }
        Ok(())
    }

    async fn revoke(&self, id: ExportId, server: &Server) -> ExportState {
        let is_overdue = self.served.lock().await.is_overdue(id);
        let revoked = match (server, is_overdue) {
            (Server::Own(PoolBackend::Iscsi), false) => self.tgt.see_off(id).await,
            (Server::Own(PoolBackend::Iscsi), true) => self.tgt.revoke(id, PATIENCE).await,
            // ganesha does not know who is connected.
            (Server::Own(PoolBackend::Nfs), _) => self.ganesha.revoke(id, PATIENCE).await,
            (Server::Own(PoolBackend::Local), _) => self.local.revoke(id, PATIENCE).await,
            (Server::Filer(filer), _) => filer.revoke(id, PATIENCE).await,
        };
        if matches!(revoked, Ok(Revoked::Gone)) {
            self.served.lock().await.leaving.remove(&id);
        }
        state_after(revoked)
    }

    /// Who may have an export whose pool is gone: ganesha if it is in its ledger, or that cannot be read; else tgtd.
    fn server_of(&self, id: ExportId) -> PoolBackend {
        if self.ganesha.has(id).unwrap_or(true) { PoolBackend::Nfs } else { PoolBackend::Iscsi }
    }
}

/// Whether a filer serves a pool.
fn is_on_filer(part: &StoragePart, id: Option<&PoolId>) -> bool {
    part.pools.iter().any(|pool| Some(&pool.id) == id && pool.filer.is_some())
}

/// Those of one backend.
fn of(backend: PoolBackend, exports: &[(PoolBackend, Export)]) -> Vec<Export> {
    let own = exports.iter().filter(|(other, _)| *other == backend);
    own.map(|(_, export)| export.clone()).collect()
}

/// Why a server does not run that something needs.
struct Away {
    tgt: Option<String>,
    ganesha: Option<String>,
}

impl Away {
    /// What keeps an export of this backend from being opened.
    fn of(&self, backend: PoolBackend) -> Option<&String> {
        match backend {
            PoolBackend::Iscsi => self.tgt.as_ref(),
            PoolBackend::Nfs => self.ganesha.as_ref(),
            PoolBackend::Local => None,
        }
    }
}

/// Makes a server run once, if something needs it; what went wrong.
async fn start(server: &dyn Backend, exports: Vec<Export>, runs: &mut bool) -> Option<String> {
    if *runs || exports.is_empty() {
        return None;
    }
    match server.recover(&exports).await {
        Ok(refused) => {
            for (id, error) in refused {
                tracing::error!(export = %id, message = crate::chain(&error), "not served after a start of its server");
            }
            *runs = true;
            None
        }
        Err(error) => Some(crate::chain(&error)),
    }
}

/// Returns when a server has ended, and a moment after nobody could tell, as where it ends while it is asked who it is: to
/// make it run again takes over one that runs.
async fn watched<E: std::error::Error>(name: &str, end: impl Future<Output = Result<(), E>>) {
    if let Err(error) = end.await {
        tracing::error!(message = crate::chain(&error), "{name} cannot be watched");
        tokio::time::sleep(UNWATCHED).await;
    }
}

fn state_of(opened: Result<Source, ExportError>) -> ExportState {
    match opened.map_err(|error| crate::chain(&error)).and_then(|source| volume_source(&source)) {
        Ok(source) => ExportState::Open { source },
        Err(message) => ExportState::Failed { message },
    }
}

fn state_after(revoked: Result<Revoked, ExportError>) -> ExportState {
    match revoked {
        Ok(Revoked::Gone) => ExportState::Gone,
        Ok(Revoked::StillConnected(peers)) => {
            ExportState::Closing { connections: peers.len().try_into().unwrap_or(u32::MAX) }
        }
        Err(error) => ExportState::Failed { message: crate::chain(&error) },
    }
}

/// Whether somebody is to read the volume, so that nobody writes it and nobody did since it was fenced last.
fn is_read(part: &StoragePart, volume: VolumeId) -> bool {
    part.exports.iter().any(|other| {
        other.volume_id == volume && matches!(other.wanted, ExportPart::Open { read_only: true, .. })
    })
}

fn failed(id: ExportId, message: String) -> ExportObserved {
    ExportObserved { id, state: ExportState::Failed { message } }
}

/// Looks at a volume where that holds up no other task.
async fn look(pool: &Arc<Pool>, id: VolumeId) -> Result<Option<Volume>, PoolError> {
    let pool = Arc::clone(pool);
    tokio::task::spawn_blocking(move || pool.volume(id)).await.unwrap_or(Err(PoolError::Stopped))
}

/// What is to be open; `None` for what is to go.
async fn export(wanted: &WantedExport, backing: Option<&Backing>) -> Result<Option<Export>, String> {
    let ExportPart::Open { node_address, secret, read_only } = &wanted.wanted else { return Ok(None) };
    let (_, pool) = backing.ok_or("its pool cannot be used")?;
    let found = look(pool, wanted.volume_id).await.map_err(|error| crate::chain(&error))?;
    let volume = found.ok_or("the pool does not have its volume")?;
    Ok(Some(Export {
        id: wanted.id,
        volume: wanted.volume_id,
        path: volume.path,
        access: if *read_only { Access::ReadOnly } else { Access::ReadWrite },
        credential: Credential { secret: secret.as_str().into(), address: IpAddr::V4(*node_address) },
    }))
}

/// Where a compute host finds it. Account and initiator it makes of the export's id.
fn volume_source(source: &Source) -> Result<VolumeSource, String> {
    match source {
        Source::File { path } => match path.to_str() {
            Some(path) => Ok(VolumeSource::Local { path: path.to_owned() }),
            None => Err(format!("{} is not UTF-8", path.display())),
        },
        Source::Iscsi { portal: SocketAddr::V4(portal), target, lun, .. } => {
            let lun = u32::try_from(*lun).map_err(|_| "the unit's number is too large".to_owned())?;
            Ok(VolumeSource::Iscsi { portal: *portal, target: target.clone(), lun })
        }
        Source::Nfs { server, path, user, group } => match path.to_str() {
            Some(path) => {
                Ok(VolumeSource::Nfs { server: *server, path: path.to_owned(), uid: *user, gid: *group })
            }
            None => Err(format!("{} is not UTF-8", path.display())),
        },
        other => Err(format!("no agent can use {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cannot_be_watched_is_looked_for_again_and_one_that_runs_is_waited_for() {
        let unknown = async { Err(std::io::Error::other("it ended while it was asked who it is")) };
        let told = tokio::time::timeout(UNWATCHED * 2, watched("tgtd", unknown)).await;
        assert!(told.is_ok(), "nobody would start it again");
        let runs = watched("tgtd", std::future::pending::<Result<(), std::io::Error>>());
        assert!(tokio::time::timeout(UNWATCHED * 100, runs).await.is_err());
    }
}
