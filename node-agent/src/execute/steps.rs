//! The steps of each operation.

use std::sync::{Arc, PoisonError};

use tepui_libvirt::{DiskFormat, DomainSpec, Overlay, Root, ScratchDisk};
use tepui_types::PlacementId;
use tepui_types::VpcId;
use tepui_types::agent::PlacementSpec;

use super::{Executor, Job, StepError};
use crate::network::GUEST_MTU;
use crate::plan::{Operation, Progress};

/// One step; each can be done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The image is on this host, if the root disk is local.
    Image,
    /// The overlay is there, if the root disk is local.
    Overlay,
    /// The scratch disks are there, if there are any; empty in a start that follows a stop.
    Scratch,
    /// The tap is there, with all filters.
    Network,
    /// The domain runs.
    Domain,
    /// The guest was asked to shut down.
    Ask,
    /// The domain is off.
    PowerOff,
    /// The domain was reset.
    Reset,
    /// The domain's definition is gone.
    Forget,
    /// The tap is gone.
    Unplug,
    /// The overlay is gone.
    Disk,
    /// The scratch disks are gone.
    Discard,
    /// The console's log is gone.
    Console,
    /// The ledger knows.
    Record,
}

/// What an operation does: stages in this order, the steps of one stage at the same time. Stopping is
/// recorded first, so that a guest which obeys is not taken for one that went off by itself; everything
/// else is recorded when it is done.
pub const fn stages_of(operation: Operation) -> &'static [&'static [Step]] {
    match operation {
        Operation::Start => &[
            &[Step::Image],
            &[Step::Overlay, Step::Scratch, Step::Network],
            &[Step::Domain],
            &[Step::Record],
        ],
        Operation::Stop => &[&[Step::Record], &[Step::Ask]],
        Operation::PowerOff => &[&[Step::Record], &[Step::PowerOff]],
        Operation::Reboot => &[&[Step::Reset], &[Step::Record]],
        Operation::Remove => &[
            &[Step::Forget],
            &[Step::Unplug],
            &[Step::Disk],
            &[Step::Discard],
            &[Step::Console],
            &[Step::Record],
        ],
        Operation::Note => &[&[Step::Record]],
    }
}

/// Every step of every operation, in their order.
pub fn steps() -> impl Iterator<Item = (Operation, Step)> {
    let of = |operation: &Operation| {
        let operation = *operation;
        stages_of(operation).iter().copied().flatten().map(move |step| (operation, *step))
    };
    Operation::ALL.iter().flat_map(of)
}

impl Operation {
    /// In the name of a fail point.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::PowerOff => "power_off",
            Self::Reboot => "reboot",
            Self::Remove => "remove",
            Self::Note => "note",
        }
    }
}

impl Step {
    /// In reports and in the name of a fail point.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Overlay => "disk",
            Self::Scratch => "scratch",
            Self::Network => "network",
            Self::Domain => "domain",
            Self::Ask => "ask",
            Self::PowerOff => "power_off",
            Self::Reset => "reset",
            Self::Forget => "forget",
            Self::Unplug => "unplug",
            Self::Disk => "remove_disk",
            Self::Discard => "remove_scratch",
            Self::Console => "remove_console",
            Self::Record => "record",
        }
    }
}

impl Executor {
    pub(super) async fn step(&self, job: &Job, step: Step) -> Result<(), StepError> {
        match step {
            Step::Image => self.image(job.spec()?).await,
            Step::Overlay => self.overlay(job, job.spec()?).await,
            Step::Scratch => self.scratch(job, job.spec()?).await,
            Step::Network => Ok(self.network.ensure_for(&vpcs(job.spec()?)).await?),
            Step::Unplug => Ok(self.network.ensure_for(&[]).await?),
            Step::Domain => Ok(self.hypervisor.start(&self.domain(job, job.spec()?)?).await?),
            Step::Ask => Ok(self.hypervisor.request_shutdown(job.id).await?),
            Step::PowerOff => Ok(self.hypervisor.force_off(job.id).await?),
            Step::Reset => Ok(self.hypervisor.reset(job.id).await?),
            Step::Forget => Ok(self.hypervisor.forget(job.id).await?),
            Step::Disk => Ok(self.disks.remove(job.id).await?),
            Step::Discard => Ok(self.disks.discard_scratch(job.id).await?),
            Step::Console => Ok(self.remove_console(job)?),
            Step::Record => self.record(job).await,
        }
    }

