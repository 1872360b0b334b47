//! After a backup was restored: what the hosts did meanwhile is taken over before they are told anything.

use std::sync::Arc;

use tepui_core::{Cloud, Reservation, RunInstances};
use tepui_db::model::InstanceState;
use tepui_types::Epoch;
use tepui_types::agent::{HavePart, NodeObserved, OffReason, PartKey, PlacementState, PollRequest, Report};
use tepui_types::{Generation, InstanceId, NodeId};

use super::harness::{Harness, placement_of, running};

async fn poll(cloud: &Cloud, node: NodeId, epoch: u64) -> usize {
    let request =
        PollRequest { epoch: Epoch(epoch), agent_run: 1, have: Vec::new(), wait_ms: 0, reported: 0 };
    cloud.poll(node, request).await.unwrap().parts.len()
}

async fn report(cloud: &Cloud, node: NodeId, sequence: u64, observed: NodeObserved) {
    cloud.report(node, Report { epoch: Epoch(1), agent_run: 1, sequence, observed }).await.unwrap();
}

async fn restored(t: &Harness) -> Arc<Cloud> {
    t.db.begin_epoch_after(Epoch(1)).await.unwrap();
    t.restarted()
}

fn off(start_seq: u64) -> PlacementState {
    PlacementState::Off { start_seq, reason: OffReason::Requested }
}

/// What an agent says that has looked at everything.
fn looked(node: NodeId) -> Vec<HavePart> {
    vec![HavePart { key: PartKey::Node(node), generation: Generation(7) }]
}

fn instance_of(made: &Reservation) -> InstanceId {
    made.instances[0].record.instance.id
}

#[tokio::test]
async fn starts_stops_and_ends_after_the_backup_are_taken_over_and_orders_before_it_are_carried_out() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let mut made: Vec<Reservation> = Vec::new();
    for _ in 0..6 {
        made.push(t.run_one(&t.admin).await);
    }
    let id = |n: usize| made[n].instances[0].record.instance.id;
    let all_run = || made.iter().map(|made| (placement_of(made), running(1))).collect::<Vec<_>>();
    host.report(all_run()).await;
    // Before the backup: 3 is off, 4 is to stop, 5 is to end.
    t.cloud.stop_instances(&t.admin, &[id(3), id(4)], false).await.unwrap();
    t.cloud.terminate_instances(&t.admin, &[id(5)]).await.unwrap();
    let mut seen = all_run();
    seen[3].1 = off(1);
    host.report(seen.clone()).await;
    let cloud = restored(&t).await;
    assert_eq!(poll(&cloud, host.id, 1).await, 0, "nothing is ordered before the host has spoken");
    // After it: 0 ran on, 1 was stopped, 2 is gone, 3 was started.
    seen[1].1 = off(1);
    seen[3].1 = PlacementState::Running { start_seq: 2, reboot_seq: 4 };
    seen.remove(2);
    let mut observed = host.observed(seen);
    report(&cloud, host.id, 100, observed.clone()).await;
    assert_eq!(poll(&cloud, host.id, 1).await, 0, "it has not looked yet");
    observed.applied = looked(host.id);
    report(&cloud, host.id, 101, observed.clone()).await;
    let state = async |n| {
        let instance = cloud.instance(&t.admin, id(n)).await.unwrap().record.instance.clone();
        (instance.state, instance.start_seq, instance.reboot_seq)
    };
    assert_eq!(state(0).await, (InstanceState::Running, 1, 0));
    assert_eq!(state(1).await, (InstanceState::Stopped, 1, 0));
    assert_eq!(state(2).await, (InstanceState::Terminated, 1, 0));
    assert_eq!(state(3).await, (InstanceState::Running, 2, 4));
    assert_eq!(state(4).await, (InstanceState::Stopping, 1, 0));
    assert_eq!(state(5).await, (InstanceState::ShuttingDown, 1, 0));
    assert_eq!(poll(&cloud, host.id, 1).await, 2, "its own part and its network's");
    // A late report of the life before changes nothing any more.
    observed.placements.clear();
    report(&cloud, host.id, 102, observed).await;
    assert_eq!(state(0).await.0, InstanceState::Running);
    cloud.stop_instances(&t.admin, &[id(3)], false).await.unwrap();
}

#[tokio::test]
async fn a_launch_that_its_host_was_never_told_of_is_not_gone() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let before = t.run_one(&t.admin).await;
    let cloud = restored(&t).await;
    let after = cloud.run_instances(&t.admin, RunInstances::new(image, "t3.nano")).await.unwrap();
    let observed = NodeObserved { applied: looked(host.id), ..host.observed(Vec::new()) };
    // The second time the control plane began anew before the agent took its parts.
    for cloud in [cloud, t.restarted()] {
        report(&cloud, host.id, 100, observed.clone()).await;
        for (made, when) in [(&before, "before the backup"), (&after, "before the host was adopted")] {
            let instance = cloud.instance(&t.admin, instance_of(made)).await.unwrap();
            assert_eq!(instance.record.instance.state, InstanceState::Pending, "{when}");
        }
        assert_eq!(poll(&cloud, host.id, 1).await, 2, "its own part, which orders both, and its network's");
    }
}

#[tokio::test]
async fn an_impaired_host_is_taken_over_as_far_as_it_sees_and_gets_its_orders() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let (seen, hidden) = (t.run_one(&t.admin).await, t.run_one(&t.admin).await);
    host.report(vec![(placement_of(&seen), running(1)), (placement_of(&hidden), running(1))]).await;
    let cloud = restored(&t).await;
    let observed = NodeObserved {
        applied: looked(host.id),
        impaired: Some("the disk of a guest is full".into()),
        ..host.observed(vec![(placement_of(&seen), off(1))])
    };
    report(&cloud, host.id, 100, observed).await;
    let state = async |made| cloud.instance(&t.admin, instance_of(made)).await.unwrap().record.instance.state;
    assert_eq!((state(&seen).await, state(&hidden).await), (InstanceState::Stopped, InstanceState::Running));
    assert_eq!(poll(&cloud, host.id, 1).await, 2, "its own part and its network's");
}

#[tokio::test]
async fn an_instance_that_its_host_lost_leaves_its_network_and_its_console_goes() {
    let t = Harness::new().await;
    let (one, two) = (t.host(1).await, t.host(2).await);
    for made in [t.run_one(&t.admin).await, t.run_one(&t.admin).await] {
        let placement = made.instances[0].record.placement.clone().unwrap();
        let host = if placement.node_id == one.id { &one } else { &two };
        host.report(vec![(placement.id, running(1))]).await;
        t.cloud.put_console(host.id, placement.id, b"secrets of a tenant").await.unwrap();
    }
    let cloud = restored(&t).await;
    let parts = two.poll().await.parts;
    let have = parts.iter().map(|part| HavePart { key: part.key, generation: part.generation }).collect();
    let request = PollRequest { epoch: Epoch(1), agent_run: 1, have, wait_ms: 0, reported: 0 };
    cloud.poll(two.id, request).await.unwrap();
    let woken = cloud.wake_ups(two.id);
    let observed = NodeObserved { applied: looked(one.id), ..one.observed(Vec::new()) };
    report(&cloud, one.id, 100, observed).await;
    assert!(woken.has_changed().unwrap(), "the other host of the network");
    assert_eq!(std::fs::read_dir(&cloud.config().consoles_dir).unwrap().count(), 1);
}
