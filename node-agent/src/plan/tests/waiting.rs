//! What a start waits for before it makes a domain.

use super::*;

#[test]
fn a_start_waits_for_its_vpc() {
    let world = World::new(running(placement(1), 1, 0));
    let view = View { vpcs_known: false, ..world.view() };
    assert_eq!(decide(&view, &world.host()), Decision::Settled);
    assert_eq!(state(&view, &world.host(), None), PlacementState::Preparing { step: "network".to_owned() });
}

#[test]
fn a_start_waits_for_its_volumes_and_a_reboot_of_the_host_does_not() {
    let mut world = World::new(running(placement(1), 1, 0));
    let Some(PlacementPart::Present(spec)) = world.wanted.as_mut().map(|wanted| &mut wanted.wanted) else {
        panic!("not present")
    };
    let (export_id, volume_id) = (ExportId::from_random(1), VolumeId::from_random(1));
    spec.disks = vec![WantedDisk { export_id, volume_id, wanted: DiskPart::Awaited }];
    assert_eq!(decide(&world.view(), &world.host()), Decision::Settled);
    assert_eq!(world.state(), PlacementState::Preparing { step: "volumes".to_owned() });
    world.progress = Some(Progress { start_seq: 1, boot_id: "before".into(), ..Progress::default() });
    assert!(
        matches!(decide(&world.view(), &world.host()), Decision::Act(action) if action.operation == Operation::Start)
    );
}

#[test]
fn a_start_waits_for_the_volume_to_boot_from_and_so_does_one_after_a_reboot_of_the_host() {
    let waits = |world: &World| {
        assert_eq!(decide(&world.view(), &world.host()), Decision::Settled);
        assert_eq!(world.state(), PlacementState::Preparing { step: "volumes".to_owned() });
    };
    let mut world = World::new(booting(placement(1), 1, DiskPart::Awaited));
    waits(&world);
    world.wanted = Some(booting(placement(1), 1, root()));
    world.settle_alive();
    assert_eq!((world.starts, world.disk), (1, false));
    for root in [DiskPart::Awaited, DiskPart::Absent] {
        world.host_reboots("boot-2");
        world.wanted = Some(booting(placement(1), 1, root));
        waits(&world);
    }
    let none = |world: &mut World| match &mut world.wanted.as_mut().unwrap().wanted {
        PlacementPart::Present(spec) => spec.disks.clear(),
        PlacementPart::Absent { .. } => panic!("not present"),
    };
    none(&mut world);
    waits(&world);
    world.wanted = Some(booting(placement(1), 1, root()));
    world.settle_alive();
    assert_eq!(world.starts, 2);

    // What ended by itself is off, whatever became of its disk.
    world.goes_off(Seen::Guest);
    none(&mut world);
    world.settle_alive();
    assert_eq!(world.state(), PlacementState::Off { start_seq: 1, reason: OffReason::Guest });
    // One that stands still is not resumed without it either.
    world.domain = Some(DomainState::Paused);
    world.progress.as_mut().unwrap().off = None;
    assert_eq!(decide(&world.view(), &world.host()), Decision::Settled);
}
