//! The real thing, over `tepui_libvirt`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use nix::sys::statvfs::statvfs;
use tepui_libvirt::{
    CaptureState, DataDisk, DiskCounters, DomainSpec, DomainStatus, Error, FailedDisk, FreezeAnswer,
    LibvirtHost, LiveDisk, LiveDisks,
};
use tepui_types::agent::FreezeKind;
use tepui_types::{ExportId, PlacementId};
use uuid::Uuid;

use super::{Hypervisor, HypervisorError};

/// Where libvirtd keeps what it must find again after a restart.
pub const STATE_DIR: &str = "/run/libvirt";
/// Of the file system of the state, at least this much should be free, or so many bytes: the state of a
/// guest takes some ten KiB.
const FREE_PERCENT: u64 = 5;
const FREE_BYTES: u64 = 64 << 20;

/// Guests under one libvirtd.
#[derive(Debug)]
pub struct LibvirtHypervisor {
    host: LibvirtHost,
    state_dir: PathBuf,
}

impl LibvirtHypervisor {
    /// Uses this libvirtd, which keeps its state in `state_dir`.
    pub fn new(host: LibvirtHost, state_dir: PathBuf) -> Self {
        Self { host, state_dir }
    }
}

fn domain(verb: &'static str, placement: PlacementId) -> impl FnOnce(Error) -> HypervisorError {
    move |source| HypervisorError::Domain { verb, placement, source }
}

/// Whether the file system of `path` is nearly full. What cannot be asked is not.
fn is_nearly_full(path: &Path) -> bool {
    statvfs(path).is_ok_and(|fs| {
        let free = fs.blocks_available();
        free.saturating_mul(100) < fs.blocks() * FREE_PERCENT && free * fs.fragment_size() < FREE_BYTES
    })
}

#[async_trait]
impl Hypervisor for LibvirtHypervisor {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        self.host.domains().await.map_err(HypervisorError::List)
    }

    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        self.host.start(spec).await.map_err(domain("start", spec.placement_id))
    }

    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.host.request_shutdown(id).await.map_err(domain("shut down", id))
    }

    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.host.force_off(id).await.map_err(domain("power off", id))
    }

    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.host.reset(id).await.map_err(domain("reset", id))
    }

    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.host.forget(id).await.map_err(domain("remove", id))
    }

    async fn set_disks(
        &self,
        id: PlacementId,
        disks: Vec<DataDisk>,
        leaving: Vec<String>,
    ) -> Result<LiveDisks, HypervisorError> {
        self.host.set_disks(id, disks, leaving).await.map_err(domain("set the disks of", id))
    }

    async fn freeze(&self, id: PlacementId, kind: FreezeKind) -> Result<FreezeAnswer, HypervisorError> {
        self.host.freeze(id, kind).await.map_err(domain("freeze", id))
    }

    async fn thaw(&self, id: PlacementId, kind: FreezeKind) -> Result<Option<u32>, HypervisorError> {
        self.host.thaw(id, kind).await.map_err(domain("thaw", id))
    }

    async fn begin_capture(&self, id: PlacementId, to: &Path) -> Result<bool, HypervisorError> {
        self.host.begin_capture(id, to).await.map_err(domain("capture the disk of", id))
    }

    async fn capture_state(&self, id: PlacementId) -> Result<CaptureState, HypervisorError> {
        self.host.capture_state(id).await.map_err(domain("tell of the capture of", id))
    }

    async fn abort_capture(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.host.abort_capture(id).await.map_err(domain("call off the capture of", id))
    }

    async fn disk_counters(&self) -> Result<Vec<DiskCounters>, HypervisorError> {
        self.host.disk_counters().await.map_err(HypervisorError::Counters)
    }

    async fn failed_disks(&self, id: PlacementId) -> Result<Vec<FailedDisk>, HypervisorError> {
        self.host.failed_disks(id).await.map_err(domain("tell of failed disks of", id))
    }

    async fn live_disks(&self) -> Result<BTreeMap<PlacementId, Vec<LiveDisk>>, HypervisorError> {
        self.host.live_disks().await.map_err(HypervisorError::Disks)
    }

    async fn secrets(&self) -> Result<BTreeMap<ExportId, Uuid>, HypervisorError> {
        self.host.secrets().await.map_err(|source| HypervisorError::Secrets { verb: "list", source })
    }

    async fn drop_secrets(&self) -> Result<Option<BTreeMap<ExportId, Uuid>>, HypervisorError> {
        self.host.drop_secrets().await.map_err(|source| HypervisorError::Secrets { verb: "drop", source })
    }

    /// A libvirtd that restarts while it cannot write a guest's state ends the guest (libvirt issue 549).
    fn shortage(&self) -> Option<String> {
        let path = self.state_dir.display();
        is_nearly_full(&self.state_dir).then(|| {
            format!("less than {FREE_PERCENT} % is free at {path}: make room before libvirtd is restarted, or guests end")
        })
    }
}