    async fn image(&self, spec: &PlacementSpec) -> Result<(), StepError> {
        match &spec.root_disk {
            Some(disk) => Ok(self.disks.ensure_image(disk).await?),
            None => Ok(()),
        }
    }

    /// The mark comes after the disk and before the domain: whatever fails later, a guest that may have
    /// written to the disk is never given a fresh one.
    async fn overlay(&self, job: &Job, spec: &PlacementSpec) -> Result<(), StepError> {
        let Some(disk) = &spec.root_disk else { return Ok(()) };
        self.disks.ensure_overlay(job.id, disk, job.ran_before).await?;
        self.change_ledger(job.id, |done| Some(Progress { disk_made: true, ..done.unwrap_or_default() }))
            .await
    }

    /// The record comes before the disks: whatever fails later, the placement has one, and is removed with all that it
    /// has here.
    async fn scratch(&self, job: &Job, spec: &PlacementSpec) -> Result<(), StepError> {
        if spec.scratch.is_none() {
            return Ok(());
        }
        self.change_ledger(job.id, |done| Some(done.unwrap_or_default())).await?;
        Ok(self.disks.ensure_scratch(job.id, spec.scratch, job.renews_scratch).await?)
    }

    fn domain(&self, job: &Job, spec: &PlacementSpec) -> Result<DomainSpec, StepError> {
        let interface = spec.metadata.interfaces.first().ok_or(StepError::Spec("it has no interface"))?;
        let tap = self.network.tap_name(job.id).ok_or(StepError::NoPort)?;
        Ok(DomainSpec {
            placement_id: job.id,
            instance_id: spec.instance_id,
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            accelerator: self.accelerator,
            root: self.root(job.id, spec)?,
            tap,
            mac: interface.mac,
            mtu: u16::try_from(GUEST_MTU).unwrap_or(u16::MAX),
            disks: crate::volumes::disks_of(spec),
            scratch: self.scratch_disks(job.id, spec),
            console_log: self.consoles.join(crate::console::file_name(job.id)),
        })
    }

    fn root(&self, id: PlacementId, spec: &PlacementSpec) -> Result<Root, StepError> {
        let Some(disk) = &spec.root_disk else {
            let root = crate::volumes::root_of(spec).ok_or(StepError::Spec("it has no root disk"))?;
            return Ok(Root::Volume(root));
        };
        let paths = self.disks.paths(id, disk);
        let (base_format, serial) = (DiskFormat::Raw, crate::volumes::serial(disk.volume_id));
        Ok(Root::Overlay(Overlay { path: paths.overlay, base: paths.base, base_format, serial }))
    }

    fn scratch_disks(&self, id: PlacementId, spec: &PlacementSpec) -> Vec<ScratchDisk> {
        let disk = |(kind, _, letter)| ScratchDisk { kind, letter, path: self.disks.scratch_path(id, kind) };
        spec.scratch.each().map(disk).collect()
    }

    fn remove_console(&self, job: &Job) -> Result<(), StepError> {
        let path = self.consoles.join(crate::console::file_name(job.id));
        let removed = crate::console::remove(&path);
        removed.map_err(|source| crate::disks::DiskError::File { path, source }.into())
    }

    async fn record(&self, job: &Job) -> Result<(), StepError> {
        let record = job.action.record.clone();
        self.change_ledger(job.id, |_| record).await
    }

    async fn change_ledger(
        &self,
        id: PlacementId,
        change: impl FnOnce(Option<Progress>) -> Option<Progress> + Send + 'static,
    ) -> Result<(), StepError> {
        let ledger = Arc::clone(&self.ledger);
        let write = move || {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let record = change(ledger.progress().get(&id).cloned());
            ledger.record(id, record)
        };
        Ok(tokio::task::spawn_blocking(write).await.map_err(|_| StepError::Ending)??)
    }
}

fn vpcs(spec: &PlacementSpec) -> Vec<VpcId> {
    spec.metadata.interfaces.iter().map(|interface| interface.vpc_id).collect()
}
