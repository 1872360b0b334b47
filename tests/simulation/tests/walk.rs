//! Every state, with everything that can happen in it.

use tepui_db::model::InstanceState;
use tepui_simulation::walk;

/// One test, as fail points are the process's.
#[test]
fn from_every_state_everything_ends_at_rest_and_can_be_deleted() {
    let walked = walk().expect("every case ends as it must");
    let states: Vec<_> = walked.states.iter().copied().collect();
    assert_eq!(states, InstanceState::ALL);
    let reported: Vec<_> = walked.reported.iter().copied().collect();
    assert_eq!(reported, ["failed", "gone", "off", "running", "stopping"], "in some scene each");
    println!("{} cases", walked.cases);
}
