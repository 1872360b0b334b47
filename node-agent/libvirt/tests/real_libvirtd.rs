//! The verbs against a real libvirtd and a real guest. Needs root and libvirt; emulation is enough.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails the test; clippy sees only test functions as tests"
)]

#[path = "real_libvirtd/captures.rs"]
mod captures;
#[path = "real_libvirtd/secrets.rs"]
mod secrets;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    Guest, PATIENCE, PrivateHost, SlowWay, Target, raw_image, signal, wait_for_any, wait_for_state, wait_gone,
};
use tepui_libvirt::{DataDisk, DiskSource, DomainState, Error, FreezeAnswer, LibvirtHost, OffReason, Root};
use tepui_types::PlacementId;
use tepui_types::agent::{FreezeKind, IoCounters, IoLimits};

const DEADLINE: Duration = PATIENCE;

fn off(reason: OffReason) -> DomainState {
    DomainState::Off { reason }
}

#[tokio::test]
async fn a_guest_starts_once_resets_obeys_the_power_button_and_is_forgotten() {
    let host = PrivateHost::start();
    let guest = Guest::new(&host, 1);
    let id = guest.id();
    fs::set_permissions(&guest.overlay().base, fs::Permissions::from_mode(0o444)).unwrap();
    let libvirt = host.connect(2, DEADLINE).await;

    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 1");
    wait_for_state(&libvirt, id, DomainState::Running).await;
    let qemu = host.qemu_pid(id);
    libvirt.start(&guest.spec).await.unwrap();
    assert_eq!(host.qemu_pid(id), qemu, "a second start changes nothing");

    libvirt.reset(id).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 2");
    assert_eq!(host.qemu_pid(id), qemu, "a reset keeps the process");

    guest.wait_for_console("boot 2");
    libvirt.request_shutdown(id).await.unwrap();
    wait_for_state(&libvirt, id, off(OffReason::Guest)).await;
    assert!(guest.console().contains("tepui-tiny: power button"));
    libvirt.request_shutdown(id).await.unwrap();

    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 3");
    let base = fs::metadata(&guest.overlay().base).unwrap();
    assert_eq!((base.uid(), base.mode() & 0o777), (0, 0o444), "QEMU's user never owns the base");
    libvirt.force_off(id).await.unwrap();
    wait_for_state(&libvirt, id, off(OffReason::Requested)).await;

    libvirt.forget(id).await.unwrap();
    assert_eq!(libvirt.domains().await.unwrap(), []);
}

/// A volume in a file of the host.
fn volume(host: &PrivateHost, letter: char) -> DataDisk {
    let path = host.path().join(format!("{letter}.raw"));
    fs::File::create(&path).unwrap().set_len(16 << 20).unwrap();
    DataDisk {
        letter,
        serial: format!("vol{letter}"),
        source: DiskSource::File(path),
        read_only: false,
        least_bytes: 0,
        limits: IoLimits::NONE,
    }
}

