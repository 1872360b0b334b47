//! The state of a domain as libvirt tells it.

use tepui_types::PlacementId;
use virt::sys;

/// One of our domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainStatus {
    /// The placement in the domain's name.
    pub id: PlacementId,
    /// Its state.
    pub state: DomainState,
}

/// The state of a domain.
///
/// ```text
///  (none) ── start ──▶ Running ◀── resume ── Paused
///                       │  │  ▲                │
///      request_shutdown │  │  └── start ───┐   │ force_off
///                       ▼  └─ force_off ─┐ │   │
///                  ShuttingDown ────────▶ Off ◀┘ ── forget ──▶ (none)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DomainState {
    /// The guest runs.
    Running,
    /// The guest's CPUs stand still, for example because a disk write failed on the host;
    /// [`LibvirtHost::start`](crate::LibvirtHost::start) resumes it.
    Paused,
    /// The guest is powering off.
    ShuttingDown,
    /// The domain is defined and does not run.
    Off {
        /// Why.
        reason: OffReason,
    },
}

/// Why a domain is off. libvirt keeps it in memory: after a restart of libvirtd it is
/// [`OffReason::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffReason {
    /// [`LibvirtHost::force_off`](crate::LibvirtHost::force_off).
    Requested,
    /// The guest powered itself off, by itself or because it was asked to.
    Guest,
    /// QEMU died.
    Crashed,
    /// The last start failed.
    Failed,
    /// Never started, or libvirtd restarted since.
    Unknown,
}

impl DomainState {
    /// From libvirt's `virDomainState` and its reason. A guest that suspended itself runs as it wishes. A state that libvirt might add later counts
    /// as running: nothing is ever started or removed because of it.
    pub(crate) fn from_libvirt(state: sys::virDomainState, reason: i32) -> Self {
        match state {
            sys::VIR_DOMAIN_PAUSED => Self::Paused,
            sys::VIR_DOMAIN_SHUTDOWN => Self::ShuttingDown,
            sys::VIR_DOMAIN_SHUTOFF => Self::Off { reason: OffReason::from_libvirt(reason) },
            sys::VIR_DOMAIN_CRASHED => Self::Off { reason: OffReason::Crashed },
            _ => Self::Running,
        }
    }
}

impl OffReason {
    /// From libvirt's `virDomainShutoffReason`. When a restarted libvirtd finds QEMU gone it says
    /// `daemon` or nothing; whether the guest powered off or QEMU died is lost then.
    fn from_libvirt(reason: i32) -> Self {
        match reason as sys::virDomainShutoffReason {
            sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => Self::Guest,
            sys::VIR_DOMAIN_SHUTOFF_DESTROYED => Self::Requested,
            sys::VIR_DOMAIN_SHUTOFF_CRASHED => Self::Crashed,
            sys::VIR_DOMAIN_SHUTOFF_FAILED => Self::Failed,
            _ => Self::Unknown,
        }
    }
}
