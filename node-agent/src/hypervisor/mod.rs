//! What runs guests: libvirt, or a simulation of it for tests of scale.

mod libvirt;
mod simulated;

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use tepui_libvirt::{
    CaptureState, DataDisk, DiskCounters, DomainSpec, DomainStatus, FailedDisk, FreezeAnswer, LiveDisk,
    LiveDisks,
};
use tepui_types::agent::FreezeKind;
use tepui_types::{ExportId, PlacementId};
use uuid::Uuid;

pub use libvirt::{LibvirtHypervisor, STATE_DIR};
pub use simulated::{GuestAgent, SimulatedHypervisor, SimulatedSettings};

/// Why the hypervisor did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum HypervisorError {
    /// libvirt refused or did not answer.
    #[error("libvirt could not {verb} the domain of {placement}")]
    Domain {
        /// What was tried, as a verb.
        verb: &'static str,
        /// Whose domain.
        placement: PlacementId,
        /// libvirt's answer.
        #[source]
        source: tepui_libvirt::Error,
    },
    /// libvirt's list of domains could not be read.
    #[error("libvirt could not list the domains")]
    List(#[source] tepui_libvirt::Error),
    /// The counters of guests' disks could not be read.
    #[error("libvirt could not read the counters of disks")]
    Counters(#[source] tepui_libvirt::Error),
    /// What domains have for disks could not be read.
    #[error("libvirt could not read the disks of domains")]
    Disks(#[source] tepui_libvirt::Error),
    /// The passwords of exports could not be listed, or taken away.
    #[error("libvirt could not {verb} the secrets of exports")]
    Secrets {
        /// What was tried, as a verb.
        verb: &'static str,
        /// libvirt's answer.
        #[source]
        source: tepui_libvirt::Error,
    },
    /// The simulation was set to fail.
    #[error("simulated failure to start {0}")]
    Simulated(PlacementId),
    /// A simulated guest does not answer.
    #[error("the simulated guest of {0} does not answer")]
    SimulatedSilence(PlacementId),
}

/// Runs guests. Every verb may be repeated: what is already so is a success.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// All domains that are Tepui's, in whatever state.
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError>;
    /// Defines the domain and starts it; one that runs already is left as it is.
    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError>;
    /// Asks the guest to shut down, through its guest agent when that answers and by ACPI. Does not wait.
    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError>;
    /// Pulls the plug. A domain that is off or unknown is a success.
    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError>;
    /// Resets a running domain as its reset button would.
    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError>;
    /// Removes the definition of a domain that is off. An unknown domain is a success.
    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError>;
    /// Gives a running domain the disks that it lacks, asks it to let go of those whose sources have one of the names
    /// in `leaving`, and returns those that it has then. A domain that is off has none. Guests of a simulation take
    /// any disk and let go of any at once.
    async fn set_disks(
        &self,
        _: PlacementId,
        disks: Vec<DataDisk>,
        _leaving: Vec<String>,
    ) -> Result<LiveDisks, HypervisorError> {
        Ok(LiveDisks { disks: disks.iter().map(DataDisk::live).collect(), unfit: Vec::new() })
    }
    /// Has a running guest hold still. After an error nobody knows whether it does: thaw it. Guests of a simulation have no guest
    /// agent.
    async fn freeze(&self, _: PlacementId, kind: FreezeKind) -> Result<FreezeAnswer, HypervisorError> {
        Ok(match kind {
            FreezeKind::FileSystems => {
                FreezeAnswer::Refused("guests of this simulation have no guest agent".into())
            }
            FreezeKind::Vcpus => FreezeAnswer::Frozen(1),
        })
    }
    /// Has a guest go on that was to hold still, and no other one; what its freeze answered where it held still until now.
    /// `None` of a guest that is off or unknown. After an error ask again.
    async fn thaw(&self, _: PlacementId, kind: FreezeKind) -> Result<Option<u32>, HypervisorError> {
        Ok(Some(match kind {
            FreezeKind::FileSystems => 0,
            FreezeKind::Vcpus => 1,
        }))
    }
    /// Begins to copy what the root disk of a running guest holds at this moment into a new qcow2 file, beside the guest;
    /// `false` of one that does not run. After an error nobody knows whether it began: abort it.
    async fn begin_capture(&self, _: PlacementId, _to: &Path) -> Result<bool, HypervisorError> {
        Ok(false)
    }
    /// How far that is; what has ended is told once.
    async fn capture_state(&self, _: PlacementId) -> Result<CaptureState, HypervisorError> {
        Ok(CaptureState::Failed("guests of this simulation have no captures".into()))
    }
    /// Calls it off; ask for its state until it has ended. Where there is none that is a success.
    async fn abort_capture(&self, _: PlacementId) -> Result<(), HypervisorError> {
        Ok(())
    }
    /// What running guests did with their disks. Those of a simulation do nothing.
    async fn disk_counters(&self) -> Result<Vec<DiskCounters>, HypervisorError> {
        Ok(Vec::new())
    }
    /// The disks of a guest that requests failed on since it was made to run last. Those of a simulation never fail.
    async fn failed_disks(&self, _: PlacementId) -> Result<Vec<FailedDisk>, HypervisorError> {
        Ok(Vec::new())
    }
    /// The volumes that running domains have, and scratch disks with them.
    async fn live_disks(&self) -> Result<BTreeMap<PlacementId, Vec<LiveDisk>>, HypervisorError> {
        Ok(BTreeMap::new())
    }
    /// The exports whose passwords the hypervisor keeps, each with the name that it has for it.
    async fn secrets(&self) -> Result<BTreeMap<ExportId, Uuid>, HypervisorError> {
        Ok(BTreeMap::new())
    }
    /// Has it forget those that no running domain names; those that are left. `None` while a domain is being given a
    /// disk: ask again.
    async fn drop_secrets(&self) -> Result<Option<BTreeMap<ExportId, Uuid>>, HypervisorError> {
        Ok(Some(BTreeMap::new()))
    }
    /// What it is short of on this host, before anything failed for it.
    fn shortage(&self) -> Option<String> {
        None
    }
}
