//! Guests that stand still because a disk failed: which disk it is, and whose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use tepui_libvirt::FailedDisk;
use tepui_types::agent::StalledDisk;
use tepui_types::{ExportId, PlacementId};

use super::{Power, VolumeKeeper};

/// Why a guest stands still.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stall {
    /// It is for its host to mend: a disk there failed, or nobody can tell which did.
    pub(crate) is_hosts: bool,
    /// Its volumes that failed.
    pub(crate) volumes: Vec<StalledDisk>,
}

impl VolumeKeeper {
    /// Why a guest stands still that does. While QEMU was not asked yet, nothing is said of one that has volumes.
    pub(crate) fn stall(&self, id: PlacementId) -> Stall {
        let volumes = self.volumes_of(id);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failed) = failed.get(&id) else {
            return Stall { is_hosts: volumes.is_empty(), volumes: Vec::new() };
        };
        let stalled = |disk: &FailedDisk| {
            Some(StalledDisk { export_id: *volumes.get(&disk.device)?, failure: disk.failure })
        };
        let stalled: Vec<_> = failed.iter().filter_map(stalled).collect();
        Stall { is_hosts: stalled.is_empty() || stalled.len() < failed.len(), volumes: stalled }
    }

    /// Asks which disks failed of these guests, which stand still, and forgets all others; whether there is news. A guest
    /// that was made to run a moment ago has none until its next request fails: what it said last counts.
    pub(crate) async fn ask_stalled(&self, still: &BTreeSet<PlacementId>) -> bool {
        let mut answers = BTreeMap::new();
        for id in still {
            match self.hypervisor.failed_disks(*id).await {
                Ok(answer) => drop(answers.insert(*id, answer)),
                // It is asked again.
                Err(error) => {
                    tracing::debug!(placement = %id, message = crate::chain(&error), "QEMU does not say")
                }
            }
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failed.clone();
        failed.retain(|id, _| still.contains(id));
        for (id, answer) in answers {
            let known = failed.entry(id).or_default();
            if !answer.is_empty() {
                *known = answer;
            }
        }
        *failed != before
    }

    /// The volumes that a running guest has, by their devices there.
    fn volumes_of(&self, id: PlacementId) -> BTreeMap<String, ExportId> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get(&id).filter(|seen| matches!(seen.power, Power::On(_)));
        seen.map(|seen| seen.devices().collect()).unwrap_or_default()
    }
}
