//! What an observation means for an instance. Pure, and total over every pair of states.
//!
//! ```text
//!                 │ running at   │ off since the  │ failed for │ gone
//!                 │ this start   │ wanted start   │ good       │
//!   ──────────────┼──────────────┼────────────────┼────────────┼───────────
//!   pending       │ running      │ stopped / s.d. │ s.d. / st. │ (same)*
//!   running       │ (same)       │ stopped / s.d. │ stopped    │ (same)*
//!   stopping      │ (wait)       │ stopped        │ (wait)     │ (same)*
//!   stopped       │ (same)       │ (same)         │ (same)     │ (same)*
//!   shutting-down │ (wait)       │ (wait)         │ (wait)     │ terminated
//!   terminated    │ (same)       │ (same)         │ (same)     │ terminated
//! ```
//!
//! One that boots from a volume has no place while it is stopped: what stops others begins its stop, its place is to
//! go, and "gone" while stopping is what stops it.
//!
//! A guest's own power-off stops it, or shuts it down for good (s.d.) where its owner chose so. Off
//! or failed before the start that is wanted is news of the past, except while stopping, where off is off. A
//! first start that cannot be done ends the instance; a later one only stops it (st.), because its
//! disk holds data. A placement that vanished without our asking (*) is never taken for an end: the
//! row stays, and doctor tells.
//!
//! Preparing and stopping are not written: their words are in the last report, which is in memory.

use tepui_db::Transition;
use tepui_db::model::{
    Instance, InstanceRecord, InstanceState, Placement, ShutdownBehavior, StateReason, Volume,
};
use tepui_types::agent::{OffReason, PlacementObserved, PlacementState};

/// The transitions that a whole report brings; placements that no row knows bring none.
pub fn plan_transitions(snapshot: &[InstanceRecord], observed: &[PlacementObserved]) -> Vec<Transition> {
    let find = |seen: &PlacementObserved| {
        // An agent that lost the part in which the guest is wanted cannot tell why it is off, nor start it.
        if !seen.wanted && matches!(seen.state, PlacementState::Off { .. }) {
            return None;
        }
        snapshot.iter().find_map(|record| {
            let placement = record.placement.as_ref().filter(|placement| placement.id == seen.id)?;
            transition(&record.instance, placement, &seen.state)
        })
    };
    observed.iter().filter_map(find).collect()
}

/// What one observation means for its instance, if it means anything new.
pub fn transition(instance: &Instance, placement: &Placement, seen: &PlacementState) -> Option<Transition> {
    let next = Next { instance, placement, words: words(seen) };
    match seen {
        PlacementState::Preparing { .. } | PlacementState::Stopping => None,
        PlacementState::Running { start_seq, .. } => on_running(&next, *start_seq),
        PlacementState::Off { start_seq, reason } => on_off(&next, *start_seq, *reason),
        PlacementState::Failed { start_seq, step, permanent, .. } => {
            on_failed(&next, *start_seq, *permanent, step)
        }
        PlacementState::Gone => on_gone(&next),
    }
}

fn on_running(next: &Next<'_>, start_seq: u64) -> Option<Transition> {
    match next.instance.state {
        InstanceState::Pending if start_seq >= next.instance.start_seq => {
            next.to(InstanceState::Running, None)
        }
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => None,
    }
}

fn on_off(next: &Next<'_>, start_seq: u64, why: OffReason) -> Option<Transition> {
    let current = start_seq >= next.instance.start_seq;
    match next.instance.state {
        InstanceState::Pending | InstanceState::Running if current => next.off_by_itself(why),
        // Its place is to go, and what is left there may still have its volumes.
        InstanceState::Stopping if next.instance.volume_root => None,
        InstanceState::Stopping => next.to(InstanceState::Stopped, next.instance.state_reason.clone()),
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopped
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => None,
    }
}

fn on_failed(next: &Next<'_>, start_seq: u64, permanent: bool, step: &str) -> Option<Transition> {
    // Why it failed is the host's, and in the detail only.
    let reason = || {
        let mut reason = server_error(&format!("the step {step} of the start failed for good"));
        reason.detail = Some(next.words.clone());
        Some(reason)
    };
    match next.instance.state {
        InstanceState::Pending if start_seq < next.instance.start_seq => None,
        InstanceState::Pending if permanent && next.instance.start_seq <= 1 => {
            next.to(InstanceState::ShuttingDown, reason())
        }
        InstanceState::Pending if permanent => next.stop(reason()),
        // Its guest was off before anybody knew.
        InstanceState::Running if permanent && start_seq >= next.instance.start_seq => next.stop(reason()),
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped
        | InstanceState::ShuttingDown => next.same(),
        InstanceState::Terminated => None,
    }
}

