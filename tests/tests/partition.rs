//! The network between hosts and control plane fails: all of it, one way, a packet here and there, or it is slow.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tepui_tests::{Cloud, Ec2Session, Fault, Host, Hypervisor, QEMU, until};

/// A node that was not heard of for 90 s is unreachable; the control plane looks every 10 s.
const UNREACHABLE_SECONDS: u64 = 130;
/// A call that hangs on a cut connection is given up after 70 s, and made again within 15.
const HEALED_SECONDS: u64 = 120;
/// Of each message on the slow way.
const SLOW: Duration = Duration::from_secs(2);

#[test]
fn cut_mute_deaf_lossy_and_slow_hosts_keep_their_guests_are_told_apart_and_heal() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 5);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let hosts = [1, 2, 3, 4, 5].map(|number| cloud.host(number));
    let (silent, served) = hosts.split_at(3);
    let ids = ec2.launch(&image, 5, Value::Null);
    let instances = ec2.wait_state(&ids, "running", 60);
    let guests = || hosts.each_ref().map(|host| host.processes(QEMU));
    let before = guests();
    assert!(before.iter().all(|guests| guests.len() == 1), "one on each: {before:?}");
    let on = |host: &Host| {
        let own = instances.iter().filter(|instance| !host.guests_of(instance).is_empty());
        own.map(|instance| instance["InstanceId"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };

    let mut underlay = cloud.underlay();
    let states = |hosts: &[Host]| hosts.iter().map(|host| state(&cloud, host)).collect::<Vec<_>>();
    let since = states(served);
    for (host, fault) in hosts.iter().zip([Fault::Cut, Fault::Mute, Fault::Deaf, Fault::Loss(30)]) {
        underlay.inject(host, fault);
    }
    hosts[4].slow_down(SLOW);
    // Asked of a host that cannot hear it: acknowledged, and done when it can.
    ec2.act("terminate_instances", &on(&hosts[0]));
    for host in silent {
        let what = format!("{} is unreachable", host.name());
        until(&what, UNREACHABLE_SECONDS, || (state(&cloud, host)["state"] == "unreachable").then_some(()));
    }
    assert_eq!(guests(), before, "no guest ends or is doubled because nobody hears of it");
    for host in &silent[1..] {
        let kept = ec2.act("describe_instances", &on(host));
        assert_eq!(
            kept["Reservations"][0]["Instances"][0]["State"]["Name"], "running",
            "a silent host's guest"
        );
    }
    // Three hosts are out of the question.
    let asked = Instant::now();
    let more = ec2.launch(&image, 4, Value::Null);
    ec2.wait_state(&more, "running", HEALED_SECONDS);
    assert!(asked.elapsed() > SLOW * 2, "an order to the slow host and its report take longer");
    let counts = [3, 4].map(|host: usize| hosts[host].processes(QEMU).len());
    assert_eq!(counts, [3, 3], "new guests go where they can be started");
    let ended = on(&hosts[4]);
    ec2.act("terminate_instances", &ended);
    ec2.wait_state(&ended, "terminated", HEALED_SECONDS);

    underlay.heal();
    let gone = on(&hosts[0]);
    for host in silent {
        until(&format!("{} is up", host.name()), HEALED_SECONDS, || {
            (state(&cloud, host)["state"] == "up").then_some(())
        });
    }
    let up = states(&hosts);
    ec2.wait_state(&gone, "terminated", HEALED_SECONDS);
    let left: BTreeSet<i32> = silent.iter().flat_map(|host| host.processes(QEMU)).collect();
    assert_eq!(
        left,
        &before[1] | &before[2],
        "the guests of the mute and the deaf host are the same processes"
    );
    // The slow host is slow to the end.
    cloud.assert_healthy();
    assert_eq!(states(&hosts), up, "no host changes its state again");
    assert_eq!(states(served), since, "a lossy or slow network is no reason to give a host up");
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
