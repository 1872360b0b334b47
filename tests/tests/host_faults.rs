//! Faults on a real host with twenty guests: of libvirtd, of a guest's QEMU, of both at once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Hypervisor, QEMU, until};

#[test]
fn twenty_guests_outlive_libvirtd_and_one_that_dies_or_hangs_harms_no_other() {
    let mut cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let ids = ec2.launch(&image, 20, Value::Null);
    ec2.wait_state(&ids, "running", 120);
    let host = cloud.host(1);
    let guests = host.processes(QEMU);
    assert_eq!(guests.len(), 20);

    // libvirtd ends as if the power went; a new one takes up every guest.
    host.kill("libvirtd");
    assert_eq!(host.processes(QEMU), guests);
    until("the host is shown as impaired", 30, || impaired(&cloud).is_some().then_some(()));
    cloud.up();
    until("the host is well again", 30, || impaired(&cloud).is_none().then_some(()));
    ec2.wait_state(&ids, "running", 30);
    assert_eq!(host.processes(QEMU), guests, "adopted, and none started again");

    // libvirtd answers nothing for longer than a call may take: what is asked meanwhile is done afterwards.
    host.freeze("libvirtd");
    let [first, second, third, fourth, ..] = ids.as_slice() else { unreachable!("twenty ids") };
    let asked = Instant::now();
    ec2.act("terminate_instances", std::slice::from_ref(first));
    until("the host is shown as impaired", 60, || impaired(&cloud).is_some().then_some(()));
    assert!(asked.elapsed() > Duration::from_secs(10), "a call may take longer than that");
    ec2.wait_state(&ids[1..], "running", 5);
    host.thaw("libvirtd");
    ec2.wait_state(std::slice::from_ref(first), "terminated", 150);
    let mut left = host.processes(QEMU);
    assert!(left.is_subset(&guests) && left.len() == 19, "{left:?} of {guests:?}");

    // QEMU is killed: told as a crash, and not started before somebody asks.
    let victim = guest_of(&host, &ec2.wait_state(std::slice::from_ref(second), "running", 5)[0]);
    tepui_tests::kill(victim);
    left.remove(&victim);
    let stopped = ec2.wait_state(std::slice::from_ref(second), "stopped", 10).remove(0);
    assert_eq!(stopped["StateReason"]["Code"], "Server.InternalError", "{stopped}");
    cloud.assert_healthy();
    assert_eq!(host.processes(QEMU), left, "nobody started it again");
    ec2.act("start_instances", std::slice::from_ref(second));
    let again = guest_of(&host, &ec2.wait_state(std::slice::from_ref(second), "running", 60)[0]);
    left.insert(again);

    // QEMU hangs: its guest cannot be reset, every other can; the host says so until it answers again.
    let hung = guest_of(&host, &ec2.wait_state(std::slice::from_ref(third), "running", 5)[0]);
    host.signal(hung, nix::sys::signal::Signal::SIGSTOP);
    ec2.act("reboot_instances", std::slice::from_ref(third));
    ec2.call("stop_instances", &json!({ "InstanceIds": [fourth], "Force": true })).answer();
    ec2.wait_state(std::slice::from_ref(fourth), "stopped", 30);
    left = host.processes(QEMU);
    until("the host says that a guest hangs", 90, || impaired(&cloud)?.contains("hang").then_some(()));
    host.signal(hung, nix::sys::signal::Signal::SIGCONT);
    until("the host is well again", 90, || impaired(&cloud).is_none().then_some(()));
    assert_eq!(host.processes(QEMU), left, "the guest that hung is the same process");
    cloud.assert_healthy();
    cloud.down();
}

/// The one process of an instance.
#[track_caller]
fn guest_of(host: &tepui_tests::Host, instance: &Value) -> i32 {
    let found: Vec<i32> = host.guests_of(instance).into_iter().collect();
    let [pid] = found.as_slice() else { unreachable!("{instance}: {found:?}") };
    *pid
}

/// Why the host cannot start guests now.
fn impaired(cloud: &Cloud) -> Option<String> {
    let nodes = cloud.tepui_json(&["node", "list"]);
    nodes[0]["impaired"].as_str().map(str::to_owned)
}
