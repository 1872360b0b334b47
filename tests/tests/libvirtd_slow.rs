//! libvirtd answers, and takes its time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Hypervisor, QEMU};

#[test]
fn a_host_whose_libvirtd_takes_a_second_for_each_call_is_well_and_does_what_is_asked() {
    let mut cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(10));
    let ids = ec2.launch(&image, 3, Value::Null);
    ec2.wait_state(&ids, "running", 60);
    let host = cloud.host(1);
    let guests = host.processes(QEMU);

    host.slow_down_libvirtd(Duration::from_millis(500));
    host.kill("tepui-node");
    cloud.up();
    let [ends, stay @ ..] = ids.as_slice() else { unreachable!("three ids") };
    let asked = Instant::now();
    let more = ec2.launch(&image, 2, Value::Null);
    ec2.call("stop_instances", &json!({ "InstanceIds": [ends], "Force": true })).answer();
    ec2.wait_state(&more, "running", 90);
    assert!(asked.elapsed() > Duration::from_secs(2), "each start is two calls at least");
    ec2.wait_state(std::slice::from_ref(ends), "stopped", 90);
    ec2.act("terminate_instances", std::slice::from_ref(ends));
    ec2.wait_state(std::slice::from_ref(ends), "terminated", 90);
    ec2.wait_state(stay, "running", 5);
    let now = host.processes(QEMU);
    assert_eq!((now.len(), now.intersection(&guests).count()), (4, 2), "{guests:?} before, {now:?} now");
    let nodes = cloud.tepui_json(&["node", "list"]);
    assert_eq!((&nodes[0]["state"], &nodes[0]["impaired"]), (&json!("up"), &Value::Null), "{nodes}");
    cloud.assert_healthy();
    cloud.down();
}