#[tokio::test]
async fn a_guest_has_the_volumes_that_are_wanted_from_its_start_and_while_it_runs() {
    let host = PrivateHost::start();
    let mut guest = Guest::new(&host, 1);
    let (id, [b, c, d]) = (guest.id(), ['b', 'c', 'd'].map(|letter| volume(&host, letter)));
    let libvirt = host.connect(2, DEADLINE).await;
    let set = async |disks: &[&DataDisk]| {
        let all = [&b, &c, &d].map(DataDisk::source_name);
        let wanted = disks.iter().map(|disk| (*disk).clone()).collect();
        let live = libvirt.set_disks(id, wanted, all.to_vec()).await.unwrap();
        assert_eq!(live.unfit, []);
        live.disks
    };
    assert_eq!(set(&[&b]).await, [], "there is no domain");
    guest.spec.disks = vec![b.clone()];
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: user code");
    assert_eq!(set(&[&b]).await, [b.live()]);
    for _ in 0..2 {
        assert_eq!(set(&[&b, &c]).await, [b.live(), c.live()]);
    }
    // QEMU grows a file by itself where it has not grown yet.
    let larger = DataDisk { least_bytes: 32 << 20, ..c.clone() };
    for _ in 0..2 {
        assert_eq!(set(&[&b, &larger]).await, [b.live(), c.live()]);
        let DiskSource::File(path) = &c.source else { panic!("{c:?}") };
        assert_eq!(fs::metadata(path).unwrap().len(), 32 << 20);
    }
    assert_eq!(set(&[&b, &c]).await, [b.live(), c.live()], "it never shrinks");
    // The guest lets go of them by itself, in its own time.
    let begun = Instant::now();
    while set(&[&c, &d]).await != [c.live(), d.live()] {
        assert!(begun.elapsed() < PATIENCE, "the guest keeps its disk");
    }
    let moved = DataDisk { letter: 'd', ..b.clone() };
    let begun = Instant::now();
    while set(&[&moved]).await != [moved.live()] {
        assert!(begun.elapsed() < PATIENCE, "a place that was another's is not taken");
    }
    let none = libvirt.set_disks(id, vec![], vec![]).await.unwrap();
    assert_eq!(none.disks, [moved.live()], "one that nobody asks it to let go of stays");
    libvirt.force_off(id).await.unwrap();
    assert_eq!(set(&[&b]).await, [], "it has what it starts with next");
    libvirt.start(&guest.spec).await.unwrap();
    assert_eq!(set(&[&b]).await, [b.live()]);
    libvirt.forget(id).await.unwrap();
}

/// What QEMU holds a guest to on a disk: operations and bytes a second, by its own word.
fn throttle(host: &PrivateHost, id: PlacementId, device: &str) -> (u64, u64) {
    let told =
        host.run("virsh", &["-c", &host.uri(), "blkdeviotune", &tepui_libvirt::domain_name(id), device]);
    let figure = |name: &str| {
        let line = told.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{told}")).trim().parse::<u64>().unwrap()
    };
    (figure("total_iops_sec"), figure("total_bytes_sec"))
}

/// How long QEMU takes for five writes of one MiB through the guest's second disk. The first one is never held up.
fn write(host: &PrivateHost, id: PlacementId) -> Duration {
    let command = "qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend \"write 0 1M\"";
    let domain = tepui_libvirt::domain_name(id);
    let begun = Instant::now();
    for _ in 0..5 {
        let told = host.run("virsh", &["-c", &host.uri(), "qemu-monitor-command", &domain, "--hmp", command]);
        assert_eq!(told.trim(), "", "qemu-io says nothing where all is well");
    }
    begun.elapsed()
}

#[tokio::test]
async fn a_guest_is_held_to_limits_that_change_while_it_runs() {
    let host = PrivateHost::start();
    let mut guest = Guest::new(&host, 1);
    let limits = |iops, throughput_mib| IoLimits { iops, throughput_mib };
    let id = guest.id();
    let b = DataDisk { limits: limits(100, 1), ..volume(&host, 'b') };
    let c = DataDisk { limits: limits(0, 2), ..volume(&host, 'c') };
    let libvirt = host.connect(2, DEADLINE).await;
    guest.spec.disks = vec![b.clone()];
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: user code");
    let set = async |disks: &[&DataDisk]| {
        let wanted: Vec<_> = disks.iter().map(|disk| (*disk).clone()).collect();
        let live = libvirt.set_disks(id, wanted.clone(), Vec::new()).await.unwrap();
        assert_eq!(live.unfit, []);
        assert_eq!(live.disks, wanted.iter().map(DataDisk::live).collect::<Vec<_>>());
    };
    assert_eq!(throttle(&host, id, "vdb"), (100, 1 << 20), "from its start");
    set(&[&b, &c]).await;
    assert_eq!(throttle(&host, id, "vdc"), (0, 2 << 20), "one that came later");

    // By the clock, too: at one MiB a second, and without a limit.
    let slow = write(&host, id);
    assert!(slow > Duration::from_secs(3), "{slow:?}");
    let free = DataDisk { limits: IoLimits::NONE, ..b.clone() };
    set(&[&free, &c]).await;
    assert_eq!(throttle(&host, id, "vdb"), (0, 0));
    let fast = write(&host, id);
    assert!(fast * 3 < slow, "{fast:?} without a limit, {slow:?} with one");

    for wanted in [limits(0, 3), limits(500, 3), limits(500, 0)] {
        set(&[&DataDisk { limits: wanted, ..b.clone() }, &c]).await;
        let bytes = u64::from(wanted.throughput_mib) << 20;
        assert_eq!(throttle(&host, id, "vdb"), (wanted.iops.into(), bytes));
    }
    assert_eq!(throttle(&host, id, "vdc"), (0, 2 << 20), "the other disk's stay");
    libvirt.forget(id).await.unwrap();
}

