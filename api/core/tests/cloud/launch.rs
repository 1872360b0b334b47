//! `RunInstances`.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::Ipv4Net;
use tepui_core::{Error, Kind, RootVolumeRequest, RunInstances};
use tepui_db::model::{KeyKind, PlacementStrategy, Quota};
use tepui_types::ImageId;
use tepui_types::agent::{NodeCapacity, PartBody, PlacementState};

use super::harness::{Harness, placement_of};

#[tokio::test]
async fn a_launch_takes_everything_it_names_and_its_node_learns_it() {
    let t =
        Harness::with(|config| config.public_pool = Some("198.18.0.0/29".parse::<Ipv4Net>().unwrap())).await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    t.cloud.create_key_pair(&t.admin, "k", KeyKind::Ed25519, &Default::default()).await.unwrap();
    let request = RunInstances {
        key_name: Some("k".into()),
        user_data: Some(b"#!/bin/sh".to_vec()),
        private_ip: Some("172.31.1.1".parse().unwrap()),
        instance_tags: [("Name".into(), "web".into())].into(),
        volume_tags: [("v".into(), "1".into())].into(),
        interface_tags: [("n".into(), "1".into())].into(),
        ..RunInstances::new(image, "t3.nano")
    };
    let made = t.cloud.run_instances(&t.admin, request).await.unwrap();
    let view = &made.instances[0];
    assert_eq!(&*view.groups[0].1, "default");
    assert_eq!(view.record.root_volume.as_ref().unwrap().size_gib, 2, "the image's size");
    let interface = view.record.interface.as_ref().unwrap();
    assert!(interface.public_ip.is_some(), "the default subnet maps one");
    let name = t.cloud.config().private_dns(interface.private_ip);
    assert_eq!(name, "ip-172-31-1-1.test-1.compute.internal");
    assert_eq!(t.cloud.volumes(&t.admin, &[]).await.unwrap()[0].tags["v"], "1");
    assert_eq!(t.cloud.network_interfaces(&t.admin, &[]).await.unwrap()[0].tags["n"], "1");

    let parts = host.poll().await.parts;
    let node = parts.iter().find_map(|part| match &part.body {
        PartBody::Node(node) => Some(node),
        PartBody::Vpc(_) | PartBody::Storage(_) | PartBody::Absent => None,
    });
    let tepui_types::agent::PlacementPart::Present(spec) = &node.unwrap().placements[0].wanted else {
        panic!("absent");
    };
    assert_eq!(spec.user_data.as_deref(), Some("IyEvYmluL3No"));
    assert!(spec.metadata.public_keys["k"].ends_with(" k"));
    assert_eq!(spec.metadata.tags["Name"], "web");
    assert_eq!(spec.metadata.interfaces[0].vpc_cidr.to_string(), "172.31.0.0/16");
    assert!(spec.metadata.identity_document.contains(&view.record.instance.id.to_string()));
    let vpc = parts.iter().find_map(|part| match &part.body {
        PartBody::Vpc(vpc) => Some(vpc),
        PartBody::Node(_) | PartBody::Storage(_) | PartBody::Absent => None,
    });
    let vpc = vpc.unwrap();
    assert_eq!((vpc.domain.as_str(), vpc.ports.len(), vpc.nodes.len()), ("test-1.compute.internal", 1, 1));
    assert_eq!(vpc.nodes[0].vtep_mac.octets()[0], 2);
}

