//! The planner against a model of a host: from any state, with a death before any step, it arrives at
//! what is wanted, and then rests.

use proptest::prelude::*;
use tepui_libvirt::{DomainState, OffReason as Seen};
use tepui_types::agent::{DiskPart, OffReason, PlacementState, WantedDisk, WantedPlacement};
use tepui_types::{ExportId, VolumeId};

use super::*;
use crate::execute::{Step, stages_of};
use crate::testing::{absent, booting, placement, root, running, stopped};

mod scratch;
mod waiting;

const GRACE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone)]
struct World {
    wanted: Option<WantedPlacement>,
    domain: Option<DomainState>,
    disk: bool,
    progress: Option<Progress>,
    asked: Option<Asked>,
    boot_id: String,
    now: Moment,
    obeys: bool,
    starts: u32,
    resets: u32,
    /// How often its scratch disks were made anew.
    renewals: u32,
}

impl World {
    fn new(wanted: WantedPlacement) -> Self {
        Self {
            wanted: Some(wanted),
            domain: None,
            disk: false,
            progress: None,
            asked: None,
            boot_id: "boot-1".to_owned(),
            now: Moment::ZERO,
            obeys: true,
            starts: 0,
            resets: 0,
            renewals: 0,
        }
    }

    fn host(&self) -> Host {
        Host { boot_id: self.boot_id.clone(), now: self.now, grace: GRACE }
    }

    fn view(&self) -> View<'_> {
        View {
            id: placement(1),
            wanted: self.wanted.as_ref().map(|wanted| &wanted.wanted),
            disowned: false,
            domain: self.domain,
            disk: self.disk,
            vpcs_known: true,
            progress: self.progress.as_ref(),
            asked: self.asked,
            resumed: None,
            failure: None,
        }
    }

    fn state(&self) -> PlacementState {
        state(&self.view(), &self.host(), None)
    }

    /// Does the steps of an action up to `deadly`, and then loses what is in memory.
    fn perform(&mut self, action: &Action, deadly: Option<usize>) {
        if action.operation == Operation::Stop {
            self.asked.get_or_insert(Asked { first: self.now, last: self.now }).last = self.now;
        }
        let renews = self.view().renews_scratch(&self.host());
        for (number, step) in stages_of(action.operation).concat().iter().enumerate() {
            if deadly == Some(number) {
                self.asked = None;
                return;
            }
            if renews && *step == Step::Scratch {
                assert!(!self.view().is_live(), "the disks of a live guest go: {self:?}");
                self.renewals += 1;
            }
            self.step(*step, action);
        }
    }

    fn step(&mut self, step: Step, action: &Action) {
        match step {
            Step::Image | Step::Scratch | Step::Network | Step::Unplug | Step::Discard | Step::Console => {}
            Step::Overlay if self.view().has_local_root() => {
                self.disk = true;
                self.progress.get_or_insert_default().disk_made = true;
            }
            Step::Overlay => {}
            Step::Domain => {
                assert!(!self.view().lacks_root(), "started without its root: {self:?}");
                self.starts += u32::from(!self.view().is_live());
                self.domain = Some(DomainState::Running);
            }
            Step::Ask if self.obeys => self.goes_off(Seen::Guest),
            Step::Ask => {}
            Step::PowerOff => self.goes_off(Seen::Requested),
            Step::Reset => self.resets += 1,
            Step::Forget => self.domain = None,
            Step::Disk => self.disk = false,
            Step::Record => self.progress = action.record.clone(),
        }
    }

    fn goes_off(&mut self, reason: Seen) {
        self.domain = self.domain.map(|_| DomainState::Off { reason });
    }

    fn host_reboots(&mut self, boot_id: &str) {
        self.goes_off(Seen::Unknown);
        self.boot_id = boot_id.to_owned();
        self.asked = None;
    }

    /// Until nothing is left to do. Every step is allowed to be the agent's last, once.
    fn settle(&mut self, mut deaths: impl FnMut() -> Option<usize>) {
        for _ in 0..100 {
            if !self.view().is_live() {
                self.asked = None;
            }
            let decision = decide(&self.view(), &self.host());
            match decision {
                Decision::Settled => return,
                Decision::Wait(until) => {
                    assert!(until > self.now, "waits for the past");
                    self.now = until;
                }
                Decision::Act(action) => self.perform(&action, deaths()),
            }
        }
        panic!("does not come to rest: {self:?}");
    }

    fn settle_alive(&mut self) {
        self.settle(|| None);
    }
}

