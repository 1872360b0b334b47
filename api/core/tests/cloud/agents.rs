//! Poll and report.

use std::sync::Arc;
use std::time::Duration;

use tepui_core::{NameOrId, NewRule, RunInstances};
use tepui_db::model::{InstanceState, NodeState, RulePeer};
use tepui_types::agent::{
    Direction, HavePart, PartBody, PartKey, PlacementState, PollReply, PollRequest, Protocol, Report,
};
use tepui_types::{Epoch, Generation};

use super::harness::{Harness, placement_of, running};

/// Longer than any wake-up takes, shorter than a test's patience.
const WAIT_MS: u64 = 30_000;

fn have(reply: &PollReply) -> Vec<HavePart> {
    reply.parts.iter().map(|part| HavePart { key: part.key, generation: part.generation }).collect()
}

#[tokio::test]
async fn a_waiting_poll_is_woken_by_a_launch_and_gets_only_what_changed() {
    let t = Harness::new().await;
    let host = Arc::new(t.host(1).await);
    let image = t.image(&t.admin, "i").await;
    let known = have(&host.poll().await);
    let waiting = tokio::spawn({
        let (host, known) = (Arc::clone(&host), known.clone());
        async move { host.poll_with(known, WAIT_MS).await }
    });
    // The poll must be waiting, not about to look, for this to prove a wake-up.
    while !t.cloud.is_waited_for(host.id) {
        tokio::task::yield_now().await;
    }
    t.cloud.run_instances(&t.admin, RunInstances::new(image, "t3.nano")).await.unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(reply.parts.iter().any(|part| part.key == PartKey::Node(host.id)));
    let all = have(&host.poll().await);
    assert_eq!(host.poll_with(all, 0).await.parts, Vec::new());
}

#[tokio::test]
async fn an_answer_to_a_poll_is_no_sign_of_the_nodes_life() {
    let t = Harness::new().await;
    let host = Arc::new(t.host(1).await);
    let image = t.image(&t.admin, "i").await;
    let known = have(&host.poll().await);
    let waiting = tokio::spawn({
        let host = Arc::clone(&host);
        async move { host.poll_with(known, WAIT_MS).await }
    });
    while !t.cloud.is_waited_for(host.id) {
        tokio::task::yield_now().await;
    }
    t.clock.advance(80);
    t.cloud.run_instances(&t.admin, RunInstances::new(image, "t3.nano")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    t.clock.advance(20);
    t.cloud.reconcile_once().await;
    let state = t.cloud.node(&t.admin, host.id).await.unwrap().load.node.state;
    assert_eq!(state, NodeState::Unreachable, "it was last heard of 100 s ago");
}

#[tokio::test]
async fn a_poll_without_news_ends_at_its_deadline() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let known = have(&host.poll().await);
    let reply = host.poll_with(known, 20).await;
    assert_eq!((reply.epoch, reply.parts.len()), (Epoch(1), 0));
}

#[tokio::test]
async fn one_generation_has_one_content_also_after_a_restart() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    t.run_one(&t.admin).await;
    let first = host.poll().await;
    let signed = t.signer.count();
    let again = host.poll().await;
    assert_eq!(first.parts, again.parts);
    assert_eq!(t.signer.count(), signed, "signatures are kept");
    let request = PollRequest { epoch: Epoch(0), agent_run: 2, have: Vec::new(), reported: 0, wait_ms: 0 };
    let anew = t.restarted().poll(host.id, request).await.unwrap().owned();
    assert_eq!(first.parts, anew.parts);
}

#[tokio::test]
async fn parts_of_another_epoch_count_as_not_there() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let key = PartKey::Node(host.id);
    let newer = vec![HavePart { key, generation: Generation(99) }];
    assert_eq!(host.poll_with(newer.clone(), 0).await.parts.len(), 0);
    let request = PollRequest { epoch: Epoch(7), agent_run: 1, have: newer, reported: 0, wait_ms: 0 };
    assert_eq!(t.cloud.poll(host.id, request).await.unwrap().parts.len(), 1);
}

#[tokio::test]
async fn a_vpc_that_a_node_no_longer_carries_becomes_absent_once() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let known = have(&host.poll().await);
    t.cloud.terminate_instances(&t.admin, &[made.instances[0].record.instance.id]).await.unwrap();
    host.report(vec![(placement_of(&made), PlacementState::Gone)]).await;
    let reply = host.poll_with(known, 0).await;
    let absent: Vec<_> = reply.parts.iter().filter(|part| part.body == PartBody::Absent).collect();
    assert_eq!(absent.len(), 1);
    let tombstones = have(&reply);
    assert_eq!(host.poll_with(tombstones, 0).await.parts, Vec::new());
}

