//! Observations, expunge, purge.

use std::sync::Arc;

use tepui_types::PlacementId;
use tepui_types::agent::{NodeCapacity, PartKey};

use super::world::{CAPACITY, World};
use crate::model::InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
use crate::model::{InstanceState, NodeState, Placement, StateReason};
use crate::{Adoption, Db, ExpungeOutcome, LaunchOutcome, PowerChange, Transition};

fn transition(placement: &Placement, from: InstanceState, to: InstanceState) -> Transition {
    let observed = format!("{to:?}");
    Transition { placement_id: placement.id, from, to, reason: None, observed, gone: false }
}

pub async fn a_transition_needs_its_state(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let (node, other) = (world.node(CAPACITY).await, world.node(CAPACITY).await);
    let id = world.pending(&alpha, node).await;
    let placement = world.record(&alpha, id).await.placement.unwrap();
    let apply =
        async |node, transition| world.db.apply_transitions(node, &[transition], world.now()).await.unwrap();
    assert_eq!(apply(node, transition(&placement, Stopping, Stopped)).await, []);
    assert_eq!(apply(other, transition(&placement, Pending, Running)).await, [], "another node's word");
    assert_eq!(world.state(&alpha, id).await, Pending);
    assert_eq!(apply(node, transition(&placement, Pending, Running)).await, [placement.id]);
    assert_eq!(apply(node, transition(&placement, Pending, Running)).await, [], "asked twice");
    let mut words = transition(&placement, Running, Running);
    words.observed = "still running".into();
    assert_eq!(apply(node, words).await, []);
    let stored = world.record(&alpha, id).await.placement.unwrap();
    assert_eq!(stored.observed.as_deref(), Some("still running"));
    let mut gone = transition(&placement, Running, Stopped);
    gone.gone = true;
    gone.reason = Some(StateReason {
        code: "Server.Crash".into(),
        message: "it crashed".into(),
        detail: Some("signal 9".into()),
    });
    assert_eq!(apply(node, gone.clone()).await, [placement.id]);
    let record = world.record(&alpha, id).await;
    assert!(record.placement.is_some(), "a wanted instance keeps its place");
    assert_eq!(record.instance.state_reason, gone.reason);
}

pub async fn an_adoption_needs_its_state(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let (node, other) = (world.node(CAPACITY).await, world.node(CAPACITY).await);
    let id = world.running(&alpha, node).await;
    let placement = world.record(&alpha, id).await.placement.unwrap();
    let adoption = |from, state, gone| Adoption {
        placement_id: placement.id,
        from,
        state,
        start_seq: 7,
        reboot_seq: 9,
        reason: None,
        observed: "seen".into(),
        gone,
    };
    let adopt = async |node, adoption| world.db.adopt(node, &[adoption], world.now()).await.unwrap();
    world.power(&alpha, id, PowerChange::Stop { force: false }).await;
    assert_eq!(adopt(node, adoption(Running, Running, false)).await, [], "it was told to stop meanwhile");
    assert_eq!(adopt(other, adoption(Stopping, Stopped, false)).await, [], "another node's word");
    let instance = world.record(&alpha, id).await.instance.clone();
    assert_eq!((instance.state, instance.start_seq, instance.reboot_seq), (Stopping, 1, 0));
    let before = (world.node_generation(node).await, world.vpc_generation(alpha.vpc).await);
    assert_eq!(adopt(node, adoption(Stopping, Stopped, false)).await, [placement.id]);
    let instance = world.record(&alpha, id).await.instance.clone();
    assert_eq!((instance.state, instance.start_seq, instance.reboot_seq), (Stopped, 7, 9));
    assert!(world.node_generation(node).await > before.0);
    assert_eq!(world.vpc_generation(alpha.vpc).await, before.1, "it keeps its port");
    assert_eq!(adopt(node, adoption(Stopped, Terminated, true)).await, [placement.id]);
    assert!(world.record(&alpha, id).await.interface.is_none());
    assert!(world.vpc_generation(alpha.vpc).await > before.1);
}