#[tokio::test]
async fn bad_requests_are_refused_by_field_and_leave_nothing_behind() {
    let t = Harness::new().await;
    t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let base = RunInstances::new(image, "t3.nano");
    let volume = |size_gib, delete_on_termination| RootVolumeRequest {
        size_gib,
        delete_on_termination,
        ..RootVolumeRequest::default()
    };
    let cases = [
        ("min_count", RunInstances { min_count: 0, ..base.clone() }),
        ("max_count", RunInstances { min_count: 2, ..base.clone() }),
        ("max_count", RunInstances { max_count: 1001, ..base.clone() }),
        ("user_data", RunInstances { user_data: Some(vec![0; 16 * 1024 + 1]), ..base.clone() }),
        ("root volume size", RunInstances { root_volume: volume(Some(1), None), ..base.clone() }),
        ("delete_on_termination", RunInstances { root_volume: volume(None, Some(false)), ..base.clone() }),
        ("private_ip", RunInstances { private_ip: Some("172.31.0.3".parse().unwrap()), ..base.clone() }),
        ("private_ip", RunInstances { private_ip: Some("10.0.0.9".parse().unwrap()), ..base.clone() }),
        ("tag key", RunInstances { volume_tags: [("AWS:x".into(), String::new())].into(), ..base.clone() }),
        ("client_token", RunInstances { client_token: Some("x".repeat(65)), ..base.clone() }),
    ];
    for (field, request) in cases {
        let error = t.cloud.run_instances(&t.admin, request).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput { field: f, .. } if f == field), "{field}: {error}");
    }
    let missing = [
        (Kind::Image, RunInstances { image_id: ImageId::from_random(1), ..base.clone() }),
        (Kind::InstanceType, RunInstances { instance_type: "t9.nano".into(), ..base.clone() }),
        (Kind::KeyPair, RunInstances { key_name: Some("k".into()), ..base.clone() }),
        (Kind::SecurityGroup, RunInstances { security_groups: vec!["g".into()], ..base.clone() }),
        (Kind::Zone, RunInstances { zone: Some("mars-1a".into()), ..base.clone() }),
        (Kind::PlacementGroup, RunInstances { placement_group: Some("p".into()), ..base.clone() }),
    ];
    for (kind, request) in missing {
        let error = t.cloud.run_instances(&t.admin, request).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { kind: k, .. } if k == kind), "{kind}: {error}");
    }
    let no_pool = RunInstances { associate_public_ip: Some(true), ..base };
    assert!(matches!(t.cloud.run_instances(&t.admin, no_pool).await, Err(Error::PoolExhausted)));
    assert_eq!(t.cloud.describe_instances(&t.admin, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_token_names_one_launch_also_in_a_race_and_refuses_other_parameters() {
    let t = Harness::new().await;
    t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let request = RunInstances { client_token: Some("once".into()), ..RunInstances::new(image, "t3.nano") };
    let calls = (0..8).map(|_| {
        let (cloud, admin, request) = (Arc::clone(&t.cloud), t.admin.clone(), request.clone());
        tokio::spawn(async move { cloud.run_instances(&admin, request).await.unwrap().id })
    });
    let mut ids = BTreeSet::new();
    for call in calls.collect::<Vec<_>>() {
        ids.insert(call.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(t.cloud.describe_instances(&t.admin, &[]).await.unwrap().len(), 1);
    let other = RunInstances { max_count: 2, ..request.clone() };
    let error = t.cloud.run_instances(&t.admin, other).await.unwrap_err();
    assert!(matches!(error, Error::TokenMismatch { .. }));
    t.cloud.deregister_image(&t.admin, image).await.unwrap();
    let repeated = t.cloud.run_instances(&t.admin, request).await.unwrap();
    assert!(ids.contains(&repeated.id), "a repeat needs nothing of what the launch needed");
}

#[tokio::test]
async fn as_many_as_fit_between_min_and_max_and_none_below_min() {
    let t = Harness::new().await;
    t.host_of(1, NodeCapacity { vcpus: 16, memory_mib: 2048, disk_gib: 100 }).await;
    let image = t.image(&t.admin, "i").await;
    let want =
        |min_count, max_count| RunInstances { min_count, max_count, ..RunInstances::new(image, "t3.micro") };
    let error = t.cloud.run_instances(&t.admin, want(3, 5)).await.unwrap_err();
    let Error::NoCapacity { wanted, why } = error else { panic!("{error}") };
    assert_eq!(wanted, "3 × 2 vCPU, 1024 MiB memory, 2 GiB disk");
    assert_eq!(why[0].rule, "needs 1024 MiB of memory, 0 free");
    assert_eq!(t.cloud.describe_instances(&t.admin, &[]).await.unwrap(), []);
    let made = t.cloud.run_instances(&t.admin, want(1, 5)).await.unwrap();
    assert_eq!(made.instances.len(), 2);
    let indexes: Vec<_> = made.instances.iter().map(|view| view.record.instance.launch_index).collect();
    assert_eq!(indexes, [0, 1]);
}

#[tokio::test]
async fn as_many_as_quota_and_addresses_allow_between_min_and_max() {
    let t =
        Harness::with(|config| config.public_pool = Some("198.18.0.0/29".parse::<Ipv4Net>().unwrap())).await;
    t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let want = |min_count, public| RunInstances {
        min_count,
        max_count: 9,
        associate_public_ip: Some(public),
        ..RunInstances::new(image, "t3.nano")
    };
    let error = t.cloud.run_instances(&t.admin, want(7, true)).await.unwrap_err();
    assert!(matches!(error, Error::PoolExhausted), "{error}");
    let made = t.cloud.run_instances(&t.admin, want(2, true)).await.unwrap();
    assert_eq!(made.instances.len(), 6, "a /29 has six hosts");
    let quota =
        Quota { instances: 100, vcpus: 6 * 2 + 5, memory_mib: 1 << 20, volumes: 5_000, volume_gib: 51_200 };
    t.cloud.set_quota(&t.admin, t.admin.project, quota).await.unwrap();
    let error = t.cloud.run_instances(&t.admin, want(3, false)).await.unwrap_err();
    assert!(matches!(error, Error::QuotaExceeded { quota: "vcpus", .. }), "{error}");
    let made = t.cloud.run_instances(&t.admin, want(1, false)).await.unwrap();
    assert_eq!(made.instances.len(), 2, "five virtual CPUs hold two of two");
}

#[tokio::test]
async fn a_token_whose_instances_were_purged_says_so() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let request = RunInstances { client_token: Some("t".into()), ..RunInstances::new(image, "t3.nano") };
    let made = t.cloud.run_instances(&t.admin, request.clone()).await.unwrap();
    t.cloud.terminate_instances(&t.admin, &[made.instances[0].record.instance.id]).await.unwrap();
    host.report(vec![(placement_of(&made), PlacementState::Gone)]).await;
    t.clock.advance(3601);
    t.cloud.reconcile_once().await;
    let error = t.cloud.run_instances(&t.admin, request).await.unwrap_err();
    assert_eq!(error.name(), "instances_terminated");
}

#[tokio::test]
async fn a_thousand_instances_go_to_a_hundred_nodes_in_one_call() {
    let t = Harness::with(|config| config.default_quota.instances = 2000).await;
    for number in 1..=100 {
        t.host(number).await;
    }
    let image = t.image(&t.admin, "i").await;
    let request = RunInstances { min_count: 1000, max_count: 1000, ..RunInstances::new(image, "t3.nano") };
    let made = t.cloud.run_instances(&t.admin, request).await.unwrap();
    let nodes: BTreeSet<_> =
        made.instances.iter().map(|view| view.record.placement.as_ref().unwrap().node_id).collect();
    assert_eq!((made.instances.len(), nodes.len()), (1000, 100));
}

#[tokio::test]
async fn members_of_a_spread_group_never_share_a_node() {
    let t = Harness::new().await;
    t.host(1).await;
    t.host(2).await;
    let image = t.image(&t.admin, "i").await;
    t.cloud.create_placement_group(&t.admin, "apart", PlacementStrategy::Spread).await.unwrap();
    let request = |count| RunInstances {
        min_count: count,
        max_count: count,
        placement_group: Some("apart".into()),
        ..RunInstances::new(image, "t3.nano")
    };
    t.cloud.run_instances(&t.admin, request(1)).await.unwrap();
    let two = t.cloud.run_instances(&t.admin, request(2)).await.unwrap_err();
    assert!(matches!(two, Error::NoCapacity { .. }));
    let made = t.cloud.run_instances(&t.admin, request(1)).await.unwrap();
    assert_eq!(made.instances[0].placement_group.as_deref(), Some("apart"));
    assert!(matches!(
        t.cloud.delete_placement_group(&t.admin, "apart").await,
        Err(Error::InUse { kind: Kind::PlacementGroup, .. })
    ));
}

#[tokio::test]
async fn the_quota_is_told_with_its_numbers() {
    let t = Harness::new().await;
    t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let quota = Quota { instances: 3, vcpus: 5, memory_mib: 4096, volumes: 5_000, volume_gib: 51_200 };
    t.cloud.set_quota(&t.admin, t.admin.project, quota).await.unwrap();
    t.cloud.run_instances(&t.admin, RunInstances::new(image, "t3.nano")).await.unwrap();
    let two = RunInstances { min_count: 2, max_count: 2, ..RunInstances::new(image, "t3.nano") };
    let error = t.cloud.run_instances(&t.admin, two).await.unwrap_err();
    assert!(matches!(error, Error::QuotaExceeded { quota: "vcpus", limit: 5, used: 2, asked: 4 }), "{error}");
    assert_eq!(t.cloud.quota(&t.admin).await.unwrap().used.vcpus, 2);
}

#[tokio::test]
async fn a_rehearsal_validates_and_writes_nothing() {
    let t = Harness::new().await;
    t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let dry = tepui_core::Caller { dry_run: true, ..t.admin.clone() };
    let good = t.cloud.run_instances(&dry, RunInstances::new(image, "t3.nano")).await;
    assert!(matches!(good, Err(Error::DryRunOk)));
    let bad = t.cloud.run_instances(&dry, RunInstances::new(image, "t9.nano")).await;
    assert!(matches!(bad, Err(Error::NotFound { .. })));
    assert_eq!(t.cloud.describe_instances(&t.admin, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_token_is_forgotten_after_two_days() {
    let t = Harness::new().await;
    t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let request = RunInstances { client_token: Some("t".into()), ..RunInstances::new(image, "t3.nano") };
    let run = async || t.cloud.run_instances(&t.admin, request.clone()).await.unwrap().id;
    let first = run().await;
    t.clock.advance(48 * 3600 - 1);
    t.cloud.reconcile_once().await;
    assert_eq!(run().await, first);
    t.clock.advance(2);
    t.cloud.reconcile_once().await;
    // The clock moved without a poll: the node has to speak before it takes anything.
    let error = t.cloud.run_instances(&t.admin, request.clone()).await.unwrap_err();
    assert!(matches!(error, Error::NoCapacity { .. }), "a new launch: {error}");
}
