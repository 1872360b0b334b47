//! Stop, start, reboot, terminate.

use std::sync::Arc;

use tepui_types::InstanceId;
use tepui_types::agent::NodeCapacity;

use super::world::{CAPACITY, World};
use crate::model::InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
use crate::model::NodeState;
use crate::{AttributeChange, Db, PowerChange, PowerOutcome};

const STOP: PowerChange = PowerChange::Stop { force: false };
const PULL: PowerChange = PowerChange::Stop { force: true };

pub async fn stop_start_and_terminate_follow_the_states(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.pending(&alpha, node).await;
    let changed = |from, to| PowerOutcome::Changed(vec![(id, from, to)]);
    let power = async |change| world.power(&alpha, id, change).await;
    let generation = async || world.node_generation(node).await;
    assert_eq!(power(STOP).await, PowerOutcome::WrongState(id, Pending));
    assert_eq!(world.start(&alpha, id).await, changed(Pending, Pending));
    world.observe(&alpha, id, Running).await;
    let before = generation().await;
    assert_eq!(world.start(&alpha, id).await, changed(Running, Running));
    assert_eq!(world.record(&alpha, id).await.instance.start_seq, 2);
    let g0 = generation().await;
    assert!(before < g0, "its guest may be off already: the order is news to the node");
    assert_eq!(power(STOP).await, changed(Running, Stopping));
    let g1 = generation().await;
    assert_eq!(power(STOP).await, changed(Stopping, Stopping));
    assert_eq!(generation().await, g1, "asked again it changes nothing");
    assert_eq!(power(PULL).await, changed(Stopping, Stopping));
    let g2 = generation().await;
    assert!(g0 < g1 && g1 < g2, "force is news to the node");
    assert!(world.record(&alpha, id).await.instance.force);
    assert_eq!(power(PULL).await, changed(Stopping, Stopping));
    assert_eq!(generation().await, g2);
    assert_eq!(world.start(&alpha, id).await, PowerOutcome::WrongState(id, Stopping));
    world.observe(&alpha, id, Stopped).await;
    assert_eq!(world.used(node).await, (0, 0, 8));
    assert_eq!(power(STOP).await, changed(Stopped, Stopped));
    assert_eq!(world.start(&alpha, id).await, changed(Stopped, Pending));
    let started = world.record(&alpha, id).await.instance;
    assert_eq!((started.start_seq, started.force, started.state_reason), (3, false, None));
    assert_eq!(world.used(node).await, (1, 512, 8));
    assert_eq!(power(PowerChange::Terminate).await, changed(Pending, ShuttingDown));
    assert_eq!(power(PowerChange::Terminate).await, changed(ShuttingDown, ShuttingDown));
    assert_eq!(power(STOP).await, PowerOutcome::WrongState(id, ShuttingDown));
    world.observe(&alpha, id, Terminated).await;
    assert_eq!(power(PowerChange::Terminate).await, changed(Terminated, Terminated));
    assert_eq!(world.start(&alpha, id).await, PowerOutcome::WrongState(id, Terminated));
    let stopping = world.running(&alpha, node).await;
    world.power(&alpha, stopping, STOP).await;
    let ended = world.power(&alpha, stopping, PowerChange::Terminate).await;
    assert_eq!(ended, PowerOutcome::Changed(vec![(stopping, Stopping, ShuttingDown)]));
    let stopped = world.stopped(&alpha, node).await;
    let used = world.used(node).await;
    let ended = world.power(&alpha, stopped, PowerChange::Terminate).await;
    assert_eq!(ended, PowerOutcome::Changed(vec![(stopped, Stopped, ShuttingDown)]));
    assert_eq!(world.used(node).await, used, "what was stopped takes nothing while it goes");
}

pub async fn reboot_is_for_running_instances(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.pending(&alpha, node).await;
    let reboot = async || world.power(&alpha, id, PowerChange::Reboot).await;
    assert_eq!(reboot().await, PowerOutcome::WrongState(id, Pending));
    world.observe(&alpha, id, Running).await;
    let before = world.node_generation(node).await;
    assert_eq!(reboot().await, PowerOutcome::Changed(vec![(id, Running, Running)]));
    assert_eq!(world.record(&alpha, id).await.instance.reboot_seq, 1);
    assert!(world.node_generation(node).await > before);
    world.stop(&alpha, id).await;
    assert_eq!(reboot().await, PowerOutcome::WrongState(id, Stopped));
}

pub async fn protection_refuses_all_of_the_call(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let (free, kept) = (world.running(&alpha, node).await, world.running(&alpha, node).await);
    for change in [AttributeChange::DisableApiStop(true), AttributeChange::DisableApiTermination(true)] {
        world.db.change_attributes(alpha.project, kept, &[change], world.now()).await.unwrap();
    }
    let before = world.node_generation(node).await;
    for change in [STOP, PowerChange::Terminate] {
        let outcome = world.db.change_power(alpha.project, &[free, kept], change, world.now()).await;
        assert_eq!(outcome.unwrap(), PowerOutcome::Protected(kept));
        assert_eq!(world.state(&alpha, free).await, Running, "all or nothing");
    }
    assert_eq!(world.node_generation(node).await, before);
}

pub async fn starting_takes_capacity_again(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(NodeCapacity { vcpus: 1, ..CAPACITY }).await;
    let id = world.stopped(&alpha, node).await;
    let other = world.running(&alpha, node).await;
    assert_eq!(world.start(&alpha, id).await, PowerOutcome::NoCapacity(id));
    assert_eq!(world.state(&alpha, id).await, Stopped);
    world.terminate(&alpha, other).await;
    world.db.set_node_state(node, NodeState::Unreachable, world.now()).await.unwrap();
    assert_eq!(world.start(&alpha, id).await, PowerOutcome::NoCapacity(id));
    world.db.set_node_state(node, NodeState::Up, world.now()).await.unwrap();
    world.db.set_schedulable(node, false).await.unwrap();
    let started = PowerOutcome::Changed(vec![(id, Stopped, Pending)]);
    assert_eq!(world.start(&alpha, id).await, started, "its disk is on the drained node");
    assert_eq!(world.used(node).await, (1, 512, 8));
}

pub async fn foreign_instances_are_not_found(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    for change in [STOP, PowerChange::Reboot, PowerChange::Terminate] {
        assert_eq!(world.power(&beta, id, change).await, PowerOutcome::NotFound(id));
    }
    assert_eq!(world.start(&beta, id).await, PowerOutcome::NotFound(id));
    let change = AttributeChange::DisableApiStop(true);
    let outcome = world.db.change_attributes(beta.project, id, &[change], world.now()).await.unwrap();
    assert_eq!(outcome, PowerOutcome::NotFound(id));
    assert_eq!(world.state(&alpha, id).await, Running);
    let unknown = InstanceId::from_random(world.bits());
    assert_eq!(world.power(&alpha, unknown, STOP).await, PowerOutcome::NotFound(unknown));
}
