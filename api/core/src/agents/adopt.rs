//! After a backup was restored: what the agents did since it was made is taken over before any of them
//! gets new parts, which are older than what it knows.
//!
//! A start, a stop or an end that came after the backup is a fact: the counters of starts tell it from
//! an order that was acknowledged before the backup and is still to be carried out. What its host has not
//! is gone only if the host once had it: a launch that was acknowledged and not delivered is missing too.
//! A guest that no row knows runs on, unwanted by any part, and the doctor names it.

use std::collections::HashMap;

use tepui_db::Adoption;
use tepui_db::model::{Instance, InstanceRecord, InstanceState, StateReason};
use tepui_types::agent::{NodeObserved, PlacementState};
use tepui_types::{Epoch, NodeId, PlacementId};

use crate::failpoint::pass;
use crate::transition::words;
use crate::{Cloud, Error};

impl Cloud {
    /// Whether the node knows more than the restored database, and has not told it yet.
    pub(super) fn is_to_be_adopted(&self, node: NodeId, theirs: Epoch, ours: Epoch) -> bool {
        theirs > Epoch::default() && theirs < ours && !self.fleet.is_adopted(node)
    }

    /// Takes over what the node has, once its agent has looked at everything. An impaired one may not see
    /// all that it has, and needs its orders to get well: what it shows is taken over, and nothing is gone
    /// because it is missing.
    pub(super) async fn adopt(&self, node: NodeId, seen: &NodeObserved) -> Result<(), Error> {
        if seen.applied.is_empty() {
            return Ok(());
        }
        let state = self.node_rows(node).await?;
        let adoptions = adoptions(&state.records, seen);
        pass("core::adopt::planned")?;
        let written = self.db.adopt(node, &adoptions, self.now()).await?;
        let passed = pass("core::adopt::written")?;
        // One that a client changed meanwhile is weighed again at the next report.
        if written.len() == adoptions.len() {
            self.fleet.adopted(node);
        }
        let adopted: Vec<_> = adoptions.iter().filter(|one| written.contains(&one.placement_id)).collect();
        for one in &adopted {
            tracing::warn!(%node, placement = %one.placement_id, to = ?one.state, "adopted from its host");
        }
        let gone = adopted.iter().filter(|one| one.gone).map(|one| one.placement_id).collect();
        self.wake_after(passed, node, &state.records, &gone).await;
        pass("core::adopt::woken").map(drop)
    }
}

fn adoptions(records: &[InstanceRecord], node: &NodeObserved) -> Vec<Adoption> {
    let seen: HashMap<PlacementId, &PlacementState> =
        node.placements.iter().map(|placement| (placement.id, &placement.state)).collect();
    records
        .iter()
        .filter_map(|record| {
            let placement = record.placement.as_ref()?;
            let seen = seen.get(&placement.id).copied();
            let is_lost = placement.observed.is_some() && node.impaired.is_none();
            if seen.is_none() && !is_lost {
                return None;
            }
            adoption(&record.instance, placement.id, seen)
        })
        .collect()
}

/// What the host's word changes of an instance, if anything; `None` is the word that it has lost it.
fn adoption(instance: &Instance, id: PlacementId, seen: Option<&PlacementState>) -> Option<Adoption> {
    let (now, start_seq, reboot_seq) = match seen {
        Some(PlacementState::Running { start_seq, reboot_seq }) => {
            let later = *start_seq > instance.start_seq && is_wanted(instance.state);
            (if later { InstanceState::Running } else { instance.state }, *start_seq, *reboot_seq)
        }
        Some(PlacementState::Off { start_seq, .. }) => {
            let late = *start_seq > 0 && *start_seq >= instance.start_seq && is_wanted(instance.state);
            (if late { off(instance) } else { instance.state }, *start_seq, 0)
        }
        // Its volumes may be anywhere: it is stopped, and has a new place when it starts.
        Some(PlacementState::Gone) | None if instance.volume_root && is_wanted(instance.state) => {
            (InstanceState::Stopped, 0, 0)
        }
        Some(PlacementState::Gone) | None => (InstanceState::Terminated, 0, 0),
        Some(PlacementState::Preparing { .. } | PlacementState::Stopping | PlacementState::Failed { .. }) => {
            return None;
        }
    };
    let gone = matches!(seen, Some(PlacementState::Gone) | None);
    let is_news =
        now != instance.state || start_seq > instance.start_seq || reboot_seq > instance.reboot_seq || gone;
    let reason = if now == instance.state { instance.state_reason.clone() } else { reason(now) };
    let observed = seen.map_or_else(|| "not on its host".to_owned(), words);
    is_news.then_some(Adoption {
        placement_id: id,
        from: instance.state,
        state: now,
        start_seq,
        reboot_seq,
        reason,
        observed,
        gone,
    })
}

/// One that boots from a volume is stopped once its place is gone.
fn off(instance: &Instance) -> InstanceState {
    if instance.volume_root { InstanceState::Stopping } else { InstanceState::Stopped }
}

/// Not on its way to its end.
fn is_wanted(state: InstanceState) -> bool {
    match state {
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped => true,
        InstanceState::ShuttingDown | InstanceState::Terminated => false,
    }
}

fn reason(now: InstanceState) -> Option<StateReason> {
    let found = match now {
        InstanceState::Stopping | InstanceState::Stopped => "it was off",
        InstanceState::Terminated => "its host had nothing of it any more",
        InstanceState::Pending | InstanceState::Running | InstanceState::ShuttingDown => return None,
    };
    let code = "Server.InternalError";
    let message = format!("{code}: {found} when a backup of the control plane was restored");
    Some(StateReason { code: code.into(), message, detail: None })
}
