//! The decision for one placement.

use std::time::Duration;

use tepui_libvirt::DomainState;
use tepui_types::agent::{OffReason, PlacementPart, Power};

use super::{Action, Decision, Host, Operation, Progress, View};

/// A guest that still boots does not hear its power button, so it is pressed again this often.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A guest that stands still because a write to its disk failed is resumed this often: a full disk takes
/// an operator minutes to clear, and a try costs one call.
const RESUME_AGAIN: Duration = Duration::from_secs(10);
/// The first wait after a failure; it doubles with each further one up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long to wait after the `count`th failure in a row.
pub fn retry_delay(count: u32) -> Duration {
    let factor = 1_u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY)
}

/// What to do with the placement now.
pub fn decide(view: &View<'_>, host: &Host) -> Decision {
    let decision = match view.wanted {
        None => forget(view),
        Some(PlacementPart::Absent { force }) => remove(view, host, *force),
        Some(PlacementPart::Present(spec)) => match spec.power {
            Power::Running { start_seq, reboot_seq } => run(view, host, start_seq, reboot_seq),
            Power::Stopped { force } => stop(view, host, force),
        },
    };
    hold_back(view, host, decision)
}

/// After a failure the same is not tried before its time.
fn hold_back(view: &View<'_>, host: &Host, decision: Decision) -> Decision {
    match (view.failure, &decision) {
        (Some(failure), Decision::Act(_)) if failure.wanted.as_ref() == view.wanted => {
            if failure.permanent {
                Decision::Settled
            } else if host.now < failure.retry_at {
                Decision::Wait(failure.retry_at)
            } else {
                decision
            }
        }
        (Some(_) | None, _) => decision,
    }
}

/// A ledger that was rolled back may know a placement that was removed since. Where nothing else is left of it,
/// the record goes too: by a note, which touches no disk.
fn forget(view: &View<'_>) -> Decision {
    let is_left = view.domain.is_some() || view.disk;
    if view.disowned && !is_left && view.progress.is_some() {
        return Decision::Act(Action { operation: Operation::Note, record: None });
    }
    Decision::Settled
}

fn run(view: &View<'_>, host: &Host, start_seq: u64, reboot_seq: u64) -> Decision {
    let done = view.progress.cloned().unwrap_or_default();
    if done.stopping {
        return finish_stopping(view, host, done);
    }
    if view.is_live() {
        return keep_running(view, host, done, start_seq, reboot_seq);
    }
    if done.lost && (done.start_seq == 0 || start_seq <= done.start_seq) {
        return note_lost(view, host, start_seq, reboot_seq);
    }
    if view.awaits_volumes(host) {
        return Decision::Settled;
    }
    if done.start_seq < start_seq || done.went_down_with_host(&host.boot_id) {
        return start(view, host, &done, start_seq, reboot_seq);
    }
    match done.off {
        Some(_) => Decision::Settled,
        None => note(Progress { off: Some(why_off(view.domain)), ..done }),
    }
}

/// The guest may have been switched off by its user, and the start that is wanted may be the one before that:
/// only a later one is an order to start.
fn note_lost(view: &View<'_>, host: &Host, start_seq: u64, reboot_seq: u64) -> Decision {
    let (boot_id, off) = (host.boot_id.clone(), Some(OffReason::Unknown));
    let disk_made = view.has_local_root();
    note(Progress { start_seq, reboot_seq, boot_id, off, stopping: false, disk_made, lost: false })
}

fn start(view: &View<'_>, host: &Host, done: &Progress, start_seq: u64, reboot_seq: u64) -> Decision {
    if !view.vpcs_known || view.lacks_root() {
        return Decision::Settled;
    }
    let record = Progress {
        start_seq: done.start_seq.max(start_seq),
        reboot_seq: done.reboot_seq.max(reboot_seq),
        boot_id: host.boot_id.clone(),
        off: None,
        stopping: false,
        disk_made: view.has_local_root(),
        lost: false,
    };
    Decision::Act(Action { operation: Operation::Start, record: Some(record) })
}

