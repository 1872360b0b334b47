//! Scratch disks from the first start of a guest to its end.

use std::path::PathBuf;

use tepui_types::agent::ScratchKind;

use super::*;
use crate::disks::Disks as _;
use crate::testing::with_scratch;

fn files(host: &SimulatedHost, id: PlacementId) -> [PathBuf; 2] {
    [ScratchKind::Scratch, ScratchKind::Swap].map(|kind| host.disks.scratch_path(id, kind))
}

/// The guest writes to both.
fn write(host: &SimulatedHost, id: PlacementId) {
    for file in files(host, id) {
        assert!(file.exists(), "{}", file.display());
        std::fs::write(file, b"data").unwrap();
    }
}

fn read(host: &SimulatedHost, id: PlacementId) -> Vec<Vec<u8>> {
    files(host, id).iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

#[tokio::test]
async fn they_live_from_a_start_over_reboots_to_the_next_start_and_go_with_the_placement() {
    let (mut host, hypervisor) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![with_scratch(running(id, 1, 0))])]);
    agent.wait_state(id, is_running(1, 0)).await;
    write(&host, id);
    agent.take(vec![node_part(2, vec![with_scratch(running(id, 1, 1))])]);
    agent.wait_state(id, is_running(1, 1)).await;
    drop(agent);
    hypervisor.host_reboots();
    host.boot_id = "boot-2".to_owned();
    let mut agent = host.start_agent();
    agent.wait_state(id, is_running(1, 1)).await;
    assert_eq!(hypervisor.starts_and_resets(id), (2, 1));
    assert_eq!(read(&host, id), [b"data", b"data"], "both reboots left them");
    agent.take(vec![node_part(3, vec![with_scratch(stopped(id, true))])]);
    agent.wait_state(id, PlacementState::Off { start_seq: 1, reason: OffReason::Requested }).await;
    agent.take(vec![node_part(4, vec![with_scratch(running(id, 2, 1))])]);
    agent.wait_state(id, is_running(2, 1)).await;
    assert_eq!(read(&host, id), [b"", b""], "empty after a stop");
    agent.take(vec![node_part(5, vec![absent(id, true)])]);
    agent.wait_state(id, PlacementState::Gone).await;
    assert_eq!(read(&host, id), Vec::<Vec<u8>>::new());
}

/// Of a guest that boots from a volume nothing else is on the host: they go all the same.
#[tokio::test]
async fn those_of_a_start_that_failed_go_with_the_placement() {
    let (host, _) =
        SimulatedHost::simulated(SimulatedSettings { failure_percent: 100, ..Default::default() });
    let id = placement(7);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![with_scratch(booting(id, 1, root()))])]);
    agent.wait("failed", |seen| matches!(state_of(seen, id), Some(PlacementState::Failed { .. }))).await;
    assert_eq!(read(&host, id).len(), 2);
    drop(agent);
    let mut agent = host.start_agent();
    agent.take(vec![node_part(2, vec![absent(id, true)])]);
    agent.wait_state(id, PlacementState::Gone).await;
    assert_eq!(read(&host, id).len(), 0);
}
