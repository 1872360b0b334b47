//! The control plane dies at each step of each call, and at each step of taking a report.

use std::collections::BTreeSet;

use tepui_core::failpoint::STEPS;
use tepui_tests::{Daemon, Reply};

use crate::scene::Scene;
use crate::verb::Verb;

/// Of taking the agent's reports, which every operation ends with.
const REPORT: &str = "report";

#[test]
fn a_call_whose_control_plane_dies_at_any_step_is_done_once_when_it_is_repeated() {
    let mut scene = Scene::new();
    for verb in Verb::ALL {
        for point in steps(verb.steps_in_core()) {
            let case = scene.prepare(verb);
            let armed = scene.cloud.start_armed(Daemon::Api, point);
            let cut = scene.act(&case);
            assert!(matches!(cut, Reply::Lost(_)), "{verb:?} at {point}: {cut:?}");
            armed.assert_died(10);
            scene.cloud.up();
            scene.act(&case).answer();
            scene.assert_done(case, point);
        }
    }
    scene.cloud.down();
}

#[test]
fn an_acknowledged_call_is_finished_although_the_control_plane_dies_at_any_step_of_the_report() {
    let mut scene = Scene::new();
    for verb in Verb::ALL.into_iter().filter(|verb| verb.is_reported()) {
        for point in steps(REPORT) {
            let case = scene.prepare(verb);
            scene.cloud.freeze(Daemon::Agent);
            let armed = scene.cloud.start_armed(Daemon::Api, point);
            scene.act(&case).answer();
            scene.cloud.thaw(Daemon::Agent);
            armed.assert_died(40);
            scene.cloud.up();
            scene.assert_done(case, point);
        }
    }
    scene.cloud.down();
}

/// Points that the code lists for an operation.
fn steps(operation: &str) -> &'static [&'static str] {
    STEPS.iter().find(|(name, _)| *name == operation).map_or(&[], |(_, steps)| steps)
}

/// The lists whose steps are died at here.
pub(crate) fn walked() -> BTreeSet<&'static str> {
    Verb::ALL.iter().map(|verb| verb.steps_in_core()).chain([REPORT]).collect()
}
