//! Life and end of an instance.

use tepui_core::{Error, Health, InstanceChange, MetadataChange, RunInstances, StateChange};
use tepui_db::model::{InstanceState, ShutdownBehavior};
use tepui_types::agent::{OffReason, PartBody, PlacementPart, PlacementState, Power};

use super::harness::{Harness, Host, placement_of, running};

/// What the node's part says of its only placement.
async fn wanted(host: &Host) -> PlacementPart {
    let parts = host.poll().await.parts;
    let bodies = parts.into_iter().filter_map(|part| match part.body {
        PartBody::Node(node) => Some(node),
        PartBody::Vpc(_) | PartBody::Storage(_) | PartBody::Absent => None,
    });
    bodies.flat_map(|node| node.placements).next().expect("one placement").wanted
}

async fn power(host: &Host) -> Power {
    match wanted(host).await {
        PlacementPart::Present(spec) => spec.power,
        PlacementPart::Absent { .. } => panic!("absent"),
    }
}

#[tokio::test]
async fn an_instance_lives_through_every_state_and_is_purged_after_an_hour() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let state = async || t.cloud.instance(&t.admin, id).await.unwrap().record.instance.state;
    assert_eq!(state().await, InstanceState::Pending);
    assert_eq!(power(&host).await, Power::Running { start_seq: 1, reboot_seq: 0 });

    host.report(vec![(placement, running(1))]).await;
    assert_eq!(state().await, InstanceState::Running);
    t.cloud.reboot_instances(&t.admin, &[id]).await.unwrap();
    assert_eq!(power(&host).await, Power::Running { start_seq: 1, reboot_seq: 1 });

    let stop = t.cloud.stop_instances(&t.admin, &[id], true).await.unwrap();
    assert_eq!(stop, [StateChange { id, before: InstanceState::Running, after: InstanceState::Stopping }]);
    assert_eq!(power(&host).await, Power::Stopped { force: true });
    host.report(vec![(placement, PlacementState::Off { start_seq: 1, reason: OffReason::Requested })]).await;
    assert_eq!(state().await, InstanceState::Stopped);

    t.cloud.start_instances(&t.admin, &[id]).await.unwrap();
    assert_eq!(state().await, InstanceState::Pending);
    assert!(matches!(power(&host).await, Power::Running { start_seq: 2, .. }));
    host.report(vec![(placement, running(2))]).await;
    assert_eq!(state().await, InstanceState::Running);

    t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap();
    assert_eq!(state().await, InstanceState::ShuttingDown);
    assert!(matches!(wanted(&host).await, PlacementPart::Absent { .. }));
    host.report(vec![(placement, PlacementState::Gone)]).await;
    assert_eq!(state().await, InstanceState::Terminated);
    assert_eq!(t.cloud.volumes(&t.admin, &[]).await.unwrap(), []);
    let again = t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap();
    assert_eq!(again[0].after, InstanceState::Terminated, "delete works from every state");

    t.clock.advance(3599);
    t.cloud.reconcile_once().await;
    assert_eq!(state().await, InstanceState::Terminated);
    t.clock.advance(2);
    t.cloud.reconcile_once().await;
    assert!(matches!(t.cloud.instance(&t.admin, id).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_reboot_while_one_is_to_come_is_the_same_and_of_a_silent_host_a_new_one() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let reboots = async || {
        t.cloud.reboot_instances(&t.admin, &[id]).await.unwrap();
        t.cloud.instance(&t.admin, id).await.unwrap().record.instance.reboot_seq
    };
    host.report(vec![(placement, running(1))]).await;
    assert_eq!((reboots().await, reboots().await), (1, 1));
    host.report(vec![(placement, PlacementState::Running { start_seq: 1, reboot_seq: 1 })]).await;
    assert_eq!(reboots().await, 2, "the first was carried out");
    t.clock.advance(100);
    assert_eq!(reboots().await, 3, "the second may have been carried out, and the host cannot say so");
    host.report(vec![(placement, PlacementState::Running { start_seq: 1, reboot_seq: 2 })]).await;
    assert_eq!(reboots().await, 3, "it is heard again, and the third is to come");
}

#[tokio::test]
async fn protected_instances_refuse_and_say_by_which_attribute() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let request = RunInstances {
        disable_api_termination: true,
        disable_api_stop: true,
        ..RunInstances::new(image, "t3.nano")
    };
    let made = t.cloud.run_instances(&t.admin, request).await.unwrap();
    let id = made.instances[0].record.instance.id;
    host.report(vec![(placement_of(&made), running(1))]).await;
    let terminate = t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap_err();
    assert!(matches!(terminate, Error::Protected { attribute: "disable_api_termination", .. }));
    let stop = t.cloud.stop_instances(&t.admin, &[id], false).await.unwrap_err();
    assert!(matches!(stop, Error::Protected { attribute: "disable_api_stop", .. }));
    let free = InstanceChange::DisableApiTermination(false);
    t.cloud.modify_instance(&t.admin, id, vec![free]).await.unwrap();
    t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap();
}

