//! Enrolment, liveness, giving up.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tepui_core::{Error, RunInstances, Severity};
use tepui_db::AuditFilter;
use tepui_db::model::{InstanceState, NodeState};
use tepui_types::agent::{EnrolRequest, NodeCapacity, OffReason, PlacementState, PollRequest};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::harness::{Harness, placement_of, running};

fn enrol(token: &str, machine: u128) -> EnrolRequest {
    EnrolRequest {
        token: token.into(),
        machine_uuid: Uuid::from_u128(machine),
        name: "host".into(),
        csr_pem: String::new(),
        underlay_address: Ipv4Addr::LOCALHOST,
        capacity: NodeCapacity { vcpus: 1, memory_mib: 1024, disk_gib: 10 },
    }
}

#[tokio::test]
async fn a_join_token_is_for_one_host_and_one_hour() {
    let t = Harness::new().await;
    let token = t.cloud.create_join_token(&t.admin).await.unwrap().secret;
    let id = t.cloud.enrol(&enrol(&token, 1), "r").await.unwrap();
    assert_eq!(t.cloud.enrol(&enrol(&token, 1), "r").await.unwrap(), id, "a lost reply");
    assert!(matches!(t.cloud.enrol(&enrol(&token, 2), "r").await, Err(Error::JoinRefused { .. })));
    assert!(matches!(t.cloud.enrol(&enrol("guess", 2), "r").await, Err(Error::JoinRefused { .. })));
    // Who guesses learns nothing of the rest.
    let nameless = EnrolRequest { name: String::new(), ..enrol("guess", 2) };
    assert!(matches!(t.cloud.enrol(&nameless, "r").await, Err(Error::JoinRefused { .. })));
    let late = t.cloud.create_join_token(&t.admin).await.unwrap().secret;
    t.clock.advance(3601);
    assert!(matches!(t.cloud.enrol(&enrol(&late, 3), "r").await, Err(Error::JoinRefused { .. })));
    t.cloud.flush_audit().await;
    let records = t.cloud.audit_records(&t.admin, &AuditFilter::default(), 100).await.unwrap();
    let enrolments = records.iter().rev().filter(|record| record.action == "EnrolNode");
    let told = enrolments.map(|record| (record.resources.as_str(), record.outcome.as_str(), record.user_id));
    let (by, node) = (t.admin.user_id, id.to_string());
    let address = enrol("", 1).underlay_address.to_string();
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (node.as_str(), "ok", by),
            (&node, "ok", by),
            (&address, "token_used", by),
            (&address, "token_expired", by)
        ],
        "nobody is known to have asked with the token that nobody made"
    );
}

#[tokio::test]
async fn a_host_with_an_address_of_the_public_pool_is_not_taken_in() {
    let t = Harness::with(|config| config.public_pool = Some("10.0.0.0/28".parse().unwrap())).await;
    let token = t.cloud.create_join_token(&t.admin).await.unwrap().secret;
    let request = EnrolRequest { underlay_address: Ipv4Addr::new(10, 0, 0, 15), ..enrol(&token, 1) };
    let error = t.cloud.enrol(&request, "r").await.unwrap_err();
    let Error::InvalidInput { field, value, rule } = error else { panic!("{error}") };
    assert_eq!((field, value.as_str()), ("underlay_address", "10.0.0.15"));
    assert!(rule.contains("10.0.0.0/28"), "{rule}");
    let request = EnrolRequest { underlay_address: Ipv4Addr::new(10, 0, 0, 16), ..enrol(&token, 1) };
    t.cloud.enrol(&request, "r").await.unwrap();
}

#[tokio::test]
async fn a_copy_of_a_host_that_is_up_is_not_taken_in_for_it() {
    let t = Harness::new().await;
    let token = async || t.cloud.create_join_token(&t.admin).await.unwrap().secret;
    let id = t.cloud.enrol(&enrol(&token().await, 1), "r").await.unwrap();
    let moved = Ipv4Addr::new(10, 0, 0, 9);
    let moved = EnrolRequest { underlay_address: moved, ..enrol(&token().await, 1) };
    let address = async || t.cloud.node(&t.admin, id).await.unwrap().load.node.underlay_address;
    let error = t.cloud.enrol(&moved, "r").await.unwrap_err().to_string();
    assert!(error.starts_with("join token refused: this host is up at 127.0.0.1; "), "{error}");
    assert_eq!(address().await, Ipv4Addr::LOCALHOST);
    assert_eq!(
        t.cloud.enrol(&enrol(&token().await, 1), "r").await.unwrap(),
        id,
        "where it is, it may join again"
    );
    t.clock.advance(91);
    assert_eq!(
        t.cloud.enrol(&moved, "r").await.unwrap(),
        id,
        "it fell silent, as one whose address changed does"
    );
    assert_eq!(address().await, moved.underlay_address);
}

#[tokio::test]
async fn the_old_certificate_works_until_the_new_one_was_used() {
    let t = Harness::new().await;
    let node = t.host(1).await.id;
    let (old, new) = ([1; 32], [2; 32]);
    let works = async |sha256| t.cloud.confirm_certificate(node, &sha256).await.unwrap();
    t.cloud.bind_certificate(node, &old).await.unwrap();
    assert!(works(old).await);
    t.cloud.bind_certificate(node, &new).await.unwrap();
    assert!(works(old).await);
    assert!(works(new).await);
    assert!(!works(old).await);
}

#[tokio::test]
async fn a_drained_node_takes_nothing_new() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let run = async || t.cloud.run_instances(&t.admin, RunInstances::new(image, "t3.nano")).await;
    t.cloud.set_schedulable(&t.admin, host.id, false).await.unwrap();
    assert!(matches!(run().await, Err(Error::NoCapacity { why, .. }) if why[0].rule == "draining"));
    t.cloud.set_schedulable(&t.admin, host.id, true).await.unwrap();
    run().await.unwrap();
}

