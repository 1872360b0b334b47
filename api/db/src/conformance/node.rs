//! Nodes.

use std::sync::Arc;

use tepui_types::NodeId;
use tepui_types::agent::NodeCapacity;

use super::world::{CAPACITY, END, World, join_token};
use crate::model::{NodeState, StateReason};
use crate::{Certificate, Db, EnrolOutcome, ExpungeOutcome, LaunchOutcome, NewNode, rehearse};

pub async fn enrolment_is_bound_to_the_first_machine(db: Arc<dyn Db>) {
    let world = World::new(db);
    let secret = [7; 32];
    let (first, second) = (world.new_node(11, CAPACITY), world.new_node(12, CAPACITY));
    let enrol = async |secret: &[u8; 32], node, now| world.db.enrol_node(secret, node, now).await.unwrap();
    assert_eq!(enrol(&secret, &first, world.now()).await, EnrolOutcome::UnknownToken);
    world.db.create_join_token(&join_token(secret, END)).await.unwrap();
    let token = join_token(secret, END);
    let maker = async |secret| world.db.join_token_maker(secret).await.unwrap();
    assert_eq!(maker(&secret).await, Some((token.project_id, token.user_id)));
    assert_eq!(maker(&[8; 32]).await, None);
    assert_eq!(enrol(&secret, &first, END).await, EnrolOutcome::Expired(END));
    assert_eq!(enrol(&secret, &first, world.now()).await, EnrolOutcome::Enrolled(first.id));
    let mut again = first.clone();
    again.id = NodeId::from_random(world.bits());
    assert_eq!(enrol(&secret, &again, world.now()).await, EnrolOutcome::Enrolled(first.id));
    assert_eq!(enrol(&secret, &second, world.now()).await, EnrolOutcome::UsedByOther);
    assert_eq!(world.db.nodes().await.unwrap().len(), 1);
}

pub async fn a_certificate_counts_once_it_is_used(db: Arc<dyn Db>) {
    let world = World::new(db);
    let node = world.node(CAPACITY).await;
    let is = async |sha256| world.db.certificate(node, &sha256).await.unwrap();
    let promote = async |sha256| world.db.promote_certificate(node, &sha256).await.unwrap();
    assert_eq!(is([0; 32]).await, Certificate::Foreign, "a node without a certificate accepts none");
    world.db.put_certificate(node, &[1; 32]).await.unwrap();
    assert_eq!(is([1; 32]).await, Certificate::Pending);
    assert!(promote([1; 32]).await);
    world.db.put_certificate(node, &[2; 32]).await.unwrap();
    assert_eq!(is([1; 32]).await, Certificate::Current, "valid until the new one is used");
    assert!(promote([2; 32]).await);
    assert!(promote([2; 32]).await, "two connections use it at once");
    assert!(!promote([1; 32]).await);
    assert_eq!((is([1; 32]).await, is([2; 32]).await), (Certificate::Foreign, Certificate::Current));
    assert_eq!(world.db.nodes().await.unwrap()[0].node.certificate_sha256, [2; 32]);
}

pub async fn a_new_underlay_address_is_news_to_the_vpcs(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let node = world.node(CAPACITY).await;
    world.running(&alpha, node).await;
    let before = world.vpc_generation(alpha.vpc).await;
    let machine = world.db.nodes().await.unwrap()[0].node.machine_uuid;
    let token = join_token([3; 32], END);
    world.db.create_join_token(&token).await.unwrap();
    let mut moved = world.new_node(world.bits(), CAPACITY);
    moved.machine_uuid = machine;
    let address = world.db.nodes().await.unwrap()[0].node.underlay_address;
    let stays = NewNode { may_move: false, ..moved.clone() };
    let outcome = world.db.enrol_node(&[3; 32], &stays, world.now()).await.unwrap();
    assert_eq!(outcome, EnrolOutcome::Elsewhere { node, address });
    assert_eq!(world.vpc_generation(alpha.vpc).await, before);
    let outcome = world.db.enrol_node(&[3; 32], &moved, world.now()).await.unwrap();
    assert_eq!(outcome, EnrolOutcome::Enrolled(node));
    let (generation, part) = world.db.vpc_part(alpha.vpc).await.unwrap().unwrap();
    assert!(generation > before);
    assert_eq!(part.nodes[0].underlay_address, moved.underlay_address);
}