fn any_domain() -> impl Strategy<Value = Option<DomainState>> {
    prop_oneof![
        Just(None),
        Just(Some(DomainState::Running)),
        Just(Some(DomainState::Paused)),
        Just(Some(DomainState::ShuttingDown)),
        prop_oneof![
            Just(Seen::Requested),
            Just(Seen::Guest),
            Just(Seen::Crashed),
            Just(Seen::Failed),
            Just(Seen::Unknown)
        ]
        .prop_map(|reason| Some(DomainState::Off { reason })),
    ]
}

prop_compose! {
    fn any_progress()(
        start_seq in 0_u64..4,
        reboot_seq in 0_u64..4,
        boot in 0..2,
        off in prop_oneof![Just(None), Just(Some(OffReason::Guest)), Just(Some(OffReason::Requested))],
        stopping: bool,
        lost in proptest::bool::weighted(0.2),
    ) -> Progress {
        let boot_id = format!("boot-{boot}");
        let known = Progress { start_seq, reboot_seq, boot_id, off, stopping, disk_made: start_seq > 0, lost };
        if lost { Progress { start_seq, reboot_seq, ..Progress::lost() } } else { known }
    }
}

fn any_wanted() -> impl Strategy<Value = WantedPlacement> {
    let id = placement(1);
    prop_oneof![
        (1_u64..4, 0_u64..4).prop_map(move |(start, reboot)| running(id, start, reboot)),
        (1_u64..4).prop_map(move |start| booting(id, start, root())),
        any::<bool>().prop_map(move |force| stopped(id, force)),
        any::<bool>().prop_map(move |force| absent(id, force)),
    ]
}

prop_compose! {
    fn any_world()(
        wanted in any_wanted(),
        domain in any_domain(),
        disk: bool,
        progress in proptest::option::of(any_progress()),
        obeys: bool,
    ) -> World {
        World { domain, disk, progress, obeys, ..World::new(wanted) }
    }
}

fn arrived(world: &World) {
    let live = world.view().is_live();
    match &world.wanted.as_ref().unwrap().wanted {
        PlacementPart::Absent { .. } => {
            assert_eq!((world.domain, world.disk, world.progress.as_ref()), (None, false, None));
            assert_eq!(world.state(), PlacementState::Gone);
        }
        PlacementPart::Present(spec) => match spec.power {
            tepui_types::agent::Power::Running { start_seq, reboot_seq } => {
                let done = world.progress.as_ref().unwrap();
                assert!(done.start_seq >= start_seq && !done.stopping);
                assert!(live || done.off.is_some(), "off without a reason");
                assert!(!live || done.reboot_seq >= reboot_seq, "not rebooted");
            }
            tepui_types::agent::Power::Stopped { .. } => {
                assert!(!live);
                assert!(matches!(world.state(), PlacementState::Off { .. }));
            }
        },
    }
}

proptest! {
    #[test]
    fn no_guest_is_ever_started_without_the_volume_that_it_boots_from(
        mut world in any_world(),
        start in 1_u64..4,
        root in prop_oneof![Just(DiskPart::Awaited), Just(DiskPart::Absent)],
    ) {
        world.progress.iter_mut().for_each(|done| done.disk_made = false);
        world.wanted = Some(booting(placement(1), start, root));
        world.settle_alive();
        prop_assert_eq!(world.starts, 0);
        world.wanted = Some(booting(placement(1), start, self::root()));
        world.settle_alive();
        arrived(&world);
        prop_assert!(!world.progress.unwrap().disk_made, "nothing was made on this host");
    }

    #[test]
    fn from_any_state_the_planner_arrives_and_then_rests(mut world in any_world()) {
        world.settle_alive();
        arrived(&world);
        let before = (world.starts, world.resets);
        world.settle_alive();
        prop_assert_eq!(before, (world.starts, world.resets));
    }

    #[test]
    fn deaths_before_any_steps_are_made_good(
        mut world in any_world(),
        mut deaths in proptest::collection::vec(proptest::option::of(0_usize..5), 0..12),
    ) {
        world.settle(|| deaths.pop().flatten());
        world.settle_alive();
        arrived(&world);
    }

    #[test]
    fn an_unnamed_placement_is_never_touched_and_its_record_goes_when_nothing_else_is_left(
        mut world in any_world(),
        disowned: bool,
    ) {
        world.wanted = None;
        let goes = disowned && world.domain.is_none() && !world.disk && world.progress.is_some();
        let forgotten = Decision::Act(Action { operation: Operation::Note, record: None });
        let expected = if goes { forgotten } else { Decision::Settled };
        prop_assert_eq!(decide(&View { disowned, ..world.view() }, &world.host()), expected);
    }

    #[test]
    fn a_running_guest_is_never_stopped_unless_a_part_says_so(mut world in any_world(), start in 1_u64..4) {
        world.wanted = Some(running(placement(1), start, 0));
        world.domain = Some(DomainState::Running);
        if let Some(done) = &mut world.progress {
            done.stopping = false;
        }
        world.settle_alive();
        prop_assert_eq!((world.domain, world.starts), (Some(DomainState::Running), 0));
        prop_assert_eq!(world.renewals, 0);
    }
}

