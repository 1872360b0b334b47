//! What a client asks and a host reports, and where an instance goes.

use tepui_core::transition::transition;
use tepui_db::model::{Instance, InstanceRequest, InstanceState, Placement, ShutdownBehavior};
use tepui_types::agent::{OffReason, PlacementState};

use super::{Edges, diagram, head, row};

/// What a host may say of an instance that wants its second start.
struct Sight {
    says: &'static str,
    state: PlacementState,
    /// The start that is wanted.
    start_seq: u64,
    behavior: ShutdownBehavior,
}

fn sight(says: &'static str, state: PlacementState) -> Sight {
    Sight { says, state, start_seq: 2, behavior: ShutdownBehavior::Stop }
}

fn sights() -> Vec<Sight> {
    let off = |start_seq, reason| PlacementState::Off { start_seq, reason };
    let failed = |start_seq, permanent| PlacementState::Failed {
        start_seq,
        step: "disk".to_owned(),
        message: String::new(),
        permanent,
    };
    vec![
        sight("preparing", PlacementState::Preparing { step: "disk".to_owned() }),
        sight("running", PlacementState::Running { start_seq: 2, reboot_seq: 0 }),
        sight("running, by an older start", PlacementState::Running { start_seq: 1, reboot_seq: 0 }),
        sight("stopping", PlacementState::Stopping),
        sight("off, as asked", off(2, OffReason::Requested)),
        sight("off, by the guest", off(2, OffReason::Guest)),
        Sight {
            behavior: ShutdownBehavior::Terminate,
            ..sight("off, by the guest, which is to terminate then", off(2, OffReason::Guest))
        },
        sight("off, crashed", off(2, OffReason::Crashed)),
        sight("off, and the record of it is lost", off(2, OffReason::Unknown)),
        sight("off, before the wanted start", off(1, OffReason::Guest)),
        sight("failed, trying again", failed(2, false)),
        sight("failed for good", failed(2, true)),
        Sight { start_seq: 1, ..sight("failed for good, at the first start", failed(1, true)) },
        sight("gone", PlacementState::Gone),
    ]
}

impl Sight {
    fn leads(&self, from: InstanceState, instance: &Instance, placement: &Placement) -> InstanceState {
        let instance = Instance {
            state: from,
            start_seq: self.start_seq,
            shutdown_behavior: self.behavior,
            ..instance.clone()
        };
        transition(&instance, placement, &self.state).map_or(from, |transition| transition.to)
    }
}

pub(super) fn section(instance: &Instance, placement: &Placement) -> String {
    let moving = Instance { volume_root: true, ..instance.clone() };
    format!(
        "\n## An instance\n\n{}\n{}\n{}\n## An instance that boots from a volume\n\n{MOVING}\n{}\n{}",
        drawn(instance, placement),
        requests(),
        reports(instance, placement),
        drawn(&moving, placement),
        reports(&moving, placement)
    )
}

const MOVING: &str = "\
It has no place while it is stopped, and is asked the same. \"Gone\" while it is stopping frees its place; it is `stopped` once nobody
can reach its volumes any more. From there, and while it waits for that, `terminate` ends it at once.
";

fn drawn(instance: &Instance, placement: &Placement) -> String {
    let names = InstanceState::ALL.iter().map(|state| state.name());
    let run = ("run", InstanceState::Pending.name());
    diagram(names, run, &edges(instance, placement))
}

fn edges(instance: &Instance, placement: &Placement) -> Edges {
    let mut edges = Edges::new();
    let mut add = |from: InstanceState, to: InstanceState, label| {
        if from != to {
            edges.entry((from.name(), to.name())).or_default().push(label);
        }
    };
    for from in InstanceState::ALL {
        for request in InstanceRequest::ALL {
            add(*from, from.after(*request).unwrap_or(*from), request.name());
        }
        for sight in sights() {
            add(*from, sight.leads(*from, instance, placement), sight.says);
        }
    }
    edges
}

fn requests() -> String {
    let names = InstanceRequest::ALL.iter().map(|request| request.name().to_owned());
    let mut text = "What a client asks (– is refused; the same state: nothing new), and how long a state may last before the doctor names it:\n\n".to_owned();
    text += &head(std::iter::once(String::new()).chain(names).chain(["at most".to_owned()]));
    for from in InstanceState::ALL {
        let after = InstanceRequest::ALL.iter().map(|request| from.after(*request));
        let after = after.map(|after| after.map_or("–", InstanceState::name).to_owned());
        let limit = from.deadline().map_or(String::new(), |limit| format!("{} s", limit.as_secs()));
        text += &row(std::iter::once(from.name().to_owned()).chain(after).chain([limit]));
    }
    text
}

fn reports(instance: &Instance, placement: &Placement) -> String {
    let mut text = "What its host reports (an empty field: it stays):\n\n".to_owned();
    let names = InstanceState::ALL.iter().map(|state| state.name().to_owned());
    text += &head(std::iter::once(String::new()).chain(names));
    for sight in sights() {
        let next = InstanceState::ALL.iter().map(|from| {
            let to = sight.leads(*from, instance, placement);
            if to == *from { String::new() } else { to.name().to_owned() }
        });
        text += &row(std::iter::once(sight.says.to_owned()).chain(next));
    }
    text
}
