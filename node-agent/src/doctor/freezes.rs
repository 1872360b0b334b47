//! Guests that hold still for longer than they may.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use tepui_types::{PlacementId, Timestamp};

use super::{Finding, Inventory, Subject, failure, is_live};
use crate::freezes::FreezeRecord;

/// The agent has a guest hold still for ten seconds at most; the rest is for asking it and for thawing it.
const LONGEST: SignedDuration = SignedDuration::from_secs(30);

/// Those that run and hold still, by the agent's own record.
pub(super) fn findings(
    freezes: &BTreeMap<PlacementId, FreezeRecord>,
    inventory: &Inventory,
    now: Timestamp,
) -> Vec<Finding> {
    let runs = |id: &PlacementId| {
        let state = inventory.domains.as_ref().map(|domains| domains.get(id));
        // Without libvirt's word it may.
        state.is_none_or(|state| state.is_some_and(is_live))
    };
    let is_late = |record: &FreezeRecord| record.over.is_none() && now.duration_since(record.since) > LONGEST;
    let late = freezes.iter().filter(|(id, record)| is_late(record) && runs(id));
    let told = late.map(|(id, record)| {
        let what = format!("its file systems hold still for a snapshot since {}, and should not any more", record.since);
        let cure = "start the agent, which thaws it; if it stays, the guest agent hangs: restart the instance, or in the guest: fsfreeze --unfreeze";
        failure(Subject::Guests, id.to_string(), what, cure)
    });
    told.collect()
}