#[tokio::test]
async fn the_vpc_of_a_deleted_project_becomes_absent_once() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let member = t.member("short-lived").await;
    let made = t.run_one(&member).await;
    let known = have(&host.poll().await);
    let instance = &made.instances[0].record.instance;
    t.cloud.terminate_instances(&member, &[instance.id]).await.unwrap();
    host.report(vec![(placement_of(&made), PlacementState::Gone)]).await;
    t.cloud.deregister_image(&member, instance.image_id).await.unwrap();
    t.cloud.delete_access_key(&t.admin, member.project, &member.access_key_id).await.unwrap();
    t.clock.advance(3601);
    t.cloud.reconcile_once().await;
    t.cloud.delete_project(&t.admin, member.project).await.unwrap();
    let mut kept = known.clone();
    let reply = host.poll_with(known, 0).await;
    assert!(reply.parts.iter().any(|part| part.body == PartBody::Absent));
    for part in have(&reply) {
        kept.retain(|old| old.key != part.key);
        kept.push(part);
    }
    assert_eq!(host.poll_with(kept, 0).await.parts, Vec::new());
}

#[tokio::test]
async fn a_host_that_joins_again_elsewhere_wakes_the_nodes_of_its_networks() {
    let t = Harness::new().await;
    let (near, far) = (Arc::new(t.host(1).await), t.host(2).await);
    for _ in 0..2 {
        t.run_one(&t.admin).await;
    }
    let known = have(&near.poll().await);
    assert_eq!((known.len(), far.poll().await.parts.len()), (2, 2), "both carry the network");
    let waiting = tokio::spawn({
        let near = Arc::clone(&near);
        async move { near.poll_with(known, WAIT_MS).await }
    });
    while !t.cloud.is_waited_for(near.id) {
        tokio::task::yield_now().await;
    }
    t.host(2).await;
    let reply = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(matches!(reply.parts[..], [ref part] if matches!(part.key, PartKey::Vpc(_))));
}

#[tokio::test]
async fn a_rule_reaches_every_node_of_its_vpc() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    t.run_one(&t.admin).await;
    let known = have(&host.poll().await);
    let rule = NewRule {
        protocol: Protocol::All,
        peer: RulePeer::Cidr("10.0.0.0/8".parse().unwrap()),
        description: None,
    };
    let group = NameOrId::Name("default".into());
    t.cloud.authorize(&t.admin, &group, Direction::Ingress, vec![rule]).await.unwrap();
    let reply = host.poll_with(known, 0).await;
    assert!(matches!(reply.parts[..], [ref part] if matches!(part.key, PartKey::Vpc(_))));
}

#[tokio::test]
async fn an_overtaken_report_and_one_of_another_epoch_change_nothing() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let state = async || t.cloud.instance(&t.admin, id).await.unwrap().record.instance.state;
    let send = async |epoch, sequence, state| {
        let observed = host.observed(vec![(placement, state)]);
        let report = Report { epoch: Epoch(epoch), agent_run: 1, sequence, observed };
        t.cloud.report(host.id, report).await.unwrap();
    };
    send(9, 1, running(1)).await;
    assert_eq!(state().await, InstanceState::Pending);
    send(1, 5, PlacementState::Preparing { step: "disk".into() }).await;
    send(1, 4, running(1)).await;
    assert_eq!(state().await, InstanceState::Pending);
    send(1, 6, running(1)).await;
    assert_eq!(state().await, InstanceState::Running);
}

#[tokio::test]
async fn two_agents_with_one_identity_keep_new_guests_off_their_node() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    for run in [1, 2, 1] {
        host.report_as(run, host.observed(Vec::new())).await;
    }
    let error = t.cloud.run_instances(&t.admin, RunInstances::new(image, "t3.nano")).await.unwrap_err();
    let tepui_core::Error::NoCapacity { why, .. } = error else { panic!("{error}") };
    assert!(why[0].rule.contains("duplicate node identity"), "{why:?}");
    let findings = t.cloud.doctor(&t.admin).await.unwrap();
    assert_eq!(findings[0].what, "two agents use its identity");
}

#[tokio::test]
async fn reports_without_news_write_nothing() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let placement = placement_of(&made);
    host.report(vec![(placement, running(1))]).await;
    t.cloud.flush_audit().await;
    let commits = t.db.commits();
    for _ in 0..5 {
        host.report(vec![(placement, running(1))]).await;
        host.poll().await;
    }
    assert_eq!(t.db.commits(), commits);
}
