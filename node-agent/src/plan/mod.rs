//! What to do next, decided without doing anything: pure functions of what is wanted, what is seen
//! and what was done. Execution makes no choices, so every choice can be tested here.
//!
//! One placement's way (the states that are reported are those of
//! [`tepui_types::agent::PlacementState`]):
//!
//! ```text
//!              Start                    AskShutdown
//!   (no domain) ────▶ Live ──────────────────────▶ Live, stopping
//!     ▲   ▲            │ ▲ │ └ Reset ┘                │ guest obeys, or
//!     │   │  by itself │ │ │ force: PowerOff          │ grace is over: PowerOff
//!     │   │            ▼ │ ▼                          ▼
//!     │   │ Remove    off, not noted ─── Note ───▶ off, noted ── Start, when start_seq grew
//!     │   └───────────────────────────────────────────┘
//!     └── the host rebooted: off, not noted, other boot id ── Start
//! ```

mod decide;
mod progress;
mod state;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tepui_libvirt::DomainState;
use tepui_types::PlacementId;
use tepui_types::agent::{DiskPart, PlacementPart, Power, WantedDisk};

pub use decide::{decide, retry_delay};
pub use progress::Progress;
pub use state::state;

/// The agent's own clock: time since it started. It stands still for nobody and never jumps.
pub type Moment = Duration;

/// What holds for every placement of the host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Changes when the host reboots.
    pub boot_id: String,
    /// Now.
    pub now: Moment,
    /// How long a guest may take to shut down before the plug is pulled.
    pub grace: Duration,
}

/// A guest was asked to shut down; lives in memory only, so that a restarted agent asks again and
/// waits the whole grace time once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The first time.
    pub first: Moment,
    /// The last time. A guest that still boots does not hear the power button.
    pub last: Moment,
}

/// A step failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What was wanted then. Something else being wanted ends the waiting.
    pub wanted: Option<PlacementPart>,
    /// The step.
    pub step: &'static str,
    /// Why, for operators.
    pub message: String,
    /// Trying again cannot help.
    pub permanent: bool,
    /// The hypervisor gave no answer.
    pub silent: bool,
    /// How often in a row.
    pub count: u32,
    /// When it may be tried again.
    pub retry_at: Moment,
}

/// One placement: wanted, seen and done.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// Which.
    pub id: PlacementId,
    /// What the ledger's node part says; `None` when it does not name the placement.
    pub wanted: Option<&'a PlacementPart>,
    /// The node's part of this epoch is here, whole, and does not name it.
    pub disowned: bool,
    /// The domain's state; `None` when there is no domain.
    pub domain: Option<DomainState>,
    /// Whether its local root disk is there.
    pub disk: bool,
    /// Whether the ledger holds the parts of all VPCs it has an interface in, with a port for it.
    pub vpcs_known: bool,
    /// What was done.
    pub progress: Option<&'a Progress>,
    /// A shutdown in progress.
    pub asked: Option<Asked>,
    /// When the paused guest was resumed last.
    pub resumed: Option<Moment>,
    /// The last failure, if nothing succeeded since.
    pub failure: Option<&'a Failure>,
}

impl View<'_> {
    /// Whether a hypervisor process may write to the disk.
    pub fn is_live(&self) -> bool {
        match self.domain {
            Some(DomainState::Running | DomainState::Paused | DomainState::ShuttingDown) => true,
            Some(DomainState::Off { .. }) | None => false,
        }
    }

    /// Whether a start that is due has to wait for a disk that nobody serves yet: for any, if it was not carried out
    /// yet, and in any case for the one that the guest boots from.
    pub fn awaits_volumes(&self, host: &Host) -> bool {
        let Some(PlacementPart::Present(spec)) = self.wanted else { return false };
        let Power::Running { start_seq, .. } = spec.power else { return false };
        let is_new = self.progress.map_or(0, |done| done.start_seq) < start_seq;
        let is_due = is_new || self.progress.is_some_and(|done| done.went_down_with_host(&host.boot_id));
        let is_awaited = spec.disks.iter().any(|disk| disk.wanted == DiskPart::Awaited);
        is_new && is_awaited || is_due && self.lacks_root()
    }

    /// Whether the guest boots from a volume that it cannot be given.
    pub fn lacks_root(&self) -> bool {
        let Some(PlacementPart::Present(spec)) = self.wanted else { return false };
        spec.root_disk.is_none() && !spec.disks.iter().any(is_root)
    }

    /// Whether a start of it begins with scratch disks that are made anew: it is one that was asked for after the last
    /// that was carried out. One that only brings the guest back, after a reboot of the host or after it stood still,
    /// finds what the guest had, also where somebody asked for a start while the host was down.
    pub fn renews_scratch(&self, host: &Host) -> bool {
        let Some(PlacementPart::Present(spec)) = self.wanted else { return false };
        let Power::Running { start_seq, .. } = spec.power else { return false };
        let went_down = self.progress.is_some_and(|done| done.went_down_with_host(&host.boot_id));
        !self.is_live() && !went_down && self.progress.map_or(0, |done| done.start_seq) < start_seq
    }

    /// Whether its root disk is a file of this host.
    pub fn has_local_root(&self) -> bool {
        matches!(self.wanted, Some(PlacementPart::Present(spec)) if spec.root_disk.is_some())
    }
}

fn is_root(disk: &WantedDisk) -> bool {
    matches!(&disk.wanted, DiskPart::Attached(spec) if spec.is_root)
}

/// Declares the operations, so that no list of them can miss one.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What can be done to a placement; its stages are those of [`crate::execute::stages_of`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation { $($(#[$doc])* $name,)+ }

        impl Operation {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

operations! {
    /// Make it run.
    Start,
    /// Ask the guest to shut down.
    Stop,
    /// Pull the plug.
    PowerOff,
    /// Press the reset button.
    Reboot,
    /// Remove domain, tap, disks and notes.
    Remove,
    /// Write the ledger only.
    Note,
}

/// An order to the executor.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Which steps.
    pub operation: Operation,
    /// What the ledger says after the operation's record step; `None` removes the record.
    pub record: Option<Progress>,
}

/// What to do with one placement now.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// As wanted, or nothing that can be done.
    Settled,
    /// Look again at this time, or earlier when something changes.
    Wait(Moment),
    /// Do this.
    Act(Action),
}