#[tokio::test]
async fn attributes_change_only_in_the_states_that_allow_it() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let modify = async |change| t.cloud.modify_instance(&t.admin, id, vec![change]).await;
    host.report(vec![(placement, running(1))]).await;
    let bigger = InstanceChange::InstanceType("t3.small".into());
    assert!(matches!(modify(bigger.clone()).await, Err(Error::WrongState { wanted: "stopped", .. })));
    modify(InstanceChange::ShutdownBehavior(ShutdownBehavior::Terminate)).await.unwrap();
    let hop = |hop_limit| InstanceChange::Metadata(MetadataChange { hop_limit, ..Default::default() });
    assert!(matches!(modify(hop(Some(65))).await, Err(Error::InvalidInput { .. })));
    modify(hop(Some(2))).await.unwrap();
    let before = host.generation().await;
    t.cloud.stop_instances(&t.admin, &[id], false).await.unwrap();
    host.report(vec![(placement, PlacementState::Off { start_seq: 1, reason: OffReason::Requested })]).await;
    modify(bigger).await.unwrap();
    assert!(matches!(
        modify(InstanceChange::UserData(Some(vec![0; 16_385]))).await,
        Err(Error::InvalidInput { field: "user_data", .. })
    ));
    let view = t.cloud.instance(&t.admin, id).await.unwrap().record.instance.clone();
    assert_eq!((view.memory_mib, view.metadata.hop_limit, view.metadata.enabled), (2048, 2, true));
    assert!(host.generation().await > before);
}

#[tokio::test]
async fn a_guest_that_powers_off_stops_or_terminates_as_its_owner_chose() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    for (shutdown_behavior, expected) in [
        (ShutdownBehavior::Stop, InstanceState::Stopped),
        (ShutdownBehavior::Terminate, InstanceState::ShuttingDown),
    ] {
        let request = RunInstances { shutdown_behavior, ..RunInstances::new(image, "t3.nano") };
        let made = t.cloud.run_instances(&t.admin, request).await.unwrap();
        let placement = placement_of(&made);
        host.report(vec![(placement, running(1))]).await;
        let off = PlacementState::Off { start_seq: 1, reason: OffReason::Guest };
        host.report(vec![(placement, off)]).await;
        let now = t.cloud.instance(&t.admin, made.instances[0].record.instance.id).await.unwrap();
        assert_eq!(now.record.instance.state, expected);
        let reason = now.record.instance.state_reason.clone().unwrap();
        assert_eq!(reason.code, "Client.InstanceInitiatedShutdown");
    }
}

#[tokio::test]
async fn explain_leads_from_the_wish_to_the_hosts_words() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let failed = PlacementState::Failed {
        start_seq: 1,
        step: "disk".into(),
        message: "no space left".into(),
        permanent: false,
    };
    host.report(vec![(placement, failed)]).await;
    let explained = t.cloud.explain_instance(&t.admin, id).await.unwrap();
    let told: Vec<_> = explained.facts.iter().map(|fact| fact.says.as_str()).collect();
    assert_eq!(told[0], "is pending");
    assert!(told.iter().any(|says| says.contains("has applied generation none")), "{told:?}");
    assert!(told.iter().any(|says| says.contains("disk failed, trying again: no space left")), "{told:?}");
    assert!(explained.waits_for.is_some());
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap().len(), 1, "the failed start");
}

#[tokio::test]
async fn status_is_unknown_while_the_node_is_silent_and_nothing_is_changed() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let id = made.instances[0].record.instance.id;
    host.report(vec![(placement_of(&made), running(1))]).await;
    let health = async || t.cloud.instance_status(&t.admin, &[id], false).await.unwrap()[0].health;
    assert_eq!(health().await, Health::Ok);
    t.clock.advance(91);
    t.cloud.reconcile_once().await;
    assert_eq!(health().await, Health::Unknown);
    assert_eq!(t.cloud.instance(&t.admin, id).await.unwrap().record.instance.state, InstanceState::Running);
    host.poll().await;
    t.cloud.reconcile_once().await;
    assert_eq!(health().await, Health::Ok);
}

#[tokio::test]
async fn a_start_that_comes_before_the_news_that_the_guest_is_off_is_not_lost() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let state = async || t.cloud.instance(&t.admin, id).await.unwrap().record.instance.state;
    host.report(vec![(placement, running(1))]).await;
    let started = t.cloud.start_instances(&t.admin, &[id]).await.unwrap();
    assert_eq!(started, [StateChange { id, before: InstanceState::Running, after: InstanceState::Running }]);
    host.report(vec![(placement, PlacementState::Off { start_seq: 1, reason: OffReason::Guest })]).await;
    assert_eq!(state().await, InstanceState::Running, "it is started again");
    assert_eq!(power(&host).await, Power::Running { start_seq: 2, reboot_seq: 0 });
    host.report(vec![(placement, running(2))]).await;
    assert_eq!(state().await, InstanceState::Running);
    host.report(vec![(placement, PlacementState::Off { start_seq: 2, reason: OffReason::Guest })]).await;
    assert_eq!(state().await, InstanceState::Stopped);
}
