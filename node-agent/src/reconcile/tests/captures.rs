//! Captures of root disks give way to what is wanted of their guests.

use tepui_types::SnapshotId;

use super::*;
use crate::captures::{CaptureError, Wanted};
use crate::disks::Disks as _;
use crate::testing::spec;

/// What is asked for of a guest, whose image is here.
fn wanted(host: &SimulatedHost, placement: PlacementId) -> Wanted {
    let power = tepui_types::agent::Power::Stopped { force: false };
    let disk = spec(placement, power).root_disk.unwrap();
    std::fs::write(host.disks.paths(placement, &disk).base, b"").unwrap();
    Wanted { snapshot: SnapshotId::from_random(1), placement, disk }
}

fn has_capture(host: &SimulatedHost, id: PlacementId) -> bool {
    host.dir.path().join("disks").join(format!("{id}.capture")).exists()
}

#[tokio::test]
async fn the_capture_of_a_guest_that_goes_ends_before_its_disk_does() {
    let (host, hypervisor) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    hypervisor.set_captures_hang(true);
    let captures = Arc::clone(&agent.shared.executor.captures);
    captures.tidy().await.unwrap();
    let goes = async {
        while !hypervisor.is_being_captured(id) {
            tokio::task::yield_now().await;
        }
        assert!(has_capture(&host, id));
        agent.take(vec![node_part(2, vec![absent(id, true)])]);
        agent.wait_state(id, PlacementState::Gone).await;
        assert!(!has_capture(&host, id), "nothing is left of it");
    };
    let (refused, ()) = tokio::join!(captures.content(wanted(&host, id)), goes);
    let refused = refused.err().unwrap();
    assert!(matches!(&refused, CaptureError::Failed(why) if why.contains("called off")), "{refused}");
}

#[tokio::test]
async fn nothing_is_captured_while_its_guest_starts() {
    let (host, _) = SimulatedHost::simulated(SimulatedSettings { start_ms: 500, ..Default::default() });
    let id = placement(1);
    let mut agent = host.start_agent();
    let captures = Arc::clone(&agent.shared.executor.captures);
    captures.tidy().await.unwrap();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    loop {
        let refused = captures.content(wanted(&host, id)).await.err().unwrap();
        if matches!(refused, CaptureError::Moving) {
            break;
        }
        assert_ne!(state_of(&agent.observed.borrow(), id), Some(is_running(1, 0)), "{refused}");
        tokio::task::yield_now().await;
    }
    agent.wait_state(id, is_running(1, 0)).await;
}
