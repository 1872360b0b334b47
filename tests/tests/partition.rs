//! The network between hosts and control plane fails: all of it, one way, and a packet here and there.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tepui_tests::{Cloud, Ec2Session, Fault, Host, Hypervisor, QEMU, until};

/// A node that was not heard of for 90 s is unreachable; the control plane looks every 10 s.
const UNREACHABLE_SECONDS: u64 = 130;
/// A call that hangs on a cut connection is given up after 70 s, and made again within 15.
const HEALED_SECONDS: u64 = 120;

#[test]
fn cut_mute_and_lossy_hosts_keep_their_guests_are_told_apart_and_heal() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 3);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let hosts = [cloud.host(1), cloud.host(2), cloud.host(3)];
    let ids = ec2.launch(&image, 3, Value::Null);
    let instances = ec2.wait_state(&ids, "running", 60);
    let guests = || hosts.each_ref().map(|host| host.processes(QEMU));
    let before = guests();
    assert!(before.iter().all(|guests| guests.len() == 1), "one on each: {before:?}");
    let on = |host: &Host| {
        let own = instances.iter().filter(|instance| !host.guests_of(instance).is_empty());
        own.map(|instance| instance["InstanceId"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };

    let mut underlay = cloud.underlay();
    let since = state(&cloud, &hosts[2]);
    for (host, fault) in hosts.iter().zip([Fault::Cut, Fault::Mute, Fault::Loss(30)]) {
        underlay.inject(host, fault);
    }
    // Asked of a host that cannot hear it: acknowledged, and done when it can.
    ec2.act("terminate_instances", &on(&hosts[0]));
    for host in &hosts[..2] {
        let what = format!("{} is unreachable", host.name());
        until(&what, UNREACHABLE_SECONDS, || (state(&cloud, host)["state"] == "unreachable").then_some(()));
    }
    assert_eq!(guests(), before, "no guest ends or is doubled because nobody hears of it");
    let kept = ec2.act("describe_instances", &on(&hosts[1]));
    assert_eq!(kept["Reservations"][0]["Instances"][0]["State"]["Name"], "running", "a silent host's guest");
    // Three times one: two of the hosts are out of the question.
    let more = ec2.launch(&image, 2, Value::Null);
    ec2.wait_state(&more, "running", HEALED_SECONDS);
    assert_eq!(hosts[2].processes(QEMU).len(), 3, "new guests go where they can be started");

    underlay.heal();
    let gone = on(&hosts[0]);
    for host in &hosts[..2] {
        until(&format!("{} is up", host.name()), HEALED_SECONDS, || {
            (state(&cloud, host)["state"] == "up").then_some(())
        });
    }
    let up = hosts.each_ref().map(|host| state(&cloud, host));
    ec2.wait_state(&gone, "terminated", HEALED_SECONDS);
    let left: BTreeSet<i32> = hosts[..2].iter().flat_map(|host| host.processes(QEMU)).collect();
    assert_eq!(left, before[1], "the guest of the mute host is the same process");
    cloud.assert_healthy();
    let now = hosts.each_ref().map(|host| state(&cloud, host));
    assert_eq!(now, up, "no host changes its state again");
    assert_eq!(state(&cloud, &hosts[2]), since, "a lossy network is no reason to give a host up");
    cloud.down();
}

/// A host's state and since when it has it.
fn state(cloud: &Cloud, host: &Host) -> Value {
    let nodes = cloud.tepui_json(&["node", "list"]);
    let own = nodes.as_array().into_iter().flatten().find(|node| node["name"] == host.name());
    own.map_or(
        Value::Null,
        |node| serde_json::json!({ "state": node["state"], "since": node["state_since"] }),
    )
}