#[tokio::test]
async fn only_a_silent_node_can_be_given_up_and_its_instances_end_with_a_reason() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    host.report(vec![(placement_of(&made), running(1))]).await;
    assert!(matches!(t.cloud.expunge_node(&t.admin, host.id).await, Err(Error::WrongState { .. })));
    t.clock.advance(91);
    t.cloud.reconcile_once().await;
    assert_eq!(t.cloud.node(&t.admin, host.id).await.unwrap().load.node.state, NodeState::Unreachable);
    assert_eq!(t.cloud.expunge_node(&t.admin, host.id).await.unwrap(), 1);
    assert_eq!(t.cloud.expunge_node(&t.admin, host.id).await.unwrap(), 0, "repeated");
    let id = made.instances[0].record.instance.id;
    let instance = t.cloud.instance(&t.admin, id).await.unwrap().record.instance.clone();
    assert_eq!(instance.state, InstanceState::Terminated);
    assert!(instance.state_reason.unwrap().message.contains("given up"));
}

#[tokio::test]
async fn a_node_that_was_given_up_blocks_no_pool_with_its_address() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let with_pool = t.restarted_with(|config| config.public_pool = Some("10.0.0.0/24".parse().unwrap()));
    let blocked = async || with_pool.node_in_public_pool().await.unwrap().map(|(node, _)| node);
    assert_eq!(blocked().await.as_deref(), Some("node-1"));
    t.clock.advance(91);
    t.cloud.reconcile_once().await;
    assert_eq!(blocked().await.as_deref(), Some("node-1"), "a silent host may still be there");
    t.cloud.expunge_node(&t.admin, host.id).await.unwrap();
    assert_eq!(blocked().await, None);
}

#[tokio::test]
async fn a_restarted_control_plane_gives_every_node_its_time() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    t.clock.advance(1000);
    let anew = t.restarted();
    anew.reconcile_once().await;
    assert_eq!(anew.node(&t.admin, host.id).await.unwrap().load.node.state, NodeState::Up);
}

#[tokio::test]
async fn a_clock_that_is_set_makes_no_node_silent_and_hides_no_silence() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let state = async || {
        t.cloud.reconcile_once().await;
        t.cloud.node(&t.admin, host.id).await.unwrap().load.node.state
    };
    t.clock.jump(10 * 86_400);
    assert_eq!(state().await, NodeState::Up);
    t.clock.jump(-20 * 86_400);
    assert_eq!(state().await, NodeState::Up);
    t.clock.advance(91);
    assert_eq!(state().await, NodeState::Unreachable);
    let seen = t.cloud.node(&t.admin, host.id).await.unwrap().seen_at.unwrap();
    assert_eq!(t.cloud.now().duration_since(seen).as_secs(), 91, "told by the clock as it is set");
}

#[tokio::test]
async fn a_node_lost_before_a_restart_stays_so_until_it_speaks() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    t.clock.advance(91);
    t.cloud.reconcile_once().await;
    let anew = t.restarted();
    let state = async || anew.node(&t.admin, host.id).await.unwrap().load.node.state;
    anew.reconcile_once().await;
    assert_eq!(state().await, NodeState::Unreachable);
    let request =
        PollRequest { epoch: tepui_types::Epoch(1), agent_run: 1, have: Vec::new(), reported: 0, wait_ms: 0 };
    anew.poll(host.id, request).await.unwrap();
    anew.reconcile_once().await;
    assert_eq!(state().await, NodeState::Up);
}

#[tokio::test]
async fn the_word_of_a_silent_node_wakes_the_reconcilers() {
    let t = Harness::with(|config| config.reconcile_interval = Duration::from_secs(3600)).await;
    let host = t.host(1).await;
    t.clock.advance(91);
    t.cloud.reconcile_once().await;
    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let (cloud, cancel) = (Arc::clone(&t.cloud), cancel.clone());
        async move { cloud.run_reconcilers(cancel).await }
    });
    host.poll().await;
    let up = async {
        while t.cloud.node(&t.admin, host.id).await.unwrap().load.node.state != NodeState::Up {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), up).await.unwrap();
    cancel.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn doctor_is_clean_when_all_is_well_and_names_what_is_not() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    host.report(vec![(placement_of(&made), running(1))]).await;
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap(), []);
    let stranger = tepui_types::PlacementId::from_random(77);
    host.report(vec![(stranger, running(1))]).await;
    let findings = t.cloud.doctor(&t.admin).await.unwrap();
    let objects: Vec<_> = findings.iter().map(|finding| finding.object.as_str()).collect();
    let instance = format!("instance {}", made.instances[0].record.instance.id);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Failure), "{findings:?}");
    assert_eq!(objects, [format!("placement {stranger} on node node-1"), instance]);
}

#[tokio::test]
async fn a_guest_whose_record_the_host_lost_is_stopped_shown_and_started_by_the_next_start() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    host.report(vec![(placement, running(1))]).await;
    let lost = PlacementState::Off { start_seq: 1, reason: OffReason::Unknown };
    host.report(vec![(placement, lost)]).await;
    let state = async || t.cloud.instance(&t.admin, id).await.unwrap().record.instance.state;
    assert_eq!(state().await, InstanceState::Stopped);
    let findings = t.cloud.doctor(&t.admin).await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].what.contains("record of it is lost"), "{findings:?}");
    assert!(findings[0].cure.contains(&format!("tepui instance start {id}")), "{findings:?}");
    t.cloud.start_instances(&t.admin, &[id]).await.unwrap();
    host.report(vec![(placement, running(2))]).await;
    assert_eq!(state().await, InstanceState::Running);
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap(), []);
}
