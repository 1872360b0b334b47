//! Carries out what the planner decided, stage by stage, and makes no choices. Every step may be
//! repeated, and the agent may die before any of them: the planner then finds the same or a later step
//! to do.

mod network;
mod steps;

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use tepui_libvirt::Accelerator;
use tepui_types::PlacementId;
use tepui_types::agent::{PlacementPart, PlacementSpec};
use tepui_types::failpoint::{self, Tripped};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::captures::{CaptureKeeper, Hold};
use crate::disks::{DiskError, Disks};
use crate::hypervisor::{Hypervisor, HypervisorError};
use crate::ledger::{Ledger, LedgerError};
use crate::network::NetworkError;
use crate::plan::{Action, Operation};

pub use network::NetworkKeeper;
pub use steps::{Step, stages_of, steps};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A disk, or the root disk's image.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The network.
    #[error(transparent)]
    Network(#[from] Arc<NetworkError>),
    /// The hypervisor.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A test made it fail.
    #[error(transparent)]
    Failpoint(#[from] Tripped),
    /// The desired state cannot be carried out.
    #[error("{0}")]
    Spec(&'static str),
    /// The part of its VPC that was applied last has no port for it; a newer one may.
    #[error("its VPC has no port for it")]
    NoPort,
    /// The agent ends.
    #[error("the agent ends")]
    Ending,
}

impl StepError {
    /// Whether trying again cannot help as long as the same is wanted.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Disk(error) => error.is_permanent(),
            Self::Hypervisor(HypervisorError::Domain { source, .. }) => {
                matches!(source, tepui_libvirt::Error::Spec { .. })
            }
            Self::Spec(_) => true,
            Self::Network(_)
            | Self::Hypervisor(
                HypervisorError::List(_)
                | HypervisorError::Counters(_)
                | HypervisorError::Disks(_)
                | HypervisorError::Secrets { .. }
                | HypervisorError::Simulated(_)
                | HypervisorError::SimulatedSilence(_),
            )
            | Self::Ledger(_)
            | Self::NoPort
            | Self::Failpoint(_)
            | Self::Ending => false,
        }
    }

    /// Whether the hypervisor gave no answer, as it does while a guest's QEMU hangs.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Hypervisor(HypervisorError::Domain { source, .. }) if source.is_silence())
    }
}

/// A step and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("step '{}' failed", step.name())]
pub struct OperationError {
    /// Which.
    pub step: Step,
    /// Why.
    #[source]
    pub source: StepError,
}

/// Where an operation is, for the report.
#[derive(Debug, Clone, Default)]
pub struct Whereabouts(Arc<Mutex<Option<Step>>>);

impl Whereabouts {
    /// The step under way.
    pub fn step(&self) -> Option<Step> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, step: Step) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
    }
}

/// One operation on one placement.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which placement.
    pub id: PlacementId,
    /// What is wanted of it; `None` when no part names it.
    pub wanted: Option<PlacementPart>,
    /// It ran before, so its disk must be there.
    pub ran_before: bool,
    /// Its scratch disks are to be made anew.
    pub renews_scratch: bool,
    /// What to do.
    pub action: Action,
    /// Told at each step.
    pub whereabouts: Whereabouts,
}

impl Job {
    fn spec(&self) -> Result<&PlacementSpec, StepError> {
        match &self.wanted {
            Some(PlacementPart::Present(spec)) => Ok(spec),
            Some(PlacementPart::Absent { .. }) | None => {
                Err(StepError::Spec("no part describes the placement"))
            }
        }
    }
}

/// Has everything a step needs.
pub struct Executor {
    /// Runs guests.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Makes disks.
    pub disks: Arc<dyn Disks>,
    /// Captures root disks.
    pub captures: Arc<CaptureKeeper>,
    /// Makes networks.
    pub network: Arc<NetworkKeeper>,
    /// Remembers.
    pub ledger: Arc<Mutex<Ledger>>,
    /// Bounds the steps under way, downloads excepted: they may take long and block nobody.
    pub permits: Semaphore,
    /// How guests run.
    pub accelerator: Accelerator,
    /// Where consoles are logged.
    pub consoles: std::path::PathBuf,
}

/// Steps under way at once. Enough to keep the hypervisor's connections busy while others wait for disks.
pub const STEPS_AT_ONCE: usize = 32;

impl Executor {
    /// Carries out one operation.
    pub async fn perform(&self, job: &Job) -> Result<(), OperationError> {
        let _hold = self.hold_captures(job).await;
        for stage in stages_of(job.action.operation) {
            // All of a stage come to their end, also when one fails: none is cut off half-way.
            let done = join_all(stage.iter().map(|step| self.pass(job, *step))).await;
            done.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// No capture reads a disk that its guest begins to write, or that goes.
    async fn hold_captures(&self, job: &Job) -> Option<Hold> {
        match job.action.operation {
            Operation::Start | Operation::Remove => Some(self.captures.hold(job.id).await),
            Operation::Stop | Operation::PowerOff | Operation::Reboot | Operation::Note => None,
        }
    }

    async fn pass(&self, job: &Job, step: Step) -> Result<(), OperationError> {
        job.whereabouts.at(step);
        let begun = Instant::now();
        let done = self.take(job, step).await;
        tracing::debug!(placement = %job.id, step = step.name(), took = ?begun.elapsed(), "step");
        done.map_err(|source| OperationError { step, source })
    }

    async fn take(&self, job: &Job, step: Step) -> Result<(), StepError> {
        failpoint::hit(&point(job.action.operation, step))?;
        if step == Step::Image {
            return self.step(job, step).await;
        }
        let permit = self.permits.acquire().await.map_err(|_| StepError::Ending)?;
        let done = self.step(job, step).await;
        drop(permit);
        done
    }
}

/// The fail point before a step.
pub fn point(operation: Operation, step: Step) -> String {
    format!("agent::{}::{}", operation.name(), step.name())
}
