//! Who may reach which volume.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tepui_storage::{Access, Backend, Credential, Export, ExportError, Revoked, Source};
use tepui_types::agent::{
    ExportObserved, ExportPart, ExportState, PoolBackend, StoragePart, VolumeSource, WantedExport,
};
use tepui_types::{ExportId, PoolId, VolumeId};
use tokio::time::Instant;

use super::pools::{Backing, LocalPools};

/// How long a pass waits for those who are connected to what is to go; the next one goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long nobody is thrown out who is connected to what is to go. Where it was taken by force from a host that is
/// well, its guest lets go of it meanwhile: a QEMU that is thrown out first waits for its answers for ever. libvirt
/// gives a guest five seconds to let go, and a host that is called a moment later asks it once more.
const GRACE: Duration = Duration::from_secs(12);

/// What this process knows of its servers.
#[derive(Default)]
pub(super) struct Served {
    /// tgtd runs, with everything that was open when it was taken over or started.
    recovered: bool,
    /// Since when the exports are to go that are not gone yet. A new process begins anew.
    leaving: BTreeMap<ExportId, Instant>,
}

impl Served {
    /// Whether there is a tgtd to watch.
    pub(super) fn by_tgt(&self) -> bool {
        self.recovered
    }

    /// Whether the time is over in which those who are connected may go by themselves.
    fn is_overdue(&mut self, id: ExportId) -> bool {
        self.leaving.entry(id).or_insert_with(Instant::now).elapsed() >= GRACE
    }

    /// Its targets are gone with it.
    pub(super) fn tgt_ended(&mut self) {
        self.recovered = false;
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
        let mut absent = Vec::new();
        for wanted in &part.exports {
            let backing = pools.get(&wanted.volume_id).and_then(&backing);
            match (export(wanted, backing.as_ref()), backing) {
                (Ok(None), backing) => absent.push((wanted.id, backing.map(|(backend, _)| backend))),
                (Ok(Some(export)), Some((backend, _))) => open.push((backend, export)),
                (Err(message), _) => seen.push(failed(wanted.id, message)),
                (Ok(Some(_)), None) => seen.push(failed(wanted.id, "its pool cannot be used".into())),
            }
        }
        if let Some(message) = self.recover(&open, &absent).await {
            let ids = open.iter().map(|(_, export)| export.id).chain(absent.iter().map(|(id, _)| *id));
            seen.extend(ids.map(|id| failed(id, message.clone())));
            return seen;
        }
        for (id, backend) in absent {
            seen.push(ExportObserved { id, state: self.revoke(id, backend).await });
        }
        for (backend, export) in open {
            seen.push(ExportObserved { id: export.id, state: self.ensure(backend, &export).await });
        }
        seen.sort_unstable_by_key(|one| one.id);
        seen
    }

    /// Makes tgtd run where something needs it, and lets nobody in before everything is there; what went wrong.
    async fn recover(
        &self,
        open: &[(PoolBackend, Export)],
        absent: &[(ExportId, Option<PoolBackend>)],
    ) -> Option<String> {
        let is_iscsi = |backend: PoolBackend| backend == PoolBackend::Iscsi;
        let mut served = self.served.lock().await;
        let needed = open.iter().any(|(backend, _)| is_iscsi(*backend))
            || absent.iter().any(|(_, backend)| backend.is_none_or(is_iscsi));
        if served.recovered || !needed {
            return None;
        }
        let exports: Vec<Export> =
            open.iter().filter(|(backend, _)| is_iscsi(*backend)).map(|(_, export)| export.clone()).collect();
        match self.tgt.recover(&exports).await {
            Ok(refused) => {
                for (id, error) in refused {
                    tracing::error!(export = %id, message = crate::chain(&error), "not served after a start of tgtd");
                }
                served.recovered = true;
                None
            }
            Err(error) => Some(crate::chain(&error)),
        }
    }

    async fn ensure(&self, backend: PoolBackend, export: &Export) -> ExportState {
        let made = match backend {
            PoolBackend::Iscsi => self.tgt.ensure(export).await,
            PoolBackend::Local => self.local.ensure(export).await,
            PoolBackend::Nfs => return ExportState::Failed { message: NFS.into() },
        };
        match made.map_err(|error| crate::chain(&error)).and_then(|source| volume_source(&source)) {
            Ok(source) => ExportState::Open { source },
            Err(message) => ExportState::Failed { message },
        }
    }

    /// Where the volume's pool is gone, the export is looked for everywhere.
    async fn revoke(&self, id: ExportId, backend: Option<PoolBackend>) -> ExportState {
        let by_tgt = matches!(backend, Some(PoolBackend::Iscsi) | None);
        let is_overdue = self.served.lock().await.is_overdue(id);
        let revoked = match (by_tgt, is_overdue) {
            (true, false) => self.tgt.see_off(id).await,
            (true, true) => self.tgt.revoke(id, PATIENCE).await,
            (false, _) => self.local.revoke(id, PATIENCE).await,
        };
        if matches!(revoked, Ok(Revoked::Gone)) {
            self.served.lock().await.leaving.remove(&id);
        }
        state_after(revoked)
    }
}

const NFS: &str = "this agent serves no NFS";

fn state_after(revoked: Result<Revoked, ExportError>) -> ExportState {
    match revoked {
        Ok(Revoked::Gone) => ExportState::Gone,
        Ok(Revoked::StillConnected(peers)) => {
            ExportState::Closing { connections: peers.len().try_into().unwrap_or(u32::MAX) }
        }
        Err(error) => ExportState::Failed { message: crate::chain(&error) },
    }
}

fn failed(id: ExportId, message: String) -> ExportObserved {
    ExportObserved { id, state: ExportState::Failed { message } }
}

/// What is to be open; `None` for what is to go.
fn export(wanted: &WantedExport, backing: Option<&Backing>) -> Result<Option<Export>, String> {
    let ExportPart::Open { node_address, secret, read_only } = &wanted.wanted else { return Ok(None) };
    let (_, pool) = backing.ok_or("its pool cannot be used")?;
    let found = pool.volume(wanted.volume_id).map_err(|error| crate::chain(&error))?;
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
        other => Err(format!("no agent can use {other:?}")),
    }
}
