//! The agent dies at each step of each operation that carries a call out.

use std::collections::BTreeSet;

use tepui_agent::execute::{point, stages_of, steps};
use tepui_tests::Daemon;

use crate::scene::Scene;
use crate::verb::Verb;

#[test]
fn an_acknowledged_call_is_finished_although_the_agent_dies_at_any_step() {
    let mut scene = Scene::new();
    for verb in Verb::ALL {
        for point in points(verb) {
            let case = scene.prepare(verb);
            let armed = scene.cloud.start_armed(Daemon::Agent, &point);
            scene.act(&case).answer();
            armed.assert_died(40);
            scene.cloud.up();
            scene.assert_done(case, &point);
        }
    }
    scene.cloud.down();
}

/// The points of all operations that carry `verb` out.
pub(crate) fn points(verb: Verb) -> Vec<String> {
    let of =
        |operation| stages_of(operation).iter().copied().flatten().map(move |step| point(operation, *step));
    verb.operations().iter().copied().flat_map(of).collect()
}

#[test]
fn no_operation_is_left_out() {
    let walked: BTreeSet<String> = Verb::ALL.into_iter().flat_map(points).collect();
    assert_eq!(walked, steps().map(|(operation, step)| point(operation, step)).collect());
}