pub async fn gone_releases_everything(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.running(&alpha, node).await;
    let volume = world.record(&alpha, id).await.root_volume.unwrap().id.to_string();
    let tag = ("a".to_owned(), "b".to_owned());
    world.db.put_tags(alpha.project, &[volume.clone(), id.to_string()], &[tag], 50).await.unwrap();
    world.power(&alpha, id, PowerChange::Terminate).await;
    let placement = world.record(&alpha, id).await.placement.unwrap();
    let first = transition(&placement, ShuttingDown, Terminated);
    world.db.apply_transitions(node, &[first], world.now()).await.unwrap();
    let record = world.record(&alpha, id).await;
    assert!(record.interface.is_some(), "the node has not confirmed yet");
    assert_eq!(world.used(node).await, (0, 0, 8));
    let before = (world.node_generation(node).await, world.vpc_generation(alpha.vpc).await);
    let mut gone = transition(&placement, Terminated, Terminated);
    gone.gone = true;
    let asked = [placement.id, PlacementId::from_random(world.bits())];
    assert_eq!(world.db.live_placements(&asked).await.unwrap(), [placement.id]);
    let applied = world.db.apply_transitions(node, std::slice::from_ref(&gone), world.now()).await.unwrap();
    assert_eq!(applied, [placement.id]);
    assert_eq!(world.db.live_placements(&asked).await.unwrap(), []);
    let record = world.record(&alpha, id).await;
    assert_eq!((record.placement, record.interface, record.root_volume), (None, None, None));
    assert_eq!(record.instance.state, Terminated);
    assert_eq!(world.used(node).await, (0, 0, 0));
    let tags = world.db.tags(alpha.project).await.unwrap();
    assert!(!tags.contains_key(&volume) && tags.contains_key(&id.to_string()));
    assert_eq!(world.db.interfaces(alpha.project).await.unwrap(), []);
    assert_eq!(world.db.apply_transitions(node, &[gone], world.now()).await.unwrap(), []);
    let after = (world.node_generation(node).await, world.vpc_generation(alpha.vpc).await);
    assert!(after.0 > before.0 && after.1 > before.1);
    assert_eq!(world.carried(node).await, [PartKey::Node(node)]);
}

pub async fn only_changes_of_a_part_grow_it(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let id = world.pending(&alpha, node).await;
    let generations = async || (world.node_generation(node).await, world.vpc_generation(alpha.vpc).await);
    let launched = generations().await;
    world.observe(&alpha, id, Running).await;
    assert_eq!(generations().await, launched, "pending and running are the same to the node");
    world.observe(&alpha, id, Stopped).await;
    let off = generations().await;
    assert!(off.0 > launched.0, "the guest's own power-off is to be kept");
    assert_eq!(off.1, launched.1, "a stopped instance keeps its port");
    world.start(&alpha, id).await;
    world.observe(&alpha, id, Running).await;
    world.power(&alpha, id, PowerChange::Stop { force: true }).await;
    let stopping = generations().await;
    world.observe(&alpha, id, Stopped).await;
    assert_eq!(generations().await, stopping, "stopping and stopped are the same to the node");
    assert!(world.record(&alpha, id).await.instance.force, "force is in the part, it must not change");
}

pub async fn a_vpc_that_returns_has_a_newer_generation(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    let mut seen = world.vpc_generation(alpha.vpc).await;
    for _ in 0..3 {
        let id = world.running(&alpha, node).await;
        let here = world.vpc_generation(alpha.vpc).await;
        assert!(here > seen);
        world.terminate(&alpha, id).await;
        assert_eq!(world.carried(node).await, [PartKey::Node(node)]);
        seen = world.vpc_generation(alpha.vpc).await;
        assert!(seen > here, "the removal is newer than what the node has");
    }
}