#[test]
fn a_start_that_died_before_any_of_its_steps_starts_the_guest_once() {
    for deadly in 0..stages_of(Operation::Start).concat().len() {
        let mut world = World::new(running(placement(1), 1, 0));
        let mut deaths = vec![Some(deadly)];
        world.settle(|| deaths.pop().flatten());
        assert_eq!(world.starts, 1, "died before step {deadly}");
        assert_eq!(world.state(), PlacementState::Running { start_seq: 1, reboot_seq: 0 });
    }
}

#[test]
fn a_guest_that_powered_itself_off_stays_off_until_the_next_start_even_over_a_host_reboot() {
    let mut world = World::new(running(placement(1), 1, 0));
    world.settle_alive();
    world.goes_off(Seen::Guest);
    world.settle_alive();
    assert_eq!(world.state(), PlacementState::Off { start_seq: 1, reason: OffReason::Guest });
    world.host_reboots("boot-2");
    world.settle_alive();
    assert_eq!(world.starts, 1);
    world.wanted = Some(running(placement(1), 2, 0));
    world.settle_alive();
    assert_eq!((world.starts, world.state()), (2, PlacementState::Running { start_seq: 2, reboot_seq: 0 }));
}

#[test]
fn a_guest_that_went_down_with_its_host_is_started_again_and_one_whose_qemu_died_is_not() {
    let mut world = World::new(running(placement(1), 1, 0));
    world.settle_alive();
    world.host_reboots("boot-2");
    world.settle_alive();
    assert_eq!(world.starts, 2);
    world.goes_off(Seen::Crashed);
    world.settle_alive();
    assert_eq!(world.starts, 2);
    assert_eq!(world.state(), PlacementState::Off { start_seq: 1, reason: OffReason::Crashed });
}

#[test]
fn a_guest_that_is_off_and_whose_record_is_lost_is_started_by_a_later_start_alone() {
    let seen = [None, Some(Seen::Guest), Some(Seen::Crashed), Some(Seen::Requested), Some(Seen::Unknown)];
    for domain in seen.map(|reason| reason.map(|reason| DomainState::Off { reason })) {
        let unnoted =
            World { domain, progress: Some(Progress::lost()), ..World::new(running(placement(1), 3, 2)) };
        let mut world = unnoted.clone();
        let unknown = |start_seq| PlacementState::Off { start_seq, reason: OffReason::Unknown };
        assert_eq!(world.state(), unknown(0));
        world.settle_alive();
        assert_eq!((world.starts, world.state()), (0, unknown(3)), "{domain:?}");
        world.host_reboots("boot-2");
        world.settle_alive();
        assert_eq!((world.starts, world.state()), (0, unknown(3)), "{domain:?}");
        world.wanted = Some(running(placement(1), 4, 2));
        world.settle_alive();
        assert_eq!((world.starts, world.resets), (1, 0), "{domain:?}");
        let counted = Some(Progress { start_seq: 3, reboot_seq: 2, ..Progress::lost() });
        let mut later =
            World { progress: counted, wanted: Some(running(placement(1), 4, 2)), ..unnoted.clone() };
        later.settle_alive();
        assert_eq!((later.starts, later.resets), (1, 0), "{domain:?}");
        let mut stopped = World { wanted: Some(stopped(placement(1), false)), ..unnoted };
        stopped.settle_alive();
        assert!(!stopped.progress.as_ref().unwrap().lost);
        stopped.wanted = Some(running(placement(1), 4, 2));
        stopped.settle_alive();
        assert_eq!(stopped.starts, 1, "{domain:?}");
    }
}

#[test]
fn a_guest_that_no_part_names_may_have_gone_down_with_its_host_and_is_not_said_to_be_off_by_itself() {
    let mut world = World::new(running(placement(1), 1, 0));
    world.settle_alive();
    world.host_reboots("boot-2");
    let unnamed = View { wanted: None, ..world.view() };
    let shown = state(&unnamed, &world.host(), None);
    assert_eq!(shown, PlacementState::Off { start_seq: 1, reason: OffReason::Unknown });
}

