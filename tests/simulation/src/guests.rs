//! The guests of one host: the agent's simulated hypervisor, with a journal of everything that was done to
//! them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tepui_agent::hypervisor::{Hypervisor, HypervisorError, SimulatedHypervisor, SimulatedSettings};
use tepui_libvirt::{DomainSpec, DomainStatus, FreezeAnswer, OffReason};
use tepui_types::agent::FreezeKind;
use tepui_types::{InstanceId, PlacementId};

/// What the agent did to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It was off, and was started.
    Started(InstanceId),
    /// It was running, and was asked to go off or forced to.
    Stopped,
    /// It was reset.
    Reset,
    /// Its definition was removed.
    Forgotten,
}

/// A guest that is defined on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) running: bool,
    pub(crate) resets: u32,
}

/// They outlive agents.
pub(crate) struct Guests {
    hypervisor: SimulatedHypervisor,
    known: Mutex<BTreeMap<PlacementId, Guest>>,
    journal: Mutex<Vec<(PlacementId, Deed)>>,
}

impl Guests {
    pub(crate) fn new(settings: SimulatedSettings) -> Self {
        let hypervisor = SimulatedHypervisor::new(settings);
        Self { hypervisor, known: Mutex::default(), journal: Mutex::default() }
    }

    /// Everything since the last call, guest by guest: what was done to different ones at the same time comes
    /// in any order.
    pub(crate) fn take_journal(&self) -> Vec<(PlacementId, Deed)> {
        let mut journal = std::mem::take(&mut *self.journal.lock().unwrap_or_else(PoisonError::into_inner));
        journal.sort_by_key(|(id, _)| *id);
        journal
    }

    /// All that are defined.
    pub(crate) fn all(&self) -> BTreeMap<PlacementId, Guest> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A guest powers itself off, or its QEMU dies.
    pub(crate) fn goes_off(&self, id: PlacementId, reason: OffReason) {
        self.hypervisor.goes_off(id, reason);
        self.change(|known| {
            if let Some(guest) = known.get_mut(&id) {
                guest.running = false;
            }
        });
    }

    /// The host lost power.
    pub(crate) fn host_reboots(&self) {
        self.hypervisor.host_reboots();
        self.change(|known| known.values_mut().for_each(|guest| guest.running = false));
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<PlacementId, Guest>) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, id: PlacementId, deed: Deed) {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).push((id, deed));
    }

    fn note_off(&self, id: PlacementId) {
        let was_running = self.change(|known| {
            known.get_mut(&id).is_some_and(|guest| std::mem::replace(&mut guest.running, false))
        });
        if was_running {
            self.note(id, Deed::Stopped);
        }
    }
}

#[async_trait]
impl Hypervisor for Guests {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        self.hypervisor.domains().await
    }

    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        let id = spec.placement_id;
        self.hypervisor.start(spec).await?;
        let was_running = self.change(|known| {
            let guest = known.entry(id).or_insert(Guest { running: false, resets: 0 });
            std::mem::replace(&mut guest.running, true)
        });
        if !was_running {
            self.note(id, Deed::Started(spec.instance_id));
        }
        Ok(())
    }

    /// The guest obeys at once.
    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.note_off(id);
        self.hypervisor.request_shutdown(id).await
    }

    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.note_off(id);
        self.hypervisor.force_off(id).await
    }

    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.change(|known| {
            if let Some(guest) = known.get_mut(&id) {
                guest.resets += 1;
            }
        });
        self.note(id, Deed::Reset);
        self.hypervisor.reset(id).await
    }

    async fn freeze(&self, id: PlacementId, kind: FreezeKind) -> Result<FreezeAnswer, HypervisorError> {
        self.hypervisor.freeze(id, kind).await
    }

    async fn thaw(&self, id: PlacementId, kind: FreezeKind) -> Result<Option<u32>, HypervisorError> {
        self.hypervisor.thaw(id, kind).await
    }

    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError> {
        let was_running = self.change(|known| known.remove(&id)).is_some_and(|guest| guest.running);
        if was_running {
            self.note(id, Deed::Stopped);
        }
        self.note(id, Deed::Forgotten);
        self.hypervisor.forget(id).await
    }
}