#[tokio::test]
async fn what_a_guest_did_with_its_disks_is_counted_and_outlives_libvirtd() {
    let mut host = PrivateHost::start();
    let mut guest = Guest::new(&host, 1);
    let id = guest.id();
    let libvirt = host.connect(1, DEADLINE).await;
    assert_eq!(libvirt.disk_counters().await.unwrap(), []);
    guest.spec.disks = vec![volume(&host, 'b')];
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 1");
    let of = async |device: &str| {
        let all = libvirt.disk_counters().await.unwrap();
        let found = all.iter().find(|one| one.id == id && one.device == device);
        found.unwrap_or_else(|| panic!("{all:?}")).counters
    };
    let root = of("vda").await;
    assert!(root.writes > 0 && root.written_bytes >= 512 && root.reads > 0, "{root:?}");
    let before = of("vdb").await;
    assert_eq!((before.writes, before.written_bytes), (0, 0), "it has looked at it and no more");
    let domain = tepui_libvirt::domain_name(id);
    for command in ["aio_write 0 1M", "aio_write 1M 2M", "aio_flush"] {
        let command = format!("qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend \"{command}\"");
        host.run("virsh", &["-c", &host.uri(), "qemu-monitor-command", &domain, "--hmp", &command]);
    }
    let written = IoCounters { writes: 2, written_bytes: 3 << 20, ..before };
    assert_eq!(of("vdb").await, written);
    host.kill_libvirtd();
    assert!(matches!(libvirt.disk_counters().await, Err(Error::Unavailable { .. })));
    host.start_libvirtd();
    let begun = Instant::now();
    while libvirt.disk_counters().await.unwrap_or_default().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "its counters never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(of("vdb").await, written, "they go on");
    libvirt.forget(id).await.unwrap();
}

/// Over the network with a secret, which libvirtd is told before the guest starts.
#[tokio::test]
async fn a_guest_boots_from_a_volume_that_is_its_own_until_it_stops() {
    let host = PrivateHost::start();
    let file = host.path().join("root.raw");
    raw_image(&file);
    let _target = Target::serve(&host, &file);
    let root = DataDisk { source: Target::source(), ..volume(&host, 'r') }.as_root();
    let guest = Guest::on(&host, 1, Root::Volume(root.clone()));
    let (id, libvirt) = (guest.id(), host.connect(2, DEADLINE).await);
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 1");
    let set = async |wanted: Vec<DataDisk>, leaving: &[&str]| {
        let leaving = leaving.iter().map(|name| (*name).to_owned()).collect();
        libvirt.set_disks(id, wanted, leaving).await.unwrap().disks
    };
    let extra = volume(&host, 'b');
    for _ in 0..2 {
        assert_eq!(set(vec![root.clone(), extra.clone()], &[]).await, [root.live(), extra.live()]);
    }
    let qemu = host.qemu_pid(id);
    // Whoever asks for it: a guest whose root is pulled is no guest.
    assert_eq!(set(vec![extra.clone()], &["export-00000000000000001"]).await, [root.live(), extra.live()]);
    libvirt.reset(id).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 2");
    assert_eq!(host.qemu_pid(id), qemu);

    libvirt.force_off(id).await.unwrap();
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 3");
    libvirt.forget(id).await.unwrap();
}

