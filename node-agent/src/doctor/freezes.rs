//! Guests that hold still for snapshots: those that do for longer than they may, and those that only seem to be in trouble.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use tepui_libvirt::{DomainState, domain_name};
use tepui_types::agent::FreezeKind;
use tepui_types::{PlacementId, Timestamp};

use super::{Finding, Inventory, Subject, failure, is_live};
use crate::freezes::FreezeRecord;

/// The agent has a guest hold still for ten seconds at most; the rest is for asking it and for thawing it.
const LONGEST: SignedDuration = SignedDuration::from_secs(30);

type Records = BTreeMap<PlacementId, FreezeRecord>;

/// Counts guests that the agent has paused as running, and tells which these are: they go on by themselves. The records are those of before the look at
/// the domains and of after it: what was paused in between is in one of them.
pub(super) fn excuse(inventory: &mut Inventory, before: &Records, after: &Records) -> BTreeSet<PlacementId> {
    let is_paused = |id: &PlacementId| {
        let (before, after) = (before.get(id), after.get(id));
        let open = before.filter(|record| record.over.is_none());
        let newer = after.filter(|record| Some(*record) != before);
        open.or(newer).is_some_and(|record| record.kind == FreezeKind::Vcpus)
    };
    let mut excused = BTreeSet::new();
    let domains = inventory.domains.iter_mut().flatten();
    for (id, state) in domains.filter(|(id, state)| **state == DomainState::Paused && is_paused(id)) {
        *state = DomainState::Running;
        excused.insert(*id);
    }
    excused
}

/// Those that run and hold still, by the agent's own record; of those that it paused the ones that are.
pub(super) fn findings(
    freezes: &Records,
    paused: &BTreeSet<PlacementId>,
    inventory: &Inventory,
    now: Timestamp,
) -> Vec<Finding> {
    let runs = |id: &PlacementId| {
        let state = inventory.domains.as_ref().map(|domains| domains.get(id));
        // Without libvirt's word it may.
        state.is_none_or(|state| state.is_some_and(is_live))
    };
    let is_late = |record: &FreezeRecord| record.over.is_none() && now.duration_since(record.since) > LONGEST;
    let holds = |id: &PlacementId, record: &FreezeRecord| match record.kind {
        FreezeKind::FileSystems => true,
        FreezeKind::Vcpus => inventory.domains.is_none() || paused.contains(id),
    };
    let late = freezes.iter().filter(|(id, record)| is_late(record) && runs(id) && holds(id, record));
    let told = late.map(|(id, record)| {
        let (what, cure) = match record.kind {
            FreezeKind::FileSystems => (
                "its file systems hold still",
                "start the agent, which thaws it; if it stays, the guest agent hangs: restart the instance, or in the guest: fsfreeze --unfreeze"
                    .to_owned(),
            ),
            FreezeKind::Vcpus => (
                "it is paused",
                format!(
                    "start the agent, which resumes it; if it stays, one of its disks does not answer: mend its storage host, or \
                     stop the instance by force; see what libvirt says: virsh resume {}",
                    domain_name(*id)
                ),
            ),
        };
        let what = format!("{what} for a snapshot since {}, and should not any more", record.since);
        failure(Subject::Guests, id.to_string(), what, &cure)
    });
    told.collect()
}
