//! When scratch disks are made anew.

use super::*;

/// The guest is live, or off for this reason, and its last start was this.
fn renews(wanted: WantedPlacement, domain: Option<DomainState>, start_seq: Option<u64>) -> bool {
    let mut world = World { domain, ..World::new(wanted) };
    let boot_id = world.host().boot_id.clone();
    world.progress = start_seq.map(|start_seq| Progress { start_seq, boot_id, ..Progress::default() });
    world.view().renews_scratch(&world.host())
}

#[test]
fn they_are_made_anew_by_a_new_start_of_a_guest_that_is_off_and_by_nothing_else() {
    let id = placement(1);
    let off = Some(DomainState::Off { reason: Seen::Guest });
    for domain in [None, off] {
        assert!(renews(running(id, 1, 0), domain, None), "the first start");
        assert!(renews(running(id, 1, 0), domain, Some(0)), "the first start again, which failed half-way");
        assert!(renews(running(id, 2, 0), domain, Some(1)), "a start after a stop");
        assert!(!renews(running(id, 2, 0), domain, Some(2)), "its host booted again");
        assert!(!renews(stopped(id, false), domain, Some(1)));
        assert!(!renews(absent(id, false), domain, Some(1)));
    }
    for live in [DomainState::Running, DomainState::Paused, DomainState::ShuttingDown] {
        assert!(!renews(running(id, 2, 0), Some(live), Some(1)), "a guest has them: {live:?}");
    }
}

#[test]
fn over_its_life_a_guest_finds_empty_disks_at_each_start_and_its_own_after_a_reboot() {
    let mut world = World::new(running(placement(1), 1, 0));
    world.settle_alive();
    assert_eq!((world.starts, world.renewals), (1, 1));
    world.wanted = Some(running(placement(1), 1, 1));
    world.settle_alive();
    world.host_reboots("boot-2");
    world.settle_alive();
    assert_eq!((world.starts, world.resets, world.renewals), (2, 1, 1));
    world.domain = Some(DomainState::Paused);
    world.settle_alive();
    assert_eq!((world.starts, world.renewals), (2, 1), "resumed");
    world.wanted = Some(stopped(placement(1), false));
    world.settle_alive();
    world.wanted = Some(running(placement(1), 2, 1));
    world.settle_alive();
    assert_eq!((world.starts, world.renewals), (3, 2));
    // It went off by itself, and its owner started it before anybody saw that.
    world.goes_off(Seen::Guest);
    world.wanted = Some(running(placement(1), 3, 1));
    world.settle_alive();
    assert_eq!((world.starts, world.renewals), (4, 3));
}

#[test]
fn a_start_that_was_asked_for_while_the_host_was_down_finds_what_the_guest_had() {
    let mut world = World::new(running(placement(1), 1, 0));
    world.settle_alive();
    world.host_reboots("boot-2");
    world.wanted = Some(running(placement(1), 2, 0));
    world.settle_alive();
    assert_eq!((world.starts, world.renewals), (2, 1));
}