pub async fn an_expunge_ends_what_was_there(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let (lost, kept) = (world.node(CAPACITY).await, world.node(CAPACITY).await);
    let (a, b) = (world.running(&alpha, lost).await, world.stopped(&alpha, lost).await);
    let survivor = world.running(&alpha, kept).await;
    let before = world.vpc_generation(alpha.vpc).await;
    let reason = StateReason {
        code: "Server.Expunged".into(),
        message: "given up".into(),
        detail: Some("node-1".into()),
    };
    let expunge = async || world.db.expunge_node(lost, &reason, world.now()).await.unwrap();
    assert_eq!(expunge().await, ExpungeOutcome::Up);
    assert_eq!(world.state(&alpha, a).await, Running, "a node that is up keeps its guests");
    world.db.set_node_state(lost, NodeState::Unreachable, world.now()).await.unwrap();
    assert_eq!(expunge().await, ExpungeOutcome::Expunged(2));
    assert_eq!(expunge().await, ExpungeOutcome::Expunged(0));
    for id in [a, b] {
        let record = world.record(&alpha, id).await;
        assert_eq!((record.instance.state, record.placement), (Terminated, None));
        assert_eq!(record.instance.state_reason.as_ref(), Some(&reason));
    }
    assert_eq!(world.state(&alpha, survivor).await, Running);
    assert_eq!(world.used(lost).await, (0, 0, 0));
    assert!(world.vpc_generation(alpha.vpc).await > before);
    let (_, part) = world.db.vpc_part(alpha.vpc).await.unwrap().unwrap();
    assert_eq!(part.nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [kept]);
}

pub async fn an_expunge_gives_every_address_back(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant_in("alpha", "172.31.0.0/28").await;
    let capacity = NodeCapacity { vcpus: 99, memory_mib: 99_999, disk_gib: 999 };
    let (lost, kept) = (world.node(capacity).await, world.node(capacity).await);
    let fill = |node| {
        let mut launch = world.launch(&alpha, (0..6).map(|_| world.instance(&alpha, node)).collect());
        launch.instances.iter_mut().for_each(|new| new.interface.public_ip = true);
        launch
    };
    let launched = world.try_launch(&fill(lost)).await;
    assert!(matches!(launched, LaunchOutcome::Launched(_)), "the whole pool: {launched:?}");
    assert_eq!(world.try_launch(&fill(kept)).await, LaunchOutcome::PoolExhausted { fit: 0 });
    world.db.set_node_state(lost, NodeState::Unreachable, world.now()).await.unwrap();
    let reason = StateReason { code: "c".into(), message: "m".into(), detail: None };
    let outcome = world.db.expunge_node(lost, &reason, world.now()).await.unwrap();
    assert_eq!(outcome, ExpungeOutcome::Expunged(6));
    let launched = world.try_launch(&fill(kept)).await;
    assert!(matches!(launched, LaunchOutcome::Launched(_)), "public and private ones are free: {launched:?}");
}

pub async fn a_node_part_has_all_that_its_placements_name(db: Arc<dyn Db>) {
    let world = World::new(db);
    let (alpha, beta) = (world.tenant("alpha").await, world.tenant("beta").await);
    let (node, other) = (world.node(CAPACITY).await, world.node(CAPACITY).await);
    let (a, b) = (world.running(&alpha, node).await, world.stopped(&beta, node).await);
    world.running(&alpha, other).await;
    let part = world.db.node_part(node).await.unwrap().unwrap();
    let ids: Vec<_> = part.records.iter().map(|record| record.instance.id).collect();
    assert_eq!(ids, [a, b]);
    assert_eq!(part.groups.iter().map(|group| group.id).collect::<Vec<_>>(), [alpha.group, beta.group]);
    assert_eq!(part.vpcs.iter().map(|vpc| vpc.id).collect::<Vec<_>>(), [alpha.vpc, beta.vpc]);
    assert_eq!(part.subnets.iter().map(|subnet| subnet.id).collect::<Vec<_>>(), [alpha.subnet, beta.subnet]);
}
