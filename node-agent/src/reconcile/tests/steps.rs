//! An agent that fails at a step and goes on.

use tepui_types::failpoint::{self, Effect};

use super::*;
use crate::execute::{point, steps};

/// What makes the agent run each operation.
fn provoke(operation: Operation, id: PlacementId) -> Vec<tepui_types::agent::WantedPlacement> {
    match operation {
        Operation::Start => vec![running(id, 1, 0)],
        Operation::Stop => vec![stopped(id, false)],
        Operation::PowerOff => vec![stopped(id, true)],
        Operation::Reboot => vec![running(id, 1, 1)],
        Operation::Remove => vec![absent(id, true)],
        Operation::Note => vec![running(id, 1, 0)],
    }
}

/// What each operation needs before it.
async fn prepare(agent: &mut RunningAgent, operation: Operation, id: PlacementId) {
    match operation {
        Operation::Start => {}
        Operation::Stop | Operation::PowerOff | Operation::Reboot | Operation::Note => {
            agent.take(vec![node_part(1, vec![running(id, 1, 0)])]);
            agent.wait_state(id, is_running(1, 0)).await;
        }
        Operation::Remove => {
            agent.take(vec![node_part(1, vec![running(id, 1, 0)])]);
            agent.wait_state(id, is_running(1, 0)).await;
            agent.take(vec![node_part(2, vec![stopped(id, true)])]);
            agent.wait_state(id, PlacementState::Off { start_seq: 1, reason: OffReason::Requested }).await;
        }
    }
}

/// Every step of every operation passes its fail point; the agent, ended there and started again,
/// finishes the work. Fail points are global, so all run one after the other in one test.
#[tokio::test]
async fn an_agent_that_fails_at_any_step_and_restarts_finishes_the_work() {
    for (operation, step) in steps() {
        let (host, hypervisor) = simulated();
        let id = placement(1);
        let mut agent = host.start_agent();
        agent.take(vec![vpc_part(1)]);
        prepare(&mut agent, operation, id).await;
        let name = point(operation, step);
        failpoint::arm(&name, Effect::Error);
        if operation == Operation::Note {
            hypervisor.goes_off(id, Seen::Guest);
        }
        agent.take(vec![node_part(9, provoke(operation, id))]);
        let deadline = Instant::now() + PATIENCE;
        while failpoint::trips(&name) == 0 {
            assert!(Instant::now() < deadline, "{name} is never passed");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(agent);
        failpoint::disarm(&name);
        let mut agent = host.start_agent();
        agent.wait_state(id, finished(operation)).await;
        assert!(hypervisor.starts_and_resets(id).0 <= 1, "{name}: started twice");
    }
}

fn finished(operation: Operation) -> PlacementState {
    match operation {
        Operation::Start => is_running(1, 0),
        Operation::Stop | Operation::PowerOff => {
            PlacementState::Off { start_seq: 1, reason: OffReason::Requested }
        }
        Operation::Reboot => is_running(1, 1),
        Operation::Remove => PlacementState::Gone,
        Operation::Note => PlacementState::Off { start_seq: 1, reason: OffReason::Guest },
    }
}
