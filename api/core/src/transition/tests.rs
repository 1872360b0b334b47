use std::collections::BTreeMap;

use tepui_types::{
    Digest, ImageId, InstanceId, NodeId, PlacementId, ProjectId, ReservationId, SubnetId, Timestamp, VpcId,
};

use super::*;
use crate::MetadataChange;

fn instance(state: InstanceState, start_seq: u64, shutdown_behavior: ShutdownBehavior) -> Instance {
    Instance {
        id: InstanceId::from_random(1),
        project_id: ProjectId::from_random(1),
        reservation_id: ReservationId::from_random(1),
        launch_index: 0,
        image_id: ImageId::from_random(1),
        image_digest: Digest::of(b""),
        image_bytes: 1,
        instance_type: "t3.nano".into(),
        vcpus: 2,
        memory_mib: 512,
        key_name: None,
        public_key: None,
        user_data: None,
        vpc_id: VpcId::from_random(1),
        subnet_id: SubnetId::from_random(1),
        placement_group_id: None,
        volume_root: false,
        scratch: tepui_types::agent::ScratchDisks::NONE,
        shutdown_behavior,
        disable_api_termination: false,
        disable_api_stop: false,
        metadata: MetadataChange::INITIAL,
        state,
        state_reason: None,
        state_since: Timestamp::UNIX_EPOCH,
        start_seq,
        reboot_seq: 0,
        force: false,
        launched_at: Timestamp::UNIX_EPOCH,
    }
}

fn placement() -> Placement {
    Placement {
        id: PlacementId::from_random(1),
        instance_id: InstanceId::from_random(1),
        node_id: NodeId::from_random(1),
        observed: None,
        gone_at: None,
    }
}

fn next(state: InstanceState, start_seq: u64, seen: &PlacementState) -> Option<InstanceState> {
    let planned = transition(&instance(state, start_seq, ShutdownBehavior::Stop), &placement(), seen);
    planned.map(|t| t.to).filter(|to| *to != state)
}

fn running(start_seq: u64) -> PlacementState {
    PlacementState::Running { start_seq, reboot_seq: 0 }
}

fn off(start_seq: u64, reason: OffReason) -> PlacementState {
    PlacementState::Off { start_seq, reason }
}

fn failed(start_seq: u64, permanent: bool) -> PlacementState {
    PlacementState::Failed { start_seq, step: "disk".into(), message: "no space".into(), permanent }
}

#[test]
fn only_a_pending_instance_becomes_running_and_only_by_the_wanted_start() {
    for &state in InstanceState::ALL {
        let expected = (state == InstanceState::Pending).then_some(InstanceState::Running);
        assert_eq!(next(state, 2, &running(2)), expected, "{state:?}");
        assert_eq!(next(state, 2, &running(1)), None, "{state:?}, an older start");
    }
}

#[test]
fn off_after_the_wanted_start_stops_and_off_before_it_only_ends_a_stop() {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    for reason in [OffReason::Requested, OffReason::Guest, OffReason::Crashed, OffReason::Unknown] {
        for &state in InstanceState::ALL {
            let (now, before) = match state {
                Pending | Running => (Some(Stopped), None),
                Stopping => (Some(Stopped), Some(Stopped)),
                Stopped | ShuttingDown | Terminated => (None, None),
            };
            assert_eq!(next(state, 2, &off(2, reason)), now, "{state:?} {reason:?}");
            assert_eq!(next(state, 2, &off(1, reason)), before, "{state:?} {reason:?}, an older start");
        }
    }
}

#[test]
fn only_the_guests_own_power_off_may_terminate() {
    let to = |reason| {
        let instance = instance(InstanceState::Running, 1, ShutdownBehavior::Terminate);
        transition(&instance, &placement(), &off(1, reason)).map(|t| (t.to, t.reason.unwrap().code))
    };
    let guest = "Client.InstanceInitiatedShutdown".to_owned();
    let server = "Server.InternalError".to_owned();
    assert_eq!(to(OffReason::Guest), Some((InstanceState::ShuttingDown, guest)));
    assert_eq!(to(OffReason::Crashed), Some((InstanceState::Stopped, server.clone())));
    assert_eq!(to(OffReason::Unknown), Some((InstanceState::Stopped, server.clone())));
    assert_eq!(to(OffReason::Requested), Some((InstanceState::Stopped, server)));
}

