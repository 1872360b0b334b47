//! Scratch and swap disks of instances.

use tepui_core::{Error, InstanceChange, LaunchVolumeRequest, RunInstances};
use tepui_types::agent::{
    NodeCapacity, OffReason, PartBody, PlacementPart, PlacementSpec, PlacementState, ScratchDisks,
};

use crate::harness::{Harness, Host};

const BOTH: ScratchDisks = ScratchDisks { scratch_gib: 20, swap_gib: 2 };

async fn request(t: &Harness, scratch: ScratchDisks) -> RunInstances {
    let image = t.image(&t.admin, &format!("image-{}", t.random())).await;
    RunInstances { scratch, ..RunInstances::new(image, "t3.nano") }
}

/// What the host is told of its only guest.
async fn told(host: &Host) -> PlacementSpec {
    let parts = host.poll().await.parts;
    let node = parts.into_iter().find_map(|part| match part.body {
        PartBody::Node(node) => Some(node),
        PartBody::Vpc(_) | PartBody::Storage(_) | PartBody::Absent => None,
    });
    match node.unwrap().placements.remove(0).wanted {
        PlacementPart::Present(spec) => *spec,
        PlacementPart::Absent { .. } => panic!("absent"),
    }
}

#[tokio::test]
async fn the_host_makes_them_and_the_guest_is_told_their_names() {
    for (scratch, names) in [
        (BOTH, &["ami=/dev/vda", "root=/dev/vda", "ephemeral0=sdb", "swap=sdc"][..]),
        (ScratchDisks { scratch_gib: 0, ..BOTH }, &["ami=/dev/vda", "root=/dev/vda", "swap=sdb"]),
        (ScratchDisks::NONE, &["ami=/dev/vda", "root=/dev/vda"]),
    ] {
        let t = Harness::new().await;
        let host = t.host(1).await;
        let request = request(&t, scratch).await;
        let made = t.cloud.run_instances(&t.admin, request).await.unwrap();
        assert_eq!(made.instances[0].record.instance.scratch, scratch);
        let spec = told(&host).await;
        let devices = spec.metadata.block_devices.iter();
        let devices: Vec<_> = devices.map(|one| format!("{}={}", one.name, one.device)).collect();
        assert_eq!((spec.scratch, devices.join(" ")), (scratch, names.join(" ")));
        let says = serde_json::to_value(&spec).unwrap();
        assert_eq!(says.get("scratch").is_some(), !scratch.is_none(), "what is not there is not said");
        assert_eq!(t.cloud.volumes(&t.admin, &[]).await.unwrap().len(), 1, "they are no volumes");
    }
}

#[tokio::test]
async fn the_scheduler_and_the_store_count_them_as_disk_of_their_host() {
    let t = Harness::with(|config| config.overcommit.disk = 1.0).await;
    t.host_of(1, NodeCapacity { vcpus: 16, memory_mib: 65_536, disk_gib: 47 }).await;
    let one = request(&t, BOTH).await;
    let two = RunInstances { min_count: 2, max_count: 2, ..one.clone() };
    let error = t.cloud.run_instances(&t.admin, two).await.unwrap_err();
    assert!(
        matches!(&error, Error::NoCapacity { wanted, .. } if wanted.contains("24 GiB disk")),
        "{error:?}"
    );
    t.cloud.run_instances(&t.admin, one.clone()).await.unwrap();
    assert!(matches!(t.cloud.run_instances(&t.admin, one.clone()).await, Err(Error::NoCapacity { .. })));
    let bare = RunInstances { scratch: ScratchDisks::NONE, ..one };
    t.cloud.run_instances(&t.admin, bare).await.unwrap();
    assert_eq!(tepui_db::BooksDb::discrepancies(t.db.as_ref()).await.unwrap(), []);
}

#[tokio::test]
async fn a_size_that_no_disk_has_and_a_volume_in_their_place_are_refused_by_field() {
    let t = Harness::new().await;
    t.host(1).await;
    let base = request(&t, BOTH).await;
    let volume = |device: &str| LaunchVolumeRequest {
        device: device.into(),
        size_gib: Some(1),
        class: None,
        iops: None,
        throughput_mib: None,
        snapshot_id: None,
        delete_on_termination: true,
    };
    for (field, request) in [
        (
            "scratch size",
            RunInstances { scratch: ScratchDisks { scratch_gib: 16_385, ..BOTH }, ..base.clone() },
        ),
        ("swap size", RunInstances { scratch: ScratchDisks { swap_gib: u32::MAX, ..BOTH }, ..base.clone() }),
        ("device", RunInstances { volumes: vec![volume("/dev/sdb")], ..base.clone() }),
        ("device", RunInstances { volumes: vec![volume("/dev/vdc")], ..base.clone() }),
    ] {
        let error = t.cloud.run_instances(&t.admin, request).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInput { field: f, .. } if f == field), "{field}: {error}");
    }
    assert_eq!(t.cloud.describe_instances(&t.admin, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_token_stands_for_them_too() {
    let t = Harness::new().await;
    t.host(1).await;
    let once = RunInstances { client_token: Some("once".into()), ..request(&t, BOTH).await };
    let made = t.cloud.run_instances(&t.admin, once.clone()).await.unwrap();
    assert_eq!(t.cloud.run_instances(&t.admin, once.clone()).await.unwrap().id, made.id);
    let other = RunInstances { scratch: ScratchDisks { swap_gib: 3, ..BOTH }, ..once };
    assert!(matches!(t.cloud.run_instances(&t.admin, other).await, Err(Error::TokenMismatch { .. })));
}

#[tokio::test]
async fn a_type_with_instance_storage_brings_it_and_an_instance_keeps_what_it_has() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let plain = request(&t, ScratchDisks::NONE).await;
    let typed = RunInstances { instance_type: "m5d.large".into(), ..plain };
    let other = RunInstances { scratch: BOTH, ..typed.clone() };
    let error = t.cloud.run_instances(&t.admin, other).await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidInput { field: "scratch size", rule, .. } if rule.contains("70 GiB")),
        "{error}"
    );
    let same = RunInstances { scratch: ScratchDisks { scratch_gib: 70, swap_gib: 2 }, ..typed.clone() };
    t.cloud
        .run_instances(&t.admin, RunInstances { client_token: Some("same".into()), ..same })
        .await
        .unwrap();
    let made = t.cloud.run_instances(&t.admin, typed).await.unwrap();
    let instance = &made.instances[0].record.instance;
    assert_eq!(instance.scratch, ScratchDisks { scratch_gib: 70, swap_gib: 0 }, "75 GB");
    let placement = crate::harness::placement_of(&made);
    host.report(vec![(placement, PlacementState::Off { start_seq: 1, reason: OffReason::Guest })]).await;
    let change = async |name: &str| {
        let change = InstanceChange::InstanceType(name.into());
        t.cloud.modify_instance(&t.admin, instance.id, vec![change]).await
    };
    for name in ["m5.large", "m5d.xlarge", "t3.nano"] {
        let error = change(name).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidInput { field: "instance_type", .. }), "{name}: {error}");
    }
    change("r5d.large").await.unwrap();
}
