//! What the reconciler publishes.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use tepui_types::PlacementId;
use tepui_types::agent::{
    DiskIo, HavePart, HostFinding, PartKey, PlacementObserved, PlacementPart, RefusedPart, StalledDisk,
    StorageObserved,
};

use super::{Pass, Reconciler};
use crate::execute::Step;
use crate::ledger::Wanted;
use crate::plan::{Operation, state};
use crate::volumes::Stall;

/// The part of a report that changes by itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// A look was taken; before that nothing can be said of any placement.
    pub looked: bool,
    /// Parts that were acted on.
    pub applied: Vec<HavePart>,
    /// Parts that were refused.
    pub refused: Vec<RefusedPart>,
    /// The placements.
    pub placements: Vec<PlacementObserved>,
    /// Why guests cannot start now.
    pub impaired: Option<String>,
    /// The pools; `None` on a host without a storage part, and before the first look.
    pub storage: Option<StorageObserved>,
    /// What guests did with their volumes.
    pub io: Vec<DiskIo>,
    /// Guests that had to be resumed and stand still.
    pub still: BTreeSet<PlacementId>,
    /// The volumes for which they do.
    pub stalled: Vec<StalledDisk>,
    /// What the agent found on its rounds.
    pub findings: Vec<HostFinding>,
}

fn damage(wanted: &Wanted) -> Option<String> {
    let name = |key: &PartKey| match key {
        PartKey::Node(id) => id.to_string(),
        PartKey::Vpc(id) => id.to_string(),
        PartKey::Storage(_) => "the storage part".to_owned(),
    };
    let names: Vec<_> = wanted.damaged.iter().map(name).collect();
    (!names.is_empty())
        .then(|| format!("the ledger's parts are damaged, and asked for again: {}", names.join(", ")))
}

/// Guests that stand still for a disk of their host: it is full or broken.
fn still_guests(stalls: &[(PlacementId, Stall)]) -> Option<String> {
    let still = stalls.iter().filter(|(_, stall)| stall.is_hosts);
    let still: Vec<_> = still.map(|(id, _)| id.to_string()).collect();
    (!still.is_empty()).then(|| {
        format!("guests stand still, most likely because a write to a disk failed: {}", still.join(", "))
    })
}

impl Reconciler {
    pub(super) fn observe(&self, pass: &Pass) -> Observed {
        let looked = self.known.is_some();
        let everyone = if looked { self.everyone(pass) } else { BTreeSet::new() };
        let lock = |text: &std::sync::Mutex<Option<String>>| {
            text.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        let still: BTreeSet<_> = self.resumed.keys().copied().filter(|id| self.stands_still(*id)).collect();
        let stalls: Vec<_> = still.iter().map(|id| (*id, self.shared.volumes.stall(*id))).collect();
        Observed {
            looked,
            applied: if looked { pass.wanted.parts.clone() } else { Vec::new() },
            refused: self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            placements: everyone.into_iter().map(|id| self.placement(pass, id)).collect(),
            impaired: self
                .trouble
                .clone()
                .or_else(|| lock(&self.shared.network_trouble))
                .or_else(|| still_guests(&stalls))
                .or_else(|| self.silent_guests(pass))
                .or_else(|| self.shortage.clone())
                .or_else(|| damage(&pass.wanted)),
            storage: self.shared.storage.seen(),
            io: self.shared.volumes.io(),
            stalled: stalls.into_iter().flat_map(|(_, stall)| stall.volumes).collect(),
            findings: self.shared.findings.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            still,
        }
    }

    /// A guest whose QEMU does not answer what is asked of it now.
    fn silent_guests(&self, pass: &Pass) -> Option<String> {
        let is_silent = |id: &PlacementId| {
            let view = self.view(pass, *id);
            let failure = view.failure.filter(|failure| failure.wanted.as_ref() == view.wanted);
            view.is_live() && failure.is_some_and(|failure| failure.silent)
        };
        let silent: Vec<_> =
            self.failures.keys().filter(|id| is_silent(id)).map(PlacementId::to_string).collect();
        (!silent.is_empty())
            .then(|| format!("the hypervisor processes of guests hang: {}", silent.join(", ")))
    }

    fn placement(&self, pass: &Pass, id: PlacementId) -> PlacementObserved {
        let view = self.view(pass, id);
        let in_work = self.in_work.get(&id);
        let step = in_work.map(|work| (work.operation, self.step_text(view.wanted, work.whereabouts.step())));
        let in_work = step.as_ref().map(|(operation, text)| (*operation, text.as_str()));
        let state = state(&view, &pass.host, in_work.filter(|(operation, _)| *operation == Operation::Start));
        PlacementObserved {
            id,
            state,
            wanted: view.wanted.is_some(),
            disks: self.shared.volumes.seen(id),
            freeze: self.shared.freezes.seen(id),
        }
    }

    /// For people: `image 41 %`, `disk`, `network`, `domain`.
    fn step_text(&self, wanted: Option<&PlacementPart>, step: Option<Step>) -> String {
        let name = step.map_or("queued", Step::name);
        match (step, wanted) {
            (Some(Step::Image), Some(PlacementPart::Present(spec))) => {
                let digest = spec.root_disk.as_ref().map(|disk| disk.image_digest);
                let percent = digest.and_then(|digest| self.shared.executor.disks.image_percent(digest));
                percent.map_or_else(|| name.to_owned(), |percent| format!("{name} {percent} %"))
            }
            (Some(_) | None, _) => name.to_owned(),
        }
    }
}