#[tokio::test]
async fn a_guest_sees_the_root_volume_grow() {
    let host = PrivateHost::start();
    let root = DataDisk { letter: 'a', ..volume(&host, 'r') };
    let DiskSource::File(file) = &root.source else { panic!("{root:?}") };
    raw_image(file);
    let size = fs::metadata(file).unwrap().len();
    let guest = Guest::on(&host, 1, Root::Volume(root.clone()));
    let libvirt = host.connect(2, DEADLINE).await;
    libvirt.start(&guest.spec).await.unwrap();
    guest.wait_for_console("tepui-tiny: boot 1");
    let larger = DataDisk { least_bytes: size + (16 << 20), ..root.clone() };
    for _ in 0..2 {
        let live = libvirt.set_disks(guest.id(), vec![larger.clone()], vec![]).await.unwrap();
        assert_eq!((live.disks, live.unfit), (vec![root.live()], vec![]));
        assert_eq!(fs::metadata(file).unwrap().len(), larger.least_bytes);
    }
    libvirt.forget(guest.id()).await.unwrap();
}

#[tokio::test]
async fn verbs_on_a_missing_domain_are_fine() {
    let host = PrivateHost::start();
    let libvirt = host.connect(1, DEADLINE).await;
    let id = PlacementId::from_random(9);
    libvirt.request_shutdown(id).await.unwrap();
    libvirt.force_off(id).await.unwrap();
    libvirt.reset(id).await.unwrap();
    libvirt.forget(id).await.unwrap();
    assert_eq!(libvirt.domains().await.unwrap(), []);
}

#[tokio::test]
async fn a_paused_guest_is_resumed_and_a_killed_qemu_is_a_crash() {
    let host = PrivateHost::start();
    let guest = Guest::new(&host, 1);
    let id = guest.id();
    let libvirt = host.connect(2, DEADLINE).await;
    libvirt.start(&guest.spec).await.unwrap();

    host.run("virsh", &["-c", &host.uri(), "suspend", &tepui_libvirt::domain_name(id)]);
    wait_for_state(&libvirt, id, DomainState::Paused).await;
    libvirt.start(&guest.spec).await.unwrap();
    wait_for_state(&libvirt, id, DomainState::Running).await;

    signal(host.qemu_pid(id), Signal::SIGKILL);
    wait_for_state(&libvirt, id, off(OffReason::Crashed)).await;
    libvirt.start(&guest.spec).await.unwrap();
    wait_for_state(&libvirt, id, DomainState::Running).await;
    libvirt.forget(id).await.unwrap();
    assert_eq!(libvirt.domains().await.unwrap(), []);
}

#[tokio::test]
async fn a_guest_is_paused_and_resumed_and_one_that_an_operator_suspended_is_not() {
    let host = PrivateHost::start();
    let guest = Guest::new(&host, 1);
    let id = guest.id();
    let libvirt = host.connect(2, DEADLINE).await;
    libvirt.start(&guest.spec).await.unwrap();
    let pause = async || libvirt.freeze(id, FreezeKind::Vcpus).await.unwrap();
    let resume = async || libvirt.thaw(id, FreezeKind::Vcpus).await.unwrap();
    assert_eq!(resume().await, Some(0), "it runs");
    assert_eq!(pause().await, FreezeAnswer::Frozen(1));
    wait_for_state(&libvirt, id, DomainState::Paused).await;
    assert_eq!(pause().await, FreezeAnswer::Refused("the guest stands still already".into()));
    assert_eq!(resume().await, Some(1));
    wait_for_state(&libvirt, id, DomainState::Running).await;
    guest.wait_for_console("tepui-tiny: user code");

    let operator = |verb: &str| {
        host.run("virsh", &["-c", &host.uri(), verb, &tepui_libvirt::domain_name(id)]);
    };
    operator("suspend");
    assert_eq!(pause().await, FreezeAnswer::Refused("the guest stands still already".into()));
    wait_for_state(&libvirt, id, DomainState::Paused).await;
    operator("resume");
    // Somebody else resumes what is paused here: it did not hold still.
    assert_eq!(pause().await, FreezeAnswer::Frozen(1));
    operator("resume");
    assert_eq!(resume().await, Some(0));
    pause().await;
    libvirt.force_off(id).await.unwrap();
    assert_eq!(resume().await, None);
    assert_eq!(pause().await, FreezeAnswer::Refused("the guest does not run".into()));
    libvirt.forget(id).await.unwrap();
    assert_eq!(resume().await, None);
}