#[test]
fn that_a_guest_is_off_means_nothing_where_the_host_does_not_know_what_is_wanted_of_it() {
    let record = InstanceRecord {
        instance: instance(InstanceState::Running, 1, ShutdownBehavior::Terminate),
        placement: Some(placement()),
        interface: None,
        root_volume: None,
        attachments: Vec::new(),
        tags: BTreeMap::new(),
    };
    let seen = |wanted| PlacementObserved {
        id: placement().id,
        state: off(1, OffReason::Guest),
        wanted,
        disks: Vec::new(),
        freeze: None,
    };
    let planned = |wanted| plan_transitions(std::slice::from_ref(&record), &[seen(wanted)]).len();
    assert_eq!((planned(true), planned(false)), (1, 0));
}

#[test]
fn a_first_start_that_cannot_be_done_ends_the_instance_and_a_later_one_keeps_the_disk() {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    for &state in InstanceState::ALL {
        let (first, later) = match state {
            Pending => (Some(ShuttingDown), Some(Stopped)),
            Running => (Some(Stopped), Some(Stopped)),
            Stopping | Stopped | ShuttingDown | Terminated => (None, None),
        };
        assert_eq!(next(state, 1, &failed(1, true)), first, "{state:?}");
        assert_eq!(next(state, 2, &failed(2, true)), later, "{state:?}");
        assert_eq!(next(state, 2, &failed(1, true)), None, "{state:?}, an older start");
        assert_eq!(next(state, 1, &failed(1, false)), None, "{state:?}");
    }
}

#[test]
fn a_transient_failure_is_noted_once() {
    let instance = instance(InstanceState::Pending, 1, ShutdownBehavior::Stop);
    let first = transition(&instance, &placement(), &failed(1, false)).unwrap();
    assert_eq!((first.from, first.to), (InstanceState::Pending, InstanceState::Pending));
    assert_eq!(first.observed, "disk failed, trying again: no space");
    let noted = Placement { observed: Some(first.observed), ..placement() };
    assert_eq!(transition(&instance, &noted, &failed(1, false)), None);
}

#[test]
fn only_what_was_asked_to_go_is_terminated_when_it_is_gone() {
    for &state in InstanceState::ALL {
        let planned =
            transition(&instance(state, 1, ShutdownBehavior::Stop), &placement(), &PlacementState::Gone)
                .unwrap();
        let asked = matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated);
        assert_eq!(planned.gone, asked, "{state:?}");
        assert_eq!(planned.to, if asked { InstanceState::Terminated } else { state });
    }
}

/// It has no place while it is stopped, so that whatever stops others begins its stop.
#[test]
fn one_that_boots_from_a_volume_is_stopped_once_its_place_is_gone() {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    let to = |state, seen: &PlacementState| {
        let instance = Instance { volume_root: true, ..instance(state, 2, ShutdownBehavior::Stop) };
        let planned = transition(&instance, &placement(), seen)?;
        Some((planned.to, planned.gone)).filter(|next| *next != (state, false))
    };
    for &state in InstanceState::ALL {
        let (off_alone, unable, nothing_left) = match state {
            Pending | Running => (Some((Stopping, false)), Some((Stopping, false)), None),
            Stopping => (None, None, Some((Stopped, true))),
            Stopped => (None, None, None),
            ShuttingDown | Terminated => (None, None, Some((Terminated, true))),
        };
        assert_eq!(to(state, &off(2, OffReason::Guest)), off_alone, "{state:?}");
        assert_eq!(to(state, &off(2, OffReason::Crashed)), off_alone, "{state:?}");
        assert_eq!(to(state, &failed(2, true)), unable, "{state:?}");
        assert_eq!(to(state, &PlacementState::Gone), nothing_left, "{state:?}");
    }
}

#[test]
fn work_in_progress_changes_nothing() {
    for &state in InstanceState::ALL {
        assert_eq!(next(state, 1, &PlacementState::Preparing { step: "image 4 %".into() }), None);
        assert_eq!(next(state, 1, &PlacementState::Stopping), None);
    }
}

#[test]
fn a_placement_that_no_row_knows_brings_nothing() {
    let stranger = PlacementObserved {
        id: PlacementId::from_random(9),
        state: running(1),
        wanted: false,
        disks: Vec::new(),
        freeze: None,
    };
    assert_eq!(plan_transitions(&[], &[stranger]), Vec::new());
}
