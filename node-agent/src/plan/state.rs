//! The state of a placement as it is reported.

use tepui_libvirt::DomainState;
use tepui_types::agent::{OffReason, PlacementPart, PlacementState, Power};

use super::decide::why_off;
use super::{Decision, Host, Operation, View, decide};

/// The state to report. `in_work` is the operation under way and the step it is at, for people.
pub fn state(view: &View<'_>, host: &Host, in_work: Option<(Operation, &str)>) -> PlacementState {
    if let Some((Operation::Start, step)) = in_work.filter(|_| !is_resumed(view)) {
        return PlacementState::Preparing { step: step.to_owned() };
    }
    if view.is_live() {
        return live(view);
    }
    if let Some(failed) = failed(view) {
        return failed;
    }
    match view.wanted {
        Some(PlacementPart::Absent { .. }) if is_gone(view) => PlacementState::Gone,
        Some(PlacementPart::Absent { .. }) => PlacementState::Stopping,
        Some(PlacementPart::Present(spec)) => match spec.power {
            Power::Running { .. } => off_but_wanted(view, host),
            Power::Stopped { .. } => off(view, OffReason::Requested),
        },
        // It may have gone down with the host, and be wanted.
        None => off(view, OffReason::Unknown),
    }
}

/// A start that only resumes a guest whose start was noted.
fn is_resumed(view: &View<'_>) -> bool {
    let Some(PlacementPart::Present(spec)) = view.wanted else { return false };
    let Power::Running { start_seq, .. } = spec.power else { return false };
    view.domain == Some(DomainState::Paused) && view.progress.is_some_and(|done| done.start_seq >= start_seq)
}

fn live(view: &View<'_>) -> PlacementState {
    let done = view.progress.cloned().unwrap_or_default();
    let wanted_off = match view.wanted {
        Some(PlacementPart::Absent { .. }) => true,
        Some(PlacementPart::Present(spec)) => matches!(spec.power, Power::Stopped { .. }),
        None => false,
    };
    if wanted_off || done.stopping {
        return PlacementState::Stopping;
    }
    PlacementState::Running { start_seq: done.start_seq, reboot_seq: done.reboot_seq }
}

fn failed(view: &View<'_>) -> Option<PlacementState> {
    let failure = view.failure.filter(|failure| failure.wanted.as_ref() == view.wanted)?;
    Some(PlacementState::Failed {
        start_seq: start_seq(view),
        step: failure.step.to_owned(),
        message: failure.message.clone(),
        permanent: failure.permanent,
    })
}

/// The start that is wanted; where none is, the last that was carried out.
fn start_seq(view: &View<'_>) -> u64 {
    if let Some(PlacementPart::Present(spec)) = view.wanted
        && let Power::Running { start_seq, .. } = spec.power
    {
        return start_seq;
    }
    view.progress.map_or(0, |done| done.start_seq)
}

fn is_gone(view: &View<'_>) -> bool {
    view.domain.is_none() && !view.disk && view.progress.is_none()
}

fn off_but_wanted(view: &View<'_>, host: &Host) -> PlacementState {
    if !view.vpcs_known {
        return PlacementState::Preparing { step: "network".to_owned() };
    }
    if view.awaits_volumes(host) {
        return PlacementState::Preparing { step: "volumes".to_owned() };
    }
    match decide(view, host) {
        Decision::Act(action) if action.operation == Operation::Start => {
            PlacementState::Preparing { step: "queued".to_owned() }
        }
        Decision::Act(_) | Decision::Wait(_) | Decision::Settled => off(view, why_off(view.domain)),
    }
}

fn off(view: &View<'_>, otherwise: OffReason) -> PlacementState {
    let done = view.progress.cloned().unwrap_or_default();
    let seen = if done.lost { OffReason::Unknown } else { otherwise };
    PlacementState::Off { start_seq: done.start_seq, reason: done.off.unwrap_or(seen) }
}
