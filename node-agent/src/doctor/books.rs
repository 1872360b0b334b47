//! The ledger against the domains and disks that it speaks of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tepui_libvirt::DomainState;
use tepui_types::PlacementId;
use tepui_types::agent::{OffReason, PlacementPart, Power, ScratchKind};

use super::{Finding, Inventory, Subject, failure, is_live, warning};
use crate::agent::{Layout, StartError};
use crate::disks::scratch;
use crate::freezes::{self, FreezeRecord};
use crate::ledger::{Ledger, Seal, Wanted};
use crate::plan::Progress;

/// What the ledger says.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// What is wanted.
    pub wanted: Wanted,
    /// What was done.
    pub progress: BTreeMap<PlacementId, Progress>,
    /// The guests that hold still, or did.
    pub freezes: BTreeMap<PlacementId, FreezeRecord>,
}

impl Books {
    /// Reads the ledger below `data_dir` and changes nothing. Before the agent ran there is none.
    pub fn read(data_dir: &Path) -> Result<Self, StartError> {
        let layout = Layout(data_dir);
        if !layout.ledger().exists() {
            return Ok(Self::default());
        }
        let seal = layout.seal();
        let seal = Seal::load(&seal).map_err(|source| StartError::File { path: seal, source })?;
        let ledger = Ledger::look(&layout.ledger(), seal)?;
        let file = layout.freezes();
        let freezes = freezes::read(&file).map_err(|source| StartError::File { path: file, source })?;
        Ok(Self { wanted: ledger.wanted(), progress: ledger.progress().clone(), freezes })
    }

    /// The placements that it speaks of. `None` where it cannot be told who is a stranger.
    pub(super) fn known(&self) -> Option<BTreeSet<PlacementId>> {
        let known = self.named()?.chain(self.progress.keys().copied()).collect();
        Some(known)
    }

    /// The placements that the control plane names.
    fn named(&self) -> Option<impl Iterator<Item = PlacementId>> {
        self.wanted.names_everyone().then(|| self.wanted.node.placements.iter().map(|placement| placement.id))
    }
}

/// Compares. Without libvirt's word only what needs none is compared.
pub fn compare(books: &Books, inventory: &Inventory) -> Vec<Finding> {
    let damaged = books.wanted.damaged.iter().map(|key| {
        let cure = "wait for the agent, which asks the control plane for it; guests run on meanwhile";
        failure(Subject::Ledger, "ledger", format!("the file of the part {key:?} is damaged"), cure)
    });
    let Some(domains) = &inventory.domains else { return damaged.collect() };
    let placements = books.wanted.node.placements.iter();
    let placements = placements
        .filter_map(|placement| placement_finding(placement.id, &placement.wanted, books, inventory));
    placements.chain(damaged).chain(strangers(books, domains)).collect()
}

fn placement_finding(
    id: PlacementId,
    wanted: &PlacementPart,
    books: &Books,
    inventory: &Inventory,
) -> Option<Finding> {
    let domain = inventory.domains.as_ref().and_then(|domains| domains.get(&id));
    let live = domain.is_some_and(is_live);
    let disk = inventory.disks.ages.contains_key(&format!("{id}.qcow2"));
    let scratch = scratch_disks(id, inventory);
    let done = books.progress.get(&id);
    let found = |what, cure| Some(failure(Subject::Guests, id.to_string(), what, cure));
    match wanted {
        PlacementPart::Absent { .. } if live || disk || scratch > 0 || done.is_some() => found(
            "it is to be removed and still here",
            "wait for the agent; if it stays, see the agent's log for the step that fails",
        ),
        PlacementPart::Absent { .. } => None,
        PlacementPart::Present(spec)
            if spec.root_disk.is_some() && done.is_some_and(Progress::has_disk) && !disk =>
        {
            found(
                "it ran before and its disk file is gone",
                "restore the file from a backup, or terminate the instance",
            )
        }
        PlacementPart::Present(_) if !live && done.is_some_and(is_unknown) => found(
            "it is off, and the record of what was done for it is damaged or was: it is not started by itself",
            "start the instance if it is to run, or terminate it; both need the agent",
        ),
        PlacementPart::Present(spec) if live && scratch < spec.scratch.each().count() => found(
            "the file of a scratch or swap disk is gone; its guest keeps what it has of it until it stops",
            "stop and start the instance, which then has new ones",
        ),
        PlacementPart::Present(_) if domain == Some(&DomainState::Paused) => found(
            "its guest stands still, most likely because a write to its disk failed",
            "free space on the host's disk or repair it; the agent resumes the guest",
        ),
        PlacementPart::Present(spec) => match spec.power {
            Power::Running { start_seq, .. } if !live && done.is_none_or(|done| starts(done, start_seq)) => {
                found(
                    "it should run and does not",
                    "is the agent running? See its log for the step that fails",
                )
            }
            Power::Stopped { .. } if live => found(
                "it should be off and runs",
                "wait for the guest to shut down; the agent pulls the plug after the grace time",
            ),
            Power::Running { .. } | Power::Stopped { .. } => None,
        },
    }
}

/// How many of a placement's scratch disks are here.
fn scratch_disks(id: PlacementId, inventory: &Inventory) -> usize {
    let is_here = |kind: &&ScratchKind| inventory.disks.ages.contains_key(&scratch::file_name(id, **kind));
    ScratchKind::ALL.iter().filter(is_here).count()
}

fn is_unknown(done: &Progress) -> bool {
    done.lost || done.off == Some(OffReason::Unknown)
}

fn starts(done: &Progress, start_seq: u64) -> bool {
    done.off.is_none() || done.start_seq < start_seq
}

/// A domain that no part names may be somebody's guest, and every one is while the node's part is not here.
fn strangers(books: &Books, domains: &BTreeMap<PlacementId, DomainState>) -> Vec<Finding> {
    let Some(named) = books.named() else { return Vec::new() };
    let named: BTreeSet<_> = named.collect();
    let strangers = domains.iter().filter(|(id, _)| !named.contains(id));
    let told = strangers.map(|(id, state)| {
        let what = "a domain that the control plane does not name; the agent leaves it as it is";
        let cure = "if nobody needs it: `virsh destroy` and `virsh undefine` it";
        let finding = if is_live(state) { failure } else { warning };
        finding(Subject::Guests, id.to_string(), what.to_owned(), cure)
    });
    told.collect()
}