#[test]
fn a_guest_that_ignores_its_power_button_is_asked_again_and_loses_power_after_the_grace() {
    let mut world = World { obeys: false, ..World::new(running(placement(1), 1, 0)) };
    world.settle_alive();
    world.wanted = Some(stopped(placement(1), false));
    let mut asked = 0;
    world.settle(|| {
        asked += 1;
        None
    });
    assert!(asked > 10, "asked {asked} times");
    assert_eq!(world.now, GRACE);
    assert_eq!(world.state(), PlacementState::Off { start_seq: 1, reason: OffReason::Requested });
}

#[test]
fn a_guest_that_stands_still_is_resumed_at_once_and_then_from_time_to_time_and_not_rebooted_by_it() {
    let mut world = World::new(running(placement(1), 1, 0));
    world.settle_alive();
    world.domain = Some(DomainState::Paused);
    world.wanted = Some(running(placement(1), 1, 1));
    let Decision::Act(resume) = decide(&world.view(), &world.host()) else { panic!("must resume") };
    assert_eq!((resume.operation, resume.record.as_ref()), (Operation::Start, world.progress.as_ref()));
    let shown = state(&world.view(), &world.host(), Some((Operation::Start, "domain")));
    assert_eq!(shown, PlacementState::Running { start_seq: 1, reboot_seq: 0 });
    world.now = Moment::from_secs(5);
    let tried = |at| View { resumed: Some(Moment::from_secs(at)), ..world.view() };
    assert_eq!(decide(&tried(3), &world.host()), Decision::Wait(Moment::from_secs(13)));
    world.now = Moment::from_secs(13);
    let again = View { resumed: Some(Moment::from_secs(3)), ..world.view() };
    assert_eq!(decide(&again, &world.host()), Decision::Act(resume));
}

#[test]
fn a_forced_stop_pulls_the_plug_at_once() {
    let mut world = World { obeys: false, ..World::new(running(placement(1), 1, 0)) };
    world.settle_alive();
    world.wanted = Some(stopped(placement(1), true));
    world.settle_alive();
    assert_eq!((world.now, world.view().is_live()), (Moment::ZERO, false));
}

#[test]
fn a_reboot_counter_that_grew_resets_once() {
    let mut world = World::new(running(placement(1), 1, 0));
    world.settle_alive();
    world.wanted = Some(running(placement(1), 1, 3));
    world.settle_alive();
    assert_eq!((world.resets, world.state()), (1, PlacementState::Running { start_seq: 1, reboot_seq: 3 }));
}

#[test]
fn a_guest_wanted_again_while_it_shuts_down_finishes_that_first() {
    let mut world = World { obeys: false, ..World::new(running(placement(1), 1, 0)) };
    world.settle_alive();
    world.wanted = Some(stopped(placement(1), false));
    let Decision::Act(ask) = decide(&world.view(), &world.host()) else { panic!("must ask") };
    world.perform(&ask, None);
    assert_eq!(world.state(), PlacementState::Stopping);
    world.wanted = Some(running(placement(1), 2, 0));
    world.settle_alive();
    assert_eq!((world.starts, world.state()), (2, PlacementState::Running { start_seq: 2, reboot_seq: 0 }));
}

#[test]
fn a_failure_is_tried_again_at_its_time_and_at_once_when_something_else_is_wanted() {
    let world = World::new(running(placement(1), 1, 0));
    let mut failure = Failure {
        wanted: world.wanted.as_ref().map(|wanted| wanted.wanted.clone()),
        step: "network",
        message: "no".to_owned(),
        permanent: false,
        silent: false,
        count: 1,
        retry_at: Moment::from_secs(1),
    };
    fn view<'a>(world: &'a World, failure: &'a Failure) -> View<'a> {
        View { failure: Some(failure), ..world.view() }
    }
    assert_eq!(decide(&view(&world, &failure), &world.host()), Decision::Wait(Moment::from_secs(1)));
    let failed = state(&view(&world, &failure), &world.host(), None);
    assert!(matches!(failed, PlacementState::Failed { start_seq: 1, .. }), "{failed:?}");
    failure.permanent = true;
    assert_eq!(decide(&view(&world, &failure), &world.host()), Decision::Settled);
    failure.wanted = None;
    assert!(matches!(decide(&view(&world, &failure), &world.host()), Decision::Act(_)));
}

#[test]
fn waits_after_failures_double_up_to_a_minute() {
    let waits: Vec<u64> =
        [1, 2, 3, 7, 40, u32::MAX].iter().map(|count| retry_delay(*count).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 60, 60, 60]);
}
