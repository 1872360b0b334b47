//! What repeats itself: reports without news, parts that many nodes ask for.

use std::sync::Arc;
use std::time::Duration;

use tepui_core::{NameOrId, NewRule};
use tepui_db::model::{InstanceState, NodeState, RulePeer};
use tepui_types::Epoch;
use tepui_types::agent::{
    Direction, OffReason, PartBody, PartKey, PlacementState, PollReply, PollRequest, Protocol, Report,
    SharedPart,
};

use super::harness::{Harness, Host, placement_of, running};

fn request(reported: u64) -> PollRequest {
    PollRequest { epoch: Epoch(1), agent_run: 1, have: Vec::new(), reported, wait_ms: 0 }
}

async fn raw_poll(t: &Harness, host: &Host) -> PollReply<Arc<SharedPart>> {
    t.cloud.poll(host.id, request(0)).await.unwrap()
}

fn network(reply: PollReply<Arc<SharedPart>>) -> Arc<SharedPart> {
    reply.parts.into_iter().find(|part| matches!(part.key, PartKey::Vpc(_))).unwrap()
}

#[tokio::test]
async fn a_report_that_repeats_the_last_one_is_a_sign_of_life() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let state = async || t.cloud.node(&t.admin, host.id).await.unwrap().load.node.state;
    for _ in 0..5 {
        host.report(Vec::new()).await;
        t.clock.advance(80);
        t.cloud.reconcile_once().await;
        assert_eq!(state().await, NodeState::Up);
    }
    t.clock.advance(80);
    t.cloud.reconcile_once().await;
    assert_eq!(state().await, NodeState::Unreachable);
}

#[tokio::test]
async fn a_report_with_news_is_never_taken_for_a_repeated_one() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let state = async || t.cloud.instance(&t.admin, id).await.unwrap().record.instance.state;
    for _ in 0..3 {
        host.report(vec![(placement, running(1))]).await;
        assert_eq!(state().await, InstanceState::Running);
    }
    host.report(vec![(placement, PlacementState::Off { start_seq: 1, reason: OffReason::Guest })]).await;
    assert_eq!(state().await, InstanceState::Stopped);
}

#[tokio::test]
async fn the_same_words_are_weighed_again_when_something_else_is_wanted() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let state = async || t.cloud.instance(&t.admin, id).await.unwrap().record.instance.state;
    host.report(vec![(placement, running(1))]).await;
    // It vanished, which nobody asked for and which ends nothing.
    for _ in 0..3 {
        host.report(vec![(placement, PlacementState::Gone)]).await;
        assert_eq!(state().await, InstanceState::Running);
    }
    t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap();
    host.report(vec![(placement, PlacementState::Gone)]).await;
    assert_eq!(state().await, InstanceState::Terminated);
}

#[tokio::test]
async fn a_control_plane_without_the_report_asks_for_it_at_once() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let wants = async |reported| t.cloud.poll(host.id, request(reported)).await.unwrap().wants_report;
    assert!(!wants(0).await, "an agent that has not looked yet has nothing to tell");
    let report = Report { epoch: Epoch(1), agent_run: 1, sequence: 5, observed: host.observed(Vec::new()) };
    t.cloud.report(host.id, report).await.unwrap();
    assert!(!wants(5).await);
    let anew = t.restarted();
    let patient = PollRequest { wait_ms: 60_000, ..request(5) };
    let reply = tokio::time::timeout(Duration::from_secs(10), anew.poll(host.id, patient)).await.unwrap();
    assert!(reply.unwrap().wants_report);
}

#[tokio::test]
async fn a_network_is_built_once_for_all_its_nodes_and_anew_after_each_change() {
    let t = Harness::new().await;
    let (one, two) = (t.host(1).await, t.host(2).await);
    for _ in 0..2 {
        t.run_one(&t.admin).await;
    }
    let before = network(raw_poll(&t, &one).await);
    assert!(Arc::ptr_eq(&before, &network(raw_poll(&t, &two).await)));
    let cidr = "10.7.0.0/16".parse().unwrap();
    let rule = NewRule { protocol: Protocol::All, peer: RulePeer::Cidr(cidr), description: None };
    let group = NameOrId::Name("default".into());
    t.cloud.authorize(&t.admin, &group, Direction::Ingress, vec![rule]).await.unwrap();
    for host in [&one, &two] {
        let after = network(raw_poll(&t, host).await);
        assert!(after.generation > before.generation);
        let PartBody::Vpc(vpc) = &after.body else { panic!("{after:?}") };
        let peers = vpc.groups.iter().flat_map(|group| &group.rules).map(|rule| rule.peer);
        assert!(peers.into_iter().any(|peer| peer == tepui_types::agent::Peer::Cidr(cidr)));
    }
}