#[tokio::test]
async fn a_guest_without_a_guest_agent_refuses_to_hold_still_in_bounded_time_and_runs_on() {
    let host = PrivateHost::start();
    let guest = Guest::new(&host, 1);
    let id = guest.id();
    let libvirt = host.connect(1, DEADLINE).await;
    libvirt.start(&guest.spec).await.unwrap();
    let begun = Instant::now();
    let answer = libvirt.freeze(id, FreezeKind::FileSystems).await.unwrap();
    assert!(matches!(&answer, FreezeAnswer::Refused(why) if why.contains("guest agent")), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    libvirt.thaw(id, FreezeKind::FileSystems).await.unwrap_err();
    wait_for_state(&libvirt, id, DomainState::Running).await;
    libvirt.force_off(id).await.unwrap();
    assert_eq!(
        libvirt.freeze(id, FreezeKind::FileSystems).await.unwrap(),
        FreezeAnswer::Refused("the guest does not run".into())
    );
    assert_eq!(libvirt.thaw(id, FreezeKind::FileSystems).await.unwrap(), None);
    libvirt.forget(id).await.unwrap();
    assert_eq!(libvirt.thaw(id, FreezeKind::FileSystems).await.unwrap(), None);
}

#[tokio::test]
async fn a_start_without_a_disk_is_refused_and_can_be_repeated() {
    let host = PrivateHost::start();
    let guest = Guest::new(&host, 1);
    let id = guest.id();
    let libvirt = host.connect(1, DEADLINE).await;
    let overlay = &guest.overlay().path;
    let aside = overlay.with_extension("aside");
    fs::rename(overlay, &aside).unwrap();
    let error = libvirt.start(&guest.spec).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { call: "start", message, .. } if message.contains("disk1.qcow2")),
        "{error}"
    );
    wait_for_state(&libvirt, id, off(OffReason::Failed)).await;
    fs::rename(&aside, overlay).unwrap();
    libvirt.start(&guest.spec).await.unwrap();
    wait_for_state(&libvirt, id, DomainState::Running).await;
}

#[tokio::test]
async fn a_guest_outlives_libvirtd_and_the_pool_finds_the_new_one() {
    let mut host = PrivateHost::start();
    let [stays, dies] = [1, 2].map(|number| Guest::new(&host, number));
    let libvirt = host.connect(2, DEADLINE).await;
    libvirt.start(&stays.spec).await.unwrap();
    libvirt.start(&dies.spec).await.unwrap();
    let [stays_pid, dies_pid] = [&stays, &dies].map(|guest| host.qemu_pid(guest.id()));

    host.kill_libvirtd();
    let error = libvirt.domains().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    signal(dies_pid, Signal::SIGKILL);
    wait_gone(dies_pid);

    host.start_libvirtd();
    wait_for_state(&libvirt, stays.id(), DomainState::Running).await;
    assert_eq!(host.qemu_pid(stays.id()), stays_pid);
    // libvirtd answers before it has looked for the process of each domain.
    wait_for_any(&libvirt, dies.id(), "off", |state| matches!(state, DomainState::Off { .. })).await;
}