/// The end of an instance that waits for a volume of its launch which can never be made, if it waits still; one that
/// was stopped meanwhile, as it boots from a volume, is stopped again.
pub(crate) fn end_of_launch(
    instance: &Instance,
    placement: &Placement,
    volume: &Volume,
) -> Option<Transition> {
    let next = Next { instance, placement, words: format!("{} failed for good", volume.id) };
    let mut reason = server_error(&format!("the volume {} of the launch failed for good", volume.id));
    reason.detail = volume.message.clone();
    match instance.state {
        InstanceState::Pending if instance.start_seq <= 1 => {
            next.to(InstanceState::ShuttingDown, Some(reason))
        }
        InstanceState::Pending if instance.volume_root => next.stop(Some(reason)),
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => None,
    }
}

fn on_gone(next: &Next<'_>) -> Option<Transition> {
    match next.instance.state {
        InstanceState::ShuttingDown | InstanceState::Terminated => {
            let reason = next.instance.state_reason.clone();
            next.to(InstanceState::Terminated, reason).map(|t| Transition { gone: true, ..t })
        }
        InstanceState::Stopping if next.instance.volume_root => {
            let reason = next.instance.state_reason.clone();
            next.to(InstanceState::Stopped, reason).map(|t| Transition { gone: true, ..t })
        }
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped => next.same(),
    }
}

/// One instance, and what was seen of it.
struct Next<'a> {
    instance: &'a Instance,
    placement: &'a Placement,
    words: String,
}

impl Next<'_> {
    fn to(&self, to: InstanceState, reason: Option<StateReason>) -> Option<Transition> {
        Some(Transition {
            placement_id: self.placement.id,
            from: self.instance.state,
            to,
            reason,
            observed: self.words.clone(),
            gone: false,
        })
    }

    /// It is to be off, and is already.
    fn stop(&self, reason: Option<StateReason>) -> Option<Transition> {
        match self.instance.volume_root {
            true => self.to(InstanceState::Stopping, reason),
            false => self.to(InstanceState::Stopped, reason),
        }
    }

    /// The state stays; only news of the agent's words is worth a write.
    fn same(&self) -> Option<Transition> {
        if self.placement.observed.as_ref() == Some(&self.words) {
            return None;
        }
        self.to(self.instance.state, self.instance.state_reason.clone())
    }

    fn off_by_itself(&self, why: OffReason) -> Option<Transition> {
        match (why, self.instance.shutdown_behavior) {
            (OffReason::Guest, ShutdownBehavior::Stop) => self.stop(guest_shutdown()),
            (OffReason::Guest, ShutdownBehavior::Terminate) => {
                self.to(InstanceState::ShuttingDown, guest_shutdown())
            }
            (OffReason::Crashed, ShutdownBehavior::Stop | ShutdownBehavior::Terminate) => {
                let reason = server_error("the hypervisor process of the guest ended");
                self.stop(Some(reason))
            }
            (OffReason::Requested, ShutdownBehavior::Stop | ShutdownBehavior::Terminate) => {
                let reason = server_error("the guest is off though nobody asked for it");
                self.stop(Some(reason))
            }
            (OffReason::Unknown, ShutdownBehavior::Stop | ShutdownBehavior::Terminate) => {
                let reason = server_error("the host lost its record of the guest; start it to run it again");
                self.stop(Some(reason))
            }
        }
    }
}

/// As AWS words it (EC2 user guide, "Troubleshoot instance termination").
fn guest_shutdown() -> Option<StateReason> {
    Some(StateReason {
        code: "Client.InstanceInitiatedShutdown".into(),
        message: "Client.InstanceInitiatedShutdown: Instance initiated shutdown".into(),
        detail: None,
    })
}

fn server_error(why: &str) -> StateReason {
    let code = "Server.InternalError";
    StateReason { code: code.into(), message: format!("{code}: {why}"), detail: None }
}

/// An observation for people.
pub(crate) fn words(seen: &PlacementState) -> String {
    match seen {
        PlacementState::Preparing { step } => format!("preparing: {step}"),
        PlacementState::Running { .. } => "running".into(),
        PlacementState::Stopping => "stopping".into(),
        PlacementState::Off { reason: OffReason::Requested, .. } => "off, as asked".into(),
        PlacementState::Off { reason: OffReason::Guest, .. } => "off, by the guest itself".into(),
        PlacementState::Off { reason: OffReason::Crashed, .. } => "off, crashed".into(),
        PlacementState::Off { reason: OffReason::Unknown, .. } => {
            "off, and the host's record of it is lost: it stays off until it is started".into()
        }
        PlacementState::Failed { step, message, permanent: true, .. } => {
            format!("{step} failed for good: {message}")
        }
        PlacementState::Failed { step, message, permanent: false, .. } => {
            format!("{step} failed, trying again: {message}")
        }
        PlacementState::Gone => "gone".into(),
    }
}

#[cfg(test)]
mod tests;