pub async fn an_expunged_node_is_final(db: Arc<dyn Db>) {
    let world = World::new(db);
    let node = world.node(CAPACITY).await;
    world.db.put_certificate(node, &[1; 32]).await.unwrap();
    let set = async |state| world.db.set_node_state(node, state, world.now()).await.unwrap();
    assert!(!set(NodeState::Up).await);
    assert!(set(NodeState::Unreachable).await);
    assert!(set(NodeState::Up).await);
    let reason = StateReason { code: "Server.Expunged".into(), message: "given up".into(), detail: None };
    let expunge = async |id| world.db.expunge_node(id, &reason, world.now()).await.unwrap();
    assert_eq!(expunge(node).await, ExpungeOutcome::Up);
    let is = async || world.db.certificate(node, &[1; 32]).await.unwrap();
    assert_eq!(is().await, Certificate::Pending, "nothing was changed");
    assert!(set(NodeState::Unreachable).await);
    assert_eq!(expunge(node).await, ExpungeOutcome::Expunged(0));
    assert_eq!(expunge(node).await, ExpungeOutcome::Expunged(0), "repeated");
    assert!(!set(NodeState::Up).await);
    assert_eq!(is().await, Certificate::Foreign);
    assert!(!world.db.promote_certificate(node, &[1; 32]).await.unwrap());
    let unknown = NodeId::from_random(world.bits());
    assert_eq!(expunge(unknown).await, ExpungeOutcome::NotFound);
    assert!(!world.db.set_node_state(unknown, NodeState::Up, world.now()).await.unwrap());
    let machine = world.db.nodes().await.unwrap()[0].node.machine_uuid;
    let token = join_token([3; 32], END);
    world.db.create_join_token(&token).await.unwrap();
    let mut again = world.new_node(world.bits(), CAPACITY);
    again.machine_uuid = machine;
    let outcome = world.db.enrol_node(&[3; 32], &again, world.now()).await.unwrap();
    assert_eq!(outcome, EnrolOutcome::Enrolled(again.id), "its machine comes back as a new node");
}

pub async fn reports_change_only_what_differs(db: Arc<dyn Db>) {
    let world = World::new(db);
    let node = world.node(CAPACITY).await;
    let before = world.node_generation(node).await;
    let more = NodeCapacity { vcpus: 16, ..CAPACITY };
    for _ in 0..2 {
        world.db.update_node(node, more, "0.1.0", Some("disk full")).await.unwrap();
    }
    let stored = world.db.nodes().await.unwrap().remove(0).node;
    assert_eq!((stored.capacity, stored.agent_version.as_str()), (more, "0.1.0"));
    assert_eq!(stored.impaired.as_deref(), Some("disk full"));
    assert_eq!(world.node_generation(node).await, before);
    assert!(world.db.set_schedulable(node, false).await.unwrap());
    assert!(!world.db.nodes().await.unwrap()[0].node.schedulable);
    assert!(!world.db.set_schedulable(NodeId::from_random(world.bits()), false).await.unwrap());
    let unknown = NodeId::from_random(world.bits());
    assert_eq!(world.db.node_part(unknown).await.unwrap(), None);
    assert_eq!(world.db.node_generation(unknown).await.unwrap(), None);
}

pub async fn every_acknowledged_change_of_a_node_is_told(db: Arc<dyn Db>) {
    let world = World::new(db);
    let alpha = world.tenant("alpha").await;
    let (node, other) = (world.node(CAPACITY).await, world.node(CAPACITY).await);
    let mut upto = world.db.node_changes(0).await.unwrap().upto;
    let mut told = async |what: &str| {
        let changes = world.db.node_changes(upto).await.unwrap();
        upto = changes.upto;
        let rows = world.db.nodes().await.unwrap();
        let row = rows.into_iter().find(|load| load.node.id == node).map(Arc::new);
        assert_eq!(changes.nodes, row.into_iter().collect::<Vec<_>>(), "{what}");
    };
    world.db.set_schedulable(node, false).await.unwrap();
    told("a drain").await;
    world.db.set_schedulable(node, true).await.unwrap();
    told("its end").await;
    world.db.set_node_state(node, NodeState::Unreachable, world.now()).await.unwrap();
    told("silence").await;
    world.db.set_node_state(node, NodeState::Up, world.now()).await.unwrap();
    told("its end").await;
    world.db.update_node(node, CAPACITY, "2", Some("full")).await.unwrap();
    told("a report").await;
    world.db.put_certificate(node, &[7; 32]).await.unwrap();
    world.db.promote_certificate(node, &[7; 32]).await.unwrap();
    told("a certificate").await;
    let id = world.running(&alpha, node).await;
    told("a launch").await;
    world.stop(&alpha, id).await;
    told("a stop").await;
    world.terminate(&alpha, id).await;
    told("an end").await;
    let launch = world.launch(&alpha, vec![world.instance(&alpha, other)]);
    let rehearsed = rehearse(world.db.launch(launch, world.now())).await.unwrap();
    assert!(matches!(rehearsed, LaunchOutcome::Launched(_)));
    let loads = world.db.node_changes(0).await.unwrap().nodes;
    assert!(loads.iter().all(|load| load.used_vcpus == 0), "a rehearsal takes nothing");
}
