//! What an agent finds of a placement, what it does, and what it reports.

use std::time::Duration;

use tepui_agent::execute::{Step, stages_of};
use tepui_agent::plan::{Decision, Host, Operation, Progress, View, decide, state};
use tepui_libvirt::{DomainState, OffReason as Seen};
use tepui_types::PlacementId;
use tepui_types::agent::{OffReason, PlacementPart, PlacementSpec, Power};

use super::{head, row};
use crate::walk::kind;

/// A placement as it is found on the host.
struct Found {
    says: &'static str,
    domain: Option<DomainState>,
    disk: bool,
    progress: Option<Progress>,
}

fn found() -> Vec<Found> {
    let found = |says, domain, progress| Found { says, domain, disk: true, progress: Some(progress) };
    let made = Progress { disk_made: true, ..Progress::default() };
    let ran = Progress { start_seq: 1, boot_id: "now".to_owned(), ..made.clone() };
    let off = |reason| Some(DomainState::Off { reason });
    let running = Some(DomainState::Running);
    vec![
        Found { says: "nothing", domain: None, disk: false, progress: None },
        found("a disk that never ran", None, made.clone()),
        found("running, not noted", running, made),
        found("running", running, ran.clone()),
        found("standing still", Some(DomainState::Paused), ran.clone()),
        found("shutting down", running, Progress { stopping: true, ..ran.clone() }),
        found("off by itself, not noted", off(Seen::Guest), ran.clone()),
        found("off, noted", off(Seen::Guest), Progress { off: Some(OffReason::Guest), ..ran.clone() }),
        found(
            "off with its host",
            off(Seen::Unknown),
            Progress { boot_id: "before".to_owned(), ..ran.clone() },
        ),
        found("off, its record lost", off(Seen::Guest), Progress::lost()),
        Found { says: "a note only", domain: None, disk: false, progress: Some(ran) },
    ]
}

fn wanted(spec: &PlacementSpec) -> Vec<(&'static str, Option<PlacementPart>)> {
    let present = |power| Some(PlacementPart::Present(Box::new(PlacementSpec { power, ..spec.clone() })));
    let running = |start_seq, reboot_seq| present(Power::Running { start_seq, reboot_seq });
    vec![
        ("running", running(1, 0)),
        ("started again", running(2, 0)),
        ("rebooted", running(1, 1)),
        ("stopped", present(Power::Stopped { force: false })),
        ("stopped by force", present(Power::Stopped { force: true })),
        ("absent", Some(PlacementPart::Absent { force: false })),
        ("named by no part", None),
    ]
}

pub(super) fn section(id: PlacementId, spec: &PlacementSpec) -> String {
    let mut text = "\n## A placement on its host\n\nWhat the agent finds, by what is wanted: what it does now (– nothing), and what it reports meanwhile.\n\n".to_owned();
    let names = wanted(spec).into_iter().map(|(name, _)| name.to_owned());
    text += &head(std::iter::once(String::new()).chain(names));
    for found in found() {
        let cells = wanted(spec).into_iter().map(|(_, part)| cell(id, &found, part.as_ref()));
        text += &row(std::iter::once(found.says.to_owned()).chain(cells));
    }
    text + "\nThe steps of each: one after the other, with + at the same time; each may be repeated, and has a fail point before it.\n\n"
        + &steps()
}

fn cell(id: PlacementId, found: &Found, wanted: Option<&PlacementPart>) -> String {
    let host = Host { boot_id: "now".to_owned(), now: Duration::ZERO, grace: Duration::from_secs(90) };
    let view = View {
        id,
        wanted,
        disowned: wanted.is_none(),
        domain: found.domain,
        disk: found.disk,
        vpcs_known: true,
        progress: found.progress.as_ref(),
        asked: None,
        resumed: None,
        failure: None,
    };
    let does = match decide(&view, &host) {
        Decision::Act(action) => action.operation.name(),
        Decision::Wait(_) => "wait",
        Decision::Settled => "–",
    };
    format!("{does}: {}", kind(&state(&view, &host, None)))
}

fn steps() -> String {
    let mut text = head(["operation", "steps"].map(str::to_owned));
    for operation in Operation::ALL {
        let stage = |steps: &&[Step]| steps.iter().map(|step| step.name()).collect::<Vec<_>>().join(" + ");
        let stages: Vec<_> = stages_of(*operation).iter().map(stage).collect();
        text += &row([operation.name().to_owned(), stages.join(" → ")]);
    }
    text
}
