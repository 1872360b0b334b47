//! What a call to libvirt can end with.

use std::time::Duration;

use tepui_types::PlacementId;
use tepui_types::failpoint::Tripped;

/// Why a verb of [`LibvirtHost`](crate::LibvirtHost) failed. Every verb is idempotent, so after any
/// of these the caller may repeat it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// libvirtd cannot be reached, or every connection hangs. It says nothing about the guests:
    /// they run on without libvirtd.
    #[error("libvirt at {uri} cannot be used: {message}")]
    Unavailable {
        /// The connection's address.
        uri: String,
        /// libvirt's words, or what the pool found.
        message: String,
    },
    /// No answer in time. The call cannot be taken back and may still take effect.
    #[error("libvirt did not answer '{call}' within {after:?}")]
    Deadline {
        /// The verb.
        call: &'static str,
        /// How long the caller waited.
        after: Duration,
    },
    /// A call on the domain that is overdue has had no answer yet, and another one would only wait behind it.
    #[error("the hypervisor process of {id} does not answer: an earlier call still waits for it")]
    Silent {
        /// The placement.
        id: PlacementId,
    },
    /// The domain vanished while the verb worked on it.
    #[error("there is no domain for {id}")]
    NoSuchDomain {
        /// The placement.
        id: PlacementId,
    },
    /// libvirt or QEMU answered and would not do it.
    #[error("libvirt refused '{call}': {message} (code {code})")]
    Refused {
        /// The verb.
        call: &'static str,
        /// libvirt's `virErrorNumber`.
        code: u32,
        /// libvirt's words.
        message: String,
    },
    /// The spec cannot become a domain; nothing was tried.
    #[error("{field} '{value}': {rule}")]
    Spec {
        /// The field of [`DomainSpec`](crate::DomainSpec).
        field: &'static str,
        /// Its value, with control characters escaped.
        value: String,
        /// What the field must be.
        rule: &'static str,
    },
    /// A test made it fail.
    #[error(transparent)]
    Failpoint(#[from] Tripped),
}

impl Error {
    /// Whether an answer is missing, and not refused: of a libvirtd that otherwise answers it means that the
    /// domain's QEMU hangs.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Deadline { .. } | Self::Silent { .. } => true,
            // libvirt waits half a minute for the call before it on the same domain.
            Self::Refused { code, .. } => *code == virt::sys::VIR_ERR_OPERATION_TIMEOUT,
            Self::Unavailable { .. } | Self::NoSuchDomain { .. } | Self::Spec { .. } | Self::Failpoint(_) => {
                false
            }
        }
    }
}