#[tokio::test]
async fn a_hanging_libvirtd_costs_each_connection_one_deadline_and_then_refuses_at_once() {
    let host = PrivateHost::start();
    let libvirt = host.connect(2, Duration::from_secs(2)).await;
    host.signal_libvirtd(Signal::SIGSTOP);
    let error = libvirt.domains().await.unwrap_err();
    assert!(matches!(error, Error::Deadline { call: "list", .. }), "{error}");
    let error = libvirt.domains().await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { message, .. } if message.contains("overdue")), "{error}");

    host.signal_libvirtd(Signal::SIGCONT);
    let start = std::time::Instant::now();
    while libvirt.domains().await.is_err() {
        assert!(start.elapsed() < PATIENCE, "the connections never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_slow_libvirtd_is_waited_for_and_a_look_at_many_guests_takes_as_long_as_at_one() {
    let host = PrivateHost::start();
    let guests = [1, 2, 3, 4].map(|number| Guest::new(&host, number));
    let [stays, resets, stops, starts] = &guests;
    let way = SlowWay::to(&host);
    let deadline = Duration::from_secs(5);
    let libvirt = LibvirtHost::connect(&way.uri(), 3, deadline).await.unwrap();
    for guest in [stays, resets, stops] {
        libvirt.start(&guest.spec).await.unwrap();
    }
    wait_for_state(&libvirt, stays.id(), DomainState::Running).await;
    let pid = host.qemu_pid(stays.id());

    // More than one and a half second for each call, of which a verb is several, and a new connection, too.
    way.delay(Duration::from_millis(800));
    let asked = std::time::Instant::now();
    let (started, reset, stopped, seen) = tokio::join!(
        libvirt.start(&starts.spec),
        libvirt.reset(resets.id()),
        libvirt.force_off(stops.id()),
        libvirt.domains(),
    );
    assert_eq!((started, reset, stopped), (Ok(()), Ok(()), Ok(())));
    assert!(asked.elapsed() > Duration::from_secs(3), "it was slow");
    assert!(seen.unwrap().len() >= 3, "within {deadline:?}, although there are three guests to look at");
    wait_for_state(&libvirt, starts.id(), DomainState::Running).await;
    wait_for_state(&libvirt, stops.id(), off(OffReason::Requested)).await;
    assert_eq!(host.qemu_pid(stays.id()), pid, "the others run on");
}

#[tokio::test]
async fn a_hanging_qemu_costs_one_connection_and_its_guest_alone_and_its_plug_can_be_pulled() {
    let host = PrivateHost::start();
    let [hangs, other] = [1, 2].map(|number| Guest::new(&host, number));
    let libvirt = host.connect(2, Duration::from_secs(2)).await;
    libvirt.start(&hangs.spec).await.unwrap();
    libvirt.start(&other.spec).await.unwrap();
    let qemu = host.qemu_pid(hangs.id());
    signal(qemu, Signal::SIGSTOP);

    let error = libvirt.reset(hangs.id()).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { call: "reset", .. }) && error.is_silence(), "{error}");
    let silent = Err(Error::Silent { id: hangs.id() });
    assert_eq!(libvirt.reset(hangs.id()).await, silent, "no second connection waits for it");
    libvirt.reset(other.id()).await.unwrap();
    let states = libvirt.domains().await.unwrap();
    assert!(states.iter().all(|seen| seen.state == DomainState::Running), "{states:?}");

    libvirt.force_off(hangs.id()).await.unwrap();
    wait_for_state(&libvirt, hangs.id(), off(OffReason::Requested)).await;
    wait_gone(qemu);
    let start = std::time::Instant::now();
    while let Err(error) = libvirt.start(&hangs.spec).await {
        assert!(error.is_silence() && start.elapsed() < PATIENCE, "the call that hung never ended: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wait_for_state(&libvirt, hangs.id(), DomainState::Running).await;
}

#[tokio::test]
async fn a_missing_libvirtd_is_unavailable() {
    let uri = "qemu+unix:///system?socket=/nonexistent/libvirt-sock";
    let error = LibvirtHost::connect(uri, 1, DEADLINE).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { uri: at, .. } if at == uri), "{error}");
}