/// A guest that runs is left running, whoever started it: it may be from before the agent, or the
/// agent died between starting it and writing that down.
fn keep_running(view: &View<'_>, host: &Host, done: Progress, start_seq: u64, reboot_seq: u64) -> Decision {
    if view.domain == Some(DomainState::Paused) {
        return resume(view, host, &done, start_seq, reboot_seq);
    }
    let adopted = Progress {
        start_seq: done.start_seq.max(start_seq),
        reboot_seq: if done.start_seq < start_seq {
            reboot_seq.max(done.reboot_seq)
        } else {
            done.reboot_seq
        },
        boot_id: host.boot_id.clone(),
        off: None,
        stopping: false,
        disk_made: done.disk_made && view.has_local_root(),
        lost: false,
    };
    if adopted != done {
        return note(adopted);
    }
    if done.reboot_seq < reboot_seq {
        let record = Progress { reboot_seq, ..done };
        return Decision::Act(Action { operation: Operation::Reboot, record: Some(record) });
    }
    Decision::Settled
}

/// Paused before its start was noted is a start that was cut off. Paused later is a failed write to the
/// host's disk, which may have room again: starting a paused guest resumes it.
fn resume(view: &View<'_>, host: &Host, done: &Progress, start_seq: u64, reboot_seq: u64) -> Decision {
    match view.resumed.map(|resumed| resumed + RESUME_AGAIN) {
        Some(again) if host.now < again => Decision::Wait(again),
        Some(_) | None => {
            // A reboot that is due is still to be done.
            let reboot_seq = if done.start_seq < start_seq { reboot_seq } else { done.reboot_seq };
            start(view, host, done, start_seq, reboot_seq)
        }
    }
}

fn stop(view: &View<'_>, host: &Host, force: bool) -> Decision {
    let done = view.progress.cloned().unwrap_or_default();
    if view.is_live() {
        return shut_down(view, host, done, force);
    }
    if done.stopping || done.lost || (done.start_seq > 0 && done.off.is_none()) {
        return note_stopped(done);
    }
    Decision::Settled
}

/// Finishes a shutdown although the guest is wanted again: half-stopped is no state to run in.
fn finish_stopping(view: &View<'_>, host: &Host, done: Progress) -> Decision {
    if view.is_live() { shut_down(view, host, done, false) } else { note_stopped(done) }
}

fn note_stopped(done: Progress) -> Decision {
    note(Progress { off: Some(OffReason::Requested), stopping: false, lost: false, ..done })
}

fn remove(view: &View<'_>, host: &Host, force: bool) -> Decision {
    if view.is_live() {
        let done = view.progress.cloned().unwrap_or_default();
        return shut_down(view, host, done, force);
    }
    if view.domain.is_some() || view.disk || view.progress.is_some() {
        return Decision::Act(Action { operation: Operation::Remove, record: None });
    }
    Decision::Settled
}

/// The mark is written before the guest is touched, so that its going off is never taken for the
/// guest's own wish.
fn shut_down(view: &View<'_>, host: &Host, done: Progress, force: bool) -> Decision {
    let boot_id = host.boot_id.clone();
    let record = Some(Progress { stopping: true, off: None, boot_id, lost: false, ..done });
    let ask = Decision::Act(Action { operation: Operation::Stop, record: record.clone() });
    let pull = Decision::Act(Action { operation: Operation::PowerOff, record });
    let Some(asked) = view.asked.filter(|_| !force) else {
        return if force { pull } else { ask };
    };
    let (over, again) = (asked.first + host.grace, asked.last + ASK_AGAIN);
    if host.now >= over {
        pull
    } else if host.now >= again {
        ask
    } else {
        Decision::Wait(over.min(again))
    }
}

fn note(record: Progress) -> Decision {
    Decision::Act(Action { operation: Operation::Note, record: Some(record) })
}

/// After a restart of libvirtd the reason is lost; a guest that ended by itself is then the likely one,
/// and the one that loses nothing: it is shown as stopped.
pub(super) fn why_off(domain: Option<DomainState>) -> OffReason {
    use tepui_libvirt::OffReason as Seen;
    match domain {
        Some(DomainState::Off { reason: Seen::Requested }) => OffReason::Requested,
        Some(DomainState::Off { reason: Seen::Guest | Seen::Unknown }) => OffReason::Guest,
        Some(DomainState::Off { reason: Seen::Crashed | Seen::Failed }) | None => OffReason::Crashed,
        Some(DomainState::Running | DomainState::Paused | DomainState::ShuttingDown) => OffReason::Requested,
    }
}
